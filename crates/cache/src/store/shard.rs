//! A part of the store: a table from keys to responses, and to what is on its way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use message::Request;

use super::fill::Fill;
use super::object::{Object, StoredHead};

/// The most variants of one key; the oldest goes when one more comes.
const VARIANTS_MAX: usize = 64;

/// All that is known under one key.
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) key: Arc<[u8]>,
    /// The latest comes last.
    pub(super) objects: Vec<Arc<Object>>,
    /// Responses that are on their way.
    pub(super) fills: Vec<Arc<Fill>>,
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.fills.is_empty()
    }

    /// The latest response that answers the request; a part only if there is no whole.
    pub(super) fn find(
        &self,
        space: u64,
        request: &Request,
        scratch: &mut Vec<u8>,
    ) -> Option<&Arc<Object>> {
        let mut fitting = self.objects.iter().rev();
        let mut next = || fitting.find(|object| object.head.variant.fits(space, request, scratch));
        let first = next()?;
        let mut found = first;
        while found.head.part.is_some() {
            let Some(another) = next() else { return Some(first) };
            found = another;
        }
        Some(found)
    }
}

/// A part of the store.
#[derive(Default)]
pub(super) struct Shard {
    slots: HashTable<Slot>,
}

impl Shard {
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&Slot> {
        self.slots.find(hash, |slot| slot.hash == hash && *slot.key == *key)
    }

    pub(super) fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.hash == hash && *slot.key == *key)
    }

    /// The slot of a key, made if there is none.
    pub(super) fn slot(&mut self, hash: u64, key: &[u8]) -> &mut Slot {
        let is_it = |slot: &Slot| slot.hash == hash && *slot.key == *key;
        let entry = self.slots.entry(hash, is_it, |slot| slot.hash);
        let made = entry.or_insert_with(|| Slot {
            hash,
            key: key.into(),
            objects: Vec::new(),
            fills: Vec::new(),
        });
        made.into_mut()
    }

    /// Forgets a slot that holds nothing any more.
    pub(super) fn tidy(&mut self, hash: u64, key: &[u8]) {
        let is_it = |slot: &Slot| slot.hash == hash && *slot.key == *key;
        if let Ok(entry) = self.slots.find_entry(hash, is_it)
            && entry.get().is_empty()
        {
            entry.remove();
        }
    }

    /// Takes an object in, in the place of the one that answers the same requests; what becomes free.
    pub(super) fn insert(&mut self, object: &Arc<Object>) -> Freed {
        let mut freed = Freed::default();
        let slot = self.slot(object.hash, &object.key);
        slot.objects.retain(|other| {
            let same = other.is_same_variant(&object.head);
            if same {
                // What is used goes on being so with a newer response.
                object.used.store(other.used.load(Ordering::Relaxed), Ordering::Relaxed);
                freed.add(other);
            }
            !same
        });
        if slot.objects.len() >= VARIANTS_MAX {
            freed.add(&slot.objects.remove(0));
        }
        slot.objects.push(Arc::clone(object));
        freed
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, object: &Arc<Object>) -> Freed {
        let mut freed = Freed::default();
        if let Some(slot) = self.get_mut(object.hash, &object.key) {
            slot.objects.retain(|other| !Arc::ptr_eq(other, object));
        }
        freed.add(object);
        self.tidy(object.hash, &object.key);
        freed
    }

    /// Removes what a response replaces.
    pub(super) fn remove_replaced(&mut self, hash: u64, key: &[u8], by: &StoredHead) -> Freed {
        let mut freed = Freed::default();
        if let Some(slot) = self.get_mut(hash, key) {
            let replaced = slot.objects.extract_if(.., |object| object.is_same_variant(by));
            replaced.for_each(|object| freed.add(&object));
        }
        self.tidy(hash, key);
        freed
    }

    /// Removes all objects of a key.
    pub(super) fn remove_all(&mut self, hash: u64, key: &[u8]) -> Freed {
        let mut freed = Freed::default();
        if let Some(slot) = self.get_mut(hash, key) {
            slot.objects.drain(..).for_each(|object| freed.add(&object));
            slot.fills.iter().for_each(|fill| fill.forbid_storing());
        }
        self.tidy(hash, key);
        freed
    }

    /// How many keys it holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every object.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.slots.iter().flat_map(|slot| &slot.objects)
    }
}

/// What became free.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Freed {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl Freed {
    fn add(&mut self, object: &Object) {
        if !object.is_gone.swap(true, Ordering::Relaxed) {
            self.objects += 1;
            self.bytes += object.bytes;
        }
    }
}
