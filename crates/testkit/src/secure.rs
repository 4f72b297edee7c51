//! Peers that speak TLS, and certificates for them.
//!
//! A story uses a plain [`Peer`]; two threads carry its bytes over TLS. The end of the other side is visible to the
//! story: [`ConnectionEnd::Closed`](crate::peer::ConnectionEnd) after a close_notify, [`ConnectionEnd::Reset`](crate::peer::ConnectionEnd) without one.
//! The peers use rustls directly, so that they do not share our mistakes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion, version,
};
use socket2::SockRef;

use crate::peer::{DEADLINE, Peer};

/// A certificate authority, with its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// The files of a certificate and its key.
#[derive(Clone)]
pub struct CertificateFiles {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority.
    #[allow(clippy::new_without_default)] // creating keys is no default
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each authority has a different name: an unknown issuer must not look like one with another key.
        static AUTHORITIES: AtomicUsize = AtomicUsize::new(1);
        let name = format!("Testing CA {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, directory }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Issues a certificate for these names; the first is also its common name. Writes files named after `file`, and
    /// replaces existing ones.
    #[track_caller]
    pub fn issue(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.issue_with(file, names, |_| {})
    }

    /// Like [`Authority::issue`], but it expired at the beginning of 2021.
    #[track_caller]
    pub fn issue_expired(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.issue_with(file, names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    #[track_caller]
    fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        let serial = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |ending: &str| self.directory.path().join(format!("{file}.{ending}"));
        let issued = CertificateFiles { cert: path("pem"), key: path("key") };
        std::fs::write(&issued.cert, made.pem()).expect("a file");
        std::fs::write(&issued.key, key.serialize_pem()).expect("a file");
        issued
    }
}

impl CertificateFiles {
    /// The properties of `tls` in a configuration.
    pub fn kdl(&self) -> String {
        format!("cert=\"{}\" key=\"{}\"", self.cert.display(), self.key.display())
    }

    /// The certificate itself.
    #[track_caller]
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.cert).expect("a certificate")
    }

    #[track_caller]
    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).expect("a key")
    }
}

/// The configuration of clients, which share their session tickets.
#[derive(Clone)]
pub struct SecureClient {
    config: Arc<ClientConfig>,
    /// The maximum size of the first pieces that are sent.
    piece: usize,
    early: Option<&'static str>,
    before: &'static str,
}

impl SecureClient {
    /// Clients that trust an authority, and send no ALPN.
    pub fn of(authority: &Authority) -> Self {
        Self::with(authority, &[&version::TLS13, &version::TLS12], None)
    }

    /// Clients with TLS 1.2 only.
    pub fn of_tls12(authority: &Authority) -> Self {
        Self::with(authority, &[&version::TLS12], None)
    }

    /// Clients with a certificate.
    pub fn showing(authority: &Authority, issued: &CertificateFiles) -> Self {
        Self::with(authority, &[&version::TLS13, &version::TLS12], Some(issued))
    }

    #[track_caller]
    fn with(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        issued: Option<&CertificateFiles>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match issued {
            Some(issued) => builder
                .with_client_auth_cert(vec![issued.der()], issued.key_der())
                .expect("a certificate with its key"),
            None => builder.with_no_client_auth(),
        };
        config.enable_early_data = true;
        Self { config: Arc::new(config), piece: usize::MAX, early: None, before: "" }
    }

