//! Resolves a name: the hosts file, then name servers, both families at once, with or without the search list.

use std::net::{IpAddr, UdpSocket};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, QueryError, Records};
use super::hosts::{FILE_CHECK_EVERY, Hosts, HostsEntry, Stamp, stamp_of};
use super::message::{Name, RecordData, RecordType};
use super::system::SystemSettings;
use super::{Answer, ResolveError, ResolverSettings};

/// RFC 8305, section 3: what the second family's answer is waited for at least, once the first is there.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long an answer is kept at most that one family is missing from because its question failed.
const PARTIAL_TTL_MAX: Duration = Duration::from_secs(10);
/// How long it is remembered that a name does not exist: what its zone says, within these bounds.
const NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(5);
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);
/// RFC 9520, section 3.2: that a question failed is remembered for a second at least.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// How long what the hosts file says is kept before it is looked at again.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// Addresses kept of one name and family: for names that clients ask for, and for names in the configuration.
const ADDRESSES_MAX: usize = 32;
const ADDRESSES_WATCHED_MAX: usize = 1000;

/// Which names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The name as written.
    Exact,
    /// The name within the domains of the system's search list, too.
    Searched,
}

/// The outcome of a look-up, and how long it is valid.
pub(super) struct LookupResult {
    pub(super) outcome: Result<Arc<[IpAddr]>, ResolveError>,
    /// Other names for the same host in the hosts file.
    pub(super) aliases: Arc<[Box<str>]>,
    pub(super) ttl: Duration,
}

impl LookupResult {
    fn error(error: ResolveError, ttl: Duration) -> Self {
        Self { outcome: Err(error), aliases: Arc::default(), ttl }
    }

    pub(super) fn into_answer(self, now: Instant) -> Result<Answer, ResolveError> {
        let (aliases, valid_until) = (self.aliases, now + self.ttl);
        self.outcome.map(|addresses| Answer { addresses, aliases, valid_until })
    }
}

/// The servers to ask.
pub(super) struct Servers {
    pub(super) client: Client,
    search: Vec<String>,
    ndots: usize,
}

/// Looks names up with one set of settings.
pub(super) struct Engine {
    pub(super) settings: ResolverSettings,
    hosts: Mutex<Hosts>,
    /// Built again when the system's configuration has changed.
    servers: Mutex<(Stamp, Instant, Arc<Servers>)>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(settings: ResolverSettings) -> Self {
        let stamp = stamp_of(&settings.system_file);
        let servers = Arc::new(Servers::new(&settings));
        let servers = Mutex::new((stamp, Instant::now(), servers));
        Self { settings, hosts: Mutex::default(), servers }
    }

    /// Looks up `name` (in lower case, without a trailing dot).
    pub(super) async fn answer(&self, name: &str, scope: Scope) -> LookupResult {
        if let Some(HostsEntry { addresses, aliases }) = self.find_in_hosts(name) {
            return LookupResult { outcome: Ok(addresses), aliases, ttl: HOSTS_TTL };
        }
        let servers = self.servers();
        let mut failure = None;
        let mut negative_ttl = NEGATIVE_TTL_MAX;
        let max = match scope {
            Scope::Exact => ADDRESSES_MAX,
            Scope::Searched => ADDRESSES_WATCHED_MAX,
        };
        for candidate in servers.candidates(name, scope) {
            match ask(&servers.client, &candidate, max).await {
                QueryResult::Addresses(addresses, ttl) => {
                    let ttl = ttl.clamp(self.settings.ttl_min, self.settings.ttl_max);
                    return LookupResult {
                        outcome: Ok(addresses.into()),
                        aliases: Arc::default(),
                        ttl,
                    };
                }
                QueryResult::Nothing { ttl, .. } => negative_ttl = negative_ttl.min(ttl),
                QueryResult::Failure(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => LookupResult::error(error, FAILURE_TTL),
            None => LookupResult::error(ResolveError::NotFound, negative_ttl.max(FAILURE_TTL)),
        }
    }

    fn find_in_hosts(&self, name: &str) -> Option<HostsEntry> {
        if !self.settings.hosts {
            return None;
        }
        self.hosts().find(&self.settings.hosts_file, name, Instant::now())
    }

    pub(super) fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked for when `name` is looked up.
    #[cfg(test)]
    pub(super) fn candidates(&self, name: &str, scope: Scope) -> Vec<String> {
        self.servers().candidates(name, scope).iter().map(Name::to_string).collect()
    }

    pub(super) fn servers(&self) -> Arc<Servers> {
        let mut current = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, checked_at, servers) = &mut *current;
        if self.settings.servers.is_empty() && checked_at.elapsed() >= FILE_CHECK_EVERY {
            *checked_at = Instant::now();
            let now = stamp_of(&self.settings.system_file);
            if now != *stamp {
                *stamp = now;
                *servers = Arc::new(Servers::new(&self.settings));
            }
        }
        Arc::clone(servers)
    }
}

impl Servers {
    fn new(settings: &ResolverSettings) -> Self {
        let system = match settings.servers.as_slice() {
            [] => SystemSettings::read(&settings.system_file),
            servers => SystemSettings { servers: servers.to_vec(), search: Vec::new(), ndots: 1 },
        };
        let SystemSettings { servers, search, ndots } = system;
        let client = Client::new(servers, settings.timeout, settings.tries);
        Self { client, search, ndots }
    }

