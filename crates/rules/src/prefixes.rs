//! Which of many prefixes of bits an address or a port has.
//!
//! Networks are prefixes of addresses, and a range of ports is a few prefixes of 16 bits. They are sorted, and each knows the
//! narrowest one around it: a look-up is one binary search, and a walk outwards over those that have the address, however
//! many there are. Not here: what is kept for each.

use std::net::IpAddr;

use config::PortRange;
use ipnet::{IpNet, Ipv4Net};

/// Bits that have prefixes.
pub(crate) trait Bits: Copy + Ord {
    /// All bits but the first `length`.
    fn after(length: u8) -> Self;
    /// Whether the bits that `mask` has not are equal.
    fn same_but(self, other: Self, mask: Self) -> bool;
}

macro_rules! bits {
    ($($bits:ty),*) => {$(
        impl Bits for $bits {
            fn after(length: u8) -> Self {
                Self::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }

            fn same_but(self, other: Self, mask: Self) -> bool {
                self | mask == other | mask
            }
        }
    )*};
}

bits!(u16, u32, u128);

/// No prefix.
const NONE: u32 = u32::MAX;

/// Values by prefix.
pub(crate) struct Prefixes<A, T> {
    /// Sorted by their bits, then by length.
    all: Vec<Prefix<A>>,
    values: Vec<T>,
}

#[derive(Clone, Copy)]
struct Prefix<A> {
    bits: A,
    length: u8,
    /// The narrowest one around it.
    around: u32,
}

