//! Serving what has arrived on a client's HTTP/1 connection, on a borrowed worker.
//!
//! [`serve`] reads heads and runs each exchange, until nothing more has arrived.
//! Not here: what happens within an exchange (`exchange`), the wait for what arrives
//! (`connection`).

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use config::{ListenerId, ProxyProtocol, Timeouts};
use message::{Request, Response, Scheme, Version};
use net::{Alarm, Size};
use observe::{ErrorKind, Refusal};
use wire::http1::{HeadLimits, RequestError};

use super::farewell::refused;
use super::workspace::{Next, Workspace};
use crate::body::{Bulk, Flow, Patience, PumpError, Sink, Source, WriteError, unless_zero};
use crate::client::Client;
use crate::context::ClientContext;
use crate::core::Core;
use crate::deadline;
use crate::downstream::{Downstream, Reply};
use crate::ending::Ending;
use crate::exchange;
use crate::http1::{ClientHead, Framing, HeadEnd, Http1Receiver, Http1Sender};
use crate::note;
use crate::patience::TakerLimits;
use crate::snapshot::View;
use crate::trouble::{Trouble, refused_head};
use crate::work::Work;

/// Pipelined requests that one connection may send before other connections get their turn.
const PIPELINED_MAX: u32 = 32;

/// A client that speaks HTTP/1.
struct Http1<'a> {
    client: &'a Client,
    flow: &'a Flow,
    body: Http1Receiver<'a>,
    reply: Http1Reply<'a>,
}

struct Http1Reply<'a> {
    out: Http1Sender<'a>,
    begun: bool,
    keep_alive: bool,
}

impl<'a> Downstream for Http1<'a> {
    type Body = Http1Receiver<'a>;
    type Reply = Http1Reply<'a>;

    fn split(&mut self) -> (&mut Http1Receiver<'a>, &mut Http1Reply<'a>) {
        (&mut self.body, &mut self.reply)
    }

    fn begin_body(&mut self, request: &Request, limit: Option<u64>) {
        self.body.begin_body(request.body, limit);
    }

    fn set_patience(&mut self, request: &Request, timeouts: &Timeouts) {
        self.client.taker_limits.set(TakerLimits::of(timeouts));
        let rated = !deadline::is_grpc(request);
        self.body.patience = Patience::for_sender(timeouts, rated, self.flow);
        self.reply.out.patience = Patience::for_taker(timeouts, self.flow);
    }

    fn buffered_body(&self) -> Option<&[u8]> {
        self.body.buffered_body()
    }

    fn skip_buffered_body(&mut self) {
        self.body.skip_buffered_body();
    }
}

impl Reply for Http1Reply<'_> {
    async fn interim(&mut self, request: &Request, response: &Response) -> Result<(), WriteError> {
        if request.version == Version::Http10 {
            return Ok(()); // RFC 9110, section 15.2: no 1xx to a client of HTTP/1.0
        }
        head_of(request, response, true, None).write_interim(self.out.out());
        self.out.flush().await
    }

    fn head(&mut self, request: &Request, response: &Response, keep: bool, via: Option<&str>) {
        let keep_alive = keep && request.keep_alive;
        let head = head_of(request, response, keep_alive, via);
        (self.out.framing, self.keep_alive) = head.write(self.out.out());
        self.begun = true;
    }

    fn switch(&mut self, request: &Request, response: &Response) {
        head_of(request, response, true, None).write_switch(self.out.out());
        self.out.framing = Framing::Plain;
        self.begun = true;
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn sent(&self) -> (u64, u64) {
        (self.out.sent, self.out.raw)
    }
}

fn head_of<'a>(
    request: &'a Request,
    response: &'a Response,
    keep_alive: bool,
    via: Option<&'a str>,
) -> ClientHead<'a> {
    ClientHead {
        response,
        method: &request.method,
        version: request.version,
        keep_alive,
        trailers: request.takes_trailers,
        via,
    }
}

