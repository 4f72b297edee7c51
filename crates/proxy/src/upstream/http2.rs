//! An exchange with an endpoint over a stream of an HTTP/2 connection.

pub(super) mod heads;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::StatusCode;
use message::{Fields, Known, Request, Response};
use net::{Alarm, Wheel};
use observe::ErrorKind;
use wire::http2::FieldBlock;

use super::exchange::{
    Alarms, Cancel, FarEnd, LinkState, NoHead, Protocol, ResponseReader, Upload, UpstreamExchange,
    UpstreamHead,
};
use crate::body::{Bulk, Patience, ReadError, Reset, Source, unless_zero};
use crate::core::Core;
use crate::http2::{Http2Receiver, Http2Sender, SendHalf, StreamEnds, carried};
use crate::patience::Intake;
use crate::pool::{Http2Connection, StreamPermit, h2_failed};
use crate::trouble::Trouble;

/// A permit for one stream of an HTTP/2 connection.
pub(crate) struct Http2Link {
    permit: StreamPermit,
    /// Whether the connection uses TLS.
    secure: bool,
    half: RefCell<SendHalf>,
    /// After the exchange: the receiving direction behind the final head.
    receiving: Option<RecvStream>,
}

impl Http2Link {
    pub(crate) fn new(permit: StreamPermit, secure: bool) -> Self {
        Self { permit, secure, half: RefCell::new(SendHalf::Idle), receiving: None }
    }

    pub(super) fn reused(&self) -> bool {
        self.permit.reused
    }

    pub(super) fn connection(&self) -> &Rc<Http2Connection> {
        self.permit.connection()
    }

    /// Whether the endpoint accepts upgrades; waits for its SETTINGS.
    pub(super) async fn takes_extended_connect(&self) -> bool {
        self.permit.takes_extended_connect().await
    }

    /// The upstream's side of a tunnel; `None` if it ended as it began.
    pub(super) fn into_tunnel(self) -> Option<FarEnd> {
        let receive = Some(self.receiving?);
        let ends = StreamEnds::new(receive, self.half);
        Some(FarEnd::Stream(ends, self.permit))
    }
}

impl Protocol for Http2Link {
    type UpstreamExchange<'s> = Http2Exchange<'s>;

    fn open<'s>(
        &'s mut self,
        core: &'s Core,
        alarms: Alarms<'s>,
        patience: Patience<'s>,
    ) -> Http2Exchange<'s> {
        let Self { permit, secure, half, receiving } = self;
        let (half, wheel, connection) = (&*half, &core.wheel, &**permit.connection());
        let underlying = Some(connection.underlying());
        let out = Http2Sender::new(half, wheel, alarms.sending, patience.clone(), underlying);
        let incoming = Http2ResponseReader {
            connection,
            response: None,
            stream: None,
            body: None,
            half,
            wheel,
            alarm: alarms.receiving,
            patience,
            upgrade: false,
            first_head: None,
            unprocessed: false,
            closed: false,
            wants_http1: false,
            none: Fields::new(),
        };
        Http2Exchange { secure: *secure, half, receiving, out, incoming }
    }
}

/// Both directions of one stream to an endpoint.
pub(crate) struct Http2Exchange<'a> {
    secure: bool,
    half: &'a RefCell<SendHalf>,
    receiving: &'a mut Option<RecvStream>,
    out: Http2Sender<'a>,
    incoming: Http2ResponseReader<'a>,
}

/// Reads a response from a stream: heads, then a body.
pub(crate) struct Http2ResponseReader<'a> {
    connection: &'a Http2Connection,
    response: Option<ResponseFuture>,
    /// The stream behind the final head, until its body begins.
    stream: Option<RecvStream>,
    body: Option<Http2Receiver<'a>>,
    half: &'a RefCell<SendHalf>,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
    patience: Patience<'a>,
    /// Whether this is extended CONNECT.
    upgrade: bool,
    first_head: Option<Instant>,
    /// The endpoint says that it has not processed the request.
    unprocessed: bool,
    /// The connection has ended, not just the stream.
    closed: bool,
    /// The endpoint asks for HTTP/1.1.
    wants_http1: bool,
    none: Fields,
}

