//! What the next server learns about the client and about the path of its request.
//!
//! Claims of an untrusted client are dropped before ([`message::tells_of_client`]), and those of a
//! trusted proxy are extended: so an upstream can trust what it reads. `X-Forwarded-*` and
//! `Forwarded` (which is sent where the configuration asks for it) are made from the same values, so
//! that they never contradict each other.
//! Not here: who the client is (`trust`), which of the request's own fields are forwarded
//! (`leaving`).

use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;

use config::{FieldEdit, Forward, RouteSettings};
use message::{Fields, Known, Request};

use crate::trust::{Claims, Hop, Peer, parse_address};

/// What the next server learns, and about which peer.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    disclosure: Disclosure<'a>,
    peer: Peer<'a>,
    /// The peer's address.
    peer_text: &'a str,
}

#[derive(Clone, Copy)]
enum Disclosure<'a> {
    /// Reverse: everything, in place of the client's own claims.
    Reverse,
    /// Forward: our name in Via, and the client.
    Forward(&'a str),
    /// Nothing that names the client.
    Nothing,
}

/// The fields of this module that the configuration edits: these are left to it.
#[derive(Clone, Copy)]
struct EditedFields(u8);

impl EditedFields {
    const NAMES: [Known; 6] = [
        Known::Via,
        Known::Forwarded,
        Known::XForwardedFor,
        Known::XForwardedProto,
        Known::XForwardedHost,
        Known::XForwardedPrefix,
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
    /// For a reverse listener.
    pub(crate) fn reverse(peer: Peer<'a>, peer_text: &'a str) -> Self {
        Self { disclosure: Disclosure::Reverse, peer, peer_text }
    }

    /// For a forward listener.
    pub(crate) fn forward(forward: &'a Forward, peer: Peer<'a>, peer_text: &'a str) -> Self {
        let disclosure = match forward.anonymous {
            Some(_) => Disclosure::Nothing,
            None => Disclosure::Forward(&forward.via),
        };
        Self { disclosure, peer, peer_text }
    }

    /// For a response of our own, which no next server sees.
    pub(crate) fn nobody() -> Self {
        let peer = Peer::untrusted(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        Self { disclosure: Disclosure::Nothing, peer, peer_text: "" }
    }

    /// True if the request's claims about its client are trusted, and may be forwarded.
    pub(crate) fn believes(&self) -> bool {
        self.peer.trusted && !self.is_anonymous()
    }

    /// True if nothing may be forwarded that names the client.
    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self.disclosure, Disclosure::Nothing)
    }

    /// Writes the fields into a request whose own claims are dropped already. `value` is scratch
    /// memory.
    pub(crate) fn write_fields(
        &self,
        request: &mut Request,
        settings: &RouteSettings,
        value: &mut Vec<u8>,
    ) {
        let (name, is_reverse) = match self.disclosure {
            Disclosure::Nothing => return,
            Disclosure::Reverse => (NAME, true),
            Disclosure::Forward(name) => (name, false),
        };
        let edited = EditedFields::of(&settings.request_fields);
        let ours = |known: Known| !edited.has(known);
        self.write_forwarded_fields(request, ours, settings.forwarded, is_reverse, value);
        if ours(Known::XForwardedPrefix)
            && let Some(prefix) = rules::stripped_prefix(&settings.rewrite, &request.target)
        {
            // An application makes its URLs of the whole: what proxies before us took comes first.
            let outer = request.fields.get(Known::XForwardedPrefix).unwrap_or_default();
            value.clear();
            value.extend_from_slice(outer.strip_suffix(b"/").unwrap_or(outer));
            value.extend_from_slice(prefix.as_bytes());
            replace(&mut request.fields, Known::XForwardedPrefix, value);
        }
        if ours(Known::Via) {
            let Request { fields, version, .. } = request;
            value.clear();
            // Servers detect loops by the proxies that a request came through.
            if self.peer.trusted || !is_reverse {
                write_list(value, fields, Known::Via);
            }
            // RFC 9110, section 7.6.3.
            value.extend_from_slice(version.number().as_bytes());
            value.push(b' ');
            value.extend_from_slice(name.as_bytes());
            replace(fields, Known::Via, value);
        }
    }

