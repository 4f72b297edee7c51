//! One end of a connection, scripted by a story: a client, or the side of an origin.
//!
//! All operations block, and fail the test after [`DEADLINE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::message_text::{Message, field};

/// How long a story waits for anything. It is generous, because only a failure reaches it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How a peer has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// By an orderly close (FIN).
    Closed,
    /// By a reset (RST).
    Reset,
}

/// A message that did not arrive completely.
#[derive(Debug, Clone)]
pub struct IncompleteMessage {
    /// The part that arrived.
    pub message: Box<Message>,
    /// How the connection ended.
    pub ended: ConnectionEnd,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// `None` once closed.
    stream: Option<Arc<TcpStream>>,
    unread: Vec<u8>,
    /// Receives a copy of every byte read.
    record: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Peer {
    /// Wraps a connection.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        Self { stream: Some(Arc::new(stream)), unread: Vec::new(), record: None }
    }

    /// Like [`Peer::of`], with a record of every byte read.
    pub fn recorded(stream: TcpStream, record: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { record: Some(record), ..Self::of(stream) }
    }

    /// Connects to `address`.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, DEADLINE).expect("a connection"))
    }

    /// Connects from a given local address, such as 127.0.0.5.
    #[track_caller]
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = socket(address);
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a local address");
        socket.connect(&address.into()).expect("a connection");
        Self::of(socket.into())
    }

    /// Connects with a small receive buffer, so that the other side soon notices if nothing is read.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = socket(address);
        socket.set_recv_buffer_size(8 * 1024).expect("a socket option");
        socket.connect(&address.into()).expect("a connection");
        Self::of(socket.into())
    }

    #[track_caller]
    fn stream(&self) -> &TcpStream {
        self.stream.as_deref().expect("a connection that is still open at this end")
    }

    /// The connection, as long as this end keeps it open.
    pub(crate) fn handle(&self) -> Weak<TcpStream> {
        self.stream.as_ref().map_or_else(Weak::new, Arc::downgrade)
    }

    /// The address of this end.
    pub fn local_address(&self) -> SocketAddr {
        self.stream().local_addr().expect("a local address")
    }

    /// Another handle of the same connection, for another thread.
    pub fn duplicate(&self) -> Self {
        Self { stream: self.stream.clone(), unread: Vec::new(), record: self.record.clone() }
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the peer takes what is sent");
    }

    /// Sends bytes; returns an error instead of failing the test.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Sends as much of `bytes` as possible without waiting longer than `patience` for the peer to read.
    /// Returns the number of bytes sent.
    pub fn send_until_blocked(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream().set_write_timeout(Some(patience)).expect("a socket option");
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream().write(rest) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        self.stream().set_write_timeout(Some(DEADLINE)).expect("a socket option");
        sent
    }

    /// Closes the sending direction.
    pub fn finish(&mut self) {
        // Fails if the peer has closed the connection already.
        let _ = self.stream().shutdown(Shutdown::Write);
    }

    /// Closes the connection. If there are unread bytes, the system sends a reset.
    pub fn close(&mut self) {
        self.stream = None;
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).expect("a socket option");
        self.stream = None;
    }

    /// Reads some bytes; returns how the connection ended if there are none.
    #[track_caller]
    fn fill(&mut self) -> Result<usize, ConnectionEnd> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream().read(&mut buffer) {
                Ok(0) => return Err(ConnectionEnd::Closed),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    if let Some(record) = &self.record {
                        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                        record.extend_from_slice(&buffer[..count]);
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(ConnectionEnd::Reset);
                }
                Err(error) => panic!("nothing came: {error}; so far unread: {}", self.unread()),
            }
        }
    }

    fn unread(&self) -> String {
        let shown = self.unread.get(..2000).unwrap_or(&self.unread);
        format!("{:?}", String::from_utf8_lossy(shown))
    }

    /// Waits until `count` bytes have arrived.
    #[track_caller]
    fn need(&mut self, count: usize) -> Result<(), ConnectionEnd> {
        while self.unread.len() < count {
            self.fill()?;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.unread.drain(..count).collect()
    }

    /// Reads exactly `count` bytes.
    #[track_caller]
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        if let Err(ended) = self.need(count) {
            panic!("{ended:?} where {count} bytes were expected, after {}", self.unread());
        }
        self.take(count)
    }

    /// Reads exactly `count` bytes, unless the connection ends first.
    #[track_caller]
    pub fn try_read_exact(&mut self, count: usize) -> Result<Vec<u8>, ConnectionEnd> {
        self.need(count)?;
        Ok(self.take(count))
    }

    /// Reads exactly these bytes; fails if others arrive.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let read = self.read_exact(bytes.len());
        assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes));
    }

    /// Reads up to and including `end`.
    fn read_past(&mut self, end: &[u8]) -> Result<Vec<u8>, ConnectionEnd> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.unread.len());
            let found = self.unread[from..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return Ok(self.take(from + at + end.len()));
            }
            searched = self.unread.len().saturating_sub(end.len() - 1);
            self.fill()?;
        }
    }

    /// Reads a head.
    #[track_caller]
    pub fn head(&mut self) -> Message {
        match self.read_past(b"\r\n\r\n") {
            Ok(head) => Message::of_head(&head),
            Err(ended) => panic!("{ended:?} where a head was expected, after {}", self.unread()),
        }
    }

    /// Reads a request with its body.
    #[track_caller]
    pub fn request(&mut self) -> Message {
        self.try_request().unwrap_or_else(|broken| panic!("no request: {broken:?}"))
    }

    /// Reads a request, if one arrives.
    #[track_caller]
    pub fn try_request(&mut self) -> Result<Message, IncompleteMessage> {
        let head = self.try_head()?;
        match head.length() {
            _ if head.is_chunked() => self.chunked_body(head),
            Some(length) => self.exact_body(head, length),
            None => Ok(head),
        }
    }

    /// Reads the body that a head announces.
    #[track_caller]
    pub fn body_of(&mut self, head: Message) -> Message {
        let read = match head.length() {
            _ if head.is_chunked() => self.chunked_body(head),
            Some(length) => self.exact_body(head, length),
            None => Ok(head),
        };
        read.unwrap_or_else(|broken| panic!("no body: {broken:?}"))
    }

    fn try_head(&mut self) -> Result<Message, IncompleteMessage> {
        let head = self.read_past(b"\r\n\r\n");
        head.map(|head| Message::of_head(&head))
            .map_err(|ended| IncompleteMessage { message: Box::default(), ended })
    }

    /// Reads the response to a request of any method but HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    /// Reads the response to a request of this method.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Message {
        match self.try_response_to(method) {
            Ok(message) => message,
            Err(broken) => {
                panic!("no whole response: {broken:?}, and unread {}", self.unread())
            }
        }
    }

    /// Reads a response, which may be incomplete.
    #[track_caller]
    pub fn try_response(&mut self) -> Result<Message, IncompleteMessage> {
        self.try_response_to("GET")
    }

    /// Like [`Peer::try_response`], for a method.
    #[track_caller]
    pub fn try_response_to(&mut self, method: &str) -> Result<Message, IncompleteMessage> {
        let head = self.try_head()?;
        let bodiless = matches!(head.status(), 100..200 | 204 | 304) || method == "HEAD";
        match head.length() {
            _ if bodiless => Ok(head),
            _ if head.is_chunked() => self.chunked_body(head),
            Some(length) => self.exact_body(head, length),
            None => {
                let (body, ended) = self.rest();
                let message = Message { body, ..head };
                if ended == ConnectionEnd::Closed {
                    Ok(message)
                } else {
                    Err(IncompleteMessage { message: Box::new(message), ended })
                }
            }
        }
    }

    fn exact_body(
        &mut self,
        mut head: Message,
        length: usize,
    ) -> Result<Message, IncompleteMessage> {
        match self.need(length) {
            Ok(()) => {
                head.body = self.take(length);
                Ok(head)
            }
            Err(ended) => {
                head.body = std::mem::take(&mut self.unread);
                Err(IncompleteMessage { message: Box::new(head), ended })
            }
        }
    }

    #[track_caller]
    fn chunked_body(&mut self, mut head: Message) -> Result<Message, IncompleteMessage> {
        loop {
            match self.chunk() {
                Ok(chunk) if chunk.is_empty() => break,
                Ok(chunk) => {
                    head.chunks.push(chunk.len());
                    head.body.extend_from_slice(&chunk);
                }
                Err(ended) => return Err(IncompleteMessage { message: Box::new(head), ended }),
            }
        }
        loop {
            match self.read_past(b"\r\n") {
                Ok(line) if line.len() == 2 => return Ok(head),
                Ok(line) => {
                    let line = String::from_utf8(line).expect("a trailer in UTF-8");
                    head.trailers.push(field(line.trim_end_matches("\r\n")));
                }
                Err(ended) => return Err(IncompleteMessage { message: Box::new(head), ended }),
            }
        }
    }

    /// Reads the data of a chunk. The last chunk is empty; trailers and the final line are not read.
    #[track_caller]
    pub fn chunk(&mut self) -> Result<Vec<u8>, ConnectionEnd> {
        let line = self.read_past(b"\r\n")?;
        let digits = str::from_utf8(&line[..line.len() - 2]).expect("a chunk's size");
        let size = usize::from_str_radix(digits, 16).expect("a chunk's size, and nothing after it");
        if size == 0 {
            return Ok(Vec::new());
        }
        self.need(size + 2)?;
        let mut chunk = self.take(size + 2);
        assert_eq!(chunk.split_off(size), b"\r\n", "the end of a chunk");
        Ok(chunk)
    }

    /// Reads to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, ConnectionEnd) {
        loop {
            if let Err(ended) = self.fill() {
                return (std::mem::take(&mut self.unread), ended);
            }
        }
    }

    /// Waits for the end of the connection; fails if more bytes arrive before.
    #[track_caller]
    pub fn ended(&mut self) -> ConnectionEnd {
        let (rest, ended) = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
        ended
    }

    /// Fails unless the peer closes the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert_eq!(self.ended(), ConnectionEnd::Closed);
    }

    /// The number of unread bytes that have arrived; never waits.
    pub fn arrived(&mut self) -> usize {
        self.stream().set_nonblocking(true).expect("a socket option");
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = self.stream().read(&mut buffer) {
            self.unread.extend_from_slice(&buffer[..count]);
        }
        self.stream().set_nonblocking(false).expect("a socket option");
        self.unread.len()
    }
}

/// Sends some bytes again and again, until it is dropped or the peer closes the connection.
pub struct Trickle {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    /// Sends `bytes` over a connection, each time after `pause`.
    pub fn over(peer: &Peer, bytes: &'static str, pause: Duration) -> Self {
        let mut sender = peer.duplicate();
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while sender.try_send(bytes).is_ok()
                && stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
            {}
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        // Fails if the thread has ended already.
        let _ = self.stop.send(());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn socket(address: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket")
}
