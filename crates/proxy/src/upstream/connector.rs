//! Obtaining a connection to one endpoint: over which protocol, with or without TLS, an open one or
//! a new one.
//!
//! Over TLS an endpoint may pick HTTP/2 or HTTP/1.1 (ALPN, RFC 7301). Until its choice is known, one
//! exchange dials for all that wait. From then on the choice is remembered as long as its pool lives;
//! but each new connection speaks what was negotiated for it.
//! Not here: the choice of an endpoint (`destination`), open connections (`pool`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::ConnectPermit;
use config::{Endpoint, EndpointAddress, EndpointId, UpstreamId, UpstreamProtocol};
use net::{Stream, WatchedName};
use observe::{EndpointSlot, ErrorKind};
use tls::{Alpn, TlsErrorKind};

use super::dial::{connect_failed, connect_late, dial};
use super::link::Link;
use crate::body::unless_zero;
use crate::core::Core;
use crate::pool::{
    Acquisition, Connection, Http2Connection, KnownProtocol, Meter, Pool, StreamNeeds, StreamPermit,
};
use crate::secure::{HandshakeError, handshake, with_tls};
use crate::snapshot::View;
use crate::trouble::Trouble;

/// Obtains a connection to one endpoint for one request.
pub(crate) struct Connector<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) view: &'a View,
    pub(crate) at: (UpstreamId, usize),
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) pool: &'a Pool,
    pub(crate) tls: Option<&'a Arc<tls::Client>>,
    /// The endpoint's name as the resolver watches it, if it has one.
    pub(crate) watched: Option<&'a WatchedName>,
    pub(crate) slot: EndpointSlot,
    /// How long opening a connection may take.
    pub(crate) limit: Duration,
    /// The file descriptor of the connection must be lower than this.
    pub(crate) files_max: u64,
    /// Whether the request asks for an upgrade.
    pub(crate) upgrade: bool,
    /// Whether bytes pass uninterpreted.
    pub(crate) raw: bool,
    /// An HTTP/2 connection that has refused the request.
    pub(crate) avoid: Option<&'a Rc<Http2Connection>>,
}

/// What a request needs of a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct LinkNeeds<'a> {
    /// How long opening a connection may take; zero: no limit.
    pub(crate) limit: Duration,
    /// The file descriptor of the connection must be lower than this; `None`: the limit of a client
    /// with few connections.
    pub(crate) files_max: Option<u64>,
    /// Whether the request asks for an upgrade.
    pub(crate) upgrade: bool,
    /// Whether the request must go over HTTP/1.1.
    pub(crate) http1: bool,
    /// Whether bytes pass uninterpreted: over a new connection, without TLS of our own.
    pub(crate) raw: bool,
    /// An HTTP/2 connection that has refused the request.
    pub(crate) avoid: Option<&'a Rc<Http2Connection>>,
}

/// The protocols that a new connection offers by ALPN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AlpnOffer {
    Any,
    Http1,
}

impl<'a> Connector<'a> {
    /// A connector to an endpoint of the view; `None` if there is no such endpoint.
    pub(crate) fn to(
        core: &'a Rc<Core>,
        view: &'a View,
        at: (UpstreamId, usize),
        needs: LinkNeeds<'a>,
    ) -> Option<Self> {
        let (id, index) = at;
        let upstream = view.config().upstream(id)?;
        let endpoint = upstream.endpoints.get(index)?;
        let tls = view.shared.contexts.upstreams.get(id.index()).and_then(Option::as_ref);
        Some(Self {
            core,
            view,
            at,
            endpoint,
            protocol: if needs.http1 || needs.raw {
                UpstreamProtocol::Http1
            } else {
                upstream.protocol
            },
            pool: view.group(id)?.pools.get(index)?,
            tls: tls.filter(|_| endpoint.tls && !needs.raw),
            raw: needs.raw,
            watched: view.shared.watched(id, index),
            slot: view.shared.names.endpoint_slot(EndpointId::new(id, index)),
            limit: unless_zero(needs.limit),
            files_max: needs.files_max.unwrap_or_else(|| core.shared.files.kept()),
            upgrade: needs.upgrade,
            avoid: needs.avoid,
        })
    }
}

