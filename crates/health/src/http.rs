//! A check by HTTP: one request over a connection of its own, and the verdict on the response.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use config::HttpCheck;
use h2::RecvStream;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use memchr::memmem;

use super::connect::{Connection, Wire};
use super::error::CheckError;
use super::target::Target;

/// The value of `User-Agent`.
pub(super) const AGENT: &str = concat!("bothways/", env!("CARGO_PKG_VERSION"), " health");
/// Bytes of a body that are searched.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest head of a response, in bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Fields of a response over HTTP/1, at most.
const FIELDS_MAX: usize = 256;
/// How long we read the rest of a body that is not searched, so that the endpoint sees no reset.
const REST_TIME_MAX: Duration = Duration::from_millis(100);
/// Fields that belong to a connection of HTTP/1 (RFC 9113, section 8.2.2).
const OF_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Sends the request and judges the response; returns in words what came, if it is good.
pub(super) async fn check(
    target: &Target,
    asked: &HttpCheck,
    connection: Connection,
) -> Result<String, CheckError> {
    let what = target.what();
    let request = request(target, asked, connection.is_http2);
    let request =
        request.map_err(|why| CheckError::Local(format!("{what} cannot be sent: {why}")))?;
    if connection.is_http2 {
        over_http2(asked, &what, request, connection.wire).await
    } else {
        over_http1(asked, &what, request, connection.wire).await
    }
}

fn request(target: &Target, asked: &HttpCheck, is_http2: bool) -> http::Result<Request<()>> {
    let mut fields = HeaderMap::new();
    for (name, value) in &asked.fields {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        if name != HOST && !OF_CONNECTION.contains(&name.as_str()) {
            fields.append(name, HeaderValue::from_str(value)?);
        }
    }
    if !fields.contains_key(USER_AGENT) {
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    }
    let host = asked.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = asked.host.as_deref().or(host.map(|(_, value)| &**value));
    let host = host.unwrap_or(&target.authority);
    let uri = if is_http2 {
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(host).path_and_query(&*asked.path).build()?
    } else {
        fields.insert(HOST, HeaderValue::from_str(host)?);
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        Uri::try_from(&*asked.path)?
    };
    let method = Method::from_bytes(asked.method.as_bytes())?;
    let mut request = Request::builder().method(method).uri(uri).body(())?;
    *request.headers_mut() = fields;
    Ok(request)
}

async fn over_http1(
    asked: &HttpCheck,
    what: &str,
    request: Request<()>,
    wire: Box<dyn Wire>,
) -> Result<String, CheckError> {
    let failed = |error: &hyper::Error| {
        let words = if error.is_parse() || error.is_parse_too_large() {
            "what it answered is no HTTP/1.1"
        } else {
            "it closed the connection before its answer was complete"
        };
        prefixed(what, CheckError::of_http(error, words))
    };
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX as usize).max_headers(FIELDS_MAX);
    // An oddly spelt field is forwarded to clients, so it is no reason to take an endpoint out.
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(wire)).await.map_err(|error| failed(&error))?;
    let exchange = async {
        let response = sender.send_request(request.map(|()| Empty::<Bytes>::new())).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        judge_status(asked, what, head.status)?;
        judge_body(asked, what, head.status, Http1Body(body), &failed).await
    };
    drive(exchange, connection).await
}

async fn over_http2(
    asked: &HttpCheck,
    what: &str,
    request: Request<()>,
    wire: Box<dyn Wire>,
) -> Result<String, CheckError> {
    let failed = |error: &h2::Error| prefixed(what, of_http2(error));
    let (mut sender, connection) = http2(wire).await.map_err(|error| failed(&error))?;
    let exchange = async {
        sender = sender.ready().await.map_err(|error| failed(&error))?;
        let (response, _) = sender.send_request(request, true).map_err(|error| failed(&error))?;
        let (head, body) = response.await.map_err(|error| failed(&error))?.into_parts();
        judge_status(asked, what, head.status)?;
        judge_body(asked, what, head.status, Http2Body(body), &failed).await
    };
    drive(exchange, connection).await
}

/// Opens a connection of HTTP/2 for a single request.
pub(super) async fn http2(
    wire: Box<dyn Wire>,
) -> Result<(h2::client::SendRequest<Bytes>, h2::client::Connection<Box<dyn Wire>, Bytes>), h2::Error>
{
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD_BYTES_MAX).handshake(wire).await
}

