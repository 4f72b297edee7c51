//! TLS towards upstreams.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::{CertificateFiles, Place, UpstreamProtocol, UpstreamTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Problem, TlsError, TlsErrorKind};
use crate::handshake::Connection;
use crate::identity::name_words;
use crate::server::{PROVIDER, add_roots, read, unusable};
use crate::session::{Alpn, Session};
use crate::slot::Chain;

/// Sessions kept for resumption, at most; the oldest go first.
const SESSIONS_MAX: usize = 256;
/// How long the system's roots are kept before they are read again.
const ROOTS_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// How many contexts there have been.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// The context of one upstream: whom it believes, what it shows, which sessions it may resume.
pub struct Client {
    id: u64,
    config: Arc<ClientConfig>,
    /// The same, offering HTTP/1.1 alone.
    http1: Arc<ClientConfig>,
    /// The same, without earlier sessions.
    unknown: Arc<ClientConfig>,
    name: Option<Box<str>>,
}

impl Client {
    /// Reads the files that the settings name, or the system's roots.
    pub fn new(
        settings: &UpstreamTls,
        place: Place,
        protocol: UpstreamProtocol,
    ) -> Result<Arc<Self>, Problem> {
        let provider = Arc::clone(&PROVIDER);
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verify {
            let roots = match &settings.ca {
                None => system_roots().map_err(|why| Problem::error(place, why))?,
                Some(path) => {
                    let mut roots = RootCertStore::empty();
                    let pem = read(path, place)?;
                    add_roots(&mut roots, &pem).map_err(|why| unusable(path, place, &why))?;
                    Arc::new(roots)
                }
            };
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            Arc::new(Telling(inner.map_err(|error| Problem::error(place, error.to_string()))?))
        } else {
            Arc::new(Anybody)
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::error(place, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = own_chain(files)?;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    Arc::clone(&chain.key),
                )))
            }
        };
        let alpn: &[Alpn] = match protocol {
            UpstreamProtocol::Auto => &[Alpn::H2, Alpn::Http1],
            UpstreamProtocol::Http1 => &[Alpn::Http1],
            UpstreamProtocol::H2 => &[Alpn::H2],
            UpstreamProtocol::H2c => &[],
        };
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.id().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        config.enable_secret_extraction = true;
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![Alpn::Http1.id().to_vec()];
        let mut unknown = config.clone();
        unknown.resumption = Resumption::disabled();
        let (config, http1, unknown) = (Arc::new(config), Arc::new(http1), Arc::new(unknown));
        let id = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { id, config, http1, unknown, name: settings.name.clone() }))
    }

    /// What no other context has: connections made by one are not used for another.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A session with the endpoint of this name or address, unless the settings name another; its
    /// ClientHello is in [`Session::outgoing`].
    pub fn session(self: &Arc<Self>, name: &str) -> Result<Session, TlsError> {
        self.begin(&self.config, name)
    }

    /// The same, but HTTP/1.1 is all that is offered, whatever the upstream's protocol: for upgrades
    /// that the endpoint does not take over HTTP/2.
    pub fn http1_session(self: &Arc<Self>, name: &str) -> Result<Session, TlsError> {
        self.begin(&self.http1, name)
    }

    /// The same as [`session`](Self::session), but no earlier one goes on, so that the endpoint has to show
    /// its certificate; nor is anything kept of it.
    pub fn full_session(self: &Arc<Self>, name: &str) -> Result<Session, TlsError> {
        self.begin(&self.unknown, name)
    }

    fn begin(&self, config: &Arc<ClientConfig>, name: &str) -> Result<Session, TlsError> {
        let name = self.name.as_deref().unwrap_or(name);
        let bare = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let server = ServerName::try_from(bare).map_err(|_| {
            TlsError::new(TlsErrorKind::Local, format!("{name} is no name that TLS can verify"))
        })?;
        let connection = UnbufferedClientConnection::new(Arc::clone(config), server.to_owned())
            .map_err(|error| TlsError::from_rustls(&error))?;
        let name = Some(bare.to_ascii_lowercase().into());
        let mut session = Session::new(Connection::Client(Box::new(connection)), name);
        session.received(0)?;
        Ok(session)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The certificate that we show.
fn own_chain(files: &CertificateFiles) -> Result<Chain, Problem> {
    let place = files.place;
    let certificates = CertificateDer::pem_slice_iter(&read(&files.cert, place)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&files.cert, place, &format!("not PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key, place)?)
        .map_err(|error| unusable(&files.key, place, &format!("no private key: {error}")))?;
    Chain::new(certificates, &key).map_err(|error| unusable(&files.cert, place, &error.to_string()))
}

/// The system's roots, read anew at most once an hour.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut kept = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, roots)) = &*kept
        && read.elapsed() < ROOTS_AGE_MAX
    {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "the system has no trusted CAs{why}: install them, or name a `ca` file"
        ));
    }
    let roots = Arc::new(roots);
    *kept = Some((Instant::now(), Arc::clone(&roots)));
    Ok(roots)
}

/// Verifies as WebPKI does, and tells which issuer is not known.
#[derive(Debug)]
struct Telling(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Telling {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| match error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    let last = intermediates.last().unwrap_or(end_entity);
                    let words = UnknownIssuer(issuer_words(last));
                    CertificateError::Other(OtherError(Arc::new(words))).into()
                }
                other => other,
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnknownIssuer(String);

/// Who signed the last certificate that was shown.
fn issuer_words(certificate: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return "the certificate comes from an unknown issuer".to_owned();
    };
    let issuer = name_words(certificate.issuer());
    if certificate.issuer() == certificate.subject() {
        format!("the certificate is signed by itself ({issuer}), and not among the trusted ones")
    } else {
        format!("the certificate comes from an unknown issuer: {issuer}")
    }
}

/// `verify off`: any certificate will do. That the peer has its key is checked all the same.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
