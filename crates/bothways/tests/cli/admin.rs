//! The admin interface of a running process, and `bothways reload`.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::support::{
    Answer, PATIENCE, Running, Scratch, ask, free_address, get, read_answer, send_head, slow_origin,
};

fn text(admin: &str, body: &str) -> String {
    format!(
        "process {{\n    admin \"{admin}\"\n}}\nsite \"*\" {{\n    listen \"127.0.0.1:0\"\n    \
         respond \"{body}\"\n}}\n"
    )
}

fn start() -> (Scratch, Running, SocketAddr) {
    let scratch = Scratch::new();
    let admin = free_address();
    scratch.write("bothways.kdl", &text(&admin.to_string(), "old"));
    let running = scratch.start(&[]);
    (scratch, running, admin)
}

#[test]
fn pages() {
    let (scratch, running, admin) = start();
    assert_eq!(get(admin, "/healthz").status, 200);
    assert_eq!(get(admin, "/readyz").status, 200);
    let index = get(admin, "/");
    assert!(index.body.contains("href=\"/metrics\""), "{index:?}");
    let head = index.head.to_ascii_lowercase();
    assert!(head.contains("content-security-policy:") && head.contains("nosniff"), "{head}");

    assert_eq!(get(running.address(0), "/").body, "old");
    let metrics = get(admin, "/metrics");
    for name in ["bothways_requests_total", "bothways_config_last_reload_successful 1"] {
        assert!(metrics.body.contains(name), "{name}: {}", metrics.body);
    }
    let config = get(admin, "/config");
    assert!(config.body.contains("bothways.kdl:"), "{config:?}");
    let json = with(admin, "/config", "Accept: application/json");
    assert!(serde_json::from_str::<serde_json::Value>(&json.body).is_ok_and(|v| !v.is_null()));

    assert_eq!(get(admin, "/nothing").status, 404);
    let wrong =
        ask(admin, &format!("POST /metrics HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n"));
    assert_eq!(wrong.status, 405);
    assert_eq!(get(admin, "/reload").status, 405);
    // What another program of this machine may see is not what it may do.
    let post = format!("POST /reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n");
    let refused = ask(admin, &post);
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("admin-token"), "{refused:?}");
    let token = scratch.read("state/admin-token");
    let with_token = format!("{post}Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(ask(admin, &with_token).status, 200);
    running.stop();
}

#[test]
fn a_token_file_is_for_reading_too() {
    let scratch = Scratch::new();
    let admin = free_address();
    let token = scratch.write("token", "a-token-of-some-length\n");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let with = |more: &str| {
        text(&format!("{admin}\" token-file=\"token\"{more} // "), "old").replace(" // \"\n", "\n")
    };
    scratch.write("bothways.kdl", &with(""));
    let mut running = scratch.start(&[]);
    for page in ["/", "/metrics", "/config", "/certificates", "/upstreams", "/nothing"] {
        assert_eq!(get(admin, page).status, 401, "{page}");
        let field = "Authorization: Bearer a-token-of-some-length";
        let expected = if page == "/nothing" { 404 } else { 200 };
        assert_eq!(self::with(admin, page, field).status, expected, "{page}");
    }
    for page in ["/healthz", "/readyz"] {
        assert_eq!(get(admin, page).status, 200, "{page}");
    }
    // The command line finds it.
    scratch.run(&["upstreams", "--once"]).ended(0);
    scratch.write("bothways.kdl", &with(" metrics=open"));
    scratch.run(&["reload"]).ended(0).says("reloaded");
    running.wait_for("reloaded");
    assert_eq!(get(admin, "/metrics").status, 200);
    assert_eq!(get(admin, "/config").status, 401);
    running.stop();
}

#[test]
fn idle_connections_do_not_keep_others_out() {
    let (_scratch, running, admin) = start();
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(admin).unwrap()).collect();
    assert_eq!(get(admin, "/healthz").status, 200);
    drop(idle);
    running.stop();
}

