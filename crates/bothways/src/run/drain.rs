//! Drains the data plane before the process stops: open exchanges may finish within a time limit,
//! and the progress is shown.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy::{Open, Server};

use super::report::open_words;
use super::service;
use super::signals::Signals;

/// How often to check whether everything has finished.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait for idle connections, whose first request may be on its way.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// How long the cores may take to close connections without an exchange.
const LAST_CLOSE_TIME: Duration = Duration::from_millis(200);

/// Stops accepting, and waits until all exchanges have finished, the time is over, or a second signal
/// arrives.
pub(crate) async fn drain(server: &Server, reason: &'static str, signals: &mut Signals) {
    let within = server.config().process.drain;
    server.begin_drain();
    let progress = Progress::new(within, true);
    service::stopping(&progress.words(server.open_exchanges()), within);
    tracing::info!(
        reason,
        "stopping: no new connections are accepted; a second signal stops at once"
    );
    let idle = IdleClients::Closed;
    tokio::select! {
        finished = finish(server, progress, idle) => end(server, finished),
        name = signals.stop() => drop_rest(server, name),
    }
}

/// The same, while another process accepts from the same sockets: idle clients may send one more request until the
/// time is over. The service manager watches the other process. A stop is meant for both, so the first one changes nothing.
pub(super) async fn drain_for_successor(server: &Server, signals: &mut Signals) {
    let within = server.config().process.drain;
    server.begin_drain_for_successor();
    let keeper = Arc::clone(server.keeper());
    // The other process renews the certificates. This may wait for a moment.
    let keeping = tokio::task::spawn_blocking(move || keeper.stop());
    let second_stop = async {
        let name = signals.stop().await;
        tracing::info!(reason = name, "still draining; another signal stops at once");
        signals.stop().await
    };
    let (progress, idle) = (Progress::new(within, false), IdleClients::MayAsk);
    tokio::select! {
        finished = finish(server, progress, idle) => end(server, finished),
        name = second_stop => drop_rest(server, name),
    }
    // Those that are left have asked nothing: an orderly end.
    server.begin_drain();
    tokio::time::sleep(LAST_CLOSE_TIME).await;
    let _ = keeping.await;
}

/// What becomes of clients that have no request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdleClients {
    /// Their connections are closed.
    Closed,
    /// They may send one more request.
    MayAsk,
}

fn end(server: &Server, finished: bool) {
    if finished || server.open_exchanges().is_nothing() {
        tracing::info!("all open exchanges have finished");
    } else {
        drop_rest(server, "the drain time is over");
    }
}

fn drop_rest(server: &Server, reason: &str) {
    let Open { connections, exchanges, tunnels } = server.open_exchanges();
    tracing::warn!(
        reason,
        connections,
        exchanges,
        tunnels,
        "closing connections that are still open"
    );
}

/// Waits; returns whether everything has finished in time.
async fn finish(server: &Server, mut progress: Progress, idle: IdleClients) -> bool {
    let mut idle_since = Instant::now();
    loop {
        let is_accepting = server.is_accepting();
        let open = server.open_exchanges();
        if open.exchanges > 0 || open.tunnels > 0 {
            idle_since = Instant::now();
        }
        let is_idle = idle == IdleClients::Closed && idle_since.elapsed() > IDLE_GRACE;
        if (open.connections == 0 && !is_accepting) || is_idle {
            return true;
        }
        if progress.left().is_zero() {
            return false;
        }
        progress.show(open);
        tokio::time::sleep(POLL_INTERVAL.min(progress.left())).await;
    }
}

struct Progress {
    started: Instant,
    within: Duration,
    shown: Option<Instant>,
    every: Duration,
    /// Whether the service manager takes notifications of this process.
    is_main: bool,
}

impl Progress {
    fn new(within: Duration, is_main: bool) -> Self {
        // A person who pressed Ctrl-C wants to see progress.
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { Duration::from_secs(1) } else { LOG_INTERVAL };
        Self { started: Instant::now(), within, shown: None, every, is_main }
    }

    fn left(&self) -> Duration {
        self.within.saturating_sub(self.started.elapsed())
    }

    /// `draining: 3 exchanges, 1 tunnel, 24 s left`
    fn words(&self, open: Open) -> String {
        let what = open_words(open.exchanges, open.tunnels, open.connections);
        format!("draining: {what}, {} s left", self.left().as_millis().div_ceil(1000))
    }

    fn show(&mut self, open: Open) {
        let is_due = self.shown.is_none_or(|at| at.elapsed() >= self.every);
        if is_due {
            let words = self.words(open);
            if self.is_main {
                service::status(&words);
            }
            tracing::info!("{words}");
            self.shown = Some(Instant::now());
        }
    }
}
