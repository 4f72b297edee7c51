//! The cache in an exchange: whether a stored response answers it, and if not, who fetches one.
//!
//! [`run`] stands where `fetch::run` stands without a cache. A hit is answered at once (`stored`). Else the first who asks
//! fetches (`filling`), and clients that ask for the same meanwhile read along. What may be stored and reused is decided by
//! the crate `cache`, which has no I/O.
//! Invariant: what is stored is what the endpoint said, before the edits of a route; these are made for each client.

mod filling;
mod purge;
mod refresh;
mod source;
mod space;
mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::store::{Awaited, Claim, FillEnd, Found, Lookup, Moment, Object, PurgeKind, Store};
use cache::{CacheStatus, Lifetime, Outcome, Reason, RequestUse, Reuse};
use config::{Caching, QueryKey};
use message::{Known, Method, Request, Response};
use observe::{CacheOutcome, ErrorKind, Record};

use crate::answer;
use crate::context::Context;
use crate::destination::{Destination, unless_client_gone};
use crate::downstream::Downstream;
use crate::ending::{Ending, gone};
use crate::fetch;
use crate::plan::Plan;
use crate::trouble::Trouble;
use crate::work::{CacheWork, Work};

use filling::Filled;
pub(crate) use space::hash_tag;
use stored::Forwarded;

/// The cache as an exchange sees it.
#[derive(Clone, Copy)]
struct Cache<'a> {
    store: &'a Arc<Store>,
    caching: &'a Caching,
    space: u64,
    now: Moment,
}

impl Cache<'_> {
    fn lookup<'l>(&self, uri: &'l [u8], request: &'l Request) -> Lookup<'l> {
        Lookup { key: uri, space: self.space, request, now: self.now }
    }

    fn now(&self) -> Moment {
        self.store.moment(Instant::now())
    }
}

/// A stored response, as it stands for one request.
struct Candidate {
    object: Arc<Object>,
    /// How it ages; a purge may have ended its freshness.
    lifetime: Lifetime,
    age: Duration,
}

impl Candidate {
    fn new(object: Arc<Object>, purged: Option<PurgeKind>, now: Moment) -> Self {
        let (mut lifetime, age) = (object.head.lifetime, object.age(now));
        if purged.is_some() {
            lifetime.end_freshness(age);
        }
        Self { object, lifetime, age }
    }
}

/// Answers from the cache, if there is one, or by an endpoint.
pub(crate) async fn fetch_or_find<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    plan: &Plan<'_>,
) -> Ending {
    match plan.settings.caching.as_deref() {
        None => fetch::run(context, work, down, destination, plan).await,
        Some(caching) => run(context, work, down, destination, (plan, caching)).await,
    }
}

/// Answers a request from the store, or fetches and stores the response.
async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    (plan, caching): (&Plan<'_>, &Caching),
) -> Ending {
    let Some(store) = context.core.shared.store() else {
        return fetch::run(context, work, down, destination, plan).await;
    };
    if purge::is_asked(context, &work.request, caching) {
        return Box::pin(purge::run(context, work, down, store, (plan, caching))).await;
    }
    let Work { request, record, cache: memory, path, .. } = &mut *work;
    let judged = cache::judge_request(request, caching);
    let CacheWork { uri, scratch, .. } = &mut *memory;
    uri.clear();
    cache::write_key(uri, request, caching);
    // The store finds by the URI, where the key has no 0; the rest tells variants apart.
    let end = memchr::memchr(0, uri).unwrap_or(uri.len());
    let rest = uri.get(end..).unwrap_or_default();
    let hasher = store.space_hasher();
    let space = space::of(request, plan, destination, (path, rest), scratch, hasher);
    uri.truncate(end);
    let cache = Cache { store, caching, space, now: store.moment(record.started) };
    let can_refresh = refresh::is_possible(destination);
    let (known, outcome, reason) = match choose(cache, request, judged, can_refresh, memory) {
        Course::Send(found) => {
            return stored::send(context, work, down, (plan, caching), &found, None).await;
        }
        Course::SendAndRefresh(found) => {
            refresh::begin(context, work, cache, destination, &found.object);
            return stored::send(context, work, down, (plan, caching), &found, None).await;
        }
        Course::Refuse(reason) => return not_stored(context, work, down, plan, reason).await,
        Course::Ask(known, outcome, reason) => (known, outcome, reason),
    };
    note(record, outcome, reason);
    let is_fetched = matches!(outcome, CacheOutcome::Miss | CacheOutcome::Bypass);
    // What an unsafe request changes is invalid before its client knows.
    let is_unsafe = judged == RequestUse::Invalidate;
    if is_fetched || is_unsafe || known.is_some() {
        if !is_unsafe {
            set_query(request, path, caching, &mut memory.scratch);
        }
        let fetching = fetch_shared(context, work, down, destination, (plan, cache), known, reason);
        // In a box, so that a hit needs no memory for it.
        return Box::pin(fetching).await;
    }
    pass(context, work, down, destination, (plan, caching), reason).await
}

