//! Responses to challenges: the proof that we control a name, from when it is published until it is withdrawn.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use config::AcmeChallenge;
use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::failure::AcmeError;
use super::hook::{self, Action};
use crate::challenges::Challenges;
use crate::slot::Chain;

/// The published responses for the names of one order.
pub(super) struct ChallengeResponses<'a> {
    challenges: &'a Challenges,
    method: &'a AcmeChallenge,
    up: Vec<Proof>,
}

enum Proof {
    Http { token: String },
    Alpn { name: String },
    Dns { record: String, value: String },
}

impl<'a> ChallengeResponses<'a> {
    pub(super) fn new(challenges: &'a Challenges, method: &'a AcmeChallenge) -> Self {
        Self { challenges, method, up: Vec::new() }
    }

    /// Publishes the proof of control of `name` (without `*.`).
    pub(super) async fn put_up(
        &mut self,
        name: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<(), AcmeError> {
        match self.method {
            AcmeChallenge::Http => {
                self.challenges.set_http(token, authorization.as_str());
                self.up.push(Proof::Http { token: token.to_owned() });
            }
            AcmeChallenge::TlsAlpn => {
                let chain = alpn_chain(name, authorization.digest().as_ref());
                let chain = chain.map_err(|why| {
                    AcmeError::local(format!(
                        "cannot make the certificate that shows control of {name}: {why}"
                    ))
                })?;
                let name = alpn_name(name);
                self.challenges.set_alpn(&name, Arc::new(chain));
                self.up.push(Proof::Alpn { name });
            }
            AcmeChallenge::Dns { command, .. } => {
                let (record, value) =
                    (format!("_acme-challenge.{name}"), authorization.dns_value());
                // Taken down also if the command fails, or we are stopped, half-way.
                self.up.push(Proof::Dns { record: record.clone(), value: value.clone() });
                hook::run(command, Action::Set, &record, &value).await?;
            }
        }
        Ok(())
    }

    /// The method of the proof, and its name.
    pub(super) fn method(&self) -> (ChallengeType, &'static str) {
        match self.method {
            AcmeChallenge::Http => (ChallengeType::Http01, "http-01"),
            AcmeChallenge::TlsAlpn => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            AcmeChallenge::Dns { .. } => (ChallengeType::Dns01, "dns-01"),
        }
    }

    /// How long to wait until it can be seen.
    pub(super) fn wait(&self) -> Duration {
        match self.method {
            AcmeChallenge::Dns { wait, .. } if !self.up.is_empty() => *wait,
            _ => Duration::ZERO,
        }
    }

    /// Takes everything down.
    pub(super) async fn take_down(&mut self) {
        for proof in self.up.drain(..) {
            match (proof, self.method) {
                (Proof::Http { token }, _) => self.challenges.clear_http(&token),
                (Proof::Alpn { name }, _) => self.challenges.clear_alpn(&name),
                (Proof::Dns { record, value }, AcmeChallenge::Dns { command, .. }) => {
                    if let Err(error) = hook::run(command, Action::Clear, &record, &value).await {
                        tracing::warn!(%error, "a challenge's DNS record stays behind");
                    }
                }
                (Proof::Dns { .. }, _) => {}
            }
        }
    }
}

/// Nothing is answered any more, however an order ends; records in the DNS take a command.
impl Drop for ChallengeResponses<'_> {
    fn drop(&mut self) {
        for proof in &self.up {
            match proof {
                Proof::Http { token } => self.challenges.clear_http(token),
                Proof::Alpn { name } => self.challenges.clear_alpn(name),
                Proof::Dns { .. } => {}
            }
        }
    }
}

/// What RFC 8555 and RFC 8737 call a method.
pub(super) fn name_of(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Http01 => "http-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::Unknown(name) => name,
        _ => "another",
    }
}

/// The self-signed certificate of TLS-ALPN-01 (RFC 8737, section 3).
fn alpn_chain(name: &str, digest: &[u8]) -> Result<Chain, String> {
    let mut parameters = CertificateParams::new([name.to_owned()]).map_err(|e| e.to_string())?;
    // `rcgen` asserts this length.
    if digest.len() != 32 {
        return Err("the digest is not SHA-256".to_owned());
    }
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = parameters.self_signed(&key).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Chain::new(vec![certificate.der().clone()], &key).map_err(|error| error.to_string())
}

/// What a validation asks for by SNI: addresses by their name for reverse look-up (RFC 8738, section
/// 6).
fn alpn_name(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles =
                address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<_> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_validation_asks_for() {
        assert_eq!(alpn_name("a.example"), "a.example");
        assert_eq!(alpn_name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        // The example of RFC 8738, section 6.
        assert_eq!(
            alpn_name("2001:db8::1"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }

    #[test]
    fn the_certificate_that_answers() {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let chain = alpn_chain("a.example", &[7; 32]).unwrap();
        let (_, leaf) = X509Certificate::from_der(&chain.key.cert[0]).unwrap();
        let found = leaf.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let found = found.expect("the extension of RFC 8737");
        assert!(found.critical);
        assert_eq!(found.value, [&[4, 32][..], &[7; 32]].concat());
        assert_eq!(*chain.names, ["a.example".into()], "and no other name");
        assert!(alpn_chain("a.example", &[7; 31]).is_err());
    }
}
