//! Which of several upstreams and endpoints a request would get, and why: the part of a split, the
//! endpoint that a cookie names, the choice of the algorithm.
//!
//! The code is the one that decides about real requests, but it knows only the configuration: all
//! endpoints count as up, and those found at run time are unknown.

use std::fmt::Write;

use balance::Choice;
use config::{Action, Addresses, EndpointAddress, Place, Split, SplitPart, Stay, Sticky, Upstream};
use proxy::StickyCookie;
use rules::Outcome;
use serde_json::{Value, json};

use super::ExplainReport;
use crate::terminal::{self, Paint};

/// The maximum number of endpoints that are listed; of further ones, only the number is printed.
const CHOICES_SHOWN_MAX: usize = 20;

/// The sticky cookie of a request, decoded.
struct StickyBinding<'a> {
    settings: &'a Sticky,
    cookie: StickyCookie,
}

impl ExplainReport<'_> {
    /// Sets the host to that of the endpoint, if the request determines one.
    pub(super) fn set_host(&mut self) {
        let Some(host) = self.decided_host() else { return };
        if let Outcome::Proxied { host: shown, .. } | Outcome::Split { host: shown, .. } =
            &mut self.explanation.outcome
        {
            *shown = host;
        }
    }

    fn decided_host(&self) -> Option<String> {
        let [upstream] = self.upstreams()[..] else { return None };
        let index = match self.binding(upstream).map(|bound| bound.cookie) {
            Some(StickyCookie::Endpoint(index)) => index,
            _ => 0, // the first endpoint, if nothing determines another
        };
        let policy = &self.settings()?.host;
        let endpoint = upstream.endpoints.get(index)?;
        Some(rules::upstream_host(policy, &self.request.target, endpoint).to_owned())
    }

    fn split(&self) -> Option<&Split> {
        match (&self.explanation.outcome, &self.route()?.action) {
            (Outcome::Split { .. }, Action::Split(split)) => Some(split),
            _ => None,
        }
    }

    /// The part of a split that this request gets; `None` if it is drawn at random.
    fn part(&self) -> Option<(u16, &SplitPart)> {
        proxy::split_part(self.split()?, self.request, self.from)
    }

    /// The upstreams that the request may get.
    fn upstreams(&self) -> Vec<&Upstream> {
        let action = self.route().map(|route| &route.action);
        let ids: Vec<_> = match (&self.explanation.outcome, action) {
            (Outcome::Proxied { .. }, Some(Action::To(id))) => vec![*id],
            (Outcome::Proxied { .. }, Some(Action::Files(files))) => {
                files.otherwise.into_iter().collect()
            }
            (Outcome::Split { .. }, Some(Action::Split(split))) => match self.part() {
                Some((_, part)) => vec![part.upstream],
                None => split.parts.iter().map(|part| part.upstream).collect(),
            },
            _ => Vec::new(),
        };
        ids.iter().filter_map(|&id| self.config.upstream(id)).collect()
    }

    /// Why the request gets this part of a split, or why that is unknown.
    fn split_words(&self, split: &Split, point: Option<u16>) -> String {
        match (&split.stay, point) {
            (Stay::No, _) => "drawn at random for each request".to_owned(),
            (Stay::Address, point) => {
                format!("the address {} has point {}", self.from, point.unwrap_or_default())
            }
            (Stay::Cookie(name), Some(point)) => format!("the cookie {name} has point {point}"),
            (Stay::Cookie(name), None) => format!(
                "drawn at random, as the request has no valid cookie {name}; the response sets one, \
                 and the client stays"
            ),
        }
    }

    pub(super) fn split_text(&self, text: &mut String, paint: Paint) {
        let Some(split) = self.split() else { return };
        let decided = self.part();
        let words = self.split_words(split, decided.map(|(point, _)| point));
        let _ = writeln!(text, "part of the split: {words}");
        let name = |part: &SplitPart| self.upstream_name(part.upstream);
        let width = split.parts.iter().map(|part| name(part).chars().count()).max().unwrap_or(0);
        let mut begin = 0;
        for part in &split.parts {
            let (from, end) = (begin, begin + u32::from(part.share));
            begin = end;
            let points = match part.share {
                0 => "no points".to_owned(),
                _ => format!("points {from} to {}", end - 1),
            };
            let is_it = decided.is_some_and(|(_, chosen)| std::ptr::eq(chosen, part));
            let it = if is_it { format!("  {}", paint.green("this one")) } else { String::new() };
            let at = paint.dim(&format!("<- {}", self.config.locate(part.place)));
            let (name, share) = (name(part), f64::from(part.share) / 100.0);
            let _ = writeln!(text, "  {name:width$}  {share:3} %  {points}{it}  {at}");
        }
    }

    pub(super) fn split_json(&self) -> Value {
        let Some(split) = self.split() else { return Value::Null };
        let decided = self.part();
        let point = decided.map(|(point, _)| point);
        json!({
            "part": decided.map(|(_, part)| self.upstream_name(part.upstream)),
            "point": point,
            "why": self.split_words(split, point),
        })
    }

    fn binding<'u>(&self, upstream: &'u Upstream) -> Option<StickyBinding<'u>> {
        let settings = upstream.sticky.as_ref()?;
        let state = self.config.process.state.as_deref();
        let cookie = StickyCookie::read(upstream, settings, state, &self.request.fields);
        Some(StickyBinding { settings, cookie })
    }

    /// The endpoints of an upstream that the request may get, in order.
    fn choices(&self, upstream: &Upstream, bound: Option<&StickyBinding<'_>>) -> Vec<Choice> {
        let key = proxy::request_key(&upstream.balance, self.request, self.from);
        let zone = self.config.process.zone.as_ref();
        let mut choices = balance::preview(upstream, zone, Some(key));
        if let Some(StickyBinding { settings, cookie: StickyCookie::Endpoint(index) }) = bound {
            put_bound_first(&mut choices, upstream, *index, &settings.cookie);
        }
        choices
    }

    pub(super) fn choices_text(&self, text: &mut String, paint: Paint) {
        let at = |place: Place| paint.dim(&format!("<- {}", self.config.locate(place)));
        for upstream in self.upstreams() {
            let place = match upstream.balance.place {
                place if place.line > 0 => place,
                _ => upstream.place,
            };
            let bound = self.binding(upstream);
            if let Some(bound) = &bound {
                let (name, words) = (&bound.settings.cookie, bound.words(upstream));
                let _ = writeln!(text, "cookie {name}: {words}  {}", at(bound.settings.place));
            }
            let (name, algorithm) = (&upstream.name, &upstream.balance.algorithm);
            let _ =
                writeln!(text, "picked in {name}, by {algorithm} if all are up:  {}", at(place));
            let choices = self.choices(upstream, bound.as_ref());
            let width = choices.iter().map(|c| c.endpoint.chars().count()).max().unwrap_or(0);
            for Choice { endpoint, share, why, .. } in choices.iter().take(CHOICES_SHOWN_MAX) {
                let _ = writeln!(text, "  {endpoint:width$}  {share:3.0} %  {}", paint.dim(why));
            }
            if let Some(more) = choices.len().checked_sub(CHOICES_SHOWN_MAX).filter(|n| *n > 0) {
                let _ = writeln!(text, "  and {}", terminal::count(more as u64, "other"));
            }
        }
    }

    pub(super) fn choices_json(&self) -> Vec<Value> {
        let upstreams = self.upstreams().into_iter().map(|upstream| {
            let bound = self.binding(upstream);
            let choices = self.choices(upstream, bound.as_ref()).into_iter().map(|choice| {
                json!({ "endpoint": &*choice.endpoint, "share": choice.share, "why": choice.why })
            });
            json!({
                "upstream": &*upstream.name,
                "algorithm": &*upstream.balance.algorithm,
                "sticky": bound.map(|bound| bound.json(upstream)),
                "choices": choices.collect::<Vec<_>>(),
            })
        });
        upstreams.collect()
    }
}

