//! Which route of a site takes a path and a method.
//!
//! The patterns of a site make a tree with one level per segment. It is walked from the left, literals before captures
//! before what begins with a text (`/ws*`) before what ends with one (`/*.php`) before the end of a prefix (`/*`), so that
//! the most specific pattern comes first. A node is visited once per request at most, since a node's depth fixes which segment of the path it is compared
//! with. Regular expressions come before the first suffix or prefix. Of routes with the same pattern, the one with the
//! higher priority, then the one with more conditions comes first; if a route's conditions do not hold, the next one is
//! tried.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use config::{Pattern, PatternEnd, Regex, Route, RouteId, Segment};
use foldhash::HashMap;
use message::Method;

use crate::conditions::{self, Conditions, RouteRequest, starts_with};
use crate::route_candidates::Ends;
use crate::trace::{Step, StepOutcome, Trace};

/// Literals of one node that are compared one after the other; more are hashed.
const LITERALS_COMPARED_MAX: usize = 8;

/// The patterns of one site.
pub(crate) struct RouteTree {
    /// The first one is the root.
    nodes: Vec<Node>,
    /// Routes with regular expressions, those that are tried first in front.
    regexes: Vec<RegexRoute>,
    /// By route; empty if no route has any.
    conditions: Vec<Conditions>,
}

struct RegexRoute {
    id: RouteId,
    regex: Regex,
    /// The same for servers that ignore case, where some do.
    ignoring_case: Option<Regex>,
}

#[derive(Default)]
struct Node {
    literals: Literals,
    capture: Option<usize>,
    /// Routes whose pattern ends here.
    exact: Ends,
    /// Routes whose pattern ends here with `/ws*`, those with the longest text first.
    starts: Vec<(Box<str>, Ends)>,
    /// Routes whose pattern ends here with `/*.php`.
    suffixes: Option<Box<Suffixes>>,
    /// Routes whose pattern ends here with `/*`.
    prefix: Ends,
}

/// Routes for what ends with some text.
#[derive(Default)]
struct Suffixes {
    routes: HashMap<Box<str>, Ends>,
    /// The texts by what they are in lower case; set where some server ignores case.
    folded: HashMap<Box<str>, Vec<Box<str>>>,
    /// The lengths of the texts, the longest first.
    lengths: Vec<usize>,
}

impl Suffixes {
    fn insert(&mut self, suffix: &str, id: RouteId) {
        self.routes.entry(suffix.into()).or_default().push(id);
        if !self.lengths.contains(&suffix.len()) {
            self.lengths.push(suffix.len());
            self.lengths.sort_unstable_by_key(|&length| Reverse(length));
        }
    }

    /// Prepares looking without regard to case.
    fn fold(&mut self) {
        for suffix in self.routes.keys() {
            let folded = self.folded.entry(suffix.to_ascii_lowercase().into()).or_default();
            folded.push(suffix.clone());
        }
        self.folded.values_mut().for_each(|all| all.sort_unstable());
    }

