//! Two ends and the bytes between them.

use rustls::{ClientConnection, ConnectionCommon, ServerConnection, SideData};

use crate::{Client, ClientHello, ReadResult, Server, Session, TlsError};
use std::sync::Arc;

/// One end of a connection.
pub(super) trait End {
    /// Takes bytes from the other end.
    fn take(&mut self, bytes: &[u8]) -> Result<(), TlsError>;
    /// What goes to the other end.
    fn give(&mut self) -> Vec<u8>;
    fn send(&mut self, plain: &[u8]);
    fn plaintext(&mut self) -> Vec<u8>;

    /// Takes bytes and reads whenever there is something, as one must who takes much at once.
    fn take_and_read(&mut self, bytes: &[u8], plain: &mut Vec<u8>) {
        for piece in bytes.chunks(500) {
            self.take(piece).unwrap();
            plain.extend(self.plaintext());
        }
    }
}

impl End for Session {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            assert!(count > 0, "no room");
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.received(count)?;
        }
        Ok(())
    }

    fn give(&mut self) -> Vec<u8> {
        let bytes = self.outgoing().to_vec();
        self.sent(bytes.len());
        bytes
    }

    fn take_and_read(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            assert!(count > 0, "no room");
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.received(count).unwrap();
            plain.extend(self.plaintext());
        }
    }

    fn send(&mut self, plain: &[u8]) {
        assert_eq!(self.write(plain).unwrap(), plain.len());
    }

    fn plaintext(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut part = [0; 1000];
        while let ReadResult::Bytes(count) = self.read(&mut part) {
            all.extend_from_slice(&part[..count]);
        }
        all
    }
}

/// A connection of rustls itself.
pub(super) struct Theirs<C>(pub(super) C);

macro_rules! theirs {
    ($kind:ty) => {
        impl End for Theirs<$kind> {
            fn take(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
                take(&mut self.0, bytes)
            }

            fn give(&mut self) -> Vec<u8> {
                let mut bytes = Vec::new();
                while self.0.wants_write() {
                    self.0.write_tls(&mut bytes).unwrap();
                }
                bytes
            }

            fn send(&mut self, plain: &[u8]) {
                use std::io::Write as _;
                self.0.writer().write_all(plain).unwrap();
            }

            fn plaintext(&mut self) -> Vec<u8> {
                use std::io::Read as _;
                let mut all = Vec::new();
                // Ends with WouldBlock or UnexpectedEof.
                let _ = self.0.reader().read_to_end(&mut all);
                all
            }
        }
    };
}

theirs!(ClientConnection);
theirs!(ServerConnection);

fn take<S: SideData>(
    connection: &mut ConnectionCommon<S>,
    mut bytes: &[u8],
) -> Result<(), TlsError> {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets().map_err(|error| TlsError::from_rustls(&error))?;
    }
    Ok(())
}

/// Moves bytes between two ends until both are silent, in pieces of `size`.
pub(super) fn exchange(
    one: &mut impl End,
    other: &mut impl End,
    size: usize,
) -> Result<(), TlsError> {
    loop {
        let there = one.give();
        let back = other.give();
        if there.is_empty() && back.is_empty() {
            return Ok(());
        }
        for piece in there.chunks(size) {
            other.take(piece)?;
        }
        for piece in back.chunks(size) {
            one.take(piece)?;
        }
    }
}

/// The server's end for a client that begins.
pub(super) fn accept(server: &Arc<Server>, from: &mut impl End) -> Result<Session, TlsError> {
    let first = from.give();
    let hello = ClientHello::parse(&first)?.expect("a whole ClientHello");
    server.session(&hello, &first)
}

/// Both ends, after their handshake.
pub(super) fn connect(
    server: &Arc<Server>,
    client: &Arc<Client>,
    name: &str,
) -> Result<(Session, Session), TlsError> {
    let mut ours = client.session(name)?;
    let mut theirs = accept(server, &mut ours)?;
    let result = exchange(&mut ours, &mut theirs, usize::MAX);
    // An alert of either may still be under way.
    let late = exchange(&mut ours, &mut theirs, usize::MAX);
    result.and(late)?;
    assert!(!ours.is_handshaking() && !theirs.is_handshaking());
    Ok((theirs, ours))
}

/// Data in both directions.
pub(super) fn talk(one: &mut impl End, other: &mut impl End, size: usize) {
    for length in [1, 100, 16 * 1024, 16 * 1024 + 1, 64 * 1024] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        one.send(&data);
        let mut got = Vec::new();
        while got.len() < length {
            let bytes = one.give();
            assert!(!bytes.is_empty(), "nothing more comes after {} of {length}", got.len());
            for piece in bytes.chunks(size) {
                other.take_and_read(piece, &mut got);
            }
        }
        assert!(got == data, "{length} bytes arrive changed");
    }
}
