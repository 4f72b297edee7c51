//! Our record layer, against itself and against that of rustls.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

use super::pair::{End, Theirs, accept, connect, exchange, talk};
use super::pki::{Leaf, PKI, client, plain_server, server, settings, trusting};
use crate::server::PROVIDER;
use crate::{Alpn, ReadResult, Session, TlsErrorKind};
use config::{ServerTls, TlsVersion};

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
    assert_eq!(server.read(&mut [0; 3]), ReadResult::Bytes(3));
    assert!(server.has_plaintext());
    assert_eq!(server.read(&mut [0; 3]), ReadResult::Bytes(1));
    assert_eq!(server.read(&mut [0; 3]), ReadResult::Closed);
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
fn updates_of_keys_between_data_are_fine() {
    let (mut server, mut client) =
        connect(&plain_server(), &client(&trusting()), "a.example").unwrap();
    for _ in 0..40 {
        client.exhaust_keys();
        client.send(b"x");
        server.take(&client.give()).unwrap();
    }
    assert_eq!(server.plaintext().len(), 40);
}

/// A pair that speaks only this version.
fn pair(version: TlsVersion) -> (Session, Session) {
    let settings = ServerTls { version_min: version, version_max: version, ..settings() };
    let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
    connect(&server, &client(&trusting()), "a.example").unwrap()
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

#[test]
fn messages_out_of_place_after_the_handshake() {
    use TlsVersion::{Tls12, Tls13};
    /// Records of the client, and the alert that they get, if any.
    #[track_caller]
    fn check(version: TlsVersion, records: &[(u8, &[u8])], alert: Option<&str>) {
        let (mut server, mut client) = pair(version);
        for (kind, content) in records {
            client.send_raw(*kind, content);
        }
        let result = server.take(&client.give());
        assert_eq!(result.is_err(), alert.is_some(), "{result:?}");
        if alert == Some("nothing") {
            assert!(server.outgoing().is_empty(), "RFC 8446, section 6.2: close at once");
        } else if let Some(alert) = alert {
            let theirs = client.take(&server.give()).unwrap_err();
            assert_eq!(*theirs.kind(), TlsErrorKind::Alert(alert.to_owned().into()));
        } else {
            client.take(&server.give()).unwrap();
        }
    }
    const UPDATE: &[u8] = &[24, 0, 0, 1, 0];
    let unexpected = Some("unexpected_message");
    // RFC 8446, section 4.6: of a client only updates of keys.
    check(Tls13, &[(HANDSHAKE, &[4, 0, 0, 0])], unexpected);
    check(Tls13, &[(HANDSHAKE, &[1, 0, 0, 0])], unexpected);
    check(Tls13, &[(HANDSHAKE, &[])], unexpected);
    check(Tls13, &[(HANDSHAKE, &[24, 0, 0, 1, 2])], Some("illegal_parameter"));
    check(Tls13, &[(HANDSHAKE, &[24, 0, 0, 1, 255])], Some("illegal_parameter"));
    check(Tls13, &[(HANDSHAKE, &[24, 0, 0, 0])], Some("decode_error"));
    check(Tls13, &[(HANDSHAKE, &[24, 0, 0, 2, 0, 0])], Some("decode_error"));
    check(Tls13, &[(HANDSHAKE, &[24, 0, 0, 1, 0, 24])], unexpected);
    check(Tls13, &[(HANDSHAKE, &[24, 2, 0, 0])], Some("decode_error"));
    check(Tls13, &[(20, &[1])], unexpected);
    check(Tls13, &[(99, &[1])], unexpected);
    // Section 5.1: a message may be split, but nothing comes between its parts.
    check(Tls13, &[(HANDSHAKE, &UPDATE[..2]), (DATA, b"x")], unexpected);
    check(Tls13, &[(HANDSHAKE, &UPDATE[..2]), (ALERT, &[1, 0])], unexpected);
    // Section 6: alerts.
    check(Tls13, &[(ALERT, &[2])], Some("decode_error"));
    check(Tls13, &[(ALERT, &[1, 90])], None);
    check(Tls13, &[(ALERT, &[1, 0, 1, 0])], Some("decode_error"));
    check(Tls13, &[(ALERT, &[])], unexpected);
    check(Tls12, &[(ALERT, &[])], unexpected);
    check(Tls13, &[(ALERT, &[2, 90])], None);
    check(Tls13, &[(ALERT, &[1, 46])], Some("nothing"));
    check(Tls13, &[(ALERT, &[1, 250])], Some("nothing"));
    check(Tls12, &[(ALERT, &[1, 46])], None);
    check(Tls12, &[(ALERT, &[2, 46])], Some("nothing"));
    check(Tls12, &[(ALERT, &[2, 90])], Some("nothing"));
    // The level says nothing in TLS 1.3, and is one of two in TLS 1.2.
    check(Tls13, &[(ALERT, &[0, 0])], None);
    check(Tls13, &[(ALERT, &[77, 40])], Some("nothing"));
    check(Tls12, &[(ALERT, &[0, 0])], Some("illegal_parameter"));
    check(Tls12, &[(ALERT, &[3, 40])], Some("illegal_parameter"));
    // RFC 5246, section 7.2.2: no renegotiation, said by a warning.
    check(Tls12, &[(HANDSHAKE, &[1, 0, 0, 0])], None);
    check(Tls12, &[(HANDSHAKE, UPDATE)], unexpected);
    check(Tls12, &[(20, &[1])], unexpected);
    for flood in [(DATA, [].as_slice()), (ALERT, &[1, 90])] {
        check(Tls13, &[flood; 32], None);
        check(Tls13, &[flood; 33], unexpected);
        check(Tls12, &[flood; 33], unexpected);
    }
}

/// RFC 8446, sections 5, 5.1, 5.2 and 5.4, for records after the handshake: outer type and version, inner text.
#[test]
fn records_that_must_not_be_after_the_handshake() {
    const FULL: usize = 1 << 14;
    #[track_caller]
    fn check(header: [u8; 3], inner: &[u8], alert: Option<&str>) {
        let (mut server, mut client) = pair(TlsVersion::Tls13);
        client.send_record(header, inner);
        let result = server.take(&client.give());
        let is_refused = client.take(&server.give()).err();
        let alert = alert.map(|alert| TlsErrorKind::Alert(alert.to_owned().into()));
        assert_eq!(is_refused.as_ref().map(|error| error.kind()), alert.as_ref(), "{result:?}");
        assert_eq!(result.is_err(), alert.is_some());
    }
    let unexpected = Some("unexpected_message");
    let padded = |content: &[u8], kind: u8, length: usize| {
        let mut inner = [content, &[kind]].concat();
        inner.resize(length, 0);
        inner
    };
    let fine = [DATA, 3, 3];
    // Section 5.2: what is protected looks like data; section 5.1: its version says nothing.
    check(fine, b"x\x17", None);
    check([DATA, 3, 1], b"x\x17", None);
    check([DATA, 0x7f, 0], b"x\x17", None);
    for outer in [HANDSHAKE, ALERT, 20, 24, 0, 99] {
        check([outer, 3, 3], b"x\x17", unexpected);
    }
    // Section 5.4: no type at all; any padding, as far as the whole fits.
    check(fine, &[0], unexpected);
    check(fine, &[0; 100], unexpected);
    check(fine, &[0; FULL + 1], unexpected);
    check(fine, &padded(b"x", DATA, FULL + 1), None);
    check(fine, &padded(&[7; FULL], DATA, FULL + 1), None);
    check(fine, &padded(b"x", DATA, FULL + 2), Some("record_overflow"));
    check(fine, &padded(&[7; FULL + 1], DATA, FULL + 2), Some("record_overflow"));
    check(fine, &[0; FULL + 2], Some("record_overflow"));
    check(fine, &padded(b"x", DATA, FULL + 240), Some("record_overflow"));
    check(fine, &padded(b"", DATA, 50), None);
    check(fine, &padded(b"", HANDSHAKE, 50), unexpected);
    check(fine, &padded(b"", ALERT, 50), unexpected);
    check(fine, &padded(&[1], 20, 2), unexpected);
    for kind in [1, 19, 24, 25, 255] {
        check(fine, &padded(b"x", kind, 2), unexpected);
    }
    // What is not protected at all.
    for (record, alert) in [
        ([20, 3, 3, 0, 1, 1].as_slice(), "unexpected_message"),
        (&[21, 3, 3, 0, 2, 2, 40], "unexpected_message"),
        (&[22, 3, 3, 0, 4, 1, 0, 0, 0], "unexpected_message"),
        (&[23, 3, 3, 0, 1, 0], "bad_record_mac"),
        (&[23, 3, 3, 0, 0], "bad_record_mac"),
        (&[23, 3, 3, 0x41, 1], "record_overflow"),
        (&[23, 3, 3, 0xff, 0xff], "record_overflow"),
    ] {
        let (mut server, mut client) = pair(TlsVersion::Tls13);
        assert!(server.take(record).is_err(), "{record:?}");
        let told = client.take(&server.give()).unwrap_err();
        assert_eq!(*told.kind(), TlsErrorKind::Alert(alert.to_owned().into()), "{record:?}");
    }
    // RFC 5246, section 6.2.1: of TLS 1.2 the version is the one agreed on.
    let (mut server, mut client) = pair(TlsVersion::Tls12);
    client.send(b"x");
    let mut record = client.give();
    record[2] = 1;
    assert!(server.take(&record).is_err());
    let told = client.take(&server.give()).unwrap_err();
    assert_eq!(*told.kind(), TlsErrorKind::Alert("protocol_version".into()));
}

/// RFC 8446, section 5.2, in the handshake itself: the client's Finished does not look like data.
#[test]
fn nothing_comes_in_clear_once_there_are_keys() {
    for outer in [HANDSHAKE, ALERT] {
        let mut client = client(&trusting()).session("a.example").unwrap();
        let mut server = accept(&plain_server(), &mut client).unwrap();
        client.take(&server.give()).unwrap();
        let mut flight = client.give();
        let mut at = 0;
        while flight[at] != DATA {
            at += 5 + usize::from(u16::from_be_bytes([flight[at + 3], flight[at + 4]]));
        }
        flight[at] = outer;
        let error = server.take(&flight).unwrap_err();
        assert_eq!(error.to_string(), "a record out of place");
        let told = client.take(&server.give()).unwrap_err();
        assert_eq!(*told.kind(), TlsErrorKind::Alert("unexpected_message".into()));
    }
}

#[test]
fn an_update_of_keys_may_come_in_parts() {
    let (mut server, mut client) = pair(TlsVersion::Tls13);
    client.exhaust_keys();
    client.send(b"before");
    server.take(&client.give()).unwrap();
    // The server asks for an update in three records, and the client answers with its own.
    for part in [&[24u8, 0][..], &[0], &[1, 1]] {
        server.send_raw(HANDSHAKE, part);
        client.take(&server.give()).unwrap();
    }
    assert!(!client.outgoing().is_empty(), "an update of the client's keys");
    client.send(b", after");
    server.take(&client.give()).unwrap();
    assert_eq!(server.plaintext(), b"before, after");
}

#[test]
fn a_client_of_tls_1_2_refuses_to_renegotiate() {
    let (mut server, mut client) = pair(TlsVersion::Tls12);
    server.send_raw(HANDSHAKE, &[0, 0, 0, 0]);
    client.take(&server.give()).unwrap();
    server.take(&client.give()).unwrap();
    talk(&mut client, &mut server, usize::MAX);
    server.exhaust_keys();
    assert!(server.write(b"more").is_err(), "TLS 1.2 cannot change its keys");
}

#[test]
fn a_long_clienthello_in_many_records() {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore { roots: Vec::new() })
        .with_no_client_auth();
    config.alpn_protocols = (0..60).map(|index| vec![b'a' + index % 20; 250]).collect();
    config.alpn_protocols.push(b"h2".to_vec());
    let name = "a.example".try_into().unwrap();
    let mut theirs = Theirs(ClientConnection::new(Arc::new(config), name).unwrap());
    let flight = theirs.give();
    let message: Vec<u8> = {
        let mut rest = &flight[..];
        let mut message = Vec::new();
        while let [_, _, _, high, low, after @ ..] = rest {
            let (content, later) = after.split_at(usize::from(*high) << 8 | usize::from(*low));
            message.extend_from_slice(content);
            rest = later;
        }
        message
    };
    assert!(message.len() > 15_000);
    let record = |part: &[u8]| {
        let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    };
    for size in [100, 1000, 16_000] {
        let split = message.chunks(size).flat_map(record).collect::<Vec<u8>>();
        let hello = crate::ClientHello::parse(&split).unwrap().expect("it is whole");
        let session = plain_server().session(&hello, &split).unwrap();
        assert_eq!(session.outgoing()[..3], [22, 3, 3], "a ServerHello");
    }
}

#[test]
fn the_post_quantum_group_comes_first() {
    let groups = PROVIDER.kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>();
    assert_eq!(groups[..2], [rustls::NamedGroup::X25519MLKEM768, rustls::NamedGroup::X25519]);
}