    /// Adds ALPN with these protocols.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = protocols.iter().map(|&name| name.to_vec()).collect();
        self
    }

    /// Sends the first flight in pieces of this many bytes.
    #[must_use]
    pub fn in_pieces_of(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    /// Sends `data` as early data if possible, and waits for the response before the handshake ends.
    #[must_use]
    pub fn early(self, early: &'static str) -> Self {
        Self { early: Some(early), ..self }
    }

    /// Sends these bytes in cleartext first.
    #[must_use]
    pub fn after(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    /// Connects with this server name; with an address, sends none.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr, name: &str) -> Secure {
        self.try_connect(address, name).unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    /// Like `connect`, but returns an error instead of failing the test.
    #[track_caller]
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> io::Result<Secure> {
        let mut tcp = TcpStream::connect_timeout(&address, DEADLINE)?;
        be_patient(&tcp);
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let made = ClientConnection::new(Arc::clone(&self.config), name);
        let mut client = made.map_err(io::Error::other)?;
        if let (Some(early), Some(mut writer)) = (self.early, client.early_data()) {
            writer.write_all(early.as_bytes())?;
            let mut first_flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut first_flight)?;
            }
            tcp.write_all(&first_flight)?;
            await_early_answer(&mut client, &mut tcp)?;
        }
        tcp.write_all(self.before.as_bytes())?;
        let mut pieces = Pieces { tcp: &tcp, piece: self.piece };
        while client.is_handshaking() || client.wants_write() {
            client.complete_io(&mut pieces)?;
        }
        let facts = Facts {
            resumed: client.handshake_kind() == Some(HandshakeKind::Resumed),
            early: client.is_early_data_accepted(),
            alpn: client.alpn_protocol().map(<[u8]>::to_vec),
            version: format!("{:?}", client.protocol_version()),
            certificate: client.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())),
        };
        let below = Peer::of(tcp.try_clone()?);
        Ok(Secure { peer: bridge(client.into(), tcp), below, facts })
    }
}

/// Reads the response to early data before the client finishes the handshake: this fails if the server waits for
/// that.
fn await_early_answer(client: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<()> {
    loop {
        if client.read_tls(tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let state = client.process_new_packets().map_err(io::Error::other)?;
        let refused = !client.is_handshaking() && !client.is_early_data_accepted();
        if refused || state.plaintext_bytes_to_read() > 0 {
            return Ok(());
        }
    }
}

/// The result of a handshake.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether a session was resumed.
    pub resumed: bool,
    /// Whether early data was sent and accepted.
    pub early: bool,
    /// The negotiated protocol.
    pub alpn: Option<Vec<u8>>,
    /// `Some(TLSv1_3)`.
    pub version: String,
    /// The certificate of the other side.
    pub certificate: Option<Vec<u8>>,
}

/// A TLS connection, for a story.
pub struct Secure {
    peer: Peer,
    below: Peer,
    /// The result of the handshake.
    pub facts: Facts,
}

impl Secure {
    /// The peer without the TLS details.
    pub fn into_peer(self) -> Peer {
        self.peer
    }

    /// The underlying TCP connection, for bytes that are no complete record.
    pub fn below(&self) -> &Peer {
        &self.below
    }
}

impl Deref for Secure {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl DerefMut for Secure {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

/// TLS in front of a plain server, such as an [`Origin`](crate::origin::Origin).
pub struct SecureFront {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Result<Facts, String>>>>,
}

impl SecureFront {
    /// Starts a TLS server with a certificate and these protocols, which forwards plaintext to `plain`.
    #[track_caller]
    pub fn start(issued: &CertificateFiles, alpn: &[&[u8]], plain: SocketAddr) -> Self {
        Self::start_asking(issued, alpn, None, plain)
    }

    /// Like `start`; requires client certificates of an authority, if there is one.
    #[track_caller]
    pub fn start_asking(
        issued: &CertificateFiles,
        alpn: &[&[u8]],
        clients: Option<&Authority>,
        plain: SocketAddr,
    ) -> Self {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(vec![issued.der()], issued.key_der());
        let mut config = config.expect("a certificate with its key");
        config.alpn_protocols = alpn.iter().map(|&name| name.to_vec()).collect();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address to listen on");
        let address = listener.local_addr().expect("a local address");
        let handshakes = Arc::default();
        let noted = Arc::clone(&handshakes);
        // The thread ends with the process: there are no connections after the story.
        std::thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                let (config, noted) = (Arc::clone(&config), Arc::clone(&noted));
                std::thread::spawn(move || greet(tcp, config, &noted, plain));
            }
        });
        Self { address, handshakes }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The results of the handshakes so far.
    pub fn handshakes(&self) -> Vec<Result<Facts, String>> {
        lock(&self.handshakes).clone()
    }
}

fn greet(
    mut tcp: TcpStream,
    config: Arc<ServerConfig>,
    noted: &Mutex<Vec<Result<Facts, String>>>,
    plain: SocketAddr,
) {
    be_patient(&tcp);
    let Ok(mut server) = ServerConnection::new(config) else { return };
    while server.is_handshaking() || server.wants_write() {
        if let Err(error) = server.complete_io(&mut tcp) {
            lock(noted).push(Err(error.to_string()));
            return;
        }
    }
    lock(noted).push(Ok(Facts {
        resumed: server.handshake_kind() == Some(HandshakeKind::Resumed),
        early: false,
        alpn: server.alpn_protocol().map(<[u8]>::to_vec),
        version: format!("{:?}", server.protocol_version()),
        certificate: server.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())),
    }));
    if let Ok(plain) = TcpStream::connect(plain) {
        run_bridge(server.into(), tcp, plain);
    }
}

