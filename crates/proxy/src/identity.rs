//! Who the client is, and what the next server is told of it.
//!
//! The address of the connection counts, unless the peer is a trusted proxy: then what a PROXY
//! protocol header or the forwarding fields say does. Forwarding fields of anybody else are dropped
//! and written anew, so that an upstream can believe what it reads.

use std::fmt::Write;
use std::net::IpAddr;

use config::{FieldEdit, Forward, RouteSettings};
use ipnet::IpNet;
use message::{Fields, Known, Request, Version};
use wire::http1::write_field;

/// Entries of `X-Forwarded-For` that are looked at, from the right.
const HOPS_MAX: usize = 32;

/// The client's address, as far back as the proxies in between are trusted.
pub(crate) fn client_address(peer: IpAddr, trusted: &[IpNet], fields: &Fields) -> IpAddr {
    if trusted.is_empty() || !is_trusted(peer, trusted) {
        return peer;
    }
    let mut client = peer;
    let mut seen = 0;
    let lines: Vec<&[u8]> = fields.get_all(Known::XForwardedFor).collect();
    for member in lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
        seen += 1;
        let Some(address) = parse_address(member.trim_ascii()) else { return client };
        client = address;
        if seen >= HOPS_MAX || !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// True if `address` is in one of the networks.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Reads an address, with or without port, with or without brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// What the next server is told.
pub(crate) struct Identity<'a> {
    told: Told<'a>,
    edited: Edited,
}

enum Told<'a> {
    /// In reverse: everything, over the client's own claims.
    Reverse {
        /// The peer of the connection.
        peer: &'a str,
        /// Whether that is a trusted proxy, whose fields we add to.
        trusted: bool,
    },
    /// Forward: through which proxy, and for whom.
    Forward {
        /// As above.
        peer: &'a str,
        /// As above.
        trusted: bool,
        /// Our name in Via.
        name: &'a str,
    },
    /// Nothing that names the client.
    Nothing,
}

/// The fields of this module that the configuration edits itself: there its word counts, not ours.
#[derive(Clone, Copy)]
struct Edited(u8);

impl Edited {
    const NAMES: [Known; 5] = [
        Known::Via,
        Known::Forwarded,
        Known::XForwardedFor,
        Known::XForwardedProto,
        Known::XForwardedHost,
    ];

    fn of(edits: &[FieldEdit]) -> Self {
        let named = edits.iter().map(|edit| Known::of(edit.name.as_bytes()));
        Self(named.fold(0, |bits, known| bits | Self::bit(known)))
    }

    fn bit(known: Known) -> u8 {
        Self::NAMES.iter().position(|&name| name == known).map_or(0, |index| 1 << index)
    }

    fn has(self, known: Known) -> bool {
        self.0 != 0 && self.0 & Self::bit(known) != 0
    }
}

impl<'a> Identity<'a> {
    /// In reverse, of a peer.
    pub(crate) fn reverse(settings: &RouteSettings, peer: &'a str, trusted: bool) -> Self {
        let edited = Edited::of(&settings.request_fields);
        Self { told: Told::Reverse { peer, trusted }, edited }
    }

    /// Whom it is of, in reverse: what [`Self::reverse`] was given.
    pub(crate) fn peer(&self) -> Option<(&'a str, bool)> {
        match self.told {
            Told::Reverse { peer, trusted } => Some((peer, trusted)),
            Told::Forward { .. } | Told::Nothing => None,
        }
    }

    /// For a forward listener.
    pub(crate) fn forward(forward: &'a Forward, peer: &'a str, trusted: bool) -> Self {
        let told = match forward.anonymous {
            Some(_) => Told::Nothing,
            None => Told::Forward { peer, trusted, name: &forward.via },
        };
        Self { told, edited: Edited::of(&forward.settings.request_fields) }
    }

    /// For an answer of our own, which goes nowhere.
    pub(crate) fn nobody() -> Self {
        Self { told: Told::Nothing, edited: Edited(0) }
    }

    /// True if what the request itself says of its client is to be forgotten before an edit of the
    /// field: an `add` must not add to a lie.
    pub(crate) fn distrusts(&self, known: Known) -> bool {
        self.edited.has(known) && !self.trusts()
    }

    /// True if the request's own field of this name is dropped.
    pub(crate) fn replaces(&self, known: Known) -> bool {
        match known {
            Known::Via
            | Known::XForwardedFor
            | Known::Forwarded
            | Known::XForwardedHost
            | Known::XForwardedProto => !self.edited.has(known), // merged when written
            Known::XForwardedPort | Known::XRealIp => !self.trusts(),
            _ => false,
        }
    }

    /// True if what the request itself says of its client is believed.
    fn trusts(&self) -> bool {
        match self.told {
            Told::Reverse { trusted, .. } | Told::Forward { trusted, .. } => trusted,
            Told::Nothing => false,
        }
    }

