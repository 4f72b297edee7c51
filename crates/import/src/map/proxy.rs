//! `proxy_pass` and everything about it.

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::location::Kind;
use super::scope::Scope;
use super::units::time;
use super::upstream::Key;
use super::variables::{Missing, Part, Place, parts};

/// Where a `proxy_pass` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `http`, `https`, `grpc`, `grpcs` or `scgi`.
    pub(crate) scheme: String,
    /// The name of an upstream, `host:port`, or `unix:path`.
    pub(crate) authority: String,
    /// The path that replaces the location's.
    pub(crate) uri: Option<String>,
    /// Whether parts of it were variables with one value.
    pub(crate) had_variables: bool,
}

/// Reads the URL of a `proxy_pass`.
pub(crate) fn target(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, uri) = match rest.strip_prefix("unix:") {
        Some(path) => match path.split_once(':') {
            Some((path, uri)) => (format!("unix:{path}"), Some(uri).filter(|uri| !uri.is_empty())),
            None => (rest.to_owned(), None),
        },
        None => match rest.find(['/', '?']) {
            Some(at) => {
                let (authority, uri) = rest.split_at_checked(at)?;
                (authority.to_owned(), Some(uri))
            }
            None => (rest.to_owned(), None),
        },
    };
    Some(Target {
        scheme: scheme.to_ascii_lowercase(),
        authority,
        uri: uri.map(str::to_owned),
        had_variables: false,
    })
}

impl<'t> Mapper<'t> {
    /// The target of a `proxy_pass`: variables with one value are put in; what a request decides is
    /// refused.
    pub(crate) fn pass_target(
        &mut self,
        scope: &Scope<'t>,
        pass: &Directive,
    ) -> Result<Target, Missing> {
        let mut url = pass.word(0).to_owned();
        let had_variables = url.contains('$');
        // The same path as without: the client's.
        for same in ["$request_uri", "$uri$is_args$args", "$uri$is_args$query_string"] {
            if let Some(rest) = url.strip_suffix(same) {
                url = rest.to_owned();
            }
        }
        let converted = self.template(scope, &url, Place::Path)?;
        let is_fixed =
            !parts(&url).iter().any(|part| matches!(part, Part::Variable(_))) || !converted.varies;
        let text = match is_fixed {
            true => converted.text.replace("{{", "{").replace("}}", "}"),
            // Captures of a regular expression may stand in the path, and nowhere before it.
            false => converted.text,
        };
        let text = match text.contains("://") {
            true => text,
            false => format!("http://{text}"),
        };
        let found = target(&text).ok_or_else(|| Missing::refused("this is not a URL"))?;
        if found.authority.contains('{') {
            return Err(Missing::refused(
                "the request decides which server gets it: write a route or a site for each server",
            ));
        }
        Ok(Target { had_variables, ..found })
    }

    /// `to`, the path that is sent, Host, fields and times.
    pub(crate) fn proxied(
        &mut self,
        scope: &Scope<'t>,
        kind: &Kind,
        pass: &'t Directive,
        rewritten: Option<&str>,
    ) -> Result<Vec<Node>, Missing> {
        let target = self.pass_target(scope, pass)?;
        let mut notes = Vec::new();
        let mut nodes = Vec::new();
        match (rewritten, &target.uri) {
            (Some(path), _) => {
                if !path.is_empty() {
                    nodes.push(path_node(path));
                }
            }
            // With variables, the URL says the whole path.
            (None, Some(uri)) if target.had_variables => {
                if !uri.contains('?') {
                    notes.push("the query of the client is sent too".into());
                }
                nodes.extend(path_mapping(&Kind::Named(String::new()), uri, &mut notes));
            }
            (None, Some(uri)) => nodes.extend(path_mapping(kind, uri, &mut notes)),
            (None, None) => {}
        }
        let has_block = self.upstream_blocks.iter().any(|one| one.word(0) == target.authority);
        let tls = matches!(target.scheme.as_str(), "https" | "grpcs");
        let mut settings = Vec::new();
        match target.scheme.as_str() {
            "http" => {}
            "https" => {}
            "grpc" => settings.push(Node::new("protocol").bare("h2c")),
            "grpcs" => settings.push(Node::new("protocol").bare("h2")),
            "scgi" => settings.push(Node::new("protocol").bare("scgi")),
            other => {
                return Err(Missing::refused(format!("`{other}://` is not spoken to servers")));
            }
        }
        if tls {
            settings.extend(self.upstream_tls(scope, &target, &mut notes));
        }
        settings.extend(self.retries(scope));
        let key = Key {
            target: target.authority.clone(),
            scheme: if tls { "https://" } else { "" },
            settings,
        };
        let to = self.to(key, pass);
        self.host(scope, &target, has_block, &mut nodes);
        nodes.extend(self.request_fields(scope, pass));
        nodes.extend(self.proxy_times(scope));
        nodes.extend(self.redirects(scope, kind, &target));
        nodes.extend(self.caching(scope, pass));
        match notes.is_empty() {
            true => self.ledger.exact(pass.id, &to.line()),
            false => self.ledger.near(pass.id, &to.line(), &notes.join("; ")),
        }
        nodes.push(to);
        Ok(nodes)
    }

