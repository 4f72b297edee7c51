//! Fetching a response that is to be stored.
//!
//! The exchange has two halves then, which run at once: one fetches and writes into the store as fast as the endpoint
//! sends, the other sends to the client what has arrived, as fast as that takes it. So a slow client holds up nobody
//! who reads along. What cannot be stored goes to the client directly, as without a cache.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::SystemTime;

use cache::store::{Content, FillHead, FillReader, FillWriter, StoredHead, StoredPart, Variant};
use cache::{Arrival, CacheStatus, HeadEffect, Outcome, Reason, TagKind, Vary};
use config::Timeouts;
use message::{BodyLength, Fields, Known, Method, Request, Response};
use net::Size;
use observe::{CacheOutcome, Record};

use super::stored::{self, Forwarded};
use super::{Cache, Candidate, field, space, write_status};
use crate::answer;
use crate::body::{Bulk, Flow, PumpError, ReadError, Reset, Sink, Source, WriteError};
use crate::context::Context;
use crate::destination::Destination;
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::fetch;
use crate::mirror::DiscardedReply;
use crate::plan::Plan;
use crate::source::BytesSource;
use crate::work::Work;

/// A response that is to be fetched.
pub(super) struct Fill<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) cache: Cache<'a>,
    pub(super) writer: FillWriter,
    /// What is stored already, and was not good enough.
    pub(super) known: Option<Candidate>,
    /// Why it is fetched.
    pub(super) reason: Reason,
}

/// What became of it.
pub(super) enum Filled {
    /// The client has its answer.
    Answered(Ending),
    /// What is stored is to be sent: it has been validated, or is better than the error that came.
    Stored(Candidate, Forwarded),
    /// What is stored is of no use: the whole is to be fetched.
    Again,
}

/// Fetches the response, stores it if that is allowed, and sends it to the client.
pub(super) async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    fill: Fill<'_>,
) -> Filled {
    let Fill { plan, cache, writer, known, reason } = fill;
    let (caching, scope) = (cache.caching, work.record.scope);
    let asked = work.request.clone();
    prepare(&mut work.request, known.as_ref(), reason);
    let buffered = down.buffered_body().filter(|body| !body.is_empty()).map(<[u8]>::to_vec);
    let (body, reply) = down.split();
    let stage = Stage::new(Some(reply));
    let has_user = context.requester.user.is_some();
    let subject = Subject::new(&asked, (cache, has_user), known, reason);
    let mut filler = Filler {
        body: FillerBody::new(body, buffered, &stage.is_storing, &writer),
        reply: FillReply::new(&stage, subject, writer),
    };
    let mut status = std::mem::take(&mut work.cache.status);
    let told = CacheStatus::new(Outcome::Forward(reason));
    write_status(&mut status, caching, &told);
    let mut status_stored = Vec::with_capacity(64);
    write_status(&mut status_stored, caching, &CacheStatus { stored: true, ..told });
    let passing = Plan { cache_status: field(&status), ..*plan };
    let sending = Plan { cache_status: field(&status_stored), ..*plan };
    // Both halves wait at once, so each has alarms of its own.
    let (alarm, reply_alarm) = (context.core.wheel.alarm(), context.core.wheel.alarm());
    let flow = Flow::new(&context.core.wheel);
    let own = Context { alarm: &alarm, reply_alarm: &reply_alarm, flow: &flow, ..*context };
    let mut response = Response::default();
    let fill = Arc::clone(&filler.body.fill);
    let is_wanted = || fill.readers() > 0 || left_of(&fill) <= caching.finish;
    let (fetched, sent) = {
        let fetching = async {
            let ending = fetch::run(&own, work, &mut filler, destination, &passing).await;
            // With the writer, which must not outlive the fetch: readers would wait for it.
            Fetched::new(ending, filler)
        };
        let sending = async {
            let arriving = poll_fn(|_| stage.arriving.take().map_or(Poll::Pending, Poll::Ready));
            let arriving = arriving.await;
            let Some(reply) = stage.client.take() else { return Ok(()) };
            let (messages, plan) = ((&asked, &mut response), (&sending, caching));
            stored::send_arriving(context, messages, plan, scope, arriving, reply).await
        };
        run_both(fetching, sending, &stage.is_storing, is_wanted).await
    };
    drop(stage);
    work.cache.status = status;
    work.request = asked;
    if let Some(sent) = sent {
        if fetched.as_ref().is_some_and(|fetched| fetched.is_skipped) {
            down.skip_buffered_body();
        }
        work.response = response;
        work.record.status = work.response.status;
        let keep = down.split().0.is_done() && context.may_keep();
        let record = &mut work.record;
        return Filled::Answered(match sent {
            // What went wrong is noted already.
            Err(PumpError::Reading(_)) if record.error.is_some() => Ending::Broken,
            sent => answer::ending_of(Ok(sent), keep, record),
        });
    }
    let Some(fetched) = fetched else { return Filled::Answered(Ending::Broken) };
    let Fetched { ending, mode, known, refused, is_skipped } = fetched;
    let record = &mut work.record;
    if let Some(refused) = refused {
        record.cache_reason = Some(refused.word());
    }
    let filled = match (mode, known) {
        (Mode::NotModified(found), _) => {
            let outcome = CacheOutcome::Revalidated;
            Filled::Stored(found, Forwarded { outcome, reason, status: Some(304) })
        }
        (Mode::Failed(status), Some(found)) => {
            // The tries are in the record; the exchange itself is a success.
            forget_error(record);
            let outcome = CacheOutcome::Stale;
            Filled::Stored(found, Forwarded { outcome, reason, status })
        }
        (Mode::Again, _) => {
            forget_error(record);
            Filled::Again
        }
        _ => Filled::Answered(ending),
    };
    if is_skipped {
        down.skip_buffered_body();
    }
    filled
}

