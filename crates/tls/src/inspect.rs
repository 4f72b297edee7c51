//! Certificates in words: what is in them, and what is wrong with a chain.
//!
//! [`Certificate`] tells facts; [`judge`] finds what a client, a browser or an operator would
//! complain of. Both take the time as an argument. Nothing is looked up.

use std::time::{Duration, SystemTime};

use config::SiteName;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Problem, Severity};
use crate::identity::{fingerprint, hex, name_words};
use crate::key::KeyFacts;
use crate::slot::address;

/// Something found, that some place is to be blamed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is an error.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), hint: None }
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the line that says it.
    pub(crate) fn at(self, place: config::Place) -> Problem {
        let Self { severity, message, hint } = self;
        Problem { place, message, hint, severity }
    }
}

/// What is in a certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Whom it is for, as RFC 4514 writes it.
    pub subject: String,
    /// The common name in the subject.
    pub common_name: Option<String>,
    /// Who signed it, as RFC 4514 writes it.
    pub issuer: String,
    /// The subject alternative names: DNS names, addresses, mail addresses, URIs.
    pub names: Vec<String>,
    /// Hexadecimal digits.
    pub serial: String,
    /// The first moment it holds.
    pub not_before: SystemTime,
    /// The last.
    pub not_after: SystemTime,
    /// Its key.
    pub key: KeyFacts,
    /// How it is signed, such as `ECDSA with SHA-256`.
    pub signature: String,
    /// Why that is too weak, if it is.
    pub signature_weak: Option<&'static str>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether it is signed by its own key.
    pub is_self_signed: bool,
    /// Whether servers may use it.
    pub for_servers: bool,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
    /// The URL of its issuer's certificate.
    pub issuer_url: Option<String>,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Reads one.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, String> {
        let fingerprint = fingerprint(&der);
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("there is something after its end".to_owned());
        }
        let names = names(&parsed)?;
        let (signature, signature_weak) = signature(&parsed);
        let facts = Self {
            subject: name_words(parsed.subject()),
            common_name: parsed
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            issuer: name_words(parsed.issuer()),
            names,
            serial: hex(parsed.raw_serial()),
            not_before: time(parsed.validity().not_before.timestamp()),
            not_after: time(parsed.validity().not_after.timestamp()),
            key: KeyFacts::of(parsed.public_key()),
            signature,
            signature_weak,
            is_ca: parsed.is_ca(),
            is_self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw()
                && parsed.verify_signature(None).is_ok(),
            for_servers: for_servers(&parsed),
            fingerprint,
            issuer_url: issuer_url(&parsed),
            der: CertificateDer::from(Vec::new()),
        };
        drop(parsed);
        Ok(Self { der, ..facts })
    }

    /// Its bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        crate::key::pem("CERTIFICATE", &self.der)
    }

    /// What people call it: its first name.
    pub fn title(&self) -> &str {
        let first = self.names.first().map(String::as_str);
        first.or(self.common_name.as_deref()).unwrap_or(&self.subject)
    }

    /// Whether it holds for a host: RFC 6125, section 6.4; the common name does not count (RFC 9525,
    /// section 2).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.iter().any(|name| covers(&name.to_ascii_lowercase(), &host))
    }

    fn covers_site(&self, name: &SiteName) -> bool {
        match name {
            SiteName::Exact(host) => self.covers(host),
            SiteName::Label { suffix, .. } | SiteName::Wildcard(suffix) => {
                let wanted = format!("*.{suffix}");
                self.names.iter().any(|name| name.eq_ignore_ascii_case(&wanted))
            }
            SiteName::Default => true,
        }
    }

    /// Whether the other one has signed this one; `None`: its name is not even the issuer's.
    fn is_signed_by(&self, other: &Self) -> Option<bool> {
        let (_, own) = X509Certificate::from_der(&self.der).ok()?;
        let (_, other) = X509Certificate::from_der(&other.der).ok()?;
        if own.issuer().as_raw() != other.subject().as_raw() {
            return None;
        }
        Some(own.verify_signature(Some(other.public_key())).is_ok())
    }
}

fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(suffix) => {
            host.split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && label != "*" && rest == suffix)
                || host == name
        }
        None => name == host,
    }
}

fn time(unix: i64) -> SystemTime {
    let seconds = u64::try_from(unix).unwrap_or_default();
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn names(parsed: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let extension = parsed
        .subject_alternative_name()
        .map_err(|_| "its subject alternative names cannot be read".to_owned())?;
    let general = extension.iter().flat_map(|extension| &extension.value.general_names);
    let names = general.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    });
    Ok(names.collect())
}

