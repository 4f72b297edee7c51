//! The nodes of `upstream` about tries, what is held back, and connections.

use super::Count::{AtLeastOne, One, Optional};
use super::balancing::{COUNT, DURATION, DURATION_OR_ZERO, OFF};
use super::rows::{argument, property, word};
use super::texts::{flag, list, percent, time};
use super::{Kind, NodeRow, Property, Read, Row, Show, Table, WordRow};
use crate::decode::{Origins, RawUpstream};
use crate::effective::quoted;
use crate::model::{Adaptive, Breaker, Deadline, Hedge, HedgeAfter, PoolSettings, Queue, Retry};
use crate::values::{Datum, size_text};

pub(crate) static RETRY_PROPERTIES: [Property<Retry>; 5] = [
    property(
            "tries",
            Kind::Number { min: 1, max: 20 },
            "3",
            "Tries in total, including the first.",
        )
        .of(|it, number| it.tries = number.number_in(), |it| Some(it.tries.to_string())),
    property(
            "budget",
            Kind::Percent { min: 0, max: 100 },
            "20%",
            "The share of the requests of the last ten seconds that may be sent again, so that retries do not multiply an outage. Retries of a request that the endpoint never received do not count.",
        )
        .of(|it, share| it.budget = share.number_in(), |it| Some(percent(it.budget))),
    property(
            "budget-min",
            Kind::Number { min: 0, max: 1_000_000 },
            "3",
            "Retries per second that are always allowed, however few requests there are.",
        )
        .of(|it, number| it.budget_min = number.number_in(), |it| Some(it.budget_min.to_string())),
    property(
            "buffer",
            Kind::Size { min: 0, max: 16 << 20 },
            "64KiB",
            "How much of a request body the proxy keeps for a retry; a request with a longer body is sent once.",
        )
        .of(|it, size| it.buffer = size.number_in(), |it| Some(quoted(&size_text(it.buffer.into())))),
    property(
            "try",
            DURATION,
            "",
            "How long one try may take to begin a response; without: only `first-byte` applies.",
        )
        .of(|it, value| it.try_timeout = Some(value.duration()), |it| it.try_timeout.map(time)),
];

pub(super) static RETRY: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "retry",
        arguments: &[argument("off", Kind::Word(OFF), Optional)],
        properties: &RETRY_PROPERTIES,
        block: Some(&RETRY_BLOCK),
        doc: "Sends a request again, to another endpoint first. The proxy retries only where it is safe: a request that no endpoint can have processed in any part, or one with an idempotent method (GET, HEAD, PUT, DELETE, OPTIONS, TRACE) before the first byte of its response. `retry off`: each request is sent once.",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    retry tries=2 try=\"2s\" { on connect refused reset timeout 502 503 }\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.settings.retry = decoder.retry(node)),
    show: Show::Lines(|out, raw, shown| {
        let retry = &raw.settings.retry;
        if *retry == (Retry { tries: 1, place: retry.place, ..Retry::default() }) {
            return out.line(shown, "off");
        }
        out.properties(shown, None, &RETRY_PROPERTIES, retry, true);
        out.rows(shown.depth + 1, &RETRY_BLOCK, retry, &Origins::at("on", shown.span()));
    }),
};

pub(crate) static RETRY_BLOCK: Table<Retry> = Table { name: "retry", rows: &[&ON] };

/// Why a request is sent again, beside statuses.
pub(crate) static RETRY_REASONS: &[WordRow] = &[
    word("connect", "there is no connection"),
    word(
        "refused",
        "the endpoint says that it did not process the request (REFUSED_STREAM, GOAWAY)",
    ),
    word("reset", "the connection ends before the first byte of a response"),
    word("timeout", "no response begins in time"),
];