/// What is left of the half that fetches.
struct Fetched<'c, R> {
    ending: Ending,
    mode: Mode<'c, R>,
    known: Option<Candidate>,
    refused: Option<Reason>,
    /// Whether the buffered body of the request was sent.
    is_skipped: bool,
}

impl<'c, R> Fetched<'c, R> {
    fn new<B>(ending: Ending, filler: Filler<'_, 'c, B, R>) -> Self {
        let FillReply { mode, subject: Subject { known, .. }, refused, .. } = filler.reply;
        Self { ending, mode, known, refused, is_skipped: filler.body.is_skipped }
    }
}

/// Fetches a response for the store alone: nobody waits for it.
pub(super) async fn refresh(
    context: &Context<'_>,
    work: &mut Work,
    destination: &mut Destination<'_>,
    fill: Fill<'_>,
    has_user: bool,
) {
    let Fill { plan, cache, writer, known, reason } = fill;
    let asked = work.request.clone();
    prepare(&mut work.request, known.as_ref(), reason);
    let stage = Stage::<DiscardedReply>::new(None);
    let subject = Subject::new(&asked, (cache, has_user), known, reason);
    let mut body = BytesSource::new(&[]);
    let mut filler = Filler {
        body: FillerBody::new(&mut body, None, &stage.is_storing, &writer),
        reply: FillReply::new(&stage, subject, writer),
    };
    fetch::run(context, work, &mut filler, destination, plan).await;
}

/// Makes the request one for what is to be stored: the validation of a stored response, the rest of a stored start, the
/// part that the client asks for, or the whole.
fn prepare(request: &mut Request, known: Option<&Candidate>, reason: Reason) {
    // Some conditions are for the origin, above all those of a request that changes something.
    if reason == Reason::OriginCondition || request.method != Method::Get {
        return;
    }
    let none = Fields::new();
    match known.map(|known| &known.object) {
        None if request.fields.has(Known::Range) => {}
        None => {
            cache::write_conditions(request, 0, &none);
        }
        Some(object) if object.head.part.is_some() => {
            cache::write_conditions(request, 0, &none);
            let range = format!("bytes={}-", object.content.length());
            request.fields.push_known(Known::Range, range.as_bytes());
            let fields = &object.head.fields;
            let validator = fields.get(Known::ETag).or_else(|| fields.get(Known::LastModified));
            if let Some(validator) = validator.filter(|_| cache::can_combine(fields, fields)) {
                request.fields.push_known(Known::IfRange, validator);
            }
        }
        Some(object) => {
            cache::write_conditions(request, object.head.status, &object.head.fields);
        }
    }
}

fn forget_error(record: &mut Record) {
    record.error = None;
    record.detail.clear();
}

/// How many bytes of a response are still to come; of one whose length is not known, as many as have come.
fn left_of(fill: &cache::store::Fill) -> u64 {
    let length = fill.length();
    fill.declared_length().map_or(length, |declared| declared.saturating_sub(length))
}

