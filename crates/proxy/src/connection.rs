//! A client's HTTP/1 connection, from its first byte to its last.
//!
//! [`run`] is the small task that an idle connection costs. [`serve`] runs on a borrowed worker:
//! it reads heads and has each exchange carried out, until nothing more has arrived.
//! Not here: what happens within an exchange (`exchange`).

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use config::{ListenerId, ProxyProtocol, Timeouts};
use message::{Request, Response, Scheme, Version};
use net::{Alarm, Buffer, Size, Stream};
use observe::{ErrorKind, Refusal};
use wire::http1::{HeadLimits, RequestError};

use crate::body::{Bulk, Flow, Patience, PumpError, Sink, Source, WriteError, unless_zero};
use crate::core::{Client, Core};
use crate::deadline;
use crate::exchange::{self, Downstream, Ending, Reply};
use crate::http1::{ClientHead, Framing, HeadEnd, Incoming, Outgoing};
use crate::http2::{self, RefusedRequest};
use crate::patience::{Manners, Rest};
use crate::snapshot::View;
use crate::tunnel::{self, Tunnel};
use crate::worker::{Bench, Job, Work};

/// How long a closing connection is read, so that the last answer is not lost by a reset
/// (RFC 9112, section 9.6): without a byte, and in all. Many clients look for an answer only once
/// they have sent everything, however early it was given.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);
/// Requests that one connection may send ahead without a pause before others get their turn.
const PIPELINED_MAX: u32 = 32;

/// What becomes of a connection after what has arrived was served.
pub(crate) enum Next {
    /// It waits for the next request.
    Idle,
    /// The same: nothing has come that could be read, such as a part of a TLS record.
    Unready,
    /// It is closed; with `linger` after reading on for a while.
    Close { linger: bool },
    /// It is broken off, so that the client sees an incomplete message.
    Abort,
    /// It has become a tunnel.
    Tunnel(Box<Tunnel>),
    /// It speaks HTTP/2; this has been read of it. (In a box, so that idle connections stay small.)
    Http2(Box<Buffer>),
}

/// Serves a connection until it ends.
pub(crate) async fn run(core: Rc<Core>, client: Rc<Client>) {
    let mut idle_since = None;
    loop {
        match wait_for_bytes(&core, &client, &mut idle_since).await {
            Waited::Readable => {}
            Waited::Leaving => return,
            Waited::Idle => match Box::pin(take_rest(&core, &client)).await {
                Taken::Readable => {}
                Taken::All(true) => idle_since = None, // it has only just become idle
                Taken::All(false) => return,
                Taken::GivenUp => return client.stream.reset_when_closed(),
            },
        }
        let mut worker = core.worker();
        let unfinished = Unfinished(&client.stream);
        let next = worker.serve(Job::Connection(Rc::clone(&client))).await;
        unfinished.has_finished();
        core.give_back(worker);
        match next {
            Next::Unready => continue,
            Next::Idle => {}
            Next::Close { linger: false } => return,
            Next::Close { linger: true } => return Box::pin(linger(&core, &client)).await,
            Next::Abort => return client.stream.reset_when_closed(),
            Next::Tunnel(tunnel) => return Box::pin(tunnel::run(&core, &client, tunnel)).await,
            Next::Http2(before) => {
                return Box::pin(http2::serve(&core, &client, Some(*before))).await;
            }
        }
        idle_since = None;
    }
}

/// Breaks a connection off whose exchange is dropped half-way, by a panic or the end of the process:
/// closed in the ordinary way, a response that ends with the connection would look complete.
struct Unfinished<'a>(&'a Stream);

impl Unfinished<'_> {
    fn has_finished(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.reset_when_closed();
    }
}

/// How the wait for a request ended.
enum Waited {
    /// There is something to read.
    Readable,
    /// The process or the listener is going.
    Leaving,
    /// The client has been idle for too long, as it seems.
    Idle,
}

