//! Certificates for tests.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use config::{CertificateFiles, Place};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use crate::inspect::Certificate;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate with its key, that can sign others.
pub(crate) struct TestCertificate {
    pub(crate) cert: String,
    pub(crate) key: String,
    params: CertificateParams,
    pair: KeyPair,
}

impl TestCertificate {
    pub(crate) fn certificate(&self) -> Certificate {
        let der = pem::parse(&self.cert).unwrap().into_contents();
        Certificate::from_der(der.into()).unwrap()
    }

    pub(crate) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.pair)
    }

    /// Writes both files.
    pub(crate) fn write(&self, directory: &std::path::Path) -> CertificateFiles {
        let (cert, key): (PathBuf, PathBuf) = (directory.join("a.pem"), directory.join("a.key"));
        std::fs::write(&cert, &self.cert).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        CertificateFiles { place: Place::default(), cert, key }
    }
}

/// What is made.
pub(crate) struct Wanted<'w> {
    pub(crate) names: &'w [&'w str],
    /// Relative to now, in days.
    pub(crate) days: (i64, i64),
    pub(crate) change: fn(&mut CertificateParams),
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { names: &["a.example"], days: (-1, 90), change: |_| {} }
    }
}

impl Wanted<'_> {
    pub(crate) fn by(self, issuer: Option<&TestCertificate>) -> TestCertificate {
        let pair = KeyPair::generate().unwrap();
        let names: Vec<_> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let common = self.names.first().copied().unwrap_or("nameless");
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = at(self.days.0).into();
        params.not_after = at(self.days.1).into();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (self.change)(&mut params);
        let made = match issuer {
            Some(issuer) => params.signed_by(&pair, &issuer.issuer()),
            None => params.self_signed(&pair),
        };
        TestCertificate { cert: made.unwrap().pem(), key: pair.serialize_pem(), params, pair }
    }
}

pub(crate) fn at(days: i64) -> SystemTime {
    let length = DAY * u32::try_from(days.unsigned_abs()).unwrap();
    let now = SystemTime::now();
    if days < 0 { now - length } else { now + length }
}

/// Turns what is made into a CA.
pub(crate) fn authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names.clear();
    params.extended_key_usages.clear();
}

/// A CA of this name.
pub(crate) fn ca(name: &str, issuer: Option<&TestCertificate>) -> TestCertificate {
    Wanted { names: &[name], days: (-10, 1000), change: authority }.by(issuer)
}
