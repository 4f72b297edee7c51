//! TLS records after a handshake, from a client that may break every rule, sealed with the right keys or not at all.
//!
//! The input is a script. Its first byte selects the version; then follow steps: a content type, flags (below), a
//! length, and the content. Properly sent data must arrive in order, up to the first invalid record; that one causes
//! at most one alert, and everything after it must fail.

use std::sync::{Arc, LazyLock};

use config::{
    CertificateSource, ClientCertificates, Place, ServerTls, TlsVersion, UpstreamProtocol,
    UpstreamTls,
};
use rcgen::KeyPair;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tls::{Chain, Challenges, Client, ClientHello, ReadResult, Server, Session, Slot, Tickets};

/// Not sealed: the plain bytes.
const RAW: u8 = 1;
/// Valid application data.
const PROPER: u8 = 2;
/// The content is 64 times as long.
const LONG: u8 = 4;
/// The outer type of the record is the given one, not the inner type.
const OUTER: u8 = 8;
/// The type follows the content, as required.
const TYPED: u8 = 16;
/// The bytes arrive in small pieces.
const SMALL_PIECES: u8 = 32;

const STEPS_MAX: usize = 64;
const DATA: u8 = 23;
const FULL: usize = 1 << 14;

static SERVERS: LazyLock<[Arc<Server>; 2]> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = Chain::new(vec![certificate.der().clone()], &key).expect("a chain");
    let slot = Arc::new(Slot::new("a.test"));
    slot.set(vec![Arc::new(chain)]);
    [TlsVersion::Tls12, TlsVersion::Tls13].map(|version| {
        let settings = ServerTls {
            place: Place::default(),
            certificates: CertificateSource::Internal { names: Vec::new() },
            version_min: version,
            version_max: version,
            client: ClientCertificates::default(),
            early_data: false,
            tickets: true,
            hsts: None,
        };
        Server::new(&settings, true, Arc::clone(&slot), Tickets::new(), Challenges::new())
            .expect("a context")
    })
});

static CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| {
    let careless = UpstreamTls { verify: false, ..UpstreamTls::default() };
    Client::new(&careless, Place::default(), UpstreamProtocol::Auto).expect("a context")
});

/// Feeds bytes in pieces, and reads the resulting data.
fn feed(to: &mut Session, mut bytes: &[u8], piece: usize, plain: &mut Vec<u8>) -> bool {
    let mut part = [0; 4096];
    while !bytes.is_empty() {
        let room = to.room();
        let count = room.len().min(bytes.len()).min(piece);
        assert!(count > 0, "a session without room");
        let (now, later) = bytes.split_at(count);
        room[..count].copy_from_slice(now);
        bytes = later;
        let is_fine = to.received(count).is_ok();
        while let ReadResult::Bytes(count @ 1..) = to.read(&mut part) {
            plain.extend_from_slice(&part[..count]);
        }
        if !is_fine {
            return false;
        }
    }
    true
}

fn give(from: &mut Session) -> Vec<u8> {
    let bytes = from.outgoing().to_vec();
    from.sent(bytes.len());
    bytes
}

fn pair(version: u8) -> (Session, Session) {
    let mut client = CLIENT.full_session("a.test").expect("a session");
    let flight = give(&mut client);
    let hello = ClientHello::parse(&flight).expect("a hello").expect("all of it");
    let context = &SERVERS[usize::from(version & 1)];
    let mut server = context.session(&hello, &flight).expect("a session");
    while client.is_handshaking() || server.is_handshaking() {
        assert!(feed(&mut client, &give(&mut server), usize::MAX, &mut Vec::new()));
        assert!(feed(&mut server, &give(&mut client), usize::MAX, &mut Vec::new()));
    }
    (server, client)
}

/// Runs a script.
pub fn check(script: &[u8]) {
    let Some((&version, mut rest)) = script.split_first() else { return };
    let is_tls13 = version & 1 == 1;
    let (mut server, mut client) = pair(version);
    let _ = give(&mut server); // tickets
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    let mut is_sure = true;
    for _ in 0..STEPS_MAX {
        let [kind, flags, length, after @ ..] = rest else { break };
        let has = |flag: u8| flags & flag != 0;
        let length = usize::from(*length) * if has(LONG) { 65 } else { 1 };
        let given = after.get(..length.min(after.len())).unwrap_or_default();
        rest = &after[given.len()..];
        let mut content = given.to_vec();
        content.resize(length.min(FULL + 300), 0);
        let sent = if has(RAW) {
            is_sure = false;
            content
        } else if has(PROPER) {
            let taken = client.write(&content).unwrap_or_default();
            expected.extend_from_slice(&content[..taken]);
            give(&mut client)
        } else {
            if has(TYPED) && is_tls13 {
                content.push(*kind);
            }
            let outer = if has(OUTER) || !is_tls13 { *kind } else { DATA };
            client.send_record([outer, 3, 3], &content);
            expected.extend_from_slice(data_of(outer, &content, is_tls13).unwrap_or_default());
            give(&mut client)
        };
        let piece = if has(SMALL_PIECES) { 7 } else { usize::MAX };
        if !feed(&mut server, &sent, piece, &mut got) {
            let alert = give(&mut server);
            assert!(alert.len() <= 64, "one alert at most: {} bytes", alert.len());
            assert!(server.write(b"x").is_err() && server.received(0).is_err());
            assert!(expected.starts_with(&got), "what came before the error");
            return;
        }
        assert!(expected.starts_with(&got));
        if matches!(server.read(&mut [0]), ReadResult::Closed) {
            return;
        }
        assert!(!is_sure || got.len() == expected.len(), "all that was sent");
    }
}

/// The application data in a record.
fn data_of(outer: u8, content: &[u8], is_tls13: bool) -> Option<&[u8]> {
    if !is_tls13 {
        return (outer == DATA && content.len() <= FULL).then_some(content);
    }
    let last = content.iter().rposition(|byte| *byte != 0)?;
    let is_data = outer == DATA && content[last] == DATA && content.len() <= FULL + 1;
    is_data.then(|| &content[..last])
}
