//! The canonical target of a request (placeholder until the parser is in).

/// Scheme of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `http`
    #[default]
    Http,
    /// `https`
    Https,
}

/// The form a target came in (RFC 9112, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path`
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// Why a target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {}

/// A canonical target.
#[derive(Debug, Clone, Default)]
pub struct Target {}

impl Target {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {}
}
