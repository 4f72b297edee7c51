//! Upstreams: groups of endpoints, and how requests are spread over them, sent again and held back.
//!
//! Every default is filled in. What a snapshot serves is the same type with the endpoints that
//! discovery has found put in the place of those written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Place, UpstreamId};
use crate::tls::{UpstreamProtocol, UpstreamTls};

/// A group of endpoints.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name; for one written inline the endpoints as written, joined by commas.
    pub name: Arc<str>,
    /// Whether it was written inline, in a `to`.
    pub inline: bool,
    /// The line of it.
    pub place: Place,
    /// Its endpoints; empty only if there are `sources`.
    pub endpoints: Vec<Endpoint>,
    /// Where more endpoints come from while the process runs.
    pub sources: Vec<Source>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Whether a client stays with the endpoint that it had before.
    pub sticky: Option<Sticky>,
    /// Share of a tier (zone or priority) that must be up for it to take all requests, in percent;
    /// below, its load spills over to the next tier.
    pub spill: u8,
    /// How long an endpoint that comes (back) takes to get its full share; zero: at once.
    pub slow_start: Duration,
    /// How endpoints are checked; none: only by what requests show.
    pub health: Vec<Health>,
    /// When an endpoint is let be for a while because of what requests show.
    pub ejection: Option<Ejection>,
    /// What is done when every endpoint is down.
    pub panic: Panic,
    /// When a request is sent again.
    pub retry: Retry,
    /// When a second try is begun beside a slow one.
    pub hedge: Option<Hedge>,
    /// How many requests may wait for an endpoint that has room, and how long.
    pub queue: Queue,
    /// What the upstream as a whole takes at once.
    pub breaker: Breaker,
    /// Whether the number of requests at once is found out by their latency.
    pub adaptive: Option<Adaptive>,
    /// How the time that is left is told to the endpoint.
    pub deadline: Deadline,
    /// How connections are kept.
    pub pool: PoolSettings,
    /// Times set for the upstream; they win over the route's.
    pub timeouts: UpstreamTimeouts,
    /// TLS towards those endpoints that have it.
    pub tls: UpstreamTls,
    /// Which HTTP is spoken.
    pub protocol: UpstreamProtocol,
}

impl Upstream {
    /// One with every default.
    pub fn new(name: impl Into<Arc<str>>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            inline: false,
            place: Place::default(),
            endpoints,
            sources: Vec::new(),
            balance: Balance::default(),
            sticky: None,
            spill: 70,
            slow_start: Duration::ZERO,
            health: Vec::new(),
            ejection: Some(Ejection::default()),
            panic: Panic::Fail,
            retry: Retry::default(),
            hedge: None,
            queue: Queue::default(),
            breaker: Breaker::default(),
            adaptive: None,
            deadline: Deadline::default(),
            pool: PoolSettings::default(),
            timeouts: UpstreamTimeouts::default(),
            tls: UpstreamTls::default(),
            protocol: UpstreamProtocol::default(),
        }
    }
}

/// Times that an upstream sets itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTimeouts {
    /// See [`Timeouts::connect`](crate::Timeouts::connect).
    pub connect: Option<Duration>,
    /// See [`Timeouts::first_byte`](crate::Timeouts::first_byte).
    pub first_byte: Option<Duration>,
    /// See [`Timeouts::stream_idle`](crate::Timeouts::stream_idle).
    pub stream_idle: Option<Duration>,
    /// See [`Timeouts::upstream_idle`](crate::Timeouts::upstream_idle).
    pub upstream_idle: Option<Duration>,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The line of it, or of the source that it comes from.
    pub place: Place,
    /// As written, for people, logs and metrics; unique in its upstream.
    pub written: Arc<str>,
    /// Where it is.
    pub address: EndpointAddress,
    /// The name that the address was found by, if discovery made an endpoint of each address: it is
    /// what TLS asks for.
    pub host: Option<Arc<str>>,
    /// Its share of the requests, 1 to 1000.
    pub weight: u16,
    /// Whether it is spoken to over TLS (`https://`).
    pub tls: bool,
    /// Where it stands; those of the process's own zone are taken first.
    pub zone: Option<Arc<str>>,
    /// Lower ones are taken first, 0 if not said.
    pub priority: u16,
    /// Whether it is taken only when no other is up.
    pub backup: bool,
    /// Requests at once at most, over all cores; `None`: no limit.
    pub max: Option<u32>,
    /// What is made of a name with several addresses.
    pub addresses: Addresses,
    /// Whether it gets no new clients: only those that are bound to it.
    pub draining: bool,
}

impl Endpoint {
    /// One with every default.
    pub fn new(written: impl Into<Arc<str>>, address: EndpointAddress) -> Self {
        Self {
            place: Place::default(),
            written: written.into(),
            address,
            host: None,
            weight: 1,
            tls: false,
            zone: None,
            priority: 0,
            backup: false,
            max: None,
            addresses: Addresses::default(),
            draining: false,
        }
    }
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// An address.
    Ip(SocketAddr),
    /// A name, looked up again by its TTL.
    Name {
        /// In lower case.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// What is made of a name with several addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// An endpoint for each if one family has several, else a single endpoint.
    #[default]
    Auto,
    /// An endpoint for each.
    Each,
    /// One server that all of them lead to: the first that answers is taken.
    One,
}

/// Where endpoints come from while the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The line of it.
    pub place: Place,
    /// What it is.
    pub kind: SourceKind,
    /// Whether the endpoints are spoken to over TLS.
    pub tls: bool,
}

