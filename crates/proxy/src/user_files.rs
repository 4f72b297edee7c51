//! The files of users that configurations name. A file that several name is read once, and stays the same across reloads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use auth::{UserFile, UserFileError};
use config::{Config, Login, Place};

/// The files of users that are in use.
#[derive(Default)]
pub(crate) struct UserFiles(Mutex<HashMap<PathBuf, Weak<UserFile>>>);

/// A file of users that cannot be used, and the line that names it.
pub(crate) struct BadUserFile {
    pub(crate) place: Place,
    pub(crate) why: String,
}

impl UserFiles {
    /// The files of a configuration, by `config::LoginId`.
    pub(crate) fn open(&self, config: &Config) -> Result<Vec<Arc<UserFile>>, BadUserFile> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, file| file.strong_count() > 0);
        let mut open = |login: &Login| {
            let bad = |error: UserFileError| BadUserFile {
                place: login.place,
                why: problem(login, &error),
            };
            if let Some(file) = known.get(&login.file).and_then(Weak::upgrade) {
                file.require().map_err(bad)?;
                return Ok(file);
            }
            let file = Arc::new(UserFile::open(&login.file).map_err(bad)?);
            known.insert(login.file.clone(), Arc::downgrade(&file));
            Ok(file)
        };
        config.logins.iter().map(&mut open).collect()
    }

    /// Reads those again that have changed. One with a mistake leaves its users as they were.
    pub(crate) fn refresh(&self) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for file in known.values().filter_map(Weak::upgrade) {
            let path = file.path().display();
            match file.refresh() {
                Ok(false) => {}
                Ok(true) => tracing::info!(users = file.users().len(), "`{path}` was read again"),
                Err(error) => {
                    tracing::error!(
                        "`{path}` cannot be used, its users stay as they were: {error}"
                    );
                }
            }
        }
    }
}

fn problem(login: &Login, error: &UserFileError) -> String {
    format!("the file of users `{}` cannot be used: {error}", login.file.display())
}

/// Why a file of users cannot be used, for `check`.
pub fn user_file_problem(login: &Login) -> Option<String> {
    UserFile::open(&login.file).err().map(|error| problem(login, &error))
}