impl<'a> UpstreamExchange for Http2Exchange<'a> {
    type Out = Http2Sender<'a>;
    type In = Http2ResponseReader<'a>;
    type Cancel<'s>
        = &'s RefCell<SendHalf>
    where
        Self: 's;

    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble> {
        let request = heads::request(head, self.secure)
            .map_err(|detail| Trouble::new(ErrorKind::HttpRequestError, detail))?;
        // If the connection has ended since it was chosen, it has seen nothing of the request.
        self.incoming.unprocessed = true;
        self.incoming.closed = true;
        self.incoming.upgrade = head.upgrade;
        let mut requests = self.incoming.connection.requests().ok_or_else(left)?;
        let ended = body.is_empty() && !more && !head.upgrade;
        let sent = requests.send_request(request, ended);
        let (response, mut stream) = sent.map_err(|error| h2_failed(&error).0)?;
        self.incoming.unprocessed = false;
        self.incoming.closed = false;
        if !body.is_empty() {
            let sent = stream.send_data(Bytes::copy_from_slice(body), true);
            sent.map_err(|error| h2_failed(&error).0)?;
        }
        self.incoming.response = Some(response);
        *self.half.borrow_mut() = SendHalf::Data(stream);
        Ok(())
    }

    fn split(
        &mut self,
    ) -> (&mut Http2Sender<'a>, &mut Http2ResponseReader<'a>, &RefCell<SendHalf>) {
        (&mut self.out, &mut self.incoming, self.half)
    }

    fn finish(&mut self, _response: &Response) -> LinkState {
        let Http2ResponseReader { unprocessed, closed, wants_http1, .. } = self.incoming;
        if self.incoming.first_head.is_some() {
            self.incoming.connection.served();
        }
        *self.receiving = self.incoming.stream.take();
        let (reusable, offers_login) = (false, false);
        LinkState { unsent: unprocessed, unprocessed, closed, wants_http1, reusable, offers_login }
    }
}

/// The connection was closed to new streams after it was chosen.
fn left() -> Trouble {
    Trouble::new(ErrorKind::ConnectionTerminated, "the endpoint is closing the connection")
}

impl Http2ResponseReader<'_> {
    /// Reads the next head, interim or final.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Some(interim) = ready!(response.poll_informational(cx)) {
            let (parts, ()) = interim?.into_parts();
            return Poll::Ready(Ok(Head { parts, stream: None }));
        }
        let (parts, stream) = ready!(Pin::new(response).poll(cx))?.into_parts();
        self.response = None;
        Poll::Ready(Ok(Head { parts, stream: Some(stream) }))
    }

    /// Fills `response` from a head.
    fn take(
        &mut self,
        head: Head,
        request: &Request,
        response: &mut Response,
    ) -> Result<(), NoHead> {
        self.first_head.get_or_insert_with(Instant::now);
        let Head { parts: http::response::Parts { status, headers, .. }, stream } = head;
        let ended = stream.as_ref().is_some_and(RecvStream::is_end_stream);
        let read = match carried(&headers) {
            Some(FieldBlock::Head(packed)) => {
                heads::response(request, status, packed, ended, response)
            }
            Some(FieldBlock::Malformed(what)) => Err(what.text()),
            Some(FieldBlock::Trailers(_)) | None => Err("it has no :status"),
        };
        if let Err(what) = read {
            // RFC 9113, section 8.1.1: an error of this stream, and of no other.
            self.half.borrow_mut().reset(Reset::Protocol);
            return Err(NoHead { trouble: malformed(what), silent: false });
        }
        if self.upgrade && status.is_success() {
            switched(request, status, response);
        }
        self.stream = stream;
        Ok(())
    }
}

/// A head, and the stream that follows it if it is the final one.
struct Head {
    parts: http::response::Parts,
    stream: Option<RecvStream>,
}

fn malformed(what: &str) -> Trouble {
    let detail = format!("the endpoint's response is malformed: {what}");
    Trouble::new(ErrorKind::HttpProtocolError, detail)
}

