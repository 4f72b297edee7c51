//! What sites and routes have in common: times, limits, modifiers, actions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::caching::RawCaching;
use super::login::RawLogin;
use super::matching::{RawAccess, RawCondition, RawFiles};
use super::tls::RawClients;
use super::upstream::EndpointSpans;
use super::upstream::resolve::{RawMirror, RawSplit};
use super::{Checked, Decoder, Given, Origins};
use crate::diagnostic::plain_io;
use crate::model::{
    AccessFormat, Action, EditVerb, Endpoint, ErrorPage, ErrorsFrom, FieldEdit, HostPolicy,
    LogTarget, Page, PagePiece, PathReadings, Rewrite, Satisfy, Stay, Template, TemplatePart,
    TextKind,
};
use crate::reading::read_file;
use crate::schema::{
    ERROR_PAGE_PROPERTIES, FIELD_PROPERTIES, FIELDS_BLOCK, FILES_BLOCK, LOG_PROPERTIES,
    MAINTENANCE_PROPERTIES, REDIRECT_PROPERTIES, RESPOND_PROPERTIES, Secrecy, Setting,
};
use crate::source::Span;
use crate::values::Datum;

/// Bytes of a page at most.
const PAGE_BYTES_MAX: u64 = 1 << 20;

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
pub(crate) struct Layer {
    pub(crate) timeouts: Overrides,
    pub(crate) limits: Overrides,
    pub(crate) rewrite: Option<(Rewrite, Span)>,
    pub(crate) request_fields: Edits,
    pub(crate) response_fields: Edits,
    pub(crate) host: Option<(HostPolicy, Span)>,
    pub(crate) request_id: Option<(bool, Span)>,
    pub(crate) keep_responses: Option<(bool, Span)>,
    pub(crate) forwarded: Option<(bool, Span)>,
    pub(crate) drop_underscores: Option<(bool, Span)>,
    pub(crate) error_pages: Vec<(ErrorPage, Span)>,
    pub(crate) maintenance: Option<(RawMaintenance, Span)>,
    pub(crate) log: Option<(RawLog, Span)>,
    pub(crate) path_readings: Option<(PathReadings, Span)>,
    pub(crate) clients: Vec<RawClients>,
    pub(crate) conditions: Vec<RawCondition>,
    pub(crate) access: Vec<RawAccess>,
    pub(crate) satisfy: Option<(Satisfy, Span)>,
    pub(crate) login: Option<RawLogin>,
    pub(crate) caching: Option<RawCaching>,
    pub(crate) mirrors: Vec<RawMirror>,
    pub(crate) action: Option<RawAction>,
    /// What templates in it may name.
    pub(crate) captures: Vec<Box<str>>,
    /// Whether TLS is passed on, so that most of this means nothing.
    pub(crate) is_passed_on: bool,
    /// Where its settings stand.
    pub(crate) set: Origins,
}

/// What has a layer of settings.
pub(crate) trait HasLayer {
    fn layer(&self) -> &Layer;
    fn layer_mut(&mut self) -> &mut Layer;
}

impl HasLayer for Layer {
    fn layer(&self) -> &Layer {
        self
    }

    fn layer_mut(&mut self) -> &mut Layer {
        self
    }
}

/// Edits of fields.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    in_request: bool,
    captures: Vec<Box<str>>,
    pub(crate) edits: Vec<(FieldEdit, Span)>,
}

/// A page of errors, as it is read.
#[derive(Debug, Default)]
pub(crate) struct RawErrorPage {
    pub(crate) file: PathBuf,
    pub(crate) from: ErrorsFrom,
}

impl From<&ErrorPage> for RawErrorPage {
    fn from(page: &ErrorPage) -> Self {
        Self { file: page.page.file.clone(), from: page.from }
    }
}

/// An access log, as far as a layer says another than what is further out.
#[derive(Debug, Default)]
pub(crate) struct RawLog {
    pub(crate) access: Option<LogTarget>,
    pub(crate) format: Option<AccessFormat>,
    pub(crate) fields: Option<Box<[Box<str>]>>,
}

/// How a site or route is closed, as it is read.
#[derive(Debug)]
pub(crate) struct RawMaintenance {
    pub(crate) is_off: bool,
    pub(crate) file: Option<PathBuf>,
    pub(crate) retry_after: Duration,
    pub(crate) page_file: Option<PathBuf>,
    pub(crate) page: Option<Page>,
    pub(crate) except: Vec<IpNet>,
}

impl Default for RawMaintenance {
    fn default() -> Self {
        let retry_after = Duration::from_secs(300);
        let (is_off, except) = (false, Vec::new());
        Self { is_off, file: None, retry_after, page_file: None, page: None, except }
    }
}

