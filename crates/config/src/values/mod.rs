//! Kinds of values: what each may be, and what it becomes.
//!
//! [`read`] makes a [`Datum`] of a value as the row of a table says. Each kind tells precisely what
//! is wrong with a value that it is not. Not here: where values stand (`schema`), how they fit
//! together (`decode`).

mod addresses;
mod balancing;
mod caching;
mod foreign;
mod hosts;
mod logs;
mod matching;
mod paths;
mod requests;
mod secure;
mod template;
mod tokens;
mod units;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{
    AccessFormat, AdminAddress, Destination, EndpointAddress, HostPolicy, LogTarget, Pattern,
    PortRange, Regex, SiteName,
};
use crate::nearest::nearest;
use crate::schema::{FOREIGN_WORDS, Kind, WordRow};
use crate::syntax::{Value, ValueKind};

pub(crate) use addresses::{destination_text, nets_text, ports_text};
pub(crate) use balancing::{share_text, statuses_text};
pub(crate) use foreign::foreign_variable;
pub(crate) use secure::LETSENCRYPT;
pub(crate) use template::{Names, Outside, is_reserved, template};
pub use units::duration_text;
pub(crate) use units::size_text;

/// A value that is what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Text(Box<str>),
    Path(PathBuf),
    Duration(Duration),
    /// A number or a size.
    Number(u64),
    /// `off`, where a limit or an address could stand.
    Unlimited,
    Flag(bool),
    Word(&'static str),
    Listen {
        written: Box<str>,
        address: SocketAddr,
    },
    Admin(AdminAddress),
    Log(LogTarget),
    AccessFormat(AccessFormat),
    Socket(SocketAddr),
    Ip(IpAddr),
    Networks(Vec<IpNet>),
    /// The name of an upstream.
    Name(Box<str>),
    Endpoint {
        written: Box<str>,
        address: EndpointAddress,
        tls: bool,
    },
    Site(SiteName),
    Pattern(Pattern),
    Methods(Vec<Box<str>>),
    Host(HostPolicy),
    /// Empty: any.
    Ports(Vec<PortRange>),
    /// Each perhaps with its port.
    Destinations(Vec<(Destination, Option<u16>)>),
    Request {
        method: Box<str>,
        target: Box<str>,
    },
    /// Hosts, names of certificates, fingerprints, values that something is compared with, fields.
    Texts(Vec<Box<str>>),
    Statuses(Vec<(u16, u16)>),
    Factor(f64),
    Regex(Regex),
}