/// What becomes of a request.
enum Course {
    /// A stored response is sent.
    Send(Candidate),
    /// The same, and a new one is fetched meanwhile.
    SendAndRefresh(Candidate),
    /// There is no answer: the client wants a stored response or none.
    Refuse(Reason),
    /// The endpoint is asked. With what is stored already, and what the log says.
    Ask(Option<Candidate>, CacheOutcome, Reason),
}

fn choose(
    cache: Cache<'_>,
    request: &Request,
    judged: RequestUse,
    can_refresh: bool,
    memory: &mut CacheWork,
) -> Course {
    let caching = cache.caching;
    // A HEAD goes on as it is, and brings nothing to store; but it may tell something of what is stored.
    let is_head = request.method == Method::Head;
    let asked = if is_head { CacheOutcome::Pass } else { CacheOutcome::Miss };
    match judged {
        RequestUse::Lookup => {}
        RequestUse::Bypass(reason) if !is_head => {
            return Course::Ask(None, CacheOutcome::Bypass, reason);
        }
        RequestUse::Bypass(reason) | RequestUse::Pass(reason) => {
            return Course::Ask(None, CacheOutcome::Pass, reason);
        }
        RequestUse::Invalidate => {
            return Course::Ask(None, CacheOutcome::Pass, Reason::Method);
        }
    }
    let wants_stored = || caching.respect_client && cache::only_if_cached(request);
    match look(cache, request, memory) {
        Look::Found(found, Reuse::Fresh | Reuse::Stale) => Course::Send(found),
        Look::Found(found, Reuse::StaleWhileRevalidate) if can_refresh => {
            Course::SendAndRefresh(found)
        }
        Look::Found(_, reuse) if wants_stored() => Course::Refuse(reason_of(reuse)),
        Look::Found(found, reuse) => Course::Ask(Some(found), asked, reason_of(reuse)),
        Look::Start(_) if wants_stored() => Course::Refuse(Reason::PartMissing),
        Look::Start(found) => {
            Course::Ask(Some(found).filter(|_| !is_head), asked, Reason::PartMissing)
        }
        Look::Nothing(reason) | Look::Unstorable(reason) if wants_stored() => {
            Course::Refuse(reason)
        }
        // Nobody waits for what is not stored, and it costs no more than without a cache.
        Look::Unstorable(reason) => Course::Ask(None, CacheOutcome::Pass, reason),
        Look::Nothing(_)
            if caching.min_uses > 1
                && !is_head
                && cache.store.count_use(&memory.uri) < caching.min_uses =>
        {
            Course::Ask(None, CacheOutcome::Pass, Reason::MinUses)
        }
        Look::Nothing(reason) => Course::Ask(None, asked, reason),
    }
}

/// Fetches a response that the store has nothing to do with.
async fn pass<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    (plan, caching): (&Plan<'_>, &Caching),
    reason: Reason,
) -> Ending {
    let mut status = std::mem::take(&mut work.cache.status);
    write_status(&mut status, caching, &CacheStatus::new(Outcome::Forward(reason)));
    let marked = Plan { cache_status: field(&status), ..*plan };
    let ending = fetch::run(context, work, down, destination, &marked).await;
    work.cache.status = status;
    ending
}

