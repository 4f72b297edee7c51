//! Requests to a directory: bounded in time and size, with its `Retry-After` kept, and with errors
//! that say what came instead of an answer.
//!
//! `instant-acme` speaks through [`DirectoryClient`]; what carries the requests is a [`Transport`]: HTTPS, or
//! the scripted directory of the tests.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};

use super::failure::chain;
use super::schedule::WINDOW_RETRY;
use crate::trust::{ServerVerifier, TrustStore};

/// How long a directory may take for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// The longest answer that is read; a chain is a few KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A future that may move between threads.
pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Sends a request to a directory and returns the response.
pub(super) trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request<Bytes>) -> Boxed<Result<Response<Bytes>, Error>>;
}

/// Something that went wrong before there was an answer to judge, in words.
#[derive(Debug)]
struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAnswer {}

fn no_answer(words: impl Into<String>) -> Error {
    Error::Other(Box::new(NoAnswer(words.into())))
}

/// A client of one directory.
#[derive(Clone)]
pub(super) struct DirectoryClient {
    transport: Arc<dyn Transport>,
    /// The `Retry-After` of the last response; `instant-acme` drops that of an error.
    told: Arc<Mutex<Option<Duration>>>,
}

impl DirectoryClient {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, told: Arc::default() }
    }

    /// The `Retry-After` of the last response.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, told: Option<Duration>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    async fn request(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        self.note(None);
        let (head, body) = request.into_parts();
        let (method, uri) = (head.method.clone(), head.uri.clone());
        // A request's body is one buffer that cannot fail.
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let sent = self.transport.send(Request::from_parts(head, body));
        let response = tokio::time::timeout(ANSWER_WAIT, sent).await.map_err(|_| {
            no_answer(format!("no answer from {} within {} s", server(&uri), ANSWER_WAIT.as_secs()))
        })??;
        self.note(retry_after(&response));
        let response = judge(&method, &uri, response)?;
        Ok(BytesResponse::from(response.map(Full::new)))
    }
}

impl HttpClient for DirectoryClient {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Boxed<Result<BytesResponse, Error>> {
        Box::pin(self.clone().request(request))
    }
}

/// Tells answers from what is none: `instant-acme` takes anything for one, and then complains of
/// its JSON.
fn judge(
    method: &Method,
    uri: &Uri,
    mut response: Response<Bytes>,
) -> Result<Response<Bytes>, Error> {
    let status = response.status();
    if status.is_redirection() {
        let to =
            response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Err(no_answer(format!(
            "{uri} redirects to {to}; give the URL of the directory itself"
        )));
    }
    if status.is_client_error() || status.is_server_error() {
        let problem = serde_json::from_slice::<Problem>(response.body())
            .ok()
            .filter(|problem| problem.r#type.is_some() || problem.detail.is_some());
        return match problem {
            None => Err(no_answer(format!(
                "{} answered {status} to {method} {}",
                server(uri),
                uri.path()
            ))),
            // Those of a POST go on, so that a bad nonce is tried again.
            Some(problem) if method == Method::POST => {
                let mut problem = problem;
                problem.status.get_or_insert(status.as_u16());
                Ok(response)
            }
            Some(mut problem) => {
                problem.status.get_or_insert(status.as_u16());
                Err(Error::Api(problem))
            }
        };
    }
    // RFC 9773, section 4.3.3: where a directory does not say when to ask again, in six hours.
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if method == Method::GET && json && !response.headers().contains_key(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(WINDOW_RETRY.as_secs()));
    }
    Ok(response)
}

fn server(uri: &Uri) -> &str {
    uri.authority().map_or("the directory", |authority| authority.as_str())
}

/// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// HTTPS to a directory; plain HTTP only to this machine itself.
pub(super) struct Https {
    client: hyper_util::client::legacy::Client<
        hyper_rustls::HttpsConnector<HttpConnector>,
        Full<Bytes>,
    >,
}

impl Https {
    /// `ca`: the trusted authorities; `None`: those of the system.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let settings = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(Arc::new(trust(ca)?))?))
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_WAIT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(settings)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client })
    }
}

