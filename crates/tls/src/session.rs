//! The TLS of one connection, without I/O.

use std::sync::Arc;

use message::ClientCertificate;

use crate::error::TlsError;

/// The TLS of one connection, on either side.
#[derive(Debug)]
pub struct Session {}

/// What [`Session::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes; never 0.
    Bytes(usize),
    /// Nothing is left until more was received.
    More,
    /// Nothing is left, and the peer said that nothing follows (close_notify).
    Closed,
}

/// What was agreed on.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's name as the registry has it.
    pub cipher: &'static str,
    /// The protocol within.
    pub alpn: Option<Alpn>,
    /// The name asked for, lower case.
    pub name: Option<Box<str>>,
    /// Whether an earlier session went on.
    pub resumed: bool,
    /// Whether data came within the first flight: what was read so far may be a replay.
    pub early_data: bool,
    /// What the client has shown.
    pub client: Option<Arc<ClientCertificate>>,
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

impl Session {
    /// Where received bytes go.
    pub fn room(&mut self) -> &mut [u8] {
        &mut []
    }

    /// Processes `count` bytes that were put into [`Session::room`]. What is to be sent because of
    /// them is in [`Session::outgoing`], after an error too: the alert.
    pub fn received(&mut self, _count: usize) -> Result<(), TlsError> {
        Ok(())
    }

    /// Hands out decrypted bytes.
    pub fn read(&mut self, _out: &mut [u8]) -> Read {
        Read::More
    }

    /// Whether [`Session::read`] has bytes.
    pub fn has_plaintext(&self) -> bool {
        false
    }

    /// Encrypts as much of `plain` as there is room for in [`Session::outgoing`], and tells how
    /// much: all up to 64 KiB if nothing waits to be sent, 0 while the handshake goes on.
    pub fn write(&mut self, _plain: &[u8]) -> Result<usize, TlsError> {
        Ok(0)
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &[]
    }

    /// So much of it was.
    pub fn sent(&mut self, _count: usize) {}

    /// Queues close_notify; nothing can be written any more.
    pub fn close(&mut self) {}

    /// Whether the handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        true
    }

    /// Whether what was read so far came before the handshake was confirmed.
    pub fn is_early(&self) -> bool {
        false
    }

    /// What was agreed on, after the handshake.
    pub fn info(&self) -> Info {
        Info {
            version: "",
            cipher: "",
            alpn: None,
            name: None,
            resumed: false,
            early_data: false,
            client: None,
        }
    }
}
