//! Responses of the proxy itself: errors, redirects, fixed texts, files.
//!
//! An error says in words what went wrong, as HTML or JSON depending on what the client accepts,
//! and names the kind in `Proxy-Status` (RFC 9209). It never reveals internals: addresses of
//! endpoints appear in the log only.

use std::io::Write;
use std::time::Duration;

use config::{Action, FileServing, Page, Route, RouteSettings, SiteId};
use files::{Body, Directories, FileError, FileRequest};
use message::{BodyLength, Known, Method, reason_phrase};
use observe::{Blame, ErrorKind, Record, Scope};
use rules::{Facts, RouteRequest};

use crate::body::{PumpError, Sink, Source, WriteError};
use crate::context::{ClientContext, Context};
use crate::deadline::{self, Deadline};
use crate::downstream::{Downstream, Reply};
use crate::ending::{Ending, gone};
use crate::page;
use crate::plan::Plan;
use crate::respond::{ResponseOrigin, in_time, respond};
use crate::source::{BytesSource, FileSource};
use crate::trouble::Trouble;
use crate::work::Work;

/// Sends the response in `work.response` with the body in `work.body`.
async fn send_body<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    origin: ResponseOrigin<'_>,
) -> Ending {
    let body = std::mem::take(&mut work.body);
    let ending = send(context, work, down, origin, BytesSource::new(&body)).await;
    work.body = body;
    ending
}

/// Sends the response in `work.response` with this body, and discards the rest of the request.
pub(crate) async fn send<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    origin: ResponseOrigin<'_>,
    mut source: impl Source,
) -> Ending {
    let keep = settle_body(down) && context.may_keep();
    let Work { request, response, record, .. } = work;
    record.status = response.status;
    let (_, reply) = down.split();
    if reply.has_begun() {
        return Ending::Broken;
    }
    let limit = match origin {
        ResponseOrigin::Route(plan) => plan.settings.timeouts.request,
        ResponseOrigin::Endpoint(_) | ResponseOrigin::Proxy(_) => Duration::ZERO,
    };
    let deadline = Deadline::new(context, record.started, limit, None, request);
    let by = (origin, record.scope);
    let sending = respond(context, (request, response), by, |_| {}, keep, &mut source, reply);
    ending_of(in_time(deadline.as_ref(), sending).await, keep, record)
}

/// What the end of a response means for the client's connection. `keep`: the proxy has no reason to
/// close it.
pub(crate) fn ending_of(
    sent: Result<Result<(), PumpError>, Trouble>,
    keep: bool,
    record: &mut Record,
) -> Ending {
    match sent {
        Ok(Ok(())) if keep => return Ending::Kept,
        Ok(Ok(())) => return Ending::Closed,
        Ok(Err(PumpError::Writing(WriteError::Broken(_)))) => return gone(record),
        Ok(Err(PumpError::Writing(error))) => {
            let detail = format_args!("the response could not be sent: {error}");
            record.fail(ErrorKind::ClientTooSlow, detail);
        }
        Ok(Err(PumpError::Reading(error))) => {
            let detail = format_args!("the body could not be read to its end: {error}");
            record.fail(ErrorKind::ProxyInternalError, detail);
        }
        Err(trouble) => record.fail(trouble.kind, trouble.detail),
    }
    Ending::Broken
}

/// Discards the rest of the request's body if it is buffered; false if more is still to come, so
/// that the connection cannot be reused.
fn settle_body<D: Downstream>(down: &mut D) -> bool {
    if down.buffered_body().is_some() {
        down.skip_buffered_body();
    }
    down.split().0.is_done()
}

/// Answers with an error.
pub(crate) async fn trouble<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    settings: Option<&RouteSettings>,
    trouble: Trouble,
) -> Ending {
    let route = route_of(context, work.record.scope);
    // In a box, as every exchange would hold its memory.
    let plan = settings.map(|settings| Box::new(own_plan(context, settings, route)));
    write_trouble(work, settings, plan.as_deref(), &trouble);
    drop(trouble);
    send_body(context, work, down, ResponseOrigin::Proxy(plan.as_deref())).await
}

