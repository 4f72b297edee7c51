//! An exchange with an endpoint that speaks SCGI, over a connection of its own.
//!
//! The head says how long the body is. One of unknown length is gathered before anything leaves, up to
//! [`GATHERED_BYTES_MAX`]; a longer one is refused. The response is that of CGI, and the connection ends with it.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use message::{BodyLength, Field, Fields, Known, Request, Response, Scheme};
use net::{Size, Stream};
use observe::ErrorKind;
use wire::http1::{HeadError, HeadLimits, ResponseError};
use wire::scgi::{self, ContainsNul, finish_head, write_decoded_path, write_field, write_variable};

use super::exchange::{
    Alarms, LinkState, NoHead, Protocol, ResponseReader, Upload, UpstreamExchange, UpstreamHead,
    is_ours, writing_failed,
};
use super::http1::read_head;
use crate::body::{Bulk, Patience, PumpError, ReadError, Sink, Source, WriteError};
use crate::core::Core;
use crate::http1::{Http1Receiver, Http1Sender};
use crate::pool::Connection;
use crate::trouble::Trouble;

/// Bytes of a body of unknown length that are gathered.
const GATHERED_BYTES_MAX: usize = 256 * 1024;

/// A connection to an endpoint that speaks SCGI, which one exchange has for itself.
pub(crate) struct ScgiLink {
    pub(super) connection: Connection,
    refusal: Refusal,
}

impl ScgiLink {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, refusal: Refusal::default() }
    }
}

impl Protocol for ScgiLink {
    type UpstreamExchange<'s> = ScgiExchange<'s>;

    fn open<'s>(
        &'s mut self,
        core: &'s Core,
        alarms: Alarms<'s>,
        patience: Patience<'s>,
    ) -> ScgiExchange<'s> {
        let (stream, wheel, refusal) = (&self.connection.stream, &core.wheel, &self.refusal);
        let out = Http1Sender::new(stream, &core.scratch, wheel, alarms.sending, patience.clone());
        let buffer = core.buffers.buffer(Size::Large);
        let mut incoming = Http1Receiver::new(stream, buffer, wheel, alarms.receiving, patience);
        incoming.times_first_byte = true;
        ScgiExchange {
            out: ScgiSender { out, gathered: None, refusal },
            incoming: ScgiReceiver { incoming, refusal, core },
        }
    }
}

/// Both directions of a connection to an endpoint, for one exchange.
pub(crate) struct ScgiExchange<'a> {
    out: ScgiSender<'a>,
    incoming: ScgiReceiver<'a>,
}

impl<'a> UpstreamExchange for ScgiExchange<'a> {
    type Out = ScgiSender<'a>;
    type In = ScgiReceiver<'a>;
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
        let out = &mut self.out.out;
        write_variables(head, out.out()).map_err(|error| {
            let detail = format!("the request cannot be sent over SCGI: {error}");
            Trouble::new(ErrorKind::HttpRequestError, detail)
        })?;
        match length_of(head.request) {
            Some(length) => finish_head(out.out(), 0, length),
            None => self.out.gathered = Some(Vec::new()),
        }
        out.out().extend_from_slice(body);
        out.sent = body.len() as u64;
        if more {
            return Ok(()); // the head leaves with what comes first
        }
        out.flush().await.map_err(|error| writing_failed(&error))
    }

    fn split(&mut self) -> (&mut ScgiSender<'a>, &mut ScgiReceiver<'a>, &Stream) {
        let stream = self.incoming.incoming.stream;
        (&mut self.out, &mut self.incoming, stream)
    }

    fn read_by(&mut self, size: Size) {
        self.incoming.incoming.buffer.prefer(size);
    }

    fn finish(&mut self, _response: &Response) -> LinkState {
        LinkState {
            unsent: self.out.out.is_unsent(),
            unprocessed: false,
            closed: true,
            wants_http1: false,
            reusable: false,
            offers_login: false,
        }
    }
}

