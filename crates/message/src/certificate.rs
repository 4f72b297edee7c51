//! Who a client is by its certificate.

/// The facts of a client certificate that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    /// The subject as RFC 4514 writes it: `CN=ops,O=Example`.
    pub subject: Box<str>,
    /// The common name, if there is one.
    pub common_name: Option<Box<str>>,
    /// The subject alternative names: DNS names, mail addresses, URIs and IP addresses as text.
    pub names: Vec<Box<str>>,
    /// SHA-256 of the certificate: 64 hexadecimal digits in lower case.
    pub fingerprint: Box<str>,
    /// The certificate itself, in DER.
    pub der: Box<[u8]>,
}
