//! The sending direction of a stream.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use message::{Fields, Request, Response};
use net::{Alarm, Size, Wheel};

use super::guarded::{GuardState, UnderlyingConnection};
use super::{fields, response};
use crate::account::{Account, Charge, Resource};
use crate::body::{Bulk, DeliverySample, Patience, PumpError, Reset, Sink, WriteError};
use crate::downstream::Reply;

/// Bytes that are collected before they are handed to `h2`.
const GATHERED_BYTES: usize = 16 * 1024;

/// What `h2` may hold of whole responses on one connection, beyond their windows.
const BACKLOG_BYTES_MAX: u64 = 64 * 1024;

/// The share of a client's limits that its connection may use.
pub(crate) struct ClientBudget {
    /// `None`: the client is not counted.
    pub(crate) account: Option<Rc<Account>>,
    /// The most bytes that may be read ahead for all of the client's streams.
    pub(crate) bytes: u64,
    pub(crate) guard_state: Rc<GuardState>,
}

/// The sending half of a stream.
pub(crate) enum SendHalf {
    /// Nothing: the stream has not begun.
    Idle,
    /// A response, from its head on.
    Answer(SendResponse<Bytes>),
    /// Data and trailers.
    Data(SendStream<Bytes>),
}

impl SendHalf {
    /// Ready once the peer has reset the stream, or the connection has ended.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Idle => Poll::Pending,
            Self::Answer(answer) => answer.poll_reset(cx).map(drop),
            Self::Data(data) => data.poll_reset(cx).map(drop),
        }
    }

    /// Ends the stream at once.
    pub(crate) fn reset(&mut self, reset: Reset) {
        let reason = match reset {
            Reset::Cancelled => Reason::CANCEL,
            Reset::EnhanceYourCalm => Reason::ENHANCE_YOUR_CALM,
            Reset::InadequateSecurity => Reason::INADEQUATE_SECURITY,
            Reset::Http11Required => Reason::HTTP_1_1_REQUIRED,
            Reset::ConnectError => Reason::CONNECT_ERROR,
            Reset::Protocol => Reason::PROTOCOL_ERROR,
            Reset::Internal => Reason::INTERNAL_ERROR,
        };
        match self {
            Self::Idle => {}
            Self::Answer(answer) => answer.send_reset(reason),
            Self::Data(data) => data.send_reset(reason),
        }
    }

    /// How many bytes may be sent now, at least one. `None`: the stream has ended.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        let Self::Data(data) = self else { return Poll::Ready(None) };
        data.reserve_capacity(wanted);
        loop {
            let capacity = data.capacity();
            if capacity > 0 {
                return Poll::Ready(Some(capacity));
            }
            match ready!(data.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

/// Sends a message on a stream.
pub(crate) struct Http2Sender<'a> {
    half: &'a RefCell<SendHalf>,
    /// Towards a client: its limits.
    budget: Option<Rc<ClientBudget>>,
    /// The charge for what is read ahead for this stream.
    ahead: Option<Charge>,
    /// The head of the response, until it is known whether a body follows.
    head: Option<http::Response<()>>,
    begun: bool,
    /// Whether the body is suppressed (the answer to HEAD).
    suppressed: bool,
    waiting: BytesMut,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
    pub(crate) patience: Patience<'a>,
    /// The connection below; `None` where no time-out needs it.
    underlying: Option<UnderlyingConnection<'a>>,
    sent: u64,
    raw: u64,
}

impl<'a> Http2Sender<'a> {
    pub(crate) fn new(
        half: &'a RefCell<SendHalf>,
        wheel: &'a Wheel,
        alarm: &'a Alarm,
        patience: Patience<'a>,
        underlying: Option<UnderlyingConnection<'a>>,
    ) -> Self {
        Self {
            half,
            budget: None,
            ahead: None,
            head: None,
            begun: false,
            suppressed: false,
            waiting: BytesMut::new(),
            wheel,
            alarm,
            patience,
            underlying,
            sent: 0,
            raw: 0,
        }
    }

    /// The same towards a client.
    pub(crate) fn shared(self, budget: Rc<ClientBudget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Sends the head if that has not been done; `end`: nothing follows.
    fn begin(&mut self, end: bool) -> Result<(), WriteError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let mut half = self.half.borrow_mut();
        if let SendHalf::Answer(answer) = &mut *half {
            let data = answer.send_response(head, end).map_err(broken)?;
            *half = SendHalf::Data(data);
        }
        Ok(())
    }

    /// Hands over what was collected; `end`: nothing follows.
    async fn push(&mut self, end: bool) -> Result<(), WriteError> {
        while !self.waiting.is_empty() {
            let Self { half, waiting, wheel, alarm, patience, underlying, raw, .. } = self;
            let wanted = waiting.len();
            let backlog = self.budget.as_ref().map_or(0, |budget| budget.guard_state.backlog());
            if end
                && self.sent == wanted as u64
                && wanted <= GATHERED_BYTES
                && backlog <= BACKLOG_BYTES_MAX
            {
                // A small response is handed over whole, without regard to the window, as that
                // costs less than asking for capacity. What the client does not take stays in `h2`,
                // so this is only done while the backlog is small.
                let piece = std::mem::take(waiting).freeze();
                self.raw += piece.len() as u64;
                return self.send(piece, true);
            }
            let look =
                || underlying.map_or(DeliverySample::none(), |underlying| underlying.sample());
            let capacity = patience
                .writing(wheel, alarm, *raw, look, |cx| half.borrow_mut().poll_capacity(cx, wanted))
                .await?
                .ok_or_else(gone)?;
            let piece = waiting.split_to(capacity.min(wanted)).freeze();
            self.raw += piece.len() as u64;
            self.send(piece, end && self.waiting.is_empty())?;
        }
        Ok(())
    }

    /// Hands over bytes directly, as far as there is capacity: if the client takes nothing, they
    /// stay where they are.
    async fn pass(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        self.begin(false)?;
        while !bytes.is_empty() {
            let Self { half, wheel, alarm, patience, underlying, raw, .. } = self;
            let look =
                || underlying.map_or(DeliverySample::none(), |underlying| underlying.sample());
            let wanted = bytes.len();
            let capacity = patience
                .writing(wheel, alarm, *raw, look, |cx| half.borrow_mut().poll_capacity(cx, wanted))
                .await?
                .ok_or_else(gone)?;
            let (piece, rest) = bytes.split_at(capacity.min(wanted));
            self.raw += piece.len() as u64;
            self.send(Bytes::copy_from_slice(piece), false)?;
            bytes = rest;
        }
        Ok(())
    }

    fn send(&mut self, piece: Bytes, end: bool) -> Result<(), WriteError> {
        if let Some(budget) = &self.budget {
            budget.guard_state.handed.set(budget.guard_state.handed.get() + piece.len() as u64);
        }
        match &mut *self.half.borrow_mut() {
            SendHalf::Data(data) => data.send_data(piece, end).map_err(broken),
            SendHalf::Answer(_) | SendHalf::Idle => Err(gone()),
        }
    }
}

fn broken(error: h2::Error) -> WriteError {
    WriteError::Broken(io::Error::other(error))
}

fn gone() -> WriteError {
    WriteError::Broken(io::ErrorKind::BrokenPipe.into())
}

impl Sink for Http2Sender<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.suppressed {
            return Ok(());
        }
        self.sent += bytes.len() as u64;
        // Large pieces are sent directly; small ones are collected.
        if bytes.len() < GATHERED_BYTES {
            self.waiting.extend_from_slice(bytes);
            return if self.waiting.len() >= GATHERED_BYTES { self.flush().await } else { Ok(()) };
        }
        self.flush().await?;
        self.pass(bytes).await
    }

    fn room(&mut self) -> Size {
        let Some(ClientBudget { account: Some(account), bytes, .. }) = self.budget.as_deref()
        else {
            return Size::Large;
        };
        if self.ahead.is_none() {
            self.ahead = account.charge(Resource::Bytes, Size::Large.bytes() as u64, *bytes);
        }
        if self.ahead.is_some() { Size::Large } else { Size::Small }
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.begin(false)?;
        self.push(false).await
    }

    async fn bulk(&mut self, _bulk: Bulk<'_>) -> Result<u64, PumpError> {
        Ok(0)
    }

    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError> {
        let trailers = if self.suppressed { None } else { fields::trailers(trailers) };
        if self.waiting.is_empty() && trailers.is_none() && self.head.is_some() {
            return self.begin(true);
        }
        self.begin(false)?;
        if let Some(trailers) = trailers {
            self.push(false).await?;
            return match &mut *self.half.borrow_mut() {
                SendHalf::Data(data) => data.send_trailers(trailers).map_err(broken),
                SendHalf::Answer(_) | SendHalf::Idle => Err(gone()),
            };
        }
        if self.waiting.is_empty() {
            return self.send(Bytes::new(), true);
        }
        self.push(true).await
    }
}

impl Reply for Http2Sender<'_> {
    async fn interim(&mut self, _request: &Request, response: &Response) -> Result<(), WriteError> {
        let head = response::interim(response);
        match &mut *self.half.borrow_mut() {
            SendHalf::Answer(answer) => answer.send_informational(head).map_err(broken),
            SendHalf::Data(_) | SendHalf::Idle => Ok(()),
        }
    }

    fn head(&mut self, request: &Request, response: &Response, _keep: bool, via: Option<&str>) {
        let (head, suppressed) = response::head(request, response, via);
        self.raw += response::size(&head);
        self.head = Some(head);
        self.suppressed = suppressed;
        self.begun = true;
    }

    fn switch(&mut self, _request: &Request, response: &Response) {
        let head = response::switch(response);
        self.raw += response::size(&head);
        self.head = Some(head);
        self.begun = true;
    }

    fn break_off(&mut self, reason: Reset) {
        self.half.borrow_mut().reset(reason);
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn sent(&self) -> (u64, u64) {
        (self.sent, self.raw)
    }
}
