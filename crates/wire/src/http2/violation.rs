//! The violations that a [`Guard`](super::Guard) can find.

use thiserror::Error;

use super::frame::code;

/// The kind of a violation, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViolationKind {
    /// Streams opened and reset (CVE-2023-44487).
    RapidReset,
    /// Streams that the peer made us reset (CVE-2025-8671).
    MadeYouReset,
    /// PING frames.
    Ping,
    /// SETTINGS frames.
    Settings,
    /// DATA frames with no content, or next to none.
    EmptyData,
    /// PRIORITY and PRIORITY_UPDATE frames.
    Priority,
    /// WINDOW_UPDATE frames.
    WindowUpdate,
    /// Windows so small that they split content into tiny frames.
    SmallWindow,
    /// CONTINUATION frames, or empty pieces of field blocks.
    Continuation,
    /// A field block that is too long.
    HeaderList,
    /// Frames of unknown types, or several GOAWAY.
    Unknown,
    /// Excess that `h2` itself refuses: a list of fields far too long, small DATA frames that wait.
    Other,
    /// A frame or a field block that does not become complete.
    Unfinished,
    /// No flood: a broken rule of RFC 9113.
    Frame(&'static str),
}

impl ViolationKind {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 14] = [
        "rapid_reset",
        "made_you_reset",
        "ping",
        "settings",
        "empty_data",
        "priority",
        "window_update",
        "small_window",
        "continuation",
        "header_list",
        "unknown",
        "other",
        "frame",
        "unfinished",
    ];

    /// Its place among [`ViolationKind::NAMES`].
    pub fn index(self) -> usize {
        match self {
            Self::RapidReset => 0,
            Self::MadeYouReset => 1,
            Self::Ping => 2,
            Self::Settings => 3,
            Self::EmptyData => 4,
            Self::Priority => 5,
            Self::WindowUpdate => 6,
            Self::SmallWindow => 7,
            Self::Continuation => 8,
            Self::HeaderList => 9,
            Self::Unknown => 10,
            Self::Other => 11,
            Self::Frame(_) => 12,
            Self::Unfinished => 13,
        }
    }

    /// As in the metrics.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or("frame")
    }
}

/// Why a connection has to end. The answer is GOAWAY with [`Violation::reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct Violation {
    /// The error code (RFC 9113, section 7).
    pub reason: u32,
    /// What it was.
    pub kind: ViolationKind,
}

impl Violation {
    /// In words, for the log.
    pub fn text(&self) -> &'static str {
        match self.kind {
            ViolationKind::RapidReset => "the peer resets too many streams",
            ViolationKind::MadeYouReset => "the peer makes us reset too many streams",
            ViolationKind::Ping => "too many PING frames",
            ViolationKind::Settings => "too many SETTINGS frames",
            ViolationKind::EmptyData => "too many DATA frames with next to no content",
            ViolationKind::Priority => "too many priorities",
            ViolationKind::WindowUpdate => "too many WINDOW_UPDATE frames",
            ViolationKind::SmallWindow => "the peer's windows are too small",
            ViolationKind::Continuation => "too many CONTINUATION frames",
            ViolationKind::HeaderList => "a field block is too long",
            ViolationKind::Unknown => "too many frames of unknown types",
            ViolationKind::Unfinished => "a frame or a field block did not come whole in time",
            ViolationKind::Other => "the peer causes too much load",
            ViolationKind::Frame(text) => text,
        }
    }
}

/// A broken rule.
pub(super) const fn broken_rule(reason: u32, text: &'static str) -> Violation {
    Violation { reason, kind: ViolationKind::Frame(text) }
}

/// The same, of the most common code.
pub(super) const fn protocol_error(text: &'static str) -> Violation {
    broken_rule(code::PROTOCOL_ERROR, text)
}

/// A frame of a wrong length.
pub(super) const fn frame_size_error(text: &'static str) -> Violation {
    broken_rule(code::FRAME_SIZE_ERROR, text)
}

/// A flood.
pub(super) const fn flood(kind: ViolationKind) -> Violation {
    Violation { reason: code::ENHANCE_YOUR_CALM, kind }
}

/// An error unless `condition` holds.
pub(super) fn ensure(condition: bool, violation: Violation) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(violation) }
}
