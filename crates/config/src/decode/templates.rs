//! Templates and maps: what they name, and texts from outside of the files.

use std::collections::HashMap;
use std::env::{self, VarError};
use std::io;
use std::path::Path;

use super::{Checked, Decoder, Writer};
use crate::diagnostic::plain_io;
use crate::effective::quoted;
use crate::model::{Map, MapId, MapMatch, MapRow, Template, TemplatePart, TextKind};
use crate::reading::read_file;
use crate::schema::MAP_BLOCK;
use crate::source::Span;
use crate::syntax::{Node, ValueKind};
use crate::values::{self, Datum, Names, Outside, Wrong};

/// Bytes of a file that a template names, at most.
const OUTSIDE_BYTES_MAX: u64 = 64 << 10;

/// How deep maps may name others.
const MAPS_DEEP_MAX: usize = 8;

/// Parts that a map may stand for at most, with those of the maps in it.
const MAP_PARTS_MAX: usize = 200;

/// The maps of all files, found before anything is read, as the order of lines does not matter.
#[derive(Debug, Default)]
pub(super) struct MapNames {
    /// In the order of their ids.
    names: Vec<Box<str>>,
    /// The name of the node of each.
    spans: Vec<Span>,
    /// Whether a template names it.
    used: Vec<bool>,
}

impl MapNames {
    /// Those of the top level.
    pub(super) fn of(nodes: &[Node<'_>]) -> Self {
        let mut found = Self::default();
        for node in nodes.iter().filter(|node| node.name == "map") {
            if let Some(ValueKind::Text { text, .. }) = node.arguments.first().map(|v| &v.kind) {
                found.names.push(text.as_ref().into());
                found.spans.push(node.name_span);
                found.used.push(false);
            }
        }
        found
    }

    fn id_at(&self, node: Span) -> Option<MapId> {
        self.spans.iter().position(|span| *span == node).map(MapId::at)
    }
}

/// Whether what is read is for output, where secrets are hidden: of a text from outside of the files the name stands there.
#[derive(Debug, Default)]
pub(super) struct Hiding {
    pub(super) is_on: bool,
    /// Whether there is something to hide.
    pub(super) is_needed: bool,
}

/// A map as it is written.
#[derive(Debug)]
pub(crate) struct RawMap {
    id: MapId,
    span: Span,
    pub(crate) map: Map,
    /// Where each row stands.
    rows: Vec<Span>,
    /// The same by what it compares.
    rows_by_key: HashMap<String, Span>,
    default: Option<Span>,
}

impl Decoder<'_> {
    /// Reads a template; `kind`: what the text is that it makes, if it is one.
    pub(super) fn template_in(
        &mut self,
        text: &str,
        span: Span,
        captures: &[Box<str>],
        kind: Option<TextKind>,
    ) -> Option<Template> {
        let keeps_braces = kind.is_some_and(TextKind::has_braces);
        self.template_with(text, span, captures, keeps_braces, kind.is_some())
    }

    /// Reads a piece of a page. Its syntax may have braces, whatever it is: those that enclose no known part stay.
    pub(super) fn page_template(
        &mut self,
        text: &str,
        span: Span,
        captures: &[Box<str>],
    ) -> Option<Template> {
        self.template_with(text, span, captures, true, true)
    }