fn for_servers(parsed: &X509Certificate<'_>) -> bool {
    match parsed.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        _ => true,
    }
}

fn issuer_url(parsed: &X509Certificate<'_>) -> Option<String> {
    let access =
        parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => Some(access),
            _ => None,
        })?;
    access.accessdescs.iter().find_map(|description| {
        // id-ad-caIssuers, RFC 5280, section 4.2.2.1.
        let is_issuer = description.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2";
        match &description.access_location {
            GeneralName::URI(url) if is_issuer => Some((*url).to_owned()),
            _ => None,
        }
    })
}

fn signature(parsed: &X509Certificate<'_>) -> (String, Option<&'static str>) {
    const SHA1: &str = "SHA-1 is not safe any more; browsers refuse it";
    const MD5: &str = "MD5 is broken; no client accepts it";
    let oid = parsed.signature_algorithm.algorithm.to_id_string();
    let (words, weak) = match oid.as_str() {
        "1.2.840.113549.1.1.4" => ("RSA with MD5", Some(MD5)),
        "1.2.840.113549.1.1.5" => ("RSA with SHA-1", Some(SHA1)),
        "1.2.840.113549.1.1.10" => ("RSA-PSS", None),
        "1.2.840.113549.1.1.11" => ("RSA with SHA-256", None),
        "1.2.840.113549.1.1.12" => ("RSA with SHA-384", None),
        "1.2.840.113549.1.1.13" => ("RSA with SHA-512", None),
        "1.2.840.10045.4.1" => ("ECDSA with SHA-1", Some(SHA1)),
        "1.2.840.10045.4.3.2" => ("ECDSA with SHA-256", None),
        "1.2.840.10045.4.3.3" => ("ECDSA with SHA-384", None),
        "1.2.840.10045.4.3.4" => ("ECDSA with SHA-512", None),
        "1.3.101.112" => ("Ed25519", None),
        "1.3.101.113" => ("Ed448", None),
        other => (other, None),
    };
    (words.to_owned(), weak)
}

/// A day: `2026-11-23`.
pub fn day(at: SystemTime) -> String {
    let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let at =
        i64::try_from(unix).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    at.map_or_else(
        || "never".to_owned(),
        |at| format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day()),
    )
}

/// A length of time as people say it: `12 days`, `3 hours`.
pub(crate) fn words(length: Duration) -> String {
    let count = |number: u64, unit: &str| {
        if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
    };
    let minutes = length.as_secs() / 60;
    match minutes {
        0..=119 => count(minutes, "minute"),
        120..=2879 => count(minutes / 60, "hour"),
        _ => count(minutes / 1440, "day"),
    }
}

/// `in 12 days`, `3 hours ago`.
pub fn relative(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(ahead) => format!("in {}", words(ahead)),
        Err(past) => format!("{} ago", words(past.duration())),
    }
}

/// How long before its end a certificate is warned of.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(21 * 24 * 3600);

/// The same for certificates that live for days only, which are surely renewed automatically.
pub(crate) fn expiry_warning(not_before: SystemTime, not_after: SystemTime) -> Duration {
    const SHORT_LIFE: Duration = Duration::from_secs(8 * 24 * 3600);
    let life = not_after.duration_since(not_before).unwrap_or_default();
    if life < SHORT_LIFE { life / 4 } else { EXPIRY_WARNING }
}

/// What is wrong with a chain (the leaf first) that some server shows, for these names.
pub fn judge_shown(chain: &[Certificate], names: &[SiteName], now: SystemTime) -> Vec<Finding> {
    let ahead = chain.first().map(|leaf| expiry_warning(leaf.not_before, leaf.not_after));
    judge_within(chain, names, now, ahead.unwrap_or_default())
}

/// What is wrong with a chain (the leaf first) for a server with these names.
pub fn judge(chain: &[Certificate], names: &[SiteName], now: SystemTime) -> Vec<Finding> {
    judge_within(chain, names, now, EXPIRY_WARNING)
}

fn judge_within(
    chain: &[Certificate],
    names: &[SiteName],
    now: SystemTime,
    ahead: Duration,
) -> Vec<Finding> {
    let Some(leaf) = chain.first() else { return vec![Finding::error("there is no certificate")] };
    let mut findings = dates(leaf, now, ahead);
    findings.extend(coverage(leaf, names));
    if leaf.is_ca && !leaf.is_self_signed {
        findings.push(Finding::error("the first certificate is a CA's, not a server's").hint(
            "the order in the file is: the server's certificate, then that of its issuer, and so on",
        ));
    } else if !leaf.for_servers {
        findings.push(
            Finding::error("it is not for servers: its extended key usage lacks serverAuth")
                .hint("have the CA issue one with extendedKeyUsage=serverAuth"),
        );
    }
    for certificate in chain {
        let words = [
            certificate.key.weak,
            certificate.signature_weak.filter(|_| !certificate.is_self_signed),
        ];
        for weak in words.into_iter().flatten() {
            let message = format!("`{}` is weak: {weak}", certificate.title());
            findings
                .push(Finding::warning(message).hint("have it issued again with a stronger key"));
        }
    }
    findings.extend(order(chain, now));
    findings
}

