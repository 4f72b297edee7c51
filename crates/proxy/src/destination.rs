//! Where a request goes, and how a connection to it is obtained.
//!
//! The destination is a group of endpoints that the configuration names (reverse), or a host that
//! the client names (forward). Both give connections in the same way: an idle one if there is one,
//! else a new one. A group continues with its other endpoints when one cannot be reached. A request
//! that is sent again goes first to endpoints that have not been tried.
//! Not here: whether a request is sent again (`attempt::settle`), and how often (`retry`).
//! Invariant: an address that a client named is checked against the rules right before every use.

mod named;

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use balance::{AddressOctets, Lease, Outcome, PickError, PickRequest};
use config::{
    Endpoint, EndpointId, Forward, HedgeAfter, HostPolicy, KeyPart, RouteSettings, Timeouts,
    Upstream, UpstreamId, UpstreamProtocol, UpstreamTimeouts,
};
use message::Request;
use net::AddressRefusal;
use observe::{EndpointSlot, ErrorKind, Record, RetryReason};

use crate::body::Source;
use crate::context::Context;
use crate::core::Core;
use crate::deadline::Deadline;
use crate::key;
use crate::login::{self, BoundConnections, BoundTo};
use crate::pool::{Connection, Http2Connection, Pool};
use crate::retry::{FailedTry, Retries};
use crate::snapshot::Group;
use crate::sticky::{Binding, Stickiness};
use crate::trouble::Trouble;
use crate::upstream::{Connector, Link, LinkNeeds, is_our_limit, log_upstream_trouble};
use crate::websocket::wants_tunnel;

/// The time-outs that hold for an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointTimeouts {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) stream_idle: Duration,
}

impl EndpointTimeouts {
    /// The time-outs of the route, unless the upstream has its own.
    fn new(settings: &Timeouts, own: &UpstreamTimeouts) -> Self {
        Self {
            connect: own.connect.unwrap_or(settings.connect),
            first_byte: own.first_byte.unwrap_or(settings.first_byte),
            stream_idle: own.stream_idle.unwrap_or(settings.stream_idle),
        }
    }
}

/// A connection for a request, and the time-outs that hold for it.
pub(crate) struct FoundLink {
    pub(crate) link: Link,
    pub(crate) timeouts: EndpointTimeouts,
}

/// Why there is no connection.
pub(crate) enum NoConnection {
    /// The client left during the wait.
    ClientGone,
    Trouble(Trouble),
}

impl From<Trouble> for NoConnection {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What a search for a connection needs to know.
pub(crate) struct Search<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) settings: &'a Timeouts,
    pub(crate) retries: &'a Retries<'a>,
    pub(crate) deadline: Option<&'a Deadline>,
}

/// Where the next try goes.
pub(crate) enum NextTry {
    /// This is the first try.
    First,
    /// To the same endpoint over a new connection, as the old one was closed.
    SameEndpoint(FailedTry),
    /// To another endpoint, if there is one.
    OtherEndpoint(FailedTry),
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
    /// The lease on the current endpoint: the request counts on it.
    lease: Option<Lease>,
    /// Where the request comes from and what it asks for.
    origin: balance::RequestOrigin,
    /// The key, for algorithms that choose an endpoint by one.
    key: u64,
    /// Endpoints that were tried and failed.
    tried: Vec<usize>,
    /// Whether the request asks for an upgrade.
    upgrade: bool,
    /// Whether the request must go over HTTP/1.1, as the endpoint has asked for it.
    http1: bool,
    /// The cookie that binds clients to endpoints, if there is one, and the endpoint that it names.
    sticky: Option<&'a Stickiness>,
    bound: Option<usize>,
    /// The endpoint to which this client has a connection of its own (`login`).
    own: Option<usize>,
    /// Whether the request needs such a connection.
    login: bool,
    /// An HTTP/2 connection that has refused the request.
    avoid: Option<Rc<Http2Connection>>,
    /// Whether the request is sent once only, to any endpoint.
    once: bool,
    /// Whether bytes pass uninterpreted: over a new connection, without TLS of our own.
    raw: bool,
}

/// A host that the client named.
pub(crate) struct NamedDestination<'a> {
    pub(crate) forward: &'a Forward,
    pub(crate) host: &'a str,
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) judge: &'a dyn Fn(SocketAddr) -> Result<(), AddressRefusal>,
    pub(crate) pool: Option<Rc<Pool>>,
}

