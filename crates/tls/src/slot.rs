//! The live certificates of one source. They are swapped without touching connections: a handshake
//! takes what is there when it begins.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The live certificates of one source.
pub struct Slot {
    name: Box<str>,
    chains: ArcSwap<Vec<Arc<Chain>>>,
}

impl Slot {
    /// An empty one. The name is for logs and binds tickets: sessions resume only where it is the
    /// same.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), chains: ArcSwap::default() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the certificates; handshakes under way keep theirs. Cheaper keys (elliptic curves) are preferred to more
    /// expensive ones (RSA), then the first.
    pub fn set(&self, mut chains: Vec<Arc<Chain>>) {
        chains.sort_by_key(|chain| chain.rank());
        self.chains.store(Arc::new(chains));
    }

    /// What is there now.
    pub fn load(&self) -> Arc<Vec<Arc<Chain>>> {
        self.chains.load_full()
    }

    /// Whether nothing is there yet: handshakes fail.
    pub fn is_empty(&self) -> bool {
        self.chains.load().is_empty()
    }

    /// Whether both have the same certificates, from whatever files.
    pub(crate) fn shows_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.chains.load(), other.chains.load());
        let is_theirs = |chain: &Arc<Chain>| {
            theirs.iter().any(|theirs| theirs.fingerprint == chain.fingerprint)
        };
        !ours.is_empty() && ours.len() == theirs.len() && ours.iter().all(is_theirs)
    }

    /// The first chain that covers the name and whose key makes signatures that the client takes;
    /// failing that, one that does not cover the name. If there is nothing that the client takes, the
    /// first of all: then rustls finds that there is nothing in common, and says handshake_failure
    /// (RFC 8446, section 4.4.2.2), where without a chain it would say access_denied.
    pub(crate) fn pick(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let chains = self.chains.load();
        let usable = || chains.iter().filter(|chain| chain.signs_with(schemes));
        let covering = name.and_then(|name| usable().find(|chain| chain.covers(name)));
        let chosen = covering.or_else(|| usable().next()).or_else(|| chains.first());
        chosen.map(|chain| Arc::clone(&chain.key))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate chain with its key, ready for handshakes.
pub struct Chain {
    /// Certificates and key.
    pub key: Arc<CertifiedKey>,
    /// The DNS names and addresses of the leaf, lower case.
    pub names: Vec<Box<str>>,
    /// When the leaf becomes valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// SHA-256 of the leaf.
    pub fingerprint: [u8; 32],
    schemes: Vec<SignatureScheme>,
}

/// Why a certificate and a key make no chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// There is none.
    #[error("there is no certificate")]
    Empty,
    /// The leaf cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    /// The key cannot be read, or is of a kind that is not supported.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// They do not belong together.
    #[error("the key is not the certificate's")]
    Mismatch,
}

impl Chain {
    /// From a chain (the leaf first) and its key.
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, ChainError> {
        let leaf = certificates.first().ok_or(ChainError::Empty)?;
        let fingerprint = digest::digest(&digest::SHA256, leaf);
        let fingerprint = fingerprint.as_ref().try_into().unwrap_or_default();
        let facts = leaf_facts(leaf)?;
        let key = any_supported_type(key).map_err(|error| ChainError::Key(error.to_string()))?;
        let schemes = schemes_of(&*key);
        // `CertifiedKey::keys_match` does not read certificates with critical extensions that it
        // does not know, such as those of RFC 8737.
        if key.public_key().is_some_and(|public| *public != *facts.public_key) {
            return Err(ChainError::Mismatch);
        }
        let key = CertifiedKey::new(certificates, key);
        let LeafFacts { names, not_before, not_after, .. } = facts;
        Ok(Self { key: Arc::new(key), names, not_before, not_after, fingerprint, schemes })
    }

    /// Whether the leaf is for this name (lower case).
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => **own == *name,
        })
    }

    fn signs_with(&self, schemes: &[SignatureScheme]) -> bool {
        self.schemes.iter().any(|scheme| schemes.contains(scheme))
    }

    /// Smaller is preferred.
    fn rank(&self) -> u8 {
        match self.schemes.first() {
            Some(SignatureScheme::ECDSA_NISTP256_SHA256) => 0,
            Some(SignatureScheme::ED25519) => 1,
            Some(
                SignatureScheme::ECDSA_NISTP384_SHA384 | SignatureScheme::ECDSA_NISTP521_SHA512,
            ) => 2,
            _ => 3,
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Every scheme that the key can sign with.
fn schemes_of(key: &dyn SigningKey) -> Vec<SignatureScheme> {
    const ALL: [SignatureScheme; 10] = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP521_SHA512,
        SignatureScheme::ED25519,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512,
    ];
    ALL.into_iter().filter(|scheme| key.choose_scheme(&[*scheme]).is_some()).collect()
}

struct LeafFacts {
    names: Vec<Box<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// A SubjectPublicKeyInfo in DER.
    public_key: Vec<u8>,
}

fn leaf_facts(leaf: &[u8]) -> Result<LeafFacts, ChainError> {
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|error| ChainError::Certificate(error.to_string()))?;
    let names = leaf_names(&leaf).map_err(|error| ChainError::Certificate(error.to_string()))?;
    let validity = leaf.validity();
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    let not_before = time(validity.not_before.timestamp()).unwrap_or(SystemTime::UNIX_EPOCH);
    let not_after = time(validity.not_after.timestamp()).unwrap_or(SystemTime::UNIX_EPOCH);
    let public_key = leaf.public_key().raw.to_vec();
    Ok(LeafFacts { names, not_before, not_after, public_key })
}

/// The DNS names and addresses of a certificate, lower case.
pub(crate) fn leaf_names(leaf: &X509Certificate<'_>) -> Result<Vec<Box<str>>, X509Error> {
    let extension = leaf.subject_alternative_name()?;
    let general = extension.iter().flat_map(|extension| &extension.value.general_names);
    let names = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        GeneralName::IPAddress(octets) => address(octets).map(Into::into),
        _ => None,
    });
    Ok(names.collect())
}

/// An address of a certificate as text.
pub(crate) fn address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(std::net::Ipv6Addr::from(octets).to_string())
}
