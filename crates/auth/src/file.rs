//! Files of users as `htpasswd` writes them: a name, a colon and a hash on each line.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use thiserror::Error;

use crate::hash::{HashError, PasswordHash};

/// Bytes of a user file at most: about a million users.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// The users of a file.
#[derive(Debug, Default)]
pub struct Users {
    of: HashMap<Arc<str>, PasswordHash>,
    /// Checked in place of the hash of a user who does not exist, so that both take the same time.
    stand_in: Option<PasswordHash>,
}

/// Why a file of users cannot be used.
#[derive(Debug, Error)]
pub enum UserFileError {
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// It is longer than any file of users.
    #[error("it has more than {} MiB", FILE_BYTES_MAX >> 20)]
    TooLong,
    /// It is not text.
    #[error("line {0}: this is not UTF-8")]
    NotText(usize),
    /// A line is neither empty, a comment, nor `name:hash`.
    #[error("line {0}: expected `name:hash`")]
    Line(usize),
    /// A name has two lines.
    #[error("line {0}: the user {1:?} has a line before this one")]
    Twice(usize, Box<str>),
    /// A hash cannot be used.
    #[error("line {0}, user {1:?}: {2}")]
    Hash(usize, Box<str>, HashError),
}

impl Users {
    /// Reads the text of a file. Blank lines and those that begin with `#` mean nothing; what follows a second colon is a
    /// remark.
    pub fn parse(text: &[u8]) -> Result<Self, UserFileError> {
        let mut users = Self::default();
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let line = std::str::from_utf8(line).map_err(|_| UserFileError::NotText(number))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').ok_or(UserFileError::Line(number))?;
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(UserFileError::Line(number));
            }
            let hash = hash.split(':').next().unwrap_or_default();
            let hash = PasswordHash::parse(hash)
                .map_err(|error| UserFileError::Hash(number, name.into(), error))?;
            users.stand_in.get_or_insert_with(|| hash.clone());
            if users.of.insert(name.into(), hash).is_some() {
                return Err(UserFileError::Twice(number, name.into()));
            }
        }
        Ok(users)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The user of this name, if the password is theirs. Whether it is a user at all makes no difference in time, unless
    /// the hashes of the file differ in cost.
    pub fn verify(&self, name: &str, password: &[u8]) -> Option<Arc<str>> {
        match self.of.get_key_value(name) {
            Some((name, hash)) => hash.verify(password).then(|| Arc::clone(name)),
            None => {
                let _ = self.stand_in.as_ref().map(|hash| hash.verify(password));
                None
            }
        }
    }
}

/// What tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file of users, read again when it changes. Its last good content holds until then.
#[derive(Debug)]
pub struct UserFile {
    path: PathBuf,
    /// Tells this file from every other of the process.
    id: u64,
    /// Grows with each change.
    version: AtomicU64,
    users: ArcSwap<Users>,
    seen: Mutex<Seen>,
}

/// What was last seen of a file.
#[derive(Debug)]
struct Seen {
    /// `None`: it was not there.
    stamp: Option<Stamp>,
    /// Whether its users are the current ones.
    good: bool,
}

impl UserFile {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, UserFileError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (users, stamp) = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            version: AtomicU64::new(0),
            users: ArcSwap::from_pointee(users),
            seen: Mutex::new(Seen { stamp: Some(stamp), good: true }),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users that it has now.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// What tells this content from every other content of every file.
    pub(crate) fn identity(&self) -> [u64; 2] {
        [self.id, self.version.load(Ordering::Acquire)]
    }