/// RFC 8441, section 5: success of extended CONNECT is what 101 is over HTTP/1.1.
fn switched(request: &Request, status: StatusCode, response: &mut Response) {
    debug_assert!(status.is_success());
    response.status = 101;
    response.body = message::BodyLength::None;
    response.fields.remove(Known::ContentLength);
    if let Some(protocol) = request.fields.get(Known::Upgrade) {
        response.fields.push_known(Known::Upgrade, protocol);
    }
    if let Some(key) = request.fields.get(Known::SecWebSocketKey) {
        response.fields.remove(Known::SecWebSocketAccept);
        let accept = crate::websocket::accept(key);
        response.fields.push_known(Known::SecWebSocketAccept, accept.as_bytes());
    }
}

impl Cancel for &RefCell<SendHalf> {
    fn cancel(&self) {
        self.borrow_mut().reset(Reset::Cancelled);
    }
}

impl ResponseReader for Http2ResponseReader<'_> {
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead> {
        let first_byte = unless_zero(first_byte);
        let (alarm, mut set) = (self.alarm, false);
        let (connection, mut intake) = (self.connection, Intake::default());
        let head = poll_fn(|cx| {
            if let Poll::Ready(head) = self.poll_head(cx) {
                return Poll::Ready(Some(head));
            }
            if !set || (alarm.has_fired() && upload.get() == Upload::Running) {
                // The time-out runs from the end of the request.
                set = true;
                alarm.set(first_byte);
            }
            while alarm.poll_fired(cx).is_ready() {
                let left = self.patience.left_of(first_byte, self.wheel);
                match left.or_else(|| intake.look(connection.delivery(), first_byte)) {
                    Some(more) => alarm.set(more),
                    None => return Poll::Ready(None),
                }
            }
            Poll::Pending
        });
        match head.await {
            Some(Ok(head)) => {
                alarm.clear();
                self.take(head, request, response)
            }
            Some(Err(error)) => {
                let (mut trouble, unprocessed) = h2_failed(&error);
                if let Some((kind, what)) = self.connection.fault() {
                    trouble = Trouble::new(kind, what);
                }
                self.unprocessed = unprocessed;
                self.closed = !error.is_reset();
                // RFC 9113, section 7: such as for a client certificate, asked for in mid-connection.
                let reason = error.reason().filter(|_| error.is_reset() && error.is_remote());
                self.wants_http1 = reason == Some(Reason::HTTP_1_1_REQUIRED);
                Err(NoHead { trouble, silent: self.first_head.is_none() })
            }
            None => {
                let detail = "the endpoint did not begin its response in time";
                let trouble = Trouble::new(ErrorKind::HttpResponseTimeout, detail);
                Err(NoHead { trouble, silent: self.first_head.is_none() })
            }
        }
    }

    fn begin_body(&mut self, _response: &Response) {
        let (stream, patience) = (self.stream.take(), self.patience.clone());
        let body = Http2Receiver::new(stream, self.half, self.wheel, self.alarm, patience);
        self.body = Some(body);
    }

    fn proves(&self, _key: &[u8], _response: &Response) -> bool {
        true // RFC 8441, section 5: HTTP/2 needs no proof
    }

    fn first_byte_at(&self) -> Option<Instant> {
        self.first_head
    }
}

impl Source for Http2ResponseReader<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        match &mut self.body {
            Some(body) => body.ready().await,
            None => Ok(false),
        }
    }

    fn data(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], Source::data)
    }

    fn consume(&mut self, count: usize) {
        if let Some(body) = &mut self.body {
            body.consume(count);
        }
    }

    fn is_drained(&self) -> bool {
        self.body.as_ref().is_none_or(Source::is_drained)
    }

    fn is_done(&self) -> bool {
        self.body.as_ref().is_none_or(Source::is_done)
    }

    fn trailers(&self) -> &Fields {
        self.body.as_ref().map_or(&self.none, Source::trailers)
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        self.body.as_mut().map_or(&mut self.none, Source::trailers_mut)
    }

    fn received(&self) -> u64 {
        self.body.as_ref().map_or(0, Source::received)
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        None
    }

    fn moved_past(&mut self, _count: u64) {}

    fn poll_peer_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending // reading the next head or piece reveals it
    }
}
