//! Routes and rules about addresses that are probably mistakes: ties, what never matches, redirects that lead to themselves.

use std::net::{IpAddr, Ipv4Addr};

use config::{
    AccessRule, Action, Condition, ListenerId, Pattern, PatternEnd, Place, Rewrite, Route, RouteId,
    Segment, Site, SiteId, SiteName, Test, UpstreamId, ValueTest,
};
use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;
use message::{Method, Readings, Request, Scheme};

use crate::conditions::{RouteRequest, ends_with};
use crate::explain::listener_for;
use crate::prefixes::{Nets, canonical_net};
use crate::routes::{condition_count, route_text};
use crate::template::{ClientFacts, Facts, location};
use crate::warnings::Warning;
use crate::{Routing, Rules};

/// Routes with the same pattern that each one is compared with at most; fewer, where they are so many that all
/// comparisons together would be more than this.
const COMPARED_MAX: usize = 200;
const COMPARISONS_MAX: usize = 1_000_000;
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Last segments of paths that servers have alone, with nothing below.
const LONE_PATHS: &[&str] = &[
    "callback",
    "events",
    "graphql",
    "health",
    "healthz",
    "hook",
    "livez",
    "login",
    "logout",
    "metrics",
    "ping",
    "query",
    "readyz",
    "socket",
    "sse",
    "status",
    "stream",
    "subscribe",
    "upload",
    "version",
    "webhook",
    "websocket",
    "ws",
];

/// All about the routes of all sites.
pub(crate) fn route_warnings(rules: &Rules, found: &mut Vec<Warning>) {
    let uses = upstream_uses(rules);
    for (index, site) in rules.config.sites.iter().enumerate() {
        // Redirects to https:// are nobody's mistake.
        if site.https.is_some() {
            continue;
        }
        ties(site, found);
        site.routes.iter().for_each(|route| never_matches(route, found));
        taken_by_all(site, found);
        unreachable_access(&site.base.access, found);
        for route in &site.routes {
            if !std::sync::Arc::ptr_eq(&route.settings.access, &site.base.access) {
                unreachable_access(&route.settings.access, found);
            }
        }
        redirects_to_itself(rules, SiteId::at(index), site, found);
        let below = Below::of(site);
        site.routes.iter().for_each(|route| alone(&below, route, &uses, found));
    }
}

/// A pattern without the names of its captures, and its end; `None`: a regular expression.
type PathsKey<'r> = (Vec<Option<&'r str>>, Option<String>);

/// Two routes of which only their order in the file tells which one takes a request.
fn ties(site: &Site, found: &mut Vec<Warning>) {
    let mut same: HashMap<PathsKey<'_>, Vec<&Route>> = HashMap::new();
    for route in &site.routes {
        let segments = route.pattern.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            Segment::Capture(_) => None,
        });
        let end = match &route.pattern.end {
            PatternEnd::Exact => Some(String::new()),
            PatternEnd::Prefix => Some("/".to_owned()),
            PatternEnd::Start(start) => Some(format!("{start}*")),
            PatternEnd::Suffix(suffix) => Some(format!("*{suffix}")),
            PatternEnd::Regex(_) => None,
        };
        same.entry((segments.collect(), end)).or_default().push(route);
    }
    for routes in same.values() {
        let compared = (COMPARISONS_MAX / routes.len().max(1)).min(COMPARED_MAX);
        // Equal ones are found however many there are.
        let mut first: HashMap<String, &Route> = HashMap::new();
        for (index, &route) in routes.iter().enumerate() {
            let equal = (routes.len() > compared)
                .then(|| *first.entry(wanted_text(route)).or_insert(route))
                .filter(|first| !std::ptr::eq(*first, route));
            let earlier =
                || equal.into_iter().chain(routes.iter().take(index.min(compared)).copied());
            if let Some(other) = earlier().find(|other| collide(other, route)) {
                let is_regex = matches!(route.pattern.end, PatternEnd::Regex(_));
                let plain = route.conditions.is_empty() && !is_regex;
                found.push(Warning {
                    place: route.place,
                    message: match plain {
                        true => {
                            format!("{} takes the same requests as another one", route_text(route))
                        }
                        false => format!(
                            "{} and another route may have the same requests; the one written first takes them",
                            route_text(route)
                        ),
                    },
                    hint: match plain {
                        true => "remove one of them, or give them different methods or conditions"
                            .to_owned(),
                        false => "say which one is tried first: priority=1".to_owned(),
                    },
                    other: Some(other.place),
                });
                continue;
            }
            let mut all = routes.iter().take(compared);
            if let Some(other) = all.find(|other| covers(other, route)) {
                found.push(Warning {
                    place: route.place,
                    message: format!("{} is never reached", route_text(route)),
                    hint: format!(
                        "{} takes all of it; give this one a higher priority",
                        route_text(other)
                    ),
                    other: Some(other.place),
                });
            }
        }
    }
}