impl<'a> Destination<'a> {
    /// A group of the configuration.
    pub(crate) fn group(context: &Context<'a>, id: UpstreamId) -> Option<Self> {
        let upstream = context.view.config().upstream(id)?;
        let group = context.view.group(id)?;
        Some(Self::Group(GroupDestination {
            id,
            upstream,
            group,
            lease: None,
            origin: balance::RequestOrigin::default(),
            key: 0,
            tried: Vec::new(),
            upgrade: false,
            http1: false,
            sticky: context.view.shared.sticky(id),
            bound: None,
            own: None,
            login: false,
            avoid: None,
            once: false,
            raw: false,
        }))
    }

    /// The same for a request that is sent once only, to any endpoint, even if its client is bound
    /// to one.
    pub(crate) fn once(mut self) -> Self {
        if let Self::Group(group) = &mut self {
            (group.once, group.sticky) = (true, None);
        }
        self
    }

    /// The same for bytes that pass uninterpreted.
    pub(crate) fn raw(mut self, client: IpAddr, started: Instant) -> Self {
        if let Self::Group(group) = &mut self {
            (group.raw, group.sticky) = (true, None);
            group.group.balancer.count_request(started);
            // Of all parts of a key, only the address is known.
            let address = AddressOctets::of(client);
            group.key = balance::key(&group.upstream.balance, |part| match part {
                KeyPart::Address => Some(address.as_bytes()),
                _ => None,
            });
            group.origin = balance::RequestOrigin::new(client, &[]);
        }
        self
    }

    /// Sets what the request needs of a connection.
    pub(crate) fn prepare(
        &mut self,
        request: &Request,
        record: &Record,
        client: Option<&BoundConnections>,
    ) {
        if let Self::Group(group) = self {
            let balancer = &group.group.balancer;
            balancer.count_request(record.started);
            if balancer.group().by_key {
                group.key = key::of(&group.upstream.balance, request, record.client.ip());
            }
            group.upgrade = wants_tunnel(request);
            group.origin =
                balance::RequestOrigin::new(record.client.ip(), request.target.path().as_bytes());
            // Over HTTP/2 an upgrade is a stream without a body before it (RFC 8441).
            let over_http1 = group.upgrade && !request.body.is_empty();
            group.own = client.and_then(|client| client.endpoint_of(&group.group.pools));
            group.login = group.own.is_some() || login::has_credentials(request);
            group.http1 =
                (over_http1 || group.login) && group.upstream.protocol == UpstreamProtocol::Auto;
            group.bound = group.sticky.and_then(|sticky| sticky.bound(&request.fields));
        }
    }

