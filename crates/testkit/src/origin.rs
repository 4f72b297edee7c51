//! A scripted origin server.
//!
//! The script runs for each connection, on a separate thread. A failed assertion in a script fails
//! the test, at the latest when the [`Origin`] is dropped.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::peer::Peer;
use crate::wait;

/// A scripted server.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    connections: Mutex<Vec<Connection>>,
    failures: Mutex<Vec<String>>,
}

struct Connection {
    stream: Weak<TcpStream>,
    received: Arc<Mutex<Vec<u8>>>,
    script: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origin {
    /// Starts an origin that runs `script` for each connection, with the number of the connection,
    /// starting at 0. When the script returns, the connection is closed.
    pub fn start(script: impl Fn(&mut Peer, usize) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    /// Like [`Origin::start`], at an address.
    #[track_caller]
    pub fn start_at(
        address: &str,
        script: impl Fn(&mut Peer, usize) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("an address to listen on");
        let address = listener.local_addr().expect("a local address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let script = Arc::new(script);
        let acceptor = std::thread::spawn(move || {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                accepting.run(stream, number, Arc::clone(&script));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// An origin that sends the same response to every request.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |peer, _| {
            while peer.try_request().is_ok() {
                peer.send(&response);
            }
        })
    }

    /// An origin that responds to each request with the result of `answer`.
    pub fn serving(
        answer: impl Fn(&crate::message_text::Message) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |peer, _| {
            while let Ok(request) = peer.try_request() {
                peer.send(answer(&request));
            }
        })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// Every byte of a connection that its script has read.
    pub fn received_by(&self, number: usize) -> Vec<u8> {
        let connections = lock(&self.shared.connections);
        connections.get(number).map_or_else(Vec::new, |c| lock(&c.received).clone())
    }

    /// Every byte read on all connections, as text.
    pub fn received(&self) -> String {
        let all: Vec<u8> =
            (0..self.connections()).flat_map(|number| self.received_by(number)).collect();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Waits until it has accepted `count` connections.
    #[track_caller]
    pub fn wait_for_connections(&self, count: usize) {
        wait::until("connections to the origin", || self.connections() >= count);
    }
}

/// An address that refuses connections as long as the process lives. (A port that is merely free now
/// may be used by another program a moment later.)
#[track_caller]
pub fn refused_address() -> SocketAddr {
    let socket = tcp_socket();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("an address");
    let address = socket.local_addr().expect("a local address");
    std::mem::forget(socket); // bound, and never listening
    address.as_socket().expect("an IP address")
}

/// An address that neither accepts nor refuses connections: connecting to it hangs.
pub struct Unreachable {
    listener: Socket,
    /// Connections that fill its accept queue.
    _waiting: Vec<Socket>,
}

impl Unreachable {
    /// Creates one at an address; port 0 means a free port.
    #[track_caller]
    pub fn at(address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let listener = tcp_socket();
        listener.bind(&address.into()).expect("an address to listen on");
        listener.listen(0).expect("a queue");
        let target = listener.local_addr().expect("a local address");
        let mut waiting = Vec::new();
        // The kernel accepts one or two more than the backlog.
        loop {
            let socket = tcp_socket();
            let is_full = socket.connect_timeout(&target, Duration::from_millis(100)).is_err();
            waiting.push(socket);
            if is_full {
                return Self { listener, _waiting: waiting };
            }
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        let address = self.listener.local_addr().expect("a local address");
        address.as_socket().expect("an IP address")
    }
}

fn tcp_socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")
}

impl Shared {
    fn run(
        self: &Arc<Self>,
        stream: TcpStream,
        number: usize,
        script: Arc<impl Fn(&mut Peer, usize) + Send + Sync + 'static>,
    ) {
        let received = Arc::default();
        let mut peer = Peer::recorded(stream, Arc::clone(&received));
        // Before its thread starts, so that it is listed when the script can be observed.
        let connection = Connection { stream: peer.handle(), received, script: None };
        lock(&self.connections).push(connection);
        let shared = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            let ran = catch_unwind(AssertUnwindSafe(|| script(&mut peer, number)));
            if let Err(panic) = ran
                && !shared.stopping.load(Ordering::SeqCst)
            {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                lock(&shared.failures).push(format!("connection {number}: {text}"));
            }
        });
        if let Some(connection) = lock(&self.connections).get_mut(number) {
            connection.script = Some(thread);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wake the accept loop.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
        let mut connections = std::mem::take(&mut *lock(&self.shared.connections));
        for connection in &mut connections {
            let _ = connection.stream.upgrade().map(|stream| stream.shutdown(Shutdown::Both));
            let _ = connection.script.take().map(JoinHandle::join);
        }
        let failures = lock(&self.shared.failures);
        if !failures.is_empty() && !std::thread::panicking() {
            panic!("the origin's script failed: {failures:?}");
        }
    }
}
