//! Trusted certificates: CAs, and single certificates that are listed beside them.
//!
//! A peer's certificate is trusted if a CA of the list has issued it, by the rules of WebPKI. Or if it is itself in the
//! list, byte for byte: then it need not be a leaf nor of version 3, and its common name counts if it has no other
//! names. The owner of its key could sign any certificate that the list covers, so that refusing this one would gain
//! nothing. Its dates count, and so does a revocation list of its issuer.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::error::TlsError;
use crate::identity::name_words;
use crate::inspect::Finding;
use crate::pem::Sections;
use crate::server::PROVIDER;
use crate::slot::leaf_names;

type Fingerprint = [u8; 32];

/// The trusted certificates.
#[derive(Debug)]
pub(crate) struct TrustStore {
    roots: Arc<RootCertStore>,
    named: HashMap<Fingerprint, ListedCertificate>,
}

/// A certificate of the list itself.
#[derive(Debug)]
struct ListedCertificate {
    issuer: Vec<u8>,
    serial: Vec<u8>,
    is_revoked: bool,
    /// When the revocation list of its issuer ends, if there is one.
    list_ends: Option<i64>,
}

fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().try_into().unwrap_or_default()
}

impl Default for TrustStore {
    fn default() -> Self {
        Self { roots: Arc::new(RootCertStore::empty()), named: HashMap::new() }
    }
}

impl TrustStore {
    /// Adds every certificate of a PEM file.
    pub(crate) fn add_pem(&mut self, file: &Path, pem: &[u8]) -> Result<(), Finding> {
        let certificates = Sections::certificates(pem).map_err(|error| {
            let finding = Finding::error(format!("{}: {error}", file.display()));
            Finding { hint: error.hint(file), ..finding }
        })?;
        for certificate in certificates {
            self.add(&certificate.into())
                .map_err(|why| Finding::error(format!("{}: {why}", file.display())))?;
        }
        Ok(())
    }

