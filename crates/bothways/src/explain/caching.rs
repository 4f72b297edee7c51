//! What the cache would do with a request, under which key, and whether a response would be stored.
//!
//! The rules are those of the crate `cache`, which judges real requests. What is stored at this moment is not known here:
//! `bothways cache show` asks the process.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use cache::{Arrival, Lifetime, Reason, RequestUse, Vary};
use config::{CacheCondition, Caching, Place};
use message::{Response, reason_phrase};
use rules::Outcome;
use serde_json::{Value, json};

use super::ExplainReport;
use crate::cli::Explain;
use crate::exit::Failure;
use crate::terminal::Paint;

/// The response that the command line describes.
pub(super) fn read_response(options: &Explain) -> Result<Option<Response>, Failure> {
    if options.response_field.is_empty() && options.response_status.is_none() {
        return Ok(None);
    }
    let status = options.response_status.unwrap_or(200);
    if !(200..=599).contains(&status) {
        return Err(Failure::usage(format!("{status} is not the status of a response"))
            .hint("final responses have 200 to 599"));
    }
    let mut response = Response { status, ..Response::default() };
    for field in &options.response_field {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Failure::usage(format!("`{field}` is not a field"))
                .hint("write --response-field 'Name: value'")
        })?;
        response.fields.push(name.trim().as_bytes(), value.trim().as_bytes());
    }
    Ok(Some(response))
}

/// What becomes of a response.
struct Judgement {
    result: Result<Lifetime, Reason>,
    vary: Vary,
}

impl ExplainReport<'_> {
    /// What holds for the request, if it goes to an endpoint.
    fn caching(&self) -> Option<&Caching> {
        let goes_out = match &self.explanation.outcome {
            Outcome::Proxied { .. } | Outcome::Split { .. } | Outcome::Forwarded { .. } => true,
            Outcome::Files { otherwise, .. } => otherwise.is_some(),
            _ => false,
        };
        self.settings().filter(|_| goes_out)?.caching.as_deref()
    }

    /// The line that decides whether the request is looked up.
    fn deciding_line(&self, caching: &Caching, used: RequestUse) -> Place {
        let lines = match used {
            RequestUse::Bypass(Reason::Bypass) => &caching.bypass,
            RequestUse::Pass(Reason::Pass) => &caching.pass,
            _ => return caching.place,
        };
        let alone = |condition: &&CacheCondition| {
            let pass = [(*condition).clone()].into();
            let only = Caching { pass, bypass: Box::default(), ..caching.clone() };
            cache::judge_request(self.request, &only) == RequestUse::Pass(Reason::Pass)
        };
        lines.iter().find(alone).map_or(caching.place, |condition| condition.place)
    }

    fn judge(&self, caching: &Caching, response: &Response) -> Judgement {
        let now = SystemTime::now();
        let has_user = self.login().is_some();
        let arrival = Arrival { asked: now, arrived: now, has_user };
        let result = cache::judge_response(self.request, response, caching, &arrival);
        Judgement { result, vary: Vary::of(response) }
    }

    /// The key: the URL, then fields and cookies of the configuration.
    fn key(&self, caching: &Caching) -> (String, Vec<(String, String)>) {
        let mut url = Vec::new();
        cache::write_uri(&mut url, &self.request.target, &caching.key);
        let mut more = Vec::new();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        for name in &caching.key.fields {
            let fields = self.request.fields.iter();
            let named = fields.filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            let values: Vec<_> = named.map(|field| text(field.value)).collect();
            more.push((format!("field {name}"), values.join(", ")));
        }
        for wanted in &caching.key.cookies {
            let cookies = message::cookies(&self.request.fields);
            let values = cookies.filter(|(name, _)| *name == wanted.as_bytes());
            let values: Vec<_> = values.map(|(_, value)| text(value)).collect();
            more.push((format!("cookie {wanted}"), values.join("; ")));
        }
        (text(&url), more)
    }

    pub(super) fn caching_text(&self, text: &mut String, paint: Paint) {
        let Some(caching) = self.caching() else { return };
        let at = |place: Place| paint.dim(&format!("<- {}", self.config.locate(place)));
        let used = cache::judge_request(self.request, caching);
        let line = self.deciding_line(caching, used);
        let _ = writeln!(text, "\nthe cache:\n  {}  {}", use_words(used), at(line));
        if matches!(used, RequestUse::Pass(_)) {
            return;
        }
        let (url, more) = self.key(caching);
        let _ = writeln!(text, "  key: {url}");
        for (name, value) in more {
            let _ = writeln!(
                text,
                "       and {name}: {}",
                if value.is_empty() { "(none)" } else { &value }
            );
        }
        let Some(response) = &self.response else { return };
        let judgement = self.judge(caching, response);
        let status = response.status;
        let phrase = reason_phrase(status);
        match judgement.result {
            Err(reason) => {
                let words = response_words(reason);
                let _ =
                    writeln!(text, "  such a response ({status} {phrase}) is not stored: {words}");
            }
            Ok(lifetime) => {
                let by = if lifetime.is_configured() { at(caching.place) } else { String::new() };
                let words = lifetime_words(&lifetime);
                let _ = writeln!(
                    text,
                    "  such a response ({status} {phrase}) is stored: {words}  {by}"
                );
                if let Vary::Fields(fields) = &judgement.vary {
                    let names: Vec<_> = fields.iter().map(String::from_utf8_lossy).collect();
                    let _ = writeln!(text, "  for requests with the same {}", names.join(", "));
                }
            }
        }
    }

    pub(super) fn caching_json(&self) -> Value {
        let Some(caching) = self.caching() else { return Value::Null };
        let used = cache::judge_request(self.request, caching);
        let (word, reason) = match used {
            RequestUse::Lookup => ("lookup", None),
            RequestUse::Bypass(reason) => ("bypass", Some(reason)),
            RequestUse::Pass(reason) => ("pass", Some(reason)),
            RequestUse::Invalidate => ("invalidate", None),
        };
        let (url, more) = self.key(caching);
        let more: serde_json::Map<_, _> =
            more.into_iter().map(|(name, value)| (name, value.into())).collect();
        let response = self.response.as_ref().map(|response| {
            let Judgement { result, vary } = self.judge(caching, response);
            let vary: Vec<_> = match &vary {
                Vary::None => Vec::new(),
                Vary::Star => vec!["*".into()],
                Vary::Fields(fields) => fields.iter().map(String::from_utf8_lossy).collect(),
            };
            match result {
                Err(reason) => json!({ "stored": false, "reason": reason.word(), "vary": vary }),
                Ok(lifetime) => json!({
                    "stored": true,
                    "age": lifetime.initial_age().as_secs(),
                    "fresh_for": lifetime.fresh_for().as_secs(),
                    "stale_while_revalidate": lifetime.while_revalidate().as_secs(),
                    "stale_on_error": lifetime.on_error().as_secs(),
                    "freshness_from": freshness_from(&lifetime),
                    "validated_each_time": lifetime.is_no_cache(),
                    "vary": vary,
                }),
            }
        });
        json!({
            "use": word,
            "reason": reason.map(Reason::word),
            "place": self.config.locate(self.deciding_line(caching, used)),
            "key": { "url": url, "more": more },
            "response": response,
        })
    }
}