    /// Shows the routes for a last segment, those with the longest suffix first.
    fn each<B>(
        &self,
        last: &str,
        ignores_case: bool,
        mut see: impl FnMut(Seen<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for &length in &self.lengths {
            let Some(start) = last.len().checked_sub(length) else { continue };
            // Where there is no end of this length, its first byte is within a character.
            let Some(end) = last.get(start..) else { continue };
            if let Some(routes) = self.routes.get(end) {
                see(Seen::Ends(routes))?;
            }
            if ignores_case {
                let folded = self.folded.get(&*end.to_ascii_lowercase());
                let others = folded.into_iter().flatten().filter(|suffix| ***suffix != *end);
                for routes in others.filter_map(|suffix| self.routes.get(suffix)) {
                    see(Seen::Ends(routes))?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Routes that a walk comes to.
#[derive(Clone, Copy)]
enum Seen<'e> {
    /// Those of a pattern.
    Ends(&'e Ends),
    /// One with a regular expression.
    One(RouteId),
}

impl<'e> Seen<'e> {
    /// Those that may take a request, in the order in which they are tried.
    fn may_take(self, asked: &RouteRequest<'_>) -> impl Iterator<Item = RouteId> + 'e {
        let (ends, one) = match self {
            Self::Ends(ends) => (Some(ends.may_take(asked)), None),
            Self::One(id) => (None, Some(id)),
        };
        ends.into_iter().flatten().chain(one)
    }
}

enum Literals {
    Few(Vec<(Box<str>, usize)>),
    Many {
        nodes: HashMap<Box<str>, usize>,
        /// The same by what they are in lower case; set where some server ignores case.
        folded: HashMap<Box<str>, Vec<usize>>,
    },
}

impl Default for Literals {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Literals {
    fn get(&self, segment: &str) -> Option<usize> {
        match self {
            Self::Few(all) => all.iter().find(|(text, _)| **text == *segment).map(|found| found.1),
            Self::Many { nodes, .. } => nodes.get(segment).copied(),
        }
    }

    /// Literals that are equal to the segment except for case; an equal one comes first.
    fn ignoring_case(&self, segment: &str) -> Vec<usize> {
        let equal = self.get(segment);
        let mut others: Vec<usize> = match self {
            Self::Few(all) => {
                let is_it = |text: &str| text.eq_ignore_ascii_case(segment);
                all.iter().filter(|(text, _)| is_it(text)).map(|found| found.1).collect()
            }
            Self::Many { folded, .. } => {
                folded.get(&*segment.to_ascii_lowercase()).cloned().unwrap_or_default()
            }
        };
        others.retain(|&node| Some(node) != equal);
        others.sort_unstable(); // in the order of the file
        equal.into_iter().chain(others).collect()
    }

    /// Prepares [`Self::ignoring_case`].
    fn fold(&mut self) {
        if let Self::Many { nodes, folded } = self {
            for (text, node) in nodes.iter() {
                folded.entry(text.to_ascii_lowercase().into()).or_default().push(*node);
            }
        }
    }

    fn insert(&mut self, segment: &str, node: usize) {
        match self {
            Self::Few(all) if all.len() < LITERALS_COMPARED_MAX => all.push((segment.into(), node)),
            Self::Few(all) => {
                let mut nodes: HashMap<_, _> = all.drain(..).collect();
                nodes.insert(segment.into(), node);
                *self = Self::Many { nodes, folded: HashMap::default() };
            }
            Self::Many { nodes, .. } => {
                nodes.insert(segment.into(), node);
            }
        }
    }
}

/// The result of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteLookup {
    Route(RouteId),
    /// The path is there, but not with this method.
    OtherMethods,
    Nothing,
}

/// Which of several routes with the same pattern is tried first: the one with the lower value.
type Rank = (Reverse<i32>, Reverse<usize>);

fn rank(route: &Route) -> Rank {
    (Reverse(route.priority), Reverse(condition_count(route)))
}

/// How many conditions a route has beside its path.
pub(crate) fn condition_count(route: &Route) -> usize {
    // An `unless` excludes less the more tests it has.
    let lines = route.conditions.iter().map(|line| if line.negated { 1 } else { line.tests.len() });
    usize::from(!route.methods.is_empty()) + lines.sum::<usize>()
}

/// Fewer methods are more specific; all of them (none named) are least so.
fn method_count(route: &Route) -> usize {
    if route.methods.is_empty() { usize::MAX } else { route.methods.len() }
}

impl RouteTree {
    /// `ignores_case`: whether some server does, even if no route says so.
    pub(crate) fn of(routes: &[Route], ignores_case: bool) -> Self {
        let mut tree =
            Self { nodes: vec![Node::default()], regexes: Vec::new(), conditions: Vec::new() };
        if routes.iter().any(|route| !route.conditions.is_empty()) {
            tree.conditions =
                routes.iter().map(|route| Conditions::of(&route.conditions)).collect();
        }
        let ignores_case =
            ignores_case || routes.iter().any(|route| route.settings.path_readings.case);
        for (index, route) in routes.iter().enumerate() {
            tree.insert(RouteId::at(index), &route.pattern, ignores_case);
        }
        let order = |id: &RouteId| routes.get(id.index()).map(|r| (rank(r), method_count(r)));
        tree.regexes.sort_by_key(|route| order(&route.id));
        for node in &mut tree.nodes {
            if ignores_case {
                node.literals.fold();
                node.suffixes.iter_mut().for_each(|suffixes| suffixes.fold());
            }
            let suffixes =
                node.suffixes.iter_mut().flat_map(|suffixes| suffixes.routes.values_mut());
            let starts = node.starts.iter_mut().map(|(_, routes)| routes);
            for ends in
                [&mut node.exact, &mut node.prefix].into_iter().chain(suffixes).chain(starts)
            {
                ends.order(routes, order);
            }
        }
        tree
    }

    /// One that leaves no route of a pattern out, to compare it with.
    #[cfg(test)]
    pub(crate) fn walked(routes: &[Route], ignores_case: bool) -> Self {
        let mut tree = Self::of(routes, ignores_case);
        for node in &mut tree.nodes {
            let suffixes =
                node.suffixes.iter_mut().flat_map(|suffixes| suffixes.routes.values_mut());
            let starts = node.starts.iter_mut().map(|(_, routes)| routes);
            let all = [&mut node.exact, &mut node.prefix].into_iter().chain(suffixes).chain(starts);
            all.for_each(Ends::leave_none_out);
        }
        tree
    }

    fn insert(&mut self, id: RouteId, pattern: &Pattern, ignores_case: bool) {
        if let PatternEnd::Regex(regex) = &pattern.end {
            let ignoring_case = ignores_case.then(|| regex.ignoring_case());
            self.regexes.push(RegexRoute { id, regex: regex.clone(), ignoring_case });
            return;
        }
        let mut at = 0;
        for segment in &pattern.segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            let next = match segment {
                Segment::Literal(text) => node.literals.get(text),
                Segment::Capture(_) => node.capture,
            };
            at = next.unwrap_or(fresh);
            if next.is_none() {
                match segment {
                    Segment::Literal(text) => node.literals.insert(text, fresh),
                    Segment::Capture(_) => node.capture = Some(fresh),
                }
                self.nodes.push(Node::default());
            }
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        match &pattern.end {
            PatternEnd::Exact => node.exact.push(id),
            PatternEnd::Prefix => node.prefix.push(id),
            PatternEnd::Start(start) => {
                match node.starts.iter_mut().find(|(text, _)| text == start) {
                    Some((_, routes)) => routes.push(id),
                    None => {
                        let mut ends = Ends::default();
                        ends.push(id);
                        node.starts.push((start.clone(), ends));
                    }
                }
                node.starts.sort_by_key(|(text, _)| Reverse(text.len()));
            }
            PatternEnd::Suffix(suffix) => {
                node.suffixes.get_or_insert_default().insert(suffix, id);
            }
            PatternEnd::Regex(_) => {}
        }
    }

    /// The route that takes a request with this path.
    pub(crate) fn find(
        &self,
        routes: &[Route],
        asked: &RouteRequest<'_>,
        path: &str,
    ) -> RouteLookup {
        self.find_by(Literals::get, false, routes, asked, path)
    }

    /// As [`RouteTree::find`], for a server that ignores the case of paths.
    pub(crate) fn find_ignoring_case(
        &self,
        routes: &[Route],
        asked: &RouteRequest<'_>,
        path: &str,
    ) -> RouteLookup {
        self.find_by(Literals::ignoring_case, true, routes, asked, path)
    }

    fn find_by<I: IntoIterator<Item = usize>>(
        &self,
        literals: impl Fn(&Literals, &str) -> I,
        ignores_case: bool,
        routes: &[Route],
        asked: &RouteRequest<'_>,
        path: &str,
    ) -> RouteLookup {
        let mut has_path = false;
        let see = |seen: Seen<'_>| {
            let (taker, others) = self.taker(routes, seen, asked, path, ignores_case);
            has_path |= others;
            taker.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        };
        match self.walk(literals, ignores_case, see).path(path) {
            ControlFlow::Break(id) => RouteLookup::Route(id),
            ControlFlow::Continue(()) if has_path => RouteLookup::OtherMethods,
            ControlFlow::Continue(()) => RouteLookup::Nothing,
        }
    }

    fn walk<L, S>(&self, literals: L, ignores_case: bool, see: S) -> Walk<'_, L, S> {
        let has_regexes = !self.regexes.is_empty();
        Walk { tree: self, literals, see, ignores_case, has_regexes, reached: 0 }
    }

    /// Which of the routes of a pattern takes a request, and whether some would with another method. RFC 9110, section
    /// 9.3.2: HEAD is GET without the content, so a route for GET takes it, unless another one names it.
    fn taker(
        &self,
        routes: &[Route],
        seen: Seen<'_>,
        asked: &RouteRequest<'_>,
        path: &str,
        ignores_case: bool,
    ) -> (Option<RouteId>, bool) {
        let is_head = *asked.method == Method::Head;
        let mut by_get: Option<(RouteId, Rank)> = None;
        let mut others = false;
        for id in seen.may_take(asked) {
            let Some(route) = routes.get(id.index()) else { continue };
            if by_get.is_some_and(|(_, found)| found != rank(route)) {
                break;
            }
            let conditions = self.conditions.get(id.index());
            let holds = || conditions.is_none_or(|all| all.hold(asked, path, ignores_case));
            let names_it = takes_method(&route.methods, asked.method);
            if is_head && (route.methods.is_empty() || !names_it) {
                let by_get_alone = names_it || takes_method(&route.methods, &Method::Get);
                match (by_get_alone, by_get) {
                    (true, None) if holds() => by_get = Some((id, rank(route))),
                    (true, _) => {}
                    (false, _) => others |= holds(),
                }
            } else if !names_it {
                others |= holds();
            } else if holds() {
                return (Some(id), others);
            }
        }
        (by_get.map(|(id, _)| id), others)
    }

    /// True if there is one route, which takes every path and method.
    pub(crate) fn takes_all(&self, routes: &[Route]) -> bool {
        match routes {
            [only] => {
                only.pattern.is_all() && only.methods.is_empty() && only.conditions.is_empty()
            }
            _ => false,
        }
    }

    /// Writes the methods of the routes that have a path and whose conditions hold.
    pub(crate) fn allowed_methods(
        &self,
        routes: &[Route],
        asked: &RouteRequest<'_>,
        path: &str,
        out: &mut String,
    ) {
        let start = out.len();
        let see = |seen: Seen<'_>| {
            let holds = |id: &RouteId| {
                self.conditions.get(id.index()).is_none_or(|all| all.hold(asked, path, false))
            };
            let may_take = seen.may_take(asked).filter(holds);
            let routes = may_take.filter_map(|id| routes.get(id.index()));
            let with_head = |method: &str| if method == "GET" { Some("HEAD") } else { None };
            let methods = routes.flat_map(|route| &route.methods);
            for method in methods.flat_map(|method| [Some(&**method), with_head(method)]).flatten()
            {
                let list = out.get(start..).unwrap_or_default();
                if !list.split(", ").any(|there| there == method) {
                    if !list.is_empty() {
                        out.push_str(", ");
                    }
                    out.push_str(method);
                }
            }
            ControlFlow::<()>::Continue(())
        };
        let _ = self.walk(Literals::get, false, see).path(path);
    }
}

/// A walk through the tree, to the patterns that have a path.
struct Walk<'t, L, S> {
    tree: &'t RouteTree,
    /// The nodes that follow a node by a literal for this segment.
    literals: L,
    /// Gets the routes of each pattern, the most specific first, until it breaks.
    see: S,
    ignores_case: bool,
    /// Whether there are regular expressions that have not been tried.
    has_regexes: bool,
    /// How many leading segments of the path some pattern has.
    reached: usize,
}

impl<B, L, I, S> Walk<'_, L, S>
where
    L: Fn(&Literals, &str) -> I,
    I: IntoIterator<Item = usize>,
    S: FnMut(Seen<'_>) -> ControlFlow<B>,
{
    fn path(&mut self, path: &str) -> ControlFlow<B> {
        match path.strip_prefix('/') {
            Some("") => self.node(0, 0, None, path)?,
            Some(segments) => self.node(0, 0, Some(segments), path)?,
            // `*` of OPTIONS is below nothing but `/*`. CONNECT has no path: it is not for sites.
            None => {
                return match self.tree.nodes.first() {
                    Some(root) if path == "*" && !root.prefix.is_empty() => {
                        (self.see)(Seen::Ends(&root.prefix))
                    }
                    _ => ControlFlow::Continue(()),
                };
            }
        }
        if self.has_regexes { self.regexes(path) } else { ControlFlow::Continue(()) }
    }

    /// Walks on from the node at this index and depth; `segments` is the rest of the path.
    fn node(
        &mut self,
        at: usize,
        depth: usize,
        segments: Option<&str>,
        path: &str,
    ) -> ControlFlow<B> {
        let Some(node) = self.tree.nodes.get(at) else { return ControlFlow::Continue(()) };
        self.reached = depth.max(self.reached);
        if let Some(segments) = segments {
            let (segment, rest) = match segments.split_once('/') {
                Some((segment, rest)) => (segment, Some(rest)),
                None => (segments, None),
            };
            let capture = node.capture.filter(|_| !segment.is_empty());
            for next in (self.literals)(&node.literals, segment).into_iter().chain(capture) {
                self.node(next, depth + 1, rest, path)?;
            }
            for (start, ends) in &node.starts {
                if starts_with(segment, start, self.ignores_case) {
                    if self.has_regexes {
                        self.regexes(path)?;
                    }
                    (self.see)(Seen::Ends(ends))?;
                }
            }
            if let Some(suffixes) = &node.suffixes {
                let last = segments.rsplit('/').next().unwrap_or_default();
                suffixes.each(last, self.ignores_case, |seen| {
                    if self.has_regexes {
                        self.regexes(path)?;
                    }
                    (self.see)(seen)
                })?;
            }
        } else if !node.exact.is_empty() {
            (self.see)(Seen::Ends(&node.exact))?;
        }
        if node.prefix.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.has_regexes {
            self.regexes(path)?;
        }
        (self.see)(Seen::Ends(&node.prefix))
    }

    /// Tries the regular expressions, once.
    #[cold]
    fn regexes(&mut self, path: &str) -> ControlFlow<B> {
        self.has_regexes = false;
        for route in &self.tree.regexes {
            let regex = match &route.ignoring_case {
                Some(regex) if self.ignores_case => regex,
                _ => &route.regex,
            };
            if regex.is_match(path.as_bytes()) {
                (self.see)(Seen::One(route.id))?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// True if a list of methods has this one; an empty list has all.
pub(crate) fn takes_method(methods: &[Box<str>], method: &Method) -> bool {
    methods.is_empty() || methods.iter().any(|taken| **taken == *method.as_str())
}

/// Traces the outcome of each route.
pub(crate) fn explain<T: Trace>(
    routes: &[Route],
    found: &RouteLookup,
    asked: &RouteRequest<'_>,
    path: &str,
    trace: &mut T,
) {
    for (index, route) in routes.iter().enumerate() {
        let outcome = match found {
            RouteLookup::Route(id) if id.index() == index => StepOutcome::Decided,
            found => explain_other(routes, route, found, asked, path),
        };
        trace.step(Step { place: route.place, text: route_text(route), outcome });
    }
}

/// Why a route did not win: asks a tree of this route alone.
fn explain_other(
    routes: &[Route],
    route: &Route,
    found: &RouteLookup,
    asked: &RouteRequest<'_>,
    path: &str,
) -> StepOutcome {
    let alone = [Route { conditions: Vec::new(), ..route.clone() }];
    let tree = RouteTree::of(&alone, false);
    let lookup = tree.find(&alone, asked, path);
    let difference = match lookup {
        RouteLookup::Nothing => None,
        _ => conditions::difference(&route.conditions, asked, path),
    };
    match (lookup, difference) {
        (RouteLookup::Route(_), None) => {
            let winner = match found {
                RouteLookup::Route(id) => routes.get(id.index()),
                RouteLookup::OtherMethods | RouteLookup::Nothing => None,
            };
            match winner {
                Some(winner) if is_tie(winner, route) => StepOutcome::Differs(format!(
                    "matches too, but {} is first",
                    route_text(winner)
                )),
                winner => StepOutcome::LessSpecific(winner.map(route_text).unwrap_or_default()),
            }
        }
        (RouteLookup::OtherMethods, None) => StepOutcome::Differs(format!(
            "the method is {}, not {}",
            asked.method,
            route.methods.join(", ")
        )),
        (_, Some(difference)) => StepOutcome::Differs(difference),
        (RouteLookup::Nothing, None) => {
            let see = |_: Seen<'_>| ControlFlow::<()>::Continue(());
            let mut walk = tree.walk(Literals::get, false, see);
            let _ = walk.path(path);
            StepOutcome::Differs(path_difference(&route.pattern, path, walk.reached))
        }
    }
}

/// Whether only their order in the file tells which of two routes that have a path is tried first.
pub(crate) fn is_tie(one: &Route, other: &Route) -> bool {
    let both_are_regexes = matches!(
        (&one.pattern.end, &other.pattern.end),
        (PatternEnd::Regex(_), PatternEnd::Regex(_))
    );
    (both_are_regexes || has_same_paths(&one.pattern, &other.pattern))
        && (rank(one), method_count(one)) == (rank(other), method_count(other))
}

/// Whether two patterns are the same but for the names of their captures.
fn has_same_paths(one: &Pattern, other: &Pattern) -> bool {
    let same = |(one, other): (&Segment, &Segment)| match (one, other) {
        (Segment::Literal(one), Segment::Literal(other)) => one == other,
        (Segment::Capture(_), Segment::Capture(_)) => true,
        _ => false,
    };
    one.end == other.end
        && one.segments.len() == other.segments.len()
        && one.segments.iter().zip(&other.segments).all(same)
}

/// Says how a path differs from a pattern that has its first `reached` segments.
fn path_difference(pattern: &Pattern, path: &str, reached: usize) -> String {
    if let PatternEnd::Regex(_) = &pattern.end {
        return format!("it is not found in {path}");
    }
    let segments = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    let segment = segments.and_then(|segments| segments.split('/').nth(reached));
    match (pattern.segments.get(reached), segment) {
        (None, Some(segment)) => match &pattern.end {
            PatternEnd::Start(start) => format!(
                "segment {} of the path is `{segment}`, which does not begin with `{start}`",
                reached + 1
            ),
            PatternEnd::Suffix(suffix) => format!("the last segment does not end with `{suffix}`"),
            _ if reached == 0 => "the path continues after `/`".to_owned(),
            _ => {
                let below = &pattern.written;
                format!(
                    "the path continues after segment {reached}; `{}/*` takes everything below",
                    below.trim_end_matches('/')
                )
            }
        },
        (Some(Segment::Literal(text)), Some(segment)) => {
            format!("segment {} of the path is `{segment}`, not `{text}`", reached + 1)
        }
        (Some(Segment::Capture(name)), Some(_)) => {
            format!("segment {} of the path, for {{{name}}}, is empty", reached + 1)
        }
        (_, None) => format!("the path ends after segment {reached}"),
    }
}

/// A route as written in a configuration, with how many conditions it has.
pub(crate) fn route_text(route: &Route) -> String {
    let mut text = format!("route {}", route.pattern);
    if !route.methods.is_empty() {
        text.push_str(&format!(" method=\"{}\"", route.methods.join(",")));
    }
    if route.priority != 0 {
        text.push_str(&format!(" priority={}", route.priority));
    }
    if let [only] = route.conditions.as_slice() {
        text.push_str(&format!(" {{ {only} }}"));
    } else if let [first, ..] = route.conditions.as_slice() {
        text.push_str(&format!(" {{ {first}; … }}"));
    }
    text
}
