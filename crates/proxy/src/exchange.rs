//! One exchange, from canonical request to finished record.
//!
//! [`run`] is the one path that every request takes, whatever protocol its client speaks
//! ([`Downstream`]) and whoever names the destination: decide, then answer or forward
//! ([`forward_to`]). Forwarding takes a connection from the destination and tries it (`attempt`),
//! and again at another endpoint where that is safe (`settle`) and allowed (`retry`).
//! Not here: how a try goes (`attempt`), who may go where (`forward`), our own answers (`answer`).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance::Lease;
use config::{Action, ListenerId, RouteSettings, Serves, Timeouts};
use message::{Known, Method, Request, Response, Scheme};
use net::{Alarm, Buffer};
use observe::{Direction, ErrorKind, Record, Scope};
use rules::{Facts, Routing, TlsFacts};

use crate::account::{Account, Charge, ClientKey, What};
use crate::answer;
use crate::attempt::{Attempt, Attempted};
use crate::body::{Flow, Sink, Source, WriteError};
use crate::connection::RefusedHead;
use crate::core::{Client, Core};
use crate::deadline::Deadline;
use crate::destination::{Destination, NoConnection, Search, Taken, Turn};
use crate::forward;
use crate::hops;
use crate::identity::{self, Identity};
use crate::leaving;
use crate::login;
use crate::mirror;
use crate::secure;
use crate::snapshot::View;
use crate::split::{self, Point};
use crate::trust::Peer;
use crate::tunnel::{Ends, Far, Tunnel};
use crate::worker::Work;

/// A client, whatever protocol it speaks: the body of its request, and the reply to it.
pub(crate) trait Downstream {
    type Body: Source;
    type Reply: Reply;
    /// Both directions at once.
    fn split(&mut self) -> (&mut Self::Body, &mut Self::Reply);
    /// The head has been read, and this is how its body is delimited.
    fn begin_body(&mut self, request: &Request, limit: Option<u64>);
    /// How slow the client may be, from here on.
    fn be_patient(&mut self, request: &Request, timeouts: &Timeouts);
    /// The whole rest of the body, if it is here already and its length is known.
    fn buffered_body(&self) -> Option<&[u8]>;
    /// Takes that off.
    fn skip_buffered_body(&mut self);
}

/// What a client is answered.
pub(crate) trait Reply: Sink {
    /// Sends an interim response, if the client knows such.
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError>;
    /// Begins the response; it leaves with the first data. `keep`: as far as we are concerned the
    /// connection may stay open.
    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>);
    /// Begins a tunnel by 101.
    fn switch(&mut self, request: &Request, response: &Response);
    /// Breaks the response off for the reason that the endpoint gave, where the client's protocol can
    /// tell it.
    fn break_off(&mut self, _reason: h2::Reason) {}
    /// Whether the response has begun.
    fn has_begun(&self) -> bool;
    /// Bytes of body, and in all.
    fn sent(&self) -> (u64, u64);
}

/// Where an exchange takes place.
pub(crate) struct Context<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) client: &'a Rc<Client>,
    pub(crate) view: &'a Rc<View>,
    pub(crate) listener_id: ListenerId,
    /// For what comes from the client and goes upstream.
    pub(crate) alarm: &'a Alarm,
    /// For what comes from upstream and goes to the client.
    pub(crate) reply_alarm: &'a Alarm,
    /// What both directions know of each other.
    pub(crate) flow: &'a Flow,
}

impl Context<'_> {
    /// What is known of the client's TLS, for rules and templates.
    pub(crate) fn tls(&self) -> Option<TlsFacts<'_>> {
        self.client.tls.as_deref().map(secure::TlsFacts::for_rules)
    }

    /// What a client holds on this core: the connection's own, or one of those that a trusted proxy speaks for.
    pub(crate) fn account(&self, client: IpAddr) -> Rc<Account> {
        let own = self.client.account();
        let key = ClientKey::of(client, self.limits().map_or(64, |limits| limits.ipv6_prefix));
        if own.key() == key { own } else { self.core.accounts.of(key) }
    }

    /// Counts an upstream connection of a client, until what this answers is dropped.
    pub(crate) fn upstream_charge(&self, client: IpAddr) -> Result<Charge, Trouble> {
        let max = self.limits().map_or(u32::MAX, |limits| limits.upstream_connections_per_client);
        self.account(client).charge(What::Upstreams, 1, max.into()).ok_or_else(|| {
            let detail = "this client has as many upstream connections as one may";
            observe::log_limited!(WARN, %client, max, "{detail}");
            Trouble::new(ErrorKind::ClientLimitReached, detail)
        })
    }

    fn limits(&self) -> Option<&config::Limits> {
        let listener = self.view.config().listeners.get(self.listener_id.0 as usize)?;
        Some(&listener.limits)
    }

    /// Whether the client's connection may stay open after this exchange, as far as we are
    /// concerned: not if the process or the listener is going.
    pub(crate) fn may_keep(&self) -> bool {
        let client = &self.client;
        !self.core.draining.get() && !client.listening.closed.get() && !client.leaving.get()
    }
}

