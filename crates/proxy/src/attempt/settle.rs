//! What the end of a try means: for the request, for the client's connection, for the upstream's.
//!
//! [`Attempt::settle`] is the one place that decides whether a request can be sent again. It can if
//! its body is still available from the start, and either nothing of it can have been handled (no byte was
//! sent, or the endpoint says so) or its method is idempotent and no byte of a response has come. How often
//! it may be is decided by the settings (`retry`), to which endpoint by the `destination`.
//! Invariant: a response that has begun and cannot be completed ends as [`Ending::Broken`].

use std::fmt::Display;
use std::time::{Duration, Instant};

use balance::Outcome;
use message::{Known, Request, Response, Version};
use observe::{ErrorKind, Record, RetryReason};

use super::hedge::HedgeResponse;
use super::{Attempt, Download, DownloadError, Settlement, TryEnd, TryResult};
use crate::body::{ReadError, Source, WriteError};
use crate::destination::{Destination, NextTry};
use crate::downstream::{Downstream, Reply};
use crate::ending::{Ending, gone};
use crate::login;
use crate::retry::FailedTry;
use crate::trouble::Trouble;
use crate::tunnel::TunnelStart;
use crate::upstream::{Link, LinkState};
use crate::work::Work;

impl Attempt<'_> {
    /// Decides what the end of a try means for the request and for both connections.
    pub(crate) fn settle<D: Downstream>(
        &self,
        result: TryResult,
        link: Link,
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Settlement {
        let TryResult { end, sent_with_head, link_state, first_byte_at, failed_hedge } = result;
        destination.add_tried(failed_hedge);
        let (end, link_state, link) = match end {
            TryEnd::Hedged(hedge, failed) => {
                if let Some(failed) = failed {
                    let facts = TryFacts {
                        reused: link.reused(),
                        status: work.response.status,
                        first_byte: work.record.first_byte,
                        ..TryFacts::default()
                    };
                    let end = TryEnd::Download(Err(failed));
                    report(&end, &link_state, facts, |outcome, words| {
                        destination.report(outcome, words, Instant::now());
                    });
                }
                drop(link);
                self.adopt_hedge(*hedge, work, destination)
            }
            end => (end, link_state, link),
        };
        let Work { response, record, .. } = &mut *work;
        let begun = down.split().1.has_begun();
        if begun {
            // The client has this status, even if the exchange fails later.
            record.status = response.status;
        }
        let facts = TryFacts {
            reused: link.reused(),
            begun,
            by_client: self.deadline.is_some_and(|deadline| deadline.by_client),
            status: response.status,
            first_byte: record.first_byte,
        };
        report(&end, &link_state, facts, |outcome, words| {
            // The first byte is recent enough, and its time is known without reading the clock.
            destination.report(outcome, words, first_byte_at.unwrap_or_else(Instant::now));
        });
        match end {
            TryEnd::Download(downloaded) => {
                let link = (link, link_state);
                self.settle_download(downloaded, sent_with_head, link, work, down, destination)
            }
            TryEnd::ClientGone | TryEnd::Hedged(..) => Settlement::Ended(gone(record)),
            TryEnd::Client(error) => client_failed(record, down, error),
            TryEnd::OutOfTime(trouble) => unless_response_begun(record, down, trouble),
        }
    }

    /// Decides what the end of the response means.
    fn settle_download<D: Downstream>(
        &self,
        downloaded: Result<Download, DownloadError>,
        sent_with_head: bool,
        (link, link_state): (Link, LinkState),
        work: &mut Work,
        down: &mut D,
        destination: &mut Destination<'_>,
    ) -> Settlement {
        let Work { request, response, record, replay, .. } = work;
        if downloaded.is_ok() && sent_with_head && !request.body.is_empty() {
            down.skip_buffered_body(); // the bytes behind it are the next request, or the tunnel's
        }
        match downloaded {
            Ok(Download::Switched) => {
                record.tunnel = true;
                let idle = self.plan.settings.timeouts.tunnel_idle;
                match link.into_tunnel() {
                    Some(far) => {
                        let lease = destination.take_lease();
                        let tunnel = TunnelStart { far, lease, idle };
                        Settlement::Ended(Ending::Tunnel(Box::new(tunnel)))
                    }
                    None => Settlement::Ended(gone(record)), // it ended as it began
                }
            }
            Ok(Download::Complete) => {
                let request_read = down.split().0.is_done();
                if sent_with_head || request_read {
                    self.keep(link, &link_state, request, response, destination);
                }
                Settlement::Ended(if request_read { Ending::Kept } else { Ending::Closed })
            }
            Err(DownloadError::Unwanted) => {
                if sent_with_head || request.body.is_empty() {
                    self.keep(link, &link_state, request, response, destination);
                }
                let status = response.status;
                let detail = format!("the endpoint answered {status}, and no other can be tried");
                let trouble = Trouble::new(ErrorKind::DestinationUnavailable, detail);
                let failed = FailedTry { reason: RetryReason::Status, status, trouble };
                Settlement::Retry(NextTry::OtherEndpoint(failed))
            }
            Err(DownloadError::NoResponse { trouble, silent }) => {
                let has_body = sent_with_head || replay.is_whole();
                let link = (link, link_state);
                self.settle_no_response(request, has_body, silent, trouble, link, destination)
            }
            Err(DownloadError::Incomplete(trouble, reason)) => {
                destination.log_trouble(&trouble);
                if let Some(reason) = reason {
                    down.split().1.break_off(reason);
                }
                unless_response_begun(record, down, trouble)
            }
            Err(DownloadError::Client(error)) => {
                let kind = match error {
                    WriteError::Broken(_) => ErrorKind::ClientGone,
                    WriteError::Idle | WriteError::TooSlow => ErrorKind::ClientTooSlow,
                };
                record.fail(kind, format_args!("the response could not be sent: {error}"));
                Settlement::Ended(Ending::Broken)
            }
        }
    }

    /// Continues with the hedge, which was answered first.
    fn adopt_hedge(
        &self,
        hedge: HedgeResponse,
        work: &mut Work,
        destination: &mut Destination<'_>,
    ) -> (TryEnd, LinkState, Link) {
        let Work { response, record, .. } = work;
        record.add_lost_try(self.retries.slow_try(record.endpoint));
        *response = hedge.response;
        record.dialled = hedge.dialled;
        record.reused = hedge.reused;
        record.connect = hedge.connect;
        record.first_byte = hedge.first_byte;
        destination.replace_lease(hedge.lease, record);
        (TryEnd::Download(hedge.downloaded), hedge.link_state, hedge.link)
    }

    /// Keeps a connection whose response is complete, if it can be used again.
    fn keep(
        &self,
        link: Link,
        link_state: &LinkState,
        request: &Request,
        response: &Response,
        destination: &mut Destination<'_>,
    ) {
        if link_state.reusable
            && let Some(mut connection) = link.into_connection()
        {
            connection.bound |= link_state.offers_login || login::has_credentials(request);
            if connection.bound {
                if request.version != Version::Http2
                    && let Some(client) = self.context.requester.connection
                {
                    destination.bind(&client.bound, connection);
                }
                return;
            }
            if let Some(timeout) = keep_alive_timeout(response) {
                destination.announce_keep_alive(timeout);
            }
            destination.put_back(self.context.core, connection);
        }
    }

    /// No response came: decides whether the request is sent again, and where to. `has_body`: its body is
    /// still available from the start.
    fn settle_no_response(
        &self,
        request: &Request,
        has_body: bool,
        silent: bool,
        trouble: Trouble,
        (link, link_state): (Link, LinkState),
        destination: &mut Destination<'_>,
    ) -> Settlement {
        let other_protocol = link_state.wants_http1 && destination.fall_back_to_http1();
        let nothing_done = link_state.unsent || link_state.unprocessed || other_protocol;
        // An endpoint that answers with something other than HTTP will do so again.
        let malformed = trouble.kind == ErrorKind::HttpProtocolError && !link.reused();
        let silent = silent && !malformed;
        let repeatable = nothing_done || (silent && request.method.is_idempotent());
        // What the endpoint's protocol cannot express now, it cannot express the next time.
        let cannot_be_sent = cannot_express(trouble.kind);
        if !has_body || !repeatable || cannot_be_sent {
            return Settlement::Failed(trouble);
        }
        let reason = reason_of(&trouble, &link_state, link.reused());
        let same = reason == RetryReason::Closed || other_protocol;
        let same = same && self.retries.may_resend();
        if !same && !self.retries.may_retry(reason) {
            return Settlement::Failed(trouble);
        }
        match link.http2_connection() {
            Some(connection) if link_state.closed || link_state.unprocessed || other_protocol => {
                destination.avoid(connection);
            }
            None if same => destination.drop_idle(),
            Some(_) | None => {}
        }
        let failed = FailedTry { reason, status: 0, trouble };
        Settlement::Retry(match same {
            true => NextTry::SameEndpoint(failed),
            false => NextTry::OtherEndpoint(failed),
        })
    }
}

