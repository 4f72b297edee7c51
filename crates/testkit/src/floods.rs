//! HTTP/2 floods: attacks of one client against the others.
//!
//! An [`Attack`] runs on one connection against a proxy in this process, with a bounded number of
//! frames, while a second client sends one request after another. A [`Report`] has the outcome. The
//! tests check what does not depend on time, the benchmark checks the rest.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::http2::frame::{code, flag, kind, setting};

use crate::h2raw::{self, Connection, data, frame, headers, hpack, request, reset, window_update};
use crate::message_text::ok;
use crate::origin::Origin;
use crate::peer::{ConnectionEnd, Peer};
use crate::server::TestServer;

/// The minimum number of requests of the second client.
const REQUESTS_MIN: usize = 200;
/// The size of a response that is not read.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// How an attack must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By GOAWAY(ENHANCE_YOUR_CALM), counted as this kind; an empty one means any kind.
    Calm(&'static str),
    /// By a timeout for peers without progress: the connection has no streams, or is closed.
    Reaped,
}

/// A flood.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// How it must end.
    pub end: End,
    /// The first SETTINGS of the attacker.
    settings: Vec<(u16, u32)>,
    /// The bytes that it sends next.
    first: Vec<u8>,
    /// The bytes that it sends repeatedly, by a number that starts at 0.
    next: fn(u32) -> Vec<u8>,
    /// The maximum number of repetitions.
    count: u32,
    /// Whether it reads what the proxy sends.
    reads: bool,
}

/// The outcome of an attack.
#[derive(Debug, Clone)]
pub struct Report {
    /// The number of repetitions before the end was noticed.
    pub sent: u32,
    /// The code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// How the attacker's connection ended; `None` if it is still open.
    pub ended: Option<ConnectionEnd>,
    /// How often the proxy counted the kind.
    pub counted: f64,
    /// The times of the second client's requests, sorted.
    pub times: Vec<Duration>,
    /// The maximum growth of this process's memory.
    pub growth_bytes: u64,
}

impl Report {
    /// The 99th percentile of the second client's times.
    pub fn p99(&self) -> Duration {
        let at = self.times.len() * 99 / 100;
        self.times.get(at).copied().unwrap_or_default()
    }
}

fn odd(number: u32) -> u32 {
    2 * number + 1
}

fn get(stream: u32) -> Vec<u8> {
    headers(flag::END_STREAM, stream, &request("GET", "http", "a", "/"))
}

fn post(stream: u32) -> Vec<u8> {
    headers(0, stream, &request("POST", "http", "a", "/"))
}

