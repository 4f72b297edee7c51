//! An address that a core listens on.

use std::cell::Cell;
use std::net::SocketAddr;

use config::ListenerId;
use observe::ListenerSlot;

/// An address that this core listens on, over all snapshots.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// Its listener in the current snapshot; `None` if there is none.
    pub(crate) id: Cell<Option<ListenerId>>,
    pub(crate) slot: ListenerSlot,
    pub(crate) closed: Cell<bool>,
    pub(crate) close: tokio::sync::Notify,
}

impl Listening {
    pub(crate) fn new(address: SocketAddr, id: Option<ListenerId>, slot: ListenerSlot) -> Self {
        let (id, closed) = (Cell::new(id), Cell::new(false));
        Self { address, id, slot, closed, close: tokio::sync::Notify::new() }
    }
}
