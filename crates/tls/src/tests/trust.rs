//! Certificates that are themselves among those that are believed.

use std::path::{Path, PathBuf};

use config::{
    CertificateFiles, ClientCertificates, ClientPolicy, Place, ServerTls, TlsVersion, UpstreamTls,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use super::pair::connect;
use super::pki::{Leaf, PKI, client, server, settings};
use crate::{Chain, PrivateKey, TlsError, TlsErrorKind};

/// Of version 1, with a common name (`v1.example`) and nothing else; until 2119.
const V1: (&str, &str) = (include_str!("files/v1.pem"), include_str!("files/v1.key"));

/// What a certificate that signs itself is like.
struct Itself<'a> {
    names: &'a [&'a str],
    common_name: &'a str,
    is_ca: IsCa,
    days: (i64, i64),
    change: fn(&mut CertificateParams),
}

impl Default for Itself<'_> {
    fn default() -> Self {
        let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let names = &["a.example"];
        Self { names, common_name: "itself", is_ca, days: (-1, 30), change: |_| {} }
    }
}

impl Itself<'_> {
    fn params(self) -> CertificateParams {
        let names = self.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.is_ca = self.is_ca;
        params.serial_number = Some(SerialNumber::from(7));
        params.not_before = OffsetDateTime::now_utc() + Duration::days(self.days.0);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(self.days.1);
        (self.change)(&mut params);
        params
    }

    fn pem(self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.params().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }
}

/// Where files are written to: `NAME.pem`, `NAME.key`.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn pair(&self, (cert, key): &(impl AsRef<str>, impl AsRef<str>)) -> CertificateFiles {
        let (cert, key) =
            (self.write("own.pem", cert.as_ref()), self.write("own.key", key.as_ref()));
        CertificateFiles { place: Place::default(), cert, key }
    }
}

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

fn only(version: TlsVersion) -> ServerTls {
    ServerTls { version_min: version, version_max: version, ..settings() }
}

/// A server with this certificate, and a client that believes this file.
#[track_caller]
fn towards(
    (cert, key): &(impl AsRef<str>, impl AsRef<str>),
    ca: &Path,
    name: &str,
) -> Result<(), TlsError> {
    let mut outcomes = BOTH.map(|version| {
        let der = pem::parse(cert.as_ref()).unwrap().into_contents().into();
        let key = PrivateKeyDer::from_pem_slice(key.as_ref().as_bytes()).unwrap();
        let chain = std::sync::Arc::new(Chain::new(vec![der], &key).unwrap());
        let client = client(&UpstreamTls { ca: Some(ca.to_owned()), ..UpstreamTls::default() });
        connect(&server(&only(version), vec![chain]), &client, name).map(|_| ())
    });
    let [one, other] = &mut outcomes;
    assert_eq!(
        one.as_ref().map_err(TlsError::to_string),
        other.as_ref().map_err(TlsError::to_string)
    );
    std::mem::replace(one, Ok(()))
}

#[test]
fn servers() {
    #[track_caller]
    fn check(itself: Itself<'_>, name: &str, expected: Result<(), &str>) {
        let (files, made) = (Files::new(), itself.pem());
        let outcome = towards(&made, &files.write("ca.pem", &made.0), name);
        let outcome = outcome.map_err(|error| {
            assert_eq!(*error.kind(), TlsErrorKind::Certificate);
            error.to_string()
        });
        match expected {
            Ok(()) => assert_eq!(outcome, Ok(())),
            Err(words) => assert!(outcome.as_ref().unwrap_err().contains(words), "{outcome:?}"),
        }
    }
    let leaf = || IsCa::ExplicitNoCa;
    // As `openssl req -x509` makes it, and otherwise.
    check(Itself::default(), "a.example", Ok(()));
    check(Itself { is_ca: leaf(), ..Itself::default() }, "a.example", Ok(()));
    check(Itself { is_ca: IsCa::NoCa, ..Itself::default() }, "A.Example.", Ok(()));
    // Names: the common one counts where there are no others.
    let common = |common_name| Itself { names: &[], common_name, ..Itself::default() };
    check(common("a.example"), "a.example", Ok(()));
    check(Itself { is_ca: leaf(), ..common("A.example") }, "a.example", Ok(()));
    check(common("10.1.2.3"), "10.1.2.3", Ok(()));
    check(common("*.example"), "a.example", Ok(()));
    check(common("*.example"), "b.a.example", Err("is for *.example, not for b.a.example"));
    check(common("b.example"), "a.example", Err("is for b.example, not for a.example"));
    let named = |names| Itself { names, common_name: "a.example", ..Itself::default() };
    check(named(&["b.example"]), "a.example", Err("is for b.example, not for a.example"));
    check(named(&["b.example", "*.a.example"]), "x.a.example", Ok(()));
    check(named(&["b.example", "::1"]), "::1", Ok(()));
    check(named(&["b.example", "10.0.0.1"]), "10.0.0.2", Err("not for 10.0.0.2"));
    // Its dates count.
    let dated = |days| Itself { days, ..Itself::default() };
    check(dated((-9, -2)), "a.example", Err("the certificate expired on"));
    check(dated((2, 9)), "a.example", Err("the certificate is not valid before"));
    // What it may be used for does not.
    let for_clients: fn(&mut CertificateParams) = |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    check(Itself { change: for_clients, ..Itself::default() }, "a.example", Ok(()));
}

