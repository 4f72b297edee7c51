//! The memory of one exchange, reused by the next.

use std::net::SocketAddr;
use std::time::Instant;

use message::{Request, Response};

use crate::replay::Replay;
use observe::Record;

/// The messages, the record and the buffers of one exchange.
pub(crate) struct Work {
    pub(crate) request: Request,
    pub(crate) response: Response,
    pub(crate) record: Record,
    /// The client's address, as text.
    pub(crate) address: String,
    /// The path and the host sent upstream.
    pub(crate) path: Vec<u8>,
    pub(crate) host: String,
    /// The readings of the request's path, if there are several.
    pub(crate) readings: message::Readings,
    /// The host that a forward client names, and its addresses that may be dialled.
    pub(crate) named: String,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The body of a response of our own.
    pub(crate) body: Vec<u8>,
    /// What is kept of the request's body.
    pub(crate) replay: Replay,
    /// What the cache has to do with the exchange.
    pub(crate) cache: CacheWork,
    /// The mirrors for which the request is copied once its body has been read: a bit for each.
    pub(crate) mirrored: u32,
    /// How much of a streamed body is kept for those.
    pub(crate) kept_for_copies: usize,
}

/// Memory for what the cache has to do with an exchange.
#[derive(Default)]
pub(crate) struct CacheWork {
    /// The URI, by which the store finds responses.
    pub(crate) uri: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    /// What `Cache-Status` says of us.
    pub(crate) status: Vec<u8>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            request: Request::default(),
            response: Response::default(),
            record: Record::new(Instant::now()),
            address: String::with_capacity(48),
            path: Vec::with_capacity(128),
            host: String::with_capacity(64),
            readings: message::Readings::default(),
            named: String::new(),
            addresses: Vec::new(),
            body: Vec::new(),
            replay: Replay::default(),
            cache: CacheWork::default(),
            mirrored: 0,
            kept_for_copies: 0,
        }
    }
}

impl Work {
    /// Takes the record, for what continues after the exchange.
    pub(crate) fn take_record(&mut self) -> Record {
        std::mem::replace(&mut self.record, Record::new(Instant::now()))
    }
}
