//! What a handshake costs the server: its own time alone, the client's is not counted.
//!
//!     cargo bench -p tls

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{
    CertificateSource, ClientCertificates, Place, ServerTls, TlsVersion, UpstreamProtocol,
    UpstreamTls,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tls::{Chain, Challenges, Client, ClientHello, ReadResult, Server, Session, Slot, Tickets};

const ROUNDS: u32 = 2000;

struct Site {
    server: Arc<Server>,
    root: CertificateDer<'static>,
}

fn site(tickets: bool) -> Site {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let root = certificate.der().clone();
    let slot = Arc::new(Slot::new("a.example"));
    slot.set(vec![Arc::new(Chain::new(vec![root.clone()], &key).unwrap())]);
    let settings = ServerTls {
        place: Place::default(),
        certificates: CertificateSource::Internal { names: Vec::new() },
        version_min: TlsVersion::Tls12,
        version_max: TlsVersion::Tls13,
        client: ClientCertificates::default(),
        early_data: false,
        tickets,
        hsts: None,
    };
    let server = Server::new(&settings, true, slot, Tickets::new(), Challenges::new()).unwrap();
    Site { server, root }
}

fn client(site: &Site, hybrid: bool, resumption: Resumption) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    if !hybrid {
        provider.kx_groups = vec![kx_group::X25519];
    }
    let mut roots = RootCertStore::empty();
    roots.add(site.root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

/// One handshake; the time that the server took.
fn handshake(site: &Site, config: &Arc<ClientConfig>, resumes: bool) -> Duration {
    let mut client =
        ClientConnection::new(Arc::clone(config), "a.example".try_into().unwrap()).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    let begin = Instant::now();
    let hello = ClientHello::parse(&flight).unwrap().unwrap();
    let mut session = site.server.session(&hello, &flight).unwrap();
    let mut took = begin.elapsed();
    client.read_tls(&mut session.outgoing()).unwrap();
    session.sent(session.outgoing().len());
    client.process_new_packets().unwrap();
    flight.clear();
    while client.wants_write() {
        client.write_tls(&mut flight).unwrap();
    }
    let begin = Instant::now();
    session.room()[..flight.len()].copy_from_slice(&flight);
    session.received(flight.len()).unwrap();
    took += begin.elapsed();
    assert!(!session.is_handshaking() && session.info().resumed == resumes);
    while !session.outgoing().is_empty() {
        let read = client.read_tls(&mut session.outgoing()).unwrap();
        session.sent(read);
    }
    client.process_new_packets().unwrap();
    took
}

fn measure(what: &str, site: &Site, config: &Arc<ClientConfig>, resumes: bool) {
    for _ in 0..ROUNDS / 10 {
        handshake(site, config, resumes);
    }
    let mut times = (0..ROUNDS).map(|_| handshake(site, config, resumes)).collect::<Vec<_>>();
    times.sort();
    let at = |part: u32| times[(ROUNDS * part / 100) as usize].as_nanos() as f64 / 1000.0;
    println!("{what:<40} {:8.1} µs (10 %: {:.1}, 90 %: {:.1})", at(50), at(10), at(90));
}

/// Bytes one way, sealed and opened.
fn bulk(site: &Site) {
    let settings = UpstreamTls { verify: false, ..UpstreamTls::default() };
    let client = Client::new(&settings, Place::default(), UpstreamProtocol::Auto).unwrap();
    let mut ours = client.session("a.example").unwrap();
    let hello = ClientHello::parse(ours.outgoing()).unwrap().unwrap();
    let mut theirs = site.server.session(&hello, ours.outgoing()).unwrap();
    ours.sent(ours.outgoing().len());
    let mut out = vec![0; 64 * 1024];
    for _ in 0..3 {
        carry(&mut theirs, &mut ours, &mut out);
        carry(&mut ours, &mut theirs, &mut out);
    }
    let data = vec![7; 64 * 1024];
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        assert_eq!(theirs.write(&data).unwrap(), data.len());
        sealing += begin.elapsed();
        let begin = Instant::now();
        assert_eq!(carry(&mut theirs, &mut ours, &mut out), data.len());
        opening += begin.elapsed();
    }
    let rate = |took: Duration| f64::from(ROUNDS) * 64.0 / 1024.0 / 1024.0 / took.as_secs_f64();
    println!("sealing 64 KiB at once                   {:8.1} GiB/s", rate(sealing));
    println!("opening it, and copying it twice         {:8.1} GiB/s", rate(opening));
}

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

fn main() {
    let (with, without) = (site(true), site(false));
    let none = Resumption::disabled;
    measure("TLS 1.3, X25519, two tickets", &with, &client(&with, false, none()), false);
    measure("TLS 1.3, X25519, no tickets", &without, &client(&without, false, none()), false);
    measure("TLS 1.3, X25519MLKEM768, two tickets", &with, &client(&with, true, none()), false);
    let kept = client(&with, false, Resumption::in_memory_sessions(64));
    handshake(&with, &kept, false);
    measure("TLS 1.3, X25519, resumed", &with, &kept, true);
    bulk(&with);
}
