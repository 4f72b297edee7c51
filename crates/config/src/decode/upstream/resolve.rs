//! `split` and `mirror`, and what of an upstream does not fit together.

use super::super::layer::{Layer, RawActionKind};
use super::super::resolve::Resolver;
use super::super::{Checked, Decoder};
use super::RawUpstream;
use crate::model::{
    Action, Check, Endpoint, EndpointAddress, FileServing, KeyPart, Mirror, Split, SplitPart, Stay,
    Upstream, UpstreamId,
};
use crate::schema::{
    MIRROR_PROPERTIES, SPLIT_BLOCK, SPLIT_PROPERTIES, TIMEOUTS, bounded, has_key, keyed,
};
use crate::source::Span;
use crate::tls::UpstreamProtocol;
use crate::values::{Datum, duration_text, share_text};

/// The cookie of a split, where nothing is said.
const SPLIT_COOKIE: &str = "bw-split";

/// A `mirror`, before names are looked up.
#[derive(Debug)]
pub(crate) struct RawMirror {
    /// `None`: `mirror off`.
    pub(crate) to: Option<RawActionKind>,
    pub(crate) span: Span,
    pub(crate) share: u16,
    pub(crate) body_max: u32,
    pub(crate) in_flight: u32,
}

/// A part of a `split`, before names are looked up.
#[derive(Debug)]
pub(crate) struct RawPart {
    pub(crate) to: RawActionKind,
    pub(crate) span: Span,
    pub(crate) share: u16,
}

/// The parts of a `split`.
#[derive(Debug, Default)]
pub(crate) struct RawSplit {
    pub(crate) parts: Vec<RawPart>,
    /// Whether a part was left out because of a mistake.
    pub(crate) broken: bool,
}

/// How clients stay with their part.
pub(crate) struct RawStay {
    pub(crate) stay: Stay,
    /// The cookie to stay by, if it is one.
    pub(crate) cookie: Box<str>,
}

impl Decoder<'_> {
    pub(crate) fn mirror(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let is_off = matches!(node.arguments.as_slice(), [given] if given.datum.text() == "off");
        if let Some(property) = node.node.properties.first().filter(|_| is_off) {
            self.error(property.name_span, "`mirror off` takes nothing else");
        }
        let mut mirror = RawMirror {
            share: 10_000,
            body_max: 64 * 1024,
            in_flight: 64,
            to: if is_off { None } else { Some(self.to(node)) },
            span: node.name_span(),
        };
        node.put(&MIRROR_PROPERTIES, &mut mirror);
        layer.mirrors.push(mirror);
    }

    pub(crate) fn split(&mut self, node: &Checked<'_, '_>) -> RawActionKind {
        let mut stay = RawStay { stay: Stay::Address, cookie: SPLIT_COOKIE.into() };
        node.put(&SPLIT_PROPERTIES, &mut stay);
        let by_cookie = matches!(stay.stay, Stay::Cookie(_));
        if let Some(given) = node.property("cookie").filter(|_| !by_cookie) {
            self.error(given.span, "a cookie is named, but the split does not use one")
                .hint("write stay=cookie");
        }
        let children = self.rows(node, &SPLIT_BLOCK);
        let unknown = children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        let mut split = RawSplit { broken: unknown || node.node.damaged, ..RawSplit::default() };
        self.read(&children, &mut split);
        if split.broken {
            return RawActionKind::Broken;
        }
        let sum: u32 = split.parts.iter().map(|part| u32::from(part.share)).sum();
        if split.parts.is_empty() {
            self.error(node.node.span, "`split` has no parts")
                .hint("write split { to app \"95%\"; to canary \"5%\"; }");
        } else if sum != 10_000 {
            let rest = share_text(sum.abs_diff(10_000));
            let what = if sum > 10_000 { "too many" } else { "missing" };
            self.error(
                node.name_span(),
                format!("the shares add up to {}, not 100%", share_text(sum)),
            )
            .hint(format!("{rest} are {what}"));
        }
        RawActionKind::Split { split, stay: stay.stay }
    }

    pub(crate) fn part(&mut self, split: &mut RawSplit, node: &Checked<'_, '_>) {
        let share = node.data().find_map(|datum| match datum {
            Datum::Number(share) => Some(*share as u16),
            _ => None,
        });
        match (self.to(node), share) {
            (RawActionKind::Broken, _) | (_, None) => split.broken = true,
            (to, Some(share)) => split.parts.push(RawPart { to, span: node.name_span(), share }),
        }
    }
}

impl Resolver<'_, '_> {
    /// The upstream that something leads to.
    pub(in crate::decode) fn target(
        &mut self,
        to: &RawActionKind,
        span: Span,
    ) -> Option<UpstreamId> {
        match to {
            RawActionKind::Upstream { name, span } => self.named(name, *span),
            RawActionKind::Endpoints(endpoints) => Some(self.inline(endpoints, span)),
            RawActionKind::Split { .. }
            | RawActionKind::Files(_)
            | RawActionKind::Ready(_)
            | RawActionKind::Broken => None,
        }
    }

