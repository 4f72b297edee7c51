//! Frame heads, and the numbers of RFC 9113.

/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head (RFC 9113, section 4.1).
pub const HEADER_BYTES: usize = 9;

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    /// Content.
    pub const DATA: u8 = 0x0;
    /// The beginning of a field block.
    pub const HEADERS: u8 = 0x1;
    /// A priority, deprecated.
    pub const PRIORITY: u8 = 0x2;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 0x3;
    /// Settings, or their acknowledgement.
    pub const SETTINGS: u8 = 0x4;
    /// A request that a server makes up.
    pub const PUSH_PROMISE: u8 = 0x5;
    /// A question for a sign of life, or its answer.
    pub const PING: u8 = 0x6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 0x7;
    /// More room for content.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// More of a field block.
    pub const CONTINUATION: u8 = 0x9;
    /// A priority in the new form (RFC 9218, section 7.1).
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Flags of frames.
pub mod flag {
    /// Of DATA and HEADERS: the last of this side.
    pub const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING: an answer.
    pub const ACK: u8 = 0x1;
    /// Of HEADERS and CONTINUATION: the field block is whole.
    pub const END_HEADERS: u8 = 0x4;
    /// Of DATA and HEADERS: the payload is padded.
    pub const PADDED: u8 = 0x8;
    /// Of HEADERS: a priority precedes the field block.
    pub const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113, section 6.5.2).
pub mod setting {
    /// Room for the decoder's table.
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    /// Whether the server may push.
    pub const ENABLE_PUSH: u16 = 0x2;
    /// How many streams the other side may have open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// The window that a stream begins with.
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// The longest payload of a frame.
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    /// The longest list of fields, advisory.
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// Whether extended CONNECT is understood (RFC 8441, section 3).
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// Error codes (RFC 9113, section 7).
pub mod code {
    /// No error: a graceful end.
    pub const NO_ERROR: u32 = 0x0;
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: u32 = 0x1;
    /// Something failed here.
    pub const INTERNAL_ERROR: u32 = 0x2;
    /// More was sent than the window allows, or a window grew too large.
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    /// Settings were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: u32 = 0x4;
    /// A frame for a stream that its sender has finished.
    pub const STREAM_CLOSED: u32 = 0x5;
    /// A frame of a wrong length.
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    /// A stream was not processed, and may be tried again.
    pub const REFUSED_STREAM: u32 = 0x7;
    /// The stream is no longer needed.
    pub const CANCEL: u32 = 0x8;
    /// A field block cannot be read.
    pub const COMPRESSION_ERROR: u32 = 0x9;
    /// A tunnel broke.
    pub const CONNECT_ERROR: u32 = 0xa;
    /// The peer causes excessive load.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
    /// The transport is not safe enough.
    pub const INADEQUATE_SECURITY: u32 = 0xc;
    /// HTTP/1.1 is needed for this.
    pub const HTTP_1_1_REQUIRED: u32 = 0xd;
}

/// A frame's head (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub length: u32,
    /// One of [`kind`], or another.
    pub kind: u8,
    /// Some of [`flag`], by kind.
    pub flags: u8,
    /// The stream's number without the reserved bit; 0 is the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads a head. The reserved bit before the stream's number is ignored, as it must be.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Prints a head. A length of more than 24 bits loses those beyond.
    pub fn print(&self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
