//! The pages of the admin interface.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::super::control::{Control, ReloadRequest};
use super::super::report::Report;
use super::socket::Caller;
use super::token::TokenError;
use super::{cache, certificates, guard, maintenance, upgrade, upstreams};

/// Timeout for a reload.
const RELOAD_TIME: Duration = Duration::from_secs(60);

const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A complete response.
pub(super) type Answer = Response<Full<Bytes>>;

struct Page {
    path: &'static str,
    method: Method,
    summary: &'static str,
}

/// Every page; `/` lists them.
static PAGES: [Page; 21] = [
    Page { path: "/", method: Method::GET, summary: "this page" },
    Page { path: "/healthz", method: Method::GET, summary: "200 while the process is alive" },
    Page {
        path: "/readyz",
        method: Method::GET,
        summary: "200 while traffic is served, 503 while starting or draining",
    },
    Page { path: "/metrics", method: Method::GET, summary: "metrics for Prometheus" },
    Page {
        path: "/certificates",
        method: Method::GET,
        summary: "every certificate in use, and when it expires, as JSON",
    },
    Page {
        path: "/config",
        method: Method::GET,
        summary: "every effective value and where it comes from; JSON by Accept",
    },
    Page {
        path: "/reload",
        method: Method::POST,
        summary: "POST reloads the configuration; JSON by Accept; ?allow-empty accepts one that serves nothing",
    },
    Page {
        path: "/maintenance",
        method: Method::GET,
        summary: "which sites are closed for maintenance; JSON by Accept",
    },
    Page {
        path: "/maintenance/on",
        method: Method::POST,
        summary: "POST closes the sites of ?site=…, or all that can be closed",
    },
    Page { path: "/maintenance/off", method: Method::POST, summary: "POST opens them again" },
    Page {
        path: "/cache",
        method: Method::GET,
        summary: "the store of responses, and what the cache did by site; JSON by Accept",
    },
    Page {
        path: "/cache/stored",
        method: Method::GET,
        summary: "what is stored for ?url=…; JSON by Accept",
    },
    Page {
        path: "/cache/purge",
        method: Method::POST,
        summary: "POST purges ?url=…, prefix=…, host=…, tag=… or all; &amp;soft keeps it for where stale responses may be sent",
    },
    Page {
        path: "/upgrade",
        method: Method::POST,
        summary: "POST starts the binary again and hands everything over; JSON by Accept",
    },
    Page {
        path: "/upstreams",
        method: Method::GET,
        summary: "the state of upstreams and endpoints, as a table; JSON by Accept",
    },
    Page { path: "/upstreams/{name}", method: Method::GET, summary: "the same for one upstream" },
    Page {
        path: "/upstreams/{name}/endpoints",
        method: Method::GET,
        summary: "the endpoints of an upstream and where they come from, as JSON; POST adds one",
    },
    Page {
        path: "/upstreams/{name}/endpoints/{endpoint}",
        method: Method::PATCH,
        summary: "PATCH sets weight, max or drain; DELETE removes the endpoint",
    },
    Page {
        path: "/upstreams/{name}/diff",
        method: Method::GET,
        summary: "the changes at run time, compared with the configuration; JSON by Accept",
    },
    Page {
        path: "/upstreams/{name}/save",
        method: Method::POST,
        summary: "POST writes these changes back",
    },
    Page { path: "/upstreams/{name}/revert", method: Method::POST, summary: "POST discards them" },
];

/// Responds to a request.
pub(super) async fn answer(
    control: &Rc<Control>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Answer {
    if let Err(refusal) = guard::check(request.uri(), request.headers(), caller.transport()) {
        return plain(StatusCode::FORBIDDEN, format!("{}\n", refusal.words()));
    }
    let path = request.uri().path();
    if let Err(error) = control.token.may_read(path, caller, request.headers()) {
        return refused(control, error);
    }
    if upstreams::is_known(request.uri().path()) {
        return upstreams::answer(control, caller, request).await;
    }
    let path = request.uri().path();
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        return plain(StatusCode::NOT_FOUND, "no such page; / lists all pages\n".to_owned());
    };
    let is_head = request.method() == Method::HEAD && page.method == Method::GET;
    if request.method() != page.method && !is_head {
        let answer = plain(StatusCode::METHOD_NOT_ALLOWED, format!("{} only\n", page.method));
        return with(answer, header::ALLOW, page.method.as_str());
    }
    let wants_json = wants_json(request.headers());
    match path {
        "/" => reply(StatusCode::OK, HTML, index()),
        "/healthz" => plain(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => ready(control),
        "/metrics" => reply(StatusCode::OK, METRICS, metrics(control)),
        "/certificates" => certificate_list(control),
        "/config" => effective(control, wants_json),
        "/maintenance" => maintenance::answer(control, request.uri(), wants_json),
        "/cache" => cache::stats(control, wants_json),
        "/cache/stored" => cache::show(control, request.uri(), wants_json),
        "/upgrade" => match control.token.check(caller, request.headers()) {
            Ok(()) => upgrade::answer(control, caller, request, wants_json).await,
            Err(error) => refused(control, error),
        },
        _ => match control.token.check(caller, request.headers()) {
            Ok(()) if path == "/cache/purge" => {
                cache::purge(control, caller, request.uri(), wants_json)
            }
            Ok(()) if path.starts_with("/maintenance/") => {
                maintenance::change(control, caller, request.uri(), wants_json).await
            }
            Ok(()) => {
                let allow_empty = request.uri().query() == Some("allow-empty");
                tracing::info!(who = %caller, "asked to reload");
                reload(control, allow_empty, wants_json).await
            }
            Err(error) => refused(control, error),
        },
    }
}

/// The response to a request that was refused for its token: it says what to do.
pub(super) fn refused(control: &Control, error: TokenError) -> Answer {
    let (status, words) = refusal(control, error);
    match status {
        StatusCode::UNAUTHORIZED => {
            with(plain(status, format!("{words}\n")), header::WWW_AUTHENTICATE, "Bearer")
        }
        _ => plain(status, format!("{words}\n")),
    }
}

/// The status and the message of such a response.
pub(super) fn refusal(control: &Control, error: TokenError) -> (StatusCode, String) {
    let file = control.token.file();
    match error {
        TokenError::Unavailable => (
            StatusCode::FORBIDDEN,
            format!(
                "this request needs a token, and the one in {} cannot be used (the log says why): \
                 set process {{ admin \"127.0.0.1:9900\" token-file=\"…\" }} to a file that is not \
                 readable by everybody; or use a unix socket",
                file.display()
            ),
        ),
        // Without `token-file`, a client does not expect to be asked for a token: 403, not 401.
        TokenError::Wrong => (
            if control.token.is_set() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN },
            format!(
                "over TCP this request needs the token (Authorization: Bearer TOKEN) in {}; \
                 token-file sets another",
                file.display()
            ),
        ),
    }
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    for (name, value) in fixed {
        fields.insert(name, HeaderValue::from_static(value));
    }
    answer
}

