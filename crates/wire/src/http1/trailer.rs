//! Which fields may come after the body (RFC 9110, section 6.5.1).

use message::{Known, are_twins, tells_of_client};

/// True if a field may pass as trailer.
///
/// A receiver that merges trailers into the head must not find framing, routing, authentication, content coding,
/// caching, security or the client's identity in them: those were decided before the body came. Forbidden ones are
/// dropped, not refused. As in a head, `_` may be read as a hyphen.
pub fn allowed_trailer(known: Known, name: &[u8]) -> bool {
    let known = if known == Known::Other { Known::of_twin(name) } else { known };
    match known {
        // RFC 9530, section 6.5 is about digests in trailers.
        Known::ETag
        | Known::LastModified
        | Known::ProxyStatus
        | Known::CacheStatus
        | Known::ContentDigest
        | Known::ReprDigest => true,
        Known::Other => !is_forbidden(name) && !tells_of_client(known, name),
        _ => false,
    }
}

/// Fields without a number in [`Known`] that must not be trailers.
fn is_forbidden(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "Authentication-Control",
        "CDN-Loop",
        "Clear-Site-Data",
        "Client-Cert",
        "Client-Cert-Chain",
        "Client-IP",
        "Cookie2",
        "Expect-CT",
        "Fastly-Client-IP",
        "Feature-Policy",
        "Origin-Agent-Cluster",
        "Permissions-Policy",
        "Public-Key-Pins",
        "Referrer-Policy",
        "Refresh",
        "Remote-User",
        "Set-Cookie2",
        "Strict-Transport-Security",
        "True-Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Original-Host",
        "X-Remote-User",
        "X-XSS-Protection",
    ];
    const PREFIXES: &[&str] =
        &["Accept-", "Access-Control-", "CF-", "Cross-Origin-", "If-", "Proxy-", "Sec-"];
    let begins = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|head| are_twins(head, prefix.as_bytes()))
    };
    NAMES.iter().any(|other| are_twins(name, other.as_bytes()))
        || PREFIXES.iter().any(|prefix| begins(prefix))
        || begins("Content-")
}