/// What a try without any response shows. `reused`: its connection had served before.
fn reason_of(trouble: &Trouble, link_state: &LinkState, reused: bool) -> RetryReason {
    if is_late(trouble.kind) {
        RetryReason::Timeout
    } else if link_state.unprocessed && !link_state.closed {
        RetryReason::Refused
    } else if link_state.closed && (reused || link_state.unprocessed) {
        RetryReason::Closed
    } else {
        RetryReason::Reset
    }
}

/// Whether the endpoint's protocol cannot express the request.
fn cannot_express(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::HttpRequestError | ErrorKind::RequestBodyTooLarge)
}

fn is_late(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::HttpResponseTimeout
            | ErrorKind::ConnectionReadTimeout
            | ErrorKind::ConnectionWriteTimeout
    )
}

/// What is known of a try besides its end.
#[derive(Clone, Copy, Default)]
pub(crate) struct TryFacts {
    /// Whether its connection had served before.
    pub(crate) reused: bool,
    /// Whether the response to the client had begun.
    pub(crate) begun: bool,
    /// Whether the client has set the deadline.
    pub(crate) by_client: bool,
    pub(crate) status: u16,
    pub(crate) first_byte: Option<Duration>,
}

/// Reports the outcome of a try to the balancer, in words too. Nothing is reported of what is not the endpoint's
/// doing: a client that left or allows too little time, a connection that had idled too long.
pub(crate) fn report(
    end: &TryEnd,
    link_state: &LinkState,
    facts: TryFacts,
    report: impl FnOnce(Outcome, &dyn Display),
) {
    let TryFacts { status, begun, .. } = facts;
    let first_byte = facts.first_byte.unwrap_or(Duration::ZERO);
    let is_answered = match end {
        TryEnd::Download(Ok(_) | Err(DownloadError::Unwanted)) => true,
        TryEnd::Download(Err(DownloadError::Client(_)))
        | TryEnd::Client(_)
        | TryEnd::ClientGone
        | TryEnd::OutOfTime(_) => begun,
        _ => false,
    };
    if is_answered {
        let outcome = Outcome::Response { status, first_byte };
        return report(outcome, &format_args!("it answered {status}"));
    }
    match end {
        TryEnd::Download(Err(DownloadError::NoResponse { trouble, silent })) => {
            let outcome = match reason_of(trouble, link_state, facts.reused) {
                // The endpoint's protocol cannot express the request.
                _ if cannot_express(trouble.kind) => return,
                _ if link_state.wants_http1 => Outcome::Refused,
                RetryReason::Closed if *silent => return,
                RetryReason::Refused => Outcome::Refused,
                RetryReason::Timeout => Outcome::Timeout,
                _ => Outcome::Reset,
            };
            report(outcome, &trouble.detail);
        }
        TryEnd::Download(Err(DownloadError::Incomplete(trouble, _))) => {
            let late = is_late(trouble.kind);
            report(if late { Outcome::Timeout } else { Outcome::Reset }, &trouble.detail);
        }
        TryEnd::OutOfTime(trouble) if !facts.by_client => {
            report(Outcome::Timeout, &trouble.detail);
        }
        _ => {}
    }
}

