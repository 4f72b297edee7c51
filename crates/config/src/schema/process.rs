//! The nodes of `process`.

use super::Count::{AtLeastOne, One};
use super::caching::STORE;
use super::logs::{ACCESS_ROW, FIELDS_ROW, FORMAT_ROW, format_text, log_text};
use super::rows::{argument, property, word};
use super::secure::STATE;
use super::texts::{flag, joined, list, path, time};
use super::{Kind, NodeRow, Property, Read, Row, Show, Table, WordRow, in_line};
use crate::decode::RawProcess;
use crate::effective::quoted;
use crate::model::{AdminAddress, ResolverSettings};
use crate::values::Datum;

pub(crate) static PROCESS_BLOCK: Table<RawProcess> = Table {
    name: "process",
    rows: &[&CORES, &ADMIN, &ZONE, &LOG, &DRAIN, &CONNECTIONS, &STATE, &STORE, &RESOLVER],
};

static CORES: Row<RawProcess> = Row {
    node: NodeRow {
        name: "cores",
        arguments: &[argument("number", Kind::Number { min: 1, max: 1024 }, One)],
        doc: "Threads that carry traffic, each on a core of its own.",
        default: "one for each core that the process may run on",
        example: "process { cores 4 }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, number| raw.process.cores = Some(number.number_in())),
    show: Show::Value(|raw| raw.process.cores.map(|number| number.to_string())),
};

const ADMIN_METRICS: &[WordRow] = &[
    word("token", "only with the token"),
    word("open", "every process on this machine may read them"),
];

static ADMIN_PROPERTIES: [Property<RawProcess>; 2] = [
            property(
                "token-file",
                Kind::Path,
                "",
                "A file with a token (16 to 1024 characters, not readable for everybody) that every request over TCP must carry (`Authorization: Bearer …`), except for `/healthz` and `/readyz`. Without it every process on this machine may read over TCP (secrets are masked), and `POST /reload` and changes of endpoints need the token that the proxy generates in the file `admin-token` of the `state` directory. `bothways reload` and `bothways upstreams` find either token.",
            )
            .of(
                |raw, file| raw.process.admin_token = Some(file.path()),
                |raw| raw.process.admin_token.as_deref().map(path),
            ),
            property(
                "metrics",
                Kind::Word(ADMIN_METRICS),
                "token",
                "With `token-file`: whether `/metrics` needs the token too.",
            )
            .of(
                |raw, mode| raw.process.admin_metrics_open = mode.text() == "open",
                |raw| raw.process.admin_metrics_open.then(|| "open".into()),
            ),
        ];

static ADMIN: Row<RawProcess> = Row {
    node: NodeRow {
        name: "admin",
        arguments: &[argument("address", Kind::Admin, One)],
        properties: &ADMIN_PROPERTIES,
        doc: "The address that serves `/metrics`, `/healthz`, `/readyz`, `/config` and `/upstreams`, and accepts changes of endpoints and reloads. Only loopback and unix sockets. File permissions decide who may use the socket; its users need no token. Forward clients never reach this address, whatever the rules allow.",
        default: "off",
        example: "process { admin \"unix:/run/bothways.sock\" }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        if let Some(Datum::Admin(address)) = node.first().map(|given| &given.datum) {
            raw.process.admin = Some(address.clone());
        }
        node.put(&ADMIN_PROPERTIES, raw);
        decoder.check_token(node);
    }),
    show: Show::Value(|raw| {
        let address = match raw.process.admin.as_ref()? {
            AdminAddress::Tcp(address) => quoted(&address.to_string()),
            AdminAddress::Unix(path) => quoted(&format!("unix:{}", path.display())),
        };
        Some(address + &in_line(&ADMIN_PROPERTIES, raw))
    }),
};

static ZONE: Row<RawProcess> = Row {
    node: NodeRow {
        name: "zone",
        arguments: &[argument("name", Kind::Token, One)],
        doc: "The zone of the process: endpoints of the same `zone` are used first.",
        default: "none",
        example: "process { zone \"eu-1a\" }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, name| raw.process.zone = Some(name.text().into())),
    show: Show::Value(|raw| raw.process.zone.as_deref().map(quoted)),
};

static LEVELS: &[WordRow] = &[
    word("error", "act now"),
    word("warn", "degraded, still serving"),
    word("info", "the life cycle of the process"),
    word("debug", "each connection"),
    word(
        "trace",
        "everything; the same as `debug` in a release build, which omits these calls for their cost",
    ),
];

static PROCESS_LOG_PROPERTIES: [Property<RawProcess>; 5] = [
    ACCESS_ROW.of(
        |raw, to| raw.process.access_log = to.log(),
        |raw| Some(log_text(&raw.process.access_log)),
    ),
    FORMAT_ROW.of(
        |raw, format| {
            if let Datum::AccessFormat(format) = format {
                raw.process.access_format.clone_from(format);
            }
        },
        |raw| Some(format_text(&raw.process.access_format)),
    ),
    FIELDS_ROW.of(
        |raw, names| raw.process.access_fields = Some(names.texts().into()),
        |raw| raw.process.access_fields.as_deref().and_then(joined),
    ),
    property("error", Kind::Log, "stderr", "Where the error log goes.").of(
        |raw, to| raw.process.error_log = to.log(),
        |raw| Some(log_text(&raw.process.error_log)),
    ),
    property("level", Kind::Word(LEVELS), "info", "The least severe level of the error log.").of(
        |raw, level| raw.process.error_level = level.text().into(),
        |raw| Some(raw.process.error_level.to_string()),
    ),
];

static LOG: Row<RawProcess> = Row {
    node: NodeRow {
        name: "log",
        properties: &PROCESS_LOG_PROPERTIES,
        doc: "Where logs go, and their format. A `log` in a site, route or `forward` sets another access log there.",
        example: "process { log access=off error=\"/var/log/bothways/error.log\" level=warn }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        node.put(&PROCESS_LOG_PROPERTIES, raw);
        let process = &mut raw.process;
        if let Some(given) = node.property("access") {
            process.access_place = decoder.place(given.span);
        }
        if let Some(given) = node.property("error") {
            process.error_place = decoder.place(given.span);
        }
        decoder.check_log_fields(node, Some(&process.access_log), Some(&process.access_format));
    }),
    show: Show::Lines(|out, raw, shown| {
        out.properties(shown, None, &PROCESS_LOG_PROPERTIES, raw, false)
    }),
};

