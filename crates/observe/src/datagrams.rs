//! Logs that take one datagram a line: syslog and systemd's journal.
//!
//! The syslog of this machine gets what `syslog(3)` sends, without a time: it takes its own. One behind UDP gets
//! RFC 5424. The journal gets entries with fields of their own (systemd, "Native Journal Protocol").
//! Sockets are named at every send, so that a daemon that has restarted gets the next line.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::clock::Clock;
use super::format::Stamp;

const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
const SYSLOG_SOCKET: &str = "/dev/log";
/// Ends an entry of the journal on its way here: no value has it.
pub(crate) const JOURNAL_END: u8 = 0;
/// Facility `local7` (23) and severity `info` (6): RFC 5424, section 6.2.1.
const PRIORITY: u32 = 23 * 8 + 6;
/// How long to wait in all, for each batch of lines, for a daemon that takes nothing for now.
const PATIENCE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(2);

/// A socket that takes one datagram a line.
pub(crate) struct Datagrams {
    socket: Socket,
    /// What ends a line in the log's bytes.
    end: u8,
    datagram: Vec<u8>,
}

enum Socket {
    Unix(UnixDatagram, &'static Path, LineStart),
    Udp(UdpSocket, SocketAddr, Rfc5424),
}

/// What stands before each line.
struct LineStart(String);

/// The parts of a header of RFC 5424 that stay.
struct Rfc5424 {
    host: String,
    stamp: Stamp,
}

impl Datagrams {
    /// The journal of systemd.
    pub(crate) fn journald() -> io::Result<Self> {
        Self::local(JOURNAL_SOCKET, JOURNAL_END, String::new())
    }

    /// The syslog of this machine.
    pub(crate) fn local_syslog() -> io::Result<Self> {
        Self::local(SYSLOG_SOCKET, b'\n', format!("<{PRIORITY}>bothways[{}]: ", std::process::id()))
    }

    fn local(path: &'static str, end: u8, line_start: String) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let path = Path::new(path);
        fs::metadata(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let socket = Socket::Unix(socket, path, LineStart(line_start));
        Ok(Self { socket, end, datagram: Vec::new() })
    }

    /// A syslog behind UDP, at a host and port.
    pub(crate) fn remote_syslog(address: &str) -> io::Result<Self> {
        let none = || io::Error::new(ErrorKind::NotFound, "the host has no address");
        let address = address.to_socket_addrs()?.next().ok_or_else(none)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let host = if host.is_empty() { "-".to_owned() } else { host.to_owned() };
        let socket = Socket::Udp(socket, address, Rfc5424 { host, stamp: Stamp::default() });
        Ok(Self { socket, end: b'\n', datagram: Vec::new() })
    }

    /// Sends each line; returns how many were sent, and the last error.
    pub(crate) fn send_all(&mut self, bytes: &[u8]) -> (u64, io::Result<()>) {
        let (mut sent, mut outcome) = (0, Ok(()));
        let give_up_at = Instant::now() + PATIENCE;
        let end = self.end;
        for line in bytes.split(|&byte| byte == end).filter(|line| !line.is_empty()) {
            match self.send(line, give_up_at) {
                Ok(()) => sent += 1,
                Err(error) => outcome = Err(error),
            }
        }
        (sent, outcome)
    }

    fn send(&mut self, line: &[u8], give_up_at: Instant) -> io::Result<()> {
        self.datagram.clear();
        match &mut self.socket {
            Socket::Unix(_, _, LineStart(start)) => {
                self.datagram.extend_from_slice(start.as_bytes());
            }
            Socket::Udp(_, _, header) => self.datagram.extend_from_slice(header.text().as_bytes()),
        }
        self.datagram.extend_from_slice(line);
        loop {
            let sent = match &self.socket {
                Socket::Unix(socket, path, _) => socket.send_to(&self.datagram, path),
                Socket::Udp(socket, address, _) => socket.send_to(&self.datagram, address),
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && Instant::now() < give_up_at =>
                {
                    thread::sleep(NAP);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Rfc5424 {
    /// The header of a line that is sent now (section 6).
    fn text(&mut self) -> String {
        let now = Clock::at(Instant::now(), SystemTime::now()).unix_millis(Instant::now());
        let second = &self.stamp.at(now / 1000).rfc3339;
        let mut text = format!("<{PRIORITY}>1 {}", String::from_utf8_lossy(second));
        let pid = std::process::id();
        // Writing to a String does not fail.
        let _ = write!(text, "{:03}Z {} bothways {pid} - - ", now % 1000, self.host);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_datagram_of_rfc_5424() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = receiver.local_addr().unwrap().to_string();
        let mut datagrams = Datagrams::remote_syslog(&address).unwrap();
        let (sent, outcome) = datagrams.send_all(b"one\ntwo\n");
        assert!(outcome.is_ok());
        assert_eq!(sent, 2);
        for expected in ["one", "two"] {
            let mut bytes = [0; 1000];
            let (length, _) = receiver.recv_from(&mut bytes).unwrap();
            let text = str::from_utf8(&bytes[..length]).unwrap();
            let parts: Vec<_> = text.splitn(8, ' ').collect();
            let pid = std::process::id().to_string();
            assert_eq!((parts[0], parts[3], parts[4]), ("<190>1", "bothways", &*pid), "{text}");
            assert!(parts[1].ends_with('Z') && parts[1].len() == 24, "{text}");
            assert_eq!((parts[5], parts[6], parts[7]), ("-", "-", expected), "{text}");
        }
    }
}
