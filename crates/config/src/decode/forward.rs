//! `forward` and `expect`.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::layer::{HasLayer, Layer};
use super::reverse::RawAddress;
use super::tls::{ClientLists, RawTls};
use super::{Checked, Decoder, Given};
use crate::model::{Anonymous, Destination, EditVerb, Expect, ForwardRule, PortRange};
use crate::schema::{EXPECT_PROPERTIES, FORWARD_BLOCK, Property};
use crate::source::Span;
use crate::values::Datum;

#[derive(Debug)]
pub(crate) struct RawForward {
    pub(crate) span: Span,
    pub(crate) address: RawAddress,
    pub(crate) rules: Vec<(ForwardRule, Span)>,
    pub(crate) ports: Option<(Vec<PortRange>, Span)>,
    pub(crate) anonymous: Option<(Anonymous, Span)>,
    pub(crate) via: Option<(Box<str>, Span)>,
    pub(crate) tls: Option<RawTls>,
    pub(crate) layer: Layer,
}

impl HasLayer for RawForward {
    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn layer_mut(&mut self) -> &mut Layer {
        &mut self.layer
    }
}

/// A rule, as it is read.
pub(crate) struct RawRule {
    pub(crate) rule: ForwardRule,
    pub(crate) clients: ClientLists,
    /// Destinations, each perhaps with a port of its own.
    pub(crate) to_port: Vec<(Destination, Option<u16>)>,
}

#[derive(Debug)]
pub(crate) struct RawExpect {
    pub(crate) span: Span,
    pub(crate) expect: Expect,
    pub(crate) forward: Option<RawAddress>,
}

impl Decoder<'_> {
    pub(crate) fn forward(&mut self, node: &Checked<'_, '_>) -> Option<RawForward> {
        let children = self.rows(node, &FORWARD_BLOCK);
        let mut forward = RawForward {
            span: node.name_span(),
            address: node.first().and_then(Given::listen)?,
            rules: Vec::new(),
            ports: None,
            anonymous: None,
            via: None,
            tls: None,
            layer: Layer::default(),
        };
        forward.layer.set = self.read(&children, &mut forward);
        self.check_tls(forward.tls.as_ref());
        self.check_forward_login(&forward.layer);
        self.check_open(&forward);
        Some(forward)
    }

    pub(crate) fn rule(
        &mut self,
        forward: &mut RawForward,
        node: &Checked<'_, '_>,
        allow: bool,
        properties: &'static [Property<RawRule>],
    ) {
        let place = self.place(node.name_span());
        let rule = ForwardRule {
            place,
            written: self.written(node.node.span).into(),
            allow,
            to: Vec::new(),
            from: Vec::new(),
            ports: Vec::new(),
            methods: Vec::new(),
            clients: Vec::new(),
            special: false,
        };
        let mut raw = RawRule { rule, clients: ClientLists::default(), to_port: Vec::new() };
        node.put(properties, &mut raw);
        raw.rule.clients = raw.clients.matches(place);
        let ported: Vec<_> = raw.to_port.iter().filter(|(_, port)| port.is_some()).collect();
        if let (Some(_), Some(given)) = (ported.first(), node.property("port")) {
            self.error(given.span, "the port is written twice: here and in `to`")
                .hint("remove one of them");
        }
        let rule = raw.rule;
        // A destination with a port of its own is a rule of its own, next to the others.
        let own = raw.to_port.iter().filter_map(|(to, port)| {
            let ports = (*port).map(|port| vec![PortRange { first: port, last: port }])?;
            Some(ForwardRule { to: vec![to.clone()], ports, ..rule.clone() })
        });
        forward.rules.extend(own.map(|rule| (rule, node.name_span())));
        if !rule.to.is_empty() || raw.to_port.is_empty() {
            forward.rules.push((rule, node.name_span()));
        }
    }

    pub(crate) fn ports(&mut self, node: &Checked<'_, '_>) -> Vec<PortRange> {
        let mut ports = Vec::new();
        for given in &node.arguments {
            match &given.datum {
                Datum::Ports(any) if any.is_empty() => {
                    if node.arguments.len() > 1 {
                        self.error(given.span, "`any` cannot be combined with other ports");
                    }
                    return Vec::new();
                }
                Datum::Ports(ranges) => ports.extend_from_slice(ranges),
                _ => {}
            }
        }
        ports
    }

    pub(crate) fn anonymous_field(&mut self, anonymous: &mut Anonymous, node: &Checked<'_, '_>) {
        for given in &node.arguments {
            let name = given.datum.text();
            if self.may_edit(name, given.span, EditVerb::Remove, true) {
                anonymous.remove.push(name.into());
            }
        }
    }

    /// Warns of a proxy that anybody may use.
    fn check_open(&mut self, forward: &RawForward) {
        if forward.address.address.ip().to_canonical().is_loopback() {
            return;
        }
        let everybody = |net: &IpNet| net.prefix_len() == 0;
        for (rule, span) in &forward.rules {
            let anywhere = rule.from.is_empty() || rule.from.iter().any(everybody);
            let anybody = anywhere && rule.clients.is_empty();
            if !rule.allow && anybody && unlimited(rule) {
                // Whatever comes behind is never asked.
                return;
            }
            if !rule.allow || !anybody {
                continue;
            }
            let written = &forward.address.written;
            let message = match unlimited(rule) || rule.to.is_empty() || wide(&rule.to) {
                true => format!(
                    "an open proxy: anybody who can reach `{written}` can use it for any destination"
                ),
                false => {
                    format!("anybody who can reach `{written}` can use it for this destination")
                }
            };
            self.warning(*span, message).hint("restrict the clients: from=\"10.0.0.0/8\"");
        }
    }

    pub(crate) fn expect(&mut self, node: &Checked<'_, '_>) -> Option<RawExpect> {
        let outcomes = ["status", "denied", "location", "upstream", "site", "path"];
        let given = |name: &&str| node.node.properties.iter().any(|p| p.name == **name);
        if !outcomes.iter().any(given) && !node.node.damaged {
            self.error(node.node.span, "this `expect` has no outcome")
                .hint(format!("state the expected outcome: {}", outcomes.join("=…, ") + "=…"));
        }
        let Datum::Request { method, target } = &node.first()?.datum else { return None };
        let forward = node.property("forward").and_then(Given::listen);
        if &**method == "CONNECT" && !given(&"forward") {
            self.error(node.node.span, "CONNECT is for a `forward`, but none is named")
                .hint("add forward=\":3128\"");
        }
        let mut expect = Expect {
            place: self.place(node.name_span()),
            method: method.clone(),
            target: target.clone(),
            from: Ipv4Addr::LOCALHOST.into(),
            client_name: None,
            fields: Vec::new(),
            forward: None,
            status: None,
            denied: None,
            location: None,
            upstream: None,
            site: None,
            path: None,
        };
        node.put(&EXPECT_PROPERTIES, &mut expect);
        Some(RawExpect { span: node.name_span(), expect, forward })
    }
}

/// Whether nothing but the client matters to a rule.
fn unlimited(rule: &ForwardRule) -> bool {
    (rule.to.is_empty() || wide(&rule.to)) && rule.ports.is_empty() && rule.methods.is_empty()
}

/// Whether destinations are all there are.
fn wide(destinations: &[Destination]) -> bool {
    destinations.iter().any(|destination| match destination {
        Destination::Any => true,
        Destination::Net(net) => net.prefix_len() == 0,
        Destination::Host(_) | Destination::Suffix(_) => false,
    })
}
