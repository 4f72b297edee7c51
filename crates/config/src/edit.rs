//! Changes of an upstream's endpoints, written into the text of its file.
//!
//! [`endpoints`] takes a text and gives one: lines of endpoints that change are written anew,
//! everything else stays byte for byte, comments and layout too. Not here: reading and writing
//! files, whether the outcome is a good configuration (parse it).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::effective::quoted;
use crate::model::{Addresses, Endpoint, EndpointAddress};
use crate::source::Span;
use crate::syntax::lexer::{Token, TokenKind, tokens};
use crate::syntax::{Node, ValueKind, parser};
use crate::values;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An endpoint more; behind those that are there.
    Add(Endpoint),
    /// One less, by how it is written.
    Remove(Arc<str>),
    /// Something of one is set.
    Set {
        /// How it is written.
        written: Arc<str>,
        /// Its weight.
        weight: Option<u16>,
        /// Its limit of requests at once; `Some(None)`: none.
        max: Option<Option<u32>>,
        /// Whether it drains.
        drain: Option<bool>,
    },
}

/// Why a text cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// It is no KDL (any more).
    Syntax,
    /// It has no such upstream.
    NoUpstream,
    /// The upstream does not name this endpoint: it comes from somewhere else.
    NoEndpoint(Arc<str>),
    /// The upstream names it already.
    Exists(Arc<str>),
    /// No endpoint would be left, nor anything that endpoints come from.
    Empty,
}

impl fmt::Display for EditError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => out.write_str("the file has mistakes; `bothways check` lists them"),
            Self::NoUpstream => out.write_str("the file has no such upstream"),
            Self::NoEndpoint(name) => {
                write!(out, "the file does not name the endpoint `{name}`")
            }
            Self::Exists(name) => write!(out, "the file names the endpoint `{name}` already"),
            Self::Empty => out.write_str("no endpoint would be left in the file"),
        }
    }
}

impl std::error::Error for EditError {}

/// `text` with the changes made to the upstream of this name. All are made, or none.
pub fn endpoints(text: &str, upstream: &str, changes: &[Change]) -> Result<String, EditError> {
    let document = parser::parse(text, 0);
    if !document.errors.is_empty() {
        return Err(EditError::Syntax);
    }
    let is_it = |node: &&Node<'_>| {
        let name = node.arguments.first().and_then(|value| text_of(&value.kind));
        node.name == "upstream" && name == Some(upstream)
    };
    let node = document.nodes.iter().find(is_it).ok_or(EditError::NoUpstream)?;
    let children = node.children.as_deref().ok_or(EditError::NoUpstream)?;
    let tokens = tokens(text, 0, &mut Vec::new());
    let mut block = Block { text, tokens: &tokens, lines: Vec::new(), added: Vec::new() };
    block.lines.extend(children.iter().filter(|child| child.name == "to").map(Line::new));
    for change in changes {
        block.make(change)?;
    }
    let sources = children
        .iter()
        .any(|child| matches!(&*child.name, "srv" | "endpoints" | "use" | "include"));
    let left = block.lines.iter().any(|line| !line.endpoints.is_empty());
    if !left && block.added.is_empty() && !sources {
        return Err(EditError::Empty);
    }
    Ok(block.write(node.span))
}