#[test]
fn secrets_are_masked() {
    let scratch = Scratch::new();
    let admin = free_address();
    let text = text(&admin.to_string(), "hi").replace(
        "    respond",
        "    request {\n        set \"Authorization\" \"Bearer s3cret\"\n        \
         set \"X-Plain\" \"s3en\"\n        set \"X-Own\" \"s3cret\" secret=#true\n    }\n    respond",
    );
    scratch.write("bothways.kdl", &text);
    let running = scratch.start(&[]);
    for accept in ["text/plain", "application/json"] {
        let page = with(admin, "/config", &format!("Accept: {accept}")).body;
        assert!(page.contains("s3en") && !page.contains("s3cret"), "{page}");
    }
    let shown = scratch.run(&["show"]).ended(0).out;
    assert!(
        shown.contains("set \"Authorization\" \"***\"") && !shown.contains("s3cret"),
        "{shown}"
    );
    scratch.run(&["show", "--secrets"]).ended(0).says("Bearer s3cret");
    scratch.run(&["show", "--secrets", "--json"]).ended(0).says("Bearer s3cret");
    running.stop();
}

#[test]
fn a_file_that_was_emptied_closes_nothing() {
    let scratch = Scratch::new();
    let admin = free_address();
    let site = "site \"a.example\" {\n    listen \"127.0.0.1:0\"\n    respond \"a\"\n}\n";
    let main = text(&admin.to_string(), "old") + "include \"sites/*.kdl\" \"own.kdl\"\n";
    scratch.write("bothways.kdl", &main);
    std::fs::create_dir(scratch.path("sites")).unwrap();
    scratch.write("sites/a.kdl", site);
    scratch.write("own.kdl", &site.replace("a.example", "own.example"));
    let mut running = scratch.start(&[]);
    let at = admin.to_string();
    let reload =
        |arguments: &[&str]| scratch.run(&[&["reload", "--admin", &at], arguments].concat());
    let process_alone = main.split("site").next().unwrap().to_owned();
    for (file, text, words) in [
        ("bothways.kdl", "", "is empty: every listener would be closed"),
        ("bothways.kdl", "// gone\n", "is empty: every listener"),
        ("bothways.kdl", &process_alone, "has no site and no forward: every listener"),
        ("own.kdl", "\n", "own.kdl is empty, and was not before"),
        ("sites/a.kdl", "", "a.kdl is empty, and was not before"),
    ] {
        let before = scratch.read(file);
        scratch.write(file, text);
        let outcome = reload(&[]).ended(78);
        outcome.complains(words).complains("--allow-empty").complains("not reloaded");
        running.wait_for("not reloaded");
        assert_eq!(get(running.address(0), "/").body, "old");
        scratch.write(file, &before);
    }
    std::fs::remove_file(scratch.path("sites/a.kdl")).unwrap();
    reload(&[]).ended(78).complains("every file that was included from");
    reload(&["--allow-empty"]).ended(0).says("reloaded");
    reload(&[]).ended(0);
    // A process that would serve nothing does not start either.
    scratch.write("bothways.kdl", &process_alone);
    scratch.run(&["run", "--config", "bothways.kdl"]).ended(78).complains("nothing is served");
    scratch.run(&["check"]).ended(78).complains("nothing is served");
    scratch.write("bothways.kdl", "");
    scratch.run(&["run", "--config", "bothways.kdl"]).ended(78).complains("the file is empty");
    running.stop();
}

