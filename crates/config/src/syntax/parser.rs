//! Tokens to nodes, going on after mistakes.

use std::borrow::Cow;

use super::lexer::{Token, TokenKind, tokens};
use super::{Node, Property, SyntaxError, Value, ValueKind, strings};
use crate::source::Span;

/// How deep blocks may be nested; our language needs four.
const DEPTH_MAX: usize = 32;

/// What a text holds.
pub(crate) struct Document<'t> {
    pub(crate) nodes: Vec<Node<'t>>,
    /// Mistakes, in the order of the text.
    pub(crate) errors: Vec<SyntaxError>,
    /// Whether blocks open and close as they should; if not, the nodes are not where they belong
    /// and what they say should not be judged.
    pub(crate) balanced: bool,
}

/// Reads `text`.
pub(crate) fn parse(text: &str, file: u16) -> Document<'_> {
    let mut errors = Vec::new();
    let tokens = tokens(text, file, &mut errors);
    // An unclosed string may have swallowed braces: then those that seem to miss are no mistake.
    let swallowed = tokens.iter().any(|token| {
        let text = slice(text, token.span);
        token.kind == TokenKind::BadWord && text.contains('"') && text.contains(['{', '}'])
    });
    let mut parser =
        Parser { text, tokens: &tokens, at: 0, errors, balanced: true, swallowed, damaged: false };
    if parser.peek_kind() == Some(TokenKind::Mark) {
        parser.at += 1;
    }
    let nodes = parser.nodes(0, None);
    let Parser { mut errors, balanced, .. } = parser;
    errors.sort_by_key(|error| error.span.start);
    Document { nodes, errors, balanced }
}

