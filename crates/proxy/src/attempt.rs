//! One try of a request over one connection to its destination.
//!
//! The head leaves, with the body if that is small and here already; then both directions run at
//! once ([`Attempt::race`]) until the response is complete or something fails.
//! Not here: what such an end means (`settle`).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use h2::{Reason, RecvStream};
use message::{BodyLength, Known, Request, Response};
use net::Buffer;
use observe::{ErrorKind, RetryReason};

use crate::body::{Patience, PumpError, ReadError, Sink, Source, WriteError, pump_sifted};
use crate::deadline::Deadline;
use crate::destination::{Destination, Times, Turn};
use crate::exchange::{Context, Downstream, Ending, Plan, Reply, Trouble};
use crate::hedge::{Baton, Cut, Hedging, Second};
use crate::http1::{Http1Upward, UpstreamHead};
use crate::http2::{Half, Http2Upward, Ticket};
use crate::leaving;
use crate::mirror;
use crate::replay::{Kept, Replay};
use crate::retry::Retries;
use crate::sticky::Binding;
use crate::tunnel::{Ends, Far};
use crate::upstream::{Connection, Link};
use crate::websocket;
use crate::worker::Work;

/// One try over one connection.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) timeouts: Times,
    pub(crate) retries: &'a Retries<'a>,
    /// When the exchange as a whole must be over.
    pub(crate) deadline: Option<&'a Deadline>,
    pub(crate) client: IpAddr,
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
    Incomplete(Trouble, Option<Reason>),
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

/// How far the request has got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Running,
    Complete,
    /// The upstream takes no more; a response may come all the same.
    Refused,
}

/// An exchange with an endpoint, whatever protocol it speaks.
pub(crate) trait Upward {
    type Out: Sink;
    type In: Answer;
    /// Sends the head and, of the body, what is here already; `more`: the rest of it follows, and
    /// all may wait for that.
    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble>;
    /// Both directions at once, and what ends them.
    fn split(&mut self) -> (&mut Self::Out, &mut Self::In, Cut<'_>);
    /// What the exchange leaves behind; `response` is the last head that came.
    fn left(&self, response: &Response) -> Left;
}

/// What an endpoint answers.
pub(crate) trait Answer: Source {
    /// Reads the next head, of an interim response or the final one, which must begin `first_byte`
    /// after the request has left.
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead>;
    /// Starts the body that follows the final head.
    fn begin_body(&mut self, response: &Response);
    /// Whether an answer to an upgrade proves that it is meant for this key.
    fn proves(&self, key: &[u8], response: &Response) -> bool;
    /// When the first byte of all came.
    fn first_byte_at(&self) -> Option<Instant>;
}

/// Why there is no head. `silent`: not a single byte of one came.
pub(crate) struct NoHead {
    pub(crate) trouble: Trouble,
    pub(crate) silent: bool,
}

/// What an exchange leaves behind, beside how it ended.
pub(crate) struct Left {
    /// No byte of the request has reached the endpoint.
    pub(crate) unsent: bool,
    /// The endpoint says that it has done nothing about the request.
    pub(crate) unprocessed: bool,
    /// The connection has ended, not just the exchange.
    pub(crate) closed: bool,
    /// The endpoint has not taken it because it is not over HTTP/1.1.
    pub(crate) wants_http1: bool,
    /// The response has ended, the connection is open and nothing more has come over it.
    pub(crate) reusable: bool,
    /// A response has offered a login that holds for the connection.
    pub(crate) offers_login: bool,
}

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

/// What a try leaves of its connection.
pub(crate) enum After {
    /// The connection, and what has come behind the head of a response.
    Http1(Connection, Option<Buffer>),
    /// The right to a stream, its sending direction, and the other one behind a final head.
    Http2 { ticket: Ticket, half: Half, receiving: Option<RecvStream> },
}

impl After {
    /// Whether a response came over the connection before.
    pub(crate) fn reused(&self) -> bool {
        match self {
            Self::Http1(connection, _) => connection.reused,
            Self::Http2 { ticket, .. } => ticket.reused,
        }
    }

