//! How a request would be handled, and why; nothing is sent or looked up.
//!
//! [`explain`] makes the decisions of the data plane with a trace that keeps every step.
//! [`check_expectations`] does so for each `expect` of a configuration.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use config::{
    Action, ClientMatch, Config, Expect, FileServing, ForwardId, HostPolicy, ListenerId, Place,
    RouteId, RouteSettings, Serves, Site, SiteId, SiteTls, SplitPart, Stay, Upstream, UpstreamId,
};
use message::{ClientCertificate, Form, Method, Readings, Request, Scheme, Target};

use crate::access::standing_by_certificate;
use crate::forward::{Address, DenyReason, DialTarget, ForwardRequest, Verdict};
use crate::sites;
use crate::template::{
    ClientFacts, Facts, PathTraversal, TlsFacts, location, upstream_host, upstream_path,
    without_scheme,
};
use crate::trace::{Step, StepOutcome, Steps, Trace};
use crate::{
    Asker, Decision, REQUEST_ID_PLACEHOLDER, RouteRequest, Routing, Rules, Standing,
    assumed_certificate, canonical, try_path,
};

/// A request to be explained.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The request.
    pub request: &'a Request,
    /// The client.
    pub from: IpAddr,
    /// Where it comes in.
    pub entry: EntryPoint,
    /// The addresses of the target's host, if it is a name that was looked up. Without any, the
    /// name is taken to have a global address that no rule names.
    pub addresses: &'a [IpAddr],
    /// Classifies an address.
    pub classify: &'a dyn Fn(IpAddr) -> Address,
    /// The client's TLS connection, if there is one whose facts are known.
    pub tls: Option<TlsFacts<'a>>,
}

impl<'a> Query<'a> {
    fn for_routes(&self) -> RouteRequest<'a> {
        RouteRequest::of(self.request, self.from)
    }
}

/// Where a request comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryPoint {
    /// A listener with sites.
    Listener(ListenerId),
    /// A forward listener.
    Forward(ForwardId),
}

/// How a request would be handled, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What was tried, in order.
    pub steps: Vec<Step>,
    /// How it would be handled.
    pub outcome: Outcome,
    /// The line that decided.
    pub decided_by: Place,
    /// The site of the host, in reverse.
    pub site: Option<SiteId>,
    /// The route that takes the request, in reverse.
    pub route: Option<RouteId>,
}

/// How a request would be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to an upstream.
    Proxied {
        /// The name of the upstream.
        upstream: Arc<str>,
        /// Its endpoints, as written.
        endpoints: Vec<Arc<str>>,
        /// The Host sent, to the first endpoint.
        host: String,
        /// Path and query sent.
        path: String,
    },
    /// It goes to one of several upstreams, by shares.
    Split {
        /// Where it may go.
        parts: Vec<Part>,
        /// How a client stays with its part.
        stay: Stay,
        /// The Host sent, to the first endpoint of the first part.
        host: String,
        /// Path and query sent.
        path: String,
    },
    /// The TLS connection goes to an upstream unchanged; its content is not seen.
    Passthrough {
        /// The name of the upstream.
        upstream: Arc<str>,
        /// Its endpoints, as written.
        endpoints: Vec<Arc<str>>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// With this status.
        status: u16,
        /// To this place.
        location: String,
    },
    /// A fixed answer.
    Respond {
        /// Its status.
        status: u16,
    },
    /// A file, if there is one.
    Files {
        /// The directory.
        root: PathBuf,
        /// The path below it, as sent by the client and rewritten.
        path: String,
        /// The paths that are tried in its place, if others are.
        tries: Vec<String>,
        /// The upstream that gets the request if there is no file.
        otherwise: Option<Arc<str>>,
    },
    /// It goes out as plain HTTP.
    Forwarded {
        /// Host and port.
        authority: String,
        /// Path and query sent.
        path: String,
    },
    /// A tunnel.
    Tunnel {
        /// To this host.
        host: String,
        /// And port.
        port: u16,
    },
    /// A forward listener refuses it (403).
    Denied {
        /// Why.
        reason: DenyReason,
    },
    /// It is refused whatever the rules say: a form or an encoding that has no place here.
    Refused {
        /// With this status.
        status: u16,
        /// Why, for people.
        reason: Cow<'static, str>,
    },
    /// The site has no route for the path (404).
    NotFound,
    /// The site has routes for the path, but none for the method (405).
    MethodNotAllowed {
        /// The methods there are, as in `Allow`.
        allow: String,
    },
    /// The listener does not serve the host (421).
    NoSite,
}