impl StickyBinding<'_> {
    /// What the cookie means for the client.
    fn words(&self, upstream: &Upstream) -> String {
        match &self.cookie {
            StickyCookie::Missing => {
                "the request has none; the response binds the client to its endpoint".to_owned()
            }
            StickyCookie::Endpoint(index) => {
                let written = upstream.endpoints.get(*index).map_or("", |one| &*one.written);
                let (number, count) = (index + 1, upstream.endpoints.len());
                format!("names endpoint {number} of {count}, {written}, which is used")
            }
            StickyCookie::Unknown(key) => {
                let found =
                    if has_dynamic_endpoints(upstream) { " or was found at run time" } else { "" };
                format!(
                    "names no endpoint of the configuration, with the key in {}: it is forged, made \
                     with another key, or its endpoint is gone{found}; unless the process knows it, the \
                     client gets a new cookie",
                    key.display()
                )
            }
            StickyCookie::NoKey(why) => format!("cannot be decoded here: {why}"),
        }
    }

    fn json(&self, upstream: &Upstream) -> Value {
        let index = match &self.cookie {
            StickyCookie::Endpoint(index) => Some(*index),
            _ => None,
        };
        let endpoint = index.and_then(|index| upstream.endpoints.get(index));
        let kind = match &self.cookie {
            StickyCookie::Missing => "missing",
            StickyCookie::Endpoint(_) => "endpoint",
            StickyCookie::Unknown(_) => "unknown",
            StickyCookie::NoKey(_) => "no-key",
        };
        json!({
            "cookie": &*self.settings.cookie,
            "kind": kind,
            "endpoint": endpoint.map(|endpoint| &*endpoint.written),
            "number": index.map(|index| index + 1),
            "why": self.words(upstream),
        })
    }
}

/// Whether the running process may have endpoints that are not in the configuration.
fn has_dynamic_endpoints(upstream: &Upstream) -> bool {
    let has_more = |endpoint: &config::Endpoint| {
        let is_name = matches!(endpoint.address, EndpointAddress::Name { .. });
        is_name && endpoint.addresses != Addresses::One
    };
    !upstream.sources.is_empty() || upstream.endpoints.iter().any(has_more)
}

/// Moves the endpoint that a client is bound to before the others.
fn put_bound_first(choices: &mut Vec<Choice>, upstream: &Upstream, index: usize, cookie: &str) {
    let Some(at) = choices.iter().position(|choice| choice.index == index) else { return };
    let mut own = choices.remove(at);
    for other in choices.iter_mut().filter(|other| other.share > 0.0) {
        other.share = 0.0;
        other.why = format!("if that one is down: {}", other.why);
    }
    let settings = upstream.endpoints.get(index);
    let more = match settings.map(|endpoint| (endpoint.draining, endpoint.max)) {
        Some((true, _)) => "; it is draining, and keeps its clients".to_owned(),
        Some((false, Some(max))) => format!("; if it has {max} requests, the request waits"),
        _ => String::new(),
    };
    own.share = 100.0;
    own.why = format!("the cookie {cookie} names it{more}");
    choices.insert(0, own);
}
