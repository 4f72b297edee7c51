//! A relay of bytes that parses nothing: what any proxy on this kernel and runtime has to pay.
//!
//! For every accepted connection one upstream connection, for its whole life. Both ways are
//! copied by one task with 16 KiB buffers. There is no pool, no time-out and no log.

use bench_peers::{raise_open_files, required};
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::LocalRuntime;

const BUFFER_BYTES: usize = 16 * 1024;
const BACKLOG: u32 = 4096;

fn main() -> Result<()> {
    raise_open_files();
    let listen: SocketAddr = required("--listen")?;
    let upstream: SocketAddr = required("--to")?;
    LocalRuntime::new()?.block_on(async move {
        let listener = bind(listen)?;
        loop {
            match listener.accept().await {
                Ok((downstream, _)) => drop(tokio::task::spawn_local(relay(downstream, upstream))),
                // A client that left before it was accepted, or no descriptor left for now.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    })
}

fn bind(listen: SocketAddr) -> Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// Ends with the connection; how it ended is of no interest to a benchmark.
async fn relay(mut downstream: TcpStream, upstream: SocketAddr) -> Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    downstream.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER_BYTES, BUFFER_BYTES)
        .await
        .map(drop)
}
