//! Certificate requests (PKCS#10, RFC 2986): what a CA wants to see.

use std::fmt;
use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::key::{KeyError, PrivateKey, pem};

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// A name cannot be in a certificate.
    Name {
        /// As given.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The subject cannot be read.
    Subject(String),
    /// There is neither a name nor a subject.
    Empty,
    /// The key does not do.
    Key(KeyError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, why } => write!(out, "`{name}` cannot be in a certificate: {why}"),
            Self::Subject(why) => write!(out, "the subject cannot be read: {why}"),
            Self::Empty => out.write_str("a request is for at least one name"),
            Self::Key(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for RequestError {}

/// Makes a request in PEM for these names (DNS names, `*.example.com`, addresses, mail addresses),
/// with a subject as RFC 4514 writes it: `CN=example.com,O=Example`. Without a subject the first
/// name is its common name.
pub fn request(
    key: &PrivateKey,
    names: &[String],
    subject: Option<&str>,
) -> Result<String, RequestError> {
    if names.is_empty() && subject.is_none() {
        return Err(RequestError::Empty);
    }
    let alternatives = names.iter().map(|name| alternative(name)).collect::<Result<Vec<_>, _>>()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = match subject {
        Some(subject) => distinguished(subject)?,
        None => of_first(names),
    };
    params.subject_alt_names = alternatives;
    let pair = key.pair().map_err(RequestError::Key)?;
    let made = params.serialize_request(&pair);
    let made = made
        .map_err(|error| RequestError::Key(KeyError::Unusable(error.to_string().to_lowercase())))?;
    Ok(pem("CERTIFICATE REQUEST", made.der()))
}

/// X.520 allows a common name of 64 characters at most; the alternatives are what counts.
fn of_first(names: &[String]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(first) = names.first().filter(|name| name.len() <= 64) {
        subject.push(DnType::CommonName, first.as_str());
    }
    subject
}

/// A name as a subject alternative.
pub(crate) fn alternative(name: &str) -> Result<SanType, RequestError> {
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refuse = |why| RequestError::Name { name: name.to_owned(), why };
    let text = |text: &str| text.try_into().map_err(|_| refuse("it has letters beyond ASCII"));
    if let Some((user, host)) = name.split_once('@') {
        let is_good = !user.is_empty() && dns_mistake(host).is_none();
        return if is_good {
            Ok(SanType::Rfc822Name(text(name)?))
        } else {
            Err(refuse("it is no mail address"))
        };
    }
    if name.contains("://") {
        return Err(refuse("it is an URL; give the host alone"));
    }
    match dns_mistake(name.strip_prefix("*.").unwrap_or(name)) {
        Some(why) => Err(refuse(why)),
        None => Ok(SanType::DnsName(text(&name.to_ascii_lowercase())?)),
    }
}

/// RFC 1034, section 3.5, with underscores, which are common.
fn dns_mistake(name: &str) -> Option<&'static str> {
    if !name.is_ascii() {
        return Some("it has letters beyond ASCII; give its `xn--` form");
    }
    if name.contains('*') {
        return Some("a `*` may only be the whole first label, as in `*.example.com`");
    }
    if name.contains(':') {
        return Some("a name has no port");
    }
    if name.contains('/') {
        return Some("it is no host name");
    }
    if name.is_empty() || name.len() > 253 {
        return Some("a name has 1 to 253 characters");
    }
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (!name.split('.').all(is_label)).then_some("it is no host name")
}

/// Reads `CN=example.com, O=Example\, Inc.`; OpenSSL's `/CN=example.com/O=Example` too.
fn distinguished(text: &str) -> Result<DistinguishedName, RequestError> {
    let mut subject = DistinguishedName::new();
    let separator = if text.starts_with('/') { '/' } else { ',' };
    for part in split(text.strip_prefix('/').unwrap_or(text), separator) {
        let Some((name, value)) = part.split_once('=') else {
            let words = format!("`{part}` is not `NAME=value`");
            return Err(RequestError::Subject(words));
        };
        let (name, value) = (name.trim(), value.trim());
        let Some((_, kind)) = ATTRIBUTES.iter().find(|row| row.0.eq_ignore_ascii_case(name)) else {
            let known: Vec<_> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
            let words = format!("`{name}` is not known (known: {})", known.join(", "));
            return Err(RequestError::Subject(words));
        };
        if value.is_empty() {
            return Err(RequestError::Subject(format!("`{name}` has no value")));
        }
        let kind = kind();
        if subject.get(&kind).is_some() {
            return Err(RequestError::Subject(format!("`{name}` is there twice")));
        }
        if kind == DnType::CountryName
            && !(value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_alphabetic()))
        {
            // X.520: a PrintableString of two letters.
            let words = format!("a country has two letters, such as `DE`, not `{value}`");
            return Err(RequestError::Subject(words));
        }
        subject.push(kind, value);
    }
    Ok(subject)
}

