//! HTTP/2 by the `h2` crate: streams become the same exchange as requests of HTTP/1.
//!
//! [`Receiving`] and [`Sending`] are the two directions of a stream, the same towards clients and
//! upstreams. `request` and `response` turn heads into canonical messages and back: no byte of one
//! passes unjudged. `server` is a client's connection,
//! `stream` one of its streams; `client` has the connections to endpoints.
//! Not here: what happens within an exchange (`exchange`), what a peer may overdo (`wire::http2`).

mod client;
mod fields;
mod guarded;
mod receive;
mod request;
mod response;
mod send;
mod server;
mod stream;

pub(crate) use client::{Acquired, Http2Upward, Multiplexed, Multiplexer, Spoken, Ticket, Wanted};
pub(crate) use receive::Receiving;
pub(crate) use request::RefusedRequest;
pub(crate) use send::{Half, Sending};
pub(crate) use server::serve;
pub(crate) use stream::{Arrived, serve_stream};
