//! The file with the process ID, which exists while the process runs.

use std::fs;
use std::path::PathBuf;
use std::process;

use super::WRITABLE;
use crate::exit::Failure;

/// A PID file that is ready beside its place, where the file of another process may be.
#[derive(Debug)]
pub(super) struct NewPidFile {
    path: PathBuf,
    /// `None` once it is in its place.
    temporary: Option<PathBuf>,
}

/// A PID file; removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl NewPidFile {
    /// Writes the file.
    pub(super) fn write(path: PathBuf) -> Result<Self, Failure> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", process::id()));
        let temporary = PathBuf::from(temporary);
        fs::write(&temporary, format!("{}\n", process::id())).map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Failure::other(format!("cannot write {}: {error}", path.display())).hint(WRITABLE)
        })?;
        Ok(Self { path, temporary: Some(temporary) })
    }

    /// Puts it in its place. A reader sees the old file or the new one.
    pub(super) fn place(mut self) -> Result<PidFile, Failure> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(|error| {
                Failure::other(format!("cannot write {}: {error}", self.path.display()))
            })?;
        }
        self.temporary = None;
        Ok(PidFile(std::mem::take(&mut self.path)))
    }
}

impl Drop for NewPidFile {
    fn drop(&mut self) {
        self.temporary.iter().for_each(|temporary| drop(fs::remove_file(temporary)));
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
