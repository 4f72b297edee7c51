//! The nodes about TLS and the protocols within it.

use super::Count::{AtLeastOne, One, Optional};
use super::rows::{argument, property, word};
use super::texts::{flag, joined, list, on_off, path, time};
use super::{Kind, NodeRow, Property, Read, Row, Secrecy, Show, Table, WordRow, in_line};
use crate::decode::{
    Given, Raw, RawAcme, RawChallenge, RawEab, RawForward, RawListen, RawProcess, RawSite,
    RawTlsOptions, RawUpstream, RawUpstreamTls, TlsNode,
};
use crate::effective::quoted;
use crate::tls::{
    AcmeChallenge, AcmeEab, ClientCertificates, ClientPolicy, Hsts, KeyKind, TlsVersion,
    UpstreamProtocol,
};

const MODES: &[WordRow] = &[
    word(
        "auto",
        "certificates come from an ACME directory (Let's Encrypt unless `acme` says otherwise) and are renewed automatically",
    ),
    word(
        "internal",
        "certificates come from the proxy's own CA, created on first use; `bothways ca root` prints it",
    ),
    word(
        "passthrough",
        "connections go to the site's own `to` unchanged; the proxy reads only the name that the client asks for",
    ),
    word("off", "the site is served in clear"),
];

const FORWARD_MODES: &[WordRow] = &[
    word(
        "auto",
        "certificates come from an ACME directory and are renewed automatically; needs `name`",
    ),
    word(
        "internal",
        "certificates come from the proxy's own CA, created on first use; `bothways ca root` prints it",
    ),
    word("off", "clients speak in clear"),
];

const CERT: Property<TlsNode> = property(
    "cert",
    Kind::Path,
    "",
    "A file with a certificate chain in PEM, the leaf first. The proxy watches it and reads it again when it changes.",
).of(|it, file| it.cert = Some(file.path()), |it| it.cert.as_deref().map(path));
const KEY: Property<TlsNode> =
    property("key", Kind::Path, "", "The file with its key in PEM; it may be the same file.")
        .of(|it, file| it.key = Some(file.path()), |it| it.key.as_deref().map(path));
const ACME_NAME: Property<TlsNode> = property(
    "acme",
    Kind::Name,
    "",
    "With `auto`: the name of the `acme` block with the directory to use; without it, the block without a name.",
).of(|it, name| it.acme = Some(name.text().into()), |it| it.acme.as_deref().map(str::to_owned));

pub(crate) static SITE_TLS_PROPERTIES: [Property<TlsNode>; 3] = [CERT, KEY, ACME_NAME];

pub(crate) static FORWARD_TLS_PROPERTIES: [Property<TlsNode>; 4] = [CERT, KEY, ACME_NAME, property(
            "name",
            Kind::Hosts,
            "",
            "With `auto` or `internal`: the names that clients use to reach the proxy; separate several with commas.",
        ).of(|it, names| it.names = names.texts().to_vec(), |it| joined(&it.names))];

pub(super) static SITE_TLS: Row<RawSite> = Row {
    node: NodeRow {
        name: "tls",
        arguments: &[argument("mode", Kind::Word(MODES), Optional)],
        properties: &SITE_TLS_PROPERTIES,
        block: Some(&TLS_BLOCK),
        repeats: true,
        doc: "HTTPS. Either one of these words, or `cert` and `key`; `tls` with these may be repeated, for several kinds of keys (ECDSA and RSA). A site with `tls` listens on `:443` unless `listen` says otherwise, and speaks HTTP/2 and HTTP/1.1.",
        default: "off",
        example: "site \"shop.example.com\" {\n    tls auto {\n        hsts max-age=\"365d\"\n    }\n    to \"10.0.0.1:8080\"\n}",
        rank: -2,
    },
    read: Read::Node(|decoder, site, node| decoder.tls(&mut site.tls, node, false)),
    show: Show::Lines(|out, site, shown| out.tls(site.tls.as_ref(), &TLS_BLOCK, shown)),
};

