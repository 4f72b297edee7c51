//! Which site serves a host on a listener.

use config::{Config, Listener, ListenerId, Serves, Site, SiteId, SiteName};
use foldhash::{HashMap, HashMapExt};

use crate::trace::{Step, StepOutcome, Trace};

/// The hosts of one listener.
pub(crate) struct HostIndex {
    exact: HashMap<Box<str>, SiteId>,
    /// By what follows the first label.
    labels: HashMap<Box<str>, SiteId>,
    /// By suffix, without `*.`.
    wildcards: HashMap<Box<str>, SiteId>,
    default: Option<SiteId>,
}

impl HostIndex {
    pub(crate) fn of(config: &Config, listener: &Listener) -> Self {
        let mut index = Self {
            exact: HashMap::new(),
            labels: HashMap::new(),
            wildcards: HashMap::new(),
            default: None,
        };
        let Serves::Sites(sites) = &listener.serves else { return index };
        for (id, site) in sites.iter().filter_map(|&id| Some((id, site_of(config, id)?))) {
            for name in &site.names {
                // Of two sites with the same name the first one has it; there is a warning.
                match name {
                    SiteName::Exact(host) => {
                        index.exact.entry(host.clone()).or_insert(id);
                    }
                    SiteName::Label { suffix, .. } => {
                        index.labels.entry(suffix.clone()).or_insert(id);
                    }
                    SiteName::Wildcard(suffix) => {
                        index.wildcards.entry(suffix.clone()).or_insert(id);
                    }
                    SiteName::Default => {
                        index.default.get_or_insert(id);
                    }
                }
            }
        }
        index
    }

    pub(crate) fn find(&self, host: &str) -> Option<SiteId> {
        let host = without_root_dot(host);
        if let Some(&site) = self.exact.get(host) {
            return Some(site);
        }
        if !self.labels.is_empty() {
            let found = host.split_once('.').and_then(|(_, suffix)| self.labels.get(suffix));
            if let Some(&site) = found {
                return Some(site);
            }
        }
        if !self.wildcards.is_empty() {
            let found = suffixes(host).skip(1).find_map(|suffix| self.wildcards.get(suffix));
            if let Some(&site) = found {
                return Some(site);
            }
        }
        self.default
    }
}

/// A host without the dot of the root: `example.com.` is `example.com`.
pub(crate) fn without_root_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// A host and what is left of it after each dot: `a.b.c`, `b.c`, `c`.
pub(crate) fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(host);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.split_once('.').map(|(_, rest)| rest);
        Some(this)
    })
}

fn site_of(config: &Config, id: SiteId) -> Option<&Site> {
    config.site(id)
}

/// Notes which site has the host, and by which of its names; or that `secure` serves it instead.
pub(crate) fn explain<T: Trace>(
    config: &Config,
    listener: ListenerId,
    host: &str,
    found: SiteId,
    secure: Option<SiteId>,
    trace: &mut T,
) {
    let Some(site) = site_of(config, secure.unwrap_or(found)) else { return };
    let names: Vec<String> = site.names.iter().map(site_text).collect();
    let on = config.listener(listener).map_or("", |listener| &listener.written);
    let names = names.join(" ");
    let text = match site.https.and_then(|https| site_of(config, https)) {
        _ if secure.is_some() => {
            format!(
                "site {names} serves {host} on {on} to clients of trusted proxies that came by https://"
            )
        }
        Some(_) => format!("site {names} has https://, where {host} on {on} is sent"),
        None => format!("site {names} serves {host} on {on}"),
    };
    trace.step(Step { place: site.place, text, outcome: StepOutcome::Decided });
}

/// A name of a site as one writes it, in quotes.
pub(crate) fn site_text(name: &SiteName) -> String {
    format!("\"{name}\"")
}
