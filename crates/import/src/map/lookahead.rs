//! `(?!…)` in linear time: where nothing but the rest of the text follows it, "not these texts" is a
//! regular expression too.
//!
//! `/\.(?!well-known)` becomes `/\.(?:$|[^w]|w(?:$|[^e]|e(?:…)))`. The excluded texts make a tree, and each of
//! its branches is left by the end of the text or by another letter.

use std::collections::BTreeMap;

use super::variables::escape_regex;

/// Texts that one lookahead may exclude.
const TEXTS_MAX: usize = 64;
/// Letters of one; each is a group within the one before.
const LETTERS_MAX: usize = 100;
/// How deep groups may stand within each other.
const DEPTH_MAX: usize = 8;

/// What stands in place of a lookahead and of what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excluded {
    /// The regular expression of what is left; never empty.
    pub(super) rest: String,
    /// What `(…)` behind it captures, if it does: the place of the group is around `rest`.
    pub(super) is_captured: bool,
    /// Groups within the lookahead, which capture nothing but count.
    pub(super) groups: usize,
}

/// Reads what follows `(?!` to the end of the pattern. `None`: it cannot be written so.
pub(super) fn excluded(pattern: &str) -> Option<Excluded> {
    let mut reader = Reader { rest: pattern, groups: 0, depth: 0 };
    let texts = reader.alternatives()?;
    let after = reader.rest.strip_prefix(')')?;
    let (is_captured, needs_letter) = match after.strip_suffix('$').unwrap_or(after) {
        "" if !after.ends_with('$') => (false, false),
        ".*" => (false, false),
        ".+" => (false, true),
        "(.*)" => (true, false),
        "(.+)" => (true, true),
        _ => return None,
    };
    let mut tree = Tree::default();
    for text in &texts {
        tree.insert(text);
    }
    let mut rest = tree.regex(!needs_letter)?;
    if !after.is_empty() {
        rest.push_str(".*");
    }
    Some(Excluded { rest, is_captured, groups: reader.groups })
}

/// An excluded text: its letters, and whether it must be the end.
type Text = (String, bool);

struct Reader<'p> {
    rest: &'p str,
    groups: usize,
    depth: usize,
}

impl Reader<'_> {
    /// `a|b(c|d)`, to the `)` that ends them.
    fn alternatives(&mut self) -> Option<Vec<Text>> {
        let mut all = Vec::new();
        loop {
            all.extend(self.sequence()?);
            if all.len() > TEXTS_MAX || all.iter().any(|text| text.0.len() > LETTERS_MAX) {
                return None;
            }
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => return Some(all),
            }
        }
    }

    fn sequence(&mut self) -> Option<Vec<Text>> {
        let mut texts = vec![(String::new(), false)];
        loop {
            let mut letters = self.rest.chars();
            let letter = letters.next()?;
            let after = letters.as_str();
            let more = match letter {
                ')' | '|' => return Some(texts),
                '$' => {
                    self.rest = after;
                    texts.iter_mut().for_each(|text| text.1 = true);
                    continue;
                }
                '(' => {
                    self.rest = match after.strip_prefix("?:") {
                        Some(rest) => rest,
                        None if after.starts_with('?') => return None,
                        None => {
                            self.groups += 1;
                            after
                        }
                    };
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return None;
                    }
                    let inner = self.alternatives()?;
                    self.depth -= 1;
                    self.rest = self.rest.strip_prefix(')')?;
                    inner
                }
                '\\' => {
                    let escaped = letters.next().filter(char::is_ascii_punctuation)?;
                    self.rest = letters.as_str();
                    vec![(escaped.to_string(), false)]
                }
                '.' | '*' | '+' | '?' | '[' | ']' | '{' | '}' | '^' => return None,
                letter if letter.is_ascii_graphic() => {
                    self.rest = after;
                    vec![(letter.to_string(), false)]
                }
                _ => return None,
            };
            if self.rest.starts_with(['*', '+', '?', '{']) || texts.iter().any(|text| text.1) {
                return None;
            }
            let joined = texts.iter().flat_map(|text| {
                more.iter().map(move |end| (format!("{}{}", text.0, end.0), end.1))
            });
            texts = joined.take(TEXTS_MAX + 1).collect();
            if texts.len() > TEXTS_MAX {
                return None;
            }
        }
    }
}

