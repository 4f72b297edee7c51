//! Host and port (RFC 3986, section 3.2; RFC 9110, section 7.2).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Form, Target, TargetError};

/// Bytes of the longest DNS name (RFC 1035, section 2.3.4, as text without trailing dot).
const NAME_BYTES_MAX: usize = 253;
/// Bytes of the longest label of a DNS name.
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of the longest name that is taken where nothing is looked up.
const HOST_BYTES_MAX: usize = 1024;

/// What a client sent as `host[:port]`, checked.
pub(super) struct Authority<'a> {
    raw: &'a [u8],
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
    /// Whether it may serve to choose a site, but not to connect somewhere: see
    /// [`Target::has_unusual_host`].
    pub(super) is_unusual: bool,
}

/// A host; equal if it means the same.
pub(super) enum Host<'a> {
    /// A name in the case it came in, without trailing dot; or an IPv4 address, whose text is
    /// canonical.
    Name {
        text: &'a str,
        ip: Option<Ipv4Addr>,
    },
    V6(Ipv6Addr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name { text: one, .. }, Self::Name { text: other, .. }) => {
                one.eq_ignore_ascii_case(other)
            }
            (Self::V6(one), Self::V6(other)) => one == other,
            _ => false,
        }
    }
}

impl<'a> Authority<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, TargetError> {
        // An IPv6 address ends at its bracket, all else at the first colon: more than one colon
        // leaves a port that is no number.
        let ((host, is_unusual), port) = match raw {
            [b'[', rest @ ..] => {
                let end = rest.iter().position(|&byte| byte == b']');
                let (host, port) = rest.split_at(end.ok_or_else(|| invalid_host(raw))?);
                (parse_v6(host)?, port.get(1..).unwrap_or_default())
            }
            _ => {
                let end = raw.iter().position(|&byte| byte == b':').unwrap_or(raw.len());
                let (host, port) = raw.split_at(end);
                (Host::parse_name(host).map_err(|_| invalid_host(raw))?, port)
            }
        };
        let port = parse_port(port, raw)?;
        Ok(Self { raw, host, port, is_unusual: is_unusual || port == Some(0) })
    }

    /// As [`Authority::parse`], for a host that is connected to.
    pub(super) fn parse_usual(raw: &'a [u8]) -> Result<Self, TargetError> {
        match Self::parse(raw)? {
            authority if authority.port == Some(0) => Err(TargetError::InvalidPort),
            authority if authority.is_unusual => Err(TargetError::InvalidHost),
            authority => Ok(authority),
        }
    }
}

impl<'a> Host<'a> {
    /// A name, and whether it is an unusual one.
    fn parse_name(raw: &'a [u8]) -> Result<(Self, bool), TargetError> {
        let name = raw.strip_suffix(b".").unwrap_or(raw);
        let mut label = 0;
        let mut is_unusual = name.len() > NAME_BYTES_MAX;
        let mut rest = name;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            // What names in DNS have in practice: letters, digits, hyphen and, for old Windows
            // names, underscore. RFC 3986, section 3.2.2 knows more. A comma would make a list of it.
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
                b'.' if label > 0 => label = 0,
                b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' => {
                    is_unusual = true;
                    label += 1;
                }
                b'%' if after.len() > 1 && after.iter().take(2).all(u8::is_ascii_hexdigit) => {
                    is_unusual = true;
                    label += 1;
                }
                _ => return Err(TargetError::InvalidHost),
            }
            is_unusual |= label > LABEL_BYTES_MAX;
        }
        let name = str::from_utf8(name).map_err(|_| TargetError::InvalidHost)?;
        if label == 0 || name.len() > HOST_BYTES_MAX {
            return Err(TargetError::InvalidHost);
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if !is_number(last) {
            return Ok((Self::Name { text: name, ip: None }, is_unusual));
        }
        // Browsers and the C library read `127.1`, `0x7f.0.0.1`, `017700000001` as addresses, DNS
        // does not. As names of services they are harmless; nothing is connected to by them.
        let ip = name.parse().ok();
        Ok((Self::Name { text: name, ip }, is_unusual || ip.is_none()))
    }
}

/// True for a label that makes others take the whole name for an IPv4 address.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An address, and whether it has a zone. RFC 6874, section 4: that means something on the client's
/// machine only, and goes no further.
fn parse_v6(raw: &[u8]) -> Result<(Host<'_>, bool), TargetError> {
    let text = str::from_utf8(raw).map_err(|_| TargetError::InvalidHost)?;
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let is_zone = |zone: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
        !zone.is_empty() && zone.bytes().all(plain)
    };
    if !zone.is_none_or(is_zone) {
        return Err(TargetError::InvalidHost);
    }
    let address = address.parse().map_err(|_| TargetError::InvalidHost)?;
    Ok((Host::V6(address), zone.is_some()))
}

fn parse_port(raw: &[u8], authority: &[u8]) -> Result<Option<u16>, TargetError> {
    let digits = match raw {
        // RFC 3986, section 6.2.3: a colon without port is as good as none.
        [] | [b':'] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(invalid_host(authority)),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(match invalid_host(authority) {
            TargetError::InvalidHost => TargetError::InvalidPort,
            other => other,
        });
    }
    let text = str::from_utf8(digits).map_err(|_| TargetError::InvalidPort)?;
    match text.parse() {
        Err(_) => Err(TargetError::InvalidPort),
        Ok(port) => Ok(Some(port)),
    }
}

/// What to say of an authority that is refused.
fn invalid_host(authority: &[u8]) -> TargetError {
    // RFC 9110, section 4.2.4: user information in a target from outside is a phishing attempt
    // more often than not.
    if authority.contains(&b'@') { TargetError::Userinfo } else { TargetError::InvalidHost }
}

impl Target {
    /// Keeps host and port in canonical text. The form and the scheme must be known.
    pub(super) fn set_authority(&mut self, authority: Authority<'_>) {
        self.has_unusual_host = authority.is_unusual;
        let text = &mut self.authority;
        text.clear();
        self.host = match authority.host {
            Host::Name { text: name, ip } => {
                self.ip = ip.map(IpAddr::V4);
                text.push_str(name);
                text.make_ascii_lowercase();
                0..text.len()
            }
            Host::V6(ip) => {
                self.ip = Some(IpAddr::V6(ip));
                let _ = write!(text, "[{ip}]"); // writing to a String cannot fail
                1..text.len() - 1
            }
        };
        self.explicit_port = authority.port;
        self.port = authority.port.unwrap_or(self.scheme.default_port());
        if self.form == Form::Authority || self.port != self.scheme.default_port() {
            push_port(text, self.port);
        }
        let has_zone = matches!(authority.host, Host::V6(_)) && authority.is_unusual;
        self.written.clear();
        if authority.raw != text.as_bytes() && !has_zone {
            // Names, addresses and ports are ASCII.
            self.written.push_str(str::from_utf8(authority.raw).unwrap_or_default());
        }
    }
}

/// Adds `:port`.
fn push_port(text: &mut String, port: u16) {
    text.push(':');
    let mut unit = 10_000;
    while unit > port.max(1) {
        unit /= 10;
    }
    while unit > 0 {
        text.push(char::from(b'0' + (port / unit % 10) as u8));
        unit /= 10;
    }
}
