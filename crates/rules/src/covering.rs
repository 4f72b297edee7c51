//! Whether a forward rule leaves anything for a later one.

use config::{ClientMatch, Destination, Forward, ForwardRule, PortRange};
use ipnet::IpNet;

use crate::candidates::{Wanted, WantedClient, WantedPort, ports};
use crate::prefixes::canonical_net;
use crate::rule_lists::{Destinations, RuleLists};
use crate::sites::suffixes;

/// What rules that cover a later one are filed under.
pub(crate) fn coverable<'r>(forward: &'r Forward, later: &'r ForwardRule) -> Wanted<'r> {
    let (mut host, mut within, mut to) = (None, None, [None; 5]);
    match later.to.first().unwrap_or(&Destination::Any) {
        Destination::Any => {}
        Destination::Host(name) => (host, within) = (Some(&**name), Some(&**name)),
        Destination::Suffix(suffix) => within = Some(&**suffix),
        Destination::Net(net) => to[0] = Some(*net),
    }
    Wanted {
        host,
        within,
        to,
        from: later.from.first().copied(),
        port: match ports(forward, later) {
            [] => WantedPort::All,
            [range, ..] => WantedPort::One(range.first),
        },
        client: later.clients.first().map_or(WantedClient::None, WantedClient::Named),
        method: later.methods.first().map(|method| &**method),
    }
}

/// True if one rule matches everything that a later one would match, so that the later one has no effect.
pub(crate) fn covers(
    forward: &Forward,
    earlier: &ForwardRule,
    lists: Option<&RuleLists>,
    later: &ForwardRule,
) -> bool {
    let nets = lists.and_then(|lists| lists.from.as_ref());
    let within = |net: &IpNet| match nets {
        Some(nets) => nets.around(*net).next().is_some(),
        None => {
            let net = canonical_net(*net);
            earlier.from.iter().any(|wider| canonical_net(*wider).contains(&net))
        }
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
    let narrower = if later.to.is_empty() { &all } else { &*later.to };
    from && clients
        && methods
        && ports
        && special
        && narrower.iter().all(|to| {
            let leaves_none = leaves_none(earlier.allow, later.allow, to);
            match lists.and_then(|lists| lists.to.as_ref()) {
                _ if earlier.to.is_empty() => leaves_none,
                Some(lists) => some_covers(lists, to, leaves_none),
                None => earlier.to.iter().any(|wider| covers_destination(wider, to, leaves_none)),
            }
        })
}

fn has_client(rule: &ForwardRule, client: &ClientMatch) -> bool {
    let parts = |client: &ClientMatch| {
        let ClientMatch { place: _, name, fingerprint, subject } = client.clone();
        (name, fingerprint, subject)
    };
    rule.clients.iter().any(|other| parts(other) == parts(client))
}

/// Whether a rule for a wider destination leaves nothing of a narrower one for a later rule.
fn leaves_none(allow: bool, later_allow: bool, narrower: &Destination) -> bool {
    // An `allow` leaves special addresses that it does not name to later rules.
    match narrower {
        Destination::Any | Destination::Suffix(_) => true,
        Destination::Host(_) => !(allow && later_allow),
        Destination::Net(net) => !allow || (!later_allow && !is_special(canonical_net(*net))),
    }
}

fn covers_destination(wider: &Destination, narrower: &Destination, leaves_none: bool) -> bool {
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

/// The same for many wider ones.
fn some_covers(wider: &Destinations, narrower: &Destination, leaves_none: bool) -> bool {
    (leaves_none && wider.is_any())
        || match narrower {
            Destination::Any => false,
            Destination::Suffix(suffix) => leaves_none && wider.is_within(suffix),
            Destination::Host(host) => {
                wider.has_host(host) || (leaves_none && wider.is_within(host))
            }
            Destination::Net(net) => {
                wider.nets.around(*net).any(|(length, ())| leaves_none || length > 0)
            }
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
