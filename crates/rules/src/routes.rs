//! Which route of a site takes a path and a method.
//!
//! The patterns of a site make a tree with one level per segment. It is walked from the left, literals before captures
//! before the end of a prefix, so that the most specific pattern comes first. A node is visited once per request at most, since a node's depth fixes which segment
//! of the path it is compared with.

use std::ops::ControlFlow;

use config::{Pattern, Route, RouteId, Segment};
use foldhash::HashMap;
use message::Method;

use crate::trace::{Step, StepOutcome, Trace};

/// Literals of one node that are compared one after the other; more are hashed.
const LITERALS_COMPARED_MAX: usize = 8;

/// The patterns of one site.
pub(crate) struct RouteTree {
    /// The first one is the root.
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    literals: Literals,
    capture: Option<usize>,
    /// Routes whose pattern ends here.
    exact: Vec<RouteId>,
    /// Routes whose pattern ends here with `/*`.
    prefix: Vec<RouteId>,
}

enum Literals {
    Few(Vec<(Box<str>, usize)>),
    Many(HashMap<Box<str>, usize>),
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
            Self::Many(all) => all.get(segment).copied(),
        }
    }

    /// Literals that are equal to the segment except for case; an equal one comes first.
    fn ignoring_case(&self, segment: &str) -> Vec<usize> {
        let is_it = |text: &str| text != segment && text.eq_ignore_ascii_case(segment);
        let mut others: Vec<usize> = match self {
            Self::Few(all) => {
                all.iter().filter(|(text, _)| is_it(text)).map(|found| found.1).collect()
            }
            Self::Many(all) => {
                all.iter().filter(|(text, _)| is_it(text)).map(|found| *found.1).collect()
            }
        };
        others.sort_unstable(); // in the order of the file
        self.get(segment).into_iter().chain(others).collect()
    }

    fn insert(&mut self, segment: &str, node: usize) {
        match self {
            Self::Few(all) if all.len() < LITERALS_COMPARED_MAX => all.push((segment.into(), node)),
            Self::Few(all) => {
                let mut many: HashMap<_, _> = all.drain(..).collect();
                many.insert(segment.into(), node);
                *self = Self::Many(many);
            }
            Self::Many(all) => {
                all.insert(segment.into(), node);
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

impl RouteTree {
    pub(crate) fn of(routes: &[Route]) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for (index, route) in routes.iter().enumerate() {
            tree.insert(RouteId::at(index), &route.pattern);
        }
        for node in &mut tree.nodes {
            for ends in [&mut node.exact, &mut node.prefix] {
                // Fewer methods are more specific; all of them (none named) are least so.
                ends.sort_by_key(|id| match routes.get(id.index()).map(|r| r.methods.len()) {
                    Some(0) | None => usize::MAX,
                    Some(named) => named,
                });
            }
        }
        tree
    }

    fn insert(&mut self, id: RouteId, pattern: &Pattern) {
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
        if let Some(node) = self.nodes.get_mut(at) {
            if pattern.prefix { node.prefix.push(id) } else { node.exact.push(id) }
        }
    }

    /// The route that takes a method and a path.
    pub(crate) fn find(&self, routes: &[Route], method: &Method, path: &str) -> RouteLookup {
        self.find_by(Literals::get, routes, method, path)
    }

    /// As [`RouteTree::find`], for a server that ignores the case of paths.
    pub(crate) fn find_ignoring_case(
        &self,
        routes: &[Route],
        method: &Method,
        path: &str,
    ) -> RouteLookup {
        self.find_by(Literals::ignoring_case, routes, method, path)
    }

    fn find_by<I: IntoIterator<Item = usize>>(
        &self,
        literals: impl Fn(&Literals, &str) -> I,
        routes: &[Route],
        method: &Method,
        path: &str,
    ) -> RouteLookup {
        let mut has_path = false;
        let see = |ends: &[RouteId]| {
            has_path = true;
            let taker = taker(routes, ends, method);
            taker.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        };
        match (Walk { tree: self, literals, see, reached: 0 }).path(path) {
            ControlFlow::Break(id) => RouteLookup::Route(id),
            ControlFlow::Continue(()) if has_path => RouteLookup::OtherMethods,
            ControlFlow::Continue(()) => RouteLookup::Nothing,
        }
    }

    /// True if there is one route, which takes every path and method.
    pub(crate) fn takes_all(&self, routes: &[Route]) -> bool {
        match (self.nodes.as_slice(), routes) {
            ([root], [only]) => !root.prefix.is_empty() && only.methods.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn allowed_methods(&self, routes: &[Route], path: &str, out: &mut String) {
        let start = out.len();
        let see = |ends: &[RouteId]| {
            let routes = ends.iter().filter_map(|id| routes.get(id.index()));
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
        let _ = Walk { tree: self, literals: Literals::get, see, reached: 0 }.path(path);
    }
}

/// A walk through the tree, to the patterns that have a path.
struct Walk<'t, L, S> {
    tree: &'t RouteTree,
    /// The nodes that follow a node by a literal for this segment.
    literals: L,
    /// Gets the routes of each pattern, the most specific first, until it breaks.
    see: S,
    /// How many leading segments of the path some pattern has.
    reached: usize,
}

impl<B, L, I, S> Walk<'_, L, S>
where
    L: Fn(&Literals, &str) -> I,
    I: IntoIterator<Item = usize>,
    S: FnMut(&[RouteId]) -> ControlFlow<B>,
{
    fn path(&mut self, path: &str) -> ControlFlow<B> {
        match path.strip_prefix('/') {
            Some("") => self.node(0, 0, None),
            Some(segments) => self.node(0, 0, Some(segments)),
            // `*` of OPTIONS is below nothing but `/*`. CONNECT has no path: it is not for sites.
            None => match self.tree.nodes.first() {
                Some(root) if path == "*" && !root.prefix.is_empty() => (self.see)(&root.prefix),
                _ => ControlFlow::Continue(()),
            },
        }
    }

    /// Walks on from the node at this index and depth; `segments` is the rest of the path.
    fn node(&mut self, at: usize, depth: usize, segments: Option<&str>) -> ControlFlow<B> {
        let Some(node) = self.tree.nodes.get(at) else { return ControlFlow::Continue(()) };
        self.reached = depth.max(self.reached);
        if let Some(segments) = segments {
            let (segment, rest) = match segments.split_once('/') {
                Some((segment, rest)) => (segment, Some(rest)),
                None => (segments, None),
            };
            let capture = node.capture.filter(|_| !segment.is_empty());
            for next in (self.literals)(&node.literals, segment).into_iter().chain(capture) {
                self.node(next, depth + 1, rest)?;
            }
        } else if !node.exact.is_empty() {
            (self.see)(&node.exact)?;
        }
        if node.prefix.is_empty() { ControlFlow::Continue(()) } else { (self.see)(&node.prefix) }
    }
}

/// Which of the routes of a pattern takes a method. RFC 9110, section 9.3.2: HEAD is GET without the
/// content, so a route for GET takes it, unless another one names it.
fn taker(routes: &[Route], ends: &[RouteId], method: &Method) -> Option<RouteId> {
    let methods = |id: &RouteId| routes.get(id.index()).map(|route| &*route.methods);
    let find = |takes: &dyn Fn(&[Box<str>]) -> bool| {
        ends.iter().copied().find(|id| methods(id).is_some_and(takes))
    };
    if *method != Method::Head {
        return find(&|methods| takes_method(methods, method));
    }
    let named = find(&|methods| !methods.is_empty() && takes_method(methods, method));
    named.or_else(|| {
        find(&|methods| takes_method(methods, &Method::Head) || takes_method(methods, &Method::Get))
    })
}

/// True if a list of methods has this one; an empty list has all.
pub(crate) fn takes_method(methods: &[Box<str>], method: &Method) -> bool {
    methods.is_empty() || methods.iter().any(|taken| **taken == *method.as_str())
}

/// Traces the outcome of each route.
pub(crate) fn explain<T: Trace>(
    routes: &[Route],
    found: &RouteLookup,
    method: &Method,
    path: &str,
    trace: &mut T,
) {
    for (index, route) in routes.iter().enumerate() {
        let outcome = match found {
            RouteLookup::Route(id) if id.index() == index => StepOutcome::Decided,
            found => explain_other(routes, route, found, method, path),
        };
        trace.step(Step { place: route.place, text: route_text(route), outcome });
    }
}

/// Why a route did not win: asks a tree of this route alone.
fn explain_other(
    routes: &[Route],
    route: &Route,
    found: &RouteLookup,
    method: &Method,
    path: &str,
) -> StepOutcome {
    let alone = std::slice::from_ref(route);
    let tree = RouteTree::of(alone);
    match tree.find(alone, method, path) {
        RouteLookup::Route(_) => {
            let winner = match found {
                RouteLookup::Route(id) => routes.get(id.index()).map(route_text),
                RouteLookup::OtherMethods | RouteLookup::Nothing => None,
            };
            StepOutcome::LessSpecific(winner.unwrap_or_default())
        }
        RouteLookup::OtherMethods => StepOutcome::Differs(format!(
            "the method is {method}, not {}",
            route.methods.join(", ")
        )),
        RouteLookup::Nothing => {
            let see = |_: &[RouteId]| ControlFlow::<()>::Continue(());
            let mut walk = Walk { tree: &tree, literals: Literals::get, see, reached: 0 };
            let _ = walk.path(path);
            StepOutcome::Differs(path_difference(&route.pattern, path, walk.reached))
        }
    }
}

/// Says how a path differs from a pattern that has its first `reached` segments.
fn path_difference(pattern: &Pattern, path: &str, reached: usize) -> String {
    let segments = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    let segment = segments.and_then(|segments| segments.split('/').nth(reached));
    match (pattern.segments.get(reached), segment) {
        (None, Some(_)) => format!("the path continues after segment {reached}"),
        (Some(Segment::Literal(text)), Some(segment)) => {
            format!("segment {} of the path is `{segment}`, not `{text}`", reached + 1)
        }
        (Some(Segment::Capture(name)), Some(_)) => {
            format!("segment {} of the path, for {{{name}}}, is empty", reached + 1)
        }
        (_, None) => format!("the path ends after segment {reached}"),
    }
}

/// A route as written in a configuration.
pub(crate) fn route_text(route: &Route) -> String {
    if route.methods.is_empty() {
        format!("route \"{}\"", route.pattern.written)
    } else {
        format!("route \"{}\" method=\"{}\"", route.pattern.written, route.methods.join(","))
    }
}
