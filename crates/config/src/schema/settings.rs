//! Times and limits: settings that one table each defines and every level inherits.

use std::time::Duration;

use super::{ArgumentRow, Block, Count, Kind, NodeRow, Secrecy};
use crate::model::{Limits, Timeouts, UpstreamTimeouts};
use crate::values::{Datum, duration_text, size_text};

/// Where a `timeouts` or `limits` block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Top,
    Listen,
    Site,
    Route,
    Upstream,
    Forward,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Top => "the top level",
            Self::Listen => "listen",
            Self::Site => "site",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Forward => "forward",
        }
    }
}

/// One time or limit.
pub(crate) struct Setting<T: 'static> {
    pub(crate) row: NodeRow,
    /// Where it makes sense, beside the top level.
    pub(crate) scopes: &'static [Scope],
    /// Puts a value in.
    pub(crate) set: fn(&mut T, &Datum),
    /// How the value is written; empty: it is not set.
    pub(crate) text: fn(&T) -> String,
}

impl<T> Setting<T> {
    pub(crate) fn holds_in(&self, scope: Scope) -> bool {
        scope == Scope::Top || self.scopes.contains(&scope)
    }
}

/// The settings of a table that make sense somewhere.
struct Scoped<T: 'static> {
    name: &'static str,
    table: &'static [Setting<T>],
    scope: Scope,
}

impl<T> Block for Scoped<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn row(&self, name: &str) -> Option<&'static NodeRow> {
        let found = self.table.iter().find(|setting| setting.row.name == name)?;
        found.holds_in(self.scope).then_some(&found.row)
    }

    fn rows(&self) -> Vec<&'static NodeRow> {
        let held = self.table.iter().filter(|setting| setting.holds_in(self.scope));
        held.map(|setting| &setting.row).collect()
    }

    fn scope(&self) -> Option<Scope> {
        Some(self.scope)
    }
}