pub(super) fn plain(status: StatusCode, body: String) -> Answer {
    reply(status, TEXT, body)
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Whether `Accept` requests JSON. Quality values are ignored: only programs request it.
pub(super) fn wants_json(fields: &HeaderMap) -> bool {
    let accepts = fields.get_all(header::ACCEPT);
    accepts.iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(JSON)))
}

fn index() -> String {
    let mut rows = String::new();
    for page in &PAGES {
        let Page { path, method, summary } = page;
        let name = if *method == Method::GET && !path.contains('{') {
            format!("<a href=\"{path}\">{path}</a>")
        } else {
            format!("{method} {path}")
        };
        rows.push_str(&format!("<tr><td>{name}</td><td>{summary}</td></tr>\n"));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>bothways</title>\n\
         <style>body{{font:16px/1.6 system-ui,sans-serif;margin:3em auto;max-width:44em;padding:0 1em}}\
         td{{padding:.2em 1.5em .2em 0}}</style>\n\
         <h1>bothways {}</h1>\n<table>\n{rows}</table>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn ready(control: &Control) -> Answer {
    if control.draining.get() {
        plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
    } else if !control.server.is_ready() {
        plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
    } else {
        plain(StatusCode::OK, "ready\n".to_owned())
    }
}

/// Metrics of the data plane, and what only the control thread knows.
fn metrics(control: &Control) -> String {
    const NAME: &str = "bothways_config_last_reload_successful";
    let value = u8::from(control.last_reload_done.get());
    let mut text = control.server.metrics();
    text.push_str(&format!(
        "# HELP {NAME} Whether the last reload (or the start) succeeded.\n\
         # TYPE {NAME} gauge\n{NAME} {value}\n"
    ));
    text.push_str(&certificates::metrics(&control.server.keeper().states()));
    text
}

fn certificate_list(control: &Control) -> Answer {
    let list = certificates::list(&control.server.keeper().states(), SystemTime::now());
    reply(StatusCode::OK, JSON, format!("{list}\n"))
}

fn effective(control: &Control, wants_json: bool) -> Answer {
    let effective = control.effective.borrow();
    if wants_json {
        reply(StatusCode::OK, JSON, format!("{}\n", crate::show::json(&effective)))
    } else {
        plain(StatusCode::OK, effective.render(false))
    }
}

async fn reload(control: &Control, allow_empty: bool, wants_json: bool) -> Answer {
    let (reply, report) = oneshot::channel();
    if control.reloads.try_send(ReloadRequest { allow_empty, reply }).is_err() {
        let words = if control.draining.get() {
            "not reloaded: the process is stopping\n"
        } else {
            "not reloaded: too many reloads are waiting; try again\n"
        };
        let answer = plain(StatusCode::SERVICE_UNAVAILABLE, words.to_owned());
        return with(answer, header::RETRY_AFTER, "1");
    }
    match tokio::time::timeout(RELOAD_TIME, report).await {
        Ok(Ok(report)) => reload_answer(&report, wants_json),
        // The process has started to stop in the meantime.
        Ok(Err(_)) => {
            let words = "not reloaded: the process is stopping\n";
            plain(StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
        }
        Err(_) => plain(
            StatusCode::GATEWAY_TIMEOUT,
            "the reload takes long and continues; its outcome will be in the log\n".to_owned(),
        ),
    }
}

fn reload_answer(report: &Report, wants_json: bool) -> Answer {
    let status = match report {
        Report::Done { .. } => StatusCode::OK,
        Report::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Report::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if wants_json {
        reply(status, JSON, format!("{}\n", report.json()))
    } else {
        plain(status, report.text())
    }
}
