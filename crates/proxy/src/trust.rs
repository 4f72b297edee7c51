//! Who the client is and what it asked for, when proxies in front of us are trusted.
//!
//! The address of the connection counts (or the one in a PROXY protocol header), unless that peer is
//! a trusted proxy: then its fields count, as far back as the proxies in between are trusted too.
//! There are two dialects, `X-Forwarded-*` and `Forwarded` (RFC 7239); a proxy that writes one of
//! them may forward what its own client said in the other. So the first one wins where both say
//! something, and the second one counts where it names the same client or is alone.
//! Not here: what the next server learns (`identity`).

use std::net::IpAddr;

use ipnet::IpNet;
use message::{Fields, Known, Request, Scheme};

/// Members of a chain of proxies that are read, from the right.
const HOPS_MAX: usize = 32;

/// The peer of a connection, and whether it is trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    pub(crate) address: IpAddr,
    /// Whether its claims about its client are trusted.
    pub(crate) trusted: bool,
    /// The networks that are trusted.
    proxies: &'a [IpNet],
}

impl<'a> Peer<'a> {
    /// The peer of a listener that trusts these networks.
    pub(crate) fn new(address: IpAddr, proxies: &'a [IpNet]) -> Self {
        Self { address, trusted: is_trusted(address, proxies), proxies }
    }

    /// A peer that is not trusted.
    pub(crate) fn untrusted(address: IpAddr) -> Self {
        Self { address, trusted: false, proxies: &[] }
    }

    /// The client of a request; scheme and host that it asked for go into the target, and the id of the request is taken
    /// from a trusted proxy.
    pub(crate) fn identify(&self, request: &mut Request) -> IpAddr {
        if !self.trusted {
            return self.address;
        }
        let Request { fields, target, id, .. } = request;
        let mut ids = fields.get_all(Known::XRequestId);
        if let (Some(sent), None) = (ids.next(), ids.next()) {
            id.take(sent);
        }
        let claims = Claims::of(self, fields);
        if let Some(scheme) = claims.scheme {
            target.set_outer_scheme(scheme);
        }
        if let Some(host) = claims.host {
            target.set_outer_host(host);
        }
        claims.client
    }
}

/// What the fields of a trusted proxy claim.
pub(crate) struct Claims<'a> {
    pub(crate) client: IpAddr,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) host: Option<&'a [u8]>,
    /// The proxies and clients before the peer.
    pub(crate) chain: Chain<'a>,
    /// Whether the chain comes from `X-Forwarded-For`.
    pub(crate) in_forwarded_for: bool,
}

impl<'a> Claims<'a> {
    /// Reads the fields of a trusted peer.
    pub(crate) fn of(peer: &Peer<'_>, fields: &'a Fields) -> Self {
        let in_forwarded_for = fields.has(Known::XForwardedFor);
        let mut other = match fields.has(Known::Forwarded) {
            true => Chain::of_forwarded(fields),
            false => Chain::default(),
        };
        let (other_client, other_at) = other.client(peer);
        let chain = if in_forwarded_for { Chain::of_forwarded_for(fields) } else { other };
        let (client, at) = chain.client(peer);
        if client != other_client {
            other = Chain::default();
        }
        let member = |known: Known| chosen(fields, known, &chain, at);
        let scheme = member(Known::XForwardedProto).and_then(scheme_of);
        let host = member(Known::XForwardedHost).filter(|host| !host.is_empty());
        let scheme =
            scheme.or_else(|| other.nearest(other_at, |hop| hop.proto).and_then(scheme_of));
        let host = host.or_else(|| other.nearest(other_at, |hop| hop.host));
        Self { client, scheme, host, chain, in_forwarded_for }
    }
}

/// True if `address` is in one of the networks.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// One member of a chain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hop<'a> {
    /// An address, perhaps with a port, or an identifier; without quotes.
    pub(crate) node: &'a [u8],
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl<'a> Hop<'a> {
    /// A member of which only the address is known.
    pub(crate) fn of(node: &'a str) -> Self {
        Self { node: node.as_bytes(), ..Self::default() }
    }
}

/// Clients and proxies, the first one first. Of a long chain only the last ones are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chain<'a> {
    hops: [Hop<'a>; HOPS_MAX],
    length: usize,
    /// How many there were.
    count: usize,
}

impl<'a> Chain<'a> {
    fn of_forwarded_for(fields: &'a Fields) -> Self {
        let mut chain = Self::default();
        let lines = fields.get_all(Known::XForwardedFor);
        for node in lines.flat_map(|line| line.split(|&byte| byte == b',')) {
            chain.push(Hop { node: node.trim_ascii(), ..Hop::default() });
        }
        chain
    }

