//! Where a request goes, and how a connection to there is come by.
//!
//! The destination is a group of endpoints that the configuration names (reverse), or a host that
//! the client names (forward). Both offer connections in the same way: an idle one if there is one,
//! else a new one; a group goes on to its other endpoints when one cannot be reached.
//! Invariant: an address that a client named is judged right before every use.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use balance::{Ask, Lease, NotPicked, Outcome};
use config::{
    Endpoint, Forward, HostPolicy, RouteSettings, Timeouts, Upstream, UpstreamId, UpstreamProtocol,
    UpstreamTimeouts,
};
use message::Request;
use net::{DialError, Refused};

use crate::attempt::wants_tunnel;
use crate::body::{Source, unless_zero};
use crate::core::Core;
use crate::exchange::{Context, Downstream, Trouble};
use crate::http2::{Multiplexed, Ticket};
use crate::observe::{EndpointSlot, ErrorKind, Record};
use crate::snapshot::Group;
use crate::upstream::{Connection, Link, Pool};
use crate::way::Way;

/// The times that hold for an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) stream_idle: Duration,
}

impl Times {
    /// Those of the route, unless the upstream has its own.
    fn new(settings: &Timeouts, own: &UpstreamTimeouts) -> Self {
        Self {
            connect: own.connect.unwrap_or(settings.connect),
            first_byte: own.first_byte.unwrap_or(settings.first_byte),
            stream_idle: own.stream_idle.unwrap_or(settings.stream_idle),
        }
    }
}

/// A connection to send a request over.
pub(crate) struct Taken {
    pub(crate) link: Link,
    pub(crate) timeouts: Times,
}

/// Why there is none.
pub(crate) enum NoConnection {
    /// The client left while we waited.
    ClientGone,
    Trouble(Trouble),
}

/// Where a request goes.
pub(crate) enum Destination<'a> {
    Group(GroupDestination<'a>),
    Named(NamedDestination<'a>),
}

/// A group of endpoints.
pub(crate) struct GroupDestination<'a> {
    id: UpstreamId,
    upstream: &'a Upstream,
    group: &'a Group,
    /// The request, as it counts on the endpoint taken last.
    lease: Option<Lease>,
    /// Endpoints that could not be reached.
    failed: Vec<usize>,
    /// Whether the request asks for an upgrade.
    upgrade: bool,
    /// Whether it is to go over HTTP/1.1, as the endpoint has asked for that.
    http1: bool,
    /// A connection that has refused the request.
    avoid: Option<Rc<Multiplexed>>,
}

/// A host that the client named.
pub(crate) struct NamedDestination<'a> {
    pub(crate) forward: &'a Forward,
    pub(crate) host: &'a str,
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) judge: &'a dyn Fn(SocketAddr) -> Result<(), Refused>,
    pub(crate) pool: Option<Rc<Pool>>,
}

impl<'a> Destination<'a> {
    /// A group of the configuration.
    pub(crate) fn group(context: &Context<'a>, id: UpstreamId) -> Option<Self> {
        let upstream = context.view.config().upstreams.get(id.0 as usize)?;
        let group = context.view.group(id)?;
        Some(Self::Group(GroupDestination {
            id,
            upstream,
            group,
            lease: None,
            failed: Vec::new(),
            upgrade: false,
            http1: false,
            avoid: None,
        }))
    }

    /// Notes what the request needs of a connection.
    pub(crate) fn prepare(&mut self, request: &Request) {
        if let Self::Group(group) = self {
            group.upgrade = wants_tunnel(request);
        }
    }

    /// The endpoint asks for HTTP/1.1; true if it may be spoken.
    pub(crate) fn falls_back(&mut self) -> bool {
        let Self::Group(group) = self else { return false };
        group.http1 = group.upstream.protocol == UpstreamProtocol::Auto;
        group.http1
    }

    /// This connection has refused the request, which is to go over another one.
    pub(crate) fn avoid(&mut self, refused: &Ticket) {
        refused.connection().refused();
        if let Self::Group(group) = self {
            group.avoid = Some(Rc::clone(refused.connection()));
        }
    }

    /// A connection: an idle one unless it must be `fresh`.
    pub(crate) async fn connection<D: Downstream>(
        &mut self,
        context: &Context<'_>,
        record: &mut Record,
        down: &mut D,
        settings: &Timeouts,
        fresh: bool,
    ) -> Result<Taken, NoConnection> {
        match self {
            Self::Group(group) => group.connection(context, record, down, settings, fresh).await,
            Self::Named(named) => named.connection(context, record, down, settings, fresh).await,
        }
    }

    /// Writes the Host to send.
    pub(crate) fn write_host(&self, request: &Request, settings: &RouteSettings, out: &mut String) {
        out.clear();
        out.push_str(match (&settings.host, self) {
            (HostPolicy::Literal(host), _) => host,
            (HostPolicy::Endpoint, Self::Group(group)) => match group.endpoint() {
                Some(endpoint) => rules::upstream_host(&settings.host, &request.target, endpoint),
                None => request.target.authority(),
            },
            (HostPolicy::Preserve | HostPolicy::Endpoint, _) => request.target.authority(),
        });
    }

