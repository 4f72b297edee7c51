//! Ids of requests: UUIDs of version 7 (RFC 9562, section 5.7), which sort by time.

use std::time::{SystemTime, UNIX_EPOCH};

use message::RequestId;

/// What `explain` and `check` show for an id that would be made.
pub const REQUEST_ID_PLACEHOLDER: &[u8] = b"REQUEST-ID";

/// The id of a request, made now if there is none.
pub fn request_id(id: &RequestId) -> &[u8] {
    id.get_or_make(new_id)
}

/// A new id.
fn new_id() -> [u8; 36] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Where the system has no source of randomness, ids that only differ are good enough.
    let random = random::secret::<10>().unwrap_or_else(|_| {
        let mut bytes = [0; 10];
        let numbers = random::next().to_ne_bytes().into_iter().chain(random::next().to_ne_bytes());
        bytes.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
        bytes
    });
    uuid_v7(now.as_millis() as u64, random)
}

/// The UUID of a time in milliseconds since 1970 and of these random bytes.
fn uuid_v7(millis: u64, random: [u8; 10]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let [.., t0, t1, t2, t3, t4, t5] = millis.to_be_bytes();
    let [r0, r1, r2, rest @ ..] = random;
    let [r3, r4, r5, r6, r7, r8, r9] = rest;
    let bytes = [
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        0x70 | (r0 & 0x0f),
        r1,
        0x80 | (r2 & 0x3f),
        r3,
        r4,
        r5,
        r6,
        r7,
        r8,
        r9,
    ];
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (place, digit) in places.zip(digits) {
        let digit = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0');
        if let Some(to) = text.get_mut(place as usize) {
            *to = digit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_rfc_has_it() {
        // RFC 9562, appendix A.6; its random bits, with room for the version and the variant.
        let random = [0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        let id = uuid_v7(0x017F_22E2_79B0, random);
        assert_eq!(str::from_utf8(&id), Ok("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"));
    }

    #[test]
    fn ids_differ() {
        let (one, other) = (new_id(), new_id());
        assert_ne!(one, other);
        assert_eq!((one[14], one[8]), (b'7', b'-'));
    }
}
