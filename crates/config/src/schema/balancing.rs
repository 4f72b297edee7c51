//! The nodes of `upstream`.

use super::Count::{AtLeastOne, One, Optional};
use super::algorithms::ALGORITHMS;
use super::rows::{UPSTREAM_TIMEOUTS, argument, property, word};
use super::secure::{PROTOCOL, UPSTREAM_TLS};
use super::texts::{flag, path, percent, time};
use super::tries::{ADAPTIVE, BREAKER, DEADLINE, HEDGE, POOL, QUEUE, RETRY};
use super::{Kind, NodeRow, Property, Read, Row, Show, Table, WordRow, in_line};
use crate::decode::{Origins, RawUpstream};
use crate::effective::quoted;
use crate::model::{
    Addresses, Balance, Check, Ejection, Endpoint, EndpointAddress, Health, HttpCheck, KeyPart,
    Panic, SameSite, Source, SourceKind, Sticky,
};
use crate::values::statuses_text;

pub(crate) static UPSTREAM_BLOCK: Table<RawUpstream> = Table {
    name: "upstream",
    rows: &[
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
        &Row::USE,
        &Row::INCLUDE,
    ],
};

pub(super) const DURATION: Kind = Kind::Duration { zero: false };
pub(super) const DURATION_OR_ZERO: Kind = Kind::Duration { zero: true };
pub(super) const COUNT: Kind = Kind::Number { min: 1, max: 1_000_000 };

/// `off`, alone behind the name.
pub(super) const OFF: &[WordRow] = &[word("off", "it is not done")];

const ADDRESSES: &[WordRow] = &[
    word("auto", "like `each` if one address family has several, else like `one`"),
    word("each", "an endpoint of each"),
    word("one", "one server that all of them lead to; the first that answers is used"),
];

pub(crate) static ENDPOINT_PROPERTIES: [Property<Endpoint>; 7] = [
    property(
            "weight",
            Kind::Number { min: 1, max: 1000 },
            "1",
            "Its share of the requests, relative to the other endpoints.",
        )
        .of(|it, number| it.weight = number.number_in(), |it| Some(it.weight.to_string())),
    property(
            "zone",
            Kind::Token,
            "",
            "The zone of the endpoint. Endpoints in the `zone` of the process are used first, see `spill`.",
        )
        .of(|it, text| it.zone = Some(text.text().into()), |it| it.zone.as_deref().map(quoted)),
    property(
            "priority",
            Kind::Number { min: 0, max: 65_535 },
            "0",
            "Endpoints with a lower priority are used first, see `spill`.",
        )
        .of(|it, number| it.priority = number.number_in(), |it| Some(it.priority.to_string())),
    property(
            "max",
            COUNT,
            "",
            "The maximum of concurrent requests, over all cores; when every endpoint is full, requests wait in the `queue`.",
        )
        .of(|it, number| it.max = Some(number.number_in()), |it| it.max.map(|number| number.to_string())),
    property(
            "backup",
            Kind::Flag,
            "#false",
            "Whether it is used only when no other endpoint is up.",
        )
        .of(|it, value| it.backup = value.flag(), |it| Some(flag(it.backup))),
    property(
            "drain",
            Kind::Flag,
            "#false",
            "Whether it gets no new clients, only those whose `sticky` cookie names it.",
        )
        .of(|it, value| it.draining = value.flag(), |it| Some(flag(it.draining))),
    property(
            "addresses",
            Kind::Word(ADDRESSES),
            "auto",
            "How a name with several addresses is used.",
        )
        .of(|it, word| {
            it.addresses = match word.text() {
                "each" => Addresses::Each,
                "one" => Addresses::One,
                _ => Addresses::Auto,
            };
        }, |it| {
            let is_name = matches!(it.address, EndpointAddress::Name { .. });
            match it.addresses {
                Addresses::Auto if !is_name => None,
                Addresses::Auto => Some("auto".into()),
                Addresses::Each => Some("each".into()),
                Addresses::One => Some("one".into()),
            }
        }),
];

