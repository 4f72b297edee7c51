//! TLS connections that pass through: we look at the name that the ClientHello asks for, and no further.
//!
//! The whole connection goes to the upstream of the site's own `to` as a tunnel, what was read of it first. To the
//! log and the metrics it is one exchange of its site.
//! Not here: reading the ClientHello (`tls`), the choice of an endpoint (`destination`), the tunnel itself (`tunnel`).

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use balance::Outcome;
use config::{Action, ListenerId, Route, RouteId, SiteId, UpstreamId};
use net::{Buffer, Stream};
use observe::{ErrorKind, Record, Scope};
use tls::ClientHello;

use crate::body::Flow;
use crate::client::Client;
use crate::context::{Context, Requester};
use crate::core::Core;
use crate::destination::{Destination, NextTry, NoConnection, Presence, Search};
use crate::ending::gone;
use crate::secure::{INTERNAL_ERROR, alert};
use crate::snapshot::View;
use crate::trouble::Trouble;
use crate::tunnel::{self, TunnelStart};

/// A connection that passes through to the upstream of a site.
pub(crate) struct Passthrough {
    pub(crate) client: Client,
    pub(crate) view: Rc<View>,
    pub(crate) site: SiteId,
    /// What the client has sent: the ClientHello, and more.
    pub(crate) sent: Buffer,
    pub(crate) record: Record,
}

impl Passthrough {
    pub(crate) fn new(
        client: Client,
        view: Rc<View>,
        listener: ListenerId,
        site: SiteId,
        hello: &ClientHello,
        sent: Buffer,
    ) -> Self {
        let mut record = Record::new(Instant::now());
        record.client = client.address.get();
        record.listener = listener;
        record.scope = Scope::Site(site, None);
        record.tls = Some(Arc::new(tls::Info { name: hello.name.clone(), ..tls::Info::default() }));
        Self { client, view, site, sent, record }
    }
}

/// Carries a connection to its end.
pub(crate) async fn run(core: &Rc<Core>, passthrough: Passthrough) {
    let Passthrough { client, view, site, mut sent, mut record, .. } = passthrough;
    let Some((route_id, route, upstream)) = upstream_of(&view, site) else { return };
    record.scope = Scope::Site(site, Some(route_id));
    record.decided = route.place;
    let connected = {
        let _under_way = core.enter_exchange();
        let mut waiting = WaitingClient { stream: &client.stream, sent: &mut sent };
        connect((core, &view), &client, (route, upstream), &mut record, &mut waiting).await
    };
    match connected {
        Ok(tunnel_start) => {
            record.tunnel = true;
            let tunnel = tunnel_start.begin(None, Some(sent), record, Rc::clone(&view));
            tunnel::run(core, &Rc::new(client), tunnel).await;
        }
        Err(NoConnection::ClientGone) => {
            let _ = gone(&mut record);
            core.finish(&view, &mut record);
        }
        Err(NoConnection::Trouble(trouble)) => {
            record.fail(trouble.kind, &trouble.detail);
            core.finish(&view, &mut record);
            alert(&client.stream, INTERNAL_ERROR).await;
        }
    }
}

/// A client that waits for its upstream.
struct WaitingClient<'a> {
    stream: &'a Stream,
    /// What it has sent.
    sent: &'a mut Buffer,
}

impl Presence for WaitingClient<'_> {
    /// What it sends meanwhile is taken in as far as there is room; beyond, it is not watched.
    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        while self.sent.spare() > 0 {
            match self.sent.poll_fill(cx, self.stream) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

/// The upstream of a site's own `to`.
fn upstream_of(view: &View, site: SiteId) -> Option<(RouteId, &Route, UpstreamId)> {
    let routes = &view.config().site(site)?.routes;
    // It stands after the routes.
    routes.iter().enumerate().rev().find_map(|(index, route)| match &route.action {
        Action::To(upstream) => Some((RouteId(index as u32), route, *upstream)),
        _ => None,
    })
}

/// A new connection to one of the endpoints; to others if one cannot be reached.
async fn connect(
    (core, view): (&Rc<Core>, &Rc<View>),
    client: &Client,
    (route, upstream): (&Route, UpstreamId),
    record: &mut Record,
    waiting: &mut WaitingClient<'_>,
) -> Result<TunnelStart, NoConnection> {
    let (alarm, reply_alarm) = (core.wheel.alarm(), core.wheel.alarm());
    let address = record.client.ip();
    let requester = Requester { address, listener_id: record.listener, connection: Some(client) };
    let context = Context {
        core,
        view,
        requester,
        alarm: &alarm,
        reply_alarm: &reply_alarm,
        flow: &Flow::new(&core.wheel),
    };
    let none = || {
        let detail = "no endpoint can be reached";
        NoConnection::Trouble(Trouble::new(ErrorKind::DestinationUnavailable, detail))
    };
    let destination = Destination::group(&context, upstream).ok_or_else(none)?;
    let mut destination = destination.raw(address, record.started);
    let settings = &route.settings.timeouts;
    let retries = &destination.retries(&context, record.started);
    let search = Search { context: &context, settings, retries, deadline: None };
    let found = destination.connect(&search, record, waiting, NextTry::First).await?;
    destination.report(Outcome::Connected, &"", Instant::now());
    let (lease, idle) = (destination.take_lease(), settings.tunnel_idle);
    let far = found.link.into_tunnel().ok_or_else(none)?;
    Ok(TunnelStart { far, lease, idle })
}
