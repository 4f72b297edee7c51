//! The pages below `/upstreams`: state of upstreams, and changes at run time.
//!
//! `/upstreams/NAME/endpoints` lists the endpoints; POST adds one, PATCH and DELETE below it change
//! and remove one. `diff` shows the changes, `save` writes them back, `revert` discards them. Every
//! change is logged: who made it, what it was, and the endpoint before and after.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::Endpoint;
use discovery::{Edit, EditError, EndpointChange, JsonError, Origin};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use proxy::{MembersError, Server};
use serde_json::{Value, json};

use super::super::control::Control;
use super::pages::{Answer, JSON, TEXT, plain, refusal, reply, wants_json, with};
use super::socket::Caller;
use super::{difference, save, status};

/// The maximum size of a request body, and the timeout for it.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);
/// How often to check whether a draining endpoint still has requests.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The resources of an upstream.
#[derive(Debug, PartialEq, Eq)]
enum Resource {
    Status,
    Endpoints,
    Endpoint(Arc<str>),
    Diff,
    Save,
    Revert,
}

impl Resource {
    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Status | Self::Diff => &[Method::GET],
            Self::Endpoints => &[Method::GET, Method::POST],
            Self::Endpoint(_) => &[Method::PATCH, Method::DELETE],
            Self::Save | Self::Revert => &[Method::POST],
        }
    }
}

/// The name of the upstream and the resource, if the path is one of these. An empty name means all
/// upstreams.
fn target(path: &str) -> Option<(String, Resource)> {
    if path == "/upstreams" {
        return Some((String::new(), Resource::Status));
    }
    let rest = path.strip_prefix("/upstreams/")?;
    let Some((upstream, rest)) = rest.split_once('/') else {
        return Some((decoded(rest).filter(|name| !name.is_empty())?, Resource::Status));
    };
    let part = match rest.split_once('/') {
        None => match rest {
            "endpoints" => Resource::Endpoints,
            "diff" => Resource::Diff,
            "save" => Resource::Save,
            "revert" => Resource::Revert,
            _ => return None,
        },
        Some(("endpoints", name)) if !name.is_empty() => Resource::Endpoint(decoded(name)?.into()),
        Some(_) => return None,
    };
    Some((decoded(upstream)?, part))
}

/// Decodes percent-encoding (RFC 3986, section 2.1).
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        out.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) words: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        let status = match &error {
            EditError::NoUpstream | EditError::NoEndpoint => StatusCode::NOT_FOUND,
            EditError::Exists | EditError::Differs => StatusCode::CONFLICT,
            EditError::Full => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<MembersError> for ApiError {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::Edit(error) => error.into(),
            MembersError::Start(error) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
        }
    }
}

