//! Lines of a configuration that are probably mistakes: lines without effect, because others match all that they would,
//! and lines that lead clients to our own admin interface.

use config::{
    AdminAddress, ClientMatch, Config, Destination, EndpointAddress, Forward, ForwardRule,
    Listener, Place, PortRange, Serves, Site, SiteName,
};
use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use crate::Rules;
use crate::forward::ForwardIndex;
use crate::net_index::canonical_net;
use crate::route_warnings::route_warnings;
use crate::sites::{site_text, suffixes};

/// A line that deserves a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line.
    pub place: Place,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The line that it collides with.
    pub other: Option<Place>,
}

/// All warnings of a configuration, in the order of the file's lines.
pub(crate) fn warnings(rules: &Rules) -> Vec<Warning> {
    let config = &*rules.config;
    let mut found = Vec::new();
    config.listeners.iter().for_each(|listener| same_names(config, listener, &mut found));
    route_warnings(rules, &mut found);
    config.forwards.iter().for_each(|forward| unreachable_rules(forward, &mut found));
    endpoints_that_are_our_admin(config, &mut found);
    found.sort_by_key(|warning| warning.place);
    found.dedup();
    found
}

/// Endpoints that are our own admin interface: each client of the site would get at it.
fn endpoints_that_are_our_admin(config: &Config, found: &mut Vec<Warning>) {
    let Some(admin) = &config.process.admin else { return };
    let is_admin = |endpoint: &EndpointAddress| match (endpoint, admin) {
        (EndpointAddress::Ip(endpoint), AdminAddress::Tcp(admin)) => {
            let (ip, own) = (endpoint.ip().to_canonical(), admin.ip().to_canonical());
            endpoint.port() == admin.port() && (ip == own || ip.is_unspecified())
        }
        (EndpointAddress::Name { host, port }, AdminAddress::Tcp(admin)) => {
            let is_local = &**host == "localhost" || host.ends_with(".localhost");
            *port == admin.port() && is_local
        }
        (EndpointAddress::Unix(endpoint), AdminAddress::Unix(admin)) => **endpoint == **admin,
        _ => false,
    };
    for upstream in &config.upstreams {
        let endpoints = upstream.endpoints.iter().filter(|endpoint| is_admin(&endpoint.address));
        found.extend(endpoints.map(|endpoint| {
            Warning {
                place: endpoint.place,
                message: format!("`{}` is the admin interface of this process", endpoint.written),
                hint:
                    "clients of the site could read and change what only this machine may; scrape \
                   `/metrics` from this machine, or name another address"
                        .to_owned(),
                other: None,
            }
        }));
    }
}

/// Two sites of one listener with the same name.
fn same_names(config: &Config, listener: &Listener, found: &mut Vec<Warning>) {
    let Serves::Sites(sites) = &listener.serves else { return };
    let mut first: HashMap<String, &Site> = HashMap::new();
    for site in sites.iter().filter_map(|&id| config.site(id)) {
        for name in &site.names {
            let other = *first.entry(site_text(name)).or_insert(site);
            if !std::ptr::eq(other, site) {
                let what = match name {
                    SiteName::Default => "every other host".to_owned(),
                    name => site_text(name),
                };
                found.push(Warning {
                    place: site.place,
                    message: format!("another site has {what} on {} already", listener.written),
                    hint: "remove the name from one of them; the first site has it".to_owned(),
                    other: Some(other.place),
                });
            }
        }
    }
}