impl Datum {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Name(text) => text,
            Self::Word(word) => word,
            _ => "",
        }
    }

    pub(crate) fn texts(&self) -> &[Box<str>] {
        if let Self::Texts(texts) = self { texts } else { &[] }
    }

    pub(crate) fn path(&self) -> PathBuf {
        if let Self::Path(path) = self { path.clone() } else { PathBuf::new() }
    }

    pub(crate) fn factor(&self) -> f32 {
        if let Self::Factor(factor) = self { *factor as f32 } else { 0.0 }
    }

    pub(crate) fn statuses(&self) -> Vec<(u16, u16)> {
        if let Self::Statuses(statuses) = self { statuses.clone() } else { Vec::new() }
    }

    pub(crate) fn log(&self) -> LogTarget {
        if let Self::Log(target) = self { target.clone() } else { LogTarget::Off }
    }

    pub(crate) fn duration(&self) -> Duration {
        if let Self::Duration(duration) = self { *duration } else { Duration::ZERO }
    }

    pub(crate) fn number(&self) -> u64 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    /// A size; `None` for `off`.
    pub(crate) fn limit(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// A number; not more than the field that it goes to takes.
    pub(crate) fn number_in<T: TryFrom<u64> + Default>(&self) -> T {
        T::try_from(self.number()).unwrap_or_default()
    }

    pub(crate) fn flag(&self) -> bool {
        matches!(self, Self::Flag(true))
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is said of a value that is simply something else.
    fn unexpected(given: &str, kind: Kind) -> Self {
        Self::new(format!("{given} is not {}", kind.expected()))
    }
}

/// Reads a value as `kind`.
pub(crate) fn read(value: &Value<'_>, kind: Kind) -> Result<Datum, Wrong> {
    match &value.kind {
        ValueKind::Text { text, .. } => read_text(text, kind),
        ValueKind::Integer(number) => read_integer(*number, kind),
        ValueKind::Bool(flag) if matches!(kind, Kind::Flag) => Ok(Datum::Flag(*flag)),
        ValueKind::Bool(flag) => Err(other(&format!("#{flag}"), kind)),
        ValueKind::Float(number) if matches!(kind, Kind::Factor) => {
            balancing::factor(*number).map(Datum::Factor)
        }
        ValueKind::Float(number) if matches!(kind, Kind::Share { .. }) => {
            Err(balancing::percent_of_number(number, "a share"))
        }
        ValueKind::Float(number) => Err(other(&number.to_string(), kind)),
        ValueKind::Null => Err(other("#null", kind)),
    }
}

fn other(given: &str, kind: Kind) -> Wrong {
    let wrong = Wrong::unexpected(given, kind);
    match (given, kind) {
        ("#false", Kind::Word(rows)) if rows.iter().any(|row| row.word == "off") => {
            wrong.hinted("write off")
        }
        (
            "#false",
            Kind::Limit
            | Kind::Log
            | Kind::AccessLog
            | Kind::ListenOrOff
            | Kind::PercentOrOff { .. },
        ) => wrong.hinted("write off"),
        ("#true", Kind::Word(rows)) if rows.iter().any(|row| row.word == "on") => {
            wrong.hinted("write on")
        }
        (given, Kind::Word(rows)) if rows.iter().any(|row| row.word == given) => {
            wrong.hinted(format!("put it in quotes: \"{given}\""))
        }
        ("#null", _) => wrong.hinted("omit the setting for its default"),
        _ => wrong,
    }
}

fn read_integer(number: i128, kind: Kind) -> Result<Datum, Wrong> {
    match kind {
        Kind::Number { min, max } | Kind::Size { min, max } => in_range(number, min, max, kind),
        Kind::Limit => in_range(number, 0, u64::MAX, kind),
        Kind::Status { min, max } => in_range(number, min.into(), max.into(), kind),
        Kind::Ports => read_text(&number.to_string(), kind),
        Kind::Duration { .. } => {
            let wrong = Wrong::new(format!("{number} is a duration without unit"));
            Err(wrong.hinted(format!(
                "write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"
            )))
        }
        Kind::Listen | Kind::ListenOrOff if (1..=65535).contains(&number) => {
            let wrong = Wrong::new(format!("{number} is not {}", kind.expected()));
            Err(wrong.hinted(format!("write \":{number}\"")))
        }
        Kind::Flag if (0..2).contains(&number) => {
            let word = if number == 1 { "#true" } else { "#false" };
            Err(Wrong::unexpected(&number.to_string(), kind).hinted(format!("write {word}")))
        }
        Kind::Percent { .. } | Kind::PercentOrOff { .. } => {
            Err(balancing::percent_of_number(number, "a percentage"))
        }
        Kind::Share { .. } => Err(balancing::percent_of_number(number, "a share")),
        Kind::Factor => balancing::factor(number as f64).map(Datum::Factor),
        Kind::RetryOn => balancing::retry_status(number),
        Kind::Statuses | Kind::StoredStatuses => read_text(&number.to_string(), kind),
        Kind::After => read_integer(number, Kind::Duration { zero: false }),
        Kind::Target | Kind::Endpoint if (1..=65535).contains(&number) => {
            read_text(&number.to_string(), kind)
        }
        Kind::Values => read_text(&number.to_string(), kind),
        Kind::Text | Kind::ValueTemplate | Kind::FieldValue => {
            let wrong = Wrong::new(format!("{number} is a number, text is expected"));
            Err(wrong.hinted(format!("put it in quotes: \"{number}\"")))
        }
        _ => Err(Wrong::unexpected(&number.to_string(), kind)),
    }
}

fn in_range(number: i128, min: u64, max: u64, kind: Kind) -> Result<Datum, Wrong> {
    let fitting = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
    fitting.map(Datum::Number).ok_or_else(|| Wrong::unexpected(&number.to_string(), kind))
}

fn read_text(text: &str, kind: Kind) -> Result<Datum, Wrong> {
    let unexpected = || Wrong::unexpected(&format!("`{text}`"), kind);
    match kind {
        Kind::Text => tokens::text(text).map(Datum::Text),
        Kind::Path => tokens::path(text).map(Datum::Path),
        Kind::Duration { zero } => units::duration(text, zero).map(Datum::Duration),
        Kind::Limit if text == "off" => Ok(Datum::Unlimited),
        Kind::Limit => units::size(text).map(Datum::Number),
        Kind::Size { min, max } => {
            let size = units::size(text)?;
            if (min..=max).contains(&size) { Ok(Datum::Number(size)) } else { Err(unexpected()) }
        }
        Kind::Number { .. } | Kind::Status { .. } => Err(match text.parse::<u64>() {
            Ok(_) => unexpected().hinted(format!("write it without quotes: {text}")),
            Err(_) => unexpected(),
        }),
        Kind::Flag => Err(match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => unexpected().hinted("write #true"),
            "false" | "no" | "off" => unexpected().hinted("write #false"),
            _ => unexpected(),
        }),
        Kind::Word(rows) => one_of(text, rows),
        Kind::Listen => {
            addresses::listen(text).map(|address| Datum::Listen { written: text.into(), address })
        }
        Kind::ListenOrOff if text == "off" => Ok(Datum::Unlimited),
        Kind::ListenOrOff => read_text(text, Kind::Listen),
        Kind::Admin => addresses::admin(text).map(Datum::Admin),
        Kind::Log => tokens::log(text).map(Datum::Log),
        Kind::AccessLog => logs::target(text).map(Datum::Log),
        Kind::AccessFormat => logs::format(text).map(Datum::AccessFormat),
        Kind::LogFields => logs::fields(text).map(Datum::Texts),
        Kind::Socket => addresses::socket(text).map(Datum::Socket),
        Kind::Ip => addresses::ip(text).map(Datum::Ip),
        Kind::Networks => addresses::networks(text).map(Datum::Networks),
        Kind::Name => tokens::name(text).map(Datum::Name),
        Kind::Target | Kind::Endpoint if matching::is_port(text) => {
            let wrong = Wrong::new(format!("`{text}` is a port, and an endpoint has a host too"));
            Err(wrong.hinted(format!("write \"127.0.0.1:{text}\" for a server on this machine")))
        }
        Kind::Target if tokens::is_name(text) => Ok(Datum::Name(text.into())),
        Kind::Endpoint if balancing::flag_of_endpoint(text).is_some() => {
            let hint = balancing::flag_of_endpoint(text).unwrap_or_default();
            Err(Wrong::new(format!("`{text}` is not an endpoint")).hinted(hint))
        }
        Kind::Target if text.ends_with('%') => {
            let wrong = Wrong::new(format!("`{text}` is not an upstream"));
            Err(wrong
                .hinted("write shares in `split`: split { to app \"95%\"; to canary \"5%\"; }"))
        }
        Kind::Target | Kind::Endpoint => {
            let (address, tls) = addresses::endpoint(text)?;
            Ok(Datum::Endpoint { written: text.into(), address, tls })
        }
        Kind::SiteName => hosts::site_name(text).map(Datum::Site),
        Kind::RoutePattern if text == "~" => Ok(Datum::Word("~")),
        Kind::Pattern | Kind::RoutePattern => paths::pattern(text).map(Datum::Pattern),
        Kind::Values => matching::values(text).map(Datum::Texts),
        Kind::FieldLines => matching::field_lines(text).map(Datum::Texts),
        Kind::TryPath => matching::try_path(text).map(Datum::Text),
        Kind::Methods => requests::methods(text).map(Datum::Methods),
        Kind::Prefix => paths::prefix(text).map(Datum::Text),
        Kind::PathTemplate => paths::path_template(text).map(Datum::Text),
        Kind::UrlTemplate => paths::url_template(text).map(Datum::Text),
        Kind::Regex => tokens::regex(text).map(Datum::Regex),
        Kind::FieldName => tokens::field_name(text).map(Datum::Text),
        Kind::FieldValue | Kind::ValueTemplate => tokens::field_value(text).map(Datum::Text),
        Kind::Token => tokens::token(text).map(Datum::Text),
        Kind::HostPolicy => hosts::policy(text).map(Datum::Host),
        Kind::Ports => addresses::ports(text).map(Datum::Ports),
        Kind::Destinations => addresses::destinations(text).map(Datum::Destinations),
        Kind::RequestLine => {
            requests::request_line(text).map(|(method, target)| Datum::Request { method, target })
        }
        Kind::Hosts => secure::hosts(text).map(Datum::Texts),
        Kind::CertificateNames => secure::certificate_names(text).map(Datum::Texts),
        Kind::Fingerprints => secure::fingerprints(text).map(Datum::Texts),
        Kind::Subject => secure::subject(text).map(Datum::Text),
        Kind::Directory => secure::directory(text).map(Datum::Text),
        Kind::Mail => secure::mail(text).map(Datum::Text),
        Kind::PercentOrOff { .. } if text == "off" => Ok(Datum::Unlimited),
        Kind::Percent { min, max } | Kind::PercentOrOff { min, max } => {
            balancing::percent(text, min, max).map(Datum::Number)
        }
        Kind::Share { zero } => balancing::share(text, zero).map(Datum::Number),
        Kind::Factor => Err(match text.parse::<f64>() {
            Ok(_) => unexpected().hinted(format!("write it without quotes: {text}")),
            Err(_) => unexpected(),
        }),
        Kind::HealthCheck => balancing::health_check(text),
        Kind::Statuses => balancing::statuses(text).map(Datum::Statuses),
        Kind::StoredStatuses => caching::statuses(text).map(Datum::Statuses),
        Kind::NamePatterns => caching::name_patterns(text).map(Datum::Texts),
        Kind::Method => balancing::method(text).map(Datum::Text),
        Kind::Authority => balancing::authority(text).map(Datum::Text),
        Kind::Host => balancing::host(text).map(Datum::Text),
        Kind::CookiePath => balancing::cookie_path(text).map(Datum::Text),
        Kind::RetryOn => match text.parse::<u16>() {
            Ok(_) => Err(unexpected().hinted(format!("write it without quotes: {text}"))),
            Err(_) => balancing::retry_on(text),
        },
        Kind::After => balancing::after(text),
    }
}

