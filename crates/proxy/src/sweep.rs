//! What is due for the endpoints once a second, on the control thread: the ends of ejections and
//! slow starts, and the comparison of endpoints with one another (`balance`). An endpoint that was
//! not reached is connected to before it returns, so that no request has to find out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::UpstreamId;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::health;
use crate::snapshot::Snapshot;

/// From one sweep to the next.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a connection to an endpoint that may return may take.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// Endpoints of an upstream that are connected to in a sweep; others have to wait for a later one.
const PROBES_PER_SWEEP_MAX: usize = 64;

/// Sweeps the groups of the snapshot that is served (none while it is being replaced), until there
/// is nobody to serve any more or the handle is used.
pub(crate) fn start(
    served: impl Fn() -> ControlFlow<(), Option<Arc<Snapshot>>> + Send + 'static,
) -> AbortHandle {
    let sweeping = tokio::spawn(async move {
        let mut interval = tokio::time::interval(SWEEP_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            match served() {
                ControlFlow::Continue(Some(snapshot)) => sweep(&snapshot),
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(()) => return,
            }
        }
    });
    sweeping.abort_handle()
}

fn sweep(snapshot: &Arc<Snapshot>) {
    let now = Instant::now();
    for (upstream, group) in (0..).map(UpstreamId).zip(&snapshot.groups) {
        for index in group.sweep(now).into_iter().take(PROBES_PER_SWEEP_MAX) {
            let (snapshot, group) = (Arc::clone(snapshot), Arc::clone(group));
            tokio::spawn(async move {
                let reached = health::probe(snapshot, upstream, index, PROBE_TIME_MAX).await;
                group.probed(index, reached, Instant::now());
            });
        }
    }
}
