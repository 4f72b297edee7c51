//! A session after its handshake: records in and out, and the few messages that still come.

use std::fmt;

use rustls::ExtractedSecrets;

use crate::error::{TlsError, TlsErrorKind};
use crate::pool::Buffer;
use crate::record::{HEADER_BYTES, Keys, OVERHEAD_MAX, OpenError, PLAIN_BYTES_MAX, kind};
use crate::session::{Info, Kernel};

/// Alerts that we send (RFC 8446, section 6).
pub(crate) mod alert {
    pub(crate) const CLOSE_NOTIFY: u8 = 0;
    pub(crate) const UNEXPECTED_MESSAGE: u8 = 10;
    pub(crate) const BAD_RECORD_MAC: u8 = 20;
    pub(crate) const RECORD_OVERFLOW: u8 = 22;
    pub(crate) const HANDSHAKE_FAILURE: u8 = 40;
    pub(crate) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(crate) const ILLEGAL_PARAMETER: u8 = 47;
    pub(crate) const DECODE_ERROR: u8 = 50;
    pub(crate) const PROTOCOL_VERSION: u8 = 70;
    pub(crate) const INTERNAL_ERROR: u8 = 80;
    pub(crate) const USER_CANCELED: u8 = 90;
    pub(crate) const NO_RENEGOTIATION: u8 = 100;
    pub(crate) const MISSING_EXTENSION: u8 = 109;
    pub(crate) const UNRECOGNIZED_NAME: u8 = 112;
}

/// Post-handshake messages (RFC 8446, section 4).
const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Kept free for an alert and an update of keys.
const RESERVED_BYTES: usize = 128;
/// A message after the handshake, at most; only tickets are not tiny.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Records without data that may follow each other: tickets, updates of keys, warnings, empty ones.
const RECORDS_WITHOUT_DATA_MAX: u32 = 32;

/// A session after its handshake.
pub(crate) struct OpenSession {
    sealer: Keys,
    opener: Keys,
    kernel: Kernel,
    is_tls13: bool,
    /// Whether the peer waits for an update of our keys.
    owes_update: bool,
    pub(crate) has_closed: bool,
    pub(crate) was_closed: bool,
    /// Bytes at the front of what was received whose records are opened.
    opened: usize,
    /// Bytes of the record at the front that were handed out.
    taken: usize,
    /// Decrypted and not yet handed out.
    pub(crate) unread: usize,
    records_without_data: u32,
    /// The beginning of a message that continues in the next record.
    partial: Vec<u8>,
    pub(crate) info: Info,
}

/// Replaces the header of a record once it is opened: where its plaintext begins, the plaintext's length, its own
/// length.
#[derive(Debug, Clone, Copy)]
struct PlainRecord {
    begin: u8,
    plain: u16,
    whole: u16,
}

impl PlainRecord {
    fn read(bytes: &[u8]) -> Self {
        let [begin, a, b, c, d] = bytes.first_chunk().copied().unwrap_or_default();
        Self { begin, plain: u16::from_be_bytes([a, b]), whole: u16::from_be_bytes([c, d]) }
    }

    fn write(self, bytes: &mut [u8]) {
        if let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            let ([a, b], [c, d]) = (self.plain.to_be_bytes(), self.whole.to_be_bytes());
            *header = [self.begin, a, b, c, d];
        }
    }
}

/// A refusal: the alert to send, if any, and what to say.
struct Refusal(Option<u8>, TlsError);

impl Refusal {
    fn new(alert: u8, message: &'static str) -> Self {
        Self(Some(alert), TlsError::new(TlsErrorKind::Protocol, message))
    }
}

impl OpenSession {
    pub(crate) fn new(
        secrets: ExtractedSecrets,
        kernel: Kernel,
        is_tls13: bool,
        info: Info,
    ) -> Result<Self, TlsError> {
        let unknown = || TlsError::new(TlsErrorKind::Local, "an algorithm without a record layer");
        Ok(Self {
            sealer: Keys::new(secrets.tx, is_tls13).ok_or_else(unknown)?,
            opener: Keys::new(secrets.rx, is_tls13).ok_or_else(unknown)?,
            is_tls13,
            kernel,
            owes_update: false,
            has_closed: false,
            was_closed: false,
            opened: 0,
            taken: 0,
            unread: 0,
            records_without_data: 0,
            partial: Vec::new(),
            info,
        })
    }

    /// Opens every whole record.
    pub(crate) fn receive(
        &mut self,
        incoming: &mut Buffer,
        outgoing: &mut Buffer,
    ) -> Result<(), TlsError> {
        let result = self.open_all(incoming, outgoing);
        if let Err(Refusal(alert, error)) = result {
            match alert {
                Some(alert) => self.send_alert(alert, outgoing),
                None => self.has_closed = true,
            }
            return Err(error);
        }
        self.update_owed(outgoing)?;
        Ok(())
    }

