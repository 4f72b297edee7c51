//! The model written down in the language, each value with where it comes from.

use super::forward::{RawExpect, RawForward};
use super::layer::{Layer, Overrides, RawAction, RawActionKind};
use super::resolve::{Bounds, Sourced, addresses};
use super::reverse::{Raw, RawListen, RawRoute, RawSite};
use super::tls::show::clients_text;
use super::tls::{RawTls, RawTlsKind};
use super::upstream::show::target_text;
use super::{Decoder, Origins};
use crate::Effective;
use crate::effective::quoted;
use crate::model::{
    Action, Config, EditVerb, FieldEdit, FileServing, ForwardRule, HostPolicy, PathReadings, Place,
    Rewrite, SiteId, SiteName,
};
use crate::schema::{
    ADD, LIMITS, LISTEN_BLOCK, NodeRow, PROCESS_BLOCK, Property, SET, Scope, Secrecy, Setting,
    Show, TIMEOUTS, Table,
};
use crate::source::Span;
use crate::values::{destination_text, nets_text, ports_text};

/// Writes everything down.
pub(super) fn effective(
    decoder: &Decoder<'_>,
    raw: &Raw,
    config: &Config,
    outer: &Bounds,
    listeners: &[RawListen],
) -> Effective {
    let mut writer = Writer { decoder, out: Effective::new(config.files.clone()) };
    writer.out.block(0, "process", "", Place::default());
    writer.rows(1, &PROCESS_BLOCK, &raw.process, &raw.process.set);
    writer.scoped(0, "timeouts", TIMEOUTS, Scope::Top, &outer.timeouts);
    writer.scoped(0, "limits", LIMITS, Scope::Top, &outer.limits);
    for (listener, options) in config.listeners.iter().zip(listeners) {
        writer.out.block(0, "listen", quoted(&listener.written), listener.place);
        writer.rows(1, &LISTEN_BLOCK, options, &options.set);
    }
    for upstream in &raw.upstreams {
        writer.upstream(upstream);
    }
    if config.upstreams.iter().any(|upstream| upstream.inline) {
        writer.inline_upstreams();
    }
    for (index, site) in raw.sites.iter().enumerate() {
        writer.site(site, SiteId::at(index), config, outer);
    }
    for forward in &raw.forwards {
        let index = config.forwards.iter().find(|f| f.written == forward.address.written);
        let options = index.and_then(|forward| listeners.get(forward.listener.index()));
        writer.forward(forward, options.map_or(outer, |options| &options.bounds));
    }
    for acme in &config.acme {
        let set = raw.acmes.iter().find(|raw| raw.acme.name == acme.name);
        writer.acme(acme, set.map_or(&[], |raw| &raw.set));
    }
    for expect in &raw.expects {
        writer.expect(expect);
    }
    writer.out
}

pub(crate) struct Writer<'d, 's> {
    pub(super) decoder: &'d Decoder<'s>,
    pub(super) out: Effective,
}

/// A row that is being shown.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) depth: u8,
    pub(crate) row: &'static NodeRow,
    /// Where the settings of its block stand.
    pub(crate) set: &'a Origins,
}

impl Shown<'_> {
    /// Where its node stands.
    pub(crate) fn span(&self) -> Option<Span> {
        self.set.node(self.row.name)
    }
}

impl Writer<'_, '_> {
    /// The settings of a block, row by row.
    pub(crate) fn rows<T>(&mut self, depth: u8, table: &'static Table<T>, of: &T, set: &Origins) {
        for row in table.rows {
            let shown = Shown { depth, row: &row.node, set };
            match row.show {
                Show::Value(text) => {
                    let (name, default) = (row.node.name, row.node.default);
                    self.optional(depth, name, text(of), default, shown.span());
                }
                Show::Lines(lines) => lines(self, of, shown),
                Show::With(_) => {}
            }
        }
    }

    /// The first line of a block that is there even if nothing in it is set.
    pub(crate) fn open(&mut self, shown: Shown<'_>) {
        self.out.block(shown.depth, shown.row.name, "", Place::default());
    }

    /// A line of a row.
    pub(crate) fn line(&mut self, shown: Shown<'_>, text: impl Into<Box<str>>) {
        self.value(shown.depth, shown.row.name, text, shown.span());
    }

    /// The same, with its own place.
    pub(crate) fn line_at(&mut self, shown: Shown<'_>, text: impl Into<Box<str>>, place: Place) {
        self.out.value(shown.depth, shown.row.name, text, place);
    }

    /// What holds without a row, as a comment.
    pub(crate) fn remark(&mut self, shown: Shown<'_>) {
        self.optional(shown.depth, shown.row.name, None, shown.row.default, None);
    }

