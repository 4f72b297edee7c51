//! What is said of TLS, joined to the model: certificates and their names, listeners that speak it
//! or not, and the sites that send clients there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::super::forward::RawForward;
use super::super::layer::Layer;
use super::super::resolve::Resolver;
use super::super::reverse::{Raw, RawAddress, RawSite};
use super::super::upstream::RawUpstream;
use super::{RawTls, RawTlsKind, default_acme};
use crate::model::{
    AcmeId, Action, EndpointAddress, FieldEdit, ListenerId, Pattern, Route, RouteSettings, Serves,
    Site, SiteId, SiteName, SourceKind, Template, TemplatePart, Upstream, UpstreamId, Variable,
};
use crate::nearest::nearest;
use crate::source::Span;
use crate::tls::{
    AcmeChallenge, CertificateSource, ClientCertificates, ServerTls, SiteTls, TlsVersion,
    UpstreamProtocol,
};

/// Names that no public CA issues certificates for, as nobody owns them (RFC 2606, 6761, 6762,
/// 8375, and what networks at home and at work are called).
const PRIVATE_SUFFIXES: &[&str] = &[
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "localhost",
    "test",
    "example",
    "invalid",
    "onion",
    "home.arpa",
];

/// How a listener is spoken to, and the first place that says so.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Speech {
    tls: bool,
    span: Span,
}

impl Resolver<'_, '_> {
    /// Takes over the ACME directories.
    pub(in crate::decode) fn acmes(&mut self, raw: &Raw) {
        for acme in &raw.acmes {
            let id = AcmeId::at(self.config.acme.len());
            let earlier = self.acme_ids.insert(acme.acme.name.clone(), (id, acme.span));
            if let Some((_, earlier)) = earlier {
                let message = match &*acme.acme.name {
                    "" => "there are two `acme` without a name".to_owned(),
                    name => format!("there are two `acme {name}`"),
                };
                self.decoder.error(acme.span, message).related(earlier, "here first");
            }
            self.config.acme.push(acme.acme.clone());
            self.acme_used.push(false);
        }
    }

    /// The directory of this name; the default one is there even if nobody wrote it.
    fn acme_named(&mut self, name: Option<&(Box<str>, Span)>) -> Option<AcmeId> {
        let wanted = name.map_or("", |(name, _)| name);
        if let Some(&(id, _)) = self.acme_ids.get(wanted) {
            if let Some(used) = self.acme_used.get_mut(id) {
                *used = true;
            }
            return Some(id);
        }
        let Some((wanted, span)) = name else {
            let id = AcmeId::at(self.config.acme.len());
            self.acme_ids.insert("".into(), (id, Span::default()));
            self.config.acme.push(default_acme());
            self.acme_used.push(true);
            return Some(id);
        };
        let mut known: Vec<_> = self.acme_ids.keys().filter(|name| !name.is_empty()).collect();
        known.sort_unstable();
        let list = known.iter().map(|name| &***name).collect::<Vec<_>>().join(", ");
        let hint = match nearest(wanted, known.iter().map(|name| &***name)) {
            Some(near) => format!("did you mean `{near}`? (known: {list})"),
            None if known.is_empty() => format!("write acme {wanted} {{ … }}"),
            None => format!("known: {list}"),
        };
        self.decoder.error(*span, format!("there is no `acme {wanted}`")).hint(hint);
        None
    }

    /// What a site does with TLS.
    pub(in crate::decode) fn site_tls(&mut self, raw: &RawSite) -> Option<SiteTls> {
        let tls = raw.tls.as_ref();
        self.check_clients(raw);
        match tls.map(|tls| &tls.kind) {
            None | Some(RawTlsKind::Off) => {
                if let Some((Some(_), span)) = &raw.redirect_http {
                    self.decoder
                        .error(
                            *span,
                            "`redirect-http` redirects to https://, but the site has no `tls`",
                        )
                        .hint("add tls auto, tls internal, or tls cert=\"…\" key=\"…\"");
                }
                None
            }
            Some(RawTlsKind::Passthrough) => Some(SiteTls::Passthrough),
            Some(_) => {
                let names: Vec<_> = raw.names.iter().map(|(name, _)| name).collect();
                let is_open = names.contains(&&SiteName::Default);
                let own = match is_open {
                    true => Vec::new(),
                    false => names.into_iter().map(SiteName::in_certificate).collect(),
                };
                let server = self.server_tls(tls?, own)?;
                if let CertificateSource::Auto { acme, .. } = server.certificates {
                    self.check_public(raw, acme);
                }
                Some(SiteTls::Terminate(server))
            }
        }
    }

