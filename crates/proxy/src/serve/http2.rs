//! A client's HTTP/2 connection: accepting streams, watching it, and ending it.
//!
//! Each request runs in a small task of its own on a borrowed worker, all on the core that has the
//! connection, so that the responses of one turn leave in one write.
//! Not here: a stream (`stream`), and the exchange, which does not know what protocol the client
//! speaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::Listener;
use h2::Reason;
use h2::server::Connection;
use net::{Alarm, Buffer, Stream, Wheel};
use tokio::time::Instant;
use wire::http2::frame::code;
use wire::http2::{CARRIED_EXTRA, Guard, GuardLimits, Violation, ViolationKind};

use super::farewell::linger;
use super::stream::{StreamRequest, refused_record};
use super::worker::{self, Job};
use super::workspace::Next;
use crate::account::{Account, Charge, Resource};
use crate::body::unless_zero;
use crate::client::Client;
use crate::core::Core;
use crate::http2::{ClientBudget, GuardState, GuardedStream};
use crate::patience::DeliveryState;
use crate::trust;
use crate::tunnel;

/// What a client may send ahead on one stream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What it may send ahead in all: the larger value is for cores with few such connections.
const WINDOW_BYTES_MIN: u32 = 64 * 1024 - 1;
const WINDOW_BYTES_MAX: u32 = 1024 * 1024;
/// What all of them may have sent ahead, per core.
const WINDOW_BYTES_IN_ALL: u32 = 128 * 1024 * 1024;
/// What is buffered for a stream that the client does not read.
const SEND_BYTES_MAX: usize = 32 * 1024;
/// Streams that were reset before they were accepted: more than the guard admits at once.
const PENDING_RESETS_MAX: usize = 512;
/// Streams that we reset because of what came on them, over the life of a connection. The guard's
/// budget grows back, but it sees a reset only once that is written; this limits a client that
/// reads nothing.
const OWN_RESETS_MAX: usize = 1024;
/// The longest frame that we accept: the smallest limit that is allowed (RFC 9113, section 4.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// How long a closing connection may take to send what is left.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is read from a client after GOAWAY, so that it receives that.
const FAREWELL_BYTES_MAX: u64 = 256 * 1024;

/// A client's stream in the form that `h2` needs.
struct ClientStream(Rc<Client>);

impl Deref for ClientStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0.stream
    }
}

/// The running exchanges of a connection.
struct ActiveExchanges {
    count: Cell<u32>,
    /// How long the connection may be idle.
    idle: Cell<Duration>,
}

/// One of them.
struct ActiveExchange {
    active: Rc<ActiveExchanges>,
    client: Rc<Client>,
    /// Its charge on the client, if the client is counted.
    _stream: Option<Charge>,
}

impl ActiveExchange {
    fn new(active: &Rc<ActiveExchanges>, client: &Rc<Client>, stream: Option<Charge>) -> Self {
        active.count.set(active.count.get() + 1);
        client.alarm.clear();
        Self { active: Rc::clone(active), client: Rc::clone(client), _stream: stream }
    }
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        let left = self.active.count.get().saturating_sub(1);
        self.active.count.set(left);
        if left == 0 {
            self.client.alarm.set(self.active.idle.get());
        }
    }
}

/// What happens on a connection.
enum Event {
    Request(Box<StreamRequest>),
    /// The guard has found a violation.
    Violation(Violation),
    /// It has ended, well or not.
    Ended(Result<(), h2::Error>),
    /// The connection has been idle for too long.
    Idle,
}

