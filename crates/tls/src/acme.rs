//! Certificates from ACME directories (RFC 8555): `tls auto`.
//!
//! [`Manager::keep`] puts the stored certificate into its slot before it returns, and starts a task that orders and
//! renews: one for each set of names, so that a name that fails does not delay others. Dropping the [`RenewalHandle`]
//! ends the task.
//!
//! `schedule` says when (without a clock or random numbers of its own), `order` executes one order, `proof` and `hook`
//! prove control of names, `account` and `http` talk to a directory, `store` keeps what must outlast the process.
//! Invariant: a slot that has a certificate never loses it; what serves is only replaced.

mod account;
mod check;
mod failure;
mod hook;
mod http;
mod order;
mod proof;
mod schedule;
mod store;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use config::{Acme, KeyKind};
use tokio::sync::watch;

use self::account::{Connect, Directory};
use self::http::Https;
use self::store::Store;
use self::task::Task;
use crate::challenges::Challenges;
use crate::slot::Slot;
use crate::state::{Lock, StateDir, StateError};

pub(crate) use self::check::{check, check_files};

/// How long the end of the process waits for records in the DNS to be cleared.
const CLEARING_WAIT: Duration = Duration::from_secs(10);

/// Manages the certificates of all directories.
pub(crate) struct Manager {
    shared: Arc<ManagerState>,
    directories: Mutex<HashMap<DirectoryKey, Arc<Directory>>>,
}

/// The URL, and the outside account that ours is bound to.
type DirectoryKey = (Box<str>, Option<Box<str>>);

/// The state that all tasks share.
struct ManagerState {
    state: StateDir,
    challenges: Arc<Challenges>,
    connect: Connect,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// Held from the first order on, so that a second process orders nothing.
    lock: Mutex<Option<Lock>>,
    /// Orders under way that have records in the DNS.
    records_up: AtomicUsize,
}

impl ManagerState {
    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Makes sure that no other process orders.
    fn lock(&self) -> Result<(), StateError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            *lock = Some(self.state.lock("acme")?);
        }
        Ok(())
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("state", &self.shared.state).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager that stores its data in `state` and answers challenges by `challenges`. It does nothing yet.
    pub(crate) fn start(state: StateDir, challenges: Arc<Challenges>) -> Self {
        let connect: Connect =
            Arc::new(|acme| Ok(Arc::new(Https::new(acme.ca.as_deref())?) as Arc<_>));
        Self::with(state, challenges, connect, Box::new(SystemTime::now))
    }

    fn with(
        state: StateDir,
        challenges: Arc<Challenges>,
        connect: Connect,
        clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    ) -> Self {
        let lock = Mutex::default();
        let records_up = AtomicUsize::new(0);
        let shared = Arc::new(ManagerState { state, challenges, connect, clock, lock, records_up });
        Self { shared, directories: Mutex::default() }
    }

    /// Fills an empty slot with what is stored for these names.
    pub(crate) fn serve_stored(&self, acme: &Acme, names: &[Box<str>], slot: &Slot) {
        let wanted = OrderSpec::new(acme, names);
        task::serve_stored(&self.directory(acme).store, &wanted, slot, self.shared.now());
    }

    /// Waits until no order that was stopped has records in the DNS any more, for a few seconds.
    pub(crate) fn wait_until_cleared(&self) {
        let deadline = Instant::now() + CLEARING_WAIT;
        while self.shared.records_up.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets another process order.
    pub(crate) fn unlock(&self) {
        *self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Fills an empty slot with what is stored for these names, and keeps a certificate ordered and
    /// renewed until what is returned is dropped. Within a tokio runtime.
    pub(crate) fn keep(&self, acme: &Acme, names: &[Box<str>], slot: Arc<Slot>) -> RenewalHandle {
        self.serve_stored(acme, names, &slot);
        let (stop, stopped) = watch::channel(false);
        let status = Arc::new(Mutex::new(Status::default()));
        let task = Task::new(
            Arc::clone(&self.shared),
            self.directory(acme),
            acme.clone(),
            OrderSpec::new(acme, names),
            slot,
            Arc::clone(&status),
        );
        tokio::spawn(task.run(stopped));
        RenewalHandle { stop, status }
    }

    fn directory(&self, acme: &Acme) -> Arc<Directory> {
        let eab = acme.eab.as_ref().map(|eab| eab.key_id.clone());
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = directories.entry((acme.directory.clone(), eab.clone()));
        let made = || {
            let store = Store::new(self.shared.state.clone(), &acme.directory, eab.as_deref());
            Arc::new(Directory::new(store, Arc::clone(&self.shared.connect)))
        };
        Arc::clone(entry.or_insert_with(made))
    }
}

/// What a certificate is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OrderSpec {
    /// Sorted, each once.
    names: Vec<Box<str>>,
    key: KeyKind,
    profile: Option<Box<str>>,
}

impl OrderSpec {
    fn new(acme: &Acme, names: &[Box<str>]) -> Self {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        Self { names, key: acme.key, profile: acme.profile.clone() }
    }
}

/// Where the certificate for these names is kept once there is one, with its key.
pub fn certificate_file(state: &StateDir, acme: &Acme, names: &[Box<str>]) -> PathBuf {
    let eab = acme.eab.as_ref().map(|eab| &*eab.key_id);
    let store = Store::new(state.clone(), &acme.directory, eab);
    state.path_of(&store.certificate_file(&OrderSpec::new(acme, names)))
}

/// A certificate that is ordered and renewed until this is dropped.
#[derive(Debug)]
pub(crate) struct RenewalHandle {
    stop: watch::Sender<bool>,
    status: Arc<Mutex<Status>>,
}

impl RenewalHandle {
    /// Its status.
    pub(crate) fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RenewalHandle {
    fn drop(&mut self) {
        // The task withdraws its challenge responses and ends.
        self.stop.send_replace(true);
    }
}

/// The status of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Why the last try failed; `None` after a success.
    pub(crate) last_error: Option<String>,
    /// When it is ordered or renewed next, as it looks now.
    pub(crate) due: Option<SystemTime>,
}

/// Names for a message: the first few.
fn list(names: &[Box<str>]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
