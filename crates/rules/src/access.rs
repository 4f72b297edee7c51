//! Whether a client is taken: by its address, by its certificate.
//!
//! Each thing that is asked of a client gives a [`Standing`], and [`Standing::and`] joins them as `satisfy` says. Not here: the
//! response to a refused client, what takes time to ask (a password).

use std::net::IpAddr;
use std::sync::Arc;

use config::{AccessRule, Place, Route, RouteId, RouteSettings, Satisfy, Site, SiteId};
use message::ClientCertificate;

use crate::clients::{ClientRefusal, RefusalReason, client_allowed};
use crate::prefixes::{Nets, canonical_net};
use crate::{Rules, canonical};

/// Networks that are compared one after the other; more are indexed.
const NETS_COMPARED_MAX: usize = 8;

/// Who asks, as far as rules about clients look at it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The address, as far back as proxies are trusted.
    pub address: IpAddr,
    /// The certificate that the client has shown.
    pub certificate: Option<&'a ClientCertificate>,
}

/// How a client stands with what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is asked, or nothing that this client must have or lack.
    NotAsked,
    /// It has what is asked; the line that says so.
    Met(Place),
    /// It has not.
    Unmet(ClientRefusal),
}

impl Standing {
    /// The standing with this and another thing. If it has none of several, of which one would do, the refusal is that of the
    /// last: one that the client can do something about comes last.
    #[must_use]
    pub fn and(self, satisfy: Satisfy, other: Self) -> Self {
        match (self, other, satisfy) {
            (Self::NotAsked, standing, _) | (standing, Self::NotAsked, _) => standing,
            (Self::Unmet(refusal), _, Satisfy::All) | (_, Self::Unmet(refusal), Satisfy::All) => {
                Self::Unmet(refusal)
            }
            (Self::Met(place), Self::Met(_), _)
            | (Self::Met(place), _, Satisfy::Any)
            | (_, Self::Met(place), Satisfy::Any) => Self::Met(place),
            (_, Self::Unmet(refusal), Satisfy::Any) => Self::Unmet(refusal),
        }
    }

    /// Whether one more thing that is asked may still decide: it need not be asked otherwise.
    pub fn is_open(self, satisfy: Satisfy) -> bool {
        match (self, satisfy) {
            (Self::NotAsked, _) => true,
            (Self::Met(_), satisfy) => satisfy == Satisfy::All,
            (Self::Unmet(_), satisfy) => satisfy == Satisfy::Any,
        }
    }
}

/// The rules about addresses of a site or route.
pub(crate) struct AccessIndex {
    rules: Arc<[AccessRule]>,
    /// Set if there are many networks: the first rule that has each.
    nets: Option<Nets<u32>>,
    /// The first rule for every address.
    any: Option<u32>,
    /// The first rule that allows.
    first_allow: Option<Place>,
}

impl AccessIndex {
    fn of(rules: &Arc<[AccessRule]>) -> Self {
        let count: usize = rules.iter().map(|rule| rule.from.len()).sum();
        let numbered = || (0u32..).zip(rules.iter());
        let nets = (count > NETS_COMPARED_MAX).then(|| {
            let all = numbered()
                .flat_map(|(number, rule)| rule.from.iter().map(move |&net| (net, number)));
            Nets::of(all, |first, other| *first = other.min(*first))
        });
        let any = numbered().find(|(_, rule)| rule.from.is_empty()).map(|(number, _)| number);
        let first_allow = rules.iter().find(|rule| rule.allow).map(|rule| rule.place);
        Self { rules: Arc::clone(rules), nets, any, first_allow }
    }

    /// The first rule that has an address.
    fn first(&self, address: IpAddr) -> Option<&AccessRule> {
        let address = canonical(address);
        match &self.nets {
            Some(nets) => {
                let found = nets.each(address).map(|(_, &first)| first);
                self.rules.get(found.chain(self.any).min()? as usize)
            }
            None => self.rules.iter().find(|rule| {
                let mut nets = rule.from.iter().map(|&net| canonical_net(net));
                rule.from.is_empty() || nets.any(|net| net.contains(&address))
            }),
        }
    }

    fn stand(&self, address: IpAddr) -> Standing {
        let refused =
            |place| Standing::Unmet(ClientRefusal { place, reason: RefusalReason::Address });
        match self.first(address) {
            Some(rule) if rule.allow => Standing::Met(rule.place),
            Some(rule) => refused(rule.place),
            None => match self.first_allow {
                Some(place) => refused(place),
                // Not to be refused is no proof of anything.
                None => Standing::NotAsked,
            },
        }
    }
}

/// The rules about addresses of a site: where no route matches, and of each route.
pub(crate) struct SiteAccess {
    base: Option<Arc<AccessIndex>>,
    routes: Vec<Option<Arc<AccessIndex>>>,
}

impl SiteAccess {
    pub(crate) fn of(site: &Site) -> Self {
        let index = |rules: &Arc<[AccessRule]>| {
            (!rules.is_empty()).then(|| Arc::new(AccessIndex::of(rules)))
        };
        let base = index(&site.base.access);
        let of_route = |route: &Route| match Arc::ptr_eq(&route.settings.access, &site.base.access)
        {
            true => base.clone(),
            false => index(&route.settings.access),
        };
        Self { routes: site.routes.iter().map(of_route).collect(), base }
    }

    fn at(&self, route: Option<RouteId>) -> Option<&AccessIndex> {
        match route {
            Some(route) => self.routes.get(route.index())?.as_deref(),
            None => self.base.as_deref(),
        }
    }
}

impl Rules {
    /// How a client stands with what a route asks of it, or a site where no route has the path, as far as that can be told at
    /// once: address and certificate.
    pub fn standing(&self, site: SiteId, route: Option<RouteId>, asker: &Asker<'_>) -> Standing {
        let settings = self.config.site(site).and_then(|found| match route {
            Some(route) => found.route(route).map(|route| &route.settings),
            None => Some(&found.base),
        });
        match settings {
            Some(RouteSettings { access, clients, satisfy, .. })
                if !access.is_empty() || !clients.is_empty() =>
            {
                let by_address = self.standing_by_address(site, route, asker.address);
                by_address.and(*satisfy, standing_by_certificate(clients, asker.certificate))
            }
            _ => Standing::NotAsked,
        }
    }

    /// The same by the address alone.
    pub(crate) fn standing_by_address(
        &self,
        site: SiteId,
        route: Option<RouteId>,
        address: IpAddr,
    ) -> Standing {
        let index = self.access.get(site).and_then(|access| access.at(route));
        index.map_or(Standing::NotAsked, |index| index.stand(address))
    }
}

/// How a client stands with the lines that name certificates.
pub(crate) fn standing_by_certificate(
    clients: &[config::ClientMatch],
    shown: Option<&ClientCertificate>,
) -> Standing {
    match client_allowed(clients, shown) {
        Ok(None) => Standing::NotAsked,
        Ok(Some(place)) => Standing::Met(place),
        Err(refusal) => Standing::Unmet(refusal),
    }
}
