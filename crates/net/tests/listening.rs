//! Listening sockets on several cores, adopted ones, and a process without files.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use net::{Listener, ListenerSet, Stream};

fn run<F: Future>(story: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story hangs")
    })
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn cores_share_one_port() {
    const CONNECTIONS: usize = 200;
    let bound = ListenerSet::bind(address("127.0.0.1:0"), 3).unwrap();
    let to = bound.local_address();
    let (report, accepted) = mpsc::channel();
    let threads: Vec<_> = bound
        .split()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(core, raw)| {
            let report = report.clone();
            std::thread::spawn(move || {
                run(async {
                    let listener = Listener::register(raw).unwrap();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let mut byte = [0];
                        stream.read(&mut byte).await.unwrap();
                        if byte == *b"q" {
                            return;
                        }
                        report.send(core).unwrap();
                    }
                });
            })
        })
        .collect();
    let mut by_core = [0; 3];
    for _ in 0..CONNECTIONS {
        let mut stream = std::net::TcpStream::connect(to).unwrap();
        std::io::Write::write_all(&mut stream, b"x").unwrap();
        by_core[accepted.recv().unwrap()] += 1;
    }
    assert!(by_core.iter().all(|count| *count > 0), "each core gets some: {by_core:?}");
    // Each listener ends with the first farewell that it gets; the kernel then spreads over those left.
    while threads.iter().any(|thread| !thread.is_finished()) {
        if let Ok(mut stream) = std::net::TcpStream::connect(to) {
            let _ = std::io::Write::write_all(&mut stream, b"q");
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The listener of a set for one core.
fn only(bound: ListenerSet) -> Listener {
    Listener::register(bound.split().remove(0).remove(0)).unwrap()
}

/// Two processes that share a port unnoticed would be a riddle for their operator.
#[test]
fn another_program_is_not_joined() {
    let to = address("127.0.0.1:0");
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&to.into()).unwrap();
    other.listen(16).unwrap();
    let taken = other.local_addr().unwrap().as_socket().unwrap();
    let error = ListenerSet::bind(taken, 2).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(other);
    let bound = ListenerSet::bind(taken, 2).unwrap();
    // Our own sockets do not stand in each other's way.
    let everywhere = SocketAddr::new(address("0.0.0.0:0").ip(), taken.port());
    let wider = ListenerSet::bind(everywhere, 2).unwrap();
    drop((bound, wider));
    ListenerSet::bind(everywhere, 1).unwrap();
}

#[test]
fn dual_stack_peers_are_plain() {
    run(async {
        let Ok(bound) = ListenerSet::bind(address("[::]:0"), 1) else { return };
        let port = bound.local_address().port();
        let listener = only(bound);
        for to in [address("127.0.0.1:0"), address("[::1]:0")] {
            let Ok(dialled) = Stream::connect(SocketAddr::new(to.ip(), port)).await else {
                continue;
            };
            let (accepted, peer) = listener.accept().await.unwrap();
            assert_eq!((peer.ip(), accepted.local_address().unwrap().ip()), (to.ip(), to.ip()));
            assert_eq!(Some(peer), dialled.local_address());
        }
    });
}

#[test]
fn adopted_sockets_are_shared() {
    run(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = ListenerSet::adopt(vec![OwnedFd::from(socket)], 2).unwrap();
        let to = bound.local_address();
        let listeners: Vec<_> = bound
            .split()
            .into_iter()
            .flatten()
            .map(|raw| Listener::register(raw).unwrap())
            .collect();
        assert_eq!(listeners.len(), 2);
        for listener in listeners.iter().rev() {
            let dialled = Stream::connect(to).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            dialled.write_all(b"x").await.unwrap();
            assert_eq!(accepted.read(&mut [0]).await.unwrap(), 1);
        }
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(ListenerSet::adopt(vec![OwnedFd::from(other)], 1).is_err());
        assert!(ListenerSet::adopt(Vec::new(), 1).is_err());
    });
}

/// As if another process took over the sockets of this one: connections wait in the queue of each socket, so all must be
/// accepted from, however many cores either has.
#[test]
fn sockets_that_were_passed_are_all_accepted_from() {
    const CLIENTS: usize = 64;
    for (cores_before, cores_after) in [(4, 4), (4, 1), (3, 2), (2, 3), (1, 4)] {
        let before = ListenerSet::bind(address("127.0.0.1:0"), cores_before).unwrap();
        let to = before.local_address();
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| std::net::TcpStream::connect(to).unwrap()).collect();
        let handles = before.handles().unwrap();
        assert_eq!(handles.len(), cores_before);
        let passed = handles.into_iter().map(OwnedFd::from).collect();
        let after = ListenerSet::adopt(passed, cores_after).unwrap();
        drop(before);
        assert_eq!(after.handles().unwrap().len(), cores_before, "each socket once");
        let mut accepted = 0;
        let split = after.split();
        assert_eq!(split.len(), cores_after);
        for of_core in split {
            assert!(!of_core.is_empty());
            run(async {
                for raw in of_core {
                    accepted += Listener::register(raw).unwrap().drain().len();
                }
            });
        }
        assert_eq!(accepted, CLIENTS, "{cores_before} cores, then {cores_after}");
        drop(clients);
    }
}

#[test]
fn draining_answers_who_waited() {
    run(async {
        let bound = ListenerSet::bind(address("127.0.0.1:0"), 1).unwrap();
        let to = bound.local_address();
        let listener = only(bound);
        let mut dialled = Vec::new();
        for _ in 0..3 {
            dialled.push(Stream::connect(to).await.unwrap());
        }
        let waiting = listener.drain();
        assert_eq!(waiting.len(), 3);
        for ((accepted, _), dialled) in waiting.iter().zip(&dialled) {
            dialled.write_all(b"x").await.unwrap();
            assert_eq!(accepted.read(&mut [0]).await.unwrap(), 1);
        }
        assert!(Stream::connect(to).await.is_err());
    });
}

/// Run by [`waits_when_no_file_can_be_opened`] in a process of its own, whose limit it lowers.
#[test]
#[ignore = "lowers the limit of open files of its process"]
fn without_files() {
    run(async {
        let bound = ListenerSet::bind(address("127.0.0.1:0"), 1).unwrap();
        let to = bound.local_address();
        let listener = only(bound);
        let dialled = Stream::connect(to).await.unwrap();
        // Whatever is still free is taken, until not one file can be opened.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let current = Some(64);
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit { current, maximum: limit.maximum },
        )
        .unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let cpu_before = cpu_time();
        let accepting = async { listener.accept().await.unwrap() };
        let freeing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            taken.clear();
        };
        let ((accepted, _), ()) = tokio::join!(accepting, freeing);
        assert!(cpu_time() - cpu_before < Duration::from_millis(100), "it must not spin");
        dialled.write_all(b"x").await.unwrap();
        assert_eq!(accepted.read(&mut [0]).await.unwrap(), 1);
    });
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn waits_when_no_file_can_be_opened() {
    let program = std::env::current_exe().unwrap();
    let output =
        Command::new(program).args(["--exact", "without_files", "--ignored"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