/// A part of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the upstream.
    pub upstream: Arc<str>,
    /// Its endpoints, as written.
    pub endpoints: Vec<Arc<str>>,
    /// Its share of the requests, in hundredths of a percent.
    pub share: u16,
}

impl Outcome {
    /// The status, if the answer is ours.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Redirect { status, .. }
            | Self::Respond { status }
            | Self::Refused { status, .. } => Some(*status),
            Self::Denied { .. } => Some(403),
            Self::NotFound => Some(404),
            Self::MethodNotAllowed { .. } => Some(405),
            Self::NoSite => Some(421),
            Self::Proxied { .. }
            | Self::Split { .. }
            | Self::Passthrough { .. }
            | Self::Files { .. }
            | Self::Forwarded { .. }
            | Self::Tunnel { .. } => None,
        }
    }

    /// In a few words, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Proxied { upstream, endpoints, host, path } => {
                let at = addresses(upstream, endpoints);
                format!("sent to upstream {upstream}{at} as {path} with Host {host}")
            }
            Self::Split { parts, stay, host, path } => {
                let part = |part: &Part| {
                    let at = addresses(&part.upstream, &part.endpoints);
                    format!("{}% to {}{at}", f64::from(part.share) / 100.0, part.upstream)
                };
                let parts: Vec<_> = parts.iter().map(part).collect();
                let parts = parts.join(", ");
                let by = match stay {
                    Stay::No => "at random for each request".to_owned(),
                    Stay::Address => "by the client's address".to_owned(),
                    Stay::Cookie(name) => format!("by the cookie {name}"),
                };
                format!("split {by}: {parts}; as {path} with Host {host}")
            }
            Self::Passthrough { upstream, endpoints } => {
                let at = addresses(upstream, endpoints);
                format!("its TLS is relayed to upstream {upstream}{at}, without decrypting it")
            }
            Self::Redirect { status, location } => format!("redirected to {location} ({status})"),
            Self::Respond { status } => format!("answered with {status}"),
            Self::Files { root, path, tries, otherwise } => {
                let path = match tries.as_slice() {
                    [] => format!("file {path}"),
                    tries => format!("the first file of {}", tries.join(", ")),
                };
                let otherwise = otherwise.as_deref();
                let otherwise = otherwise.map(|upstream| format!(", else upstream {upstream}"));
                format!("{path} below {}{}", root.display(), otherwise.unwrap_or_default())
            }
            Self::Forwarded { authority, path } => format!("sent to {authority} as {path}"),
            Self::Tunnel { host, port } => format!("a tunnel to {host} port {port}"),
            Self::Denied { reason } => format!("denied (403): {reason}"),
            Self::Refused { status, reason } => format!("refused ({status}): {reason}"),
            Self::NotFound => "not found (404): no route of the site has the path".to_owned(),
            Self::MethodNotAllowed { allow } => {
                format!("method not allowed (405): the path takes {allow}")
            }
            Self::NoSite => "misdirected (421): the listener serves no such host".to_owned(),
        }
    }
}

/// The endpoints of an upstream, unless its name says it all.
fn addresses(upstream: &str, endpoints: &[Arc<str>]) -> String {
    match endpoints {
        [] => " (no endpoint is known yet)".to_owned(),
        [one] if **one == *upstream => String::new(),
        all => format!(" ({})", all.join(", ")),
    }
}

/// Explains what would be done with a request.
pub fn explain(rules: &Rules, query: &Query<'_>) -> Explanation {
    match query.entry {
        EntryPoint::Listener(listener) => explain_reverse(rules, query, listener),
        EntryPoint::Forward(forward) => explain_forward(rules, query, forward),
    }
}