    fn write_forwarded_fields(
        &self,
        request: &mut Request,
        ours: impl Fn(Known) -> bool,
        by_forwarded: bool,
        is_reverse: bool,
        value: &mut Vec<u8>,
    ) {
        let Request { fields, target, .. } = request;
        value.clear();
        let claims = self.peer.trusted.then(|| Claims::of(&self.peer, fields));
        let scheme = claims.as_ref().and_then(|claims| claims.scheme);
        let claimed_host =
            claims.as_ref().and_then(|claims| claims.host).filter(|_| target.has_outer_host());
        let host = claimed_host.unwrap_or(target.authority().as_bytes());
        // All values are written before the fields that they are made from are removed.
        if by_forwarded && ours(Known::Forwarded) {
            let chain = claims.as_ref().map_or(&[][..], |claims| claims.chain.hops());
            write_forwarded(value, chain, self.peer_text, host, target.outer_scheme().as_str());
        }
        let forwarded_ends = value.len();
        match &claims {
            Some(claims) if claims.in_forwarded_for => {
                write_list(value, fields, Known::XForwardedFor)
            }
            Some(claims) => claims.chain.hops().iter().for_each(|hop| {
                write_node(value, hop);
                value.extend_from_slice(b", ");
            }),
            None => {}
        }
        value.extend_from_slice(self.peer_text.as_bytes());
        let for_ends = value.len();
        value.extend_from_slice(host);
        let has_scheme = is_reverse || scheme.is_some();
        let has_host = !host.is_empty() && (is_reverse || claimed_host.is_some());
        let part = |from: usize, to: usize| value.get(from..to).unwrap_or_default();
        if ours(Known::XForwardedFor) {
            replace(fields, Known::XForwardedFor, part(forwarded_ends, for_ends));
        }
        if ours(Known::XForwardedProto) && has_scheme {
            let scheme = target.outer_scheme().as_str();
            replace(fields, Known::XForwardedProto, scheme.as_bytes());
        }
        if ours(Known::XForwardedHost) && has_host {
            replace(fields, Known::XForwardedHost, part(for_ends, value.len()));
        }
        if ours(Known::Forwarded) {
            match forwarded_ends {
                0 => fields.remove(Known::Forwarded),
                end => replace(fields, Known::Forwarded, part(0, end)),
            }
        }
    }
}

/// Our name in Via, for requests of a reverse listener.
const NAME: &str = "bothways";

/// Our name in Via, for responses to forward clients; `None` if it is not added, such as where the
/// configuration edits the field.
pub(crate) fn via_of_responses(forward: &Forward) -> Option<&str> {
    let is_edited = EditedFields::of(&forward.settings.response_fields).has(Known::Via);
    (forward.anonymous.is_none() && !is_edited).then_some(&*forward.via)
}

/// Replaces all fields of a name by one.
fn replace(fields: &mut Fields, known: Known, value: &[u8]) {
    fields.remove(known);
    fields.push_known(known, value);
}

/// The values of all fields of a name, with a comma behind each.
fn write_list(out: &mut Vec<u8>, fields: &Fields, known: Known) {
    for value in fields.get_all(known).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// RFC 7239: the proxies before us first, the peer last. Only the first element has what the client
/// asked for: some servers read the first one, others the last one that has it.
fn write_forwarded(out: &mut Vec<u8>, chain: &[Hop<'_>], peer: &str, host: &[u8], scheme: &str) {
    let last = Hop::of(peer);
    for (index, hop) in chain.iter().chain([&last]).enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(b"for=");
        match parse_address(hop.node) {
            // Section 6: brackets, and quotes as colons are no token.
            Some(IpAddr::V6(ip)) => {
                let _ = write!(out, "\"[{ip}]\""); // writing to memory does not fail
            }
            _ => write_node(out, hop),
        }
        if index > 0 {
            continue;
        }
        if !host.is_empty() {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(scheme.as_bytes());
    }
}

/// A member of a chain: its address, or an identifier in its place (RFC 7239, section 6).
fn write_node(out: &mut Vec<u8>, hop: &Hop<'_>) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match parse_address(hop.node) {
        Some(ip) => {
            let _ = write!(out, "{ip}"); // writing to memory does not fail
        }
        None if hop.node.starts_with(b"_") && hop.node.iter().all(plain) => {
            out.extend_from_slice(hop.node);
        }
        None => out.extend_from_slice(b"unknown"),
    }
}

/// Writes an address as text into a reused buffer; IPv4, the common case, without `fmt`.
pub(crate) fn write_address(peer_text: &mut String, address: IpAddr) {
    peer_text.clear();
    let IpAddr::V4(v4) = address else {
        let _ = write!(peer_text, "{address}"); // writing to a String does not fail
        return;
    };
    for (index, octet) in v4.octets().into_iter().enumerate() {
        if index > 0 {
            peer_text.push('.');
        }
        let digit = |value: u8| char::from(b'0' + value % 10);
        if octet >= 100 {
            peer_text.push(digit(octet / 100));
        }
        if octet >= 10 {
            peer_text.push(digit(octet / 10));
        }
        peer_text.push(digit(octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_text() {
        for address in ["0.0.0.0", "1.20.255.100", "9.10.99.109", "::1", "2001:db8::7"] {
            let mut peer_text = String::from("old");
            write_address(&mut peer_text, address.parse().unwrap());
            assert_eq!(peer_text, address);
        }
    }
}
