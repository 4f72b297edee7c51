//! Which clients are accepted, by their certificates.
//!
//! The handshake has verified the certificate (`tls`). Here it is only compared with what the configuration names. Not
//! here: the response to a refused client.

use std::cmp::Ordering;
use std::fmt;

use config::{ClientMatch, Place};
use message::ClientCertificate;

/// The refusal of a client, by its address or certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRefusal {
    /// The line that refuses it, else the first one that names accepted clients.
    pub place: Place,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// It is at an address that is not accepted.
    Address,
    /// It sent no certificate.
    NoCertificate,
    /// Its certificate is not among those named.
    OtherCertificate,
}

impl RefusalReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "client-address",
            Self::NoCertificate => "no-client-certificate",
            Self::OtherCertificate => "other-client-certificate",
        }
    }

    /// In a few words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Address => "clients at this address are not accepted",
            Self::NoCertificate => "a client certificate is required, and the client sent none",
            Self::OtherCertificate => {
                "the client's certificate is not among those that are accepted"
            }
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.describe())
    }
}

/// Whether a client is accepted; returns the line that names it, `None` if all clients are accepted.
pub fn client_allowed(
    allowed: &[ClientMatch],
    shown: Option<&ClientCertificate>,
) -> Result<Option<Place>, ClientRefusal> {
    let Some(first) = allowed.first() else { return Ok(None) };
    let refused = |reason| Err(ClientRefusal { place: first.place, reason });
    let Some(shown) = shown else { return refused(RefusalReason::NoCertificate) };
    match allowed.iter().find(|wanted| is_meant(wanted, shown)) {
        Some(wanted) => Ok(Some(wanted.place)),
        None => refused(RefusalReason::OtherCertificate),
    }
}

/// A certificate of which only a name is known, for `explain` and `expect`.
pub fn assumed_certificate(name: &str) -> ClientCertificate {
    ClientCertificate {
        subject: format!("CN={name}").into(),
        common_name: Some(name.into()),
        names: vec![name.into()],
        fingerprint: "".into(),
        der: Box::default(),
    }
}

/// Whether every part that is set matches. Without any part, which the decoder refuses, nothing matches.
fn is_meant(wanted: &ClientMatch, shown: &ClientCertificate) -> bool {
    let ClientMatch { place: _, name, fingerprint, subject } = wanted;
    let has_part = name.is_some() || fingerprint.is_some() || subject.is_some();
    has_part
        && name.as_ref().is_none_or(|name| has_name(shown, name))
        && fingerprint.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(&shown.fingerprint))
        && subject.as_ref().is_none_or(|subject| *subject == shown.subject)
}

fn has_name(shown: &ClientCertificate, wanted: &str) -> bool {
    shown.names.iter().chain(&shown.common_name).any(|name| is_same_name(name, wanted))
}

/// Whether a name of a certificate is the one wanted, or one below `*.suffix`.
fn is_same_name(name: &str, wanted: &str) -> bool {
    if name.eq_ignore_ascii_case(wanted) {
        return true;
    }
    // `*.example.com` keeps its dot, so that `badexample.com` is not below.
    let Some(suffix) = wanted.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) else {
        return false;
    };
    let Some(at) = name.len().checked_sub(suffix.len()).filter(|&at| at > 0) else { return false };
    let (Some(below), Some(end)) = (name.get(..at), name.get(at..)) else { return false };
    // Mail addresses and URIs end in host names too, and are none.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    end.eq_ignore_ascii_case(suffix) && below.bytes().all(is_host)
}

/// What one finds a [`ClientMatch`] by: one of its parts, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ClientKey {
    Name(Box<str>),
    /// What a name ends with, with the dot before it.
    Below(Box<str>),
    Fingerprint(Box<str>),
    Subject(Box<str>),
}

impl ClientKey {
    /// The keys of which a certificate that is meant has one; `None`: there is no part to find it by.
    pub(crate) fn all_of(client: &ClientMatch) -> Option<Vec<Self>> {
        let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
        let ClientMatch { place: _, name, fingerprint, subject } = client;
        match (fingerprint, subject, name) {
            (Some(fingerprint), _, _) => Some(vec![Self::Fingerprint(lower(fingerprint))]),
            (None, Some(subject), _) => Some(vec![Self::Subject(lower(subject))]),
            (None, None, Some(name)) => {
                let below = name.strip_prefix('*').filter(|suffix| suffix.starts_with('.'));
                let below = below.map(|suffix| Self::Below(lower(suffix)));
                Some(std::iter::once(Self::Name(lower(name))).chain(below).collect())
            }
            (None, None, None) => None,
        }
    }
}

/// Values by what one finds a [`ClientMatch`] by.
pub(crate) struct Clients<T> {
    names: Texts<T>,
    below: Texts<T>,
    fingerprints: Texts<T>,
    subjects: Texts<T>,
}

/// Values by texts in lower case, sorted.
struct Texts<T>(Vec<(Box<str>, T)>);

impl<T> Texts<T> {
    /// The value of a text, whatever its case.
    fn get(&self, text: &str) -> Option<&T> {
        let compare = |(known, _): &(Box<str>, T)| -> Ordering {
            known.bytes().cmp(text.bytes().map(|byte| byte.to_ascii_lowercase()))
        };
        self.0.binary_search_by(compare).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }
}

impl<T> Clients<T> {
    /// Of keys, none of which comes twice.
    pub(crate) fn of(mut all: Vec<(ClientKey, T)>) -> Self {
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let [mut names, mut below, mut fingerprints, mut subjects] = [const { Vec::new() }; 4];
        for (key, value) in all {
            match key {
                ClientKey::Name(text) => names.push((text, value)),
                ClientKey::Below(text) => below.push((text, value)),
                ClientKey::Fingerprint(text) => fingerprints.push((text, value)),
                ClientKey::Subject(text) => subjects.push((text, value)),
            }
        }
        Self {
            names: Texts(names),
            below: Texts(below),
            fingerprints: Texts(fingerprints),
            subjects: Texts(subjects),
        }
    }

    /// Shows the values of all keys that a certificate has.
    pub(crate) fn each(&self, shown: &ClientCertificate, mut see: impl FnMut(&T)) {
        for name in shown.names.iter().chain(&shown.common_name) {
            self.names.get(name).into_iter().for_each(&mut see);
            if !self.below.0.is_empty() {
                let ends = name.match_indices('.').filter_map(|(at, _)| name.get(at..));
                ends.filter_map(|end| self.below.get(end)).for_each(&mut see);
            }
        }
        self.fingerprints.get(&shown.fingerprint).into_iter().for_each(&mut see);
        self.subjects.get(&shown.subject).into_iter().for_each(see);
    }

    /// Shows the values of the keys of a [`ClientMatch`].
    pub(crate) fn each_named(&self, client: &ClientMatch, mut see: impl FnMut(&T)) {
        for key in ClientKey::all_of(client).into_iter().flatten() {
            let found = match &key {
                ClientKey::Name(text) => self.names.get(text),
                ClientKey::Below(text) => self.below.get(text),
                ClientKey::Fingerprint(text) => self.fingerprints.get(text),
                ClientKey::Subject(text) => self.subjects.get(text),
            };
            found.into_iter().for_each(&mut see);
        }
    }
}
