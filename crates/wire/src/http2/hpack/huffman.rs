//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: codes of one length follow each other in the order of the symbols, and
//! longer ones follow shorter ones. So the lengths alone say all, and both tables are made of them.

/// The length of each symbol's code in bits; the last is the end of a string.
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

/// The end of a string, which must not occur in one.
const END: u16 = 256;
/// The shortest and the longest code.
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// What decodes the code.
struct Tables {
    /// For each byte at the front: the symbol and its length; a length of 0 for longer codes.
    short: [(u8, u8); 256],
    /// The symbols in the order of their codes.
    order: [u16; 257],
    /// For each length: the first code that is longer, with its bits at the top of 32.
    beyond: [u32; LONGEST + 1],
    /// For each length: its first code, and the place of that in `order`.
    first: [(u32, u16); LONGEST + 1],
}

static TABLES: Tables = {
    let mut tables = Tables {
        short: [(0, 0); 256],
        order: [0; 257],
        beyond: [0; LONGEST + 1],
        first: [(0, 0); LONGEST + 1],
    };
    let (mut code, mut place, mut length) = (0_u32, 0_u16, SHORTEST);
    while length <= LONGEST {
        tables.first[length] = (code, place);
        let mut symbol = 0_usize;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.order[place as usize] = symbol as u16;
                if length <= 8 {
                    let from = (code << (8 - length)) as usize;
                    let mut at = from;
                    while at < from + (1 << (8 - length)) {
                        tables.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        // The last code of all is 30 ones, beyond which there is nothing.
        tables.beyond[length] = if length == LONGEST { u32::MAX } else { code << (32 - length) };
        code <<= 1;
        length += 1;
    }
    tables
};

/// Decodes a string to the end of `out`; `None` if it is none.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // Bits that were not decoded yet, from the top.
    let (mut bits, mut count) = (0_u64, 0_usize);
    let mut rest = bytes.iter();
    loop {
        while count <= 56 {
            let Some(&byte) = rest.next() else { break };
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        let (symbol, length) = *TABLES.short.get((bits >> 56) as usize)?;
        let length = usize::from(length);
        if length > 0 && length <= count {
            out.push(symbol);
            (bits, count) = (bits << length, count - length);
            continue;
        }
        // RFC 7541, section 5.2: padding is shorter than a byte, and all ones.
        if count < 8 && bits | u64::MAX >> count == u64::MAX {
            return Some(());
        }
        let (symbol, length) = long(bits)?;
        if length > count || symbol == END {
            return None;
        }
        out.push(u8::try_from(symbol).ok()?);
        (bits, count) = (bits << length, count - length);
    }
}

/// The symbol of a code that is longer than a byte.
fn long(bits: u64) -> Option<(u16, usize)> {
    let top = (bits >> 32) as u32;
    let longer = TABLES.beyond.iter().enumerate().skip(SHORTEST);
    let (length, _) =
        longer.into_iter().find(|(length, beyond)| top < **beyond || *length == LONGEST)?;
    let (first, place) = *TABLES.first.get(length)?;
    let index = usize::from(place) + usize::try_from((top >> (32 - length)) - first).ok()?;
    Some((*TABLES.order.get(index)?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.4 and C.6; the other implementation is tested against in `tests/hpack.rs`.
    #[test]
    fn examples() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Option<&str>) {
            let mut out = Vec::new();
            let decoded = decode(bytes, &mut out).map(|()| String::from_utf8(out).unwrap());
            assert_eq!(decoded.as_deref(), expected, "{bytes:x?}");
        }
        check(b"", Some(""));
        check(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", Some("www.example.com"));
        check(b"\xa8\xeb\x10\x64\x9c\xbf", Some("no-cache"));
        check(b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", Some("custom-value"));
        check(b"\x64\x02", Some("302"));
        check(b"\x64\x02\xff", None); // padding of a byte
        check(b"\x00", None); // "0", then padding of zeros
        check(b"\xff\xff\xff\xff", None); // the end
        check(b"\xff\xff\xff\xfc", None);
    }
}