    /// What a `forward` does with TLS.
    pub(in crate::decode) fn forward_tls(&mut self, raw: &RawForward) -> Option<ServerTls> {
        let asks = raw.tls.as_ref().is_some_and(RawTls::asks_for_certificates);
        for (rule, span) in raw.rules.iter().filter(|(rule, _)| !rule.clients.is_empty() && !asks) {
            let word = if rule.allow { "allow" } else { "deny" };
            self.decoder
                .error(
                    *span,
                    format!("this `{word}` is about client certificates, but none are requested"),
                )
                .hint("add tls … { client require ca=\"…\" } to the `forward`");
        }
        let tls = raw.tls.as_ref().filter(|tls| tls.is_on())?;
        let names = match &tls.kind {
            RawTlsKind::Auto { names, .. } | RawTlsKind::Internal { names } => names.clone(),
            _ => Vec::new(),
        };
        for name in &names {
            if matches!(tls.kind, RawTlsKind::Auto { .. }) && name.parse::<IpAddr>().is_ok() {
                self.decoder
                    .error(tls.span, format!("no public CA issues a certificate for `{name}`"))
                    .hint("name a host, or write tls internal");
            }
        }
        self.server_tls(tls, names)
    }

    fn server_tls(&mut self, raw: &RawTls, names: Vec<Box<str>>) -> Option<ServerTls> {
        let certificates = match &raw.kind {
            RawTlsKind::Files(files) => {
                CertificateSource::Files(files.iter().map(|(files, _)| files.clone()).collect())
            }
            RawTlsKind::Auto { acme, .. } => {
                CertificateSource::Auto { acme: self.acme_named(acme.as_ref())?, names }
            }
            RawTlsKind::Internal { .. } => CertificateSource::Internal { names },
            RawTlsKind::Off | RawTlsKind::Passthrough | RawTlsKind::Broken => return None,
        };
        let options = &raw.options;
        let (version_min, version_max) = options
            .versions
            .map_or((TlsVersion::Tls12, TlsVersion::Tls13), |(versions, _)| versions);
        Some(ServerTls {
            place: self.decoder.place(raw.span),
            certificates,
            version_min,
            version_max,
            client: match &options.client {
                Some((client, _)) => client.clone(),
                None => ClientCertificates::default(),
            },
            early_data: options.early_data.is_some_and(|(on, _)| on),
            tickets: options.tickets.is_none_or(|(on, _)| on),
            hsts: options.hsts.as_ref().map(|(hsts, _)| hsts.clone()),
        })
    }

    /// Tells names of a site that its directory gives no certificate for.
    fn check_public(&mut self, raw: &RawSite, acme: AcmeId) {
        let Some(directory) = self.config.directory(acme) else { return };
        let by_dns = matches!(directory.challenge, AcmeChallenge::Dns { .. });
        // One with a CA of its own is no public one, and may know names of the house.
        let is_public = directory.ca.is_none();
        for (site_name, span) in &raw.names {
            let written = site_name.in_certificate();
            match site_name {
                SiteName::Default => {
                    self.decoder
                        .error(*span, "`tls auto` needs names, but `*` means every host")
                        .hint("name the hosts, or write tls internal");
                }
                SiteName::Exact(host) if host.parse::<IpAddr>().is_ok() => {
                    self.decoder
                        .error(
                            *span,
                            format!("`tls auto` cannot get a certificate for the address `{host}`"),
                        )
                        .hint("name a host, or write tls internal");
                }
                SiteName::Label { .. } | SiteName::Wildcard(_) if !by_dns => {
                    self.decoder
                        .error(
                            *span,
                            format!("a certificate for `{written}` needs the DNS challenge"),
                        )
                        .hint("write challenge dns command=\"…\" in `acme`");
                }
                SiteName::Exact(host)
                | SiteName::Label { suffix: host, .. }
                | SiteName::Wildcard(host) => {
                    if is_public && is_private(host) {
                        self.decoder
                            .warning(
                                *span,
                                format!("no public CA issues a certificate for `{written}`"),
                            )
                            .hint(
                                "write tls internal, or set the directory of your own CA in `acme`",
                            );
                    }
                }
            }
        }
    }

