//! When an exchange must be over, all its tries together.

use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use net::Alarm;

use crate::exchange::{Context, Trouble};
use crate::observe::ErrorKind;

/// When an exchange must be over.
pub(crate) struct Deadline {
    alarm: Alarm,
}

impl Deadline {
    /// The time that the settings give an exchange; zero: all that it takes.
    pub(crate) fn new(context: &Context<'_>, limit: Duration) -> Option<Self> {
        if limit.is_zero() {
            return None;
        }
        let alarm = context.core.wheel.alarm();
        alarm.set(limit);
        Some(Self { alarm })
    }

    /// Ready once it has passed.
    pub(crate) fn poll_passed(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.alarm.poll_fired(cx)
    }

    /// What the client is told then.
    pub(crate) fn trouble(&self) -> Trouble {
        let detail = "the exchange took longer than the time set for requests";
        Trouble::new(ErrorKind::RequestTimeout, detail)
    }
}
