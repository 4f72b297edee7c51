//! Text with `{name}` parts, and the maps that such parts may name.
//!
//! Not here: what a part says of a request, and how it is encoded for its place (`rules`).

use crate::ids::MapId;
use crate::model::Place;
use crate::regex::Regex;

/// Text with `{name}` parts, parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// As written.
    pub written: Box<str>,
    /// Its parts.
    pub parts: Vec<TemplatePart>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it is.
    Literal(Box<str>),
    /// A capture of the route's pattern, or `rest`.
    Capture(Box<str>),
    /// Something of the request.
    Variable(Variable),
    /// `{field:NAME}`: the values of the request's fields of this name, as a list; empty if there are none.
    Field(Box<str>),
    /// `{cookie:NAME}`: the value of the first cookie of this name, or empty.
    Cookie(Box<str>),
    /// `{query:NAME}`: the value of the first query parameter of this name, as the client wrote it, or empty.
    Parameter(Box<str>),
    /// What a map makes of the request.
    Map(MapId),
}

/// Something of the request that a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `{client}`: the client's address.
    Client,
    /// `{client-port}`: the client's port, empty if it is not known.
    ClientPort,
    /// `{host}`: the canonical host, without port.
    Host,
    /// `{scheme}`: http or https.
    Scheme,
    /// `{method}`.
    Method,
    /// `{path}`: the path as the client wrote it, without dot segments.
    Path,
    /// `{query}`: the query without its question mark, empty if there is none.
    Query,
    /// `{uri}`: path and query as the client wrote them.
    Uri,
    /// `{port}`: the port of the listener.
    Port,
    /// `{request-id}`: the id of the request.
    RequestId,
    /// `{user}`: who the client has proven to be (`login`), or empty.
    User,
    /// `{tls-version}`: `TLSv1.3`, `TLSv1.2`, or empty.
    TlsVersion,
    /// `{tls-name}`: the name that the client asked for (SNI), or empty.
    TlsName,
    /// `{client-subject}`: the subject of the client's certificate (RFC 4514), or empty.
    ClientSubject,
    /// `{client-names}`: its alternative names, joined by commas, or empty.
    ClientNames,
    /// `{client-fingerprint}`: its SHA-256 in hexadecimal digits, or empty.
    ClientFingerprint,
    /// `{client-cert}`: the certificate itself as percent-encoded PEM, or empty.
    ClientCert,
}

/// What a text is, and so how the parts of a template are encoded in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextKind {
    /// Text for people, without syntax.
    #[default]
    Plain,
    /// HTML and XML.
    Markup,
    /// JSON and JavaScript: parts stand within strings.
    Script,
    /// CSS: parts stand within strings.
    Style,
}

impl TextKind {
    /// What a text of this Content-Type is.
    pub fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        match subtype {
            "html" | "xhtml" | "xml" => Self::Markup,
            "css" => Self::Style,
            subtype if subtype.ends_with("+xml") => Self::Markup,
            subtype if subtype.contains("json") || subtype.contains("script") => Self::Script,
            _ => Self::Plain,
        }
    }

    /// Whether braces belong to the syntax of such a text, so that one that opens no known part stays as it is.
    pub fn has_braces(self) -> bool {
        matches!(self, Self::Script | Self::Style)
    }
}

/// What a template may name that is chosen by the text of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The line of it.
    pub place: Place,
    /// Its name.
    pub name: Box<str>,
    /// What is compared.
    pub input: Template,
    /// The rows, in the file's order.
    pub rows: Vec<MapRow>,
    /// What holds if no row matches.
    pub default: Template,
}

/// A row of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRow {
    /// The line of it.
    pub place: Place,
    /// Which texts.
    pub matches: MapMatch,
    /// What holds for these.
    pub value: Template,
}

/// The texts that a row of a map takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapMatch {
    /// This one.
    Exact(Box<str>),
    /// Those that begin so.
    Prefix(Box<str>),
    /// Those that end so.
    Suffix(Box<str>),
    /// Those of which this regular expression has some part.
    Regex(Regex),
}
