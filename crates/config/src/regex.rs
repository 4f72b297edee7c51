//! Regular expressions, which take time in proportion to the text.

use std::fmt;

/// Bytes that a compiled regular expression takes at most.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A regular expression, which takes time in proportion to the text. Equal if written the same.
#[derive(Clone)]
pub struct Regex {
    written: Box<str>,
    compiled: regex::bytes::Regex,
}

impl Regex {
    /// Compiles one; else what is wrong with it, in one line. It compares bytes: letters beyond ASCII have no case,
    /// and `\w` has none of them.
    pub fn new(text: &str) -> Result<Self, String> {
        let compiled = Self::builder(text).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("it would take more than {} KiB", limit >> 10)
            }
            // The text comes first, with a mark below the place.
            error => {
                let shown = error.to_string();
                let last = shown.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        })?;
        Ok(Self { written: text.into(), compiled })
    }

    fn builder(text: &str) -> regex::bytes::RegexBuilder {
        let mut builder = regex::bytes::RegexBuilder::new(text);
        builder.unicode(false).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
        builder
    }

    /// The same for texts whose case is ignored.
    #[must_use]
    pub fn ignoring_case(&self) -> Self {
        let compiled = Self::builder(&self.written).case_insensitive(true).build();
        let compiled = compiled.unwrap_or_else(|_| self.compiled.clone());
        Self { written: self.written.clone(), compiled }
    }

    /// The names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.compiled.capture_names().flatten()
    }

    /// What the group of this name has of a text. Allocates.
    pub fn group<'t>(&self, name: &str, text: &'t [u8]) -> Option<&'t [u8]> {
        let captures = self.compiled.captures(text)?;
        Some(captures.name(name)?.as_bytes())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether it has some part of a text.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.compiled.is_match(text)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Regex({:?})", self.written)
    }
}
