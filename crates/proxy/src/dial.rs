//! Dialling, with words for what goes wrong.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use net::{DialError, Refused};

use crate::exchange::Trouble;
use crate::observe::ErrorKind;
use crate::upstream::Connection;

pub(crate) async fn dial(
    addresses: &[SocketAddr],
    judge: &dyn Fn(SocketAddr) -> Result<(), Refused>,
    limit: Duration,
    name: &str,
) -> Result<Connection, Trouble> {
    match net::dial(addresses, judge, limit).await {
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
    let kind = match error.kind() {
        Io::ConnectionRefused | Io::NotFound | Io::PermissionDenied => ErrorKind::ConnectionRefused,
        Io::HostUnreachable | Io::NetworkUnreachable => ErrorKind::DestinationIpUnroutable,
        Io::TimedOut => ErrorKind::ConnectionTimeout,
        _ => ErrorKind::ConnectionTerminated,
    };
    Trouble::new(kind, Cow::Owned(format!("cannot connect to {name}: {error}")))
}
