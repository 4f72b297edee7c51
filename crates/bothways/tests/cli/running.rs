//! A running process: start, reload, watch, drain, and the word to systemd.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::support::{
    PATIENCE, Running, Scratch, free_address, get, origin, read_answer, send_head, slow_origin,
};

fn site(origin: SocketAddr) -> String {
    format!("site \"*\" {{\n    listen \"127.0.0.1:0\"\n    to \"{origin}\"\n}}\n")
}

#[test]
fn serves_logs_and_stops() {
    let scratch = Scratch::new();
    scratch.write("bothways.kdl", &site(origin("apples")));
    let mut running = scratch.start(&["--pid-file", "pid"]);
    assert_eq!(scratch.read("pid").trim(), running.pid().to_string());
    let answer = get(running.address(0), "/a?b");
    assert_eq!((answer.status, answer.body.as_str()), (200, "apples"));
    let record = running.next_record();
    assert!(record["target"].as_str().unwrap().ends_with("/a?b"), "{record}");
    assert_eq!(record["status"], 200);
    assert_eq!(record["decided"], "bothways.kdl:3");
    running.stop();
    assert!(!scratch.path("pid").exists());
}

#[test]
fn one_liner_serves() {
    let scratch = Scratch::new();
    let to = origin("pears").to_string();
    let line = ["reverse", "--listen", "127.0.0.1:0", "--to", &to, "--log", "json"];
    let running = scratch.start_with(&line, &[]);
    assert_eq!(get(running.address(0), "/").body, "pears");
    running.stop();
}

#[test]
fn an_address_in_use_is_explained() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("site \"*\" {{\n    listen \"{address}\"\n    respond \"hi\"\n}}\n");
    scratch.write("bothways.kdl", &text);
    let outcome = scratch.run(&["run"]).ended(1);
    outcome.complains(&address.to_string()).complains("hint: ").complains("bothways.kdl:2");
}

#[test]
fn reload_by_signal_and_a_bad_file() {
    let scratch = Scratch::new();
    let address = free_address();
    let text = |origin: SocketAddr| {
        format!("site \"*\" {{\n    listen \"{address}\"\n    to \"{origin}\"\n}}\n")
    };
    scratch.write("bothways.kdl", &text(origin("old")));
    let mut running = scratch.start(&[]);
    assert_eq!(get(address, "/").body, "old");

    scratch.write("bothways.kdl", "site \"*\" {\n    nonsense\n}\n");
    running.signal(Signal::HUP);
    let event = running.wait_for("not reloaded");
    let diagnostics = event["diagnostics"].as_str().unwrap();
    assert!(diagnostics.contains("bothways.kdl:2:5: "), "{diagnostics}");
    assert_eq!(get(address, "/").body, "old");

    scratch.write("bothways.kdl", &text(origin("new")));
    running.signal(Signal::HUP);
    running.wait_for("reloaded");
    assert_eq!(get(address, "/").body, "new");

    let another = free_address();
    let moved = text(origin("moved")).replace(&address.to_string(), &another.to_string());
    scratch.write("bothways.kdl", &moved);
    let arguments = ["reload", "--pid", &running.pid().to_string()];
    scratch.run(&arguments).ended(0);
    let event = running.wait_for("reloaded");
    assert_eq!(event["opened"], another.to_string());
    assert_eq!(event["closed"], address.to_string());
    assert_eq!(get(another, "/").body, "moved");
    refuses(address);
    running.stop();
}

