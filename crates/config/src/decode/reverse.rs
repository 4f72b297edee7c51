//! The top level, `listen`, `site`, `route`.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::forward::{RawExpect, RawForward};
use super::layer::{Layer, Overrides};
use super::process::RawProcess;
use super::resolve::Bounds;
use super::tls::{RawAcme, RawTls, RawTlsKind};
use super::upstream::RawUpstream;
use super::{Checked, Decoder, Given, Origins};
use crate::model::{Pattern, ProxyProtocol, Segment, SiteName};
use crate::schema::{self, LIMITS, TIMEOUTS};
use crate::source::Span;
use crate::syntax::Node;
use crate::values::Datum;

/// Everything that the files say.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) process: RawProcess,
    pub(super) timeouts: Overrides,
    pub(super) limits: Overrides,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) trusted_proxies_span: Option<Span>,
    pub(super) listens: Vec<RawListen>,
    pub(super) sites: Vec<RawSite>,
    pub(super) upstreams: Vec<RawUpstream>,
    pub(super) forwards: Vec<RawForward>,
    pub(super) acmes: Vec<RawAcme>,
    pub(super) expects: Vec<RawExpect>,
}

/// An address to listen on, as it stands somewhere.
#[derive(Debug, Clone)]
pub(crate) struct RawAddress {
    pub(crate) address: SocketAddr,
    pub(crate) written: Arc<str>,
    pub(crate) span: Span,
}

/// Options of an address, and where each that is set stands.
#[derive(Debug, Clone)]
pub(crate) struct RawListen {
    pub(crate) address: RawAddress,
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) http2: bool,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) timeouts: Overrides,
    pub(crate) limits: Overrides,
    /// What holds there, all things considered.
    pub(crate) bounds: Bounds,
    pub(crate) set: Origins,
}

impl RawListen {
    pub(super) fn new(address: RawAddress) -> Self {
        Self {
            address,
            proxy_protocol: ProxyProtocol::Off,
            http2: true,
            trusted_proxies: Vec::new(),
            timeouts: Vec::new(),
            limits: Vec::new(),
            bounds: Bounds::default(),
            set: Origins::default(),
        }
    }
}

#[derive(Debug)]
pub(super) struct RawSite {
    pub(super) span: Span,
    pub(super) names: Vec<(SiteName, Span)>,
    /// Empty: the default.
    pub(super) listens: Vec<RawAddress>,
    pub(super) tls: Option<RawTls>,
    /// Where; `None`: nowhere.
    pub(super) redirect_http: Option<(Option<RawAddress>, Span)>,
    pub(super) routes: Vec<RawRoute>,
    pub(super) layer: Layer,
    /// Whether something in it was left out because of a mistake.
    pub(super) broken: bool,
}

#[derive(Debug)]
pub(super) struct RawRoute {
    pub(super) span: Span,
    pub(super) pattern: Pattern,
    pub(super) methods: Vec<Box<str>>,
    pub(super) layer: Layer,
}

impl Given {
    pub(super) fn listen(&self) -> Option<RawAddress> {
        let Datum::Listen { written, address } = &self.datum else { return None };
        Some(RawAddress { address: *address, written: written.as_ref().into(), span: self.span })
    }
}