/// How an exchange ended, for the client's connection.
pub(crate) enum Ending {
    /// The response is complete and the request was read whole.
    Kept,
    /// The response is complete, but the connection cannot be used again.
    Closed,
    /// The response is not complete: the client must see that.
    Broken,
    /// Bytes both ways from here on.
    Tunnel(Box<Switched>),
}

/// The upstream's side of a tunnel that begins.
pub(crate) struct Switched {
    pub(crate) far: Far,
    /// The request as it counts on its endpoint.
    pub(crate) lease: Option<Lease>,
    /// What the upstream sent already.
    pub(crate) unread: Option<Buffer>,
    pub(crate) idle: Duration,
}

/// Why an exchange cannot go on: what the client is told, and the log.
#[derive(Clone)]
pub(crate) struct Trouble {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: Detail,
    /// What the client gets to read instead.
    pub(crate) told: Option<&'static str>,
    /// How long the client is told to wait, where it is told so.
    pub(crate) retry_after: Duration,
}

/// Words for people. Most are fixed; the others are seldom enough to be made when needed.
pub(crate) type Detail = std::borrow::Cow<'static, str>;

impl Trouble {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Detail>) -> Self {
        Self { kind, detail: detail.into(), told: None, retry_after: Duration::from_secs(1) }
    }
}

/// Carries out the exchange whose request head has been read.
pub(crate) async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
) -> Ending {
    let config = context.view.config();
    let Some(listener) = config.listeners.get(context.listener_id.0 as usize) else {
        return Ending::Closed;
    };
    begin_record(context, work);
    let peer = Peer::new(work.record.client.ip(), &listener.trusted_proxies);
    identity::write_address(&mut work.address, peer.address);
    if context.client.outer_tls.get() {
        work.request.target.set_outer_scheme(Scheme::Https);
    }
    let client = peer.identify(&mut work.request);
    if client != peer.address {
        work.record.via = Some(peer.address);
        work.record.client = SocketAddr::new(client, 0);
    }
    let _under_way = context.core.enter_exchange();
    if listener.tls != context.client.tls.is_some() {
        // A reload has changed what is spoken here since the connection was made.
        down.begin_body(&work.request, None);
        let detail = "this port speaks TLS now, or does not any more; connect again";
        let trouble = Trouble::new(ErrorKind::MisdirectedRequest, detail);
        work.request.keep_alive = false;
        return answer::trouble(context, work, down, None, trouble).await;
    }
    let ending = match (&listener.serves, hops_left(&mut work.request)) {
        (Serves::Sites(_), _) if answer::is_acme(context, &work.request) => {
            answer::acme(context, work, down).await
        }
        (_, Hops::None) => answer::last_hop(context, work, down).await,
        (Serves::Sites(_), Hops::Some) => reverse(context, work, down, peer).await,
        (Serves::Forward(id), Hops::Some) => forward::run(context, work, down, *id, peer).await,
    };
    work.record.request_body_bytes = down.split().0.received();
    ending
}

/// Whether a request may go on to another server.
pub(crate) enum Hops {
    Some,
    None,
}

/// RFC 9110, section 7.6.2: `Max-Forwards` counts down with TRACE and OPTIONS, and ends at 0.
pub(crate) fn hops_left(request: &mut Request) -> Hops {
    if !matches!(request.method, Method::Trace | Method::Options) {
        return Hops::Some;
    }
    let value = request.fields.get(Known::MaxForwards);
    let Some(left) = value.and_then(|value| str::from_utf8(value).ok()?.parse::<u32>().ok()) else {
        return Hops::Some;
    };
    let Some(left) = left.checked_sub(1) else { return Hops::None };
    request.fields.set(b"Max-Forwards", left.to_string().as_bytes());
    Hops::Some
}