/// Serves a connection to its end. `before`: what was read of it already.
pub(crate) async fn serve(core: &Rc<Core>, client: &Rc<Client>, before: Option<Buffer>) {
    let view = core.view();
    let Some(id) = client.listening.id.get() else { return };
    let Some(listener) = view.config().listener(id) else { return };
    let idle = unless_zero(listener.timeouts.client_idle);
    let limits = guard_limits(listener);
    let io = GuardedStream::new(
        ClientStream(Rc::clone(client)),
        before,
        Guard::server(&limits),
        &core.wheel,
    );
    let guard_state = io.guard_state();
    let trusted = trust::is_trusted(client.address.get().ip(), &listener.trusted_proxies);
    let account = (!trusted).then(|| client.account());
    let streams_max = u64::from(listener.limits.streams_per_client);
    let bytes = listener.limits.buffered_bytes_per_client;
    let budget = Rc::new(ClientBudget { account, bytes, guard_state: Rc::clone(&guard_state) });
    let _open = core.http2_opened();
    let head = unless_zero(listener.timeouts.head);
    client.alarm.set(head);
    let opened = open(core, client, listener, io, &guard_state).await;
    let Some(mut connection) = opened else { return };
    let limits = ConnectionLimits {
        streams: streams_max,
        requests: listener.limits.requests_per_connection,
        idle,
        head,
    };
    drop(view);
    match run_connection(core, client, &mut connection, &budget, limits).await {
        ConnectionEnd::GoAway(reason) => end(core, client, &guard_state, connection, reason).await,
        ConnectionEnd::Ended => farewell(client).await,
        ConnectionEnd::GivenUp => client.stream.reset_when_closed(),
    }
}

/// How a connection ends.
enum ConnectionEnd {
    /// GOAWAY with this reason is to be sent.
    GoAway(Reason),
    /// `h2` has ended it.
    Ended,
    /// The client does not read what was sent.
    GivenUp,
}

/// What a connection may have, and for how long.
struct ConnectionLimits {
    /// Streams at once on all connections of its client.
    streams: u64,
    /// Requests in all; 0: any number.
    requests: u32,
    /// How long it may be idle.
    idle: Duration,
    /// How long a frame or a field block may take.
    head: Duration,
}

/// Accepts streams, and watches the connection until it must end.
async fn run_connection(
    core: &Rc<Core>,
    client: &Rc<Client>,
    connection: &mut Connection<GuardedStream<ClientStream>, Bytes>,
    budget: &Rc<ClientBudget>,
    limits: ConnectionLimits,
) -> ConnectionEnd {
    let ConnectionLimits { streams, requests, idle, head } = limits;
    let guard_state = &budget.guard_state;
    client.alarm.set(idle);
    let active = Rc::new(ActiveExchanges { count: Cell::new(0), idle: Cell::new(idle) });
    let mut unfinished = FrameDeadline { since: None, allowed: head, alarm: core.wheel.alarm() };
    let mut closing = false;
    let mut delivery_wait = None;
    // Refused streams that are in the log already.
    let mut refusals = 0;
    loop {
        while refusals < guard_state.refused.get() {
            refusals += 1;
            let mut record =
                refused_record(core, client, "the connection has as many streams as it may");
            core.finish(&core.view(), &mut record);
        }
        let event = poll_fn(|cx| {
            let goes = core.is_draining() || client.listening.closed.get() || client.closing.get();
            if !closing && goes {
                closing = true;
                connection.graceful_shutdown();
                active.idle.set(Duration::ZERO);
                if active.count.get() == 0 {
                    client.alarm.set(FAREWELL);
                }
            }
            match poll_event(connection, client, budget, cx) {
                Poll::Pending => unfinished.poll_late(guard_state, &core.wheel, cx),
                event => event,
            }
        });
        match event.await {
            Event::Request(request) => {
                if start(core, client, &active, (budget, streams), request) {
                    client.count_request(requests);
                    delivery_wait = None;
                } else {
                    refusals += 1;
                }
            }
            Event::Violation(violation) => {
                log_violation(core, client, &violation);
                return ConnectionEnd::GoAway(Reason::from(violation.reason));
            }
            Event::Ended(result) => {
                log_end(core, client, result);
                return ConnectionEnd::Ended;
            }
            Event::Idle => {
                // A client is only idle if it has read all.
                let waited = delivery_wait.is_some();
                let mut rest = delivery_wait
                    .take()
                    .unwrap_or_else(|| Box::new(client.delivery_wait(core.wheel.now())));
                match rest.look(&client.stream, core.wheel.now()) {
                    DeliveryState::Pending(again) => {
                        client.alarm.set(again);
                        delivery_wait = Some(rest);
                    }
                    DeliveryState::Delivered if waited && !closing => client.alarm.set(idle),
                    DeliveryState::Delivered => {
                        return ConnectionEnd::GoAway(Reason::NO_ERROR);
                    }
                    DeliveryState::GivenUp => return ConnectionEnd::GivenUp,
                }
            }
        }
    }
}

