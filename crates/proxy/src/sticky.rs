//! Sticky clients: a cookie of ours keeps a client with its endpoint.
//!
//! The cookie's value is a keyed hash (HMAC-SHA-256, its first 128 bits, base64url) of the names of
//! the upstream and the endpoint: it reveals no address, cannot be made without the key, and means
//! the same after a restart and on every machine with the key. All values of an upstream are
//! computed with the snapshot, so that a request costs one look into a table.
//! Not here: bindings to endpoints that are down or drain (`balance`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use config::{Config, Place, SameSite, Sticky, Upstream};
use foldhash::HashMap;
use message::{Fields, Response, cookie};
use tls::{StateDir, StateError};

use crate::http1::Scratch;

/// Bytes of the hash in a value.
const HASH_BYTES: usize = 16;
/// The least bytes of a key.
const KEY_BYTES_MIN: usize = 16;
/// Where our own key is in the state directory.
const KEY_FILE: &str = "sticky.key";
const KEY_BYTES: usize = 32;
/// The most bytes of a key file.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The cookie of one upstream.
pub(crate) struct Stickiness {
    settings: Sticky,
    /// The attributes after the value, without `Secure`.
    attributes: Box<str>,
    /// By endpoint.
    values: Vec<Box<str>>,
    endpoints: HashMap<Box<[u8]>, u32>,
}

impl Stickiness {
    /// The cookies of an upstream with its current members.
    pub(crate) fn new(upstream: &Upstream, settings: &Sticky, key: &Key) -> Self {
        let values: Vec<Box<str>> =
            upstream.endpoints.iter().map(|e| key.value(&upstream.name, &e.written)).collect();
        let endpoints = (0..).zip(&values).map(|(index, value)| (value.as_bytes().into(), index));
        let endpoints = endpoints.collect();
        Self { settings: settings.clone(), attributes: attributes(settings), values, endpoints }
    }

    /// The endpoint that a request is bound to.
    pub(crate) fn bound(&self, fields: &Fields) -> Option<usize> {
        let value = cookie(fields, &self.settings.cookie)?;
        self.endpoints.get(value).map(|&index| index as usize)
    }

    /// The cookie to set after a response of `endpoint`, unless the client is `bound` to it
    /// already.
    pub(crate) fn binding(
        &self,
        bound: Option<usize>,
        endpoint: usize,
        secure: bool,
    ) -> Option<Binding<'_>> {
        let binding = Binding { stickiness: self, endpoint, secure };
        (bound != Some(endpoint)).then_some(binding)
    }

    /// Writes the Set-Cookie that binds a client to an endpoint. `secure`: it came over TLS.
    fn write(&self, endpoint: usize, secure: bool, out: &mut Vec<u8>) {
        let Some(value) = self.values.get(endpoint) else { return };
        for part in [&*self.settings.cookie, "=", value, &*self.attributes] {
            out.extend_from_slice(part.as_bytes());
        }
        if self.settings.secure.unwrap_or(secure) {
            out.extend_from_slice(b"; Secure");
        }
    }
}

/// The attributes (RFC 6265, section 4.1.2) that are the same for every client.
fn attributes(settings: &Sticky) -> Box<str> {
    let mut out = format!("; Path={}", settings.path);
    if let Some(domain) = &settings.domain {
        // Writing into a String cannot fail.
        let _ = write!(out, "; Domain={domain}");
    }
    if let Some(age) = settings.max_age {
        let _ = write!(out, "; Max-Age={}", age.as_secs());
    }
    if settings.http_only {
        out.push_str("; HttpOnly");
    }
    out.push_str(match settings.same_site {
        SameSite::Unset => "",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::Lax => "; SameSite=Lax",
        SameSite::None => "; SameSite=None",
    });
    out.into()
}

/// The secret key for values.
#[derive(Clone)]
pub(crate) struct Key(hmac::Key);

