//! What stands outside of servers, and settings that any block may have.

use std::path::Path;

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::access::masked;
use super::location::{Kind, choose, flatten};
use super::scope::Scope;
use super::units::{bytes, size, time};

/// The default of `client_max_body_size`.
const BODY_DEFAULT: &str = "1MiB";

impl<'t> Mapper<'t> {
    /// `process { … }`.
    pub(crate) fn process(&mut self, main: &Scope<'t>) -> Option<Node> {
        let mut node = Node::new("process");
        if let Some(line) = main.find("worker_processes") {
            self.ledger.exact(line.id, "process { cores }");
            if line.word(0).parse::<u32>().is_ok_and(|count| count > 0) {
                node.children.push(Node::new("cores").bare(line.word(0)).from(line.id));
            }
        }
        let mut log = Node::new("log");
        let http = self.http.clone();
        if let Some(line) = http.find("access_log") {
            log = self.access_log(&http, line, log);
        }
        let error = http.find("error_log").or_else(|| main.find("error_log"));
        if let Some(line) = error {
            log = self.error_log(line, log);
        }
        if !log.values.is_empty() {
            node.children.push(log);
        }
        node.children.extend(self.cache_store());
        node.children.extend(self.resolver(&http));
        (!node.children.is_empty()).then_some(node)
    }

    /// `access=` and `format=` of a `log`.
    pub(crate) fn access_log(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
        mut log: Node,
    ) -> Node {
        let target = line.word(0);
        log.from.push(line.id);
        if target == "off" {
            self.ledger.exact(line.id, "log access=off");
            return log.bare_property("access", "off");
        }
        if target.contains('$') {
            self.ledger.refused(line.id, "the name of a log file is fixed");
            return log;
        }
        if let Some(rest) = target.strip_prefix("syslog:") {
            let _ = rest;
            self.ledger.near(
                line.id,
                "log access=\"syslog:\"",
                "the local syslog; `syslog:udp:HOST:PORT` for another machine",
            );
            return log.property("access", "syslog:");
        }
        let target = match target {
            "/dev/stdout" => "stdout",
            "/dev/stderr" => "stderr",
            other => other,
        };
        log = match target {
            "stdout" | "stderr" => log.bare_property("access", target),
            file => log.property("access", &self.path(file)),
        };
        let format = line.texts().skip(1).find(|word| !word.contains('='));
        let line_of = |name: &str| scope.every("log_format").find(|one| one.word(0) == name);
        match format {
            None | Some("combined") => log = log.bare_property("format", "combined"),
            Some(name) => {
                let definition = line_of(name)
                    .or_else(|| self.http.every("log_format").find(|one| one.word(0) == name));
                match definition.map(|one| self.log_format(one)) {
                    Some(Some(text)) => log = log.property("format", &text),
                    Some(None) | None => log = log.bare_property("format", "combined"),
                }
            }
        }
        match line.texts().skip(1).any(|word| word.starts_with("if=")) {
            true => self.ledger.near(
                line.id,
                &log.line(),
                "every request is logged: `if=` has no counterpart",
            ),
            false => self.ledger.exact(line.id, &log.line()),
        }
        log
    }

    fn error_log(&mut self, line: &'t Directive, mut log: Node) -> Node {
        let target = match line.word(0) {
            "/dev/stderr" | "stderr" => "stderr",
            "/dev/stdout" => "stdout",
            "/dev/null" => "off",
            other => other,
        };
        let level = match line.word(1) {
            "" | "error" | "crit" | "alert" | "emerg" => "error",
            "warn" | "notice" => "warn",
            "info" => "info",
            _ => "debug",
        };
        if target.starts_with("syslog:") {
            self.ledger.near(
                line.id,
                "log error=stderr",
                "the error log goes to standard error: systemd keeps it in the journal",
            );
            return log;
        }
        log = match target {
            "stderr" | "stdout" | "off" => log.bare_property("error", target),
            file => log.property("error", &self.path(file)),
        };
        log = log.bare_property("level", if level == "error" { "warn" } else { level });
        log.from.push(line.id);
        self.ledger.near(
            line.id,
            "log error=",
            "levels differ: `warn` is the least that shows what needs care",
        );
        log
    }

