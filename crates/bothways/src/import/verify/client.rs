//! The client of both: one request over a connection of its own, which names the client of the log by
//! the PROXY protocol.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use config::{Place, UpstreamProtocol, UpstreamTls};
use tls::{ReadResult, Session};

use crate::exit::Failure;

use super::log::Request;
use super::origin::{ID_FIELD, Received};

const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The answer, or why there is none.
    pub(super) answer: Result<Answer, String>,
    /// What arrived at endpoints.
    pub(super) received: Vec<Received>,
    /// The port that it was sent to.
    pub(super) port: u16,
}

/// A response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Sends requests.
pub(super) struct Client {
    tls: Arc<tls::Client>,
}

impl Client {
    pub(super) fn new() -> Result<Self, Failure> {
        let settings = UpstreamTls { verify: false, ..UpstreamTls::default() };
        let tls = tls::Client::new(&settings, Place::default(), UpstreamProtocol::Http1)
            .map_err(|problem| Failure::other(problem.message))?;
        Ok(Self { tls })
    }

    /// Sends a request and reads its answer.
    pub(super) fn send(
        &self,
        port: u16,
        tls: bool,
        host: &str,
        request: &Request,
        id: &str,
    ) -> Result<Answer, String> {
        let mut stream = connect(port, request.client).map_err(|error| error.to_string())?;
        let text = head(host, request, id);
        let bytes = match tls {
            false => {
                let all = stream.write_all(text.as_bytes()).and_then(|()| read_all(&mut stream));
                all.map_err(|error| error.to_string())?
            }
            true => {
                let session = self.tls.full_session(host).map_err(|error| error.to_string())?;
                over_tls(session, &mut stream, text.as_bytes())?
            }
        };
        parse(&bytes, &request.method).ok_or_else(|| match bytes.is_empty() {
            true => "the connection was closed without an answer".to_owned(),
            false => "the answer is no HTTP/1.1".to_owned(),
        })
    }
}

fn connect(port: u16, client: IpAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (family, own) = match client {
        IpAddr::V4(_) => ("TCP4", "127.0.0.1"),
        IpAddr::V6(_) => ("TCP6", "::1"),
    };
    stream.write_all(format!("PROXY {family} {client} {own} 40000 {port}\r\n").as_bytes())?;
    Ok(stream)
}

fn head(host: &str, request: &Request, id: &str) -> String {
    let Request { method, target, referer, agent, .. } = request;
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{ID_FIELD}: {id}\r\n"
    );
    for (name, value) in [("User-Agent", agent), ("Referer", referer)] {
        if !value.is_empty() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("\r\n");
    text
}

fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => Err(error),
        _ => Ok(bytes),
    }
}

/// The same over TLS.
fn over_tls(
    mut session: Session,
    stream: &mut TcpStream,
    mut request: &[u8],
) -> Result<Vec<u8>, String> {
    let words = |error: io::Error| error.to_string();
    let mut answer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        if !request.is_empty() && !session.is_handshaking() {
            let count = session.write(request).map_err(|error| error.to_string())?;
            request = request.get(count..).unwrap_or_default();
        }
        while !session.outgoing().is_empty() {
            stream.write_all(session.outgoing()).map_err(words)?;
            let count = session.outgoing().len();
            session.sent(count);
        }
        let count = match stream.read(session.room()) {
            Ok(0) if session.is_handshaking() => return Err("the handshake failed".into()),
            Ok(0) => return Ok(answer),
            Ok(count) => count,
            Err(_) if !answer.is_empty() => return Ok(answer),
            Err(error) => return Err(error.to_string()),
        };
        if let Err(error) = session.received(count) {
            return Err(format!("TLS: {error}"));
        }
        loop {
            match session.read(&mut piece) {
                ReadResult::Bytes(count) => {
                    answer.extend_from_slice(piece.get(..count).unwrap_or_default())
                }
                ReadResult::More => break,
                ReadResult::Closed => return Ok(answer),
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Ok(answer);
            }
        }
    }
}

/// Reads an answer that ends with its connection.
fn parse(bytes: &[u8], method: &str) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let of = |line: &str| {
            let (one, value) = line.split_once(':')?;
            one.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.split("\r\n").find_map(of)
    };
    let rest = bytes.get(end + 4..).unwrap_or_default();
    // Before the final answer.
    if (100..200).contains(&status) && status != 101 {
        return parse(rest, method);
    }
    let chunked =
        field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let body = match (method == "HEAD", chunked) {
        (true, _) => Vec::new(),
        (_, true) => chunks(rest),
        _ => rest.to_vec(),
    };
    Some(Answer { status, location: field("location"), body })
}

fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
        let size =
            size.split(';').next().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let start = end + 2;
        let Some(piece) = rest.get(start..start.saturating_add(size)) else { break };
        body.extend_from_slice(piece);
        rest = rest.get(start + size + 2..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let answer =
            parse(b"HTTP/1.1 301 Moved\r\nlocation: /a\r\nContent-Length: 2\r\n\r\nhi", "GET")
                .unwrap();
        assert_eq!(
            (answer.status, answer.location.as_deref(), &*answer.body),
            (301, Some("/a"), &b"hi"[..])
        );
        let answer = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n", "GET").unwrap();
        assert_eq!(answer.body, b"abcde");
        let answer = parse(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "GET").unwrap();
        assert_eq!(answer.status, 204);
        assert_eq!(parse(b"nonsense", "GET"), None);
    }
}
