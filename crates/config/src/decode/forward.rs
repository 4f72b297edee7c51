//! `forward` and `expect`.

use ipnet::IpNet;

use super::layer::Layer;
use super::reverse::RawAddress;
use super::tls::RawTls;
use super::{Checked, Decoder, Given};
use crate::model::{Anonymous, Destination, EditVerb, Expect, ForwardRule, PortRange};
use crate::source::Span;
use crate::values::Datum;

#[derive(Debug)]
pub(super) struct RawForward {
    pub(super) span: Span,
    pub(super) address: RawAddress,
    pub(super) rules: Vec<(ForwardRule, Span)>,
    pub(super) ports: Option<(Vec<PortRange>, Span)>,
    pub(super) anonymous: Option<(Anonymous, Span)>,
    pub(super) via: Option<(Box<str>, Span)>,
    pub(super) tls: Option<RawTls>,
    pub(super) layer: Layer,
}

#[derive(Debug)]
pub(super) struct RawExpect {
    pub(super) span: Span,
    pub(super) expect: Expect,
    pub(super) forward: Option<RawAddress>,
}

impl Decoder<'_> {
    pub(super) fn forward(&mut self, node: &Checked<'_, '_>) -> Option<RawForward> {
        let address = node.first().and_then(Given::listen);
        let mut rules = Vec::new();
        let (mut ports, mut anonymous, mut via) = (None, None, None);
        let mut layer = Layer::default();
        let children = self.children(node);
        let nodes: Vec<_> = children.iter().filter(|child| child.row.name == "tls").collect();
        let tls = self.tls(&nodes, true);
        for child in children {
            let span = child.name_span();
            match child.row.name {
                "tls" => {}
                "deny" | "allow" => rules.push((self.rule(&child), span)),
                "ports" => ports = Some((self.ports(&child), span)),
                "anonymous" => anonymous = Some((self.anonymous(&child), span)),
                "via" => via = child.first().map(|given| (given.datum.text().into(), span)),
                _ => {
                    self.modifier(&mut layer, &child, &[]);
                }
            }
        }
        let forward = RawForward {
            span: node.name_span(),
            address: address?,
            rules,
            ports,
            anonymous,
            via,
            tls,
            layer,
        };
        self.check_open(&forward);
        Some(forward)
    }

    fn rule(&mut self, node: &Checked<'_, '_>) -> ForwardRule {
        let mut rule = ForwardRule {
            place: self.place(node.name_span()),
            written: self.written(node.node.span).into(),
            allow: node.row.name == "allow",
            to: Vec::new(),
            from: Vec::new(),
            ports: Vec::new(),
            methods: Vec::new(),
            clients: self.clients(node, "client-"),
            special: node.property("special").is_some_and(|given| given.datum.flag()),
        };
        for (_, given) in &node.properties {
            match &given.datum {
                Datum::Destinations(to) => rule.to = to.clone(),
                Datum::Networks(from) => rule.from = from.clone(),
                Datum::Methods(methods) => rule.methods = methods.clone(),
                // `any` is every port, and not those of `ports`.
                Datum::Ports(ports) if ports.is_empty() => rule.ports = vec![EVERY_PORT],
                Datum::Ports(ports) => rule.ports = ports.clone(),
                _ => {}
            }
        }
        rule
    }

    fn ports(&mut self, node: &Checked<'_, '_>) -> Vec<PortRange> {
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

    fn anonymous(&mut self, node: &Checked<'_, '_>) -> Anonymous {
        let mut remove = Vec::new();
        for child in self.children(node) {
            for given in &child.arguments {
                let name = given.datum.text();
                if self.may_edit(name, given.span, EditVerb::Remove, true) {
                    remove.push(name.into());
                }
            }
        }
        Anonymous { remove }
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

    pub(super) fn expect(&mut self, node: &Checked<'_, '_>) -> Option<RawExpect> {
        let outcomes = ["status", "denied", "location", "upstream", "site", "path"];
        let given = |name: &&str| node.node.properties.iter().any(|p| p.name == **name);
        if !outcomes.iter().any(given) && !node.node.damaged {
            self.error(node.node.span, "this `expect` has no outcome")
                .hint(format!("state the expected outcome: {}", outcomes.join("=…, ") + "=…"));
        }
        let text =
            |name: &str| node.property(name).map(|given| Box::<str>::from(given.datum.text()));
        let Datum::Request { method, target } = &node.first()?.datum else { return None };
        let from = match node.property("from").map(|given| &given.datum) {
            Some(&Datum::Ip(ip)) => ip,
            _ => std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let forward = node.property("forward").and_then(Given::listen);
        if &**method == "CONNECT" && !given(&"forward") {
            self.error(node.node.span, "CONNECT is for a `forward`, but none is named")
                .hint("add forward=\":3128\"");
        }
        let expect = Expect {
            place: self.place(node.name_span()),
            method: method.clone(),
            target: target.clone(),
            from,
            client_name: match node.property("client-name").map(|given| given.datum.texts()) {
                Some([name, ..]) => Some(name.clone()),
                Some([]) | None => None,
            },
            forward: forward.as_ref().map(|address| address.written.as_ref().into()),
            status: node.property("status").map(|given| given.datum.number() as u16),
            denied: node.property("denied").map(|given| given.datum.flag()),
            location: text("location"),
            upstream: text("upstream"),
            site: text("site"),
            path: text("path"),
        };
        Some(RawExpect { span: node.name_span(), expect, forward })
    }
}

const EVERY_PORT: PortRange = PortRange { first: 1, last: u16::MAX };

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
