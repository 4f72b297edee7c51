//! What kind of address it is: the base of the rule that clients may not reach private places through us.
//!
//! The kinds follow the registries of special-purpose addresses (RFC 6890, RFC 8190, as of 2026). An IPv6 address that
//! carries an IPv4 address inside is judged by what is inside, too. Where the registry and caution differ, caution
//! wins: whatever is not known to be ordinary public space is not [`AddressKind::Global`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What kind of place an address names. Only [`Global`](Self::Global) is the public Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// An ordinary public address.
    Global,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// The same link only.
    LinkLocal,
    /// Shared between a provider and its subscribers (RFC 6598).
    Cgnat,
    /// A private IPv6 network (RFC 4193, and the site-local addresses before it).
    UniqueLocal,
    /// A service of the cloud to the machines in it, which may answer with credentials.
    Metadata,
    /// A group of machines.
    Multicast,
    /// Every machine of the network.
    Broadcast,
    /// No address, or "this network".
    Unspecified,
    /// For examples in documents.
    Documentation,
    /// For measuring network devices.
    Benchmarking,
    /// Set aside for protocols or the future; nothing ordinary is there.
    Reserved,
}

use AddressKind::*;

/// The services that clouds give to the machines in them. Most lie in link-local space, but not all.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // most clouds
    Ipv4Addr::new(169, 254, 170, 2),   // AWS, credentials of a container task
    Ipv4Addr::new(169, 254, 170, 23),  // AWS, identity of a pod
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure, in the midst of public space
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS, identity of a pod
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
];

/// Blocks of IPv4, most particular first. What is in none of them is global.
const BLOCKS_V4: &[([u8; 4], u32, AddressKind)] = &[
    ([255, 255, 255, 255], 32, Broadcast),
    ([0, 0, 0, 0], 8, Unspecified), // RFC 1122, section 3.2.1.3: "this host on this network"
    ([10, 0, 0, 0], 8, Private),
    ([100, 64, 0, 0], 10, Cgnat),
    ([127, 0, 0, 0], 8, Loopback),
    ([169, 254, 0, 0], 16, LinkLocal),
    ([172, 16, 0, 0], 12, Private),
    // The registry calls 192.0.0.9 and .10 reachable: anycast of the nearest port mapper or relay, so local.
    ([192, 0, 0, 0], 24, Reserved),
    ([192, 0, 2, 0], 24, Documentation),
    ([192, 88, 99, 0], 24, Reserved), // RFC 7526: relays of 6to4, abolished
    ([192, 168, 0, 0], 16, Private),
    ([198, 18, 0, 0], 15, Benchmarking),
    ([198, 51, 100, 0], 24, Documentation),
    ([203, 0, 113, 0], 24, Documentation),
    ([224, 0, 0, 0], 4, Multicast),
    ([240, 0, 0, 0], 4, Reserved),
];

/// Blocks of IPv6, most particular first, by their first 64 bits. What is in none of them is not global.
const BLOCKS_V6: &[([u16; 4], u32, AddressKind)] = &[
    ([0x0100, 0, 0, 0], 8, Reserved), // RFC 6666, RFC 9780: to be discarded
    ([0x2001, 0x0002, 0, 0], 48, Benchmarking), // RFC 5180
    ([0x2001, 0x0003, 0, 0], 32, Global), // RFC 7450: AMT
    ([0x2001, 0x0004, 0x0112, 0], 48, Global), // RFC 7535: AS112
    ([0x2001, 0, 0, 0], 23, Reserved), // RFC 2928: protocol assignments
    ([0x2001, 0x0db8, 0, 0], 32, Documentation),
    ([0x3fff, 0, 0, 0], 20, Documentation), // RFC 9637
    ([0x2000, 0, 0, 0], 3, Global),         // RFC 4291, section 2.4: all that has been given out
    ([0xfc00, 0, 0, 0], 7, UniqueLocal),
    ([0xfe80, 0, 0, 0], 10, LinkLocal),
    ([0xfec0, 0, 0, 0], 10, UniqueLocal), // RFC 3879: site-local, abolished but still routed somewhere
    ([0xff00, 0, 0, 0], 8, Multicast),
];

impl AddressKind {
    /// The kind of `ip`; for an IPv6 address with an IPv4 address inside, the more private of the two.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    /// True for the public Internet only.
    pub fn is_global(self) -> bool {
        self == Global
    }

    /// True for addresses of this machine, and those that are not a single machine: loopback, the link, the services of a
    /// cloud for the machines in it. No name of another domain should lead there.
    pub fn is_own(self) -> bool {
        match self {
            Global | Private | Cgnat | UniqueLocal | Documentation | Benchmarking => false,
            Loopback | LinkLocal | Metadata | Multicast | Broadcast | Unspecified | Reserved => {
                true
            }
        }
    }