/// Waits for something to read. `idle_since`: when the client became idle, if that was before.
async fn wait_for_bytes(
    core: &Core,
    client: &Client,
    idle_since: &mut Option<tokio::time::Instant>,
) -> Waited {
    let mut waiting = false;
    let waited = poll_fn(|cx| {
        if client.stream.poll_readable(cx).is_ready() {
            return Poll::Ready(Waited::Readable); // an error too: reading will tell
        }
        if core.draining.get() || client.listening.closed.get() {
            return Poll::Ready(Waited::Leaving);
        }
        if !waiting {
            waiting = true;
            let now = core.wheel.now();
            let passed = now.saturating_duration_since(*idle_since.get_or_insert(now));
            client.alarm.set(unless_zero(idle_time(core, client)).saturating_sub(passed));
        }
        client.alarm.poll_fired(cx).map(|()| Waited::Idle)
    });
    let waited = waited.await;
    client.alarm.clear();
    waited
}

/// What became of a connection whose last answer may not have been taken whole.
enum Taken {
    /// All was taken; whether that took time.
    All(bool),
    /// There is something to read.
    Readable,
    /// The client takes no more, or too little of it.
    GivenUp,
}

/// Waits until a client has taken what was written for it.
async fn take_rest(core: &Core, client: &Client) -> Taken {
    let mut leftover = client.leftover(core.wheel.now());
    let mut waited = false;
    let taken = poll_fn(|cx| {
        if waited && client.stream.poll_readable(cx).is_ready() {
            return Poll::Ready(Taken::Readable);
        }
        while !waited || client.alarm.poll_fired(cx).is_ready() {
            match leftover.look(&client.stream, core.wheel.now()) {
                Rest::Taken => return Poll::Ready(Taken::All(waited)),
                Rest::GivenUp => return Poll::Ready(Taken::GivenUp),
                Rest::Waits(again) => client.alarm.set(again),
            }
            waited = true;
        }
        Poll::Pending
    });
    let taken = taken.await;
    client.alarm.clear();
    taken
}

fn idle_time(core: &Core, client: &Client) -> Duration {
    let listener = client.listening.id.get();
    core.with_view(|view| {
        let listener = listener.and_then(|id| view.config().listeners.get(id.0 as usize));
        listener.map_or(Duration::from_secs(60), |listener| listener.timeouts.client_idle)
    })
}

/// Tells a client for whom there is no room why it is closed, as far as that goes without waiting.
pub(crate) async fn turn_away(stream: Stream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
        Content-Length: 34\r\nRetry-After: 1\r\nConnection: close\r\n\
        Proxy-Status: bothways; error=http_request_denied\r\n\r\nthe proxy has too many connections";
    say(&stream, ANSWER).await;
}

/// Sends a last word to a client, as far as that goes without waiting.
pub(crate) async fn say_and_close(client: Client, answer: &[u8]) {
    say(&client.stream, answer).await;
}

async fn say(stream: &Stream, answer: &[u8]) {
    let written = stream.write(answer).await;
    if written.is_ok() && stream.shutdown_write().is_ok() {
        let _ = tokio::time::timeout(LINGER, stream.read(&mut [0; 1024])).await;
    }
}

/// Shuts the sending direction and reads on, so that what was sent arrives.
pub(crate) async fn linger(core: &Core, client: &Client) {
    if client.stream.shutdown_write().is_err() {
        return;
    }
    let mut buffer = core.buffers.buffer(Size::Large);
    let begun = core.wheel.now();
    let mut leftover = client.leftover(core.wheel.now());
    let mut patience = LINGER;
    loop {
        client.alarm.set(patience);
        let more = poll_fn(|cx| match buffer.poll_fill(cx, &client.stream) {
            Poll::Ready(filled) => Poll::Ready(Some(filled.unwrap_or(0))),
            Poll::Pending => client.alarm.poll_fired(cx).map(|()| None),
        });
        let more = more.await;
        buffer.clear();
        let lasts = core.wheel.now().saturating_duration_since(begun);
        match more {
            Some(0) => return,
            Some(_) if lasts < LINGER_IN_ALL => continue,
            Some(_) | None => {}
        }
        // Closed with something unread, it would be reset, and what is still under way be lost.
        match leftover.look(&client.stream, core.wheel.now()) {
            Rest::Taken => return,
            Rest::Waits(again) => patience = again,
            Rest::GivenUp => return client.stream.reset_when_closed(),
        }
    }
}