/// Who says how long a response is fresh.
fn freshness_from(lifetime: &Lifetime) -> &'static str {
    match (lifetime.is_configured(), lifetime.is_heuristic()) {
        (true, _) => "configuration",
        (false, true) => "last-modified",
        (false, false) => "response",
    }
}

fn use_words(used: RequestUse) -> String {
    let reason = match used {
        RequestUse::Lookup => return "the request is answered from the store, if it has a response; else the response is stored, if it may be".into(),
        RequestUse::Invalidate => return "the request goes to an endpoint; if it succeeds, what is stored for its URL is used no longer".into(),
        RequestUse::Bypass(reason) => {
            let words = request_words(reason);
            return format!("the request goes to an endpoint, and the response is stored, if it may be: {words}");
        }
        RequestUse::Pass(reason) => reason,
    };
    format!("it has nothing to do with the request: {}", request_words(reason))
}

/// Why a request is not looked up.
fn request_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Method => "its method is not one that is answered from a store",
        Reason::Bypass => "a `bypass` line matches",
        Reason::Pass => "a `pass` line matches",
        Reason::RequestBody => "it has a body, which is not part of the key",
        Reason::Upgrade => "it asks for another protocol",
        Reason::Target => "its target is no resource",
        Reason::MethodOverride => "it asks the application to take it for one of another method",
        Reason::OriginCondition => "it has a condition that only the endpoint can judge",
        Reason::RequestNoStore => "it says `no-store`",
        other => other.word(),
    }
}

/// Why a response is not stored.
fn response_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Status => "a response of this status is not stored without a word about it",
        Reason::NoStore => "it says `no-store`",
        Reason::Private => "it says `private`",
        Reason::Authorization => {
            "the request tells who the client is, and the response does not say that it is for others too (`public`, `s-maxage`, `must-revalidate`)"
        }
        Reason::SetCookie => "it sets a cookie, and `set-cookie=store` is not set",
        Reason::VaryStar => "it says `Vary: *`",
        Reason::VaryClient => "it varies by who the client is",
        Reason::NoLifetime => "nothing says how long it is fresh, and it cannot be validated",
        Reason::StaleAtOnce => "it is stale at once, and cannot be validated",
        Reason::Method => "only responses to GET are",
        Reason::Part => "it is a part that does not say which",
        other => other.word(),
    }
}

fn lifetime_words(lifetime: &Lifetime) -> String {
    let time = |time: Duration| config::duration_text(time);
    let (fresh, age) = (lifetime.fresh_for(), lifetime.initial_age());
    let left = fresh.saturating_sub(age);
    let mut words = match (lifetime.is_no_cache(), left.is_zero()) {
        (true, _) => {
            "an endpoint is asked each time whether it still holds (`no-cache`)".to_owned()
        }
        (false, true) => {
            "it is not fresh, so an endpoint is asked whether it still holds".to_owned()
        }
        (false, false) => {
            let by = match freshness_from(lifetime) {
                "configuration" => "by the configuration",
                "last-modified" => "by the time since its last change, as it says nothing else",
                _ => "as it says itself",
            };
            format!("fresh for {}, {by}", time(Duration::from_secs(left.as_secs())))
        }
    };
    let (revalidating, failing) = (lifetime.while_revalidate(), lifetime.on_error());
    let windows = match revalidating == failing {
        true => [
            (revalidating, "while a new one is fetched, and if endpoints fail"),
            (Duration::ZERO, ""),
        ],
        false => [(revalidating, "while a new one is fetched"), (failing, "if endpoints fail")],
    };
    for (stale, when) in windows.into_iter().filter(|(stale, _)| !stale.is_zero()) {
        let _ = write!(words, "; then still sent for {} {when}", time(stale));
    }
    words
}
