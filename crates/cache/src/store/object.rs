//! What the store holds: responses, each with what decides whether it answers a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use config::Place;
use message::{Fields, Request};

use crate::{Lifetime, VaryFields, write_variant};

/// A point in time: milliseconds since the store was made. It does not jump when the system's clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The time that has passed since then.
    pub fn until(self, later: Self) -> std::time::Duration {
        std::time::Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// The content of a response: pieces, as they arrived.
#[derive(Debug, Default)]
pub struct Content {
    pieces: Box<[Bytes]>,
    length: u64,
}

/// Pieces that are shorter than this on average are joined, since each costs as much as a short one.
const PIECE_BYTES_MIN: usize = 2048;

/// How many bytes of content are in memory: stored ones, and those that are gone from the store but still being sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicU64>);

impl Held {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A piece of content, which counts until the last who has it drops it.
    pub(super) fn piece(&self, data: Vec<u8>) -> Bytes {
        self.0.fetch_add(data.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(HeldPiece { data, held: self.clone() })
    }
}

struct HeldPiece {
    data: Vec<u8>,
    held: Held,
}

impl AsRef<[u8]> for HeldPiece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for HeldPiece {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.data.len() as u64, Ordering::Relaxed);
    }
}

impl Content {
    /// Of these pieces.
    pub(super) fn new(pieces: Vec<Bytes>, held: &Held) -> Self {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let are_small = pieces.len() > 1 && length / pieces.len() < PIECE_BYTES_MIN;
        let pieces = if are_small { vec![held.piece(pieces.concat())] } else { pieces };
        Self { pieces: pieces.into(), length: length as u64 }
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The piece that holds the byte at `offset`, and where in it that is.
    pub fn find(&self, offset: u64) -> (usize, usize) {
        let mut before = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let end = before + piece.len() as u64;
            if offset < end {
                return (index, (offset - before) as usize);
            }
            before = end;
        }
        (self.pieces.len(), 0)
    }

    /// A piece.
    pub fn piece(&self, index: usize) -> Option<&Bytes> {
        self.pieces.get(index)
    }
}

/// What decides, besides the key, whether a stored response answers a request.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What is sent where, besides what the key says: route, upstream, the path that is sent.
    pub space: u64,
    /// The fields that the response varies by; none if it does not vary.
    pub vary: Option<Arc<VaryFields>>,
    /// Their values in the request, normalised.
    pub values: Box<[u8]>,
}

impl Variant {
    /// Whether the response answers this request. `scratch` is memory.
    pub fn fits(&self, space: u64, request: &Request, scratch: &mut Vec<u8>) -> bool {
        if self.space != space {
            return false;
        }
        let Some(vary) = &self.vary else { return true };
        scratch.clear();
        write_variant(scratch, vary, request);
        *scratch == *self.values
    }

    fn is_same(&self, other: &Self) -> bool {
        self.space == other.space && self.vary == other.vary && self.values == other.values
    }
}

/// The head of a stored response.
#[derive(Debug, Clone)]
pub struct StoredHead {
    /// Its status.
    pub status: u16,
    /// Its fields, without those that belong to one connection.
    pub fields: Fields,
    /// How it ages.
    pub lifetime: Lifetime,
    /// When it arrived, or was validated.
    pub arrived: Moment,
    /// The line of the configuration that had it stored.
    pub place: Place,
    /// What it varies by.
    pub variant: Variant,
    /// The tags and groups by which it can be purged, hashed.
    pub tags: Box<[u64]>,
    /// Which part it is, if it is not the whole (RFC 9111, section 3.3).
    pub part: Option<Box<StoredPart>>,
}

/// Which part of a response is stored. How long it is is what its content says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its first byte.
    pub first: u64,
    /// How many bytes the whole has.
    pub complete: u64,
    /// The value of `Range` that it answered.
    pub asked: Box<[u8]>,
}

/// A stored response.
#[derive(Debug)]
pub struct Object {
    pub(super) key: Arc<[u8]>,
    pub(super) hash: u64,
    /// The head.
    pub head: StoredHead,
    /// The content.
    pub content: Arc<Content>,
    pub(super) bytes: u64,
    /// How often it was used lately, at most 3.
    pub(super) used: AtomicU8,
    /// It is in no table any more.
    pub(super) is_gone: AtomicBool,
    /// The number of purges up to which it was found not to be concerned.
    pub(super) judged: AtomicU64,
    /// When the origin was asked for it: a purge after that concerns it.
    pub(super) asked: Moment,
}

/// What the book-keeping of one object takes: the object, its place in the table and in a queue, the memory that allocators add.
pub(super) const OVERHEAD: u64 = size_of::<Object>() as u64 + 192;

impl Object {
    pub(super) fn new(
        key: Arc<[u8]>,
        hash: u64,
        head: StoredHead,
        content: Arc<Content>,
        (judged, asked): (u64, Moment),
    ) -> Self {
        let vary = head.variant.vary.as_ref().map_or(0, |vary| vary.as_bytes().len() as u64);
        let bytes = OVERHEAD
            + key.len() as u64
            + head.fields.memory() as u64
            + head.variant.values.len() as u64
            + vary
            + size_of_val(&*head.tags) as u64
            + content.length();
        Self {
            key,
            hash,
            head,
            content,
            bytes,
            used: AtomicU8::new(0),
            is_gone: AtomicBool::new(false),
            judged: AtomicU64::new(judged),
            asked,
        }
    }

    /// What it counts as, in bytes, its book-keeping included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The key that it is stored under.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// How old it is (RFC 9111, section 4.2.3).
    pub fn age(&self, now: Moment) -> std::time::Duration {
        self.head.lifetime.age(self.head.arrived.until(now))
    }

    pub(super) fn is_same_variant(&self, other: &StoredHead) -> bool {
        // A part takes no whole's place.
        let is_replaced = other.part.is_none() || self.head.part.is_some();
        is_replaced && self.head.variant.is_same(&other.variant)
    }

    pub(super) fn note_use(&self) {
        let used = self.used.load(Ordering::Relaxed);
        if used < 3 {
            // Two cores at once may count as one: the number is a hint.
            self.used.store(used + 1, Ordering::Relaxed);
        }
    }
}
