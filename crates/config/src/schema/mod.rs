//! The tables that define the language: each node, value and property once.
//!
//! The decoder, the hints of its messages, `bothways show` and `docs/reference.md` all read these
//! rows. A setting is one [`Row`] of its block, or one [`Property`] of its node: what may stand there,
//! its doc and default, where its value goes and how it is shown. `effect` tries every row: it must
//! change the model, and what is shown of it must be read as the same.
//! Not here: how a kind of value is read (`values`), what nodes mean together (`decode`).

mod algorithms;
mod balancing;
mod caching;
#[cfg(test)]
mod effect;
mod forward_rules;
mod layer;
mod login;
mod logs;
mod maps;
mod matching;
mod process;
mod reuse;
mod row;
mod rows;
mod secrets;
mod secure;
mod settings;
pub(crate) mod texts;
mod tries;
mod words;

pub(crate) use algorithms::{bounded, has_key, keyed};
pub(crate) use balancing::{
    BALANCE_BLOCK, BALANCE_PROPERTIES, EJECT_PROPERTIES, ENDPOINT_PROPERTIES, HEALTH_BLOCK,
    HEALTH_PROPERTIES, HTTP_CHECK, STICKY_PROPERTIES, UPSTREAM_BLOCK,
};
pub(crate) use caching::{
    CACHE_BLOCK, CACHE_CONDITION_PROPERTIES, PURGE_PROPERTIES, QUERY_PROPERTIES, STALE_PROPERTIES,
    STORE_PROPERTIES, TTL_PROPERTIES,
};
pub(crate) use layer::*;
pub(crate) use login::{CLIENT_PROPERTIES, LOGIN_PROPERTIES};
pub(crate) use logs::{LOG_FIELDS, LOG_PARTS, LOG_PROPERTIES};
pub(crate) use maps::MAP_BLOCK;
pub(crate) use matching::{ACCESS_PROPERTIES, CONDITION_PROPERTIES, TRY_PROPERTIES};
pub(crate) use process::RESOLVER_BLOCK;
pub(crate) use reuse::DEFAULTS_BLOCK;
pub(crate) use row::{
    Block, Properties, Property, Read, Row, Show, Table, in_line, in_line_masked,
};
pub(crate) use rows::*;
pub(crate) use secrets::{Secrecy, masked_in};
pub(crate) use secure::{
    ACME_BLOCK, CHALLENGE_PROPERTIES, EAB_PROPERTIES, FORWARD_TLS_BLOCK, FORWARD_TLS_PROPERTIES,
    HSTS_PROPERTIES, SITE_TLS_PROPERTIES, TLS_BLOCK, TLS_CLIENT_PROPERTIES, UPSTREAM_TLS_BLOCK,
};
pub(crate) use settings::{
    LIMITS, Scope, Setting, TIMEOUTS, UPSTREAM_TIMEOUTS, limits_block, timeouts_block,
};
pub(crate) use tries::{
    ADAPTIVE_PROPERTIES, DEADLINE_PROPERTIES, POOL_PROPERTIES, RETRY_BLOCK, RETRY_PROPERTIES,
    RETRY_REASONS,
};
pub(crate) use words::{FOREIGN, FOREIGN_HERE, FOREIGN_WORDS, PLANNED};

/// A node that may stand in a block.
pub(crate) struct NodeRow {
    pub(crate) name: &'static str,
    /// Values behind the name.
    pub(crate) arguments: &'static [ArgumentRow],
    pub(crate) properties: &'static dyn Properties,
    pub(crate) block: Option<&'static dyn Block>,
    /// Whether it may stand more than once in a block.
    pub(crate) repeats: bool,
    /// What it does; its entry in the reference.
    pub(crate) doc: &'static str,
    /// What holds without it, as written.
    pub(crate) default: &'static str,
    /// One or more lines that show it.
    pub(crate) example: &'static str,
    /// Where `show` has it among its neighbours: lower ones first, and those that are equal in the order of the table.
    pub(crate) rank: i8,
}

impl NodeRow {
    pub(crate) const NEW: Self = Self {
        name: "",
        arguments: &[],
        properties: &([] as [PropertyRow; 0]),
        block: None,
        repeats: false,
        doc: "",
        default: "",
        example: "",
        rank: 0,
    };

    pub(crate) fn properties(&self) -> impl Iterator<Item = &'static PropertyRow> + use<> {
        let all = self.properties;
        (0..).map_while(|index| all.get(index))
    }

    pub(crate) fn property(&self, name: &str) -> Option<&'static PropertyRow> {
        self.properties().find(|row| row.name == name)
    }
}

