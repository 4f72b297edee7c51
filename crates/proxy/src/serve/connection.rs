//! A client's connection between exchanges: the task of an idle one, and what it does next.
//!
//! [`run`] is the small task that waits for bytes. When some arrive it borrows a worker, which serves them
//! ([`Job::Connection`]). Then it waits again, becomes a tunnel, or becomes an HTTP/2 connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use net::Stream;

use super::farewell::linger;
use super::http2;
use super::worker::{self, Job};
use super::workspace::Next;
use crate::body::unless_zero;
use crate::client::Client;
use crate::core::Core;
use crate::patience::DeliveryState;
use crate::tunnel;

/// Serves a connection until it ends.
pub(crate) async fn run(core: Rc<Core>, client: Rc<Client>) {
    let mut idle_since = None;
    loop {
        match wait_for_bytes(&core, &client, &mut idle_since).await {
            WaitResult::Readable => {}
            WaitResult::Leaving => return,
            WaitResult::Idle => match Box::pin(wait_for_delivery(&core, &client)).await {
                DeliveryResult::Readable => {}
                DeliveryResult::All(true) => idle_since = None, // it has only just become idle
                DeliveryResult::All(false) => return,
                DeliveryResult::GivenUp => return client.stream.reset_when_closed(),
            },
        }
        let mut worker = worker::borrow(&core);
        let unfinished = AbortOnDrop(&client.stream);
        let next = worker.serve(Job::Connection(Rc::clone(&client))).await;
        unfinished.has_finished();
        worker::give_back(worker);
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

/// Resets a connection whose exchange is dropped half-way, by a panic or the end of the process:
/// after an orderly close, a response that ends with the connection would look complete.
struct AbortOnDrop<'a>(&'a Stream);

impl AbortOnDrop<'_> {
    fn has_finished(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.reset_when_closed();
    }
}

/// How the wait for a request ended.
enum WaitResult {
    /// There is something to read.
    Readable,
    /// The process drains or the listener closes.
    Leaving,
    /// The client seems to have been idle for too long.
    Idle,
}

/// Waits for something to read. `idle_since`: when the client became idle, if that was before.
async fn wait_for_bytes(
    core: &Core,
    client: &Client,
    idle_since: &mut Option<tokio::time::Instant>,
) -> WaitResult {
    let mut waiting = false;
    let waited = poll_fn(|cx| {
        if client.stream.poll_readable(cx).is_ready() {
            return Poll::Ready(WaitResult::Readable); // or an error, which reading will return
        }
        if core.closes_idle() || client.listening.closed.get() {
            return Poll::Ready(WaitResult::Leaving);
        }
        if !waiting {
            waiting = true;
            let now = core.wheel.now();
            let passed = now.saturating_duration_since(*idle_since.get_or_insert(now));
            client.alarm.set(unless_zero(idle_time(core, client)).saturating_sub(passed));
        }
        client.alarm.poll_fired(cx).map(|()| WaitResult::Idle)
    });
    let waited = waited.await;
    client.alarm.clear();
    waited
}

/// What a client has done that may not have read its last response yet.
enum DeliveryResult {
    /// It has read all; whether that took time.
    All(bool),
    /// There is something to read.
    Readable,
    /// It has stopped reading, or reads too slowly.
    GivenUp,
}

/// Waits until a client has read what was written to it.
async fn wait_for_delivery(core: &Core, client: &Client) -> DeliveryResult {
    let mut delivery_wait = client.delivery_wait(core.wheel.now());
    let mut waited = false;
    let taken = poll_fn(|cx| {
        if waited && client.stream.poll_readable(cx).is_ready() {
            return Poll::Ready(DeliveryResult::Readable);
        }
        while !waited || client.alarm.poll_fired(cx).is_ready() {
            match delivery_wait.look(&client.stream, core.wheel.now()) {
                DeliveryState::Delivered => return Poll::Ready(DeliveryResult::All(waited)),
                DeliveryState::GivenUp => return Poll::Ready(DeliveryResult::GivenUp),
                DeliveryState::Pending(again) => client.alarm.set(again),
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
        let listener = listener.and_then(|id| view.config().listener(id));
        listener.map_or(Duration::from_secs(60), |listener| listener.timeouts.client_idle)
    })
}