fn text_of<'n>(kind: &'n ValueKind<'_>) -> Option<&'n str> {
    match kind {
        ValueKind::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// What makes an endpoint the same, however it is written.
type Key = (EndpointAddress, bool);

/// A line of endpoints.
struct Line<'n, 't> {
    node: &'n Node<'t>,
    /// What is to stand there.
    endpoints: Vec<Written>,
    is_changed: bool,
}

/// An endpoint of a line.
#[derive(Clone)]
struct Written {
    key: Option<Key>,
    /// As it stands in the text.
    span: Span,
    /// What differs from the line.
    weight: Option<u16>,
    max: Option<Option<u32>>,
    drain: Option<bool>,
}

impl<'n, 't> Line<'n, 't> {
    fn new(node: &'n Node<'t>) -> Self {
        let endpoints = node.arguments.iter().map(|value| Written {
            key: text_of(&value.kind).and_then(|text| values::endpoint(text).ok()),
            span: value.span,
            weight: None,
            max: None,
            drain: None,
        });
        Self { node, endpoints: endpoints.collect(), is_changed: false }
    }

    /// The weight that each endpoint of the line has.
    fn weight(&self) -> u16 {
        let property = self.node.properties.iter().find(|property| property.name == "weight");
        match property.map(|property| &property.value.kind) {
            Some(ValueKind::Integer(weight)) => u16::try_from(*weight).unwrap_or(1),
            _ => 1,
        }
    }
}

struct Block<'n, 't, 'k> {
    text: &'t str,
    tokens: &'k [Token],
    lines: Vec<Line<'n, 't>>,
    added: Vec<(Option<Key>, Endpoint)>,
}

impl Block<'_, '_, '_> {
    fn has(&self, key: &Key) -> bool {
        let endpoints = self.lines.iter().flat_map(|line| &line.endpoints);
        let mut keys = endpoints.filter_map(|endpoint| endpoint.key.as_ref());
        keys.any(|other| other == key)
            || self.added.iter().any(|(other, _)| other.as_ref() == Some(key))
    }

    fn make(&mut self, change: &Change) -> Result<(), EditError> {
        match change {
            Change::Add(endpoint) => {
                let key = key_of(&endpoint.written);
                if key.as_ref().is_some_and(|key| self.has(key)) {
                    return Err(EditError::Exists(endpoint.written.clone()));
                }
                self.added.push((key, endpoint.clone()));
                Ok(())
            }
            Change::Remove(written) => {
                let missing = || EditError::NoEndpoint(written.clone());
                let key = key_of(written).ok_or_else(missing)?;
                let before = self.added.len();
                self.added.retain(|(other, _)| other.as_ref() != Some(&key));
                let taken = self.take(&key).is_some();
                (taken || self.added.len() < before).then_some(()).ok_or_else(missing)
            }
            Change::Set { written, weight, max, drain } => {
                let missing = || EditError::NoEndpoint(written.clone());
                let key = key_of(written).ok_or_else(missing)?;
                let mut added = self.added.iter_mut();
                if let Some((_, new)) = added.find(|(other, _)| other.as_ref() == Some(&key)) {
                    new.weight = weight.unwrap_or(new.weight);
                    new.max = max.unwrap_or(new.max);
                    new.draining = drain.unwrap_or(new.draining);
                    return Ok(());
                }
                let (line, at, mut endpoint) = self.take(&key).ok_or_else(missing)?;
                endpoint.weight = weight.or(endpoint.weight);
                endpoint.max = max.or(endpoint.max);
                endpoint.drain = drain.or(endpoint.drain);
                if let Some(line) = self.lines.get_mut(line) {
                    line.endpoints.insert(at, endpoint);
                }
                Ok(())
            }
        }
    }

    /// Takes an endpoint out, and tells where it stood; one that stood there several times has all
    /// their weight.
    fn take(&mut self, key: &Key) -> Option<(usize, usize, Written)> {
        let mut first: Option<(usize, usize, Written)> = None;
        for (number, line) in self.lines.iter_mut().enumerate() {
            let weight = line.weight();
            let mut at = 0;
            while let Some(endpoint) = line.endpoints.get(at) {
                if endpoint.key.as_ref() != Some(key) {
                    at += 1;
                    continue;
                }
                let found = line.endpoints.remove(at);
                line.is_changed = true;
                match &mut first {
                    None => first = Some((number, at, found)),
                    Some((_, _, earlier)) => {
                        let more = found.weight.unwrap_or(weight);
                        let sum = earlier.weight.unwrap_or(weight).saturating_add(more);
                        earlier.weight = Some(sum.min(1000));
                    }
                }
            }
        }
        first
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The text with everything that has changed.
    fn write(&self, upstream: Span) -> String {
        let mut patches: Vec<(Range<usize>, String)> = Vec::new();
        for line in self.lines.iter().filter(|line| line.is_changed) {
            patches.push(match line.endpoints.is_empty() {
                true => (self.whole(line.node), String::new()),
                false => (range(line.node.span), self.line_text(line)),
            });
        }
        if !self.added.is_empty() {
            patches.push(self.addition(upstream));
        }
        patches.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len() + 64 * self.added.len());
        let mut at = 0;
        for (range, new) in patches {
            out.push_str(self.text.get(at..range.start).unwrap_or_default());
            out.push_str(&new);
            at = at.max(range.end);
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        out
    }

    /// What stands between one node and the next that is written behind it.
    fn separator(&self, at: usize) -> String {
        match self.indent(at) {
            Some(indent) => format!("{}{indent}", self.line_break()),
            None => "; ".to_owned(),
        }
    }

    fn line_break(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// The space before what stands at `at`, if it begins its line.
    fn indent(&self, at: usize) -> Option<&str> {
        let before = self.text.get(..at)?;
        let start = before.rfind('\n').map_or(0, |line_break| line_break + 1);
        let indent = before.get(start..)?;
        indent.chars().all(|c| matches!(c, ' ' | '\t')).then_some(indent)
    }

    /// A line that has changed: its endpoints in their order, those with the same properties
    /// together.
    fn line_text(&self, line: &Line<'_, '_>) -> String {
        let mut nodes: Vec<(String, String)> = Vec::new();
        for endpoint in &line.endpoints {
            let (written, properties) =
                (self.slice(endpoint.span), self.properties(line, endpoint));
            match nodes.last_mut() {
                Some((endpoints, same)) if *same == properties => {
                    endpoints.push(' ');
                    endpoints.push_str(written);
                }
                _ => nodes.push((written.to_owned(), properties)),
            }
        }
        let nodes: Vec<_> =
            nodes.iter().map(|(to, properties)| format!("to {to}{properties}")).collect();
        let mut out = nodes.join(&self.separator(line.node.name_span.start as usize));
        for comment in self.comments_within(line.node.span) {
            out.push_str(&format!(" /* {comment} */"));
        }
        out
    }

    /// The properties of an endpoint: those of its line, and what is set anew.
    fn properties(&self, line: &Line<'_, '_>, endpoint: &Written) -> String {
        let set = [
            (
                "weight",
                endpoint
                    .weight
                    .map(|weight| Some(weight).filter(|&w| w != 1).map(|w| w.to_string())),
            ),
            ("max", endpoint.max.map(|max| max.map(|max| max.to_string()))),
            ("drain", endpoint.drain.map(|drain| drain.then(|| "#true".to_owned()))),
        ];
        let mut out = String::new();
        for property in &line.node.properties {
            let changed = set.iter().find(|(name, new)| *name == property.name && new.is_some());
            let value = match changed {
                Some((_, Some(Some(new)))) => new.as_str(),
                Some(_) => continue,
                None => self.slice(property.value.span),
            };
            out.push_str(&format!(" {}={value}", property.name));
        }
        for (name, new) in &set {
            let stands = line.node.properties.iter().any(|property| property.name == *name);
            if let Some(Some(new)) = new.as_ref().filter(|_| !stands) {
                out.push_str(&format!(" {name}={new}"));
            }
        }
        out
    }

    /// The comments in a node, without their marks.
    fn comments_within(&self, span: Span) -> Vec<String> {
        let inside = self
            .tokens
            .iter()
            .filter(|token| token.span.start >= span.start && token.span.end <= span.end);
        inside
            .filter_map(|token| {
                let text = self.slice(token.span);
                let bare = match token.kind {
                    TokenKind::BlockComment => text.strip_prefix("/*")?.strip_suffix("*/")?,
                    TokenKind::Continuation => text.split_once("//")?.1,
                    _ => return None,
                };
                Some(bare.trim().replace("*/", "* /").replace("/*", "/ *"))
            })
            .filter(|comment| !comment.is_empty())
            .collect()
    }

    /// All that goes with a node: its line if it has one, else its `;`.
    fn whole(&self, node: &Node<'_>) -> Range<usize> {
        let (start, end) = (node.span.start as usize, self.end_of_node(node.span));
        let after = self.text.get(end..).unwrap_or_default();
        let rest = after
            .find('\n')
            .map_or(after, |line_break| after.get(..line_break).unwrap_or_default());
        let bare = rest.trim().trim_start_matches(';').trim_start();
        if let Some(indent) = self.indent(start)
            && (bare.is_empty() || bare.starts_with("//"))
        {
            let line_break = usize::from(rest.len() < after.len());
            return start - indent.len()..end + rest.len() + line_break;
        }
        // The node and its end, with the space before what follows.
        let behind = after.trim_start_matches([' ', '\t']);
        let behind = behind.strip_prefix(';').unwrap_or(behind).trim_start_matches([' ', '\t']);
        start..end + (after.len() - behind.len())
    }

    /// Where endpoints that are new go, and their text: behind the last one that stays, else at the
    /// start of the block.
    fn addition(&self, upstream: Span) -> (Range<usize>, String) {
        let nodes = self.added.iter().map(|(_, endpoint)| endpoint_node(endpoint));
        if let Some(last) = self.lines.iter().rfind(|line| !line.endpoints.is_empty()) {
            let start = last.node.name_span.start as usize;
            let separator = self.separator(start);
            let text = nodes.map(|node| format!("{separator}{node}")).collect::<String>();
            let end = self.end_of_node(last.node.span);
            let at = if self.indent(start).is_some() { self.end_of_line(end) } else { end };
            return (at..at, text);
        }
        let at = self.open_brace(upstream);
        let indent =
            self.lines.first().and_then(|line| self.indent(line.node.name_span.start as usize));
        let is_last = self
            .text
            .get(at..)
            .is_some_and(|rest| rest.lines().next().is_some_and(|line| line.trim().is_empty()));
        let text = match is_last {
            true => {
                let separator = format!("{}{}", self.line_break(), indent.unwrap_or("    "));
                nodes.map(|node| format!("{separator}{node}")).collect()
            }
            false => nodes.map(|node| format!(" {node};")).collect(),
        };
        (at..at, text)
    }

    /// Where a line ends that only a comment or nothing follows; else where the node ends.
    fn end_of_line(&self, end: usize) -> usize {
        let after = self.text.get(end..).unwrap_or_default();
        let rest = after.split(['\r', '\n']).next().unwrap_or_default();
        let bare = rest.trim().trim_start_matches(';').trim_start();
        match bare.is_empty() || bare.starts_with("//") {
            true => end + rest.len(),
            false => end,
        }
    }

    /// Where a node ends, with what `/-` leaves out behind its last value.
    fn end_of_node(&self, span: Span) -> usize {
        use TokenKind::{
            BlockComment, Close, Continuation, LineComment, Newline, Semicolon, Space,
        };
        let (mut end, mut depth, mut glued) = (span.end, 0_usize, false);
        for token in self.tokens.iter().filter(|token| token.span.start >= span.end) {
            match token.kind {
                Space | BlockComment | Continuation => continue,
                Newline | LineComment if glued || depth > 0 => continue,
                Newline | LineComment | Semicolon if depth == 0 => break,
                Close if depth == 0 => break,
                Close => depth -= 1,
                TokenKind::Open => depth += 1,
                _ => {}
            }
            glued = token.kind == TokenKind::Slashdash;
            end = token.span.end;
        }
        end as usize
    }

    /// Behind the brace that opens the upstream's block.
    fn open_brace(&self, upstream: Span) -> usize {
        let mut left_out = false;
        let mut depth = 0_usize;
        for token in self.tokens.iter().filter(|token| token.span.start >= upstream.end) {
            match token.kind {
                TokenKind::Slashdash if depth == 0 => left_out = true,
                TokenKind::Open if depth == 0 && !left_out => return token.span.end as usize,
                TokenKind::Open => depth += 1,
                TokenKind::Close => {
                    depth = depth.saturating_sub(1);
                    left_out &= depth > 0;
                }
                _ => {}
            }
        }
        upstream.end as usize
    }
}

fn range(span: Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

fn key_of(written: &str) -> Option<Key> {
    values::endpoint(written).ok()
}

/// The line of an endpoint, with what is not the default.
fn endpoint_node(endpoint: &Endpoint) -> String {
    let mut out = format!("to {}", quoted(&endpoint.written));
    let mut property = |name: &str, value: String| out.push_str(&format!(" {name}={value}"));
    if endpoint.weight != 1 {
        property("weight", endpoint.weight.to_string());
    }
    if let Some(zone) = &endpoint.zone {
        property("zone", quoted(zone));
    }
    if endpoint.priority != 0 {
        property("priority", endpoint.priority.to_string());
    }
    if endpoint.backup {
        property("backup", "#true".to_owned());
    }
    if let Some(max) = endpoint.max {
        property("max", max.to_string());
    }
    if endpoint.draining {
        property("drain", "#true".to_owned());
    }
    match endpoint.addresses {
        Addresses::Auto => {}
        Addresses::Each => property("addresses", "each".to_owned()),
        Addresses::One => property("addresses", "one".to_owned()),
    }
    out
}
