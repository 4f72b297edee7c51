//! Field blocks (RFC 7541): an encoder for all forms, valid or not, and a decoder.

use std::collections::VecDeque;

use super::{Fields, huffman};

/// An integer with a prefix of `prefix` bits, after `flags` in the first byte (section 5.1).
pub fn integer(flags: u8, prefix: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return vec![flags | u8::try_from(value).expect("a prefix")];
    }
    let mut bytes = vec![flags | u8::try_from(most).expect("a prefix")];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(0x80 | u8::try_from(rest & 0x7f).expect("seven bits"));
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}

/// A string without Huffman code (section 5.2).
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [integer(0, 7, text.len()), text.to_vec()].concat()
}

/// A string with Huffman code.
pub fn huffman_string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let coded = huffman::encode(text.as_ref());
    [integer(0x80, 7, coded.len()), coded].concat()
}

/// An indexed field (section 6.1).
pub fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A literal field without indexing (section 6.2.2).
pub fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A literal field with incremental indexing (section 6.2.1).
pub fn learned(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A literal field with an indexed name, without indexing (section 6.2.2).
pub fn named(index: usize, value: impl AsRef<[u8]>) -> Vec<u8> {
    [integer(0, 4, index), string(value)].concat()
}

/// A dynamic table size update (section 6.3).
pub fn table_size(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

/// A block of [`literal`] fields.
pub fn literals(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A name and a value, of any bytes.
type Pair = (Vec<u8>, Vec<u8>);

/// A decoder for the field blocks of one direction.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<Pair>,
    size: usize,
    size_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, size_max: 4096 }
    }
}

impl Decoder {
    /// Decodes a whole block; `None` if it is invalid.
    pub fn decode(&mut self, block: &[u8]) -> Option<Fields> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = self.decode_bytes(block)?.into_iter();
        Some(fields.map(|(name, value)| (text(name), text(value))).collect())
    }

    /// Like `decode`, for fields of any bytes.
    pub fn decode_bytes(&mut self, mut block: &[u8]) -> Option<Vec<Pair>> {
        let mut fields = Vec::new();
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = read_integer(&mut block, 7)?;
                    fields.push(self.entry(index)?);
                }
                0x40.. => {
                    let field = self.read_literal(&mut block, 6)?;
                    fields.push(field.clone());
                    self.learn(field);
                }
                0x20.. => {
                    let size = read_integer(&mut block, 5)?;
                    if !fields.is_empty() || size > 4096 {
                        return None;
                    }
                    self.size_max = size;
                    self.shrink();
                }
                _ => fields.push(self.read_literal(&mut block, 4)?),
            }
        }
        Some(fields)
    }

    fn read_literal(&self, block: &mut &[u8], prefix: u8) -> Option<Pair> {
        let name = match read_integer(block, prefix)? {
            0 => read_string(block)?,
            index => self.entry(index)?.0,
        };
        Some((name, read_string(block)?))
    }

    fn entry(&self, index: usize) -> Option<Pair> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self.table.get(index - STATIC.len()).cloned()
    }

    fn learn(&mut self, field: Pair) {
        self.size += field.0.len() + field.1.len() + 32;
        self.table.push_front(field);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.size_max {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.size -= name.len() + value.len() + 32;
        }
    }
}

fn read_integer(block: &mut &[u8], prefix: u8) -> Option<usize> {
    let most = (1_usize << prefix) - 1;
    let (&first, rest) = block.split_first()?;
    *block = rest;
    let mut value = usize::from(first) & most;
    if value < most {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let (&byte, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let is_coded = block.first()? & 0x80 != 0;
    let length = read_integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if is_coded { huffman::decode(text) } else { Some(text.to_vec()) }
}

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::{Decoder, indexed, integer, learned, literal, named, table_size};

    /// RFC 7541, appendix C.
    #[test]
    fn examples() {
        assert_eq!(integer(0, 5, 10), [10]);
        assert_eq!(integer(0, 5, 1337), [31, 154, 10]);
        let mut decoder = Decoder::default();
        let mut check = |block: &[u8], expected: &[(&str, &str)]| {
            let fields = decoder.decode(block).expect("a field block in order");
            let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(fields, expected, "{block:?}");
        };
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let authority = (":authority", "www.example.com");
        check(first, &[get.as_slice(), &[authority]].concat());
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let cache = ("cache-control", "no-cache");
        check(second, &[get.as_slice(), &[authority, cache]].concat());
        let ours = [learned("a", "b"), literal("c", "d"), indexed(62), named(62, "e")].concat();
        check(&ours, &[("a", "b"), ("c", "d"), ("a", "b"), ("a", "e")]);
        check(&table_size(0), &[]);
        assert_eq!(decoder.decode(&indexed(62)), None);
    }
}
