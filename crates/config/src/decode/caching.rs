//! `cache`: what of it is more than a value in its place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::layer::Layer;
use super::resolve::Resolver;
use super::show::{Shown, Writer};
use super::{Checked, Decoder, RawProcess};
use crate::model::{
    Action, CacheCondition, CacheConditionOn, CacheKey, CacheStatuses, CacheStore, CacheTtl,
    CacheValue, Caching, DiskStore, FileServing, NamePattern, Place, QueryKey, Regex, Route,
    RouteSettings, TtlMode,
};
use crate::schema::{
    CACHE_BLOCK, CACHE_CONDITION_PROPERTIES, PURGE_PROPERTIES, Property, QUERY_PROPERTIES,
    STALE_PROPERTIES, STORE_PROPERTIES, TTL_PROPERTIES, in_line,
};
use crate::source::Span;
use crate::values::{nets_text, size_text};

/// A `cache` node of a site, a route or a `forward`.
#[derive(Debug)]
pub(crate) struct RawCaching {
    pub(crate) span: Span,
    /// Whether something is stored; if not, it only replaces what is further out.
    pub(crate) is_on: bool,
    /// What it says, lists too once all of it was read.
    pub(crate) caching: Caching,
    // Properties that something else may contradict.
    pub(crate) ttl: Option<Duration>,
    pub(crate) if_silent: Option<bool>,
    pub(crate) is_override: bool,
    pub(crate) stale: Option<Duration>,
    // Lines of the block.
    pub(crate) ttls: Vec<(CacheTtl, Span)>,
    pub(crate) bypass: Vec<CacheCondition>,
    pub(crate) pass: Vec<CacheCondition>,
    pub(crate) key_span: Option<Span>,
    /// Where each property stands.
    set: super::Origins,
}

/// The statuses of a time, as ranges.
#[derive(Debug, Default)]
pub(crate) struct RawTtl {
    pub(crate) statuses: Vec<(u16, u16)>,
}

/// A `bypass` or `pass` line.
#[derive(Debug, Default)]
pub(crate) struct RawCacheCondition {
    pub(crate) field: Option<Box<str>>,
    pub(crate) cookie: Option<Box<str>>,
    pub(crate) is: Option<Box<str>>,
    pub(crate) matches: Option<Regex>,
}

/// `cache` of `process`.
#[derive(Debug)]
pub(crate) struct RawStore {
    pub(crate) memory: u64,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) max: Option<u64>,
    pub(crate) key_file: Option<PathBuf>,
}

impl From<&CacheStore> for RawStore {
    fn from(store: &CacheStore) -> Self {
        let disk = store.disk.as_ref();
        Self {
            memory: store.memory,
            disk: disk.map(|disk| disk.path.clone()),
            max: disk.map(|disk| disk.max),
            key_file: disk.and_then(|disk| disk.key_file.clone()),
        }
    }
}

/// Which statuses a range of the language means.
fn statuses(range: (u16, u16)) -> CacheStatuses {
    match range {
        (first, last) if first == last => CacheStatuses::Exact(first),
        (first, _) => CacheStatuses::Class((first / 100) as u8),
    }
}

fn statuses_text(statuses: CacheStatuses) -> String {
    match statuses {
        CacheStatuses::All => "every status".into(),
        CacheStatuses::Exact(status) => format!("status {status}"),
        CacheStatuses::Class(digit) => format!("status {digit}xx"),
    }
}

/// Single ones first, then classes, then all: the order of lines does not matter.
fn rank(statuses: CacheStatuses) -> u8 {
    match statuses {
        CacheStatuses::Exact(_) => 0,
        CacheStatuses::Class(_) => 1,
        CacheStatuses::All => 2,
    }
}