/// A kind of source of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// `SRV` records of this name (RFC 2782), such as `_http._tcp.app.internal`.
    Srv(Arc<str>),
    /// A JSON file, watched.
    File(PathBuf),
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// The line of it.
    pub place: Place,
    /// The row of `balance::ALGORITHMS`, by name.
    pub algorithm: Box<str>,
    /// What a key is made of, for those that go by one: the first that a request has; the client's
    /// address if it has none of them.
    pub keys: Vec<KeyPart>,
    /// Bounded loads: an endpoint takes at most so many times the average of requests in flight, in
    /// percent (above 100); `None`: no bound.
    pub bound: Option<u16>,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            place: Place::default(),
            algorithm: "p2c".into(),
            keys: Vec::new(),
            bound: Some(125),
        }
    }
}

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The first field of this name.
    Header(Box<str>),
    /// The cookie of this name.
    Cookie(Box<str>),
    /// The parameter of the query of this name.
    Query(Box<str>),
    /// The canonical path.
    Path,
    /// The client's address.
    Address,
}

/// Clients stay with the endpoint they had, by a cookie of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The line of it.
    pub place: Place,
    /// The cookie's name.
    pub cookie: Box<str>,
    /// How long the client keeps it; `None`: until it ends.
    pub max_age: Option<Duration>,
    /// Its path.
    pub path: Box<str>,
    /// Its domain; `None`: the host that was asked for, alone.
    pub domain: Option<Box<str>>,
    /// Whether it goes over TLS only; `None`: if it came over TLS.
    pub secure: Option<bool>,
    /// Whether scripts do not see it.
    pub http_only: bool,
    /// Which other sites' requests it goes with.
    pub same_site: SameSite,
    /// A file with the secret that it is made with; `None`: one of our own in the state directory.
    pub key_file: Option<PathBuf>,
}

/// The attribute of the same name of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameSite {
    /// It is left out.
    Unset,
    /// `Strict`.
    Strict,
    /// `Lax`.
    #[default]
    Lax,
    /// `None`.
    None,
}

/// How endpoints are checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The line of it.
    pub place: Place,
    /// What is done.
    pub check: Check,
    /// From one check of an endpoint to the next.
    pub every: Duration,
    /// The same while the endpoint is down.
    pub every_down: Duration,
    /// How far these times vary by chance, in percent of them.
    pub jitter: u8,
    /// How long a check may take.
    pub timeout: Duration,
    /// Good checks in a row after which an endpoint is up.
    pub rise: u32,
    /// Bad ones after which it is down.
    pub fall: u32,
    /// Another port than that of the endpoint.
    pub port: Option<u16>,
}

impl Health {
    /// This check with every default.
    pub fn new(check: Check) -> Self {
        Self {
            place: Place::default(),
            check,
            every: Duration::from_secs(5),
            every_down: Duration::from_secs(15),
            jitter: 10,
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            port: None,
        }
    }
}

impl Health {
    /// The check, if it is one by HTTP.
    pub(crate) fn http(&self) -> Option<&HttpCheck> {
        if let Check::Http(check) = &self.check { Some(check) } else { None }
    }

    /// Changes the check, if it is one by HTTP.
    pub(crate) fn http_mut(&mut self, change: impl FnOnce(&mut HttpCheck)) {
        if let Check::Http(check) = &mut self.check {
            change(check);
        }
    }
}

/// What a check does.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Connects (and shakes hands, if the endpoint has TLS).
    Tcp,
    /// Asks for something.
    Http(HttpCheck),
    /// Asks by `grpc.health.v1.Health/Check`, for this service; empty: for the server as a whole.
    Grpc(Box<str>),
}

/// A check by HTTP, in the protocol that the upstream speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCheck {
    /// The method, such as GET.
    pub method: Box<str>,
    /// Path and query.
    pub path: Box<str>,
    /// The Host; `None`: the endpoint as written.
    pub host: Option<Box<str>>,
    /// Statuses that are good, both ends in.
    pub statuses: Vec<(u16, u16)>,
    /// Text that the first 64 KiB of the body must have.
    pub body: Option<Box<str>>,
    /// Fields that are sent.
    pub fields: Vec<(Box<str>, Box<str>)>,
}

