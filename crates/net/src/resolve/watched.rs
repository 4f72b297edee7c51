//! A name whose addresses are kept up to date.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::query::Scope;
use super::{Outcome, ResolveError, Resolver};

/// After a failure the next try comes after so long, then twice as long each time, up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// A name that fails now and again is reported no more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// How it stands with a watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchedState {
    /// Not looked up yet.
    Waiting,
    /// The addresses are those of the last look-up.
    Fresh,
    /// The last look-up failed; the addresses, if any, are older.
    Failing(ResolveError),
}

#[derive(Debug)]
struct Known {
    addresses: Arc<[IpAddr]>,
    state: WatchedState,
}

/// A name whose addresses are kept up to date while somebody holds it. When a look-up fails it keeps the last
/// addresses, and says so in the log.
#[derive(Debug)]
pub struct Watched {
    host: Box<str>,
    known: ArcSwap<Known>,
    version: AtomicU64,
    looked_up: Notify,
    task: OnceLock<AbortHandle>,
}

impl Watched {
    pub(super) fn start(resolver: &Resolver, host: &str) -> Arc<Self> {
        let watched = Arc::new(Self {
            host: host.into(),
            known: ArcSwap::from_pointee(Known {
                addresses: Arc::default(),
                state: WatchedState::Waiting,
            }),
            version: AtomicU64::new(0),
            looked_up: Notify::new(),
            task: OnceLock::new(),
        });
        let (weak, resolver_of_task) = (Arc::downgrade(&watched), resolver.clone());
        let name = watched.host.clone();
        let task = resolver.shared.runtime.spawn(async move {
            let mut reports = Reports::default();
            let mut retry = RETRY_FIRST;
            loop {
                let outcome = resolver_of_task.lookup_in(&name, Scope::Searched).await;
                let Some(watched) = weak.upgrade() else { return };
                reports.about(&name, &outcome);
                let again_at = match &outcome {
                    Ok(answer) => {
                        retry = RETRY_FIRST;
                        answer.valid_until
                    }
                    Err(_) => {
                        let at = Instant::now() + retry;
                        retry = RETRY_LAST.min(retry * 2);
                        at
                    }
                };
                if watched.store(outcome) {
                    resolver_of_task.shared.changes.send_modify(|count| *count += 1);
                }
                drop(watched);
                tokio::time::sleep_until(again_at).await;
            }
        });
        // Nobody else has it yet.
        let _ = watched.task.set(task.abort_handle());
        watched
    }

    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses last known, the preferred family first; none while there never was one.
    pub fn addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.known.load().addresses)
    }

    /// How it stands with the name.
    pub fn state(&self) -> WatchedState {
        self.known.load().state.clone()
    }

    /// A number that grows whenever the addresses change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits until the name has been looked up for the first time, successfully or not.
    pub async fn ready(&self) {
        loop {
            let mut next = std::pin::pin!(self.looked_up.notified());
            next.as_mut().enable();
            if self.known.load().state != WatchedState::Waiting {
                return;
            }
            next.await;
        }
    }

    /// True if the addresses are others than before.
    fn store(&self, outcome: Outcome) -> bool {
        let before = self.known.load_full();
        let (addresses, state) = match outcome {
            Ok(answer) => (answer.addresses, WatchedState::Fresh),
            Err(error) => (Arc::clone(&before.addresses), WatchedState::Failing(error)),
        };
        // A server that only turns the order round has not changed anything.
        let changed = addresses.len() != before.addresses.len()
            || addresses.iter().any(|ip| !before.addresses.contains(ip));
        let addresses = if changed { addresses } else { Arc::clone(&before.addresses) };
        self.known.store(Arc::new(Known { addresses, state }));
        if changed {
            self.version.fetch_add(1, Ordering::Release);
        }
        self.looked_up.notify_waiters();
        changed
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Says once that a name fails, and once that it is well again.
#[derive(Default)]
struct Reports {
    failing: bool,
    last: Option<Instant>,
}

impl Reports {
    fn about(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Ok(_) if self.failing => {
                self.failing = false;
                info!(name, "name is resolved again");
            }
            Err(error)
                if !self.failing && self.last.is_none_or(|at| at.elapsed() >= REPORT_EVERY) =>
            {
                self.failing = true;
                self.last = Some(Instant::now());
                warn!(name, %error, "cannot look up name; its last addresses stay in use");
            }
            _ => {}
        }
    }
}