    fn pool(&self) -> Option<&Pool> {
        match self {
            Self::Group(group) => group.pool(),
            Self::Named(named) => named.pool.as_deref(),
        }
    }

    /// Keeps a connection whose response is complete.
    pub(crate) fn put_back(&self, core: &Core, connection: Connection) {
        if let Some(pool) = self.pool() {
            pool.put(connection, core.wheel.now());
        }
    }

    /// The endpoint says how long it keeps idle connections.
    pub(crate) fn announced(&self, timeout: Duration) {
        if let Some(pool) = self.pool() {
            pool.announced(timeout);
        }
    }

    /// A used connection turned out to be closed: those that have idled longer are closed too.
    pub(crate) fn closed_early(&self) {
        if let Some(pool) = self.pool() {
            pool.clear();
        }
    }

    /// Logs what was wrong with the destination.
    pub(crate) fn complain(&self, trouble: &Trouble) {
        let endpoint = match self {
            Self::Group(group) => group.endpoint_name(),
            Self::Named(named) => named.host,
        };
        complain_of(endpoint, trouble);
    }
}

/// Logs what was wrong with an endpoint or with a host that a client named.
pub(crate) fn complain_of(endpoint: &str, trouble: &Trouble) {
    crate::log_limited!(WARN, endpoint, error = trouble.kind.name(), "{}", trouble.detail);
}

impl GroupDestination<'_> {
    /// The endpoint taken last.
    fn chosen(&self) -> Option<usize> {
        self.lease.as_ref().map(Lease::index)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.upstream.endpoints.get(self.chosen()?)
    }

    fn endpoint_name(&self) -> &str {
        self.endpoint().map_or(&*self.upstream.name, |endpoint| &*endpoint.written)
    }

    fn pool(&self) -> Option<&Pool> {
        self.group.pools.get(self.chosen()?).map(Rc::as_ref)
    }

    async fn connection<D: Downstream>(
        &mut self,
        context: &Context<'_>,
        record: &mut Record,
        down: &mut D,
        settings: &Timeouts,
        fresh: bool,
    ) -> Result<Taken, NoConnection> {
        let timeouts = Times::new(settings, &self.upstream.timeouts);
        let idle = self.upstream.timeouts.upstream_idle.unwrap_or(settings.upstream_idle);
        let mut last: Option<Trouble> = None;
        // A request that is sent again goes to the endpoint it was meant for.
        let mut again = fresh && self.lease.is_some();
        loop {
            if !std::mem::take(&mut again) {
                self.lease = None;
                match self.pick() {
                    Ok(lease) => self.lease = Some(lease),
                    Err(why) => {
                        return Err(NoConnection::Trouble(last.unwrap_or_else(|| none(why))));
                    }
                }
            }
            let Some(index) = self.chosen() else { continue };
            if last.is_some() {
                record.retries = record.retries.saturating_add(1);
            }
            record.endpoint = Some((self.id.0, index as u32));
            let slot = context.view.shared.names.endpoint_slot(self.id.0, index as u32);
            let Some(way) = self.way(context, index, slot, timeouts.connect) else {
                let none = Trouble::new(ErrorKind::ProxyInternalError, "no such endpoint");
                return Err(NoConnection::Trouble(none));
            };
            if !fresh && let Some(link) = way.at_once(idle) {
                context.core.metrics.upstream_reused(slot);
                record.dialled = link.address();
                return Ok(Taken { link, timeouts });
            }
            let begun = Instant::now();
            let found = or_gone(down, way.found()).await;
            let Some(found) = found else { return Err(NoConnection::ClientGone) };
            match found {
                Ok(link) => {
                    if !link.reused() {
                        record.connect = Some(begun.elapsed());
                    }
                    record.dialled = link.address();
                    return Ok(Taken { link, timeouts });
                }
                Err(trouble) => {
                    record.connect = Some(begun.elapsed());
                    context.core.metrics.upstream_failed(slot);
                    self.failed.push(index);
                    if let Some(lease) = &mut self.lease {
                        lease.report(match trouble.kind {
                            ErrorKind::ConnectionTimeout => Outcome::ConnectTimeout,
                            _ => Outcome::Unreachable,
                        });
                    }
                    complain_of(self.endpoint_name(), &trouble);
                    last = Some(trouble);
                }
            }
        }
    }

    fn way<'w>(
        &'w self,
        context: &'w Context<'w>,
        index: usize,
        slot: EndpointSlot,
        limit: Duration,
    ) -> Option<Way<'w>> {
        let endpoint = self.upstream.endpoints.get(index)?;
        let pool = self.group.pools.get(index)?;
        let contexts = &context.view.shared.contexts.upstreams;
        let tls = contexts.get(self.id.0 as usize).and_then(Option::as_ref);
        let tls = tls.filter(|_| endpoint.tls);
        let watched = context.view.shared.watched(self.id, index);
        let limit = unless_zero(limit);
        let id = self.id;
        let protocol = if self.http1 { UpstreamProtocol::Http1 } else { self.upstream.protocol };
        let (upgrade, avoid) = (self.upgrade, self.avoid.as_ref());
        Some(Way {
            core: context.core,
            view: context.view,
            at: (id, index),
            endpoint,
            protocol,
            pool,
            tls,
            watched,
            slot,
            limit,
            upgrade,
            avoid,
        })
    }

    fn pick(&self) -> Result<Lease, NotPicked> {
        let ask = Ask { key: 0, bound: None, tried: &self.failed, now: Instant::now() };
        self.group.balancer.pick(&ask)
    }
}

