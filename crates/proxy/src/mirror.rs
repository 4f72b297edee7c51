//! Copies of requests for other upstreams, whose answers nobody waits for.
//!
//! A request without a body, or whose body is here whole, is copied before it is sent; one whose body
//! streams, once that has been read to its end, from what is kept of it. A copy is a task of its own
//! that the exchange never waits for: it goes to one endpoint, once, over the pools of its upstream,
//! its answer is read and thrown away. How many there are at once and how long each may take is
//! bounded; what is beyond is not copied, and counted.
//! Invariant: a copy knows nothing of the client's connection, which may close before it is done.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use balance::{Outcome, PickRequest};
use config::{Mirror, RouteId, RouteSettings, SiteId};
use message::{BodyLength, Request, Response};
use observe::{Mirrored, Scope};

use crate::attempt::{Answer, NoHead, Upload, Upward};
use crate::body::{Patience, Source};
use crate::core::Core;
use crate::exchange::{Context, Downstream, Plan, Trouble};
use crate::hops;
use crate::http1::{Http1Upward, UpstreamHead};
use crate::http2::{Half, Http2Upward};
use crate::key;
use crate::login;
use crate::snapshot::View;
use crate::upstream::Link;
use crate::way::{Wants, Way};
use crate::worker::Work;

/// How long a copy may take, from its begin to the last byte of the answer.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read; the connection of a longer one is closed.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Mirrors of one route that are heeded; the language allows no more.
const MIRRORS_MAX: usize = 32;

/// Which mirrors of the route a request is copied for: a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chosen(u32);

/// Bytes of a body that streams that are kept for copies of it.
pub(crate) fn kept_bytes_max(settings: &RouteSettings) -> usize {
    settings.mirrors.iter().map(|mirror| mirror.body_max as usize).max().unwrap_or(0)
}

/// Chooses for which mirrors a request is copied, and sends the copies of one whose body is here.
pub(crate) fn begin<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &D,
    plan: &Plan<'_>,
) {
    work.mirrored = Chosen::default();
    let mirrors = &plan.settings.mirrors;
    if mirrors.is_empty() || work.request.upgrade {
        return;
    }
    let mut chosen = 0;
    for (index, mirror) in mirrors.iter().take(MIRRORS_MAX).enumerate() {
        let fits = match work.request.body {
            BodyLength::Exact(length) => length <= u64::from(mirror.body_max),
            _ => true, // it is known when it has been read
        };
        if fits && random::next() % 10_000 < u64::from(mirror.share) {
            chosen |= 1 << index;
        }
    }
    work.mirrored = Chosen(chosen);
    go_on(context, work, down, plan);
}

/// Sends the copies of a request whose body is here whole by now, and leaves in one piece. To be called
/// before each try, as that does not keep such a body.
pub(crate) fn go_on<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &D,
    plan: &Plan<'_>,
) {
    if work.mirrored == Chosen::default() {
        return;
    }
    let here = match work.request.body {
        _ if work.request.body.is_empty() => Some(&[][..]),
        BodyLength::Exact(length) => {
            down.buffered_body().filter(|body| body.len() as u64 == length)
        }
        _ => None,
    };
    if let Some(body) = here {
        let chosen = std::mem::take(&mut work.mirrored);
        send(context, work, plan, chosen, body);
    }
}

/// Sends the copies of a request whose body has been read to its end, now that it has.
pub(crate) fn finish<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    plan: &Plan<'_>,
) {
    let chosen = std::mem::take(&mut work.mirrored);
    if chosen != Chosen::default() && work.replay.is_whole() && down.split().0.is_done() {
        send(context, work, plan, chosen, work.replay.bytes());
    }
}

/// Begins the tasks.
fn send(context: &Context<'_>, work: &Work, plan: &Plan<'_>, chosen: Chosen, body: &[u8]) {
    let Scope::Site(site, Some(route)) = work.record.scope else { return };
    let mirrors = plan.settings.mirrors.iter().enumerate();
    for (index, mirror) in mirrors.filter(|(index, _)| chosen.0 & (1 << index) != 0) {
        if body.len() > mirror.body_max as usize {
            continue;
        }
        let Some(group) = context.view.group(mirror.upstream) else { continue };
        let Some(place) = Place::enter(&group.mirrored, mirror.in_flight) else {
            context.core.metrics.mirrored(Mirrored::Dropped);
            continue;
        };
        let mut request = work.request.clone();
        if !request.body.is_empty() {
            request.body = BodyLength::Exact(body.len() as u64);
        }
        let copy = Copy {
            core: Rc::clone(context.core),
            view: Rc::clone(context.view),
            at: (site, route, index),
            request,
            body: body.into(),
            target: work.path.as_slice().into(),
            client: work.record.client.ip(),
            _place: place,
        };
        tokio::task::spawn_local(copy.run());
    }
}

/// One of the copies of an upstream that may be under way on this core.
struct Place(Rc<Cell<u32>>);