/// What is done, before names are looked up.
#[derive(Debug)]
pub(crate) struct RawAction {
    pub(crate) kind: RawActionKind,
    /// Where its name is.
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum RawActionKind {
    /// To the upstream of this name.
    Upstream { name: Box<str>, span: Span },
    /// To these endpoints.
    Endpoints(Vec<Endpoint>),
    /// To several upstreams, by shares.
    Split { split: RawSplit, stay: Stay },
    /// Files, and where other requests go.
    Files(Box<RawFiles>),
    /// Something else, ready.
    Ready(Action),
    /// Something with a mistake that is told.
    Broken,
}

impl RawActionKind {
    /// The node that says so.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Upstream { .. } | Self::Endpoints(_) | Self::Ready(Action::To(_)) => "to",
            Self::Split { .. } | Self::Ready(Action::Split(_)) => "split",
            Self::Ready(Action::Redirect { .. }) => "redirect",
            Self::Ready(Action::Respond { .. }) => "respond",
            Self::Files(_) | Self::Ready(Action::Files(_)) => "files",
            Self::Broken => "",
        }
    }
}

impl Decoder<'_> {
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

    pub(crate) fn template(
        &mut self,
        text: &str,
        span: Span,
        captures: &[Box<str>],
    ) -> Option<Template> {
        self.template_in(text, span, captures, None)
    }

    pub(crate) fn rewrite(
        &mut self,
        layer: &mut Layer,
        node: &Checked<'_, '_>,
        read: impl FnOnce(&mut Self, &[Box<str>], &Given) -> Option<Rewrite>,
    ) {
        let Some(given) = node.first() else { return };
        if let Some((_, earlier)) = layer.rewrite {
            self.error(
                node.name_span(),
                "a path is rewritten only once: by `strip-prefix` or by `rewrite`",
            )
            .related(earlier, "the other one");
            return;
        }
        let rewrite = read(self, &layer.captures, given);
        layer.rewrite = rewrite.map(|rewrite| (rewrite, node.name_span()));
    }

    pub(crate) fn path_readings(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let has = |word: &str| node.data().any(|datum| datum.text() == word);
        let readings = PathReadings {
            merged: has("merged"),
            host: has("host"),
            decoded: has("decoded"),
            parameters: has("parameters"),
            case: has("case"),
        };
        if self.set_path_readings(layer, readings, node) && has("none") && node.arguments.len() > 1
        {
            self.error(node.name_span(), "`none` cannot be combined with others")
                .hint(format!("write path-readings {}", readings.written()));
        }
    }

    /// The older word for a part of `path-readings`.
    pub(crate) fn encoded_separators(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let usual = PathReadings::default();
        let passes = node.data().any(|datum| datum.text() == "pass");
        let (readings, hint) = match passes {
            true => (
                PathReadings { decoded: false, parameters: false, ..usual },
                "write path-readings merged host, if it is still needed",
            ),
            false => (usual, "omit it: paths that servers read differently are refused"),
        };
        if self.set_path_readings(layer, readings, node) {
            let message = "`encoded-separators` is a part of `path-readings` now";
            self.warning(node.name_span(), message).hint(hint);
        }
    }

    fn set_path_readings(
        &mut self,
        layer: &mut Layer,
        readings: PathReadings,
        node: &Checked<'_, '_>,
    ) -> bool {
        let span = node.name_span();
        if let Some((_, earlier)) = layer.path_readings {
            self.error(span, "`encoded-separators` is a part of `path-readings`")
                .hint("omit it")
                .related(earlier, "the other one");
            return false;
        }
        layer.path_readings = Some((readings, span));
        true
    }

    pub(crate) fn edits(
        &mut self,
        node: &Checked<'_, '_>,
        in_request: bool,
        captures: &[Box<str>],
    ) -> Edits {
        let mut edits = Edits { in_request, captures: captures.to_vec(), edits: Vec::new() };
        self.block(node, &FIELDS_BLOCK, &mut edits);
        edits
    }

    pub(crate) fn edit(&mut self, edits: &mut Edits, node: &Checked<'_, '_>, verb: EditVerb) {
        let [name, value] = node.arguments.as_slice() else { return };
        let captures = &edits.captures;
        let Some(value) = self.template(value.datum.text(), value.span, captures) else { return };
        let field: Box<str> = name.datum.text().into();
        if self.may_edit(&field, name.span, verb, edits.in_request) {
            let place = self.place(node.name_span());
            let mut edit = FieldEdit { secret: None, place, verb, name: field, value };
            node.put(&FIELD_PROPERTIES, &mut edit);
            self.hide(&mut edit);
            edits.edits.push((edit, node.name_span()));
        }
    }

    /// Masks a value that is written here and secret, if it is for output.
    fn hide(&mut self, edit: &mut FieldEdit) {
        let [TemplatePart::Literal(text)] = edit.value.parts.as_mut_slice() else { return };
        let secrecy = edit.secret.map_or(Secrecy::OfField, Secrecy::of);
        let names_outside =
            ["{env:", "{file:"].iter().any(|name| edit.value.written.contains(name));
        let masked = secrecy.masked(&edit.name, text).filter(|_| !names_outside);
        let Some(masked) = masked else { return };
        self.hiding.is_needed = true;
        if self.hiding.is_on {
            *text = masked.into();
        }
    }

    pub(crate) fn remove(&mut self, edits: &mut Edits, node: &Checked<'_, '_>) {
        let (span, verb) = (node.name_span(), EditVerb::Remove);
        for given in &node.arguments {
            let name: Box<str> = given.datum.text().into();
            if self.may_edit(&name, given.span, verb, edits.in_request) {
                let (place, value) = (self.place(span), Template::default());
                edits.edits.push((FieldEdit { secret: None, place, verb, name, value }, span));
            }
        }
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

    pub(crate) fn error_page(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let Some(given) = node.property("file") else {
            let wrong = node.node.properties.iter().any(|property| property.name == "file");
            if !wrong && !node.node.damaged {
                self.error(node.node.span, "`error-page` needs a file")
                    .hint("write error-page 502 503 file=\"down.html\"");
            }
            return;
        };
        let mut raw = RawErrorPage::default();
        node.put(&ERROR_PAGE_PROPERTIES, &mut raw);
        let captures = layer.captures.clone();
        let Some(page) = self.page(&raw.file, given.span, &captures) else { return };
        for status in &node.arguments {
            let number = status.datum.number() as u16;
            let earlier = layer.error_pages.iter().find(|(page, _)| page.status == number);
            if let Some(&(_, earlier)) = earlier {
                self.error(status.span, format!("there are two pages for {number}"))
                    .related(earlier, "the other one");
                continue;
            }
            let page = ErrorPage { status: number, from: raw.from, page: page.clone() };
            layer.error_pages.push((page, node.name_span()));
        }
    }

    pub(crate) fn maintenance(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let is_off = node.data().any(|mode| mode.text() == "off");
        let mut raw = RawMaintenance { is_off, ..RawMaintenance::default() };
        node.put(&MAINTENANCE_PROPERTIES, &mut raw);
        if raw.is_off
            && let Some(property) = node.node.properties.first()
        {
            self.error(property.name_span, "`maintenance off` takes no more words")
                .hint("omit `off`: the site is open as long as the file does not exist");
            return;
        }
        if let (Some(file), Some(given)) = (&raw.page_file, node.property("page")) {
            raw.page = self.page(file, given.span, &layer.captures);
        }
        layer.maintenance = Some((raw, node.name_span()));
    }

    pub(crate) fn log(&mut self, layer: &mut Layer, node: &Checked<'_, '_>) {
        let mut raw = RawLog::default();
        node.put(&LOG_PROPERTIES, &mut raw);
        self.check_log_fields(node, raw.access.as_ref(), raw.format.as_ref());
        layer.log = Some((raw, node.name_span()));
    }

    /// Tells fields that are chosen for a format that has none.
    pub(crate) fn check_log_fields(
        &mut self,
        node: &Checked<'_, '_>,
        target: Option<&LogTarget>,
        format: Option<&AccessFormat>,
    ) {
        let Some(given) = node.property("fields") else { return };
        let has_fields = matches!(format, None | Some(AccessFormat::Json));
        if !has_fields && target != Some(&LogTarget::Journald) {
            self.error(given.span, "this format has no fields to choose")
                .hint("`fields` is for `json` and for the journal; write a text with the parts that you want");
        }
    }

    /// Reads a page.
    fn page(&mut self, file: &Path, span: Span, captures: &[Box<str>]) -> Option<Page> {
        let shown = file.display();
        let body = match read_file(file, PAGE_BYTES_MAX) {
            Ok(body) => body,
            Err(error) => {
                self.error(span, format!("`{shown}` cannot be read: {}", plain_io(&error)));
                return None;
            }
        };
        if body.len() as u64 > PAGE_BYTES_MAX {
            self.error(span, format!("`{shown}` is larger than 1 MiB"))
                .hint("pages are kept in memory; serve large files by `files`");
            return None;
        }
        let content_type = content_type(file);
        let kind = TextKind::of(content_type);
        let is_text = kind != TextKind::Plain || content_type.starts_with("text/");
        let pieces = match str::from_utf8(&body) {
            Ok(text) if is_text => self.page_pieces(text, span, captures)?,
            _ => vec![PagePiece::Bytes(body.into())],
        };
        let (file, content_type) = (file.to_owned(), content_type.into());
        Some(Page { file, content_type, kind, pieces: pieces.into() })
    }

    fn page_pieces(
        &mut self,
        text: &str,
        span: Span,
        captures: &[Box<str>],
    ) -> Option<Vec<PagePiece>> {
        const OWN: [(&str, PagePiece); 2] =
            [("{status}", PagePiece::Status), ("{reason}", PagePiece::Reason)];
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let found =
                OWN.iter().filter_map(|(name, piece)| Some((rest.find(name)?, name, piece)));
            let next = found.min_by_key(|(at, ..)| *at);
            let end = next.map_or(rest.len(), |(at, ..)| at);
            let (before, from) = rest.split_at(end);
            if !before.is_empty() {
                pieces.push(PagePiece::Text(self.page_template(before, span, captures)?));
            }
            rest = match next {
                Some((_, name, piece)) => {
                    pieces.push(piece.clone());
                    from.get(name.len()..).unwrap_or_default()
                }
                None => "",
            };
        }
        Some(pieces)
    }

    /// Takes what is done, unless something else is.
    pub(crate) fn action(
        &mut self,
        layer: &mut Layer,
        node: &Checked<'_, '_>,
        read: impl FnOnce(&mut Self, &[Box<str>], &Checked<'_, '_>) -> Option<RawActionKind>,
    ) {
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
        let kind = read(self, &layer.captures, node).unwrap_or(RawActionKind::Broken);
        layer.action = Some(RawAction { kind, span });
    }

    pub(crate) fn to(&mut self, node: &Checked<'_, '_>) -> RawActionKind {
        let mut endpoints = Vec::new();
        let mut spans = EndpointSpans::default();
        self.endpoints(node, &mut endpoints, &mut spans, |_, _| {});
        self.check_mixed(&endpoints, &spans.all);
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

    pub(crate) fn redirect(
        &mut self,
        node: &Checked<'_, '_>,
        captures: &[Box<str>],
    ) -> Option<RawActionKind> {
        let mut action = Action::Redirect { to: Template::default(), status: 308 };
        node.put(&REDIRECT_PROPERTIES, &mut action);
        let Action::Redirect { to, status } = &mut action else { return None };
        let known = matches!(status, 301 | 302 | 303 | 307 | 308);
        if let Some(given) = node.property("status").filter(|_| !known) {
            self.error(given.span, format!("{status} is not the status of a redirect"))
                .hint("known: 301, 302, 303, 307, 308");
        }
        let given = node.first()?;
        *to = self.template(given.datum.text(), given.span, captures)?;
        Some(RawActionKind::Ready(action))
    }

    pub(crate) fn respond(
        &mut self,
        node: &Checked<'_, '_>,
        captures: &[Box<str>],
    ) -> Option<RawActionKind> {
        let text = node.first().map_or("", |given| given.datum.text());
        let content_type = "text/plain; charset=utf-8".into();
        let body = Template::default();
        let kind = TextKind::Plain;
        let mut action =
            Action::Respond { status: 200, text: body, content_type, kind, page: None };
        node.put(&RESPOND_PROPERTIES, &mut action);
        if let (Some(given), Some(file)) = (node.first(), node.property("file")) {
            self.error(given.span, "`respond` takes a text or a file, and here are both")
                .related(file.span, "the file");
            return None;
        }
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        if let Action::Respond { status: status @ (204 | 205 | 304), .. } = action
            && let Some(given) =
                node.first().filter(|_| !text.is_empty()).or_else(|| node.property("file"))
        {
            self.error(given.span, format!("a response with status {status} has no body"));
            return None;
        }
        if let Action::Respond { text: body, content_type, kind, .. } = &mut action
            && let Some(given) = node.first()
        {
            *kind = TextKind::of(content_type);
            *body = self.template_in(text, given.span, captures, Some(*kind))?;
        }
        if let Action::Respond { content_type, page: Some(page), .. } = &mut action
            && let Some(given) = node.property("file")
        {
            *page = self.page(&page.file, given.span, captures)?;
            match node.property("type") {
                Some(_) => page.content_type.clone_from(content_type),
                None => content_type.clone_from(&page.content_type),
            }
        }
        Some(RawActionKind::Ready(action))
    }

    pub(crate) fn files(
        &mut self,
        node: &Checked<'_, '_>,
        captures: &[Box<str>],
    ) -> Option<RawActionKind> {
        let mut files = RawFiles::new(captures);
        self.block(node, &FILES_BLOCK, &mut files);
        self.check_tries(&files);
        let given = node.first()?;
        files.serving.root = given.datum.path();
        if !files.serving.root.is_dir() {
            let shown = files.serving.root.display().to_string();
            self.warning(given.span, format!("there is no directory `{shown}`"))
                .hint("requests get 404 until it exists");
        }
        Some(RawActionKind::Files(Box::new(files)))
    }

    pub(crate) fn index(&mut self, node: &Checked<'_, '_>) -> Vec<Box<str>> {
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

/// What a page is, by the ending of its file.
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
