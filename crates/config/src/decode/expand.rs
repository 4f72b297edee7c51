//! Reuse: lines that stand elsewhere are put where they are meant, before anything is read.
//!
//! `use` becomes the lines of its `define`, `include` within a block those of the file, and each site gets the lines of
//! `defaults` that it does not have itself. A line that was put somewhere remembers why (`Span::via`), so that a mistake
//! in it names both places. Everything is bounded, as lines can name each other: how deep they are within each other,
//! and how many there are in the end.
//! Not here: reading files (`include`), what lines mean.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Problems;
use crate::nearest::nearest;
use crate::schema::{Block, DEFAULTS_BLOCK};
use crate::source::{Sources, Span};
use crate::syntax::{Node, Property, Value, ValueKind};

/// How deep lines may be within each other by `use` and `include`.
const DEEP_MAX: usize = 16;

/// Lines that `use`, `include` and `defaults` may make, in all.
const LINES_MAX: usize = 200_000;

/// Nodes of a site that replace those of `defaults` together with others.
const GROUPS: &[&[&str]] =
    &[&["strip-prefix", "rewrite"], &["path-readings", "encoded-separators"], &["allow", "deny"]];

/// Whether `use` and `include` may stand in the block of a node, which itself stands in the block of `parent`.
pub(super) fn takes_lines(parent: Option<&str>, name: &str) -> bool {
    match parent {
        None => {
            matches!(name, "site" | "forward" | "listen" | "upstream" | "define" | "defaults")
        }
        Some(_) => name == "route",
    }
}

/// Why a line stands where it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Via {
    /// The line that has put it there.
    pub(super) span: Span,
    /// What that line does, for people.
    pub(super) what: &'static str,
}

/// The files that are included within blocks.
#[derive(Debug, Default)]
pub(super) struct Fragments<'t> {
    /// The lines of each, by its number.
    pub(super) lines: HashMap<u16, Vec<Node<'t>>>,
    /// Which ones a value of `include` names.
    pub(super) named: HashMap<Span, Vec<u16>>,
}

/// Puts every line where it is meant.
pub(super) fn expand<'t>(
    nodes: Vec<Node<'t>>,
    fragments: &Fragments<'t>,
    sources: &Sources,
    problems: &mut Problems,
) -> Vec<Node<'t>> {
    if !nodes.iter().any(|node| reuses(node, None)) {
        return nodes;
    }
    let defines = defines(&nodes, problems);
    let (within, lines) = (Vec::new(), 0);
    let mut expander = Expander { defines, fragments, sources, problems, within, lines };
    let defaults = expander.defaults(&nodes);
    let expanded = nodes.iter().map(|node| expander.top(node, &defaults)).collect();
    expander.tell_unused();
    expanded
}

/// Whether a node has to do with reuse, or something in it.
fn reuses(node: &Node<'_>, parent: Option<&str>) -> bool {
    let is_reuse = match parent {
        None => matches!(&*node.name, "define" | "defaults"),
        Some(_) => matches!(&*node.name, "use" | "include"),
    };
    let children = node.children.as_deref().filter(|_| takes_lines(parent, &node.name));
    is_reuse || children.unwrap_or_default().iter().any(|child| reuses(child, Some(&*node.name)))
}

/// Lines that have a name.
struct Define<'n, 't> {
    span: Span,
    lines: &'n [Node<'t>],
    is_used: bool,
}

fn defines<'n, 't>(
    nodes: &'n [Node<'t>],
    problems: &mut Problems,
) -> HashMap<&'n str, Define<'n, 't>> {
    let mut found: HashMap<&str, Define<'_, '_>> = HashMap::new();
    for node in nodes.iter().filter(|node| node.name == "define") {
        let Some(name) = node.arguments.first().and_then(text_of) else { continue };
        let lines = node.children.as_deref().unwrap_or_default();
        if let Some(earlier) = found.get(name) {
            problems
                .error(node.name_span, format!("there are two `define {name}`"))
                .related(earlier.span, "here first");
            continue;
        }
        found.insert(name, Define { span: node.name_span, lines, is_used: false });
    }
    found
}

fn text_of<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match &value.kind {
        ValueKind::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// What lines are being put somewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within<'n> {
    Define(&'n str),
    File(u16),
}

struct Expander<'n, 't, 'p> {
    defines: HashMap<&'n str, Define<'n, 't>>,
    fragments: &'n Fragments<'t>,
    sources: &'p Sources,
    problems: &'p mut Problems,
    /// From the outside to the inside.
    within: Vec<Within<'n>>,
    /// Lines that were put somewhere.
    lines: usize,
}

