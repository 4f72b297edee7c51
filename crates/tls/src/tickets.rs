//! The keys of session tickets: they rotate, and all cores share them.

use std::sync::Arc;

/// The keys of session tickets.
#[derive(Debug, Default)]
pub struct Tickets {}

impl Tickets {
    /// Fresh ones.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}