/// What the client is told when no endpoint can be picked.
fn none(why: NotPicked) -> Trouble {
    match why {
        NotPicked::Down | NotPicked::Tried => {
            Trouble::new(ErrorKind::DestinationUnavailable, "no endpoint can be reached")
        }
        NotPicked::Full => {
            let detail = "every endpoint has as many requests as it may";
            Trouble::new(ErrorKind::ConnectionLimitReached, detail)
        }
    }
}

impl NamedDestination<'_> {
    async fn connection<D: Downstream>(
        &mut self,
        context: &Context<'_>,
        record: &mut Record,
        down: &mut D,
        settings: &Timeouts,
        fresh: bool,
    ) -> Result<Taken, NoConnection> {
        let timeouts = Times::new(settings, &UpstreamTimeouts::default());
        let core = context.core;
        if !fresh {
            for &address in self.addresses {
                let pool = core.forward_pool(address, self.host, settings.upstream_idle);
                if let Some(connection) = pool.take(core.wheel.now(), settings.upstream_idle)
                    && (self.judge)(address).is_ok()
                {
                    record.dialled = connection.address;
                    self.pool = Some(pool);
                    return Ok(Taken { link: Link::Http1(connection), timeouts });
                }
            }
        }
        let connection = self.dial(record, down, timeouts.connect).await?;
        self.pool = connection
            .address
            .map(|address| core.forward_pool(address, self.host, settings.upstream_idle));
        Ok(Taken { link: Link::Http1(connection), timeouts })
    }

    /// A new connection.
    pub(crate) async fn dial<D: Downstream>(
        &self,
        record: &mut Record,
        down: &mut D,
        limit: Duration,
    ) -> Result<Connection, NoConnection> {
        let begun = Instant::now();
        let dialling = dial(self.addresses, self.judge, unless_zero(limit), self.host);
        let dialled = or_gone(down, dialling).await.ok_or(NoConnection::ClientGone)?;
        record.connect = Some(begun.elapsed());
        let connection = dialled.map_err(NoConnection::Trouble)?;
        record.dialled = connection.address;
        Ok(connection)
    }
}

pub(crate) async fn dial(
    addresses: &[SocketAddr],
    judge: &dyn Fn(SocketAddr) -> Result<(), Refused>,
    limit: Duration,
    name: &str,
) -> Result<Connection, Trouble> {
    match net::dial(addresses, judge, limit).await {
        Ok((stream, address)) => Ok(Connection::fresh(stream, Some(address))),
        Err(DialError::Timeout { .. }) => Err(connect_late(name, limit)),
        Err(DialError::Failed { source, .. }) => Err(connect_failed(name, &source)),
        Err(error @ DialError::AllRefused { .. }) => {
            Err(Trouble::new(ErrorKind::DestinationIpProhibited, error.to_string()))
        }
        Err(error @ DialError::NoAddress) => {
            Err(Trouble::new(ErrorKind::DnsError, error.to_string()))
        }
    }
}

pub(crate) fn connect_late(name: &str, limit: Duration) -> Trouble {
    let detail = format!("no connection to {name} within {limit:?}");
    Trouble::new(ErrorKind::ConnectionTimeout, detail)
}

pub(crate) fn connect_failed(name: &str, error: &std::io::Error) -> Trouble {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::ConnectionRefused | Io::NotFound | Io::PermissionDenied => ErrorKind::ConnectionRefused,
        Io::HostUnreachable | Io::NetworkUnreachable => ErrorKind::DestinationIpUnroutable,
        Io::TimedOut => ErrorKind::ConnectionTimeout,
        _ => ErrorKind::ConnectionTerminated,
    };
    Trouble::new(kind, Cow::Owned(format!("cannot connect to {name}: {error}")))
}

/// Awaits, unless the client leaves before.
pub(crate) async fn or_gone<D: Downstream, T>(
    down: &mut D,
    future: impl Future<Output = T>,
) -> Option<T> {
    let (body, _) = down.split();
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        body.poll_vanished(cx).map(|()| None)
    })
    .await
}
