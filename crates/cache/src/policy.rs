//! Which requests the store has to do with, and which responses are stored for how long.

use std::time::SystemTime;

use config::{CacheCondition, CacheConditionOn, CacheMethods, CacheValue, Caching};
use message::{Form, Known, Method, Request, Response, cookies};

use crate::directives::{FieldsNamed, RequestDirectives, ResponseDirectives};
use crate::lifetime::Lifetime;
use crate::reason::Reason;
use crate::targeted::targeted;

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
pub fn judge_response(
    request: &Request,
    response: &Response,
    caching: &Caching,
    arrival: &Arrival,
) -> Result<Lifetime, Reason> {
    let _ = (caching, arrival);
    let directives =
        targeted(&response.fields).unwrap_or_else(|| ResponseDirectives::of(&response.fields));
    if directives.no_store {
        return Err(Reason::NoStore);
    }
    if directives.private == FieldsNamed::All {
        return Err(Reason::Private);
    }
    if request.fields.has(Known::Authorization) && !directives.public {
        return Err(Reason::Authorization);
    }
    let fresh_for = directives.s_maxage.or(directives.max_age).ok_or(Reason::NoLifetime)?;
    Ok(Lifetime { fresh_for, ..Lifetime::default() })
}
