//! One exchange, from canonical request to finished record.
//!
//! [`run`] is the one path that every request takes, whatever protocol its client speaks
//! ([`Downstream`]) and whoever names the destination: decide, then answer or forward. Forwarding
//! finds a connection ([`Route`](crate::destination)), sends the request and relays the response
//! while the request's body may still be on its way. Every early end comes back here, to the one
//! place that decides what may be sent again and which connections live on.
//! Invariant: a response that has begun and cannot be completed ends as [`Ending::Broken`].

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use config::{Action, ListenerId, RouteSettings, Serves, Timeouts};
use message::{Known, Method, Request, Response};
use net::{Alarm, Buffer, Size};
use rules::{Facts, Routed};
use wire::http1::{HeadError, HeadLimits, ResponseError};

use crate::answer;
use crate::body::{Patience, PumpError, ReadError, Sink, Source, WriteError, pump, unless_zero};
use crate::connection::RefusedHead;
use crate::core::{Client, Core};
use crate::destination::{Destination, NoConnection, Taken, Times};
use crate::edits;
use crate::forward;
use crate::http1::{HeadEnd, Incoming, Outgoing, UpstreamHead};
use crate::identity::{self, Identity};
use crate::observe::{Direction, ErrorKind, Record, Scope};
use crate::snapshot::View;
use crate::tunnel::Tunnel;
use crate::upstream::Connection;
use crate::worker::Work;

/// A client, whatever protocol it speaks: the body of its request, and the reply to it.
pub(crate) trait Downstream {
    type Body: Source;
    type Reply: Reply;
    /// Both directions at once.
    fn split(&mut self) -> (&mut Self::Body, &mut Self::Reply);
    /// The head has been read, and this is how its body is delimited.
    fn begin_body(&mut self, request: &Request, limit: Option<u64>);
    /// How slow the client may be, from here on.
    fn be_patient(&mut self, timeouts: &Timeouts);
    /// The whole rest of the body, if it is here already and its length is known.
    fn buffered_body(&self) -> Option<&[u8]>;
    /// Takes that off.
    fn skip_buffered_body(&mut self);
}

/// What a client is answered.
pub(crate) trait Reply: Sink {
    /// Sends an interim response, if the client knows such.
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError>;
    /// Begins the response; it leaves with the first data. `keep`: as far as we are concerned the
    /// connection may stay open.
    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>);
    /// Begins a tunnel by 101.
    fn switch(&mut self, request: &Request, response: &Response);
    /// Whether the response has begun.
    fn has_begun(&self) -> bool;
    /// Bytes of body, and in all.
    fn sent(&self) -> (u64, u64);
}

/// Where an exchange takes place.
pub(crate) struct Context<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) client: &'a Rc<Client>,
    pub(crate) view: &'a Rc<View>,
    pub(crate) listener_id: ListenerId,
    /// For what comes from the client and goes upstream; the other direction uses the client's.
    pub(crate) alarm: &'a Alarm,
}

/// How an exchange ended, for the client's connection.
pub(crate) enum Ending {
    /// The response is complete and the request was read whole.
    Kept,
    /// The response is complete, but the connection cannot be used again.
    Closed,
    /// The response is not complete: the client must see that.
    Broken,
    /// Bytes both ways from here on.
    Tunnel(Switched),
}

/// The upstream's side of a tunnel that begins.
pub(crate) struct Switched {
    pub(crate) connection: Connection,
    /// What the upstream sent already.
    pub(crate) unread: Option<Buffer>,
    pub(crate) idle: Duration,
}

/// Why an exchange cannot go on: what the client is told, and the log.
pub(crate) struct Trouble {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: Detail,
}

/// Words for people. Most are fixed; the others are seldom enough to be made when needed.
pub(crate) type Detail = std::borrow::Cow<'static, str>;

impl Trouble {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Detail>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// Carries out the exchange whose request head has been read.
pub(crate) async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
) -> Ending {
    let config = context.view.config();
    let Some(listener) = config.listeners.get(context.listener_id.0 as usize) else {
        return Ending::Closed;
    };
    begin_record(context, work);
    let peer = work.record.client.ip();
    let trusted = identity::is_trusted(peer, &listener.trusted_proxies);
    identity::write_address(&mut work.address, peer);
    if trusted {
        let fields = &work.request.fields;
        let client = identity::client_address(peer, &listener.trusted_proxies, fields);
        if client != peer {
            work.record.via = Some(peer);
            work.record.client = SocketAddr::new(client, 0);
        }
    }
    let _under_way = context.core.enter_exchange();
    let ending = match (&listener.serves, hops_left(&mut work.request)) {
        (_, Hops::None) => answer::last_hop(context, work, down).await,
        (Serves::Sites(_), Hops::Some) => reverse(context, work, down, trusted).await,
        (Serves::Forward(id), Hops::Some) => forward::run(context, work, down, *id, trusted).await,
    };
    work.record.request_body_bytes = down.split().0.received();
    ending
}

