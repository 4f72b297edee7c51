//! Every node of the language, block by block.

use super::Count::{Any, AtLeastOne, One};
use super::balancing::{BALANCE_BLOCK, HEALTH_BLOCK, UPSTREAM_BLOCK};
use super::forward_rules::{ALLOW, DENY};
use super::layer::{FIELDS_BLOCK, FILES_BLOCK, SPLIT_BLOCK};
use super::process::{PROCESS_BLOCK, RESOLVER_BLOCK};
use super::secure::{
    ACME, ACME_BLOCK, FORWARD_TLS, FORWARD_TLS_BLOCK, HTTP2, REDIRECT_HTTP, SITE_TLS, TLS_BLOCK,
    UPSTREAM_TLS_BLOCK,
};
use super::texts::{flag, joined, list};
use super::tries::RETRY_BLOCK;
use super::{
    ArgumentRow, Block, Count, Kind, LIMITS, NodeRow, Property, PropertyRow, Read, Row, Scope,
    Secrecy, Show, TIMEOUTS, Table, WordRow, in_line, limits_block, timeouts_block,
};
use crate::decode::{
    Given, Layer, Origins, Raw, RawForward, RawListen, RawProcess, RawRoute, RawSite, RawUpstream,
    add_networks, addresses, quoted_unless_number,
};
use crate::effective::quoted;
use crate::model::{Anonymous, Expect, ProxyProtocol, SiteId};
use crate::values::{Datum, nets_text, ports_text};

pub(super) const fn argument(name: &'static str, kind: Kind, count: Count) -> ArgumentRow {
    // Whatever row has the value of a field: its name may make it a secret.
    let secrecy = match kind {
        Kind::ValueTemplate | Kind::FieldValue => Secrecy::OfField,
        _ => Secrecy::Open,
    };
    ArgumentRow { name, kind, count, secrecy }
}

pub(super) const fn property(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> PropertyRow {
    PropertyRow { name, kind, default, doc, secrecy: Secrecy::Open }
}

pub(super) const fn word(word: &'static str, doc: &'static str) -> WordRow {
    WordRow { word, doc }
}

/// What may stand at the top level.
pub(crate) static TOP: Table<Raw> = Table {
    name: "the top level",
    rows: &[
        &INCLUDE,
        &PROCESS,
        &TOP_TIMEOUTS,
        &TOP_LIMITS,
        &TOP_TRUSTED_PROXY,
        &LISTEN,
        &SITE,
        &UPSTREAM,
        &FORWARD,
        &ACME,
        &EXPECT,
    ],
};

/// Every block that has an entry in the reference, in its order.
pub(crate) static BLOCKS: &[&dyn Block] = &[
    &TOP,
    &PROCESS_BLOCK,
    &RESOLVER_BLOCK,
    &LISTEN_BLOCK,
    &SITE_BLOCK,
    &ROUTE_BLOCK,
    &FIELDS_BLOCK,
    &FILES_BLOCK,
    &TLS_BLOCK,
    &SPLIT_BLOCK,
    &UPSTREAM_BLOCK,
    &BALANCE_BLOCK,
    &HEALTH_BLOCK,
    &RETRY_BLOCK,
    &UPSTREAM_TLS_BLOCK,
    &FORWARD_BLOCK,
    &FORWARD_TLS_BLOCK,
    &ANONYMOUS_BLOCK,
    &ACME_BLOCK,
];

static INCLUDE: Row<Raw> = Row {
    node: NodeRow {
        name: "include",
        arguments: &[argument("file", Kind::Path, AtLeastOne)],
        repeats: true,
        doc: "Reads other files as if they stood here. A relative path starts at the directory of this file; `*` and `?` stand for any characters of a name, and the files that match are read in the order of their names. A pattern may match nothing; a file without `*` and `?` must be there. No file is read twice.",
        example: "include \"sites/*.kdl\"",
        ..NodeRow::NEW
    },
    // What it names has been read already, and stands beside it.
    read: Read::Node(|_, _, _| {}),
    show: Show::Lines(|_, _, _| {}),
};

static PROCESS: Row<Raw> = Row {
    node: NodeRow {
        name: "process",
        block: Some(&PROCESS_BLOCK),
        doc: "Settings of the process as a whole.",
        example: "process {\n    cores 4\n    admin \"127.0.0.1:9900\"\n    log access=\"/var/log/bothways/access.log\" format=json level=info\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        let mut process = RawProcess::default();
        process.set = decoder.block(node, &PROCESS_BLOCK, &mut process);
        raw.process = process;
    }),
    show: Show::Lines(|out, raw, shown| {
        out.open(shown);
        out.rows(shown.depth + 1, &PROCESS_BLOCK, &raw.process, &raw.process.set);
    }),
};

