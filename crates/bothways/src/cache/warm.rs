//! `bothways cache warm`: fetches a list of URLs through the running process.
//!
//! It is a client like any other: each URL is requested from the listener that serves it, over a connection of its own. Only
//! cleartext listeners can be asked. For a response that varies by a field, `-H` names the value that is meant.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use message::{Method, Scheme, Target};
use rules::Rules;

use crate::cli::Warm;
use crate::exit::{Failure, OTHER};
use crate::load::Source;
use crate::terminal;

/// Bytes of a list at most.
const LIST_BYTES_MAX: u64 = 256 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a response may pause.
const PAUSE_TIME: Duration = Duration::from_secs(120);
/// Failures that are printed; further ones are only counted.
const FAILURES_SHOWN_MAX: usize = 20;

/// A URL to fetch, and the listener to ask.
struct Job {
    target: Target,
    to: SocketAddr,
}

/// What became of the URLs.
#[derive(Default)]
struct Progress {
    done: usize,
    stored: usize,
    were_there: usize,
    failed: usize,
    bytes: u64,
    failures: Vec<String>,
}

/// Fetches the URLs of a file.
pub(super) fn warm(options: &Warm, config: Option<&Path>) -> Result<(), Failure> {
    let urls = urls(&read(&options.file)?);
    if urls.is_empty() {
        return Err(Failure::usage(format!("there is no URL in {}", options.file.display()))
            .hint("write one on each line, or name a sitemap (XML) with <loc> elements"));
    }
    let rules = match options.to {
        Some(_) => None,
        None => Some(Rules::compile(Source::find(config)?.load()?.config)),
    };
    let mut progress = Progress::default();
    let mut jobs = VecDeque::with_capacity(urls.len());
    for url in &urls {
        match job(url, options.to, rules.as_ref()) {
            Ok(job) => jobs.push_back(job),
            Err(why) => progress.fail(format!("{url}: {why}")),
        }
    }
    let total = urls.len();
    let shows = io::stderr().is_terminal();
    let (jobs, progress) = (Mutex::new(jobs), Mutex::new(progress));
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    // In a statement of its own, so that the lock is not held for the request.
                    let Some(job) = lock(&jobs).pop_front() else { break };
                    let outcome = fetch(&job, &options.field);
                    let mut progress = lock(&progress);
                    progress.note(&job, outcome);
                    if shows {
                        terminal::to_stderr(&format!("\r{}\x1b[K", progress.line(total)));
                    }
                }
            });
        }
    });
    let progress = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    if shows {
        terminal::to_stderr("\r\x1b[K");
    }
    for failure in &progress.failures {
        terminal::to_stderr(&format!("{failure}\n"));
    }
    terminal::to_stdout(&format!("{}\n", progress.line(total)))?;
    match progress.failed {
        0 => Ok(()),
        _ => Err(Failure::already_reported(OTHER)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    fn note(&mut self, job: &Job, outcome: Result<Fetched, String>) {
        match outcome {
            Ok(fetched) => {
                self.done += 1;
                self.stored += usize::from(fetched.is_stored);
                self.were_there += usize::from(fetched.was_there);
                self.bytes += fetched.bytes;
            }
            Err(why) => self.fail(format!("{}: {why}", job.target)),
        }
    }

    fn fail(&mut self, words: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_SHOWN_MAX {
            self.failures.push(words);
        }
    }

    fn line(&self, total: usize) -> String {
        let Self { done, stored, were_there, failed, bytes, .. } = self;
        let mebibytes = *bytes as f64 / f64::from(1 << 20);
        format!(
            "{} of {total}: {stored} stored, {were_there} were there, {} not stored, {failed} failed, {mebibytes:.1} MiB",
            done + failed,
            done - stored.min(done) - were_there.min(&(done - stored.min(done))),
        )
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().take(LIST_BYTES_MAX).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(LIST_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::other(format!("cannot read {}: {error}", file.display())))?;
    Ok(text)
}

/// The URLs of a list or a sitemap, each once.
fn urls(text: &str) -> Vec<String> {
    let mut urls = Vec::new();
    if text.trim_start().starts_with('<') {
        let elements = text.split("<loc>").skip(1).filter_map(|rest| rest.split_once("</loc>"));
        urls.extend(elements.map(|(url, _)| unescaped(url.trim())));
    } else {
        let lines = text.lines().map(str::trim);
        urls.extend(
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned),
        );
    }
    let mut known = std::collections::HashSet::new();
    urls.retain(|url| known.insert(url.clone()));
    urls
}

/// Text of XML without its escapes.
fn unescaped(text: &str) -> String {
    let text = text.trim_start_matches("<![CDATA[").trim_end_matches("]]>");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&apos;", "'").replace("&amp;", "&")
}

fn job(url: &str, to: Option<SocketAddr>, rules: Option<&Rules>) -> Result<Job, String> {
    let mut target = Target::default();
    target
        .parse(&Method::Get, url.as_bytes(), None, Scheme::Http)
        .map_err(|error| error.to_string())?;
    if !url.contains("://") {
        return Err("a URL begins with http:// or https://".to_owned());
    }
    let to = match (to, rules) {
        (Some(to), _) => to,
        (None, Some(rules)) => listener(rules, &target)?,
        (None, None) => return Err("no address is known".to_owned()),
    };
    Ok(Job { target, to })
}

/// The address of the listener that serves a URL.
fn listener(rules: &Rules, target: &Target) -> Result<SocketAddr, String> {
    if target.scheme() == Scheme::Https {
        return Err(
            "https:// is not possible yet: only cleartext listeners can be asked".to_owned()
        );
    }
    let id = rules::listener_for(rules, target);
    let listener = id.and_then(|id| rules.config().listener(id));
    let listener = listener.ok_or("no listener of the configuration serves it")?;
    let port = listener.address.port();
    let ip = match listener.address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        // It takes IPv4 too.
        IpAddr::V6(_) if listener.written.starts_with(':') => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(ip, port))
}

