//! `No-Vary-Search`: parameters of a query that a response does not depend on, as the origin says (an Internet-Draft of the HTTP working group).
//!
//! It is a dictionary: `key-order` says that the order of parameters does not matter, `params` which of them do not matter (all of them, or a
//! list), `except` which ones do matter nevertheless. What is not valid counts as not there.
//! Not here: where such responses are found; the store knows the queries of a path that it has.

use message::{Fields, Known};

use crate::structured::{Member, dictionary};

/// Parameters that are put in order, and names that are kept; with more, the field counts as not there.
const PARAMETERS_MAX: usize = 64;

/// What a response does not depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoVarySearch {
    /// Whether the order does not matter; that of parameters with the same name does.
    ignores_order: bool,
    ignored: Parameters,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Parameters {
    #[default]
    None,
    /// These, in plain text.
    These(Vec<Box<[u8]>>),
    /// All but these.
    AllBut(Vec<Box<[u8]>>),
}

impl NoVarySearch {
    /// What the field of a response says; `None` if it is not there, not valid, or says nothing.
    pub fn of(fields: &Fields) -> Option<Self> {
        let mut lines = fields.get_all(Known::NoVarySearch);
        let first = lines.next()?;
        let found = match lines.next() {
            None => Self::read(first),
            Some(_) => {
                Self::read(&fields.get_all(Known::NoVarySearch).collect::<Vec<_>>().join(&b","[..]))
            }
        };
        found.filter(|found| *found != Self::default())
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (mut ignores_order, mut all, mut these, mut except) = (false, None, None, None);
        let mut is_valid = true;
        is_valid &= dictionary(value, |name, member| match (name, member) {
            ("key-order", Member::Boolean(is_on)) => ignores_order = is_on,
            // The last member of a name counts.
            ("params", Member::Boolean(is_on)) => (all, these) = (Some(is_on), None),
            ("params", Member::List) => (all, these) = (None, Some(Vec::new())),
            ("params", Member::Item(name)) => keep(&mut these, name, &mut is_valid),
            ("except", Member::List) => except = Some(Vec::new()),
            ("except", Member::Item(name)) => keep(&mut except, name, &mut is_valid),
            ("key-order" | "params" | "except", _) => is_valid = false,
            _ => {}
        });
        let ignored = match (all, these, except) {
            (Some(true), None, except) => Parameters::AllBut(except.unwrap_or_default()),
            // `except` means something beside `params` alone.
            (_, _, Some(_)) => return None,
            (_, Some(these), None) if !these.is_empty() => Parameters::These(these),
            _ => Parameters::None,
        };
        is_valid.then_some(Self { ignores_order, ignored })
    }

    /// Writes the parameters of a query that matter: two queries of which this is the same get the same response. False if there are too many
    /// parameters to tell; nothing is written then.
    pub fn write_query(&self, out: &mut Vec<u8>, query: &[u8]) -> bool {
        let (mut parameters, mut count) = ([(&b""[..], &b""[..], 0); PARAMETERS_MAX], 0);
        for parameter in query.split(|&byte| byte == b'&').filter(|text| !text.is_empty()) {
            let at = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
            let (name, value) = parameter.split_at(at);
            if self.ignores(name) {
                continue;
            }
            let Some(room) = parameters.get_mut(count) else { return false };
            *room = (name, value.get(1..).unwrap_or_default(), count);
            count += 1;
        }
        let parameters = parameters.get_mut(..count).unwrap_or_default();
        if self.ignores_order {
            parameters.sort_unstable_by(|(one, _, one_at), (other, _, other_at)| {
                plain(one).cmp(plain(other)).then(one_at.cmp(other_at))
            });
        }
        for (name, value, _) in parameters.iter() {
            write_plain(out, name);
            out.push(b'=');
            write_plain(out, value);
            out.push(b'&');
        }
        true
    }

