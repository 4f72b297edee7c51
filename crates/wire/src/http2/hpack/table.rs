//! The dynamic table (RFC 7541, section 2.3.2).

use std::collections::VecDeque;

use super::{FIELD_OVERHEAD, TABLE_BYTES};

/// Fields by age. All names and values are in one piece of memory, which is compacted once for every so many bytes as
/// the table may hold.
#[derive(Debug, Clone)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// The newest last.
    entries: VecDeque<Entry>,
    /// What they count, and how much that may be.
    size: usize,
    size_max: usize,
}

/// Where a field lies.
#[derive(Debug, Clone, Copy)]
struct Entry {
    begin: u16,
    name_length: u16,
    value_length: u16,
}

/// Where the memory is moved to its front at the latest: offsets fit into 16 bits by far.
const MEMORY_BYTES: usize = 2 * TABLE_BYTES;

impl Default for Table {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES }
    }
}

impl Entry {
    fn size(self) -> usize {
        usize::from(self.name_length) + usize::from(self.value_length) + FIELD_OVERHEAD
    }
}

impl Table {
    /// The field that was learned so many fields ago.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let index = self.entries.len().checked_sub(age)?.checked_sub(1)?;
        let entry = self.entries.get(index)?;
        let field = self.bytes.get(usize::from(entry.begin)..)?;
        let (name, rest) = field.split_at_checked(entry.name_length.into())?;
        Some((name, rest.get(..entry.value_length.into())?))
    }

    /// RFC 7541, section 4.4: older fields make room; one that is too large for the table empties it.
    pub(super) fn learn(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        self.shrink(self.size_max.saturating_sub(size));
        if size > self.size_max {
            return;
        }
        if self.bytes.len() + name.len() + value.len() > MEMORY_BYTES {
            self.pack();
        }
        // The table is not larger than `TABLE_BYTES`, so that no number is cut here.
        let begin = self.bytes.len() as u16;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let (name_length, value_length) = (name.len() as u16, value.len() as u16);
        self.entries.push_back(Entry { begin, name_length, value_length });
        self.size += size;
    }

    /// RFC 7541, section 4.3.
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.shrink(size_max);
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_front() else { return };
            self.size -= entry.size();
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Moves the memory in use to the front.
    fn pack(&mut self) {
        let Some(first) = self.entries.front().map(|entry| entry.begin) else {
            self.bytes.clear();
            return;
        };
        self.bytes.drain(..usize::from(first));
        for entry in &mut self.entries {
            entry.begin -= first;
        }
    }
}
