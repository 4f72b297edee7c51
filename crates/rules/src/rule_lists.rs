//! Long lists of forward rules, made ready: destinations, networks of clients.
//!
//! Short ones are gone through as they are written.

use config::{Destination, Forward, ForwardRule};
use foldhash::HashSet;

use crate::prefixes::{Nets, net_set};
use crate::sites::suffixes;

/// Values that are compared one after the other; more are made ready.
const VALUES_COMPARED_MAX: usize = 8;

/// The long lists of a rule.
pub(crate) struct RuleLists {
    pub(crate) to: Option<Destinations>,
    pub(crate) from: Option<Nets<()>>,
}

/// Many destinations.
pub(crate) struct Destinations {
    pub(crate) nets: Nets<()>,
    hosts: HashSet<Box<str>>,
    suffixes: HashSet<Box<str>>,
    is_any: bool,
}

/// By rule: its long lists; empty if there are none.
pub(crate) fn lists_of(forward: &Forward) -> Vec<Option<Box<RuleLists>>> {
    let lists = |rule: &ForwardRule| {
        let to = (rule.to.len() > VALUES_COMPARED_MAX).then(|| Destinations::of(&rule.to));
        let from =
            (rule.from.len() > VALUES_COMPARED_MAX).then(|| net_set(rule.from.iter().copied()));
        (to.is_some() || from.is_some()).then(|| Box::new(RuleLists { to, from }))
    };
    let lists: Vec<_> = forward.rules.iter().map(lists).collect();
    if lists.iter().all(Option::is_none) { Vec::new() } else { lists }
}

impl Destinations {
    fn of(all: &[Destination]) -> Self {
        let nets = all.iter().filter_map(|to| match to {
            Destination::Net(net) => Some(*net),
            _ => None,
        });
        let (mut hosts, mut suffixes) = (HashSet::default(), HashSet::default());
        for to in all {
            match to {
                Destination::Host(host) => drop(hosts.insert(host.clone())),
                Destination::Suffix(suffix) => drop(suffixes.insert(suffix.clone())),
                Destination::Any | Destination::Net(_) => {}
            }
        }
        let is_any = all.contains(&Destination::Any);
        Self { nets: net_set(nets), hosts, suffixes, is_any }
    }

    /// Whether this host is named.
    pub(crate) fn has_host(&self, host: &str) -> bool {
        self.hosts.contains(host)
    }

    /// Whether this host is among all, or within a domain that is named.
    pub(crate) fn covers_host(&self, host: &str) -> bool {
        self.is_any || self.is_within(host)
    }

    /// Whether a host, or a domain, is within a domain that is named.
    pub(crate) fn is_within(&self, host: &str) -> bool {
        !self.suffixes.is_empty() && suffixes(host).any(|part| self.suffixes.contains(part))
    }

    /// Whether every destination is among them.
    pub(crate) fn is_any(&self) -> bool {
        self.is_any
    }
}
