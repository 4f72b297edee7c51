//! The file with the process ID, which exists while the process runs.

use std::fs;
use std::path::PathBuf;
use std::process;

use crate::exit::Failure;

/// A PID file; removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file.
    pub(super) fn write(path: PathBuf) -> Result<Self, Failure> {
        fs::write(&path, format!("{}\n", process::id()))
            .map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Keep the file if a successor has written its own process ID.
        let ours =
            fs::read_to_string(&self.0).is_ok_and(|text| text.trim().parse() == Ok(process::id()));
        if ours {
            let _ = fs::remove_file(&self.0);
        }
    }
}
