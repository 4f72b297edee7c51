//! `cache`: how responses are stored and reused; and the store of the process.

use super::Count::{AtLeastOne, One, Optional};
use super::balancing::{DURATION_OR_ZERO, OFF};
use super::rows::{argument, property, word};
use super::texts::{flag, joined, list, path, time};
use super::{Kind, NodeRow, Property, Read, Row, Show, Table, WordRow, in_line};
use crate::decode::{
    HasLayer, Origins, RawCacheCondition, RawCaching, RawProcess, RawStore, RawTtl,
};
use crate::effective::quoted;
use crate::model::{
    CacheCondition, CacheKey, CacheMethods, CacheStatuses, Caching, NamePattern, QueryKey, TtlMode,
};
use crate::values::{Datum, nets_text, size_text};

const METHODS: &[WordRow] = &[
    word("GET,HEAD", "a HEAD is answered from what a GET has brought"),
    word("GET", "HEAD goes to the endpoint"),
];

const SET_COOKIE: &[WordRow] = &[
    word("skip", "it is not"),
    word(
        "store",
        "it is, and every client gets the same cookie: only where that cookie is the same for all",
    ),
];

const TAGS: &[WordRow] = &[
    word("keep", "they go to the client"),
    word("remove", "they do not, for the last cache before clients"),
];

const NO_QUERY: &[WordRow] = &[word("none", "no parameter counts")];

