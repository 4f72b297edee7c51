//! The listening socket of the admin interface.
//!
//! A unix socket is created under a temporary name, gets its mode, and is then renamed, so that it
//! never exists with other permissions. A stale socket of a crashed process is replaced; one that
//! another process serves is not. At the end the socket is removed, if it is still ours.

use std::cell::Cell;
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use config::AdminAddress;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Owner and group may connect.
const UNIX_MODE: u32 = 0o660;

/// The transport of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// TCP, which web pages in a browser on this machine can reach, too.
    Tcp,
    /// A unix socket, protected by the file system.
    Unix,
}

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// A client at this address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix {
        /// Its user ID.
        user: Option<u32>,
        /// Its process ID.
        process: Option<i32>,
    },
}

impl Caller {
    /// The transport of the connection.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Unix { .. } => Transport::Unix,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "tcp {address}"),
            Self::Unix { user, process } => {
                out.write_str("unix")?;
                user.map_or(Ok(()), |user| write!(out, " uid {user}"))?;
                process.map_or(Ok(()), |process| write!(out, " pid {process}"))
            }
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    /// With its name, which is removed with it.
    Unix {
        listener: UnixListener,
        name: SocketName,
    },
}

/// The name of a unix socket in the file system; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketName {
    path: PathBuf,
    /// Device and inode, to recognise the socket as ours.
    identity: (u64, u64),
    /// Whether another process has it now.
    left: Cell<bool>,
}

impl Socket {
    /// Listens on an address.
    pub(super) fn bind(address: &AdminAddress) -> io::Result<Self> {
        match address {
            AdminAddress::Tcp(address) if !address.ip().to_canonical().is_loopback() => Err(
                io::Error::other("it is not a loopback address, so other machines could reach it"),
            ),
            AdminAddress::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            AdminAddress::Unix(path) => bind_unix(path),
        }
    }

    /// Takes over a socket that another process listened on.
    pub(super) fn adopt(address: &AdminAddress, socket: OwnedFd) -> io::Result<Self> {
        match address {
            AdminAddress::Tcp(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            AdminAddress::Unix(path) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                let name = SocketName::of(path, &fs::symlink_metadata(path)?);
                Ok(Self::Unix { listener: UnixListener::from_std(listener)?, name })
            }
        }
    }

    /// Another handle of it, for another process.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix { listener, .. } => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Another process has it from now on: its name stays.
    pub(super) fn leave(&self) {
        if let Self::Unix { name, .. } = self {
            name.left.set(true);
        }
    }

    /// Its TCP address.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, _)| Connection::Tcp(stream))
            }
            Self::Unix { listener, .. } => {
                listener.accept().await.map(|(stream, _)| Connection::Unix(stream))
            }
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    refuse_to_replace(path)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Remove a leftover of a crashed process with the same ID.
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    let placed = fs::set_permissions(&temporary, Permissions::from_mode(UNIX_MODE))
        .and_then(|()| fs::symlink_metadata(&temporary))
        .and_then(|metadata| fs::rename(&temporary, path).map(|()| metadata));
    match placed {
        Ok(metadata) => Ok(Socket::Unix { listener, name: SocketName::of(path, &metadata) }),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// Only a socket without a serving process may be replaced.
fn refuse_to_replace(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("a file with that name exists, and is not a socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
        Err(_) => Ok(()),
    }
}

impl SocketName {
    fn of(path: &Path, metadata: &fs::Metadata) -> Self {
        let identity = (metadata.dev(), metadata.ino());
        Self { path: path.to_owned(), identity, left: Cell::new(false) }
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if self.left.get() {
            return;
        }
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// The client.
    pub(super) fn caller(&self) -> Caller {
        match self {
            Self::Tcp(stream) => {
                Caller::Tcp(stream.peer_addr().unwrap_or(SocketAddr::from(([0; 4], 0))))
            }
            Self::Unix(stream) => {
                let peer = stream.peer_cred().ok();
                let process = peer.as_ref().and_then(tokio::net::unix::UCred::pid);
                Caller::Unix { user: peer.map(|peer| peer.uid()), process }
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_scratch(name: &str, story: impl AsyncFnOnce(PathBuf)) {
        let directory =
            std::env::temp_dir().join(format!("bothways-admin-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(story(directory.join("admin.sock")));
        fs::remove_dir_all(&directory).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn unix_socket_comes_and_goes() {
        in_scratch("comes", async |path| {
            let address = AdminAddress::Unix(path.clone());
            let socket = Socket::bind(&address).unwrap();
            assert_eq!(mode(&path), UNIX_MODE);
            assert!(Socket::bind(&address).is_err(), "somebody serves it");
            drop(socket);
            assert!(!path.exists());
        });
    }

    #[test]
    fn stale_one_is_replaced_and_a_successor_is_left() {
        in_scratch("stale", async |path| {
            let address = AdminAddress::Unix(path.clone());
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let socket = Socket::bind(&address).unwrap();
            assert!(StdUnixStream::connect(&path).is_ok());
            fs::remove_file(&path).unwrap();
            let successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
            drop(socket);
            assert!(path.exists());
            drop(successor);
        });
    }

    #[test]
    fn one_that_another_process_has_keeps_its_name() {
        in_scratch("passed", async |path| {
            let address = AdminAddress::Unix(path.clone());
            let before = Socket::bind(&address).unwrap();
            let after = Socket::adopt(&address, before.handle().unwrap()).unwrap();
            before.leave();
            drop(before);
            assert!(StdUnixStream::connect(&path).is_ok());
            drop(after);
            assert!(!path.exists());
        });
    }

    #[test]
    fn other_files_are_never_replaced() {
        in_scratch("other", async |path| {
            fs::write(&path, "precious").unwrap();
            assert!(Socket::bind(&AdminAddress::Unix(path.clone())).is_err());
            assert_eq!(fs::read(&path).unwrap(), b"precious");
        });
    }

    #[test]
    fn only_loopback() {
        in_scratch("loopback", async |_| {
            assert!(Socket::bind(&AdminAddress::Tcp(([0, 0, 0, 0], 0).into())).is_err());
            assert!(Socket::bind(&AdminAddress::Tcp(([127, 0, 0, 1], 0).into())).is_ok());
        });
    }
}
