//! How responses are stored and reused, by site, route or forward listener.
//!
//! Not here: what a response allows (`cache`), where the store is (`process`).

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::Place;
use crate::regex::Regex;

/// How responses of a site, a route or a forward listener are stored and reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caching {
    /// The line of it.
    pub place: Place,
    /// How long a response is fresh, by its status; the first row that fits counts.
    pub ttls: Box<[CacheTtl]>,
    /// When these rows count.
    pub ttl_mode: TtlMode,
    /// How long a stale response is still sent while a new one is fetched, where the origin does not say it.
    pub stale_while_revalidate: Duration,
    /// How long a stale response is still sent where the origin fails, where the origin does not say it.
    pub stale_on_error: Duration,
    /// What requests must have in common to get the same response.
    pub key: CacheKey,
    /// Bytes of the largest body that is stored.
    pub max_object: u64,
    /// How many requests there must be for a response before it is stored.
    pub min_uses: u32,
    /// Requests of which methods are answered from the store.
    pub methods: CacheMethods,
    /// Requests that are not answered from the store; the response to them is stored.
    pub bypass: Box<[CacheCondition]>,
    /// Requests that the store has nothing to do with.
    pub pass: Box<[CacheCondition]>,
    /// How long a request waits for another one that fetches the same; zero: not at all.
    pub lock: Duration,
    /// Whether the request's own `Cache-Control` counts.
    pub respect_client: bool,
    /// Whether responses have `Cache-Status` (RFC 9211).
    pub status_field: bool,
    /// Whether a response with `Set-Cookie` is stored, cookie and all.
    pub store_set_cookie: bool,
    /// Whether `Surrogate-Key` and `Cache-Tag` are removed on the way to the client.
    pub remove_tags: bool,
    /// A response whose clients have left is fetched to its end if at most this many bytes are left.
    pub finish: u64,
    /// Networks that may send `PURGE`.
    pub purge_from: Box<[IpNet]>,
}

impl Caching {
    /// With every default; the client's own `Cache-Control` does not count.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            ttls: Box::default(),
            ttl_mode: TtlMode::IfSilent,
            stale_while_revalidate: Duration::ZERO,
            stale_on_error: Duration::ZERO,
            key: CacheKey::default(),
            max_object: 64 << 20,
            min_uses: 1,
            methods: CacheMethods::GetAndHead,
            bypass: Box::default(),
            pass: Box::default(),
            lock: Duration::from_secs(5),
            respect_client: false,
            status_field: true,
            store_set_cookie: false,
            remove_tags: false,
            finish: 16 << 20,
            purge_from: Box::default(),
        }
    }

    /// With the defaults of a forward listener: the client's own `Cache-Control` counts.
    pub fn forward(place: Place) -> Self {
        Self { respect_client: true, ..Self::new(place) }
    }

    /// How long a response of this status is fresh by the rows.
    pub fn ttl(&self, status: u16) -> Option<CacheTtl> {
        self.ttls.iter().find(|row| row.statuses.has(status)).copied()
    }
}

impl Default for Caching {
    fn default() -> Self {
        Self::new(Place::default())
    }
}

/// How long responses of some statuses are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheTtl {
    /// Of which statuses.
    pub statuses: CacheStatuses,
    /// How long.
    pub time: Duration,
}

/// Statuses of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatuses {
    /// Each that may be stored without a word of the origin (RFC 9110, section 15.1).
    All,
    /// This one.
    Exact(u16),
    /// Those that begin with this digit.
    Class(u8),
}

impl CacheStatuses {
    /// Whether `status` is one of them.
    pub fn has(self, status: u16) -> bool {
        match self {
            // RFC 9110, section 15.1; 206 is stored as a part of a 200.
            Self::All => matches!(
                status,
                200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
            ),
            Self::Exact(exact) => status == exact,
            Self::Class(class) => status / 100 == u16::from(class),
        }
    }
}

/// When the times of the configuration count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlMode {
    /// Where the origin says nothing.
    #[default]
    IfSilent,
    /// Where the origin says nothing, or less.
    Floor,
    /// Always, whatever the origin says.
    Override,
}

/// Requests of which methods are answered from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMethods {
    /// GET, and HEAD from what a GET has brought.
    #[default]
    GetAndHead,
    /// GET alone.
    Get,
}

/// What requests must have in common to get the same response, beside scheme, host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheKey {
    /// Which parameters of the query count.
    pub query: QueryKey,
    /// Whether the order of the parameters does not count.
    pub sort_query: bool,
    /// Names of fields whose values count.
    pub fields: Box<[Box<str>]>,
    /// Names of cookies whose values count.
    pub cookies: Box<[Box<str>]>,
}

/// Which parameters of a query count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryKey {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// These.
    Keep(Box<[NamePattern]>),
    /// All but these.
    Drop(Box<[NamePattern]>),
}

/// A name, or what names begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// The name without its `*`.
    pub text: Box<str>,
    /// Whether more may follow: a `*` was written at the end.
    pub is_prefix: bool,
}

impl NamePattern {
    /// Reads it as it is written: `lang`, `utm_*`.
    pub fn new(written: &str) -> Self {
        match written.strip_suffix('*') {
            Some(text) => Self { text: text.into(), is_prefix: true },
            None => Self { text: written.into(), is_prefix: false },
        }
    }

    /// Whether `name` is one of them; case matters.
    pub fn has(&self, name: &[u8]) -> bool {
        match self.is_prefix {
            true => name.starts_with(self.text.as_bytes()),
            false => name == self.text.as_bytes(),
        }
    }
}

/// What a request must have for a `bypass` or `pass` line to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCondition {
    /// The line of it.
    pub place: Place,
    /// What it must have.
    pub what: CacheConditionOn,
    /// What the value must be.
    pub value: CacheValue,
}

/// What a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheConditionOn {
    /// A field of this name, compared without case.
    Field(Box<str>),
    /// A cookie of such a name.
    Cookie(NamePattern),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheValue {
    /// Anything.
    Any,
    /// This text.
    Is(Box<str>),
    /// Something in which this is found.
    Matches(Regex),
}

/// The store of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStore {
    /// The line of it; none if nothing is said.
    pub place: Place,
    /// Bytes of memory.
    pub memory: u64,
    /// The part on disk.
    pub disk: Option<DiskStore>,
}

impl Default for CacheStore {
    fn default() -> Self {
        Self { place: Place::default(), memory: 128 << 20, disk: None }
    }
}

/// The part of the store that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStore {
    /// Its directory.
    pub path: PathBuf,
    /// Bytes of it.
    pub max: u64,
    /// A file with the key by which it is encrypted.
    pub key_file: Option<PathBuf>,
}
