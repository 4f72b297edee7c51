//! A configuration moved to loopback: where it listens, its certificates, and every server behind it.
//!
//! For the replay of an access log. The same configuration is made twice, for nginx and for us; the two
//! differ only in where they listen, so that whatever else differs is a difference of the servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::map::listen_address;
use crate::nginx::{Block, Directive, Tree, Word};

/// Who gets the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// nginx.
    Theirs,
    /// Bothways, by way of the import.
    Ours,
}

/// An address that the configuration listens on, and its ports on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// As it was.
    pub original: String,
    /// Its port.
    pub port: u16,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// nginx's port on loopback.
    pub theirs: u16,
    /// Ours.
    pub ours: u16,
}

/// A server behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The upstream that it belongs to, or its own address.
    pub group: String,
    /// As it was written.
    pub written: String,
    /// Its port on loopback.
    pub port: u16,
}

/// What was moved where.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Files of the replay.
    pub directory: PathBuf,
    /// A certificate for every site.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Free ports of loopback.
    pub free_ports: Vec<u16>,
    listeners: BTreeMap<String, Listener>,
    endpoints: BTreeMap<(String, String), Endpoint>,
    names: Vec<String>,
}

impl Plan {
    /// A plan with these files and ports, and nothing moved yet.
    pub fn new(directory: &Path, free_ports: Vec<u16>) -> Self {
        Self {
            directory: directory.to_owned(),
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            free_ports,
            ..Self::default()
        }
    }

    /// The addresses.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }

    /// The servers behind it.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// Names of the sites, as they are written.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn port(&mut self) -> u16 {
        self.free_ports.pop().unwrap_or(1)
    }

    fn endpoint(&mut self, group: &str, written: &str) -> String {
        let key = (group.to_owned(), written.to_owned());
        if let Some(endpoint) = self.endpoints.get(&key) {
            return format!("127.0.0.1:{}", endpoint.port);
        }
        let port = self.port();
        let endpoint = Endpoint { group: group.to_owned(), written: written.to_owned(), port };
        self.endpoints.insert(key, endpoint);
        format!("127.0.0.1:{port}")
    }

    fn listener(&mut self, text: &str, tls: bool, side: Side) -> Option<u16> {
        let address = listen_address(text)?;
        // IPv4 and IPv6 twins are one address here.
        let key = match address.ip().is_unspecified() {
            true => format!(":{}", address.port()),
            false => address.to_string(),
        };
        if !self.listeners.contains_key(&key) {
            let (theirs, ours) = (self.port(), self.port());
            let listener =
                Listener { original: key.clone(), port: address.port(), tls, theirs, ours };
            self.listeners.insert(key.clone(), listener);
        }
        let listener = self.listeners.get_mut(&key)?;
        listener.tls |= tls;
        Some(if side == Side::Theirs { listener.theirs } else { listener.ours })
    }
}

/// How many ports a configuration needs at most.
pub fn ports_needed(tree: &Tree) -> usize {
    fn count(block: &Block) -> usize {
        let own = block.directives.iter().filter(|one| {
            matches!(one.name.as_str(), "listen" | "server" | "set") || one.name.ends_with("_pass")
        });
        let inner = block.directives.iter().filter_map(|one| one.block.as_ref());
        2 * own.count() + inner.map(count).sum::<usize>()
    }
    2 + count(&tree.root)
}

/// Directives that the replay does without: they name files or the machine.
const DROPPED: &[&str] = &[
    "user",
    "pid",
    "daemon",
    "master_process",
    "worker_processes",
    "worker_cpu_affinity",
    "worker_rlimit_nofile",
    "worker_priority",
    "lock_file",
    "access_log",
    "error_log",
    "http2",
    "http3",
    "ssl_dhparam",
    "ssl_stapling",
    "ssl_stapling_verify",
    "ssl_trusted_certificate",
    "ssl_verify_client",
    "ssl_client_certificate",
    "ssl_crl",
    "ssl_password_file",
    "proxy_bind",
    "client_body_temp_path",
    "proxy_temp_path",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
    "set_real_ip_from",
    "real_ip_header",
    "real_ip_recursive",
    "ssl_conf_command",
    "ssl_session_ticket_key",
    "limit_req",
    "limit_conn",
];

