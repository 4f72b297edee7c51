//! One try of a request over one connection to its destination.
//!
//! The head is sent first, together with a small body that is already buffered; then both directions
//! run at once ([`Attempt::race`]) until the response is complete or something fails.
//! Not here: what the end of a try means (`settle`).

mod hedge;
mod settle;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use config::{Endpoint, Page};
use message::{BodyLength, Known, Request, Response, Version};
use observe::{ErrorKind, RetryReason, Scope};

use crate::application::{self, AskedAs};
use crate::body::{Patience, PumpError, ReadError, Reset, Sink, Source, WriteError, pump_sifted};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::destination::{Destination, EndpointTimeouts, NextTry};
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::leaving;
use crate::page;
use crate::plan::Plan;
use crate::replay::ReplayedBody;
use crate::respond::{ResponseOrigin, respond};
use crate::retry::Retries;
use crate::source::BytesSource;
use crate::sticky::Binding;
use crate::trouble::Trouble;
use crate::upstream::{
    Alarms, Cancel, Link, LinkState, NoHead, Protocol, ResponseReader, Upload, UpstreamExchange,
    UpstreamHead, over,
};
use crate::websocket::{self, wants_tunnel};
use crate::work::Work;

use hedge::{HedgePlan, HedgeResponse, ReplyClaim};

/// One try over one connection.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) timeouts: EndpointTimeouts,
    pub(crate) retries: &'a Retries<'a>,
    /// When the exchange as a whole must be over.
    pub(crate) deadline: Option<&'a Deadline>,
    pub(crate) scope: Scope,
    /// How many bytes of a request's body are kept for mirrors.
    pub(crate) kept_for_copies: usize,
    /// The endpoint, if the configuration names it.
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// The cookie that binds the client to the endpoint.
    pub(crate) binding: Option<Binding<'a>>,
    /// How late the response may be before a hedge starts.
    pub(crate) hedge_after: Option<Duration>,
    /// Whether this try is the hedge.
    pub(crate) is_hedge: bool,
}

/// What the exchange does after a try.
pub(crate) enum Settlement {
    Ended(Ending),
    /// The request is sent again.
    Retry(NextTry),
    Failed(Trouble),
}

/// How the response ended.
pub(crate) enum Download {
    Complete,
    /// 101: the connection no longer carries HTTP.
    Switched,
}

pub(crate) enum DownloadError {
    /// No final response began. `silent`: not a single byte came.
    NoResponse { trouble: Trouble, silent: bool },
    /// A final response with a retryable status. It is not forwarded, as the request may be sent again.
    Unwanted,
    /// The upstream failed after the response had begun; with the reason, if it reset a stream.
    Incomplete(Trouble, Option<Reset>),
    /// The response could not be sent to the client.
    Client(WriteError),
}

impl DownloadError {
    fn is_no_response(&self) -> bool {
        matches!(self, Self::NoResponse { .. } | Self::Unwanted)
    }
}

/// What ended a try.
pub(crate) enum TryEnd {
    Download(Result<Download, DownloadError>),
    /// The hedge was answered first; with the error of this try, if it had failed already.
    Hedged(Box<HedgeResponse>, Option<DownloadError>),
    /// The request's body could not be read from the client.
    Client(ReadError),
    /// The client closed its connection.
    ClientGone,
    /// The exchange took too long as a whole.
    OutOfTime(Trouble),
}

/// Interim responses that an endpoint may send before the final one. The limit is high because some
/// endpoints send a `102` every few seconds while they work (RFC 2518, section 10.1).
const INTERIM_MAX: u32 = 1000;

/// Bytes of an unwanted response that are read and discarded so that its connection can be reused.
const UNWANTED_BYTES_MAX: usize = 64 * 1024;

/// The result of a try, before [`Attempt::settle`] decides what it means.
pub(crate) struct TryResult {
    pub(crate) end: TryEnd,
    /// The request was sent whole with its head; its body, if any, is still in the client's buffer.
    pub(crate) sent_with_head: bool,
    pub(crate) link_state: LinkState,
    pub(crate) first_byte_at: Option<Instant>,
    /// The endpoint of a hedge that failed.
    pub(crate) failed_hedge: Option<usize>,
}

