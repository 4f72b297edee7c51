//! Keeps the structure of the workspace: which crate may depend on which (`crates`), and which module
//! of the data plane may import which (`modules`). Both read the files, so this builds in seconds:
//! `cargo test -p testkit --test structure`.
//!
//! A test that fails here asks for one of two things: move what is imported to where it belongs, or
//! change the table, which is a decision that a reader of the change will see.

mod crates;
mod modules;
mod source;

use std::path::{Path, PathBuf};

/// The root of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Fails with all complaints, if there are any.
#[track_caller]
fn no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}
