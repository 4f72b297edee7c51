//! The TLS of one connection, without I/O.
//!
//! Ciphertext goes into [`Session::room`] and is announced by [`Session::received`]; plaintext comes
//! from [`Session::read`]. [`Session::write`] takes plaintext; what is to be sent is in
//! [`Session::outgoing`]. rustls does the handshake (`handshake`), our own record layer what follows
//! (`open`, `record`): in place, without allocations, in buffers that the thread lends (`pool`). A
//! session in which no byte waits holds no buffer.

use std::fmt;
use std::mem;
use std::sync::Arc;

use message::ClientCertificate;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;

use crate::error::{TlsError, TlsErrorKind};
use crate::handshake::{Connection, Handshake, Progress};
use crate::identity;
use crate::open::{OpenSession, alert};
use crate::pool::{Buffer, RECORD_BYTES_MAX};

/// The TLS of one connection, on either side.
pub struct Session {
    state: State,
    incoming: Buffer,
    outgoing: Buffer,
    /// Early data that rustls has decrypted, and how much of it was handed out.
    early: Vec<u8>,
    early_taken: usize,
    /// Whether the last bytes received filled all the room, so that more room pays.
    is_bulk: bool,
    /// Which name the client asks for.
    name: Option<Box<str>>,
}

enum State {
    Handshake(Box<Handshake>),
    Open(Box<OpenSession>),
    Failed(Box<TlsError>),
}

/// What rustls still does after the handshake: new keys, and tickets of clients.
pub(crate) enum Kernel {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// The result of [`Session::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadResult {
    /// The number of bytes read; 0 only if there was no room for any.
    Bytes(usize),
    /// Nothing is left until more is received.
    More,
    /// Nothing is left, and the peer has closed its direction (close_notify).
    Closed,
}

/// The negotiated parameters.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// `TLSv1.3` or `TLSv1.2`; empty before the handshake is over.
    pub version: &'static str,
    /// The cipher suite's name as the registry has it.
    pub cipher: &'static str,
    /// The protocol within.
    pub alpn: Option<Alpn>,
    /// The name asked for, lower case.
    pub name: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether data came within the first flight. [`Session::is_early`] tells whether it may still
    /// be a replay.
    pub early_data: bool,
    /// The certificate of the client.
    pub client: Option<Arc<ClientCertificate>>,
    /// The same as DER, to be verified again when the trusted certificates change.
    pub shown: Option<Arc<[CertificateDer<'static>]>>,
}

/// A protocol agreed on by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    H2,
    /// `acme-tls/1`: the connection ends after the handshake.
    AcmeChallenge,
}

impl Alpn {
    /// The identifier.
    pub const fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::H2 => b"h2",
            Self::AcmeChallenge => b"acme-tls/1",
        }
    }

    fn from_id(id: &[u8]) -> Option<Self> {
        // Its requests say themselves which version they are of.
        if id == b"http/1.0" {
            return Some(Self::Http1);
        }
        [Self::Http1, Self::H2, Self::AcmeChallenge].into_iter().find(|alpn| alpn.id() == id)
    }
}

impl Session {
    pub(crate) fn new(connection: Connection, name: Option<Box<str>>) -> Self {
        Self {
            state: State::Handshake(Box::new(Handshake::new(connection))),
            incoming: Buffer::default(),
            outgoing: Buffer::default(),
            early: Vec::new(),
            early_taken: 0,
            is_bulk: false,
            name,
        }
    }

    /// Where received bytes go: enough for a record. It is smaller, or empty, only while decrypted
    /// bytes wait to be read. If nothing comes, `received(0)` gives the memory back.
    pub fn room(&mut self) -> &mut [u8] {
        self.incoming.borrow(self.is_bulk);
        self.incoming.compact();
        if matches!(self.state, State::Handshake(_)) && self.incoming.room().is_empty() {
            self.incoming.grow();
        }
        self.incoming.room()
    }