fn slice(text: &str, span: Span) -> &str {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

struct Parser<'t, 'k> {
    text: &'t str,
    tokens: &'k [Token],
    at: usize,
    errors: Vec<SyntaxError>,
    balanced: bool,
    swallowed: bool,
    /// Whether the node under way has a mistake.
    damaged: bool,
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn peek_kind(&self) -> Option<TokenKind> {
        self.peek().map(|token| token.kind)
    }

    fn error(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        self.damaged = true;
        self.errors.push(SyntaxError::new(span, message).hinted(hint));
    }

    /// Spaces within a node.
    fn skip_space(&mut self) -> bool {
        use TokenKind::{BlockComment, Continuation, Space};
        let start = self.at;
        while let Some(Space | BlockComment | Continuation) = self.peek_kind() {
            self.at += 1;
        }
        self.at > start
    }

    /// Spaces between nodes.
    fn skip_lines(&mut self) {
        use TokenKind::{BlockComment, Continuation, LineComment, Newline, Space};
        while let Some(Space | BlockComment | Continuation | Newline | LineComment) =
            self.peek_kind()
        {
            self.at += 1;
        }
    }

    /// Nodes up to the end of the text or of the block that `open` began.
    fn nodes(&mut self, depth: usize, open: Option<Span>) -> Vec<Node<'t>> {
        let mut nodes = Vec::new();
        loop {
            self.skip_lines();
            let Some(token) = self.peek() else {
                if let Some(open) = open {
                    self.unbalanced(open, "this block is never closed", "close it with }");
                }
                return nodes;
            };
            match token.kind {
                TokenKind::Close if open.is_some() => {
                    self.at += 1;
                    return nodes;
                }
                TokenKind::Close => {
                    self.at += 1;
                    self.unbalanced(token.span, "unmatched }", "remove it");
                }
                TokenKind::Slashdash => {
                    self.at += 1;
                    self.skip_lines();
                    let nothing = matches!(
                        self.peek_kind(),
                        None | Some(TokenKind::Close | TokenKind::Semicolon | TokenKind::Slashdash)
                    );
                    if nothing {
                        let hint = "/- comes before the node, value or block that it comments out";
                        self.error(token.span, "nothing follows here", hint);
                    } else {
                        self.node(depth);
                    }
                }
                _ => nodes.extend(self.node(depth)),
            }
        }
    }

    fn unbalanced(&mut self, span: Span, message: &str, hint: &str) {
        self.balanced = false;
        if !self.swallowed {
            self.error(span, message, hint);
        }
    }

    /// One node with its end. Always goes on by at least one token.
    fn node(&mut self, depth: usize) -> Option<Node<'t>> {
        let outer = std::mem::take(&mut self.damaged);
        let node = self.node_inside(depth);
        self.damaged = outer;
        node
    }

    fn node_inside(&mut self, depth: usize) -> Option<Node<'t>> {
        let mut annotations = Vec::new();
        annotations.extend(self.annotation());
        let ends = matches!(
            self.peek_kind(),
            None | Some(TokenKind::Close | TokenKind::Newline | TokenKind::LineComment)
        );
        if let (true, Some(&annotation)) = (ends, annotations.first()) {
            self.error(annotation, "nothing follows here", "a node starts with a name");
            return None;
        }
        let name = self.node_name(depth)?;
        let ValueKind::Text { text, .. } = name.kind else { return None };
        let mut node = Node {
            name: text,
            name_span: name.span,
            arguments: Vec::new(),
            properties: Vec::new(),
            children: None,
            span: name.span,
            annotations,
            damaged: false,
        };
        self.entries(&mut node, depth);
        node.damaged = self.damaged;
        Some(node)
    }

    /// The name of a node; `None`, with the rest of the node skipped, if there is none.
    fn node_name(&mut self, depth: usize) -> Option<Value<'t>> {
        let token = self.peek()?;
        let word = "a node starts with a name";
        match token.kind {
            TokenKind::Open => {
                let hint = "a block must start on the line of its node";
                self.error(token.span, "this block has no name before it", hint);
                self.block(depth, token.span);
                self.skip_node();
                return None;
            }
            TokenKind::Word | TokenKind::BadWord | TokenKind::Quoted => {}
            TokenKind::Garbage => {
                self.at += 1;
                self.skip_node();
                return None;
            }
            TokenKind::Semicolon => {
                self.at += 1;
                self.error(token.span, "there is nothing before this ;", "remove it");
                return None;
            }
            _ => {
                self.at += 1;
                self.error(token.span, word, "such as `site` or `listen`");
                self.skip_node();
                return None;
            }
        }
        let value = self.value()?;
        if !matches!(value.kind, ValueKind::Text { .. }) {
            self.error(value.span, word, "such as `site` or `listen`");
            self.skip_node();
            return None;
        }
        Some(value)
    }

    /// Skips what is left of a node, blocks included.
    fn skip_node(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close if depth == 0 => return,
                TokenKind::Close => depth -= 1,
                TokenKind::Newline | TokenKind::Semicolon if depth == 0 => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Values and blocks of a node, and its end.
    fn entries(&mut self, node: &mut Node<'t>, depth: usize) {
        // Whether a block was there, left out by `/-` or not: then no value may follow.
        let mut blocks = false;
        let mut stumbled = false;
        loop {
            let spaced = self.skip_space() || std::mem::take(&mut stumbled);
            let Some(token) = self.peek() else { return };
            match token.kind {
                TokenKind::Newline | TokenKind::Semicolon | TokenKind::LineComment => {
                    self.at += 1;
                    return;
                }
                TokenKind::Close => return,
                TokenKind::Open => {
                    if node.children.is_some() {
                        let hint = "a node has one block; start a new line for a new node";
                        self.error(token.span, "a second block", hint);
                        self.block(depth, token.span);
                    } else {
                        node.children = Some(self.block(depth, token.span));
                    }
                    blocks = true;
                }
                TokenKind::Slashdash => {
                    self.at += 1;
                    self.skip_lines();
                    match self.peek() {
                        Some(open) if open.kind == TokenKind::Open => {
                            self.block(depth, open.span);
                            blocks = true;
                        }
                        Some(next) if starts_value(next.kind) => {
                            self.need_space(spaced, token.span);
                            self.entry(&mut node.clone_head());
                        }
                        _ => {
                            let hint =
                                "/- comes before the node, value or block that it comments out";
                            self.error(token.span, "nothing follows here", hint);
                        }
                    }
                }
                kind if starts_value(kind) && !blocks => {
                    self.need_space(spaced, token.span);
                    self.entry(node);
                    let last = self.tokens.get(self.at - 1).map_or(token.span, |last| last.span);
                    node.span = node.span.to(last);
                }
                kind if starts_value(kind) => {
                    // Most likely the next node, so it is read as one.
                    let text = slice(self.text, token.span);
                    let hint = "a node ends with its block; start the next one on a new line";
                    self.error(token.span, format!("a `;` is missing before `{text}`"), hint);
                    return;
                }
                TokenKind::Garbage => {
                    self.damaged = true;
                    stumbled = true;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    stumbled = true;
                    let text = slice(self.text, token.span);
                    let hint = "a property is written name=value";
                    self.error(token.span, format!("`{text}` is not allowed here"), hint);
                }
            }
        }
    }

    fn need_space(&mut self, spaced: bool, span: Span) {
        if !spaced {
            self.error(span, "a space is missing before this", "values are separated by spaces");
        }
    }

    /// A block, from its opening brace.
    fn block(&mut self, depth: usize, open: Span) -> Vec<Node<'t>> {
        self.at += 1;
        if depth < DEPTH_MAX {
            return self.nodes(depth + 1, Some(open));
        }
        let message = format!("blocks are nested deeper than {DEPTH_MAX}");
        self.error(open, message, "no setting needs that depth");
        self.balanced = false;
        self.swallowed = true;
        self.at = self.tokens.len();
        Vec::new()
    }

    /// `(name)`: where it is, if it is there.
    fn annotation(&mut self) -> Option<Span> {
        let open = self.peek().filter(|token| token.kind == TokenKind::AnnotationOpen)?;
        self.at += 1;
        self.skip_space();
        let named = matches!(self.value().map(|v| v.kind), Some(ValueKind::Text { .. }));
        self.skip_space();
        match self.peek() {
            Some(close) if close.kind == TokenKind::AnnotationClose && named => {
                self.at += 1;
                self.skip_space();
                return Some(open.span.to(close.span));
            }
            Some(close) if close.kind == TokenKind::AnnotationClose => self.at += 1,
            _ => {}
        }
        self.error(open.span, "parentheses hold a type, such as (u8)", "remove them");
        None
    }

    /// A value or a property.
    fn entry(&mut self, node: &mut Node<'t>) {
        let annotation = self.annotation();
        let annotated = annotation.is_some();
        node.annotations.extend(annotation);
        let Some(value) = self.value() else {
            if !self.damaged {
                let hint = "a value is missing after the parentheses";
                let span = self.tokens.get(self.at - 1).map_or(node.span, |last| last.span);
                self.error(span, "nothing follows here", hint);
            }
            return;
        };
        let before = self.at;
        self.skip_space();
        let Some(equals) = self.peek().filter(|token| token.kind == TokenKind::Equals) else {
            self.at = before;
            node.arguments.push(value);
            return;
        };
        self.at += 1;
        self.skip_space();
        node.annotations.extend(self.annotation());
        let Some(right) = self.value() else {
            let place = value.span.to(equals.span);
            self.error(place, "a value is missing after =", "write name=value");
            return;
        };
        match value.kind {
            ValueKind::Text { text, .. } if !annotated => {
                node.properties.push(Property { name: text, name_span: value.span, value: right });
            }
            _ => self.error(value.span, "a name is expected before =", "write name=value"),
        }
    }

    /// One value, without annotation.
    fn value(&mut self) -> Option<Value<'t>> {
        let token = self.peek()?;
        let text = slice(self.text, token.span);
        let kind = match token.kind {
            TokenKind::Word => word(text),
            TokenKind::BadWord => {
                self.damaged |= text.contains('"');
                bad_word(text)
            }
            TokenKind::Quoted => {
                ValueKind::Text { text: self.string(token.span, text), bare: false }
            }
            _ => return None,
        };
        self.at += 1;
        Some(Value { kind, span: token.span })
    }

    fn string(&mut self, span: Span, literal: &'t str) -> Cow<'t, str> {
        strings::content(literal).unwrap_or_else(|wrong| {
            let start = span.start + wrong.range.start as u32;
            let end = span.start + wrong.range.end as u32;
            self.error(Span { start, end, ..span }, wrong.message, wrong.hint);
            Cow::Borrowed("")
        })
    }
}