pub(super) static FORWARD_TLS: Row<RawForward> = Row {
    node: NodeRow {
        name: "tls",
        arguments: &[argument("mode", Kind::Word(FORWARD_MODES), Optional)],
        properties: &FORWARD_TLS_PROPERTIES,
        block: Some(&FORWARD_TLS_BLOCK),
        repeats: true,
        doc: "TLS towards the clients: an HTTPS proxy. It encrypts everything that they send on its way to the proxy, including tunnels.",
        default: "off",
        example: "forward \":3129\" {\n    tls internal name=\"proxy.lan\"\n    allow from=\"10.0.0.0/8\"\n}",
        rank: -2,
    },
    read: Read::Node(|decoder, forward, node| decoder.tls(&mut forward.tls, node, true)),
    show: Show::Lines(|out, forward, shown| {
        out.tls(forward.tls.as_ref(), &FORWARD_TLS_BLOCK, shown)
    }),
};

pub(crate) static TLS_BLOCK: Table<RawTlsOptions> =
    Table { name: "tls of site", rows: &[&VERSIONS, &TLS_CLIENT, &EARLY_DATA, &TICKETS, &HSTS] };

pub(crate) static FORWARD_TLS_BLOCK: Table<RawTlsOptions> =
    Table { name: "tls of forward", rows: &[&VERSIONS, &TLS_CLIENT, &TICKETS] };

const VERSION_WORDS: &[WordRow] = &[word("1.2", "RFC 5246"), word("1.3", "RFC 8446")];

static VERSIONS: Row<RawTlsOptions> = Row {
    node: NodeRow {
        name: "versions",
        arguments: &[argument("version", Kind::Word(VERSION_WORDS), AtLeastOne)],
        doc: "The supported TLS versions. TLS 1.2 has only suites with forward secrecy and authenticated encryption. Older versions are broken and not supported.",
        default: "\"1.2\" \"1.3\"",
        example: "site \"a.example.com\" {\n    tls auto { versions \"1.3\" }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, options, node| {
        let versions = decoder.versions(node);
        options.versions = versions.map(|versions| (versions, node.name_span()));
    }),
    show: Show::Value(|options| {
        let usual = (TlsVersion::Tls12, TlsVersion::Tls13);
        let versions = options.versions.map_or(usual, |(versions, _)| versions);
        Some(match versions {
            (TlsVersion::Tls12, TlsVersion::Tls12) => "\"1.2\"".into(),
            (TlsVersion::Tls13, _) => "\"1.3\"".into(),
            (TlsVersion::Tls12, TlsVersion::Tls13) => "\"1.2\" \"1.3\"".into(),
        })
    }),
};

const POLICIES: &[WordRow] = &[
    word("off", "the proxy does not ask clients for a certificate"),
    word(
        "request",
        "the proxy asks for one, and a certificate that the client sends must be valid",
    ),
    word("require", "a connection without a valid certificate fails"),
];

pub(crate) static TLS_CLIENT_PROPERTIES: [Property<ClientCertificates>; 2] = [
    property(
            "ca",
            Kind::Path,
            "",
            "A file with the CAs in PEM that issue the clients' certificates, or with the clients' certificates themselves.",
        )
        .of(|it, file| it.ca = vec![file.path()], |it| it.ca.first().map(|file| path(file))),
    property("crl", Kind::Path, "", "A file with lists of revoked certificates, PEM or DER.")
        .of(|it, file| it.crl = vec![file.path()], |it| it.crl.first().map(|file| path(file))),
];

static TLS_CLIENT: Row<RawTlsOptions> = Row {
    node: NodeRow {
        name: "client",
        arguments: &[argument("policy", Kind::Word(POLICIES), One)],
        properties: &TLS_CLIENT_PROPERTIES,
        doc: "Certificates of clients. Their content is in `{client-subject}`, `{client-names}` and `{client-fingerprint}` for fields that go upstream; `client` in sites and routes, and `client-name` and so on in the rules of a `forward`, can require it.",
        default: "off",
        example: "site \"intranet.example.com\" {\n    tls auto { client require ca=\"staff-ca.pem\" }\n    request { set \"X-Client-Subject\" \"{client-subject}\"; }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, options, node| {
        let client = decoder.client_policy(node);
        options.client = client.map(|client| (client, node.name_span()));
    }),
    show: Show::Value(|options| {
        let Some((client, _)) = &options.client else { return Some("off".into()) };
        let policy = match client.policy {
            ClientPolicy::Off => "off",
            ClientPolicy::Request => "request",
            ClientPolicy::Require => "require",
        };
        Some(policy.to_owned() + &in_line(&TLS_CLIENT_PROPERTIES, client))
    }),
};

