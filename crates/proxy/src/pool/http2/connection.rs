//! One connection to an endpoint, and the task that runs it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use net::{Alarm, Delivery, Stream, Wheel};
use observe::ErrorKind;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::http2::{CARRIED_EXTRA, Guard, GuardLimits};

use super::super::connection::{Connection, Expiry, Meter};
use crate::http2::{GuardState, GuardedStream, UnderlyingConnection, UnderlyingStream};

/// The most concurrent streams on one connection, even if its endpoint allows more; beyond, another
/// connection is opened.
pub(super) const STREAMS_MAX: usize = 64;
/// What an endpoint may send ahead on a stream whose client is slower.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams together: enough that a stalled stream does not block the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// The largest field list that is accepted, as for HTTP/1.
const FIELDS_BYTES_MAX: u32 = 64 * 1024;
/// How much of a request's body is buffered before the endpoint's window admits it.
const SENDING_BYTES_MAX: usize = 64 * 1024;
/// Streams that we have reset and whose late frames are ignored.
const RESET_MAX: usize = 256;
/// How long an endpoint may be silent while streams are open before it is sent a PING, how long it
/// may take to answer, and the pause before the next PING: many servers take more frequent ones for
/// an attack. If it does not answer, the connection gets no new streams; open ones keep the
/// time-outs of their requests.
const SILENCE: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);
const ASKED_AGAIN: Duration = Duration::from_secs(300);

/// An open HTTP/2 connection with many concurrent exchanges.
pub(crate) struct Http2Connection {
    address: Option<SocketAddr>,
    /// For an endpoint with a name: the version of its addresses that contained this one.
    names_version: Cell<u64>,
    /// When no new stream may start.
    expiry: Expiry,
    /// `None` once no new stream may start.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    /// Whether the endpoint has sent its SETTINGS.
    settled: Cell<bool>,
    in_flight: Cell<usize>,
    /// How many streams there may be, and how many the endpoint allows.
    limit: Cell<usize>,
    allowed: Cell<usize>,
    /// Whether it has carried a response before.
    served: Cell<bool>,
    idle_since: Cell<Instant>,
    /// Whether it closes as soon as it has no stream.
    leaves_when_idle: Cell<bool>,
    /// Whether it is counted as idle.
    counted_idle: Cell<bool>,
    wheel: Wheel,
    /// Wakes exchanges that wait for a stream when one has ended.
    changed: Rc<Notify>,
    /// Why we have aborted it, if we have.
    fault: Cell<Option<(ErrorKind, &'static str)>>,
    /// Notifies that the SETTINGS have come, or never will.
    settles: Notify,
    meter: Option<Meter>,
    stream: Weak<Stream>,
    guard_state: Rc<GuardState>,
}

impl Http2Connection {
    /// The delivery of all bytes that were written to it.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        self.underlying().delivery()
    }