/// When an endpoint is let be for a while because of what requests show.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// The line of it.
    pub place: Place,
    /// Failures in a row (connections, resets, time-outs, 5xx) after which it is; 0: never.
    pub consecutive: u32,
    /// Whether it is when it does clearly worse than the others, by rate of failures.
    pub failures: bool,
    /// The same by latency: when its mean is more than so many times the group's median; 0: never.
    pub latency: f32,
    /// Requests that an endpoint must have had within the window to be compared.
    pub requests_min: u32,
    /// What is looked at.
    pub window: Duration,
    /// How long the first term is; each further one is twice as long.
    pub term: Duration,
    /// The longest.
    pub term_max: Duration,
    /// The largest share of the endpoints that may be ejected at once for what they answer, in
    /// percent. The last one never is.
    pub share: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            place: Place::default(),
            consecutive: 5,
            failures: true,
            latency: 0.0,
            requests_min: 50,
            window: Duration::from_secs(10),
            term: Duration::from_secs(2),
            term_max: Duration::from_secs(300),
            share: 50,
        }
    }
}

/// What is done when every endpoint is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Panic {
    /// 503 at once.
    #[default]
    Fail,
    /// All are tried as if they were up.
    Spread,
}

/// When a request is sent again. Only what can be replayed is.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The line of it.
    pub place: Place,
    /// Tries in all, the first one too; 1: none again.
    pub tries: u8,
    /// When there is no connection.
    pub connect: bool,
    /// When an endpoint says that it did nothing (REFUSED_STREAM, GOAWAY).
    pub refused: bool,
    /// When the connection ends before the first byte of a response (idempotent requests).
    pub reset: bool,
    /// When no response begins in time (idempotent requests).
    pub timeout: bool,
    /// When the response has one of these (idempotent requests).
    pub statuses: Vec<u16>,
    /// How many may be sent again, in percent of the requests of the last ten seconds.
    pub budget: u8,
    /// So many per second are always allowed.
    pub budget_min: u32,
    /// Bytes of a request's body that are kept to be sent again; longer ones are sent once.
    pub buffer: u32,
    /// How long one try may take to begin a response; `None`: `first-byte` alone counts.
    pub try_timeout: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            place: Place::default(),
            tries: 3,
            connect: true,
            refused: true,
            reset: true,
            timeout: true,
            statuses: Vec::new(),
            budget: 20,
            budget_min: 3,
            buffer: 64 * 1024,
            try_timeout: None,
        }
    }
}

/// When a second try of an idempotent request without body is begun beside a slow one.
#[derive(Debug, Clone, PartialEq)]
pub struct Hedge {
    /// The line of it.
    pub place: Place,
    /// After how long.
    pub after: HedgeAfter,
}

/// After how long a second try is begun.
#[derive(Debug, Clone, PartialEq)]
pub enum HedgeAfter {
    /// When a request takes longer than this share of those before it, in percent, such as 95.
    Quantile(u8),
    /// After this time.
    Fixed(Duration),
}

/// How many requests may wait for an endpoint that has room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// At once, over all cores; more get 503.
    pub max: u32,
    /// How long; then 503.
    pub wait: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { max: 1024, wait: Duration::from_secs(5) }
    }
}

/// What an upstream as a whole takes at once; what is beyond gets 503 at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Requests in flight.
    pub in_flight: Option<u32>,
    /// Connections being opened.
    pub connecting: Option<u32>,
}

/// The number of requests at once follows their latency.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptive {
    /// The line of it.
    pub place: Place,
    /// Never below this.
    pub min: u32,
    /// Never above this.
    pub max: u32,
}

/// How the time that is left is told to the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// A field that gets it, in milliseconds; `None`: none does.
    pub field: Option<Box<str>>,
    /// Whether `grpc-timeout` is heeded and passed on, shortened by the time spent.
    pub grpc: bool,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { field: None, grpc: true }
    }
}

/// How connections to an endpoint are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Idle ones at most, per endpoint and core.
    pub max: u32,
    /// Idle ones that are opened ahead, per endpoint, all cores together.
    pub min: u32,
    /// How long one is used at most (it varies by a tenth); zero: no limit.
    pub lifetime: Duration,
    /// Whether a core takes an idle one of another core rather than open one.
    pub steal: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max: 1024, min: 0, lifetime: Duration::ZERO, steal: true }
    }
}

/// A copy of requests to another upstream, whose answers nobody waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// The line of it.
    pub place: Place,
    /// Where the copies go.
    pub upstream: UpstreamId,
    /// How many of the requests, in hundredths of a percent (10 000: all).
    pub share: u16,
    /// Requests with a longer body are not copied.
    pub body_max: u32,
    /// The maximum of copies in flight, per core; further requests are not copied.
    pub in_flight: u32,
}

/// Requests that are split between upstreams.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Where to, and how many of the requests, in hundredths of a percent; all together 10 000.
    pub parts: Vec<SplitPart>,
    /// How a client stays with its part.
    pub stay: Stay,
}

/// A part of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitPart {
    /// The line of it.
    pub place: Place,
    /// Where to.
    pub upstream: UpstreamId,
    /// Hundredths of a percent.
    pub share: u16,
}

/// How a client stays with its part of a split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stay {
    /// It does not: each request is decided anew.
    No,
    /// By its address.
    #[default]
    Address,
    /// By a cookie of this name.
    Cookie(Box<str>),
}
