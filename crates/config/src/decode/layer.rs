//! What sites and routes have in common: times, limits, modifiers, actions.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::tls::RawClients;
use super::upstream::resolve::{RawMirror, RawPart};
use super::{Checked, Decoder};
use crate::diagnostic::plain_io;
use crate::model::{
    Action, EditVerb, Endpoint, ErrorPage, FieldEdit, FileServing, HostPolicy, PathReadings,
    Rewrite, Stay, Template,
};
use crate::schema::{ACTIONS, LIMITS, Setting, TIMEOUTS};
use crate::source::Span;
use crate::values::{self, Datum};

/// Bytes of an error page at most.
const ERROR_PAGE_BYTES_MAX: u64 = 1 << 20;

/// Fields of one connection (RFC 9110, section 7.6.1), and framing (RFC 9112, section 6).
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that cannot be set in a request: name, why, and what to do instead.
const NEVER_IN_REQUESTS: &[(&str, &str, &str)] = &[
    (
        "expect",
        "it is for this proxy, which requests the body itself",
        "omit it: bodies are sent as they arrive",
    ),
    (
        "proxy",
        "it is never sent upstream, because CGI programs read it as HTTP_PROXY (CVE-2016-5385)",
        "use another name",
    ),
    (
        "sec-websocket-key",
        "it is part of the handshake of a connection",
        "omit it: it is forwarded, or generated if the client sent none",
    ),
];

/// The same of responses.
const NEVER_IN_RESPONSES: &[(&str, &str, &str)] = &[(
    "sec-websocket-accept",
    "it is part of the handshake of a connection",
    "omit it: that of the endpoint is forwarded",
)];

/// Settings of a table that are set somewhere: the index of each, its value, where.
pub(crate) type Overrides = Vec<(usize, Datum, Span)>;

/// What a site, route or `forward` says itself.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) timeouts: Overrides,
    pub(super) limits: Overrides,
    pub(super) rewrite: Option<(Rewrite, Span)>,
    pub(super) request_fields: Vec<(FieldEdit, Span)>,
    pub(super) response_fields: Vec<(FieldEdit, Span)>,
    pub(super) host: Option<(HostPolicy, Span)>,
    pub(super) forwarded: Option<(bool, Span)>,
    pub(super) drop_underscores: Option<(bool, Span)>,
    pub(super) error_pages: Vec<(ErrorPage, Span)>,
    pub(super) path_readings: Option<(PathReadings, Span)>,
    pub(super) clients: Vec<RawClients>,
    pub(super) mirrors: Vec<RawMirror>,
    pub(super) action: Option<RawAction>,
}

/// What is done, before names are looked up.
#[derive(Debug)]
pub(super) struct RawAction {
    pub(super) kind: RawActionKind,
    /// Where its name is.
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) enum RawActionKind {
    /// To the upstream of this name.
    Upstream { name: Box<str>, span: Span },
    /// To these endpoints.
    Endpoints(Vec<Endpoint>),
    /// To several upstreams, by shares.
    Split { parts: Vec<RawPart>, stay: Stay },
    /// Something else, ready.
    Ready(Action),
    /// Something with a mistake that is told.
    Broken,
}

