//! A file with everything that it includes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::parser::DEPTH_MAX;
use super::{Block, Directive, SyntaxError, parse};

/// The largest file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files in one configuration.
const FILES_MAX: usize = 2000;
/// How deep files may include others; a file that includes itself ends here.
const INCLUDES_MAX: usize = 16;

/// A configuration with all its files.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// What the main file says, with `include` replaced by what it names.
    pub root: Block,
    /// The names of the files.
    pub files: Vec<String>,
    /// The directory of the main file: what relative includes start at.
    pub directory: PathBuf,
    /// Where the path of the main file started, if it was relative.
    pub given_from: Option<PathBuf>,
    /// The number that the next directive would get.
    pub next_id: u32,
}

/// Why a configuration cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The main file.
    #[error("{name}: {error}")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A file is not in nginx's syntax.
    #[error("{name}:{}: {}", error.line, error.kind)]
    Syntax {
        /// The file.
        name: String,
        /// What is wrong with it.
        error: SyntaxError,
    },
    /// There is too much of something.
    #[error("{name}{}: {message}", if *line > 0 { format!(":{line}") } else { String::new() })]
    TooMuch {
        /// The file.
        name: String,
        /// The line of the `include`, or 0.
        line: u32,
        /// What there is too much of.
        message: String,
    },
}

/// Reads a file with everything that it includes. An `include` of a file that does not exist stays in
/// the tree as a directive.
pub fn read(path: &Path) -> Result<Tree, ReadError> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = whole.parent().unwrap_or(Path::new("/")).to_owned();
    let given_from = Some(path).filter(|path| path.is_relative());
    let given_from = given_from.and_then(|_| std::env::current_dir().ok());
    let mut tree = Tree { directory, given_from, ..Tree::default() };
    let block = read_file(&mut tree, &whole)?;
    tree.root = resolve(&mut tree, block, 0, 0)?;
    Ok(tree)
}

fn read_file(tree: &mut Tree, path: &Path) -> Result<Block, ReadError> {
    let name = tree.shown(path);
    let unreadable = |error| ReadError::Unreadable { name: name.clone(), error };
    let bytes = config::read_file(path, FILE_BYTES_MAX).map_err(unreadable)?;
    let too_much = |message: String| ReadError::TooMuch { name: name.clone(), line: 0, message };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_much(format!("a file may have {FILE_BYTES_MAX} bytes")));
    }
    if tree.files.len() >= FILES_MAX {
        return Err(too_much(format!("a configuration may have {FILES_MAX} files")));
    }
    let text = String::from_utf8_lossy(&bytes);
    let file = u32::try_from(tree.files.len()).unwrap_or(u32::MAX);
    let mut block = parse(&text, file, tree.next_id)
        .map_err(|error| ReadError::Syntax { name: name.clone(), error })?;
    // What a snippet says about itself is kept once, wherever it is included.
    if tree.files.contains(&name) {
        drop_comments(&mut block);
    }
    tree.files.push(name);
    tree.next_id += count(&block);
    Ok(block)
}

impl Tree {
    /// The name of a file for people: relative if the main file was given so.
    fn shown(&self, path: &Path) -> String {
        let below = self.given_from.as_ref().and_then(|from| path.strip_prefix(from).ok());
        let below = below.filter(|path| !path.as_os_str().is_empty());
        below.unwrap_or(path).display().to_string()
    }
}

fn drop_comments(block: &mut Block) {
    block.end.clear();
    for directive in &mut block.directives {
        directive.above.clear();
        directive.beside = None;
        if let Some(inner) = &mut directive.block {
            drop_comments(inner);
        }
    }
}

fn count(block: &Block) -> u32 {
    let inner = block.directives.iter().filter_map(|directive| directive.block.as_ref());
    block.directives.len() as u32 + inner.map(count).sum::<u32>()
}

