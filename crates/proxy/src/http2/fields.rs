//! Converts fields between our type, which has one buffer, and that of `http`.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use message::{Field, Fields, Known};
use wire::http1::allowed_trailer;
use wire::http2::{CARRIER, FieldBlock, Malformed, PackedFields};

/// Fields as `h2` takes them: names in lower case, all values in one piece of memory. Fields that
/// HTTP/2 does not allow are left out.
pub(crate) fn map<'a>(fields: impl Iterator<Item = Field<'a>> + Clone) -> HeaderMap {
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

/// Adds a field, unless it is not a valid one.
pub(crate) fn push(map: &mut HeaderMap, name: &[u8], value: Bytes) {
    let value = HeaderValue::from_maybe_shared(value);
    append(map, HeaderName::from_bytes(name).ok(), value.ok());
}

fn append(map: &mut HeaderMap, name: Option<HeaderName>, value: Option<HeaderValue>) {
    if let (Some(name), Some(value)) = (name, value) {
        // Fails beyond 32,768 fields, which no head of ours has.
        let _ = map.try_append(name, value);
    }
}

/// The name of a field; the most common ones need no parsing.
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
pub(crate) fn trailers(trailers: &Fields) -> Option<HeaderMap> {
    if trailers.is_empty() {
        return None;
    }
    let allowed = trailers.end_to_end().filter(|field| allowed_trailer(field.known, field.name));
    let allowed: Vec<Field<'_>> = allowed.collect();
    (!allowed.is_empty()).then(|| map(allowed.iter().copied()))
}

/// The field block that the guard has put into a map.
pub(crate) fn carried(map: &HeaderMap) -> Option<FieldBlock<'_>> {
    let mut fields = map.iter();
    let (_, value) = fields.find(|(name, _)| name.as_str() == CARRIER)?;
    FieldBlock::read(value.as_bytes())
}

/// Loads fields, but not pseudo-fields, which are at the front.
pub(crate) fn load(packed: PackedFields<'_>, fields: &mut Fields) {
    let bytes = packed.bytes();
    fields.load(bytes);
    for (name, value) in packed.ranges() {
        let text = bytes.get(name.clone()).unwrap_or_default();
        if !text.starts_with(b":") {
            fields.push_range(Known::of(text), name, value);
        }
    }
}

/// Loads trailers; an error says why the message is malformed.
pub(crate) fn load_trailers(map: &HeaderMap, trailers: &mut Fields) -> Result<(), &'static str> {
    match carried(map) {
        Some(FieldBlock::Trailers(packed)) => {
            load(packed, trailers);
            Ok(())
        }
        Some(FieldBlock::Malformed(what)) => Err(what.text()),
        Some(FieldBlock::Head(_)) | None => Err(Malformed::PseudoInTrailers.text()),
    }
}