    /// RFC 7239, section 4. Malformed elements are ignored.
    fn of_forwarded(fields: &'a Fields) -> Self {
        let mut chain = Self::default();
        for line in fields.get_all(Known::Forwarded) {
            for element in unquoted(line, b',') {
                chain.push(hop(element));
            }
        }
        chain
    }

    fn push(&mut self, hop: Hop<'a>) {
        if self.length == HOPS_MAX {
            self.hops.rotate_left(1);
            self.length -= 1;
        }
        if let Some(place) = self.hops.get_mut(self.length) {
            *place = hop;
            self.length += 1;
            self.count += 1;
        }
    }

    /// The members, the first one first.
    pub(crate) fn hops(&self) -> &[Hop<'a>] {
        self.hops.get(..self.length).unwrap_or_default()
    }

    /// The client, as far back as members are trusted, and its index.
    fn client(&self, peer: &Peer<'_>) -> (IpAddr, Option<usize>) {
        let (mut client, mut at) = (peer.address, None);
        for (index, hop) in self.hops().iter().enumerate().rev() {
            let Some(address) = parse_address(hop.node) else { break };
            (client, at) = (address, Some(index));
            if !is_trusted(address, peer.proxies) {
                break;
            }
        }
        (client, at)
    }

    /// What the client's member says, or else the next member that says it.
    fn nearest<T>(&self, at: Option<usize>, part: impl Fn(&Hop<'a>) -> Option<T>) -> Option<T> {
        let last = self.length.saturating_sub(1);
        self.hops().get(at.unwrap_or(last)..)?.iter().find_map(part)
    }
}

/// The member of a list that concerns the client: the one at its index, if the list is as long as
/// the chain; else the last one, which the peer itself has added.
fn chosen<'a>(
    fields: &'a Fields,
    known: Known,
    chain: &Chain<'_>,
    at: Option<usize>,
) -> Option<&'a [u8]> {
    let count = fields.list(known).count();
    let beyond = chain.count - chain.length;
    match at {
        Some(at) if count == chain.count => fields.list(known).nth(at + beyond),
        _ => fields.list(known).last(),
    }
}

fn scheme_of(peer_text: &[u8]) -> Option<Scheme> {
    let is = |name: &str| peer_text.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Some(Scheme::Https)
    } else if is("http") || is("ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// The parts of a list, whose separators within quotes do not count.
fn unquoted(peer_text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = peer_text.split(move |&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte => return byte == separator && !quoted,
        }
        false
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// One element of `Forwarded`.
fn hop(element: &[u8]) -> Hop<'_> {
    let mut hop = Hop::default();
    for pair in unquoted(element, b';') {
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = pair.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        let value = match value {
            [b'"', inner @ .., b'"'] => inner,
            plain => plain,
        };
        if value.is_empty() || value.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
            continue; // no address, host or scheme needs an escape
        }
        let is = |peer_text: &str| name.eq_ignore_ascii_case(peer_text.as_bytes());
        if is("for") {
            hop.node = value;
        } else if is("proto") {
            hop.proto = Some(value);
        } else if is("host") {
            hop.host = Some(value);
        }
    }
    hop
}

