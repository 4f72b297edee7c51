//! The two messages of `grpc.health.v1.Health/Check`, with the prefix that gRPC puts before each.
//!
//! The documents are the health checking protocol of gRPC (HEALTH), its mapping to HTTP/2 (GRPC:
//! "Length-Prefixed-Message") and the encoding of protocol buffers (PB).
//! Not here: HTTP/2, and the status of gRPC itself, which is in trailers.

use thiserror::Error;

/// The longest message that is read. A response has two bytes, and what its future versions add.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// The prefix of a message: whether it is compressed, and its length (GRPC).
pub const PREFIX_BYTES: usize = 5;
/// The number of `service` in a request and of `status` in a response (HEALTH).
const FIELD: u64 = 1;

/// Wire types (PB).
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// The status of a service (HEALTH).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingStatus {
    /// It does not say: the default of the field.
    Unknown,
    /// It takes requests.
    Serving,
    /// It does not.
    NotServing,
    /// There is no such service. Only watching answers so; a check answers NOT_FOUND.
    ServiceUnknown,
    /// A number that is not known.
    Other(i32),
}

impl ServingStatus {
    /// As the document has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
            Self::Other(_) => "a status that is not known",
        }
    }

    fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::Serving,
            2 => Self::NotServing,
            3 => Self::ServiceUnknown,
            other => Self::Other(other),
        }
    }
}

/// Why a response cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// It ends in the middle, or there is none.
    #[error("the message is cut short")]
    Short,
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message has more than 4 KiB")]
    TooLong,
    /// More comes than one message.
    #[error("there is more than one message")]
    More,
    /// It is compressed, although we do not announce that we accept this.
    #[error("the message is compressed")]
    Compressed,
    /// It is no protocol buffer.
    #[error("the message is no protocol buffer")]
    Malformed,
}

/// A request for the health of `service`, with its prefix; empty: of the server as a whole.
pub fn encode(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push((FIELD << 3 | LENGTH_DELIMITED) as u8);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    // The name comes from a line of the configuration: it is far shorter than 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed
}

/// Reads the whole body of a response: one message with its prefix.
pub fn decode(body: &[u8]) -> Result<ServingStatus, Error> {
    let (&[compressed, length @ ..], message) =
        body.split_first_chunk::<PREFIX_BYTES>().ok_or(Error::Short)?;
    let length = u32::from_be_bytes(length) as usize;
    match compressed {
        0 => {}
        1 => return Err(Error::Compressed),
        _ => return Err(Error::Malformed),
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong);
    }
    match message.len() {
        there if there < length => Err(Error::Short),
        there if there > length => Err(Error::More),
        _ => read(message),
    }
}

/// Reads a message. The last value of a repeated field counts; unknown fields are skipped (PB).
fn read(mut rest: &[u8]) -> Result<ServingStatus, Error> {
    let mut serving = ServingStatus::Unknown;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        // A field's number has at most 29 bits, and is never 0.
        let (field, kind) = (tag >> 3, tag & 7);
        if field == 0 || field >= 1 << 29 {
            return Err(Error::Malformed);
        }
        match kind {
            VARINT => {
                let value = take_varint(&mut rest)?;
                if field == FIELD {
                    // An enum is an int32, of which longer values keep the lower bits.
                    serving = ServingStatus::from_number(value as i32);
                }
            }
            // The status as anything else is another message than we asked for.
            _ if field == FIELD => return Err(Error::Malformed),
            FIXED64 => skip(&mut rest, 8)?,
            FIXED32 => skip(&mut rest, 4)?,
            LENGTH_DELIMITED => {
                let length = take_varint(&mut rest)?;
                skip(&mut rest, usize::try_from(length).map_err(|_| Error::Malformed)?)?;
            }
            // Groups are out of use for long; 6 and 7 do not exist.
            _ => return Err(Error::Malformed),
        }
    }
    Ok(serving)
}

fn skip(rest: &mut &[u8], count: usize) -> Result<(), Error> {
    *rest = rest.get(count..).ok_or(Error::Malformed)?;
    Ok(())
}

/// Seven bits a byte, the lowest first; ten bytes at most, of which the last has one bit (PB).
fn take_varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(Error::Malformed)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Error::Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Malformed)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(encode(""), [0, 0, 0, 0, 0]);
        assert_eq!(encode("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "s".repeat(300);
        assert_eq!(encode(&long)[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(encode(&long).len(), 5 + 3 + 300);
    }

    #[test]
    fn responses() {
        #[track_caller]
        fn check(message: &[u8], expected: Result<ServingStatus, Error>) {
            let body = [&[0, 0, 0, 0, message.len() as u8], message].concat();
            assert_eq!(decode(&body), expected, "{message:?}");
        }
        check(&[0x08, 1], Ok(ServingStatus::Serving));
        check(&[0x08, 2], Ok(ServingStatus::NotServing));
        check(&[0x08, 3], Ok(ServingStatus::ServiceUnknown));
        // Zero is left out as a rule.
        check(&[], Ok(ServingStatus::Unknown));
        check(&[0x08, 0], Ok(ServingStatus::Unknown));
        check(&[0x08, 7], Ok(ServingStatus::Other(7)));
        check(&[0x08, 0x81, 0x80, 0], Ok(ServingStatus::Serving));
        let minus_one = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        check(&minus_one, Ok(ServingStatus::Other(-1)));
        // The last counts.
        check(&[0x08, 1, 0x08, 2], Ok(ServingStatus::NotServing));
        // Fields that are not known: a varint, eight bytes, text, four bytes.
        check(&[0x10, 0x80, 1, 0x08, 1], Ok(ServingStatus::Serving));
        check(&[0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 1], Ok(ServingStatus::Serving));
        check(&[0x08, 1, 0x12, 2, 0x08, 2], Ok(ServingStatus::Serving));
        check(&[0x15, 1, 2, 3, 4, 0x08, 1], Ok(ServingStatus::Serving));
        // The status as text, number zero, a group, a length beyond the end, endless numbers.
        check(&[0x0a, 1, 1], Err(Error::Malformed));
        check(&[0x00, 1], Err(Error::Malformed));
        check(&[0x13, 0x14], Err(Error::Malformed));
        check(&[0x12, 5, 0], Err(Error::Malformed));
        check(&[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], Err(Error::Malformed));
        check(&[0x08], Err(Error::Malformed));
        check(&[0x08, 0x80], Err(Error::Malformed));
        let endless = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        check(&endless, Err(Error::Malformed));
        check(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], Err(Error::Malformed));
    }

    #[test]
    fn prefixes() {
        #[track_caller]
        fn check(body: &[u8], expected: Result<ServingStatus, Error>) {
            assert_eq!(decode(body), expected, "{body:?}");
        }
        check(&[], Err(Error::Short));
        check(&[0, 0, 0, 0], Err(Error::Short));
        check(&[0, 0, 0, 0, 2, 8], Err(Error::Short));
        check(&[0, 0, 0, 0, 2, 8, 1, 0], Err(Error::More));
        check(&[1, 0, 0, 0, 2, 8, 1], Err(Error::Compressed));
        check(&[2, 0, 0, 0, 2, 8, 1], Err(Error::Malformed));
        check(&[0, 0, 0, 0x10, 1, 8, 1], Err(Error::TooLong));
        check(&[0, 255, 255, 255, 255], Err(Error::TooLong));
        check(b"HTTP/1.1 200 OK", Err(Error::Malformed));
    }
}