    fn template_with(
        &mut self,
        text: &str,
        span: Span,
        captures: &[Box<str>],
        keeps_braces: bool,
        takes_lines: bool,
    ) -> Option<Template> {
        let names = Names { captures, maps: &self.maps.names, keeps_braces };
        let mut has_outside = false;
        let load = |outside: Outside<'_>| {
            has_outside = true;
            match self.hiding.is_on {
                true => Ok(outside.to_string()),
                false => self.load_outside(outside, span, takes_lines),
            }
        };
        let read = values::template(text, &names, load);
        self.hiding.is_needed |= has_outside;
        match read {
            Ok(template) => {
                for part in &template.parts {
                    if let TemplatePart::Map(id) = part
                        && let Some(used) = self.maps.used.get_mut(id.index())
                    {
                        *used = true;
                    }
                }
                // In JavaScript a dollar sign means something else.
                let foreign = values::foreign_variable(text).filter(|_| !names.keeps_braces);
                if let Some((foreign, ours)) = foreign {
                    self.warning(span, format!("`{foreign}` is text here, as it stands"))
                        .hint(format!("what `{foreign}` is in nginx is {ours} here"));
                }
                Some(template)
            }
            Err(mut wrong) => {
                if let Some((foreign, ours)) = values::foreign_variable(text) {
                    wrong.hint = Some(format!("what `{foreign}` is in nginx is {ours} here"));
                }
                self.wrong(span, wrong);
                None
            }
        }
    }

    /// A text from outside; `takes_lines`: whether it may have line breaks.
    fn load_outside(
        &self,
        outside: Outside<'_>,
        span: Span,
        takes_lines: bool,
    ) -> Result<String, Wrong> {
        let (what, text) = match outside {
            Outside::Environment(name) => {
                let what = format!("the environment variable `{name}`");
                match env::var(name) {
                    Ok(text) => (what, text),
                    Err(VarError::NotPresent) => {
                        let wrong = Wrong::new(format!("{what} is not set"));
                        return Err(wrong.hinted("set it where the proxy is started"));
                    }
                    Err(VarError::NotUnicode(_)) => {
                        return Err(Wrong::new(format!("{what} is not UTF-8")));
                    }
                }
            }
            Outside::File(path) => {
                let path = self.path(Path::new(path), span);
                let what = format!("`{}`", path.display());
                let text = read_small(&path).map_err(|error| {
                    Wrong::new(format!("{what} cannot be read: {}", plain_io(&error)))
                })?;
                (what, text)
            }
        };
        let is_wrong = |c: char| c.is_control() && c != '\t' && !(takes_lines && c != '\0');
        match text.chars().find(|&c| is_wrong(c)) {
            Some('\n' | '\r') => Err(Wrong::new(format!("{what} has a line break"))
                .hinted("only the text of `respond` may have several lines")),
            Some(c) => {
                let code = u32::from(c);
                Err(Wrong::new(format!("{what} has the control character U+{code:04X}")))
            }
            None => Ok(text),
        }
    }

    /// Reads a `map`.
    pub(crate) fn map(&mut self, node: &Checked<'_, '_>) -> Option<RawMap> {
        let id = self.maps.id_at(node.name_span())?;
        let [name, input] = node.arguments.as_slice() else { return None };
        // It decides and is never shown: it must be the text itself.
        let is_on = std::mem::take(&mut self.hiding.is_on);
        let input = self.template(input.datum.text(), input.span, &[]);
        self.hiding.is_on = is_on;
        let input = input?;
        let (span, place) = (node.name_span(), self.place(node.name_span()));
        let name_text: Box<str> = name.datum.text().into();
        if values::is_reserved(&name_text) {
            self.error(name.span, format!("`{{{name_text}}}` means something already"))
                .hint("choose another name");
        }
        let earlier =
            self.maps.names.iter().take(id.index()).position(|other| **other == *name_text);
        if let Some(earlier) = earlier.and_then(|index| self.maps.spans.get(index).copied()) {
            self.error(name.span, format!("there are two maps `{name_text}`"))
                .related(earlier, "here first");
        }
        let (rows, default) = (Vec::new(), Template::default());
        let map = Map { place, name: name_text, input, rows, default };
        let (rows, rows_by_key) = (Vec::new(), HashMap::new());
        let mut raw = RawMap { id, span, map, rows, rows_by_key, default: None };
        for child in node.node.children.as_deref().unwrap_or_default() {
            self.map_row(&mut raw, child);
        }
        Some(raw)
    }

    /// Reads a row of a map. Its name is the text to compare, unless it is one of the two words without quotes.
    fn map_row(&mut self, raw: &mut RawMap, child: &Node<'_>) {
        let is_bare = !self.written(child.name_span).starts_with(['"', '#']);
        let row = match &*child.name {
            "default" | "~" if is_bare => MAP_BLOCK.find(&child.name),
            _ => MAP_BLOCK.find("\"text\""),
        };
        let Some(row) = row else { return };
        let checked = self.check(child, &row.node);
        if let crate::schema::Read::Node(read) = row.read {
            read(self, raw, &checked);
        }
    }

    pub(crate) fn map_default(&mut self, raw: &mut RawMap, node: &Checked<'_, '_>) {
        if let Some(earlier) = raw.default {
            self.error(node.name_span(), "`default` appears twice in `map`")
                .related(earlier, "here first");
            return;
        }
        let Some(value) = node.first() else { return };
        raw.default = Some(node.name_span());
        let value = self.template(value.datum.text(), value.span, &[]);
        raw.map.default = value.unwrap_or_default();
    }

    pub(crate) fn map_regex(&mut self, raw: &mut RawMap, node: &Checked<'_, '_>) {
        let [regex, value] = node.arguments.as_slice() else { return };
        let Datum::Regex(regex) = &regex.datum else { return };
        let matches = MapMatch::Regex(regex.clone());
        let Some(value) = self.template(value.datum.text(), value.span, &[]) else { return };
        self.add_map_row(raw, matches, value, node.name_span());
    }

    pub(crate) fn map_text(&mut self, raw: &mut RawMap, node: &Checked<'_, '_>) {
        let text = &*node.node.name;
        let inner = text.trim_start_matches('*').trim_end_matches('*');
        let matches = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if inner.is_empty() && !text.is_empty() => {
                self.error(node.name_span(), "`*` alone is every text").hint("write default \"…\"");
                return;
            }
            (Some(suffix), None) if suffix == inner && !inner.contains('*') => {
                MapMatch::Suffix(suffix.into())
            }
            (None, Some(prefix)) if prefix == inner && !inner.contains('*') => {
                MapMatch::Prefix(prefix.into())
            }
            (None, None) if !text.contains('*') => MapMatch::Exact(text.into()),
            _ => {
                let message = format!("`{text}` has a `*` that is not its only one, at one end");
                self.error(node.name_span(), message)
                    .hint("a regular expression matches such texts: ~ \"…\" \"value\"");
                return;
            }
        };
        let Some(value) = node.first() else { return };
        let Some(value) = self.template(value.datum.text(), value.span, &[]) else { return };
        self.add_map_row(raw, matches, value, node.name_span());
    }

    fn add_map_row(&mut self, raw: &mut RawMap, matches: MapMatch, value: Template, span: Span) {
        let key = match &matches {
            MapMatch::Exact(text) => format!("={text}"),
            MapMatch::Prefix(text) => format!("<{text}"),
            MapMatch::Suffix(text) => format!(">{text}"),
            MapMatch::Regex(regex) => format!("~{}", regex.as_str()),
        };
        if let Some(&earlier) = raw.rows_by_key.get(&key) {
            self.error(span, "there are two rows for the same text").related(earlier, "here first");
            return;
        }
        raw.map.rows.push(MapRow { place: self.place(span), matches, value });
        raw.rows.push(span);
        raw.rows_by_key.insert(key, span);
    }

    /// The maps by their ids, if each stands for something finite.
    pub(super) fn checked_maps(&mut self, raws: &[RawMap]) -> Vec<Map> {
        let mut check = MapCheck { raws, found: vec![Found::New; self.maps.names.len()] };
        for raw in raws {
            if let Err(why) = check.size(raw, 0) {
                self.error(raw.span, why);
                break; // one loop is reported once, not by each of its maps
            }
        }
        for (index, name) in self.maps.names.clone().iter().enumerate() {
            let is_used = self.maps.used.get(index).copied().unwrap_or(true);
            if let Some(&span) = self.maps.spans.get(index).filter(|_| !is_used) {
                self.warning(span, format!("the map `{name}` is not used"))
                    .hint(format!("templates name it by {{{name}}}"));
            }
        }
        let mut maps: Vec<_> = raws.iter().collect();
        maps.sort_by_key(|raw| raw.id);
        maps.into_iter().map(|raw| raw.map.clone()).collect()
    }
}

