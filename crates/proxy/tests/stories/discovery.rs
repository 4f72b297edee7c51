//! Endpoints that come and go while the proxy runs.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use config::{Endpoint, EndpointAddress};
use discovery::{Edit, EditError, EndpointSettings};
use proxy::MembersError;
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
fn endpoints_are_added_and_removed() {
    let (one, two) = (Origin::answering(ok("one")), Origin::answering(ok("two")));
    let server = TestServer::start(&format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\nupstream app {{ to \"{}\"; balance round-robin; }}",
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
    assert!(matches!(
        edit(Edit::Remove(name(&two))),
        Err(MembersError::Edit(EditError::NoEndpoint))
    ));
    assert!(matches!(
        edit(Edit::Add(Box::new(endpoint(&one)))),
        Err(MembersError::Edit(EditError::Exists))
    ));
    assert!(matches!(
        server.server().edit("b", Edit::Revert),
        Err(MembersError::Edit(EditError::NoUpstream))
    ));
}

#[test]
fn nobody_notices_under_load() {
    let origins: Vec<_> = (0..3).map(|_| Origin::answering(ok("hi"))).collect();
    let server = TestServer::start(&format!(
        "process {{ cores 2; log access=off; }}\n\
         site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\nupstream app {{ to \"{}\"; retry off; }}",
        origins[0].address()
    ));
    let edit = |edit| drop(server.server().edit("app", edit).unwrap());
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = server.connect();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(get(&mut client), "hi");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..60 {
            let (comes, goes) = (&origins[(round + 1) % 3], &origins[round % 3]);
            edit(Edit::Add(Box::new(endpoint(comes))));
            let so_far = served.load(Ordering::Relaxed);
            wait::until("requests", || served.load(Ordering::Relaxed) > so_far + 4);
            edit(Edit::Remove(name(goes)));
        }
        stop.store(true, Ordering::Relaxed);
    });
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
    let set = |weight| {
        Edit::Set(name(&origin), EndpointSettings { weight, ..EndpointSettings::default() })
    };
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
    let remark = || {
        let groups = server.server().groups();
        server.server().remark(&groups[0].members[0].settings)
    };
    wait::until("it is said", || {
        remark().is_some_and(|words| words.starts_with("app.internal has not been found since "))
    });
    until(&["@127.0.0.1", "@127.0.0.2", "@127.0.0.3"]);
    say(addresses(&[1, 2]));
    until(&["@127.0.0.1", "@127.0.0.2"]);
    assert_eq!(get(&mut server.connect()), "hi");
    say(addresses(&[1]));
    until(&[""]);
}

#[test]
fn services_tell_ports_weights_and_priorities() {
    let [one, two, spare] = ["one", "two", "spare"].map(|text| Origin::answering(ok(text)));
    let other_port = two.address().port();
    let services = Arc::new(Mutex::new(Reply::NoSuchName));
    let said = Arc::clone(&services);
    let names = NameServer::start(move |name| match name {
        "_http._tcp.app.internal" => said.lock().unwrap().clone(),
        "_other._tcp.app.internal" => {
            Reply::Services(vec![(0, 1, other_port, "one.internal".to_owned())], 60)
        }
        _ => Reply::Addresses(vec![[127, 0, 0, 1].into()], 60),
    });
    let say = |now: &[(u16, u16, &Origin)]| {
        let one = |(priority, weight, origin): &(u16, u16, &Origin)| {
            (*priority, *weight, origin.address().port(), "one.internal".to_owned())
        };
        *services.lock().unwrap() = Reply::Services(now.iter().map(one).collect(), 0);
    };
    say(&[(0, 10, &one), (0, 30, &two), (7, 5, &spare)]);
    let text = format!(
        "process {{ cores 1; log access=off; resolver {{ server \"{}\"; ttl-min \"100ms\"; }} }}\n\
         site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\n\
         upstream app {{ srv \"_http._tcp.app.internal\"; balance round-robin; }}",
        names.address()
    );
    let server = TestServer::start(&text);
    let told = || {
        let groups = server.server().groups();
        let mut all: Vec<_> = groups[0]
            .members
            .iter()
            .map(|m| (m.settings.priority, m.settings.weight, m.settings.written.to_string()))
            .collect();
        all.sort();
        all
    };
    let expected = |now: &[(u16, u16, &Origin)]| -> Vec<(u16, u16, String)> {
        let at = |origin: &Origin| format!("one.internal:{}", origin.address().port());
        now.iter().map(|(priority, weight, origin)| (*priority, *weight, at(origin))).collect()
    };
    let all = [(0, 10, &one), (0, 30, &two), (7, 5, &spare)];
    wait::until("three services", || told() == expected(&all));
    assert_eq!(server.server().sources("app").unwrap()[0].found, 3);
    // Other weights, and one that has gone.
    say(&[(0, 0, &one), (0, 500, &two)]);
    wait::until("two services", || told() == expected(&[(0, 1, &one), (0, 1000, &two)]));
    assert_eq!(get(&mut server.connect()), "two");
    // The name server fails: they stay, and it is said.
    *services.lock().unwrap() = Reply::Failure;
    let problem = || server.server().sources("app").unwrap()[0].problem.clone();
    wait::until("it is said", || problem().is_some());
    assert_eq!(told().len(), 2);
    // RFC 2782: there is no such service.
    *services.lock().unwrap() = Reply::Services(vec![(0, 0, 0, ".".to_owned())], 0);
    wait::until("no services", || told().is_empty());
    assert!(problem().is_none());
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 503);
    say(&[(0, 10, &one)]);
    wait::until("one service", || told().len() == 1);
    assert_eq!(get(&mut client), "one");
    // What a reload brings is looked up before it serves.
    server.reload(&text.replace("_http._tcp", "_other._tcp")).unwrap();
    assert_eq!(told().len(), 1);
    assert_eq!(get(&mut client), "two");
}

