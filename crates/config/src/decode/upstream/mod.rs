//! `upstream`: endpoints, and how requests are spread over them, sent again and held back.
//!
//! The block goes straight into the model, which has every default; where each value that is set
//! stands is kept beside it ([`Origins`]). What one node gets wrong by itself is told here, what
//! does not fit together in [`resolve`].

mod endpoints;
mod health;
pub(super) mod resolve;
pub(super) mod show;

use std::path::Path;
use std::time::Duration;

use super::layer::Overrides;
use super::tls::{RawUpstreamTls, protocol};
use super::{Checked, Decoder, Origins};
use crate::model::{
    Adaptive, Balance, EditVerb, Ejection, Hedge, HedgeAfter, KeyPart, Panic, Retry, SameSite,
    Sticky, Upstream,
};
use crate::schema::TIMEOUTS;
use crate::source::Span;
use crate::tls::UpstreamProtocol;
use crate::values::Datum;

#[derive(Debug)]
pub(in crate::decode) struct RawUpstream {
    pub(in crate::decode) name: Box<str>,
    /// Where its name is.
    pub(in crate::decode) span: Span,
    /// All but times, TLS and protocol.
    pub(in crate::decode) settings: Upstream,
    pub(in crate::decode) set: Origins,
    /// By endpoint.
    pub(in crate::decode) endpoint_spans: Vec<Span>,
    /// By check.
    pub(in crate::decode) health: Vec<Origins>,
    pub(in crate::decode) timeouts: Overrides,
    pub(in crate::decode) protocol: Option<(UpstreamProtocol, Span)>,
    pub(in crate::decode) tls: Option<RawUpstreamTls>,
    pub(in crate::decode) broken: bool,
}

/// Puts what a property says into its place, if it is there.
fn put<T>(node: &Checked<'_, '_>, name: &str, slot: &mut T, read: impl FnOnce(&Datum) -> T) {
    if let Some(given) = node.property(name) {
        *slot = read(&given.datum);
    }
}

fn number<T: TryFrom<u64> + Default>(datum: &Datum) -> T {
    datum.number_in()
}

fn text(datum: &Datum) -> Box<str> {
    datum.text().into()
}