/// A client that speaks HTTP/1.
struct Http1<'a> {
    client: &'a Client,
    flow: &'a Flow,
    body: Incoming<'a>,
    reply: Http1Reply<'a>,
}

struct Http1Reply<'a> {
    out: Outgoing<'a>,
    begun: bool,
    keep_alive: bool,
}

impl<'a> Downstream for Http1<'a> {
    type Body = Incoming<'a>;
    type Reply = Http1Reply<'a>;

    fn split(&mut self) -> (&mut Incoming<'a>, &mut Http1Reply<'a>) {
        (&mut self.body, &mut self.reply)
    }

    fn begin_body(&mut self, request: &Request, limit: Option<u64>) {
        self.body.begin_body(request.body, limit);
    }

    fn be_patient(&mut self, request: &Request, timeouts: &Timeouts) {
        self.client.manners.set(Manners::of(timeouts));
        let rated = !deadline::is_grpc(request);
        self.body.patience = Patience::for_sender(timeouts, rated, self.flow);
        self.reply.out.patience = Patience::for_taker(timeouts, self.flow);
    }

    fn buffered_body(&self) -> Option<&[u8]> {
        self.body.buffered_body()
    }

    fn skip_buffered_body(&mut self) {
        self.body.skip_buffered_body();
    }
}

impl Reply for Http1Reply<'_> {
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError> {
        if request.version == Version::Http10 {
            return Ok(()); // RFC 9110, section 15.2: no 1xx to a client of HTTP/1.0
        }
        head_of(request, response, true, None).write_interim(self.out.out());
        self.out.flush().await
    }

    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>) {
        let keep_alive = keep && request.keep_alive;
        let head = head_of(request, response, keep_alive, via);
        (self.out.framing, self.keep_alive) = head.write(self.out.out());
        self.begun = true;
    }

    fn switch(&mut self, request: &Request, response: &Response) {
        head_of(request, response, true, None).write_switch(self.out.out());
        self.out.framing = Framing::Plain;
        self.begun = true;
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn sent(&self) -> (u64, u64) {
        (self.out.sent, self.out.raw)
    }
}

fn head_of<'a>(
    request: &'a Request,
    response: &'a Response,
    keep_alive: bool,
    via: Option<&'a str>,
) -> ClientHead<'a> {
    ClientHead {
        response,
        method: &request.method,
        version: request.version,
        keep_alive,
        trailers: request.takes_trailers,
        via,
    }
}

impl Sink for Http1Reply<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.data(bytes).await
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.out.flush().await
    }

    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError> {
        self.out.bulk(bulk).await
    }

    async fn finish(&mut self, trailers: &message::Fields) -> Result<(), WriteError> {
        self.out.finish(trailers).await
    }
}

