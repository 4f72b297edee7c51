//! The rules of a `forward`: what `allow` and `deny` may ask of a request.

use super::rows::property;
use super::texts::{flag, joined};
use super::{Kind, NodeRow, Property, Read, Row, Show, in_line};
use crate::decode::{ClientLists, RawForward, RawRule};
use crate::effective::quoted;
use crate::model::PortRange;
use crate::values::{Datum, destination_text, nets_text, ports_text};

/// What both kinds of rules have, and what one has beside.
macro_rules! rule_properties {
    ($($more:expr,)*) => {
        [
property(
            "to",
            Kind::Destinations,
            "",
            "Destinations: `host`, `*.suffix` (the suffix itself too), a network, or `*`; each but a network perhaps with its port (`host:8443`). Separate several with commas.",
        )
.of(|it, to| {
 if let Datum::Destinations(to) = to {
 it.rule.to = to.iter().filter(|(_, port)| port.is_none()).map(|(to, _)| to.clone()).collect();
 it.to_port.clone_from(to);
 }
 }, |it| joined(&it.rule.to.iter().map(destination_text).collect::<Vec<_>>())),
property("from", Kind::Networks, "", "Networks of the client; separate several with commas.")
.of(|it, from| {
 if let Datum::Networks(from) = from {
 it.rule.from.clone_from(from);
 }
 }, |it| (!it.rule.from.is_empty()).then(|| quoted(&nets_text(&it.rule.from)))),
property(
            "port",
            Kind::Ports,
            "",
            "Ports of the destination; separate several with commas, write ranges as `8000-9000`. In `allow`, it replaces `ports`.",
        )
.of(|it, ports| {
 if let Datum::Ports(ports) = ports {
 // `any` is every port, and not those of `ports`.
 let any = ports.is_empty();
 it.rule.ports = if any { vec![PortRange::ALL] } else { ports.clone() };
 }
 }, |it| (!it.rule.ports.is_empty()).then(|| quoted(&ports_text(&it.rule.ports)))),
property("method", Kind::Methods, "", "Methods; separate several with commas.")
.of(|it, methods| {
 if let Datum::Methods(methods) = methods {
 it.rule.methods.clone_from(methods);
 }
 }, |it| joined(&it.rule.methods)),
property(
            "client-name",
            Kind::CertificateNames,
            "",
            "A name in the client's certificate, as in `client` of a site; separate several with commas. `tls` must ask for certificates.",
        )
.of(|it, names| it.clients.names = names.texts().to_vec(), |it| joined(&it.clients.names)),
property(
            "client-fingerprint",
            Kind::Fingerprints,
            "",
            "The SHA-256 of the client's certificate; separate several with commas.",
        )
.of(|it, all| it.clients.fingerprints = all.texts().to_vec(), |it| joined(&it.clients.fingerprints)),
property("client-subject", Kind::Subject, "", "The whole subject of the client's certificate.")
.of(|it, text| it.clients.subject = Some(text.text().into()), |it| it.clients.subject.as_deref().map(quoted)),
            $($more,)*
        ]
    };
}

pub(crate) static DENY_PROPERTIES: [Property<RawRule>; 7] = rule_properties![];

pub(crate) static ALLOW_PROPERTIES: [Property<RawRule>; 8] = rule_properties![property(
    "special",
    Kind::Flag,
    "#false",
    "Whether the rule also allows special addresses that it does not name: private ones, and those of this machine, its link and its cloud (loopback, link-local, metadata services), whichever name resolves to them. Then the owner of the name decides which of these addresses clients reach.",
)
.of(|it, value| it.rule.special = value.flag(), |it| it.rule.special.then(|| flag(true))),];

pub(super) static DENY: Row<RawForward> = Row {
    node: NodeRow {
        name: "deny",
        properties: &DENY_PROPERTIES,
        repeats: true,
        doc: "Refuses requests that match every given property; without properties, all requests. Names are compared with the name that the client asks for and its aliases in the hosts file; the target of a CNAME record counts only by its addresses. An IPv4 network also includes the IPv6 addresses that embed one of its addresses (NAT64, 6to4, Teredo, ISATAP, mapped).",
        example: "forward \"127.0.0.1:3128\" {\n    deny to=\"*.facebook.com,example.net\" method=CONNECT\n}",
        rank: -2,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, forward, node| decoder.rule(forward, node, false, &DENY_PROPERTIES)),
    show: Show::Lines(|out, forward, shown| {
        for (rule, span) in &forward.rules {
            let raw = RawRule {
                clients: ClientLists::of(&rule.clients),
                rule: rule.clone(),
                to_port: Vec::new(),
            };
            let (name, text) = match rule.allow {
                true => ("allow", in_line(&ALLOW_PROPERTIES, &raw)),
                false => ("deny", in_line(&DENY_PROPERTIES, &raw)),
            };
            out.value(shown.depth, name, text.trim_start(), Some(*span));
        }
    }),
};

pub(super) static ALLOW: Row<RawForward> = Row {
    node: NodeRow {
        name: "allow",
        properties: &ALLOW_PROPERTIES,
        repeats: true,
        doc: "Allows requests that match every given property. A private address may be a destination only if such a rule names it, as an exact host or by a network. An address of this machine, its link or its cloud (loopback, link-local, metadata services) must be named by address or network, or allowed with `special=#true`. `localhost` names loopback.",
        example: "forward \"127.0.0.1:3128\" {\n    allow to=\"127.0.0.1\" port=\"8000-9000\"\n    allow from=\"10.0.0.0/8\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, forward, node| decoder.rule(forward, node, true, &ALLOW_PROPERTIES)),
    show: Show::With("deny"),
};
