//! Clients that stay: with an endpoint by a sticky cookie, with their part of a split.

use testkit::message_text::{Message, ok};
use testkit::origin::{Origin, Unreachable};
use testkit::server::TestServer;

/// An origin that answers its own name.
fn named(name: &'static str) -> Origin {
    Origin::serving(move |_| ok(name))
}

fn get(server: &TestServer, cookie: Option<&str>) -> Message {
    let mut client = server.connect();
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{cookie}\r\n"));
    client.response()
}

/// What a client sends back.
fn pair(answer: &Message) -> &str {
    let set = answer.field("Set-Cookie").expect("a cookie");
    set.split(';').next().unwrap_or_default()
}

/// An upstream with a sticky cookie, made with a key of the story's own.
fn sticky(key: &std::path::Path, endpoints: &[String], more: &str) -> String {
    format!(
        "upstream up {{\n to \"{}\"\n balance round-robin\n sticky \"BW\" key-file=\"{}\"\n {more}\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        endpoints.join("\" \""),
        key.display()
    )
}

fn key() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "a secret of the story").expect("a key");
    file
}

#[test]
fn a_cookie_leads_back_to_the_endpoint() {
    let (key, one, two) = (key(), named("one"), named("two"));
    let endpoints = [one.address().to_string(), two.address().to_string()];
    let server = TestServer::start(&sticky(key.path(), &endpoints, ""));
    let answers = [get(&server, None), get(&server, None)];
    assert_ne!(answers[0].text(), answers[1].text(), "without a cookie they take turns");
    for answer in &answers {
        for _ in 0..4 {
            let again = get(&server, Some(pair(answer)));
            assert_eq!(again.text(), answer.text());
            assert_eq!(again.field("Set-Cookie"), None, "it knows already");
        }
    }
    let forged = get(&server, Some("BW=AAAAAAAAAAAAAAAAAAAAAA"));
    assert!(forged.has("Set-Cookie"), "a cookie of somebody else's making binds nobody");
}

#[test]
fn who_is_bound_to_an_endpoint_that_is_gone_goes_elsewhere_and_stays_there() {
    let (key, one, two) = (key(), named("one"), named("two"));
    let endpoints = [one.address().to_string(), two.address().to_string()];
    let server = TestServer::start(&sticky(key.path(), &endpoints, ""));
    let bound = get(&server, None);
    // The endpoint is taken out, and the rest stands in another order.
    let left = if bound.text() == "one" { &two } else { &one };
    let gone = Unreachable::at("127.0.0.1:0");
    let rest = [gone.address().to_string(), left.address().to_string()];
    server.reload(&sticky(key.path(), &rest, "retry tries=2")).expect("a reload");
    let moved = get(&server, Some(pair(&bound)));
    assert_eq!(moved.status(), 200);
    assert_ne!(moved.text(), bound.text());
    let stays = get(&server, Some(pair(&moved)));
    assert_eq!((stays.text(), stays.field("Set-Cookie")), (moved.text(), None));
}

#[test]
fn a_cookie_means_the_same_to_a_second_proxy_with_the_key() {
    let (key, one, two) = (key(), named("one"), named("two"));
    let endpoints = [one.address().to_string(), two.address().to_string()];
    let first = TestServer::start(&sticky(key.path(), &endpoints, ""));
    let [a, b] = endpoints;
    let second = TestServer::start(&sticky(key.path(), &[b, a], ""));
    let bound = get(&first, None);
    for _ in 0..3 {
        assert_eq!(get(&second, Some(pair(&bound))).text(), bound.text());
    }
}

#[test]
fn a_draining_endpoint_keeps_those_who_are_bound_to_it() {
    let (key, one, two) = (key(), named("one"), named("two"));
    let endpoints = [one.address().to_string(), two.address().to_string()];
    let text = sticky(key.path(), &endpoints, "");
    let server = TestServer::start(&text);
    let bound = get(&server, None);
    let drained = if bound.text() == "one" { &endpoints[0] } else { &endpoints[1] };
    let before = format!("\"{}\" \"{}\"", endpoints[0], endpoints[1]);
    let other = endpoints.iter().find(|endpoint| *endpoint != drained).expect("two of them");
    let after = format!("\"{drained}\" drain=#true\n to \"{other}\"");
    server.reload(&text.replace(&before, &after)).expect("a reload");
    for _ in 0..4 {
        assert_ne!(get(&server, None).text(), bound.text(), "it gets nobody new");
        assert_eq!(get(&server, Some(pair(&bound))).text(), bound.text());
    }
}

/// A split over two upstreams.
fn split(stay: &str, one: &Origin, two: &Origin) -> String {
    format!(
        "upstream app {{ to \"{}\"; }}\nupstream canary {{ to \"{}\"; }}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n split {stay} {{ to app \"80%\"; to canary \"20%\"; }}\n}}",
        one.address(),
        two.address()
    )
}

#[test]
fn a_split_by_chance_follows_the_shares() {
    let (app, canary) = (named("app"), named("canary"));
    let server = TestServer::start(&split("stay=no", &app, &canary));
    let mut client = server.connect();
    let mut canaries = 0;
    for _ in 0..1_000 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.response();
        canaries += u32::from(answer.text() == "canary");
        assert!(!answer.has("Set-Cookie"));
    }
    // Five times the standard deviation (12.6) about 200.
    assert!((137..=263).contains(&canaries), "{canaries} of 1000");
}

#[test]
fn a_client_keeps_its_part_by_a_cookie() {
    let (app, canary) = (named("app"), named("canary"));
    let server = TestServer::start(&split("stay=cookie cookie=\"v\"", &app, &canary));
    for _ in 0..20 {
        let first = get(&server, None);
        let again = get(&server, Some(pair(&first)));
        assert_eq!((again.text(), again.field("Set-Cookie")), (first.text(), None));
    }
    assert_eq!(get(&server, Some("v=0")).text(), "app");
    assert_eq!(get(&server, Some("v=9999")).text(), "canary");
}

#[test]
fn a_client_keeps_its_part_by_its_address() {
    let (app, canary) = (named("app"), named("canary"));
    let server = TestServer::start(&split("stay=address", &app, &canary));
    let first = get(&server, None);
    for _ in 0..20 {
        assert_eq!(get(&server, None).text(), first.text());
    }
    assert!(!first.has("Set-Cookie"));
}
