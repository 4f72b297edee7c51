//! A connection for tasks that may move between threads, such as those of the control thread: what crates
//! beyond ours read from and write to.
//!
//! Not here: speed. What carries traffic is a [`Stream`](crate::Stream).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::dial::Connect;

/// A connection by TCP or by a unix socket. Dropping it closes it.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Opens a [`Socket`] by TCP; for [`dial_with`](crate::dial_with).
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketConnector;

impl Connect for SocketConnector {
    type Connection = Socket;

    async fn connect(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Socket { kind: Kind::Tcp(socket) })
    }
}

impl Socket {
    /// Connects to the unix socket at `path`.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self { kind: Kind::Unix(UnixStream::connect(path).await?) })
    }
}

macro_rules! on_socket {
    ($self:expr, $method:ident($($argument:expr),*)) => {
        match &mut $self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Kind::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_socket!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self, poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, poll_shutdown(cx))
    }
}
