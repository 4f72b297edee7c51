//! The parts of the system's configuration of name servers (resolv.conf(5)) that we use.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use super::message::Name;

const DNS_PORT: u16 = 53;
/// What is more is not read: each silent one costs its time.
const SERVERS_MAX: usize = 8;
const NDOTS_MAX: usize = 15;

/// What the system says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SystemSettings {
    pub(super) servers: Vec<SocketAddr>,
    /// Domains in which names are searched for.
    pub(super) search: Vec<String>,
    /// Names with fewer dots are searched for first.
    pub(super) ndots: usize,
}

impl SystemSettings {
    /// Reads a file; without it, or without a server in it, the server is this machine.
    pub(super) fn read(path: &Path) -> Self {
        let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Err(error) = &text {
            tracing::warn!(path = %path.display(), %error, "no usable name servers; asking the one on this machine");
        }
        let mut settings = Self::parse(&text.unwrap_or_default());
        if settings.servers.is_empty() {
            settings.servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        settings
    }

    fn parse(text: &str) -> Self {
        let mut settings = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if settings.servers.len() < SERVERS_MAX => {
                    settings.servers.extend(words.next().and_then(server));
                }
                // The last of them counts.
                Some("search" | "domain") => {
                    let domains = words.filter(|word| Name::of(word).is_some());
                    let whole = |word: &str| word.trim_end_matches('.').to_ascii_lowercase();
                    settings.search = domains.map(whole).collect();
                }
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    ndots.for_each(|ndots: usize| settings.ndots = ndots.min(NDOTS_MAX));
                }
                _ => {}
            }
        }
        settings
    }
}

/// An address, perhaps with the interface that one of a link belongs to.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = word.split_once('%') else {
        return word.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let is_name = !interface.is_empty() && !interface.contains('/') && interface != "..";
    let number = interface.parse().ok().or_else(|| {
        let path = Path::new("/sys/class/net").join(interface).join("ifindex");
        is_name.then(|| fs::read_to_string(path).ok()?.trim().parse().ok())?
    });
    Some(SocketAddrV6::new(address, DNS_PORT, 0, number?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let settings = SystemSettings::parse(
            "# comment\nnameserver 192.0.2.1 # more\nnameserver nonsense\nnameserver 2001:db8::1\n\
             nameserver fe80::1%7\ndomain old.test\nsearch One.test two.test. . a..b\n\
             options edns0 ndots:3 trust-ad\nsortlist 1.2.3.4\n",
        );
        let servers = ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"];
        assert_eq!(settings.servers, servers.map(|text| text.parse().unwrap()));
        assert_eq!(
            (&settings.search[..], settings.ndots),
            (&["one.test".to_owned(), "two.test".to_owned()][..], 3)
        );
        assert_eq!(SystemSettings::parse("options ndots:99").ndots, NDOTS_MAX);
        assert!(SystemSettings::read(Path::new("/nowhere")).servers[0].ip().is_loopback());
    }
}