static ON: Row<Retry> = Row {
    node: NodeRow {
        name: "on",
        arguments: &[argument("reason", Kind::RetryOn, AtLeastOne)],
        doc: "The reasons to send a request again; statuses from 400 to 599 may be listed too. Nothing else causes a retry.",
        default: "connect refused reset timeout",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, retry, node| {
        let has = |word: &str| node.data().any(|datum| datum.text() == word);
        retry.connect = has("connect");
        retry.refused = has("refused");
        retry.reset = has("reset");
        retry.timeout = has("timeout");
        for status in node.data().filter(|datum| matches!(datum, Datum::Number(_))) {
            let status = status.number_in();
            if !retry.statuses.contains(&status) {
                retry.statuses.push(status);
            }
        }
    }),
    show: Show::Value(|retry| {
        let words = [
            (retry.connect, "connect"),
            (retry.refused, "refused"),
            (retry.reset, "reset"),
            (retry.timeout, "timeout"),
        ];
        let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned());
        list(words.chain(retry.statuses.iter().map(u16::to_string)))
    }),
};

pub(super) static HEDGE: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "hedge",
        arguments: &[argument("after", Kind::After, One)],
        doc: "Starts a second try of an idempotent request without body while a slow first one is still running, and uses the response that comes first. `p95`: when the first is slower than 95 of 100 before it; or a time. These tries count towards the budget of `retry`.",
        default: "none",
        example: "upstream app {\n    to \"10.0.0.1:8080\" \"10.0.0.2:8080\"\n    hedge p95\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        let place = decoder.place(node.name_span());
        let after = node.first().map(|given| match &given.datum {
            Datum::Duration(time) => HedgeAfter::Fixed(*time),
            percent => HedgeAfter::Quantile(percent.number_in()),
        });
        raw.settings.hedge = after.map(|after| Hedge { place, after });
    }),
    show: Show::Value(|raw| {
        raw.settings.hedge.as_ref().map(|hedge| match hedge.after {
            HedgeAfter::Quantile(percent) => format!("p{percent}"),
            HedgeAfter::Fixed(after) => time(after),
        })
    }),
};

static QUEUE_PROPERTIES: [Property<Queue>; 2] = [
    property(
        "max",
        Kind::Number { min: 0, max: 1_000_000 },
        "1024",
        "How many requests may wait at once, over all cores; further ones get 503 with `Retry-After`.",
    )
    .of(|it, number| it.max = number.number_in(), |it| Some(it.max.to_string())),
    property("wait", DURATION, "5s", "How long a request may wait; then 503 with `Retry-After`.")
        .of(|it, value| it.wait = value.duration(), |it| Some(time(it.wait))),
];

pub(super) static QUEUE: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "queue",
        arguments: &[argument("off", Kind::Word(OFF), Optional)],
        properties: &QUEUE_PROPERTIES,
        doc: "Where requests wait while every endpoint is full (`max` of `to`, or `adaptive`), in the order of their arrival. `queue off`: no request waits.",
        example: "upstream app {\n    to \"10.0.0.1:8080\" max=50\n    queue max=200 wait=\"2s\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        node.put(&QUEUE_PROPERTIES, &mut raw.settings.queue);
        if decoder.is_off(node) {
            raw.settings.queue.max = 0;
        }
    }),
    show: Show::Lines(|out, raw, shown| {
        out.properties(shown, None, &QUEUE_PROPERTIES, &raw.settings.queue, false);
    }),
};

static BREAKER_PROPERTIES: [Property<Breaker>; 2] = [
    property("in-flight", COUNT, "", "Requests in flight.").of(
        |it, number| it.in_flight = Some(number.number_in()),
        |it| it.in_flight.map(|number| number.to_string()),
    ),
    property("connecting", COUNT, "", "Connections being opened.").of(
        |it, number| it.connecting = Some(number.number_in()),
        |it| it.connecting.map(|number| number.to_string()),
    ),
];

pub(super) static BREAKER: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "breaker",
        properties: &BREAKER_PROPERTIES,
        doc: "Limits the concurrent load of the upstream as a whole, over all cores; further requests get 503 at once.",
        default: "no limit",
        example: "upstream app {\n    to \"10.0.0.1:8080\"\n    breaker in-flight=10000 connecting=64\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        node.put(&BREAKER_PROPERTIES, &mut raw.settings.breaker);
        decoder.check_says_something(node, "in-flight=10000");
    }),
    show: Show::Lines(|out, raw, shown| {
        out.properties(shown, None, &BREAKER_PROPERTIES, &raw.settings.breaker, false);
    }),
};