    fn resolver(&mut self, http: &Scope<'t>) -> Option<Node> {
        let line = http.find("resolver")?;
        let mut node = Node::new("resolver").from(line.id);
        let mut server = Node::new("server").from(line.id);
        let mut notes = Vec::new();
        for word in line.texts() {
            if let Some((name, value)) = word.split_once('=') {
                match (name, time(value)) {
                    ("valid", Some(valid)) => node.children.push(Node::new("ttl-max").text(&valid)),
                    ("ipv6" | "ipv4", _) => notes.push("addresses of both families are used"),
                    _ => {}
                }
                continue;
            }
            match word.parse::<std::net::IpAddr>() {
                Ok(ip) => server = server.text(&std::net::SocketAddr::new(ip, 53).to_string()),
                Err(_) if word.parse::<std::net::SocketAddr>().is_ok() => {
                    server = server.text(word)
                }
                Err(_) => match word.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
                    Some(ip) => server = server.text(&format!("[{ip}]:53")),
                    None => notes.push("a name server is named by its address"),
                },
            }
        }
        if let Some(line) = http.find("resolver_timeout")
            && let Some(timeout) = time(line.word(0))
        {
            self.ledger.exact(line.id, "resolver { timeout }");
            node.children.push(Node::new("timeout").text(&timeout).from(line.id));
        }
        match notes.is_empty() {
            true => self.ledger.exact(line.id, "process { resolver }"),
            false => self.ledger.near(line.id, "process { resolver }", &notes.join("; ")),
        }
        if server.values.is_empty() {
            return None;
        }
        node.children.insert(0, server);
        Some(node)
    }

    /// `timeouts`, `limits` and `trusted-proxy` for everything.
    pub(crate) fn everywhere(&mut self) -> Vec<Node> {
        let http = self.http.clone();
        let mut nodes = Vec::new();
        let mut times = Node::new("timeouts");
        for (theirs, ours) in
            [("client_header_timeout", "head"), ("keepalive_timeout", "client-idle")]
        {
            let Some(line) = http.find(theirs) else { continue };
            match time(line.word(0)).filter(|time| time != "0s") {
                Some(time) => {
                    self.ledger.exact(line.id, &format!("timeouts {{ {ours} }}"));
                    times.children.push(Node::new(ours).text(&time).from(line.id));
                }
                None => self.ledger.near(line.id, "", "connections of clients are kept"),
            }
        }
        nodes.extend((!times.children.is_empty()).then_some(times));
        let mut limits = Node::new("limits");
        match http.find("client_max_body_size") {
            Some(line) => {
                limits.children.push(self.body_limit(line));
            }
            None => {
                let mut body = Node::new("body").text(BODY_DEFAULT);
                body.above.push(
                    " nginx's default of client_max_body_size: without it, there is no limit here"
                        .into(),
                );
                limits.children.push(body);
            }
        }
        if let Some(line) = http.find("large_client_header_buffers") {
            let count: u64 = line.word(0).parse().unwrap_or(4);
            let bytes =
                bytes(line.word(1)).unwrap_or(8192).saturating_mul(count).clamp(1024, 1 << 20);
            self.ledger.near(line.id, "limits { head-bytes }", "one limit for the whole head");
            limits.children.push(Node::new("head-bytes").text(&size(bytes)).from(line.id));
        }
        nodes.push(limits);
        nodes.extend(self.trusted(&http));
        nodes
    }

    fn body_limit(&mut self, line: &'t Directive) -> Node {
        self.ledger.exact(line.id, "limits { body }");
        let node = Node::new("body").from(line.id);
        match bytes(line.word(0)) {
            None | Some(0) => node.bare("off"),
            Some(bytes) => node.text(&size(bytes)),
        }
    }

    /// `trusted-proxy` from `set_real_ip_from`, of `http` or of any server: it holds for addresses.
    fn trusted(&mut self, http: &Scope<'t>) -> Option<Node> {
        let mut networks = Vec::new();
        let mut node = Node::new("trusted-proxy");
        let scopes: Vec<_> = std::iter::once(http.clone())
            .chain(self.server_blocks.iter().map(|server| Scope::new(server.children())))
            .collect();
        for (index, scope) in scopes.iter().enumerate() {
            for line in scope.own().iter().filter(|one| one.name == "set_real_ip_from") {
                let network = masked(line.word(0));
                if network == "unix:"
                    || network.parse::<std::net::IpAddr>().is_err() && !network.contains('/')
                {
                    self.ledger.refused(line.id, "name the address");
                    continue;
                }
                match index {
                    0 => self.ledger.exact(line.id, "trusted-proxy"),
                    _ => self.ledger.near(line.id, "trusted-proxy", "it holds for every site; write it into `listen` to trust it at one address"),
                }
                if !networks.contains(&network) {
                    networks.push(network);
                }
                node.from.push(line.id);
            }
            for line in scope.own().iter().filter(|one| one.name == "real_ip_header") {
                match line.word(0).to_ascii_lowercase().as_str() {
                    "x-forwarded-for" => self.ledger.exact(line.id, "trusted-proxy"),
                    "proxy_protocol" => self.ledger.exact(line.id, "listen { proxy-protocol }"),
                    _ => self.ledger.near(line.id, "trusted-proxy", "the client is read from `X-Forwarded-For` or `Forwarded`, which nearly every proxy sends too"),
                }
            }
            for line in scope.own().iter().filter(|one| one.name == "real_ip_recursive") {
                match line.word(0) {
                    "on" => self.ledger.exact(line.id, "trusted-proxy"),
                    _ => self.ledger.near(
                        line.id,
                        "trusted-proxy",
                        "the client is the first address from the right that is not trusted",
                    ),
                }
            }
        }
        node.values = networks.iter().map(|one| crate::kdl::quoted(one)).collect();
        (!networks.is_empty()).then_some(node)
    }

    /// What any block may have: fields of responses, limits, pages for errors, logs.
    pub(crate) fn settings(&mut self, scope: &Scope<'t>, proxied: bool) -> Vec<Node> {
        let mut nodes = Vec::new();
        nodes.extend(self.response_fields(scope, proxied));
        if let Some(line) = scope.find("client_max_body_size")
            && self.http.find("client_max_body_size").is_none_or(|other| other.id != line.id)
        {
            nodes.push(Node::new("limits").child(self.body_limit(line)));
        }
        nodes.extend(self.error_pages(scope, proxied));
        if let Some(line) = scope.find("access_log")
            && self.http.find("access_log").is_none_or(|other| other.id != line.id)
        {
            if self.words.has(Word::SiteLog) {
                let log = self.access_log(scope, line, Node::new("log"));
                nodes.extend((!log.values.is_empty()).then_some(log));
            } else {
                self.ledger.planned(
                    line.id,
                    "one access log for all sites until then: `process { log … }`",
                );
            }
        }
        nodes
    }

    /// `error_page` with a file.
    fn error_pages(&mut self, scope: &Scope<'t>, proxied: bool) -> Vec<Node> {
        let mut nodes = Vec::new();
        let intercepts = proxied && scope.is_on("proxy_intercept_errors", false);
        if let Some(line) = scope.find("proxy_intercept_errors") {
            match self.words.has(Word::ErrorPageFrom) {
                true => self.ledger.exact(line.id, "error-page … from=both"),
                false => self
                    .ledger
                    .planned(line.id, "pages in place of an application's own (`from=upstream`)"),
            }
        }
        for line in scope.all("error_page") {
            let Some((target, codes)) = line.words.split_last() else { continue };
            let codes: Vec<&str> = codes.iter().map(|word| word.text.as_str()).collect();
            if codes.iter().any(|code| code.starts_with('=')) {
                self.ledger.refused(line.id, "a page keeps the status of the error; for a single page application: `files { fallback … }`");
                continue;
            }
            let Some(file) = self.error_file(scope, &target.text) else {
                self.ledger.refused(line.id, "a page is a file here: `error-page 502 file=…`");
                continue;
            };
            if !(self.exists)(Path::new(&file)) {
                let note = format!(
                    "there is no file `{file}`, so it is left out: `error-page {} file=\"{file}\"`",
                    codes.join(" ")
                );
                self.ledger.near(line.id, "", &note);
                continue;
            }
            let mut node = Node::new("error-page").from(line.id);
            node.values = codes
                .iter()
                .filter(|code| code.parse::<u16>().is_ok())
                .map(|code| (*code).to_owned())
                .collect();
            node = node.property("file", &file);
            if intercepts && self.words.has(Word::ErrorPageFrom) {
                node = node.bare_property("from", "both");
            }
            self.ledger.exact(line.id, &node.line());
            nodes.push(node);
        }
        nodes
    }

    /// The file that a URI of `error_page` leads to.
    fn error_file(&mut self, scope: &Scope<'t>, uri: &str) -> Option<String> {
        if !uri.starts_with('/') || uri.contains('$') {
            return None;
        }
        let server = self.server_blocks.iter().copied().find(|server| contains(server, scope));
        let inner = match server {
            Some(server) => {
                let server = self.http.within(server.children());
                let locations = flatten(&server);
                choose(&locations, uri)
                    .and_then(|index| locations.get(index))
                    .filter(|one| {
                        !one.scope
                            .own()
                            .iter()
                            .any(|line| line.name.ends_with("_pass") || line.name == "return")
                    })
                    .map(|one| (one.scope.clone(), one.kind.clone()))
                    .or(Some((server, Kind::Named(String::new()))))
            }
            None => None,
        };
        let (inner, kind) = inner.unwrap_or((scope.clone(), Kind::Named(String::new())));
        let line = inner.all_of(&["root", "alias"]).last().copied();
        let text = line.map_or("/usr/share/nginx/html", |line| line.word(0));
        if text.contains('$') {
            return None;
        }
        let text = if text.starts_with('/') {
            text.to_owned()
        } else {
            format!("/usr/share/nginx/{text}")
        };
        match (line.is_some_and(|line| line.name == "alias"), kind) {
            (true, Kind::Exact(_)) => Some(text),
            (true, Kind::Prefix { path, .. }) => {
                Some(format!("{text}{}", uri.strip_prefix(&path)?))
            }
            _ => Some(format!("{}{uri}", text.trim_end_matches('/'))),
        }
    }

    /// A file that the configuration names: relative ones start at its directory.
    pub(crate) fn path(&self, text: &str) -> String {
        match text.starts_with('/') {
            true => text.to_owned(),
            false => self.tree.directory.join(text).display().to_string(),
        }
    }
}

/// True if the scope is within this server.
fn contains(server: &Directive, scope: &Scope<'_>) -> bool {
    scope.holds(server.children())
}