impl Sink for Http1Reply<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.data(bytes).await
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.out.flush().await
    }

    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError> {
        self.out.bulk(bulk).await
    }

    async fn finish(&mut self, trailers: &message::Fields) -> Result<(), WriteError> {
        self.out.finish(trailers).await
    }
}

/// Serves what has arrived, until nothing more has.
pub(crate) async fn serve(core: &Rc<Core>, client: &Rc<Client>, workspace: &mut Workspace) -> Next {
    let Workspace { work, alarm, .. } = workspace;
    let view = core.view();
    let Some(listener_id) = client.listening.id.get() else { return Next::Close { linger: false } };
    let Some(listener) = view.config().listener(listener_id) else {
        return Next::Close { linger: false };
    };
    let flow = &Flow::new(&core.wheel);
    let buffer = core.buffers.buffer(Size::Small);
    let written = Cell::new(0);
    let patience = Patience::for_sender(&listener.timeouts, true, flow);
    let incoming =
        Http1Receiver::new(&client.stream, buffer, &core.wheel, alarm, patience).watching(&written);
    let patience = Patience::for_taker(&listener.timeouts, flow);
    let out = Http1Sender::new(&client.stream, &core.scratch, &core.wheel, &client.alarm, patience)
        .counting(&written);
    let reply = Http1Reply { out, begun: false, keep_alive: false };
    let mut down = Http1 { client, flow, body: incoming, reply };

    // A new connection counts as readable before any byte has arrived, and others may too: without
    // a byte they are as idle as before, and need no worker.
    alarm.clear();
    match poll_fn(|cx| Poll::Ready(down.body.poll_more(cx))).await {
        Poll::Ready(HeadEnd::More) => {}
        Poll::Ready(_) => return Next::Close { linger: false },
        Poll::Pending => return Next::Unready,
    }
    if listener.proxy_protocol == ProxyProtocol::Required && !client.proxy_header_read.get() {
        alarm.set(unless_zero(listener.timeouts.head));
        if let Err(refusal) = apply_proxy_header(core, client, &mut down.body).await {
            refused(core, client, refusal);
            return Next::Close { linger: false };
        }
        if down.body.is_drained() {
            return Next::Idle;
        }
    }
    serve_requests(core, client, view, listener_id, work, alarm, &mut down).await
}

async fn serve_requests(
    core: &Rc<Core>,
    client: &Rc<Client>,
    mut view: Rc<View>,
    mut listener_id: ListenerId,
    work: &mut Work,
    alarm: &Alarm,
    down: &mut Http1<'_>,
) -> Next {
    for served in 1u32.. {
        let Some(listener) = view.config().listener(listener_id) else { break };
        if served % PIPELINED_MAX == 0 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        work.record.clear(started);
        down.flow.begin_exchange();
        down.reply.begun = false;
        down.reply.out.sent = 0;
        down.reply.out.raw = 0;
        let before = down.body.taken();
        down.body.set_alarm(unless_zero(listener.timeouts.head));
        let limits = HeadLimits {
            bytes: listener.limits.head_bytes as usize,
            fields: usize::from(listener.limits.head_fields),
            target: listener.limits.target_bytes as usize,
        };
        let reads = down.body.reads;
        let may_be_http2 = listener.http2 && !client.has_requested.get() && client.tls.is_none();
        let (scheme, request) = (client.scheme(), &mut work.request);
        let head = read_head(&mut down.body, scheme, &limits, request, may_be_http2).await;
        let at_once = down.body.reads - reads <= 1;
        let waited = if at_once { Duration::ZERO } else { started.elapsed() };
        work.record.queue = Some(waited);
        let (at, alarms) = ((core, &view), (alarm, &client.alarm));
        let mut context = ClientContext::new(at, client, listener_id, alarms, down.flow);
        let ending = match head {
            Head::Complete => {
                client.has_requested.set(true);
                client.count_request(listener.limits.requests_per_connection);
                exchange::run(&mut context, work, down).await
            }
            Head::Gone => return Next::Close { linger: false },
            Head::Http2 => return Next::Http2(Box::new(down.body.buffer.take())),
            Head::Refused(trouble) => {
                work.record.decided = listener.place;
                note::request_line(&mut work.record, down.body.buffer.filled());
                exchange::refuse_head(&context, work, down, trouble).await
            }
        };
        note::response_fields(&view, work);
        let record = &mut work.record;
        record.received_bytes = down.body.taken() - before;
        if let Ending::Tunnel(tunnel) = ending {
            let unread = down.body.buffer.take();
            return Next::Tunnel(tunnel.begin(None, Some(unread), work.take_record(), view));
        }
        (record.response_body_bytes, record.sent_bytes) = down.reply.sent();
        core.finish(&view, record);
        match ending {
            Ending::Kept if down.reply.keep_alive && !core.closes_idle() => {}
            Ending::Kept | Ending::Closed => {
                let unread = !down.body.is_done() || !down.body.is_drained();
                return Next::Close { linger: unread };
            }
            Ending::Broken | Ending::Tunnel(_) => return Next::Abort,
        }
        if down.body.is_drained() {
            return Next::Idle;
        }
        view = core.view();
        let Some(id) = client.listening.id.get() else { break };
        listener_id = id;
    }
    Next::Close { linger: true } // the listener is gone
}

