//! Routes as they are written, in the order that keeps nginx's choice.

use crate::kdl::Node;
use crate::nginx::DirectiveId;

use super::location::{Kind, Location};
use super::variables::escape_regex;

/// What a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// A path, or `/path/*`.
    Path(String),
    /// A regular expression, and its rank among those of the site: higher first.
    Regex { pattern: String, priority: i32 },
}

/// A route before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) pattern: Pattern,
    /// Methods, with commas.
    pub(crate) method: Option<String>,
    /// `when` and `unless`.
    pub(crate) conditions: Vec<Node>,
    pub(crate) body: Vec<Node>,
    pub(crate) above: Vec<String>,
    pub(crate) beside: Option<String>,
    pub(crate) from: Vec<DirectiveId>,
    /// Whether it only adds the slash that nginx adds itself.
    pub(crate) adds_slash: bool,
}

impl Route {
    pub(crate) fn new(pattern: Pattern, body: Vec<Node>) -> Self {
        Self {
            pattern,
            method: None,
            conditions: Vec::new(),
            body,
            above: Vec::new(),
            beside: None,
            from: Vec::new(),
            adds_slash: false,
        }
    }

    /// True if the route sends requests to an upstream.
    pub(crate) fn is_proxied(&self) -> bool {
        is_proxied(&self.body)
    }

    pub(crate) fn node(self) -> Node {
        let mut node = Node::new("route");
        match &self.pattern {
            Pattern::Path(path) => node = node.text(path),
            Pattern::Regex { pattern, priority } => {
                node = node.bare("~").text(pattern).bare_property("priority", priority);
            }
        }
        if let Some(method) = &self.method {
            node = node.property("method", method);
        }
        node.above = self.above;
        node.beside = self.beside;
        node.from = self.from;
        node.guards = refuses(&self.body);
        node.children = self.conditions;
        node.children.extend(self.body);
        node
    }
}

/// True if a body refuses requests, all or some.
pub(crate) fn refuses(body: &[Node]) -> bool {
    let refuses = |value: &String| value.starts_with("status=4") || value == "status=503";
    body.iter().any(|node| node.guards || node.name == "respond" && node.values.iter().any(refuses))
}

/// True if a body sends requests to an upstream, all or those for which there is no file.
pub(crate) fn is_proxied(body: &[Node]) -> bool {
    body.iter().any(|node| match node.name.as_str() {
        "to" | "split" => true,
        "files" => node.children.iter().any(|child| child.name == "to"),
        _ => false,
    })
}

/// The pattern of a path that nginx has decoded: what a URI cannot hold is encoded again.
pub(crate) fn path_text(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'%' | b'?' | b'#' | 0x7f.. | 0..0x20 => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte => out.push(char::from(byte)),
        }
    }
    out
}

/// True if a prefix can be a pattern.
pub(crate) fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['*', '{', '}'])
}

/// `/a/*` for the prefix `/a/`, and `/a*` for `/a`.
pub(crate) fn below(path: &str) -> String {
    path_text(path) + "*"
}

/// A regular expression for a prefix.
pub(crate) fn prefix_regex(path: &str) -> String {
    format!("^{}(?<rest>.*)", escape_regex(path))
}

/// The first priority of regular expressions that stand in a server's own block. Only the order of all these
/// numbers counts: [`number`] makes small ones of them.
pub(crate) const PRIORITY_SERVER: i32 = 40_000_000;
/// All of theirs are higher than this.
pub(crate) const PRIORITY_SERVER_LAST: i32 = 35_000_000;
/// Of prefixes with `^~` that are written as regular expressions.
const PRIORITY_NO_REGEX: i32 = 30_000_000;
/// Of locations by regular expression.
const PRIORITY_LOCATION: i32 = 20_000_000;
/// Of prefixes that are written as regular expressions.
const PRIORITY_PREFIX: i32 = 10_000_000;
/// Of what a location rewrites whose own route is a path.
pub(crate) const PRIORITY_WITHIN: i32 = 1000;

/// Numbers the regular expressions of a site: 10 for the one that is tried last, then 20.
pub(crate) fn number(routes: &mut [Route]) {
    let of = |route: &Route| match &route.pattern {
        Pattern::Regex { priority, .. } => Some(*priority),
        Pattern::Path(_) => None,
    };
    let mut ranks: Vec<i32> = routes.iter().filter_map(of).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for route in routes {
        if let Pattern::Regex { priority, .. } = &mut route.pattern
            && let Ok(rank) = ranks.binary_search(priority)
        {
            *priority = i32::try_from(rank + 1).unwrap_or(i32::MAX / 10).saturating_mul(10);
        }
    }
}

/// The rank of a location: regular expressions before prefixes, inner ones before outer ones, then in
/// the order of the file; longer prefixes first.
pub(crate) fn priority(locations: &[Location<'_>], index: usize) -> i32 {
    let Some(location) = locations.get(index) else { return 0 };
    let rank = |before: usize| i32::try_from(before).unwrap_or(0);
    match &location.kind {
        Kind::Regex { .. } => {
            let depth = location.within.len();
            let before = locations.iter().enumerate().filter(|(other, one)| {
                let other_depth = one.within.len();
                matches!(one.kind, Kind::Regex { .. })
                    && (other_depth > depth || other_depth == depth && *other < index)
            });
            // In tens: what a location rewrites stands between two of them.
            PRIORITY_LOCATION - 10 * rank(before.count())
        }
        Kind::Prefix { path, no_regex } => {
            // `^~` comes before regular expressions.
            let first = if *no_regex { PRIORITY_NO_REGEX } else { PRIORITY_PREFIX };
            let longer = locations.iter().filter(|one| {
                matches!(&one.kind, Kind::Prefix { path: other, .. } if other.len() > path.len())
            });
            // In tens, as above.
            first - 10 * rank(longer.count())
        }
        Kind::Exact(_) | Kind::Named(_) => 0,
    }
}

/// The conditions under which nginx comes to a regular expression: not below a `^~` of the same block,
/// and below the prefix that it stands in.
pub(crate) fn regex_conditions(locations: &[Location<'_>], location: &Location<'_>) -> Vec<Node> {
    let mut conditions = Vec::new();
    if let Some(prefix) = location.within.last() {
        conditions.push(Node::new("when").property("path", &below(prefix)));
    }
    for other in locations.iter().filter(|one| one.within == location.within) {
        if let Kind::Prefix { path, no_regex: true } = &other.kind {
            conditions.push(Node::new("unless").property("path", &below(path)));
        }
    }
    // A longer prefix beside the block around it is another block.
    if let Some((prefix, around)) = location.within.split_last() {
        for other in locations.iter().filter(|one| one.within == around) {
            if let Kind::Prefix { path, .. } = &other.kind
                && path.len() > prefix.len()
                && path.starts_with(prefix.as_str())
            {
                conditions.push(Node::new("unless").property("path", &below(path)));
            }
        }
    }
    conditions
}

/// The conditions of a prefix that is written as a regular expression: longer prefixes win.
pub(crate) fn prefix_conditions(locations: &[Location<'_>], path: &str) -> Vec<Node> {
    let mut conditions = Vec::new();
    for other in locations {
        if let Kind::Prefix { path: longer, .. } = &other.kind
            && longer.len() > path.len()
            && longer.starts_with(path)
            && is_plain(longer)
        {
            conditions.push(Node::new("unless").property("path", &below(longer)));
        }
    }
    conditions
}
