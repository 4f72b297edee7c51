//! Request heads (RFC 9112, sections 3 and 6).

use message::{BodyLength, Known, Method, MethodError, Request, Scheme, TargetError, Version};
use thiserror::Error;

use super::framing::{Framing, FramingError};
use super::head::{
    HeadError, HeadLimits, Line, Lines, TOKEN, check_length, is_surely_partial, partial, slice,
};

/// Why a request is refused. The connection cannot be used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The first line is not `method SP target SP version CR LF`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is longer than any that we know of.
    #[error("the method is too long")]
    MethodTooLong,
    /// The target is longer than [`HeadLimits::target`].
    #[error("the request's target is too long")]
    TargetTooLong,
    /// Well-formed, but not of HTTP/1.
    #[error("the request is not of HTTP/1")]
    Version,
    /// The preface of HTTP/2 on a connection of HTTP/1.
    #[error("the client speaks HTTP/2 without having been asked")]
    Http2Preface,
    /// The lines after the first.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The length of the body.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The target or `Host`.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A message of HTTP/1.1 without `Host`.
    #[error("the request has no Host field")]
    NoHost,
    /// More than one `Host`.
    #[error("the request has more than one Host field")]
    RepeatedHost,
    /// TRACE or CONNECT with a body.
    #[error("the request has a body that its method does not allow")]
    UnexpectedBody,
    /// `Expect` is something else than `100-continue`.
    #[error("the request expects what we do not know")]
    Expectation,
}

impl RequestError {
    /// The status of the response to it.
    pub fn status(&self) -> u16 {
        match self {
            Self::MethodTooLong => 501, // RFC 9112, section 3
            Self::TargetTooLong => 414, // RFC 9112, section 3
            Self::Version => 505,       // RFC 9110, section 15.6.6
            Self::Expectation => 417,   // RFC 9110, section 10.1.1
            Self::Framing(FramingError::UnknownEncoding) => 501, // RFC 9112, section 6.1
            Self::Head(error) => error.status(),
            Self::Target(error) => error.status(),
            _ => 400,
        }
    }
}

/// Reads a request's head.
///
/// `Ok(None)`: more bytes are needed. `Ok(Some(n))`: the head is the first `n` bytes of `input`,
/// and `request` is filled. In the first case, and after an error, `request` holds nothing of use.
/// `scheme` is that of the connection.
pub fn parse_request(
    input: &[u8],
    limits: &HeadLimits,
    scheme: Scheme,
    request: &mut Request,
) -> Result<Option<usize>, RequestError> {
    request.clear();
    let length = read(input, limits, scheme, request)?;
    if length.is_none() {
        partial(input, limits)?;
    }
    Ok(length)
}

fn read(
    input: &[u8],
    limits: &HeadLimits,
    scheme: Scheme,
    request: &mut Request,
) -> Result<Option<usize>, RequestError> {
    let Some(line) = RequestLine::read(input, limits)? else { return Ok(None) };
    if is_surely_partial(input) {
        return Ok(None);
    }
    request.method = line.method;
    request.version = line.version;
    let mut framing = Framing::default();
    let mut host = None;
    let mut count = 0;
    let mut lines = Lines::new(input, line.end);
    let length = loop {
        let field = match lines.next()? {
            None => return Ok(None),
            Some(Line::End(length)) => break length,
            Some(Line::Field(field)) => field,
        };
        count += 1;
        if count > limits.fields {
            return Err(HeadError::TooManyFields.into());
        }
        let known = Known::of(field.name);
        match known {
            Known::ContentLength | Known::TransferEncoding | Known::Connection => {
                framing.see(known, field.value)?;
            }
            // RFC 9112, section 3.2: more than one is refused, whatever they say.
            Known::Host if host.replace(field.value).is_some() => {
                return Err(RequestError::RepeatedHost);
            }
            _ => {}
        }
        request.fields.push_range(known, field.name_range(), field.value_range());
    };
    check_length(length, limits)?;
    // RFC 9112, section 3.2: HTTP/1.1 must have it, even beside an absolute-form target.
    if host.is_none() && line.version == Version::Http11 {
        return Err(RequestError::NoHost);
    }
    request.target.parse(&line.method, line.target, host, scheme)?;
    request.fields.load(slice(input, 0..length));
    conclude(&framing, request)?;
    Ok(Some(length))
}

