//! The rules of a forward listener; the first that matches decides.
//!
//! [`ForwardIndex`] finds the few rules whose destination can match, by host, suffix and network,
//! so that a list of many thousand hosts costs as much as a short one. Whether a rule matches is
//! decided by [`RuleQuery::difference`] only; the index merely leaves out rules that cannot match.
//! [`crate::Rules::judge`] documents what the rules mean.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use config::{Destination, Forward, ForwardRule, Place, PortRange};
use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;
use message::{ClientCertificate, Method, Target};

use crate::canonical;
use crate::clients::client_allowed;
use crate::net_index::{NetIndex, canonical_net};
use crate::routes::takes_method;
use crate::sites::{suffixes, without_root_dot};
use crate::trace::{Step, StepOutcome, Trace};

/// Lists of rules with no more destinations than this are gone through one by one.
const DESTINATIONS_COMPARED_MAX: usize = 8;

/// A request to a forward listener, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct ForwardRequest<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What it asks for.
    pub method: &'a Method,
    /// The canonical host that it names.
    pub host: &'a str,
    /// The port that it names.
    pub port: u16,
    /// The certificate that it has shown.
    pub certificate: Option<&'a ClientCertificate>,
}

impl<'a> ForwardRequest<'a> {
    /// What a client asks for with a target.
    pub fn of(
        client: IpAddr,
        method: &'a Method,
        target: &'a Target,
        certificate: Option<&'a ClientCertificate>,
    ) -> Self {
        Self { client, method, host: target.host(), port: target.port(), certificate }
    }
}

/// An address that might be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// False for special ones: private, loopback, link-local and so on.
    pub is_global: bool,
    /// True for special ones of this machine, its link or its cloud: a rule for a name does not allow them.
    pub is_own: bool,
    /// The IPv4 addresses that one of IPv6 carries (NAT64, 6to4 and the like). A `deny` of IPv4 speaks of them too; an
    /// `allow` does not, as it is not this address that answers.
    pub inside: [Option<Ipv4Addr>; 4],
}

impl Address {
    /// An ordinary public address.
    pub fn global(ip: IpAddr) -> Self {
        Self { ip, is_global: true, is_own: false, inside: [None; 4] }
    }
}

/// The verdict of a forward listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The address may be dialled.
    Allow {
        /// Counts in the listener's rules; `None`: what holds where no rule matches.
        rule: Option<usize>,
        /// The line that decided.
        place: Place,
    },
    /// It may not.
    Deny {
        /// Counts in the listener's rules; `None`: what holds where no rule matches.
        rule: Option<usize>,
        /// The line that decided.
        place: Place,
        /// Why, for an answer that helps.
        reason: DenyReason,
    },
    /// It depends on the addresses of the host: look it up, and judge each.
    NeedsAddresses,
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// A `deny` says so.
    Rule,
    /// No `allow` says otherwise.
    NoRule,
    /// It would be allowed on another port.
    Port,
    /// It would be allowed if the address were not a special one.
    SpecialAddress,
    /// It would be allowed if the address were not one of this machine, its link or its cloud.
    OwnAddress,
}

impl DenyReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::NoRule => "no-rule",
            Self::Port => "port",
            Self::SpecialAddress => "special-address",
            Self::OwnAddress => "own-address",
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rule => "a rule denies it",
            Self::NoRule => "no rule allows it",
            Self::Port => "the port is not among those allowed",
            Self::SpecialAddress => {
                "the address is private or reserved; to allow it, add `allow to=\"10.0.0.0/8\"` (its network), or the \
                 exact host (`*.x` is not enough)"
            }
            Self::OwnAddress => {
                "the address belongs to this machine, its link or its cloud; to allow it, add `allow to=\"127.0.0.1\"` \
                 (the address or its network), or special=#true"
            }
        })
    }
}

impl Verdict {
    pub(crate) fn no_such_listener() -> Self {
        Self::Deny { rule: None, place: Place::default(), reason: DenyReason::NoRule }
    }
}

/// Where a request would go, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialTarget {
    /// To this canonical address.
    Address(Address),
    /// To a global address that no rule names.
    AnyGlobal,
    /// Not known yet.
    Unknown,
}

/// A request, prepared for comparison with rules.
#[derive(Clone, Copy)]
struct RuleQuery<'a> {
    request: ForwardRequest<'a>,
    dial_target: DialTarget,
    ports: &'a [PortRange],
    /// Set to learn whether only the port is in the way.
    any_port: bool,
}