    /// Appends the fields.
    pub(crate) fn write(&self, out: &mut Vec<u8>, request: &Request) {
        let ours = |known: Known| !self.edited.has(known);
        let believed = self.trusts().then_some(&request.fields);
        let (name, earlier) = match &self.told {
            Told::Reverse { peer, .. } => {
                write_reverse(out, request, believed, peer, ours);
                (NAME, believed)
            }
            Told::Forward { peer, name, .. } => {
                if ours(Known::XForwardedFor) {
                    write_merged(out, believed, Known::XForwardedFor, peer);
                }
                // Through whom a request came on its way out is how the servers tell loops.
                (*name, Some(&request.fields))
            }
            Told::Nothing => return,
        };
        if ours(Known::Via) {
            write_via(out, request.version, earlier, name);
        }
    }
}

/// Our name in the Via of requests in reverse.
const NAME: &str = "bothways";

/// The fields by which the next server is told of a client, as lines of a head: for `explain`.
/// Those that the request has itself are merged in only if they are in `request`; those that
/// `settings` edits are left to the edit.
pub fn identity_fields(
    forward: Option<&Forward>,
    settings: Option<&RouteSettings>,
    client: IpAddr,
    request: &Request,
) -> Vec<u8> {
    let peer = client.to_string();
    let edited = Edited::of(settings.map_or(&[], |settings| &settings.request_fields));
    let identity = match forward {
        Some(forward) => Identity::forward(forward, &peer, false),
        None => Identity { told: Told::Reverse { peer: &peer, trusted: false }, edited },
    };
    let mut out = Vec::new();
    identity.write(&mut out, request);
    out
}

fn write_reverse(
    out: &mut Vec<u8>,
    request: &Request,
    earlier: Option<&Fields>,
    peer: &str,
    ours: impl Fn(Known) -> bool,
) {
    let target = &request.target;
    let scheme = target.scheme().as_str();
    let said = |known: Known| earlier.and_then(|fields| fields.get(known));
    if ours(Known::XForwardedFor) {
        write_merged(out, earlier, Known::XForwardedFor, peer);
    }
    if ours(Known::XForwardedProto) {
        let scheme = said(Known::XForwardedProto).unwrap_or(scheme.as_bytes());
        write_field(out, b"X-Forwarded-Proto", scheme);
    }
    if ours(Known::XForwardedHost) {
        let host = said(Known::XForwardedHost).unwrap_or(target.authority().as_bytes());
        if !host.is_empty() {
            write_field(out, b"X-Forwarded-Host", host);
        }
    }
    if ours(Known::Forwarded) {
        write_forwarded(out, earlier, peer, target.authority(), scheme);
    }
}

/// RFC 7239: elements of proxies before us first, ours last.
fn write_forwarded(
    out: &mut Vec<u8>,
    earlier: Option<&Fields>,
    peer: &str,
    host: &str,
    scheme: &str,
) {
    out.extend_from_slice(b"Forwarded: ");
    write_list(out, earlier, Known::Forwarded);
    let ipv6 = peer.contains(':');
    out.extend_from_slice(if ipv6 { b"for=\"[" } else { b"for=" });
    out.extend_from_slice(peer.as_bytes());
    if ipv6 {
        out.extend_from_slice(b"]\"");
    }
    if !host.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_list(out: &mut Vec<u8>, fields: Option<&Fields>, known: Known) {
    for value in fields.into_iter().flat_map(|fields| fields.get_all(known)) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn write_merged(out: &mut Vec<u8>, earlier: Option<&Fields>, known: Known, last: &str) {
    out.extend_from_slice(known.as_str().as_bytes());
    out.extend_from_slice(b": ");
    write_list(out, earlier, known);
    out.extend_from_slice(last.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110, section 7.6.3.
fn write_via(out: &mut Vec<u8>, version: Version, earlier: Option<&Fields>, name: &str) {
    out.extend_from_slice(b"Via: ");
    write_list(out, earlier, Known::Via);
    out.extend_from_slice(version.number().as_bytes());
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes an address as text into a buffer that is used again; IPv4, which is most, without `fmt`.
pub(crate) fn write_address(text: &mut String, address: IpAddr) {
    text.clear();
    let IpAddr::V4(v4) = address else {
        let _ = write!(text, "{address}"); // writing to a String does not fail
        return;
    };
    for (index, octet) in v4.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        let digit = |value: u8| char::from(b'0' + value % 10);
        if octet >= 100 {
            text.push(digit(octet / 100));
        }
        if octet >= 10 {
            text.push(digit(octet / 10));
        }
        text.push(digit(octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_text() {
        for address in ["0.0.0.0", "1.20.255.100", "9.10.99.109", "::1", "2001:db8::7"] {
            let mut text = String::from("old");
            write_address(&mut text, address.parse().unwrap());
            assert_eq!(text, address);
        }
    }

    #[test]
    fn who_the_client_is() {
        #[track_caller]
        fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
            let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
            let mut fields = Fields::new();
            forwarded_for.iter().for_each(|v| fields.push(b"X-Forwarded-For", v.as_bytes()));
            let client = client_address(peer.parse().unwrap(), &trusted, &fields);
            assert_eq!(client.to_string(), expected);
        }
        check("192.0.2.1", &["198.51.100.1"], "192.0.2.1"); // not trusted: its word is nothing
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.9"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1:1234"], "198.51.100.1");
        check("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }
}
