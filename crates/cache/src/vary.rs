//! `Vary`: which fields of requests a response depends on, and which requests are the same in them (RFC 9111, section 4.1).
//!
//! Values are written in one spelling where several mean the same by the field's own definition: [`write_variant`]. Invariant: requests
//! whose values mean something else have different bytes.

use message::{Fields, Known, Request, Response, tells_of_client};

use crate::lists::members;
use crate::reason::Reason;

/// What a response varies by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vary {
    /// Nothing: it answers every request with its key.
    None,
    /// More than fields, or fields that tell who the client is: it is never stored.
    Star,
    /// These fields.
    Fields(VaryFields),
}

/// The fields that a response varies by: in lower case, sorted, each once, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct VaryFields(Box<[u8]>);

impl VaryFields {
    /// The names with commas between them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What [`VaryFields::as_bytes`] gave before, as a store keeps it.
    pub fn from_bytes(names: &[u8]) -> Self {
        Self(names.into())
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b',').filter(|name| !name.is_empty())
    }
}

impl Vary {
    /// What `Vary` of a response says.
    pub fn of(response: &Response) -> Self {
        if !response.fields.has(Known::Vary) {
            return Self::None;
        }
        if refusal(response).is_some() {
            return Self::Star;
        }
        let names = response.fields.list(Known::Vary).filter(|name| !is_in_key(name));
        let mut names: Vec<_> = names.map(<[u8]>::to_ascii_lowercase).collect();
        names.sort_unstable();
        names.dedup();
        match names.is_empty() {
            true => Self::None,
            false => Self::Fields(VaryFields(names.join(&b","[..]).into())),
        }
    }
}

/// Why a response is not stored for what it varies by.
pub(crate) fn refusal(response: &Response) -> Option<Reason> {
    let mut names = response.fields.list(Known::Vary);
    names.find_map(|name| match Known::of_twin(name) {
        _ if name.contains(&b'*') => Some(Reason::VaryStar),
        known if tells_of_client(known, name) && !is_in_key(name) => Some(Reason::VaryClient),
        Known::Via | Known::XRequestId | Known::ProxyAuthorization => Some(Reason::VaryClient),
        _ => None,
    })
}

/// Whether the key says it already: the scheme and the host that the client asked for.
fn is_in_key(name: &[u8]) -> bool {
    matches!(Known::of(name), Known::Host | Known::XForwardedProto | Known::XForwardedHost)
}

/// Writes what a request has in the fields that a response varies by: equal bytes are the same variant.
pub fn write_variant(out: &mut Vec<u8>, vary: &VaryFields, request: &Request) {
    for name in vary.iter() {
        write_value(out, name, &request.fields);
        out.push(0);
    }
}

/// Writes the value of a field of a request, in one spelling: nothing if the field is not there, else `=` and the value. No byte of it
/// is 0.
pub(crate) fn write_value(out: &mut Vec<u8>, name: &[u8], fields: &Fields) {
    let known = Known::of(name);
    let is_there = match known {
        Known::Other => fields.find(name).is_some(),
        known => fields.has(known),
    };
    if !is_there {
        return;
    }
    out.push(b'=');
    match known {
        Known::AcceptEncoding => write_codings(out, fields),
        Known::AcceptLanguage => write_languages(out, fields),
        // These are no lists: white space and commas in them are part of the value.
        Known::Cookie | Known::UserAgent | Known::Referer | Known::Authorization | Known::From => {
            write_lines(out, fields.get_all(known));
        }
        Known::Other => {
            let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            write_list(out, named.map(|field| field.value));
        }
        known => write_list(out, fields.get_all(known)),
    }
}

/// Lines as they are.
fn write_lines<'f>(out: &mut Vec<u8>, lines: impl Iterator<Item = &'f [u8]>) {
    for (index, line) in lines.enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(line);
    }
}

/// The members of a list over all its lines (RFC 9110, section 5.6.1), without white space around them and without empty ones.
fn write_list<'f>(out: &mut Vec<u8>, lines: impl Iterator<Item = &'f [u8]>) {
    let mut is_first = true;
    for member in lines.flat_map(members) {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.extend_from_slice(member);
    }
}

/// Codings that are in use, with a bit for each.
const CODINGS: &[(&str, u8)] = &[
    ("gzip", 1),
    ("x-gzip", 1), // RFC 9110, section 8.4.1.3
    ("br", 2),
    ("zstd", 4),
    ("deflate", 8),
    ("compress", 16),
    ("x-compress", 16),
    ("*", 32),
];
/// `identity` with a weight of 0.
const IDENTITY_REFUSED: u8 = 64;

