//! What a configuration becomes.

use config::{Config, Loaded};

/// The model without places, which differ between texts that say the same.
fn plain(config: &Config) -> String {
    let text = format!("{config:#?}");
    let mut out = String::new();
    let mut skipping = false;
    // How a rule is written depends on the layout.
    let written = |line: &&str| {
        !line.trim_start().starts_with("written: \"deny")
            && !line.trim_start().starts_with("written: \"allow")
    };
    for line in text.lines().filter(written) {
        match line.trim_end().ends_with("Place {") {
            true => skipping = true,
            false if skipping => skipping = !line.trim_start().starts_with('}'),
            false => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[track_caller]
fn same(left: &Config, right: &Config) {
    let (left, right) = (plain(left), plain(right));
    let differing = left.lines().zip(right.lines()).find(|(left, right)| left != right);
    assert_eq!(differing, None);
    assert_eq!(left.len(), right.len());
}

#[track_caller]
fn parsed(text: &str) -> Loaded {
    match config::parse("test.kdl", text) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{failure}"),
    }
}

const FULL: &str = include_str!("full.kdl");

#[test]
fn what_is_shown_says_everything() {
    let loaded = parsed(FULL);
    let shown = loaded.effective.render(false);
    let again = parsed(&shown);
    same(&loaded.config, &again.config);
}

#[test]
fn canonical_layout_says_the_same() {
    let formatted = config::format("test.kdl", FULL).unwrap();
    assert_eq!(config::format("test.kdl", &formatted).unwrap(), formatted);
    same(&parsed(&formatted).config, &parsed(FULL).config);
}
