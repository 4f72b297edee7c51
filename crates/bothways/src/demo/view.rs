//! Shows what each side saw of an exchange.
//!
//! Joins two streams: lines of the access log, one for each finished exchange, and requests that the
//! servers received. They are matched by method and path, which the demo's configuration does not
//! change. A request without a matching line in time is shown alone.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::exit::Failure;
use crate::terminal::Paint;

use super::Origins;
use super::origin::{Origin, ReceivedRequest};

/// How long a received request waits for the record of its exchange.
const JOIN_TIME: Duration = Duration::from_secs(2);
/// The longest accepted line of the access log.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Fields that show a server the client or the path of the request.
const SHOWN_FIELDS: [&str; 9] = [
    "Host",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "Via",
    "Referer",
    "User-Agent",
    "Cookie",
];
/// Those that identify the client.
const IDENTIFYING_FIELDS: [&str; 6] =
    ["X-Forwarded-For", "Forwarded", "Via", "Referer", "User-Agent", "Cookie"];

/// Lines of the access log, through a named pipe.
pub(super) struct Records {
    lines: BufReader<pipe::Receiver>,
    line: Vec<u8>,
}

impl Records {
    /// Opens the pipe for reading and writing: as there is always a writer, it never ends.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let receiver = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(path)
            .map_err(|error| Failure::other(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self { lines: BufReader::new(receiver), line: Vec::new() })
    }

    /// The next line. Cancel safe.
    async fn next(&mut self) -> Value {
        loop {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len() as u64);
            let read = (&mut self.lines).take(room).read_until(b'\n', &mut self.line).await;
            if read.is_err() {
                return std::future::pending().await;
            }
            let parsed = serde_json::from_slice(&self.line);
            self.line.clear();
            if let Ok(record) = parsed {
                return record;
            }
        }
    }
}

/// The joined view of all exchanges.
pub(super) struct View {
    paint: Paint,
    records: Records,
    reports: mpsc::Receiver<ReceivedRequest>,
    waiting: VecDeque<(Instant, ReceivedRequest)>,
    origins: Origins,
}

impl View {
    /// A view of exchanges from now on.
    pub(super) fn new(
        paint: Paint,
        records: Records,
        reports: mpsc::Receiver<ReceivedRequest>,
        origins: &Origins,
    ) -> Self {
        Self { paint, records, reports, waiting: VecDeque::new(), origins: origins.clone() }
    }

    /// The next exchange, as text.
    pub(super) async fn next(&mut self) -> String {
        loop {
            let deadline = self.waiting.front().map(|(since, _)| *since + JOIN_TIME);
            let too_late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Reports first: a server receives a request before its exchange ends.
                biased;
                Some(received) = self.reports.recv() => self.waiting.push_back((Instant::now(), received)),
                record = self.records.next() => return self.join(&record),
                () = too_late => {
                    if let Some((_, received)) = self.waiting.pop_front() {
                        return self.block("in progress", None, Some(&received));
                    }
                }
            }
        }
    }

    fn join(&mut self, record: &Value) -> String {
        let method = text(record, "method");
        let path = path_of(text(record, "target"));
        let is_it = |(_, received): &(Instant, ReceivedRequest)| {
            received.method == method && received.target == path
        };
        let received = self.waiting.iter().position(is_it).and_then(|at| self.waiting.remove(at));
        let received = received.map(|(_, received)| received);
        self.block(text(record, "direction"), Some(record), received.as_ref())
    }

    fn block(
        &self,
        title: &str,
        record: Option<&Value>,
        received: Option<&ReceivedRequest>,
    ) -> String {
        let mut block = format!("{}\n", self.paint.bold(&format!("── {title} ──")));
        if let Some(record) = record {
            block.push_str(&format!(
                "   client    {} asks {}: {} {}\n",
                text(record, "client"),
                text(record, "listener"),
                text(record, "method"),
                text(record, "target"),
            ));
            block.push_str(&format!("   bothways  {}\n", self.proxy_text(record)));
        }
        match received {
            Some(received) => block.push_str(&server_text(received)),
            None => block.push_str("   servers   received nothing\n"),
        }
        block
    }

    /// `200 after 1.2 ms, by 127.0.0.1:4001 (apples); decided by demo.kdl:12`
    fn proxy_text(&self, record: &Value) -> String {
        let mut words = match record.get("status").and_then(Value::as_u64) {
            Some(status) if status >= 400 => self.paint.red(&status.to_string()),
            Some(status) => self.paint.green(&status.to_string()),
            None => "no answer".to_owned(),
        };
        if let Some(micros) = record.get("total_us").and_then(Value::as_u64) {
            words.push_str(&format!(" after {}.{} ms", micros / 1000, micros % 1000 / 100));
        }
        let endpoint = [text(record, "dialled"), text(record, "endpoint")];
        if let Some(endpoint) = endpoint.into_iter().find(|endpoint| !endpoint.is_empty()) {
            words.push_str(&format!(", by {endpoint}{}", self.name_of(endpoint)));
        }
        for (key, lead) in [("decided", "decided by "), ("error", "because of "), ("detail", "")] {
            let value = text(record, key);
            if !value.is_empty() {
                words.push_str(&format!("; {lead}{value}"));
            }
        }
        words
    }

    fn name_of(&self, endpoint: &str) -> String {
        let Ok(address) = endpoint.parse::<SocketAddr>() else { return String::new() };
        let origin = self.origins.iter().find(|origin: &&Rc<Origin>| origin.address == address);
        origin.map_or_else(String::new, |origin| format!(" ({})", origin.name))
    }
}

fn server_text(received: &ReceivedRequest) -> String {
    let ReceivedRequest { origin, peer, method, target, fields } = received;
    let mut words = format!("   {origin:8}  received from {peer}: {method} {target}\n");
    let is_in = |names: &[&str], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    for (name, value) in fields.iter().filter(|(name, _)| is_in(&SHOWN_FIELDS, name)) {
        words.push_str(&format!("               {name}: {value}\n"));
    }
    if !fields.iter().any(|(name, _)| is_in(&IDENTIFYING_FIELDS, name)) {
        words.push_str("               (nothing that identifies the client)\n");
    }
    words
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Path and query of a target in any form.
fn path_of(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (target, path) in [
            ("/a?b", "/a?b"),
            ("http://localhost:1/a/b", "/a/b"),
            ("http://localhost", "/"),
            ("h.example:443", "h.example:443"),
        ] {
            assert_eq!(path_of(target), path);
        }
    }

    #[test]
    fn identifying_fields_are_shown() {
        let received = |fields: &[(&str, &str)]| ReceivedRequest {
            origin: "apples",
            peer: ([127, 0, 0, 1], 5).into(),
            method: "GET".into(),
            target: "/".into(),
            fields: fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        };
        assert!(server_text(&received(&[("Host", "a")])).contains("nothing that identifies"));
        let text = server_text(&received(&[("Host", "a"), ("X-Forwarded-For", "192.0.2.1")]));
        assert!(text.contains("X-Forwarded-For: 192.0.2.1") && !text.contains("nothing"));
    }
}
