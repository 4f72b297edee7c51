//! What a core remembers of passwords that were right a moment ago.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use crate::file::UserFile;

/// How long a password that was right needs no new check.
const KEPT: Duration = Duration::from_secs(60);
/// Credentials that are remembered at most.
const ENTRIES_MAX: usize = 4096;

/// Half of a keyed hash of credentials: 128 bits that nobody can compute who does not know the key.
type Digest = [u8; 16];

/// Credentials that were right a moment ago, of one core. A change of the file forgets them.
#[derive(Debug)]
pub struct Logins {
    /// `None`: the system has no random numbers, and nothing is remembered.
    key: Option<hmac::Key>,
    known: RefCell<HashMap<Digest, Known>>,
}

#[derive(Debug)]
struct Known {
    user: Arc<str>,
    until: Instant,
}

impl Default for Logins {
    fn default() -> Self {
        let key = random::secret::<32>().ok().map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        Self { key, known: RefCell::default() }
    }
}

impl Logins {
    fn digest(&self, file: &UserFile, token: &[u8]) -> Option<Digest> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for number in file.identity() {
            context.update(&number.to_ne_bytes());
        }
        context.update(token);
        context.sign().as_ref().first_chunk().copied()
    }

    /// The user whose credentials these are, if they were right a moment ago. `token`: as the client sent it.
    pub fn user(&self, file: &UserFile, token: &[u8], now: Instant) -> Option<Arc<str>> {
        let known = self.known.borrow();
        if known.is_empty() {
            return None;
        }
        let entry = known.get(&self.digest(file, token)?)?;
        (now < entry.until).then(|| Arc::clone(&entry.user))
    }

    /// Remembers credentials that are right.
    pub fn remember(&self, file: &UserFile, token: &[u8], user: &Arc<str>, now: Instant) {
        let Some(digest) = self.digest(file, token) else { return };
        let mut known = self.known.borrow_mut();
        if known.len() >= ENTRIES_MAX {
            known.retain(|_, entry| now < entry.until);
        }
        if known.len() >= ENTRIES_MAX {
            known.clear(); // so many at once: each is checked once more
        }
        known.insert(digest, Known { user: Arc::clone(user), until: now + KEPT });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn right_credentials_are_remembered_for_a_minute_and_a_file() {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        let (file, other) =
            (UserFile::open(on_disk.path()).unwrap(), UserFile::open(on_disk.path()).unwrap());
        let (logins, now) = (Logins::default(), Instant::now());
        let ann = Arc::from("ann");
        assert_eq!(logins.user(&file, b"token", now), None);
        logins.remember(&file, b"token", &ann, now);
        assert_eq!(logins.user(&file, b"token", now).as_deref(), Some("ann"));
        assert_eq!(logins.user(&file, b"tokeN", now), None);
        assert_eq!(logins.user(&other, b"token", now), None);
        assert_eq!(logins.user(&file, b"token", now + KEPT), None);
        writeln!(on_disk, "# changed").unwrap();
        assert!(file.refresh().unwrap());
        assert_eq!(logins.user(&file, b"token", now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        let file = UserFile::open(on_disk.path()).unwrap();
        let (logins, now) = (Logins::default(), Instant::now());
        let ann = Arc::from("ann");
        for number in 0..3 * ENTRIES_MAX {
            logins.remember(&file, &number.to_ne_bytes(), &ann, now);
            assert!(logins.known.borrow().len() <= ENTRIES_MAX);
        }
    }
}
