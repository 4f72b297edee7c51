//! Where responses are kept: one store for all cores.
//!
//! The store is cut into parts by the hash of the key; each has a lock that is held for a look into a table and never
//! while anything is waited for, copied or written. What is found is shared, so that a hit copies nothing.

mod fill;
mod marks;
mod object;
mod purge;
mod queues;
mod shard;
#[cfg(test)]
mod tests;
mod uses;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use message::Request;

pub use fill::{Awaited, Fill, FillEnd, FillHead, FillReader, Incomplete};
pub use object::{Content, Moment, Object, StoredHead, StoredPart, Variant};
pub use purge::{PurgeKind, Scope};

use marks::Marks;
use object::Held;
use purge::Purges;
use queues::Queues;
use shard::{Freed, Shard, Slot};
use uses::Uses;

/// How many parts the store has.
const SHARDS: usize = 128;
/// An object may take this part of the memory at most.
const OBJECT_PART: u64 = 4;
/// What is gone from the store but still being sent may take this part of the memory besides.
const GONE_PART: u64 = 4;
/// How long a response that was not storable lets later requests go ahead without waiting for one another.
const UNSTORABLE_TIME: Duration = Duration::from_secs(10);

/// What a request asks the store for.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// As [`crate::write_key`] wrote it.
    pub key: &'a [u8],
    /// As [`Variant::space`].
    pub space: u64,
    /// The request, as it is sent to the origin.
    pub request: &'a Request,
    /// Now.
    pub now: Moment,
}

/// What the store has for a request.
#[derive(Debug)]
pub enum Found {
    /// A response, which may be stale. If it was purged softly, it counts as stale whatever its age.
    Object(Arc<Object>, Option<PurgeKind>),
    /// None. `has_variants`: there is one for other requests of this key. `is_unstorable`: the last response could not
    /// be stored.
    Nothing {
        /// Something is stored under the key, for other requests.
        has_variants: bool,
        /// It is expected not to be storable.
        is_unstorable: bool,
    },
}

/// Who gets a response that is not there.
pub enum Claim {
    /// The caller fetches it.
    Fetch(FillWriter),
    /// Somebody else does.
    Wait(FillReader),
    /// It has come in between.
    Look,
}

/// Figures of a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Stored responses.
    pub objects: u64,
    /// What they take, with their book-keeping and what is arriving.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Responses that went because others came.
    pub evicted: u64,
    /// Responses that were fetched to be stored.
    pub fills: u64,
    /// Requests that waited for one that was on its way.
    pub collapsed: u64,
    /// Purges.
    pub purges: u64,
}

#[derive(Debug, Default)]
struct Counters {
    objects: AtomicU64,
    bytes: AtomicU64,
    evicted: AtomicU64,
    fills: AtomicU64,
    collapsed: AtomicU64,
}

/// Stored responses, for all cores.
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    /// Taken when something is stored or goes, never for a hit; after the lock of a shard, never before.
    queues: Mutex<Queues>,
    purges: Purges,
    bytes_max: AtomicU64,
    counters: Counters,
    epoch: Instant,
    hasher: foldhash::fast::RandomState,
    space_hasher: std::hash::RandomState,
    /// Content that is in memory.
    held: Held,
    /// Made when they are first needed.
    uses: OnceLock<Uses>,
    unstorable: OnceLock<Marks>,
}