static DRAIN: Row<RawProcess> = Row {
    node: NodeRow {
        name: "drain",
        arguments: &[argument("time", Kind::Duration { zero: true }, One)],
        doc: "How long open exchanges and tunnels may take to finish after SIGTERM.",
        default: "30s",
        example: "process { drain \"1min\" }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, time| raw.process.drain = time.duration()),
    show: Show::Value(|raw| Some(time(raw.process.drain))),
};

static CONNECTIONS: Row<RawProcess> = Row {
    node: NodeRow {
        name: "connections",
        arguments: &[argument("number", Kind::Number { min: 1, max: u32::MAX as u64 }, One)],
        doc: "Concurrent client connections in the whole process; further ones wait to be accepted.",
        default: "from the limit of open files",
        example: "process { connections 10000 }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, number| raw.process.connections_max = Some(number.number_in())),
    show: Show::Value(|raw| raw.process.connections_max.map(|number| number.to_string())),
};

static RESOLVER: Row<RawProcess> = Row {
    node: NodeRow {
        name: "resolver",
        block: Some(&RESOLVER_BLOCK),
        doc: "How names are looked up.",
        default: "as the system does",
        example: "process {\n    resolver {\n        server \"127.0.0.1:5353\"\n        ttl-max \"5min\"\n    }\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.resolver(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        out.open(shown);
        out.rows(shown.depth + 1, &RESOLVER_BLOCK, &raw.process.resolver, &raw.resolver_set);
    }),
};

pub(crate) static RESOLVER_BLOCK: Table<ResolverSettings> =
    Table { name: "resolver", rows: &[&SERVER, &TIMEOUT, &TRIES, &HOSTS, &TTL_MIN, &TTL_MAX] };

static SERVER: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "server",
        arguments: &[argument("address", Kind::Socket, AtLeastOne)],
        repeats: true,
        doc: "Name servers to ask, in this order.",
        default: "those of the system",
        example: "process { resolver { server \"127.0.0.1:5353\"; } }",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, resolver, node| {
        resolver.servers.extend(node.data().filter_map(|datum| match datum {
            Datum::Socket(address) => Some(*address),
            _ => None,
        }));
    }),
    show: Show::Value(|resolver| {
        list(resolver.servers.iter().map(|server| quoted(&server.to_string())))
    }),
};

static TIMEOUT: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "timeout",
        arguments: &[argument("time", Kind::Duration { zero: false }, One)],
        doc: "How long one try may take.",
        default: "2s",
        ..NodeRow::NEW
    },
    read: Read::Value(|resolver, time| resolver.timeout = time.duration()),
    show: Show::Value(|resolver| Some(time(resolver.timeout))),
};

static TRIES: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "tries",
        arguments: &[argument("number", Kind::Number { min: 1, max: 10 }, One)],
        doc: "How often the proxy asks a name server before it gives up.",
        default: "2",
        ..NodeRow::NEW
    },
    read: Read::Value(|resolver, number| resolver.tries = number.number_in()),
    show: Show::Value(|resolver| Some(resolver.tries.to_string())),
};

static HOSTS: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "hosts",
        arguments: &[argument("flag", Kind::Flag, One)],
        doc: "Whether the proxy uses `/etc/hosts`.",
        default: "#true",
        ..NodeRow::NEW
    },
    read: Read::Value(|resolver, honoured| resolver.hosts = honoured.flag()),
    show: Show::Value(|resolver| Some(flag(resolver.hosts))),
};

static TTL_MIN: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "ttl-min",
        arguments: &[argument("time", Kind::Duration { zero: true }, One)],
        doc: "The shortest time to cache an answer, even if its time to live is shorter.",
        default: "1s",
        ..NodeRow::NEW
    },
    read: Read::Value(|resolver, time| resolver.ttl_min = time.duration()),
    show: Show::Value(|resolver| Some(time(resolver.ttl_min))),
};

static TTL_MAX: Row<ResolverSettings> = Row {
    node: NodeRow {
        name: "ttl-max",
        arguments: &[argument("time", Kind::Duration { zero: false }, One)],
        doc: "The longest time to cache an answer, even if its time to live is longer.",
        default: "1h",
        ..NodeRow::NEW
    },
    read: Read::Value(|resolver, time| resolver.ttl_max = time.duration()),
    show: Show::Value(|resolver| Some(time(resolver.ttl_max))),
};
