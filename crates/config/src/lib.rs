//! The configuration language of Bothways: text to typed model, with spans and diagnostics.

pub mod model;

pub use model::*;
