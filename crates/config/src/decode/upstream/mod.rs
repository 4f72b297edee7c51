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

pub(super) use endpoints::EndpointSpans;

use super::layer::Overrides;
use super::tls::RawUpstreamTls;
use super::{Checked, Decoder, Origins};
use crate::model::{
    Adaptive, Deadline, EditVerb, Ejection, KeyPart, PoolSettings, Retry, SameSite, Sticky,
    Upstream,
};
use crate::schema::{
    ADAPTIVE_PROPERTIES, BALANCE_BLOCK, BALANCE_PROPERTIES, DEADLINE_PROPERTIES, EJECT_PROPERTIES,
    POOL_PROPERTIES, RETRY_BLOCK, RETRY_PROPERTIES, STICKY_PROPERTIES, UPSTREAM_BLOCK, has_key,
};
use crate::source::Span;
use crate::values::Datum;

#[derive(Debug)]
pub(crate) struct RawUpstream {
    pub(crate) name: Box<str>,
    /// Where its name is.
    pub(crate) span: Span,
    /// All but times and TLS.
    pub(crate) settings: Upstream,
    pub(crate) set: Origins,
    /// By endpoint.
    pub(crate) endpoint_spans: EndpointSpans,
    /// By check.
    pub(crate) health: Vec<Origins>,
    pub(crate) timeouts: Overrides,
    pub(crate) tls: Option<RawUpstreamTls>,
    pub(crate) broken: bool,
}

impl RawUpstream {
    /// One with every default.
    pub(in crate::decode) fn new(name: &str, span: Span) -> Self {
        Self {
            name: name.into(),
            span,
            settings: Upstream::new(name, Vec::new()),
            set: Origins::default(),
            endpoint_spans: EndpointSpans::default(),
            health: Vec::new(),
            timeouts: Vec::new(),
            tls: None,
            broken: false,
        }
    }

    /// Whether more than the name of its algorithm is shown: if that has a bound, or something is
    /// set that would be for one.
    pub(crate) fn shows_bound(&self) -> bool {
        let balance = &self.settings.balance;
        has_key(&balance.algorithm)
            || !balance.keys.is_empty()
            || self.set.property("balance", "bound").is_some()
    }
}

fn text(datum: &Datum) -> Box<str> {
    datum.text().into()
}

