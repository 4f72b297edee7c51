//! A name whose addresses, or services, are kept up to date.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{ResolveError, Resolver, Service};

/// After a failure the next try comes after so long, then twice as long each time, up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// A name that fails now and again is reported no more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The state of a watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// Not looked up yet.
    Waiting,
    /// The value is that of the last look-up.
    Fresh,
    /// The last look-up failed; the value, if there is one, is older.
    Failing(ResolveError),
}

#[derive(Debug)]
struct WatchedValue<T> {
    found: Arc<[T]>,
    state: WatchState,
    /// Since when look-ups fail, if they do.
    failing_since: Option<SystemTime>,
}

/// The result of a look-up, and until when it is valid.
pub(super) type WatchResult<T> = Result<(Arc<[T]>, Instant), ResolveError>;

/// A name and its addresses or services, kept up to date while this is held. When a look-up fails it keeps the last
/// value, and logs that.
#[derive(Debug)]
pub struct WatchedName<T = IpAddr> {
    host: Box<str>,
    known: ArcSwap<WatchedValue<T>>,
    version: AtomicU64,
    looked_up: Notify,
    task: OnceLock<AbortHandle>,
}

impl WatchedName {
    /// The addresses last found, the preferred family first; empty if there never were any.
    pub fn addresses(&self) -> Arc<[IpAddr]> {
        self.value()
    }
}

impl WatchedName<Service> {
    /// The services last found; empty if there never were any, or the name says that there is none.
    pub fn services(&self) -> Arc<[Service]> {
        self.value()
    }
}

impl<T: PartialEq + Send + Sync + 'static> WatchedName<T> {
    pub(super) fn start<F>(
        resolver: &Resolver,
        host: &str,
        look_up: impl Fn(Resolver, Box<str>) -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = WatchResult<T>> + Send,
    {
        let watched = Arc::new(Self {
            host: host.into(),
            known: ArcSwap::from_pointee(WatchedValue {
                found: Arc::new([]),
                state: WatchState::Waiting,
                failing_since: None,
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
                let outcome = look_up(resolver_of_task.clone(), name.clone()).await;
                let Some(watched) = weak.upgrade() else { return };
                reports.about(&name, outcome.as_ref().err());
                let again_at = match &outcome {
                    Ok((_, valid_until)) => {
                        retry = RETRY_FIRST;
                        *valid_until
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
        // It is not shared yet.
        let _ = watched.task.set(task.abort_handle());
        watched
    }

    /// True if anything has changed.
    fn store(&self, outcome: WatchResult<T>) -> bool {
        let before = self.known.load_full();
        let (found, state, failing_since) = match outcome {
            Ok((found, _)) => (found, WatchState::Fresh, None),
            Err(error) => {
                let since = before.failing_since.unwrap_or_else(SystemTime::now);
                (Arc::clone(&before.found), WatchState::Failing(error), Some(since))
            }
        };
        // A server that only rotates the order has changed nothing.
        let changed = found.len() != before.found.len()
            || found.iter().any(|one| !before.found.contains(one));
        let found = if changed { found } else { Arc::clone(&before.found) };
        let first = before.state == WatchState::Waiting;
        self.known.store(Arc::new(WatchedValue { found, state, failing_since }));
        if changed {
            self.version.fetch_add(1, Ordering::Release);
        }
        self.looked_up.notify_waiters();
        changed || first
    }
}

impl<T> WatchedName<T> {
    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn value(&self) -> Arc<[T]> {
        Arc::clone(&self.known.load().found)
    }

    /// The state of the name.
    pub fn state(&self) -> WatchState {
        self.known.load().state.clone()
    }

    /// Since when look-ups fail, if they do.
    pub fn failing_since(&self) -> Option<SystemTime> {
        self.known.load().failing_since
    }

    /// A number that grows whenever the value changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits until the name has been looked up for the first time, successfully or not.
    pub async fn ready(&self) {
        loop {
            let mut next = std::pin::pin!(self.looked_up.notified());
            next.as_mut().enable();
            if self.known.load().state != WatchState::Waiting {
                return;
            }
            next.await;
        }
    }
}

impl<T> Drop for WatchedName<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Logs once that a name fails, and once that it is resolved again.
#[derive(Default)]
struct Reports {
    failing: bool,
    last: Option<Instant>,
}

impl Reports {
    fn about(&mut self, name: &str, failure: Option<&ResolveError>) {
        match failure {
            None if self.failing => {
                self.failing = false;
                info!(name, "name is resolved again");
            }
            Some(error)
                if !self.failing && self.last.is_none_or(|at| at.elapsed() >= REPORT_EVERY) =>
            {
                self.failing = true;
                self.last = Some(Instant::now());
                warn!(name, %error, "cannot look up name; what was found last stays in use");
            }
            _ => {}
        }
    }
}
