//! A `server` as sites: one for each scheme, and one more for unknown names where that differs.

use crate::kdl::Node;
use crate::nginx::Directive;

use super::Mapper;
use super::access::Access;
use super::assemble::assemble;
use super::files::closed;
use super::listen::{Listen, Server};
use super::location::{Kind, Location, flatten};
use super::routes::{Pattern, Route, number};

/// What a site knows of each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The host, if the site has one name.
    pub(crate) host: Option<String>,
    /// Whether it answers for unknown hosts.
    pub(crate) is_default: bool,
    /// The port, if it listens on one.
    pub(crate) port: Option<u16>,
}

/// A part of a server's addresses and names that is one site.
struct Part<'t> {
    listens: Vec<Listen<'t>>,
    names: Vec<String>,
    context: Context,
}

impl<'t> Mapper<'t> {
    /// The sites of a server.
    pub(crate) fn sites(&mut self, server: &Server<'t>) -> Vec<Node> {
        let mut nodes = Vec::new();
        self.server_name = server.names.first().cloned().unwrap_or_default();
        self.names = server.names.clone();
        self.default_ports =
            server.listens.iter().all(|one| one.address.port() == if one.tls { 443 } else { 80 });
        for part in parts_of(server) {
            if part.names.is_empty() {
                continue;
            }
            self.captures.clone_from(&server.captures);
            nodes.extend(self.site(server, part));
        }
        if nodes.is_empty() {
            if server.scope.is_on("ssl_reject_handshake", false) {
                let ours = "(unknown names are refused without a site)";
                self.judge_whole(server.directive, ours);
                return nodes;
            }
            let note =
                "no request comes here: another server is the default, and this one has no name";
            self.judge_whole(server.directive, "(left out)");
            self.ledger.near(server.directive.id, "(left out)", note);
            return nodes;
        }
        self.ledger.exact(server.directive.id, "site");
        nodes
    }

    fn site(&mut self, server: &Server<'t>, part: Part<'t>) -> Option<Node> {
        let mut node = Node::new("site").from(server.directive.id);
        for name in &part.names {
            node = node.text(name);
        }
        let mut listen = Node::new("listen");
        for one in &part.listens {
            listen = listen.text(&one.written);
            if let Some(directive) = one.directive {
                listen.from.push(directive.id);
                listen.above.extend(directive.above.clone());
                listen.beside = listen.beside.or_else(|| directive.beside.clone());
            }
        }
        node.children.push(listen);
        if part.context.scheme == "https" {
            let rejects = server.scope.is_on("ssl_reject_handshake", false);
            match self.tls(&server.scope) {
                Some(tls) => node.children.extend(tls),
                None if rejects => {
                    self.judge_whole(
                        server.directive,
                        "(unknown names are refused without a site)",
                    );
                    return None;
                }
                None => {
                    let note = "it has no certificate: write `tls auto` or `tls cert=… key=…`";
                    self.ledger.refused(server.directive.id, note);
                    return Some(Node::comment(format!(
                        "refused: {}: {note}",
                        server.names.join(" ")
                    )));
                }
            }
        }
        let (mut routes, mut answer) = self.routes(server, &part.context);
        if let Some(why) = self.closed.take() {
            let mut node = closed(503);
            node.above.push(format!(" closed: {why}"));
            (routes, answer) = (Vec::new(), vec![node]);
        }
        node.children.append(&mut self.pending);
        let shared = self.of_whole_server(server);
        for body in routes.iter_mut().map(|route| &mut route.body).chain([&mut answer]) {
            body.retain(|node| !shared.iter().any(|one| one.is_like(node)));
        }
        node.children.extend(shared);
        number(&mut routes);
        assemble(&mut node, routes, answer);
        if let Some(end) = server.directive.block.as_ref().map(|block| block.end.clone())
            && !end.is_empty()
        {
            node.children.push(Node { above: end, ..Node::default() });
        }
        Some(node)
    }

    /// Settings of the server that its locations replace and do not add to: the log, and pages for errors
    /// unless a location has some of its own, which nginx then takes alone.
    fn of_whole_server(&mut self, server: &Server<'t>) -> Vec<Node> {
        fn has_pages(block: &[Directive]) -> bool {
            block.iter().any(|one| one.name == "error_page" || has_pages(one.children()))
        }
        let own_pages = server.scope.own().iter().any(|one| has_pages(one.children()));
        let mut nodes = self.settings(&server.scope, false);
        nodes.retain(|node| node.name == "log" || node.name == "error-page" && !own_pages);
        nodes
    }

