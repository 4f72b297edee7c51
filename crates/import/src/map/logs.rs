//! `log_format` in the words of our log.

use crate::kdl::{literal, quoted};
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::variables::{Part, field_name, parts};

/// The format that both know by this name.
const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

/// nginx's variables and ours, with what differs.
const NAMES: &[(&str, &str, &str)] = &[
    ("remote_addr", "client", ""),
    ("remote_port", "port", ""),
    ("remote_user", "user", ""),
    ("realip_remote_addr", "via", "`{via}` is the trusted proxy, or nothing"),
    ("time_local", "clf_time", ""),
    ("time_iso8601", "time", "`{time}` is in UTC, with milliseconds"),
    ("msec", "unix_time", ""),
    ("request", "request", ""),
    ("request_method", "method", ""),
    ("request_uri", "uri", ""),
    ("uri", "uri", "`{uri}` has the query too"),
    ("server_protocol", "version", ""),
    ("request_id", "request_id", "the identifier is a UUID"),
    ("request_length", "received_bytes", ""),
    ("request_time", "duration", ""),
    ("status", "status", ""),
    ("body_bytes_sent", "bytes", ""),
    ("bytes_sent", "sent_bytes", ""),
    ("host", "host", "`{host}` has the port too, if the client names one"),
    ("http_host", "host", ""),
    ("server_name", "scope", ""),
    ("http_referer", "referer", ""),
    ("http_user_agent", "user_agent", ""),
    ("ssl_protocol", "tls", ""),
    ("ssl_cipher", "cipher", ""),
    ("ssl_server_name", "sni", ""),
    ("ssl_client_s_dn", "client_subject", ""),
    ("upstream_addr", "dialled", "`{dialled}` is the last address; `{tries}` has the others"),
    ("upstream_cache_status", "cache", "`{cache}` has other words: `hit`, `miss`, `stale` …"),
    ("upstream_status", "status", "`{status}` is the one that the client gets"),
    ("upstream_connect_time", "connect_us", "`{connect_us}` is in microseconds"),
    ("upstream_header_time", "first_byte_us", "`{first_byte_us}` is in microseconds"),
    (
        "upstream_response_time",
        "total_us",
        "`{total_us}` is in microseconds, and of the whole exchange",
    ),
];

impl<'t> Mapper<'t> {
    /// A format in our words; `None`: it is the combined one.
    pub(super) fn log_format(&mut self, line: &'t Directive) -> Option<String> {
        let words = || line.texts().skip(1);
        let format: String = words().filter(|word| !word.starts_with("escape=")).collect();
        let squeezed = format.split_whitespace().collect::<Vec<_>>().join(" ");
        if squeezed == COMBINED {
            self.ledger.exact(line.id, "format=combined");
            return None;
        }
        if !self.words.has(Word::LogFormat) {
            self.ledger.near(
                line.id,
                "format=combined",
                "the combined format; `format=json` has every field",
            );
            return None;
        }
        let mut notes = Vec::new();
        let mut note = |text: String| {
            if !notes.contains(&text) {
                notes.push(text);
            }
        };
        let mut out = String::new();
        for part in parts(&format) {
            match part {
                Part::Text(text) => out.push_str(&literal(text)),
                Part::Variable(name) => match log_part(name) {
                    Some((ours, differs)) => {
                        out.push_str(&format!("{{{ours}}}"));
                        if !differs.is_empty() {
                            note(differs.to_owned());
                        }
                    }
                    None => {
                        out.push('-');
                        note(format!("`${name}` has no counterpart, and is `-`"));
                    }
                },
            }
        }
        // nginx writes `\xHH` unless it is told otherwise.
        if !words().any(|word| word == "escape=json") {
            note("odd characters are escaped as in JSON".into());
        }
        let ours = format!("format={}", quoted(&out));
        match notes.is_empty() {
            true => self.ledger.exact(line.id, &ours),
            false => self.ledger.near(line.id, &ours, &notes.join("; ")),
        }
        Some(out)
    }
}

/// Our part for a variable, and what differs.
fn log_part(name: &str) -> Option<(String, &'static str)> {
    if let Some((_, ours, differs)) = NAMES.iter().find(|row| row.0 == name) {
        return Some(((*ours).to_owned(), *differs));
    }
    let field = |text: &str| Some(text).filter(|text| !text.is_empty()).map(field_name);
    if let Some(name) = name.strip_prefix("http_").and_then(field) {
        return Some((format!("field:{name}"), ""));
    }
    let name = name.strip_prefix("sent_http_").or_else(|| name.strip_prefix("upstream_http_"));
    name.and_then(field).map(|name| (format!("response:{name}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_the_log() {
        for (theirs, ours, _) in NAMES {
            let text =
                format!("process {{ log format=\"{{{ours}}}\"; }}\nsite {{ respond status=204; }}");
            assert!(config::parse("test", &text).is_ok(), "{theirs}: {ours}");
        }
    }

    #[test]
    fn parts_of_formats() {
        let name = |theirs: &str| log_part(theirs).map(|part| part.0);
        assert_eq!(name("http_x_forwarded_for").as_deref(), Some("field:X-Forwarded-For"));
        assert_eq!(name("sent_http_etag").as_deref(), Some("response:Etag"));
        assert_eq!(name("http_").as_deref(), None);
        assert_eq!(name("connection_requests"), None);
    }
}
