//! The ways in which servers are known to read a path.
//!
//! A path as written is one reading. Where it has empty segments, `;`, a backslash or encoded separators,
//! upstream servers may see other segments: [`Readings::of`] finds each path that some order of their steps
//! leads to (merging, decoding, cutting, removing dot segments). The route is then looked up for all of them,
//! and a request passes only if they agree.
//! Not here: the handling of a difference (`rules`).
//! Invariant: time and memory are bounded for any path, and memory is reused.

use std::fmt;

use super::path::{Backslashes, Traits, dots, push_byte, push_canonical, unicode};
use super::{Target, TargetError};

/// Readings at most. Paths with two or three kinds of oddities have a dozen.
const READINGS_MAX: usize = 160;
/// Bytes of all of them together.
const READINGS_BYTES_MAX: usize = 128 * 1024;

/// What servers do to a path before they look at it; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PathSteps(u8);

impl PathSteps {
    /// Nothing: the path as written.
    pub const NONE: Self = Self(0);
    /// Empty segments are merged: `//a` is `/a`.
    pub const MERGED: Self = Self(1);
    /// A leading `//name` is a host.
    pub const HOST: Self = Self(1 << 1);
    /// Encoded separators are decoded, and a backslash is a slash: `%2f`, `%5c`, `\`, `%u002f`.
    pub const DECODED: Self = Self(1 << 2);
    /// What follows a `;` is cut from its segment.
    pub const PARAMETERS: Self = Self(1 << 3);
    /// Upper and lower case are the same.
    pub const CASE: Self = Self(1 << 4);
    /// Each with what it does, for people.
    const ALL: [(Self, &str); 5] = [
        (Self::MERGED, "empty segments merged"),
        (Self::HOST, "a leading `//name` taken for a host"),
        (Self::DECODED, "encoded separators decoded"),
        (Self::PARAMETERS, "`;…` cut from segments"),
        (Self::CASE, "case ignored"),
    ];

    /// True if all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if there is none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// As in "the path with …".
impl fmt::Display for PathSteps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, words) in Self::ALL.iter().filter(|(step, _)| self.contains(*step)) {
            write!(out, "{separator}{words}")?;
            separator = " and ";
        }
        Ok(())
    }
}

/// A step of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Dots,
    Merge,
    Host,
    Slash,
    Backslash,
    RawBackslash,
    Nul,
    Semicolon,
    Unicode,
    Cut,
}

impl Step {
    const ALL: [(Self, PathSteps); 10] = [
        (Self::Dots, PathSteps::NONE),
        (Self::Merge, PathSteps::MERGED),
        (Self::Host, PathSteps::HOST),
        (Self::Slash, PathSteps::DECODED),
        (Self::Backslash, PathSteps::DECODED),
        (Self::RawBackslash, PathSteps::DECODED),
        (Self::Unicode, PathSteps::DECODED),
        (Self::Nul, PathSteps::DECODED),
        (Self::Semicolon, PathSteps::DECODED),
        (Self::Cut, PathSteps::PARAMETERS),
    ];

    /// Whether it can matter for a path that has these.
    fn matters(self, traits: Traits) -> bool {
        let any = |some: &[Traits]| some.iter().any(|&one| traits.has(one));
        let slashes = [
            Traits::ENCODED_SLASH,
            Traits::ENCODED_BACKSLASH,
            Traits::BACKSLASH,
            Traits::UNICODE,
            // Cutting may leave an empty segment.
            Traits::SEMICOLON,
            Traits::ENCODED_SEMICOLON,
        ];
        match self {
            Self::Dots => true,
            Self::Merge | Self::Host => traits.has(Traits::DOUBLE_SLASH) || any(&slashes),
            Self::Slash => traits.has(Traits::ENCODED_SLASH),
            Self::Backslash => traits.has(Traits::ENCODED_BACKSLASH),
            Self::RawBackslash => any(&[Traits::BACKSLASH, Traits::UNICODE]),
            Self::Unicode => traits.has(Traits::UNICODE),
            Self::Nul => traits.has(Traits::ENCODED_NUL),
            Self::Semicolon => traits.has(Traits::ENCODED_SEMICOLON),
            Self::Cut => any(&[Traits::SEMICOLON, Traits::ENCODED_SEMICOLON, Traits::UNICODE]),
        }
    }

    /// Writes what it makes of a path. `mount`: below this, a leading `//name` is one too.
    fn apply(self, path: &[u8], mount: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Dots => remove_dots(path, out),
            Self::Merge => {
                for &byte in path {
                    if byte != b'/' || out.last() != Some(&b'/') {
                        out.push(byte);
                    }
                }
            }
            Self::Host => {
                let (mount, rest) = match path.strip_prefix(mount) {
                    Some(rest) if rest.starts_with(b"//") => (mount, rest),
                    _ => (&b""[..], path),
                };
                out.extend_from_slice(mount);
                push_without_host(rest, out);
            }
            Self::Slash => replace(path, b"%2F", b"/", out),
            Self::Backslash => replace(path, b"%5C", b"/", out),
            Self::RawBackslash => replace(path, b"\\", b"/", out),
            Self::Semicolon => replace(path, b"%3B", b";", out),
            Self::Unicode => decode_unicode(path, out),
            Self::Nul => {
                let end = path.windows(3).position(|escape| escape == b"%00");
                out.extend_from_slice(path.get(..end.unwrap_or(path.len())).unwrap_or_default());
            }
            Self::Cut => {
                let mut is_cut = false;
                for &byte in path {
                    is_cut = byte == b';' || (is_cut && byte != b'/');
                    if !is_cut {
                        out.push(byte);
                    }
                }
            }
        }
    }
}

