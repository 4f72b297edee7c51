//! KDL 2: text to a tree with spans.
//!
//! [`lexer`] cuts text into tokens that cover every byte, [`parser`] makes nodes of them, and
//! [`layout`] writes tokens down again in canonical layout. All three take linear time and bounded
//! stack whatever the text, and go on after a mistake, so that one run finds every mistake and one
//! mistake is told once. Not here: what the nodes mean (`schema`, `decode`).
//!
//! Why our own reader: a reload must survive any file, and the `kdl` crate recurses for each level
//! of nesting and each `*` of a comment (a stack overflow aborts the process), takes exponential
//! time for nested `/- {`, and follows one mistake with several that are none. It stays the oracle
//! of our tests: both must make the same of every text.

pub(crate) mod layout;
pub(crate) mod lexer;
pub(crate) mod parser;
mod strings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::source::Span;

/// A mistake in the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl SyntaxError {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    fn hinted(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A node: a name, values, and perhaps a block.
#[derive(Debug, Clone)]
pub(crate) struct Node<'t> {
    pub(crate) name: Cow<'t, str>,
    pub(crate) name_span: Span,
    /// Positional values.
    pub(crate) arguments: Vec<Value<'t>>,
    /// `name=value`, in order.
    pub(crate) properties: Vec<Property<'t>>,
    /// The block, if there is one.
    pub(crate) children: Option<Vec<Node<'t>>>,
    /// From the name to the last value; without the block.
    pub(crate) span: Span,
    /// Type annotations, which our language does not have, in the node or before its values.
    pub(crate) annotations: Vec<Span>,
    /// There was a mistake in it that is already told.
    pub(crate) damaged: bool,
}

/// A `name=value`.
#[derive(Debug, Clone)]
pub(crate) struct Property<'t> {
    pub(crate) name: Cow<'t, str>,
    pub(crate) name_span: Span,
    pub(crate) value: Value<'t>,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) struct Value<'t> {
    pub(crate) kind: ValueKind<'t>,
    pub(crate) span: Span,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ValueKind<'t> {
    /// Text; `bare` if it was written without quotes.
    Text { text: Cow<'t, str>, bare: bool },
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// `#true` or `#false`.
    Bool(bool),
    /// `#null`.
    Null,
}
