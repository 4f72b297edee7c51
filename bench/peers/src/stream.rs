//! The load generators' side of a connection, in clear or over TLS.
//!
//! TLS 1.3 with one suite and one key exchange, so that every proxy does the same work whatever it would
//! prefer, and nothing is resumed. The proxy's certificate is not looked at: what is measured is the
//! proxy's price, and the client's work only takes time away from it.
//! Invariant: a connection that waits holds no buffers, so that tens of thousands can be held.

use crate::invalid;
use rustix::net::{RecvFlags, recv};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{DigitallySignedStruct, SignatureScheme, version};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// What one read takes at most: several records, so that the client makes few system calls.
const CIPHERTEXT_BYTES: usize = 256 * 1024;
/// More than a record's plaintext and its frame.
const RECORD_BYTES_MAX: usize = 17 * 1024;

/// What all TLS connections of a load generator share.
pub struct Client {
    config: Arc<ClientConfig>,
    /// Buffers that no connection needs at the moment.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Client {
    /// A client that offers HTTP/1.1.
    ///
    /// # Errors
    /// None that can be thought of: the suite is one of TLS 1.3.
    pub fn new() -> Result<Rc<Self>> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Rc::new(Self { config: Arc::new(config), spare: RefCell::default() }))
    }
}

/// Takes every certificate, and does not even check the signature with it.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A connection to a proxy.
pub struct Stream {
    socket: TcpStream,
    session: Option<Box<Session>>,
}

impl Stream {
    /// Connects, and shakes hands if there is a `client`.
    ///
    /// # Errors
    /// Those of the socket, and a handshake that fails.
    pub async fn connect(to: SocketAddr, client: Option<&Rc<Client>>) -> Result<Self> {
        Self::over(TcpStream::connect(to).await?, client).await
    }

    /// The same over a connection that is there already.
    ///
    /// # Errors
    /// Those of the socket, and a handshake that fails.
    pub async fn over(socket: TcpStream, client: Option<&Rc<Client>>) -> Result<Self> {
        socket.set_nodelay(true)?;
        let Some(client) = client else { return Ok(Self { socket, session: None }) };
        let mut session = Box::new(Session::new(client)?);
        while session.turn(|_| ())? != Turn::Ready {
            session.flush(&socket).await?;
            session.receive(&socket).await?;
        }
        session.flush(&socket).await?;
        Ok(Self { socket, session: Some(session) })
    }

    /// Sends all of these bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(session) = &mut self.session else { return self.socket.write_all(bytes).await };
        session.encrypt(bytes)?;
        session.flush(&self.socket).await
    }

    /// Appends what comes next to `buffer` and returns how much it is; 0 at the end.
    ///
    /// # Errors
    /// Those of the socket, and broken records.
    pub async fn read_buf(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        match &mut self.session {
            None => self.socket.read_buf(buffer).await,
            Some(session) => {
                session.read(&self.socket, |bytes| buffer.extend_from_slice(bytes)).await
            }
        }
    }

    /// Throws away what comes next, `scratch.len()` bytes at most in clear, and returns how much it
    /// was; 0 at the end.
    ///
    /// # Errors
    /// Those of the socket, and broken records.
    pub async fn discard(&mut self, scratch: &mut [u8]) -> Result<usize> {
        if let Some(session) = &mut self.session {
            return session.read(&self.socket, |_| ()).await;
        }
        loop {
            // With MSG_TRUNC, TCP counts bytes and copies none.
            let read = self.socket.try_io(Interest::READABLE, || {
                recv(&self.socket, &mut *scratch, RecvFlags::TRUNC)
                    .map(|(_, read)| read)
                    .map_err(Error::from)
            });
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.socket.readable().await?;
                }
                read => return read,
            }
        }
    }

    /// Says that nothing more comes, and waits until the other side has ended the connection too: then
    /// it has seen all that was sent.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn close(mut self) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.say_goodbye()?;
            session.flush(&self.socket).await?;
        }
        self.socket.shutdown().await?;
        let mut rest = [0; 4096];
        while self.socket.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Turn {
    Handshaking,
    Ready,
    Ended,
}

/// One TLS connection.
struct Session {
    client: Rc<Client>,
    connection: UnbufferedClientConnection,
    /// Received and not yet processed, from `start`.
    incoming: Vec<u8>,
    start: usize,
    outgoing: Vec<u8>,
}

