//! The record layer after the handshake: one direction's keys, sealing and opening in place.
//!
//! rustls does the handshakes and derives all keys; its own record layer copies each record through
//! fresh allocations, so that from then on records are sealed and opened here, as they would be by
//! kernel TLS (`rustls::kernel`). No state but key and sequence number.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

/// The header of a record.
pub(crate) const HEADER_BYTES: usize = 5;
/// Plaintext of one record at most (RFC 8446, section 5.1).
pub(crate) const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// What a record adds to its plaintext, at most: header, explicit nonce or inner type, tag.
pub(crate) const OVERHEAD_MAX: usize = HEADER_BYTES + EXPLICIT_BYTES + TAG_BYTES;

const TAG_BYTES: usize = 16;
/// The part of the nonce that TLS 1.2 sends with AES-GCM (RFC 5288, section 3).
const EXPLICIT_BYTES: usize = 8;
/// Records sealed with one key of AES-GCM at most (RFC 8446, section 5.5), as rustls has it.
const GCM_RECORDS_MAX: u64 = 1 << 24;

/// Content types (RFC 8446, section 5.1).
pub(crate) mod kind {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const DATA: u8 = 23;
}

/// How records are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The type is inside, behind the plaintext.
    Tls13,
    /// RFC 5288: a part of the nonce goes before the ciphertext.
    Tls12Gcm,
    /// RFC 7905.
    Tls12Chacha,
}

/// Why a record cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It does not decrypt.
    Bad,
    /// Its plaintext is longer than 16 KiB, or than that and a type with what pads it.
    TooLong,
    /// There is no type in it (RFC 8446, section 5.4).
    NoType,
}

/// The keys of one direction.
pub(crate) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    sequence_max: u64,
    layout: Layout,
}

impl Keys {
    /// `None`: an algorithm that we do not know.
    pub(crate) fn new(
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        is_tls13: bool,
    ) -> Option<Self> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let is_gcm = !matches!(secrets, ConnectionTrafficSecrets::Chacha20Poly1305 { .. });
        let layout = match (is_tls13, is_gcm) {
            (true, _) => Layout::Tls13,
            (false, true) => Layout::Tls12Gcm,
            (false, false) => Layout::Tls12Chacha,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let sequence_max = if is_gcm { GCM_RECORDS_MAX } else { u64::MAX };
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, sequence, sequence_max, layout })
    }

    /// Whether no more records should be sealed with these.
    pub(crate) fn are_exhausted(&self) -> bool {
        self.sequence >= self.sequence_max
    }

    #[cfg(test)]
    pub(crate) fn exhaust(&mut self) {
        self.sequence_max = self.sequence;
    }

    /// RFC 8446, section 5.3, RFC 7905, section 2; for AES-GCM of TLS 1.2 the explicit part may be
    /// anything that is unique, and this is.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// RFC 5246, section 6.2.3.3.
    fn data_tls12(&self, kind: u8, length: usize) -> [u8; 13] {
        let mut data = [0; 13];
        let [high, low] = u16::try_from(length).unwrap_or_default().to_be_bytes();
        let parts = self.sequence.to_be_bytes().into_iter().chain([kind, 3, 3, high, low]);
        data.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        data
    }

    /// Writes one record with `plain` (at most [`PLAIN_BYTES_MAX`]) to the beginning of `out`, and
    /// tells its length. `None`: there is no room; `out` may have been written to.
    pub(crate) fn seal(&mut self, kind: u8, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        let nonce = self.nonce();
        let (explicit, inner): (usize, &[u8]) = match self.layout {
            Layout::Tls13 => (0, &[kind]),
            Layout::Tls12Gcm => (EXPLICIT_BYTES, &[]),
            Layout::Tls12Chacha => (0, &[]),
        };
        let length = explicit + plain.len() + inner.len() + TAG_BYTES;
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        let outer = if self.layout == Layout::Tls13 { kind::DATA } else { kind };
        let header = [outer, 3, 3, high, low];
        let (head, rest) = out.get_mut(..HEADER_BYTES + length)?.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header);
        let (nonce_sent, rest) = rest.split_at_mut(explicit);
        nonce_sent.copy_from_slice(nonce.get(NONCE_LEN - explicit..)?);
        let (sealed, tail) = rest.split_at_mut(plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let result = if self.layout == Layout::Tls13 {
            let data = Aad::from(header);
            self.key.seal_out_of_place_scatter(nonce, data, plain, sealed, inner, tail)
        } else {
            let data = Aad::from(self.data_tls12(kind, plain.len()));
            self.key.seal_out_of_place_scatter(nonce, data, plain, sealed, inner, tail)
        };
        result.ok()?;
        self.sequence += 1;
        Some(HEADER_BYTES + length)
    }

    /// Seals what need not be a record of anything, in TLS 1.3: `inner` is the inner text whole.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn seal_raw(
        &mut self,
        [kind, major, minor]: [u8; 3],
        inner: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let length = inner.len() + TAG_BYTES;
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        let header = [kind, major, minor, high, low];
        let (head, rest) = out.get_mut(..HEADER_BYTES + length)?.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header);
        let (sealed, tail) = rest.split_at_mut(inner.len());
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let data = Aad::from(header);
        self.key.seal_out_of_place_scatter(nonce, data, inner, sealed, &[], tail).ok()?;
        self.sequence += 1;
        Some(HEADER_BYTES + length)
    }

    /// Opens a whole record in place: its type, and where in `record` its plaintext is.
    pub(crate) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), OpenError> {
        let header = record.first_chunk::<HEADER_BYTES>().copied().ok_or(OpenError::Bad)?;
        let explicit = if self.layout == Layout::Tls12Gcm { EXPLICIT_BYTES } else { 0 };
        let begin = HEADER_BYTES + explicit;
        let mut nonce = self.nonce();
        if explicit > 0 {
            let sent = record.get(HEADER_BYTES..begin).ok_or(OpenError::Bad)?;
            nonce.iter_mut().skip(4).zip(sent).for_each(|(byte, sent)| *byte = *sent);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = record.get_mut(begin..).ok_or(OpenError::Bad)?;
        let length = sealed.len().checked_sub(TAG_BYTES).ok_or(OpenError::Bad)?;
        let opened = if self.layout == Layout::Tls13 {
            self.key.open_in_place(nonce, Aad::from(header), sealed)
        } else {
            let data = self.data_tls12(header[0], length);
            self.key.open_in_place(nonce, Aad::from(data), sealed)
        };
        let opened = opened.map_err(|_| OpenError::Bad)?;
        self.sequence += 1;
        // RFC 8446, section 5.4: type and padding count.
        if self.layout == Layout::Tls13 && opened.len() > PLAIN_BYTES_MAX + 1 {
            return Err(OpenError::TooLong);
        }
        let (kind, length) = match self.layout {
            Layout::Tls13 => {
                let last = opened.iter().rposition(|&byte| byte != 0).ok_or(OpenError::NoType)?;
                (opened.get(last).copied().unwrap_or_default(), last)
            }
            _ => (header[0], length),
        };
        if length > PLAIN_BYTES_MAX {
            return Err(OpenError::TooLong);
        }
        Ok((kind, begin..begin + length))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
