//! Socket activation: listening sockets that systemd opened and hands over (`LISTEN_FDS`).
//!
//! The data plane matches them to listeners by address. With them, ports below 1024 need no
//! privilege, and no connection is refused while the service restarts.

use listenfd::ListenFd;

use crate::terminal;
use proxy::Inherited;

/// Takes the inherited sockets. Call it before any thread is started.
pub(super) fn take_sockets() -> Inherited {
    let mut handed = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..handed.len() {
        match handed.take_tcp_listener(index) {
            Ok(listener) => inherited.listeners.extend(listener),
            // The log is not set up yet.
            Err(error) => terminal::to_stderr(&format!(
                "warning: inherited socket {} is not used: {error}\n",
                index + 3
            )),
        }
    }
    inherited
}