    fn ignores(&self, name: &[u8]) -> bool {
        let has =
            |names: &[Box<[u8]>]| names.iter().any(|listed| plain(name).eq(listed.iter().copied()));
        match &self.ignored {
            Parameters::None => false,
            Parameters::These(names) => has(names),
            Parameters::AllBut(names) => !has(names),
        }
    }
}

fn keep(names: &mut Option<Vec<Box<[u8]>>>, name: Option<&str>, is_valid: &mut bool) {
    match (names, name) {
        (Some(names), Some(name)) if names.len() < PARAMETERS_MAX => {
            names.push(plain(name.as_bytes()).collect());
        }
        _ => *is_valid = false,
    }
}

/// The bytes of a name or value as a form is read (URL Standard, section 5.1): `+` is a space, and `%` and two digits are a byte.
fn plain(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = match *rest {
            [] => return None,
            [b'+', ref after @ ..] => (b' ', after),
            [b'%', high, low, ref after @ ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..).unwrap_or_default()),
            },
            [byte, ref after @ ..] => (byte, after),
        };
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Writes bytes so that none of them is a separator of ours.
fn write_plain(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in plain(text) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | 0x80..) {
            out.push(byte);
        } else {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<NoVarySearch> {
        let mut fields = Fields::new();
        fields.push(b"No-Vary-Search", value.as_bytes());
        NoVarySearch::of(&fields)
    }

    #[test]
    fn queries_that_are_the_same() {
        #[track_caller]
        fn check(value: &str, one: &str, other: &str, expected: bool) {
            let says = of(value).unwrap_or_default();
            let written = |query: &str| {
                let mut out = Vec::new();
                assert!(says.write_query(&mut out, query.as_bytes()));
                out
            };
            assert_eq!(written(one) == written(other), expected, "{value}: {one} {other}");
        }
        check("", "a=1", "a=1", true);
        check("", "a=1", "a=2", false);
        check("", "a=1&b=2", "b=2&a=1", false);
        check("key-order", "a=1&b=2", "b=2&a=1", true);
        check("key-order=?0", "a=1&b=2", "b=2&a=1", false);
        check("key-order", "a=1&a=2", "a=2&a=1", false);
        check("params", "a=1", "", true);
        check("params=?0", "a=1", "", false);
        check("params=(\"a\")", "a=1&b=2", "b=2", true);
        check("params=(\"a\")", "a=1&b=2", "b=3", false);
        check("params=(\"a\" \"b\")", "a=1&b=2", "", true);
        check("params, except=(\"b\")", "a=1&b=2", "b=2&c", true);
        check("params, except=(\"b\")", "b=2", "b=3", false);
        check("params=(\"a b\")", "a+b=1", "a%20b=2", true);
        check("params=(\"a\")", "%61=1&b=2", "b=2", true);
        check("params=(\"%C3%BC\")", "%c3%bc=1&b", "b", true);
        check("key-order", "a=%41", "a=A", true);
        check("key-order", "a=1%262", "a=1&2", false);
        check("key-order", "a", "a=", true);
        check("key-order, params=(\"x\")", "x=1&b=1&a=1", "a=1&x=3&b=1", true);
        check("params=(\"b\"), params=(\"a\")", "a=1", "", true); // the last one
        check("params=(\"b\"), params=(\"a\")", "b=1", "", false);
    }

    #[test]
    fn what_says_nothing() {
        for wrong in [
            "",
            "key-order=?0",
            "params=?0",
            "params=()",
            "&",
            "params=(a)",
            "params=(\"a\" 1)",
            "params=\"a\"",
            "params=1",
            "key-order=1",
            "key-order, params=1",
            "except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "params, except=a",
            "foo",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let says = of("key-order").unwrap();
        let many = vec!["a"; PARAMETERS_MAX + 1].join("&");
        assert!(!says.write_query(&mut Vec::new(), many.as_bytes()));
    }
}