/// The properties of `cache`; `respect`: whether the request's own `Cache-Control` counts by default.
const fn properties(respect: &'static str) -> [Property<RawCaching>; 13] {
    [
        property(
            "ttl",
            DURATION_OR_ZERO,
            "",
            "How long a response is fresh if it does not say so itself (no `Cache-Control` with an age, no `Expires`): for the statuses that HTTP lets a cache store then (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501). Without it, a tenth of the time since `Last-Modified`. Rows of the block name statuses. It never makes a response storable that says `no-store` or `private`; see `override`.",
        )
        .of(
            |it, value| it.ttl = Some(value.duration()),
            |it| Some(time(it.caching.ttls.iter().find(|row| row.statuses == CacheStatuses::All)?.time)),
        ),
        property(
            "if-silent",
            Kind::Flag,
            "#true",
            "Whether the times here count only where the response says nothing. `#false`: they are a floor, and a response is fresh for the longer of the two.",
        )
        .of(
            |it, value| it.if_silent = Some(value.flag()),
            |it| match it.caching.ttl_mode {
                TtlMode::IfSilent => Some(flag(true)),
                TtlMode::Floor => Some(flag(false)),
                TtlMode::Override => None,
            },
        ),
        property(
            "override",
            Kind::Flag,
            "#false",
            "Whether the times here replace whatever the response says, even `no-store` and `no-cache` (not `private`). For endpoints that forbid what they do not mean; never for responses that differ by user.",
        )
        .of(
            |it, value| it.is_override = value.flag(),
            |it| Some(flag(it.caching.ttl_mode == TtlMode::Override)),
        ),
        property(
            "stale",
            DURATION_OR_ZERO,
            "0s",
            "For how long a response that is no longer fresh is still sent: at once, while a new one is fetched behind, and if endpoints fail (no connection, a time-out, 500, 502, 503, 504). It holds where the response says nothing of `stale-while-revalidate` and `stale-if-error` (RFC 5861); `no-cache`, `must-revalidate`, `proxy-revalidate` and `s-maxage` forbid both. `stale` in the block sets the two apart.",
        )
        .of(
            |it, value| it.stale = Some(value.duration()),
            |it| {
                let Caching { stale_while_revalidate, stale_on_error, .. } = it.caching;
                (stale_while_revalidate == stale_on_error).then(|| time(stale_on_error))
            },
        ),
        property(
            "max-object",
            Kind::Size { min: 1024, max: 1 << 40 },
            "64MiB",
            "The largest body that is stored; a larger one passes through.",
        )
        .of(
            |it, size| it.caching.max_object = size.number(),
            |it| Some(quoted(&size_text(it.caching.max_object))),
        ),
        property(
            "min-uses",
            Kind::Number { min: 1, max: 1000 },
            "1",
            "How many requests there must be for a response before it is stored. Above 1, what is asked for once takes no room.",
        )
        .of(
            |it, number| it.caching.min_uses = number.number_in(),
            |it| Some(it.caching.min_uses.to_string()),
        ),
        property("methods", Kind::Word(METHODS), "GET,HEAD", "Which requests are answered from the store.")
            .of(
                |it, word| {
                    it.caching.methods = match word.text() {
                        "GET" => CacheMethods::Get,
                        _ => CacheMethods::GetAndHead,
                    };
                },
                |it| {
                    Some(match it.caching.methods {
                        CacheMethods::Get => "GET".into(),
                        CacheMethods::GetAndHead => quoted("GET,HEAD"),
                    })
                },
            ),
        property(
            "lock",
            DURATION_OR_ZERO,
            "5s",
            "Of several requests for the same, one goes to an endpoint, and the others get the same response as it arrives. This is how long they wait for it to begin; then they go themselves. `0s`: none waits.",
        )
        .of(|it, value| it.caching.lock = value.duration(), |it| Some(time(it.caching.lock))),
        property(
            "respect-client",
            Kind::Flag,
            respect,
            "Whether the request's own `Cache-Control` counts: `no-cache` (reload), `no-store`, `max-age`, `max-stale`, `min-fresh`, `only-if-cached` (504 if nothing is stored). Where it does, every client can make the endpoints answer.",
        )
        .of(
            |it, value| it.caching.respect_client = value.flag(),
            |it| Some(flag(it.caching.respect_client)),
        ),
        property(
            "status-field",
            Kind::Flag,
            "#true",
            "Whether responses say in `Cache-Status` (RFC 9211) what the cache did.",
        )
        .of(
            |it, value| it.caching.status_field = value.flag(),
            |it| Some(flag(it.caching.status_field)),
        ),
        property("set-cookie", Kind::Word(SET_COOKIE), "skip", "Whether a response with `Set-Cookie` is stored.")
            .of(
                |it, word| it.caching.store_set_cookie = word.text() == "store",
                |it| Some(if it.caching.store_set_cookie { "store".into() } else { "skip".into() }),
            ),
        property(
            "tags",
            Kind::Word(TAGS),
            "keep",
            "What becomes of `Surrogate-Key` and `Cache-Tag`, the tags by which `bothways cache purge --tag` finds responses.",
        )
        .of(
            |it, word| it.caching.remove_tags = word.text() == "remove",
            |it| Some(if it.caching.remove_tags { "remove".into() } else { "keep".into() }),
        ),
        property(
            "finish",
            Kind::Size { min: 0, max: 1 << 40 },
            "16MiB",
            "A response that is being stored is fetched to its end, even if all clients have left, if no more bytes than this are missing; if its length is unknown, if no more than this have come.",
        )
        .of(
            |it, size| it.caching.finish = size.number(),
            |it| Some(quoted(&size_text(it.caching.finish))),
        ),
    ]
}

pub(crate) static CACHE_PROPERTIES: [Property<RawCaching>; 13] = properties("#false");
pub(crate) static FORWARD_CACHE_PROPERTIES: [Property<RawCaching>; 13] = properties("#true");

