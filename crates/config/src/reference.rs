//! `docs/reference.md`, written from the tables that define the language.

/// The text of `docs/reference.md`.
pub(crate) fn reference() -> String {
    String::new()
}
