//! Listening sockets: bound once, one for each core.
//!
//! With `SO_REUSEPORT` the kernel spreads connections over the cores' own sockets. It would also let a second process
//! of the same user in on the port, unnoticed, so the first socket is bound without. A socket handed over by a
//! service manager cannot be multiplied: its one queue is shared by all cores.
//!
//! The sockets of a set can be passed to another process ([`ListenerSet::handles`], [`ListenerSet::adopt`]). Connections
//! wait in the queue of a socket, not of a process: as long as one process accepts from each, none is lost. So every socket
//! that was taken over is accepted from, however many cores there are.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::warn;

use crate::address::plain;
use crate::stream::Stream;

/// Connections that wait to be accepted, per socket; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;
/// How long to wait before accepting again when no file can be opened.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How often to report that at most.
const EXHAUSTED_REPORT: Duration = Duration::from_secs(10);

/// How many sockets of this process listen on each port.
static PORTS: Mutex<BTreeMap<u16, usize>> = Mutex::new(BTreeMap::new());

/// Counts a socket in [`PORTS`] while it exists.
#[derive(Debug)]
struct PortClaim(u16);

impl PortClaim {
    fn by(socket: &StdListener) -> io::Result<Self> {
        let port = socket.local_addr()?.port();
        *PORTS.lock().unwrap_or_else(PoisonError::into_inner).entry(port).or_default() += 1;
        Ok(Self(port))
    }

    fn is_ours(port: u16) -> bool {
        PORTS.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&port)
    }
}

impl Drop for PortClaim {
    fn drop(&mut self) {
        let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = ports.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.0);
            }
        }
    }
}

/// The listening sockets of one address, one for each core. It can be sent to the thread that splits it.
#[derive(Debug)]
pub struct ListenerSet {
    address: SocketAddr,
    /// At least one for each core. Those after the first `distinct` are handles of the same sockets.
    sockets: Vec<(StdListener, PortClaim)>,
    distinct: usize,
    cores: usize,
}

/// The listening socket of one core, on its way there.
#[derive(Debug)]
pub struct RawListener {
    address: SocketAddr,
    socket: StdListener,
    claim: PortClaim,
}

impl ListenerSet {
    /// Listens on `address` with one socket for each of `cores` (at least one). `[::]` takes IPv4 as well. Port 0
    /// means a free port, the same on all sockets. Where the kernel has no IPv6, `[::]` is every address of IPv4.
    /// Fails if another program listens there, even another
    /// process like this one; this process itself may listen on the port with several addresses.
    pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Self> {
        let alone = !PortClaim::is_ours(address.port());
        let first = match listen_on(address, alone) {
            Err(error)
                if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && lacks_ipv6(&error) =>
            {
                warn!(listen = %address, %error, "this machine has no IPv6; listening on IPv4 alone");
                listen_on((Ipv4Addr::UNSPECIFIED, address.port()).into(), alone)?
            }
            first => first?,
        };
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..cores {
            sockets.push(listen_on(address, false)?);
        }
        Self::of(address, sockets, cores)
    }