impl Decoder<'_> {
    /// Reads a `cache` node; `new` makes one with the defaults.
    pub(crate) fn caching(
        &mut self,
        node: &Checked<'_, '_>,
        properties: &'static [Property<RawCaching>],
        new: fn(Place) -> Caching,
    ) -> Option<RawCaching> {
        let span = node.name_span();
        let mut set = super::Origins::default();
        set.note(node);
        let mut raw = RawCaching {
            span,
            is_on: !self.is_off(node),
            caching: new(self.place(span)),
            ttl: None,
            if_silent: None,
            is_override: false,
            stale: None,
            ttls: Vec::new(),
            bypass: Vec::new(),
            pass: Vec::new(),
            key_span: None,
            set,
        };
        node.put(properties, &mut raw);
        if let (Some(time), Some(given)) = (raw.ttl, node.property("ttl")) {
            raw.ttls.push((CacheTtl { statuses: CacheStatuses::All, time }, given.span));
        }
        if let Some(stale) = raw.stale {
            (raw.caching.stale_while_revalidate, raw.caching.stale_on_error) = (stale, stale);
        }
        raw.caching.ttl_mode = self.ttl_mode(&raw, node);
        let inner = self.block(node, &CACHE_BLOCK, &mut raw);
        raw.key_span = inner.node("key");
        self.check_times(&raw, node);
        raw.ttls.sort_by_key(|(row, _)| rank(row.statuses));
        raw.caching.ttls = raw.ttls.iter().map(|(row, _)| *row).collect();
        raw.caching.bypass = std::mem::take(&mut raw.bypass).into();
        raw.caching.pass = std::mem::take(&mut raw.pass).into();
        Some(raw)
    }

    fn ttl_mode(&mut self, raw: &RawCaching, node: &Checked<'_, '_>) -> TtlMode {
        let silent = node.property("if-silent").map(|given| given.span);
        let replaces = node.property("override").map(|given| given.span);
        match (raw.is_override, raw.if_silent) {
            (true, Some(_)) => {
                if let (Some(silent), Some(replaces)) = (silent, replaces) {
                    self.error(replaces, "`override` and `if-silent` exclude each other")
                        .related(silent, "`if-silent`")
                        .hint("`override=#true`: the times here always count; `if-silent=#false`: if they are longer than what the response says");
                }
                TtlMode::Override
            }
            (true, None) => TtlMode::Override,
            (false, Some(false)) => TtlMode::Floor,
            (false, Some(true) | None) => TtlMode::IfSilent,
        }
    }

    /// Reports times that say the same twice, or nothing.
    fn check_times(&mut self, raw: &RawCaching, node: &Checked<'_, '_>) {
        for (index, (row, span)) in raw.ttls.iter().enumerate() {
            let mut earlier = raw.ttls.iter().take(index);
            if let Some((_, first)) = earlier.find(|(other, _)| other.statuses == row.statuses) {
                let what = statuses_text(row.statuses);
                self.error(*span, format!("there are two times for {what}"))
                    .related(*first, "here first");
            }
        }
        let mode = ["if-silent", "override"]
            .into_iter()
            .find_map(|name| Some((name, node.property(name)?)));
        if let Some((name, given)) = mode.filter(|_| raw.ttls.is_empty()) {
            self.warning(given.span, format!("`{name}` changes nothing without a time"))
                .hint("write ttl=\"10min\" beside it");
        }
        let zero = raw.ttls.iter().find(|(row, _)| row.time.is_zero());
        if let Some((_, span)) = zero.filter(|_| raw.caching.ttl_mode == TtlMode::Floor) {
            self.warning(*span, "a floor of `0s` changes nothing").hint("remove it");
        }
    }

    pub(crate) fn cache_ttl(&mut self, raw: &mut RawCaching, node: &Checked<'_, '_>) {
        let Some(given) = node.first() else { return };
        let (mut ttl, time) = (RawTtl::default(), given.datum.duration());
        // Without the statuses that are wrong, it would be about all.
        if node.properties.len() < node.node.properties.len() {
            return;
        }
        node.put(&TTL_PROPERTIES, &mut ttl);
        let span = node.property("status").map_or(given.span, |status| status.span);
        if ttl.statuses.is_empty() {
            raw.ttls.push((CacheTtl { statuses: CacheStatuses::All, time }, span));
        }
        let rows =
            ttl.statuses.into_iter().map(|range| CacheTtl { statuses: statuses(range), time });
        raw.ttls.extend(rows.map(|row| (row, span)));
    }

    pub(crate) fn cache_stale(&mut self, raw: &mut RawCaching, node: &Checked<'_, '_>) {
        self.check_says_something(node, "while-revalidate=\"1min\" on-error=\"1d\"");
        if raw.stale.is_some() {
            self.error(
                node.name_span(),
                "`stale` is said twice: in the line of `cache` and in its block",
            )
            .hint("remove one of them");
        }
        node.put(&STALE_PROPERTIES, &mut raw.caching);
    }

    pub(crate) fn cache_query(&mut self, key: &mut CacheKey, node: &Checked<'_, '_>) {
        let properties = ["keep", "drop"].map(|name| node.property(name).map(|given| given.span));
        let word = node.first().map(|given| given.span);
        let said: Vec<_> = [word].into_iter().chain(properties).flatten().collect();
        if let [first, second, ..] = said.as_slice() {
            self.error(*second, "`none`, `keep` and `drop` exclude each other")
                .related(*first, "the other one")
                .hint("`keep` names all that count, `drop` all that do not");
        }
        node.put(&QUERY_PROPERTIES, key);
        if word.is_some() {
            key.query = QueryKey::None;
        }
        let sorts = key.sort_query && key.query == QueryKey::None;
        if let Some(given) = node.property("sort").filter(|_| sorts) {
            self.warning(given.span, "there is nothing to sort: no parameter counts")
                .hint("remove it");
        }
    }

    /// Warns of fields that would give every client a copy of its own.
    pub(crate) fn check_key_fields(&mut self, node: &Checked<'_, '_>) {
        for given in &node.arguments {
            let name = given.datum.text();
            let why = match name.to_ascii_lowercase().as_str() {
                "cookie" => "name the cookies that matter: cookie \"lang\"",
                "authorization" | "x-forwarded-for" | "forwarded" | "x-real-ip" => {
                    "what is for one client is not for a cache: write `pass` for such requests"
                }
                "user-agent" => {
                    "there are thousands of them: put what makes the difference into the key, such as a cookie"
                }
                _ => continue,
            };
            self.warning(
                given.span,
                format!("`{name}` differs for almost every client, so hardly anything is reused"),
            )
            .hint(why);
        }
    }

    /// Reads a `bypass` or `pass` line; `None` if it has a mistake.
    pub(crate) fn cache_condition(&mut self, node: &Checked<'_, '_>) -> Option<CacheCondition> {
        let mut raw = RawCacheCondition::default();
        node.put(&CACHE_CONDITION_PROPERTIES, &mut raw);
        let (name, whole) = (node.row.name, node.node.span);
        // A property that is wrong has been reported, and so has what is left without it.
        if node.properties.len() < node.node.properties.len() || node.node.damaged {
            return None;
        }
        let what = match (raw.field, raw.cookie) {
            (Some(field), None) => CacheConditionOn::Field(field),
            (None, Some(cookie)) => CacheConditionOn::Cookie(NamePattern::new(&cookie)),
            (None, None) => {
                self.error(whole, format!("`{name}` does not say which requests")).hint(format!(
                    "write {name} field=\"X-Refresh\", or {name} cookie=\"session*\""
                ));
                return None;
            }
            (Some(_), Some(_)) => {
                self.error(whole, format!("`{name}` names a field and a cookie"))
                    .hint("write a line for each: one that matches is enough");
                return None;
            }
        };
        let value = match (raw.is, raw.matches) {
            (None, None) => CacheValue::Any,
            (Some(text), None) => CacheValue::Is(text),
            (None, Some(regex)) => CacheValue::Matches(regex),
            (Some(_), Some(_)) => {
                self.error(whole, "`is` and `matches` exclude each other")
                    .hint("write a line for each: one that matches is enough");
                return None;
            }
        };
        Some(CacheCondition { place: self.place(node.name_span()), what, value })
    }

    pub(crate) fn cache_purge(&mut self, raw: &mut RawCaching, node: &Checked<'_, '_>) {
        node.put(&PURGE_PROPERTIES, &mut raw.caching);
        if node.node.properties.is_empty() && !node.node.damaged {
            self.error(node.node.span, "`purge` does not say who may")
                .hint("write purge from=\"10.0.0.5\"");
        }
        let all = raw.caching.purge_from.iter().find(|net| net.prefix_len() == 0);
        if let (Some(net), Some(given)) = (all, node.property("from")) {
            let message = format!("`{}` lets everybody empty the store", nets_text(&[*net]));
            self.warning(given.span, message).hint("name the machines that publish");
        }
    }

    /// Reads `cache` of `process`.
    pub(crate) fn cache_store(&mut self, raw: &mut RawProcess, node: &Checked<'_, '_>) {
        let span = node.name_span();
        let mut store = RawStore::from(&CacheStore::default());
        node.put(&STORE_PROPERTIES, &mut store);
        let at = |name: &str| node.property(name).map(|given| given.span);
        if let (None, Some((name, span))) =
            (at("disk"), ["max", "key-file"].into_iter().find_map(|name| Some((name, at(name)?))))
        {
            self.error(span, format!("`{name}` is about the store on disk, and there is none"))
                .hint(
                    "write disk=\"/var/cache/bothways\" beside it; memory is limited by `memory`",
                );
        }
        let wrong = node.node.properties.iter().any(|property| property.name == "max");
        if let (Some(span), None) = (at("disk"), at("max").or(wrong.then_some(span))) {
            self.error(span, "the store on disk needs a limit")
                .hint("write max=\"20GiB\" beside it");
        }
        if let (Some(file), Some(span)) = (&store.key_file, at("key-file"))
            && self.check_there(file, span, "openssl rand -base64 32 > FILE makes one")
        {
            self.check_private(file, span);
        }
        if let Some(span) = at("disk") {
            // To be removed with the first version whose store has a part on disk.
            self.warning(
                span,
                "the store has no part on disk in this version: responses are kept in memory alone",
            )
            .hint("set `memory` to what they need, and omit `disk` and `max`");
        }
        let disk = store.disk.zip(store.max);
        raw.process.cache = CacheStore {
            place: self.place(span),
            memory: store.memory,
            disk: disk.map(|(path, max)| DiskStore { path, max, key_file: store.key_file }),
        };
        raw.cache_span = Some(span);
    }
}

