//! A CA, leafs, files and settings for the stories.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use config::{
    CertificateFiles, CertificateSource, ClientCertificates, ClientPolicy, Place, ServerTls,
    TlsVersion, UpstreamProtocol, UpstreamTls,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::{Chain, Challenges, Client, Server, Slot, Tickets};

pub(super) struct Pki {
    pub(super) files: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// What a leaf is like.
pub(super) struct Leaf<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) algorithm: &'static SignatureAlgorithm,
    pub(super) days: (i64, i64),
    pub(super) serial: u64,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            names: &["a.example", "127.0.0.1"],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            days: (-1, 30),
            serial: 1,
        }
    }
}

pub(super) static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::new("Test CA"));

impl Pki {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { files, issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    pub(super) fn root(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(super) fn issue(&self, leaf: &Leaf<'_>) -> (rcgen::Certificate, KeyPair) {
        let names = leaf.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Ltd");
        params.distinguished_name.push(DnType::CommonName, leaf.names[0]);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_before = OffsetDateTime::now_utc() + Duration::days(leaf.days.0);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(leaf.days.1);
        let key = match leaf.algorithm {
            rsa if *rsa == rcgen::PKCS_RSA_SHA256 => {
                KeyPair::generate_rsa_for(rsa, rcgen::RsaKeySize::_2048).unwrap()
            }
            other => KeyPair::generate_for(other).unwrap(),
        };
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(super) fn chain(&self, leaf: &Leaf<'_>) -> Arc<Chain> {
        let (certificate, key) = self.issue(leaf);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Arc::new(Chain::new(vec![certificate.der().clone()], &key).unwrap())
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(super) fn write(&self, name: &str, leaf: &Leaf<'_>) -> CertificateFiles {
        let (certificate, key) = self.issue(leaf);
        let cert = self.files.path().join(format!("{name}.pem"));
        let file = self.files.path().join(format!("{name}.key"));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&file, key.serialize_pem()).unwrap();
        CertificateFiles { place: Place::default(), cert, key: file }
    }

    /// Writes a list that revokes these serial numbers, and was to be renewed so many days ago.
    pub(super) fn revoke(&self, name: &str, serials: &[u64], next_days: i64) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::days(9),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::days(10),
            next_update: now + Duration::days(next_days),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.files.path().join(name);
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }
}

/// One site's settings.
pub(super) fn settings() -> ServerTls {
    ServerTls {
        place: Place { file: 0, line: 1, column: 1 },
        certificates: CertificateSource::Internal { names: Vec::new() },
        version_min: TlsVersion::Tls12,
        version_max: TlsVersion::Tls13,
        client: ClientCertificates::default(),
        early_data: false,
        tickets: true,
        hsts: None,
    }
}

pub(super) fn asks_clients(policy: ClientPolicy, pki: &Pki) -> ServerTls {
    let client = ClientCertificates { policy, ca: vec![pki.ca_file()], crl: Vec::new() };
    ServerTls { client, ..settings() }
}

/// A server with these chains, tickets of its own and no challenges.
pub(super) fn server(settings: &ServerTls, chains: Vec<Arc<Chain>>) -> Arc<Server> {
    server_with(settings, chains, &Tickets::new(), &Challenges::new())
}

pub(super) fn server_with(
    settings: &ServerTls,
    chains: Vec<Arc<Chain>>,
    tickets: &Arc<Tickets>,
    challenges: &Arc<Challenges>,
) -> Arc<Server> {
    let slot = Arc::new(Slot::new("a.example"));
    slot.set(chains);
    Server::new(settings, true, slot, Arc::clone(tickets), Arc::clone(challenges)).unwrap()
}

/// The plain case.
pub(super) fn plain_server() -> Arc<Server> {
    server(&settings(), vec![PKI.chain(&Leaf::default())])
}

/// Trusts the CA of the stories.
pub(super) fn trusting() -> UpstreamTls {
    UpstreamTls { ca: Some(PKI.ca_file()), ..UpstreamTls::default() }
}

pub(super) fn client(settings: &UpstreamTls) -> Arc<Client> {
    Client::new(settings, Place::default(), UpstreamProtocol::Auto).unwrap()
}
