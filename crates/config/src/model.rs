//! The typed model: what a configuration says, with every default filled in.
//!
//! A [`Config`] is made by the decoder from one or more files, is complete (inheritance from the
//! top level to site to route is already applied) and has been checked for everything that can be
//! told without touching the network. Nothing here is looked up by name any more: a route names
//! its upstream by [`UpstreamId`].
//! Not here: text, spans of tokens, diagnostics (`decode`, `diagnostic`), matching (`rules`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use crate::caching::*;
pub use crate::forward::*;
pub use crate::ids::*;
pub use crate::logs::*;
pub use crate::matching::*;
pub use crate::pages::*;
pub use crate::process::*;
pub use crate::regex::Regex;
pub use crate::template::*;
use crate::tls::{Acme, ClientMatch, SiteTls};
pub use crate::upstream::*;

/// A place in a configuration file: what provenance is made of. Lines and columns count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Place {
    /// Which of [`Config::files`].
    pub file: u16,
    /// The line, from 1; 0 for a value that no line says (a default).
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

/// A whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The names of the files read, the main one first; [`Place::file`] counts in it.
    pub files: Vec<Arc<str>>,
    /// Settings of the process.
    pub process: Process,
    /// Every address that is listened on, each once.
    pub listeners: Vec<Listener>,
    /// What is served in reverse.
    pub sites: Vec<Site>,
    /// Named upstreams and those written inline.
    pub upstreams: Vec<Upstream>,
    /// Forward-proxy listeners.
    pub forwards: Vec<Forward>,
    /// ACME directories that sites name.
    pub acme: Vec<Acme>,
    /// Maps that templates name.
    pub maps: Vec<Map>,
    /// The access logs, that of the process first.
    pub logs: Vec<AccessLog>,
    /// What closes sites and routes for maintenance, each once.
    pub switches: Vec<Switch>,
    /// Logins that sites, routes and `forward`s ask for.
    pub logins: Vec<Login>,
    /// What must hold, run by `check`.
    pub expects: Vec<Expect>,
}

/// An address that is listened on, with what is the same for all that listens there.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its address. `:8080` has become `[::]:8080`, which takes IPv4 too.
    pub address: SocketAddr,
    /// As written, for people.
    pub written: Arc<str>,
    /// The first line that names it.
    pub place: Place,
    /// Whether clients send a PROXY protocol header first.
    pub proxy_protocol: ProxyProtocol,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Times that hold before a site is known.
    pub timeouts: Timeouts,
    /// Limits that hold before a site is known.
    pub limits: Limits,
    /// Whether clients speak TLS: then every site there has [`Site::tls`], or the forward
    /// listener [`Forward::tls`].
    pub tls: bool,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// What is served there.
    pub serves: Serves,
}

/// What a listener serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// These sites, in reverse.
    Sites(Vec<SiteId>),
    /// Clients on their way out.
    Forward(ForwardId),
}

/// Whether clients send a PROXY protocol header first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not; one that comes is a malformed request.
    Off,
    /// They must; a connection without one is closed.
    Required,
}

/// How long a client that sends is waited for before [`Timeouts::slow_rate`] is asked of it, unless that is set.
pub const SLOW_GRACE: Duration = Duration::from_secs(20);

/// How long things may take. Zero switches a time off, where that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request head to arrive whole.
    pub head: Duration,
    /// For an idle client connection to send its next request.
    pub client_idle: Duration,
    /// For a connection to an endpoint, all its addresses together.
    pub connect: Duration,
    /// From the request sent to the first byte of the response.
    pub first_byte: Duration,
    /// Without a byte in either direction while a message is under way.
    pub stream_idle: Duration,
    /// Without a byte in either direction of a tunnel.
    pub tunnel_idle: Duration,
    /// For an idle upstream connection to be reused; learned downwards from what the peer does.
    pub upstream_idle: Duration,
    /// Bytes per second that a client must at least send or take on average, after `slow_grace`.
    pub slow_rate: u64,
    /// How long a slow client is waited for before that; unless set, [`SLOW_GRACE`] for what it sends and `stream_idle` for
    /// what it takes.
    pub slow_grace: Option<Duration>,
    /// For a whole exchange; zero: no limit.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            client_idle: Duration::from_secs(60),
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            stream_idle: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(300),
            upstream_idle: Duration::from_secs(4),
            slow_rate: 500,
            slow_grace: None,
            request: Duration::ZERO,
        }
    }
}

