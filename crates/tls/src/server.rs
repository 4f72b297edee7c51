//! TLS towards clients: the context of one site or forward listener.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use config::{ClientCertificates, ClientPolicy, Place, ServerTls, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello as RustlsHello, NoServerSessionStorage, ResolvesServerCert,
    ServerSessionMemoryCache, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};

use crate::challenges::Challenges;
use crate::error::{Problem, TlsError, TlsErrorKind};
use crate::handshake::Connection;
use crate::hello::ClientHello;
use crate::open::alert;
use crate::pem;
use crate::session::{Alpn, Info, Session};
use crate::slot::Slot;
use crate::tickets::{Binding, BoundTickets, Tickets};
use crate::trust::{ClientVerifier, TrustStore};
use crate::words::verifier_words;

/// Tickets after a handshake of TLS 1.3: they are used once, and clients open several connections.
const TICKETS_PER_HANDSHAKE: usize = 2;
/// Early data of one connection, at most.
const EARLY_BYTES_MAX: u32 = 16 * 1024;
/// Sessions kept for 0-RTT, at most; the oldest go first.
const EARLY_SESSIONS_MAX: usize = 4096;

/// What all handshakes share: AES-128 first, for it is the cheapest where there is hardware for it.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let cipher_suites = vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider { cipher_suites, ..default_provider() })
});

/// HTTP/1.0, which is served as HTTP/1.1 is; offered by old clients, alone.
const ALPN_HTTP10: &[u8] = b"http/1.0";

/// How many contexts there have been.
static SERVERS: AtomicU64 = AtomicU64::new(1);

/// The context of one site or forward listener; shared by all cores.
pub struct Server {
    id: u64,
    /// What two contexts must have in common for a connection of one to serve the other: a hash of
    /// versions, protocols and rules for clients' certificates, with the files' contents.
    rules: [u8; 32],
    version_min: TlsVersion,
    speaks_tls13: bool,
    policy: ClientPolicy,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Our order of cipher suites counts.
    own_order: Arc<ServerConfig>,
    /// The client's does: it has no AES in hardware.
    client_order: Arc<ServerConfig>,
    slot: Arc<Slot>,
    challenges: Arc<Challenges>,
}

impl Server {
    /// Reads the files of client CAs and CRLs. Sessions resume only in a context with the same
    /// line of settings, slot and policy for client certificates.
    pub fn new(
        settings: &ServerTls,
        http2: bool,
        slot: Arc<Slot>,
        tickets: Arc<Tickets>,
        challenges: Arc<Challenges>,
    ) -> Result<Arc<Self>, Problem> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(format!("{:?}", (settings.place, settings.client.policy)).as_bytes());
        context.update(&[0]);
        context.update(slot.name().as_bytes());
        let versions: Vec<&'static SupportedProtocolVersion> =
            [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)]
                .into_iter()
                .filter(|(version, _)| {
                    (settings.version_min..=settings.version_max).contains(version)
                })
                .map(|(_, version)| version)
                .collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&versions)
            .map_err(|error| Problem::error(settings.place, error.to_string()))?;
        let mut files = digest::Context::new(&digest::SHA256);
        let policy = settings.client.policy;
        let is_required = policy == ClientPolicy::Require;
        let clients = match policy {
            ClientPolicy::Off => None,
            _ => Some(verifier(&settings.client, is_required, settings.place, &mut files)?),
        };
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        };
        let files = files.finish();
        context.update(files.as_ref());
        let resolver = FromSlot(Arc::clone(&slot));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = [Alpn::H2, Alpn::Http1]
            .into_iter()
            .filter(|alpn| http2 || *alpn != Alpn::H2)
            .map(|alpn| alpn.id().to_vec())
            .chain([ALPN_HTTP10.to_vec()])
            .collect();
        config.enable_secret_extraction = true;
        let binding = Binding(context.finish().as_ref().try_into().unwrap_or_default());
        set_resumption(&mut config, settings, BoundTickets { tickets, binding });
        let mut own_order = config.clone();
        own_order.ignore_client_order = true;
        let ServerTls { version_min, version_max, early_data, .. } = settings;
        let mut rules = digest::Context::new(&digest::SHA256);
        let told = (version_min, version_max, early_data, http2, policy);
        rules.update(format!("{told:?}").as_bytes());
        rules.update(files.as_ref());
        Ok(Arc::new(Self {
            id: SERVERS.fetch_add(1, Ordering::Relaxed),
            rules: rules.finish().as_ref().try_into().unwrap_or_default(),
            version_min: *version_min,
            speaks_tls13: *version_max >= TlsVersion::Tls13,
            policy,
            clients,
            own_order: Arc::new(own_order),
            client_order: Arc::new(config),
            slot,
            challenges,
        }))
    }

    /// The live certificates.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// What no other context has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether clients are asked for certificates.
    pub fn asks_clients(&self) -> bool {
        self.policy != ClientPolicy::Off
    }

    /// Whether a connection that was made by `other` could as well have been made by this one: by the same
    /// rules and, where that counts, with the same certificates.
    pub fn is_like(&self, other: &Self, same_certificates: bool) -> bool {
        let is_same =
            || Arc::ptr_eq(&self.slot, &other.slot) || self.slot.shows_the_same(&other.slot);
        self.rules == other.rules && (!same_certificates || is_same())
    }

    /// Whether a connection that an earlier context for the same clients has made may go on: a reload may
    /// have brought other versions, CAs or revocation lists.
    ///
    /// # Errors
    /// Why it may not.
    pub fn still_admits(&self, info: &Info) -> Result<(), TlsError> {
        let refuse = |why: &'static str| Err(TlsError::new(TlsErrorKind::Certificate, why));
        if self.version_min >= TlsVersion::Tls13 && info.version == "TLSv1.2" {
            let why = "the connection speaks TLS 1.2, which is not allowed any more";
            return Err(TlsError::new(TlsErrorKind::Protocol, why));
        }
        match (&self.clients, info.shown.as_deref()) {
            (None, None) => Ok(()),
            (None, Some(_)) => refuse(
                "the connection was made with a client certificate, which is no longer asked for",
            ),
            (Some(_), None) if self.policy != ClientPolicy::Require => Ok(()),
            (Some(_), None | Some([])) => refuse(
                "the connection was made without the client certificate that the site asks for",
            ),
            (Some(clients), Some([leaf, others @ ..])) => {
                let judged = clients.verify_client_cert(leaf, others, UnixTime::now());
                judged.map(|_| ()).map_err(|error| TlsError::from_rustls(&error))
            }
        }
    }

    /// A session for a client that sent `hello`; `received` is what it was parsed from and what
    /// came after it. After an error, what is still to be sent is [`TlsError::farewell`].
    pub fn session(
        self: &Arc<Self>,
        hello: &ClientHello,
        received: &[u8],
    ) -> Result<Session, TlsError> {
        if hello.lacks_extension && self.speaks_tls13 {
            let message = "the ClientHello lacks an extension that TLS 1.3 demands";
            let error = TlsError::new(TlsErrorKind::Protocol, message);
            return Err(error.with_alert(alert::MISSING_EXTENSION));
        }
        let config = if hello.is_acme_challenge() {
            self.challenge_config(hello)?
        } else if self.slot.is_empty() {
            let message = format!("there is no certificate for {} yet", self.slot.name());
            let error = TlsError::new(TlsErrorKind::Local, message);
            return Err(error.with_alert(alert::HANDSHAKE_FAILURE));
        } else if hello.prefers_chacha {
            Arc::clone(&self.client_order)
        } else {
            Arc::clone(&self.own_order)
        };
        let connection = UnbufferedServerConnection::new(config)
            .map_err(|error| TlsError::from_rustls(&error))?;
        let mut session =
            Session::new(Connection::Server(Box::new(connection)), hello.name.clone());
        session.feed(received).map_err(|error| error.with_farewell(session.outgoing()))?;
        Ok(session)
    }

    /// RFC 8737, section 3: the challenge's certificate, no other protocol.
    fn challenge_config(&self, hello: &ClientHello) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = hello.name.as_deref().and_then(|name| self.challenges.alpn(name));
        let Some(chain) = chain else {
            let error = TlsError::new(TlsErrorKind::Local, "no such ACME challenge is pending");
            return Err(error.with_alert(alert::UNRECOGNIZED_NAME));
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::from_rustls(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only(Arc::clone(&chain.key))));
        config.alpn_protocols = vec![Alpn::AcmeChallenge.id().to_vec()];
        config.enable_secret_extraction = true;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Tickets, or for 0-RTT sessions that we keep ourselves: each is taken out when it is used, so
