//! The canonical target of a request: scheme, authority, path and query, decided once.
//!
//! [`Target::parse`] reads what a client sent as request target and `Host`, and keeps one spelling
//! of it to decide by: host in lower case, default port dropped, path with percent-encoding
//! normalised and dot segments removed. Routing and authorisation use this value. Upstreams get the
//! client's own spelling, without dot segments ([`Target::sent`]; a forward proxy sends
//! [`Target::as_it_came`]). Where servers may read that in several ways, [`Readings`] has them.
//! Not here: how a target is written in another protocol's head.
//! Invariant: canonical text is ASCII without space and control bytes, and parsing what
//! [`Target::authority`] and [`Target::path_and_query`] give, or what is sent, yields the same
//! canonical value again.

mod authority;
mod path;
mod readings;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use crate::Method;
use authority::Authority;
use path::Traits;

pub use readings::{PathSteps, Readings, TooManyReadings};

/// Scheme of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Scheme {
    /// `http`
    #[default]
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// In lower case, without the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that need not be written (RFC 9110, sections 4.2.1 and 4.2.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The form a target came in (RFC 9112, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path`
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// Why a target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host is empty, no DNS name and no address, or an address in an unusual notation.
    #[error("the request's host is not a valid name or address")]
    InvalidHost,
    /// The port is not a number from 1 to 65535.
    #[error("the request's port is not a number from 1 to 65535")]
    InvalidPort,
    /// There is a user name or password in the target or in `Host`.
    #[error("the request's target holds user information")]
    Userinfo,
    /// There is a `#` in the target.
    #[error("the request's target holds a fragment")]
    Fragment,
    /// A byte that no target may hold: space, control.
    #[error("the request's target holds a byte that must be percent-encoded")]
    InvalidByte,
    /// A URI, but not of a scheme that we serve.
    #[error("the request's target is neither of scheme http nor of https")]
    UnknownScheme,
    /// None of the forms that the method may have: `*` without OPTIONS, CONNECT without
    /// `host:port`, neither a path nor a URI.
    #[error("the request's target has a form that its method does not allow")]
    InvalidForm,
}

impl TargetError {
    /// The status of the response to it.
    pub fn status(self) -> u16 {
        400
    }
}

/// A canonical target.
#[derive(Clone, Default)]
pub struct Target {
    form: Form,
    scheme: Scheme,
    authority: String,
    /// Where the host lies in `authority`.
    host: Range<usize>,
    ip: Option<IpAddr>,
    port: u16,
    explicit_port: Option<u16>,
    /// The authority as it was written; empty if that is `authority`.
    written: String,
    has_unusual_host: bool,
    path_and_query: String,
    path_length: usize,
    /// What goes upstream; empty if that is `path_and_query`.
    sent: Vec<u8>,
    sent_path_length: usize,
    /// What came; empty if that is `sent`.
    came: Vec<u8>,
    came_path_length: usize,
    /// What in the path servers read in different ways.
    traits: Traits,
    /// What the client asked a trusted proxy for, where that says so.
    outer: Outer,
    /// Memory for paths that are not canonical yet.
    scratch: Vec<u8>,
    /// The result for the last `Host`. Most requests of one connection have the same.
    last: LastHost,
}

/// Scheme and host by which a client reached the outermost proxy that is trusted. They route nothing
/// here, but what the client gets to see must fit them.
#[derive(Clone, Default)]
struct Outer {
    scheme: Option<Scheme>,
    has_host: bool,
    /// The host, if there is one; else memory.
    target: Option<Box<Target>>,
}

impl Outer {
    fn host(&self) -> Option<&Target> {
        self.target.as_deref().filter(|_| self.has_host)
    }
}

/// A `Host` value and what it means; it says nothing about the present request.
#[derive(Clone, Default)]
struct LastHost {
    raw: Vec<u8>,
    scheme: Scheme,
    authority: String,
    host: Range<usize>,
    ip: Option<IpAddr>,
    port: u16,
    explicit_port: Option<u16>,
    written: String,
    has_unusual_host: bool,
}

/// Bytes of a `Host` value that is kept.
const LAST_HOST_BYTES_MAX: usize = 256;