/// How much of something is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message head (at most 60 KiB); 431 beyond.
    pub head_bytes: u32,
    /// Fields of a message head (at most 1000); 431 beyond.
    pub head_fields: u16,
    /// Bytes of a request target; 414 beyond.
    pub target_bytes: u32,
    /// Bytes of a request body; 413 beyond; `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Connections at once from one client address; more are closed at once.
    pub connections_per_client: u32,
    /// Upstream connections at once that the requests and tunnels of one client address have; 503 beyond.
    pub upstream_connections_per_client: u32,
    /// Leading bits of an IPv6 address that stand for one client.
    pub ipv6_prefix: u8,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Requests at once on all HTTP/2 connections of one client address; more are refused.
    pub streams_per_client: u32,
    /// Requests that one client connection carries before it is closed; 0: any number.
    pub requests_per_connection: u32,
    /// Bytes of responses that are held for one client address, as it does not take them over HTTP/2.
    pub buffered_bytes_per_client: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 * 1024,
            head_fields: 100,
            target_bytes: 8 * 1024,
            body_bytes: None,
            connections_per_client: 1024,
            upstream_connections_per_client: 1024,
            ipv6_prefix: 64,
            streams: 100,
            streams_per_client: 1000,
            requests_per_connection: 0,
            buffered_bytes_per_client: 16 * 1024 * 1024,
        }
    }
}

/// A set of host names served in reverse.
#[derive(Debug, Clone)]
pub struct Site {
    /// The line of the `site` node.
    pub place: Place,
    /// Its names; never empty.
    pub names: Vec<SiteName>,
    /// Where it listens.
    pub listeners: Vec<ListenerId>,
    /// Its routes, the site's own action last as `/*`, otherwise in the file's order.
    pub routes: Vec<Route>,
    /// What holds where no route matches (field edits, limits of the 404 answer).
    pub base: RouteSettings,
    /// What is done with TLS; `None`: it is served in clear.
    pub tls: Option<SiteTls>,
    /// Set on a site that no `site` node is behind: it only sends clients from http:// to the
    /// https:// of this one.
    pub https: Option<SiteId>,
}

impl Site {
    /// The route of this id.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.index())
    }
}

/// A part of a site.
#[derive(Debug, Clone)]
pub struct Route {
    /// The line of the `route` node, or of the action for a site's own.
    pub place: Place,
    /// Which paths.
    pub pattern: Pattern,
    /// Which methods, in upper case; empty: all.
    pub methods: Vec<Box<str>>,
    /// What else must hold, all of it.
    pub conditions: Vec<Condition>,
    /// Of routes with the same pattern, and of all with regular expressions, the higher one is tried first.
    pub priority: i32,
    /// What the names of the site capture of the host.
    pub host_captures: Arc<[HostCapture]>,
    /// What is done.
    pub action: Action,
    /// The line of the action.
    pub action_place: Place,
    /// How.
    pub settings: RouteSettings,
}

impl Route {
    /// A route for every method, without conditions.
    pub fn new(place: Place, pattern: Pattern, action: Action, settings: RouteSettings) -> Self {
        Self {
            place,
            pattern,
            methods: Vec::new(),
            conditions: Vec::new(),
            priority: 0,
            host_captures: Arc::default(),
            action,
            action_place: place,
            settings,
        }
    }
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It goes to an upstream.
    To(UpstreamId),
    /// It goes to one of several upstreams, by shares.
    Split(Split),
    /// The client is sent elsewhere.
    Redirect {
        /// Where to.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// A fixed answer.
    Respond {
        /// Its status, 200 to 599.
        status: u16,
        /// Its body.
        text: Template,
        /// Its Content-Type.
        content_type: Box<str>,
        /// What the body is by that, and so how its parts are encoded.
        kind: TextKind,
        /// The body, if it is that of a file.
        page: Option<Page>,
    },
    /// Files of a directory.
    Files(FileServing),
}

/// How files are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileServing {
    /// The directory.
    pub root: PathBuf,
    /// What is served for a directory; empty: nothing.
    pub index: Vec<Box<str>>,
    /// Whether a directory without index is listed.
    pub listing: bool,
    /// What is served where there is no such file (for single-page applications), below the root.
    pub fallback: Option<Box<str>>,
    /// Paths below the root, of which the first that exists is served; empty: the path of the request.
    pub tries: Vec<Template>,
    /// The status where there is no file.
    pub missing_status: u16,
    /// Where requests go for which there is no file, and those of other methods than GET and HEAD.
    pub otherwise: Option<UpstreamId>,
}

