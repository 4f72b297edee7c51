//! What the end of a try means: for the request, for the client's connection, for the upstream's.
//!
//! [`Attempt::settle`] is the one place that decides whether a request can be sent again. It can if
//! its body is still here whole, and either nothing of it can have been handled (no byte was sent, or
//! the endpoint says so) or its method is idempotent and no byte of a response has come. How often
//! is a matter of the settings (`retry`), where to one of the `destination`.
//! Invariant: a response that has begun and cannot be completed ends as [`Ending::Broken`].

use std::fmt::Display;
use std::time::{Duration, Instant};

use balance::Outcome;
use message::{Known, Request, Response, Version};
use observe::{ErrorKind, Record, RetryReason};

use super::hedge::Second;
use super::{Attempt, Attempted, Download, DownloadError, Raced, Went};
use crate::body::{ReadError, Source, WriteError};
use crate::destination::{Destination, Turn};
use crate::downstream::{Downstream, Reply};
use crate::ending::{Ending, gone};
use crate::login;
use crate::retry::Failed;
use crate::trouble::Trouble;
use crate::tunnel::Switched;
use crate::upstream::{Left, Link};
use crate::work::Work;

impl Attempt<'_> {
    /// Decides what the end of a try means for the request and for both connections.
    pub(crate) fn settle<D: Downstream>(
        &self,
        went: Went,
        link: Link,
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Attempted {
        let Went { raced, whole, left, heard, tried } = went;
        destination.tried(tried);
        let (raced, left, link) = match raced {
            Raced::Second(second, failed) => {
                if let Some(failed) = failed {
                    let seen = Seen {
                        reused: link.reused(),
                        status: work.response.status,
                        first_byte: work.record.first_byte,
                        ..Seen::default()
                    };
                    let raced = Raced::Download(Err(failed));
                    report(&raced, &left, seen, |outcome, words| {
                        destination.report(outcome, words, Instant::now());
                    });
                }
                drop(link);
                self.overtaken(*second, work, destination)
            }
            raced => (raced, left, link),
        };
        let Work { request, response, record, replay, .. } = work;
        let begun = down.split().1.has_begun();
        if begun {
            // Whatever happens from here on, this is what the client was told.
            record.status = response.status;
        }
        let seen = Seen {
            reused: link.reused(),
            begun,
            by_client: self.deadline.is_some_and(|deadline| deadline.by_client),
            status: response.status,
            first_byte: record.first_byte,
        };
        report(&raced, &left, seen, |outcome, words| {
            // What came last is late enough, and has a time already.
            destination.report(outcome, words, heard.unwrap_or_else(Instant::now));
        });
        match raced {
            Raced::Download(Ok(Download::Switched)) => {
                if whole && !request.body.is_empty() {
                    down.skip_buffered_body(); // what is behind it belongs to the tunnel
                }
                record.tunnel = true;
                let idle = self.plan.settings.timeouts.tunnel_idle;
                match link.into_tunnel() {
                    Some(far) => {
                        let lease = destination.take_lease();
                        let switched = Switched { far, lease, idle };
                        Attempted::Ended(Ending::Tunnel(Box::new(switched)))
                    }
                    None => Attempted::Ended(gone(record)), // it ended as it began
                }
            }
            Raced::Download(Ok(Download::Complete)) => {
                if whole && !request.body.is_empty() {
                    down.skip_buffered_body();
                }
                let request_read = down.split().0.is_done();
                if whole || request_read {
                    self.keep(link, &left, request, response, destination);
                }
                Attempted::Ended(if request_read { Ending::Kept } else { Ending::Closed })
            }
            Raced::Download(Err(DownloadError::Unwanted)) => {
                if whole || request.body.is_empty() {
                    self.keep(link, &left, request, response, destination);
                }
                let status = response.status;
                let detail = format!("the endpoint answered {status}, and no other can be tried");
                let trouble = Trouble::new(ErrorKind::DestinationUnavailable, detail);
                let failed = Failed { reason: RetryReason::Status, status, trouble };
                Attempted::Again(Turn::Other(failed))
            }
            Raced::Download(Err(DownloadError::NoResponse { trouble, silent })) => {
                let body_is_here = whole || replay.is_whole();
                self.again(request, body_is_here, silent, trouble, (link, left), destination)
            }
            Raced::Download(Err(DownloadError::Incomplete(trouble, reason))) => {
                destination.complain(&trouble);
                if let Some(reason) = reason {
                    down.split().1.break_off(reason);
                }
                unless_begun(record, down, trouble)
            }
            Raced::Download(Err(DownloadError::Client(error))) => {
                let kind = match error {
                    WriteError::Broken(_) => ErrorKind::ClientGone,
                    WriteError::Idle | WriteError::TooSlow => ErrorKind::ClientTooSlow,
                };
                record.fail(kind, format_args!("the response could not be sent: {error}"));
                Attempted::Ended(Ending::Broken)
            }
            Raced::Vanished | Raced::Second(..) => Attempted::Ended(gone(record)),
            Raced::Client(error) => client_failed(record, down, error),
            Raced::OutOfTime(trouble) => unless_begun(record, down, trouble),
        }
    }

    /// Goes over to a second try, which was answered first.
    fn overtaken(
        &self,
        second: Second,
        work: &mut Work,
        destination: &mut Destination<'_>,
    ) -> (Raced, Left, Link) {
        let Work { response, record, .. } = work;
        record.add_lost_try(self.retries.slow(record.endpoint));
        *response = second.response;
        record.dialled = second.dialled;
        record.reused = second.reused;
        record.connect = second.connect;
        record.first_byte = second.first_byte;
        destination.replace_lease(second.lease, record);
        (Raced::Download(second.downloaded), second.left, second.link)
    }

    /// Keeps a connection whose response is complete, if it can be used again.
    fn keep(
        &self,
        link: Link,
        left: &Left,
        request: &Request,
        response: &Response,
        destination: &mut Destination<'_>,
    ) {
        if left.reusable
            && let Some(mut connection) = link.into_connection()
        {
            connection.bound |= left.offers_login || login::has_credentials(request);
            if connection.bound {
                if request.version != Version::Http2
                    && let Some(client) = self.context.asker.connection
                {
                    destination.bind(&client.bound, connection);
                }
                return;
            }
            if let Some(timeout) = keep_alive_timeout(response) {
                destination.announced(timeout);
            }
            destination.put_back(self.context.core, connection);
        }
    }

    /// No response came: whether the request is sent again, and where to.
    fn again(
        &self,
        request: &Request,
        body_is_here: bool,
        silent: bool,
        trouble: Trouble,
        (link, left): (Link, Left),
        destination: &mut Destination<'_>,
    ) -> Attempted {
        let other_protocol = left.wants_http1 && destination.falls_back();
        let nothing_done = left.unsent || left.unprocessed || other_protocol;
        // Who answers with what is no HTTP will do so again.
        let malformed = trouble.kind == ErrorKind::HttpProtocolError && !link.reused();
        let silent = silent && !malformed;
        let repeatable = nothing_done || (silent && request.method.is_idempotent());
        // What cannot be said in an endpoint's protocol will not be the next time.
        let cannot_be_sent = trouble.kind == ErrorKind::HttpRequestError;
        if !body_is_here || !repeatable || cannot_be_sent {
            return Attempted::Failed(trouble);
        }
        let reason = reason_of(&trouble, &left, link.reused());
        let same = reason == RetryReason::Closed || other_protocol;
        let same = same && self.retries.may_resend();
        if !same && !self.retries.may(reason) {
            return Attempted::Failed(trouble);
        }
        match link.shared() {
            Some(connection) if left.closed || left.unprocessed || other_protocol => {
                destination.avoid(connection);
            }
            None if same => destination.closed_early(),
            Some(_) | None => {}
        }
        let failed = Failed { reason, status: 0, trouble };
        Attempted::Again(if same { Turn::Same(failed) } else { Turn::Other(failed) })
    }
}