/// Whose record it is, as far as the listener tells.
fn note_listener(context: &Context<'_>, record: &mut Record) {
    note_place(context.client, context.view, context.listener_id, record);
}

/// The same without an exchange.
pub(crate) fn note_place(
    client: &Client,
    view: &View,
    listener_id: ListenerId,
    record: &mut Record,
) {
    record.client = client.address.get();
    record.listener = listener_id.0;
    let config = view.config();
    let listener = config.listeners.get(listener_id.0 as usize);
    if let Some(Serves::Forward(id)) = listener.map(|listener| &listener.serves) {
        record.direction = Direction::Forward;
        record.scope = Scope::Forward(*id);
        if let Some(forward) = config.forwards.get(id.0 as usize) {
            record.decided = forward.place;
        }
    }
}

/// What a request line that cannot be taken says all the same, for the log alone: its parts as they
/// stand.
pub(crate) fn note_request_line(record: &mut Record, arrived: &[u8]) {
    // Empty lines may come before it (RFC 9112, section 2.2).
    let arrived = arrived.trim_ascii_start();
    let end = arrived.iter().position(|&byte| matches!(byte, b'\r' | b'\n'));
    let mut parts =
        arrived.get(..end.unwrap_or(arrived.len())).unwrap_or_default().split(|&byte| byte == b' ');
    let Some(method) = parts.next().and_then(|method| Method::parse(method).ok()) else { return };
    let rest: Vec<&[u8]> = parts.filter(|part| !part.is_empty()).collect();
    let (target, version) = match rest.as_slice() {
        [target @ .., version] if version.starts_with(b"HTTP/") => (target, *version),
        target => (target, &b""[..]),
    };
    record.method = method;
    if version == b"HTTP/1.0" {
        record.version = message::Version::Http10;
    }
    record.target.set(target.join(&b' '));
}

fn begin_record(context: &Context<'_>, work: &mut Work) {
    let Work { request, record, .. } = work;
    note_listener(context, record);
    record.method = request.method;
    record.version = request.version;
    if !context.core.access.borrow().is_on() {
        return; // the rest is for the log alone
    }
    record.tls = context.client.tls.as_ref().map(|facts| Arc::clone(&facts.info));
    let target = &request.target;
    if target.form() == message::Form::Authority {
        record.target.set(target.authority());
    } else {
        record.target.set(target.scheme().as_str());
        record.target.push("://");
        record.target.push(target.authority());
        record.target.push(target.as_it_came());
    }
    if let Some(value) = request.fields.get(Known::UserAgent) {
        record.user_agent.set(value);
    }
    if let Some(value) = request.fields.get(Known::Referer) {
        record.referer.set(value);
    }
}

/// Answers a request whose head cannot be taken.
pub(crate) async fn refuse_head<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    kind: ErrorKind,
    error: RefusedHead,
) -> Ending {
    note_listener(context, &mut work.record);
    if let Some(status) = error.status() {
        work.record.status = status;
    }
    // What stands in a refused head counts for nothing, but the answer must not either pretend
    // that the connection can be used again or that there was a HEAD.
    work.request.clear();
    work.request.fields.clear();
    let trouble = Trouble::new(kind, error.to_string());
    answer::trouble(context, work, down, None, trouble).await
}

/// Notes a request that is refused without an answer.
pub(crate) fn note_refused(
    context: &Context<'_>,
    work: &mut Work,
    kind: ErrorKind,
    error: &dyn std::fmt::Display,
) {
    let record = &mut work.record;
    note_listener(context, record);
    record.tls = context.client.tls.as_ref().map(|facts| Arc::clone(&facts.info));
    record.fail(kind, error);
}

/// Hands the finished record over.
pub(crate) fn finish(core: &Core, view: &View, record: &mut Record) {
    record.finish(std::time::Instant::now());
    core.metrics.exchange_done(record, &view.shared.names);
    core.access.borrow_mut().write(record, &view.shared.names);
}

/// Makes a tunnel of a connection and an exchange; the record goes with it.
pub(crate) fn into_tunnel(
    switched: Box<Switched>,
    work: &mut Work,
    client: Option<Ends>,
    unread: Option<Buffer>,
    view: Rc<View>,
) -> Box<Tunnel> {
    let now = std::time::Instant::now();
    let record = std::mem::replace(&mut work.record, Record::new(now));
    Box::new(Tunnel::new(*switched, client, unread, record, view))
}