/// All that a route wants beside the paths of its pattern.
fn wanted_text(route: &Route) -> String {
    let Route { priority, methods, conditions, pattern, .. } = route;
    let mut text = format!("{priority} {methods:?}");
    if let PatternEnd::Regex(regex) = &pattern.end {
        text.push_str(regex.as_str());
    }
    conditions.iter().for_each(|line| text.push_str(&format!("\n{line}")));
    text
}

/// True if two routes, with the same pattern or with regular expressions, want the same requests with the same right.
fn collide(a: &Route, b: &Route) -> bool {
    if a.priority != b.priority || condition_count(a) != condition_count(b) {
        return false;
    }
    let methods = match (&*a.methods, &*b.methods) {
        ([], []) => true,
        (a, b) => a.iter().any(|method| b.contains(method)),
    };
    methods && may_both_hold(&a.conditions, &b.conditions) && !are_disjoint(&a.pattern, &b.pattern)
}

/// True if a route with a higher priority takes all that one with the same pattern would.
fn covers(wider: &Route, narrower: &Route) -> bool {
    let same = |one: &Condition, other: &Condition| {
        one.negated == other.negated && one.tests == other.tests
    };
    let has_line = |line: &Condition| narrower.conditions.iter().any(|other| same(line, other));
    let methods = wider.methods.is_empty()
        || (!narrower.methods.is_empty()
            && narrower.methods.iter().all(|method| wider.methods.contains(method)));
    wider.priority > narrower.priority
        && methods
        && wider.conditions.iter().all(has_line)
        && match (&wider.pattern.end, &narrower.pattern.end) {
            (PatternEnd::Regex(wider), PatternEnd::Regex(narrower)) => wider == narrower,
            _ => true,
        }
}

/// Whether some request might meet both lists of conditions, as far as that can be told.
fn may_both_hold(one: &[Condition], other: &[Condition]) -> bool {
    let excludes = |lines: &'_ [Condition], test: &Test| {
        let mut alone = lines.iter().filter(|line| line.negated && line.tests.len() == 1);
        alone.any(|line| line.tests.contains(test))
    };
    let clash = when(one).any(|a| when(other).any(|b| exclude_each_other(a, b)));
    let excluded = when(one).any(|a| excludes(other, a)) || when(other).any(|b| excludes(one, b));
    !clash && !excluded
}

/// The tests that must hold.
fn when(lines: &[Condition]) -> impl Iterator<Item = &Test> {
    lines.iter().filter(|line| !line.negated).flat_map(|line| &line.tests)
}

