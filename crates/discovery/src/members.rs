//! Which endpoints an upstream has: those written, those found, and what was changed at run time.
//!
//! A pure function of these three, so that a table can test it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::{Addresses, Endpoint, EndpointAddress, Upstream};

/// Endpoints of one upstream at most, wherever they come from.
pub(crate) const MEMBERS_MAX: usize = 10_000;

/// What was changed at run time in one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Endpoints that were added.
    pub added: Vec<Endpoint>,
    /// Those that were removed, by how they are written.
    pub removed: BTreeSet<Arc<str>>,
    /// Those that have other settings.
    pub set: BTreeMap<Arc<str>, EndpointSettings>,
}

impl Changes {
    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.set.is_empty()
    }
}

/// EndpointSettings of an endpoint that were changed at run time; `None`: as written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Its share of the requests.
    pub weight: Option<u16>,
    /// Requests at once at most; `Some(None)`: no limit.
    pub max: Option<Option<u32>>,
    /// Whether it gets no new clients.
    pub drain: Option<bool>,
}

impl EndpointSettings {
    /// Those of an endpoint.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let (weight, max) = (Some(endpoint.weight), Some(endpoint.max));
        Self { weight, max, drain: Some(endpoint.draining) }
    }

    /// Applies them to an endpoint.
    pub(crate) fn apply(&self, endpoint: &mut Endpoint) {
        endpoint.weight = self.weight.unwrap_or(endpoint.weight);
        endpoint.max = self.max.unwrap_or(endpoint.max);
        endpoint.draining = self.drain.unwrap_or(endpoint.draining);
    }

    /// These without what `endpoint` has anyway.
    pub(crate) fn beside(self, endpoint: &Endpoint) -> Self {
        Self {
            weight: self.weight.filter(|weight| *weight != endpoint.weight),
            max: self.max.filter(|max| *max != endpoint.max),
            drain: self.drain.filter(|drain| *drain != endpoint.draining),
        }
    }

    /// These, with others set after them.
    pub(crate) fn then(self, later: Self) -> Self {
        Self {
            weight: later.weight.or(self.weight),
            max: later.max.or(self.max),
            drain: later.drain.or(self.drain),
        }
    }
}

/// The endpoints of an upstream before names are looked up: those written, those that sources have
/// found, and what was changed at run time. An endpoint that is there already is passed over.
pub(crate) fn named(
    upstream: &Upstream,
    found: &[Arc<[Endpoint]>],
    changes: &Changes,
) -> Vec<Endpoint> {
    let written = upstream.endpoints.iter();
    let all = written.chain(found.iter().flat_map(|found| found.iter())).chain(&changes.added);
    let mut seen = HashSet::new();
    let all = all.filter(|endpoint| seen.insert(&endpoint.written)).take(MEMBERS_MAX);
    all.filter_map(|endpoint| changed(endpoint.clone(), changes)).collect()
}

/// The members of an upstream: each of its endpoints, or one for each of its addresses.
pub(crate) fn members(
    named: Vec<Endpoint>,
    changes: &Changes,
    addresses: &mut dyn FnMut(&Arc<str>) -> Arc<[IpAddr]>,
) -> Vec<Endpoint> {
    let mut members = Vec::with_capacity(named.len());
    for endpoint in named {
        let EndpointAddress::Name { host, port } = &endpoint.address else {
            members.push(endpoint);
            continue;
        };
        let chosen = match endpoint.addresses {
            Addresses::One => Vec::new(),
            Addresses::Each => addresses(host).to_vec(),
            Addresses::Auto => several(&addresses(host)),
        };
        if chosen.is_empty() {
            members.push(endpoint);
            continue;
        }
        let (host, port) = (Arc::clone(host), *port);
        let of_address = |ip: &IpAddr| Endpoint {
            written: format!("{}@{ip}", endpoint.written).into(),
            address: EndpointAddress::Ip(SocketAddr::new(*ip, port)),
            host: Some(Arc::clone(&host)),
            ..endpoint.clone()
        };
        let each = sorted(chosen).into_iter();
        members.extend(each.filter_map(|ip| changed(of_address(&ip), changes)));
    }
    members.truncate(MEMBERS_MAX);
    members
}

/// The endpoint as it is after the changes; `None` if it was taken away.
fn changed(mut endpoint: Endpoint, changes: &Changes) -> Option<Endpoint> {
    if changes.removed.contains(&endpoint.written) {
        return None;
    }
    if let Some(settings) = changes.set.get(&endpoint.written) {
        settings.apply(&mut endpoint);
    }
    Some(endpoint)
}

