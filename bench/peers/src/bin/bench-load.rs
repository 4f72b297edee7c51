//! Load that wrk cannot make: large bodies read cheaply, and bytes through tunnels.
//!
//! Every connection asks for `--path` again and again, each as soon as the last answer is read.
//! Bodies are thrown away inside the kernel (`MSG_TRUNC`), so that reading costs far less than
//! any proxy's forwarding. With `--tunnel` each connection first says `CONNECT` for `--origin`;
//! with `--reconnect` each request has a connection of its own; with `--tls` connections are over TLS
//! (bodies are then read and decrypted, there is no other way).
//! The bytes of bodies are counted from the end of the warm-up to the end of the time. Prints
//! `start`, then after `--seconds` `end BYTES RESPONSES NANOSECONDS P99_MICROSECONDS`, so that
//! whoever started it can read the proxy's CPU time at the same two moments. Any error ends the
//! program with 1.

use bench_peers::stream::{Client, Stream};
use bench_peers::{argument, flag, http, invalid, measured, raise_open_files, required, why};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
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
    tls: Option<Rc<Client>>,
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
        tls: if flag("--tls") { Some(Client::new()?) } else { None },
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
            done = measured(warm, seconds, || counters.bytes.get(), &counters.took) => done,
        }
    })
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
        discard(&mut stream, &mut buffer, left, &counters).await?;
        let took = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
        counters.took.borrow_mut().push(took);
        connected = (!plan.reconnect).then_some(stream);
    }
}

async fn connect(plan: &Plan) -> Result<Stream> {
    let mut stream = Stream::connect(plan.to, plan.tls.as_ref()).await?;
    if plan.tunnel {
        let host = plan.origin;
        let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await?;
        read_head(&mut stream).await?;
    }
    Ok(stream)
}

/// The head, and how many bytes of the body came with it.
async fn read_head(stream: &mut Stream) -> Result<(Vec<u8>, u64)> {
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
    stream: &mut Stream,
    buffer: &mut [u8],
    mut left: u64,
    counters: &Counters,
) -> Result<()> {
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match stream.discard(buffer.get_mut(..wanted).unwrap_or_default()).await? as u64 {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                left = left.checked_sub(read).ok_or_else(|| invalid("too long".to_owned()))?;
                counters.bytes.set(counters.bytes.get() + read);
                yield_now().await;
            }
        }
    }
    Ok(())
}
