//! TLS passthrough: only the server name in the ClientHello is read.
//!
//! The whole connection becomes a tunnel to the upstream of the site's own `to`, beginning with the
//! ClientHello. The log and the metrics have it as one exchange of its site.
//! Not here: reading the ClientHello (`tls`), the choice of an endpoint (`destination`), the tunnel itself
//! (`tunnel`).

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

/// A connection that is passed through to the upstream of a site.
pub(crate) struct Passthrough {
    pub(crate) client: Client,
    pub(crate) view: Rc<View>,
    pub(crate) site: SiteId,
    /// What the client has sent: the ClientHello, perhaps more.
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

/// Serves a connection to its end.
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

/// A client that waits for a connection to its upstream.
struct WaitingClient<'a> {
    stream: &'a Stream,
    /// What the client has sent.
    sent: &'a mut Buffer,
}

impl Presence for WaitingClient<'_> {
    /// What the client sends during the wait is read as far as there is room; beyond that its
    /// leaving is not noticed.
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
    // The site's own `to` is the last route.
    routes.iter().enumerate().rev().find_map(|(index, route)| match &route.action {
        Action::To(upstream) => Some((RouteId(index as u32), route, *upstream)),
        _ => None,
    })
}

/// Opens a connection to one of the endpoints; to others if one cannot be reached.
async fn connect(
    (core, view): (&Rc<Core>, &Rc<View>),
    client: &Client,
    (route, upstream): (&Route, UpstreamId),
    record: &mut Record,
    waiting: &mut WaitingClient<'_>,
) -> Result<TunnelStart, NoConnection> {
    let (alarm, reply_alarm) = (core.wheel.alarm(), core.wheel.alarm());
    let address = record.client.ip();
    let (listener_id, connection) = (record.listener, Some(client));
    let requester = Requester { address, listener_id, user: None, connection };
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
