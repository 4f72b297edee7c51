//! Host and port (RFC 3986, section 3.2; RFC 9110, section 7.2).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Form, Target, TargetError};

/// Bytes of the longest DNS name (RFC 1035, section 2.3.4, as text without trailing dot).
const NAME_BYTES_MAX: usize = 253;
/// Bytes of the longest label of a DNS name.
const LABEL_BYTES_MAX: usize = 63;

/// What a client sent as `host[:port]`, checked.
pub(super) struct Authority<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
}

/// A host; equal if it means the same.
pub(super) enum Host<'a> {
    /// A DNS name in the case it came in, without trailing dot; or an IPv4 address, whose text is
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
        let (host, port) = match raw {
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
        Ok(Self { host, port: parse_port(port, raw)? })
    }
}

impl<'a> Host<'a> {
    fn parse_name(raw: &'a [u8]) -> Result<Self, TargetError> {
        let name = raw.strip_suffix(b".").unwrap_or(raw);
        let mut label = 0;
        for &byte in name {
            // RFC 3986, section 3.2.2 takes nearly everything as name. We take what names in DNS
            // have in practice: letters, digits, hyphen and, for old Windows names, underscore.
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
                b'.' if label > 0 => label = 0,
                _ => return Err(TargetError::InvalidHost),
            }
            if label > LABEL_BYTES_MAX {
                return Err(TargetError::InvalidHost);
            }
        }
        let name = str::from_utf8(name).map_err(|_| TargetError::InvalidHost)?;
        if label == 0 || name.len() > NAME_BYTES_MAX {
            return Err(TargetError::InvalidHost);
        }
        let last = name.get(name.len() - label..).unwrap_or_default();
        if !is_number(last) {
            return Ok(Self::Name { text: name, ip: None });
        }
        // Browsers and the C library read `127.1`, `0x7f.0.0.1`, `017700000001` as addresses, DNS
        // does not. What looks like an address is one in the usual notation, or refused.
        let ip = name.parse().map_err(|_| TargetError::InvalidHost)?;
        Ok(Self::Name { text: name, ip: Some(ip) })
    }
}

/// True for a label that makes others take the whole name for an IPv4 address.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn parse_v6(raw: &[u8]) -> Result<Host<'_>, TargetError> {
    // No zone (RFC 6874): it means something on the client's machine only.
    let text = str::from_utf8(raw).map_err(|_| TargetError::InvalidHost)?;
    text.parse().map(Host::V6).map_err(|_| TargetError::InvalidHost)
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
        Ok(0) | Err(_) => Err(TargetError::InvalidPort),
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
    }
}

/// Adds `:port`.
fn push_port(text: &mut String, port: u16) {
    text.push(':');
    let mut unit = 10_000;
    while unit > port {
        unit /= 10;
    }
    while unit > 0 {
        text.push(char::from(b'0' + (port / unit % 10) as u8));
        unit /= 10;
    }
}