/// Writes the answer with an error.
fn write_trouble(
    work: &mut Work,
    settings: Option<&RouteSettings>,
    plan: Option<&Plan<'_>>,
    trouble: &Trouble,
) {
    let Work { request, response, record, body, .. } = work;
    record.status = trouble.status();
    record.fail(trouble.kind, &trouble.detail);
    body.clear();
    if trouble.kind == ErrorKind::RequestTimeout && deadline::is_grpc(request) {
        return write_deadline_exceeded(response, trouble);
    }
    let status = record.status;
    response.clear();
    response.status = status;
    let public_detail = public_detail(trouble);
    let page = settings.and_then(|settings| page_of(settings, trouble.kind, status));
    let content_type = if let (Some(page), Some(plan)) = (page, plan) {
        page::write(page, status, &plan.facts(request), body);
        &*page.content_type
    } else if prefers_json(request) {
        write_json(body, status, trouble.kind, public_detail);
        "application/json"
    } else {
        write_html(body, status, public_detail);
        "text/html; charset=utf-8"
    };
    response.body = BodyLength::Exact(body.len() as u64);
    let fields = &mut response.fields;
    fields.push_known(Known::ContentType, content_type.as_bytes());
    fields.push_known(Known::CacheControl, b"no-store");
    let mut line = Vec::with_capacity(96);
    write_proxy_status(&mut line, trouble, public_detail);
    fields.push_known(Known::ProxyStatus, &line);
    if matches!(status, 429 | 503) {
        let seconds = trouble.retry_after_seconds();
        fields.push_known(Known::RetryAfter, itoa::Buffer::new().format(seconds).as_bytes());
    }
    if let Some(challenge) = trouble.challenge() {
        if status == 407 {
            fields.push_for_this_hop(Known::ProxyAuthenticate, challenge.as_bytes());
        } else {
            fields.push(b"WWW-Authenticate", challenge.as_bytes());
        }
    }
    if let Some(methods) = trouble.allow() {
        fields.push(b"Allow", methods.as_bytes());
    }
    // After a malformed or ambiguous message it is not certain where the next one begins.
    request.keep_alive &= status != 400;
}

/// The plan for a response of ours with these settings.
fn own_plan<'a>(
    context: &'a Context<'_>,
    settings: &'a RouteSettings,
    route: Option<&'a Route>,
) -> Plan<'a> {
    Plan::own(settings, route, context.client_facts(), context.maps())
}

/// The page for an error of ours.
fn page_of(settings: &RouteSettings, kind: ErrorKind, status: u16) -> Option<&Page> {
    let closed = settings.maintenance.as_ref().and_then(|maintenance| maintenance.page.as_ref());
    if let Some(page) = closed.filter(|_| kind == ErrorKind::Maintenance) {
        return Some(page);
    }
    let mut pages = settings.error_pages.iter().filter(|page| page.from.has_proxy());
    pages.find(|page| page.status == status).map(|page| &page.page)
}

/// The route of an exchange, if one took it.
fn route_of<'a>(context: &Context<'a>, scope: Scope) -> Option<&'a Route> {
    match scope {
        Scope::Site(site, Some(route)) => context.view.config().route(site, route),
        Scope::Site(_, None) | Scope::Forward(_) | Scope::None => None,
    }
}

/// Answers a request for which the snapshot lacks an entry that its own tables name: a bug.
pub(crate) async fn missing<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    what: &'static str,
) -> Ending {
    down.begin_body(&work.request, None);
    observe::log_limited!(ERROR, what, "the snapshot lacks what its tables name");
    let detail = format!("the configuration has no such {what}");
    let internal = Trouble::new(ErrorKind::ProxyInternalError, detail);
    trouble(context, work, down, None, internal).await
}

/// The answer to a gRPC call whose deadline has passed ("gRPC over HTTP2", Responses): a head alone,
/// with the status DEADLINE_EXCEEDED.
fn write_deadline_exceeded(response: &mut message::Response, trouble: &Trouble) {
    response.clear();
    response.status = 200;
    response.body = BodyLength::None;
    response.fields.push_known(Known::ContentType, b"application/grpc");
    response.fields.push(b"grpc-status", b"4");
    response.fields.push(b"grpc-message", trouble.detail.as_bytes());
}

