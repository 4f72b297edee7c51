//! Inspects what an HTTP/2 peer sends before `h2` gets it.
//!
//! `h2` reads frames well, but lets a peer waste our time, and handles some violations of RFC 9113 wrongly or not at
//! all. The guard sees the same bytes first. It reads frame headers and a few bytes of some payloads, and skips the
//! rest by length: the cost is per frame, not per byte. It decodes field blocks itself and gives `h2` others instead
//! (`field_block`), so that a malformed message is an error of its stream only.
//! Not here: flow control and limits of streams, which `h2` enforces; timeouts. What `h2` handles correctly is not
//! repeated here without need.
//! Invariant: the result, and what `h2` gets, depend only on the bytes and the times, not on how the bytes are split.

use super::block::{BlockBuffers, BlockValidator, Kind};
use super::budget::{
    Bucket, ENDPOINT_SCALE, SETTINGS_PER_TOKEN, SMALL_INITIAL_WINDOW_COST, SMALL_WINDOW_BYTES,
    TINY_DATA_BYTES, TokenBuckets,
};
use super::frame::{FrameHeader, HEADER_BYTES, PREFACE, code, flag, kind, setting};
use super::hpack::{Decoder, StringBuffers};
use super::scanner::{FrameEvent, PART_BYTES, Scanner};
use super::streams::{State, Streams};
use super::violation::{
    Violation, ViolationKind, broken_rule, ensure, flood, frame_size_error, protocol_error,
};

/// Bytes of a setting (RFC 9113, section 6.5.1).
const SETTING_BYTES: usize = 6;
/// The largest window (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// What SETTINGS_MAX_FRAME_SIZE may be (RFC 9113, section 6.5.2).
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 1 << 14..=(1 << 24) - 1;

/// The limits that we announced to the peer, and those that we enforce without announcing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    /// The longest payload: our SETTINGS_MAX_FRAME_SIZE.
    pub frame_bytes: u32,
    /// The longest field block, as encoded.
    pub block_bytes: u32,
    /// CONTINUATION frames in one field block.
    pub continuations: u32,
    /// Streams that the peer may have open: our SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: u32,
    /// The size of a message's fields: our SETTINGS_MAX_HEADER_LIST_SIZE.
    pub list_bytes: u32,
}

/// How much larger than allowed the fields of a message may be before the connection ends: they cost time even if
/// nothing of them is kept.
const LIST_EXCESS: usize = 4;

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 16 * 1024,
            block_bytes: 64 * 1024,
            continuations: 20,
            streams: 100,
            list_bytes: 64 * 1024,
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Client,
    Server,
}

/// A field block that is not whole yet.
#[derive(Debug, Clone, Copy)]
struct Block {
    stream: u32,
    bytes: u32,
    continuations: u32,
    kind: Kind,
    ends_stream: bool,
    /// Whether the frame under way is the last.
    is_last: bool,
    /// Padding at the end of the frame under way.
    padding: u32,
}

/// The result of an inspection of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The first bytes, which do not pass; what passes instead was appended to `out`.
    pub taken: usize,
    /// The bytes after those, which pass unchanged. What follows must be inspected again.
    pub same: usize,
}

/// Memory that any number of guards may share.
#[derive(Debug, Default)]
pub struct GuardMemory {
    strings: StringBuffers,
    buffers: BlockBuffers,
}

/// Inspects the bytes of one connection.
///
/// Every byte from the peer goes through [`Guard::inspect`], in order and before `h2` gets it; every byte that `h2`
/// writes goes through [`Guard::sent`]. The guard holds the dynamic table of the peer's fields, and the first pieces
/// of a field block that is not complete yet.
#[derive(Debug, Clone)]
pub struct Guard {
    limits: GuardLimits,
    peer: Peer,
    /// How many bytes of the preface were received.
    preface: u8,
    /// Whether the first SETTINGS was received.
    is_greeted: bool,
    received: Scanner,
    block: Option<Block>,
    /// The received part of that block, unless all of it comes at once.
    fragment: Vec<u8>,
    decoder: Decoder,
    /// Content that we have sent, and streams that we have refused.
    content_sent: u64,
    refused: u64,
    /// Frames and field blocks that were whole, for [`Guard::unfinished`].
    finished: u32,
    streams: Streams,
    buckets: TokenBuckets,
    /// Whether the peer has offered extended CONNECT, which cannot be taken back.
    offers_connect: bool,
    /// The violation that was found. Later bytes do not matter.
    violation: Option<Violation>,
    /// How much of the preface we have sent.
    own_preface: u8,
    sending: Scanner,
}

