//! Serving clients' connections: from their first byte to their last.
//!
//! [`accept`] looks what the listener speaks. A connection that is idle is a small task (`connection`,
//! `http2`); what arrives is served on a borrowed worker (`worker`), as a request of HTTP/1 (`http1`) or on a
//! stream of HTTP/2 (`stream`), by the one `exchange`. TLS comes before that (`tls`), or passes through
//! (`passthrough`). `farewell` ends connections so that what was sent arrives.

mod connection;
mod farewell;
mod http1;
mod http2;
mod passthrough;
mod stream;
mod tls;
mod worker;
mod workspace;

use std::rc::Rc;

use config::Listener;

use crate::client::Client;
use crate::core::Core;

pub(crate) use farewell::refuse_with_503;
pub(crate) use worker::forget_all as forget_workers;

/// What a listener's clients speak first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProtocol {
    /// HTTP in clear: HTTP/1, or HTTP/2 with prior knowledge.
    Http,
    /// TLS, and HTTP within it, or what passes through.
    Tls,
}

impl ClientProtocol {
    pub(crate) fn of(listener: &Listener) -> Self {
        if listener.tls { Self::Tls } else { Self::Http }
    }
}

/// Begins to serve a connection that was taken in.
pub(crate) fn accept(core: &Rc<Core>, client: Client, protocol: ClientProtocol) {
    let core = Rc::clone(core);
    match protocol {
        ClientProtocol::Http => {
            drop(tokio::task::spawn_local(connection::run(core, Rc::new(client))))
        }
        ClientProtocol::Tls => drop(tokio::task::spawn_local(tls::serve(core, client))),
    }
}
