//! What an exchange needs of a client's protocol: a request's body, and a way to reply.
//!
//! HTTP/1 on a connection and HTTP/2 on a stream each have one [`Downstream`], and everything else is
//! written for any of them.

use config::Timeouts;
use message::{Request, Response};

use crate::body::{Reset, Sink, Source, WriteError};

/// A client, whatever protocol it speaks: the body of its request, and the reply to it.
pub(crate) trait Downstream {
    type Body: Source;
    type Reply: Reply;
    /// Both directions at once.
    fn split(&mut self) -> (&mut Self::Body, &mut Self::Reply);
    /// Starts the body, delimited as the request's head says.
    fn begin_body(&mut self, request: &Request, limit: Option<u64>);
    /// Sets how slow the client may be, from here on.
    fn set_patience(&mut self, request: &Request, timeouts: &Timeouts);
    /// The whole rest of the body, if it is buffered and its length is known.
    fn buffered_body(&self) -> Option<&[u8]>;
    /// Discards it.
    fn skip_buffered_body(&mut self);
}

/// The reply to a client.
pub(crate) trait Reply: Sink {
    /// Sends an interim response, if the client's version has those.
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError>;
    /// The head of an endpoint's response has come. It is not edited yet, and it is the one that [`Reply::head`] starts.
    fn arrived(&mut self, _request: &Request, _response: &Response) {}
    /// Starts the response; the head is sent with the first data. `keep`: the proxy has no reason
    /// to close the connection.
    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>);
    /// Starts a tunnel by 101.
    fn switch(&mut self, request: &Request, response: &Response);
    /// Aborts the response with the reason that the endpoint gave, where the client's protocol can
    /// express it.
    fn break_off(&mut self, _reason: Reset) {}
    /// Whether the response has begun.
    fn has_begun(&self) -> bool;
    /// Bytes of body, and in all.
    fn sent(&self) -> (u64, u64);
}
