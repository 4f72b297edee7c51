//! Streams, buffers and the relay, over TCP, unix sockets and memory.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use net::{
    BUFFER_BYTES_LARGE, BUFFER_BYTES_SMALL, Buffers, Listener, ListenerSet, Peer, Side, Size,
    Stream, relay,
};

fn run<F: Future>(story: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story hangs")
    })
}

fn listener() -> Listener {
    let bound = ListenerSet::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    Listener::register(bound.split().remove(0).remove(0)).unwrap()
}

/// Both ends of a new TCP connection: the one that dialled, and the one that accepted.
async fn tcp() -> (Stream, Stream) {
    let listener = listener();
    let dialled = Stream::connect(listener.local_address()).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    assert_eq!(accepted.peer(), Peer::Tcp(peer));
    assert_eq!(dialled.local_address(), Some(peer));
    dialled.keep_alive(Duration::from_millis(1)).unwrap();
    accepted.keep_alive(Duration::from_secs(60)).unwrap();
    (dialled, accepted)
}

/// Both ends of each kind of stream.
async fn every_kind() -> Vec<(&'static str, Stream, Stream)> {
    let (dialled, accepted) = tcp().await;
    let (left, right) = Stream::pair();
    vec![("tcp", dialled, accepted), ("memory", left, right)]
}

/// Bytes that do not repeat soon, so that a piece lost or doubled shows.
fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 17)) as u8
}

async fn send_pattern(stream: &Stream, bytes: u64) {
    let (mut sent, mut piece) = (0, Vec::new());
    while sent < bytes {
        let count = (bytes - sent).min(100_000);
        piece.clear();
        piece.extend((sent..sent + count).map(pattern));
        stream.write_all(&piece).await.unwrap();
        sent += count;
    }
}

