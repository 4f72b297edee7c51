//! The rules for a head or trailers of a message (RFC 9113, sections 8.1 to 8.3 and 8.5).
//!
//! [`BlockValidator`] gets each field of a block as it is decoded, checks it, and packs it for [`field_block`]. A
//! block that breaks a rule makes its message malformed: an error of one stream, which does not affect the
//! connection and its other streams.
//! Not here: the rules for targets and methods, and the sizes of a request, for which a client gets a
//! response.
//! Lenient: blanks around values are dropped (section 8.2.1 calls them malformed; nginx, HAProxy,
//! Envoy and Caddy take them), and other control characters in a response's values become spaces.

use thiserror::Error;

use super::field_block::{self, PackedFields};
use super::hpack::FIELD_OVERHEAD;

/// What a block is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The head of a request.
    Request,
    /// Fields after a request's content.
    Trailers,
    /// Anything that a server sends: a head if it has `:status`, else trailers.
    Response,
}

macro_rules! malformed {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a message is malformed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
        #[repr(u8)]
        pub enum Malformed {
            $($(#[$doc])* #[error($text)] $variant,)*
        }

        impl Malformed {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// In words.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

malformed! {
    /// RFC 9113, section 8.2.1: not a token, or with upper-case letters.
    Name = "a field's name has characters that may not be in one (RFC 9113, 8.2.1)",
    /// RFC 9113, section 8.2.1: CR, LF, NUL; of a request any control character.
    Value = "a field's value has characters that may not be in one (RFC 9113, 8.2.1)",
    /// RFC 9113, section 8.2.2.
    ConnectionField = "it has a field that belongs to a connection (RFC 9113, 8.2.2)",
    /// RFC 9113, section 8.3.
    UnknownPseudo = "it has a pseudo-field that is unknown or not for it (RFC 9113, 8.3)",
    /// RFC 9113, section 8.3.
    RepeatedPseudo = "it has a pseudo-field twice (RFC 9113, 8.3)",
    /// RFC 9113, section 8.3.
    LatePseudo = "a pseudo-field after other fields (RFC 9113, 8.3)",
    /// RFC 9113, section 8.1.
    PseudoInTrailers = "trailers have a pseudo-field (RFC 9113, 8.1)",
    /// RFC 9113, sections 8.3.1 and 8.3.2.
    MissingPseudo = "a pseudo-field is missing (RFC 9113, 8.3)",
    /// RFC 9113, section 8.3.1: a path holds no fragment, and is not empty.
    Path = "its :path is empty or has a fragment (RFC 9113, 8.3.1)",
    /// RFC 9113, section 8.5, and RFC 8441, section 4.
    Connect = "it is a CONNECT with fields that it may not have (RFC 9113, 8.5; RFC 8441, 4)",
    /// RFC 9113, section 8.3.2.
    Status = "its :status is not a status code (RFC 9113, 8.3.2)",
    /// RFC 9113, section 8.1.1, and RFC 9110, section 8.6.
    Length = "its Content-Length is malformed or not that of its content (RFC 9113, 8.1.1)",
    /// RFC 9113, section 8.1: an interim response does not end a stream.
    InterimEnd = "an interim response ends the stream (RFC 9113, 8.1)",
    /// RFC 9113, section 6.5.2: larger than we announced.
    TooLarge = "its fields are larger than allowed (RFC 9113, 6.5.2)",
}

impl Malformed {
    /// As one letter.
    pub(super) fn code(self) -> u8 {
        b'A' + self as u8
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(b'A')?)).copied()
    }
}

/// Memory for one block; any number of guards may share it.
#[derive(Debug, Default)]
pub(super) struct BlockBuffers {
    /// The value of the carrier.
    packed: Vec<u8>,
    cookies: Vec<u8>,
}

/// Pseudo-fields, as bits.
mod pseudo {
    pub(super) const METHOD: u8 = 1;
    pub(super) const SCHEME: u8 = 1 << 1;
    pub(super) const AUTHORITY: u8 = 1 << 2;
    pub(super) const PATH: u8 = 1 << 3;
    pub(super) const PROTOCOL: u8 = 1 << 4;
    pub(super) const STATUS: u8 = 1 << 5;
}

/// Validates one block.
pub(super) struct BlockValidator<'a> {
    kind: Kind,
    ends_stream: bool,
    /// The maximum size of names and values, as the RFC counts.
    size_max: usize,
    size: usize,
    buffers: &'a mut BlockBuffers,
    malformed: Option<Malformed>,
    /// Pseudo-fields so far.
    seen: u8,
    has_fields: bool,
    is_connect: bool,
    status: u16,
    length: Option<u64>,
}

impl<'a> BlockValidator<'a> {
    pub(super) fn new(
        kind: Kind,
        ends_stream: bool,
        size_max: usize,
        buffers: &'a mut BlockBuffers,
    ) -> Self {
        field_block::begin(&mut buffers.packed, kind == Kind::Request);
        buffers.cookies.clear();
        Self {
            kind,
            ends_stream,
            size_max: size_max.min(field_block::LENGTH_MAX),
            size: 0,
            buffers,
            malformed: None,
            seen: 0,
            has_fields: false,
            is_connect: false,
            status: 0,
            length: None,
        }
    }

    /// The size of all fields, as the RFC counts.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The next field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let is_crumb = self.kind == Kind::Request && name == b"cookie";
        // RFC 9113, section 8.2.3: crumbs are one field, whatever their number.
        self.size += match is_crumb && !self.buffers.cookies.is_empty() {
            true => value.len() + CRUMB_SEPARATOR.len(),
            false => name.len() + value.len() + FIELD_OVERHEAD,
        };
        if self.malformed.is_some() {
            return;
        }
        let judged = match name {
            _ if self.size > self.size_max => Err(Malformed::TooLarge),
            [b':', name @ ..] => self.pseudo(name, value),
            _ => self.ordinary(name, value, is_crumb),
        };
        self.malformed = judged.err();
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let for_request = self.kind == Kind::Request;
        let (bit, name) = match (name, self.kind) {
            (_, Kind::Trailers) => return Err(Malformed::PseudoInTrailers),
            (b"method", _) if for_request => (pseudo::METHOD, b":method".as_slice()),
            (b"scheme", _) if for_request => (pseudo::SCHEME, b":scheme".as_slice()),
            (b"authority", _) if for_request => (pseudo::AUTHORITY, b":authority".as_slice()),
            (b"path", _) if for_request => (pseudo::PATH, b":path".as_slice()),
            (b"protocol", _) if for_request => (pseudo::PROTOCOL, b":protocol".as_slice()),
            (b"status", Kind::Response) => (pseudo::STATUS, b":status".as_slice()),
            _ => return Err(Malformed::UnknownPseudo),
        };
        ensure(!self.has_fields, Malformed::LatePseudo)?;
        ensure(self.seen & bit == 0, Malformed::RepeatedPseudo)?;
        self.seen |= bit;
        match bit {
            pseudo::STATUS => self.status = status(value).ok_or(Malformed::Status)?,
            pseudo::METHOD => self.is_connect = value == b"CONNECT",
            pseudo::PATH => {
                ensure(!value.is_empty() && !value.contains(&b'#'), Malformed::Path)?;
            }
            _ => {}
        }
        // None of them may contain a blank.
        ensure(value.iter().all(|&byte| byte > b' ' && byte != DEL), Malformed::Value)?;
        PackedFields::push(&mut self.buffers.packed, name, value);
        Ok(())
    }

    fn ordinary(&mut self, name: &[u8], raw: &[u8], is_crumb: bool) -> Result<(), Malformed> {
        self.has_fields = true;
        let is_name = |byte: u8| NAME.get(usize::from(byte)).is_some_and(|is_one| *is_one);
        ensure(!name.is_empty() && name.iter().all(|&byte| is_name(byte)), Malformed::Name)?;
        let value = trim(raw);
        let from_client = self.kind != Kind::Response;
        let is_wrong = |byte: u8| match from_client {
            true => byte < b' ' && byte != b'\t' || byte == DEL,
            false => matches!(byte, b'\0' | b'\r' | b'\n'),
        };
        ensure(!value.iter().any(|&byte| is_wrong(byte)), Malformed::Value)?;
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => return Err(Malformed::ConnectionField),
            b"te" => ensure(value.eq_ignore_ascii_case(b"trailers"), Malformed::ConnectionField)?,
            b"content-length" => {
                // The length that delimits a request must have one reading only.
                let digits = if from_client { raw } else { value };
                let length = Some(length(digits).ok_or(Malformed::Length)?);
                if let before @ Some(_) = std::mem::replace(&mut self.length, length) {
                    return ensure(before == length, Malformed::Length);
                }
            }
            _ if is_crumb => {
                let cookies = &mut self.buffers.cookies;
                if !cookies.is_empty() && !value.is_empty() {
                    cookies.extend_from_slice(CRUMB_SEPARATOR);
                }
                cookies.extend_from_slice(value);
                return Ok(());
            }
            _ => {}
        }
        let packed = &mut self.buffers.packed;
        PackedFields::push(packed, name, value);
        if !from_client {
            let from = packed.len() - value.len();
            let is_control = |byte: &&mut u8| **byte < b' ' && **byte != b'\t' || **byte == DEL;
            packed.iter_mut().skip(from).filter(is_control).for_each(|byte| *byte = b' ');
        }
        Ok(())
    }

    /// Appends the block that `h2` gets instead to `out`, and returns why the message is malformed, if it is.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Option<Malformed> {
        if !self.buffers.cookies.is_empty() && self.malformed.is_none() {
            PackedFields::push(&mut self.buffers.packed, b"cookie", &self.buffers.cookies);
        }
        if self.malformed.is_none() {
            self.malformed = self.whole().err();
        }
        if let Some(what) = self.malformed {
            field_block::malformed(&mut self.buffers.packed, what);
            (self.status, self.length) = (STATUS_OF_MALFORMED, None);
        }
        let is_head = match self.kind {
            Kind::Request => true,
            Kind::Trailers => false,
            Kind::Response => self.seen & pseudo::STATUS != 0,
        };
        self.write(is_head, out);
        self.malformed
    }

    /// The rules that apply to the whole block.
    fn whole(&mut self) -> Result<(), Malformed> {
        let has = |bits: u8| self.seen & bits == bits;
        match self.kind {
            Kind::Trailers => return Ok(()),
            Kind::Response => {
                let is_head = has(pseudo::STATUS);
                field_block::turn_into(&mut self.buffers.packed, is_head);
                let is_interim = (100..200).contains(&self.status);
                return ensure(!(is_interim && self.ends_stream), Malformed::InterimEnd);
            }
            Kind::Request => {}
        }
        ensure(has(pseudo::METHOD), Malformed::MissingPseudo)?;
        let target = pseudo::SCHEME | pseudo::PATH;
        if self.is_connect && !has(pseudo::PROTOCOL) {
            // RFC 9113, section 8.5.
            ensure(self.seen & target == 0, Malformed::Connect)?;
            return ensure(has(pseudo::AUTHORITY), Malformed::MissingPseudo);
        }
        // RFC 8441, section 4.
        ensure(self.is_connect || !has(pseudo::PROTOCOL), Malformed::Connect)?;
        ensure(has(target), Malformed::MissingPseudo)?;
        // RFC 9113, section 8.1.1.
        ensure(!self.ends_stream || self.length.unwrap_or(0) == 0, Malformed::Length)
    }

    /// What `h2` must know of a block, and the carrier.
    fn write(&self, is_head: bool, out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        match (self.kind, is_head) {
            // `:method: GET`, `:scheme: http`, `:path: /`, of the static table (RFC 7541, appendix A).
            (Kind::Request, _) => out.extend_from_slice(&[0x82, 0x86, 0x84]),
            (Kind::Response, true) => {
                out.push(0x08); // `:status`
                string(out, decimal(self.status.into(), &mut digits));
            }
            _ => {}
        }
        // `h2` compares it with the content. Of these statuses it says nothing of any.
        let says_nothing = matches!(self.status, 100..200 | 204 | 304);
        if let Some(length) = self.length.filter(|_| is_head && !says_nothing) {
            out.extend_from_slice(&[0x0f, 0x0d]); // `content-length`
            string(out, decimal(length, &mut digits));
        }
        out.push(0x00);
        string(out, field_block::CARRIER.as_bytes());
        string(out, &self.buffers.packed);
    }
}

