//! The conditions of routes, beside path and method.
//!
//! Conditions of the model are prepared once: names of fields recognised, long lists of networks indexed. Those that are about
//! the path are asked for each of its readings. Not here: which route is tried when (`routes`).

use std::borrow::Cow;
use std::net::IpAddr;

use config::{Condition, Pattern, PatternEnd, Segment, Test, ValueTest};
use foldhash::HashSet;
use ipnet::IpNet;
use message::{Field, Fields, Known, Method, Request};

use crate::canonical;
use crate::prefixes::{Nets, canonical_net, net_set};

/// Networks that are compared one after the other; more are indexed.
const NETS_COMPARED_MAX: usize = 8;
/// The same for values.
const VALUES_COMPARED_MAX: usize = 8;

/// What routes are chosen by, beside host and path.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The client's address, as far back as proxies are trusted.
    pub client: IpAddr,
    /// The fields.
    pub fields: &'a Fields,
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
}

impl<'a> RouteRequest<'a> {
    /// Of a request that came from this client.
    pub fn of(request: &'a Request, client: IpAddr) -> Self {
        let Request { method, target, fields, .. } = request;
        Self { method, client, fields, query: target.sent_query() }
    }
}

/// Networks, one of which has an address.
pub(crate) enum NetSet {
    Few(Box<[IpNet]>),
    Many(Nets<()>),
}

impl NetSet {
    pub(crate) fn of(nets: &[IpNet]) -> Self {
        let nets: Vec<_> = nets.iter().map(|&net| canonical_net(net)).collect();
        if nets.len() <= NETS_COMPARED_MAX {
            return Self::Few(nets.into());
        }
        Self::Many(net_set(nets))
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        match self {
            Self::Few(nets) => nets.iter().any(|net| net.contains(&address)),
            Self::Many(nets) => nets.each(address).next().is_some(),
        }
    }
}

/// The conditions of one route, prepared.
pub(crate) struct Conditions(Box<[Line]>);

struct Line {
    negated: bool,
    tests: Box<[Prepared]>,
}

/// What a value must be, prepared.
enum Value {
    Test(ValueTest),
    /// One of many.
    Among(HashSet<Box<[u8]>>),
}

impl Value {
    fn of(test: &ValueTest) -> Self {
        match test {
            ValueTest::Is(values) if values.len() > VALUES_COMPARED_MAX => {
                Self::Among(values.iter().map(|value| value.as_bytes().into()).collect())
            }
            test => Self::Test(test.clone()),
        }
    }

    fn has(&self, value: &[u8]) -> bool {
        match self {
            Self::Test(ValueTest::Present) => !value.is_empty(),
            Self::Test(ValueTest::Is(any)) => any.iter().any(|wanted| wanted.as_bytes() == value),
            Self::Test(ValueTest::Matches(regex)) => regex.is_match(value),
            Self::Among(values) => values.contains(value),
        }
    }
}

enum Prepared {
    Field(Known, Box<str>, Value),
    Query(Box<str>, Value),
    Cookie(Box<str>, Value),
    From(NetSet),
    Method(Box<[Box<str>]>),
    Path(Pattern),
}

impl Prepared {
    fn of(test: &Test) -> Self {
        match test {
            Test::Field(name, value) => {
                Self::Field(Known::of(name.as_bytes()), name.clone(), Value::of(value))
            }
            Test::Query(name, value) => Self::Query(name.clone(), Value::of(value)),
            Test::Cookie(name, value) => Self::Cookie(name.clone(), Value::of(value)),
            Test::From(nets) => Self::From(NetSet::of(nets)),
            Test::Method(methods) => Self::Method(methods.as_slice().into()),
            Test::Path(pattern) => Self::Path(pattern.clone()),
        }
    }

    fn holds(&self, asked: &RouteRequest<'_>, path: &str, ignores_case: bool) -> bool {
        match self {
            Self::Field(known, name, value) => {
                fields_named(asked.fields, *known, name).any(|found| value.has(found))
            }
            Self::Query(name, value) => {
                parameters(asked.query, name).any(|found| value.has(&found))
            }
            Self::Cookie(name, value) => cookies(asked.fields, name).any(|found| value.has(found)),
            Self::From(nets) => nets.has(asked.client),
            Self::Method(methods) => takes_method_or_get(methods, asked.method),
            Self::Path(pattern) => has_path(pattern, path, ignores_case),
        }
    }
}

