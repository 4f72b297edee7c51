//! Tickets, what they are bound to, and early data.

use std::io::Write as _;
use std::sync::Arc;

use config::{ClientPolicy, Place, ServerTls, TlsVersion};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::pair::{End, Theirs, accept, connect, exchange, talk};
use super::pki::{
    Leaf, PKI, asks_clients, client, plain_server, server, server_with, settings, trusting,
};
use crate::server::PROVIDER;
use crate::{Challenges, Client, Server, Tickets};

/// Whether a second connection goes on with the session of a first.
fn resumes(first: &Arc<Server>, second: &Arc<Server>, client: &Arc<Client>) -> bool {
    connect(first, client, "a.example").unwrap();
    let (server, ours) = connect(second, client, "a.example").unwrap();
    assert_eq!(server.info().resumed, ours.info().resumed);
    server.info().resumed
}

fn versions() -> [ServerTls; 2] {
    [TlsVersion::Tls12, TlsVersion::Tls13].map(|version| ServerTls {
        version_min: version,
        version_max: version,
        ..settings()
    })
}

#[test]
fn sessions_resume_and_still_carry_data() {
    for settings in versions() {
        let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
        let client = client(&trusting());
        assert!(resumes(&server, &server, &client), "{settings:?}");
        let (mut theirs, mut ours) = connect(&server, &client, "a.example").unwrap();
        talk(&mut ours, &mut theirs, usize::MAX);
        talk(&mut theirs, &mut ours, usize::MAX);
    }
}

#[test]
fn tickets_count_only_where_they_were_made() {
    for same in versions() {
        let other_site = ServerTls { place: Place { line: 2, ..same.place }, ..same.clone() };
        let mut other_policy = asks_clients(ClientPolicy::Request, &PKI);
        (other_policy.version_min, other_policy.version_max) = (same.version_min, same.version_max);
        let (tickets, challenges) = (Tickets::new(), Challenges::new());
        let chain = PKI.chain(&Leaf::default());
        let make =
            |settings| server_with(settings, vec![Arc::clone(&chain)], &tickets, &challenges);
        let first = make(&same);
        // A reload makes a new context of the same settings: sessions go on.
        assert!(resumes(&first, &make(&same), &client(&trusting())));
        assert!(!resumes(&first, &make(&other_site), &client(&trusting())));
        assert!(!resumes(&first, &make(&other_policy), &client(&trusting())));
        assert!(!resumes(&make(&other_policy), &first, &client(&trusting())));
        let others_tickets =
            server_with(&same, vec![Arc::clone(&chain)], &Tickets::new(), &challenges);
        assert!(!resumes(&first, &others_tickets, &client(&trusting())));
        let off = make(&ServerTls { tickets: false, ..same.clone() });
        assert!(!resumes(&off, &off, &client(&trusting())));
    }
}

#[test]
fn a_revocation_list_that_changes_ends_resumption() {
    let mut settings = asks_clients(ClientPolicy::Request, &PKI);
    let (tickets, challenges) = (Tickets::new(), Challenges::new());
    let chain = PKI.chain(&Leaf::default());
    let first = server_with(&settings, vec![Arc::clone(&chain)], &tickets, &challenges);
    settings.client.crl = vec![PKI.revoke("resumption.crl", &[77], 20)];
    let second = server_with(&settings, vec![chain], &tickets, &challenges);
    assert!(resumes(&second, &second, &client(&trusting())));
    assert!(!resumes(&first, &second, &client(&trusting())));
}

/// Rustls' own client, which sends early data.
fn early_client() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.root()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn early_connection(config: &Arc<ClientConfig>) -> Theirs<ClientConnection> {
    Theirs(ClientConnection::new(Arc::clone(config), "a.example".try_into().unwrap()).unwrap())
}

/// A first connection, which brings tickets.
fn warm_up(server: &Arc<Server>, config: &Arc<ClientConfig>) {
    let mut first = early_connection(config);
    let mut ours = accept(server, &mut first).unwrap();
    exchange(&mut first, &mut ours, usize::MAX).unwrap();
    assert!(!ours.is_early() && !ours.info().early_data);
}

#[test]
fn early_data_is_read_and_answered_before_the_handshake_ends() {
    let settings = ServerTls { early_data: true, ..settings() };
    let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
    let config = early_client();
    warm_up(&server, &config);
    let mut second = early_connection(&config);
    second.0.early_data().expect("there is a ticket").write_all(b"GET /").unwrap();
    let first_flight = second.give();
    let hello = crate::ClientHello::parse(&first_flight).unwrap().unwrap();
    let mut ours = server.session(&hello, &first_flight).unwrap();
    assert!(ours.is_early() && ours.is_handshaking() && ours.has_plaintext());
    assert_eq!(ours.plaintext(), b"GET /");
    assert!(ours.info().early_data);
    assert_eq!(ours.write(b"200").unwrap(), 3);
    second.take(&ours.give()).unwrap();
    assert!(second.0.is_early_data_accepted());
    assert_eq!(second.plaintext(), b"200", "the answer needs no further round trip");
    exchange(&mut second, &mut ours, usize::MAX).unwrap();
    assert!(!ours.is_early() && !ours.is_handshaking());
    assert!(ours.info().early_data && ours.info().resumed);
    talk(&mut second, &mut ours, 1000);
    talk(&mut ours, &mut second, 1000);

    // The same bytes again: the session is used up, and the early data is not believed.
    let mut replay = server.session(&hello, &first_flight).unwrap();
    assert!(!replay.is_early() && replay.plaintext().is_empty());
    assert!(!replay.info().early_data);
}

#[test]
fn an_answer_to_early_data_may_be_the_last() {
    let settings = ServerTls { early_data: true, ..settings() };
    let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
    let config = early_client();
    warm_up(&server, &config);
    let mut second = early_connection(&config);
    second.0.early_data().unwrap().write_all(b"GET /").unwrap();
    let mut ours = accept(&server, &mut second).unwrap();
    assert_eq!(ours.plaintext(), b"GET /");
    ours.send(b"200");
    ours.close();
    ours.close();
    assert!(ours.write(b"more").is_err());
    second.take(&ours.give()).unwrap();
    assert!(second.0.process_new_packets().unwrap().peer_has_closed());
    assert_eq!(second.plaintext(), b"200");
    // What the client still says of the handshake changes nothing.
    ours.take(&second.give()).unwrap();
    assert!(!ours.is_handshaking() && ours.write(b"more").is_err());
}

#[test]
fn without_the_setting_there_is_no_early_data() {
    let with_clients = ServerTls { early_data: true, ..asks_clients(ClientPolicy::Request, &PKI) };
    for server in [plain_server(), server(&with_clients, vec![PKI.chain(&Leaf::default())])] {
        let config = early_client();
        warm_up(&server, &config);
        assert!(early_connection(&config).0.early_data().is_none());
    }
}

#[test]
fn early_data_has_a_limit() {
    let settings = ServerTls { early_data: true, ..settings() };
    let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
    let config = early_client();
    warm_up(&server, &config);
    let mut second = early_connection(&config);
    let mut early = second.0.early_data().unwrap();
    assert_eq!(early.bytes_left(), 16 * 1024);
    let taken = early.write(&[b'x'; 20_000]).unwrap();
    let mut ours = accept(&server, &mut second).unwrap();
    assert_eq!((taken, ours.plaintext().len()), (16 * 1024, 16 * 1024));
}
