//! TLS towards upstreams.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::{CertificateFiles, Place, UpstreamProtocol, UpstreamTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::{Problem, TlsError, TlsErrorKind};
use crate::handshake::Connection;
use crate::key::PrivateKey;
use crate::pem::Sections;
use crate::server::{PROVIDER, read, unusable};
use crate::session::{Alpn, Session};
use crate::slot::Chain;
use crate::trust::{ServerVerifier, TrustStore, signatures_by_key, verify_with_key};

/// Sessions kept for resumption, at most; the oldest go first.
const SESSIONS_MAX: usize = 256;
/// How long the system's roots are kept before they are read again.
const ROOTS_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// How many contexts there have been.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// The context of one upstream: trusted authorities, own certificate, sessions that may be resumed.
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
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verify {
            let trust = match &settings.ca {
                None => system_trust().map_err(|why| Problem::error(place, why))?,
                Some(path) => {
                    let mut trust = TrustStore::default();
                    let added = trust.add_pem(path, &read(path, place)?);
                    added.map_err(|finding| finding.at(place))?;
                    Arc::new(trust)
                }
            };
            Arc::new(ServerVerifier::new(trust).map_err(|why| Problem::error(place, why))?)
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
            UpstreamProtocol::H2c | UpstreamProtocol::Scgi => &[],
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

/// The certificate that we present.
fn own_chain(files: &CertificateFiles) -> Result<Chain, Problem> {
    let place = files.place;
    let certificates =
        Sections::certificates(&read(&files.cert, place)?).map_err(|error| Problem {
            hint: error.hint(&files.cert),
            ..unusable(&files.cert, place, &error.to_string())
        })?;
    let key = PrivateKey::from_pem(&read(&files.key, place)?).map_err(|error| Problem {
        hint: error.hint(&files.key),
        ..unusable(&files.key, place, &error.to_string())
    })?;
    let certificates = certificates.into_iter().map(CertificateDer::from).collect();
    Chain::new(certificates, key.der())
        .map_err(|error| unusable(&files.cert, place, &error.to_string()))
}

/// The system's roots, read again at most once an hour.
fn system_trust() -> Result<Arc<TrustStore>, String> {
    static TRUST: Mutex<Option<(Instant, Arc<TrustStore>)>> = Mutex::new(None);
    let mut kept = TRUST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, trust)) = &*kept
        && read.elapsed() < ROOTS_AGE_MAX
    {
        return Ok(Arc::clone(trust));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut trust = TrustStore::default();
    trust.add_system(&found.certs);
    if trust.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "the system has no trusted CAs{why}: install them, or name a `ca` file"
        ));
    }
    let trust = Arc::new(trust);
    *kept = Some((Instant::now(), Arc::clone(&trust)));
    Ok(trust)
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

    signatures_by_key!();
}