static TOP_TIMEOUTS: Row<Raw> = Row {
    node: timeouts(Scope::Top),
    read: Read::Node(|decoder, raw, node| raw.timeouts = decoder.overrides(node, TIMEOUTS)),
    show: Show::Lines(|out, _, shown| {
        let bounds = out.bounds.clone();
        out.settings(shown, TIMEOUTS, Scope::Top, &bounds.timeouts);
    }),
};
static LISTEN_TIMEOUTS: Row<RawListen> = Row {
    node: timeouts(Scope::Listen),
    read: Read::Node(|decoder, listen, node| listen.timeouts = decoder.overrides(node, TIMEOUTS)),
    show: Show::Lines(|out, listen, shown| {
        out.settings(shown, TIMEOUTS, Scope::Listen, &listen.bounds.timeouts)
    }),
};
pub(super) static UPSTREAM_TIMEOUTS: Row<RawUpstream> = Row {
    node: timeouts(Scope::Upstream),
    read: Read::Node(|decoder, raw, node| raw.timeouts = decoder.overrides(node, TIMEOUTS)),
    show: Show::Lines(|out, raw, shown| out.overrides(shown, TIMEOUTS, &raw.timeouts)),
};
static TOP_LIMITS: Row<Raw> = Row {
    node: limits(Scope::Top),
    read: Read::Node(|decoder, raw, node| raw.limits = decoder.overrides(node, LIMITS)),
    show: Show::Lines(|out, _, shown| {
        let bounds = out.bounds.clone();
        out.settings(shown, LIMITS, Scope::Top, &bounds.limits);
    }),
};
static LISTEN_LIMITS: Row<RawListen> = Row {
    node: limits(Scope::Listen),
    read: Read::Node(|decoder, listen, node| listen.limits = decoder.overrides(node, LIMITS)),
    show: Show::Lines(|out, listen, shown| {
        out.settings(shown, LIMITS, Scope::Listen, &listen.bounds.limits)
    }),
};

pub(super) const fn timeouts(scope: Scope) -> NodeRow {
    NodeRow {
        name: "timeouts",
        block: Some(timeouts_block(scope)),
        doc: "How long things may take: see [timeouts](#timeouts). What is set here wins over what is set further out.",
        example: "timeouts {\n    connect \"3s\"\n    first-byte \"2min\"\n}",
        ..NodeRow::NEW
    }
}

pub(super) const fn limits(scope: Scope) -> NodeRow {
    NodeRow {
        name: "limits",
        block: Some(limits_block(scope)),
        doc: "How much of something is taken: see [limits](#limits). What is set here wins over what is set further out.",
        example: "limits {\n    body \"10MiB\"\n}",
        ..NodeRow::NEW
    }
}

const TRUSTED_PROXY: NodeRow = NodeRow {
    name: "trusted-proxy",
    arguments: &[argument("network", Kind::Networks, AtLeastOne)],
    repeats: true,
    doc: "Peers whose `X-Forwarded-*` and `Forwarded` fields are believed: they say who the client is (as far back as the proxies in between are trusted too), and which scheme and host it asked for, which `{client}`, `{scheme}`, `{host}`, `Secure` of cookies, `hsts` and `redirect-http` go by. Where both kinds say different things, `X-Forwarded-*` counts. Of all others every `X-Forwarded-…`, `Forwarded`, `X-Real-IP`, `X-Original-URL` and `X-Rewrite-URL` is dropped. At the top level for every listening address, in `listen` for that one in addition.",
    default: "none",
    example: "trusted-proxy \"10.0.0.0/8\" \"192.0.2.1\"",
    ..NodeRow::NEW
};

