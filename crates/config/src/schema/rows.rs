//! Every node of the language, block by block.

use super::Count::{Any, AtLeastOne, One, Optional};
use super::balancing::{BALANCE_BLOCK, HEALTH_BLOCK, UPSTREAM_BLOCK};
use super::caching::{CACHE_BLOCK, CACHE_KEY_BLOCK};
use super::forward_rules::{ALLOW, DENY};
use super::layer::{FIELDS_BLOCK, FILES_BLOCK, SPLIT_BLOCK};
use super::maps::{MAP, MAP_BLOCK};
use super::matching::{UNLESS, WHEN};
use super::process::{PROCESS_BLOCK, RESOLVER_BLOCK};
use super::reuse::{DEFAULTS, DEFINE};
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
        &DEFINE,
        &DEFAULTS,
        &PROCESS,
        &TOP_TIMEOUTS,
        &TOP_LIMITS,
        &TOP_TRUSTED_PROXY,
        &MAP,
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
    &CACHE_BLOCK,
    &CACHE_KEY_BLOCK,
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
    &MAP_BLOCK,
];

static INCLUDE: Row<Raw> = Row {
    node: NodeRow {
        name: "include",
        arguments: &[argument("file", Kind::Path, AtLeastOne)],
        repeats: true,
        doc: "Reads other files as if their content were written here. A relative path starts at the directory of this file. `*` and `?` match any characters of a name, and matching files are read in the order of their names. A pattern may match nothing; a file without `*` and `?` must exist. No file is read twice.",
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
        doc: "Time limits: see [timeouts](#timeouts). A setting here overrides the same setting further out.",
        example: "timeouts {\n    connect \"3s\"\n    first-byte \"2min\"\n}",
        ..NodeRow::NEW
    }
}

pub(super) const fn limits(scope: Scope) -> NodeRow {
    NodeRow {
        name: "limits",
        block: Some(limits_block(scope)),
        doc: "Limits on sizes and numbers: see [limits](#limits). A setting here overrides the same setting further out.",
        example: "limits {\n    body \"10MiB\"\n}",
        ..NodeRow::NEW
    }
}

const TRUSTED_PROXY: NodeRow = NodeRow {
    name: "trusted-proxy",
    arguments: &[argument("network", Kind::Networks, AtLeastOne)],
    repeats: true,
    doc: "Peers whose `X-Forwarded-*` and `Forwarded` fields the proxy trusts. These give the client (as far back as the proxies in between are trusted too) and the scheme and host that it asked for; `{client}`, `{scheme}`, `{host}`, `Secure` of cookies, `hsts` and `redirect-http` use them. If the two kinds differ, `X-Forwarded-*` counts. From all other peers, the proxy drops every `X-Forwarded-…`, `Forwarded`, `X-Real-IP`, `X-Original-URL` and `X-Rewrite-URL`. At the top level it applies to every listening address; in `listen` it adds peers for that address.",
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
        doc: "Options of an address that sites or a `forward` listen on. Needed only to set options.",
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
        doc: "A set of host names to serve as a reverse proxy. `*.example.com` matches every host below, at any depth; an exact name wins over it, and a longer pattern over a shorter one. `{tenant}.example.com` matches one label, which templates have as `{tenant}`; it wins over `*.example.com`. `*`, or no name, matches every other host. A host that no site matches gets 421.",
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
        doc: "A named group of endpoints that share requests.",
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
        doc: "A forward-proxy listener: clients name the destination, by `CONNECT` or with a whole URL. The proxy tries its rules in order, and the first that matches decides. When none matches, it refuses the request, except from clients on loopback as long as no `allow` covers them (by having no `from`, or one that includes them). It refuses private and other special destinations (loopback, link-local, metadata services …), whatever name resolves to them, unless a matching `allow` rule names them: private ones by network or exact host, those of this machine, its link and its cloud by address or network. Names are looked up as written, without the system's search list.",
        example: "forward \":3128\" {\n    deny to=\"*.facebook.com\"\n    allow from=\"10.0.0.0/8\"\n}",
        rank: 2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.forwards.extend(decoder.forward(node))),
    show: Show::Lines(|out, raw, _| raw.forwards.iter().for_each(|forward| out.forward(forward))),
};

