//! The memory of an exchange on a worker, and what the connection does after it.

use net::{Alarm, Buffer};

use crate::core::Core;
use crate::tunnel::Tunnel;
use crate::work::Work;

/// The memory of one exchange.
pub(crate) struct Workspace {
    pub(crate) work: Work,
    /// For what comes from the client.
    pub(crate) alarm: Alarm,
    /// For what goes to the client, on connections whose own alarm serves other exchanges too.
    pub(crate) reply_alarm: Alarm,
}

impl Workspace {
    pub(super) fn new(core: &Core) -> Self {
        let work = Work::default();
        Self { work, alarm: core.wheel.alarm(), reply_alarm: core.wheel.alarm() }
    }

    /// Frees memory that an unusual exchange has needed.
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

/// What a connection does after its worker has served what arrived.
pub(crate) enum Next {
    /// It waits for the next request.
    Idle,
    /// The same: nothing has arrived that could be read, such as a part of a TLS record.
    Unready,
    /// It closes; with `linger` after reading on for a while.
    Close { linger: bool },
    /// It is reset, so that the client sees an incomplete message.
    Abort,
    /// It becomes a tunnel.
    Tunnel(Box<Tunnel>),
    /// It speaks HTTP/2; these bytes have been read. (In a box, so that idle connections stay
    /// small.)
    Http2(Box<Buffer>),
}