static ENDPOINT: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "to",
        arguments: &[argument("endpoint", Kind::Endpoint, AtLeastOne)],
        properties: &ENDPOINT_PROPERTIES,
        repeats: true,
        doc: "An endpoint; `https://` connects to it over TLS. The proxy looks names up again when their time to live ends. It starts even if a lookup fails, and a name that stops resolving keeps its last addresses. An endpoint listed twice is one endpoint, and its weights add up.",
        example: "upstream app {\n    to \"10.0.0.1:8080\" weight=3 zone=\"eu-1a\"\n    to \"10.0.0.2:8080\" max=100 zone=\"eu-1b\"\n    to \"unix:/run/app.sock\" backup=#true\n}\nprocess { zone \"eu-1a\" }\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.endpoint_line(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        for endpoint in &raw.settings.endpoints {
            let text = quoted(&endpoint.written) + &in_line(&ENDPOINT_PROPERTIES, endpoint);
            out.line_at(shown, text, endpoint.place);
        }
    }),
};

static SRV_PROPERTIES: [Property<Source>; 1] = [property(
    "tls",
    Kind::Flag,
    "#false",
    "Whether the proxy connects to the endpoints over TLS.",
)
.of(|it, value| it.tls = value.flag(), |it| Some(flag(it.tls)))];

static SRV: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "srv",
        arguments: &[argument("name", Kind::Host, One)],
        properties: &SRV_PROPERTIES,
        repeats: true,
        doc: "Endpoints from the `SRV` records of a name (RFC 2782), with their ports, weights and priorities. The proxy looks them up again when their time to live ends, and starts even if the lookup fails.",
        default: "none",
        example: "upstream app { srv \"_http._tcp.app.internal\" }\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.source_line(raw, node, &SRV_PROPERTIES)),
    show: Show::Lines(|out, raw, shown| {
        // In their order, whatever they are.
        for source in &raw.settings.sources {
            let (name, text) = match &source.kind {
                SourceKind::Srv(name) => ("srv", quoted(name) + &in_line(&SRV_PROPERTIES, source)),
                SourceKind::File(file) => {
                    ("endpoints", path(file) + &in_line(&ENDPOINTS_PROPERTIES, source))
                }
            };
            out.named_line_at(shown.depth, name, text, source.place);
        }
    }),
};

static ENDPOINTS_PROPERTIES: [Property<Source>; 1] = [property(
    "tls",
    Kind::Flag,
    "#false",
    "Whether the proxy connects over TLS to endpoints whose `address` does not say so.",
)
.of(|it, value| it.tls = value.flag(), |it| Some(flag(it.tls)))];

static ENDPOINTS: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "endpoints",
        arguments: &[argument("file", Kind::Path, One)],
        properties: &ENDPOINTS_PROPERTIES,
        repeats: true,
        doc: "Endpoints from a JSON file, which the proxy reads again whenever it changes: `{\"endpoints\": [{\"address\": \"10.0.0.1:8080\", \"weight\": 3}]}`. `address` is written as in `to`; `weight`, `zone`, `priority`, `backup`, `max` and `drain` mean the same as there. While the file is unusable, the previous endpoints stay in use, and the error log gives the reason.",
        default: "none",
        example: "upstream app { endpoints \"app-endpoints.json\" }\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.source_line(raw, node, &ENDPOINTS_PROPERTIES)),
    show: Show::With("srv"),
};

pub(crate) static BALANCE_PROPERTIES: [Property<RawUpstream>; 1] = [
    property(
        "bound",
        Kind::PercentOrOff { min: 101, max: 1000 },
        "125%",
        "For algorithms that use a key: an endpoint gets at most this many times the average of requests in flight, and further requests go to the next endpoint; with fewer than 8 in flight the bound does not apply. `off`: no bound.",
    )
        .of(|raw, bound| {
            raw.settings.balance.bound = bound.limit().map(|_| bound.number_in());
        }, |raw| {
            let bound = raw.settings.balance.bound;
            raw.shows_bound().then(|| bound.map_or_else(|| "off".into(), percent))
        }),
];

static BALANCE: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "balance",
        arguments: &[argument("algorithm", Kind::Word(ALGORITHMS), One)],
        properties: &BALANCE_PROPERTIES,
        block: Some(&BALANCE_BLOCK),
        doc: "How the proxy chooses among the endpoints that are up.",
        default: "p2c",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    balance ring bound=\"150%\" {\n        by header=\"X-User\"\n        by cookie=\"session\"\n    }\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.balance(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        let balance = &raw.settings.balance;
        if !raw.shows_bound() {
            return out.line(shown, &*balance.algorithm);
        }
        let opens = !balance.keys.is_empty();
        out.properties(shown, Some(&balance.algorithm), &BALANCE_PROPERTIES, raw, opens);
        out.rows(shown.depth + 1, &BALANCE_BLOCK, balance, &Origins::at("by", shown.span()));
    }),
};

pub(crate) static BALANCE_BLOCK: Table<Balance> = Table { name: "balance", rows: &[&BY] };