static TOP_TRUSTED_PROXY: Row<Raw> = Row {
    node: TRUSTED_PROXY,
    read: Read::Node(|_, raw, node| {
        raw.trusted_proxies_span.get_or_insert(node.name_span());
        add_networks(&mut raw.trusted_proxies, node);
    }),
    show: Show::With("listen"),
};

static LISTEN_TRUSTED_PROXY: Row<RawListen> = Row {
    node: TRUSTED_PROXY,
    read: Read::Node(|_, listen, node| add_networks(&mut listen.trusted_proxies, node)),
    show: Show::Value(|listen| {
        list(listen.trusted_proxies.iter().map(|net| quoted(&nets_text(&[*net]))))
    }),
};

static LISTEN: Row<Raw> = Row {
    node: NodeRow {
        name: "listen",
        arguments: &[argument("address", Kind::Listen, One)],
        block: Some(&LISTEN_BLOCK),
        repeats: true,
        doc: "Options of an address that sites or a `forward` listen on. Needed only where there are options.",
        example: "listen \":8080\" {\n    proxy-protocol required\n    trusted-proxy \"10.0.0.0/8\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.listens.extend(decoder.listen(node))),
    show: Show::Lines(|out, _, _| out.listeners()),
};

static SITE: Row<Raw> = Row {
    node: NodeRow {
        name: "site",
        arguments: &[argument("name", Kind::SiteName, Any)],
        block: Some(&SITE_BLOCK),
        repeats: true,
        doc: "A set of host names served in reverse. `*.example.com` takes every host below, at any depth; an exact name wins over it, and a longer one over a shorter. `*`, or no name, is what every other host gets. A host that no site has gets 421.",
        example: "site \"shop.example.com\" \"*.shop.example.com\" {\n    listen \":80\"\n    route \"/api/*\" { to \"10.0.0.3:9000\" }\n    to \"10.0.0.1:8080\"\n}",
        rank: 1,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        let site = decoder.site(SiteId::at(raw.sites.len()), node);
        raw.sites.push(site);
    }),
    show: Show::Lines(|out, raw, _| raw.sites.iter().for_each(|site| out.site(site))),
};

