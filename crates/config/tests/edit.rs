//! Endpoints changed in the text of a file.

use std::sync::Arc;

use config::edit::{Change, EditError, endpoints};
use config::{Endpoint, parse_endpoint};
use proptest::prelude::*;

fn endpoint(written: &str) -> Endpoint {
    Endpoint::new(written, parse_endpoint(written).unwrap().0)
}

fn add(written: &str) -> Change {
    Change::Add(endpoint(written))
}

fn remove(written: &str) -> Change {
    Change::Remove(written.into())
}

fn set(
    written: &str,
    weight: Option<u16>,
    max: Option<Option<u32>>,
    drain: Option<bool>,
) -> Change {
    Change::Set { written: written.into(), weight, max, drain }
}

#[track_caller]
fn check(text: &str, changes: &[Change], expected: &str) {
    let changed = endpoints(text, "app", changes).unwrap();
    assert_eq!(changed, expected);
    config::parse("x.kdl", &changed).unwrap();
}

const FILE: &str = r#"// Shop.
site { to   app }   // odd layout stays

upstream app {
    // The old one.
    to "10.0.0.1:80"   weight=3 zone="a"   // in the cellar
    to "10.0.0.2:80" "10.0.0.3:80" "10.0.0.4:80" max=9
    balance   first

    /- to "10.0.0.5:80"
}
upstream other { to "10.0.0.1:80" weight=5; }
site "b" { to other }
"#;

#[test]
fn nothing_to_do_changes_nothing() {
    check(FILE, &[], FILE);
}

#[test]
fn what_is_set_stands_in_its_line() {
    let changes = [set("10.0.0.1:80", Some(4), None, Some(true))];
    let expected = FILE.replace(
        r#"to "10.0.0.1:80"   weight=3 zone="a"   //"#,
        r#"to "10.0.0.1:80" weight=4 zone="a" drain=#true   //"#,
    );
    check(FILE, &changes, &expected);
    // The default needs no words.
    let changes = [set("10.0.0.1:80", Some(1), Some(Some(7)), Some(false))];
    let expected = FILE.replace(
        r#"to "10.0.0.1:80"   weight=3 zone="a"   //"#,
        r#"to "10.0.0.1:80" zone="a" max=7   //"#,
    );
    check(FILE, &changes, &expected);
}

#[test]
fn one_of_several_gets_its_own_line_in_its_order() {
    let line = "    to \"10.0.0.2:80\" \"10.0.0.3:80\" \"10.0.0.4:80\" max=9\n";
    let changes = [set("10.0.0.3:80", None, None, Some(true))];
    let expected = FILE.replace(
        line,
        "    to \"10.0.0.2:80\" max=9\n    to \"10.0.0.3:80\" max=9 drain=#true\n    to \"10.0.0.4:80\" max=9\n",
    );
    check(FILE, &changes, &expected);
    let changes = [set("10.0.0.4:80", None, Some(None), None)];
    let expected = FILE
        .replace(line, "    to \"10.0.0.2:80\" \"10.0.0.3:80\" max=9\n    to \"10.0.0.4:80\"\n");
    check(FILE, &changes, &expected);
}

#[test]
fn what_is_removed_takes_its_line_along() {
    let changes = [remove("10.0.0.1:80"), remove("10.0.0.3:80")];
    let expected = FILE
        .replace("    to \"10.0.0.1:80\"   weight=3 zone=\"a\"   // in the cellar\n", "")
        .replace("\"10.0.0.3:80\" ", "");
    check(FILE, &changes, &expected);
}

#[test]
fn what_is_added_stands_behind_the_others() {
    let new = Endpoint {
        weight: 2,
        zone: Some("b".into()),
        priority: 1,
        backup: true,
        max: Some(5),
        draining: true,
        addresses: config::Addresses::Each,
        ..endpoint("app.internal:80")
    };
    let expected = FILE.replace(
        "max=9\n",
        "max=9\n    to \"app.internal:80\" weight=2 zone=\"b\" priority=1 backup=#true max=5 drain=#true addresses=each\n    to \"10.0.0.5:80\"\n",
    );
    check(FILE, &[Change::Add(new), add("10.0.0.5:80")], &expected);
}

#[test]
fn layouts_of_one_line() {
    let one = "site { to app }\nupstream app { to \"a:1\"; to \"b:1\" weight=2 }\n";
    check(one, &[remove("a:1")], &one.replace("to \"a:1\"; ", ""));
    check(one, &[remove("b:1")], "site { to app }\nupstream app { to \"a:1\"; }\n");
    check(one, &[add("c:1")], &one.replace("weight=2", "weight=2; to \"c:1\""));
    check(one, &[set("a:1", Some(3), None, None)], &one.replace("\"a:1\"", "\"a:1\" weight=3"));
    check(
        one,
        &[remove("a:1"), remove("b:1"), add("c:1")],
        "site { to app }\nupstream app { to \"c:1\"; }\n",
    );
    // Line breaks as the file has them.
    let windows = "site { to app }\r\nupstream app {\r\n\tto \"a:1\"\r\n}\r\n";
    check(windows, &[add("b:1")], &windows.replace("\"a:1\"", "\"a:1\"\r\n\tto \"b:1\""));
    check(windows, &[remove("a:1"), add("b:1")], &windows.replace("a:1", "b:1"));
    // Comments within a line stay, where they can.
    let odd =
        "site { to app }\nupstream app {\n    to /* one */ \"a:1\" \\ // two\n        \"b:1\"\n}\n";
    check(
        odd,
        &[remove("a:1")],
        "site { to app }\nupstream app {\n    to \"b:1\" /* one */ /* two */\n}\n",
    );
    // A block that is left out is not the block.
    let slashed = "site { to app }\nupstream app /- { to \"x:1\"; } { srv \"_a._tcp.b\"; }\n";
    check(slashed, &[add("a:1")], &slashed.replace("{ srv", "{ to \"a:1\"; srv"));
    let sources = "site { to app }\nupstream app {\n    srv \"_a._tcp.b\"\n}\n";
    check(sources, &[add("a:1")], &sources.replace("app {\n", "app {\n    to \"a:1\"\n"));
}