/// Runs both halves until both are over, or nobody needs the rest. `is_wanted`: the response is wanted although its
/// client has left.
async fn run_both<T>(
    fetching: impl Future<Output = T>,
    sending: impl Future<Output = Result<(), PumpError>>,
    is_storing: &Cell<bool>,
    is_wanted: impl Fn() -> bool,
) -> (Option<T>, Option<Result<(), PumpError>>) {
    let (mut fetching, mut sending) = (pin!(fetching), pin!(sending));
    let (mut fetched, mut sent) = (None, None);
    poll_fn(|cx| {
        if fetched.is_none()
            && let Poll::Ready(ending) = fetching.as_mut().poll(cx)
        {
            fetched = Some(ending);
        }
        if sent.is_none()
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            sent = Some(result);
        }
        let is_over = match (&fetched, &sent) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => !is_storing.get(),
            (None, Some(Err(PumpError::Writing(_)))) => !is_wanted(),
            (None, _) => false,
        };
        match is_over {
            true => Poll::Ready((fetched.take(), sent.take())),
            false => Poll::Pending,
        }
    })
    .await
}

/// What both halves know.
struct Stage<'c, R> {
    /// The client's reply, until one half takes it.
    client: Cell<Option<&'c mut R>>,
    /// A response that is stored, for the half that sends.
    arriving: Cell<Option<(Arc<FillHead>, FillReader)>>,
    is_storing: Cell<bool>,
    /// Whether there is a half that sends.
    has_client: bool,
}

impl<'c, R> Stage<'c, R> {
    fn new(client: Option<&'c mut R>) -> Self {
        let (is_storing, has_client) = (Cell::new(false), client.is_some());
        Self { client: Cell::new(client), arriving: Cell::new(None), is_storing, has_client }
    }
}

/// What the response is judged by.
struct Subject<'f> {
    /// The request, before it became one for the store.
    asked: &'f Request,
    cache: Cache<'f>,
    known: Option<Candidate>,
    has_user: bool,
    begun: SystemTime,
    /// Whether the conditions of the request are the client's own.
    is_for_origin: bool,
}

