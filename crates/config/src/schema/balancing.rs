//! The nodes of `upstream`.

use super::Count::{AtLeastOne, One, Optional};
use super::rows::{ALGORITHMS, UPSTREAM_TIMEOUTS, argument, property, rows, word};
use super::secure::{PROTOCOL, UPSTREAM_TLS};
use super::{Kind, NamedRows, NodeRow, WordRow};

pub(crate) static UPSTREAM_BLOCK: NamedRows = rows(
    "upstream",
    &[
        &ENDPOINT,
        &SRV,
        &ENDPOINTS,
        &PROTOCOL,
        &UPSTREAM_TLS,
        &BALANCE,
        &STICKY,
        &SPILL,
        &SLOW_START,
        &HEALTH,
        &EJECT,
        &PANIC,
        &RETRY,
        &HEDGE,
        &QUEUE,
        &BREAKER,
        &ADAPTIVE,
        &DEADLINE,
        &POOL,
        &UPSTREAM_TIMEOUTS,
    ],
);

const DURATION: Kind = Kind::Duration { zero: false };
const DURATION_OR_ZERO: Kind = Kind::Duration { zero: true };
const COUNT: Kind = Kind::Number { min: 1, max: 1_000_000 };

/// `off`, alone behind the name.
const OFF: &[WordRow] = &[word("off", "it is not done")];

const ADDRESSES: &[WordRow] = &[
    word("auto", "as `each` if one family has several, else as `one`"),
    word("each", "an endpoint of each"),
    word("one", "one server that all of them lead to; the first that answers is taken"),
];

static ENDPOINT: NodeRow = NodeRow {
    name: "to",
    arguments: &[argument("endpoint", Kind::Endpoint, AtLeastOne)],
    properties: &[
        property(
            "weight",
            Kind::Number { min: 1, max: 1000 },
            "1",
            "Its share of the requests, beside that of the others.",
        ),
        property(
            "zone",
            Kind::Token,
            "",
            "Where it stands. Those in the `zone` of the process are taken first, see `spill`.",
        ),
        property(
            "priority",
            Kind::Number { min: 0, max: 65_535 },
            "0",
            "Lower ones are taken first, see `spill`.",
        ),
        property(
            "backup",
            Kind::Flag,
            "#false",
            "Whether it is taken only when none of the others is up.",
        ),
        property(
            "max",
            COUNT,
            "",
            "Requests at once at most, over all cores; when every endpoint is full, requests wait in the `queue`.",
        ),
        property(
            "drain",
            Kind::Flag,
            "#false",
            "Whether it gets no new clients: only those whose `sticky` cookie names it.",
        ),
        property(
            "addresses",
            Kind::Word(ADDRESSES),
            "auto",
            "What is made of a name with several addresses.",
        ),
    ],
    repeats: true,
    doc: "An endpoint, `https://` for one that is spoken to over TLS. Names are looked up again when their time to live is over; the proxy starts even if they cannot be, and a name that stops resolving keeps the addresses it had. One that stands here twice is one endpoint, and its weights add up.",
    example: "upstream app {\n    to \"10.0.0.1:8080\" weight=3 zone=\"eu-1a\"\n    to \"10.0.0.2:8080\" max=100 zone=\"eu-1b\"\n    to \"unix:/run/app.sock\" backup=#true\n}\nprocess { zone \"eu-1a\" }\nsite { to app }",
    ..NodeRow::NEW
};

static SRV: NodeRow = NodeRow {
    name: "srv",
    arguments: &[argument("name", Kind::Host, One)],
    properties: &[property(
        "tls",
        Kind::Flag,
        "#false",
        "Whether the endpoints are spoken to over TLS.",
    )],
    repeats: true,
    doc: "Endpoints from the `SRV` records of a name (RFC 2782), with their ports, weights and priorities, looked up again when their time to live is over. The proxy starts even if they cannot be.",
    default: "none",
    example: "upstream app { srv \"_http._tcp.app.internal\" }\nsite { to app }",
    ..NodeRow::NEW
};

