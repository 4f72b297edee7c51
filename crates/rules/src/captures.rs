//! What a route captures of a request: segments of the path, groups of a regular expression, a label of the host.

use config::{HostCapture, Pattern, PatternEnd, Route, Segment};
use message::Target;

/// What a route's pattern, and the names of its site, hold of a request. Nothing is kept: a capture is found again when a
/// template names it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Captures<'a> {
    pattern: Option<&'a Pattern>,
    /// As the client wrote it.
    path: &'a [u8],
    /// In canonical spelling.
    routed: &'a str,
    host: &'a str,
    of_host: &'a [HostCapture],
}

impl<'a> Captures<'a> {
    /// The captures of a request that the route took.
    pub fn of(route: &'a Route, target: &'a Target) -> Self {
        Self {
            pattern: Some(&route.pattern),
            path: target.sent_path(),
            routed: target.path(),
            host: target.host(),
            of_host: &route.host_captures,
        }
    }

    /// The same captures in another spelling of the path.
    pub(crate) fn with_path(self, path: &'a [u8]) -> Self {
        Self { path, ..self }
    }

    /// The captures of a path that the pattern has, in one spelling for all.
    pub fn of_pattern(pattern: &'a Pattern, path: &'a [u8]) -> Self {
        let routed = str::from_utf8(path).unwrap_or_default();
        Self { pattern: Some(pattern), path, routed, ..Self::default() }
    }

    /// The value of `{name}`; `{rest}` is what `*` matched.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.of_path(name).or_else(|| self.of_host(name))
    }

    fn of_path(&self, name: &str) -> Option<&'a [u8]> {
        let pattern = self.pattern?;
        if let PatternEnd::Regex(regex) = &pattern.end {
            return regex.group(name, self.routed.as_bytes());
        }
        let of_name = |segment: &Segment| matches!(segment, Segment::Capture(n) if **n == *name);
        match pattern.segments.iter().position(of_name) {
            Some(index) => self.path.strip_prefix(b"/")?.split(|&b| b == b'/').nth(index),
            None if name == "rest" => self.rest(),
            None => None,
        }
    }

    fn of_host(&self, name: &str) -> Option<&'a [u8]> {
        let mut named = self.of_host.iter().filter(|capture| *capture.name == *name);
        named.find_map(|capture| capture.label(self.host)).map(str::as_bytes)
    }

    /// What the `*` in a pattern took, without the slash before it; of `/ws*`, `/x` for `/ws/x`.
    pub fn rest(&self) -> Option<&'a [u8]> {
        let pattern = self.pattern?;
        let below = |path: &'a [u8]| {
            let segments = path.strip_prefix(b"/")?;
            let count = pattern.segments.len();
            let rest = segments.splitn(count + 1, |&byte| byte == b'/').nth(count);
            Some(rest.unwrap_or_default())
        };
        match &pattern.end {
            PatternEnd::Prefix => below(self.path),
            PatternEnd::Suffix(suffix) => {
                let without = |path| below(path)?.strip_suffix(suffix.as_bytes());
                // A client may have percent-encoded the suffix.
                without(self.path).or_else(|| without(self.routed.as_bytes()))
            }
            PatternEnd::Start(start) => {
                let without = |path| below(path)?.strip_prefix(start.as_bytes());
                without(self.path).or_else(|| without(self.routed.as_bytes()))
            }
            PatternEnd::Exact | PatternEnd::Regex(_) => None,
        }
    }
}
