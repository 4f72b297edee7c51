//! Messages over streams of HTTP/2, by the `h2` crate: the same towards clients and endpoints.
//!
//! [`Http2Receiver`] and [`Http2Sender`] are the two directions of a stream. `request` and `response` turn
//! heads into canonical messages and back: no byte of one passes unchecked. [`GuardedStream`] is what `h2`
//! reads from and writes to.
//! Not here: clients' connections and their streams (`serve`), endpoints' (`pool`, `upstream`), the limits
//! for peers (`wire::http2`).

mod fields;
mod guarded;
mod receive;
mod request;
mod response;
mod send;

pub(crate) use fields::{carried, load, map};
pub(crate) use guarded::{GuardState, GuardedStream, UnderlyingConnection, UnderlyingStream};
pub(crate) use receive::Http2Receiver;
pub(crate) use request::{RequestReader, RequestRefusal};
pub(crate) use send::{ClientBudget, Http2Sender, SendHalf};

use std::cell::RefCell;

use h2::RecvStream;
use net::{Alarm, Wheel};

use crate::body::{Patience, Reset};

/// Both directions of a stream that carries bytes and no message: an end of a tunnel.
pub(crate) struct StreamEnds {
    /// `None` if it has ended already.
    receive: Option<RecvStream>,
    send: RefCell<SendHalf>,
}

impl StreamEnds {
    pub(crate) fn new(receive: Option<RecvStream>, send: RefCell<SendHalf>) -> Self {
        Self { receive, send }
    }

    /// The receiver and the sender.
    pub(crate) fn open<'a>(
        &'a mut self,
        wheel: &'a Wheel,
        [reading, writing]: &'a [Alarm; 2],
    ) -> (Http2Receiver<'a>, Http2Sender<'a>) {
        let (receive, patience) = (self.receive.take(), Patience::endless());
        let mut source = Http2Receiver::new(receive, &self.send, wheel, reading, patience.clone());
        source.refuse_trailers(); // RFC 9113, section 8.5: nothing but DATA
        (source, Http2Sender::new(&self.send, wheel, writing, patience, None))
    }

    /// Resets the stream.
    pub(crate) fn reset(&self, reset: Reset) {
        self.send.borrow_mut().reset(reset);
    }
}
