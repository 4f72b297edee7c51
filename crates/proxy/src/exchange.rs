//! One exchange, from canonical request to finished record.
//!
//! [`run`] is the one path that every request takes, whatever protocol its client speaks
//! ([`Downstream`]), for reverse and forward listeners: decide, then answer (`answer`) or forward
//! (`fetch`).
//! Not here: a single try (`attempt`), the rules of forward listeners (`forward`), our own
//! responses (`answer`).

use std::net::SocketAddr;

use config::{Action, FileServing, Route, RouteSettings, Serves};
use message::{Method, Request, Scheme};
use observe::{Direction, ErrorKind, Scope};
use rules::{RouteRequest, Routing};

use crate::admission::{self, is_secure};
use crate::answer::{self, FileLookup};
use crate::authentication::{self, Asker, log_in};
use crate::body::Source;
use crate::caching;
use crate::context::ClientContext;
use crate::destination::Destination;
use crate::downstream::Downstream;
use crate::ending::Ending;
use crate::forward;
use crate::hops;
use crate::identity::{self, Identity};
use crate::leaving;
use crate::mirror;
use crate::note;
use crate::plan::Plan;
use crate::split;
use crate::trouble::Trouble;
use crate::trust::Peer;
use crate::work::Work;

/// Runs the exchange of a request whose head has been read.
pub(crate) async fn run<D: Downstream>(
    context: &mut ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
) -> Ending {
    let config = context.view.config();
    let Some(listener) = config.listener(context.requester.listener_id) else {
        return answer::missing(context, work, down, "listener").await;
    };
    note::begin(context, work);
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
    context.identify(client);
    let context = &*context;
    let _under_way = context.core.enter_exchange();
    if listener.tls != context.client.tls.is_some() {
        // A reload has changed the protocol of this listener since the connection was made.
        down.begin_body(&work.request, None);
        let detail = "this port speaks TLS now, or does not any more; connect again";
        let trouble = Trouble::new(ErrorKind::MisdirectedRequest, detail);
        work.request.keep_alive = false;
        return answer::trouble(context, work, down, None, trouble).await;
    }
    let ending = match (&listener.serves, hops::take_hop(&mut work.request)) {
        (Serves::Sites(_), _) if answer::is_acme(context, &work.request) => {
            answer::acme(context, work, down).await
        }
        (_, false) => {
            let settings = admission::likely_settings(context, Some(work.request.target.host()));
            answer::last_hop(context, work, down, settings).await
        }
        (Serves::Sites(_), true) => reverse(context, work, down, peer).await,
        (Serves::Forward(id), true) => forward::run(context, work, down, *id, peer).await,
    };
    work.record.request_body_bytes = down.split().0.received();
    note::request_id(work);
    ending
}

/// Answers a request whose head is refused.
pub(crate) async fn refuse_head<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    trouble: Trouble,
) -> Ending {
    note::listener(context, &mut work.record);
    // The content of a refused head is ignored: the answer must neither keep the connection open
    // nor be that to a HEAD.
    work.request.clear();
    work.request.fields.clear();
    let settings = admission::likely_settings(context, None);
    answer::trouble(context, work, down, settings, trouble).await
}

