//! The start of an exchange's record: the client and what it asks for.

use std::sync::Arc;

use config::{ListenerId, RouteSettings, Serves};
use message::{Known, Method, Request};
use observe::{Direction, Record, Scope};

use crate::client::Client;
use crate::context::ClientContext;
use crate::snapshot::View;
use crate::trouble::Trouble;
use crate::work::Work;

/// Notes the client and the listener.
pub(crate) fn listener(context: &ClientContext<'_>, record: &mut Record) {
    place(context.client, context.view, context.requester.listener_id, record);
}

/// The same without an exchange.
pub(crate) fn place(client: &Client, view: &View, listener_id: ListenerId, record: &mut Record) {
    record.client = client.address.get();
    record.listener = listener_id;
    let config = view.config();
    let listener = config.listener(listener_id);
    if let Some(Serves::Forward(id)) = listener.map(|listener| &listener.serves) {
        record.direction = Direction::Forward;
        record.scope = Scope::Forward(*id);
        if let Some(forward) = config.forward(*id) {
            record.decided = forward.place;
        }
    }
}

/// Notes the parts of a refused request line as they are, for the log only.
pub(crate) fn request_line(record: &mut Record, arrived: &[u8]) {
    // Empty lines may come before it (RFC 9112, section 2.2).
    let arrived = arrived.trim_ascii_start();
    let end = arrived.iter().position(|&byte| matches!(byte, b'\r' | b'\n'));
    let mut parts =
        arrived.get(..end.unwrap_or(arrived.len())).unwrap_or_default().split(|&byte| byte == b' ');
    let Some(method) = parts.next().and_then(|method| Method::parse(method).ok()) else { return };
    let rest: Vec<&[u8]> = parts.filter(|part| !part.is_empty()).collect();
    let (target, version) = match rest.as_slice() {
        [target @ .., version] if version.starts_with(b"HTTP/") => (target, *version),
        target => (target, &b""[..]),
    };
    record.method = method;
    if version == b"HTTP/1.0" {
        record.version = message::Version::Http10;
    }
    record.target.set(target.join(&b' '));
}

/// Makes the id of a request, if it is to be in the log whatever becomes of the request.
pub(crate) fn wanted_id(request: &Request, settings: &RouteSettings) {
    if settings.request_id {
        rules::request_id(&request.id);
    }
}

/// Notes the id of the request, if something has asked for it.
pub(crate) fn request_id(work: &mut Work) {
    if let Some(id) = work.request.id.if_used() {
        work.record.request_id.set(id);
    }
}

pub(crate) fn begin(context: &ClientContext<'_>, work: &mut Work) {
    let Work { request, record, .. } = work;
    listener(context, record);
    record.method = request.method;
    record.version = request.version;
    if !context.view.shared.logs.is_on() {
        return; // the rest is for the log only
    }
    record.tls = context.client.tls.as_ref().map(|facts| Arc::clone(&facts.info));
    let target = &request.target;
    if target.form() == message::Form::Authority {
        record.target.set(target.authority());
    } else {
        record.target.set(target.scheme().as_str());
        record.target.push("://");
        record.target.push(target.authority());
        record.target.push(target.as_it_came());
    }
    if let Some(value) = request.fields.get(Known::UserAgent) {
        record.user_agent.set(value);
    }
    if let Some(value) = request.fields.get(Known::Referer) {
        record.referer.set(value);
    }
}

/// Keeps the fields of the request that the log of its scope shows. Called before they are edited.
pub(crate) fn request_fields(view: &View, request: &Request, record: &mut Record) {
    if let Some((names, _)) = view.shared.logs.kept_fields(record.scope) {
        record.keep_request_fields(names, &request.fields);
    }
}

/// Keeps the fields of the response that the log shows, once the response is over.
pub(crate) fn response_fields(view: &View, work: &mut Work) {
    let Work { response, record, .. } = work;
    if let Some((_, names)) = view.shared.logs.kept_fields(record.scope) {
        record.keep_response_fields(names, &response.fields);
    }
}

/// Notes a request that is refused without a response.
pub(crate) fn refused(context: &ClientContext<'_>, work: &mut Work, trouble: Trouble) {
    let record = &mut work.record;
    listener(context, record);
    record.tls = context.client.tls.as_ref().map(|facts| Arc::clone(&facts.info));
    record.status = trouble.status();
    record.fail(trouble.kind, trouble.detail);
}