/// Serves what has arrived, until nothing more has.
pub(crate) async fn serve(core: &Rc<Core>, client: &Rc<Client>, bench: &mut Bench) -> Next {
    let Bench { work, alarm, .. } = bench;
    let view = core.view();
    let Some(listener_id) = client.listening.id.get() else { return Next::Close { linger: false } };
    let Some(listener) = view.config().listeners.get(listener_id.0 as usize) else {
        return Next::Close { linger: false };
    };
    let flow = &Flow::new(&core.wheel);
    let buffer = core.buffers.buffer(Size::Small);
    let written = Cell::new(0);
    let patience = Patience::for_sender(&listener.timeouts, true, flow);
    let incoming =
        Incoming::new(&client.stream, buffer, &core.wheel, alarm, patience).watching(&written);
    let patience = Patience::for_taker(&listener.timeouts, flow);
    let out = Outgoing::new(&client.stream, &core.scratch, &core.wheel, &client.alarm, patience)
        .counting(&written);
    let reply = Http1Reply { out, begun: false, keep_alive: false };
    let mut down = Http1 { client, flow, body: incoming, reply };

    // A new connection is taken for readable before anything has come over it, and so may others
    // be: without a byte they are as idle as before, and need no worker.
    alarm.clear();
    match poll_fn(|cx| Poll::Ready(down.body.poll_more(cx))).await {
        Poll::Ready(HeadEnd::More) => {}
        Poll::Ready(_) => return Next::Close { linger: false },
        Poll::Pending => return Next::Unready,
    }
    if listener.proxy_protocol == ProxyProtocol::Required && !client.introduced.get() {
        alarm.set(unless_zero(listener.timeouts.head));
        if let Err(refusal) = introduce(core, client, &mut down.body).await {
            refused(core, client, refusal);
            return Next::Close { linger: false };
        }
        if down.body.is_drained() {
            return Next::Idle;
        }
    }
    serve_requests(core, client, view, listener_id, work, alarm, &mut down).await
}

async fn serve_requests(
    core: &Rc<Core>,
    client: &Rc<Client>,
    mut view: Rc<View>,
    mut listener_id: ListenerId,
    work: &mut Work,
    alarm: &Alarm,
    down: &mut Http1<'_>,
) -> Next {
    for served in 1u32.. {
        let Some(listener) = view.config().listeners.get(listener_id.0 as usize) else { break };
        if served % PIPELINED_MAX == 0 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        work.record.clear(started);
        down.flow.begin();
        down.reply.begun = false;
        down.reply.out.sent = 0;
        down.reply.out.raw = 0;
        let before = down.body.taken();
        down.body.set_alarm(unless_zero(listener.timeouts.head));
        let limits = HeadLimits {
            bytes: listener.limits.head_bytes as usize,
            fields: usize::from(listener.limits.head_fields),
            target: listener.limits.target_bytes as usize,
        };
        let reads = down.body.reads;
        let head = read_head(&mut down.body, client.scheme(), &limits, &mut work.request).await;
        let at_once = down.body.reads - reads <= 1;
        let waited = if at_once { Duration::ZERO } else { started.elapsed() };
        work.record.queue = Some(waited);
        let ending = match head {
            Head::Complete => {
                client.spoken.set(true);
                let context = exchange::Context {
                    core,
                    client,
                    view: &view,
                    listener_id,
                    alarm,
                    reply_alarm: &client.alarm,
                    flow: down.flow,
                };
                exchange::run(&context, work, down).await
            }
            Head::Gone => return Next::Close { linger: false },
            Head::Refused(_, RefusedHead::Malformed(RequestError::Http2Preface))
                if listener.http2 && !client.spoken.get() && client.tls.is_none() =>
            {
                return Next::Http2(Box::new(down.body.buffer.take()));
            }
            Head::Refused(kind, error) => {
                exchange::note_request_line(&mut work.record, down.body.buffer.filled());
                let context = exchange::Context {
                    core,
                    client,
                    view: &view,
                    listener_id,
                    alarm,
                    reply_alarm: &client.alarm,
                    flow: down.flow,
                };
                exchange::refuse_head(&context, work, down, kind, error).await
            }
        };
        let record = &mut work.record;
        record.received_bytes = down.body.taken() - before;
        if let Ending::Tunnel(tunnel) = ending {
            let unread = down.body.buffer.take();
            return Next::Tunnel(exchange::into_tunnel(tunnel, work, None, Some(unread), view));
        }
        (record.response_body_bytes, record.sent_bytes) = down.reply.sent();
        exchange::finish(core, &view, record);
        match ending {
            Ending::Kept if down.reply.keep_alive && !core.draining.get() => {}
            Ending::Kept | Ending::Closed => {
                let unread = !down.body.is_done() || !down.body.is_drained();
                return Next::Close { linger: unread };
            }
            Ending::Broken | Ending::Tunnel(_) => return Next::Abort,
        }
        if down.body.is_drained() {
            return Next::Idle;
        }
        view = core.view();
        let Some(id) = client.listening.id.get() else { break };
        listener_id = id;
    }
    Next::Close { linger: true } // the listener has gone
}

