//! Which of several upstreams and endpoints a request would get, and why: the part of a split, the
//! endpoint that a cookie names, what the algorithm makes of the rest.
//!
//! All is told by the code that decides for real, out of the configuration alone: endpoints count as
//! up, and those that are found at run time are not known.

use std::fmt::Write;

use balance::Choice;
use config::{Action, Addresses, EndpointAddress, Place, Split, SplitPart, Stay, Sticky, Upstream};
use proxy::StickyCookie;
use rules::Outcome;
use serde_json::{Value, json};

use super::Told;
use crate::terminal::{self, Paint};

/// Endpoints of an upstream that are told; of more it is said how many.
const CHOICES_TOLD_MAX: usize = 20;

/// What the cookie that binds clients means.
struct Bound<'a> {
    settings: &'a Sticky,
    cookie: StickyCookie,
}

impl Told<'_> {
    /// The host is that of the endpoint that the request decides for, if it does.
    pub(super) fn tell_host(&mut self) {
        let Some(host) = self.host_decided() else { return };
        if let Outcome::Proxied { host: told, .. } | Outcome::Split { host: told, .. } =
            &mut self.explanation.outcome
        {
            *told = host;
        }
    }

    fn host_decided(&self) -> Option<String> {
        let [upstream] = self.upstreams()[..] else { return None };
        let index = match self.bound(upstream).map(|bound| bound.cookie) {
            Some(StickyCookie::Endpoint(index)) => index,
            _ => 0, // the first, as where nothing decides
        };
        let policy = &self.settings()?.host;
        let endpoint = upstream.endpoints.get(index)?;
        Some(rules::upstream_host(policy, &self.asked.target, endpoint).to_owned())
    }

    fn split(&self) -> Option<&Split> {
        match (&self.explanation.outcome, &self.route()?.action) {
            (Outcome::Split { .. }, Action::Split(split)) => Some(split),
            _ => None,
        }
    }

    /// The part of a split that this request gets; `None` if chance decides.
    fn part(&self) -> Option<(u16, &SplitPart)> {
        proxy::split_part(self.split()?, self.asked, self.from)
    }

    /// The upstreams that the request may go to.
    fn upstreams(&self) -> Vec<&Upstream> {
        let action = self.route().map(|route| &route.action);
        let ids: Vec<_> = match (&self.explanation.outcome, action) {
            (Outcome::Proxied { .. }, Some(Action::To(id))) => vec![*id],
            (Outcome::Split { .. }, Some(Action::Split(split))) => match self.part() {
                Some((_, part)) => vec![part.upstream],
                None => split.parts.iter().map(|part| part.upstream).collect(),
            },
            _ => Vec::new(),
        };
        ids.iter().filter_map(|&id| self.config.upstream(id)).collect()
    }

    /// Why it is this part of a split, or why none is known.
    fn split_words(&self, split: &Split, point: Option<u16>) -> String {
        match (&split.stay, point) {
            (Stay::No, _) => "drawn anew for each request".to_owned(),
            (Stay::Address, point) => {
                format!("the address {} has point {}", self.from, point.unwrap_or_default())
            }
            (Stay::Cookie(name), Some(point)) => format!("the cookie {name} has point {point}"),
            (Stay::Cookie(name), None) => format!(
                "drawn, as no cookie {name} with a point comes with the request; its answer has one, \
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

    fn bound<'u>(&self, upstream: &'u Upstream) -> Option<Bound<'u>> {
        let settings = upstream.sticky.as_ref()?;
        let state = self.config.process.state.as_deref();
        let cookie = StickyCookie::read(upstream, settings, state, &self.asked.fields);
        Some(Bound { settings, cookie })
    }

    /// Which endpoints of an upstream the request may get, in their order.
    fn choices(&self, upstream: &Upstream, bound: Option<&Bound<'_>>) -> Vec<Choice> {
        let key = proxy::request_key(&upstream.balance, self.asked, self.from);
        let zone = self.config.process.zone.as_ref();
        let mut choices = balance::preview(upstream, zone, Some(key));
        if let Some(Bound { settings, cookie: StickyCookie::Endpoint(index) }) = bound {
            bind(&mut choices, upstream, *index, &settings.cookie);
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
            let bound = self.bound(upstream);
            if let Some(bound) = &bound {
                let (name, words) = (&bound.settings.cookie, bound.words(upstream));
                let _ = writeln!(text, "cookie {name}: {words}  {}", at(bound.settings.place));
            }
            let (name, algorithm) = (&upstream.name, &upstream.balance.algorithm);
            let _ =
                writeln!(text, "picked in {name}, by {algorithm} if all are up:  {}", at(place));
            let choices = self.choices(upstream, bound.as_ref());
            let width = choices.iter().map(|c| c.endpoint.chars().count()).max().unwrap_or(0);
            for Choice { endpoint, share, why, .. } in choices.iter().take(CHOICES_TOLD_MAX) {
                let _ = writeln!(text, "  {endpoint:width$}  {share:3.0} %  {}", paint.dim(why));
            }
            if let Some(more) = choices.len().checked_sub(CHOICES_TOLD_MAX).filter(|n| *n > 0) {
                let _ = writeln!(text, "  and {}", terminal::count(more as u64, "other"));
            }
        }
    }

    pub(super) fn choices_json(&self) -> Vec<Value> {
        let upstreams = self.upstreams().into_iter().map(|upstream| {
            let bound = self.bound(upstream);
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

impl Bound<'_> {
    /// What becomes of the client.
    fn words(&self, upstream: &Upstream) -> String {
        match &self.cookie {
            StickyCookie::Missing => {
                "none comes with the request; the endpoint that answers keeps the client".to_owned()
            }
            StickyCookie::Endpoint(index) => {
                let written = upstream.endpoints.get(*index).map_or("", |one| &*one.written);
                let (number, count) = (index + 1, upstream.endpoints.len());
                format!("names endpoint {number} of {count}, {written}, which is taken")
            }
            StickyCookie::Unknown(key) => {
                let found = if finds_more(upstream) { " or was found at run time" } else { "" };
                format!(
                    "names no endpoint that is written here, by the key in {}: it is forged, made \
                     with another key, or its endpoint is gone{found}; if so for the process too, the \
                     client is bound anew",
                    key.display()
                )
            }
            StickyCookie::NoKey(why) => format!("not to be read here: {why}"),
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

/// Whether there may be endpoints while the process runs that are not written as they are.
fn finds_more(upstream: &Upstream) -> bool {
    let has_more = |endpoint: &config::Endpoint| {
        let is_name = matches!(endpoint.address, EndpointAddress::Name { .. });
        is_name && endpoint.addresses != Addresses::One
    };
    !upstream.sources.is_empty() || upstream.endpoints.iter().any(has_more)
}

/// Puts the endpoint that a client is bound to before the others.
fn bind(choices: &mut Vec<Choice>, upstream: &Upstream, index: usize, cookie: &str) {
    let Some(at) = choices.iter().position(|choice| choice.index == index) else { return };
    let mut own = choices.remove(at);
    for other in choices.iter_mut().filter(|other| other.share > 0.0) {
        other.share = 0.0;
        other.why = format!("if that is down: {}", other.why);
    }
    let settings = upstream.endpoints.get(index);
    let more = match settings.map(|endpoint| (endpoint.draining, endpoint.max)) {
        Some((true, _)) => "; it drains, and keeps the clients that it has".to_owned(),
        Some((false, Some(max))) => format!("; waited for when it has {max} requests"),
        _ => String::new(),
    };
    own.share = 100.0;
    own.why = format!("the cookie {cookie} names it{more}");
    choices.insert(0, own);
}
