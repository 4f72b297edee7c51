//! Endpoints that come and go while the proxy runs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};

use config::{Endpoint, EndpointAddress};
use proxy::{Edit, EditError, Settings};
use testkit::message_text::ok;
use testkit::names::{NameServer, Reply};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;

#[track_caller]
fn get(client: &mut Peer) -> String {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 200, "{response:?}");
    response.text().to_owned()
}

fn endpoint(origin: &Origin) -> Endpoint {
    let address = origin.address();
    Endpoint::new(address.to_string(), EndpointAddress::Ip(address))
}

/// How it is written.
fn name(origin: &Origin) -> Arc<str> {
    origin.address().to_string().into()
}

/// Names of the members of the only upstream.
fn members(server: &TestServer) -> Vec<String> {
    let groups = server.server().groups();
    groups[0].members.iter().map(|member| member.settings.written.to_string()).collect()
}

#[test]
fn endpoints_are_added_and_removed_under_load() {
    let (one, two) = (Origin::answering(ok("one")), Origin::answering(ok("two")));
    let server = TestServer::start(&format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\nupstream app {{ to \"{}\"; }}",
        one.address()
    ));
    let mut client = server.connect();
    let edit = |edit| server.server().edit("app", edit);
    for _ in 0..20 {
        assert_eq!(get(&mut client), "one");
        edit(Edit::Add(Box::new(endpoint(&two)))).unwrap();
        let both = [get(&mut client), get(&mut client), get(&mut client), get(&mut client)];
        assert_eq!(both.iter().filter(|text| *text == "one").count(), 2, "{both:?}");
        edit(Edit::Remove(name(&one))).unwrap();
        assert_eq!(get(&mut client), "two");
        edit(Edit::Add(Box::new(endpoint(&one)))).unwrap();
        edit(Edit::Remove(name(&two))).unwrap();
    }
    assert!(server.server().changes("app").is_empty());
    assert!(matches!(edit(Edit::Remove(name(&two))), Err(EditError::NoEndpoint)));
    assert!(matches!(edit(Edit::Add(Box::new(endpoint(&one)))), Err(EditError::Exists)));
    assert!(matches!(server.server().edit("b", Edit::Revert), Err(EditError::NoUpstream)));
}

#[test]
fn a_request_to_an_endpoint_that_is_removed_ends_well() {
    let (go, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let both = Mutex::new((tell, wait));
    let slow = Origin::start(move |peer, _| {
        peer.request();
        let both = both.lock().unwrap();
        both.0.send(()).unwrap();
        both.1.recv().unwrap();
        peer.send(ok("slow"));
    });
    let fast = Origin::answering(ok("fast"));
    let server = TestServer::reverse(slow.address(), "");
    let upstream = server.server().config().upstreams[0].name.clone();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv().unwrap();
    server.server().edit(&upstream, Edit::Add(Box::new(endpoint(&fast)))).unwrap();
    server.server().edit(&upstream, Edit::Remove(name(&slow))).unwrap();
    assert_eq!(get(&mut server.connect()), "fast");
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "slow");
    assert_eq!(get(&mut client), "fast");
}

#[test]
fn reloads_keep_what_was_set_until_it_is_reverted() {
    let origin = Origin::answering(ok("hi"));
    let text = |more: &str| {
        format!(
            "site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\nupstream app {{ to \"{}\" {more}; }}",
            origin.address()
        )
    };
    let server = TestServer::start(&text("weight=2"));
    let weight = || server.server().groups()[0].members[0].settings.weight;
    let set = |weight| Edit::Set(name(&origin), Settings { weight, ..Settings::default() });
    let edited = server.server().edit("app", set(Some(7))).unwrap();
    assert_eq!((edited.before.unwrap().weight, edited.after.unwrap().weight), (2, 7));
    assert_eq!(weight(), 7);
    server.reload(&text("weight=3")).unwrap();
    assert_eq!(weight(), 7);
    server.server().edit("app", Edit::Revert).unwrap();
    assert_eq!(weight(), 3);
    // What is set to what is written is no change.
    server.server().edit("app", set(Some(3))).unwrap();
    assert!(server.server().changes("app").is_empty());
    assert_eq!(get(&mut server.connect()), "hi");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn names_grow_shrink_and_keep_their_last_addresses() {
    let reply = Arc::new(Mutex::new(Reply::Addresses(Vec::new(), 1)));
    let said = Arc::clone(&reply);
    let names = NameServer::start(move |_| said.lock().unwrap().clone());
    let say = |reply_now: Reply| *reply.lock().unwrap() = reply_now;
    let addresses = |last: &[u8]| {
        let ips = last.iter().map(|last| IpAddr::from([127, 0, 0, *last])).collect();
        Reply::Addresses(ips, 0)
    };
    say(addresses(&[1]));
    let origin = Origin::answering(ok("hi"));
    let port = origin.address().port();
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=off; resolver {{ server \"{}\"; ttl-min \"100ms\"; }} }}\n\
         site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\n\
         upstream app {{ to \"app.internal:{port}\"; }}",
        names.address()
    ));
    let until = |expected: &[&str]| {
        let expected: Vec<_> =
            expected.iter().map(|at| format!("app.internal:{port}{at}")).collect();
        wait::until("these members", || members(&server) == expected);
    };
    assert_eq!(get(&mut server.connect()), "hi");
    until(&[""]);
    say(addresses(&[3, 1, 2]));
    until(&["@127.0.0.1", "@127.0.0.2", "@127.0.0.3"]);
    say(Reply::NoSuchName);
    let so_far = names.questions();
    wait::until("the name is asked for", || names.questions() > so_far + 3);
    until(&["@127.0.0.1", "@127.0.0.2", "@127.0.0.3"]);
    say(addresses(&[1, 2]));
    until(&["@127.0.0.1", "@127.0.0.2"]);
    assert_eq!(get(&mut server.connect()), "hi");
    say(addresses(&[1]));
    until(&[""]);
}
