//! Every effective value and where it comes from, for `bothways show`.
//!
//! What is shown is itself a configuration: it says every default aloud, and where a value comes
//! from stands in a comment behind it. Read again it gives the same model, which is how tests know
//! that nothing is left out. A route shows what it says itself; the rest it has from its site.
//! What the tables call a secret is masked, unless [`Effective::revealed`] says otherwise.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::model::Place;
use crate::schema::masked_in;

/// Every effective value and where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    lines: Vec<Line>,
    files: Vec<Arc<str>>,
    /// Whether secrets are shown.
    revealed: bool,
}

#[derive(Debug, Clone)]
struct Line {
    depth: u8,
    kind: LineKind,
    name: Box<str>,
    /// What stands behind the name, as written in the language.
    value: Box<str>,
    /// The same without its secrets, if it has any.
    masked: Option<Box<str>>,
    place: Place,
    /// The line that has put it there, if it stands elsewhere.
    via: Option<Place>,
}

impl Line {
    fn new(depth: u8, kind: LineKind, name: &str, value: Box<str>, place: Place) -> Self {
        let masked = masked_in(&value).map(Into::into);
        Self { depth, kind, name: name.into(), value, masked, place, via: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Value,
    /// The first line of a block.
    Block,
    /// A default that the language has no words for.
    Remark,
    /// A property with a line of its own; the name is that of the node, a space, and its own.
    Property {
        first: bool,
        last: bool,
        /// Whether a block begins behind the last.
        opens: bool,
    },
    /// The first line of a node whose properties follow.
    Head,
}

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// What it is, from the outside to the inside, such as `site "shop.example.com"`, `timeouts`,
    /// `head`.
    pub path: Vec<String>,
    /// The value, as written in the language.
    pub value: String,
    /// `file:line`, or `default`; with `, by file:line` if that line has put it where it holds.
    pub origin: String,
}

/// Columns before the comments that say where a value comes from.
const ORIGIN_COLUMN: usize = 56;

impl Effective {
    pub(crate) fn new(files: Vec<Arc<str>>) -> Self {
        Self { lines: Vec::new(), files, revealed: false }
    }

    /// The same with its secrets: what is shown then is the whole configuration.
    pub fn revealed(self) -> Self {
        Self { revealed: true, ..self }
    }

