//! Opening a connection to one of several addresses (Happy Eyeballs, RFC 8305), each of them judged first.
//!
//! Invariant: what was judged is what is connected to; no name is looked up here.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::address::AddressKind;
use crate::stream::Stream;

/// RFC 8305, section 5: how long an attempt has before the next one is begun beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried of one name at most.
const ATTEMPTS_MAX: usize = 16;

/// Why an address may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// It is no public address.
    #[error("{} addresses are not allowed", .0.name())]
    Kind(AddressKind),
    /// Another reason of the judge's.
    #[error("{0}")]
    Because(Cow<'static, str>),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// There was no address to try.
    #[error("there is no address to connect to")]
    NoAddress,
    /// Every address was refused by the judge; here is the first.
    #[error("{address} is refused: {reason}")]
    AllRefused {
        /// The first address.
        address: SocketAddr,
        /// What was said of it.
        reason: Refused,
    },
    /// Nothing answered in time.
    #[error("no connection to {address} within {limit:?}")]
    Timeout {
        /// The address that was tried first.
        address: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// Every address that was not refused failed; here is the last to fail.
    #[error("cannot connect to {address}")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

/// How a connection to one address is opened: by TCP, or as a test has it.
pub trait Connect {
    /// What an open connection is.
    type Connection;

    /// Opens a connection to exactly `address`.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Connection>>;
}

/// Opens TCP connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connect for TcpConnector {
    type Connection = Stream;

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Stream>> {
        Stream::connect(address)
    }
}

/// Connects to one of `addresses` within `limit`: IPv6 and IPv4 in turn, a new attempt every 250 ms or as soon as
/// one fails; the first to succeed wins and the others are dropped. `judge` is asked about each address right
/// before the attempt. Answers the connection and the address that it goes to.
pub async fn dial(
    addresses: &[SocketAddr],
    judge: impl Fn(SocketAddr) -> Result<(), Refused>,
    limit: Duration,
) -> Result<(Stream, SocketAddr), DialError> {
    dial_with(&TcpConnector, addresses, judge, limit).await
}

/// [`dial`], with connections opened by `connector`.
pub async fn dial_with<C: Connect>(
    connector: &C,
    addresses: &[SocketAddr],
    judge: impl Fn(SocketAddr) -> Result<(), Refused>,
    limit: Duration,
) -> Result<(C::Connection, SocketAddr), DialError> {
    match *addresses {
        [] => Err(DialError::NoAddress),
        [address] => {
            judge(address).map_err(|reason| DialError::AllRefused { address, reason })?;
            match tokio::time::timeout(limit, connector.connect(address)).await {
                Ok(Ok(connection)) => Ok((connection, address)),
                Ok(Err(source)) => Err(DialError::Failed { address, source }),
                Err(_) => Err(DialError::Timeout { address, limit }),
            }
        }
        _ => race(connector, interleave(addresses), judge, limit).await,
    }
}

/// RFC 8305, section 4: the families in turn, IPv6 first; within a family the order stays.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut v6 = addresses.iter().copied().filter(SocketAddr::is_ipv6);
    let mut v4 = addresses.iter().copied().filter(SocketAddr::is_ipv4);
    let mut ordered = Vec::with_capacity(addresses.len().min(ATTEMPTS_MAX));
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] || ordered.len() >= ATTEMPTS_MAX {
            ordered.truncate(ATTEMPTS_MAX);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// What the attempts have come to so far.
struct Race<J> {
    judge: J,
    limit: Duration,
    first_tried: Option<SocketAddr>,
    first_refused: Option<(SocketAddr, Refused)>,
    last_failed: Option<(SocketAddr, io::Error)>,
}

impl<J: Fn(SocketAddr) -> Result<(), Refused>> Race<J> {
    /// The next address that the judge lets pass.
    fn next(&mut self, waiting: &mut impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
        for address in waiting {
            match (self.judge)(address) {
                Ok(()) => {
                    self.first_tried.get_or_insert(address);
                    return Some(address);
                }
                Err(reason) => {
                    self.first_refused.get_or_insert((address, reason));
                }
            }
        }
        None
    }

    fn timed_out(self) -> DialError {
        match self.first_tried {
            Some(address) => DialError::Timeout { address, limit: self.limit },
            None => DialError::NoAddress,
        }
    }

    fn lost(self) -> DialError {
        match (self.last_failed, self.first_refused) {
            (Some((address, source)), _) => DialError::Failed { address, source },
            (None, Some((address, reason))) => DialError::AllRefused { address, reason },
            (None, None) => DialError::NoAddress,
        }
    }
}

async fn race<C: Connect>(
    connector: &C,
    addresses: Vec<SocketAddr>,
    judge: impl Fn(SocketAddr) -> Result<(), Refused>,
    limit: Duration,
) -> Result<(C::Connection, SocketAddr), DialError> {
    let mut race = Race { judge, limit, first_tried: None, first_refused: None, last_failed: None };
    let mut waiting = addresses.into_iter();
    let mut attempts = Vec::new();
    let ends_at = Instant::now() + limit;
    let mut timer = pin!(sleep_until(ends_at));
    let mut may_begin = true;
    loop {
        if may_begin {
            match race.next(&mut waiting) {
                Some(address) => {
                    attempts.push((address, Box::pin(connector.connect(address))));
                    timer.as_mut().reset(ends_at.min(Instant::now() + ATTEMPT_DELAY));
                }
                None if attempts.is_empty() => return Err(race.lost()),
                None => timer.as_mut().reset(ends_at),
            }
        }
        may_begin = match poll_fn(|cx| poll_attempts(cx, &mut attempts, timer.as_mut())).await {
            Event::Connected(connection, address) => return Ok((connection, address)),
            Event::Failed(address, error) => {
                race.last_failed = Some((address, error));
                true
            }
            Event::Time if Instant::now() >= ends_at => return Err(race.timed_out()),
            Event::Time => true,
        };
    }
}

enum Event<T> {
    Connected(T, SocketAddr),
    Failed(SocketAddr, io::Error),
    Time,
}

/// The first thing that happens: to one of the attempts (which is then taken out), or to the timer.
fn poll_attempts<T, F: Future<Output = io::Result<T>>>(
    cx: &mut Context<'_>,
    attempts: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
    timer: Pin<&mut Sleep>,
) -> Poll<Event<T>> {
    for index in 0..attempts.len() {
        let Some((address, attempt)) = attempts.get_mut(index) else { break };
        let address = *address;
        if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
            attempts.swap_remove(index);
            return Poll::Ready(match outcome {
                Ok(connection) => Event::Connected(connection, address),
                Err(error) => Event::Failed(address, error),
            });
        }
    }
    timer.poll(cx).map(|()| Event::Time)
}
