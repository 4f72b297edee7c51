//! The state directory: what must outlast the process, such as the internal CA and ACME accounts.
//!
//! Directories are made for their owner alone (0700), files too (0600). A file is written whole
//! under another name, forced to the disk and renamed, so that after a crash there is the old one
//! or the new one, never half of one. Two processes may use one directory: who makes something
//! takes a [`Lock`] first.
//! Not here: what the files mean.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// No file of ours is larger.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Something in the state directory cannot be done.
#[derive(Debug, Error)]
pub enum StateError {
    /// The operating system refuses.
    #[error("cannot {doing} {}: {}", path.display(), plain(source))]
    Io {
        /// What was tried, such as `write`.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Another process has the lock.
    #[error("{} is used by another process{}", path.display(), holder.as_deref().unwrap_or_default())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// ` (process 123)`, if that is known.
        holder: Option<String>,
    },
    /// A file is larger than any of ours.
    #[error("{} is no file of ours: it is too large", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nothing says where it is.
    #[error("there is no place for state: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set")]
    Nowhere,
}

impl StateError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { doing: "read" | "list", source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("do it as root, or as the user that runs bothways (sudo -u USER …)".to_owned())
            }
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some(format!(
                        "let the user that runs bothways write there (install -d -m 700 -o USER {}), \
                         or set another directory: process {{ state \"/path\" }}",
                        path.parent().unwrap_or(path).display()
                    ))
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that disk".to_owned())
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    Some("set another directory: process { state \"/path\" }".to_owned())
                }
                _ => None,
            },
            Self::Locked { .. } => Some(
                "stop the other process, or give this one a directory of its own: \
                 process { state \"/path\" }"
                    .to_owned(),
            ),
            Self::TooLarge { .. } => Some("move it away".to_owned()),
            Self::Nowhere => Some("set a directory: process { state \"/path\" }".to_owned()),
        }
    }
}

/// What the operating system says, without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

/// The directory; nothing is made until something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Held while something is made that no second process may make; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl StateDir {
    /// This directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The configured directory, else the usual one: `$STATE_DIRECTORY` (which systemd sets), else
    /// `/var/lib/bothways` for root and `$XDG_STATE_HOME/bothways` or `~/.local/state/bothways` for
    /// others.
    pub fn find(configured: Option<&Path>) -> Result<Self, StateError> {
        if let Some(path) = configured {
            return Ok(Self::new(path));
        }
        let is_root = rustix::process::geteuid().is_root();
        usual(&|name| std::env::var_os(name).map(PathBuf::from), is_root)
            .map(Self::new)
            .ok_or(StateError::Nowhere)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where a file of it is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads a file; `None` if it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path_of(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::io("read", &path)(error)),
        };
        let mut bytes = Vec::new();
        let mut limited = file.take(FILE_BYTES_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(StateError::io("read", &path))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(StateError::TooLarge { path });
        }
        Ok(Some(bytes))
    }

    /// Writes a file whole, for its owner alone. Its directories are made.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = self.path_of(name);
        let directory = path.parent().unwrap_or(&self.root);
        make_directory(directory)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary =
            directory.join(format!(".new-{}-{number}", rustix::process::getpid().as_raw_nonzero()));
        let written = write_new(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path).map_err(StateError::io("write", &path)));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_directory(directory)
    }

    /// Removes a file; one that is not there is removed already.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path_of(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(path.parent().unwrap_or(&self.root)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StateError::io("remove", &path)(error)),
        }
    }

    /// The names of files in one of its directories, sorted; none if it is not there.
    pub fn list(&self, directory: &str) -> Result<Vec<String>, StateError> {
        let path = self.path_of(directory);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StateError::io("list", &path)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        Ok(names)
    }

    /// Takes a lock of this name, without waiting.
    pub fn lock(&self, name: &str) -> Result<Lock, StateError> {
        make_directory(&self.root)?;
        let path = self.path_of(&format!("{name}.lock"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(StateError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = holder(&mut file);
                return Err(StateError::Locked { path, holder });
            }
            Err(error) => return Err(StateError::io("lock", &path)(error.into())),
        }
        // So that the next process can report which one has it.
        let pid = rustix::process::getpid().as_raw_nonzero();
        let _ = file.set_len(0).and_then(|()| file.write_all(format!("{pid}\n").as_bytes()));
        Ok(Lock { _file: file })
    }
}

fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    Some(format!(" (process {pid})"))
}

fn usual(variable: &dyn Fn(&str) -> Option<PathBuf>, is_root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    // systemd separates several by colons; the first is ours.
    let of_unit = variable("STATE_DIRECTORY").and_then(|paths| {
        let first = paths.to_str()?.split(':').next()?.to_owned();
        (!first.is_empty()).then(|| PathBuf::from(first))
    });
    if of_unit.is_some() {
        return of_unit;
    }
    if is_root {
        return Some(PathBuf::from("/var/lib/bothways"));
    }
    let of_user = absolute("XDG_STATE_HOME").map(|path| path.join("bothways"));
    of_user.or_else(|| absolute("HOME").map(|home| home.join(".local/state/bothways")))
}

/// Makes a directory and those above it, for their owner alone.
fn make_directory(path: &Path) -> Result<(), StateError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(StateError::io("make", path))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io("write", path))?;
    // Whatever the umask is.
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(StateError::io("write", path))
}

fn sync_directory(path: &Path) -> Result<(), StateError> {
    let directory = File::open(path).map_err(StateError::io("open", path))?;
    match directory.sync_all() {
        // Some file systems cannot; there is nothing better to be done then.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(StateError::io("write", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_are_written_whole_and_for_their_owner_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path().join("a/b"));
        assert_eq!(state.read("ca/root.key").unwrap(), None);
        assert_eq!(state.list("ca").unwrap(), Vec::<String>::new());
        state.write("ca/root.key", b"one").unwrap();
        state.write("ca/root.key", b"two").unwrap();
        assert_eq!(state.read("ca/root.key").unwrap().unwrap(), b"two");
        assert_eq!(state.list("ca").unwrap(), ["root.key"], "nothing temporary is left");
        assert_eq!(mode(&state.path_of("ca/root.key")), 0o600);
        for directory in ["a", "a/b", "a/b/ca"] {
            assert_eq!(mode(&scratch.path().join(directory)), 0o700, "{directory}");
        }
        state.remove("ca/root.key").unwrap();
        state.remove("ca/root.key").unwrap();
        assert_eq!(state.read("ca/root.key").unwrap(), None);
    }

    #[test]
    fn a_lock_is_held_once() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path());
        let first = state.lock("acme").unwrap();
        let error = state.lock("acme").unwrap_err();
        assert!(matches!(error, StateError::Locked { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
        state.lock("ca").unwrap();
        drop(first);
        state.lock("acme").unwrap();
    }

    #[test]
    fn what_cannot_be_done_is_said_with_its_file() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        let state = StateDir::new(scratch.path().join("file"));
        let error = state.write("ca/root.key", b"").unwrap_err();
        assert!(error.to_string().contains("file/ca"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("process { state")), "{error:?}");
        assert!(!error.to_string().contains("os error"), "{error}");
    }

    #[test]
    fn usual_places() {
        #[track_caller]
        fn check(variables: &[(&str, &str)], is_root: bool, expected: Option<&str>) {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(usual(&variable, is_root), expected.map(PathBuf::from), "{variables:?}");
        }
        check(&[("STATE_DIRECTORY", "/s/a:/s/b"), ("HOME", "/h")], false, Some("/s/a"));
        check(&[("STATE_DIRECTORY", "")], true, Some("/var/lib/bothways"));
        check(&[("HOME", "/root")], true, Some("/var/lib/bothways"));
        check(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], false, Some("/x/bothways"));
        check(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], false, Some("/h/.local/state/bothways"));
        check(&[], false, None);
    }
}
