//! Which of many forward rules may match.
//!
//! Each rule is filed under what it names that fewest others name: its destinations, its clients' networks, its ports, its
//! certificates or its methods. Where many rules share what they are filed under, they are filed again by something else they
//! name. A search looks under all that a request has, and compares the rules that it finds there with it, the earlier ones
//! first; so the first rule that matches is the same as if all were compared one after the other. What is made is bounded
//! by what the rules say, not by its square.
//! Not here: whether a rule matches (`forward`), whether one leaves anything for another (`warnings`).

use config::{ClientMatch, Destination, Forward, ForwardRule, PortRange};
use foldhash::HashMap;
use ipnet::IpNet;
use message::ClientCertificate;

use crate::clients::{ClientKey, Clients};
use crate::prefixes::{Nets, Prefixes, canonical_net, port_prefixes};
use crate::sites::suffixes;

/// Rules that are compared one after the other; more are filed.
const COMPARED_MAX: usize = 8;
/// How many times what the rules name the index may hold; what is more is compared.
const FILED_MAX: usize = 8;

/// Something that rules may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    To,
    From,
    Port,
    Client,
    Method,
}

const PARTS: [Part; 5] = [Part::To, Part::From, Part::Port, Part::Client, Part::Method];

/// Which parts rules are filed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts(u8);

impl Parts {
    /// All of them.
    pub(crate) const ALL: Self = Self(0b11111);

    /// All but the destination, for destinations that are not known yet.
    pub(crate) const BUT_TO: Self = Self::ALL.without(Part::To);

    const fn without(self, part: Part) -> Self {
        Self(self.0 & !(1 << part as u8))
    }

    fn has(self, part: Part) -> bool {
        self.0 & 1 << part as u8 != 0
    }
}