fn dates(leaf: &Certificate, now: SystemTime, ahead: Duration) -> Vec<Finding> {
    let finding = if leaf.not_after < now {
        Finding::error(format!(
            "the certificate expired on {} ({})",
            day(leaf.not_after),
            relative(leaf.not_after, now)
        ))
        .hint("renew it, or have it renewed: `tls auto` (ACME) or `tls internal`")
    } else if leaf.not_before > now {
        Finding::error(format!(
            "the certificate is not valid before {} ({})",
            day(leaf.not_before),
            relative(leaf.not_before, now)
        ))
        .hint("is this machine's clock right?")
    } else if leaf.not_after.duration_since(now).is_ok_and(|left| left < ahead) {
        Finding::warning(format!(
            "the certificate expires on {} ({})",
            day(leaf.not_after),
            relative(leaf.not_after, now)
        ))
        .hint("renew it, or have it renewed: `tls auto` (ACME) or `tls internal`")
    } else {
        return Vec::new();
    };
    vec![finding]
}

fn coverage(leaf: &Certificate, names: &[SiteName]) -> Vec<Finding> {
    if leaf.names.is_empty() {
        let finding = Finding::error(
            "it has no subject alternative names; clients do not look at the common name any more",
        );
        return vec![
            finding.hint("have it issued for its names: bothways cert csr --key FILE NAME…"),
        ];
    }
    let missing: Vec<_> =
        names.iter().filter(|name| !leaf.covers_site(name)).map(written).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "it is not for {}, but for {}",
        listed(&missing),
        listed(&leaf.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
    );
    vec![
        Finding::error(message)
            .hint("have it issued for all names of the site, or serve those elsewhere"),
    ]
}

fn written(name: &SiteName) -> String {
    format!("`{name}`")
}

/// `a, b and c`; long lists are cut.
fn listed(words: &[String]) -> String {
    const SHOWN_MAX: usize = 6;
    match words {
        [] => String::new(),
        [one] => one.clone(),
        many if many.len() > SHOWN_MAX => {
            let shown = many.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
            format!("{shown} and {} more", many.len() - SHOWN_MAX)
        }
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Whether each certificate is signed by the next, and where the chain ends.
fn order(chain: &[Certificate], now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, pair) in chain.windows(2).enumerate() {
        let [own, next] = pair else { continue };
        match own.is_signed_by(next) {
            Some(true) => {}
            Some(false) => findings.push(Finding::error(format!(
                "`{}` is not signed by the `{}` that follows it, though that has its issuer's name",
                own.title(),
                next.title()
            )).hint("a CA has several certificates of that name; take the one that came with yours")),
            None if own.is_self_signed => findings.push(Finding::warning(format!(
                "`{}` follows a certificate that needs no other", next.title(),
            )).hint("remove what follows")),
            None => {
                let elsewhere = chain.iter().any(|other| own.is_signed_by(other) == Some(true));
                let hint = if elsewhere {
                    "put the certificates in order: the server's first, then each one's issuer"
                } else {
                    "remove it, and append the issuer's certificate"
                };
                let message = format!(
                    "certificate {} (`{}`) did not sign the one before it (`{}`)",
                    index + 2, next.title(), own.title(),
                );
                findings.push(Finding::error(message).hint(hint));
            }
        }
        if next.not_after < now {
            findings.push(
                Finding::error(format!(
                    "the intermediate `{}` expired on {}",
                    next.title(),
                    day(next.not_after)
                ))
                .hint("get the current one from the CA"),
            );
        }
    }
    if findings.is_empty() {
        findings.extend(end(chain));
    }
    findings
}

/// A public CA's leaf alone: clients that do not know the intermediate yet refuse it. Own CAs often
/// sign leafs by the root itself, which clients have; those name no URL.
fn end(chain: &[Certificate]) -> Option<Finding> {
    let [leaf] = chain else { return None };
    let url = leaf.issuer_url.as_ref()?;
    let message = format!(
        "the intermediate certificate is missing: `{}` is not in the file, and many clients will \
         not find it",
        leaf.issuer
    );
    Some(Finding::warning(message).hint(format!("append it to the file (from {url})")))
}

#[cfg(test)]
mod tests;
