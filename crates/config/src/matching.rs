//! What requests are compared with: names of sites, patterns of routes, conditions, rules about addresses.
//!
//! Not here: the comparison (`rules`).

use std::fmt;

use ipnet::IpNet;

use crate::effective::quoted;
use crate::model::{Place, Regex};
use crate::values::nets_text;

/// A name of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteName {
    /// This host, in lower case.
    Exact(Box<str>),
    /// Every host that has one label before this suffix (`{tenant}.example.com` keeps `example.com`).
    Label {
        /// The name by which templates have the label.
        capture: Box<str>,
        /// What follows the label and its dot.
        suffix: Box<str>,
    },
    /// Every host below this suffix (`*.example.com` keeps `example.com`), at any depth.
    Wildcard(Box<str>),
    /// Every host that no other site of the listener has.
    Default,
}

impl SiteName {
    /// The name that a certificate for it has.
    pub fn in_certificate(&self) -> Box<str> {
        match self {
            Self::Label { suffix, .. } => format!("*.{suffix}").into(),
            name => name.to_string().into(),
        }
    }
}

/// As one writes it.
impl fmt::Display for SiteName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => out.write_str(host),
            Self::Label { capture, suffix } => write!(out, "{{{capture}}}.{suffix}"),
            Self::Wildcard(suffix) => write!(out, "*.{suffix}"),
            Self::Default => out.write_str("*"),
        }
    }
}

/// A part of the host that a site's name captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCapture {
    /// Its name.
    pub name: Box<str>,
    /// What follows it in the host, without the dot between.
    pub suffix: Box<str>,
}

impl HostCapture {
    /// What the names of a site capture.
    pub fn of(names: &[SiteName]) -> impl Iterator<Item = Self> + '_ {
        names.iter().filter_map(|name| match name {
            SiteName::Label { capture, suffix } => {
                Some(Self { name: capture.clone(), suffix: suffix.clone() })
            }
            SiteName::Exact(_) | SiteName::Wildcard(_) | SiteName::Default => None,
        })
    }

    /// What it captures of a canonical host.
    pub fn label<'a>(&self, host: &'a str) -> Option<&'a str> {
        let (label, rest) = host.split_once('.')?;
        (rest.strip_suffix('.').unwrap_or(rest) == &*self.suffix).then_some(label)
    }
}

/// Which paths a route takes, split at `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written, such as `/api/{id}/*`, or `~ ^/u/` with a regular expression.
    pub written: Box<str>,
    /// The segments between slashes; `/` has none, `/a/` has `a` and an empty literal.
    pub segments: Vec<Segment>,
    /// What comes after them.
    pub end: PatternEnd,
}

impl Pattern {
    /// `/*`, which has every path.
    pub fn all() -> Self {
        Self { written: "/*".into(), segments: Vec::new(), end: PatternEnd::Prefix }
    }

    /// The paths that a regular expression has.
    pub fn regex(regex: Regex) -> Self {
        let written = format!("~ {}", regex.as_str()).into();
        Self { written, segments: Vec::new(), end: PatternEnd::Regex(regex) }
    }

    /// Whether it has every path.
    pub fn is_all(&self) -> bool {
        self.segments.is_empty() && self.end == PatternEnd::Prefix
    }

    /// The names of what it captures, `rest` included.
    pub fn captures(&self) -> Vec<Box<str>> {
        let segments = self.segments.iter().filter_map(|segment| match segment {
            Segment::Capture(name) => Some(name.clone()),
            Segment::Literal(_) => None,
        });
        let mut names: Vec<Box<str>> = segments.collect();
        match &self.end {
            PatternEnd::Exact => {}
            PatternEnd::Prefix | PatternEnd::Start(_) | PatternEnd::Suffix(_) => {
                names.push("rest".into());
            }
            PatternEnd::Regex(regex) => names.extend(regex.names().map(Into::into)),
        }
        names
    }
}

/// As it is written behind `route`.
impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            PatternEnd::Regex(regex) => write!(out, "~ {}", quoted(regex.as_str())),
            _ => out.write_str(&quoted(&self.written)),
        }
    }
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text, compared with the canonical path.
    Literal(Box<str>),
    /// Any one non-empty segment, kept under this name.
    Capture(Box<str>),
}

/// What follows the segments of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternEnd {
    /// Nothing: the path ends there.
    Exact,
    /// `/*`: `/api/*` takes `/api`, `/api/` and all below.
    Prefix,
    /// `/ws*`: all below whose next segment begins with this, `ws`.
    Start(Box<str>),
    /// `/*.php`: all below whose last segment ends with this, `.php`.
    Suffix(Box<str>),
    /// The whole canonical path is compared with this.
    Regex(Regex),
}

/// A line of conditions: `when`, all of whose tests must hold, or `unless`, of whose tests one at least must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The line of it.
    pub place: Place,
    /// Whether it is an `unless`.
    pub negated: bool,
    /// Its tests; never empty.
    pub tests: Vec<Test>,
}

/// One test of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A field of this name, compared without case, has such a value.
    Field(Box<str>, ValueTest),
    /// A parameter of this name in the query has such a value.
    Query(Box<str>, ValueTest),
    /// A cookie of this name has such a value.
    Cookie(Box<str>, ValueTest),
    /// The client is in one of these networks.
    From(Vec<IpNet>),
    /// The method is one of these.
    Method(Vec<Box<str>>),
    /// The path has this pattern.
    Path(Pattern),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueTest {
    /// Not empty.
    Present,
    /// One of these.
    Is(Vec<Box<str>>),
    /// Something in which this is found.
    Matches(Regex),
}

/// As it is written.
impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.negated { "unless" } else { "when" })?;
        self.tests.iter().try_for_each(|test| write!(out, " {test}"))
    }
}

/// As it is written in its line.
impl fmt::Display for Test {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &[Box<str>]| quoted(&all.join(","));
        match self {
            Self::Field(name, value) => write!(out, "field={}{value}", quoted(name)),
            Self::Query(name, value) => write!(out, "query={}{value}", quoted(name)),
            Self::Cookie(name, value) => write!(out, "cookie={}{value}", quoted(name)),
            Self::From(nets) => write!(out, "from={}", quoted(&nets_text(nets))),
            Self::Method(methods) => write!(out, "method={}", list(methods)),
            Self::Path(pattern) => write!(out, "path={}", quoted(&pattern.written)),
        }
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => Ok(()),
            Self::Is(values) => write!(out, " is={}", quoted(&values.join(","))),
            Self::Matches(regex) => write!(out, " matches={}", quoted(regex.as_str())),
        }
    }
}

/// Whether clients at some addresses are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// The line of it.
    pub place: Place,
    /// Whether it allows.
    pub allow: bool,
    /// Networks, any of them; empty: every address.
    pub from: Vec<IpNet>,
}

/// As it is written.
impl fmt::Display for AccessRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.allow { "allow" } else { "deny" })?;
        if self.from.is_empty() {
            return Ok(());
        }
        out.write_str(" from=")?;
        out.write_str(&quoted(&nets_text(&self.from)))
    }
}

/// Which of the things that are asked of a client must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Satisfy {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
}
