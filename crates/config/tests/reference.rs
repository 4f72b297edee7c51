//! The pages in `docs/` against the program: the reference is up to date, every example works.

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_reference_is_up_to_date() {
    let path = repository().join("docs/reference.md");
    let reference = config::reference();
    if std::env::var_os("BOTHWAYS_WRITE_REFERENCE").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == reference,
        "docs/reference.md is not what the tables say. To write it again:\n    \
         BOTHWAYS_WRITE_REFERENCE=1 cargo test -p config --test reference"
    );
}

/// The ```kdl blocks of a page, with the line where each begins.
fn examples(page: &str) -> Vec<(usize, String)> {
    let mut examples: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        match (inside, line.trim()) {
            (false, "```kdl") => {
                inside = true;
                examples.push((index + 1, String::new()));
            }
            (true, "```") => inside = false,
            (true, _) => {
                if let Some((_, text)) = examples.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    examples
}

/// A directory with the files that examples name.
fn surroundings(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(directory.join("sites")).unwrap();
    for page in ["down.html", "sorry.html", "maintenance.html"] {
        fs::write(directory.join(page), "<h1>Back soon</h1>\n").unwrap();
    }
    fs::write(directory.join("app-endpoints.json"), "[]\n").unwrap();
    fs::write(directory.join("api-token.txt"), "k-1\n").unwrap();
    fs::create_dir_all(directory.join("snippets")).unwrap();
    fs::write(
        directory.join("snippets/security.kdl"),
        "response { set \"X-Frame-Options\" \"DENY\"; }\n",
    )
    .unwrap();
    directory
}

#[track_caller]
fn check_page(page: &str, at_least: usize) {
    let path = repository().join(page);
    match fs::read_to_string(&path) {
        Ok(text) => check_text(page, &text, at_least),
        Err(_) => assert!(at_least == 0, "{page} is missing"),
    }
}

#[track_caller]
fn check_text(page: &str, text: &str, at_least: usize) {
    let directory = surroundings(&page.replace('/', "-"));
    let examples = examples(text);
    assert!(examples.len() >= at_least, "{page} has {} examples", examples.len());
    for (line, example) in examples {
        let file = directory.join("example.kdl");
        fs::write(&file, &example).unwrap();
        if let Err(failure) = config::load(&file) {
            panic!("{page}:{line}:\n{failure}");
        }
        let shown = config::load(&file).unwrap().effective.render(false);
        fs::write(&file, &shown).unwrap();
        if let Err(failure) = config::load(&file) {
            panic!("what is shown of {page}:{line}:\n{failure}");
        }
    }
}

#[test]
fn every_example_of_the_reference_works() {
    check_text("docs/reference.md", &config::reference(), 30);
}

#[test]
fn every_example_of_the_tutorial_works() {
    check_page("docs/configuration.md", 10);
    check_page("docs/acme.md", 4);
    check_page("docs/install.md", 0);
    check_page("docs/balancing.md", 2);
    check_page("docs/caching.md", 11);
}

#[test]
fn every_example_for_those_who_move_over_works() {
    check_page("docs/from-nginx.md", 1);
    check_page("docs/from-caddy.md", 6);
    check_page("docs/from-haproxy.md", 6);
    check_page("docs/recipes.md", 7);
}

#[test]
fn every_example_of_the_readme_works() {
    check_page("README.md", 0);
}
