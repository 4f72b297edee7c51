//! A TLS session over a connection, with the I/O traits that `hyper` and `h2` need.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tls::{ReadResult, Session, TlsError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection with TLS on top; the handshake is over.
pub(super) struct TlsStream<S: AsyncRead + AsyncWrite + Unpin> {
    below: S,
    session: Box<Session>,
}

/// Completes the handshake.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    below: S,
    session: Session,
) -> Result<TlsStream<S>, io::Error> {
    let mut secured = TlsStream { below, session: Box::new(session) };
    poll_fn(|cx| {
        loop {
            ready!(secured.poll_send(cx))?;
            if !secured.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(secured.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    })
    .await
    .map(|()| secured)
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    pub(super) fn info(&self) -> tls::Info {
        self.session.info()
    }

    /// Sends all outgoing bytes of the session.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.outgoing().is_empty() {
            let outgoing = self.session.outgoing();
            let count = ready!(Pin::new(&mut self.below).poll_write(cx, outgoing))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.sent(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once; zero: the connection has ended.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.session.room());
        let read = Pin::new(&mut self.below).poll_read(cx, &mut room);
        let count = room.filled().len();
        let received = self.session.received(if read.is_ready() { count } else { 0 });
        if let Err(error) = received {
            // Sends the alert, as far as that goes without waiting.
            let _ = self.poll_send(cx);
            return Poll::Ready(Err(broken(error)));
        }
        read.map_ok(|()| count)
    }
}

fn broken(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            // Such as new keys; the next write reports a failure.
            let _ = this.poll_send(cx);
            match this.session.read(buf.initialize_unfilled()) {
                ReadResult::Bytes(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                ReadResult::Closed => return Poll::Ready(Ok(())),
                ReadResult::More => {}
            }
            if ready!(this.poll_receive(cx))? == 0 {
                // The end without `close_notify`: an attacker may have cut off the rest.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let taken = this.session.write(buf).map_err(broken)?;
            if taken > 0 {
                // What does not fit below now leaves with the next flush.
                let _ = this.poll_send(cx)?;
                return Poll::Ready(Ok(taken));
            }
            if this.session.outgoing().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(this.poll_send(cx))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.below).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.close();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.below).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for TlsStream<S> {
    fn drop(&mut self) {
        // Sends `close_notify`, as far as that goes without waiting.
        self.session.close();
        let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
    }
}