/// Reads to the end, with a pause of the reader after each `burst` bytes: checks the pattern, answers how many.
async fn receive_pattern(stream: &Stream, burst: u64) -> u64 {
    let mut buf = vec![0; 50_000];
    let (mut received, mut since_pause) = (0, 0);
    loop {
        let count = stream.read(&mut buf).await.unwrap();
        if count == 0 {
            return received;
        }
        let right = buf[..count].iter().zip(received..).all(|(byte, at)| *byte == pattern(at));
        assert!(right, "bytes differ after {received}");
        received += count as u64;
        since_pause += count as u64;
        if since_pause >= burst {
            since_pause = 0;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[test]
fn stays_small() {
    assert!(size_of::<Stream>() <= 64, "a stream takes {} bytes", size_of::<Stream>());
}

#[test]
fn speaks_both_ways_and_half_closes() {
    run(async {
        for (kind, left, right) in every_kind().await {
            left.write_all_vectored(b"head ", b"body").await.unwrap();
            left.write_all_vectored(b"", b"").await.unwrap();
            left.shutdown_write().unwrap();
            let mut buf = [0; 64];
            let mut text = Vec::new();
            loop {
                match right.read(&mut buf).await.unwrap() {
                    0 => break,
                    count => text.extend_from_slice(&buf[..count]),
                }
            }
            assert_eq!(text, b"head body", "{kind}");
            right.write_all(b"answer").await.unwrap();
            assert_eq!(left.read(&mut buf).await.unwrap(), 6, "{kind}");
            drop(right);
            assert_eq!(left.read(&mut buf).await.unwrap(), 0, "{kind}");
        }
    });
}

#[test]
fn big_vectored_writes_arrive_whole() {
    run(async {
        for (kind, left, right) in every_kind().await {
            let whole: Vec<u8> = (0..3_000_000).map(pattern).collect();
            let (head, body) = whole.split_at(1_234_567);
            let send = async {
                left.write_all_vectored(head, body).await.unwrap();
                left.shutdown_write().unwrap();
            };
            let ((), received) = tokio::join!(send, receive_pattern(&right, u64::MAX));
            assert_eq!(received, 3_000_000, "{kind}");
        }
    });
}

#[test]
fn an_abort_is_a_reset() {
    run(async {
        for (kind, left, right) in every_kind().await {
            left.write_all(b"part").await.unwrap();
            let mut buf = [0; 4];
            assert_eq!(right.read(&mut buf).await.unwrap(), 4);
            left.abort();
            let error = right.read(&mut buf).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{kind}");
        }
    });
}

#[test]
fn quiet_until_something_comes() {
    run(async {
        for (kind, left, right) in every_kind().await {
            assert!(left.is_quiet() && right.is_quiet(), "{kind}");
            left.write_all(b"x").await.unwrap();
            poll_fn(|cx| right.poll_readable(cx)).await.unwrap();
            assert!(!right.is_quiet(), "{kind}: a byte");
            // Filling the buffer exactly leaves the readiness as it was: only a look tells.
            assert_eq!(right.read(&mut [0]).await.unwrap(), 1);
            assert!(right.is_quiet(), "{kind}: read");
            let mut readable = false;
            poll_fn(|cx| {
                readable = right.poll_readable(cx).is_ready();
                Poll::Ready(())
            })
            .await;
            assert!(!readable, "{kind}: the look has cleared it");
            drop(left);
            poll_fn(|cx| right.poll_readable(cx)).await.unwrap();
            assert!(!right.is_quiet(), "{kind}: closed");
        }
    });
}

#[test]
fn unix_sockets() {
    run(async {
        let directory = std::env::temp_dir().join(format!("bothways-net-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let stream = Stream::connect_unix(&path).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((stream.peer(), stream.local_address()), (Peer::Unix, None));
        tokio::io::AsyncWriteExt::write_all(&mut peer, b"hello").await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 5);
        assert!(stream.supports_splice() && stream.is_quiet());
    });
}

#[test]
fn buffers_are_kept_and_used_again() {
    run(async {
        let buffers = Buffers::new();
        let (left, right) = tcp().await;
        let mut buffer = buffers.buffer(Size::Small);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(buffer.poll_fill(&mut cx, &right).is_pending());
        assert!(!buffer.holds_memory(), "an idle connection holds none");
        assert_eq!((buffer.capacity(), buffer.spare()), (BUFFER_BYTES_SMALL, BUFFER_BYTES_SMALL));
        left.write_all(b"hello world").await.unwrap();
        assert_eq!(buffer.fill(&right).await.unwrap(), 11);
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.compact();
        assert_eq!((buffer.filled(), buffer.spare()), (&b"world"[..], BUFFER_BYTES_SMALL - 5));
        buffer.grow(BUFFER_BYTES_SMALL + 1);
        assert_eq!((buffer.filled(), buffer.capacity()), (&b"world"[..], BUFFER_BYTES_LARGE));
        let address = buffer.filled().as_ptr();
        let taken = buffer.take();
        assert!(buffer.is_empty() && !buffer.holds_memory());
        assert_eq!((taken.filled(), taken.filled().as_ptr()), (&b"world"[..], address));
        drop(taken);
        let mut again = buffers.buffer(Size::Large);
        assert!(again.append(b"x"));
        assert_eq!(again.filled().as_ptr(), address, "the memory is used again");
        again.consume(1);
        again.release();
        assert!(!again.holds_memory());
    });
}

#[test]
fn a_full_buffer_says_so_and_compacts() {
    run(async {
        let (left, right) = Stream::pair();
        let whole: Vec<u8> = (0..BUFFER_BYTES_SMALL as u64 + 1000).map(pattern).collect();
        left.write_all(&whole).await.unwrap();
        let mut buffer = Buffers::new().buffer(Size::Small);
        assert_eq!(buffer.fill(&right).await.unwrap(), BUFFER_BYTES_SMALL);
        assert_eq!(buffer.spare(), 0);
        assert_eq!(buffer.fill(&right).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!buffer.append(b"x"));
        buffer.consume(600);
        assert_eq!(buffer.fill(&right).await.unwrap(), 600);
        assert_eq!(buffer.filled(), &whole[600..BUFFER_BYTES_SMALL + 600]);
        buffer.consume(BUFFER_BYTES_SMALL - 1);
        assert!(buffer.append(b"y"));
        assert_eq!(buffer.filled(), &[whole[BUFFER_BYTES_SMALL + 599], b'y']);
    });
}

#[test]
fn relays_much_to_a_slow_reader_and_ends_at_the_end() {
    run(async {
        const BYTES: u64 = 6_000_000;
        for memory in [false, true] {
            let (client, from) = tcp().await;
            let (to, server) = if memory { Stream::pair() } else { tcp().await };
            let told = Cell::new(0);
            let moving = async {
                let moved =
                    relay(&from, &to, None, |count| told.set(told.get() + count)).await.unwrap();
                to.shutdown_write().unwrap();
                moved
            };
            let sending = async {
                send_pattern(&client, BYTES).await;
                client.shutdown_write().unwrap();
            };
            let (moved, (), received) =
                tokio::join!(moving, sending, receive_pattern(&server, 1_000_000));
            assert_eq!((moved, told.get(), received), (BYTES, BYTES, BYTES));
            // The other direction is still open.
            server.write_all(b"bye").await.unwrap();
            drop(server);
            assert_eq!(relay(&to, &from, None, |_| {}).await.unwrap(), 3);
            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 3);
        }
    });
}

#[test]
fn relays_no_more_than_the_limit() {
    run(async {
        for memory in [false, true] {
            let (client, from) = if memory { Stream::pair() } else { tcp().await };
            let (to, server) = tcp().await;
            client.write_all(b"0123456789rest").await.unwrap();
            assert_eq!(relay(&from, &to, Some(0), |_| {}).await.unwrap(), 0);
            assert_eq!(relay(&from, &to, Some(10), |_| {}).await.unwrap(), 10);
            let mut buf = [0; 64];
            assert_eq!(server.read(&mut buf).await.unwrap(), 10);
            assert_eq!(from.read(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf[..4], b"rest");
            // An end before the limit shows by the count.
            client.write_all(b"abc").await.unwrap();
            drop(client);
            assert_eq!(relay(&from, &to, Some(10), |_| {}).await.unwrap(), 3);
        }
    });
}

#[test]
fn relay_tells_the_sides_of_errors_apart() {
    run(async {
        for memory in [false, true] {
            let (client, from) = if memory { Stream::pair() } else { tcp().await };
            let (to, _server) = tcp().await;
            client.write_all(b"part").await.unwrap();
            let moved = Cell::new(0);
            let (outcome, ()) = tokio::join!(
                relay(&from, &to, None, |count| moved.set(moved.get() + count)),
                async {
                    while moved.get() < 4 {
                        tokio::task::yield_now().await;
                    }
                    client.abort();
                }
            );
            let error = outcome.unwrap_err();
            assert_eq!((error.side, error.moved), (Side::Reading, 4));
            assert_eq!(error.source.kind(), io::ErrorKind::ConnectionReset);
        }
        for memory in [false, true] {
            let (client, from) = tcp().await;
            let (to, server) = if memory { Stream::pair() } else { tcp().await };
            server.abort();
            let sending = async { while client.write(&[0; 100_000]).await.is_ok() {} };
            let relaying = async {
                let outcome = relay(&from, &to, None, |_| {}).await;
                from.abort();
                outcome
            };
            let ((), outcome) = tokio::join!(sending, relaying);
            assert_eq!(outcome.unwrap_err().side, Side::Writing);
        }
    });
}

/// A relay that is dropped while its pipe holds bytes must not leave them to the next relay.
#[test]
fn no_bytes_wander_between_relays() {
    run(async {
        let (client, from) = tcp().await;
        let (to, server) = tcp().await;
        {
            let mut moving = std::pin::pin!(relay(&from, &to, None, |_| {}));
            let mut sending = std::pin::pin!(async {
                loop {
                    client.write_all(&[b'x'; 100_000]).await.unwrap();
                }
            });
            // Nobody reads: soon everything on the way is full, the pipe too.
            for _ in 0..200 {
                poll_fn(|cx| {
                    assert!(moving.as_mut().poll(cx).is_pending());
                    assert!(sending.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                tokio::task::yield_now().await;
            }
        }
        drop((client, from, to, server));
        for _ in 0..4 {
            let (client, from) = tcp().await;
            let (to, server) = tcp().await;
            client.write_all(b"clean").await.unwrap();
            drop(client);
            assert_eq!(relay(&from, &to, None, |_| {}).await.unwrap(), 5);
            let mut buf = [0; 64];
            let count = server.read(&mut buf).await.unwrap();
            assert_eq!(&buf[..count], b"clean");
        }
    });
}

#[test]
fn a_tunnel_of_two_relays() {
    run(async {
        let (client, from) = tcp().await;
        let (to, server) = tcp().await;
        let forth = async {
            relay(&from, &to, None, |_| {}).await.unwrap();
            to.shutdown_write().unwrap();
        };
        let back = async {
            relay(&to, &from, None, |_| {}).await.unwrap();
            from.shutdown_write().unwrap();
        };
        let asking = async {
            let mut buf = [0; 16];
            for _ in 0..100 {
                client.write_all(b"ping").await.unwrap();
                assert_eq!(client.read(&mut buf).await.unwrap(), 4);
            }
            client.shutdown_write().unwrap();
            assert_eq!(
                client.read(&mut buf).await.unwrap(),
                4,
                "half-closed, the answer still comes"
            );
            assert_eq!(client.read(&mut buf).await.unwrap(), 0);
        };
        let answering = async {
            let mut buf = [0; 16];
            loop {
                let count = server.read(&mut buf).await.unwrap();
                if count == 0 {
                    break;
                }
                server.write_all(&buf[..count]).await.unwrap();
            }
            server.write_all(b"last").await.unwrap();
            server.shutdown_write().unwrap();
        };
        tokio::join!(forth, back, asking, answering);
    });
}

#[test]
fn dials_real_sockets() {
    run(async {
        let listener = listener();
        let good = listener.local_address();
        // Bound and not listening: connecting is refused.
        let idle = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let closed = SocketAddr::from(([127, 0, 0, 2], idle.port()));
        let limit = Duration::from_secs(5);
        let (stream, address) = net::dial(&[closed, good], |_| Ok(()), limit).await.unwrap();
        assert_eq!((address, stream.peer()), (good, Peer::Tcp(good)));
        let error = net::dial(&[closed], |_| Ok(()), limit).await.unwrap_err();
        assert!(matches!(error, net::DialError::Failed { address, .. } if address == closed));
    });
}

#[test]
fn what_was_not_read_is_pending() {
    run(async {
        for (kind, writer, reader) in every_kind().await {
            assert_eq!(writer.delivery().unwrap().pending, 0, "{kind}");
            // More than a peer that reads nothing acknowledges.
            let mut written = 0;
            poll_fn(|cx| {
                while let Poll::Ready(count) = writer.poll_write(cx, &[0; 65536]) {
                    written += count.unwrap() as u64;
                }
                Poll::Ready(())
            })
            .await;
            let before = writer.delivery().unwrap();
            assert!(before.pending > 0 && before.pending <= written, "{kind}: {before:?}");
            let mut left = written;
            while left > 0 {
                left -= reader.read(&mut vec![0; 1 << 20]).await.unwrap() as u64;
            }
            let delivered = async {
                while writer.delivery().unwrap().pending > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            delivered.await;
            let after = writer.delivery().unwrap().acknowledged;
            assert!(after.abs_diff(written) <= 1, "{kind}: {after} of {written}");
            // Of a connection that is broken nothing can arrive any more.
            while poll_fn(|cx| Poll::Ready(writer.poll_write(cx, &[0; 65536]).is_ready())).await {}
            reader.abort();
            let ended = async { while writer.write(&[0]).await.is_ok() {} };
            ended.await;
            if kind == "tcp" {
                assert_eq!(writer.delivery().unwrap().pending, 0);
            }
        }
    });
}
