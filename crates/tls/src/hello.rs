//! The ClientHello, read before the handshake begins: it decides which site answers.
//!
//! Strict where it matters for that decision: lengths add up to the last byte, no extension comes
//! twice, a name is a DNS name. rustls reads it again, for the handshake itself. Each error has the
//! alert that RFC 8446 demands ([`HelloError::alert`]).

use std::borrow::Cow;

use rustls_pki_types::ServerName;
use thiserror::Error;

use crate::open::alert;

/// Bytes of a ClientHello with its record headers, at most.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;
/// Protocols offered by ALPN that are kept; those after them are read and forgotten.
const ALPN_MAX: usize = 64;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// What we need of a ClientHello before we can choose a context (RFC 8446, section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The name asked for (RFC 6066, section 3): a valid DNS name, lower case, no trailing dot.
    pub name: Option<Box<str>>,
    /// The protocols offered (RFC 7301), as they are.
    pub alpn: Vec<Box<[u8]>>,
    /// Whether TLS 1.3 is among the versions.
    pub tls13: bool,
    /// Whether it offers TLS 1.3 without an extension that TLS 1.3 demands (RFC 8446, section 9.2).
    pub(crate) lacks_extension: bool,
    /// Whether ChaCha20-Poly1305 is what the client likes best, as it does without AES in hardware.
    pub(crate) prefers_chacha: bool,
}

/// Why something is no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first bytes are not those of a TLS handshake.
    #[error("the client speaks no TLS")]
    NotTls,
    /// It is TLS, but cannot be decoded; what.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// It can be decoded, but what it says is not allowed; what.
    #[error("a ClientHello that is not allowed: {0}")]
    Illegal(&'static str),
    /// Something else comes in its place; what.
    #[error("no ClientHello: {0}")]
    Unexpected(&'static str),
    /// SSL 3.0 or older.
    #[error("the client speaks SSL 3.0 or older")]
    TooOld,
    /// A record of more than 2^14 bytes.
    #[error("a record is too long")]
    RecordTooLong,
    /// More than [`HELLO_BYTES_MAX`].
    #[error("the ClientHello is longer than 64 KiB")]
    TooLong,
}

use HelloError::{Illegal, Malformed, Unexpected};

impl HelloError {
    /// The alert that the client gets (RFC 8446, section 6.2); none if it would not know what that is.
    pub fn alert(self) -> Option<u8> {
        match self {
            Self::NotTls => None,
            Malformed(_) | Self::TooLong => Some(alert::DECODE_ERROR),
            Illegal(_) => Some(alert::ILLEGAL_PARAMETER),
            Unexpected(_) => Some(alert::UNEXPECTED_MESSAGE),
            Self::TooOld => Some(alert::PROTOCOL_VERSION),
            Self::RecordTooLong => Some(alert::RECORD_OVERFLOW),
        }
    }
}

impl ClientHello {
    /// Reads one from all bytes received so far; `None` asks for more. Records and segments may
    /// split it anywhere.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        let Some(message) = gather(bytes)? else { return Ok(None) };
        parse_hello(&message).map(Some)
    }

    /// Whether an ACME server asks for a TLS-ALPN-01 answer (RFC 8737, section 3).
    pub fn is_acme_challenge(&self) -> bool {
        matches!(&*self.alpn, [only] if **only == *b"acme-tls/1")
    }
}

/// The body of the handshake message that the records at the beginning carry.
fn gather(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    let mut rest = bytes;
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        if let Some(body) = whole_message(&message)? {
            return Ok(Some(match message {
                Cow::Borrowed(message) => {
                    Cow::Borrowed(message.get(4..4 + body).unwrap_or_default())
                }
                Cow::Owned(mut message) => {
                    message.truncate(4 + body);
                    Cow::Owned(message.split_off(4))
                }
            }));
        }
        let Some((fragment, after)) = next_fragment(rest, rest.len() == bytes.len())? else {
            // Headers count, so that empty promises are bounded too.
            let is_full = bytes.len() >= HELLO_BYTES_MAX;
            return if is_full { Err(HelloError::TooLong) } else { Ok(None) };
        };
        rest = after;
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        if bytes.len() - rest.len() > HELLO_BYTES_MAX {
            return Err(HelloError::TooLong);
        }
    }
}

/// How long the message's body is, if it is there whole.
fn whole_message(message: &[u8]) -> Result<Option<usize>, HelloError> {
    match message {
        [] => Ok(None),
        [CLIENT_HELLO, a, b, c, rest @ ..] => {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if length > HELLO_BYTES_MAX {
                return Err(HelloError::TooLong);
            }
            Ok((rest.len() >= length).then_some(length))
        }
        [CLIENT_HELLO, ..] => Ok(None),
        _ => Err(OTHER_MESSAGE),
    }
}

