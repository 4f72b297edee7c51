//! Mirrors: copies of requests for other upstreams, whose responses are discarded.
//!
//! A request without a body, or whose body is buffered whole, is copied before it is sent. A streamed body is
//! copied from what was kept of it, once it has been read to its end. A copy is a task of its own that the
//! exchange never waits for: it goes once to one endpoint, on the same path as a client's request (`fetch`),
//! and its response is read and discarded. Their number and their time are limited; requests beyond the limit
//! are not copied but counted.
//! Invariant: a copy does not use the client's connection, which may close first.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use config::{ListenerId, Mirror, RouteId, RouteSettings, SiteId, Timeouts};
use message::{BodyLength, Fields, Request, Response};
use observe::{Direction, MirrorResult, Scope};

use crate::body::{Bulk, Flow, PumpError, Sink, Source, WriteError};
use crate::context::{Context, Requester};
use crate::core::Core;
use crate::destination::Destination;
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::fetch;
use crate::plan::Plan;
use crate::snapshot::View;
use crate::source::BytesSource;
use crate::work::Work;

/// How long a copy may take, from its start to the last byte of the response.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a response that are read; after a longer one the connection is closed.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// The most mirrors of one route; the configuration allows no more.
const MIRRORS_MAX: usize = 32;

/// Chooses the mirrors of a request, and sends the copies if its body is available.
pub(crate) fn begin<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &D,
    plan: &Plan<'_>,
) {
    (work.mirrored, work.kept_for_copies) = (0, 0);
    let mirrors = &plan.settings.mirrors;
    if mirrors.is_empty() || work.request.upgrade {
        return;
    }
    let mut chosen = 0;
    for (index, mirror) in mirrors.iter().take(MIRRORS_MAX).enumerate() {
        let fits = match work.request.body {
            BodyLength::Exact(length) => length <= u64::from(mirror.body_max),
            _ => true, // known once it has been read
        };
        if fits && random::next() % 10_000 < u64::from(mirror.share) {
            chosen |= 1 << index;
        }
    }
    work.mirrored = chosen;
    let here = match work.request.body {
        _ if work.request.body.is_empty() => Some(&[][..]),
        BodyLength::Exact(length) => {
            down.buffered_body().filter(|body| body.len() as u64 == length)
        }
        _ => None,
    };
    match here {
        Some(body) => {
            work.mirrored = 0;
            send(context, work, plan, chosen, body);
        }
        None if chosen != 0 => {
            let kept = mirrors.iter().map(|mirror| mirror.body_max as usize).max();
            work.kept_for_copies = kept.unwrap_or(0);
        }
        None => {}
    }
}

/// Sends the copies of a request whose streamed body has been read to its end.
pub(crate) fn finish<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    plan: &Plan<'_>,
) {
    // The next exchange of this memory may be one that has no mirrors.
    work.kept_for_copies = 0;
    let chosen = std::mem::take(&mut work.mirrored);
    if chosen == 0 || !work.replay.is_whole() || !down.split().0.is_done() {
        return;
    }
    let body = work.replay.bytes();
    // The body of a request that was refused before it was sent was not kept.
    if matches!(work.request.body, BodyLength::Exact(length) if length != body.len() as u64) {
        return;
    }
    send(context, work, plan, chosen, body);
}

/// Starts the tasks of the copies.
fn send(context: &Context<'_>, work: &Work, plan: &Plan<'_>, chosen: u32, body: &[u8]) {
    let Scope::Site(site, Some(route)) = work.record.scope else { return };
    let mirrors = plan.settings.mirrors.iter().enumerate();
    for (index, mirror) in mirrors.filter(|(index, _)| chosen & (1 << index) != 0) {
        if body.len() > mirror.body_max as usize {
            continue;
        }
        let Some(group) = context.view.group(mirror.upstream) else { continue };
        let Some(permit) = CopyPermit::enter(&group.mirrored, mirror.in_flight) else {
            context.core.metrics.mirrored(MirrorResult::Dropped);
            continue;
        };
        let mut request = work.request.clone();
        if !request.body.is_empty() {
            request.body = BodyLength::Exact(body.len() as u64);
        }
        let copy = MirrorCopy {
            core: Rc::clone(context.core),
            view: Rc::clone(context.view),
            at: (site, route, index),
            request,
            body: body.into(),
            target: work.path.as_slice().into(),
            client: work.record.client,
            listener_id: context.requester.listener_id,
            _permit: permit,
        };
        tokio::task::spawn_local(copy.run());
    }
}

