//! Fetching a response again while a stale one is sent (RFC 5861, section 3): a task of its own, for which nobody waits.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use cache::Reason;
use cache::store::{Claim, FillWriter, Object, Store};
use config::{Caching, ListenerId, Route, RouteId, SiteId, UpstreamId};
use message::{Method, Request};
use observe::{Direction, Scope};

use super::{Cache, Candidate, filling};
use crate::body::Flow;
use crate::context::{Context, Requester};
use crate::core::Core;
use crate::destination::Destination;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::snapshot::View;
use crate::work::Work;

/// Whether a response for this destination can be fetched without its client.
pub(super) fn is_possible(destination: &Destination<'_>) -> bool {
    destination.as_group().is_some()
}

/// Fetches the response again, unless somebody does already.
pub(super) fn begin(
    context: &Context<'_>,
    work: &mut Work,
    cache: Cache<'_>,
    destination: &Destination<'_>,
    object: &Arc<Object>,
) {
    let Scope::Site(site, Some(route)) = work.record.scope else { return };
    let Some(group) = destination.as_group() else { return };
    let Work { request, cache: memory, .. } = &mut *work;
    let lookup = cache.lookup(&memory.uri, request);
    let claim = cache.store.claim(&lookup, Some(object), &mut memory.scratch);
    let Claim::Fetch(writer) = claim else { return };
    let refresh = Refresh {
        core: Rc::clone(context.core),
        view: Rc::clone(context.view),
        store: Arc::clone(cache.store),
        space: cache.space,
        at: (site, route, group.id()),
        request: work.request.clone(),
        target: work.path.as_slice().into(),
        client: work.record.client,
        listener_id: context.requester.listener_id,
        object: Arc::clone(object),
        has_user: context.requester.user.is_some(),
    };
    tokio::task::spawn_local(refresh.run(writer));
}

struct Refresh {
    core: Rc<Core>,
    view: Rc<View>,
    store: Arc<Store>,
    space: u64,
    at: (SiteId, RouteId, UpstreamId),
    request: Request,
    target: Box<[u8]>,
    client: SocketAddr,
    listener_id: ListenerId,
    object: Arc<Object>,
    /// Whether the client had proven who it is: the request says so too.
    has_user: bool,
}

impl Refresh {
    fn route(&self) -> Option<(&Route, &Caching)> {
        let route = self.view.config().route(self.at.0, self.at.1)?;
        Some((route, route.settings.caching.as_deref()?))
    }

    async fn run(self, writer: FillWriter) {
        let Some((route, caching)) = self.route() else { return };
        let mut work = Work::default();
        work.request.clone_from(&self.request);
        // A HEAD may have found it stale.
        work.request.method = Method::Get;
        work.path.extend_from_slice(&self.target);
        work.record.client = self.client;
        work.record.direction = Direction::Reverse;
        work.record.scope = Scope::Site(self.at.0, Some(self.at.1));
        let (alarm, reply_alarm) = (self.core.wheel.alarm(), self.core.wheel.alarm());
        let (address, listener_id) = (self.client.ip(), self.listener_id);
        let context = Context {
            core: &self.core,
            view: &self.view,
            requester: Requester { address, listener_id, user: None, connection: None },
            alarm: &alarm,
            reply_alarm: &reply_alarm,
            flow: &Flow::new(&self.core.wheel),
        };
        let Some(mut destination) = Destination::group(&context, self.at.2) else { return };
        let mut plan =
            Plan::own(&route.settings, Some(route), context.client_facts(), context.maps());
        // The fields of the request were edited before.
        plan.identity = Identity::nobody();
        let now = self.store.moment(std::time::Instant::now());
        let cache = Cache { store: &self.store, caching, space: self.space, now };
        let known = Some(Candidate::new(Arc::clone(&self.object), None, now));
        let fill = filling::Fill { plan: &plan, cache, writer, known, reason: Reason::Stale };
        filling::refresh(&context, &mut work, &mut destination, fill, self.has_user).await;
    }
}
