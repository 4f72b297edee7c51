//! What an exchange needs of an endpoint's protocol: to send the request and to read the response.

use std::cell::Cell;
use std::time::{Duration, Instant};

use message::{Known, Request, Response};
use net::{Alarm, Buffer, Size};
use rules::ClientFacts;

use crate::body::{Patience, Sink, Source, WriteError};
use crate::core::Core;
use crate::http2::StreamEnds;
use crate::pool::{Connection, StreamPermit};
use crate::trouble::Trouble;
use observe::ErrorKind;

/// The parts of a request head for an upstream, besides the request.
pub(crate) struct UpstreamHead<'a> {
    pub(crate) request: &'a Request,
    /// Path and query, or the whole URI towards another proxy.
    pub(crate) target: &'a [u8],
    pub(crate) host: &'a str,
    /// Whether the request asks for an upgrade that is forwarded.
    pub(crate) upgrade: bool,
    /// The WebSocket key that we made for a client of HTTP/2, which sends none.
    pub(crate) key: Option<&'a str>,
    /// What some protocols tell of the client beside the request's fields.
    pub(crate) client: ClientFacts<'a>,
}

/// True for request fields that each protocol writes itself, or that are never forwarded.
pub(crate) fn is_ours(known: Known) -> bool {
    matches!(known, Known::Host | Known::ContentLength | Known::Expect | Known::Proxy)
}

/// How far the request has been sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Running,
    Complete,
    /// The upstream reads no more of it; a response may come all the same.
    Refused,
}

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

/// An exchange with an endpoint, whatever protocol it speaks.
pub(crate) trait UpstreamExchange {
    type Out: Sink;
    type In: ResponseReader;
    type Cancel<'s>: Cancel
    where
        Self: 's;
    /// Sends the head and the part of the body that is buffered; `more`: the rest follows, and the
    /// head may wait for it.
    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble>;
    /// Both directions, and the means to cancel the exchange.
    fn split(&mut self) -> (&mut Self::Out, &mut Self::In, Self::Cancel<'_>);
    /// Limits how much is read in one go, where the protocol can choose.
    fn read_by(&mut self, _size: Size) {}
    /// Ends the exchange, and puts what a tunnel begins with into its link. `response` is the last head
    /// that came.
    fn finish(&mut self, response: &Response) -> LinkState;
}

/// Cancels an exchange with an endpoint.
pub(crate) trait Cancel {
    /// Tells the endpoint that its response is no longer needed.
    fn cancel(&self);
}

/// Reads the response of an endpoint.
pub(crate) trait ResponseReader: Source {
    /// Reads the next head, of an interim response or the final one, which must begin within
    /// `first_byte` after the request was sent.
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead>;
    /// Starts the body that follows the final head.
    fn begin_body(&mut self, response: &Response);
    /// Whether the response to an upgrade contains the proof for this key.
    fn proves(&self, key: &[u8], response: &Response) -> bool;
    /// When the first byte came.
    fn first_byte_at(&self) -> Option<Instant>;
}

/// Why there is no head. `silent`: not a single byte of one came.
pub(crate) struct NoHead {
    pub(crate) trouble: Trouble,
    pub(crate) silent: bool,
}

/// What is known of a link after an exchange.
pub(crate) struct LinkState {
    /// No byte of the request has reached the endpoint.
    pub(crate) unsent: bool,
    /// The endpoint says that it has not processed the request.
    pub(crate) unprocessed: bool,
    /// The connection has ended, not just the exchange.
    pub(crate) closed: bool,
    /// The endpoint has refused the request because it did not come over HTTP/1.1.
    pub(crate) wants_http1: bool,
    /// The response is complete, the connection is open, and no further byte has arrived.
    pub(crate) reusable: bool,
    /// A response has offered a login that applies to the whole connection.
    pub(crate) offers_login: bool,
}

/// The upstream's side of a tunnel.
pub(crate) enum FarEnd {
    /// A whole connection, and the bytes that were read of it already.
    Connection(Connection, Option<Buffer>),
    /// A stream, and the permit for it.
    Stream(StreamEnds, StreamPermit),
}

/// The request could not be sent.
pub(crate) fn writing_failed(error: &WriteError) -> Trouble {
    let kind = match error {
        WriteError::Broken(_) => ErrorKind::ConnectionTerminated,
        WriteError::Idle | WriteError::TooSlow => ErrorKind::ConnectionWriteTimeout,
    };
    Trouble::new(kind, format!("the request could not be sent to the endpoint: {error}"))
}