    /// The properties of a node, one a line, behind what stands at its name.
    pub(crate) fn properties<P>(
        &mut self,
        shown: Shown<'_>,
        head: Option<&str>,
        properties: &'static [Property<P>],
        of: &P,
        opens: bool,
    ) {
        let name = shown.row.name;
        let all = properties.iter().filter_map(|property| {
            let place = self.place(shown.set.property(name, property.row.name));
            Some((property.row.name, (property.text)(of)?, place))
        });
        let all: Vec<_> = all.collect();
        let head = head.map(|head| (head, self.place(shown.span())));
        match all.is_empty() && head.is_none() {
            true => self.remark(shown),
            false => self.out.properties(shown.depth, name, head, &all, opens),
        }
    }

    pub(super) fn place(&self, span: Option<Span>) -> Place {
        span.map_or_else(Place::default, |span| self.decoder.place(span))
    }

    pub(super) fn value(
        &mut self,
        depth: u8,
        name: &str,
        value: impl Into<Box<str>>,
        span: Option<Span>,
    ) {
        let place = self.place(span);
        self.out.value(depth, name, value, place);
    }

    pub(super) fn optional(
        &mut self,
        depth: u8,
        name: &str,
        value: Option<String>,
        otherwise: &str,
        span: Option<Span>,
    ) {
        match value {
            Some(value) => self.value(depth, name, value, span),
            None => self.out.remark(depth, name, &otherwise.replace('`', "")),
        }
    }

    /// The settings of a table that make sense here.
    pub(crate) fn settings<T>(
        &mut self,
        shown: Shown<'_>,
        table: &'static [Setting<T>],
        scope: Scope,
        sourced: &Sourced<T>,
    ) {
        self.scoped(shown.depth, shown.row.name, table, scope, sourced);
    }

    fn scoped<T>(
        &mut self,
        depth: u8,
        name: &str,
        table: &'static [Setting<T>],
        scope: Scope,
        sourced: &Sourced<T>,
    ) {
        self.out.block(depth, name, "", Place::default());
        for (setting, origin) in table.iter().zip(&sourced.origins) {
            let text = (setting.text)(&sourced.value);
            if setting.holds_in(scope) && !text.is_empty() {
                self.value(depth + 1, setting.row.name, quoted_unless_number(&text), *origin);
            }
        }
    }

    /// The settings of a table that are set here.
    pub(crate) fn overrides<T: Default>(
        &mut self,
        shown: Shown<'_>,
        table: &'static [Setting<T>],
        overrides: &Overrides,
    ) {
        self.overrides_at(shown.depth, shown.row.name, table, overrides);
    }

    fn overrides_at<T: Default>(
        &mut self,
        depth: u8,
        name: &str,
        table: &'static [Setting<T>],
        overrides: &Overrides,
    ) {
        if overrides.is_empty() {
            return;
        }
        self.out.block(depth, name, "", Place::default());
        for (index, datum, span) in overrides {
            let Some(setting) = table.get(*index) else { continue };
            let mut value = T::default();
            (setting.set)(&mut value, datum);
            let text = (setting.text)(&value);
            self.value(depth + 1, setting.row.name, quoted_unless_number(&text), Some(*span));
        }
    }

    fn site(&mut self, raw: &RawSite, id: SiteId, config: &Config, outer: &Bounds) {
        let names: Vec<_> = raw.names.iter().map(|(name, _)| quoted(&site_name(name))).collect();
        self.out.block(0, "site", names.join(" "), self.decoder.place(raw.span));
        for address in addresses(raw) {
            let span = (!raw.listens.is_empty()).then_some(address.span);
            self.value(1, "listen", quoted(&address.written), span);
        }
        self.site_tls(raw, id, config);
        if matches!(raw.tls, Some(RawTls { kind: RawTlsKind::Passthrough, .. })) {
            self.overrides_at(1, "timeouts", TIMEOUTS, &raw.layer.timeouts);
            return self.action(1, raw.layer.action.as_ref());
        }
        let bounds = outer.with(&raw.layer.timeouts, &raw.layer.limits);
        self.scoped(1, "timeouts", TIMEOUTS, Scope::Site, &bounds.timeouts);
        self.scoped(1, "limits", LIMITS, Scope::Site, &bounds.limits);
        if raw.layer.host.is_none() {
            self.value(1, "host", "preserve", None);
        }
        self.fields_defaults(&raw.layer);
        if raw.layer.path_readings.is_none() {
            self.value(1, "path-readings", PathReadings::default().written(), None);
        }
        self.layer(1, &raw.layer);
        for route in &raw.routes {
            self.route(route);
        }
        self.action(1, raw.layer.action.as_ref());
    }

    /// What holds for fields where a site or `forward` says nothing of them.
    fn fields_defaults(&mut self, layer: &Layer) {
        if layer.forwarded.is_none() {
            self.value(1, "forwarded", "off", None);
        }
        if layer.drop_underscores.is_none() {
            self.value(1, "underscores", "pass", None);
        }
    }