    fn open_all(&mut self, incoming: &mut Buffer, outgoing: &mut Buffer) -> Result<(), Refusal> {
        while !self.was_closed {
            let rest = incoming.filled_mut().get_mut(self.opened..).unwrap_or_default();
            let Some(length) = record_length(rest, self.is_tls13)? else { break };
            let Some(record) = rest.get_mut(..length) else { break };
            let (kind, range) = self.opener.open(record).map_err(refuse_record)?;
            let begin = u8::try_from(range.start).unwrap_or_default();
            let mut note = PlainRecord { begin, plain: 0, whole: 0 };
            note.whole = u16::try_from(length).unwrap_or_default();
            if kind == kind::DATA {
                self.take_data(range.len())?;
                note.plain = u16::try_from(range.len()).unwrap_or_default();
            } else {
                self.count_record_without_data()?;
                let content = record.get(range).unwrap_or_default();
                self.take_message(kind, content, outgoing)?;
            }
            note.write(record);
            self.opened += length;
        }
        if self.was_closed {
            // RFC 8446, section 6.1: what comes after close_notify is ignored.
            incoming.end = incoming.start + self.opened;
        }
        self.skip_empty(incoming);
        Ok(())
    }

    fn take_data(&mut self, length: usize) -> Result<(), Refusal> {
        // RFC 8446, section 5.1: nothing may come between the records of one message.
        if !self.partial.is_empty() {
            return Err(Refusal::new(alert::UNEXPECTED_MESSAGE, "data within another message"));
        }
        if length == 0 {
            return self.count_record_without_data();
        }
        self.records_without_data = 0;
        self.unread += length;
        Ok(())
    }