#[test]
fn one_that_stands_there_twice_is_one() {
    let twice = "site { to app }\nupstream app {\n    to \"http://a:1\" \"b:1\" \"a:1\"\n    to \"a:1\" weight=3\n}\n";
    check(
        twice,
        &[set("a:1", None, None, Some(true))],
        "site { to app }\nupstream app {\n    to \"http://a:1\" weight=5 drain=#true\n    to \"b:1\"\n}\n",
    );
    check(twice, &[remove("a:1")], "site { to app }\nupstream app {\n    to \"b:1\"\n}\n");
}

#[test]
fn what_cannot_be() {
    let fails = |text: &str, changes: &[Change]| endpoints(text, "app", changes).unwrap_err();
    let name = |text: &str| Arc::<str>::from(text);
    assert_eq!(fails("upstream app {", &[]), EditError::Syntax);
    assert_eq!(fails("upstream other { to \"a:1\"; }", &[]), EditError::NoUpstream);
    assert_eq!(fails(FILE, &[remove("x:1")]), EditError::NoEndpoint(name("x:1")));
    assert_eq!(fails(FILE, &[set("x:1", None, None, None)]), EditError::NoEndpoint(name("x:1")));
    assert_eq!(fails(FILE, &[add("10.0.0.3:80")]), EditError::Exists(name("10.0.0.3:80")));
    assert_eq!(
        fails(FILE, &[add("x:1"), add("http://x:1")]),
        EditError::Exists(name("http://x:1"))
    );
    assert_eq!(fails("upstream app { to \"a:1\"; }", &[remove("a:1")]), EditError::Empty);
    // `https://` is another endpoint.
    assert!(endpoints(FILE, "app", &[add("https://10.0.0.3:80")]).is_ok());
}

fn change() -> impl Strategy<Value = Change> {
    let name = (1..6_u8).prop_map(|number| format!("10.0.0.{number}:80"));
    let max = prop::option::of(prop::option::of(1..9_u32));
    prop_oneof![
        name.clone().prop_map(|name| add(&name)),
        name.clone().prop_map(|name| remove(&name)),
        (name, prop::option::of(1..9_u16), max, any::<Option<bool>>())
            .prop_map(|(name, weight, max, drain)| set(&name, weight, max, drain)),
    ]
}

/// What the model is after the change.
fn apply(model: &mut Vec<Endpoint>, change: &Change) -> bool {
    let find = |name: &str| model.iter().position(|endpoint| *endpoint.written == *name);
    match change {
        Change::Add(new) => match find(&new.written) {
            Some(_) => return false,
            None => model.push(new.clone()),
        },
        Change::Remove(name) => match find(name) {
            Some(at) => drop(model.remove(at)),
            None => return false,
        },
        Change::Set { written, weight, max, drain } => {
            let Some(at) = find(written) else { return false };
            let endpoint = &mut model[at];
            endpoint.weight = weight.unwrap_or(endpoint.weight);
            endpoint.max = max.unwrap_or(endpoint.max);
            endpoint.draining = drain.unwrap_or(endpoint.draining);
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_was_meant(
        layout in prop::sample::select(&[
            FILE,
            "site { to app }\nupstream app { to \"10.0.0.1:80\" \"10.0.0.2:80\"; to \"10.0.0.3:80\" weight=2 }",
            "site { to app }\nupstream app {\n  to \"10.0.0.3:80\" \\\n    \"10.0.0.1:80\" max=3 ; // x\n\n  to \"10.0.0.2:80\" /- weight=3 /* y */\n}\n",
        ][..]),
        changes in prop::collection::vec(change(), 0..6),
    ) {
        let model = |text: &str| {
            let config = config::parse("x.kdl", text).unwrap().config;
            let upstream = config.upstreams.iter().find(|u| &*u.name == "app").unwrap();
            let endpoints = upstream.endpoints.iter().cloned();
            endpoints.map(|e| Endpoint { place: config::Place::default(), ..e }).collect::<Vec<_>>()
        };
        let mut expected = model(layout);
        let fits = changes.iter().all(|change| apply(&mut expected, change));
        match endpoints(layout, "app", &changes) {
            Ok(changed) => {
                prop_assert!(fits);
                // Those that are added and stay stand at the end, whatever was removed meanwhile.
                let (mut found, mut wanted) = (model(&changed), expected);
                found.sort_by(|a, b| a.written.cmp(&b.written));
                wanted.sort_by(|a, b| a.written.cmp(&b.written));
                prop_assert_eq!(found, wanted, "{}", changed);
                let comments = |text: &str| text.matches("//").count();
                prop_assert!(comments(&changed) + 1 >= comments(layout));
            }
            Err(EditError::Empty) => prop_assert!(expected.is_empty()),
            Err(_) => prop_assert!(!fits),
        }
    }
}
