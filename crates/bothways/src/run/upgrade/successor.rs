//! The old side: starts the new process, passes the sockets, and waits until it is ready.
//!
//! Blocks, so it runs on a thread of its own.

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use config::AdminAddress;
use net::Channel;

use super::message::{self, NewSays, OldSays, PROTOCOL, PassedChanges};
use super::predecessor::VARIABLE;
use crate::exit::CONFIGURATION;
use crate::terminal;

/// How often to look whether the new process has ended, or has written something.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a process that was ready may take to accept connections.
const SERVING_TIME: Duration = Duration::from_secs(10);
/// How long a process that has closed the channel may take to end.
const EXIT_TIME: Duration = Duration::from_secs(2);
/// Bytes of what the new process writes to its standard error that are kept for the report.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;
/// Variables of a service manager that are for the process that it started.
const NOT_INHERITED: [&str; 5] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "MAINPID"];

/// What a new process is offered.
pub(super) struct Offer {
    /// The binary.
    pub(super) binary: PathBuf,
    /// How long it may take until it is ready.
    pub(super) within: Duration,
    /// The listening sockets, by the address as configured.
    pub(super) sockets: Vec<(SocketAddr, Arc<[TcpListener]>)>,
    /// The socket of the admin interface.
    pub(super) admin: Option<(AdminAddress, OwnedFd)>,
}

/// Why there is no upgrade.
#[derive(Debug)]
pub(super) enum UpgradeError {
    /// The binary cannot be started.
    Start { binary: PathBuf, source: io::Error },
    /// The new process has ended.
    Ended { status: ExitStatus, output: String },
    /// It was not ready in time.
    Late { within: Duration, output: String },
    /// It does not speak as it should.
    Protocol { why: String, output: String },
    /// This process stops.
    Stopping,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { binary, source } => {
                write!(out, "cannot start {}: {source}", binary.display())
            }
            Self::Ended { status, .. } => match status.code() {
                Some(code) => {
                    write!(out, "the new process ended with code {code} before it was ready")
                }
                None => write!(out, "the new process ended before it was ready ({status})"),
            },
            Self::Late { within, .. } => write!(
                out,
                "the new process was not ready within {} s, and was stopped",
                within.as_millis().div_ceil(1000)
            ),
            Self::Protocol { why, .. } => {
                write!(out, "the new process does not take over as it should: {why}")
            }
            Self::Stopping => out.write_str("this process stops"),
        }
    }
}

impl UpgradeError {
    /// Whether the configuration is wrong.
    pub(super) fn is_configuration(&self) -> bool {
        matches!(self, Self::Ended { status, .. } if status.code() == Some(CONFIGURATION.into()))
    }

    /// What the new process has written to its standard error.
    pub(super) fn into_output(self) -> String {
        match self {
            Self::Ended { output, .. }
            | Self::Late { output, .. }
            | Self::Protocol { output, .. } => output,
            Self::Start { .. } | Self::Stopping => String::new(),
        }
    }
}

/// The new process. Killed when dropped, unless it was released.
pub(super) struct Successor {
    child: Child,
    channel: Channel,
    output: Output,
    version: String,
    released: bool,
}

impl Offer {
    /// Starts the new process, and waits until it is ready. Gives up when `cancelled` is set.
    pub(super) fn make(self, cancelled: &AtomicBool) -> Result<Successor, UpgradeError> {
        let deadline = Instant::now() + self.within;
        let mut successor = self.start()?;
        if let Err(error) = self.send(&successor.channel, deadline) {
            // A process that has ended takes nothing: then that is the reason.
            let why = format!("it took no sockets ({error})");
            return Err(successor.ended_within(EXIT_TIME, why));
        }
        match successor.wait(deadline, cancelled) {
            Ok(NewSays::Ready { version }) => {
                successor.version = version;
                Ok(successor)
            }
            Ok(other) => Err(successor.protocol(format!("unexpected message {other:?}"))),
            Err(UpgradeError::Late { output, .. }) => {
                Err(UpgradeError::Late { within: self.within, output })
            }
            Err(error) => Err(error),
        }
    }

