//! Access logs: where they go, how lines look, and the names that lines know.
//!
//! [`LOG_FIELDS`] are the fields of a line in JSON, by the names that `observe` writes; a test there compares the
//! two. [`LOG_PARTS`] are what a text may name besides.

use super::rows::{property, word};
use super::texts::{joined, path};
use super::{Kind, Property, PropertyRow, WordRow};
use crate::decode::RawLog;
use crate::effective::quoted;
use crate::model::{AccessFormat, LogTarget};
use crate::values::Datum;

/// The fields of a line in JSON, in its order.
pub(crate) const LOG_FIELDS: &[WordRow] = &[
    word("time", "when the exchange began"),
    word("client", "the client's address"),
    word("port", "the client's port"),
    word("via", "the trusted proxy that says who the client is"),
    word("user", "the user who has logged in"),
    word("direction", "`reverse` or `forward`"),
    word("listener", "the listening address"),
    word("scope", "the site's first name, or the forward listener"),
    word("route", "the pattern of the route"),
    word("decided", "the line that decided"),
    word("request_id", "the request's id, if something has asked for it"),
    word("method", "the method"),
    word("target", "the whole target"),
    word("version", "the version of HTTP"),
    word("tls", "the version of TLS"),
    word("cipher", "the cipher suite"),
    word("sni", "the name in the TLS handshake"),
    word("client_subject", "the subject of the client's certificate"),
    word("status", "the status"),
    word("request_body_bytes", "bytes of the request's body"),
    word("response_body_bytes", "bytes of the response's body"),
    word("received_bytes", "all bytes from the client"),
    word("sent_bytes", "all bytes to the client"),
    word("queue_us", "microseconds until the request was decided on"),
    word("connect_us", "microseconds of connecting"),
    word("first_byte_us", "microseconds until the response's first byte"),
    word("total_us", "microseconds in all"),
    word("upstream", "the upstream"),
    word("endpoint", "the endpoint"),
    word("dialled", "the address that was dialled"),
    word("retries", "how often the request was sent again"),
    word("tries", "the tries before the last"),
    word("hedge", "whether a second try was faster"),
    word("reused", "whether the upstream's connection was a reused one"),
    word("tunnel", "whether it was a tunnel"),
    word("cache", "what the cache did, where one is set up"),
    word("cache_reason", "why it did so, in a word"),
    word("error", "what went wrong"),
    word("blame", "whose fault that was"),
    word("detail", "the same in words"),
    word("referer", "the field `Referer`"),
    word("user_agent", "the field `User-Agent`"),
];

/// What the text of a line may name besides.
pub(crate) const LOG_PARTS: &[WordRow] = &[
    word("bytes", "`response_body_bytes`, for short"),
    word("clf_time", "the time as Apache and nginx write it: `30/Nov/2026:17:04:05 +0000`"),
    word("duration", "seconds in all, with three decimals"),
    word("host", "host and port as the client named them"),
    word("request", "method, path and version; with a `forward`, the whole target"),
    word("unix_time", "seconds since 1970, with three decimals"),
    word("uri", "path and query; with a `forward`, the whole target"),
];

pub(super) const ACCESS_ROW: PropertyRow = property(
    "access",
    Kind::AccessLog,
    "stdout",
    "Where the proxy writes a line for each exchange: a file, `stdout`, `stderr`, `journald` (the journal of systemd, with a field for each value), `syslog:` (this machine's, at `/dev/log`), `syslog:udp:HOST:PORT` (RFC 5424), or `off`. It reopens files on SIGUSR1. Several logs may name one file.",
);

pub(super) const FORMAT_ROW: PropertyRow = property(
    "format",
    Kind::AccessFormat,
    "json",
    "The format of these lines: `json`, one object per line; `combined`, as Apache and nginx have it; `vhost-combined`, the same behind `site:port`; or a text with [parts](#log-lines) such as `{client} {status} {field:Accept}`. In a text, what is not known is `-`, and values are escaped as in JSON.",
);

pub(super) const FIELDS_ROW: PropertyRow = property(
    "fields",
    Kind::LogFields,
    "",
    "The [fields](#log-lines) of a line in JSON, or of an entry in the journal; without it, all of them. Their order stays.",
);

/// The properties of `log` in sites, routes and `forward`.
pub(crate) static LOG_PROPERTIES: [Property<RawLog>; 3] = [
    PropertyRow { default: "", ..ACCESS_ROW }
        .of(|raw, to| raw.access = Some(to.log()), |raw| raw.access.as_ref().map(log_text)),
    PropertyRow { default: "", ..FORMAT_ROW }.of(
        |raw, format| {
            if let Datum::AccessFormat(format) = format {
                raw.format = Some(format.clone());
            }
        },
        |raw| raw.format.as_ref().map(format_text),
    ),
    FIELDS_ROW.of(
        |raw, names| raw.fields = Some(names.texts().into()),
        |raw| raw.fields.as_deref().and_then(joined),
    ),
];

pub(super) fn log_text(target: &LogTarget) -> String {
    match target {
        LogTarget::Off => "off".into(),
        LogTarget::Stdout => "stdout".into(),
        LogTarget::Stderr => "stderr".into(),
        LogTarget::File(file) => path(file),
        LogTarget::Journald => "journald".into(),
        LogTarget::Syslog(None) => quoted("syslog:"),
        LogTarget::Syslog(Some(address)) => quoted(&format!("syslog:udp:{address}")),
    }
}

pub(super) fn format_text(format: &AccessFormat) -> String {
    match format {
        AccessFormat::Json => "json".into(),
        AccessFormat::Combined => "combined".into(),
        AccessFormat::VhostCombined => "vhost-combined".into(),
        AccessFormat::Text(text) => quoted(&text.written),
    }
}
