//! Connections to endpoints that speak HTTP/2: few, each with many concurrent exchanges.
//!
//! A [`Http2Pool`] holds those of one endpoint on one core. [`Http2Pool::acquire`] gives a
//! [`StreamPermit`], for one stream, or the task to open a connection ([`Opening`]), which one exchange
//! does for all that wait. A connection that is closing, has expired or has idled too long gets no more
//! streams, and ends with its last one.
//! Not here: dialling, and an exchange over a stream (`upstream`).
//! Invariant: the permits never exceed the streams that the endpoint allows, as far as it has announced
//! them.

mod connection;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use h2::Reason;
use net::Wheel;
use observe::ErrorKind;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Connection;
use crate::trouble::Trouble;

pub(crate) use connection::{Http2Connection, StreamPermit};

/// Connections to one endpoint, per core. With [`connection::STREAMS_MAX`] streams each, a core
/// cannot use more.
const CONNECTIONS_MAX: usize = 64;
/// Exchanges that may wait for a stream of one endpoint, per core; beyond, they are refused.
const WAITING_MAX: u32 = 1024;

/// The protocol that an endpoint has chosen by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KnownProtocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

/// The HTTP/2 connections of one endpoint on one core.
#[derive(Default)]
pub(crate) struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    /// Whether one is being opened.
    opening: Cell<bool>,
    /// Whether new connections are closed after their first exchanges.
    closed: Cell<bool>,
    pub(crate) known_protocol: Cell<KnownProtocol>,
    waiting: Cell<u32>,
    /// Wakes waiting exchanges when there is a stream, a connection or a failure.
    changed: Rc<Notify>,
    /// How many attempts to open a connection have failed, and why the last did.
    failures: Cell<u64>,
    failure: RefCell<Option<Trouble>>,
}

/// What an exchange obtains.
pub(crate) enum Acquisition<'a> {
    /// A stream.
    Permit(StreamPermit),
    /// The task to open a connection.
    Open(Opening<'a>),
    /// The endpoint speaks HTTP/1.1 only.
    Http1,
    /// Nothing: the exchange that tried to open a connection has failed.
    Failed(Trouble),
}

/// What an exchange needs of a stream.
#[derive(Clone, Copy)]
pub(crate) struct StreamNeeds<'a> {
    /// Whether a connection leads to a current address of the endpoint; others get no more streams.
    pub(crate) is_current: &'a dyn Fn(&Http2Connection) -> bool,
    /// A connection to avoid, as it has refused the exchange.
    pub(crate) avoid: Option<&'a Rc<Http2Connection>>,
}

impl Http2Pool {
    /// A stream of an open connection, or the task to open one. Waits no longer than `limit`.
    pub(crate) async fn acquire(
        &self,
        wanted: StreamNeeds<'_>,
        limit: Duration,
    ) -> Acquisition<'_> {
        let until = Instant::now().checked_add(limit);
        let failures = self.failures.get();
        loop {
            if let Some(permit) = self.permit(wanted) {
                return Acquisition::Permit(permit);
            }
            if self.failures.get() != failures
                && let Some(trouble) = &*self.failure.borrow()
            {
                return Acquisition::Failed(trouble.clone());
            }
            if self.known_protocol.get() == KnownProtocol::Http1 {
                return Acquisition::Http1;
            }
            // A connection that has not announced its limit yet will do so soon: it may have room
            // for all.
            let settling = self.connections.borrow().iter().any(|c| !c.has_settled());
            let room = self.connections.borrow().len() < CONNECTIONS_MAX;
            if !self.opening.get() && !settling && room {
                self.opening.set(true);
                return Acquisition::Open(Opening { of: self });
            }
            if self.waiting.get() >= WAITING_MAX {
                return Acquisition::Failed(exhausted());
            }
            self.waiting.set(self.waiting.get() + 1);
            let waits = WaiterGuard(self);
            let changed = self.changed.notified();
            let in_time = match until {
                Some(until) => tokio::time::timeout_at(until, changed).await.is_ok(),
                None => {
                    changed.await;
                    true
                }
            };
            drop(waits);
            if !in_time {
                return Acquisition::Failed(exhausted());
            }
        }
    }

    /// Begins HTTP/2 over a fresh connection, and takes its first stream. `limit`: how long the
    /// endpoint may take to send its SETTINGS.
    pub(crate) async fn open(
        &self,
        connection: Connection,
        wheel: &Wheel,
        limit: Duration,
    ) -> Result<StreamPermit, Trouble> {
        let opened = connection::open(connection, wheel, &self.changed, limit).await;
        let opened = opened.map_err(|error| h2_failed(&error).0)?;
        if self.closed.get() {
            opened.leave_when_idle();
        }
        self.known_protocol.set(KnownProtocol::Http2);
        let permit = StreamPermit::new(&opened);
        self.connections.borrow_mut().push(opened);
        self.changed.notify_waiters();
        Ok(permit)
    }

    /// A stream of a connection that has room.
    pub(crate) fn permit(&self, wanted: StreamNeeds<'_>) -> Option<StreamPermit> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            if !(wanted.is_current)(connection) || connection.is_over() {
                connection.leave();
            }
            !connection.is_leaving()
        });
        let fits = |connection: &&Rc<Http2Connection>| {
            connection.has_room() && wanted.avoid.is_none_or(|avoid| !Rc::ptr_eq(avoid, connection))
        };
        connections.iter().find(fits).map(StreamPermit::new)
    }

    /// Removes those that have had no stream for longer than `idle`, have expired, or are closed.
    pub(crate) fn sweep(&self, now: Instant, idle: Duration) {
        self.connections.borrow_mut().retain(|connection| {
            if connection.has_idled(now, idle) || connection.is_over() {
                connection.leave();
            }
            !connection.is_leaving()
        });
    }

    /// Closes all, also those that are opened from now on; running exchanges end first.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.connections.borrow_mut().drain(..).for_each(|connection| connection.leave());
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().len()
    }
}

/// Counts a waiting exchange until it is dropped.
struct WaiterGuard<'a>(&'a Http2Pool);

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// The task to open a connection. If it is dropped, the next exchange may try.
pub(crate) struct Opening<'a> {
    of: &'a Http2Pool,
}

impl Opening<'_> {
    /// Reports a failure to all that wait.
    pub(crate) fn failed(self, trouble: &Trouble) {
        self.of.failures.set(self.of.failures.get() + 1);
        *self.of.failure.borrow_mut() = Some(trouble.clone());
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.of.opening.set(false);
        self.of.changed.notify_waiters();
    }
}

fn exhausted() -> Trouble {
    let detail = "every stream that the endpoint allows is taken";
    Trouble::new(ErrorKind::ConnectionLimitReached, detail)
}

/// What an error means, and whether it proves that the request was not processed.
pub(crate) fn h2_failed(error: &h2::Error) -> (Trouble, bool) {
    // RFC 9113, section 8.7: streams above the last that GOAWAY names, and refused ones.
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let unprocessed = error.is_remote() && (error.is_go_away() || (error.is_reset() && refused));
    let (kind, what) = if error.is_library() {
        (ErrorKind::HttpProtocolError, "the endpoint broke the rules of HTTP/2")
    } else if error.is_go_away() {
        (ErrorKind::ConnectionTerminated, "the endpoint closed the connection before the request")
    } else if error.is_reset() {
        (ErrorKind::ConnectionTerminated, "the endpoint reset the stream")
    } else {
        (ErrorKind::ConnectionTerminated, "the connection to the endpoint broke")
    };
    (Trouble::new(kind, format!("{what}: {error}")), unprocessed)
}
