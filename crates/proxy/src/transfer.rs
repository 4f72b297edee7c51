//! The errors of a body's transfer, for all protocols.

use std::io;

use wire::http1::ChunkError;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection ended in the middle of the message")]
    Truncated,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The peer or the connection has ended a stream; with the reason, if that has the same meaning
    /// for the other side. (REFUSED_STREAM has not: it would claim that nothing was processed.)
    #[error("the connection broke: {1}")]
    Reset(Option<Reset>, io::Error),
    #[error("malformed chunked body: {0}")]
    Malformed(ChunkError),
    #[error("the message is malformed: {0}")]
    Invalid(&'static str),
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("no byte came for too long")]
    Idle,
    #[error("the body came slower than allowed")]
    TooSlow,
}

/// Why a stream is reset, for all protocols with streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It is no longer needed.
    Cancelled,
    /// The peer has sent too much of something.
    EnhanceYourCalm,
    /// The connection's TLS is too weak.
    InadequateSecurity,
    /// The request must come over HTTP/1.1.
    Http11Required,
    /// The other side of a tunnel has failed (RFC 9113, section 8.5).
    ConnectError,
    /// The peer has broken a rule of the protocol.
    Protocol,
    /// The proxy has failed.
    Internal,
}

/// Why bytes could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("no byte was taken for too long")]
    Idle,
    #[error("the bytes were taken slower than allowed")]
    TooSlow,
}

/// Which end of a transfer (`body::pump`) failed.
#[derive(Debug)]
pub(crate) enum PumpError {
    Reading(ReadError),
    Writing(WriteError),
}