impl Target {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.form = Form::Origin;
        self.scheme = Scheme::Http;
        self.authority.clear();
        self.host = 0..0;
        self.ip = None;
        self.port = 0;
        self.explicit_port = None;
        self.written.clear();
        self.has_unusual_host = false;
        self.path_and_query.clear();
        self.path_length = 0;
        self.sent.clear();
        self.came.clear();
        self.traits = Traits::default();
        self.outer.scheme = None;
        self.outer.has_host = false;
    }

    /// Gives memory back that is beyond what a usual target needs.
    pub fn shrink(&mut self) {
        self.authority.shrink_to(256);
        self.path_and_query.shrink_to(1024);
        self.sent.shrink_to(1024);
        self.came.shrink_to(1024);
        self.scratch.shrink_to(1024);
    }

    /// Makes it one of this scheme, and its port the scheme's unless it names one.
    pub fn set_scheme(&mut self, scheme: Scheme) {
        if self.scheme != scheme {
            self.scheme = scheme;
            self.port = self.explicit_port.unwrap_or(scheme.default_port());
        }
    }

    /// Decides the target from the request line's target and the value of `Host`.
    ///
    /// Where the target itself names a host, `host` is not looked at. Where neither does, the host
    /// is empty: a request without `Host` (HTTP/1.0) and one whose `Host` is empty are for the
    /// server that they have reached. That a message of HTTP/1.1 has exactly one `Host` is for the
    /// caller to see to. `default_scheme` is that of the connection. After an error the value must
    /// be cleared before it is read.
    pub fn parse(
        &mut self,
        method: &Method,
        raw: &[u8],
        host: Option<&[u8]>,
        default_scheme: Scheme,
    ) -> Result<(), TargetError> {
        self.clear();
        self.scheme = default_scheme;
        match (method, raw) {
            // RFC 9112, section 3.2.3: CONNECT takes the authority-form, and nothing else does.
            (Method::Connect, _) => self.parse_authority_form(raw),
            (_, [b'/', ..]) => {
                self.set_host(host)?;
                self.set_path(raw)
            }
            // RFC 9112, section 3.2.4: the asterisk-form is for OPTIONS only.
            (Method::Options, b"*") => {
                self.form = Form::Asterisk;
                self.set_host(host)?;
                self.set_asterisk();
                Ok(())
            }
            _ => self.parse_absolute_form(method, raw),
        }
    }

    /// Decides host and port of a target that does not name them itself.
    fn set_host(&mut self, raw: Option<&[u8]>) -> Result<(), TargetError> {
        let raw = raw.unwrap_or_default();
        if raw.is_empty() {
            // RFC 9112, section 3.2: whose target has no authority sends an empty `Host`.
            self.port = self.scheme.default_port();
            return Ok(());
        }
        let last = &self.last;
        if last.raw == raw && last.scheme == self.scheme {
            self.authority.push_str(&last.authority);
            self.host = last.host.clone();
            self.ip = last.ip;
            self.port = last.port;
            self.explicit_port = last.explicit_port;
            self.written.push_str(&last.written);
            self.has_unusual_host = last.has_unusual_host;
            return Ok(());
        }
        self.set_authority(Authority::parse(raw)?);
        let last = &mut self.last;
        last.raw.clear();
        if raw.len() <= LAST_HOST_BYTES_MAX {
            last.raw.extend_from_slice(raw);
            last.authority.clone_from(&self.authority);
            last.scheme = self.scheme;
            last.host = self.host.clone();
            last.ip = self.ip;
            last.port = self.port;
            last.explicit_port = self.explicit_port;
            last.written.clone_from(&self.written);
            last.has_unusual_host = self.has_unusual_host;
        }
        Ok(())
    }

    fn parse_authority_form(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        self.form = Form::Authority;
        if raw.iter().any(|byte| matches!(byte, b'/' | b'?' | b'*')) {
            return Err(TargetError::InvalidForm);
        }
        let authority = Authority::parse_usual(raw)?;
        // RFC 9112, section 3.2.3: without a port, CONNECT must be refused. Its target alone says
        // where to: many clients send the proxy's name as `Host`.
        authority.port.ok_or(TargetError::InvalidPort)?;
        self.set_authority(authority);
        Ok(())
    }

    fn parse_absolute_form(&mut self, method: &Method, raw: &[u8]) -> Result<(), TargetError> {
        self.form = Form::Absolute;
        let (scheme, rest) = split_scheme(raw)?;
        self.scheme = scheme;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        // RFC 9112, section 3.2.2: `Host` is ignored here, and what is sent on names this host.
        self.set_authority(Authority::parse(authority)?);
        if path.is_empty() && *method == Method::Options {
            // RFC 9112, section 3.2.4: OPTIONS of a URI without path is about the server itself.
            self.set_asterisk();
            return Ok(());
        }
        self.set_path(path)
    }

    fn set_asterisk(&mut self) {
        self.path_and_query.push('*');
        self.path_length = 1;
    }

    /// The form it came in.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The scheme; with CONNECT that of the connection, which says nothing about the tunnel.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Takes the scheme by which the client asked a trusted proxy.
    pub fn set_outer_scheme(&mut self, scheme: Scheme) {
        self.outer.scheme = Some(scheme);
    }

    /// Takes the host, and perhaps port, for which the client asked a trusted proxy; whose scheme
    /// must be there already. False, and nothing is taken, if that is none.
    pub fn set_outer_host(&mut self, raw: &[u8]) -> bool {
        let scheme = self.outer_scheme();
        let target = self.outer.target.get_or_insert_default();
        let parsed = target.parse(&Method::Get, b"/", Some(raw), scheme);
        self.outer.has_host = parsed.is_ok() && !raw.is_empty();
        self.outer.has_host
    }

    /// Whether a trusted proxy has said which host the client asked for.
    pub fn has_outer_host(&self) -> bool {
        self.outer.has_host
    }

    /// The scheme by which the client asked, as far back as proxies are trusted.
    pub fn outer_scheme(&self) -> Scheme {
        self.outer.scheme.unwrap_or(self.scheme)
    }

    /// The host for which the client asked, as far back as proxies are trusted; else the same as
    /// [`Target::host`].
    pub fn outer_host(&self) -> &str {
        self.outer.host().unwrap_or(self).host()
    }

    /// Host and port for which the client asked, as far back as proxies are trusted; else the same as
    /// [`Target::authority`].
    pub fn outer_authority(&self) -> &str {
        self.outer.host().unwrap_or(self).authority()
    }

    /// The host: a name in lower case without trailing dot, or the canonical text of an address
    /// (IPv6 without brackets). Empty if the request names none.
    pub fn host(&self) -> &str {
        self.authority.get(self.host.clone()).unwrap_or_default()
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The port, be it named or the scheme's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port, if it was named.
    pub fn explicit_port(&self) -> Option<u16> {
        self.explicit_port
    }

    /// Host and port as in `Host`: without the port if it is the scheme's, save with CONNECT,
    /// which always has one. IPv6 in brackets. Empty if the request names no host.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Host and port as the client wrote them, for a `Host` field that is forwarded: case, a default port and a
    /// trailing dot are kept.
    pub fn written_authority(&self) -> &str {
        if self.written.is_empty() { &self.authority } else { &self.written }
    }

    /// True if nothing can be connected to by this host: it ends in a number without being an address, has
    /// characters or a length that DNS does not allow, a zone, or port 0. It can still name a site.
    pub fn has_unusual_host(&self) -> bool {
        self.has_unusual_host
    }

    /// True if two authorities name the same host, whatever their ports: then a request may have both as
    /// `:authority` and `Host` (RFC 9113, section 8.3.1).
    pub fn is_same_host(one: &[u8], other: &[u8]) -> bool {
        let host = |raw| Authority::parse(raw).map(|authority| authority.host);
        one == other || matches!((host(one), host(other)), (Ok(a), Ok(b)) if a == b)
    }

    /// The canonical path, which begins with `/`; `*` if the server itself is meant (OPTIONS), empty
    /// with CONNECT.
    pub fn path(&self) -> &str {
        self.path_and_query.get(..self.path_length).unwrap_or_default()
    }

    /// The canonical query, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.get(self.path_length + 1..)
    }

    /// Canonical path and query, as in an origin-form target.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Path and query that go upstream: as the client wrote them, but for dot segments. There may be
    /// bytes beyond ASCII, and others that RFC 3986 knows in percent-encoding only.
    pub fn sent(&self) -> &[u8] {
        if self.sent.is_empty() { self.path_and_query.as_bytes() } else { &self.sent }
    }

    /// The path of [`Target::sent`]. Its segments are those of [`Target::path`], spelled by the
    /// client.
    pub fn sent_path(&self) -> &[u8] {
        match self.sent.is_empty() {
            true => self.path().as_bytes(),
            false => self.sent.get(..self.sent_path_length).unwrap_or_default(),
        }
    }

    /// The query of [`Target::sent`], without its `?`.
    pub fn sent_query(&self) -> Option<&[u8]> {
        match self.sent.is_empty() {
            true => self.query().map(str::as_bytes),
            false => self.sent.get(self.sent_path_length + 1..),
        }
    }

    /// Path and query as they came, dot segments and all. RFC 9110, section 7.7: a forward proxy
    /// sends them so.
    pub fn as_it_came(&self) -> &[u8] {
        if self.came.is_empty() { self.sent() } else { &self.came }
    }

    fn path_as_it_came(&self) -> &[u8] {
        match self.came.is_empty() {
            true => self.sent_path(),
            false => self.came.get(..self.came_path_length).unwrap_or_default(),
        }
    }

    /// True if servers may read other segments in the path than we do; [`Readings`] lists them. This only tests a
    /// number, and few paths have other readings.
    pub fn has_other_readings(&self) -> bool {
        !self.traits.is_empty()
    }
}

/// Parts a URI at `://`.
fn split_scheme(raw: &[u8]) -> Result<(Scheme, &[u8]), TargetError> {
    let after = |scheme: &str| {
        let (head, rest) = raw.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    };
    if let Some(rest) = after("http://") {
        return Ok((Scheme::Http, rest));
    }
    if let Some(rest) = after("https://") {
        return Ok((Scheme::Https, rest));
    }
    // RFC 3986, section 3.1: a letter, then letters, digits, `+`, `-` and `.`.
    let colon = raw.iter().position(|&byte| byte == b':').ok_or(TargetError::InvalidForm)?;
    let (scheme, rest) = raw.split_at(colon);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let ours = [b"http".as_slice(), b"https"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
    if is_scheme && !ours && rest.starts_with(b"://") {
        return Err(TargetError::UnknownScheme);
    }
    Err(TargetError::InvalidForm)
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {self}", self.form)
    }
}

/// The URI; with CONNECT the authority alone.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.form == Form::Authority {
            return out.write_str(&self.authority);
        }
        let path = if self.path_and_query == "*" { "" } else { self.path_and_query.as_str() };
        write!(out, "{}://{}{path}", self.scheme.as_str(), self.authority)
    }
}
