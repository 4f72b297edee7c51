//! TLS on both ends of a stream in memory, with everything that may happen in between.

use net::{Stream, Wheel};
use testkit::secure::Authority;
use tls::{ClientHello, Contexts, Keeper};

use super::{HandshakeError, handshake, with_tls};

fn run<F: Future>(story: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(testkit::peer::DEADLINE, story).await.expect("the story hangs")
    })
}

/// A site `a.test`, and upstreams that believe its authority and another one.
fn contexts(versions: &str) -> Contexts {
    let (authority, other) = (Authority::new(), Authority::new());
    let text = format!(
        "site \"a.test\" {{ tls {} {{ versions {versions}; }}; to \"right\"; route \"/x\" {{ to \"wrong\"; }}; }}
         upstream \"right\" {{ to \"https://a.test\"; tls {{ ca \"{}\"; }}; }}
         upstream \"wrong\" {{ to \"https://a.test\"; tls {{ ca \"{}\"; }}; }}",
        authority.issue("a", &["a.test"]).kdl(),
        authority.file().display(),
        other.file().display(),
    );
    let config = match config::parse("story.kdl", &text) {
        Ok(loaded) => std::sync::Arc::unwrap_or_clone(loaded.config),
        Err(failure) => panic!("{failure}"),
    };
    let keeper = Keeper::start(None);
    let contexts = keeper.prepare(&config).expect("contexts");
    keeper.install(&contexts);
    contexts
}

async fn accept(stream: Stream, contexts: &Contexts) -> Result<Stream, HandshakeError> {
    let alarm = Wheel::start().alarm();
    let mut received = Vec::new();
    let hello = loop {
        if let Some(hello) = ClientHello::parse(&received).expect("a hello") {
            break hello;
        }
        let mut piece = [0; 100];
        let count = stream.read(&mut piece).await.expect("more");
        received.extend_from_slice(&piece[..count]);
    };
    let server = contexts.sites[0].as_ref().expect("a context");
    let mut session = server.session(&hello, &received).map_err(HandshakeError::Tls)?;
    handshake(&stream, &mut session, &alarm).await?;
    Ok(with_tls(stream, session))
}

async fn connect(
    stream: Stream,
    contexts: &Contexts,
    upstream: usize,
) -> Result<Stream, HandshakeError> {
    let alarm = Wheel::start().alarm();
    let client = contexts.upstreams[upstream].as_ref().expect("a context");
    let mut session = client.session("a.test").map_err(HandshakeError::Tls)?;
    handshake(&stream, &mut session, &alarm).await?;
    Ok(with_tls(stream, session))
}

fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Writes in pieces of all sizes.
async fn send(stream: &Stream, bytes: usize) {
    let mut sent = 0;
    for step in 1.. {
        let piece = (step * 7919 % 150_000 + 1).min(bytes - sent);
        let piece: Vec<u8> = (sent..sent + piece).map(pattern).collect();
        let middle = piece.len() / 3;
        stream.write_all_vectored(&piece[..middle], &piece[middle..]).await.expect("a write");
        sent += piece.len();
        if sent == bytes {
            return stream.shutdown_write().expect("an end");
        }
    }
}

async fn receive(stream: &Stream, bytes: usize) {
    let mut received = 0;
    for step in 1.. {
        let mut piece = vec![0; step * 104_729 % 70_000 + 1];
        let count = stream.read(&mut piece).await.expect("a read");
        let expected = (received..received + count).map(pattern);
        assert!(piece[..count].iter().copied().eq(expected), "after {received} bytes");
        received += count;
        if count == 0 {
            return assert_eq!(received, bytes);
        }
    }
}

#[test]
fn both_directions_at_once() {
    const BYTES: usize = 3_000_000; // the pipe in between holds 64 KiB
    for versions in ["\"1.2\"", "\"1.3\""] {
        let contexts = contexts(versions);
        run(async {
            let (near, far) = Stream::pair();
            let ends = tokio::join!(connect(near, &contexts, 0), accept(far, &contexts));
            let (near, far) = (ends.0.expect("a client"), ends.1.expect("a server"));
            assert!(near.is_quiet() && far.is_quiet(), "tickets are no answer");
            tokio::join!(
                send(&near, BYTES),
                receive(&near, BYTES),
                send(&far, BYTES),
                receive(&far, BYTES)
            );
        });
    }
}

#[test]
fn both_sides_say_what_is_wrong() {
    let contexts = contexts("\"1.3\"");
    run(async {
        let (near, far) = Stream::pair();
        let ends = tokio::join!(connect(near, &contexts, 1), accept(far, &contexts));
        let wrong = ends.0.expect_err("a certificate that is not believed").to_string();
        assert!(wrong.contains("issuer"), "{wrong}");
        let told = ends.1.expect_err("an alert").to_string();
        assert!(told.contains("alert") || told.contains("unknown"), "{told}");
    });
}

#[test]
fn the_handshake_has_its_time() {
    let contexts = contexts("\"1.3\"");
    run(async {
        let (near, far) = Stream::pair();
        let client = contexts.upstreams[0].as_ref().expect("a context");
        let mut session = client.session("a.test").expect("a session");
        let alarm = Wheel::start().alarm();
        alarm.set(std::time::Duration::from_millis(1));
        let ended = handshake(&near, &mut session, &alarm).await;
        assert!(matches!(ended, Err(HandshakeError::TimedOut)));
        drop(far);
        let ended = handshake(&near, &mut session, &alarm).await;
        assert!(!matches!(ended, Ok(()) | Err(HandshakeError::TimedOut)), "{ended:?}");
    });
}
