//! Load that wrk cannot make: large bodies read cheaply, and bytes through tunnels.
//!
//! Every connection asks for `--path` again and again, each as soon as the last answer is read.
//! Bodies are thrown away inside the kernel (`MSG_TRUNC`), so that reading costs far less than
//! any proxy's forwarding. With `--tunnel` each connection first says `CONNECT` for `--origin`;
//! with `--reconnect` each request has a connection of its own.
//! The bytes of bodies are counted from the end of the warm-up to the end of the time. Prints
//! `start`, then after `--seconds` `end BYTES RESPONSES NANOSECONDS P99_MICROSECONDS`, so that
//! whoever started it can read the proxy's CPU time at the same two moments. Any error ends the
//! program with 1.

use bench_peers::{argument, http, invalid, raise_open_files, required};
use rustix::net::{RecvFlags, recv};
use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Result, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::task::{JoinSet, yield_now};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const DISCARD_BYTES: usize = 1024 * 1024;

/// What was read so far, by all connections together.
#[derive(Default)]
struct Counters {
    bytes: Cell<u64>,
    /// How long each response took, in microseconds; since the end of the warm-up only.
    took: RefCell<Vec<u32>>,
}

struct Plan {
    /// Where to connect: the proxy, or what stands in its place.
    to: SocketAddr,
    origin: SocketAddr,
    path: String,
    tunnel: bool,
    /// A new connection for every request.
    reconnect: bool,
}

fn main() -> Result<()> {
    raise_open_files();
    let origin = required("--origin")?;
    let plan = Rc::new(Plan {
        to: argument("--to")?.unwrap_or(origin),
        origin,
        path: required("--path")?,
        tunnel: flag("--tunnel"),
        reconnect: flag("--reconnect"),
    });
    let connections: usize = argument("--connections")?.unwrap_or(8);
    let seconds: f64 = required("--seconds")?;
    let warm: f64 = argument("--warm")?.unwrap_or(0.5);
    LocalRuntime::new()?.block_on(async move {
        let counters = Rc::new(Counters::default());
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn_local(load(plan.clone(), counters.clone()));
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => Err(why(ended)),
            done = measure(&counters, warm, seconds) => done,
        }
    })
}

fn flag(name: &str) -> bool {
    std::env::args().any(|given| given == name)
}

fn why(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::new(ErrorKind::UnexpectedEof, "a connection ended early"),
        Ok(Err(error)) => error,
        Err(error) => Error::other(error),
    }
}

async fn measure(counters: &Counters, warm: f64, seconds: f64) -> Result<()> {
    tokio::time::sleep(Duration::from_secs_f64(warm)).await;
    let (start, bytes) = (Instant::now(), counters.bytes.get());
    counters.took.borrow_mut().clear();
    say("start".to_owned())?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let bytes = counters.bytes.get() - bytes;
    let mut took = counters.took.take();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(0);
    say(format!("end {bytes} {} {} {p99}", took.len(), start.elapsed().as_nanos()))
}

fn say(line: String) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn load(plan: Rc<Plan>, counters: Rc<Counters>) -> Result<()> {
    let host = plan.origin;
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n", plan.path);
    let mut buffer = vec![0; DISCARD_BYTES];
    let mut connected = None;
    loop {
        let asked = Instant::now();
        let mut stream = match connected.take() {
            Some(stream) => stream,
            None => connect(&plan).await?,
        };
        stream.write_all(request.as_bytes()).await?;
        let (head, surplus) = read_head(&mut stream).await?;
        let length = http::content_length(&head)
            .ok_or_else(|| invalid("the response has no Content-Length".to_owned()))?;
        counters.bytes.set(counters.bytes.get() + surplus);
        let left = length.checked_sub(surplus).ok_or_else(|| invalid("too long".to_owned()))?;
        discard(&stream, &mut buffer, left, &counters).await?;
        let took = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
        counters.took.borrow_mut().push(took);
        connected = (!plan.reconnect).then_some(stream);
    }
}

async fn connect(plan: &Plan) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(plan.to).await?;
    stream.set_nodelay(true)?;
    if plan.tunnel {
        let host = plan.origin;
        let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await?;
        read_head(&mut stream).await?;
    }
    Ok(stream)
}

/// The head, and how many bytes of the body came with it.
async fn read_head(stream: &mut TcpStream) -> Result<(Vec<u8>, u64)> {
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        if head.len() == HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(invalid("the response has no whole head".to_owned()));
        }
        if let Some(end) = http::head_bytes(&head) {
            if http::status(&head) != Some(200) {
                return Err(invalid(format!("answered {:?}", http::status(&head))));
            }
            let surplus = head.split_off(end);
            return Ok((head, surplus.len() as u64));
        }
    }
}

async fn discard(
    stream: &TcpStream,
    buffer: &mut [u8],
    mut left: u64,
    counters: &Counters,
) -> Result<()> {
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let read = stream.try_io(Interest::READABLE, || {
            recv(stream, part, RecvFlags::TRUNC).map(|(_, read)| read).map_err(Error::from)
        });
        match read {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                left -= read as u64;
                counters.bytes.set(counters.bytes.get() + read as u64);
                yield_now().await;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stream.readable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