/// A response that arrived whole.
struct Fetched {
    is_stored: bool,
    was_there: bool,
    bytes: u64,
}

fn fetch(job: &Job, fields: &[String]) -> Result<Fetched, String> {
    let words = |error: io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&job.to, CONNECT_TIME).map_err(words)?;
    stream.set_read_timeout(Some(PAUSE_TIME)).map_err(words)?;
    let mut more = String::new();
    for field in fields {
        more.push_str(field);
        more.push_str("\r\n");
    }
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bothways-cache-warm\r\nAccept: */*\r\n{more}Connection: close\r\n\r\n",
        String::from_utf8_lossy(job.target.as_it_came()),
        job.target.written_authority(),
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    read_response(&mut stream)
}

/// Reads a response to its end. One that is cut short is a failure.
fn read_response(stream: &mut impl Read) -> Result<Fetched, String> {
    let mut head = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the connection was closed before the response".to_owned());
        }
        head.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > 1 << 20 {
            return Err("the head of the response has no end".to_owned());
        }
    };
    let mut bytes = (head.len() - end) as u64;
    let mut tail = head.get(end..).unwrap_or_default().to_vec();
    head.truncate(end);
    loop {
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        tail.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = tail.len().saturating_sub(16);
        tail.drain(..surplus);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(str::trim).next_back()
    };
    let is_whole = match field("content-length").and_then(|length| length.parse::<u64>().ok()) {
        Some(length) => bytes == length,
        None if field("transfer-encoding").is_some() => tail.ends_with(b"0\r\n\r\n"),
        None => true,
    };
    let status = head.get(9..12).unwrap_or_default();
    match (status.as_bytes().first(), is_whole) {
        (_, false) => Err(format!("the response ({status}) broke off")),
        (Some(b'2' | b'3'), true) => {
            let ours =
                field("cache-status").unwrap_or_default().rsplit(',').next().unwrap_or_default();
            let has = |word: &str| ours.split(';').any(|part| part.trim() == word);
            Ok(Fetched { is_stored: has("stored"), was_there: has("hit"), bytes })
        }
        (_, true) => Err(format!("the response was {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sitemaps() {
        assert_eq!(
            urls("# all\nhttp://a/x\n\n  http://a/y \nhttp://a/x\n"),
            ["http://a/x", "http://a/y"]
        );
        let map = "<?xml version=\"1.0\"?>\n<urlset><url><loc> http://a/?x=1&amp;y=2 </loc></url><url><loc><![CDATA[http://a/z]]></loc></url></urlset>";
        assert_eq!(urls(map), ["http://a/?x=1&y=2", "http://a/z"]);
    }

    #[test]
    fn responses() {
        let read = |text: &str| {
            read_response(&mut text.as_bytes()).map(|it| (it.is_stored, it.was_there, it.bytes))
        };
        let head = "HTTP/1.1 200 OK\r\nCache-Status: up; hit, bothways; fwd=uri-miss; fwd-status=200; stored\r\n";
        assert_eq!(read(&format!("{head}Content-Length: 3\r\n\r\nabc")), Ok((true, false, 3)));
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nCache-Status: bothways; hit; ttl=3\r\n\r\nab"),
            Ok((false, true, 2))
        );
        assert!(read(&format!("{head}Content-Length: 4\r\n\r\nabc")).is_err());
        assert!(read(&format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")).is_err());
        assert!(
            read(&format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).is_ok()
        );
        assert!(read("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().contains("404"));
        assert!(read("").is_err());
    }
}
