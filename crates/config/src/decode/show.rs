//! The model written down in the language, each value with where it comes from.

use std::rc::Rc;

use super::forward::{RawExpect, RawForward};
use super::layer::{Edits, Layer, Overrides, RawAction, RawActionKind};
use super::resolve::{Bounds, Sourced};
use super::reverse::{Raw, RawListen, RawRoute, RawSite};
use super::tls::RawAcme;
use super::upstream::resolve::RawStay;
use super::upstream::show::target_text;
use super::{Decoder, Origins};
use crate::Effective;
use crate::effective::quoted;
use crate::model::{Action, Config, EditVerb, Place};
use crate::schema::texts::path;
use crate::schema::{
    ACME_BLOCK, ADD, EXPECT_PROPERTIES, FIELD_PROPERTIES, FIELDS_BLOCK, FILES_BLOCK, FORWARD_BLOCK,
    LIMITS, LISTEN_BLOCK, NodeRow, Property, REDIRECT_PROPERTIES, RESPOND_PROPERTIES, ROUTE_BLOCK,
    Row, SET, SITE_BLOCK, SPLIT_BLOCK, SPLIT_PROPERTIES, Scope, Secrecy, Setting, Show, TIMEOUTS,
    TOP, Table, in_line, in_line_masked,
};
use crate::source::Span;

/// Writes everything down.
pub(super) fn effective(
    decoder: &Decoder<'_>,
    raw: &Raw,
    config: &Config,
    outer: &Bounds,
    listeners: &[RawListen],
) -> Effective {
    let out = Effective::new(config.files.clone());
    let bounds = Rc::new(outer.clone());
    let mut writer = Writer { decoder, config, listeners, outer, bounds, out };
    writer.rows(0, &TOP, raw, &Origins::default());
    writer.out
}

