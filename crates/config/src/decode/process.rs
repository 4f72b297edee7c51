//! `process`: what of it is more than a value in its place.

use super::{Checked, Decoder, Origins};
use crate::model::Process;
use crate::schema::RESOLVER_BLOCK;
use crate::source::Span;

/// Settings of the process, and where each that is set stands.
#[derive(Debug, Default)]
pub(crate) struct RawProcess {
    pub(crate) process: Process,
    pub(crate) set: Origins,
    /// Of the block `resolver`.
    pub(crate) resolver_set: Origins,
    /// The line about the store, if there is one.
    pub(crate) cache_span: Option<Span>,
}

impl Decoder<'_> {
    /// Warns of a token that is not there or that others can read.
    pub(crate) fn check_token(&mut self, node: &Checked<'_, '_>) {
        let Some(given) = node.property("token-file") else { return };
        let path = given.datum.path();
        let hint =
            "requests over TCP are refused until the file exists: openssl rand -base64 32 > FILE";
        if self.check_there(&path, given.span, hint) {
            self.check_private(&path, given.span);
        }
    }

    pub(crate) fn resolver(&mut self, raw: &mut RawProcess, node: &Checked<'_, '_>) {
        let children = self.rows(node, &RESOLVER_BLOCK);
        let settings = &mut raw.process.resolver;
        raw.resolver_set = self.read(&children, settings);
        let wrong = settings.ttl_min > settings.ttl_max;
        let is_ttl = |name: &str| matches!(name, "ttl-min" | "ttl-max");
        let ttl = children.iter().rev().find(|(row, _)| is_ttl(row.node.name));
        if let Some(given) = ttl.and_then(|(_, node)| node.first()).filter(|_| wrong) {
            self.error(given.span, "`ttl-min` is longer than `ttl-max`");
        }
    }
}
