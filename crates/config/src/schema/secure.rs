//! The nodes about TLS and the protocols within it.

use super::Count::{AtLeastOne, One, Optional};
use super::rows::{argument, property, rows, word};
use super::texts::{on_off, path};
use super::{Kind, NamedRows, NodeRow, PropertyRow, Read, Row, Secrecy, Show, Table, WordRow};
use crate::decode::{RawListen, RawProcess, RawUpstream, RawUpstreamTls};
use crate::effective::quoted;
use crate::tls::UpstreamProtocol;

const MODES: &[WordRow] = &[
    word(
        "auto",
        "certificates come from an ACME directory (Let's Encrypt unless `acme` says otherwise), and are renewed by themselves",
    ),
    word(
        "internal",
        "certificates come from an own CA, made on first use; `bothways ca root` prints it",
    ),
    word(
        "passthrough",
        "connections go to the site's own `to` as they are; only the name that the client asks for is looked at",
    ),
    word("off", "the site is served in clear"),
];

const FORWARD_MODES: &[WordRow] = &[
    word(
        "auto",
        "certificates come from an ACME directory, and are renewed by themselves; needs `name`",
    ),
    word(
        "internal",
        "certificates come from an own CA, made on first use; `bothways ca root` prints it",
    ),
    word("off", "clients speak in clear"),
];

const CERT: PropertyRow = property(
    "cert",
    Kind::Path,
    "",
    "A file with a certificate chain in PEM, the leaf first. It is watched, and read again when it changes.",
);
const KEY: PropertyRow =
    property("key", Kind::Path, "", "The file with its key in PEM; it may be the same file.");
const ACME_NAME: PropertyRow = property(
    "acme",
    Kind::Name,
    "",
    "With `auto`: the name of the `acme` block that says which directory; without it, the one without a name.",
);

pub(super) static SITE_TLS: NodeRow = NodeRow {
    name: "tls",
    arguments: &[argument("mode", Kind::Word(MODES), Optional)],
    properties: &[CERT, KEY, ACME_NAME],
    block: Some(&TLS_BLOCK),
    repeats: true,
    doc: "HTTPS. Either one of these words, or `cert` and `key`; those may stand several times, for several kinds of keys (ECDSA and RSA). A site with `tls` listens on `:443` unless `listen` says otherwise, and speaks HTTP/2 and HTTP/1.1.",
    default: "off",
    example: "site \"shop.example.com\" {\n    tls auto {\n        hsts max-age=\"365d\"\n    }\n    to \"10.0.0.1:8080\"\n}",
};

pub(super) static FORWARD_TLS: NodeRow = NodeRow {
    name: "tls",
    arguments: &[argument("mode", Kind::Word(FORWARD_MODES), Optional)],
    properties: &[
        CERT,
        KEY,
        ACME_NAME,
        property(
            "name",
            Kind::Hosts,
            "",
            "With `auto` or `internal`: the names that clients reach the proxy by, several with commas.",
        ),
    ],
    block: Some(&FORWARD_TLS_BLOCK),
    repeats: true,
    doc: "TLS towards the clients: an HTTPS proxy. What they send through it, tunnels too, is encrypted on its way to the proxy.",
    default: "off",
    example: "forward \":3129\" {\n    tls internal name=\"proxy.lan\"\n    allow from=\"10.0.0.0/8\"\n}",
};

pub(crate) static TLS_BLOCK: NamedRows =
    rows("tls of site", &[&VERSIONS, &TLS_CLIENT, &EARLY_DATA, &TICKETS, &HSTS]);

pub(crate) static FORWARD_TLS_BLOCK: NamedRows =
    rows("tls of forward", &[&VERSIONS, &TLS_CLIENT, &TICKETS]);

const VERSION_WORDS: &[WordRow] = &[word("1.2", "RFC 5246"), word("1.3", "RFC 8446")];

