//! A connection to a TLS listener, from its first byte to the end of the handshake.
//!
//! The ClientHello names the site, whose context does the handshake. The result is a stream with a TLS layer
//! and the facts of its TLS, and is served like any other. The memory of the handshake has been freed by then.
//! Not here: TLS itself (the crate `tls`), connections that are passed through (`passthrough`).

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Instant;

use config::{Listener, ListenerId, ProxyProtocol, Serves, SiteId, SiteTls};
use net::{BUFFER_BYTES_LARGE, Buffer, Size};
use observe::{Direction, HandshakeFailure, Record, Refusal, Scope};
use tls::{Alpn, ClientHello, HelloError, TlsError, TlsErrorKind};

use super::connection;
use super::farewell::{self, refused};
use super::http2;
use super::passthrough::{self, Passthrough};
use crate::admission::site_asked_for;
use crate::body::unless_zero;
use crate::client::Client;
use crate::core::Core;
use crate::secure::{
    HandshakeError, INTERNAL_ERROR, TlsFacts, alert, handshake, send_now, with_early_tls,
};
use crate::snapshot::View;

/// The result of a handshake, or of a ClientHello that needs none.
#[allow(clippy::large_enum_variant)] // moved once per connection; a box would cost an allocation for each
enum TlsOutcome {
    Secured(Box<Client>),
    PassThrough(Box<Passthrough>),
}

/// Why a client's connection is closed before anything was served, and the reply to it.
struct Rejection {
    client: Client,
    why: HandshakeFailure,
    detail: String,
    answer: RejectionReply,
}

/// The reply to a rejected client.
enum RejectionReply {
    /// Nothing, or it was sent already.
    Nothing,
    /// An alert in clear (RFC 8446, section 6).
    Alert(u8),
    /// An alert, as these bytes.
    Bytes(Vec<u8>),
    /// An HTTP response, for a client that speaks HTTP without TLS.
    Plain,
}

/// RFC 6066, section 3.
const UNRECOGNIZED_NAME: u8 = 112;

/// What the log says of a client that sends a request in clear.
const HTTP_ON_TLS_PORT: &str = "clear bytes on a TLS port: a request without TLS";

/// Serves a client's connection that begins with TLS.
pub(crate) async fn serve(core: Rc<Core>, client: Client) {
    // In a box, so that an established connection does not hold the memory of its handshake.
    let accepted = Box::pin(accept(&core, client)).await;
    match accepted {
        Some(TlsOutcome::Secured(client)) => {
            let is_http2 = client.tls.as_ref().is_some_and(|tls| tls.info.alpn == Some(Alpn::H2));
            let client = Rc::new(*client);
            match is_http2 {
                true => Box::pin(http2::serve(&core, &client, None)).await,
                false => connection::run(core, client).await,
            }
        }
        Some(TlsOutcome::PassThrough(passage)) => Box::pin(passthrough::run(&core, *passage)).await,
        None => {}
    }
}

async fn accept(core: &Rc<Core>, client: Client) -> Option<TlsOutcome> {
    let view = core.view();
    let id = client.listening.id.get()?;
    let listener = view.config().listener(id)?;
    client.alarm.set(unless_zero(listener.timeouts.head));
    let began = Instant::now();
    let (name, accepted) = match read_hello(core, client, listener).await? {
        Ok((client, hello, buffer)) => {
            let accepted = open(core, client, &view, id, &hello, buffer).await;
            (hello.name, accepted)
        }
        Err(rejected) => (None, Err(rejected)),
    };
    match accepted {
        Ok(accepted) => accepted,
        Err(rejected) => {
            let record = record_of(&view, id, name.as_deref(), began);
            reject(core, &view, record, *rejected).await;
            None
        }
    }
}

type Hello = (Client, ClientHello, Buffer);