impl Session {
    fn new(client: &Rc<Client>) -> Result<Self> {
        let name = ServerName::try_from("localhost").map_err(Error::other)?;
        let connection = UnbufferedClientConnection::new(client.config.clone(), name);
        Ok(Self {
            client: client.clone(),
            connection: connection.map_err(Error::other)?,
            incoming: Vec::new(),
            start: 0,
            outgoing: Vec::new(),
        })
    }

    /// Processes what was received; `plain` gets what it says.
    fn turn(&mut self, mut plain: impl FnMut(&[u8])) -> Result<Turn> {
        loop {
            let received = self.incoming.get_mut(self.start..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(received);
            let turn = match state.map_err(Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(Error::other)?;
                        discard += record.discard;
                        plain(record.payload);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut self.outgoing, |room| data.encode(room).map_err(encode_error))?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::BlockedHandshake => Some(Turn::Handshaking),
                ConnectionState::WriteTraffic(_) => Some(Turn::Ready),
                ConnectionState::PeerClosed | ConnectionState::Closed => Some(Turn::Ended),
                _ => return Err(invalid("an unknown state of a TLS connection".to_owned())),
            };
            self.start += discard;
            if self.start == self.incoming.len() {
                self.give_back();
            }
            if let Some(turn) = turn {
                return Ok(turn);
            }
        }
    }

    fn give_back(&mut self) {
        self.start = 0;
        let mut buffer = std::mem::take(&mut self.incoming);
        if buffer.capacity() > 0 {
            buffer.clear();
            self.client.spare.borrow_mut().push(buffer);
        }
    }

    fn encrypt(&mut self, bytes: &[u8]) -> Result<()> {
        let status = self.connection.process_tls_records(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(Error::other)? else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        append(&mut self.outgoing, |room| traffic.encrypt(bytes, room).map_err(encrypt_error))
    }

    fn say_goodbye(&mut self) -> Result<()> {
        let status = self.connection.process_tls_records(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(Error::other)? else {
            return Ok(());
        };
        append(&mut self.outgoing, |room| traffic.queue_close_notify(room).map_err(encrypt_error))
    }

    async fn flush(&mut self, socket: &TcpStream) -> Result<()> {
        let mut unsent = self.outgoing.as_slice();
        while !unsent.is_empty() {
            match socket.try_write(unsent) {
                Ok(sent) => unsent = unsent.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.outgoing = Vec::new();
        Ok(())
    }

    /// Waits for more ciphertext.
    async fn receive(&mut self, socket: &TcpStream) -> Result<()> {
        if self.receive_or_end(socket).await? {
            Ok(())
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }

    /// Waits for more ciphertext; false at the end.
    async fn receive_or_end(&mut self, socket: &TcpStream) -> Result<bool> {
        loop {
            socket.readable().await?;
            if self.incoming.capacity() == 0 {
                let spare = self.client.spare.borrow_mut().pop();
                self.incoming = spare.unwrap_or_else(|| Vec::with_capacity(CIPHERTEXT_BYTES));
            }
            if self.start > 0 {
                self.incoming.drain(..self.start);
                self.start = 0;
            }
            match socket.try_read_buf(&mut self.incoming) {
                Ok(read) => return Ok(read > 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.incoming.is_empty() {
                        self.give_back();
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for plaintext; 0 at the end.
    async fn read(&mut self, socket: &TcpStream, mut plain: impl FnMut(&[u8])) -> Result<usize> {
        let mut count = 0;
        loop {
            let turn = self.turn(|bytes| {
                count += bytes.len();
                plain(bytes);
            })?;
            if count > 0 || turn == Turn::Ended {
                return Ok(count);
            }
            if !self.receive_or_end(socket).await? {
                return Ok(0);
            }
        }
    }
}

/// Lets `write` append one record.
fn append(to: &mut Vec<u8>, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
    let before = to.len();
    to.resize(before + RECORD_BYTES_MAX, 0);
    let written = write(to.get_mut(before..).unwrap_or_default())?;
    to.truncate(before + written);
    Ok(())
}

fn encode_error(error: EncodeError) -> Error {
    Error::other(format!("{error:?}"))
}

fn encrypt_error(error: EncryptError) -> Error {
    Error::other(format!("{error:?}"))
}