/// Serves a request in reverse: the configuration names the destination.
async fn reverse<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    peer: Peer<'_>,
) -> Ending {
    let Work { request, record, path, readings, .. } = &mut *work;
    let rules = &context.view.shared.rules;
    let config = context.view.config();
    record.direction = Direction::Reverse;
    // The connection is what it is, whatever an absolute target claims.
    request.target.set_scheme(context.client.scheme());
    let target = &request.target;
    let (listener, method) = (context.listener_id, &request.method);
    let rules::Decision { routing, conflict } =
        rules.decide(listener, method, target, readings, &mut ());
    let (site_id, route_id) = match routing {
        Routing::Route { site, route } => (site, Some(route)),
        Routing::NoRoute { site } | Routing::MethodNotAllowed { site } => (site, None),
        Routing::NoSite => {
            down.begin_body(request, None);
            let trouble = Trouble::new(
                ErrorKind::MisdirectedRequest,
                "no site of this listener has the name that the request asks for",
            );
            return answer::trouble(context, work, down, None, trouble).await;
        }
    };
    record.scope = Scope::Site(site_id, route_id);
    let Some(site) = config.sites.get(site_id.0 as usize) else { return Ending::Closed };
    let route = route_id.and_then(|id| site.routes.get(id.0 as usize));
    let settings = route.map_or(&site.base, |route| &route.settings);
    record.decided = route.map_or(site.place, |route| route.place);
    down.be_patient(request, &settings.timeouts);
    down.begin_body(request, settings.limits.body_bytes);
    let admitted = secure::admit(context, site_id, request, peer.trusted)
        .and_then(|()| secure::admit_client(context, settings, record))
        .and_then(|()| admissible(request, settings, conflict));
    if let Err(trouble) = admitted {
        return answer::trouble(context, work, down, Some(settings), trouble).await;
    }
    let Some(route) = route else {
        let allowed = matches!(routing, Routing::MethodNotAllowed { .. }).then_some(site_id);
        return answer::no_route(context, work, down, settings, allowed).await;
    };
    match &route.action {
        Action::To(_) | Action::Split(_) => {
            if hops::has_passed(request, record.scope) {
                let detail = "the request has come to this route before: it leads to itself";
                let trouble = Trouble::new(ErrorKind::ProxyLoopDetected, detail);
                return answer::trouble(context, work, down, Some(settings), trouble).await;
            }
            let client = record.client.ip();
            let (upstream, point) = match &route.action {
                Action::Split(split) => {
                    let (secure, random) = (is_secure(request), random::next());
                    split::choose(split, request, client, secure, random)
                }
                Action::To(upstream) => (Some(*upstream), None),
                _ => (None, None),
            };
            let destination = upstream.and_then(|id| Destination::group(context, id));
            let Some(mut destination) = destination else {
                return Ending::Closed;
            };
            let facts =
                Facts::of(client, &request.method, &request.target, Some(route), context.tls());
            path.clear();
            if rules::upstream_path(&settings.rewrite, &facts, path).is_err() {
                return answer::leads_out(context, work, down, settings).await;
            }
            let hsts = secure::hsts(context, request, record.scope);
            let address = std::mem::take(&mut work.address);
            let identity = Identity::reverse(peer, &address);
            let (route, tls) = (Some(route), context.tls());
            let plan = Plan { settings, identity, via: None, route, tls, hsts, point, remove: &[] };
            let ending = forward_to(context, work, down, &mut destination, &plan).await;
            mirror::finish(context, work, down, &plan);
            work.address = address;
            ending
        }
        Action::Redirect { .. } | Action::Respond { .. } => {
            answer::local(context, work, down, route).await
        }
        Action::Files(serving) => answer::file(context, work, down, route, serving).await,
    }
}

/// Whether the client has asked over TLS, as far back as proxies are trusted.
pub(crate) fn is_secure(request: &Request) -> bool {
    request.target.outer_scheme() == Scheme::Https
}

/// What holds for every request before anything is done with it.
fn admissible(
    request: &Request,
    settings: &RouteSettings,
    conflict: Option<rules::Conflict>,
) -> Result<(), Trouble> {
    if let Some(conflict) = conflict {
        let trouble = Trouble::new(ErrorKind::HttpRequestError, conflict.detail);
        return Err(Trouble { told: Some(rules::Conflict::CLIENT_TEXT), ..trouble });
    }
    let limit = settings.limits.body_bytes.unwrap_or(u64::MAX);
    if matches!(request.body, message::BodyLength::Exact(length) if length > limit) {
        return Err(Trouble::new(
            ErrorKind::RequestBodyTooLarge,
            "the request's body is larger than allowed",
        ));
    }
    Ok(())
}