impl<'f> Subject<'f> {
    fn new(
        asked: &'f Request,
        (cache, has_user): (Cache<'f>, bool),
        known: Option<Candidate>,
        reason: Reason,
    ) -> Self {
        let is_for_origin = reason == Reason::OriginCondition;
        Self { asked, cache, known, has_user, begun: SystemTime::now(), is_for_origin }
    }

    fn arrival(&self) -> Arrival {
        let (asked, arrived) = (self.begun, SystemTime::now());
        Arrival { asked, arrived, has_user: self.has_user }
    }

    /// The head that is stored, or why none is.
    fn judge(&self, sent: &Request, response: &Response) -> Result<FillHead, Reason> {
        let Cache { caching, store, .. } = self.cache;
        let length = match response.body {
            BodyLength::Exact(length) => Some(length),
            BodyLength::None => Some(0),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        if length.is_some_and(|length| length > caching.max_object.min(store.object_max())) {
            return Err(Reason::TooLarge);
        }
        let arrival = self.arrival();
        let lifetime = cache::judge_response(sent, response, caching, &arrival)?;
        let variant = self.variant(response).ok_or(Reason::VaryStar)?;
        let mut fields = Fields::new();
        cache::stored_fields(&mut fields, &response.fields, &arrival);
        let tags = self.tags(&response.fields);
        let (mut status, mut part) = (response.status, None);
        if status == 206 {
            let range = cache::content_range(&fields).ok_or(Reason::Part)?;
            let complete = range.complete.ok_or(Reason::Part)?;
            let asked = self.asked.fields.get(Known::Range).ok_or(Reason::Part)?.into();
            let first = range.range.first;
            // Some servers say a longer range than they send: what comes is the start of it, and a part of its own.
            if length.is_none_or(|length| length == 0 || length > range.range.length()) {
                return Err(Reason::Part);
            }
            if first == 0 && length == Some(complete) {
                // The part is the whole.
                status = 200;
                fields.remove(Known::ContentRange);
            } else {
                part = Some(Box::new(StoredPart { first, complete, asked }));
            }
        }
        fields.shrink_to_fit();
        let (arrived, place) = (self.cache.now(), caching.place);
        let stored = StoredHead { status, fields, lifetime, arrived, place, variant, tags, part };
        Ok(FillHead { stored, length })
    }

    /// The head of the whole, if this is the rest of the stored start (RFC 9111, section 3.4).
    fn complete(&self, known: &Candidate, response: &Response) -> Option<FillHead> {
        let (object, part) = (&known.object, known.object.head.part.as_ref()?);
        let range = cache::content_range(&response.fields)?;
        let continues = range.range.first == object.content.length()
            && range.complete == Some(part.complete)
            && range.range.last + 1 == part.complete
            && response.body == BodyLength::Exact(range.range.length());
        if !continues || !cache::can_combine(&object.head.fields, &response.fields) {
            return None;
        }
        let (mut head, is_stored) = self.renew(known, response);
        head.part = None;
        head.status = 200;
        head.fields.remove(Known::ContentRange);
        is_stored.then_some(FillHead { stored: head, length: Some(part.complete) })
    }

    /// Which requests the response answers; `None`: no other.
    fn variant(&self, response: &Response) -> Option<Variant> {
        let vary = match Vary::of(response) {
            Vary::None => None,
            Vary::Star => return None,
            Vary::Fields(fields) => Some(Arc::new(fields)),
        };
        let mut values = Vec::new();
        if let Some(vary) = &vary {
            cache::write_variant(&mut values, vary, self.asked);
        }
        Some(Variant { space: self.cache.space, vary, values: values.into() })
    }

    fn tags(&self, fields: &Fields) -> Box<[u64]> {
        let target = &self.asked.target;
        let mut tags = Vec::new();
        cache::tags(fields, |kind, text| {
            tags.push(match kind {
                TagKind::Tag => space::hash_tag(text),
                TagKind::Group => space::hash_group(target, text),
            });
        });
        tags.into()
    }

    /// What a 304 makes of the stored response (RFC 9111, section 4.3.4): its head, and whether it is stored again.
    fn renew(&self, known: &Candidate, response: &Response) -> (StoredHead, bool) {
        let arrival = self.arrival();
        let mut head = known.object.head.clone();
        cache::update(&mut head.fields, &response.fields);
        let status = if head.part.is_some() { 200 } else { head.status };
        let mut renewed = Response { status, ..Response::default() };
        renewed.fields.clone_from(&head.fields);
        renewed.body = BodyLength::Exact(known.object.content.length());
        let judged = cache::judge_response(self.asked, &renewed, self.cache.caching, &arrival);
        cache::stored_fields(&mut head.fields, &renewed.fields, &arrival);
        head.lifetime = judged.unwrap_or_default();
        head.arrived = self.cache.now();
        head.tags = self.tags(&head.fields);
        // It may vary by other fields now.
        let variant = self.variant(&renewed);
        let is_stored = judged.is_ok() && variant.is_some();
        head.variant = variant.unwrap_or(head.variant);
        (head, is_stored)
    }
}

/// The downstream of a fetch for the store.
struct Filler<'f, 'c, B, R> {
    body: FillerBody<'f, B>,
    reply: FillReply<'f, 'c, R>,
}

impl<'f, 'c, B: Source, R: Reply> Downstream for Filler<'f, 'c, B, R> {
    type Body = FillerBody<'f, B>;
    type Reply = FillReply<'f, 'c, R>;

    fn split(&mut self) -> (&mut Self::Body, &mut Self::Reply) {
        (&mut self.body, &mut self.reply)
    }

    // Its body was begun before.
    fn begin_body(&mut self, _request: &Request, _limit: Option<u64>) {}

    fn set_patience(&mut self, _request: &Request, _timeouts: &Timeouts) {}

    fn buffered_body(&self) -> Option<&[u8]> {
        self.body.buffered.as_deref().filter(|_| !self.body.is_skipped)
    }

    fn skip_buffered_body(&mut self) {
        self.body.is_skipped = true;
    }
}

/// The body of the client's request, which tells whether the client is there.
struct FillerBody<'f, B> {
    body: &'f mut B,
    /// A copy of it, if it is there as a whole, and whether it was used.
    buffered: Option<Vec<u8>>,
    is_skipped: bool,
    is_storing: &'f Cell<bool>,
    fill: Arc<cache::store::Fill>,
}

impl<'f, B: Source> FillerBody<'f, B> {
    fn new(
        body: &'f mut B,
        buffered: Option<Vec<u8>>,
        is_storing: &'f Cell<bool>,
        writer: &FillWriter,
    ) -> Self {
        Self { body, buffered, is_skipped: false, is_storing, fill: writer.fill() }
    }
}

impl<B: Source> Source for FillerBody<'_, B> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        self.body.ready().await
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        self.body.consume(count);
    }

    fn is_drained(&self) -> bool {
        self.body.is_drained()
    }

    fn is_done(&self) -> bool {
        self.is_skipped || self.body.is_done()
    }

    fn trailers(&self) -> &Fields {
        self.body.trailers()
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        self.body.trailers_mut()
    }

    fn received(&self) -> u64 {
        self.body.received()
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        self.body.bulk()
    }

    fn read_by(&mut self, size: Size) {
        self.body.read_by(size);
    }

    fn moved_past(&mut self, count: u64) {
        self.body.moved_past(count);
    }

    fn poll_peer_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        // Once the response is being stored, the half that sends notices it. Others may wait for the response.
        if self.is_storing.get() || self.body.poll_peer_gone(cx).is_pending() {
            return Poll::Pending;
        }
        if self.fill.readers() > 0 { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Where a fetched response goes.
struct FillReply<'f, 'c, R> {
    stage: &'f Stage<'c, R>,
    subject: Subject<'f>,
    writer: Option<FillWriter>,
    mode: Mode<'c, R>,
    /// Why the response is not stored.
    refused: Option<Reason>,
}

enum Mode<'c, R> {
    /// No head has come.
    Undecided,
    /// To the client, if there is one.
    Passing(Option<&'c mut R>),
    /// Into the store.
    Storing(Arc<FillHead>),
    /// Nowhere: what is stored still holds.
    NotModified(Candidate),
    /// Nowhere: what is stored is better than this error. The status, if the endpoint has sent it.
    Failed(Option<u16>),
    /// Nowhere: it validates another response than the one that is stored.
    Again,
}

/// The rest of an unwanted response is not needed.
fn unwanted() -> WriteError {
    WriteError::Broken(std::io::ErrorKind::ConnectionAborted.into())
}

impl<'f, 'c, R: Reply> FillReply<'f, 'c, R> {
    fn new(stage: &'f Stage<'c, R>, subject: Subject<'f>, writer: FillWriter) -> Self {
        Self { stage, subject, writer: Some(writer), mode: Mode::Undecided, refused: None }
    }

    fn decide(&mut self, sent: &Request, response: &Response) {
        let Some(writer) = self.writer.take() else { return };
        let subject = &mut self.subject;
        let now = subject.cache.now();
        if sent.method == Method::Head {
            self.note_head(writer, response);
            self.mode = Mode::Passing(self.stage.client.take());
            return;
        }
        if response.status == 304
            && !subject.is_for_origin
            && let Some(known) = subject.known.take()
        {
            if !cache::validates(&known.object.head.fields, &response.fields) {
                subject.cache.store.forget(&known.object);
                self.mode = Mode::Again;
                return;
            }
            let (head, is_stored) = subject.renew(&known, response);
            let lifetime = head.lifetime;
            let object = writer.renew(&known.object, head, is_stored);
            let age = lifetime.initial_age();
            self.mode = Mode::NotModified(Candidate { object, lifetime, age });
            return;
        }
        if matches!(response.status, 500 | 502..=504) && self.may_use_known() {
            self.mode = Mode::Failed(Some(response.status));
            return;
        }
        let part = self.subject.known.take_if(|known| known.object.head.part.is_some());
        if let Some(start) = part
            && matches!(response.status, 206 | 416)
        {
            match self.subject.complete(&start, response) {
                Some(head) => self.store(writer, head, Some(&start.object.content)),
                None => {
                    self.subject.cache.store.forget(&start.object);
                    self.mode = Mode::Again;
                }
            }
            return;
        }
        if !sent.method.is_safe() {
            super::invalidate(sent, response, self.subject.cache);
        }
        let is_of_key =
            sent.method.is_safe() || !super::is_query_chosen(self.subject.cache.caching);
        let judged = self.subject.judge(sent, response);
        match judged.and_then(|head| if is_of_key { Ok(head) } else { Err(Reason::Method) }) {
            Ok(head) => self.store(writer, head, None),
            Err(reason) => {
                self.refused = Some(reason);
                if response.status < 500
                    && let Some(known) = &self.subject.known
                {
                    self.subject.cache.store.forget(&known.object);
                }
                // A response to an unsafe request says nothing of those that are stored.
                if sent.method.is_safe() {
                    writer.decline(now);
                }
                self.mode = Mode::Passing(self.stage.client.take());
            }
        }
    }

    /// What a response to HEAD says of the stored response to GET (RFC 9111, section 4.3.5).
    fn note_head(&self, writer: FillWriter, response: &Response) {
        let Subject { known, cache, .. } = &self.subject;
        let Some(known) = known.as_ref().filter(|known| known.object.head.part.is_none()) else {
            return;
        };
        let (object, now) = (&known.object, cache.now());
        let length = object.content.length();
        match cache::judge_head(object.head.status, &object.head.fields, length, response) {
            HeadEffect::Update => {
                let (head, is_stored) = self.subject.renew(known, response);
                writer.renew(object, head, is_stored);
            }
            HeadEffect::Stale => {
                let mut head = object.head.clone();
                head.lifetime.end_freshness(object.age(now));
                writer.renew(object, head, true);
            }
            HeadEffect::Nothing => {}
        }
    }

    /// The response is stored, behind what is stored already.
    fn store(&mut self, mut writer: FillWriter, head: FillHead, start: Option<&Arc<Content>>) {
        let head = writer.begin(head);
        if let Some(start) = start {
            writer.append_stored(start);
        }
        self.stage.is_storing.set(true);
        // A reader that nobody reads would stop the writer.
        if self.stage.has_client {
            self.stage.arriving.set(Some((Arc::clone(&head), writer.reader())));
        }
        self.writer = Some(writer);
        self.mode = Mode::Storing(head);
    }

    fn may_use_known(&self) -> bool {
        let Subject { known, cache, asked, .. } = &self.subject;
        let whole = known.as_ref().filter(|known| known.object.head.part.is_none());
        whole.is_some_and(|known| {
            let age = known.object.age(cache.now());
            cache::may_serve_on_error(&known.lifetime, age, asked, cache.caching)
        })
    }
}

impl<R: Reply> Reply for FillReply<'_, '_, R> {
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError> {
        let Some(client) = self.stage.client.take() else { return Ok(()) };
        let written = client.interim(request, response).await;
        self.stage.client.set(Some(client));
        written
    }

    fn arrived(&mut self, request: &Request, response: &Response) {
        if matches!(self.mode, Mode::Undecided) {
            self.decide(request, response);
        }
    }

    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>) {
        if matches!(self.mode, Mode::Undecided) {
            // An answer of our own: there is no response.
            self.mode = match response.status >= 500 && self.may_use_known() {
                true => Mode::Failed(None),
                false => Mode::Passing(self.stage.client.take()),
            };
        }
        if let Mode::Passing(Some(client)) = &mut self.mode {
            client.head(request, response, keep, via);
        }
    }

    fn switch(&mut self, request: &Request, response: &Response) {
        self.mode = Mode::Passing(self.stage.client.take());
        if let Mode::Passing(Some(client)) = &mut self.mode {
            client.switch(request, response);
        }
    }

    fn break_off(&mut self, reason: Reset) {
        if let Mode::Passing(Some(client)) = &mut self.mode {
            client.break_off(reason);
        }
    }

    fn has_begun(&self) -> bool {
        match &self.mode {
            Mode::Undecided => false,
            Mode::Passing(client) => client.as_ref().is_none_or(|client| client.has_begun()),
            _ => true,
        }
    }

    fn sent(&self) -> (u64, u64) {
        match &self.mode {
            Mode::Passing(Some(client)) => client.sent(),
            _ => (0, 0),
        }
    }
}

