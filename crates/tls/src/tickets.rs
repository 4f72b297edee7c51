//! The keys of session tickets (RFC 8446, section 4.6.1; RFC 5077): they rotate, and all cores share
//! them.
//!
//! A ticket is `key name ‖ nonce ‖ sealed state`, by AES-256-GCM. What it is bound to, the site and
//! its policy for client certificates, is authenticated with it: under another binding it is no
//! ticket at all, and a full handshake follows.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;

/// How long a key makes tickets.
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// Keys that still open tickets, the newest included.
const KEYS_MAX: usize = 3;
/// How long every ticket can surely be opened.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

const NAME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const BINDING_BYTES: usize = 32;

/// The keys of session tickets.
pub struct Tickets {
    /// The newest first; empty only if the system has no randomness.
    keys: ArcSwap<Vec<Key>>,
    rotating: Mutex<()>,
}

#[derive(Clone)]
struct Key {
    name: [u8; NAME_BYTES],
    key: Arc<LessSafeKey>,
    made: Instant,
}

impl Key {
    fn new(made: Instant) -> Option<Self> {
        let name = random::secret().ok()?;
        let key = random::secret::<32>().ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        Some(Self { name, key: Arc::new(key), made })
    }
}

impl Tickets {
    /// Fresh ones.
    pub fn new() -> Arc<Self> {
        let keys = Key::new(Instant::now()).into_iter().collect();
        Arc::new(Self { keys: ArcSwap::from_pointee(keys), rotating: Mutex::new(()) })
    }

    /// The keys as they are at this time, rotated if that is due.
    fn keys(&self, now: Instant) -> arc_swap::Guard<Arc<Vec<Key>>> {
        let keys = self.keys.load();
        let is_due = |keys: &[Key]| {
            keys.first().is_none_or(|key| now.saturating_duration_since(key.made) >= ROTATION)
        };
        if !is_due(&keys) {
            return keys;
        }
        let _rotating = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.load();
        if is_due(&keys)
            && let Some(key) = Key::new(now)
        {
            let age_max = ROTATION * u32::try_from(KEYS_MAX).unwrap_or(1);
            let older = keys.iter().take(KEYS_MAX - 1);
            let older = older.filter(|key| now.saturating_duration_since(key.made) < age_max);
            let keys = std::iter::once(key).chain(older.cloned()).collect();
            self.keys.store(Arc::new(keys));
        }
        self.keys.load()
    }

    fn seal(&self, binding: &Binding, state: &[u8], now: Instant) -> Option<Vec<u8>> {
        let keys = self.keys(now);
        let key = keys.first()?;
        let nonce = random::secret::<NONCE_LEN>().ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + state.len() + TAG_BYTES);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(state);
        let sealed = ticket.get_mut(NAME_BYTES + NONCE_LEN..)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.key.seal_in_place_separate_tag(nonce, binding.data(key.name), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, binding: &Binding, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys(now);
        let key = keys.iter().find(|key| key.name == *name)?;
        let mut state = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.key.open_in_place(nonce, binding.data(*name), &mut state).ok()?.len();
        state.truncate(length);
        Some(state)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

/// What sessions must have in common to resume each other.
#[derive(Clone, Copy)]
pub(crate) struct Binding(pub(crate) [u8; BINDING_BYTES]);

impl Binding {
    fn data(&self, name: [u8; NAME_BYTES]) -> Aad<[u8; NAME_BYTES + BINDING_BYTES]> {
        let mut data = [0; NAME_BYTES + BINDING_BYTES];
        let parts = name.iter().chain(&self.0);
        data.iter_mut().zip(parts).for_each(|(byte, part)| *byte = *part);
        Aad::from(data)
    }
}

/// The tickets of one context.
pub(crate) struct BoundTickets {
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) binding: Binding,
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(&self.binding, plain, Instant::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(&self.binding, cipher, Instant::now())
    }
}

impl fmt::Debug for BoundTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tickets.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_live_through_two_rotations_and_end_with_the_third() {
        let tickets = Tickets::new();
        let binding = Binding([7; 32]);
        let start = Instant::now();
        let ticket = tickets.seal(&binding, b"state", start).expect("a ticket");
        assert!(!ticket.windows(5).any(|window| window == b"state"));
        for hours in [0, 5, 6, 11, 12, 17] {
            let at = start + Duration::from_secs(hours * 60 * 60);
            assert!(tickets.seal(&binding, b"other", at).is_some());
            let opened = tickets.open(&binding, &ticket, at);
            assert_eq!(opened.as_deref(), Some(&b"state"[..]), "after {hours} hours");
        }
        let end = start + Duration::from_secs(20 * 60 * 60);
        assert_eq!(tickets.open(&binding, &ticket, end), None);
        assert!(tickets.keys.load().len() <= KEYS_MAX);
    }

    #[test]
    fn after_a_long_silence_no_old_key_opens_anything() {
        let tickets = Tickets::new();
        let binding = Binding([7; 32]);
        let start = Instant::now();
        let ticket = tickets.seal(&binding, b"state", start).expect("a ticket");
        let late = start + 4 * ROTATION;
        assert_eq!(tickets.open(&binding, &ticket, late), None);
        assert_eq!(tickets.keys.load().len(), 1);
    }

    #[test]
    fn what_was_bound_otherwise_or_changed_is_no_ticket() {
        let tickets = Tickets::new();
        let now = Instant::now();
        let ticket = tickets.seal(&Binding([1; 32]), b"state", now).expect("a ticket");
        assert_eq!(tickets.open(&Binding([2; 32]), &ticket, now), None);
        assert_eq!(Tickets::new().open(&Binding([1; 32]), &ticket, now), None);
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.open(&Binding([1; 32]), &changed, now), None, "byte {index}");
            assert_eq!(tickets.open(&Binding([1; 32]), &ticket[..index], now), None);
        }
    }
}
