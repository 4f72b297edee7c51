//! The thread of a core: its commands, its listeners, the connections that it admits.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use net::{Listener, RawListener};
use observe::Refusal;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Command;
use super::CoreHandle;
use crate::client::Client;
use crate::core::{Core, CoreParts, Shared};
use crate::listening::Listening;
use crate::serve::{self, ClientProtocol};
use crate::upstream;

/// Threads per core for blocking work, such as files on a slow disk.
const BLOCKING_THREADS_MAX: usize = 16;

/// Starts the thread of a core. It accepts nothing yet.
pub(super) fn start(parts: CoreParts) -> io::Result<CoreHandle> {
    let (commands, receiver) = unbounded_channel();
    let exchanges = Arc::clone(&parts.exchanges);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX);
    let (ready, started) = mpsc::channel();
    let index = parts.index;
    let thread = std::thread::Builder::new().name(format!("core-{index}")).spawn(move || {
        if let Err(error) = net::pin_to_core(index) {
            tracing::debug!(core = index, %error, "the thread could not be pinned");
        }
        match builder.build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(run_core(parts, receiver));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
    Ok(CoreHandle { commands, exchanges, thread: Mutex::new(Some(thread)) })
}

async fn run_core(parts: CoreParts, mut commands: UnboundedReceiver<Command>) {
    let core = Core::new(parts);
    tokio::task::spawn_local(tick(Rc::downgrade(&core)));
    upstream::fill(&core);
    while let Some(command) = commands.recv().await {
        match command {
            Command::Install { snapshot, open, close, done } => {
                core.install(snapshot);
                upstream::fill(&core);
                close_listeners(&core, |address| close.contains(&address));
                open_listeners(&core, open);
                // This fails if the server has stopped waiting.
                let _ = done.send(());
            }
            Command::Drain(how) => {
                core.draining.set(Some(how));
                // Whether idle clients may still ask is said by `how`.
                core.listening.borrow_mut().drain(..).for_each(|one| one.close.notify_one());
                core.wheel.wake_all();
            }
            Command::Stop => break,
        }
    }
    core.access.borrow_mut().flush();
    serve::forget_workers();
}

/// The work of every tick, and of every second.
async fn tick(core: std::rc::Weak<Core>) {
    let mut interval = tokio::time::interval(net::TICK_DEFAULT);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for count in 1u64.. {
        interval.tick().await;
        let Some(core) = core.upgrade() else { return };
        core.access.borrow_mut().flush();
        core.share();
        if count % 10 == 0 {
            core.sweep();
            upstream::fill(&core);
        }
    }
}

fn open_listeners(core: &Rc<Core>, open: Vec<(SocketAddr, RawListener)>) {
    for (address, socket) in open {
        let listener = match Listener::register(socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%address, %error, "a listening socket cannot be used");
                continue;
            }
        };
        let view = core.view();
        let id = view.listener(address);
        // A listener that is not in this snapshot has no metrics of its own.
        let slot = id.map(|id| view.shared.names.listener_slot(id)).unwrap_or_default();
        let listening = Rc::new(Listening::new(address, id, slot));
        core.listening.borrow_mut().push(Rc::clone(&listening));
        tokio::task::spawn_local(accept(Rc::clone(core), listening, listener));
    }
}

fn close_listeners(core: &Core, which: impl Fn(SocketAddr) -> bool) {
    let mut closed = false;
    core.listening.borrow_mut().retain(|listening| {
        let close = which(listening.address);
        if close {
            closed = true;
            listening.closed.set(true);
            listening.close.notify_one();
        }
        !close
    });
    if closed {
        core.wheel.wake_all();
    }
}

async fn accept(core: Rc<Core>, listening: Rc<Listening>, listener: Listener) {
    let _accepting = Accepting::new(&core.shared);
    loop {
        let accepted = tokio::select! {
            biased;
            () = listening.close.notified() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&core, &listening, stream, peer),
            Err(error) => {
                tracing::error!(address = %listening.address, %error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Clients that have reached the queue are served.
    listener.drain().into_iter().for_each(|(stream, peer)| admit(&core, &listening, stream, peer));
}

/// Counts a listening socket until every connection of its queue has been admitted.
struct Accepting(Arc<Shared>);

impl Accepting {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.accepting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        // A thread that sees this sees the connections that were admitted before.
        self.0.accepting.fetch_sub(1, Ordering::Release);
    }
}

fn admit(core: &Rc<Core>, listening: &Rc<Listening>, stream: net::Stream, peer: SocketAddr) {
    let protocol = protocol_of(core, listening);
    match Client::admit(core, listening, stream, peer) {
        Ok(client) => serve::accept(core, client, protocol),
        Err((stream, refusal)) => {
            core.metrics.connection_refused(listening.slot, refusal);
            observe::log_limited!(WARN, client = %peer, why = refusal.name(), "connection refused");
            if refusal == Refusal::ProcessLimit && protocol == ClientProtocol::Http {
                tokio::task::spawn_local(serve::refuse_with_503(stream));
            } else if refusal == Refusal::ClientLimit && !PARTING.replace(true) {
                tokio::task::spawn_local(part(stream));
            }
        }
    }
}

thread_local! {
    /// Whether a connection of a client with too many is being closed gently.
    static PARTING: Cell<bool> = const { Cell::new(false) };
}

/// Closes a connection so that a client that is still sending sees an end instead of a reset. One at a
/// time, as it holds a file while files may be short.
async fn part(stream: net::Stream) {
    const PARTING_TIME: Duration = Duration::from_millis(200);
    if stream.shutdown_write().is_ok() {
        tokio::time::sleep(PARTING_TIME).await;
    }
    PARTING.set(false);
}

/// The protocol that clients of a listener speak first.
fn protocol_of(core: &Core, listening: &Listening) -> ClientProtocol {
    let Some(id) = listening.id.get() else { return ClientProtocol::Http };
    core.with_view(|view| {
        view.config().listener(id).map_or(ClientProtocol::Http, ClientProtocol::of)
    })
}
