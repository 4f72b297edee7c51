//! Tokens in canonical layout: four spaces a level, one node a line, one space between values.
//!
//! Every comment is kept where it stands, everything that `/-` leaves out too, at most one empty
//! line in a row, and the text of strings as written. The order never changes.
//! Invariant: the tokens that are not space are the same after as before.

use super::lexer::{Token, TokenKind};

/// Writes `tokens`, which are those of `text` and make a document without mistakes.
pub(crate) fn layout(text: &str, tokens: &[Token]) -> String {
    let mut writer = Writer {
        text,
        tokens,
        at: 0,
        out: String::with_capacity(text.len() + text.len() / 8),
        depth: 0,
        state: State::Between,
        line: Line::Fresh,
        breaks: 0,
    };
    while let Some(&token) = tokens.get(writer.at) {
        writer.token(token);
        writer.at += 1;
    }
    let written = writer.out.trim_end_matches('\n').len();
    writer.out.truncate(written);
    if !writer.out.is_empty() {
        writer.out.push('\n');
    }
    writer.out
}

const INDENT: &str = "    ";

/// Where the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in a node.
    Between,
    /// In a node; a space comes before what is next.
    Node,
    /// In a node, where what is next belongs to what was written last: after `=`, `/-`, `(t)`.
    Glued,
}

/// What stands on the line being written, when not in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing: the start of the text.
    Fresh,
    /// Comments that may be followed by a node.
    Comments,
    /// A brace that opened a block.
    Opened,
    /// Something complete.
    Full,
}

struct Writer<'t> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
    out: String,
    depth: usize,
    state: State,
    line: Line,
    /// Line breaks in the text since what was written last.
    breaks: usize,
}

impl<'t> Writer<'t> {
    fn slice(&self, token: Token) -> &'t str {
        self.text.get(token.span.start as usize..token.span.end as usize).unwrap_or_default()
    }

    /// Whether the node, or the line, has nothing more but comments from the next token on.
    fn nothing_more(&self) -> bool {
        use TokenKind::{
            BlockComment, Close, Continuation, LineComment, Newline, Semicolon, Space,
        };
        let rest = self.tokens.get(self.at + 1..).unwrap_or_default();
        let solid = |k: &TokenKind| !matches!(k, Space | BlockComment | Continuation);
        let next = rest.iter().map(|token| token.kind).find(solid);
        matches!(next, None | Some(Newline | LineComment | Semicolon | Close))
    }

    fn token(&mut self, token: Token) {
        match token.kind {
            TokenKind::Mark | TokenKind::Space => {}
            TokenKind::Newline => self.newline(),
            TokenKind::Semicolon => self.end_node(0),
            TokenKind::LineComment => self.line_comment(token),
            TokenKind::BlockComment => self.block_comment(token),
            TokenKind::Continuation => self.continuation(token),
            TokenKind::Slashdash => self.word("/-", State::Glued),
            TokenKind::AnnotationOpen => self.word("(", State::Glued),
            TokenKind::AnnotationClose => {
                self.out.push(')');
                self.state = State::Glued;
            }
            TokenKind::Equals => {
                self.out.push('=');
                self.state = State::Glued;
            }
            TokenKind::Open => self.open(),
            TokenKind::Close => self.close(),
            TokenKind::Word | TokenKind::Quoted | TokenKind::BadWord | TokenKind::Garbage => {
                self.word(self.slice(token), State::Node);
            }
        }
    }

    fn word(&mut self, word: &str, then: State) {
        match self.state {
            State::Between => self.lead(),
            State::Node => self.out.push(' '),
            State::Glued => {}
        }
        self.out.push_str(word);
        self.state = then;
        self.breaks = 0;
    }

    fn indent(&mut self, depth: usize) {
        (0..depth).for_each(|_| self.out.push_str(INDENT));
    }

    /// Between nodes: goes to where the next node or comment stands.
    fn lead(&mut self) {
        match self.line {
            Line::Comments if self.breaks == 0 => return self.out.push(' '),
            Line::Fresh => {}
            Line::Opened => self.out.push('\n'),
            Line::Comments | Line::Full => {
                self.out.push('\n');
                if self.breaks > 1 {
                    self.out.push('\n');
                }
            }
        }
        self.breaks = 0;
        self.indent(self.depth);
    }

    fn newline(&mut self) {
        match self.state {
            State::Between => self.breaks += 1,
            State::Node => self.end_node(1),
            // A line break between `/-` and what it leaves out.
            State::Glued => {}
        }
    }

    fn end_node(&mut self, breaks: usize) {
        if self.state != State::Between {
            self.state = State::Between;
            self.line = Line::Full;
            self.breaks = breaks;
        }
    }

    fn line_comment(&mut self, token: Token) {
        let comment = self.slice(token).trim_end();
        match self.state {
            State::Glued => {
                self.out.push_str(comment);
                self.out.push('\n');
                return self.indent(self.depth);
            }
            State::Between if self.breaks > 0 || self.line == Line::Fresh => self.lead(),
            State::Between | State::Node => self.out.push(' '),
        }
        self.out.push_str(comment);
        self.state = State::Between;
        self.line = Line::Full;
        self.breaks = 0;
    }

    fn block_comment(&mut self, token: Token) {
        let comment = self.slice(token);
        match self.state {
            State::Glued => {}
            State::Node => self.out.push(' '),
            State::Between => {
                let begun = matches!(self.line, Line::Full | Line::Opened);
                if begun && self.breaks == 0 && self.nothing_more() {
                    self.out.push(' ');
                } else {
                    self.lead();
                    self.line = Line::Comments;
                }
                self.breaks = 0;
            }
        }
        self.out.push_str(comment);
    }

    /// A continued line stays one where a value follows; elsewhere only its comments are kept.
    fn continuation(&mut self, token: Token) {
        let comments = self.slice(token).trim_start_matches('\\').trim();
        match self.state {
            State::Node if !self.nothing_more() => {
                self.out.push_str(if comments.is_empty() { " \\" } else { " \\ " });
                self.out.push_str(comments);
                self.out.push('\n');
                self.indent(self.depth + 1);
                self.state = State::Glued;
            }
            _ if comments.is_empty() => {}
            State::Glued => {
                self.out.push_str("\\ ");
                self.out.push_str(comments);
                self.out.push('\n');
                self.indent(self.depth + 1);
            }
            State::Node | State::Between => {
                if self.state == State::Between && (self.breaks > 0 || self.line == Line::Fresh) {
                    self.lead();
                } else {
                    self.out.push(' ');
                }
                self.out.push_str(comments);
                self.state = State::Between;
                self.line = Line::Full;
                self.breaks = 1;
            }
        }
    }

    fn open(&mut self) {
        if self.state != State::Glued {
            self.out.push(' ');
        }
        self.out.push('{');
        let rest = self.tokens.get(self.at + 1..).unwrap_or_default();
        let empty = |kind| matches!(kind, TokenKind::Space | TokenKind::Newline);
        let skipped = rest.iter().take_while(|token| empty(token.kind)).count();
        if rest.get(skipped).is_some_and(|token| token.kind == TokenKind::Close) {
            self.out.push('}');
            self.at += skipped + 1;
            self.state = State::Node;
            return;
        }
        self.depth += 1;
        self.state = State::Between;
        self.line = Line::Opened;
        self.breaks = 0;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.out.push('\n');
        self.indent(self.depth);
        self.out.push('}');
        self.state = State::Node;
        self.breaks = 0;
    }
}
