//! Name look-ups: once for all cores, kept as long as their records allow.
//!
//! Any thread may ask; the work is done by the runtime in which the [`Resolver`] was started. One look-up per name
//! is under way at a time, however many wait for it. What was found is kept within bounds of time and number, what
//! was not found briefly. A failed look-up is an error, never an old answer; only a [`WatchedName`], which the
//! configuration named, keeps its last addresses.
//! Not here: which address may be connected to. That is judged when it is dialled.

mod client;
mod hosts;
#[cfg_attr(feature = "testing", allow(unreachable_pub))]
pub(crate) mod message;
mod query;
mod services;
mod system;
mod watched;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::system::open_files_limit;
use query::{Engine, Scope};
pub use services::Service;
pub use watched::{WatchState, WatchedName};

/// Names kept at most.
const NAMES_MAX: usize = 4096;
/// Look-ups under way at most.
const LOOKUPS_MAX: usize = 512;
/// No more than one in so many files that may be open, as each look-up takes two.
const LOOKUP_PER_FILES: usize = 8;
/// The fraction of them that one asker may have; more wait.
const SHARE: usize = 8;
/// How many one asker may have once many are under way in total.
const FEW: usize = 4;
/// Askers that are remembered before those without a look-up are forgotten.
const ASKERS_MAX: usize = 4096;
/// No answer is kept for less, or a watched name would be asked for without end.
const TTL_LEAST: Duration = Duration::from_millis(100);
/// How long an answer is good for that will not change.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// The servers to ask; none: those of the system's configuration.
    pub servers: Vec<SocketAddr>,
    /// How long one question may take, each time it is asked.
    pub timeout: Duration,
    /// How many times a question is asked before the look-up fails.
    pub tries: u32,
    /// Whether the hosts file comes before the servers.
    pub hosts: bool,
    /// The hosts file.
    pub hosts_file: PathBuf,
    /// The system's configuration of name servers.
    pub system_file: PathBuf,
    /// An answer is kept at least so long, whatever its records say.
    pub ttl_min: Duration,
    /// An answer is kept at most so long; no less than `ttl_min`.
    pub ttl_max: Duration,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            tries: 2,
            hosts: true,
            hosts_file: PathBuf::from("/etc/hosts"),
            system_file: PathBuf::from("/etc/resolv.conf"),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(3600),
        }
    }
}

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its addresses, the preferred family first; never none.
    pub addresses: Arc<[IpAddr]>,
    /// Other names of the same host, as the hosts file has it; seldom any.
    pub aliases: Arc<[Box<str>]>,
    /// When it should be asked for again.
    pub valid_until: Instant,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// It is no host name.
    #[error("not a valid host name")]
    InvalidName,
    /// The name does not exist, or has no address.
    #[error("the name has no address")]
    NotFound,
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// The servers failed, or could not be asked.
    #[error("name servers failed: {0}")]
    Failed(Arc<str>),
    /// More look-ups are under way than allowed.
    #[error("too many look-ups are in progress")]
    Overloaded,
    /// The client has its maximum of look-ups under way.
    #[error("too many look-ups are in progress for this client")]
    AskerOverloaded,
    /// No file can be opened to ask a name server.
    #[error("no more files can be opened for a query")]
    Exhausted,
    /// The resolver's runtime has ended.
    #[error("the resolver has stopped")]
    Stopped,
}

type Outcome = Result<Answer, ResolveError>;

/// A cache entry.
#[derive(Debug)]
enum Entry {
    Cached {
        outcome: Outcome,
        until: Instant,
    },
    /// The look-up is under way; the outcome arrives here.
    Pending(watch::Receiver<Option<Outcome>>),
}

#[derive(Debug, Default)]
struct Table {
    /// Names that were looked up as written, and names that were searched for.
    exact: HashMap<Box<str>, Entry>,
    searched: HashMap<Box<str>, Entry>,
    pending: usize,
    /// Grows when the cache is cleared, so that a look-up that started before does not fill it again.
    generation: u64,
    watched: HashMap<Box<str>, Weak<WatchedName>>,
    watched_services: HashMap<Box<str>, Weak<WatchedName<Service>>>,
}

impl Table {
    fn names(&mut self, scope: Scope) -> &mut HashMap<Box<str>, Entry> {
        match scope {
            Scope::Exact => &mut self.exact,
            Scope::Searched => &mut self.searched,
        }
    }

