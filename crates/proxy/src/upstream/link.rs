//! The link that a request goes over: one row for each protocol that endpoints speak.
//!
//! A [`Link`] is a connection, or a stream of one, that one exchange uses. [`over!`] runs the same code over a
//! link of any protocol: it opens an exchange ([`Protocol::open`]), which [`UpstreamExchange::finish`] ends;
//! the link then holds what a tunnel begins with.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use net::{Alarm, Buffer};

use super::exchange::UpstreamExchange;
use super::http1::Http1Link;
use super::http2::Http2Link;
use crate::account::Charge;
use crate::body::Patience;
use crate::core::Core;
use crate::http2::StreamEnds;
use crate::pool::{Connection, Http2Connection, StreamPermit};

/// A protocol that endpoints speak.
pub(crate) trait Protocol {
    type UpstreamExchange<'s>: UpstreamExchange
    where
        Self: 's;

    /// Starts an exchange.
    fn open<'s>(
        &'s mut self,
        core: &'s Core,
        alarms: Alarms<'s>,
        patience: Patience<'s>,
    ) -> Self::UpstreamExchange<'s>;
}

/// The alarms of one exchange with an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Alarms<'a> {
    /// For what is sent to the endpoint.
    pub(crate) sending: &'a Alarm,
    /// For what the endpoint sends.
    pub(crate) receiving: &'a Alarm,
}

/// A connection or a stream that carries one request.
pub(crate) enum Link {
    /// A connection of its own.
    Http1(Http1Link),
    /// A stream of an HTTP/2 connection.
    Http2(Http2Link),
}

/// Runs the same code over a link of any protocol.
macro_rules! over {
    ($target:expr, $link:ident => $run:expr) => {
        match $target {
            $crate::upstream::Link::Http1($link) => $run,
            $crate::upstream::Link::Http2($link) => $run,
        }
    };
}
pub(crate) use over;

impl Link {
    /// A connection that speaks HTTP/1.1.
    pub(crate) fn http1(connection: Connection) -> Self {
        Self::Http1(Http1Link::new(connection))
    }

    /// A stream of an HTTP/2 connection; `secure`: it uses TLS.
    pub(crate) fn http2(permit: StreamPermit, secure: bool) -> Self {
        Self::Http2(Http2Link::new(permit, secure))
    }

    /// Whether the connection has carried a response before.
    pub(crate) fn reused(&self) -> bool {
        match self {
            Self::Http1(link) => link.connection.reused,
            Self::Http2(link) => link.reused(),
        }
    }

    /// The address dialled; `None` for a unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(link) => link.connection.address,
            Self::Http2(link) => link.connection().address(),
        }
    }

    /// Our own address on the connection, where it is known.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        let Self::Http1(link) = self else { return None };
        link.connection.stream.local_address().map(|address| address.ip().to_canonical())
    }

    /// The HTTP/2 connection that the stream belongs to.
    pub(crate) fn http2_connection(&self) -> Option<&Rc<Http2Connection>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(link) => Some(link.connection()),
        }
    }

    /// Counts a connection of its own on the client from now on.
    pub(crate) fn charge(&mut self, charge: Option<Charge>) {
        if let Self::Http1(link) = self {
            link.connection.charge = charge;
        }
    }

    /// The connection, unless it is shared.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        match self {
            Self::Http1(link) => Some(link.connection),
            Self::Http2(_) => None,
        }
    }

    /// The upstream's side of a tunnel, after an exchange that started one; `None` if it ended as it
    /// began.
    pub(crate) fn into_tunnel(self) -> Option<FarEnd> {
        match self {
            Self::Http1(link) => Some(link.into_tunnel()),
            Self::Http2(link) => link.into_tunnel(),
        }
    }
}

/// The upstream's side of a tunnel.
pub(crate) enum FarEnd {
    /// A whole connection, and the bytes that were read of it already.
    Connection(Connection, Option<Buffer>),
    /// A stream, and the permit for it.
    Stream(StreamEnds, StreamPermit),
}
