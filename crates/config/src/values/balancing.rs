//! Percentages and shares, and what checks and retries are made of.

use super::{Datum, Wrong, addresses, hosts, tokens};
use crate::model::HostPolicy;
use crate::schema::RETRY_REASONS;

/// `20%`, whole.
pub(super) fn percent(text: &str, min: u64, max: u64) -> Result<u64, Wrong> {
    let wrong =
        || Wrong::new(format!("`{text}` is not a percentage from \"{min}%\" to \"{max}%\""));
    match text.strip_suffix('%').map(str::parse::<u64>) {
        Some(Ok(percent)) if (min..=max).contains(&percent) => Ok(percent),
        Some(_) => Err(wrong()),
        None if text.parse::<u64>().is_ok() => Err(wrong().hinted(format!("write \"{text}%\""))),
        None => Err(wrong()),
    }
}

/// What is said of a number where a percentage should stand.
pub(super) fn percent_of_number(number: impl std::fmt::Display, expected: &str) -> Wrong {
    Wrong::new(format!("{number} is a number, {expected} is expected"))
        .hinted(format!("write \"{number}%\", in quotes"))
}

/// `5%`, `0.25%`, in hundredths of a percent.
pub(super) fn share(text: &str, zero: bool) -> Result<u64, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a share such as \"5%\" or \"0.5%\""));
    let Some(number) = text.strip_suffix('%') else {
        return Err(match text.parse::<f64>() {
            Ok(_) => wrong().hinted(format!("write \"{text}%\"")),
            Err(_) => wrong(),
        });
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    if part.len() > 2 {
        return Err(wrong().hinted("shares have two digits behind the point at most"));
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let hundredths: u64 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
    match whole.saturating_mul(100).saturating_add(hundredths) {
        share if share > 10_000 => Err(wrong().hinted("all are \"100%\"")),
        0 if !zero => Err(wrong().hinted("omit the line for none")),
        share => Ok(share),
    }
}

/// A share as it is written.
pub(crate) fn share_text(hundredths: u32) -> String {
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}%", part / 10),
        (whole, part) => format!("{whole}.{part:02}%"),
    }
}

/// How many times something is another thing.
pub(super) fn factor(number: f64) -> Result<f64, Wrong> {
    match number {
        0.0 => Ok(number),
        number if number > 1.0 && number <= 1000.0 => Ok(number),
        number => Err(Wrong::new(format!("{number} is not a number above 1 such as 3.0, or 0"))),
    }
}

/// How an endpoint is checked.
pub(super) fn health_check(text: &str) -> Result<Datum, Wrong> {
    match text {
        "tcp" => return Ok(Datum::Word("tcp")),
        "grpc" => return Ok(Datum::Word("grpc")),
        _ => {}
    }
    let wrong =
        || Wrong::new(format!("`{text}` is not a path such as \"/healthz\", `tcp` or `grpc`"));
    if !text.starts_with('/') {
        return Err(match text {
            "http" | "https" | "h1" | "h2" => {
                wrong().hinted("write the path that is asked for: \"/healthz\"")
            }
            text if text.contains("://") => {
                let hint =
                    "write the path alone; each endpoint is asked for it, and `host` is a property";
                wrong().hinted(hint)
            }
            text => wrong().hinted(format!("paths begin with a slash: \"/{text}\"")),
        });
    }
    match text.chars().find(|&c| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\')) {
        Some(c) => Err(Wrong::new(format!("`{}` is not allowed in a path", c.escape_default()))
            .hinted("write it in its encoded form, which starts with `%`")),
        None if text.contains('#') => Err(Wrong::new("a fragment is not sent")),
        None => Ok(Datum::Text(text.into())),
    }
}

/// `200-399,418`.
pub(super) fn statuses(text: &str) -> Result<Vec<(u16, u16)>, Wrong> {
    addresses::parts(text)?.map(status_range).collect()
}

