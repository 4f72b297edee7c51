//! Opens a connection to one of several addresses (Happy Eyeballs, RFC 8305); each of them is judged first.
//!
//! Invariant: the address that was judged is the one that is connected to; no name is looked up here.

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
use crate::system::{is_our_lack, is_shortage};

/// RFC 8305, section 5: how long after an attempt the next one starts in parallel.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried of one name at most.
const ATTEMPTS_MAX: usize = 16;
/// Attempts at once: a name whose addresses all are silent must not cost a socket for each of them. The oldest, which
/// has had 1.5 s by then, goes.
const ATTEMPTS_AT_ONCE: usize = 6;

/// Why an address may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressRefusal {
    /// It is not a public address.
    #[error("{} addresses are not allowed", .0.name())]
    Kind(AddressKind),
    /// Another reason.
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
        /// Why it was refused.
        reason: AddressRefusal,
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

/// How a connection to one address is opened: over TCP, or as a test defines it.
pub trait Connect {
    /// The type of an open connection.
    type Connection;

    /// Opens a connection to exactly `address`.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Connection>>;
}

/// Opens TCP connections.
#[derive(Clone, Copy, Debug)]
pub struct TcpConnector {
    /// File numbers from this one on are reserved for other uses: opening one of them fails as if none were left.
    pub files_max: u64,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self { files_max: u64::MAX }
    }
}

impl Connect for TcpConnector {
    type Connection = Stream;

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Stream>> {
        Stream::connect_with(address, self.files_max)
    }
}

/// Connects to one of `addresses` within `limit`: the families in turn, a new attempt every 250 ms or as soon as
/// one fails; the first to succeed wins and the others are dropped. `judge` is asked about each address right
/// before the attempt. Answers the connection and the address that it goes to.
pub async fn dial(
    addresses: &[SocketAddr],
    judge: impl Fn(SocketAddr) -> Result<(), AddressRefusal>,
    limit: Duration,
) -> Result<(Stream, SocketAddr), DialError> {
    dial_with(&TcpConnector::default(), addresses, judge, limit).await
}