    pub(in crate::decode) fn split(&mut self, parts: &[RawPart], stay: &Stay) -> Option<Action> {
        let mut found: Vec<(SplitPart, Span)> = Vec::with_capacity(parts.len());
        for part in parts {
            let upstream = self.target(&part.to, part.span)?;
            if let Some(&(_, earlier)) = found.iter().find(|(other, _)| other.upstream == upstream)
            {
                self.decoder
                    .error(part.span, "two parts of the split have the same upstream")
                    .related(earlier, "here first")
                    .hint("write one part with both shares");
            }
            let place = self.decoder.place(part.span);
            found.push((SplitPart { place, upstream, share: part.share }, part.span));
        }
        let parts = found.into_iter().map(|(part, _)| part).collect();
        Some(Action::Split(Split { parts, stay: stay.clone() }))
    }

    /// The mirrors that a site or route names; empty for `off`.
    pub(in crate::decode) fn mirrors(&mut self, raw: &[RawMirror]) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        for mirror in raw {
            let Some(to) = &mirror.to else {
                if let Some(other) = raw.iter().find(|other| other.to.is_some()) {
                    self.decoder
                        .error(mirror.span, "`mirror off` cannot be combined with another `mirror`")
                        .related(other.span, "the other one");
                }
                continue;
            };
            let Some(upstream) = self.target(to, mirror.span) else { continue };
            mirrors.push(Mirror {
                place: self.decoder.place(mirror.span),
                upstream,
                share: mirror.share,
                body_max: mirror.body_max,
                in_flight: mirror.in_flight,
            });
        }
        mirrors
    }

    /// Warns of mirrors that copy nothing, or copy to where the request goes itself.
    pub(in crate::decode) fn check_mirrors(&mut self, raw: &[RawMirror], action: &Action) {
        let Some(first) = raw.iter().find(|mirror| mirror.to.is_some()) else { return };
        let goes = match action {
            Action::To(upstream) => vec![*upstream],
            Action::Split(split) => split.parts.iter().map(|part| part.upstream).collect(),
            Action::Files(FileServing { otherwise: Some(upstream), .. }) => vec![*upstream],
            Action::Redirect { .. } | Action::Respond { .. } | Action::Files(_) => {
                self.decoder
                    .warning(first.span, "nothing is copied: no request goes to an upstream here")
                    .hint("write `mirror` next to `to` or `split`");
                return;
            }
        };
        for mirror in raw {
            let Some(RawActionKind::Upstream { name, span }) = &mirror.to else { continue };
            let upstream = self.upstreams.get(name).map(|&(upstream, _)| upstream);
            if upstream.is_some_and(|upstream| goes.contains(&upstream)) {
                self.decoder
                    .warning(
                        *span,
                        format!("copies go to `{name}`, which also gets the original requests"),
                    )
                    .hint("it would process every request twice");
            }
        }
    }

    /// Tells what of an upstream does not fit together.
    pub(in crate::decode) fn check_balancing(&mut self, raw: &RawUpstream) {
        self.check_balance(raw);
        self.check_endpoints(raw);
        self.check_health(raw);
        self.check_tries(raw);
    }

    fn check_balance(&mut self, raw: &RawUpstream) {
        let balance = &raw.settings.balance;
        let algorithm = &*balance.algorithm;
        let Some(span) = raw.set.node("balance") else { return };
        let is_keyed = keyed().contains(&algorithm);
        if !balance.keys.is_empty() && !is_keyed {
            let known = keyed().join(", ");
            self.decoder
                .warning(span, format!("`{algorithm}` uses no key, so `by` has no effect"))
                .hint(format!("those that do: {known}"));
        }
        let bound = raw.set.property("balance", "bound");
        if let Some(span) = bound.filter(|_| !has_key(algorithm)) {
            self.decoder
                .warning(span, format!("`{algorithm}` uses no key, so `bound` has no effect"))
                .hint(format!("those that do: {}", bounded().join(", ")));
        }
        let addressed =
            balance.keys.iter().position(|part| matches!(part, KeyPart::Path | KeyPart::Address));
        if addressed.is_some_and(|at| at + 1 < balance.keys.len()) {
            self.decoder
                .warning(
                    span,
                    "a `by` after `path` or `address` is never used, because every request has those",
                )
                .hint("write it last");
        }
        if let Some(sticky) = raw.set.node("sticky").filter(|_| has_key(algorithm)) {
            self.decoder
                .warning(sticky, format!("`{algorithm}` chooses only for clients without the cookie; afterwards the cookie decides"))
                .related(span, "clients are placed by a key here")
                .hint("one of the two is enough");
        }
    }

    fn check_endpoints(&mut self, raw: &RawUpstream) {
        let endpoints = &raw.settings.endpoints;
        let has_sources = !raw.settings.sources.is_empty();
        let name = &raw.name;
        if !endpoints.is_empty() && !has_sources {
            if endpoints.iter().all(|endpoint| endpoint.draining) {
                self.decoder.warning(
                    raw.span,
                    format!("every endpoint of `{name}` is draining: new clients get 503"),
                );
            }
            if endpoints.iter().all(|endpoint| endpoint.backup) {
                self.decoder
                    .warning(
                        raw.span,
                        format!(
                            "every endpoint of `{name}` is a backup, so `backup` has no effect"
                        ),
                    )
                    .hint("a backup replaces endpoints that are not backups");
            }
        }
        let zoned = endpoints.iter().zip(&raw.endpoint_spans.all);
        let mut zoned = zoned.filter_map(|(endpoint, span)| Some((endpoint.zone.as_ref()?, *span)));
        if let Some((zone, span)) = zoned.next().filter(|_| self.config.process.zone.is_none()) {
            self.decoder
                .warning(span, format!("the zone `{zone}` has no effect: the process has no zone"))
                .hint(format!("write process {{ zone \"{zone}\" }}"));
        }
        let opens_ahead = raw.set.property("pool", "min").filter(|_| raw.settings.pool.min > 0);
        if let Some(span) = opens_ahead.filter(|_| raw.settings.protocol == UpstreamProtocol::Scgi)
        {
            let words =
                "over SCGI each request has a connection of its own, so `min` has no effect";
            self.decoder.warning(span, words);
        }
        let can_wait = endpoints.iter().any(|endpoint| endpoint.max.is_some())
            || raw.settings.adaptive.is_some()
            || has_sources
            || endpoints.is_empty()
            || raw.settings.queue.max == 0;
        if let Some(span) = raw.set.node("queue").filter(|_| !can_wait) {
            self.decoder
                .warning(span, "no request ever waits: no endpoint has a `max`")
                .hint("write to … max=100, or `adaptive`");
        }
    }

    fn check_health(&mut self, raw: &RawUpstream) {
        let protocol = raw.settings.protocol;
        for (health, set) in raw.settings.health.iter().zip(&raw.health) {
            let Some(span) = set.node("health") else { continue };
            let related = raw.set.node("protocol");
            if matches!(health.check, Check::Grpc(_)) {
                let clear = raw.settings.endpoints.iter().find(|endpoint| !endpoint.tls);
                match (protocol, clear) {
                    (UpstreamProtocol::Http1, _) => {
                        let problem = self
                            .decoder
                            .error(span, "gRPC needs HTTP/2, but the upstream speaks HTTP/1.1");
                        problem.hint("write protocol h2c, or h2 for TLS");
                        if let Some(related) = related {
                            problem.related(related, "said here");
                        }
                    }
                    (UpstreamProtocol::Auto, Some(endpoint)) => {
                        let message = format!(
                            "gRPC needs HTTP/2, but `{}` is used with HTTP/1.1",
                            endpoint.written
                        );
                        self.decoder.warning(span, message).hint("write protocol h2c");
                    }
                    _ => {}
                }
            }
            if protocol == UpstreamProtocol::Scgi && health.check != Check::Tcp {
                let words = "endpoints that speak SCGI do not answer this check";
                let problem = self.decoder.error(span, words);
                problem.hint("write health tcp");
                if let Some(related) = related {
                    problem.related(related, "said here");
                }
            }
            let down = set.property("health", "every-down");
            if let Some(span) = down.filter(|_| health.every_down < health.every) {
                self.decoder.warning(
                    span,
                    "endpoints that are down are checked more often than those that are up",
                );
            }
            if let Some(port) = health.port
                && raw.settings.endpoints.iter().all(is_unix)
                && !raw.settings.endpoints.is_empty()
            {
                let span = set.property("health", "port").unwrap_or(span);
                self.decoder
                    .warning(span, format!("no endpoint has a port, so {port} has no effect"));
            }
        }
    }

    fn check_tries(&mut self, raw: &RawUpstream) {
        let Upstream { retry, hedge, .. } = &raw.settings;
        if let Some(span) = raw.set.node("hedge").filter(|_| hedge.is_some()) {
            let why = match (retry.tries, retry.budget, retry.budget_min) {
                (0 | 1, ..) => Some("there is only one try"),
                (_, 0, 0) => Some("the budget is 0"),
                _ => None,
            };
            if let Some(why) = why {
                let problem =
                    self.decoder.error(span, format!("there will be no second try: {why}"));
                problem.hint("hedges count as tries of `retry`, and for its budget");
                if let Some(retry) = raw.set.node("retry") {
                    problem.related(retry, "`retry` is here");
                }
            }
        }
        let first_byte = raw.timeouts.iter().find_map(|(index, datum, _)| {
            let name = TIMEOUTS.get(*index).map(|setting| setting.row.name);
            (name == Some("first-byte")).then(|| datum.duration())
        });
        let first_byte = first_byte.unwrap_or(self.outer.timeouts.value.first_byte);
        let span = raw.set.property("retry", "try");
        if let Some((span, time)) = span.zip(retry.try_timeout)
            && !first_byte.is_zero()
            && time > first_byte
        {
            let message = format!(
                "`try` is longer than `first-byte`, which is {}",
                duration_text(first_byte)
            );
            self.decoder
                .warning(span, message)
                .hint("a try ends when the first of the two expires");
        }
    }
}

fn is_unix(endpoint: &Endpoint) -> bool {
    matches!(endpoint.address, EndpointAddress::Unix(_))
}