    fn route(&mut self, raw: &RawRoute) {
        let mut text = quoted(&raw.pattern.written);
        if !raw.methods.is_empty() {
            text.push_str(&format!(" method={}", quoted(&raw.methods.join(","))));
        }
        self.out.block(1, "route", text, self.decoder.place(raw.span));
        self.overrides_at(2, "timeouts", TIMEOUTS, &raw.layer.timeouts);
        self.overrides_at(2, "limits", LIMITS, &raw.layer.limits);
        self.layer(2, &raw.layer);
        self.action(2, raw.layer.action.as_ref());
    }

    /// What a layer says beside times, limits and its action.
    fn layer(&mut self, depth: u8, layer: &Layer) {
        if let Some((rewrite, span)) = &layer.rewrite {
            match rewrite {
                Rewrite::Keep => {}
                Rewrite::StripPrefix(prefix) => {
                    self.value(depth, "strip-prefix", quoted(prefix), Some(*span));
                }
                Rewrite::To(to) => self.value(depth, "rewrite", quoted(&to.written), Some(*span)),
            }
        }
        self.edits(depth, "request", &layer.request_fields);
        self.edits(depth, "response", &layer.response_fields);
        if let Some((host, span)) = &layer.host {
            let text = match host {
                HostPolicy::Preserve => "preserve".into(),
                HostPolicy::Endpoint => "endpoint".into(),
                HostPolicy::Literal(text) => quoted(text),
            };
            self.value(depth, "host", text, Some(*span));
        }
        if let Some((on, span)) = layer.forwarded {
            self.value(depth, "forwarded", if on { "on" } else { "off" }, Some(span));
        }
        if let Some((drop, span)) = layer.drop_underscores {
            self.value(depth, "underscores", if drop { "drop" } else { "pass" }, Some(span));
        }
        for line in &layer.clients {
            self.value(depth, "client", clients_text(&line.any_of, "").join(" "), Some(line.span));
        }
        for (page, span) in &layer.error_pages {
            let text = format!("{} file={}", page.status, quoted(&page.file.display().to_string()));
            self.value(depth, "error-page", text, Some(*span));
        }
        for mirror in &layer.mirrors {
            self.mirror(depth, mirror);
        }
        if let Some((readings, span)) = layer.path_readings {
            self.value(depth, "path-readings", readings.written(), Some(span));
        }
    }

    fn edits(&mut self, depth: u8, name: &str, edits: &[(FieldEdit, Span)]) {
        if edits.is_empty() {
            return;
        }
        self.out.block(depth, name, "", Place::default());
        for (edit, span) in edits {
            let row = match edit.verb {
                EditVerb::Set => &SET,
                EditVerb::Add => &ADD,
                EditVerb::Remove => {
                    self.value(depth + 1, "remove", quoted(&edit.name), Some(*span));
                    continue;
                }
            };
            let own = match edit.secret {
                Some(true) => Some(Secrecy::Secret),
                Some(false) => Some(Secrecy::Open),
                None => None,
            };
            let end = edit.secret.map_or_else(String::new, |secret| format!(" secret=#{secret}"));
            self.field(depth + 1, row, own, (&edit.name, &edit.value.written, &end), Some(*span));
        }
    }

    /// A field with its value and what stands behind it; masked if the row (or `own`) says so.
    pub(crate) fn field(
        &mut self,
        depth: u8,
        row: &'static NodeRow,
        own: Option<Secrecy>,
        (name, value, end): (&str, &str, &str),
        span: Option<Span>,
    ) {
        let place = self.place(span);
        let of_row = row.arguments.last().map_or(Secrecy::Open, |row| row.secrecy);
        let text = |value: &str| format!("{} {}{end}", quoted(name), quoted(value));
        match own.unwrap_or(of_row).masked(name, value) {
            Some(masked) => self.out.secret(depth, row.name, text(value), text(&masked), place),
            None => self.out.value(depth, row.name, text(value), place),
        }
    }

    fn action(&mut self, depth: u8, action: Option<&RawAction>) {
        let Some(&RawAction { ref kind, span }) = action else { return };
        let (name, text) = match kind {
            RawActionKind::Upstream { .. } | RawActionKind::Endpoints(_) => {
                ("to", target_text(kind))
            }
            RawActionKind::Split { parts, stay } => return self.split(depth, parts, stay, span),
            RawActionKind::Ready(Action::Redirect { to, status }) => {
                ("redirect", format!("{} status={status}", quoted(&to.written)))
            }
            RawActionKind::Ready(Action::Respond { status, body, content_type }) => {
                let text = quoted(&String::from_utf8_lossy(body));
                ("respond", format!("{text} status={status} type={}", quoted(content_type)))
            }
            RawActionKind::Ready(Action::Files(files)) => return self.files(depth, files, span),
            RawActionKind::Ready(Action::To(_) | Action::Split(_)) | RawActionKind::Broken => {
                return;
            }
        };
        self.value(depth, name, text, Some(span));
    }