impl<T: HasLayer> Row<T> {
    pub(super) const CACHE: Self = Row {
        node: NodeRow {
            name: "cache",
            arguments: &[argument("off", Kind::Word(OFF), Optional)],
            properties: &CACHE_PROPERTIES,
            block: Some(&CACHE_BLOCK),
            doc: "Stores responses of endpoints, and answers from the store as long as they are fresh, by the rules of HTTP (RFC 9111): by what the response says of itself, and by `ttl` where it says nothing. What is for one user is not stored: responses with `private`, `no-store` or `Set-Cookie`, and those to users who have logged in, by `Authorization` or by `login`, unless they say `public`, `s-maxage` or `must-revalidate`. A `cache` in a route replaces the site's as a whole; `cache off`: the route stores nothing. [caching.md](caching.md) has examples.",
            default: "off",
            example: "site \"shop.example.com\" {\n    cache\n    route \"/img/*\" {\n        cache ttl=\"1h\" stale=\"1d\" {\n            key { query drop=\"utm_*,fbclid\"; }\n        }\n        to \"10.0.0.1:8080\"\n    }\n    route \"/cart/*\" {\n        cache off\n        to \"10.0.0.1:8080\"\n    }\n    to \"10.0.0.1:8080\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            let raw = decoder.caching(node, &CACHE_PROPERTIES, Caching::new);
            of.layer_mut().caching = raw;
        }),
        show: Show::Lines(|out, of, shown| out.caching(of.layer(), shown, &CACHE_PROPERTIES)),
    };

    pub(super) const FORWARD_CACHE: Self = Row {
        node: NodeRow {
            properties: &FORWARD_CACHE_PROPERTIES,
            doc: "The same for what clients of a forward proxy fetch by `http://`; nothing is seen of what they fetch through tunnels (`https://`). What the request says of caching counts, as in a browser's own cache.",
            example: "forward \":3128\" {\n    allow from=\"10.0.0.0/8\"\n    cache max-object=\"2GiB\"\n}",
            ..Self::CACHE.node
        },
        read: Read::Node(|decoder, of, node| {
            let raw = decoder.caching(node, &FORWARD_CACHE_PROPERTIES, Caching::forward);
            of.layer_mut().caching = raw;
        }),
        show: Show::Lines(|out, of, shown| {
            out.caching(of.layer(), shown, &FORWARD_CACHE_PROPERTIES);
        }),
    };
}

pub(crate) static CACHE_BLOCK: Table<RawCaching> =
    Table { name: "cache", rows: &[&TTL, &STALE, &KEY, &BYPASS, &PASS, &PURGE] };

pub(crate) static TTL_PROPERTIES: [Property<RawTtl>; 1] = [property(
    "status",
    Kind::StoredStatuses,
    "",
    "Of which statuses: one, a class such as `\"5xx\"`, or several with commas. Without it, as the property `ttl`.",
)
.of(
    |it, statuses| it.statuses = statuses.statuses(),
    |it| (!it.statuses.is_empty()).then(|| ttl_statuses(&it.statuses)),
)];

/// Statuses as they are written for a time.
fn ttl_statuses(statuses: &[(u16, u16)]) -> String {
    let text = |&(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{}xx", first / 100),
    };
    quoted(&statuses.iter().map(text).collect::<Vec<_>>().join(","))
}

static TTL: Row<RawCaching> = Row {
    node: NodeRow {
        name: "ttl",
        arguments: &[argument("time", DURATION_OR_ZERO, One)],
        properties: &TTL_PROPERTIES,
        repeats: true,
        doc: "How long responses of some statuses are fresh, as the property `ttl`. A single status counts before its class. A status named here may be stored although HTTP would not let a cache store it without a word of the endpoint, such as 302 or 503.",
        default: "the property `ttl`",
        example: "site \"a.example\" {\n    cache ttl=\"1h\" {\n        ttl \"1min\" status=404\n        ttl \"10s\" status=\"302,5xx\"\n    }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.cache_ttl(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        for row in &raw.caching.ttls {
            let statuses = match row.statuses {
                CacheStatuses::All => continue, // the property
                CacheStatuses::Exact(status) => (status, status),
                CacheStatuses::Class(digit) => {
                    (u16::from(digit) * 100, u16::from(digit) * 100 + 99)
                }
            };
            let ttl = RawTtl { statuses: vec![statuses] };
            let text = time(row.time) + &in_line(&TTL_PROPERTIES, &ttl);
            out.line_at(shown, text, raw.caching.place);
        }
    }),
};

