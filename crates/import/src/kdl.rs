//! What is written: nodes of our language, and their text.

use std::fmt::Write as _;

use crate::nginx::DirectiveId;

/// A node of our language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Comment lines above it.
    pub(crate) above: Vec<String>,
    /// Its name; empty: only the comments.
    pub(crate) name: String,
    /// Values and properties, as they are written.
    pub(crate) values: Vec<String>,
    /// Its block.
    pub(crate) children: Vec<Node>,
    /// A comment on its line.
    pub(crate) beside: Option<String>,
    /// The directives of nginx that it comes from.
    pub(crate) from: Vec<DirectiveId>,
    /// Whether it keeps clients out: without it the enclosing route must not be served.
    pub(crate) guards: bool,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// A node that is only a comment.
    pub(crate) fn comment(text: impl Into<String>) -> Self {
        Self { above: vec![text.into()], ..Self::default() }
    }

    /// With a value in quotes.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.values.push(quoted(text));
        self
    }

    /// With a value that needs no quotes.
    pub(crate) fn bare(mut self, text: impl ToString) -> Self {
        self.values.push(text.to_string());
        self
    }

    /// With a property whose value is in quotes.
    pub(crate) fn property(mut self, name: &str, text: &str) -> Self {
        self.values.push(format!("{name}={}", quoted(text)));
        self
    }

    /// With a property whose value needs no quotes.
    pub(crate) fn bare_property(mut self, name: &str, text: impl ToString) -> Self {
        self.values.push(format!("{name}={}", text.to_string()));
        self
    }

    pub(crate) fn child(mut self, node: Node) -> Self {
        self.children.push(node);
        self
    }

    pub(crate) fn children(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.children.extend(nodes);
        self
    }

    pub(crate) fn from(mut self, id: DirectiveId) -> Self {
        self.from.push(id);
        self
    }

    pub(crate) fn guarding(mut self) -> Self {
        self.guards = true;
        self
    }

    /// Its line without the block.
    pub(crate) fn line(&self) -> String {
        let mut line = self.name.clone();
        for value in &self.values {
            line.push(' ');
            line.push_str(value);
        }
        line
    }

    /// The same setting, whatever its comments and origin are.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.values == other.values
            && self.children.len() == other.children.len()
            && self.children.iter().zip(&other.children).all(|(one, other)| one.is_like(other))
    }
}

/// Text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() || is_direction(other) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Characters that change the direction of text, which KDL does not take as they are.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text within a template: braces are literal.
pub(crate) fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// What a line of the text comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The path to the node: an index in each block.
    pub(crate) path: Vec<usize>,
}

/// The text of nodes, and for each of its lines the node that stands there.
pub(crate) fn write(nodes: &[Node]) -> (String, Vec<Option<Origin>>) {
    let mut writer = Writer::default();
    writer.nodes(nodes, &mut Vec::new());
    (writer.text, writer.lines)
}

#[derive(Default)]
struct Writer {
    text: String,
    lines: Vec<Option<Origin>>,
}

impl Writer {
    fn nodes(&mut self, nodes: &[Node], path: &mut Vec<usize>) {
        for (index, node) in nodes.iter().enumerate() {
            path.push(index);
            let after_route = index.checked_sub(1).and_then(|at| nodes.get(at));
            let after_route =
                after_route.is_some_and(|one| one.name == "route" && node.name != "route");
            if after_route {
                self.line("", None);
            }
            self.node(node, path, index > 0 && !after_route);
            path.pop();
        }
    }

    fn node(&mut self, node: &Node, path: &mut Vec<usize>, has_previous: bool) {
        let depth = path.len().saturating_sub(1);
        let is_part = depth == 0 || node.name == "route" || node.name == "site";
        if has_previous && is_part && (!node.children.is_empty() || !node.above.is_empty()) {
            self.line("", None);
        }
        let indent = "    ".repeat(depth);
        for comment in &node.above {
            for line in comment.lines().map(str::trim_end) {
                let line = line.trim_start_matches('#');
                let space = if line.is_empty() || line.starts_with(' ') { "" } else { " " };
                self.line(&format!("{indent}//{space}{}", printable(line)), None);
            }
        }
        if node.name.is_empty() {
            return;
        }
        let origin = Some(Origin { path: path.clone() });
        let mut line = format!("{indent}{}", node.line());
        if !node.children.is_empty() {
            line.push_str(" {");
        }
        if let Some(comment) = &node.beside {
            let space = if comment.starts_with(' ') { "" } else { " " };
            let _ = write!(line, " //{space}{}", printable(comment));
        }
        self.line(&line, origin.clone());
        if !node.children.is_empty() {
            self.nodes(&node.children, path);
            self.line(&format!("{indent}}}"), origin);
        }
    }

    fn line(&mut self, line: &str, origin: Option<Origin>) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        self.lines.push(origin);
    }
}

/// A comment without what would end its line.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| {
            (!c.is_control() || *c == '\t')
                && !is_direction(*c)
                && !matches!(c, '\u{2028}' | '\u{2029}')
        })
        .collect()
}