/// Reads the ClientHello; `None` if the client left without a byte, or was refused.
async fn read_hello(
    core: &Core,
    client: Client,
    listener: &Listener,
) -> Option<Result<Hello, Box<Rejection>>> {
    let mut buffer = core.buffers.buffer(Size::Small);
    let reject = |client, why, detail: &dyn std::fmt::Display, answer| {
        Some(Err(Box::new(Rejection { client, why, detail: detail.to_string(), answer })))
    };
    loop {
        if listener.proxy_protocol == ProxyProtocol::Required && !client.proxy_header_read.get() {
            match wire::proxy_protocol::parse(buffer.filled()) {
                Ok(Some((length, header))) => {
                    buffer.consume(length);
                    if let Err(refusal) = client.apply_proxy_header(core, &header) {
                        refused(core, &client, refusal);
                        return None;
                    }
                }
                Ok(None) => {}
                Err(_) => {
                    refused(core, &client, Refusal::ProxyProtocol);
                    return None;
                }
            }
        }
        if client.proxy_header_read.get() || listener.proxy_protocol != ProxyProtocol::Required {
            match ClientHello::parse(buffer.filled()) {
                Ok(Some(hello)) => return Some(Ok((client, hello, buffer))),
                Ok(None) => {}
                Err(error @ HelloError::NotTls) => {
                    let is_http = buffer.filled().first().is_some_and(u8::is_ascii_uppercase);
                    let (detail, answer) = match is_http {
                        true => (HTTP_ON_TLS_PORT.to_owned(), RejectionReply::Plain),
                        false => {
                            (format!("clear bytes on a TLS port: {error}"), RejectionReply::Nothing)
                        }
                    };
                    return reject(client, HandshakeFailure::NotTls, &detail, answer);
                }
                Err(error) => {
                    let answer =
                        error.alert().map_or(RejectionReply::Nothing, RejectionReply::Alert);
                    return reject(client, HandshakeFailure::Protocol, &error, answer);
                }
            }
        }
        if buffer.spare() == 0 {
            if buffer.capacity() >= BUFFER_BYTES_LARGE {
                let error = HelloError::TooLong;
                let answer = error.alert().map_or(RejectionReply::Nothing, RejectionReply::Alert);
                return reject(client, HandshakeFailure::Protocol, &error, answer);
            }
            buffer.grow(BUFFER_BYTES_LARGE);
        }
        let filled = poll_fn(|cx| match buffer.poll_fill(cx, &client.stream) {
            Poll::Ready(filled) => Poll::Ready(Ok(filled)),
            Poll::Pending => client.alarm.poll_fired(cx).map(|()| Err(HandshakeError::TimedOut)),
        });
        match filled.await {
            Ok(Ok(count)) if count > 0 => {}
            // Probes of load balancers connect and leave without a byte.
            Ok(_) if buffer.is_empty() => return None,
            Ok(_) => {
                return reject(
                    client,
                    HandshakeFailure::Closed,
                    &HandshakeError::Closed,
                    RejectionReply::Nothing,
                );
            }
            Err(error) => {
                return reject(client, HandshakeFailure::TimedOut, &error, RejectionReply::Nothing);
            }
        }
    }
}

/// Finds the site of the ClientHello, and does the handshake.
async fn open(
    core: &Rc<Core>,
    client: Client,
    view: &Rc<View>,
    id: ListenerId,
    hello: &ClientHello,
    mut buffer: Buffer,
) -> Result<Option<TlsOutcome>, Box<Rejection>> {
    let reject = |client, why, detail: String, alert| {
        Err(Box::new(Rejection { client, why, detail, answer: RejectionReply::Alert(alert) }))
    };
    let context = match hello_target(view, id, hello) {
        Some(HelloTarget::Here(context)) => context,
        Some(HelloTarget::PassThrough(site)) => {
            client.alarm.clear();
            return Ok(Some(TlsOutcome::PassThrough(Box::new(Passthrough::new(
                client,
                Rc::clone(view),
                id,
                site,
                hello,
                buffer,
            )))));
        }
        Some(HelloTarget::Nowhere) => {
            let detail = "the listener has no TLS settings for this client".to_owned();
            return reject(client, HandshakeFailure::Local, detail, INTERNAL_ERROR);
        }
        None => {
            let name = hello.name.as_deref();
            let detail = name.map_or_else(
                || "the client asks for no name, and there is no default site".to_owned(),
                |name| format!("no site of this listener has the name {name}"),
            );
            return reject(client, HandshakeFailure::NoSite, detail, UNRECOGNIZED_NAME);
        }
    };
    let mut session = match context.session(hello, buffer.filled()) {
        Ok(session) => session,
        Err(error) => {
            let answer = RejectionReply::Bytes(error.farewell().to_vec());
            let (why, detail) = (result_of(&error), error.to_string());
            return Err(Box::new(Rejection { client, why, detail, answer }));
        }
    };
    buffer.clear();
    buffer.release();
    if let Err(error) = handshake(&client.stream, &mut session, &client.alarm).await {
        let why = match &error {
            HandshakeError::Tls(error) => result_of(error),
            HandshakeError::Broken(_) | HandshakeError::Closed => HandshakeFailure::Closed,
            HandshakeError::TimedOut => HandshakeFailure::TimedOut,
        };
        let (detail, answer) = (error.to_string(), RejectionReply::Nothing);
        return Err(Box::new(Rejection { client, why, detail, answer }));
    }
    client.alarm.clear();
    let info = session.info();
    core.metrics.handshake_done(info.version, info.resumed);
    if info.alpn == Some(Alpn::AcmeChallenge) {
        return Ok(None); // RFC 8737, section 3: nothing is said over such a connection
    }
    let early = Arc::new(AtomicBool::new(session.is_early()));
    let facts = Rc::new(TlsFacts::new(&session, context, Arc::clone(&early)));
    let client = client.secured(|stream| with_early_tls(stream, session, early), facts);
    Ok(Some(TlsOutcome::Secured(Box::new(client))))
}