/// Why a rule does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    Destination,
    /// It has networks, and the address is not known yet.
    Open,
    Client,
    Certificate,
    Port,
    Method,
    SpecialAddress,
}

/// How narrowly a rule names its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// Among many.
    Not,
    /// By its name, or by a wide network.
    ByName,
    /// By its address, or by a network of the kind.
    ByAddress,
}

impl RuleQuery<'_> {
    /// Why a rule does not match; `None`: it does.
    fn difference(&self, rule: &ForwardRule) -> Option<Difference> {
        let named = rule.to.iter().map(|to| self.names(to)).max().unwrap_or(Named::Not);
        let covers = |to: &Destination| self.covers(to) || (!rule.allow && self.carries(to));
        if named > Named::Not || rule.to.is_empty() || rule.to.iter().any(covers) {
            return self.other_difference(rule, named);
        }
        let open = self.dial_target == DialTarget::Unknown
            && rule.to.iter().any(|to| matches!(to, Destination::Net(_)))
            && self.other_difference(rule, Named::ByAddress).is_none();
        Some(if open { Difference::Open } else { Difference::Destination })
    }

    /// Why a rule whose destination matches does not match as a whole. `named`: how it names the destination, and so
    /// whether it includes special addresses.
    fn other_difference(&self, rule: &ForwardRule, named: Named) -> Option<Difference> {
        let from = &rule.from;
        if !from.is_empty() && !from.iter().any(|net| net_has(*net, self.request.client)) {
            return Some(Difference::Client);
        }
        if client_allowed(&rule.clients, self.request.certificate).is_err() {
            return Some(Difference::Certificate);
        }
        let ports = match &*rule.ports {
            [] if rule.allow => self.ports,
            own => own,
        };
        if !(ports.is_empty() || self.any_port || has_port(ports, self.request.port)) {
            return Some(Difference::Port);
        }
        if !takes_method(&rule.methods, self.request.method) {
            return Some(Difference::Method);
        }
        if rule.allow && !rule.special && named < self.must_be_named() {
            return Some(Difference::SpecialAddress);
        }
        None
    }

    fn is_special(&self) -> bool {
        self.must_be_named() > Named::Not
    }

    /// How narrowly a rule must name the address in order to allow it.
    fn must_be_named(&self) -> Named {
        match self.dial_target {
            // RFC 6761, section 6.3: this name says itself that it is loopback.
            DialTarget::Address(Address { ip, is_own: true, .. })
                if ip.is_loopback() && is_localhost(self.request.host) =>
            {
                Named::ByName
            }
            DialTarget::Address(Address { is_own: true, .. }) => Named::ByAddress,
            DialTarget::Address(Address { is_global: false, .. }) => Named::ByName,
            _ => Named::Not,
        }
    }

    /// How narrowly a destination names this one.
    fn names(&self, to: &Destination) -> Named {
        match (to, self.dial_target) {
            (Destination::Host(host), _) if **host == *self.request.host => Named::ByName,
            (Destination::Net(net), DialTarget::Address(to)) if net_has(*net, to.ip) => {
                named_by(canonical_net(*net).prefix_len(), &to)
            }
            _ => Named::Not,
        }
    }

    /// True if a network has an IPv4 address that this one carries.
    fn carries(&self, to: &Destination) -> bool {
        match (to, self.dial_target) {
            (Destination::Net(net), DialTarget::Address(to)) => {
                to.inside.iter().flatten().any(|&inside| net_has(*net, inside.into()))
            }
            _ => false,
        }
    }

    /// True if a destination has this one among many.
    fn covers(&self, to: &Destination) -> bool {
        match (to, self.dial_target) {
            (Destination::Any, _) => true,
            (Destination::Suffix(suffix), _) => {
                suffixes(self.request.host).any(|part| *part == **suffix)
            }
            (Destination::Net(net), DialTarget::Address(to)) => net_has(*net, to.ip),
            _ => false,
        }
    }
}

