//! What is due for the endpoints once a second, on the control thread: ejections and slow starts end,
//! and endpoints are compared with one another (`balance`). Before an endpoint that could not be reached
//! returns, we try to connect to it, so that no request has to find out. Ejections are logged.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{EndpointStatus, Group};

use super::target;
use super::{Endpoints, probe};

/// How long it may take to connect to an endpoint that may return.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// Endpoints of an upstream that one sweep tries to connect to; others wait for a later one.
const PROBES_PER_SWEEP_MAX: usize = 64;

/// Sweeps endpoints. To be run once a second.
#[derive(Default)]
pub struct Sweep {
    ejections: Ejections,
}

impl Sweep {
    /// Sweeps these endpoints. Within a tokio runtime, which runs the tasks that try to connect.
    pub fn run<'a>(&mut self, upstreams: impl Iterator<Item = Endpoints<'a>>) {
        let now = Instant::now();
        let mut groups = Vec::new();
        for upstream in upstreams {
            for index in upstream.group.sweep(now).into_iter().take(PROBES_PER_SWEEP_MAX) {
                let (target, group) =
                    (target::connection(upstream, index), Arc::clone(upstream.group));
                tokio::spawn(async move {
                    let reached = probe(target, PROBE_TIME_MAX).await;
                    group.report_probe(index, reached, Instant::now());
                });
            }
            groups.push(upstream.group);
        }
        self.ejections.log_changes(&groups);
    }
}

/// The endpoints that were ejected at the last sweep, by upstream and endpoint. One that fails again as
/// soon as it returns stays in here, and is logged once.
#[derive(Default)]
struct Ejections(HashSet<(Arc<str>, Arc<str>)>);

impl Ejections {
    /// Logs what has changed.
    fn log_changes(&mut self, groups: &[&Arc<Group>]) {
        let mut now = HashSet::with_capacity(self.0.len());
        for group in groups {
            let upstream = &group.settings.name;
            for member in &group.members {
                let endpoint = member.state.name();
                let key = || (Arc::clone(upstream), Arc::clone(endpoint));
                let is_ejected = member.status() == EndpointStatus::Ejected;
                // Nearly always no endpoint is ejected, and then there is no look-up.
                let was_ejected = !self.0.is_empty() && self.0.contains(&key());
                if is_ejected {
                    now.insert(key());
                }
                match (was_ejected, is_ejected) {
                    (false, true) => {
                        let why = member.state.why().unwrap_or_default();
                        tracing::warn!(%upstream, %endpoint, why, "endpoint is ejected");
                    }
                    (true, false) => {
                        tracing::info!(%upstream, %endpoint, "endpoint is no longer ejected");
                    }
                    _ => {}
                }
            }
        }
        self.0 = now;
    }
}
