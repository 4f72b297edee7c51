//! Which certificate is shown, which is believed, and what is said of those that are not.

use std::sync::Arc;

use config::{
    CertificateFiles, ClientPolicy, Place, ServerTls, TlsVersion, UpstreamProtocol, UpstreamTls,
};
use rustls::SignatureScheme;

use super::pair::{End, accept, connect, exchange};
use super::pki::{
    Leaf, PKI, Pki, asks_clients, client, plain_server, server, server_with, settings, trusting,
};
use crate::{Alpn, Challenges, Client, Server, Slot, Tickets, TlsError, TlsErrorKind};

/// What the client says, and what the server.
fn failure(server: &Arc<Server>, client: &Arc<Client>, name: &str) -> (TlsError, TlsError) {
    let mut ours = client.session(name).unwrap();
    let mut theirs = accept(server, &mut ours).unwrap();
    let first = exchange(&mut ours, &mut theirs, usize::MAX).unwrap_err();
    let second = exchange(&mut ours, &mut theirs, usize::MAX).unwrap_err();
    if matches!(first.kind(), TlsErrorKind::Alert(_)) { (second, first) } else { (first, second) }
}

#[test]
fn a_wrong_certificate_of_a_server_is_told_in_words() {
    #[track_caller]
    fn check(
        server: &Arc<Server>,
        settings: &UpstreamTls,
        name: &str,
        expected: &str,
        alert: &str,
    ) {
        let (ours, theirs) = failure(server, &client(settings), name);
        assert_eq!(*ours.kind(), TlsErrorKind::Certificate);
        assert!(ours.to_string().starts_with(expected), "{ours}");
        assert_eq!(*theirs.kind(), TlsErrorKind::Alert(alert.to_owned().into()));
    }
    let of = |leaf: &Leaf<'_>| server(&settings(), vec![PKI.chain(leaf)]);
    let plain = plain_server();
    let year = |days| (time::OffsetDateTime::now_utc() + time::Duration::days(days)).date();
    let expired = of(&Leaf { days: (-30, -3), ..Leaf::default() });
    let words = format!("the certificate expired on {} ", year(-3));
    check(&expired, &trusting(), "a.example", &words, "certificate_expired");
    let early = of(&Leaf { days: (3, 30), ..Leaf::default() });
    let words = format!("the certificate is not valid before {} ", year(3));
    check(&early, &trusting(), "a.example", &words, "certificate_expired");
    let words = "the certificate is for a.example, 127.0.0.1, not for b.example";
    check(&plain, &trusting(), "b.example", words, "bad_certificate");
    let words = "the certificate is for a.example, 127.0.0.1, not for 127.0.0.2";
    check(&plain, &trusting(), "127.0.0.2", words, "bad_certificate");
    let other = Pki::new("Other CA");
    let stranger = server(&settings(), vec![other.chain(&Leaf::default())]);
    let words = "the certificate comes from an unknown issuer: CN=Other CA";
    check(&stranger, &trusting(), "a.example", words, "certificate_unknown");
}

#[test]
fn what_is_believed() {
    let plain = plain_server();
    connect(&plain, &client(&trusting()), "a.example").unwrap();
    connect(&plain, &client(&trusting()), "A.example.").unwrap();
    connect(&plain, &client(&trusting()), "127.0.0.1").unwrap();
    let named = UpstreamTls { name: Some("a.example".into()), ..trusting() };
    connect(&plain, &client(&named), "10.0.0.1").unwrap();
    let other = Pki::new("Other CA");
    let stranger =
        server(&settings(), vec![other.chain(&Leaf { days: (-9, -3), ..Leaf::default() })]);
    let careless = UpstreamTls { verify: false, ..UpstreamTls::default() };
    for (min, max) in
        [(TlsVersion::Tls12, TlsVersion::Tls12), (TlsVersion::Tls13, TlsVersion::Tls13)]
    {
        let settings = ServerTls { version_min: min, version_max: max, ..settings() };
        let both = server(&settings, vec![PKI.chain(&Leaf::default())]);
        connect(&both, &client(&careless), "whatever.example").unwrap();
    }
    connect(&stranger, &client(&careless), "a.example").unwrap();
    assert!(client(&trusting()).session("no name").is_err());
}

#[test]
fn protocols_by_alpn() {
    let at = Place::default();
    let only = |protocol| Client::new(&trusting(), at, protocol).unwrap();
    let plain = plain_server();
    for (protocol, expected) in [
        (UpstreamProtocol::Auto, Some(Alpn::H2)),
        (UpstreamProtocol::Http1, Some(Alpn::Http1)),
        (UpstreamProtocol::H2, Some(Alpn::H2)),
        (UpstreamProtocol::H2c, None),
    ] {
        let (server, client) = connect(&plain, &only(protocol), "a.example").unwrap();
        assert_eq!((server.info().alpn, client.info().alpn), (expected, expected), "{protocol:?}");
    }
    let slot = Arc::new(Slot::new("a.example"));
    slot.set(vec![PKI.chain(&Leaf::default())]);
    let http1 = Server::new(&settings(), false, slot, Tickets::new(), Challenges::new()).unwrap();
    let (server, _) = connect(&http1, &only(UpstreamProtocol::Auto), "a.example").unwrap();
    assert_eq!(server.info().alpn, Some(Alpn::Http1));
    let mut ours = only(UpstreamProtocol::H2).session("a.example").unwrap();
    let error = accept(&http1, &mut ours).unwrap_err();
    assert!(error.to_string().contains("ALPN"), "{error}");
    let alert = ours.take(error.farewell()).unwrap_err();
    assert_eq!(*alert.kind(), TlsErrorKind::Alert("no_application_protocol".into()));
}