fn status_range(text: &str) -> Result<(u16, u16), Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is neither a status nor a range of them"));
    // As other programs write a class.
    if let [digit @ b'1'..=b'5', b'x', b'x'] = text.to_ascii_lowercase().as_bytes() {
        let digit = char::from(*digit);
        return Err(wrong().hinted(format!("write \"{digit}00-{digit}99\"")));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| match text.trim().parse::<u16>() {
        Ok(status @ 200..=599) => Ok(status),
        Ok(_) => Err(wrong().hinted("statuses of final responses are 200 to 599")),
        Err(_) => Err(wrong().hinted("write \"200\", \"200-399\" or \"200,204\"")),
    };
    match (status(first)?, status(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        (first, last) => Err(Wrong::new(format!("`{text}` ends before it begins"))
            .hinted(format!("write \"{last}-{first}\""))),
    }
}

/// Statuses as they are written.
pub(crate) fn statuses_text(ranges: &[(u16, u16)]) -> String {
    let text = |&(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// A host, perhaps with a port.
pub(super) fn authority(text: &str) -> Result<Box<str>, Wrong> {
    // Hosts that are words elsewhere are none here.
    if matches!(text, "preserve" | "endpoint") {
        return Ok(text.into());
    }
    match hosts::policy(text)? {
        HostPolicy::Literal(host) => Ok(host),
        HostPolicy::Preserve | HostPolicy::Endpoint => Ok(text.into()),
    }
}

/// The path of a cookie (RFC 6265, section 4.1.1).
pub(super) fn cookie_path(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not the path of a cookie"));
    match text.chars().find(|&c| !c.is_ascii_graphic() || c == ';') {
        Some(c) => Err(wrong().hinted(format!("`{}` is not allowed in one", c.escape_default()))),
        None if text.starts_with('/') => Ok(text.into()),
        None => Err(wrong().hinted(format!("it must start with a slash: \"/{text}\""))),
    }
}

/// Why a request is sent again: a word.
pub(super) fn retry_on(text: &str) -> Result<Datum, Wrong> {
    if let Some(row) = RETRY_REASONS.iter().find(|row| row.word == text) {
        return Ok(Datum::Word(row.word));
    }
    let known: Vec<_> = RETRY_REASONS.iter().map(|row| row.word).collect();
    let wrong = Wrong::new(format!("`{text}` is not a reason for a retry"));
    let number = text.rsplit('_').next().filter(|number| number.parse::<u16>().is_ok());
    Err(match text {
        "error" | "conn-failure" | "connect-failure" => wrong.hinted("write connect reset"),
        "empty-response" | "junk-response" | "invalid_header" => wrong.hinted("write reset"),
        "response-timeout" => wrong.hinted("write timeout"),
        "refused-stream" => wrong.hinted("write refused"),
        "5xx" | "gateway-error" => wrong.hinted("write each status: 502 503 504"),
        "retriable-4xx" => wrong.hinted("write 409"),
        "non_idempotent" => {
            wrong.hinted("a request that may have been processed is never sent again")
        }
        "all" | "all-retryable-errors" | "on" => {
            wrong.hinted("write connect refused reset timeout 502 503 504")
        }
        _ => match number {
            Some(number) => wrong.hinted(format!("write the status alone: {number}")),
            None => match crate::nearest::nearest(text, known.iter().copied()) {
                Some(word) => wrong.hinted(format!("did you mean `{word}`?")),
                None => wrong.hinted(format!("known: {}, and statuses", known.join(", "))),
            },
        },
    })
}

/// Why a request is sent again: a status.
pub(super) fn retry_status(number: i128) -> Result<Datum, Wrong> {
    match u64::try_from(number) {
        Ok(status @ 400..=599) => Ok(Datum::Number(status)),
        _ => Err(Wrong::new(format!("{number} is not a status for a retry"))
            .hinted("use those from 400 to 599")),
    }
}

/// A quantile or a time.
pub(super) fn after(text: &str) -> Result<Datum, Wrong> {
    let Some(number) = text.strip_prefix(['p', 'P']) else {
        if let Some(percent) = text.strip_suffix('%') {
            let wrong = Wrong::new(format!("`{text}` is neither a quantile nor a time"));
            return Err(wrong.hinted(format!("write p{percent}")));
        }
        return super::units::duration(text, false).map(Datum::Duration);
    };
    match number.parse::<u64>() {
        Ok(percent @ 50..=99) => Ok(Datum::Number(percent)),
        _ => Err(Wrong::new(format!("`{text}` is not a quantile from p50 to p99"))),
    }
}

/// A host name or address alone.
pub(super) fn host(text: &str) -> Result<Box<str>, Wrong> {
    hosts::host(text)
}

/// One method.
pub(super) fn method(text: &str) -> Result<Box<str>, Wrong> {
    let mut methods = super::requests::methods(text)?;
    match (methods.pop(), methods.is_empty()) {
        (Some(method), true) if tokens::is_token(&method) => Ok(method),
        _ => Err(Wrong::new(format!("`{text}` is not one method"))),
    }
}

/// What is written for a flag that other programs have behind an endpoint.
pub(super) fn flag_of_endpoint(text: &str) -> Option<&'static str> {
    Some(match text {
        "backup" => "write backup=#true",
        "down" | "drain" | "disabled" => "write drain=#true",
        "check" => "write health tcp, or health \"/healthz\", in the upstream",
        "resolve" => "omit it: names are looked up again automatically",
        _ => return None,
    })
}
