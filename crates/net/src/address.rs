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
        if let Some(special) =
            inside.addresses.into_iter().flatten().map(Self::of_v4).find(|kind| !kind.is_global())
        {
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
    addresses: [Option<Ipv4Addr>; 2],
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
        let one = |address, outside| Self { addresses: [address, None], outside: Some(outside) };
        match segments {
            [0, 0, 0, 0, 0, 0xffff, ..] => one(at(6), Global), // RFC 4291, section 2.5.5.2: mapped
            [0, 0, 0, 0, 0, 0, ..] => one(at(6), Reserved), // section 2.5.5.1: compatible, abolished
            [0, 0, 0, 0, 0xffff, 0, ..] => one(at(6), Reserved), // RFC 2765: translated
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => one(at(6), Global), // RFC 6052: NAT64
            [0x64, 0xff9b, 1, ..] => {
                // RFC 8215: NAT64 of the site. The site chooses the length of its prefix, and with that where the IPv4
                // address stands (RFC 6052, section 2.2): at the end, or around the eight bits left free.
                let spread = u128::to_be_bytes(ip.to_bits());
                let around = Ipv4Addr::new(spread[6], spread[7], spread[9], spread[10]);
                Self { addresses: [at(6), Some(around)], outside: Some(Reserved) }
            }
            [0x2002, ..] => one(at(1), Global), // RFC 3056: 6to4
            [0x2001, 0, ..] => {
                // RFC 4380, section 4: Teredo names its server, and the client with all bits turned.
                let client = at(6).map(|address| Ipv4Addr::from_bits(!address.to_bits()));
                Self { addresses: [at(2), client], outside: Some(Global) }
            }
            // RFC 5214, section 6.1: ISATAP, with the "universal" bit either way.
            [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Self { addresses: [at(6), None], outside: None },
            _ => Self { addresses: [None, None], outside: None },
        }
    }
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
