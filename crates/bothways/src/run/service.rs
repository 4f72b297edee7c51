//! Notifications to systemd (`sd_notify`): ready, reloading, stopping, and a status line.
//!
//! Without systemd there is no `NOTIFY_SOCKET`, and nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The time to close remaining connections and to flush the logs.
const DROP_REST: Duration = Duration::from_secs(5);

/// Traffic is served; also sent when a reload has ended.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. `Type=notify-reload` requires the time.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The process stops, within at most `within`.
pub(super) fn stopping(status: &str, within: Duration) {
    let within = within + DROP_REST;
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status(status),
        NotifyState::ExtendTimeoutUsec(within),
    ]);
}

/// Another process of the unit is its main process now; it will send the notifications.
pub(super) fn main_process(process: u32) {
    notify(&[NotifyState::MainPid(process)]);
}

/// Sets the line that `systemctl status` shows.
pub(super) fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
