//! HTTP/2 frame by frame, for stories: a scripted client or server.
//!
//! A [`Connection`] uses a [`Peer`]. It writes and reads frames, encodes field blocks in the simplest
//! form ([`hpack`]) and decodes all forms. Except for the preface of `client` and `server`, it sends
//! nothing by itself: no acknowledgement, no window update, no answer to PING.

pub mod hpack;
mod huffman;

use std::borrow::BorrowMut;
use std::fmt;
use std::net::SocketAddr;

use wire::http2::frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind};

use crate::peer::{ConnectionEnd, Peer};

/// A frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its head.
    pub head: FrameHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FrameHeader { kind, flags, stream, length } = self.head;
        let names = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        let name = names.get(usize::from(kind)).copied().unwrap_or("?");
        let shown = self.payload.get(..64).unwrap_or(&self.payload);
        let shown = String::from_utf8_lossy(shown);
        write!(f, "{name} flags {flags:#x} stream {stream} length {length} {shown:?}")
    }
}

impl Frame {
    /// Whether it has this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.head.has(flag)
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        match self.head.kind {
            kind::RST_STREAM => self.word(0),
            kind::GOAWAY => self.word(4),
            _ => None,
        }
    }

    /// Four bytes of the payload, as a number.
    pub fn word(&self, at: usize) -> Option<u32> {
        self.payload.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
    }

    /// Its settings.
    pub fn settings(&self) -> Vec<(u16, u32)> {
        let settings = self.payload.as_chunks::<6>().0.iter();
        let parse = |&[a, b, c, d, e, f]: &[u8; 6]| {
            (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
        };
        settings.map(parse).collect()
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&FrameHeader { length, kind, flags, stream }.print(), payload].concat()
}

/// The bytes of SETTINGS.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let bytes = settings.iter().flat_map(|(id, value)| {
        [id.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat()
    });
    frame(kind::SETTINGS, 0, 0, bytes.collect::<Vec<_>>())
}

/// The bytes of RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, code.to_be_bytes())
}

/// The bytes of WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

/// The bytes of PING.
pub fn ping(flags: u8, payload: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, flags, 0, payload)
}

/// The bytes of DATA; `flags` may hold END_STREAM.
pub fn data(flags: u8, stream: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, stream, content)
}

/// The bytes of HEADERS with a whole field block; `flags` may hold END_STREAM.
pub fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, hpack::literals(fields))
}

/// The pseudo-fields of a request.
pub const fn request<'a>(
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
}

/// Decoded fields.
pub type Fields = Vec<(String, String)>;

/// The value of a field, if it occurs exactly once.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let mut found = fields.iter().filter(|(other, _)| other == name);
    let first = found.next()?;
    found.next().is_none().then_some(first.1.as_str())
}

/// A complete message on a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The header fields, with pseudo-fields; without those of interim responses.
    pub fields: Fields,
    /// The content.
    pub content: Vec<u8>,
    /// The trailer fields.
    pub trailers: Fields,
}

impl Message {
    /// The status; 0 if there is none.
    pub fn status(&self) -> u16 {
        field(&self.fields, ":status").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// Why there is no message on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code and text.
    GoAway(u32, String),
    /// The connection ended.
    ConnectionEnd(ConnectionEnd),
}

/// One end of an HTTP/2 connection.
pub struct Connection<P: BorrowMut<Peer> = Peer> {
    peer: P,
    decoder: hpack::Decoder,
    /// The frames that were skipped, for messages about failures.
    passed: Vec<Frame>,
}

impl Connection<Peer> {
    /// A client that has sent its preface and these settings.
    #[track_caller]
    pub fn client(address: SocketAddr, own: &[(u16, u32)]) -> Self {
        let mut connection = Self::of(Peer::connect(address));
        connection.send([PREFACE.as_slice(), &settings(own)].concat());
        connection
    }
}

impl<P: BorrowMut<Peer>> Connection<P> {
    /// Wraps a connection on which nothing was read or sent.
    pub fn of(peer: P) -> Self {
        Self { peer, decoder: hpack::Decoder::default(), passed: Vec::new() }
    }

    /// A server that has read the client's preface and SETTINGS, and has sent its own and the
    /// acknowledgement.
    #[track_caller]
    pub fn server(peer: P, own: &[(u16, u32)]) -> Self {
        let mut connection = Self::of(peer);
        connection.peer.borrow_mut().expect(PREFACE);
        connection.expect_kind(kind::SETTINGS);
        connection.send([settings(own), frame(kind::SETTINGS, flag::ACK, 0, b"")].concat());
        connection
    }

    /// The underlying connection.
    pub fn peer(&mut self) -> &mut Peer {
        self.peer.borrow_mut()
    }

    /// Sends bytes. Errors are ignored: if the other side has closed the connection, reading shows it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.peer.borrow_mut().try_send(bytes);
    }

    /// Sends a request without content.
    pub fn get(&mut self, stream: u32, path: &str) {
        let fields = request("GET", "http", "a", path);
        self.send(headers(flag::END_STREAM, stream, &fields));
    }

