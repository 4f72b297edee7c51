//! An endpoint that behaves well, or badly in a chosen way, switched while it runs.
//!
//! Every request takes `--service` milliseconds by a timer, so that many endpoints share a core.
//! What it does is said on `--control`, a line for a line:
//!
//! | line | |
//! |---|---|
//! | `mode normal` | 200 with 128 bytes |
//! | `mode fail` | 500, at once |
//! | `mode fail-work` | the same, but checks are answered with 200 |
//! | `mode slow` | as normal, after ten times the time |
//! | `mode close` | ends each connection after 1 to 20 requests without saying so: half of them before the answer to the last |
//! | `mode reset PERCENT` | resets the connection instead of answering, at so many requests; checks are answered |
//! | `counts` | `gets=… posts=… checks=… connections=…` since it began |
//!
//! Paths: `/post/ID` is a request that must be seen once: the ID goes to the file `--log` as soon as its head is
//! there, so that a kill loses none. `/health` is a check. Anything else counts as a GET.

use bench_peers::{argument, http, invalid, raise_open_files, required};
use rustix::net::sockopt;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::task::spawn_local;

/// Heads and bodies longer than this end their connection.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const CONTENT_BYTES: usize = 128;
/// Connections are ended after 1 to so many requests.
const REQUESTS_BEFORE_CLOSE: u64 = 20;
const SLOWER: u32 = 10;

#[derive(Clone, Copy)]
enum Mode {
    Normal,
    Fail { checks: bool },
    Slow,
    Close,
    Reset { percent: u64 },
}

/// What must be known of a request to answer it.
struct Asked {
    /// It is no work, but a check.
    check: bool,
    /// Its connection ends with the answer.
    close: bool,
}

#[derive(Default)]
struct Counts {
    gets: Cell<u64>,
    posts: Cell<u64>,
    checks: Cell<u64>,
    connections: Cell<u64>,
}

struct Endpoint {
    service: Duration,
    mode: Cell<Mode>,
    counts: Counts,
    log: Option<RefCell<File>>,
    random: Cell<u64>,
    good: Vec<u8>,
    bad: Vec<u8>,
}

fn main() -> Result<()> {
    raise_open_files();
    let (listen, control): (SocketAddr, SocketAddr) =
        (required("--listen")?, required("--control")?);
    let service: f64 = argument("--service")?.unwrap_or(2.0);
    let log = match argument::<String>("--log")? {
        Some(path) => Some(File::options().create(true).append(true).open(path)?),
        None => None,
    };
    let good = http::response(CONTENT_BYTES, false);
    let bad = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nbad\n".to_vec();
    let endpoint = Rc::new(Endpoint {
        service: Duration::from_secs_f64(service / 1000.0),
        mode: Cell::new(Mode::Normal),
        counts: Counts::default(),
        log: log.map(RefCell::new),
        random: Cell::new(u64::from(listen.port()) | 1),
        good,
        bad,
    });
    LocalRuntime::new()?.block_on(async move {
        let (requests, control) =
            (TcpListener::bind(listen).await?, TcpListener::bind(control).await?);
        spawn_local(obey(endpoint.clone(), control));
        loop {
            let (stream, _) = requests.accept().await?;
            add(&endpoint.counts.connections);
            let endpoint = endpoint.clone();
            // A client that goes away ends its connection, nothing else.
            spawn_local(async move { endpoint.serve(stream).await });
        }
    })
}

/// Takes orders, one connection at a time.
async fn obey(endpoint: Rc<Endpoint>, control: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = control.accept().await?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            let said =
                endpoint.order(line.trim()).unwrap_or_else(|error| format!("error: {error}"));
            line.clear();
            if stream.write_all(format!("{said}\n").as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

impl Endpoint {
    fn order(&self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        self.mode.set(match words.as_slice() {
            ["counts"] => return Ok(self.counts()),
            ["mode", "normal"] => Mode::Normal,
            ["mode", "fail"] => Mode::Fail { checks: true },
            ["mode", "fail-work"] => Mode::Fail { checks: false },
            ["mode", "slow"] => Mode::Slow,
            ["mode", "close"] => Mode::Close,
            ["mode", "reset", percent] => {
                let percent =
                    percent.parse().map_err(|_| invalid(format!("not a number: {percent}")))?;
                Mode::Reset { percent }
            }
            _ => return Err(invalid(format!("`{line}` is not known"))),
        });
        Ok("ok".to_owned())
    }

    fn counts(&self) -> String {
        let Counts { gets, posts, checks, connections } = &self.counts;
        let (gets, posts, checks, connections) =
            (gets.get(), posts.get(), checks.get(), connections.get());
        format!("gets={gets} posts={posts} checks={checks} connections={connections}")
    }

    /// Serves a connection to its end.
    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut input = Vec::with_capacity(2048);
        // How many requests are left, once that is limited.
        let mut left = None;
        while let Some(asked) = self.read(&mut stream, &mut input).await? {
            let mode = self.mode.get();
            match mode {
                Mode::Fail { checks } if checks || !asked.check => {
                    stream.write_all(&self.bad).await?;
                    continue;
                }
                Mode::Reset { percent } if !asked.check && self.random() % 100 < percent => {
                    return reset(&stream);
                }
                Mode::Slow => tokio::time::sleep(self.service * SLOWER).await,
                _ => tokio::time::sleep(self.service).await,
            }
            let last = match (mode, left) {
                (Mode::Close, None) => self.random() % REQUESTS_BEFORE_CLOSE,
                (Mode::Close, Some(requests)) => requests,
                _ => u64::MAX,
            };
            // Whoever uses such a connection again has lost the race even if the close came first.
            if last == 0 && self.random().is_multiple_of(2) {
                return Ok(());
            }
            stream.write_all(&self.good).await?;
            if last == 0 || asked.close {
                return Ok(());
            }
            left = (last != u64::MAX).then(|| last - 1);
        }
        Ok(())
    }

    /// Takes a whole request and counts it. `None`: there is no more.
    async fn read(&self, stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Option<Asked>> {
        let (head_bytes, body_bytes, asked) = loop {
            if let Some(request) = http::request(input) {
                let check = self.note(http::path(request.target))?;
                break (
                    request.head_bytes,
                    request.body_bytes,
                    Asked { check, close: request.close },
                );
            }
            if !more(stream, input).await? {
                return Ok(None);
            }
        };
        let whole = head_bytes + usize::try_from(body_bytes).unwrap_or(REQUEST_BYTES_MAX);
        while input.len() < whole {
            if !more(stream, input).await? {
                return Ok(None);
            }
        }
        drop(input.drain(..whole));
        Ok(Some(asked))
    }

    /// Counts a request; tells whether it is a check.
    fn note(&self, path: &[u8]) -> Result<bool> {
        let counts = &self.counts;
        if path == b"/health" {
            add(&counts.checks);
            return Ok(true);
        }
        if let Some(id) = path.strip_prefix(b"/post/") {
            add(&counts.posts);
            if let Some(log) = &self.log {
                // One write for a line: what is written outlives the process.
                log.borrow_mut().write_all(&[id, b"\n"].concat())?;
            }
        } else {
            add(&counts.gets);
        }
        Ok(false)
    }

    /// A pseudo-random number (xorshift).
    fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state >> 16
    }
}

/// Reads once; false at the end.
async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<bool> {
    if input.len() > REQUEST_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(stream.read_buf(input).await? > 0)
}

/// Lets the end of the connection be a reset, whatever is still unread.
fn reset(stream: &TcpStream) -> Result<()> {
    Ok(sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}

fn add(count: &Cell<u64>) {
    count.set(count.get() + 1);
}
