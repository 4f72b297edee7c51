//! Streams with a layer on top, by a toy of one: messages of a length in four bytes and so many bytes, all XORed.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use net::{Layer, LayerRead, Stream, relay};

const MASK: u8 = 0x5a;
/// The length of the mark that says there will be no more.
const CLOSE: u32 = u32::MAX;
/// The length of a message without plaintext, which is answered by [`ANSWER`].
const QUESTION: u32 = u32::MAX - 1;
const ANSWER: u32 = u32::MAX - 2;
/// What a message holds at most.
const MESSAGE_BYTES_MAX: usize = 1000;
const ROOM: usize = 700;

/// What a test observes of the toy.
#[derive(Default)]
struct ToyState {
    answers: AtomicU32,
    /// Whether memory for what is received is held.
    holds_room: AtomicBool,
}

#[derive(Default)]
struct Toy {
    room: Vec<u8>,
    incoming: Vec<u8>,
    plain: Vec<u8>,
    closed: bool,
    /// Nothing can be written before something was received.
    listens_first: bool,
    outgoing: Vec<u8>,
    seen: Arc<ToyState>,
}

impl Toy {
    fn say(&mut self, head: u32, bytes: &[u8]) {
        let message = head.to_be_bytes().into_iter().chain(bytes.iter().copied());
        self.outgoing.extend(message.map(|byte| byte ^ MASK));
    }
}

impl Layer for Toy {
    fn room(&mut self) -> &mut [u8] {
        self.seen.holds_room.store(true, Ordering::Relaxed);
        self.room.resize(ROOM, 0);
        &mut self.room
    }

    fn received(&mut self, count: usize) -> io::Result<()> {
        self.incoming.extend(self.room[..count].iter().map(|byte| byte ^ MASK));
        self.room = Vec::new();
        self.listens_first &= count == 0;
        self.seen.holds_room.store(false, Ordering::Relaxed);
        while let Some((head, rest)) = self.incoming.split_first_chunk() {
            let head = u32::from_be_bytes(*head);
            let mut used = 4;
            match head {
                CLOSE => self.closed = true,
                QUESTION => self.say(ANSWER, &[]),
                ANSWER => drop(self.seen.answers.fetch_add(1, Ordering::Relaxed)),
                length if length as usize > MESSAGE_BYTES_MAX => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                length => match rest.get(..length as usize) {
                    Some(plain) => {
                        self.plain.extend_from_slice(plain);
                        used += plain.len();
                    }
                    None => break,
                },
            }
            self.incoming.drain(..used);
        }
        Ok(())
    }

    fn read(&mut self, out: &mut [u8]) -> LayerRead {
        if self.plain.is_empty() {
            return if self.closed { LayerRead::Closed } else { LayerRead::More };
        }
        let count = out.len().min(self.plain.len());
        out[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        LayerRead::Bytes(count)
    }

    fn has_plaintext(&self) -> bool {
        self.closed || !self.plain.is_empty()
    }

    fn holds_part(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        if self.listens_first {
            return Ok(0);
        }
        let count = plain.len().min(MESSAGE_BYTES_MAX);
        self.say(count as u32, &plain[..count]);
        Ok(count)
    }

    fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count);
    }

    fn close(&mut self) {
        self.say(CLOSE, &[]);
    }
}

fn run<F: Future>(story: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(60), story).await.expect("it hangs")
    })
}

/// Two ends with the layer.
fn layered() -> (Stream, Stream) {
    let (left, right) = Stream::pair();
    (left.layered(Box::new(Toy::default())), right.layered(Box::new(Toy::default())))
}

/// One end with the layer, one without.
fn half_layered() -> (Stream, Stream, Arc<ToyState>) {
    let (left, right) = Stream::pair();
    let toy = Toy::default();
    let seen = Arc::clone(&toy.seen);
    (left.layered(Box::new(toy)), right, seen)
}

fn message(head: u32, bytes: &[u8]) -> Vec<u8> {
    let mut toy = Toy::default();
    toy.say(head, bytes);
    toy.outgoing
}

/// What one poll gives when nobody is there to be woken.
fn once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

async fn read_to_end(stream: &Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 333]);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

#[test]
fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    run(async {
        let (left, right) = layered();
        let sent: Vec<u8> = (0..300_000_u32).map(|at| (at ^ (at >> 8)) as u8).collect();
        let there = async {
            left.write_all(&sent).await.unwrap();
            left.shutdown_write().unwrap();
            assert!(left.write(b"more").await.is_err());
            read_to_end(&left).await.unwrap()
        };
        let back = async {
            assert!(read_to_end(&right).await.unwrap() == sent);
            right.write_all_vectored(b"thank", b" you").await.unwrap();
            drop(right);
        };
        let (answer, ()) = tokio::join!(there, back);
        assert_eq!(answer, b"thank you");
    });
}

#[test]
fn a_write_is_done_once_its_bytes_have_left() {
    run(async {
        let (near, far, _) = half_layered();
        // The pipe takes 64 KiB: fill it but for less than a message.
        let mut written = 0;
        while let Poll::Ready(count) = once(|cx| near.poll_write(cx, &[7; 1000])) {
            written += count.unwrap();
        }
        // The last message was taken and did not leave whole.
        assert_eq!(written, 64 * 1024 / 1004 * 1000);
        assert!(once(|cx| near.poll_write(cx, &[7; 1000])).is_pending());
        assert!(once(|cx| near.poll_writable(cx)).is_pending());
        let mut sink = [0; 8000];
        let taken = far.read(&mut sink).await.unwrap();
        assert_eq!(near.write(&[7; 1000]).await.unwrap(), 1000);
        drop(near);
        let mut received = sink[..taken].to_vec();
        received.extend(read_to_end(&far).await.unwrap());
        let mut expected = message(1000, &[7; 1000]).repeat(written / 1000 + 1);
        expected.extend(message(CLOSE, &[]));
        assert!(received == expected, "each message once, and whole");
    });
}