static EARLY_DATA: Row<RawTlsOptions> = Row {
    node: NodeRow {
        name: "early-data",
        arguments: &[argument("flag", Kind::Flag, One)],
        doc: "Whether the proxy accepts requests with safe methods in the first flight of a resumed session (0-RTT, RFC 8470). This saves a round trip, but an attacker who records such a request can replay it. The upstream sees it marked with `Early-Data: 1` and may answer 425.",
        default: "#false",
        rank: 1,
        ..NodeRow::NEW
    },
    read: Read::Node(|_, options, node| {
        options.early_data = node.data().next().map(|on| (on.flag(), node.name_span()));
    }),
    show: Show::Value(|options| Some(flag(options.early_data.is_some_and(|(on, _)| on)))),
};

static TICKETS: Row<RawTlsOptions> = Row {
    node: NodeRow {
        name: "tickets",
        arguments: &[argument("flag", Kind::Flag, One)],
        doc: "Whether clients can resume sessions with tickets. The ticket keys exist only in memory and change every six hours.",
        default: "#true",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, options, node| {
        options.tickets = node.data().next().map(|on| (on.flag(), node.name_span()));
    }),
    show: Show::Value(|options| Some(flag(options.tickets.is_none_or(|(on, _)| on)))),
};

pub(crate) static HSTS_PROPERTIES: [Property<Hsts>; 3] = [
    property("max-age", Kind::Duration { zero: true }, "365d", "How long browsers use only HTTPS.")
        .of(|it, value| it.max_age = value.duration(), |it| Some(time(it.max_age))),
    property("subdomains", Kind::Flag, "#false", "Whether this includes every name below.")
        .of(|it, value| it.subdomains = value.flag(), |it| Some(flag(it.subdomains))),
    property(
        "preload",
        Kind::Flag,
        "#false",
        "Whether the name may be added to the browsers' built-in lists, which is hard to undo.",
    )
    .of(|it, value| it.preload = value.flag(), |it| Some(flag(it.preload))),
];

static HSTS: Row<RawTlsOptions> = Row {
    node: NodeRow {
        name: "hsts",
        properties: &HSTS_PROPERTIES,
        doc: "`Strict-Transport-Security` (RFC 6797) in every response: browsers then use only HTTPS.",
        default: "off",
        example: "site \"a.example.com\" {\n    tls auto { hsts max-age=\"30d\" }\n    to \"10.0.0.1:80\"\n}",
        rank: 2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, options, node| {
        options.hsts = Some((decoder.hsts(node), node.name_span()));
    }),
    show: Show::Value(|options| {
        let (hsts, _) = options.hsts.as_ref()?;
        Some(in_line(&HSTS_PROPERTIES, hsts).trim_start().to_owned())
    }),
};

pub(super) static REDIRECT_HTTP: Row<RawSite> = Row {
    node: NodeRow {
        name: "redirect-http",
        arguments: &[argument("address", Kind::ListenOrOff, One)],
        doc: "The address where the proxy redirects plain HTTP clients to `https://` (308), or `off`. A plain site with the same name on that address stays unchanged. Requests that a `trusted-proxy` received over TLS are not redirected again, which would loop: the site serves them, unless it has `client require`.",
        default: "`:80` for a site with `tls` that has no `listen`, else off",
        example: "site \"a.example.com\" {\n    tls auto\n    redirect-http off\n    to \"10.0.0.1:80\"\n}",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|_, site, node| {
        let address = node.first().map(Given::listen);
        site.redirect_http = address.map(|address| (address, node.name_span()));
    }),
    show: Show::Lines(|out, site, shown| out.redirect_http(site, shown)),
};

pub(super) static ACME: Row<Raw> = Row {
    node: NodeRow {
        name: "acme",
        arguments: &[argument("name", Kind::Name, Optional)],
        block: Some(&ACME_BLOCK),
        repeats: true,
        doc: "A directory that issues certificates (ACME, RFC 8555). `tls auto` uses the one without a name; `tls auto acme=\"name\"` uses another.",
        example: "acme {\n    contact \"ops@example.com\"\n    challenge dns command=\"/etc/bothways/dns-hook\"\n}\nsite \"*.example.com\" {\n    tls auto\n    to \"10.0.0.1:80\"\n}",
        rank: 3,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        let acme = decoder.acme(node);
        raw.acmes.push(acme);
    }),
    show: Show::Lines(|out, raw, _| out.acmes(raw)),
};

