//! Mistakes and what is said of them, word by word.
//!
//! `diagnostics.txt` has a text, a line `--`, what is shown, and a line `====`, over and over. To
//! write what is shown again, and then read the difference with care:
//! `BOTHWAYS_WRITE_DIAGNOSTICS=1 cargo test -p config --test diagnostics`

use std::fs;
use std::path::Path;

fn shown(text: &str) -> String {
    match config::parse("bothways.kdl", text) {
        Ok(loaded) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(|w| w.render(false)).collect();
            warnings.join("\n")
        }
        Err(failure) => failure.render(false),
    }
}

#[test]
fn mistakes_are_told_word_by_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics.txt");
    let table = fs::read_to_string(&path).unwrap();
    let rows = table.split("====\n").filter(|row| !row.trim().is_empty());
    let rows: Vec<_> = rows.map(|row| row.split_once("--\n").unwrap_or((row, ""))).collect();
    if std::env::var_os("BOTHWAYS_WRITE_DIAGNOSTICS").is_some() {
        let written = rows.iter().map(|(text, _)| format!("{text}--\n{}====\n", shown(text)));
        fs::write(&path, written.collect::<String>()).unwrap();
        return;
    }
    assert!(rows.len() > 40);
    for (text, expected) in rows {
        let shown = shown(text);
        assert!(shown == expected, "{text}\nshows\n{shown}\nand not\n{expected}");
    }
}

#[test]
fn errors_are_sorted_by_place_and_limited() {
    let text = "site \"a\" {\n".to_owned() + &"    what \"x\"\n".repeat(1000) + "}\n";
    let failure = config::parse("a.kdl", &text).unwrap_err();
    assert_eq!(failure.errors.len(), 200);
    assert!(failure.errors.is_sorted_by_key(|error| error.place));
    let last = failure.errors.last().unwrap().hint.as_ref().unwrap();
    assert!(last.ends_with("(800 more are not shown)"), "{last}");
}