impl Key {
    fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn value(&self, upstream: &str, endpoint: &str) -> Box<str> {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [upstream, endpoint] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let hash = tag.as_ref().get(..HASH_BYTES).unwrap_or_default();
        // A cookie may contain all letters of this alphabet.
        URL_SAFE_NO_PAD.encode(hash).into()
    }
}

/// The keys of a configuration: our own one, and those by [`UpstreamId`](config::UpstreamId).
#[derive(Default)]
pub(crate) struct Keys {
    own: Option<Key>,
    by_upstream: Vec<Option<Key>>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    /// It is too short for a secret, or too long for a key.
    #[error("the key {path} has {bytes} bytes; it needs {KEY_BYTES_MIN} to {KEY_FILE_BYTES_MAX}")]
    Size { path: String, bytes: u64 },
    /// A new key cannot be made.
    #[error("the system has no random numbers for a key")]
    Random,
}

impl Keys {
    /// The keys for all sticky upstreams of a configuration; an error has the line that asks for a key,
    /// and why there is none. `before`: the keys of the previous configuration, whose own key stays.
    pub(crate) fn of(config: &Config, before: Option<&Self>) -> Result<Self, (Place, KeyError)> {
        let own = before.and_then(|before| before.own.clone());
        let mut keys = Self { own, by_upstream: Vec::new() };
        for upstream in &config.upstreams {
            let sticky = upstream.sticky.as_ref();
            let state = config.process.state.as_deref();
            let key = sticky.map(|s| keys.key(s, state).map_err(|error| (s.place, error)));
            let key = key.transpose()?;
            keys.by_upstream.push(key);
        }
        Ok(keys)
    }

    /// The cookies of the upstreams, by [`UpstreamId`](config::UpstreamId), with the members that
    /// `config` has.
    pub(crate) fn cookies(&self, config: &Config) -> Vec<Option<Stickiness>> {
        let pairs = config.upstreams.iter().zip(&self.by_upstream);
        let cookies = pairs.map(|(upstream, key)| {
            let (settings, key) = upstream.sticky.as_ref().zip(key.as_ref())?;
            Some(Stickiness::new(upstream, settings, key))
        });
        cookies.collect()
    }

    /// The key for an upstream's cookies. If our own key is missing, it is made and kept in the state
    /// directory; if that is not possible, it lasts as long as the process.
    fn key(&mut self, settings: &Sticky, state: Option<&Path>) -> Result<Key, KeyError> {
        match &settings.key_file {
            Some(path) => read(path),
            None => {
                if self.own.is_none() {
                    self.own = Some(own(state)?);
                }
                self.own.clone().ok_or(KeyError::Random)
            }
        }
    }
}

/// The problem with a key file of sticky cookies, if there is one.
pub fn key_file_problem(path: &Path) -> Option<String> {
    read(path).err().map(|error| error.to_string())
}

/// What a request's cookie means to a sticky upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickyCookie {
    /// The request has no cookie.
    Missing,
    /// It names this one of the upstream's endpoints.
    Endpoint(usize),
    /// It names none of them, according to the key in this file.
    Unknown(PathBuf),
    /// There is no key to read it with, for this reason.
    NoKey(String),
}

impl StickyCookie {
    /// Reads the cookie that an upstream's `sticky` asks for. `state`: the configured state
    /// directory. This makes no key, as only the running proxy may.
    pub fn read(
        upstream: &Upstream,
        settings: &Sticky,
        state: Option<&Path>,
        fields: &Fields,
    ) -> Self {
        if cookie(fields, &settings.cookie).is_none() {
            return Self::Missing;
        }
        match known(settings, state) {
            Ok((key, path)) => Stickiness::new(upstream, settings, &key)
                .bound(fields)
                .map_or(Self::Unknown(path), Self::Endpoint),
            Err(why) => Self::NoKey(why),
        }
    }
}