fn resolve(
    tree: &mut Tree,
    block: Block,
    depth: usize,
    includes: usize,
) -> Result<Block, ReadError> {
    let mut out = Block { directives: Vec::new(), end: block.end };
    for mut directive in block.directives {
        if directive.name == "include" && directive.block.is_none() {
            if includes >= INCLUDES_MAX || depth > DEPTH_MAX {
                return Err(ReadError::TooMuch {
                    name: tree
                        .files
                        .get(directive.place.file as usize)
                        .cloned()
                        .unwrap_or_default(),
                    line: directive.place.line,
                    message: format!("includes are nested more than {INCLUDES_MAX} deep"),
                });
            }
            include(tree, directive, &mut out, depth, includes)?;
            continue;
        }
        if let Some(inner) = directive.block.take() {
            directive.block = Some(resolve(tree, inner, depth + 1, includes)?);
        }
        out.directives.push(directive);
    }
    Ok(out)
}

/// Puts what an `include` names in its place.
fn include(
    tree: &mut Tree,
    mut directive: Directive,
    out: &mut Block,
    depth: usize,
    includes: usize,
) -> Result<(), ReadError> {
    let pattern = locate(tree, directive.word(0));
    // Thousands of lines that say which ending has which type.
    if pattern.file_name().is_some_and(|name| name == "mime.types") {
        out.directives.push(directive);
        return Ok(());
    }
    let found = expand(&pattern);
    if found.is_empty() && !is_pattern(&pattern.to_string_lossy()) {
        out.directives.push(directive);
        return Ok(());
    }
    let mut above = std::mem::take(&mut directive.above);
    for path in found {
        let block = read_file(tree, &path)?;
        let mut block = resolve(tree, block, depth, includes + 1)?;
        if let Some(first) = block.directives.first_mut() {
            first.above.splice(0..0, above.drain(..));
        }
        above.append(&mut block.end);
        out.directives.append(&mut block.directives);
    }
    Ok(())
}

/// The path of an `include`: relative ones start at the directory of the main file. What stands below
/// `/etc/nginx` is also looked for beside the main file, so that a copy of that directory can be read.
fn locate(tree: &Tree, text: &str) -> PathBuf {
    let path = tree.directory.join(text);
    match Path::new(text).strip_prefix("/etc/nginx") {
        Ok(below) if expand(&path).is_empty() => tree.directory.join(below),
        _ => path,
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files that a pattern names, in the order of their names.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        if !is_pattern(&text) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for directory in &found {
            let directory =
                if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.flatten().take(FILES_MAX) {
                let name = entry.file_name();
                let name_text = name.to_string_lossy();
                // As glob(3): a leading dot must be named.
                let hidden = name_text.starts_with('.') && !text.starts_with('.');
                if !hidden && matches(text.as_bytes(), name_text.as_bytes()) {
                    next.push(directory.join(&name));
                }
            }
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

/// Whether a name has the shape of a pattern with `*`, `?` and `[…]`. Takes time proportional to the
/// product of their lengths at most.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let one = pattern.get(p..).and_then(|rest| one_matches(rest, name.get(n).copied()?));
        match (one, pattern.get(p)) {
            (_, Some(b'*')) => {
                star = Some((p + 1, n));
                p += 1;
            }
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, _) => match star {
                Some((after, at)) => {
                    star = Some((after, at + 1));
                    (p, n) = (after, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

/// How many bytes of the pattern's beginning match this byte of a name.
fn one_matches(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().skip(2).position(|&byte| byte == b']')? + 2;
            let set = pattern.get(1..end)?;
            let (negated, set) = match set.split_first() {
                Some((b'!' | b'^', rest)) => (true, rest),
                _ => (false, set),
            };
            let in_range = set.windows(3).any(|range| match range {
                [first, b'-', last] => (*first..=*last).contains(&byte),
                _ => false,
            });
            ((in_range || set.contains(&byte)) != negated).then_some(end + 1)
        }
        first => (*first == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        #[track_caller]
        fn check(pattern: &str, name: &str, expected: bool) {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        check("*.conf", "a.conf", true);
        check("*.conf", "a.conf.bak", false);
        check("*", "anything", true);
        check("a?c*", "abcd", true);
        check("[a-c]*.conf", "b1.conf", true);
        check("[!a-c]*.conf", "b1.conf", false);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "axxbyy", false);
        check("[", "[", false);
    }
}