/// How long a request's body is; `None`: that is known at its end.
fn length_of(request: &Request) -> Option<u64> {
    match request.body {
        BodyLength::None => Some(0),
        BodyLength::Exact(length) => Some(length),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}

/// Appends the variables of a request but for `CONTENT_LENGTH`: those that nginx's `scgi_params` has, with
/// the names and values of RFC 3875, section 4.1, and the fields that leave.
fn write_variables(head: &UpstreamHead<'_>, out: &mut Vec<u8>) -> Result<(), ContainsNul> {
    let UpstreamHead { request, target, host, client, .. } = *head;
    let mut parts = target.splitn(2, |&byte| byte == b'?');
    let (path, query) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let scheme = request.target.outer_scheme();
    write_text(out, "SCGI", b"1")?;
    write_text(out, "REQUEST_METHOD", request.method.as_str().as_bytes())?;
    write_text(out, "REQUEST_URI", request.target.sent())?;
    write_text(out, "QUERY_STRING", query)?;
    let content_type = request.fields.get(Known::ContentType);
    write_text(out, "CONTENT_TYPE", content_type.unwrap_or_default())?;
    write_variable(out, b"DOCUMENT_URI", |out| write_decoded_path(out, path))?;
    write_text(out, "SCRIPT_NAME", b"")?;
    write_variable(out, b"PATH_INFO", |out| write_decoded_path(out, path))?;
    write_text(out, "SERVER_PROTOCOL", request.version.as_str().as_bytes())?;
    write_text(out, "REQUEST_SCHEME", scheme.as_str().as_bytes())?;
    if scheme == Scheme::Https {
        write_text(out, "HTTPS", b"on")?;
    }
    write_shown(out, "REMOTE_ADDR", client.address)?;
    if let Some(port) = client.port {
        write_shown(out, "REMOTE_PORT", port)?;
    }
    write_text(out, "SERVER_NAME", request.target.host().as_bytes())?;
    write_shown(out, "SERVER_PORT", client.listener_port)?;
    write_text(out, "HTTP_HOST", host.as_bytes())?;
    write_fields(&request.fields, out)
}

fn write_text(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), ContainsNul> {
    write_variable(out, name.as_bytes(), |out| out.extend_from_slice(value))
}

fn write_shown(out: &mut Vec<u8>, name: &str, value: impl Display) -> Result<(), ContainsNul> {
    write_variable(out, name.as_bytes(), |out| {
        let _ = write!(out, "{value}"); // writing to memory does not fail
    })
}

/// Appends the fields that leave, each name once. `-` and `_` are the same to CGI, so fields with `_` in their
/// names do not leave: they would be taken for others.
fn write_fields(fields: &Fields, out: &mut Vec<u8>) -> Result<(), ContainsNul> {
    let leaves = |field: &Field<'_>| {
        let is_set = is_ours(field.known) || field.known == Known::ContentType;
        !is_set && !field.name.contains(&b'_')
    };
    let leaving = fields.end_to_end().filter(leaves);
    for (index, field) in leaving.clone().enumerate() {
        let is_same = |other: &Field<'_>| {
            other.known == field.known && other.name.eq_ignore_ascii_case(field.name)
        };
        if leaving.clone().take(index).any(|before| is_same(&before)) {
            continue;
        }
        let values = leaving.clone().filter(is_same).map(|field| field.value);
        write_field(out, field.name, values)?;
    }
    Ok(())
}

/// Appends the variables as lines for people, `NAME=value`.
pub(super) fn print_variables(head: &UpstreamHead<'_>, out: &mut Vec<u8>) {
    if let Some(length) = length_of(head.request) {
        let _ = writeln!(out, "CONTENT_LENGTH={length}"); // writing to memory does not fail
    }
    let mut written = Vec::new();
    if let Err(error) = write_variables(head, &mut written) {
        let _ = writeln!(out, "(refused: {error})");
        return;
    }
    for (name, value) in scgi::variables(&written) {
        let _ = write!(out, "{}=", String::from_utf8_lossy(name));
        for letter in String::from_utf8_lossy(value).chars() {
            let _ = match letter.is_control() {
                true => write!(out, "{}", letter.escape_default()),
                false => write!(out, "{letter}"),
            };
        }
        out.push(b'\n');
    }
}