/// Counts a copy that runs to an upstream on this core.
struct CopyPermit(Rc<Cell<u32>>);

impl CopyPermit {
    fn enter(count: &Rc<Cell<u32>>, max: u32) -> Option<Self> {
        (count.get() < max).then(|| {
            count.set(count.get() + 1);
            Self(Rc::clone(count))
        })
    }
}

impl Drop for CopyPermit {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A copy of a request.
struct MirrorCopy {
    core: Rc<Core>,
    view: Rc<View>,
    /// The mirror: its site, its route and its index there.
    at: (SiteId, RouteId, usize),
    request: Request,
    body: Box<[u8]>,
    target: Box<[u8]>,
    client: SocketAddr,
    listener_id: ListenerId,
    _permit: CopyPermit,
}

impl MirrorCopy {
    async fn run(self) {
        let sent = tokio::time::timeout(TIME_MAX, self.send()).await;
        let answered = matches!(sent, Ok(Some(())));
        let mirrored = if answered { MirrorResult::Answered } else { MirrorResult::Failed };
        self.core.metrics.mirrored(mirrored);
    }

    fn route(&self) -> Option<(&RouteSettings, &Mirror)> {
        let site = self.view.config().site(self.at.0)?;
        let settings = &site.routes.get(self.at.1.index())?.settings;
        Some((settings, settings.mirrors.get(self.at.2)?))
    }

    /// Sends the copy; `None` if there is no usable response.
    async fn send(&self) -> Option<()> {
        let (settings, mirror) = self.route()?;
        let mut work = Work::default();
        work.request.clone_from(&self.request);
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
        let mut destination = Destination::group(&context, mirror.upstream)?.once();
        let plan = Plan::copy(settings, context.client_facts(), context.maps());
        let mut no_client =
            NoClient { body: BytesSource::new(&self.body), answer: DiscardedReply::default() };
        let ending = fetch::run(&context, &mut work, &mut no_client, &mut destination, &plan).await;
        let answered = matches!(ending, Ending::Kept | Ending::Closed);
        (answered && work.record.error.is_none()).then_some(())
    }
}

/// The downstream of a copy: has the request's body, and discards the response.
struct NoClient<'a> {
    body: BytesSource<'a>,
    answer: DiscardedReply,
}

/// A reply that is read and discarded.
#[derive(Default)]
pub(crate) struct DiscardedReply {
    begun: bool,
    bytes: u64,
}

impl<'a> Downstream for NoClient<'a> {
    type Body = BytesSource<'a>;
    type Reply = DiscardedReply;

    fn split(&mut self) -> (&mut BytesSource<'a>, &mut DiscardedReply) {
        (&mut self.body, &mut self.answer)
    }

    fn begin_body(&mut self, _request: &Request, _limit: Option<u64>) {}

    fn set_patience(&mut self, _request: &Request, _timeouts: &Timeouts) {}

    fn buffered_body(&self) -> Option<&[u8]> {
        Some(self.body.rest())
    }

    fn skip_buffered_body(&mut self) {
        self.body.consume(self.body.rest().len());
    }
}

impl Reply for DiscardedReply {
    async fn interim(&mut self, _: &Request, _: &Response) -> Result<(), WriteError> {
        Ok(())
    }

    fn head(&mut self, _: &Request, _: &Response, _keep: bool, _via: Option<&str>) {
        self.begun = true;
    }

    fn switch(&mut self, _: &Request, _: &Response) {
        self.begun = true;
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn sent(&self) -> (u64, u64) {
        (self.bytes, self.bytes)
    }
}

impl Sink for DiscardedReply {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(WriteError::TooSlow); // the response is too long
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        Ok(())
    }

    async fn bulk(&mut self, _bulk: Bulk<'_>) -> Result<u64, PumpError> {
        Ok(0)
    }

    async fn finish(&mut self, _trailers: &Fields) -> Result<(), WriteError> {
        Ok(())
    }
}