/// What a try without any response shows. `reused`: its connection had served before.
fn reason_of(trouble: &Trouble, left: &Left, reused: bool) -> RetryReason {
    if is_late(trouble.kind) {
        RetryReason::Timeout
    } else if left.unprocessed && !left.closed {
        RetryReason::Refused
    } else if left.closed && (reused || left.unprocessed) {
        RetryReason::Closed
    } else {
        RetryReason::Reset
    }
}

fn is_late(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::HttpResponseTimeout
            | ErrorKind::ConnectionReadTimeout
            | ErrorKind::ConnectionWriteTimeout
    )
}

/// What else is known of a try when it is judged.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Whether its connection had served before.
    pub(crate) reused: bool,
    /// Whether its response had begun for the client.
    pub(crate) begun: bool,
    /// Whether the time that it had is the client's doing.
    pub(crate) by_client: bool,
    pub(crate) status: u16,
    pub(crate) first_byte: Option<Duration>,
}

/// Tells what came of a try, with words for people. What is not the endpoint's doing is not told: a
/// client that left or has no time, a connection that had idled too long.
pub(crate) fn report(
    raced: &Raced,
    left: &Left,
    seen: Seen,
    tell: impl FnOnce(Outcome, &dyn Display),
) {
    let Seen { status, .. } = seen;
    let first_byte = seen.first_byte.unwrap_or(Duration::ZERO);
    let answered = Outcome::Response { status, first_byte };
    let answered = |tell: &mut dyn FnMut(Outcome, &dyn Display)| {
        tell(answered, &format_args!("it answered {status}"));
    };
    let mut tell = Some(tell);
    let mut tell = |outcome, words: &dyn Display| {
        if let Some(tell) = tell.take() {
            tell(outcome, words);
        }
    };
    match raced {
        Raced::Download(Ok(_) | Err(DownloadError::Unwanted)) => answered(&mut tell),
        Raced::Download(Err(DownloadError::NoResponse { trouble, silent })) => {
            let outcome = match reason_of(trouble, left, seen.reused) {
                // What cannot be said in the endpoint's protocol.
                _ if trouble.kind == ErrorKind::HttpRequestError => return,
                _ if left.wants_http1 => Outcome::Refused,
                RetryReason::Closed if *silent => return,
                RetryReason::Refused => Outcome::Refused,
                RetryReason::Timeout => Outcome::Timeout,
                _ => Outcome::Reset,
            };
            tell(outcome, &trouble.detail);
        }
        Raced::Download(Err(DownloadError::Incomplete(trouble, _))) => {
            let late = is_late(trouble.kind);
            tell(if late { Outcome::Timeout } else { Outcome::Reset }, &trouble.detail);
        }
        Raced::OutOfTime(trouble) if !seen.begun && !seen.by_client => {
            tell(Outcome::Timeout, &trouble.detail);
        }
        Raced::Download(Err(DownloadError::Client(_)))
        | Raced::Client(_)
        | Raced::Vanished
        | Raced::OutOfTime(_)
            if seen.begun =>
        {
            answered(&mut tell);
        }
        _ => {}
    }
}