pub(crate) static ACME_BLOCK: Table<RawAcme> = Table {
    name: "acme",
    rows: &[&DIRECTORY, &CONTACT, &CHALLENGE, &EAB, &PROFILE, &ACME_CA, &ACME_KEY],
};

static DIRECTORY: Row<RawAcme> = Row {
    node: NodeRow {
        name: "directory",
        arguments: &[argument("url", Kind::Directory, One)],
        doc: "The URL of the directory; `letsencrypt` and `letsencrypt-staging` are short for the URLs of Let's Encrypt. Test with the latter: the former has rate limits.",
        default: "letsencrypt",
        example: "acme staging { directory letsencrypt-staging }\nsite \"a.example.com\" {\n    tls auto acme=staging\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, url| raw.acme.directory = url.text().into()),
    show: Show::Value(|raw| Some(quoted(&raw.acme.directory))),
};

static CONTACT: Row<RawAcme> = Row {
    node: NodeRow {
        name: "contact",
        arguments: &[argument("address", Kind::Mail, AtLeastOne)],
        repeats: true,
        doc: "Mail addresses of the account, for notices of the CA.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, raw, node| {
        raw.acme.contacts.extend(node.data().map(|mail| mail.text().into()))
    }),
    show: Show::Value(|raw| list(raw.acme.contacts.iter().map(|mail| quoted(mail)))),
};

const CHALLENGES: &[WordRow] = &[
    word("http", "HTTP-01: the CA connects to port 80, and every plain listener answers"),
    word("tls-alpn", "TLS-ALPN-01: the CA connects to port 443, and every TLS listener answers"),
    word("dns", "DNS-01: `command` adds a record to the zone; the only challenge for wildcards"),
];

pub(crate) static CHALLENGE_PROPERTIES: [Property<RawChallenge>; 2] = [property(
            "command",
            Kind::Text,
            "",
            "With `dns`: a program and its arguments, separated by spaces. The proxy appends `set _acme-challenge.NAME VALUE` when it calls it, and `clear` in place of `set` when the challenge is over.",
        )
        .secret(Secrecy::Arguments).of(|it, text| it.command = text.text().into(), |it| Some(quoted(&it.command))),
property(
            "wait",
            Kind::Duration { zero: true },
            "30s",
            "With `dns`: how long the record may take to become visible.",
        ).of(|it, value| it.wait = value.duration(), |it| Some(time(it.wait))),
];

static CHALLENGE: Row<RawAcme> = Row {
    node: NodeRow {
        name: "challenge",
        arguments: &[argument("kind", Kind::Word(CHALLENGES), One)],
        properties: &CHALLENGE_PROPERTIES,
        doc: "How the proxy proves control of a name.",
        default: "http",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| {
        if let Some(challenge) = decoder.challenge(node) {
            raw.acme.challenge = challenge;
        }
    }),
    show: Show::Lines(|out, raw, shown| match &raw.acme.challenge {
        AcmeChallenge::Http => out.line(shown, "http"),
        AcmeChallenge::TlsAlpn => out.line(shown, "tls-alpn"),
        AcmeChallenge::Dns { command, wait } => {
            let dns = RawChallenge { command: command.join(" ").into(), wait: *wait };
            out.line_of(shown, "dns", &CHALLENGE_PROPERTIES, &dns);
        }
    }),
};

pub(crate) static EAB_PROPERTIES: [Property<RawEab>; 2] = [
    property("key-id", Kind::Text, "", "The name of the key. Required.")
        .secret(Secrecy::Secret)
        .of(|it, text| it.key_id = Some(text.text().into()), |it| it.key_id.as_deref().map(quoted)),
    property("key-file", Kind::Path, "", "A file with the key in base64url. Required.")
        .of(|it, file| it.key_file = Some(file.path()), |it| it.key_file.as_deref().map(path)),
];

