//! Lines of a configuration that are probably mistakes: lines without effect, because others match all that they would,
//! and lines that lead clients to our own admin interface.

use config::{
    AdminAddress, Config, EndpointAddress, Forward, Listener, Place, Serves, Site, SiteName,
};
use foldhash::{HashMap, HashMapExt};

use crate::Rules;
use crate::forward::ForwardIndex;
use crate::route_warnings::route_warnings;
use crate::sites::site_text;

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
    let forwards = config.forwards.iter().zip(&*rules.forwards);
    forwards.for_each(|(forward, index)| unreachable_rules(forward, index, &mut found));
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
fn unreachable_rules(forward: &Forward, index: &ForwardIndex, found: &mut Vec<Warning>) {
    for (number, rule) in forward.rules.iter().enumerate() {
        let covering = index.covering(forward, number);
        if let Some(other) = covering.and_then(|covering| forward.rules.get(covering)) {
            found.push(Warning {
                place: rule.place,
                message: format!("`{}` is never reached", rule.written),
                hint: format!("move it before `{}`, which takes all of it", other.written),
                other: Some(other.place),
            });
        }
    }
}