const KEYS: &[WordRow] =
    &[word("path", "the canonical path"), word("address", "the client's address")];

static BY: Row<Balance> = Row {
    node: NodeRow {
        name: "by",
        arguments: &[argument("part", Kind::Word(KEYS), Optional)],
        properties: &[
            property("header", Kind::FieldName, "", "The value of this field."),
            property("cookie", Kind::Token, "", "The value of this cookie."),
            property("query", Kind::Text, "", "The value of this parameter of the query."),
        ],
        repeats: true,
        doc: "The source of the key, for algorithms that use one. With several, the first that the request has is used; if it has none of them, the client's address.",
        default: "address",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, balance, node| balance.keys.extend(decoder.key_part(node))),
    show: Show::Lines(|out, balance, shown| {
        for key in &balance.keys {
            let text = match key {
                KeyPart::Header(name) => format!("header={}", quoted(name)),
                KeyPart::Cookie(name) => format!("cookie={}", quoted(name)),
                KeyPart::Query(name) => format!("query={}", quoted(name)),
                KeyPart::Path => "path".into(),
                KeyPart::Address => "address".into(),
            };
            out.line(shown, text);
        }
    }),
};

const SAME_SITE: &[WordRow] = &[
    word("lax", "not with requests that other sites make, except when the user follows a link"),
    word("strict", "with no request that comes from another site"),
    word("none", "with every request; browsers then require `secure`"),
    word("unset", "the browser decides"),
];

pub(crate) static STICKY_PROPERTIES: [Property<Sticky>; 7] = [
    property("max-age", DURATION, "", "How long the client keeps it; without: until the client ends.")
        .of(|it, value| it.max_age = Some(value.duration()), |it| it.max_age.map(time)),
    property("path", Kind::CookiePath, "/", "Its path.")
        .of(|it, text| it.path = text.text().into(), |it| Some(quoted(&it.path))),
    property("domain", Kind::Host, "", "Its domain; without: the requested host.")
        .of(|it, text| it.domain = Some(text.text().into()), |it| it.domain.as_deref().map(quoted)),
    property(
            "secure",
            Kind::Flag,
            "",
            "Whether it is sent over TLS only; without: if the request came over TLS.",
        )
        .of(|it, value| it.secure = Some(value.flag()), |it| it.secure.map(flag)),
    property("http-only", Kind::Flag, "#true", "Whether it is hidden from scripts.")
        .of(|it, value| it.http_only = value.flag(), |it| Some(flag(it.http_only))),
    property("same-site", Kind::Word(SAME_SITE), "lax", "Which requests it is sent with.")
        .of(|it, word| {
            it.same_site = match word.text() {
                "strict" => SameSite::Strict,
                "none" => SameSite::None,
                "unset" => SameSite::Unset,
                _ => SameSite::Lax,
            };
        }, |it| {
            Some(match it.same_site {
                SameSite::Unset => "unset".into(),
                SameSite::Strict => "strict".into(),
                SameSite::Lax => "lax".into(),
                SameSite::None => "none".into(),
            })
        }),
    property(
            "key-file",
            Kind::Path,
            "",
            "A file with the secret that authenticates the cookie, at least 16 bytes, the same on every proxy that serves the site; without: one that the proxy generates in the `state` directory.",
        )
        .of(|it, file| it.key_file = Some(file.path()), |it| it.key_file.as_deref().map(path)),
];

static STICKY: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "sticky",
        arguments: &[argument("cookie", Kind::Token, One)],
        properties: &STICKY_PROPERTIES,
        doc: "Keeps a client on the same endpoint by a cookie of the proxy, which nobody else can forge and which contains no address. When the endpoint is gone or down, the client moves to another one.",
        default: "none",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    sticky \"BW\" max-age=\"1h\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.settings.sticky = decoder.sticky(node)),
    show: Show::Lines(|out, raw, shown| match &raw.settings.sticky {
        None => out.remark(shown),
        Some(sticky) => {
            let cookie = quoted(&sticky.cookie);
            out.properties(shown, Some(&cookie), &STICKY_PROPERTIES, sticky, false);
        }
    }),
};

