use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use config::FileServing;
use message::{Method, Request, Scheme};
use tempfile::TempDir;

use super::{Answer, Body, Directories, FileError, FileRequest, answer};

/// A directory to be served, beside something that must not be.
struct Fixture {
    directory: TempDir,
    serving: FileServing,
}

/// When the files of the fixture were last changed: Sun, 06 Nov 1994 08:49:37 GMT.
fn changed() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    for path in ["sub/deep", "empty", ".git", ".well-known", "indexed"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for (path, text) in [
        ("digits.txt", "0123456789"),
        ("index.html", "<p>start"),
        ("indexed/index.html", "<p>indexed"),
        ("sub/a b.css", "a{}"),
        ("sub/<&>.txt", "x"),
        ("sub/deep/file", "deep"),
        (".git/config", "secret"),
        (".well-known/token", "token"),
        ("nothing.bin", ""),
        ("../secret.txt", "secret"),
    ] {
        let path = root.join(path);
        fs::write(&path, text).unwrap();
        fs::File::open(&path).unwrap().set_modified(changed()).unwrap();
    }
    symlink("../secret.txt", root.join("out.txt")).unwrap();
    symlink("/etc/hostname", root.join("absolute.txt")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("sub/deep", root.join("in")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let serving = FileServing::new(root);
    Fixture { directory, serving }
}

impl Fixture {
    /// The answer to `GET /path`, with more fields.
    fn ask(&self, asked: &str, fields: &[(&str, &str)]) -> Result<Answer, &'static str> {
        let (method, path) = asked.split_once(' ').unwrap();
        let mut request =
            Request { method: Method::parse(method.as_bytes()).unwrap(), ..Request::default() };
        let Request { method, target, .. } = &mut request;
        target.parse(method, path.as_bytes(), Some(b"a.example"), Scheme::Http).unwrap();
        for (name, value) in fields {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        let (path, now) = (request.target.sent_path(), SystemTime::now());
        let asked = FileRequest {
            serving: &self.serving,
            request: &request,
            path,
            directories: Directories::Redirect,
            now,
        };
        let answer = run(answer(&asked));
        answer.map_err(|error| match error {
            FileError::NotFound => "not found",
            FileError::Denied => "denied",
            FileError::Failed(_) => "failed",
        })
    }

    /// Status, body and the fields with these names, in short.
    fn describe(&self, asked: &str, fields: &[(&str, &str)], names: &[&str]) -> String {
        match self.ask(asked, fields) {
            Err(error) => error.to_owned(),
            Ok(answer) => {
                let status = answer.status;
                let fields: String = answer
                    .fields
                    .iter()
                    .filter(|(name, _)| names.contains(name))
                    .map(|(name, value)| format!(" {name}: {value}"))
                    .collect();
                format!("{status}{fields} {}", text(answer))
            }
        }
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The whole body; checks that it is as long as it says.
fn text(answer: Answer) -> String {
    let bytes = match answer.body {
        Body::Empty => return String::new(),
        Body::Text(text) => text,
        Body::File(mut file) => run(async {
            let (mut all, mut piece) = (Vec::new(), Vec::new());
            loop {
                match file.read(&mut piece, 64 * 1024).await.unwrap() {
                    0 => break all,
                    count => all.extend_from_slice(&piece[..count]),
                }
            }
        }),
    };
    assert_eq!(answer.length, Some(bytes.len() as u64));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn whole_files() {
    let fixture = fixture();
    let answer = fixture.ask("GET /digits.txt", &[]).unwrap();
    let etag = format!("\"{:x}-a\"", 784_111_777_000_000_000_i64);
    let expected = [
        ("ETag", etag.as_str()),
        ("Last-Modified", CHANGED),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "text/plain; charset=utf-8"),
    ];
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields, expected.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(text(answer), "0123456789");
    let check =
        |asked: &str, expected: &str| assert_eq!(fixture.describe(asked, &[], &[]), expected);
    check("GET /sub/a%20b.css", "200 a{}");
    check("GET /sub/a%20b.css?v=1", "200 a{}");
    check("GET /sub/deep/file", "200 deep");
    check("GET /in/file", "200 deep"); // by a link that stays inside
    check("GET /nothing.bin", "200 ");
    check("GET /.well-known/token", "200 token");
    check("GET /", "200 <p>start");
    check("GET /indexed/", "200 <p>indexed");
    check("GET /none", "not found");
    check("GET /digits.txt/", "not found");
    check("GET /digits.txt/x", "not found");
    check("GET /sub/", "not found"); // neither index nor listing
    check("GET /DIGITS.txt", "not found");
    check(&format!("GET /{}", "a".repeat(300)), "not found");
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let fixture = fixture();
    assert!(Path::new(&fixture.directory.path().join("secret.txt")).exists());
    for path in [
        "/out.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/up/",
        "/up/root/digits.txt",
        "/loop",
        "/.git/config",
        "/.git/",
        "/sub/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%00",
        "//etc/hostname",
        "/sub//deep/file",
        "/digits.txt%00.html",
    ] {
        assert_eq!(fixture.describe(&format!("GET {path}"), &[], &[]), "not found", "{path}");
    }
    // Dot segments are gone before we see them.
    assert_eq!(fixture.describe("GET /sub/%2e%2e/digits.txt", &[], &[]), "200 0123456789");
}

#[test]
fn things_that_are_no_files() {
    let fixture = fixture();
    let fifo = fixture.serving.root.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let _socket =
        std::os::unix::net::UnixListener::bind(fixture.serving.root.join("socket")).unwrap();
    assert_eq!(fixture.describe("GET /fifo", &[], &[]), "not found"); // and does not wait
    assert_eq!(fixture.describe("GET /socket", &[], &[]), "not found");
}

#[test]
fn methods() {
    let fixture = fixture();
    let head = fixture.ask("HEAD /digits.txt", &[("Range", "bytes=0-1")]).unwrap();
    assert_eq!((head.status, head.length), (200, Some(10)));
    assert!(matches!(head.body, Body::Empty));
    let found = fixture.describe("POST /digits.txt", &[], &["Allow"]);
    assert_eq!(found, "405 Allow: GET, HEAD only GET and HEAD are allowed here\n");
}

#[test]
fn directories() {
    let mut fixture = fixture();
    let location = |fixture: &Fixture, asked: &str| {
        fixture.describe(asked, &[], &["Location"]).split(" the ").next().unwrap().to_owned()
    };
    assert_eq!(location(&fixture, "GET /sub"), "301 Location: /sub/");
    assert_eq!(location(&fixture, "GET /sub/deep?a=b"), "301 Location: /sub/deep/?a=b");
    fixture.serving.listing = true;
    let page = fixture.describe("GET /sub/", &[], &["Content-Type"]);
    assert!(page.starts_with("200 Content-Type: text/html; charset=utf-8 <!doctype html>"));
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("<tr>")).collect();
    let expected = [
        "<tr><td><a href=\"../\">../</a><td>",
        "<tr><td><a href=\"./deep/\">deep/</a><td>",
        "<tr><td><a href=\"./%3C%26%3E.txt\">&lt;&amp;&gt;.txt</a><td>1 B",
        "<tr><td><a href=\"./a%20b.css\">a b.css</a><td>3 B",
    ];
    assert_eq!(rows, expected);
    // Links out and hidden names are not listed; an index goes before a listing.
    fs::remove_file(fixture.serving.root.join("index.html")).unwrap();
    let page = fixture.describe("GET /", &[], &[]);
    for hidden in ["out.txt", "absolute", "up", "loop", ".git", "../"] {
        assert!(!page.contains(&format!("./{hidden}")), "{hidden}");
    }
    assert!(page.contains("\"./in/\"") && page.contains("\"./.well-known/\""));
    assert_eq!(fixture.describe("GET /indexed/", &[], &[]), "200 <p>indexed");
}

#[test]
fn a_directory_named_like_a_host() {
    let fixture = fixture();
    let mut request = Request::default();
    let Request { method, target, .. } = &mut request;
    target.parse(method, b"//evil.example", Some(b"a.example"), Scheme::Http).unwrap();
    // As a route with a rewrite could have it.
    let now = SystemTime::now();
    let asked = FileRequest {
        serving: &fixture.serving,
        request: &request,
        path: b"/sub",
        directories: Directories::Redirect,
        now,
    };
    let answer = run(answer(&asked)).unwrap();
    assert_eq!(answer.fields[0], ("Location", "/evil.example/".to_owned()));
}

#[test]
fn fallback() {
    let mut fixture = fixture();
    fixture.serving.fallback = Some("/index.html".into());
    let check = |asked: &str, expected: &str| {
        assert_eq!(fixture.describe(asked, &[], &["Content-Type"]), expected, "{asked}");
    };
    let page = "200 Content-Type: text/html; charset=utf-8 <p>start";
    check("GET /some/page", page);
    check("GET /empty/", page);
    check("GET /out.txt", page);
    check("GET /.git/config", "not found");
    check("GET /sub/deep/file", "200 Content-Type: application/octet-stream deep");
    let mut broken = fixture;
    broken.serving.fallback = Some("/../secret.txt".into());
    assert_eq!(broken.describe("GET /none", &[], &[]), "not found");
}

#[test]
fn a_directory_that_is_not_there() {
    let mut fixture = fixture();
    fixture.serving.root = fixture.directory.path().join("none");
    assert_eq!(fixture.describe("GET /", &[], &[]), "failed");
}

#[test]
fn conditions() {
    let fixture = fixture();
    let etag = format!("\"{:x}-a\"", 784_111_777_000_000_000_i64);
    let weak = format!("W/{etag}");
    let (before, after) = ("Sat, 05 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT");
    #[track_caller]
    fn check(fixture: &Fixture, fields: &[(&str, &str)], expected: u16) {
        let answer = fixture.ask("GET /digits.txt", fields).unwrap();
        assert_eq!(answer.status, expected, "{fields:?}");
        assert!(answer.fields.iter().any(|(name, _)| *name == "ETag"));
        if expected == 304 {
            assert_eq!(answer.length, None);
        }
    }
    // RFC 9110, section 13.1
    check(&fixture, &[("If-None-Match", &etag)], 304);
    check(&fixture, &[("If-None-Match", &weak)], 304);
    check(&fixture, &[("If-None-Match", &format!("\"x\", {etag}"))], 304);
    check(&fixture, &[("If-None-Match", "*")], 304);
    check(&fixture, &[("If-None-Match", "\"x\"")], 200);
    check(&fixture, &[("If-Modified-Since", CHANGED)], 304);
    check(&fixture, &[("If-Modified-Since", after)], 304);
    check(&fixture, &[("If-Modified-Since", before)], 200);
    check(&fixture, &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], 304);
    check(&fixture, &[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], 304);
    check(&fixture, &[("If-Modified-Since", "yesterday")], 200);
    check(&fixture, &[("If-None-Match", "\"x\""), ("If-Modified-Since", after)], 200);
    check(&fixture, &[("If-Match", &etag)], 200);
    check(&fixture, &[("If-Match", "*")], 200);
    check(&fixture, &[("If-Match", &weak)], 412); // strong comparison
    check(&fixture, &[("If-Match", "\"x\"")], 412);
    check(&fixture, &[("If-Unmodified-Since", before)], 412);
    check(&fixture, &[("If-Unmodified-Since", CHANGED)], 200);
    check(&fixture, &[("If-Match", &etag), ("If-Unmodified-Since", before)], 200);
    check(&fixture, &[("If-Match", "\"x\""), ("If-None-Match", &etag)], 412);
}

#[test]
fn parts_of_files() {
    let fixture = fixture();
    let etag = format!("\"{:x}-a\"", 784_111_777_000_000_000_i64);
    let check = |fields: &[(&str, &str)], expected: &str| {
        let found = fixture.describe("GET /digits.txt", fields, &["Content-Range"]);
        assert_eq!(found, expected, "{fields:?}");
    };
    let two_to_four = "206 Content-Range: bytes 2-4/10 234";
    check(&[("Range", "bytes=2-4")], two_to_four);
    check(&[("Range", "bytes=-2")], "206 Content-Range: bytes 8-9/10 89");
    check(
        &[("Range", "bytes=10-")],
        "416 Content-Range: bytes */10 the file does not reach so far\n",
    );
    check(&[("Range", "bytes=0-1,4-5")], "200 0123456789");
    check(&[("Range", "bytes=2-4"), ("Range", "bytes=2-4")], "200 0123456789");
    // RFC 9110, section 13.1.5
    check(&[("Range", "bytes=2-4"), ("If-Range", &etag)], two_to_four);
    check(&[("Range", "bytes=2-4"), ("If-Range", CHANGED)], two_to_four);
    check(&[("Range", "bytes=2-4"), ("If-Range", &format!("W/{etag}"))], "200 0123456789");
    check(&[("Range", "bytes=2-4"), ("If-Range", "\"x\"")], "200 0123456789");
    check(
        &[("Range", "bytes=2-4"), ("If-Range", "Mon, 07 Nov 1994 08:49:37 GMT")],
        "200 0123456789",
    );
    check(&[("Range", "bytes=2-4"), ("If-None-Match", &etag)], "304 ");
}

#[test]
fn a_file_just_changed_has_a_weak_tag() {
    let fixture = fixture();
    let path = fixture.serving.root.join("digits.txt");
    let set = |time| fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let etag = || fixture.ask("GET /digits.txt", &[]).unwrap().fields[0].1.clone();
    set(SystemTime::now());
    assert!(etag().starts_with("W/\""));
    set(SystemTime::now() + Duration::from_secs(3600));
    let answer = fixture.ask("GET /digits.txt", &[]).unwrap();
    let found = httpdate::parse_http_date(&answer.fields[1].1).unwrap();
    assert!(found <= SystemTime::now()); // RFC 9110, section 8.8.2.1
    set(changed());
    assert!(etag().starts_with('"'));
}

#[test]
fn long_files_come_in_pieces() {
    let fixture = fixture();
    let long: String = (0..300_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let path = fixture.serving.root.join("long.txt");
    fs::write(&path, &long).unwrap();
    assert_eq!(fixture.describe("GET /long.txt", &[], &[]), format!("200 {long}"));
    let part = fixture.describe("GET /long.txt", &[("Range", "bytes=100000-299998")], &[]);
    assert_eq!(part, format!("206 {}", &long[100_000..299_999]));
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let fixture = fixture();
    let Body::File(mut file) = fixture.ask("GET /digits.txt", &[]).unwrap().body else {
        panic!("a file has a body");
    };
    let path = fixture.serving.root.join("digits.txt");
    fs::File::options().write(true).open(path).unwrap().set_len(4).unwrap();
    run(async {
        let mut piece = Vec::new();
        assert_eq!(file.read(&mut piece, 64 * 1024).await.unwrap(), 4);
        let error = file.read(&mut piece, 64 * 1024).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}