    fn start(&self) -> Result<Successor, UpgradeError> {
        let failed = |source| UpgradeError::Start { binary: self.binary.clone(), source };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let (reader, writer) = io::pipe().map_err(failed)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
        let mut command = Command::new(&self.binary);
        command
            .args(std::env::args_os().skip(1))
            .env(VARIABLE, std::process::id().to_string())
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::from(writer));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(failed)?;
        let output = Output { reader, kept: Vec::new() };
        Ok(Successor { child, channel, output, version: String::new(), released: false })
    }

    fn send(&self, channel: &Channel, deadline: Instant) -> io::Result<()> {
        let send = |says: &OldSays, descriptors: &[BorrowedFd<'_>]| {
            message::send(channel, says, descriptors, deadline)
        };
        send(&OldSays::Hello { protocol: PROTOCOL, process: std::process::id() }, &[])?;
        for (address, sockets) in &self.sockets {
            for some in sockets.chunks(Channel::DESCRIPTORS_MAX) {
                let some: Vec<_> = some.iter().map(AsFd::as_fd).collect();
                send(&OldSays::Listener { address: *address }, &some)?;
            }
        }
        match &self.admin {
            Some((AdminAddress::Tcp(address), socket)) => {
                send(&OldSays::AdminTcp { address: *address }, &[socket.as_fd()])?;
            }
            Some((AdminAddress::Unix(path), socket)) => {
                send(&OldSays::AdminUnix { path: path.clone() }, &[socket.as_fd()])?;
            }
            None => {}
        }
        send(&OldSays::Stderr, &[io::stderr().as_fd()])?;
        send(&OldSays::Complete, &[])
    }
}

impl Successor {
    /// Its process ID.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The version of its binary.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Lets it accept connections; returns once it does.
    pub(super) fn take_over(&mut self, changes: &PassedChanges) -> Result<(), UpgradeError> {
        let deadline = Instant::now() + SERVING_TIME;
        let sent = message::send_changes(&self.channel, changes, deadline)
            .and_then(|()| message::send(&self.channel, &OldSays::Go, &[], deadline));
        if let Err(error) = sent {
            return Err(self.ended_within(EXIT_TIME, error.to_string()));
        }
        match self.wait(deadline, &AtomicBool::new(false))? {
            NewSays::Serving => Ok(()),
            other => Err(self.protocol(format!("unexpected message {other:?}"))),
        }
    }

    /// It is on its own from now on.
    pub(super) fn release(mut self) {
        self.released = true;
        self.output.relay();
        // If this fails, it has ended; the supervisor of the service will notice.
        let deadline = Instant::now() + SERVING_TIME;
        if let Err(error) = message::send(&self.channel, &OldSays::Bye, &[], deadline) {
            tracing::error!(%error, process = self.process(), "the new process does not listen");
        }
    }

    /// The next message.
    fn wait(&mut self, deadline: Instant, cancelled: &AtomicBool) -> Result<NewSays, UpgradeError> {
        loop {
            self.output.relay();
            match self.channel.wait_readable(LOOK_INTERVAL) {
                Ok(true) => return self.receive(deadline),
                Ok(false) => {}
                Err(error) => return Err(self.protocol(error.to_string())),
            }
            if let Some(error) = self.ended() {
                return Err(error);
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err(UpgradeError::Stopping);
            }
            if Instant::now() >= deadline {
                let output = self.output.text();
                return Err(UpgradeError::Late { within: Duration::ZERO, output });
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<NewSays, UpgradeError> {
        match self.channel.receive(deadline) {
            Ok(Some(packet)) => match serde_json::from_slice(&packet.message) {
                Ok(NewSays::Unknown) => Err(self.protocol("unknown message".to_owned())),
                Ok(says) => Ok(says),
                Err(error) => Err(self.protocol(error.to_string())),
            },
            Ok(None) => Err(self.ended_within(EXIT_TIME, "it closed the channel".to_owned())),
            Err(error) => Err(self.protocol(error.to_string())),
        }
    }

    /// Why it has ended, if it does so within this time; else `why`.
    fn ended_within(&mut self, within: Duration, why: String) -> UpgradeError {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            self.output.relay();
            if let Some(error) = self.ended() {
                return error;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.protocol(why)
    }

    fn ended(&mut self) -> Option<UpgradeError> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(UpgradeError::Ended { status, output: self.output.text() })
    }

    fn protocol(&mut self, why: String) -> UpgradeError {
        UpgradeError::Protocol { why, output: self.output.text() }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.released {
            // It may have ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the new process writes to its standard error until it is ready: it goes where ours goes, and into the report.
struct Output {
    reader: PipeReader,
    kept: Vec<u8>,
}

impl Output {
    /// Takes what there is.
    fn relay(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = self.reader.read(&mut bytes) {
            let fresh = bytes.get(..count).unwrap_or_default();
            terminal::to_stderr(&String::from_utf8_lossy(fresh));
            let room = OUTPUT_BYTES_MAX.saturating_sub(self.kept.len());
            self.kept.extend(fresh.iter().take(room));
        }
    }

    fn text(&mut self) -> String {
        self.relay();
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