    /// Tells `client` lines where nobody is asked for a certificate.
    fn check_clients(&mut self, raw: &RawSite) {
        let asks = raw.tls.as_ref().is_some_and(RawTls::asks_for_certificates);
        let layers = || std::iter::once(&raw.layer).chain(raw.routes.iter().map(|r| &r.layer));
        let first = layers().find_map(|layer: &Layer| layer.clients.first());
        // What cannot be done where TLS is passed on is told already.
        let is_told =
            |tls: &RawTls| matches!(tls.kind, RawTlsKind::Broken | RawTlsKind::Passthrough);
        let is_broken = raw.tls.as_ref().is_some_and(is_told);
        if let Some(line) = first.filter(|_| !asks && !is_broken) {
            let problem = self
                .decoder
                .error(line.span, "`client` is about client certificates, but none are requested");
            match &raw.tls {
                Some(tls) if tls.is_on() => problem.related(tls.span, "`tls` of the site"),
                _ => problem,
            }
            .hint("write tls … { client request ca=\"clients-ca.pem\" } in the site");
        }
    }

    /// Tells what does not go with TLS that is passed on.
    pub(in crate::decode) fn check_passthrough(&mut self, raw: &RawSite, to: Option<UpstreamId>) {
        let upstream = to.and_then(|to| self.config.upstream(to));
        let endpoint = upstream.and_then(|to| to.endpoints.iter().find(|endpoint| endpoint.tls));
        let span = raw.layer.action.as_ref().map(|action| action.span);
        if let Some((endpoint, span)) = endpoint.zip(span) {
            let bare = endpoint.written.split_once("://").map_or("", |(_, bare)| bare);
            let bare = match &endpoint.address {
                EndpointAddress::Name { port, .. } if !bare.contains(':') => {
                    format!("{bare}:{port}")
                }
                EndpointAddress::Ip(address) => address.to_string(),
                _ => bare.to_owned(),
            };
            let message =
                format!("`{}` would be TLS within the relayed TLS connection", endpoint.written);
            self.decoder.error(span, message).hint(format!("write \"{bare}\""));
        }
    }

    /// Notes how a listener is spoken to, and tells if another one speaks to it otherwise.
    pub(in crate::decode) fn speak(&mut self, listener: ListenerId, tls: bool, span: Span) {
        let Some(found) = self.config.listeners.get_mut(listener.index()) else { return };
        let Some(earlier) = self.speech.get(listener) else {
            found.tls = tls;
            self.speech.push(Speech { tls, span });
            return;
        };
        if earlier.tls == tls {
            return;
        }
        let (secure, clear) = if tls { (span, earlier.span) } else { (earlier.span, span) };
        let message = format!("`{}` cannot serve both cleartext and TLS", found.written);
        self.decoder
            .error(clear, message)
            .related(secure, "TLS for another site there")
            .hint("set another address for one of them with `listen`, or `tls` for both");
    }

    /// Adds the sites that send clients from http:// to https://.
    pub(in crate::decode) fn redirects(&mut self, raw: &[RawSite]) {
        // Resolved sites are as many as raw ones until here, in the same order.
        let sites = self.config.sites.len();
        for (index, raw) in raw.iter().enumerate().take(sites) {
            self.redirect_site(SiteId::at(index), raw);
        }
    }

