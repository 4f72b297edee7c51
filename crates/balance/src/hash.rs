//! Hashes that stay the same over restarts, machines and versions: where a key leads must not
//! change with any of them.

use std::net::IpAddr;

use config::{Balance, KeyPart};

/// The hash of these bytes: XXH3 with 64 bits. An attacker can compute it.
pub fn hash(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// The key of a request for [`PickRequest::key`](crate::PickRequest::key): the hash of the first part that it has;
/// of the client's address, if it has none of those that are set.
///
/// `part` looks one up; an empty value counts as none. The address is [`AddressOctets`].
pub fn key<'a>(settings: &Balance, mut part: impl FnMut(&KeyPart) -> Option<&'a [u8]>) -> u64 {
    let keys = if settings.algorithm.as_ref() == "source" { &[][..] } else { &settings.keys[..] };
    let parts = keys.iter().chain(&[KeyPart::Address]);
    let mut values = parts.filter_map(&mut part).filter(|value| !value.is_empty());
    values.next().map_or(0, hash)
}

/// What counts of a client's address: all of an IPv4 address (a mapped one too), the network (/64) of
/// an IPv6 address, whose other half many clients change every day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressOctets {
    octets: [u8; 8],
    count: usize,
}

impl AddressOctets {
    /// Those of an address.
    pub fn of(address: IpAddr) -> Self {
        let mut octets = [0; 8];
        let count = match address.to_canonical() {
            IpAddr::V4(v4) => copy(&mut octets, &v4.octets()),
            IpAddr::V6(v6) => copy(&mut octets, &v6.octets()),
        };
        Self { octets, count }
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.count).unwrap_or(&self.octets)
    }
}

fn copy(to: &mut [u8; 8], from: &[u8]) -> usize {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    from.len().min(to.len())
}

/// Mixes 64 bits so that each one of the result depends on all of them (the end of `SplitMix64`).
#[inline]
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_the_same() {
        assert_eq!(hash(b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(hash(b"a"), 0xE6C6_32B6_1E96_4E1F);
        assert_eq!(hash(b"abc"), 0x78AF_5F94_892F_3950);
        assert_eq!(mix(1), 0x5692_161D_100B_05E5);
    }

    #[test]
    fn addresses() {
        #[track_caller]
        fn check(address: &str, expected: &[u8]) {
            let octets = AddressOctets::of(address.parse().unwrap());
            assert_eq!(octets.as_bytes(), expected);
        }
        check("192.0.2.1", &[192, 0, 2, 1]);
        check("::ffff:192.0.2.1", &[192, 0, 2, 1]);
        check("2001:db8:1:2:3:4:5:6", &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 2]);
    }

    #[test]
    fn the_first_part_that_there_is() {
        #[track_caller]
        fn check(algorithm: &str, keys: &[KeyPart], expected: &[u8]) {
            let settings =
                Balance { algorithm: algorithm.into(), keys: keys.to_vec(), ..Balance::default() };
            let part = |part: &KeyPart| match part {
                KeyPart::Header(_) => None,
                KeyPart::Cookie(_) => Some(&b""[..]),
                KeyPart::Query(_) => Some(&b"query"[..]),
                KeyPart::Path => Some(&b"/path"[..]),
                KeyPart::Address => Some(&[127, 0, 0, 1][..]),
            };
            assert_eq!(key(&settings, part), hash(expected));
        }
        let (header, cookie) = (KeyPart::Header("x".into()), KeyPart::Cookie("c".into()));
        check("ring", &[], &[127, 0, 0, 1]);
        check("ring", &[header.clone(), cookie, KeyPart::Path], b"/path");
        check("ring", &[KeyPart::Query("q".into()), KeyPart::Path], b"query");
        check("maglev", &[header], &[127, 0, 0, 1]);
        check("source", &[KeyPart::Path], &[127, 0, 0, 1]);
        assert_eq!(key(&Balance::default(), |_| None), 0);
    }
}
