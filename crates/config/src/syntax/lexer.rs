//! Tokens of KDL 2. They cover every byte of the text, so that a layout can keep what it must.
//!
//! Invariant: the concatenation of all tokens is the text.

use super::SyntaxError;
use crate::source::Span;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A byte order mark, at the start only.
    Mark,
    /// Spaces and tabs.
    Space,
    /// One line break.
    Newline,
    /// `// …`, without the line break.
    LineComment,
    /// `/* … */`.
    BlockComment,
    /// A backslash that continues the line: with what follows up to the line break, included.
    Continuation,
    /// `/-`.
    Slashdash,
    /// An identifier, a number or a `#keyword`.
    Word,
    /// What looks like a word but is none; a mistake that is already told. It stands for a text.
    BadWord,
    /// A string in quotes, raw or not.
    Quoted,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    Semicolon,
    /// `=`
    Equals,
    /// `(`
    AnnotationOpen,
    /// `)`
    AnnotationClose,
    /// What cannot be; a mistake that is already told.
    Garbage,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// Cuts `text` into tokens.
pub(crate) fn tokens(text: &str, file: u16, errors: &mut Vec<SyntaxError>) -> Vec<Token> {
    let mut lexer = Lexer { text, file, at: 0, comments_may_end: true, errors };
    let mut tokens = Vec::with_capacity(text.len() / 4);
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'t, 'e> {
    text: &'t str,
    file: u16,
    at: usize,
    /// Whether there may be a `*/` further on.
    comments_may_end: bool,
    errors: &'e mut Vec<SyntaxError>,
}

/// Line breaks, beside CR LF.
pub(crate) fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}')
}

