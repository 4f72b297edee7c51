//! Reading files, and those that they include.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::Problems;
use crate::diagnostic::plain_io;
use crate::source::{Source, Sources, Span};
use crate::syntax::{self, Node, ValueKind};

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of a configuration at most.
const FILES_MAX: usize = 10_000;

/// Reads a text file.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count();
        io::Error::other(format!("it is not UTF-8 (line {})", lines + 1))
    })
}

/// Adds every file that the first one includes, and gives the directory of each.
pub(super) fn follow(main: &Path, sources: &mut Sources, problems: &mut Problems) -> Vec<PathBuf> {
    let mut reader = Reader { read: vec![identity(main)], problems };
    let mut directories = vec![directory(main)];
    let mut next = 0;
    while next < sources.len() {
        let found = includes(sources.text(next as u16), next as u16);
        for (pattern, span) in found {
            let from = directories.get(next).cloned().unwrap_or_default();
            for path in reader.expand(&from, &pattern, span) {
                let Some(text) = reader.read(&path, span, sources.len()) else { continue };
                sources.add(Source { name: path.display().to_string(), text });
                directories.push(directory(&path));
            }
        }
        next += 1;
    }
    directories
}

/// Tells that a text includes something.
pub(super) fn refuse(sources: &Sources, problems: &mut Problems) {
    for (_, span) in includes(sources.text(0), 0) {
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

/// The values of `include` nodes. What is wrong with those is told when the text is decoded.
fn includes(text: &str, file: u16) -> Vec<(String, Span)> {
    if !text.contains("include") {
        return Vec::new();
    }
    let document = syntax::parser::parse(text, file);
    let nodes = document.nodes.iter().filter(|node| node.name == "include");
    let values = nodes.flat_map(|node: &Node<'_>| &node.arguments);
    values
        .filter_map(|value| match &value.kind {
            ValueKind::Text { text, .. } => Some((text.to_string(), value.span)),
            _ => None,
        })
        .collect()
}

struct Reader<'p> {
    /// Files that were read.
    read: Vec<PathBuf>,
    problems: &'p mut Problems,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, span: Span, count: usize) -> Option<String> {
        let shown = path.display();
        let identity = identity(path);
        if self.read.contains(&identity) {
            self.problems
                .error(span, format!("`{shown}` is included already"))
                .hint("a file can be included only once, and not by itself");
            return None;
        }
        if count >= FILES_MAX {
            self.problems.error(span, format!("more than {FILES_MAX} files are included"));
            return None;
        }
        self.read.push(identity);
        match read(path) {
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