/// An endpoint, and whether it is spoken to over TLS; else what is wrong, in one sentence.
pub(crate) fn endpoint(text: &str) -> Result<(EndpointAddress, bool), String> {
    addresses::endpoint(text).map_err(|wrong| match wrong.hint {
        Some(hint) => format!("{}: {hint}", wrong.message),
        None => wrong.message,
    })
}

fn one_of(text: &str, rows: &'static [WordRow]) -> Result<Datum, Wrong> {
    if let Some(row) = rows.iter().find(|row| row.word == text) {
        return Ok(Datum::Word(row.word));
    }
    let known: Vec<_> = rows.iter().map(|row| row.word).collect();
    let wrong = Wrong::new(format!("`{text}` is not a known value here"));
    let mut foreign = FOREIGN_WORDS.iter().filter(|(word, ..)| word.eq_ignore_ascii_case(text));
    if let Some((_, _, ours)) = foreign.find(|(_, ours, _)| known.contains(ours)) {
        return Err(wrong.hinted(format!("write {ours}")));
    }
    let known = known.join(", ");
    Err(match nearest(text, rows.iter().map(|row| row.word)) {
        Some(word) => wrong.hinted(format!("did you mean `{word}`? (known: {known})")),
        None => wrong.hinted(format!("known: {known}")),
    })
}