    /// Makes room for one more name: what has expired goes first, then whatever comes.
    fn make_room(&mut self, scope: Scope, now: Instant) {
        let names = self.names(scope);
        if names.len() < NAMES_MAX {
            return;
        }
        names.retain(|_, entry| !matches!(entry, Entry::Cached { until, .. } if *until <= now));
        let mut surplus = (names.len() + NAMES_MAX / 16).saturating_sub(NAMES_MAX);
        names.retain(|_, entry| {
            let goes = surplus > 0 && matches!(entry, Entry::Cached { .. });
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[derive(Debug)]
struct ResolverState {
    runtime: Handle,
    engine: Mutex<Arc<Engine>>,
    table: Mutex<Table>,
    /// The turns of those for whom look-ups are under way or wait.
    askers: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    lookups_max: usize,
    /// Counts changes of what is watched.
    changes: watch::Sender<u64>,
}

/// Looks up names for all threads. Cloning makes another handle of the same resolver.
#[derive(Clone, Debug)]
pub struct Resolver {
    shared: Arc<ResolverState>,
}

impl Resolver {
    /// Starts a resolver whose work is done by the runtime that this is called in; that there is none is the only
    /// error. Without any name server that answers it starts as well, and look-ups fail.
    pub fn start(settings: ResolverSettings) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let engine = Mutex::new(Arc::new(Engine::new(clamp(settings))));
        let (table, changes) = (Mutex::default(), watch::Sender::new(0));
        let askers = Mutex::default();
        let by_files = usize::try_from(open_files_limit()).unwrap_or(usize::MAX) / LOOKUP_PER_FILES;
        let lookups_max = by_files.clamp(2 * SHARE, LOOKUPS_MAX);
        let shared = ResolverState { runtime, engine, table, askers, lookups_max, changes };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The addresses of `host`, from the cache or from name servers; an address is its own result. A name is looked up as
    /// written, not searched for in the system's domains: it must be the very name that was judged.
    ///
    /// `asker` is the client: each has a share of the look-ups that may be under way, and waits for a while if its share
    /// is used up.
    pub async fn lookup(&self, host: &str, asker: IpAddr) -> Result<Answer, ResolveError> {
        let name = match ParsedHost::of(host, Scope::Exact)? {
            ParsedHost::Fixed(addresses) => return Ok(fixed_answer(addresses)),
            ParsedHost::Name(name, _) => name,
        };
        let permit =
            match self.shared.cached_or_start(&name, Scope::Exact, LookupPermit::Missing)? {
                CacheLookup::Cached(outcome) => return outcome,
                CacheLookup::Pending(pending) => return wait_for_outcome(pending).await,
                CacheLookup::Unknown => self.acquire_permit(asker).await?,
            };
        match self.shared.cached_or_start(&name, Scope::Exact, LookupPermit::Asker(permit))? {
            CacheLookup::Cached(outcome) => outcome,
            CacheLookup::Pending(pending) => wait_for_outcome(pending).await,
            CacheLookup::Unknown => Err(ResolveError::Stopped), // cannot be
        }
    }

    /// Waits for a permit of the asker's share.
    async fn acquire_permit(&self, asker: IpAddr) -> Result<AskerPermit, ResolveError> {
        let shared = &self.shared;
        let (permits, wait) = {
            let mut askers = shared.askers();
            if askers.len() >= ASKERS_MAX {
                askers.retain(|_, permits| Arc::strong_count(permits) > 1);
            }
            let permits =
                askers.entry(asker).or_insert_with(|| Arc::new(Semaphore::new(shared.share())));
            (Arc::clone(permits), shared.engine().settings.timeout)
        };
        let permit = tokio::time::timeout(wait, permits.acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(ResolveError::AskerOverloaded)?;
        Ok(AskerPermit { shared: Arc::clone(shared), asker, permit: Some(permit) })
    }

    async fn lookup_in(&self, host: &str, scope: Scope) -> Outcome {
        let (name, scope) = match ParsedHost::of(host, scope)? {
            ParsedHost::Fixed(addresses) => return Ok(fixed_answer(addresses)),
            ParsedHost::Name(name, scope) => (name, scope),
        };
        match self.shared.cached_or_start(&name, scope, LookupPermit::Unlimited)? {
            CacheLookup::Cached(outcome) => outcome,
            CacheLookup::Pending(pending) => wait_for_outcome(pending).await,
            CacheLookup::Unknown => Err(ResolveError::Stopped), // cannot be
        }
    }

    /// The addresses of `host` as [`lookup`](Self::lookup) would answer them, if that needs no asking.
    pub fn cached(&self, host: &str) -> Option<Answer> {
        match ParsedHost::of(host, Scope::Exact).ok()? {
            ParsedHost::Fixed(addresses) => Some(fixed_answer(addresses)),
            ParsedHost::Name(name, scope) => {
                match self.shared.table().names(scope).get(name.as_ref()) {
                    Some(Entry::Cached { outcome: Ok(answer), until })
                        if *until > Instant::now() =>
                    {
                        Some(answer.clone())
                    }
                    _ => None,
                }
            }
        }
    }

    /// The addresses of `host`, kept up to date while the result is held; all watchers of a name share it. It is looked
    /// up as the system would, with its search list.
    pub fn watch(&self, host: &str) -> Arc<WatchedName> {
        watched_once(&mut self.shared.table().watched, host, || {
            WatchedName::start(self, host, async |resolver: Resolver, name: Box<str>| {
                let answer = resolver.lookup_in(&name, Scope::Searched).await?;
                Ok((answer.addresses, answer.valid_until))
            })
        })
    }

    /// The services in the `SRV` records of `name` (RFC 2782), kept up to date in the same way.
    pub fn watch_services(&self, name: &str) -> Arc<WatchedName<Service>> {
        watched_once(&mut self.shared.table().watched_services, name, || {
            WatchedName::start(self, name, async |resolver: Resolver, name: Box<str>| {
                resolver.services(&name).await
            })
        })
    }

    async fn services(&self, name: &str) -> Result<(Arc<[Service]>, Instant), ResolveError> {
        let bare = name.strip_suffix('.').unwrap_or(name);
        if !is_host_name(bare) {
            return Err(ResolveError::InvalidName);
        }
        let engine = self.shared.engine();
        let scope = if bare == name { Scope::Searched } else { Scope::Exact };
        let (services, ttl) = engine.services(&bare.to_ascii_lowercase(), scope).await?;
        Ok((services, Instant::now() + ttl))
    }

    /// Notifies whenever the value of a watched name changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Changes the settings. If they differ, the cache is cleared; watched names keep their addresses until their next
    /// look-up, which happens at its usual time.
    pub fn reconfigure(&self, settings: ResolverSettings) {
        let settings = clamp(settings);
        let mut engine = self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if engine.settings == settings {
            return;
        }
        *engine = Arc::new(Engine::new(settings));
        drop(engine);
        let mut table = self.shared.table();
        table.generation += 1;
        table.exact.retain(|_, entry| matches!(entry, Entry::Pending(_)));
        table.searched.retain(|_, entry| matches!(entry, Entry::Pending(_)));
    }
}

/// The watched name, which is created unless it exists.
fn watched_once<T>(
    all: &mut HashMap<Box<str>, Weak<WatchedName<T>>>,
    name: &str,
    start: impl FnOnce() -> Arc<WatchedName<T>>,
) -> Arc<WatchedName<T>> {
    if let Some(watched) = all.get(name).and_then(Weak::upgrade) {
        return watched;
    }
    // Before it grows, not for each name.
    if all.len() == all.capacity() {
        all.retain(|_, watched| watched.strong_count() > 0);
    }
    let watched = start();
    all.insert(name.into(), Arc::downgrade(&watched));
    watched
}

fn clamp(settings: ResolverSettings) -> ResolverSettings {
    let ttl_min = settings.ttl_min.max(TTL_LEAST);
    let ttl_max = settings.ttl_max.max(ttl_min);
    ResolverSettings { ttl_min, ttl_max, tries: settings.tries.max(1), ..settings }
}

fn fixed_answer(addresses: Arc<[IpAddr]>) -> Answer {
    Answer { addresses, aliases: Arc::default(), valid_until: Instant::now() + FOREVER }
}

impl ResolverState {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many look-ups may be under way for one asker.
    fn share(&self) -> usize {
        self.lookups_max / SHARE
    }

    fn askers(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cached outcome for `name`, or a receiver for that of its look-up, which starts now if there is a permit.
    fn cached_or_start(
        self: &Arc<Self>,
        name: &str,
        scope: Scope,
        permit: LookupPermit,
    ) -> Result<CacheLookup, ResolveError> {
        let now = Instant::now();
        let mut table = self.table();
        match table.names(scope).get(name) {
            Some(Entry::Cached { outcome, until }) if *until > now => {
                return Ok(CacheLookup::Cached(outcome.clone()));
            }
            Some(Entry::Pending(pending)) => return Ok(CacheLookup::Pending(pending.clone())),
            Some(Entry::Cached { .. }) | None => {}
        }
        let permit = match permit {
            LookupPermit::Missing => return Ok(CacheLookup::Unknown),
            LookupPermit::Unlimited => None,
            LookupPermit::Asker(permit) => {
                if table.pending >= self.lookups_max {
                    return Err(ResolveError::Overloaded);
                }
                // The last quarter is for askers with few look-ups.
                if table.pending >= self.lookups_max / 4 * 3 && permit.under_way() > FEW {
                    return Err(ResolveError::AskerOverloaded);
                }
                Some(permit)
            }
        };
        table.make_room(scope, now);
        table.pending += 1;
        let (sender, receiver) = watch::channel(None);
        table.names(scope).insert(name.into(), Entry::Pending(receiver.clone()));
        let engine = self.engine();
        let lookup = PendingLookup {
            shared: Arc::clone(self),
            name: name.into(),
            scope,
            generation: table.generation,
            sender,
            _permit: permit,
        };
        drop(table);
        self.runtime.spawn(async move {
            let result = engine.answer(&lookup.name, lookup.scope).await;
            let now = Instant::now();
            let until = now + result.ttl;
            lookup.complete(result.into_answer(now), until);
        });
        Ok(CacheLookup::Pending(receiver))
    }
}

/// The permission to start a look-up.
enum LookupPermit {
    /// Not acquired yet.
    Missing,
    /// For names of the configuration there is always room.
    Unlimited,
    Asker(AskerPermit),
}

/// What the cache has for a name.
enum CacheLookup {
    Cached(Outcome),
    Pending(watch::Receiver<Option<Outcome>>),
    Unknown,
}

async fn wait_for_outcome(mut pending: watch::Receiver<Option<Outcome>>) -> Outcome {
    match pending.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(ResolveError::Stopped)),
        Err(_) => Err(ResolveError::Stopped),
    }
}

/// A permit for one look-up of an asker's share, until it is dropped.
struct AskerPermit {
    shared: Arc<ResolverState>,
    asker: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl AskerPermit {
    /// How many look-ups are under way for the same asker, this one among them.
    fn under_way(&self) -> usize {
        let permits = self.permit.as_ref().map(OwnedSemaphorePermit::semaphore);
        permits.map_or(0, |permits| self.shared.share().saturating_sub(permits.available_permits()))
    }
}

impl Drop for AskerPermit {
    fn drop(&mut self) {
        self.permit = None;
        let mut askers = self.shared.askers();
        if askers.get(&self.asker).is_some_and(|permits| Arc::strong_count(permits) == 1) {
            askers.remove(&self.asker);
        }
    }
}

/// A look-up under way. However it ends, the name does not remain pending.
struct PendingLookup {
    shared: Arc<ResolverState>,
    name: Box<str>,
    scope: Scope,
    generation: u64,
    sender: watch::Sender<Option<Outcome>>,
    _permit: Option<AskerPermit>,
}

impl PendingLookup {
    fn complete(self, outcome: Outcome, until: Instant) {
        let mut table = self.shared.table();
        if table.generation == self.generation {
            let entry = Entry::Cached { outcome: outcome.clone(), until };
            table.names(self.scope).insert(self.name.clone(), entry);
        }
        drop(table);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for PendingLookup {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        table.pending = table.pending.saturating_sub(1);
        let names = table.names(self.scope);
        if matches!(names.get(&self.name), Some(Entry::Pending(_))) {
            names.remove(&self.name);
        }
    }
}

/// A host, as far as it is known without a look-up.
enum ParsedHost<'h> {
    Fixed(Arc<[IpAddr]>),
    /// A name in lower case, without a dot at the end.
    Name(Cow<'h, str>, Scope),
}

impl<'h> ParsedHost<'h> {
    fn of(host: &'h str, scope: Scope) -> Result<Self, ResolveError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Fixed(Arc::new([ip])));
        }
        let (name, full) = match host.strip_suffix('.') {
            Some(name) => (name, true),
            None => (host, false),
        };
        if !is_host_name(name) {
            return Err(ResolveError::InvalidName);
        }
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        // RFC 6761, section 6.3: these are always this machine, and no server is to be asked.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(Self::Fixed(Arc::new([
                Ipv4Addr::LOCALHOST.into(),
                Ipv6Addr::LOCALHOST.into(),
            ])));
        }
        Ok(Self::Name(name, if full { Scope::Exact } else { scope }))
    }
}

/// RFC 1123, section 2.1, and `_`, which real names have. A last label of digits only is refused: such a "name" is
/// meant as an address in one of its odd spellings, which others may read differently from us.
fn is_host_name(name: &str) -> bool {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    name.len() <= 253
        && name.split('.').all(label_is_good)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
