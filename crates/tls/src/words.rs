//! What rustls refuses, in plain words: which check failed, with names and dates.

use std::borrow::Cow;
use std::fmt::Write as _;

use rustls::server::VerifierBuilderError;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

use crate::error::{TlsError, TlsErrorKind};

impl TlsError {
    /// The first bytes from the peer are no record.
    pub(crate) fn not_tls(bytes: &[u8]) -> Self {
        let what = if bytes.starts_with(b"HTTP/") || bytes.starts_with(b"<") {
            "the peer sent cleartext HTTP, not TLS"
        } else {
            "the peer speaks no TLS"
        };
        Self::new(TlsErrorKind::NotTls, what)
    }

    pub(crate) fn from_alert(description: u8) -> Self {
        let name = alert_name(AlertDescription::from(description));
        let message = format!("the peer gave up: {}", alert_words(&name));
        Self::new(TlsErrorKind::Alert(name), message)
    }

    /// A server's alert instead of its ServerHello.
    pub(crate) fn from_refusal(alert: AlertDescription) -> Self {
        let error = Self::from_alert(u8::from(alert));
        let why = match alert {
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                "it takes none of the cipher suites and groups that we offer: AES-GCM and \
                 ChaCha20-Poly1305 with ECDHE, by TLS 1.2 and 1.3; CBC suites and RSA key exchange \
                 (TLS_RSA_…) are not spoken"
            }
            AlertDescription::ProtocolVersion => {
                "it speaks neither TLS 1.2 nor 1.3, and nothing older is spoken here"
            }
            _ => return error,
        };
        let name = alert_name(alert);
        let message = format!("the peer gave up before the handshake: {name}: {why}");
        Self::new(TlsErrorKind::Alert(name), message)
    }

    pub(crate) fn from_rustls(error: &Error) -> Self {
        let protocol = |message: Cow<'static, str>| Self::new(TlsErrorKind::Protocol, message);
        match error {
            Error::AlertReceived(description) => Self::from_alert(u8::from(*description)),
            Error::InvalidCertificate(error) => {
                Self::new(TlsErrorKind::Certificate, certificate_words(error))
            }
            Error::NoCertificatesPresented => {
                Self::new(TlsErrorKind::Certificate, "the peer shows no certificate")
            }
            Error::InvalidCertRevocationList(error) => Self::new(
                TlsErrorKind::Certificate,
                format!("a revocation list cannot be used: {error:?}"),
            ),
            Error::PeerIncompatible(what) => protocol(incompatible_words(what)),
            Error::NoApplicationProtocol => {
                protocol("the peer speaks none of our protocols (ALPN)".into())
            }
            Error::DecryptError => protocol("a record does not decrypt".into()),
            Error::PeerSentOversizedRecord => protocol("a record is too long".into()),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                protocol("something that is no record of TLS".into())
            }
            Error::InvalidMessage(what) => {
                protocol(format!("a malformed message: {what:?}").into())
            }
            Error::PeerMisbehaved(what) => protocol(misbehaved_words(what)),
            Error::InappropriateMessage { got_type, .. } => {
                protocol(format!("a message out of place: {got_type:?}").into())
            }
            Error::InappropriateHandshakeMessage { got_type, .. } => {
                protocol(format!("a message out of place: {got_type:?}").into())
            }
            other => Self::new(TlsErrorKind::Local, other.to_string()),
        }
    }
}

fn misbehaved_words(what: &PeerMisbehaved) -> Cow<'static, str> {
    match what {
        PeerMisbehaved::SelectedUnofferedApplicationProtocol => {
            "the peer picked a protocol (ALPN) that was not offered".into()
        }
        PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
        | PeerMisbehaved::IllegalTlsInnerPlaintext => "a record out of place".into(),
        PeerMisbehaved::IncorrectBinder => "the proof of an earlier session is wrong".into(),
        other => format!("the peer breaks the protocol: {other:?}").into(),
    }
}

fn incompatible_words(what: &PeerIncompatible) -> Cow<'static, str> {
    match what {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "the peer speaks no version of TLS that we allow".into()
        }
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common".into(),
        PeerIncompatible::NoKxGroupsInCommon => "no key exchange group in common".into(),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature scheme in common with the keys of the certificates".into()
        }
        other => format!("the peer lacks what we need: {other:?}").into(),
    }
}

/// A day and a minute, UTC.
pub(crate) fn date_words(seconds: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return "a time out of range".to_owned();
    };
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", at.hour(), at.minute())
}