#[test]
fn a_slot_shows_what_suits_the_client_and_changes_under_way() {
    let slot = Slot::new("many");
    let ecdsa = PKI.chain(&Leaf::default());
    let rsa = PKI.chain(&Leaf { algorithm: &rcgen::PKCS_RSA_SHA256, ..Leaf::default() });
    let ed25519 = PKI.chain(&Leaf { algorithm: &rcgen::PKCS_ED25519, ..Leaf::default() });
    let wild = PKI.chain(&Leaf { names: &["*.b.example"], ..Leaf::default() });
    slot.set(vec![Arc::clone(&rsa), Arc::clone(&ed25519), Arc::clone(&ecdsa), Arc::clone(&wild)]);
    let all = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ED25519,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];
    let pick = |name, schemes: &[SignatureScheme]| slot.pick(name, schemes);
    let is = |found: Option<Arc<rustls::sign::CertifiedKey>>, chain: &crate::Chain| {
        found.is_some_and(|found| Arc::ptr_eq(&found, &chain.key))
    };
    assert!(is(pick(Some("a.example"), &all), &ecdsa));
    assert!(is(pick(Some("a.example"), &all[..2]), &ed25519));
    assert!(is(pick(Some("a.example"), &all[..1]), &rsa));
    assert!(is(pick(Some("x.b.example"), &all), &wild));
    assert!(is(pick(Some("x.b.example"), &all[..1]), &rsa), "better than none");
    assert!(is(pick(None, &all), &ecdsa));
    // Nothing suits: rustls says so, with the alert that clients and scanners know.
    assert!(pick(None, &[SignatureScheme::ECDSA_NISTP384_SHA384]).is_some());
    let server = server(&settings(), vec![Arc::clone(&rsa)]);
    connect(&server, &client(&trusting()), "a.example").unwrap();
    server.slot().set(vec![ed25519]);
    connect(&server, &client(&trusting()), "a.example").unwrap();
    server.slot().set(Vec::new());
    let mut ours = client(&trusting()).session("a.example").unwrap();
    let error = accept(&server, &mut ours).unwrap_err();
    assert_eq!(error.to_string(), "there is no certificate for a.example yet");
    let alert = ours.take(error.farewell()).unwrap_err();
    assert_eq!(*alert.kind(), TlsErrorKind::Alert("handshake_failure".into()));
}

#[test]
fn versions_are_those_of_the_settings() {
    let only = |version| {
        let settings = ServerTls { version_min: version, version_max: version, ..settings() };
        let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
        connect(&server, &client(&trusting()), "a.example").unwrap().0.info().version
    };
    assert_eq!(only(TlsVersion::Tls12), "TLSv1.2");
    assert_eq!(only(TlsVersion::Tls13), "TLSv1.3");
}

fn showing(files: CertificateFiles) -> Arc<Client> {
    client(&UpstreamTls { client: Some(files), ..trusting() })
}

#[test]
fn clients_show_certificates() {
    let names = &["ops.example", "ops@example.com", "10.1.2.3"];
    let good = PKI.write("ops", &Leaf { names, serial: 5, ..Leaf::default() });
    let expired = PKI.write("old", &Leaf { names, days: (-9, -2), ..Leaf::default() });
    let stranger = Pki::new("Other CA");
    let foreign = stranger.write("foreign", &Leaf::default());
    let chain = || vec![PKI.chain(&Leaf::default())];
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let of = |policy| {
            let mut settings = asks_clients(policy, &PKI);
            (settings.version_min, settings.version_max) = (version, version);
            settings
        };
        let required = server(&of(ClientPolicy::Require), chain());
        let requested = server(&of(ClientPolicy::Request), chain());
        for server in [&required, &requested] {
            let client = showing(good.clone());
            for is_resumed in [false, true] {
                let (session, _) = connect(server, &client, "a.example").unwrap();
                assert_eq!(session.info().resumed, is_resumed);
                let shown = session.info().client.expect("a certificate");
                assert_eq!(&*shown.subject, "CN=ops.example,O=Example\\, Ltd");
                assert_eq!(shown.common_name.as_deref(), Some("ops.example"));
                assert_eq!(shown.names, names.map(Into::into));
                assert_eq!(shown.fingerprint.len(), 64);
            }
            // In TLS 1.3 a client is done before the server has judged it.
            for (files, words) in [
                (&expired, "the certificate expired on"),
                (&foreign, "the certificate comes from an unknown issuer"),
            ] {
                let (theirs, _) = failure(server, &showing(files.clone()), "a.example");
                assert_eq!(*theirs.kind(), TlsErrorKind::Certificate);
                assert!(theirs.to_string().starts_with(words), "{theirs}");
            }
        }
        assert!(
            connect(&requested, &client(&trusting()), "a.example")
                .unwrap()
                .0
                .info()
                .client
                .is_none()
        );
        let (theirs, ours) = failure(&required, &client(&trusting()), "a.example");
        assert_eq!(theirs.to_string(), "the peer shows no certificate");
        assert!(matches!(ours.kind(), TlsErrorKind::Alert(_)), "{ours}");
    }
}

