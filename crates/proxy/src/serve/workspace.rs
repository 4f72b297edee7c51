//! The memory of an exchange that a worker has, and what becomes of the connection after it.

use net::{Alarm, Buffer};

use crate::core::Core;
use crate::tunnel::Tunnel;
use crate::work::Work;

/// The memory of one exchange.
pub(crate) struct Workspace {
    pub(crate) work: Work,
    /// For what comes from the client.
    pub(crate) alarm: Alarm,
    /// For what goes to it, where the connection's own alarm is not the exchange's to use.
    pub(crate) reply_alarm: Alarm,
}

impl Workspace {
    pub(super) fn new(core: &Core) -> Self {
        let work = Work::default();
        Self { work, alarm: core.wheel.alarm(), reply_alarm: core.wheel.alarm() }
    }

    /// Gives back memory that an unusual exchange took.
    pub(super) fn shrink(&mut self) {
        const USUAL: usize = 32 * 1024;
        let Work { request, response, path, readings, body, replay, .. } = &mut self.work;
        if request.fields.len() > 64 {
            request.fields.shrink();
        }
        if response.fields.len() > 64 {
            response.fields.shrink();
        }
        path.shrink_to(USUAL);
        readings.shrink();
        body.shrink_to(USUAL);
        replay.shrink();
    }
}

/// What becomes of a connection after what has arrived was served.
pub(crate) enum Next {
    /// It waits for the next request.
    Idle,
    /// The same: nothing has come that could be read, such as a part of a TLS record.
    Unready,
    /// It is closed; with `linger` after reading on for a while.
    Close { linger: bool },
    /// It is broken off, so that the client sees an incomplete message.
    Abort,
    /// It has become a tunnel.
    Tunnel(Box<Tunnel>),
    /// It speaks HTTP/2; this has been read of it. (In a box, so that idle connections stay small.)
    Http2(Box<Buffer>),
}
