//! A byte stream to a peer.
//!
//! Readiness is edge-triggered: the reactor reports a change once, and remembers it until an operation
//! finds that nothing is left. A read or write that did less than it was asked for proves just that, so it
//! clears the readiness and saves the system call that would only have answered `EAGAIN`.

mod detached;

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::delivery::{self, Delivery};
use crate::layered::{Layer, Layered};
use crate::memory::{self, MemoryStream};

pub use detached::DetachedStream;

/// A byte stream to a peer. Every method takes `&self`, so that one task can run both directions at once:
/// at any time at most one may wait for reading and one for writing.
///
/// Dropping it closes the connection in the ordinary way (after what was written).
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream, PackedAddress),
    Unix(UnixStream),
    Memory(MemoryStream),
    Layered(Box<Layered>),
}

/// Who is at the other end of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP peer. An IPv4 peer of a dual-stack listener appears as IPv4.
    Tcp(SocketAddr),
    /// A process on this machine, by a unix socket.
    Unix,
    /// The other end of [`Stream::pair`].
    Memory,
}

impl Peer {
    /// The address, if there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Unix | Self::Memory => None,
        }
    }

    /// The IP address that rules are to see: a process on this machine counts as loopback.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip(),
            Self::Unix | Self::Memory => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("unix:"),
            Self::Memory => formatter.write_str("memory:"),
        }
    }
}

/// A socket address in 22 bytes, so that an idle connection stays small.
#[derive(Clone, Copy, Debug)]
struct PackedAddress {
    ip: [u8; 16],
    scope: [u8; 4],
    port: u16,
}

impl PackedAddress {
    fn pack(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                Self { ip: v4.ip().to_ipv6_mapped().octets(), scope: [0; 4], port: v4.port() }
            }
            SocketAddr::V6(v6) => {
                let scope = v6.scope_id().to_ne_bytes();
                Self { ip: v6.ip().octets(), scope, port: v6.port() }
            }
        }
    }

    fn unpack(self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, self.port)),
            None => SocketAddrV6::new(ip, self.port, 0, u32::from_ne_bytes(self.scope)).into(),
        }
    }
}

/// Does one thing with whichever tokio socket it is, another with what has methods of the same names itself.
macro_rules! on_socket {
    ($self:expr, $socket:ident => $socket_call:expr, $other:ident => $other_call:expr $(,)?) => {
        match &$self.kind {
            Kind::Tcp($socket, _) => $socket_call,
            Kind::Unix($socket) => $socket_call,
            Kind::Memory($other) => $other_call,
            Kind::Layered($other) => $other_call,
        }
    };
}

impl Stream {
    pub(crate) fn from_tcp(socket: TcpStream, peer: SocketAddr) -> Self {
        Self { kind: Kind::Tcp(socket, PackedAddress::pack(peer)) }
    }

    pub(crate) fn from_unix(socket: UnixStream) -> Self {
        Self { kind: Kind::Unix(socket) }
    }

