//! A second try beside a slow one: the hedge.
//!
//! Once the response to an idempotent request without a body is late, the request is sent to another
//! endpoint too. Both tries run at once within [`Attempt::race`]. The first of them with a final head takes
//! the [`ReplyClaim`], and with it the reply to the client; the other is cancelled. The hedge is a future of
//! its own with all that it needs, so that a request without one costs nothing.
//! Not here: whether a request may be hedged (`destination`, `retry`).

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use balance::Lease;
use message::{Request, Response};
use observe::EndpointSlot;

use super::Attempt;
use super::Download;
use super::DownloadError;
use super::SentRequest;
use super::TryEnd;
use super::settle::{self, TryFacts};
use crate::admission::is_secure;
use crate::body::Patience;
use crate::destination::{GroupDestination, unreachable};
use crate::downstream::Reply;
use crate::upstream::{
    Alarms, Link, LinkState, Protocol, ResponseReader, Upload, UpstreamExchange, UpstreamHead,
    is_our_limit, over,
};

/// The reply to the client, for the try that has a response first.
pub(crate) struct ReplyClaim<'a, R> {
    reply: Cell<Option<&'a mut R>>,
    /// Which try has taken the reply; true: the hedge.
    winner: Cell<Option<bool>>,
    /// The task that runs both tries, if one of them waits for the other to put the reply back.
    waiting: Cell<Option<Waker>>,
}

impl<'a, R> ReplyClaim<'a, R> {
    pub(crate) fn new(reply: &'a mut R) -> Self {
        Self { reply: Cell::new(Some(reply)), winner: Cell::new(None), waiting: Cell::new(None) }
    }

    /// Takes the reply for good. If the other try has done so already, this waits for ever.
    pub(crate) async fn take(&self, is_hedge: bool) -> &'a mut R {
        let reply = self.borrow().await;
        self.winner.set(Some(is_hedge));
        reply
    }

    /// Takes the reply, to put it back soon.
    pub(crate) async fn borrow(&self) -> &'a mut R {
        poll_fn(|cx| match self.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    pub(crate) fn put_back(&self, reply: &'a mut R) {
        self.reply.set(Some(reply));
        if let Some(task) = self.waiting.take() {
            task.wake();
        }
    }

    /// Whether the hedge has taken the reply, once either try has.
    pub(crate) fn winner(&self) -> Option<bool> {
        self.winner.get()
    }
}

/// When and how a hedge is sent.
pub(crate) struct HedgePlan<'a> {
    /// How long the first try may take.
    pub(crate) after: Duration,
    pub(crate) group: &'a GroupDestination<'a>,
    /// Path and query.
    pub(crate) target: &'a [u8],
    /// Whether the hedge has started.
    pub(crate) started: Cell<bool>,
    /// The endpoint of the hedge, if that failed.
    pub(crate) failed_at: Cell<Option<usize>>,
}

impl<'a> HedgePlan<'a> {
    pub(crate) fn new(after: Duration, group: &'a GroupDestination<'a>, target: &'a [u8]) -> Self {
        let (started, failed_at) = (Cell::new(false), Cell::new(None));
        Self { after, group, target, started, failed_at }
    }
}

/// The response of a hedge that was answered first.
pub(crate) struct HedgeResponse {
    pub(crate) downloaded: Result<Download, DownloadError>,
    pub(crate) link_state: LinkState,
    pub(crate) link: Link,
    pub(crate) response: Response,
    pub(crate) lease: Lease,
    pub(crate) reused: bool,
    pub(crate) dialled: Option<SocketAddr>,
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
}

