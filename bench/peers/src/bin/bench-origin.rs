//! The origin: prebuilt responses, one thread, one epoll.
//!
//! It must be much cheaper than any proxy in front of it, so that the proxy is what one measures:
//! one `epoll_wait` for many connections, then one read and one write for a request.
//! Targets: `/small` (128 B), `/64k`, `/1m`, `/sink` (reads a body), `/-/requests` (how many requests were answered so far, itself not counted).

use bench_peers::{http, raise_open_files, required};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with, sockopt,
};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;

const BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;
/// A request head longer than this ends its connection.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// No connection has this number.
const LISTENER: u64 = u64::MAX;

fn main() -> Result<()> {
    raise_open_files();
    let mut origin = Origin::bind(required("--listen")?)?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        match epoll::wait(&origin.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => origin.accept()?,
                number => origin.turn(number as usize, event.flags),
            }
        }
    }
}

/// The prebuilt messages. Those that end a connection say so.
struct Responses {
    small: Response,
    body_64k: Response,
    body_1m: Response,
    not_found: &'static [u8],
}

struct Response {
    keep: &'static [u8],
    close: &'static [u8],
}

impl Response {
    fn build(content_bytes: usize) -> Self {
        let [keep, close] = [false, true].map(|close| http::response(content_bytes, close).leak());
        Self { keep, close }
    }
}

impl Responses {
    fn build() -> Self {
        Self {
            small: Response::build(128),
            body_64k: Response::build(64 * 1024),
            body_1m: Response::build(1024 * 1024),
            not_found: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        }
    }
}

struct Origin {
    epoll: OwnedFd,
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    responses: Responses,
    requests: u64,
}

struct Connection {
    socket: OwnedFd,
    /// The start of a head whose rest has not come yet.
    unread: Vec<u8>,
    /// The bytes of a request's body that are still to come.
    body_left: u64,
    output: VecDeque<Output>,
    /// Whether epoll waits for room to write; otherwise for something to read.
    blocked: bool,
    close: bool,
}

struct Output {
    bytes: Cow<'static, [u8]>,
    sent: usize,
}

impl Origin {
    fn bind(address: SocketAddr) -> Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &address)?;
        listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; READ_BYTES],
            responses: Responses::build(),
            requests: 0,
        })
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => self.add(socket)?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, socket: OwnedFd) -> Result<()> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        let number = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), EventFlags::IN)?;
        if let Some(slot) = self.connections.get_mut(number) {
            *slot = Some(Connection {
                socket,
                unread: Vec::new(),
                body_left: 0,
                output: VecDeque::new(),
                blocked: false,
                close: false,
            });
        }
        Ok(())
    }

    /// One connection's turn. Any error is the end of that connection and of nothing else.
    fn turn(&mut self, number: usize, ready: EventFlags) {
        let Some(mut connection) = self.connections.get_mut(number).and_then(Option::take) else {
            return;
        };
        match self.serve(&mut connection, number, ready) {
            Ok(true) => {
                if let Some(slot) = self.connections.get_mut(number) {
                    *slot = Some(connection);
                }
            }
            Ok(false) | Err(_) => self.free.push(number),
        }
    }

    /// False when the connection is over.
    fn serve(
        &mut self,
        connection: &mut Connection,
        number: usize,
        ready: EventFlags,
    ) -> rustix::io::Result<bool> {
        if !connection.blocked && ready.intersects(EventFlags::IN | EventFlags::HUP) {
            let read = match recv(&connection.socket, &mut *self.buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error),
            };
            let buffer = std::mem::take(&mut self.buffer);
            let fits = self.take(connection, buffer.get(..read).unwrap_or_default());
            self.buffer = buffer;
            if !fits {
                return Ok(false);
            }
        }
        let drained = connection.flush()?;
        if drained == connection.blocked {
            connection.blocked = !drained;
            let wanted = if drained { EventFlags::IN } else { EventFlags::OUT };
            let data = EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &connection.socket, data, wanted)?;
        }
        Ok(!(drained && connection.close))
    }

    /// Answers every request that is complete with `arrived`. False if what came is no request.
    fn take(&mut self, connection: &mut Connection, arrived: &[u8]) -> bool {
        if connection.unread.is_empty() {
            let rest = self.answer(connection, arrived);
            connection.unread.extend_from_slice(rest);
        } else {
            let mut whole = std::mem::take(&mut connection.unread);
            whole.extend_from_slice(arrived);
            connection.unread = self.answer(connection, &whole).to_vec();
        }
        connection.unread.len() < HEAD_BYTES_MAX
    }

    /// Returns the bytes that do not make a request yet.
    fn answer<'b>(&mut self, connection: &mut Connection, mut input: &'b [u8]) -> &'b [u8] {
        loop {
            let skipped = usize::try_from(connection.body_left).unwrap_or(usize::MAX);
            let skipped = skipped.min(input.len());
            connection.body_left -= skipped as u64;
            input = input.get(skipped..).unwrap_or_default();
            let Some(request) = http::request(input) else { return input };
            connection.close |= request.close;
            connection.body_left = request.body_bytes;
            self.respond(connection, request.target);
            input = input.get(request.head_bytes..).unwrap_or_default();
        }
    }

    fn respond(&mut self, connection: &mut Connection, target: &[u8]) {
        self.requests += 1;
        let response = match http::path(target) {
            b"/small" | b"/sink" => &self.responses.small,
            b"/64k" => &self.responses.body_64k,
            b"/1m" => &self.responses.body_1m,
            b"/-/requests" => {
                self.requests -= 1;
                return connection.put(Cow::Owned(self.count()));
            }
            _ => return connection.put(Cow::Borrowed(self.responses.not_found)),
        };
        let bytes = if connection.close { response.close } else { response.keep };
        connection.put(Cow::Borrowed(bytes));
    }

    fn count(&self) -> Vec<u8> {
        let digits = self.requests.to_string();
        let mut message = http::response_head(digits.len() as u64, false);
        message.extend_from_slice(digits.as_bytes());
        message
    }
}

impl Connection {
    fn put(&mut self, bytes: Cow<'static, [u8]>) {
        self.output.push_back(Output { bytes, sent: 0 });
    }

    /// Sends what the socket takes. True when nothing is left.
    fn flush(&mut self) -> rustix::io::Result<bool> {
        while let Some(Output { bytes, sent }) = self.output.front_mut() {
            let part = bytes.get(*sent..).unwrap_or_default();
            match send(&self.socket, part, SendFlags::NOSIGNAL) {
                Ok(all) if all == part.len() => drop(self.output.pop_front()),
                Ok(some) => *sent += some,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