enum Head {
    Complete,
    /// The client left before a request began, or in the middle of its head.
    Gone,
    Refused(ErrorKind, RefusedHead),
}

/// Why a head was refused.
pub(crate) enum RefusedHead {
    Malformed(RequestError),
    Http2(RefusedRequest),
    TooLate,
    TooLarge,
}

impl RefusedHead {
    /// The status it is answered with, if that is not what the kind of error says.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Malformed(error) => Some(error.status()),
            Self::Http2(error) => Some(error.status()),
            Self::TooLate | Self::TooLarge => None,
        }
    }
}

/// The kind of error of a head that is answered with this status.
pub(crate) fn kind_of(status: u16) -> ErrorKind {
    match status {
        414 => ErrorKind::RequestTargetTooLong,
        431 => ErrorKind::RequestHeadTooLarge,
        501 | 505 | 417 => ErrorKind::NotImplemented,
        _ => ErrorKind::HttpRequestError,
    }
}

impl std::fmt::Display for RefusedHead {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(out),
            Self::Http2(error) => error.fmt(out),
            Self::TooLate => out.write_str("the request did not arrive in time"),
            Self::TooLarge => out.write_str("the request's head is larger than allowed"),
        }
    }
}

async fn read_head(
    body: &mut Incoming<'_>,
    scheme: Scheme,
    limits: &HeadLimits,
    request: &mut Request,
) -> Head {
    loop {
        if !body.is_drained() {
            request.clear();
            match wire::http1::parse_request(body.buffer.filled(), limits, scheme, request) {
                Ok(Some(length)) => {
                    body.buffer.consume(length);
                    return Head::Complete;
                }
                Ok(None) => {}
                Err(error) => {
                    let kind = kind_of(error.status());
                    return Head::Refused(kind, RefusedHead::Malformed(error));
                }
            }
        }
        match poll_fn(|cx: &mut Context<'_>| body.poll_more(cx)).await {
            HeadEnd::More => {}
            HeadEnd::Closed | HeadEnd::Broken(_) => return Head::Gone,
            HeadEnd::Expired if body.is_drained() => return Head::Gone,
            HeadEnd::Expired => {
                return Head::Refused(ErrorKind::ClientTimeout, RefusedHead::TooLate);
            }
            HeadEnd::Full => {
                return Head::Refused(ErrorKind::RequestHeadTooLarge, RefusedHead::TooLarge);
            }
        }
    }
}

/// Reads the PROXY protocol header that must come first.
async fn introduce(core: &Core, client: &Client, body: &mut Incoming<'_>) -> Result<(), Refusal> {
    loop {
        match wire::proxy_protocol::parse(body.buffer.filled()) {
            Ok(Some((length, header))) => {
                body.buffer.consume(length);
                return client.introduce(core, &header);
            }
            Ok(None) => {}
            Err(_) => return Err(Refusal::ProxyProtocol),
        }
        match poll_fn(|cx: &mut Context<'_>| body.poll_more(cx)).await {
            HeadEnd::More => {}
            _ => return Err(Refusal::ProxyProtocol),
        }
    }
}

/// Counts and reports a connection that is closed before anything was served.
pub(crate) fn refused(core: &Core, client: &Client, refusal: Refusal) {
    core.metrics.connection_refused(client.listening.slot, refusal);
    let (address, why) = (client.address.get(), refusal.name());
    observe::log_limited!(WARN, client = %address, why, "connection refused");
}
