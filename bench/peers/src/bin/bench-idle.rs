//! Keep-alive connections that have served one request each and then do nothing.
//!
//! Opens `--connections`, a few at a time, asks each once for `--path`, says `ready COUNT` and
//! holds them until its standard input ends. The connections come from many loopback addresses,
//! because a proxy may well limit what one client opens; with `--tls` they are over TLS. Any error ends the program with 1.

use bench_peers::stream::{Client, Stream};
use bench_peers::{argument, flag, http, invalid, raise_open_files, required};
use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use tokio::net::TcpSocket;
use tokio::runtime::LocalRuntime;
use tokio::task::JoinSet;

/// How many connections come from one source address.
const PER_SOURCE: u32 = 200;
/// How many requests are under way at once, so that the proxy's own upstream connections stay few.
const UNDER_WAY_MAX: usize = 32;

fn main() -> Result<()> {
    raise_open_files();
    let to: SocketAddr = required("--to")?;
    let connections: u32 = required("--connections")?;
    let path: String = argument("--path")?.unwrap_or_else(|| "/small".to_owned());
    let request: Rc<[u8]> =
        format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAccept: */*\r\n\r\n").into_bytes().into();
    let tls = if flag("--tls") { Some(Client::new()?) } else { None };
    let held = LocalRuntime::new()?.block_on(open(to, connections, request, tls))?;
    println!("ready {}", held.len());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

async fn open(
    to: SocketAddr,
    connections: u32,
    request: Rc<[u8]>,
    tls: Option<Rc<Client>>,
) -> Result<Vec<Stream>> {
    let mut held = Vec::new();
    let mut under_way = JoinSet::new();
    for number in 0..connections {
        under_way.spawn_local(once(to, number / PER_SOURCE, request.clone(), tls.clone()));
        if under_way.len() == UNDER_WAY_MAX
            && let Some(done) = under_way.join_next().await
        {
            held.push(done??);
        }
    }
    while let Some(done) = under_way.join_next().await {
        held.push(done??);
    }
    Ok(held)
}

/// A connection that has been answered once.
async fn once(
    to: SocketAddr,
    source: u32,
    request: Rc<[u8]>,
    tls: Option<Rc<Client>>,
) -> Result<Stream> {
    let socket = TcpSocket::new_v4()?;
    // 127.0.1.0 and up: never the address that the peers listen on.
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + source);
    socket.bind(SocketAddr::V4(SocketAddrV4::new(source, 0)))?;
    let mut stream = Stream::over(socket.connect(to).await?, tls.as_ref()).await?;
    stream.write_all(&request).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(invalid("closed before the answer was whole".to_owned()));
        }
        let Some(head) = http::head_bytes(&answer) else { continue };
        let length = http::content_length(&answer).unwrap_or(0);
        if (answer.len() - head) as u64 == length {
            return match http::status(&answer) {
                Some(200) => Ok(stream),
                other => Err(invalid(format!("answered {other:?}"))),
            };
        }
    }
}
