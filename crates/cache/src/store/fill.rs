//! A response that is on its way: others who ask for the same read it while it arrives.
//!
//! The one who asked first has the [`FillWriter`] and moves what arrives into the [`Fill`]; everybody who is answered
//! by it has a [`FillReader`]. All that was appended stays until the end, so that a reader may come late or be slow,
//! unless the response turns out to be too long to be stored: then the writer waits for the slowest reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use message::Request;
use tokio::sync::Notify;

use super::object::{Moment, Object, StoredHead};

/// How far a writer may be ahead of the slowest reader of a response that is too long to be stored.
const WINDOW_BYTES: u64 = 256 * 1024;

/// A response that is on its way.
pub struct Fill {
    /// The part of the answer's variant that is known before the answer.
    pub(super) space: u64,
    /// Nobody else may wait for it.
    is_alone: bool,
    /// The number of purges, and the time, when it was asked for.
    pub(super) begun: (u64, Moment),
    state: Mutex<State>,
    /// Told of every change.
    changed: Notify,
    /// Told when a reader has taken something of a response that is too long, or has left.
    taken: Notify,
}

#[derive(Default)]
struct State {
    head: Option<Arc<FillHead>>,
    end: Option<FillEnd>,
    pieces: VecDeque<Bytes>,
    /// How many pieces were dropped in front of those.
    dropped: usize,
    /// Bytes that were appended.
    length: u64,
    /// The pieces are not kept: where readers are counts.
    is_passing: bool,
    must_not_store: bool,
    renewed: Option<Arc<Object>>,
    /// For each reader, the bytes that it has taken; `None` is a free place.
    readers: Vec<Option<u64>>,
}

impl State {
    fn slowest(&self) -> Option<u64> {
        self.readers.iter().flatten().min().copied()
    }
}

/// The head of a response that is on its way.
#[derive(Debug, Clone)]
pub struct FillHead {
    /// What will be stored.
    pub stored: StoredHead,
    /// The length that was declared.
    pub length: Option<u64>,
}

/// How a fill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillEnd {
    /// The response is whole.
    Complete,
    /// It ended early.
    Broken,
    /// There is a response, which others must not get.
    Unshared,
    /// There is none.
    Failed,
}

/// What somebody who waits for a head gets.
#[derive(Debug)]
pub enum Awaited {
    /// A response, which is arriving.
    Head(Arc<FillHead>),
    /// What was stored, which the origin has validated.
    Renewed(Arc<Object>),
    /// Nothing that others may use.
    Ended(FillEnd),
}

