//! Sites, routes and forward rules, compiled to decisions with provenance.
//!
//! A [`Rules`] is made from a [`Config`] once per snapshot and holds indexes into it: hosts and routes for reverse
//! proxying ([`Rules::site`], [`Rules::route`]), lists of rules for forward proxying ([`Rules::judge`]). A decision
//! allocates nothing and names the line that made it.
//! [`explain`] runs the same code with a [`Trace`] that keeps every step.
//!
//! Reverse: the most specific route wins, whatever the order in the file. Segments are compared
//! from the left; a literal beats a capture, a capture beats what ends with a suffix (`/*.php`), that
//! beats the end of a prefix (`/*`), so that a longer prefix beats a shorter one. Regular expressions
//! are tried before the first suffix or prefix. Where two routes have the same pattern, one with more
//! conditions beats one with fewer, and the method counts as one. A route whose pattern is the most
//! specific but whose method or conditions differ does not hide less specific ones. A route for GET
//! takes HEAD too (RFC 9110, section 9.3.2). Where
//! servers may read a path differently, all readings have to lead to the same route
//! ([`Rules::decide`]).
//!
//! Forward: rules are tried in order, and the first one that matches decides. A verdict is always about one address: a
//! name is looked up once, each of its addresses is judged on its own, and only those that are allowed are dialled.
//! See [`Rules::judge`] for the details.
//!
//! Not here: parsing (`config`, `message`), looking names up, telling special addresses from
//! global ones, dialling (`net`).

mod access;
mod candidates;
mod captures;
mod clients;
mod conditions;
mod covering;
mod explain;
#[cfg(test)]
mod fixtures;
mod forward;
mod maps;
mod prefixes;
mod readings;
mod request_id;
mod route_candidates;
mod route_warnings;
mod routes;
mod rule_lists;
mod sites;
mod template;
#[cfg(test)]
mod tests;
mod trace;
mod tries;
mod warnings;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use access::{Asker, Standing};
pub use captures::Captures;
pub use clients::{ClientRefusal, RefusalReason, assumed_certificate, client_allowed};
pub use conditions::RouteRequest;
use config::{Config, ForwardId, ListenerId, Route, RouteId, Site, SiteId, Table};
pub use explain::{
    EntryPoint, Explanation, Outcome, Part, Query, UnmetExpectation, assumed_tls,
    check_expectations, explain, forward_named, listener_for, unfit,
};
pub use forward::{Address, DenyReason, ForwardRequest, Verdict};
pub use maps::Maps;
pub use readings::{Conflict, Decision};
pub use request_id::{REQUEST_ID_PLACEHOLDER, request_id};
pub use template::{
    ClientFacts, Facts, PathTraversal, TlsFacts, expand, html, location, log, stripped_prefix,
    text, upstream_host, upstream_path, written_authority,
};
pub use trace::{Step, StepOutcome, Steps, Trace};
pub use tries::try_path;
pub use warnings::Warning;

use access::SiteAccess;
use forward::ForwardIndex;
use routes::RouteTree;
use sites::HostIndex;

/// A configuration, compiled for decisions.
pub struct Rules {
    config: Arc<Config>,
    hosts: Table<ListenerId, HostIndex>,
    routes: Table<SiteId, RouteTree>,
    access: Table<SiteId, SiteAccess>,
    forwards: Table<ForwardId, ForwardIndex>,
    maps: Maps,
}

/// Where a request in reverse goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// To this route.
    Route {
        /// Of this site.
        site: SiteId,
        /// Counts in its routes.
        route: RouteId,
    },
    /// Nowhere: no route has the path (404).
    NoRoute {
        /// The site of its host.
        site: SiteId,
    },
    /// Nowhere: routes match the path, but none the method (405); [`Rules::allowed_methods`] lists the methods.
    MethodNotAllowed {
        /// The site of its host.
        site: SiteId,
    },
    /// Nowhere: the listener serves no such host and has no default site (421).
    NoSite,
}

impl Rules {
    /// Compiles a configuration.
    pub fn compile(config: Arc<Config>) -> Self {
        let hosts = config.listeners.iter().map(|listener| HostIndex::of(&config, listener));
        let hosts = hosts.collect();
        let routes = config
            .sites
            .iter()
            .map(|site| RouteTree::of(&site.routes, site.base.path_readings.case));
        let routes = routes.collect();
        let access = config.sites.iter().map(SiteAccess::of).collect();
        let forwards = config.forwards.iter().map(ForwardIndex::of).collect();
        let maps = Maps::of(&config);
        Self { config, hosts, routes, access, forwards, maps }
    }

