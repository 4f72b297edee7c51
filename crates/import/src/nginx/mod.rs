//! The syntax of nginx's configuration: text into directives, and back.
//!
//! [`parse`] reads one text as `ngx_conf_file.c` does: the same tokens, quotes and escapes. [`read`]
//! reads a file with everything that it includes. [`print`](fn@print) writes directives as text again.
//! Comments are kept with the directive that they stand above or beside.
//! Everything is bounded: the depth of blocks, the length of a token, the number of directives and of
//! files.

mod parser;
mod printer;
mod reader;

pub use parser::{SyntaxError, parse};
pub use printer::print;
pub use reader::{ReadError, Tree, read};

/// Where a directive stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as an index into [`Tree::files`].
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
}

/// A word of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its text, without quotes and with escapes resolved as nginx does.
    pub text: String,
    /// Whether it was written in quotes.
    pub quoted: bool,
}

/// The number of a directive in a [`Tree`]: its key in the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectiveId(pub u32);

/// A directive, with its block if it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directive {
    /// Its number, unique within a tree.
    pub id: DirectiveId,
    /// Where it begins.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// What follows the name.
    pub words: Vec<Word>,
    /// The block, if it has one.
    pub block: Option<Block>,
    /// The comments above it, without `#`.
    pub above: Vec<String>,
    /// The comment on its line, without `#`.
    pub beside: Option<String>,
}

impl Directive {
    /// The word at `index`, or an empty text.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| &word.text)
    }

    /// The words as texts.
    pub fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.words.iter().map(|word| word.text.as_str())
    }

    /// True if one of the words is `text`.
    pub fn has(&self, text: &str) -> bool {
        self.texts().any(|word| word == text)
    }

    /// The value of a word `name=value`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.texts().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// The directives of its block.
    pub fn children(&self) -> &[Directive] {
        self.block.as_ref().map_or(&[], |block| &block.directives)
    }

    /// Its first line as one would write it, shortened if it is long.
    pub fn line(&self) -> String {
        let mut text = self.name.clone();
        for word in &self.words {
            text.push(' ');
            text.push_str(&printer::word(word));
        }
        text.push_str(if self.block.is_some() { " {" } else { ";" });
        if text.chars().count() > LINE_CHARS_MAX {
            text = text.chars().take(LINE_CHARS_MAX).collect();
            text.push('…');
        }
        text
    }
}

/// How much of a directive a report shows.
const LINE_CHARS_MAX: usize = 100;

/// What stands in braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Its directives, in order.
    pub directives: Vec<Directive>,
    /// The comments after the last one.
    pub end: Vec<String>,
}