static ENDPOINTS: NodeRow = NodeRow {
    name: "endpoints",
    arguments: &[argument("file", Kind::Path, One)],
    properties: &[property(
        "tls",
        Kind::Flag,
        "#false",
        "Whether those are spoken to over TLS whose `address` does not say so.",
    )],
    repeats: true,
    doc: "Endpoints from a JSON file, which is read again whenever it changes: `{\"endpoints\": [{\"address\": \"10.0.0.1:8080\", \"weight\": 3}]}`. `address` is written as behind `to`; `weight`, `zone`, `priority`, `backup`, `max` and `drain` mean what they mean there. While the file cannot be used, the endpoints that it had before go on, and the error log says why.",
    default: "none",
    example: "upstream app { endpoints \"app-endpoints.json\" }\nsite { to app }",
    ..NodeRow::NEW
};

static BALANCE: NodeRow = NodeRow {
    name: "balance",
    arguments: &[argument("algorithm", Kind::Word(ALGORITHMS), One)],
    properties: &[property(
        "bound",
        Kind::PercentOrOff { min: 101, max: 1000 },
        "125%",
        "For those that go by a key: an endpoint takes at most so many times the average of requests under way, and what is beyond goes to the next one; with fewer than 8 under way it takes what comes. `off`: no bound.",
    )],
    block: Some(&BALANCE_BLOCK),
    doc: "How an endpoint is chosen among those that are up.",
    default: "p2c",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    balance ring bound=\"150%\" {\n        by header=\"X-User\"\n        by cookie=\"session\"\n    }\n}\nsite { to app }",
    ..NodeRow::NEW
};

pub(crate) static BALANCE_BLOCK: NamedRows = rows("balance", &[&BY]);

const KEYS: &[WordRow] =
    &[word("path", "the canonical path"), word("address", "the client's address")];

static BY: NodeRow = NodeRow {
    name: "by",
    arguments: &[argument("part", Kind::Word(KEYS), Optional)],
    properties: &[
        property("header", Kind::FieldName, "", "The value of this field."),
        property("cookie", Kind::Token, "", "The value of this cookie."),
        property("query", Kind::Text, "", "The value of this parameter of the query."),
    ],
    repeats: true,
    doc: "What the key is made of, for algorithms that go by one. Of several, the first that a request has counts; if it has none of them, the client's address.",
    default: "address",
    ..NodeRow::NEW
};

const SAME_SITE: &[WordRow] = &[
    word("lax", "not with requests that other sites make, save for following a link"),
    word("strict", "with no request that comes from another site"),
    word("none", "with every request; browsers want `secure` then"),
    word("unset", "the browser decides"),
];

