//! Routes by every reading of a path.
//!
//! The route is that of the path as written. Where servers may read the path differently, and that leads to another
//! route, it is not certain which rules apply: [`Rules::decide`] returns a conflict, and the request is refused. How
//! the servers behind a route read paths is its `path-readings`.

use config::{ClientPolicy, ListenerId, PathReadings, Rewrite, RouteSettings, SiteId, SiteTls};
use message::{PathSteps, Readings, Scheme, Target};

use crate::conditions::RouteRequest;
use crate::routes::route_text;
use crate::sites;
use crate::template::strips;
use crate::trace::{Step, StepOutcome, Trace};
use crate::{Routing, Rules};

/// The decision on a request in reverse.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Where the path leads as written.
    pub routing: Routing,
    /// Set: other readings of the path lead elsewhere, so that it must be refused (400).
    pub conflict: Option<Conflict>,
}

/// Two readings of a path that disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// For people: the readings, and the setting that lets the request pass.
    pub detail: String,
}

impl Conflict {
    /// The text for the client, which does not reveal the routes.
    pub const CLIENT_TEXT: &str =
        "the path can be read in several ways, which lead to different places";
}

impl Rules {
    /// As [`Rules::route`], for every reading of the target's path, and for the scheme of the request to a trusted
    /// proxy: a client that used https:// is not redirected to it again. `readings` lends its memory; most paths do
    /// not need it.
    pub fn decide<T: Trace>(
        &self,
        listener: ListenerId,
        asked: &RouteRequest<'_>,
        target: &Target,
        readings: &mut Readings,
        trace: &mut T,
    ) -> Decision {
        let routing = match self.site_for(listener, target, trace) {
            Some(site) => self.route_in(site, asked, target.path(), trace),
            None => Routing::NoSite,
        };
        let Some(settings) = self.settings_of(routing) else {
            return Decision { routing, conflict: None };
        };
        if !target.has_other_readings() && !settings.path_readings.case {
            return Decision { routing, conflict: None };
        }
        let conflict = self.conflict(asked, target, routing, settings, readings);
        if let (true, Some(conflict)) = (T::ON, &conflict) {
            trace.step(Step {
                place: self.place_of(routing).unwrap_or_default(),
                text: format!("path-readings {}", settings.path_readings.written()),
                outcome: StepOutcome::Differs(conflict.detail.clone()),
            });
        }
        Decision { routing, conflict }
    }

    /// The site that serves a request: that of its host, unless it only sends clients to https:// and
    /// a trusted proxy has been asked there already.
    fn site_for<T: Trace>(
        &self,
        listener: ListenerId,
        target: &Target,
        trace: &mut T,
    ) -> Option<SiteId> {
        let site = self.site(listener, target.host())?;
        let secure = self.site_behind_https(site, target);
        if T::ON {
            sites::explain(&self.config, listener, target.host(), site, secure, trace);
        }
        Some(secure.unwrap_or(site))
    }

    /// The site for https:// if `site` would redirect to it, but the client of a trusted proxy used https:// already.
    /// Not for a site that requires client certificates, nor for one whose TLS is passed through.
    fn site_behind_https(&self, site: SiteId, target: &Target) -> Option<SiteId> {
        if target.scheme() != Scheme::Http || target.outer_scheme() != Scheme::Https {
            return None;
        }
        let https = self.config.site(site)?.https?;
        let listeners = &self.config.site(https)?.listeners;
        // Another site there may have the name itself, this one only a wildcard.
        let found = listeners.iter().find_map(|&listener| self.site(listener, target.host()))?;
        let tls = &self.config.site(found)?.tls;
        let is_served = matches!(tls, Some(SiteTls::Terminate(tls)) if tls.client.policy != ClientPolicy::Require);
        is_served.then_some(found)
    }

    fn settings_of(&self, routing: Routing) -> Option<&RouteSettings> {
        match routing {
            Routing::Route { site, route } => Some(&self.route_of(site, route)?.settings),
            Routing::NoRoute { site } | Routing::MethodNotAllowed { site } => {
                Some(&self.config.site(site)?.base)
            }
            Routing::NoSite => None,
        }
    }

    fn place_of(&self, routing: Routing) -> Option<config::Place> {
        match routing {
            Routing::Route { site, route } => Some(self.route_of(site, route)?.place),
            Routing::NoRoute { site } | Routing::MethodNotAllowed { site } => {
                Some(self.config.site(site)?.place)
            }
            Routing::NoSite => None,
        }
    }