/// What the client reads: all about its own request, little about the servers behind us.
fn public_detail(trouble: &Trouble) -> &str {
    if let Some(words) = trouble.public() {
        return words;
    }
    match trouble.kind.blame() {
        Blame::Client | Blame::Policy => &trouble.detail,
        Blame::Us => "the proxy cannot serve this request",
        Blame::Upstream => match trouble.kind {
            ErrorKind::DnsError | ErrorKind::DnsTimeout => "the server's name could not be found",
            ErrorKind::HttpResponseTimeout => "the server did not answer in time",
            ErrorKind::ConnectionTimeout => "the server could not be reached in time",
            ErrorKind::ConnectionRefused
            | ErrorKind::DestinationUnavailable
            | ErrorKind::DestinationIpUnroutable => "the server cannot be reached",
            ErrorKind::TlsCertificateError
            | ErrorKind::TlsProtocolError
            | ErrorKind::TlsAlertReceived => "there is no secure connection to the server",
            _ => "the server's answer was not usable",
        },
    }
}

/// RFC 9209, section 2: which proxy reports, and what kind of error it is.
fn write_proxy_status(out: &mut Vec<u8>, trouble: &Trouble, public_detail: &str) {
    out.extend_from_slice(b"bothways; error=");
    out.extend_from_slice(trouble.kind.proxy_status_token().as_bytes());
    out.extend_from_slice(b"; details=\"");
    // RFC 8941, section 3.3.3: printable ASCII, with backslash and quote escaped.
    for byte in public_detail.bytes().filter(|byte| (b' '..=b'~').contains(byte)) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// True if JSON is preferred: it is named in Accept, and HTML is not.
fn prefers_json(request: &message::Request) -> bool {
    let names = |part: &str| {
        request.fields.get_all(Known::Accept).any(|value| {
            value.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
        })
    };
    names("json") && !names("text/html")
}

// Writing to a Vec does not fail, so the results below are ignored.

fn write_json(out: &mut Vec<u8>, status: u16, kind: ErrorKind, public_detail: &str) {
    let _ = write!(out, "{{\"status\":{status},\"title\":\"{}\",", reason_phrase(status));
    let _ = write!(out, "\"error\":\"{}\",\"detail\":\"", kind.proxy_status_token());
    for character in public_detail.chars() {
        match character {
            '"' | '\\' => {
                let _ = write!(out, "\\{character}");
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "{c}");
            }
        }
    }
    out.extend_from_slice(b"\"}\n");
}

fn write_html(out: &mut Vec<u8>, status: u16, public_detail: &str) {
    let phrase = reason_phrase(status);
    let _ = write!(
        out,
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{status} {phrase}</title>\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:15vh auto;padding:0 1em}}\
         h1{{font-size:1.4em}}</style>\n<h1>{status} {phrase}</h1>\n<p>"
    );
    for character in public_detail.chars() {
        let _ = match character {
            '<' => write!(out, "&lt;"),
            '>' => write!(out, "&gt;"),
            '&' => write!(out, "&amp;"),
            c => write!(out, "{c}"),
        };
    }
    out.extend_from_slice(b".</p>\n");
}

/// Answers a request for which its site has no route: 404, or 405 with the methods that are
/// allowed.
pub(crate) async fn no_route<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    settings: &RouteSettings,
    other_methods: Option<SiteId>,
) -> Ending {
    let Some(site) = other_methods else {
        let detail = "no route of this site has the path";
        let not_found = Trouble::new(ErrorKind::DestinationNotFound, detail);
        return trouble(context, work, down, Some(settings), not_found).await;
    };
    let mut allowed = String::new();
    let rules = &context.view.shared.rules;
    let asked = RouteRequest::of(&work.request, context.requester.address);
    rules.allowed_methods(site, &asked, work.request.target.path(), &mut allowed);
    let detail = "no route of this site has the method for this path";
    let not_allowed = Trouble::new(ErrorKind::DestinationNotFound, detail);
    let not_allowed = not_allowed.with_status(405).with_allow(&allowed);
    trouble(context, work, down, Some(settings), not_allowed).await
}

