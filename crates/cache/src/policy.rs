//! Which requests the store has to do with, and which responses are stored for how long.

use std::time::{Duration, SystemTime};

use config::{
    CacheCondition, CacheConditionOn, CacheMethods, CacheStatuses, CacheValue, Caching, TtlMode,
};
use message::{Fields, Form, Known, Method, Request, Response, are_twins, cookies, reason_phrase};

use crate::dates::{date, delta_seconds};
use crate::directives::{FieldsNamed, RequestDirectives, ResponseDirectives, withheld};
use crate::invalidation::is_own_content_location;
use crate::lifetime::Lifetime;
use crate::ranges::content_range;
use crate::reason::Reason;
use crate::targeted::targeted;
use crate::vary::refusal;

/// What is known when a response is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When the request for it was sent.
    pub asked: SystemTime,
    /// When its head came.
    pub arrived: SystemTime,
    /// Whether a login of ours proved who the client is: that counts as `Authorization`.
    pub has_user: bool,
}

/// What the store has to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestUse {
    /// It is looked up; the response to it is stored.
    Lookup,
    /// It is not looked up; the response to it is stored.
    Bypass(Reason),
    /// It is not looked up, and the response to it is not stored.
    Pass(Reason),
    /// It is not looked up, and makes what is stored invalid (RFC 9111, section 4.4).
    Invalidate,
}

/// Fields by which a client asks an application to take the request for one of another method. The key does not hold
/// them, so that the response would be stored for those who asked for something else.
const METHOD_OVERRIDES: &[&str] = &["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];

/// The longest time that a response is fresh for by heuristics.
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Judges a request, as the client sent it.
pub fn judge_request(request: &Request, caching: &Caching) -> RequestUse {
    match request.method {
        Method::Get => {}
        Method::Head if caching.methods == CacheMethods::GetAndHead => {}
        method if method.is_safe() || method == Method::Connect => {
            return RequestUse::Pass(Reason::Method);
        }
        _ => return RequestUse::Invalidate,
    }
    if matches!(request.target.form(), Form::Asterisk | Form::Authority) {
        return RequestUse::Pass(Reason::Target);
    }
    if !request.body.is_empty() {
        return RequestUse::Pass(Reason::RequestBody);
    }
    if request.upgrade {
        return RequestUse::Pass(Reason::Upgrade);
    }
    let overrides = |field: message::Field<'_>| {
        field.known == Known::Other
            && METHOD_OVERRIDES.iter().any(|name| are_twins(name.as_bytes(), field.name))
    };
    if request.fields.iter().any(overrides) {
        return RequestUse::Pass(Reason::MethodOverride);
    }
    if caching.pass.iter().any(|condition| holds(condition, request)) {
        return RequestUse::Pass(Reason::Pass);
    }
    if caching.respect_client && RequestDirectives::of(&request.fields).no_store {
        return RequestUse::Pass(Reason::RequestNoStore);
    }
    if caching.bypass.iter().any(|condition| holds(condition, request)) {
        return RequestUse::Bypass(Reason::Bypass);
    }
    if request.fields.has(Known::IfMatch) || request.fields.has(Known::IfUnmodifiedSince) {
        return RequestUse::Bypass(Reason::OriginCondition);
    }
    RequestUse::Lookup
}

fn holds(condition: &CacheCondition, request: &Request) -> bool {
    let is_it = |value: &[u8]| match &condition.value {
        CacheValue::Any => true,
        CacheValue::Is(text) => value == text.as_bytes(),
        CacheValue::Matches(regex) => regex.is_match(value),
    };
    match &condition.what {
        CacheConditionOn::Field(name) => request
            .fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(name.as_bytes()) && is_it(field.value)),
        CacheConditionOn::Cookie(names) => {
            cookies(&request.fields).any(|(name, value)| names.has(name) && is_it(value))
        }
    }
}