fn reason_of(reuse: Reuse) -> Reason {
    match reuse {
        Reuse::Revalidate(reason) => reason,
        Reuse::Fresh | Reuse::Stale | Reuse::StaleWhileRevalidate => Reason::Stale,
    }
}

/// What the store has.
enum Look {
    Found(Candidate, Reuse),
    /// The start of the response.
    Start(Candidate),
    Nothing(Reason),
    /// Nothing, and it will probably remain so.
    Unstorable(Reason),
}

fn look(cache: Cache<'_>, request: &Request, memory: &mut CacheWork) -> Look {
    let lookup = cache.lookup(&memory.uri, request);
    match cache.store.find(&lookup, &mut memory.scratch) {
        Found::Object(object, purged) => {
            let found = Candidate::new(object, purged, cache.now);
            let reuse = cache::judge_reuse(&found.lifetime, found.age, request, cache.caching);
            let is_usable = matches!(reuse, Reuse::Fresh | Reuse::Stale);
            match &found.object.head.part {
                None => Look::Found(found, reuse),
                Some(_) if !is_usable => Look::Nothing(Reason::PartMissing),
                Some(part) if request.fields.has(Known::Range) => {
                    match stored::is_in_part(request, &found.object, part) {
                        true => Look::Found(found, reuse),
                        false => Look::Nothing(Reason::PartMissing),
                    }
                }
                Some(part) if part.first == 0 => Look::Start(found),
                Some(_) => Look::Nothing(Reason::PartMissing),
            }
        }
        Found::Nothing { is_unstorable: true, .. } => Look::Unstorable(Reason::Miss),
        Found::Nothing { has_variants: true, .. } => Look::Nothing(Reason::VariantMiss),
        Found::Nothing { .. } => Look::Nothing(Reason::Miss),
    }
}

/// Fetches the response, unless somebody else does, whose response is read along.
async fn fetch_shared<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    (plan, cache): (&Plan<'_>, Cache<'_>),
    mut known: Option<Candidate>,
    mut reason: Reason,
) -> Ending {
    let caching = cache.caching;
    let is_alone = work.record.cache != Some(CacheOutcome::Miss)
        || caching.lock.is_zero()
        || (known.is_none() && work.request.fields.has(Known::Range));
    let began = Instant::now();
    let is_unstorable = known.is_none() && cache.store.is_unstorable(&work.cache.uri, cache.now);
    let mut waits = !is_alone && !is_unstorable;
    loop {
        let Work { request, cache: memory, .. } = &mut *work;
        let now = cache.now();
        let cache = Cache { now, ..cache };
        let lookup = cache.lookup(&memory.uri, request);
        let object = known.as_ref().map(|known| &known.object);
        let claim = match waits {
            true => cache.store.claim(&lookup, object, &mut memory.scratch),
            false => Claim::Fetch(cache.store.fetch_alone(&lookup)),
        };
        match claim {
            Claim::Look => match look(cache, request, memory) {
                Look::Found(found, Reuse::Revalidate(why)) => {
                    known = Some(found);
                    reason = why;
                    waits &= began.elapsed() < caching.lock;
                }
                Look::Found(found, _) => {
                    // Another has brought it meanwhile.
                    let outcome = CacheOutcome::Collapsed;
                    let by = Some(Forwarded { outcome, reason, status: None });
                    return stored::send(context, work, down, (plan, caching), &found, by).await;
                }
                Look::Start(_) | Look::Nothing(_) | Look::Unstorable(_) => waits = false,
            },
            Claim::Wait(reader) => {
                let left = caching.lock.saturating_sub(began.elapsed());
                let waiting = tokio::time::timeout(left, reader.head());
                match unless_client_gone(down.split().0, waiting).await {
                    None => return gone(&mut work.record),
                    Some(Ok(Awaited::Head(head))) => {
                        let Work { request, cache: memory, .. } = &mut *work;
                        let scratch = &mut memory.scratch;
                        if head.stored.variant.fits(cache.space, request, scratch) {
                            let plan = (plan, caching);
                            return stored::join(context, work, down, plan, &head, reader, reason)
                                .await;
                        }
                        // Another variant: somebody else may be fetching ours.
                        known = None;
                    }
                    Some(Ok(Awaited::Renewed(object)))
                        if object.head.variant.fits(
                            cache.space,
                            &work.request,
                            &mut work.cache.scratch,
                        ) =>
                    {
                        // It was validated after we had asked: that is good enough, whatever its age.
                        let found = Candidate::new(object, None, cache.now());
                        let outcome = CacheOutcome::Collapsed;
                        let by = Some(Forwarded { outcome, reason, status: None });
                        return stored::send(context, work, down, (plan, caching), &found, by)
                            .await;
                    }
                    Some(Ok(Awaited::Renewed(_) | Awaited::Ended(FillEnd::Complete))) => {}
                    Some(Ok(Awaited::Ended(_)) | Err(_)) => waits = false,
                }
            }
            Claim::Fetch(writer) => {
                let fill = filling::Fill { plan, cache, writer, known: known.take(), reason };
                match filling::run(context, work, down, destination, fill).await {
                    Filled::Answered(ending) => return ending,
                    Filled::Stored(found, by) => {
                        let (plan, by) = ((plan, caching), Some(by));
                        return stored::send(context, work, down, plan, &found, by).await;
                    }
                    Filled::Again => {
                        // The origin speaks of another response than the one that is stored.
                        (known, waits) = (None, false);
                    }
                }
            }
        }
    }
}

