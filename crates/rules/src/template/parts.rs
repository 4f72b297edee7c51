//! The parts of a template, and what each says of a request.

use std::io::Write;

use config::{MapId, Template, TemplatePart, Variable};
use message::{Fields, Known, cookie, query_parameter};

use super::Facts;
use crate::canonical;
use crate::request_id;

/// The parts of a template; in the place of a map those of the value that it has for a request.
pub(super) enum Parts<'t> {
    Written(&'t [TemplatePart]),
    Chosen(Chosen<'t>),
}

/// Parts that maps have chosen. The first ones need no allocation.
#[derive(Default)]
pub(super) struct Chosen<'t> {
    first: [Option<&'t TemplatePart>; 16],
    count: usize,
    others: Vec<&'t TemplatePart>,
}

impl<'t> Chosen<'t> {
    /// Adds the parts of a template. The decoder has made sure that maps do not name each other in a circle, and that
    /// what they stand for is small.
    fn add(&mut self, template: &'t Template, facts: &Facts<'t>) {
        for part in &template.parts {
            match part {
                TemplatePart::Map(id) => {
                    if let Some(value) = value_of(*id, facts) {
                        self.add(value, facts);
                    }
                }
                part => self.push(part),
            }
        }
    }

    fn push(&mut self, part: &'t TemplatePart) {
        match self.first.get_mut(self.count) {
            Some(place) => *place = Some(part),
            None => self.others.push(part),
        }
        self.count += 1;
    }

    fn get(&self, index: usize) -> Option<&'t TemplatePart> {
        match self.first.get(index) {
            Some(part) => *part,
            None => self.others.get(index - self.first.len()).copied(),
        }
    }
}

impl<'t> Parts<'t> {
    pub(super) fn of(template: &'t Template, facts: &Facts<'t>) -> Self {
        let parts = &template.parts;
        if !parts.iter().any(|part| matches!(part, TemplatePart::Map(_))) {
            return Self::Written(parts);
        }
        let mut chosen = Chosen::default();
        chosen.add(template, facts);
        Self::Chosen(chosen)
    }

    pub(super) fn get(&self, index: usize) -> Option<&'t TemplatePart> {
        match self {
            Self::Written(parts) => parts.get(index),
            Self::Chosen(parts) => parts.get(index),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'t TemplatePart> {
        (0..).map_while(|index| self.get(index))
    }
}

/// The value that a map has for a request. Allocates only where its input has several parts.
fn value_of<'t>(id: MapId, facts: &Facts<'t>) -> Option<&'t Template> {
    let map = facts.maps.get(id)?;
    // As routes compare them: an encoding must not lead past a row.
    let captures = facts.captures.with_path(facts.routed.as_bytes());
    let facts = Facts { path: facts.routed.as_bytes(), captures, ..*facts };
    if let [part] = map.input.parts.as_slice()
        && let Some(text) = facts.text(part)
    {
        return Some(map.value(text));
    }
    let mut text = Vec::new();
    for part in Parts::of(&map.input, &facts).iter() {
        each_piece(part, &facts, &mut |piece| text.extend_from_slice(piece));
    }
    Some(map.value(&text))
}

impl<'a> Facts<'a> {
    /// The text of a part, if it lies somewhere in one piece; `None` for literals.
    pub(super) fn text(&self, part: &TemplatePart) -> Option<&'a [u8]> {
        match part {
            TemplatePart::Literal(_) | TemplatePart::Map(_) => None,
            TemplatePart::Capture(name) => Some(self.captures.get(name).unwrap_or_default()),
            TemplatePart::Field(name) => {
                let mut values = self.field(name);
                let first = values.next().unwrap_or_default();
                values.next().is_none().then_some(first)
            }
            TemplatePart::Cookie(name) => Some(cookie(self.fields, name).unwrap_or_default()),
            TemplatePart::Parameter(name) => {
                Some(query_parameter(self.query?, name).unwrap_or_default())
            }
            TemplatePart::Variable(variable) => match variable {
                Variable::Host => Some(self.host.as_bytes()),
                Variable::Scheme => Some(self.scheme.as_str().as_bytes()),
                Variable::Path => Some(self.path),
                Variable::Query => Some(self.query.unwrap_or_default()),
                Variable::Uri => Some(self.uri),
                Variable::RequestId => Some(request_id(self.id)),
                Variable::User => Some(self.user.unwrap_or_default().as_bytes()),
                Variable::TlsVersion => self.tls.map(|tls| tls.version.as_bytes()),
                Variable::TlsName => self.tls.and_then(|tls| tls.name).map(str::as_bytes),
                Variable::ClientSubject => {
                    self.certificate().map(|certificate| certificate.subject.as_bytes())
                }
                Variable::ClientFingerprint => {
                    self.certificate().map(|certificate| certificate.fingerprint.as_bytes())
                }
                Variable::Client
                | Variable::ClientPort
                | Variable::ClientNames
                | Variable::ClientCert
                | Variable::Method
                | Variable::Port => None,
            },
        }
    }

    /// The values of the request's fields of this name.
    fn field<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let known = Known::of(name.as_bytes());
        // RFC 9112, section 3.2.2: the authority of the target counts, whatever the field says.
        let host = (known == Known::Host).then_some(self.authority.as_bytes());
        let fields: Option<&'a Fields> = (known != Known::Host).then_some(self.fields);
        let named = fields.into_iter().flat_map(Fields::iter).filter(move |field| {
            field.known == known
                && (known != Known::Other || field.name.eq_ignore_ascii_case(name.as_bytes()))
        });
        host.into_iter().chain(named.map(|field| field.value))
    }
}

