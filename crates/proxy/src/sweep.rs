//! Runs the sweep of endpoints (`health::Sweep`) once a second, on the control thread.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use health::Sweep;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::snapshot::Snapshot;

/// From one sweep to the next.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Sweeps the endpoints of the snapshot that `served` returns (none while it is being replaced),
/// until that breaks or the handle is used.
pub(crate) fn start(
    served: impl Fn() -> ControlFlow<(), Option<Arc<Snapshot>>> + Send + 'static,
) -> AbortHandle {
    let sweeping = tokio::spawn(async move {
        let mut sweep = Sweep::default();
        let mut interval = tokio::time::interval(SWEEP_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            match served() {
                ControlFlow::Continue(Some(snapshot)) => sweep.run(snapshot.endpoints()),
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(()) => return,
            }
        }
    });
    sweeping.abort_handle()
}