static EAB: Row<RawAcme> = Row {
    node: NodeRow {
        name: "eab",
        properties: &EAB_PROPERTIES,
        doc: "External account binding: links the account to a customer of the CA.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.acme.eab = decoder.eab(node)),
    show: Show::Lines(|out, raw, shown| match &raw.acme.eab {
        None => out.remark(shown),
        Some(AcmeEab { key_id, key_file }) => {
            let eab = RawEab { key_id: Some(key_id.clone()), key_file: Some(key_file.clone()) };
            out.line_of(shown, "", &EAB_PROPERTIES, &eab);
        }
    }),
};

static PROFILE: Row<RawAcme> = Row {
    node: NodeRow {
        name: "profile",
        arguments: &[argument("name", Kind::Token, One)],
        doc: "The certificate profile to request, such as `shortlived`; the CA documents which exist.",
        default: "what the CA gives",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, name| raw.acme.profile = Some(name.text().into())),
    show: Show::Value(|raw| raw.acme.profile.as_deref().map(quoted)),
};

static ACME_CA: Row<RawAcme> = Row {
    node: NodeRow {
        name: "ca",
        arguments: &[argument("file", Kind::Path, One)],
        doc: "A file with the CA in PEM that issued the directory's own certificate.",
        default: "those of the system",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, file| raw.acme.ca = Some(file.path())),
    show: Show::Value(|raw| raw.acme.ca.as_deref().map(path)),
};

const KEY_KINDS: &[WordRow] = &[
    word("ec256", "ECDSA over P-256"),
    word("ec384", "ECDSA over P-384"),
    word("rsa2048", "RSA with 2048 bits"),
    word("rsa4096", "RSA with 4096 bits"),
];

static ACME_KEY: Row<RawAcme> = Row {
    node: NodeRow {
        name: "key",
        arguments: &[argument("kind", Kind::Word(KEY_KINDS), One)],
        doc: "The kind of key for certificates.",
        default: "ec256",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, kind| {
        raw.acme.key = match kind.text() {
            "ec384" => KeyKind::EcP384,
            "rsa2048" => KeyKind::Rsa2048,
            "rsa4096" => KeyKind::Rsa4096,
            _ => KeyKind::EcP256,
        };
    }),
    show: Show::Value(|raw| {
        Some(match raw.acme.key {
            KeyKind::EcP256 | KeyKind::Ed25519 => "ec256".into(),
            KeyKind::EcP384 => "ec384".into(),
            KeyKind::Rsa2048 => "rsa2048".into(),
            KeyKind::Rsa4096 => "rsa4096".into(),
        })
    }),
};

const ON_OFF: &[WordRow] = &[word("on", "it is spoken"), word("off", "it is not")];

pub(super) static HTTP2: Row<RawListen> = Row {
    node: NodeRow {
        name: "http2",
        arguments: &[argument("mode", Kind::Word(ON_OFF), One)],
        doc: "Whether clients may use HTTP/2: over TLS when they ask for it (ALPN), in clear when they start with it (prior knowledge). For its limits see [limits](#limits).",
        default: "on",
        example: "listen \":443\" { http2 off }\nsite \"a.example.com\" {\n    tls auto\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Value(|listen, mode| listen.http2 = mode.text() != "off"),
    show: Show::Value(|listen| Some(on_off(listen.http2))),
};

const PROTOCOLS: &[WordRow] = &[
    word("auto", "HTTP/2 or HTTP/1.1 over TLS, as the endpoint chooses (ALPN); HTTP/1.1 in clear"),
    word("h1", "HTTP/1.1"),
    word("h2", "HTTP/2 over TLS; the endpoints are `https://`"),
    word("h2c", "HTTP/2 in clear, by prior knowledge; such as gRPC servers on a private network"),
    word(
        "scgi",
        "SCGI, for applications that use CGI variables; in clear, with one connection per request",
    ),
];

pub(super) static PROTOCOL: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "protocol",
        arguments: &[argument("protocol", Kind::Word(PROTOCOLS), One)],
        doc: "The protocol towards the endpoints: a version of HTTP, or SCGI.",
        default: "auto",
        example: "upstream grpc {\n    to \"10.0.0.1:50051\"\n    protocol h2c\n}\nsite { to grpc }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, word| {
        raw.settings.protocol = match word.text() {
            "h1" => UpstreamProtocol::Http1,
            "h2" => UpstreamProtocol::H2,
            "h2c" => UpstreamProtocol::H2c,
            "scgi" => UpstreamProtocol::Scgi,
            _ => UpstreamProtocol::Auto,
        };
    }),
    show: Show::Value(|raw| {
        Some(match raw.settings.protocol {
            UpstreamProtocol::Auto => "auto".into(),
            UpstreamProtocol::Http1 => "h1".into(),
            UpstreamProtocol::H2 => "h2".into(),
            UpstreamProtocol::H2c => "h2c".into(),
            UpstreamProtocol::Scgi => "scgi".into(),
        })
    }),
};

