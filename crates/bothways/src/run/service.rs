//! The word to systemd (`sd_notify`): ready, reloading, stopping, and a line of status.
//!
//! Outside of systemd there is no `NOTIFY_SOCKET`, and nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// What it takes to drop what is left and to flush the logs.
const DROP_REST: Duration = Duration::from_secs(5);

/// Traffic is served; also said when a reload is over.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. `Type=notify-reload` wants the time along.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The process goes down, which takes `within` at most.
pub(super) fn stopping(status: &str, within: Duration) {
    let within = within + DROP_REST;
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status(status),
        NotifyState::ExtendTimeoutUsec(within),
    ]);
}

/// What `systemctl status` shows.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