impl Connector<'_> {
    /// A connection that is available without waiting.
    pub(crate) fn available(&self, idle: Duration) -> Option<Link> {
        if self.may_be_http2()
            && let Some(permit) = self.pool.http2.permit(self.stream_needs(&|c| self.is_current(c)))
            && (!self.upgrade || permit.connection().takes_extended_connect())
        {
            return Some(self.http2_link(permit));
        }
        if self.may_be_http1() && !self.raw { self.take_idle(idle).map(Link::http1) } else { None }
    }

    /// Waits for a connection: a stream that becomes free, or a new connection.
    pub(crate) async fn obtain(&self) -> Result<Link, Trouble> {
        if !self.may_be_http2() {
            return self.open_new(AlpnOffer::Http1).await;
        }
        let link = self.obtain_any().await?;
        let Link::Http2(stream) = &link else { return Ok(link) };
        if !self.upgrade || stream.takes_extended_connect().await {
            return Ok(link);
        }
        if self.may_be_http1() {
            // The endpoint accepts no upgrades over HTTP/2, but it may over HTTP/1.1.
            return self.open_new(AlpnOffer::Http1).await;
        }
        let detail = "the endpoint takes no upgrades over HTTP/2 (extended CONNECT, RFC 8441)";
        Err(Trouble::new(ErrorKind::HttpUpgradeFailed, detail))
    }

    async fn obtain_any(&self) -> Result<Link, Trouble> {
        let is_current = |connection: &Http2Connection| self.is_current(connection);
        match self.pool.http2.acquire(self.stream_needs(&is_current), self.limit).await {
            Acquisition::Permit(permit) => Ok(self.http2_link(permit)),
            Acquisition::Http1 => self.open_new(AlpnOffer::Any).await,
            Acquisition::Failed(trouble) => Err(trouble),
            Acquisition::Open(opening) => {
                let opened = self.open_new(AlpnOffer::Any).await;
                match &opened {
                    Ok(_) => drop(opening),
                    Err(trouble) => opening.failed(trouble),
                }
                opened
            }
        }
    }

    /// Whether the settings allow HTTP/2.
    pub(crate) fn may_be_http2(&self) -> bool {
        match self.protocol {
            UpstreamProtocol::Auto => self.tls.is_some(),
            UpstreamProtocol::Http1 | UpstreamProtocol::Scgi => false,
            UpstreamProtocol::H2 | UpstreamProtocol::H2c => true,
        }
    }

    fn may_be_http1(&self) -> bool {
        matches!(self.protocol, UpstreamProtocol::Auto | UpstreamProtocol::Http1)
    }

    fn http2_link(&self, permit: StreamPermit) -> Link {
        Link::http2(permit, self.tls.is_some())
    }

    fn stream_needs<'w>(
        &'w self,
        is_current: &'w dyn Fn(&Http2Connection) -> bool,
    ) -> StreamNeeds<'w> {
        StreamNeeds { is_current, avoid: self.avoid }
    }

    /// Whether the endpoint's name still has the address of this connection. If not, the connection
    /// gets no new requests: a busy one would otherwise keep its traffic there for ever.
    fn is_current(&self, connection: &Http2Connection) -> bool {
        let Some(watched) = self.watched else { return true };
        let (version, seen) = (watched.version(), connection.names_version());
        if seen.get() != version {
            let at = connection.address().map(|address| address.ip());
            if !watched.addresses().iter().any(|&ip| Some(ip) == at) {
                return false;
            }
            seen.set(version);
        }
        true
    }

    /// An idle HTTP/1 connection to a current address of the endpoint; those to other addresses are
    /// closed.
    fn take_idle(&self, idle: Duration) -> Option<Connection> {
        let now = self.core.wheel.now();
        let Some(watched) = self.watched else {
            return self.pool.take(now, idle);
        };
        let version = watched.version();
        loop {
            let mut connection = self.pool.take(now, idle)?;
            if connection.names_version != version {
                let addresses = watched.addresses();
                let at = connection.address.map(|address| address.ip());
                if !addresses.iter().any(|&ip| Some(ip) == at) {
                    continue;
                }
                connection.names_version = version;
            }
            return Some(connection);
        }
    }

    /// Opens a new connection.
    async fn open_new(&self, offer: AlpnOffer) -> Result<Link, Trouble> {
        let begun = Instant::now();
        let _opening = self.connect_permit()?;
        let mut connection = self.dial().await?;
        connection.meter = Some(Meter::opened(&self.core.metrics, self.slot));
        connection.expiry = self.pool.expiry(self.core.wheel.now());
        let mut speaks_http2 = self.may_be_http2() && offer == AlpnOffer::Any;
        if let Some(context) = self.tls {
            let left = self.limit.saturating_sub(begun.elapsed());
            let (stream, alpn) = self.secure(context, connection.stream, offer, left).await?;
            connection.stream = stream;
            let picked = alpn == Some(Alpn::H2) || self.protocol == UpstreamProtocol::H2c;
            if speaks_http2 && !picked && !self.may_be_http1() {
                let detail = format!("{} does not speak HTTP/2", self.endpoint.written);
                return Err(Trouble::new(ErrorKind::TlsProtocolError, detail));
            }
            speaks_http2 = picked;
        }
        if speaks_http2 {
            let left = self.limit.saturating_sub(begun.elapsed());
            let permit = self.pool.http2.open(connection, &self.core.wheel, left).await?;
            return Ok(self.http2_link(permit));
        }
        if offer == AlpnOffer::Any {
            self.pool.http2.known_protocol.set(KnownProtocol::Http1);
        }
        Ok(match self.protocol {
            UpstreamProtocol::Scgi => Link::scgi(connection),
            _ => Link::http1(connection),
        })
    }

    /// Counts a connection as being opened until the permit is dropped; fails if the limit is reached.
    fn connect_permit(&self) -> Result<Option<ConnectPermit>, Trouble> {
        let Some(group) = self.view.group(self.at.0) else { return Ok(None) };
        let connect_permit = group.balancer.group().begin_connecting(self.at.1).map(Some);
        connect_permit.map_err(|why| Trouble::new(ErrorKind::CircuitOpen, why.words()))
    }

    async fn dial(&self) -> Result<Connection, Trouble> {
        let (endpoint, limit) = (self.endpoint, self.limit);
        let bounds = (limit, self.files_max);
        match &endpoint.address {
            EndpointAddress::Unix(path) => {
                let connected = tokio::time::timeout(limit, Stream::connect_unix(path)).await;
                match connected {
                    Ok(Ok(stream)) => Ok(Connection::fresh(stream, None)),
                    Ok(Err(error)) => Err(connect_failed(&endpoint.written, &error)),
                    Err(_) => Err(connect_late(&endpoint.written, limit)),
                }
            }
            EndpointAddress::Ip(address) => {
                dial(self.core, &[*address], &|_| Ok(()), bounds, &endpoint.written).await
            }
            EndpointAddress::Name { .. } => {
                if let Some(watched) = self.watched {
                    // Right after the start a name may not have been looked up yet. If that takes
                    // too long, there is no address.
                    let _ = tokio::time::timeout(limit, watched.ready()).await;
                }
                let addresses = self.view.shared.addresses(self.at.0, self.at.1);
                if addresses.is_empty() {
                    let written = &endpoint.written;
                    let detail = format!("{written} has no address: its name was not found");
                    return Err(Trouble::new(ErrorKind::DnsError, detail));
                }
                dial(self.core, &addresses, &|_| Ok(()), bounds, &endpoint.written).await
            }
        }
    }

    /// Starts TLS on a new connection; returns the protocol that the endpoint picked.
    async fn secure(
        &self,
        context: &Arc<tls::Client>,
        stream: Stream,
        offer: AlpnOffer,
        limit: Duration,
    ) -> Result<(Stream, Option<Alpn>), Trouble> {
        let written = &self.endpoint.written;
        let name = match (&self.endpoint.host, &self.endpoint.address) {
            (Some(host), _) | (None, EndpointAddress::Name { host, .. }) => host.to_string(),
            (None, EndpointAddress::Ip(address)) => address.ip().to_string(),
            (None, EndpointAddress::Unix(_)) => "localhost".to_owned(),
        };
        let session = match offer {
            AlpnOffer::Any => context.session(&name),
            AlpnOffer::Http1 => context.http1_session(&name),
        };
        let failed = |error| handshake_failed(written, &error);
        let mut session = session.map_err(HandshakeError::Tls).map_err(failed)?;
        let alarm = self.core.wheel.alarm();
        alarm.set(limit);
        handshake(&stream, &mut session, &alarm).await.map_err(failed)?;
        let alpn = session.info().alpn;
        Ok((with_tls(stream, session), alpn))
    }
}

/// RFC 9209, sections 2.3.13 to 2.3.15; the words say which check failed.
fn handshake_failed(written: &str, error: &HandshakeError) -> Trouble {
    let kind = match error {
        HandshakeError::Tls(error) => match error.kind() {
            TlsErrorKind::Certificate => ErrorKind::TlsCertificateError,
            TlsErrorKind::Alert(_) => ErrorKind::TlsAlertReceived,
            TlsErrorKind::Protocol | TlsErrorKind::NotTls => ErrorKind::TlsProtocolError,
            TlsErrorKind::Local => ErrorKind::ProxyConfigurationError,
        },
        HandshakeError::Broken(_) | HandshakeError::Closed => ErrorKind::ConnectionTerminated,
        HandshakeError::TimedOut => ErrorKind::ConnectionTimeout,
    };
    Trouble::new(kind, format!("no TLS connection to {written}: {error}"))
}
