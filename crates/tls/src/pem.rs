//! What is in a PEM file, and what people put there instead.

use std::fmt;
use std::path::Path;

use rustls_pki_types::pem::{PemObject, SectionKind};

/// The parts of a PEM file that we know.
pub(crate) struct Sections(pub(crate) Vec<(SectionKind, Vec<u8>)>);

/// Why a file is not the PEM that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemError {
    /// It is empty.
    Empty,
    /// DER, perhaps PKCS#12.
    Binary {
        /// Whether it looks like PKCS#12.
        pkcs12: bool,
    },
    /// Text that has no PEM in it.
    NotPem,
    /// PEM that is broken.
    Broken(String),
    /// A key that needs a password.
    Encrypted,
    /// A certificate with settings of OpenSSL's own (`TRUSTED CERTIFICATE`).
    Trusted,
    /// PEM, but of other things.
    Other {
        /// What is wanted: `certificate` or `private key`.
        wanted: &'static str,
        /// The labels of what is there, such as `CERTIFICATE REQUEST`.
        found: Vec<String>,
    },
}

impl fmt::Display for PemError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("the file is empty"),
            Self::Binary { pkcs12: true } => out.write_str("it is PKCS#12, PEM is wanted"),
            Self::Binary { pkcs12: false } => out.write_str("it is DER, PEM is wanted"),
            Self::NotPem => out.write_str("it is not PEM: there is no line `-----BEGIN …-----`"),
            Self::Broken(what) => write!(out, "the PEM is broken: {what}"),
            Self::Encrypted => out.write_str("the key is encrypted with a password"),
            Self::Trusted => out.write_str(
                "a certificate in it has settings of OpenSSL's own (TRUSTED CERTIFICATE), which \
                 would be lost",
            ),
            Self::Other { wanted, found } if found.is_empty() => {
                write!(out, "there is no {wanted} in it")
            }
            Self::Other { wanted, found } => {
                let found: Vec<_> = found.iter().map(|label| words(label)).collect();
                write!(out, "there is no {wanted} in it, only {}", found.join(" and "))
            }
        }
    }
}

fn words(label: &str) -> String {
    match label {
        "CERTIFICATE" => "a certificate".to_owned(),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            "a certificate request (what a CA signs)".to_owned()
        }
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => "a private key".to_owned(),
        "PUBLIC KEY" => "a public key".to_owned(),
        "X509 CRL" => "a revocation list".to_owned(),
        other => format!("`{other}`"),
    }
}

impl PemError {
    /// The command, or the step, that sets it right.
    pub fn hint(&self, file: &Path) -> Option<String> {
        let stem = file.with_extension("");
        let (file, stem) = (file.display(), stem.display());
        match self {
            Self::Encrypted => Some(format!(
                "decrypt it: (umask 077; openssl pkey -in {file} -out {stem}.plain.key)"
            )),
            Self::Binary { pkcs12: true } => {
                Some(format!("convert it: openssl pkcs12 -in {file} -nodes -out {stem}.pem"))
            }
            Self::Binary { pkcs12: false } => Some(format!(
                "convert it: openssl x509 -inform der -in {file} -out {stem}.pem \
                 (a key: openssl pkey -inform der …)"
            )),
            Self::Other { wanted: "private key", found } if has(found, "CERTIFICATE") => {
                Some("the certificate and the key may have been swapped".to_owned())
            }
            Self::Other { wanted: "certificate", found } if has(found, "PRIVATE KEY") => {
                Some("the certificate and the key may have been swapped".to_owned())
            }
            Self::Other { wanted: "certificate", found } if has(found, "CERTIFICATE REQUEST") => {
                Some("the CA that signs the request gives the certificate".to_owned())
            }
            Self::Other { found, .. } if has(found, "PKCS7") => {
                Some(format!("convert it: openssl pkcs7 -in {file} -print_certs -out {stem}.pem"))
            }
            Self::Trusted => Some(format!(
                "make a plain one of it: openssl x509 -in {file} -out {stem}.plain.pem"
            )),
            _ => None,
        }
    }
}

fn has(found: &[String], label: &str) -> bool {
    found.iter().any(|is| is == label || (label == "PRIVATE KEY" && is.ends_with(label)))
}

