//! The top level, `listen`, `site`, `route`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::forward::{RawExpect, RawForward};
use super::layer::{HasLayer, Layer, Overrides};
use super::process::RawProcess;
use super::resolve::Bounds;
use super::templates::RawMap;
use super::tls::{RawAcme, RawTls, RawTlsKind};
use super::upstream::RawUpstream;
use super::{Checked, Decoder, Given, Origins};
use crate::model::{HostCapture, Pattern, ProxyProtocol, Rewrite, SiteId, SiteName};
use crate::schema::{self, Block};
use crate::source::Span;
use crate::syntax::Node;
use crate::values::Datum;

/// Everything that the files say.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) process: RawProcess,
    pub(crate) timeouts: Overrides,
    pub(crate) limits: Overrides,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) trusted_proxies_span: Option<Span>,
    pub(crate) listens: Vec<RawListen>,
    pub(crate) sites: Vec<RawSite>,
    pub(crate) upstreams: Vec<RawUpstream>,
    pub(crate) forwards: Vec<RawForward>,
    pub(crate) acmes: Vec<RawAcme>,
    pub(crate) maps: Vec<RawMap>,
    pub(crate) expects: Vec<RawExpect>,
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
pub(crate) struct RawSite {
    pub(crate) id: SiteId,
    pub(crate) span: Span,
    pub(crate) names: Vec<(SiteName, Span)>,
    /// Empty: the default.
    pub(crate) listens: Vec<RawAddress>,
    pub(crate) tls: Option<RawTls>,
    /// Where; `None`: nowhere.
    pub(crate) redirect_http: Option<(Option<RawAddress>, Span)>,
    pub(crate) routes: Vec<RawRoute>,
    pub(crate) layer: Layer,
    /// Whether something in it was left out because of a mistake.
    pub(crate) broken: bool,
}

impl RawSite {
    /// What its names capture of the host.
    pub(crate) fn host_captures(&self) -> impl Iterator<Item = HostCapture> + use<> {
        let names: Vec<_> = self.names.iter().map(|(name, _)| name.clone()).collect();
        HostCapture::of(&names).collect::<Vec<_>>().into_iter()
    }
}

impl HasLayer for RawSite {
    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn layer_mut(&mut self) -> &mut Layer {
        &mut self.layer
    }
}

#[derive(Debug)]
pub(crate) struct RawRoute {
    pub(crate) span: Span,
    pub(crate) pattern: Pattern,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) priority: i32,
    pub(crate) layer: Layer,
}

impl Given {
    pub(crate) fn listen(&self) -> Option<RawAddress> {
        let Datum::Listen { written, address } = &self.datum else { return None };
        Some(RawAddress { address: *address, written: written.as_ref().into(), span: self.span })
    }
}

impl Decoder<'_> {
    /// Reads the nodes of all files.
    pub(super) fn top(&mut self, nodes: &[Node<'_>]) -> Raw {
        let nodes = self.with_rows(nodes, &schema::TOP);
        let mut raw = Raw::default();
        self.read(&nodes, &mut raw);
        raw
    }

    /// Checks the names of the lines for all sites; what they say is checked where they are put.
    pub(crate) fn defaults(&mut self, node: &Checked<'_, '_>, block: &'static dyn Block) {
        for child in node.node.children.as_deref().unwrap_or_default() {
            let is_reuse = matches!(&*child.name, "use" | "include");
            if !is_reuse && block.row(&child.name).is_none() {
                self.unknown_node(child, block);
            }
        }
    }

    pub(crate) fn listen(&mut self, node: &Checked<'_, '_>) -> Option<RawListen> {
        let address = node.first().and_then(Given::listen);
        let children = self.rows(node, &schema::LISTEN_BLOCK);
        let mut listen = RawListen::new(address?);
        listen.set = self.read(&children, &mut listen);
        Some(listen)
    }

    pub(crate) fn site(&mut self, id: SiteId, node: &Checked<'_, '_>) -> RawSite {
        let names = node.arguments.iter().filter_map(|given| match &given.datum {
            Datum::Site(name) => Some((name.clone(), given.span)),
            _ => None,
        });
        let mut site = RawSite {
            id,
            span: node.name_span(),
            names: names.collect(),
            listens: Vec::new(),
            tls: None,
            redirect_http: None,
            routes: Vec::new(),
            // A site's own action and modifiers hold for `/*`, so `{rest}` means something there.
            layer: Layer { captures: vec!["rest".into()], ..Layer::default() },
            broken: node.node.damaged,
        };
        site.layer.captures.extend(site.host_captures().map(|capture| capture.name));
        if node.node.arguments.is_empty() {
            site.names.push((SiteName::Default, node.name_span()));
        }
        let children = self.rows(node, &schema::SITE_BLOCK);
        site.broken |= children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        site.layer.set = self.read(&children, &mut site);
        self.check_tls(site.tls.as_ref());
        if let Some(RawTls { kind: RawTlsKind::Passthrough, span, .. }) = site.tls {
            site.layer.is_passed_on = true;
            let children: Vec<_> = children.iter().map(|(_, child)| child).collect();
            site.broken |= !self.check_passed_on(&children, span);
        }
        self.check_twice(&site.listens);
        site
    }

    /// Tells what means nothing where TLS is passed on as it is; false if nothing says where to.
    fn check_passed_on(&mut self, children: &[&Checked<'_, '_>], tls: Span) -> bool {
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

    pub(crate) fn route(&mut self, node: &Checked<'_, '_>, site: &RawSite) -> Option<RawRoute> {
        let pattern = self.route_pattern(node);
        let children = self.rows(node, &schema::ROUTE_BLOCK);
        let unknown = children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        // Without its pattern, nobody can tell what a route captures.
        let pattern = pattern?;
        let mut layer = Layer { captures: pattern.captures(), ..Layer::default() };
        let of_host: Vec<_> = site.host_captures().map(|capture| capture.name).collect();
        self.check_host_captures(&layer.captures, &of_host, node.name_span());
        layer.captures.extend(of_host);
        layer.set = self.read(&children, &mut layer);
        if layer.action.is_none() && !unknown && !node.node.damaged {
            self.error(node.node.span, format!("the route `{}` does nothing", pattern.written))
                .hint("it needs one of `to`, `split`, `redirect`, `respond` and `files`");
        }
        if let Some((Rewrite::StripPrefix(prefix), span)) = &layer.rewrite {
            self.check_strip(prefix, *span, &pattern);
        }
        let (span, methods, priority) = (node.name_span(), Vec::new(), 0);
        let mut route = RawRoute { span, pattern, methods, priority, layer };
        node.put(&schema::ROUTE_PROPERTIES, &mut route);
        Some(route)
    }
}

/// Adds the networks of a node that are not there yet.
pub(crate) fn add_networks(networks: &mut Vec<IpNet>, node: &Checked<'_, '_>) {
    let given = node.arguments.iter().filter_map(|given| match &given.datum {
        Datum::Networks(given) => Some(given),
        _ => None,
    });
    add_new(networks, given.flatten());
}

/// Adds networks that are not there yet.
pub(super) fn add_new<'n>(networks: &mut Vec<IpNet>, more: impl IntoIterator<Item = &'n IpNet>) {
    let mut known: HashSet<IpNet> = networks.iter().copied().collect();
    networks.extend(more.into_iter().filter(|net| known.insert(**net)));
}
