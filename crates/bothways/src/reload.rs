//! `bothways reload`: asks the running process to read its file anew, and says what came of it.
//!
//! By the admin interface where there is one, since that answers; else by SIGHUP. The client is a
//! few lines over a blocking socket: one request, one answer, then the connection closes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::AdminAddress;
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Reload;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::load::Source;
use crate::terminal;

/// For a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// For the answer; the process gives up a little earlier and says so.
const ANSWER_TIME: Duration = Duration::from_secs(70);
/// More than any report is.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

const REQUEST: &[u8] = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";

/// Has the running process reload.
pub(crate) fn reload(options: &Reload) -> Result<(), Failure> {
    if let Some(pid) = &options.pid {
        return by_signal(pid);
    }
    let address = match &options.admin {
        Some(written) => parse_admin(written)?,
        None => configured_admin(options.config.as_deref())?,
    };
    by_admin(&address)
}

/// The admin address of the file. One that cannot be read is reported: reloading it would fail.
fn configured_admin(named: Option<&Path>) -> Result<AdminAddress, Failure> {
    let source = Source::find(named)?;
    let loaded = source.load()?;
    loaded.config.process.admin.ok_or_else(|| {
        let name = source.name();
        Failure::other(format!("{name} sets no admin address, so the process cannot be asked"))
            .hint(
                "set one: process { admin \"127.0.0.1:9900\" }; or name the process: \
                 bothways reload --pid N",
            )
    })
}

fn parse_admin(written: &str) -> Result<AdminAddress, Failure> {
    if let Some(path) = written.strip_prefix("unix:") {
        return Ok(AdminAddress::Unix(PathBuf::from(path)));
    }
    let mut addresses = written.to_socket_addrs().map_err(|error| {
        Failure::usage(format!("`--admin {written}`: {error}")).hint("it is host:port or unix:PATH")
    })?;
    let loopback = addresses.find(|address: &SocketAddr| address.ip().is_loopback());
    loopback.map(AdminAddress::Tcp).ok_or_else(|| {
        Failure::usage(format!("`--admin {written}` is not on this machine"))
            .hint("the admin interface is on a loopback address or a unix socket only")
    })
}

fn by_admin(address: &AdminAddress) -> Result<(), Failure> {
    let (status, body) = match address {
        AdminAddress::Tcp(to) => {
            let stream = TcpStream::connect_timeout(to, CONNECT_TIME);
            stream.and_then(|stream| {
                stream.set_read_timeout(Some(ANSWER_TIME))?;
                ask(stream)
            })
        }
        AdminAddress::Unix(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            ask(stream)
        }),
    }
    .map_err(|error| {
        let at = match address {
            AdminAddress::Tcp(to) => to.to_string(),
            AdminAddress::Unix(path) => path.display().to_string(),
        };
        Failure::other(format!("no answer from the admin address {at}: {error}"))
            .hint("is the process running, and with this admin address? --pid N reloads by signal")
    })?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::said(if status == 422 { CONFIGURATION } else { OTHER }))
}

fn ask(mut stream: impl Read + Write) -> io::Result<(u16, String)> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read_answer(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::other("what answers there is not bothways"))
}

/// Status and body.
fn read_answer(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn by_signal(pid: &str) -> Result<(), Failure> {
    let number = match pid.parse::<i32>() {
        Ok(number) => number,
        Err(_) => read_pid(Path::new(pid))?,
    };
    // Zero and negative numbers mean whole groups of processes.
    let process = Some(number)
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::usage(format!("`{number}` is not the number of a process")))?;
    kill_process(process, Signal::HUP)
        .map_err(|error| Failure::other(format!("cannot signal process {number}: {error}")))?;
    Ok(terminal::to_stdout(&format!(
        "process {number} has been asked to reload; the outcome is in its log\n"
    ))?)
}

fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::other(format!("cannot read {}: {error}", path.display())))?;
    text.trim().parse().map_err(|_| {
        Failure::other(format!("{} does not hold the number of a process", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        assert_eq!(read_answer(ok), Some((200, "yes".to_owned())));
        for bad in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 2\r\n\r\n"] {
            assert_eq!(read_answer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn admin_addresses() {
        assert_eq!(parse_admin("unix:/a b").unwrap(), AdminAddress::Unix("/a b".into()));
        assert_eq!(
            parse_admin("127.0.0.1:9900").unwrap(),
            AdminAddress::Tcp(([127, 0, 0, 1], 9900).into())
        );
        for bad in ["192.0.2.1:9900", "127.0.0.1", ""] {
            assert!(parse_admin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_one_process_is_signalled() {
        for bad in ["0", "-1"] {
            assert!(by_signal(bad).is_err(), "{bad}");
        }
    }
}
