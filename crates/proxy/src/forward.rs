//! Requests of forward clients: the client names the destination, the rules decide whether it may
//! go there.
//!
//! A name is looked up once. Each of its addresses is checked, only allowed ones are dialled, and
//! each is checked again right before. A failed look-up is a refusal.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::{Forward, ForwardId, Place};
use message::{Form, Method, Request};
use net::{AddressKind, AddressRefusal, ResolveError};
use observe::{Direction, ErrorKind, LookupResult, Scope};
use rules::{Address, DenyReason, ForwardRequest, Verdict};

use crate::admission;
use crate::answer;
use crate::authentication::{Asker, log_in};
use crate::body::Sink;
use crate::caching;
use crate::context::ClientContext;
use crate::destination::{Destination, NamedDestination, NoConnection, unless_client_gone};
use crate::downstream::{Downstream, Reply};
use crate::ending::{Ending, gone};
use crate::identity::{self, Identity};
use crate::leaving;
use crate::note;
use crate::plan::Plan;
use crate::pool::Connection;
use crate::trouble::Trouble;
use crate::trust::Peer;
use crate::tunnel::TunnelStart;
use crate::upstream::FarEnd;
use crate::work::Work;

/// Serves a request of a forward client.
pub(crate) async fn run<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    id: ForwardId,
    peer: Peer<'_>,
) -> Ending {
    let config = context.view.config();
    let Some(forward) = config.forward(id) else {
        return answer::missing(context, work, down, "forward").await;
    };
    let settings = &forward.settings;
    note::wanted_id(&work.request, settings);
    work.record.direction = Direction::Forward;
    work.record.scope = Scope::Forward(id);
    work.record.decided = forward.place;
    note::request_fields(context.view, &work.request, &mut work.record);
    down.set_patience(&work.request, &settings.timeouts);
    down.begin_body(&work.request, settings.limits.body_bytes);
    let admitted = admission::admit_forward(context, id, &mut work.request, peer.trusted);
    if let Err(trouble) = admitted.and_then(|()| check_form(&work.request, forward)) {
        return answer::trouble(context, work, down, Some(settings), trouble).await;
    }
    let user;
    let mut context = *context;
    if let Some(login) = settings.login {
        user = match log_in(&context, work, down, (Asker::Forward, login, settings)).await {
            Ok(user) => user,
            Err(ending) => return ending,
        };
        context.log_in(&user);
    }
    let context = &context;
    let mut host = std::mem::take(&mut work.named);
    let mut addresses = std::mem::take(&mut work.addresses);
    let target = ForwardTarget { id, peer, host: &mut host, addresses: &mut addresses };
    let ending = to_named(context, work, down, forward, target).await;
    (work.named, work.addresses) = (host, addresses);
    ending
}

/// The listener of a request, and the destination that it names.
struct ForwardTarget<'a> {
    id: ForwardId,
    peer: Peer<'a>,
    host: &'a mut String,
    addresses: &'a mut Vec<SocketAddr>,
}

