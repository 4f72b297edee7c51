//! The rules of a forward listener; the first that matches decides.
//!
//! [`ForwardIndex`] finds the few rules that can match (`candidates`), so that a list of many thousand rules costs as much as
//! a short one. Whether a rule matches is decided by [`RuleQuery::difference`] only; the index merely leaves out rules that
//! cannot match. [`crate::Rules::judge`] documents what the rules mean.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;

use config::{Destination, Forward, ForwardRule, Place, PortRange};
use ipnet::IpNet;
use message::{ClientCertificate, Method, Target};

use crate::candidates::{Candidates, Parts, Wanted, WantedClient, WantedPort, ports};
use crate::canonical;
use crate::clients::client_allowed;
use crate::covering::{coverable, covers};
use crate::prefixes::canonical_net;
use crate::routes::takes_method;
use crate::rule_lists::{RuleLists, lists_of};
use crate::sites::{suffixes, without_root_dot};
use crate::trace::{Step, StepOutcome, Trace};

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
    forward: &'a Forward,
    /// Set to learn whether only the port is in the way.
    any_port: bool,
}

/// A rule, with its long lists made ready.
#[derive(Clone, Copy)]
struct Ruled<'r> {
    rule: &'r ForwardRule,
    lists: Option<&'r RuleLists>,
}

impl Deref for Ruled<'_> {
    type Target = ForwardRule;

    fn deref(&self) -> &ForwardRule {
        self.rule
    }
}

impl Ruled<'_> {
    fn takes_client(&self, client: IpAddr) -> bool {
        let from = &self.rule.from;
        match self.lists.and_then(|lists| lists.from.as_ref()) {
            Some(nets) => nets.each(client).next().is_some(),
            None => from.is_empty() || from.iter().any(|net| net_has(*net, client)),
        }
    }
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

impl<'a> RuleQuery<'a> {
    /// Whether a rule matches.
    fn matches(&self, rule: Ruled<'_>) -> bool {
        let named = self.destination(rule);
        named.is_some_and(|named| self.other_difference(rule, named).is_none())
    }

    /// Why a rule does not match; `None`: it does.
    fn difference(&self, rule: Ruled<'_>) -> Option<Difference> {
        if let Some(named) = self.destination(rule) {
            return self.other_difference(rule, named);
        }
        let open = self.dial_target == DialTarget::Unknown
            && rule.to.iter().any(|to| matches!(to, Destination::Net(_)))
            && self.other_difference(rule, Named::ByAddress).is_none();
        Some(if open { Difference::Open } else { Difference::Destination })
    }

    /// How narrowly a rule names the destination; `None`: it does not match.
    fn destination(&self, rule: Ruled<'_>) -> Option<Named> {
        let (named, is_covered) = match rule.lists.and_then(|lists| lists.to.as_ref()) {
            Some(lists) => {
                let host = self.request.host;
                let host = if lists.has_host(host) { Named::ByName } else { Named::Not };
                let (mut named, mut is_covered) = (host, lists.covers_host(self.request.host));
                if let DialTarget::Address(to) = self.dial_target {
                    // The narrowest network names it most narrowly.
                    let length = lists.nets.each(to.ip).next().map(|(length, ())| length);
                    named = named.max(length.map_or(Named::Not, |length| named_by(length, &to)));
                    let carries = |inside: &Ipv4Addr| lists.nets.each((*inside).into()).count() > 0;
                    is_covered |= length.is_some()
                        || (!rule.allow && to.inside.iter().flatten().any(carries));
                }
                (named, is_covered)
            }
            None => {
                let named = rule.to.iter().map(|to| self.names(to)).max().unwrap_or(Named::Not);
                let covers =
                    |to: &Destination| self.covers(to) || (!rule.allow && self.carries(to));
                (named, rule.to.is_empty() || rule.to.iter().any(covers))
            }
        };
        (is_covered || named > Named::Not).then_some(named)
    }