fn explain_reverse(rules: &Rules, query: &Query<'_>, listener: ListenerId) -> Explanation {
    let target = &query.request.target;
    let mut trace = Steps::default();
    if let Some(passed) = pass_on(rules, target, listener, &mut trace) {
        return Explanation { steps: trace.0, ..passed };
    }
    let asked = query.for_routes();
    let decision = rules.decide(listener, &asked, target, &mut Readings::default(), &mut trace);
    let Decision { routing, conflict } = decision;
    let at_listener = rules.config.listener(listener).map(|found| found.place);
    let place_of = |site: SiteId| rules.config.site(site).map(|site| site.place);
    let (outcome, place, site, route) = match routing {
        Routing::NoSite => (Outcome::NoSite, at_listener, None, None),
        Routing::NoRoute { site } => (Outcome::NotFound, place_of(site), Some(site), None),
        Routing::MethodNotAllowed { site } => {
            let mut allow = String::new();
            rules.allowed_methods(site, &asked, target.path(), &mut allow);
            (Outcome::MethodNotAllowed { allow }, place_of(site), Some(site), None)
        }
        Routing::Route { site, route } => {
            let taken = rules.route_of(site, route);
            let outcome = taken.map_or(Outcome::NotFound, |taken| act(rules, query, taken));
            (outcome, taken.map(|taken| taken.place), Some(site), Some(route))
        }
    };
    let taken = site.zip(route).and_then(|(site, route)| rules.route_of(site, route));
    let base = || Some(&rules.config.site(site?)?.base);
    let settings = taken.map(|taken| &taken.settings).or_else(base);
    let refused = settings.zip(site).and_then(|(settings, site)| {
        refuse_client(rules, settings, (site, route), query, &mut trace)
    });
    let (outcome, place) = match (refused, conflict) {
        (Some((outcome, place)), _) => (outcome, Some(place)),
        (None, Some(conflict)) => {
            (Outcome::Refused { status: 400, reason: conflict.detail.into() }, place)
        }
        (None, None) => (outcome, place),
    };
    Explanation { steps: trace.0, outcome, decided_by: place.unwrap_or_default(), site, route }
}

/// What comes of a connection for a site whose TLS is passed on.
fn pass_on(
    rules: &Rules,
    target: &Target,
    listener: ListenerId,
    trace: &mut Steps,
) -> Option<Explanation> {
    let id = rules.site(listener, target.host())?;
    let site = rules.config.site(id)?;
    site.tls.as_ref().filter(|tls| **tls == SiteTls::Passthrough)?;
    let (number, route) = (0u32..).zip(&site.routes).last()?;
    let Action::To(upstream) = route.action else { return None };
    let upstream = rules.config.upstream(upstream)?;
    sites::explain(&rules.config, listener, target.host(), id, None, trace);
    let endpoints = endpoints(upstream);
    Some(Explanation {
        steps: Vec::new(),
        outcome: Outcome::Passthrough { upstream: upstream.name.clone(), endpoints },
        decided_by: route.place,
        site: Some(id),
        route: Some(RouteId(number)),
    })
}

/// The refusal of a client by its address or certificate, and the line that decided.
fn refuse_client(
    rules: &Rules,
    settings: &RouteSettings,
    (site, route): (SiteId, Option<RouteId>),
    query: &Query<'_>,
    trace: &mut Steps,
) -> Option<(Outcome, Place)> {
    let certificate = query.tls.and_then(|tls| tls.client);
    let by_address = rules.standing_by_address(site, route, query.from);
    let by_certificate = standing_by_certificate(&settings.clients, certificate);
    let mut step = |standing: Standing, written: &dyn Fn(Place) -> String| {
        let (place, outcome) = match standing {
            Standing::NotAsked => return,
            Standing::Met(place) => (place, StepOutcome::Decided),
            Standing::Unmet(refusal) => {
                (refusal.place, StepOutcome::Differs(refusal.reason.describe().to_owned()))
            }
        };
        trace.step(Step { place, text: written(place), outcome });
    };
    step(by_address, &|place| {
        let rule = settings.access.iter().find(|rule| rule.place == place);
        rule.map(ToString::to_string).unwrap_or_default()
    });
    step(by_certificate, &|place| written_client(&settings.clients, place));
    let asker = Asker { address: query.from, certificate };
    let Standing::Unmet(refused) = rules.standing(site, route, &asker) else { return None };
    let reason = refused.reason.describe().into();
    Some((Outcome::Refused { status: 403, reason }, refused.place))
}

