//! The admin interface: what a machine's own people and programs may see and ask.
//!
//! An HTTP/1.1 server (hyper) on the control thread, on a loopback address or a unix socket,
//! never on an address that others reach. [`guard`] turns away what a web page in a browser on
//! this machine could send; [`pages`] answers; [`socket`] listens. What changes something
//! ([`upstreams`]) is allowed over the unix socket, and over TCP by a [`token`].
//! Bounds: connections, time and size of a request head, life of a connection.

mod certificates;
mod difference;
mod guard;
mod pages;
mod save;
mod socket;
mod standing;
mod token;
mod upstreams;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use config::AdminAddress;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;

use super::control::Control;
use socket::{Connection, Socket};
pub(super) use token::Token;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// For a request head to arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request head, and fields in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// A connection is closed after this long, whatever it does.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// After an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The admin interface, or the absence of one.
#[derive(Default)]
pub(super) struct Admin {
    control: Option<Rc<Control>>,
    serving: Option<Serving>,
}

struct Serving {
    address: AdminAddress,
    /// With the port that the system chose, if that was left to it.
    actual: AdminAddress,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The socket goes with the task; connections finish what they do.
        self.task.abort();
    }
}

impl Admin {
    /// Starts to serve, if there is an address.
    pub(super) fn start(
        &mut self,
        control: &Rc<Control>,
        address: Option<&AdminAddress>,
    ) -> Result<(), String> {
        self.control = Some(control.clone());
        self.change(address)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<&AdminAddress> {
        self.serving.as_ref().map(|serving| &serving.actual)
    }

    /// Moves to another address, if it is another one. On failure everything stays as it was.
    pub(super) fn change(&mut self, address: Option<&AdminAddress>) -> Result<(), String> {
        if self.serving.as_ref().map(|serving| &serving.address) == address {
            return Ok(());
        }
        let Some((control, address)) = self.control.as_ref().zip(address) else {
            self.serving = None;
            return Ok(());
        };
        let socket = Socket::bind(address).map_err(|error| {
            format!("cannot listen on the admin address {}: {error}", written(address))
        })?;
        let actual = socket.local_address().map_or_else(|| address.clone(), AdminAddress::Tcp);
        let task = tokio::task::spawn_local(accept(socket, control.clone()));
        self.serving = Some(Serving { address: address.clone(), actual, task });
        Ok(())
    }
}

/// As in the configuration.
pub(super) fn written(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

async fn accept(socket: Socket, control: Rc<Control>) {
    let open = Rc::new(Cell::new(0));
    let closed = Rc::new(tokio::sync::Notify::new());
    loop {
        if open.get() >= CONNECTIONS_MAX {
            closed.notified().await;
            continue;
        }
        match socket.accept().await {
            Ok(connection) => {
                let counted = Counted::new(open.clone(), closed.clone());
                let control = control.clone();
                tokio::task::spawn_local(async move {
                    serve(connection, control).await;
                    drop(counted);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin interface cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection while it is open.
struct Counted {
    open: Rc<Cell<usize>>,
    closed: Rc<tokio::sync::Notify>,
}

impl Counted {
    fn new(open: Rc<Cell<usize>>, closed: Rc<tokio::sync::Notify>) -> Self {
        open.set(open.get() + 1);
        Self { open, closed }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.closed.notify_one();
    }
}

async fn serve(connection: Connection, control: Rc<Control>) {
    let caller = Rc::new(connection.caller());
    let service = service_fn(move |request| {
        let (control, caller) = (control.clone(), Rc::clone(&caller));
        async move { Ok::<_, std::convert::Infallible>(pages::answer(&control, &caller, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(connection), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, connection).await {
        tracing::debug!(%error, "a connection of the admin interface broke");
    }
}
