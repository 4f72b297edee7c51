//! Stamps of files, by which a change is noticed without reading the file.
//!
//! The file behind links is looked at (Kubernetes replaces a link beside the file), its length and
//! times too: a file that is replaced by a rename has another inode, one written in place another
//! time.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A state of a file; `None` inside: it cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileStamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl FileStamp {
    /// The state that a file is in.
    pub(crate) fn of(path: &Path) -> Self {
        let seen = std::fs::metadata(path).ok();
        Self(seen.map(|of| {
            let (modified, changed) =
                ((of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()));
            (of.dev(), of.ino(), of.len(), modified.0, modified.1, changed.0, changed.1)
        }))
    }

    /// The states of several.
    pub(crate) fn of_all<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<Self> {
        paths.into_iter().map(Self::of).collect()
    }
}