    fn redirect_site(&mut self, https: SiteId, raw: &RawSite) {
        let Some((address, is_said)) = redirect_address(raw) else { return };
        let span = address.span;
        let known = self.listeners.get(&address.address).copied();
        if let Some((listener, earlier)) = known.and_then(|id| self.other_use(id)) {
            let message = format!("`{}` cannot redirect: {listener}", address.written);
            let problem = match is_said {
                true => self.decoder.error(span, message),
                false => self.decoder.warning(span, message),
            };
            problem
                .related(earlier, "here")
                .hint("write redirect-http \":8080\" for another address, or redirect-http off");
            return;
        }
        let names: Vec<_> = raw.names.iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<_> =
            names.into_iter().filter(|name| !self.is_served(name, address.address)).collect();
        let Some(ports) = self.secure_port(https).filter(|_| !names.is_empty()) else { return };
        let id = SiteId::at(self.config.sites.len());
        let listener = self.listener(&address);
        self.speak(listener, false, span);
        if let Some(Serves::Sites(sites)) =
            self.config.listeners.get_mut(listener.index()).map(|found| &mut found.serves)
        {
            sites.push(id);
        }
        let place = self.decoder.place(span);
        let base = self.config.site(https).map(|site| &site.base);
        // RFC 6797, section 7.2: this one must not be sent in clear.
        let is_sent =
            |edit: &&FieldEdit| !edit.name.eq_ignore_ascii_case("Strict-Transport-Security");
        let edits = |base: &RouteSettings| {
            base.response_fields.iter().filter(is_sent).cloned().collect::<Vec<_>>()
        };
        let settings = RouteSettings {
            timeouts: self.outer.timeouts.value.clone(),
            limits: self.outer.limits.value.clone(),
            response_fields: base.map(edits).unwrap_or_default(),
            log: base.map(|base| base.log).unwrap_or_default(),
            error_pages: base.map(|base| base.error_pages.clone()).unwrap_or_default(),
            ..RouteSettings::default()
        };
        let action = Action::Redirect { to: to_https(ports), status: 308 };
        let route = Route::new(place, Pattern::all(), action, settings.clone());
        self.config.sites.push(Site {
            place,
            names,
            listeners: vec![listener],
            routes: vec![route],
            base: settings,
            tls: None,
            https: Some(https),
        });
    }

    /// What else a listener is for, if it cannot have a site in clear.
    fn other_use(&self, id: ListenerId) -> Option<(&'static str, Span)> {
        let listener = self.config.listener(id)?;
        let span = self.addresses.get(id)?.span;
        match &listener.serves {
            Serves::Forward(_) => Some(("a `forward` listens there", span)),
            Serves::Sites(_) if listener.tls => {
                let speech = self.speech.get(id)?;
                Some(("TLS is spoken there", speech.span))
            }
            Serves::Sites(_) => None,
        }
    }

    /// Whether a site on that address, or on all addresses with its port, has the name.
    fn is_served(&self, name: &SiteName, address: SocketAddr) -> bool {
        let takes = |listener: &crate::model::Listener| {
            let there = listener.address;
            there == address || there.port() == address.port() && there.ip().is_unspecified()
        };
        let listeners = self.config.listeners.iter().filter(|listener| takes(listener));
        let sites = listeners.flat_map(|listener| match &listener.serves {
            Serves::Sites(sites) => sites.as_slice(),
            Serves::Forward(_) => &[],
        });
        let mut sites = sites.filter_map(|&id| self.config.site(id));
        sites.any(|site| site.names.contains(name))
    }

    /// The port that a site has https:// on; the usual one if it has several.
    fn secure_port(&self, site: SiteId) -> Option<u16> {
        let listeners = self.config.site(site)?.listeners.iter();
        let ports = listeners.filter_map(|&id| self.config.listener(id));
        let ports: Vec<_> = ports.map(|listener| listener.address.port()).collect();
        ports.iter().copied().find(|&port| port == 443).or(ports.first().copied())
    }

    /// Warns of directories that ask where nobody answers, and of those that nobody asks.
    pub(in crate::decode) fn check_directories(&mut self, raw: &Raw) {
        if self.decoder.problems.errors() > 0 {
            return;
        }
        for acme in &raw.acmes {
            let id = self.acme_ids.get(&acme.acme.name).map(|&(id, _)| id);
            if id.is_some_and(|id| self.acme_used.get(id) == Some(&false)) {
                let (what, hint) = match &*acme.acme.name {
                    "" => (
                        "no site has `tls auto`, so the directory is not used".to_owned(),
                        "auto".to_owned(),
                    ),
                    name => {
                        (format!("the directory `{name}` is not used"), format!("auto acme={name}"))
                    }
                };
                self.decoder.warning(acme.span, what).hint(format!("write tls {hint} in a site"));
            }
        }
        let mut told: HashMap<u32, ()> = HashMap::new();
        for (site, raw) in self.config.sites.iter().zip(&raw.sites) {
            let Some(SiteTls::Terminate(tls)) = &site.tls else { continue };
            let CertificateSource::Auto { acme, .. } = tls.certificates else { continue };
            let Some(directory) = self.config.directory(acme) else { continue };
            // RFC 8555, section 8.3, and RFC 8737, section 3: the ports are fixed. Directories of
            // one's own, such as those for tests, ask elsewhere.
            let (port, secure, word) = match directory.challenge {
                AcmeChallenge::Http => (80, false, "in cleartext"),
                AcmeChallenge::TlsAlpn => (443, true, "over TLS"),
                AcmeChallenge::Dns { .. } => continue,
            };
            let mut listeners = self.config.listeners.iter();
            let answers = listeners.any(|l| l.tls == secure && l.address.port() == port);
            if answers || directory.ca.is_some() || told.insert(acme.0, ()).is_some() {
                continue;
            }
            let span = raw.tls.as_ref().map_or(raw.span, |tls| tls.span);
            self.decoder
                .warning(span, format!("the directory will connect to port {port} {word}, but nothing listens there"))
                .hint(match secure {
                    false => "write redirect-http \":80\", or forward /.well-known/acme-challenge/ from the server on that port to this one",
                    true => "forward connections from that port to this machine, or write challenge http",
                });
        }
    }

