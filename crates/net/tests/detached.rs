//! Streams that move from one runtime to another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use net::{DetachedStream, Stream};

/// Runs a story on a runtime of its own, as on another core.
fn on_a_core<T: Send>(story: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let deadline = std::time::Duration::from_secs(60);
            tokio::time::timeout(deadline, story()).await.expect("the story hangs")
        })
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("the story"))
}

async fn connected(address: SocketAddr, listener: &TcpListener) -> (Stream, TcpStream) {
    let stream = Stream::connect(address).await.expect("a connection");
    (stream, listener.accept().expect("a peer").0)
}

#[track_caller]
fn detached(stream: Stream) -> DetachedStream {
    stream.detach().expect("a stream without anything under way")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_stream_goes_on_where_it_was_taken_to() {
    let (listener, address) = listener();
    let (moved, mut peer) = on_a_core(async || {
        let (stream, peer) = connected(address, &listener).await;
        stream.write_all(b"one ").await.expect("a write");
        (detached(stream), peer)
    });
    assert!(moved.is_quiet());
    on_a_core(async || {
        let stream = moved.attach().expect("still quiet");
        assert_eq!(stream.peer().address(), Some(address));
        assert!(stream.is_quiet());
        stream.write_all(b"two").await.expect("a write");
        let mut said = [0; 7];
        peer.read_exact(&mut said).expect("both");
        assert_eq!(&said, b"one two");
        peer.write_all(b"three").expect("a write");
        let mut heard = [0; 16];
        assert_eq!(stream.read(&mut heard).await.expect("a read"), 5);
        drop(peer);
        assert_eq!(stream.read(&mut heard).await.expect("the end"), 0);
    });
}

#[test]
fn unix_sockets_move_too() {
    let path = std::env::temp_dir().join(format!("bothways-detached-{}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a listener");
    let moved =
        on_a_core(async || detached(Stream::connect_unix(&path).await.expect("a connection")));
    std::fs::remove_file(&path).expect("the socket's file");
    let (mut peer, _) = listener.accept().expect("a peer");
    on_a_core(async || {
        let stream = moved.attach().expect("still quiet");
        stream.write_all(b"hello").await.expect("a write");
        let mut said = [0; 5];
        peer.read_exact(&mut said).expect("all");
    });
}

#[test]
fn what_has_come_meanwhile_is_never_overlooked() {
    for closes in [false, true] {
        let (listener, address) = listener();
        let (moved, mut peer) = on_a_core(async || {
            let (stream, peer) = connected(address, &listener).await;
            (detached(stream), peer)
        });
        match closes {
            true => peer.shutdown(std::net::Shutdown::Write).expect("an end"),
            false => peer.write_all(b"poison").expect("a write"),
        }
        assert!(!moved.is_quiet());
        on_a_core(async || {
            assert!(moved.attach().is_err());
        });
        peer.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a deadline");
        assert!(matches!(peer.read(&mut [0; 8]), Ok(0) | Err(_)), "it was closed");
    }
}

#[test]
fn a_stream_in_use_stays() {
    let (listener, address) = listener();
    on_a_core(async || {
        let (stream, mut peer) = connected(address, &listener).await;
        peer.write_all(b"x").expect("a write");
        std::future::poll_fn(|cx| stream.poll_readable(cx)).await.expect("readable");
        let stream = stream.detach().expect_err("there is something to read");
        let mut heard = [0; 8];
        assert_eq!(stream.read(&mut heard).await.expect("a read"), 1);
        let (memory, _other) = Stream::pair();
        assert!(memory.detach().is_err());
    });
}