/// Serves a request of a reverse listener: the configuration names the destination.
async fn reverse<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    peer: Peer<'_>,
) -> Ending {
    let Work { request, record, readings, .. } = &mut *work;
    let rules = &context.view.shared.rules;
    let config = context.view.config();
    record.direction = Direction::Reverse;
    // The connection determines the scheme, not an absolute target.
    request.target.set_scheme(context.client.scheme());
    let (listener, client) = (context.requester.listener_id, context.requester.address);
    let asked = RouteRequest::of(request, client);
    let rules::Decision { routing, conflict } =
        rules.decide(listener, &asked, &request.target, readings, &mut ());
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
    note::request_fields(context.view, request, record);
    let Some(site) = config.site(site_id) else {
        return answer::missing(context, work, down, "site").await;
    };
    let route = route_id.and_then(|id| site.routes.get(id.index()));
    let settings = route.map_or(&site.base, |route| &route.settings);
    note::wanted_id(request, settings);
    record.decided = route.map_or(site.place, |route| route.place);
    down.set_patience(request, &settings.timeouts);
    down.begin_body(request, settings.limits.body_bytes);
    let admitted = admission::admit(context, site_id, request, peer.trusted)
        .and_then(|()| admission::admit_while_open(context, settings, record))
        .and_then(|()| admission::admit_client(context, (site_id, route_id), settings, record))
        .and_then(|asks| admissible(request, settings, conflict).map(|()| asks));
    let asks_login = match admitted {
        Ok(asks) => asks,
        Err(trouble) => {
            return answer::trouble(context, work, down, Some(settings), trouble).await;
        }
    };
    let user;
    let mut context = *context;
    if let Some(login) = settings.login.filter(|_| asks_login) {
        user = match log_in(&context, work, down, (Asker::Site, login, settings)).await {
            Ok(user) => user,
            Err(ending) => return ending,
        };
        context.log_in(&user);
        work.record.decided = route.map_or(site.place, |route| route.place);
    }
    authentication::take_credentials(&context, &mut work.request, settings);
    let context = &context;
    let Some(route) = route else {
        let allowed = matches!(routing, Routing::MethodNotAllowed { .. }).then_some(site_id);
        return answer::no_route(context, work, down, settings, allowed).await;
    };
    match &route.action {
        Action::To(_) | Action::Split(_) => forwarded(context, work, down, peer, route).await,
        Action::Redirect { .. } | Action::Respond { .. } => {
            answer::local(context, work, down, route).await
        }
        Action::Files(serving) => files(context, work, down, peer, route, serving).await,
    }
}

/// Serves a file; if there is none, the request goes where the route says, if it does.
async fn files<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    peer: Peer<'_>,
    route: &Route,
    serving: &FileServing,
) -> Ending {
    let is_for_files = matches!(work.request.method, Method::Get | Method::Head);
    if is_for_files || serving.otherwise.is_none() {
        match answer::find_file(context, work, route, serving).await {
            Ok(FileLookup::Found(body)) => {
                return answer::file(context, work, down, route, body).await;
            }
            Ok(FileLookup::Elsewhere) => {}
            Err(trouble) => {
                return answer::trouble(context, work, down, Some(&route.settings), trouble).await;
            }
        }
    }
    forwarded(context, work, down, peer, route).await
}

/// Forwards a request to the upstream of its route.
async fn forwarded<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    peer: Peer<'_>,
    route: &Route,
) -> Ending {
    let settings = &route.settings;
    if hops::has_passed(&work.request, work.record.scope) {
        let detail = "the request has come to this route before: it leads to itself";
        let trouble = Trouble::new(ErrorKind::ProxyLoopDetected, detail);
        return answer::trouble(context, work, down, Some(settings), trouble).await;
    }
    let client = context.requester.address;
    let (upstream, point) = match &route.action {
        Action::Split(split) => {
            let (secure, random) = (is_secure(&work.request), random::next());
            split::choose(split, &work.request, client, secure, random)
        }
        Action::To(upstream) => (Some(*upstream), None),
        Action::Files(serving) => (serving.otherwise, None),
        _ => (None, None),
    };
    let destination = upstream.and_then(|id| Destination::group(context, id));
    let Some(mut destination) = destination else {
        return answer::missing(context, work, down, "upstream").await;
    };
    let Work { request, path, .. } = &mut *work;
    let facts = context.facts(request, route);
    path.clear();
    if rules::upstream_path(&settings.rewrite, &facts, path).is_err() {
        return answer::leads_out(context, work, down, settings).await;
    }
    let hsts = admission::hsts(context, &work.request, work.record.scope);
    let address = std::mem::take(&mut work.address);
    let identity = Identity::reverse(peer, &address);
    let route = Some(route);
    let (client, maps) = (context.client_facts(), context.maps());
    let plan = Plan {
        settings,
        identity,
        via: None,
        route,
        client,
        maps,
        hsts,
        point,
        remove: &[],
        cache_status: None,
    };
    leaving::request(&mut work.request, &plan, &mut work.body);
    mirror::begin(context, work, down, &plan);
    let ending = caching::fetch_or_find(context, work, down, &mut destination, &plan).await;
    mirror::finish(context, work, down, &plan);
    work.address = address;
    ending
}

/// The checks that apply to every request before it is answered or forwarded.
fn admissible(
    request: &Request,
    settings: &RouteSettings,
    conflict: Option<rules::Conflict>,
) -> Result<(), Trouble> {
    if let Some(conflict) = conflict {
        let trouble = Trouble::new(ErrorKind::HttpRequestError, conflict.detail);
        return Err(trouble.with_public(rules::Conflict::CLIENT_TEXT));
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