/// The configuration on loopback.
pub fn relocate(tree: &Tree, plan: &mut Plan, side: Side) -> Tree {
    let mut root = tree.root.clone();
    // A file of `sites-enabled` alone.
    if !root.directives.iter().any(|one| one.name == "http") {
        let mut http = directive("http", &[]);
        http.block = Some(std::mem::take(&mut root));
        root.directives.push(http);
    }
    let http = root.directives.iter().find(|one| one.name == "http");
    let upstreams: BTreeSet<String> = http
        .map_or(&[][..], |http| http.children())
        .iter()
        .filter(|one| one.name == "upstream")
        .map(|one| one.word(0).to_owned())
        .collect();
    let mut mover =
        Mover { tree, plan, side, upstreams, constants: Vec::new(), caches: 0, targets: 0 };
    mover.block(&mut root, "");
    let directory = mover.plan.directory.clone();
    if side == Side::Theirs {
        complete(&mut root, &directory);
    } else {
        root.directives.insert(0, directive("worker_processes", &["1"]));
    }
    Tree { root, ..tree.clone() }
}

fn directive(name: &str, words: &[&str]) -> Directive {
    let word = |text: &&str| Word { text: (*text).to_owned(), quoted: false };
    Directive { name: name.into(), words: words.iter().map(word).collect(), ..Directive::default() }
}

/// What nginx needs to run from a directory of its own.
fn complete(root: &mut Block, directory: &Path) {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut first = vec![
        directive("daemon", &["off"]),
        // The directory is this user's alone. Without privileges the line has no effect.
        directive("user", &["root", "root"]),
        directive("worker_processes", &["1"]),
        directive("pid", &[&path("nginx.pid")]),
        directive("error_log", &[&path("nginx.log"), "warn"]),
    ];
    if !root.directives.iter().any(|one| one.name == "events") {
        let mut events = directive("events", &[]);
        events.block = Some(Block::default());
        first.push(events);
    }
    root.directives.splice(0..0, first);
    for http in root.directives.iter_mut().filter(|one| one.name == "http") {
        let Some(block) = &mut http.block else { continue };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let mut lines: Vec<_> = temporary
            .iter()
            .map(|name| directive(&format!("{name}_temp_path"), &[&path(name)]))
            .collect();
        lines.push(directive("access_log", &["off"]));
        // The replay names the client of the log by the PROXY protocol.
        lines.push(directive("set_real_ip_from", &["127.0.0.1"]));
        lines.push(directive("real_ip_header", &["proxy_protocol"]));
        block.directives.splice(0..0, lines);
    }
}

struct Mover<'a> {
    tree: &'a Tree,
    plan: &'a mut Plan,
    side: Side,
    upstreams: BTreeSet<String>,
    /// What `set` gives variables, by the blocks around.
    constants: Vec<BTreeMap<String, String>>,
    caches: usize,
    targets: usize,
}

