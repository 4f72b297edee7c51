//! What is told to the operator: where, what, and what to do.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::model::{Config, Place};
use crate::source::Sources;

/// Whether a configuration with this can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but does probably not do what is meant.
    Warning,
}

/// One mistake, or one thing worth a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it is an error.
    pub severity: Severity,
    /// The name of the file.
    pub file: Arc<str>,
    /// Where in it; line 0: the file as a whole.
    pub place: Place,
    /// How many characters are marked.
    pub length: u32,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands beside the marks, such as what was expected.
    pub label: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    /// The text of the line.
    pub line: Box<str>,
}

/// Another place that has to do with a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// The name of the file.
    pub file: Arc<str>,
    /// Where in it.
    pub place: Place,
    /// What is there.
    pub message: String,
}

/// A configuration that cannot be used: every mistake in it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What is wrong, sorted by place; never empty.
    pub errors: Vec<Diagnostic>,
    /// What is worth a second look, sorted by place.
    pub warnings: Vec<Diagnostic>,
    /// The text of every file read.
    pub sources: Sources,
    /// What could be read in spite of the mistakes, to look for more of them in the files that it names. It must not
    /// be served.
    pub partial: Option<Box<Config>>,
}

impl Failure {
    /// The main file cannot be read.
    pub(crate) fn unreadable(name: &str, error: &std::io::Error) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: name.into(),
            place: Place::default(),
            length: 0,
            message: format!("cannot be read: {}", plain_io(error)),
            label: None,
            hint: None,
            related: Vec::new(),
            line: "".into(),
        };
        let (errors, warnings, sources) = (vec![diagnostic], Vec::new(), Sources::default());
        Self { errors, warnings, sources, partial: None }
    }

    /// Every error and warning in the order of their places, with an empty line between two.
    pub fn render(&self, colours: bool) -> String {
        let mut all: Vec<_> = self.errors.iter().chain(&self.warnings).collect();
        all.sort_by_key(|diagnostic| diagnostic.place);
        let texts: Vec<_> = all.iter().map(|diagnostic| diagnostic.render(colours)).collect();
        texts.join("\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.render(false))
    }
}

impl std::error::Error for Failure {}

/// What the operating system says, without its number.
pub(crate) fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

/// Characters of a source line that are shown at most; longer ones are cut around the marks.
const LINE_CHARS_MAX: usize = 160;

impl Diagnostic {
    /// With what stands beside the marks.
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With what to do.
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another place that has to do with it.
    pub fn with_related(mut self, related: Related) -> Self {
        self.related.push(related);
        self
    }

    /// For people, over several lines, the last one ended.
    pub fn render(&self, colours: bool) -> String {
        let paint = Paint { colours };
        let tone = match self.severity {
            Severity::Error => Paint::RED,
            Severity::Warning => Paint::YELLOW,
        };
        let mut out = String::new();
        let place = match self.place.line {
            0 => format!("{}:", self.file),
            line => format!("{}:{line}:{}:", self.file, self.place.column),
        };
        paint.write(&mut out, Paint::BOLD, &printable(&place));
        out.push(' ');
        if self.severity == Severity::Warning {
            paint.write(&mut out, tone, "warning:");
            out.push(' ');
        }
        paint.write(&mut out, Paint::BOLD, &printable(&self.message));
        out.push('\n');
        if self.place.line > 0 {
            self.excerpt(&mut out, paint, tone);
        }
        for related in &self.related {
            let Place { line, column, .. } = related.place;
            let place = format!("{}:{line}:{column}:", related.file);
            let _ = writeln!(out, "{} {}", printable(&place), printable(&related.message));
        }
        if let Some(hint) = &self.hint {
            paint.write(&mut out, Paint::CYAN, "hint:");
            let _ = writeln!(out, " {}", printable(hint));
        }
        out
    }

    /// The line with the marks below.
    fn excerpt(&self, out: &mut String, paint: Paint, tone: &str) {
        let column = self.place.column.saturating_sub(1) as usize;
        let (cut, shown) = window(&self.line, column);
        let number = self.place.line.to_string();
        let width = number.len().max(5);
        let _ = writeln!(out, "{number:>width$} | {shown}");
        let _ = write!(out, "{:width$} | ", "");
        // A tab stays a tab, so that the marks stand below what they mark.
        let before = shown.chars().take(column - cut);
        out.extend(before.map(|c| if c == '\t' { '\t' } else { ' ' }));
        let room = (shown.chars().count() + cut).saturating_sub(column).max(1);
        let mut marks = "^".repeat((self.length as usize).clamp(1, room));
        if let Some(label) = &self.label {
            marks.push(' ');
            marks.push_str(&printable(label));
        }
        paint.write(out, tone, &marks);
        out.push('\n');
    }
}

/// The part of a line that is shown, and how many characters before it are not.
fn window(line: &str, column: usize) -> (usize, String) {
    let length = line.chars().count();
    let cut = if length <= LINE_CHARS_MAX { 0 } else { column.saturating_sub(LINE_CHARS_MAX / 2) };
    let shown: String = line.chars().skip(cut).take(LINE_CHARS_MAX).collect();
    (cut.min(column), printable(&shown))
}

/// Without characters that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    const BOLD: &str = "1";
    const RED: &str = "1;31";
    const YELLOW: &str = "1;33";
    const CYAN: &str = "36";

    fn write(self, out: &mut String, tone: &str, text: &str) {
        let _ = match self.colours {
            true => write!(out, "\x1b[{tone}m{text}\x1b[0m"),
            false => out.write_str(text),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn diagnostic(text: &str, line: u32, column: u32) -> Diagnostic {
        let mut sources = Sources::default();
        sources.add(Source { name: "proxy.kdl".into(), text: text.into() });
        sources.diagnostic(Severity::Error, Place { file: 0, line, column }, "wrong")
    }

    #[test]
    fn shape() {
        let text = "a\n\tbalance least_con {";
        let rendered = diagnostic(text, 2, 10).labelled("here").hinted("do it").render(false);
        let expected = "proxy.kdl:2:10: wrong\n    2 | \tbalance least_con {\n      | \t        ^^^^^^^^^ here\nhint: do it\n";
        assert_eq!(rendered, expected);
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        let rendered = diagnostic("a \x1b[2J\u{7}", 1, 1).render(false);
        assert!(!rendered.contains('\x1b') && !rendered.contains('\u{7}'), "{rendered:?}");
    }

    #[test]
    fn long_lines_are_cut_around_the_marks() {
        let text = format!("{} here {}", "x".repeat(5000), "y".repeat(5000));
        let rendered = diagnostic(&text, 1, 5002).render(false);
        assert!(rendered.lines().all(|line| line.chars().count() < 200));
        let lines: Vec<_> = rendered.lines().collect();
        assert_eq!(lines[1].find("here"), lines[2].find("^^^^"));
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        assert!(diagnostic("a", 1, 1).render(true).contains("\x1b["));
        assert!(!diagnostic("a", 1, 1).render(false).contains('\x1b'));
    }
}
