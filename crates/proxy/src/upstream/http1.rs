//! An exchange with an endpoint that speaks HTTP/1.1, over a connection of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use message::{BodyLength, Known, Request, Response, Version};
use net::{Buffer, Size, Stream};
use observe::ErrorKind;
use wire::http1::{HeadError, HeadLimits, ResponseError, write_field, write_request_line};

use super::exchange::{
    Alarms, Cancel, FarEnd, LinkState, NoHead, Protocol, ResponseReader, Upload, UpstreamExchange,
    UpstreamHead, is_ours, writing_failed,
};
use crate::body::{Patience, Sink, Source, unless_zero};
use crate::core::Core;
use crate::http1::{Framing, HeadEnd, Http1Receiver, Http1Sender, write_number};
use crate::login;
use crate::patience::Intake;
use crate::pool::Connection;
use crate::trouble::Trouble;

/// An HTTP/1.1 connection to an endpoint, used by one exchange alone.
pub(crate) struct Http1Link {
    pub(crate) connection: Connection,
    /// After the exchange: bytes that were read behind the head of the response.
    unread: Option<Buffer>,
}

impl Http1Link {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, unread: None }
    }

    /// The upstream's side of a tunnel.
    pub(super) fn into_tunnel(self) -> FarEnd {
        FarEnd::Connection(self.connection, self.unread)
    }
}

impl Protocol for Http1Link {
    type UpstreamExchange<'s> = Http1Exchange<'s>;

    fn open<'s>(
        &'s mut self,
        core: &'s Core,
        alarms: Alarms<'s>,
        patience: Patience<'s>,
    ) -> Http1Exchange<'s> {
        let (stream, wheel) = (&self.connection.stream, &core.wheel);
        let out = Http1Sender::new(stream, &core.scratch, wheel, alarms.sending, patience.clone());
        let buffer = core.buffers.buffer(Size::Large);
        let mut incoming = Http1Receiver::new(stream, buffer, wheel, alarms.receiving, patience);
        incoming.times_first_byte = true;
        Http1Exchange { out, incoming, unread: &mut self.unread }
    }
}

/// Both directions of a connection to an endpoint, for one exchange.
pub(crate) struct Http1Exchange<'a> {
    out: Http1Sender<'a>,
    incoming: Http1Receiver<'a>,
    unread: &'a mut Option<Buffer>,
}

impl<'a> UpstreamExchange for Http1Exchange<'a> {
    type Out = Http1Sender<'a>;
    type In = Http1Receiver<'a>;
    type Cancel<'s>
        = &'s Stream
    where
        Self: 's;

    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble> {
        let out = &mut self.out;
        out.framing = write_head(head, out.out());
        out.out().extend_from_slice(body);
        out.sent = body.len() as u64;
        if more {
            return Ok(()); // the head is sent with the first bytes of the body
        }
        out.flush().await.map_err(|error| writing_failed(&error))
    }

    fn split(&mut self) -> (&mut Http1Sender<'a>, &mut Http1Receiver<'a>, &Stream) {
        let stream = self.incoming.stream;
        (&mut self.out, &mut self.incoming, stream)
    }

    fn read_by(&mut self, size: Size) {
        self.incoming.buffer.prefer(size);
    }

    fn finish(&mut self, response: &Response) -> LinkState {
        let left = LinkState {
            unsent: self.out.is_unsent(),
            unprocessed: false,
            closed: true,
            wants_http1: false,
            reusable: response.keep_alive && self.incoming.is_reusable(),
            offers_login: self.incoming.offers_login,
        };
        let buffer = &mut self.incoming.buffer;
        if !buffer.is_empty() {
            *self.unread = Some(buffer.take());
        }
        left
    }
}

/// Appends the head, and returns how the body must be delimited.
pub(crate) fn write_head(head: &UpstreamHead<'_>, out: &mut Vec<u8>) -> Framing {
    let UpstreamHead { request, target, host, upgrade, key, .. } = *head;
    write_request_line(out, &request.method, target, Version::Http11);
    write_field(out, b"Host", host.as_bytes());
    for field in request.fields.end_to_end() {
        if !is_ours(field.known) {
            write_field(out, field.name, field.value);
        }
    }
    if upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        for protocol in request.fields.get_all(Known::Upgrade) {
            write_field(out, b"Upgrade", protocol);
        }
        if let Some(key) = key {
            write_field(out, b"Sec-WebSocket-Key", key.as_bytes());
        }
    } else if request.takes_trailers {
        // RFC 9110, section 10.1.4: TE is hop-by-hop, so it must be named here.
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    let framing = match request.body {
        BodyLength::Exact(length) => {
            write_number(out, b"Content-Length: ", length);
            Framing::Plain
        }
        BodyLength::Chunked => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Framing::Chunked { trailers: true }
        }
        BodyLength::None | BodyLength::UntilClose => Framing::Plain,
    };
    out.extend_from_slice(b"\r\n");
    framing
}

