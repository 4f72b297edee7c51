//! A second try beside a slow one.
//!
//! Once the response to an idempotent request without a body is late, the request is sent to another
//! endpoint too. Both tries run at once within [`Attempt::race`]; the first to have a final head takes
//! the [`Baton`], and with it the reply to the client, and the other is cut. The second is a future
//! of its own with all that it needs, so that a request without one costs nothing.
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
use super::Raced;
use super::settle::{self, Seen};
use crate::admission::is_secure;
use crate::body::Patience;
use crate::destination::{GroupDestination, unreachable};
use crate::downstream::Reply;
use crate::upstream::{
    Alarms, Answer, Left, Link, Speech, Upload, UpstreamHead, Upward, is_our_limit, over,
};

/// The reply to the client, for whichever try has a response first.
pub(crate) struct Baton<'a, R> {
    reply: Cell<Option<&'a mut R>>,
    /// Who has it for good; the second try, if true.
    winner: Cell<Option<bool>>,
    /// The task that carries both tries out, if one of them waits for the other to put the reply back.
    waits: Cell<Option<Waker>>,
}

impl<'a, R> Baton<'a, R> {
    pub(crate) fn new(reply: &'a mut R) -> Self {
        Self { reply: Cell::new(Some(reply)), winner: Cell::new(None), waits: Cell::new(None) }
    }

    /// The reply, for good. Whoever comes too late waits for ever.
    pub(crate) async fn take(&self, second: bool) -> &'a mut R {
        let reply = self.borrow().await;
        self.winner.set(Some(second));
        reply
    }

    /// The reply, to be put back.
    pub(crate) async fn borrow(&self) -> &'a mut R {
        poll_fn(|cx| match self.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                self.waits.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    pub(crate) fn put_back(&self, reply: &'a mut R) {
        self.reply.set(Some(reply));
        if let Some(task) = self.waits.take() {
            task.wake();
        }
    }

    /// Whether the second try has it, once either has.
    pub(crate) fn winner(&self) -> Option<bool> {
        self.winner.get()
    }
}

/// What a second try is made with.
pub(crate) struct Hedging<'a> {
    /// How long the first may take.
    pub(crate) after: Duration,
    pub(crate) group: &'a GroupDestination<'a>,
    /// Path and query.
    pub(crate) target: &'a [u8],
    /// Whether there is a second try.
    pub(crate) begun: Cell<bool>,
    /// Where it was made, if it came to nothing.
    pub(crate) in_vain: Cell<Option<usize>>,
}

impl<'a> Hedging<'a> {
    pub(crate) fn new(after: Duration, group: &'a GroupDestination<'a>, target: &'a [u8]) -> Self {
        let (begun, in_vain) = (Cell::new(false), Cell::new(None));
        Self { after, group, target, begun, in_vain }
    }
}

/// A second try that was answered first, and how that ended.
pub(crate) struct Second {
    pub(crate) downloaded: Result<Download, DownloadError>,
    pub(crate) left: Left,
    pub(crate) link: Link,
    pub(crate) response: Response,
    pub(crate) lease: Lease,
    pub(crate) reused: bool,
    pub(crate) dialled: Option<SocketAddr>,
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
}

impl Attempt<'_> {
    /// Waits for as long as the first try may take, and carries a second one out if that is allowed then.
    pub(crate) async fn rival<R: Reply>(
        &self,
        hedging: &Hedging<'_>,
        request: &Request,
        baton: &Baton<'_, R>,
    ) -> Option<Box<Second>> {
        // Finer than the core's wheel turns.
        tokio::time::sleep(hedging.after).await;
        if baton.winner().is_some() {
            return None;
        }
        // Where there is nobody to ask, or no budget, it takes no memory.
        let leased = hedging.group.second_lease(self.context)?;
        if !self.retries.may_hedge() {
            return None;
        }
        Box::pin(self.second(hedging, leased, request, baton)).await.map(Box::new)
    }

    /// Carries a second try out. `None`: it came to nothing, and the first goes on alone.
    async fn second<R: Reply>(
        &self,
        hedging: &Hedging<'_>,
        (mut lease, slot): (Lease, EndpointSlot),
        request: &Request,
        baton: &Baton<'_, R>,
    ) -> Option<Second> {
        let group = hedging.group;
        hedging.begun.set(true);
        let metrics = &self.context.core.metrics;
        metrics.upstream_hedged(slot);
        let begun = Instant::now();
        let found = group
            .second_link(self.context, lease.index(), slot, &self.plan.settings.timeouts)
            .await;
        let mut link = match found {
            Ok(link) => link,
            Err(trouble) => {
                // A limit of our own says nothing of the endpoint.
                if !is_our_limit(trouble.kind) {
                    hedging.in_vain.set(Some(lease.index()));
                    metrics.upstream_failed(slot);
                    lease.report(unreachable(&trouble), &trouble.detail, Instant::now());
                }
                return None;
            }
        };
        let (reused, dialled) = (link.reused(), link.address());
        let connect = (!reused).then(|| begun.elapsed());
        let mut host = String::new();
        group.write_host_of(lease.index(), request, self.plan.settings, &mut host);
        let head = UpstreamHead {
            request,
            target: hedging.target,
            host: &host,
            upgrade: false,
            key: None,
        };
        let core = self.context.core;
        let (sending, receiving) = (core.wheel.alarm(), core.wheel.alarm());
        let alarms = Alarms { sending: &sending, receiving: &receiving };
        let patience = Patience::for_upstream(self.timeouts.stream_idle, Some(self.context.flow));
        let binding = group.binding_of(lease.index(), is_secure(request));
        let second = Attempt { second: true, hedge: None, binding, ..*self };
        let mut response = Response::default();
        let (downloaded, first_byte, left) = over!(&mut link, speech => {
            let up = speech.open(core, alarms, patience);
            second.ask(up, &head, &mut response, baton).await
        });
        if baton.winner() != Some(true) {
            hedging.in_vain.set(Some(lease.index()));
            let raced = Raced::Download(downloaded);
            let seen = Seen { reused, status: response.status, first_byte, ..Seen::default() };
            settle::report(&raced, &left, seen, |outcome, words| {
                lease.report(outcome, words, Instant::now());
            });
            return None;
        }
        metrics.upstream_hedge_won(slot);
        let second = Second {
            downloaded,
            left,
            link,
            response,
            lease,
            reused,
            dialled,
            connect,
            first_byte,
        };
        Some(second)
    }

    /// Sends the request, and relays the response once the baton is there.
    async fn ask<U: Upward, R: Reply>(
        &self,
        mut up: U,
        head: &UpstreamHead<'_>,
        response: &mut Response,
        baton: &Baton<'_, R>,
    ) -> (Result<Download, DownloadError>, Option<Duration>, Left) {
        let begun = up.begin(head, &[], false).await;
        let sent_at = Instant::now();
        let (_, up_in, _) = up.split();
        let downloaded = match begun {
            Ok(()) => {
                let (upload, lost) = (Cell::new(Upload::Complete), Cell::new(false));
                self.download(head.request, response, up_in, baton, &upload, &lost, None).await
            }
            Err(trouble) => Err(DownloadError::NoResponse { trouble, silent: true }),
        };
        let first_byte = up_in.first_byte_at().map(|at| at.duration_since(sent_at));
        (downloaded, first_byte, up.finish(response))
    }
}