const OTHER_MESSAGE: HelloError = Unexpected("another message comes first");

/// The content of a record and what follows it.
type Split<'b> = (&'b [u8], &'b [u8]);

/// The content of the record at the front and what follows it. Only what is there is judged, so
/// that any split gives the same answer in the end.
fn next_fragment(bytes: &[u8], is_first: bool) -> Result<Option<Split<'_>>, HelloError> {
    match bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => return Ok(None),
        // RFC 8446, section 5.1: the version of a record says nothing. rustls wants at least this.
        [HANDSHAKE, 3, ..] => {}
        [HANDSHAKE, ..] => return Err(HelloError::TooOld),
        _ if !is_first => return Err(Unexpected("another record comes within it")),
        other => return no_handshake(other),
    }
    let &[_, _, _, high, low, ref rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446, section 5.1: no empty fragments of handshake messages, none above 2^14 bytes.
    if length == 0 {
        return Err(Unexpected("an empty record"));
    }
    if length > 1 << 14 {
        return Err(HelloError::RecordTooLong);
    }
    if rest.len() < length {
        // The rest of the record may come, if the message may.
        let is_other = is_first && rest.first().is_some_and(|kind| *kind != CLIENT_HELLO);
        return if is_other { Err(OTHER_MESSAGE) } else { Ok(None) };
    }
    Ok(Some(rest.split_at(length)))
}

/// What the first bytes are if they are no record of a handshake: another record, which is out of place
/// (RFC 8446, section 5), the hello of SSL 2.0 (appendix D.5), or no TLS at all.
fn no_handshake(bytes: &[u8]) -> Result<Option<Split<'_>>, HelloError> {
    match bytes {
        [1..=31 | 0x80..=0xff] | [0x80..=0xff, _] => Ok(None),
        [1..=31, 3, ..] => Err(Unexpected("another record comes first")),
        [0x80..=0xff, _, CLIENT_HELLO, ..] => Err(HelloError::TooOld),
        _ => Err(HelloError::NotTls),
    }
}

