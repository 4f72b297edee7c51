//! A stream without a reactor, on its way from one thread to another.
//!
//! A socket is registered with the reactor of the thread that uses it. To move it, it is taken out there
//! ([`Stream::detach`]), and registered where it arrives ([`DetachedStream::attach`]). In between it is not watched:
//! what was received in the meantime is found by a query of the kernel when it arrives.
//! Invariant: what is detached has no byte unread or unsent, neither in the kernel (when it is attached) nor in a layer.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags};
use tokio::net::{TcpStream, UnixStream};

use super::{Kind, PackedAddress, Stream};
use crate::layered::Layer;

/// A stream that belongs to no thread.
pub struct DetachedStream {
    socket: OwnedFd,
    /// The peer; `None` for a unix socket.
    address: Option<PackedAddress>,
    layer: Option<Box<dyn Layer>>,
}

impl std::fmt::Debug for DetachedStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Detached").field(&self.socket).finish()
    }
}

impl Stream {
    /// Takes the stream out of this thread's reactor. Nothing may be under way on it; if there is (or it lies in
    /// memory, or the process has no file descriptor to spare), it is given back as it was.
    pub fn detach(self) -> Result<DetachedStream, Self> {
        if !self.is_quiet() {
            return Err(self);
        }
        let address = match &self.kind {
            Kind::Tcp(_, address) => Some(*address),
            Kind::Layered(layered) => match &layered.below().kind {
                Kind::Tcp(_, address) => Some(*address),
                _ => None,
            },
            Kind::Unix(_) | Kind::Memory(_) => None,
        };
        let socket = match &self.kind {
            Kind::Layered(layered) => layered.below().descriptor(),
            _ => self.descriptor(),
        };
        // Another descriptor of the same socket: the first one is taken out of the reactor and closed when the stream
        // is dropped.
        let Some(Ok(socket)) = socket.map(|socket| socket.try_clone_to_owned()) else {
            return Err(self);
        };
        let layer = match &self.kind {
            Kind::Layered(layered) => match layered.detach() {
                None => return Err(self),
                layer => layer,
            },
            _ => None,
        };
        Ok(DetachedStream { socket, address, layer })
    }
}

impl DetachedStream {
    /// True if there is nothing to read and the peer has not closed: a system call. A layer's own messages count as
    /// something, as nobody is there to take them in.
    pub fn is_quiet(&self) -> bool {
        let peeked = rustix::net::recv(&self.socket, &mut [0_u8; 1], RecvFlags::PEEK);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Registers it with the reactor of this thread. An error, and the connection is closed, if anything has come
    /// meanwhile, such as its end.
    pub fn attach(self) -> io::Result<Stream> {
        if !self.is_quiet() {
            self.close();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let kind = match self.address {
            Some(address) => Kind::Tcp(TcpStream::from_std(self.socket.into())?, address),
            None => Kind::Unix(UnixStream::from_std(self.socket.into())?),
        };
        let stream = Stream { kind };
        Ok(match self.layer {
            Some(layer) => stream.layered(layer),
            None => stream,
        })
    }

    /// Closes it, and tells the peer within the layer if that needs no waiting.
    pub fn close(mut self) {
        if let Some(layer) = &mut self.layer {
            layer.close();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let _ = rustix::net::send(&self.socket, layer.outgoing(), flags);
        }
    }
}