/// Whether a request may go on to another server.
enum Hops {
    Some,
    None,
}

/// RFC 9110, section 7.6.2: `Max-Forwards` counts down with TRACE and OPTIONS, and ends at 0.
fn hops_left(request: &mut Request) -> Hops {
    if !matches!(request.method, Method::Trace | Method::Options) {
        return Hops::Some;
    }
    let value = request.fields.get(Known::MaxForwards);
    let Some(left) = value.and_then(|value| str::from_utf8(value).ok()?.parse::<u32>().ok()) else {
        return Hops::Some;
    };
    let Some(left) = left.checked_sub(1) else { return Hops::None };
    request.fields.set(b"Max-Forwards", left.to_string().as_bytes());
    Hops::Some
}

fn begin_record(context: &Context<'_>, work: &mut Work) {
    let Work { request, record, .. } = work;
    record.client = context.client.address.get();
    record.listener = context.listener_id.0;
    record.method = request.method;
    record.version = request.version;
    if !context.core.access.borrow().is_on() {
        return; // the rest is for the log alone
    }
    let target = &request.target;
    if target.form() == message::Form::Authority {
        record.target.set(target.authority());
    } else {
        record.target.set(target.scheme().as_str());
        record.target.push("://");
        record.target.push(target.authority());
        record.target.push(target.path_and_query());
    }
    if let Some(value) = request.fields.get(Known::UserAgent) {
        record.user_agent.set(value);
    }
    if let Some(value) = request.fields.get(Known::Referer) {
        record.referer.set(value);
    }
}

/// Answers a request whose head cannot be taken.
pub(crate) async fn refuse_head<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    kind: ErrorKind,
    error: RefusedHead,
) -> Ending {
    work.record.client = context.client.address.get();
    work.record.listener = context.listener_id.0;
    if let RefusedHead::Malformed(error) = &error {
        work.record.status = error.status();
    }
    // What stands in a refused head counts for nothing, but the answer must not either pretend
    // that the connection can be used again or that there was a HEAD.
    work.request.clear();
    work.request.fields.clear();
    let trouble = Trouble::new(kind, error.to_string());
    answer::trouble(context, work, down, None, trouble).await
}

/// Hands the finished record over.
pub(crate) fn finish(core: &Core, view: &View, record: &mut Record) {
    record.finish(std::time::Instant::now());
    core.metrics.exchange_done(record, &view.shared.names);
    core.access.borrow_mut().write(record, &view.shared.names);
}

/// Makes a tunnel of a connection and an exchange; the record goes with it.
pub(crate) fn into_tunnel(
    switched: Switched,
    work: &mut Work,
    unread: &mut Buffer,
    view: Rc<View>,
) -> Box<Tunnel> {
    let now = std::time::Instant::now();
    let record = std::mem::replace(&mut work.record, Record::new(now));
    Box::new(Tunnel::new(switched, unread.take(), record, view))
}

