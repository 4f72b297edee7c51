//! The pages below `/cache`: what the store holds, and purges.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use cache::store::{Moment, PurgeKind};
use hyper::{StatusCode, Uri};
use message::{Method, Scheme, Target};
use observe::CacheOutcome;
use proxy::{Purge, StoredResponse};
use serde_json::{Value, json};

use super::super::control::Control;
use super::pages::{Answer, JSON, plain, reply};
use super::socket::Caller;
use super::upstreams::decoded;

/// Purges that one request may name.
const PURGES_MAX: usize = 1000;

/// The figures of the store, and what it did by site.
pub(super) fn stats(control: &Control, wants_json: bool) -> Answer {
    let Some(store) = control.server.store() else { return nothing() };
    let (stats, sites) = (store.stats(), control.server.cache_counts());
    if wants_json {
        let sites = sites.iter().map(|site| {
            let outcomes = CacheOutcome::ALL.iter().zip(site.outcomes);
            let outcomes: serde_json::Map<_, _> = outcomes
                .map(|(outcome, count)| (outcome.name().to_owned(), count.into()))
                .collect();
            json!({
                "direction": &*site.direction,
                "scope": &*site.scope,
                "results": outcomes,
                "served_bytes": site.served_bytes,
            })
        });
        let value = json!({
            "objects": stats.objects,
            "bytes": stats.bytes,
            "bytes_max": stats.bytes_max,
            "evicted": stats.evicted,
            "fills": stats.fills,
            "waits": stats.collapsed,
            "purges": stats.purges,
            "sites": sites.collect::<Vec<_>>(),
        });
        return reply(StatusCode::OK, JSON, format!("{value}\n"));
    }
    let mut text = format!(
        "{} responses · {} of {} · {} fetched · {} waited · {} made room · {} purges\n",
        stats.objects,
        size(stats.bytes),
        size(stats.bytes_max),
        stats.fills,
        stats.collapsed,
        stats.evicted,
        stats.purges
    );
    let width = sites.iter().map(|site| site.scope.chars().count()).max().unwrap_or(0).max(4);
    let _ = write!(text, "  {:width$}  REQUESTS  SAVED", "SITE");
    for outcome in CacheOutcome::ALL {
        let _ = write!(text, "  {:>11}", outcome.name().to_uppercase());
    }
    text.push_str("      SERVED\n");
    for site in &sites {
        let all: u64 = site.outcomes.iter().sum();
        let saved = CacheOutcome::ALL.iter().zip(site.outcomes);
        let saved = saved
            .filter(|(outcome, _)| outcome.is_served() && **outcome != CacheOutcome::Revalidated);
        let saved: u64 = saved.map(|(_, count)| count).sum();
        let percent = saved.saturating_mul(100).checked_div(all).unwrap_or(0);
        let _ = write!(text, "  {:width$}  {all:>8}  {percent:>3} %", site.scope);
        for count in site.outcomes {
            let _ = write!(text, "  {count:>11}");
        }
        let _ = writeln!(text, "  {:>10}", size(site.served_bytes));
    }
    plain(StatusCode::OK, text)
}

/// What is stored for the URL of the query.
pub(super) fn show(control: &Control, uri: &Uri, wants_json: bool) -> Answer {
    if control.server.store().is_none() {
        return nothing();
    }
    let query = parameters(uri);
    let target = match query.as_deref() {
        Some([(name, url)]) if name == "url" => target(url),
        _ => Err("the query is ?url=URL".to_owned()),
    };
    let target = match target {
        Ok(target) => target,
        Err(words) => return plain(StatusCode::BAD_REQUEST, format!("{words}\n")),
    };
    let (found, now) = (control.server.stored(&target), control.server.moment());
    if wants_json {
        let found: Vec<_> = found.iter().map(|one| stored_json(control, one, now)).collect();
        return reply(StatusCode::OK, JSON, format!("{}\n", json!({ "stored": found })));
    }
    if found.is_empty() {
        return plain(StatusCode::NOT_FOUND, format!("nothing is stored for {target}\n"));
    }
    plain(StatusCode::OK, found.iter().map(|one| stored_text(control, one, now)).collect())
}

/// Purges what the query names.
pub(super) fn purge(control: &Rc<Control>, caller: &Caller, uri: &Uri, wants_json: bool) -> Answer {
    let bad = |words: &str| plain(StatusCode::BAD_REQUEST, format!("{words}\n"));
    let Some(query) = parameters(uri) else { return bad("the query is malformed") };
    let (mut purges, mut kind) = (Vec::new(), PurgeKind::Hard);
    for (name, value) in &query {
        let purge = match &**name {
            "soft" if value.is_empty() => {
                kind = PurgeKind::Soft;
                continue;
            }
            "all" if value.is_empty() => Ok(Purge::All),
            _ if value.is_empty() => Err(format!("`{name}` names nothing")),
            "url" => target(value).map(|target| Purge::Url(Box::new(target))),
            "prefix" => target(value).map(|target| Purge::Prefix(prefix(value, &target).into())),
            "host" => Ok(Purge::Host(value.to_ascii_lowercase().into())),
            "tag" => Ok(Purge::Tag(value.as_str().into())),
            _ => {
                Err("the query has url=, prefix=, host=, tag= or all, and perhaps soft".to_owned())
            }
        };
        match purge {
            Ok(purge) if purges.len() < PURGES_MAX => purges.push(purge),
            Ok(_) => return bad("too much is named at once"),
            Err(words) => return bad(&words),
        }
    }
    if purges.is_empty() {
        return bad("nothing is named: url=, prefix=, host=, tag= or all");
    }
    let soft = kind == PurgeKind::Soft;
    tracing::info!(who = %caller, soft, what = uri.query().unwrap_or_default(), "asked to purge");
    let count = purges.len();
    let mut has_store = true;
    for purge in purges {
        has_store &= control.server.purge(purge, kind);
    }
    if !has_store {
        return nothing();
    }
    match wants_json {
        true => {
            reply(StatusCode::OK, JSON, format!("{}\n", json!({ "purges": count, "soft": soft })))
        }
        false => {
            let how = if soft { "stale from now on" } else { "not used any more" };
            plain(StatusCode::OK, format!("what was stored so far is {how}\n"))
        }
    }
}