/// What an error of HTTP/2 says about the endpoint.
pub(super) fn of_http2(error: &h2::Error) -> CheckError {
    let words = match error.reason() {
        Some(reason) if error.is_remote() => format!("it gave up by {reason:?}"),
        _ if error.is_io() => "it closed the connection before its answer was complete".to_owned(),
        _ => "what it answered is no HTTP/2".to_owned(),
    };
    match error.get_io() {
        Some(io) => CheckError::of_http(io, words),
        None => CheckError::of_endpoint(words),
    }
}

/// Drives an exchange to its end, and the connection under it.
pub(super) async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let carried = async {
        // Its error reaches the exchange, which may also still read what came before the end.
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        outcome = exchange => outcome,
        never = carried => match never {},
    }
}

fn prefixed(what: &str, failure: CheckError) -> CheckError {
    match failure {
        CheckError::Endpoint(words) => CheckError::Endpoint(format!("{what}: {words}")),
        ours @ CheckError::Local(_) => ours,
    }
}

fn judge_status(asked: &HttpCheck, what: &str, status: StatusCode) -> Result<(), CheckError> {
    let code = status.as_u16();
    if asked.statuses.iter().any(|&(first, last)| (first..=last).contains(&code)) {
        return Ok(());
    }
    let ranges = asked.statuses.iter().map(|&(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    let expected = ranges.collect::<Vec<_>>().join(",");
    Err(CheckError::Endpoint(format!("{what} answered {code}, expected {expected}")))
}

/// A body in either protocol.
trait Body {
    type Error;

    /// The next bytes; `None` at its end.
    async fn next(&mut self) -> Option<Result<Bytes, Self::Error>>;
}

struct Http1Body(Incoming);

impl Body for Http1Body {
    type Error = hyper::Error;

    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.0.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_trailers) => {}
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

struct Http2Body(RecvStream);

impl Body for Http2Body {
    type Error = h2::Error;

    async fn next(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let bytes = self.0.data().await?;
        if let Ok(bytes) = &bytes {
            // It fails only if the stream is gone, which the next read reports.
            let _ = self.0.flow_control().release_capacity(bytes.len());
        }
        Some(bytes)
    }
}

async fn judge_body<B: Body>(
    asked: &HttpCheck,
    what: &str,
    status: StatusCode,
    mut body: B,
    failed: &impl Fn(&B::Error) -> CheckError,
) -> Result<String, CheckError> {
    let good = format!("{what} answered {}", status.as_u16());
    let Some(text) = &asked.body else {
        let rest = async {
            let mut left = BODY_BYTES_MAX;
            while let Some(Ok(bytes)) = body.next().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        // The response is good already, however the body ends.
        let _ = tokio::time::timeout(REST_TIME_MAX, rest).await;
        return Ok(good);
    };
    let mut search = Search::new(text);
    loop {
        if search.found {
            return Ok(good);
        }
        if search.is_full() {
            let words = format!("{good}, but \"{text}\" is not in the first 64 KiB of its body");
            return Err(CheckError::Endpoint(words));
        }
        match body.next().await {
            Some(Ok(bytes)) => search.push(&bytes),
            Some(Err(error)) => return Err(failed(&error)),
            None => {
                return Err(CheckError::Endpoint(format!(
                    "{good}, but \"{text}\" is not in its body"
                )));
            }
        }
    }
}

/// Searches for a text in a body that comes in pieces.
struct Search<'a> {
    text: &'a [u8],
    seen: Vec<u8>,
    found: bool,
}

impl<'a> Search<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), seen: Vec::new(), found: text.is_empty() }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = BODY_BYTES_MAX - self.seen.len();
        let start = self.seen.len().saturating_sub(self.text.len());
        self.seen.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let fresh = self.seen.get(start..).unwrap_or_default();
        self.found |= memmem::find(fresh, self.text).is_some();
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= BODY_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_pieces() {
        #[track_caller]
        fn check(text: &str, pieces: &[&str], expected: bool) {
            let mut search = Search::new(text);
            pieces.iter().for_each(|piece| search.push(piece.as_bytes()));
            assert_eq!(search.found, expected, "{text} in {pieces:?}");
        }
        check("ready", &["not ready"], true);
        check("ready", &["r", "e", "a", "d", "y"], true);
        check("ready", &["rea", "ly"], false);
        check("aab", &["aaa", "ab"], true);
        check("", &[], true);
        check("x", &[], false);
        let (filler, almost) = ("-".repeat(BODY_BYTES_MAX), "-".repeat(BODY_BYTES_MAX - 2));
        check("ok", &[&filler, "ok"], false);
        check("ok", &[&almost, "ok"], true);
        check("ok", &[&almost, "-", "ok"], false);
        let mut search = Search::new("ok");
        search.push(&vec![0; BODY_BYTES_MAX * 2]);
        assert!(search.is_full() && search.seen.len() == BODY_BYTES_MAX);
    }
}
