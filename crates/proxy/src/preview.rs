//! A request as it would be taken in and sent on, for `bothways explain` and `check`: by the very code
//! that does so for real, without a connection.

use std::net::IpAddr;

use config::{Forward, Listener, Route, RouteSettings, Serves};
use message::{Method, Request, Scheme};
use rules::TlsFacts;
use wire::http1::HeadLimits;

use crate::admission;
use crate::hops;
use crate::identity::{Identity, write_address};
use crate::leaving;
use crate::plan::Plan;
use crate::trust::Peer;
use crate::upstream::{UpstreamHead, write_head};
use crate::websocket::wants_tunnel;

/// A request as it comes in.
pub struct IncomingPreview<'a> {
    /// The listener that it comes in by.
    pub listener: &'a Listener,
    /// The peer of its connection, or whom a PROXY protocol header names.
    pub peer: IpAddr,
}

/// Why a request is refused before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadRefusal {
    /// With this status.
    pub status: u16,
    /// Why, for people.
    pub reason: String,
}

impl IncomingPreview<'_> {
    /// Reads the head of a request of HTTP/1, and tells who its client is.
    pub fn read(&self, head: &[u8], request: &mut Request) -> Result<IpAddr, HeadRefusal> {
        let limits = HeadLimits {
            bytes: self.listener.limits.head_bytes as usize,
            fields: usize::from(self.listener.limits.head_fields),
            target: self.listener.limits.target_bytes as usize,
        };
        let scheme = if self.listener.tls { Scheme::Https } else { Scheme::Http };
        match wire::http1::parse_request(head, &limits, scheme, request) {
            Ok(Some(length)) if length == head.len() => {}
            Ok(_) => {
                let reason = "the head does not end where it should".to_owned();
                return Err(HeadRefusal { status: 400, reason });
            }
            Err(error) => {
                return Err(HeadRefusal { status: error.status(), reason: error.to_string() });
            }
        }
        let client = self.identify(request);
        if matches!(self.listener.serves, Serves::Sites(_)) {
            // The connection is what it is, whatever an absolute target claims.
            request.target.set_scheme(scheme);
        }
        Ok(client)
    }

    /// The status that a request is answered with because it may go no further (RFC 9110, section
    /// 7.6.2: `Max-Forwards`), whatever is configured.
    pub fn last_hop(&self, request: &Request) -> Option<u16> {
        match hops::left(&mut request.clone()) {
            hops::Left::Some => None,
            hops::Left::None if request.method == Method::Options => Some(200),
            hops::Left::None => Some(405),
        }
    }

    /// The client of a request that is read already.
    pub fn identify(&self, request: &mut Request) -> IpAddr {
        self.peer().identify(request)
    }

    fn peer(&self) -> Peer<'_> {
        Peer::new(self.peer.to_canonical(), &self.listener.trusted_proxies)
    }
}

/// Where a request goes, and how.
pub struct OutgoingPreview<'a> {
    /// The forward listener, if it is one.
    pub forward: Option<&'a Forward>,
    /// What holds for it.
    pub settings: &'a RouteSettings,
    /// The route that takes it, in reverse.
    pub route: Option<&'a Route>,
    /// What is known of the client's TLS.
    pub tls: Option<TlsFacts<'a>>,
    /// The client, as [`IncomingPreview::identify`] tells it.
    pub client: IpAddr,
    /// Path and query that are sent.
    pub target: &'a [u8],
    /// The host that is sent.
    pub host: &'a str,
}

impl OutgoingPreview<'_> {
    /// The head as it leaves over HTTP/1.1. What changes with time or chance is not in it: a deadline
    /// that the endpoint gets told.
    pub fn head(&self, incoming: &IncomingPreview<'_>, request: &mut Request) -> Vec<u8> {
        let peer = incoming.peer();
        let mut text = String::new();
        write_address(&mut text, peer.address);
        admission::forget_early(request, peer.trusted);
        if let hops::Left::None = hops::left(request) {
            return Vec::new(); // it goes nowhere
        }
        let identity = match self.forward {
            Some(forward) => Identity::forward(forward, peer, &text),
            None => Identity::reverse(peer, &text),
        };
        let anonymous = self.forward.and_then(|forward| forward.anonymous.as_ref());
        let plan = Plan {
            settings: self.settings,
            identity,
            via: None,
            route: self.route,
            tls: self.tls,
            hsts: None,
            point: None,
            remove: anonymous.map_or(&[], |anonymous| &anonymous.remove),
        };
        leaving::request(request, &plan, self.client, &mut Vec::new());
        let upgrade = wants_tunnel(request);
        let (target, host) = (self.target, self.host);
        let head = UpstreamHead { request, target, host, upgrade, key: None };
        let mut out = Vec::new();
        write_head(&head, &mut out);
        out
    }
}