    /// The full names to ask for, in turn. resolv.conf(5): a name with fewer dots than `ndots` is searched for first.
    pub(super) fn candidates(&self, name: &str, scope: Scope) -> Vec<Name> {
        let Some(exact) = Name::of(name) else { return Vec::new() };
        if scope == Scope::Exact {
            return vec![exact];
        }
        let full = |domain: &String| Name::of(&format!("{name}.{domain}"));
        let mut candidates: Vec<_> = self.search.iter().filter_map(full).collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        candidates.insert(if dots >= self.ndots { 0 } else { candidates.len() }, exact);
        candidates
    }
}

/// The result for one full name.
enum QueryResult {
    Addresses(Vec<IpAddr>, Duration),
    /// No such record, or no such name at all.
    Nothing {
        ttl: Duration,
        name_exists: bool,
    },
    Failure(ResolveError),
}

/// Asks for both families at once. Once one has addresses, the other may take as long again and no longer: a server
/// that does not answer questions for IPv6 must not delay the result.
async fn ask(client: &Client, name: &Name, max: usize) -> QueryResult {
    let begun_at = Instant::now();
    let mut v4 = pin!(ask_for(client, name, RecordType::V4, max));
    let mut v6 = pin!(ask_for(client, name, RecordType::V6, max));
    let (v4, v6) = tokio::select! {
        first = &mut v4 => {
            let second = within(&first, begun_at, v6).await;
            (first, second)
        }
        first = &mut v6 => {
            let second = within(&first, begun_at, v4).await;
            (second, first)
        }
    };
    join(v4, v6)
}

/// The second result, for which the time is limited if the first is sufficient.
async fn within(
    first: &QueryResult,
    begun_at: Instant,
    second: impl Future<Output = QueryResult>,
) -> QueryResult {
    match first {
        // That there is no such name is to hold for both. But there are servers that say so of AAAA where A exists
        // (RFC 4074, section 4.2), and which of the two comes first must not decide.
        QueryResult::Addresses(..) | QueryResult::Nothing { name_exists: false, .. } => {
            let patience = begun_at.elapsed().max(RESOLUTION_DELAY);
            let late = QueryResult::Failure(ResolveError::Timeout);
            tokio::time::timeout(patience, second).await.unwrap_or(late)
        }
        QueryResult::Nothing { .. } | QueryResult::Failure(_) => second.await,
    }
}

/// Joins the results of the two families.
fn join(v4: QueryResult, v6: QueryResult) -> QueryResult {
    use QueryResult::{Addresses, Failure, Nothing};
    match (v4, v6) {
        (Addresses(v4, ttl4), Addresses(v6, ttl6)) => {
            let reachable = v6.first().is_some_and(|ip| has_route_to(*ip));
            let (mut addresses, others) = if reachable { (v6, v4) } else { (v4, v6) };
            addresses.extend(others);
            Addresses(addresses, ttl4.min(ttl6))
        }
        (Addresses(addresses, ttl), Nothing { .. })
        | (Nothing { .. }, Addresses(addresses, ttl)) => Addresses(addresses, ttl),
        (Addresses(addresses, ttl), Failure(_)) | (Failure(_), Addresses(addresses, ttl)) => {
            Addresses(addresses, ttl.min(PARTIAL_TTL_MAX))
        }
        (
            Nothing { ttl: ttl4, name_exists: there4 },
            Nothing { ttl: ttl6, name_exists: there6 },
        ) => Nothing { ttl: ttl4.min(ttl6), name_exists: there4 && there6 },
        (Nothing { ttl, name_exists: false }, Failure(_))
        | (Failure(_), Nothing { ttl, name_exists: false }) => Nothing { ttl, name_exists: false },
        (Failure(error), _) | (_, Failure(error)) => Failure(error),
    }
}

async fn ask_for(client: &Client, name: &Name, family: RecordType, max: usize) -> QueryResult {
    match client.ask(name, family).await {
        Ok(Records { data, ttl }) => {
            let mut addresses = Vec::new();
            for data in data {
                if let RecordData::Address(ip) = data
                    && !addresses.contains(&ip)
                    && addresses.len() < max
                {
                    addresses.push(ip);
                }
            }
            QueryResult::Addresses(addresses, Duration::from_secs(ttl.into()))
        }
        Err(QueryError::Nothing { ttl, name_exists }) => {
            let told = ttl.map(|seconds| Duration::from_secs(seconds.into()));
            let ttl = told.unwrap_or(NEGATIVE_TTL_DEFAULT).min(NEGATIVE_TTL_MAX);
            QueryResult::Nothing { ttl, name_exists }
        }
        Err(QueryError::Failure(error)) => QueryResult::Failure(error),
    }
}

/// RFC 6724, section 6, rule 1: addresses that cannot be reached come last. The kernel knows: to "connect" a
/// datagram socket looks for a route and sends nothing.
fn has_route_to(ip: IpAddr) -> bool {
    let any = if ip.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    UdpSocket::bind(any).and_then(|socket| socket.connect((ip, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// RFC 4074, section 4.2
    #[tokio::test]
    async fn no_name_for_one_family_does_not_hide_the_other() {
        let ttl = Duration::from_secs(1);
        let first = QueryResult::Nothing { ttl, name_exists: false };
        let second = async {
            tokio::task::yield_now().await;
            QueryResult::Addresses(vec![Ipv4Addr::LOCALHOST.into()], ttl)
        };
        let second = within(&first, Instant::now(), second).await;
        assert!(matches!(join(second, first), QueryResult::Addresses(..)));
    }
}
