//! What is kept of an exchange.
//!
//! A worker has one [`Record`] per exchange under way, clears it and fills it again: in steady
//! state that allocates nothing. The data plane fills it in; [`AccessLog`](super::AccessLog) and
//! [`CoreMetrics`](super::CoreMetrics) read it when the exchange is over.
//! Not here: names. A record has indices into the configuration that decided; the names come from
//! the [`Names`](super::Names) of the same snapshot.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{EndpointId, ForwardId, ListenerId, Place, RouteId, SiteId};
use message::{Method, Version};

use super::error_kind::ErrorKind;
use super::labels::named_values;
use super::text::{TARGET_BYTES_MAX, Text};

named_values! {
    /// Which way an exchange goes.
    #[derive(Default)]
    pub enum Direction {
        /// The configuration names the destination.
        #[default]
        Reverse = "reverse";
        /// The client names it.
        Forward = "forward";
    }
}

/// What an exchange belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Nothing yet: the request was refused before a site was known.
    #[default]
    None,
    /// A site, and the route if one matched.
    Site(SiteId, Option<RouteId>),
    /// A forward listener.
    Forward(ForwardId),
}

named_values! {
    /// Why a request is sent again.
    pub enum RetryReason {
        /// There was no connection.
        Connect = "connect";
        /// The connection was closed before the request, or as it came.
        Closed = "closed";
        /// The endpoint said that it did nothing.
        Refused = "refused";
        /// The connection or the stream ended before the first byte of a response.
        Reset = "reset";
        /// No response began in time.
        Timeout = "timeout";
        /// The response had a retryable status, and there were tries left.
        Status = "status";
        /// The response was late, and another try beside this one was answered first.
        Slow = "slow";
    }
}

named_values! {
    /// What the cache did for a request.
    pub enum CacheOutcome {
        /// It had a fresh response.
        Hit = "hit";
        /// It had a stale one, and that was sent: while it is asked for again, or for want of a better one.
        Stale = "stale";
        /// It had a stale one, and the origin said that it still holds.
        Revalidated = "revalidated";
        /// Another request had asked for the same, and this one got the same response as it arrived.
        Collapsed = "collapsed";
        /// It had none, or none that could be used.
        Miss = "miss";
        /// It was not asked, but the response may have been stored.
        Bypass = "bypass";
        /// It had nothing to do with the exchange.
        Pass = "pass";
    }
}

impl CacheOutcome {
    /// Whether the body came out of the cache, and no endpoint had to send it for this request.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Revalidated | Self::Collapsed)
    }
}

/// A try that was not the last of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// The endpoint, if it had come so far.
    pub endpoint: Option<EndpointId>,
    /// Why there was another.
    pub reason: RetryReason,
    /// What went wrong, unless it was the status.
    pub error: Option<ErrorKind>,
    /// The status that was not passed on, or 0.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
}

/// Tries that a record keeps; further ones are only counted.
pub(crate) const TRIES_RECORDED_MAX: usize = 8;