/// Whether no request meets both tests. A field that comes twice is left out of account.
fn exclude_each_other(one: &Test, other: &Test) -> bool {
    let values = |one: &ValueTest, other: &ValueTest| match (one, other) {
        (ValueTest::Is(one), ValueTest::Is(other)) => !one.iter().any(|v| other.contains(v)),
        (ValueTest::Is(values), ValueTest::Matches(regex))
        | (ValueTest::Matches(regex), ValueTest::Is(values)) => {
            !values.iter().any(|value| regex.is_match(value.as_bytes()))
        }
        _ => false,
    };
    match (one, other) {
        (Test::Field(name, one), Test::Field(same, other)) => {
            name.eq_ignore_ascii_case(same) && values(one, other)
        }
        (Test::Query(name, one), Test::Query(same, other))
        | (Test::Cookie(name, one), Test::Cookie(same, other)) => {
            name == same && values(one, other)
        }
        (Test::From(one), Test::From(other)) => {
            !one.iter().any(|net| other.iter().any(|other| overlap(*net, *other)))
        }
        (Test::Method(one), Test::Method(other)) => !share_method(one, other),
        (Test::Path(one), Test::Path(other)) => are_disjoint(one, other),
        _ => false,
    }
}

fn share_method(one: &[Box<str>], other: &[Box<str>]) -> bool {
    let has = |list: &[Box<str>], method: &str| {
        list.iter().any(|m| **m == *method || (method == "HEAD" && &**m == "GET"))
    };
    one.iter().any(|method| has(other, method)) || other.iter().any(|method| has(one, method))
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    let (one, other) = (canonical_net(one), canonical_net(other));
    one.contains(&other) || other.contains(&one)
}

/// Whether no path has both patterns, as far as that can be told.
fn are_disjoint(one: &Pattern, other: &Pattern) -> bool {
    let differ = one.segments.iter().zip(&other.segments).any(|pair| match pair {
        (Segment::Literal(one), Segment::Literal(other)) => one != other,
        (Segment::Literal(text), Segment::Capture(_))
        | (Segment::Capture(_), Segment::Literal(text)) => text.is_empty(),
        (Segment::Capture(_), Segment::Capture(_)) => false,
    });
    let (long, short) = match one.segments.len() >= other.segments.len() {
        true => (one, other),
        false => (other, one),
    };
    let rest = long.segments.get(short.segments.len()..).unwrap_or_default();
    match (&one.end, &other.end) {
        (PatternEnd::Regex(one), PatternEnd::Regex(other)) => {
            return regexes_are_disjoint(one.as_str(), other.as_str());
        }
        (PatternEnd::Regex(_), _) | (_, PatternEnd::Regex(_)) => return false,
        _ if differ => return true,
        (PatternEnd::Start(one), PatternEnd::Start(other)) if rest.is_empty() => {
            return !(one.starts_with(&**other) || other.starts_with(&**one));
        }
        (PatternEnd::Suffix(one), PatternEnd::Suffix(other)) => {
            return !(ends_with(one, other, false) || ends_with(other, one, false));
        }
        _ => {}
    }
    match (&short.end, &long.end) {
        (PatternEnd::Exact, PatternEnd::Exact | PatternEnd::Suffix(_)) => {
            !rest.is_empty() || long.end != PatternEnd::Exact
        }
        (PatternEnd::Exact, _) => !rest.is_empty(),
        (PatternEnd::Suffix(suffix), PatternEnd::Exact) => match rest.last() {
            Some(Segment::Literal(last)) => !ends_with(last, suffix, false),
            Some(Segment::Capture(_)) => false,
            None => true,
        },
        _ => false,
    }
}

/// Whether no path has both regular expressions, by the text that they are about at their ends: `\.php$` and `\.js$`,
/// `^/a/` and `^/b/`.
fn regexes_are_disjoint(one: &str, other: &str) -> bool {
    // The first place where two anchored texts differ tells; one that ends before may go on in any way.
    let differ = |one: Option<String>, other: Option<String>, backwards: bool| {
        let Some((one, other)) = one.zip(other) else { return false };
        match backwards {
            true => one.chars().rev().zip(other.chars().rev()).any(|(one, other)| one != other),
            false => one.chars().zip(other.chars()).any(|(one, other)| one != other),
        }
    };
    differ(literal_start(one), literal_start(other), false)
        || differ(literal_end(one), literal_end(other), true)
}

