//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: codes of equal length are in the order of the symbols, and longer codes
//! follow shorter ones. So the lengths define the code.

/// The length of the code of each symbol in bits; the last symbol is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// EOS, which must not occur in a string.
const END: usize = 256;

/// Symbol, code and length, in the order of the codes.
fn codes() -> Vec<(usize, u32, u8)> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|&symbol| (LENGTHS[symbol], symbol));
    let mut next = 0_u32;
    let mut before = LENGTHS[order[0]];
    let give = |symbol: usize| {
        let length = LENGTHS[symbol];
        next <<= length - before;
        before = length;
        next += 1;
        (symbol, next - 1, length)
    };
    order.into_iter().map(give).collect()
}

/// Encodes a string, padded with the first bits of EOS.
pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
    let codes = codes();
    let code_of = |symbol: u8| {
        let code = codes.iter().find(|(other, ..)| *other == usize::from(symbol));
        code.expect("every byte has a code")
    };
    let mut bits = Vec::new();
    for &byte in text {
        let (_, code, length) = code_of(byte);
        bits.extend((0..*length).rev().map(|bit| code >> bit & 1 == 1));
    }
    while bits.len() % 8 != 0 {
        bits.push(true);
    }
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    bits.chunks(8).map(byte).collect()
}

/// Decodes a string; `None` if it is invalid.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let codes = codes();
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u32, 0_u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        let found = codes.iter().find(|(_, other, bits)| (*other, *bits) == (code, length));
        match found {
            Some(&(END, ..)) => return None,
            Some(&(symbol, ..)) => {
                text.push(u8::try_from(symbol).ok()?);
                (code, length) = (0, 0);
            }
            None if length > 30 => return None,
            None => {}
        }
    }
    // RFC 7541, section 5.2: padding is shorter than a byte, and all ones.
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn examples() {
        let check = |text: &str, expected: &[u8]| {
            assert_eq!(encode(text.as_bytes()), expected, "{text}");
            assert_eq!(decode(expected).as_deref(), Some(text.as_bytes()));
        };
        check("www.example.com", b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        check("no-cache", b"\xa8\xeb\x10\x64\x9c\xbf");
        check("custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf");
        check("302", b"\x64\x02");
        check("private", b"\xae\xc3\x77\x1a\x4b");
        assert_eq!(decode(b"\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"\x64\x02\xff"), None);
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }
}
