//! TLS of Bothways: sessions without I/O, automatic upkeep of certificates, ACME and the internal CA.
//!
//! The only crate that names rustls. A [`Session`] is one connection's TLS: bytes in, bytes out, no
//! socket and no task. It comes from a [`Server`] (a site's or forward listener's context) or a
//! [`Client`] (an upstream's), which are shared by all cores and hold the common state of handshakes. The
//! certificates of a server are in its [`Slot`], which changes without affecting connections.
//!
//! Not here: sockets (`net`), choosing a site by the name asked for (`proxy`).

mod acme;
mod chain;
mod challenges;
mod check;
mod client;
mod contents;
mod csr;
mod error;
mod files;
#[cfg(test)]
mod fixtures;
mod handshake;
mod hello;
mod identity;
mod inspect;
mod internal;
mod keeper;
mod key;
mod open;
mod pem;
mod pool;
mod probe;
mod record;
mod server;
mod session;
mod slot;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod tickets;
mod trust;
mod watch;
mod words;

pub use acme::certificate_file as acme_certificate_file;
pub use chain::{read_certificates, read_key, read_pair};
pub use challenges::Challenges;
pub use check::{check, check_server};
pub use client::Client;
pub use contents::{CertificateRequest, Contents};
pub use csr::{RequestError, request};
pub use error::{Problem, Severity, TlsError, TlsErrorKind};
pub use hello::{ClientHello, HELLO_BYTES_MAX, HelloError};
pub use inspect::{Certificate, Finding, day, judge, judge_shown, relative};
pub use internal::{CaError, InternalCa};
pub use keeper::{CertificateState, Contexts, Keeper};
pub use key::{KeyError, KeyFacts, PrivateKey};
pub use pem::PemError;
pub use probe::{ProbeError, ProbeReport, Roots, probe};
pub use server::Server;
pub use session::{Alpn, Info, ReadResult, Session};
pub use slot::{Chain, ChainError, Slot};
pub use state::{Lock, StateDir, StateError};
pub use tickets::Tickets;