pub(crate) static STALE_PROPERTIES: [Property<Caching>; 2] = [
    property(
        "while-revalidate",
        DURATION_OR_ZERO,
        "0s",
        "How long it is sent at once while a new one is fetched.",
    )
    .of(
        |it, value| it.stale_while_revalidate = value.duration(),
        |it| Some(time(it.stale_while_revalidate)),
    ),
    property("on-error", DURATION_OR_ZERO, "0s", "How long it is sent if endpoints fail.")
        .of(|it, value| it.stale_on_error = value.duration(), |it| Some(time(it.stale_on_error))),
];

static STALE: Row<RawCaching> = Row {
    node: NodeRow {
        name: "stale",
        properties: &STALE_PROPERTIES,
        doc: "The property `stale` in its two parts.",
        default: "the property `stale`",
        example: "site \"a.example\" {\n    cache { stale while-revalidate=\"1min\" on-error=\"1d\"; }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.cache_stale(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        if raw.caching.stale_while_revalidate != raw.caching.stale_on_error {
            let text = in_line(&STALE_PROPERTIES, &raw.caching);
            out.line_at(shown, text.trim_start(), raw.caching.place);
        }
    }),
};

static KEY: Row<RawCaching> = Row {
    node: NodeRow {
        name: "key",
        block: Some(&CACHE_KEY_BLOCK),
        doc: "What requests must have in common to get the same response, besides scheme, host and path, and besides the fields that the response names in `Vary`. What the key leaves out must make no difference to the response.",
        default: "the whole query",
        example: "site \"a.example\" {\n    cache {\n        key {\n            query drop=\"utm_*\" sort=#true\n            cookie \"lang\"\n        }\n    }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        decoder.block(node, &CACHE_KEY_BLOCK, &mut raw.caching.key);
    }),
    show: Show::Lines(|out, raw, shown| {
        if raw.caching.key != CacheKey::default() {
            out.block_at(shown, "", raw.key_span);
            let set = Origins::everything_at(raw.key_span);
            out.rows(shown.depth + 1, &CACHE_KEY_BLOCK, &raw.caching.key, &set);
        }
    }),
};

pub(crate) static CACHE_KEY_BLOCK: Table<CacheKey> =
    Table { name: "key of cache", rows: &[&QUERY, &FIELD, &COOKIE] };

fn patterns_text(patterns: &[NamePattern]) -> Option<String> {
    let text = |name: &NamePattern| {
        let star = if name.is_prefix { "*" } else { "" };
        format!("{}{star}", name.text)
    };
    joined(&patterns.iter().map(text).collect::<Vec<_>>())
}

fn patterns(names: &Datum) -> Box<[NamePattern]> {
    names.texts().iter().map(|name| NamePattern::new(name)).collect()
}

pub(crate) static QUERY_PROPERTIES: [Property<CacheKey>; 3] = [
    property(
        "keep",
        Kind::NamePatterns,
        "",
        "Only these parameters count. `*` at the end: all that begin so; separate several with commas.",
    )
    .of(
        |it, names| it.query = QueryKey::Keep(patterns(names)),
        |it| match &it.query {
            QueryKey::Keep(names) => patterns_text(names),
            QueryKey::All | QueryKey::None | QueryKey::Drop(_) => None,
        },
    ),
    property("drop", Kind::NamePatterns, "", "All but these count.").of(
        |it, names| it.query = QueryKey::Drop(patterns(names)),
        |it| match &it.query {
            QueryKey::Drop(names) => patterns_text(names),
            QueryKey::All | QueryKey::None | QueryKey::Keep(_) => None,
        },
    ),
    property("sort", Kind::Flag, "#false", "Whether the order of the parameters makes no difference.")
        .of(|it, value| it.sort_query = value.flag(), |it| it.sort_query.then(|| flag(true))),
];

static QUERY: Row<CacheKey> = Row {
    node: NodeRow {
        name: "query",
        arguments: &[argument("none", Kind::Word(NO_QUERY), Optional)],
        properties: &QUERY_PROPERTIES,
        doc: "Which parameters of the query count, by their names as the client wrote them. A request whose response is to be stored goes to the endpoint with these parameters alone, so that the others can make no difference for those who get the same response.",
        default: "all of them, in their order",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, key, node| decoder.cache_query(key, node)),
    show: Show::Lines(|out, key, shown| {
        let head = if key.query == QueryKey::None { "none" } else { "" };
        let text = format!("{head}{}", in_line(&QUERY_PROPERTIES, key));
        if !text.is_empty() {
            out.line(shown, text.trim_start());
        }
    }),
};