/// The excluded texts, letter by letter.
#[derive(Default)]
struct Tree {
    next: BTreeMap<char, Tree>,
    /// Everything that begins so is excluded.
    any: bool,
    /// What ends here is excluded.
    exact: bool,
}

impl Tree {
    fn insert(&mut self, (text, is_end): &Text) {
        let mut at = self;
        for letter in text.chars() {
            at = at.next.entry(letter).or_default();
        }
        match is_end {
            true => at.exact = true,
            false => at.any = true,
        }
    }

    /// What is left; `None`: nothing.
    fn regex(&self, may_end: bool) -> Option<String> {
        if self.any {
            return None;
        }
        let mut ways = Vec::new();
        if may_end && !self.exact {
            ways.push("$".to_owned());
        }
        let set: String = self.next.keys().map(|letter| in_set(*letter)).collect();
        ways.push(if set.is_empty() { "(?s:.)".to_owned() } else { format!("[^{set}]") });
        for (letter, inner) in &self.next {
            if let Some(inner) = inner.regex(true) {
                ways.push(format!("{}{inner}", escape_regex(&letter.to_string())));
            }
        }
        Some(format!("(?:{})", ways.join("|")))
    }
}

/// A letter within `[…]`.
fn in_set(letter: char) -> String {
    match letter.is_ascii_alphanumeric() || matches!(letter, '/' | '_') {
        true => letter.to_string(),
        false => format!("\\{letter}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::regex;

    /// Whether the pattern takes the text; it must be read.
    fn takes(pattern: &str, ignore_case: bool, text: &str) -> bool {
        let pattern = regex(pattern, ignore_case, true).unwrap();
        let built = regex::bytes::RegexBuilder::new(&pattern).unicode(false).build().unwrap();
        built.is_match(text.as_bytes())
    }

    #[test]
    fn what_is_excluded() {
        #[track_caller]
        fn check(pattern: &str, yes: &[&str], no: &[&str]) {
            for text in yes {
                assert!(takes(pattern, false, text), "{pattern} takes {text}");
            }
            for text in no {
                assert!(!takes(pattern, false, text), "{pattern} does not take {text}");
            }
        }
        check(
            r"/\.(?!well-known)",
            &[
                "/.git",
                "/.",
                "/.well",
                "/.w",
                "/.well-knowX",
                "/.well-known/.git",
                "/a/.Well-known",
            ],
            &["/.well-known", "/.well-known/acme-challenge/x", "/a", "/a/.well-knownx"],
        );
        check(
            r"/\.(?!well-known\/).*",
            &["/.git", "/.well-known", "/."],
            &["/.well-known/", "/.well-known/x"],
        );
        check(
            r"^/(?!api|admin/)(.*)$",
            &["/", "/x", "/ap", "/admin"],
            &["/api", "/apix", "/admin/"],
        );
        check(r"^/(?!(a|b)c)(.+)$", &["/x", "/ad", "/a"], &["/", "/ac", "/bcd"]);
        check(r"^/(?!index\.php$)", &["/", "/index.phpx", "/index"], &["/index.php"]);
        check(r"^(?!/api).*$", &["/", "", "/ap"], &["/api", "/api/x"]);
        assert!(takes(r"/\.(?!well-known)", true, "/.GIT"));
        assert!(!takes(r"/\.(?!well-known)", true, "/.WELL-KNOWN/x"));
    }

    #[test]
    fn what_it_captures() {
        let pattern = regex(r"^/(?!(a|b)/)(.*)$", false, true).unwrap();
        let built = regex::Regex::new(&pattern).unwrap();
        let found = built.captures("/cd/e").unwrap();
        // The group within the lookahead is the first.
        assert_eq!(&found["c2"], "cd/e");
    }

    #[test]
    fn what_cannot_be_written() {
        for pattern in [
            "^/(?!a).x",
            r"(?!\d)",
            "(?!a*)",
            "(?!.*php)",
            "(?!)",
            "(?!a|)",
            "(?!a",
            "(?!a(?=b))",
            "(?!a(b)?)",
            "(?!a)$",
            &format!("(?!{})", "(a|b)".repeat(20)),
            &format!("(?!{})", "(".repeat(5000)),
        ] {
            assert!(regex(pattern, false, false).is_err(), "{pattern}");
        }
    }
}
