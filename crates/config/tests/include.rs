//! Files that include others.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own, with these files.
fn files(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("include").join(name);
    let _ = fs::remove_dir_all(&directory);
    for (path, text) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

#[track_caller]
fn fails(directory: &Path, expected: &[&str]) {
    let failure = config::load(&directory.join("main.kdl")).unwrap_err();
    let root = format!("{}/", directory.display());
    let told: Vec<_> =
        failure.errors.iter().map(|error| error.render(false).replace(&root, "")).collect();
    let first: Vec<_> = told.iter().map(|text| text.lines().next().unwrap()).collect();
    assert_eq!(first, expected);
}

#[test]
fn patterns_are_read_in_the_order_of_names() {
    let directory = files(
        "order",
        &[
            (
                "main.kdl",
                "include \"sites/*.kdl\" \"more/?.kdl\" \"none/*.kdl\"\nupstream shop { to \"a:80\"; }\n",
            ),
            ("none/readme", ""),
            ("sites/b.kdl", "site \"b\" { to shop; }\n"),
            ("sites/a.kdl", "site \"a\" { to shop; }\n"),
            ("sites/.hidden.kdl", "nonsense"),
            ("sites/c.kdl~", "nonsense"),
            ("more/1.kdl", "include \"../deep/x.kdl\"\n"),
            ("deep/x.kdl", "site \"x\" {\n    error-page 502 file=\"page.html\"\n    to shop\n}\n"),
            ("deep/page.html", "<p>down</p>"),
        ],
    );
    let loaded = config::load(&directory.join("main.kdl")).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    let names: Vec<_> = config.sites.iter().map(|site| format!("{:?}", site.names)).collect();
    assert_eq!(names, ["[Exact(\"a\")]", "[Exact(\"b\")]", "[Exact(\"x\")]"]);
    assert_eq!(config.files.len(), 5);
    assert!(config.locate(config.sites[2].place).ends_with("deep/x.kdl:1"));
    // A path starts at the directory of the file that names it.
    let page = &config.sites[2].base.error_pages[0].page;
    let [config::PagePiece::Text(text)] = &*page.pieces else { panic!("{page:?}") };
    assert_eq!((&*text.written, &*page.content_type), ("<p>down</p>", "text/html; charset=utf-8"));
}

#[test]
fn mistakes_of_all_files_are_told_at_once() {
    let directory = files(
        "mistakes",
        &[
            ("main.kdl", "include \"a.kdl\"\ninclude \"gone.kdl\"\nwhat\n"),
            ("a.kdl", "site \"a\" { to nowhere; }\nprocess { cores 0; }\n"),
        ],
    );
    fails(
        &directory,
        &[
            "main.kdl:2:9: `gone.kdl` cannot be read: no such file or directory",
            "main.kdl:3:1: `what` is not known at the top level",
            "a.kdl:1:15: there is no upstream `nowhere`",
            "a.kdl:2:17: 0 is not a whole number from 1 to 1024",
        ],
    );
}

#[test]
fn cycles_are_refused() {
    let directory = files(
        "cycle",
        &[
            ("main.kdl", "include \"a.kdl\"\n"),
            ("a.kdl", "include \"b.kdl\" \"./a.kdl\"\n"),
            ("b.kdl", "include \"main.kdl\"\n"),
        ],
    );
    fails(
        &directory,
        &["a.kdl:1:17: `./a.kdl` is included already", "b.kdl:1:9: `main.kdl` is included already"],
    );
}

#[test]
fn what_is_defined_twice_is_told_with_both_places() {
    let directory = files(
        "twice",
        &[
            ("main.kdl", "include \"a.kdl\"\nupstream shop { to \"a:80\"; }\nsite { to shop; }\n"),
            ("a.kdl", "upstream shop { to \"b:80\"; }\n"),
        ],
    );
    let failure = config::load(&directory.join("main.kdl")).unwrap_err();
    let error = &failure.errors[0];
    assert_eq!(error.message, "there are two upstreams `shop`");
    assert!(error.file.ends_with("a.kdl"));
    assert!(error.related[0].file.ends_with("main.kdl"));
    assert_eq!(error.related[0].place.line, 2);
}

#[test]
fn files_that_cannot_be_read() {
    let directory = files("unreadable", &[("main.kdl", "include \"a.kdl\"\n")]);
    fs::write(directory.join("a.kdl"), b"site {\n\xff }").unwrap();
    fails(&directory, &["main.kdl:1:9: `a.kdl` cannot be read: it is not UTF-8 (line 2)"]);
    let failure = config::load(&directory.join("missing.kdl")).unwrap_err();
    let text = failure.render(false);
    assert!(text.ends_with("missing.kdl: cannot be read: no such file or directory\n"), "{text}");
    assert!(config::load(&directory).is_err());
}

#[test]
fn an_error_page_has_a_limit() {
    let directory = files(
        "large",
        &[("main.kdl", "site {\n    error-page 502 file=\"large.html\"\n    to \"a:80\"\n}\n")],
    );
    fs::write(directory.join("large.html"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fails(&directory, &["main.kdl:2:25: `large.html` is larger than 1 MiB"]);
    fs::write(directory.join("large.html"), vec![b'x'; 1 << 20]).unwrap();
    assert!(config::load(&directory.join("main.kdl")).is_ok());
}