/// The addresses of the family that has more of them, the preferred one if they are equal; none if
/// that is a single one: then both families lead to one server.
fn several(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(preferred) = addresses.first() else { return Vec::new() };
    let of_family = |v6: bool| addresses.iter().copied().filter(move |ip| ip.is_ipv6() == v6);
    let (first, second) = (preferred.is_ipv6(), !preferred.is_ipv6());
    let more = of_family(second).count() > of_family(first).count();
    let family: Vec<_> = of_family(if more { second } else { first }).collect();
    if family.len() > 1 { family } else { Vec::new() }
}

/// In one order, whichever the name server has turned them to.
fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(addresses: Addresses) -> Endpoint {
        let address = EndpointAddress::Name { host: "app.internal".into(), port: 80 };
        Endpoint { addresses, weight: 3, ..Endpoint::new("app.internal:80", address) }
    }

    fn ip(text: &str) -> Endpoint {
        Endpoint::new(text, EndpointAddress::Ip(text.parse().unwrap()))
    }

    fn summary(endpoints: &[Endpoint]) -> String {
        let one = |e: &Endpoint| {
            format!("{}*{}{}", e.written, e.weight, if e.draining { "d" } else { "" })
        };
        endpoints.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_become_what_they_stand_for() {
        #[track_caller]
        fn check(addresses: Addresses, found: &[&str], expected: &str) {
            let found: Vec<IpAddr> = found.iter().map(|ip| ip.parse().unwrap()).collect();
            let mut wait_for_lookups_blocking = |_: &Arc<str>| Arc::from(found.clone());
            let got =
                members(vec![name(addresses)], &Changes::default(), &mut wait_for_lookups_blocking);
            assert_eq!(summary(&got), expected, "{addresses:?} {found:?}");
        }
        use Addresses::{Auto, Each, One};
        let plain = "app.internal:80*3";
        for addresses in [Auto, Each, One] {
            check(addresses, &[], plain);
        }
        check(Auto, &["10.0.0.1"], plain);
        check(Auto, &["fd00::1", "10.0.0.1"], plain);
        let two = "app.internal:80@10.0.0.1*3 app.internal:80@10.0.0.2*3";
        check(Auto, &["10.0.0.2", "10.0.0.1"], two);
        check(Auto, &["fd00::1", "10.0.0.1", "10.0.0.2"], two);
        check(Auto, &["10.0.0.2", "10.0.0.1", "fd00::1", "fd00::2"], two);
        check(Each, &["10.0.0.1"], "app.internal:80@10.0.0.1*3");
        check(
            Each,
            &["fd00::1", "10.0.0.1"],
            "app.internal:80@10.0.0.1*3 app.internal:80@fd00::1*3",
        );
        check(One, &["10.0.0.2", "10.0.0.1"], plain);
    }

    #[test]
    fn what_was_changed_stays_on_top() {
        let upstream =
            Upstream::new("app", vec![ip("10.0.0.1:80"), ip("10.0.0.2:80"), name(Addresses::Each)]);
        let found: [Arc<[Endpoint]>; 1] = [Arc::from([ip("10.0.0.2:80"), ip("10.0.0.3:80")])];
        let mut changes = Changes::default();
        let mut wait_for_lookups_blocking =
            |_: &Arc<str>| Arc::from(["10.9.0.1", "10.9.0.2"].map(|ip| ip.parse().unwrap()));
        let mut tell = |changes: &Changes| {
            summary(&members(
                named(&upstream, &found, changes),
                changes,
                &mut wait_for_lookups_blocking,
            ))
        };
        assert_eq!(
            tell(&changes),
            "10.0.0.1:80*1 10.0.0.2:80*1 app.internal:80@10.9.0.1*3 app.internal:80@10.9.0.2*3 10.0.0.3:80*1"
        );
        changes.added = vec![ip("10.0.0.4:80"), ip("10.0.0.1:80")];
        changes.removed = ["10.0.0.3:80".into(), "app.internal:80@10.9.0.1".into()].into();
        let drained = EndpointSettings { drain: Some(true), ..EndpointSettings::default() };
        let heavy = EndpointSettings { weight: Some(7), ..EndpointSettings::default() };
        changes.set =
            [("10.0.0.2:80".into(), heavy), ("app.internal:80".into(), drained.then(heavy))].into();
        assert_eq!(
            tell(&changes),
            "10.0.0.1:80*1 10.0.0.2:80*7 app.internal:80@10.9.0.2*7d 10.0.0.4:80*1"
        );
    }
}
