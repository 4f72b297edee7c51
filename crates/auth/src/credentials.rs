//! Basic credentials (RFC 7617): a user and a password in base64.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Bytes of a user's name and password together, at most. Some hashes take time that grows with the square of it.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Clients leave out the padding now and then; nothing is ambiguous about it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A name and a password that a client has sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    bytes: Vec<u8>,
    /// Where the colon is.
    colon: usize,
}

/// The token of Basic credentials in the value of `Authorization` or `Proxy-Authorization`; `None` for other schemes.
/// Schemes have no case (RFC 9110, section 11.1).
pub fn basic(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(5)?;
    let token = rest.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"basic") && !token.is_empty()).then_some(token)
}

impl Credentials {
    /// Decodes a [`basic`] token. `None`: it is malformed, is too long, or has no usable name. A name is text without
    /// control characters (RFC 7617, section 2), as it goes into logs and fields.
    pub fn decode(token: &[u8]) -> Option<Self> {
        if token.len() > CREDENTIALS_BYTES_MAX.div_ceil(3) * 4 {
            return None;
        }
        let bytes = LENIENT.decode(token).ok()?;
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(bytes.get(..colon)?).ok()?;
        let is_usable = !name.is_empty() && !name.chars().any(char::is_control);
        (is_usable && bytes.len() <= CREDENTIALS_BYTES_MAX).then_some(Self { bytes, colon })
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        let name = self.bytes.get(..self.colon).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default() // it was checked
    }

    /// The password. It may have colons, and need not be text.
    pub fn password(&self) -> &[u8] {
        self.bytes.get(self.colon + 1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Option<(String, Vec<u8>)> {
        let credentials = Credentials::decode(basic(value.as_bytes())?)?;
        Some((credentials.user().to_owned(), credentials.password().to_owned()))
    }

    #[test]
    fn values_of_rfc_7617() {
        let ok = |user: &str, password: &str| Some((user.to_owned(), password.as_bytes().to_vec()));
        type Read = Option<(String, Vec<u8>)>;
        let table: &[(&str, Read)] = &[
            // RFC 7617, section 2 and 2.1.
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ok("Aladdin", "open sesame")),
            ("Basic dGVzdDoxMjPCow==", ok("test", "123£")),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ok("Aladdin", "open sesame")),
            ("BASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ== ", ok("Aladdin", "open sesame")),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", ok("Aladdin", "open sesame")),
            ("Basic YTo=", ok("a", "")),
            ("Basic YTpiOmM=", ok("a", "b:c")),
            ("Basic", None),
            ("Basic ", None),
            ("Basic\tYTo=", None),
            ("Basi YTo=", None),
            ("Bearer YTo=", None),
            ("Negotiate YTo=", None),
            ("Basic OmI=", None), // no name
            ("Basic YQ==", None), // no colon
            ("Basic Y!o=", None),
            ("Basic YQo6Yg==", None), // a line feed in the name
            ("Basic YQA6Yg==", None), // NUL in the name
            ("Basic /zpi", None),     // the name is not UTF-8
            ("Basic YTo= YTo=", None),
        ];
        for (value, expected) in table {
            assert_eq!(read(value), *expected, "{value:?}");
        }
        let long = |length: usize| {
            let text = format!("a:{}", "b".repeat(length));
            read(&format!("Basic {}", LENIENT.encode(text))).is_some()
        };
        assert_eq!((long(1022), long(1023), long(100_000)), (true, false, false));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = basic(&value).and_then(Credentials::decode);
            let _ = Credentials::decode(&value);
        }

        #[test]
        fn what_was_encoded_is_read(user in "[^:\\p{Cc}]{1,20}", password in ".{0,40}") {
            let value = format!("Basic {}", LENIENT.encode(format!("{user}:{password}")));
            prop_assert_eq!(read(&value), Some((user, password.into_bytes())));
        }
    }
}
