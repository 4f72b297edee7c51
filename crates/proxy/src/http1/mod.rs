//! HTTP/1.1 on a socket: heads and bodies, the same towards clients and upstreams.
//!
//! [`Http1Receiver`] reads messages from one direction of a connection, [`Http1Sender`] writes them to the
//! other. The protocol itself is in `wire::http1`; this module adds buffers, sockets and time-outs.

mod head;
mod incoming;
mod outgoing;

pub(crate) use head::{ClientHead, with_date, write_number};
pub(crate) use incoming::{HeadEnd, Http1Receiver};
pub(crate) use outgoing::{Framing, Http1Sender, Scratch};
