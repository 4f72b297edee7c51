//! Driving rustls through a handshake.
//!
//! rustls sees whole records, one more at a time, so that it never reads beyond the handshake: the
//! moment it is done its secrets move to our own record layer. Early data (RFC 8446, section 2.3)
//! is what it decrypts itself.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, ExtractedSecrets, PeerMisbehaved, ProtocolVersion};
use rustls_pki_types::CertificateDer;

use crate::error::{TlsError, TlsErrorKind};
use crate::pool::Buffer;
use crate::record::{HEADER_BYTES, OVERHEAD_MAX, PLAIN_BYTES_MAX, kind};
use crate::session::Kernel;

/// One side of a handshake.
pub(crate) enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// A handshake under way.
pub(crate) struct Handshake {
    connection: Connection,
    /// Received bytes at the front that rustls has seen and not yet released.
    offered: usize,
    /// How many of them are the last record.
    last: usize,
    /// Whether anything came that looked like TLS.
    has_begun: bool,
    /// Whether early data was accepted.
    pub(crate) has_early_data: bool,
    /// Whether close_notify was sent already, behind an answer to early data.
    pub(crate) has_closed: bool,
}

/// The progress of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More must be received.
    More,
    /// It is done.
    Done,
}

/// The result of one step of rustls.
enum Step {
    Again,
    Blocked,
    Done,
    Closed,
}