pub(crate) static ADAPTIVE_PROPERTIES: [Property<Adaptive>; 2] = [
    property("min", COUNT, "4", "Never fewer.")
        .of(|it, number| it.min = number.number_in(), |it| Some(it.min.to_string())),
    property("max", COUNT, "1000", "Never more.")
        .of(|it, number| it.max = number.number_in(), |it| Some(it.max.to_string())),
];

pub(super) static ADAPTIVE: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "adaptive",
        properties: &ADAPTIVE_PROPERTIES,
        doc: "Measures how many concurrent requests the upstream can handle, by how its latency grows with their number; further requests wait in the `queue`.",
        default: "off",
        example: "upstream app {\n    to \"10.0.0.1:8080\"\n    adaptive max=500\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.settings.adaptive = Some(decoder.adaptive(node))),
    show: Show::Lines(|out, raw, shown| match &raw.settings.adaptive {
        None => out.remark(shown),
        Some(adaptive) => out.properties(shown, None, &ADAPTIVE_PROPERTIES, adaptive, false),
    }),
};

pub(crate) static DEADLINE_PROPERTIES: [Property<Deadline>; 2] = [
    property(
        "field",
        Kind::FieldName,
        "",
        "A request field that carries the remaining time, in milliseconds.",
    )
    .of(|it, text| it.field = Some(text.text().into()), |it| it.field.as_deref().map(quoted)),
    property(
        "grpc",
        Kind::Flag,
        "#true",
        "Whether the proxy honours `grpc-timeout`, and forwards it minus the time spent.",
    )
    .of(|it, value| it.grpc = value.flag(), |it| Some(flag(it.grpc))),
];

pub(super) static DEADLINE: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "deadline",
        properties: &DEADLINE_PROPERTIES,
        doc: "How the endpoint learns the remaining time for a request (`request` of [timeouts](#timeouts)).",
        example: "timeouts { request \"10s\" }\nupstream app {\n    to \"10.0.0.1:8080\"\n    deadline field=\"X-Request-Timeout\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.deadline(&mut raw.settings.deadline, node)),
    show: Show::Lines(|out, raw, shown| {
        out.properties(shown, None, &DEADLINE_PROPERTIES, &raw.settings.deadline, false);
    }),
};

pub(crate) static POOL_PROPERTIES: [Property<PoolSettings>; 4] = [
    property(
        "max",
        Kind::Number { min: 0, max: 65_536 },
        "1024",
        "The maximum of idle connections to keep, per endpoint and core; 0: each connection is used once.",
    )
    .of(|it, number| it.max = number.number_in(), |it| Some(it.max.to_string())),
    property(
        "min",
        Kind::Number { min: 0, max: 65_536 },
        "0",
        "Idle connections that the proxy opens in advance, per endpoint, over all cores.",
    )
    .of(|it, number| it.min = number.number_in(), |it| Some(it.min.to_string())),
    property(
        "lifetime",
        DURATION_OR_ZERO,
        "0s",
        "The maximum lifetime of a connection, plus or minus a tenth. `0s`: no limit.",
    )
    .of(|it, value| it.lifetime = value.duration(), |it| Some(time(it.lifetime))),
    property(
        "steal",
        Kind::Flag,
        "#true",
        "Whether a core uses an idle connection of another core instead of opening one.",
    )
    .of(|it, value| it.steal = value.flag(), |it| Some(flag(it.steal))),
];

pub(super) static POOL: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "pool",
        properties: &POOL_PROPERTIES,
        doc: "How the proxy keeps connections to an endpoint for reuse.",
        example: "upstream app {\n    to \"10.0.0.1:8080\"\n    pool max=32 min=4 lifetime=\"10min\"\n}\nsite { to app }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.pool(&mut raw.settings.pool, node)),
    show: Show::Lines(|out, raw, shown| {
        out.properties(shown, None, &POOL_PROPERTIES, &raw.settings.pool, false);
    }),
};