fn client_failed<D: Downstream>(record: &mut Record, down: &mut D, error: ReadError) -> Settlement {
    let kind = match error {
        ReadError::Truncated | ReadError::Broken(_) | ReadError::Reset(..) => {
            return Settlement::Ended(gone(record));
        }
        ReadError::Malformed(_) | ReadError::Invalid(_) => ErrorKind::HttpRequestError,
        ReadError::TooLarge => ErrorKind::RequestBodyTooLarge,
        ReadError::Idle => ErrorKind::ClientTimeout,
        ReadError::TooSlow => ErrorKind::ClientTooSlow,
    };
    let trouble = Trouble::new(kind, format!("the request's body could not be read: {error}"));
    unless_response_begun(record, down, trouble)
}

/// Answers with the trouble, unless a response has begun already.
fn unless_response_begun<D: Downstream>(
    record: &mut Record,
    down: &mut D,
    trouble: Trouble,
) -> Settlement {
    if !down.split().1.has_begun() {
        return Settlement::Failed(trouble);
    }
    record.fail(trouble.kind, &trouble.detail);
    Settlement::Ended(Ending::Broken)
}

/// `Keep-Alive: timeout=5` (RFC 2068, section 19.7.1.1).
fn keep_alive_timeout(response: &Response) -> Option<Duration> {
    let value = response.fields.list(Known::KeepAlive);
    let mut seconds = value.filter_map(|parameter| parameter.strip_prefix(b"timeout="));
    str::from_utf8(seconds.next()?).ok()?.parse().ok().map(Duration::from_secs)
}