    /// The routes of a site, and what it does with the rest.
    fn routes(&mut self, server: &Server<'t>, context: &Context) -> (Vec<Route>, Vec<Node>) {
        let locations = flatten(&server.scope);
        let before = self.before(server, context, &locations);
        if let Some(answer) = before.answer {
            // Nothing of the locations is ever reached.
            for location in &locations {
                self.judge_whole(location.directive, "(never reached)");
            }
            let settings = self.settings(&server.scope, false);
            return (before.routes, [settings, answer].concat());
        }
        let mut routes = Vec::new();
        let mut rest = None;
        for index in 0..locations.len() {
            let Some(location) = locations.get(index) else { continue };
            if matches!(location.kind, Kind::Named(_)) {
                continue;
            }
            let mut own = self.location(context, &locations, index);
            let is_root = matches!(&location.kind, Kind::Prefix { path, .. } if path == "/");
            let plain = |route: &Route| {
                route.conditions.is_empty()
                    && route.method.is_none()
                    && matches!(&route.pattern, Pattern::Path(path) if path == "/*")
            };
            if is_root && let Some(at) = own.iter().position(plain) {
                rest = Some(own.remove(at));
            }
            routes.extend(own);
        }
        let rest = match rest {
            Some(mut route) => {
                if let Some(first) = route.body.first_mut() {
                    first.above.splice(0..0, std::mem::take(&mut route.above));
                }
                route.body
            }
            None => self.without_location(server, &locations),
        };
        let exact: Vec<String> = routes
            .iter()
            .filter_map(|route| match &route.pattern {
                Pattern::Path(path) if !path.ends_with("/*") => Some(path.clone()),
                _ => None,
            })
            .collect();
        // A regular expression comes after exact paths, so a condition of the server stands there too.
        let mut first = Vec::new();
        for route in before.routes {
            if matches!(&route.pattern, Pattern::Regex { pattern, .. } if pattern == "^/") {
                for path in &exact {
                    let pattern = Pattern::Path(path.clone());
                    first.push(Route { pattern, above: Vec::new(), ..route.clone() });
                }
            }
            first.push(route);
        }
        first.extend(routes);
        (first, rest)
    }

    /// What a server without `location /` does with the rest.
    fn without_location(&mut self, server: &Server<'t>, locations: &[Location<'t>]) -> Vec<Node> {
        let scope = &server.scope;
        let named = scope.own().iter().any(|one| matches!(one.name.as_str(), "root" | "try_files"));
        if !named && scope.find("root").is_none() {
            return Vec::new();
        }
        let kind = Kind::Prefix { path: "/".into(), no_regex: false };
        let mut nodes = match self.access(scope) {
            Access::Lines(lines) => lines,
            Access::Denied => return vec![Node::new("respond").bare_property("status", 403)],
            Access::Closed => return vec![closed(503)],
        };
        match self.files(scope, &kind, locations) {
            Ok(files) => nodes.extend(files),
            Err(_) => nodes.push(closed(501)),
        }
        nodes.extend(self.settings(scope, false));
        nodes
    }
}

/// The parts of a server that are sites of their own.
fn parts_of<'t>(server: &Server<'t>) -> Vec<Part<'t>> {
    let mut parts = Vec::new();
    let asked = hosts_asked(server);
    for tls in [false, true] {
        for default in [true, false] {
            let of = |one: &&Listen<'t>| one.tls == tls && one.default == default;
            let listens: Vec<_> = server.listens.iter().filter(of).cloned().collect();
            if listens.is_empty() {
                continue;
            }
            let ports: Vec<u16> = listens.iter().map(|one| one.address.port()).collect();
            let port = ports.first().copied().filter(|port| ports.iter().all(|one| one == port));
            let scheme = if tls { "https" } else { "http" };
            let (alone, together): (Vec<String>, Vec<String>) =
                server.names.iter().cloned().partition(|name| asked.contains(name));
            for name in alone {
                let context = Context { scheme, host: Some(name.clone()), is_default: false, port };
                parts.push(Part { listens: listens.clone(), names: vec![name], context });
            }
            let mut names = together;
            let host = match names.as_slice() {
                [only] if !only.contains(['*', '{']) && !default => Some(only.clone()),
                _ => None,
            };
            if default {
                names.push("*".into());
            }
            let context = Context { scheme, host, is_default: default, port };
            parts.push(Part { listens, names, context });
        }
    }
    parts
}

/// The names that an `if` of the server asks about.
fn hosts_asked(server: &Server<'_>) -> Vec<String> {
    let mut asked = Vec::new();
    for line in server.scope.own().iter().filter(|one| one.name == "if") {
        if !matches!(line.word(0).trim_start_matches('('), "$host" | "$http_host") {
            continue;
        }
        for name in &server.names {
            let value = line.word(2).trim_end_matches(')');
            let is_it = match line.word(1) {
                "=" | "!=" => value == name,
                "~" | "!~" => super::location::is_match(value, false, name),
                "~*" | "!~*" => super::location::is_match(value, true, name),
                _ => false,
            };
            if is_it && !name.contains('*') {
                asked.push(name.clone());
            }
        }
    }
    asked
}