async fn to_named<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    forward: &Forward,
    target: ForwardTarget<'_>,
) -> Ending {
    let settings = &forward.settings;
    let ForwardTarget { id, peer, host, addresses } = target;
    // The name and the method must outlive changes of the request.
    let method = work.request.method;
    host.clear();
    host.push_str(work.request.target.host());
    let host = host.as_str();
    let check = RuleCheck {
        context,
        id,
        request: ForwardRequest {
            client: context.requester.address,
            method: &method,
            host,
            port: work.request.target.port(),
            certificate: context.tls().and_then(|tls| tls.client),
        },
        decided: Cell::new(forward.place),
        aliases: RefCell::default(),
    };
    addresses.clear();
    match check.find_addresses(&work.request, down, addresses).await {
        Ok(()) => {}
        Err(NoConnection::ClientGone) => return gone(&mut work.record),
        Err(NoConnection::Trouble(trouble)) => {
            work.record.decided = check.decided.get();
            return answer::trouble(context, work, down, Some(settings), trouble).await;
        }
    }
    work.record.decided = check.decided.get();
    let judge = |address| check.judge(address);
    let named = NamedDestination { forward, host, addresses, judge: &judge, pool: None };
    if method == Method::Connect {
        return connect(context, work, down, &named).await;
    }
    work.path.clear();
    // RFC 9110, section 7.7: a proxy does not change path and query.
    work.path.extend_from_slice(work.request.target.as_it_came());
    let address = std::mem::take(&mut work.address);
    let identity = Identity::forward(forward, peer, &address);
    let via = identity::via_of_responses(forward);
    let remove = forward.anonymous.as_ref().map_or(&[][..], |anonymous| &anonymous.remove);
    let plan = Plan {
        settings,
        identity,
        via,
        route: None,
        client: context.client_facts(),
        maps: context.maps(),
        hsts: None,
        point: None,
        remove,
        cache_status: None,
    };
    let mut destination = Destination::Named(named);
    leaving::request(&mut work.request, &plan, &mut work.body);
    let ending = caching::fetch_or_find(context, work, down, &mut destination, &plan).await;
    work.address = address;
    ending
}

/// Checks that the request names its destination in a usable form, and is not in a loop.
fn check_form(request: &Request, forward: &Forward) -> Result<(), Trouble> {
    if let Some(detail) = rules::unfit(&request.target) {
        return Err(Trouble::new(ErrorKind::HttpRequestError, detail));
    }
    if request.target.form() == Form::Absolute && has_our_via(request, forward) {
        let detail = "the request came through this proxy before";
        return Err(Trouble::new(ErrorKind::ProxyLoopDetected, detail));
    }
    Ok(())
}

/// RFC 9110, section 7.6.3: Via reveals loops. A chain of two proxies with the same name is no loop
/// yet.
fn has_our_via(request: &Request, forward: &Forward) -> bool {
    const HOPS_MAX: usize = 5;
    let ours =
        |member: &&[u8]| member.rsplit(|&b| b == b' ').next() == Some(forward.via.as_bytes());
    request.fields.list(message::Known::Via).filter(ours).count() >= HOPS_MAX
}

/// The rules of a forward listener, applied to one request.
struct RuleCheck<'a> {
    context: &'a ClientContext<'a>,
    id: ForwardId,
    request: ForwardRequest<'a>,
    decided: Cell<Place>,
    /// Other names of the host.
    aliases: RefCell<Arc<[Box<str>]>>,
}

/// An address in the form that rules need.
pub fn rule_address(ip: IpAddr) -> Address {
    let kind = AddressKind::of(ip);
    let mut inside = [None; 4];
    inside.iter_mut().zip(net::embedded_v4(ip)).for_each(|(place, ip)| *place = Some(ip));
    Address { ip, is_global: kind.is_global(), is_own: kind.is_own(), inside }
}