static VERSIONS: NodeRow = NodeRow {
    name: "versions",
    arguments: &[argument("version", Kind::Word(VERSION_WORDS), AtLeastOne)],
    doc: "The versions of TLS that are spoken. Of 1.2, only suites with forward secrecy and authenticated encryption. Older versions are broken and not there.",
    default: "\"1.2\" \"1.3\"",
    example: "site \"a.example.com\" {\n    tls auto { versions \"1.3\" }\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

const POLICIES: &[WordRow] = &[
    word("off", "clients are not asked for a certificate"),
    word("request", "they are asked, and one that is shown must be good"),
    word("require", "without a good one there is no connection"),
];

static TLS_CLIENT: NodeRow = NodeRow {
    name: "client",
    arguments: &[argument("policy", Kind::Word(POLICIES), One)],
    properties: &[
        property(
            "ca",
            Kind::Path,
            "",
            "A file with the CAs in PEM that clients' certificates come from, or with the very certificates of clients.",
        ),
        property("crl", Kind::Path, "", "A file with lists of revoked certificates, PEM or DER."),
    ],
    doc: "Certificates of clients. What they say is in `{client-subject}`, `{client-names}` and `{client-fingerprint}` for fields that go upstream, and may be asked for by `client` in sites and routes and by `client-name` and so on in the rules of a `forward`.",
    default: "off",
    example: "site \"intranet.example.com\" {\n    tls auto { client require ca=\"staff-ca.pem\" }\n    request { set \"X-Client-Subject\" \"{client-subject}\"; }\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

static EARLY_DATA: NodeRow = NodeRow {
    name: "early-data",
    arguments: &[argument("flag", Kind::Flag, One)],
    doc: "Whether requests with safe methods are taken within the first flight of a resumed session (0-RTT, RFC 8470). It saves a round trip, and whoever records such a request can send it again: `Early-Data: 1` tells the upstream, which may answer 425.",
    default: "#false",
    ..NodeRow::NEW
};

static TICKETS: NodeRow = NodeRow {
    name: "tickets",
    arguments: &[argument("flag", Kind::Flag, One)],
    doc: "Whether sessions are resumed by tickets. Their keys are made in memory and change every six hours.",
    default: "#true",
    ..NodeRow::NEW
};

static HSTS: NodeRow = NodeRow {
    name: "hsts",
    properties: &[
        property(
            "max-age",
            Kind::Duration { zero: true },
            "365d",
            "How long browsers keep to HTTPS.",
        ),
        property(
            "subdomains",
            Kind::Flag,
            "#false",
            "Whether they do so for every name below too.",
        ),
        property(
            "preload",
            Kind::Flag,
            "#false",
            "Whether the name may be put into browsers' own lists, which is hard to take back.",
        ),
    ],
    doc: "`Strict-Transport-Security` (RFC 6797) in every answer: browsers then come by HTTPS only.",
    default: "off",
    example: "site \"a.example.com\" {\n    tls auto { hsts max-age=\"30d\" }\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

pub(super) static REDIRECT_HTTP: NodeRow = NodeRow {
    name: "redirect-http",
    arguments: &[argument("address", Kind::ListenOrOff, One)],
    doc: "Where clients that come in clear are sent to `https://` (308), or `off`. A plain site with the same name on that address is left alone. Requests that a `trusted-proxy` took over TLS are not sent there again, which would never end: they are served by the site, unless it has `client require`.",
    default: "`:80` for a site with `tls` that has no `listen`, else off",
    example: "site \"a.example.com\" {\n    tls auto\n    redirect-http off\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

pub(super) static CLIENT: NodeRow = NodeRow {
    name: "client",
    properties: &[
        property(
            "name",
            Kind::CertificateNames,
            "",
            "An alternative name of the certificate (host, mail address, URI or IP address) or its common name; `*.example.com` is every host below. Several with commas.",
        ),
        property(
            "fingerprint",
            Kind::Fingerprints,
            "",
            "The SHA-256 of the certificate in hexadecimal digits, with or without colons. Several with commas.",
        ),
        property(
            "subject",
            Kind::Subject,
            "",
            "The whole subject as RFC 4514 writes it, such as `CN=ops,O=Example`; `bothways cert show` prints it.",
        ),
    ],
    repeats: true,
    doc: "Only clients with such certificates are taken; others get 403. Every property of a line must match, and any of several lines. Those of a route take the place of the site's. `tls` must ask for certificates.",
    default: "every client",
    example: "site \"intranet.example.com\" {\n    tls auto { client request ca=\"staff-ca.pem\" }\n    route \"/admin/*\" {\n        client name=\"ops.example.com\"\n        to \"10.0.0.1:80\"\n    }\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

pub(super) static ACME: NodeRow = NodeRow {
    name: "acme",
    arguments: &[argument("name", Kind::Name, Optional)],
    block: Some(&ACME_BLOCK),
    repeats: true,
    doc: "A directory that certificates come from (ACME, RFC 8555). The one without a name is what `tls auto` asks; others are asked by `tls auto acme=\"name\"`.",
    example: "acme {\n    contact \"ops@example.com\"\n    challenge dns command=\"/etc/bothways/dns-hook\"\n}\nsite \"*.example.com\" {\n    tls auto\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

pub(crate) static ACME_BLOCK: NamedRows =
    rows("acme", &[&DIRECTORY, &CONTACT, &CHALLENGE, &EAB, &PROFILE, &ACME_CA, &ACME_KEY]);

static DIRECTORY: NodeRow = NodeRow {
    name: "directory",
    arguments: &[argument("url", Kind::Directory, One)],
    doc: "The URL of the directory; `letsencrypt` and `letsencrypt-staging` are short for those of Let's Encrypt. Try things with the latter: the former has rate limits.",
    default: "letsencrypt",
    example: "acme staging { directory letsencrypt-staging }\nsite \"a.example.com\" {\n    tls auto acme=staging\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

static CONTACT: NodeRow = NodeRow {
    name: "contact",
    arguments: &[argument("address", Kind::Mail, AtLeastOne)],
    repeats: true,
    doc: "Mail addresses of the account, for what the CA has to tell.",
    default: "none",
    ..NodeRow::NEW
};

const CHALLENGES: &[WordRow] = &[
    word("http", "HTTP-01: the CA asks on port 80, and every plain listener answers"),
    word("tls-alpn", "TLS-ALPN-01: the CA asks on port 443, and every TLS listener answers"),
    word("dns", "DNS-01: `command` puts a record into the zone; the only one for wildcards"),
];

pub(crate) static CHALLENGE: NodeRow = NodeRow {
    name: "challenge",
    arguments: &[argument("kind", Kind::Word(CHALLENGES), One)],
    properties: &[
        property(
            "command",
            Kind::Text,
            "",
            "With `dns`: a program, and arguments after spaces. It is called with `set _acme-challenge.NAME VALUE` behind them, and with `clear` once it is over.",
        )
        .secret(Secrecy::Arguments),
        property(
            "wait",
            Kind::Duration { zero: true },
            "30s",
            "With `dns`: how long the record may take to be seen.",
        ),
    ],
    doc: "How control of a name is shown.",
    default: "http",
    ..NodeRow::NEW
};

pub(crate) static EAB: NodeRow = NodeRow {
    name: "eab",
    properties: &[
        property("key-id", Kind::Text, "", "The name of the key. Required.")
            .secret(Secrecy::Secret),
        property("key-file", Kind::Path, "", "A file with the key in base64url. Required."),
    ],
    doc: "External account binding: what ties the account to a customer of the CA.",
    default: "none",
    ..NodeRow::NEW
};

static PROFILE: NodeRow = NodeRow {
    name: "profile",
    arguments: &[argument("name", Kind::Token, One)],
    doc: "The profile of certificates to ask for, such as `shortlived`; the CA says which there are.",
    default: "what the CA gives",
    ..NodeRow::NEW
};

static ACME_CA: NodeRow = NodeRow {
    name: "ca",
    arguments: &[argument("file", Kind::Path, One)],
    doc: "A file with the CA in PEM that the directory's own certificate comes from.",
    default: "those of the system",
    ..NodeRow::NEW
};

const KEY_KINDS: &[WordRow] = &[
    word("ec256", "ECDSA over P-256"),
    word("ec384", "ECDSA over P-384"),
    word("rsa2048", "RSA with 2048 bits"),
    word("rsa4096", "RSA with 4096 bits"),
];

static ACME_KEY: NodeRow = NodeRow {
    name: "key",
    arguments: &[argument("kind", Kind::Word(KEY_KINDS), One)],
    doc: "What kind of keys certificates get.",
    default: "ec256",
    ..NodeRow::NEW
};

const ON_OFF: &[WordRow] = &[word("on", "it is spoken"), word("off", "it is not")];

pub(super) static HTTP2: Row<RawListen> = Row {
    node: NodeRow {
        name: "http2",
        arguments: &[argument("mode", Kind::Word(ON_OFF), One)],
        doc: "Whether clients may speak HTTP/2: over TLS when they ask for it (ALPN), in clear when they begin with it (prior knowledge). Its bounds are in [limits](#limits).",
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
];

pub(super) static PROTOCOL: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "protocol",
        arguments: &[argument("protocol", Kind::Word(PROTOCOLS), One)],
        doc: "Which HTTP is spoken to the endpoints.",
        default: "auto",
        example: "upstream grpc {\n    to \"10.0.0.1:50051\"\n    protocol h2c\n}\nsite { to grpc }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, word| {
        raw.settings.protocol = match word.text() {
            "h1" => UpstreamProtocol::Http1,
            "h2" => UpstreamProtocol::H2,
            "h2c" => UpstreamProtocol::H2c,
            _ => UpstreamProtocol::Auto,
        };
    }),
    show: Show::Value(|raw| {
        Some(match raw.settings.protocol {
            UpstreamProtocol::Auto => "auto".into(),
            UpstreamProtocol::Http1 => "h1".into(),
            UpstreamProtocol::H2 => "h2".into(),
            UpstreamProtocol::H2c => "h2c".into(),
        })
    }),
};

pub(super) static UPSTREAM_TLS: Row<RawUpstream> = Row {
    node: NodeRow {
        name: "tls",
        block: Some(&UPSTREAM_TLS_BLOCK),
        doc: "TLS towards the endpoints that are written with `https://`. Their certificates are verified; what is here changes by what, and what is shown to them.",
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
        doc: "A file with the CAs in PEM that are believed, instead of the system's. The endpoint's own certificate will do: \
          its dates and names count (the common name, if it has no others), and nothing else.",
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
        doc: "The name that is asked for (SNI) and that the certificate must have.",
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
        doc: "A file with a certificate chain in PEM that we show to endpoints that ask; goes with `key`.",
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
    word("on", "a certificate that is not good is an error (502)"),
    word("off", "any certificate is taken: whoever is in between can read and change everything"),
];

static VERIFY: Row<RawUpstreamTls> = Row {
    node: NodeRow {
        name: "verify",
        arguments: &[argument("mode", Kind::Word(VERIFY_WORDS), One)],
        doc: "Whether the endpoint's certificate is verified.",
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
        doc: "Where what must outlast the process is kept: the own CA of `tls internal`, and the accounts, keys and certificates of `tls auto`. Only its owner can read it.",
        default: "`$STATE_DIRECTORY`, else `/var/lib/bothways` for root and `~/.local/state/bothways` for others",
        example: "process { state \"/var/lib/bothways\" }",
        ..NodeRow::NEW
    },
    read: Read::Value(|raw, directory| raw.process.state = Some(directory.path())),
    show: Show::Value(|raw| raw.process.state.as_deref().map(path)),
};