/// A line that names accepted clients, as written: each value in its list became one of `clients`.
fn written_client(clients: &[ClientMatch], line: Place) -> String {
    let property = |name: &str, part: fn(&ClientMatch) -> Option<&str>| {
        let mut values: Vec<&str> = Vec::new();
        for value in clients.iter().filter(|client| client.place == line).filter_map(part) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if values.is_empty() { String::new() } else { format!(" {name}=\"{}\"", values.join(",")) }
    };
    let name = property("name", |client| client.name.as_deref());
    let fingerprint = property("fingerprint", |client| client.fingerprint.as_deref());
    format!("client{name}{fingerprint}{}", property("subject", |client| client.subject.as_deref()))
}

/// What a route does.
fn act(rules: &Rules, query: &Query<'_>, route: &config::Route) -> Outcome {
    let target = &query.request.target;
    let facts = Facts::of(client_facts(rules, query), query.request, Some(route), &rules.maps);
    let mut sent = Vec::new();
    let is_sent = !matches!(route.action, Action::Redirect { .. } | Action::Respond { .. });
    if is_sent && upstream_path(&route.settings.rewrite, &facts, &mut sent).is_err() {
        return Outcome::Refused { status: 400, reason: PathTraversal::DETAIL.into() };
    }
    let path = || String::from_utf8_lossy(&sent).into_owned();
    match &route.action {
        Action::Files(FileServing { otherwise: Some(id), .. })
            if !matches!(query.request.method, Method::Get | Method::Head) =>
        {
            proxied(rules, route, target, *id, path())
        }
        Action::To(id) => proxied(rules, route, target, *id, path()),
        Action::Split(split) => {
            let found = |part: &SplitPart| {
                let upstream = rules.config.upstream(part.upstream)?;
                let (name, endpoints) = (upstream.name.clone(), endpoints(upstream));
                Some(Part { upstream: name, endpoints, share: part.share })
            };
            let first = split.parts.first().and_then(|part| rules.config.upstream(part.upstream));
            Outcome::Split {
                parts: split.parts.iter().filter_map(found).collect(),
                stay: split.stay.clone(),
                host: first.map(|first| host_sent(route, target, first)).unwrap_or_default(),
                path: path(),
            }
        }
        Action::Redirect { to, status } => {
            Outcome::Redirect { status: *status, location: text(|out| location(to, &facts, out)) }
        }
        Action::Respond { status, .. } => Outcome::Respond { status: *status },
        Action::Files(files) => {
            let end = sent.iter().position(|&byte| byte == b'?').unwrap_or(sent.len());
            let below = sent.get(..end).unwrap_or_default();
            let tried = |template| text(|out| try_path(template, below, &facts, out));
            let upstream = files.otherwise.and_then(|id| rules.config.upstream(id));
            Outcome::Files {
                root: files.root.clone(),
                path: path(),
                tries: files.tries.iter().map(tried).collect(),
                otherwise: upstream.map(|upstream| upstream.name.clone()),
            }
        }
    }
}

fn proxied(
    rules: &Rules,
    route: &config::Route,
    target: &Target,
    id: UpstreamId,
    path: String,
) -> Outcome {
    let Some(upstream) = rules.config.upstream(id) else {
        return Outcome::NotFound; // the decoder resolves every name
    };
    Outcome::Proxied {
        upstream: upstream.name.clone(),
        endpoints: endpoints(upstream),
        host: host_sent(route, target, upstream),
        path,
    }
}

