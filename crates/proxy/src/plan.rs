//! What the rules decided for one exchange.

use config::RouteSettings;
use message::Request;
use rules::{ClientFacts, Facts, Maps};

use crate::identity::Identity;
use crate::split::Point;

/// How a request is forwarded.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) settings: &'a RouteSettings,
    pub(crate) identity: Identity<'a>,
    /// Our name in the Via of the response.
    pub(crate) via: Option<&'a str>,
    /// The route, for field edits with captures.
    pub(crate) route: Option<&'a config::Route>,
    /// The client, for the same.
    pub(crate) client: ClientFacts<'a>,
    /// What templates may name by maps.
    pub(crate) maps: &'a Maps,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub(crate) hsts: Option<&'a [u8]>,
    /// The cookie that keeps the client with its part of a split.
    pub(crate) point: Option<Point<'a>>,
    /// Names of request fields that are removed, before the edits.
    pub(crate) remove: &'a [Box<str>],
    /// What `Cache-Status` of the response says of us.
    pub(crate) cache_status: Option<&'a [u8]>,
}

impl<'a> Plan<'a> {
    /// For a copy of a request: its fields were edited before, and its response is discarded.
    pub(crate) fn copy(
        settings: &'a RouteSettings,
        client: ClientFacts<'a>,
        maps: &'a Maps,
    ) -> Self {
        Self {
            settings,
            identity: Identity::nobody(),
            via: None,
            route: None,
            client,
            maps,
            hsts: None,
            point: None,
            remove: &[],
            cache_status: None,
        }
    }

    /// For a response of our own, as a route says.
    pub(crate) fn local(route: &'a config::Route, client: ClientFacts<'a>, maps: &'a Maps) -> Self {
        Self::own(&route.settings, Some(route), client, maps)
    }

    /// For a response of our own with these settings; the route, if one is known.
    pub(crate) fn own(
        settings: &'a RouteSettings,
        route: Option<&'a config::Route>,
        client: ClientFacts<'a>,
        maps: &'a Maps,
    ) -> Self {
        let identity = Identity::nobody();
        // `respond` sets `hsts` on our own responses, including errors.
        Self {
            settings,
            identity,
            via: None,
            route,
            client,
            maps,
            hsts: None,
            point: None,
            remove: &[],
            cache_status: None,
        }
    }

    /// What templates may name of a request.
    pub(crate) fn facts<'f>(&'f self, request: &'f Request) -> Facts<'f> {
        Facts::of(self.client, request, self.route, self.maps)
    }
}