/// Answers a request whose rewritten path would leave the directory that the template wrote.
pub(crate) async fn leads_out<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    settings: &RouteSettings,
) -> Ending {
    let leads_out = Trouble::new(ErrorKind::HttpRequestError, rules::PathTraversal::DETAIL);
    trouble(context, work, down, Some(settings), leads_out).await
}

/// Answers a TRACE or OPTIONS that may go no further. TRACE is refused: it would show the client
/// the fields that proxies in front of us have added.
pub(crate) async fn last_hop<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    settings: Option<&RouteSettings>,
) -> Ending {
    down.begin_body(&work.request, None);
    let Work { request, response, body, .. } = &mut *work;
    response.clear();
    body.clear();
    response.status = if request.method == Method::Options { 200 } else { 405 };
    response.fields.push(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.body = BodyLength::Exact(0);
    let plan = settings.map(|settings| Box::new(own_plan(context, settings, None)));
    send_body(context, work, down, ResponseOrigin::Proxy(plan.as_deref())).await
}

/// Answers as the route's action says: with a redirect or a fixed text.
pub(crate) async fn local<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    route: &Route,
) -> Ending {
    let Work { request, response, body, path, .. } = &mut *work;
    response.clear();
    body.clear();
    match &route.action {
        Action::Redirect { to, status } => {
            let facts = context.facts(request, route);
            path.clear();
            rules::location(to, &facts, path);
            response.status = *status;
            response.fields.push_known(Known::Location, path);
            write_html(body, *status, "what you look for is elsewhere");
            response.fields.push_known(Known::ContentType, b"text/html; charset=utf-8");
        }
        Action::Respond { status, text, content_type, kind, page } => {
            response.status = *status;
            let facts = context.facts(request, route);
            match page {
                Some(page) => page::write(page, *status, &facts, body),
                None => rules::text(text, *kind, &facts, body),
            }
            if !body.is_empty() {
                response.fields.push_known(Known::ContentType, content_type.as_bytes());
            }
        }
        Action::To(_) | Action::Split(_) | Action::Files(_) => {}
    }
    // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5: these have no content.
    let bodiless = matches!(response.status, 204 | 304);
    if bodiless || response.status == 205 {
        body.clear();
    }
    let length = BodyLength::Exact(body.len() as u64);
    response.body = if bodiless { BodyLength::None } else { length };
    let plan = Plan::local(route, context.client_facts(), context.maps());
    send_body(context, work, down, ResponseOrigin::Route(&plan)).await
}

/// The path of HTTP-01 challenges (RFC 8555, section 8.3).
const ACME_PATH: &str = "/.well-known/acme-challenge/";

/// Whether an ACME server fetches the answer to a challenge; nearly always this is one load.
pub(crate) fn is_acme(context: &ClientContext<'_>, request: &message::Request) -> bool {
    let challenges = &context.core.challenges;
    !challenges.is_empty()
        && context.client.tls.is_none()
        && request.method.is_safe()
        && token(request).is_some_and(|token| challenges.http(token).is_some())
}

fn token(request: &message::Request) -> Option<&str> {
    request.target.path().strip_prefix(ACME_PATH)
}

/// Answers the challenge, whatever the host's site is configured to do.
pub(crate) async fn acme<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
) -> Ending {
    down.begin_body(&work.request, None);
    let Work { request, response, body, .. } = &mut *work;
    response.clear();
    body.clear();
    if let Some(answer) = token(request).and_then(|token| context.core.challenges.http(token)) {
        response.status = 200;
        response.fields.push_known(Known::ContentType, b"application/octet-stream");
        body.extend_from_slice(answer.as_bytes());
    } else {
        response.status = 404; // removed since `is_acme` looked
    }
    response.body = BodyLength::Exact(body.len() as u64);
    send_body(context, work, down, ResponseOrigin::Proxy(None)).await
}

