//! What the files say, joined to a [`Config`]: inheritance, names looked up, addresses merged.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Decoder;
use super::forward::{RawExpect, RawForward};
use super::layer::{Layer, Overrides, RawAction, RawActionKind};
use super::reverse::{Raw, RawAddress, RawListen, RawRoute, RawSite, add_new};
use super::show;
use super::tls::RawTls;
use super::tls::resolve::Speech;
use super::upstream::RawUpstream;
use crate::Effective;
use crate::model::{
    AccessLog, AcmeId, Action, Config, EditVerb, Endpoint, FieldEdit, Forward, ForwardId,
    HostCapture, Limits, Listener, ListenerId, LogId, LogTarget, LoginId, Maintenance, Pattern,
    Place, PortRange, Process, ProxyProtocol, Route, RouteSettings, Satisfy, Serves, Site, SiteId,
    SiteName, Switch, SwitchId, Table, Template, TemplatePart, Timeouts, Upstream, UpstreamId,
    UpstreamTimeouts, Variable,
};
use crate::nearest::nearest;
use crate::schema::{LIMITS, Setting, TIMEOUTS, UPSTREAM_TIMEOUTS};
use crate::source::Span;
use crate::tls::SiteTls;

/// Names that an unknown one is compared with, and names that are listed.
const NAMES_COMPARED_MAX: usize = 1000;
const NAMES_LISTED_MAX: usize = 12;

/// Ports that may be dialled, where nothing is said.
const PORTS: [PortRange; 2] =
    [PortRange { first: 80, last: 80 }, PortRange { first: 443, last: 443 }];

/// Settings with where each comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    /// By the index in the table; `None`: the default.
    pub(crate) origins: Vec<Option<Span>>,
}

impl<T: Default + Clone> Sourced<T> {
    fn new(table: &[Setting<T>]) -> Self {
        Self { value: T::default(), origins: vec![None; table.len()] }
    }

    fn with(&self, table: &[Setting<T>], overrides: &Overrides) -> Self {
        let mut new = self.clone();
        for (index, datum, span) in overrides {
            if let (Some(setting), Some(origin)) = (table.get(*index), new.origins.get_mut(*index))
            {
                (setting.set)(&mut new.value, datum);
                *origin = Some(*span);
            }
        }
        new
    }
}

/// Times and limits that hold somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) timeouts: Sourced<Timeouts>,
    pub(crate) limits: Sourced<Limits>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { timeouts: Sourced::new(TIMEOUTS), limits: Sourced::new(LIMITS) }
    }
}

impl Bounds {
    pub(super) fn with(&self, timeouts: &Overrides, limits: &Overrides) -> Self {
        Self {
            timeouts: self.timeouts.with(TIMEOUTS, timeouts),
            limits: self.limits.with(LIMITS, limits),
        }
    }
}

/// Joins everything. Mistakes are told to the decoder; the configuration then has no meaning.
pub(super) fn resolve(decoder: &mut Decoder<'_>, raw: Raw) -> (Config, Effective) {
    let outer = Bounds::default().with(&raw.timeouts, &raw.limits);
    let mut resolver = Resolver {
        decoder,
        config: Config::default(),
        outer,
        upstreams: HashMap::new(),
        inline: HashMap::new(),
        used: Table::new(),
        listeners: HashMap::new(),
        addresses: Table::new(),
        speech: Table::new(),
        acme_ids: HashMap::new(),
        acme_used: Table::new(),
        logs: HashMap::new(),
        switches: HashMap::new(),
    };
    resolver.config.files = resolver.decoder.sources.names();
    resolver.config.process = raw.process.process.clone();
    let log = log_of_process(&raw.process.process);
    resolver.logs.insert(log.target.clone(), vec![LogId::default()]);
    resolver.config.logs.push(log);
    resolver.config.maps = resolver.decoder.checked_maps(&raw.maps);
    resolver.upstreams(&raw.upstreams);
    resolver.acmes(&raw);
    for site in &raw.sites {
        resolver.site(site);
    }
    for forward in &raw.forwards {
        resolver.forward(forward);
    }
    resolver.redirects(&raw.sites);
    let listeners = resolver.listeners(&raw);
    for expect in &raw.expects {
        resolver.expect(expect, &raw.forwards);
    }
    resolver.unused(&raw);
    resolver.check_directories(&raw);
    resolver.check_store(&raw);
    let Resolver { config, outer, .. } = resolver;
    if decoder.problems.errors() > 0 {
        return (config, Effective::default());
    }
    let effective = show::effective(decoder, &raw, &config, &outer, &listeners);
    (config, effective)
}