static STICKY: NodeRow = NodeRow {
    name: "sticky",
    arguments: &[argument("cookie", Kind::Token, One)],
    properties: &[
        property("max-age", DURATION, "", "How long the client keeps it; without: until it ends."),
        property("path", Kind::CookiePath, "/", "Its path."),
        property("domain", Kind::Host, "", "Its domain; without: the host that was asked for."),
        property(
            "secure",
            Kind::Flag,
            "",
            "Whether it goes over TLS only; without: if the request came over TLS.",
        ),
        property("http-only", Kind::Flag, "#true", "Whether scripts do not see it."),
        property("same-site", Kind::Word(SAME_SITE), "lax", "Which requests it goes with."),
        property(
            "key-file",
            Kind::Path,
            "",
            "A file with the secret that it is authenticated with, at least 16 bytes, the same on every proxy that serves the site; without: one that is made in the `state` directory.",
        ),
    ],
    doc: "Keeps a client with the endpoint that it had, by a cookie of the proxy's own that nobody else can make and that names no address. When the endpoint is gone or down, the client goes on with another one.",
    default: "none",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    sticky \"BW\" max-age=\"1h\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

static SPILL: NodeRow = NodeRow {
    name: "spill",
    arguments: &[argument("share", Kind::Percent { min: 1, max: 100 }, One)],
    doc: "Endpoints are taken in tiers: lower `priority` first, and among those the own `zone` first. As long as so many of a tier (by weight) are up, it takes all requests; below, the rest of its load spills over to the next tier.",
    default: "70%",
    example: "process { zone \"eu-1a\" }\nupstream app {\n    to \"10.0.0.1:8080\" zone=\"eu-1a\"\n    to \"10.0.1.1:8080\" zone=\"eu-1b\"\n    spill \"50%\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

static SLOW_START: NodeRow = NodeRow {
    name: "slow-start",
    arguments: &[argument("time", DURATION_OR_ZERO, One)],
    doc: "How long an endpoint that comes, or comes back, takes to get its full share. For applications that are slow while their caches are cold.",
    default: "0s",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    slow-start \"30s\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

/// Properties of `health` that are for checks by HTTP.
pub(crate) const HTTP_CHECK: &[&str] = &["method", "host", "status", "body"];

static HEALTH: NodeRow = NodeRow {
    name: "health",
    arguments: &[argument("check", Kind::HealthCheck, One)],
    properties: &[
        property("every", DURATION, "5s", "From one check of an endpoint to the next."),
        property(
            "every-down",
            DURATION,
            "",
            "The same while it is down; without: three times `every`.",
        ),
        property(
            "jitter",
            Kind::Percent { min: 0, max: 100 },
            "10%",
            "How far these times vary by chance.",
        ),
        property("timeout", DURATION, "2s", "How long a check may take."),
        property(
            "rise",
            Kind::Number { min: 1, max: 1000 },
            "2",
            "Good checks in a row after which an endpoint is up again.",
        ),
        property(
            "fall",
            Kind::Number { min: 1, max: 1000 },
            "3",
            "Bad checks in a row after which it is down.",
        ),
        property(
            "port",
            Kind::Number { min: 1, max: 65_535 },
            "",
            "Another port than that of the endpoint.",
        ),
        property("method", Kind::Method, "GET", "HTTP: the method."),
        property("host", Kind::Authority, "", "HTTP: the Host; without: the endpoint as written."),
        property("status", Kind::Statuses, "200-399", "HTTP: statuses that are good."),
        property(
            "body",
            Kind::Text,
            "",
            "HTTP: text that the first 64 KiB of the body must have in them.",
        ),
        property(
            "service",
            Kind::Text,
            "",
            "gRPC: the service that is asked for; without: the server as a whole.",
        ),
    ],
    block: Some(&HEALTH_BLOCK),
    repeats: true,
    doc: "Checks each endpoint, once per process: `tcp` connects (over TLS if the endpoint has it), a path is asked for by HTTP, `grpc` asks `grpc.health.v1.Health/Check`. Endpoints are up until a check says otherwise; with several of these, all must be good.",
    default: "none: only what requests show counts, see `eject`",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    health \"/healthz\" every=\"2s\" status=\"200,204\" { field \"Authorization\" \"Bearer check\" }\n}\nsite { to app }",
};

pub(crate) static HEALTH_BLOCK: NamedRows = rows("health", &[&HEALTH_FIELD]);

pub(crate) static HEALTH_FIELD: NodeRow = NodeRow {
    name: "field",
    arguments: &[argument("name", Kind::FieldName, One), argument("value", Kind::FieldValue, One)],
    repeats: true,
    doc: "A field that is sent with the check.",
    default: "none",
    ..NodeRow::NEW
};

static EJECT: NodeRow = NodeRow {
    name: "eject",
    arguments: &[argument("off", Kind::Word(OFF), Optional)],
    properties: &[
        property(
            "consecutive",
            Kind::Number { min: 0, max: 10_000 },
            "5",
            "Failures in a row (no connection, reset, time-out, 5xx) after which an endpoint is ejected; 0: never. Resets, time-outs and 5xx must be of several clients and paths, or such that the others answer well: what one URL or one client shows takes no endpoint from others.",
        ),
        property(
            "failures",
            Kind::Flag,
            "#true",
            "Whether one is that fails clearly more often than the others.",
        ),
        property(
            "latency",
            Kind::Factor,
            "0",
            "Whether one is whose mean time to the first byte is more than so many times the median of the group, such as `3.0`; 0: never.",
        ),
        property(
            "min",
            COUNT,
            "50",
            "Requests that an endpoint must have had within the window to be compared.",
        ),
        property("window", DURATION, "10s", "How far back is looked."),
        property(
            "term",
            DURATION,
            "2s",
            "How long the first term is; each further one is twice as long.",
        ),
        property("term-max", DURATION, "5min", "The longest term."),
        property(
            "share",
            Kind::Percent { min: 1, max: 100 },
            "50%",
            "The largest share of the endpoints that is ejected at once for what they answer. The last one never is.",
        ),
    ],
    doc: "Lets an endpoint be for a while because of what requests show; it comes back by itself, by `slow-start`. `eject off`: never.",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\" \"10.0.0.3:8080\"\n    eject consecutive=3 latency=3.0 term-max=\"1min\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

const PANIC_WORDS: &[WordRow] = &[
    word("fail", "503 at once, with `Retry-After`"),
    word("spread", "all are tried as if they were up"),
];

static PANIC: NodeRow = NodeRow {
    name: "panic",
    arguments: &[argument("mode", Kind::Word(PANIC_WORDS), One)],
    doc: "What is done when the checks say that every endpoint is down.",
    default: "fail",
    ..NodeRow::NEW
};

static RETRY: NodeRow = NodeRow {
    name: "retry",
    arguments: &[argument("off", Kind::Word(OFF), Optional)],
    properties: &[
        property(
            "tries",
            Kind::Number { min: 1, max: 20 },
            "3",
            "Tries in all, the first one too.",
        ),
        property(
            "budget",
            Kind::Percent { min: 0, max: 100 },
            "20%",
            "How many may be sent again, of the requests of the last ten seconds, so that an outage is not multiplied. What an endpoint never got is not counted.",
        ),
        property(
            "budget-min",
            Kind::Number { min: 0, max: 1_000_000 },
            "3",
            "So many a second are allowed however few requests there are.",
        ),
        property(
            "buffer",
            Kind::Size { min: 0, max: 16 << 20 },
            "64KiB",
            "How much of a request's body is kept to be sent again; a request with a longer one is sent once.",
        ),
        property(
            "try",
            DURATION,
            "",
            "How long one try may take to begin a response; without: `first-byte` alone counts.",
        ),
    ],
    block: Some(&RETRY_BLOCK),
    doc: "Sends a request again, to another endpoint first. Only what cannot do harm is: a request of which nothing can have been handled, or one with an idempotent method (GET, HEAD, PUT, DELETE, OPTIONS, TRACE) of whose response no byte has come. `retry off`: each is sent once.",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    retry tries=2 try=\"2s\" { on connect refused reset timeout 502 503 }\n}\nsite { to app }",
    ..NodeRow::NEW
};

pub(crate) static RETRY_BLOCK: NamedRows = rows("retry", &[&ON]);

/// Why a request is sent again, beside statuses.
pub(crate) static RETRY_REASONS: &[WordRow] = &[
    word("connect", "there is no connection"),
    word("refused", "the endpoint says that it did nothing (REFUSED_STREAM, GOAWAY)"),
    word("reset", "the connection ends before the first byte of a response"),
    word("timeout", "no response begins in time"),
];

static ON: NodeRow = NodeRow {
    name: "on",
    arguments: &[argument("reason", Kind::RetryOn, AtLeastOne)],
    doc: "When a request is sent again; statuses from 400 to 599 may stand here too. What is not named is no reason.",
    default: "connect refused reset timeout",
    ..NodeRow::NEW
};

static HEDGE: NodeRow = NodeRow {
    name: "hedge",
    arguments: &[argument("after", Kind::After, One)],
    doc: "Begins a second try of an idempotent request without body beside a first that is slow, and takes the answer that comes first. `p95`: when it is slower than 95 of 100 before it; or a time. The tries count in the budget of `retry`.",
    default: "none",
    example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    hedge p95\n}\nsite { to app }",
    ..NodeRow::NEW
};

static QUEUE: NodeRow = NodeRow {
    name: "queue",
    arguments: &[argument("off", Kind::Word(OFF), Optional)],
    properties: &[
        property(
            "max",
            Kind::Number { min: 0, max: 1_000_000 },
            "1024",
            "How many wait at once, over all cores; what is beyond gets 503 with `Retry-After`.",
        ),
        property("wait", DURATION, "5s", "How long one waits; then 503 with `Retry-After`."),
    ],
    doc: "Where requests wait while every endpoint is full (`max` of `to`, or `adaptive`), in the order in which they came. `queue off`: none does.",
    example: "upstream app {\n    to \"10.0.0.1:8080\" max=50\n    queue max=200 wait=\"2s\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

static BREAKER: NodeRow = NodeRow {
    name: "breaker",
    properties: &[
        property("in-flight", COUNT, "", "Requests under way."),
        property("connecting", COUNT, "", "Connections being opened."),
    ],
    doc: "What the upstream as a whole takes at once, over all cores; what is beyond gets 503 at once.",
    default: "no limit",
    example: "upstream app {\n    to \"10.0.0.1:8080\"\n    breaker in-flight=10000 connecting=64\n}\nsite { to app }",
    ..NodeRow::NEW
};

static ADAPTIVE: NodeRow = NodeRow {
    name: "adaptive",
    properties: &[
        property("min", COUNT, "4", "Never fewer."),
        property("max", COUNT, "1000", "Never more."),
    ],
    doc: "Finds out how many requests the upstream takes at once by how its latency grows with their number; what is beyond waits in the `queue`.",
    default: "off",
    example: "upstream app {\n    to \"10.0.0.1:8080\"\n    adaptive max=500\n}\nsite { to app }",
    ..NodeRow::NEW
};

static DEADLINE: NodeRow = NodeRow {
    name: "deadline",
    properties: &[
        property(
            "field",
            Kind::FieldName,
            "",
            "A request field that gets the time that is left, in milliseconds.",
        ),
        property(
            "grpc",
            Kind::Flag,
            "#true",
            "Whether `grpc-timeout` is heeded, and passed on shortened by the time spent.",
        ),
    ],
    doc: "How the endpoint is told the time that is left for a request (`request` of [timeouts](#timeouts)).",
    example: "timeouts { request \"10s\" }\nupstream app {\n    to \"10.0.0.1:8080\"\n    deadline field=\"X-Request-Timeout\"\n}\nsite { to app }",
    ..NodeRow::NEW
};

static POOL: NodeRow = NodeRow {
    name: "pool",
    properties: &[
        property(
            "max",
            Kind::Number { min: 0, max: 65_536 },
            "1024",
            "Idle connections kept at most, per endpoint and core; 0: each is used once.",
        ),
        property(
            "min",
            Kind::Number { min: 0, max: 65_536 },
            "0",
            "Idle connections that are opened ahead, per endpoint, all cores together.",
        ),
        property(
            "lifetime",
            DURATION_OR_ZERO,
            "0s",
            "How long a connection is used at most, give or take a tenth. `0s`: no limit.",
        ),
        property(
            "steal",
            Kind::Flag,
            "#true",
            "Whether a core takes an idle connection of another one rather than open one.",
        ),
    ],
    doc: "How connections to an endpoint are kept to be used again.",
    example: "upstream app {\n    to \"10.0.0.1:8080\"\n    pool max=32 min=4 lifetime=\"10min\"\n}\nsite { to app }",
    ..NodeRow::NEW
};