impl FileServing {
    /// The files of a directory, with `index.html` for directories.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: vec!["index.html".into()],
            listing: false,
            fallback: None,
            tries: Vec::new(),
            missing_status: 404,
            otherwise: None,
        }
    }
}

/// How a route treats what passes.
#[derive(Debug, Clone, Default)]
pub struct RouteSettings {
    /// The path sent upstream.
    pub rewrite: Rewrite,
    /// Edits of request fields, in order.
    pub request_fields: Vec<FieldEdit>,
    /// Edits of response fields, in order.
    pub response_fields: Vec<FieldEdit>,
    /// The Host sent upstream.
    pub host: HostPolicy,
    /// Whether the id of the request is sent both ways. The edits that do it are the first of the two lists above.
    pub request_id: bool,
    /// Whether what an application says of itself stays, in place of the client's terms.
    pub keep_responses: bool,
    /// Whether `Forwarded` (RFC 7239) is sent.
    pub forwarded: bool,
    /// Whether request fields whose names have a `_` are dropped.
    pub drop_underscores: bool,
    /// Times.
    pub timeouts: Timeouts,
    /// Limits.
    pub limits: Limits,
    /// Pages in place of the bodies of errors, by status.
    pub error_pages: Vec<ErrorPage>,
    /// How it is closed for maintenance, if it can be.
    pub maintenance: Option<Maintenance>,
    /// The access log.
    pub log: LogId,
    /// How servers may read a path, beside as it stands.
    pub path_readings: PathReadings,
    /// Clients that are taken, by their certificates, any of these; empty: all. Others get 403.
    pub clients: Vec<ClientMatch>,
    /// Which client addresses are taken: the first that has the address decides. If none has, the client is
    /// refused if any of them allows.
    pub access: Arc<[AccessRule]>,
    /// Whether all that is asked of a client must hold, or one thing.
    pub satisfy: Satisfy,
    /// What clients must prove before anything else is done for them.
    pub login: Option<LoginId>,
    /// Where copies of the requests go.
    pub mirrors: Vec<Mirror>,
    /// How responses are stored and reused; `None`: not at all.
    pub caching: Option<Arc<Caching>>,
}

impl RouteSettings {
    /// Every page that it has.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        let closed = self.maintenance.iter().filter_map(|maintenance| maintenance.page.as_ref());
        self.error_pages.iter().map(|error| &error.page).chain(closed)
    }

    /// How many things are asked of a client, of which `satisfy any` wants one.
    pub fn asked_count(&self) -> usize {
        let asked = [!self.access.is_empty(), !self.clients.is_empty(), self.login.is_some()];
        asked.into_iter().filter(|asked| *asked).count()
    }
}

/// A login that clients must pass: Basic (RFC 7617), by a file of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The line of it.
    pub place: Place,
    /// The file of users.
    pub file: PathBuf,
    /// What the login is for, as clients see it.
    pub realm: Box<str>,
    /// Whether the credentials go upstream too.
    pub pass: bool,
}

impl Login {
    /// One with its defaults, for no file yet.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, file: PathBuf::new(), realm: "bothways".into(), pass: false }
    }
}

/// How servers may read a path, beside as it stands. A request passes if all of these lead to the
/// same route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathReadings {
    /// Empty segments are merged.
    pub merged: bool,
    /// A leading `//name` is a host.
    pub host: bool,
    /// Encoded separators are decoded, and a backslash is a slash.
    pub decoded: bool,
    /// What follows a `;` is cut from its segment.
    pub parameters: bool,
    /// Upper and lower case are the same.
    pub case: bool,
}

impl Default for PathReadings {
    fn default() -> Self {
        Self { merged: true, host: true, decoded: true, parameters: true, case: false }
    }
}

impl PathReadings {
    /// None but the path as it stands.
    pub const NONE: Self =
        Self { merged: false, host: false, decoded: false, parameters: false, case: false };