/// Sends the id of a request both ways, before every other edit, or no longer.
fn set_request_id(settings: &mut RouteSettings, on: bool, place: Place) {
    for edits in [&mut settings.request_fields, &mut settings.response_fields] {
        if settings.request_id && !edits.is_empty() {
            edits.remove(0);
        }
        if on {
            let parts = vec![TemplatePart::Variable(Variable::RequestId)];
            let value = Template { written: "{request-id}".into(), parts };
            let (verb, name) = (EditVerb::Set, "X-Request-Id".into());
            edits.insert(0, FieldEdit { secret: None, place, verb, name, value });
        }
    }
    settings.request_id = on;
}

pub(super) struct Resolver<'d, 's> {
    pub(super) decoder: &'d mut Decoder<'s>,
    pub(super) config: Config,
    /// What holds where nothing else is said.
    pub(super) outer: Bounds,
    pub(super) upstreams: HashMap<Box<str>, (UpstreamId, Span)>,
    /// Those that are written inline, by their names.
    inline: HashMap<Box<str>, Vec<UpstreamId>>,
    /// By upstream: whether something leads to it.
    used: Table<UpstreamId, bool>,
    pub(super) listeners: HashMap<SocketAddr, ListenerId>,
    /// By listener: where it was named first.
    pub(super) addresses: Table<ListenerId, RawAddress>,
    /// By listener: how it is spoken to.
    pub(super) speech: Table<ListenerId, Speech>,
    /// Directories by name, the default one by none.
    pub(super) acme_ids: HashMap<Arc<str>, (AcmeId, Span)>,
    /// By directory: whether something asks it.
    pub(super) acme_used: Table<AcmeId, bool>,
    /// Access logs by where they go.
    logs: HashMap<LogTarget, Vec<LogId>>,
    /// What closes sites and routes.
    switches: HashMap<Switch, SwitchId>,
}

impl Resolver<'_, '_> {
    fn upstreams(&mut self, raw: &[RawUpstream]) {
        for upstream in raw {
            if let Some(&(_, earlier)) = self.upstreams.get(&upstream.name) {
                self.decoder
                    .error(upstream.span, format!("there are two upstreams `{}`", upstream.name))
                    .related(earlier, "here first");
                continue;
            }
            let mut timeouts = UpstreamTimeouts::default();
            for (index, datum, _) in &upstream.timeouts {
                let name = TIMEOUTS.get(*index).map(|setting| setting.row.name);
                let setting = UPSTREAM_TIMEOUTS.iter().find(|row| Some(row.row.name) == name);
                if let Some(setting) = setting {
                    (setting.set)(&mut timeouts, datum);
                }
            }
            let mut settings = upstream.settings.clone();
            settings.timeouts = timeouts;
            settings.tls = upstream.tls.as_ref().map(|raw| raw.tls.clone()).unwrap_or_default();
            let id = self.add_upstream(settings);
            self.check_upstream(upstream);
            self.check_balancing(upstream);
            self.upstreams.insert(upstream.name.clone(), (id, upstream.span));
        }
    }

    fn add_upstream(&mut self, upstream: Upstream) -> UpstreamId {
        let id = UpstreamId::at(self.config.upstreams.len());
        self.used.push(upstream.inline);
        self.config.upstreams.push(upstream);
        id
    }

