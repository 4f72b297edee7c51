//! The PROXY protocol, versions 1 and 2: what a proxy in front of us says about the client.
//!
//! A listener either requires it or refuses it; guessing would let clients invent addresses. The
//! document is `proxy-protocol.txt` of HAProxy, whose sections are cited as PP.
//! Not here: which peers may send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Bytes of the longest line of version 1, its end included (PP, section 2.1).
const V1_BYTES_MAX: usize = 107;
/// Bytes of the longest header of version 2 that we take. The format allows 64 KiB.
const V2_BYTES_MAX: usize = 4096;
/// What version 2 begins with (PP, section 2.2).
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_START_BYTES: usize = 16;

/// The client of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Nobody else: the proxy itself, with a health check for instance, or somebody it cannot
    /// name (LOCAL, UNKNOWN, a unix socket). The addresses of the connection count.
    Local,
    /// A client.
    Client {
        /// Its address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
        /// Whether its connection to the proxy is TLS; also false if the header does not say.
        tls: bool,
    },
}

/// Why the beginning of a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// It does not begin with a signature.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// Version 1, but no line of that form.
    #[error("malformed PROXY protocol header of version 1")]
    MalformedV1,
    /// Version 2, but lengths or values do not fit.
    #[error("malformed PROXY protocol header of version 2")]
    MalformedV2,
    /// A version or command that does not exist yet, or datagrams.
    #[error("a PROXY protocol header of a kind that is not supported")]
    Unsupported,
    /// Longer than 107 bytes in version 1, 4 KiB in version 2.
    #[error("the PROXY protocol header is too long")]
    TooLong,
}

/// Reads a header. `Ok(None)`: more bytes are needed. `Ok(Some((n, header)))`: it is the first `n`
/// bytes of `input`.
pub fn parse(input: &[u8]) -> Result<Option<(usize, Header)>, Error> {
    let begins = |signature: &[u8]| {
        let length = input.len().min(signature.len());
        input.get(..length) == signature.get(..length)
    };
    if begins(b"PROXY ") {
        parse_v1(input)
    } else if begins(V2_SIGNATURE) {
        parse_v2(input)
    } else {
        Err(Error::Missing)
    }
}

/// PP, section 2.1: a line of words with one space between them.
fn parse_v1(input: &[u8]) -> Result<Option<(usize, Header)>, Error> {
    let limited = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let Some(end) = memchr::memchr2(b'\r', b'\n', limited) else {
        return if input.len() >= V1_BYTES_MAX { Err(Error::TooLong) } else { Ok(None) };
    };
    let (line, rest) = limited.split_at(end);
    match rest {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if input.len() < V1_BYTES_MAX => return Ok(None),
        [b'\r'] => return Err(Error::TooLong),
        _ => return Err(Error::MalformedV1),
    }
    let line = str::from_utf8(line).map_err(|_| Error::MalformedV1)?;
    let mut words = line.split(' ').skip(1);
    let header = match words.next() {
        // What follows must be ignored.
        Some("UNKNOWN") => Some(Header::Local),
        Some("TCP4") => client_v1::<Ipv4Addr>(words),
        Some("TCP6") => client_v1::<Ipv6Addr>(words),
        _ => None,
    };
    Ok(Some((end + 2, header.ok_or(Error::MalformedV1)?)))
}

fn client_v1<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Option<Header>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let source: A = words.next()?.parse().ok()?;
    let destination: A = words.next()?.parse().ok()?;
    let source = SocketAddr::new(source.into(), parse_port(words.next()?)?);
    let destination = SocketAddr::new(destination.into(), parse_port(words.next()?)?);
    words.next().is_none().then_some(Header::Client { source, destination, tls: false })
}

/// Digits without sign and without leading zeros.
fn parse_port(word: &str) -> Option<u16> {
    let is_canonical = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    if is_canonical { word.parse().ok() } else { None }
}

/// PP, section 2.2.
fn parse_v2(input: &[u8]) -> Result<Option<(usize, Header)>, Error> {
    let Some((start, rest)) = input.split_first_chunk::<V2_START_BYTES>() else { return Ok(None) };
    let [.., command, family, length_high, length_low] = *start;
    if command >> 4 != 2 {
        return Err(Error::Unsupported);
    }
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if V2_START_BYTES + length > V2_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let is_proxied = match command & 15 {
        0 => false,
        1 => true,
        _ => return Err(Error::Unsupported),
    };
    // Decided before the rest is there, so that the answer does not depend on how it comes.
    let addresses = match (is_proxied, family) {
        // A receiver must take LOCAL whatever the rest says.
        (false, _) | (true, 0x00) => None,
        (true, 0x11) => Some(12),
        (true, 0x21) => Some(36),
        (true, 0x31) => Some(216),
        _ => return Err(Error::Unsupported),
    };
    if length < addresses.unwrap_or(0) {
        return Err(Error::MalformedV2);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let header = match (addresses, body.split_at_checked(addresses.unwrap_or(0))) {
        (None, _) => Header::Local,
        (Some(_), Some((addresses, extras))) => {
            let tls = read_extras(extras).ok_or(Error::MalformedV2)?;
            client_v2(addresses, tls).ok_or(Error::MalformedV2)?
        }
        (Some(_), None) => return Err(Error::MalformedV2),
    };
    Ok(Some((V2_START_BYTES + length, header)))
}

fn client_v2(addresses: &[u8], tls: bool) -> Option<Header> {
    let port = |at: usize| addresses.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    let v4 = |at: usize| addresses.get(at..)?.first_chunk::<4>().map(|&bytes| bytes.into());
    let v6 = |at: usize| addresses.get(at..)?.first_chunk::<16>().map(|&bytes| bytes.into());
    let (source, destination): ((IpAddr, u16), (IpAddr, u16)) = match addresses.len() {
        12 => ((v4(0)?, port(8)?), (v4(4)?, port(10)?)),
        36 => ((v6(0)?, port(32)?), (v6(16)?, port(34)?)),
        _ => return Some(Header::Local), // unix
    };
    Some(Header::Client { source: source.into(), destination: destination.into(), tls })
}

/// Reads type, length and value of what follows the addresses (PP, section 2.2.8), and returns whether the client's
/// connection is TLS; `None` if they do not fill the header exactly.
fn read_extras(mut extras: &[u8]) -> Option<bool> {
    // PP, section 2.2.6: PP2_TYPE_SSL, whose first byte has PP2_CLIENT_SSL as lowest bit.
    const SSL: u8 = 0x20;
    let mut tls = false;
    while let [kind, high, low, rest @ ..] = extras {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = rest.split_at_checked(length)?;
        tls |= *kind == SSL && value.first().is_some_and(|client| client & 1 == 1);
        extras = after;
    }
    extras.is_empty().then_some(tls)
}

/// Prints version 1.
pub fn encode_v1(header: &Header) -> Vec<u8> {
    match header {
        Header::Local => b"PROXY UNKNOWN\r\n".to_vec(),
        Header::Client { source, destination, .. } => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let ports = (source.port(), destination.port());
            format!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
        }
    }
}

/// Prints version 2, without a word of TLS. Both addresses must be of one family; else it says LOCAL.
pub fn encode_v2(header: &Header) -> Vec<u8> {
    let mut out = V2_SIGNATURE.to_vec();
    match header {
        Header::Client {
            source: SocketAddr::V4(source), destination: SocketAddr::V4(to), ..
        } => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        Header::Client {
            source: SocketAddr::V6(source), destination: SocketAddr::V6(to), ..
        } => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        _ => out.extend_from_slice(&[0x20, 0x00, 0, 0]),
    }
    out
}