/// The set of codings that are taken: what a server that knows the same codings may send. Weights do not matter, but that 0 means no.
/// A coding that is not in the table stands as it is written.
fn write_codings(out: &mut Vec<u8>, fields: &Fields) {
    let (mut taken, mut refused, start) = (0, 0, out.len());
    out.push(0);
    for member in fields.list(Known::AcceptEncoding) {
        let (name, weight) = weighted(member);
        let row = CODINGS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        match row {
            Some((_, bit)) if weight > 0 => taken |= bit,
            Some((_, bit)) => refused |= bit,
            None if name.eq_ignore_ascii_case(b"identity") => {
                if weight == 0 {
                    refused |= IDENTITY_REFUSED;
                }
            }
            None => {
                out.push(b';');
                out.extend(member.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        }
    }
    // What is refused matters where everything else is taken; and who is refused everything but some, too.
    let has_star = (taken | refused) & 32 != 0;
    let refused = if has_star { refused & !taken } else { refused & IDENTITY_REFUSED };
    if let Some(first) = out.get_mut(start) {
        *first = b'0' + taken; // at most `o`
    }
    if refused != 0 {
        out.push(b'-');
        out.push(b'0' + refused);
    }
}

/// Languages of which the order is looked at; a list with more is written as it is.
const LANGUAGES_MAX: usize = 16;

/// Ranges of languages by their weights, those of the same weight by the alphabet (RFC 9110, section 12.5.4: where they stand says
/// nothing), in lower case.
fn write_languages(out: &mut Vec<u8>, fields: &Fields) {
    let (mut languages, mut count) = ([(0_u16, &b""[..]); LANGUAGES_MAX], 0);
    for member in fields.list(Known::AcceptLanguage) {
        let (name, weight) = weighted(member);
        let Some(room) = languages.get_mut(count) else {
            return write_list(out, fields.get_all(Known::AcceptLanguage));
        };
        *room = (weight, name);
        count += 1;
    }
    let languages = languages.get_mut(..count).unwrap_or_default();
    languages.sort_unstable_by(|(weight, name), (other_weight, other_name)| {
        let by_name = || {
            let (name, other) = (name.iter(), other_name.iter());
            name.map(u8::to_ascii_lowercase).cmp(other.map(u8::to_ascii_lowercase))
        };
        other_weight.cmp(weight).then_with(by_name)
    });
    for (index, (weight, name)) in languages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        if *weight != WEIGHT_MAX {
            out.push(b';');
            out.extend_from_slice(itoa::Buffer::new().format(*weight).as_bytes());
        }
    }
}

/// The weight of a member that names none: in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// A member and its weight (RFC 9110, section 12.4.2). A weight that cannot be read is part of the name, so that it equals no other one.
fn weighted(member: &[u8]) -> (&[u8], u16) {
    let Some(at) = member.iter().position(|&byte| byte == b';') else {
        return (member, WEIGHT_MAX);
    };
    let (name, parameters) = member.split_at(at);
    let parameter = parameters.get(1..).unwrap_or_default().trim_ascii();
    match parameter {
        [b'q' | b'Q', b'=', value @ ..] => match weight(value) {
            Some(weight) => (name.trim_ascii_end(), weight),
            None => (member, WEIGHT_MAX),
        },
        _ => (member, WEIGHT_MAX),
    }
}

fn weight(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole] => (*whole, &b""[..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index: usize| decimals.get(index).map_or(0, |digit| u16::from(digit - b'0'));
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(WEIGHT_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(vary: &str, lines: &[(&str, &str)]) -> Vec<u8> {
        let mut response = Response::default();
        response.fields.push(b"Vary", vary.as_bytes());
        let Vary::Fields(names) = Vary::of(&response) else { panic!("no fields in {vary}") };
        let mut request = Request::default();
        for (name, value) in lines {
            request.fields.push(name.as_bytes(), value.trim().as_bytes());
        }
        let mut out = Vec::new();
        write_variant(&mut out, &names, &request);
        out
    }

    #[test]
    fn what_a_response_varies_by() {
        #[track_caller]
        fn check(lines: &[&str], expected: &str) {
            let mut response = Response::default();
            lines.iter().for_each(|line| response.fields.push(b"Vary", line.as_bytes()));
            let got = match Vary::of(&response) {
                Vary::None => "none".to_owned(),
                Vary::Star => refusal(&response).map_or("?", Reason::word).to_owned(),
                Vary::Fields(names) => String::from_utf8(names.as_bytes().to_vec()).unwrap(),
            };
            assert_eq!(got, expected, "{lines:?}");
        }
        check(&[], "none");
        check(&[""], "none");
        check(&[" , ,"], "none");
        check(&["Accept-Encoding"], "accept-encoding");
        check(&["foo, Bar", "FOO"], "bar,foo");
        check(&["Host"], "none"); // it is in the key
        check(&["X-Forwarded-Proto, X-Forwarded-Host, A"], "a");
        check(&["Cookie"], "cookie");
        check(&["Origin"], "origin");
        for star in ["*", "*, *", ", *", "* ,", "*, Foo", "Foo, *", "Foo,*,Bar", "\"*\"", "*;q=1"] {
            check(&[star], "vary-star");
        }
        check(&["", "*"], "vary-star");
        check(&["*", "*"], "vary-star");
        check(&["Foo", "*"], "vary-star");
        for client in [
            "X-Forwarded-For",
            "x_forwarded_for",
            "Forwarded",
            "X-Real-IP",
            "X-Forwarded-Server",
            "X-Forwarded-Port",
            "X-Original-URL",
            "Accept, X-Rewrite-URL",
            "Via",
            "X-Request-Id",
        ] {
            check(&[client], "vary-client");
        }
    }

    #[test]
    fn values_that_mean_the_same() {
        #[track_caller]
        fn same(name: &str, values: &[&[&str]]) {
            let of = |lines: &[&str]| {
                variant(name, &lines.iter().map(|line| (name, *line)).collect::<Vec<_>>())
            };
            let all: Vec<_> = values.iter().map(|lines| of(lines)).collect();
            assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}: {all:?}");
        }
        same(
            "Foo",
            &[&["1,2"], &["1, 2"], &[" 1 ,\t2 "], &["1", "2"], &["1,,2,"], &["", "1", "2"]],
        );
        same("foo", &[&[r#""a, b""#], &[r#" "a, b" "#]]);
        same("Accept-Encoding", &[&["gzip, br"], &["br;q=1, gzip;q=0.5"], &["BR", "x-gzip"]]);
        same(
            "Accept-Encoding",
            &[&["gzip"], &["gzip, br;q=0"], &["gzip, identity"], &["gzip;q=0.001"]],
        );
        same(
            "Accept-Encoding",
            &[&[""], &["identity"], &["gzip;q=0"], &["br;q=0.000, gzip ; q=0"]],
        );
        same("Accept-Encoding", &[&["*, br;q=0"], &["br;q=0,*"]]);
        same("Accept-Language", &[&["en, de"], &["de, en"], &["EN , dE"], &["en", "de;q=1.0"]]);
        same("Accept-Language", &[&["en-GB, de;q=0.5"], &["de;q=0.50,EN-gb;Q=1"]]);
    }

    #[test]
    fn values_that_mean_something_else() {
        #[track_caller]
        fn differ(name: &str, values: &[&[&str]]) {
            let of = |lines: &[&str]| {
                variant(name, &lines.iter().map(|line| (name, *line)).collect::<Vec<_>>())
            };
            let all: Vec<_> = values.iter().map(|lines| of(lines)).collect();
            for (at, one) in all.iter().enumerate() {
                assert!(!all[at + 1..].contains(one), "{:?} of {values:?}", values[at]);
            }
        }
        differ("Foo", &[&[], &[""], &["1"], &["2"], &["1,2"], &["2,1"], &[r#""1,2""#], &["1;2"]]);
        differ("Foo", &[&["a"], &["A"]]);
        differ("Foo", &[&[r#""a,b"#], &[r#""a","b"#], &[r#""a\",b"#], &[r#""a\\",b"#]]);
        differ(
            "Accept-Encoding",
            &[
                &[],
                &[""],
                &["gzip"],
                &["br"],
                &["gzip, br"],
                &["zstd"],
                &["gzip, zstd"],
                &["deflate"],
                &["*"],
                &["*, gzip"],
                &["*, gzip;q=0"],
                &["*;q=0"],
                &["*;q=0, gzip"],
                &["identity;q=0"],
                &["gzip, identity;q=0"],
                &["foo"],
                &["foo;q=0"],
                &["gzip, foo"],
                &["gzip;q=x"],
                &["gzip, dcb"],
            ],
        );
        differ(
            "Accept-Language",
            &[
                &[],
                &[""],
                &["en"],
                &["en-GB"],
                &["en, de"],
                &["en, de;q=0.5"],
                &["en;q=0.5, de"],
                &["en;q=0.5, de;q=0.4"],
                &["en;q=0"],
                &["*"],
                &["en;q=2"],
                &["en;x=1"],
            ],
        );
        differ("User-Agent", &[&["a, b"], &["a,b"], &["a", "b"]]);
        differ("Cookie", &[&["a=1; b=2"], &["b=2; a=1"], &["a=1"]]);
    }

    #[test]
    fn several_fields_do_not_run_into_each_other() {
        let one = variant("A, B", &[("A", "1"), ("B", "2")]);
        for other in [
            &[("A", "1"), ("B", "3")][..],
            &[("A", "1")],
            &[("B", "2")],
            &[("A", "1,2")],
            &[("A", "1=2")],
            &[("B", "1=2")],
            &[("A", "2"), ("B", "1")],
            &[("A", "1"), ("B", "")],
            &[],
        ] {
            assert_ne!(variant("A, B", other), one, "{other:?}");
        }
        assert_eq!(variant("B, a", &[("b", "2"), ("C", "3"), ("a", "1")]), one);
    }
}