impl From<JsonError> for ApiError {
    fn from(error: JsonError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

/// Whether the path is one of these.
pub(super) fn is_known(path: &str) -> bool {
    target(path).is_some()
}

/// Responds to a request for one of these.
pub(super) async fn answer(
    control: &Rc<Control>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Answer {
    let wants_json = wants_json(request.headers());
    match act(control, caller, request).await {
        Ok(answer) => answer,
        Err(ApiError { status, words }) => {
            let answer = match wants_json {
                true => reply(status, JSON, format!("{}\n", json!({ "error": words }))),
                false => plain(status, format!("{words}\n")),
            };
            match status {
                StatusCode::UNAUTHORIZED => with(answer, header::WWW_AUTHENTICATE, "Bearer"),
                _ => answer,
            }
        }
    }
}

async fn act(
    control: &Rc<Control>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Answer, ApiError> {
    let nothing = || ApiError::new(StatusCode::NOT_FOUND, "no such page; / lists all pages");
    let (upstream, part) = target(request.uri().path()).ok_or_else(nothing)?;
    let method = request.method().clone();
    if !part.methods().contains(&method) {
        let known: Vec<_> = part.methods().iter().map(Method::as_str).collect();
        let answer =
            plain(StatusCode::METHOD_NOT_ALLOWED, format!("{} only\n", known.join(" or ")));
        return Ok(with(answer, header::ALLOW, &known.join(", ")));
    }
    let json_wanted = wants_json(request.headers());
    if method != Method::GET {
        require_token(control, caller, request.headers())?;
    }
    let change = |what, edit| apply_edit(control, caller, &upstream, what, edit);
    let answered = |outcome: Result<EndpointChange, ApiError>| {
        outcome.map(|edited| edit_answer(&upstream, &edited, json_wanted))
    };
    match part {
        Resource::Status => {
            let name = Some(&*upstream).filter(|name| !name.is_empty());
            let value = status::json(&control.server, name).ok_or(EditError::NoUpstream)?;
            Ok(match json_wanted {
                true => reply(StatusCode::OK, JSON, format!("{value}\n")),
                false => plain(StatusCode::OK, crate::upstreams::plain(&value)),
            })
        }
        Resource::Endpoints if method == Method::GET => {
            let list = list(&control.server, &upstream).ok_or(EditError::NoUpstream)?;
            Ok(reply(StatusCode::OK, JSON, format!("{list}\n")))
        }
        Resource::Endpoints => {
            let endpoint = discovery::endpoint_from_json(&body(request).await?)?;
            let outcome = answered(change("add", Edit::Add(Box::new(endpoint))).await);
            outcome.map(|mut answer| {
                *answer.status_mut() = StatusCode::CREATED;
                answer
            })
        }
        Resource::Endpoint(name) if method == Method::DELETE => {
            answered(change("remove", Edit::Remove(name)).await)
        }
        Resource::Endpoint(name) => {
            let settings = discovery::settings_from_json(&body(request).await?)?;
            let outcome = change("set", Edit::Set(Arc::clone(&name), settings)).await;
            if outcome.as_ref().is_ok_and(begins_to_drain) {
                tokio::task::spawn_local(log_when_drained(
                    control.server.clone(),
                    upstream.clone(),
                    name,
                ));
            }
            answered(outcome)
        }
        Resource::Diff => {
            let differences = control.server.differences(&upstream).ok_or(EditError::NoUpstream)?;
            let server = &control.server;
            Ok(match json_wanted {
                true => {
                    reply(StatusCode::OK, JSON, difference::json(server, &upstream, &differences))
                }
                false => {
                    reply(StatusCode::OK, TEXT, difference::text(server, &upstream, &differences))
                }
            })
        }
        Resource::Save => {
            let saved = save::save(control, &upstream).await?;
            tracing::info!(who = %caller, upstream, saved = ?saved.endpoints, files = ?saved.files, "changes of an upstream written back");
            Ok(saved.answer(json_wanted))
        }
        Resource::Revert => {
            let differences = control.server.differences(&upstream).ok_or(EditError::NoUpstream)?;
            change("revert", Edit::Revert).await?;
            let count = crate::terminal::count(differences.len() as u64, "change");
            Ok(match json_wanted {
                true => reply(
                    StatusCode::OK,
                    JSON,
                    format!("{}\n", json!({ "reverted": differences.len() })),
                ),
                false => plain(StatusCode::OK, format!("{upstream}: {count} reverted\n")),
            })
        }
    }
}

/// Checks whether the caller may make changes.
fn require_token(control: &Control, caller: &Caller, fields: &HeaderMap) -> Result<(), ApiError> {
    control.token.check(caller, fields).map_err(|error| {
        let (status, words) = refusal(control, error);
        ApiError::new(status, words)
    })
}

pub(super) async fn body(request: Request<Incoming>) -> Result<String, ApiError> {
    let collected = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let collected = tokio::time::timeout(BODY_TIME, collected).await;
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let bytes = collected.map_err(late)?.map_err(|error| {
        let long = error.downcast_ref::<http_body_util::LengthLimitError>().is_some();
        let status = if long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        ApiError::new(status, error.to_string())
    })?;
    String::from_utf8(bytes.to_bytes().to_vec())
        .map_err(|_| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is not UTF-8"))
}

/// Applies a change on all cores, and logs it.
async fn apply_edit(
    control: &Control,
    caller: &Caller,
    upstream: &str,
    what: &'static str,
    edit: Edit,
) -> Result<EndpointChange, ApiError> {
    let (server, name) = (control.server.clone(), upstream.to_owned());
    // Waits for all cores.
    let outcome = tokio::task::spawn_blocking(move || server.edit(&name, edit)).await;
    let broken = |error: tokio::task::JoinError| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let edited = outcome.map_err(broken)??;
    let words = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(difference::kdl);
    let (before, after) = (words(&edited.before), words(&edited.after));
    tracing::info!(who = %caller, upstream, change = what, before, after, "upstream changed at run time");
    Ok(edited)
}

fn edit_answer(upstream: &str, edited: &EndpointChange, wants_json: bool) -> Answer {
    let EndpointChange { before, after } = edited;
    if wants_json {
        let value = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(difference::value);
        let value = json!({ "upstream": upstream, "before": value(before), "after": value(after) });
        return reply(StatusCode::OK, JSON, format!("{value}\n"));
    }
    let mut text = format!("{upstream}:\n");
    for (sign, endpoint) in [('-', before), ('+', after)] {
        if let Some(endpoint) = endpoint {
            let _ = writeln!(text, "{sign} {}", difference::kdl(endpoint));
        }
    }
    plain(StatusCode::OK, text)
}

/// The members of an upstream, where they come from, and their requests in flight.
fn list(server: &Server, upstream: &str) -> Option<Value> {
    let groups = server.groups();
    let group = groups.iter().find(|group| &*group.settings.name == upstream)?;
    let origins = server.origins(upstream)?;
    let members = group.members.iter().map(|member| {
        let mut value = difference::value(&member.settings);
        let in_flight = member.state.in_flight();
        let origin = origins.of(&member.settings.written);
        let more = json!({
            "origin": origin.as_ref().map(origin_words),
            "in_flight": in_flight,
            "standing": member.status().name(),
            "drained": member.settings.draining && in_flight == 0,
            "remark": server.remark(&member.settings),
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    });
    let members: Vec<_> = members.collect();
    let sources = sources(server, upstream);
    Some(json!({ "upstream": upstream, "endpoints": members, "sources": sources }))
}

/// The sources of an upstream besides the configuration, and their problems.
pub(super) fn sources(server: &Server, upstream: &str) -> Vec<Value> {
    let sources = server.sources(upstream).unwrap_or_default().into_iter().map(|source| {
        let problem = source.problem.map(|(since, words)| {
            let since = since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            json!({ "since": since.as_secs(), "why": words })
        });
        json!({
            "kind": source.kind, "name": source.name, "found": source.found,
            "waiting": source.waiting, "problem": problem,
        })
    });
    sources.collect()
}

/// The origin of an endpoint as text.
pub(super) fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Written => "configuration".to_owned(),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Srv(name) => format!("srv {name}"),
        Origin::Address(name) => format!("an address of {name}"),
        Origin::Added => "added at run time".to_owned(),
    }
}

fn begins_to_drain(edited: &EndpointChange) -> bool {
    let is_draining = |one: &Option<Endpoint>| one.as_ref().is_some_and(|one| one.draining);
    !is_draining(&edited.before) && is_draining(&edited.after)
}

/// Logs when the last request of a draining endpoint has ended.
async fn log_when_drained(server: Server, upstream: String, name: Arc<str>) {
    loop {
        let groups = server.groups();
        let group = groups.iter().find(|group| *group.settings.name == *upstream);
        // A name with several addresses is drained when all of them are.
        let is_it = |endpoint: &Endpoint| {
            endpoint
                .written
                .strip_prefix(&*name)
                .is_some_and(|rest| endpoint.draining && (rest.is_empty() || rest.starts_with('@')))
        };
        let mut members = group.into_iter().flat_map(|group| group.members.iter());
        let busy: Vec<_> =
            members.by_ref().filter(|m| is_it(&m.settings)).map(|m| m.state.in_flight()).collect();
        if busy.is_empty() {
            return;
        }
        if busy.iter().all(|count| *count == 0) {
            tracing::info!(
                upstream,
                endpoint = &*name,
                "the endpoint is drained: its last request is over"
            );
            return;
        }
        tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        #[track_caller]
        fn check(path: &str, expected: Option<(&str, Resource)>) {
            let expected = expected.map(|(name, part)| (name.to_owned(), part));
            assert_eq!(target(path), expected, "{path}");
        }
        let endpoint = |name: &str| Resource::Endpoint(name.into());
        check("/upstreams/app/endpoints", Some(("app", Resource::Endpoints)));
        check("/upstreams/app/endpoints/10.0.0.1:80", Some(("app", endpoint("10.0.0.1:80"))));
        check("/upstreams/a%2Cb/endpoints/https://c:443", Some(("a,b", endpoint("https://c:443"))));
        check("/upstreams/app/endpoints/unix:%2Frun%2Fa", Some(("app", endpoint("unix:/run/a"))));
        check("/upstreams/app/diff", Some(("app", Resource::Diff)));
        check("/upstreams/app/save", Some(("app", Resource::Save)));
        check("/upstreams/app/revert", Some(("app", Resource::Revert)));
        check("/upstreams", Some(("", Resource::Status)));
        check("/upstreams/a%2Cb", Some(("a,b", Resource::Status)));
        for other in [
            "/upstreams/",
            "/upstreams/app/",
            "/upstreams/app/endpoints/",
            "/upstreams/app/diff/x",
            "/upstreams/%zz/diff",
            "/upstreams/%ff/diff",
            "/upstreams/app/endpoints/%4",
        ] {
            check(other, None);
        }
    }
}
