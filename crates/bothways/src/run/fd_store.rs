//! systemd's file descriptor store: listening sockets that stay open while the service restarts, so that connections wait
//! instead of being refused (`FileDescriptorStoreMax=` in the unit).
//!
//! The sockets come back like those of socket activation. Those of an address that is not listened on any more are
//! removed: nobody would accept from them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;

use sd_notify::NotifyState;

/// Descriptors of one notification at most.
const DESCRIPTORS_MAX: usize = 100;

/// What is in the store.
#[derive(Debug, Default)]
pub(super) struct FdStore {
    names: RefCell<BTreeSet<String>>,
}

impl FdStore {
    /// With these addresses, which came from the service manager.
    pub(super) fn new(inherited: &[TcpListener]) -> Self {
        let addresses = inherited.iter().filter_map(|socket| socket.local_addr().ok());
        Self { names: RefCell::new(addresses.map(name_of).collect()) }
    }

    /// Keeps these sockets, and no others.
    pub(super) fn keep(&self, sockets: &[(SocketAddr, Arc<[TcpListener]>)]) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let mut names = self.names.borrow_mut();
        let mut kept = BTreeSet::new();
        for (_, sockets) in sockets {
            let Some(address) = sockets.first().and_then(|one| one.local_addr().ok()) else {
                continue;
            };
            let name = name_of(address);
            // What came from the store is in it; systemd knows the same socket again.
            for some in sockets.chunks(DESCRIPTORS_MAX) {
                let some: Vec<_> = some.iter().map(AsFd::as_fd).collect();
                let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
                report(sd_notify::notify_with_fds(&states, &some));
            }
            kept.insert(name);
        }
        for gone in names.difference(&kept) {
            report(sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(gone)]));
        }
        *names = kept;
    }
}

/// A colon would separate names.
fn name_of(address: SocketAddr) -> String {
    format!("listen-{address}").replace(':', "_")
}

fn report(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
