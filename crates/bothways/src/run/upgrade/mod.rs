//! Upgrade: another process, usually of a new binary, takes over the listening sockets, and this one drains.
//!
//! ```text
//! old process                                 new process
//! starts the binary, passes its sockets ────► reads the configuration, binds what is new,
//!                                             looks up names, checks endpoints
//!                                       ◄──── ready
//! go, with what was changed at run time ────► accepts from every socket
//!                                       ◄──── serving
//! tells the service manager, stops      ────► tells the service manager that it is ready
//! accepting, drains, ends
//! ```
//!
//! Connections wait in the queue of a socket, which both processes share, so at every moment somebody accepts from each of
//! them. Until `go`, nothing that the new process does can be noticed: if it fails, is not ready in time, or does not
//! speak as above, it is killed, and the old process goes on. [`successor`] is the old side, [`predecessor`] the new
//! one; [`under_way`] connects the old side with the control thread.
//! Not here: draining (`drain`), the sockets themselves (`net`, `proxy`).

mod message;
mod own_binary;
mod predecessor;
mod report;
mod successor;
mod under_way;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use own_binary::find as own_binary;
pub(super) use predecessor::{HandedOver, Predecessor};
pub(crate) use report::UpgradeReport;
pub(super) use under_way::{Finished, UnderWay, UpgradeOffer};

/// How long a new process may take until it is ready, if nothing else is said.
pub(crate) const READY_TIME: Duration = Duration::from_secs(30);

/// A request for an upgrade.
pub(super) struct UpgradeRequest {
    /// Another binary than the one that runs.
    pub(super) binary: Option<PathBuf>,
    /// How long the new process may take until it is ready.
    pub(super) within: Duration,
    /// Receives the report; `None` if only the log does.
    pub(super) reply: Option<oneshot::Sender<UpgradeReport>>,
}
