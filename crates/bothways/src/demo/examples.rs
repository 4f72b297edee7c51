//! The demo's examples, and how `--once` sends them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Timeout for a response.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// More bytes than any response of the demo has.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// An example request.
#[derive(Debug)]
pub(super) struct Example {
    /// What it shows.
    pub(super) what: &'static str,
    /// The command for people.
    pub(super) command: String,
    /// The address to connect to.
    pub(super) to: SocketAddr,
    /// The request head without its end.
    pub(super) head: String,
}

/// Sends the request; returns the status line of the response, and its `Location`.
pub(super) async fn request(of: &Example) -> io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(of.to).await?;
        stream.write_all(format!("{}Connection: close\r\n\r\n", of.head).as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(summary(&String::from_utf8_lossy(&answer)))
    };
    tokio::time::timeout(ANSWER_TIME, asked).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn summary(answer: &str) -> String {
    let mut lines = answer.split("\r\n");
    let status = lines.next().unwrap_or_default().to_owned();
    let is_location = |line: &&str| line.to_ascii_lowercase().starts_with("location:");
    match lines.take_while(|line| !line.is_empty()).find(is_location) {
        Some(location) => format!("{status}, {location}"),
        None => status,
    }
}
