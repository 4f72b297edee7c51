//! A client's connection, and what it holds.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use config::{ProxyProtocol, Timeouts};
use message::Scheme;
use net::{Alarm, Stream};
use observe::{ListenerSlot, Refusal};
use wire::proxy_protocol::Header;

use crate::account::{Account, Charge, ClientKey, Resource};
use crate::core::Core;
use crate::listening::Listening;
use crate::login::BoundConnections;
use crate::patience::{DeliveryWait, TakerLimits};
use crate::room;
use crate::secure::TlsFacts;
use crate::trust;

/// A connection from a client.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) alarm: Alarm,
    pub(crate) listening: Rc<Listening>,
    /// The address of the peer, or the one in a PROXY protocol header.
    pub(crate) address: Cell<SocketAddr>,
    /// Whether a request has been read.
    pub(crate) has_requested: Cell<bool>,
    /// Whether the PROXY protocol header, if one is due, has been read.
    pub(crate) proxy_header_read: Cell<bool>,
    /// Requests that have been read.
    requests: Cell<u32>,
    /// Whether it closes after the running exchanges, as it may carry no further requests.
    pub(crate) closing: Cell<bool>,
    /// Whether the PROXY protocol header says that the client uses TLS to the proxy in front.
    pub(crate) outer_tls: Cell<bool>,
    /// The limits for reading the response, by the route of the last request.
    pub(crate) taker_limits: Cell<TakerLimits>,
    /// The facts of its TLS, if it uses that.
    pub(crate) tls: Option<Rc<TlsFacts>>,
    /// Connections to endpoints that are this client's alone.
    pub(crate) bound: BoundConnections,
    /// What the client holds, including this connection; nothing yet while a PROXY protocol header is due.
    holdings: RefCell<Holdings>,
    guard: ConnectionGuard,
}

/// A connection that counts on its client.
#[derive(Default)]
struct Holdings {
    account: Option<Rc<Account>>,
    /// `None` where connections are not counted.
    _connection: Option<Charge>,
}

/// Counts a connection until it is dropped.
struct ConnectionGuard {
    core: Rc<Core>,
    slot: ListenerSlot,
}

/// How a listener groups addresses into clients, and what a client may have.
struct ClientLimits {
    ipv6_prefix: u8,
    /// `None`: connections are not counted, as the peer is a trusted proxy with many clients.
    connections: Option<u32>,
    /// Whether a PROXY protocol header names the client.
    named_later: bool,
}

impl ClientLimits {
    fn of(core: &Core, listening: &Listening, peer: IpAddr) -> Self {
        let view = core.view();
        let listeners = &view.config().listeners;
        let listener = listening.id.get().and_then(|id| listeners.get(id.index()));
        let Some(listener) = listener else {
            return Self { ipv6_prefix: 64, connections: None, named_later: false };
        };
        let limits = &listener.limits;
        let trusted = trust::is_trusted(peer, &listener.trusted_proxies);
        Self {
            ipv6_prefix: limits.ipv6_prefix,
            connections: (!trusted).then_some(limits.connections_per_client),
            named_later: listener.proxy_protocol == ProxyProtocol::Required,
        }
    }
}

impl Holdings {
    /// Charges a connection to its client. `file`: its file descriptor.
    fn by(
        core: &Core,
        client: IpAddr,
        file: Option<u64>,
        bounds: &ClientLimits,
    ) -> Result<Self, Refusal> {
        let account = core.accounts.of(ClientKey::of(client, bounds.ipv6_prefix));
        let charge = |max: u32| account.charge(Resource::Connections, 1, max.into());
        let connection = match bounds.connections {
            Some(max) => Some(charge(max).ok_or(Refusal::ClientLimit)?),
            None => None,
        };
        if bounds.connections.is_some()
            && file.is_some_and(|number| number >= core.shared.files.of(&account))
        {
            let little = room::has_little(&account);
            return Err(if little { Refusal::ProcessLimit } else { Refusal::ClientLimit });
        }
        Ok(Self { account: Some(account), _connection: connection })
    }
}