/// What is kept of an exchange. Each field has a default that means: not known.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the exchange began: its first byte for the first of a connection, otherwise when the
    /// connection was ready for it. The log makes the time of day from it.
    pub started: Instant,
    /// The client: its address at the connection, or what a trusted proxy says.
    pub client: SocketAddr,
    /// The trusted proxy that the connection came from, if `client` is what it says.
    pub via: Option<IpAddr>,
    /// Who the client has proven to be, where a login is asked for.
    pub user: Option<Arc<str>>,
    /// Which way it goes.
    pub direction: Direction,
    /// Where it came in.
    pub listener: ListenerId,
    /// What it belongs to.
    pub scope: Scope,
    /// The line that decided: the route's, the rule's; line 0 if no line did.
    pub decided: Place,
    /// The method.
    pub method: Method,
    /// `http://host/path?query`, or `host:port` for CONNECT; of a refused request as much
    /// as could be read. The log leaves out its userinfo.
    pub target: Text,
    /// The version of the request.
    pub version: Version,
    /// The client's TLS.
    pub tls: Option<Arc<tls::Info>>,
    /// The status sent, or that would have been sent; 0 if there is none.
    pub status: u16,
    /// Bytes of the request's body read from the client; in a tunnel what it sent.
    pub request_body_bytes: u64,
    /// Bytes of the response's body written to the client; in a tunnel what it was sent.
    pub response_body_bytes: u64,
    /// Bytes of the whole request read from the client, head and framing too.
    pub received_bytes: u64,
    /// Bytes of the whole response written to the client, head and framing too.
    pub sent_bytes: u64,
    /// From the begin until the request's head was there and decided on.
    pub queue: Option<Duration>,
    /// From the begin of dialling (look-up too) until there was a connection; `None` if one was
    /// reused or none was needed.
    pub connect: Option<Duration>,
    /// From the request sent until the first byte of the response.
    pub first_byte: Option<Duration>,
    /// From the begin to the end.
    pub total: Duration,
    /// The endpoint.
    pub endpoint: Option<EndpointId>,
    /// The address that was dialled, the last if there were several.
    pub dialled: Option<SocketAddr>,
    /// How often it was tried again.
    pub retries: u8,
    /// The tries before the last, the first eight of them.
    pub tries: Vec<Try>,
    /// Whether a second try was begun beside a slow one; then, whether its response was the first.
    pub hedged: Option<bool>,
    /// Whether the upstream's connection had been used before.
    pub reused: bool,
    /// Whether it became a tunnel.
    pub tunnel: bool,
    /// What the cache did, where there is one.
    pub cache: Option<CacheOutcome>,
    /// Why, in a word: the rule that kept the cache from answering or from storing.
    pub cache_reason: Option<&'static str>,
    /// What went wrong.
    pub error: Option<ErrorKind>,
    /// The same in words. Never a secret: no field values, no userinfo.
    pub detail: Text,
    /// The request's Referer.
    pub referer: Text,
    /// The request's User-Agent.
    pub user_agent: Text,
    /// The request's id, if something has asked for it.
    pub request_id: Text,
    /// Fields that the log shows; in a box, as few logs show any.
    pub kept_fields: Option<Box<KeptFields>>,
}

/// Fields of an exchange that the log shows, in the order of `AccessLogs::kept_fields`.
#[derive(Debug, Clone, Default)]
pub struct KeptFields {
    /// Those of the request.
    pub request: Vec<Text>,
    /// Those of the response.
    pub response: Vec<Text>,
}