impl Decoder<'_> {
    pub(in crate::decode) fn upstream(&mut self, node: &Checked<'_, '_>) -> Option<RawUpstream> {
        let name: Box<str> = node.first().map_or_else(Box::default, |given| text(&given.datum));
        let span = node.first().map_or(node.name_span(), |given| given.span);
        let settings = Upstream::new(name.as_ref(), Vec::new());
        let mut upstream = RawUpstream {
            name,
            span,
            settings: Upstream { place: self.place(span), ..settings },
            set: Origins::default(),
            endpoint_spans: Vec::new(),
            health: Vec::new(),
            timeouts: Vec::new(),
            protocol: None,
            tls: None,
            broken: node.node.damaged,
        };
        let children = self.children(node);
        upstream.broken |= children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        for child in children {
            match child.row.name {
                "to" => {
                    upstream.broken |= child.arguments.is_empty();
                    let endpoints = &mut upstream.settings.endpoints;
                    self.endpoints(&child, endpoints, &mut upstream.endpoint_spans);
                }
                "srv" | "endpoints" => match self.source(&child) {
                    Some(source) => upstream.settings.sources.push(source),
                    None => upstream.broken = true,
                },
                "health" => {
                    let mut set = Origins::default();
                    set.note(&child);
                    if let Some(health) = self.health(&child) {
                        upstream.settings.health.push(health);
                        upstream.health.push(set);
                    }
                }
                "protocol" => {
                    let word = child.first().map(|given| given.datum.text());
                    upstream.protocol = word.map(|word| (protocol(word), child.name_span()));
                }
                "tls" => upstream.tls = Some(self.upstream_tls(&child)),
                // The rows of this table are those of `TIMEOUTS` that hold for an upstream.
                "timeouts" => upstream.timeouts = self.overrides(&child, TIMEOUTS),
                _ => {
                    upstream.set.note(&child);
                    self.upstream_setting(&child, &mut upstream.settings);
                }
            }
        }
        node.first()?;
        self.check_mixed(&upstream.settings.endpoints, &upstream.endpoint_spans);
        let settings = &upstream.settings;
        if settings.endpoints.is_empty() && settings.sources.is_empty() && !upstream.broken {
            self.error(node.node.span, format!("the upstream `{}` has no endpoint", upstream.name))
                .hint("write to \"10.0.0.1:8080\" inside");
        }
        Some(upstream)
    }

    fn upstream_setting(&mut self, node: &Checked<'_, '_>, upstream: &mut Upstream) {
        let first = node.first().map(|given| &given.datum);
        match node.row.name {
            "balance" => self.balance(node, &mut upstream.balance),
            "sticky" => upstream.sticky = self.sticky(node),
            "spill" => upstream.spill = first.map_or(upstream.spill, number),
            "slow-start" => upstream.slow_start = first.map_or(Duration::ZERO, Datum::duration),
            "eject" => upstream.ejection = self.ejection(node),
            "panic" => {
                let spread = first.is_some_and(|datum| datum.text() == "spread");
                upstream.panic = if spread { Panic::Spread } else { Panic::Fail };
            }
            "retry" => upstream.retry = self.retry(node),
            "hedge" => {
                let place = self.place(node.name_span());
                upstream.hedge = first
                    .map(|datum| match datum {
                        Datum::Duration(time) => HedgeAfter::Fixed(*time),
                        percent => HedgeAfter::Quantile(number(percent)),
                    })
                    .map(|after| Hedge { place, after });
            }
            "queue" => {
                put(node, "max", &mut upstream.queue.max, number);
                put(node, "wait", &mut upstream.queue.wait, Datum::duration);
                if self.is_off(node) {
                    upstream.queue.max = 0;
                }
            }
            "breaker" => {
                let breaker = &mut upstream.breaker;
                put(node, "in-flight", &mut breaker.in_flight, |datum| Some(number(datum)));
                put(node, "connecting", &mut breaker.connecting, |datum| Some(number(datum)));
                self.check_says_something(node, "in-flight=10000");
            }
            "adaptive" => upstream.adaptive = Some(self.adaptive(node)),
            "deadline" => {
                let field = node.property("field");
                if let Some(given) =
                    field.filter(|g| self.may_edit(g.datum.text(), g.span, EditVerb::Set, true))
                {
                    upstream.deadline.field = Some(text(&given.datum));
                }
                put(node, "grpc", &mut upstream.deadline.grpc, Datum::flag);
                self.check_says_something(node, "field=\"X-Request-Timeout\"");
            }
            "pool" => {
                let pool = &mut upstream.pool;
                put(node, "max", &mut pool.max, number);
                put(node, "min", &mut pool.min, number);
                put(node, "lifetime", &mut pool.lifetime, Datum::duration);
                put(node, "steal", &mut pool.steal, Datum::flag);
                let (max, min) = (pool.max, pool.min);
                if let Some(given) = node.property("min").filter(|_| max == 0 && min > 0) {
                    self.error(
                        given.span,
                        "with max=0 no connection is kept, so none can be opened ahead",
                    );
                }
            }
            _ => {}
        }
    }

    /// Whether a node says `off`, which stands alone.
    fn is_off(&mut self, node: &Checked<'_, '_>) -> bool {
        let Some(given) = node.first() else { return false };
        let more = node.node.properties.first().map(|property| property.name_span);
        let block = node.node.children.as_ref().map(|_| node.name_span());
        if let Some(span) = more.or(block) {
            let name = node.row.name;
            self.error(span, format!("`{name} off` has nothing else"))
                .related(given.span, "`off` is here");
        }
        true
    }

    fn check_says_something(&mut self, node: &Checked<'_, '_>, such_as: &str) {
        if node.node.properties.is_empty() && !node.node.damaged {
            let name = node.row.name;
            self.error(node.node.span, format!("`{name}` says nothing"))
                .hint(format!("write {name} {such_as}"));
        }
    }

    fn balance(&mut self, node: &Checked<'_, '_>, balance: &mut Balance) {
        balance.place = self.place(node.name_span());
        if let Some(given) = node.first() {
            balance.algorithm = text(&given.datum);
        }
        put(node, "bound", &mut balance.bound, |datum| {
            matches!(datum, Datum::Number(_)).then(|| number(datum))
        });
        for child in self.children(node) {
            balance.keys.extend(self.key_part(&child));
        }
    }

    fn key_part(&mut self, node: &Checked<'_, '_>) -> Option<KeyPart> {
        let word = node.first().map(|given| match given.datum.text() {
            "path" => KeyPart::Path,
            _ => KeyPart::Address,
        });
        let properties = node.properties.iter().map(|(name, given)| {
            let text = text(&given.datum);
            match *name {
                "header" => KeyPart::Header(text),
                "cookie" => KeyPart::Cookie(text),
                _ => KeyPart::Query(text),
            }
        });
        let mut parts: Vec<_> = word.into_iter().chain(properties).collect();
        let given = node.node.arguments.len() + node.node.properties.len();
        if given != 1 && !node.node.damaged {
            let message = if given == 0 { "`by` needs what" } else { "`by` takes one thing" };
            self.error(node.node.span, message).hint(
                "write by header=\"…\", by cookie=\"…\", by query=\"…\", by path or by address, each on its line",
            );
        }
        parts.pop()
    }

    fn sticky(&mut self, node: &Checked<'_, '_>) -> Option<Sticky> {
        let cookie = node.first().map(|given| text(&given.datum))?;
        let mut sticky = Sticky {
            place: self.place(node.name_span()),
            cookie,
            max_age: None,
            path: "/".into(),
            domain: None,
            secure: None,
            http_only: true,
            same_site: SameSite::Lax,
            key_file: None,
        };
        put(node, "max-age", &mut sticky.max_age, |datum| Some(datum.duration()));
        put(node, "path", &mut sticky.path, text);
        put(node, "domain", &mut sticky.domain, |datum| Some(text(datum)));
        put(node, "secure", &mut sticky.secure, |datum| Some(datum.flag()));
        put(node, "http-only", &mut sticky.http_only, Datum::flag);
        put(node, "same-site", &mut sticky.same_site, |datum| match datum.text() {
            "strict" => SameSite::Strict,
            "none" => SameSite::None,
            "unset" => SameSite::Unset,
            _ => SameSite::Lax,
        });
        if let Some(given) = node.property("key-file") {
            let path = given.datum.path();
            // Whether there is one, and it holds enough, is for `check` and the start.
            self.check_private(&path, given.span);
            sticky.key_file = Some(path);
        }
        let same_site = node.property("same-site");
        let clear = sticky.same_site == SameSite::None && sticky.secure == Some(false);
        if let Some(given) = same_site.filter(|_| clear) {
            self.error(given.span, "browsers drop a cookie with same-site=none that is not secure")
                .hint("leave secure=#false out");
        }
        Some(sticky)
    }

    /// Warns of a secret that others can read.
    pub(in crate::decode) fn check_private(&mut self, path: &Path, span: Span) {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(metadata) = path.metadata() else { return };
        if metadata.permissions().mode() & 0o004 != 0 {
            let shown = path.display();
            self.warning(span, format!("everybody on this machine can read `{shown}`"))
                .hint(format!("chmod 600 {shown}"));
        }
    }

    fn ejection(&mut self, node: &Checked<'_, '_>) -> Option<Ejection> {
        if self.is_off(node) {
            return None;
        }
        let mut ejection = Ejection { place: self.place(node.name_span()), ..Ejection::default() };
        put(node, "consecutive", &mut ejection.consecutive, number);
        put(node, "failures", &mut ejection.failures, Datum::flag);
        put(node, "latency", &mut ejection.latency, |datum| match datum {
            Datum::Factor(factor) => *factor as f32,
            _ => 0.0,
        });
        put(node, "min", &mut ejection.requests_min, number);
        put(node, "window", &mut ejection.window, Datum::duration);
        put(node, "term", &mut ejection.term, Datum::duration);
        put(node, "term-max", &mut ejection.term_max, Datum::duration);
        put(node, "share", &mut ejection.share, number);
        let term = node.property("term-max").or(node.property("term"));
        if let Some(given) = term.filter(|_| ejection.term > ejection.term_max) {
            self.error(given.span, "`term` is longer than `term-max`");
        }
        Some(ejection)
    }

    fn retry(&mut self, node: &Checked<'_, '_>) -> Retry {
        let mut retry = Retry { place: self.place(node.name_span()), ..Retry::default() };
        put(node, "tries", &mut retry.tries, number);
        put(node, "budget", &mut retry.budget, number);
        put(node, "budget-min", &mut retry.budget_min, number);
        put(node, "buffer", &mut retry.buffer, number);
        put(node, "try", &mut retry.try_timeout, |datum| Some(datum.duration()));
        for child in self.children(node) {
            let has = |word: &str| child.arguments.iter().any(|g| g.datum.text() == word);
            retry.connect = has("connect");
            retry.refused = has("refused");
            retry.reset = has("reset");
            retry.timeout = has("timeout");
            for given in &child.arguments {
                let Datum::Number(_) = given.datum else { continue };
                let status = number(&given.datum);
                if !retry.statuses.contains(&status) {
                    retry.statuses.push(status);
                }
            }
        }
        if self.is_off(node) {
            retry.tries = 1;
        }
        retry
    }

    fn adaptive(&mut self, node: &Checked<'_, '_>) -> Adaptive {
        let mut adaptive = Adaptive { place: self.place(node.name_span()), min: 4, max: 1000 };
        put(node, "min", &mut adaptive.min, number);
        put(node, "max", &mut adaptive.max, number);
        if adaptive.min > adaptive.max {
            let given = node.property("max").or(node.property("min"));
            let span = given.map_or(node.name_span(), |given| given.span);
            self.error(
                span,
                format!("`min` ({}) is more than `max` ({})", adaptive.min, adaptive.max),
            );
        }
        adaptive
    }
}
