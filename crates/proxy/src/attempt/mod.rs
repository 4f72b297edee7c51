//! One try of a request over one connection to its destination.
//!
//! The head leaves, with the body if that is small and here already; then both directions run at
//! once ([`Attempt::race`]) until the response is complete or something fails.
//! Not here: what such an end means (`settle`).

mod hedge;
mod settle;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use message::{BodyLength, Request, Response};
use observe::{ErrorKind, RetryReason, Scope};

use crate::body::{Patience, PumpError, ReadError, Reset, Sink, Source, WriteError, pump_sifted};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::destination::{Destination, Times, Turn};
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::leaving;
use crate::plan::Plan;
use crate::replay::{Kept, Replay};
use crate::respond::{Made, respond};
use crate::retry::Retries;
use crate::sticky::Binding;
use crate::trouble::Trouble;
use crate::upstream::{
    Alarms, Answer, Cancel, Left, Link, NoHead, Speech, Upload, UpstreamHead, Upward, over,
};
use crate::websocket::{self, wants_tunnel};
use crate::work::Work;

use hedge::{Baton, Hedging, Second};

/// One try over one connection.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) timeouts: Times,
    pub(crate) retries: &'a Retries<'a>,
    /// When the exchange as a whole must be over.
    pub(crate) deadline: Option<&'a Deadline>,
    pub(crate) scope: Scope,
    /// How much of a request's body is kept for copies of it.
    pub(crate) kept_for_copies: usize,
    /// What the client is told so that it stays with the endpoint.
    pub(crate) binding: Option<Binding<'a>>,
    /// After how long a second try is begun beside it.
    pub(crate) hedge: Option<Duration>,
    /// Whether it is such a one.
    pub(crate) second: bool,
}

/// What came of it.
pub(crate) enum Attempted {
    Ended(Ending),
    /// The request is to be sent again.
    Again(Turn),
    Failed(Trouble),
}

/// How the response ended.
pub(crate) enum Download {
    Complete,
    /// 101: the connection is no HTTP any more.
    Switched,
}

pub(crate) enum DownloadError {
    /// Nothing of a final response came. `silent`: not a single byte did.
    NoResponse { trouble: Trouble, silent: bool },
    /// A final response whose status is not passed on, as the request may be sent again.
    Unwanted,
    /// The response had begun when the upstream failed; with the reason, if it reset a stream.
    Incomplete(Trouble, Option<Reset>),
    /// The client did not take it.
    Client(WriteError),
}

impl DownloadError {
    fn is_no_response(&self) -> bool {
        matches!(self, Self::NoResponse { .. } | Self::Unwanted)
    }
}

/// What ended first.
pub(crate) enum Raced {
    Download(Result<Download, DownloadError>),
    /// Another try was answered first; with how this one had failed, if it had.
    Second(Box<Second>, Option<DownloadError>),
    /// The client's side of the request failed.
    Client(ReadError),
    /// The client closed its connection.
    Vanished,
    /// The exchange took too long as a whole.
    OutOfTime(Trouble),
}

/// Interim responses that an endpoint may send before the final one. A `102` every few seconds is
/// how some tell that they are still at work (RFC 2518, section 10.1), so these are many.
const INTERIM_MAX: u32 = 1000;

/// Bytes of a response that nobody gets which are taken off, so that its connection can be kept.
const UNWANTED_BYTES_MAX: usize = 64 * 1024;

/// How a try went, before it is decided what that means.
pub(crate) struct Went {
    pub(crate) raced: Raced,
    /// The request has left whole; its body, if any, is still in the client's buffer.
    pub(crate) whole: bool,
    pub(crate) left: Left,
    /// When the first byte of a response came.
    pub(crate) heard: Option<Instant>,
    /// Another endpoint that was tried beside, in vain.
    pub(crate) tried: Option<usize>,
}