    /// What is shown of the value of a line.
    fn shown<'l>(&self, line: &'l Line) -> &'l str {
        line.masked.as_deref().filter(|_| !self.revealed).unwrap_or(&line.value)
    }

    /// A value of which `masked` is shown, as it has something secret in it.
    pub(crate) fn secret(
        &mut self,
        depth: u8,
        name: &str,
        value: impl Into<Box<str>>,
        masked: String,
        place: Place,
    ) {
        let line = Line::new(depth, LineKind::Value, name, value.into(), place);
        let masked = Some(masked_in(&masked).unwrap_or(masked).into());
        self.lines.push(Line { masked, ..line });
    }

    pub(crate) fn value(
        &mut self,
        depth: u8,
        name: &str,
        value: impl Into<Box<str>>,
        place: Place,
    ) {
        self.lines.push(Line::new(depth, LineKind::Value, name, value.into(), place));
    }

    pub(crate) fn block(
        &mut self,
        depth: u8,
        name: &str,
        value: impl Into<Box<str>>,
        place: Place,
    ) {
        self.lines.push(Line::new(depth, LineKind::Block, name, value.into(), place));
    }

    pub(crate) fn remark(&mut self, depth: u8, name: &str, value: &str) {
        let place = Place::default();
        self.lines.push(Line::new(depth, LineKind::Remark, name, value.into(), place));
    }

    /// The properties of a node, by name, value and place, one a line; behind the value of the
    /// node if it has one, and before its block if that comes next. There is one at least.
    pub(crate) fn properties(
        &mut self,
        depth: u8,
        node: &str,
        head: Option<(&str, Place)>,
        all: &[(&str, String, Place)],
        opens: bool,
    ) {
        if let Some((value, place)) = head {
            self.lines.push(Line::new(depth, LineKind::Head, node, value.into(), place));
        }
        for (index, (name, value, place)) in all.iter().enumerate() {
            let (first, last) = (index == 0 && head.is_none(), index + 1 == all.len());
            let kind = LineKind::Property { first, last, opens: opens && last };
            let name = format!("{node} {name}");
            self.lines.push(Line::new(depth, kind, &name, value.as_str().into(), *place));
        }
    }

    /// The last line was put where it is meant by this one.
    pub(crate) fn put_by(&mut self, via: Place) {
        if let Some(line) = self.lines.last_mut() {
            line.via = Some(via);
        }
    }

    /// Where a line comes from.
    fn origin(&self, line: &Line) -> String {
        let origin = self.locate(line.place);
        match line.via {
            Some(via) => format!("{origin}, by {}", self.locate(via)),
            None => origin,
        }
    }

    fn locate(&self, place: Place) -> String {
        match self.files.get(usize::from(place.file)) {
            Some(file) if place.line > 0 => format!("{file}:{}", place.line),
            _ => "default".to_owned(),
        }
    }

    /// Every value, in the order in which they are shown.
    pub fn values(&self) -> impl Iterator<Item = EffectiveValue> + '_ {
        let mut blocks: Vec<String> = Vec::new();
        self.lines.iter().filter_map(move |line| {
            blocks.truncate(usize::from(line.depth));
            let label = match self.shown(line) {
                "" => line.name.to_string(),
                value => format!("{} {value}", line.name),
            };
            if line.kind == LineKind::Block {
                blocks.push(label);
                return None;
            }
            let mut path = blocks.clone();
            path.extend(line.name.split(' ').map(str::to_owned));
            if let LineKind::Property { opens: true, .. } = line.kind {
                blocks.push(line.name.split(' ').next().unwrap_or_default().to_owned());
            }
            let origin = self.origin(line);
            Some(EffectiveValue { path, value: self.shown(line).to_owned(), origin })
        })
    }

    /// The text of `bothways show`, in the language itself.
    pub fn render(&self, colours: bool) -> String {
        let mut out = String::new();
        let mut depth = 0;
        for (index, line) in self.lines.iter().enumerate() {
            while depth > line.depth {
                depth -= 1;
                close(&mut out, depth);
            }
            if line.depth == 0 && index > 0 {
                out.push('\n');
            }
            self.line(&mut out, line, colours);
            let opens =
                matches!(line.kind, LineKind::Block | LineKind::Property { opens: true, .. });
            depth = line.depth + u8::from(opens);
        }
        while depth > 0 {
            depth -= 1;
            close(&mut out, depth);
        }
        out
    }

    fn line(&self, out: &mut String, line: &Line, colours: bool) {
        let (name, value) = (&line.name, self.shown(line));
        let indent = "    ".repeat(usize::from(line.depth));
        let text = match line.kind {
            LineKind::Value if value.is_empty() => format!("{indent}{name}"),
            LineKind::Value => format!("{indent}{name} {value}"),
            LineKind::Block if value.is_empty() => format!("{indent}{name} {{"),
            LineKind::Block => format!("{indent}{name} {value} {{"),
            LineKind::Remark => format!("{indent}// {name}: {value}"),
            LineKind::Head => format!("{indent}{name} {value} \\"),
            LineKind::Property { first, last, opens } => {
                let own = name.split(' ').next_back().unwrap_or_default();
                let name = if first { name.to_string() } else { format!("    {own}") };
                let end = if opens {
                    " {"
                } else if last {
                    ""
                } else {
                    " \\"
                };
                format!("{indent}{name}={value}{end}")
            }
        };
        out.push_str(&text);
        if line.kind == LineKind::Block && line.place.line == 0 {
            out.push('\n');
            return;
        }
        let gap = ORIGIN_COLUMN.saturating_sub(text.chars().count()).max(1);
        let origin = self.origin(line).replace(char::is_control, "\u{fffd}");
        let (dim, plain) = if colours { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(out, "{:gap$}{dim}// {origin}{plain}", "");
    }
}

fn close(out: &mut String, depth: u8) {
    let _ = writeln!(out, "{}}}", "    ".repeat(usize::from(depth)));
}

/// Text as a string of the language.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Characters that a document may not have as themselves, and other line breaks.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
