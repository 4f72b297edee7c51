//! A name whose addresses are kept up to date.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::{Answer, ResolveError};

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
/// addresses.
#[derive(Debug)]
pub struct Watched {
    host: Box<str>,
    known: ArcSwap<Known>,
    version: AtomicU64,
}

impl Watched {
    pub(super) fn new(host: &str) -> Self {
        let known = Known { addresses: Arc::default(), state: WatchedState::Waiting };
        Self { host: host.into(), known: ArcSwap::from_pointee(known), version: AtomicU64::new(0) }
    }

    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses last known, in the order of the answer; none while there never was one.
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

    pub(super) fn store(&self, outcome: Result<Answer, ResolveError>) {
        let before = self.known.load_full();
        let (addresses, state) = match outcome {
            Ok(answer) => (answer.addresses, WatchedState::Fresh),
            Err(error) => (Arc::clone(&before.addresses), WatchedState::Failing(error)),
        };
        let changed = addresses != before.addresses;
        self.known.store(Arc::new(Known { addresses, state }));
        if changed {
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}
