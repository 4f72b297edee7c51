//! Who a peer is by its certificate, and how things are called in records.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use message::ClientCertificate;
use rustls::CipherSuite;
use x509_parser::der_parser::ber::Tag;
use x509_parser::der_parser::oid::Oid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::error::{TlsError, TlsErrorKind};
use crate::slot::address;
use crate::words::date_words;

/// The facts of a client's certificate, which rustls has found good, now or when the session that
/// goes on began; in the latter case it may have ended since.
pub(crate) fn of_client(leaf: &[u8]) -> Result<ClientCertificate, TlsError> {
    let unreadable = || TlsError::new(TlsErrorKind::Certificate, "the certificate cannot be read");
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
    let not_after = parsed.validity().not_after.timestamp();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if i64::try_from(now).is_ok_and(|now| now > not_after) {
        let message = format!("the certificate expired on {}", date_words(not_after));
        return Err(TlsError::new(TlsErrorKind::Certificate, message));
    }
    let extension = parsed.subject_alternative_name().ok().flatten();
    let general = extension.iter().flat_map(|extension| &extension.value.general_names);
    let names = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    });
    // A name must be allowed in a field.
    let is_plain = |name: &String| !name.chars().any(char::is_control);
    let names = names.filter(is_plain).map(Into::into);
    let common_name = parsed.subject().iter_common_name().last().and_then(text_of);
    let common_name = common_name.filter(is_plain);
    Ok(ClientCertificate {
        subject: name_words(parsed.subject()).into(),
        common_name: common_name.map(Into::into),
        names: names.collect(),
        fingerprint: fingerprint(leaf).into(),
        der: leaf.into(),
    })
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, certificate).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A distinguished name as RFC 4514 writes it: `CN=ops,O=Example`.
pub(crate) fn name_words(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    // Section 2.1: the last comes first.
    for relative in name.iter().collect::<Vec<_>>().into_iter().rev() {
        let mut separator = if text.is_empty() { "" } else { "," };
        for attribute in relative.iter() {
            text.push_str(separator);
            push_attribute(&mut text, attribute);
            separator = "+";
        }
    }
    text
}

/// Section 3, and those beyond it that every tool writes in this way.
const ATTRIBUTES: &[(&[u64], &str)] = &[
    (&[2, 5, 4, 3], "CN"),
    (&[2, 5, 4, 7], "L"),
    (&[2, 5, 4, 8], "ST"),
    (&[2, 5, 4, 10], "O"),
    (&[2, 5, 4, 11], "OU"),
    (&[2, 5, 4, 6], "C"),
    (&[2, 5, 4, 9], "STREET"),
    (&[0, 9, 2342, 19200300, 100, 1, 25], "DC"),
    (&[0, 9, 2342, 19200300, 100, 1, 1], "UID"),
    (&[2, 5, 4, 5], "serialNumber"),
    (&[1, 2, 840, 113549, 1, 9, 1], "emailAddress"),
];

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let is =
        |oid: &Oid<'_>, arcs: &[u64]| oid.iter().is_some_and(|own| own.eq(arcs.iter().copied()));
    let known = ATTRIBUTES.iter().find(|(arcs, _)| is(attribute.attr_type(), arcs));
    match (known, text_of(attribute)) {
        (Some((_, name)), Some(value)) => {
            let _ = write!(text, "{name}=");
            push_escaped(text, &value);
        }
        // Section 2.4: a value without text is written as its encoding.
        _ => {
            let _ = write!(text, "{}=#{}", attribute.attr_type(), encoding_of(attribute));
        }
    }
}

/// The value as text, if it is of a type that has one. Only what is surely UTF-8.
fn text_of(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        // Latin-1 in practice.
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

fn encoding_of(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let tag = u8::try_from(value.tag().0).unwrap_or_default();
    let length = match u8::try_from(value.data.len()) {
        Ok(length) if length < 128 => hex(&[tag, length]),
        Ok(length) => hex(&[tag, 0x81, length]),
        Err(_) => {
            let [high, low] = u16::try_from(value.data.len()).unwrap_or(u16::MAX).to_be_bytes();
            hex(&[tag, 0x82, high, low])
        }
    };
    length + &hex(value.data)
}

/// Section 2.4. Control characters too, so that the text can go into a field.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            plain => text.push(plain),
        }
    }
}

/// The name as the registry of IANA has it.
pub(crate) fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    /// The text for a certificate with this subject, in the order of its parts.
    fn told(subject: &[(DnType, &str)], names: &[&str]) -> ClientCertificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        of_client(certificate.der()).unwrap()
    }

    #[test]
    fn subjects_as_rfc_4514_writes_them() {
        #[track_caller]
        fn check(subject: &[(DnType, &str)], expected: &str) {
            assert_eq!(&*told(subject, &[]).subject, expected);
        }
        let mail = || DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
        let own = || DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999, 1]);
        use DnType::{CommonName, CountryName, OrganizationName};
        check(&[], "");
        check(&[(OrganizationName, "Example"), (CommonName, "ops")], "CN=ops,O=Example");
        check(&[(CountryName, "DE"), (mail(), "a@b.example")], "emailAddress=a@b.example,C=DE");
        check(&[(CommonName, "a,b+c\"d\\e<f>g;h")], "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h");
        check(&[(CommonName, " #x ")], "CN=\\ #x\\ ");
        check(&[(CommonName, "#x")], "CN=\\#x");
        check(&[(CommonName, "a\r\nB: c\0")], "CN=a\\0D\\0AB: c\\00");
        check(&[(CommonName, "J\u{fc}rgen")], "CN=J\u{fc}rgen");
        check(&[(own(), "hi")], "1.3.6.1.4.1.99999.1=#0c026869");
    }

    #[test]
    fn names_of_all_kinds() {
        let names = ["Ops.Example", "10.1.2.3", "2001:db8::1", "a@b.example"];
        let client = told(&[(DnType::CommonName, "a\r\nb")], &names);
        let expected = ["ops.example", "10.1.2.3", "2001:db8::1", "a@b.example"];
        assert_eq!(client.names, expected.map(Into::into));
        assert_eq!(client.common_name, None, "it could not stand in a field");
        assert!(client.fingerprint.len() == 64 && !client.fingerprint.contains(char::is_uppercase));
    }
}
