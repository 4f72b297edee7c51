//! The admin interface, for people and programs on this machine.
//!
//! An HTTP/1.1 server (hyper) on the control thread, on a loopback address or a unix socket, never
//! on an address that other machines can reach. [`socket`] listens; [`guard`] refuses requests that a
//! web page in a browser on this machine could send; [`pages`] responds. Requests over the unix
//! socket may do everything; over TCP, [`token`] decides. The data plane knows the address, so that
//! no client of a forward proxy can reach it.
//! Bounds: connections (the one that has been idle longest is closed for a new one), time and size of
//! a request head, lifetime of a connection.

mod cache;
mod certificates;
mod difference;
mod guard;
mod maintenance;
mod pages;
mod save;
mod socket;
mod status;
mod token;
mod upgrade;
mod upstreams;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use config::AdminAddress;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;

use super::control::Control;
use socket::{Connection, Socket};
pub(crate) use token::GENERATED_FILE as GENERATED_TOKEN_FILE;
pub(super) use token::Token;

/// The maximum number of connections; for a new one, the one that has been idle longest is closed.
const CONNECTIONS_MAX: usize = 64;
/// Timeout for a request head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Maximum bytes and fields of a request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// The maximum lifetime of a connection.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// How long the last requests may take when another process has the interface, and how often to look.
const LAST_ANSWER_TIME: Duration = Duration::from_secs(3);
const LAST_ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// The pause after an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The admin interface, if there is one.
#[derive(Default)]
pub(super) struct Admin {
    control: Option<Rc<Control>>,
    serving: Option<Serving>,
}

/// A socket for the admin interface that is not served yet.
pub(super) struct AdminSocket {
    address: AdminAddress,
    socket: Socket,
}

impl AdminSocket {
    /// Listens on an address, by the socket of another process if that is for the same one.
    pub(super) fn open(
        address: &AdminAddress,
        handed: Option<(AdminAddress, OwnedFd)>,
    ) -> Result<Self, String> {
        let socket = match handed {
            Some((known, socket)) if known == *address => Socket::adopt(address, socket),
            _ => Socket::bind(address),
        };
        let socket = socket.map_err(|error| {
            format!("cannot listen on the admin address {}: {error}", address_text(address))
        })?;
        Ok(Self { address: address.clone(), socket })
    }
}

struct Serving {
    address: AdminAddress,
    socket: Rc<Socket>,
    open: Rc<Connections>,
    /// With the port that the system chose, if the address has port 0.
    actual: AdminAddress,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The socket closes with the task; open connections finish their requests.
        self.task.abort();
    }
}

impl Admin {
    /// Starts the interface, if there is a socket for it.
    pub(super) fn start(&mut self, control: &Rc<Control>, socket: Option<AdminSocket>) {
        self.control = Some(control.clone());
        if let Some(socket) = socket {
            self.serve(control, socket);
        }
    }

    /// Its address.
    pub(super) fn address(&self) -> Option<&AdminAddress> {
        self.serving.as_ref().map(|serving| &serving.actual)
    }

    /// Moves to an address, if it differs. On failure nothing changes.
    pub(super) fn change(&mut self, address: Option<&AdminAddress>) -> Result<(), String> {
        if self.serving.as_ref().map(|serving| &serving.address) == address {
            return Ok(());
        }
        let Some((control, address)) = self.control.clone().zip(address) else {
            self.serving = None;
            if let Some(control) = &self.control {
                control.server.admin_listens(None);
            }
            return Ok(());
        };
        let socket = AdminSocket::open(address, None)?;
        self.serve(&control, socket);
        Ok(())
    }

    fn serve(&mut self, control: &Rc<Control>, socket: AdminSocket) {
        let AdminSocket { address, socket } = socket;
        let local = socket.local_address();
        control.server.admin_listens(local);
        let actual = local.map_or_else(|| address.clone(), AdminAddress::Tcp);
        let (socket, open) = (Rc::new(socket), Rc::<Connections>::default());
        let accepting = accept(socket.clone(), control.clone(), open.clone());
        let task = tokio::task::spawn_local(accepting);
        self.serving = Some(Serving { address, socket, open, actual, task });
    }