impl Client {
    /// Admits a connection, or refuses it.
    pub(crate) fn admit(
        core: &Rc<Core>,
        listening: &Rc<Listening>,
        stream: Stream,
        peer: SocketAddr,
    ) -> Result<Self, (Stream, Refusal)> {
        let shared = &core.shared;
        let max = shared.connections_max.load(Ordering::Relaxed);
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= max {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            return Err((stream, Refusal::ProcessLimit));
        }
        let address = peer.ip().to_canonical();
        let bounds = ClientLimits::of(core, listening, address);
        let holdings = match bounds.named_later {
            true => Holdings::default(),
            false => match Holdings::by(core, address, stream.file_number(), &bounds) {
                Ok(holdings) => holdings,
                Err(refusal) => {
                    shared.connections.fetch_sub(1, Ordering::Relaxed);
                    return Err((stream, refusal));
                }
            },
        };
        core.metrics.connection_opened(listening.slot);
        Ok(Self {
            stream,
            alarm: core.wheel.alarm(),
            listening: Rc::clone(listening),
            address: Cell::new(SocketAddr::new(address, peer.port())),
            has_requested: Cell::new(false),
            proxy_header_read: Cell::new(false),
            closing: Cell::new(false),
            requests: Cell::new(0),
            outer_tls: Cell::new(false),
            taker_limits: Cell::new(TakerLimits::of(&Timeouts::default())),
            tls: None,
            bound: BoundConnections::default(),
            holdings: RefCell::new(holdings),
            guard: ConnectionGuard { core: Rc::clone(core), slot: listening.slot },
        })
    }

    /// Takes the client's address from the PROXY protocol header. Refuses the connection if that client has too
    /// many.
    pub(crate) fn apply_proxy_header(&self, core: &Core, header: &Header) -> Result<(), Refusal> {
        if let Header::Client { source, tls, .. } = header {
            self.address.set(SocketAddr::new(source.ip().to_canonical(), source.port()));
            self.outer_tls.set(*tls);
        }
        self.proxy_header_read.set(true);
        let address = self.address.get().ip();
        let bounds = ClientLimits::of(core, &self.listening, address);
        let file = self.stream.file_number();
        *self.holdings.borrow_mut() = Holdings::by(core, address, file, &bounds)?;
        Ok(())
    }

    /// Counts a request. After so many (0: any number) the connection closes.
    pub(crate) fn count_request(&self, max: u32) {
        let requests = self.requests.get().saturating_add(1);
        self.requests.set(requests);
        if max > 0 && requests >= max {
            self.closing.set(true);
        }
    }

    /// What the client holds on this core.
    pub(crate) fn account(&self) -> Rc<Account> {
        let mut holdings = self.holdings.borrow_mut();
        let account = holdings.account.get_or_insert_with(|| {
            // Only where a reload has taken the PROXY protocol away in the meantime.
            let core = &self.guard.core;
            let address = self.address.get().ip();
            let bounds = ClientLimits::of(core, &self.listening, address);
            core.accounts.of(ClientKey::of(address, bounds.ipv6_prefix))
        });
        Rc::clone(account)
    }

    /// A wait until the client has read what was written, while no exchange is running.
    pub(crate) fn delivery_wait(&self, now: tokio::time::Instant) -> DeliveryWait {
        DeliveryWait::new(self.taker_limits.get(), now)
    }

    /// The same with TLS on its stream.
    pub(crate) fn secured(self, layer: impl FnOnce(Stream) -> Stream, facts: Rc<TlsFacts>) -> Self {
        Self { stream: layer(self.stream), tls: Some(facts), ..self }
    }

    /// The scheme of the requests that come over it.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.core.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.core.metrics.connection_closed(self.slot);
        if std::thread::panicking() {
            self.core.registry.count_panic();
        }
    }
}