    /// The cookie that binds the client to the current endpoint, if it needs one.
    pub(crate) fn binding(&self, secure: bool) -> Option<Binding<'a>> {
        let Self::Group(group) = self else { return None };
        group.binding_of(group.chosen()?, secure)
    }

    /// Whether its endpoints speak only HTTP/2.
    pub(crate) fn speaks_only_http2(&self) -> bool {
        use UpstreamProtocol::{H2, H2c};
        self.as_group().is_some_and(|group| matches!(group.upstream.protocol, H2 | H2c))
    }

    /// Whether it speaks SCGI.
    pub(crate) fn is_scgi(&self) -> bool {
        self.as_group().is_some_and(|group| group.upstream.protocol == UpstreamProtocol::Scgi)
    }

    /// The endpoint asks for HTTP/1.1; true if the settings allow it.
    pub(crate) fn fall_back_to_http1(&mut self) -> bool {
        let Self::Group(group) = self else { return false };
        group.http1 = group.upstream.protocol == UpstreamProtocol::Auto;
        group.http1
    }

    /// This connection has refused the request, which must go over another one.
    pub(crate) fn avoid(&mut self, refused: &Rc<Http2Connection>) {
        refused.refused();
        if let Self::Group(group) = self {
            group.avoid = Some(Rc::clone(refused));
        }
    }

    /// How endpoints learn how much time is left.
    pub(crate) fn deadline(&self) -> Option<&'a config::Deadline> {
        match self {
            Self::Group(group) => Some(&group.upstream.deadline),
            Self::Named(_) => None,
        }
    }

    /// How often the request may be sent again.
    pub(crate) fn retries(&self, context: &'a Context<'a>, now: Instant) -> Retries<'a> {
        let of = match self {
            Self::Group(group) if group.once => None,
            Self::Group(group) => Some((&group.upstream.retry, &group.group.balancer)),
            Self::Named(_) => None,
        };
        Retries::new(context, of, now)
    }

    /// Obtains a connection: an idle one unless it must be a new one.
    pub(crate) async fn connect(
        &mut self,
        search: &Search<'_>,
        record: &mut Record,
        client: &mut impl Presence,
        next_try: NextTry,
    ) -> Result<FoundLink, NoConnection> {
        let charge = search.context.upstream_charge();
        let charge = charge.map_err(NoConnection::Trouble)?;
        let files_max = search.context.core.shared.files.of(charge.account());
        let mut found = match self {
            Self::Group(group) => group.connect(search, record, client, next_try, files_max).await,
            Self::Named(named) => named.connect(search, record, client, next_try, files_max).await,
        }?;
        found.link.charge(Some(charge));
        Ok(found)
    }

    /// The group, if it is one.
    pub(crate) fn as_group(&self) -> Option<&GroupDestination<'a>> {
        match self {
            Self::Group(group) => Some(group),
            Self::Named(_) => None,
        }
    }

    /// Writes a name by which the destination can be told from others: that of the upstream, or of the forward listener.
    pub(crate) fn write_name(&self, out: &mut Vec<u8>) {
        match self {
            Self::Group(group) => {
                out.extend_from_slice(b"upstream ");
                out.extend_from_slice(group.upstream.name.as_bytes());
            }
            Self::Named(named) => {
                out.extend_from_slice(b"forward ");
                out.extend_from_slice(named.forward.written.as_bytes());
            }
        }
        out.push(0);
    }

    /// How late the response may be before a hedge starts; `None`: there is no hedge.
    pub(crate) fn hedge_after(&self, request: &Request) -> Option<Duration> {
        let Self::Group(group) = self else { return None };
        let hedge = group.upstream.hedge.as_ref()?;
        // No other endpoint knows a client that is bound to one.
        let bound = group.bound.is_some() || group.login || group.once;
        if !request.method.is_idempotent() || !request.body.is_empty() || group.upgrade || bound {
            return None;
        }
        match hedge.after {
            HedgeAfter::Fixed(after) => Some(after),
            HedgeAfter::Quantile(percent) => group.group.balancer.first_byte_quantile(percent),
        }
    }

    /// Notes an endpoint whose hedge failed.
    pub(crate) fn add_tried(&mut self, other: Option<usize>) {
        if let Self::Group(group) = self {
            group.tried.extend(other);
        }
    }

    /// Continues with the endpoint of a hedge.
    pub(crate) fn replace_lease(&mut self, lease: Lease, record: &mut Record) {
        if let Self::Group(group) = self {
            record.endpoint = Some(EndpointId::new(group.id, lease.index()));
            group.lease = Some(lease);
        }
    }

    /// Reports the outcome of the try, and when it was known.
    pub(crate) fn report(&mut self, outcome: Outcome, words: &dyn Display, at: Instant) {
        if let Self::Group(group) = self
            && let Some(lease) = &mut group.lease
        {
            lease.report(outcome, words, at);
        }
    }

    /// Takes the lease, for what continues after the exchange.
    pub(crate) fn take_lease(&mut self) -> Option<Lease> {
        match self {
            Self::Group(group) => group.lease.take(),
            Self::Named(_) => None,
        }
    }

    /// The current endpoint, if the configuration names it.
    pub(crate) fn endpoint(&self) -> Option<&'a Endpoint> {
        self.as_group().and_then(GroupDestination::endpoint)
    }

    /// Writes the Host to send.
    pub(crate) fn write_host(&self, request: &Request, settings: &RouteSettings, out: &mut String) {
        let endpoint = self.as_group().and_then(GroupDestination::endpoint);
        write_host(endpoint, request, settings, out);
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

    /// Keeps a connection for one client alone.
    pub(crate) fn bind(&self, client: &BoundConnections, connection: Connection) {
        let place = match self {
            Self::Group(group) => {
                let pool = group.chosen().and_then(|index| group.group.pools.get(index));
                let Some(pool) = pool else { return };
                BoundTo::Endpoint(Rc::clone(pool))
            }
            Self::Named(named) => BoundTo::Host(named.host.into()),
        };
        client.keep(place, connection);
    }

    /// Notes how long the endpoint keeps idle connections, as it says.
    pub(crate) fn announce_keep_alive(&self, timeout: Duration) {
        if let Some(pool) = self.pool() {
            pool.announce_keep_alive(timeout);
        }
    }

    /// Drops all idle connections, as a reused one turned out to be closed: older ones are closed
    /// too.
    pub(crate) fn drop_idle(&self) {
        if let Some(pool) = self.pool() {
            pool.clear();
        }
    }

    /// Logs trouble with the destination.
    pub(crate) fn log_trouble(&self, trouble: &Trouble) {
        let endpoint = match self {
            Self::Group(group) => group.endpoint_name(),
            Self::Named(named) => named.host,
        };
        log_upstream_trouble(endpoint, trouble);
    }
}

