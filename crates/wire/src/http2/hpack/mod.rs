//! Field blocks: the content of HEADERS and CONTINUATION (RFC 7541).
//!
//! [`Decoder`] reads the blocks of one direction of a connection, in their order, and keeps the
//! table that they build. It knows nothing of HTTP: any bytes may be a name or a value.
//! Invariants: the table never holds more than [`TABLE_BYTES`], as the RFC counts; a block that is
//! not in order ends the connection, as the table is lost then.

mod huffman;
mod statics;
mod table;

use table::Table;

/// The table that we offer: what a peer may assume (RFC 9113, section 6.5.2).
pub const TABLE_BYTES: usize = 4096;

/// What the RFC counts for a field beside its name and value (RFC 7541, section 4.1).
pub const FIELD_OVERHEAD: usize = 32;

/// A block is not in order: a compression error (RFC 9113, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

/// Memory that a decoder needs while it reads a block; any number of decoders may share it.
#[derive(Debug, Default)]
pub struct StringBuffers {
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Reads the blocks of one direction.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    table: Table,
}

impl Decoder {
    /// Reads a whole block and shows each field, in order.
    pub fn decode(
        &mut self,
        block: &[u8],
        strings: &mut StringBuffers,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let mut rest = block;
        let mut has_begun = false;
        while let Some(&first) = rest.first() {
            match first {
                0x80.. => {
                    let (name, value) = self.entry(integer(&mut rest, 7)?)?;
                    field(name, value);
                }
                // RFC 7541, section 4.2: at the beginning of a block, and no more than we offer.
                0x20..0x40 => {
                    let size = integer(&mut rest, 5)?;
                    if has_begun || size > TABLE_BYTES {
                        return Err(DecodeError);
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => {
                    let (name, value) = self.literal(&mut rest, first, strings)?;
                    field(name, value);
                }
            }
            has_begun = true;
        }
        Ok(())
    }

    /// A field in words (RFC 7541, section 6.2), which the table learns or not.
    fn literal<'a, 'b: 'a>(
        &mut self,
        rest: &mut &'b [u8],
        first: u8,
        strings: &'a mut StringBuffers,
    ) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
        let learns = first >= 0x40;
        let StringBuffers { name: names, value: values } = strings;
        let name: &[u8] = match integer(rest, if learns { 6 } else { 4 })? {
            0 => string(rest, names)?,
            index => match statics::FIELDS.get(index - 1) {
                Some((name, _)) => name,
                None => {
                    // Copied, as learning may push it out.
                    names.clear();
                    names.extend_from_slice(self.entry(index)?.0);
                    names
                }
            },
        };
        let value = string(rest, values)?;
        if learns {
            self.table.learn(name, value);
        }
        Ok((name, value))
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), DecodeError> {
        let index = index.checked_sub(1).ok_or(DecodeError)?;
        match statics::FIELDS.get(index) {
            Some(&field) => Ok(field),
            None => self.table.get(index - statics::FIELDS.len()).ok_or(DecodeError),
        }
    }
}

/// An integer of which the first byte has `prefix` bits (RFC 7541, section 5.1); at most 28 bits
/// may follow, which is more than any block has bytes.
fn integer(rest: &mut &[u8], prefix: u8) -> Result<usize, DecodeError> {
    let most = (1_usize << prefix) - 1;
    let (&first, mut bytes) = rest.split_first().ok_or(DecodeError)?;
    let mut value = usize::from(first) & most;
    if value == most {
        for shift in [0, 7, 14, 21, 28] {
            let (&byte, after) = bytes.split_first().ok_or(DecodeError)?;
            bytes = after;
            if shift == 28 {
                return Err(DecodeError);
            }
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = bytes;
    Ok(value)
}

/// A string (RFC 7541, section 5.2): a part of the input, or decoded into `memory`.
fn string<'a, 'b: 'a>(
    rest: &mut &'b [u8],
    memory: &'a mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    let &first = rest.first().ok_or(DecodeError)?;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(DecodeError)?;
    *rest = after;
    if first & 0x80 == 0 {
        return Ok(bytes);
    }
    memory.clear();
    huffman::decode(bytes, memory).ok_or(DecodeError)?;
    Ok(memory)
}
