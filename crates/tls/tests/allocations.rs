//! What sessions cost in memory: nothing per record, little while they are idle.

use std::sync::Arc;
use std::thread;

use config::{
    CertificateSource, ClientCertificates, Place, ServerTls, TlsVersion, UpstreamProtocol,
    UpstreamTls,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use testkit::counting::{self, CountingAllocator, WATCHED_THREAD};
use tls::{Chain, Challenges, Client, ClientHello, ReadResult, Server, Session, Slot, Tickets};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

/// The issue allows 12 KiB for an idle connection altogether.
const IDLE_BYTES_MAX: usize = 8 * 1024;
const IDLE_SESSIONS: usize = 1000;

fn server(version: TlsVersion) -> Arc<Server> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let slot = Arc::new(Slot::new("a.example"));
    slot.set(vec![Arc::new(Chain::new(vec![certificate.der().clone()], &key).unwrap())]);
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
    Server::new(&settings, true, slot, Tickets::new(), Challenges::new()).unwrap()
}

fn client() -> Arc<Client> {
    let settings = UpstreamTls { verify: false, ..UpstreamTls::default() };
    Client::new(&settings, Place::default(), UpstreamProtocol::Auto).unwrap()
}

/// Moves what one has to send to the other, and reads it away; tells how much was read.
fn carry(from: &mut Session, to: &mut Session, out: &mut [u8]) -> usize {
    let mut read = 0;
    while !from.outgoing().is_empty() {
        let room = to.room();
        let count = room.len().min(from.outgoing().len());
        room[..count].copy_from_slice(&from.outgoing()[..count]);
        from.sent(count);
        to.received(count).unwrap();
        while let ReadResult::Bytes(count) = to.read(out) {
            read += count;
        }
    }
    read
}

fn connect(server: &Arc<Server>, client: &Arc<Client>) -> (Session, Session) {
    let mut ours = client.session("a.example").unwrap();
    let hello = ClientHello::parse(ours.outgoing()).unwrap().unwrap();
    let mut theirs = server.session(&hello, ours.outgoing()).unwrap();
    ours.sent(ours.outgoing().len());
    for _ in 0..3 {
        carry(&mut theirs, &mut ours, &mut [0; 100]);
        carry(&mut ours, &mut theirs, &mut [0; 100]);
    }
    assert!(!ours.is_handshaking() && !theirs.is_handshaking());
    (theirs, ours)
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// One thread, so that nothing else allocates meanwhile.
#[test]
fn sessions_allocate_nothing_per_record_and_hold_little_while_idle() {
    let watched = thread::Builder::new().name(WATCHED_THREAD.to_owned());
    let handle = watched.spawn(|| {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            records_allocate_nothing(version);
        }
        // None is dropped before all are measured: its memory would serve the next.
        let _kept = [TlsVersion::Tls12, TlsVersion::Tls13].map(idle_sessions_hold_little);
    });
    handle.unwrap().join().unwrap();
}

fn records_allocate_nothing(version: TlsVersion) {
    let (server, client) = (server(version), client());
    let (mut theirs, mut ours) = connect(&server, &client);
    let (data, mut out) = (vec![7; 64 * 1024], vec![0; 16 * 1024]);
    let mut round = |theirs: &mut Session, ours: &mut Session| {
        for length in [100, 5000, 64 * 1024] {
            assert_eq!(ours.write(&data[..length]).unwrap(), length);
            assert_eq!(carry(ours, theirs, &mut out), length);
            assert_eq!(theirs.write(&data[..length]).unwrap(), length);
            assert_eq!(carry(theirs, ours, &mut out), length);
        }
    };
    (0..3).for_each(|_| round(&mut theirs, &mut ours));
    let before = counting::counted();
    (0..100).for_each(|_| round(&mut theirs, &mut ours));
    assert_eq!(counting::counted(), before, "records of {version:?} allocate");

    let before = counting::counted().0;
    for _ in 0..10 {
        connect(&server, &client);
    }
    let per_handshake = (counting::counted().0 - before) / 10;
    println!("{version:?}: {per_handshake} allocations per resumed handshake, both sides");
}

fn idle_sessions_hold_little(version: TlsVersion) -> Vec<Session> {
    let (server, client) = (server(version), client());
    let make = |count| (0..count).map(|_| connect(&server, &client).0).collect::<Vec<_>>();
    let mut sessions = make(IDLE_SESSIONS / 10);
    let before = resident_bytes();
    sessions.extend(make(IDLE_SESSIONS));
    let per_session = resident_bytes().saturating_sub(before) / IDLE_SESSIONS;
    println!("{version:?}: {per_session} bytes per idle session of a server");
    assert!(per_session < IDLE_BYTES_MAX, "{per_session} bytes per idle session");
    sessions
}
