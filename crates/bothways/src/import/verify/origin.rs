//! Servers behind both proxies: each records what arrives and answers with it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use import::relocate::{Endpoint, Plan};

use crate::exit::Failure;

/// The field that tells which request it is.
pub(super) const ID_FIELD: &str = "X-Bothways-Verify";
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of a head, and of a line in it.
const HEAD_BYTES_MAX: u64 = 256 * 1024;

/// What an endpoint received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    /// The upstream, or the address.
    pub(super) group: String,
    pub(super) method: String,
    pub(super) target: String,
    /// Fields in order, with names in lower case.
    pub(super) fields: Vec<(String, String)>,
}

impl Received {
    /// The values of a field, joined.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .fields
            .iter()
            .filter(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

type Records = Arc<Mutex<HashMap<String, Vec<Received>>>>;

/// The servers.
pub(super) struct Origins {
    records: Records,
}

impl Origins {
    /// Starts one for each endpoint. They end with the process.
    pub(super) fn start(plan: &Plan) -> Result<Self, Failure> {
        let records = Records::default();
        for endpoint in plan.endpoints() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, endpoint.port))
                .map_err(|error| Failure::other(format!("cannot listen on loopback: {error}")))?;
            let (endpoint, records) = (endpoint.clone(), records.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (endpoint, records) = (endpoint.clone(), records.clone());
                    thread::spawn(move || serve(&stream, &endpoint, &records));
                }
            });
        }
        Ok(Self { records })
    }

    /// What arrived of a request.
    pub(super) fn take(&self, id: &str) -> Vec<Received> {
        lock(&self.records).remove(id).unwrap_or_default()
    }
}

fn lock(records: &Records) -> MutexGuard<'_, HashMap<String, Vec<Received>>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &TcpStream, endpoint: &Endpoint, records: &Records) {
    let _ = stream.set_read_timeout(Some(IDLE));
    let mut reader = BufReader::new(stream);
    while let Some(received) = receive(&mut reader, &endpoint.group) {
        let closes = received.field("connection").is_some_and(|value| value.contains("close"));
        let is_head = received.method == "HEAD";
        let body = format!("{} got {} {}\n", endpoint.group, received.method, received.target);
        if let Some(id) = received.field(&ID_FIELD.to_ascii_lowercase()) {
            lock(records).entry(id).or_default().push(received);
        }
        let connection = if closes { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        let sent =
            stream.write_all(format!("{head}{}", if is_head { "" } else { &body }).as_bytes());
        if sent.is_err() || closes {
            return;
        }
    }
}

/// One request with its body.
fn receive(reader: &mut BufReader<&TcpStream>, group: &str) -> Option<Received> {
    let mut head = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(HEAD_BYTES_MAX).read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
        if head.len() > 1000 {
            return None;
        }
    }
    let mut lines = head.iter();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let received = Received { group: group.to_owned(), method, target, fields };
    let length = received.field("content-length").and_then(|text| text.parse::<u64>().ok());
    std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink()).ok()?;
    Some(received)
}
