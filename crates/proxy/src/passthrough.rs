//! TLS connections that pass through: we look at the name that the ClientHello asks for, and no further.
//!
//! The whole connection goes to the upstream of the site's own `to` as a tunnel, what was read of it first. To the
//! log and the metrics it is one exchange of its site.
//! Not here: reading the ClientHello (`secure`), the tunnel itself (`tunnel`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{AddressOctets, Lease, Outcome, PickRequest};
use config::{
    Action, Endpoint, EndpointAddress, KeyPart, ListenerId, Route, RouteId, SiteId, UpstreamId,
};
use net::{Buffer, Stream};
use observe::{ErrorKind, Record, RetryReason, Scope, Try};
use tls::ClientHello;

use crate::account::{Charge, What};
use crate::body::unless_zero;
use crate::core::{Client, Core};
use crate::destination::{complain_of, is_our_limit, not_picked, unreachable};
use crate::dial::{connect_failed, connect_late, dial};
use crate::exchange::{self, Switched, Trouble};
use crate::secure::{self, INTERNAL_ERROR};
use crate::snapshot::View;
use crate::tunnel::{self, Far, Tunnel};
use crate::upstream::{Connection, Meter};

/// A connection that passes through to the upstream of a site.
pub(crate) struct Passage {
    pub(crate) client: Client,
    pub(crate) view: Rc<View>,
    pub(crate) site: SiteId,
    /// What the client has sent: the ClientHello, and more.
    pub(crate) sent: Buffer,
    pub(crate) record: Record,
}

impl Passage {
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
        record.listener = listener.0;
        record.scope = Scope::Site(site, None);
        record.tls = Some(Arc::new(tls::Info { name: hello.name.clone(), ..tls::Info::default() }));
        Self { client, view, site, sent, record }
    }
}

/// Carries a connection to its end.
pub(crate) async fn run(core: &Rc<Core>, passage: Passage) {
    let Passage { client, view, site, sent, mut record, .. } = passage;
    let Some((route_id, route, upstream)) = upstream_of(&view, site) else { return };
    record.scope = Scope::Site(site, Some(route_id));
    record.decided = route.place;
    let timeouts = &route.settings.timeouts;
    let dialled = {
        let _under_way = core.enter_exchange();
        let limits = view.config().listeners.get(record.listener as usize).map(|l| &l.limits);
        let max = limits.map_or(u32::MAX, |limits| limits.upstream_connections_per_client);
        match client.account().charge(What::Upstreams, 1, max.into()) {
            Some(charge) => {
                connect(core, &view, upstream, timeouts.connect, &mut record, charge).await
            }
            None => {
                let detail = "this client has as many upstream connections as one may";
                Err(Trouble::new(ErrorKind::ClientLimitReached, detail))
            }
        }
    };
    match dialled {
        Ok((connection, lease)) => {
            record.tunnel = true;
            let (far, idle) = (Far::Connection(connection), timeouts.tunnel_idle);
            let switched = Switched { far, lease: Some(lease), unread: None, idle };
            let tunnel = Tunnel::new(switched, None, Some(sent), record, Rc::clone(&view));
            tunnel::run(core, &Rc::new(client), Box::new(tunnel)).await;
        }
        Err(trouble) => {
            record.fail(trouble.kind, &trouble.detail);
            exchange::finish(core, &view, &mut record);
            secure::alert(&client.stream, INTERNAL_ERROR).await;
        }
    }
}

/// The upstream of a site's own `to`.
fn upstream_of(view: &View, site: SiteId) -> Option<(RouteId, &Route, UpstreamId)> {
    let routes = &view.config().sites.get(site.0 as usize)?.routes;
    // It stands after the routes.
    routes.iter().enumerate().rev().find_map(|(index, route)| match &route.action {
        Action::To(upstream) => Some((RouteId(index as u32), route, *upstream)),
        _ => None,
    })
}