static SPILL: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "spill",
        arguments: &[argument("share", Kind::Percent { min: 1, max: 100 }, One)],
        doc: "The proxy uses endpoints in tiers: lower `priority` first, and within a priority its own `zone` first. As long as this share of a tier (by weight) is up, the tier gets all requests; below it, the rest of its load spills over to the next tier.",
        default: "70%",
        example: "process { zone \"eu-1a\" }\nupstream app {\n    to \"10.0.0.1:8080\" zone=\"eu-1a\"\n    to \"10.0.1.1:8080\" zone=\"eu-1b\"\n    spill \"50%\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, share| raw.settings.spill = share.number_in()),
    show: Show::Value(|raw| Some(percent(raw.settings.spill))),
};

static SLOW_START: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "slow-start",
        arguments: &[argument("time", DURATION_OR_ZERO, One)],
        doc: "How long a new or recovered endpoint takes to reach its full share. For applications that are slow while their caches are cold.",
        default: "0s",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    slow-start \"30s\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, time| raw.settings.slow_start = time.duration()),
    show: Show::Value(|raw| Some(time(raw.settings.slow_start))),
};

/// Properties of `health` that are for checks by HTTP.
pub(crate) const HTTP_CHECK: &[&str] = &["method", "host", "status", "body"];

pub(crate) static HEALTH_PROPERTIES: [Property<Health>; 12] = [
    property("every", DURATION, "5s", "The time from one check of an endpoint to the next.").of(
        |it, value| {
            it.every = value.duration();
        },
        |it| Some(time(it.every)),
    ),
    property(
        "every-down",
        DURATION,
        "",
        "The same while it is down; without: three times `every`.",
    )
    .of(|it, value| it.every_down = value.duration(), |it| Some(time(it.every_down))),
    property(
        "jitter",
        Kind::Percent { min: 0, max: 100 },
        "10%",
        "How much these times vary at random.",
    )
    .of(|it, share| it.jitter = share.number_in(), |it| Some(percent(it.jitter))),
    property("timeout", DURATION, "2s", "How long a check may take.")
        .of(|it, value| it.timeout = value.duration(), |it| Some(time(it.timeout))),
    property(
        "rise",
        Kind::Number { min: 1, max: 1000 },
        "2",
        "Successful checks in a row after which an endpoint is up again.",
    )
    .of(|it, number| it.rise = number.number_in(), |it| Some(it.rise.to_string())),
    property(
        "fall",
        Kind::Number { min: 1, max: 1000 },
        "3",
        "Failed checks in a row after which it is down.",
    )
    .of(|it, number| it.fall = number.number_in(), |it| Some(it.fall.to_string())),
    property(
        "port",
        Kind::Number { min: 1, max: 65_535 },
        "",
        "The port to check, if not that of the endpoint.",
    )
    .of(
        |it, number| it.port = Some(number.number_in()),
        |it| it.port.map(|number| number.to_string()),
    ),
    property("method", Kind::Method, "GET", "HTTP: the method.").of(
        |it, text| it.http_mut(|check| check.method = text.text().into()),
        |it| Some(quoted(&it.http()?.method)),
    ),
    property("host", Kind::Authority, "", "HTTP: the Host; without: the endpoint as written.").of(
        |it, text| it.http_mut(|check| check.host = Some(text.text().into())),
        |it| it.http()?.host.as_deref().map(quoted),
    ),
    property("status", Kind::Statuses, "200-399", "HTTP: statuses that count as success.").of(
        |it, statuses| it.http_mut(|check| check.statuses = statuses.statuses()),
        |it| Some(quoted(&statuses_text(&it.http()?.statuses))),
    ),
    property("body", Kind::Text, "", "HTTP: text that the first 64 KiB of the body must contain.")
        .of(
            |it, text| {
                let text = Some(text.text()).filter(|text| !text.is_empty());
                it.http_mut(|check| check.body = text.map(Into::into));
            },
            |it| it.http()?.body.as_deref().map(quoted),
        ),
    property(
        "service",
        Kind::Text,
        "",
        "gRPC: the service to check; without: the server as a whole.",
    )
    .of(
        |it, text| {
            if let Check::Grpc(service) = &mut it.check {
                *service = text.text().into();
            }
        },
        |it| match &it.check {
            Check::Grpc(service) if !service.is_empty() => Some(quoted(service)),
            Check::Grpc(_) | Check::Http(_) | Check::Tcp => None,
        },
    ),
];

static HEALTH: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "health",
        arguments: &[argument("check", Kind::HealthCheck, One)],
        properties: &HEALTH_PROPERTIES,
        block: Some(&HEALTH_BLOCK),
        repeats: true,
        doc: "Checks each endpoint, once per process: `tcp` connects (over TLS if the endpoint uses it), a path is requested over HTTP, `grpc` calls `grpc.health.v1.Health/Check`. Endpoints are up until a check fails them; with several `health` lines, all must succeed.",
        default: "none: only the results of requests count, see `eject`",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    health \"/healthz\" every=\"2s\" status=\"200,204\" { field \"Authorization\" \"Bearer check\" }\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.health(raw, node)),
    show: Show::Lines(|out, raw, shown| out.health(raw, shown)),
};

