//! The ClientHello, read before the handshake begins: it decides which site answers.
//!
//! Strict where it matters for that decision: lengths add up to the last byte, no extension comes
//! twice, a name is a DNS name. rustls reads it again, for the handshake itself.

use std::borrow::Cow;

use thiserror::Error;

/// Bytes of a ClientHello with its record headers, at most.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;
/// Protocols offered by ALPN, at most.
const ALPN_MAX: usize = 64;
/// Extensions, at most. There are fewer than 70 registered.
const EXTENSIONS_MAX: usize = 128;
/// A name, at most (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// What we need of a ClientHello before we can choose a context (RFC 8446, section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The name asked for (RFC 6066, section 3): a valid DNS name, lower case, no trailing dot.
    pub name: Option<Box<str>>,
    /// The protocols offered (RFC 7301), as they are.
    pub alpn: Vec<Box<[u8]>>,
    /// Whether TLS 1.3 is among the versions.
    pub tls13: bool,
    /// Whether ChaCha20-Poly1305 is what the client likes best, as it does without AES in hardware.
    pub(crate) prefers_chacha: bool,
}

/// Why something is no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first bytes are not those of a TLS handshake.
    #[error("the client speaks no TLS")]
    NotTls,
    /// It is TLS, but malformed; what.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// More than [`HELLO_BYTES_MAX`].
    #[error("the ClientHello is longer than 64 KiB")]
    TooLong,
}

use HelloError::Malformed;

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
        _ => Err(Malformed("another message comes first")),
    }
}

/// The content of a record and what follows it.
type Split<'b> = (&'b [u8], &'b [u8]);

/// The content of the record at the front and what follows it. Only what is there is judged, so
/// that any split gives the same answer in the end.
fn next_fragment(bytes: &[u8], is_first: bool) -> Result<Option<Split<'_>>, HelloError> {
    let not_tls = if is_first { HelloError::NotTls } else { Malformed("a record is none") };
    match bytes {
        [] | [HANDSHAKE] => return Ok(None),
        [HANDSHAKE, 3, ..] => {}
        _ => return Err(not_tls),
    }
    let &[_, _, minor, high, low, ref rest @ ..] = bytes else { return Ok(None) };
    // RFC 8446, section 5.1: 0x0301 or 0x0303 in practice; the value says nothing.
    if minor > 4 {
        return Err(not_tls);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446, section 5.1: no empty fragments of handshake messages, none above 2^14 bytes.
    if length == 0 || length > 1 << 14 {
        return Err(Malformed("a record's length"));
    }
    if rest.len() < length {
        // The rest of the record may come, if the message may.
        let is_other = is_first && rest.first().is_some_and(|kind| *kind != CLIENT_HELLO);
        return if is_other { Err(Malformed("another message comes first")) } else { Ok(None) };
    }
    Ok(Some(rest.split_at(length)))
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
    let mut hello = ClientHello::default();
    let mut reader = Reader(message);
    if reader.byte("legacy_version")? != 3 {
        return Err(Malformed("legacy_version"));
    }
    reader.byte("legacy_version")?;
    reader.take(32, "random")?;
    if reader.short("legacy_session_id")?.0.len() > 32 {
        return Err(Malformed("legacy_session_id"));
    }
    let suites = reader.long("cipher_suites")?;
    if suites.is_empty() || suites.0.len() % 2 != 0 {
        return Err(Malformed("cipher_suites"));
    }
    hello.prefers_chacha = prefers_chacha(suites.0);
    // RFC 8446, section 4.1.2: always among them is "null".
    if !reader.short("legacy_compression_methods")?.0.contains(&0) {
        return Err(Malformed("legacy_compression_methods"));
    }
    // RFC 5246, section 7.4.1.2: there may be no extensions at all.
    if !reader.is_empty() {
        let extensions = reader.long("extensions")?;
        reader.end("bytes after the extensions")?;
        parse_extensions(extensions, &mut hello)?;
    }
    Ok(hello)
}

/// By the first suite that is no GREASE (RFC 8701).
fn prefers_chacha(suites: &[u8]) -> bool {
    let mut suites = suites.chunks_exact(2).filter_map(|pair| pair.first_chunk());
    let first = suites.find(|pair| !matches!(pair, [a, b] if a == b && a & 15 == 10));
    matches!(first, Some([0x13, 0x03] | [0xcc, 0xa8 | 0xa9]))
}

fn parse_extensions(mut reader: Reader<'_>, hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut seen = [0u16; EXTENSIONS_MAX];
    let mut count = 0;
    while !reader.is_empty() {
        let kind = reader.number("an extension")?;
        let mut content = reader.long("an extension")?;
        // RFC 8446, section 4.2: none may come twice.
        if seen.iter().take(count).any(|seen| *seen == kind) {
            return Err(Malformed("an extension comes twice"));
        }
        *seen.get_mut(count).ok_or(Malformed("too many extensions"))? = kind;
        count += 1;
        match kind {
            SERVER_NAME => hello.name = parse_server_name(&mut content)?,
            ALPN => hello.alpn = parse_alpn(&mut content)?,
            SUPPORTED_VERSIONS => hello.tls13 = parse_versions(&mut content)?,
            // RFC 8446, section 4.2.11: it must be the last.
            PRE_SHARED_KEY => reader.end("pre_shared_key is not the last extension")?,
            _ => {}
        }
    }
    Ok(())
}

/// RFC 6066, section 3.
fn parse_server_name(content: &mut Reader<'_>) -> Result<Option<Box<str>>, HelloError> {
    const WHAT: &str = "server_name";
    const HOST_NAME: u8 = 0;
    let mut list = content.long(WHAT)?;
    content.end(WHAT)?;
    if list.byte(WHAT)? != HOST_NAME {
        return Err(Malformed("server_name of an unknown type"));
    }
    let name = list.long(WHAT)?;
    // More than one name of a type is forbidden, and there is only one type.
    list.end("several names in server_name")?;
    dns_name(name.0)
}

/// `None` for an address, which RFC 6066 does not permit, but which is sent and means nothing.
fn dns_name(bytes: &[u8]) -> Result<Option<Box<str>>, HelloError> {
    let invalid = Malformed("server_name is no DNS name");
    let text = std::str::from_utf8(bytes).map_err(|_| invalid)?;
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let has_hyphen_outside = label.starts_with('-') || label.ends_with('-');
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !has_hyphen_outside
            && label.bytes().all(is_plain)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > NAME_BYTES_MAX
        || !text.split('.').all(is_label)
        || text.rsplit('.').next().is_some_and(is_number)
    {
        return Err(invalid);
    }
    Ok(Some(text.to_ascii_lowercase().into()))
}

/// RFC 7301, section 3.1.
fn parse_alpn(content: &mut Reader<'_>) -> Result<Vec<Box<[u8]>>, HelloError> {
    const WHAT: &str = "application_layer_protocol_negotiation";
    let mut list = content.long(WHAT)?;
    content.end(WHAT)?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.short(WHAT)?;
        if protocol.is_empty() || protocols.len() >= ALPN_MAX {
            return Err(Malformed(WHAT));
        }
        protocols.push(protocol.0.into());
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
