//! The same requests over HTTP/2, as far as they can be sent so.

use std::net::{IpAddr, SocketAddr};

use testkit::h2raw::{Connection, Message, data, headers, settings};
use testkit::peer::Peer;
use wire::http2::frame::{PREFACE, flag};

use crate::generate::Asked;

/// A request as HTTP/2 has it.
pub(crate) struct Framed {
    fields: Vec<(String, String)>,
    body: &'static str,
    /// The same as HTTP/1 has it.
    pub(crate) asked: Asked,
}

/// What HTTP/2 says in other ways, or not at all (RFC 9113, sections 8.2.2 and 8.3.1).
const OTHERWISE: &[&str] = &[
    "connection",
    "te",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "expect",
    "no token",
];

impl Framed {
    /// The request, if it is one in reverse that means the same in both protocols.
    pub(crate) fn of(asked: &Asked) -> Option<Self> {
        let mut lines = asked.head.trim_end().split("\r\n");
        let words: Vec<&str> = lines.next()?.split(' ').collect();
        let [method, path, "HTTP/1.1"] = words[..] else { return None };
        let host = lines.next()?.strip_prefix("Host: ")?;
        if asked.forward || !path.starts_with(['/', '*']) {
            return None;
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut fields = vec![
            pair(":method", method),
            pair(":scheme", "http"),
            pair(":authority", host),
            pair(":path", path),
        ];
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        let mut crumbs = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_ascii());
            if OTHERWISE.contains(&name.as_str()) {
                return None;
            }
            if name == "cookie" {
                crumbs.extend(Some(value).filter(|value| !value.is_empty()));
            } else {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            fields.push(pair(&name, value));
        }
        // Crumbs are put together (RFC 9113, section 8.2.3), and empty ones are none.
        if !crumbs.is_empty() {
            head.push_str(&format!("Cookie: {}\r\n", crumbs.join("; ")));
        }
        // Who has a body says so by more than a length.
        let has_length = fields.iter().any(|(name, _)| name == "content-length");
        if has_length != matches!(method, "POST" | "PUT") {
            return None;
        }
        head.push_str("\r\n");
        let body = asked.body;
        Some(Self { fields, body, asked: Asked { head, body, forward: false } })
    }
}

/// A client that speaks HTTP/2 at once.
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    connection: Option<(Connection<Peer>, u32)>,
}

impl Client {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { address, connection: None }
    }

    /// The answer; `None` if the connection or the stream ended before.
    pub(crate) fn ask(&mut self, to: SocketAddr, framed: &Framed) -> Option<Message> {
        let (mut connection, stream) = self.connection.take().unwrap_or_else(|| {
            let mut connection = Connection::of(Peer::connect_from(self.address, to));
            connection.send([PREFACE.as_slice(), &settings(&[])].concat());
            (connection, 1)
        });
        let fields: Vec<_> = framed.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        if framed.body.is_empty() {
            connection.send(headers(flag::END_STREAM, stream, &fields));
        } else {
            let head = headers(0, stream, &fields);
            connection.send([head, data(flag::END_STREAM, stream, framed.body)].concat());
        }
        let answer = connection.message(stream).ok()?;
        self.connection = Some((connection, stream + 2));
        Some(answer)
    }
}
