//! Connections that are opened before a request needs them (`pool min`).
//!
//! At the start, after each snapshot and then once a second a core looks what its endpoints lack and
//! opens that, TLS and the preface of HTTP/2 included; which core does is settled on the shelf (`pool`).
//! Endpoints that take no requests get none, and get them again as soon as they do; where opening
//! fails, the next attempt waits, longer each time. What is opened here idles out as any other, and
//! is then replaced. A failure here is no request's, and says nothing to `balance`.

use std::rc::Rc;

use balance::EndpointStatus;
use config::UpstreamId;

use super::connector::{Wants, Way};
use super::dial::{complain_of, is_our_limit};
use crate::core::Core;
use crate::pool::Ahead;
use crate::snapshot::View;

/// Begins to open what is lacking.
pub(crate) fn fill(core: &Rc<Core>) {
    if core.draining.get() {
        return;
    }
    let view = core.view();
    for (index, upstream) in view.config().upstreams.iter().enumerate() {
        if upstream.pool.min == 0 {
            continue;
        }
        let upstream = UpstreamId(index as u32);
        let members = view.group(upstream).map(|group| &group.balancer.group().members);
        for (index, member) in members.into_iter().flatten().enumerate() {
            let Some(way) = way(core, &view, (upstream, index)) else { continue };
            let is_up = member.status() == EndpointStatus::Up;
            let missing = way.pool.missing(core.wheel.now(), is_up, way.may_be_http2());
            for ahead in missing {
                let (core, view) = (Rc::clone(core), Rc::clone(&view));
                tokio::task::spawn_local(open(core, view, (upstream, index), ahead));
            }
        }
    }
}

fn way<'a>(core: &'a Rc<Core>, view: &'a View, at: (UpstreamId, usize)) -> Option<Way<'a>> {
    let own = view.config().upstream(at.0)?.timeouts.connect;
    let limit = own.unwrap_or(config::Timeouts::default().connect);
    Way::to(core, view, at, Wants { limit, ..Wants::default() })
}

async fn open(core: Rc<Core>, view: Rc<View>, at: (UpstreamId, usize), ahead: Ahead) {
    let Some(way) = way(&core, &view, at) else { return };
    let found = way.found().await;
    if let Err(trouble) = &found
        && is_our_limit(trouble.kind)
    {
        return; // requests open enough of them, or share them
    }
    way.pool.fared(core.wheel.now(), found.is_ok());
    match found {
        // One that is shared stays when its stream is given back.
        Ok(link) => {
            if let Some(connection) = link.into_connection() {
                way.pool.put_ahead(connection, core.wheel.now(), ahead);
            }
        }
        Err(trouble) => {
            core.metrics.upstream_failed(way.slot);
            complain_of(&way.endpoint.written, &trouble);
        }
    }
}
