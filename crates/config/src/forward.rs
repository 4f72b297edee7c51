//! The model of a `forward`: its rules, what they name, what it does not send.

use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{ListenerId, Place, RouteSettings};
use crate::tls::{ClientMatch, ServerTls};

/// A forward-proxy listener.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The line of it.
    pub place: Place,
    /// Where it listens.
    pub listener: ListenerId,
    /// As written, for people; `explain --forward` and `expect forward=` name it so.
    pub written: Arc<str>,
    /// Rules; the first that matches decides.
    pub rules: Vec<ForwardRule>,
    /// Ports that may be dialled unless a rule that matches names others; empty: any.
    pub ports: Vec<PortRange>,
    /// Set: nothing that names the client leaves.
    pub anonymous: Option<Anonymous>,
    /// Name in Via.
    pub via: Box<str>,
    /// Field edits, times and limits.
    pub settings: RouteSettings,
    /// TLS towards the clients; `None`: they speak in clear.
    pub tls: Option<ServerTls>,
}

/// A rule of a forward listener. Every part that is there must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    /// The line of it.
    pub place: Place,
    /// As written, for people.
    pub written: Box<str>,
    /// Whether it allows.
    pub allow: bool,
    /// Destinations, any of them; empty: all.
    pub to: Vec<Destination>,
    /// Client networks, any of them; empty: all.
    pub from: Vec<IpNet>,
    /// Ports, any of them; empty: all that the listener's `ports` has.
    pub ports: Vec<PortRange>,
    /// Methods, in upper case; empty: all.
    pub methods: Vec<Box<str>>,
    /// Clients, by their certificates, any of them; empty: all.
    pub clients: Vec<ClientMatch>,
    /// Whether an `allow` holds for special addresses too that it does not name.
    pub special: bool,
}

/// A destination that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Every one.
    Any,
    /// This host, in lower case, as the client names it.
    Host(Box<str>),
    /// This host and all below (`*.example.com` keeps `example.com`).
    Suffix(Box<str>),
    /// An address in here, given as such or found by looking the name up.
    Net(IpNet),
}

/// Ports from first to last, both in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };
}

/// What `anonymous` removes beside the fields that we never send then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anonymous {
    /// Names of request fields.
    pub remove: Vec<Box<str>>,
}
