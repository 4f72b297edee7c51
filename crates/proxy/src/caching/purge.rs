//! `PURGE` by HTTP, for the networks that the configuration names. Others' requests with this method are requests like any other.

use std::sync::Arc;
use std::time::Instant;

use cache::Reason;
use cache::store::{PurgeKind, Scope, Store};
use config::Caching;
use message::{BodyLength, Request};
use observe::CacheOutcome;

use super::note;
use crate::answer;
use crate::context::Context;
use crate::downstream::Downstream;
use crate::ending::Ending;
use crate::plan::Plan;
use crate::respond::ResponseOrigin;
use crate::source::BytesSource;
use crate::work::Work;

const METHOD: &str = "PURGE";

/// Whether this is one, by somebody who may.
pub(super) fn is_asked(context: &Context<'_>, request: &Request, caching: &Caching) -> bool {
    !caching.purge_from.is_empty()
        && request.method.as_str() == METHOD
        && caching.purge_from.iter().any(|net| net.contains(&context.requester.address))
}

/// Removes what is stored for the request's URL, and says so.
pub(super) async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    store: &Arc<Store>,
    (plan, caching): (&Plan<'_>, &Caching),
) -> Ending {
    let Work { request, response, record, cache: memory, .. } = &mut *work;
    memory.uri.clear();
    cache::write_uri(&mut memory.uri, &request.target, &caching.key);
    let url = String::from_utf8_lossy(&memory.uri).into();
    store.purge(Scope::Url(url), PurgeKind::Hard, store.moment(Instant::now()));
    note(record, CacheOutcome::Pass, Reason::Method);
    record.decided = caching.place;
    response.clear();
    response.status = 200;
    response.body = BodyLength::Exact(0);
    answer::send(context, work, down, ResponseOrigin::Route(plan), BytesSource::new(&[])).await
}
