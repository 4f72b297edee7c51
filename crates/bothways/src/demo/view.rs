//! What each side saw of an exchange, side by side.
//!
//! Two streams are joined: lines of the access log, one for each exchange that is over, and what
//! the servers received. They are matched by method and path, which the demo's configuration does
//! not change on the way. What finds no partner in time is shown alone.

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
use super::origin::{Origin, Seen};

/// How long a request that a server saw waits for its exchange to be over.
const JOIN_TIME: Duration = Duration::from_secs(2);
/// Longest line of the access log that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Fields that tell a server of the client or of the way.
const TELLING: [&str; 9] = [
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
/// Those that name the client.
const NAMING: [&str; 6] =
    ["X-Forwarded-For", "Forwarded", "Via", "Referer", "User-Agent", "Cookie"];

/// Lines of the access log, through a named pipe.
pub(super) struct Records {
    lines: BufReader<pipe::Receiver>,
    line: Vec<u8>,
}

impl Records {
    /// Opens the reading end. It never ends: we hold the writing end too.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let receiver = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(path)
            .map_err(|error| Failure::other(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self { lines: BufReader::new(receiver), line: Vec::new() })
    }

    /// The next line. May be dropped and called again without losing anything.
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

/// Joins what each side saw.
pub(super) struct View {
    paint: Paint,
    records: Records,
    reports: mpsc::Receiver<Seen>,
    waiting: VecDeque<(Instant, Seen)>,
    origins: Origins,
}

impl View {
    /// A view of what comes from now on.
    pub(super) fn new(
        paint: Paint,
        records: Records,
        reports: mpsc::Receiver<Seen>,
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
                // Reports first: a server has seen a request before its exchange is over.
                biased;
                Some(seen) = self.reports.recv() => self.waiting.push_back((Instant::now(), seen)),
                record = self.records.next() => return self.joined(&record),
                () = too_late => {
                    if let Some((_, seen)) = self.waiting.pop_front() {
                        return self.block("under way", None, Some(&seen));
                    }
                }
            }
        }
    }

    fn joined(&mut self, record: &Value) -> String {
        let method = text(record, "method");
        let path = path_of(text(record, "target"));
        let is_it = |(_, seen): &(Instant, Seen)| seen.method == method && seen.target == path;
        let seen = self.waiting.iter().position(is_it).and_then(|at| self.waiting.remove(at));
        let seen = seen.map(|(_, seen)| seen);
        self.block(text(record, "direction"), Some(record), seen.as_ref())
    }

    fn block(&self, title: &str, record: Option<&Value>, seen: Option<&Seen>) -> String {
        let mut block = format!("{}\n", self.paint.bold(&format!("── {title} ──")));
        if let Some(record) = record {
            block.push_str(&format!(
                "   client    {} asks {}: {} {}\n",
                text(record, "client"),
                text(record, "listener"),
                text(record, "method"),
                text(record, "target"),
            ));
            block.push_str(&format!("   bothways  {}\n", self.proxy_words(record)));
        }
        match seen {
            Some(seen) => block.push_str(&server_words(seen)),
            None => block.push_str("   servers   saw nothing\n"),
        }
        block
    }

    /// `200 after 1.2 ms, by 127.0.0.1:4001 (apples); decided by demo.kdl:12`
    fn proxy_words(&self, record: &Value) -> String {
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

fn server_words(seen: &Seen) -> String {
    let Seen { origin, peer, method, target, fields } = seen;
    let mut words = format!("   {origin:8}  saw {peer}: {method} {target}\n");
    let is_in = |names: &[&str], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    for (name, value) in fields.iter().filter(|(name, _)| is_in(&TELLING, name)) {
        words.push_str(&format!("               {name}: {value}\n"));
    }
    if !fields.iter().any(|(name, _)| is_in(&NAMING, name)) {
        words.push_str("               (nothing that names the client)\n");
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
    fn what_names_the_client_is_shown() {
        let seen = |fields: &[(&str, &str)]| Seen {
            origin: "apples",
            peer: ([127, 0, 0, 1], 5).into(),
            method: "GET".into(),
            target: "/".into(),
            fields: fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        };
        assert!(server_words(&seen(&[("Host", "a")])).contains("nothing that names"));
        let told = server_words(&seen(&[("Host", "a"), ("X-Forwarded-For", "192.0.2.1")]));
        assert!(told.contains("X-Forwarded-For: 192.0.2.1") && !told.contains("nothing"));
    }
}