/// How a request is forwarded.
pub(crate) struct Plan<'a> {
    pub(crate) settings: &'a RouteSettings,
    pub(crate) identity: Identity<'a>,
    /// Our name in the Via of the response.
    pub(crate) via: Option<&'a str>,
    /// The route, for field edits with captures.
    pub(crate) route: Option<&'a config::Route>,
    /// What the client's TLS is, for the same.
    pub(crate) tls: Option<TlsFacts<'a>>,
    /// What `Strict-Transport-Security` says, if it is sent.
    pub(crate) hsts: Option<&'a [u8]>,
    /// What the client is told so that it stays with its part of a split.
    pub(crate) point: Option<Point<'a>>,
    /// Names of request fields that are removed, before the edits.
    pub(crate) remove: &'a [Box<str>],
}

impl<'a> Plan<'a> {
    /// For an answer of our own.
    pub(crate) fn local(route: &'a config::Route, tls: Option<TlsFacts<'a>>) -> Self {
        let (settings, identity) = (&route.settings, Identity::nobody());
        let route = Some(route);
        // Answers of our own are marked as they are sent, errors too.
        Self { settings, identity, via: None, route, tls, hsts: None, point: None, remove: &[] }
    }
}

/// Forwards a request to one of the places that `destination` offers, and relays the response.
pub(crate) async fn forward_to<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    plan: &Plan<'_>,
) -> Ending {
    let Work { request, record, body, .. } = &mut *work;
    leaving::request(request, plan, record.client.ip(), body);
    let settings = &plan.settings.timeouts;
    let (started, limit) = (work.record.started, settings.request);
    let told = destination.deadline();
    let deadline = Deadline::new(context, started, limit, told, &work.request);
    let deadline = deadline.as_ref();
    work.replay.clear();
    mirror::begin(context, work, down, plan);
    if work.request.upgrade && !work.request.body.is_empty() && destination.is_http2_alone() {
        // RFC 9110, section 7.8: nobody has to take an upgrade.
        work.request.upgrade = false;
    }
    if login::wants_http1(&work.request) {
        down.split().1.break_off(h2::Reason::HTTP_1_1_REQUIRED);
        let detail =
            "NTLM logs in for a connection, which is not known to be one client's over HTTP/2";
        work.record.fail(ErrorKind::HttpRequestError, detail);
        return Ending::Broken;
    }
    destination.prepare(&work.request, &work.record, &context.client.bound);
    let retries = &destination.retries(context, work.record.started);
    let search = Search { context, settings, retries, deadline };
    let mut turn = Turn::First;
    loop {
        let taken = destination.connection(&search, &mut work.record, down, turn).await;
        let Taken { link, mut timeouts } = match taken {
            Ok(taken) => taken,
            Err(NoConnection::ClientGone) => return gone(&mut work.record),
            Err(NoConnection::Trouble(trouble)) => {
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        };
        timeouts.first_byte = retries.first_byte(timeouts.first_byte);
        work.record.reused = link.reused();
        let client = work.record.client.ip();
        let binding = destination.binding(is_secure(&work.request));
        let attempt = Attempt {
            context,
            plan,
            timeouts,
            retries,
            deadline,
            client,
            binding,
            hedge: destination.hedge_after(&work.request),
            second: false,
        };
        mirror::go_on(context, work, down, plan);
        if let (Some(deadline), Some(told)) = (deadline, told) {
            deadline.tell(told, &mut work.request);
        }
        let own = &context.view.shared.own_addresses;
        let to_us = hops::leads_to_us(own, &link, Some(&context.client.stream));
        hops::mark(&mut work.request, to_us, work.record.scope);
        destination.write_host(&work.request, plan.settings, &mut work.host);
        match attempt.run(link, work, down, destination).await {
            Attempted::Ended(ending) => return ending,
            Attempted::Again(next) => turn = next,
            Attempted::Failed(trouble) => {
                destination.complain(&trouble);
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        }
    }
}

/// The client has left: nobody is there to be told.
pub(crate) fn gone(record: &mut Record) -> Ending {
    record.fail(ErrorKind::ClientGone, "the client closed its connection before the end");
    Ending::Broken
}
