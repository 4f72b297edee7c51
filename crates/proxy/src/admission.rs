//! Whether a request may come over its client's connection: what its site requires of TLS and of
//! certificates.
//!
//! Also here: `Strict-Transport-Security`, and the site that a connection is made for.
//! Not here: TLS of connections (`secure`), the rules of a forward listener (`forward`).

use std::sync::Arc;

use config::{
    ClientPolicy, ForwardId, ListenerId, RouteId, RouteSettings, Serves, SiteId, SiteTls,
};
use message::{Known, Request, Response, Scheme};
use observe::{ErrorKind, Record, Scope};
use rules::{Asker, Standing};

use crate::client::Client;
use crate::context::{ClientContext, Context};
use crate::secure::TlsFacts;
use crate::snapshot::View;
use crate::trouble::Trouble;

/// Whether a request for a site may come over the client's connection at all, before it is answered
/// or forwarded.
pub(crate) fn admit(
    context: &ClientContext<'_>,
    site_id: SiteId,
    request: &mut Request,
    trusted: bool,
) -> Result<(), Trouble> {
    let Some(facts) = context.client.tls.as_deref() else {
        forget_early(request, trusted);
        return Ok(());
    };
    let context_of = |site: SiteId| {
        context.view.shared.contexts.sites.get(site.index()).and_then(Option::as_ref)
    };
    let server = context_of(site_id);
    if server.is_some_and(|server| server.id() == facts.admitted_for.get()) {
        return admit_early(facts, request, trusted);
    }
    let asked = facts.info.name.as_deref();
    let home = site_asked_for(context.view, context.requester.listener_id, asked);
    // RFC 9110, section 7.4: otherwise a client could evade the rules of one site (about client certificates,
    // for example) through the other. RFC 9113, section 9.1.1: clients use a connection for all names that its
    // certificate covers.
    let is_for_it = home == Some(site_id)
        || server.is_some_and(|server| match home.and_then(context_of) {
            Some(home) => server.is_like(home, asked.is_some()),
            None => server.is_like(&facts.judged_by.borrow(), asked.is_some()),
        });
    if !is_for_it {
        return Err(Trouble::new(
            ErrorKind::MisdirectedRequest,
            "the connection was made for another site than the request names",
        ));
    }
    if let Some(server) = server {
        still_admitted(context.client, facts, server)?;
    }
    admit_early(facts, request, trusted)
}

/// Whether a connection may continue after a reload has changed the rules for connections: a client whose
/// certificate was revoked, or whose CA is no longer trusted, must connect again, and reads why.
fn still_admitted(
    client: &Client,
    facts: &TlsFacts,
    server: &Arc<tls::Server>,
) -> Result<(), Trouble> {
    if !server.is_like(&facts.judged_by.borrow(), false) {
        if let Err(error) = server.still_admits(&facts.info) {
            client.closing.set(true);
            let detail = format!("connect again, the rules for connections have changed: {error}");
            return Err(Trouble::new(ErrorKind::MisdirectedRequest, detail));
        }
        facts.judged_by.replace(Arc::clone(server));
    }
    facts.admitted_for.set(server.id());
    Ok(())
}

/// The same as [`admit`] for a forward listener.
pub(crate) fn admit_forward(
    context: &ClientContext<'_>,
    id: ForwardId,
    request: &mut Request,
    trusted: bool,
) -> Result<(), Trouble> {
    let Some(facts) = context.client.tls.as_deref() else {
        forget_early(request, trusted);
        return Ok(());
    };
    let server = context.view.shared.contexts.forwards.get(id.index()).and_then(Option::as_ref);
    if let Some(server) = server
        && server.id() != facts.admitted_for.get()
    {
        still_admitted(context.client, facts, server)?;
    }
    admit_early(facts, request, trusted)
}

/// RFC 8470, section 3: what was sent before the handshake was confirmed may be a replay, so only safe
/// requests are accepted; the next server is informed by a field.
fn admit_early(facts: &TlsFacts, request: &mut Request, trusted: bool) -> Result<(), Trouble> {
    if facts.is_early() {
        if !request.method.is_safe() || request.upgrade || !request.body.is_empty() {
            let detail = "the request came before the handshake was confirmed; send it again";
            return Err(Trouble::new(ErrorKind::TooEarly, detail));
        }
        request.fields.set(b"Early-Data", b"1");
    } else {
        forget_early(request, trusted);
    }
    Ok(())
}

/// Only a trusted proxy may say that a request came early.
pub(crate) fn forget_early(request: &mut Request, trusted: bool) {
    if !trusted {
        request.fields.remove(Known::EarlyData);
    }
}