    fn conflict(
        &self,
        asked: &RouteRequest<'_>,
        target: &Target,
        routing: Routing,
        settings: &RouteSettings,
        readings: &mut Readings,
    ) -> Option<Conflict> {
        let (Routing::Route { site, .. }
        | Routing::NoRoute { site }
        | Routing::MethodNotAllowed { site }) = routing
        else {
            return None;
        };
        let tree = self.routes.get(site)?;
        let routes = &self.config.site(site)?.routes;
        let mount = match &settings.rewrite {
            Rewrite::StripPrefix(prefix) => &**prefix,
            Rewrite::Keep if tree.takes_all(routes) => return None,
            Rewrite::Keep | Rewrite::To(_) => "",
        };
        let allowed = settings.path_readings;
        if readings.of(target, steps_of(allowed), mount).is_err() {
            let detail = "the path can be read in more ways than are looked at".to_owned();
            return Some(Conflict { detail });
        }
        let stripped = strips(target.path(), mount);
        let mut first = None;
        let mut disagreeing = PathSteps::NONE;
        let ended = readings.find(|path, steps| {
            let mut other = tree.find(routes, asked, path).routing(site);
            let mut steps = steps;
            if other == routing && allowed.case {
                other = tree.find_ignoring_case(routes, asked, path).routing(site);
                steps = steps.with(PathSteps::CASE);
            }
            if other != routing || strips(path, mount) != stripped {
                disagreeing = disagreeing.with(steps);
                first.get_or_insert_with(|| (path.to_owned(), steps, other));
            }
            None::<()>
        });
        if ended.is_err() {
            return Some(Conflict { detail: "a reading of the path is not text".to_owned() });
        }
        let (path, steps, other) = first?;
        Some(Conflict {
            detail: self.tell(routing, &path, steps, other, without(allowed, disagreeing)),
        })
    }

    fn tell(
        &self,
        routing: Routing,
        path: &str,
        steps: PathSteps,
        other: Routing,
        setting: PathReadings,
    ) -> String {
        let lead = |routing: Routing| match routing {
            Routing::Route { site, route } => self.route_of(site, route).map_or_else(
                || "another route".to_owned(),
                |route| format!("`{}`", route_text(route)),
            ),
            Routing::MethodNotAllowed { .. } => "routes for other methods".to_owned(),
            Routing::NoRoute { .. } | Routing::NoSite => "no route".to_owned(),
        };
        let (one, two) = match (lead(routing), lead(other)) {
            (one, two) if one == two => {
                (one, "the same, which then strips something else".to_owned())
            }
            both => both,
        };
        format!(
            "the path leads to {one} as it stands, and to {two} with {steps} ({path}); \
             `path-readings {}` lets it pass",
            setting.written()
        )
    }
}

impl crate::routes::RouteLookup {
    fn routing(self, site: SiteId) -> Routing {
        match self {
            Self::Route(route) => Routing::Route { site, route },
            Self::OtherMethods => Routing::MethodNotAllowed { site },
            Self::Nothing => Routing::NoRoute { site },
        }
    }
}

/// The steps of servers with these readings.
fn steps_of(readings: PathReadings) -> PathSteps {
    let PathReadings { merged, host, decoded, parameters, case: _ } = readings;
    let all = [
        (merged, PathSteps::MERGED),
        (host, PathSteps::HOST),
        (decoded, PathSteps::DECODED),
        (parameters, PathSteps::PARAMETERS),
    ];
    let some = all.iter().filter(|(is_on, _)| *is_on);
    some.fold(PathSteps::NONE, |all, (_, step)| all.with(*step))
}

/// The readings without those that need one of these steps.
fn without(readings: PathReadings, steps: PathSteps) -> PathReadings {
    let PathReadings { merged, host, decoded, parameters, case } = readings;
    PathReadings {
        merged: merged && !steps.contains(PathSteps::MERGED),
        host: host && !steps.contains(PathSteps::HOST),
        decoded: decoded && !steps.contains(PathSteps::DECODED),
        parameters: parameters && !steps.contains(PathSteps::PARAMETERS),
        case: case && !steps.contains(PathSteps::CASE),
    }
}
