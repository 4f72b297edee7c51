//! Whether a request may come over its client's connection: what TLS, its certificate and its site ask for.
//!
//! Here is also what a client's TLS means for what it is answered (`Strict-Transport-Security`), and which site a
//! connection is made for. Not here: TLS of connections (`secure`), the rules of a forward listener (`forward`).

use std::sync::Arc;

use config::{ClientPolicy, ForwardId, ListenerId, RouteSettings, Serves, SiteId, SiteTls};
use message::{Known, Request, Response, Scheme};
use observe::{ErrorKind, Record, Scope};
use rules::client_allowed;

use crate::client::Client;
use crate::context::{ClientContext, Context};
use crate::secure::TlsFacts;
use crate::snapshot::View;
use crate::trouble::Trouble;

/// Whether a request for a site may come over the client's connection at all, before anything is done with it.
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
    // RFC 9110, section 7.4: or else rules for one of the two (about client certificates, say) would be evaded by the
    // other. RFC 9113, section 9.1.1: clients use a connection for all names that its certificate covers.
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

/// Whether a connection may go on after a reload has brought other rules for connections: who has a certificate that
/// was revoked, or of a CA that is not believed any more, has to connect again, and hears why.
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

/// RFC 8470, section 3: what was sent before the handshake was confirmed may be a replay, so that only what
/// changes nothing is taken; the next server learns of it.
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

/// Whether a route takes the client, by its certificate.
pub(crate) fn admit_client(
    context: &ClientContext<'_>,
    settings: &RouteSettings,
    record: &mut Record,
) -> Result<(), Trouble> {
    if settings.clients.is_empty() {
        return Ok(());
    }
    let facts = context.client.tls.as_deref();
    let shown = facts.and_then(|facts| facts.info.client.as_deref());
    client_allowed(&settings.clients, shown).map(|_| ()).map_err(|refused| {
        record.decided = refused.place;
        Trouble::new(ErrorKind::HttpRequestDenied, refused.reason.describe())
    })
}

/// Whether the client has asked over TLS, as far back as proxies are trusted.
pub(crate) fn is_secure(request: &Request) -> bool {
    request.target.outer_scheme() == Scheme::Https
}

/// What the site of an exchange says by `Strict-Transport-Security`; only to who has asked over TLS
/// (RFC 6797, section 7.2).
pub(crate) fn hsts<'a>(context: &Context<'a>, request: &Request, scope: Scope) -> Option<&'a [u8]> {
    if !is_secure(request) {
        return None;
    }
    let Scope::Site(site, _) = scope else { return None };
    context.view.shared.hsts(site)
}

/// Puts it on a response. Ours alone: of several, clients take the first (section 8.1).
pub(crate) fn mark_with(response: &mut Response, hsts: &[u8]) {
    response.fields.set(b"Strict-Transport-Security", hsts);
}

/// Puts what the site of an exchange says on a response of our own, unless an edit has done so.
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

/// The site that has a name which a client has asked for (SNI): as for a request. Without a name, or with an
/// address in its place, the default site or else the first, of those that ask for no client certificate: for who
/// names no site cannot mean one that is kept for few. Where there is no such, the default site or the only one.
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