/// Adds names to a list that has each once.
fn add_names(
    names: &mut Box<[Box<str>]>,
    more: impl Iterator<Item = Box<str>>,
    same: fn(&str, &str) -> bool,
) {
    let mut all = std::mem::take(names).into_vec();
    for name in more {
        if !all.iter().any(|known| same(known, &name)) {
            all.push(name);
        }
    }
    *names = all.into();
}

static FIELD: Row<CacheKey> = Row {
    node: NodeRow {
        name: "field",
        arguments: &[argument("name", Kind::FieldName, AtLeastOne)],
        repeats: true,
        doc: "Fields of the request whose values count, although the response does not name them in `Vary`.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, key, node| {
        decoder.check_key_fields(node);
        let names = node.data().map(|name| name.text().into());
        add_names(&mut key.fields, names, str::eq_ignore_ascii_case);
    }),
    show: Show::Lines(|out, key, shown| {
        if let Some(names) = list(key.fields.iter().map(|name| quoted(name))) {
            out.line(shown, names);
        }
    }),
};

static COOKIE: Row<CacheKey> = Row {
    node: NodeRow {
        name: "cookie",
        arguments: &[argument("name", Kind::Token, AtLeastOne)],
        repeats: true,
        doc: "Cookies of the request whose values count.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, key, node| {
        let names = node.data().map(|name| name.text().into());
        add_names(&mut key.cookies, names, |known, name| known == name);
    }),
    show: Show::Lines(|out, key, shown| {
        if let Some(names) = list(key.cookies.iter().map(|name| quoted(name))) {
            out.line(shown, names);
        }
    }),
};

pub(crate) static CACHE_CONDITION_PROPERTIES: [Property<RawCacheCondition>; 4] = [
    property("field", Kind::FieldName, "", "A field that the request must have.")
        .of(|it, name| it.field = Some(name.text().into()), |it| it.field.as_deref().map(quoted)),
    property(
        "cookie",
        Kind::Token,
        "",
        "A cookie that it must have; `*` at the end: any that begins so.",
    )
    .of(|it, name| it.cookie = Some(name.text().into()), |it| it.cookie.as_deref().map(quoted)),
    property("is", Kind::Text, "", "What its value must be; without `is` and `matches`, anything.")
        .of(|it, text| it.is = Some(text.text().into()), |it| it.is.as_deref().map(quoted)),
    property("matches", Kind::Regex, "", "A regular expression that must be found in its value.")
        .of(
            |it, regex| {
                if let Datum::Regex(regex) = regex {
                    it.matches = Some(regex.clone());
                }
            },
            |it| it.matches.as_ref().map(|regex| quoted(regex.as_str())),
        ),
];

static BYPASS: Row<RawCaching> = Row {
    node: NodeRow {
        name: "bypass",
        properties: &CACHE_CONDITION_PROPERTIES,
        repeats: true,
        doc: "Requests that are not answered from the store: the response comes from an endpoint, and is stored. For those who may refresh what all others get.",
        default: "none",
        example: "site \"a.example\" {\n    cache { bypass field=\"X-Refresh\" is=\"s3cret\"; }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        raw.bypass.extend(decoder.cache_condition(node));
    }),
    show: Show::Lines(|out, raw, shown| out.cache_conditions(&raw.caching.bypass, shown)),
};

static PASS: Row<RawCaching> = Row {
    node: NodeRow {
        name: "pass",
        properties: &CACHE_CONDITION_PROPERTIES,
        repeats: true,
        doc: "Requests that the cache has nothing to do with: they are neither answered from the store nor are their responses stored. For users who have logged in with a cookie and get pages of their own.",
        default: "none",
        example: "site \"blog.example\" {\n    cache { pass cookie=\"wordpress_logged_in_*\"; }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        raw.pass.extend(decoder.cache_condition(node));
    }),
    show: Show::Lines(|out, raw, shown| out.cache_conditions(&raw.caching.pass, shown)),
};