fn result_of(error: &TlsError) -> HandshakeFailure {
    match error.kind() {
        TlsErrorKind::Certificate => HandshakeFailure::Certificate,
        TlsErrorKind::Protocol => HandshakeFailure::Protocol,
        TlsErrorKind::Alert(_) => HandshakeFailure::Alert,
        TlsErrorKind::NotTls => HandshakeFailure::NotTls,
        TlsErrorKind::Local => HandshakeFailure::Local,
    }
}

/// What is done with a TLS connection.
enum HelloTarget<'v> {
    /// TLS is terminated here.
    Here(&'v Arc<tls::Server>),
    /// It is passed through to the upstream of this site.
    PassThrough(SiteId),
    /// There should be a context for it, but there is none.
    Nowhere,
}

fn hello_target<'v>(
    view: &'v View,
    id: ListenerId,
    hello: &ClientHello,
) -> Option<HelloTarget<'v>> {
    let config = view.config();
    let contexts = &view.shared.contexts;
    let listener = config.listener(id)?;
    let context = match &listener.serves {
        Serves::Sites(_) => {
            let site = site_asked_for(view, id, hello.name.as_deref())?;
            let tls = config.site(site)?.tls.as_ref();
            if tls == Some(&SiteTls::Passthrough) {
                return Some(HelloTarget::PassThrough(site));
            }
            contexts.sites.get(site.index())
        }
        Serves::Forward(forward) => contexts.forwards.get(forward.index()),
    };
    let context = context.and_then(Option::as_ref);
    Some(context.map_or(HelloTarget::Nowhere, HelloTarget::Here))
}

/// The record of a connection without a TLS handshake.
fn record_of(view: &View, id: ListenerId, name: Option<&str>, began: Instant) -> Record {
    let mut record = Record::new(began);
    record.listener = id;
    record.decided = view.config().listener(id).map(|listener| listener.place).unwrap_or_default();
    match view.config().listener(id).map(|listener| &listener.serves) {
        Some(Serves::Forward(forward)) => {
            (record.direction, record.scope) = (Direction::Forward, Scope::Forward(*forward));
        }
        Some(Serves::Sites(_)) if name.is_some() => {
            let site = site_asked_for(view, id, name);
            record.scope = site.map_or(Scope::None, |site| Scope::Site(site, None));
        }
        _ => {}
    }
    if let Some(name) = name {
        record.tls = Some(Arc::new(tls::Info { name: Some(name.into()), ..tls::Info::default() }));
    }
    record
}

async fn reject(core: &Core, view: &View, mut record: Record, rejected: Rejection) {
    let Rejection { client, why, detail, answer } = rejected;
    core.metrics.handshake_failed(why);
    record.client = client.address.get();
    record.status = if matches!(answer, RejectionReply::Plain) { 400 } else { 0 };
    record.note(why.error(), &detail);
    record.finish(Instant::now());
    // This is no request: it is counted among the handshakes.
    core.access.borrow_mut().write(&record, &view.shared.names, &view.shared.logs);
    let (address, listener) = (client.address.get(), client.listening.address);
    if why == HandshakeFailure::Local {
        observe::log_limited!(WARN, per_second = 1, %listener, %detail, "clients get no TLS connection");
    } else {
        let why = why.name();
        observe::log_limited!(DEBUG, client = %address, %listener, why, %detail, "no TLS connection");
    }
    match answer {
        RejectionReply::Nothing => {}
        RejectionReply::Alert(description) => alert(&client.stream, description).await,
        RejectionReply::Bytes(bytes) => send_now(&client.stream, &bytes).await,
        RejectionReply::Plain => {
            const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
                Content-Type: text/plain; charset=utf-8\r\nContent-Length: 82\r\n\
                Cache-Control: no-store\r\nConnection: close\r\n\
                Proxy-Status: bothways; error=http_request_error\r\n\r\n\
                a request without TLS came to a port that speaks TLS: use https:// in the address\n";
            farewell::send_and_close(client, ANSWER).await;
        }
    }
}
