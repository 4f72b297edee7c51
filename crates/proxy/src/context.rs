//! The context of an exchange: its core, its view of the configuration, its requester.
//!
//! A [`Context`] is all that sending a request upstream needs. It does not need a client's connection, so
//! copies of requests (and a cache's own) go the same way as clients' requests. An exchange with a connected
//! client has a [`ClientContext`].

use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use config::{ListenerId, Route};
use message::Request;
use net::Alarm;
use observe::ErrorKind;
use rules::{ClientFacts, Facts, Maps, TlsFacts};

use crate::account::{Account, Charge, ClientKey, Resource};
use crate::body::Flow;
use crate::client::Client;
use crate::core::Core;
use crate::secure;
use crate::snapshot::View;
use crate::trouble::Trouble;

/// The context of an exchange: its core, its view of the configuration, its requester.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) view: &'a Rc<View>,
    pub(crate) requester: Requester<'a>,
    /// For what comes from the requester and goes upstream.
    pub(crate) alarm: &'a Alarm,
    /// For what comes from upstream and goes to the requester.
    pub(crate) reply_alarm: &'a Alarm,
    /// What both directions know about each other.
    pub(crate) flow: &'a Flow,
}

/// The client or the task that sends a request.
#[derive(Clone, Copy)]
pub(crate) struct Requester<'a> {
    /// The client, as far back as proxies are trusted.
    pub(crate) address: IpAddr,
    /// The listener that it used, whose limits apply.
    pub(crate) listener_id: ListenerId,
    /// Who it has proven to be, where a login is asked for.
    pub(crate) user: Option<&'a str>,
    /// Its connection; `None` if no client waits for the response.
    pub(crate) connection: Option<&'a Client>,
}

impl Context<'_> {
    /// The facts of the client's TLS, for rules and templates.
    pub(crate) fn tls(&self) -> Option<TlsFacts<'_>> {
        self.requester.connection?.tls.as_deref().map(secure::TlsFacts::for_rules)
    }

    /// What templates and some protocols tell of the client.
    pub(crate) fn client_facts(&self) -> ClientFacts<'_> {
        let requester = &self.requester;
        let peer = requester.connection.map(|client| client.address.get());
        let peer = peer.filter(|peer| peer.ip().to_canonical() == requester.address.to_canonical());
        let listener = self.view.config().listener(requester.listener_id);
        let listener_port = listener.map_or(0, |listener| listener.address.port());
        // Where the configuration leaves it to the system, the connection tells it.
        let own_port = || requester.connection?.stream.local_address().map(|own| own.port());
        ClientFacts {
            address: requester.address.to_canonical(),
            port: peer.map(|peer| peer.port()).filter(|&port| port != 0),
            listener_port: match listener_port {
                0 => own_port().unwrap_or(0),
                port => port,
            },
            user: requester.user,
            tls: self.tls(),
        }
    }

    /// The maps that templates name.
    pub(crate) fn maps(&self) -> &Maps {
        self.view.shared.rules.maps()
    }

    /// What templates may name of a request that a route took.
    pub(crate) fn facts<'f>(&'f self, request: &'f Request, route: &'f Route) -> Facts<'f> {
        Facts::of(self.client_facts(), request, Some(route), self.maps())
    }

    /// The account of the requester on this core: that of the connection, or of a client behind a
    /// trusted proxy.
    pub(crate) fn account(&self) -> Rc<Account> {
        let ipv6_prefix = self.limits().map_or(64, |limits| limits.ipv6_prefix);
        let key = ClientKey::of(self.requester.address, ipv6_prefix);
        let own = self.requester.connection.map(Client::account).filter(|own| own.key() == key);
        own.unwrap_or_else(|| self.core.accounts.of(key))
    }

    /// Counts an upstream connection of the requester until the charge is dropped.
    pub(crate) fn upstream_charge(&self) -> Result<Charge, Trouble> {
        let max = self.limits().map_or(u32::MAX, |limits| limits.upstream_connections_per_client);
        self.account().charge(Resource::Upstreams, 1, max.into()).ok_or_else(|| {
            let detail = "this client has as many upstream connections as one may";
            let client = self.requester.address;
            observe::log_limited!(WARN, %client, max, "{detail}");
            Trouble::new(ErrorKind::ClientLimitReached, detail)
        })
    }

    fn limits(&self) -> Option<&config::Limits> {
        let listener = self.view.config().listener(self.requester.listener_id)?;
        Some(&listener.limits)
    }

    /// Whether the proxy has no reason to close the requester's connection after this exchange: not
    /// while the process drains or the listener closes.
    pub(crate) fn may_keep(&self) -> bool {
        let stays = |client: &Client| !client.listening.closed.get() && !client.closing.get();
        !self.core.is_draining() && self.requester.connection.is_none_or(stays)
    }
}

/// The context of an exchange with a connected client.
#[derive(Clone, Copy)]
pub(crate) struct ClientContext<'a> {
    pub(crate) client: &'a Client,
    context: Context<'a>,
}

impl<'a> ClientContext<'a> {
    /// For a request that came over a connection.
    pub(crate) fn new(
        (core, view): (&'a Rc<Core>, &'a Rc<View>),
        client: &'a Client,
        listener_id: ListenerId,
        (alarm, reply_alarm): (&'a Alarm, &'a Alarm),
        flow: &'a Flow,
    ) -> Self {
        let address = client.address.get().ip();
        let requester = Requester { address, listener_id, user: None, connection: Some(client) };
        Self { client, context: Context { core, view, requester, alarm, reply_alarm, flow } }
    }

    /// The client is the one that a trusted proxy names.
    pub(crate) fn identify(&mut self, address: IpAddr) {
        self.context.requester.address = address;
    }

    /// The client has proven to be this user.
    pub(crate) fn log_in(&mut self, user: &'a str) {
        self.context.requester.user = Some(user);
    }
}

impl<'a> Deref for ClientContext<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.context
    }
}
