//! `SRV` records (RFC 2782): where a service is, by its name.

use std::sync::Arc;
use std::time::Duration;

use super::ResolveError;
use super::client::QueryError;
use super::message::{RecordData, RecordType};
use super::query::{Engine, Scope};

/// Records kept of one name.
const SERVICES_MAX: usize = 1000;

/// One place where a service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Lower ones come first.
    pub priority: u16,
    /// The host, in lower case, without a dot at the end.
    pub target: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Its share among those of the same priority; 0: a very small one.
    pub weight: u16,
}

impl Engine {
    /// Looks up the services of `name` (in lower case, without a dot at the end). None at all is an answer, too: it
    /// is what a target of `.` says.
    pub(super) async fn services(
        &self,
        name: &str,
        scope: Scope,
    ) -> Result<(Arc<[Service]>, Duration), ResolveError> {
        let servers = self.servers();
        let mut failure = None;
        for candidate in servers.candidates(name, scope) {
            let records = match servers.client.ask(&candidate, RecordType::Services).await {
                Ok(records) => records,
                Err(QueryError::Nothing { .. }) => continue,
                Err(QueryError::Failure(error)) => {
                    failure = Some(error);
                    continue;
                }
            };
            let services = records.data.into_iter().filter_map(|data| match data {
                // RFC 2782: a target of "." means that the service is decidedly not available.
                RecordData::Service { priority, weight, port, target }
                    if !target.is_root() && port != 0 =>
                {
                    let target = target.to_string();
                    let target = Arc::from(target.strip_suffix('.').unwrap_or(&target));
                    Some(Service { priority, target, port, weight })
                }
                _ => None,
            });
            let mut services: Vec<_> = services.collect();
            services.sort_unstable();
            services.dedup();
            services.truncate(SERVICES_MAX);
            let ttl = Duration::from_secs(records.ttl.into());
            let ttl = ttl.clamp(self.settings.ttl_min, self.settings.ttl_max);
            return Ok((services.into(), ttl));
        }
        Err(failure.unwrap_or(ResolveError::NotFound))
    }
}