/// The text that everything begins with that an anchored regular expression has.
fn literal_start(regex: &str) -> Option<String> {
    let mut rest = regex.strip_prefix('^').filter(|_| !regex.contains('|'))?.chars().peekable();
    let mut text = String::new();
    while let Some(next) = rest.next() {
        let literal = match next {
            '\\' => rest.next().filter(char::is_ascii_punctuation),
            plain if is_plain(plain) => Some(plain),
            _ => None,
        };
        let Some(literal) = literal else { break };
        if matches!(rest.peek(), Some('?' | '*' | '{' | '+')) {
            break;
        }
        text.push(literal);
    }
    Some(text)
}

/// The same for its end.
fn literal_end(regex: &str) -> Option<String> {
    let rest =
        regex.strip_suffix('$').filter(|rest| !rest.ends_with('\\') && !regex.contains('|'))?;
    let mut text: Vec<char> = Vec::new();
    let mut chars: Vec<char> = rest.chars().collect();
    while let Some(last) = chars.pop() {
        let is_escaped = chars.last() == Some(&'\\');
        match last {
            escaped if is_escaped && escaped.is_ascii_punctuation() => {
                chars.pop();
                text.push(escaped);
            }
            plain if is_plain(plain) && !is_escaped => text.push(plain),
            _ => break,
        }
    }
    Some(text.into_iter().rev().collect())
}

/// Whether a character stands for itself in a regular expression.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '/' | '_' | '-' | '~' | '%' | ':' | ',' | '=' | '&' | '!')
}

/// A route whose own conditions exclude each other.
fn never_matches(route: &Route, found: &mut Vec<Warning>) {
    let mut warn = |line: &Condition, why: String| {
        found.push(Warning {
            place: line.place,
            message: format!("{} never matches: {why}", route_text(route)),
            hint: "all `when` lines must hold, and no `unless` line may".to_owned(),
            other: Some(route.place),
        });
    };
    let mut before: Vec<Test> = vec![Test::Path(route.pattern.clone())];
    if !route.methods.is_empty() {
        before.push(Test::Method(route.methods.clone()));
    }
    for line in route.conditions.iter().filter(|line| !line.negated) {
        for test in &line.tests {
            if let Some(other) = before.iter().find(|other| exclude_each_other(other, test)) {
                return warn(line, format!("{test} and {other} exclude each other"));
            }
            before.push(test.clone());
        }
    }
    for line in route.conditions.iter().filter(|line| line.negated) {
        if let [only] = line.tests.as_slice()
            && (before.contains(only) || matches!(only, Test::Path(path) if path.is_all()))
        {
            return warn(line, format!("`{line}` excludes all that it has"));
        }
    }
}

/// Routes that a regular expression leaves nothing for.
fn taken_by_all(site: &Site, found: &mut Vec<Warning>) {
    let has_all = |route: &&Route| match &route.pattern.end {
        PatternEnd::Regex(regex) => {
            let text = regex.as_str().trim_start_matches('^').trim_end_matches('$');
            let text = text.strip_prefix('/').unwrap_or(text);
            let is_all = matches!(text, "" | ".*" | "(.*)" | ".*?")
                && regex.as_str() != "^$"
                && regex.as_str() != "^/$";
            is_all && route.methods.is_empty() && route.conditions.is_empty()
        }
        _ => false,
    };
    let Some(all) = site.routes.iter().find(has_all) else { return };
    let is_behind = |route: &&Route| match &route.pattern.end {
        PatternEnd::Exact => false,
        PatternEnd::Prefix | PatternEnd::Start(_) | PatternEnd::Suffix(_) => true,
        PatternEnd::Regex(_) => route.priority < all.priority,
    };
    found.extend(site.routes.iter().filter(is_behind).map(|route| Warning {
        place: route.place,
        message: format!("{} is never reached", route_text(route)),
        hint: format!("{} has every path, and comes first", route_text(all)),
        other: Some(all.place),
    }));
}

