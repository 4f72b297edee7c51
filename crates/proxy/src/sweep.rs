//! What is due for the endpoints once a second, on the control thread: the ends of ejections and
//! slow starts, and the comparison of endpoints with one another (`balance`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::Group;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// From one sweep to the next.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Sweeps the groups that `groups` gives, until it gives none any more or the handle is used.
pub(crate) fn start(groups: impl Fn() -> Option<Vec<Arc<Group>>> + Send + 'static) -> AbortHandle {
    let sweeping = tokio::spawn(async move {
        let mut interval = tokio::time::interval(SWEEP_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            let Some(groups) = groups() else { return };
            let now = Instant::now();
            groups.iter().for_each(|group| group.sweep(now));
        }
    });
    sweeping.abort_handle()
}