/// Answers a client that wants a stored response or none (RFC 9111, section 5.2.1.7).
async fn not_stored<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    plan: &Plan<'_>,
    reason: Reason,
) -> Ending {
    note(&mut work.record, CacheOutcome::Miss, reason);
    let detail = "the client wants a stored response, and there is none";
    let trouble = Trouble::new(ErrorKind::NotStored, detail);
    answer::trouble(context, work, down, Some(plan.settings), trouble).await
}

/// Makes invalid what an unsafe request has changed (RFC 9111, section 4.4).
fn invalidate(request: &Request, response: &Response, cache: Cache<'_>) {
    let now = cache.now();
    cache::invalidated(request, response, &cache.caching.key, |uri| {
        cache.store.invalidate(uri);
    });
    if (200..400).contains(&response.status) {
        cache::invalidated_groups(&response.fields, |group| {
            let tag = space::hash_group(&request.target, group);
            cache.store.purge(cache::store::Scope::Tag(tag), PurgeKind::Hard, now);
        });
    }
}

/// Makes the query that is sent the one that the key holds: what the endpoint does not see cannot get into a response
/// that others are sent.
fn set_query(request: &Request, path: &mut Vec<u8>, caching: &Caching, scratch: &mut Vec<u8>) {
    if !is_query_chosen(caching) {
        return;
    }
    let Some(query) = request.target.sent_query() else { return };
    let start = path.len().saturating_sub(query.len());
    if path.get(start..) != Some(query) || path.get(start.wrapping_sub(1)) != Some(&b'?') {
        return; // the route has written another one
    }
    scratch.clear();
    cache::write_query(scratch, Some(query), &caching.key);
    path.truncate(start - 1);
    path.extend_from_slice(scratch);
}

/// Whether the key holds another query than the request has.
fn is_query_chosen(caching: &Caching) -> bool {
    caching.key.query != QueryKey::All || caching.key.sort_query
}

fn note(record: &mut Record, outcome: CacheOutcome, reason: Reason) {
    record.cache = Some(outcome);
    record.cache_reason = Some(reason.word());
}

/// Writes the value of `Cache-Status`, if the configuration wants that.
fn write_status(out: &mut Vec<u8>, caching: &Caching, status: &CacheStatus<'_>) {
    out.clear();
    if caching.status_field {
        status.write(out);
    }
}

/// The value of a field, unless it is empty.
fn field(text: &[u8]) -> Option<&[u8]> {
    Some(text).filter(|text| !text.is_empty())
}
