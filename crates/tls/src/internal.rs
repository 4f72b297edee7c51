//! The internal CA: certificates for development and intranets.
//!
//! A root (ECDSA P-256, ten years) is made on first use and kept in the state directory; whoever
//! trusts it trusts every certificate that it signs. Those live for a week, are made in memory and
//! renewed after two thirds of it. Several processes share a root: only making it takes the lock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::KeyKind;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::csr::alternative;
use crate::inspect::{Certificate, day};
use crate::key::PrivateKey;
use crate::pem::Sections;
use crate::slot::Chain;
use crate::state::{Lock, StateDir, StateError};

const ROOT_FILE: &str = "internal-ca/root.pem";
const KEY_FILE: &str = "internal-ca/root.key";
const LOCK: &str = "internal-ca";

const DAY: Duration = Duration::from_secs(24 * 3600);
const ROOT_LIFE: Duration = Duration::from_secs(3652 * 24 * 3600);
/// How long before its end it is warned of.
const ROOT_WARNING: Duration = Duration::from_secs(90 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clocks of clients may be behind ours.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
/// Another process makes the root meanwhile; it takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Why there is no internal CA.
#[derive(Debug, Error)]
pub enum CaError {
    /// The state directory does not do.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is there is broken.
    #[error("{}: {why}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate of the internal CA cannot be made: {0}")]
    Failed(String),
}

impl CaError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Broken { path, .. } => Some(format!(
                "restore it from a backup, or remove the directory {} to have a new CA made, which \
                 every client must be told to trust again",
                path.parent().unwrap_or(path).display()
            )),
            Self::Failed(_) => None,
        }
    }
}