/// Judges a response to a request: how it ages if it may be stored (RFC 9111, section 3), else why not.
///
/// The request is the client's. A response to HEAD is never stored, it only updates what is. One to POST is stored for GET, if
/// the origin says so by all that RFC 9110, section 9.3.3, asks for. After a 304, the response is the stored one with its fields updated.
pub fn judge_response(
    request: &Request,
    response: &Response,
    caching: &Caching,
    arrival: &Arrival,
) -> Result<Lifetime, Reason> {
    let fields = &response.fields;
    let targeted = targeted(fields);
    let directives = targeted.unwrap_or_else(|| ResponseDirectives::of(fields));
    let is_override = caching.ttl_mode == TtlMode::Override;
    let row = caching.ttl(response.status).map(|row| row.time);
    let overrides = is_override && row.is_some();

    may_store_status(request, response)?;
    if directives.must_understand && !is_understood(response.status) {
        return Err(Reason::Status);
    }
    // RFC 9111, section 5.2.2.3: who understands the status ignores `no-store` there.
    if directives.no_store && !directives.must_understand && !overrides {
        return Err(Reason::NoStore);
    }
    is_for_everyone(request, response, &directives, caching, arrival)?;

    let date = one_date(fields, Known::Date).unwrap_or(arrival.arrived);
    let explicit = directives.s_maxage.or(directives.max_age).map(seconds).or_else(|| {
        // RFC 9213, section 2.2: a targeted field replaces `Expires` too.
        (targeted.is_none() && fields.has(Known::Expires)).then(|| expires(fields, date))
    });
    if request.method == Method::Post && explicit.is_none() {
        return Err(Reason::NoLifetime); // RFC 9110, section 9.3.3
    }
    let initial_age = initial_age(fields, date, arrival);
    let can_validate = can_validate(response);
    let (fresh_for, origin) = match (explicit, row, caching.ttl_mode) {
        // What the configuration says counts from now on.
        (_, Some(row), TtlMode::Override) | (None, Some(row), _) => {
            (initial_age.saturating_add(row), Origin::Configured)
        }
        (Some(explicit), Some(row), TtlMode::Floor)
            if initial_age.saturating_add(row) > explicit =>
        {
            (initial_age.saturating_add(row), Origin::Configured)
        }
        (Some(explicit), ..) => (explicit, Origin::Explicit),
        (None, None, _) => {
            let is_heuristic = directives.public || CacheStatuses::All.has(response.status);
            match heuristic(fields, date).filter(|_| is_heuristic) {
                Some(time) => (time, Origin::Heuristic),
                None if is_heuristic && can_validate => (Duration::ZERO, Origin::Heuristic),
                None if !is_heuristic => return Err(Reason::Status),
                None => return Err(Reason::NoLifetime),
            }
        }
    };
    let lifetime = lifetime(&directives, fresh_for, origin, initial_age, caching);
    let is_usable = !lifetime.no_cache && lifetime.usable_for() > initial_age;
    if is_usable || can_validate { Ok(lifetime) } else { Err(Reason::StaleAtOnce) }
}

/// Whether everyone may get a response: it is not for one user or client, as far as can be seen.
fn is_for_everyone(
    request: &Request,
    response: &Response,
    directives: &ResponseDirectives,
    caching: &Caching,
    arrival: &Arrival,
) -> Result<(), Reason> {
    let fields = &response.fields;
    if directives.private == FieldsNamed::All {
        return Err(Reason::Private);
    }
    // RFC 9111, section 3.5
    let is_for_all =
        directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if (request.fields.has(Known::Authorization) || arrival.has_user) && !is_for_all {
        return Err(Reason::Authorization);
    }
    if fields.has(Known::SetCookie) && !caching.store_set_cookie && !withholds_cookies(fields) {
        return Err(Reason::SetCookie);
    }
    refusal(response).map_or(Ok(()), Err)
}

/// Who says how long a response is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Explicit,
    Heuristic,
    Configured,
}

