//! How far a request may go: `Max-Forwards`, and loops through listeners of our own.
//!
//! A site may forward to another site of the same process. A request that reaches a route which it has passed
//! already is in a loop. So a request to ourselves carries the routes that it has passed, in a field of our own
//! that no other server sees. `Via` is no substitute: a route may remove it, and it is dropped if the peer is
//! not trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use message::{Known, Method, Request};
use net::Stream;
use observe::Scope;

use crate::upstream::Link;

/// The name of the field; its value is a number of this process, then the routes.
const FIELD: &str = "Bothways-Passed";
/// Routes that one request may pass in one process.
const PASSED_MAX: usize = 16;

/// The number that marks our own fields; unset until a request leads to ourselves.
static OWN: OnceLock<String> = OnceLock::new();

/// Counts one hop; false if the request may go no further. RFC 9110, section 7.6.2: `Max-Forwards` counts
/// down with TRACE and OPTIONS, and ends at 0.
pub(crate) fn take_hop(request: &mut Request) -> bool {
    if !matches!(request.method, Method::Trace | Method::Options) {
        return true;
    }
    let value = request.fields.get(Known::MaxForwards);
    let Some(left) = value.and_then(|value| str::from_utf8(value).ok()?.parse::<u32>().ok()) else {
        return true;
    };
    let Some(left) = left.checked_sub(1) else { return false };
    request.fields.set(b"Max-Forwards", left.to_string().as_bytes());
    true
}

/// Whether the request has passed the route before, or too many routes.
pub(crate) fn has_passed(request: &Request, scope: Scope) -> bool {
    let Some(passed) = passed(request) else { return false };
    let mut routes = passed.split(|&byte| byte == b' ').filter(|route| !route.is_empty());
    let here = name(scope);
    routes.clone().count() >= PASSED_MAX || routes.any(|route| route == here.as_bytes())
}

/// Adds the route to a request that goes to ourselves, and removes the field from one that does
/// not.
pub(crate) fn mark(request: &mut Request, to_us: bool, scope: Scope) {
    if to_us {
        // It must not be guessable, or clients could forge the field.
        let number = || random::secret().map_or_else(|_| random::next(), u64::from_ne_bytes);
        let own = OWN.get_or_init(|| format!("{:016x}", number()));
        let before = passed(request).unwrap_or_default();
        let value = [own.as_bytes(), before, b" ", name(scope).as_bytes()].concat();
        request.fields.set(FIELD.as_bytes(), &value);
    } else if OWN.get().is_some() {
        request.fields.remove_named(FIELD.as_bytes());
    }
}

/// The routes that it has passed.
fn passed(request: &Request) -> Option<&[u8]> {
    let own = OWN.get()?;
    request.fields.find(FIELD.as_bytes())?.strip_prefix(own.as_bytes())
}

fn name(scope: Scope) -> String {
    match scope {
        Scope::Site(site, Some(route)) => format!("{}.{}", site.0, route.0),
        Scope::Site(site, None) => format!("{}", site.0),
        _ => "-".to_owned(),
    }
}

/// Whether a connection leads to a listener of our own. `client`: a connection to such a listener.
pub(crate) fn leads_to_us(own: &[SocketAddr], link: &Link, client: Option<&Stream>) -> bool {
    let Some(address) = link.address() else { return false };
    if !own.iter().any(|own| own.port() == address.port()) {
        return false;
    }
    // A connection to an address of this machine has it at both ends.
    let of_client = || Some(client?.local_address()?.ip().to_canonical());
    is_own(own, address, link.local_address().or_else(of_client))
}

/// Whether we listen on an address; `from`: an address of this machine, perhaps the same.
fn is_own(own: &[SocketAddr], address: SocketAddr, from: Option<IpAddr>) -> bool {
    let ip = address.ip().to_canonical();
    own.iter().filter(|own| own.port() == address.port()).any(|own| {
        let bound = own.ip().to_canonical();
        let is_here = ip.is_loopback() || ip.is_unspecified() || Some(ip) == from;
        bound == ip || (bound.is_unspecified() && is_here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_our_own() {
        #[track_caller]
        fn check(own: &str, address: &str, from: &str, expected: bool) {
            let own = [own.parse().unwrap()];
            let found = is_own(&own, address.parse().unwrap(), from.parse().ok());
            assert_eq!(found, expected, "{own:?} {address} {from}");
        }
        check("127.0.0.1:80", "127.0.0.1:80", "", true);
        check("127.0.0.1:80", "127.0.0.1:81", "", false);
        check("127.0.0.1:80", "127.0.0.2:80", "127.0.0.1", false);
        check("0.0.0.0:80", "127.0.0.2:80", "127.0.0.1", true);
        check("[::]:80", "127.0.0.1:80", "", true);
        check("[::]:80", "[::1]:80", "", true);
        check("[::]:80", "192.0.2.1:80", "192.0.2.1", true);
        check("[::]:80", "192.0.2.2:80", "192.0.2.1", false);
        check("192.0.2.1:80", "[::ffff:192.0.2.1]:80", "", true);
    }
}
