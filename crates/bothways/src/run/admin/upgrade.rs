//! The page `/upgrade`: another process takes over.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::super::control::Control;
use super::super::upgrade::{READY_TIME, UpgradeReport, UpgradeRequest};
use super::pages::{Answer, JSON, plain, reply};
use super::socket::Caller;
use super::upstreams;

/// How long a new process may be waited for.
const WITHIN_SECONDS_MAX: u64 = 600;

/// What a request may say.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Asked {
    binary: Option<PathBuf>,
    within_seconds: Option<u64>,
}

impl Asked {
    fn read(body: &str) -> Result<Self, String> {
        if body.trim().is_empty() {
            return Ok(Self::default());
        }
        let asked: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if asked.binary.as_ref().is_some_and(|binary| !binary.is_absolute()) {
            return Err("`binary` must be an absolute path".to_owned());
        }
        let is_good = |within: &u64| (1..=WITHIN_SECONDS_MAX).contains(within);
        match asked.within_seconds {
            Some(within) if !is_good(&within) => {
                Err(format!("`within-seconds` must be from 1 to {WITHIN_SECONDS_MAX}"))
            }
            _ => Ok(asked),
        }
    }
}

/// Starts an upgrade, and waits for its outcome.
pub(super) async fn answer(
    control: &Rc<Control>,
    caller: &Caller,
    request: Request<Incoming>,
    wants_json: bool,
) -> Answer {
    let body = match upstreams::body(request).await {
        Ok(body) => body,
        Err(error) => return plain(error.status, format!("{}\n", error.words)),
    };
    let Asked { binary, within_seconds } = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    if binary.is_some() && !may_name_binary(caller) {
        let words =
            "only root and the user of this process may name a binary, over the unix socket\n";
        // Not 403, at which clients try another token.
        return plain(StatusCode::BAD_REQUEST, words.to_owned());
    }
    tracing::info!(who = %caller, "asked to upgrade");
    let (reply, report) = oneshot::channel();
    let within = within_seconds.map_or(READY_TIME, Duration::from_secs);
    let request = UpgradeRequest { binary, within, reply: Some(reply) };
    if control.upgrades.try_send(request).is_err() {
        let words = "not upgraded: the process is stopping, or an upgrade is under way\n";
        return plain(StatusCode::SERVICE_UNAVAILABLE, words.to_owned());
    }
    match report.await {
        Ok(report) => report_answer(&report, wants_json),
        Err(_) => {
            let words = "not upgraded: the process is stopping\n";
            plain(StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
        }
    }
}

/// A client that names a binary runs code as the user of this process.
fn may_name_binary(caller: &Caller) -> bool {
    let own = rustix::process::geteuid().as_raw();
    matches!(caller, Caller::Unix { user: Some(user), .. } if *user == 0 || *user == own)
}

fn report_answer(report: &UpgradeReport, wants_json: bool) -> Answer {
    let status = match report {
        UpgradeReport::Done { .. } => StatusCode::OK,
        UpgradeReport::Failed { is_configuration: true, .. } => StatusCode::UNPROCESSABLE_ENTITY,
        UpgradeReport::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if wants_json {
        reply(status, JSON, format!("{}\n", report.json()))
    } else {
        plain(status, report.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |body: &str, expected: Option<(Option<&str>, Option<u64>)>| {
            let asked = Asked::read(body).ok();
            let expected = expected.map(|(binary, within_seconds)| Asked {
                binary: binary.map(PathBuf::from),
                within_seconds,
            });
            assert_eq!(asked, expected, "{body}");
        };
        check("", Some((None, None)));
        check("{}", Some((None, None)));
        check(
            r#"{"binary":"/usr/bin/bothways","within-seconds":5}"#,
            Some((Some("/usr/bin/bothways"), Some(5))),
        );
        for bad in [
            "[",
            r#"{"binary":"bothways"}"#,
            r#"{"within-seconds":0}"#,
            r#"{"within-seconds":601}"#,
            r#"{"arguments":["run"]}"#,
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn who_may_name_a_binary() {
        let own = rustix::process::geteuid().as_raw();
        let by = |user| Caller::Unix { user, process: None };
        assert!(may_name_binary(&by(Some(own))) && may_name_binary(&by(Some(0))));
        assert!(!may_name_binary(&by(Some(own.wrapping_add(1)))) && !may_name_binary(&by(None)));
        assert!(!may_name_binary(&Caller::Tcp(([127, 0, 0, 1], 1).into())));
    }
}
