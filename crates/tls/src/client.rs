//! TLS towards upstreams.

use std::sync::Arc;

use config::{Place, UpstreamProtocol, UpstreamTls};

use crate::error::{Problem, TlsError, TlsErrorKind};
use crate::session::Session;

/// The context of one upstream: whom it believes, what it shows, which sessions it may resume.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Reads the files that the settings name, or the system's roots.
    pub fn new(
        _settings: &UpstreamTls,
        _place: Place,
        _protocol: UpstreamProtocol,
    ) -> Result<Arc<Self>, Problem> {
        Ok(Arc::new(Self {}))
    }

    /// A session with the endpoint of this name or address, unless the settings name another; its
    /// ClientHello is in `outgoing()`.
    pub fn session(self: &Arc<Self>, _name: &str) -> Result<Session, TlsError> {
        Err(TlsError::new(TlsErrorKind::Local, "not there yet"))
    }
}
