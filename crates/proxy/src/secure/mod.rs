//! TLS of connections: the handshake, and TLS as a layer of a stream, both ways.
//!
//! [`handshake`] carries a session over a stream, [`with_tls`] makes a layer of it, and [`TlsFacts`] is what
//! requests may know about it. What this means for requests is in `admission`.
//! Not here: TLS itself (`tls`), how a client's connection begins (`serve`).

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use net::{Alarm, Layer, LayerRead, Stream};
use tls::{ReadResult, Session, TlsError};

/// The facts of a client's TLS connection.
pub(crate) struct TlsFacts {
    pub(crate) info: Arc<tls::Info>,
    /// The context that made it, or a later one whose rules it was checked against.
    pub(crate) judged_by: RefCell<Arc<tls::Server>>,
    /// The context for which a request was admitted last ([`tls::Server::id`]).
    pub(crate) admitted_for: Cell<u64>,
    /// Whether the data read so far came before the handshake was confirmed, and may be a replay.
    early: Arc<AtomicBool>,
}

impl TlsFacts {
    pub(crate) fn new(
        session: &Session,
        made_by: &Arc<tls::Server>,
        early: Arc<AtomicBool>,
    ) -> Self {
        let judged_by = RefCell::new(Arc::clone(made_by));
        Self { info: Arc::new(session.info()), judged_by, admitted_for: Cell::new(0), early }
    }

    /// Whether the data read last may be a replay (RFC 8446, section 8).
    pub(crate) fn is_early(&self) -> bool {
        self.early.load(Ordering::Relaxed)
    }

    /// For templates and rules.
    pub(crate) fn for_rules(&self) -> rules::TlsFacts<'_> {
        let tls::Info { version, name, client, .. } = &*self.info;
        rules::TlsFacts { version, name: name.as_deref(), client: client.as_deref() }
    }
}

/// TLS as a layer of a stream.
struct TlsLayer {
    session: Session,
    early: Option<Arc<AtomicBool>>,
}

impl Layer for TlsLayer {
    fn room(&mut self) -> &mut [u8] {
        self.session.room()
    }

    fn received(&mut self, count: usize) -> io::Result<()> {
        self.session.received(count).map_err(broken)
    }

    fn read(&mut self, out: &mut [u8]) -> LayerRead {
        let read = self.session.read(out);
        if let Some(early) = &self.early {
            early.store(self.session.is_early(), Ordering::Relaxed);
        }
        match read {
            ReadResult::Bytes(count) => LayerRead::Bytes(count),
            ReadResult::More => LayerRead::More,
            ReadResult::Closed => LayerRead::Closed,
        }
    }

    fn has_plaintext(&self) -> bool {
        self.session.has_plaintext()
    }

    fn holds_part(&self) -> bool {
        self.session.holds_part()
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.session.write(plain).map_err(broken)
    }

    fn outgoing(&self) -> &[u8] {
        self.session.outgoing()
    }

    fn sent(&mut self, count: usize) {
        self.session.sent(count);
    }

    fn close(&mut self) {
        self.session.close();
    }
}

fn broken(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The stream with TLS as a layer; the handshake is over, or continues with reads and writes.
pub(crate) fn with_tls(stream: Stream, session: Session) -> Stream {
    stream.layered(Box::new(TlsLayer { session, early: None }))
}

/// The same for a client's connection, over which `early` data may come.
pub(crate) fn with_early_tls(stream: Stream, session: Session, early: Arc<AtomicBool>) -> Stream {
    stream.layered(Box::new(TlsLayer { session, early: Some(early) }))
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The peer has sent an alert, a bad certificate or a malformed message.
    #[error(transparent)]
    Tls(TlsError),
    /// The connection broke.
    #[error("the connection broke in the TLS handshake: {0}")]
    Broken(io::Error),
    /// The peer closed it.
    #[error("the connection was closed in the TLS handshake")]
    Closed,
    /// It took too long.
    #[error("the TLS handshake did not end in time")]
    TimedOut,
}

/// Does the handshake of either side, to its end or to the first bytes of early data. The caller
/// has set the alarm.
pub(crate) async fn handshake(
    stream: &Stream,
    session: &mut Session,
    alarm: &Alarm,
) -> Result<(), HandshakeError> {
    poll_fn(|cx| match poll_handshake(cx, stream, session) {
        Poll::Pending => alarm.poll_fired(cx).map(|()| Err(HandshakeError::TimedOut)),
        done => done,
    })
    .await
}

fn poll_handshake(
    cx: &mut Context<'_>,
    stream: &Stream,
    session: &mut Session,
) -> Poll<Result<(), HandshakeError>> {
    loop {
        while !session.outgoing().is_empty() {
            let sent = ready!(stream.poll_write(cx, session.outgoing()));
            session.sent(sent.map_err(HandshakeError::Broken)?);
        }
        if !session.is_handshaking() || session.has_plaintext() {
            return Poll::Ready(Ok(()));
        }
        ready!(stream.poll_readable(cx)).map_err(HandshakeError::Broken)?;
        let received = stream.poll_read(cx, session.room());
        let Poll::Ready(received) = received else {
            session.received(0).map_err(HandshakeError::Tls)?; // frees its memory
            return Poll::Pending;
        };
        let outcome = match received {
            Ok(0) => return Poll::Ready(Err(HandshakeError::Closed)),
            Ok(count) => session.received(count),
            Err(error) => return Poll::Ready(Err(HandshakeError::Broken(error))),
        };
        if let Err(error) = outcome {
            // The peer gets an alert, as far as that is possible without waiting.
            let _ = stream.poll_write(cx, session.outgoing());
            return Poll::Ready(Err(HandshakeError::Tls(error)));
        }
    }
}

/// RFC 8446, section 6.2.
pub(crate) const INTERNAL_ERROR: u8 = 80;
/// Sends a fatal alert unencrypted, as far as that is possible without waiting.
pub(crate) async fn alert(stream: &Stream, description: u8) {
    send_now(stream, &[21, 3, 3, 0, 2, 2, description]).await;
}

pub(crate) async fn send_now(stream: &Stream, bytes: &[u8]) {
    let _ = poll_fn(|cx| Poll::Ready(stream.poll_write(cx, bytes))).await;
}