impl RuleCheck<'_> {
    /// Finds the addresses that may be dialled, in the order of the look-up.
    async fn find_addresses<D: Downstream>(
        &self,
        request: &Request,
        down: &mut D,
        allowed: &mut Vec<SocketAddr>,
    ) -> Result<(), NoConnection> {
        let port = self.request.port;
        if let Some(ip) = request.target.ip() {
            let address = SocketAddr::new(ip, port);
            allowed.push(address);
            return self.check(address).map_err(NoConnection::Trouble);
        }
        let rules = &self.context.view.shared.rules;
        if let Verdict::Deny { place, reason, .. } =
            rules.judge(self.id, &self.request, None, &mut ())
        {
            return Err(NoConnection::Trouble(self.denied(place, reason)));
        }
        let resolver = &self.context.core.resolver;
        let requester = self.context.account().key().address();
        let known = resolver.cached(self.request.host);
        let cached = known.is_some();
        let answer = match known {
            Some(answer) => Ok(answer),
            None => {
                let looked_up = unless_client_gone(
                    down.split().0,
                    resolver.lookup(self.request.host, requester),
                )
                .await;
                looked_up.ok_or(NoConnection::ClientGone)?
            }
        };
        self.context.core.registry.lookup_done(match &answer {
            Ok(_) if cached => LookupResult::Cached,
            Ok(_) => LookupResult::Answered,
            Err(ResolveError::NotFound) => LookupResult::NotFound,
            Err(ResolveError::Timeout) => LookupResult::TimedOut,
            Err(_) => LookupResult::Failed,
        });
        let answer = answer.map_err(|error| NoConnection::Trouble(self.not_found(&error)))?;
        self.aliases.replace(Arc::clone(&answer.aliases));
        let mut refused = None;
        for &ip in answer.addresses.iter() {
            let address = SocketAddr::new(ip, port);
            match self.check(address) {
                Ok(()) => allowed.push(address),
                Err(trouble) => refused = Some(trouble),
            }
        }
        match refused {
            Some(trouble) if allowed.is_empty() => Err(NoConnection::Trouble(trouble)),
            _ => Ok(()),
        }
    }

    fn check(&self, address: SocketAddr) -> Result<(), Trouble> {
        let ip = address.ip().to_canonical();
        let rule_address = rule_address(ip);
        let rules = &self.context.view.shared.rules;
        match rules.judge(self.id, &self.request, Some(rule_address), &mut ()) {
            Verdict::Allow { rule, place } => {
                self.decided.set(place);
                self.refuse_admin(address)?;
                self.check_aliases(rule, rule_address)?;
                self.refuse_loop(address)
            }
            Verdict::Deny { place, reason, .. } => Err(self.denied(place, reason)),
            // Impossible, as there is an address; no rule would have allowed it.
            Verdict::NeedsAddresses => Err(self.denied(Place::default(), DenyReason::NoRule)),
        }
    }

    /// A host may have other names in the hosts file: if an earlier rule denies one of those, it
    /// denies this one too.
    fn check_aliases(&self, allowed: Option<usize>, rule_address: Address) -> Result<(), Trouble> {
        let rules = &self.context.view.shared.rules;
        for host in self.aliases.borrow().iter() {
            let request = ForwardRequest { host, ..self.request };
            if let Verdict::Deny { rule: Some(denied), place, reason: DenyReason::Rule } =
                rules.judge(self.id, &request, Some(rule_address), &mut ())
                && allowed.is_none_or(|allowed| denied < allowed)
            {
                return Err(self.denied(place, DenyReason::Rule));
            }
        }
        Ok(())
    }

    /// The same check, right before dialling.
    fn judge(&self, address: SocketAddr) -> Result<(), AddressRefusal> {
        self.check(address).map_err(|trouble| AddressRefusal::Because(trouble.detail))
    }

    fn denied(&self, place: Place, reason: DenyReason) -> Trouble {
        self.decided.set(place);
        let kind = match reason {
            DenyReason::SpecialAddress | DenyReason::OwnAddress => {
                ErrorKind::DestinationIpProhibited
            }
            DenyReason::Rule | DenyReason::NoRule | DenyReason::Port => {
                ErrorKind::HttpRequestDenied
            }
        };
        let ForwardRequest { host, port, .. } = self.request;
        Trouble::new(kind, format!("access to {host}:{port} is refused: {reason}"))
    }

    fn not_found(&self, error: &ResolveError) -> Trouble {
        let kind = match error {
            ResolveError::Timeout => ErrorKind::DnsTimeout,
            ResolveError::AskerOverloaded => ErrorKind::ClientLimitReached,
            ResolveError::Overloaded => ErrorKind::Overloaded,
            ResolveError::Exhausted => ErrorKind::LocalResources,
            _ => ErrorKind::DnsError,
        };
        let ForwardRequest { host, client, .. } = self.request;
        if !matches!(kind, ErrorKind::DnsTimeout | ErrorKind::DnsError) {
            observe::log_limited!(WARN, %client, error = kind.name(), "a name is not looked up: {error}");
        }
        let whole = match error {
            ResolveError::NotFound if !host.contains('.') => {
                " (names are looked up as they stand, without a search list)"
            }
            _ => "",
        };
        Trouble::new(kind, format!("{host} was not found: {error}{whole}"))
    }

    /// The admin interface trusts every client that can reach it, as if it were a user of this
    /// machine.
    fn refuse_admin(&self, address: SocketAddr) -> Result<(), Trouble> {
        if !self.context.core.shared.is_admin(address) {
            return Ok(());
        }
        let ForwardRequest { host, port, .. } = self.request;
        let detail = format!(
            "access to {host}:{port} is refused: it is the admin interface of this proxy, which no rule opens"
        );
        Err(Trouble::new(ErrorKind::DestinationIpProhibited, detail))
    }

    /// Refuses our own listeners as a destination: the request would come back to us.
    fn refuse_loop(&self, address: SocketAddr) -> Result<(), Trouble> {
        let own = &self.context.view.shared.own_addresses;
        if !own.iter().any(|own| own.port() == address.port()) {
            return Ok(());
        }
        let ip = address.ip().to_canonical();
        let is_ours = |own: &SocketAddr| {
            let bound = own.ip().to_canonical();
            let everywhere = bound.is_unspecified()
                && (ip.is_loopback() || ip.is_unspecified() || Some(ip) == self.reached_at());
            own.port() == address.port() && (bound == ip || everywhere)
        };
        if own.iter().any(is_ours) {
            let detail = "the destination is this proxy itself";
            return Err(Trouble::new(ErrorKind::ProxyLoopDetected, detail));
        }
        Ok(())
    }

    /// The local address of the client's connection.
    fn reached_at(&self) -> Option<IpAddr> {
        self.context.client.stream.local_address().map(|address| address.ip().to_canonical())
    }
}

