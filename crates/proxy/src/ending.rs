//! How an exchange ends, for the connection of its client.

use crate::tunnel::TunnelStart;
use observe::{ErrorKind, Record};

/// How an exchange ended, for the client's connection.
pub(crate) enum Ending {
    /// The response is complete and the request was read whole.
    Kept,
    /// The response is complete, but the connection cannot be used again.
    Closed,
    /// The response is not complete: the client must see that.
    Broken,
    /// The connection becomes a tunnel.
    Tunnel(Box<TunnelStart>),
}

/// The client has left: there is no response.
pub(crate) fn gone(record: &mut Record) -> Ending {
    record.fail(ErrorKind::ClientGone, "the client closed its connection before the end");
    Ending::Broken
}