impl Decoder<'_> {
    pub(crate) fn upstream(&mut self, node: &Checked<'_, '_>) -> Option<RawUpstream> {
        let name: Box<str> = node.first().map_or_else(Box::default, |given| text(&given.datum));
        let span = node.first().map_or(node.name_span(), |given| given.span);
        let mut upstream = RawUpstream::new(&name, span);
        upstream.settings.place = self.place(span);
        let children = self.rows(node, &UPSTREAM_BLOCK);
        upstream.broken =
            node.node.damaged || children.len() < node.node.children.as_ref().map_or(0, Vec::len);
        upstream.set = self.read(&children, &mut upstream);
        node.first()?;
        self.check_mixed(&upstream.settings.endpoints, &upstream.endpoint_spans.all);
        let settings = &upstream.settings;
        if settings.endpoints.is_empty() && settings.sources.is_empty() && !upstream.broken {
            self.error(node.node.span, format!("the upstream `{}` has no endpoint", upstream.name))
                .hint("write to \"10.0.0.1:8080\" inside");
        }
        Some(upstream)
    }

    pub(crate) fn deadline(&mut self, deadline: &mut Deadline, node: &Checked<'_, '_>) {
        node.put(&DEADLINE_PROPERTIES, deadline);
        if let Some(given) = node.property("field")
            && !self.may_edit(given.datum.text(), given.span, EditVerb::Set, true)
        {
            deadline.field = None;
        }
        self.check_says_something(node, "field=\"X-Request-Timeout\"");
    }

    pub(crate) fn pool(&mut self, pool: &mut PoolSettings, node: &Checked<'_, '_>) {
        node.put(&POOL_PROPERTIES, pool);
        let keeps_none = pool.max == 0 && pool.min > 0;
        if let Some(given) = node.property("min").filter(|_| keeps_none) {
            let message = "with max=0 no connection is kept, so none can be opened in advance";
            self.error(given.span, message);
        }
    }

    /// Whether a node says `off`, which stands alone.
    pub(crate) fn is_off(&mut self, node: &Checked<'_, '_>) -> bool {
        let Some(given) = node.first() else { return false };
        let more = node.node.properties.first().map(|property| property.name_span);
        let block = node.node.children.as_ref().map(|_| node.name_span());
        if let Some(span) = more.or(block) {
            let name = node.row.name;
            self.error(span, format!("`{name} off` takes nothing else"))
                .related(given.span, "`off` is here");
        }
        true
    }

    pub(crate) fn check_says_something(&mut self, node: &Checked<'_, '_>, such_as: &str) {
        if node.node.properties.is_empty() && !node.node.damaged {
            let name = node.row.name;
            self.error(node.node.span, format!("`{name}` has no settings"))
                .hint(format!("write {name} {such_as}"));
        }
    }

    pub(crate) fn balance(&mut self, raw: &mut RawUpstream, node: &Checked<'_, '_>) {
        let balance = &mut raw.settings.balance;
        balance.place = self.place(node.name_span());
        if let Some(given) = node.first() {
            balance.algorithm = text(&given.datum);
        }
        self.block(node, &BALANCE_BLOCK, balance);
        node.put(&BALANCE_PROPERTIES, raw);
    }

    pub(crate) fn key_part(&mut self, node: &Checked<'_, '_>) -> Option<KeyPart> {
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
            let message = if given == 0 { "`by` needs a key" } else { "`by` takes one key" };
            self.error(node.node.span, message).hint(
                "write by header=\"…\", by cookie=\"…\", by query=\"…\", by path or by address, each on a separate line",
            );
        }
        parts.pop()
    }

    pub(crate) fn sticky(&mut self, node: &Checked<'_, '_>) -> Option<Sticky> {
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
        node.put(&STICKY_PROPERTIES, &mut sticky);
        if let Some(given) = node.property("key-file") {
            // Whether there is one, and it holds enough, is for `check` and the start.
            self.check_private(&given.datum.path(), given.span);
        }
        let same_site = node.property("same-site");
        let clear = sticky.same_site == SameSite::None && sticky.secure == Some(false);
        if let Some(given) = same_site.filter(|_| clear) {
            self.error(given.span, "browsers drop a cookie with same-site=none that is not secure")
                .hint("omit secure=#false");
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

    pub(crate) fn ejection(&mut self, node: &Checked<'_, '_>) -> Option<Ejection> {
        if self.is_off(node) {
            return None;
        }
        let mut ejection = Ejection { place: self.place(node.name_span()), ..Ejection::default() };
        node.put(&EJECT_PROPERTIES, &mut ejection);
        let term = node.property("term-max").or(node.property("term"));
        if let Some(given) = term.filter(|_| ejection.term > ejection.term_max) {
            self.error(given.span, "`term` is longer than `term-max`");
        }
        Some(ejection)
    }

    pub(crate) fn retry(&mut self, node: &Checked<'_, '_>) -> Retry {
        let mut retry = Retry { place: self.place(node.name_span()), ..Retry::default() };
        node.put(&RETRY_PROPERTIES, &mut retry);
        self.block(node, &RETRY_BLOCK, &mut retry);
        if self.is_off(node) {
            retry.tries = 1;
        }
        retry
    }

    pub(crate) fn adaptive(&mut self, node: &Checked<'_, '_>) -> Adaptive {
        let mut adaptive = Adaptive { place: self.place(node.name_span()), min: 4, max: 1000 };
        node.put(&ADAPTIVE_PROPERTIES, &mut adaptive);
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
