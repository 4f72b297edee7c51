//! Answers from the store: whole, in parts, or "not modified".

use std::sync::Arc;
use std::time::Duration;

use cache::store::{FillHead, FillReader, Object, StoredHead, StoredPart};
use cache::{CacheStatus, Multipart, Outcome, Reason};
use config::Caching;
use message::{BodyLength, Known, Method, Precondition, Ranges, Request, Response};
use observe::CacheOutcome;

use super::source::{FillSource, Segment, StoredSource};
use super::{Candidate, field, note, write_status};
use crate::answer;
use crate::body::PumpError;
use crate::context::Context;
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::plan::Plan;
use crate::respond::{ResponseOrigin, respond};
use crate::work::Work;

/// Which bytes of a stored body are sent.
pub(super) enum Selected {
    Whole,
    /// Start and length.
    Part(u64, u64),
    Several(Box<[Segment]>),
    Nothing,
}

/// Sends a stored response. `forwarded`: why the origin was asked before it was sent.
pub(super) async fn send<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    (plan, caching): (&Plan<'_>, &Caching),
    found: &Candidate,
    forwarded: Option<Forwarded>,
) -> Ending {
    let Work { request, response, record, cache: memory, .. } = &mut *work;
    let Candidate { object, lifetime, age } = found;
    let length = object.content.length();
    let is_new = forwarded.is_some_and(|by| by.outcome == CacheOutcome::Revalidated);
    let said = Some(*age).filter(|age| !is_new || is_old(age));
    let selected =
        write_head(request, response, caching, &object.head, (Some(length), false), said);
    record.decided = caching.place;
    let outcome = match forwarded {
        Some(Forwarded { outcome, reason, .. }) => {
            record.cache_reason = Some(reason.word());
            outcome
        }
        None if lifetime.is_fresh(*age) => CacheOutcome::Hit,
        None => CacheOutcome::Stale,
    };
    record.cache = Some(outcome);
    let status = CacheStatus {
        ttl: Some(lifetime.ttl(*age)),
        forward_status: forwarded.and_then(|forwarded| forwarded.status),
        collapsed: outcome == CacheOutcome::Collapsed,
        stored: outcome == CacheOutcome::Revalidated,
        ..CacheStatus::new(match forwarded {
            Some(forwarded) => Outcome::Forward(forwarded.reason),
            None => Outcome::Hit,
        })
    };
    let mut text = std::mem::take(&mut memory.status);
    write_status(&mut text, caching, &status);
    let marked = Plan { cache_status: field(&text), ..*plan };
    let origin = ResponseOrigin::Endpoint(&marked);
    let content = &object.content;
    let source = match selected {
        Selected::Whole => StoredSource::new(content, 0, length),
        Selected::Part(start, length) => StoredSource::new(content, start, length),
        Selected::Nothing => StoredSource::new(content, 0, 0),
        Selected::Several(segments) => StoredSource::of(content, segments.into_vec()),
    };
    let ending = answer::send(context, work, down, origin, source).await;
    work.cache.status = text;
    ending
}

/// Whether an age is worth saying where the origin has just been asked: `Age` says that a response is not new
/// (RFC 9111, section 5.1).
fn is_old(age: &Duration) -> bool {
    age.as_secs() > 0
}

/// What the origin had to do with an answer from the store.
#[derive(Clone, Copy)]
pub(super) struct Forwarded {
    pub(super) outcome: CacheOutcome,
    pub(super) reason: Reason,
    /// The status of the origin's response, if there was one.
    pub(super) status: Option<u16>,
}

/// Sends a response that arrives for somebody else.
pub(super) async fn join<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    (plan, caching): (&Plan<'_>, &Caching),
    head: &FillHead,
    reader: FillReader,
    reason: Reason,
) -> Ending {
    let Work { request, response, record, cache: memory, .. } = &mut *work;
    note(record, CacheOutcome::Collapsed, reason);
    record.decided = caching.place;
    let mut text = std::mem::take(&mut memory.status);
    let status = CacheStatus { collapsed: true, ..CacheStatus::new(Outcome::Forward(reason)) };
    write_status(&mut text, caching, &status);
    let marked = Plan { cache_status: field(&text), ..*plan };
    let age = Some(head.stored.lifetime.initial_age());
    let source = arriving(request, response, caching, head, reader, age);
    let ending = answer::send(context, work, down, ResponseOrigin::Endpoint(&marked), source).await;
    work.cache.status = text;
    ending
}

/// Writes the head for a response that arrives, and gives the source of its body.
fn arriving(
    request: &Request,
    response: &mut Response,
    caching: &Caching,
    head: &FillHead,
    reader: FillReader,
    age: Option<Duration>,
) -> FillSource {
    let length = (head.length, true);
    let wanted = match write_head(request, response, caching, &head.stored, length, age) {
        Selected::Whole => None,
        Selected::Part(start, length) => Some((start, length)),
        Selected::Several(_) | Selected::Nothing => Some((0, 0)),
    };
    FillSource::new(reader, wanted)
}