pub(super) static UPSTREAM_TLS: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "tls",
        block: Some(&UPSTREAM_TLS_BLOCK),
        doc: "TLS towards endpoints written with `https://`. The proxy verifies their certificates; this block changes how, and which certificate the proxy presents.",
        default: "the system's CAs, the endpoint's own name",
        example: "upstream api {\n    to \"https://10.0.0.1:8443\"\n    tls { ca \"ca.pem\"; name \"api.internal\"; }\n}\nsite { to api }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.tls = Some(decoder.upstream_tls(node))),
    show: Show::Lines(|out, raw, shown| out.upstream_tls(raw, shown)),
};

pub(crate) static UPSTREAM_TLS_BLOCK: Table<RawUpstreamTls> = Table {
    name: "tls of upstream",
    rows: &[&UPSTREAM_CA, &SERVER_NAME, &UPSTREAM_CERT, &UPSTREAM_KEY, &VERIFY],
};

static UPSTREAM_CA: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "ca",
        arguments: &[argument("file", Kind::Path, One)],
        doc: "A file with the trusted CAs in PEM, instead of the system's. The endpoint's own certificate works too: \
          only its dates and names count (the common name, if it has no others).",
        default: "those of the system",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, file| raw.tls.ca = Some(file.path())),
    show: Show::Value(|raw| raw.tls.ca.as_deref().map(path)),
};

static SERVER_NAME: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "name",
        arguments: &[argument("host", Kind::Hosts, One)],
        doc: "The name to ask for (SNI), which the certificate must have.",
        default: "the host of the endpoint",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.tls.name = decoder.server_name(node)),
    show: Show::Value(|raw| raw.tls.name.as_deref().map(quoted)),
};

static UPSTREAM_CERT: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "cert",
        arguments: &[argument("file", Kind::Path, One)],
        doc: "A file with a certificate chain in PEM that the proxy presents to endpoints that ask for one; needs `key`.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, file| raw.cert = Some(file.path())),
    show: Show::Lines(|out, raw, shown| {
        if let Some(files) = &raw.tls.client {
            out.line(shown, path(&files.cert));
        }
    }),
};

static UPSTREAM_KEY: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "key",
        arguments: &[argument("file", Kind::Path, One)],
        doc: "The file with its key in PEM; it may be the same file.",
        default: "none",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, file| raw.key = Some(file.path())),
    show: Show::Lines(|out, raw, shown| {
        if let Some(files) = &raw.tls.client {
            out.line(shown, path(&files.key));
        }
    }),
};

const VERIFY_WORDS: &[WordRow] = &[
    word("on", "an invalid certificate is an error (502)"),
    word(
        "off",
        "any certificate is accepted: an attacker on the path can read and change everything",
    ),
];

static VERIFY: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "verify",
        arguments: &[argument("mode", Kind::Word(VERIFY_WORDS), One)],
        doc: "Whether the proxy verifies the endpoint's certificate.",
        default: "on",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, mode| raw.tls.verify = mode.text() != "off"),
    show: Show::Value(|raw| Some(on_off(raw.tls.verify))),
};

pub(super) static STATE: Row<RawProcess> = Row {
    node: NodeRow {
        name: "state",
        arguments: &[argument("directory", Kind::Path, One)],
        doc: "The directory for data that must outlast the process: the CA of `tls internal`, and the accounts, keys and certificates of `tls auto`. Only its owner can read it.",
        default: "`$STATE_DIRECTORY`, else `/var/lib/bothways` for root and `~/.local/state/bothways` for others",
        example: "process { state \"/var/lib/bothways\" }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, directory| raw.process.state = Some(directory.path())),
    show: Show::Value(|raw| raw.process.state.as_deref().map(path)),
};
