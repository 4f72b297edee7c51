//! Messages with descriptors between two processes, over a unix socket.
//!
//! A [`Channel`] carries packets: each arrives whole, with the descriptors that were sent with it (`SCM_RIGHTS`). Both
//! sides wait with a deadline. Not here: what the packets say.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

/// Bytes of a packet at most.
const BYTES_MAX: usize = 64 * 1024;
/// Descriptors of a packet at most; the kernel takes 253.
const DESCRIPTORS_MAX: usize = 64;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What came in one packet.
#[derive(Debug)]
pub struct Packet {
    /// The message.
    pub message: Vec<u8>,
    /// The descriptors, in their order. Programs that this process starts do not inherit them.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Bytes of a message at most.
    pub const MESSAGE_BYTES_MAX: usize = BYTES_MAX;
    /// Descriptors of a packet at most.
    pub const DESCRIPTORS_MAX: usize = DESCRIPTORS_MAX;

    /// A channel, and the other end for another process.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, other) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self { socket }, other))
    }

    /// The end that another process made. Fails if it is something else.
    pub fn from_other(socket: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_domain(&socket)? != AddressFamily::UNIX
            || sockopt::socket_type(&socket)? != SocketType::SEQPACKET
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket for packets"));
        }
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self { socket })
    }

    /// Sends a packet. Fails with `TimedOut` if the other side takes none until the deadline.
    pub fn send(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> io::Result<()> {
        if message.is_empty() || message.len() > BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no packet can have this size",
            ));
        }
        loop {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet; `None` if the other side has closed the channel. Fails with `TimedOut` at the deadline.
    pub fn receive(&self, deadline: Instant) -> io::Result<Option<Packet>> {
        let mut message = vec![0; BYTES_MAX];
        loop {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let parts = &mut [IoSliceMut::new(&mut message)];
            let received = match recvmsg(&self.socket, parts, &mut control, flags) {
                Ok(received) => received,
                Err(rustix::io::Errno::AGAIN) => {
                    self.wait(PollFlags::IN, deadline)?;
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut descriptors = Vec::new();
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    descriptors.extend(rights);
                }
            }
            // No packet is empty.
            if received.bytes == 0 {
                return Ok(None);
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was too large"));
            }
            message.truncate(received.bytes);
            return Ok(Some(Packet { message, descriptors }));
        }
    }

    /// Waits until there is something to receive, or the time is over; whether there is. True at the end of the channel
    /// too.
    pub fn wait_readable(&self, within: Duration) -> io::Result<bool> {
        match self.wait(PollFlags::IN, Instant::now() + within) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&self, events: PollFlags, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left_spec = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::new(&self.socket, events)];
            match poll(&mut polled, Some(&left_spec)) {
                Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn packets_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_other(theirs).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let long = vec![b'x'; Channel::MESSAGE_BYTES_MAX];
        ours.send(b"one", &[], soon()).unwrap();
        let many = vec![writer.as_fd(); Channel::DESCRIPTORS_MAX];
        ours.send(&long, &many, soon()).unwrap();
        drop(writer);
        let first = theirs.receive(soon()).unwrap().unwrap();
        assert_eq!((first.message.as_slice(), first.descriptors.len()), (b"one".as_slice(), 0));
        let second = theirs.receive(soon()).unwrap().unwrap();
        assert_eq!(second.message, long);
        assert_eq!(second.descriptors.len(), Channel::DESCRIPTORS_MAX);
        for descriptor in second.descriptors {
            let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            File::from(descriptor).write_all(b"y").unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), Channel::DESCRIPTORS_MAX);
        drop(ours);
        assert!(theirs.receive(soon()).unwrap().is_none());
    }

    #[test]
    fn waits_have_an_end() {
        let (ours, theirs) = Channel::pair().unwrap();
        let within = Duration::from_millis(20);
        assert!(!ours.wait_readable(within).unwrap());
        let error = ours.receive(Instant::now() + within).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The other side takes nothing.
        let full = loop {
            let sent = ours.send(&[0; 60_000], &[], Instant::now() + within);
            if let Err(error) = sent {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        assert!(ours.send(b"x", &[], soon()).is_err());
        assert!(ours.send(b"", &[], soon()).is_err());
    }

    #[test]
    fn other_sockets_are_no_channel() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Channel::from_other(stream.into()).is_err());
        assert!(Channel::from_other(File::open("/dev/null").unwrap().into()).is_err());
    }
}
