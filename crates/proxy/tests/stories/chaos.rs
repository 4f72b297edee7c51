//! Much valid traffic in every framing, cut at random places: each answer belongs to its request.

use std::sync::atomic::{AtomicU64, Ordering};

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;

/// Numbers that look random, from a seed that a failure prints.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }

    fn body(&mut self) -> Vec<u8> {
        // Around the sizes of buffers, and of what goes from socket to socket.
        const EDGES: [usize; 8] = [0, 1, 100, 4096, 16 * 1024, 64 * 1024, 128 * 1024, 200 * 1024];
        let length = EDGES[self.roll(EDGES.len())] + self.roll(20);
        let start = self.roll(256);
        (0..length).map(|index| (start + index * 7) as u8).collect()
    }

    /// Sends bytes in up to four writes.
    fn send(&mut self, peer: &mut Peer, bytes: &[u8]) {
        let mut rest = bytes;
        for _ in 0..self.roll(4) {
            let (piece, after) = rest.split_at(self.roll(rest.len() + 1));
            peer.send(piece);
            rest = after;
        }
        peer.send(rest);
    }

    fn chunked(&mut self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let length = 1 + self.roll(rest.len().min(70_000));
            let (piece, after) = rest.split_at(length);
            out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
            rest = after;
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }
}

/// What an origin makes of a request: its target, its body and its sum.
fn digest(target: &str, body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(17u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    [format!("{target} {sum} ").as_bytes(), body].concat()
}

/// Answers in a framing of the day; false if the connection ends with it.
fn answer(peer: &mut Peer, dice: &mut Dice, request: &Message) -> bool {
    let body = digest(request.target(), &request.body);
    if dice.roll(8) == 0 {
        dice.send(peer, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    }
    if request.method() == "HEAD" {
        dice.send(
            peer,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        );
        return true;
    }
    match dice.roll(5) {
        0 => {
            let close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_bytes();
            dice.send(peer, &[close, &body].concat());
            false
        }
        1 | 2 => {
            let chunks = dice.chunked(&body);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_bytes();
            dice.send(peer, &[head, &chunks].concat());
            true
        }
        3 => {
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            dice.send(peer, &[head.as_bytes(), &body].concat());
            false
        }
        _ => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            dice.send(peer, &[head.as_bytes(), &body].concat());
            true
        }
    }
}

fn request(dice: &mut Dice, number: usize) -> (Vec<u8>, &'static str, Vec<u8>) {
    let method = ["GET", "HEAD", "PUT", "POST", "DELETE"][dice.roll(5)];
    let body = if matches!(method, "PUT" | "POST") { dice.body() } else { Vec::new() };
    let mut bytes = format!("{method} /{number} HTTP/1.1\r\nHost: a\r\n").into_bytes();
    match dice.roll(2) {
        _ if body.is_empty() && !matches!(method, "PUT" | "POST") => {
            bytes.extend_from_slice(b"\r\n");
        }
        0 => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        _ => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            bytes.extend_from_slice(&dice.chunked(&body));
        }
    }
    (bytes, method, body)
}

/// The final response: interim ones are passed over.
#[track_caller]
fn final_response(client: &mut Peer, method: &str) -> Message {
    loop {
        let response = client.response_to(method);
        if response.status() >= 200 {
            return response;
        }
    }
}

fn talk(server: &TestServer, seed: u64) {
    let mut dice = Dice(seed);
    let mut client = server.connect();
    let mut number = 0;
    for _ in 0..25 {
        // A few requests at once, which another thread sends, so that nobody waits for the other.
        let batch: Vec<_> = (0..1 + dice.roll(4))
            .map(|_| {
                number += 1;
                (number, request(&mut dice, number))
            })
            .collect();
        let mut writer = client.duplicate();
        let mut cuts = Dice(seed ^ number as u64 ^ 0x5555);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                batch.iter().for_each(|(_, (bytes, _, _))| cuts.send(&mut writer, bytes));
            });
            for (number, (_, method, body)) in &batch {
                let response = final_response(&mut client, method);
                assert_eq!(response.status(), 200, "seed {seed}: {response:?}");
                if *method != "HEAD" {
                    let same = response.body == digest(&format!("/{number}"), body);
                    assert!(same, "seed {seed}, request {number}: {response:?}");
                }
            }
        });
    }
}

#[test]
fn every_answer_belongs_to_its_request() {
    let seeds = AtomicU64::new(1);
    let origin = Origin::start(move |peer, _| {
        let mut dice = Dice(seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
        while let Ok(request) = peer.try_request() {
            if !answer(peer, &mut dice, &request) {
                return;
            }
        }
    });
    let server = TestServer::start(&format!(
        "process {{ cores 2; log access=off; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    std::thread::scope(|scope| {
        for seed in 1..=6 {
            let server = &server;
            scope.spawn(move || talk(server, seed * 0x2545_f491_4f6c_dd1d));
        }
    });
    server.wait_until_quiet();
}

#[test]
fn noise_breaks_nothing() {
    // Bytes without sense from both sides; what counts is that everybody else is served.
    let origin = Origin::start(|peer, number| {
        let mut dice = Dice(number as u64 * 77 + 5);
        let Ok(request) = peer.try_request() else { return };
        if request.target() == "/fine" {
            return peer.send(ok("fine"));
        }
        let noise: Vec<u8> = match dice.roll(3) {
            0 => (0..dice.roll(300)).map(|_| dice.roll(256) as u8).collect(),
            1 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
                .to_vec(),
            _ => {
                let mut bytes = ok("hello world").into_bytes();
                let place = dice.roll(bytes.len());
                bytes[place] = dice.roll(256) as u8;
                bytes
            }
        };
        let _ = peer.try_send(noise);
    });
    let server = TestServer::reverse(
        origin.address(),
        "timeouts { first-byte \"1s\"; stream-idle \"1s\"; }",
    );
    let mut dice = Dice(42);
    for round in 0..150 {
        let mut client = server.connect();
        let mut bytes = match round % 3 {
            0 => (0..dice.roll(500)).map(|_| dice.roll(256) as u8).collect(),
            1 => b"GET /noise HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            _ => request(&mut dice, round).0,
        };
        if round % 2 == 0 && !bytes.is_empty() {
            let place = dice.roll(bytes.len().min(200));
            bytes[place] = dice.roll(256) as u8;
        }
        let _ = client.try_send(&bytes);
        client.finish();
        let _ = client.rest();
    }
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "fine");
    drop(client);
    server.wait_until_quiet();
}

#[test]
fn thousands_of_requests_in_one_go() {
    const REQUESTS: usize = 3000;
    let origin = Origin::serving(|request| ok(request.target()));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    let mut writer = client.duplicate();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let all: String =
                (0..REQUESTS).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
            writer.send(all);
        });
        for number in 0..REQUESTS {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
    });
}
