//! `explain` with what decides between upstreams and endpoints: cookies that bind clients, splits.

use serde_json::Value;

use crate::support::{Outcome, Scratch, free_address, get, origin};

#[track_caller]
fn explain(scratch: &Scratch, url: &str, arguments: &[&str]) -> Outcome {
    scratch.run(&[&["explain", url], arguments].concat()).ended(0)
}

#[track_caller]
fn explain_json(scratch: &Scratch, url: &str, arguments: &[&str]) -> Value {
    let all = [arguments, &["--json"]].concat();
    serde_json::from_str(&explain(scratch, url, &all).out).unwrap()
}

#[test]
fn the_endpoint_of_a_sticky_cookie() {
    let scratch = Scratch::new();
    let (listen, a, b) = (free_address(), origin("a"), origin("b"));
    let write = |endpoints: &str, key: &str| {
        scratch.write(
            "bothways.kdl",
            &format!(
                "process {{ state \"state\" }}\nsite \"*\" {{\n    listen \"{listen}\"\n    host endpoint\n    \
                 to app\n}}\nupstream app {{\n    to {endpoints}\n    sticky \"BW\" {key}\n}}\n"
            ),
        )
    };
    let (key, both) = ("key-file=\"key\"", format!("\"{a}\" \"{b}\" weight=1"));
    scratch.write("key", "a-secret-of-some-length\n");
    write(&both, key);
    let running = scratch.start(&[]);
    let answer = get(listen, "/");
    running.stop();
    let cookie = answer.head.split("Set-Cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let field = format!("Cookie: x=1; {cookie}");
    let url = &format!("http://{listen}/");
    let (number, at, other) = if answer.body == "a" { (1, a, b) } else { (2, b, a) };

    let told = explain(&scratch, url, &["-H", &field]);
    told.says(&format!("cookie BW: names endpoint {number} of 2, {at}, which is used"))
        .says("<- bothways.kdl:9")
        .says("100 %  the cookie BW names it")
        .says("0 %  if that one is down: ")
        .says(&format!("\n  Host: {at}\n"));
    let told = explain_json(&scratch, url, &["-H", &field]);
    let app = &told["endpoints"][0];
    assert_eq!(app["sticky"]["kind"], "endpoint", "{app:#}");
    assert_eq!(app["sticky"]["endpoint"], at.to_string());
    assert_eq!(app["choices"][0]["endpoint"], at.to_string());
    assert_eq!(app["choices"][1]["share"], 0.0);

    // Another place is the same endpoint, and how many requests it may have is told.
    write(&format!("\"{other}\"\n    to \"{at}\" max=7"), key);
    explain(&scratch, url, &["-H", &field])
        .says(&format!("names endpoint 2 of 2, {at}"))
        .says("the cookie BW names it; if it has 7 requests, the request waits");
    write(&format!("\"{other}\"\n    to \"{at}\" drain=#true"), key);
    explain(&scratch, url, &["-H", &field]).says("it is draining, and keeps its clients");

    #[track_caller]
    fn check(scratch: &Scratch, url: &str, field: &str, kind: &str, words: &str) {
        let told = explain_json(scratch, url, &["-H", field]);
        assert_eq!(told["endpoints"][0]["sticky"]["kind"], kind, "{told:#}");
        explain(scratch, url, &["-H", field]).says(words);
    }
    check(&scratch, url, "Cookie: x=1", "missing", "cookie BW: the request has none");
    check(&scratch, url, "Cookie: BW=bm90LW1hZGUtYnktdXM", "unknown", "it is forged, made with");
    // Its endpoint is gone.
    write(&format!("\"{other}\""), key);
    check(&scratch, url, &field, "unknown", "its endpoint is gone; unless the process knows it");
    write(&format!("\"{other}\"\n    endpoints \"more.json\""), key);
    check(&scratch, url, &field, "unknown", "gone or was found at run time");
    // Another key, and none that is known: nothing is made by looking.
    write(&both, key);
    scratch.write("key", "another-secret-of-some-length\n");
    check(&scratch, url, &field, "unknown", "made with another key");
    write(&both, "");
    check(&scratch, url, &field, "no-key", "makes one at random, which it alone knows");
    assert!(!scratch.path("state").exists());
}

#[test]
fn the_part_of_a_split() {
    let scratch = Scratch::new();
    let write = |stay: &str| {
        scratch.write(
            "bothways.kdl",
            &format!(
                "upstream app {{ to \"127.0.0.1:9001\"; }}\nupstream canary {{ to \"127.0.0.1:9002\"; }}\n\
                 site \"shop.example\" {{\n    listen \"127.0.0.1:8080\"\n    host endpoint\n    split {stay} {{\n        \
                 to app \"95%\"\n        to canary \"5%\"\n    }}\n}}\n"
            ),
        )
    };
    let url = "http://shop.example:8080/";
    write("stay=cookie cookie=\"v\"");
    let told = explain(&scratch, url, &["-H", "Cookie: v=9500"]);
    let told = told
        .says("part of the split: the cookie v has point 9500")
        .says("app      95 %  points 0 to 9499  <- bothways.kdl:7")
        .says("canary    5 %  points 9500 to 9999  this one  <- bothways.kdl:8")
        .says("Host: 127.0.0.1:9002\n")
        .says("picked in canary");
    assert!(!told.out.contains("picked in app"), "{}", told.out);
    let told = explain_json(&scratch, url, &["-H", "Cookie: v=0"]);
    assert_eq!(told["split"]["part"], "app", "{told:#}");
    assert_eq!(told["split"]["point"], 0);
    assert_eq!(told["endpoints"].as_array().unwrap().len(), 1);
    for unusable in ["Cookie: v=10000", "Cookie: w=1"] {
        let told = explain(&scratch, url, &["-H", unusable]);
        let told = told
            .says("drawn at random, as the request has no valid cookie v")
            .says("picked in app");
        assert!(!told.says("picked in canary").out.contains("this one"));
    }

    write("stay=no");
    let told = explain_json(&scratch, url, &[]);
    assert_eq!(told["split"]["part"], Value::Null);
    assert_eq!(told["split"]["why"], "drawn at random for each request");

    // By address, each client has its part for good.
    write("");
    let part = |last: u8| {
        let client = format!("192.0.2.{last}");
        let told = explain_json(&scratch, url, &["--from", &client]);
        let (point, part) = (told["split"]["point"].as_u64(), told["split"]["part"].clone());
        let why = format!("the address {client} has point {}", point.unwrap());
        assert_eq!(told["split"]["why"], why);
        assert_eq!(part, if point >= Some(9500) { "canary" } else { "app" });
        part
    };
    assert_eq!(part(1), part(1));
}