pub(crate) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// Characters that may not stand in a document as themselves, not even in comments.
fn is_disallowed(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

pub(crate) fn is_word(c: char) -> bool {
    !matches!(c, '\\' | '/' | '(' | ')' | '{' | '}' | ';' | '[' | ']' | '"' | '#' | '=')
        && !is_space(c)
        && !is_newline(c)
        && !is_disallowed(c)
}

impl<'t> Lexer<'t, '_> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn span(&self, start: usize) -> Span {
        Span { file: self.file, start: start as u32, end: self.at as u32, via: 0 }
    }

    fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn error(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.errors.push(SyntaxError { span, message: message.into(), hint });
    }

    /// Goes on while `inside` holds.
    fn skip(&mut self, inside: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !inside(c)).unwrap_or(rest.len());
    }

    /// Goes on by one line break, if there is one.
    fn newline(&mut self) -> bool {
        let rest = self.rest();
        match rest.chars().next() {
            _ if rest.starts_with("\r\n") => self.at += 2,
            Some(c) if is_newline(c) => self.at += c.len_utf8(),
            _ => return false,
        }
        true
    }

    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        let first = self.rest().chars().next()?;
        let kind = match first {
            '\u{feff}' if start == 0 => self.single(first, TokenKind::Mark),
            '{' => self.single(first, TokenKind::Open),
            '}' => self.single(first, TokenKind::Close),
            ';' => self.single(first, TokenKind::Semicolon),
            '=' => self.single(first, TokenKind::Equals),
            '(' => self.single(first, TokenKind::AnnotationOpen),
            ')' => self.single(first, TokenKind::AnnotationClose),
            '"' => self.quoted(start, 0),
            '#' => self.hash(start),
            '/' => self.slash(start),
            '\\' => self.continuation(start),
            c if is_space(c) => {
                self.skip(is_space);
                TokenKind::Space
            }
            c if is_newline(c) => {
                self.newline();
                TokenKind::Newline
            }
            c if is_word(c) => self.word(start),
            c => self.garbage(start, c),
        };
        Some(Token { kind, span: self.span(start) })
    }

    fn single(&mut self, first: char, kind: TokenKind) -> TokenKind {
        self.at += first.len_utf8();
        kind
    }

    fn garbage(&mut self, start: usize, first: char) -> TokenKind {
        if matches!(first, '[' | ']') {
            return self.bad_word(start);
        }
        self.at += first.len_utf8();
        let name = format!("the character U+{:04X} is not allowed here", u32::from(first));
        let hint = "in a quoted string, write it as an escape, such as \"\\u{1b}\"";
        self.error(self.span(start), name, Some(hint.into()));
        TokenKind::Garbage
    }

    fn slash(&mut self, start: usize) -> TokenKind {
        match self.rest().as_bytes().get(1) {
            Some(b'/') => {
                self.line_comment();
                TokenKind::LineComment
            }
            Some(b'*') if !self.looks_like_path() => self.block_comment(start),
            Some(b'-') => {
                self.at += 2;
                TokenKind::Slashdash
            }
            _ => self.bad_word(start),
        }
    }

    /// Whether `/*` is a path that should be in quotes: `route /* {`, and no comment is closed
    /// further on. As a comment it would swallow the rest of the file.
    fn looks_like_path(&mut self) -> bool {
        let after = self.rest().get(2..).unwrap_or_default();
        let next = after.trim_start_matches(' ').chars().next();
        if next.is_some_and(|c| !is_newline(c) && c != '{' && c != ';') {
            return false;
        }
        self.comments_may_end = self.comments_may_end && after.contains("*/");
        !self.comments_may_end
    }

    fn line_comment(&mut self) {
        let start = self.at;
        self.skip(|c| !is_newline(c));
        self.check_allowed(start);
    }

    /// Tells the first character since `start` that may not stand in a document.
    fn check_allowed(&mut self, start: usize) {
        let Some((at, c)) = self.since(start).char_indices().find(|&(_, c)| is_disallowed(c))
        else {
            return;
        };
        let begin = (start + at) as u32;
        let end = begin + c.len_utf8() as u32;
        let span = Span { file: self.file, start: begin, end, via: 0 };
        let code = u32::from(c);
        let hint = format!("in a quoted string, write \\u{{{code:x}}}");
        self.error(span, format!("the character U+{code:04X} is not allowed here"), Some(hint));
    }

    /// Block comments nest.
    fn block_comment(&mut self, start: usize) -> TokenKind {
        let bytes = self.text.as_bytes();
        let mut depth = 1;
        self.at += 2;
        while depth > 0 {
            let Some(found) = memchr2(b'*', b'/', bytes, self.at) else {
                self.at = start + 2;
                let span = self.span(start);
                self.at = self.text.len();
                self.error(span, "this comment is never closed", Some("close it with */".into()));
                break;
            };
            match bytes.get(found..found + 2) {
                Some(b"*/") => depth -= 1,
                Some(b"/*") => depth += 1,
                _ => {
                    self.at = found + 1;
                    continue;
                }
            }
            self.at = found + 2;
        }
        self.check_allowed(start);
        TokenKind::BlockComment
    }

    fn continuation(&mut self, start: usize) -> TokenKind {
        self.at += 1;
        loop {
            self.skip(is_space);
            if !self.rest().starts_with("/*") {
                break;
            }
            let comment = self.at;
            self.block_comment(comment);
        }
        if self.rest().starts_with("//") {
            self.line_comment();
        }
        if self.newline() || self.rest().is_empty() {
            return TokenKind::Continuation;
        }
        self.at = start + 1;
        let hint =
            "a backslash continues a line and must be at its end; in a quoted string, write \\\\";
        self.error(self.span(start), "a backslash is not allowed here", Some(hint.into()));
        TokenKind::Garbage
    }

    /// A raw string or a keyword.
    fn hash(&mut self, start: usize) -> TokenKind {
        let hashes = self.rest().bytes().take_while(|&byte| byte == b'#').count();
        if self.rest().as_bytes().get(hashes) == Some(&b'"') {
            self.at += hashes;
            return self.quoted(start, hashes);
        }
        self.at += hashes;
        self.skip(is_word);
        let word = self.since(start);
        if matches!(word, "#true" | "#false" | "#null" | "#nan" | "#inf" | "#-inf") {
            return TokenKind::Word;
        }
        let hint = match word.trim_start_matches('#').to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => "write #true",
            "false" | "no" | "off" | "0" => "write #false",
            _ => "comments start with //; the keywords with # are #true, #false and #null",
        };
        self.error(self.span(start), format!("`{word}` is not known"), Some(hint.into()));
        // `# a comment` as in other languages: the rest of the line is no mistake of its own.
        if matches!(word, "#") || word.starts_with("##") {
            self.skip(|c| !is_newline(c));
            return TokenKind::LineComment;
        }
        TokenKind::BadWord
    }

    /// A string whose opening quote is next, after `hashes`.
    fn quoted(&mut self, start: usize, hashes: usize) -> TokenKind {
        let several = self.rest().starts_with("\"\"\"");
        let quotes = if several { "\"\"\"" } else { "\"" };
        self.at += quotes.len();
        let closed = match hashes {
            0 => self.skip_to_quotes(quotes, several),
            _ => self.skip_to_raw_end(&format!("{quotes}{}", "#".repeat(hashes)), several),
        };
        if closed {
            self.check_allowed(start);
        } else {
            let opening = Span { end: self.text.len().min(self.at) as u32, ..self.span(start) };
            let hint = match several {
                true => "close it with three quotes on a separate line",
                false => "close it with a quote; text over several lines is written between \"\"\"",
            };
            self.error(opening, "this string is never closed", Some(hint.into()));
            return TokenKind::BadWord;
        }
        TokenKind::Quoted
    }

    /// Goes behind the quotes that end a string with escapes; at the end of the line (of the text
    /// for `several` lines) if there are none.
    fn skip_to_quotes(&mut self, quotes: &str, several: bool) -> bool {
        let start = self.at;
        let mut chars = self.rest().char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            let at = start + offset;
            if c == '"' && self.text.get(at..).is_some_and(|rest| rest.starts_with(quotes)) {
                self.at = at + quotes.len();
                return true;
            }
            if c == '\\' {
                // An escaped line break is part of a string of one line too.
                let spaces = |&(_, c): &(usize, char)| is_space(c) || is_newline(c);
                if chars.next_if(|next| !spaces(next)).is_none() {
                    while chars.next_if(spaces).is_some() {}
                }
            } else if is_newline(c) && !several {
                self.at = at;
                return false;
            }
        }
        self.at = self.text.len();
        false
    }

    fn skip_to_raw_end(&mut self, end: &str, several: bool) -> bool {
        let rest = self.rest();
        let line = rest.find(is_newline).unwrap_or(rest.len());
        let within = if several { rest } else { rest.get(..line).unwrap_or_default() };
        match within.find(end) {
            Some(found) => self.at += found + end.len(),
            None => self.at += within.len(),
        }
        within.contains(end)
    }

    fn word(&mut self, start: usize) -> TokenKind {
        self.skip(is_word);
        let word = self.since(start);
        // `http://host` would be the word `http:` with a comment behind it.
        let address = word.ends_with(':') && self.rest().starts_with("//");
        let rest = self.rest();
        let path = rest.starts_with('/') && !rest.starts_with("//") && !rest.starts_with("/*");
        if address || path || rest.starts_with(['[', ']', '#']) {
            return self.bad_word(start);
        }
        match word {
            "true" | "false" | "null" | "nan" | "inf" | "-inf" => {
                let hint = match word {
                    "true" | "false" => format!("write #{word}"),
                    _ => format!("as text, put it in quotes: \"{word}\""),
                };
                self.error(
                    self.span(start),
                    format!("`{word}` is not allowed without quotes"),
                    Some(hint),
                );
                TokenKind::BadWord
            }
            _ if super::strings::is_identifier(word) => TokenKind::Word,
            _ if super::strings::number(word).is_some() => TokenKind::Word,
            _ => self.bad_word(start),
        }
    }

    /// Text that should be in quotes: up to the next space or end of the node.
    fn bad_word(&mut self, start: usize) -> TokenKind {
        self.at = start;
        let mut braces = 0_usize;
        let rest = self.rest();
        let end = rest.char_indices().find(|&(at, c)| {
            match c {
                // `/users/{id}`, but not `/users/ {`.
                '{' if at > 0 => braces += 1,
                '}' if braces > 0 => braces -= 1,
                '{' | '}' | ';' | '"' | '\\' | '(' | ')' => return true,
                _ => return is_space(c) || is_newline(c) || is_disallowed(c),
            }
            false
        });
        self.at += end.map_or(rest.len(), |(at, _)| at);
        let word = self.since(start);
        if word.ends_with('{') && braces > 0 {
            self.at -= 1;
        }
        let word = self.since(start);
        let hint = match word.strip_prefix('#') {
            _ if word.len() > 80 => "put it in quotes".to_owned(),
            Some(_) => "put a space before #".to_owned(),
            None => format!("put it in quotes: \"{}\"", word.replace('"', "")),
        };
        self.error(self.span(start), format!("`{word}` needs quotes"), Some(hint));
        TokenKind::BadWord
    }
}

fn memchr2(left: u8, right: u8, bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.iter().position(|&byte| byte == left || byte == right)?;
    Some(from + found)
}