fn write_host(
    endpoint: Option<&Endpoint>,
    request: &Request,
    settings: &RouteSettings,
    out: &mut String,
) {
    out.clear();
    out.push_str(match (&settings.host, endpoint) {
        (policy, Some(endpoint)) => rules::upstream_host(policy, &request.target, endpoint),
        (HostPolicy::Literal(host), None) => host,
        (HostPolicy::Preserve | HostPolicy::Endpoint, None) => request.target.written_authority(),
    });
}

/// Why no endpoint can be picked, for the client.
pub(crate) fn not_picked(group: &Group, why: PickError) -> Trouble {
    let kind = match why {
        PickError::Down | PickError::Tried => ErrorKind::DestinationUnavailable,
        PickError::QueueFull => ErrorKind::QueueFull,
        PickError::Full | PickError::Limited => ErrorKind::QueueTimeout,
        PickError::InFlight | PickError::Connecting => ErrorKind::CircuitOpen,
    };
    let retry_after = group.balancer.group().retry_after(why);
    Trouble::new(kind, why.words()).with_retry_after(retry_after)
}

/// What the lack of a connection says about an endpoint.
pub(crate) fn unreachable(trouble: &Trouble) -> Outcome {
    match trouble.kind {
        ErrorKind::ConnectionTimeout => Outcome::ConnectTimeout,
        _ => Outcome::Unreachable,
    }
}

impl<'a> GroupDestination<'a> {
    /// Which upstream it is.
    pub(crate) fn id(&self) -> UpstreamId {
        self.id
    }

    /// The current endpoint.
    fn chosen(&self) -> Option<usize> {
        self.lease.as_ref().map(Lease::index)
    }