fn unix_words(at: &UnixTime) -> String {
    date_words(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

#[allow(deprecated)] // old variants without context may still come
fn certificate_words(error: &CertificateError) -> Cow<'static, str> {
    match error {
        CertificateError::BadEncoding => "the certificate cannot be read".into(),
        CertificateError::Expired => "the certificate has expired".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", unix_words(not_after)).into()
        }
        CertificateError::NotValidYet => "the certificate is not valid yet".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", unix_words(not_before)).into()
        }
        CertificateError::Revoked => "the certificate is revoked".into(),
        CertificateError::UnhandledCriticalExtension => {
            "the certificate has an unknown critical extension".into()
        }
        CertificateError::UnknownIssuer => "the certificate comes from an unknown issuer".into(),
        CertificateError::UnknownRevocationStatus => {
            "no revocation list covers the certificate's issuer".into()
        }
        CertificateError::ExpiredRevocationList => "the revocation list has expired".into(),
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            format!("the revocation list expired on {}", unix_words(next_update)).into()
        }
        CertificateError::BadSignature => {
            "the certificate's signature, or one made with its key, is wrong".into()
        }
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate is signed with an algorithm that is not supported".into()
        }
        CertificateError::NotValidForName => "the certificate is for another name".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            format!("the certificate is for {}, not for {expected}", names(presented)).into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for this (extended key usage)".into()
        }
        CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
            "the certificate is a CA's own (CA:TRUE), not one for a server or client".into()
        }
        CertificateError::Other(error) => error.to_string().into(),
        other => format!("the certificate was refused: {other:?}").into(),
    }
}

/// rustls writes names as `DnsName("a.example")`.
fn names(presented: &[String]) -> String {
    const NAMES_SHOWN_MAX: usize = 5;
    let mut list = String::new();
    for (index, name) in presented.iter().take(NAMES_SHOWN_MAX).enumerate() {
        let bare = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        let bare = bare.trim_end_matches(')').trim_matches('"');
        let _ = write!(list, "{}{bare}", if index > 0 { ", " } else { "" });
    }
    match presented.len() {
        0 => "no name at all".to_owned(),
        count if count > NAMES_SHOWN_MAX => {
            format!("{list} and {} others", count - NAMES_SHOWN_MAX)
        }
        _ => list,
    }
}

/// Names of alerts as RFC 8446, section 6 has them, and what they mean where that helps.
const ALERTS: &[(AlertDescription, &str, &str)] = &[
    (AlertDescription::CloseNotify, "close_notify", "it closed the connection"),
    (AlertDescription::UnexpectedMessage, "unexpected_message", ""),
    (AlertDescription::BadRecordMac, "bad_record_mac", "a record does not decrypt"),
    (AlertDescription::RecordOverflow, "record_overflow", ""),
    (AlertDescription::HandshakeFailure, "handshake_failure", "nothing in common"),
    (AlertDescription::BadCertificate, "bad_certificate", "it refuses our certificate"),
    (
        AlertDescription::UnsupportedCertificate,
        "unsupported_certificate",
        "it does not take our kind of certificate",
    ),
    (
        AlertDescription::CertificateRevoked,
        "certificate_revoked",
        "it holds our certificate to be revoked",
    ),
    (
        AlertDescription::CertificateExpired,
        "certificate_expired",
        "it holds our certificate to be expired",
    ),
    (AlertDescription::CertificateUnknown, "certificate_unknown", "it refuses our certificate"),
    (AlertDescription::IllegalParameter, "illegal_parameter", ""),
    (AlertDescription::UnknownCA, "unknown_ca", "it does not know our certificate's issuer"),
    (AlertDescription::AccessDenied, "access_denied", "it does not let us in"),
    (AlertDescription::DecodeError, "decode_error", ""),
    (AlertDescription::DecryptError, "decrypt_error", ""),
    (AlertDescription::ProtocolVersion, "protocol_version", "no version of TLS in common"),
    (AlertDescription::InsufficientSecurity, "insufficient_security", ""),
    (AlertDescription::InternalError, "internal_error", ""),
    (AlertDescription::InappropriateFallback, "inappropriate_fallback", ""),
    (AlertDescription::UserCanceled, "user_canceled", ""),
    (AlertDescription::NoRenegotiation, "no_renegotiation", ""),
    (AlertDescription::MissingExtension, "missing_extension", ""),
    (AlertDescription::UnsupportedExtension, "unsupported_extension", ""),
    (AlertDescription::UnrecognisedName, "unrecognized_name", "it serves no such name"),
    (AlertDescription::UnknownPSKIdentity, "unknown_psk_identity", ""),
    (
        AlertDescription::CertificateRequired,
        "certificate_required",
        "it wants a certificate from us",
    ),
    (
        AlertDescription::NoApplicationProtocol,
        "no_application_protocol",
        "it speaks none of the protocols offered (ALPN)",
    ),
];

fn alert_name(description: AlertDescription) -> Cow<'static, str> {
    let row = ALERTS.iter().find(|(row, ..)| *row == description);
    row.map_or_else(
        || format!("alert {}", u8::from(description)).into(),
        |(_, name, _)| (*name).into(),
    )
}

fn alert_words(name: &str) -> String {
    match ALERTS.iter().find(|(_, row, _)| *row == name) {
        Some((_, _, meaning)) if !meaning.is_empty() => format!("{name} ({meaning})"),
        _ => name.to_owned(),
    }
}

/// Why no verifier can be made of CAs and CRLs.
pub(crate) fn verifier_words(error: &VerifierBuilderError) -> String {
    match error {
        VerifierBuilderError::NoRootAnchors => "there is no CA certificate in it".to_owned(),
        other => format!("a revocation list cannot be used: {other}"),
    }
}