    /// The upstream of this name.
    pub(super) fn named(&mut self, name: &str, span: Span) -> Option<UpstreamId> {
        if let Some(&(id, _)) = self.upstreams.get(name) {
            if let Some(used) = self.used.get_mut(id) {
                *used = true;
            }
            return Some(id);
        }
        if self.decoder.problems.errors() > super::PROBLEMS_MAX {
            // It will only be counted.
            self.decoder.error(span, format!("there is no upstream `{name}`"));
            return None;
        }
        let mut known: Vec<_> = self.upstreams.keys().map(AsRef::as_ref).collect();
        known.sort_unstable();
        known.truncate(NAMES_COMPARED_MAX);
        let near = nearest(name, known.iter().copied());
        if let Some(id) = near.and_then(|near| self.upstreams.get(near)).map(|&(id, _)| id)
            && let Some(used) = self.used.get_mut(id)
        {
            // It is meant, so that it is unused would be told for nothing.
            *used = true;
        }
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? (known: {})", listed(&known)),
            None if known.is_empty() => {
                format!("write upstream {name} {{ … }}, or an endpoint such as \"{name}:80\"")
            }
            None => format!("known: {}; an endpoint has a port: \"{name}:80\"", listed(&known)),
        };
        self.decoder.error(span, format!("there is no upstream `{name}`")).hint(hint);
        None
    }

    /// The upstream of endpoints that are written inline; the same ones are one upstream, wherever they stand.
    pub(super) fn inline(&mut self, endpoints: &[Endpoint], span: Span) -> UpstreamId {
        let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.written.as_ref()).collect();
        let name = names.join(",");
        let is_same = |&&id: &&UpstreamId| {
            let known = self.config.upstream(id).map_or(&[][..], |upstream| &upstream.endpoints);
            let anywhere =
                |endpoint: &Endpoint| Endpoint { place: Place::default(), ..endpoint.clone() };
            known.iter().map(anywhere).eq(endpoints.iter().map(anywhere))
        };
        let known = self.inline.get(&*name).and_then(|ids| ids.iter().find(is_same));
        if let Some(&id) = known {
            return id;
        }
        let place = self.decoder.place(span);
        let upstream = Upstream::new(name.as_str(), endpoints.to_vec());
        let id = self.add_upstream(Upstream { inline: true, place, ..upstream });
        self.inline.entry(name.into()).or_default().push(id);
        id
    }

    fn action(&mut self, raw: &RawAction) -> Option<Action> {
        match &raw.kind {
            RawActionKind::Upstream { name, span } => self.named(name, *span).map(Action::To),
            RawActionKind::Endpoints(endpoints) => {
                Some(Action::To(self.inline(endpoints, raw.span)))
            }
            RawActionKind::Split { split, stay } => self.split(&split.parts, stay),
            RawActionKind::Files(files) => {
                let mut serving = files.serving.clone();
                if let Some((to, span)) = &files.to {
                    serving.otherwise = Some(self.target(to, *span)?);
                }
                Some(Action::Files(serving))
            }
            RawActionKind::Ready(action) => Some(action.clone()),
            RawActionKind::Broken => None,
        }
    }

    /// What a layer makes of what is further out.
    fn settings(
        decoder: &Decoder<'_>,
        layer: &Layer,
        outer: &RouteSettings,
        bounds: &Bounds,
    ) -> RouteSettings {
        let mut settings = outer.clone();
        settings.timeouts = bounds.timeouts.value.clone();
        settings.limits = bounds.limits.value.clone();
        if let Some((rewrite, _)) = &layer.rewrite {
            settings.rewrite = rewrite.clone();
        }
        let edits = |edits: &[(FieldEdit, Span)]| {
            edits.iter().map(|(edit, _)| edit.clone()).collect::<Vec<_>>()
        };
        if let Some((on, span)) = layer.request_id {
            set_request_id(&mut settings, on, decoder.place(span));
        }
        settings.request_fields.extend(edits(&layer.request_fields.edits));
        settings.response_fields.extend(edits(&layer.response_fields.edits));
        if let Some((host, _)) = &layer.host {
            settings.host = host.clone();
        }
        if let Some((keep, _)) = layer.keep_responses {
            settings.keep_responses = keep;
        }
        if let Some((on, _)) = layer.forwarded {
            settings.forwarded = on;
        }
        if let Some((drop, _)) = layer.drop_underscores {
            settings.drop_underscores = drop;
        }
        for (page, _) in &layer.error_pages {
            settings.error_pages.retain(|outer| outer.status != page.status);
            settings.error_pages.push(page.clone());
        }
        if let Some((readings, _)) = layer.path_readings {
            settings.path_readings = readings;
        }
        if !layer.clients.is_empty() {
            let lines = layer.clients.iter().flat_map(|line| &line.any_of);
            settings.clients = lines.cloned().collect();
        }
        if !layer.access.is_empty() {
            settings.access = layer.access.iter().map(|line| line.rule.clone()).collect();
        }
        if let Some((satisfy, _)) = layer.satisfy {
            settings.satisfy = satisfy;
        }
        Self::layered_caching(layer, &mut settings);
        settings
    }

    /// The login of a layer; without a line, that of what is further out.
    fn login(&mut self, layer: &Layer, outer: Option<LoginId>) -> Option<LoginId> {
        let Some(raw) = &layer.login else { return outer };
        raw.is_on.then(|| {
            self.config.logins.push(raw.login.clone());
            LoginId::at(self.config.logins.len() - 1)
        })
    }

    fn site(&mut self, raw: &RawSite) {
        let id = SiteId::at(self.config.sites.len());
        let bounds = self.outer.with(&raw.layer.timeouts, &raw.layer.limits);
        let mut base = Self::settings(self.decoder, &raw.layer, &RouteSettings::default(), &bounds);
        base.mirrors = self.mirrors(&raw.layer.mirrors);
        let site_name = raw.names.first().map(|(name, _)| name.to_string());
        let site_name = site_name.unwrap_or_default();
        self.maintain(&raw.layer, &site_name, &mut base);
        base.log = self.log(&raw.layer, LogId::default());
        base.login = self.login(&raw.layer, None);
        let mut routes = Vec::with_capacity(raw.routes.len() + 1);
        let host_captures: Arc<[HostCapture]> = raw.host_captures().collect();
        for route in &raw.routes {
            let route = self.route(route, &base, &bounds, &site_name);
            routes
                .extend(route.map(|route| Route { host_captures: host_captures.clone(), ..route }));
        }
        if let Some(action) = &raw.layer.action
            && let Some(done) = self.action(action)
        {
            if raw.routes.is_empty() {
                self.check_mirrors(&raw.layer.mirrors, &done);
            }
            let place = self.decoder.place(action.span);
            let route = Route::new(place, Pattern::all(), done, base.clone());
            routes.push(Route { host_captures, ..route });
        }
        if raw.routes.is_empty() && raw.layer.action.is_none() && !raw.broken {
            self.decoder.error(raw.span, "the site does nothing").hint(
                "it needs a `route`, or one of `to`, `split`, `redirect`, `respond` and `files`",
            );
        }
        self.check_site_caching(&raw.layer, &routes);
        let asks = |settings: &RouteSettings| settings.asked_count() > 1;
        if !asks(&base) && !routes.iter().any(|route| asks(&route.settings)) {
            self.warn_of_satisfy(&raw.layer);
        }
        let tls = self.site_tls(raw);
        if tls == Some(SiteTls::Passthrough) {
            self.check_passthrough(raw, own_upstream(&routes));
        }
        let is_secure = raw.tls.as_ref().is_some_and(RawTls::is_on);
        let mut listeners = Vec::new();
        for address in addresses(raw) {
            let listener = self.listener(&address);
            let secure_span = raw.tls.as_ref().filter(|_| is_secure).map(|tls| tls.span);
            self.speak(listener, is_secure, secure_span.unwrap_or(address.span));
            if !listeners.contains(&listener) {
                listeners.push(listener);
            }
            match self.config.listeners.get_mut(listener.index()).map(|l| &mut l.serves) {
                Some(Serves::Sites(sites)) => sites.push(id),
                Some(Serves::Forward(_)) | None => {}
            }
        }
        self.config.sites.push(Site {
            place: self.decoder.place(raw.span),
            names: raw.names.iter().map(|(name, _)| name.clone()).collect(),
            listeners,
            routes,
            base,
            tls,
            https: None,
        });
    }

    /// The access log of a layer.
    fn log(&mut self, layer: &Layer, outer: LogId) -> LogId {
        let Some((raw, span)) = &layer.log else { return outer };
        let Some(mut log) = self.config.logs.get(outer.index()).cloned() else { return outer };
        if let Some(target) = &raw.access {
            log.target.clone_from(target);
            log.place = self.decoder.place(*span);
        }
        if let Some(format) = &raw.format {
            log.format.clone_from(format);
        }
        if let Some(fields) = &raw.fields {
            log.fields = Some(fields.clone());
        }
        let logs = &mut self.config.logs;
        let is_same = |id: &&LogId| {
            let other = logs.get(id.index());
            other.is_some_and(|other| (&other.format, &other.fields) == (&log.format, &log.fields))
        };
        let of_target = self.logs.entry(log.target.clone()).or_default();
        if let Some(&id) = of_target.iter().find(is_same) {
            return id;
        }
        let id = LogId::at(logs.len());
        of_target.push(id);
        logs.push(log);
        id
    }

    /// Puts in how a layer is closed for maintenance, if it says so.
    fn maintain(&mut self, layer: &Layer, site: &str, settings: &mut RouteSettings) {
        let Some((raw, span)) = &layer.maintenance else { return };
        if raw.is_off {
            settings.maintenance = None;
            return;
        }
        let switch = match &raw.file {
            Some(file) => Switch::File(file.clone()),
            None => Switch::Site(site.into()),
        };
        let switches = &mut self.config.switches;
        let id = *self.switches.entry(switch).or_insert_with_key(|switch| {
            switches.push(switch.clone());
            SwitchId::at(switches.len() - 1)
        });
        settings.maintenance = Some(Maintenance {
            place: self.decoder.place(*span),
            switch: id,
            retry_after: raw.retry_after,
            page: raw.page.clone(),
            except: raw.except.clone(),
        });
    }

    /// Warns of a `satisfy any` that has nothing to choose from.
    fn warn_of_satisfy(&mut self, layer: &Layer) {
        if let Some((Satisfy::Any, span)) = layer.satisfy {
            self.decoder
                .warning(span, "`satisfy any` changes nothing: fewer than two things are asked")
                .hint("it chooses between `allow` and `deny` lines and `client` lines");
        }
    }

    fn route(
        &mut self,
        raw: &RawRoute,
        base: &RouteSettings,
        outer: &Bounds,
        site: &str,
    ) -> Option<Route> {
        let action = raw.layer.action.as_ref()?;
        let done = self.action(action)?;
        let (timeouts, limits) = (&raw.layer.timeouts, &raw.layer.limits);
        let mut settings = match timeouts.is_empty() && limits.is_empty() {
            true => Self::settings(self.decoder, &raw.layer, base, outer),
            false => {
                let bounds = outer.with(timeouts, limits);
                Self::settings(self.decoder, &raw.layer, base, &bounds)
            }
        };
        self.maintain(&raw.layer, site, &mut settings);
        settings.log = self.log(&raw.layer, base.log);
        settings.login = self.login(&raw.layer, base.login);
        if !raw.layer.mirrors.is_empty() {
            settings.mirrors = self.mirrors(&raw.layer.mirrors);
            self.check_mirrors(&raw.layer.mirrors, &done);
        }
        self.check_route_caching(&raw.layer, &done);
        if settings.asked_count() < 2 {
            self.warn_of_satisfy(&raw.layer);
        }
        let place = self.decoder.place(raw.span);
        Some(Route {
            methods: raw.methods.clone(),
            conditions: self.decoder.conditions(&raw.layer),
            priority: raw.priority,
            action_place: self.decoder.place(action.span),
            ..Route::new(place, raw.pattern.clone(), done, settings)
        })
    }

    /// The listener of an address, a new one if there is none.
    pub(super) fn listener(&mut self, address: &RawAddress) -> ListenerId {
        if let Some(&id) = self.listeners.get(&address.address) {
            return id;
        }
        let id = ListenerId::at(self.config.listeners.len());
        self.config.listeners.push(Listener {
            address: address.address,
            written: address.written.clone(),
            place: self.decoder.place(address.span),
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Vec::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            tls: false,
            http2: true,
            serves: Serves::Sites(Vec::new()),
        });
        self.listeners.insert(address.address, id);
        self.addresses.push(address.clone());
        id
    }

    fn forward(&mut self, raw: &RawForward) {
        let id = ForwardId::at(self.config.forwards.len());
        let known = self.listeners.get(&raw.address.address).copied();
        let listener = self.listener(&raw.address);
        if let Some(earlier) = known.and_then(|id| self.addresses.get(id)) {
            let is_forward = matches!(
                self.config.listener(listener).map(|l| &l.serves),
                Some(Serves::Forward(_))
            );
            let what = if is_forward { "a `forward`" } else { "a `site`" };
            let message = format!("{what} listens on `{}` already", raw.address.written);
            let earlier = earlier.span;
            self.decoder
                .error(raw.address.span, message)
                .related(earlier, "here")
                .hint("an address serves either sites or a forward proxy");
        }
        if let Some(listener) = self.config.listeners.get_mut(listener.index()) {
            listener.serves = Serves::Forward(id);
        }
        let tls = self.forward_tls(raw);
        if known.is_none() {
            self.speak(listener, tls.is_some(), raw.address.span);
        }
        let bounds = self.outer.with(&raw.layer.timeouts, &raw.layer.limits);
        let mut settings =
            Self::settings(self.decoder, &raw.layer, &RouteSettings::default(), &bounds);
        settings.log = self.log(&raw.layer, LogId::default());
        settings.login = self.login(&raw.layer, None);
        self.config.forwards.push(Forward {
            place: self.decoder.place(raw.span),
            listener,
            written: raw.address.written.clone(),
            rules: raw.rules.iter().map(|(rule, _)| rule.clone()).collect(),
            ports: raw.ports.as_ref().map_or_else(|| PORTS.to_vec(), |(ports, _)| ports.clone()),
            anonymous: raw.anonymous.as_ref().map(|(anonymous, _)| anonymous.clone()),
            via: raw.via.as_ref().map_or_else(|| "bothways".into(), |(via, _)| via.clone()),
            settings,
            tls,
        });
    }

    /// Gives listeners their options; by listener, all that hold there.
    fn listeners(&mut self, raw: &Raw) -> Vec<RawListen> {
        let mut options: HashMap<SocketAddr, &RawListen> = HashMap::new();
        for listen in &raw.listens {
            let RawAddress { address, written, span } = &listen.address;
            if let Some(earlier) = options.insert(*address, listen) {
                self.decoder
                    .error(*span, format!("there are two `listen` for `{written}`"))
                    .related(earlier.address.span, "here first");
            }
        }
        self.check_names(raw);
        let mut all = Vec::with_capacity(self.config.listeners.len());
        for (listener, address) in self.config.listeners.iter_mut().zip(&*self.addresses) {
            let listen = options.get(&listener.address);
            let mut held =
                listen.map_or_else(|| RawListen::new(address.clone()), |&listen| listen.clone());
            held.bounds = self.outer.with(&held.timeouts, &held.limits);
            let own = std::mem::replace(&mut held.trusted_proxies, raw.trusted_proxies.clone());
            add_new(&mut held.trusted_proxies, &own);
            held.set.otherwise("trusted-proxy", raw.trusted_proxies_span);
            if let Serves::Forward(id) = listener.serves
                && let Some(forward) = raw.forwards.get(id.index())
            {
                held.bounds = held.bounds.with(&forward.layer.timeouts, &forward.layer.limits);
                if let Some(forward) = self.config.forwards.get_mut(id.index()) {
                    forward.settings.timeouts = held.bounds.timeouts.value.clone();
                    forward.settings.limits = held.bounds.limits.value.clone();
                }
            }
            listener.proxy_protocol = held.proxy_protocol;
            listener.http2 = held.http2;
            listener.trusted_proxies.clone_from(&held.trusted_proxies);
            listener.timeouts = held.bounds.timeouts.value.clone();
            listener.limits = held.bounds.limits.value.clone();
            all.push(held);
        }
        all
    }

    /// Tells names that two sites of one listener have.
    fn check_names(&mut self, raw: &Raw) {
        let mut taken: HashMap<(SocketAddr, String), Span> = HashMap::new();
        for site in &raw.sites {
            for (name, span) in &site.names {
                // Whatever they call the label, the hosts are the same.
                let shown = match name {
                    SiteName::Label { suffix, .. } => format!("{{…}}.{suffix}"),
                    name => name.to_string(),
                };
                for address in addresses(site) {
                    let key = (address.address, shown.clone());
                    let Some(earlier) = taken.insert(key, *span) else { continue };
                    let message = match name {
                        SiteName::Default => {
                            format!("two sites on `{}` are the default site", address.written)
                        }
                        _ => format!("two sites on `{}` have the name `{shown}`", address.written),
                    };
                    self.decoder.error(*span, message).related(earlier, "here first");
                    break;
                }
            }
        }
    }

    /// Warns of what nobody uses; unless something is wrong, as that may be why.
    fn unused(&mut self, raw: &Raw) {
        if self.decoder.problems.errors() > 0 {
            return;
        }
        for upstream in &raw.upstreams {
            let Some(&(id, span)) = self.upstreams.get(&upstream.name) else { continue };
            if span == upstream.span && self.used.get(id) == Some(&false) {
                self.decoder
                    .warning(span, format!("the upstream `{}` is not used", upstream.name))
                    .hint(format!("write to {} in a site or route", upstream.name));
            }
        }
        for listen in &raw.listens {
            let RawAddress { address, written, span } = &listen.address;
            if !self.listeners.contains_key(address) {
                self.decoder
                    .warning(*span, format!("nothing listens on `{written}`, so it is ignored"))
                    .hint("a `site` sets it with `listen`, a `forward` in its first line");
            }
        }
        if raw.sites.is_empty() && raw.forwards.is_empty() {
            let problem = self.decoder.warning(Span::default(), "nothing is served");
            problem.whole = true;
            problem.hint("write a `site` or a `forward`");
        }
    }

    fn expect(&mut self, raw: &RawExpect, forwards: &[RawForward]) {
        let mut expect = raw.expect.clone();
        if let Some(address) = &raw.forward {
            let found = forwards.iter().find(|f| f.address.address == address.address);
            match found {
                // The same address may be written in several ways.
                Some(forward) => expect.forward = Some(forward.address.written.as_ref().into()),
                None => {
                    let known: Vec<_> =
                        forwards.iter().map(|f| format!("\"{}\"", f.address.written)).collect();
                    let problem = self.decoder.error(
                        address.span,
                        format!("there is no `forward` on `{}`", address.written),
                    );
                    if !known.is_empty() {
                        problem.hint(format!("known: {}", known.join(", ")));
                    }
                }
            }
        }
        self.config.expects.push(expect);
    }
}

/// The access log of the process.
fn log_of_process(process: &Process) -> AccessLog {
    AccessLog {
        place: process.access_place,
        target: process.access_log.clone(),
        format: process.access_format.clone(),
        fields: process.access_fields.clone(),
    }
}

/// The first of some names.
fn listed(names: &[&str]) -> String {
    let shown = names.get(..NAMES_LISTED_MAX).unwrap_or(names).join(", ");
    if names.len() > NAMES_LISTED_MAX { format!("{shown}, …") } else { shown }
}

/// The upstream of a site's own `to`.
fn own_upstream(routes: &[Route]) -> Option<UpstreamId> {
    match routes.last()?.action {
        Action::To(upstream) => Some(upstream),
        _ => None,
    }
}

/// Where a site listens.
pub(crate) fn addresses(site: &RawSite) -> Vec<RawAddress> {
    if !site.listens.is_empty() {
        return site.listens.clone();
    }
    let is_secure = site.tls.as_ref().is_some_and(RawTls::is_on);
    let (port, written) = if is_secure { (443, ":443") } else { (80, ":80") };
    let address = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    vec![RawAddress { address, written: Arc::from(written), span: site.span }]
}