/// [`dial`], with connections opened by `connector`.
pub async fn dial_with<C: Connect>(
    connector: &C,
    addresses: &[SocketAddr],
    judge: impl Fn(SocketAddr) -> Result<(), AddressRefusal>,
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

/// RFC 8305, section 4: the families in turn, beginning with that of the first address; within a family the order
/// stays.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut preferred = addresses.iter().copied().filter(|address| address.is_ipv6() == v6_first);
    let mut others = addresses.iter().copied().filter(|address| address.is_ipv6() != v6_first);
    let mut ordered = Vec::with_capacity(addresses.len().min(ATTEMPTS_MAX));
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] || ordered.len() >= ATTEMPTS_MAX {
            ordered.truncate(ATTEMPTS_MAX);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// The outcome of the attempts so far.
struct Race<J> {
    judge: J,
    limit: Duration,
    first_tried: Option<SocketAddr>,
    first_refused: Option<(SocketAddr, AddressRefusal)>,
    last_failed: Option<(SocketAddr, io::Error)>,
}

impl<J: Fn(SocketAddr) -> Result<(), AddressRefusal>> Race<J> {
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

    /// What we lack as a whole is the reason, whatever else there was; that a family of addresses is of no use here is
    /// none while there is another.
    fn record_failure(&mut self, address: SocketAddr, error: io::Error) {
        let weight = |error: &io::Error| match (is_shortage(error), is_our_lack(error)) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        };
        let before = self.last_failed.as_ref().map_or(0, |(_, before)| weight(before));
        if weight(&error) >= before {
            self.last_failed = Some((address, error));
        }
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
    judge: impl Fn(SocketAddr) -> Result<(), AddressRefusal>,
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
                    if attempts.len() >= ATTEMPTS_AT_ONCE {
                        drop(attempts.remove(0));
                    }
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
                race.record_failure(address, error);
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
            attempts.remove(index);
            return Poll::Ready(match outcome {
                Ok(connection) => Event::Connected(connection, address),
                Err(error) => Event::Failed(address, error),
            });
        }
    }
    timer.poll(cx).map(|()| Event::Time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What happens to each address, after how many milliseconds; an address that is not listed never answers.
    struct Script {
        outcomes: Vec<(&'static str, u64, Result<(), io::ErrorKind>)>,
        begun_at: Instant,
        attempts: RefCell<Vec<(String, u64)>>,
    }

    impl Connect for Script {
        type Connection = ();

        async fn connect(&self, address: SocketAddr) -> io::Result<()> {
            let millis = self.begun_at.elapsed().as_millis() as u64;
            self.attempts.borrow_mut().push((address.to_string(), millis));
            let found = self.outcomes.iter().find(|(known, ..)| *known == address.to_string());
            let Some((_, after, outcome)) = found else { return std::future::pending().await };
            tokio::time::sleep(Duration::from_millis(*after)).await;
            outcome.map_err(io::Error::from)
        }
    }

    struct DialReport {
        outcome: Result<String, DialError>,
        attempts: Vec<(String, u64)>,
        millis: u64,
    }

    fn play(
        addresses: &[&str],
        outcomes: &[(&'static str, u64, Result<(), io::ErrorKind>)],
    ) -> DialReport {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (begun_at, attempts) = (Instant::now(), RefCell::default());
            let script = Script { outcomes: outcomes.to_vec(), begun_at, attempts };
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|text| text.parse().unwrap()).collect();
            let judge = |address: SocketAddr| match AddressKind::of(address.ip()) {
                AddressKind::Private => Err(AddressRefusal::Kind(AddressKind::Private)),
                _ => Ok(()),
            };
            let outcome = dial_with(&script, &addresses, judge, Duration::from_secs(3)).await;
            let outcome = outcome.map(|((), address)| address.to_string());
            DialReport {
                outcome,
                attempts: script.attempts.take(),
                millis: begun_at.elapsed().as_millis() as u64,
            }
        })
    }

    fn at(address: &str, millis: u64) -> (String, u64) {
        (address.to_owned(), millis)
    }

    const REFUSED: Result<(), io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);

    #[test]
    fn families_take_turns_250_ms_apart() {
        let addresses = ["[2600::1]:1", "[2600::2]:1", "1.0.0.1:1", "1.0.0.2:1"];
        let told = play(&addresses, &[("1.0.0.2:1", 10, Ok(()))]);
        assert_eq!(told.outcome.unwrap(), "1.0.0.2:1");
        let expected = [
            at("[2600::1]:1", 0),
            at("1.0.0.1:1", 250),
            at("[2600::2]:1", 500),
            at("1.0.0.2:1", 750),
        ];
        assert_eq!(told.attempts, expected);
        assert_eq!(told.millis, 760);
    }

    #[test]
    fn a_slow_first_attempt_may_still_win() {
        let told = play(&["1.0.0.1:1", "[2600::1]:1"], &[("1.0.0.1:1", 300, Ok(()))]);
        assert_eq!(told.outcome.unwrap(), "1.0.0.1:1");
        assert_eq!(told.attempts, [at("1.0.0.1:1", 0), at("[2600::1]:1", 250)]);
    }

    #[test]
    fn a_failure_begins_the_next_at_once() {
        let told = play(
            &["[2600::1]:1", "1.0.0.1:1"],
            &[("[2600::1]:1", 5, REFUSED), ("1.0.0.1:1", 5, Ok(()))],
        );
        assert_eq!(told.outcome.unwrap(), "1.0.0.1:1");
        assert_eq!(told.attempts, [at("[2600::1]:1", 0), at("1.0.0.1:1", 5)]);
    }

    #[test]
    fn each_address_is_judged_right_before() {
        let told = play(
            &["10.0.0.1:1", "[2600::1]:1", "10.0.0.2:1", "1.0.0.1:1"],
            &[("1.0.0.1:1", 5, Ok(()))],
        );
        assert_eq!(told.outcome.unwrap(), "1.0.0.1:1");
        assert_eq!(told.attempts, [at("[2600::1]:1", 0), at("1.0.0.1:1", 250)]);
    }

    #[test]
    fn failures_say_which() {
        let told = play(&[], &[]);
        assert!(matches!(told.outcome, Err(DialError::NoAddress)));
        for addresses in [&["10.0.0.1:1"][..], &["10.0.0.1:1", "10.0.0.2:1"]] {
            let told = play(addresses, &[]);
            let Err(DialError::AllRefused { address, reason }) = told.outcome else {
                panic!("{:?}", told.outcome)
            };
            assert_eq!(
                (address.to_string().as_str(), reason),
                ("10.0.0.1:1", AddressRefusal::Kind(AddressKind::Private))
            );
            assert!(told.attempts.is_empty());
        }
        for addresses in
            [&["1.0.0.1:1"][..], &["10.0.0.1:1", "1.0.0.1:1"], &["1.0.0.1:1", "1.0.0.2:1"]]
        {
            let told = play(addresses, &[("1.0.0.1:1", 0, REFUSED), ("1.0.0.2:1", 0, REFUSED)]);
            assert!(matches!(told.outcome, Err(DialError::Failed { .. })), "{:?}", told.outcome);
            let told = play(addresses, &[("1.0.0.2:1", 100, REFUSED)]);
            let Err(DialError::Timeout { address, .. }) = told.outcome else {
                panic!("{:?}", told.outcome)
            };
            assert_eq!((address.to_string().as_str(), told.millis), ("1.0.0.1:1", 3000));
        }
    }

    #[test]
    fn attempts_are_bounded() {
        let many: Vec<String> = (1..=40).map(|number| format!("1.0.0.{number}:1")).collect();
        let addresses: Vec<SocketAddr> = many.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(interleave(&addresses).len(), ATTEMPTS_MAX);
    }
}
