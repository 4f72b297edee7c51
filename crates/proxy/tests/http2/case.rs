//! One row of a table: what a client sends, and how the server must react.
//!
//! Each row has a connection of its own. All rows of a table run, and what fails is told together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use testkit::h2raw::{self, Connection, Frame, field};
use testkit::origin::Origin;
use testkit::peer::ConnectionEnd;
use testkit::server::TestServer;
use wire::http2::frame::{PREFACE, code, flag, kind};

/// What must come of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// A connection error: GOAWAY with this code, and the end.
    Connection(u32),
    /// A stream error: RST_STREAM with this code. A server may take it for a connection error
    /// (RFC 9113, section 5.4.1).
    Stream(u32, u32),
    /// A malformed message: a stream error, or an answer with a status of 4xx or 5xx before it
    /// (RFC 9113, section 8.1.1).
    Malformed(u32),
    /// An answer with this status, and nothing else amiss.
    Answer(u32, u16),
    /// Nothing: the connection goes on, and no stream is reset.
    Nothing,
}

/// A row.
pub(crate) struct Case {
    section: &'static str,
    what: &'static str,
    sent: Vec<u8>,
    expect: Expect,
    /// Without the usual beginning.
    is_bare: bool,
}

/// A row: what is sent after the preface and SETTINGS.
pub(crate) fn case(
    section: &'static str,
    what: &'static str,
    sent: impl IntoFrames,
    expect: Expect,
) -> Case {
    Case { section, what, sent: sent.into_frames(), expect, is_bare: false }
}

/// A row: everything that is sent.
pub(crate) fn bare(
    section: &'static str,
    what: &'static str,
    sent: impl IntoFrames,
    expect: Expect,
) -> Case {
    Case { is_bare: true, ..case(section, what, sent, expect) }
}

/// One frame or several.
pub(crate) trait IntoFrames {
    fn into_frames(self) -> Vec<u8>;
}

impl IntoFrames for Vec<u8> {
    fn into_frames(self) -> Vec<u8> {
        self
    }
}

impl<const N: usize> IntoFrames for [Vec<u8>; N] {
    fn into_frames(self) -> Vec<u8> {
        self.concat()
    }
}

/// What has come.
#[derive(Debug, Default)]
struct Seen {
    goaway: Option<u32>,
    ended: Option<ConnectionEnd>,
    resets: BTreeMap<u32, u32>,
    statuses: BTreeMap<u32, u16>,
    /// Streams that the server has finished.
    finished: Vec<u32>,
    pongs: usize,
}

impl Seen {
    fn take(&mut self, connection: &mut Connection, frame: &Frame) {
        let stream = frame.head.stream;
        match frame.head.kind {
            kind::GOAWAY => self.goaway = frame.code(),
            kind::RST_STREAM => drop(self.resets.insert(stream, frame.code().unwrap_or(0))),
            kind::PING => self.pongs += 1,
            kind::HEADERS => {
                let fields = connection.fields_of(frame);
                let status = field(&fields, ":status").and_then(|status| status.parse().ok());
                if let Some(status) = status.filter(|status| *status >= 200) {
                    self.statuses.insert(stream, status);
                }
            }
            _ => {}
        }
        let ends = matches!(frame.head.kind, kind::HEADERS | kind::DATA);
        if ends && frame.has(flag::END_STREAM) {
            self.finished.push(stream);
        }
    }

    fn has_status(&self, stream: u32, is_right: impl Fn(u16) -> bool) -> bool {
        self.statuses.get(&stream).is_some_and(|status| is_right(*status))
    }

    fn is_closed_by(&self, code: u32) -> bool {
        self.goaway == Some(code) && self.ended.is_some()
    }

    /// Whether it is as expected; `None`: not yet.
    fn verdict(&self, expect: Expect) -> Option<bool> {
        let is_right = match expect {
            Expect::Connection(code) => self.is_closed_by(code),
            Expect::Stream(stream, code) => {
                self.resets.get(&stream) == Some(&code) || self.is_closed_by(code)
            }
            Expect::Malformed(stream) => {
                self.resets.get(&stream) == Some(&code::PROTOCOL_ERROR)
                    || self.is_closed_by(code::PROTOCOL_ERROR)
                    || self.has_status(stream, |status| status >= 400)
            }
            Expect::Answer(stream, status) => {
                self.finished.contains(&stream) && self.has_status(stream, |s| s == status)
            }
            Expect::Nothing => self.pongs >= 2 && self.resets.is_empty() && self.goaway.is_none(),
        };
        let is_over = match expect {
            Expect::Stream(stream, _) | Expect::Malformed(stream) | Expect::Answer(stream, _) => {
                self.resets.contains_key(&stream) || self.finished.contains(&stream)
            }
            _ => false,
        };
        let is_over = is_over || self.ended.is_some();
        if is_right {
            Some(true)
        } else if is_over {
            Some(false)
        } else {
            None
        }
    }
}

impl Case {
    fn run(&self, server: SocketAddr) -> Result<(), String> {
        let mut connection = Connection::of(testkit::peer::Peer::connect(server));
        if !self.is_bare {
            let begin = [PREFACE.as_slice(), &h2raw::settings(&[])].concat();
            connection.send(begin);
        }
        connection.send(&self.sent);
        let waits = matches!(self.expect, Expect::Nothing);
        if waits {
            connection.send(h2raw::ping(0, *b"first   "));
        }
        let mut seen = Seen::default();
        loop {
            match connection.next_frame() {
                Ok(frame) => {
                    let pongs = seen.pongs;
                    seen.take(&mut connection, &frame);
                    if waits && pongs == 0 && seen.pongs == 1 {
                        connection.send(h2raw::ping(0, *b"second  "));
                    }
                    let is_settings = frame.head.kind == kind::SETTINGS;
                    if is_settings && !frame.has(flag::ACK) && !self.is_bare {
                        connection.send(h2raw::frame(kind::SETTINGS, flag::ACK, 0, b""));
                    }
                }
                Err(ended) => seen.ended = Some(ended),
            }
            match seen.verdict(self.expect) {
                Some(true) => return Ok(()),
                Some(false) => return Err(format!("{seen:?}")),
                None => {}
            }
        }
    }
}

/// Runs a table against a proxy before an origin that answers everything with 200.
#[track_caller]
pub(crate) fn run(cases: Vec<Case>) {
    let origin = Origin::serving(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let proxy = TestServer::reverse(origin.address(), "");
    let address = proxy.address();
    let failures = Mutex::new(Vec::new());
    // A few at once: one that fails takes as long as a peer waits.
    for some in cases.chunks(16) {
        std::thread::scope(|scope| {
            for case in some {
                let failures = &failures;
                scope.spawn(move || {
                    let ran = catch_unwind(AssertUnwindSafe(|| case.run(address)));
                    let failure = match ran {
                        Ok(Ok(())) => return,
                        Ok(Err(seen)) => seen,
                        Err(_) => "nothing came in time".to_owned(),
                    };
                    let Case { section, what, expect, .. } = case;
                    let text = format!("{section}, {what}: expected {expect:?}, but {failure}");
                    failures.lock().expect("no panic with the lock").push(text);
                });
            }
        });
    }
    let failures = failures.into_inner().expect("no panic with the lock");
    let (count, failed) = (cases.len(), failures.len());
    assert!(failures.is_empty(), "{failed} of {count} rows:\n{}", failures.join("\n"));
}