/// The request of a try, as both of its directions see it.
#[derive(Clone, Copy)]
pub(crate) struct SentRequest<'t> {
    pub(crate) request: &'t Request,
    /// The path and query, and the Host, that are sent.
    pub(crate) target: &'t [u8],
    pub(crate) host: &'t str,
    /// How much of it has been sent.
    pub(crate) upload: &'t Cell<Upload>,
    /// Whether some of its body was sent without being kept.
    pub(crate) lost: &'t Cell<bool>,
    /// The WebSocket key that we made for a client of HTTP/2, which sends none.
    pub(crate) key: Option<&'t str>,
}

impl Attempt<'_> {
    /// Sends the request over a connection and relays the response.
    pub(crate) async fn run<D: Downstream>(
        &self,
        mut link: Link,
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Settlement {
        let Context { core, alarm, reply_alarm, flow, .. } = *self.context;
        let patience = Patience::for_upstream(self.timeouts.stream_idle, Some(flow));
        let alarms = Alarms { sending: alarm, receiving: reply_alarm };
        let reused = link.reused();
        let result = over!(&mut link, link => {
            let mut up = link.open(core, alarms, patience);
            self.carry_out(&mut up, reused, work, down, destination).await
        });
        self.settle(result, link, work, down, destination)
    }

    /// Sends the request and relays the response.
    async fn carry_out<U: UpstreamExchange, D: Downstream>(
        &self,
        up: &mut U,
        reused: bool,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> TryResult {
        let Work { request, response, record, path, host, replay, .. } = work;
        up.read_by(down.split().1.room());
        let sent_with_head = is_buffered(down, request.body);
        let unsent_body = !request.body.is_empty() && !sent_with_head;
        if unsent_body && request.expect_continue {
            // RFC 9110, section 10.1.1: we read the body, so we ask for it.
            response.clear();
            response.status = 100;
            if down.split().1.interim(request, response).await.is_err() {
                let (end, link_state) = (TryEnd::ClientGone, up.finish(response));
                let (first_byte_at, failed_hedge) = (None, None);
                return TryResult { end, sent_with_head, link_state, first_byte_at, failed_hedge };
            }
            request.expect_continue = false; // once, even if the request is sent again
        }
        let target = path.as_slice();
        let upgrade = wants_tunnel(request);
        // RFC 6455 requires a key and its proof over HTTP/1.1; a client of HTTP/2 sends none.
        let key = if upgrade { websocket::missing_key(request) } else { None };
        let key = key.as_deref();
        let client = self.context.client_facts();
        let head = UpstreamHead { request, target, host, upgrade, key, client };
        let body = down.buffered_body().filter(|_| sent_with_head).unwrap_or_default();
        if self.kept_for_copies >= body.len() && replay.is_empty() {
            replay.keep(body);
        }
        let begun = up.begin(&head, body, unsent_body).await;
        // Reading the clock costs time: if nothing was waited for, the time of the start will do.
        let at_once = reused && record.queue == Some(Duration::ZERO);
        let sent_at = if at_once { record.started } else { Instant::now() };
        let hedge = self.hedge_after.zip(destination.as_group());
        let hedge = hedge.map(|(after, group)| HedgePlan::new(after, group, target));
        let hedge = hedge.as_ref();
        let end = match begun {
            Ok(()) => {
                let (kept, lost) = replay.parts();
                let upload = &Cell::new(Upload::Running);
                let sent = SentRequest { request, target, host, upload, lost, key };
                let unsent = unsent_body.then_some(kept);
                self.race(down, up, sent, unsent, response, hedge).await
            }
            Err(trouble) => {
                TryEnd::Download(Err(DownloadError::NoResponse { trouble, silent: true }))
            }
        };
        if hedge.is_some_and(|hedge| hedge.started.get()) {
            record.hedged = Some(matches!(end, TryEnd::Hedged(..)));
        }
        let first_byte_at = up.split().1.first_byte_at();
        record.first_byte = first_byte_at.map(|at| at.duration_since(sent_at));
        let failed_hedge = hedge.and_then(|hedge| hedge.failed_at.get());
        let (sent_with_head, link_state) = (!unsent_body, up.finish(response));
        TryResult { end, sent_with_head, link_state, first_byte_at, failed_hedge }
    }

    /// Runs both directions at once, until the response is complete or something fails. `unsent`: memory to
    /// keep the body in, if that is still to be sent.
    async fn race<U: UpstreamExchange, D: Downstream>(
        &self,
        down: &mut D,
        up: &mut U,
        sent: SentRequest<'_>,
        unsent: Option<&mut Vec<u8>>,
        response: &mut Response,
        hedge: Option<&HedgePlan<'_>>,
    ) -> TryEnd {
        let SentRequest { request, upload, .. } = sent;
        let (up_out, up_in, cancel) = up.split();
        let (body, reply) = down.split();
        let claim = &ReplyClaim::new(reply);
        let uploading = self.upload(body, up_out, sent, unsent);
        let downloading = self.download(sent, response, up_in, claim);
        let (mut uploading, mut downloading) = (pin!(uploading), pin!(Some(downloading)));
        let mut hedging = pin!(hedge.map(|hedge| self.hedge(hedge, request, claim)));
        let is_hedged = || hedge.is_some_and(|hedge| hedge.started.get());
        let (mut downloaded, mut failed) = (false, None);
        poll_fn(|cx| {
            if let Some(first) = downloading.as_mut().as_pin_mut()
                && let Poll::Ready(done) = first.poll(cx)
            {
                downloading.set(None);
                match done {
                    // An early response, while the request is still being sent: many clients read
                    // it only after they have sent everything, so they may, as long as the
                    // upstream accepts it.
                    Ok(Download::Complete) if upload.get() == Upload::Running => downloaded = true,
                    Err(error) if error.is_no_response() && is_hedged() && hedging.is_some() => {
                        failed = Some(error);
                    }
                    done => return Poll::Ready(TryEnd::Download(done)),
                }
            }
            let uploaded = upload.get();
            let upload_end = uploading.as_mut().poll(cx);
            if request.upgrade && upload.get() != uploaded {
                cx.waker().wake_by_ref(); // a 101 waits for that
            }
            if downloaded && (upload_end.is_ready() || upload.get() != Upload::Running) {
                return Poll::Ready(TryEnd::Download(Ok(Download::Complete)));
            }
            if let Poll::Ready(end) = upload_end {
                return Poll::Ready(end);
            }
            if let Some(second) = hedging.as_mut().as_pin_mut() {
                if claim.winner() == Some(false) {
                    hedging.set(None);
                } else if let Poll::Ready(second) = second.poll(cx) {
                    hedging.set(None);
                    match (second, failed.take()) {
                        (Some(second), failed) => {
                            return Poll::Ready(TryEnd::Hedged(second, failed));
                        }
                        (None, Some(error)) => return Poll::Ready(TryEnd::Download(Err(error))),
                        (None, None) => {}
                    }
                } else if claim.winner() == Some(true) && downloading.is_some() {
                    downloading.set(None);
                    cancel.cancel();
                }
            }
            if let Some(deadline) = self.deadline
                && deadline.poll_passed(cx).is_ready()
            {
                return Poll::Ready(TryEnd::OutOfTime(deadline.trouble()));
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the body that is still to be sent, if any, and then waits for the client to leave.
    async fn upload(
        &self,
        body: &mut impl Source,
        up_out: &mut impl Sink,
        sent: SentRequest<'_>,
        unsent: Option<&mut Vec<u8>>,
    ) -> TryEnd {
        if let Some(kept) = unsent {
            let kept_max = self.kept_bytes_max(sent.request);
            let rules = leaving::Rules::of_request(self.plan);
            let mut body = ReplayedBody::new(body, kept, sent.lost, kept_max);
            match pump_sifted(&mut body, up_out, |field| rules.keeps_trailer(field)).await {
                Ok(()) => {}
                Err(PumpError::Reading(error)) => return TryEnd::Client(error),
                Err(PumpError::Writing(_)) => {
                    // The endpoint may have answered before it stopped reading.
                    sent.upload.set(Upload::Refused);
                    return std::future::pending().await;
                }
            }
        }
        sent.upload.set(Upload::Complete);
        poll_fn(|cx| body.poll_peer_gone(cx)).await;
        TryEnd::ClientGone
    }

    /// Adds the cookies that bind the client to its endpoint and its part of a split. This comes after the
    /// edits of the route, which concern what the endpoint says.
    fn bind(&self, response: &mut Response) {
        if let Some(binding) = self.binding {
            binding.mark(response, &self.context.core.scratch);
        }
        if let Some(point) = self.plan.point {
            point.mark(response);
        }
    }

    /// The page in place of the body of an endpoint's response, if it is an error that gets one.
    fn page_for(&self, response: &Response) -> Option<&Page> {
        let pages = &self.plan.settings.error_pages;
        if pages.is_empty() || response.status < 400 || is_grpc(response) {
            return None;
        }
        let page = pages.iter().find(|page| page.status == response.status)?;
        page.from.has_upstream().then_some(&page.page)
    }

    /// Sends a page with the head of an endpoint's response.
    async fn send_page<R: Reply>(
        &self,
        page: &Page,
        (request, response): (&Request, &mut Response),
        by: (ResponseOrigin<'_>, Scope),
        reply: &mut R,
    ) -> Result<(), PumpError> {
        let scratch = &self.context.core.scratch;
        let mut body = scratch.take();
        page::write(page, response.status, &self.plan.facts(request), &mut body);
        put_page(response, page, body.len());
        let source = &mut BytesSource::new(&body);
        let (keep, bind) = (self.context.may_keep(), |response: &mut Response| self.bind(response));
        let sent = respond(self.context, (request, response), by, bind, keep, source, reply).await;
        scratch.give_back(body);
        sent
    }

    /// How many bytes of the request's body are kept; none of one that is known to be too long.
    fn kept_bytes_max(&self, request: &Request) -> usize {
        let bytes_max = self.retries.kept_bytes_max().max(self.kept_for_copies);
        match request.body {
            BodyLength::Exact(length) if length > bytes_max as u64 => 0,
            _ => bytes_max,
        }
    }

    /// Reads the response, and relays it to the client.
    pub(crate) async fn download<R: Reply>(
        &self,
        sent: SentRequest<'_>,
        response: &mut Response,
        up_in: &mut impl ResponseReader,
        claim: &ReplyClaim<'_, R>,
    ) -> Result<Download, DownloadError> {
        let SentRequest { request, target, host, upload, lost, .. } = sent;
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
                // We have asked the client for the body ourselves.
                100 => {}
                101 => {
                    check_switch(sent, response, up_in).await?;
                    self.bind(response);
                    let reply = claim.take(self.is_hedge).await;
                    reply.switch(request, response);
                    reply.flush().await.map_err(DownloadError::Client)?;
                    return Ok(Download::Switched);
                }
                102..200 => {
                    let reply = claim.borrow().await;
                    let written = reply.interim(request, response).await;
                    claim.put_back(reply);
                    written.map_err(DownloadError::Client)?;
                }
                // RFC 8441, section 5: to a client of HTTP/2 this would say that the tunnel is open.
                200..300 if request.upgrade && request.version == Version::Http2 => {
                    let detail = "the endpoint answers the upgrade without changing the protocol";
                    let trouble = Trouble::new(ErrorKind::HttpUpgradeFailed, detail);
                    return Err(DownloadError::NoResponse { trouble, silent: false });
                }
                _ => break,
            }
        }
        up_in.begin_body(response);
        if self.retries.is_unwanted(response.status)
            && request.method.is_idempotent()
            && !lost.get()
            // If this is the hedge, the first try may still have a better response.
            && (self.is_hedge || self.retries.may_retry(RetryReason::Status))
        {
            discard_buffered(up_in).await;
            return Err(DownloadError::Unwanted);
        }
        // If the body cannot be read from its beginning, the try ends while an error can still be sent.
        check_body_start(up_in).await.map_err(|error| {
            let trouble = reading_failed(&error);
            DownloadError::NoResponse { trouble, silent: false }
        })?;
        let reply = claim.take(self.is_hedge).await;
        let asked = AskedAs { host, path: target, endpoint: self.endpoint };
        application::translate(request, response, self.plan, asked, &self.context.core.scratch);
        let by = (ResponseOrigin::Endpoint(self.plan), self.scope);
        let (keep, bind) = (self.context.may_keep(), |response: &mut Response| self.bind(response));
        let messages = (request, &mut *response);
        let pumped = match self.page_for(messages.1) {
            None => {
                reply.arrived(request, messages.1);
                respond(self.context, messages, by, bind, keep, up_in, reply).await
            }
            Some(page) => {
                discard_buffered(up_in).await;
                // In a box, so that it takes no memory of all other exchanges.
                Box::pin(self.send_page(page, messages, by, reply)).await
            }
        };
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

fn is_grpc(response: &Response) -> bool {
    let content_type = response.fields.get(Known::ContentType);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// Makes the head of a response that of a page: what describes its own content goes (RFC 9110, section 8).
fn put_page(response: &mut Response, page: &Page, length: usize) {
    const OF_CONTENT: [Known; 12] = [
        Known::ContentLength,
        Known::ContentType,
        Known::ContentEncoding,
        Known::ContentLanguage,
        Known::ContentLocation,
        Known::ContentRange,
        Known::ContentDigest,
        Known::ReprDigest,
        Known::AcceptRanges,
        Known::ETag,
        Known::LastModified,
        Known::Trailer,
    ];
    let fields = &mut response.fields;
    OF_CONTENT.into_iter().for_each(|name| fields.remove(name));
    for name in ["Content-Disposition", "Content-MD5", "Digest"] {
        fields.remove_named(name.as_bytes());
    }
    fields.push_known(Known::ContentType, page.content_type.as_bytes());
    response.body = BodyLength::Exact(length as u64);
}

/// Whether a body is small, buffered whole and of a declared length. Such a body is sent with the head,
/// without chunks, and stays in the buffer until a response comes, so that the request can be replayed.
fn is_buffered<D: Downstream>(down: &D, length: BodyLength) -> bool {
    let BodyLength::Exact(length) = length else { return false };
    down.buffered_body().is_some_and(|body| !body.is_empty() && body.len() as u64 == length)
}

/// Checks that 101 is an answer to this request (RFC 9110, section 7.8), which must have been sent whole.
/// Anything else would open a tunnel that nobody asked for.
async fn check_switch(
    sent: SentRequest<'_>,
    response: &Response,
    up_in: &impl ResponseReader,
) -> Result<(), DownloadError> {
    let SentRequest { request, upload, key, .. } = sent;
    let (kind, detail) = if !wants_tunnel(request) {
        let detail = "the endpoint changed the protocol without having been asked";
        (ErrorKind::HttpProtocolError, detail)
    } else if !websocket::is_agreed(request, response) {
        let detail = "the endpoint changed to another protocol than it was asked for";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else if !websocket::is_proved(request, response, key, |key| up_in.proves(key, response)) {
        let detail = "the endpoint does not prove that it takes the WebSocket";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else if !is_uploaded(upload).await {
        let detail = "the endpoint changed the protocol without taking the request's body";
        (ErrorKind::HttpUpgradeFailed, detail)
    } else {
        return Ok(());
    };
    let trouble = Trouble::new(kind, detail);
    Err(DownloadError::NoResponse { trouble, silent: false })
}

/// Waits until the request has been sent whole; false: it never will be. ([`Attempt::race`] polls again
/// when the upload changes.)
async fn is_uploaded(upload: &Cell<Upload>) -> bool {
    poll_fn(|_| match upload.get() {
        Upload::Running => Poll::Pending,
        Upload::Complete => Poll::Ready(true),
        Upload::Refused => Poll::Ready(false),
    })
    .await
}

/// Checks that what is buffered of a body can be read.
async fn check_body_start(source: &mut impl Source) -> Result<(), ReadError> {
    let mut ready = pin!(source.ready());
    match poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await {
        // The reason of a reset is forwarded with the response.
        Poll::Ready(Err(error)) if !matches!(error, ReadError::Reset(..)) => Err(error),
        Poll::Ready(_) | Poll::Pending => Ok(()),
    }
}

/// Reads and discards what has arrived of a body that is not forwarded, without waiting for more.
async fn discard_buffered(source: &mut impl Source) {
    let mut discarded = 0;
    while discarded < UNWANTED_BYTES_MAX {
        let at_once = {
            let mut ready = pin!(source.ready());
            poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await
        };
        let Poll::Ready(Ok(true)) = at_once else { return };
        let count = source.data().len();
        source.consume(count);
        discarded += count;
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