/// A new connection to one of the endpoints; to others if one cannot be reached.
async fn connect(
    core: &Rc<Core>,
    view: &View,
    id: UpstreamId,
    limit: Duration,
    record: &mut Record,
    charge: Charge,
) -> Result<(Connection, Lease), Trouble> {
    let nobody = || Trouble::new(ErrorKind::DestinationUnavailable, "no endpoint can be reached");
    let upstream = view.config().upstreams.get(id.0 as usize).ok_or_else(nobody)?;
    let group = view.group(id).ok_or_else(nobody)?;
    group.balancer.count_request(record.started);
    // Of what a key may be made of, only the address is known.
    let address = AddressOctets::of(record.client.ip());
    let key = balance::key(&upstream.balance, |part| match part {
        KeyPart::Address => Some(address.as_bytes()),
        _ => None,
    });
    let passes_over = upstream.retry.connect && upstream.retry.tries > 1;
    let mut tried: Vec<usize> = Vec::new();
    let mut last = None;
    let mut began = record.started;
    loop {
        let ask = PickRequest { key, bound: None, tried: &tried, now: Instant::now() };
        let mut picked = group.balancer.pick(&ask);
        if picked.as_ref().is_err_and(|why| why.may_wait()) {
            let waiting = group.balancer.wait(&ask);
            let waited = tokio::time::timeout(upstream.queue.wait, waiting).await;
            picked = waited.unwrap_or(picked);
        }
        let refused = |why| last.clone().unwrap_or_else(|| not_picked(group, why));
        let mut lease = picked.map_err(refused)?;
        let index = lease.index();
        let endpoint = upstream.endpoints.get(index).ok_or_else(nobody)?;
        let before = record.endpoint.replace((id.0, index as u32));
        let names = &view.shared.names;
        let slot = names.endpoint_slot(id.0, index as u32);
        let begun = Instant::now();
        if let (Some(Trouble { kind, .. }), Some(endpoint)) = (&last, before) {
            let (reason, error) = (RetryReason::Connect, Some(*kind));
            let took = begun.saturating_duration_since(began);
            record.tried(Try { endpoint, reason, error, status: 0, took });
            core.metrics.upstream_retried(names.endpoint_slot(endpoint.0, endpoint.1), reason);
        }
        began = begun;
        let opening = group.balancer.group().begin_connecting(index);
        let opening = opening.map_err(|why| not_picked(group, why))?;
        let bounds = (unless_zero(limit), core.shared.files.of(charge.account()));
        let dialled = dial_endpoint(core, view, (id, index), endpoint, bounds).await;
        drop(opening);
        record.connect = Some(begun.elapsed());
        match dialled {
            Ok(mut connection) => {
                lease.report(Outcome::Connected, &"", Instant::now());
                connection.meter = Some(Meter::opened(&core.metrics, slot));
                connection.charge = Some(charge);
                record.dialled = connection.address;
                return Ok((connection, lease));
            }
            Err(trouble) if is_our_limit(trouble.kind) => return Err(trouble),
            Err(trouble) => {
                lease.report(unreachable(&trouble), &trouble.detail, Instant::now());
                core.metrics.upstream_failed(slot);
                complain_of(&endpoint.written, &trouble);
                if !passes_over {
                    return Err(trouble);
                }
                tried.push(index);
                last = Some(trouble);
            }
        }
    }
}

/// Whether or not the endpoint is one of `https://`: the client brings the TLS.
async fn dial_endpoint(
    core: &Core,
    view: &View,
    (id, index): (UpstreamId, usize),
    endpoint: &Endpoint,
    (limit, files_max): (Duration, u64),
) -> Result<Connection, Trouble> {
    let addresses = match &endpoint.address {
        EndpointAddress::Unix(path) => {
            let connected = tokio::time::timeout(limit, Stream::connect_unix(path)).await;
            return match connected {
                Ok(Ok(stream)) => Ok(Connection::fresh(stream, None)),
                Ok(Err(error)) => Err(connect_failed(&endpoint.written, &error)),
                Err(_) => Err(connect_late(&endpoint.written, limit)),
            };
        }
        EndpointAddress::Ip(_) | EndpointAddress::Name { .. } => {
            if let Some(watched) = view.shared.watched(id, index) {
                let _ = tokio::time::timeout(limit, watched.ready()).await;
            }
            view.shared.addresses(id, index)
        }
    };
    if addresses.is_empty() {
        let detail = format!("{} has no address: its name was not found", endpoint.written);
        return Err(Trouble::new(ErrorKind::DnsError, detail));
    }
    dial(core, &addresses, &|_| Ok(()), (limit, files_max), &endpoint.written).await
}
