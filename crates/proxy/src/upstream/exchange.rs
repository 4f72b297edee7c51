//! What an exchange needs of an endpoint's protocol: a way to send the request, and the response.

use std::cell::Cell;
use std::time::{Duration, Instant};

use message::{Known, Request, Response};
use net::Size;

use crate::body::{Sink, Source, WriteError};
use crate::trouble::Trouble;
use observe::ErrorKind;

/// What a request head for an upstream is made of, beside the request.
pub(crate) struct UpstreamHead<'a> {
    pub(crate) request: &'a Request,
    /// Path and query, or the whole URI towards another proxy.
    pub(crate) target: &'a [u8],
    pub(crate) host: &'a str,
    /// Whether the request asks for an upgrade that we pass on.
    pub(crate) upgrade: bool,
    /// The key of a WebSocket whose client has none, as it speaks HTTP/2.
    pub(crate) key: Option<&'a str>,
}

/// True for request fields that we write ourselves, each protocol in its way, or never pass on.
pub(crate) fn is_ours(known: Known) -> bool {
    matches!(known, Known::Host | Known::ContentLength | Known::Expect | Known::Proxy)
}

/// How far the request has got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Running,
    Complete,
    /// The upstream takes no more; a response may come all the same.
    Refused,
}

/// An exchange with an endpoint, whatever protocol it speaks.
pub(crate) trait UpstreamExchange {
    type Out: Sink;
    type In: ResponseReader;
    type Cancel<'s>: Cancel
    where
        Self: 's;
    /// Sends the head and, of the body, what is here already; `more`: the rest of it follows, and
    /// all may wait for that.
    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble>;
    /// Both directions at once, and what ends them.
    fn split(&mut self) -> (&mut Self::Out, &mut Self::In, Self::Cancel<'_>);
    /// Reads no more at once than this, where it can choose.
    fn read_by(&mut self, _size: Size) {}
    /// Ends the exchange, and leaves to its link what a tunnel begins with. `response` is the last head
    /// that came.
    fn finish(self, response: &Response) -> LinkState;
}

/// Ends an exchange with an endpoint from outside.
pub(crate) trait Cancel {
    /// Lets the endpoint know that nobody waits for its response any more.
    fn cancel(&self);
}

/// What an endpoint answers.
pub(crate) trait ResponseReader: Source {
    /// Reads the next head, of an interim response or the final one, which must begin `first_byte`
    /// after the request has left.
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead>;
    /// Starts the body that follows the final head.
    fn begin_body(&mut self, response: &Response);
    /// Whether an answer to an upgrade proves that it is meant for this key.
    fn proves(&self, key: &[u8], response: &Response) -> bool;
    /// When the first byte of all came.
    fn first_byte_at(&self) -> Option<Instant>;
}

/// Why there is no head. `silent`: not a single byte of one came.
pub(crate) struct NoHead {
    pub(crate) trouble: Trouble,
    pub(crate) silent: bool,
}

/// What an exchange leaves behind, beside how it ended.
pub(crate) struct LinkState {
    /// No byte of the request has reached the endpoint.
    pub(crate) unsent: bool,
    /// The endpoint says that it has done nothing about the request.
    pub(crate) unprocessed: bool,
    /// The connection has ended, not just the exchange.
    pub(crate) closed: bool,
    /// The endpoint has not taken it because it is not over HTTP/1.1.
    pub(crate) wants_http1: bool,
    /// The response has ended, the connection is open and nothing more has come over it.
    pub(crate) reusable: bool,
    /// A response has offered a login that holds for the connection.
    pub(crate) offers_login: bool,
}

/// The request could not be sent.
pub(crate) fn writing_failed(error: &WriteError) -> Trouble {
    let kind = match error {
        WriteError::Broken(_) => ErrorKind::ConnectionTerminated,
        WriteError::Idle | WriteError::TooSlow => ErrorKind::ConnectionWriteTimeout,
    };
    Trouble::new(kind, format!("the request could not be sent to the endpoint: {error}"))
}