/// Sends a response to the client that has it fetched, while it arrives.
pub(super) async fn send_arriving<R: Reply>(
    context: &Context<'_>,
    (request, response): (&Request, &mut Response),
    (plan, caching): (&Plan<'_>, &Caching),
    scope: observe::Scope,
    (head, reader): (Arc<FillHead>, FillReader),
    reply: &mut R,
) -> Result<(), PumpError> {
    let age = Some(head.stored.lifetime.initial_age()).filter(is_old);
    let mut source = arriving(request, response, caching, &head, reader, age);
    let (by, keep) = ((ResponseOrigin::Endpoint(plan), scope), context.may_keep());
    respond(context, (request, response), by, |_| {}, keep, &mut source, reply).await
}

/// Writes the head of an answer from the store, by the client's conditions and ranges; which bytes follow.
/// `length`: of the whole body, if it is known, and whether it is still arriving. `age`: if it is said.
fn write_head(
    request: &Request,
    response: &mut Response,
    caching: &Caching,
    head: &StoredHead,
    (length, is_arriving): (Option<u64>, bool),
    age: Option<Duration>,
) -> Selected {
    response.clear();
    response.status = head.status;
    response.fields.clone_from(&head.fields);
    if let Some(age) = age {
        // RFC 9111, section 1.2.2: at most 2^31.
        let seconds = age.as_secs().min(1 << 31);
        response.fields.push_known(Known::Age, itoa::Buffer::new().format(seconds).as_bytes());
    }
    if caching.remove_tags {
        for name in ["Surrogate-Key", "Cache-Tag"] {
            response.fields.remove_named(name.as_bytes());
        }
    }
    if cache::evaluate(request, head.status, &head.fields) == Precondition::NotModified {
        response.status = 304;
        for known in OF_CONTENT {
            response.fields.remove(known);
        }
        return Selected::Nothing;
    }
    if head.status == 204 {
        return Selected::Nothing;
    }
    response.body = length.map_or(BodyLength::Chunked, BodyLength::Exact);
    if let Some(part) = &head.part {
        return write_part_of(request, response, part);
    }
    let Some(length) = length.filter(|_| head.status == 200 && request.method == Method::Get)
    else {
        return Selected::Whole;
    };
    match cache::ranges(request, &head.fields, length) {
        Ranges::Whole => Selected::Whole,
        Ranges::Unsatisfiable => {
            let mut text = Vec::new();
            message::write_unsatisfied_range(&mut text, length);
            response.status = 416;
            OF_CONTENT.into_iter().for_each(|known| response.fields.remove(known));
            response.fields.push_known(Known::ContentRange, &text);
            response.body = BodyLength::Exact(0);
            Selected::Nothing
        }
        // Several parts have no place in what is not there yet: the whole answers the request too.
        Ranges::Parts(parts) if is_arriving && parts.as_slice().len() > 1 => Selected::Whole,
        Ranges::Parts(parts) => write_parts(response, &parts, length),
    }
}

/// Whether the stored part holds what the request asks for.
pub(super) fn is_in_part(request: &Request, object: &Object, part: &StoredPart) -> bool {
    if request.fields.get(Known::Range) == Some(&part.asked) {
        return cache::ranges(request, &object.head.fields, part.complete) != Ranges::Whole;
    }
    match cache::ranges(request, &object.head.fields, part.complete) {
        Ranges::Parts(parts) => match parts.as_slice() {
            [one] => one.first >= part.first && one.last - part.first < object.content.length(),
            _ => false,
        },
        Ranges::Whole | Ranges::Unsatisfiable => false,
    }
}

/// Writes what is sent of a stored part; [`is_in_part`] holds.
fn write_part_of(request: &Request, response: &mut Response, part: &StoredPart) -> Selected {
    if request.fields.get(Known::Range) == Some(&part.asked) {
        return Selected::Whole;
    }
    let Ranges::Parts(parts) = Ranges::of(&request.fields, part.complete) else {
        return Selected::Whole;
    };
    let [one] = parts.as_slice() else { return Selected::Whole };
    forget_digests(response);
    response.fields.remove(Known::ContentRange);
    let mut text = Vec::new();
    one.write_content_range(&mut text, part.complete);
    response.fields.push_known(Known::ContentRange, &text);
    response.body = BodyLength::Exact(one.length());
    Selected::Part(one.first - part.first, one.length())
}

fn write_parts(response: &mut Response, parts: &message::RangeList, length: u64) -> Selected {
    response.status = 206;
    forget_digests(response);
    if let [part] = parts.as_slice() {
        let mut text = Vec::new();
        part.write_content_range(&mut text, length);
        response.fields.push_known(Known::ContentRange, &text);
        response.body = BodyLength::Exact(part.length());
        return Selected::Part(part.first, part.length());
    }
    let boundary = format!("{:016x}{:016x}", random::next(), random::next());
    let content_type = response.fields.get(Known::ContentType).map(<[u8]>::to_vec);
    let multipart =
        Multipart { boundary: &boundary, content_type: content_type.as_deref(), length };
    let mut segments = Vec::with_capacity(parts.len() * 2 + 1);
    for part in parts.iter() {
        let mut text = Vec::new();
        multipart.write_head(&mut text, part);
        segments.push(Segment::Text(text));
        segments.push(Segment::Bytes { start: part.first, length: part.length() });
    }
    let mut end = Vec::new();
    multipart.write_end(&mut end);
    segments.push(Segment::Text(end));
    let total = segments.iter().map(Segment::length).sum();
    let mut kind = Vec::new();
    multipart.write_type(&mut kind);
    response.fields.remove(Known::ContentType);
    response.fields.push_known(Known::ContentType, &kind);
    response.body = BodyLength::Exact(total);
    Selected::Several(segments.into())
}

/// What tells of all bytes of the content is not true of a part (RFC 9530, section 2).
fn forget_digests(response: &mut Response) {
    response.fields.remove(Known::ContentDigest);
    response.fields.remove_named(b"Content-MD5");
}

/// Fields that describe content, which an answer without content does not have.
const OF_CONTENT: [Known; 6] = [
    Known::ContentLength,
    Known::ContentType,
    Known::ContentEncoding,
    Known::ContentLanguage,
    Known::ContentRange,
    Known::ContentDigest,
];