impl Decoder<'_> {
    /// Takes a node that sites, routes and forwards have in common; false if it is another.
    pub(super) fn modifier(
        &mut self,
        layer: &mut Layer,
        node: &Checked<'_, '_>,
        captures: &[Box<str>],
    ) -> bool {
        let span = node.name_span();
        match node.row.name {
            "timeouts" => layer.timeouts = self.overrides(node, TIMEOUTS),
            "limits" => layer.limits = self.overrides(node, LIMITS),
            "strip-prefix" | "rewrite" => self.rewrite(layer, node, captures),
            "request" => layer.request_fields = self.edits(node, captures),
            "response" => layer.response_fields = self.edits(node, captures),
            "host" => {
                if let Some(Datum::Host(policy)) = node.first().map(|given| &given.datum) {
                    layer.host = Some((policy.clone(), span));
                }
            }
            "forwarded" => {
                let on = node.first().is_some_and(|given| given.datum.text() == "on");
                layer.forwarded = Some((on, span));
            }
            "underscores" => {
                let drop = node.first().is_some_and(|given| given.datum.text() == "drop");
                layer.drop_underscores = Some((drop, span));
            }
            "error-page" => self.error_page(layer, node),
            "path-readings" | "encoded-separators" => self.path_readings(layer, node),
            "client" => {
                let line = self.client(node);
                layer.clients.push(line);
            }
            "mirror" => {
                let mirror = self.mirror(node);
                layer.mirrors.extend(mirror);
            }
            name if ACTIONS.contains(&name) => self.action(layer, node, captures),
            _ => return false,
        }
        true
    }

    pub(crate) fn overrides<T>(
        &mut self,
        node: &Checked<'_, '_>,
        table: &'static [Setting<T>],
    ) -> Overrides {
        let mut overrides = Vec::new();
        for child in self.children(node) {
            let index = table.iter().position(|setting| setting.row.name == child.row.name);
            if let (Some(index), Some(given)) = (index, child.first()) {
                overrides.push((index, given.datum.clone(), child.name_span()));
            }
        }
        overrides
    }

    fn template(&mut self, text: &str, span: Span, captures: &[Box<str>]) -> Option<Template> {
        match values::template(text, captures) {
            Ok(template) => Some(template),
            Err(wrong) => {
                self.wrong(span, wrong);
                None
            }
        }
    }

    fn rewrite(&mut self, layer: &mut Layer, node: &Checked<'_, '_>, captures: &[Box<str>]) {
        let Some(given) = node.first() else { return };
        if let Some((_, earlier)) = layer.rewrite {
            self.error(
                node.name_span(),
                "a path is rewritten only once: by `strip-prefix` or by `rewrite`",
            )
            .related(earlier, "the other one");
            return;
        }
        let text = given.datum.text();
        let rewrite = match node.row.name {
            "strip-prefix" => Some(Rewrite::StripPrefix(text.into())),
            _ => self.template(text, given.span, captures).map(Rewrite::To),
        };
        layer.rewrite = rewrite.map(|rewrite| (rewrite, node.name_span()));
    }

    fn path_readings(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let span = node.name_span();
        if let Some((_, earlier)) = layer.path_readings {
            self.error(span, "`encoded-separators` is a part of `path-readings`")
                .hint("omit it")
                .related(earlier, "the other one");
            return;
        }
        let has = |word: &str| node.arguments.iter().any(|given| given.datum.text() == word);
        let usual = PathReadings::default();
        let readings = if node.row.name == "encoded-separators" {
            let (readings, hint) = match has("pass") {
                true => {
                    let readings = PathReadings { decoded: false, parameters: false, ..usual };
                    (readings, "write path-readings merged host, if it is still needed".to_owned())
                }
                false => (usual, "omit it: paths that servers read differently are refused".into()),
            };
            self.warning(span, "`encoded-separators` is a part of `path-readings` now").hint(hint);
            readings
        } else {
            PathReadings {
                merged: has("merged"),
                host: has("host"),
                decoded: has("decoded"),
                parameters: has("parameters"),
                case: has("case"),
            }
        };
        if has("none") && node.arguments.len() > 1 {
            self.error(span, "`none` cannot be combined with others")
                .hint(format!("write path-readings {}", readings.written()));
        }
        layer.path_readings = Some((readings, span));
    }

    fn edits(&mut self, node: &Checked<'_, '_>, captures: &[Box<str>]) -> Vec<(FieldEdit, Span)> {
        let mut edits = Vec::new();
        let in_request = node.row.name == "request";
        for child in self.children(node) {
            let span = child.name_span();
            let place = self.place(span);
            let verb = match child.row.name {
                "set" => EditVerb::Set,
                "add" => EditVerb::Add,
                _ => EditVerb::Remove,
            };
            if verb == EditVerb::Remove {
                for given in &child.arguments {
                    let name: Box<str> = given.datum.text().into();
                    if self.may_edit(&name, given.span, verb, in_request) {
                        let value = Template::default();
                        edits.push((FieldEdit { secret: None, place, verb, name, value }, span));
                    }
                }
                continue;
            }
            let [name, value] = child.arguments.as_slice() else { continue };
            let Some(template) = self.template(value.datum.text(), value.span, captures) else {
                continue;
            };
            let field: Box<str> = name.datum.text().into();
            if self.may_edit(&field, name.span, verb, in_request) {
                let secret = child.property("secret").map(|given| given.datum.flag());
                let edit = FieldEdit { secret, place, verb, name: field, value: template };
                edits.push((edit, span));
            }
        }
        edits
    }

    /// Tells fields that are not for editing: they say how a message is framed or where it goes, or
    /// never leave.
    pub(super) fn may_edit(
        &mut self,
        name: &str,
        span: Span,
        verb: EditVerb,
        in_request: bool,
    ) -> bool {
        // Servers that read `_` as a hyphen would find the same field.
        let lower = name.to_ascii_lowercase().replace('_', "-");
        if in_request && lower == "host" {
            self.error(span, format!("`{name}` cannot be edited as a field"))
                .hint("write host \"…\"");
            return false;
        }
        if HOP_BY_HOP.contains(&lower.as_str()) {
            self.error(span, format!("`{name}` cannot be edited: it is about a single connection"))
                .hint("the proxy sets it itself, for each connection");
            return false;
        }
        let side = if in_request { NEVER_IN_REQUESTS } else { NEVER_IN_RESPONSES };
        // To remove what never leaves is no mistake.
        let never = side.iter().filter(|_| verb != EditVerb::Remove);
        if let Some((_, why, hint)) = never.into_iter().find(|(other, ..)| *other == lower) {
            self.error(span, format!("`{name}` cannot be edited: {why}")).hint(*hint);
            return false;
        }
        true
    }

    fn error_page(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let Some(given) = node.property("file") else {
            let wrong = node.node.properties.iter().any(|property| property.name == "file");
            if !wrong && !node.node.damaged {
                self.error(node.node.span, "`error-page` needs a file")
                    .hint("write error-page 502 503 file=\"down.html\"");
            }
            return;
        };
        let file = given.datum.path();
        let Some(body) = self.page(&file, given.span) else { return };
        for status in &node.arguments {
            let number = status.datum.number() as u16;
            let earlier = layer.error_pages.iter().find(|(page, _)| page.status == number);
            if let Some(&(_, earlier)) = earlier {
                self.error(status.span, format!("there are two pages for {number}"))
                    .related(earlier, "the other one");
                continue;
            }
            let content_type = content_type(&file).into();
            let page =
                ErrorPage { status: number, file: file.clone(), content_type, body: body.clone() };
            layer.error_pages.push((page, node.name_span()));
        }
    }

    fn page(&mut self, file: &Path, span: Span) -> Option<Arc<[u8]>> {
        let mut body = Vec::new();
        let limit = ERROR_PAGE_BYTES_MAX + 1;
        let read = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut body));
        let shown = file.display();
        if let Err(error) = read {
            self.error(span, format!("`{shown}` cannot be read: {}", plain_io(&error)));
            return None;
        }
        if body.len() as u64 > ERROR_PAGE_BYTES_MAX {
            self.error(span, format!("`{shown}` is larger than 1 MiB"))
                .hint("error pages are kept in memory; serve large files by `files`");
            return None;
        }
        Some(body.into())
    }

    fn action(&mut self, layer: &mut Layer, node: &Checked<'_, '_>, captures: &[Box<str>]) {
        let span = node.name_span();
        if let Some(earlier) = &layer.action {
            let other = earlier.span;
            let message = match self.written(other) == node.row.name {
                true => {
                    format!("`{}` appears twice, and only one action is possible", node.row.name)
                }
                false => {
                    format!("only one action is possible, and `{}` is a second one", node.row.name)
                }
            };
            let repeated = node.row.name == "to" && self.written(other) == "to";
            let problem = self.error(span, message).related(other, "here first");
            if repeated {
                problem.hint("combine several endpoints: to \"10.0.0.1:80\" \"10.0.0.2:80\"");
            }
            return;
        }
        let ready = match node.row.name {
            "to" => Some(self.to(node)),
            "split" => Some(self.split(node)),
            "redirect" => self.redirect(node, captures).map(RawActionKind::Ready),
            "respond" => self.respond(node).map(RawActionKind::Ready),
            _ => self.files(node).map(RawActionKind::Ready),
        };
        layer.action = Some(RawAction { kind: ready.unwrap_or(RawActionKind::Broken), span });
    }

    pub(super) fn to(&mut self, node: &Checked<'_, '_>) -> RawActionKind {
        let mut endpoints = Vec::new();
        let mut spans = Vec::new();
        self.endpoints(node, &mut endpoints, &mut spans);
        self.check_mixed(&endpoints, &spans);
        let names = node.arguments.iter().filter_map(|given| match &given.datum {
            Datum::Name(name) => Some((name.clone(), given.span)),
            _ => None,
        });
        let names: Vec<_> = names.collect();
        match names.as_slice() {
            [] if endpoints.is_empty() => RawActionKind::Broken,
            [] => RawActionKind::Endpoints(endpoints),
            [(name, span)] if endpoints.is_empty() => {
                RawActionKind::Upstream { name: name.clone(), span: *span }
            }
            [(name, span), ..] => {
                self.error(*span, format!("`{name}` cannot be combined with others here")).hint(
                    format!(
                        "`{}` names one upstream, or endpoints with their ports",
                        node.row.name
                    ),
                );
                RawActionKind::Broken
            }
        }
    }

    fn redirect(&mut self, node: &Checked<'_, '_>, captures: &[Box<str>]) -> Option<Action> {
        let mut status = 308;
        if let Some(given) = node.property("status") {
            status = given.datum.number() as u16;
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                self.error(given.span, format!("{status} is not the status of a redirect"))
                    .hint("known: 301, 302, 303, 307, 308");
            }
        }
        let given = node.first()?;
        let to = self.template(given.datum.text(), given.span, captures)?;
        Some(Action::Redirect { to, status })
    }

    fn respond(&mut self, node: &Checked<'_, '_>) -> Option<Action> {
        let status = node.property("status").map_or(200, |given| given.datum.number() as u16);
        let content_type = match node.property("type") {
            Some(given) => given.datum.text().into(),
            None => "text/plain; charset=utf-8".into(),
        };
        let text = node.first().map_or("", |given| given.datum.text());
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        if let (204 | 205 | 304, Some(given), false) = (status, node.first(), text.is_empty()) {
            self.error(given.span, format!("a response with status {status} has no body"));
            return None;
        }
        Some(Action::Respond { status, body: text.as_bytes().into(), content_type })
    }

    fn files(&mut self, node: &Checked<'_, '_>) -> Option<Action> {
        let mut index = vec!["index.html".into()];
        let mut listing = false;
        let mut fallback = None;
        for child in self.children(node) {
            match child.row.name {
                "index" => index = self.index(&child),
                "listing" => listing = child.first().is_some_and(|given| given.datum.flag()),
                "fallback" => fallback = child.first().map(|given| given.datum.text().into()),
                _ => {}
            }
        }
        let given = node.first()?;
        let root = given.datum.path();
        if !root.is_dir() {
            let shown = root.display().to_string();
            self.warning(given.span, format!("there is no directory `{shown}`"))
                .hint("requests get 404 until it exists");
        }
        Some(Action::Files(FileServing { root, index, listing, fallback }))
    }

    fn index(&mut self, node: &Checked<'_, '_>) -> Vec<Box<str>> {
        let mut names = Vec::new();
        for given in &node.arguments {
            match given.datum.text() {
                "off" if node.arguments.len() == 1 => {}
                name if name.is_empty() || name.contains(['/', '\0']) || name == ".." => {
                    self.error(given.span, format!("`{name}` is not the name of a file"))
                        .hint("an index is a file name, such as \"index.html\"");
                }
                name => names.push(name.into()),
            }
        }
        names
    }
}

/// What an error page is, by the ending of its file.
fn content_type(file: &Path) -> &'static str {
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
