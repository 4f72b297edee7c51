//! The text of the files read, and how an offset in it becomes a line and a column.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::model::Place;

/// A text with a name that people know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name, a path for files.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Span {
    /// Which of [`Sources`].
    pub(crate) file: u16,
    /// The first byte.
    pub(crate) start: u32,
    /// The byte after the last.
    pub(crate) end: u32,
    /// What has put it where it is meant (`use`, `include` in a block, `defaults`): a number of the decoder; 0: it stands
    /// there itself.
    pub(crate) via: u32,
}

impl Span {
    /// The same bytes, put where they are meant by `via`, unless something else has put them there.
    pub(crate) fn or_via(self, via: u32) -> Self {
        if self.via == 0 { Self { via, ..self } } else { self }
    }

    /// From the start of `self` to the end of `last`.
    pub(crate) fn to(self, last: Self) -> Self {
        Self { end: last.end.max(self.start), ..self }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Every file that a configuration was read from, the main one first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Arc<File>>,
}

#[derive(Debug)]
struct File {
    name: Arc<str>,
    text: String,
    /// Where each line starts.
    lines: Vec<u32>,
    /// How many characters there are before each multiple of [`STRIDE`] bytes, so that a column in
    /// a very long line costs no more than one in a short.
    chars: Vec<u32>,
}

const STRIDE: usize = 1024;

impl File {
    fn new(source: Source) -> Self {
        let text = source.text;
        let starts = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let lines = std::iter::once(0).chain(starts.map(|(at, _)| at as u32 + 1)).collect();
        let mut chars = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut count = 0;
        for block in text.as_bytes().chunks(STRIDE) {
            chars.push(count);
            count += count_chars(block);
        }
        chars.push(count);
        Self { name: source.name.into(), text, lines, chars }
    }

    /// How many characters start before the byte at `offset`.
    fn chars_before(&self, offset: usize) -> u32 {
        let offset = offset.min(self.text.len());
        let block = offset / STRIDE;
        let counted = self.chars.get(block).copied().unwrap_or_default();
        counted + self.text.as_bytes().get(block * STRIDE..offset).map_or(0, count_chars)
    }

    /// How many characters start in between.
    fn chars_between(&self, start: usize, end: usize) -> u32 {
        match self.text.as_bytes().get(start..end) {
            Some(bytes) if bytes.len() < STRIDE => count_chars(bytes),
            _ => self.chars_before(end) - self.chars_before(start),
        }
    }

    fn line_text(&self, line: u32) -> &str {
        let Some(index) = (line as usize).checked_sub(1) else { return "" };
        let Some(&start) = self.lines.get(index) else { return "" };
        let end = self.lines.get(index + 1).map_or(self.text.len(), |&next| next as usize);
        self.text.get(start as usize..end).unwrap_or_default().trim_end_matches(['\r', '\n'])
    }
}

/// Bytes that are not the continuation of a character.
fn count_chars(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u32
}

impl Sources {
    /// Adds a file; the answer counts in [`Config::files`](crate::Config::files).
    pub(crate) fn add(&mut self, source: Source) -> u16 {
        self.files.push(Arc::new(File::new(source)));
        (self.files.len() - 1) as u16
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The names of the files, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    /// The name of one file; empty if there is no such.
    pub fn name(&self, file: u16) -> Arc<str> {
        self.files.get(usize::from(file)).map_or_else(|| "".into(), |file| file.name.clone())
    }

    /// The text of one file; empty if there is no such.
    pub fn text(&self, file: u16) -> &str {
        self.files.get(usize::from(file)).map_or("", |file| file.text.as_str())
    }

    /// One line, from 1, without its end.
    pub fn line(&self, place: Place) -> &str {
        self.files.get(usize::from(place.file)).map_or("", |file| file.line_text(place.line))
    }

    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.range()).unwrap_or_default()
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        let Some(file) = self.files.get(usize::from(span.file)) else { return Place::default() };
        let line = file.lines.partition_point(|&start| start <= span.start);
        let start = file.lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
        let column = file.chars_between(start as usize, span.start as usize) + 1;
        Place { file: span.file, line: line as u32, column }
    }

    /// Characters of `span`, within its first line.
    fn length(&self, span: Span) -> u32 {
        let text = self.slice(span);
        let line = text.split(['\r', '\n']).next().unwrap_or_default();
        (line.chars().count() as u32).max(1)
    }

    pub(crate) fn at(&self, severity: Severity, span: Span, message: String) -> Diagnostic {
        let place = self.place(span);
        Diagnostic { length: self.length(span), ..self.diagnostic(severity, place, message) }
    }

    /// A diagnostic that points at one place, for checks made after decoding. It marks the whole
    /// word there.
    pub fn diagnostic(
        &self,
        severity: Severity,
        place: Place,
        message: impl Into<String>,
    ) -> Diagnostic {
        let line = self.line(place);
        let rest = line.chars().skip(place.column.saturating_sub(1) as usize);
        let word = rest.take_while(|c| !c.is_whitespace() && !"{};".contains(*c)).count();
        Diagnostic {
            severity,
            file: self.name(place.file),
            place,
            length: (word as u32).max(1),
            message: message.into(),
            label: None,
            hint: None,
            related: Vec::new(),
            line: line.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let mut sources = Sources::default();
        let long = "é".repeat(3000);
        let text = format!("ab\nçd e\r\n\n{long}x");
        sources.add(Source { name: "f".into(), text: text.clone() });
        let place = |needle: &str| {
            let start = text.find(needle).unwrap() as u32;
            let place = sources.place(Span { file: 0, start, end: start, via: 0 });
            (place.line, place.column)
        };
        assert_eq!(place("ab"), (1, 1));
        assert_eq!(place("b\n"), (1, 2));
        assert_eq!(place("d e"), (2, 2));
        assert_eq!(place("e\r"), (2, 4));
        assert_eq!(place("x"), (4, 3001));
        let end = text.len() as u32;
        assert_eq!(sources.place(Span { file: 0, start: end, end, via: 0 }).column, 3002);
        assert_eq!(sources.line(Place { file: 0, line: 2, column: 1 }), "çd e");
        assert_eq!(sources.line(Place { file: 0, line: 9, column: 1 }), "");
    }
}