    /// The cookie that binds the client to this endpoint, if it needs one.
    pub(crate) fn binding_of(&self, index: usize, secure: bool) -> Option<Binding<'a>> {
        self.sticky?.binding(self.bound, index, secure)
    }

    /// Writes the Host to send to an endpoint.
    pub(crate) fn write_host_of(
        &self,
        index: usize,
        request: &Request,
        settings: &RouteSettings,
        out: &mut String,
    ) {
        write_host(self.upstream.endpoints.get(index), request, settings, out);
    }

    fn endpoint(&self) -> Option<&'a Endpoint> {
        self.endpoint_at(self.chosen()?)
    }

    /// The endpoint with this index.
    pub(crate) fn endpoint_at(&self, index: usize) -> Option<&'a Endpoint> {
        self.upstream.endpoints.get(index)
    }

    fn endpoint_name(&self) -> &str {
        self.endpoint().map_or(&*self.upstream.name, |endpoint| &*endpoint.written)
    }

    fn pool(&self) -> Option<&Pool> {
        self.group.pools.get(self.chosen()?).map(Rc::as_ref)
    }

    async fn connect(
        &mut self,
        search: &Search<'_>,
        record: &mut Record,
        client: &mut impl Presence,
        next_try: NextTry,
        files_max: u64,
    ) -> Result<FoundLink, NoConnection> {
        let Search { context, settings, retries, .. } = *search;
        let timeouts = EndpointTimeouts::new(settings, &self.upstream.timeouts);
        let idle = self.upstream.timeouts.upstream_idle.unwrap_or(settings.upstream_idle);
        let (mut last, mut fresh) = match next_try {
            NextTry::First => (None, false),
            NextTry::SameEndpoint(failed) => (Some(failed), true),
            NextTry::OtherEndpoint(failed) => {
                self.leave_endpoint();
                (Some(failed), false)
            }
        };
        loop {
            if self.lease.is_none() {
                fresh = false;
                let mut lease = self.pick(search, record, client, last.as_ref()).await?;
                lease.set_origin(self.origin);
                self.lease = Some(lease);
            }
            let Some(index) = self.chosen() else { continue };
            if let Some(failed) = last.take() {
                record.add_retry(retries.record_retry(&failed, record.endpoint));
            }
            let endpoint = EndpointId::new(self.id, index);
            record.endpoint = Some(endpoint);
            let slot = context.view.shared.names.endpoint_slot(endpoint);
            retries.count_at(slot);
            let Some(connector) = self.connector(context, index, timeouts.connect, files_max)
            else {
                let none = Trouble::new(ErrorKind::ProxyInternalError, "no such endpoint");
                return Err(NoConnection::Trouble(none));
            };
            let link = if fresh { None } else { self.open_link(context, &connector, index, idle) };
            if let Some(link) = link {
                context.core.metrics.upstream_reused(slot);
                record.dialled = link.address();
                return Ok(FoundLink { link, timeouts });
            }
            let begun = Instant::now();
            let obtained = in_time(client, search.deadline, connector.obtain()).await?;
            if !obtained.as_ref().is_ok_and(Link::reused) {
                record.connect = Some(begun.elapsed());
            }
            let trouble = match obtained {
                Ok(link) => {
                    record.dialled = link.address();
                    return Ok(FoundLink { link, timeouts });
                }
                Err(trouble) => trouble,
            };
            if matches!(trouble.kind, ErrorKind::CircuitOpen | ErrorKind::ClientLimitReached) {
                return Err(NoConnection::Trouble(trouble)); // no other endpoint may be dialled
            }
            self.report_unreachable(context, slot, &trouble);
            if !retries.may_pass_over(&trouble) {
                return Err(NoConnection::Trouble(trouble));
            }
            last = Some(FailedTry { reason: RetryReason::Connect, status: 0, trouble });
            self.leave_endpoint();
        }
    }

    /// A connection that is open already: the client's own, or an idle one.
    fn open_link(
        &self,
        context: &Context<'_>,
        connector: &Connector<'_>,
        index: usize,
        idle: Duration,
    ) -> Option<Link> {
        let own = self.group.pools.get(index).filter(|_| self.own == Some(index));
        let own = own
            .zip(context.requester.connection)
            .and_then(|(pool, client)| client.bound.take_endpoint(pool, context.core.wheel.now()));
        match own {
            Some(connection) => Some(Link::http1(connection)),
            None => connector.available(idle),
        }
    }

    /// Counts and logs that the endpoint cannot be reached, unless a limit or a lack of our own is the reason.
    fn report_unreachable(&mut self, context: &Context<'_>, slot: EndpointSlot, trouble: &Trouble) {
        if is_our_limit(trouble.kind) {
            return;
        }
        context.core.metrics.upstream_failed(slot);
        if let Some(lease) = &mut self.lease {
            lease.report(unreachable(trouble), &trouble.detail, Instant::now());
        }
        log_upstream_trouble(self.endpoint_name(), trouble);
    }

    /// Picks another endpoint than the current one, for a hedge.
    pub(crate) fn hedge_lease(&self, context: &Context<'_>) -> Option<(Lease, EndpointSlot)> {
        let first = self.chosen()?;
        // Most requests have not been tried elsewhere, so the list needs no memory.
        let several = match &*self.tried {
            [] => Vec::new(),
            tried => [tried, &[first]].concat(),
        };
        let tried = if several.is_empty() { &[first][..] } else { &several };
        let pick = PickRequest { key: self.key, bound: None, tried, now: Instant::now() };
        let mut lease = self.group.balancer.pick(&pick).ok()?;
        lease.set_origin(self.origin);
        let endpoint = EndpointId::new(self.id, lease.index());
        Some((lease, context.view.shared.names.endpoint_slot(endpoint)))
    }

    /// Obtains a connection for a hedge.
    pub(crate) async fn hedge_link(
        &self,
        context: &Context<'_>,
        index: usize,
        slot: EndpointSlot,
        settings: &Timeouts,
    ) -> Result<Link, Trouble> {
        let charge = context.upstream_charge()?;
        let files_max = context.core.shared.files.of(charge.account());
        let limit = EndpointTimeouts::new(settings, &self.upstream.timeouts).connect;
        let idle = self.upstream.timeouts.upstream_idle.unwrap_or(settings.upstream_idle);
        let Some(connector) = self.connector(context, index, limit, files_max) else {
            return Err(Trouble::new(ErrorKind::ProxyInternalError, "no such endpoint"));
        };
        let mut link = match connector.available(idle) {
            Some(link) => {
                context.core.metrics.upstream_reused(slot);
                link
            }
            None => connector.obtain().await?,
        };
        link.charge(Some(charge));
        Ok(link)
    }

    /// The current endpoint failed: gives it up.
    fn leave_endpoint(&mut self) {
        self.tried.extend(self.chosen());
        self.lease = None;
    }

    /// Picks an endpoint. If all were tried, picks one of them again after a pause.
    async fn pick(
        &mut self,
        search: &Search<'_>,
        record: &Record,
        client: &mut impl Presence,
        last: Option<&FailedTry>,
    ) -> Result<Lease, NoConnection> {
        loop {
            // The first pick uses the time at which the exchange began: it is recent enough.
            let now = if last.is_none() { record.started } else { Instant::now() };
            let bound = self.own.or(self.bound);
            let pick = PickRequest { key: self.key, bound, tried: &self.tried, now };
            let mut picked = self.group.balancer.pick(&pick);
            if picked.as_ref().is_err_and(|why| why.may_wait()) {
                picked = self.queue(search, client, &pick).await?;
            }
            let why = match picked {
                Ok(lease) => return Ok(lease),
                Err(why) => why,
            };
            let Some(failed) = last else {
                return Err(NoConnection::Trouble(not_picked(self.group, why)));
            };
            let pause = match why {
                PickError::Tried => search.retries.backoff(failed),
                _ => None,
            };
            let Some(pause) = pause else {
                return Err(NoConnection::Trouble(failed.trouble.clone()));
            };
            in_time(client, search.deadline, Box::pin(tokio::time::sleep(pause))).await?;
            self.tried.clear();
        }
    }

    /// Waits until an endpoint has room, for as long as the queue allows.
    async fn queue(
        &self,
        search: &Search<'_>,
        client: &mut impl Presence,
        pick: &PickRequest<'_>,
    ) -> Result<Result<Lease, PickError>, NoConnection> {
        let limit = self.upstream.queue.wait;
        // A queued request is rare: it allocates, so that the others need not.
        let waiting = Box::pin(tokio::time::timeout(limit, self.group.balancer.wait(pick)));
        in_time(client, search.deadline, waiting).await?.map_err(|_| {
            let detail = "no endpoint had room for the request in time";
            NoConnection::Trouble(Trouble::new(ErrorKind::QueueTimeout, detail))
        })
    }

    fn connector<'w>(
        &'w self,
        context: &'w Context<'w>,
        index: usize,
        limit: Duration,
        files_max: u64,
    ) -> Option<Connector<'w>> {
        let (upgrade, http1, avoid) = (self.upgrade, self.http1, self.avoid.as_ref());
        let raw = self.raw;
        let needs = LinkNeeds { limit, files_max: Some(files_max), upgrade, http1, raw, avoid };
        Connector::to(context.core, context.view, (self.id, index), needs)
    }
}

/// A client that waits for a connection and may leave before there is one.
pub(crate) trait Presence {
    /// Ready once the client has left.
    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()>;
}

/// A client, seen by the body of its request.
impl<S: Source> Presence for S {
    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.poll_peer_gone(cx)
    }
}

/// Awaits the future, unless the client leaves first.
pub(crate) async fn unless_client_gone<T>(
    client: &mut impl Presence,
    future: impl Future<Output = T>,
) -> Option<T> {
    in_time(client, None, future).await.ok()
}

/// Awaits the future, unless the client leaves or the deadline passes first.
pub(crate) async fn in_time<T>(
    client: &mut impl Presence,
    deadline: Option<&Deadline>,
    future: impl Future<Output = T>,
) -> Result<T, NoConnection> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(NoConnection::ClientGone));
        }
        match deadline {
            Some(deadline) => {
                deadline.poll_passed(cx).map(|()| Err(NoConnection::Trouble(deadline.trouble())))
            }
            None => Poll::Pending,
        }
    })
    .await
}
