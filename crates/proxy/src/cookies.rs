//! Reading cookies of a request (RFC 6265, section 5.4).

use message::{Fields, Known};

/// The value of the first cookie of this name. Names are compared with case.
pub(crate) fn cookie<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    cookies(fields).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
}

/// Names and values of all cookies; parts without `=` are left out.
pub(crate) fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.get_all(Known::Cookie).flat_map(|field| field.split(|&byte| byte == b';')).filter_map(
        |pair| {
            let pair = pair.trim_ascii();
            let at = memchr::memchr(b'=', pair)?;
            Some((pair.get(..at)?, pair.get(at + 1..)?))
        },
    )
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
}