/// All attacks.
pub fn all() -> Vec<Attack> {
    let attack = |name, kind, first: Vec<u8>, next| Attack {
        name,
        end: End::Calm(kind),
        settings: Vec::new(),
        first,
        next,
        count: 100_000,
        reads: true,
    };
    // A field of 4 KB in the dynamic table; one byte repeats it.
    let known =
        [hpack::literals(&request("GET", "http", "a", "/")), hpack::learned("x", "v".repeat(4000))];
    let bomb = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, known.concat());
    let large = |stream| headers(flag::END_STREAM, stream, &request("GET", "http", "a", "/large"));
    vec![
        attack("rapid reset", "rapid_reset", Vec::new(), |n| {
            [get(odd(n)), reset(odd(n), code::CANCEL)].concat()
        }),
        // All frames are read at once: `h2` may end the connection before the guard has seen the
        // resets.
        attack("MadeYouReset by windows", "", Vec::new(), |n| {
            [post(odd(n)), window_update(odd(n), (1 << 31) - 1)].concat()
        }),
        Attack {
            reads: false,
            end: End::Reaped,
            ..attack("MadeYouReset, unread", "", Vec::new(), |n| {
                let fields = [&request("GET", "http", "a", "/"), [("te", "x")].as_slice()];
                headers(flag::END_STREAM, odd(n), &fields.concat())
            })
        },
        attack("MadeYouReset by lengths", "", Vec::new(), |n| {
            let fields = [&request("POST", "http", "a", "/"), [("content-length", "1")].as_slice()];
            [headers(0, odd(n), &fields.concat()), data(0, odd(n), b"abc")].concat()
        }),
        attack("MadeYouReset by heads", "", Vec::new(), |n| {
            let fields = [&request("GET", "http", "a", "/"), [("connection", "close")].as_slice()];
            headers(flag::END_STREAM, odd(n), &fields.concat())
        }),
        attack("PING", "ping", Vec::new(), |_| h2raw::ping(0, [0; 8])),
        attack("answers to no PING", "ping", Vec::new(), |_| h2raw::ping(flag::ACK, [0; 8])),
        attack("SETTINGS", "settings", Vec::new(), |n| {
            h2raw::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535 + n % 2)])
        }),
        attack("long SETTINGS", "settings", Vec::new(), |_| h2raw::settings(&[(0x99, 1); 2_000])),
        attack("empty DATA", "empty_data", post(1), |_| data(0, 1, b"")),
        attack("DATA of padding", "empty_data", post(1), |_| {
            frame(kind::DATA, flag::PADDED, 1, [&[200], [0; 200].as_slice()].concat())
        }),
        attack("PRIORITY", "priority", Vec::new(), |n| {
            frame(kind::PRIORITY, 0, odd(n), [0, 0, 0, 0, 9])
        }),
        attack("PRIORITY_UPDATE", "priority", Vec::new(), |_| {
            frame(kind::PRIORITY_UPDATE, 0, 0, *b"\0\0\0\x01u=1")
        }),
        attack("WINDOW_UPDATE", "window_update", Vec::new(), |_| window_update(0, 100)),
        Attack {
            settings: vec![(setting::INITIAL_WINDOW_SIZE, 1)],
            // The budget of window updates may be exceeded first.
            ..attack("small windows", "", large(1), |_| window_update(1, 1))
        },
        attack("small windows by SETTINGS", "small_window", large(1), |n| {
            h2raw::settings(&[(setting::INITIAL_WINDOW_SIZE, n % 2)])
        }),
        attack("CONTINUATION", "", frame(kind::HEADERS, 0, 1, b"\x82"), |_| {
            frame(kind::CONTINUATION, 0, 1, b"")
        }),
        attack("long CONTINUATION", "", frame(kind::HEADERS, 0, 1, b"\x82"), |_| {
            frame(kind::CONTINUATION, 0, 1, vec![0; 16_384])
        }),
        attack("HPACK bomb", "other", bomb, |n| {
            let block = hpack::indexed(62).repeat(16_000);
            frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, odd(n + 1), block)
        }),
        attack("unknown types", "unknown", Vec::new(), |_| frame(0x77, 0, 0, b"x")),
        Attack {
            count: 100,
            end: End::Reaped,
            ..attack("idle streams", "", Vec::new(), |n| post(odd(n)))
        },
        Attack {
            count: 100,
            end: End::Reaped,
            settings: vec![(setting::INITIAL_WINDOW_SIZE, 0)],
            ..attack("window of 0", "", Vec::new(), |n| {
                headers(flag::END_STREAM, odd(n), &request("GET", "http", "a", "/large"))
            })
        },
        Attack {
            count: 100,
            end: End::Reaped,
            reads: false,
            settings: vec![(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)],
            ..attack("unread answers", "", window_update(0, (1 << 31) - 1 - 65_535), |n| {
                headers(flag::END_STREAM, odd(n), &request("GET", "http", "a", "/large"))
            })
        },
    ]
}

/// A proxy in front of an origin with a small and a large response.
pub struct TestBed {
    proxy: TestServer,
    _origin: Origin,
}

impl Default for TestBed {
    fn default() -> Self {
        let (small, large) = (ok("small"), ok(&"x".repeat(LARGE_BYTES)));
        let origin = Origin::start(move |peer, _| {
            while let Ok(request) = peer.try_request() {
                let answer = if request.target() == "/large" { &large } else { &small };
                if peer.try_send(answer).is_err() {
                    return;
                }
            }
        });
        // Peers without progress are cut after a second.
        let proxy = TestServer::start(&format!(
            "timeouts {{ head \"1s\"; client-idle \"1s\"; stream-idle \"1s\" }}
            site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" }}",
            origin.address()
        ));
        Self { proxy, _origin: origin }
    }
}