#[test]
fn a_file_of_endpoints_is_missing_comes_changes_and_breaks() {
    let (one, two) = (Origin::answering(ok("one")), Origin::answering(ok("two")));
    let directory = tempfile::tempdir().unwrap();
    let (file, other) = (directory.path().join("app.json"), directory.path().join("new"));
    let text = format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\n\
         upstream app {{ endpoints \"{}\"; }}",
        file.display()
    );
    let server = TestServer::start(&text);
    let source = || server.server().sources("app").unwrap().remove(0);
    assert!(source().problem.is_some());
    let replace = |content: String| {
        std::fs::write(&other, content).unwrap();
        std::fs::rename(&other, &file).unwrap();
    };
    let list = |all: &[&Origin]| {
        let one = |origin: &&Origin| format!("{{\"address\": \"{}\"}}", origin.address());
        format!("[{}]", all.iter().map(one).collect::<Vec<_>>().join(","))
    };
    replace(list(&[&one]));
    let until = |expected: &[&Origin]| {
        let expected: Vec<_> = expected.iter().map(|one| one.address().to_string()).collect();
        wait::until("these endpoints", || members(&server) == expected);
    };
    until(&[&one]);
    assert_eq!(get(&mut server.connect()), "one");
    replace(list(&[&one, &two]));
    until(&[&one, &two]);
    replace(list(&[&one, &two]).replace("address", "adress"));
    wait::until("it is said", || {
        source()
            .problem
            .is_some_and(|(_, words)| words.starts_with("line 1, column 2: endpoints[0]"))
    });
    until(&[&one, &two]);
    // A reload that fails, or one that does not, forgets nothing that was read before the file broke.
    let taken = std::net::TcpListener::bind("127.0.0.9:0").unwrap();
    let elsewhere =
        format!("site \"*\" {{ listen \"{}\"; respond \"x\"; }}", taken.local_addr().unwrap());
    assert!(server.reload(&elsewhere).is_err());
    server.reload(&format!("{text}\n// moved")).unwrap();
    until(&[&one, &two]);
    std::fs::write(&file, list(&[&two])).unwrap();
    until(&[&two]);
    assert!(source().problem.is_none());
    assert_eq!(get(&mut server.connect()), "two");
}