pub(crate) struct Writer<'d, 's> {
    pub(super) decoder: &'d Decoder<'s>,
    pub(super) config: &'d Config,
    /// By listener: what holds there.
    listeners: &'d [RawListen],
    outer: &'d Bounds,
    /// What holds in the site or `forward` that is being shown, else everywhere.
    pub(crate) bounds: Rc<Bounds>,
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
        self.ranked(depth, table, of, set, false);
    }

    /// The same; `is_outermost`: whether what is inherited comes from here, so that its defaults are
    /// shown.
    fn ranked<T>(
        &mut self,
        depth: u8,
        table: &'static Table<T>,
        of: &T,
        set: &Origins,
        is_outermost: bool,
    ) {
        let ranks = || table.rows.iter().map(|row| row.node.rank);
        let (first, last) = (ranks().min().unwrap_or(0), ranks().max().unwrap_or(0));
        let ranked = |rank| table.rows.iter().filter(move |row| row.node.rank == rank);
        for row in (first..=last).flat_map(ranked) {
            let (name, default) = (row.node.name, row.node.default);
            let shown = Shown { depth, row: &row.node, set };
            match row.show {
                Show::Value(text) => self.optional(depth, name, text(of), default, shown.span()),
                Show::Inherited(text) => {
                    let otherwise = || is_outermost.then(|| default.to_owned());
                    if let Some(text) = text(of).or_else(otherwise) {
                        let span = shown.span().or_else(|| with(table, name, set));
                        self.value(depth, name, text, span);
                    }
                }
                Show::Lines(lines) => lines(self, of, shown),
                Show::With(other) => debug_assert!(table.find(other).is_some(), "{other}"),
            }
        }
    }

    /// The first line of a block that is there even if nothing in it is set.
    pub(crate) fn open(&mut self, shown: Shown<'_>) {
        self.out.block(shown.depth, shown.row.name, "", Place::default());
    }

    /// The same for one that stands there.
    pub(crate) fn block_at(&mut self, shown: Shown<'_>, text: &str, span: Option<Span>) {
        let place = self.place(span);
        self.out.block(shown.depth, shown.row.name, text, place);
        self.put_by(span);
    }

    /// A line of a row.
    pub(crate) fn line(&mut self, shown: Shown<'_>, text: impl AsRef<str>) {
        self.value(shown.depth, shown.row.name, text, shown.span());
    }

    /// The same, with its own place.
    pub(crate) fn line_at(&mut self, shown: Shown<'_>, text: impl AsRef<str>, place: Place) {
        self.out.value(shown.depth, shown.row.name, text, place);
    }

    /// A line of another row of the same block.
    pub(crate) fn named_line_at(&mut self, depth: u8, name: &str, text: String, place: Place) {
        self.out.value(depth, name, text, place);
    }

    /// A value with its properties behind it, masked where they are secret.
    pub(crate) fn line_of<P>(
        &mut self,
        shown: Shown<'_>,
        head: &str,
        properties: &'static [Property<P>],
        of: &P,
    ) {
        let line = |properties: String| format!("{head}{properties}").trim_start().to_owned();
        let text = line(in_line(properties, of));
        let masked = line(in_line_masked(properties, of));
        let place = self.place(shown.span());
        match masked == text {
            true => self.out.value(shown.depth, shown.row.name, text, place),
            false => self.out.secret(shown.depth, shown.row.name, text, masked, place),
        }
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

    pub(crate) fn place(&self, span: Option<Span>) -> Place {
        span.map_or_else(Place::default, |span| self.decoder.place(span))
    }

    pub(crate) fn value(
        &mut self,
        depth: u8,
        name: &str,
        value: impl AsRef<str>,
        span: Option<Span>,
    ) {
        let place = self.place(span);
        self.out.value(depth, name, value, place);
        self.put_by(span);
    }

    /// Says of the last line what has put it where it is meant.
    fn put_by(&mut self, span: Option<Span>) {
        if let Some(via) = span.and_then(|span| self.decoder.problems.put_by(span)) {
            self.out.put_by(self.decoder.place(via));
        }
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

    pub(crate) fn site(&mut self, raw: &RawSite) {
        let bounds = self.outer.with(&raw.layer.timeouts, &raw.layer.limits);
        self.bounds = Rc::new(bounds);
        let names: Vec<_> = raw.names.iter().map(|(name, _)| quoted(&name.to_string())).collect();
        self.out.block(0, "site", names.join(" "), self.decoder.place(raw.span));
        self.ranked(1, &SITE_BLOCK, raw, &raw.layer.set, !raw.layer.is_passed_on);
    }

    pub(crate) fn route(&mut self, raw: &RawRoute, text: String, shown: Shown<'_>) {
        self.block_at(shown, &text, Some(raw.span));
        self.rows(shown.depth + 1, &ROUTE_BLOCK, &raw.layer, &raw.layer.set);
    }

    /// Times of a layer: in a route those that it sets, else all that hold.
    pub(crate) fn timeouts(&mut self, layer: &Layer, shown: Shown<'_>) {
        let scope = shown.row.block.and_then(|block| block.scope());
        let bounds = self.bounds.clone();
        match scope.filter(|scope| *scope != Scope::Route && !layer.is_passed_on) {
            Some(scope) => self.settings(shown, TIMEOUTS, scope, &bounds.timeouts),
            None => self.overrides(shown, TIMEOUTS, &layer.timeouts),
        }
    }

    /// Limits of a layer, likewise.
    pub(crate) fn limits(&mut self, layer: &Layer, shown: Shown<'_>) {
        let scope = shown.row.block.and_then(|block| block.scope());
        let bounds = self.bounds.clone();
        match scope.filter(|scope| *scope != Scope::Route && !layer.is_passed_on) {
            Some(scope) => self.settings(shown, LIMITS, scope, &bounds.limits),
            None => self.overrides(shown, LIMITS, &layer.limits),
        }
    }

    /// Edits of fields, in a block of their own.
    pub(crate) fn edits(&mut self, edits: &Edits, shown: Shown<'_>) {
        if edits.edits.is_empty() {
            return;
        }
        self.open(shown);
        self.rows(shown.depth + 1, &FIELDS_BLOCK, edits, &Origins::default());
    }

    /// All of them, in their order.
    pub(crate) fn edit_lines(&mut self, edits: &Edits, shown: Shown<'_>) {
        for (edit, span) in &edits.edits {
            let row = match edit.verb {
                EditVerb::Set => &SET.node,
                EditVerb::Add => &ADD.node,
                EditVerb::Remove => {
                    self.value(shown.depth, "remove", quoted(&edit.name), Some(*span));
                    continue;
                }
            };
            let own = edit.secret.map(Secrecy::of);
            let end = in_line(&FIELD_PROPERTIES, edit);
            self.field(shown.depth, row, own, (&edit.name, &edit.value.written, &end), Some(*span));
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
        self.put_by(span);
    }

    /// What is done, if it is what this row says.
    pub(crate) fn action(&mut self, layer: &Layer, shown: Shown<'_>) {
        let Some(&RawAction { ref kind, span }) = layer.action.as_ref() else { return };
        if kind.name() != shown.row.name {
            return;
        }
        let text = match kind {
            RawActionKind::Upstream { .. } | RawActionKind::Endpoints(_) => target_text(kind),
            RawActionKind::Split { split, stay } => {
                let stay = RawStay { stay: stay.clone(), cookie: Box::default() };
                self.block_at(shown, in_line(&SPLIT_PROPERTIES, &stay).trim_start(), Some(span));
                let set = Origins::default();
                return self.rows(shown.depth + 1, &SPLIT_BLOCK, split, &set);
            }
            RawActionKind::Files(files) => {
                self.block_at(shown, &path(&files.serving.root), Some(span));
                let set = Origins::everything_at(Some(span));
                return self.rows(shown.depth + 1, &FILES_BLOCK, &**files, &set);
            }
            RawActionKind::Ready(action) => match action {
                Action::Redirect { to, .. } => {
                    quoted(&to.written) + &in_line(&REDIRECT_PROPERTIES, action)
                }
                Action::Respond { page: Some(_), .. } => {
                    in_line(&RESPOND_PROPERTIES, action).trim_start().to_owned()
                }
                Action::Respond { text, .. } => {
                    quoted(&text.written) + &in_line(&RESPOND_PROPERTIES, action)
                }
                Action::To(_) | Action::Split(_) | Action::Files(_) => return,
            },
            RawActionKind::Broken => return,
        };
        self.value(shown.depth, shown.row.name, text, Some(span));
    }

    pub(crate) fn forward(&mut self, raw: &RawForward) {
        let mut forwards = self.config.forwards.iter();
        let listener = forwards.find(|f| f.written == raw.address.written).map(|f| f.listener);
        let options = listener.and_then(|id| self.listeners.get(id.index()));
        let bounds = options.map_or(self.outer, |options| &options.bounds);
        self.bounds = Rc::new(bounds.clone());
        let place = self.decoder.place(raw.address.span);
        self.out.block(0, "forward", quoted(&raw.address.written), place);
        self.ranked(1, &FORWARD_BLOCK, raw, &raw.layer.set, true);
    }

    pub(crate) fn listeners(&mut self) {
        for (listener, options) in self.config.listeners.iter().zip(self.listeners) {
            self.out.block(0, "listen", quoted(&listener.written), listener.place);
            self.rows(1, &LISTEN_BLOCK, options, &options.set);
        }
    }

    pub(crate) fn acmes(&mut self, raw: &Raw) {
        for acme in &self.config.acme {
            self.out.block(0, "acme", &*acme.name, acme.place);
            match raw.acmes.iter().find(|raw| raw.acme.name == acme.name) {
                Some(raw) => self.rows(1, &ACME_BLOCK, raw, &raw.set),
                None => {
                    let raw = RawAcme::unwritten(acme.clone());
                    self.rows(1, &ACME_BLOCK, &raw, &raw.set);
                }
            }
        }
    }

    pub(crate) fn expect(&mut self, raw: &RawExpect, shown: Shown<'_>) {
        let expect = &raw.expect;
        let request = quoted(&format!("{} {}", expect.method, expect.target));
        let text = request + &in_line(&EXPECT_PROPERTIES, expect);
        self.value(shown.depth, shown.row.name, text, Some(raw.span));
    }
}

/// Where a row stands that is shown with another one.
fn with<T>(table: &'static Table<T>, other: &str, set: &Origins) -> Option<Span> {
    let is_with = |row: &&&Row<T>| matches!(row.show, Show::With(name) if name == other);
    table.rows.iter().filter(is_with).find_map(|row| set.node(row.node.name))
}

/// Numbers and words stay bare.
pub(crate) fn quoted_unless_number(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) || text == "off";
    if plain { text.to_owned() } else { quoted(text) }
}