    /// The Host that is sent.
    fn host(&mut self, scope: &Scope<'t>, target: &Target, has_block: bool, nodes: &mut Vec<Node>) {
        let prefix =
            if target.scheme.starts_with("grpc") { "grpc_set_header" } else { "proxy_set_header" };
        let line =
            scope.all(prefix).into_iter().find(|one| one.word(0).eq_ignore_ascii_case("host"));
        let literal = |name: &str| Node::new("host").text(name);
        let Some(line) = line else {
            // nginx's `$proxy_host`.
            nodes.push(if has_block {
                literal(&target.authority)
            } else if target.authority.starts_with("unix:") {
                literal("localhost")
            } else {
                Node::new("host").bare("endpoint")
            });
            return;
        };
        let id = line.id;
        match line.word(1) {
            "$http_host" => self.ledger.exact(id, "host preserve"),
            "$host" if self.default_ports => self.ledger.exact(id, "host preserve"),
            "$host" | "$host:$server_port" | "$host:$proxy_port" => {
                self.ledger.near(
                    id,
                    "host preserve",
                    "the client's Host is sent as it is, with its port",
                );
            }
            "$proxy_host" => {
                self.ledger.exact(id, "host endpoint");
                nodes.push(if has_block {
                    literal(&target.authority)
                } else {
                    Node::new("host").bare("endpoint")
                });
            }
            other => match self.template(scope, other, Place::Field) {
                Ok(value) if !value.varies => {
                    let node = literal(&value.text).from(id);
                    self.ledger.exact(id, &node.line());
                    nodes.push(node);
                }
                _ => self.ledger.refused(
                    id,
                    "Host can be the client's, the endpoint's or a fixed one: the client's is sent",
                ),
            },
        }
    }

    /// `request { … }` from `proxy_set_header`.
    fn request_fields(&mut self, scope: &Scope<'t>, pass: &Directive) -> Option<Node> {
        let prefix = pass.name.split('_').next().unwrap_or("proxy");
        let mut request = Node::new("request");
        for line in scope.all(&format!("{prefix}_set_header")) {
            if let Some(edit) = self.request_field(scope, line) {
                request.children.push(edit);
            }
        }
        (!request.children.is_empty()).then_some(request)
    }