/// Serves a request in reverse: the configuration names the destination.
async fn reverse<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    trusted: bool,
) -> Ending {
    let Work { request, record, path, .. } = &mut *work;
    let rules = &context.view.shared.rules;
    let config = context.view.config();
    record.direction = Direction::Reverse;
    let target = &request.target;
    let (listener, method) = (context.listener_id, &request.method);
    let routed = rules.route(listener, method, target.host(), target.path(), &mut ());
    let (site_id, route_id) = match routed {
        Routed::Route { site, route } => (site, Some(route)),
        Routed::NoRoute { site } | Routed::MethodNotAllowed { site } => (site, None),
        Routed::NoSite => {
            down.begin_body(request, None);
            let trouble = Trouble::new(
                ErrorKind::MisdirectedRequest,
                "no site of this listener has the name that the request asks for",
            );
            return answer::trouble(context, work, down, None, trouble).await;
        }
    };
    record.scope = Scope::Site(site_id, route_id);
    let Some(site) = config.sites.get(site_id.0 as usize) else { return Ending::Closed };
    let route = route_id.and_then(|id| site.routes.get(id.0 as usize));
    let settings = route.map_or(&site.base, |route| &route.settings);
    record.decided = route.map_or(site.place, |route| route.place);
    down.be_patient(&settings.timeouts);
    down.begin_body(request, settings.limits.body_bytes);
    if let Err(trouble) = admissible(request, settings) {
        return answer::trouble(context, work, down, Some(settings), trouble).await;
    }
    let Some(route) = route else {
        let allowed = matches!(routed, Routed::MethodNotAllowed { .. }).then_some(site_id);
        return answer::no_route(context, work, down, settings, allowed).await;
    };
    match &route.action {
        Action::To(upstream) => {
            let Some(mut destination) = Destination::group(context, *upstream) else {
                return Ending::Closed;
            };
            let client = record.client.ip();
            let facts = Facts::of(client, &request.method, &request.target, Some(route));
            path.clear();
            rules::upstream_path(&settings.rewrite, &facts, path);
            let peer = std::mem::take(&mut work.address);
            let identity = Identity::reverse(settings, &peer, trusted);
            let plan = Plan { settings, identity, via: None, route: Some(route), remove: &[] };
            let ending = forward_to(context, work, down, &mut destination, &plan).await;
            work.address = peer;
            ending
        }
        Action::Redirect { .. } | Action::Respond { .. } => {
            answer::local(context, work, down, route).await
        }
        Action::Files(serving) => answer::file(context, work, down, route, serving).await,
    }
}

/// What holds for every request before anything is done with it.
fn admissible(request: &Request, settings: &RouteSettings) -> Result<(), Trouble> {
    if request.target.has_encoded_separators() && !settings.encoded_separators {
        return Err(Trouble::new(
            ErrorKind::HttpRequestError,
            "the path holds an encoded slash, backslash or NUL, which servers read differently",
        ));
    }
    let limit = settings.limits.body_bytes.unwrap_or(u64::MAX);
    if matches!(request.body, message::BodyLength::Exact(length) if length > limit) {
        return Err(Trouble::new(
            ErrorKind::RequestBodyTooLarge,
            "the request's body is larger than allowed",
        ));
    }
    Ok(())
}

/// How a request is forwarded.
pub(crate) struct Plan<'a> {
    pub(crate) settings: &'a RouteSettings,
    pub(crate) identity: Identity<'a>,
    /// Our name in the Via of the response.
    pub(crate) via: Option<&'a str>,
    /// The route, for field edits with captures.
    pub(crate) route: Option<&'a config::Route>,
    /// Names of request fields that are removed, before the edits.
    pub(crate) remove: &'a [Box<str>],
}

impl<'a> Plan<'a> {
    /// For an answer of our own.
    pub(crate) fn local(route: &'a config::Route) -> Self {
        let identity = Identity::nobody();
        Self { settings: &route.settings, identity, via: None, route: Some(route), remove: &[] }
    }
}

