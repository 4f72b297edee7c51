//! One try of a request over one connection to its destination.
//!
//! The head leaves, with the body if that is small and here already; then both directions run at
//! once ([`Attempt::race`]) until the response is complete or something fails. [`Attempt::settle`]
//! is the one place that decides what such an end means: for the client's connection, for the
//! upstream's, and whether the request may be sent again.
//! Invariant: a response that has begun and cannot be completed ends as [`Ending::Broken`].

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use message::{Known, Request, Response};
use net::{Alarm, Buffer, Size};
use wire::http1::{HeadError, HeadLimits, ResponseError};

use crate::body::{Patience, PumpError, ReadError, Sink, Source, WriteError, pump, unless_zero};
use crate::destination::{Destination, Times};
use crate::edits;
use crate::exchange::{Context, Downstream, Ending, Plan, Reply, Switched, Trouble, gone};
use crate::http1::{HeadEnd, Incoming, Outgoing, UpstreamHead};
use crate::observe::{ErrorKind, Record};
use crate::upstream::Connection;
use crate::worker::Work;

/// One try over one connection.
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) timeouts: Times,
    /// Fires when the exchange has taken too long as a whole.
    pub(crate) total: Option<&'a Alarm>,
    pub(crate) client: IpAddr,
}

/// What came of it.
pub(crate) enum Attempted {
    Ended(Ending),
    /// Nothing of a response came over a used connection, and the request can be replayed.
    SendAgain,
    Failed(Trouble),
}

/// How the response ended.
enum Download {
    Complete,
    /// 101: the connection is no HTTP any more.
    Switched,
}

enum DownloadError {
    /// Nothing of a final response came. `silent`: not a single byte did.
    NoResponse { trouble: Trouble, silent: bool },
    /// The response had begun when the upstream failed.
    Incomplete(Trouble),
    /// The client did not take it.
    Client(WriteError),
}

/// What ended first.
enum Raced {
    Download(Result<Download, DownloadError>),
    /// The client's side of the request failed.
    Client(ReadError),
    /// The client closed its connection.
    Vanished,
    /// The exchange took too long as a whole.
    OutOfTime,
}

/// Interim responses that an endpoint may send before the final one. A `102` every few seconds is
/// how some tell that they are still at work (RFC 2518, section 10.1), so these are many.
const INTERIM_MAX: u32 = 1000;

/// How far the request has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    Running,
    Complete,
    /// The upstream takes no more; a response may come all the same.
    Refused,
}

/// What a try leaves behind, beside how it ended.
#[derive(Default)]
struct Left {
    /// No byte of the request has reached the socket.
    unsent: bool,
    /// The request has left whole; its body, if any, is still in the client's buffer.
    whole: bool,
    /// The response has ended, the connection is open and nothing more has come over it.
    reusable: bool,
    /// What has come behind the head of a response.
    unread: Option<Buffer>,
}