/// CONNECT: a tunnel to the destination (RFC 9110, section 9.3.6).
async fn connect<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    named: &NamedDestination<'_>,
) -> Ending {
    let settings = &named.forward.settings;
    let charge = match context.upstream_charge() {
        Ok(charge) => charge,
        Err(trouble) => return answer::trouble(context, work, down, Some(settings), trouble).await,
    };
    let bounds = (settings.timeouts.connect, context.core.shared.files.of(charge.account()));
    let dialled = named.dial(context.core, &mut work.record, down.split().0, bounds, None).await;
    let connection = match dialled {
        Ok(connection) => Connection { charge: Some(charge), ..connection },
        Err(NoConnection::ClientGone) => return gone(&mut work.record),
        Err(NoConnection::Trouble(trouble)) => {
            return answer::trouble(context, work, down, Some(settings), trouble).await;
        }
    };
    let Work { request, response, record, .. } = work;
    if is_connected_to_us(context, &connection) {
        let detail = "the destination is this proxy itself";
        let looped = Trouble::new(ErrorKind::ProxyLoopDetected, detail);
        return answer::trouble(context, work, down, Some(settings), looped).await;
    }
    response.clear();
    response.status = 200;
    record.status = 200;
    record.tunnel = true;
    let (_, reply) = down.split();
    reply.switch(request, response);
    if reply.flush().await.is_err() {
        return gone(record);
    }
    let idle = settings.timeouts.tunnel_idle;
    let far = FarEnd::Connection(connection, None);
    Ending::Tunnel(Box::new(TunnelStart { far, lease: None, idle }))
}

/// A connection to an address of this machine has the same address at both ends: this reveals own
/// addresses that are in no list.
fn is_connected_to_us(context: &ClientContext<'_>, connection: &Connection) -> bool {
    let Some(address) = connection.address else { return false };
    let own = &context.view.shared.own_addresses;
    let listens = |own: &SocketAddr| own.port() == address.port() && own.ip().is_unspecified();
    own.iter().any(listens)
        && connection
            .stream
            .local_address()
            .is_some_and(|local| local.ip().to_canonical() == address.ip().to_canonical())
}
