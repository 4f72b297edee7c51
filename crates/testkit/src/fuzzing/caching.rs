//! What caches read: directives, `Vary` and the values that it names, ranges, dates.

use std::time::{Duration, SystemTime};

use cache::{
    Arrival, ResponseDirectives, Vary, VaryFields, content_range, judge_response, write_variant,
};
use config::Caching;
use message::{Fields, Ranges, Request, Response, parse_date};

/// The fuzz targets of the cache; its tests replay their corpora.
pub const TARGETS: &[(&str, super::Check)] = &[
    ("cache_control", cache_control),
    ("vary", vary),
    ("byte_range", byte_range),
    ("http_date", http_date),
];

/// What is a value of a field by the time that a rule sees it.
fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) && value.trim_ascii() == value
}

/// Lines of `Cache-Control`, or of `CDN-Cache-Control` where they begin with `!`: whatever they say, another line can only make a
/// response less fresh, and `no-store` is heard beside anything.
pub fn cache_control(data: &[u8]) {
    let lines: Vec<_> = data.split(|&byte| byte == b'\n').filter(|line| is_value(line)).collect();
    let mut response = Response { status: 200, ..Response::default() };
    response.fields.push(b"ETag", b"\"a\"");
    for line in &lines {
        match line.strip_prefix(b"!") {
            Some(line) => response.fields.push(b"CDN-Cache-Control", line.trim_ascii()),
            None => response.fields.push(b"Cache-Control", line),
        }
    }
    let judge = |response: &Response| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let arrival = Arrival { asked: now, arrived: now, has_user: false };
        judge_response(&Request::default(), response, &Caching::default(), &arrival)
    };
    let judged = judge(&response);
    let said = ResponseDirectives::of(&response.fields);
    let has_target = response.fields.find(b"CDN-Cache-Control").is_some();
    if !has_target && said.no_store && !said.must_understand {
        assert!(judged.is_err(), "{said:?}");
    }
    if !has_target && let Ok(lifetime) = judged {
        let age = said.s_maxage.or(said.max_age);
        assert_eq!(lifetime.fresh_for().as_secs(), u64::from(age.unwrap_or(0)));
    }
    // One more line.
    response.fields.push(b"Cache-Control", b"max-age=7, s-maxage=7");
    let more = ResponseDirectives::of(&response.fields);
    assert_eq!(more.max_age, Some(said.max_age.unwrap_or(7).min(7)));
    assert_eq!(more.s_maxage, Some(said.s_maxage.unwrap_or(7).min(7)));
    let without_ages = |said| ResponseDirectives { max_age: None, s_maxage: None, ..said };
    assert_eq!(without_ages(more), without_ages(said));
    response.fields.push(b"Cache-Control", b"No-Store");
    let more = ResponseDirectives::of(&response.fields);
    assert!(more.no_store);
    if !has_target && !more.must_understand {
        assert!(judge(&response).is_err());
    }
}

/// The first line is that of `Vary`; those that follow are fields of a request.
pub fn vary(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    if !is_value(first) {
        return;
    }
    let mut response = Response::default();
    response.fields.push(b"Vary", first);
    let Vary::Fields(names) = Vary::of(&response) else { return };
    assert!(!first.contains(&b'*'), "a star is no field");
    assert_eq!(VaryFields::from_bytes(names.as_bytes()), names);
    let listed: Vec<_> = names.iter().collect();
    assert!(!listed.is_empty() && listed.is_sorted());
    assert!(listed.windows(2).all(|pair| pair[0] != pair[1]));

    let mut request = Request::default();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !name.is_empty()
            && name.iter().all(|&byte| message::is_token_byte(byte))
            && is_value(value)
        {
            request.fields.push(name, value);
        }
    }
    let variant = variant_of(&names, &request.fields);
    let ends = variant.iter().filter(|&&byte| byte == 0).count();
    assert_eq!(ends, listed.len(), "each value ends with a 0 and has none");
    // Fields that are not named do not matter, nor does the order of fields of different names.
    let mut other = Fields::new();
    other.push(b"X-Not-Named-At-All", b"1");
    let is_named = |name: &[u8]| listed.iter().any(|listed| name.eq_ignore_ascii_case(listed));
    for name in listed.iter().rev() {
        let named = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.for_each(|field| other.push(&field.name.to_ascii_uppercase(), field.value));
    }
    if !is_named(b"X-Not-Named-At-All") {
        assert_eq!(variant_of(&names, &other), variant);
    }
    // A request that has one named field more differs.
    for name in listed {
        if request.fields.find(name).is_none() {
            let mut more = request.fields.clone();
            more.push(name, b"v");
            assert_ne!(variant_of(&names, &more), variant);
        }
    }
}