impl Place {
    fn enter(count: &Rc<Cell<u32>>, max: u32) -> Option<Self> {
        (count.get() < max).then(|| {
            count.set(count.get() + 1);
            Self(Rc::clone(count))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A copy of a request.
struct Copy {
    core: Rc<Core>,
    view: Rc<View>,
    /// The mirror: of which site and route, and which of them.
    at: (SiteId, RouteId, usize),
    request: Request,
    body: Box<[u8]>,
    target: Box<[u8]>,
    client: IpAddr,
    _place: Place,
}

impl Copy {
    async fn run(self) {
        let sent = tokio::time::timeout(TIME_MAX, self.send()).await;
        self.core.metrics.mirrored(match sent {
            Ok(Ok(())) => Mirrored::Answered,
            Ok(Err(trouble)) => {
                observe::log_limited!(
                    DEBUG,
                    error = trouble.kind.name(),
                    "copy: {}",
                    trouble.detail
                );
                Mirrored::Failed
            }
            Err(_) => Mirrored::Failed,
        });
    }

    fn route(&self) -> Option<(&RouteSettings, &Mirror)> {
        let site = self.view.config().sites.get(self.at.0.0 as usize)?;
        let settings = &site.routes.get(self.at.1.0 as usize)?.settings;
        Some((settings, settings.mirrors.get(self.at.2)?))
    }

    async fn send(&self) -> Result<(), Trouble> {
        use observe::ErrorKind::{DestinationUnavailable, ProxyInternalError};
        let gone = || Trouble::new(ProxyInternalError, "the upstream is not there");
        let (settings, mirror) = self.route().ok_or_else(gone)?;
        let id = mirror.upstream;
        let group = self.view.group(id).ok_or_else(gone)?;
        let upstream = self.view.config().upstreams.get(id.0 as usize).ok_or_else(gone)?;
        let key = match group.balancer.group().by_key {
            true => key::of(&upstream.balance, &self.request, self.client),
            false => 0,
        };
        let ask = PickRequest { key, bound: None, tried: &[], now: Instant::now() };
        let picked = group.balancer.pick(&ask);
        let mut lease = picked.map_err(|why| Trouble::new(DestinationUnavailable, why.words()))?;
        let times = &settings.timeouts;
        let limit = upstream.timeouts.connect.unwrap_or(times.connect);
        let wants = Wants { limit, ..Wants::default() };
        let at = (id, lease.index());
        let way = Way::to(&self.core, &self.view, at, wants).ok_or_else(gone)?;
        let idle = upstream.timeouts.upstream_idle.unwrap_or(times.upstream_idle);
        let link = match way.at_once(idle) {
            Some(link) => Ok(link),
            None => way.found().await,
        };
        let link = link.inspect_err(|trouble| {
            lease.report(Outcome::Unreachable, &trouble.detail, Instant::now());
        })?;
        let endpoint = upstream.endpoints.get(at.1).ok_or_else(gone)?;
        let host = rules::upstream_host(&settings.host, &self.request.target, endpoint);
        let target = &*self.target;
        let mut marked = None;
        if hops::leads_to_us(&self.view.shared.own_addresses, &link, None) {
            let scope = Scope::Site(self.at.0, Some(self.at.1));
            hops::mark(marked.insert(self.request.clone()), true, scope);
        }
        let request = marked.as_ref().unwrap_or(&self.request);
        let head = UpstreamHead { request, target, host, upgrade: false, key: None };
        let answered = self.exchange(link, &head, times.first_byte, way.pool).await;
        let (outcome, words) = match &answered {
            Ok((status, first_byte)) => {
                (Outcome::Response { status: *status, first_byte: *first_byte }, "")
            }
            Err(trouble) => (Outcome::Reset, &*trouble.detail),
        };
        lease.report(outcome, &words, Instant::now());
        answered.map(|_| ())
    }

    /// Sends the copy over a connection: the status of the answer, and the time to its first byte.
    async fn exchange(
        &self,
        link: Link,
        head: &UpstreamHead<'_>,
        first_byte: Duration,
        pool: &crate::upstream::Pool,
    ) -> Result<(u16, Duration), Trouble> {
        let core = &*self.core;
        let (alarm, reply_alarm) = (core.wheel.alarm(), core.wheel.alarm());
        let patience = Patience::for_upstream(TIME_MAX, None);
        let mut response = Response::default();
        match link {
            Link::Http1(connection) => {
                let mut up = Http1Upward::new(&connection, core, &alarm, &reply_alarm, patience);
                let went = self.carry_out(&mut up, head, first_byte, &mut response).await;
                let left = up.left(&response);
                let login = left.offers_login || login::has_credentials(&self.request);
                let reusable = went.is_ok() && left.reusable && !login;
                drop(up);
                if reusable {
                    pool.put(connection, core.wheel.now());
                }
                went
            }
            Link::Http2 { ticket, secure } => {
                let half = RefCell::new(Half::Idle);
                let mut up =
                    Http2Upward::new(&ticket, secure, &half, core, &alarm, &reply_alarm, patience);
                self.carry_out(&mut up, head, first_byte, &mut response).await
            }
        }
    }

    async fn carry_out<U: Upward>(
        &self,
        up: &mut U,
        head: &UpstreamHead<'_>,
        first_byte: Duration,
        response: &mut Response,
    ) -> Result<(u16, Duration), Trouble> {
        let sent_at = Instant::now();
        up.begin(head, &self.body, false).await?;
        let (_, answer, _) = up.split();
        let upload = Cell::new(Upload::Complete);
        loop {
            let read = answer.head(&self.request, response, first_byte, &upload).await;
            read.map_err(|NoHead { trouble, .. }| trouble)?;
            if response.status >= 200 {
                break;
            }
        }
        let took = answer.first_byte_at().map_or(Duration::ZERO, |at| at.duration_since(sent_at));
        answer.begin_body(response);
        let mut read = 0;
        while read < ANSWER_BYTES_MAX && matches!(answer.ready().await, Ok(true)) {
            let count = answer.data().len();
            answer.consume(count);
            read += count as u64;
        }
        Ok((response.status, took))
    }
}