impl TestBed {
    fn counted(&self, kind: &str) -> f64 {
        self.proxy.metric("bothways_http2_violations_total", kind)
    }
}

/// The resident memory of this process.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let digits = line.trim().trim_end_matches(" kB");
    digits.parse::<u64>().expect("a number") * 1024
}

impl Attack {
    /// Runs the attack.
    #[track_caller]
    pub fn run(&self, bed: &TestBed) -> Report {
        let over = Arc::new(AtomicBool::new(false));
        // The second client connects first.
        let mut second = SecondClient::new(bed);
        second.ask();
        let before = resident_bytes();
        let kind = if let End::Calm(kind) = self.end { kind } else { "" };
        let counted = bed.counted(kind);
        let second = std::thread::spawn({
            let over = Arc::clone(&over);
            move || second.ask_until(&over)
        });
        let (sent, goaway, ended) = self.attack(bed);
        over.store(true, Ordering::SeqCst);
        let (mut times, most) = second.join().expect("the second client is served");
        times.sort_unstable();
        let counted = bed.counted(kind) - counted;
        let growth_bytes = most.saturating_sub(before);
        Report { sent, goaway, ended, counted, times, growth_bytes }
    }

    fn attack(&self, bed: &TestBed) -> (u32, Option<u32>, Option<ConnectionEnd>) {
        let mut attacker = Connection::client(bed.proxy.address(), &self.settings);
        let over = Arc::new(AtomicBool::new(false));
        let reader = self.reads.then(|| {
            let mut reader = Connection::of(attacker.peer().duplicate());
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let told = reader.goodbye();
                over.store(true, Ordering::SeqCst);
                told
            })
        });
        attacker.send(&self.first);
        let mut sent = 0;
        while sent < self.count && !over.load(Ordering::SeqCst) {
            // Send several at once, as attackers do.
            let some: Vec<u8> = (sent..self.count.min(sent + 50)).flat_map(self.next).collect();
            sent = self.count.min(sent + 50);
            if attacker.peer().try_send(some).is_err() {
                break;
            }
        }
        match reader {
            Some(reader) => {
                let (goodbye, ended) = reader.join().expect("the end of the connection");
                (sent, goodbye.map(|(code, _)| code), Some(ended))
            }
            None => (sent, None, wait_until_gone(attacker.peer())),
        }
    }
}

/// Waits until the other side has closed a connection on which nothing is read. Tests this by sending
/// frames without effect, at an allowed rate.
fn wait_until_gone(peer: &mut Peer) -> Option<ConnectionEnd> {
    let nothing = frame(kind::PRIORITY, 0, 99, [0, 0, 0, 0, 1]);
    let mut asked = Instant::now();
    crate::wait::until("the end of the connection", || {
        if asked.elapsed() < Duration::from_millis(100) {
            return false;
        }
        asked = Instant::now();
        // Succeeds as long as the other side reads.
        peer.try_send(&nothing).is_err()
    });
    Some(ConnectionEnd::Reset)
}

/// The second client.
struct SecondClient {
    connection: Connection,
    stream: u32,
}

impl SecondClient {
    fn new(bed: &TestBed) -> Self {
        Self { connection: Connection::client(bed.proxy.address(), &[]), stream: 1 }
    }

    fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        self.connection.get(self.stream, "/");
        let answer = self.connection.message(self.stream).expect("an answer");
        assert_eq!(answer.text(), "small");
        self.stream += 2;
        begun.elapsed()
    }

    /// Sends requests until the attack is over; returns their times, and the maximum memory.
    fn ask_until(mut self, over: &AtomicBool) -> (Vec<Duration>, u64) {
        let (mut times, mut most) = (Vec::new(), 0);
        while times.len() < REQUESTS_MIN || !over.load(Ordering::SeqCst) {
            times.push(self.ask());
            if times.len() % 20 == 0 {
                most = most.max(resident_bytes());
            }
        }
        (times, most.max(resident_bytes()))
    }
}
