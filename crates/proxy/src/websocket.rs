//! What proves a WebSocket's begin over HTTP/1.1 (RFC 6455, section 4.2.2), for the side that has none:
//! HTTP/2 needs no such proof (RFC 8441, section 5).

use std::hash::{BuildHasher, Hasher, RandomState};

use message::{Known, Request, Response, Version};

/// What an answer must hold for a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut text = key.trim_ascii().to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&sha1(&text))
}

/// The key that a request for a WebSocket lacks because it has come by HTTP/2.
pub(crate) fn missing_key(request: &Request) -> Option<String> {
    if request.version != Version::Http2 {
        return None; // whoever speaks HTTP/1.1 has said what it wanted to
    }
    let mut protocols = request.fields.list(Known::Upgrade);
    let lacks = protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && !request.fields.has(Known::SecWebSocketKey);
    lacks.then(|| {
        // It need not be a secret, only another one each time: the standard library's hashers are
        // seeded so.
        let random = || RandomState::new().build_hasher().finish().to_be_bytes();
        base64([random(), random()].as_flattened())
    })
}

/// Whether an answer proves that it is one to this key.
pub(crate) fn is_answered(key: &[u8], response: &Response) -> bool {
    let due = accept(key);
    let mut proofs = response.fields.get_all(Known::SecWebSocketAccept).peekable();
    // Of several each must be right, as clients differ in which one they read.
    proofs.peek().is_some() && proofs.all(|proof| proof.trim_ascii() == due.as_bytes())
}

/// Whether a 101 changes to protocols that the request has asked for (RFC 9110, section 7.8), and in a
/// version that knows how.
pub(crate) fn is_agreed(request: &Request, response: &Response) -> bool {
    let is_asked_for = |chosen: &[u8]| {
        request.fields.list(Known::Upgrade).any(|asked| {
            let name = chosen.split(|&byte| byte == b'/').next().unwrap_or_default();
            asked.eq_ignore_ascii_case(chosen)
                // Who names no version takes any.
                || (!asked.contains(&b'/') && asked.eq_ignore_ascii_case(name))
        })
    };
    let mut chosen = response.fields.list(Known::Upgrade).peekable();
    response.version != Version::Http10 && chosen.peek().is_some() && chosen.all(is_asked_for)
}

/// Whether a 101 proves what it must: that a WebSocket is meant (RFC 6455, section 4.1), by a key of the
/// request's own or by `ours`, which stands in for one that it lacks.
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

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        let number = number << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS.get((number >> (18 - 6 * place) & 63) as usize).copied();
            let padding = place > group.len();
            text.push(if padding { '=' } else { char::from(letter.unwrap_or(b'=')) });
        }
    }
    text
}

/// FIPS 180-4, section 6.1. Not for anything that must be safe: RFC 6455 uses it as a fingerprint.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let length = padded.len();
    let bits = (message.len() as u64) * 8;
    padded.splice(length - 8.., bits.to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut state, block);
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn compress(state: &mut [u32; 5], block: &[u8]) {
    let mut window = [0u32; 16]; // the last sixteen words of the schedule
    for (word, bytes) in window.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in 0..80 {
        let word = window[0];
        let next = (window[13] ^ window[8] ^ window[2] ^ window[0]).rotate_left(1);
        window.rotate_left(1);
        window[15] = next;
        let (mixed, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5A82_7999u32),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6),
        };
        let sum = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
        (e, d, c, b) = (d, c, b.rotate_left(30), a);
        a = sum.wrapping_add(constant).wrapping_add(word);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        // FIPS 180-4's examples, and lengths around the end of a block.
        #[track_caller]
        fn check(message: &[u8], expected: &str) {
            let hex: String = sha1(message).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
        check(b"", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        check(b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
        check(
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
        );
        check(&[b'a'; 55], "c1c8bbdc22796e28c0e15163d20899b65621d65a");
        check(&[b'a'; 64], "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 6455, section 1.3
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(base64(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(base64(b""), "");
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
