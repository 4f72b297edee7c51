//! Tunnels: bytes both ways after CONNECT or an upgrade, without a look at them.
//!
//! Each direction ends on its own (half-close); the tunnel ends when both have, when one breaks, or
//! when no byte has moved for too long. The record of the exchange is kept until then.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use net::{Buffer, Side, Stream, relay};

use crate::body::unless_zero;
use crate::core::{Client, Core};
use crate::exchange::{self, Switched};
use crate::observe::{ErrorKind, Record};
use crate::snapshot::View;
use crate::upstream::Connection;

/// A tunnel that begins.
pub(crate) struct Tunnel {
    upstream: Connection,
    /// What each side has sent before the tunnel began.
    from_client: Buffer,
    from_upstream: Option<Buffer>,
    idle: Duration,
    record: Record,
    view: Rc<View>,
}

/// How a direction ended.
enum Broke {
    Client(std::io::Error),
    Upstream(std::io::Error),
}

impl Tunnel {
    pub(crate) fn new(
        switched: Switched,
        from_client: Buffer,
        record: Record,
        view: Rc<View>,
    ) -> Self {
        let Switched { connection, unread, idle } = switched;
        Self { upstream: connection, from_client, from_upstream: unread, idle, record, view }
    }
}

/// Counts open tunnels, however they end.
struct Open<'a>(&'a Core);

impl<'a> Open<'a> {
    fn new(core: &'a Core) -> Self {
        core.metrics.tunnel_opened();
        core.shared.tunnels.fetch_add(1, Ordering::Relaxed);
        Self(core)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.tunnel_closed();
        self.0.shared.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a tunnel to its end.
pub(crate) async fn run(core: &Rc<Core>, client: &Rc<Client>, tunnel: Box<Tunnel>) {
    let _open = Open::new(core);
    let Tunnel { upstream, from_client, from_upstream, idle, mut record, view } = *tunnel;
    let idle = unless_zero(idle);
    let alarm = &client.alarm;
    alarm.set(idle);
    let (near, far) = (&client.stream, &upstream.stream);
    let (sent, received) = (std::cell::Cell::new(0u64), std::cell::Cell::new(0u64));
    let progress = |count: u64, counter: &std::cell::Cell<u64>| {
        counter.set(counter.get() + count);
        alarm.set(idle);
    };
    let outward = async {
        let moved = direction(near, far, Some(from_client), |count| progress(count, &sent)).await;
        moved.map_err(|(side, error)| match side {
            Side::Reading => Broke::Client(error),
            Side::Writing => Broke::Upstream(error),
        })
    };
    let inward = async {
        let moved = direction(far, near, from_upstream, |count| progress(count, &received)).await;
        moved.map_err(|(side, error)| match side {
            Side::Reading => Broke::Upstream(error),
            Side::Writing => Broke::Client(error),
        })
    };
    let ended = both(outward, inward, alarm).await;
    match ended {
        Ok(()) => {}
        Err(Some(Broke::Client(error))) => {
            record.fail(ErrorKind::ClientGone, format_args!("the client's side broke: {error}"));
            far.reset_when_closed();
        }
        Err(Some(Broke::Upstream(error))) => {
            let detail = format_args!("the upstream's side broke: {error}");
            record.fail(ErrorKind::ConnectionTerminated, detail);
            near.reset_when_closed();
        }
        Err(None) => record.fail(ErrorKind::IdleTimeout, "no byte moved for too long"),
    }
    record.request_body_bytes = sent.get();
    record.response_body_bytes = received.get();
    record.received_bytes += sent.get();
    record.sent_bytes += received.get();
    exchange::finish(core, &view, &mut record);
}

/// Moves what was read before, then everything to the end, and passes the end on.
async fn direction(
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

/// Runs both directions; `Err(None)` when time is up.
async fn both(
    outward: impl Future<Output = Result<(), Broke>>,
    inward: impl Future<Output = Result<(), Broke>>,
    alarm: &net::Alarm,
) -> Result<(), Option<Broke>> {
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
        alarm.poll_fired(cx).map(|()| Err(None))
    })
    .await
}