impl Fill {
    pub(super) fn new(space: u64, is_alone: bool, begun: (u64, Moment)) -> Self {
        let (changed, taken) = (Notify::new(), Notify::new());
        Self { space, is_alone, begun, state: Mutex::default(), changed, taken }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for a request that may wait for this response, as far as is known.
    pub(super) fn join_if_fit(
        self: &Arc<Self>,
        space: u64,
        request: &Request,
        scratch: &mut Vec<u8>,
    ) -> Option<FillReader> {
        if self.is_alone || self.space != space {
            return None;
        }
        let state = self.state();
        let fits = match (&state.head, state.end) {
            (_, Some(_)) => false,
            _ if state.is_passing || state.must_not_store => false,
            (None, None) => true,
            (Some(head), None) => head.stored.variant.fits(space, request, scratch),
        };
        fits.then(|| self.join_in(state))
    }

    /// The head, once it has come.
    pub(super) fn head(&self) -> Option<Arc<FillHead>> {
        self.state().head.clone()
    }

    /// Bytes that are kept for readers.
    pub(super) fn kept(&self) -> u64 {
        self.state().pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The response concerns what has changed meanwhile: it is not stored, and nobody else gets it.
    pub(super) fn forbid_storing(&self) {
        self.state().must_not_store = true;
    }

    pub(super) fn may_store(&self) -> bool {
        let state = self.state();
        !state.must_not_store && !state.is_passing
    }

    /// One more reads, from the start.
    pub(super) fn join(self: &Arc<Self>) -> FillReader {
        self.join_in(self.state())
    }

    fn join_in(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> FillReader {
        let free = state.readers.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        if let Some(reader) = state.readers.get_mut(place) {
            *reader = Some(0);
        }
        drop(state);
        FillReader { fill: Arc::clone(self), place, next: 0, taken: 0, piece: Bytes::new() }
    }

    /// Bytes that were appended so far.
    pub fn length(&self) -> u64 {
        self.state().length
    }

    /// How many read it or wait for it.
    pub fn readers(&self) -> usize {
        self.state().readers.iter().flatten().count()
    }

    pub(super) fn set_head(&self, head: Arc<FillHead>) {
        self.state().head = Some(head);
        self.changed.notify_waiters();
    }

    /// There is no response, but a validated one.
    pub(super) fn renew(&self, object: Arc<Object>) {
        self.state().renewed = Some(object);
        self.end(FillEnd::Failed);
    }

    /// The length that was declared, once there is a head that says one.
    pub fn declared_length(&self) -> Option<u64> {
        self.state().head.as_ref()?.length
    }

    /// The writer is gone.
    pub(super) fn abandon(&self) {
        let begun = self.state().head.is_some();
        self.end(if begun { FillEnd::Broken } else { FillEnd::Failed });
    }

    pub(super) fn end(&self, end: FillEnd) {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(end);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    pub(super) fn append(&self, piece: Bytes) {
        if piece.is_empty() {
            return; // readers wait for bytes
        }
        let mut state = self.state();
        state.length += piece.len() as u64;
        state.pieces.push_back(piece);
        drop(state);
        self.changed.notify_waiters();
    }

    /// From here on the pieces are not kept: the response is too long.
    pub(super) fn pass(&self) {
        self.state().is_passing = true;
    }

    /// Waits until the slowest reader is near enough, and drops what all have taken. False if there is no reader.
    pub(super) async fn room(&self) -> bool {
        loop {
            let taken = self.taken.notified();
            {
                let mut state = self.state();
                let Some(slowest) = state.slowest() else { return false };
                let mut start: u64 =
                    state.length - state.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                while let Some(first) = state.pieces.front()
                    && start + first.len() as u64 <= slowest
                {
                    start += first.len() as u64;
                    state.pieces.pop_front();
                    state.dropped += 1;
                }
                if state.length - slowest <= WINDOW_BYTES {
                    return true;
                }
            }
            taken.await;
        }
    }

    pub(super) fn take_pieces(&self) -> Vec<Bytes> {
        self.state().pieces.iter().cloned().collect()
    }
}

/// Reads a response while it arrives.
pub struct FillReader {
    fill: Arc<Fill>,
    place: usize,
    /// The number of the next piece.
    next: usize,
    taken: u64,
    /// What is left of the current piece.
    piece: Bytes,
}

impl FillReader {
    /// Waits for the head, or for news that none will come.
    pub async fn head(&self) -> Awaited {
        loop {
            let changed = self.fill.changed.notified();
            {
                let state = self.fill.state();
                if let Some(object) = &state.renewed {
                    return Awaited::Renewed(Arc::clone(object));
                }
                match (&state.head, state.end) {
                    (Some(head), None | Some(FillEnd::Complete | FillEnd::Broken))
                        if !state.must_not_store =>
                    {
                        return Awaited::Head(Arc::clone(head));
                    }
                    (Some(_), None) => return Awaited::Ended(FillEnd::Unshared),
                    (_, Some(end)) => return Awaited::Ended(end),
                    (None, None) => {}
                }
            }
            changed.await;
        }
    }

    /// Waits until there is data; false once the response is complete. An error means that it is not.
    pub async fn ready(&mut self) -> Result<bool, Incomplete> {
        loop {
            if !self.piece.is_empty() {
                return Ok(true);
            }
            let changed = self.fill.changed.notified();
            {
                let state = self.fill.state();
                let index = self.next.checked_sub(state.dropped).ok_or(Incomplete)?;
                if let Some(piece) = state.pieces.get(index) {
                    self.piece = piece.clone();
                    drop(state);
                    self.next += 1;
                    continue;
                }
                match state.end {
                    None => {}
                    Some(FillEnd::Complete) => return Ok(false),
                    Some(_) => return Err(Incomplete),
                }
            }
            changed.await;
        }
    }

    /// What has arrived and was not taken, as far as it lies in one piece.
    pub fn data(&self) -> &[u8] {
        &self.piece
    }

    /// Takes this many bytes of [`FillReader::data`].
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.piece.len());
        bytes::Buf::advance(&mut self.piece, count);
        self.taken += count as u64;
        if self.piece.is_empty() {
            self.note();
        }
    }

    /// True if nothing more is there at the moment.
    pub fn is_drained(&self) -> bool {
        let state = self.fill.state();
        self.piece.is_empty() && self.next >= state.dropped + state.pieces.len()
    }

    /// True once the response is complete and everything was taken.
    pub fn is_done(&self) -> bool {
        self.is_drained() && self.fill.state().end == Some(FillEnd::Complete)
    }

    fn note(&self) {
        let mut state = self.fill.state();
        if let Some(Some(place)) = state.readers.get_mut(self.place) {
            *place = self.taken;
        }
        // The writer may wait.
        if state.is_passing || state.must_not_store {
            drop(state);
            self.fill.taken.notify_waiters();
        }
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        if let Some(place) = self.fill.state().readers.get_mut(self.place) {
            *place = None;
        }
        self.fill.taken.notify_waiters();
    }
}

/// The response that is read has ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete;