impl Sections {
    /// Reads all parts.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, PemError> {
        let plain = plain(bytes);
        if bytes.trim_ascii_start().strip_prefix(BOM).unwrap_or(bytes).trim_ascii().is_empty() {
            return Err(PemError::Empty);
        }
        if plain.is_empty() {
            // DER of a certificate or key is a SEQUENCE of a long length.
            let is_der = bytes.first() == Some(&0x30) && bytes.iter().any(|byte| *byte >= 0x80);
            let pkcs12 = bytes.windows(11).take(64).any(|window| {
                // A PFX begins with version 3 and then names PKCS#7 data.
                window == [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01]
            });
            return Err(if is_der { PemError::Binary { pkcs12 } } else { PemError::NotPem });
        }
        let mut sections = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&plain) {
            match section {
                Ok(section) => sections.push(section),
                // RFC 1421 headers of a key that is encrypted the old way are no base64.
                Err(_) if is_encrypted(bytes) => return Err(PemError::Encrypted),
                Err(error) => return Err(PemError::Broken(broken(&error))),
            }
        }
        Ok(Self(sections))
    }

    /// All certificates; never empty.
    pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
        let all = Self::read(bytes)?.0.into_iter();
        let certificates: Vec<_> =
            all.filter(|(kind, _)| *kind == SectionKind::Certificate).map(|(_, der)| der).collect();
        if has(&labels(bytes), "TRUSTED CERTIFICATE") {
            return Err(PemError::Trusted);
        }
        if certificates.is_empty() {
            return Err(PemError::Other { wanted: "certificate", found: labels(bytes) });
        }
        Ok(certificates)
    }

    /// The first private key.
    pub(crate) fn key(bytes: &[u8]) -> Result<(SectionKind, Vec<u8>), PemError> {
        let is_key = |kind| {
            matches!(
                kind,
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
            )
        };
        let found = Self::read(bytes)?.0.into_iter().find(|(kind, _)| is_key(*kind));
        found.ok_or_else(|| {
            if is_encrypted(bytes) {
                PemError::Encrypted
            } else {
                PemError::Other { wanted: "private key", found: labels(bytes) }
            }
        })
    }
}

