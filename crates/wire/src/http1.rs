//! HTTP/1.1 and 1.0 on the wire (RFC 9112): heads, bodies, trailers; reading and writing.
//!
//! [`parse_request`] and [`parse_response`] turn a head into a canonical message and decide how its
//! body is delimited; a [`BodyDecoder`] then finds the body's end. The `write_…` functions print
//! what a message holds.
//! Not here: what a target means (`message::Target`), which fields a proxy adds or takes away.
//! Invariant: what is accepted of a request has one reading. A line ends with CR LF and nothing else, a
//! body has one length, a field one line. Whatever another server might read differently is refused.
//! Responses, which come from servers that the configuration or the client has chosen, are read as they are
//! written (`lenient`), except where readers differ on the end of the body; what they become is as strict.
//!
//! The heads are read by our own tokenizer. A general one such as `httparse` takes bare LF as line
//! end, several empty lines before a request, and reports fields as pointers that would have to be
//! checked against the bytes around them; the tests use it as a second opinion.

mod body;
mod chunked;
mod framing;
mod head;
mod lenient;
mod print;
mod request;
mod response;
mod trailer;

pub use body::{BodyDecoder, TruncatedBody};
pub use chunked::{ChunkError, ChunkedDecoder, Piece};
pub use framing::FramingError;
pub use head::{HeadError, HeadLimits};
pub(crate) use lenient::respell_fields;
pub use print::{
    LAST_CHUNK, chunk_header, write_field, write_fields, write_request_line, write_status_line,
};
pub use request::{RequestError, parse_request};
pub use response::{ResponseError, parse_response};
pub use trailer::allowed_trailer;
