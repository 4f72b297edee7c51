//! Tokens, quotes, comments and includes, as nginx reads them.

use std::fs;

use import::nginx::{parse, read};

#[track_caller]
fn words(text: &str, expected: &[&str]) {
    let block = parse(text, 0, 0).unwrap();
    let first = block.directives.first().unwrap();
    let found: Vec<_> = std::iter::once(first.name.as_str()).chain(first.texts()).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn tokens() {
    words("a b c;", &["a", "b", "c"]);
    words("a\tb\r\n c ;", &["a", "b", "c"]);
    words(r#"a "b c" 'd e';"#, &["a", "b c", "d e"]);
    words(r#"a "b\"c" 'd\'e' "f\\g";"#, &["a", "b\"c", "d'e", "f\\g"]);
    words(r#"a "b\tc\nd" \.php$;"#, &["a", "b\tc\nd", "\\.php$"]);
    words(r"a b\;c;", &["a", "b\\;c"]);
    words("a ${b}c$d;", &["a", "${b}c$d"]);
    words("a b#c;", &["a", "b#c"]);
    words("a '' \"\";", &["a", "", ""]);
    words("if ($a = \"b\") {}", &["if", "($a", "=", "b", ")"]);
    words("location ~ ^/a\\{2\\} {}", &["location", "~", "^/a\\{2\\}"]);
}

#[test]
fn mistakes_have_a_line() {
    for (text, line) in [
        ("a\nb", 2),
        ("a {\n b;\n", 3),
        ("a;\n}", 2),
        (";", 1),
        ("{", 1),
        ("a \"b\"c;", 1),
        ("a \"b\n", 2),
        ("a { b }", 1),
    ] {
        assert_eq!(parse(text, 0, 0).unwrap_err().line, line, "{text}");
    }
}

#[test]
fn comments_stay_with_their_directives() {
    let block =
        parse("# one\n#two\na; # three\nb { # four\n# five\nc;\n# six\n}\n# seven", 0, 0).unwrap();
    let [a, b] = &block.directives[..] else { panic!("{block:?}") };
    assert_eq!(a.above, [" one", "two"]);
    assert_eq!(a.beside.as_deref(), Some(" three"));
    assert_eq!(b.beside.as_deref(), Some(" four"));
    assert_eq!(b.children()[0].above, [" five"]);
    assert_eq!(b.block.as_ref().unwrap().end, [" six"]);
    assert_eq!(block.end, [" seven"]);
}

#[test]
fn includes_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("sites")).unwrap();
    fs::write(
        path("nginx.conf"),
        "# main\ninclude sites/*.conf;\nz;\ninclude nothing/*.conf;\ninclude missing.conf;\n",
    )
    .unwrap();
    fs::write(path("sites/b.conf"), "b;\ninclude shared;\n").unwrap();
    fs::write(path("sites/a.conf"), "a;\n").unwrap();
    fs::write(path("sites/.hidden.conf"), "hidden;\n").unwrap();
    fs::write(path("shared"), "shared;\n").unwrap();
    let tree = read(&path("nginx.conf")).unwrap();
    let names: Vec<_> = tree.root.directives.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "shared", "z", "include"]);
    assert_eq!(tree.root.directives[0].above, [" main"]);
    assert!(tree.files[2].ends_with("b.conf"), "{:?}", tree.files);
    assert_eq!((tree.root.directives[2].place.file, tree.root.directives[2].place.line), (3, 1));
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nginx.conf");
    fs::write(&path, "include nginx.conf;\n").unwrap();
    let message = read(&path).unwrap_err().to_string();
    assert!(message.contains("nested more than 16 deep"), "{message}");
}