fn variant_of(names: &VaryFields, fields: &Fields) -> Vec<u8> {
    let request = Request { fields: fields.clone(), ..Request::default() };
    let mut out = Vec::new();
    write_variant(&mut out, names, &request);
    out
}

/// The first byte is the length of the body; what follows is a value of `Range`, and one of `Content-Range`.
pub fn byte_range(data: &[u8]) {
    let Some((&length, value)) = data.split_first() else { return };
    let mut fields = Fields::new();
    fields.push(b"Content-Range", value);
    if let Some(part) = content_range(&fields) {
        assert!(part.range.first <= part.range.last);
        assert!(part.complete.is_none_or(|complete| part.range.last < complete));
    }
    let expected = naive_ranges(value, length);
    match Ranges::parse(value, length.into()) {
        Ranges::Whole => assert_eq!(expected, None),
        Ranges::Unsatisfiable => assert_eq!(expected, Some(vec![false; length.into()])),
        Ranges::Parts(parts) => {
            let mut covered = vec![false; length.into()];
            for part in parts.iter() {
                assert!(part.first <= part.last && part.last < u64::from(length));
                for at in part.first..=part.last {
                    let byte = &mut covered[at as usize];
                    assert!(!*byte, "no byte is sent twice");
                    *byte = true;
                }
            }
            assert!(!parts.is_empty() && parts.iter().map(|part| part.length()).sum::<u64>() > 0);
            assert_eq!(Some(covered), expected);
        }
    }
}

/// The bytes that are asked for, by the grammar and nothing else; `None`: the field does not count.
fn naive_ranges(value: &[u8], length: u8) -> Option<Vec<bool>> {
    let text = String::from_utf8_lossy(value);
    let (unit, list) = text.split_once('=')?;
    if !unit.trim_matches(blank).eq_ignore_ascii_case("bytes") || list.split(',').count() > 16 {
        return None;
    }
    let mut bytes = vec![false; length.into()];
    let mut ranges =
        list.split(',').map(|range| range.trim_matches(blank)).filter(|r| !r.is_empty()).peekable();
    ranges.peek()?;
    for range in ranges {
        let (first, last) = range.split_once('-')?;
        let (first, last) = match (first, last) {
            ("", suffix) => (u128::from(length).saturating_sub(digits(suffix)?), u128::MAX),
            (first, "") => (digits(first)?, u128::MAX),
            (first, last) => (digits(first)?, digits(last)?),
        };
        // Numbers that no body reaches are all the same.
        let cap = u128::from(u64::MAX);
        if first.min(cap) > last.min(cap) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte |= (first..=last).contains(&(at as u128));
        }
    }
    Some(bytes)
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn digits(text: &str) -> Option<u128> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = text.trim_start_matches('0');
    Some(if text.len() > 30 { u128::MAX } else { format!("0{text}").parse().ok()? })
}

/// A date that is read is read again from what is printed of it, and others that read it agree.
pub fn http_date(data: &[u8]) {
    let ours = parse_date(data);
    if let Some(time) = ours
        && time >= SystemTime::UNIX_EPOCH
    {
        let text = httpdate::fmt_http_date(time);
        assert_eq!(parse_date(text.as_bytes()), ours, "{text}");
        assert_eq!(parse_date(text.to_lowercase().as_bytes()), ours, "{text}");
    }
    let theirs = str::from_utf8(data).ok().and_then(|text| httpdate::parse_http_date(text).ok());
    // They take other separators too, and a second 60 for the next minute.
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && !data.windows(3).any(|part| part == b":60")
    {
        assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(data));
    }
    if let Some(theirs) = theirs
        && httpdate::fmt_http_date(theirs).as_bytes() == data
    {
        assert!(ours.is_some(), "{}", String::from_utf8_lossy(data));
    }
}