/// What templates learn of the client. Its port is not known.
fn client_facts<'a>(rules: &Rules, query: &Query<'a>) -> ClientFacts<'a> {
    let listener = match query.entry {
        EntryPoint::Listener(id) => Some(id),
        EntryPoint::Forward(id) => rules.config.forward(id).map(|forward| forward.listener),
    };
    let listener = listener.and_then(|id| rules.config.listener(id));
    let listener_port = listener.map_or(0, |listener| listener.address.port());
    ClientFacts { address: query.from, port: None, listener_port, user: None, tls: query.tls }
}

/// The endpoints of an upstream, as written.
fn endpoints(upstream: &Upstream) -> Vec<Arc<str>> {
    upstream.endpoints.iter().map(|endpoint| endpoint.written.clone()).collect()
}

/// The Host for the first endpoint; none is known before discovery has found some.
fn host_sent(route: &config::Route, target: &Target, upstream: &Upstream) -> String {
    match (&route.settings.host, upstream.endpoints.first()) {
        (policy, Some(first)) => upstream_host(policy, target, first).to_owned(),
        (HostPolicy::Preserve, None) => target.written_authority().to_owned(),
        (HostPolicy::Literal(host), None) => host.to_string(),
        (HostPolicy::Endpoint, None) => "(that of the endpoint)".to_owned(),
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Why a forward listener cannot serve a target, whatever its rules say: its clients must name where
/// they want to go, in a way that we can.
pub fn unfit(target: &Target) -> Option<&'static str> {
    match target.form() {
        Form::Authority => None,
        Form::Absolute if target.has_unusual_host() => {
            Some("nothing can be connected to by such a host")
        }
        Form::Absolute if target.scheme() == Scheme::Https => {
            Some("this proxy takes https:// as a tunnel only: the client must use CONNECT")
        }
        Form::Absolute => None,
        Form::Origin | Form::Asterisk => Some(
            "this is a forward proxy: it takes requests for whole URIs (http://host/path) and CONNECT",
        ),
    }
}

fn explain_forward(rules: &Rules, query: &Query<'_>, id: ForwardId) -> Explanation {
    let Query { request: Request { method, target, .. }, from, .. } = *query;
    if let Some(reason) = unfit(target) {
        let outcome = Outcome::Refused { status: 400, reason: reason.into() };
        let decided_by = Place::default();
        return Explanation { steps: Vec::new(), outcome, decided_by, site: None, route: None };
    }
    let parts = rules.forwards.get(id).zip(rules.config.forward(id));
    let request = ForwardRequest::of(from, method, target, query.tls.and_then(|tls| tls.client));
    let judge = |dial_target: DialTarget| {
        let mut trace = Steps::default();
        let verdict = parts.map_or(Verdict::no_such_listener(), |(index, forward)| {
            index.judge_target(forward, &request, dial_target, &mut trace)
        });
        (verdict, trace)
    };
    let allows = |verdict: &(Verdict, Steps)| matches!(verdict.0, Verdict::Allow { .. });
    let address = |ip: &IpAddr| {
        let ip = canonical(*ip);
        DialTarget::Address((query.classify)(ip))
    };
    // RFC 6761, section 6.3: these names are always on loopback.
    let is_local = target.host() == "localhost" || target.host().ends_with(".localhost");
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let literal = target.ip();
    let addresses = match (&literal, query.addresses) {
        (Some(ip), _) => std::slice::from_ref(ip),
        (None, []) if is_local => &local,
        (None, looked_up) => looked_up,
    };
    let mut judged = addresses.iter().map(|ip| judge(address(ip)));
    let mut best = judged.next().unwrap_or_else(|| judge(DialTarget::AnyGlobal));
    if !allows(&best)
        && let Some(better) = judged.find(allows)
    {
        best = better;
    }
    let (verdict, Steps(steps)) = best;
    let (outcome, decided_by) = match verdict {
        Verdict::Allow { place, .. } => (go(target, method), place),
        Verdict::Deny { place, reason, .. } => (Outcome::Denied { reason }, place),
        Verdict::NeedsAddresses => {
            (Outcome::Denied { reason: DenyReason::NoRule }, Place::default())
        }
    };
    Explanation { steps, outcome, decided_by, site: None, route: None }
}

fn go(target: &Target, method: &Method) -> Outcome {
    match method {
        Method::Connect => Outcome::Tunnel { host: target.host().to_owned(), port: target.port() },
        _ => Outcome::Forwarded {
            authority: target.written_authority().to_owned(),
            path: String::from_utf8_lossy(target.as_it_came()).into_owned(),
        },
    }
}

/// An expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetExpectation {
    /// The line of the expectation.
    pub place: Place,
    /// What was expected, what happens instead, and which line decided.
    pub message: String,
    /// The line that decided; of no file if the expectation itself is at fault.
    pub decided_by: Place,
}

