//! Text into directives, token by token as `ngx_conf_read_token` reads them.

use thiserror::Error;

use super::{Block, Directive, DirectiveId, Place, Word};

/// The deepest nesting of blocks.
pub(super) const DEPTH_MAX: usize = 32;
/// The longest token; nginx's own limit is its buffer of 4,096 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// Directives in one configuration.
pub(super) const DIRECTIVES_MAX: u32 = 200_000;
/// Words of one directive.
const WORDS_MAX: usize = 4096;

/// Why a text is not a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {kind}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub kind: String,
}

/// Reads a text. `file` goes into the places, and numbers of directives begin at `first`.
pub fn parse(text: &str, file: u32, first: u32) -> Result<Block, SyntaxError> {
    let mut tree = TreeBuilder { file, next_id: first, ..TreeBuilder::default() };
    let mut lexer = Lexer::new(text);
    loop {
        match lexer.next()? {
            Token::Word(word) => tree.word(word, &lexer)?,
            Token::End => tree.end_directive(&lexer)?,
            Token::Open => tree.open(&mut lexer)?,
            Token::Close => tree.close(&lexer)?,
            Token::Comment(text, line) => tree.comment(text, line),
            Token::EndOfText => return tree.finish(&lexer),
        }
    }
}

enum Token {
    Word(Word),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
    /// A comment, and its line.
    Comment(String, u32),
    EndOfText,
}

struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    /// A quoted word has just ended: white space, `;`, `{` or `)` must follow.
    needs_space: bool,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text: text.as_bytes(), at: 0, line: 1, needs_space: false }
    }

    fn error(&self, kind: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line, kind: kind.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    fn next(&mut self) -> Result<Token, SyntaxError> {
        loop {
            let Some(byte) = self.peek() else { return Ok(Token::EndOfText) };
            if self.needs_space {
                self.needs_space = false;
                if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') {
                    let found = String::from_utf8_lossy(&[byte]).into_owned();
                    return Err(self.error(format!("unexpected `{found}` after a quoted word")));
                }
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => _ = self.bump(),
                b';' | b'{' | b'}' => {
                    self.at += 1;
                    return Ok(match byte {
                        b';' => Token::End,
                        b'{' => Token::Open,
                        _ => Token::Close,
                    });
                }
                b'#' => return Ok(self.comment()),
                b'"' | b'\'' => return self.quoted(byte).map(Token::Word),
                _ => return self.bare().map(Token::Word),
            }
        }
    }

    fn comment(&mut self) -> Token {
        let line = self.line;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let text = rest.get(1..length).unwrap_or_default();
        self.at += length;
        Token::Comment(String::from_utf8_lossy(text).trim_end().to_owned(), line)
    }

    fn quoted(&mut self, quote: u8) -> Result<Word, SyntaxError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bump() {
                None => return Err(self.error("the file ends within quotes")),
                Some(b'\\') => _ = self.bump(),
                Some(byte) if byte == quote => break,
                Some(_) => {}
            }
        }
        self.needs_space = true;
        let raw = self.text.get(start..self.at - 1).unwrap_or_default();
        Ok(Word { text: self.unescaped(raw)?, quoted: true })
    }

    /// A word without quotes: `{` ends it, except after `$`.
    fn bare(&mut self) -> Result<Word, SyntaxError> {
        let start = self.at;
        let mut after_dollar = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' if after_dollar => {}
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                b'\\' => _ = self.bump(),
                _ => {}
            }
            after_dollar = byte == b'$';
            self.bump();
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Ok(Word { text: self.unescaped(raw)?, quoted: false })
    }

    /// Only `\"`, `\'`, `\\`, `\t`, `\r` and `\n` are escapes; another backslash stays.
    fn unescaped(&self, raw: &[u8]) -> Result<String, SyntaxError> {
        if raw.len() > TOKEN_BYTES_MAX {
            return Err(self.error(format!("a word has more than {TOKEN_BYTES_MAX} bytes")));
        }
        let mut out = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let escaped = match after.first() {
                Some(&quote @ (b'"' | b'\'' | b'\\')) => quote,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                _ => {
                    out.push(b'\\');
                    continue;
                }
            };
            out.push(escaped);
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Skips a block of Lua, which has a syntax of its own: to the brace that closes it.
    fn skip_lua(&mut self) -> Result<(), SyntaxError> {
        let mut open = 1;
        while open > 0 {
            match self.bump() {
                None => return Err(self.error("the file ends within a block of Lua")),
                Some(b'{') => open += 1,
                Some(b'}') => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct TreeBuilder {
    file: u32,
    next_id: u32,
    /// The directives whose blocks are open, each with what stood in its block so far.
    open: Vec<(Directive, Block)>,
    /// The block that is being filled.
    block: Block,
    /// The directive that is being read.
    current: Option<Directive>,
    /// Comments that no directive has claimed yet.
    comments: Vec<String>,
    /// The line on which the last directive or block ended.
    ended_on: u32,
}

impl TreeBuilder {
    fn word(&mut self, word: Word, lexer: &Lexer<'_>) -> Result<(), SyntaxError> {
        if let Some(directive) = &mut self.current {
            if directive.words.len() >= WORDS_MAX {
                return Err(lexer.error(format!("a directive has more than {WORDS_MAX} words")));
            }
            directive.words.push(word);
            return Ok(());
        }
        if self.next_id >= DIRECTIVES_MAX {
            return Err(lexer.error(format!("there are more than {DIRECTIVES_MAX} directives")));
        }
        self.current = Some(Directive {
            id: DirectiveId(self.next_id),
            place: Place { file: self.file, line: lexer.line },
            name: word.text,
            above: std::mem::take(&mut self.comments),
            ..Directive::default()
        });
        self.next_id += 1;
        Ok(())
    }

    fn end_directive(&mut self, lexer: &Lexer<'_>) -> Result<(), SyntaxError> {
        let directive = self.current.take().ok_or_else(|| lexer.error("unexpected `;`"))?;
        self.block.directives.push(directive);
        self.ended_on = lexer.line;
        Ok(())
    }

    fn open(&mut self, lexer: &mut Lexer<'_>) -> Result<(), SyntaxError> {
        let mut directive = self.current.take().ok_or_else(|| lexer.error("unexpected `{`"))?;
        if directive.name.ends_with("_by_lua_block") {
            lexer.skip_lua()?;
            directive.block = Some(Block::default());
            self.block.directives.push(directive);
            return Ok(());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(lexer.error(format!("blocks are nested more than {DEPTH_MAX} deep")));
        }
        self.open.push((directive, std::mem::take(&mut self.block)));
        self.ended_on = lexer.line;
        Ok(())
    }

    fn close(&mut self, lexer: &Lexer<'_>) -> Result<(), SyntaxError> {
        if self.current.is_some() {
            return Err(lexer.error("unexpected `}`: a directive ends with `;`"));
        }
        let (mut directive, outer) =
            self.open.pop().ok_or_else(|| lexer.error("unexpected `}`: no block is open"))?;
        self.block.end = std::mem::take(&mut self.comments);
        directive.block = Some(std::mem::replace(&mut self.block, outer));
        self.block.directives.push(directive);
        self.ended_on = lexer.line;
        Ok(())
    }

    fn comment(&mut self, text: String, line: u32) {
        if let Some(directive) = &mut self.current {
            directive.above.push(text);
            return;
        }
        let ended_here = line == self.ended_on;
        // Beside the `{` of a block that has just opened, or beside a whole directive.
        let neighbour = match self.block.directives.last_mut() {
            None => self.open.last_mut().map(|(directive, _)| directive),
            last => last,
        };
        match neighbour {
            Some(directive) if ended_here && directive.beside.is_none() => {
                directive.beside = Some(text);
            }
            _ => self.comments.push(text),
        }
    }

    fn finish(mut self, lexer: &Lexer<'_>) -> Result<Block, SyntaxError> {
        if self.current.is_some() {
            return Err(lexer.error("the file ends within a directive: `;` or `}` is missing"));
        }
        if let Some((directive, _)) = self.open.last() {
            let message = format!(
                "the file ends within the block of `{}` in line {}: `}}` is missing",
                directive.name, directive.place.line
            );
            return Err(lexer.error(message));
        }
        self.block.end = std::mem::take(&mut self.comments);
        Ok(self.block)
    }
}