impl<'t> Node<'t> {
    /// A node to put values in that are left out.
    fn clone_head(&self) -> Self {
        Node {
            name: Cow::Borrowed(""),
            name_span: self.name_span,
            arguments: Vec::new(),
            properties: Vec::new(),
            children: None,
            span: self.span,
            annotations: Vec::new(),
            damaged: false,
        }
    }
}

fn starts_value(kind: TokenKind) -> bool {
    use TokenKind::{AnnotationOpen, BadWord, Quoted, Word};
    matches!(kind, Word | BadWord | Quoted | AnnotationOpen)
}

fn word(text: &str) -> ValueKind<'_> {
    match text {
        "#true" => ValueKind::Bool(true),
        "#false" => ValueKind::Bool(false),
        "#null" => ValueKind::Null,
        "#inf" => ValueKind::Float(f64::INFINITY),
        "#-inf" => ValueKind::Float(f64::NEG_INFINITY),
        "#nan" => ValueKind::Float(f64::NAN),
        _ => {
            let text_value = ValueKind::Text { text: Cow::Borrowed(text), bare: true };
            if strings::is_identifier(text) {
                text_value
            } else {
                strings::number(text).unwrap_or(text_value)
            }
        }
    }
}

/// What a bad word was meant to be.
fn bad_word(text: &str) -> ValueKind<'_> {
    match text.trim_start_matches('#').to_ascii_lowercase().as_str() {
        "true" => ValueKind::Bool(true),
        "false" => ValueKind::Bool(false),
        _ => ValueKind::Text { text: Cow::Borrowed(text.trim_matches(['"', '#'])), bare: false },
    }
}