    fn count_record_without_data(&mut self) -> Result<(), Refusal> {
        self.records_without_data += 1;
        if self.records_without_data > RECORDS_WITHOUT_DATA_MAX {
            return Err(Refusal::new(alert::UNEXPECTED_MESSAGE, "too many records without data"));
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        kind: u8,
        content: &[u8],
        outgoing: &mut Buffer,
    ) -> Result<(), Refusal> {
        match kind {
            kind::ALERT if self.partial.is_empty() => self.take_alert(content),
            kind::HANDSHAKE if !content.is_empty() => self.take_handshake(content, outgoing),
            _ => Err(Refusal::new(alert::UNEXPECTED_MESSAGE, "a record out of place")),
        }
    }

    fn take_alert(&mut self, content: &[u8]) -> Result<(), Refusal> {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        let &[level, description] = content else {
            // RFC 8446, section 5.4: an empty one. Section 5.1: neither parts of one nor several.
            let is_empty = content.is_empty();
            let alert = if is_empty { alert::UNEXPECTED_MESSAGE } else { alert::DECODE_ERROR };
            return Err(Refusal::new(alert, "a malformed alert"));
        };
        // RFC 8446, section 6: in TLS 1.3 the level says nothing.
        if !self.is_tls13 && !matches!(level, WARNING | FATAL) {
            return Err(Refusal::new(alert::ILLEGAL_PARAMETER, "an alert of an unknown level"));
        }
        match description {
            alert::CLOSE_NOTIFY => self.was_closed = true,
            // RFC 8446, section 6: of the others only this is no error in TLS 1.3.
            alert::USER_CANCELED if self.is_tls13 => {}
            _ if level == WARNING && !self.is_tls13 => {}
            // RFC 8446, section 6.2: then both close at once, without another word.
            _ => return Err(Refusal(None, TlsError::from_alert(description))),
        }
        Ok(())
    }

    fn take_handshake(&mut self, content: &[u8], outgoing: &mut Buffer) -> Result<(), Refusal> {
        if self.partial.is_empty() {
            let used = self.take_whole_messages(content, outgoing)?;
            self.partial.extend_from_slice(content.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(content);
        let used = self.take_whole_messages(&partial, outgoing)?;
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    /// Tells how many bytes the whole messages take.
    fn take_whole_messages(
        &mut self,
        bytes: &[u8],
        outgoing: &mut Buffer,
    ) -> Result<usize, Refusal> {
        let mut used = 0;
        while let Some(&[kind, a, b, c, ref rest @ ..]) = bytes.get(used..) {
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if length > MESSAGE_BYTES_MAX {
                return Err(Refusal::new(alert::DECODE_ERROR, "a message of more than 64 KiB"));
            }
            let Some(content) = rest.get(..length) else { break };
            used += 4 + length;
            // RFC 8446, section 5.1: nothing may follow in the record after which keys change.
            if kind == KEY_UPDATE && used < bytes.len() {
                let message = "bytes after an update of keys";
                return Err(Refusal::new(alert::UNEXPECTED_MESSAGE, message));
            }
            self.take_handshake_message(kind, content, outgoing)?;
        }
        Ok(used)
    }

    fn take_handshake_message(
        &mut self,
        kind: u8,
        content: &[u8],
        outgoing: &mut Buffer,
    ) -> Result<(), Refusal> {
        const CLIENT_HELLO: u8 = 1;
        match (kind, &mut self.kernel) {
            (KEY_UPDATE, _) if self.is_tls13 => self.take_key_update(content),
            (NEW_SESSION_TICKET, Kernel::Client(kernel)) if self.is_tls13 => {
                let result = kernel.handle_new_session_ticket(content);
                result.map_err(|error| {
                    let is_malformed = matches!(error, rustls::Error::InvalidMessage(_));
                    let alert =
                        if is_malformed { alert::DECODE_ERROR } else { alert::ILLEGAL_PARAMETER };
                    Refusal(Some(alert), TlsError::from_rustls(&error))
                })
            }
            // RFC 5246, section 7.2.2: we never renegotiate.
            (HELLO_REQUEST, Kernel::Client(_)) | (CLIENT_HELLO, Kernel::Server(_))
                if !self.is_tls13 =>
            {
                const WARNING: u8 = 1;
                self.control(kind::ALERT, &[WARNING, alert::NO_RENEGOTIATION], outgoing);
                Ok(())
            }
            _ => Err(Refusal::new(alert::UNEXPECTED_MESSAGE, "a handshake message out of place")),
        }
    }

    /// RFC 8446, section 4.6.3.
    fn take_key_update(&mut self, content: &[u8]) -> Result<(), Refusal> {
        let is_requested = match content {
            [0] => false,
            [1] => true,
            [] | [_, _, ..] => {
                return Err(Refusal::new(
                    alert::DECODE_ERROR,
                    "an update of keys of a wrong length",
                ));
            }
            [_] => {
                return Err(Refusal::new(alert::ILLEGAL_PARAMETER, "a malformed update of keys"));
            }
        };
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_rx_secret(),
            Kernel::Client(kernel) => kernel.update_rx_secret(),
        };
        let internal = || Refusal::new(alert::INTERNAL_ERROR, "keys cannot be updated");
        let secrets = secrets.map_err(|_| internal())?;
        self.opener = Keys::new(secrets, true).ok_or_else(internal)?;
        self.owes_update |= is_requested;
        Ok(())
    }

    /// Changes our own keys if the peer has asked for it or if these have sealed enough. Several
    /// requests get one update.
    fn update_owed(&mut self, outgoing: &mut Buffer) -> Result<(), TlsError> {
        if self.has_closed || !(self.owes_update || self.sealer.are_exhausted()) {
            return Ok(());
        }
        let local = |message: &'static str| TlsError::new(TlsErrorKind::Local, message);
        if !self.is_tls13 {
            return Err(local("the limit of data on this TLS 1.2 connection is reached"));
        }
        if !self.control(kind::HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], outgoing) {
            return Ok(());
        }
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_tx_secret(),
            Kernel::Client(kernel) => kernel.update_tx_secret(),
        };
        let secrets = secrets.map_err(|error| TlsError::from_rustls(&error))?;
        self.sealer = Keys::new(secrets, true).ok_or_else(|| local("keys cannot be updated"))?;
        self.owes_update = false;
        Ok(())
    }

    /// Lets go of records without data at the front.
    fn skip_empty(&mut self, incoming: &mut Buffer) {
        while self.opened > 0 {
            let front = PlainRecord::read(incoming.filled());
            if front.plain > 0 {
                break;
            }
            self.let_go(front, incoming);
        }
    }

    fn let_go(&mut self, front: PlainRecord, incoming: &mut Buffer) {
        incoming.consume(usize::from(front.whole));
        self.opened = self.opened.saturating_sub(usize::from(front.whole));
        self.taken = 0;
    }

    /// Copies decrypted bytes.
    pub(crate) fn read(&mut self, incoming: &mut Buffer, out: &mut [u8]) -> usize {
        let mut copied = 0;
        while self.unread > 0 {
            let front = PlainRecord::read(incoming.filled());
            let begin = usize::from(front.begin);
            let plain = incoming.filled().get(begin + self.taken..begin + usize::from(front.plain));
            let plain = plain.unwrap_or_default();
            let room = out.get_mut(copied..).unwrap_or_default();
            let count = plain.len().min(room.len());
            let (Some(room), Some(bytes)) = (room.get_mut(..count), plain.get(..count)) else {
                break;
            };
            room.copy_from_slice(bytes);
            copied += count;
            self.unread = self.unread.saturating_sub(count);
            self.taken += count;
            if self.taken < usize::from(front.plain) {
                break;
            }
            self.let_go(front, incoming);
            self.skip_empty(incoming);
        }
        copied
    }

    /// Seals as much as there is room for.
    pub(crate) fn write(&mut self, plain: &[u8], outgoing: &mut Buffer) -> Result<usize, TlsError> {
        if self.has_closed {
            return Err(TlsError::closed_by_us());
        }
        if plain.is_empty() {
            return Ok(0);
        }
        outgoing.borrow(plain.len() > PLAIN_BYTES_MAX);
        outgoing.compact();
        // What waits already, say tickets, must not keep a whole record from fitting behind it.
        let wanted = plain.len().min(PLAIN_BYTES_MAX) + OVERHEAD_MAX + RESERVED_BYTES;
        if plain.len() > PLAIN_BYTES_MAX || outgoing.room().len() < wanted {
            outgoing.grow();
        }
        let mut taken = 0;
        for chunk in plain.chunks(PLAIN_BYTES_MAX) {
            if outgoing.room().len() < chunk.len() + OVERHEAD_MAX + RESERVED_BYTES {
                break;
            }
            self.update_owed(outgoing)?;
            let sealed = self.sealer.seal(kind::DATA, chunk, outgoing.room());
            let Some(length) = sealed else { break };
            outgoing.end += length;
            taken += chunk.len();
        }
        outgoing.give_back_if_empty();
        Ok(taken)
    }

    /// Queues close_notify.
    pub(crate) fn close(&mut self, outgoing: &mut Buffer) {
        if !self.has_closed {
            self.send_alert(alert::CLOSE_NOTIFY, outgoing);
        }
    }

    pub(crate) fn send_alert(&mut self, description: u8, outgoing: &mut Buffer) {
        let level = if description == alert::CLOSE_NOTIFY { 1 } else { 2 };
        if !self.has_closed {
            self.control(kind::ALERT, &[level, description], outgoing);
            self.has_closed = true;
        }
    }

    /// Whether there was room.
    fn control(&mut self, kind: u8, content: &[u8], outgoing: &mut Buffer) -> bool {
        outgoing.borrow(false);
        outgoing.compact();
        let sealed = self.sealer.seal(kind, content, outgoing.room());
        outgoing.end += sealed.unwrap_or_default();
        sealed.is_some()
    }

    #[cfg(test)]
    pub(crate) fn send_raw(&mut self, kind: u8, content: &[u8], outgoing: &mut Buffer) {
        assert!(self.control(kind, content, outgoing));
    }

    /// A record as it must not be: this outer type and version, and inner text with type and padding; of TLS 1.2 just the
    /// type and a content.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn send_record(&mut self, header: [u8; 3], inner: &[u8], outgoing: &mut Buffer) {
        outgoing.borrow(true);
        outgoing.compact();
        if !self.is_tls13 {
            self.control(header[0], inner, outgoing);
            return;
        }
        let sealed = self.sealer.seal_raw(header, inner, outgoing.room());
        outgoing.end += sealed.unwrap_or_default();
    }

