//! The contents of a file, for `bothways cert show`.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::chain::{parse_certificates, read};
use crate::identity::name_words;
use crate::inspect::{Certificate, Finding};
use crate::key::{KeyFacts, PrivateKey};
use crate::pem::{PemError, Sections};
use crate::slot::address;

/// What is in a file.
#[derive(Debug, Default)]
pub struct Contents {
    /// Certificates, in the file's order.
    pub certificates: Vec<Certificate>,
    /// The first private key.
    pub key: Option<PrivateKey>,
    /// The first request.
    pub request: Option<CertificateRequest>,
    /// The first bare public key.
    pub public_key: Option<KeyFacts>,
}

/// What is in a certificate request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// The names asked for.
    pub names: Vec<String>,
    /// The key that it is for.
    pub key: KeyFacts,
    /// Whether it is signed with that key, as it must.
    pub is_signed: bool,
}

impl Contents {
    /// Reads a file, PEM or a certificate in DER.
    pub fn read(path: &Path) -> Result<Self, Finding> {
        let bytes = read(path)?;
        let refuse = |error: &PemError| {
            let finding = Finding::error(format!("{}: {error}", path.display()));
            Finding { hint: error.hint(path), ..finding }
        };
        let sections = match Sections::read(&bytes) {
            Ok(sections) => sections.0,
            Err(error @ PemError::Binary { .. }) => {
                let certificate = Certificate::from_der(CertificateDer::from(bytes));
                let certificates = vec![certificate.map_err(|_| refuse(&error))?];
                return Ok(Self { certificates, ..Self::default() });
            }
            Err(error) => return Err(refuse(&error)),
        };
        let has = |kind| sections.iter().any(|(is, _)| *is == kind);
        let first = |kind| sections.iter().find(|(is, _)| *is == kind).map(|(_, der)| der);
        let mut contents = Self::default();
        if has(SectionKind::Certificate) {
            contents.certificates = parse_certificates(path, &bytes)?;
        }
        match Sections::key(&bytes) {
            Ok(_) => contents.key = Some(crate::chain::read_key(path)?),
            // Certificates can be shown all the same.
            Err(error @ PemError::Encrypted) if contents.certificates.is_empty() => {
                return Err(refuse(&error));
            }
            Err(_) => {}
        }
        if let Some(der) = first(SectionKind::Csr) {
            let broken =
                || Finding::error(format!("{}: the request in it cannot be read", path.display()));
            contents.request = Some(CertificateRequest::from_der(der).ok_or_else(broken)?);
        }
        contents.public_key = first(SectionKind::PublicKey).and_then(|der| KeyFacts::of_spki(der));
        if contents.is_empty() {
            let error = Sections::certificates(&bytes).err().unwrap_or(PemError::NotPem);
            return Err(refuse(&error));
        }
        Ok(contents)
    }

    fn is_empty(&self) -> bool {
        self.certificates.is_empty()
            && self.key.is_none()
            && self.request.is_none()
            && self.public_key.is_none()
    }
}

impl CertificateRequest {
    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509CertificationRequest::from_der(der).ok()?;
        let info = &parsed.certification_request_info;
        let extensions = parsed.requested_extensions().into_iter().flatten();
        let general = extensions.filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let names = general.flatten().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            GeneralName::IPAddress(octets) => address(octets),
            _ => None,
        });
        Some(Self {
            subject: name_words(&info.subject),
            names: names.collect(),
            key: KeyFacts::of(&info.subject_pki),
            is_signed: parsed.verify_signature().is_ok(),
        })
    }
}
