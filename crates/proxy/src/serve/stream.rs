//! A client's HTTP/2 stream: one request and its response.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::{Listener, Serves, Timeouts};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use message::{BodyLength, Method, Request, Version};
use observe::{ErrorKind, Record};
use wire::http1::HeadLimits;
use wire::http2::{FieldBlock, Malformed, PackedFields};

use super::workspace::{Next, Workspace};
use crate::body::{Flow, Patience, Reset, Source};
use crate::client::Client;
use crate::context::ClientContext;
use crate::core::Core;
use crate::deadline;
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::exchange;
use crate::http2::{
    ClientBudget, Http2Receiver, Http2Sender, RequestReader, RequestRefusal, SendHalf, StreamEnds,
    UnderlyingConnection, UnderlyingStream, carried,
};
use crate::note;
use crate::patience::TakerLimits;
use crate::trouble::refused_head;

/// A request that has arrived on a stream.
pub(crate) struct StreamRequest {
    client: Rc<Client>,
    budget: Rc<ClientBudget>,
    parts: Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl StreamRequest {
    pub(super) fn new(
        client: &Rc<Client>,
        budget: &Rc<ClientBudget>,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        Self { client: Rc::clone(client), budget: Rc::clone(budget), parts, body, respond }
    }

    /// Refuses the request, which the client may send again (RFC 9113, section 8.7), and logs that.
    pub(super) fn refuse(mut self, core: &Core, why: &str) {
        self.respond.send_reset(Reason::REFUSED_STREAM);
        let mut record = refused_record(core, &self.client, why);
        if let Some(FieldBlock::Head(head)) = carried(&self.parts.headers) {
            record_target(head, &mut record);
        }
        core.finish(&core.view(), &mut record);
    }
}

/// A client, on one stream.
struct Http2<'a> {
    client: &'a Client,
    flow: &'a Flow,
    body: Http2Receiver<'a>,
    reply: Http2Sender<'a>,
}

impl Http2<'_> {
    /// Reads what has arrived of the body already.
    async fn look(&mut self, request: &mut Request) {
        // The bytes of a tunnel are read later, and must stay where they are.
        if !request.upgrade && request.method != Method::Connect {
            self.body.read_ahead().await;
        }
        // Not every origin accepts chunks; a body that has arrived whole gets a length.
        if request.body == BodyLength::Chunked
            && let Some(whole) = self.body.buffered()
        {
            request.body = BodyLength::Exact(whole.len() as u64);
        }
    }
}

impl<'a> Downstream for Http2<'a> {
    type Body = Http2Receiver<'a>;
    type Reply = Http2Sender<'a>;

    fn split(&mut self) -> (&mut Http2Receiver<'a>, &mut Http2Sender<'a>) {
        (&mut self.body, &mut self.reply)
    }

    fn begin_body(&mut self, _request: &Request, limit: Option<u64>) {
        self.body.limit(limit);
    }

    fn set_patience(&mut self, request: &Request, timeouts: &Timeouts) {
        self.client.taker_limits.set(TakerLimits::of(timeouts));
        let rated = !deadline::is_grpc(request);
        self.body.patience = Patience::for_sender(timeouts, rated, self.flow);
        self.reply.patience = Patience::for_taker(timeouts, self.flow);
    }

    fn buffered_body(&self) -> Option<&[u8]> {
        self.body.buffered()
    }

    fn skip_buffered_body(&mut self) {
        self.body.skip_buffered();
    }
}