#[test]
fn watch_reloads_when_a_file_changes() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("sites")).unwrap();
    scratch.write("bothways.kdl", "include \"sites/*.kdl\"\n");
    scratch.write("sites/one.kdl", &site(origin("old")));
    let mut running = scratch.start(&["--watch"]);
    let address = running.address(0);
    assert_eq!(get(address, "/").body, "old");
    // As editors do it: a new file, renamed over the old one.
    scratch.write("sites/.one.kdl.new", &site(origin("new")));
    fs::rename(scratch.path("sites/.one.kdl.new"), scratch.path("sites/one.kdl")).unwrap();
    // The start may have caused a reload of its own, if the file was very new.
    while get(address, "/").body != "new" {
        running.wait_for("reloaded");
    }
    scratch.write("sites/one.kdl", "nonsense");
    running.wait_for("not reloaded");
    assert_eq!(get(address, "/").body, "new");
    scratch.write("sites/one.kdl", &site(origin("newer")));
    running.wait_for("reloaded");
    assert_eq!(get(address, "/").body, "newer");
    running.stop();
}

#[test]
fn sigterm_lets_open_exchanges_finish() {
    let scratch = Scratch::new();
    let (address, is_asked, release) = slow_origin();
    scratch.write("bothways.kdl", &site(address));
    let mut running = scratch.start(&[]);
    let listening = running.address(0);
    let mut client = TcpStream::connect(listening).unwrap();
    send_head(&mut client, "GET /slow HTTP/1.1\r\nHost: a\r\n");
    is_asked.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    running.wait_for("stopping");
    let progress = running.wait_for("draining");
    assert!(progress["msg"].as_str().unwrap().contains("1 exchange, "), "{progress}");
    refuses(listening);
    release.send(()).unwrap();
    let answer = read_answer(client);
    assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
    running.ended(0);
}

#[test]
fn a_second_signal_stops_at_once() {
    let scratch = Scratch::new();
    let (address, is_asked, _release) = slow_origin();
    scratch.write("bothways.kdl", &site(address));
    let mut running = scratch.start(&[]);
    let mut client = TcpStream::connect(running.address(0)).unwrap();
    send_head(&mut client, "GET /slow HTTP/1.1\r\nHost: a\r\n");
    is_asked.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    running.wait_for("draining");
    running.signal(Signal::TERM);
    running.wait_for("closing connections that are still open");
    running.ended(0);
}

#[test]
fn draining_takes_no_longer_than_it_may() {
    let scratch = Scratch::new();
    let (address, is_asked, _release) = slow_origin();
    scratch.write("bothways.kdl", &format!("process {{ drain \"100ms\" }}\n{}", site(address)));
    let mut running = scratch.start(&[]);
    let mut client = TcpStream::connect(running.address(0)).unwrap();
    send_head(&mut client, "GET /slow HTTP/1.1\r\nHost: a\r\n");
    is_asked.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    let event = running.wait_for("closing connections that are still open");
    assert_eq!(event["exchanges"], 1);
    running.ended(0);
}

#[test]
fn rotated_access_log_is_opened_again() {
    let scratch = Scratch::new();
    let text = "process {\n    log access=\"access.log\"\n}\n\
                site \"*\" {\n    listen \"127.0.0.1:0\"\n    respond \"hi\"\n}\n";
    scratch.write("bothways.kdl", text);
    let mut running = scratch.start(&[]);
    let address = running.address(0);
    get(address, "/before");
    fs::rename(scratch.path("access.log"), scratch.path("access.log.1")).unwrap();
    running.signal(Signal::USR1);
    running.wait_for("log re-opened");
    running.wait_for("log re-opened");
    get(address, "/after");
    running.stop();
    assert!(scratch.read("access.log").contains("/after"));
    // A line may have been on its way when the file was moved; none is lost.
    let both = scratch.read("access.log.1") + &scratch.read("access.log");
    assert_eq!(both.matches("/before").count(), 1, "{both}");
}

/// Waits until nobody listens there.
#[track_caller]
fn refuses(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "{address} still accepts");
        std::thread::yield_now();
    }
}

fn notify_socket(scratch: &Scratch) -> (UnixDatagram, String) {
    let path = scratch.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

#[track_caller]
fn wait_for_state(socket: &UnixDatagram, state: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).expect(state);
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line == state) {
            return text;
        }
    }
}