    /// The next frame.
    #[track_caller]
    pub fn next_frame(&mut self) -> Result<Frame, ConnectionEnd> {
        let peer = self.peer.borrow_mut();
        let head = peer.try_read_exact(HEADER_BYTES)?;
        let head = FrameHeader::parse(head.as_slice().first_chunk().expect("a frame's head"));
        let payload = peer.try_read_exact(head.length as usize)?;
        Ok(Frame { head, payload })
    }

    /// Reads until a frame for which `found` is true. Other frames are skipped, but their field blocks
    /// are decoded.
    #[track_caller]
    pub fn until(&mut self, found: impl Fn(&Frame) -> bool) -> Result<Frame, ConnectionEnd> {
        loop {
            let frame = self.next_frame()?;
            if found(&frame) {
                return Ok(frame);
            }
            if frame.head.kind == kind::HEADERS {
                self.fields_of(&frame);
            }
            self.passed.push(frame);
        }
    }

    /// Reads until a frame of this kind.
    #[track_caller]
    pub fn expect_kind(&mut self, kind: u8) -> Frame {
        match self.until(|frame| frame.head.kind == kind) {
            Ok(frame) => frame,
            Err(ended) => panic!("{ended:?} where kind {kind} was expected: {:?}", self.passed),
        }
    }

    /// Sends PING and waits for the acknowledgement: by then, the other side has responded to all earlier
    /// frames.
    #[track_caller]
    pub fn round_trip(&mut self) -> Result<(), ConnectionEnd> {
        self.send(ping(0, *b"a moment"));
        let is_answer = |frame: &Frame| {
            frame.head.kind == kind::PING && frame.has(flag::ACK) && frame.payload == b"a moment"
        };
        self.until(is_answer).map(drop)
    }

    /// Decodes the field block that starts with this frame; reads CONTINUATION frames.
    #[track_caller]
    pub fn fields_of(&mut self, first: &Frame) -> Fields {
        let mut block = first.payload.clone();
        if first.has(flag::PRIORITY) {
            block.drain(..5);
        }
        let mut is_whole = first.has(flag::END_HEADERS);
        while !is_whole {
            let more = self.next_frame().expect("the rest of a field block");
            assert_eq!((more.head.kind, more.head.stream), (kind::CONTINUATION, first.head.stream));
            block.extend_from_slice(&more.payload);
            is_whole = more.has(flag::END_HEADERS);
        }
        self.decoder.decode(&block).expect("a field block in order")
    }

    /// Reads the message of a stream: a response or a request. Acknowledges SETTINGS, sends window updates
    /// for received data, and skips frames of other streams.
    #[track_caller]
    pub fn message(&mut self, stream: u32) -> Result<Message, Failure> {
        let mut message = Message::default();
        let mut has_head = false;
        loop {
            let frame = self.next_frame().map_err(Failure::ConnectionEnd)?;
            let is_end = frame.has(flag::END_STREAM);
            match frame.head.kind {
                kind::SETTINGS if !frame.has(flag::ACK) => {
                    self.send(crate::h2raw::frame(kind::SETTINGS, flag::ACK, 0, b""));
                    continue;
                }
                kind::GOAWAY if frame.code() != Some(0) => {
                    let said = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or(b""));
                    return Err(Failure::GoAway(frame.code().unwrap_or(0), said.into_owned()));
                }
                kind::RST_STREAM if frame.head.stream == stream => {
                    return Err(Failure::Reset(frame.code().unwrap_or(0)));
                }
                kind::HEADERS => {
                    let fields = self.fields_of(&frame);
                    if frame.head.stream != stream {
                        continue;
                    }
                    let is_interim = field(&fields, ":status").is_some_and(|s| s.starts_with('1'));
                    match has_head {
                        _ if is_interim => continue,
                        false => message.fields = fields,
                        true => message.trailers = fields,
                    }
                    has_head = true;
                }
                kind::DATA => {
                    if frame.head.length > 0 {
                        self.send(window_update(0, frame.head.length));
                    }
                    if frame.head.stream != stream {
                        continue;
                    }
                    message.content.extend_from_slice(&frame.payload);
                    if frame.head.length > 0 && !is_end {
                        self.send(window_update(stream, frame.head.length));
                    }
                }
                _ => continue,
            }
            if is_end {
                return Ok(message);
            }
        }
    }

    /// Reads until the connection ends; returns the code and text of the last GOAWAY.
    #[track_caller]
    pub fn goodbye(&mut self) -> (Option<(u32, String)>, ConnectionEnd) {
        let mut goodbye = None;
        loop {
            match self.next_frame() {
                Ok(frame) => {
                    if frame.head.kind == kind::GOAWAY {
                        let said = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or(b""));
                        goodbye = frame.code().map(|code| (code, said.into_owned()));
                    }
                    self.passed.push(frame);
                }
                Err(ended) => return (goodbye, ended),
            }
        }
    }

    /// The frames that were skipped.
    pub fn passed(&self) -> &[Frame] {
        &self.passed
    }
}