impl<'n, 't> Expander<'n, 't, '_> {
    /// The lines of `defaults`.
    fn defaults(&mut self, nodes: &'n [Node<'t>]) -> Vec<Node<'t>> {
        let mut lines = Vec::new();
        let node = nodes.iter().find(|node| node.name == "defaults");
        if let Some(children) = node.and_then(|node| node.children.as_deref()) {
            self.put(children, 0, &mut lines);
        }
        lines
    }

    /// A node of the top level. What `define` and `defaults` have is checked where it is put.
    fn top(&mut self, node: &'n Node<'t>, defaults: &[Node<'t>]) -> Node<'t> {
        let is_target = takes_lines(None, &node.name) && node.name != "define";
        let Some(children) = node.children.as_deref().filter(|_| is_target) else {
            let is_bare_site = node.name == "site" && !defaults.is_empty();
            let children = is_bare_site.then(|| self.with_defaults(node, defaults, Vec::new()));
            return Node { children: children.or_else(|| node.children.clone()), ..node.clone() };
        };
        let mut lines = Vec::with_capacity(children.len());
        self.put(children, 0, &mut lines);
        if node.name == "site" && !defaults.is_empty() {
            lines = self.with_defaults(node, defaults, lines);
        }
        Node { children: Some(lines), ..node.clone() }
    }

    /// The lines of a site, with those of `defaults` that it does not have itself before them.
    fn with_defaults(
        &mut self,
        site: &Node<'t>,
        defaults: &[Node<'t>],
        mut own: Vec<Node<'t>>,
    ) -> Vec<Node<'t>> {
        let via = self.via(site.name_span, "`defaults` hold for this site");
        let is_passthrough = own.iter().any(|line| {
            line.name == "tls" && line.arguments.first().and_then(text_of) == Some("passthrough")
        });
        let mut lines = Vec::with_capacity(defaults.len() + own.len());
        let holds = |line: &&Node<'_>| {
            DEFAULTS_BLOCK.row(&line.name).is_some() && (!is_passthrough || line.name == "timeouts")
        };
        for line in defaults.iter().filter(holds) {
            if !self.count(line, via) {
                break;
            }
            let line = copy(line, via);
            match &*line.name {
                "timeouts" | "limits" | "request" | "response" => {
                    match own.iter_mut().find(|own| own.name == line.name) {
                        Some(own) => merge_blocks(line, own),
                        None => lines.push(line),
                    }
                }
                "error-page" => lines.extend(without_pages(line, &own)),
                name if own.iter().any(|own| replaces(&own.name, name)) => {}
                _ => lines.push(line),
            }
        }
        lines.append(&mut own);
        lines
    }

    /// Puts lines into a block; `via`: what has put them there, 0 if they stand there.
    fn put(&mut self, lines: &'n [Node<'t>], via: u32, out: &mut Vec<Node<'t>>) {
        for line in lines {
            let inner = line.children.as_deref().filter(|_| line.name == "route");
            if !self.count(line, via) {
                return;
            }
            match (&*line.name, inner) {
                ("use", _) if is_plain(line) => self.put_defines(line, via, out),
                ("include", _) if is_plain(line) => self.put_files(line, via, out),
                (_, None) => out.push(copy(line, via)),
                (_, Some(children)) => {
                    let mut put = Vec::with_capacity(children.len());
                    self.put(children, via, &mut put);
                    let bare = Node { children: None, ..line.clone() };
                    out.push(Node { children: Some(put), ..copy(&bare, via) });
                }
            }
        }
    }

    fn put_defines(&mut self, line: &'n Node<'t>, via: u32, out: &mut Vec<Node<'t>>) {
        for value in &line.arguments {
            let Some(name) = text_of(value) else { continue };
            let Some(define) = self.defines.get_mut(name) else {
                self.tell_unknown(name, value.span.or_via(via));
                continue;
            };
            define.is_used = true;
            let lines = define.lines;
            let inner = self.via(line.name_span.or_via(via), "used here");
            self.put_within(Within::Define(name), value.span.or_via(via), lines, inner, out);
        }
    }

    fn put_files(&mut self, line: &'n Node<'t>, via: u32, out: &mut Vec<Node<'t>>) {
        let fragments = self.fragments;
        for value in &line.arguments {
            // What is not there was told when it was read.
            for &file in fragments.named.get(&value.span).into_iter().flatten() {
                let Some(lines) = fragments.lines.get(&file) else { continue };
                let inner = self.via(line.name_span.or_via(via), "included here");
                self.put_within(Within::File(file), value.span.or_via(via), lines, inner, out);
            }
        }
    }

    /// Puts the lines of something, unless they are within themselves or too deep.
    fn put_within(
        &mut self,
        what: Within<'n>,
        span: Span,
        lines: &'n [Node<'t>],
        via: u32,
        out: &mut Vec<Node<'t>>,
    ) {
        let name = self.name(what);
        if let Some(first) = self.within.iter().position(|within| *within == what) {
            let circle = self.within.get(first..).unwrap_or_default().iter();
            let mut circle: Vec<_> = circle.map(|within| self.name(*within)).collect();
            circle.push(name.clone());
            let circle = circle.join(" → ");
            self.problems.error(span, format!("{name} has itself in it")).hint(circle);
        } else if self.within.len() >= DEEP_MAX {
            let message = format!("{name} is within others more than {DEEP_MAX} deep");
            self.problems.error(span, message);
        } else {
            self.within.push(what);
            self.put(lines, via, out);
            self.within.pop();
        }
    }

    fn name(&self, what: Within<'_>) -> String {
        match what {
            Within::Define(name) => format!("`define {name}`"),
            Within::File(file) => format!("`{}`", self.sources.name(file)),
        }
    }

    /// Counts a line that is put somewhere; false if there are too many, which is reported once.
    fn count(&mut self, line: &Node<'_>, via: u32) -> bool {
        if via == 0 {
            return true; // it stands there itself
        }
        self.lines += 1;
        if self.lines == LINES_MAX {
            let message =
                format!("`use`, `include` and `defaults` make more than {LINES_MAX} lines");
            self.problems
                .error(line.name_span.or_via(via), message)
                .hint("what uses others that use others multiplies");
        }
        self.lines < LINES_MAX
    }

    fn via(&mut self, span: Span, what: &'static str) -> u32 {
        self.problems.add_via(Via { span, what })
    }

    fn tell_unknown(&mut self, name: &str, span: Span) {
        let mut known: Vec<_> = self.defines.keys().copied().collect();
        known.sort_unstable();
        let near = nearest(name, known.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? (known: {})", known.join(", ")),
            None if known.is_empty() => format!("write define {name} {{ … }} at the top level"),
            None => format!("known: {}", known.join(", ")),
        };
        if let Some(define) = near.and_then(|near| self.defines.get_mut(near)) {
            define.is_used = true; // it is meant
        }
        self.problems.error(span, format!("there is no `define {name}`")).hint(hint);
    }

    fn tell_unused(&mut self) {
        for (name, define) in self.defines.iter().filter(|(_, define)| !define.is_used) {
            self.problems.warning(define.span, format!("`define {name}` is not used")).hint(
                format!("write use {name} in a `site`, `route`, `forward`, `listen` or `upstream`"),
            );
        }
    }
}

