//! Private keys: generated, read, written and described.
//!
//! A new key is written as PKCS#8 (`PRIVATE KEY`), which every program reads. PKCS#1 and SEC1 are
//! read too.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use config::KeyKind;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::SectionKind;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::pem::{PemError, Sections};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The file is not what was wanted.
    Pem(PemError),
    /// It is a key that we cannot use.
    Unusable(String),
    /// It cannot be made.
    Failed,
}

impl fmt::Display for KeyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(error) => error.fmt(out),
            Self::Unusable(why) => write!(out, "the key cannot be used: {why}"),
            Self::Failed => out.write_str("the key cannot be made"),
        }
    }
}

impl std::error::Error for KeyError {}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self, file: &Path) -> Option<String> {
        match self {
            Self::Pem(error) => error.hint(file),
            Self::Unusable(_) => Some(
                "ECDSA (P-256, P-384, P-521), RSA from 2048 bits and Ed25519 can be used; a new \
                 one: bothways cert key"
                    .to_owned(),
            ),
            Self::Failed => None,
        }
    }
}

/// A private key.
pub struct PrivateKey {
    der: PrivateKeyDer<'static>,
    signing: Arc<dyn SigningKey>,
    facts: KeyFacts,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PrivateKey").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Makes a new one. RSA takes up to seconds.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        use rcgen::RsaKeySize;
        let made = match kind {
            KeyKind::EcP256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::EcP384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
            }
            KeyKind::Rsa4096 => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096)
            }
            KeyKind::Ed25519 => return Self::generate_ed25519(),
        };
        let made = made.map_err(|_| KeyError::Failed)?;
        Self::from_der(SectionKind::PrivateKey, made.serialize_der())
    }

    /// In the first version of PKCS#8: OpenSSL 3.0 does not read the second, which holds the public
    /// key too.
    fn generate_ed25519() -> Result<Self, KeyError> {
        let made = Ed25519KeyPair::generate().map_err(|_| KeyError::Failed)?;
        let pkcs8 = made.to_pkcs8v1().map_err(|_| KeyError::Failed)?;
        Self::from_der(SectionKind::PrivateKey, pkcs8.as_ref().to_vec())
    }

    /// Reads the first key of a PEM file.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, KeyError> {
        let (kind, der) = Sections::key(bytes).map_err(KeyError::Pem)?;
        Self::from_der(kind, der)
    }

    fn from_der(kind: SectionKind, der: Vec<u8>) -> Result<Self, KeyError> {
        let der = match kind {
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der.into()),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(der.into()),
            _ => PrivateKeyDer::Pkcs8(der.into()),
        };
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
            .map_err(|_| KeyError::Unusable(why_unusable(&der)))?;
        let facts = signing
            .public_key()
            .and_then(|spki| KeyFacts::of_spki(&spki))
            .ok_or_else(|| KeyError::Unusable("its public part cannot be derived".to_owned()))?;
        Ok(Self { der, signing, facts })
    }

    /// In PEM, as it is; a secret. One that we made is PKCS#8.
    pub fn to_pem(&self) -> String {
        let label = match &self.der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem(label, self.der.secret_der())
    }

    /// Its public facts.
    pub fn facts(&self) -> &KeyFacts {
        &self.facts
    }

    /// The public part: a SubjectPublicKeyInfo in DER.
    pub fn public_der(&self) -> Vec<u8> {
        self.signing.public_key().map(|spki| spki.as_ref().to_vec()).unwrap_or_default()
    }

    /// The public part in PEM.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    pub(crate) fn der(&self) -> &PrivateKeyDer<'static> {
        &self.der
    }

    /// For making certificates and requests.
    pub(crate) fn pair(&self) -> Result<rcgen::KeyPair, KeyError> {
        rcgen::KeyPair::try_from(&self.der)
            .map_err(|_| KeyError::Unusable("it cannot sign certificates".to_owned()))
    }
}

/// PEM with lines of 64 characters (RFC 7468, section 2).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

fn why_unusable(der: &PrivateKeyDer<'_>) -> String {
    use aws_lc_rs::rsa::KeyPair;
    let rsa = match der {
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return "its curve is not known".to_owned(),
    };
    match rsa {
        Err(why) if why.to_string() == "TooSmall" => {
            "RSA below 2048 bits is not safe any more".to_owned()
        }
        Err(why) if why.to_string() == "TooLarge" => "RSA above 8192 bits is too slow".to_owned(),
        _ => "its kind is not known, or it is broken".to_owned(),
    }
}

/// The public facts of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// In words: `ECDSA P-256`, `RSA 2048`, `Ed25519`.
    pub words: String,
    /// Why it is too weak, if it is.
    pub weak: Option<&'static str>,
}

impl KeyFacts {
    /// Of a public key.
    pub(crate) fn of_spki(der: &[u8]) -> Option<Self> {
        let (_, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
        Some(Self::of(&spki))
    }

    pub(crate) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let plain = |words: &str| Self { words: words.to_owned(), weak: None };
        match spki.parsed() {
            Ok(PublicKey::RSA(key)) => {
                // `key_size` counts the padding byte of the integer; bits are what people say.
                let bits = rsa_bits(key.modulus);
                let weak = (bits < 2048).then_some("RSA below 2048 bits is not safe any more");
                Self { words: format!("RSA {bits}"), weak }
            }
            Ok(PublicKey::EC(_)) => plain(curve(spki)),
            Ok(PublicKey::DSA(_)) => {
                Self { words: "DSA".to_owned(), weak: Some("no TLS client takes DSA any more") }
            }
            _ => match spki.algorithm.algorithm.to_id_string().as_str() {
                "1.3.101.112" => plain("Ed25519"),
                "1.3.101.113" => plain("Ed448"),
                "2.16.840.1.101.3.4.3.17" => plain("ML-DSA-44"),
                "2.16.840.1.101.3.4.3.18" => plain("ML-DSA-65"),
                "2.16.840.1.101.3.4.3.19" => plain("ML-DSA-87"),
                other => plain(&format!("unknown ({other})")),
            },
        }
    }
}

fn rsa_bits(modulus: &[u8]) -> usize {
    let skip = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = modulus.get(skip..).unwrap_or_default();
    let first = significant.first().copied().unwrap_or_default();
    (significant.len() * 8).saturating_sub(first.leading_zeros() as usize)
}

fn curve(spki: &SubjectPublicKeyInfo<'_>) -> &'static str {
    let oid = spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    match oid.map(|oid| oid.to_id_string()).as_deref() {
        Some("1.2.840.10045.3.1.7") => "ECDSA P-256",
        Some("1.3.132.0.34") => "ECDSA P-384",
        Some("1.3.132.0.35") => "ECDSA P-521",
        Some("1.3.132.0.10") => "ECDSA secp256k1",
        _ => "ECDSA of an unknown curve",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_written_and_read_again() {
        for (kind, words) in [
            (KeyKind::EcP256, "ECDSA P-256"),
            (KeyKind::EcP384, "ECDSA P-384"),
            (KeyKind::Rsa2048, "RSA 2048"),
            (KeyKind::Ed25519, "Ed25519"),
        ] {
            let key = PrivateKey::generate(kind).unwrap();
            assert_eq!(key.facts().words, words);
            let text = key.to_pem();
            assert!(text.lines().all(|line| line.len() <= 64), "{kind:?}");
            let again = PrivateKey::from_pem(text.as_bytes()).unwrap();
            assert_eq!(again.public_der(), key.public_der(), "{kind:?}");
            assert_eq!(again.to_pem(), text, "{kind:?}");
            key.pair().unwrap();
        }
    }
}
