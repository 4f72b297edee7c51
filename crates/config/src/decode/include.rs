//! Reading files, and those that they include.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::Problems;
use super::expand::takes_lines;
use crate::diagnostic::plain_io;
use crate::reading::read_file;
use crate::source::{Source, Sources, Span};
use crate::syntax::{self, Node, ValueKind};

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of a configuration at most.
const FILES_MAX: usize = 10_000;

/// Reads the main file, which may come through a pipe.
pub(super) fn read_main(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    text(bytes)
}

/// Reads an included file.
fn read(path: &Path) -> io::Result<String> {
    text(read_file(path, FILE_BYTES_MAX)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count();
        io::Error::other(format!("it is not UTF-8 (line {})", lines + 1))
    })
}

/// What is known of the files of a configuration, beside their text.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By its number, the directory of each.
    pub(super) directories: Vec<PathBuf>,
    /// Whether each is included in a block, so that it has lines of one.
    fragments: Vec<bool>,
    /// The files that a value of an `include` in a block names.
    pub(super) named: HashMap<Span, Vec<u16>>,
}

impl Files {
    /// One file alone.
    pub(super) fn one(directory: PathBuf) -> Self {
        let mut files = Self::default();
        files.add(directory, false);
        files
    }

    pub(super) fn is_fragment(&self, file: u16) -> bool {
        self.fragments.get(usize::from(file)).copied().unwrap_or(false)
    }

    fn add(&mut self, directory: PathBuf, is_fragment: bool) {
        self.directories.push(directory);
        self.fragments.push(is_fragment);
    }
}

/// Adds every file that the first one includes.
pub(super) fn follow(main: &Path, sources: &mut Sources, problems: &mut Problems) -> Files {
    let mut reader = Reader { read: vec![(identity(main), Some(0))], problems };
    let mut files = Files::one(directory(main));
    let mut next = 0;
    while next < sources.len() {
        let is_fragment = files.is_fragment(next as u16);
        let found = includes(sources.text(next as u16), next as u16, is_fragment);
        for Include { pattern, span, in_block } in found {
            let from = files.directories.get(next).cloned().unwrap_or_default();
            for path in reader.expand(&from, &pattern, span) {
                let file = match reader.known(&path) {
                    // Lines of a block may stand in several.
                    Some(file) if in_block && files.is_fragment(file) => Some(file),
                    _ => reader.read(&path, span, sources.len()).map(|text| {
                        files.add(directory(&path), in_block);
                        sources.add(Source { name: path.display().to_string(), text })
                    }),
                };
                if let Some(file) = file.filter(|_| in_block) {
                    files.named.entry(span).or_default().push(file);
                }
            }
        }
        next += 1;
    }
    files
}

/// Tells that a text includes something.
pub(super) fn refuse(sources: &Sources, problems: &mut Problems) {
    for Include { span, .. } in includes(sources.text(0), 0, false) {
        problems
            .error(span, "this text cannot include files, because it is not in a file")
            .hint("write it to a file");
    }
}

