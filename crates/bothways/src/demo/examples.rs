//! The demo's own requests, for `--once`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// More than any answer of the demo is.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Something to try.
#[derive(Debug)]
pub(super) struct Try {
    /// What it shows.
    pub(super) what: &'static str,
    /// How a person does it.
    pub(super) command: String,
    /// Where to.
    pub(super) to: SocketAddr,
    /// The request's head but for its end.
    pub(super) head: String,
}

/// Makes the request; the answer's status line and what names a place.
pub(super) async fn request(of: &Try) -> io::Result<String> {
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
