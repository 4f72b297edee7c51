//! The names of one snapshot, ready for the log and the metrics.
//!
//! Compiled once when a configuration is: each name as the JSON string that the log writes, with
//! the slot where it is counted. A [`Record`](super::Record) has indices; this turns them into
//! names with one look into a table each.

use std::net::SocketAddr;

use config::{Config, EndpointAddress, EndpointId, ListenerId, Place, Site, SiteName, UpstreamId};

use super::escape;
use super::metrics::{EndpointSlot, ListenerSlot, ScopeSlot};
use super::record::{Direction, Scope};
use super::registry::Registry;
use super::reuse::Hold;

/// A name as a JSON string, with its quotes.
type Quoted = Box<[u8]>;

fn quoted(name: &str) -> Quoted {
    let mut out = Vec::with_capacity(name.len() + 2);
    out.push(b'"');
    escape::json(&mut out, name.as_bytes());
    out.push(b'"');
    out.into_boxed_slice()
}

#[derive(Debug)]
struct ScopeName {
    quoted: Quoted,
    slot: ScopeSlot,
    /// The routes of a site, as written.
    routes: Box<[Quoted]>,
}

#[derive(Debug)]
struct UpstreamName {
    quoted: Quoted,
    endpoints: Box<[EndpointName]>,
}

#[derive(Debug)]
struct EndpointName {
    quoted: Quoted,
    slot: EndpointSlot,
    /// Its address and the same as in the log, if it has only one.
    address: Option<(SocketAddr, Quoted)>,
}

#[derive(Debug)]
struct ListenerName {
    quoted: Quoted,
    port: u16,
    slot: ListenerSlot,
}

/// The names of one snapshot. Belongs in the snapshot, beside its configuration.
#[derive(Debug)]
pub struct Names {
    files: Box<[Box<[u8]>]>,
    listeners: Box<[ListenerName]>,
    sites: Box<[ScopeName]>,
    forwards: Box<[ScopeName]>,
    upstreams: Box<[UpstreamName]>,
    nowhere: ScopeSlot,
    /// Keeps the endpoints' slots theirs.
    _hold: Hold,
}

impl Names {
    /// Takes the names out of a configuration, and slots for them from the registry.
    pub fn new(config: &Config, registry: &Registry) -> Self {
        let mut slots = registry.slots();
        let nowhere = slots.scope("none", "none");
        let files = config.files.iter().map(|file| {
            let mut out = Vec::new();
            escape::json(&mut out, file.as_bytes());
            out.into_boxed_slice()
        });
        let listeners = config.listeners.iter().map(|listener| ListenerName {
            quoted: quoted(&listener.written),
            port: listener.address.port(),
            slot: slots.listener(&listener.written),
        });
        let (files, listeners) = (files.collect(), listeners.collect());
        let sites = config.sites.iter().map(|site| {
            let name = site_name(site);
            ScopeName {
                quoted: quoted(&name),
                slot: slots.scope(Direction::Reverse.name(), &name),
                routes: site.routes.iter().map(|route| quoted(&route.pattern.written)).collect(),
            }
        });
        let sites = sites.collect();
        let forwards = config.forwards.iter().map(|forward| ScopeName {
            quoted: quoted(&forward.written),
            slot: slots.scope(Direction::Forward.name(), &forward.written),
            routes: Box::default(),
        });
        let forwards = forwards.collect();
        let upstreams = config.upstreams.iter().map(|upstream| {
            let endpoints = upstream.endpoints.iter().map(|endpoint| EndpointName {
                quoted: quoted(&endpoint.written),
                slot: slots.endpoint(&upstream.name, &endpoint.written),
                address: match endpoint.address {
                    EndpointAddress::Ip(address) => Some((address, quoted(&address.to_string()))),
                    EndpointAddress::Name { .. } | EndpointAddress::Unix(_) => None,
                },
            });
            UpstreamName { quoted: quoted(&upstream.name), endpoints: endpoints.collect() }
        });
        let upstreams = upstreams.collect();
        Self { files, listeners, sites, forwards, upstreams, nowhere, _hold: slots.hold() }
    }

    /// Where the connections of a listener are counted.
    pub fn listener_slot(&self, listener: ListenerId) -> ListenerSlot {
        self.listeners.get(listener.index()).map_or(ListenerSlot(0), |name| name.slot)
    }

    /// Where the connections to an endpoint are counted.
    pub fn endpoint_slot(&self, endpoint: EndpointId) -> EndpointSlot {
        self.endpoint_name(endpoint).map_or(EndpointSlot(0), |name| name.slot)
    }

    /// Where the exchanges of a site or forward listener are counted.
    pub fn scope_slot(&self, scope: Scope) -> ScopeSlot {
        match scope {
            Scope::None => self.nowhere,
            Scope::Site(..) | Scope::Forward(_) => {
                self.scope_name(scope).map_or(ScopeSlot(0), |name| name.slot)
            }
        }
    }

    /// A file's name, escaped, without quotes.
    pub(crate) fn file(&self, place: Place) -> Option<&[u8]> {
        self.files.get(usize::from(place.file)).map(AsRef::as_ref)
    }

    pub(crate) fn listener(&self, listener: ListenerId) -> Option<&[u8]> {
        self.listeners.get(listener.index()).map(|name| &*name.quoted)
    }

    /// The port of a listener, as configured.
    pub(crate) fn port(&self, listener: ListenerId) -> u16 {
        self.listeners.get(listener.index()).map_or(0, |name| name.port)
    }

    pub(crate) fn scope(&self, scope: Scope) -> Option<&[u8]> {
        self.scope_name(scope).map(|name| &*name.quoted)
    }

    pub(crate) fn route(&self, scope: Scope) -> Option<&[u8]> {
        let Scope::Site(_, Some(route)) = scope else { return None };
        self.scope_name(scope)?.routes.get(route.index()).map(AsRef::as_ref)
    }

    pub(crate) fn upstream(&self, upstream: UpstreamId) -> Option<&[u8]> {
        self.upstreams.get(upstream.index()).map(|name| &*name.quoted)
    }

    pub(crate) fn endpoint(&self, endpoint: EndpointId) -> Option<&[u8]> {
        self.endpoint_name(endpoint).map(|name| &*name.quoted)
    }

    /// The address as in the log, if it is the one that the endpoint always has.
    pub(crate) fn address(&self, endpoint: EndpointId, address: SocketAddr) -> Option<&[u8]> {
        match &self.endpoint_name(endpoint)?.address {
            Some((known, quoted)) if *known == address => Some(quoted),
            _ => None,
        }
    }

    fn scope_name(&self, scope: Scope) -> Option<&ScopeName> {
        match scope {
            Scope::None => None,
            Scope::Site(site, _) => self.sites.get(site.index()),
            Scope::Forward(forward) => self.forwards.get(forward.index()),
        }
    }

    fn endpoint_name(&self, endpoint: EndpointId) -> Option<&EndpointName> {
        self.upstreams.get(endpoint.upstream.index())?.endpoints.get(endpoint.index as usize)
    }
}

/// What a site is called: its first name.
fn site_name(site: &Site) -> String {
    site.names.first().unwrap_or(&SiteName::Default).to_string()
}
