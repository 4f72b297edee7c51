//! What a request is compared with: conditions of routes, rules about addresses; and which files are tried.

use ipnet::IpNet;

use super::layer::{Layer, RawActionKind};
use super::{Checked, Decoder};
use crate::model::{
    AccessRule, Condition, FileServing, Pattern, PatternEnd, Regex, Segment, Template, Test,
    ValueTest,
};
use crate::schema::{ACCESS_PROPERTIES, CONDITION_PROPERTIES, TRY_PROPERTIES};
use crate::source::Span;
use crate::values::{self, Datum};

/// A line of conditions, by its properties.
#[derive(Debug, Default)]
pub(crate) struct RawCondition {
    pub(crate) negated: bool,
    pub(crate) span: Span,
    pub(crate) field: Option<Box<str>>,
    pub(crate) query: Option<Box<str>>,
    pub(crate) cookie: Option<Box<str>>,
    pub(crate) is: Vec<Box<str>>,
    pub(crate) matches: Option<Regex>,
    pub(crate) from: Vec<IpNet>,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) path: Option<Pattern>,
}

impl RawCondition {
    /// How many of its properties name a value of the request.
    fn named(&self) -> usize {
        [&self.field, &self.query, &self.cookie].into_iter().flatten().count()
    }

    fn tests(&self) -> Vec<Test> {
        let value = || match &self.matches {
            Some(regex) => ValueTest::Matches(regex.clone()),
            None if self.is.is_empty() => ValueTest::Present,
            None => ValueTest::Is(self.is.clone()),
        };
        let mut tests = Vec::new();
        tests.extend(self.field.iter().map(|name| Test::Field(name.clone(), value())));
        tests.extend(self.query.iter().map(|name| Test::Query(name.clone(), value())));
        tests.extend(self.cookie.iter().map(|name| Test::Cookie(name.clone(), value())));
        if !self.from.is_empty() {
            tests.push(Test::From(self.from.clone()));
        }
        if !self.methods.is_empty() {
            tests.push(Test::Method(self.methods.clone()));
        }
        tests.extend(self.path.iter().map(|path| Test::Path(path.clone())));
        tests
    }
}

/// A rule about addresses, and where it stands.
#[derive(Debug)]
pub(crate) struct RawAccess {
    pub(crate) rule: AccessRule,
    pub(crate) span: Span,
}

/// What `files` says.
#[derive(Debug)]
pub(crate) struct RawFiles {
    pub(crate) serving: FileServing,
    pub(crate) to: Option<(RawActionKind, Span)>,
    captures: Vec<Box<str>>,
    tries: Option<Span>,
}

impl RawFiles {
    pub(super) fn new(captures: &[Box<str>]) -> Self {
        let (serving, captures) = (FileServing::new(""), captures.to_vec());
        Self { serving, to: None, captures, tries: None }
    }
}

