//! Logins for a connection instead of a request: NTLM and Negotiate (RFC 4559).
//!
//! An endpoint with such a login attributes all requests on a connection to the user who has logged in over it.
//! So from the first response that offers one, or from the first such credentials, a connection to an endpoint
//! belongs to one connection of a client: it is kept there ([`BoundConnections`]) for later requests, and never
//! enters a pool. An HTTP/2 client may be a proxy whose connection many users share: nothing is kept for it, so
//! each request must log in by itself (as Kerberos does) or come over HTTP/1.1 (NTLM).
//! Not here: when a connection can be reused (`attempt::settle`), connections for any client (`pool`).

use std::cell::RefCell;
use std::rc::Rc;

use message::{Known, Request, Response, Version};
use tokio::time::Instant;

use crate::pool::{Connection, Pool};

/// Connections kept at most for one connection of a client; then the oldest is closed.
const BOUND_MAX: usize = 8;

/// The endpoint or the host that a connection leads to.
pub(crate) enum BoundTo {
    /// An endpoint, by its pool, which outlives a reload.
    Endpoint(Rc<Pool>),
    /// A host that a client named.
    Host(Box<str>),
}

/// Connections to endpoints that belong to one connection of a client.
#[derive(Default)]
pub(crate) struct BoundConnections(RefCell<Vec<(BoundTo, Connection)>>);

impl BoundConnections {
    /// Keeps a connection whose response is complete.
    pub(crate) fn keep(&self, target: BoundTo, mut connection: Connection) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= BOUND_MAX {
            kept.remove(0);
        }
        connection.reused = true;
        kept.push((target, connection));
    }

    /// The endpoint, of these, to which the client has a connection.
    pub(crate) fn endpoint_of(&self, pools: &[Rc<Pool>]) -> Option<usize> {
        let kept = self.0.borrow();
        let index = |target: &BoundTo| match target {
            BoundTo::Endpoint(to) => pools.iter().position(|pool| Rc::ptr_eq(pool, to)),
            BoundTo::Host(_) => None,
        };
        kept.iter().rev().find_map(|(target, _)| index(target))
    }

    /// The client's connection to an endpoint, if it is still open.
    pub(crate) fn take_endpoint(&self, pool: &Rc<Pool>, now: Instant) -> Option<Connection> {
        self.take(now, |target, _| matches!(target, BoundTo::Endpoint(to) if Rc::ptr_eq(to, pool)))
    }

    /// The client's connection to a host, if it is still open.
    pub(crate) fn take_host(&self, host: &str, port: u16, now: Instant) -> Option<Connection> {
        self.take(now, |target, connection| {
            let same_port = connection.address.is_some_and(|address| address.port() == port);
            same_port && matches!(target, BoundTo::Host(to) if **to == *host)
        })
    }

    fn take(
        &self,
        now: Instant,
        is_wanted: impl Fn(&BoundTo, &Connection) -> bool,
    ) -> Option<Connection> {
        let mut kept = self.0.borrow_mut();
        loop {
            let index =
                kept.iter().rposition(|(target, connection)| is_wanted(target, connection))?;
            let (_, connection) = kept.remove(index);
            if connection.stream.is_quiet() && !connection.expiry.is_over(now) {
                return Some(connection);
            }
        }
    }
}

/// Whether the request has credentials for its connection.
pub(crate) fn has_credentials(request: &Request) -> bool {
    credentials(request).any(|value| scheme_is(value, "NTLM") || scheme_is(value, "Negotiate"))
}

/// Whether they need HTTP/1.1: an NTLM login takes several requests on one connection.
pub(crate) fn wants_http1(request: &Request) -> bool {
    request.version == Version::Http2 && credentials(request).any(|value| scheme_is(value, "NTLM"))
}

fn credentials(request: &Request) -> impl Iterator<Item = &[u8]> {
    let fields = [Known::Authorization, Known::ProxyAuthorization];
    fields.into_iter().flat_map(|known| request.fields.get_all(known))
}

/// Whether a response offers such a login.
pub(crate) fn is_offered(response: &Response) -> bool {
    const NAMES: [&str; 2] = ["WWW-Authenticate", "Proxy-Authenticate"];
    if !matches!(response.status, 401 | 407) {
        return false;
    }
    let named = response
        .fields
        .iter()
        .filter(|field| NAMES.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes())));
    // Quoted text may be taken for a scheme by mistake; that costs a connection and no more.
    let challenges = named.flat_map(|field| field.value.split(|&byte| byte == b','));
    challenges
        .map(<[u8]>::trim_ascii)
        .any(|challenge| scheme_is(challenge, "NTLM") || scheme_is(challenge, "Negotiate"))
}

fn scheme_is(value: &[u8], scheme: &str) -> bool {
    let word = value.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    word.eq_ignore_ascii_case(scheme.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logs_in_for_a_connection() {
        let of_request = |name: &str, value: &str| {
            let mut request = Request::default();
            request.fields.push(name.as_bytes(), value.as_bytes());
            has_credentials(&request)
        };
        assert!(of_request("Authorization", "NTLM TlRMTVNTUAAB"));
        assert!(of_request("authorization", "negotiate YII="));
        assert!(of_request("Proxy-Authorization", "Negotiate YII="));
        assert!(!of_request("Authorization", "Basic bnRsbTpudGxt"));
        assert!(!of_request("Authorization", "NTLMv9 x"));
        let of_response = |status: u16, name: &str, value: &str| {
            let mut response = Response { status, ..Response::default() };
            response.fields.push(name.as_bytes(), value.as_bytes());
            is_offered(&response)
        };
        assert!(of_response(401, "WWW-Authenticate", "NTLM"));
        assert!(of_response(401, "www-authenticate", "Basic realm=\"a\", negotiate, NTLM"));
        assert!(of_response(407, "Proxy-Authenticate", "Negotiate"));
        assert!(!of_response(200, "WWW-Authenticate", "NTLM"));
        assert!(!of_response(401, "WWW-Authenticate", "Basic realm=\"NTLM\""));
    }
}
