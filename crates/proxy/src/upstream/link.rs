//! The link that a request goes over: one row for each protocol that endpoints speak.
//!
//! A [`Link`] is a connection, or a stream of one, that one exchange uses. [`over!`] runs the same code over a
//! link of any protocol: it opens an exchange ([`Protocol::open`](super::Protocol::open)), which
//! [`UpstreamExchange::finish`](super::UpstreamExchange::finish) ends;
//! the link then holds what a tunnel begins with.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use config::UpstreamProtocol;

use super::exchange::{FarEnd, UpstreamHead};
use super::http1::{Http1Link, write_head};
use super::http2::Http2Link;
use super::scgi::{ScgiLink, print_variables};
use crate::account::Charge;
use crate::pool::{Connection, Http2Connection, StreamPermit};

/// A connection or a stream that carries one request.
pub(crate) enum Link {
    /// A connection of its own.
    Http1(Http1Link),
    /// A stream of an HTTP/2 connection.
    Http2(Http2Link),
    /// A connection of its own, for this exchange alone.
    Scgi(ScgiLink),
}

/// Runs the same code over a link of any protocol.
macro_rules! over {
    ($target:expr, $link:ident => $run:expr) => {
        match $target {
            $crate::upstream::Link::Http1($link) => $run,
            $crate::upstream::Link::Http2($link) => $run,
            $crate::upstream::Link::Scgi($link) => $run,
        }
    };
}
pub(crate) use over;

/// Appends the head of a request as an endpoint of this protocol gets it, in lines for people.
pub(crate) fn print_head(protocol: UpstreamProtocol, head: &UpstreamHead<'_>, out: &mut Vec<u8>) {
    match protocol {
        UpstreamProtocol::Scgi => print_variables(head, out),
        _ => {
            write_head(head, out);
        }
    }
}

impl Link {
    /// A connection that speaks HTTP/1.1.
    pub(crate) fn http1(connection: Connection) -> Self {
        Self::Http1(Http1Link::new(connection))
    }

    /// A stream of an HTTP/2 connection; `secure`: it uses TLS.
    pub(crate) fn http2(permit: StreamPermit, secure: bool) -> Self {
        Self::Http2(Http2Link::new(permit, secure))
    }

    /// A connection that speaks SCGI.
    pub(crate) fn scgi(connection: Connection) -> Self {
        Self::Scgi(ScgiLink::new(connection))
    }

    /// Whether the connection has carried a response before.
    pub(crate) fn reused(&self) -> bool {
        match self {
            Self::Http1(link) => link.connection.reused,
            Self::Http2(link) => link.reused(),
            Self::Scgi(_) => false,
        }
    }

    /// The address dialled; `None` for a unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(link) => link.connection.address,
            Self::Http2(link) => link.connection().address(),
            Self::Scgi(link) => link.connection.address,
        }
    }

    /// Our own address on the connection, where it is known.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        let connection = match self {
            Self::Http1(link) => &link.connection,
            Self::Http2(_) => return None,
            Self::Scgi(link) => &link.connection,
        };
        connection.stream.local_address().map(|address| address.ip().to_canonical())
    }

    /// The HTTP/2 connection that the stream belongs to.
    pub(crate) fn http2_connection(&self) -> Option<&Rc<Http2Connection>> {
        match self {
            Self::Http1(_) | Self::Scgi(_) => None,
            Self::Http2(link) => Some(link.connection()),
        }
    }

    /// Counts a connection of its own on the client from now on.
    pub(crate) fn charge(&mut self, charge: Option<Charge>) {
        match self {
            Self::Http1(link) => link.connection.charge = charge,
            Self::Http2(_) => {}
            Self::Scgi(link) => link.connection.charge = charge,
        }
    }

    /// The connection, unless it is shared.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        match self {
            Self::Http1(link) => Some(link.connection),
            Self::Http2(_) => None,
            Self::Scgi(link) => Some(link.connection),
        }
    }

    /// The upstream's side of a tunnel, after an exchange that started one; `None` if it ended as it
    /// began.
    pub(crate) fn into_tunnel(self) -> Option<FarEnd> {
        match self {
            Self::Http1(link) => Some(link.into_tunnel()),
            Self::Http2(link) => link.into_tunnel(),
            Self::Scgi(_) => None,
        }
    }
}
