//! Watches what an HTTP/2 peer sends, before `h2` sees it.
//!
//! `h2` reads frames well, but lets a peer spend our time as it likes, and answers some broken
//! rules of RFC 9113 wrongly or not at all. The guard sees the same bytes first. It looks at frame
//! heads and at a few bytes of some payloads, and skips the rest by length: it keeps nothing,
//! allocates nothing, and costs by the frame, not by the byte.
//! Not here: field blocks, which `h2` decodes; flow control and limits of streams, which it keeps;
//! timeouts. What `h2` answers rightly by itself is not repeated here without need.
//! Invariant: the answer depends on the bytes and the times alone, not on how they are split.

use super::budget::{
    Account, Budgets, ENDPOINT_SCALE, SETTINGS_PER_TOKEN, SMALL_INITIAL_WINDOW_COST,
    SMALL_WINDOW_BYTES, TINY_DATA_BYTES,
};
use super::frame::{Head, PREFACE, code, flag, kind, setting};
use super::scanner::{PART_BYTES, Piece, Scanner};
use super::streams::{State, Streams};
use super::violation::{Flood, Violation, broken, calm, ensure, frame_size, protocol};

/// Bytes of a setting (RFC 9113, section 6.5.1).
const SETTING_BYTES: usize = 6;
/// The largest window (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// What SETTINGS_MAX_FRAME_SIZE may be (RFC 9113, section 6.5.2).
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 1 << 14..=(1 << 24) - 1;

/// What we have told the peer, and what we bear without saying so.
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
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { frame_bytes: 16 * 1024, block_bytes: 64 * 1024, continuations: 20, streams: 100 }
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
}

/// Watches one connection.
///
/// Every byte from the peer goes through [`Guard::inspect`], in order and before `h2` gets it;
/// every byte that `h2` writes goes through [`Guard::sent`]. It holds no memory beyond itself.
#[derive(Debug, Clone)]
pub struct Guard {
    limits: GuardLimits,
    peer: Peer,
    /// How much of the preface has come.
    preface: u8,
    /// Whether the first SETTINGS have come.
    is_greeted: bool,
    received: Scanner,
    block: Option<Block>,
    streams: Streams,
    budgets: Budgets,
    /// Whether the peer has offered extended CONNECT, which cannot be taken back.
    offers_connect: bool,
    /// What was found. Nothing that comes after it counts.
    violation: Option<Violation>,
    /// How much of the preface we have sent.
    own_preface: u8,
    sending: Scanner,
}

impl Guard {
    /// For a server: the peer is a client, which begins with the preface.
    pub fn server(limits: &GuardLimits) -> Self {
        Self::new(limits, Peer::Client)
    }

