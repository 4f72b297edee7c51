//! Which of many networks have an address.
//!
//! Networks are kept by prefix length, so that a look-up is one hash per length that occurs,
//! however many networks there are.

use std::hash::Hash;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use ipnet::{IpNet, Ipv4Net};

/// Numbers of rules by network, each list in rising order.
pub(crate) struct NetIndex {
    v4: ByLength<u32>,
    v6: ByLength<u128>,
}

struct ByLength<A> {
    /// The prefix lengths that occur.
    lengths: Vec<u8>,
    rules: HashMap<(u8, A), Vec<u32>>,
}

impl NetIndex {
    pub(crate) fn new() -> Self {
        Self { v4: ByLength::new(), v6: ByLength::new() }
    }

    /// Adds a rule for a canonical network.
    pub(crate) fn insert(&mut self, net: IpNet, rule: u32) {
        match net.trunc() {
            IpNet::V4(net) => self.v4.insert(net.prefix_len(), net.network().to_bits(), rule),
            IpNet::V6(net) => self.v6.insert(net.prefix_len(), net.network().to_bits(), rule),
        }
    }

    /// The rules of each network that has a canonical address, with the network's prefix length.
    pub(crate) fn each(&self, ip: IpAddr, mut see: impl FnMut(u8, &[u32])) {
        match ip {
            IpAddr::V4(ip) => self.v4.each(
                |length| ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0),
                &mut see,
            ),
            IpAddr::V6(ip) => self.v6.each(
                |length| ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0),
                &mut see,
            ),
        }
    }
}

impl<A: Copy + Eq + Hash> ByLength<A> {
    fn new() -> Self {
        Self { lengths: Vec::new(), rules: HashMap::new() }
    }

    fn insert(&mut self, length: u8, network: A, rule: u32) {
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
        let rules = self.rules.entry((length, network)).or_default();
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    fn each(&self, masked: impl Fn(u8) -> A, see: &mut impl FnMut(u8, &[u32])) {
        for &length in &self.lengths {
            if let Some(rules) = self.rules.get(&(length, masked(length))) {
                see(length, rules);
            }
        }
    }
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
    use super::*;

    #[test]
    fn networks_of_an_address() {
        let mut index = NetIndex::new();
        let nets =
            ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "::ffff:9.0.0.0/104"];
        for (rule, net) in nets.iter().enumerate() {
            index.insert(canonical_net(net.parse().unwrap()), rule as u32);
        }
        #[track_caller]
        fn check(index: &NetIndex, ip: &str, expected: &[u32]) {
            let mut rules = Vec::new();
            index.each(ip.parse().unwrap(), |_, found| rules.extend_from_slice(found));
            rules.sort_unstable();
            assert_eq!(rules, expected, "{ip}");
        }
        check(&index, "10.1.2.3", &[0, 1, 2]);
        check(&index, "10.1.2.4", &[0, 1]);
        check(&index, "9.1.1.1", &[0, 5]);
        check(&index, "fd00::1", &[3, 4]);
        check(&index, "fe80::1", &[3]);
    }
}
