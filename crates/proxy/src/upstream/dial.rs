//! Dialling, and how its failures are described.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use net::{AddressRefusal, DialError, TcpConnector};
use observe::ErrorKind;

use crate::core::Core;
use crate::pool::Connection;
use crate::trouble::Trouble;

/// Opens a connection whose file descriptor is below `files_max`. If files run short, idle connections are
/// closed first, unless only this client is out of files.
pub(crate) async fn dial(
    core: &Core,
    addresses: &[SocketAddr],
    judge: &dyn Fn(SocketAddr) -> Result<(), AddressRefusal>,
    (limit, files_max): (Duration, u64),
    name: &str,
) -> Result<Connection, Trouble> {
    let connector = TcpConnector { files_max };
    let mut dialled = net::dial_with(&connector, addresses, judge, limit).await;
    if let Err(DialError::Failed { source, .. }) = &dialled
        && net::is_shortage(source)
    {
        if files_max < core.shared.files.kept() {
            let detail = "few files are left, and this client has many connections already";
            return Err(Trouble::new(ErrorKind::ClientLimitReached, detail));
        }
        if core.close_idle() > 0 {
            dialled = net::dial_with(&connector, addresses, judge, limit).await;
        }
    }
    match dialled {
        Ok((stream, address)) => Ok(Connection::fresh(stream, Some(address))),
        Err(DialError::Timeout { .. }) => Err(connect_late(name, limit)),
        Err(DialError::Failed { source, .. }) => Err(connect_failed(name, &source)),
        Err(error @ DialError::AllRefused { .. }) => {
            Err(Trouble::new(ErrorKind::DestinationIpProhibited, error.to_string()))
        }
        Err(error @ DialError::NoAddress) => {
            Err(Trouble::new(ErrorKind::DnsError, error.to_string()))
        }
    }
}

pub(crate) fn connect_late(name: &str, limit: Duration) -> Trouble {
    let detail = format!("no connection to {name} within {limit:?}");
    Trouble::new(ErrorKind::ConnectionTimeout, detail)
}

pub(crate) fn connect_failed(name: &str, error: &std::io::Error) -> Trouble {
    use std::io::ErrorKind as Io;
    if net::is_our_lack(error) {
        let detail = format!("no connection to {name} can be opened here: {error}");
        observe::log_limited!(WARN, per_second = 1, error = "local_resources", "{detail}");
        return Trouble::new(ErrorKind::LocalResources, detail);
    }
    let kind = match error.kind() {
        Io::ConnectionRefused | Io::NotFound | Io::PermissionDenied => ErrorKind::ConnectionRefused,
        Io::HostUnreachable | Io::NetworkUnreachable => ErrorKind::DestinationIpUnroutable,
        Io::TimedOut => ErrorKind::ConnectionTimeout,
        _ => ErrorKind::ConnectionTerminated,
    };
    Trouble::new(kind, Cow::Owned(format!("cannot connect to {name}: {error}")))
}

/// Whether a limit or a shortage of our own prevents a connection; that says nothing about the endpoint.
pub(crate) fn is_our_limit(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::CircuitOpen
            | ErrorKind::ConnectionLimitReached
            | ErrorKind::ClientLimitReached
            | ErrorKind::LocalResources
    )
}

/// Logs trouble with an endpoint or with a host that a client named.
pub(crate) fn log_upstream_trouble(endpoint: &str, trouble: &Trouble) {
    observe::log_limited!(WARN, endpoint, error = trouble.kind.name(), "{}", trouble.detail);
}