/// Whether an action sends some request to an endpoint.
fn is_forwarded(action: &Action) -> bool {
    match action {
        Action::To(_) | Action::Split(_) => true,
        Action::Files(FileServing { otherwise, .. }) => otherwise.is_some(),
        Action::Redirect { .. } | Action::Respond { .. } => false,
    }
}

impl Resolver<'_, '_> {
    /// What a layer makes of what is further out.
    pub(super) fn layered_caching(layer: &Layer, settings: &mut RouteSettings) {
        if let Some(raw) = &layer.caching {
            settings.caching = raw.is_on.then(|| Arc::new(raw.caching.clone()));
        }
    }

    /// Warns of a `cache` of a site that has no effect, as nothing comes from an endpoint.
    pub(super) fn check_site_caching(&mut self, layer: &Layer, routes: &[Route]) {
        let stores =
            |route: &Route| is_forwarded(&route.action) && route.settings.caching.is_some();
        if !routes.iter().any(stores) {
            self.warn_of_caching(layer, "site");
        }
    }

    /// The same of a route.
    pub(super) fn check_route_caching(&mut self, layer: &Layer, action: &Action) {
        if !is_forwarded(action) {
            self.warn_of_caching(layer, "route");
        }
    }

    fn warn_of_caching(&mut self, layer: &Layer, what: &str) {
        // Lines that stand elsewhere hold where they can.
        if let Some(raw) = layer.caching.as_ref().filter(|raw| raw.is_on && raw.span.via == 0) {
            self.decoder
                .warning(
                    raw.span,
                    format!("nothing of the {what} comes from an endpoint, so nothing is stored"),
                )
                .hint("only responses of endpoints are: write `cache` next to `to` or `split`");
        }
    }