/// The internal CA.
#[derive(Debug)]
pub struct InternalCa {
    root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl InternalCa {
    /// The one in the state directory, if it has been made.
    pub fn open(state: &StateDir) -> Result<Option<Self>, CaError> {
        let Some(root) = state.read(ROOT_FILE)? else { return Ok(None) };
        let broken = |file: &str, why: String| CaError::Broken { path: state.path_of(file), why };
        let root =
            Sections::certificates(&root).map_err(|error| broken(ROOT_FILE, error.to_string()))?;
        let root = root.into_iter().next().unwrap_or_default();
        let root = Certificate::from_der(CertificateDer::from(root))
            .map_err(|why| broken(ROOT_FILE, why))?;
        let key = state
            .read(KEY_FILE)?
            .ok_or_else(|| broken(KEY_FILE, "the key of the internal CA is gone".to_owned()))?;
        let key =
            PrivateKey::from_pem(&key).map_err(|error| broken(KEY_FILE, error.to_string()))?;
        Chain::new(vec![root.der().clone()], key.der())
            .map_err(|_| broken(KEY_FILE, "it is not the key of root.pem".to_owned()))?;
        let pair = key.pair().map_err(|error| broken(KEY_FILE, error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(root.der(), pair)
            .map_err(|error| broken(ROOT_FILE, error.to_string()))?;
        Ok(Some(Self { root, issuer }))
    }

    /// The one in the state directory; it is made if there is none.
    pub fn open_or_make(state: &StateDir, now: SystemTime) -> Result<Self, CaError> {
        if let Some(there) = Self::open(state)? {
            if let Some(words) = there.ends_soon(now) {
                tracing::warn!("{words}");
            }
            return Ok(there);
        }
        let _lock = lock(state)?;
        // Another process may have been faster.
        if let Some(there) = Self::open(state)? {
            return Ok(there);
        }
        let key = PrivateKey::generate(KeyKind::EcP256)
            .map_err(|error| CaError::Failed(error.to_string()))?;
        let pair = key.pair().map_err(|error| CaError::Failed(error.to_string()))?;
        let root = root_params(now).self_signed(&pair).map_err(cannot_issue)?;
        // The certificate last: it says that all is there.
        state.write(KEY_FILE, key.to_pem().as_bytes())?;
        state.write(ROOT_FILE, crate::key::pem("CERTIFICATE", root.der()).as_bytes())?;
        let made = Self::open(state)?.ok_or_else(|| CaError::Broken {
            path: state.path_of(ROOT_FILE),
            why: "it is gone again".to_owned(),
        })?;
        tracing::info!(
            root = %state.path_of(ROOT_FILE).display(),
            until = day(made.root.not_after),
            "internal CA made; `bothways ca root` prints what clients must trust"
        );
        Ok(made)
    }

    /// Its own certificate, which clients must trust.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// A warning if it expires soon: it must be replaced by hand, because clients must trust the new one.
    pub(crate) fn ends_soon(&self, now: SystemTime) -> Option<String> {
        let is_soon = self.root.not_after < later(now, ROOT_WARNING);
        is_soon.then(|| {
            let until = day(self.root.not_after);
            format!(
                "the internal CA ends on {until}: remove its directory internal-ca in the state \
                 directory, restart, and have clients trust the new one (bothways ca root)"
            )
        })
    }

    /// A new certificate with a new key for these names, which are never empty.
    pub(crate) fn issue(&self, names: &[Box<str>], now: SystemTime) -> Result<Chain, CaError> {
        let key = PrivateKey::generate(KeyKind::EcP256)
            .map_err(|error| CaError::Failed(error.to_string()))?;
        let pair = key.pair().map_err(|error| CaError::Failed(error.to_string()))?;
        let mut params = CertificateParams::default();
        let alternatives = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>();
        params.subject_alt_names =
            alternatives.map_err(|error| CaError::Failed(error.to_string()))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(first) = names.first().filter(|name| name.len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, &**first);
        }
        params.not_before = date(now.checked_sub(CLOCK_SLACK).unwrap_or(now));
        params.not_after = date(later(now, LEAF_LIFE).min(self.root.not_after));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&pair, &self.issuer).map_err(cannot_issue)?;
        Chain::new(vec![made.der().clone()], key.der()).map_err(cannot_issue)
    }
}

/// When a certificate of ours is to be replaced: after two thirds of its life.
pub(crate) fn renewal_of(chain: &Chain) -> SystemTime {
    let life = chain.not_after.duration_since(chain.not_before).unwrap_or_default();
    later(chain.not_before, life / 3 * 2)
}

fn cannot_issue(error: impl std::fmt::Display) -> CaError {
    CaError::Failed(error.to_string())
}

/// A clock may say anything, so nothing here may panic.
fn later(at: SystemTime, length: Duration) -> SystemTime {
    at.checked_add(length).unwrap_or(at)
}

fn date(at: SystemTime) -> time::OffsetDateTime {
    let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let unix = i64::try_from(unix).unwrap_or_default();
    time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn root_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = rcgen::DistinguishedName::new();
    // The day tells one from another in the lists of browsers.
    let host: String = host_name().unwrap_or_else(|| "this machine".to_owned());
    let common: String = format!("Bothways internal CA of {host}").chars().take(50).collect();
    name.push(DnType::CommonName, format!("{common} {}", day(now)));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(now.checked_sub(DAY).unwrap_or(now));
    params.not_after = date(later(now, ROOT_LIFE));
    params
}

/// Waits a little for a process that makes the root just now.
fn lock(state: &StateDir) -> Result<Lock, StateError> {
    let since = Instant::now();
    loop {
        match state.lock(LOCK) {
            Err(StateError::Locked { .. }) if since.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// The machine's name, if it can be in a certificate.
pub(crate) fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_ascii_lowercase();
    (!name.is_empty() && alternative(&name).is_ok()).then_some(name)
}

/// What a site gets that has no names: this machine's own.
pub(crate) fn own_names() -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = vec!["localhost".into()];
    names.extend(host_name().filter(|name| name != "localhost").map(Into::into));
    names.extend(["127.0.0.1".into(), "::1".into()]);
    names
}

/// A CA that several threads use.
pub(crate) type SharedCa = Arc<InternalCa>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path().join("state"));
        assert!(InternalCa::open(&state).unwrap().is_none());
        let now = SystemTime::now();
        let made = InternalCa::open_or_make(&state, now).unwrap();
        let again = InternalCa::open_or_make(&state, now).unwrap();
        assert_eq!(made.root().fingerprint, again.root().fingerprint);
        assert!(made.root().is_ca && made.root().is_self_signed);
        assert_eq!(made.ends_soon(now), None);
        assert!(made.ends_soon(later(now, ROOT_LIFE - DAY)).is_some());
        let years = made.root().not_after.duration_since(now).unwrap() / (365 * 24 * 3600);
        assert!((9..=10).contains(&years.as_secs()), "{years:?}");
    }

    #[test]
    fn processes_that_start_together_share_one() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path());
        let now = SystemTime::now();
        let made = std::thread::scope(|scope| {
            let start = || InternalCa::open_or_make(&state, now).unwrap().root.fingerprint;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(made.iter().all(|fingerprint| *fingerprint == made[0]), "{made:?}");
    }

    #[test]
    fn leafs_are_for_names_wildcards_and_addresses() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path());
        let now = SystemTime::now();
        let ca = InternalCa::open_or_make(&state, now).unwrap();
        let names: Vec<Box<str>> =
            ["a.lan", "*.b.lan", "10.0.0.1", "::1"].into_iter().map(Into::into).collect();
        let chain = ca.issue(&names, now).unwrap();
        assert_eq!(chain.names, names);
        let leaf = Certificate::from_der(chain.key.cert[0].clone()).unwrap();
        assert!(leaf.for_servers && !leaf.is_ca);
        let both = [leaf, ca.root().clone()];
        assert_eq!(crate::inspect::judge_shown(&both, &[], now), []);
        assert!(renewal_of(&chain) < now + LEAF_LIFE && renewal_of(&chain) > now + 4 * DAY);
    }

    #[test]
    fn what_is_broken_is_said_with_its_file() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::new(scratch.path());
        let now = SystemTime::now();
        InternalCa::open_or_make(&state, now).unwrap();
        let other = PrivateKey::generate(KeyKind::EcP256).unwrap();
        state.write(KEY_FILE, other.to_pem().as_bytes()).unwrap();
        let error = InternalCa::open_or_make(&state, now).unwrap_err();
        assert!(error.to_string().ends_with("root.key: it is not the key of root.pem"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("internal-ca")), "{error:?}");
        state.remove(KEY_FILE).unwrap();
        assert!(InternalCa::open(&state).unwrap_err().to_string().contains("is gone"));
    }
}