#[test]
fn systemd_is_told() {
    let scratch = Scratch::new();
    scratch.write("bothways.kdl", &site(origin("a")));
    let (socket, path) = notify_socket(&scratch);
    let running = scratch.spawn(&["run"], &[("NOTIFY_SOCKET", &path)]);
    assert!(wait_for_state(&socket, "READY=1").contains("STATUS=serving on 127.0.0.1:0"));
    running.signal(Signal::HUP);
    assert!(wait_for_state(&socket, "RELOADING=1").contains("MONOTONIC_USEC="));
    wait_for_state(&socket, "READY=1");
    running.signal(Signal::TERM);
    assert!(wait_for_state(&socket, "STOPPING=1").contains("EXTEND_TIMEOUT_USEC="));
    running.ended(0);
}

#[test]
fn sockets_are_inherited() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!("site \"*\" {{\n    listen \"{address}\"\n    respond \"inherited\"\n}}\n");
    scratch.write("bothways.kdl", &text);
    // Connects before anybody serves, as with a service that is only now started.
    let mut early = TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    send_head(&mut early, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    let running = scratch.spawn_with_socket(
        &["run"],
        &[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "0")],
        listener,
    );
    assert_eq!(read_answer(early).body, "inherited");
    assert_eq!(get(address, "/").body, "inherited");
    running.stop();
}

#[test]
fn a_socket_that_nobody_names_is_warned_of() {
    let scratch = Scratch::new();
    let (listener, own) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_address());
    let address = listener.local_addr().unwrap();
    let text = format!("site \"*\" {{\n    listen \"{own}\"\n    respond \"own\"\n}}\n");
    scratch.write("bothways.kdl", &text);
    let environment = [("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "0")];
    let mut running = scratch.spawn_with_socket(&["run"], &environment, listener);
    let event = running.wait_for("a socket that the process was started with is not used");
    assert_eq!((&event["level"], &event["address"]), (&"warn".into(), &address.to_string().into()));
    running.wait_for("ready");
    assert_eq!(get(own, "/").body, "own");
    running.stop();
}

#[test]
fn a_limit_of_files_below_what_is_set_is_warned_of() {
    let scratch = Scratch::new();
    let text = |connections: u32| {
        format!(
            "process {{\n    connections {connections}\n}}\nsite \"*\" {{\n    listen \
             \"127.0.0.1:0\"\n    respond \"x\"\n}}\n"
        )
    };
    scratch.write("bothways.kdl", &text(100));
    let mut running = scratch.start(&[]);
    let child = Pid::from_raw(running.pid().cast_signed());
    let limit = Rlimit { current: Some(500), maximum: Some(500) };
    prlimit(child, Resource::Nofile, limit).unwrap();
    let reload = |running: &mut Running| {
        running.signal(Signal::HUP);
        running.wait_for("reloaded");
    };
    reload(&mut running);
    scratch.write("bothways.kdl", &text(1000));
    running.signal(Signal::HUP);
    let event = running.wait_for("the limit of open files is too low");
    assert_eq!((&event["connections"], &event["open_files"]), (&1000.into(), &500.into()));
    assert!(event["needed"].as_u64().unwrap() > 2000, "{event}");
    running.wait_for("reloaded");
    // What is enough was not warned of.
    let warnings = |events: Vec<Value>| events.iter().filter(|e| e["level"] == "warn").count();
    assert_eq!(warnings(running.stop()), 1);
}

#[test]
fn a_reload_that_cannot_listen_changes_nothing() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    scratch.write("bothways.kdl", &site(origin("old")));
    let mut running = scratch.start(&[]);
    let address = running.address(0);
    let more = format!(
        "site \"x\" {{\n    listen \"{}\"\n    respond \"x\"\n}}\n",
        taken.local_addr().unwrap()
    );
    scratch.write("bothways.kdl", &(site(origin("new")) + &more));
    running.signal(Signal::HUP);
    let event = running.wait_for("not reloaded");
    assert!(event["error"].as_str().unwrap().contains("cannot listen"), "{event}");
    assert_eq!(get(address, "/").body, "old");
    running.stop();
}
