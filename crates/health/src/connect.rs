//! A connection for one check, opened as a request would open it, with TLS if the endpoint has it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use config::{Check, EndpointAddress, UpstreamProtocol};
use net::{DialError, Socket, SocketConnector, dial_with};
use tls::Alpn;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::CheckError;
use super::target::Target;
use super::tls_stream::handshake;

/// Beyond any time-out of a check, which ends before it.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a check has come, for the message when it takes too long.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

impl Stage {
    const LOOKING_UP: u8 = 1;
    const SECURING: u8 = 2;
    const ASKING: u8 = 3;

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    /// Says what did not happen within `limit`.
    pub(super) fn timeout_message(&self, limit: Duration) -> String {
        let what = match self.0.load(Ordering::Relaxed) {
            Self::LOOKING_UP => "its name was not looked up",
            Self::SECURING => "no TLS connection",
            Self::ASKING => "no answer",
            _ => "no connection",
        };
        format!("{what} within {limit:?}")
    }
}

/// A stream of bytes, with or without TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A connection that is ready for a request.
pub(super) struct Connection {
    pub(super) wire: Box<dyn Wire>,
    /// Whether its protocol is HTTP/2.
    pub(super) is_http2: bool,
    /// `TLSv1.3`; empty without TLS.
    pub(super) tls: &'static str,
}

/// Opens a connection. The caller bounds how long it takes.
pub(super) async fn open(target: &Target, stage: &Stage) -> Result<Connection, CheckError> {
    let wants_http2 = match (&target.health.check, target.protocol) {
        (_, UpstreamProtocol::H2 | UpstreamProtocol::H2c) => true,
        // gRPC has no other transport.
        (Check::Grpc(_), _) => true,
        (_, UpstreamProtocol::Auto | UpstreamProtocol::Http1 | UpstreamProtocol::Scgi) => false,
    };
    let socket = dial(target, stage).await?;
    let Some(context) = &target.tls else {
        stage.set(Stage::ASKING);
        return Ok(Connection { wire: Box::new(socket), is_http2: wants_http2, tls: "" });
    };
    stage.set(Stage::SECURING);
    // Nothing is read over the connection, so no ticket would replace the one that a resumption uses up.
    let session = match target.health.check {
        Check::Tcp => context.full_session(&target.host),
        Check::Http(_) | Check::Grpc(_) => context.session(&target.host),
    };
    let session = session.map_err(|error| CheckError::of_tls(&error))?;
    let secured = handshake(socket, session).await;
    let secured = secured.map_err(|error| {
        CheckError::of_http(&error, "it closed the connection in the TLS handshake")
    })?;
    let info = secured.info();
    let is_http2 = info.alpn == Some(Alpn::H2) || target.protocol == UpstreamProtocol::H2c;
    if wants_http2 && !is_http2 && target.health.check != Check::Tcp {
        return Err(CheckError::of_endpoint("it does not speak HTTP/2"));
    }
    stage.set(Stage::ASKING);
    Ok(Connection { wire: Box::new(secured), is_http2, tls: info.version })
}

async fn dial(target: &Target, stage: &Stage) -> Result<Socket, CheckError> {
    // A name may lead to several addresses.
    let mut tells_address = target.health.port.is_some();
    let addresses = match &target.address {
        EndpointAddress::Unix(path) => {
            return Socket::connect_unix(path).await.map_err(|error| CheckError::of_io(&error));
        }
        EndpointAddress::Ip(address) => vec![*address],
        EndpointAddress::Name { port, .. } => {
            let watched = target.watched.as_ref().map(Arc::clone);
            let watched =
                watched.ok_or_else(|| CheckError::of_dial(DialError::NoAddress, false))?;
            stage.set(Stage::LOOKING_UP);
            watched.ready().await;
            stage.set(0);
            tells_address = true;
            watched.addresses().iter().map(|&ip| SocketAddr::new(ip, *port)).collect()
        }
    };
    let dialled = dial_with(&SocketConnector, &addresses, |_| Ok(()), LONG).await;
    dialled.map(|(socket, _)| socket).map_err(|error| CheckError::of_dial(error, tells_address))
}
