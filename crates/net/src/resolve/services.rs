//! `SRV` records (RFC 2782): where a service is, by its name.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{RData, RecordType};

use super::ResolveError;
use super::query::{Engine, Missed, Scope};

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
        let resolver = servers.resolver.as_ref().map_err(Clone::clone)?;
        let mut failure = None;
        for candidate in servers.candidates(name, scope) {
            let lookup = match resolver.lookup(candidate, RecordType::SRV).await {
                Ok(lookup) => lookup,
                Err(error) => {
                    if let Missed::Failure(error) = Missed::of(&error) {
                        failure = Some(error);
                    }
                    continue;
                }
            };
            let mut ttl = u32::MAX;
            let (mut services, mut answered) = (Vec::new(), false);
            for record in lookup.answers() {
                ttl = ttl.min(record.ttl);
                let RData::SRV(srv) = &record.data else { continue };
                answered = true;
                // RFC 2782: a target of "." means that the service is decidedly not available.
                if srv.target.is_root() || srv.port == 0 {
                    continue;
                }
                let target = srv.target.to_ascii().to_ascii_lowercase();
                let target = Arc::from(target.strip_suffix('.').unwrap_or(&target));
                let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
                services.push(Service { priority, target, port, weight });
            }
            if answered {
                services.sort_unstable();
                services.dedup();
                services.truncate(SERVICES_MAX);
                let ttl = Duration::from_secs(ttl.into());
                let ttl = ttl.clamp(self.settings.ttl_min, self.settings.ttl_max);
                return Ok((services.into(), ttl));
            }
        }
        Err(failure.unwrap_or(ResolveError::NotFound))
    }
}
