//! Which fields may come after the body (RFC 9110, section 6.5.1).

use message::Known;

/// True if a field may pass as trailer.
///
/// Whoever merges trailers into the head must not be able to find framing, routing, authentication,
/// content coding or the client's identity in them: those were decided before the body came.
/// Forbidden ones are dropped, not refused.
pub fn allowed_trailer(known: Known, name: &[u8]) -> bool {
    match known {
        Known::ETag | Known::LastModified | Known::ProxyStatus => true,
        Known::Other => !is_forbidden(name),
        _ => false,
    }
}

/// Fields without a number in [`Known`] that must not be trailers.
fn is_forbidden(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "Authentication-Control",
        "Cookie2",
        "Expires",
        "Pragma",
        "Refresh",
        "Set-Cookie2",
        "Strict-Transport-Security",
        "True-Client-IP",
        "Warning",
        "WWW-Authenticate",
        "X-Client-IP",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    const PREFIXES: &[&str] =
        &["Accept-", "Access-Control-", "CF-", "If-", "Proxy-", "Sec-", "X-Forwarded-"];
    let begins = |prefix: &str| {
        let head = name.get(..prefix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    // As in a head, `_` may be read as a hyphen.
    name.contains(&b'_')
        || NAMES.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
        || PREFIXES.iter().any(|prefix| begins(prefix))
        // RFC 9530, section 6.5 is about digests in trailers.
        || (begins("Content-") && !name.eq_ignore_ascii_case(b"Content-Digest"))
}