    /// As one writes it: `merged host`, or `none`.
    pub fn written(self) -> String {
        let words = [
            (self.merged, "merged"),
            (self.host, "host"),
            (self.decoded, "decoded"),
            (self.parameters, "parameters"),
            (self.case, "case"),
        ];
        let words: Vec<_> =
            words.iter().filter(|(is_on, _)| *is_on).map(|(_, word)| *word).collect();
        if words.is_empty() { "none".into() } else { words.join(" ") }
    }
}

/// The path sent upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rewrite {
    /// The client's.
    #[default]
    Keep,
    /// Without this leading part (which starts with `/` and does not end with it), if it is there.
    StripPrefix(Box<str>),
    /// This one.
    To(Template),
}

/// One edit of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// Whether its value is secret; `None`: its name and the value itself tell.
    pub secret: Option<bool>,
    /// The line of it.
    pub place: Place,
    /// What is done.
    pub verb: EditVerb,
    /// The field's name, as written; compared without case.
    pub name: Box<str>,
    /// The value; empty for `remove`.
    pub value: Template,
}

/// What an edit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditVerb {
    /// Replaces every field of the name by one.
    Set,
    /// Adds one more.
    Add,
    /// Removes every one.
    Remove,
}

/// The Host sent upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostPolicy {
    /// The client's, as it was written.
    #[default]
    Preserve,
    /// The endpoint's name and port, as written.
    Endpoint,
    /// This text.
    Literal(Box<str>),
}

/// What must hold for a request, decided offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The line of it.
    pub place: Place,
    /// The method.
    pub method: Box<str>,
    /// `http://host[:port]/path?query`, the same with `https://`, or `host:port` for CONNECT.
    pub target: Box<str>,
    /// The client; `127.0.0.1` if not said.
    pub from: IpAddr,
    /// A name in the certificate that the client has shown; `None`: it has shown none.
    pub client_name: Option<Box<str>>,
    /// Fields of the request, as `Name: value`.
    pub fields: Vec<Box<str>>,
    /// The forward listener it is sent to, as written; `None`: in reverse.
    pub forward: Option<Box<str>>,
    /// The status of an answer that we make ourselves.
    pub status: Option<u16>,
    /// Whether it is refused.
    pub denied: Option<bool>,
    /// Location of a redirect.
    pub location: Option<Box<str>>,
    /// Name of the upstream, or of one of its endpoints.
    pub upstream: Option<Box<str>>,
    /// First name of the site.
    pub site: Option<Box<str>>,
    /// Path and query sent upstream.
    pub path: Option<Box<str>>,
}

impl Config {
    /// Whether any responses are stored.
    pub fn has_caching(&self) -> bool {
        let sites = self.sites.iter().flat_map(|site| {
            let routes = site.routes.iter().map(|route| &route.settings);
            routes.chain(std::iter::once(&site.base))
        });
        let forwards = self.forwards.iter().map(|forward| &forward.settings);
        sites.chain(forwards).any(|settings| settings.caching.is_some())
    }

    /// The listener of this id.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.index())
    }

    /// The site of this id.
    pub fn site(&self, id: SiteId) -> Option<&Site> {
        self.sites.get(id.index())
    }

    /// The route of this id, of this site.
    pub fn route(&self, site: SiteId, route: RouteId) -> Option<&Route> {
        self.site(site)?.route(route)
    }

    /// The upstream of this id.
    pub fn upstream(&self, id: UpstreamId) -> Option<&Upstream> {
        self.upstreams.get(id.index())
    }

    /// The `forward` of this id.
    pub fn forward(&self, id: ForwardId) -> Option<&Forward> {
        self.forwards.get(id.index())
    }

    /// The ACME directory of this id.
    pub fn directory(&self, id: AcmeId) -> Option<&Acme> {
        self.acme.get(id.index())
    }

    /// The login of this id.
    pub fn login(&self, id: LoginId) -> Option<&Login> {
        self.logins.get(id.index())
    }

    /// Where `place` is, as `file:line`.
    pub fn locate(&self, place: Place) -> String {
        match self.files.get(usize::from(place.file)) {
            Some(file) if place.line > 0 => format!("{file}:{}", place.line),
            _ => "default".to_owned(),
        }
    }
}