/// Rules about addresses that earlier ones leave nothing for.
fn unreachable_access(rules: &[AccessRule], found: &mut Vec<Warning>) {
    let numbered = (0u32..).zip(rules);
    let all = numbered.flat_map(|(number, rule)| rule.from.iter().map(move |&net| (net, number)));
    let nets = Nets::of(all, |first, other| *first = other.min(*first));
    let mut any: Option<Place> = None;
    for (number, rule) in (0..).zip(rules) {
        let covering = |net: &IpNet| {
            let first = nets.around(*net).map(|(_, &first)| first).min()?;
            let earlier = rules.get(first as usize).filter(|_| first < number);
            earlier.map(|rule| rule.place)
        };
        let covered: Vec<_> = rule.from.iter().map(covering).collect();
        let by_nets = match covered.as_slice() {
            [] => None,
            [first, ..] if covered.iter().all(Option::is_some) => *first,
            _ => None,
        };
        if let Some(other) = any.or(by_nets) {
            found.push(Warning {
                place: rule.place,
                message: format!("`{rule}` is never reached"),
                hint: "the first line that has the address decides".to_owned(),
                other: Some(other),
            });
        }
        if rule.from.is_empty() {
            any.get_or_insert(rule.place);
        }
    }
}

/// Redirects that lead to the route that makes them.
fn redirects_to_itself(rules: &Rules, id: SiteId, site: &Site, found: &mut Vec<Warning>) {
    let Some(&listener) = site.listeners.first() else { return };
    for (index, route) in site.routes.iter().enumerate() {
        let Action::Redirect { to, .. } = &route.action else { continue };
        if !route.conditions.is_empty() {
            continue;
        }
        let at = Routing::Route { site: id, route: RouteId::at(index) };
        let loops = sample_paths(&route.pattern)
            .into_iter()
            .find_map(|path| leads_back(rules, listener, site, route, at, &path).map(|()| path));
        if let Some(path) = loops {
            found.push(Warning {
                place: route.action_place,
                message: format!(
                    "the redirect leads to itself: {path} is sent to `{}`, which this route has too",
                    to.written
                ),
                hint: "redirect to a path of another route, or to another host".to_owned(),
                other: None,
            });
        }
    }
}

/// Paths that a pattern has.
fn sample_paths(pattern: &Pattern) -> Vec<String> {
    let base: String = pattern.segments.iter().fold(String::new(), |path, segment| match segment {
        Segment::Literal(text) => format!("{path}/{text}"),
        Segment::Capture(_) => format!("{path}/x"),
    });
    match &pattern.end {
        PatternEnd::Exact if base.is_empty() => vec!["/".to_owned()],
        PatternEnd::Exact => vec![base],
        PatternEnd::Prefix => vec![format!("{base}/x")],
        PatternEnd::Start(start) => vec![format!("{base}/{start}"), format!("{base}/{start}x")],
        PatternEnd::Suffix(suffix) => vec![format!("{base}/x{suffix}")],
        PatternEnd::Regex(_) => Vec::new(),
    }
}