fn nothing() -> Answer {
    let words = "there is no store: no site, route or `forward` says `cache`\n";
    plain(StatusCode::CONFLICT, words.to_owned())
}

/// The query's parameters, decoded; those without a value have an empty one.
fn parameters(uri: &Uri) -> Option<Vec<(String, String)>> {
    let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn target(url: &str) -> Result<Target, String> {
    if !url.contains("://") {
        return Err(format!("`{url}` is not a URL: write http:// or https:// before the host"));
    }
    let mut target = Target::default();
    let parsed = target.parse(&Method::Get, url.as_bytes(), None, Scheme::Http);
    parsed.map_err(|error| format!("`{url}`: {error}"))?;
    Ok(target)
}

/// A prefix as keys are written: scheme and host in lower case, without the usual port.
fn prefix(written: &str, target: &Target) -> String {
    let authority = written.find("://").map_or(0, |at| at + 3);
    let rest = written.get(authority..).unwrap_or_default();
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    format!("{}://{}{path}", target.scheme().as_str(), target.authority())
}

fn stored_json(control: &Control, one: &StoredResponse, now: Moment) -> Value {
    let (head, age) = (&one.object.head, one.object.age(now));
    let lifetime = &head.lifetime;
    let vary: serde_json::Map<_, _> =
        vary(one).into_iter().map(|(name, value)| (name, value.into())).collect();
    json!({
        "url": String::from_utf8_lossy(one.object.key()),
        "status": head.status,
        "content_bytes": one.object.content.length(),
        "memory_bytes": one.object.bytes(),
        "in": "memory",
        "age": age.as_secs(),
        "fresh_for": lifetime.fresh_for().as_secs(),
        "ttl": if one.is_purged { 0 } else { lifetime.ttl(age) },
        "freshness_from": freshness_from(lifetime),
        "stale_while_revalidate": lifetime.while_revalidate().as_secs(),
        "stale_on_error": lifetime.on_error().as_secs(),
        "validated_each_time": lifetime.is_no_cache(),
        "purged": one.is_purged,
        "vary": vary,
        "tags": tags(one),
        "place": control.server.config().locate(head.place),
    })
}

fn stored_text(control: &Control, one: &StoredResponse, now: Moment) -> String {
    let (head, age) = (&one.object.head, one.object.age(now));
    let lifetime = &head.lifetime;
    let ttl = lifetime.ttl(age);
    let state = match () {
        () if one.is_purged => "stale: purged".to_owned(),
        () if lifetime.is_no_cache() => "validated each time (`no-cache`)".to_owned(),
        () if ttl > 0 => format!("fresh for {}", seconds(ttl.unsigned_abs())),
        () => format!("stale since {}", seconds(ttl.unsigned_abs())),
    };
    let by = match freshness_from(lifetime) {
        "configuration" => "by the configuration",
        "last-modified" => "by its last change",
        _ => "as it says itself",
    };
    let mut text = format!(
        "{}\n  {} · {} · {state} · {} old · {} in all, {by}\n",
        String::from_utf8_lossy(one.object.key()),
        head.status,
        size(one.object.content.length()),
        seconds(age.as_secs()),
        seconds(lifetime.fresh_for().as_secs()),
    );
    for (stale, when) in [
        (lifetime.while_revalidate(), "while a new one is fetched"),
        (lifetime.on_error(), "if endpoints fail"),
    ] {
        if !stale.is_zero() {
            let _ = writeln!(text, "  then still sent for {} {when}", seconds(stale.as_secs()));
        }
    }
    for (name, value) in vary(one) {
        let _ = writeln!(text, "  for requests with {name}: {value}");
    }
    let tags = tags(one);
    if !tags.is_empty() {
        let _ = writeln!(text, "  tags: {}", tags.join(", "));
    }
    let _ = writeln!(text, "  in memory, by {}", control.server.config().locate(head.place));
    text
}

fn freshness_from(lifetime: &cache::Lifetime) -> &'static str {
    match (lifetime.is_configured(), lifetime.is_heuristic()) {
        (true, _) => "configuration",
        (false, true) => "last-modified",
        (false, false) => "response",
    }
}

/// The fields that the response varies by, with the values of its requests.
fn vary(one: &StoredResponse) -> Vec<(String, String)> {
    let variant = &one.object.head.variant;
    let Some(fields) = &variant.vary else { return Vec::new() };
    let values = variant.values.split(|&byte| byte == 0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = |bytes: &[u8]| match bytes.strip_prefix(b"=") {
        Some(value) => text(value),
        None => "(none)".to_owned(),
    };
    fields.iter().zip(values).map(|(name, bytes)| (text(name), value(bytes))).collect()
}

fn tags(one: &StoredResponse) -> Vec<String> {
    let mut tags = Vec::new();
    cache::tags(&one.object.head.fields, |_, tag| {
        tags.push(String::from_utf8_lossy(tag).into_owned());
    });
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn seconds(seconds: u64) -> String {
    config::duration_text(Duration::from_secs(seconds))
}

fn size(bytes: u64) -> String {
    for (unit, length) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= length {
            return format!("{:.1} {unit}", bytes as f64 / length as f64);
        }
    }
    format!("{bytes} B")
}
