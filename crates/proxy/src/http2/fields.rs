//! Fields between their two shapes: ours, in one buffer, and those of `http`.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use message::{Field, Fields, Known};
use wire::http1::allowed_trailer;

/// Fields as `h2` takes them: names in lower case, all values in one piece of memory. What cannot
/// be such a field is left out.
pub(super) fn map<'a>(fields: impl Iterator<Item = Field<'a>> + Clone) -> HeaderMap {
    let (count, bytes) =
        fields.clone().fold((0, 0), |(count, bytes), field| (count + 1, bytes + field.value.len()));
    let mut values = BytesMut::with_capacity(bytes);
    fields.clone().for_each(|field| values.extend_from_slice(field.value));
    let mut values = values.freeze();
    let mut map = HeaderMap::with_capacity(count + 3); // Date, Via and Content-Length may follow
    for field in fields {
        let value = HeaderValue::from_maybe_shared(values.split_to(field.value.len()));
        append(&mut map, name(field), value.ok());
    }
    map
}

/// Adds a field, unless it cannot be one.
pub(super) fn push(map: &mut HeaderMap, name: &[u8], value: Bytes) {
    let value = HeaderValue::from_maybe_shared(value);
    append(map, HeaderName::from_bytes(name).ok(), value.ok());
}

fn append(map: &mut HeaderMap, name: Option<HeaderName>, value: Option<HeaderValue>) {
    if let (Some(name), Some(value)) = (name, value) {
        // Fails beyond 32,768 fields, which no head of ours has.
        let _ = map.try_append(name, value);
    }
}

/// The name of a field; those that most responses have need not be looked up by their letters.
fn name(field: Field<'_>) -> Option<HeaderName> {
    Some(match field.known {
        Known::ContentType => header::CONTENT_TYPE,
        Known::ContentEncoding => header::CONTENT_ENCODING,
        Known::ContentRange => header::CONTENT_RANGE,
        Known::AcceptRanges => header::ACCEPT_RANGES,
        Known::SetCookie => header::SET_COOKIE,
        Known::Location => header::LOCATION,
        Known::Server => header::SERVER,
        Known::Date => header::DATE,
        Known::ETag => header::ETAG,
        Known::LastModified => header::LAST_MODIFIED,
        Known::CacheControl => header::CACHE_CONTROL,
        Known::Age => header::AGE,
        Known::Vary => header::VARY,
        _ => return HeaderName::from_bytes(field.name).ok(),
    })
}

/// The trailers that may be sent (RFC 9110, section 6.5.1), if there are any.
pub(super) fn trailers(trailers: &Fields) -> Option<HeaderMap> {
    if trailers.is_empty() {
        return None;
    }
    let allowed = trailers.end_to_end().filter(|field| allowed_trailer(field.known, field.name));
    let allowed: Vec<Field<'_>> = allowed.collect();
    (!allowed.is_empty()).then(|| map(allowed.iter().copied()))
}

/// Takes trailers in, those that may be.
pub(super) fn load_trailers(map: &HeaderMap, trailers: &mut Fields) {
    for (name, value) in map {
        if is_clean(value.as_bytes()) {
            trailers.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// RFC 9113, section 8.2.1: no white space around a value. (`http` has seen to the characters.)
pub(super) fn is_clean(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !is_space(value.first()) && !is_space(value.last())
}
