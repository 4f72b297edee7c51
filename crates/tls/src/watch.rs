//! The thread that maintains certificates.
//!
//! It is a thread of its own with a small runtime: reading files, generating keys and requests to ACME directories must
//! not delay the control thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::keeper::KeeperState;
use crate::source::Kind;

/// How often files are checked.
const LOOK: Duration = Duration::from_secs(2);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    wake: Arc<Notify>,
    stop: Arc<Notify>,
}

impl Worker {
    /// Starts it. `None` if there can be no more threads: then everything serves, but nothing is
    /// renewed; the next reload tries again.
    pub(crate) fn start(shared: Arc<KeeperState>) -> Option<Self> {
        let started = Self::try_start(shared);
        started
            .inspect_err(|error| tracing::error!(%error, "certificates are not looked after"))
            .ok()
    }

    fn try_start(shared: Arc<KeeperState>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let worker = Self { wake: Arc::default(), stop: Arc::default() };
        let (wake, stop) = (worker.wake.clone(), worker.stop.clone());
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = look_after(&shared, &wake) => {}
                    () = stop.notified() => {}
                }
            });
            // Look-ups under way finish on their own.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("certificates".to_owned()).spawn(body)?;
        Ok(worker)
    }

    /// The set of certificates has changed.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn look_after(shared: &KeeperState, wake: &Notify) {
    loop {
        // A mistake of ours must not end the renewal of everything.
        let looked = catch_unwind(AssertUnwindSafe(|| look(shared, SystemTime::now())));
        if looked.is_err() {
            tracing::error!("the upkeep of certificates failed by a bug of this program");
        }
        shared.keep_ordered();
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = wake.notified() => {}
        }
    }
}

/// One look at everything.
pub(crate) fn look(shared: &KeeperState, now: SystemTime) {
    for source in shared.sources() {
        match source.kind() {
            Kind::Internal { .. } => match shared.internal_ca(now) {
                Ok(ca) => source.look(Some(&ca), now),
                Err(finding) => source.set_error(Some(finding.message)),
            },
            _ => source.look(None, now),
        }
        source.warn(now);
    }
    shared.tell_changed();
}
