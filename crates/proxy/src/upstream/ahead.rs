//! Connections that are opened before a request needs them (`pool min`).
//!
//! At the start, after each new snapshot and then once a second, a core opens the connections that its
//! endpoints lack, including TLS and the preface of HTTP/2. `pool::shared_idle` decides which core opens
//! them. An endpoint that is down gets none until it is up again. After a failure the next attempt
//! waits, longer each time. A connection opened here idles out like any other and is then replaced. No
//! request depends on it, so a failure is not reported to `balance`.

use std::rc::Rc;

use balance::EndpointStatus;
use config::{UpstreamId, UpstreamProtocol};

use super::connector::{Connector, LinkNeeds};
use super::dial::{is_our_limit, log_upstream_trouble};
use crate::core::Core;
use crate::pool::AheadOpening;
use crate::snapshot::View;

/// Starts to open the connections that are missing.
pub(crate) fn fill(core: &Rc<Core>) {
    if core.is_draining() {
        return;
    }
    let view = core.view();
    for (index, upstream) in view.config().upstreams.iter().enumerate() {
        // A server of SCGI may have one process for each connection, which would wait for its request.
        if upstream.pool.min == 0 || upstream.protocol == UpstreamProtocol::Scgi {
            continue;
        }
        let upstream = UpstreamId(index as u32);
        let members = view.group(upstream).map(|group| &group.balancer.group().members);
        for (index, member) in members.into_iter().flatten().enumerate() {
            let Some(connector) = connector(core, &view, (upstream, index)) else { continue };
            let is_up = member.status() == EndpointStatus::Up;
            let missing = connector.pool.missing(core.wheel.now(), is_up, connector.may_be_http2());
            for ahead in missing {
                let (core, view) = (Rc::clone(core), Rc::clone(&view));
                tokio::task::spawn_local(open(core, view, (upstream, index), ahead));
            }
        }
    }
}

fn connector<'a>(
    core: &'a Rc<Core>,
    view: &'a View,
    at: (UpstreamId, usize),
) -> Option<Connector<'a>> {
    let own = view.config().upstream(at.0)?.timeouts.connect;
    let limit = own.unwrap_or(config::Timeouts::default().connect);
    Connector::to(core, view, at, LinkNeeds { limit, ..LinkNeeds::default() })
}

async fn open(core: Rc<Core>, view: Rc<View>, at: (UpstreamId, usize), ahead: AheadOpening) {
    let Some(connector) = connector(&core, &view, at) else { return };
    let obtained = connector.obtain().await;
    if let Err(trouble) = &obtained
        && is_our_limit(trouble.kind)
    {
        return; // requests open enough connections themselves, or share them
    }
    connector.pool.note_ahead(core.wheel.now(), obtained.is_ok());
    match obtained {
        // An HTTP/2 connection stays in its pool when its stream permit is dropped.
        Ok(link) => {
            if let Some(connection) = link.into_connection() {
                connector.pool.put_ahead(connection, core.wheel.now(), ahead);
            }
        }
        Err(trouble) => {
            core.metrics.upstream_failed(connector.slot);
            log_upstream_trouble(&connector.endpoint.written, &trouble);
        }
    }
}