/// A value behind a node's name.
#[derive(Debug)]
pub(crate) struct ArgumentRow {
    /// What it means, in the reference.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) count: Count,
    pub(crate) secrecy: Secrecy,
}

/// How many values an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    Optional,
    AtLeastOne,
    Any,
}

/// A `name=value` of a node.
#[derive(Debug)]
pub(crate) struct PropertyRow {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What holds without it, as written; empty: nothing.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) secrecy: Secrecy,
}

impl PropertyRow {
    /// The same for a value that is secret.
    pub(crate) const fn secret(self, secrecy: Secrecy) -> Self {
        Self { secrecy, ..self }
    }
}

/// The name of a block, for people; `tls of upstream` is that of a block within another.
fn block_text(name: &str) -> String {
    match name.split_once(" of ") {
        Some((inner, outer)) => format!("`{inner}` of `{outer}`"),
        None => format!("`{name}`"),
    }
}

/// Where a node of this name may stand, for people.
pub(crate) fn homes(name: &str) -> Option<String> {
    let scopes = [Scope::Listen, Scope::Site, Scope::Route, Scope::Forward, Scope::Upstream];
    let of_scope: [fn(Scope) -> &'static dyn Block; 2] = [timeouts_block, limits_block];
    for of in of_scope {
        let block = of(Scope::Top);
        if block.row(name).is_some() {
            let held = scopes.into_iter().filter(|&scope| of(scope).row(name).is_some());
            let held: Vec<_> = held.map(|scope| format!("`{}`", scope.name())).collect();
            let held = held.join(", ");
            return Some(format!("in `{}` of the top level, {held}", block.name()));
        }
    }
    let holds = |block: &&&'static dyn Block| block.row(name).is_some();
    let names: Vec<_> = BLOCKS.iter().filter(holds).map(|block| block.name()).collect();
    let inner: Vec<_> = names.iter().filter(|name| **name != TOP.name()).collect();
    let inner = inner.iter().map(|name| block_text(name)).collect::<Vec<_>>().join(", ");
    match names.first() {
        None => None,
        Some(first) if *first != TOP.name() => Some(format!("in {inner}")),
        Some(first) if inner.is_empty() => Some(format!("at {first}")),
        Some(first) => Some(format!("at {first} and in {inner}")),
    }
}

/// The block in which a node of this name has such a property.
pub(crate) fn property_home(node: &str, property: &str) -> Option<&'static str> {
    let has = |block: &&&'static dyn Block| {
        block.row(node).is_some_and(|row| row.property(property).is_some())
    };
    BLOCKS.iter().find(has).map(|block| block.name())
}

/// A word that a setting may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordRow {
    pub(crate) word: &'static str,
    pub(crate) doc: &'static str,
}

/// What kind of value is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A path of the file system; a relative one starts at the directory of the file that names it.
    Path,
    /// `10s`, `1h30min`; `zero`: whether `0s` makes sense.
    Duration { zero: bool },
    /// `64KiB`, between two bounds, in bytes.
    Size { min: u64, max: u64 },
    /// A size, or `off`.
    Limit,
    /// A whole number.
    Number { min: u64, max: u64 },
    /// `#true` or `#false`.
    Flag,
    /// One of these words.
    Word(&'static [WordRow]),
    /// An address to listen on.
    Listen,
    /// An address to listen on, or `off`.
    ListenOrOff,
    /// Where the admin interface listens.
    Admin,
    /// Where a log goes.
    Log,
    /// Where an access log goes.
    AccessLog,
    /// How its lines look.
    AccessFormat,
    /// Which fields they have, with commas.
    LogFields,
    /// An IP address with port.
    Socket,
    /// One IP address.
    Ip,
    /// Networks: one in an argument, several with commas in a property.
    Networks,
    /// The name of an upstream that is being defined.
    Name,
    /// The name of an upstream, or an endpoint.
    Target,
    /// An endpoint.
    Endpoint,
    /// A name of a site.
    SiteName,
    /// A pattern of paths.
    Pattern,
    /// The same, or `~` before a regular expression.
    RoutePattern,
    /// Values with commas.
    Values,
    /// Fields, one a line.
    FieldLines,
    /// A path below a directory, with `{name}` parts.
    TryPath,
    /// Methods with commas.
    Methods,
    /// A status code between two bounds.
    Status { min: u16, max: u16 },
    /// A path below which requests are, without `/` at its end.
    Prefix,
    /// A path with `{name}` parts.
    PathTemplate,
    /// A path or URL with `{name}` parts.
    UrlTemplate,
    /// The value of a field, with `{name}` parts.
    ValueTemplate,
    /// A regular expression.
    Regex,
    /// The name of a field.
    FieldName,
    /// The value of a field.
    FieldValue,
    /// A token of HTTP, such as a pseudonym in Via.
    Token,
    /// `preserve`, `endpoint` or a host.
    HostPolicy,
    /// Ports and ranges of ports with commas, or `any`.
    Ports,
    /// Destinations with commas.
    Destinations,
    /// A method and a URL.
    RequestLine,
    /// Host names and addresses with commas.
    Hosts,
    /// Names of certificates with commas.
    CertificateNames,
    /// SHA-256 of certificates with commas.
    Fingerprints,
    /// The subject of a certificate.
    Subject,
    /// The URL of an ACME directory, or a word for it.
    Directory,
    /// A mail address.
    Mail,
    /// `20%`, whole, between two bounds.
    Percent { min: u64, max: u64 },
    /// The same, or `off`.
    PercentOrOff { min: u64, max: u64 },
    /// A share of requests, such as `0.5%`; `zero`: whether `0%` makes sense.
    Share { zero: bool },
    /// How many times something is another thing; 0 for never.
    Factor,
    /// How an endpoint is checked.
    HealthCheck,
    /// Statuses and ranges of them with commas.
    Statuses,
    /// Statuses of responses that may be stored, and classes of them, with commas.
    StoredStatuses,
    /// Names with commas, each perhaps with a `*` at its end.
    NamePatterns,
    /// One method.
    Method,
    /// A host, perhaps with a port.
    Authority,
    /// A host.
    Host,
    /// The path of a cookie.
    CookiePath,
    /// Why a request is sent again.
    RetryOn,
    /// A quantile or a time.
    After,
}