    /// The connection below its streams.
    pub(crate) fn underlying(&self) -> UnderlyingConnection<'_> {
        UnderlyingConnection {
            below: UnderlyingStream::Endpoint(&self.stream),
            guard_state: &self.guard_state,
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The version of the endpoint's addresses that contained this one.
    pub(crate) fn names_version(&self) -> &Cell<u64> {
        &self.names_version
    }

    /// Whether the endpoint has sent its SETTINGS.
    pub(super) fn has_settled(&self) -> bool {
        self.settled.get()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.is_leaving() && self.in_flight.get() < self.limit.get()
    }

    /// Allows no more streams: the connection ends with its last one.
    pub(crate) fn leave(&self) {
        self.requests.borrow_mut().take();
        self.count_idle(false);
    }

    /// The endpoint does not answer: allows no more streams, so that waiting exchanges open another
    /// connection.
    fn doubt(&self) {
        self.leave();
        self.changed.notify_waiters();
    }

    /// Allows no more streams as soon as it has none.
    pub(super) fn leave_when_idle(&self) {
        self.leaves_when_idle.set(true);
    }

    fn count_idle(&self, idle: bool) {
        if self.counted_idle.replace(idle) != idle
            && let Some(meter) = &self.meter
        {
            meter.count_idle(idle);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.requests.borrow().is_none()
    }

    pub(super) fn has_idled(&self, now: Instant, allowed: Duration) -> bool {
        self.in_flight.get() == 0 && now.saturating_duration_since(self.idle_since.get()) > allowed
    }

    /// Whether it has expired.
    pub(super) fn is_over(&self) -> bool {
        self.expiry.is_over(self.wheel.now())
    }

    /// Opens streams.
    pub(crate) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.requests.borrow().clone()
    }

    /// Whether the endpoint accepts extended CONNECT (RFC 8441).
    pub(crate) fn takes_extended_connect(&self) -> bool {
        let requests = self.requests.borrow();
        requests.as_ref().is_some_and(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// Why we have aborted it, if we have.
    pub(crate) fn fault(&self) -> Option<(ErrorKind, &'static str)> {
        self.fault.get()
    }

    /// Notes that a response has come over it.
    pub(crate) fn served(&self) {
        self.served.set(true);
    }

    /// Notes that it has refused a stream: the streams that it has are all that it accepts.
    pub(crate) fn refused(&self) {
        let others = self.in_flight.get().saturating_sub(1).max(1);
        self.limit.set(self.limit.get().min(others));
    }

    /// Checks what the endpoint has announced; true if that matters to waiting exchanges.
    fn look(&self, cx: &mut Context<'_>) -> bool {
        let allowed = {
            let mut requests = self.requests.borrow_mut();
            let Some(requests) = requests.as_mut() else { return false };
            // After GOAWAY, and once the connection has failed, this returns the error.
            let open = !matches!(requests.poll_ready(cx), Poll::Ready(Err(_)));
            open.then(|| requests.current_max_send_streams())
        };
        let Some(allowed) = allowed else {
            self.leave();
            return true;
        };
        if !self.settled.get() {
            if allowed == UNSETTLED {
                return false;
            }
            self.settled.set(true);
        }
        if self.allowed.replace(allowed) == allowed {
            return false;
        }
        self.limit.set(allowed.min(STREAMS_MAX));
        true
    }
}

/// A number of streams that no endpoint allows: its SETTINGS have not come yet.
const UNSETTLED: usize = usize::MAX - 1;

/// The permit for one stream of a connection.
pub(crate) struct StreamPermit {
    connection: Rc<Http2Connection>,
    /// Whether the connection had served before.
    pub(crate) reused: bool,
}

impl StreamPermit {
    pub(super) fn new(connection: &Rc<Http2Connection>) -> Self {
        let before = connection.in_flight.get();
        connection.in_flight.set(before + 1);
        connection.count_idle(false);
        if let Some(meter) = &connection.meter {
            meter.stream(true);
        }
        Self { connection: Rc::clone(connection), reused: connection.served.get() }
    }

    /// The connection of the stream.
    pub(crate) fn connection(&self) -> &Rc<Http2Connection> {
        &self.connection
    }

    /// Whether the endpoint accepts extended CONNECT; waits for its SETTINGS.
    pub(crate) async fn takes_extended_connect(&self) -> bool {
        while !self.connection.has_settled() && !self.connection.is_leaving() {
            self.connection.settles.notified().await;
        }
        self.connection.takes_extended_connect()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let connection = &self.connection;
        let left = connection.in_flight.get().saturating_sub(1);
        connection.in_flight.set(left);
        connection.idle_since.set(connection.wheel.now());
        if left == 0 && connection.leaves_when_idle.get() {
            connection.leave();
        }
        connection.count_idle(left == 0 && !connection.is_leaving());
        if let Some(meter) = &connection.meter {
            meter.stream(false);
        }
        connection.changed.notify_one();
    }
}

/// Begins HTTP/2 over a fresh connection. `limit`: how long the endpoint may take to answer the
/// preface.
pub(super) async fn open(
    connection: Connection,
    wheel: &Wheel,
    changed: &Rc<Notify>,
    limit: Duration,
) -> Result<Rc<Http2Connection>, h2::Error> {
    let Connection { stream, address, expiry, names_version, meter, .. } = connection;
    let limits = GuardLimits {
        streams: STREAMS_MAX as u32,
        list_bytes: FIELDS_BYTES_MAX,
        ..GuardLimits::default()
    };
    let stream = Rc::new(stream);
    let below = Rc::downgrade(&stream);
    let guarded = GuardedStream::new(stream, None, Guard::client(&limits), wheel);
    let guard_state = guarded.guard_state();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNSETTLED)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(FIELDS_BYTES_MAX + CARRIED_EXTRA)
        .max_send_buffer_size(SENDING_BYTES_MAX)
        .max_concurrent_reset_streams(RESET_MAX)
        // Late frames of streams that were reset long ago are no reason to abort the others.
        .max_local_error_reset_streams(None);
    let (requests, mut running) = builder.handshake(guarded).await?;
    let pings = running.ping_pong();
    let opened = Rc::new(Http2Connection {
        address,
        names_version: Cell::new(names_version),
        expiry,
        requests: RefCell::new(Some(requests)),
        settled: Cell::new(false),
        in_flight: Cell::new(0),
        limit: Cell::new(1),
        allowed: Cell::new(UNSETTLED),
        served: Cell::new(false),
        idle_since: Cell::new(wheel.now()),
        leaves_when_idle: Cell::new(false),
        counted_idle: Cell::new(false),
        wheel: wheel.clone(),
        changed: Rc::clone(changed),
        fault: Cell::new(None),
        settles: Notify::new(),
        meter,
        stream: below,
        guard_state: Rc::clone(&guard_state),
    });
    let liveness = Liveness {
        alarm: wheel.alarm(),
        wheel: wheel.clone(),
        pings,
        guard_state,
        received_before: 0,
        heard: wheel.now(),
        asked: None,
        limit,
    };
    tokio::task::spawn_local(run(running, Rc::clone(&opened), liveness));
    Ok(opened)
}

/// Runs a connection to its end.
async fn run(
    mut running: h2::client::Connection<GuardedStream<Rc<Stream>>, Bytes>,
    connection: Rc<Http2Connection>,
    mut liveness: Liveness,
) {
    liveness.alarm.set(liveness.limit);
    poll_fn(|cx| {
        let ended = Pin::new(&mut running).poll(cx);
        if connection.look(cx) {
            connection.changed.notify_waiters();
            connection.settles.notify_waiters();
        }
        if ended.is_ready() {
            return Poll::Ready(());
        }
        liveness.poll_gone(&connection, cx).map(|fault| connection.fault.set(Some(fault)))
    })
    .await;
    connection.leave();
    connection.changed.notify_waiters();
    connection.settles.notify_waiters();
}

/// Checks by PING that a silent endpoint is still there.
struct Liveness {
    alarm: Alarm,
    wheel: Wheel,
    pings: Option<PingPong>,
    /// The state of the guard, and how many bytes had come at the last check.
    guard_state: Rc<GuardState>,
    received_before: u64,
    /// When the last byte came.
    heard: Instant,
    /// The PING that was sent last.
    asked: Option<SentPing>,
    limit: Duration,
}

struct SentPing {
    at: Instant,
    answered: bool,
}

impl Liveness {
    /// Ready once the connection must be aborted, with the reason.
    fn poll_gone(
        &mut self,
        connection: &Http2Connection,
        cx: &mut Context<'_>,
    ) -> Poll<(ErrorKind, &'static str)> {
        if let Some(violation) = self.guard_state.violation.get() {
            return Poll::Ready((ErrorKind::HttpProtocolError, violation.text()));
        }
        self.hear(cx);
        while self.alarm.poll_fired(cx).is_ready() {
            let now = self.wheel.now();
            if !connection.settled.get() {
                let what = "the endpoint did not answer the preface of HTTP/2 in time";
                return Poll::Ready((ErrorKind::ConnectionTimeout, what));
            }
            let next = match &self.asked {
                Some(asked) if !asked.answered => {
                    connection.doubt();
                    self.alarm.clear();
                    return Poll::Pending;
                }
                Some(asked) => (asked.at + ASKED_AGAIN).saturating_duration_since(now),
                None => (self.heard + SILENCE).saturating_duration_since(now),
            };
            if connection.in_flight.get() == 0 || !next.is_zero() {
                self.alarm.set(next.max(Duration::from_secs(1)).min(SILENCE));
                continue;
            }
            let sent = self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
            if !matches!(sent, Some(Ok(()))) {
                connection.doubt();
                self.alarm.clear();
                return Poll::Pending;
            }
            self.asked = Some(SentPing { at: now, answered: false });
            self.alarm.set(PONG);
        }
        Poll::Pending
    }

    /// Notes the bytes and the answers that have come.
    fn hear(&mut self, cx: &mut Context<'_>) {
        let received = self.guard_state.received.get();
        let came = received - self.received_before;
        self.received_before = received;
        let Some(asked) = &mut self.asked else {
            if came > 0 {
                self.heard = self.wheel.now();
            }
            return;
        };
        if !asked.answered {
            let pong = self.pings.as_mut().is_some_and(|pings| pings.poll_pong(cx).is_ready());
            if pong || came > 0 {
                asked.answered = true;
                self.alarm.set(SILENCE);
            }
        } else if came > 0 {
            // More than the answer: the endpoint is active, and PINGs follow the usual rule again.
            self.asked = None;
            self.heard = self.wheel.now();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
    use wire::http2::frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind};

    use super::*;

    /// An endpoint that tells its settings, and answers pings or not; counts them.
    async fn endpoint(stream: Stream, answers: bool, pings: Rc<Cell<u32>>) {
        let frame = |kind, flags, length| FrameHeader { kind, flags, stream: 0, length }.print();
        let mut preface = [0; PREFACE.len()];
        read_exact(&stream, &mut preface).await;
        let _ = stream.write_all(&frame(kind::SETTINGS, 0, 0)).await;
        let mut head = [0; HEADER_BYTES];
        while read_exact(&stream, &mut head).await {
            let head = FrameHeader::parse(&head);
            let mut payload = vec![0; head.length as usize];
            read_exact(&stream, &mut payload).await;
            if head.kind == kind::PING && !head.has(flag::ACK) {
                pings.set(pings.get() + 1);
                if answers {
                    let pong = [&frame(kind::PING, flag::ACK, 8)[..], &payload].concat();
                    let _ = stream.write_all(&pong).await;
                }
            }
        }
    }

    async fn read_exact(stream: &Stream, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            match stream.read(bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(count) => bytes = &mut bytes[count..],
            }
        }
        true
    }

    /// Whether an endpoint is still believed to be there after so long without a word, and how often
    /// it was asked.
    fn after(seconds: u64, answers: bool, in_use: bool) -> (bool, u32) {
        let mut builder = RuntimeBuilder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let wheel = Wheel::start();
            let (ours, theirs) = Stream::pair();
            let pings = Rc::new(Cell::new(0));
            tokio::task::spawn_local(endpoint(theirs, answers, Rc::clone(&pings)));
            let connection = Connection::fresh(ours, None);
            let limit = Duration::from_secs(5);
            let opened = open(connection, &wheel, &Rc::default(), limit).await.unwrap();
            let _permit = in_use.then(|| StreamPermit::new(&opened));
            let mut requests = opened.requests().unwrap();
            let request = http::Request::get("http://a/").body(()).unwrap();
            let (mut response, _) = requests.send_request(request, true).unwrap();
            drop(requests);
            let slept = tokio::time::sleep(Duration::from_secs(seconds));
            tokio::select! {
                answer = &mut response => panic!("{answer:?}"),
                () = slept => assert!(opened.fault().is_none()),
            }
            (!opened.is_leaving(), pings.get())
        })
    }

    #[test]
    fn an_endpoint_that_says_nothing_is_asked_but_not_often() {
        assert_eq!(after(25, false, true), (true, 0));
        assert_eq!(after(40, false, true), (true, 1));
        assert_eq!(after(60, false, true), (false, 1));
        assert_eq!(after(60, true, true), (true, 1));
        assert_eq!(after(700, true, true), (true, 3));
        assert_eq!(after(700, false, false), (true, 0));
    }
}