/// Serves one request on a worker.
pub(crate) async fn serve(
    core: &Rc<Core>,
    stream_request: StreamRequest,
    workspace: &mut Workspace,
) -> Next {
    let Workspace { work, alarm, reply_alarm } = workspace;
    let StreamRequest { client, budget, parts, body, respond } = stream_request;
    let client = &client;
    let view = core.view();
    let Some(listener_id) = client.listening.id.get() else { return Next::Idle };
    let Some(listener) = view.config().listener(listener_id) else {
        return Next::Idle;
    };
    work.record.clear(Instant::now());
    work.record.queue = Some(Duration::ZERO);
    work.record.version = Version::Http2;
    alarm.clear();
    reply_alarm.clear();
    let half = RefCell::new(SendHalf::Answer(respond));
    let ended = body.is_end_stream();
    let flow = &Flow::new(&core.wheel);
    let patience = Patience::for_sender(&listener.timeouts, true, flow);
    let body = Http2Receiver::new(Some(body), &half, &core.wheel, alarm, patience);
    let patience = Patience::for_taker(&listener.timeouts, flow);
    let underlying = UnderlyingConnection {
        below: UnderlyingStream::Client(&client.stream),
        guard_state: &budget.guard_state,
    };
    let reply = Http2Sender::new(&half, &core.wheel, reply_alarm, patience, Some(underlying));
    let reply = reply.shared(Rc::clone(&budget));
    let mut down = Http2 { client, flow, body, reply };
    let (head_bytes, read) = read_head(listener, client, &parts, ended, &mut work.request);
    if let (Err(_), Some(FieldBlock::Head(head))) = (&read, carried(&parts.headers)) {
        record_target(head, &mut work.record);
    }
    drop(parts);
    let alarms = (&*alarm, &*reply_alarm);
    let mut context = ClientContext::new((core, &view), client, listener_id, alarms, flow);
    let ending = match read {
        Ok(()) => {
            down.look(&mut work.request).await;
            exchange::run(&mut context, work, &mut down).await
        }
        Err(error @ RequestRefusal::Malformed(_)) => {
            // RFC 9113, section 8.1.1: an error of the stream.
            half.borrow_mut().reset(Reset::Protocol);
            note::refused(&context, work, refused_head(error.status(), error.to_string()));
            Ending::Closed
        }
        Err(error) => {
            let trouble = refused_head(error.status(), error.to_string());
            exchange::refuse_head(&context, work, &mut down, trouble).await
        }
    };
    note::response_fields(&view, work);
    let record = &mut work.record;
    record.received_bytes = head_bytes + down.body.received();
    let Http2 { body, reply, .. } = down;
    (record.response_body_bytes, record.sent_bytes) = Reply::sent(&reply);
    match ending {
        Ending::Tunnel(tunnel_start) => {
            let receive = body.into_stream();
            drop(reply);
            let near = Some(StreamEnds::new(receive, half));
            return Next::Tunnel(tunnel_start.begin(near, None, work.take_record(), view));
        }
        Ending::Broken => half.borrow_mut().reset(Reset::Internal),
        Ending::Kept | Ending::Closed => {}
    }
    core.finish(&view, record);
    Next::Idle
}

/// The record of a stream that is refused.
pub(super) fn refused_record(core: &Core, client: &Client, why: &str) -> Record {
    core.metrics.http2_refused();
    let mut record = Record::new(Instant::now());
    if let Some(listener) = client.listening.id.get() {
        note::place(client, &core.view(), listener, &mut record);
    }
    record.version = Version::Http2;
    record.tls = client.tls.as_ref().map(|facts| Arc::clone(&facts.info));
    record.fail(ErrorKind::ConnectionLimitReached, why);
    record
}

/// Notes the target of a refused request, as far as it can be read.
fn record_target(head: PackedFields<'_>, record: &mut Record) {
    let of = |wanted: &[u8]| {
        head.fields().find(|(record_target, _)| *record_target == wanted).map(|(_, value)| value)
    };
    if let Some(Ok(method)) = of(b":method").map(Method::parse) {
        record.method = method;
    }
    // CONNECT has no scheme.
    let scheme = of(b":scheme");
    record.target.set(scheme.unwrap_or_default());
    record.target.push(if scheme.is_some() { "://" } else { "" });
    record.target.push(of(b":authority").unwrap_or_default());
    record.target.push(of(b":path").unwrap_or_default());
}

/// Reads the head; returns how many bytes its names and values have.
fn read_head(
    listener: &Listener,
    client: &Client,
    parts: &Parts,
    ended: bool,
    request: &mut Request,
) -> (u64, Result<(), RequestRefusal>) {
    let head = match carried(&parts.headers) {
        Some(FieldBlock::Head(head)) => head,
        Some(FieldBlock::Malformed(Malformed::TooLarge)) => {
            return (0, Err(RequestRefusal::TooLarge));
        }
        Some(FieldBlock::Malformed(what)) => return (0, Err(what.into())),
        // The guard hands over every head.
        Some(FieldBlock::Trailers(_)) | None => return (0, Err(Malformed::MissingPseudo.into())),
    };
    let limits = HeadLimits {
        bytes: listener.limits.head_bytes as usize,
        fields: usize::from(listener.limits.head_fields),
        target: listener.limits.target_bytes as usize,
    };
    let scheme = client.scheme();
    let forward = matches!(listener.serves, Serves::Forward(_));
    let reading = RequestReader { limits: &limits, scheme, forward, ended };
    (head.size() as u64, reading.read(head, request))
}