fn directory(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// What is the same for two paths of one file.
fn identity(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A value of an `include`.
struct Include {
    pattern: String,
    span: Span,
    /// Whether it stands in a block, not at the top level.
    in_block: bool,
}

/// The values of `include` nodes. What is wrong with those is reported when the text is decoded. `is_fragment`: whether the
/// file itself has lines of a block.
fn includes(text: &str, file: u16, is_fragment: bool) -> Vec<Include> {
    if !text.contains("include") {
        return Vec::new();
    }
    let document = syntax::parser::parse(text, file);
    let mut found = Vec::new();
    let parent = is_fragment.then_some("");
    collect(&document.nodes, parent, &mut found);
    found
}

/// `parent`: the node in whose block these stand; `None` at the top level.
fn collect(nodes: &[Node<'_>], parent: Option<&str>, found: &mut Vec<Include>) {
    for node in nodes {
        if node.name == "include" {
            let values = node.arguments.iter();
            found.extend(values.filter_map(|value| match &value.kind {
                ValueKind::Text { text, .. } => {
                    let (pattern, in_block) = (text.to_string(), parent.is_some());
                    Some(Include { pattern, span: value.span, in_block })
                }
                _ => None,
            }));
        } else if takes_lines(parent, &node.name) {
            collect(node.children.as_deref().unwrap_or_default(), Some(&node.name), found);
        }
    }
}

struct Reader<'p> {
    /// Files that were read, with their numbers; those that could not be have none.
    read: Vec<(PathBuf, Option<u16>)>,
    problems: &'p mut Problems,
}

impl Reader<'_> {
    /// The number of a file that was read.
    fn known(&self, path: &Path) -> Option<u16> {
        let identity = identity(path);
        self.read.iter().find(|(read, _)| *read == identity)?.1
    }

    fn read(&mut self, path: &Path, span: Span, count: usize) -> Option<String> {
        let shown = path.display();
        let identity = identity(path);
        if self.read.iter().any(|(read, _)| *read == identity) {
            self.problems
                .error(span, format!("`{shown}` is included already"))
                .hint("a file can be included only once, and not by itself");
            return None;
        }
        if count >= FILES_MAX {
            self.problems.error(span, format!("more than {FILES_MAX} files are included"));
            return None;
        }
        let read = read(path);
        self.read.push((identity, read.is_ok().then_some(count as u16)));
        match read {
            Ok(text) => Some(text),
            Err(error) => {
                let why = plain_io(&error);
                self.problems.error(span, format!("`{shown}` cannot be read: {why}"));
                None
            }
        }
    }

    /// The files that a pattern stands for, in the order of their names.
    fn expand(&mut self, from: &Path, pattern: &str, span: Span) -> Vec<PathBuf> {
        let mut found = vec![from.to_owned()];
        for component in Path::new(pattern).components() {
            match component {
                Component::Normal(name) => {
                    let name = name.to_string_lossy();
                    if !name.contains(['*', '?']) {
                        found.iter_mut().for_each(|path| path.push(name.as_ref()));
                        continue;
                    }
                    found =
                        found.iter().flat_map(|path| self.matching(path, &name, span)).collect();
                }
                other => found.iter_mut().for_each(|path| path.push(other)),
            }
        }
        if pattern.contains(['*', '?']) {
            found.retain(|path| path.is_file());
        }
        found
    }

    /// What is in a directory, by a pattern; hidden files only if the pattern names the dot.
    fn matching(&mut self, directory: &Path, pattern: &str, span: Span) -> Vec<PathBuf> {
        let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let entries = match fs::read_dir(here) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Vec::new(),
            Err(error) => {
                let (shown, why) = (here.display().to_string(), plain_io(&error));
                self.problems.error(span, format!("`{shown}` cannot be read: {why}"));
                return Vec::new();
            }
        };
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
        let hidden = pattern.starts_with('.');
        let mut found: Vec<_> = names
            .filter(|name| {
                let name = name.to_string_lossy();
                (hidden || !name.starts_with('.')) && matches(pattern, &name)
            })
            .collect();
        found.sort();
        found.into_iter().map(|name| directory.join(name)).collect()
    }
}

/// Whether `name` is of the form `pattern`: `*` is any characters, `?` one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go back to: behind the last star, and the character that it takes next.
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == '?' || name.get(n) == Some(&c) => {
                p += 1;
                n += 1;
            }
            _ => match back {
                Some((star, taken)) => {
                    back = Some((star, taken + 1));
                    p = star;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|&c| c == '*'))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        #[track_caller]
        fn check(pattern: &str, name: &str, expected: bool) {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        check("*.kdl", "a.kdl", true);
        check("*.kdl", ".kdl", true);
        check("*.kdl", "a.kdl~", false);
        check("a?c*", "abc", true);
        check("a?c*", "ac", false);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b*", "xxbxxaxx", false);
        check(&"*a".repeat(30), &"a".repeat(29), false);
    }
}