static UPSTREAM: Row<Raw> = Row {
    node: NodeRow {
        name: "upstream",
        arguments: &[argument("name", Kind::Name, One)],
        block: Some(&UPSTREAM_BLOCK),
        repeats: true,
        doc: "A named group of endpoints that requests are spread over.",
        example: "upstream shop {\n    to \"10.0.0.1:8080\" weight=3\n    to \"10.0.0.2:8080\"\n}\nsite \"shop.example.com\" { to shop }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.upstreams.extend(decoder.upstream(node))),
    show: Show::Lines(|out, raw, _| out.upstreams(raw)),
};

static FORWARD: Row<Raw> = Row {
    node: NodeRow {
        name: "forward",
        arguments: &[argument("address", Kind::Listen, One)],
        block: Some(&FORWARD_BLOCK),
        repeats: true,
        doc: "A forward-proxy listener: clients name the destination, by `CONNECT` or with a whole URL. Its rules are tried in their order and the first that matches decides. When none matches, the request is refused, save for clients on loopback as long as no `allow` speaks of them (by having no `from`, or one with them in it). Private and other special destinations (loopback, link-local, metadata services …) are refused, whatever name they were found by, unless an `allow` rule that matches names them: private ones by network or exact host, those of this machine, its link and its cloud by address or network. Names are looked up as they stand, without the system's search list.",
        example: "forward \":3128\" {\n    deny to=\"*.facebook.com\"\n    allow from=\"10.0.0.0/8\"\n}",
        rank: 2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.forwards.extend(decoder.forward(node))),
    show: Show::Lines(|out, raw, _| raw.forwards.iter().for_each(|forward| out.forward(forward))),
};

pub(crate) static EXPECT_PROPERTIES: [Property<Expect>; 9] = [
    property("from", Kind::Ip, "127.0.0.1", "The client's address.").of(
        |it, ip| {
            if let Datum::Ip(ip) = ip {
                it.from = *ip;
            }
        },
        |it| Some(quoted(&it.from.to_string())),
    ),
    property(
        "forward",
        Kind::Listen,
        "",
        "The `forward` that the request is sent to; without it, the request goes to a site.",
    )
    .of(
        |it, address| {
            if let Datum::Listen { written, .. } = address {
                it.forward = Some(written.clone());
            }
        },
        |it| it.forward.as_deref().map(quoted),
    ),
    property(
        "status",
        Kind::Status { min: 200, max: 599 },
        "",
        "The status of an answer that the proxy makes itself.",
    )
    .of(
        |it, number| it.status = Some(number.number_in()),
        |it| it.status.map(|status| status.to_string()),
    ),
    property("denied", Kind::Flag, "", "Whether the request is refused.")
        .of(|it, value| it.denied = Some(value.flag()), |it| it.denied.map(flag)),
    property("location", Kind::Text, "", "Where a redirect leads.").of(
        |it, text| it.location = Some(text.text().into()),
        |it| it.location.as_deref().map(quoted),
    ),
    property(
        "upstream",
        Kind::Text,
        "",
        "The upstream, or an endpoint of it, that gets the request.",
    )
    .of(|it, text| it.upstream = Some(text.text().into()), |it| it.upstream.as_deref().map(quoted)),
    property("site", Kind::Text, "", "The first name of the site that takes the request.")
        .of(|it, text| it.site = Some(text.text().into()), |it| it.site.as_deref().map(quoted)),
    property("path", Kind::Text, "", "Path and query that are sent upstream.")
        .of(|it, text| it.path = Some(text.text().into()), |it| it.path.as_deref().map(quoted)),
    property(
        "client-name",
        Kind::CertificateNames,
        "",
        "The client has shown a good certificate with this name.",
    )
    .of(
        |it, names| it.client_name = names.texts().first().cloned(),
        |it| it.client_name.as_deref().map(quoted),
    ),
];

static EXPECT: Row<Raw> = Row {
    node: NodeRow {
        name: "expect",
        arguments: &[argument("request", Kind::RequestLine, One)],
        properties: &EXPECT_PROPERTIES,
        repeats: true,
        doc: "What must hold. `bothways check` decides the request offline, without any connection, and fails if something else comes out.",
        example: "site \"shop.example.com\" {\n    route \"/old/*\" { redirect \"/new/{rest}\" }\n}\nexpect \"GET http://shop.example.com/old/a\" status=308 location=\"/new/a\"",
        rank: 4,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.expects.extend(decoder.expect(node))),
    show: Show::Lines(|out, raw, shown| {
        raw.expects.iter().for_each(|expect| out.expect(expect, shown))
    }),
};

pub(crate) static LISTEN_BLOCK: Table<RawListen> = Table {
    name: "listen",
    rows: &[&PROXY_PROTOCOL, &HTTP2, &LISTEN_TRUSTED_PROXY, &LISTEN_TIMEOUTS, &LISTEN_LIMITS],
};

static PROXY_PROTOCOL_WORDS: &[WordRow] = &[
    word("off", "clients send none; one that comes is a malformed request"),
    word("required", "a connection that does not begin with one (version 1 or 2) is closed"),
];

static PROXY_PROTOCOL: Row<RawListen> = Row {
    node: NodeRow {
        name: "proxy-protocol",
        arguments: &[argument("mode", Kind::Word(PROXY_PROTOCOL_WORDS), One)],
        doc: "Whether connections begin with a PROXY protocol header that tells the client's address. Use it only where nobody but the load balancer in front can connect.",
        default: "off",
        example: "listen \":8080\" { proxy-protocol required; }\nsite { listen \":8080\"; to \"10.0.0.1:80\"; }",
        ..NodeRow::NEW
    },
    read: Read::Value(|listen, mode| {
        listen.proxy_protocol = match mode.text() {
            "required" => ProxyProtocol::Required,
            _ => ProxyProtocol::Off,
        };
    }),
    show: Show::Value(|listen| {
        Some(match listen.proxy_protocol {
            ProxyProtocol::Off => "off".into(),
            ProxyProtocol::Required => "required".into(),
        })
    }),
};

pub(crate) static SITE_BLOCK: Table<RawSite> = Table {
    name: "site",
    rows: &[
        &SITE_LISTEN,
        &SITE_TLS,
        &REDIRECT_HTTP,
        &ROUTE,
        &Row::TO,
        &Row::SPLIT,
        &Row::REDIRECT,
        &Row::RESPOND,
        &Row::FILES,
        &Row::MIRROR,
        &Row::STRIP_PREFIX,
        &Row::REWRITE,
        &Row::REQUEST,
        &Row::RESPONSE,
        &Row::HOST,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::CLIENT,
        &Row::ERROR_PAGE,
        &Row::PATH_READINGS,
        &Row::ENCODED_SEPARATORS,
        &Row::timeouts(Scope::Site),
        &Row::limits(Scope::Site),
    ],
};

pub(crate) static ROUTE_BLOCK: Table<Layer> = Table {
    name: "route",
    rows: &[
        &Row::TO,
        &Row::SPLIT,
        &Row::REDIRECT,
        &Row::RESPOND,
        &Row::FILES,
        &Row::MIRROR,
        &Row::STRIP_PREFIX,
        &Row::REWRITE,
        &Row::REQUEST,
        &Row::RESPONSE,
        &Row::HOST,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::CLIENT,
        &Row::ERROR_PAGE,
        &Row::PATH_READINGS,
        &Row::ENCODED_SEPARATORS,
        &Row::timeouts(Scope::Route),
        &Row::limits(Scope::Route),
    ],
};

static SITE_LISTEN: Row<RawSite> = Row {
    node: NodeRow {
        name: "listen",
        arguments: &[argument("address", Kind::Listen, AtLeastOne)],
        repeats: true,
        doc: "Where the site listens. `:8080` is every address of the machine, IPv6 and IPv4. Sites may share an address, as long as all of them have `tls` or none.",
        default: "`:80`, with `tls` `:443`",
        example: "site \"a.example\" {\n    listen \":80\" \"127.0.0.1:8080\"\n    to \"10.0.0.1:80\"\n}",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|_, site, node| {
        site.listens.extend(node.arguments.iter().filter_map(Given::listen));
        site.broken |= node.arguments.is_empty();
    }),
    show: Show::Lines(|out, site, shown| {
        for address in addresses(site) {
            let span = (!site.listens.is_empty()).then_some(address.span);
            out.line_at(shown, quoted(&address.written), out.place(span));
        }
    }),
};

pub(crate) static ROUTE_PROPERTIES: [Property<RawRoute>; 1] = [property(
    "method",
    Kind::Methods,
    "",
    "Only requests with one of these methods; without it, all. `GET` has `HEAD` in it.",
)
.of(
    |it, methods| {
        if let Datum::Methods(methods) = methods {
            it.methods.clone_from(methods);
        }
    },
    |it| joined(&it.methods),
)];

static ROUTE: Row<RawSite> = Row {
    node: NodeRow {
        name: "route",
        arguments: &[argument("path", Kind::Pattern, One)],
        properties: &ROUTE_PROPERTIES,
        block: Some(&ROUTE_BLOCK),
        repeats: true,
        doc: "A part of a site, by path. `/a` is that path alone, `/a/*` is `/a` and everything below, `{name}` stands for one segment and may be used by that name in templates; what `*` stands for is `{rest}`. The most specific route wins, whatever the order. It does exactly one of `to`, `split`, `redirect`, `respond` and `files`. Where no route matches, the answer is 404.",
        example: "site \"a.example\" {\n    route \"/users/{id}\" method=\"GET,HEAD\" { to \"10.0.0.3:9000\" }\n}",
        rank: 3,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, site, node| match decoder.route(node) {
        Some(route) => site.routes.push(route),
        None => site.broken = true,
    }),
    show: Show::Lines(|out, site, shown| {
        for route in &site.routes {
            let text = quoted(&route.pattern.written) + &in_line(&ROUTE_PROPERTIES, route);
            out.route(route, text, shown);
        }
    }),
};

pub(crate) static FORWARD_BLOCK: Table<RawForward> = Table {
    name: "forward",
    rows: &[
        &FORWARD_TLS,
        &DENY,
        &ALLOW,
        &PORTS,
        &ANONYMOUS,
        &VIA,
        &Row::REQUEST,
        &Row::RESPONSE,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::ERROR_PAGE,
        &Row::timeouts(Scope::Forward),
        &Row::limits(Scope::Forward),
    ],
};

static PORTS: Row<RawForward> = Row {
    node: NodeRow {
        name: "ports",
        arguments: &[argument("port", Kind::Ports, AtLeastOne)],
        doc: "Ports of destinations that may be reached at all, unless the rule that allows names others; `ports any`: every one.",
        default: "80 443",
        example: "forward \"127.0.0.1:3128\" {\n    ports 80 443 \"8000-9000\"\n}",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, forward, node| {
        let ports = decoder.ports(node);
        forward.ports = Some((ports, node.name_span()));
    }),
    show: Show::Value(|forward| {
        let Some((ports, _)) = &forward.ports else { return Some("80 443".into()) };
        let ports = ports.iter().map(|range| quoted_unless_number(&ports_text(&[*range])));
        Some(list(ports).unwrap_or_else(|| "any".into()))
    }),
};

static ANONYMOUS: Row<RawForward> = Row {
    node: NodeRow {
        name: "anonymous",
        block: Some(&ANONYMOUS_BLOCK),
        doc: "Nothing that names the client leaves: no `Via`, no `Forwarded`, no `X-Forwarded-…`, none of the fields in which proxies tell addresses (`X-Real-IP`, `X-Client-IP`, `True-Client-IP` …), and without the fields named here.",
        default: "off",
        example: "forward \"127.0.0.1:3128\" {\n    anonymous { remove \"Referer\" \"User-Agent\" \"Cookie\" }\n}",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, forward, node| {
        let mut anonymous = Anonymous::default();
        decoder.block(node, &ANONYMOUS_BLOCK, &mut anonymous);
        forward.anonymous = Some((anonymous, node.name_span()));
    }),
    show: Show::Lines(|out, forward, shown| match &forward.anonymous {
        None => out.remark(shown),
        Some((anonymous, _)) if anonymous.remove.is_empty() => out.line(shown, ""),
        Some((anonymous, span)) => {
            out.block_at(shown, "", Some(*span));
            let set = Origins::everything_at(Some(*span));
            out.rows(shown.depth + 1, &ANONYMOUS_BLOCK, anonymous, &set);
        }
    }),
};

pub(crate) static ANONYMOUS_BLOCK: Table<Anonymous> =
    Table { name: "anonymous", rows: &[&ANONYMOUS_REMOVE] };

static ANONYMOUS_REMOVE: Row<Anonymous> = Row {
    node: NodeRow {
        name: "remove",
        arguments: &[argument("field", Kind::FieldName, AtLeastOne)],
        repeats: true,
        doc: "Request fields that do not leave. Those of tunnels are not seen.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, anonymous, node| decoder.anonymous_field(anonymous, node)),
    show: Show::Value(|anonymous| list(anonymous.remove.iter().map(|name| quoted(name)))),
};

static VIA: Row<RawForward> = Row {
    node: NodeRow {
        name: "via",
        arguments: &[argument("name", Kind::Token, One)],
        doc: "What this proxy is called in Via.",
        default: "bothways",
        example: "forward \"127.0.0.1:3128\" { via \"office\" }",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|_, forward, node| {
        let name = node.data().next().map(|name| (name.text().into(), node.name_span()));
        forward.via = name;
    }),
    show: Show::Value(|forward| {
        Some(quoted(forward.via.as_ref().map_or("bothways", |(via, _)| via)))
    }),
};