    fn request_field(&mut self, scope: &Scope<'t>, line: &'t Directive) -> Option<Node> {
        let (name, value, id) = (line.word(0), line.word(1), line.id);
        let lower = name.to_ascii_lowercase();
        match (lower.as_str(), value) {
            ("host", _) => return None,
            ("upgrade", "$http_upgrade") => self.ledger.exact(id, "(upgrades pass as they are)"),
            ("connection", "" | "upgrade" | "Upgrade" | "keep-alive") => {
                self.ledger.exact(id, "(connections are kept, upgrades pass)");
            }
            ("connection", value) if value.starts_with('$') => {
                self.ledger.exact(id, "(upgrades pass as they are)");
            }
            ("connection", _) => self.ledger.near(
                id,
                "pool",
                "connections to endpoints are kept; `pool max=0` uses each once",
            ),
            ("x-forwarded-for", "$proxy_add_x_forwarded_for") => self.ledger.near(
                id,
                "(always sent)",
                "what a client claims is dropped unless it is a `trusted-proxy`",
            ),
            (
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host",
                "$http_x_forwarded_for" | "$http_x_forwarded_proto" | "$http_x_forwarded_host",
            ) => {
                self.ledger.near(
                    id,
                    "(always sent)",
                    "what a client claims is dropped unless it is a `trusted-proxy`",
                );
            }
            ("x-forwarded-for", "$remote_addr")
            | ("x-forwarded-proto", "$scheme")
            | ("x-forwarded-host", "$http_host") => self.ledger.exact(id, "(always sent)"),
            ("x-forwarded-host", "$host") if self.default_ports => {
                self.ledger.exact(id, "(always sent)");
            }
            ("x-forwarded-host", "$host" | "$host:$server_port") => {
                self.ledger.near(
                    id,
                    "(always sent)",
                    "it is the client's Host as it is, with its port",
                );
            }
            (
                "content-length" | "transfer-encoding" | "te" | "keep-alive" | "trailer" | "expect",
                _,
            ) => {
                self.ledger.refused(id, "this field is about the connection and cannot be edited");
            }
            ("forwarded", _) => {
                self.ledger.near(
                    id,
                    "forwarded on",
                    "`forwarded on` writes it, with the addresses that are known",
                );
                return None;
            }
            (_, "") => {
                let node = Node::new("remove").text(name).from(id);
                self.ledger.exact(id, &format!("request {{ {} }}", node.line()));
                return Some(commented(node, line));
            }
            _ => return self.set_field(scope, line),
        }
        None
    }

    fn set_field(&mut self, scope: &Scope<'t>, line: &'t Directive) -> Option<Node> {
        let (name, value, id) = (line.word(0), line.word(1), line.id);
        let named = format!("${}", format!("http_{name}").to_ascii_lowercase().replace('-', "_"));
        if value == named {
            self.ledger.exact(id, "(passes as it is)");
            return None;
        }
        match self.template(scope, value, Place::Field) {
            Ok(value) => {
                let node = Node::new("set").text(name).text(&value.text).from(id);
                let ours = format!("request {{ {} }}", node.line());
                match value.notes.is_empty() {
                    true => self.ledger.exact(id, &ours),
                    false => self.ledger.near(id, &ours, &value.notes.join("; ")),
                }
                Some(commented(node, line))
            }
            Err(missing) => {
                self.ledger.judge(id, missing.verdict, "", &missing.why);
                None
            }
        }
    }

    fn proxy_times(&mut self, scope: &Scope<'t>) -> Option<Node> {
        let mut node = Node::new("timeouts");
        for prefix in ["proxy", "grpc", "scgi"] {
            let lines = ["connect", "read", "send"]
                .map(|part| scope.find(&format!("{prefix}_{part}_timeout")));
            for (part, line) in ["connect", "read", "send"].iter().zip(lines) {
                let Some(line) = line else { continue };
                let Some(value) = time(line.word(0)) else { continue };
                match *part {
                    "connect" => {
                        self.ledger.exact(line.id, "timeouts { connect }");
                        node.children.push(Node::new("connect").text(&value).from(line.id));
                    }
                    "read" => {
                        self.ledger
                            .exact(line.id, "timeouts { first-byte; stream-idle; tunnel-idle }");
                        for name in ["first-byte", "stream-idle", "tunnel-idle"] {
                            node.children.push(Node::new(name).text(&value).from(line.id));
                        }
                    }
                    _ => self.ledger.near(
                        line.id,
                        "timeouts { stream-idle }",
                        "`stream-idle` holds for both directions, and comes from the read time",
                    ),
                }
            }
        }
        (!node.children.is_empty()).then_some(node)
    }