impl Mover<'_> {
    fn block(&mut self, block: &mut Block, around: &str) {
        let all_tls = block.directives.iter().any(|one| one.name == "ssl" && one.word(0) == "on");
        let mut listening = BTreeSet::new();
        let mut kept = Vec::new();
        let sets = block.directives.iter().filter(|one| one.name == "set");
        let sets = sets.map(|one| (one.word(0).to_owned(), one.word(1).to_owned()));
        self.constants.push(sets.collect());
        for mut one in std::mem::take(&mut block.directives) {
            let is_dropped = DROPPED.contains(&one.name.as_str())
                || one.name.starts_with("proxy_ssl_")
                || matches!(one.name.as_str(), "stream" | "mail" | "perl_modules");
            if is_dropped {
                continue;
            }
            match one.name.as_str() {
                "listen" => match self.listen(&one, all_tls) {
                    Some(line) if listening.insert(line.word(0).to_owned()) => one = line,
                    _ => continue,
                },
                "include" => {
                    let path = self.tree.directory.join(one.word(0));
                    if !path.is_file() {
                        continue;
                    }
                    replace(&mut one, 0, path.display().to_string());
                }
                "proxy_pass" if one.word(0).contains('$') => {
                    kept.splice(0..0, self.variable_target(&mut one));
                }
                _ => self.line(&mut one, around),
            }
            if let Some(mut inner) = one.block.take() {
                let around =
                    if one.name == "upstream" { one.word(0).to_owned() } else { String::new() };
                self.block(&mut inner, &around);
                if one.name == "server"
                    && !inner.directives.iter().any(|line| line.name == "listen")
                {
                    let listen = directive("listen", &["80"]);
                    inner.directives.splice(0..0, self.listen(&listen, all_tls));
                }
                one.block = Some(inner);
            }
            kept.push(one);
        }
        self.constants.pop();
        block.directives = kept;
    }

    /// A `proxy_pass` whose server is in variables with one value: another variable, with the moved
    /// server, because nginx treats the path otherwise if there is none.
    fn variable_target(&mut self, pass: &mut Directive) -> Option<Directive> {
        let text = self.expanded(pass.word(0));
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", &text));
        let end = rest.find(['/', '?', '$']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        if authority.is_empty() || self.upstreams.contains(authority) || scheme.contains('$') {
            return None;
        }
        self.targets += 1;
        let name = format!("$bothways_target_{}", self.targets);
        let moved = self.plan.endpoint(authority, authority);
        let moved_pass = format!("http://{name}{path}");
        replace(pass, 0, moved_pass);
        Some(Directive { id: pass.id, place: pass.place, ..directive("set", &[&name, &moved]) })
    }

    /// A text with the variables that have one value.
    fn expanded(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for _ in 0..4 {
            for (name, value) in self.constants.iter().rev().flatten() {
                let braced = format!("${{{}}}", name.trim_start_matches('$'));
                out = out.replace(&braced, value);
                // `$a` must not be found in `$ab`.
                while let Some(at) = position(&out, name) {
                    out.replace_range(at..at + name.len(), value);
                    if value.contains(name.as_str()) || out.len() > 4096 {
                        return text.to_owned();
                    }
                }
            }
        }
        out
    }

    fn listen(&mut self, line: &Directive, all_tls: bool) -> Option<Directive> {
        let tls = all_tls || line.has("ssl");
        let port = self.plan.listener(line.word(0), tls, self.side)?;
        let mut words = vec![format!("127.0.0.1:{port}"), "proxy_protocol".into()];
        for word in
            line.texts().filter(|word| matches!(*word, "ssl" | "default_server" | "default"))
        {
            words.push(if word == "default" { "default_server".into() } else { word.to_owned() });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Some(Directive { id: line.id, place: line.place, ..directive("listen", &words) })
    }

    fn line(&mut self, one: &mut Directive, around: &str) {
        match one.name.as_str() {
            "server" if one.block.is_none() => {
                let moved = self.plan.endpoint(around, one.word(0));
                replace(one, 0, moved);
                one.words.retain(|word| word.text != "resolve");
            }
            "server_name" => {
                for name in one.texts() {
                    if !self.plan.names.iter().any(|known| known == name) {
                        self.plan.names.push(name.to_owned());
                    }
                }
            }
            "proxy_pass" => {
                let moved = self.url(one.word(0));
                replace(one, 0, moved);
            }
            "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "memcached_pass"
                if !self.upstreams.contains(one.word(0)) =>
            {
                replace(one, 0, "127.0.0.1:1".into());
            }
            "ssl_certificate" => replace(one, 0, self.plan.certificate.display().to_string()),
            "ssl_certificate_key" => replace(one, 0, self.plan.key.display().to_string()),
            "proxy_cache_path" | "fastcgi_cache_path" | "uwsgi_cache_path" | "scgi_cache_path" => {
                self.caches += 1;
                let path = self.plan.directory.join(format!("cache-{}", self.caches));
                replace(one, 0, path.display().to_string());
            }
            "auth_basic_user_file" if !one.word(0).starts_with('/') => {
                replace(one, 0, self.tree.directory.join(one.word(0)).display().to_string());
            }
            _ => {}
        }
    }

    /// A URL, or a part of one, with the server replaced; over clear connections.
    fn url(&mut self, text: &str) -> String {
        let (scheme, rest) = match text.split_once("://") {
            Some((_, rest)) => ("http://", rest),
            None => ("", text),
        };
        let end = match rest.strip_prefix("unix:") {
            Some(path) => path.find(':').map(|at| at + "unix:".len()),
            None => rest.find(['/', '$', '?']),
        };
        let (authority, path) =
            rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
        let path = match authority.starts_with("unix:") {
            true => path.strip_prefix(':').unwrap_or(path),
            false => path,
        };
        if authority.is_empty() || self.upstreams.contains(authority) {
            return format!("{scheme}{rest}");
        }
        format!("{scheme}{}{path}", self.plan.endpoint(authority, authority))
    }
}

/// Where a variable stands in a text.
fn position(text: &str, name: &str) -> Option<usize> {
    let is_end = |at: usize| {
        let after = text.get(at + name.len()..).unwrap_or_default();
        !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    };
    text.match_indices(name).map(|(at, _)| at).find(|at| is_end(*at))
}

fn replace(one: &mut Directive, index: usize, text: String) {
    if let Some(word) = one.words.get_mut(index) {
        word.text = text;
    }
}