    /// Adds one.
    pub(crate) fn add(&mut self, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let added = Arc::make_mut(&mut self.roots).add(certificate.clone().into_owned());
        let refused = added.map_err(|error| TlsError::from_rustls(&error).to_string());
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return refused };
        // A certificate that cannot be a CA can still be trusted itself.
        if parsed.is_ca() {
            refused?;
        }
        let named = ListedCertificate {
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: parsed.raw_serial().to_vec(),
            is_revoked: false,
            list_ends: None,
        };
        self.named.insert(fingerprint(certificate), named);
        Ok(())
    }

    /// Adds those of the system that can be read.
    pub(crate) fn add_system(&mut self, certificates: &[CertificateDer<'static>]) {
        for certificate in certificates {
            let _ = self.add(certificate);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.roots.is_empty()
    }

    /// Takes in what revocation lists say of the certificates that are named themselves.
    fn read_lists(&mut self, lists: &[CertificateRevocationListDer<'_>]) {
        for list in lists {
            let Ok((_, list)) = CertificateRevocationList::from_der(list) else { continue };
            let is_theirs = |named: &&mut ListedCertificate| named.issuer == list.issuer().as_raw();
            let mut theirs = self.named.values_mut().filter(is_theirs).peekable();
            if theirs.peek().is_none() {
                continue;
            }
            let revoked = list.iter_revoked_certificates();
            let revoked: HashSet<&[u8]> = revoked.map(|revoked| revoked.raw_serial()).collect();
            let ends = list.next_update().map(|time| time.timestamp());
            for named in theirs {
                named.is_revoked |= revoked.contains(&*named.serial);
                named.list_ends = named.list_ends.max(ends);
            }
        }
    }

    fn named(&self, certificate: &[u8]) -> Option<&ListedCertificate> {
        self.named.get(&fingerprint(certificate))
    }

    /// Whether this is itself in the list.
    fn names(&self, certificate: &[u8]) -> bool {
        self.named(certificate).is_some()
    }
}

/// The checks of a certificate that is itself trusted: its dates, and its name if one is expected.
fn check_itself(
    certificate: &[u8],
    wanted: Option<&ServerName<'_>>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if seconds < begins {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: unix(begins) });
    }
    if seconds > ends {
        return Err(CertificateError::ExpiredContext { time: now, not_after: unix(ends) });
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let mut names = leaf_names(&parsed).map_err(|_| CertificateError::BadEncoding)?;
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names = common.map(|name| name.to_ascii_lowercase().into()).collect();
    }
    let name = wanted.to_str().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let parent = name.split_once('.').map(|(_, parent)| parent);
    let is_it = |own: &str| match own.strip_prefix("*.") {
        Some(suffix) => parent == Some(suffix) && matches!(wanted, ServerName::DnsName(_)),
        None => *own == *name,
    };
    if names.iter().any(|own| is_it(own)) {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext {
        expected: wanted.to_owned(),
        presented: names.into_iter().map(String::from).collect(),
    })
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// The part of a verifier of rustls that judges signatures: by the key of the certificate alone ([`verify_with_key`]).
macro_rules! signatures_by_key {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_with_key(message, cert, dss, false)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_with_key(message, cert, dss, true)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            PROVIDER.signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(crate) use signatures_by_key;

/// Whether a handshake was signed with the key of a certificate, of whatever version that is.
pub(crate) fn verify_with_key(
    message: &[u8],
    certificate: &[u8],
    signed: &DigitallySignedStruct,
    is_tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &PROVIDER.signature_verification_algorithms;
    let unreadable = || Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
    if is_tls13 {
        return rustls::crypto::verify_tls13_signature_with_raw_key(
            message, &key, signed, algorithms,
        );
    }
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| unreadable())?;
    let row = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    // Of TLS 1.2 a scheme says nothing of the curve, so that there are several.
    let mut candidates = row.into_iter().flat_map(|(_, candidates)| candidates.iter());
    let is_good = candidates
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
    let bad = || Error::from(CertificateError::BadSignature);
    is_good.then(HandshakeSignatureValid::assertion).ok_or_else(bad)
}

/// Verifies certificates of servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: Arc<TrustStore>,
    /// `None`: there is no CA.
    by_ca: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerVerifier {
    pub(crate) fn new(trust: Arc<TrustStore>) -> Result<Self, String> {
        let (roots, provider) = (Arc::clone(&trust.roots), Arc::clone(&PROVIDER));
        let by_ca = (!roots.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(roots, provider).build());
        Ok(Self { trust, by_ca: by_ca.transpose().map_err(|error| error.to_string())? })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trust.names(end_entity) {
            check_itself(end_entity, Some(server_name), now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let judged = match &self.by_ca {
            Some(by_ca) => {
                by_ca.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        judged.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                unknown_issuer(intermediates.last().unwrap_or(end_entity))
            }
            other if is_unlisted(&other, end_entity) => unknown_issuer(end_entity),
            other => other,
        })
    }

    signatures_by_key!();
}

/// Whether what is wrong with a certificate is that it is not itself in the list: it is signed by itself, as a CA,
/// which is all that WebPKI says.
fn is_unlisted(error: &Error, certificate: &[u8]) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.to_string() == "CaUsedAsEndEntity"
        && X509Certificate::from_der(certificate)
            .is_ok_and(|(_, parsed)| parsed.issuer() == parsed.subject())
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnknownIssuer(String);

/// The issuer of the last certificate in the chain.
fn unknown_issuer(last: &[u8]) -> Error {
    let words = match X509Certificate::from_der(last) {
        Err(_) => "the certificate comes from an unknown issuer".to_owned(),
        Ok((_, last)) => {
            let issuer = name_words(last.issuer());
            if last.issuer() == last.subject() {
                format!(
                    "the certificate is signed by itself ({issuer}), and not among the trusted ones"
                )
            } else {
                format!("the certificate comes from an unknown issuer: {issuer}")
            }
        }
    };
    CertificateError::Other(OtherError(Arc::new(UnknownIssuer(words)))).into()
}

/// Verifies certificates of clients.
pub(crate) struct ClientVerifier {
    trust: TrustStore,
    /// `None`: there is no CA.
    by_ca: Option<Arc<dyn ClientCertVerifier>>,
    is_required: bool,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(crate) fn new(
        mut trust: TrustStore,
        lists: Vec<CertificateRevocationListDer<'static>>,
        is_required: bool,
    ) -> Result<Self, VerifierBuilderError> {
        trust.read_lists(&lists);
        let mut hints = trust.roots.subjects();
        // A client chooses by the issuer.
        for named in trust.named.values() {
            let hint = DistinguishedName::from(named.issuer.clone());
            if !hints.iter().any(|known| known.as_ref() == hint.as_ref()) {
                hints.push(hint);
            }
        }
        let mut by_ca = None;
        if !trust.roots.is_empty() {
            let (roots, provider) = (Arc::clone(&trust.roots), Arc::clone(&PROVIDER));
            let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
            if !lists.is_empty() {
                builder = builder.with_crls(lists).enforce_revocation_expiration();
            }
            by_ca = Some(builder.build()?);
        }
        Ok(Self { trust, by_ca, is_required, hints })
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientJudge")
            .field("is_required", &self.is_required)
            .finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(named) = self.trust.named(end_entity) {
            if named.is_revoked {
                return Err(CertificateError::Revoked.into());
            }
            if named.list_ends.is_some_and(|ends| unix(ends) < now) {
                return Err(CertificateError::ExpiredRevocationList.into());
            }
            check_itself(end_entity, None, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        match &self.by_ca {
            Some(by_ca) => {
                let judged = by_ca.verify_client_cert(end_entity, intermediates, now);
                judged.map_err(|error| match is_unlisted(&error, end_entity) {
                    true => CertificateError::UnknownIssuer.into(),
                    false => error,
                })
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    signatures_by_key!();
}