    /// Why a rule whose destination matches does not match as a whole. `named`: how it names the destination, and so
    /// whether it includes special addresses.
    fn other_difference(&self, rule: Ruled<'_>, named: Named) -> Option<Difference> {
        if !rule.takes_client(self.request.client) {
            return Some(Difference::Client);
        }
        if client_allowed(&rule.clients, self.request.certificate).is_err() {
            return Some(Difference::Certificate);
        }
        let ports = ports(self.forward, rule.rule);
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

    /// What the rules that may match are filed under.
    fn wanted(&self) -> Wanted<'a> {
        let ForwardRequest { client, method, host, port, certificate } = self.request;
        let mut to = [None; 5];
        if let DialTarget::Address(address) = self.dial_target {
            let inside = address.inside.map(|inside| inside.map(IpAddr::from));
            let all = std::iter::once(Some(address.ip)).chain(inside);
            to.iter_mut().zip(all).for_each(|(to, ip)| *to = ip.map(IpNet::from));
        }
        Wanted {
            host: Some(host),
            within: Some(host),
            to,
            from: Some(client.into()),
            port: if self.any_port { WantedPort::Any } else { WantedPort::One(port) },
            client: certificate.map_or(WantedClient::None, WantedClient::Shown),
            method: Some(method.as_str()),
        }
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

/// The rules of one listener, made ready.
pub(crate) struct ForwardIndex {
    rules: Candidates,
    /// Rules that allow some network, which a name might turn out to be in.
    allowed_nets: Candidates,
    /// By rule: its long lists; empty if there are none.
    lists: Vec<Option<Box<RuleLists>>>,
    /// True if no `allow` speaks of clients on loopback, so that they may go where no `deny` is.
    loopback_is_free: bool,
}

impl ForwardIndex {
    pub(crate) fn of(forward: &Forward) -> Self {
        let (all, allowed_nets) = numbers(forward);
        Self {
            rules: Candidates::of(forward, all, Parts::ALL),
            allowed_nets: Candidates::of(forward, allowed_nets, Parts::BUT_TO),
            lists: lists_of(forward),
            loopback_is_free: !forward.rules.iter().any(allows_loopback_clients),
        }
    }

    /// One that leaves no rule out, to compare it with.
    #[cfg(test)]
    pub(crate) fn walked(forward: &Forward) -> Self {
        let (all, allowed_nets) = numbers(forward);
        let (rules, allowed_nets) = (Candidates::walked(all), Candidates::walked(allowed_nets));
        Self { rules, allowed_nets, lists: Vec::new(), ..Self::of(forward) }
    }

    /// The first rule before one that covers all of it.
    pub(crate) fn covering(&self, forward: &Forward, number: usize) -> Option<usize> {
        let later = forward.rules.get(number)?;
        let covers = |earlier: u32| {
            let lists = self.lists.get(earlier as usize).and_then(Option::as_deref);
            let rule = forward.rules.get(earlier as usize);
            rule.is_some_and(|earlier| covers(forward, earlier, lists, later))
        };
        let before = u32::try_from(number).ok()?;
        self.rules.first(&coverable(forward, later), before, &covers).map(|first| first as usize)
    }

    fn ruled<'r>(&'r self, forward: &'r Forward, number: u32) -> Option<Ruled<'r>> {
        let lists = self.lists.get(number as usize).and_then(Option::as_deref);
        forward.rules.get(number as usize).map(|rule| Ruled { rule, lists })
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
        let query = RuleQuery { request, dial_target, forward, any_port: false };
        let found = self.first(&query);
        if T::ON {
            self.explain(&query, found, trace);
        }
        let verdict = self.verdict(&query, found);
        if T::ON && (found.is_none() || verdict == Verdict::NeedsAddresses) {
            trace.step(last_step(forward, verdict));
        }
        verdict
    }

    fn verdict(&self, query: &RuleQuery<'_>, found: Option<usize>) -> Verdict {
        let forward = query.forward;
        if query.dial_target == DialTarget::Unknown && self.may_be_allowed(query, found) {
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
        Verdict::Deny { rule: None, place, reason: self.reason(query) }
    }

    /// True if an address could be allowed of a host whose addresses are not known. `found` is the
    /// first rule that matches by name.
    fn may_be_allowed(&self, query: &RuleQuery<'_>, found: Option<usize>) -> bool {
        let rules = &query.forward.rules;
        let by_name = match found {
            Some(number) => rules.get(number).is_some_and(|rule| rule.allow),
            None => self.allows_by_default(query),
        };
        let before = found.map_or(u32::MAX, |found| found as u32);
        let allows = |number: u32| {
            let rule = self.ruled(query.forward, number);
            rule.is_some_and(|rule| query.other_difference(rule, Named::ByAddress).is_none())
        };
        by_name || self.allowed_nets.first(&query.wanted(), before, &allows).is_some()
    }

    /// What holds where no rule matches.
    fn allows_by_default(&self, query: &RuleQuery<'_>) -> bool {
        self.loopback_is_free
            && query.request.client.is_loopback()
            && !query.is_special()
            && (query.any_port
                || query.forward.ports.is_empty()
                || has_port(&query.forward.ports, query.request.port))
    }

    /// Why nothing allows a request that no rule denies: what would have to be different.
    fn reason(&self, query: &RuleQuery<'_>) -> DenyReason {
        let rules = &query.forward.rules;
        let allowed = |query: &RuleQuery<'_>| match (self.first(query), query.dial_target) {
            (found, DialTarget::Unknown) => self.may_be_allowed(query, found),
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
    fn first(&self, query: &RuleQuery<'_>) -> Option<usize> {
        let matches = |number| {
            let rule = self.ruled(query.forward, number);
            rule.is_some_and(|rule| query.matches(rule))
        };
        self.rules.first(&query.wanted(), u32::MAX, &matches).map(|first| first as usize)
    }

    /// Traces the outcome of each rule up to the one that matches.
    fn explain<T: Trace>(&self, query: &RuleQuery<'_>, found: Option<usize>, trace: &mut T) {
        let rules = &query.forward.rules;
        let tried = found.map_or(rules.len(), |found| found + 1);
        let ruled = (0u32..).take(tried).map_while(|number| self.ruled(query.forward, number));
        for rule in ruled {
            let outcome = match query.difference(rule) {
                None => StepOutcome::Decided,
                Some(Difference::Open) => StepOutcome::Open(format!(
                    "it depends on the addresses of {}",
                    query.request.host
                )),
                Some(difference) => StepOutcome::Differs(tell(difference, rule.rule, query)),
            };
            trace.step(Step { place: rule.place, text: rule.written.to_string(), outcome });
        }
    }
}

/// The numbers of all rules, and of those that allow some network.
fn numbers(forward: &Forward) -> (Vec<u32>, Vec<u32>) {
    let allows_net = |rule: &ForwardRule| {
        rule.allow && rule.to.iter().any(|to| matches!(to, Destination::Net(_)))
    };
    let numbered = || (0u32..).zip(&forward.rules);
    let nets = numbered().filter(|(_, rule)| allows_net(rule));
    (numbered().map(|(number, _)| number).collect(), nets.map(|(number, _)| number).collect())
}

/// True if a rule allows something to clients on loopback, by name or because it has no `from`.
fn allows_loopback_clients(rule: &ForwardRule) -> bool {
    let loopback = |net: &IpNet| match canonical_net(*net) {
        IpNet::V4(net) => net.contains(&Ipv4Addr::LOCALHOST) || net.addr().is_loopback(),
        IpNet::V6(net) => net.contains(&std::net::Ipv6Addr::LOCALHOST),
    };
    rule.allow && (rule.from.is_empty() || rule.from.iter().any(loopback))
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
