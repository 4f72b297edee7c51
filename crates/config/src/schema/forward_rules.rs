//! The rules of a `forward`: what `allow` and `deny` may ask of a request.

use super::rows::property;
use super::{Kind, NodeRow, PropertyRow};

/// What both kinds of rules have, and what one has beside.
macro_rules! rule_properties {
    ($($more:expr,)*) => {
        [
        property(
            "to",
            Kind::Destinations,
            "",
            "Destinations: `host`, `*.suffix` (the suffix itself too), a network, or `*`; several with commas.",
        ),
        property("from", Kind::Networks, "", "Networks that the client is in, several with commas."),
        property(
            "port",
            Kind::Ports,
            "",
            "Ports of the destination, several with commas, ranges as `8000-9000`. In `allow`, it replaces what `ports` says.",
        ),
        property("method", Kind::Methods, "", "Methods, several with commas."),
        property(
            "client-name",
            Kind::CertificateNames,
            "",
            "A name in the client's certificate, as in `client` of a site; several with commas. `tls` must ask for certificates.",
        ),
        property(
            "client-fingerprint",
            Kind::Fingerprints,
            "",
            "The SHA-256 of the client's certificate; several with commas.",
        ),
        property("client-subject", Kind::Subject, "", "The whole subject of the client's certificate."),
            $($more,)*
        ]
    };
}

static DENY_PROPERTIES: [PropertyRow; 7] = rule_properties![];

static ALLOW_PROPERTIES: [PropertyRow; 8] = rule_properties![property(
    "special",
    Kind::Flag,
    "#false",
    "Whether special addresses are allowed too that the rule does not name: private ones, and those of this machine, its link and its cloud (loopback, link-local, metadata services), whichever name leads there. Who controls the name then says what of that is reached.",
),];

pub(super) static DENY: NodeRow = NodeRow {
    name: "deny",
    properties: &DENY_PROPERTIES,
    repeats: true,
    doc: "Refuses requests that match in every property given; without any, all. Names are compared with the one that the client asks for, and its aliases in the hosts file; where CNAME records lead counts by its addresses alone. A network of IPv4 also has the IPv6 addresses that carry one of its addresses (NAT64, 6to4, Teredo, ISATAP, mapped).",
    example: "forward \"127.0.0.1:3128\" {\n    deny to=\"*.facebook.com,example.net\" method=CONNECT\n}",
    ..NodeRow::NEW
};

pub(super) static ALLOW: NodeRow = NodeRow {
    name: "allow",
    properties: &ALLOW_PROPERTIES,
    repeats: true,
    doc: "Allows requests that match in every property given. A private address may be a destination only if such a rule names it, as an exact host or by a network; one of this machine, its link or its cloud (loopback, link-local, metadata services) only by address or network, or with `special=#true`. `localhost` names loopback.",
    example: "forward \"127.0.0.1:3128\" {\n    allow to=\"127.0.0.1\" port=\"8000-9000\"\n    allow from=\"10.0.0.0/8\"\n}",
    ..NodeRow::NEW
};
