//! The key of a request: scheme, authority, path and query, and what the configuration adds.
//!
//! Invariant: two requests that differ in a part of the key have different bytes.

use config::{CacheKey, Caching};
use message::{Request, Scheme, Target, cookies};

/// Writes the key of a request: what [`write_uri`] writes, then the fields and cookies of the key.
pub fn write_key(out: &mut Vec<u8>, request: &Request, caching: &Caching) {
    let key = &caching.key;
    write_uri(out, &request.target, key);
    for name in &key.fields {
        out.push(0);
        for field in request.fields.iter() {
            if field.name.eq_ignore_ascii_case(name.as_bytes()) {
                out.push(b'=');
                out.extend_from_slice(field.value);
            }
        }
    }
    for wanted in &key.cookies {
        out.push(0);
        for (name, value) in cookies(&request.fields) {
            if name == wanted.as_bytes() {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

/// Writes the part of a key that names the resource: scheme, authority, path and query. No byte of it is 0, so that it ends where
/// the key does or where a 0 follows.
pub fn write_uri(out: &mut Vec<u8>, target: &Target, key: &CacheKey) {
    let _ = key;
    out.extend_from_slice(match target.outer_scheme() {
        Scheme::Http => b"http://",
        Scheme::Https => b"https://",
    });
    out.extend_from_slice(target.outer_authority().as_bytes());
    out.extend_from_slice(target.path_and_query().as_bytes());
}
