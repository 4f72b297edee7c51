//! Previews how a request would be received and forwarded, for `bothways explain` and `check`, with
//! the same code as for real requests but without a connection.

use std::net::IpAddr;

use config::{Forward, Listener, Route, RouteSettings, Serves, UpstreamProtocol};
use message::{Method, Request, Scheme};
use rules::{ClientFacts, Maps};
use wire::http1::HeadLimits;

use crate::admission;
use crate::hops;
use crate::identity::{Identity, write_address};
use crate::leaving;
use crate::plan::Plan;
use crate::trust::Peer;
use crate::upstream::{UpstreamHead, print_head};
use crate::websocket::wants_tunnel;

/// Where a request would come in.
pub struct IncomingPreview<'a> {
    /// The listener that receives the request.
    pub listener: &'a Listener,
    /// The address of the peer, or the one in a PROXY protocol header.
    pub peer: IpAddr,
}

/// Why a request is refused before any rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadRefusal {
    /// The status of the answer.
    pub status: u16,
    /// Why, for people.
    pub reason: String,
}

impl IncomingPreview<'_> {
    /// Reads the head of an HTTP/1 request; returns its client.
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
            // The connection determines the scheme, not an absolute target.
            request.target.set_scheme(scheme);
        }
        Ok(client)
    }

    /// The status of the answer to a request that may go no further (RFC 9110, section 7.6.2:
    /// `Max-Forwards`), whatever is configured.
    pub fn last_hop(&self, request: &Request) -> Option<u16> {
        match hops::take_hop(&mut request.clone()) {
            true => None,
            false if request.method == Method::Options => Some(200),
            false => Some(405),
        }
    }

    /// The client of a request that has been read.
    pub fn identify(&self, request: &mut Request) -> IpAddr {
        self.peer().identify(request)
    }

    fn peer(&self) -> Peer<'_> {
        Peer::new(self.peer.to_canonical(), &self.listener.trusted_proxies)
    }
}

/// How a request would be forwarded.
pub struct OutgoingPreview<'a> {
    /// The settings of the listener, if it is a forward listener.
    pub forward: Option<&'a Forward>,
    /// The settings that apply.
    pub settings: &'a RouteSettings,
    /// The route, for a reverse listener.
    pub route: Option<&'a Route>,
    /// The client, its address from [`IncomingPreview::identify`].
    pub client: ClientFacts<'a>,
    /// What templates may name by maps.
    pub maps: &'a Maps,
    /// The path and query that are sent.
    pub target: &'a [u8],
    /// The host that is sent.
    pub host: &'a str,
    /// What the endpoints speak.
    pub protocol: UpstreamProtocol,
}

impl OutgoingPreview<'_> {
    /// The head as it is sent over HTTP/1.1, or the variables of SCGI, without what depends on time or chance, such as a
    /// deadline for the endpoint.
    pub fn head(&self, incoming: &IncomingPreview<'_>, request: &mut Request) -> Vec<u8> {
        let peer = incoming.peer();
        let mut text = String::new();
        write_address(&mut text, peer.address);
        admission::forget_early(request, peer.trusted);
        if !hops::take_hop(request) {
            return Vec::new(); // it is not forwarded
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
            client: self.client,
            maps: self.maps,
            hsts: None,
            point: None,
            remove: anonymous.map_or(&[], |anonymous| &anonymous.remove),
            cache_status: None,
        };
        leaving::request(request, &plan, &mut Vec::new());
        let upgrade = wants_tunnel(request);
        let (target, host) = (self.target, self.host);
        let client = self.client;
        let head = UpstreamHead { request, target, host, upgrade, key: None, client };
        let mut out = Vec::new();
        print_head(self.protocol, &head, &mut out);
        out
    }
}