enum Head {
    Complete,
    /// The client left before a request or within its head.
    Gone,
    /// The preface of HTTP/2.
    Http2,
    Refused(Trouble),
}

async fn read_head(
    body: &mut Http1Receiver<'_>,
    scheme: Scheme,
    limits: &HeadLimits,
    request: &mut Request,
    may_be_http2: bool,
) -> Head {
    loop {
        if !body.is_drained() {
            request.clear();
            match wire::http1::parse_request(body.buffer.filled(), limits, scheme, request) {
                Ok(Some(length)) => {
                    body.buffer.consume(length);
                    return Head::Complete;
                }
                Ok(None) => {}
                Err(RequestError::Http2Preface) if may_be_http2 => return Head::Http2,
                Err(_) if is_tls(body.buffer.filled()) => {
                    let detail = "TLS on a clear port: the client begins a TLS handshake where HTTP is spoken in clear";
                    return Head::Refused(Trouble::new(ErrorKind::ClientTlsError, detail));
                }
                Err(error) => {
                    return Head::Refused(refused_head(error.status(), error.to_string()));
                }
            }
        }
        match poll_fn(|cx: &mut Context<'_>| body.poll_more(cx)).await {
            HeadEnd::More => {}
            HeadEnd::Closed | HeadEnd::Broken(_) => return Head::Gone,
            HeadEnd::Expired if body.is_drained() => return Head::Gone,
            HeadEnd::Expired => {
                let detail = "the request did not arrive in time";
                return Head::Refused(Trouble::new(ErrorKind::ClientTimeout, detail));
            }
            HeadEnd::Full => {
                let detail = "the request's head is larger than allowed";
                return Head::Refused(Trouble::new(ErrorKind::RequestHeadTooLarge, detail));
            }
        }
    }
}

/// Whether a connection begins with a TLS record of a handshake (RFC 8446, section 5.1).
fn is_tls(arrived: &[u8]) -> bool {
    matches!(arrived, [22] | [22, 3, ..])
}

/// Reads the PROXY protocol header that must come first.
async fn apply_proxy_header(
    core: &Core,
    client: &Client,
    body: &mut Http1Receiver<'_>,
) -> Result<(), Refusal> {
    loop {
        match wire::proxy_protocol::parse(body.buffer.filled()) {
            Ok(Some((length, header))) => {
                body.buffer.consume(length);
                return client.apply_proxy_header(core, &header);
            }
            Ok(None) => {}
            Err(_) => return Err(Refusal::ProxyProtocol),
        }
        match poll_fn(|cx: &mut Context<'_>| body.poll_more(cx)).await {
            HeadEnd::More => {}
            _ => return Err(Refusal::ProxyProtocol),
        }
    }
}