impl Store {
    /// For so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            queues: Mutex::default(),
            purges: Purges::default(),
            bytes_max: AtomicU64::new(bytes_max),
            counters: Counters::default(),
            epoch: Instant::now(),
            hasher: foldhash::fast::RandomState::default(),
            space_hasher: std::hash::RandomState::new(),
            held: Held::default(),
            uses: OnceLock::new(),
            unstorable: OnceLock::new(),
        }
    }

    /// The store's time; it begins with 1, so that 0 is before everything.
    pub fn moment(&self, at: Instant) -> Moment {
        Moment(at.saturating_duration_since(self.epoch).as_millis() as u64 + 1)
    }

    /// Makes the numbers of [`Variant::space`]: with a secret, so that nobody can find two that collide.
    pub fn space_hasher(&self) -> &std::hash::RandomState {
        &self.space_hasher
    }

    /// Changes how many bytes it may take.
    pub fn resize(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.make_room(0);
    }

    /// The longest content that can be stored.
    pub fn object_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed) / OBJECT_PART
    }

    fn hash(&self, key: &[u8]) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table uses the low bits.
        let index = (hash >> 57) as usize % self.shards.len();
        self.lock(index)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[index % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for what is not stored; about how many there were lately.
    pub fn count_use(&self, key: &[u8]) -> u32 {
        self.uses.get_or_init(Uses::default).add(self.hash(key))
    }

    /// Finds what answers a request, fresh or not. `scratch` is memory.
    pub fn find(&self, lookup: &Lookup<'_>, scratch: &mut Vec<u8>) -> Found {
        let hash = self.hash(lookup.key);
        let shard = self.shard(hash);
        let Some(slot) = shard.get(hash, lookup.key) else {
            drop(shard);
            let is_unstorable = self.is_marked(hash, lookup.now);
            return Found::Nothing { has_variants: false, is_unstorable };
        };
        let found = slot.find(lookup.space, lookup.request, scratch).map(Arc::clone);
        let has_variants = !slot.objects.is_empty();
        drop(shard);
        let is_unstorable = || self.is_marked(hash, lookup.now);
        match found {
            None => Found::Nothing { has_variants, is_unstorable: is_unstorable() },
            Some(object) => match self.purges.judge(&object) {
                Some(PurgeKind::Hard) => {
                    self.remove(&object);
                    Found::Nothing { has_variants: false, is_unstorable: is_unstorable() }
                }
                purged => {
                    object.note_use();
                    Found::Object(object, purged)
                }
            },
        }
    }

    /// Asks who fetches a response that is not there, or no longer good enough: `known` is what was found.
    pub fn claim(
        self: &Arc<Self>,
        lookup: &Lookup<'_>,
        known: Option<&Arc<Object>>,
        scratch: &mut Vec<u8>,
    ) -> Claim {
        let hash = self.hash(lookup.key);
        let mut shard = self.shard(hash);
        let slot = shard.slot(hash, lookup.key);
        if let Some(other) = slot.find(lookup.space, lookup.request, scratch)
            && !known.is_some_and(|known| Arc::ptr_eq(known, other))
            && self.purges.judge(other).is_none()
        {
            return Claim::Look;
        }
        let mut fills = slot.fills.iter();
        // Who asks after a purge does not get what was asked for before it.
        let reader = fills.find_map(|fill| match self.is_purged(fill, lookup) {
            true => None,
            false => fill.join_if_fit(lookup.space, lookup.request, scratch),
        });
        if let Some(reader) = reader {
            self.counters.collapsed.fetch_add(1, Ordering::Relaxed);
            return Claim::Wait(reader);
        }
        let writer = self.writer(hash, slot, lookup, false);
        drop(shard);
        Claim::Fetch(writer)
    }

    /// Begins a fill. The slot knows it, so that what changes meanwhile reaches it.
    fn writer(
        self: &Arc<Self>,
        hash: u64,
        slot: &mut Slot,
        lookup: &Lookup<'_>,
        is_alone: bool,
    ) -> FillWriter {
        self.counters.fills.fetch_add(1, Ordering::Relaxed);
        let begun = (self.purges.count(), lookup.now);
        let fill = Arc::new(Fill::new(lookup.space, is_alone, begun));
        // What an unsafe request makes invalid is not its own response.
        if lookup.request.method.is_safe() {
            slot.fills.push(Arc::clone(&fill));
        }
        FillWriter { store: Arc::clone(self), fill, key: Arc::clone(&slot.key), hash, counted: 0 }
    }

    fn is_purged(&self, fill: &Fill, lookup: &Lookup<'_>) -> bool {
        let head = fill.head();
        let tags = head.as_ref().map(|head| &*head.stored.tags);
        self.purges.may_concern(lookup.key, tags, fill.begun)
    }

    /// Whether the last response for a key could not be stored, so that requests need not wait for one another.
    pub fn is_unstorable(&self, key: &[u8], now: Moment) -> bool {
        self.is_marked(self.hash(key), now)
    }

    fn is_marked(&self, hash: u64, now: Moment) -> bool {
        self.unstorable.get().is_some_and(|marks| marks.has(hash, now))
    }

    /// Lets the caller fetch a response that nobody else waits for, although others may be fetching it too.
    pub fn fetch_alone(self: &Arc<Self>, lookup: &Lookup<'_>) -> FillWriter {
        let hash = self.hash(lookup.key);
        let mut shard = self.shard(hash);
        self.writer(hash, shard.slot(hash, lookup.key), lookup, true)
    }

    /// Takes a response in.
    fn insert(&self, object: Arc<Object>, fill: &Fill) {
        if object.bytes() > self.bytes_max.load(Ordering::Relaxed) {
            return self.remove_replaced(object.hash, &object.key, &object.head);
        }
        // It counts before anybody can remove it.
        self.counters.objects.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(object.bytes, Ordering::Relaxed);
        let mut shard = self.shard(object.hash);
        // Judged in the lock: the one that forgets purges looks at each part after that, and the one that makes a key invalid
        // has it too.
        if !fill.may_store() || self.purges.is_forgotten(object.judged.load(Ordering::Relaxed)) {
            drop(shard);
            self.note_freed(Freed { objects: 1, bytes: object.bytes });
            return;
        }
        let freed = shard.insert(&object);
        drop(shard);
        // What could be stored once may be so again.
        if let Some(marks) = self.unstorable.get() {
            marks.clear(object.hash);
        }
        self.queues().push(object);
        self.note_gone(freed);
        self.make_room(0);
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts objects that are gone, but still in the queues.
    fn note_gone(&self, freed: Freed) {
        self.note_freed(freed);
        if freed.bytes > 0 {
            self.queues().note_gone(freed.bytes);
        }
    }

    fn note_freed(&self, freed: Freed) {
        self.counters.objects.fetch_sub(freed.objects, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
    }

    fn remove(&self, object: &Arc<Object>) {
        let freed = self.shard(object.hash).remove(object);
        self.note_gone(freed);
    }

    /// Removes what a response replaces that is not stored itself.
    fn remove_replaced(&self, hash: u64, key: &[u8], by: &StoredHead) {
        let freed = self.shard(hash).remove_replaced(hash, key, by);
        self.note_gone(freed);
    }

    /// Evicts until there is room for so many bytes; false if there is none.
    fn make_room(&self, wanted: u64) -> bool {
        let max = self.bytes_max.load(Ordering::Relaxed);
        let fits = || self.counters.bytes.load(Ordering::Relaxed).saturating_add(wanted) <= max;
        while !fits() {
            let Some(object) = self.queues().pop() else { return false };
            let freed = self.shard(object.hash).remove(&object);
            self.counters.evicted.fetch_add(freed.objects, Ordering::Relaxed);
            self.note_freed(freed);
        }
        true
    }

    /// Whether there is memory for so many bytes. What has made room may still be in memory, as long as slow clients
    /// are sent it; while that is more than a part of what the store may take, nothing new is stored.
    fn has_memory(&self, wanted: u64) -> bool {
        let max = self.bytes_max.load(Ordering::Relaxed);
        self.held.bytes().saturating_add(wanted) <= max.saturating_add(max / GONE_PART)
    }

    /// Removes all responses of a key; what is on its way there will not be stored. True if there was one.
    pub fn invalidate(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let freed = self.shard(hash).remove_all(hash, key);
        self.note_gone(freed);
        freed.objects > 0
    }

    /// Takes an object out that is not to be used any more.
    pub fn forget(&self, object: &Arc<Object>) {
        self.remove(object);
    }

    /// Purges. What is on its way and concerned will count as stored before.
    pub fn purge(&self, scope: Scope, kind: PurgeKind, now: Moment) {
        if self.purges.note(scope, kind, now) {
            let count = self.purges.begin_to_forget();
            for index in 0..self.shards.len() {
                let mut shard = self.lock(index);
                let judge = |object: &&Arc<Object>| {
                    self.purges.judge(object).is_some() // a soft purge becomes a hard one: there are too many
                };
                let purged: Vec<_> = shard.objects().filter(judge).cloned().collect();
                let mut freed = Freed::default();
                for object in &purged {
                    let one = shard.remove(object);
                    freed.objects += one.objects;
                    freed.bytes += one.bytes;
                }
                drop(shard);
                self.note_gone(freed);
            }
            self.purges.forget(count);
        }
    }

    /// The stored responses of a key, for people to look at.
    pub fn variants(&self, key: &[u8]) -> Vec<(Arc<Object>, Option<PurgeKind>)> {
        let hash = self.hash(key);
        let objects = self.shard(hash).get(hash, key).map(|slot| slot.objects.clone());
        let objects = objects.unwrap_or_default().into_iter();
        objects.map(|object| (Arc::clone(&object), self.purges.judge(&object))).collect()
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            objects: get(&self.counters.objects),
            bytes: get(&self.counters.bytes),
            bytes_max: get(&self.bytes_max),
            evicted: get(&self.counters.evicted),
            fills: get(&self.counters.fills),
            collapsed: get(&self.counters.collapsed),
            purges: self.purges.count(),
        }
    }
}

/// Writes a response into the store while it arrives. If it is dropped before the end, readers learn that the response
/// is broken.
pub struct FillWriter {
    store: Arc<Store>,
    fill: Arc<Fill>,
    key: Arc<[u8]>,
    hash: u64,
    /// The bytes that count in the store.
    counted: u64,
}

impl FillWriter {
    /// One more reads.
    pub fn reader(&self) -> FillReader {
        self.fill.join()
    }

    /// What it fills.
    pub fn fill(&self) -> Arc<Fill> {
        Arc::clone(&self.fill)
    }

    /// A response begins that can be stored.
    pub fn begin(&self, head: FillHead) -> Arc<FillHead> {
        let head = Arc::new(head);
        self.fill.set_head(Arc::clone(&head));
        head
    }

    /// Begins with what is stored already.
    pub fn append_stored(&mut self, content: &Content) {
        self.counted += content.length();
        self.store.counters.bytes.fetch_add(content.length(), Ordering::Relaxed);
        for piece in (0..).map_while(|index| content.piece(index)) {
            self.fill.append(piece.clone());
        }
    }

    /// Takes some of the content. While the response can be stored this does not wait. False: nobody needs it.
    pub async fn append(&mut self, data: &[u8], max: u64, now: Moment) -> bool {
        let count = data.len() as u64;
        if self.fill.may_store() {
            let fits = self.fill.length() + count <= max.min(self.store.object_max());
            if fits && self.store.make_room(count) && self.store.has_memory(count) {
                self.counted += count;
                self.store.counters.bytes.fetch_add(count, Ordering::Relaxed);
            } else {
                self.note_unstorable(now);
                self.fill.pass();
                if let Some(head) = self.fill.head() {
                    self.store.remove_replaced(self.hash, &self.key, &head.stored);
                }
            }
        }
        self.fill.append(self.store.held.piece(data.to_vec()));
        if self.fill.may_store() {
            return true;
        }
        let is_wanted = self.fill.room().await;
        // What all readers have taken is gone.
        let kept = self.fill.kept().min(self.counted);
        self.store.counters.bytes.fetch_sub(self.counted - kept, Ordering::Relaxed);
        self.counted = kept;
        is_wanted
    }

    /// The response is complete: it is stored. One that has another length than was declared is broken.
    pub fn finish(mut self, head: StoredHead) {
        self.discount();
        if self.fill.declared_length().is_some_and(|length| length != self.fill.length()) {
            return;
        }
        if self.fill.may_store() {
            let content = Arc::new(Content::new(self.fill.take_pieces(), &self.store.held));
            let (key, begun) = (Arc::clone(&self.key), self.fill.begun);
            let object = Object::new(key, self.hash, head, content, begun);
            self.store.insert(Arc::new(object), &self.fill);
        }
        self.fill.end(FillEnd::Complete);
    }

    /// The origin has validated a stored response: it is stored again with this head, if it can be.
    pub fn renew(self, old: &Arc<Object>, head: StoredHead, is_stored: bool) -> Arc<Object> {
        let (key, content) = (Arc::clone(&self.key), Arc::clone(&old.content));
        let object = Arc::new(Object::new(key, self.hash, head, content, self.fill.begun));
        // What was purged meanwhile does not come back by being validated.
        let is_purged = self.store.purges.judge(old) == Some(PurgeKind::Hard);
        match is_stored && !is_purged && self.fill.may_store() {
            true => {
                self.store.insert(Arc::clone(&object), &self.fill);
                self.fill.renew(Arc::clone(&object));
            }
            false => {
                self.store.remove(old);
                self.fill.end(FillEnd::Unshared);
            }
        }
        object
    }

    /// What was counted as arriving counts no more.
    fn discount(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        self.store.counters.bytes.fetch_sub(counted, Ordering::Relaxed);
    }

    /// There is a response, but it cannot be stored: those who wait go ahead, and so do later requests for a while.
    pub fn decline(self, now: Moment) {
        self.note_unstorable(now);
        self.fill.end(FillEnd::Unshared);
    }

    fn note_unstorable(&self, now: Moment) {
        let until = Moment(now.0 + UNSTORABLE_TIME.as_millis() as u64);
        self.store.unstorable.get_or_init(Marks::default).set(self.hash, until);
    }
}

impl Drop for FillWriter {
    fn drop(&mut self) {
        self.fill.abandon();
        self.discount();
        let mut shard = self.store.shard(self.hash);
        if let Some(slot) = shard.get_mut(self.hash, &self.key) {
            slot.fills.retain(|fill| !Arc::ptr_eq(fill, &self.fill));
        }
        shard.tidy(self.hash, &self.key);
    }
}