impl Handshake {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            offered: 0,
            last: 0,
            has_begun: false,
            has_early_data: false,
            has_closed: false,
        }
    }

    /// The negotiated parameters.
    pub(crate) fn common(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Continues with the received bytes.
    pub(crate) fn advance(
        &mut self,
        incoming: &mut Buffer,
        outgoing: &mut Buffer,
        early: &mut Vec<u8>,
    ) -> Result<Progress, TlsError> {
        loop {
            let (discard, step) = self.step(incoming, outgoing, early);
            incoming.consume(discard);
            self.offered = self.offered.saturating_sub(discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Done) if !self.common().is_handshaking() => return Ok(Progress::Done),
                Ok(Step::Closed) => {
                    let message = "the peer closed the connection during the handshake";
                    return Err(TlsError::new(TlsErrorKind::Alert("close_notify".into()), message));
                }
                // rustls may allow answers to early data before it is done.
                Ok(Step::Blocked | Step::Done) => match self.next_record(incoming) {
                    Some(length) => {
                        self.offered += length;
                        self.last = length;
                        self.refuse_clear(incoming);
                    }
                    None => return Ok(Progress::More),
                },
                Err(error) => {
                    self.provoke_alert(&error, incoming, outgoing);
                    return Err(self.describe(&error, incoming));
                }
            }
        }
    }

    /// How many bytes the next whole record takes. What is no record at all is left to rustls,
    /// which knows the alert for it.
    fn next_record(&mut self, incoming: &Buffer) -> Option<usize> {
        let rest = incoming.filled().get(self.offered..)?;
        let is_record = matches!(rest, [kind::CHANGE_CIPHER_SPEC..=kind::DATA, 3, ..]);
        if !is_record && rest.len() >= HEADER_BYTES {
            return Some(rest.len());
        }
        let [_, _, _, high, low, ..] = rest else { return None };
        let length = HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        self.has_begun |= is_record;
        (rest.len() >= length).then_some(length)
    }

    fn describe(&self, error: &rustls::Error, incoming: &Buffer) -> TlsError {
        if !self.has_begun && !incoming.is_empty() {
            return TlsError::not_tls(incoming.filled());
        }
        // Before its ServerHello a server says so only where it takes nothing of what we offer.
        let is_client = matches!(self.connection, Connection::Client(_));
        match error {
            rustls::Error::AlertReceived(alert)
                if is_client && self.common().protocol_version().is_none() =>
            {
                TlsError::from_refusal(*alert)
            }
            other => TlsError::from_rustls(other),
        }
    }

    fn step(
        &mut self,
        incoming: &mut Buffer,
        outgoing: &mut Buffer,
        early: &mut Vec<u8>,
    ) -> (usize, Result<Step, rustls::Error>) {
        let offered = incoming.filled_mut().get_mut(..self.offered).unwrap_or_default();
        match &mut self.connection {
            Connection::Client(connection) => {
                act(connection.process_tls_records(offered), outgoing, |_| Ok(()))
            }
            Connection::Server(connection) => {
                let status = connection.process_tls_records(offered);
                let has_early_data = &mut self.has_early_data;
                act(status, outgoing, |state| {
                    *has_early_data = true;
                    take_early_data(state, early)
                })
            }
        }
    }

    /// RFC 8446, section 5.4: an inner text of zeros is answered by unexpected_message, for which rustls
    /// has no alert. It is made to find one.
    fn provoke_alert(
        &mut self,
        error: &rustls::Error,
        incoming: &mut Buffer,
        outgoing: &mut Buffer,
    ) {
        const NO_TYPE: PeerMisbehaved = PeerMisbehaved::IllegalTlsInnerPlaintext;
        let is_it = *error == rustls::Error::PeerMisbehaved(NO_TYPE);
        if is_it && !self.common().wants_write() && self.spoil_last(incoming) {
            let (discard, _) = self.step(incoming, outgoing, &mut Vec::new());
            incoming.consume(discard);
            self.offered = self.offered.saturating_sub(discard);
        }
    }

    /// Puts a change_cipher_spec that must not be in the place of the last record. It is read in clear, and
    /// answered by unexpected_message (RFC 8446, section 5).
    fn spoil_last(&mut self, incoming: &mut Buffer) -> bool {
        const WRONG: [u8; 6] = [kind::CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 2];
        let start = self.offered.saturating_sub(self.last);
        let record = incoming.filled_mut().get_mut(start..self.offered).unwrap_or_default();
        let Some(record) = record.first_chunk_mut() else { return false };
        *record = WRONG;
        self.offered = start + WRONG.len();
        true
    }

    /// RFC 8446, section 5.2: once there are keys, what is protected looks like data, which rustls does not ask
    /// for. Handshake messages in clear come before that only; an alert may, of a client that has no keys yet.
    fn refuse_clear(&mut self, incoming: &mut Buffer) {
        const ALERT_BYTES: usize = HEADER_BYTES + 2;
        let common = self.common();
        let has_keys = common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && common.negotiated_key_exchange_group().is_some();
        let start = self.offered.saturating_sub(self.last);
        let is_clear = match incoming.filled().get(start) {
            Some(&kind::HANDSHAKE) => true,
            Some(&kind::ALERT) => self.last != ALERT_BYTES,
            _ => false,
        };
        if has_keys && is_clear {
            self.spoil_last(incoming);
        }
    }

    /// Puts the alert that rustls has prepared after an error into what is to be sent. It comes
    /// before rustls looks at what was received again, which it must not after an error.
    pub(crate) fn drain(&mut self, incoming: &mut Buffer, outgoing: &mut Buffer) {
        while self.common().wants_write() {
            let (discard, step) = self.step(incoming, outgoing, &mut Vec::new());
            incoming.consume(discard);
            self.offered = self.offered.saturating_sub(discard);
            if !matches!(step, Ok(Step::Again)) {
                return;
            }
        }
    }

    /// Encrypts an answer to early data before the handshake is over (RFC 8446, section 2.3), if
    /// that is allowed; one record.
    pub(crate) fn write(&mut self, plain: &[u8], incoming: &mut Buffer, out: &mut Buffer) -> usize {
        let wanted = plain.len().min(PLAIN_BYTES_MAX) + 2 * OVERHEAD_MAX;
        let mut taken = 0;
        self.write_early(incoming, out, wanted, |mut traffic, room| {
            let count = room.len().saturating_sub(2 * OVERHEAD_MAX).min(PLAIN_BYTES_MAX);
            let chunk = plain.get(..count).unwrap_or(plain);
            let written = traffic.encrypt(chunk, room).ok()?;
            taken = chunk.len();
            Some(written)
        });
        taken
    }

    /// Says that the answer to early data is whole.
    pub(crate) fn close(&mut self, incoming: &mut Buffer, out: &mut Buffer) {
        if !self.has_closed {
            let mut has_closed = false;
            self.write_early(incoming, out, OVERHEAD_MAX + 2, |mut traffic, room| {
                let written = traffic.queue_close_notify(room).ok()?;
                has_closed = true;
                Some(written)
            });
            self.has_closed = has_closed;
        }
    }

    fn write_early(
        &mut self,
        incoming: &mut Buffer,
        out: &mut Buffer,
        wanted: usize,
        write: impl FnOnce(WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Option<usize>,
    ) {
        let Connection::Server(connection) = &mut self.connection else { return };
        if !self.has_early_data {
            return;
        }
        let offered = incoming.filled_mut().get_mut(..self.offered).unwrap_or_default();
        let UnbufferedStatus { discard, state } = connection.process_tls_records(offered);
        if let Ok(ConnectionState::WriteTraffic(traffic)) = state {
            out.borrow(false);
            out.compact();
            if out.room().len() < wanted {
                out.grow();
            }
            out.end += write(traffic, out.room()).unwrap_or_default();
        }
        incoming.consume(discard);
        self.offered = self.offered.saturating_sub(discard);
    }

    /// The certificates of a client, its own first.
    pub(crate) fn client_chain(&self) -> Option<Arc<[CertificateDer<'static>]>> {
        let Connection::Server(connection) = &self.connection else { return None };
        let chain = connection.peer_certificates().filter(|chain| !chain.is_empty())?;
        Some(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }

    /// Ends rustls' part.
    pub(crate) fn finish(self) -> Result<(ExtractedSecrets, Kernel), TlsError> {
        let result = match self.connection {
            Connection::Server(connection) => connection.dangerous_into_kernel_connection().map(
                |(secrets, kernel): (_, KernelConnection<_>)| (secrets, Kernel::Server(kernel)),
            ),
            Connection::Client(connection) => connection
                .dangerous_into_kernel_connection()
                .map(|(secrets, kernel)| (secrets, Kernel::Client(kernel))),
        };
        result.map_err(|error| TlsError::from_rustls(&error))
    }
}

fn act<'c, 'i, Data>(
    status: UnbufferedStatus<'c, 'i, Data>,
    outgoing: &mut Buffer,
    early: impl FnOnce(ConnectionState<'c, 'i, Data>) -> Result<(), rustls::Error>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => encode(outgoing, |out| data.encode(out)),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        state @ ConnectionState::ReadEarlyData(_) => early(state).map(|()| Step::Again),
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        // Only what rustls has read beyond the handshake, which it is never given.
        ConnectionState::ReadTraffic(_) => Err(rustls::Error::HandshakeNotComplete),
        _ => Ok(Step::Closed),
    });
    (discard, step)
}

/// Appends what rustls encodes, in larger memory if it must be.
fn encode(
    outgoing: &mut Buffer,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<Step, rustls::Error> {
    outgoing.borrow(false);
    outgoing.compact();
    let written = encode(outgoing.room()).or_else(|_| {
        outgoing.grow();
        encode(outgoing.room())
    });
    // More than 64 KiB at once: certificates that no client would accept.
    let written = written.map_err(|error| rustls::Error::General(error.to_string()))?;
    outgoing.end += written;
    Ok(Step::Again)
}

fn take_early_data(
    state: ConnectionState<'_, '_, ServerConnectionData>,
    early: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    if let ConnectionState::ReadEarlyData(mut data) = state {
        while let Some(record) = data.next_record() {
            early.extend_from_slice(record?.payload);
        }
    }
    Ok(())
}
