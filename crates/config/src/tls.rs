//! The typed model of what concerns TLS and the protocols within it.
//!
//! Not here: keys, certificates and sessions (`tls`), which read the files that these types name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AcmeId, Place};

/// What a site does with TLS connections for its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteTls {
    /// They end here.
    Terminate(ServerTls),
    /// They go to the upstream of the site's own `to` as they are; we only look at the name that
    /// the ClientHello asks for.
    Passthrough,
}

/// TLS towards clients, of a site or a forward listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The line of it.
    pub place: Place,
    /// Where the certificates come from.
    pub certificates: CertificateSource,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
    /// The newest.
    pub version_max: TlsVersion,
    /// Whether clients show certificates.
    pub client: ClientCertificates,
    /// Whether safe requests are taken within the first flight of a resumed session (0-RTT).
    pub early_data: bool,
    /// Whether sessions may be resumed by tickets.
    pub tickets: bool,
    /// What `Strict-Transport-Security` says, if it is sent.
    pub hsts: Option<Hsts>,
}

/// Where the certificates of a site come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// These files; several for several kinds of keys. Never empty.
    Files(Vec<CertificateFiles>),
    /// An ACME directory, for these names (lower case; `*.example.com` for a wildcard).
    Auto {
        /// Which directory.
        acme: AcmeId,
        /// The names; never empty.
        names: Vec<Box<str>>,
    },
    /// Our own CA, for these names.
    Internal {
        /// The names; empty: whatever a client asks for among the site's names.
        names: Vec<Box<str>>,
    },
}

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// The line of it.
    pub place: Place,
    /// The chain, the leaf first.
    pub cert: PathBuf,
    /// The key; may be the same file.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Whether clients show certificates, and whose count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificates {
    /// Whether.
    pub policy: ClientPolicy,
    /// Files with the CAs that clients' certificates must come from; never empty unless `Off`.
    pub ca: Vec<PathBuf>,
    /// Files with lists of revoked certificates, PEM or DER.
    pub crl: Vec<PathBuf>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientPolicy {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and one that is shown must be good.
    Request,
    /// Without a good one there is no connection.
    Require,
}

/// Clients that a site or route takes, by their certificates. Every part that is there must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMatch {
    /// The line of it.
    pub place: Place,
    /// A subject alternative name (DNS, mail, URI or address) or the common name; `*.example.com`
    /// takes every name below.
    pub name: Option<Box<str>>,
    /// SHA-256 of the certificate, 64 hexadecimal digits in lower case.
    pub fingerprint: Option<Box<str>>,
    /// The whole subject as RFC 4514 writes it.
    pub subject: Option<Box<str>>,
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsts {
    /// `max-age`.
    pub max_age: Duration,
    /// `includeSubDomains`.
    pub subdomains: bool,
    /// `preload`.
    pub preload: bool,
}

/// An ACME directory (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The line of it.
    pub place: Place,
    /// Its name in the configuration; empty for the default one.
    pub name: Arc<str>,
    /// Its URL.
    pub directory: Box<str>,
    /// `mailto:` addresses of the account.
    pub contacts: Vec<Box<str>>,
    /// How control of a name is shown.
    pub challenge: AcmeChallenge,
    /// External account binding.
    pub eab: Option<AcmeEab>,
    /// The profile of certificates to ask for.
    pub profile: Option<Box<str>>,
    /// A file with the CA that the directory's own certificate comes from; else the system's.
    pub ca: Option<PathBuf>,
    /// What kind of keys certificates get.
    pub key: KeyKind,
}

/// How control of a name is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// HTTP-01, answered on every plain listener (RFC 8555, section 8.3).
    Http,
    /// TLS-ALPN-01, answered on every TLS listener (RFC 8737).
    TlsAlpn,
    /// DNS-01, by a command: `COMMAND set|clear _acme-challenge.NAME VALUE`.
    Dns {
        /// The program and its first arguments.
        command: Vec<Box<str>>,
        /// How long the record may take to be seen.
        wait: Duration,
    },
}

/// External account binding (RFC 8555, section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeEab {
    /// The key's name.
    pub key_id: Box<str>,
    /// A file with the key, base64url.
    pub key_file: PathBuf,
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyKind {
    /// ECDSA over P-256.
    #[default]
    EcP256,
    /// ECDSA over P-384.
    EcP384,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 4096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

/// TLS towards the endpoints of an upstream (those written with `https://`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// A file with the CAs that are believed; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The name asked for (SNI) and expected in the certificate; `None`: the endpoint's own.
    pub name: Option<Box<str>>,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// What we show.
    pub client: Option<CertificateFiles>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, name: None, verify: true, client: None }
    }
}

/// What an upstream is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpstreamProtocol {
    /// What ALPN picks over TLS, HTTP/1.1 in clear.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 in clear, by prior knowledge.
    H2c,
    /// SCGI.
    Scgi,
}