    /// The maps that templates name.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// What was compiled.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The site that serves a canonical host on a listener: the one that names it, else the one that names all but its
    /// first label, else the one with the longest wildcard that matches it, else the default site.
    pub fn site(&self, listener: ListenerId, host: &str) -> Option<SiteId> {
        self.hosts.get(listener)?.find(host)
    }

    /// The route that takes a request, by canonical host and path.
    pub fn route<T: Trace>(
        &self,
        listener: ListenerId,
        asked: &RouteRequest<'_>,
        host: &str,
        path: &str,
        trace: &mut T,
    ) -> Routing {
        let Some(site) = self.site(listener, host) else { return Routing::NoSite };
        if T::ON {
            sites::explain(&self.config, listener, host, site, None, trace);
        }
        self.route_in(site, asked, path, trace)
    }

    /// The route of a site that takes a request.
    pub fn route_in<T: Trace>(
        &self,
        site: SiteId,
        asked: &RouteRequest<'_>,
        path: &str,
        trace: &mut T,
    ) -> Routing {
        let parts = self.routes.get(site).zip(self.config.site(site));
        let Some((tree, Site { routes, .. })) = parts else { return Routing::NoSite };
        let found = tree.find(routes, asked, path);
        if T::ON {
            routes::explain(routes, &found, asked, path, trace);
        }
        match found {
            routes::RouteLookup::Route(route) => Routing::Route { site, route },
            routes::RouteLookup::OtherMethods => Routing::MethodNotAllowed { site },
            routes::RouteLookup::Nothing => Routing::NoRoute { site },
        }
    }

    /// Writes the methods that the routes of a path take, as in an `Allow` field (RFC 9110,
    /// section 10.2.1).
    pub fn allowed_methods(
        &self,
        site: SiteId,
        asked: &RouteRequest<'_>,
        path: &str,
        out: &mut String,
    ) {
        let parts = self.routes.get(site).zip(self.config.site(site));
        if let Some((tree, site)) = parts {
            tree.allowed_methods(&site.routes, asked, path, out);
        }
    }

    /// A route that [`Rules::route`] returned.
    pub fn route_of(&self, site: SiteId, route: RouteId) -> Option<&Route> {
        self.config.route(site, route)
    }

    /// What in the configuration deserves a second look: rules that are never reached, sites and
    /// routes that collide.
    pub fn warnings(&self) -> Vec<Warning> {
        warnings::warnings(self)
    }

    /// Judges a request by the rules of a forward listener.
    ///
    /// With `address`, it judges going to this address, and the verdict is final: `Allow` or
    /// `Deny`. Without one, for a name that has not been looked up, the answer is `Deny` if no
    /// address could change that, and `NeedsAddresses` otherwise: then the name is looked up, every
    /// address is judged by another call, and only allowed ones are dialled. A name that has an
    /// inner and an outer address is thus never a way in.
    ///
    /// A rule matches if each of its properties does: one of the destinations in `to` (a host or a
    /// suffix by the name that the client gave, a network by the address), one of the client
    /// networks in `from`, one of the ports, one of the methods, the certificate that the client
    /// has shown. An `allow` without ports means the
    /// listener's `ports`; a `deny` without ports means every port. An `allow` matches a special
    /// address (one that is not global) only if it names it, by the exact host or by a network with
    /// the address in it; `0.0.0.0/0` and `::/0` name nothing. If no rule matches, the answer is
    /// `Deny`, unless the client is on loopback and no `allow` speaks of clients on loopback (by a
    /// `from` with them in it, or by having no `from`): then global addresses are allowed.
    pub fn judge<T: Trace>(
        &self,
        forward: ForwardId,
        request: &ForwardRequest<'_>,
        address: Option<Address>,
        trace: &mut T,
    ) -> Verdict {
        let parts = self.forwards.get(forward);
        match parts.zip(self.config.forward(forward)) {
            Some((index, forward)) => index.judge(forward, request, address, trace),
            None => Verdict::no_such_listener(),
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rules").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The address that rules compare: IPv4 in IPv6 (`::ffff:10.0.0.1`) is IPv4.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
