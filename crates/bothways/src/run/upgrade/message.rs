//! What the two processes say to each other: packets of JSON, some with descriptors.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use net::Channel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Changes whenever a process could not understand the other any more.
pub(super) const PROTOCOL: u32 = 1;
/// Bytes of text in one message at most; JSON may need six for one.
const PART_BYTES: usize = Channel::MESSAGE_BYTES_MAX / 8;

/// What was changed at run time, by upstream.
pub(super) type PassedChanges = BTreeMap<String, Value>;

/// What the old process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum OldSays {
    /// The first message.
    Hello { protocol: u32, process: u32 },
    /// Sockets that listen on this address, as it is configured. Several messages may name the same one.
    Listener { address: SocketAddr },
    /// The socket of the admin interface.
    AdminTcp { address: SocketAddr },
    /// The same, with its name in the file system.
    AdminUnix { path: PathBuf },
    /// Where errors go once the new process is ready; until then the old one reads them.
    Stderr,
    /// These were all sockets.
    Complete,
    /// A part of the changes that were made at run time, as JSON.
    Changes { part: String },
    /// Accept connections now.
    Go,
    /// The old process accepts nothing any more.
    Bye,
    /// Something that only newer versions say.
    #[serde(other)]
    Unknown,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum NewSays {
    /// Everything that can fail has been done.
    Ready { version: String },
    /// Connections are accepted.
    Serving,
    /// Something that only newer versions say.
    #[serde(other)]
    Unknown,
}

/// Sends a message.
pub(super) fn send(
    channel: &Channel,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    deadline: Instant,
) -> io::Result<()> {
    channel.send(&serde_json::to_vec(message)?, descriptors, deadline)
}

/// Sends the changes that were made at run time.
pub(super) fn send_changes(
    channel: &Channel,
    changes: &PassedChanges,
    deadline: Instant,
) -> io::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string(changes)?;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
        send(channel, &OldSays::Changes { part: part.to_owned() }, &[], deadline)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn long_changes_arrive() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_other(theirs).unwrap();
        let names: Vec<_> = (0..9000).map(|number| format!("\"ü\u{1}\" {number}")).collect();
        let changes = PassedChanges::from([("app".to_owned(), json!({ "removed": names }))]);
        let deadline = Instant::now() + Duration::from_secs(20);
        let sent = changes.clone();
        let sender = std::thread::spawn(move || {
            send_changes(&ours, &sent, deadline).unwrap();
            send(&ours, &OldSays::Go, &[], deadline).unwrap();
        });
        let mut text = String::new();
        loop {
            let packet = theirs.receive(deadline).unwrap().unwrap();
            match serde_json::from_slice(&packet.message).unwrap() {
                OldSays::Changes { part } => text.push_str(&part),
                OldSays::Go => break,
                other => panic!("{other:?}"),
            }
        }
        sender.join().unwrap();
        assert_eq!(serde_json::from_str::<PassedChanges>(&text).unwrap(), changes);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let later = r#"{"kind":"quic-socket","address":"[::]:443"}"#;
        assert!(matches!(serde_json::from_str(later).unwrap(), OldSays::Unknown));
        assert!(serde_json::from_str::<NewSays>("{}").is_err());
    }
}