    /// How a message calls it.
    pub fn name(self) -> &'static str {
        match self {
            Global => "global",
            Loopback => "loopback",
            Private => "private",
            LinkLocal => "link-local",
            Cgnat => "shared (CGNAT)",
            UniqueLocal => "unique local",
            Metadata => "cloud metadata",
            Multicast => "multicast",
            Broadcast => "broadcast",
            Unspecified => "unspecified",
            Documentation => "documentation",
            Benchmarking => "benchmarking",
            Reserved => "reserved",
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        if METADATA_V4.contains(&ip) {
            return Metadata;
        }
        let bits = ip.to_bits();
        let found = BLOCKS_V4.iter().find(|(net, length, _)| {
            (bits ^ u32::from_be_bytes(*net)).checked_shr(32 - length).unwrap_or(0) == 0
        });
        found.map_or(Global, |(_, _, kind)| *kind)
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        if METADATA_V6.contains(&ip) {
            return Metadata;
        }
        if ip.is_unspecified() {
            return Unspecified;
        }
        if ip.is_loopback() {
            return Loopback;
        }
        let inside = Inside::of(ip);
        let kinds = inside.addresses.into_iter().flatten().map(Self::of_v4);
        let special = kinds.filter(|kind| !kind.is_global());
        if let Some(special) = special.max_by_key(|kind| kind.is_own()) {
            return special;
        }
        inside.outside.unwrap_or_else(|| Self::of_v6_alone(ip))
    }

    fn of_v6_alone(ip: Ipv6Addr) -> Self {
        let bits = (ip.to_bits() >> 64) as u64;
        let found = BLOCKS_V6.iter().find(|([a, b, c, d], length, _)| {
            let net = [a, b, c, d].iter().fold(0_u64, |net, part| net << 16 | u64::from(**part));
            (bits ^ net).checked_shr(64 - length).unwrap_or(0) == 0
        });
        found.map_or(Reserved, |(_, _, kind)| *kind)
    }
}

/// The IPv4 addresses that an IPv6 address carries, and what it is if they are all public.
struct Inside {
    addresses: [Option<Ipv4Addr>; 4],
    outside: Option<AddressKind>,
}

impl Inside {
    fn of(ip: Ipv6Addr) -> Self {
        let segments = ip.segments();
        let at = |index: usize| match segments.get(index..index + 2) {
            Some([high, low]) => {
                Some(Ipv4Addr::from_bits(u32::from(*high) << 16 | u32::from(*low)))
            }
            _ => None,
        };
        let one = |address, outside| Self {
            addresses: [address, None, None, None],
            outside: Some(outside),
        };
        match segments {
            [0, 0, 0, 0, 0, 0xffff, ..] => one(at(6), Global), // RFC 4291, section 2.5.5.2: mapped
            [0, 0, 0, 0, 0, 0, ..] => one(at(6), Reserved), // section 2.5.5.1: compatible, abolished
            [0, 0, 0, 0, 0xffff, 0, ..] => one(at(6), Reserved), // RFC 2765: translated
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => one(at(6), Global), // RFC 6052: NAT64
            [0x64, 0xff9b, 1, ..] => {
                // RFC 8215: NAT64 of the site. The site chooses the length of its prefix, and with that where the IPv4
                // address stands (RFC 6052, section 2.2): at the end, or around the eight bits left free.
                let spread = u128::to_be_bytes(ip.to_bits());
                let part = |a, b, c, d| Ipv4Addr::new(spread[a], spread[b], spread[c], spread[d]);
                let all = [
                    at(6),
                    Some(part(6, 7, 9, 10)),
                    Some(part(7, 9, 10, 11)),
                    Some(part(9, 10, 11, 12)),
                ];
                // What is not there is zeros.
                let there = all.map(|address| address.filter(|ip| ip.octets()[0] != 0));
                Self { addresses: there, outside: Some(Reserved) }
            }
            [0x2002, ..] => one(at(1), Global), // RFC 3056: 6to4
            [0x2001, 0, ..] => {
                // RFC 4380, section 4: Teredo names its server, and the client with all bits turned.
                let client = at(6).map(|address| Ipv4Addr::from_bits(!address.to_bits()));
                Self { addresses: [at(2), client, None, None], outside: Some(Global) }
            }
            // RFC 5214, section 6.1: ISATAP, with the "universal" bit either way.
            [_, _, _, _, 0 | 0x200, 0x5efe, ..] => {
                Self { addresses: [at(6), None, None, None], outside: None }
            }
            _ => Self { addresses: [None; 4], outside: None },
        }
    }
}

/// The IPv4 addresses that an IPv6 address carries: mapped, compatible or translated ones, those of NAT64, 6to4, Teredo
/// and ISATAP. Where it is not known how long the site's own NAT64 prefix is (RFC 8215), every place where one may be.
pub fn embedded_v4(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let all = match ip {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(v6) => Inside::of(v6).addresses,
    };
    all.into_iter().flatten()
}

