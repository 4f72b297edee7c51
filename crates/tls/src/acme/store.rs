//! What is kept of a directory: our account with it, and the certificates it issued.
//!
//! ```text
//! acme/HOST-xxxxxxxx/account.json             account key and URL
//! acme/HOST-xxxxxxxx/certificates/NAME-xxxxxxxx.pem   key and chain, in one file: never a mismatch
//! ```
//! The digits tell directories of one host and sets of names apart. A file that cannot be used is
//! put aside under another name and reported; nothing of ours is ever a reason not to start.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use config::KeyKind;
use instant_acme::AccountCredentials;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::OrderSpec;
use crate::slot::Chain;
use crate::state::{StateDir, StateError};

/// The files of one directory.
#[derive(Debug, Clone)]
pub(super) struct Store {
    state: StateDir,
    folder: String,
}

/// An account as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    /// The directory's URL, for readers of the file.
    pub(super) directory: String,
    /// The contacts that the directory has of us.
    pub(super) contacts: Vec<String>,
    /// Key and URL of the account.
    pub(super) credentials: AccountCredentials,
}

impl Store {
    /// Of the directory at `url`; accounts that are bound to others outside (`eab`) are apart.
    pub(super) fn new(state: StateDir, url: &str, eab: Option<&str>) -> Self {
        let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
        let host = plain_name(host.unwrap_or("directory"));
        let marks = digits(&[url, eab.unwrap_or_default()]);
        Self { state, folder: format!("acme/{host}-{marks}") }
    }

    fn account_file(&self) -> String {
        format!("{}/account.json", self.folder)
    }

    /// Our account, if there is one.
    pub(super) fn account(&self) -> Result<Option<StoredAccount>, StateError> {
        let name = self.account_file();
        let Some(bytes) = self.state.read(&name)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(account) => Ok(Some(account)),
            Err(error) => {
                self.put_aside(&name, "corrupt", &error.to_string());
                Ok(None)
            }
        }
    }

    /// Keeps our account.
    pub(super) fn save_account(&self, account: &StoredAccount) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(account).map_err(|error| error.to_string())?;
        self.state.write(&self.account_file(), &text).map_err(|error| error.to_string())
    }

    /// The directory does not know the account: it is put aside, and the next try makes another.
    pub(super) fn forget_account(&self, why: &str) {
        self.put_aside(&self.account_file(), "unknown", why);
    }

    fn folder_of_certificates(&self) -> String {
        format!("{}/certificates", self.folder)
    }

    /// Where the certificate is kept that is issued for exactly this.
    pub(super) fn certificate_file(&self, wanted: &OrderSpec) -> String {
        let first = wanted.names.first().map_or("", |name| name);
        let mut parts: Vec<&str> = wanted.names.iter().map(AsRef::as_ref).collect();
        parts.extend([key_word(wanted.key), wanted.profile.as_deref().unwrap_or_default()]);
        format!("{}/{}-{}.pem", self.folder_of_certificates(), plain_name(first), digits(&parts))
    }

    /// The certificate that was issued for exactly this.
    pub(super) fn certificate(&self, wanted: &OrderSpec) -> Option<Arc<Chain>> {
        let name = self.certificate_file(wanted);
        let bytes = match self.state.read(&name) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(%error, "cannot read a stored certificate");
                return None;
            }
        };
        let chain = chain_from(&bytes).and_then(|chain| {
            let missing = wanted.names.iter().find(|name| !has_name(&chain, name));
            missing.map_or(Ok(chain), |name| Err(format!("it is not for {name}")))
        });
        match chain {
            Ok(chain) => Some(Arc::new(chain)),
            Err(why) => {
                self.put_aside(&name, "corrupt", &why);
                None
            }
        }
    }

    /// Another certificate, of this directory or another, that was issued for some of the names and
    /// is still valid: what is served until there is the right one.
    pub(super) fn substitute(&self, wanted: &OrderSpec, now: SystemTime) -> Option<Arc<Chain>> {
        let own = self.folder_of_certificates();
        let folders = self.state.list("acme").ok()?;
        let folders = folders.iter().map(|folder| format!("acme/{folder}/certificates"));
        let chains = folders.flat_map(|folder| {
            let is_own = folder == own;
            self.chains_in(&folder).into_iter().map(move |chain| (is_own, chain))
        });
        chains
            .filter(|(_, chain)| chain.not_after > now)
            .map(|(is_own, chain)| {
                let covered = wanted.names.iter().filter(|name| covers(&chain, name)).count();
                (covered, is_own, chain)
            })
            .filter(|(covered, ..)| *covered > 0)
            .max_by_key(|(covered, is_own, chain)| (*covered, *is_own, chain.not_after))
            .map(|(_, _, chain)| Arc::new(chain))
    }

    fn chains_in(&self, folder: &str) -> Vec<Chain> {
        let files = self.state.list(folder).unwrap_or_default();
        let files = files.iter().filter(|name| name.ends_with(".pem"));
        let read = |name: &String| self.state.read(&format!("{folder}/{name}")).ok().flatten();
        files.filter_map(read).filter_map(|bytes| chain_from(&bytes).ok()).collect()
    }

    /// Keeps a certificate with its key.
    pub(super) fn save_certificate(
        &self,
        wanted: &OrderSpec,
        key_pem: &str,
        chain_pem: &str,
    ) -> Result<(), StateError> {
        let text = format!("{}\n{}\n", key_pem.trim_end(), chain_pem.trim());
        self.state.write(&self.certificate_file(wanted), text.as_bytes())
    }

    /// Gives a file another name, so that it is out of the way and still there.
    fn put_aside(&self, name: &str, word: &str, why: &str) {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let path = self.state.path_of(name);
        let aside = self.state.path_of(&format!("{name}.{word}-{}", seconds.as_secs()));
        let (file, to) = (path.display(), aside.display());
        match std::fs::rename(&path, &aside) {
            Ok(()) => {
                tracing::warn!(%file, why, kept_as = %to, "stored file cannot be used; it is put aside")
            }
            Err(error) => {
                tracing::warn!(%file, why, %error, "stored file cannot be used, nor put aside")
            }
        }
    }
}

/// A key and its chain from one PEM text.
pub(super) fn chain_from(pem: &[u8]) -> Result<Chain, String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("its key: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| format!("its certificates: {error}"))?;
    Chain::new(certificates, &key).map_err(|error| error.to_string())
}

/// Whether a certificate names this name itself.
pub(super) fn has_name(chain: &Chain, name: &str) -> bool {
    chain.names.iter().any(|own| **own == *name)
}

/// Whether a certificate can serve this name; a wildcard only another wildcard.
fn covers(chain: &Chain, name: &str) -> bool {
    has_name(chain, name) || (!name.starts_with("*.") && chain.covers(name))
}

fn key_word(key: KeyKind) -> &'static str {
    match key {
        KeyKind::EcP256 => "ec256",
        KeyKind::EcP384 => "ec384",
        KeyKind::Rsa2048 => "rsa2048",
        KeyKind::Rsa4096 => "rsa4096",
        KeyKind::Ed25519 => "ed25519",
    }
}

/// Eight digits that distinguish texts.
fn digits(parts: &[&str]) -> String {
    let hash = digest(&SHA256, parts.join("\n").as_bytes());
    hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// A name that can be part of a file's.
fn plain_name(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    name.trim_start_matches('.').chars().take(NAME_CHARS_MAX).map(fit).collect()
}

/// Characters of a name that a file is called by; file systems take 255 bytes.
const NAME_CHARS_MAX: usize = 120;