/// Whether a line has names alone; what else it has is reported when it is checked.
fn is_plain(line: &Node<'_>) -> bool {
    !line.arguments.is_empty()
        && line.arguments.iter().all(|value| text_of(value).is_some())
        && line.properties.is_empty()
        && line.children.is_none()
}

/// Whether a node of a site replaces another one of `defaults`.
fn replaces(own: &str, default: &str) -> bool {
    own == default || GROUPS.iter().any(|group| group.contains(&own) && group.contains(&default))
}

/// Adds to a block of a site what the same block of `defaults` has. Of times and limits those of the site count; edits of
/// fields hold one after the other.
fn merge_blocks<'t>(default: Node<'t>, own: &mut Node<'t>) {
    let is_edits = matches!(&*own.name, "request" | "response");
    let mine = own.children.take().unwrap_or_default();
    let is_mine = |line: &Node<'_>| mine.iter().any(|mine| mine.name == line.name);
    let given = default.children.unwrap_or_default().into_iter();
    let mut lines: Vec<_> = given.filter(|line| is_edits || !is_mine(line)).collect();
    lines.extend(mine);
    own.children = Some(lines);
}

/// An `error-page` of `defaults` for those statuses for which the site has none.
fn without_pages<'t>(mut line: Node<'t>, own: &[Node<'_>]) -> Option<Node<'t>> {
    let pages = || own.iter().filter(|own| own.name == "error-page");
    let is_own = |value: &Value<'_>| {
        pages().flat_map(|page| &page.arguments).any(|own| own.kind == value.kind)
    };
    let had_some = !line.arguments.is_empty();
    line.arguments.retain(|value| !is_own(value));
    (!had_some || !line.arguments.is_empty()).then_some(line)
}

/// A node that stands where `via` has put it, unless something within has.
fn copy<'t>(node: &Node<'t>, via: u32) -> Node<'t> {
    if via == 0 {
        return node.clone();
    }
    let value =
        |value: &Value<'t>| Value { kind: value.kind.clone(), span: value.span.or_via(via) };
    let property = |property: &Property<'t>| Property {
        name: Cow::clone(&property.name),
        name_span: property.name_span.or_via(via),
        value: value(&property.value),
    };
    Node {
        name: Cow::clone(&node.name),
        name_span: node.name_span.or_via(via),
        arguments: node.arguments.iter().map(value).collect(),
        properties: node.properties.iter().map(property).collect(),
        children: node
            .children
            .as_ref()
            .map(|lines| lines.iter().map(|line| copy(line, via)).collect()),
        span: node.span.or_via(via),
        annotations: node.annotations.iter().map(|span| span.or_via(via)).collect(),
        damaged: node.damaged,
    }
}