fn client_failed<D: Downstream>(record: &mut Record, down: &mut D, error: ReadError) -> Attempted {
    let kind = match error {
        ReadError::Truncated | ReadError::Broken(_) | ReadError::Reset(..) => {
            return Attempted::Ended(gone(record));
        }
        ReadError::Malformed(_) | ReadError::Invalid(_) => ErrorKind::HttpRequestError,
        ReadError::TooLarge => ErrorKind::RequestBodyTooLarge,
        ReadError::Idle => ErrorKind::ClientTimeout,
        ReadError::TooSlow => ErrorKind::ClientTooSlow,
    };
    let trouble = Trouble::new(kind, format!("the request's body could not be read: {error}"));
    unless_begun(record, down, trouble)
}

/// An answer that tells the trouble, unless another one has begun already.
fn unless_begun<D: Downstream>(record: &mut Record, down: &mut D, trouble: Trouble) -> Attempted {
    if !down.split().1.has_begun() {
        return Attempted::Failed(trouble);
    }
    record.fail(trouble.kind, &trouble.detail);
    Attempted::Ended(Ending::Broken)
}

/// `Keep-Alive: timeout=5` (RFC 2068, section 19.7.1.1).
fn keep_alive_timeout(response: &Response) -> Option<Duration> {
    let value = response.fields.list(Known::KeepAlive);
    let mut seconds = value.filter_map(|parameter| parameter.strip_prefix(b"timeout="));
    str::from_utf8(seconds.next()?).ok()?.parse().ok().map(Duration::from_secs)
}