/// that no early data comes twice (RFC 8446, section 8.1). A client that shows a certificate has
/// none.
fn set_resumption(config: &mut ServerConfig, settings: &ServerTls, tickets: BoundTickets) {
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if !settings.tickets {
        config.send_tls13_tickets = 0;
    } else if settings.early_data && settings.client.policy == ClientPolicy::Off {
        config.session_storage = ServerSessionMemoryCache::new(EARLY_SESSIONS_MAX);
        config.max_early_data_size = EARLY_BYTES_MAX;
        config.send_half_rtt_data = true;
    } else {
        config.ticketer = Arc::new(tickets);
    }
}

fn verifier(
    settings: &ClientCertificates,
    is_required: bool,
    place: Place,
    context: &mut digest::Context,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let mut trust = TrustStore::default();
    for path in &settings.ca {
        let bytes = read(path, place)?;
        context.update(&bytes);
        trust.add_pem(path, &bytes).map_err(|finding| finding.at(place))?;
    }
    let mut lists = Vec::new();
    for path in &settings.crl {
        let bytes = read(path, place)?;
        context.update(&bytes);
        lists.extend(revocation_lists(&bytes).map_err(|why| unusable(path, place, &why))?);
    }
    let judge = ClientVerifier::new(trust, lists, is_required);
    let judge = judge.map_err(|error| {
        let files = settings.ca.iter().chain(&settings.crl).map(|path| path.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        Problem::error(place, format!("{files}: {}", verifier_words(&error)))
    })?;
    Ok(Arc::new(judge))
}

pub(crate) fn read(path: &Path, place: Place) -> Result<Vec<u8>, Problem> {
    // Lists of revoked certificates may be long.
    const FILE_BYTES_MAX: u64 = 64 << 20;
    let bytes = config::read_file(path, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|error| unusable(path, place, &error.to_string()))?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(unusable(path, place, "it has more than 64 MiB")),
        false => Ok(bytes),
    }
}

pub(crate) fn unusable(path: &Path, place: Place, why: &str) -> Problem {
    Problem::error(place, format!("{}: {why}", path.display()))
}

fn revocation_lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    const DER_SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let plain = pem::plain(bytes);
    let lists = CertificateRevocationListDer::pem_slice_iter(&plain);
    let lists =
        lists.collect::<Result<Vec<_>, _>>().map_err(|error| format!("not PEM: {error}"))?;
    if lists.is_empty() { Err("there is no revocation list in it".to_owned()) } else { Ok(lists) }
}

/// Chooses among the live certificates.
#[derive(Debug)]
struct FromSlot(Arc<Slot>);

impl ResolvesServerCert for FromSlot {
    fn resolve(&self, hello: RustlsHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(|name| name.trim_end_matches('.'));
        self.0.pick(name, hello.signature_schemes())
    }
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: RustlsHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