/// What is found for a request for a file; the head of the answer is in the response.
pub(crate) enum FileLookup {
    /// An answer with this body.
    Found(Body),
    /// No file, and the route says which upstream gets the request.
    Elsewhere,
}

/// Finds the file of a directory that answers a request, or a redirect in its place.
pub(crate) async fn find_file(
    context: &Context<'_>,
    work: &mut Work,
    route: &Route,
    serving: &FileServing,
) -> Result<FileLookup, Trouble> {
    let Work { request, response, path, .. } = &mut *work;
    let facts = context.facts(request, route);
    path.clear();
    rules::upstream_path(&route.settings.rewrite, &facts, path)
        .map_err(|_| Trouble::new(ErrorKind::HttpRequestError, rules::PathTraversal::DETAIL))?;
    path.truncate(path.iter().position(|&byte| byte == b'?').unwrap_or(path.len()));
    let now = std::time::SystemTime::now();
    let answered = match (serving.tries.is_empty(), serving.otherwise) {
        (true, otherwise) => {
            let directories = match otherwise {
                Some(_) => Directories::RedirectIfServed,
                None => Directories::Redirect,
            };
            files::answer(&FileRequest { serving, request, path, directories, now }).await
        }
        (false, _) => first_file(serving, request, path, &facts, now).await,
    };
    let found = match answered {
        Ok(found) => found,
        Err(FileError::NotFound) if serving.otherwise.is_some() => {
            return Ok(FileLookup::Elsewhere);
        }
        Err(FileError::NotFound) if serving.missing_status != 404 => {
            return Err(no_file(&FileError::NotFound).with_status(serving.missing_status));
        }
        Err(error) => return Err(no_file(&error)),
    };
    response.clear();
    response.status = found.status;
    response.body = found.length.map_or(BodyLength::None, BodyLength::Exact);
    for (name, value) in &found.fields {
        response.fields.push(name.as_bytes(), value.as_bytes());
    }
    Ok(FileLookup::Found(found.body))
}

/// The first of the paths of `try` that exists. `below` is the path below the directory.
async fn first_file(
    serving: &FileServing,
    request: &message::Request,
    below: &[u8],
    facts: &Facts<'_>,
    now: std::time::SystemTime,
) -> Result<files::Answer, FileError> {
    let mut path = Vec::with_capacity(below.len() + 32);
    for template in &serving.tries {
        path.clear();
        rules::try_path(template, below, facts, &mut path);
        let directories = match path.strip_suffix(b"/") {
            Some(bare) if bare == below => Directories::Added,
            _ => Directories::Missing,
        };
        let asked = FileRequest { serving, request, path: &path, directories, now };
        match files::answer(&asked).await {
            Err(FileError::NotFound) => {}
            answered => return answered,
        }
    }
    Err(FileError::NotFound)
}

/// Answers with what [`find_file`] has found.
pub(crate) async fn file<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    route: &Route,
    found: Body,
) -> Ending {
    work.body.clear();
    let plan = Plan::local(route, context.client_facts(), context.maps());
    let origin = ResponseOrigin::Route(&plan);
    match found {
        Body::Empty => send_body(context, work, down, origin).await,
        Body::Text(text) => {
            work.body = text;
            send_body(context, work, down, origin).await
        }
        Body::File(file) => {
            let mut piece = std::mem::take(&mut work.body);
            let source = FileSource::new(file, &mut piece, down.split().1.room());
            let ending = send(context, work, down, origin, source).await;
            work.body = piece;
            ending
        }
    }
}

/// Why a client gets no file.
fn no_file(error: &FileError) -> Trouble {
    let (kind, detail) = match error {
        FileError::NotFound => (ErrorKind::DestinationNotFound, "there is no such file"),
        FileError::Denied => {
            (ErrorKind::HttpRequestDenied, "the file may not be read by the server")
        }
        FileError::Failed(error) if net::is_our_lack(error) => {
            (ErrorKind::LocalResources, "no more files can be opened")
        }
        FileError::Failed(_) => (ErrorKind::ProxyInternalError, "the file cannot be read"),
    };
    Trouble::new(kind, detail)
}
