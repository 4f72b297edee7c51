//! Tunnels: bytes both ways after CONNECT or an upgrade, without a look at them.
//!
//! Each direction ends on its own (half-close); the tunnel ends when both have, when one breaks, or
//! when no byte has moved for too long. The record of the exchange is kept until then. Between two
//! plain connections the kernel moves the bytes; a stream of HTTP/2 on one side, or on both, takes
//! the loop that bodies take.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use balance::Lease;
use message::{BodyLength, Fields, Method};
use net::{Alarm, Buffer, Delivery, Side, Size, Stream, Wheel, relay};
use observe::{ErrorKind, Record};
use tokio::time::Instant;

use crate::body::{Bulk, Patience, PumpError, Reset, Sink, Source, WriteError, pump, unless_zero};
use crate::client::Client;
use crate::core::Core;
use crate::http1::{Http1Receiver, Http1Sender};
use crate::http2::StreamEnds;
use crate::snapshot::View;
use crate::upstream::FarEnd;

/// A tunnel that begins.
pub(crate) struct Tunnel {
    /// The client's side, where that is not its connection as a whole.
    client: Option<StreamEnds>,
    upstream: FarEnd,
    /// What the client has sent before the tunnel began.
    from_client: Option<Buffer>,
    idle: Duration,
    /// The tunnel counts on its endpoint as long as it lasts.
    lease: Option<Lease>,
    record: Record,
    view: Rc<View>,
}

/// The upstream's side of a tunnel that begins.
pub(crate) struct TunnelStart {
    pub(crate) far: FarEnd,
    /// The request as it counts on its endpoint.
    pub(crate) lease: Option<Lease>,
    pub(crate) idle: Duration,
}

/// How a direction ended.
enum TunnelError {
    Client(std::io::Error),
    Upstream(std::io::Error),
}

/// How a tunnel ended; `Err(None)`: no byte moved for too long.
type TunnelResult = Result<(), Option<TunnelError>>;

impl TunnelStart {
    /// Makes a tunnel of it and the client's side, whose exchange ends with it. `client`: the client's
    /// stream, where it is not its connection as a whole; `from_client`: what was read of it already.
    pub(crate) fn begin(
        self,
        client: Option<StreamEnds>,
        from_client: Option<Buffer>,
        record: Record,
        view: Rc<View>,
    ) -> Box<Tunnel> {
        let Self { far, lease, idle } = self;
        Box::new(Tunnel { client, upstream: far, from_client, idle, lease, record, view })
    }
}

/// Counts open tunnels, however they end.
struct OpenTunnel<'a>(&'a Core);

impl<'a> OpenTunnel<'a> {
    fn new(core: &'a Core) -> Self {
        core.metrics.tunnel_opened();
        core.shared.tunnels.fetch_add(1, Ordering::Relaxed);
        Self(core)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.metrics.tunnel_closed();
        self.0.shared.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What has moved, and the time that is left until something must again.
struct Progress<'a> {
    sent: Cell<u64>,
    received: Cell<u64>,
    idle: Duration,
    at: Cell<Instant>,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
}

impl<'a> Progress<'a> {
    fn new(idle: Duration, wheel: &'a Wheel, alarm: &'a Alarm) -> Self {
        let at = Cell::new(wheel.now());
        let progress = Self { sent: Cell::new(0), received: Cell::new(0), idle, at, wheel, alarm };
        progress.alarm.set(progress.look_every());
        progress
    }

    fn count(&self, count: u64, counter: &Cell<u64>) {
        counter.set(counter.get() + count);
        self.at.set(self.wheel.now());
        self.alarm.set(self.look_every());
    }

    /// What one side does not take at once lies in the kernel: so it is looked at before the time is over.
    fn look_every(&self) -> Duration {
        self.idle / 4
    }

