//! What is said of upstreams, splits and mirrors, written down again.

use super::super::Origins;
use super::super::layer::RawActionKind;
use super::super::show::Writer;
use super::RawUpstream;
use super::resolve::{BOUNDED, RawMirror, RawPart};
use crate::effective::quoted;
use crate::model::{
    Addresses, Balance, Check, Ejection, Endpoint, EndpointAddress, Health, HedgeAfter, KeyPart,
    Panic, Place, Retry, SameSite, SourceKind, Stay, Sticky, Upstream,
};
use crate::schema::{HEALTH_FIELD, TIMEOUTS};
use crate::source::Span;
use crate::values::{duration_text, share_text, size_text, statuses_text};

/// Properties of a node: name, value, where from.
type Properties = Vec<(&'static str, String, Place)>;

/// Collects the properties of a node.
struct Collector<'w, 'd, 's> {
    writer: &'w Writer<'d, 's>,
    set: &'w Origins,
    node: &'static str,
    all: Properties,
}

impl Collector<'_, '_, '_> {
    fn add(&mut self, name: &'static str, value: impl ToString) {
        let place = self.writer.place(self.set.property(self.node, name));
        self.all.push((name, value.to_string(), place));
    }

    fn some(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn time(time: std::time::Duration) -> String {
    quoted(&duration_text(time))
}

fn percent(percent: impl std::fmt::Display) -> String {
    format!("\"{percent}%\"")
}

fn flag(flag: bool) -> String {
    format!("#{flag}")
}

impl Writer<'_, '_> {
    pub(in crate::decode) fn upstream(&mut self, raw: &RawUpstream) {
        self.out.block(0, "upstream", raw.name.to_string(), self.decoder.place(raw.span));
        for endpoint in &raw.settings.endpoints {
            self.out.value(1, "to", endpoint_text(endpoint), endpoint.place);
        }
        for source in &raw.settings.sources {
            match &source.kind {
                SourceKind::Srv(name) => {
                    let text = format!("{} tls={}", quoted(name), flag(source.tls));
                    self.out.value(1, "srv", text, source.place);
                }
                SourceKind::File(path) => {
                    let path = quoted(&path.display().to_string());
                    let text = format!("{path} tls={}", flag(source.tls));
                    self.out.value(1, "endpoints", text, source.place);
                }
            }
        }
        self.upstream_tls(raw);
        self.balancing(&raw.settings, &raw.set, &raw.health);
        self.overrides(1, "timeouts", TIMEOUTS, &raw.timeouts);
    }

    /// What holds for endpoints that sites and routes name themselves, left out when it is read
    /// again.
    pub(in crate::decode) fn inline_upstreams(&mut self) {
        self.out.block(0, "/- upstream", "inline", Place::default());
        self.value(1, "protocol", "auto", None);
        self.balancing(&Upstream::new("inline", Vec::new()), &Origins::default(), &[]);
    }

    fn balancing(&mut self, upstream: &Upstream, set: &Origins, checks: &[Origins]) {
        self.balance(&upstream.balance, set);
        self.sticky(upstream.sticky.as_ref(), set);
        self.value(1, "spill", percent(upstream.spill), set.node("spill"));
        self.value(1, "slow-start", time(upstream.slow_start), set.node("slow-start"));
        if upstream.health.is_empty() {
            self.out.remark(1, "health", "none");
        }
        for (health, set) in upstream.health.iter().zip(checks) {
            self.health(health, set);
        }
        self.ejection(upstream.ejection.as_ref(), set);
        let panic = match upstream.panic {
            Panic::Fail => "fail",
            Panic::Spread => "spread",
        };
        self.value(1, "panic", panic, set.node("panic"));
        self.retry(&upstream.retry, set);
        let hedge = upstream.hedge.as_ref().map(|hedge| match hedge.after {
            HedgeAfter::Quantile(percent) => format!("p{percent}"),
            HedgeAfter::Fixed(after) => time(after),
        });
        self.optional(1, "hedge", hedge, "none", set.node("hedge"));
        self.bounds(upstream, set);
        let deadline = self.collect("deadline", set, |out| {
            out.some("field", upstream.deadline.field.as_deref().map(quoted));
            out.add("grpc", flag(upstream.deadline.grpc));
        });
        self.out.properties(1, "deadline", None, &deadline, false);
        let pool = self.collect("pool", set, |out| {
            out.add("max", upstream.pool.max);
            out.add("min", upstream.pool.min);
            out.add("lifetime", time(upstream.pool.lifetime));
            out.add("steal", flag(upstream.pool.steal));
        });
        self.out.properties(1, "pool", None, &pool, false);
    }

    /// What is held back: queue, breaker, adaptive limit.
    fn bounds(&mut self, upstream: &Upstream, set: &Origins) {
        let queue = self.collect("queue", set, |out| {
            out.add("max", upstream.queue.max);
            out.add("wait", time(upstream.queue.wait));
        });
        self.out.properties(1, "queue", None, &queue, false);
        let breaker = self.collect("breaker", set, |out| {
            out.some("in-flight", upstream.breaker.in_flight);
            out.some("connecting", upstream.breaker.connecting);
        });
        match breaker.is_empty() {
            true => self.out.remark(1, "breaker", "none"),
            false => self.out.properties(1, "breaker", None, &breaker, false),
        }
        let Some(adaptive) = &upstream.adaptive else {
            return self.out.remark(1, "adaptive", "off");
        };
        let adaptive = self.collect("adaptive", set, |out| {
            out.add("min", adaptive.min);
            out.add("max", adaptive.max);
        });
        self.out.properties(1, "adaptive", None, &adaptive, false);
    }

    fn collect(
        &self,
        node: &'static str,
        set: &Origins,
        fill: impl FnOnce(&mut Collector<'_, '_, '_>),
    ) -> Properties {
        let mut collector = Collector { writer: self, set, node, all: Vec::new() };
        fill(&mut collector);
        collector.all
    }

    fn balance(&mut self, balance: &Balance, set: &Origins) {
        let span = set.node("balance");
        let has_bound =
            BOUNDED.contains(&&*balance.algorithm) || set.property("balance", "bound").is_some();
        if !has_bound && balance.keys.is_empty() {
            return self.value(1, "balance", &*balance.algorithm, span);
        }
        let properties = self.collect("balance", set, |out| {
            out.add("bound", balance.bound.map_or_else(|| "off".into(), percent));
        });
        let head = Some((&*balance.algorithm, self.place(span)));
        self.out.properties(1, "balance", head, &properties, !balance.keys.is_empty());
        for key in &balance.keys {
            let text = match key {
                KeyPart::Header(name) => format!("header={}", quoted(name)),
                KeyPart::Cookie(name) => format!("cookie={}", quoted(name)),
                KeyPart::Query(name) => format!("query={}", quoted(name)),
                KeyPart::Path => "path".into(),
                KeyPart::Address => "address".into(),
            };
            self.value(2, "by", text, span);
        }
    }

    fn sticky(&mut self, sticky: Option<&Sticky>, set: &Origins) {
        let Some(sticky) = sticky else { return self.out.remark(1, "sticky", "none") };
        let properties = self.collect("sticky", set, |out| {
            out.some("max-age", sticky.max_age.map(time));
            out.add("path", quoted(&sticky.path));
            out.some("domain", sticky.domain.as_deref().map(quoted));
            out.some("secure", sticky.secure.map(flag));
            out.add("http-only", flag(sticky.http_only));
            out.add(
                "same-site",
                match sticky.same_site {
                    SameSite::Unset => "unset",
                    SameSite::Strict => "strict",
                    SameSite::Lax => "lax",
                    SameSite::None => "none",
                },
            );
            let path = sticky.key_file.as_ref().map(|path| quoted(&path.display().to_string()));
            out.some("key-file", path);
        });
        let cookie = quoted(&sticky.cookie);
        let head = Some((cookie.as_str(), self.place(set.node("sticky"))));
        self.out.properties(1, "sticky", head, &properties, false);
    }

    fn health(&mut self, health: &Health, set: &Origins) {
        let head = match &health.check {
            Check::Tcp => "tcp".to_owned(),
            Check::Grpc(_) => "grpc".to_owned(),
            Check::Http(check) => quoted(&check.path),
        };
        let properties = self.collect("health", set, |out| {
            out.add("every", time(health.every));
            out.add("every-down", time(health.every_down));
            out.add("jitter", percent(health.jitter));
            out.add("timeout", time(health.timeout));
            out.add("rise", health.rise);
            out.add("fall", health.fall);
            out.some("port", health.port);
            match &health.check {
                Check::Tcp => {}
                Check::Grpc(service) if service.is_empty() => {}
                Check::Grpc(service) => out.add("service", quoted(service)),
                Check::Http(check) => {
                    out.add("method", quoted(&check.method));
                    out.some("host", check.host.as_deref().map(quoted));
                    out.add("status", quoted(&statuses_text(&check.statuses)));
                    out.some("body", check.body.as_deref().map(quoted));
                }
            }
        });
        let fields = match &health.check {
            Check::Http(check) => check.fields.as_slice(),
            Check::Tcp | Check::Grpc(_) => &[],
        };
        let span = set.node("health");
        let head = Some((head.as_str(), self.place(span)));
        self.out.properties(1, "health", head, &properties, !fields.is_empty());
        for (name, value) in fields {
            self.field(2, &HEALTH_FIELD, None, (name, value, ""), span);
        }
    }

    fn ejection(&mut self, ejection: Option<&Ejection>, set: &Origins) {
        let Some(ejection) = ejection else {
            return self.value(1, "eject", "off", set.node("eject"));
        };
        let properties = self.collect("eject", set, |out| {
            out.add("consecutive", ejection.consecutive);
            out.add("failures", flag(ejection.failures));
            out.add("latency", ejection.latency);
            out.add("min", ejection.requests_min);
            out.add("window", time(ejection.window));
            out.add("term", time(ejection.term));
            out.add("term-max", time(ejection.term_max));
            out.add("share", percent(ejection.share));
        });
        self.out.properties(1, "eject", None, &properties, false);
    }

    fn retry(&mut self, retry: &Retry, set: &Origins) {
        if *retry == (Retry { tries: 1, place: retry.place, ..Retry::default() }) {
            return self.value(1, "retry", "off", set.node("retry"));
        }
        let properties = self.collect("retry", set, |out| {
            out.add("tries", retry.tries);
            out.add("budget", percent(retry.budget));
            out.add("budget-min", retry.budget_min);
            out.add("buffer", quoted(&size_text(retry.buffer.into())));
            out.some("try", retry.try_timeout.map(time));
        });
        self.out.properties(1, "retry", None, &properties, true);
        let words = [
            (retry.connect, "connect"),
            (retry.refused, "refused"),
            (retry.reset, "reset"),
            (retry.timeout, "timeout"),
        ];
        let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned());
        let reasons = words.chain(retry.statuses.iter().map(u16::to_string));
        let reasons: Vec<_> = reasons.collect();
        self.value(2, "on", reasons.join(" "), set.node("retry"));
    }

    pub(in crate::decode) fn split(
        &mut self,
        depth: u8,
        parts: &[RawPart],
        stay: &Stay,
        span: Span,
    ) {
        let text = match stay {
            Stay::No => "stay=no".to_owned(),
            Stay::Address => "stay=address".to_owned(),
            Stay::Cookie(name) => format!("stay=cookie cookie={}", quoted(name)),
        };
        self.out.block(depth, "split", text, self.decoder.place(span));
        for part in parts {
            let text = format!("{} {}", target_text(&part.to), share_quoted(part.share));
            self.value(depth + 1, "to", text, Some(part.span));
        }
    }

    pub(in crate::decode) fn mirror(&mut self, depth: u8, mirror: &RawMirror) {
        let text = match &mirror.to {
            None => "off".to_owned(),
            Some(to) => format!(
                "{} share={} body={} in-flight={}",
                target_text(to),
                share_quoted(mirror.share),
                quoted(&size_text(mirror.body_max.into())),
                mirror.in_flight
            ),
        };
        self.value(depth, "mirror", text, Some(mirror.span));
    }
}

fn share_quoted(share: u16) -> String {
    quoted(&share_text(share.into()))
}

/// An upstream's name, or endpoints; one with a weight stands there as often.
pub(in crate::decode) fn target_text(to: &RawActionKind) -> String {
    match to {
        RawActionKind::Upstream { name, .. } => name.to_string(),
        RawActionKind::Endpoints(endpoints) => {
            let written = endpoints.iter().flat_map(|endpoint| {
                std::iter::repeat_n(quoted(&endpoint.written), endpoint.weight.into())
            });
            written.collect::<Vec<_>>().join(" ")
        }
        RawActionKind::Split { .. } | RawActionKind::Ready(_) | RawActionKind::Broken => {
            String::new()
        }
    }
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let mut text = format!("{} weight={}", quoted(&endpoint.written), endpoint.weight);
    if let Some(zone) = &endpoint.zone {
        text.push_str(&format!(" zone={}", quoted(zone)));
    }
    text.push_str(&format!(" priority={}", endpoint.priority));
    if let Some(max) = endpoint.max {
        text.push_str(&format!(" max={max}"));
    }
    text.push_str(&format!(" backup=#{} drain=#{}", endpoint.backup, endpoint.draining));
    let is_name = matches!(endpoint.address, EndpointAddress::Name { .. });
    if is_name || endpoint.addresses != Addresses::Auto {
        text.push_str(match endpoint.addresses {
            Addresses::Auto => " addresses=auto",
            Addresses::Each => " addresses=each",
            Addresses::One => " addresses=one",
        });
    }
    text
}