    /// Connects to `address`, however long that takes ([`dial`](crate::dial()) bounds it). `TCP_NODELAY` is set.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_with(address, u64::MAX).await
    }

    /// The same, unless the file would have this number or a higher one: that is `EMFILE`, as if there were no more.
    pub(crate) async fn connect_with(address: SocketAddr, files_max: u64) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number >= files_max) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        let socket = socket.connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self::from_tcp(socket, address))
    }

    /// Connects to the unix socket at `path`.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::from_unix(UnixStream::connect(path).await?))
    }

    /// Two ends of a stream in memory: 64 KiB each way, with half-close and abort. For tests.
    pub fn pair() -> (Self, Self) {
        let (left, right) = memory::pair();
        (Self { kind: Kind::Memory(left) }, Self { kind: Kind::Memory(right) })
    }

    /// This stream with a protocol on top of it. What was read from it before is up to the caller to hand over.
    ///
    /// Dropping it tells the peer that nothing more comes, as far as that goes without waiting. A stream below that
    /// ends without the layer's own mark is an error ([`io::ErrorKind::UnexpectedEof`]) to who reads. A write that
    /// had to wait must go on with the same bytes.
    pub fn layered(self, layer: Box<dyn Layer>) -> Self {
        Self { kind: Kind::Layered(Box::new(Layered::new(self, layer))) }
    }

    /// Reads into `buf`: the number of bytes, 0 when the peer has finished writing (or `buf` is empty).
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        on_socket!(self,
            socket => loop {
                ready!(socket.poll_read_ready(cx))?;
                let done = Cell::new(0);
                let outcome = socket.try_io(Interest::READABLE, || {
                    let (count, _) = rustix::net::recv(socket, &mut *buf, RecvFlags::empty())?;
                    short_clears(count, buf.len(), &done)
                });
                if let Some(result) = settle(outcome, done.get()) {
                    return Poll::Ready(result);
                }
            },
            other => other.poll_read(cx, buf)
        )
    }

    /// Writes some of `buf`: the number of bytes, never 0 unless `buf` is empty.
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(self,
            socket => loop {
                ready!(socket.poll_write_ready(cx))?;
                let done = Cell::new(0);
                let outcome = socket.try_io(Interest::WRITABLE, || {
                    let count = rustix::net::send(socket, buf, SendFlags::NOSIGNAL)?;
                    short_clears(count, buf.len(), &done)
                });
                if let Some(result) = settle(outcome, done.get()) {
                    return Poll::Ready(result);
                }
            },
            other => other.poll_write(cx, buf)
        )
    }

    /// Writes some of `pieces`, in order, in one system call.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self,
            socket => loop {
                ready!(socket.poll_write_ready(cx))?;
                let done = Cell::new(0);
                let outcome = socket.try_io(Interest::WRITABLE, || {
                    let count = rustix::io::writev(socket, pieces)?;
                    let asked = pieces.iter().map(|piece| piece.len()).sum();
                    short_clears(count, asked, &done)
                });
                if let Some(result) = settle(outcome, done.get()) {
                    return Poll::Ready(result);
                }
            },
            other => other.poll_write_vectored(cx, pieces)
        )
    }

    /// Ready when there may be something to read, the end and errors included; consumes nothing.
    ///
    /// What is remembered may be out of date (after a read that filled its buffer exactly), so this may say
    /// ready once too often: [`is_quiet`](Self::is_quiet) tells.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_read_ready(cx), other => other.poll_readable(cx))
    }

    /// Ready when something can probably be written; writes nothing.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_write_ready(cx), other => other.poll_writable(cx))
    }

    /// True if, as far as the reactor knows, there is nothing to read and the peer has not closed: what an
    /// idle connection must be to be used again. A system call only if the reactor had flagged something.
    pub fn is_quiet(&self) -> bool {
        on_socket!(self,
            socket => {
                let peeked = socket.try_io(Interest::READABLE, || {
                    Ok(rustix::net::recv(socket, &mut [0_u8; 1], RecvFlags::PEEK)?.0)
                });
                matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            },
            other => other.is_quiet()
        )
    }

    /// Reads once, waiting for something to arrive.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Writes once, waiting for room.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, buf)).await
    }

    /// Writes the whole of `buf`.
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let count = self.write(buf).await?;
            buf = after(buf, count)?;
        }
        Ok(())
    }

    /// Writes the whole of `first`, then of `second`, together where they fit.
    pub async fn write_all_vectored(&self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !first.is_empty() && !second.is_empty() {
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            let count = poll_fn(|cx| self.poll_write_vectored(cx, &pieces)).await?;
            let of_first = count.min(first.len());
            first = after(first, of_first)
                .or_else(|error| if count > 0 { Ok(&[][..]) } else { Err(error) })?;
            if count > of_first {
                second = after(second, count - of_first)?;
            }
        }
        self.write_all(first).await?;
        self.write_all(second).await
    }

    /// Shuts down the sending direction; reading continues.
    pub fn shutdown_write(&self) -> io::Result<()> {
        on_socket!(self,
            socket => SockRef::from(socket).shutdown(Shutdown::Write),
            other => other.shutdown_write()
        )
    }

    /// Closes at once and throws away what is still to be sent: the peer sees a reset, not an end, and so
    /// cannot take a message that was cut short for a complete one. (A unix socket knows no reset.)
    pub fn abort(self) {
        self.reset_when_closed();
    }

    /// Does what [`Stream::abort`] does once this is dropped, for a stream that is shared.
    pub fn reset_when_closed(&self) {
        match &self.kind {
            Kind::Tcp(socket, _) => {
                // If it fails, the connection is closed in the ordinary way: there is nothing better to do.
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
            Kind::Unix(_) => {}
            Kind::Memory(memory) => memory.abort(),
            Kind::Layered(layered) => {
                layered.forget_close();
                layered.below().reset_when_closed();
            }
        }
    }

    /// Who is at the other end. No system call.
    pub fn peer(&self) -> Peer {
        match &self.kind {
            Kind::Tcp(_, address) => Peer::Tcp(address.unpack()),
            Kind::Unix(_) => Peer::Unix,
            Kind::Memory(_) => Peer::Memory,
            Kind::Layered(layered) => layered.below().peer(),
        }
    }

    /// Our own address of this connection: a system call.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket, _) => socket.local_addr().ok().map(crate::address::plain),
            Kind::Unix(_) | Kind::Memory(_) => None,
            Kind::Layered(layered) => layered.below().local_address(),
        }
    }

    /// How much of the written bytes the peer has received: a system call. `None` where that is unknown (unix sockets).
    pub fn delivery(&self) -> Option<Delivery> {
        match &self.kind {
            Kind::Tcp(socket, _) => delivery::of(socket),
            Kind::Unix(_) => None,
            Kind::Memory(memory) => Some(memory.delivery()),
            Kind::Layered(layered) => layered.delivery(),
        }
    }

    /// True if the kernel can move this stream's bytes without us.
    pub fn supports_splice(&self) -> bool {
        self.descriptor().is_some()
    }

    /// Lets the kernel probe whether the peer is still there after `idle` without a byte, so that a tunnel
    /// to a vanished peer ends. Nothing happens where there is no TCP.
    pub fn keep_alive(&self, idle: Duration) -> io::Result<()> {
        let socket = match &self.kind {
            Kind::Tcp(socket, _) => socket,
            Kind::Layered(layered) => return layered.below().keep_alive(idle),
            Kind::Unix(_) | Kind::Memory(_) => return Ok(()),
        };
        let second = Duration::from_secs(1); // the kernel knows nothing shorter
        let probes = socket2::TcpKeepalive::new()
            .with_time(idle.max(second))
            .with_interval((idle / 4).max(second))
            .with_retries(4);
        SockRef::from(socket).set_tcp_keepalive(&probes)
    }

    /// Its file number. The kernel assigns the lowest that is free, so at least as many files are open.
    pub fn file_number(&self) -> Option<u64> {
        match &self.kind {
            Kind::Layered(layered) => layered.below().file_number(),
            _ => self.descriptor().and_then(|file| u64::try_from(file.as_raw_fd()).ok()),
        }
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            Kind::Tcp(socket, _) => Some(socket.as_fd()),
            Kind::Unix(socket) => Some(socket.as_fd()),
            Kind::Memory(_) | Kind::Layered(_) => None,
        }
    }

    /// Runs `operation` if the socket is flagged ready, and clears the flag if that answers `WouldBlock`.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match &self.kind {
            Kind::Tcp(socket, _) => socket.try_io(interest, operation),
            Kind::Unix(socket) => socket.try_io(interest, operation),
            Kind::Memory(_) | Kind::Layered(_) => operation(),
        }
    }
}

/// What is left of `buf` after `count` bytes were written; a write of nothing is an error, or it would loop.
fn after(buf: &[u8], count: usize) -> io::Result<&[u8]> {
    match buf.get(count..) {
        Some(rest) if count > 0 => Ok(rest),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Reports a transfer of `count` bytes of `asked` from within `try_io`. One that came short (but moved
/// something) has emptied or filled the socket, and says `WouldBlock` so that the readiness is cleared.
fn short_clears(count: usize, asked: usize, done: &Cell<usize>) -> io::Result<usize> {
    if 0 < count && count < asked {
        done.set(count);
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(count)
}

/// The result of an operation that ended with [`short_clears`]; nothing if it is to be tried again.
fn settle(outcome: io::Result<usize>, done: usize) -> Option<io::Result<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (done > 0).then_some(Ok(done)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
        other => Some(other),
    }
}