impl Kind {
    /// What is expected, as the end of `expected …`.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Path => "a path of the file system".into(),
            Self::Duration { .. } => "a duration such as \"10s\", \"250ms\" or \"1h30min\"".into(),
            Self::Size { min, max } => format!(
                "a size such as \"64KiB\" or \"10MiB\"{}",
                between(min, max, crate::values::size_text)
            ),
            Self::Number { min, max } => {
                format!("a whole number{}", between(min, max, |number| number.to_string()))
            }
            Self::Limit => "a size such as \"10MiB\", or `off`".into(),
            Self::Flag => "#true or #false".into(),
            Self::Word(rows) => one_of(rows),
            Self::Listen => "an address such as \":8080\", \"127.0.0.1:80\" or \"[::1]:80\"".into(),
            Self::ListenOrOff => "an address such as \":80\", or `off`".into(),
            Self::Hosts => "a host such as \"app.internal\", or an IP address".into(),
            Self::CertificateNames => {
                "a name such as \"ops.example.com\", or several with commas".into()
            }
            Self::Fingerprints => "64 hexadecimal digits, the SHA-256 of a certificate".into(),
            Self::Subject => "a subject such as \"CN=ops,O=Example\"".into(),
            Self::Directory => "an https:// URL, `letsencrypt` or `letsencrypt-staging`".into(),
            Self::Mail => "a mail address such as \"ops@example.com\"".into(),
            Self::Admin => {
                "a loopback address such as \"127.0.0.1:9900\", or \"unix:/run/bothways.sock\"".into()
            }
            Self::Log => "a path, `stdout`, `stderr` or `off`".into(),
            Self::AccessLog => {
                "a path, `stdout`, `stderr`, `journald`, `syslog:`, `syslog:udp:HOST:PORT` or `off`"
                    .into()
            }
            Self::AccessFormat => {
                "`json`, `combined`, `vhost-combined`, or a text such as \"{client} {status}\"".into()
            }
            Self::LogFields => "names of log fields with commas, such as \"time,status\"".into(),
            Self::Socket => "an IP address with port, such as \"127.0.0.1:53\"".into(),
            Self::Ip => "an IP address such as \"10.0.0.5\"".into(),
            Self::Networks => "a network such as \"10.0.0.0/8\", or an IP address".into(),
            Self::Name => "a name of letters, digits, `-` and `_`".into(),
            Self::Target => {
                "the name of an upstream, or an endpoint such as \"10.0.0.1:8080\"".into()
            }
            Self::Endpoint => {
                "an endpoint such as \"10.0.0.1:8080\", \"https://app.internal\" or \"unix:/run/app.sock\"".into()
            }
            Self::SiteName => {
                "a host name such as \"shop.example.com\", \"*.example.com\" or \"*\"".into()
            }
            Self::Pattern => {
                "a path such as \"/a\", \"/a/*\", \"/users/{id}\" or \"*.php\"".into()
            }
            Self::RoutePattern => {
                "a path such as \"/a\", \"/a/*\", \"/users/{id}\" or \"*.php\", or ~ \"regex\"".into()
            }
            Self::Values => "a value, or several with commas".into(),
            Self::FieldLines => "a field such as \"X-Version: 2\"".into(),
            Self::TryPath => "a path such as \"{path}\" or \"/index.html\"".into(),
            Self::Methods => "methods such as \"GET\" or \"GET,HEAD\"".into(),
            Self::Status { min, max } => format!("a status code from {min} to {max}"),
            Self::Prefix => "a path such as \"/api\"".into(),
            Self::PathTemplate => "a path such as \"/v2/{rest}\"".into(),
            Self::UrlTemplate => "a path or URL such as \"/new/{rest}\"".into(),
            Self::ValueTemplate => "the value of a field, which may have `{client}` and so on".into(),
            Self::Regex => "a regular expression such as \"^/u/[0-9]+$\"".into(),
            Self::FieldName => "the name of a field such as \"X-Forwarded-For\"".into(),
            Self::FieldValue => "the value of a field".into(),
            Self::Token => "a name without spaces".into(),
            Self::HostPolicy => "`preserve`, `endpoint` or a host such as \"app.example\"".into(),
            Self::Ports => "ports such as 443, \"80,443\" or \"8000-9000\", or `any`".into(),
            Self::Destinations => {
                "a host, \"*.suffix\", network or \"*\", or several with commas".into()
            }
            Self::Percent { min, max } => format!("a percentage from \"{min}%\" to \"{max}%\""),
            Self::PercentOrOff { min, max } => {
                format!("a percentage from \"{min}%\" to \"{max}%\", or `off`")
            }
            Self::Share { .. } => "a share such as \"5%\" or \"0.5%\"".into(),
            Self::Factor => "a number above 1 such as 3.0, or 0".into(),
            Self::HealthCheck => "a path such as \"/healthz\", `tcp` or `grpc`".into(),
            Self::Statuses => "statuses such as \"200-399\" or \"200,204\"".into(),
            Self::StoredStatuses => "a status such as 404, or a class such as \"5xx\"".into(),
            Self::NamePatterns => "a name such as \"lang\" or \"utm_*\", or several with commas".into(),
            Self::Method => "a method such as GET".into(),
            Self::Authority => "a host such as \"app.internal\", perhaps with a port".into(),
            Self::Host => "a host such as \"app.internal\"".into(),
            Self::CookiePath => "a path such as \"/\"".into(),
            Self::RetryOn => {
                format!("{}, or a status from 400 to 599", one_of(RETRY_REASONS))
            }
            Self::After => "a quantile such as `p95`, or a time such as \"50ms\"".into(),
            Self::RequestLine => {
                "a method and a URL, such as \"GET https://shop.example.com/\" or \"CONNECT example.com:443\"".into()
            }
        }
    }
}

