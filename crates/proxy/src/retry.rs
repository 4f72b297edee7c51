//! How often a request may be sent again.
//!
//! What a failed try means for its request is decided in one place (`settle`): whether it can be
//! sent again at all. Here is whether it still may: by the settings of its upstream, by the tries it
//! had, and by the upstream's budget, which keeps an outage from being multiplied. Where to is
//! decided by the `destination`.
//!
//! | why | counts as a try | charged to the budget |
//! |---|---|---|
//! | there was no connection, another endpoint is asked | no | no |
//! | the same, none was in time | yes | no |
//! | the same, no other endpoint is left | yes | no |
//! | the connection had been closed before the request | no, thrice at most | no |
//! | everything else | yes | yes |

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use balance::Balancer;
use config::{EndpointId, Retry};
use observe::{EndpointSlot, ErrorKind, RetryReason, Try};

use crate::context::Context;
use crate::trouble::Trouble;

/// How often a request goes over another connection because the one it had was closed.
const RESENT_MAX: u8 = 3;
/// Endpoints that may be passed over because they cannot be reached, without that being a try.
const PASSED_OVER_MAX: u8 = 16;
/// How long it is waited before an endpoint is tried again that has failed already; twice as long
/// the next time.
const BACKOFF: Duration = Duration::from_millis(20);

/// What is left of a request's tries.
pub(crate) struct Retries<'a> {
    context: &'a Context<'a>,
    /// `None` for a destination that a client names.
    upstream: Option<(&'a Retry, &'a Rc<Balancer>)>,
    /// Tries so far, the first one too.
    tries: Cell<u8>,
    resent: Cell<u8>,
    passed_over: Cell<u8>,
    backed_off: Cell<u8>,
    hedged: Cell<bool>,
    /// The endpoint that the current try counts on, and when the try began.
    slot: Cell<Option<EndpointSlot>>,
    began: Cell<Instant>,
}

/// A try that failed, after which there is to be another.
pub(crate) struct FailedTry {
    pub(crate) reason: RetryReason,
    /// The status that was not passed on, or 0.
    pub(crate) status: u16,
    /// What the client is told if there is no other try.
    pub(crate) trouble: Trouble,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        upstream: Option<(&'a Retry, &'a Rc<Balancer>)>,
        now: Instant,
    ) -> Self {
        Self {
            context,
            upstream,
            tries: Cell::new(1),
            resent: Cell::new(0),
            passed_over: Cell::new(0),
            backed_off: Cell::new(0),
            hedged: Cell::new(false),
            slot: Cell::new(None),
            began: Cell::new(now),
        }
    }

    /// Where the try is counted that begins.
    pub(crate) fn count_at(&self, slot: EndpointSlot) {
        self.slot.set(Some(slot));
    }

    /// Bytes of a body that are kept to be sent again.
    pub(crate) fn kept_bytes_max(&self) -> usize {
        match self.upstream {
            Some((retry, _)) if retry.tries > 1 => retry.buffer as usize,
            _ => 0,
        }
    }

    /// How long the endpoint may take to begin its response.
    pub(crate) fn first_byte(&self, first_byte: Duration) -> Duration {
        match self.upstream.and_then(|(retry, _)| retry.try_timeout) {
            Some(limit) if first_byte.is_zero() || limit < first_byte => limit,
            _ => first_byte,
        }
    }

    /// Whether the request may go over another connection to its endpoint, as the one it had was
    /// closed.
    pub(crate) fn may_resend(&self) -> bool {
        let may = self.resent.get() < RESENT_MAX;
        self.resent.set(self.resent.get() + u8::from(may));
        may
    }

    /// Whether it may be tried once more; if so, that is a try.
    pub(crate) fn may_retry(&self, reason: RetryReason) -> bool {
        let Some((retry, balancer)) = self.upstream else { return false };
        let wanted = match reason {
            RetryReason::Connect => retry.connect,
            RetryReason::Closed | RetryReason::Reset => retry.reset,
            RetryReason::Refused => retry.refused,
            RetryReason::Timeout => retry.timeout,
            RetryReason::Status => true,
            RetryReason::Slow => false,
        };
        if !wanted || !self.has_tries(retry) {
            return false;
        }
        if !balancer.may_retry(Instant::now()) {
            if let Some(slot) = self.slot.get() {
                self.context.core.metrics.upstream_budget_refused(slot);
            }
            return false;
        }
        self.tries.set(self.tries.get() + 1);
        true
    }

    /// Whether a second try may run beside the first.
    pub(crate) fn may_hedge(&self) -> bool {
        let Some((_, balancer)) = self.upstream else { return false };
        let may = !self.hedged.get() && balancer.may_retry(Instant::now());
        self.hedged.set(self.hedged.get() || may);
        may
    }

    fn has_tries(&self, retry: &Retry) -> bool {
        self.tries.get() < retry.tries
    }

    /// Whether a response with this status is dropped if the request may be sent again.
    pub(crate) fn is_unwanted(&self, status: u16) -> bool {
        self.upstream.is_some_and(|(retry, _)| retry.statuses.contains(&status))
    }

    /// Whether another endpoint may be asked, as there is no connection to this one.
    pub(crate) fn may_pass_over(&self, trouble: &Trouble) -> bool {
        let Some((retry, _)) = self.upstream else { return false };
        if !retry.connect || retry.tries <= 1 {
            return false;
        }
        // Refusals are quick; one that takes its time is a try.
        let late = matches!(trouble.kind, ErrorKind::ConnectionTimeout | ErrorKind::DnsTimeout);
        if !late && self.passed_over.get() < PASSED_OVER_MAX {
            self.passed_over.set(self.passed_over.get() + 1);
            return true;
        }
        let may = self.has_tries(retry);
        self.tries.set(self.tries.get() + u8::from(may));
        may
    }

    /// Every endpoint has been tried: how long to wait before they are again, if they are.
    pub(crate) fn backoff(&self, failed: &FailedTry) -> Option<Duration> {
        let (retry, _) = self.upstream?;
        let may = match (failed.reason, failed.trouble.kind) {
            (
                RetryReason::Connect,
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionTerminated,
            ) => {
                let may = self.has_tries(retry);
                self.tries.set(self.tries.get() + u8::from(may));
                may
            }
            (RetryReason::Connect, _) => false,
            // Who did not answer in a long time will not in another.
            (RetryReason::Timeout, _) => retry.try_timeout.is_some(),
            _ => true,
        };
        if !may {
            return None;
        }
        let before = self.backed_off.replace(self.backed_off.get().saturating_add(1));
        let longest = BACKOFF.saturating_mul(1 << before.min(6));
        // Between half of it and all, so that requests that failed together do not come back together.
        Some(longest.mul_f64(0.5 + random::fraction() / 2.0))
    }

    /// A try that was so slow that another one, beside it, was answered first.
    pub(crate) fn slow_try(&self, endpoint: Option<EndpointId>) -> Try {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began.replace(now));
        Try { endpoint, reason: RetryReason::Slow, error: None, status: 0, took }
    }

    /// Notes that there is another try after one that failed at `endpoint`.
    pub(crate) fn record_retry(&self, failed: &FailedTry, endpoint: Option<EndpointId>) -> Try {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began.replace(now));
        if let Some(slot) = self.slot.get() {
            self.context.core.metrics.upstream_retried(slot, failed.reason);
        }
        let error = (failed.status == 0).then_some(failed.trouble.kind);
        Try { endpoint, reason: failed.reason, error, status: failed.status, took }
    }
}