    /// Ready once neither side has sent or taken a byte for too long. `taken`: what both have taken so far.
    fn poll_idle(
        &self,
        cx: &mut Context<'_>,
        seen: &Cell<Option<u64>>,
        taken: impl Fn() -> u64,
    ) -> Poll<()> {
        while self.alarm.poll_fired(cx).is_ready() {
            let taken = taken();
            if seen.replace(Some(taken)).is_some_and(|seen| seen < taken) {
                self.at.set(self.wheel.now());
            }
            let quiet = self.wheel.now().saturating_duration_since(self.at.get());
            let left = self.idle.saturating_sub(quiet);
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.alarm.set(left.min(self.look_every()));
        }
        Poll::Pending
    }
}

/// How many bytes the peer of a stream has taken, as far as somebody tells.
fn taken_of(delivery: Option<Delivery>) -> u64 {
    delivery.map_or(0, |delivery| delivery.acknowledged)
}

/// Runs a tunnel to its end.
pub(crate) async fn run(core: &Rc<Core>, client: &Rc<Client>, tunnel: Box<Tunnel>) {
    let _open = OpenTunnel::new(core);
    let Tunnel { client: near, upstream, from_client, idle, lease, .. } = *tunnel;
    let (mut record, view) = (tunnel.record, tunnel.view);
    let alarm = core.wheel.alarm();
    let progress = Progress::new(unless_zero(idle), &core.wheel, &alarm);
    let near_taken = || taken_of(client.stream.delivery());
    // RFC 9113, section 8.5, for CONNECT; RFC 8441, section 5, for WebSockets.
    let broken = match record.method {
        Method::Connect => Reset::ConnectError,
        _ => Reset::Cancelled,
    };
    let ended = match (near, upstream) {
        (None, FarEnd::Connection(upstream, from_upstream)) => {
            let streams = (&client.stream, &upstream.stream);
            let taken = || near_taken() + taken_of(upstream.stream.delivery());
            relay_streams(streams, (from_client, from_upstream), &progress, taken).await
        }
        (None, FarEnd::Stream(far, ticket)) => {
            let near = PlainSide::new(core, &client.stream, from_client);
            let taken = || near_taken() + taken_of(ticket.connection().delivery());
            pump_sides(near, StreamSide::new(core, far), &progress, broken, taken).await
        }
        (Some(near), FarEnd::Connection(upstream, from_upstream)) => {
            let far = PlainSide::new(core, &upstream.stream, from_upstream);
            let taken = || near_taken() + taken_of(upstream.stream.delivery());
            pump_sides(StreamSide::new(core, near), far, &progress, broken, taken).await
        }
        (Some(near), FarEnd::Stream(far, ticket)) => {
            let taken = || near_taken() + taken_of(ticket.connection().delivery());
            pump_sides(
                StreamSide::new(core, near),
                StreamSide::new(core, far),
                &progress,
                broken,
                taken,
            )
            .await
        }
    };
    drop(lease);
    match ended {
        Ok(()) => {}
        Err(Some(TunnelError::Client(error))) => {
            record.fail(ErrorKind::ClientGone, format_args!("the client's side broke: {error}"));
        }
        Err(Some(TunnelError::Upstream(error))) => {
            let detail = format_args!("the upstream's side broke: {error}");
            record.fail(ErrorKind::ConnectionTerminated, detail);
        }
        Err(None) => record.fail(ErrorKind::IdleTimeout, "no byte moved for too long"),
    }
    record.request_body_bytes = progress.sent.get();
    record.response_body_bytes = progress.received.get();
    record.received_bytes += progress.sent.get();
    record.sent_bytes += progress.received.get();
    core.finish(&view, &mut record);
}

/// A tunnel between two connections as a whole.
async fn relay_streams(
    (near, far): (&Stream, &Stream),
    (from_near, from_far): (Option<Buffer>, Option<Buffer>),
    progress: &Progress<'_>,
    taken: impl Fn() -> u64,
) -> TunnelResult {
    let outward = async {
        let ended =
            relay_direction(near, far, from_near, |count| progress.count(count, &progress.sent))
                .await;
        ended.map_err(|(side, error)| match side {
            Side::Reading => TunnelError::Client(error),
            Side::Writing => TunnelError::Upstream(error),
        })
    };
    let inward = async {
        let ended =
            relay_direction(far, near, from_far, |count| progress.count(count, &progress.received));
        ended.await.map_err(|(side, error)| match side {
            Side::Reading => TunnelError::Upstream(error),
            Side::Writing => TunnelError::Client(error),
        })
    };
    let ended = join_directions(outward, inward, progress, taken).await;
    match &ended {
        Err(Some(TunnelError::Client(_))) => far.reset_when_closed(),
        Err(Some(TunnelError::Upstream(_))) => near.reset_when_closed(),
        Ok(()) | Err(None) => {}
    }
    ended
}

/// Moves what was read before, then everything to the end, and passes the end on.
async fn relay_direction(
    from: &Stream,
    to: &Stream,
    before: Option<Buffer>,
    mut progress: impl FnMut(u64),
) -> Result<(), (Side, std::io::Error)> {
    if let Some(before) = before {
        let bytes = before.filled();
        to.write_all(bytes).await.map_err(|error| (Side::Writing, error))?;
        progress(bytes.len() as u64);
    }
    relay(from, to, None, progress).await.map_err(|error| (error.side, error.source))?;
    // A peer that has gone already needs no word that we have finished.
    let _ = to.shutdown_write();
    Ok(())
}

/// A side of a tunnel as bodies see it: what comes from it, and where to put what goes to it.
trait TunnelSide {
    /// Both directions.
    fn ends(&mut self) -> (impl Source, impl Sink);
    /// The other side has broken: this one must not take that for an end. `reset`: what a stream of
    /// HTTP/2 is reset for.
    fn abort(&self, reset: Reset);
}

/// A connection as a whole.
struct PlainSide<'a> {
    core: &'a Core,
    stream: &'a Stream,
    before: Option<Buffer>,
    alarms: [Alarm; 2],
}