impl Attempt<'_> {
    /// Sends the request over a connection and relays the response.
    pub(crate) async fn run<D: Downstream>(
        &self,
        mut link: Link,
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Attempted {
        let Context { core, alarm, reply_alarm, flow, .. } = *self.context;
        let patience = Patience::for_upstream(self.timeouts.stream_idle, Some(flow));
        let alarms = Alarms { sending: alarm, receiving: reply_alarm };
        let reused = link.reused();
        let went = over!(&mut link, speech => {
            let up = speech.open(core, alarms, patience);
            self.carry_out(up, reused, work, down, destination).await
        });
        self.settle(went, link, work, down, destination)
    }

    /// Sends the request and relays the response.
    async fn carry_out<U: Upward, D: Downstream>(
        &self,
        mut up: U,
        reused: bool,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> Went {
        let Work { request, response, record, path, host, replay, .. } = work;
        up.read_by(down.split().1.room());
        // A small body that is here already leaves with the head, and stays until a response has
        // come, so that the request can be replayed. Without chunks around it, so only if its
        // length is told.
        let whole = match request.body {
            BodyLength::Exact(length) => down
                .buffered_body()
                .is_some_and(|body| !body.is_empty() && body.len() as u64 == length),
            _ => false,
        };
        let unsent_body = !request.body.is_empty() && !whole;
        if unsent_body && request.expect_continue {
            // RFC 9110, section 10.1.1: whoever takes the body asks for it. We do.
            response.clear();
            response.status = 100;
            if down.split().1.interim(request, response).await.is_err() {
                let left = up.finish(response);
                let raced = Raced::Vanished;
                return Went { raced, whole: false, left, heard: None, tried: None };
            }
            request.expect_continue = false; // once, however often the request is sent
        }
        let target = path.as_slice();
        let upgrade = wants_tunnel(request);
        // RFC 6455 wants a key and its proof over HTTP/1.1; a client of HTTP/2 has none.
        let key = if upgrade { websocket::missing_key(request) } else { None };
        let key = key.as_deref();
        let head = UpstreamHead { request, target, host, upgrade, key };
        let body = down.buffered_body().filter(|_| whole).unwrap_or_default();
        if self.kept_for_copies >= body.len() && replay.is_empty() {
            replay.keep(body);
        }
        let begun = up.begin(&head, body, unsent_body).await;
        // The clock is only read again if anything was waited for since it was.
        let at_once = reused && record.queue == Some(Duration::ZERO);
        let sent_at = if at_once { record.started } else { Instant::now() };
        let hedging = self.hedge.zip(destination.as_group());
        let hedging = hedging.map(|(after, group)| Hedging::new(after, group, target));
        let hedging = hedging.as_ref();
        let raced = match begun {
            Ok(()) => {
                self.race(down, request, response, &mut up, replay, unsent_body, key, hedging).await
            }
            Err(trouble) => {
                Raced::Download(Err(DownloadError::NoResponse { trouble, silent: true }))
            }
        };
        if hedging.is_some_and(|hedging| hedging.begun.get()) {
            record.hedged = Some(matches!(raced, Raced::Second(..)));
        }
        let heard = up.split().1.first_byte_at();
        record.first_byte = heard.map(|at| at.duration_since(sent_at));
        let tried = hedging.and_then(|hedging| hedging.in_vain.get());
        Went { raced, whole: !unsent_body, left: up.finish(response), heard, tried }
    }

    /// Runs both directions at once, until the response is complete or something fails.
    #[allow(clippy::too_many_arguments)] // both connections, and what they carry
    async fn race<U: Upward, D: Downstream>(
        &self,
        down: &mut D,
        request: &Request,
        response: &mut Response,
        up: &mut U,
        replay: &mut Replay,
        unsent_body: bool,
        key: Option<&str>,
        hedging: Option<&Hedging<'_>>,
    ) -> Raced {
        let (up_out, up_in, cancel) = up.split();
        let (kept, lost) = replay.parts();
        let upload = &Cell::new(Upload::Running);
        let (body, reply) = down.split();
        let baton = &Baton::new(reply);
        let uploading = async {
            if unsent_body {
                let kept_max = self.kept_bytes_max(request);
                let rules = leaving::Rules::of_request(self.plan);
                let mut body = Kept::new(body, kept, lost, kept_max);
                match pump_sifted(&mut body, up_out, |field| rules.keeps_trailer(field)).await {
                    Ok(()) => upload.set(Upload::Complete),
                    Err(PumpError::Reading(error)) => return Raced::Client(error),
                    Err(PumpError::Writing(_)) => {
                        // It may have answered before it stopped to listen.
                        upload.set(Upload::Refused);
                        return std::future::pending().await;
                    }
                }
            } else {
                upload.set(Upload::Complete);
            }
            poll_fn(|cx| body.poll_vanished(cx)).await;
            Raced::Vanished
        };
        let downloading = self.download(request, response, up_in, baton, upload, lost, key);
        let (mut uploading, mut downloading) = (pin!(uploading), pin!(Some(downloading)));
        let mut rival = pin!(hedging.map(|hedging| self.rival(hedging, request, baton)));
        let under_way = || hedging.is_some_and(|hedging| hedging.begun.get());
        let (mut downloaded, mut failed) = (false, None);
        poll_fn(|cx| {
            if let Some(first) = downloading.as_mut().as_pin_mut()
                && let Poll::Ready(done) = first.poll(cx)
            {
                downloading.set(None);
                match done {
                    // An early response to a request that is still on its way: many clients look
                    // for the answer only once they have sent everything, so they may, as long as
                    // the upstream takes it.
                    Ok(Download::Complete) if upload.get() == Upload::Running => downloaded = true,
                    Err(error) if error.is_no_response() && under_way() && rival.is_some() => {
                        failed = Some(error);
                    }
                    done => return Poll::Ready(Raced::Download(done)),
                }
            }
            let uploaded = upload.get();
            let raced = uploading.as_mut().poll(cx);
            if request.upgrade && upload.get() != uploaded {
                cx.waker().wake_by_ref(); // a 101 waits for that
            }
            if downloaded && (raced.is_ready() || upload.get() != Upload::Running) {
                return Poll::Ready(Raced::Download(Ok(Download::Complete)));
            }
            if let Poll::Ready(raced) = raced {
                return Poll::Ready(raced);
            }
            if let Some(second) = rival.as_mut().as_pin_mut() {
                if baton.winner() == Some(false) {
                    rival.set(None);
                } else if let Poll::Ready(second) = second.poll(cx) {
                    rival.set(None);
                    match (second, failed.take()) {
                        (Some(second), failed) => {
                            return Poll::Ready(Raced::Second(second, failed));
                        }
                        (None, Some(error)) => return Poll::Ready(Raced::Download(Err(error))),
                        (None, None) => {}
                    }
                } else if baton.winner() == Some(true) && downloading.is_some() {
                    downloading.set(None);
                    cancel.cancel();
                }
            }
            if let Some(deadline) = self.deadline
                && deadline.poll_passed(cx).is_ready()
            {
                return Poll::Ready(Raced::OutOfTime(deadline.trouble()));
            }
            Poll::Pending
        })
        .await
    }

    /// Tells the client where it belongs from now on. That comes after the edits of the route, which are
    /// about what the endpoint says.
    fn bind(&self, response: &mut Response) {
        if let Some(binding) = self.binding {
            binding.mark(response, &self.context.core.scratch);
        }
        if let Some(point) = self.plan.point {
            point.mark(response);
        }
    }

    /// How much of the request's body is kept: nothing of one that is too long anyway.
    fn kept_bytes_max(&self, request: &Request) -> usize {
        let bytes_max = self.retries.kept_bytes_max().max(self.kept_for_copies);
        match request.body {
            BodyLength::Exact(length) if length > bytes_max as u64 => 0,
            _ => bytes_max,
        }
    }

    /// Reads the response, and relays it to the client.
    #[allow(clippy::too_many_arguments)] // as above
    pub(crate) async fn download<R: Reply>(
        &self,
        request: &Request,
        response: &mut Response,
        up_in: &mut impl Answer,
        baton: &Baton<'_, R>,
        upload: &Cell<Upload>,
        lost: &Cell<bool>,
        key: Option<&str>,
    ) -> Result<Download, DownloadError> {
        for interim in 0u32.. {
            let head = up_in.head(request, response, self.timeouts.first_byte, upload).await;
            head.map_err(|NoHead { trouble, silent }| DownloadError::NoResponse {
                trouble,
                silent,
            })?;
            match response.status {
                100..200 if interim >= INTERIM_MAX => {
                    let detail = "the endpoint sent interim responses without an end";
                    let trouble = Trouble::new(ErrorKind::HttpProtocolError, detail);
                    return Err(DownloadError::NoResponse { trouble, silent: false });
                }
                // We have asked for the body ourselves.
                100 => {}
                101 => {
                    agreed(request, response, up_in, upload, key).await?;
                    self.bind(response);
                    let reply = baton.take(self.second).await;
                    reply.switch(request, response);
                    reply.flush().await.map_err(DownloadError::Client)?;
                    return Ok(Download::Switched);
                }
                102..200 => {
                    let reply = baton.borrow().await;
                    let sent = reply.interim(request, response).await;
                    baton.put_back(reply);
                    sent.map_err(DownloadError::Client)?;
                }
                _ => break,
            }
        }
        up_in.begin_body(response);
        if self.retries.is_unwanted(response.status)
            && request.method.is_idempotent()
            && !lost.get()
            // Of two tries the other one may have a better response.
            && (self.second || self.retries.may(RetryReason::Status))
        {
            take_off(up_in).await;
            return Err(DownloadError::Unwanted);
        }
        // A body that cannot be read from its beginning ends the try while the client can still be told.
        begins_well(up_in).await.map_err(|error| {
            let trouble = reading_failed(&error);
            DownloadError::NoResponse { trouble, silent: false }
        })?;
        let reply = baton.take(self.second).await;
        let by = (Made::ByEndpoint(self.plan), self.scope);
        let (keep, bind) = (self.context.may_keep(), |response: &mut Response| self.bind(response));
        let pumped = respond(self.context, (request, response), by, bind, keep, up_in, reply).await;
        pumped.map(|()| Download::Complete).map_err(|error| match error {
            PumpError::Reading(error) => {
                let reset = match error {
                    ReadError::Reset(reset, _) => reset,
                    _ => None,
                };
                DownloadError::Incomplete(reading_failed(&error), reset)
            }
            PumpError::Writing(error) => DownloadError::Client(error),
        })
    }
}

/// Whether 101 is an answer to this request (RFC 9110, section 7.8), which must have left whole. What else
/// comes with it would be a tunnel that nobody asked for.
async fn agreed(
    request: &Request,
    response: &Response,
    up_in: &impl Answer,
    upload: &Cell<Upload>,
    key: Option<&str>,
) -> Result<(), DownloadError> {
    let (kind, detail) = if !wants_tunnel(request) {
        let detail = "the endpoint changed the protocol without having been asked";
        (ErrorKind::HttpProtocolError, detail)
    } else if !websocket::is_agreed(request, response) {
        let detail = "the endpoint changed to another protocol than it was asked for";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else if !websocket::is_proved(request, response, key, |key| up_in.proves(key, response)) {
        let detail = "the endpoint does not prove that it takes the WebSocket";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else if !has_left(upload).await {
        let detail = "the endpoint changed the protocol without taking the request's body";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else {
        return Ok(());
    };
    let trouble = Trouble::new(kind, detail);
    Err(DownloadError::NoResponse { trouble, silent: false })
}

/// Waits until the request has left whole; false: it never will. ([`Attempt::race`] polls again then.)
async fn has_left(upload: &Cell<Upload>) -> bool {
    poll_fn(|_| match upload.get() {
        Upload::Running => Poll::Pending,
        Upload::Complete => Poll::Ready(true),
        Upload::Refused => Poll::Ready(false),
    })
    .await
}

/// Whether what is here of a body can be read.
async fn begins_well(source: &mut impl Source) -> Result<(), ReadError> {
    let mut ready = pin!(source.ready());
    match poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await {
        // The reason of a reset is passed on.
        Poll::Ready(Err(error)) if !matches!(error, ReadError::Reset(..)) => Err(error),
        Poll::Ready(_) | Poll::Pending => Ok(()),
    }
}

/// Takes off what has come of a body that nobody gets, without waiting for more.
async fn take_off(source: &mut impl Source) {
    let mut taken = 0;
    while taken < UNWANTED_BYTES_MAX {
        let at_once = {
            let mut ready = pin!(source.ready());
            poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await
        };
        let Poll::Ready(Ok(true)) = at_once else { return };
        let count = source.data().len();
        source.consume(count);
        taken += count;
    }
}

fn reading_failed(error: &ReadError) -> Trouble {
    let kind = match error {
        ReadError::Truncated | ReadError::Broken(_) | ReadError::Reset(..) => {
            ErrorKind::HttpResponseIncomplete
        }
        ReadError::Malformed(_) => ErrorKind::HttpResponseTransferCoding,
        ReadError::Invalid(_) => ErrorKind::HttpProtocolError,
        ReadError::TooLarge => ErrorKind::HttpResponseBodySize,
        ReadError::Idle | ReadError::TooSlow => ErrorKind::ConnectionReadTimeout,
    };
    Trouble::new(kind, format!("the endpoint's response could not be read: {error}"))
}