/// Hands over the text of a part, piece by piece.
pub(super) fn each_piece(part: &TemplatePart, facts: &Facts<'_>, take: &mut dyn FnMut(&[u8])) {
    match part {
        TemplatePart::Literal(text) => take(text.as_bytes()),
        TemplatePart::Field(name) => {
            // RFC 9110, section 5.2, and RFC 9113, section 8.2.3.
            let is_cookie = name.eq_ignore_ascii_case("cookie");
            let separator: &[u8] = if is_cookie { b"; " } else { b", " };
            for (index, value) in facts.field(name).enumerate() {
                if index > 0 {
                    take(separator);
                }
                take(value);
            }
        }
        TemplatePart::Variable(Variable::Client) => {
            take_shown(format_args!("{}", canonical(facts.client)), take);
        }
        TemplatePart::Variable(Variable::ClientPort) => {
            if let Some(port) = facts.client_port {
                take_shown(format_args!("{port}"), take);
            }
        }
        TemplatePart::Variable(Variable::Port) => take_shown(format_args!("{}", facts.port), take),
        TemplatePart::Variable(Variable::Method) => take(facts.method.as_str().as_bytes()),
        TemplatePart::Variable(Variable::ClientNames) => {
            let names = facts.certificate().map_or(&[][..], |certificate| &certificate.names);
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    take(b",");
                }
                // A comma within a name would make two of it.
                for (index, part) in name.split(',').enumerate() {
                    if index > 0 {
                        take(b"%2C");
                    }
                    take(part.as_bytes());
                }
            }
        }
        TemplatePart::Variable(Variable::ClientCert) => {
            let der = facts.certificate().map_or(&[][..], |certificate| &certificate.der);
            if !der.is_empty() {
                take_pem(der, take);
            }
        }
        part => take(facts.text(part).unwrap_or_default()),
    }
}

/// Hands over what is short when it is printed.
fn take_shown(shown: std::fmt::Arguments<'_>, take: &mut dyn FnMut(&[u8])) {
    let mut room = [0; 64];
    let mut rest = &mut room[..];
    let _ = rest.write_fmt(shown); // addresses and numbers have room
    let free = rest.len();
    take(room.get(..room.len() - free).unwrap_or_default());
}

/// A certificate in PEM (RFC 7468), percent-encoded but for unreserved characters, as other proxies write it.
fn take_pem(der: &[u8], take: &mut dyn FnMut(&[u8])) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    take(b"-----BEGIN%20CERTIFICATE-----%0A");
    // 48 bytes make a line of 64 characters.
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
                let digit = DIGITS.get((bits >> shift & 63) as usize).copied().unwrap_or(b'A');
                match digit {
                    _ if at > group.len() => take(b"%3D"),
                    b'+' => take(b"%2B"),
                    b'/' => take(b"%2F"),
                    digit => take(&[digit]),
                }
            }
        }
        take(b"%0A");
    }
    take(b"-----END%20CERTIFICATE-----%0A");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_as_other_proxies_write_them() {
        #[track_caller]
        fn check(der: &[u8], expected: &str) {
            let mut out = Vec::new();
            take_pem(der, &mut |piece| out.extend_from_slice(piece));
            let out = String::from_utf8(out).unwrap();
            let inner = out.strip_prefix("-----BEGIN%20CERTIFICATE-----%0A").unwrap();
            assert_eq!(inner.strip_suffix("-----END%20CERTIFICATE-----%0A"), Some(expected));
        }
        check(b"a", "YQ%3D%3D%0A");
        check(b"ab", "YWI%3D%0A");
        check(b"abc", "YWJj%0A");
        check(&[0xfb, 0xff, 0xbf], "%2B%2F%2B%2F%0A");
        let line = "AAAA".repeat(16);
        check(&[0; 49], &format!("{line}%0AAA%3D%3D%0A"));
    }
}