/// Whether a route is not closed for maintenance, or serves this client all the same.
pub(crate) fn admit_while_open(
    context: &ClientContext<'_>,
    settings: &RouteSettings,
    record: &mut Record,
) -> Result<(), Trouble> {
    let Some(maintenance) = &settings.maintenance else { return Ok(()) };
    let client = context.requester.address.to_canonical();
    if !context.view.shared.is_closed(maintenance.switch)
        || maintenance.except.iter().any(|net| net.contains(&client))
    {
        return Ok(());
    }
    record.decided = maintenance.place;
    let trouble = Trouble::new(ErrorKind::Maintenance, "closed for maintenance");
    Err(trouble.with_retry_after(maintenance.retry_after))
}

/// Whether a route admits the client, by its address and its certificate; or the site, where no route has the path.
///
/// A login takes time and is asked for after this (`authentication`): true if it may still decide.
pub(crate) fn admit_client(
    context: &ClientContext<'_>,
    (site, route): (SiteId, Option<RouteId>),
    settings: &RouteSettings,
    record: &mut Record,
) -> Result<bool, Trouble> {
    let facts = context.client.tls.as_deref();
    let certificate = facts.and_then(|facts| facts.info.client.as_deref());
    let asker = Asker { address: context.requester.address, certificate };
    let standing = context.view.shared.rules.standing(site, route, &asker);
    let may_log_in = settings.login.is_some() && standing.is_open(settings.satisfy);
    match standing {
        Standing::Unmet(refused) if !may_log_in => {
            record.decided = refused.place;
            Err(Trouble::new(ErrorKind::HttpRequestDenied, refused.reason.describe()))
        }
        Standing::NotAsked | Standing::Met(_) | Standing::Unmet(_) => Ok(may_log_in),
    }
}

/// Whether the client has used TLS, as far back as proxies are trusted.
pub(crate) fn is_secure(request: &Request) -> bool {
    request.target.outer_scheme() == Scheme::Https
}

/// The value of `Strict-Transport-Security` for the site of an exchange; only for requests over TLS
/// (RFC 6797, section 7.2).
pub(crate) fn hsts<'a>(context: &Context<'a>, request: &Request, scope: Scope) -> Option<&'a [u8]> {
    if !is_secure(request) {
        return None;
    }
    let Scope::Site(site, _) = scope else { return None };
    context.view.shared.hsts(site)
}

/// Sets it on a response, in place of others: of several, clients take the first (section 8.1).
pub(crate) fn mark_with(response: &mut Response, hsts: &[u8]) {
    response.fields.set(b"Strict-Transport-Security", hsts);
}

/// Sets it on a response of our own, unless an edit has done so.
pub(crate) fn mark(
    context: &Context<'_>,
    request: &Request,
    scope: Scope,
    response: &mut Response,
) {
    if let Some(hsts) = hsts(context, request, scope)
        && response.fields.find(b"Strict-Transport-Security").is_none()
    {
        mark_with(response, hsts);
    }
}

/// The settings of a request that no site has taken: those of the site that it most likely is for. That is the one
/// with the host that it names; without one, that of the TLS connection, the default site, or the only one.
pub(crate) fn likely_settings<'a>(
    context: &ClientContext<'a>,
    host: Option<&str>,
) -> Option<&'a RouteSettings> {
    let (view, listener) = (context.view, context.requester.listener_id);
    let config = view.config();
    if let Serves::Forward(id) = &config.listener(listener)?.serves {
        return Some(&config.forward(*id)?.settings);
    }
    let site = match host {
        Some(host) => view.shared.rules.site(listener, host),
        None => {
            let tls = context.client.tls.as_deref();
            site_asked_for(view, listener, tls.and_then(|facts| facts.info.name.as_deref()))
        }
    };
    Some(&config.site(site?)?.base)
}

/// The site with the name that a client asks for by SNI, chosen as for a request. Without a name, or with an
/// address in its place: the default site, or else the first, of those that ask for no client certificate, as a
/// client that names no site cannot mean a restricted one. If there is none, the default site or the only one.
pub(crate) fn site_asked_for(view: &View, id: ListenerId, name: Option<&str>) -> Option<SiteId> {
    let named = view.shared.rules.site(id, name.unwrap_or_default());
    if name.is_some() {
        return named;
    }
    let Serves::Sites(sites) = &view.config().listener(id)?.serves else {
        return None;
    };
    let of = |site: SiteId| view.config().site(site)?.tls.as_ref();
    if named.is_some_and(|site| of(site) == Some(&SiteTls::Passthrough)) {
        return named;
    }
    let asks_nobody = |site: &SiteId| match of(*site) {
        Some(SiteTls::Terminate(tls)) => tls.client.policy == ClientPolicy::Off,
        _ => false,
    };
    let only = || <&[SiteId; 1]>::try_from(sites.as_slice()).ok().map(|[only]| *only);
    let first = named.into_iter().chain(sites.iter().copied()).find(asks_nobody);
    first.or(named).or_else(only)
}
