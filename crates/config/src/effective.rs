//! Every effective value and where it comes from, for `bothways show`.
//!
//! What is shown is itself a configuration: it says every default aloud, and where a value comes
//! from stands in a comment behind it. Read again it gives the same model, which is how tests know
//! that nothing is left out. A route shows what it says itself; the rest it has from its site.
//! What the tables call a secret is masked, unless [`Effective::revealed`] says otherwise.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::model::Place;
use crate::schema::masked_in;

/// Every effective value and where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    lines: Vec<Line>,
    /// The texts of all lines, one behind the other, as there may be millions.
    text: String,
    files: Vec<Arc<str>>,
    /// Whether secrets are shown.
    revealed: bool,
}

#[derive(Debug, Clone)]
struct Line {
    depth: u8,
    kind: LineKind,
    name: Text,
    /// What stands behind the name, as written in the language.
    value: Text,
    /// What is shown in its place, if it is a secret.
    masked: Option<Text>,
    place: Place,
    /// The line that has put it there, if it stands elsewhere.
    via: Option<Place>,
}

/// A part of the text.
#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    end: u32,
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
        Self { lines: Vec::new(), text: String::new(), files, revealed: false }
    }

    /// The same with its secrets: what is shown then is the whole configuration.
    pub fn revealed(self) -> Self {
        Self { revealed: true, ..self }
    }

    fn keep(&mut self, text: &str) -> Text {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Text { start, end: self.text.len() as u32 }
    }

    fn text(&self, text: Text) -> &str {
        self.text.get(text.start as usize..text.end as usize).unwrap_or_default()
    }

    /// What is shown of the value of a line.
    fn shown(&self, line: &Line) -> Cow<'_, str> {
        if self.revealed {
            return self.text(line.value).into();
        }
        let shown = self.text(line.masked.unwrap_or(line.value));
        masked_in(shown).map_or(shown.into(), Into::into)
    }

    fn push(&mut self, depth: u8, kind: LineKind, name: &str, value: &str, place: Place) {
        let (name, value) = (self.keep(name), self.keep(value));
        self.lines.push(Line { depth, kind, name, value, masked: None, place, via: None });
    }

    /// A value of which `masked` is shown, as it has something secret in it.
    pub(crate) fn secret(
        &mut self,
        depth: u8,
        name: &str,
        value: impl AsRef<str>,
        masked: String,
        place: Place,
    ) {
        self.push(depth, LineKind::Value, name, value.as_ref(), place);
        let masked = self.keep(&masked);
        if let Some(line) = self.lines.last_mut() {
            line.masked = Some(masked);
        }
    }

    pub(crate) fn value(&mut self, depth: u8, name: &str, value: impl AsRef<str>, place: Place) {
        self.push(depth, LineKind::Value, name, value.as_ref(), place);
    }

    pub(crate) fn block(&mut self, depth: u8, name: &str, value: impl AsRef<str>, place: Place) {
        self.push(depth, LineKind::Block, name, value.as_ref(), place);
    }

    pub(crate) fn remark(&mut self, depth: u8, name: &str, value: &str) {
        let place = Place::default();
        self.push(depth, LineKind::Remark, name, value, place);
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
            self.push(depth, LineKind::Head, node, value, place);
        }
        for (index, (name, value, place)) in all.iter().enumerate() {
            let (first, last) = (index == 0 && head.is_none(), index + 1 == all.len());
            let kind = LineKind::Property { first, last, opens: opens && last };
            let name = format!("{node} {name}");
            self.push(depth, kind, &name, value, *place);
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
            let name = self.text(line.name);
            let label = match &*self.shown(line) {
                "" => name.to_owned(),
                value => format!("{name} {value}"),
            };
            if line.kind == LineKind::Block {
                blocks.push(label);
                return None;
            }
            let mut path = blocks.clone();
            path.extend(name.split(' ').map(str::to_owned));
            if let LineKind::Property { opens: true, .. } = line.kind {
                blocks.push(name.split(' ').next().unwrap_or_default().to_owned());
            }
            let origin = self.origin(line);
            Some(EffectiveValue { path, value: self.shown(line).into_owned(), origin })
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
        let (name, value) = (self.text(line.name), self.shown(line));
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
                let name = if first { name.to_owned() } else { format!("    {own}") };
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
