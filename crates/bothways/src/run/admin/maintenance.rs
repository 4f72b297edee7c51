//! The pages below `/maintenance`: which sites are closed, and closing them.

use std::rc::Rc;

use hyper::{StatusCode, Uri};
use proxy::{MaintenanceError, MaintenanceState};
use serde_json::{Value, json};

use super::super::control::Control;
use super::pages::{Answer, JSON, plain, reply};
use super::socket::Caller;
use super::upstreams::decoded;

/// The sites that the query names: `site=a&site=b`.
fn sites(uri: &Uri) -> Option<Vec<String>> {
    let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts.map(|part| decoded(part.strip_prefix("site=")?)).collect()
}

/// Which sites are closed.
pub(super) fn answer(control: &Control, uri: &Uri, wants_json: bool) -> Answer {
    match sites(uri) {
        Some(sites) => outcome(control.server.maintenance(&sites), wants_json),
        None => unknown_query(),
    }
}

/// Closes or opens sites, as the path says.
pub(super) async fn change(
    control: &Rc<Control>,
    caller: &Caller,
    uri: &Uri,
    wants_json: bool,
) -> Answer {
    let Some(sites) = sites(uri) else { return unknown_query() };
    let closed = uri.path().ends_with("/on");
    tracing::info!(who = %caller, closed, sites = sites.join(" "), "asked for maintenance");
    let server = control.server.clone();
    // A file system may be slow.
    let changed = tokio::task::spawn_blocking(move || server.set_maintenance(&sites, closed));
    match changed.await {
        Ok(changed) => outcome(changed, wants_json),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn unknown_query() -> Answer {
    plain(StatusCode::BAD_REQUEST, "the query is ?site=NAME&site=NAME, or there is none\n".into())
}

fn outcome(states: Result<Vec<MaintenanceState>, MaintenanceError>, wants_json: bool) -> Answer {
    match states {
        Ok(states) if wants_json => {
            let sites: Vec<Value> = states.iter().map(state_json).collect();
            reply(StatusCode::OK, JSON, format!("{}\n", json!({ "sites": sites })))
        }
        Ok(states) if states.is_empty() => {
            plain(StatusCode::OK, "no site has `maintenance`\n".to_owned())
        }
        Ok(states) => plain(StatusCode::OK, states.iter().map(state_line).collect()),
        Err(error) => {
            let status = match error {
                MaintenanceError::NoSite(_) => StatusCode::NOT_FOUND,
                MaintenanceError::NotSet(_) => StatusCode::CONFLICT,
                MaintenanceError::File(..) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            match wants_json {
                true => reply(status, JSON, format!("{}\n", json!({ "error": error.to_string() }))),
                false => plain(status, format!("{error}\n")),
            }
        }
    }
}

fn state_json(state: &MaintenanceState) -> Value {
    json!({
        "site": state.site,
        "closed": state.is_closed,
        "file": state.file.display().to_string(),
    })
}

fn state_line(state: &MaintenanceState) -> String {
    let word = if state.is_closed { "closed" } else { "open" };
    format!("{}  {word}  {}\n", state.site, state.file.display())
}
