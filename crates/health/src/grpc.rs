//! A check by gRPC: `grpc.health.v1.Health/Check` over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use wire::grpc_health::{self, MESSAGE_BYTES_MAX, PREFIX_BYTES, ServingStatus};

use super::connect::Connection;
use super::error::{CheckError, quote_peer};
use super::http::{AGENT, drive, http2, of_http2};
use super::target::Target;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The status codes of gRPC, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Sends the request and judges the response; returns in words what came, if it is good.
pub(super) async fn check(
    target: &Target,
    service: &str,
    connection: Connection,
) -> Result<String, CheckError> {
    let what = target.what();
    let failed = |error: &h2::Error| match of_http2(error) {
        CheckError::Endpoint(words) => CheckError::Endpoint(format!("{what}: {words}")),
        ours @ CheckError::Local(_) => ours,
    };
    let request = request(target);
    let request =
        request.map_err(|why| CheckError::Local(format!("{what} cannot be sent: {why}")))?;
    let (mut sender, connection) = http2(connection.wire).await.map_err(|error| failed(&error))?;
    let exchange = async {
        sender = sender.ready().await.map_err(|error| failed(&error))?;
        let sent = sender.send_request(request, false);
        let (response, mut stream) = sent.map_err(|error| failed(&error))?;
        let message = Bytes::from(grpc_health::encode(service));
        // An endpoint that does not wait for the message has answered already; its answer counts.
        let _ = stream.send_data(message, true);
        let (head, mut body) = response.await.map_err(|error| failed(&error))?.into_parts();
        if head.status != StatusCode::OK {
            let words = format!("{what} answered status {}, no gRPC", head.status.as_u16());
            return Err(CheckError::Endpoint(words));
        }
        let (message, trailers) = read(&mut body).await.map_err(|error| failed(&error))?;
        // A response without a message has the status in its head.
        let trailers = trailers.as_ref().unwrap_or(&head.headers);
        judge(trailers, &message)
            .map_err(|why| CheckError::Endpoint(format!("{what} answered {why}")))
    };
    drive(exchange, connection).await?;
    Ok(format!("{what} answered SERVING"))
}

fn request(target: &Target) -> http::Result<Request<()>> {
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(&*target.authority).path_and_query(PATH);
    let mut request = Request::builder().method(Method::POST).uri(uri.build()?).body(())?;
    let fields = request.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    fields.insert("grpc-timeout", HeaderValue::from_str(&timeout(target.health.timeout))?);
    Ok(request)
}

/// At most eight digits and a unit.
fn timeout(limit: Duration) -> String {
    match limit.as_millis() {
        millis @ 0..100_000_000 => format!("{millis}m"),
        _ => format!("{}S", limit.as_secs().min(99_999_999)),
    }
}

/// The body, as far as it may be one message, and the trailers.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut message = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        let _ = body.flow_control().release_capacity(bytes.len());
        message.extend_from_slice(&bytes);
        if message.len() > PREFIX_BYTES + MESSAGE_BYTES_MAX {
            return Ok((message, None));
        }
    }
    Ok((message, body.trailers().await?))
}

/// Says what is wrong with a response, if anything is.
fn judge(trailers: &HeaderMap, message: &[u8]) -> Result<(), String> {
    let code = trailers.get("grpc-status").map(HeaderValue::as_bytes);
    match code {
        Some(b"0") => {}
        // The error says what is wrong with the message.
        None if message.len() > PREFIX_BYTES + MESSAGE_BYTES_MAX => {}
        None => return Err("without a status of gRPC".to_owned()),
        Some(code) => {
            let number = std::str::from_utf8(code).ok().and_then(|code| code.parse::<usize>().ok());
            let name = number.and_then(|number| CODES.get(number));
            let mut words = name.map_or_else(|| quote_peer(code), |name| (*name).to_owned());
            match number {
                Some(5) => words.push_str(": the server does not know that service"),
                Some(12) => words.push_str(": the server does not report its health"),
                _ => {}
            }
            if let Some(more) = trailers.get("grpc-message") {
                words = format!("{words} ({})", quote_peer(more.as_bytes()));
            }
            return Err(words);
        }
    }
    match grpc_health::decode(message) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(other) => Err(format!("{}, expected SERVING", other.name())),
        Err(error) => Err(format!("what cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        #[track_caller]
        fn check(trailers: &[(&'static str, &'static str)], message: &[u8], expected: &str) {
            let fields =
                trailers.iter().map(|&(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v)));
            let found = judge(&fields.collect(), message);
            assert_eq!(found.map_or_else(|why| why, |()| "good".to_owned()), expected);
        }
        let ok = [("grpc-status", "0")];
        check(&ok, &[0, 0, 0, 0, 2, 8, 1], "good");
        check(&ok, &[0, 0, 0, 0, 2, 8, 2], "NOT_SERVING, expected SERVING");
        check(&ok, &[0, 0, 0, 0, 0], "UNKNOWN, expected SERVING");
        check(&ok, b"", "what cannot be read: the message is cut short");
        check(&ok, b"<html>", "what cannot be read: the message is no protocol buffer");
        check(&[], &[0, 0, 0, 0, 2, 8, 1], "without a status of gRPC");
        let long = [&[0, 0, 1, 0, 0][..], &[0; 5000]].concat();
        check(&[], &long, "what cannot be read: the message has more than 4 KiB");
        let unknown = "NOT_FOUND: the server does not know that service (no such thing)";
        check(&[("grpc-status", "5"), ("grpc-message", "no such thing")], b"", unknown);
        check(
            &[("grpc-status", "12")],
            b"",
            "UNIMPLEMENTED: the server does not report its health",
        );
        check(&[("grpc-status", "14")], b"", "UNAVAILABLE");
        check(&[("grpc-status", "99")], b"", "99");
        check(&[("grpc-status", "no")], b"", "no");
    }

    #[test]
    fn time_left() {
        assert_eq!(timeout(Duration::from_secs(2)), "2000m");
        assert_eq!(timeout(Duration::from_secs(200_000)), "200000S");
    }
}