    /// `proxy_next_upstream`.
    fn retries(&mut self, scope: &Scope<'t>) -> Option<Node> {
        let line = scope.find("proxy_next_upstream").or_else(|| scope.find("grpc_next_upstream"));
        let tries = scope.find("proxy_next_upstream_tries");
        if let Some(line) = scope.find("proxy_next_upstream_timeout") {
            self.ledger.near(
                line.id,
                "timeouts { request }",
                "`request` bounds the whole exchange; retries have a budget",
            );
        }
        if line.is_none() && tries.is_none() {
            return None;
        }
        if let Some(line) = line.filter(|line| line.has("off")) {
            self.ledger.exact(line.id, "retry off");
            return Some(Node::new("retry").bare("off").from(line.id));
        }
        let mut node = Node::new("retry");
        if let Some(line) = tries.filter(|line| line.word(0) != "0") {
            self.ledger.exact(line.id, "retry tries=");
            node = node.bare_property("tries", line.word(0)).from(line.id);
        }
        if let Some(line) = line {
            let mut on = Node::new("on").from(line.id);
            let mut notes = Vec::new();
            for word in line.texts() {
                match word {
                    "error" => on = on.bare("connect").bare("refused").bare("reset"),
                    "timeout" => on = on.bare("timeout"),
                    "non_idempotent" => notes.push(
                        "a request that an endpoint may have handled is never sent twice"
                            .to_owned(),
                    ),
                    "invalid_header" => {
                        notes.push("a malformed response is not retried".to_owned())
                    }
                    status if status.starts_with("http_") => {
                        on = on.bare(status.trim_start_matches("http_"))
                    }
                    other => notes.push(format!("`{other}` has no counterpart")),
                }
            }
            match notes.is_empty() {
                true => self.ledger.exact(line.id, "retry { on … }"),
                false => self.ledger.near(line.id, "retry { on … }", &notes.join("; ")),
            }
            if !on.values.is_empty() {
                node.children.push(on);
            }
        }
        (!node.children.is_empty() || !node.values.is_empty()).then_some(node)
    }

    /// `tls { … }` of an upstream.
    fn upstream_tls(
        &mut self,
        scope: &Scope<'t>,
        target: &Target,
        notes: &mut Vec<String>,
    ) -> Option<Node> {
        let mut node = Node::new("tls");
        let prefix = if target.scheme == "grpcs" { "grpc_ssl" } else { "proxy_ssl" };
        let find = |name: &str| scope.find(&format!("{prefix}_{name}"));
        for (theirs, ours) in [
            ("trusted_certificate", "ca"),
            ("certificate", "cert"),
            ("certificate_key", "key"),
            ("name", "name"),
        ] {
            let Some(line) = find(theirs) else { continue };
            if line.word(0).contains('$') {
                self.ledger.near(line.id, "", "the name of the endpoint is asked for");
                continue;
            }
            self.ledger.exact(line.id, &format!("tls {{ {ours} }}"));
            node.children.push(Node::new(ours).text(line.word(0)).from(line.id));
        }
        match find("verify").filter(|line| line.word(0) == "on") {
            Some(line) => self.ledger.exact(line.id, "(certificates are verified)"),
            None => {
                notes.push("nginx does not verify the certificate: neither does this. Remove `verify off` if it is valid, or name it with `ca`".into());
                node.children.push(Node::new("verify").bare("off"));
            }
        }
        (!node.children.is_empty()).then_some(node)
    }

