//! A scripted name server, over UDP on loopback.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// The response to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These addresses (those of the queried family), with a TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// These services, with a TTL in seconds.
    Services(Vec<Service>, u32),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// No response.
    Silence,
}

/// An `SRV` record (RFC 2782): priority, weight, port and target (`.`: there is no such service).
pub type Service = (u16, u16, u16, String);

/// A scripted name server.
pub struct NameServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    questions: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

const QUERY_HEAD_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;

impl NameServer {
    /// Starts a name server; `answer` gets the name in lower case, without the trailing dot.
    pub fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("an address for the name server");
        let address = socket.local_addr().expect("a local address");
        let (stopping, questions) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop, counter) = (Arc::clone(&stopping), Arc::clone(&questions));
        let thread = std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let query = &query[..length];
                let Some((name, kind, end)) = question(query) else { continue };
                counter.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = respond(&query[..end], kind, answer(&name)) {
                    // Fails if the client has gone.
                    let _ = socket.send_to(&reply, peer);
                }
            }
        });
        Self { address, stopping, questions, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of queries that it received.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wake the thread.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("an address");
        let _ = socket.send_to(&[0], self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The name, the type, and the end of the question (RFC 1035, section 4.1.2).
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = QUERY_HEAD_BYTES;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(str::from_utf8(query.get(at..at + length)?).ok()?.to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn respond(query: &[u8], kind: u16, reply: Reply) -> Option<Vec<u8>> {
    let of_address = |address: &IpAddr| match address {
        IpAddr::V4(v4) if kind == TYPE_A => Some(v4.octets().to_vec()),
        IpAddr::V6(v6) if kind == TYPE_AAAA => Some(v6.octets().to_vec()),
        _ => None,
    };
    let (code, records, ttl) = match reply {
        Reply::Addresses(addresses, ttl) => {
            (0, addresses.iter().filter_map(of_address).collect(), ttl)
        }
        Reply::Services(services, ttl) if kind == TYPE_SRV => {
            (0, services.iter().map(service_record).collect(), ttl)
        }
        Reply::Services(..) => (0, Vec::new(), 0),
        Reply::NoSuchName => (3, Vec::new(), 0),
        Reply::Failure => (2, Vec::new(), 0),
        Reply::Silence => return None,
    };
    let mut out = query.to_vec();
    out[2] = 0x81; // a response, recursion desired
    out[3] = 0x80 | code; // recursion available
    let count = u16::try_from(records.len()).expect("few records").to_be_bytes();
    // One question; answers; no authority, nothing additional.
    out[4..QUERY_HEAD_BYTES].copy_from_slice(&[0, 1, count[0], count[1], 0, 0, 0, 0]);
    for record in records {
        out.extend_from_slice(&[0xc0, QUERY_HEAD_BYTES as u8]); // the name in the question
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(record.len()).expect("a short one").to_be_bytes());
        out.extend_from_slice(&record);
    }
    Some(out)
}

fn service_record((priority, weight, port, target): &Service) -> Vec<u8> {
    let mut out: Vec<u8> =
        [priority, weight, port].into_iter().flat_map(|n| n.to_be_bytes()).collect();
    for label in target.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a short label"));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}