/// What is known of a map.
#[derive(Clone, Copy)]
enum Found {
    New,
    /// It is being looked at, so that another way to it is a loop.
    Open,
    /// How many parts it stands for at most, and how many maps are within each other.
    Known {
        parts: usize,
        deep: usize,
    },
}

struct MapCheck<'r> {
    raws: &'r [RawMap],
    /// By id.
    found: Vec<Found>,
}

impl MapCheck<'_> {
    /// How many parts a map stands for at most, and how deep maps are within it; else what is wrong.
    fn size(&mut self, raw: &RawMap, outer: usize) -> Result<(usize, usize), String> {
        let name = &raw.map.name;
        match self.found.get(raw.id.index()) {
            Some(&Found::Known { parts, deep }) => return Ok((parts, deep)),
            Some(Found::Open) => return Err(format!("the map `{name}` names itself, at last")),
            Some(Found::New) | None => {}
        }
        let too_deep =
            || format!("maps are within maps more than {MAPS_DEEP_MAX} deep, at `{name}`");
        if outer >= MAPS_DEEP_MAX {
            return Err(too_deep());
        }
        self.set(raw.id, Found::Open);
        let (input, mut deep) = self.template_size(&raw.map.input, outer)?;
        let mut most = 0;
        let values = raw.map.rows.iter().map(|row| &row.value);
        for value in values.chain([&raw.map.default]) {
            let (parts, below) = self.template_size(value, outer)?;
            (most, deep) = (most.max(parts), deep.max(below));
        }
        let (parts, deep) = (input.saturating_add(most), deep + 1);
        if deep > MAPS_DEEP_MAX {
            return Err(too_deep());
        }
        if parts > MAP_PARTS_MAX {
            return Err(format!("the map `{name}` stands for more than {MAP_PARTS_MAX} parts"));
        }
        self.set(raw.id, Found::Known { parts, deep });
        Ok((parts, deep))
    }

    fn template_size(
        &mut self,
        template: &Template,
        outer: usize,
    ) -> Result<(usize, usize), String> {
        let (mut parts, mut deep) = (0usize, 0);
        for part in &template.parts {
            let TemplatePart::Map(id) = part else {
                parts += 1;
                continue;
            };
            let raws = self.raws;
            let Some(inner) = raws.iter().find(|raw| raw.id == *id) else { continue };
            let (inner_parts, inner_deep) = self.size(inner, outer + 1)?;
            (parts, deep) = (parts.saturating_add(inner_parts), deep.max(inner_deep));
        }
        Ok((parts, deep))
    }

    fn set(&mut self, id: MapId, found: Found) {
        if let Some(entry) = self.found.get_mut(id.index()) {
            *entry = found;
        }
    }
}

impl Writer<'_, '_> {
    pub(crate) fn maps(&mut self, raws: &[RawMap]) {
        for raw in raws {
            let RawMap { span, map, rows, default, .. } = raw;
            let text = format!("{} {}", map.name, quoted(&map.input.written));
            let place = self.place(Some(*span));
            self.out.block(0, "map", text, place);
            for (row, span) in map.rows.iter().zip(rows) {
                let (name, text) = match &row.matches {
                    MapMatch::Exact(text) => (quoted(text), String::new()),
                    MapMatch::Prefix(text) => (quoted(&format!("{text}*")), String::new()),
                    MapMatch::Suffix(text) => (quoted(&format!("*{text}")), String::new()),
                    MapMatch::Regex(regex) => ("~".to_owned(), quoted(regex.as_str()) + " "),
                };
                self.value(1, &name, text + &quoted(&row.value.written), Some(*span));
            }
            let value = default.map(|_| quoted(&map.default.written));
            self.optional(1, "default", value, "\"\"", *default);
        }
    }
}

/// Reads a small text file without the line break at its end.
fn read_small(path: &Path) -> io::Result<String> {
    let bytes = read_file(path, OUTSIDE_BYTES_MAX)?;
    if bytes.len() as u64 > OUTSIDE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
