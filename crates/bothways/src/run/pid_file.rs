//! A file with the number of the process, there while it runs.

use std::fs;
use std::path::PathBuf;
use std::process;

use crate::exit::Failure;

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    pub(super) fn write(path: PathBuf) -> Result<Self, Failure> {
        fs::write(&path, format!("{}\n", process::id()))
            .map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A process that has started in our place has written its own number: that stays.
        let ours =
            fs::read_to_string(&self.0).is_ok_and(|text| text.trim().parse() == Ok(process::id()));
        if ours {
            let _ = fs::remove_file(&self.0);
        }
    }
}
