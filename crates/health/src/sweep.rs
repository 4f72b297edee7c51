//! What is due for the endpoints once a second, on the control thread: the ends of ejections and
//! slow starts, and the comparison of endpoints with one another (`balance`). An endpoint that was
//! not reached is connected to before it returns, so that no request has to find out. Ejections are
//! told in the error log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{EndpointStatus, Group};

use super::target::connecting;
use super::{Endpoints, probe};

/// How long a connection to an endpoint that may return may take.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// Endpoints of an upstream that are connected to in a sweep; others have to wait for a later one.
const PROBES_PER_SWEEP_MAX: usize = 64;

/// Sweeps endpoints, once a second.
#[derive(Default)]
pub struct Sweep {
    ejected: Ejected,
}

impl Sweep {
    /// Sweeps these endpoints. Within a tokio runtime, where connections to them are tried.
    pub fn run<'a>(&mut self, upstreams: impl Iterator<Item = Endpoints<'a>>) {
        let now = Instant::now();
        let mut groups = Vec::new();
        for upstream in upstreams {
            for index in upstream.group.sweep(now).into_iter().take(PROBES_PER_SWEEP_MAX) {
                let (target, group) = (connecting(upstream, index), Arc::clone(upstream.group));
                tokio::spawn(async move {
                    let reached = probe(target, PROBE_TIME_MAX).await;
                    group.probed(index, reached, Instant::now());
                });
            }
            groups.push(upstream.group);
        }
        self.ejected.tell(&groups);
    }
}

/// Those that were ejected when it was last looked, by upstream and endpoint. One that fails again as
/// soon as it returns does not leave in between, and is told of once.
#[derive(Default)]
struct Ejected(HashSet<(Arc<str>, Arc<str>)>);

impl Ejected {
    /// Tells the error log what has changed.
    fn tell(&mut self, groups: &[&Arc<Group>]) {
        let mut now = HashSet::with_capacity(self.0.len());
        for group in groups {
            let upstream = &group.settings.name;
            for member in &group.members {
                let endpoint = member.state.name();
                let key = || (Arc::clone(upstream), Arc::clone(endpoint));
                let is_ejected = member.status() == EndpointStatus::Ejected;
                // Nearly always nobody is, and then nothing is looked up.
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