fn between(min: u64, max: u64, text: impl Fn(u64) -> String) -> String {
    match (min, max) {
        (0, u64::MAX) => String::new(),
        (min, u64::MAX) => format!(", at least {}", text(min)),
        (0, max) => format!(", at most {}", text(max)),
        (min, max) => format!(" from {} to {}", text(min), text(max)),
    }
}

fn one_of(rows: &[WordRow]) -> String {
    let words: Vec<_> = rows.iter().map(|row| format!("`{}`", row.word)).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::algorithms::ALGORITHMS;
    use super::*;

    #[test]
    fn every_row_is_documented() {
        for row in BLOCKS.iter().flat_map(|block| block.rows()) {
            assert!(row.doc.ends_with('.'), "{}", row.name);
            row.properties().for_each(|row| assert!(row.doc.ends_with('.'), "{}", row.name));
        }
        let settings = TIMEOUTS.iter().map(|s| &s.row).chain(LIMITS.iter().map(|s| &s.row));
        settings.for_each(|row| assert!(row.doc.ends_with('.'), "{}", row.name));
    }

    #[test]
    fn words_that_are_not_ours_are_not_ours() {
        for word in PLANNED.iter().map(|row| row.0).chain(FOREIGN.iter().map(|row| row.0)) {
            // These are, but only in `resolver` and in the key of `cache`, where nobody means those of other programs.
            let is_ours = matches!(word, "server" | "cookie");
            assert!(homes(word).is_none() || is_ours, "{word}");
        }
        for (block, word, _, _) in FOREIGN_HERE {
            let block = BLOCKS.iter().find(|other| other.name() == *block).unwrap();
            assert!(block.row(word).is_none(), "{word}");
        }
        for (word, ours, hint) in FOREIGN_WORDS {
            assert!(ALGORITHMS.iter().all(|row| row.word != *word), "{word}");
            assert!(ALGORITHMS.iter().any(|row| row.word == *ours), "{ours}");
            assert!(hint.contains(ours), "{hint}");
        }
    }
}