/// The same address, as IPv4 if it is IPv4 mapped into IPv6.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: AddressKind) {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(AddressKind::of(ip), expected, "{text}");
    }

    /// The first and the last address of each block of the IANA IPv4 Special-Purpose Address Registry, and those
    /// just outside.
    #[test]
    fn ipv4_registry() {
        for (first, last, kind) in [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", Cgnat),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.255", Reserved),
            ("192.0.2.0", "192.0.2.255", Documentation),
            ("192.88.99.0", "192.88.99.255", Reserved),
            ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Benchmarking),
            ("198.51.100.0", "198.51.100.255", Documentation),
            ("203.0.113.0", "203.0.113.255", Documentation),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.254", Reserved),
            ("255.255.255.255", "255.255.255.255", Broadcast),
        ] {
            check(first, kind);
            check(last, kind);
        }
        for outside in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1", // AS112 and AMT: in the registry, but global
        ] {
            check(outside, Global);
        }
    }

    /// The same of the IPv6 registry.
    #[test]
    fn ipv6_registry() {
        for (text, kind) in [
            ("::", Unspecified),
            ("::1", Loopback),
            ("::2", Unspecified), // compatible with 0.0.0.2
            ("100::", Reserved),
            ("100::ffff:ffff:ffff:ffff", Reserved),
            ("100:0:0:1::", Reserved),
            ("2001:1::1", Reserved),
            ("2001:2::", Benchmarking),
            ("2001:2:0:ffff:ffff:ffff:ffff:ffff", Benchmarking),
            ("2001:2:1::", Reserved),
            ("2001:3::1", Global),
            ("2001:4:112::1", Global),
            ("2001:4:113::1", Reserved),
            ("2001:10::1", Reserved),
            ("2001:20::1", Reserved),
            ("2001:1ff:ffff::", Reserved),
            ("2001:200::1", Global),
            ("2001:db7:ffff::1", Global),
            ("2001:db8::", Documentation),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
            ("2001:db9::", Global),
            ("2606:4700:4700::1111", Global),
            ("2620:4f:8000::1", Global),
            ("3fff::", Documentation),
            ("3fff:fff:ffff::", Documentation),
            ("3fff:1000::", Global),
            ("4000::1", Reserved),
            ("5f00::1", Reserved),
            ("1fff::1", Reserved),
            ("fbff::1", Reserved),
            ("fc00::", UniqueLocal),
            ("fdff:ffff::1", UniqueLocal),
            ("fe00::1", Reserved),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", UniqueLocal),
            ("ff02::1", Multicast),
            ("ff0e::1", Multicast),
        ] {
            check(text, kind);
        }
    }

    #[test]
    fn ipv4_inside_ipv6() {
        for (text, kind) in [
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:10.1.2.3", Private),
            ("::ffff:169.254.169.254", Metadata),
            ("::ffff:8.8.8.8", Global),
            ("::127.0.0.1", Loopback),
            ("::8.8.8.8", Reserved),
            ("::ffff:0:10.0.0.1", Private),
            ("::ffff:0:8.8.8.8", Reserved),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::169.254.169.254", Metadata),
            ("64:ff9b::8.8.8.8", Global),
            ("64:ff9b::1:808:808", Reserved), // not the well-known prefix, which is 96 bits long
            ("64:ff9b:1::10.0.0.1", Private),
            ("64:ff9b:1:7f00:0:100::", Loopback), // 127.0.0.1 behind a prefix of 48 bits
            ("64:ff9b:1:808:8:800:808:808", Reserved),
            ("2002:7f00:1::1", Loopback),
            ("2002:a01:203::1", Private),
            ("2002:a9fe:a9fe::1", Metadata),
            ("2002:808:808::1", Global),
            ("2001:0:a00:1:0:0:f7f7:f7f7", Private), // Teredo: the server is 10.0.0.1
            ("2001:0:808:808:0:0:80ff:fffe", Loopback), // the client is 127.0.0.1
            ("2001:0:808:808:0:0:f7f7:f7f7", Global),
            ("2606:4700::5efe:192.168.1.1", Private), // ISATAP
            ("2606:4700::200:5efe:127.0.0.1", Loopback),
            ("2606:4700::200:5efe:8.8.8.8", Global),
            ("fe80::5efe:8.8.8.8", LinkLocal),
        ] {
            check(text, kind);
        }
    }

    #[test]
    fn metadata_services() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            check(text, Metadata);
        }
        check("168.63.129.17", Global);
        assert!(Global.is_global());
        assert!(!Metadata.is_global());
    }

    #[test]
    fn mapped_peers_become_plain() {
        assert_eq!(plain("[::ffff:10.0.0.1]:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
        assert_eq!(plain("[::1]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
    }
}