/// How narrowly a network of this prefix length names an address that is in it. A very wide network does not name the
/// special addresses in it, and a network of NAT64 or 6to4 not the IPv4 addresses inside.
fn named_by(length: u8, address: &Address) -> Named {
    let narrow = match address.ip {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) if address.inside == [None; 4] => 10,
        IpAddr::V6(_) => 128,
    };
    match length {
        0 => Named::Not,
        length if length < narrow => Named::ByName,
        _ => Named::ByAddress,
    }
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn net_has(net: IpNet, ip: IpAddr) -> bool {
    canonical_net(net).contains(&ip)
}

fn has_port(ports: &[PortRange], port: u16) -> bool {
    ports.iter().any(|range| (range.first..=range.last).contains(&port))
}

/// The rules of one listener, by what they are about; each list is in rising order.
pub(crate) struct ForwardIndex {
    hosts: HashMap<Box<str>, Vec<u32>>,
    suffixes: HashMap<Box<str>, Vec<u32>>,
    nets: NetIndex,
    /// Rules for every destination.
    any: Vec<u32>,
    /// Rules of a list so short that the destination is compared too.
    all: Vec<u32>,
    /// Rules that allow some network, which a name might turn out to be in.
    allowed_nets: Vec<u32>,
    /// True if no `allow` speaks of clients on loopback, so that they may go where no `deny` is.
    loopback_is_free: bool,
}

impl ForwardIndex {
    pub(crate) fn of(forward: &Forward) -> Self {
        let destinations: usize = forward.rules.iter().map(|rule| rule.to.len().max(1)).sum();
        if destinations > DESTINATIONS_COMPARED_MAX {
            return Self::of_all(forward);
        }
        let all = (0u32..).zip(&forward.rules).map(|(number, _)| number).collect();
        Self { all, ..Self::without_rules(forward) }
    }

    /// An index of every rule, be there ever so few.
    pub(crate) fn of_all(forward: &Forward) -> Self {
        let mut index = Self::without_rules(forward);
        for (number, rule) in (0u32..).zip(&forward.rules) {
            index.insert(number, rule);
        }
        index
    }

    fn without_rules(forward: &Forward) -> Self {
        let allows_net = |rule: &ForwardRule| {
            rule.allow && rule.to.iter().any(|to| matches!(to, Destination::Net(_)))
        };
        let rules = (0u32..).zip(&forward.rules);
        Self {
            hosts: HashMap::new(),
            suffixes: HashMap::new(),
            nets: NetIndex::new(),
            any: Vec::new(),
            all: Vec::new(),
            allowed_nets: rules.filter(|(_, r)| allows_net(r)).map(|(number, _)| number).collect(),
            loopback_is_free: !forward.rules.iter().any(allows_loopback_clients),
        }
    }

    /// Calls `see` with lists of rules; every rule that covers all of `to` is in one of them.
    pub(crate) fn about(&self, to: &Destination, mut see: impl FnMut(&[u32])) {
        match to {
            Destination::Any => {}
            Destination::Host(host) | Destination::Suffix(host) => {
                self.hosts.get(host).into_iter().for_each(|list| see(list));
                let wider = suffixes(host).filter_map(|suffix| self.suffixes.get(suffix));
                wider.for_each(|list| see(list));
            }
            Destination::Net(net) => {
                self.nets.each(canonical_net(*net).network(), |_, list| see(list));
            }
        }
        see(&self.any);
    }