#[test]
fn revoked_clients_stay_out() {
    let good = PKI.write("good", &Leaf { serial: 5, ..Leaf::default() });
    let revoked = PKI.write("revoked", &Leaf { serial: 6, ..Leaf::default() });
    let chain = || vec![PKI.chain(&Leaf::default())];
    let mut settings = asks_clients(ClientPolicy::Require, &PKI);
    settings.client.crl = vec![PKI.revoke("clients.crl", &[6], 20)];
    let with_list = server(&settings, chain());
    connect(&with_list, &showing(good.clone()), "a.example").unwrap();
    let (theirs, ours) = failure(&with_list, &showing(revoked), "a.example");
    assert_eq!(theirs.to_string(), "the certificate is revoked");
    assert_eq!(*ours.kind(), TlsErrorKind::Alert("certificate_revoked".into()));
    settings.client.crl = vec![PKI.revoke("old.crl", &[6], -1)];
    let (theirs, _) = failure(&server(&settings, chain()), &showing(good), "a.example");
    assert!(theirs.to_string().starts_with("the revocation list expired on"), "{theirs}");
}

#[test]
fn files_that_do_not_do_are_named() {
    #[track_caller]
    fn check(result: Result<impl Sized, crate::Problem>, file: &str, why: &str) {
        let message = result.err().expect("a problem").message;
        assert!(message.contains(file) && message.contains(why), "{message}");
    }
    let empty = PKI.files.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let missing = PKI.files.path().join("missing.pem");
    let make = |change: &dyn Fn(&mut ServerTls)| {
        let mut settings = asks_clients(ClientPolicy::Require, &PKI);
        change(&mut settings);
        Server::new(&settings, true, Arc::new(Slot::new("x")), Tickets::new(), Challenges::new())
    };
    check(
        make(&|settings| settings.client.ca = vec![missing.clone()]),
        "missing.pem",
        "No such file",
    );
    check(make(&|settings| settings.client.ca = vec![empty.clone()]), "empty.pem", "not PEM");
    check(
        make(&|settings| settings.client.crl = vec![empty.clone()]),
        "empty.pem",
        "no revocation list",
    );
    let with = |change: &dyn Fn(&mut UpstreamTls)| {
        let mut settings = trusting();
        change(&mut settings);
        Client::new(&settings, Place::default(), UpstreamProtocol::Auto)
    };
    check(with(&|settings| settings.ca = Some(missing.clone())), "missing.pem", "No such file");
    check(with(&|settings| settings.ca = Some(empty.clone())), "empty.pem", "not PEM");
    let mut files = PKI.write("mixed", &Leaf::default());
    files.key = PKI.write("another", &Leaf::default()).key;
    check(
        with(&|settings| settings.client = Some(files.clone())),
        "mixed.pem",
        "not the certificate's",
    );
}

#[test]
fn a_challenge_of_acme_is_answered_by_its_own_certificate() {
    let challenges = Challenges::new();
    let server = server_with(&settings(), Vec::new(), &Tickets::new(), &challenges);
    let ask = || {
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::clone(&crate::server::PROVIDER))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates({
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add(PKI.root()).unwrap();
                    roots
                })
                .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let connection =
            rustls::ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap());
        super::pair::Theirs(connection.unwrap())
    };
    let error = accept(&server, &mut ask()).unwrap_err();
    assert!(ask().take(error.farewell()).is_err());
    challenges.set_alpn("a.example", PKI.chain(&Leaf::default()));
    let mut theirs = ask();
    let mut ours = accept(&server, &mut theirs).unwrap();
    exchange(&mut theirs, &mut ours, usize::MAX).unwrap();
    assert_eq!(ours.info().alpn, Some(Alpn::AcmeChallenge));
    challenges.clear_alpn("a.example");
    assert!(challenges.is_empty() && accept(&server, &mut ask()).is_err());
}

#[test]
fn a_peer_that_speaks_no_tls() {
    let mut session = client(&trusting()).session("a.example").unwrap();
    let error = session.take(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert_eq!(*error.kind(), TlsErrorKind::NotTls);
    assert_eq!(error.to_string(), "the peer sent cleartext HTTP, not TLS");
}