impl<R: Reply> Sink for FillReply<'_, '_, R> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        match &mut self.mode {
            Mode::Passing(Some(client)) => client.data(bytes).await,
            Mode::Storing(_) => {
                let Some(writer) = &mut self.writer else { return Err(unwanted()) };
                let Cache { caching, .. } = self.subject.cache;
                let now = self.subject.cache.now();
                match writer.append(bytes, caching.max_object, now).await {
                    true => Ok(()),
                    false => Err(unwanted()),
                }
            }
            // What has arrived is read, so that the connection can be used again.
            Mode::Failed(_) => Ok(()),
            _ => Err(unwanted()),
        }
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        match &mut self.mode {
            Mode::Passing(Some(client)) => client.flush().await,
            // The rest of an error is still to come: the client does not wait for what it will not be sent.
            Mode::Failed(_) | Mode::Again => Err(unwanted()),
            _ => Ok(()),
        }
    }

    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError> {
        match &mut self.mode {
            Mode::Passing(Some(client)) => client.bulk(bulk).await,
            _ => Ok(0),
        }
    }

    fn room(&mut self) -> Size {
        match &mut self.mode {
            Mode::Passing(Some(client)) => client.room(),
            _ => Size::Large,
        }
    }

    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError> {
        match &mut self.mode {
            Mode::Passing(Some(client)) => client.finish(trailers).await,
            Mode::Storing(head) => {
                if let Some(writer) = self.writer.take() {
                    writer.finish(head.stored.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