    /// Warns of a store that nothing uses, and of responses that it has no room for.
    pub(super) fn check_store(&mut self, raw: &super::Raw) {
        if self.decoder.problems.errors() > 0 {
            return;
        }
        let sites = raw
            .sites
            .iter()
            .flat_map(|site| site.routes.iter().map(|route| &route.layer).chain([&site.layer]));
        let layers = sites.chain(raw.forwards.iter().map(|forward| &forward.layer));
        let used: Vec<_> =
            layers.filter_map(|layer| layer.caching.as_ref()).filter(|raw| raw.is_on).collect();
        if let Some(span) = raw.process.cache_span.filter(|_| used.is_empty()) {
            self.decoder
                .warning(span, "nothing is stored here: no site, route or `forward` says `cache`")
                .hint("write `cache` in a site");
        }
        let store = &raw.process.process.cache;
        // A quarter of it, so that one response does not push out all others.
        let room = store.memory / 4;
        for raw in used.into_iter().filter(|raw| raw.caching.max_object > room) {
            // Without a word, what does not fit is not stored.
            let Some(span) = raw.set.property("cache", "max-object") else { continue };
            let store = size_text(store.memory);
            self.decoder
                .warning(span, format!("no such response is stored: it may take a quarter of the memory, {} of {store}", size_text(room)))
                .hint("write process { cache memory=\"…\" } with room for many of them");
        }
    }
}

impl Writer<'_, '_> {
    /// A `cache` node with its block.
    pub(crate) fn caching(
        &mut self,
        layer: &Layer,
        shown: Shown<'_>,
        properties: &'static [Property<RawCaching>],
    ) {
        let Some(raw) = &layer.caching else {
            // In a route, that of the site holds.
            if shown.depth == 1 && !layer.is_passed_on {
                self.line(shown, "off");
            }
            return;
        };
        if !raw.is_on {
            return self.line(shown, "off");
        }
        let caching = &raw.caching;
        let has_block = caching.ttls.iter().any(|row| row.statuses != CacheStatuses::All)
            || caching.stale_while_revalidate != caching.stale_on_error
            || caching.key != CacheKey::default()
            || !(caching.bypass.is_empty()
                && caching.pass.is_empty()
                && caching.purge_from.is_empty());
        let of_node = Shown { set: &raw.set, ..shown };
        self.properties(of_node, None, properties, raw, has_block);
        if has_block {
            let set = super::Origins::everything_at(Some(raw.span));
            self.rows(shown.depth + 1, &CACHE_BLOCK, raw, &set);
        }
    }

    /// `bypass` or `pass` lines.
    pub(crate) fn cache_conditions(&mut self, conditions: &[CacheCondition], shown: Shown<'_>) {
        for condition in conditions {
            let raw = RawCacheCondition::from(condition);
            let text = in_line(&CACHE_CONDITION_PROPERTIES, &raw);
            self.line_at(shown, text.trim_start(), condition.place);
        }
    }
}