#[test]
fn servers_with_a_certificate_of_version_1_or_of_another_issuer() {
    let files = Files::new();
    let ca = files.write("ca.pem", V1.0);
    assert_eq!(towards(&V1, &ca, "v1.example"), Ok(()));
    assert!(towards(&V1, &ca, "a.example").is_err());
    // Other bytes with the same key are another certificate.
    let (made, again) = (Itself::default().pem(), Itself::default().pem());
    let refused = towards(&made, &files.write("again.pem", &again.0), "a.example").unwrap_err();
    assert!(refused.to_string().contains("signed by itself"), "{refused}");
    // One whose issuer nobody believes, beside others.
    let (leaf, key) = PKI.issue(&Leaf::default());
    let both = files.write("both.pem", &[V1.0, &leaf.pem()].concat());
    assert_eq!(towards(&(leaf.pem(), key.serialize_pem()), &both, "a.example"), Ok(()));
    // `verify off` takes version 1 too.
    for version in BOTH {
        let der = pem::parse(V1.0).unwrap().into_contents().into();
        let key = PrivateKeyDer::from_pem_slice(V1.1.as_bytes()).unwrap();
        let chain = std::sync::Arc::new(Chain::new(vec![der], &key).unwrap());
        let careless = client(&UpstreamTls { verify: false, ..UpstreamTls::default() });
        connect(&server(&only(version), vec![chain]), &careless, "x.example").unwrap();
    }
}

#[test]
fn clients() {
    #[track_caller]
    fn check(
        made: &(impl AsRef<str>, impl AsRef<str>),
        ca: &str,
        crl: Option<&str>,
        expected: Result<&str, &str>,
    ) {
        let files = Files::new();
        let crl = crl.map(|crl| files.write("clients.crl", crl)).into_iter().collect::<Vec<_>>();
        for (version, policy) in
            BOTH.into_iter().flat_map(|v| [(v, ClientPolicy::Require), (v, ClientPolicy::Request)])
        {
            let asked = ClientCertificates {
                policy,
                ca: vec![files.write("ca.pem", ca)],
                crl: crl.clone(),
            };
            let settings = ServerTls { client: asked, ..only(version) };
            let server = server(&settings, vec![PKI.chain(&Leaf::default())]);
            let showing = UpstreamTls {
                ca: Some(PKI.ca_file()),
                client: Some(files.pair(made)),
                ..UpstreamTls::default()
            };
            let outcome = connect(&server, &client(&showing), "a.example");
            match (expected, outcome) {
                (Ok(subject), Ok((session, _))) => {
                    let info = session.info();
                    assert_eq!(&*info.client.as_ref().expect("a certificate").subject, subject);
                    assert!(server.still_admits(&info).is_ok());
                }
                (Err(words), Err(error)) => {
                    assert!(error.to_string().contains(words), "{error}");
                }
                (expected, outcome) => panic!("{expected:?} but {outcome:?}"),
            }
        }
    }
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
        let made = Itself { is_ca, ..Itself::default() }.pem();
        check(&made, &made.0, None, Ok("CN=itself"));
    }
    let nameless = Itself { names: &[], ..Itself::default() }.pem();
    check(&nameless, &nameless.0, None, Ok("CN=itself"));
    check(&V1, V1.0, None, Ok("CN=v1.example"));
    let expired = Itself { days: (-9, -2), ..Itself::default() }.pem();
    check(&expired, &expired.0, None, Err("expired on"));
    let (other, leaf) = (Itself::default().pem(), PKI.issue(&Leaf::default()));
    check(&(leaf.0.pem(), leaf.1.serialize_pem()), &other.0, None, Err("unknown"));
    let leaf = (leaf.0.pem(), leaf.1.serialize_pem());
    check(&leaf, &[&*other.0, &leaf.0].concat(), None, Ok("CN=a.example,O=Example\\, Ltd"));

    // A list of its own issuer counts, one of another does not.
    let key = KeyPair::generate().unwrap();
    let issuing: fn(&mut CertificateParams) =
        |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let params = Itself { change: issuing, ..Itself::default() }.params();
    let cert = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::from_params(&params, &key);
    let list = |serials: &[u64], days| {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::days(9),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::days(10),
            next_update: now + Duration::days(days),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().pem().unwrap()
    };
    let made = (cert, key.serialize_pem());
    check(&made, &made.0, Some(&list(&[], 9)), Ok("CN=itself"));
    check(&made, &made.0, Some(&list(&[8, 7], 9)), Err("revoked"));
    check(&made, &made.0, Some(&list(&[8], -2)), Err("expired"));
    check(&V1, &[V1.0, &made.0].concat(), Some(&list(&[7], 9)), Ok("CN=v1.example"));
}