impl Transport for Https {
    fn send(&self, request: Request<Bytes>) -> Boxed<Result<Response<Bytes>, Error>> {
        let uri = request.uri().clone();
        if !is_safe(&uri) {
            // RFC 8555, section 6.1.
            return Box::pin(async move { Err(no_answer(format!("{uri} is not https"))) });
        }
        let sent = self.client.request(request.map(Full::new));
        Box::pin(async move {
            let cannot = |error: &dyn std::error::Error| {
                let hint = match chain(error) {
                    words
                        if ["UnknownIssuer", "BadSignature"]
                            .iter()
                            .any(|why| words.contains(why)) =>
                    {
                        format!(
                            "{words} (its certificate comes from an issuer that is not known here; `ca` of the `acme` block names a file with it)"
                        )
                    }
                    words => words,
                };
                no_answer(format!("{}: {hint}", server(&uri)))
            };
            let (head, body) = sent.await.map_err(|error| cannot(&error))?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| cannot(error.as_ref()))?.to_bytes();
            Ok(Response::from_parts(head, body))
        })
    }
}

/// Whether a request to `uri` cannot be read or changed on its way.
pub(super) fn is_safe(uri: &Uri) -> bool {
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost")),
        _ => false,
    }
}

/// The trusted authorities.
pub(super) fn trust(ca: Option<&Path>) -> Result<TrustStore, String> {
    let mut trust = TrustStore::default();
    let Some(path) = ca else {
        let system = rustls_native_certs::load_native_certs();
        trust.add_system(&system.certs);
        return match (trust.is_empty(), system.errors.first()) {
            (false, _) => Ok(trust),
            (true, Some(error)) => Err(format!("cannot read the system's certificate authorities: {error}")),
            (true, None) => Err("the system knows no certificate authorities: install `ca-certificates`, or name a file by `ca`".into()),
        };
    };
    let bytes = config::read_file(path, 16 << 20).map_err(|error| {
        format!("cannot read the CA of the directory in {}: {error}", path.display())
    })?;
    let added = trust.add_pem(path, &bytes);
    added
        .map_err(|finding| format!("cannot read the CA of the directory in {}", finding.message))?;
    Ok(trust)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer() {
        #[track_caller]
        fn check(
            method: Method,
            response: http::response::Builder,
            body: &'static str,
            expected: &str,
        ) {
            let uri = Uri::from_static("https://ca.example/directory");
            let response = response.body(Bytes::from_static(body.as_bytes())).unwrap();
            let found = judge(&method, &uri, response).map(|answer| answer.status().to_string());
            assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected);
        }
        let status = |code: u16| Response::builder().status(code);
        check(Method::GET, status(200), "{}", "200 OK");
        check(
            Method::GET,
            status(503),
            "<html>busy</html>",
            "ca.example answered 503 Service Unavailable to GET /directory",
        );
        check(
            Method::POST,
            status(502),
            "{}",
            "ca.example answered 502 Bad Gateway to POST /directory",
        );
        check(
            Method::GET,
            status(301).header(LOCATION, "https://b.example/d"),
            "",
            "https://ca.example/directory redirects to https://b.example/d; give the URL of the directory itself",
        );
        let nonce = r#"{"type":"urn:ietf:params:acme:error:badNonce"}"#;
        check(Method::POST, status(400), nonce, "400 Bad Request");
    }

    #[test]
    fn when_to_come_again() {
        #[track_caller]
        fn check(value: &str, expected: Option<u64>) {
            let response =
                Response::builder().header(RETRY_AFTER, value).body(Bytes::new()).unwrap();
            assert_eq!(retry_after(&response), expected.map(Duration::from_secs), "{value}");
        }
        check("120", Some(120));
        check("Fri, 31 Dec 1999 23:59:59 GMT", Some(0));
        check("-1", None);
        check("soon", None);
    }

    #[test]
    fn only_what_cannot_be_read_on_the_way() {
        for (uri, expected) in [
            ("https://ca.example/d", true),
            ("http://127.0.0.1:4000/d", true),
            ("http://[::1]:4000/d", true),
            ("http://ca.example/d", false),
            ("http://127.0.0.1.example/d", false),
        ] {
            assert_eq!(is_safe(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
