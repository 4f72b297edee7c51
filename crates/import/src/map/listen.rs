//! `listen` and `server_name`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::scope::Scope;

/// A `server` with where it listens and by which names.
pub(crate) struct Server<'t> {
    pub(crate) directive: &'t Directive,
    pub(crate) scope: Scope<'t>,
    pub(crate) listens: Vec<Listen<'t>>,
    pub(crate) names: Vec<String>,
    /// The labels that its names capture.
    pub(crate) captures: Vec<String>,
}

/// One `listen`.
#[derive(Debug, Clone)]
pub(crate) struct Listen<'t> {
    /// `None`: nginx's default, without a line.
    pub(crate) directive: Option<&'t Directive>,
    pub(crate) address: SocketAddr,
    /// As we write it.
    pub(crate) written: String,
    pub(crate) tls: bool,
    /// Whether this server answers for names that no other has.
    pub(crate) default: bool,
    pub(crate) says_default: bool,
}

impl<'t> Mapper<'t> {
    /// Every `server`, with the addresses written as one set.
    pub(crate) fn servers(&mut self, blocks: &[&'t Directive]) -> Vec<Server<'t>> {
        let mut servers = Vec::new();
        for &directive in blocks {
            let scope = self.http.within(directive.children());
            let listens = self.listens(directive);
            let names = self.names(directive);
            let captures = std::mem::take(&mut self.captures);
            servers.push(Server { directive, scope, listens, names, captures });
        }
        write_addresses(&mut servers);
        choose_defaults(&mut servers);
        servers
    }

    fn listens(&mut self, server: &'t Directive) -> Vec<Listen<'t>> {
        let of_server: Vec<_> =
            server.children().iter().filter(|one| one.name == "listen").collect();
        let all_tls = server.children().iter().any(|one| one.name == "ssl" && one.word(0) == "on");
        if of_server.is_empty() {
            return vec![Listen {
                directive: None,
                address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)),
                written: String::new(),
                tls: all_tls,
                default: false,
                says_default: false,
            }];
        }
        of_server.into_iter().filter_map(|one| self.listen(one, all_tls)).collect()
    }

    fn listen(&mut self, directive: &'t Directive, all_tls: bool) -> Option<Listen<'t>> {
        let text = directive.word(0);
        if text.starts_with("unix:") {
            self.ledger.planned(
                directive.id,
                "a site listens on TCP; sockets of the file system are planned",
            );
            return None;
        }
        let Some(address) = address(text) else {
            self.ledger
                .refused(directive.id, "names are not looked up to listen on: write an address");
            return None;
        };
        let tls = all_tls || directive.has("ssl") || directive.has("quic");
        let mut notes = Vec::new();
        for word in directive.texts().skip(1) {
            match word.split('=').next().unwrap_or_default() {
                "ssl" | "default_server" | "default" | "reuseport" | "ipv6only" | "deferred"
                | "proxy_protocol" | "http2" => {}
                "quic" | "http3" => {
                    self.ledger
                        .planned(directive.id, "HTTP/3 is planned; HTTP/2 and HTTP/1.1 are served");
                    return None;
                }
                other => notes.push(format!("`{other}` is not needed")),
            }
        }
        let http2 = directive.has("http2") || self.http2_is_on(directive);
        if tls && !http2 {
            notes.push("HTTP/2 is offered too (`listen … { http2 off }`)".into());
        }
        if directive.has("proxy_protocol") {
            self.proxy_protocol.insert(text.to_owned());
        }
        match notes.is_empty() {
            true => self.ledger.exact(directive.id, "listen"),
            false => self.ledger.near(directive.id, "listen", &notes.join("; ")),
        }
        Some(Listen {
            directive: Some(directive),
            address,
            written: String::new(),
            tls,
            default: false,
            says_default: directive.has("default_server") || directive.has("default"),
        })
    }

    fn http2_is_on(&self, listen: &Directive) -> bool {
        let has = |block: &&&'t Directive| block.children().iter().any(|one| one.id == listen.id);
        let server = self.server_blocks.iter().find(has);
        let scope = server.map(|server| self.http.within(server.children()));
        scope.is_some_and(|scope| scope.is_on("http2", false))
    }

    /// The names that a site can have.
    fn names(&mut self, server: &'t Directive) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for directive in server.children().iter().filter(|one| one.name == "server_name") {
            self.ledger.exact(directive.id, "site");
            for text in directive.texts() {
                for name in self.name(directive, text) {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        names
    }

    fn name(&mut self, directive: &Directive, text: &str) -> Vec<String> {
        let lower = text.to_ascii_lowercase();
        let plain = |name: &str| {
            name.split('.').all(|label| {
                matches!(label.len(), 1..=63)
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            })
        };
        if let Some(pattern) = text.strip_prefix('~') {
            return match host_capture(pattern).filter(|_| self.words.has(Word::HostCapture)) {
                Some((capture, name)) => {
                    self.ledger.near(
                        directive.id,
                        "site",
                        &format!("`{{{capture}}}` is one label of the name"),
                    );
                    self.captures.push(capture);
                    vec![name]
                }
                None => {
                    let note = "a name by regular expression: write the names, `*.example.com`, or \
                                `{label}.example.com`";
                    self.ledger.refused(directive.id, note);
                    Vec::new()
                }
            };
        }
        // `_` is a name that no client sends: such a server is there for unknown names.
        if lower == "_" || lower.is_empty() || lower == "$hostname" || lower == "__" {
            return Vec::new();
        }
        if let Some(rest) = lower.strip_prefix('.').filter(|rest| plain(rest)) {
            return vec![rest.to_owned(), format!("*.{rest}")];
        }
        if lower.strip_prefix("*.").is_some_and(plain) || plain(&lower) {
            return vec![lower];
        }
        let note = match lower.contains('*') {
            true => {
                format!("`{text}`: only the first labels of a name can be open: write each name")
            }
            false => format!("`{text}` is not a host name"),
        };
        self.ledger.refused(directive.id, &note);
        Vec::new()
    }

    /// The `listen` blocks with options, of addresses that a site has.
    pub(crate) fn listen_blocks(&mut self, servers: &[Server<'t>], sites: &[Node]) -> Vec<Node> {
        let of_site = |site: &Node| site.children.iter().find(|one| one.name == "listen").cloned();
        let used: BTreeSet<String> =
            sites.iter().filter_map(of_site).flat_map(|listen| listen.values).collect();
        let mut done = BTreeSet::new();
        let mut nodes = Vec::new();
        for listen in servers.iter().flat_map(|server| &server.listens) {
            let Some(directive) = listen.directive else { continue };
            if directive.has("proxy_protocol")
                && used.contains(&crate::kdl::quoted(&listen.written))
                && done.insert(listen.written.clone())
            {
                let mut node = Node::new("listen").text(&listen.written).from(directive.id);
                node.children.push(Node::new("proxy-protocol").bare("required"));
                nodes.push(node);
            }
        }
        nodes
    }
}

/// An address of `listen`.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::new(any, port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Some(SocketAddr::new(IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?), 80));
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "80"));
    let ip = match host {
        "*" => any,
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

/// Writes each address as one of ours. IPv4 and IPv6 on every address are `:80`, also for servers that
/// name only one of the two.
fn write_addresses(servers: &mut [Server<'_>]) {
    let all = || servers.iter().flat_map(|server| &server.listens);
    let both: BTreeSet<u16> = all()
        .filter(|one| one.address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        .map(|one| one.address.port())
        .collect();
    for listen in servers.iter_mut().flat_map(|server| &mut server.listens) {
        let port = listen.address.port();
        listen.written = match listen.address.ip().is_unspecified() && both.contains(&port) {
            true => format!(":{port}"),
            false => listen.address.to_string(),
        };
    }
    for server in servers {
        let mut kept: Vec<Listen<'_>> = Vec::new();
        for listen in std::mem::take(&mut server.listens) {
            match kept.iter_mut().find(|one| one.written == listen.written) {
                Some(twin) => twin.says_default |= listen.says_default,
                None => kept.push(listen),
            }
        }
        server.listens = kept;
    }
}

/// The first server of an address, or the one that says so, answers for unknown names.
fn choose_defaults(servers: &mut [Server<'_>]) {
    let mut defaults: BTreeMap<String, (usize, bool)> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        for listen in &server.listens {
            let entry =
                defaults.entry(listen.written.clone()).or_insert((index, listen.says_default));
            if listen.says_default && !entry.1 {
                *entry = (index, true);
            }
        }
    }
    for (index, server) in servers.iter_mut().enumerate() {
        for listen in &mut server.listens {
            listen.default =
                defaults.get(&listen.written).is_some_and(|(first, _)| *first == index);
        }
    }
}

/// `^(?<tenant>[^.]+)\.example\.com$` is `{tenant}.example.com`.
fn host_capture(pattern: &str) -> Option<(String, String)> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner.strip_prefix("(?<").or_else(|| inner.strip_prefix("(?P<"))?;
    let (name, rest) = inner.split_once('>')?;
    let (expression, rest) = rest.split_once(')')?;
    let one_label = matches!(
        expression,
        "[^.]+" | "[^\\.]+" | "\\w+" | "[a-z0-9-]+" | "[a-z0-9]+" | "[\\w-]+" | ".+" | ".*"
    );
    let host = rest.strip_prefix("\\.")?.replace("\\.", ".");
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    (one_label && plain).then(|| (name.to_owned(), format!("{{{name}}}.{host}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(address(text).map(|one| one.to_string()).as_deref(), expected, "{text}");
        }
        check("80", Some("0.0.0.0:80"));
        check("*:8080", Some("0.0.0.0:8080"));
        check("127.0.0.1", Some("127.0.0.1:80"));
        check("127.0.0.1:81", Some("127.0.0.1:81"));
        check("[::]:443", Some("[::]:443"));
        check("[::1]", Some("[::1]:80"));
        check("localhost:8000", Some("127.0.0.1:8000"));
        check("www.example.com:80", None);
        check("99999", None);
    }

    #[test]
    fn names_by_regular_expression() {
        let found = host_capture(r"^(?<tenant>[^.]+)\.example\.com$");
        assert_eq!(found, Some(("tenant".into(), "{tenant}.example.com".into())));
        assert_eq!(host_capture(r"^www\d+\.example\.com$"), None);
    }
}
