//! A certificate and its key from their files, judged.
//!
//! What makes a pair unusable is an error with the file and the way out; what only makes it bad
//! (expired, for other names) is found by [`judge`](crate::inspect::judge), so that callers decide.

use std::path::Path;
use std::sync::Arc;

use config::CertificateFiles;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::inspect::{Certificate, Finding};
use crate::key::PrivateKey;
use crate::pem::Sections;
use crate::slot::{Chain, ChainError};
use crate::state::plain;

/// No chain and no list of roots is longer.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A pair that can be served.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// For handshakes.
    pub(crate) chain: Arc<Chain>,
    /// Every certificate in the file, the leaf first.
    pub(crate) certificates: Vec<Certificate>,
}

/// Reads a file of limited size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Finding> {
    let refuse = |error: std::io::Error| {
        let message = format!("{} cannot be read: {}", path.display(), plain(&error));
        let finding = Finding::error(message);
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                let hint = format!(
                    "let the user that runs bothways read it: chgrp GROUP {0} && chmod 640 {0}",
                    path.display()
                );
                finding.hint(hint)
            }
            std::io::ErrorKind::NotFound => {
                finding.hint("paths are relative to the directory of the configuration's file")
            }
            _ => finding,
        }
    };
    let bytes = config::read_file(path, FILE_BYTES_MAX).map_err(refuse)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} is too large for a certificate or key", path.display());
        return Err(Finding::error(message));
    }
    Ok(bytes)
}

/// Reads the certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Finding> {
    parse_certificates(path, &read(path)?)
}

pub(crate) fn parse_certificates(path: &Path, bytes: &[u8]) -> Result<Vec<Certificate>, Finding> {
    let ders = Sections::certificates(bytes).map_err(|error| {
        let finding = Finding::error(format!("{}: {error}", path.display()));
        match error.hint(path) {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    })?;
    let numbered = (1..).zip(ders);
    let read = numbered.map(|(number, der)| {
        Certificate::from_der(CertificateDer::from(der)).map_err(|why| {
            let file = path.display();
            Finding::error(format!("{file}: certificate {number} in it cannot be read: {why}"))
        })
    });
    read.collect()
}

/// Reads the key of a PEM file.
pub fn read_key(path: &Path) -> Result<PrivateKey, Finding> {
    PrivateKey::from_pem(&read(path)?).map_err(|error| {
        let finding = Finding::error(format!("{}: {error}", path.display()));
        match error.hint(path) {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    })
}

/// Reads a certificate chain and the key that must be its own; everything that is wrong with them
/// as a pair is told at once.
pub fn read_pair(cert: &Path, key: &Path) -> Result<Vec<Certificate>, Vec<Finding>> {
    let place = config::Place::default();
    let files = CertificateFiles { place, cert: cert.to_owned(), key: key.to_owned() };
    load(&files).map(|pair| pair.certificates)
}

/// Reads a pair. Both files are always read, so that the mistakes of both are reported at once.
pub(crate) fn load(files: &CertificateFiles) -> Result<Pair, Vec<Finding>> {
    let (certificates, key) = match (read_certificates(&files.cert), read_key(&files.key)) {
        (Ok(certificates), Ok(key)) => (certificates, key),
        (certificates, key) => {
            return Err(certificates.err().into_iter().chain(key.err()).collect());
        }
    };
    let ders = certificates.iter().map(|certificate| certificate.der().clone()).collect();
    match Chain::new(ders, key.der()) {
        Ok(chain) => Ok(Pair { chain: Arc::new(chain), certificates }),
        Err(ChainError::Mismatch) => Err(vec![mismatch(files, &certificates, &key)]),
        Err(error) => Err(vec![Finding::error(format!("{}: {error}", files.cert.display()))]),
    }
}

fn mismatch(files: &CertificateFiles, certificates: &[Certificate], key: &PrivateKey) -> Finding {
    let public = key.public_der();
    let own = certificates.iter().position(|certificate| {
        X509Certificate::from_der(certificate.der())
            .is_ok_and(|(_, parsed)| parsed.public_key().raw == public)
    });
    let title = certificates.first().map(Certificate::title).unwrap_or_default();
    let (cert, key_file) = (files.cert.display(), files.key.display());
    let message = format!(
        "{key_file} is not the key of {cert}: the key is {}, the certificate is for `{title}` with {}",
        article(&key.facts().words),
        certificates.first().map_or_else(String::new, |leaf| article(&leaf.key.words)),
    );
    let message = if let Some(first) = certificates.first()
        && first.key.words == key.facts().words
    {
        format!("{key_file} is not the key of {cert} (for `{title}`), but another one")
    } else {
        message
    };
    Finding::error(message).hint(match own {
        Some(index) => format!(
            "the key's certificate is number {} in {cert}; put it first, then its issuer's",
            index + 1
        ),
        None => "take the key that the certificate's request was made with; without it, make a \
                 new one and have a new certificate issued: bothways cert key, bothways cert csr"
            .to_owned(),
    })
}

fn article(words: &str) -> String {
    let vowel = words.starts_with(['E', 'R']);
    format!("{} {words} key", if vowel { "an" } else { "a" })
}