fn be_patient(tcp: &TcpStream) {
    tcp.set_nodelay(true).expect("a socket option");
    tcp.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    tcp.set_write_timeout(Some(DEADLINE)).expect("a socket option");
}

/// Writes in small pieces.
struct Pieces<'a> {
    tcp: &'a TcpStream,
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buf)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.write(&buf[..buf.len().min(self.piece)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a plain connection whose bytes are carried over TLS.
fn bridge(connection: Connection, tcp: TcpStream) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address to listen on");
    let address = listener.local_addr().expect("a local address");
    let near = TcpStream::connect(address).expect("a connection");
    let (far, _) = listener.accept().expect("a connection");
    run_bridge(connection, tcp, far);
    Peer::of(near)
}

/// Carries both directions on separate threads, each until its end.
fn run_bridge(connection: Connection, tcp: TcpStream, plain: TcpStream) {
    plain.set_nodelay(true).expect("a socket option");
    // The story has its own timeouts.
    tcp.set_read_timeout(None).expect("a socket option");
    let connection = Arc::new(Mutex::new(connection));
    let reading = Arc::clone(&connection);
    let handles = tcp.try_clone().and_then(|tcp| Ok((tcp, plain.try_clone()?)));
    let (tcp_too, plain_too) = handles.expect("more handles");
    std::thread::spawn(move || {
        if decrypt(&reading, &tcp, &plain).is_err() {
            let _ = SockRef::from(&plain).set_linger(Some(Duration::ZERO));
            let _ = plain.shutdown(Shutdown::Read); // the other thread lets go of it
        }
    });
    std::thread::spawn(move || {
        if encrypt(&connection, &tcp_too, &plain_too).is_err() {
            let _ = SockRef::from(&tcp_too).set_linger(Some(Duration::ZERO));
            let _ = tcp_too.shutdown(Shutdown::Both);
        }
    });
}

/// Copies from the TLS side to the plain side until close_notify; an error if the connection ends without one.
fn decrypt(
    connection: &Mutex<Connection>,
    mut tcp: &TcpStream,
    mut plain: &TcpStream,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    // Data that arrived with the handshake is available already.
    let mut received = 0;
    loop {
        let mut bytes = &buffer[..received];
        let mut text = Vec::new();
        let mut closed = false;
        {
            let mut connection = lock(connection);
            loop {
                // An empty read would mean the end.
                if !bytes.is_empty() {
                    connection.read_tls(&mut bytes)?;
                }
                let state = connection.process_new_packets().map_err(io::Error::other)?;
                closed |= state.peer_has_closed();
                let there = state.plaintext_bytes_to_read();
                let start = text.len();
                text.resize(start + there, 0);
                connection.reader().read_exact(&mut text[start..])?;
                if bytes.is_empty() {
                    break;
                }
            }
            send(&mut connection, tcp)?;
        }
        plain.write_all(&text)?;
        if closed {
            return plain.shutdown(Shutdown::Write);
        }
        received = tcp.read(&mut buffer)?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Copies from the plain side to the TLS side.
fn encrypt(
    connection: &Mutex<Connection>,
    tcp: &TcpStream,
    mut plain: &TcpStream,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = plain.read(&mut buffer)?;
        let mut connection = lock(connection);
        if count == 0 {
            connection.send_close_notify();
            send(&mut connection, tcp)?;
            return tcp.shutdown(Shutdown::Write);
        }
        connection.writer().write_all(&buffer[..count])?;
        send(&mut connection, tcp)?;
    }
}

fn send(connection: &mut Connection, mut tcp: &TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(&mut tcp)?;
    }
    Ok(())
}
