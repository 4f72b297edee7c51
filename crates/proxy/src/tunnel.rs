//! Tunnels: bytes both ways after CONNECT or an upgrade, uninterpreted.
//!
//! Each direction ends on its own (half-close); the tunnel ends when both have ended, when one
//! fails, or when no byte has moved for too long. The record of the exchange is kept until then.
//! Between two plain connections the kernel moves the bytes; a stream of HTTP/2 on one side, or on
//! both, takes the loop that bodies take.

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

/// A tunnel that is ready to run.
pub(crate) struct Tunnel {
    /// The client's stream; `None`: its whole connection is the tunnel.
    client: Option<StreamEnds>,
    upstream: FarEnd,
    /// What the client had sent before the tunnel started.
    from_client: Option<Buffer>,
    idle: Duration,
    /// The tunnel counts on its endpoint while it runs.
    lease: Option<Lease>,
    record: Record,
    view: Rc<View>,
}

/// The upstream's side of a tunnel that is about to start.
pub(crate) struct TunnelStart {
    pub(crate) far: FarEnd,
    /// The lease on the endpoint.
    pub(crate) lease: Option<Lease>,
    pub(crate) idle: Duration,
}

/// Which side of a tunnel failed.
enum TunnelError {
    Client(std::io::Error),
    Upstream(std::io::Error),
}

/// The result of a tunnel; `Err(None)`: no byte moved for too long.
type TunnelResult = Result<(), Option<TunnelError>>;

impl TunnelStart {
    /// Joins it with the client's side. `client`: the client's stream; `None`: its whole connection is
    /// the tunnel; `from_client`: what was read of it already.
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

/// Counts an open tunnel until it is dropped.
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

/// The bytes that have moved, and the time-out until more must move.
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

    /// The kernel buffers what one side does not take at once: so delivery is checked before the
    /// time-out ends.
    fn look_every(&self) -> Duration {
        self.idle / 4
    }

    /// Ready once neither side has sent or acknowledged a byte for too long. `taken`: what both
    /// have acknowledged so far.
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

/// How many bytes the peer of a stream has acknowledged, if that is known.
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

/// A tunnel between two whole connections.
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

/// Moves what was read before, then everything to the end, and forwards the end.
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
    // A peer that has left already needs no FIN.
    let _ = to.shutdown_write();
    Ok(())
}

/// A side of a tunnel, as a source and a sink of bodies.
trait TunnelSide {
    /// Both directions.
    fn ends(&mut self) -> (impl Source, impl Sink);
    /// Aborts this side, as the other one has failed: this one must not see an orderly end.
    /// `reset`: the reason for an HTTP/2 stream.
    fn abort(&self, reset: Reset);
}

/// A whole connection.
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
        // The other side is a stream, whose frames are no longer than this; a tunnel may be idle
        // for long.
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

/// The sending direction of a connection, which is shut with the end of the tunnel.
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

/// A tunnel with an HTTP/2 stream on one side, or on both. `broken`: the reason for resetting the
/// client's stream if the upstream fails.
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

/// A sink that counts its bytes.
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
        Ok(0) // those bytes would not be counted
    }

    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError> {
        self.sink.finish(trailers).await
    }
}

/// Runs both directions; `Err(None)`: the time-out has ended.
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