    /// Processes `count` bytes that were put into [`Session::room`]. What is to be sent because of
    /// them is in [`Session::outgoing`], after an error too: the alert.
    pub fn received(&mut self, count: usize) -> Result<(), TlsError> {
        let room = self.incoming.room().len();
        self.is_bulk = count > 0 && count >= room;
        self.incoming.end += count.min(room);
        let result = self.process();
        if let Err(error) = &result {
            self.state = State::Failed(Box::new(error.clone()));
            self.incoming = Buffer::default();
        }
        self.incoming.give_back_if_empty();
        result
    }

    /// Receives all of `bytes`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            self.incoming.borrow(bytes.len() > RECORD_BYTES_MAX);
            let room = self.room();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            let Some(room) = room.get_mut(..count).filter(|_| count > 0) else {
                let message = "more than a connection may begin with";
                return Err(TlsError::new(TlsErrorKind::Protocol, message));
            };
            room.copy_from_slice(now);
            bytes = later;
            self.received(count)?;
        }
        Ok(())
    }

    fn process(&mut self) -> Result<(), TlsError> {
        if let State::Handshake(handshake) = &mut self.state {
            let (incoming, outgoing) = (&mut self.incoming, &mut self.outgoing);
            let progress = handshake.advance(incoming, outgoing, &mut self.early);
            match progress {
                Ok(Progress::Done) => self.open()?,
                Ok(Progress::More)
                    if incoming.is_large() && incoming.len() >= incoming.capacity() =>
                {
                    let message = "a message of more than 64 KiB in the handshake";
                    return Err(TlsError::new(TlsErrorKind::Protocol, message));
                }
                Ok(Progress::More) => return Ok(()),
                Err(error) => {
                    handshake.drain(incoming, outgoing);
                    return Err(error);
                }
            }
        }
        match &mut self.state {
            State::Open(open) => open.receive(&mut self.incoming, &mut self.outgoing),
            State::Failed(error) => Err((**error).clone()),
            State::Handshake(_) => Ok(()),
        }
    }

    /// From the handshake to our own record layer.
    fn open(&mut self) -> Result<(), TlsError> {
        let lost = || TlsError::new(TlsErrorKind::Local, "the handshake failed before");
        let state = mem::replace(&mut self.state, State::Failed(Box::new(lost())));
        let State::Handshake(handshake) = state else { return Err(lost()) };
        let has_early_data = handshake.has_early_data;
        let name = self.name.take();
        let info = Info { early_data: has_early_data, name, ..info(handshake.common()) };
        let is_tls13 = info.version == TLS13;
        let (shown, has_closed) = (handshake.client_chain(), handshake.has_closed);
        let (secrets, kernel) = handshake.finish()?;
        let mut open = Box::new(OpenSession::new(secrets, kernel, is_tls13, info)?);
        open.has_closed = has_closed;
        // A resumed session brings its certificate along, so that its end is looked at again.
        let leaf = shown.as_deref().and_then(<[_]>::first);
        match leaf.map(|leaf| identity::of_client(leaf)).transpose() {
            Ok(client) => {
                open.info.client = client.map(Arc::new);
                open.info.shown = shown;
            }
            Err(error) => {
                open.send_alert(alert::CERTIFICATE_EXPIRED, &mut self.outgoing);
                return Err(error);
            }
        }
        self.state = State::Open(open);
        Ok(())
    }

    /// Hands out decrypted bytes.
    pub fn read(&mut self, out: &mut [u8]) -> ReadResult {
        let mut copied = self.read_early(out);
        let out = out.get_mut(copied..).unwrap_or_default();
        let has_room = !out.is_empty();
        if let State::Open(open) = &mut self.state {
            copied += open.read(&mut self.incoming, out);
            self.incoming.give_back_if_empty();
            if copied == 0 && has_room && open.was_closed {
                return ReadResult::Closed;
            }
        }
        if copied == 0 && has_room { ReadResult::More } else { ReadResult::Bytes(copied) }
    }

    fn read_early(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.early.get(self.early_taken..).unwrap_or_default();
        let count = waiting.len().min(out.len());
        if let (Some(out), Some(bytes)) = (out.get_mut(..count), waiting.get(..count)) {
            out.copy_from_slice(bytes);
        }
        self.early_taken += count;
        if self.early_taken >= self.early.len() && self.early_taken > 0 {
            self.early = Vec::new();
            self.early_taken = 0;
        }
        count
    }

    /// Whether [`Session::read`] has bytes, or the end.
    pub fn has_plaintext(&self) -> bool {
        let has_news = |open: &OpenSession| open.unread > 0 || open.was_closed;
        let is_unread = matches!(&self.state, State::Open(open) if has_news(open));
        is_unread || self.early_taken < self.early.len()
    }

    /// Whether an incomplete record was received.
    pub fn holds_part(&self) -> bool {
        !self.incoming.is_empty() && !self.has_plaintext()
    }

    /// Encrypts as much of `plain` as there is room for in [`Session::outgoing`], and tells how
    /// much: all up to 64 KiB if nothing waits to be sent, and as a rule something even then. 0 asks
    /// to send first what waits, or, if nothing does, to wait for the handshake.
    pub fn write(&mut self, plain: &[u8]) -> Result<usize, TlsError> {
        match &mut self.state {
            State::Open(open) => open.write(plain, &mut self.outgoing),
            State::Handshake(it) if it.has_closed => Err(TlsError::closed_by_us()),
            State::Handshake(handshake) => {
                Ok(handshake.write(plain, &mut self.incoming, &mut self.outgoing))
            }
            State::Failed(error) => Err((**error).clone()),
        }
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.filled()
    }

    /// So much of it was.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.consume(count);
        self.outgoing.give_back_if_empty();
    }

    /// Queues close_notify; nothing can be written any more.
    pub fn close(&mut self) {
        match &mut self.state {
            State::Open(open) => open.close(&mut self.outgoing),
            State::Handshake(it) => it.close(&mut self.incoming, &mut self.outgoing),
            State::Failed(_) => {}
        }
    }

    /// Whether the handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshake(_))
    }

    /// Whether what was read so far may be a replay: it came before the handshake, which is not
    /// over yet.
    pub fn is_early(&self) -> bool {
        matches!(&self.state, State::Handshake(handshake) if handshake.has_early_data)
    }

    /// What was agreed on. Before the handshake is over, what is known so far.
    pub fn info(&self) -> Info {
        match &self.state {
            State::Open(open) => open.info.clone(),
            State::Handshake(handshake) => Info {
                early_data: handshake.has_early_data,
                name: self.name.clone(),
                ..info(handshake.common())
            },
            State::Failed(_) => Info::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn send_raw(&mut self, kind: u8, content: &[u8]) {
        if let State::Open(open) = &mut self.state {
            open.send_raw(kind, content, &mut self.outgoing);
        }
    }

    /// Queues a record as it must not be: this outer type and version, and (in TLS 1.3) inner text with type and padding.
    #[cfg(any(test, feature = "testing"))]
    pub fn send_record(&mut self, header: [u8; 3], inner: &[u8]) {
        if let State::Open(open) = &mut self.state {
            open.send_record(header, inner, &mut self.outgoing);
        }
    }

    #[cfg(test)]
    pub(crate) fn exhaust_keys(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.exhaust_keys();
        }
    }

    #[cfg(test)]
    pub(crate) fn holds_buffers(&self) -> bool {
        self.incoming.capacity() + self.outgoing.capacity() > 0
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Session");
        match &self.state {
            State::Handshake(_) => it.field("state", &"handshake"),
            State::Open(open) => it.field("state", open),
            State::Failed(error) => it.field("state", error),
        };
        it.field("outgoing", &self.outgoing.len()).finish_non_exhaustive()
    }
}

const TLS13: &str = "TLSv1.3";

fn info(common: &CommonState) -> Info {
    let version = match common.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TLS13,
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let suite = common.negotiated_cipher_suite();
    Info {
        version,
        cipher: suite.map_or("", |suite| identity::cipher_name(suite.suite())),
        alpn: common.alpn_protocol().and_then(Alpn::from_id),
        resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        ..Info::default()
    }
}
