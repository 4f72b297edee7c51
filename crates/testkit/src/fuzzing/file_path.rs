//! Requests for files: paths, ranges and conditions.

use std::os::unix::fs::symlink;
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{fs, io};

use config::FileServing;
use files::{Answer, Body, Directories, FileRequest};
use message::{Method, Request, Scheme};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What every file in the directory has; what is outside has other bytes.
const INSIDE: &[u8] = b"0123456789abcdef";
/// A name and content that no answer may show.
const OUTSIDE: &str = "outside";

/// Lines: the path, and the values of Range, If-None-Match and If-Range. Nothing outside of the directory
/// and nothing hidden is answered, the body is as long as the answer says, and a range has its bytes.
pub fn check(data: &[u8]) {
    let place = place();
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let path = [b"/", lines.next().unwrap_or_default()].concat();
    let mut request = Request { method: Method::Get, ..Request::default() };
    let Request { method, target, .. } = &mut request;
    target.parse(method, b"/asked", Some(b"a.example"), Scheme::Http).expect("a target");
    for (name, value) in ["Range", "If-None-Match", "If-Range"].iter().zip(lines) {
        if !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            request.fields.push(name.as_bytes(), value);
        }
    }
    for serving in &place.servings {
        let asked = FileRequest {
            serving,
            request: &request,
            path: &path,
            directories: Directories::Redirect,
            now: SystemTime::now(),
        };
        let answered = place.runtime.block_on(files::answer(&asked));
        if let Ok(answer) = answered {
            check_answer(&place.runtime, answer);
        }
    }
}

fn check_answer(runtime: &Runtime, answer: Answer) {
    let Answer { status, fields, length, body } = answer;
    let range = fields.iter().find(|(name, _)| *name == "Content-Range").map(|(_, value)| value);
    let (body, is_file) = match body {
        Body::Empty => (Vec::new(), false),
        Body::Text(text) => (text, false),
        Body::File(mut file) => {
            let mut all = Vec::new();
            let mut piece = Vec::new();
            while let count @ 1.. = runtime.block_on(file.read(&mut piece, 7)).expect("a file") {
                all.extend_from_slice(&piece[..count]);
            }
            (all, true)
        }
    };
    assert_eq!(length.unwrap_or(0), body.len() as u64, "{status} {fields:?}");
    let shown = String::from_utf8_lossy(&body);
    assert!(!shown.contains(OUTSIDE) && !shown.contains(".git"), "{shown}");
    match (status, is_file) {
        (200, true) => assert_eq!(body, INSIDE),
        (206, true) => {
            let range = range.and_then(|value| value.strip_prefix("bytes ")?.strip_suffix("/16"));
            let (first, last) = range.and_then(|range| range.split_once('-')).expect("a range");
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(body, INSIDE[first..=last]);
        }
        (200 | 301 | 304 | 405 | 412 | 416, false) => {}
        other => panic!("{other:?}: {fields:?}"),
    }
}

struct Place {
    _directory: TempDir,
    servings: [FileServing; 2],
    runtime: Runtime,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| make().expect("a temporary directory"))
}

/// A directory with files, links out of it and within it, and hidden names; once with listings.
fn make() -> io::Result<Place> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("root");
    for path in ["sub/deep", ".git", ".well-known", "indexed"] {
        fs::create_dir_all(root.join(path))?;
    }
    for path in ["a", "a b", "sub/ä", "sub/deep/x.css", ".well-known/t", "indexed/index.html"] {
        fs::write(root.join(path), INSIDE)?;
    }
    for path in [OUTSIDE, "root/.git/config", "root/.hidden"] {
        fs::write(directory.path().join(path), OUTSIDE)?;
    }
    let outside = directory.path().join(OUTSIDE);
    for (name, target) in [("o", "../outside"), ("up", ".."), ("in", "sub/deep"), ("loop", "loop")]
    {
        symlink(target, root.join(name))?;
    }
    symlink(&outside, root.join("p"))?;
    symlink(root.join("sub"), root.join("q"))?;
    let plain = FileServing::new(root);
    let listing = FileServing { listing: true, ..plain.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(Place { _directory: directory, servings: [plain, listing], runtime })
}
