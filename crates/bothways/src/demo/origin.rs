//! A small web server that answers every request and reports what it received.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::exit::Failure;

use super::ReportSender;

/// Timeout for a request head.
const HEAD_TIME: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A running server.
#[derive(Debug)]
pub(super) struct Origin {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// A request as a server received it.
#[derive(Debug, Clone)]
pub(super) struct ReceivedRequest {
    /// The name of the server.
    pub(super) origin: &'static str,
    /// The address of the peer.
    pub(super) peer: SocketAddr,
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Fields in order.
    pub(super) fields: Vec<(String, String)>,
}

/// Starts a server on a free port of this machine.
pub(super) async fn start(
    name: &'static str,
    report: &ReportSender,
) -> Result<Rc<Origin>, Failure> {
    let cannot = |error| Failure::other(format!("cannot start the server {name}: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    tokio::task::spawn_local(accept(name, listener, report.clone()));
    Ok(Rc::new(Origin { name, address }))
}

async fn accept(name: &'static str, listener: TcpListener, report: ReportSender) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::task::spawn_local(serve(name, stream, peer, report.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(name: &'static str, stream: TcpStream, peer: SocketAddr, report: ReportSender) {
    let service = service_fn(move |request: Request<Incoming>| {
        let received = received(name, peer, &request);
        let body = response_text(&received);
        // Fails if the demo has ended or too many wait; then it is not shown.
        let _ = report.try_send(received);
        async move {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            Ok::<_, Infallible>(response)
        }
    });
    // Errors of a connection do not matter here.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn received(
    origin: &'static str,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> ReceivedRequest {
    let fields = request.headers().iter().map(|(name, value)| {
        (capitalised(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    ReceivedRequest {
        origin,
        peer,
        method: request.method().to_string(),
        target: request.uri().to_string(),
        fields: fields.collect(),
    }
}

/// Capitalises a field name: `X-Forwarded-For`.
fn capitalised(name: &str) -> String {
    let words = name.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join("-")
}

fn response_text(received: &ReceivedRequest) -> String {
    let ReceivedRequest { origin, peer, method, target, fields } = received;
    let mut text = format!("Hello, {origin} here.\n\n{peer} sent me:\n  {method} {target}\n");
    for (name, value) in fields {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    text
}