pub(crate) static HEALTH_BLOCK: Table<HttpCheck> = Table { name: "health", rows: &[&HEALTH_FIELD] };

pub(crate) static HEALTH_FIELD: Row<HttpCheck> = Row {
    node: NodeRow {
        name: "field",
        arguments: &[
            argument("name", Kind::FieldName, One),
            argument("value", Kind::FieldValue, One),
        ],
        repeats: true,
        doc: "A field sent with the check.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, check, node| decoder.health_field(check, node)),
    show: Show::Lines(|out, check, shown| {
        for (name, value) in &check.fields {
            out.field(shown.depth, shown.row, None, (name, value, ""), shown.span());
        }
    }),
};

pub(crate) static EJECT_PROPERTIES: [Property<Ejection>; 8] = [
    property(
            "consecutive",
            Kind::Number { min: 0, max: 10_000 },
            "5",
            "Failures in a row (no connection, reset, time-out, 5xx) after which an endpoint is ejected; 0: never. Resets, time-outs and 5xx must come from several clients and paths, or the other endpoints must answer such requests well: failures of one URL or one client do not take an endpoint from others.",
        )
        .of(|it, number| it.consecutive = number.number_in(), |it| Some(it.consecutive.to_string())),
    property(
            "failures",
            Kind::Flag,
            "#true",
            "Whether an endpoint that fails clearly more often than the others is ejected.",
        )
        .of(|it, value| it.failures = value.flag(), |it| Some(flag(it.failures))),
    property(
            "latency",
            Kind::Factor,
            "0",
            "Ejects an endpoint whose mean time to the first byte is more than this many times the median of the group, such as `3.0`; 0: never.",
        )
        .of(|it, factor| it.latency = factor.factor(), |it| Some(it.latency.to_string())),
    property(
            "min",
            COUNT,
            "50",
            "Requests that an endpoint must have within the window to be compared.",
        )
        .of(|it, number| it.requests_min = number.number_in(), |it| Some(it.requests_min.to_string())),
    property("window", DURATION, "10s", "How far back is looked.")
        .of(|it, value| it.window = value.duration(), |it| Some(time(it.window))),
    property(
            "term",
            DURATION,
            "2s",
            "How long the first ejection lasts; each further one is twice as long.",
        )
        .of(|it, value| it.term = value.duration(), |it| Some(time(it.term))),
    property("term-max", DURATION, "5min", "The longest term.")
        .of(|it, value| it.term_max = value.duration(), |it| Some(time(it.term_max))),
    property(
            "share",
            Kind::Percent { min: 1, max: 100 },
            "50%",
            "The largest share of the endpoints that may be ejected at once for their responses. The last one is never ejected.",
        )
        .of(|it, share| it.share = share.number_in(), |it| Some(percent(it.share))),
];

static EJECT: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "eject",
        arguments: &[argument("off", Kind::Word(OFF), Optional)],
        properties: &EJECT_PROPERTIES,
        doc: "Stops using an endpoint for a while because of the results of requests; it returns automatically, with `slow-start`. `eject off`: never.",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\" \"10.0.0.3:8080\"\n    eject consecutive=3 latency=3.0 term-max=\"1min\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.settings.ejection = decoder.ejection(node)),
    show: Show::Lines(|out, raw, shown| match &raw.settings.ejection {
        None => out.line(shown, "off"),
        Some(ejection) => out.properties(shown, None, &EJECT_PROPERTIES, ejection, false),
    }),
};

const PANIC_WORDS: &[WordRow] = &[
    word("fail", "503 at once, with `Retry-After`"),
    word("spread", "all are tried as if they were up"),
];

static PANIC: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "panic",
        arguments: &[argument("mode", Kind::Word(PANIC_WORDS), One)],
        doc: "What the proxy does when every endpoint is down according to the checks.",
        default: "fail",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, mode| {
        raw.settings.panic = match mode.text() {
            "spread" => Panic::Spread,
            _ => Panic::Fail,
        };
    }),
    show: Show::Value(|raw| {
        Some(match raw.settings.panic {
            Panic::Fail => "fail".into(),
            Panic::Spread => "spread".into(),
        })
    }),
};
