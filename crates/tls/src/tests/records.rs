//! Our record layer, against itself and against that of rustls.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

use super::pair::{End, Theirs, accept, connect, exchange, talk};
use super::pki::{PKI, client, plain_server, trusting};
use crate::server::PROVIDER;
use crate::{Alpn, Read, TlsErrorKind};

fn rustls_client(suite: SupportedCipherSuite) -> ClientConnection {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..(**PROVIDER).clone() };
    let mut roots = RootCertStore::empty();
    roots.add(PKI.root()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions();
    // A provider with suites of one version only speaks that one.
    let config = config.unwrap_or_else(|_| unreachable!("both versions"));
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap()).unwrap()
}

#[test]
fn a_session_of_ours_with_one_of_ours() {
    let (mut server, mut client) =
        connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
    for info in [server.info(), client.info()] {
        assert_eq!((info.version, info.cipher), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
        assert_eq!(info.alpn, Some(Alpn::H2));
        assert_eq!(info.name.as_deref(), Some("a.example"));
        assert!(!info.resumed && !info.early_data && info.client.is_none());
    }
    for size in [usize::MAX, 16 * 1024, 1000] {
        talk(&mut client, &mut server, size);
        talk(&mut server, &mut client, size);
    }
    assert!(!server.holds_buffers() && !client.holds_buffers(), "memory is held while idle");
}

#[test]
fn every_suite_with_rustls_itself() {
    let server = plain_server();
    let ecdsa = PROVIDER
        .cipher_suites
        .iter()
        .filter(|suite| suite.usable_for_signature_algorithm(rustls::SignatureAlgorithm::ECDSA));
    for suite in ecdsa {
        for size in [usize::MAX, 777] {
            let mut theirs = Theirs(rustls_client(*suite));
            let mut ours = accept(&server, &mut theirs).unwrap();
            exchange(&mut theirs, &mut ours, size).unwrap();
            talk(&mut theirs, &mut ours, size);
            talk(&mut ours, &mut theirs, size);
        }
    }
}

#[test]
fn data_behind_the_handshake_in_the_same_segment() {
    let server = plain_server();
    let client = client(&trusting());
    let mut ours = client.session("a.example").unwrap();
    let mut theirs = accept(&server, &mut ours).unwrap();
    ours.take(&theirs.give()).unwrap();
    assert!(!ours.is_handshaking());
    ours.send(b"request");
    theirs.take(&ours.give()).unwrap();
    assert_eq!(theirs.plaintext(), b"request");
    // The tickets come in one segment with the answer.
    theirs.send(b"response");
    ours.take(&theirs.give()).unwrap();
    assert_eq!(ours.plaintext(), b"response");
}

#[test]
fn close_notify_ends_what_is_read() {
    let (mut server, mut client) =
        connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
    client.send(b"last");
    client.close();
    client.close();
    assert!(client.write(b"more").is_err());
    server.take(&client.give()).unwrap();
    assert_eq!(server.read(&mut [0; 3]), Read::Bytes(3));
    assert!(server.has_plaintext());
    assert_eq!(server.read(&mut [0; 3]), Read::Bytes(1));
    assert_eq!(server.read(&mut [0; 3]), Read::Closed);
    // The other direction is open still.
    server.send(b"answer");
    client.take(&server.give()).unwrap();
    assert_eq!(client.plaintext(), b"answer");
}

#[test]
fn keys_are_updated_when_they_are_used_up_and_when_the_peer_asks() {
    let (mut server, mut client) =
        connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
    for _ in 0..3 {
        client.exhaust_keys();
        server.exhaust_keys();
        talk(&mut client, &mut server, usize::MAX);
        talk(&mut server, &mut client, usize::MAX);
    }
    let server = plain_server();
    let mut theirs =
        Theirs(rustls_client(rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384));
    let mut ours = accept(&server, &mut theirs).unwrap();
    exchange(&mut theirs, &mut ours, usize::MAX).unwrap();
    for _ in 0..3 {
        theirs.0.refresh_traffic_keys().unwrap();
        talk(&mut theirs, &mut ours, usize::MAX);
        ours.exhaust_keys();
        talk(&mut ours, &mut theirs, usize::MAX);
    }
}

#[test]
fn what_was_changed_under_way_is_refused_with_an_alert() {
    for position in [0, 3, 5, 30] {
        let (mut server, mut client) =
            connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
        client.send(b"something of some length");
        let mut bytes = client.give();
        bytes[position] ^= 0x80;
        let error = server.take(&bytes).unwrap_err();
        assert_eq!(*error.kind(), TlsErrorKind::Protocol, "{error}");
        let alert = server.give();
        let theirs = client.take(&alert).unwrap_err();
        assert!(matches!(theirs.kind(), TlsErrorKind::Alert(_)), "{theirs}");
        assert!(server.take(b"more").is_err() && server.write(b"more").is_err());
    }
}

#[test]
fn records_without_data_are_counted() {
    let (mut server, mut client) =
        connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
    let mut sent = Ok(());
    for _ in 0..40 {
        // Each makes an update of keys.
        client.exhaust_keys();
        client.send(b"");
        client.send(b"x");
        sent = server.take(&client.give());
    }
    sent.expect("updates between data are fine");
    assert_eq!(server.plaintext().len(), 40);
}
