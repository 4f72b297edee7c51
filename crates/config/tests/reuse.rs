//! Lines that stand once and hold in many places: `define` and `use`, `include` in blocks, `defaults`.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own, with these files.
fn files(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reuse").join(name);
    let _ = fs::remove_dir_all(&directory);
    for (path, text) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

/// What is shown of a text, without comments and spaces.
fn shown(text: &str) -> Vec<String> {
    match config::parse("x.kdl", text) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings, [], "{text}");
            lines(&loaded.effective.render(false))
        }
        Err(failure) => panic!("{text}\n{failure}"),
    }
}

fn lines(text: &str) -> Vec<String> {
    let line = |line: &str| line.split("// ").next().unwrap_or_default().trim().to_owned();
    text.lines().map(line).filter(|line| !line.is_empty()).collect()
}

/// Two texts mean the same.
#[track_caller]
fn same(text: &str, as_if: &str) {
    assert_eq!(shown(text), shown(as_if), "{text}");
}

#[track_caller]
fn fails(text: &str, expected: &[&str]) {
    let failure = config::parse("x.kdl", text).unwrap_err();
    let told: Vec<_> = failure.errors.iter().map(|error| error.render(false)).collect();
    let told = told.join("\n");
    for part in expected {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn used_lines_stand_where_they_are_used() {
    same(
        "define a { request { set X \"1\"; }; use b; }
         define b { forwarded on; timeouts { first-byte \"9s\"; }; }
         define r { route \"/a/*\" { use b; respond; }; }
         site x { use a r; to \"10.0.0.1:80\"; }
         site y { route \"/\" { use a; to \"10.0.0.1:80\"; }; }",
        "site x { request { set X \"1\"; }; forwarded on; timeouts { first-byte \"9s\"; }
             route \"/a/*\" { forwarded on; timeouts { first-byte \"9s\"; }; respond; }
             to \"10.0.0.1:80\"; }
         site y { route \"/\" { request { set X \"1\"; }; forwarded on; timeouts { first-byte \"9s\"; }
             to \"10.0.0.1:80\"; }; }",
    );
    same(
        "define t { trusted-proxy \"10.0.0.0/8\"; }
         define u { balance least-connections; to \"10.0.0.1:80\"; }
         define f { via office; }
         listen \":80\" { use t; }
         upstream app { use u; }
         forward \":3128\" { use f; allow from=\"10.0.0.0/8\"; }
         site { to app; }",
        "listen \":80\" { trusted-proxy \"10.0.0.0/8\"; }
         upstream app { balance least-connections; to \"10.0.0.1:80\"; }
         forward \":3128\" { via office; allow from=\"10.0.0.0/8\"; }
         site { to app; }",
    );
}

#[test]
fn defaults_hold_where_a_site_says_nothing() {
    same(
        "defaults {
             request-id on; forwarded on; path-readings merged
             timeouts { first-byte \"9s\"; connect \"1s\"; }
             request { set A \"1\"; }
             error-page 502 503 file=\"Cargo.toml\"
             client name=a
             strip-prefix \"/x\"
         }
         site a { tls internal { client request ca=c; }; to \"10.0.0.1:80\"; }
         site b {
             tls internal { client request ca=c; }
             forwarded off; encoded-separators refuse; client name=b; rewrite \"/y{path}\"
             timeouts { connect \"2s\"; }
             request { set A \"2\"; }
             error-page 502 file=\"src/lib.rs\"
             to \"10.0.0.1:80\"
         }"
        .replace("encoded-separators refuse", "path-readings none")
        .as_str(),
        "site a {
             request-id on; forwarded on; path-readings merged
             timeouts { first-byte \"9s\"; connect \"1s\"; }
             request { set A \"1\"; }
             error-page 502 503 file=\"Cargo.toml\"
             client name=a
             strip-prefix \"/x\"
             tls internal { client request ca=c; }; to \"10.0.0.1:80\"; }
         site b {
             request-id on
             tls internal { client request ca=c; }
             forwarded off; path-readings none; client name=b; rewrite \"/y{path}\"
             timeouts { first-byte \"9s\"; connect \"2s\"; }
             request { set A \"1\"; set A \"2\"; }
             error-page 503 file=\"Cargo.toml\"
             error-page 502 file=\"src/lib.rs\"
             to \"10.0.0.1:80\"
         }",
    );
    // What is passed on as it is takes little.
    shown(
        "defaults { forwarded on; timeouts { connect \"1s\"; }; }
         site a.example { tls passthrough; to \"10.0.0.1:443\"; }",
    );
}

#[test]
fn a_mistake_names_both_places() {
    let text = "define a {\n    forwarded maybe\n}\nsite x {\n    use a\n    respond\n}\nsite y { use a; respond; }\n";
    let failure = config::parse("x.kdl", text).unwrap_err();
    assert_eq!(failure.errors.len(), 1);
    let error = &failure.errors[0];
    assert_eq!((error.place.line, error.place.column), (2, 15));
    let related: Vec<_> =
        error.related.iter().map(|related| (related.place.line, &*related.message)).collect();
    assert_eq!(related, [(5, "used here")]);
    let text = "defaults {\n    host nonsense:x\n}\nsite x { respond; }\n";
    let failure = config::parse("x.kdl", text).unwrap_err();
    assert_eq!(failure.errors[0].place.line, 2);
    assert_eq!(failure.errors[0].related[0].place.line, 4);
}

#[test]
fn what_is_shown_says_where_it_comes_from() {
    let text = "define a {\n    forwarded on\n    request { set X \"1\"; }\n}\n\
                define b { use a; }\n\
                defaults { host endpoint; }\n\
                site x {\n    use b\n    respond\n}\n";
    let loaded = config::parse("x.kdl", text).unwrap();
    let origin = |name: &str| {
        let mut values = loaded.effective.values();
        let found = values.find(|value| {
            value.path[0].starts_with("site") && value.path.last().is_some_and(|last| last == name)
        });
        found.map(|value| value.origin).unwrap_or_default()
    };
    assert_eq!(origin("forwarded"), "x.kdl:2, by x.kdl:8");
    assert_eq!(origin("set"), "x.kdl:3, by x.kdl:8");
    assert_eq!(origin("host"), "x.kdl:6, by x.kdl:7");
    assert_eq!(origin("underscores"), "default");
}

#[test]
fn mistakes_in_reuse_itself() {
    fails("site { use x; respond; }", &["there is no `define x`", "write define x { … }"]);
    fails("define ab { }\nsite { use abc; respond; }", &["did you mean `ab`?"]);
    fails("define a { use a; }\nsite { use a; respond; }", &["`define a` has itself in it"]);
    fails(
        "define a { use b; }\ndefine b { use a; }\nsite { use a; respond; }",
        &["`define a` → `define b` → `define a`"],
    );
    fails("define a { }\ndefine a { }\nsite { use a; respond; }", &["there are two `define a`"]);
    fails("define a { to \"10.0.0.1:80\"; }\nsite { use a; respond; }", &["used here"]);
    fails("site { use; respond; }", &["`use` needs"]);
    fails("use a\nsite { respond; }", &["`use` is not allowed at the top level"]);
    fails("site { request { use a; }; respond; }", &["`use` is not allowed in"]);
    fails(
        "defaults { to \"10.0.0.1:80\"; }\nsite { respond; }",
        &["`to` is not allowed in `defaults`"],
    );
    fails("defaults { nonsense; }\nsite { respond; }", &["`nonsense` is not known in `defaults`"]);
    fails("site { include \"a.kdl\"; respond; }", &["this text cannot include files"]);
    let unused = config::parse("x.kdl", "define a { nonsense; }\nsite { respond; }").unwrap();
    assert_eq!(unused.warnings.len(), 1);
    assert!(unused.warnings[0].message.contains("`define a` is not used"));
}

#[test]
fn what_multiplies_is_bounded() {
    let mut deep = String::new();
    for n in 0..40 {
        deep += &format!("define a{n} {{ use a{}; }}\n", n + 1);
    }
    fails(&(deep + "define a40 { }\nsite { use a0; respond; }"), &["more than 16 deep"]);
    for last in ["", "forwarded on;"] {
        let mut wide = String::new();
        for n in 0..12 {
            wide += &format!("define a{n} {{ {} }}\n", format!("use a{};", n + 1).repeat(50));
        }
        let text = wide + "define a12 { " + last + " }\nsite { use a0; respond; }";
        fails(&text, &["make more than 200000 lines"]);
    }
}

#[test]
fn files_within_blocks() {
    let directory = files(
        "blocks",
        &[
            (
                "main.kdl",
                "site a { include \"parts/*.kdl\"; to \"10.0.0.1:80\"; }\n\
                 site b { route \"/\" { include \"parts/fields.kdl\"; to \"10.0.0.1:80\"; }; }\n",
            ),
            ("parts/fields.kdl", "request { set X \"{path}\"; }\nerror-page 502 file=\"p.html\"\n"),
            ("parts/route.kdl", "route \"/r\" { include \"../inner.kdl\"; respond; }\n"),
            ("parts/p.html", "<p>"),
            ("inner.kdl", "forwarded on\n"),
        ],
    );
    let loaded = config::load(&directory.join("main.kdl")).unwrap();
    assert_eq!(loaded.warnings, []);
    let [a, b] = loaded.config.sites.as_slice() else { panic!() };
    assert_eq!(a.base.request_fields.len(), 1);
    assert!(a.routes[0].settings.forwarded && !a.base.forwarded);
    assert_eq!(b.routes[0].settings.request_fields.len(), 1);
    let place = loaded.config.locate(a.base.request_fields[0].place);
    assert!(place.ends_with("parts/fields.kdl:1"), "{place}");
    assert_eq!(loaded.config.files.len(), 4);
}

#[test]
fn files_that_include_themselves() {
    let directory = files(
        "circle",
        &[
            ("main.kdl", "site a { include \"x.kdl\"; respond; }\n"),
            ("x.kdl", "include \"y.kdl\"\n"),
            ("y.kdl", "forwarded on\ninclude \"x.kdl\"\n"),
        ],
    );
    let failure = config::load(&directory.join("main.kdl")).unwrap_err().to_string();
    assert!(failure.contains("has itself in it"), "{failure}");
    let directory = files(
        "both",
        &[
            ("main.kdl", "include \"x.kdl\"\nsite a { include \"x.kdl\"; respond; }\n"),
            ("x.kdl", "site b { respond; }\n"),
        ],
    );
    let failure = config::load(&directory.join("main.kdl")).unwrap_err().to_string();
    assert!(failure.contains("is included already"), "{failure}");
}

#[test]
fn layout_is_kept() {
    let text = "define a {\n    forwarded on\n}\ndefaults {\n    use a\n}\nsite {\n    use a\n    include \"b.kdl\"\n    respond\n}\n";
    assert_eq!(config::format("x.kdl", text).unwrap(), text);
}