/// What a reload means for connections that are open: they are judged by what is believed now.
#[test]
fn connections_of_before() {
    use ClientPolicy::{Off, Request, Require};
    let files = Files::new();
    let (alice, bob) =
        (PKI.issue(&Leaf { serial: 31, ..Leaf::default() }), Itself::default().pem());
    let ca = [std::fs::read_to_string(PKI.ca_file()).unwrap(), bob.0.clone()].concat();
    let ca = files.write("ca.pem", &ca);
    let asks = |policy, ca: &Path, crl: Vec<PathBuf>| ServerTls {
        client: ClientCertificates { policy, ca: vec![ca.to_owned()], crl },
        ..settings()
    };
    let make = |settings: &ServerTls| server(settings, vec![PKI.chain(&Leaf::default())]);
    let first = make(&asks(Request, &ca, Vec::new()));
    let info = |files: Option<CertificateFiles>| {
        let showing =
            UpstreamTls { ca: Some(PKI.ca_file()), client: files, ..UpstreamTls::default() };
        connect(&first, &client(&showing), "a.example").unwrap().0.info()
    };
    let of_alice = info(Some(files.pair(&(alice.0.pem(), alice.1.serialize_pem()))));
    let of_bob = info(Some(files.pair(&bob)));
    let of_nobody = info(None);
    let revoked = vec![PKI.revoke("open.crl", &[31], 9)];
    let unrelated = vec![PKI.revoke("unrelated.crl", &[32], 9)];
    let bobs = files.write("bob.pem", &bob.0);
    for (what, settings, admits) in [
        ("the same", asks(Request, &ca, vec![]), [true, true, true]),
        ("a list", asks(Request, &ca, unrelated), [true, true, true]),
        ("alice revoked", asks(Request, &ca, revoked.clone()), [false, true, true]),
        ("alice revoked, required", asks(Require, &ca, revoked), [false, true, false]),
        ("another CA", asks(Request, &bobs, vec![]), [false, true, true]),
        ("nobody is asked", settings_of(Off), [false, false, true]),
    ] {
        let now = make(&settings);
        let found = [&of_alice, &of_bob, &of_nobody].map(|info| now.still_admits(info).is_ok());
        assert_eq!(found, admits, "{what}");
        assert_ne!(now.id(), first.id());
        assert_eq!(now.is_like(&first, false), what == "the same");
    }
    let only13 = make(&ServerTls { version_min: TlsVersion::Tls13, ..settings() });
    let old = crate::Info { version: "TLSv1.2", ..crate::Info::default() };
    assert!(only13.still_admits(&old).is_err() && make(&settings()).still_admits(&old).is_ok());
}

fn settings_of(policy: ClientPolicy) -> ServerTls {
    ServerTls {
        client: ClientCertificates { policy, ..ClientCertificates::default() },
        ..settings()
    }
}

/// Whether one site's connections may carry another's requests.
#[test]
fn contexts_that_are_alike() {
    let chain = PKI.chain(&Leaf::default());
    let first = server(&settings(), vec![std::sync::Arc::clone(&chain)]);
    let make = |settings: &ServerTls| server(settings, vec![std::sync::Arc::clone(&chain)]);
    let hsts =
        config::Hsts { max_age: std::time::Duration::ZERO, subdomains: false, preload: false };
    let asks = super::pki::asks_clients(ClientPolicy::Request, &PKI);
    for (settings, alike) in [
        (settings(), true),
        (ServerTls { hsts: Some(hsts), tickets: false, ..settings() }, true),
        (ServerTls { version_min: TlsVersion::Tls13, ..settings() }, false),
        (ServerTls { version_max: TlsVersion::Tls12, ..settings() }, false),
        (ServerTls { early_data: true, ..settings() }, false),
        (asks, false),
    ] {
        assert_eq!(make(&settings).is_like(&first, true), alike, "{settings:?}");
    }
    let other = server(&settings(), vec![PKI.chain(&Leaf::default())]);
    assert!(!other.is_like(&first, true) && other.is_like(&first, false));
    assert!(PrivateKey::from_pem(V1.1.as_bytes()).is_ok());
}