impl Record {
    /// A record of an exchange that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            client: SocketAddr::from(([0, 0, 0, 0], 0)),
            via: None,
            user: None,
            direction: Direction::Reverse,
            listener: ListenerId(0),
            scope: Scope::None,
            decided: Place::default(),
            method: Method::Get,
            target: Text::new(TARGET_BYTES_MAX),
            version: Version::Http11,
            tls: None,
            status: 0,
            request_body_bytes: 0,
            response_body_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
            queue: None,
            connect: None,
            first_byte: None,
            total: Duration::ZERO,
            endpoint: None,
            dialled: None,
            retries: 0,
            tries: Vec::new(),
            hedged: None,
            reused: false,
            tunnel: false,
            cache: None,
            cache_reason: None,
            error: None,
            detail: Text::default(),
            referer: Text::default(),
            user_agent: Text::default(),
            request_id: Text::default(),
            kept_fields: None,
        }
    }

    /// Forgets everything of the last exchange, keeps the memory.
    pub fn clear(&mut self, now: Instant) {
        let mut kept_fields = self.kept_fields.take();
        if let Some(KeptFields { request, response }) = kept_fields.as_deref_mut() {
            request.iter_mut().chain(response).for_each(Text::clear);
        }
        let Self { target, detail, referer, user_agent, request_id, tries, .. } = self;
        let (mut target, mut detail) = (std::mem::take(target), std::mem::take(detail));
        let (mut referer, mut user_agent) = (std::mem::take(referer), std::mem::take(user_agent));
        let mut request_id = std::mem::take(request_id);
        let mut tries = std::mem::take(tries);
        target.clear();
        detail.clear();
        referer.clear();
        user_agent.clear();
        request_id.clear();
        tries.clear();
        let empty = Self::new(now);
        let kept = Self { target, detail, referer, user_agent, request_id, tries, ..empty };
        *self = Self { kept_fields, ..kept };
    }

    /// Keeps the values of fields of the request with these names.
    pub fn keep_request_fields(&mut self, names: &[Box<str>], fields: &message::Fields) {
        keep(&mut self.kept_fields.get_or_insert_default().request, names, fields);
    }

    /// The same of the response.
    pub fn keep_response_fields(&mut self, names: &[Box<str>], fields: &message::Fields) {
        keep(&mut self.kept_fields.get_or_insert_default().response, names, fields);
    }

    /// Records a try that lost to another one beside it.
    pub fn add_lost_try(&mut self, tried: Try) {
        if self.tries.len() < TRIES_RECORDED_MAX {
            self.tries.push(tried);
        }
    }

    /// Records a try that is followed by another.
    pub fn add_retry(&mut self, tried: Try) {
        self.retries = self.retries.saturating_add(1);
        if self.tries.len() < TRIES_RECORDED_MAX {
            self.tries.push(tried);
        }
    }

    /// Records what went wrong, with words; also the status, if there is none yet.
    pub fn fail(&mut self, kind: ErrorKind, detail: impl std::fmt::Display) {
        self.note(kind, detail);
        if self.status == 0 {
            self.status = kind.status();
        }
    }

    /// Records what went wrong where there is no answer.
    pub fn note(&mut self, kind: ErrorKind, detail: impl std::fmt::Display) {
        self.error = Some(kind);
        self.detail.clear();
        // Writing into a `Text` cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut self.detail, format_args!("{detail}"));
    }

    /// Records the end.
    pub fn finish(&mut self, now: Instant) {
        self.total = now.saturating_duration_since(self.started);
    }
}

/// Keeps the values of fields with these names, several as a list.
fn keep(kept: &mut Vec<Text>, names: &[Box<str>], fields: &message::Fields) {
    if kept.len() < names.len() {
        kept.resize_with(names.len(), Text::default);
    }
    for (kept, name) in kept.iter_mut().zip(names) {
        kept.clear();
        let is_it = |field: &message::Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        for field in fields.iter().filter(is_it) {
            if !kept.is_empty() {
                kept.push(", ");
            }
            kept.push(field.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_keeps_the_memory_and_nothing_else() {
        let now = Instant::now();
        let mut record = Record::new(now);
        record.target.set("x".repeat(TARGET_BYTES_MAX + 1));
        record.user_agent.set("agent");
        record.fail(ErrorKind::ConnectionRefused, "no");
        let tried = Try {
            endpoint: None,
            reason: RetryReason::Reset,
            error: Some(ErrorKind::ConnectionTerminated),
            status: 0,
            took: Duration::from_millis(1),
        };
        (0..20).for_each(|_| record.add_retry(tried));
        assert_eq!((record.retries, record.tries.len()), (20, TRIES_RECORDED_MAX));
        assert_eq!(record.status, 502);
        let memory = record.target.as_bytes().as_ptr();
        record.clear(now);
        assert_eq!(format!("{record:?}"), format!("{:?}", Record::new(now)));
        record.target.set("x".repeat(TARGET_BYTES_MAX + 1));
        assert_eq!(record.target.as_bytes().as_ptr(), memory);
        assert_eq!(record.target.as_bytes().len(), TARGET_BYTES_MAX);
    }
}