impl<'a> PlainSide<'a> {
    fn new(core: &'a Core, stream: &'a Stream, before: Option<Buffer>) -> Self {
        let alarms = [core.wheel.alarm(), core.wheel.alarm()];
        Self { core, stream, before, alarms }
    }
}

impl TunnelSide for PlainSide<'_> {
    fn ends(&mut self) -> (impl Source, impl Sink) {
        let Self { core, stream, before, alarms: [reading, writing] } = self;
        // A stream is on the other side, whose frames are no longer; it may stand still for long.
        let buffer = before.take().unwrap_or_else(|| core.buffers.buffer(Size::Small));
        let mut incoming =
            Http1Receiver::new(stream, buffer, &core.wheel, reading, Patience::endless());
        incoming.begin_body(BodyLength::UntilClose, None);
        let (scratch, wheel) = (&core.scratch, &core.wheel);
        let outgoing = Http1Sender::new(stream, scratch, wheel, writing, Patience::endless());
        (incoming, ClosingSink { outgoing, stream })
    }

    fn abort(&self, _reset: Reset) {
        self.stream.reset_when_closed();
    }
}

/// The sending direction of a connection that ends with what it carries.
struct ClosingSink<'a> {
    outgoing: Http1Sender<'a>,
    stream: &'a Stream,
}

impl Sink for ClosingSink<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.outgoing.data(bytes).await
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.outgoing.flush().await
    }

    async fn bulk(&mut self, _bulk: Bulk<'_>) -> Result<u64, PumpError> {
        Ok(0)
    }

    async fn finish(&mut self, _trailers: &Fields) -> Result<(), WriteError> {
        self.outgoing.flush().await?;
        let _ = self.stream.shutdown_write(); // a peer that has gone needs no FIN
        Ok(())
    }
}

