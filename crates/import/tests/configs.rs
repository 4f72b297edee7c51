//! Configurations in the manner of the guides for well-known applications: what is written for each
//! stands beside it, and `config` takes it.
//!
//! To write the expected files again: `BOTHWAYS_WRITE_EXPECTED=1 cargo test -p import --test configs`.

use std::fs;
use std::path::{Path, PathBuf};

use import::{Verdict, Words};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs")
}

fn configurations() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|one| one == "conf")).collect();
    found.sort();
    found
}

/// What is written for a file, and the report without the directory.
fn imported(path: &Path) -> (String, String) {
    let tree = import::nginx::read(path).unwrap();
    let imported = import::import(&tree, &Words::ask(), &|_| false);
    let report = imported.report.text();
    let base = format!("{}/", directory().display());
    (imported.text.replace(&base, "/etc/nginx/"), report.replace(&base, ""))
}

#[test]
fn what_is_written_is_as_expected() {
    let found = configurations();
    assert!(found.len() >= 20, "{} configurations", found.len());
    let mut differing = Vec::new();
    for path in found {
        let (text, report) = imported(&path);
        let expected =
            [(path.with_extension("kdl"), text), (path.with_extension("report"), report)];
        for (file, now) in expected {
            if std::env::var_os("BOTHWAYS_WRITE_EXPECTED").is_some() {
                fs::write(&file, &now).unwrap();
            }
            if fs::read_to_string(&file).unwrap_or_default() != now {
                differing.push(format!("--- {}\n{now}", file.display()));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn config_takes_what_is_written() {
    for path in configurations() {
        let (text, _) = imported(&path);
        let name = path.display().to_string();
        let loaded = match config::parse(&name, &text) {
            Ok(loaded) => loaded,
            Err(failure) => panic!("{}\n{text}", failure.render(false)),
        };
        assert_eq!(config::format(&name, &text).unwrap(), text, "{name}: the layout");
        assert!(!loaded.config.sites.is_empty(), "{name}");
        assert!(!text.contains("not taken ("), "{name}:\n{text}");
    }
}

#[test]
fn every_line_has_a_verdict() {
    fn count(directives: &[import::nginx::Directive]) -> usize {
        let inner = directives.iter().map(|one| match one.name.as_str() {
            "map" | "types" => 0,
            _ => count(one.children()),
        });
        directives.len() + inner.sum::<usize>()
    }
    for path in configurations() {
        let tree = import::nginx::read(&path).unwrap();
        let imported = import::import(&tree, &Words::ask(), &|_| false);
        let expected = count(&tree.root.directives);
        assert_eq!(imported.report.lines.len(), expected, "{}", path.display());
        for line in imported.report.lines.iter().filter(|line| line.verdict != Verdict::Exact) {
            let says = !line.notes.is_empty() || !line.ours.is_empty();
            assert!(says, "{}: {} has no note", path.display(), line.theirs);
        }
    }
}
