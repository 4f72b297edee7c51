//! Every relative link of the documentation leads to a file that exists, and every anchor to a heading.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories with pages.
const DIRECTORIES: [&str; 4] = ["", "docs", "tests", "bench"];

fn pages() -> Vec<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut pages = Vec::new();
    for directory in DIRECTORIES {
        let entries = fs::read_dir(repository.join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|is| is == "md")));
    }
    pages
}

/// The lines of a page outside of code blocks, numbered from 1.
fn prose(page: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut in_block = false;
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            lines.push((index + 1, line.to_owned()));
        }
    }
    lines
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of the links in a line.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let parts = line.split("](").skip(1);
    parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let prose = prose(page);
    let headings = prose.iter().filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
        })
        .collect()
}

/// What is wrong with a link, if anything.
fn problem(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let file = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap().join(path),
    };
    if !file.exists() {
        return Some(format!("there is no {path}"));
    }
    let anchor = anchor?;
    let text = fs::read_to_string(&file).unwrap();
    let found = anchors(&text).iter().any(|known| known == anchor);
    (!found).then(|| format!("{} has no heading for #{anchor}", file.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let (mut problems, mut links) = (Vec::new(), 0);
    for page in pages() {
        for (number, line) in prose(&fs::read_to_string(&page).unwrap()) {
            for target in targets(&line) {
                links += 1;
                if let Some(problem) = problem(&page, &target) {
                    problems.push(format!("{}:{number}: ({target}) {problem}", page.display()));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(links > 50, "only {links} links were found");
}

#[test]
fn links_and_anchors_are_recognised() {
    assert_eq!(targets("see [a](b.md#c) and `[x](y)`, [`d`](e)"), ["b.md#c", "e"]);
    let page = "# One: `two`, three\n```\n# no heading\n```\n## Same\n## Same\n";
    assert_eq!(anchors(page), ["one-two-three", "same", "same-1"]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(problem(&here, "nowhere.md").is_some());
    assert!(problem(&here, "Cargo.toml").is_none());
    assert!(problem(&here, "https://example.com/#x").is_none());
    assert!(problem(&here, "#no-such-heading").is_some());
}
