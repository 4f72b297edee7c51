//! `Cache-Control`, read leniently: what cannot be understood makes a response less fresh, never more.

use message::{Fields, Known};

use crate::dates::delta_seconds;
use crate::lists::members;

/// Whether a directive is there, and for which fields (RFC 9111, sections 5.2.2.4 and 5.2.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum FieldsNamed {
    /// It is not there.
    #[default]
    Absent,
    /// It is there for the fields that it names.
    Some,
    /// It is there for the whole response.
    All,
}

/// What a response says about storing and reusing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// `max-age`; one that cannot be read is 0.
    pub max_age: Option<u32>,
    /// `s-maxage`; one that cannot be read is 0.
    pub s_maxage: Option<u32>,
    /// `stale-while-revalidate` (RFC 5861).
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error` (RFC 5861).
    pub stale_if_error: Option<u32>,
    /// `no-cache`
    pub no_cache: FieldsNamed,
    /// `private`
    pub private: FieldsNamed,
    /// `no-store`
    pub no_store: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
}

impl ResponseDirectives {
    /// What `Cache-Control` says.
    pub fn of(fields: &Fields) -> Self {
        let mut directives = Self::default();
        for (name, value) in all(fields) {
            directives.take(name, value);
        }
        directives
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let named =
            || if value.is_some_and(names_a_field) { FieldsNamed::Some } else { FieldsNamed::All };
        // RFC 9111, section 4.2.1: of several, the least; one that cannot be read makes the response stale.
        let least = |old: Option<u32>| {
            let new = value.and_then(delta_seconds).unwrap_or(0);
            Some(old.map_or(new, |old| old.min(new)))
        };
        if is("max-age") {
            self.max_age = least(self.max_age);
        } else if is("s-maxage") {
            self.s_maxage = least(self.s_maxage);
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate = least(self.stale_while_revalidate);
        } else if is("stale-if-error") {
            self.stale_if_error = least(self.stale_if_error);
        } else if is("no-cache") {
            self.no_cache = self.no_cache.max(named());
        } else if is("private") {
            self.private = self.private.max(named());
        } else if is("no-store") {
            self.no_store = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("immutable") {
            self.immutable = true;
        }
    }
}

/// What a request says about which stored responses it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// `max-age`
    pub max_age: Option<u32>,
    /// `max-stale`; without a value, the largest.
    pub max_stale: Option<u32>,
    /// `min-fresh`
    pub min_fresh: Option<u32>,
    /// `stale-if-error` (RFC 5861)
    pub stale_if_error: Option<u32>,
    /// `no-cache`; also `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111, section 5.4).
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// What `Cache-Control` says, or `Pragma`.
    pub fn of(fields: &Fields) -> Self {
        let mut directives = Self::default();
        if !fields.has(Known::CacheControl) {
            let mut pragmas = fields.list(Known::Pragma);
            directives.no_cache = pragmas.any(|pragma| pragma.eq_ignore_ascii_case(b"no-cache"));
            return directives;
        }
        for (name, value) in all(fields) {
            directives.take(name, value);
        }
        directives
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let seconds = value.and_then(delta_seconds);
        if is("max-age") {
            let new = seconds.unwrap_or(0);
            self.max_age = Some(self.max_age.map_or(new, |old| old.min(new)));
        } else if is("max-stale") {
            // One that cannot be read is not there.
            let new = if value.is_none() { Some(u32::MAX) } else { seconds };
            self.max_stale = self.max_stale.or(new);
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.max(seconds);
        } else if is("stale-if-error") {
            self.stale_if_error = self.stale_if_error.or(seconds);
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        }
    }
}

/// The directives of `Cache-Control` over all its lines: names, and values without their quotes.
pub(crate) fn all(fields: &Fields) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let members = fields.get_all(Known::CacheControl).flat_map(members);
    members.map(|member| match member.iter().position(|&byte| byte == b'=') {
        None => (member, None),
        Some(at) => {
            let (name, value) = member.split_at(at);
            (name, Some(unquoted(value.get(1..).unwrap_or_default())))
        }
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

fn names_a_field(value: &[u8]) -> bool {
    value.iter().any(|byte| !matches!(byte, b',' | b' ' | b'\t' | b'"'))
}

/// The fields that `no-cache` and `private` name, which are not stored.
pub(crate) fn withheld(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let values = all(fields).filter_map(|(name, value)| {
        let counts =
            name.eq_ignore_ascii_case(b"no-cache") || name.eq_ignore_ascii_case(b"private");
        value.filter(|_| counts)
    });
    let names = values.flat_map(|value| value.split(|&byte| byte == b','));
    names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}