/// Whether the body of a request was too long to be gathered: the sink says so, and the wait for a response
/// ends.
#[derive(Default)]
struct Refusal {
    refused: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Refusal {
    fn refuse(&self) {
        self.refused.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_refused(&self, cx: &Context<'_>) -> Poll<()> {
        if self.refused.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn trouble() -> Trouble {
        let detail = "the upstream speaks SCGI, which needs the length of a body in advance; of one without \
                      Content-Length at most 256 KiB are taken";
        Trouble::new(ErrorKind::RequestBodyTooLarge, detail)
    }
}

/// The sending direction.
pub(crate) struct ScgiSender<'a> {
    out: Http1Sender<'a>,
    /// What there is of a body of unknown length. Meanwhile the variables wait in `out`.
    gathered: Option<Vec<u8>>,
    refusal: &'a Refusal,
}

impl Sink for ScgiSender<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(gathered) = &mut self.gathered else { return self.out.data(bytes).await };
        if gathered.len() + bytes.len() > GATHERED_BYTES_MAX {
            self.refusal.refuse();
            return Err(WriteError::Broken(io::ErrorKind::FileTooLarge.into()));
        }
        gathered.extend_from_slice(bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        if self.gathered.is_some() { Ok(()) } else { self.out.flush().await }
    }

    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError> {
        if self.gathered.is_some() { Ok(0) } else { self.out.bulk(bulk).await }
    }

    async fn finish(&mut self, _trailers: &Fields) -> Result<(), WriteError> {
        if let Some(body) = self.gathered.take() {
            finish_head(self.out.out(), 0, body.len() as u64);
            self.out.data(&body).await?;
        }
        self.out.flush().await
    }
}

/// The receiving direction.
pub(crate) struct ScgiReceiver<'a> {
    incoming: Http1Receiver<'a>,
    refusal: &'a Refusal,
    core: &'a Core,
}

impl ResponseReader for ScgiReceiver<'_> {
    async fn head(
        &mut self,
        request: &Request,
        response: &mut Response,
        first_byte: Duration,
        upload: &Cell<Upload>,
    ) -> Result<(), NoHead> {
        let Self { incoming, refusal, core } = self;
        let parse = |incoming: &mut Http1Receiver<'_>| parse(incoming, core, request, response);
        let mut reading = pin!(read_head(incoming, first_byte, upload, parse));
        poll_fn(|cx| match refusal.poll_refused(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(NoHead { trouble: Refusal::trouble(), silent: true }))
            }
            Poll::Pending => reading.as_mut().poll(cx),
        })
        .await
    }

    fn begin_body(&mut self, response: &Response) {
        self.incoming.begin_response_body(response.body);
    }

    fn proves(&self, _key: &[u8], _response: &Response) -> bool {
        false // there is no 101
    }

    fn first_byte_at(&self) -> Option<Instant> {
        self.incoming.first_read
    }
}

/// Takes a head out of what has come; false: it is not whole yet.
fn parse(
    incoming: &mut Http1Receiver<'_>,
    core: &Core,
    request: &Request,
    response: &mut Response,
) -> Result<bool, NoHead> {
    const LIMITS: HeadLimits = HeadLimits { bytes: 60 * 1024, fields: 500, target: 0 };
    let (filled, mut memory) = (incoming.buffer.filled(), core.scratch.take());
    let read = scgi::parse_response(filled, &LIMITS, &request.method, &mut memory, response);
    core.scratch.give_back(memory);
    match read {
        Ok(Some(length)) => {
            incoming.buffer.consume(length);
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => {
            use ResponseError::Head;
            let kind = match error {
                scgi::ResponseError::Http(Head(HeadError::TooLong | HeadError::TooManyFields)) => {
                    ErrorKind::HttpResponseHeaderSectionSize
                }
                _ => ErrorKind::HttpProtocolError,
            };
            let detail = format!("the endpoint's response is malformed: {error}");
            Err(NoHead { trouble: Trouble::new(kind, detail), silent: false })
        }
    }
}

impl Source for ScgiReceiver<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        self.incoming.ready().await
    }

    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    fn is_drained(&self) -> bool {
        self.incoming.is_drained()
    }

    fn is_done(&self) -> bool {
        self.incoming.is_done()
    }

    fn trailers(&self) -> &Fields {
        self.incoming.trailers()
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        self.incoming.trailers_mut()
    }

    fn received(&self) -> u64 {
        self.incoming.received()
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        self.incoming.bulk()
    }

    fn moved_past(&mut self, count: u64) {
        self.incoming.moved_past(count);
    }

    fn read_by(&mut self, size: Size) {
        self.incoming.read_by(size);
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.incoming.poll_peer_gone(cx)
    }
}