    /// For a client that takes no pushes: the peer is a server, and may do ten times what a client
    /// may. Its resets, and ours, are not limited, as each answers a request of our own.
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
            streams: Streams::default(),
            budgets: Budgets::new(limits.streams, scale),
            offers_connect: false,
            violation: None,
            own_preface,
            sending: Scanner::default(),
        }
    }

    /// Looks at the next bytes from the peer. An error ends the connection; it is repeated by
    /// every later call.
    ///
    /// `now_ms` counts from any moment.
    pub fn inspect(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Violation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        self.budgets.refill(now_ms);
        let result = self.inspect_all(bytes);
        self.violation = result.err();
        result
    }

    fn inspect_all(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        self.preface(&mut bytes)?;
        while let Some(piece) = self.received.next(&mut bytes) {
            match piece {
                Piece::Head(head) => self.head(head)?,
                Piece::Part(head, part) => self.part(head, part)?,
            }
        }
        Ok(())
    }

    /// RFC 9113, section 3.4.
    fn preface(&mut self, bytes: &mut &[u8]) -> Result<(), Violation> {
        let expected = PREFACE.get(usize::from(self.preface)..).unwrap_or_default();
        let count = expected.len().min(bytes.len());
        let Some((begin, rest)) = bytes.split_at_checked(count) else { return Ok(()) };
        ensure(expected.starts_with(begin), protocol("no HTTP/2 preface"))?;
        self.preface += u8::try_from(count).unwrap_or_default();
        *bytes = rest;
        Ok(())
    }

    fn pay(&mut self, account: Account, count: u32, flood: Flood) -> Result<(), Violation> {
        ensure(self.budgets.pay(account, count), calm(flood))
    }

    fn head(&mut self, head: Head) -> Result<(), Violation> {
        ensure(
            head.length <= self.limits.frame_bytes,
            frame_size("a frame longer than SETTINGS_MAX_FRAME_SIZE (RFC 9113, 4.2)"),
        )?;
        if !self.is_greeted {
            // `h2` takes whatever comes first.
            ensure(
                head.kind == kind::SETTINGS && !head.has(flag::ACK),
                protocol("the first frame is not SETTINGS (RFC 9113, 3.4)"),
            )?;
            self.is_greeted = true;
        }
        if let Some(block) = self.block {
            ensure(
                head.kind == kind::CONTINUATION && head.stream == block.stream,
                protocol("something else within a field block (RFC 9113, 6.10)"),
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
                Err(protocol("PUSH_PROMISE where none is allowed (RFC 9113, 6.6 and 8.4)"))
            }
            kind::PING => {
                ensure(head.length == 8, frame_size("PING not of 8 bytes (RFC 9113, 6.7)"))?;
                self.pay(Account::Pings, 1, Flood::Ping)
            }
            kind::GOAWAY => {
                ensure(head.length >= 8, frame_size("GOAWAY below 8 bytes (RFC 9113, 6.8)"))?;
                self.pay(Account::Others, 1, Flood::Unknown)
            }
            kind::WINDOW_UPDATE => {
                ensure(
                    head.length == 4,
                    frame_size("WINDOW_UPDATE not of 4 bytes (RFC 9113, 6.9)"),
                )?;
                self.received.ask(4);
                Ok(())
            }
            kind::CONTINUATION => {
                Err(protocol("CONTINUATION without a field block (RFC 9113, 6.10)"))
            }
            kind::PRIORITY_UPDATE => self.pay(Account::Priorities, 1, Flood::Priority),
            _ => self.pay(Account::Others, 1, Flood::Unknown),
        }
    }

    /// Whether a frame may stand on that stream, or on none (RFC 9113, sections 5.1 and 6).
    fn place(&self, head: Head) -> Result<(), Violation> {
        let on_stream = match head.kind {
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM => true,
            kind::SETTINGS | kind::PING | kind::GOAWAY => false,
            // May stand on both, or must be ignored.
            _ if head.kind != kind::WINDOW_UPDATE || head.stream == 0 => return Ok(()),
            _ => true,
        };
        ensure(
            on_stream == (head.stream != 0),
            protocol("a frame of a stream on none, or the other way round (RFC 9113, 6)"),
        )?;
        if !on_stream || head.kind == kind::PRIORITY {
            return Ok(());
        }
        // Even ones are a server's own, which are not opened here.
        ensure(head.stream % 2 == 1, protocol("a stream with an even number (RFC 9113, 5.1.1)"))?;
        let carries = matches!(head.kind, kind::DATA | kind::HEADERS);
        let opens = head.kind == kind::HEADERS && self.peer == Peer::Client;
        match self.streams.state(head.stream) {
            State::Idle => ensure(opens, protocol("a frame on an idle stream (RFC 9113, 5.1)")),
            State::Skipped => ensure(
                head.kind == kind::WINDOW_UPDATE || head.kind == kind::RST_STREAM,
                protocol("a stream older than the newest (RFC 9113, 5.1.1)"),
            ),
            // `h2` says PROTOCOL_ERROR.
            State::Finished => ensure(
                !carries,
                broken(
                    code::STREAM_CLOSED,
                    "a frame after END_STREAM or RST_STREAM (RFC 9113, 5.1)",
                ),
            ),
            State::Open | State::Forgotten => Ok(()),
        }
    }

    fn data_head(&mut self, head: Head) -> Result<(), Violation> {
        if head.has(flag::END_STREAM) {
            self.streams.finish(head.stream);
        }
        if head.has(flag::PADDED) {
            ensure(head.length > 0, frame_size("DATA without its padding (RFC 9113, 6.1)"))?;
            self.received.ask(1);
            return Ok(());
        }
        self.content(head, head.length)
    }

    /// DATA with `length` bytes of content.
    fn content(&mut self, head: Head, length: u32) -> Result<(), Violation> {
        // There is one end of a stream, so it need not be counted.
        match length {
            _ if head.has(flag::END_STREAM) => Ok(()),
            0 => self.pay(Account::EmptyData, 1, Flood::EmptyData),
            1..TINY_DATA_BYTES => self.pay(Account::TinyData, 1, Flood::EmptyData),
            _ => Ok(()),
        }
    }

    fn headers_head(&mut self, head: Head) -> Result<(), Violation> {
        let padding = usize::from(head.has(flag::PADDED));
        let before = padding + if head.has(flag::PRIORITY) { 5 } else { 0 };
        ensure(
            head.length as usize >= before,
            frame_size("HEADERS without their padding or priority (RFC 9113, 4.2)"),
        )?;
        if self.peer == Peer::Client && self.streams.state(head.stream) == State::Idle {
            self.streams.open(head.stream);
            self.budgets.give(Account::Priorities, 2);
            self.budgets.give(Account::Others, 1);
        }
        if head.has(flag::END_STREAM) {
            self.streams.finish(head.stream);
        }
        if head.has(flag::PRIORITY) {
            self.received.ask(before);
        }
        self.block = Some(Block { stream: head.stream, bytes: 0, continuations: 0 });
        self.block_piece(head)
    }

    fn continuation(&mut self, head: Head, mut block: Block) -> Result<(), Violation> {
        block.continuations += 1;
        self.block = Some(block);
        ensure(block.continuations <= self.limits.continuations, calm(Flood::Continuation))?;
        self.block_piece(head)
    }

    /// A piece of a field block.
    fn block_piece(&mut self, head: Head) -> Result<(), Violation> {
        let Some(block) = &mut self.block else { return Ok(()) };
        block.bytes = block.bytes.saturating_add(head.length);
        ensure(block.bytes <= self.limits.block_bytes, calm(Flood::HeaderList))?;
        if head.has(flag::END_HEADERS) {
            self.block = None;
        } else if head.length == 0 {
            self.pay(Account::EmptyBlocks, 1, Flood::Continuation)?;
        }
        Ok(())
    }

    fn priority_head(&mut self, head: Head) -> Result<(), Violation> {
        // A stream error by RFC 9113, section 6.3. We end the connection, which is always allowed
        // (section 5.4.1): nobody sends such a thing by mistake.
        ensure(head.length == 5, frame_size("PRIORITY not of 5 bytes (RFC 9113, 6.3)"))?;
        self.pay(Account::Priorities, 1, Flood::Priority)?;
        self.received.ask(4);
        Ok(())
    }

    fn reset(&mut self, head: Head) -> Result<(), Violation> {
        ensure(head.length == 4, frame_size("RST_STREAM not of 4 bytes (RFC 9113, 6.4)"))?;
        self.streams.finish(head.stream);
        match self.peer {
            Peer::Client => self.pay(Account::Resets, 1, Flood::RapidReset),
            Peer::Server => Ok(()),
        }
    }

    fn settings_head(&mut self, head: Head) -> Result<(), Violation> {
        if head.has(flag::ACK) {
            ensure(head.length == 0, frame_size("SETTINGS with ACK and more (RFC 9113, 6.5)"))?;
        }
        ensure(
            head.length.is_multiple_of(SETTING_BYTES as u32),
            frame_size("SETTINGS of a length that is no multiple of 6 (RFC 9113, 6.5)"),
        )?;
        let settings = head.length / SETTING_BYTES as u32;
        self.pay(Account::Settings, 1 + settings / SETTINGS_PER_TOKEN, Flood::Settings)?;
        self.received.ask(SETTING_BYTES);
        Ok(())
    }

    /// The bytes that were asked for.
    fn part(&mut self, head: Head, part: [u8; PART_BYTES]) -> Result<(), Violation> {
        let [first, second, ..] = part;
        let word = |at: usize| {
            let bytes = part.get(at..).and_then(<[u8]>::first_chunk).copied();
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        match head.kind {
            kind::DATA => {
                let length = (head.length - 1).checked_sub(first.into());
                let length =
                    length.ok_or(protocol("DATA with too much padding (RFC 9113, 6.1)"))?;
                self.content(head, length)
            }
            // `h2` resets the stream without decoding the field block, and so loses the state of
            // the decoder for the whole connection.
            kind::HEADERS => {
                let dependency = word(usize::from(head.has(flag::PADDED)));
                self.dependency(head, dependency)
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
    fn dependency(&self, head: Head, dependency: u32) -> Result<(), Violation> {
        ensure(
            dependency & WINDOW_MAX != head.stream,
            protocol("a stream that depends on itself (RFC 7540, 5.3.1)"),
        )
    }

    fn window_update(&mut self, increment: u32) -> Result<(), Violation> {
        // A stream error if it is on a stream (RFC 9113, section 6.9); `h2` too ends the
        // connection.
        ensure(increment > 0, protocol("WINDOW_UPDATE by 0 (RFC 9113, 6.9)"))?;
        if increment < SMALL_WINDOW_BYTES {
            self.pay(Account::SmallWindows, 1, Flood::SmallWindow)?;
        }
        self.pay(Account::WindowUpdates, 1, Flood::WindowUpdate)
    }

    /// RFC 9113, section 6.5.2.
    fn setting(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            setting::ENABLE_PUSH => {
                let most = if self.peer == Peer::Client { 1 } else { 0 };
                ensure(value <= most, protocol("SETTINGS_ENABLE_PUSH (RFC 9113, 6.5.2)"))
            }
            setting::INITIAL_WINDOW_SIZE => {
                ensure(
                    value <= WINDOW_MAX,
                    broken(
                        code::FLOW_CONTROL_ERROR,
                        "SETTINGS_INITIAL_WINDOW_SIZE too large (RFC 9113, 6.5.2)",
                    ),
                )?;
                if value < SMALL_WINDOW_BYTES {
                    let cost = SMALL_INITIAL_WINDOW_COST;
                    self.pay(Account::SmallWindows, cost, Flood::SmallWindow)?;
                }
                Ok(())
            }
            setting::MAX_FRAME_SIZE => ensure(
                FRAME_SIZES.contains(&value),
                protocol("SETTINGS_MAX_FRAME_SIZE out of range (RFC 9113, 6.5.2)"),
            ),
            setting::ENABLE_CONNECT_PROTOCOL => {
                ensure(
                    value == 1 || value == 0 && !self.offers_connect,
                    protocol("SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, 3)"),
                )?;
                self.offers_connect = value == 1;
                Ok(())
            }
            // Any value, or a setting that must be ignored.
            _ => Ok(()),
        }
    }

    /// Looks at the next bytes that we have sent: what a peer gets decides what it may ask for,
    /// and our own resets tell of its mistakes. A violation is told by the next `inspect`.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        let preface = (PREFACE.len() - usize::from(self.own_preface)).min(bytes.len());
        self.own_preface += u8::try_from(preface).unwrap_or_default();
        bytes = bytes.get(preface..).unwrap_or_default();
        while let Some(piece) = self.sending.next(&mut bytes) {
            match piece {
                Piece::Head(head) => self.sent_head(head),
                Piece::Part(_, [a, b, c, d, ..]) => {
                    self.own_reset(u32::from_be_bytes([a, b, c, d]));
                }
            }
        }
    }

    fn sent_head(&mut self, head: Head) {
        let is_end = head.has(flag::END_STREAM);
        match head.kind {
            kind::RST_STREAM => return self.sending.ask(4),
            kind::DATA => {
                self.budgets.give(Account::WindowUpdates, 2);
                self.budgets.give(Account::Pings, 1);
                // A client that gives back just what it got does no harm: the answer was that small.
                if is_end && head.length < SMALL_WINDOW_BYTES {
                    self.budgets.give(Account::SmallWindows, 1);
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
            self.budgets.give_half(Account::Resets);
        }
    }

    /// We have reset a stream. Only some reasons are the peer's doing.
    fn own_reset(&mut self, reason: u32) {
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
            && !self.budgets.pay(Account::OwnResets, 1)
            && self.violation.is_none()
        {
            self.violation = Some(calm(Flood::MadeYouReset));
        }
    }
}