/// Reads an address, with or without port, with or without brackets.
pub(crate) fn parse_address(peer_text: &[u8]) -> Option<IpAddr> {
    let peer_text = str::from_utf8(peer_text).ok()?;
    if let Ok(address) = peer_text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = peer_text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    // A port may be an identifier (RFC 7239, section 6).
    let (node, port) = match peer_text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => peer_text.split_once(':')?,
    };
    if !(port.is_empty() || port.starts_with(":_") || port.starts_with('_')) {
        return None;
    }
    node.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(peer: &str, lines: &[(&str, &str)]) -> (String, Option<Scheme>, Option<String>) {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into();
        let mut fields = Fields::new();
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let peer = Peer::new(peer.parse().unwrap(), &trusted);
        let claims = Claims::of(&peer, &fields);
        let host = claims.host.map(|host| String::from_utf8_lossy(host).into_owned());
        (claims.client.to_string(), claims.scheme, host)
    }

    #[test]
    fn which_address_is_the_client() {
        #[track_caller]
        fn check(forwarded_for: &[&str], expected: &str) {
            let lines: Vec<_> = forwarded_for.iter().map(|v| ("X-Forwarded-For", *v)).collect();
            assert_eq!(claims("10.0.0.1", &lines).0, expected);
        }
        check(&[], "10.0.0.1");
        check(&["198.51.100.1"], "198.51.100.1");
        check(&["1.1.1.1, 198.51.100.1, 10.0.0.9"], "198.51.100.1");
        check(&["1.1.1.1", "198.51.100.1:1234"], "198.51.100.1");
        check(&["[2001:db8::1]:80"], "2001:db8::1");
        check(&["1.1.1.1, unknown"], "10.0.0.1");
        check(&["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        // IPv4 in IPv6 is IPv4, in the list of those who are trusted too.
        check(&["::ffff:198.51.100.1"], "198.51.100.1");
        check(&["9.9.9.9, ::ffff:10.0.0.7"], "9.9.9.9");
        check(&["9.9.9.9, [::ffff:10.0.0.7]:80"], "9.9.9.9");
        let long = vec!["10.0.0.2"; 100].join(", ");
        check(&[&format!("9.9.9.9, {long}")], "10.0.0.2");
        check(&["9.9.9.9", &long[..10 * 31 - 2]], "9.9.9.9");
    }

    #[test]
    fn what_the_client_asked_for() {
        use Scheme::{Http, Https};
        #[track_caller]
        fn check(lines: &[(&str, &str)], client: &str, scheme: Option<Scheme>, host: Option<&str>) {
            let expected = (client.to_owned(), scheme, host.map(str::to_owned));
            assert_eq!(claims("10.0.0.1", lines), expected, "{lines:?}");
        }
        const FOR: &str = "X-Forwarded-For";
        const PROTO: &str = "X-Forwarded-Proto";
        const HOST: &str = "X-Forwarded-Host";
        const BOTH: &str = "Forwarded";
        check(&[(PROTO, "https")], "10.0.0.1", Some(Https), None);
        check(&[(PROTO, "HTTPS"), (HOST, "a:8443")], "10.0.0.1", Some(Https), Some("a:8443"));
        check(&[(PROTO, "gopher")], "10.0.0.1", None, None);
        check(&[(PROTO, "wss")], "10.0.0.1", Some(Https), None);
        // As many as there are addresses: the one of the client. Else the last.
        let chain = (FOR, "9.9.9.9, 10.0.0.2");
        check(&[chain, (PROTO, "https, http")], "9.9.9.9", Some(Https), None);
        check(&[chain, (PROTO, "http"), (PROTO, "https")], "9.9.9.9", Some(Http), None);
        let chain = (FOR, "1.1.1.1, 9.9.9.9");
        check(&[chain, (PROTO, "https, http")], "9.9.9.9", Some(Http), None);
        check(&[(FOR, "9.9.9.9"), (PROTO, "https, http")], "9.9.9.9", Some(Http), None);
        // RFC 7239.
        check(&[(BOTH, "for=9.9.9.9;proto=https")], "9.9.9.9", Some(Https), None);
        check(&[(BOTH, "For=\"[2001:db8::1]:80\" ; PROTO=http")], "2001:db8::1", Some(Http), None);
        check(&[(BOTH, "for=\"9.9.9.9:_port\";host=\"a:81\"")], "9.9.9.9", None, Some("a:81"));
        check(&[(BOTH, "for=9.9.9.9;by=\"a,b;c\";host=b")], "9.9.9.9", None, Some("b"));
        check(&[(BOTH, "for=unknown;proto=https")], "10.0.0.1", Some(Https), None);
        check(&[(BOTH, "for=_hidden, for=10.0.0.2;host=b")], "10.0.0.2", None, Some("b"));
        check(&[(BOTH, "proto=https;host=a")], "10.0.0.1", Some(Https), Some("a"));
        check(&[(BOTH, "for=\"9.9.9.9\\\"\"")], "10.0.0.1", None, None);
        let two = "for=9.9.9.9;proto=https;host=a, for=10.0.0.2;proto=http;host=b";
        check(&[(BOTH, two)], "9.9.9.9", Some(Https), Some("a"));
        let spoof = "for=1.1.1.1;proto=http;host=evil, for=9.9.9.9;proto=https;host=a";
        check(&[(BOTH, spoof)], "9.9.9.9", Some(Https), Some("a"));
        // Both: the first one wins, and the second one counts if it names the same client.
        let x = (FOR, "9.9.9.9");
        let evil = (BOTH, "for=6.6.6.6;proto=https;host=evil");
        check(&[x, evil], "9.9.9.9", None, None);
        check(&[x, (BOTH, "for=9.9.9.9;proto=https;host=a")], "9.9.9.9", Some(Https), Some("a"));
        let all = [x, (PROTO, "http"), (HOST, "b"), (BOTH, "for=9.9.9.9;proto=https;host=a")];
        check(&all, "9.9.9.9", Some(Http), Some("b"));
    }
}
