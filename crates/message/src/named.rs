//! What clients name within a field or a query: cookies (RFC 6265, section 5.4) and query parameters.

use crate::{Fields, Known};

/// The value of the first cookie of this name. Names are compared with case.
pub fn cookie<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    cookies(fields).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
}

/// Names and values of all cookies; parts without `=` are left out.
pub fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = fields.get_all(Known::Cookie).flat_map(|field| field.split(|&byte| byte == b';'));
    pairs.filter_map(|pair| split(pair.trim_ascii()))
}

/// The value of the first parameter of this name in a query, as the client wrote it: percent-encoded. A parameter
/// without `=` has an empty one. Names are compared as they are written, with case.
pub fn query_parameter<'q>(query: &'q [u8], name: &str) -> Option<&'q [u8]> {
    let parameters = query.split(|&byte| byte == b'&');
    let mut pairs = parameters.map(|parameter| split(parameter).unwrap_or((parameter, b"")));
    pairs.find(|(key, _)| !key.is_empty() && *key == name.as_bytes()).map(|(_, value)| value)
}

fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    Some((pair.get(..at)?, pair.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_by_name() {
        #[track_caller]
        fn check(field: &str, name: &str, expected: Option<&str>) {
            let mut fields = Fields::new();
            fields.push(b"Cookie", field.as_bytes());
            assert_eq!(cookie(&fields, name).map(|v| str::from_utf8(v).unwrap()), expected);
        }
        check("a=1; b=2", "b", Some("2"));
        check("a=1;b=2", "b", Some("2"));
        check("aa=1; a=2", "a", Some("2"));
        check("a=1; a=2", "a", Some("1"));
        check("A=1", "a", None);
        check("a", "a", None);
        check("a=", "a", Some(""));
        check("a=b=c", "a", Some("b=c"));
        check(" ;; =x; a=1 ", "a", Some("1"));
        check("", "a", None);
    }

    #[test]
    fn several_fields_are_one_list() {
        let mut fields = Fields::new();
        fields.push(b"cookie", b"a=1");
        fields.push(b"Cookie", b"b=2");
        assert_eq!(cookie(&fields, "b"), Some(&b"2"[..]));
    }

    #[test]
    fn parameters() {
        #[track_caller]
        fn check(query: &str, name: &str, expected: Option<&str>) {
            let got = query_parameter(query.as_bytes(), name);
            assert_eq!(got, expected.map(str::as_bytes), "{query}");
        }
        check("a=1&b=2", "b", Some("2"));
        check("a=1&a=2", "a", Some("1"));
        check("aa=1&a", "a", Some(""));
        check("a=b=c%26&d", "a", Some("b=c%26"));
        check("A=1", "a", None);
        check("", "", None);
        check("&&=x&", "", None);
    }
}