/// A byte order mark in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The parts of PEM as everybody writes them, whatever an editor or `cat` made of them (RFC 7468, section 2):
/// without byte order marks, blanks around lines and text between the parts; one line after another, also
/// where a file without a last line break was put before another; `X509 CERTIFICATE` is `CERTIFICATE`, as for
/// OpenSSL; UTF-16 with its mark is read. Empty if there is no part.
pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let text = from_utf16(bytes);
    let bytes = text.as_deref().map_or(bytes, str::as_bytes);
    let mut out = Vec::with_capacity(bytes.len());
    let mut is_within = false;
    let mut push = |line: &[u8]| {
        is_within |= line.starts_with(BEGIN);
        if is_within && !line.is_empty() {
            let marks = line.starts_with(BEGIN) || line.starts_with(END);
            match marks.then(|| find(line, b" X509 CERTIFICATE-----")).flatten() {
                Some(at) => {
                    out.extend_from_slice(line.get(..at).unwrap_or_default());
                    out.extend_from_slice(b" CERTIFICATE-----");
                }
                None => out.extend_from_slice(line),
            }
            out.push(b'\n');
        }
        is_within &= !line.starts_with(END);
    };
    for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let mut line = line.trim_ascii();
        while let Some(rest) = line.strip_prefix(BOM) {
            line = rest.trim_ascii();
        }
        // `-----END X----------BEGIN Y-----`.
        let next = find(line, BEGIN).filter(|at| *at > 0 && line.starts_with(END));
        let (first, second) =
            line.split_at_checked(next.unwrap_or(line.len())).unwrap_or((line, &[]));
        push(first.trim_ascii_end());
        push(second);
    }
    out
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// Text of Windows' editors.
fn from_utf16(bytes: &[u8]) -> Option<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = bytes.get(2..)?.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied());
    let text = char::decode_utf16(units.map(unit));
    Some(text.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

fn is_encrypted(bytes: &[u8]) -> bool {
    let bytes = plain(bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What the file says is in it, each once.
fn labels(bytes: &[u8]) -> Vec<String> {
    let bytes = plain(bytes);
    let text = String::from_utf8_lossy(&bytes);
    let mut labels = Vec::new();
    for line in text.lines() {
        let label = line.trim().strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----"));
        if let Some(label) = label
            && !labels.iter().any(|is| is == label)
        {
            labels.push(label.to_owned());
        }
    }
    labels
}

fn broken(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { end_marker } => {
            format!(
                "there is no line `-----END {}-----`",
                String::from_utf8_lossy(end_marker).trim()
            )
        }
        Error::IllegalSectionStart { line } => {
            format!("`{}` is no begin of a part", String::from_utf8_lossy(line).trim())
        }
        Error::Base64Decode(_) => "a part is not base64".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_put_there_instead() {
        #[track_caller]
        fn check(bytes: &[u8], says: &str, hints: &str) {
            let error = Sections::key(bytes).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            let hint = error.hint(Path::new("/etc/a.key")).unwrap_or_default();
            assert!(hint.contains(hints), "{hint}");
        }
        let part = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        check(b" \n", "empty", "");
        check(b"\xef\xbb\xbf\r\n", "empty", "");
        check(b"hello", "not PEM", "");
        check(&[0x30, 0x82, 1, 2], "DER", "openssl x509 -inform der -in /etc/a.key");
        check(part("CERTIFICATE").as_bytes(), "only a certificate", "swapped");
        check(part("CERTIFICATE REQUEST").as_bytes(), "a certificate request", "");
        check(part("PKCS7").as_bytes(), "`PKCS7`", "openssl pkcs7");
        check(
            part("ENCRYPTED PRIVATE KEY").as_bytes(),
            "encrypted with a password",
            "openssl pkey -in /etc/a.key -out /etc/a.plain.key",
        );
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                   DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        check(old.as_bytes(), "encrypted with a password", "openssl pkey");
        check(b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "no line `-----END PRIVATE KEY-----`", "");
        check(
            b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n",
            "a part is not base64",
            "",
        );
    }

    /// However people's tools have written them, they are the same parts.
    #[test]
    fn parts_in_every_dress() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        let two = "-----BEGIN CERTIFICATE-----\nCCCC\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nDDDD\n-----END EC PRIVATE KEY-----\n";
        let parameters = "-----BEGIN EC PARAMETERS-----\nEEEE\n-----END EC PARAMETERS-----\n";
        let all = [one, two, key].concat();
        let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| {
            let mark = std::iter::once(0xfeff);
            mark.chain(text.encode_utf16()).flat_map(unit).collect::<Vec<u8>>()
        };
        let spaced = all.lines().map(|line| format!("  {line}\t \n\n")).collect::<String>();
        let dresses: &[Vec<u8>] = &[
            all.clone().into(),
            format!("\u{feff}{all}").into(),
            format!("\u{feff}{one}\u{feff}{two}\u{feff}{key}").into(),
            all.replace('\n', "\r\n").into(),
            all.replace('\n', "\r").into(),
            format!("\u{feff}{}", all.replace('\n', "\r\n")).into(),
            spaced.into(),
            format!("Certificate:\n    Data: -- \n{one}Bag Attributes\n  friendlyName: x\n{two}\n{key}end").into(),
            [one.trim_end(), two.trim_end(), key.trim_end()].concat().into(),
            all.replace(" CERTIFICATE", " X509 CERTIFICATE").into(),
            [parameters, one, two, parameters, key].concat().into(),
            [key, one, two].concat().into(),
            [one, key, two].concat().into(),
            utf16(&all, u16::to_le_bytes),
            utf16(&all.replace('\n', "\r\n"), u16::to_be_bytes),
        ];
        for dress in dresses {
            let shown = String::from_utf8_lossy(dress);
            let certificates = Sections::certificates(dress).expect(&shown);
            assert_eq!(certificates, [vec![0, 0, 0, 4, 16, 65], vec![8, 32, 130]], "{shown}");
            let (kind, der) = Sections::key(dress).expect(&shown);
            assert_eq!((kind, der), (SectionKind::EcPrivateKey, vec![12, 48, 195]), "{shown}");
        }
        let trusted = one.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        for file in [trusted.clone(), [two, &trusted].concat()] {
            let error = Sections::certificates(file.as_bytes()).unwrap_err();
            assert_eq!(error, PemError::Trusted);
            assert!(error.hint(Path::new("/a.pem")).unwrap().contains("openssl x509 -in /a.pem"));
        }
    }
}