impl Decoder<'_> {
    /// Reads the nodes of all files.
    pub(super) fn top(&mut self, nodes: &[Node<'_>]) -> Raw {
        let mut raw = Raw::default();
        for node in self.nodes(nodes, &schema::TOP) {
            match node.row.name {
                "process" => {
                    let mut process = RawProcess::default();
                    process.set = self.block(&node, &schema::PROCESS_BLOCK, &mut process);
                    raw.process = process;
                }
                "timeouts" => raw.timeouts = self.overrides(&node, TIMEOUTS),
                "limits" => raw.limits = self.overrides(&node, LIMITS),
                "trusted-proxy" => {
                    raw.trusted_proxies_span.get_or_insert(node.name_span());
                    add_networks(&mut raw.trusted_proxies, &node);
                }
                "listen" => raw.listens.extend(self.listen(&node)),
                "site" => raw.sites.push(self.site(&node)),
                "upstream" => raw.upstreams.extend(self.upstream(&node)),
                "forward" => raw.forwards.extend(self.forward(&node)),
                "acme" => raw.acmes.push(self.acme(&node)),
                "expect" => raw.expects.extend(self.expect(&node)),
                _ => {}
            }
        }
        raw
    }

    fn listen(&mut self, node: &Checked<'_, '_>) -> Option<RawListen> {
        let address = node.first().and_then(Given::listen);
        let children = self.rows(node, &schema::LISTEN_BLOCK);
        let mut listen = RawListen::new(address?);
        listen.set = self.read(&children, &mut listen);
        Some(listen)
    }

    fn site(&mut self, node: &Checked<'_, '_>) -> RawSite {
        let names = node.arguments.iter().filter_map(|given| match &given.datum {
            Datum::Site(name) => Some((name.clone(), given.span)),
            _ => None,
        });
        let mut site = RawSite {
            span: node.name_span(),
            names: names.collect(),
            listens: Vec::new(),
            tls: None,
            redirect_http: None,
            routes: Vec::new(),
            layer: Layer::default(),
            broken: node.node.damaged,
        };
        if node.node.arguments.is_empty() {
            site.names.push((SiteName::Default, node.name_span()));
        }
        let children = self.children(node);
        site.broken |= children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        // A site's own action and modifiers hold for `/*`, so `{rest}` means something there.
        let captures = ["rest".into()];
        let nodes: Vec<_> = children.iter().filter(|child| child.row.name == "tls").collect();
        site.tls = self.tls(&nodes, false);
        if let Some(RawTls { kind: RawTlsKind::Passthrough, span, .. }) = site.tls {
            site.broken |= !self.check_passed_on(&children, span);
        }
        for child in children {
            match child.row.name {
                "tls" => {}
                "redirect-http" => {
                    let address = child.first().map(Given::listen);
                    site.redirect_http = address.map(|address| (address, child.name_span()));
                }
                "listen" => {
                    let addresses = child.arguments.iter().filter_map(Given::listen);
                    site.listens.extend(addresses);
                    site.broken |= child.arguments.is_empty();
                }
                "route" => match self.route(&child) {
                    Some(route) => site.routes.push(route),
                    None => site.broken = true,
                },
                _ => {
                    self.modifier(&mut site.layer, &child, &captures);
                }
            }
        }
        self.check_twice(&site.listens);
        site
    }

    /// Tells what means nothing where TLS is passed on as it is; false if nothing says where to.
    fn check_passed_on(&mut self, children: &[Checked<'_, '_>], tls: Span) -> bool {
        let takes = ["tls", "listen", "to", "timeouts"];
        for child in children.iter().filter(|child| !takes.contains(&child.row.name)) {
            let message = format!("`{}` is not possible with `tls passthrough`", child.row.name);
            self.error(child.name_span(), message)
                .related(tls, "`tls passthrough`")
                .hint("the connection is not decrypted: such a site takes only `listen`, `to` and `timeouts`");
        }
        let goes_somewhere = children.iter().any(|child| child.row.name == "to");
        if !goes_somewhere {
            self.error(tls, "`tls passthrough` needs a `to` in the site")
                .hint("write to \"10.0.0.1:443\"");
        }
        goes_somewhere
    }

    /// Tells an address that one site names twice.
    fn check_twice(&mut self, addresses: &[RawAddress]) {
        for (index, later) in addresses.iter().enumerate() {
            let earlier = addresses.iter().take(index).find(|a| a.address == later.address);
            if let Some(earlier) = earlier {
                self.error(later.span, format!("the site listens on `{}` twice", later.written))
                    .related(earlier.span, "here first");
            }
        }
    }

    fn route(&mut self, node: &Checked<'_, '_>) -> Option<RawRoute> {
        let pattern = node.first().and_then(|given| match &given.datum {
            Datum::Pattern(pattern) => Some(pattern.clone()),
            _ => None,
        });
        let mut captures: Vec<Box<str>> = Vec::new();
        if let Some(pattern) = &pattern {
            captures.extend(pattern.segments.iter().filter_map(|segment| match segment {
                Segment::Capture(name) => Some(name.clone()),
                Segment::Literal(_) => None,
            }));
            captures.extend(pattern.prefix.then(|| "rest".into()));
        }
        let mut layer = Layer::default();
        let children = self.children(node);
        let unknown = children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        for child in children {
            // Without its pattern, nobody can tell what a route captures.
            if pattern.is_some() {
                self.modifier(&mut layer, &child, &captures);
            }
        }
        let pattern = pattern?;
        if layer.action.is_none() && !unknown && !node.node.damaged {
            self.error(node.node.span, format!("the route `{}` does nothing", pattern.written))
                .hint("it needs one of `to`, `split`, `redirect`, `respond` and `files`");
        }
        let methods = match node.property("method").map(|given| &given.datum) {
            Some(Datum::Methods(methods)) => methods.clone(),
            _ => Vec::new(),
        };
        Some(RawRoute { span: node.name_span(), pattern, methods, layer })
    }
}

/// Adds the networks of a node that are not there yet.
pub(crate) fn add_networks(networks: &mut Vec<IpNet>, node: &Checked<'_, '_>) {
    for given in &node.arguments {
        if let Datum::Networks(given) = &given.datum {
            add_new(networks, given);
        }
    }
}

/// Adds networks that are not there yet.
pub(super) fn add_new(networks: &mut Vec<IpNet>, more: &[IpNet]) {
    for net in more {
        if !networks.contains(net) {
            networks.push(*net);
        }
    }
}