/// Takes bytes from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, HelloError> {
        self.take(1, what).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    fn number(&mut self, what: &'static str) -> Result<u16, HelloError> {
        let bytes = self.take(2, what)?;
        Ok(bytes.first_chunk().copied().map_or(0, u16::from_be_bytes))
    }

    /// A vector with a length of one byte.
    fn short(&mut self, what: &'static str) -> Result<Reader<'b>, HelloError> {
        let length = self.byte(what)?;
        self.take(length.into(), what).map(Reader)
    }

    /// A vector with a length of two bytes.
    fn long(&mut self, what: &'static str) -> Result<Reader<'b>, HelloError> {
        let length = self.number(what)?;
        self.take(length.into(), what).map(Reader)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self, what: &'static str) -> Result<(), HelloError> {
        if self.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}

fn parse_hello(message: &[u8]) -> Result<ClientHello, HelloError> {
    const SSL30: u16 = 0x0300;
    let mut hello = ClientHello::default();
    let mut reader = Reader(message);
    // RFC 8446, appendix D.5: never, whatever else is offered. Newer versions than we know mean the
    // newest that we know (RFC 5246, appendix E.1).
    if reader.number("legacy_version")? <= SSL30 {
        return Err(HelloError::TooOld);
    }
    reader.take(32, "random")?;
    if reader.short("legacy_session_id")?.0.len() > 32 {
        return Err(Malformed("legacy_session_id"));
    }
    let suites = reader.long("cipher_suites")?;
    if suites.is_empty() || suites.0.len() % 2 != 0 {
        return Err(Malformed("cipher_suites"));
    }
    hello.prefers_chacha = prefers_chacha(suites.0);
    const COMPRESSION: &str = "legacy_compression_methods";
    let compression = reader.short(COMPRESSION)?.0;
    if compression.is_empty() {
        return Err(Malformed(COMPRESSION));
    }
    // RFC 5246, section 7.4.1.2: there may be no extensions at all.
    if !reader.is_empty() {
        let extensions = reader.long("extensions")?;
        reader.end("bytes after the extensions")?;
        parse_extensions(extensions, &mut hello)?;
    }
    // RFC 5246, section 7.4.1.2: always among them is "null". RFC 8446, section 4.1.2: it is the only one.
    if !compression.contains(&0) || (hello.tls13 && compression.len() > 1) {
        return Err(Illegal(COMPRESSION));
    }
    Ok(hello)
}

/// By the first suite that is no GREASE (RFC 8701).
fn prefers_chacha(suites: &[u8]) -> bool {
    let mut suites = suites.chunks_exact(2).filter_map(|pair| pair.first_chunk());
    let first = suites.find(|pair| !matches!(pair, [a, b] if a == b && a & 15 == 10));
    matches!(first, Some([0x13, 0x03] | [0xcc, 0xa8 | 0xa9]))
}

/// The kinds of extensions that have come.
struct Kinds([u64; 1024]);

impl Kinds {
    fn contains(&self, kind: u16) -> bool {
        let word = self.0.get(usize::from(kind / 64)).copied().unwrap_or_default();
        word & 1 << (kind % 64) != 0
    }

    fn insert(&mut self, kind: u16) {
        if let Some(word) = self.0.get_mut(usize::from(kind / 64)) {
            *word |= 1 << (kind % 64);
        }
    }
}

fn parse_extensions(mut reader: Reader<'_>, hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut kinds = Kinds([0; 1024]);
    while !reader.is_empty() {
        let kind = reader.number("an extension")?;
        let mut content = reader.long("an extension")?;
        // RFC 8446, section 4.2: none may come twice. Unknown ones are ignored, however many.
        if kinds.contains(kind) {
            return Err(Illegal("an extension comes twice"));
        }
        kinds.insert(kind);
        match kind {
            SERVER_NAME => hello.name = parse_server_name(&mut content)?,
            ALPN => hello.alpn = parse_alpn(&mut content)?,
            SUPPORTED_VERSIONS => hello.tls13 = parse_versions(&mut content)?,
            // RFC 8446, section 4.2.11: it must be the last.
            PRE_SHARED_KEY if !reader.is_empty() => {
                return Err(Illegal("pre_shared_key is not the last extension"));
            }
            _ => {}
        }
    }
    // RFC 8446, section 9.2.
    let has = |kind| kinds.contains(kind);
    let is_complete = has(SUPPORTED_GROUPS) == has(KEY_SHARE)
        && (has(PRE_SHARED_KEY) || has(SIGNATURE_ALGORITHMS) && has(SUPPORTED_GROUPS));
    hello.lacks_extension = hello.tls13 && !is_complete;
    Ok(())
}

/// RFC 6066, section 3.
fn parse_server_name(content: &mut Reader<'_>) -> Result<Option<Box<str>>, HelloError> {
    const WHAT: &str = "server_name";
    const HOST_NAME: u8 = 0;
    let mut list = content.long(WHAT)?;
    content.end(WHAT)?;
    if list.is_empty() {
        return Err(Malformed(WHAT));
    }
    let mut found = None;
    while !list.is_empty() {
        // The format of another type is unknown, so that what follows it cannot be read.
        if list.byte(WHAT)? != HOST_NAME {
            break;
        }
        let name = list.long(WHAT)?;
        if name.is_empty() {
            return Err(Malformed(WHAT));
        }
        if found.replace(name).is_some() {
            return Err(Illegal("several names in server_name"));
        }
    }
    dns_name(found.ok_or(Illegal("server_name without a host name"))?.0)
}

/// `None` for an address, which RFC 6066 does not permit, but which is sent and means nothing. A name
/// is what rustls takes for one: letters, digits, `-` and `_` in labels of up to 63 bytes.
fn dns_name(bytes: &[u8]) -> Result<Option<Box<str>>, HelloError> {
    match ServerName::try_from(bytes) {
        Ok(ServerName::DnsName(name)) => {
            let name = name.as_ref();
            Ok(Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()))
        }
        Ok(ServerName::IpAddress(_)) => Ok(None),
        _ => Err(Illegal("server_name is no DNS name")),
    }
}

/// RFC 7301, section 3.1.
fn parse_alpn(content: &mut Reader<'_>) -> Result<Vec<Box<[u8]>>, HelloError> {
    const WHAT: &str = "application_layer_protocol_negotiation";
    let mut list = content.long(WHAT)?;
    content.end(WHAT)?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.short(WHAT)?;
        if protocol.is_empty() {
            return Err(Malformed(WHAT));
        }
        if protocols.len() < ALPN_MAX {
            protocols.push(protocol.0.into());
        }
    }
    if protocols.is_empty() { Err(Malformed(WHAT)) } else { Ok(protocols) }
}

/// Whether TLS 1.3 is among them (RFC 8446, section 4.2.1).
fn parse_versions(content: &mut Reader<'_>) -> Result<bool, HelloError> {
    const WHAT: &str = "supported_versions";
    let list = content.short(WHAT)?;
    content.end(WHAT)?;
    if list.is_empty() || list.0.len() % 2 != 0 {
        return Err(Malformed(WHAT));
    }
    Ok(list.0.chunks_exact(2).any(|version| version == [3, 4]))
}
