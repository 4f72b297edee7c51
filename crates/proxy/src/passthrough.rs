//! TLS connections that pass through: we look at the name that the ClientHello asks for, and no further.

use std::rc::Rc;

use config::{ListenerId, SiteId};
use net::Buffer;

use crate::core::{Client, Core};
use crate::snapshot::View;

/// A connection that passes through to the upstream of a site.
pub(crate) struct Passage {
    client: Client,
    view: Rc<View>,
    listener: ListenerId,
    site: SiteId,
    /// The name that the client asks for.
    name: Option<Box<str>>,
    /// What the client has sent: the ClientHello, and more.
    sent: Buffer,
}

impl Passage {
    pub(crate) fn new(
        client: Client,
        view: Rc<View>,
        listener: ListenerId,
        site: SiteId,
        name: Option<Box<str>>,
        sent: Buffer,
    ) -> Self {
        Self { client, view, listener, site, name, sent }
    }
}

/// Carries a connection to its end.
pub(crate) async fn run(core: &Rc<Core>, passage: Passage) {
    let Passage { client, view, listener, site, name, sent } = passage;
    let _ = (core, client, view, listener, site, name, sent);
}