fn lifetime(
    directives: &ResponseDirectives,
    fresh_for: Duration,
    origin: Origin,
    initial_age: Duration,
    caching: &Caching,
) -> Lifetime {
    let overrides = origin == Origin::Configured && caching.ttl_mode == TtlMode::Override;
    let forbids_stale = !overrides && (directives.must_revalidate || directives.proxy_revalidate);
    let no_cache = !overrides && directives.no_cache == FieldsNamed::All;
    // RFC 9111, section 5.2.2.10: `s-maxage` forbids it too. But an origin that says beside it how long it allows it (RFC 5861) means
    // that; what the configuration says does not count then.
    let says_nothing = overrides || directives.s_maxage.is_none();
    let window = |said: Option<u32>, configured: Duration| match said {
        _ if forbids_stale || no_cache => 0,
        Some(said) => said,
        None if says_nothing => whole_seconds(configured),
        None => 0,
    };
    Lifetime {
        initial_age: u64::try_from(initial_age.as_millis()).unwrap_or(u64::MAX),
        fresh_for: whole_seconds(fresh_for),
        while_revalidate: window(directives.stale_while_revalidate, caching.stale_while_revalidate),
        on_error: window(directives.stale_if_error, caching.stale_on_error),
        must_revalidate: forbids_stale || !says_nothing,
        no_cache,
        is_heuristic: origin == Origin::Heuristic,
        is_immutable: directives.immutable,
        is_configured: origin == Origin::Configured,
    }
}

/// Whether a response of this status, to such a request, may be stored at all.
fn may_store_status(request: &Request, response: &Response) -> Result<(), Reason> {
    let status = response.status;
    let has_range = request.fields.has(Known::Range);
    match request.method {
        Method::Get => {}
        // RFC 9110, section 9.3.3
        Method::Post if status == 200 && is_own_content_location(request, &response.fields) => {}
        _ => return Err(Reason::Method),
    }
    match status {
        // RFC 9111, section 3.3: one part, of which we know where it lies.
        206 if !has_range || content_range(&response.fields).is_none() => Err(Reason::Part),
        200 | 206 => Ok(()),
        // The key does not hold the range.
        _ if has_range => Err(Reason::Part),
        // These speak of one request, one client or one connection, whatever they say themselves: who sends an odd field
        // would have its error stored for everyone.
        0..200
        | 304
        | 401
        | 407
        | 408
        | 412
        | 413
        | 416
        | 417
        | 421
        | 425
        | 426
        | 428
        | 429
        | 431
        | 505
        | 511 => Err(Reason::Status),
        _ => Ok(()),
    }
}

/// Whether we know what a status asks of caches (RFC 9111, section 5.2.2.3).
fn is_understood(status: u16) -> bool {
    !reason_phrase(status).is_empty()
}

fn withholds_cookies(fields: &Fields) -> bool {
    withheld(fields).any(|name| name.eq_ignore_ascii_case(b"Set-Cookie"))
}

/// Whether the origin can say of it that it has not changed.
pub(crate) fn can_validate(response: &Response) -> bool {
    let fields = &response.fields;
    (200..300).contains(&response.status)
        && (fields.has(Known::ETag) || one_date(fields, Known::LastModified).is_some())
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// The date that a field of this name has, if it is there once.
pub(crate) fn one_date(fields: &Fields, known: Known) -> Option<SystemTime> {
    let mut values = fields.get_all(known);
    match (values.next(), values.next()) {
        (Some(value), None) => date(value),
        _ => None,
    }
}

/// RFC 9111, section 5.3: what is no date is in the past; of several, none counts.
fn expires(fields: &Fields, date: SystemTime) -> Duration {
    let expires = one_date(fields, Known::Expires);
    expires.and_then(|expires| expires.duration_since(date).ok()).unwrap_or_default()
}

/// RFC 9111, section 4.2.2: a tenth of the time since the last change.
fn heuristic(fields: &Fields, date: SystemTime) -> Option<Duration> {
    let modified = one_date(fields, Known::LastModified)?;
    let unchanged = date.duration_since(modified).ok()?;
    Some((unchanged / 10).min(HEURISTIC_MAX))
}

/// RFC 9111, section 4.2.3
fn initial_age(fields: &Fields, date: SystemTime, arrival: &Arrival) -> Duration {
    // A date has whole seconds, so that a part of one says nothing.
    let apparent = arrival.arrived.duration_since(date).unwrap_or_default().as_secs();
    let delay = arrival.arrived.duration_since(arrival.asked).unwrap_or_default();
    Duration::from_secs(apparent).max(age_field(fields) + delay)
}

/// RFC 9111, section 5.1: the first member of the first line; ignored if it is no number.
fn age_field(fields: &Fields) -> Duration {
    let value = fields.get(Known::Age).unwrap_or_default();
    let first = value.split(|&byte| byte == b',').next().unwrap_or_default();
    seconds(delta_seconds(first.trim_ascii()).unwrap_or(0))
}