fn guard_limits(listener: &Listener) -> GuardLimits {
    GuardLimits {
        streams: listener.limits.streams,
        frame_bytes: FRAME_BYTES_MAX,
        list_bytes: listener.limits.head_bytes,
        ..GuardLimits::default()
    }
}

/// Exchanges the prefaces; `None` if that has failed, and the connection is closed.
async fn open(
    core: &Core,
    client: &Client,
    listener: &Listener,
    io: GuardedStream<ClientStream>,
    guard_state: &GuardState,
) -> Option<Connection<GuardedStream<ClientStream>, Bytes>> {
    let violation = match exchange_prefaces(core, client, listener, io, guard_state).await {
        Ok(connection) => return Some(connection),
        Err(violation) => violation,
    };
    if let Some(violation) = violation {
        log_violation(core, client, &violation);
        // `h2` has no connection yet that could send this.
        let _ = client.stream.write(&go_away(violation.reason)).await;
    }
    farewell(client).await;
    None
}

/// Starts the task of a request; false if it was refused, as the client has `streams_max` already.
fn start(
    core: &Rc<Core>,
    client: &Rc<Client>,
    active: &Rc<ActiveExchanges>,
    (budget, streams_max): (&ClientBudget, u64),
    request: Box<StreamRequest>,
) -> bool {
    let charge = |account: &Rc<Account>| account.charge(Resource::Streams, 1, streams_max);
    let stream = budget.account.as_ref().map(charge);
    if matches!(stream, Some(None)) {
        request.refuse(core, "the client has as many streams as it may");
        return false;
    }
    let exchange = ActiveExchange::new(active, client, stream.flatten());
    tokio::task::spawn_local(run(Rc::clone(core), request, exchange));
    true
}

/// Logs why `h2` has ended a connection, if the client broke the rules.
fn log_end(core: &Core, client: &Client, result: Result<(), h2::Error>) {
    let Some(error) = result.err().filter(h2::Error::is_library) else { return };
    let kind = match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => ViolationKind::Other,
        _ => ViolationKind::Frame("a rule of HTTP/2 was broken"),
    };
    let reason = error.reason().map_or(1, u32::from);
    log_violation(core, client, &Violation { reason, kind });
}

/// The time-out for a frame or a field block that comes in pieces: nothing else can come before its
/// end, and it belongs to no request yet, so that no other time-out applies.
struct FrameDeadline {
    since: Option<Instant>,
    allowed: Duration,
    alarm: Alarm,
}

impl FrameDeadline {
    /// Ready once the time-out has passed.
    fn poll_late(
        &mut self,
        guard_state: &GuardState,
        wheel: &Wheel,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        let since = guard_state.unfinished.get();
        if self.since != since {
            self.since = since;
            let Some(since) = since else {
                self.alarm.clear();
                return Poll::Pending;
            };
            let past = wheel.now().saturating_duration_since(since);
            self.alarm.set(self.allowed.saturating_sub(past));
        }
        if since.is_none() {
            return Poll::Pending;
        }
        let late = Violation { reason: code::ENHANCE_YOUR_CALM, kind: ViolationKind::Unfinished };
        self.alarm.poll_fired(cx).map(|()| Event::Violation(late))
    }
}

fn poll_event(
    connection: &mut Connection<GuardedStream<ClientStream>, Bytes>,
    client: &Rc<Client>,
    budget: &Rc<ClientBudget>,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    let guard_state = &budget.guard_state;
    let accepted = connection.poll_accept(cx);
    if let Some(violation) = guard_state.violation.get() {
        return Poll::Ready(Event::Violation(violation));
    }
    match accepted {
        Poll::Ready(Some(Ok((request, respond)))) => Poll::Ready(Event::Request(Box::new(
            StreamRequest::new(client, budget, request, respond),
        ))),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Event::Ended(Err(error))),
        Poll::Ready(None) => Poll::Ready(Event::Ended(Ok(()))),
        Poll::Pending => client.alarm.poll_fired(cx).map(|()| Event::Idle),
    }
}