    /// `proxy_redirect`, `proxy_cookie_path`, `proxy_cookie_domain`.
    fn redirects(&mut self, scope: &Scope<'t>, kind: &Kind, target: &Target) -> Option<Node> {
        let mut out = None;
        let strips =
            matches!(kind, Kind::Prefix { path, .. } if path != "/") && target.uri.is_some();
        for line in scope.all("proxy_redirect") {
            match line.word(0) {
                "off" if self.words.has(Word::RewriteResponses) => {
                    self.ledger.exact(line.id, "rewrite-responses off");
                    out = Some(Node::new("rewrite-responses").bare("off").from(line.id));
                }
                "off" | "default" => self.ledger.exact(line.id, ""),
                _ if self.words.has(Word::RewriteResponses) => self.ledger.near(
                    line.id,
                    "(rewrite-responses)",
                    "redirects to the application's own name and port, and below its prefix, are put right; no others",
                ),
                _ => self.ledger.planned(line.id, "redirects of the application are not put right yet"),
            }
        }
        for line in scope.all_of(&["proxy_cookie_path", "proxy_cookie_domain"]) {
            if line.word(0) == "off" {
                self.ledger.exact(line.id, "");
            } else if self.words.has(Word::RewriteResponses)
                && (strips || line.name.ends_with("domain"))
            {
                let note =
                    "paths below the prefix and the endpoint's own domain are put right; no others";
                self.ledger.near(line.id, "(rewrite-responses)", note);
            } else {
                self.ledger
                    .refused(line.id, "paths of cookies are put right only with `strip-prefix`");
            }
        }
        out
    }
}

/// With the comments of a directive.
pub(crate) fn commented(mut node: Node, directive: &Directive) -> Node {
    node.above = directive.above.clone();
    node.beside = directive.beside.clone();
    node
}

/// `rewrite` with this path, or `strip-prefix` where it says the same.
pub(crate) fn path_node(path: &str) -> Node {
    match path.strip_prefix("strip:") {
        Some(prefix) => Node::new("strip-prefix").text(prefix),
        None => Node::new("rewrite").text(path),
    }
}

/// What is sent where a `proxy_pass` has a path: it takes the place of the location's.
fn path_mapping(kind: &Kind, uri: &str, notes: &mut Vec<String>) -> Option<Node> {
    let uri = match uri.split_once('?') {
        // As the client wrote it, which it is in any case.
        Some((path, "{query}")) => path,
        Some((path, _)) => {
            notes.push("the query of the URL is left out".into());
            path
        }
        None => uri,
    };
    match kind {
        Kind::Exact(path) => (path != uri).then(|| Node::new("rewrite").text(uri)),
        Kind::Prefix { path, .. } if path == uri => None,
        Kind::Prefix { path, .. } => {
            let base = path.trim_end_matches('/');
            if uri == "/" && base.is_empty() {
                return None;
            }
            if uri == "/" {
                if !path.ends_with('/') {
                    notes.push("nginx sends two slashes at the beginning here".into());
                }
                return Some(Node::new("strip-prefix").text(base));
            }
            Some(Node::new("rewrite").text(&format!("{uri}{{rest}}")))
        }
        // With captures in the path.
        Kind::Regex { .. } | Kind::Named(_) => Some(Node::new("rewrite").text(uri)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        #[track_caller]
        fn check(url: &str, authority: &str, uri: Option<&str>) {
            let found = target(url).unwrap();
            assert_eq!((&*found.authority, found.uri.as_deref()), (authority, uri), "{url}");
        }
        check("http://app", "app", None);
        check("http://127.0.0.1:8080/", "127.0.0.1:8080", Some("/"));
        check("https://[::1]:8443/a/b", "[::1]:8443", Some("/a/b"));
        check("http://unix:/run/app.sock", "unix:/run/app.sock", None);
        check("http://unix:/run/app.sock:/x/", "unix:/run/app.sock", Some("/x/"));
        assert_eq!(target("127.0.0.1:80"), None);
    }

    #[test]
    fn paths() {
        #[track_caller]
        fn check(location: &str, uri: &str, expected: &str) {
            let kind = Kind::Prefix { path: location.into(), no_regex: false };
            let node = path_mapping(&kind, uri, &mut Vec::new());
            assert_eq!(
                node.map(|node| node.line()).unwrap_or_default(),
                expected,
                "{location} {uri}"
            );
        }
        check("/", "/", "");
        check("/app/", "/", "strip-prefix \"/app\"");
        check("/app", "/", "strip-prefix \"/app\"");
        check("/app/", "/app/", "");
        check("/app/", "/base/", "rewrite \"/base/{rest}\"");
        check("/app/", "/base", "rewrite \"/base{rest}\"");
        check("/app", "/base", "rewrite \"/base{rest}\"");
        check("/", "/base/", "rewrite \"/base/{rest}\"");
    }
}