impl Decoder<'_> {
    pub(crate) fn condition(&mut self, layer: &mut Layer, node: &Checked<'_, '_>, negated: bool) {
        let span = node.name_span();
        let mut raw = RawCondition { negated, span, ..RawCondition::default() };
        node.put(&CONDITION_PROPERTIES, &mut raw);
        let name = node.row.name;
        let whole = node.node.span;
        // A property that is wrong has been reported, and so has what is left without it.
        if node.properties.len() < node.node.properties.len() {
            return;
        }
        if raw.field.as_ref().is_some_and(|field| field.eq_ignore_ascii_case("host")) {
            self.error(whole, "the host is no condition of a route")
                .hint("write another `site` with this name");
        } else if raw.named() != 1 && (!raw.is.is_empty() || raw.matches.is_some()) {
            let message = match raw.named() {
                0 => format!("`{name}` does not say which value is compared"),
                _ => format!("`{name}` compares several values with the same"),
            };
            self.error(whole, message)
                .hint(format!("write {name} field=\"X-Version\" is=\"2\", a line for each value"));
        } else if !raw.is.is_empty() && raw.matches.is_some() {
            self.error(whole, "`is` and `matches` exclude each other")
                .hint("a regular expression compares several values too: matches=\"^(a|b)$\"");
        } else if raw.tests().is_empty() {
            if !node.node.damaged {
                self.error(whole, format!("`{name}` needs a condition")).hint(format!(
                    "write {name} field=\"X-Version\" is=\"2\", query=…, cookie=…, from=…, method=… or path=…"
                ));
            }
        } else {
            layer.conditions.push(raw);
        }
    }

    /// The conditions of a route.
    pub(super) fn conditions(&self, layer: &Layer) -> Vec<Condition> {
        let condition = |raw: &RawCondition| Condition {
            place: self.place(raw.span),
            negated: raw.negated,
            tests: raw.tests(),
        };
        layer.conditions.iter().map(condition).collect()
    }

    pub(crate) fn access(&mut self, layer: &mut Layer, node: &Checked<'_, '_>, allow: bool) {
        let span = node.name_span();
        // Without the networks that are wrong, it would be about everybody.
        if node.properties.len() < node.node.properties.len() {
            return;
        }
        let mut rule = AccessRule { place: self.place(span), allow, from: Vec::new() };
        node.put(&ACCESS_PROPERTIES, &mut rule);
        layer.access.push(RawAccess { rule, span });
    }

    /// The pattern of a route: a path, or `~` and a regular expression.
    pub(super) fn route_pattern(&mut self, node: &Checked<'_, '_>) -> Option<Pattern> {
        let [first, more @ ..] = node.arguments.as_slice() else { return None };
        match (&first.datum, more.first().map(|given| (&given.datum, given.span))) {
            (Datum::Pattern(pattern), None) => Some(pattern.clone()),
            (Datum::Word(_), Some((Datum::Regex(regex), span))) => {
                let pattern = Pattern::regex(regex.clone());
                self.check_groups(regex, span)?;
                Some(pattern)
            }
            (Datum::Pattern(pattern), Some((_, span))) => {
                self.error(span, "a route has one path")
                    .hint(format!("write `route ~ \"regex\"`, or a route each: {pattern}"));
                None
            }
            _ => {
                // A regular expression that is wrong has been reported.
                if node.node.arguments.len() < 2 && !node.node.damaged {
                    self.error(node.node.span, "a regular expression is missing behind `~`")
                        .hint("write route ~ \"^/u/(?<id>[0-9]+)$\"");
                }
                None
            }
        }
    }

    /// Reports groups whose names templates read as something else.
    fn check_groups(&mut self, regex: &Regex, span: Span) -> Option<()> {
        let reserved = |name: &&str| *name != "rest" && values::is_reserved(name);
        let Some(name) = regex.names().find(reserved) else { return Some(()) };
        self.error(span, format!("a capture cannot have the name `{name}`"))
            .hint(format!("`{{{name}}}` is predefined; choose another name"));
        None
    }

    /// Names of captures that a route has in common with its site.
    pub(super) fn check_host_captures(
        &mut self,
        own: &[Box<str>],
        of_site: &[Box<str>],
        span: Span,
    ) {
        if let Some(name) = own.iter().find(|name| of_site.contains(name)) {
            self.error(span, format!("the name of the site captures `{name}` too"))
                .hint("choose another name");
        }
    }

    pub(crate) fn try_files(&mut self, files: &mut RawFiles, node: &Checked<'_, '_>) {
        let captures = std::mem::take(&mut files.captures);
        let tries: Vec<Template> = node
            .arguments
            .iter()
            .filter_map(|given| self.template(given.datum.text(), given.span, &captures))
            .collect();
        files.captures = captures;
        files.serving.tries = tries;
        files.tries = Some(node.name_span());
        node.put(&TRY_PROPERTIES, &mut files.serving);
    }

    pub(crate) fn otherwise(&mut self, files: &mut RawFiles, node: &Checked<'_, '_>) {
        files.to = Some((self.to(node), node.name_span()));
    }

    /// Reports what does not go together in `files`.
    pub(super) fn check_tries(&mut self, files: &RawFiles) {
        let Some(span) = files.tries else { return };
        if let Some(fallback) = &files.serving.fallback {
            self.error(span, "`try` and `fallback` exclude each other")
                .hint(format!("write \"{fallback}\" last in `try`"));
        }
        if let Some((_, to)) = &files.to
            && files.serving.missing_status != 404
        {
            self.error(
                span,
                "the status of `try` is never sent: requests without a file go to `to`",
            )
            .related(*to, "`to`")
            .hint("remove one of them");
        }
    }

    /// Reports a `strip-prefix` that no path of its route begins with.
    pub(super) fn check_strip(&mut self, prefix: &str, span: Span, pattern: &Pattern) {
        let mut wanted = prefix.split('/').skip(1);
        let mut segments = pattern.segments.iter();
        let differs = loop {
            match (wanted.next(), segments.next()) {
                (None, _) => break false,
                (Some(wanted), Some(Segment::Literal(text))) if **text != *wanted => break true,
                (Some(_), Some(_)) => {}
                (Some(wanted), None) => {
                    break match &pattern.end {
                        PatternEnd::Exact => true,
                        PatternEnd::Start(start) => !wanted.starts_with(&**start),
                        _ => false,
                    };
                }
            }
        };
        if differs {
            self.warning(
                span,
                format!("no path of the route begins with `{prefix}`, so nothing is removed"),
            )
            .hint(format!("the route has the paths {pattern}"));
        }
    }
}