/// Exchanges the prefaces of both sides. `Err`: there is no connection, and the violation, if that
/// is why.
async fn exchange_prefaces(
    core: &Core,
    client: &Client,
    listener: &Listener,
    io: GuardedStream<ClientStream>,
    guard_state: &GuardState,
) -> Result<Connection<GuardedStream<ClientStream>, Bytes>, Option<Violation>> {
    let budget = WINDOW_BYTES_IN_ALL / core.http2_open.get().max(1);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES.min(budget.max(WINDOW_BYTES_MIN)))
        .initial_connection_window_size(budget.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX))
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(listener.limits.streams)
        // This limit counts 32 bytes more for each field (RFC 9113, section 6.5.2).
        .max_header_list_size(listener.limits.head_bytes.saturating_add(CARRIED_EXTRA))
        .max_concurrent_reset_streams(64)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(OWN_RESETS_MAX))
        .max_send_buffer_size(SEND_BYTES_MAX)
        .reset_stream_duration(Duration::from_secs(1))
        .enable_connect_protocol();
    let mut greeting = pin!(builder.handshake(io));
    poll_fn(|cx| {
        let greeted = greeting.as_mut().poll(cx);
        if let Some(violation) = guard_state.violation.get() {
            return Poll::Ready(Err(Some(violation)));
        }
        match greeted {
            Poll::Ready(Ok(connection)) => Poll::Ready(Ok(connection)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(None)),
            Poll::Pending => client.alarm.poll_fired(cx).map(|()| Err(None)),
        }
    })
    .await
}

fn log_violation(core: &Core, client: &Client, violation: &Violation) {
    core.metrics.http2_violation(violation.kind);
    let (address, kind) = (client.address.get(), violation.kind.name());
    observe::log_limited!(WARN, client = %address, kind, "HTTP/2 connection ended: {violation}");
}

/// GOAWAY without any stream (RFC 9113, section 6.8).
fn go_away(reason: u32) -> [u8; 17] {
    let [r0, r1, r2, r3] = reason.to_be_bytes();
    [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, r0, r1, r2, r3]
}

/// Sends GOAWAY, and closes.
async fn end(
    core: &Core,
    client: &Client,
    guard_state: &GuardState,
    mut connection: Connection<GuardedStream<ClientStream>, Bytes>,
    reason: Reason,
) {
    let in_peace = reason == Reason::NO_ERROR;
    if in_peace {
        connection.graceful_shutdown();
    } else {
        connection.abrupt_shutdown(reason);
    }
    // The rest of the responses is sent as long as the client reads it.
    let mut sent = guard_state.sent.get();
    let mut delivery_wait = client.delivery_wait(core.wheel.now());
    client.alarm.set(FAREWELL);
    poll_fn(|cx| {
        if connection.poll_closed(cx).is_ready() {
            return Poll::Ready(());
        }
        while client.alarm.poll_fired(cx).is_ready() {
            let before = std::mem::replace(&mut sent, guard_state.sent.get());
            if before != sent {
                client.alarm.set(FAREWELL);
                continue;
            }
            match delivery_wait.look(&client.stream, core.wheel.now()) {
                DeliveryState::Pending(again) if in_peace => client.alarm.set(again),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    })
    .await;
    drop(connection);
    if in_peace { linger(core, client).await } else { farewell(client).await }
}

/// Reads on for a while, so that a reset does not destroy the last frames (RFC 9112, section 9.6,
/// explains it for HTTP/1).
async fn farewell(client: &Client) {
    if client.stream.shutdown_write().is_err() {
        return;
    }
    client.alarm.set(FAREWELL);
    let (mut piece, mut read) = ([0; 4096], 0);
    while read < FAREWELL_BYTES_MAX {
        let count = poll_fn(|cx| match client.stream.poll_read(cx, &mut piece) {
            Poll::Ready(count) => Poll::Ready(count.unwrap_or(0)),
            Poll::Pending => client.alarm.poll_fired(cx).map(|()| 0),
        });
        match count.await {
            0 => return,
            count => read += count as u64,
        }
    }
}

/// The task of a request.
async fn run(core: Rc<Core>, request: Box<StreamRequest>, exchange: ActiveExchange) {
    let mut worker = worker::borrow(&core);
    let next = worker.serve(Job::Stream(request)).await;
    worker::give_back(worker);
    if let Next::Tunnel(tunnel) = next {
        Box::pin(tunnel::run(&core, &exchange.client, tunnel)).await;
    }
    drop(exchange);
}
