//! How often a request may be sent again.
//!
//! Whether a request can be sent again at all is decided in one place (`attempt::settle`). This
//! module decides whether it still may be: by the settings of its upstream, the tries that it had,
//! and the upstream's budget, which keeps retries from multiplying an outage. The `destination`
//! decides to which endpoint.
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

/// How often a request is sent again because its connection had been closed.
const RESENT_MAX: u8 = 3;
/// Unreachable endpoints that may be passed over without counting as tries.
const PASSED_OVER_MAX: u8 = 16;
/// The pause before an endpoint that failed is tried again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(20);

/// The tries that a request has left.
pub(crate) struct Retries<'a> {
    context: &'a Context<'a>,
    /// The settings and the balancer; `None` for a destination that a client names.
    upstream: Option<(&'a Retry, &'a Rc<Balancer>)>,
    /// Tries so far, including the first.
    tries: Cell<u8>,
    resent: Cell<u8>,
    passed_over: Cell<u8>,
    backed_off: Cell<u8>,
    hedged: Cell<bool>,
    /// The endpoint that the current try counts on, and when the try began.
    slot: Cell<Option<EndpointSlot>>,
    began: Cell<Instant>,
}

/// A failed try that is followed by another.
pub(crate) struct FailedTry {
    pub(crate) reason: RetryReason,
    /// The status that was not forwarded, or 0.
    pub(crate) status: u16,
    /// What the client reads if there is no other try.
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

    /// Sets the endpoint that the next try counts on.
    pub(crate) fn count_at(&self, slot: EndpointSlot) {
        self.slot.set(Some(slot));
    }

    /// How many bytes of a body are kept to be sent again.
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

    /// Whether the request may be sent again over a new connection to the same endpoint, as the old
    /// one was closed.
    pub(crate) fn may_resend(&self) -> bool {
        let may = self.resent.get() < RESENT_MAX;
        self.resent.set(self.resent.get() + u8::from(may));
        may
    }

    /// Whether the request may be tried again; if so, this counts the try.
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

    /// Whether a hedge may run beside the first try.
    pub(crate) fn may_hedge(&self) -> bool {
        let Some((_, balancer)) = self.upstream else { return false };
        let may = !self.hedged.get() && balancer.may_retry(Instant::now());
        self.hedged.set(self.hedged.get() || may);
        may
    }

    fn has_tries(&self, retry: &Retry) -> bool {
        self.tries.get() < retry.tries
    }

    /// Whether a response with this status is not forwarded if the request may be sent again.
    pub(crate) fn is_unwanted(&self, status: u16) -> bool {
        self.upstream.is_some_and(|(retry, _)| retry.statuses.contains(&status))
    }

    /// Whether another endpoint may be tried, as this one cannot be reached.
    pub(crate) fn may_pass_over(&self, trouble: &Trouble) -> bool {
        let Some((retry, _)) = self.upstream else { return false };
        if !retry.connect || retry.tries <= 1 {
            return false;
        }
        // A refusal is quick and costs nothing; a time-out counts as a try.
        let late = matches!(trouble.kind, ErrorKind::ConnectionTimeout | ErrorKind::DnsTimeout);
        if !late && self.passed_over.get() < PASSED_OVER_MAX {
            self.passed_over.set(self.passed_over.get() + 1);
            return true;
        }
        let may = self.has_tries(retry);
        self.tries.set(self.tries.get() + u8::from(may));
        may
    }

    /// Every endpoint has been tried: how long to wait before they are tried again, if they are.
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
            // An endpoint that did not answer within a long time will not do so the next time.
            (RetryReason::Timeout, _) => retry.try_timeout.is_some(),
            _ => true,
        };
        if !may {
            return None;
        }
        let before = self.backed_off.replace(self.backed_off.get().saturating_add(1));
        let longest = BACKOFF.saturating_mul(1 << before.min(6));
        // Between half and all of it, so that requests that failed together do not return together.
        Some(longest.mul_f64(0.5 + random::fraction() / 2.0))
    }

    /// Records a try that was so slow that its hedge was answered first.
    pub(crate) fn slow_try(&self, endpoint: Option<EndpointId>) -> Try {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began.replace(now));
        Try { endpoint, reason: RetryReason::Slow, error: None, status: 0, took }
    }

    /// Records a try that failed at `endpoint` and is followed by another.
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
