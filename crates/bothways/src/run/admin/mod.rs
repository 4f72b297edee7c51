//! The admin interface: what a machine's own people and programs may see and ask.
//!
//! An HTTP/1.1 server (hyper) on the control thread, on a loopback address or a unix socket,
//! never on an address that others reach. [`guard`] turns away what a web page in a browser on
//! this machine could send; [`pages`] answers; [`socket`] listens. Over the unix socket everything is
//! allowed, over TCP a [`token`] says what. The data plane knows the address, so that no forward
//! client reaches it.
//! Bounds: connections (the one that has idled longest makes room), time and size of a request
//! head, life of a connection.

mod certificates;
mod difference;
mod guard;
mod pages;
mod save;
mod socket;
mod standing;
mod token;
mod upstreams;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use config::AdminAddress;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;

use super::control::Control;
use socket::{Connection, Socket};
pub(crate) use token::MADE as TOKEN_MADE;
pub(super) use token::Token;

/// Connections at once; for one more the one closes that has idled longest.
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
            if let Some(control) = &self.control {
                control.server.admin_listens(None);
            }
            return Ok(());
        };
        let socket = Socket::bind(address).map_err(|error| {
            format!("cannot listen on the admin address {}: {error}", written(address))
        })?;
        let local = socket.local_address();
        control.server.admin_listens(local);
        let actual = local.map_or_else(|| address.clone(), AdminAddress::Tcp);
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
    let open = Rc::new(Connections::default());
    loop {
        match socket.accept().await {
            Ok(connection) => {
                let Some(one) = open.enter() else { continue };
                let (control, open) = (control.clone(), open.clone());
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = serve(connection, control, one.clone()) => {}
                        () = one.ended.notified() => {}
                    }
                    open.leave(&one);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin interface cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that are open, [`CONNECTIONS_MAX`] at most.
#[derive(Default)]
struct Connections(RefCell<Vec<Rc<One>>>);

/// An open connection.
struct One {
    /// Whether a request is being answered.
    busy: Cell<bool>,
    /// When it was opened, or its last answer was made.
    idle_since: Cell<Instant>,
    /// Says that it is to end.
    ended: tokio::sync::Notify,
}

impl Connections {
    /// One more; the one that has idled longest ends for it. `None`: all are busy.
    fn enter(&self) -> Option<Rc<One>> {
        let mut all = self.0.borrow_mut();
        if all.len() >= CONNECTIONS_MAX {
            let idle = all.iter().enumerate().filter(|(_, one)| !one.busy.get());
            let (index, _) = idle.min_by_key(|(_, one)| one.idle_since.get())?;
            all.swap_remove(index).ended.notify_one();
        }
        let one = Rc::new(One {
            busy: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            ended: tokio::sync::Notify::new(),
        });
        all.push(one.clone());
        Some(one)
    }

    fn leave(&self, one: &Rc<One>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(one, other));
    }
}

async fn serve(connection: Connection, control: Rc<Control>, one: Rc<One>) {
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
    fn the_one_that_idles_longest_makes_room() {
        let open = Connections::default();
        let all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| open.enter().unwrap()).collect();
        all[0].busy.set(true);
        let one_more = open.enter().unwrap();
        let has = |one| open.0.borrow().iter().any(|other| Rc::ptr_eq(one, other));
        assert!(has(&all[0]) && !has(&all[1]) && has(&all[2]) && has(&one_more));
        open.leave(&all[1]);
        assert_eq!(open.0.borrow().len(), CONNECTIONS_MAX);
        open.0.borrow().iter().for_each(|one| one.busy.set(true));
        assert!(open.enter().is_none());
    }
}
