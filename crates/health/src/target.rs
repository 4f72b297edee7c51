//! The target of a check: the address, TLS and the settings of the check.

use std::sync::Arc;

use balance::Group;
use config::{Check, Endpoint, EndpointAddress, Health, Place, UpstreamProtocol};
use net::WatchedName;

use super::Endpoints;

/// An endpoint as a member of its group in the configuration that is in effect.
#[derive(Clone)]
pub(super) struct GroupMember {
    pub(super) group: Arc<Group>,
    pub(super) index: usize,
}

/// An endpoint with its checks.
pub(super) struct EndpointChecks {
    pub(super) upstream: Arc<str>,
    pub(super) endpoint: Arc<str>,
    pub(super) member: GroupMember,
    pub(super) targets: Vec<Target>,
}

/// What one check of one endpoint connects to, and how.
pub(super) struct Target {
    pub(super) address: EndpointAddress,
    /// The addresses of its name, if it has one.
    pub(super) watched: Option<Arc<WatchedName>>,
    pub(super) tls: Option<Arc<tls::Client>>,
    /// The name that TLS asks for, unless the upstream has another.
    pub(super) host: Box<str>,
    /// The authority of the request, unless the check has another.
    pub(super) authority: Box<str>,
    pub(super) protocol: UpstreamProtocol,
    pub(super) health: Health,
}

impl Target {
    fn new(upstream: Endpoints<'_>, (index, endpoint): (usize, &Endpoint), health: Health) -> Self {
        let port = health.port;
        let address = match (&endpoint.address, port) {
            (EndpointAddress::Ip(address), Some(port)) => {
                let mut address = *address;
                address.set_port(port);
                EndpointAddress::Ip(address)
            }
            (EndpointAddress::Name { host, .. }, Some(port)) => {
                EndpointAddress::Name { host: Arc::clone(host), port }
            }
            (address, _) => address.clone(),
        };
        let (host, port) = match &address {
            EndpointAddress::Ip(address) => (address.ip().to_string(), address.port()),
            EndpointAddress::Name { host, port } => (host.to_string(), *port),
            EndpointAddress::Unix(_) => ("localhost".to_owned(), 0),
        };
        let host = endpoint.host.as_deref().map_or(host, str::to_owned);
        let authority = authority(&host, port, endpoint.tls);
        Self {
            address,
            watched: upstream.watched.get(index).cloned().flatten(),
            tls: upstream.tls.filter(|_| endpoint.tls).map(Arc::clone),
            host: host.into(),
            authority: authority.into(),
            protocol: upstream.group.settings.protocol,
            health,
        }
    }

    /// Whether a check by `other` would be the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let tls = |target: &Self| target.tls.as_ref().map(|context| context.id());
        let health = Health { place: self.health.place, ..other.health.clone() };
        self.address == other.address
            && tls(self) == tls(other)
            && self.host == other.host
            && self.authority == other.authority
            && self.protocol == other.protocol
            && self.health == health
    }

    /// What the check does, such as `GET /healthz`.
    pub(super) fn what(&self) -> String {
        match &self.health.check {
            Check::Tcp => "TCP".to_owned(),
            Check::Http(http) => format!("{} {}", http.method, http.path),
            Check::Grpc(service) if service.is_empty() => "gRPC".to_owned(),
            Check::Grpc(service) => format!("gRPC {service}"),
        }
    }
}

/// The value of `Host` (RFC 9110, section 7.2); `port` 0: there is none.
fn authority(host: &str, port: u16, tls: bool) -> String {
    let is_v6 = host.contains(':') && !host.starts_with('[');
    let host = if is_v6 { format!("[{host}]") } else { host.to_owned() };
    match port {
        0 => host,
        80 if !tls => host,
        443 if tls => host,
        port => format!("{host}:{port}"),
    }
}

/// The endpoints that have checks.
pub(super) fn endpoint_checks<'a>(
    upstreams: impl Iterator<Item = Endpoints<'a>>,
) -> Vec<EndpointChecks> {
    let mut all = Vec::new();
    for upstream in upstreams {
        let settings = &upstream.group.settings;
        if settings.health.is_empty() {
            continue;
        }
        for (index, endpoint) in settings.endpoints.iter().enumerate() {
            let target = |health: &Health| Target::new(upstream, (index, endpoint), health.clone());
            all.push(EndpointChecks {
                upstream: Arc::clone(&settings.name),
                endpoint: Arc::clone(&endpoint.written),
                member: GroupMember { group: Arc::clone(upstream.group), index },
                targets: settings.health.iter().map(target).collect(),
            });
        }
    }
    all
}

/// The target of a mere connection to an endpoint, which may have no checks.
pub(super) fn connection(upstream: Endpoints<'_>, index: usize) -> Option<Target> {
    let endpoint = upstream.group.settings.endpoints.get(index)?;
    let health = Health { place: Place::default(), ..Health::new(Check::Tcp) };
    Some(Target::new(upstream, (index, endpoint), health))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        assert_eq!(authority("a.test", 8080, false), "a.test:8080");
        assert_eq!(authority("a.test", 80, false), "a.test");
        assert_eq!(authority("a.test", 80, true), "a.test:80");
        assert_eq!(authority("a.test", 443, true), "a.test");
        assert_eq!(authority("::1", 8080, false), "[::1]:8080");
        assert_eq!(authority("localhost", 0, false), "localhost");
    }
}