/// Some if the client of a redirect comes back to the same route again and again.
fn leads_back(
    rules: &Rules,
    listener: ListenerId,
    site: &Site,
    route: &Route,
    at: Routing,
    path: &str,
) -> Option<()> {
    let host = match site.names.first()? {
        SiteName::Exact(host) if host.contains(':') => format!("[{host}]"),
        SiteName::Exact(host) => host.to_string(),
        SiteName::Label { suffix, .. } | SiteName::Wildcard(suffix) => format!("x.{suffix}"),
        SiteName::Default => "host.example".to_owned(),
    };
    let there = rules.config.listener(listener)?;
    let scheme = if there.tls { Scheme::Https } else { Scheme::Http };
    let origin = format!("{}://{host}:{}", scheme.as_str(), there.address.port());
    let method = route.methods.first().map_or("GET", |method| method);
    let method = Method::parse(method.as_bytes()).ok()?;
    let Action::Redirect { to, .. } = &route.action else { return None };
    let mut url = format!("{origin}{path}");
    for _ in 0..REDIRECTS_MAX {
        let mut request = Request { method, ..Request::default() };
        request.target.parse(&method, url.as_bytes(), None, scheme).ok()?;
        let listener = match url.starts_with(&origin) {
            true => listener,
            false => listener_for(rules, &request.target)?,
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let asked = RouteRequest::of(&request, address);
        let mut readings = Readings::default();
        let decision = rules.decide(listener, &asked, &request.target, &mut readings, &mut ());
        if decision.routing != at {
            return None;
        }
        let listener_port = there.address.port();
        let client = ClientFacts { address, port: None, listener_port, user: None, tls: None };
        let facts = Facts::of(client, &request, Some(route), &rules.maps);
        let mut out = Vec::new();
        location(to, &facts, &mut out);
        let location = String::from_utf8(out).ok()?;
        url = match location.as_bytes() {
            [b'/', ..] => format!("{origin}{location}"),
            _ if location.contains("://") => location,
            _ => return None,
        };
    }
    Some(())
}

/// How many routes lead to each upstream.
fn upstream_uses(rules: &Rules) -> HashMap<UpstreamId, usize> {
    let mut uses = HashMap::new();
    let routes = rules.config.sites.iter().flat_map(|site| &site.routes);
    for action in routes.map(|route| &route.action) {
        let ids = match action {
            Action::To(id) => vec![*id],
            Action::Split(split) => split.parts.iter().map(|part| part.upstream).collect(),
            Action::Files(files) => files.otherwise.into_iter().collect(),
            Action::Redirect { .. } | Action::Respond { .. } => Vec::new(),
        };
        ids.into_iter().for_each(|id| *uses.entry(id).or_insert(0) += 1);
    }
    uses
}

/// The patterns of a site, sorted, to find those that begin with others.
struct Below<'r>(Vec<&'r [Segment]>);

impl<'r> Below<'r> {
    fn of(site: &'r Site) -> Self {
        let mut all: Vec<_> = site.routes.iter().map(|route| &*route.pattern.segments).collect();
        all.sort_unstable_by(|one, other| Self::keys(one).cmp(Self::keys(other)));
        Self(all)
    }

    fn keys(segments: &[Segment]) -> impl Iterator<Item = (bool, &str)> {
        segments.iter().map(|segment| match segment {
            Segment::Literal(text) => (false, &**text),
            Segment::Capture(name) => (true, &**name),
        })
    }

    /// How many begin with these segments, of which two are enough.
    fn count(&self, segments: &[Segment]) -> usize {
        let start = self.0.partition_point(|one| Self::keys(one).lt(Self::keys(segments)));
        self.0.iter().skip(start).take(2).filter(|one| one.starts_with(segments)).count()
    }
}

/// A server for which one path alone is taken, where all below it was probably meant.
fn alone(
    below: &Below<'_>,
    route: &Route,
    uses: &HashMap<UpstreamId, usize>,
    found: &mut Vec<Warning>,
) {
    let Action::To(id) = route.action else { return };
    let Pattern { segments, end: PatternEnd::Exact, written } = &route.pattern else { return };
    let Some(Segment::Literal(last)) = segments.last() else { return };
    let is_meant = last.is_empty()
        || last.contains('.')
        || LONE_PATHS.contains(&&**last)
        || !route.methods.is_empty()
        || !route.conditions.is_empty()
        || matches!(route.settings.rewrite, Rewrite::To(_))
        || uses.get(&id).is_none_or(|count| *count > 1)
        || below.count(segments) > 1;
    if !is_meant {
        found.push(Warning {
            place: route.place,
            message: format!("`{written}` takes this path alone, and its server gets nothing else"),
            hint: format!("\"{written}/*\" takes everything below, too"),
            other: None,
        });
    }
}