impl Conditions {
    pub(crate) fn of(conditions: &[Condition]) -> Self {
        let line = |condition: &Condition| Line {
            negated: condition.negated,
            tests: condition.tests.iter().map(Prepared::of).collect(),
        };
        Self(conditions.iter().map(line).collect())
    }

    /// Whether all of them hold for a request, with this reading of its path.
    pub(crate) fn hold(&self, asked: &RouteRequest<'_>, path: &str, ignores_case: bool) -> bool {
        self.0.iter().all(|line| line.holds(asked, path, ignores_case))
    }
}

impl Line {
    fn holds(&self, asked: &RouteRequest<'_>, path: &str, ignores_case: bool) -> bool {
        self.negated != self.tests.iter().all(|test| test.holds(asked, path, ignores_case))
    }
}

/// Which of the conditions does not hold, and why, in words.
pub(crate) fn difference(
    conditions: &[Condition],
    asked: &RouteRequest<'_>,
    path: &str,
) -> Option<String> {
    let fails = |condition: &&Condition| {
        let Conditions(lines) = Conditions::of(std::slice::from_ref(*condition));
        !lines.iter().all(|line| line.holds(asked, path, false))
    };
    let condition = conditions.iter().find(fails)?;
    if condition.negated {
        return Some(format!("`{condition}` holds"));
    }
    let fails = |test: &&Test| !Prepared::of(test).holds(asked, path, false);
    let test = condition.tests.iter().find(fails)?;
    Some(format!("`{condition}` does not hold: {}", why(test, asked, path)))
}

/// What is there instead of what a test asks for.
fn why(test: &Test, asked: &RouteRequest<'_>, path: &str) -> String {
    let all = |what: &str, values: &mut dyn Iterator<Item = Cow<'_, [u8]>>| {
        let values: Vec<_> =
            values.map(|value| format!("`{}`", String::from_utf8_lossy(&value))).collect();
        match values.as_slice() {
            [] => format!("the request has no {what}"),
            _ => format!("the {what} is {}", values.join(" and ")),
        }
    };
    match test {
        Test::Field(name, _) => {
            let named =
                asked.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(name.as_bytes()));
            all(&format!("field {name}"), &mut named.map(|field| field.value.into()))
        }
        Test::Query(name, _) => {
            all(&format!("parameter {name}"), &mut parameters(asked.query, name))
        }
        Test::Cookie(name, _) => {
            all(&format!("cookie {name}"), &mut cookies(asked.fields, name).map(Into::into))
        }
        Test::From(_) => format!("the client is {}", canonical(asked.client)),
        Test::Method(_) => format!("the method is {}", asked.method),
        Test::Path(_) => format!("the path is {path}"),
    }
}

/// RFC 9110, section 9.3.2: who speaks of GET, speaks of HEAD.
fn takes_method_or_get(methods: &[Box<str>], method: &Method) -> bool {
    let has = |method: &Method| methods.iter().any(|taken| **taken == *method.as_str());
    has(method) || (*method == Method::Head && has(&Method::Get))
}

/// The values of the fields with this name.
pub(crate) fn fields_named<'f>(
    fields: &'f Fields,
    known: Known,
    name: &str,
) -> impl Iterator<Item = &'f [u8]> {
    let has_name = move |field: &Field<'_>| {
        field.known == known
            && (known != Known::Other || field.name.eq_ignore_ascii_case(name.as_bytes()))
    };
    fields.iter().filter(has_name).map(|field| field.value)
}

/// The values of a query's parameters with this name, decoded.
pub(crate) fn parameters<'q>(
    query: Option<&'q [u8]>,
    name: &str,
) -> impl Iterator<Item = Cow<'q, [u8]>> {
    let pairs = query.unwrap_or_default().split(|&byte| byte == b'&');
    pairs.filter_map(move |pair| {
        let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let is_it = *decoded(pair.get(..end)?) == *name.as_bytes();
        is_it.then(|| decoded(pair.get(end + 1..).unwrap_or_default()))
    })
}

