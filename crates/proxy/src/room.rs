//! Open files: which clients may use the last ones.
//!
//! The kernel gives every new file the lowest number that is free, so a high number means that all below are in
//! use. Numbers from [`Files::kept`] on are reserved for names, logs, certificates, checks and the admin
//! interface; those of the quarter before are for clients with few connections, so that no client can keep the
//! others out. This needs no counting.
//! Not here: how many connections a client may have (`account`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::{Account, Resource};

/// Files that are reserved for the proxy itself: a sixteenth of all, within these bounds.
const KEPT_MIN: u64 = 8;
const KEPT_MAX: u64 = 128;
/// A client has few connections if it has no more than this, both ways, on its core.
const LITTLE: u64 = 8;

/// How many files may be open.
pub(crate) struct Files(AtomicU64);

impl Files {
    pub(crate) fn new(limit: u64) -> Self {
        Self(AtomicU64::new(limit))
    }

    /// Sets the limit.
    pub(crate) fn set(&self, limit: u64) {
        self.0.store(limit, Ordering::Relaxed);
    }

    /// The first number that no connection of a client or to an endpoint may have.
    pub(crate) fn kept(&self) -> u64 {
        let limit = self.0.load(Ordering::Relaxed);
        limit - (limit / 16).clamp(KEPT_MIN, KEPT_MAX).min(limit)
    }

    /// The first number that no connection for this client may have.
    pub(crate) fn of(&self, account: &Account) -> u64 {
        let kept = self.kept();
        match has_little(account) {
            true => kept,
            false => kept - self.0.load(Ordering::Relaxed) / 4,
        }
    }
}

/// Whether a client has few connections.
pub(crate) fn has_little(account: &Account) -> bool {
    account.used(Resource::Connections) + account.used(Resource::Upstreams) <= LITTLE
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::{Accounts, ClientKey, CoreAccounts};

    #[test]
    fn the_last_files_are_for_others() {
        let accounts = CoreAccounts::new(&Arc::new(Accounts::new(1)));
        let account = accounts.of(ClientKey::of([192, 0, 2, 1].into(), 64));
        for (limit, little, much) in
            [(64, 56, 40), (256, 240, 176), (1 << 20, (1 << 20) - 128, (3 << 18) - 128)]
        {
            let files = Files::new(limit);
            assert_eq!(files.of(&account), little, "{limit}");
            let _charge = account.charge(Resource::Upstreams, 9, 1024).unwrap();
            assert_eq!(files.of(&account), much, "{limit}");
        }
    }
}