/// The key in a file, and the file; an error says why there is none.
fn known(settings: &Sticky, state: Option<&Path>) -> Result<(Key, PathBuf), String> {
    if let Some(path) = &settings.key_file {
        let key = read(path).map_err(|error| error.to_string())?;
        return Ok((key, path.clone()));
    }
    let state = StateDir::find(state).map_err(|error| error.to_string())?;
    let path = state.path_of(KEY_FILE);
    match state.read(KEY_FILE).map_err(|error| error.to_string())? {
        Some(secret) if secret.len() >= KEY_BYTES_MIN => Ok((Key::new(&secret), path)),
        _ => Err(format!(
            "`sticky` has no key-file, and {} holds none: the process makes one at random, which \
             it alone knows",
            path.display()
        )),
    }
}

fn read(path: &Path) -> Result<Key, KeyError> {
    let name = || path.display().to_string();
    let unreadable = |source| KeyError::Unreadable { path: name(), source };
    let secret = config::read_file(path, KEY_FILE_BYTES_MAX).map_err(unreadable)?;
    if secret.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(KeyError::Size { path: name(), bytes: secret.len() as u64 });
    }
    let secret = secret.trim_ascii();
    if secret.len() < KEY_BYTES_MIN {
        return Err(KeyError::Size { path: name(), bytes: secret.len() as u64 });
    }
    Ok(Key::new(secret))
}

/// Our own key: the one in the state directory, else a new one.
fn own(state: Option<&Path>) -> Result<Key, KeyError> {
    let fresh = random::secret::<KEY_BYTES>().map_err(|_| KeyError::Random)?;
    let kept = StateDir::find(state).and_then(|state| kept(&state, &fresh));
    Ok(kept.unwrap_or_else(|error| {
        let hint = "clients are bound anew after a restart; give `sticky` a key-file, or \
                    `process { state … }` a directory that can be written";
        tracing::warn!(%error, hint, "the key of sticky cookies cannot be kept");
        Key::new(&fresh)
    }))
}

fn kept(state: &StateDir, fresh: &[u8]) -> Result<Key, StateError> {
    let _lock = state.lock(KEY_FILE)?;
    match state.read(KEY_FILE)? {
        Some(secret) if secret.len() >= KEY_BYTES_MIN => Ok(Key::new(&secret)),
        _ => {
            state.write(KEY_FILE, fresh)?;
            Ok(Key::new(fresh))
        }
    }
}

/// A cookie that binds the client to an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    stickiness: &'a Stickiness,
    endpoint: usize,
    /// Whether the request came over TLS.
    secure: bool,
}

impl Binding<'_> {
    /// Adds the cookie to a response.
    pub(crate) fn mark(self, response: &mut Response, scratch: &Scratch) {
        let mut value = scratch.take();
        self.stickiness.write(self.endpoint, self.secure, &mut value);
        response.fields.push(b"Set-Cookie", &value);
        scratch.give_back(value);
    }
}

#[cfg(test)]
mod tests {
    use config::{Endpoint, EndpointAddress};

    use super::*;

    fn settings() -> Sticky {
        Sticky {
            place: Place::default(),
            cookie: "BW".into(),
            max_age: None,
            path: "/".into(),
            domain: None,
            secure: None,
            http_only: true,
            same_site: SameSite::Lax,
            key_file: None,
        }
    }

    fn upstream(endpoints: &[&str]) -> Upstream {
        let endpoint =
            |written: &&str| Endpoint::new(*written, EndpointAddress::Ip(written.parse().unwrap()));
        Upstream::new("app", endpoints.iter().map(endpoint).collect())
    }

