//! Files of a directory.

use std::fs;
use std::io::Write;
use std::path::Path;

use testkit::message_text::Message;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;

fn serve(root: &Path, more: &str) -> TestServer {
    TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/static/*\" {{ strip-prefix \"/static\"; files \"{0}\"; }}
             files \"{0}\" {{ {more}; }}
         }}",
        root.display()
    ))
}

#[track_caller]
fn ask(client: &mut Peer, request: &str, fields: &str) -> Message {
    client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response_to(request.split(' ').next().unwrap())
}

#[test]
fn files_whole_in_part_and_not_modified() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("index.html"), "<p>home").unwrap();
    fs::write(root.join("ten.txt"), "0123456789").unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    let server = serve(root, "listing #false");
    let mut client = server.connect();
    let home = ask(&mut client, "GET /", "");
    assert_eq!((home.status(), home.text()), (200, "<p>home"));
    assert!(home.field("Content-Type").unwrap().starts_with("text/html"));
    let ten = ask(&mut client, "GET /static/ten.txt?v=1", "");
    assert_eq!((ten.text(), ten.field("Accept-Ranges")), ("0123456789", Some("bytes")));
    let tag = ten.field("ETag").unwrap().to_owned();
    // RFC 9110, section 9.3.2: as for GET, without the body.
    let head = ask(&mut client, "HEAD /ten.txt", "");
    assert_eq!((head.status(), head.length(), head.field("ETag")), (200, Some(10), Some(&*tag)));
    let part = ask(&mut client, "GET /ten.txt", "Range: bytes=2-4\r\n");
    assert_eq!((part.status(), part.text()), (206, "234"));
    assert_eq!(part.field("Content-Range"), Some("bytes 2-4/10"));
    let last = ask(&mut client, "GET /ten.txt", "Range: bytes=-3\r\n");
    assert_eq!((last.status(), last.text()), (206, "789"));
    let beyond = ask(&mut client, "GET /ten.txt", "Range: bytes=10-\r\n");
    assert_eq!((beyond.status(), beyond.field("Content-Range")), (416, Some("bytes */10")));
    let same = ask(&mut client, "GET /ten.txt", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(same.status(), 304);
    let other = ask(&mut client, "GET /ten.txt", "If-Range: \"other\"\r\nRange: bytes=2-4\r\n");
    assert_eq!((other.status(), other.text()), (200, "0123456789"));
    let post = ask(&mut client, "POST /ten.txt", "Content-Length: 0\r\n");
    assert_eq!(post.status(), 405);
    let sub = ask(&mut client, "GET /sub", "");
    assert!(matches!(sub.status(), 301 | 302 | 307 | 308), "{sub:?}");
    assert_eq!(ask(&mut client, "GET /sub/", "").status(), 404);
    assert_eq!(ask(&mut client, "GET /missing", "").status(), 404);
}

#[test]
fn nothing_outside_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("www");
    fs::create_dir(&root).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    fs::write(root.join(".hidden"), "secret").unwrap();
    fs::write(root.join("file"), "file").unwrap();
    std::os::unix::fs::symlink(directory.path().join("secret"), root.join("link")).unwrap();
    std::os::unix::fs::symlink("/", root.join("slash")).unwrap();
    let server = serve(&root, "listing #true");
    let paths = [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/static/../../secret",
        "/static/..%2f..%2fsecret",
        "/link",
        "/slash/etc/passwd",
        "/.hidden",
        "/file/",
        "/file/x",
        "//etc/passwd",
        "/static//etc/passwd",
        "/static/%2e%2e/secret",
        "/..\\secret",
        "/..%5csecret",
        "/file%00.txt",
        "/%2fetc/passwd",
    ];
    for path in paths {
        let mut client = server.connect();
        let answer = ask(&mut client, &format!("GET {path}"), "");
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {answer:?}");
        assert!(
            !answer.text().contains("secret\n") && answer.text() != "secret",
            "{path}: {answer:?}"
        );
        assert!(!answer.text().contains("root:"), "{path}: {answer:?}");
    }
    let mut client = server.connect();
    let listing = ask(&mut client, "GET /", "");
    assert!(listing.text().contains("file") && !listing.text().contains(".hidden"), "{listing:?}");
}

#[test]
fn a_large_file_arrives_unchanged_and_a_slow_reader_costs_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..9_000_001u32).map(|index| ((index * 31) >> 3) as u8).collect();
    fs::write(directory.path().join("large"), &body).unwrap();
    let server = serve(directory.path(), "listing #false");
    let mut client = Peer::connect_narrow(server.address());
    for _ in 0..2 {
        let answer = ask(&mut client, "GET /large", "");
        assert!(answer.body == body, "{}", answer.body.len());
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_no_complete_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&vec![b'x'; 64 * 1024 * 1024]).unwrap();
    let server = serve(directory.path(), "listing #false");
    let mut client = Peer::connect_narrow(server.address());
    client.send("GET /log HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().length(), Some(64 * 1024 * 1024));
    file.set_len(1000).unwrap();
    let broken = client.rest();
    assert_eq!(broken.1, ConnectionEnd::Reset);
    assert!(broken.0.len() < 64 * 1024 * 1024);
}