impl Attempt<'_> {
    /// Waits as long as the first try may take, and then sends a hedge if that is allowed.
    pub(crate) async fn hedge<R: Reply>(
        &self,
        plan: &HedgePlan<'_>,
        request: &Request,
        claim: &ReplyClaim<'_, R>,
    ) -> Option<Box<HedgeResponse>> {
        // The ticks of the core's wheel are too coarse for this.
        tokio::time::sleep(plan.after).await;
        if claim.winner().is_some() {
            return None;
        }
        // Without another endpoint, or without budget, a hedge takes no memory.
        let leased = plan.group.hedge_lease(self.context)?;
        if !self.retries.may_hedge() {
            return None;
        }
        Box::pin(self.send_hedge(plan, leased, request, claim)).await.map(Box::new)
    }

    /// Sends the hedge. `None`: it has failed or was too late, and the first try goes on alone.
    async fn send_hedge<R: Reply>(
        &self,
        plan: &HedgePlan<'_>,
        (mut lease, slot): (Lease, EndpointSlot),
        request: &Request,
        claim: &ReplyClaim<'_, R>,
    ) -> Option<HedgeResponse> {
        let group = plan.group;
        plan.started.set(true);
        let metrics = &self.context.core.metrics;
        metrics.upstream_hedged(slot);
        let begun = Instant::now();
        let mut link = self.connect_hedge(plan, &mut lease, slot).await?;
        let (reused, dialled) = (link.reused(), link.address());
        let connect = (!reused).then(|| begun.elapsed());
        let mut host = String::new();
        group.write_host_of(lease.index(), request, self.plan.settings, &mut host);
        let (target, host) = (plan.target, host.as_str());
        let client = self.context.client_facts();
        let head = UpstreamHead { request, target, host, upgrade: false, key: None, client };
        let core = self.context.core;
        let (sending, receiving) = (core.wheel.alarm(), core.wheel.alarm());
        let alarms = Alarms { sending: &sending, receiving: &receiving };
        let patience = Patience::for_upstream(self.timeouts.stream_idle, Some(self.context.flow));
        let binding = group.binding_of(lease.index(), is_secure(request));
        let endpoint = group.endpoint_at(lease.index());
        let hedge = Attempt { is_hedge: true, hedge_after: None, binding, endpoint, ..*self };
        let mut response = Response::default();
        let (downloaded, first_byte, link_state) = over!(&mut link, link => {
            let mut up = link.open(core, alarms, patience);
            hedge.exchange(&mut up, &head, &mut response, claim).await
        });
        if claim.winner() != Some(true) {
            plan.failed_at.set(Some(lease.index()));
            let end = TryEnd::Download(downloaded);
            let facts =
                TryFacts { reused, status: response.status, first_byte, ..TryFacts::default() };
            settle::report(&end, &link_state, facts, |outcome, words| {
                lease.report(outcome, words, Instant::now());
            });
            return None;
        }
        metrics.upstream_hedge_won(slot);
        let hedge = HedgeResponse {
            downloaded,
            link_state,
            link,
            response,
            lease,
            reused,
            dialled,
            connect,
            first_byte,
        };
        Some(hedge)
    }

    /// Obtains a connection for the hedge; if there is none, that is noted.
    async fn connect_hedge(
        &self,
        plan: &HedgePlan<'_>,
        lease: &mut Lease,
        slot: EndpointSlot,
    ) -> Option<Link> {
        let timeouts = &self.plan.settings.timeouts;
        let link = plan.group.hedge_link(self.context, lease.index(), slot, timeouts).await;
        let trouble = match link {
            Ok(link) => return Some(link),
            Err(trouble) => trouble,
        };
        // A limit of our own says nothing about the endpoint.
        if !is_our_limit(trouble.kind) {
            plan.failed_at.set(Some(lease.index()));
            self.context.core.metrics.upstream_failed(slot);
            lease.report(unreachable(&trouble), &trouble.detail, Instant::now());
        }
        None
    }

    /// Sends the request, and relays the response once the reply can be claimed.
    async fn exchange<U: UpstreamExchange, R: Reply>(
        &self,
        up: &mut U,
        head: &UpstreamHead<'_>,
        response: &mut Response,
        claim: &ReplyClaim<'_, R>,
    ) -> (Result<Download, DownloadError>, Option<Duration>, LinkState) {
        let begun = up.begin(head, &[], false).await;
        let sent_at = Instant::now();
        let (_, up_in, _) = up.split();
        let downloaded = match begun {
            Ok(()) => {
                let (upload, lost) = (&Cell::new(Upload::Complete), &Cell::new(false));
                let UpstreamHead { request, target, host, .. } = *head;
                let sent = SentRequest { request, target, host, upload, lost, key: None };
                self.download(sent, response, up_in, claim).await
            }
            Err(trouble) => Err(DownloadError::NoResponse { trouble, silent: true }),
        };
        let first_byte = up_in.first_byte_at().map(|at| at.duration_since(sent_at));
        (downloaded, first_byte, up.finish(response))
    }
}
