//! What a source file imports from its own crate, as far as it can be told without a compiler.

/// A path into the crate, such as `crate::net::Wheel` or what `super::…` comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// From the root of the crate, without `crate`.
    pub(crate) path: Vec<String>,
    /// The line that it begins in.
    pub(crate) line: usize,
}

/// What is of interest in a source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Paths that begin with `crate` or `super`; those in test modules are left out.
    pub(crate) imports: Vec<Import>,
    /// Names of the file's modules that are compiled for tests only, and have files of their own.
    pub(crate) test_modules: Vec<String>,
}

/// Reads a file of the module `module` (its path from the root of the crate).
pub(crate) fn read(text: &str, module: &[String]) -> Source {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, source: Source::default() };
    reader.items(module);
    reader.source
}

/// A word or a single character.
struct Token<'t> {
    text: &'t str,
    line: usize,
}

/// The words and characters of a file, without comments, texts and lifetimes.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut line, mut at) = (Vec::new(), 1, 0);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token { text: &rest[..length], line });
            length
        } else {
            let length = first.len_utf8();
            if !first.is_whitespace() {
                tokens.push(Token { text: &rest[..length], line });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// The length of the comment that begins here; one may stand within another.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the text, character or lifetime that begins here, if one does.
fn literal(text: &str) -> Option<usize> {
    for prefix in ["r", "br", "cr"] {
        let Some(rest) = text.strip_prefix(prefix) else { continue };
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if rest[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = prefix.len() + hashes + 1;
            let length = text[begin..].find(&end).map_or(text.len() - begin, |at| at + end.len());
            return Some(begin + length);
        }
    }
    let begin =
        usize::from(text.starts_with("b\"") || text.starts_with("b'") || text.starts_with("c\""));
    let quote = text[begin..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = &text[begin + 1..];
    if quote == '\'' {
        let mut chars = inner.chars();
        let (first, second) = (chars.next()?, chars.next());
        if first != '\\' && second != Some('\'') {
            let word = inner.find(|c: char| !c.is_alphanumeric() && c != '_');
            return Some(begin + 1 + word.unwrap_or(inner.len()));
        }
    }
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(begin + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
    source: Source,
}

impl Reader<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn is_at(&self, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(ahead, text)| self.text(ahead) == *text)
    }

    /// Reads until the brace that was open before closes, or to the end.
    fn items(&mut self, module: &[String]) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            if self.is_at(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.skip_test_item();
                continue;
            }
            if self.text(0) == "mod" && self.text(2) == "{" {
                let inner = [module, &[self.text(1).to_owned()]].concat();
                self.at += 3;
                self.items(&inner);
                continue;
            }
            if self.is_at(&["crate", ":", ":"]) {
                self.at += 3;
                self.tree(Vec::new());
                continue;
            }
            if self.is_at(&["super", ":", ":"]) {
                let mut base = module.to_vec();
                while self.is_at(&["super", ":", ":"]) {
                    base.pop();
                    self.at += 3;
                }
                self.tree(base);
                continue;
            }
            match self.text(0) {
                "{" => depth += 1,
                "}" if depth == 0 => {
                    self.at += 1;
                    return;
                }
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Skips an item that is compiled for tests only.
    fn skip_test_item(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            if depth == 0 && self.text(0) == "mod" && self.text(2) == ";" {
                let name = self.text(1).to_owned();
                self.source.test_modules.push(name);
            }
            let text = self.text(0).to_owned();
            self.at += 1;
            match &*text {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                ";" if depth == 0 => return,
                _ => {}
            }
        }
    }

    /// Reads what follows `…::`: a name, more names behind it, or a group of both.
    fn tree(&mut self, mut path: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            if self.text(0) == "{" {
                self.at += 1;
                while !matches!(self.text(0), "}" | "") {
                    if self.text(0) == "," {
                        self.at += 1;
                    } else {
                        self.tree(path.clone());
                        self.skip_alias();
                    }
                }
                self.at += 1;
                return;
            }
            let name = self.text(0).to_owned();
            self.at += 1;
            if name != "self" {
                path.push(name);
            }
            let is_name = |c: char| c.is_alphabetic() || matches!(c, '_' | '{' | '*');
            let goes_on = self.is_at(&[":", ":"]) && self.text(2).starts_with(is_name);
            if !goes_on {
                break;
            }
            self.at += 2;
        }
        self.source.imports.push(Import { path, line });
    }

    /// Skips `as name`.
    fn skip_alias(&mut self) {
        if self.text(0) == "as" {
            self.at += 2;
        }
    }
}

#[test]
fn paths_are_found_in_any_form() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let module = ["a".to_owned(), "b".to_owned()];
        let source = read(text, &module);
        let mut found: Vec<_> = source
            .imports
            .iter()
            .map(|import| format!("{}:{}", import.path.join("::"), import.line))
            .collect();
        found.extend(source.test_modules.iter().map(|name| format!("test {name}")));
        assert_eq!(found.join(" "), expected, "{text}");
    }
    check("use crate::x::Y;", "x::Y:1");
    check(
        "use crate::{\n    x::{Y, z::*},\n    w as v,\n};\nuse crate::u;",
        "x::Y:2 x::z::*:2 w:3 u:5",
    );
    check("use crate::x::{self, Y as _};", "x:1 x::Y:1");
    check("fn f(x: crate::x::Y<crate::z::W>) { crate::v::u::<u8>() }", "x::Y:1 z::W:1 v::u:1");
    check("$crate::x::y!()", "x::y:1");
    check("use super::x; use super::super::y::Z;", "a::x:1 y::Z:1");
    check("mod c { use super::d; }\nuse super::e;", "a::b::d:1 a::e:2");
    check("pub(crate) mod x; pub(super) use y::Z;", "");
    check("// crate::x\n/* crate::x /* */ crate::y */\n\"crate::z\" r#\"\" crate::w\"#", "");
    check("fn f<'a>(x: &'a str) -> char { crate::x::y('\"', '\\'', b'\"') }", "x::y:1");
    check("#[cfg(test)]\nmod tests { use crate::x; }\nuse crate::y;", "y:3");
    check("#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nuse crate::y;", "y:4 test tests");
    check("#[cfg(test)]\nuse crate::x;\nuse crate::y;", "y:3");
    check("#[cfg(test)]\nfn f() -> [u8; 2] { crate::x() }\nuse crate::y;", "y:3");
}