    #[cfg(test)]
    pub(crate) fn exhaust_keys(&mut self) {
        self.sealer.exhaust();
    }
}

/// The length of the record at the front, once its header is there.
fn record_length(bytes: &[u8], is_tls13: bool) -> Result<Option<usize>, Refusal> {
    let &[kind, major, minor, high, low, ..] = bytes else { return Ok(None) };
    // RFC 8446, section 5.2: what is protected looks like data. Section 5: nothing else may come after
    // the handshake, change_cipher_spec and alerts in clear neither.
    let is_known = match is_tls13 {
        true => kind == kind::DATA,
        false => (kind::CHANGE_CIPHER_SPEC..=kind::DATA).contains(&kind),
    };
    if !is_known {
        return Err(Refusal::new(alert::UNEXPECTED_MESSAGE, "a record out of place"));
    }
    // RFC 8446, section 5.1: to be ignored; it counts for what the record is sealed with, though.
    if !is_tls13 && [major, minor] != [3, 3] {
        return Err(Refusal::new(alert::PROTOCOL_VERSION, "a record of another version of TLS"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446, section 5.2. RFC 5246 allows more, which no algorithm of ours needs.
    if length > PLAIN_BYTES_MAX + 256 {
        return Err(Refusal::new(alert::RECORD_OVERFLOW, "a record that is too long"));
    }
    Ok(Some(HEADER_BYTES + length))
}

fn refuse_record(error: OpenError) -> Refusal {
    match error {
        OpenError::Bad => Refusal::new(alert::BAD_RECORD_MAC, "a record that does not decrypt"),
        OpenError::TooLong => Refusal::new(alert::RECORD_OVERFLOW, "a record that is too long"),
        OpenError::NoType => Refusal::new(alert::UNEXPECTED_MESSAGE, "a record without a type"),
    }
}

impl fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("unread", &self.unread).finish_non_exhaustive()
    }
}