/// Forwards a request to one of the places that `destination` offers, and relays the response.
pub(crate) async fn forward_to<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    plan: &Plan<'_>,
) -> Ending {
    edits::request(work, plan);
    let total = total_alarm(context, &plan.settings.timeouts);
    let mut fresh = false;
    loop {
        let times = &plan.settings.timeouts;
        let taken = destination.connection(context, &mut work.record, down, times, fresh).await;
        let Taken { connection, timeouts } = match taken {
            Ok(taken) => taken,
            Err(NoConnection::ClientGone) => return gone(&mut work.record),
            Err(NoConnection::Trouble(trouble)) => {
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        };
        work.record.reused = connection.reused;
        let client = work.record.client.ip();
        let attempt = Attempt { context, plan, timeouts, total: total.as_ref(), client };
        destination.write_host(&work.request, plan.settings, &mut work.host);
        match attempt.run(connection, work, down, destination).await {
            Attempted::Ended(ending) => return ending,
            Attempted::SendAgain => {
                work.record.retries = work.record.retries.saturating_add(1);
                fresh = true;
            }
            Attempted::Failed(trouble) => {
                destination.complain(&trouble);
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        }
    }
}

fn total_alarm(context: &Context<'_>, timeouts: &Timeouts) -> Option<Alarm> {
    if timeouts.request.is_zero() {
        return None;
    }
    let alarm = context.core.wheel.alarm();
    alarm.set(timeouts.request);
    Some(alarm)
}

/// The client has left: nobody is there to be told.
pub(crate) fn gone(record: &mut Record) -> Ending {
    record.fail(ErrorKind::ClientGone, "the client closed its connection before the end");
    Ending::Broken
}

/// One try over one connection.
struct Attempt<'a> {
    context: &'a Context<'a>,
    plan: &'a Plan<'a>,
    timeouts: Times,
    total: Option<&'a Alarm>,
    client: IpAddr,
}

enum Attempted {
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

/// How far the request has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    Running,
    Complete,
    /// The upstream takes no more; a response may come all the same.
    Refused,
}

impl Attempt<'_> {
    async fn run<D: Downstream>(
        &self,
        connection: Connection,
        work: &mut Work,
        down: &mut D,
        destination: &Destination<'_>,
    ) -> Attempted {
        let core = self.context.core;
        let Work { request, response, record, path, host, .. } = work;
        let client_alarm = &self.context.client.alarm;
        let alarm = self.context.alarm;
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
        if let (true, true) = (unsent_body, request.expect_continue) {
            // RFC 9110, section 10.1.1: whoever takes the body asks for it. We do.
            response.clear();
            response.status = 100;
            let (_, reply) = down.split();
            if reply.interim(request, response).await.is_err() {
                return Attempted::Ended(gone(record));
            }
            request.expect_continue = false; // once, however often the request is sent
        }
        let sent = if unsent_body { Ok(()) } else { up_out.flush().await };
        // The clock is only read again if anything was waited for since it was.
        let at_once = connection.reused && record.queue == Some(Duration::ZERO);
        let sent_at = if at_once { record.started } else { std::time::Instant::now() };
        let raced = match sent {
            Ok(()) => {
                let upload = Cell::new(Upload::Running);
                self.race(down, request, response, &mut up_in, &mut up_out, unsent_body, &upload)
                    .await
            }
            Err(error) => {
                let trouble = writing_failed(&error);
                Raced::Download(Err(DownloadError::NoResponse { trouble, silent: true }))
            }
        };
        if up_in.raw > 0 {
            record.first_byte = up_in.first_read.map(|at| at.duration_since(sent_at));
        }
        let unsent = up_out.is_unsent();
        let whole = !unsent_body;
        let buffered = whole && !request.body.is_empty();
        if down.split().1.has_begun() {
            // Whatever happens from here on, this is what the client was told.
            record.status = response.status;
        }
        match raced {
            Raced::Download(Ok(Download::Switched)) => {
                record.status = 101;
                record.tunnel = true;
                let unread = Some(up_in.buffer.take());
                let idle = self.plan.settings.timeouts.tunnel_idle;
                drop((up_in, up_out));
                Attempted::Ended(Ending::Tunnel(Switched { connection, unread, idle }))
            }
            Raced::Download(Ok(Download::Complete)) => {
                if buffered {
                    down.skip_buffered_body();
                }
                record.status = response.status;
                let reusable = response.keep_alive && up_in.is_reusable();
                let (body, _) = down.split();
                let request_read = body.is_done();
                if reusable && (whole || request_read) {
                    if let Some(timeout) = keep_alive_timeout(response) {
                        destination.announced(timeout);
                    }
                    drop((up_in, up_out));
                    destination.put_back(core, connection);
                }
                Attempted::Ended(if request_read { Ending::Kept } else { Ending::Closed })
            }
            Raced::Download(Err(DownloadError::NoResponse { trouble, silent })) => {
                let body_is_here = whole || down.split().0.is_untouched();
                let replayable = body_is_here && (unsent || request.method.is_idempotent());
                if connection.reused && silent && replayable {
                    destination.closed_early();
                    return Attempted::SendAgain;
                }
                Attempted::Failed(trouble)
            }
            Raced::Download(Err(DownloadError::Incomplete(trouble))) => {
                record.status = response.status;
                record.fail(trouble.kind, &trouble.detail);
                destination.complain(&trouble);
                Attempted::Ended(Ending::Broken)
            }
            Raced::Download(Err(DownloadError::Client(error))) => {
                record.status = response.status;
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
        upload: &Cell<Upload>,
    ) -> Raced {
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
        loop {
            self.read_head(request, response, up_in, upload).await?;
            match response.status {
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
        edits::response(request, response, self.plan, self.client);
        let keep = !self.context.core.draining.get();
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
