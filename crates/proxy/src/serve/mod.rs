//! Serving clients' connections: from their first byte to their last.
//!
//! [`accept`] dispatches on the protocol of the listener. An idle connection is a small task (`connection`,
//! `http2`); what arrives is served on a borrowed worker (`worker`), as an HTTP/1 request (`http1`) or an
//! HTTP/2 stream (`stream`), by the one `exchange`. Before that TLS is terminated (`tls`) or passed through
//! (`passthrough`). `farewell` closes connections so that what was sent arrives.

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

/// The protocol that a listener's clients speak first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProtocol {
    /// HTTP without TLS: HTTP/1, or HTTP/2 with prior knowledge.
    Http,
    /// TLS, which is terminated or passed through.
    Tls,
}

impl ClientProtocol {
    pub(crate) fn of(listener: &Listener) -> Self {
        if listener.tls { Self::Tls } else { Self::Http }
    }
}

/// Starts to serve a connection that was admitted.
pub(crate) fn accept(core: &Rc<Core>, client: Client, protocol: ClientProtocol) {
    let core = Rc::clone(core);
    match protocol {
        ClientProtocol::Http => {
            drop(tokio::task::spawn_local(connection::run(core, Rc::new(client))))
        }
        ClientProtocol::Tls => drop(tokio::task::spawn_local(tls::serve(core, client))),
    }
}