fn replace(path: &[u8], from: &[u8], to: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) => {
                out.extend_from_slice(to);
                rest = after;
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
}

/// In canonical text a `%` that stood for itself is `%25`.
fn decode_unicode(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = rest.strip_prefix(b"%25").and_then(|after| Some((unicode(after)?, after)));
        match decoded {
            Some((value, after)) => {
                push_byte(value, out);
                rest = after.get(5..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
}

/// Takes a leading `//name` away, as those do who read the path as a reference (RFC 3986, section
/// 4.2) or as a URL; to the latter any number of slashes is as good as two.
fn push_without_host(path: &[u8], out: &mut Vec<u8>) {
    if !path.starts_with(b"//") {
        return out.extend_from_slice(path);
    }
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let name = path.get(start..).unwrap_or_default();
    match name.iter().position(|&byte| byte == b'/') {
        Some(end) => out.extend_from_slice(name.get(end..).unwrap_or_default()),
        None => out.push(b'/'),
    }
}

/// RFC 3986, section 5.2.4; empty segments are kept.
fn remove_dots(path: &[u8], out: &mut Vec<u8>) {
    let inside = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments = inside.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let dots = dots(segment);
        if dots == 0 {
            out.push(b'/');
            out.extend_from_slice(segment);
            continue;
        }
        if dots == 2 {
            out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
}

fn has_dots(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| dots(segment) > 0)
}

/// One path that servers may see.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    steps: PathSteps,
    /// Whether a host was taken off, which happens once.
    host: bool,
}

/// A path has more readings than are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in too many ways")]
pub struct TooManyReadings;

/// The readings of a path, in memory that is used again.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    bytes: Vec<u8>,
    found: Vec<Found>,
    scratch: Vec<u8>,
}

impl Readings {
    /// Finds the readings of a target's path by servers that do some of `steps`. `mount`: what is
    /// cut off the path's start before servers see it, which may make `//name` of what follows.
    pub fn of(
        &mut self,
        target: &Target,
        steps: PathSteps,
        mount: &str,
    ) -> Result<(), TooManyReadings> {
        self.bytes.clear();
        self.found.clear();
        let mut ignored = Traits::default();
        for path in [target.sent_path(), target.path_as_it_came()] {
            self.scratch.clear();
            push_canonical(path, Backslashes::Keep, &mut self.scratch, &mut ignored);
            self.keep(PathSteps::NONE, false)?;
        }
        let traits = target.traits;
        let matters =
            |&&(step, kind): &&(Step, PathSteps)| steps.contains(kind) && step.matters(traits);
        let mut next = 0;
        while let Some(&from) = self.found.get(next) {
            next += 1;
            for &(step, kind) in Step::ALL.iter().filter(matters) {
                if step == Step::Host && from.host {
                    continue;
                }
                self.scratch.clear();
                let path = self.bytes.get(from.start..from.end).unwrap_or_default();
                step.apply(path, mount.as_bytes(), &mut self.scratch);
                if self.scratch != path {
                    self.keep(from.steps.with(kind), from.host || step == Step::Host)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the path in `scratch`, unless it is there already.
    fn keep(&mut self, steps: PathSteps, host: bool) -> Result<(), TooManyReadings> {
        let Self { bytes, found, scratch } = self;
        let is_known = found.iter().any(|known| {
            known.host <= host && bytes.get(known.start..known.end) == Some(scratch.as_slice())
        });
        if is_known {
            return Ok(());
        }
        let (start, end) = (bytes.len(), bytes.len() + scratch.len());
        if found.len() >= READINGS_MAX || end > READINGS_BYTES_MAX {
            return Err(TooManyReadings);
        }
        bytes.extend_from_slice(scratch);
        found.push(Found { start, end, steps, host });
        Ok(())
    }

    /// Calls `see` with each reading, a path in canonical text without dot segments, and the steps that lead to it,
    /// until `see` returns something. The path as written is one of them.
    pub fn find<T>(
        &mut self,
        mut see: impl FnMut(&str, PathSteps) -> Option<T>,
    ) -> Result<Option<T>, TargetError> {
        let Self { bytes, found, scratch } = self;
        for reading in found.iter() {
            let path = bytes.get(reading.start..reading.end).unwrap_or_default();
            if has_dots(path) {
                continue; // what it is without them is another one
            }
            scratch.clear();
            replace(path, b"\\", b"%5C", scratch);
            if let Some(seen) = see(super::path::text(scratch)?, reading.steps) {
                return Ok(Some(seen));
            }
        }
        Ok(None)
    }

    /// Gives memory back that is beyond what a usual path needs.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to(4096);
        self.scratch.shrink_to(1024);
        self.found.shrink_to(32);
    }
}