impl Cancel for &Stream {
    fn cancel(&self) {
        self.reset_when_closed();
        let _ = self.shutdown_write(); // a peer that has gone needs no FIN
    }
}

impl ResponseReader for Http1Receiver<'_> {
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead> {
        read_head(self, first_byte, upload, |receiver| parse(receiver, request, response)).await
    }

    fn begin_body(&mut self, response: &Response) {
        self.begin_response_body(response.body);
    }

    fn proves(&self, key: &[u8], response: &Response) -> bool {
        crate::websocket::is_answered(key, response)
    }

    fn first_byte_at(&self) -> Option<Instant> {
        self.first_read
    }
}

/// Reads until `parse` finds a whole head, which must begin `first_byte` after the end of the request.
pub(super) async fn read_head<'a>(
    receiver: &mut Http1Receiver<'a>,
    first_byte: Duration,
    upload: &Cell<Upload>,
    mut parse: impl FnMut(&mut Http1Receiver<'a>) -> Result<bool, NoHead>,
) -> Result<(), NoHead> {
    let first_byte = unless_zero(first_byte);
    let mut alarm_set = false;
    let mut intake = Intake::default();
    loop {
        if !receiver.is_drained() && parse(receiver)? {
            receiver.clear_alarm();
            return Ok(());
        }
        let more = poll_fn(|cx| {
            let polled = receiver.poll_more(cx);
            if polled.is_pending() && !alarm_set {
                alarm_set = true;
                receiver.set_alarm(first_byte);
                return receiver.poll_more(cx);
            }
            polled
        });
        let trouble = match more.await {
            HeadEnd::More => continue,
            HeadEnd::Expired if upload.get() == Upload::Running => {
                // The time-out runs from the end of the request.
                receiver.set_alarm(first_byte);
                continue;
            }
            HeadEnd::Expired if let Some(more) = receiver.left_of(first_byte) => {
                receiver.set_alarm(more);
                continue;
            }
            HeadEnd::Expired
                if let Some(more) = intake.look(receiver.stream.delivery(), first_byte) =>
            {
                receiver.set_alarm(more);
                continue;
            }
            HeadEnd::Expired => Trouble::new(
                ErrorKind::HttpResponseTimeout,
                "the endpoint did not begin its response in time",
            ),
            HeadEnd::Closed => Trouble::new(
                ErrorKind::ConnectionTerminated,
                "the endpoint closed the connection without a response",
            ),
            HeadEnd::Broken(error) => Trouble::new(
                ErrorKind::ConnectionTerminated,
                format!("the connection to the endpoint broke before a response: {error}"),
            ),
            HeadEnd::Full => Trouble::new(
                ErrorKind::HttpResponseHeaderSectionSize,
                "the head of the endpoint's response is too large",
            ),
        };
        return Err(NoHead { trouble, silent: receiver.raw == 0 });
    }
}

/// Parses a head from the buffer; false: it is not complete yet.
fn parse(
    incoming: &mut Http1Receiver<'_>,
    request: &Request,
    response: &mut Response,
) -> Result<bool, NoHead> {
    const LIMITS: HeadLimits = HeadLimits { bytes: 60 * 1024, fields: 500, target: 0 };
    response.clear();
    let filled = incoming.buffer.filled();
    match wire::http1::parse_response(filled, &LIMITS, &request.method, response) {
        Ok(Some(length)) => {
            incoming.buffer.consume(length);
            incoming.offers_login |= login::is_offered(response);
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => {
            let kind = match error {
                ResponseError::Head(HeadError::TooLong | HeadError::TooManyFields) => {
                    ErrorKind::HttpResponseHeaderSectionSize
                }
                _ => ErrorKind::HttpProtocolError,
            };
            let detail = format!("the endpoint's response is malformed: {error}");
            Err(NoHead { trouble: Trouble::new(kind, detail), silent: false })
        }
    }
}