macro_rules! scoped {
    ($(#[$doc:meta])* $function:ident, $name:literal, $of:ty, $table:ident) => {
        $(#[$doc])*
        pub(crate) const fn $function(scope: Scope) -> &'static dyn Block {
            const fn of(scope: Scope) -> Scoped<$of> {
                Scoped { name: $name, table: $table, scope }
            }
            static TOP: Scoped<$of> = of(Scope::Top);
            static LISTEN: Scoped<$of> = of(Scope::Listen);
            static SITE: Scoped<$of> = of(Scope::Site);
            static ROUTE: Scoped<$of> = of(Scope::Route);
            static UPSTREAM: Scoped<$of> = of(Scope::Upstream);
            static FORWARD: Scoped<$of> = of(Scope::Forward);
            match scope {
                Scope::Top => &TOP,
                Scope::Listen => &LISTEN,
                Scope::Site => &SITE,
                Scope::Route => &ROUTE,
                Scope::Upstream => &UPSTREAM,
                Scope::Forward => &FORWARD,
            }
        }
    };
}

scoped!(
    /// The block `timeouts`, where it stands.
    timeouts_block, "timeouts", Timeouts, TIMEOUTS
);
scoped!(
    /// The block `limits`, where it stands.
    limits_block, "limits", Limits, LIMITS
);

/// Holds before a site is known, and for tunnels and bodies of forward clients.
const EARLY: &[Scope] = &[Scope::Listen, Scope::Forward];
/// Holds once the route is known.
const LATE: &[Scope] = &[Scope::Site, Scope::Route, Scope::Forward];
/// Holds once the endpoint is known.
const BACK: &[Scope] = &[Scope::Site, Scope::Route, Scope::Forward, Scope::Upstream];

/// Makes a table, and the list of its rows for a block.
macro_rules! settings {
    ($table:ident: $of:ty, $($scopes:ident $name:literal $kind:expr, $set:expr, $text:expr, $doc:literal;)*) => {
        pub(crate) static $table: &[Setting<$of>] = &[$(Setting {
            row: NodeRow {
                name: $name,
                arguments: &[ArgumentRow { name: "value", kind: $kind, count: Count::One, secrecy: Secrecy::Open }],
                doc: $doc,
                ..NodeRow::NEW
            },
            scopes: $scopes,
            set: $set,
            text: $text,
        }),*];
    };
}

const DURATION: Kind = Kind::Duration { zero: false };
const DURATION_OR_OFF: Kind = Kind::Duration { zero: true };

settings! { TIMEOUTS: Timeouts,
    EARLY "head" DURATION, |t, v| t.head = v.duration(), |t| duration_text(t.head),
        "The time for a complete request head to arrive, from its first byte; a slower one gets 408. Over HTTP/2 it applies to every frame and field block except content, whatever else the connection does; then GOAWAY. It also limits the TLS handshake with a client, from the start of the connection (the handshake with an endpoint counts as part of `connect`), and the PROXY protocol header or the HTTP/2 preface. Too short, it cuts off distant clients on bad lines; too long, idle clients can hold connections.";
    EARLY "client-idle" DURATION, |t, v| t.client_idle = v.duration(), |t| duration_text(t.client_idle),
        "The time for an idle client connection to begin its next request; then it is closed. A connection is idle only when the client has received all responses: while one is under way, `stream-idle` and `slow-rate` apply. If this is shorter than the keep-alive time of a load balancer in front, that balancer sees closed connections.";
    BACK "connect" DURATION, |t, v| t.connect = v.duration(), |t| duration_text(t.connect),
        "The time to connect to an endpoint or destination, over all its addresses. Then another endpoint is tried, or the client gets 504.";
    BACK "first-byte" DURATION_OR_OFF, |t, v| t.first_byte = v.duration(), |t| duration_text(t.first_byte),
        "The time from the end of the request (when the endpoint's side has received its body) to the first byte of the response; then 504. `0s`: no limit. Raise it for slow reports and long polls.";
    BACK "stream-idle" DURATION_OR_OFF, |t, v| t.stream_idle = v.duration(), |t| duration_text(t.stream_idle),
        "The time without a byte while a message is under way: for a peer that sends, in either direction; for a peer that receives, without a byte acknowledged by its side. `0s`: no limit. Raise it for event streams that are silent for longer. A shorter time cuts off readers that pause (players, downloads on bad lines).";
    LATE "tunnel-idle" DURATION_OR_OFF, |t, v| t.tunnel_idle = v.duration(), |t| duration_text(t.tunnel_idle),
        "The time without a byte in either direction of a tunnel (CONNECT, WebSocket). `0s`: no limit.";
    BACK "upstream-idle" DURATION_OR_OFF, |t, v| t.upstream_idle = v.duration(), |t| duration_text(t.upstream_idle),
        "How long an idle upstream connection may be reused (`0s`: never). The proxy lowers it by what it sees the peer do. Keep it below the endpoint's own keep-alive time.";
    LATE "slow-rate" Kind::Size { min: 0, max: u64::MAX }, |t, v| t.slow_rate = v.number(), |t| size_text(t.slow_rate),
        "Bytes per second that a client must keep up on average, over all the time that the proxy waited for it, beyond `slow-grace`; slower clients are cut off. It applies to what a client receives, by what its side has acknowledged, and to the request body until the response begins, except with gRPC. `0`: none. A higher rate cuts off clients on slow lines first.";
    LATE "slow-grace" DURATION, |t, v| t.slow_grace = Some(v.duration()), |t| optional(t.slow_grace),
        "How long the proxy waits for a client in total before `slow-rate` applies. Unless set: 20 s for what the client sends, `stream-idle` for what it receives, so that a reader may pause at any time.";
    LATE "request" DURATION_OR_OFF, |t, v| t.request = v.duration(), |t| duration_text(t.request),
        "The time for a whole exchange, from the request head to the last byte of the response. It also limits files and other responses that the proxy makes itself. `0s`: no limit.";
}

settings! { LIMITS: Limits,
    EARLY "head-bytes" Kind::Size { min: 1024, max: 60 * 1024 }, |l, v| l.head_bytes = v.number() as u32, |l| size_text(l.head_bytes.into()),
        "Bytes of a request head, including the request line; more gets 431.";
    EARLY "head-fields" Kind::Number { min: 1, max: 1000 }, |l, v| l.head_fields = v.number() as u16, |l| l.head_fields.to_string(),
        "Fields of a request head; more gets 431.";
    EARLY "target-bytes" Kind::Size { min: 64, max: 60 * 1024 }, |l, v| l.target_bytes = v.number() as u32, |l| size_text(l.target_bytes.into()),
        "Bytes of a request target; more gets 414.";
    LATE "body" Kind::Limit, |l, v| l.body_bytes = v.limit(), |l| l.body_bytes.map_or_else(|| "off".into(), size_text),
        "Bytes of a request body; more gets 413. `off`: no limit. Bodies are streamed and never held whole, so a limit protects the endpoint, not the proxy.";
    EARLY "connections-per-client" Kind::Number { min: 1, max: u32::MAX as u64 }, |l, v| l.connections_per_client = v.number() as u32, |l| l.connections_per_client.to_string(),
        "Concurrent connections from one client address (with the PROXY protocol, the address in its header); the proxy closes further ones at once. Connections of `trusted-proxies` do not count, as they carry many clients.";
    EARLY "upstream-connections-per-client" Kind::Number { min: 1, max: u32::MAX as u64 }, |l, v| l.upstream_connections_per_client = v.number() as u32, |l| l.upstream_connections_per_client.to_string(),
        "Concurrent upstream connections that the requests and tunnels of one client address have to themselves (HTTP/2 streams to an endpoint share theirs, and idle ones belong to no client); more gets 503. As many as the client could have over HTTP/1.1, so that HTTP/2 streams do not multiply them.";
    EARLY "ipv6-prefix" Kind::Number { min: 16, max: 128 }, |l, v| l.ipv6_prefix = v.number() as u8, |l| l.ipv6_prefix.to_string(),
        "How many leading bits of an IPv6 address identify one client, in everything that the proxy counts per client. `64`: the network of one link; a single machine can have all of its addresses. `56` or `48`: what a household or a company gets from its provider.";
    EARLY "streams" Kind::Number { min: 1, max: 10_000 }, |l, v| l.streams = v.number() as u32, |l| l.streams.to_string(),
        "Concurrent requests on one HTTP/2 connection; the proxy refuses further ones, and the client may send them again.";
    EARLY "streams-per-client" Kind::Number { min: 1, max: u32::MAX as u64 }, |l, v| l.streams_per_client = v.number() as u32, |l| l.streams_per_client.to_string(),
        "Concurrent requests on all HTTP/2 connections of one client address; the proxy refuses further ones (REFUSED_STREAM), and the client may send them again. Connections of `trusted-proxies` do not count. Each request uses up to 32 KiB as long as the client does not read its response.";
    EARLY "requests-per-connection" Kind::Number { min: 0, max: u32::MAX as u64 }, |l, v| l.requests_per_connection = v.number() as u32, |l| l.requests_per_connection.to_string(),
        "Requests that one client connection carries before it is closed. Over HTTP/1 the last response has `Connection: close`. Over HTTP/2 the proxy asks the client to open another connection (GOAWAY) and serves what the client has begun meanwhile. `0`: no limit. Helps where a load balancer in front spreads connections, not requests.";
    EARLY "buffered-bytes-per-client" Kind::Size { min: 64 * 1024, max: 1 << 40 }, |l, v| l.buffered_bytes_per_client = v.number(), |l| size_text(l.buffered_bytes_per_client),
        "Bytes of HTTP/2 responses that the proxy reads ahead for one client address, on all its connections. Beyond that, it reads the client's responses from endpoints in pieces of 16 KiB that wait for the client: slower, but nothing is lost. Connections of `trusted-proxies` do not count.";
}

fn optional(value: Option<Duration>) -> String {
    value.map(duration_text).unwrap_or_default()
}

settings! { UPSTREAM_TIMEOUTS: UpstreamTimeouts,
    BACK "connect" DURATION, |t, v| t.connect = Some(v.duration()), |t| optional(t.connect), "";
    BACK "first-byte" DURATION_OR_OFF, |t, v| t.first_byte = Some(v.duration()), |t| optional(t.first_byte), "";
    BACK "stream-idle" DURATION_OR_OFF, |t, v| t.stream_idle = Some(v.duration()), |t| optional(t.stream_idle), "";
    BACK "upstream-idle" DURATION_OR_OFF, |t, v| t.upstream_idle = Some(v.duration()), |t| optional(t.upstream_idle), "";
}
