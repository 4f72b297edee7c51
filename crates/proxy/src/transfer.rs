//! How the transfer of a body fails, in words that every protocol shares.

use std::io;

use wire::http1::ChunkError;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection ended in the middle of the message")]
    Truncated,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The peer, or the connection below, has ended a stream; with the reason, if it means the same to
    /// others: that nothing was done, as REFUSED_STREAM says, is not true of what had begun.
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

/// Why a stream ends before its time, in the words of whatever protocol knows streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nobody wants it any more.
    Cancelled,
    /// There was too much of something.
    EnhanceYourCalm,
    /// TLS below is not what is asked for.
    InadequateSecurity,
    /// It must come over HTTP/1.1.
    Http11Required,
    /// The other side of a tunnel broke (RFC 9113, section 8.5).
    ConnectError,
    /// What came breaks a rule of the protocol.
    Protocol,
    /// We failed.
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

/// Which end of a [`pump`] failed.
#[derive(Debug)]
pub(crate) enum PumpError {
    Reading(ReadError),
    Writing(WriteError),
}