    fn insert(&mut self, number: u32, rule: &ForwardRule) {
        if rule.to.is_empty() {
            self.any.push(number);
        }
        for to in &rule.to {
            let list = match to {
                Destination::Any => &mut self.any,
                Destination::Host(host) => self.hosts.entry(host.clone()).or_default(),
                Destination::Suffix(suffix) => self.suffixes.entry(suffix.clone()).or_default(),
                Destination::Net(net) => {
                    self.nets.insert(canonical_net(*net), number);
                    continue;
                }
            };
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
    }

    pub(crate) fn judge<T: Trace>(
        &self,
        forward: &Forward,
        request: &ForwardRequest<'_>,
        address: Option<Address>,
        trace: &mut T,
    ) -> Verdict {
        let dial_target = match address {
            Some(address) => DialTarget::Address(Address { ip: canonical(address.ip), ..address }),
            None => DialTarget::Unknown,
        };
        self.judge_target(forward, request, dial_target, trace)
    }

    pub(crate) fn judge_target<T: Trace>(
        &self,
        forward: &Forward,
        request: &ForwardRequest<'_>,
        dial_target: DialTarget,
        trace: &mut T,
    ) -> Verdict {
        let client = canonical(request.client);
        let host = without_root_dot(request.host);
        let request = ForwardRequest { client, host, ..*request };
        let query = RuleQuery { request, dial_target, ports: &forward.ports, any_port: false };
        let found = self.first(&forward.rules, &query);
        if T::ON {
            explain(&forward.rules, &query, found, trace);
        }
        let verdict = self.verdict(forward, &query, found);
        if T::ON && (found.is_none() || verdict == Verdict::NeedsAddresses) {
            trace.step(last_step(forward, verdict));
        }
        verdict
    }

    fn verdict(&self, forward: &Forward, query: &RuleQuery<'_>, found: Option<usize>) -> Verdict {
        if query.dial_target == DialTarget::Unknown
            && self.may_be_allowed(&forward.rules, query, found)
        {
            return Verdict::NeedsAddresses;
        }
        if let Some((rule, decides)) = found.and_then(|n| Some((n, forward.rules.get(n)?))) {
            let (rule, place) = (Some(rule), decides.place);
            return match decides.allow {
                true => Verdict::Allow { rule, place },
                false => Verdict::Deny { rule, place, reason: DenyReason::Rule },
            };
        }
        let place = forward.place;
        if self.allows_by_default(query) {
            return Verdict::Allow { rule: None, place };
        }
        Verdict::Deny { rule: None, place, reason: self.reason(&forward.rules, query) }
    }

    /// True if an address could be allowed of a host whose addresses are not known. `found` is the
    /// first rule that matches by name.
    fn may_be_allowed(
        &self,
        rules: &[ForwardRule],
        query: &RuleQuery<'_>,
        found: Option<usize>,
    ) -> bool {
        let by_name = match found {
            Some(number) => rules.get(number).is_some_and(|rule| rule.allow),
            None => self.allows_by_default(query),
        };
        let before = found.unwrap_or(usize::MAX);
        let mut nets = self.allowed_nets.iter().take_while(|&&number| (number as usize) < before);
        by_name
            || nets.any(|&number| {
                let rule = rules.get(number as usize);
                rule.is_some_and(|rule| query.other_difference(rule, Named::ByAddress).is_none())
            })
    }

    /// What holds where no rule matches.
    fn allows_by_default(&self, query: &RuleQuery<'_>) -> bool {
        self.loopback_is_free
            && query.request.client.is_loopback()
            && !query.is_special()
            && (query.any_port
                || query.ports.is_empty()
                || has_port(query.ports, query.request.port))
    }

    /// Why nothing allows a request that no rule denies: what would have to be different.
    fn reason(&self, rules: &[ForwardRule], query: &RuleQuery<'_>) -> DenyReason {
        let allowed = |query: &RuleQuery<'_>| match (self.first(rules, query), query.dial_target) {
            (found, DialTarget::Unknown) => self.may_be_allowed(rules, query, found),
            (Some(number), _) => rules.get(number).is_some_and(|rule| rule.allow),
            (None, _) => self.allows_by_default(query),
        };
        let public = |address: Address| {
            DialTarget::Address(Address { is_global: true, is_own: false, ..address })
        };
        if let DialTarget::Address(address @ Address { is_global: false, .. }) = query.dial_target
            && allowed(&RuleQuery { dial_target: public(address), ..*query })
        {
            if address.is_own { DenyReason::OwnAddress } else { DenyReason::SpecialAddress }
        } else if allowed(&RuleQuery { any_port: true, ..*query }) {
            DenyReason::Port
        } else {
            DenyReason::NoRule
        }
    }

    /// The first rule that matches.
    fn first(&self, rules: &[ForwardRule], query: &RuleQuery<'_>) -> Option<usize> {
        let mut first = u32::MAX;
        let mut search = |list: &[u32], difference: &dyn Fn(&ForwardRule) -> Option<Difference>| {
            let before = list.iter().take_while(|&&number| number < first);
            let mut rules = before.filter_map(|&n| Some((n, rules.get(n as usize)?)));
            if let Some((number, _)) = rules.find(|(_, rule)| difference(rule).is_none()) {
                first = number;
            }
        };
        let named = |rule: &ForwardRule| query.other_difference(rule, Named::ByName);
        let covered = |rule: &ForwardRule| query.other_difference(rule, Named::Not);
        let carried = |rule: &ForwardRule| match rule.allow {
            true => Some(Difference::Destination),
            false => query.other_difference(rule, Named::Not),
        };
        search(&self.all, &|rule| query.difference(rule));
        if let Some(list) = self.hosts.get(query.request.host) {
            search(list, &named);
        }
        if !self.suffixes.is_empty() {
            for suffix in suffixes(query.request.host) {
                if let Some(list) = self.suffixes.get(suffix) {
                    search(list, &covered);
                }
            }
        }
        if let DialTarget::Address(address) = query.dial_target {
            self.nets.each(address.ip, |length, list| {
                let named = named_by(length, &address);
                search(list, &|rule| query.other_difference(rule, named));
            });
            for inside in address.inside.into_iter().flatten() {
                self.nets.each(inside.into(), |_, list| search(list, &carried));
            }
        }
        search(&self.any, &covered);
        (first != u32::MAX).then_some(first as usize)
    }
}