    /// Reads the file again if it has changed; true if it has other users now. A file that is gone or has a mistake leaves
    /// the users as they were, and is an error once for each change.
    pub fn refresh(&self) -> Result<bool, UserFileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::metadata(&self.path) {
            Ok(metadata) if seen.stamp == Some(Stamp::of(&metadata)) => Ok(false),
            Err(_) if seen.stamp.is_none() => Ok(false),
            _ => self.read_again(&mut seen).map(|()| true),
        }
    }

    /// As [`UserFile::refresh`], but a file that cannot be used is an error each time.
    pub fn require(&self) -> Result<(), UserFileError> {
        self.refresh()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.good { Ok(()) } else { self.read_again(&mut seen) }
    }

    fn read_again(&self, seen: &mut Seen) -> Result<(), UserFileError> {
        let stamp = fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        *seen = Seen { stamp, good: false };
        let (users, stamp) = read(&self.path)?;
        *seen = Seen { stamp: Some(stamp), good: true };
        self.users.store(Arc::new(users));
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

fn read(path: &Path) -> Result<(Users, Stamp), UserFileError> {
    // To open a pipe would wait for its other end.
    let kind = fs::metadata(path).map_err(UserFileError::Io)?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(UserFileError::Io(io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(UserFileError::Io)?;
    let metadata = file.metadata().map_err(UserFileError::Io)?;
    if metadata.is_dir() {
        return Err(UserFileError::Io(io::ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(UserFileError::Io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(UserFileError::TooLong);
    }
    Ok((Users::parse(&bytes)?, Stamp::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESAME: &str = "{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=";

    #[test]
    fn lines() {
        let text =
            format!("# staff\n\nann:{SESAME}\r\n  bob:{SESAME}:a remark\nzoë smith:{SESAME}");
        let users = Users::parse(text.as_bytes()).unwrap();
        assert_eq!(users.len(), 3);
        for name in ["ann", "bob", "zoë smith"] {
            assert_eq!(users.verify(name, b"open sesame").as_deref(), Some(name));
            assert_eq!(users.verify(name, b"open"), None);
        }
        assert_eq!(users.verify("eve", b"open sesame"), None);
        assert_eq!(Users::parse(b"").unwrap().verify("ann", b""), None);
    }

    #[test]
    fn mistakes_name_their_line() {
        let table: &[(&[u8], &str)] = &[
            (b"ann", "line 1: expected `name:hash`"),
            (b"\n:x", "line 2: expected `name:hash`"),
            (b"\n\nann\xFF:x", "line 3: this is not UTF-8"),
            (
                b"ann:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=\nann:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=",
                "line 2: the user \"ann\" has a line before this one",
            ),
            (
                b"ann:{PLAIN}x",
                "line 1, user \"ann\": this is a password in clear: a user file holds hashes",
            ),
            (
                b"ann:",
                "line 1, user \"ann\": this is no hash that the proxy knows: it knows bcrypt, argon2, SHA-512 and SHA-256 of crypt(3), apr1 and {SHA}",
            ),
        ];
        for (text, message) in table {
            assert_eq!(Users::parse(text).unwrap_err().to_string(), *message);
        }
    }

    #[test]
    fn a_change_is_noticed_and_a_mistake_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        assert!(matches!(UserFile::open(&path), Err(UserFileError::Io(_))));
        let write = |text: &str| {
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        };
        write(&format!("ann:{SESAME}\n"));
        let file = UserFile::open(&path).unwrap();
        let before = file.identity();
        assert!(!file.refresh().unwrap());
        write(&format!("ann:{SESAME}\nbob:{SESAME}\n"));
        assert!(file.refresh().unwrap());
        assert_ne!(file.identity(), before);
        assert_eq!(file.users().len(), 2);
        write("nonsense\n");
        assert!(file.refresh().is_err());
        assert!(!file.refresh().unwrap(), "once for each change");
        assert!(file.require().is_err() && file.require().is_err());
        assert_eq!(file.users().len(), 2);
        fs::remove_file(&path).unwrap();
        assert!(file.refresh().is_err());
        assert!(!file.refresh().unwrap());
        assert_eq!(file.users().len(), 2);
        write("# nobody\n");
        assert!(file.refresh().unwrap());
        assert!(file.users().is_empty());
        file.require().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(a:|[$]2y[$]|[$]6[$]|[{]SHA[}]|[$]argon2id[$]|\n|.)*") {
            let _ = Users::parse(&bytes);
            let _ = Users::parse(text.as_bytes());
        }
    }
}
