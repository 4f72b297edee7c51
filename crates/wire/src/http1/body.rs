//! The end of a body (RFC 9112, section 6).

use message::{BodyLength, Fields};
use thiserror::Error;

use super::chunked::{ChunkError, ChunkedDecoder, Piece};

/// Finds the end of a body, whichever way it is delimited.
#[derive(Debug, Clone, Default)]
pub enum BodyDecoder {
    /// There is none, or it has ended with the connection.
    #[default]
    None,
    /// `Content-Length`.
    Exact {
        /// Bytes still to come.
        left: u64,
    },
    /// `Transfer-Encoding: chunked`.
    Chunked(ChunkedDecoder),
    /// Ends with the connection.
    UntilClose,
}

/// The peer has closed the connection before the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the connection was closed in the middle of the body")]
pub struct TruncatedBody;

/// For the body of a request.
impl From<BodyLength> for BodyDecoder {
    fn from(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::None,
            BodyLength::Exact(left) => Self::Exact { left },
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::default()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }
}

impl BodyDecoder {
    /// For the body of a response, whose chunks are read as servers write them.
    pub fn of_response(length: BodyLength) -> Self {
        match length {
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::lenient()),
            other => Self::from(other),
        }
    }

    /// The next piece; `None` if more bytes are needed. Takes what it has used off `input`, never
    /// a byte beyond the end. Trailers that may pass are in `trailers` when the end comes.
    pub fn decode<'b>(
        &mut self,
        input: &mut &'b [u8],
        trailers: &mut Fields,
    ) -> Result<Option<Piece<'b>>, ChunkError> {
        let left = match self {
            Self::None | Self::Exact { left: 0 } => return Ok(Some(Piece::End)),
            Self::Chunked(decoder) => return decoder.decode(input, trailers),
            _ if input.is_empty() => return Ok(None),
            Self::UntilClose => return Ok(Some(Piece::Data(std::mem::take(input)))),
            Self::Exact { left } => left,
        };
        let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(length);
        *input = rest;
        *left -= length as u64;
        Ok(Some(Piece::Data(data)))
    }

    /// True if no byte of the body is to come.
    pub fn is_done(&self) -> bool {
        match self {
            Self::None | Self::Exact { left: 0 } => true,
            Self::Exact { .. } | Self::UntilClose => false,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// The peer has closed its side: the end of a body that lasts as long as the connection, too
    /// early for all others that are not done.
    pub fn eof(&mut self) -> Result<(), TruncatedBody> {
        if matches!(self, Self::UntilClose) {
            *self = Self::None;
        }
        // RFC 9112, section 8: an incomplete message is never to be taken for a complete one.
        if self.is_done() { Ok(()) } else { Err(TruncatedBody) }
    }
}