    /// What is the upstream's side of a tunnel; `None` if it ended as it began.
    pub(crate) fn into_tunnel(self) -> Option<(Far, Option<Buffer>)> {
        match self {
            Self::Http1(connection, unread) => Some((Far::Connection(connection), unread)),
            Self::Http2 { ticket, half, receiving } => {
                Some((Far::Stream(Ends { receive: Some(receiving?), half }, ticket), None))
            }
        }
    }
}

impl Attempt<'_> {
    /// Sends the request over a connection and relays the response.
    pub(crate) async fn run<D: Downstream>(
        &self,
        link: Link,
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Attempted {
        let (alarm, reply_alarm) = (self.context.alarm, self.context.reply_alarm);
        let patience = Patience::for_upstream(self.timeouts.stream_idle, Some(self.context.flow));
        let core = self.context.core;
        match link {
            Link::Http1(connection) => {
                let mut up = Http1Upward::new(&connection, core, alarm, reply_alarm, patience);
                up.read_by(down.split().1.room());
                let went =
                    self.carry_out(&mut up, connection.reused, work, down, destination).await;
                let unread = up.take_unread();
                drop(up);
                let after = After::Http1(connection, unread);
                self.settle(went, after, work, down, destination)
            }
            Link::Http2 { ticket, secure } => {
                let half = RefCell::new(Half::Idle);
                let mut up =
                    Http2Upward::new(&ticket, secure, &half, core, alarm, reply_alarm, patience);
                let went = self.carry_out(&mut up, ticket.reused, work, down, destination).await;
                let receiving = up.take_stream();
                drop(up);
                let after = After::Http2 { ticket, half: half.into_inner(), receiving };
                self.settle(went, after, work, down, destination)
            }
        }
    }

    /// Sends the request and relays the response.
    async fn carry_out<U: Upward, D: Downstream>(
        &self,
        up: &mut U,
        reused: bool,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> Went {
        let Work { request, response, record, path, host, replay, .. } = work;
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
                let left = up.left(response);
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
        let begun = up.begin(&head, body, unsent_body).await;
        // The clock is only read again if anything was waited for since it was.
        let at_once = reused && record.queue == Some(Duration::ZERO);
        let sent_at = if at_once { record.started } else { Instant::now() };
        let hedging = self.hedge.zip(destination.as_group());
        let hedging = hedging.map(|(after, group)| Hedging::new(after, group, target));
        let hedging = hedging.as_ref();
        let raced = match begun {
            Ok(()) => {
                self.race(down, request, response, up, replay, unsent_body, key, hedging).await
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
        Went { raced, whole: !unsent_body, left: up.left(response), heard, tried }
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
        let (up_out, up_in, cut) = up.split();
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
                    cut.now();
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
        let for_copies = mirror::kept_bytes_max(self.plan.settings);
        let bytes_max = self.retries.kept_bytes_max().max(for_copies);
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
        let scratch = &self.context.core.scratch;
        leaving::response(request, response, self.plan, self.client, scratch);
        self.bind(response);
        let keep = self.context.may_keep();
        reply.head(request, response, keep, self.plan.via);
        self.context.flow.answering();
        let rules = leaving::Rules::of_response(self.plan);
        let pumped = pump_sifted(up_in, reply, |field| rules.keeps_trailer(field)).await;
        if matches!(pumped, Err(PumpError::Reading(_))) {
            // What came before it, the status first of all, is the client's. Whether that can be sent
            // no longer matters to what went wrong; over HTTP/2 the connection has its turn to send it.
            let _ = reply.flush().await;
            tokio::task::yield_now().await;
        }
        self.context.flow.answered();
        pumped.map(|()| Download::Complete).map_err(|error| match error {
            PumpError::Reading(error) => {
                DownloadError::Incomplete(reading_failed(&error), reset_for(&error))
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
        Poll::Ready(Err(error)) if !is_reset(&error) => Err(error),
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

/// True if the request asks to leave HTTP, and for a protocol that we let through.
pub(crate) fn wants_tunnel(request: &Request) -> bool {
    // RFC 9113, section 3.1 made h2c obsolete; behind it requests would bypass all rules.
    request.upgrade
        && !request.fields.list(Known::Upgrade).any(|protocol| {
            protocol.eq_ignore_ascii_case(b"h2c") || protocol.eq_ignore_ascii_case(b"h2")
        })
}

fn is_reset(error: &ReadError) -> bool {
    matches!(error, ReadError::Broken(error) if error.get_ref().is_some_and(|error| error.is::<h2::Error>()))
}

/// The reason for which an endpoint reset a stream, if it means the same to a client: that the work was
/// cancelled, that there was too much of it, or that it must be asked for in another way. (That nothing
/// was done, as REFUSED_STREAM says, is not true of a response that had begun.)
fn reset_for(error: &ReadError) -> Option<Reason> {
    let ReadError::Broken(error) = error else { return None };
    let error = error.get_ref()?.downcast_ref::<h2::Error>()?;
    let reason = error.reason().filter(|_| error.is_reset() && error.is_remote())?;
    let means_the_same =
        matches!(reason, Reason::CANCEL | Reason::ENHANCE_YOUR_CALM | Reason::INADEQUATE_SECURITY);
    means_the_same.then_some(reason)
}

fn reading_failed(error: &ReadError) -> Trouble {
    let kind = match error {
        ReadError::Truncated | ReadError::Broken(_) => ErrorKind::HttpResponseIncomplete,
        ReadError::Malformed(_) => ErrorKind::HttpResponseTransferCoding,
        ReadError::Invalid(_) => ErrorKind::HttpProtocolError,
        ReadError::TooLarge => ErrorKind::HttpResponseBodySize,
        ReadError::Idle | ReadError::TooSlow => ErrorKind::ConnectionReadTimeout,
    };
    Trouble::new(kind, format!("the endpoint's response could not be read: {error}"))
}

/// The request could not be sent.
pub(crate) fn writing_failed(error: &WriteError) -> Trouble {
    let kind = match error {
        WriteError::Broken(_) => ErrorKind::ConnectionTerminated,
        WriteError::Idle | WriteError::TooSlow => ErrorKind::ConnectionWriteTimeout,
    };
    Trouble::new(kind, format!("the request could not be sent to the endpoint: {error}"))
}
