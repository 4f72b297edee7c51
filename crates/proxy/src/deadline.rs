//! When an exchange must be over, with all its tries, and how endpoints learn of it.
//!
//! The time is that of the settings, or a shorter one that a gRPC client asks for by `grpc-timeout`.
//! The rest of it is forwarded to the endpoint with each try.

use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use message::{Known, Method, Request};
use net::Alarm;
use observe::ErrorKind;

use crate::context::Context;
use crate::trouble::Trouble;

/// When an exchange must be over.
pub(crate) struct Deadline {
    at: Instant,
    alarm: Alarm,
    /// Whether the client has asked for it, instead of the settings.
    pub(crate) by_client: bool,
    /// Whether `grpc-timeout` carries it to the endpoint.
    grpc: bool,
}

impl Deadline {
    /// The deadline of an exchange that began at `started`. `limit`: the configured time; zero:
    /// none. `settings`: those of the upstream, if there is one.
    pub(crate) fn new(
        context: &Context<'_>,
        started: Instant,
        limit: Duration,
        settings: Option<&config::Deadline>,
        request: &Request,
    ) -> Option<Self> {
        let grpc = settings.is_some_and(|settings| settings.grpc) && is_grpc(request);
        let asked = if grpc { asked_for(request) } else { None };
        let limit = (!limit.is_zero()).then_some(limit);
        let by_client = asked.is_some_and(|asked| limit.is_none_or(|limit| asked < limit));
        let shorter = if by_client { asked } else { limit }?;
        let alarm = context.core.wheel.alarm();
        alarm.set(shorter);
        Some(Self { at: started.checked_add(shorter)?, alarm, by_client, grpc })
    }

    /// Writes the time that is left into the request.
    pub(crate) fn write(&self, settings: &config::Deadline, request: &mut Request) {
        if settings.field.is_none() && !self.grpc {
            return;
        }
        let left = self.at.saturating_duration_since(Instant::now());
        if self.grpc {
            let (value, unit) = in_grpc(left);
            let mut text = itoa::Buffer::new();
            let mut out = [0; 24];
            let digits = text.format(value).as_bytes();
            if let Some(room) = out.get_mut(..digits.len()) {
                room.copy_from_slice(digits);
            }
            if let Some(last) = out.get_mut(digits.len()) {
                *last = unit;
            }
            let value = out.get(..=digits.len()).unwrap_or_default();
            request.fields.set(GRPC_TIMEOUT, value);
        }
        if let Some(field) = &settings.field {
            // A client with less time than ours has set the same field.
            let asked = request.fields.find(field.as_bytes());
            let asked = asked.and_then(|value| str::from_utf8(value).ok()?.trim().parse().ok());
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let left = asked.map_or(left, |asked| left.min(asked));
            request.fields.set(field.as_bytes(), itoa::Buffer::new().format(left).as_bytes());
        }
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll_passed(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.alarm.poll_fired(cx)
    }

    /// The trouble to answer with then.
    pub(crate) fn trouble(&self) -> Trouble {
        let detail = if self.by_client {
            "the exchange took longer than the client allows"
        } else {
            "the exchange took longer than the time set for requests"
        };
        Trouble::new(ErrorKind::RequestTimeout, detail)
    }
}

const GRPC_TIMEOUT: &[u8] = b"grpc-timeout";

/// Whether a request is a gRPC call ("gRPC over HTTP2", Requests).
pub(crate) fn is_grpc(request: &Request) -> bool {
    request.method == Method::Post
        && request.fields.get(Known::ContentType).is_some_and(|value| {
            value
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// The time that a call may take: at most eight digits and a unit ("gRPC over HTTP2", Timeout). A
/// malformed value is ignored here; the endpoint may refuse it.
fn asked_for(request: &Request) -> Option<Duration> {
    let (unit, digits) = request.fields.find(GRPC_TIMEOUT)?.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let value: u64 = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Formats a time in the finest unit in which it has at most eight digits.
fn in_grpc(time: Duration) -> (u64, u8) {
    const MAX: u64 = 99_999_999;
    let units = [(time.as_micros(), b'u'), (time.as_millis(), b'm')];
    let fits = units.iter().filter_map(|&(value, unit)| Some((u64::try_from(value).ok()?, unit)));
    let mut fits = fits.filter(|(value, _)| *value <= MAX);
    fits.next().unwrap_or((time.as_secs().min(MAX), b'S'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(content_type: &str, timeout: &str) -> Request {
        let mut request = Request { method: Method::Post, ..Request::default() };
        request.fields.push(b"content-type", content_type.as_bytes());
        request.fields.push(b"grpc-timeout", timeout.as_bytes());
        request
    }

    #[test]
    fn what_a_call_asks_for() {
        #[track_caller]
        fn check(written: &str, expected: Option<Duration>) {
            assert_eq!(asked_for(&call("application/grpc", written)), expected, "{written:?}");
        }
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("100m", Some(Duration::from_millis(100)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("7n", Some(Duration::from_nanos(7)));
        for malformed in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "100000000u", " 1S"] {
            check(malformed, None);
        }
    }

    #[test]
    fn what_is_left_is_told_in_eight_digits() {
        for (time, expected) in [
            (Duration::ZERO, (0, b'u')),
            (Duration::from_micros(99_999_999), (99_999_999, b'u')),
            (Duration::from_secs(100), (100_000, b'm')),
            (Duration::from_secs(200_000), (200_000, b'S')),
            (Duration::MAX, (99_999_999, b'S')),
        ] {
            assert_eq!(in_grpc(time), expected, "{time:?}");
        }
    }

    #[test]
    fn which_requests_are_calls() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&call(content_type, "1S")), expected, "{content_type}");
        }
    }
}