impl Guard {
    /// A guard for a server: the peer is a client, which begins with the preface.
    pub fn server(limits: &GuardLimits) -> Self {
        Self::new(limits, Peer::Client)
    }

    /// A guard for a client that accepts no pushes: the peer is a server, and may do ten times what a client may. Its
    /// resets, and ours, are not limited, because each belongs to a request of our own.
    pub fn client(limits: &GuardLimits) -> Self {
        Self::new(limits, Peer::Server)
    }

    fn new(limits: &GuardLimits, peer: Peer) -> Self {
        let whole = PREFACE.len() as u8;
        let (preface, own_preface, scale) = match peer {
            Peer::Client => (0, whole, 1),
            Peer::Server => (whole, 0, ENDPOINT_SCALE),
        };
        Self {
            limits: *limits,
            peer,
            preface,
            is_greeted: false,
            received: Scanner::default(),
            block: None,
            fragment: Vec::new(),
            decoder: Decoder::default(),
            content_sent: 0,
            refused: 0,
            finished: 0,
            streams: Streams::default(),
            buckets: TokenBuckets::new(limits.streams, scale),
            offers_connect: false,
            violation: None,
            own_preface,
            sending: Scanner::default(),
        }
    }

    /// Inspects the next bytes from the peer, and returns what passes to `h2`. An error ends the connection; every
    /// later call returns it again.
    ///
    /// `now_ms` counts from any fixed point in time.
    pub fn inspect(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
        workspace: &mut GuardMemory,
        out: &mut Vec<u8>,
    ) -> Result<Inspection, Violation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        self.buckets.refill(now_ms);
        let result = self.inspect_all(bytes, workspace, out);
        self.violation = result.err();
        result
    }

    fn inspect_all(
        &mut self,
        bytes: &[u8],
        workspace: &mut GuardMemory,
        out: &mut Vec<u8>,
    ) -> Result<Inspection, Violation> {
        let mut rest = bytes;
        let mut inspection = Inspection { taken: 0, same: self.preface(&mut rest)? };
        while !rest.is_empty() {
            let before = rest.len();
            let is_taken = if self.received.is_at_head() {
                // An incomplete frame header is held back: it may be that of a field block.
                let is_split = self.received.has_part_of_head();
                let kind = if is_split { None } else { Scanner::peek(rest) };
                let is_taken = kind.is_none_or(is_of_block);
                if is_taken && inspection.same > 0 {
                    return Ok(inspection);
                }
                if let Some(FrameEvent::Header(head)) = self.received.next(&mut rest) {
                    let raw = self.received.raw_head();
                    self.head(head)?;
                    match is_of_block(head.kind) {
                        true => self.block_frame(&mut rest, workspace, out)?,
                        false if is_split => out.extend_from_slice(&raw),
                        false => {}
                    }
                    self.finish_frame();
                }
                is_taken
            } else if is_of_block(self.received.frame().kind) {
                self.block_frame(&mut rest, workspace, out)?;
                self.finish_frame();
                true
            } else {
                if let Some(piece) = self.received.next_part(&mut rest) {
                    self.part(self.received.frame(), piece)?;
                }
                self.finish_frame();
                false
            };
            let count = before - rest.len();
            if is_taken { inspection.taken += count } else { inspection.same += count }
        }
        Ok(inspection)
    }

    /// Counts a frame that is whole.
    fn finish_frame(&mut self) {
        if self.received.is_at_head() && self.block.is_none() {
            self.finished = self.finished.wrapping_add(1);
        }
    }

    /// The number of the frame or field block that is incomplete: its sender must complete it within a fixed time.
    /// Content has no such limit.
    pub fn unfinished(&self) -> Option<u32> {
        let is_content = self.received.frame().kind == kind::DATA && !self.received.is_at_head();
        let is_within = !self.received.is_at_head() || self.received.has_part_of_head();
        let has_preface = usize::from(self.preface) == PREFACE.len();
        let is_unfinished = !has_preface || self.block.is_some() || is_within && !is_content;
        is_unfinished.then_some(self.finished)
    }

    /// RFC 9113, section 3.4.
    fn preface(&mut self, bytes: &mut &[u8]) -> Result<usize, Violation> {
        let expected = PREFACE.get(usize::from(self.preface)..).unwrap_or_default();
        let count = expected.len().min(bytes.len());
        let Some((begin, rest)) = bytes.split_at_checked(count) else { return Ok(0) };
        ensure(expected.starts_with(begin), protocol_error("no HTTP/2 preface"))?;
        self.preface += u8::try_from(count).unwrap_or_default();
        *bytes = rest;
        Ok(count)
    }

    fn pay(&mut self, bucket: Bucket, count: u32, kind: ViolationKind) -> Result<(), Violation> {
        ensure(self.buckets.pay(bucket, count), flood(kind))
    }

    fn head(&mut self, head: FrameHeader) -> Result<(), Violation> {
        ensure(
            head.length <= self.limits.frame_bytes,
            frame_size_error("a frame longer than SETTINGS_MAX_FRAME_SIZE (RFC 9113, 4.2)"),
        )?;
        if !self.is_greeted {
            // `h2` takes whatever comes first.
            ensure(
                head.kind == kind::SETTINGS && !head.has(flag::ACK),
                protocol_error("the first frame is not SETTINGS (RFC 9113, 3.4)"),
            )?;
            self.is_greeted = true;
        }
        if let Some(block) = self.block {
            ensure(
                head.kind == kind::CONTINUATION && head.stream == block.stream,
                protocol_error("something else within a field block (RFC 9113, 6.10)"),
            )?;
            return self.continuation(head, block);
        }
        self.place(head)?;
        match head.kind {
            kind::DATA => self.data_head(head),
            kind::HEADERS => self.headers_head(head),
            kind::PRIORITY => self.priority_head(head),
            kind::RST_STREAM => self.reset(head),
            kind::SETTINGS => self.settings_head(head),
            kind::PUSH_PROMISE => {
                Err(protocol_error("PUSH_PROMISE where none is allowed (RFC 9113, 6.6 and 8.4)"))
            }
            kind::PING => {
                ensure(head.length == 8, frame_size_error("PING not of 8 bytes (RFC 9113, 6.7)"))?;
                self.pay(Bucket::Pings, 1, ViolationKind::Ping)
            }
            kind::GOAWAY => {
                ensure(head.length >= 8, frame_size_error("GOAWAY below 8 bytes (RFC 9113, 6.8)"))?;
                self.pay(Bucket::Others, 1, ViolationKind::Unknown)
            }
            kind::WINDOW_UPDATE => {
                ensure(
                    head.length == 4,
                    frame_size_error("WINDOW_UPDATE not of 4 bytes (RFC 9113, 6.9)"),
                )?;
                self.received.ask(4);
                Ok(())
            }
            kind::CONTINUATION => {
                Err(protocol_error("CONTINUATION without a field block (RFC 9113, 6.10)"))
            }
            kind::PRIORITY_UPDATE => self.pay(Bucket::Priorities, 1, ViolationKind::Priority),
            _ => self.pay(Bucket::Others, 1, ViolationKind::Unknown),
        }
    }

    /// Whether a frame may stand on that stream, or on none (RFC 9113, sections 5.1 and 6).
    fn place(&self, head: FrameHeader) -> Result<(), Violation> {
        let on_stream = match head.kind {
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM => true,
            kind::SETTINGS | kind::PING | kind::GOAWAY => false,
            // May stand on both, or must be ignored.
            _ if head.kind != kind::WINDOW_UPDATE || head.stream == 0 => return Ok(()),
            _ => true,
        };
        ensure(
            on_stream == (head.stream != 0),
            protocol_error("a frame of a stream on none, or the other way round (RFC 9113, 6)"),
        )?;
        if !on_stream || head.kind == kind::PRIORITY {
            return Ok(());
        }
        // Even ones are a server's own, which are not opened here.
        ensure(
            head.stream % 2 == 1,
            protocol_error("a stream with an even number (RFC 9113, 5.1.1)"),
        )?;
        let carries = matches!(head.kind, kind::DATA | kind::HEADERS);
        let opens = head.kind == kind::HEADERS && self.peer == Peer::Client;
        match self.streams.state(head.stream) {
            State::Idle => {
                ensure(opens, protocol_error("a frame on an idle stream (RFC 9113, 5.1)"))
            }
            State::Skipped => ensure(
                head.kind == kind::WINDOW_UPDATE || head.kind == kind::RST_STREAM,
                protocol_error("a stream older than the newest (RFC 9113, 5.1.1)"),
            ),
            // `h2` says PROTOCOL_ERROR.
            State::Finished => ensure(
                !carries,
                broken_rule(
                    code::STREAM_CLOSED,
                    "a frame after END_STREAM or RST_STREAM (RFC 9113, 5.1)",
                ),
            ),
            State::Open | State::Forgotten => Ok(()),
        }
    }

    fn data_head(&mut self, head: FrameHeader) -> Result<(), Violation> {
        if head.has(flag::END_STREAM) {
            self.streams.finish(head.stream);
        }
        if head.has(flag::PADDED) {
            ensure(head.length > 0, frame_size_error("DATA without its padding (RFC 9113, 6.1)"))?;
            self.received.ask(1);
            return Ok(());
        }
        self.content(head, head.length)
    }

    /// DATA with `length` bytes of content.
    fn content(&mut self, head: FrameHeader, length: u32) -> Result<(), Violation> {
        // There is one end of a stream, so it need not be counted.
        match length {
            _ if head.has(flag::END_STREAM) => Ok(()),
            0 => self.pay(Bucket::EmptyData, 1, ViolationKind::EmptyData),
            1..TINY_DATA_BYTES => self.pay(Bucket::TinyData, 1, ViolationKind::EmptyData),
            _ => Ok(()),
        }
    }

    fn headers_head(&mut self, head: FrameHeader) -> Result<(), Violation> {
        let padding = usize::from(head.has(flag::PADDED));
        let before = padding + if head.has(flag::PRIORITY) { 5 } else { 0 };
        ensure(
            head.length as usize >= before,
            frame_size_error("HEADERS without their padding or priority (RFC 9113, 4.2)"),
        )?;
        let is_new = self.streams.state(head.stream) == State::Idle;
        if self.peer == Peer::Client && is_new {
            self.streams.open(head.stream);
            self.buckets.give(Bucket::Priorities, 2);
            self.buckets.give(Bucket::Others, 1);
        }
        if head.has(flag::END_STREAM) {
            self.streams.finish(head.stream);
        }
        if before > 0 {
            self.received.ask(before);
        }
        let kind = match self.peer {
            Peer::Server => Kind::Response,
            Peer::Client if is_new => Kind::Request,
            Peer::Client => Kind::Trailers,
        };
        self.block = Some(Block {
            stream: head.stream,
            bytes: 0,
            continuations: 0,
            kind,
            ends_stream: head.has(flag::END_STREAM),
            is_last: false,
            padding: 0,
        });
        self.block_piece(head)
    }

    fn continuation(&mut self, head: FrameHeader, mut block: Block) -> Result<(), Violation> {
        block.continuations += 1;
        block.padding = 0;
        self.block = Some(block);
        ensure(
            block.continuations <= self.limits.continuations,
            flood(ViolationKind::Continuation),
        )?;
        self.block_piece(head)
    }

    /// A piece of a field block begins.
    fn block_piece(&mut self, head: FrameHeader) -> Result<(), Violation> {
        let Some(block) = &mut self.block else { return Ok(()) };
        block.bytes = block.bytes.saturating_add(head.length);
        block.is_last = head.has(flag::END_HEADERS);
        ensure(block.bytes <= self.limits.block_bytes, flood(ViolationKind::HeaderList))?;
        if !block.is_last && head.length == 0 {
            self.pay(Bucket::EmptyBlocks, 1, ViolationKind::Continuation)?;
        }
        Ok(())
    }

    /// Takes the available bytes of a frame with a piece of a field block. Once the block is complete, appends what
    /// `h2` gets instead to `out`.
    fn block_frame(
        &mut self,
        rest: &mut &[u8],
        workspace: &mut GuardMemory,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        if self.received.is_asked() {
            let Some(part) = self.received.next_part(rest) else { return Ok(()) };
            self.part(self.received.frame(), part)?;
        }
        let Some(block) = self.block else { return Ok(()) };
        let left = self.received.left();
        let is_all = rest.len() >= left as usize;
        let piece = self.received.take(rest, left.saturating_sub(block.padding));
        let is_here = is_all && block.is_last && self.fragment.is_empty();
        // Nearly always the whole block is in one frame, and that is here.
        if !is_here {
            self.fragment.extend_from_slice(piece);
        }
        self.received.take(rest, block.padding);
        if !is_all || !block.is_last {
            return Ok(());
        }
        self.block = None;
        if is_here {
            return self.exchange(block, piece, workspace, out);
        }
        let fragment = std::mem::take(&mut self.fragment);
        self.exchange(block, &fragment, workspace, out)
    }

    /// A whole block: judged, and replaced by what `h2` is to see.
    fn exchange(
        &mut self,
        block: Block,
        encoded: &[u8],
        workspace: &mut GuardMemory,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let GuardMemory { strings, buffers } = workspace;
        let size_max = self.limits.list_bytes as usize;
        let mut judge = BlockValidator::new(block.kind, block.ends_stream, size_max, buffers);
        let decoded = self.decoder.decode(encoded, strings, |name, value| judge.field(name, value));
        decoded.map_err(|_| {
            broken_rule(code::COMPRESSION_ERROR, "a field block cannot be decoded (RFC 9113, 4.3)")
        })?;
        ensure(judge.size() <= size_max.saturating_mul(LIST_EXCESS), flood(ViolationKind::Other))?;
        let begin = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        judge.finish(out);
        let end_stream = if block.ends_stream { flag::END_STREAM } else { 0 };
        into_frames(out, begin, block.stream, end_stream, self.limits.frame_bytes as usize);
        Ok(())
    }

    fn priority_head(&mut self, head: FrameHeader) -> Result<(), Violation> {
        // A stream error by RFC 9113, section 6.3. We end the connection, which is always allowed
        // (section 5.4.1): no peer sends this by mistake.
        ensure(head.length == 5, frame_size_error("PRIORITY not of 5 bytes (RFC 9113, 6.3)"))?;
        self.pay(Bucket::Priorities, 1, ViolationKind::Priority)?;
        self.received.ask(4);
        Ok(())
    }

    fn reset(&mut self, head: FrameHeader) -> Result<(), Violation> {
        ensure(head.length == 4, frame_size_error("RST_STREAM not of 4 bytes (RFC 9113, 6.4)"))?;
        self.streams.finish(head.stream);
        match self.peer {
            Peer::Client => self.pay(Bucket::Resets, 1, ViolationKind::RapidReset),
            Peer::Server => Ok(()),
        }
    }

    fn settings_head(&mut self, head: FrameHeader) -> Result<(), Violation> {
        if head.has(flag::ACK) {
            ensure(
                head.length == 0,
                frame_size_error("SETTINGS with ACK and more (RFC 9113, 6.5)"),
            )?;
        }
        ensure(
            head.length.is_multiple_of(SETTING_BYTES as u32),
            frame_size_error("SETTINGS of a length that is no multiple of 6 (RFC 9113, 6.5)"),
        )?;
        let settings = head.length / SETTING_BYTES as u32;
        self.pay(Bucket::Settings, 1 + settings / SETTINGS_PER_TOKEN, ViolationKind::Settings)?;
        self.received.ask(SETTING_BYTES);
        Ok(())
    }

    /// The bytes that were asked for.
    fn part(&mut self, head: FrameHeader, part: [u8; PART_BYTES]) -> Result<(), Violation> {
        let [first, second, ..] = part;
        let word = |at: usize| {
            let bytes = part.get(at..).and_then(<[u8]>::first_chunk).copied();
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        match head.kind {
            kind::DATA => {
                let length = (head.length - 1).checked_sub(first.into());
                let length =
                    length.ok_or(protocol_error("DATA with too much padding (RFC 9113, 6.1)"))?;
                self.content(head, length)
            }
            kind::HEADERS => {
                if head.has(flag::PADDED) {
                    ensure(
                        u32::from(first) <= self.received.left(),
                        protocol_error("HEADERS with too much padding (RFC 9113, 6.2)"),
                    )?;
                    self.block.iter_mut().for_each(|block| block.padding = first.into());
                }
                if head.has(flag::PRIORITY) {
                    self.dependency(head, word(usize::from(head.has(flag::PADDED))))?;
                }
                Ok(())
            }
            kind::PRIORITY => self.dependency(head, word(0)),
            kind::WINDOW_UPDATE => self.window_update(word(0) & WINDOW_MAX),
            kind::SETTINGS => {
                self.setting(u16::from_be_bytes([first, second]), word(2))?;
                if self.received.left() > 0 {
                    self.received.ask(SETTING_BYTES);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A stream that depends on itself (RFC 7540, section 5.3.1; a stream error there).
    fn dependency(&self, head: FrameHeader, dependency: u32) -> Result<(), Violation> {
        ensure(
            dependency & WINDOW_MAX != head.stream,
            protocol_error("a stream that depends on itself (RFC 7540, 5.3.1)"),
        )
    }

    fn window_update(&mut self, increment: u32) -> Result<(), Violation> {
        // A stream error if it is on a stream (RFC 9113, section 6.9); `h2` too ends the
        // connection.
        ensure(increment > 0, protocol_error("WINDOW_UPDATE by 0 (RFC 9113, 6.9)"))?;
        if increment < SMALL_WINDOW_BYTES {
            self.pay(Bucket::SmallWindows, 1, ViolationKind::SmallWindow)?;
        }
        self.pay(Bucket::WindowUpdates, 1, ViolationKind::WindowUpdate)
    }

    /// RFC 9113, section 6.5.2.
    fn setting(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            setting::ENABLE_PUSH => {
                let most = if self.peer == Peer::Client { 1 } else { 0 };
                ensure(value <= most, protocol_error("SETTINGS_ENABLE_PUSH (RFC 9113, 6.5.2)"))
            }
            setting::INITIAL_WINDOW_SIZE => {
                ensure(
                    value <= WINDOW_MAX,
                    broken_rule(
                        code::FLOW_CONTROL_ERROR,
                        "SETTINGS_INITIAL_WINDOW_SIZE too large (RFC 9113, 6.5.2)",
                    ),
                )?;
                if value < SMALL_WINDOW_BYTES {
                    let cost = SMALL_INITIAL_WINDOW_COST;
                    self.pay(Bucket::SmallWindows, cost, ViolationKind::SmallWindow)?;
                }
                Ok(())
            }
            setting::MAX_FRAME_SIZE => ensure(
                FRAME_SIZES.contains(&value),
                protocol_error("SETTINGS_MAX_FRAME_SIZE out of range (RFC 9113, 6.5.2)"),
            ),
            setting::ENABLE_CONNECT_PROTOCOL => {
                ensure(
                    value == 1 || value == 0 && !self.offers_connect,
                    protocol_error("SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, 3)"),
                )?;
                self.offers_connect = value == 1;
                Ok(())
            }
            // Any value, or a setting that must be ignored.
            _ => Ok(()),
        }
    }

    /// Inspects the next bytes that we have sent: what a peer receives decides what it may send, and our own resets
    /// show its mistakes. The next `inspect` returns a violation.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        let preface = (PREFACE.len() - usize::from(self.own_preface)).min(bytes.len());
        self.own_preface += u8::try_from(preface).unwrap_or_default();
        bytes = bytes.get(preface..).unwrap_or_default();
        while let Some(piece) = self.sending.next(&mut bytes) {
            match piece {
                FrameEvent::Header(head) => self.sent_head(head),
                FrameEvent::Part([a, b, c, d, ..]) => {
                    self.own_reset(u32::from_be_bytes([a, b, c, d]));
                }
            }
        }
    }

    /// Bytes of content that we have sent.
    pub fn content_sent(&self) -> u64 {
        self.content_sent
    }

    /// Streams that we have refused: more than may be open, or for a reason of ours.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn sent_head(&mut self, head: FrameHeader) {
        let is_end = head.has(flag::END_STREAM);
        match head.kind {
            kind::RST_STREAM => return self.sending.ask(4),
            kind::DATA => {
                self.content_sent += u64::from(head.length);
                self.buckets.give(Bucket::WindowUpdates, 2);
                self.buckets.give(Bucket::Pings, 1);
                // A client that gives back just what it got does no harm: the answer was that small.
                if is_end && head.length < SMALL_WINDOW_BYTES {
                    self.buckets.give(Bucket::SmallWindows, 1);
                }
            }
            kind::HEADERS
                if self.peer == Peer::Server && self.streams.state(head.stream) == State::Idle =>
            {
                self.streams.open(head.stream);
            }
            kind::HEADERS => {}
            _ => return,
        }
        if is_end {
            self.buckets.give_half(Bucket::Resets);
        }
    }

    /// We have reset a stream. Only some reasons are the peer's doing.
    fn own_reset(&mut self, reason: u32) {
        self.refused += u64::from(reason == code::REFUSED_STREAM);
        let is_provoked = matches!(
            reason,
            code::PROTOCOL_ERROR
                | code::FLOW_CONTROL_ERROR
                | code::STREAM_CLOSED
                | code::FRAME_SIZE_ERROR
                | code::REFUSED_STREAM
                | code::COMPRESSION_ERROR
                | code::ENHANCE_YOUR_CALM
        );
        if is_provoked
            && self.peer == Peer::Client
            && !self.buckets.pay(Bucket::OwnResets, 1)
            && self.violation.is_none()
        {
            self.violation = Some(flood(ViolationKind::MadeYouReset));
        }
    }
}

/// Whether frames of this type carry field blocks.
fn is_of_block(kind: u8) -> bool {
    matches!(kind, kind::HEADERS | kind::CONTINUATION)
}

/// Turns a field block into frames. It is in `out` from `begin` on, after room for one frame header.
fn into_frames(out: &mut Vec<u8>, begin: usize, stream: u32, end_stream: u8, frame_bytes: usize) {
    let length = out.len().saturating_sub(begin + HEADER_BYTES);
    let head = |kind, flags, length: usize| {
        FrameHeader { length: u32::try_from(length).unwrap_or_default(), kind, flags, stream }
            .print()
    };
    let first = length.min(frame_bytes);
    let whole = |is_whole| if is_whole { flag::END_HEADERS } else { 0 };
    let first_head = head(kind::HEADERS, end_stream | whole(first == length), first);
    let room = out.iter_mut().skip(begin).zip(first_head);
    room.for_each(|(to, from)| *to = from);
    if first == length {
        return;
    }
    let rest = out.split_off(begin + HEADER_BYTES + first);
    let count = rest.len().div_ceil(frame_bytes);
    for (number, piece) in rest.chunks(frame_bytes).enumerate() {
        let flags = whole(number + 1 == count);
        out.extend_from_slice(&head(kind::CONTINUATION, flags, piece.len()));
        out.extend_from_slice(piece);
    }
}