/// Decides what depends on several fields.
fn conclude(framing: &Framing, request: &mut Request) -> Result<(), RequestError> {
    let fields = &mut request.fields;
    request.body = framing.body(request.version, fields)?.unwrap_or_default();
    if matches!(request.method, Method::Trace | Method::Connect) {
        // RFC 9110, sections 9.3.6 and 9.3.8: neither has content. What comes after CONNECT is
        // another protocol.
        if !request.body.is_empty() {
            return Err(RequestError::UnexpectedBody);
        }
        request.body = BodyLength::None;
        fields.remove(Known::ContentLength);
    }
    request.keep_alive = framing.is_persistent(request.version);
    if request.version == Version::Http11 {
        request.upgrade = framing.upgrade && fields.has(Known::Upgrade) && {
            // RFC 9113, section 3.1 has dropped the upgrade to h2c. With a server that still supports it,
            // a client could send requests that we do not see.
            let is_http = |protocol: &[u8]| {
                let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
                name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"http")
            };
            !fields.list(Known::Upgrade).any(is_http)
        };
        // RFC 9110, section 10.1.1: has no case; others may be refused. HTTP/1.0 is to ignore it.
        for expectation in fields.list(Known::Expect) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            request.expect_continue = !request.body.is_empty();
        }
        request.takes_trailers =
            fields.list(Known::Te).any(|member| member.eq_ignore_ascii_case(b"trailers"));
    }
    fields.mark_connection_options();
    Ok(())
}

struct RequestLine<'a> {
    method: Method,
    target: &'a [u8],
    version: Version,
    /// Where the fields begin.
    end: usize,
}

impl<'a> RequestLine<'a> {
    fn read(input: &'a [u8], limits: &HeadLimits) -> Result<Option<Self>, RequestError> {
        // RFC 9112, section 2.2: one empty line before the request is ignored, because old clients
        // send one after a body. We take no second one.
        let line = input.strip_prefix(b"\r\n").unwrap_or(input);
        let skipped = input.len() - line.len();
        if line.is_empty() || input == b"\r" {
            return Ok(None);
        }
        let Some((method, rest)) = read_method(line)? else { return Ok(None) };
        let Some(length) = memchr::memchr2(b' ', b'\n', rest) else {
            // A longer target cannot become a valid one.
            let is_too_long = rest.len() > limits.target;
            return if is_too_long { Err(RequestError::TargetTooLong) } else { Ok(None) };
        };
        let (target, rest) = rest.split_at(length);
        if target.is_empty() || !rest.starts_with(b" ") {
            return Err(RequestError::RequestLine);
        }
        if target.len() > limits.target {
            return Err(RequestError::TargetTooLong);
        }
        let rest = slice(rest, 1..rest.len());
        let version = read_version(rest).map_err(|error| match error {
            // RFC 9113, section 3.4.
            RequestError::Version if method.as_str() == "PRI" => RequestError::Http2Preface,
            other => other,
        })?;
        let Some(version) = version else { return Ok(None) };
        let end = skipped + method.as_str().len() + 1 + length + 1 + VERSION_LINE_BYTES;
        Ok(Some(Self { method, target, version, end }))
    }
}

/// Splits the method and the space off. No white space before it, one space after it.
fn read_method(line: &[u8]) -> Result<Option<(Method, &[u8])>, RequestError> {
    // Most requests, at once.
    if let Some(rest) = line.strip_prefix(b"GET ") {
        return Ok(Some((Method::Get, rest)));
    }
    let length = line.iter().position(|&byte| TOKEN[usize::from(byte)] == 0);
    let name = slice(line, 0..length.unwrap_or(line.len()));
    let method = match Method::parse(name) {
        Ok(method) => method,
        Err(MethodError::TooLong) => return Err(RequestError::MethodTooLong),
        Err(MethodError::NotAToken) => return Err(RequestError::RequestLine),
    };
    match length.and_then(|length| line.get(length..)) {
        None => Ok(None),
        Some([b' ', rest @ ..]) => Ok(Some((method, rest))),
        Some(_) => Err(RequestError::RequestLine),
    }
}

/// Bytes of `HTTP/1.1`, CR and LF.
const VERSION_LINE_BYTES: usize = 10;

/// Reads the version and the line's end.
fn read_version(rest: &[u8]) -> Result<Option<Version>, RequestError> {
    match rest.first_chunk::<VERSION_LINE_BYTES>() {
        Some(b"HTTP/1.1\r\n") => Ok(Some(Version::Http11)),
        Some(b"HTTP/1.0\r\n") => Ok(Some(Version::Http10)),
        // RFC 9110, section 2.5: a higher minor version is to be read as the highest that one knows.
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', b'\r', b'\n']) => {
            Ok(Some(Version::Http11))
        }
        // RFC 9112, section 2.3: one digit, a dot, one digit.
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n']) => {
            Err(RequestError::Version)
        }
        None if !rest.contains(&b'\n') => Ok(None),
        _ => Err(RequestError::RequestLine),
    }
}
