//! TLS towards clients: the context of one site or forward listener.

use std::sync::Arc;

use config::ServerTls;

use crate::challenges::Challenges;
use crate::error::{Problem, TlsError, TlsErrorKind};
use crate::hello::ClientHello;
use crate::session::Session;
use crate::slot::Slot;
use crate::tickets::Tickets;

/// The context of one site or forward listener; shared by all cores.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Reads the files of client CAs and CRLs.
    pub fn new(
        _settings: &ServerTls,
        _http2: bool,
        _slot: Arc<Slot>,
        _tickets: Arc<Tickets>,
        _challenges: Arc<Challenges>,
    ) -> Result<Arc<Self>, Problem> {
        Ok(Arc::new(Self {}))
    }

    /// A session for a client that sent `hello`; `received` is what it was parsed from and what
    /// came after it.
    pub fn session(
        self: &Arc<Self>,
        _hello: &ClientHello,
        _received: &[u8],
    ) -> Result<Session, TlsError> {
        Err(TlsError::new(TlsErrorKind::Local, "not there yet"))
    }
}
