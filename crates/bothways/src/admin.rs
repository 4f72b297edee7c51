//! A client for the admin interface of the running process: one request and one response over a
//! blocking socket, then the connection closes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::AdminAddress;

use crate::exit::Failure;
use crate::load::Source;

/// Timeout for connecting.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Timeout for the response; the process gives up a little earlier and says so.
const ANSWER_TIME: Duration = Duration::from_secs(70);
/// Statuses of a request without the right token.
const TOKEN_MISSING: [u16; 2] = [401, 403];
/// More bytes than any response has.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A running process.
pub(crate) struct Process {
    address: AdminAddress,
    /// Tokens for requests over TCP. If the process refuses one, the next one is tried: it may not
    /// have loaded the file yet that sets the first.
    tokens: Vec<String>,
    answer_time: Duration,
}

impl Process {
    /// The process at the named address, or at the admin address of the configuration.
    pub(crate) fn find(
        admin: Option<&str>,
        config: Option<&Path>,
        token_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let (address, process) = match admin {
            Some(written) => {
                let address = parse_address(written)?;
                (address.clone(), settings_for(&address, config))
            }
            None => configured(config)?,
        };
        // A unix socket needs no token.
        if matches!(address, AdminAddress::Unix(_)) {
            return Ok(Self { address, tokens: Vec::new(), answer_time: ANSWER_TIME });
        }
        let file = token_file.map(Path::to_owned).or_else(|| process.admin_token.clone());
        let mut tokens = Vec::new();
        if let Some(path) = &file {
            tokens.push(read_token(path)?);
        }
        if token_file.is_none() {
            tokens.extend(generated_token(process.state.as_deref()));
        }
        Ok(Self { address, tokens, answer_time: ANSWER_TIME })
    }

    /// Waits this much longer for responses.
    pub(crate) fn patient(mut self, longer: Duration) -> Self {
        self.answer_time += longer;
        self
    }

    /// Sends a request; returns the status and the body of the response.
    pub(crate) fn ask(
        &self,
        method: &str,
        target: &str,
        accept: &str,
        body: Option<&str>,
    ) -> Result<(u16, String), Failure> {
        let body = body.unwrap_or_default();
        let mut tokens = self.tokens.iter();
        loop {
            let token = tokens.next();
            let answer = self.exchange(&request(token, method, target, accept, body))?;
            if !TOKEN_MISSING.contains(&answer.0) || tokens.len() == 0 {
                return Ok(answer);
            }
        }
    }

    fn exchange(&self, request: &str) -> Result<(u16, String), Failure> {
        let answer = match &self.address {
            AdminAddress::Tcp(to) => {
                TcpStream::connect_timeout(to, CONNECT_TIME).and_then(|stream| {
                    stream.set_read_timeout(Some(self.answer_time))?;
                    exchange(stream, request)
                })
            }
            AdminAddress::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_read_timeout(Some(self.answer_time))?;
                exchange(stream, request)
            }),
        };
        answer.map_err(|error| {
            let at = match &self.address {
                AdminAddress::Tcp(to) => to.to_string(),
                AdminAddress::Unix(path) => path.display().to_string(),
            };
            Failure::other(format!("no response from the admin address {at}: {error}"))
        })
    }
}

fn request(token: Option<&String>, method: &str, target: &str, accept: &str, body: &str) -> String {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n{}\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        token.unwrap_or_default(),
        body.len()
    )
}

/// The admin address and the process settings of the configuration. Prints the mistakes of a wrong one.
fn configured(named: Option<&Path>) -> Result<(AdminAddress, config::Process), Failure> {
    let source = Source::find(named)?;
    let process = source.load()?.config.process.clone();
    let address = process.admin.clone().ok_or_else(|| {
        let name = source.name();
        Failure::other(format!(
            "{name} sets no admin address, so there is no way to reach the process"
        ))
        .hint(
            "set one: process { admin \"127.0.0.1:9900\" }; or name it with --admin; or reload \
                   by signal: bothways reload --pid N",
        )
    })?;
    Ok((address, process))
}

/// The settings of the process at a named address: those of the configuration, if it is valid and has
/// this address; else the defaults.
fn settings_for(address: &AdminAddress, named: Option<&Path>) -> config::Process {
    let loaded = Source::find(named).ok().and_then(|source| source.read().ok());
    let process = loaded.map(|loaded| loaded.config.process.clone());
    process.filter(|process| process.admin.as_ref() == Some(address)).unwrap_or_default()
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::other(format!("cannot read the token in {}: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

/// The token that the process generated, if it is readable. Requests that need no token work without.
fn generated_token(state: Option<&Path>) -> Option<String> {
    let path = tls::StateDir::find(state).ok()?.path_of(crate::run::admin::GENERATED_TOKEN_FILE);
    read_token(&path).ok().filter(|token| !token.is_empty())
}

/// Parses an admin address.
pub(crate) fn parse_address(written: &str) -> Result<AdminAddress, Failure> {
    if let Some(path) = written.strip_prefix("unix:") {
        return Ok(AdminAddress::Unix(PathBuf::from(path)));
    }
    let mut addresses = written.to_socket_addrs().map_err(|error| {
        Failure::usage(format!("`--admin {written}`: {error}")).hint("write host:port or unix:PATH")
    })?;
    let loopback = addresses.find(|address: &SocketAddr| address.ip().is_loopback());
    loopback.map(AdminAddress::Tcp).ok_or_else(|| {
        Failure::usage(format!("`--admin {written}` is not on this machine"))
            .hint("the admin interface is on a loopback address or a unix socket only")
    })
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read_answer(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::other("the response is not from bothways"))
}

/// The status and body of a response.
fn read_answer(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
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
    fn addresses() {
        assert_eq!(parse_address("unix:/a b").unwrap(), AdminAddress::Unix("/a b".into()));
        assert_eq!(
            parse_address("127.0.0.1:9900").unwrap(),
            AdminAddress::Tcp(([127, 0, 0, 1], 9900).into())
        );
        for bad in ["192.0.2.1:9900", "127.0.0.1", ""] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