/// The separator of cookie crumbs that are joined (RFC 9113, section 8.2.3).
const CRUMB_SEPARATOR: &[u8] = b"; ";

/// The status for `h2` of a malformed response; never forwarded.
const STATUS_OF_MALFORMED: u16 = 502;

const DEL: u8 = 0x7f;

/// What a name consists of: a token (RFC 9110, section 5.6.2) without upper-case letters.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_usize;
    while byte < 128 {
        table[byte] = message::is_token_byte(byte as u8) && !(byte as u8).is_ascii_uppercase();
        byte += 1;
    }
    table
};

fn ensure(condition: bool, what: Malformed) -> Result<(), Malformed> {
    if condition { Ok(()) } else { Err(what) }
}

/// A value without blanks around it.
fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if !value.first().is_some_and(is_blank) && !value.last().is_some_and(is_blank) {
        return value;
    }
    let Some(begin) = value.iter().position(|byte| !is_blank(byte)) else { return &[] };
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    value.get(begin..end).unwrap_or_default()
}

/// RFC 9113, section 8.3.2, and RFC 9110, section 15: three digits. Up to 999, as over HTTP/1.
fn status(value: &[u8]) -> Option<u16> {
    let digits: &[u8; 3] = value.try_into().ok()?;
    let number = digits.iter().try_fold(0_u16, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
    })?;
    (number >= 100).then_some(number)
}

/// RFC 9110, section 8.6: digits and nothing else. Beyond 63 bits others overflow.
fn length(digits: &[u8]) -> Option<u64> {
    let number = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let length = digits.iter().try_fold(0, number)?;
    (!digits.is_empty() && length < 1 << 63).then_some(length)
}

/// A number in decimal, at the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut begin = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        begin -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(begin..).unwrap_or_default()
}

/// A string as it is (RFC 7541, section 5.2).
fn string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(0x7f) {
        None => out.push(text.len() as u8),
        Some(mut rest) => {
            out.push(0x7f);
            while rest >= 0x80 {
                out.push(0x80 | (rest & 0x7f) as u8);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text);
}
