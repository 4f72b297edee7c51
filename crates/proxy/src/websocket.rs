//! The handshake of WebSockets over HTTP/1.1 (RFC 6455, section 4): the key and its proof, made for a side that
//! has none, as HTTP/2 needs neither (RFC 8441, section 5).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use message::{Known, Request, Response, Version};

/// True if the request asks for an upgrade to a protocol that we forward.
pub(crate) fn wants_tunnel(request: &Request) -> bool {
    // RFC 9113, section 3.1 made h2c obsolete; behind it requests would bypass all rules.
    request.upgrade
        && !request.fields.list(Known::Upgrade).any(|protocol| {
            protocol.eq_ignore_ascii_case(b"h2c") || protocol.eq_ignore_ascii_case(b"h2")
        })
}

/// The value that proves a key.
pub(crate) fn accept(key: &[u8]) -> String {
    // The RFC uses SHA-1 as a fingerprint; nothing depends on its strength.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.trim_ascii());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(context.finish())
}

/// A key for a WebSocket request that lacks one because it came over HTTP/2.
pub(crate) fn missing_key(request: &Request) -> Option<String> {
    if request.version != Version::Http2 {
        return None; // over HTTP/1.1 the client sends a key itself
    }
    let mut protocols = request.fields.list(Known::Upgrade);
    let lacks = protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && !request.fields.has(Known::SecWebSocketKey);
    lacks.then(|| {
        // It need not be secret, only different each time.
        BASE64_STANDARD
            .encode([random::next(), random::next()].map(u64::to_be_bytes).as_flattened())
    })
}

/// Whether a response proves that its sender has read this key.
pub(crate) fn is_answered(key: &[u8], response: &Response) -> bool {
    let expected = accept(key);
    let mut proofs = response.fields.get_all(Known::SecWebSocketAccept).peekable();
    // Each of several must be right: clients differ in which one they read.
    proofs.peek().is_some() && proofs.all(|proof| proof.trim_ascii() == expected.as_bytes())
}

/// Whether a 101 switches to protocols that the request asked for (RFC 9110, section 7.8), in a version of
/// HTTP that can.
pub(crate) fn is_agreed(request: &Request, response: &Response) -> bool {
    let is_asked_for = |chosen: &[u8]| {
        request.fields.list(Known::Upgrade).any(|asked| {
            let name = chosen.split(|&byte| byte == b'/').next().unwrap_or_default();
            asked.eq_ignore_ascii_case(chosen)
                // A name without a version asks for any version.
                || (!asked.contains(&b'/') && asked.eq_ignore_ascii_case(name))
        })
    };
    let mut chosen = response.fields.list(Known::Upgrade).peekable();
    response.version != Version::Http10 && chosen.peek().is_some() && chosen.all(is_asked_for)
}

/// Whether a 101 to a WebSocket carries the proof that it needs (RFC 6455, section 4.1): of the request's own
/// key, or of `ours` if it had none. Other protocols need none.
pub(crate) fn is_proved(
    request: &Request,
    response: &Response,
    ours: Option<&str>,
    proves: impl Fn(&[u8]) -> bool,
) -> bool {
    let mut chosen = response.fields.list(Known::Upgrade);
    if !chosen.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return true;
    }
    if let Some(ours) = ours {
        return proves(ours.as_bytes());
    }
    // A request without a key is of another protocol of that name, which proves nothing.
    let mut keys = request.fields.get_all(Known::SecWebSocketKey);
    request.version == Version::Http2 || keys.all(proves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 6455, section 1.3
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// RFC 9110, section 7.8.
    #[test]
    fn what_is_agreed() {
        #[track_caller]
        fn check(asked: &[&str], chosen: &[&str], expected: bool) {
            let (mut request, mut response) = (Request::default(), Response::default());
            asked.iter().for_each(|p| request.fields.push_known(Known::Upgrade, p.as_bytes()));
            chosen.iter().for_each(|p| response.fields.push_known(Known::Upgrade, p.as_bytes()));
            assert_eq!(is_agreed(&request, &response), expected, "{asked:?} {chosen:?}");
            response.version = Version::Http10;
            assert!(!is_agreed(&request, &response));
        }
        check(&["websocket"], &["WebSocket"], true);
        check(&["foo, bar/2"], &["bar/2"], true);
        check(&["foo", "bar"], &["bar"], true);
        check(&["foo"], &["foo/1"], true);
        check(&["foo, bar"], &["foo, bar"], true); // layers
        check(&["foo/1"], &["foo/2"], false);
        check(&["foo/1"], &["foo"], false);
        check(&["websocket"], &["foo"], false);
        check(&["foo"], &["foo, bar"], false);
        check(&["websocket"], &[], false);
        check(&["websocket"], &[", "], false);
    }

    #[test]
    fn keys_that_are_missing() {
        let mut request = Request { version: Version::Http2, ..Request::default() };
        assert_eq!(missing_key(&request), None);
        request.fields.push_known(Known::Upgrade, b"websocket");
        let key = missing_key(&request).unwrap();
        assert_eq!(key.len(), 24);
        assert_ne!(missing_key(&request), Some(key.clone()));
        let mut response = Response::default();
        assert!(!is_answered(key.as_bytes(), &response));
        response.fields.push_known(Known::SecWebSocketAccept, accept(key.as_bytes()).as_bytes());
        assert!(is_answered(key.as_bytes(), &response));
        request.fields.push_known(Known::SecWebSocketKey, key.as_bytes());
        assert_eq!(missing_key(&request), None);
    }
}