/// A name or value as forms encode it; `%` without two digits stands for itself.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => match escape(after) {
                Some(value) => {
                    rest = after.get(2..).unwrap_or_default();
                    value
                }
                None => b'%',
            },
            byte => byte,
        });
    }
    out.into()
}

fn escape(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// The values of the cookies with this name (RFC 6265, section 5.4).
pub(crate) fn cookies<'f>(fields: &'f Fields, name: &str) -> impl Iterator<Item = &'f [u8]> {
    let pairs = fields.get_all(Known::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let end = pair.iter().position(|&byte| byte == b'=')?;
        (pair.get(..end)? == name.as_bytes()).then(|| pair.get(end + 1..).unwrap_or_default())
    })
}

/// Whether a pattern has a path.
pub(crate) fn has_path(pattern: &Pattern, path: &str, ignores_case: bool) -> bool {
    let same = |one: &str, other: &str| match ignores_case {
        true => one.eq_ignore_ascii_case(other),
        false => one == other,
    };
    if let PatternEnd::Regex(regex) = &pattern.end {
        return regex.is_match(path.as_bytes());
    }
    let Some(segments) = path.strip_prefix('/') else {
        // `*` of OPTIONS is below nothing but `/*`.
        return path == "*" && pattern.is_all();
    };
    let mut rest = Some(segments).filter(|segments| !segments.is_empty());
    for segment in &pattern.segments {
        let Some(segments) = rest else { return false };
        let (first, after) = match segments.split_once('/') {
            Some((first, after)) => (first, Some(after)),
            None => (segments, None),
        };
        let has = match segment {
            Segment::Literal(text) => same(text, first),
            Segment::Capture(_) => !first.is_empty(),
        };
        if !has {
            return false;
        }
        rest = after;
    }
    match &pattern.end {
        PatternEnd::Exact => rest.is_none(),
        PatternEnd::Prefix => true,
        PatternEnd::Start(start) => rest.is_some_and(|rest| starts_with(rest, start, ignores_case)),
        PatternEnd::Suffix(suffix) => rest.is_some_and(|rest| {
            let last = rest.rsplit('/').next().unwrap_or_default();
            ends_with(last, suffix, ignores_case)
        }),
        PatternEnd::Regex(_) => false,
    }
}

/// Whether a segment begins so.
pub(crate) fn starts_with(segment: &str, start: &str, ignores_case: bool) -> bool {
    segment.as_bytes().get(..start.len()).is_some_and(|found| match ignores_case {
        true => found.eq_ignore_ascii_case(start.as_bytes()),
        false => found == start.as_bytes(),
    })
}

/// Whether a segment ends so.
pub(crate) fn ends_with(segment: &str, suffix: &str, ignores_case: bool) -> bool {
    let start = segment.len().checked_sub(suffix.len());
    let end = start.and_then(|start| segment.as_bytes().get(start..));
    end.is_some_and(|end| match ignores_case {
        true => end.eq_ignore_ascii_case(suffix.as_bytes()),
        false => end == suffix.as_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        #[track_caller]
        fn check(query: &str, name: &str, expected: &[&str]) {
            let found: Vec<_> = parameters(Some(query.as_bytes()), name).collect();
            let found: Vec<_> = found.iter().map(|v| str::from_utf8(v).unwrap()).collect();
            assert_eq!(found, expected, "{query}");
        }
        check("a=1&b=2&a=3", "a", &["1", "3"]);
        check("%61=%31", "a", &["1"]);
        check("a=x+y%2Bz", "a", &["x y+z"]);
        check("a=100%&a=%4&a=%zz", "a", &["100%", "%4", "%zz"]);
        check("a&a=", "a", &["", ""]);
        check("", "a", &[]);
        check("aa=1&A=2", "a", &[]);
        check("a+b=1", "a b", &["1"]);
        assert_eq!(parameters(None, "a").count(), 0);
    }
}
