//! The new side: takes the sockets of the old process, says when it is ready, and waits until it may serve.
//!
//! Standard input is the channel; what is written to standard error goes to the old process until this one is ready, so
//! that it can say why an upgrade failed.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::AdminAddress;
use discovery::{Changes, changes_from_json};
use net::{Channel, Packet};

use super::message::{self, NewSays, OldSays, PROTOCOL, PassedChanges};
use crate::exit::Failure;

/// Set for a process that is to take over, to the ID of the old one.
pub(super) const VARIABLE: &str = "BOTHWAYS_TAKES_OVER_FROM";
/// How long the old process may take for each message.
const MESSAGE_TIME: Duration = Duration::from_secs(20);

/// The old process.
#[derive(Debug)]
pub(in super::super) struct Predecessor {
    channel: Channel,
    process: u32,
    stderr: Option<OwnedFd>,
}

/// What the old process has passed on.
#[derive(Debug, Default)]
pub(in super::super) struct HandedOver {
    /// The listening sockets, by the address as configured there.
    pub(in super::super) listeners: Vec<(SocketAddr, Vec<TcpListener>)>,
    /// The socket of the admin interface.
    pub(in super::super) admin: Option<(AdminAddress, OwnedFd)>,
}

impl Predecessor {
    /// The process whose place this one is to take, and its sockets, if there is one.
    pub(in super::super) fn find() -> Result<Option<(Self, HandedOver)>, Failure> {
        let Some(process) = named() else { return Ok(None) };
        let failed = |error: io::Error| {
            Failure::other(format!("cannot take over from process {process}: {error}"))
        };
        let channel = take_stdin().map_err(failed)?;
        let mut predecessor = Self { channel, process, stderr: None };
        let handed = predecessor.receive_sockets().map_err(failed)?;
        Ok(Some((predecessor, handed)))
    }

    /// Its ID.
    pub(in super::super) fn process(&self) -> u32 {
        self.process
    }

    fn receive(&self) -> io::Result<(OldSays, Vec<OwnedFd>)> {
        let received = self.channel.receive(Instant::now() + MESSAGE_TIME)?;
        let Some(Packet { message, descriptors }) = received else {
            return Err(io::Error::other("it has given up"));
        };
        Ok((serde_json::from_slice(&message)?, descriptors))
    }

    fn receive_sockets(&mut self) -> io::Result<HandedOver> {
        let mut handed = HandedOver::default();
        loop {
            let (says, mut descriptors) = self.receive()?;
            match says {
                OldSays::Hello { protocol: PROTOCOL, .. } => {}
                OldSays::Hello { protocol, .. } => {
                    return Err(io::Error::other(format!(
                        "it speaks version {protocol} of the protocol, this binary version {PROTOCOL}"
                    )));
                }
                OldSays::Listener { address } => {
                    let sockets = descriptors.into_iter().map(TcpListener::from);
                    match handed.listeners.iter_mut().find(|(known, _)| *known == address) {
                        Some((_, known)) => known.extend(sockets),
                        None => handed.listeners.push((address, sockets.collect())),
                    }
                }
                OldSays::AdminTcp { address } => {
                    handed.admin = descriptors.pop().map(|one| (AdminAddress::Tcp(address), one));
                }
                OldSays::AdminUnix { path } => {
                    handed.admin = descriptors.pop().map(|one| (AdminAddress::Unix(path), one));
                }
                OldSays::Stderr => self.stderr = descriptors.pop(),
                OldSays::Complete => return Ok(handed),
                // What is not known is not taken over.
                OldSays::Unknown => {}
                OldSays::Changes { .. } | OldSays::Go | OldSays::Bye => {
                    return Err(io::Error::other("unexpected message"));
                }
            }
        }
    }

    /// Everything that can fail has been done: waits until this process may accept connections. Returns what was changed
    /// at run time in the old one.
    pub(in super::super) fn ready(&mut self) -> Result<Vec<(Arc<str>, Changes)>, Failure> {
        self.wait_for_go().map_err(|error| {
            Failure::other(format!("cannot take over from process {}: {error}", self.process))
        })
    }

    fn wait_for_go(&mut self) -> io::Result<Vec<(Arc<str>, Changes)>> {
        if let Some(stderr) = self.stderr.take() {
            rustix::stdio::dup2_stderr(stderr)?;
        }
        self.say(&NewSays::Ready { version: env!("CARGO_PKG_VERSION").to_owned() })?;
        let mut text = String::new();
        loop {
            match self.receive()?.0 {
                OldSays::Changes { part } => text.push_str(&part),
                OldSays::Go => return Ok(parsed(&text)),
                _ => {}
            }
        }
    }

    /// Connections are accepted. Returns when the old process has told the service manager which process counts now.
    pub(in super::super) fn serving(self) {
        let outcome = self.say(&NewSays::Serving).and_then(|()| self.receive());
        if let Err(error) = outcome {
            tracing::warn!(%error, process = self.process, "the old process ended early");
        }
    }

    fn say(&self, says: &NewSays) -> io::Result<()> {
        message::send(&self.channel, says, &[], Instant::now() + MESSAGE_TIME)
    }
}

/// The process that started this one to take over. The variable may also come from further up.
fn named() -> Option<u32> {
    let process = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let parent = rustix::process::getppid()?.as_raw_nonzero().get();
    (i64::from(parent) == i64::from(process)).then_some(process)
}

fn take_stdin() -> io::Result<Channel> {
    let channel = Channel::from_other(io::stdin().as_fd().try_clone_to_owned()?)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(channel)
}

/// Changes that cannot be read are lost, which is better than no upgrade.
fn parsed(text: &str) -> Vec<(Arc<str>, Changes)> {
    if text.is_empty() {
        return Vec::new();
    }
    let all: PassedChanges = serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, "what was changed at run time is lost");
        PassedChanges::new()
    });
    let of_each = all.into_iter().filter_map(|(upstream, changes)| {
        let parsed = changes_from_json(&changes.to_string()).map_err(|error| {
            tracing::error!(upstream, %error, "what was changed at run time is lost");
        });
        Some((upstream.as_str().into(), parsed.ok()?))
    });
    of_each.collect()
}