pub(crate) static EXPECT_PROPERTIES: [Property<Expect>; 10] = [
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
        "The `forward` that gets the request; without it, the request goes to a site.",
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
        "The status of a response that the proxy makes itself.",
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
    property("site", Kind::Text, "", "The first name of the site that serves the request.")
        .of(|it, text| it.site = Some(text.text().into()), |it| it.site.as_deref().map(quoted)),
    property("path", Kind::Text, "", "The path and query sent upstream.")
        .of(|it, text| it.path = Some(text.text().into()), |it| it.path.as_deref().map(quoted)),
    property(
        "client-name",
        Kind::CertificateNames,
        "",
        "The client has presented a valid certificate with this name.",
    )
    .of(
        |it, names| it.client_name = names.texts().first().cloned(),
        |it| it.client_name.as_deref().map(quoted),
    ),
    property(
        "field",
        Kind::FieldLines,
        "",
        "A field of the request, such as `X-Version: 2` or `Cookie: beta=1`; separate several with `\\n`.",
    )
    .of(
        |it, lines| it.fields = lines.texts().to_vec(),
        |it| (!it.fields.is_empty()).then(|| quoted(&it.fields.join("\n"))),
    ),
];

static EXPECT: Row<Raw> = Row {
    node: NodeRow {
        name: "expect",
        arguments: &[argument("request", Kind::RequestLine, One)],
        properties: &EXPECT_PROPERTIES,
        repeats: true,
        doc: "An expected decision. `bothways check` decides the request offline, without any connection, and fails if the result differs.",
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
    rows: &[
        &PROXY_PROTOCOL,
        &HTTP2,
        &LISTEN_TRUSTED_PROXY,
        &LISTEN_TIMEOUTS,
        &LISTEN_LIMITS,
        &Row::USE,
        &Row::INCLUDE,
    ],
};

static PROXY_PROTOCOL_WORDS: &[WordRow] = &[
    word("off", "clients send none; a received header is a malformed request"),
    word("required", "the proxy closes a connection that does not begin with one (version 1 or 2)"),
];

static PROXY_PROTOCOL: Row<RawListen> = Row {
    node: NodeRow {
        name: "proxy-protocol",
        arguments: &[argument("mode", Kind::Word(PROXY_PROTOCOL_WORDS), One)],
        doc: "Whether connections begin with a PROXY protocol header, which gives the client's address. Use it only where nobody but the load balancer in front can connect.",
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
        &Row::REQUEST_ID,
        &Row::REWRITE_RESPONSES,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::CLIENT,
        &Row::ACCESS_DENY,
        &Row::ACCESS_ALLOW,
        &Row::SATISFY,
        &Row::LOGIN,
        &Row::CACHE,
        &Row::ERROR_PAGE,
        &Row::LOG,
        &Row::MAINTENANCE,
        &Row::PATH_READINGS,
        &Row::ENCODED_SEPARATORS,
        &Row::timeouts(Scope::Site),
        &Row::limits(Scope::Site),
        &Row::USE,
        &Row::INCLUDE,
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
        &Row::REQUEST_ID,
        &Row::REWRITE_RESPONSES,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::CLIENT,
        &Row::ACCESS_DENY,
        &Row::ACCESS_ALLOW,
        &Row::SATISFY,
        &Row::LOGIN,
        &Row::CACHE,
        &Row::ERROR_PAGE,
        &Row::LOG,
        &Row::MAINTENANCE,
        &Row::PATH_READINGS,
        &Row::ENCODED_SEPARATORS,
        &Row::timeouts(Scope::Route),
        &Row::limits(Scope::Route),
        &Row::USE,
        &Row::INCLUDE,
        &WHEN,
        &UNLESS,
    ],
};

static SITE_LISTEN: Row<RawSite> = Row {
    node: NodeRow {
        name: "listen",
        arguments: &[argument("address", Kind::Listen, AtLeastOne)],
        repeats: true,
        doc: "Where the site listens. `:8080` means every address of the machine, IPv6 and IPv4. Sites may share an address if all of them have `tls` or none has.",
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

pub(crate) static ROUTE_PROPERTIES: [Property<RawRoute>; 2] = [
    property(
        "method",
        Kind::Methods,
        "",
        "Matches only requests with one of these methods; without it, all. `GET` includes `HEAD`.",
    )
    .of(
        |it, methods| {
            if let Datum::Methods(methods) = methods {
                it.methods.clone_from(methods);
            }
        },
        |it| joined(&it.methods),
    ),
    property(
        "priority",
        Kind::Number { min: 0, max: 1_000_000 },
        "0",
        "Of regular expressions, and of routes with the same path, the one with the highest priority is tried first.",
    )
    .of(
        |it, number| it.priority = number.number_in(),
        |it| (it.priority != 0).then(|| it.priority.to_string()),
    ),
];

static ROUTE: Row<RawSite> = Row {
    node: NodeRow {
        name: "route",
        arguments: &[
            argument("path", Kind::RoutePattern, One),
            argument("regex", Kind::Regex, Optional),
        ],
        properties: &ROUTE_PROPERTIES,
        block: Some(&ROUTE_BLOCK),
        repeats: true,
        doc: "A part of a site, by path. `/a` matches that path alone, `/a/*` matches `/a` and everything below, `/a*` whatever begins so: `/a`, `/ab`, `/a/b`. `{name}` matches one segment, and templates can use it by that name; what `*` matches is `{rest}`. `*.php` matches paths whose last segment ends so, `/blog/*.php` those below `/blog`. `~ \"^/u/(?<id>[0-9]+)$\"` compares the whole path with a regular expression, whose named groups templates can use. `when` and `unless` add conditions. The most specific route wins, whatever the order: exact paths before captures before `~` before `/a*` before `*.php` before `/*`. A route has exactly one of `to`, `split`, `redirect`, `respond` and `files`. If no route matches, the response is 404.",
        example: "site \"a.example\" {\n    route \"/users/{id}\" method=\"GET,HEAD\" { to \"10.0.0.3:9000\" }\n}",
        rank: 3,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, site, node| match decoder.route(node, site) {
        Some(route) => site.routes.push(route),
        None => site.broken = true,
    }),
    show: Show::Lines(|out, site, shown| {
        for route in &site.routes {
            let text = route.pattern.to_string() + &in_line(&ROUTE_PROPERTIES, route);
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
        &Row::REQUEST_ID,
        &Row::FORWARDED,
        &Row::UNDERSCORES,
        &Row::LOGIN,
        &Row::FORWARD_CACHE,
        &Row::ERROR_PAGE,
        &Row::LOG,
        &Row::timeouts(Scope::Forward),
        &Row::limits(Scope::Forward),
        &Row::USE,
        &Row::INCLUDE,
    ],
};

static PORTS: Row<RawForward> = Row {
    node: NodeRow {
        name: "ports",
        arguments: &[argument("port", Kind::Ports, AtLeastOne)],
        doc: "Destination ports that clients may reach, unless the rule that allows a request names others; `ports any`: every port.",
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
        doc: "Sends nothing that identifies the client: no `Via`, no `Forwarded`, no `X-Forwarded-…`, none of the fields in which proxies send addresses (`X-Real-IP`, `X-Client-IP`, `True-Client-IP` …), and none of the fields named here.",
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
        doc: "Request fields to remove. The proxy does not see fields inside tunnels.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, anonymous, node| decoder.anonymous_field(anonymous, node)),
    show: Show::Value(|anonymous| list(anonymous.remove.iter().map(|name| quoted(name)))),
};

static VIA: Row<RawForward> = Row {
    node: NodeRow {
        name: "via",
        arguments: &[argument("name", Kind::Token, One)],
        doc: "The name of this proxy in `Via`.",
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