    fn files(&mut self, depth: u8, files: &FileServing, span: Span) {
        let place = self.decoder.place(span);
        self.out.block(depth, "files", quoted(&files.root.display().to_string()), place);
        let index: Vec<_> = files.index.iter().map(|name| quoted(name)).collect();
        let index = if index.is_empty() { "off".to_owned() } else { index.join(" ") };
        self.out.value(depth + 1, "index", index, place);
        self.out.value(depth + 1, "listing", format!("#{}", files.listing), place);
        if let Some(fallback) = &files.fallback {
            self.out.value(depth + 1, "fallback", quoted(fallback), place);
        }
    }

    fn forward(&mut self, raw: &RawForward, bounds: &Bounds) {
        let place = self.decoder.place(raw.address.span);
        self.out.block(0, "forward", quoted(&raw.address.written), place);
        self.tls(raw.tls.as_ref(), false);
        for (rule, span) in &raw.rules {
            self.rule(rule, *span);
        }
        let ports = match &raw.ports {
            None => "80 443".to_owned(),
            Some((ports, _)) if ports.is_empty() => "any".to_owned(),
            Some((ports, _)) => {
                let ports = ports.iter().map(|range| quoted_unless_number(&ports_text(&[*range])));
                ports.collect::<Vec<_>>().join(" ")
            }
        };
        self.value(1, "ports", ports, raw.ports.as_ref().map(|&(_, span)| span));
        match &raw.anonymous {
            None => self.out.remark(1, "anonymous", "off"),
            Some((anonymous, span)) if anonymous.remove.is_empty() => {
                self.value(1, "anonymous", "", Some(*span));
            }
            Some((anonymous, span)) => {
                let place = self.decoder.place(*span);
                self.out.block(1, "anonymous", "", place);
                let names: Vec<_> = anonymous.remove.iter().map(|name| quoted(name)).collect();
                self.out.value(2, "remove", names.join(" "), place);
            }
        }
        let via = raw.via.as_ref().map_or("bothways", |(via, _)| via);
        self.value(1, "via", quoted(via), raw.via.as_ref().map(|&(_, span)| span));
        self.scoped(1, "timeouts", TIMEOUTS, Scope::Forward, &bounds.timeouts);
        self.scoped(1, "limits", LIMITS, Scope::Forward, &bounds.limits);
        self.fields_defaults(&raw.layer);
        self.layer(1, &raw.layer);
    }

    fn rule(&mut self, rule: &ForwardRule, span: Span) {
        let mut text = Vec::new();
        if !rule.to.is_empty() {
            let to: Vec<_> = rule.to.iter().map(destination_text).collect();
            text.push(format!("to={}", quoted(&to.join(","))));
        }
        if !rule.from.is_empty() {
            text.push(format!("from={}", quoted(&nets_text(&rule.from))));
        }
        if !rule.ports.is_empty() {
            text.push(format!("port={}", quoted(&ports_text(&rule.ports))));
        }
        if !rule.methods.is_empty() {
            text.push(format!("method={}", quoted(&rule.methods.join(","))));
        }
        text.extend(clients_text(&rule.clients, "client-"));
        if rule.special {
            text.push("special=#true".to_owned());
        }
        self.value(1, if rule.allow { "allow" } else { "deny" }, text.join(" "), Some(span));
    }

    fn expect(&mut self, raw: &RawExpect) {
        let expect = &raw.expect;
        let mut text = quoted(&format!("{} {}", expect.method, expect.target));
        text.push_str(&format!(" from={}", quoted(&expect.from.to_string())));
        let texts = [
            ("client-name", &expect.client_name),
            ("forward", &expect.forward),
            ("location", &expect.location),
            ("upstream", &expect.upstream),
            ("site", &expect.site),
            ("path", &expect.path),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={}", quoted(value)));
            }
        }
        if let Some(status) = expect.status {
            text.push_str(&format!(" status={status}"));
        }
        if let Some(denied) = expect.denied {
            text.push_str(&format!(" denied=#{denied}"));
        }
        self.value(0, "expect", text, Some(raw.span));
    }
}

/// Numbers and words stay bare.
fn quoted_unless_number(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) || text == "off";
    if plain { text.to_owned() } else { quoted(text) }
}

/// The name of a site, as it is written.
pub(super) fn site_name(name: &SiteName) -> String {
    match name {
        SiteName::Default => "*".into(),
        SiteName::Wildcard(suffix) => format!("*.{suffix}"),
        SiteName::Exact(host) => host.to_string(),
    }
}