/// Checks every `expect` of a configuration. `classify` tells what kind of address one is.
pub fn check_expectations(
    rules: &Rules,
    classify: &dyn Fn(IpAddr) -> Address,
) -> Vec<UnmetExpectation> {
    let failures = rules.config.expects.iter().map(|expect| check(rules, expect, classify));
    failures.filter_map(Result::err).collect()
}

fn check(
    rules: &Rules,
    expect: &Expect,
    classify: &dyn Fn(IpAddr) -> Address,
) -> Result<(), UnmetExpectation> {
    let fail = |decided_by: Place, message: String| {
        let by = match decided_by {
            Place { line: 0, .. } => String::new(),
            place => format!(", decided by {}", rules.config.locate(place)),
        };
        UnmetExpectation { place: expect.place, message: message + &by, decided_by }
    };
    let nowhere = Place::default();
    let method = Method::parse(expect.method.as_bytes())
        .map_err(|_| fail(nowhere, format!("`{}` is not a method", expect.method)))?;
    let mut request = Request { method, ..Request::default() };
    request.id.take(REQUEST_ID_PLACEHOLDER);
    for line in &expect.fields {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    let target = &mut request.target;
    target
        .parse(&method, expect.target.as_bytes(), None, Scheme::Http)
        .map_err(|error| fail(nowhere, format!("`{}`: {error}", expect.target)))?;
    let entry = match &expect.forward {
        Some(written) => forward_named(&rules.config, written).map(EntryPoint::Forward),
        None => listener_for(rules, target).map(EntryPoint::Listener),
    };
    let certificate = expect.client_name.as_deref().map(assumed_certificate);
    let entry = entry.ok_or_else(|| {
        let message = match &expect.forward {
            Some(written) => format!("there is no `forward \"{written}\"`"),
            None => {
                let how = match target.scheme() {
                    Scheme::Http => "in cleartext",
                    Scheme::Https => "over TLS",
                };
                format!("no listener serves sites on port {} {how}", target.port())
            }
        };
        fail(nowhere, message)
    })?;
    let query = Query {
        request: &request,
        from: expect.from,
        entry,
        addresses: &[],
        classify,
        tls: assumed_tls(rules, entry, &request.target, certificate.as_ref()),
    };
    let explanation = explain(rules, &query);
    match difference(&rules.config, expect, &explanation) {
        Some((expected, got)) => {
            Err(fail(explanation.decided_by, format!("expected {expected}, got {got}")))
        }
        None => Ok(()),
    }
}

/// The first difference between an expectation and what happens.
fn difference(config: &Config, expect: &Expect, got: &Explanation) -> Option<(String, String)> {
    let outcome = &got.outcome;
    let described = || outcome.describe();
    let is_denied = matches!(outcome, Outcome::Denied { .. } | Outcome::Refused { .. });
    if expect.denied.is_some_and(|denied| denied != is_denied) {
        let expected = if is_denied { "it not to be denied" } else { "it to be denied" };
        return Some((expected.to_owned(), described()));
    }
    if let Some(status) = expect.status.filter(|&status| outcome.status() != Some(status)) {
        return Some((format!("status {status}"), described()));
    }
    if let Some(expected) = &expect.location
        && !matches!(outcome, Outcome::Redirect { location, .. } if *location == **expected)
    {
        return Some((format!("a redirect to {expected}"), described()));
    }
    if let Some(expected) = &expect.upstream {
        let is_one = |endpoint: &Arc<str>| without_scheme(endpoint) == without_scheme(expected);
        let leads_there = |upstream: &Arc<str>, endpoints: &[Arc<str>]| {
            **upstream == **expected || endpoints.iter().any(is_one)
        };
        let is_same = match outcome {
            Outcome::Proxied { upstream, endpoints, .. }
            | Outcome::Passthrough { upstream, endpoints } => leads_there(upstream, endpoints),
            Outcome::Files { otherwise: Some(upstream), .. } => leads_there(upstream, &[]),
            Outcome::Split { parts, .. } => parts
                .iter()
                .any(|part| part.share > 0 && leads_there(&part.upstream, &part.endpoints)),
            _ => false,
        };
        if !is_same {
            return Some((format!("upstream {expected}"), described()));
        }
    }
    if let Some(expected) = &expect.site {
        let site = got.site.and_then(|site| config.site(site));
        let name = site.and_then(|site: &Site| site.names.first()).map(ToString::to_string);
        if name.as_deref() != Some(expected) {
            let got = name.map_or("none".to_owned(), |name| format!("site {name}"));
            return Some((format!("site {expected}"), got));
        }
    }
    if let Some(expected) = &expect.path {
        let path = match outcome {
            Outcome::Proxied { path, .. }
            | Outcome::Split { path, .. }
            | Outcome::Forwarded { path, .. }
            | Outcome::Files { path, .. } => Some(path.as_str()),
            _ => None,
        };
        if path != Some(expected) {
            return Some((format!("path {expected} to be sent"), described()));
        }
    }
    None
}

/// The forward listener with this address, as written or however else one writes it.
pub fn forward_named(config: &Config, written: &str) -> Option<ForwardId> {
    let forwards = || (0u32..).zip(&config.forwards);
    let same_text = forwards().find(|(_, forward)| *forward.written == *written);
    let same_address = || {
        let address = written.parse().ok()?;
        forwards().find(|(_, forward)| {
            let listener = config.listener(forward.listener);
            listener.is_some_and(|listener| listener.address == address)
        })
    };
    same_text.or_else(same_address).map(|(id, _)| ForwardId(id))
}

/// The assumed facts of the client's TLS connection.
pub fn assumed_tls<'a>(
    rules: &Rules,
    entry: EntryPoint,
    target: &'a Target,
    client: Option<&'a ClientCertificate>,
) -> Option<TlsFacts<'a>> {
    let config = &rules.config;
    let (listener, name) = match entry {
        EntryPoint::Listener(id) => (id, Some(target.host()).filter(|_| target.ip().is_none())),
        EntryPoint::Forward(id) => (config.forward(id)?.listener, None),
    };
    config.listener(listener).filter(|listener| listener.tls)?;
    Some(TlsFacts { version: "TLSv1.3", name, client })
}

/// The listener that a URL in reverse is most likely sent to, with or without TLS by its scheme: the first one on its
/// port that serves its host, else the first one on its port, else the first one that serves its host.
pub fn listener_for(rules: &Rules, target: &Target) -> Option<ListenerId> {
    let reverse = (0u32..)
        .zip(&rules.config.listeners)
        .filter(|(_, listener)| matches!(listener.serves, Serves::Sites(_)))
        .filter(|(_, listener)| listener.tls == (target.scheme() == Scheme::Https))
        .map(|(id, listener)| (ListenerId(id), listener.address.port() == target.port()));
    let rank = |&(id, same_port): &(ListenerId, bool)| {
        let serves = rules.site(id, target.host()).is_some();
        match (same_port, serves) {
            (true, true) => Some(0),
            (true, false) => Some(1),
            (false, true) => Some(2),
            (false, false) => None,
        }
    };
    let ranked = reverse.filter_map(|candidate| Some((rank(&candidate)?, candidate.0)));
    ranked.min_by_key(|&(rank, _)| rank).map(|(_, id)| id)
}