/// True if a rule allows something to clients on loopback, by name or because it has no `from`.
fn allows_loopback_clients(rule: &ForwardRule) -> bool {
    let loopback = |net: &IpNet| match canonical_net(*net) {
        IpNet::V4(net) => net.contains(&Ipv4Addr::LOCALHOST) || net.addr().is_loopback(),
        IpNet::V6(net) => net.contains(&std::net::Ipv6Addr::LOCALHOST),
    };
    rule.allow && (rule.from.is_empty() || rule.from.iter().any(loopback))
}

/// Traces the outcome of each rule up to the one that matches.
fn explain<T: Trace>(
    rules: &[ForwardRule],
    query: &RuleQuery<'_>,
    found: Option<usize>,
    trace: &mut T,
) {
    let tried = found.map_or(rules.len(), |found| found + 1);
    for rule in rules.iter().take(tried) {
        let outcome = match query.difference(rule) {
            None => StepOutcome::Decided,
            Some(Difference::Open) => {
                StepOutcome::Open(format!("it depends on the addresses of {}", query.request.host))
            }
            Some(difference) => StepOutcome::Differs(tell(difference, rule, query)),
        };
        trace.step(Step { place: rule.place, text: rule.written.to_string(), outcome });
    }
}

/// The step for a request that no rule matched.
fn last_step(forward: &Forward, verdict: Verdict) -> Step {
    let (text, outcome) = match verdict {
        Verdict::Allow { .. } => (
            "no rule matches; the client is on loopback, so it is allowed".to_owned(),
            StepOutcome::Decided,
        ),
        Verdict::Deny { reason, .. } => {
            (format!("no rule matches; {reason}"), StepOutcome::Decided)
        }
        Verdict::NeedsAddresses => (
            "not refused by name".to_owned(),
            StepOutcome::Open("each address is checked once the host is looked up".to_owned()),
        ),
    };
    Step { place: forward.place, text, outcome }
}

/// Says for people why a rule does not match.
fn tell(difference: Difference, rule: &ForwardRule, query: &RuleQuery<'_>) -> String {
    let ForwardRequest { client, method, host, port, certificate } = query.request;
    match (difference, query.dial_target) {
        (Difference::Destination | Difference::Open, DialTarget::Address(Address { ip, .. }))
            if rule.to.iter().any(|to| matches!(to, Destination::Net(_))) =>
        {
            format!("the destination is {host} at {ip}")
        }
        (Difference::Destination | Difference::Open, _) => format!("the destination is {host}"),
        (Difference::Client, _) => format!("the client is {client}"),
        (Difference::Certificate, _) => match certificate {
            Some(shown) => format!("the client's certificate is for {}", shown.subject),
            None => "the client has no certificate".to_owned(),
        },
        (Difference::Port, _) if rule.ports.is_empty() => {
            format!("the port is {port}, which is not among the listener's `ports`")
        }
        (Difference::Port, _) => format!("the port is {port}"),
        (Difference::Method, _) => format!("the method is {method}"),
        (Difference::SpecialAddress, DialTarget::Address(Address { ip, is_own: true, .. })) => {
            format!(
                "{ip} belongs to this machine, its link or its cloud, and the rule names neither the address nor its \
                 network, nor has special=#true"
            )
        }
        (Difference::SpecialAddress, DialTarget::Address(Address { ip, .. })) => {
            format!(
                "{ip} is private or reserved, and the rule names neither its network nor the exact host"
            )
        }
        (Difference::SpecialAddress, _) => "the address is private or reserved".to_owned(),
    }
}