/// A name of RFC 4514, and what it stands for.
type Attribute = (&'static str, fn() -> DnType);

/// What a subject may be made of.
static ATTRIBUTES: &[Attribute] = &[
    ("CN", || DnType::CommonName),
    ("O", || DnType::OrganizationName),
    ("OU", || DnType::OrganizationalUnitName),
    ("L", || DnType::LocalityName),
    ("ST", || DnType::StateOrProvinceName),
    ("C", || DnType::CountryName),
    ("emailAddress", || DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1])),
    ("serialNumber", || DnType::from_oid(&[2, 5, 4, 5])),
];

/// At each separator without a backslash before it.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let escaped = if letter == '\\' { letters.next() } else { None };
        if letter == separator {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(escaped.unwrap_or(letter));
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use config::KeyKind;

    use super::*;

    #[test]
    fn names() {
        #[track_caller]
        fn check(name: &str, expected: Result<SanType, &str>) {
            match (alternative(name), expected) {
                (Ok(made), Ok(expected)) => assert_eq!(made, expected),
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{error}");
                }
                (made, expected) => panic!("{name}: {made:?}, not {expected:?}"),
            }
        }
        let dns = |name: &str| Ok(SanType::DnsName(name.try_into().unwrap()));
        check("Shop.Example.com", dns("shop.example.com"));
        check("*.example.com", dns("*.example.com"));
        check("localhost", dns("localhost"));
        check("10.0.0.1", Ok(SanType::IpAddress("10.0.0.1".parse().unwrap())));
        check("[::1]", Ok(SanType::IpAddress("::1".parse().unwrap())));
        check("ops@example.com", Ok(SanType::Rfc822Name("ops@example.com".try_into().unwrap())));
        check("a.*.example.com", Err("whole first label"));
        check("*", Err("whole first label"));
        check("https://example.com", Err("URL"));
        check("example.com:443", Err("port"));
        check("münchen.example", Err("xn--"));
        check("a..b", Err("no host name"));
        check("-a.b", Err("no host name"));
        check("", Err("1 to 253"));
        check(&"a".repeat(64), Err("no host name"));
        check("@b", Err("mail"));
    }

    #[test]
    fn subjects() {
        #[track_caller]
        fn check(text: &str, expected: &[(DnType, &str)]) {
            let mut subject = DistinguishedName::new();
            for (kind, value) in expected {
                subject.push(kind.clone(), *value);
            }
            assert_eq!(distinguished(text), Ok(subject), "{text}");
        }
        check(
            "CN=a.example, O=A\\, Inc.",
            &[(DnType::CommonName, "a.example"), (DnType::OrganizationName, "A, Inc.")],
        );
        check(
            "/C=DE/O=A/CN=a",
            &[
                (DnType::CountryName, "DE"),
                (DnType::OrganizationName, "A"),
                (DnType::CommonName, "a"),
            ],
        );
        check("o=a=b", &[(DnType::OrganizationName, "a=b")]);
        for (text, words) in [
            ("example.com", "`example.com` is not `NAME=value`"),
            ("CN=", "no value"),
            ("XX=1", "known: CN, O"),
            ("C=Germany", "two letters"),
            ("CN=a,CN=b", "twice"),
        ] {
            let error = distinguished(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_request_has_what_was_asked_for() {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let names = ["example.com".to_owned(), "*.example.com".to_owned(), "10.0.0.1".to_owned()];
        let text = request(&key, &names, None).unwrap();
        let read = rcgen::CertificateSigningRequestParams::from_pem(&text).unwrap();
        assert_eq!(read.params.subject_alt_names.len(), 3);
        assert!(read.params.distinguished_name.get(&DnType::CommonName).is_some());
        assert_eq!(request(&key, &[], None), Err(RequestError::Empty));
    }
}