/// Rules that are never reached, because an earlier one takes all that they would.
fn unreachable_rules(forward: &Forward, found: &mut Vec<Warning>) {
    let index = ForwardIndex::of_all(forward);
    for (number, rule) in forward.rules.iter().enumerate() {
        let about = rule.to.first().unwrap_or(&Destination::Any);
        let mut first: Option<usize> = None;
        index.about(about, |list| {
            let earlier = list.iter().map(|&other| other as usize).take_while(|&n| n < number);
            let mut covering = earlier.filter(|&other| {
                forward.rules.get(other).is_some_and(|other| covers(forward, other, rule))
            });
            if let Some(covering) = covering.next() {
                first = Some(first.map_or(covering, |first| first.min(covering)));
            }
        });
        if let Some(other) = first.and_then(|first| forward.rules.get(first)) {
            found.push(Warning {
                place: rule.place,
                message: format!("`{}` is never reached", rule.written),
                hint: format!("move it before `{}`, which takes all of it", other.written),
                other: Some(other.place),
            });
        }
    }
}

/// True if one rule matches everything that a later one would match, so that the later one has no effect.
fn covers(forward: &Forward, earlier: &ForwardRule, later: &ForwardRule) -> bool {
    let within = |net: &IpNet| {
        let net = canonical_net(*net);
        earlier.from.iter().any(|wider| canonical_net(*wider).contains(&net))
    };
    let from = earlier.from.is_empty() || (!later.from.is_empty() && later.from.iter().all(within));
    // Whether one pattern of certificates includes another is not known; only equal ones count.
    let clients = earlier.clients.is_empty()
        || (!later.clients.is_empty() && later.clients.iter().all(|c| has_client(earlier, c)));
    let methods = earlier.methods.is_empty()
        || (!later.methods.is_empty() && later.methods.iter().all(|m| earlier.methods.contains(m)));
    let (wider, narrower) = (ports(forward, earlier), ports(forward, later));
    let in_wider = |port: &PortRange| {
        wider.iter().any(|range| range.first <= port.first && port.last <= range.last)
    };
    let special = !later.special || earlier.special || !earlier.allow;
    let ports = wider.is_empty() || (!narrower.is_empty() && narrower.iter().all(in_wider));
    let all = [Destination::Any];
    let to = |rule: &ForwardRule| if rule.to.is_empty() { all.to_vec() } else { rule.to.clone() };
    from && clients && methods && ports && special && {
        let wider = to(earlier);
        to(later).iter().all(|to| {
            wider.iter().any(|wider| covers_destination(earlier.allow, wider, later.allow, to))
        })
    }
}

fn has_client(rule: &ForwardRule, client: &ClientMatch) -> bool {
    let parts = |client: &ClientMatch| {
        let ClientMatch { place: _, name, fingerprint, subject } = client.clone();
        (name, fingerprint, subject)
    };
    rule.clients.iter().any(|other| parts(other) == parts(client))
}

/// The ports that a rule is about; empty: all.
fn ports<'a>(forward: &'a Forward, rule: &'a ForwardRule) -> &'a [PortRange] {
    if rule.ports.is_empty() && rule.allow { &forward.ports } else { &rule.ports }
}

fn covers_destination(
    allow: bool,
    wider: &Destination,
    later_allow: bool,
    narrower: &Destination,
) -> bool {
    // An `allow` leaves special addresses that it does not name to later rules.
    let leaves_none = match narrower {
        Destination::Any | Destination::Suffix(_) => true,
        Destination::Host(_) => !(allow && later_allow),
        Destination::Net(net) => !allow || (!later_allow && !is_special(canonical_net(*net))),
    };
    match (wider, narrower) {
        (Destination::Any, _) => leaves_none,
        (Destination::Suffix(wider), Destination::Suffix(host) | Destination::Host(host)) => {
            leaves_none && suffixes(host).any(|part| *part == **wider)
        }
        (Destination::Host(wider), Destination::Host(host)) => wider == host,
        (Destination::Net(wider), Destination::Net(net)) => {
            let wider = canonical_net(*wider);
            wider.contains(&canonical_net(*net)) && (leaves_none || wider.prefix_len() > 0)
        }
        _ => false,
    }
}

/// True for networks that contain special addresses, as far as the standard library knows.
fn is_special(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let ip = net.network();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()
        }
        IpNet::V6(net) => {
            let ip = net.network();
            ip.is_unique_local()
                || ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
        }
    }
}