    /// A handle of its socket for another process.
    pub(super) fn handle(&self) -> io::Result<Option<(AdminAddress, OwnedFd)>> {
        let handle = |serving: &Serving| Ok((serving.address.clone(), serving.socket.handle()?));
        self.serving.as_ref().map(handle).transpose()
    }

    /// Accepts no more, because another process does. Open connections finish their requests.
    pub(super) fn leave(&mut self) -> OpenRequests {
        let serving = self.serving.take();
        serving.iter().for_each(|serving| serving.socket.leave());
        OpenRequests(serving.map(|serving| serving.open.clone()))
    }
}

/// The address as written in the configuration.
pub(super) fn address_text(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Requests that are still answered after [`Admin::leave`].
pub(super) struct OpenRequests(Option<Rc<Connections>>);

impl OpenRequests {
    /// Waits until all have been answered, or for [`LAST_ANSWER_TIME`].
    pub(super) async fn finished(self) {
        let Some(open) = self.0 else { return };
        let begun = Instant::now();
        // A response that is complete still has to be written.
        while begun.elapsed() < LAST_ANSWER_TIME && open.is_busy() {
            tokio::time::sleep(LAST_ANSWER_PAUSE).await;
        }
    }
}

async fn accept(socket: Rc<Socket>, control: Rc<Control>, open: Rc<Connections>) {
    loop {
        match socket.accept().await {
            Ok(connection) => {
                let Some(one) = open.open() else { continue };
                let (control, open) = (control.clone(), open.clone());
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = serve(connection, control, one.clone()) => {}
                        () = one.ended.notified() => {}
                    }
                    open.close(&one);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin interface cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections, at most [`CONNECTIONS_MAX`].
#[derive(Default)]
struct Connections(RefCell<Vec<Rc<OpenConnection>>>);

/// An open connection.
struct OpenConnection {
    /// Whether a request is being answered.
    busy: Cell<bool>,
    /// When it was opened, or its last response was sent.
    idle_since: Cell<Instant>,
    /// Notified if it must end.
    ended: tokio::sync::Notify,
}

impl Connections {
    /// Adds a connection, and ends the one that has been idle longest if there are too many. `None` if
    /// all are busy.
    fn open(&self) -> Option<Rc<OpenConnection>> {
        let mut all = self.0.borrow_mut();
        if all.len() >= CONNECTIONS_MAX {
            let idle = all.iter().enumerate().filter(|(_, one)| !one.busy.get());
            let (index, _) = idle.min_by_key(|(_, one)| one.idle_since.get())?;
            all.swap_remove(index).ended.notify_one();
        }
        let one = Rc::new(OpenConnection {
            busy: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            ended: tokio::sync::Notify::new(),
        });
        all.push(one.clone());
        Some(one)
    }

    /// Whether a request is being answered, or was a moment ago.
    fn is_busy(&self) -> bool {
        let mut all = self.0.borrow_mut();
        all.retain(|one| Rc::strong_count(one) > 1);
        all.iter()
            .any(|one| one.busy.get() || one.idle_since.get().elapsed() < LAST_ANSWER_PAUSE * 2)
    }

    fn close(&self, one: &Rc<OpenConnection>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(one, other));
    }
}

async fn serve(connection: Connection, control: Rc<Control>, one: Rc<OpenConnection>) {
    let caller = Rc::new(connection.caller());
    let service = service_fn(move |request| {
        let (control, caller, one) = (control.clone(), Rc::clone(&caller), one.clone());
        async move {
            one.busy.set(true);
            let answer = pages::answer(&control, &caller, request).await;
            one.busy.set(false);
            one.idle_since.set(Instant::now());
            Ok::<_, std::convert::Infallible>(answer)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_idle_longest_is_closed() {
        let open = Connections::default();
        let all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| open.open().unwrap()).collect();
        all[0].busy.set(true);
        let one_more = open.open().unwrap();
        let has = |one| open.0.borrow().iter().any(|other| Rc::ptr_eq(one, other));
        assert!(has(&all[0]) && !has(&all[1]) && has(&all[2]) && has(&one_more));
        open.close(&all[1]);
        assert_eq!(open.0.borrow().len(), CONNECTIONS_MAX);
        open.0.borrow().iter().for_each(|one| one.busy.set(true));
        assert!(open.open().is_none());
    }
}