    /// Tells a protocol that does not fit the endpoints, and `tls` without any to have it.
    pub(in crate::decode) fn check_upstream(&mut self, raw: &RawUpstream) {
        let Upstream { endpoints, sources, .. } = &raw.settings;
        let endpoint = |tls: bool| endpoints.iter().find(|endpoint| endpoint.tls == tls);
        // Endpoints of files say themselves whether they have TLS.
        let record = |tls: bool| {
            let of_kind = sources.iter().filter(move |source| source.tls == tls);
            of_kind.filter_map(|source| match &source.kind {
                SourceKind::Srv(name) => Some(name),
                SourceKind::File(_) => None,
            })
        };
        let found = |tls: bool| {
            endpoint(tls).map(|endpoint| &endpoint.written).or_else(|| record(tls).next())
        };
        if let Some(span) = raw.set.node("protocol") {
            let wrong = match raw.settings.protocol {
                UpstreamProtocol::H2 => found(false).map(|written| {
                    let message = format!("`h2` is HTTP/2 over TLS, but `{written}` is cleartext");
                    (message, "write h2c for cleartext HTTP/2, or \"https://…\" for TLS")
                }),
                UpstreamProtocol::H2c => found(true).map(|written| {
                    (
                        format!("`h2c` is cleartext HTTP/2, but `{written}` has TLS"),
                        "write h2 for HTTP/2 over TLS",
                    )
                }),
                UpstreamProtocol::Scgi => found(true).map(|written| {
                    (format!("`scgi` is cleartext, but `{written}` has TLS"), "omit `https://`")
                }),
                UpstreamProtocol::Auto | UpstreamProtocol::Http1 => None,
            };
            if let Some((message, hint)) = wrong {
                self.decoder.error(span, message).hint(hint);
            }
        }
        let span = raw.tls.as_ref().and(raw.set.node("tls"));
        let in_clear = endpoint(true).is_none() && !endpoints.is_empty() && sources.is_empty();
        if let Some(span) = span.filter(|_| in_clear) {
            self.decoder
                .warning(span, "no endpoint of the upstream has TLS")
                .hint("write to \"https://…\" for those that have");
        }
    }
}

/// Where a site's redirect listens, and whether somebody said so.
fn redirect_address(raw: &RawSite) -> Option<(RawAddress, bool)> {
    let tls = raw.tls.as_ref().filter(|tls| tls.is_on())?;
    if matches!(tls.kind, RawTlsKind::Passthrough | RawTlsKind::Broken) {
        return None;
    }
    match &raw.redirect_http {
        Some((address, _)) => Some((address.clone()?, true)),
        None if raw.listens.is_empty() => {
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80));
            Some((RawAddress { address, written: Arc::from(":80"), span: tls.span }, false))
        }
        None => None,
    }
}

/// `https://{host}{path}?{query}`, with the port unless it is the usual one.
fn to_https(port: u16) -> Template {
    let authority = if port == 443 { String::new() } else { format!(":{port}") };
    let mut parts =
        vec![TemplatePart::Literal("https://".into()), TemplatePart::Variable(Variable::Host)];
    if !authority.is_empty() {
        parts.push(TemplatePart::Literal(authority.as_str().into()));
    }
    parts.extend([
        TemplatePart::Variable(Variable::Path),
        TemplatePart::Literal("?".into()),
        TemplatePart::Variable(Variable::Query),
    ]);
    Template { written: format!("https://{{host}}{authority}{{path}}?{{query}}").into(), parts }
}

/// Whether nobody can show a public CA that the name is theirs.
fn is_private(host: &str) -> bool {
    let below = |suffix: &str| {
        host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !host.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| below(suffix))
}