    fn set_cookie(stickiness: &Stickiness, endpoint: usize, secure: bool) -> String {
        let mut out = Vec::new();
        stickiness.write(endpoint, secure, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn bound(stickiness: &Stickiness, cookie: &str) -> Option<usize> {
        let mut fields = Fields::new();
        fields.push(b"Cookie", cookie.as_bytes());
        stickiness.bound(&fields)
    }

    #[test]
    fn a_cookie_leads_back_whatever_the_order_of_endpoints() {
        let key = Key::new(b"0123456789abcdef");
        let before = Stickiness::new(&upstream(&["10.0.0.1:80", "10.0.0.2:80"]), &settings(), &key);
        let after = upstream(&["10.0.0.3:80", "10.0.0.2:80", "10.0.0.1:80"]);
        let after = Stickiness::new(&after, &settings(), &key);
        for (endpoint, then) in [(0, 2), (1, 1)] {
            let cookie = set_cookie(&before, endpoint, false);
            let pair = cookie.split(';').next().unwrap();
            assert_eq!(bound(&before, pair), Some(endpoint));
            assert_eq!(bound(&after, pair), Some(then));
            assert!(!cookie.contains("10.0"), "{cookie}");
        }
    }

    #[test]
    fn nobody_makes_a_cookie_without_the_key() {
        let group = upstream(&["10.0.0.1:80"]);
        let ours = Stickiness::new(&group, &settings(), &Key::new(b"0123456789abcdef"));
        let other = Stickiness::new(&group, &settings(), &Key::new(b"0123456789abcdeg"));
        let forged = set_cookie(&other, 0, false);
        assert_eq!(bound(&ours, forged.split(';').next().unwrap()), None);
        for value in ["BW=", "BW=0", "BW=10.0.0.1:80", "other=1"] {
            assert_eq!(bound(&ours, value), None, "{value}");
        }
    }

    #[test]
    fn attributes_are_as_set() {
        #[track_caller]
        fn check(settings: Sticky, secure: bool, expected: &str) {
            let key = Key::new(b"0123456789abcdef");
            let group = Stickiness::new(&upstream(&["10.0.0.1:80"]), &settings, &key);
            let cookie = set_cookie(&group, 0, secure);
            assert_eq!(cookie.split_once(';').unwrap().1.trim_start(), expected);
        }
        check(settings(), false, "Path=/; HttpOnly; SameSite=Lax");
        check(settings(), true, "Path=/; HttpOnly; SameSite=Lax; Secure");
        let all = Sticky {
            max_age: Some(std::time::Duration::from_secs(3600)),
            path: "/app".into(),
            domain: Some("example.com".into()),
            secure: Some(false),
            http_only: false,
            same_site: SameSite::None,
            ..settings()
        };
        check(all, true, "Path=/app; Domain=example.com; Max-Age=3600; SameSite=None");
    }

    #[test]
    fn our_own_key_outlasts_the_process() {
        let state = tempfile::tempdir().unwrap();
        let value = || own(Some(state.path())).unwrap().value("app", "a");
        assert_eq!(value(), value());
    }

    #[test]
    fn a_cookie_is_read_with_a_key_that_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (state, group) = (Some(directory.path()), upstream(&["10.0.0.1:80", "10.0.0.2:80"]));
        let read = |cookie: &str| {
            let mut fields = Fields::new();
            fields.push(b"Cookie", cookie.as_bytes());
            StickyCookie::read(&group, &settings(), state, &fields)
        };
        assert_eq!(read("other=1"), StickyCookie::Missing);
        assert!(matches!(read("BW=x"), StickyCookie::NoKey(why) if why.contains("at random")));
        assert!(!directory.path().join(KEY_FILE).exists(), "looking makes no key");
        let key = own(state).unwrap();
        let cookie = set_cookie(&Stickiness::new(&group, &settings(), &key), 1, false);
        assert_eq!(read(cookie.split(';').next().unwrap()), StickyCookie::Endpoint(1));
        assert_eq!(read("BW=x"), StickyCookie::Unknown(directory.path().join(KEY_FILE)));
    }

    #[test]
    fn a_key_file_must_hold_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let settings = Sticky { key_file: Some(path.clone()), ..settings() };
        let key = || Keys::default().key(&settings, None).map(|key| key.value("app", "a"));
        assert!(key().unwrap_err().to_string().contains("cannot read the key"));
        std::fs::write(&path, "short").unwrap();
        assert!(key().unwrap_err().to_string().contains("has 5 bytes"));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(key().unwrap(), Key::new(b"0123456789abcdef").value("app", "a"));
    }
}