    fn of(address: SocketAddr, sockets: Vec<StdListener>, cores: usize) -> io::Result<Self> {
        let hold = |socket| PortClaim::by(&socket).map(|claim| (socket, claim));
        let sockets = sockets.into_iter().map(hold).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { address, distinct: sockets.len(), sockets, cores: cores.max(1) })
    }

    /// Takes over TCP sockets that listen already on one address. Every socket is accepted from, and every core has one: a
    /// core may get several sockets, and several cores may share one.
    pub fn adopt(sockets: Vec<OwnedFd>, cores: usize) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(listening).collect::<io::Result<Vec<_>>>()?;
        let mut address = None;
        for socket in &sockets {
            let its = socket.local_addr()?;
            if *address.get_or_insert(its) != its {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the sockets have several addresses",
                ));
            }
        }
        let address = address.ok_or(io::ErrorKind::InvalidInput)?;
        let mut more = Vec::new();
        for core in sockets.len()..cores {
            let shared = core.checked_rem(sockets.len()).and_then(|place| sockets.get(place));
            more.extend(shared.map(StdListener::try_clone).transpose()?);
        }
        let distinct = sockets.len();
        let mut set = Self::of(address, sockets.into_iter().chain(more).collect(), cores)?;
        set.distinct = distinct;
        Ok(set)
    }

    /// Other handles of the same sockets, to be passed to another process. A socket listens until its last handle is
    /// closed.
    pub fn handles(&self) -> io::Result<Vec<StdListener>> {
        self.sockets.iter().take(self.distinct).map(|(socket, _)| socket.try_clone()).collect()
    }

    /// The address, with the port that was chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets of each core.
    pub fn split(self) -> Vec<Vec<RawListener>> {
        let mut split: Vec<_> = (0..self.cores).map(|_| Vec::new()).collect();
        for (index, (socket, claim)) in self.sockets.into_iter().enumerate() {
            let core = index.checked_rem(self.cores).and_then(|core| split.get_mut(core));
            if let Some(of_core) = core {
                of_core.push(RawListener { address: self.address, socket, claim });
            }
        }
        split
    }
}

/// Prepares a socket from another process.
fn listening(socket: OwnedFd) -> io::Result<StdListener> {
    let socket = Socket::from(socket);
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
    }
    // Programs that this process starts must not keep it open.
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Whether an error says that there is no IPv6 here, or that it is switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT))
}

fn listen_on(address: SocketAddr, alone: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!alone)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // From now on more of ours may join.
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One core's listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    reported: Cell<Option<Instant>>,
    _held: PortClaim,
}

impl Listener {
    /// Registers the socket with the runtime that this is called in.
    pub fn register(raw: RawListener) -> io::Result<Self> {
        let socket = TcpListener::from_std(raw.socket)?;
        Ok(Self { socket, address: raw.address, reported: Cell::new(None), _held: raw.claim })
    }

    /// The address that it listens on.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection and its peer (as IPv4 where it is). When no file can be opened it reports that, waits a
    /// little and tries again; connections that ended in the queue are passed over. Any other error is the
    /// socket's own.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        loop {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    let peer = plain(peer);
                    return Ok((Stream::from_tcp(socket, peer), peer));
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::Connection => {}
                    Trouble::Exhausted => {
                        self.report(&error);
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    Trouble::Listener => return Err(error),
                },
            }
        }
    }

    fn report(&self, error: &io::Error) {
        let now = Instant::now();
        if self.reported.get().is_some_and(|last| now.duration_since(last) < EXHAUSTED_REPORT) {
            return;
        }
        self.reported.set(Some(now));
        warn!(listen = %self.address, %error, "cannot accept connections; trying again");
    }

    /// Stops listening, and answers the connections that were waiting to be accepted.
    pub fn drain(self) -> Vec<(Stream, SocketAddr)> {
        let mut waiting = Vec::new();
        let Ok(socket) = self.socket.into_std() else { return waiting };
        loop {
            match socket.accept() {
                Ok((accepted, peer)) => {
                    let peer = plain(peer);
                    let registered = accepted
                        .set_nonblocking(true)
                        .and_then(|()| tokio::net::TcpStream::from_std(accepted));
                    waiting.extend(
                        registered.ok().map(|socket| (Stream::from_tcp(socket, peer), peer)),
                    );
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::Connection => {}
                    Trouble::Exhausted | Trouble::Listener => return waiting,
                },
            }
        }
    }
}

/// What an error of `accept` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The connection that would have been accepted; the next one may be well.
    Connection,
    /// The process or the machine has no more files or memory.
    Exhausted,
    /// The socket itself.
    Listener,
}

impl Trouble {
    /// accept(2): errors of the network that are pending on the new socket are passed on by `accept`, and are
    /// to be treated like `EAGAIN`.
    fn of(error: &io::Error) -> Self {
        use rustix::io::Errno;
        let Some(errno) = Errno::from_io_error(error) else { return Self::Listener };
        match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::Exhausted,
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT => Self::Connection,
            _ => Self::Listener,
        }
    }
}