impl<A: Bits, T> Prefixes<A, T> {
    /// Of prefixes and their values; those of the same prefix are joined, in their order.
    pub(crate) fn of(mut all: Vec<(A, u8, T)>, join: impl Fn(&mut T, T)) -> Self {
        all.sort_by_key(|(bits, length, _)| (*bits, *length));
        let mut made =
            Self { all: Vec::with_capacity(all.len()), values: Vec::with_capacity(all.len()) };
        let mut around: Vec<(u32, A, u8)> = Vec::new();
        for (bits, length, value) in all {
            let is_within =
                |&(_, wider, length): &(u32, A, u8)| bits.same_but(wider, A::after(length));
            while around.last().is_some_and(|last| !is_within(last)) {
                around.pop();
            }
            if let (Some(&(_, same, its)), Some(last)) = (around.last(), made.values.last_mut())
                && (same, its) == (bits, length)
            {
                join(last, value);
                continue;
            }
            let outer = around.last().map_or(NONE, |&(index, _, _)| index);
            around.push((made.all.len() as u32, bits, length));
            made.all.push(Prefix { bits, length, around: outer });
            made.values.push(value);
        }
        made.all.shrink_to_fit();
        made.values.shrink_to_fit();
        made
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The values of each prefix that these bits have, the longest first, with its length.
    pub(crate) fn each(&self, bits: A) -> impl Iterator<Item = (u8, &T)> {
        // Whatever is around these bits is around the last prefix that is not behind them, or is that one.
        let mut at = self.all.partition_point(|prefix| prefix.bits <= bits).wrapping_sub(1);
        std::iter::from_fn(move || {
            loop {
                let (prefix, value) = self.all.get(at).zip(self.values.get(at))?;
                at = prefix.around as usize;
                if bits.same_but(prefix.bits, A::after(prefix.length)) {
                    return Some((prefix.length, value));
                }
            }
        })
    }
}

/// Values by network.
pub(crate) struct Nets<T> {
    v4: Prefixes<u32, T>,
    v6: Prefixes<u128, T>,
}

impl<T> Nets<T> {
    /// Of networks and their values; those of the same network are joined, in their order.
    pub(crate) fn of(nets: impl IntoIterator<Item = (IpNet, T)>, join: impl Fn(&mut T, T)) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, value) in nets {
            match canonical_net(net) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.prefix_len(), value)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.prefix_len(), value)),
            }
        }
        Self { v4: Prefixes::of(v4, &join), v6: Prefixes::of(v6, &join) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The values of each network that has a canonical address, the narrowest first, with the length of its prefix.
    pub(crate) fn each(&self, ip: IpAddr) -> impl Iterator<Item = (u8, &T)> {
        let (v4, v6) = match ip {
            IpAddr::V4(ip) => (Some(self.v4.each(ip.to_bits())), None),
            IpAddr::V6(ip) => (None, Some(self.v6.each(ip.to_bits()))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }

    /// The same for the networks that have all of another one.
    pub(crate) fn around(&self, net: IpNet) -> impl Iterator<Item = (u8, &T)> {
        let net = canonical_net(net);
        self.each(net.network()).filter(move |&(length, _)| length <= net.prefix_len())
    }
}

/// Networks without values.
pub(crate) fn net_set(nets: impl IntoIterator<Item = IpNet>) -> Nets<()> {
    Nets::of(nets.into_iter().map(|net| (net, ())), |(), ()| {})
}

/// The prefixes of 16 bits, with their lengths, that make a range of ports: 30 at most.
pub(crate) fn port_prefixes(range: PortRange) -> impl Iterator<Item = (u16, u8)> {
    let mut next = u32::from(range.first);
    let end = u32::from(range.last) + 1;
    std::iter::from_fn(move || {
        let left = end.checked_sub(next).filter(|&left| left > 0)?;
        // The largest block that begins here and does not go beyond the end.
        let size = next.trailing_zeros().min(left.ilog2()).min(16);
        let first = u16::try_from(next).ok()?;
        next += 1 << size;
        Some((first, 16 - size as u8))
    })
}

/// A network as its addresses are judged: one of IPv4 in IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
pub(crate) fn canonical_net(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Some(ip) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(ip, length)
    {
        return v4.into();
    }
    net
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_of_an_address() {
        let nets = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.2.3/32",
            "::/0",
            "fd00::/8",
            "::ffff:9.0.0.0/104",
            "10.0.0.0/8",
        ];
        let nets = nets.iter().zip(0u32..).map(|(net, rule)| (net.parse().unwrap(), vec![rule]));
        let index = Nets::of(nets, |all, mut more| all.append(&mut more));
        #[track_caller]
        fn check(index: &Nets<Vec<u32>>, ip: &str, expected: &[u32]) {
            let found = index.each(ip.parse().unwrap()).flat_map(|(_, found)| found.clone());
            assert_eq!(found.collect::<Vec<_>>(), expected, "{ip}");
        }
        check(&index, "10.1.2.3", &[2, 1, 6, 0]);
        check(&index, "10.1.2.4", &[1, 6, 0]);
        check(&index, "9.1.1.1", &[5, 0]);
        check(&index, "fd00::1", &[4, 3]);
        check(&index, "fe80::1", &[3]);
        let around: Vec<_> = index.around("10.0.0.0/7".parse().unwrap()).collect();
        assert_eq!(around, [(0, &vec![0])]);
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_walk_finds(
            prefixes in prop::collection::vec((any::<u16>(), 0u8..=16), 0..60),
            asked in any::<u16>(),
            near in any::<prop::sample::Index>(),
        ) {
            let prefixes: Vec<_> =
                prefixes.into_iter().map(|(bits, length)| (bits & !u16::after(length), length)).collect();
            let index = Prefixes::of(
                prefixes.iter().zip(0..).map(|(&(bits, length), n)| (bits, length, vec![n])).collect(),
                |all: &mut Vec<usize>, mut more| all.append(&mut more),
            );
            let close = if prefixes.is_empty() { 0 } else { near.get(&prefixes).0 ^ 1 };
            for asked in [asked, close] {
                let mut found: Vec<usize> = index.each(asked).flat_map(|(_, all)| all.clone()).collect();
                found.sort_unstable();
                let walked: Vec<usize> = (0..prefixes.len())
                    .filter(|&n| asked & !u16::after(prefixes[n].1) == prefixes[n].0)
                    .collect();
                prop_assert_eq!(found, walked);
            }
        }

        #[test]
        fn a_range_of_ports_is_its_prefixes(first in 0u16.., count in 0u16.., asked in any::<u16>()) {
            let range = PortRange { first, last: first.saturating_add(count) };
            let all: Vec<_> = port_prefixes(range).map(|(bits, length)| (bits, length, ())).collect();
            prop_assert!(all.len() <= 30);
            let index = Prefixes::of(all, |(), ()| {});
            for port in [asked, range.first, range.last, range.first.wrapping_sub(1), range.last.wrapping_add(1)] {
                let is_in = (range.first..=range.last).contains(&port);
                prop_assert_eq!(index.each(port).count(), usize::from(is_in));
            }
        }
    }
}
