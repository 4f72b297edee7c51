//! Full TLS handshakes, and nothing else.
//!
//! `--connections` tasks, each in a circle: connect to `--to`, shake hands, say close_notify, and wait until
//! the other side has ended the connection, which proves that it has seen the whole handshake. Nothing is
//! resumed. Prints `start` after `--warm` seconds and then, after `--seconds`,
//! `end 0 HANDSHAKES NANOSECONDS P99_MICROSECONDS`, as bench-load does. Any error ends the program with 1.

use bench_peers::stream::{Client, Stream};
use bench_peers::{argument, measured, raise_open_files, required, why};
use std::cell::RefCell;
use std::io::Result;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tokio::runtime::LocalRuntime;
use tokio::task::JoinSet;

fn main() -> Result<()> {
    raise_open_files();
    let to: SocketAddr = required("--to")?;
    let connections: usize = argument("--connections")?.unwrap_or(32);
    let seconds: f64 = required("--seconds")?;
    let warm: f64 = argument("--warm")?.unwrap_or(0.5);
    let client = Client::new()?;
    LocalRuntime::new()?.block_on(async move {
        let took = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn_local(circle(to, client.clone(), took.clone()));
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => Err(why(ended)),
            done = measured(warm, seconds, || 0, &took) => done,
        }
    })
}

async fn circle(to: SocketAddr, client: Rc<Client>, took: Rc<RefCell<Vec<u32>>>) -> Result<()> {
    loop {
        let began = Instant::now();
        Stream::connect(to, Some(&client)).await?.close().await?;
        took.borrow_mut().push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}