impl Attempt<'_> {
    /// Sends the request over a connection and relays the response.
    pub(crate) async fn run<D: Downstream>(
        &self,
        connection: Connection,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> Attempted {
        let (raced, left) = self.carry_out(&connection, work, down).await;
        if down.split().1.has_begun() {
            // Whatever happens from here on, this is what the client was told.
            work.record.status = work.response.status;
        }
        self.settle(raced, left, connection, work, down, destination)
    }

    async fn carry_out<D: Downstream>(
        &self,
        connection: &Connection,
        work: &mut Work,
        down: &mut D,
    ) -> (Raced, Left) {
        let core = self.context.core;
        let Work { request, response, record, path, host, .. } = work;
        let (alarm, client_alarm) = (self.context.alarm, &self.context.client.alarm);
        let patience = || Patience::for_upstream(self.timeouts.stream_idle);
        let stream = &connection.stream;
        let mut up_out = Outgoing::new(stream, &core.scratch, &core.wheel, alarm, patience());
        let buffer = core.buffers.buffer(Size::Large);
        let mut up_in = Incoming::new(stream, buffer, &core.wheel, client_alarm, patience());
        up_in.times_first_byte = true;
        let target = str::from_utf8(path).unwrap_or("/");
        let (identity, upgrade) = (&self.plan.identity, wants_tunnel(request));
        let head = UpstreamHead { request, target, host, identity, upgrade };
        up_out.framing = head.write(up_out.out());

        // A small body that is here already leaves with the head, and stays until a response has
        // come, so that the request can be replayed.
        let mut unsent_body = !request.body.is_empty();
        if let Some(body) = down.buffered_body().filter(|body| !body.is_empty()) {
            up_out.out().extend_from_slice(body);
            up_out.sent = body.len() as u64;
            unsent_body = false;
        }
        if unsent_body && request.expect_continue {
            // RFC 9110, section 10.1.1: whoever takes the body asks for it. We do.
            response.clear();
            response.status = 100;
            if down.split().1.interim(request, response).await.is_err() {
                return (Raced::Vanished, Left::default());
            }
            request.expect_continue = false; // once, however often the request is sent
        }
        let sent = if unsent_body { Ok(()) } else { up_out.flush().await };
        // The clock is only read again if anything was waited for since it was.
        let at_once = connection.reused && record.queue == Some(Duration::ZERO);
        let sent_at = if at_once { record.started } else { Instant::now() };
        let raced = match sent {
            Ok(()) => {
                self.race(down, request, response, &mut up_in, &mut up_out, unsent_body).await
            }
            Err(error) => {
                let trouble = writing_failed(&error);
                Raced::Download(Err(DownloadError::NoResponse { trouble, silent: true }))
            }
        };
        record.first_byte = up_in.first_read.map(|at| at.duration_since(sent_at));
        let left = Left {
            unsent: up_out.is_unsent(),
            whole: !unsent_body,
            reusable: response.keep_alive && up_in.is_reusable(),
            unread: (!up_in.buffer.is_empty()).then(|| up_in.buffer.take()),
        };
        (raced, left)
    }

    /// Decides what the end of a try means for the request and for both connections.
    fn settle<D: Downstream>(
        &self,
        raced: Raced,
        left: Left,
        connection: Connection,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> Attempted {
        let Work { request, response, record, .. } = work;
        match raced {
            Raced::Download(Ok(Download::Switched)) => {
                record.tunnel = true;
                let idle = self.plan.settings.timeouts.tunnel_idle;
                let unread = left.unread;
                Attempted::Ended(Ending::Tunnel(Switched { connection, unread, idle }))
            }
            Raced::Download(Ok(Download::Complete)) => {
                if left.whole && !request.body.is_empty() {
                    down.skip_buffered_body();
                }
                let request_read = down.split().0.is_done();
                if left.reusable && (left.whole || request_read) {
                    if let Some(timeout) = keep_alive_timeout(response) {
                        destination.announced(timeout);
                    }
                    destination.put_back(self.context.core, connection);
                }
                Attempted::Ended(if request_read { Ending::Kept } else { Ending::Closed })
            }
            Raced::Download(Err(DownloadError::NoResponse { trouble, silent })) => {
                let body_is_here = left.whole || down.split().0.is_untouched();
                let replayable = body_is_here && (left.unsent || request.method.is_idempotent());
                if connection.reused && silent && replayable {
                    destination.closed_early();
                    return Attempted::SendAgain;
                }
                Attempted::Failed(trouble)
            }
            Raced::Download(Err(DownloadError::Incomplete(trouble))) => {
                destination.complain(&trouble);
                self.unless_begun(record, down, trouble)
            }
            Raced::Download(Err(DownloadError::Client(error))) => {
                let kind = match error {
                    WriteError::Broken(_) => ErrorKind::ClientGone,
                    WriteError::Idle | WriteError::TooSlow => ErrorKind::ClientTooSlow,
                };
                record.fail(kind, format_args!("the response could not be sent: {error}"));
                Attempted::Ended(Ending::Broken)
            }
            Raced::Vanished => Attempted::Ended(gone(record)),
            Raced::Client(error) => self.client_failed(record, down, error),
            Raced::OutOfTime => {
                let detail = "the exchange took longer than the time set for requests";
                let trouble = Trouble::new(ErrorKind::RequestTimeout, detail);
                self.unless_begun(record, down, trouble)
            }
        }
    }

    fn client_failed<D: Downstream>(
        &self,
        record: &mut Record,
        down: &mut D,
        error: ReadError,
    ) -> Attempted {
        let kind = match error {
            ReadError::Truncated | ReadError::Broken(_) => return Attempted::Ended(gone(record)),
            ReadError::Malformed(_) => ErrorKind::HttpRequestError,
            ReadError::TooLarge => ErrorKind::RequestBodyTooLarge,
            ReadError::Idle => ErrorKind::ClientTimeout,
            ReadError::TooSlow => ErrorKind::ClientTooSlow,
        };
        let trouble = Trouble::new(kind, format!("the request's body could not be read: {error}"));
        self.unless_begun(record, down, trouble)
    }

    /// An answer that tells the trouble, unless another one has begun already.
    fn unless_begun<D: Downstream>(
        &self,
        record: &mut Record,
        down: &mut D,
        trouble: Trouble,
    ) -> Attempted {
        if !down.split().1.has_begun() {
            return Attempted::Failed(trouble);
        }
        record.fail(trouble.kind, &trouble.detail);
        Attempted::Ended(Ending::Broken)
    }

    /// Runs both directions at once, until the response is complete or something fails.
    #[allow(clippy::too_many_arguments)] // the two halves of two connections, and what they carry
    async fn race<D: Downstream>(
        &self,
        down: &mut D,
        request: &Request,
        response: &mut Response,
        up_in: &mut Incoming<'_>,
        up_out: &mut Outgoing<'_>,
        unsent_body: bool,
    ) -> Raced {
        let upload = &Cell::new(Upload::Running);
        let (body, reply) = down.split();
        let uploading = async {
            if unsent_body {
                match pump(body, up_out).await {
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
        let downloading = self.download(request, response, up_in, reply, upload);
        let (mut uploading, mut downloading) = (pin!(uploading), pin!(downloading));
        let mut downloaded = false;
        poll_fn(|cx| {
            if !downloaded && let Poll::Ready(done) = downloading.as_mut().poll(cx) {
                // An early response to a request that is still on its way: many clients look for
                // the answer only once they have sent everything, so they may, as long as the
                // upstream takes it.
                if !matches!(done, Ok(Download::Complete)) || upload.get() != Upload::Running {
                    return Poll::Ready(Raced::Download(done));
                }
                downloaded = true;
            }
            let raced = uploading.as_mut().poll(cx);
            if downloaded && (raced.is_ready() || upload.get() != Upload::Running) {
                return Poll::Ready(Raced::Download(Ok(Download::Complete)));
            }
            if let Poll::Ready(raced) = raced {
                return Poll::Ready(raced);
            }
            if self.total.is_some_and(|total| total.poll_fired(cx).is_ready()) {
                return Poll::Ready(Raced::OutOfTime);
            }
            Poll::Pending
        })
        .await
    }

    async fn download(
        &self,
        request: &Request,
        response: &mut Response,
        up_in: &mut Incoming<'_>,
        reply: &mut impl Reply,
        upload: &Cell<Upload>,
    ) -> Result<Download, DownloadError> {
        for interim in 0u32.. {
            self.read_head(request, response, up_in, upload).await?;
            match response.status {
                100..200 if interim >= INTERIM_MAX => {
                    let detail = "the endpoint sent interim responses without an end";
                    let trouble = Trouble::new(ErrorKind::HttpProtocolError, detail);
                    return Err(DownloadError::NoResponse { trouble, silent: false });
                }
                // We have asked for the body ourselves.
                100 => {}
                101 if wants_tunnel(request) => {
                    reply.switch(request, response);
                    reply.flush().await.map_err(DownloadError::Client)?;
                    return Ok(Download::Switched);
                }
                101 => {
                    let detail = "the endpoint changed the protocol without having been asked";
                    let trouble = Trouble::new(ErrorKind::HttpProtocolError, detail);
                    return Err(DownloadError::NoResponse { trouble, silent: false });
                }
                102..200 => {
                    reply.interim(request, response).await.map_err(DownloadError::Client)?;
                }
                _ => break,
            }
        }
        up_in.begin_body(response.body, None);
        let scratch = &self.context.core.scratch;
        edits::response(request, response, self.plan, self.client, scratch);
        let keep = self.context.may_keep();
        reply.head(request, response, keep, self.plan.via);
        let pumped = pump(up_in, reply).await;
        pumped.map(|()| Download::Complete).map_err(|error| match error {
            PumpError::Reading(error) => DownloadError::Incomplete(reading_failed(&error)),
            PumpError::Writing(error) => DownloadError::Client(error),
        })
    }

    async fn read_head(
        &self,
        request: &Request,
        response: &mut Response,
        up_in: &mut Incoming<'_>,
        upload: &Cell<Upload>,
    ) -> Result<(), DownloadError> {
        const LIMITS: HeadLimits = HeadLimits { bytes: 60 * 1024, fields: 500, target: 0 };
        let first_byte = unless_zero(self.timeouts.first_byte);
        let mut alarm_set = false;
        loop {
            if !up_in.is_drained() {
                response.clear();
                let filled = up_in.buffer.filled();
                match wire::http1::parse_response(filled, &LIMITS, &request.method, response) {
                    Ok(Some(length)) => {
                        up_in.buffer.consume(length);
                        up_in.clear_alarm();
                        return Ok(());
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let kind = match error {
                            ResponseError::Head(HeadError::TooLong | HeadError::TooManyFields) => {
                                ErrorKind::HttpResponseHeaderSectionSize
                            }
                            _ => ErrorKind::HttpProtocolError,
                        };
                        let detail = format!("the endpoint's response is malformed: {error}");
                        let trouble = Trouble::new(kind, detail);
                        return Err(DownloadError::NoResponse { trouble, silent: false });
                    }
                }
            }
            let more = poll_fn(|cx| {
                let polled = up_in.poll_more(cx);
                if polled.is_pending() && !alarm_set {
                    alarm_set = true;
                    up_in.set_alarm(first_byte);
                    return up_in.poll_more(cx);
                }
                polled
            });
            let trouble = match more.await {
                HeadEnd::More => continue,
                HeadEnd::Expired if upload.get() == Upload::Running => {
                    // The time runs from the end of the request.
                    up_in.set_alarm(first_byte);
                    continue;
                }
                HeadEnd::Expired => Trouble::new(
                    ErrorKind::HttpResponseTimeout,
                    "the endpoint did not begin its response in time",
                ),
                HeadEnd::Closed => Trouble::new(
                    ErrorKind::ConnectionTerminated,
                    "the endpoint closed the connection without a response",
                ),
                HeadEnd::Broken(error) => Trouble::new(
                    ErrorKind::ConnectionTerminated,
                    format!("the connection to the endpoint broke before a response: {error}"),
                ),
                HeadEnd::Full => Trouble::new(
                    ErrorKind::HttpResponseHeaderSectionSize,
                    "the head of the endpoint's response is too large",
                ),
            };
            return Err(DownloadError::NoResponse { trouble, silent: up_in.raw == 0 });
        }
    }
}

/// True if the request asks to leave HTTP, and for a protocol that we let through.
fn wants_tunnel(request: &Request) -> bool {
    // RFC 9113, section 3.1 made h2c obsolete; behind it requests would bypass all rules. RFC 9110,
    // section 7.8: nobody may switch before the request is complete, so with a body still to come
    // the upstream is not even asked.
    request.upgrade
        && request.body.is_empty()
        && !request.fields.list(Known::Upgrade).any(|protocol| {
            protocol.eq_ignore_ascii_case(b"h2c") || protocol.eq_ignore_ascii_case(b"h2")
        })
}

/// `Keep-Alive: timeout=5` (RFC 2068, section 19.7.1.1).
fn keep_alive_timeout(response: &Response) -> Option<Duration> {
    let value = response.fields.list(Known::KeepAlive);
    let mut seconds = value.filter_map(|parameter| parameter.strip_prefix(b"timeout="));
    str::from_utf8(seconds.next()?).ok()?.parse().ok().map(Duration::from_secs)
}

fn reading_failed(error: &ReadError) -> Trouble {
    let kind = match error {
        ReadError::Truncated | ReadError::Broken(_) => ErrorKind::HttpResponseIncomplete,
        ReadError::Malformed(_) => ErrorKind::HttpResponseTransferCoding,
        ReadError::TooLarge => ErrorKind::HttpResponseBodySize,
        ReadError::Idle | ReadError::TooSlow => ErrorKind::ConnectionReadTimeout,
    };
    Trouble::new(kind, format!("the endpoint's response could not be read: {error}"))
}

fn writing_failed(error: &WriteError) -> Trouble {
    let kind = match error {
        WriteError::Broken(_) => ErrorKind::ConnectionTerminated,
        WriteError::Idle | WriteError::TooSlow => ErrorKind::ConnectionWriteTimeout,
    };
    Trouble::new(kind, format!("the request could not be sent to the endpoint: {error}"))
}
