//! The configuration language of Bothways: text to typed model, with spans and diagnostics.
//!
//! [`load`] reads a file with what it includes, [`parse`] takes text; both give a [`Loaded`] (the
//! [`model`] with every default filled in, warnings, and for `show` where each value comes from) or
//! a [`Failure`] that names every mistake at once. [`format`](fn@format) is `bothways fmt`,
//! [`reference()`] the text of `docs/reference.md`; [`edit`] writes changes of endpoints into a text.
//!
//! How text becomes a model: `syntax` reads KDL 2 into a tree with spans, `schema` is the tables
//! that define each node, property and child once, `decode` walks the tree by those tables, and
//! `effective` writes down what came out. Not here: matching (`rules`), sockets, DNS.

mod caching;
mod decode;
mod diagnostic;
pub mod edit;
mod effective;
mod forward;
mod ids;
mod logs;
mod matching;
pub mod model;
mod nearest;
mod pages;
mod process;
mod reading;
mod reference;
mod regex;
mod schema;
mod source;
mod syntax;
mod template;
mod tls;
mod upstream;
mod values;

use std::path::Path;
use std::sync::Arc;

pub use diagnostic::{Diagnostic, Failure, Related, Severity};
pub use effective::{Effective, EffectiveValue};
pub use model::*;
pub use nearest::nearest;
pub use reading::read_file;
pub use source::{Source, Sources};
pub use tls::*;
pub use values::duration_text;

/// A configuration that holds.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Arc<Config>,
    /// The same for output, if it has secrets.
    for_output: Option<Box<Config>>,
    /// What is allowed but probably not meant, sorted by place.
    pub warnings: Vec<Diagnostic>,
    /// Every value and where it comes from.
    pub effective: Effective,
    /// The text of every file read; what later checks need to point into it.
    pub sources: Sources,
}

impl Loaded {
    /// What it says, for output: for `{env:NAME}` and `{file:PATH}` stand `(env:NAME)` and `(file:PATH)`, and values of
    /// fields that are secret are masked. Ids and places are those of the configuration itself.
    pub fn for_output(&self) -> &Config {
        self.for_output.as_deref().unwrap_or(&*self.config)
    }
}

/// Reads the configuration in the file at `path`, with everything that it includes. Relative paths
/// in a file start at its directory.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    decode::load(path)
}

/// Reads the configuration in `text`, which diagnostics call `name`. It cannot include files;
/// relative paths start at the working directory.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Failure> {
    decode::parse(name, text)
}

/// `text` in canonical layout: comments and meaning are kept, and a text that has it stays as it
/// is. Only what is not KDL at all fails.
pub fn format(name: &str, text: &str) -> Result<String, Failure> {
    decode::format(name, text)
}

/// The text of `docs/reference.md`, from the tables that define the language.
pub fn reference() -> String {
    reference::reference()
}

/// Reads an endpoint as it stands behind `to`, such as `10.0.0.1:8080` or `https://app.internal`:
/// where it is, and whether it is spoken to over TLS. Otherwise what is wrong with it.
pub fn parse_endpoint(text: &str) -> Result<(EndpointAddress, bool), String> {
    values::endpoint(text)
}
