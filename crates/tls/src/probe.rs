//! The certificates that a server presents: one handshake that accepts any certificate, and then a verdict as strict as a
//! browser's.
//!
//! For `bothways cert show`, never for traffic. The transport is anything that can be read and written.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::TlsError;
use crate::identity::cipher_name;
use crate::inspect::Certificate;
use crate::keeper::lock;
use crate::trust::{ServerVerifier, TrustStore, verify_with_key};

/// The report on a server.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// `TLSv1.3`.
    pub version: String,
    /// Such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// Such as `X25519MLKEM768`.
    pub key_exchange: Option<String>,
    /// The protocol that it picked of `h2` and `http/1.1`.
    pub alpn: Option<String>,
    /// Its certificates, the leaf first.
    pub chain: Vec<Certificate>,
    /// Whether a client that trusts these roots accepts it; if not, why.
    pub verdict: Result<(), String>,
    /// Whether it asks for a certificate of ours.
    pub asks_for_certificate: bool,
    /// Why it ended the handshake after it had sent its certificate, if it did.
    pub ended: Option<String>,
}

/// Why there is no report, in words.
pub type ProbeError = String;

/// Performs a handshake as a client that expects `name` and trusts `roots`.
pub fn probe<S: Read + Write>(
    stream: &mut S,
    name: &str,
    roots: Roots,
) -> Result<ProbeReport, ProbeError> {
    let server = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
        .map_err(|_| format!("`{name}` is no host name"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let watcher = Arc::new(Watcher {
        inner: roots.verifier(),
        provider: provider.clone(),
        seen: Mutex::default(),
    });
    let asked = Arc::new(Asked::default());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(watcher.clone())
        .with_client_cert_resolver(asked.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut connection =
        ClientConnection::new(Arc::new(config), server).map_err(|error| error.to_string())?;
    let mut ended = None;
    while connection.is_handshaking() && ended.is_none() {
        if let Err(error) = connection.complete_io(stream) {
            ended = Some(handshake_words(&error, connection.protocol_version().is_some()));
        }
    }
    connection.send_close_notify();
    let _ = connection.write_tls(stream);
    let Some((ders, verdict)) = lock(&watcher.seen).take() else {
        return Err(ended.unwrap_or_else(|| "it has sent no certificate".to_owned()));
    };
    let chain = ders.into_iter().map(Certificate::from_der).collect::<Result<_, _>>();
    Ok(ProbeReport {
        version: connection.protocol_version().map_or_else(String::new, version_words),
        cipher: connection
            .negotiated_cipher_suite()
            .map_or("", |suite| cipher_name(suite.suite()))
            .to_owned(),
        key_exchange: connection
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str())
            .map(str::to_owned),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        chain: chain.map_err(|why| format!("a certificate that it shows cannot be read: {why}"))?,
        verdict,
        asks_for_certificate: *lock(&asked.0),
        ended,
    })
}

fn version_words(version: rustls::ProtocolVersion) -> String {
    match version {
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What people call what goes wrong in a handshake.
fn handshake_words(error: &std::io::Error, has_answered: bool) -> String {
    use rustls::{AlertDescription, Error, InvalidMessage};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => {
            "it serves nothing of that name (alert unrecognized_name)".to_owned()
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS there".to_owned()
        }
        Some(Error::AlertReceived(alert)) if !has_answered => {
            TlsError::from_refusal(*alert).to_string()
        }
        Some(other) => TlsError::from_rustls(other).to_string(),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it closed the connection instead of answering; perhaps it does not speak TLS there"
                .to_owned()
        }
        None if matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ) =>
        {
            "it does not answer; perhaps it does not speak TLS there".to_owned()
        }
        None => crate::state::plain(error),
    }
}

/// The trusted roots.
#[derive(Debug)]
pub struct Roots(TrustStore);

impl Roots {
    /// The system's.
    ///
    /// # Errors
    /// If there are none, in words.
    pub fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut trust = TrustStore::default();
        trust.add_system(&found.certs);
        if trust.is_empty() {
            return Err("this system has no list of CAs that it trusts (package ca-certificates)"
                .to_owned());
        }
        Ok(Self(trust))
    }

    /// None, so that nothing is trusted.
    pub fn none() -> Self {
        Self(TrustStore::default())
    }

    /// These too.
    pub fn add(&mut self, certificates: &[Certificate]) {
        for certificate in certificates {
            let _ = self.0.add(certificate.der());
        }
    }

    fn verifier(self) -> Option<ServerVerifier> {
        ServerVerifier::new(Arc::new(self.0)).ok()
    }
}

/// The certificates of the server, and the verdict of the verifier.
type Verdict = (Vec<CertificateDer<'static>>, Result<(), String>);

/// Accepts every certificate, and records it and the verdict.
#[derive(Debug)]
struct Watcher {
    inner: Option<ServerVerifier>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Verdict>>,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.inner {
            Some(inner) => inner
                .verify_server_cert(leaf, others, name, ocsp, now)
                .map(|_| ())
                .map_err(|error| TlsError::from_rustls(&error).to_string()),
            None => Err("there are no CAs that are trusted".to_owned()),
        };
        let chain = std::iter::once(leaf).chain(others);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        *lock(&self.seen) = Some((chain, verdict));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_with_key(message, certificate, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_with_key(message, certificate, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Remembers whether the server has asked for a certificate of ours.
#[derive(Debug, Default)]
struct Asked(Mutex<bool>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *lock(&self.0) = true;
        None
    }

    /// Else it would not be asked.
    fn has_certs(&self) -> bool {
        true
    }
}