impl From<&CacheCondition> for RawCacheCondition {
    fn from(condition: &CacheCondition) -> Self {
        use crate::model::{CacheConditionOn, CacheValue};
        let mut raw = Self::default();
        match &condition.what {
            CacheConditionOn::Field(name) => raw.field = Some(name.clone()),
            CacheConditionOn::Cookie(name) => {
                let star = if name.is_prefix { "*" } else { "" };
                raw.cookie = Some(format!("{}{star}", name.text).into());
            }
        }
        match &condition.value {
            CacheValue::Any => {}
            CacheValue::Is(text) => raw.is = Some(text.clone()),
            CacheValue::Matches(regex) => raw.matches = Some(regex.clone()),
        }
        raw
    }
}

pub(crate) static PURGE_PROPERTIES: [Property<Caching>; 1] = [property(
    "from",
    Kind::Networks,
    "",
    "Networks of the client; separate several with commas. Required.",
)
.of(
    |it, nets| {
        if let Datum::Networks(nets) = nets {
            it.purge_from = nets.as_slice().into();
        }
    },
    |it| (!it.purge_from.is_empty()).then(|| quoted(&nets_text(&it.purge_from))),
)];

static PURGE: Row<RawCaching> = Row {
    node: NodeRow {
        name: "purge",
        properties: &PURGE_PROPERTIES,
        doc: "Who may remove a response from the store by a request with the method `PURGE` and its URL, as applications do that were made for Varnish. `bothways cache purge` needs no such line.",
        default: "none: `PURGE` goes to the endpoint like any other method",
        example: "site \"blog.example\" {\n    cache { purge from=\"10.0.0.5\"; }\n    to \"10.0.0.5:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.cache_purge(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        let text = in_line(&PURGE_PROPERTIES, &raw.caching);
        if !text.is_empty() {
            out.line_at(shown, text.trim_start(), raw.caching.place);
        }
    }),
};

pub(crate) static STORE_PROPERTIES: [Property<RawStore>; 4] = [
    property(
        "memory",
        Kind::Size { min: 1 << 20, max: 1 << 50 },
        "128MiB",
        "How much memory it may use, its own book-keeping counted in. It is used as far as there is something to store.",
    )
    .of(|it, size| it.memory = size.number(), |it| Some(quoted(&size_text(it.memory)))),
    property(
        "disk",
        Kind::Path,
        "",
        "A directory for what has no room in memory, and what outlasts a restart. Not in this version: responses are kept in memory alone, and `check` warns.",
    )
    .of(|it, file| it.disk = Some(file.path()), |it| it.disk.as_deref().map(path)),
    property(
        "max",
        Kind::Size { min: 16 << 20, max: 1 << 60 },
        "",
        "How much of the disk it may use; needed with `disk`.",
    )
    .of(|it, size| it.max = Some(size.number()), |it| it.max.map(|max| quoted(&size_text(max)))),
    property(
        "key-file",
        Kind::Path,
        "",
        "A file with a key by which everything on disk is encrypted.",
    )
    .of(|it, file| it.key_file = Some(file.path()), |it| it.key_file.as_deref().map(path)),
];

pub(super) static STORE: Row<RawProcess> = Row {
    node: NodeRow {
        name: "cache",
        properties: &STORE_PROPERTIES,
        doc: "The store of responses: one for all sites and forward listeners. What is stored is said by `cache` there. What is used least makes room for what is new.",
        default: "128 MiB of memory, if anything is stored",
        example: "process { cache memory=\"512MiB\"; }\nsite \"a.example\" { cache; to \"10.0.0.1:80\"; }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| decoder.cache_store(raw, node)),
    show: Show::Lines(|out, raw, shown| {
        let store = RawStore::from(&raw.process.cache);
        out.properties(shown, None, &STORE_PROPERTIES, &store, false);
    }),
};
