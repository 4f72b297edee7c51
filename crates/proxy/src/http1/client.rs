//! An exchange with an endpoint that speaks HTTP/1.1, over a connection of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use message::{Request, Response};
use net::{Alarm, Buffer, Size};
use observe::ErrorKind;
use wire::http1::{HeadError, HeadLimits, ResponseError};

use super::{HeadEnd, Incoming, Outgoing, UpstreamHead};
use crate::attempt::{Answer, Left, NoHead, Upload, Upward, writing_failed};
use crate::body::{Patience, Sink, Source, unless_zero};
use crate::core::Core;
use crate::exchange::Trouble;
use crate::hedge::Cut;
use crate::login;
use crate::patience::Intake;
use crate::upstream::Connection;

/// Both directions of a connection to an endpoint, for one exchange.
pub(crate) struct Http1Upward<'a> {
    out: Outgoing<'a>,
    incoming: Incoming<'a>,
}

impl<'a> Http1Upward<'a> {
    /// `alarm` watches over what is sent, `reply_alarm` over what comes.
    pub(crate) fn new(
        connection: &'a Connection,
        core: &'a Core,
        alarm: &'a Alarm,
        reply_alarm: &'a Alarm,
        patience: Patience<'a>,
    ) -> Self {
        let (stream, wheel) = (&connection.stream, &core.wheel);
        let out = Outgoing::new(stream, &core.scratch, wheel, alarm, patience.clone());
        let buffer = core.buffers.buffer(Size::Large);
        let mut incoming = Incoming::new(stream, buffer, wheel, reply_alarm, patience);
        incoming.times_first_byte = true;
        Self { out, incoming }
    }

    /// Reads no more at once than this.
    pub(crate) fn read_by(&mut self, size: Size) {
        self.incoming.buffer.prefer(size);
    }

    /// What has come behind the head of a response.
    pub(crate) fn take_unread(&mut self) -> Option<Buffer> {
        let buffer = &mut self.incoming.buffer;
        (!buffer.is_empty()).then(|| buffer.take())
    }
}

impl<'a> Upward for Http1Upward<'a> {
    type Out = Outgoing<'a>;
    type In = Incoming<'a>;

    async fn begin(
        &mut self,
        head: &UpstreamHead<'_>,
        body: &[u8],
        more: bool,
    ) -> Result<(), Trouble> {
        let out = &mut self.out;
        out.framing = head.write(out.out());
        out.out().extend_from_slice(body);
        out.sent = body.len() as u64;
        if more {
            return Ok(()); // the head leaves with what comes first
        }
        out.flush().await.map_err(|error| writing_failed(&error))
    }

    fn split(&mut self) -> (&mut Outgoing<'a>, &mut Incoming<'a>, Cut<'_>) {
        let cut = Cut::Connection(self.incoming.stream);
        (&mut self.out, &mut self.incoming, cut)
    }

    fn left(&self, response: &Response) -> Left {
        Left {
            unsent: self.out.is_unsent(),
            unprocessed: false,
            closed: true,
            wants_http1: false,
            reusable: response.keep_alive && self.incoming.is_reusable(),
            offers_login: self.incoming.offers_login,
        }
    }
}

impl Answer for Incoming<'_> {
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead> {
        let first_byte = unless_zero(first_byte);
        let mut alarm_set = false;
        let mut intake = Intake::default();
        loop {
            if !self.is_drained() && parse(self, request, response)? {
                self.clear_alarm();
                return Ok(());
            }
            let more = poll_fn(|cx| {
                let polled = self.poll_more(cx);
                if polled.is_pending() && !alarm_set {
                    alarm_set = true;
                    self.set_alarm(first_byte);
                    return self.poll_more(cx);
                }
                polled
            });
            let trouble = match more.await {
                HeadEnd::More => continue,
                HeadEnd::Expired if upload.get() == Upload::Running => {
                    // The time runs from the end of the request.
                    self.set_alarm(first_byte);
                    continue;
                }
                HeadEnd::Expired if let Some(more) = self.left_of(first_byte) => {
                    self.set_alarm(more);
                    continue;
                }
                HeadEnd::Expired
                    if let Some(more) = intake.look(self.stream.delivery(), first_byte) =>
                {
                    self.set_alarm(more);
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
            return Err(NoHead { trouble, silent: self.raw == 0 });
        }
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

/// Takes a head out of what has come; false: it is not whole yet.
fn parse(
    incoming: &mut Incoming<'_>,
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
