//! Configurations of nginx in our language, line by line.
//!
//! [`nginx`] reads the syntax, `map` writes nodes of ours from it, and [`Report`] says of each line
//! whether it means the same here. What is written is read by `config` before it is returned; a line that
//! it does not take becomes a comment, and what would be open without it is closed.
//! Not here: files other than those of the configuration, sockets, the replay of access logs.
//! Invariant: nothing that nginx keeps from clients is served by what is written.

mod kdl;
mod map;
pub mod nginx;
pub mod relocate;
mod report;
mod settle;
pub mod table;
mod words;

use std::path::Path;

pub use report::{Line, Report, Verdict};
pub use words::{Word, Words};

use nginx::Tree;

/// A configuration in our language.
#[derive(Debug, Clone)]
pub struct Import {
    /// Its text, in canonical layout.
    pub text: String,
    /// What became of each line.
    pub report: Report,
}

/// Writes a configuration in our language. `exists` says whether a file that our language would read at
/// once is there.
pub fn import(tree: &Tree, words: &Words, exists: &dyn Fn(&Path) -> bool) -> Import {
    let map::Mapped { nodes, mut ledger } = map::map(tree, words, exists);
    let text = settle::settle(nodes, &mut ledger);
    let mut lines = Vec::new();
    for directive in &tree.root.directives {
        ledger.collect(tree, directive, &mut lines);
    }
    Import { text, report: Report { lines } }
}