/// What a rule is filed under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key<'r> {
    Host(&'r str),
    Suffix(&'r str),
    To(IpNet),
    From(IpNet),
    Port(u16, u8),
    Client(ClientKey),
    Method(&'r str),
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// A host that rules name.
    pub(crate) host: Option<&'a str>,
    /// A host that they name, or a domain around it.
    pub(crate) within: Option<&'a str>,
    /// Addresses, or a network, of the destination.
    pub(crate) to: [Option<IpNet>; 5],
    /// A network of clients.
    pub(crate) from: Option<IpNet>,
    pub(crate) port: WantedPort,
    pub(crate) client: WantedClient<'a>,
    pub(crate) method: Option<&'a str>,
}

/// The port that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedPort {
    /// Rules for all ports.
    All,
    /// Those, and rules for this one.
    One(u16),
    /// Whatever ports they have.
    Any,
}

/// The certificate that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WantedClient<'a> {
    None,
    Shown(&'a ClientCertificate),
    Named(&'a ClientMatch),
}

/// The rules of one listener, filed.
pub(crate) struct Candidates(Found);

/// The rules that are filed under one thing, in rising order.
enum Found {
    One(u32),
    Compared(Box<[u32]>),
    Filed(Box<Files>),
}

struct Files {
    /// The first of them.
    first: u32,
    /// Those that name nothing by which they can be filed.
    others: Box<[u32]>,
    hosts: HashMap<Box<str>, Found>,
    suffixes: HashMap<Box<str>, Found>,
    to: Nets<Found>,
    from: Nets<Found>,
    ports: Prefixes<u16, Found>,
    /// Those that are filed by their ports, by something else.
    of_any_port: Option<Found>,
    clients: Clients<Found>,
    methods: HashMap<Box<str>, Found>,
}

impl Candidates {
    /// Files these rules by some of their parts.
    pub(crate) fn of(forward: &Forward, numbers: Vec<u32>, parts: Parts) -> Self {
        let named = |number: &u32| {
            let rule = forward.rules.get(*number as usize);
            rule.map_or(0, |rule| 4 + rule.to.len() + rule.from.len() + 30 * rule.ports.len())
        };
        let named: usize = numbers.iter().map(named).sum();
        let mut filing = Filing { forward, left: named.saturating_mul(FILED_MAX) };
        Self(filing.file(numbers, parts))
    }

    /// These rules, compared one after the other.
    #[cfg(test)]
    pub(crate) fn walked(numbers: Vec<u32>) -> Self {
        Self(Found::Compared(numbers.into()))
    }

    /// The first rule before `before` that matches, of those that may.
    pub(crate) fn first(
        &self,
        wanted: &Wanted<'_>,
        before: u32,
        matches: &dyn Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut first = before;
        self.0.search(wanted, &mut first, matches);
        (first < before).then_some(first)
    }
}

impl Found {
    fn search(&self, wanted: &Wanted<'_>, first: &mut u32, matches: &dyn Fn(u32) -> bool) {
        match self {
            Self::One(number) => compare(&[*number], first, matches),
            Self::Compared(numbers) => compare(numbers, first, matches),
            Self::Filed(files) => files.search(wanted, first, matches),
        }
    }
}

fn compare(numbers: &[u32], first: &mut u32, matches: &dyn Fn(u32) -> bool) {
    let mut before = numbers.iter().take_while(|&number| number < first);
    if let Some(&found) = before.find(|&&number| matches(number)) {
        *first = found;
    }
}

impl Files {
    fn search(&self, wanted: &Wanted<'_>, first: &mut u32, matches: &dyn Fn(u32) -> bool) {
        if self.first >= *first {
            return;
        }
        compare(&self.others, first, matches);
        let mut see = |found: &Found| found.search(wanted, first, matches);
        if let Some(host) = wanted.host.filter(|_| !self.hosts.is_empty()) {
            self.hosts.get(host).into_iter().for_each(&mut see);
        }
        if let Some(host) = wanted.within.filter(|_| !self.suffixes.is_empty()) {
            suffixes(host).filter_map(|suffix| self.suffixes.get(suffix)).for_each(&mut see);
        }
        if !self.to.is_empty() {
            let nets = wanted.to.into_iter().flatten();
            nets.flat_map(|net| self.to.around(net)).for_each(|(_, found)| see(found));
        }
        if let Some(net) = wanted.from.filter(|_| !self.from.is_empty()) {
            self.from.around(net).for_each(|(_, found)| see(found));
        }
        match (wanted.port, &self.of_any_port) {
            (WantedPort::One(port), Some(_)) => {
                self.ports.each(port).for_each(|(_, found)| see(found));
            }
            (WantedPort::Any, Some(found)) => see(found),
            (WantedPort::All, _) | (_, None) => {}
        }
        match wanted.client {
            WantedClient::Shown(certificate) => self.clients.each(certificate, &mut see),
            WantedClient::Named(client) => self.clients.each_named(client, &mut see),
            WantedClient::None => {}
        }
        if let Some(method) = wanted.method.filter(|_| !self.methods.is_empty()) {
            self.methods.get(method).into_iter().for_each(see);
        }
    }
}

/// Files rules.
struct Filing<'r> {
    forward: &'r Forward,
    /// Entries that may still be made.
    left: usize,
}

impl<'r> Filing<'r> {
    fn file(&mut self, numbers: Vec<u32>, parts: Parts) -> Found {
        match &*numbers {
            [only] => return Found::One(*only),
            few if few.len() <= COMPARED_MAX => return Found::Compared(numbers.into()),
            _ => {}
        }
        let by_part = self.choose(&numbers, parts);
        let entries = by_part.iter().map(|(_, keys)| keys.len()).sum();
        let first = numbers.first().copied().unwrap_or(u32::MAX);
        match self.left.checked_sub(entries).filter(|_| entries > 0) {
            Some(left) => self.left = left,
            None => return Found::Compared(numbers.into()),
        }
        let mut others = Vec::new();
        let mut by_port = Vec::new();
        let mut filed: HashMap<Key<'r>, (Part, Vec<u32>)> = HashMap::default();
        for (number, (part, keys)) in numbers.into_iter().zip(by_part) {
            match part {
                None => others.push(number),
                Some(Part::Port) => by_port.push(number),
                Some(_) => {}
            }
            for key in keys {
                let part = part.unwrap_or(Part::To);
                let (_, list) = filed.entry(key).or_insert_with(|| (part, Vec::new()));
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
        }
        let of_any_port =
            (!by_port.is_empty()).then(|| self.file(by_port, parts.without(Part::Port)));
        let found = filed.into_iter();
        let found =
            found.map(|(key, (part, numbers))| (key, self.file(numbers, parts.without(part))));
        Found::Filed(Box::new(Files::of(first, others, of_any_port, found.collect())))
    }

    /// By rule: the part by which the fewest others would be found with it, and its keys; none, if it names nothing.
    fn choose(&self, numbers: &[u32], parts: Parts) -> Vec<(Option<Part>, Vec<Key<'r>>)> {
        let of_part = |number: u32, part: Part| match parts.has(part) {
            true => self.keys(number, part),
            false => Vec::new(),
        };
        let mut counts: HashMap<Key<'r>, usize> = HashMap::default();
        for &number in numbers {
            let keys = PARTS.into_iter().flat_map(|part| of_part(number, part));
            keys.for_each(|key| *counts.entry(key).or_insert(0) += 1);
        }
        let most = |keys: &[Key<'_>]| keys.iter().filter_map(|key| counts.get(key)).max().copied();
        let choose = |&number: &u32| {
            let all = PARTS.into_iter().map(|part| (part, of_part(number, part)));
            let counted = all.filter_map(|(part, keys)| Some((most(&keys)?, part, keys)));
            let best = counted.min_by_key(|(most, _, keys)| (*most, keys.len()));
            best.map_or((None, Vec::new()), |(_, part, keys)| (Some(part), keys))
        };
        numbers.iter().map(choose).collect()
    }

    /// What a rule names in a part; nothing, if it may match whatever a request has there.
    fn keys(&self, number: u32, part: Part) -> Vec<Key<'r>> {
        let Some(rule) = self.forward.rules.get(number as usize) else { return Vec::new() };
        let destination = |to: &'r Destination| match to {
            Destination::Any => None,
            Destination::Host(host) => Some(Key::Host(host)),
            Destination::Suffix(suffix) => Some(Key::Suffix(suffix)),
            Destination::Net(net) => Some(Key::To(canonical_net(*net))),
        };
        match part {
            Part::To => rule.to.iter().map(destination).collect::<Option<_>>().unwrap_or_default(),
            Part::From => rule.from.iter().map(|&net| Key::From(canonical_net(net))).collect(),
            Part::Port => {
                let prefixes =
                    ports(self.forward, rule).iter().flat_map(|&range| port_prefixes(range));
                prefixes.map(|(bits, length)| Key::Port(bits, length)).collect()
            }
            Part::Client => {
                let keys = rule.clients.iter().map(ClientKey::all_of);
                keys.collect::<Option<Vec<_>>>()
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(Key::Client)
                    .collect()
            }
            Part::Method => rule.methods.iter().map(|method| Key::Method(method)).collect(),
        }
    }
}

/// The ports that a rule is about; empty: all.
pub(crate) fn ports<'r>(forward: &'r Forward, rule: &'r ForwardRule) -> &'r [PortRange] {
    if rule.ports.is_empty() && rule.allow { &forward.ports } else { &rule.ports }
}

impl Files {
    fn of(
        first: u32,
        others: Vec<u32>,
        of_any_port: Option<Found>,
        filed: Vec<(Key<'_>, Found)>,
    ) -> Self {
        let (mut hosts, mut suffixes, mut methods) =
            (HashMap::default(), HashMap::default(), HashMap::default());
        let (mut to, mut from, mut ports, mut clients) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, found) in filed {
            match key {
                Key::Host(host) => drop(hosts.insert(host.into(), found)),
                Key::Suffix(suffix) => drop(suffixes.insert(suffix.into(), found)),
                Key::Method(method) => drop(methods.insert(method.into(), found)),
                Key::To(net) => to.push((net, found)),
                Key::From(net) => from.push((net, found)),
                Key::Port(bits, length) => ports.push((bits, length, found)),
                Key::Client(key) => clients.push((key, found)),
            }
        }
        // No key comes twice.
        let join = |_: &mut Found, _| {};
        let (to, from) = (Nets::of(to, join), Nets::of(from, join));
        let (ports, clients) = (Prefixes::of(ports, join), Clients::of(clients));
        let others = others.into();
        Self { first, others, hosts, suffixes, to, from, ports, of_any_port, clients, methods }
    }
}