fn with(admin: SocketAddr, path: &str, field: &str) -> Answer {
    ask(admin, &format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n{field}\r\n"))
}

#[test]
fn pages_of_other_origins_get_nothing() {
    let (scratch, running, admin) = start();
    let as_host =
        |host: &str| ask(admin, &format!("GET /config HTTP/1.1\r\nHost: {host}\r\n")).status;
    assert_eq!(as_host("rebound.example"), 403);
    assert_eq!(as_host(&format!("rebound.example:{}", admin.port())), 403);
    assert_eq!(as_host("localhost"), 200);
    assert_eq!(with(admin, "/config", "Origin: http://evil.example").status, 403);
    assert_eq!(with(admin, "/config", "Origin: null").status, 403);
    assert_eq!(with(admin, "/config", &format!("Origin: http://{admin}")).status, 200);
    scratch.write("bothways.kdl", "nonsense");
    let post = format!("POST /reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n");
    assert_eq!(ask(admin, &format!("{post}Origin: http://evil.example\r\n")).status, 403);
    running.stop();
}

#[test]
fn heads_are_bounded() {
    let (_scratch, running, admin) = start();
    let long = "x".repeat(64 * 1024);
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may close before all is written, so writing may fail.
    let _ = std::io::Write::write_all(
        &mut stream,
        format!("GET / HTTP/1.1\r\nHost: {admin}\r\nX: {long}\r\n\r\n").as_bytes(),
    );
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
    assert_eq!(get(admin, "/healthz").status, 200);
    running.stop();
}

#[test]
fn reload_answers() {
    let (scratch, mut running, admin) = start();
    scratch.write("bothways.kdl", &text(&admin.to_string(), "new"));
    scratch.run(&["reload"]).ended(0).says("reloaded: configuration 2 is active");
    running.wait_for("reloaded");
    assert_eq!(get(running.address(0), "/").body, "new");

    scratch.write("bothways.kdl", "site \"*\" {\n    nonsense\n}\n");
    // By the file's admin address: the file is wrong, which is said without asking.
    scratch.run(&["reload"]).ended(78).complains("bothways.kdl:2:5: ");
    // By address: the running process says it.
    let admin = admin.to_string();
    let outcome = scratch.run(&["reload", "--admin", &admin]).ended(78);
    outcome.complains("bothways.kdl:2:5: ").complains("not reloaded: ");
    running.wait_for("not reloaded");
    assert_eq!(get(running.address(0), "/").body, "new");
    let metrics = get(admin.parse().unwrap(), "/metrics").body;
    assert!(metrics.contains("bothways_config_last_reload_successful 0"), "{metrics}");
    running.stop();
    scratch.run(&["reload", "--admin", &admin]).ended(1).complains("no response");
}

#[test]
fn unix_socket_and_moving_house() {
    let scratch = Scratch::new();
    let socket = scratch.path("admin.sock");
    let written = format!("unix:{}", socket.display());
    scratch.write("bothways.kdl", &text(&written, "old"));
    let mut running = scratch.start(&[]);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&socket).unwrap();
    send_head(&mut stream, "GET /healthz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n");
    assert_eq!(read_answer(stream).status, 200);

    let elsewhere = free_address();
    scratch.write("bothways.kdl", &text(&elsewhere.to_string(), "new"));
    scratch.run(&["reload", "--admin", &written]).ended(0);
    running.wait_for("reloaded");
    assert!(!socket.exists());
    assert_eq!(get(elsewhere, "/readyz").status, 200);
    running.stop();
}

#[test]
fn not_ready_while_draining() {
    let scratch = Scratch::new();
    let admin = free_address();
    let (origin, is_asked, release) = slow_origin();
    let text = format!(
        "process {{\n    admin \"{admin}\"\n}}\nsite \"*\" {{\n    listen \"127.0.0.1:0\"\n    to \"{origin}\"\n}}\n"
    );
    scratch.write("bothways.kdl", &text);
    let mut running = scratch.start(&[]);
    let mut client = TcpStream::connect(running.address(0)).unwrap();
    send_head(&mut client, "GET /slow HTTP/1.1\r\nHost: a\r\n");
    is_asked.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    running.wait_for("stopping");
    let token = scratch.read("state/admin-token");
    let answer = get(admin, "/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    assert_eq!(get(admin, "/healthz").status, 200);
    let post = format!(
        "POST /reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nAuthorization: Bearer {}\r\n",
        token.trim()
    );
    assert_eq!(ask(admin, &post).status, 503);
    release.send(()).unwrap();
    assert_eq!(read_answer(client).body, "late");
    running.ended(0);
}