/// A stream of HTTP/2.
struct StreamSide<'a> {
    core: &'a Core,
    ends: StreamEnds,
    alarms: [Alarm; 2],
}

impl<'a> StreamSide<'a> {
    fn new(core: &'a Core, ends: StreamEnds) -> Self {
        let alarms = [core.wheel.alarm(), core.wheel.alarm()];
        Self { core, ends, alarms }
    }
}

impl TunnelSide for StreamSide<'_> {
    fn ends(&mut self) -> (impl Source, impl Sink) {
        self.ends.open(&self.core.wheel, &self.alarms)
    }

    fn abort(&self, reset: Reset) {
        self.ends.reset(reset);
    }
}

/// A tunnel with a stream of HTTP/2 on one side, or on both.
/// `broken`: what the client's stream is reset for if the upstream breaks.
async fn pump_sides(
    mut near: impl TunnelSide,
    mut far: impl TunnelSide,
    progress: &Progress<'_>,
    broken: Reset,
    taken: impl Fn() -> u64,
) -> TunnelResult {
    let ended = {
        let (mut from_near, to_near) = near.ends();
        let (mut from_far, to_far) = far.ends();
        let mut to_near = CountingSink { sink: to_near, progress, counter: &progress.received };
        let mut to_far = CountingSink { sink: to_far, progress, counter: &progress.sent };
        let outward = async {
            pump(&mut from_near, &mut to_far).await.map_err(|error| match error {
                PumpError::Reading(error) => TunnelError::Client(std::io::Error::other(error)),
                PumpError::Writing(error) => TunnelError::Upstream(std::io::Error::other(error)),
            })
        };
        let inward = async {
            pump(&mut from_far, &mut to_near).await.map_err(|error| match error {
                PumpError::Reading(error) => TunnelError::Upstream(std::io::Error::other(error)),
                PumpError::Writing(error) => TunnelError::Client(std::io::Error::other(error)),
            })
        };
        join_directions(outward, inward, progress, taken).await
    };
    match &ended {
        Ok(()) => {}
        Err(Some(TunnelError::Client(_))) => far.abort(Reset::Cancelled),
        Err(Some(TunnelError::Upstream(_))) => near.abort(broken),
        Err(None) => {
            near.abort(Reset::Cancelled);
            far.abort(Reset::Cancelled);
        }
    }
    ended
}

/// A sink whose bytes are counted.
struct CountingSink<'a, S> {
    sink: S,
    progress: &'a Progress<'a>,
    counter: &'a Cell<u64>,
}

impl<S: Sink> Sink for CountingSink<'_, S> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.progress.count(bytes.len() as u64, self.counter);
        self.sink.data(bytes).await
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.sink.flush().await
    }

    async fn bulk(&mut self, _bulk: Bulk<'_>) -> Result<u64, PumpError> {
        Ok(0) // it would pass uncounted
    }

    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError> {
        self.sink.finish(trailers).await
    }
}

/// Runs both directions; `Err(None)` when time is up.
async fn join_directions(
    outward: impl Future<Output = Result<(), TunnelError>>,
    inward: impl Future<Output = Result<(), TunnelError>>,
    progress: &Progress<'_>,
    taken: impl Fn() -> u64,
) -> TunnelResult {
    let seen = Cell::new(None);
    let (mut outward, mut inward) = (pin!(outward), pin!(inward));
    let (mut outward_done, mut inward_done) = (false, false);
    poll_fn(|cx| {
        if !outward_done && let Poll::Ready(ended) = outward.as_mut().poll(cx) {
            ended?;
            outward_done = true;
        }
        if !inward_done && let Poll::Ready(ended) = inward.as_mut().poll(cx) {
            ended?;
            inward_done = true;
        }
        if outward_done && inward_done {
            return Poll::Ready(Ok(()));
        }
        progress.poll_idle(cx, &seen, &taken).map(|()| Err(None))
    })
    .await
}