#[test]
fn a_writer_reads_where_the_layer_must_hear_something_first() {
    run(async {
        let (near, far) = Stream::pair();
        let mut toy = Toy { listens_first: true, ..Toy::default() };
        toy.say(QUESTION, &[]);
        let near = near.layered(Box::new(toy));
        assert!(once(|cx| near.poll_write(cx, b"hi")).is_pending());
        let mut buf = [0; 64];
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(QUESTION, &[]), "what was to be said before has left");
        let writing = async { near.write(b"hi").await.unwrap() };
        let answering = async { far.write_all(&message(ANSWER, &[])).await.unwrap() };
        let (count, ()) = tokio::join!(writing, answering);
        assert_eq!(count, 2);
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(2, b"hi"));
    });
}

#[test]
fn pieces_become_one_message() {
    run(async {
        let (near, far, _) = half_layered();
        let pieces = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        let count = poll_fn(|cx| near.poll_write_vectored(cx, &pieces)).await.unwrap();
        assert_eq!(count, 7);
        let mut buf = [0; 64];
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(7, b"one two"));
        assert_eq!(poll_fn(|cx| near.poll_write_vectored(cx, &[])).await.unwrap(), 0);
        assert_eq!(near.write(b"").await.unwrap(), 0);
    });
}

#[test]
fn messages_of_the_layer_leave_an_idle_connection_fit() {
    run(async {
        let (near, far, seen) = half_layered();
        assert!(near.is_quiet());
        let question = message(QUESTION, &[]);
        far.write_all(&question).await.unwrap();
        assert!(near.is_quiet(), "a question has no plaintext");
        let mut buf = [0; 64];
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(ANSWER, &[]), "and is answered without a reader");
        far.write_all(&question[..2]).await.unwrap();
        assert!(!near.is_quiet(), "a part may turn out to be anything");
        far.write_all(&question[2..]).await.unwrap();
        assert!(near.is_quiet());
        far.write_all(&message(2, b"hi")).await.unwrap();
        assert!(!near.is_quiet());
        assert!(once(|cx| near.poll_readable(cx)).is_ready());
        assert_eq!(near.read(&mut buf).await.unwrap(), 2);
        far.write_all(&message(CLOSE, &[])).await.unwrap();
        assert!(!near.is_quiet());
        assert_eq!(near.read(&mut buf).await.unwrap(), 0);
        assert!(!seen.holds_room.load(Ordering::Relaxed));
    });
}

#[test]
fn a_waiting_reader_holds_no_memory_and_sends_the_layers_answers() {
    run(async {
        let (near, far, seen) = half_layered();
        let mut buf = [0; 64];
        assert!(once(|cx| near.poll_read(cx, &mut buf)).is_pending());
        assert!(!seen.holds_room.load(Ordering::Relaxed));
        far.write_all(&message(QUESTION, &[])).await.unwrap();
        assert!(once(|cx| near.poll_read(cx, &mut buf)).is_pending());
        assert!(!seen.holds_room.load(Ordering::Relaxed));
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(ANSWER, &[]));
    });
}

#[test]
fn what_is_cut_off_is_an_error() {
    run(async {
        let mut buf = [0; 64];
        for part in [&b""[..], &message(5, b"hello")[..6]] {
            let (near, far, _) = half_layered();
            far.write_all(&message(2, b"hi")).await.unwrap();
            far.write_all(part).await.unwrap();
            drop(far);
            assert_eq!(near.read(&mut buf).await.unwrap(), 2, "what came whole counts");
            for _ in 0..2 {
                let error = near.read(&mut buf).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
            assert!(!near.is_quiet());
        }
        let (near, far, _) = half_layered();
        far.write_all(&message(70_000, b"")).await.unwrap();
        assert_eq!(near.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    });
}

#[test]
fn the_mark_is_sent_once_unless_the_connection_is_broken_off() {
    run(async {
        let (near, far, _) = half_layered();
        near.shutdown_write().unwrap();
        near.shutdown_write().unwrap();
        drop(near);
        assert_eq!(read_to_end(&far).await.unwrap(), message(CLOSE, &[]));

        let (near, far, _) = half_layered();
        near.write_all(b"x").await.unwrap();
        near.abort();
        let mut buf = [0; 64];
        let count = far.read(&mut buf).await.unwrap();
        assert_eq!(buf[..count], message(1, b"x"));
        assert_eq!(far.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_mark_without_room_is_sent_by_who_reads() {
    run(async {
        let (near, far, _) = half_layered();
        while once(|cx| near.poll_write(cx, &[7; 1000])).is_ready() {}
        near.shutdown_write().unwrap();
        let reading = async { read_to_end(&near).await.unwrap() };
        let emptying = async {
            let all = read_to_end(&far).await.unwrap();
            assert!(all.ends_with(&message(CLOSE, &[])));
            far.write_all(&message(CLOSE, &[])).await.unwrap();
        };
        tokio::join!(reading, emptying);
    });
}

#[test]
fn a_relay_goes_through() {
    run(async {
        let (client, near) = layered();
        let (far, origin) = Stream::pair();
        assert!(!near.supports_splice());
        client.write_all(b"through and through").await.unwrap();
        client.shutdown_write().unwrap();
        assert_eq!(relay(&near, &far, None, |_| {}).await.unwrap(), 19);
        drop(far);
        assert_eq!(read_to_end(&origin).await.unwrap(), b"through and through");
    });
}
