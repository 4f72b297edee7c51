//! `upstream` blocks, and the endpoints that `proxy_pass` names itself.

use crate::kdl::Node;
use crate::nginx::Directive;

use super::Mapper;
use super::units::time;

/// An upstream of ours that routes use.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Its name here.
    pub(crate) name: String,
    /// What it stands for.
    key: Key,
    node: Node,
}

/// What one upstream of ours stands for: a block of nginx differs by how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The name of the block, or `host:port`.
    pub(crate) target: String,
    /// What is put before its endpoints: empty or `https://`.
    pub(crate) scheme: &'static str,
    /// What the upstream has besides endpoints, because of the location.
    pub(crate) settings: Vec<Node>,
}

impl Key {
    /// The endpoint that is meant, if there is no block of this name.
    fn endpoint(&self) -> String {
        // The scheme has a port, which is not in the Host that is sent.
        let scheme = match has_port(&self.target) {
            false if self.scheme.is_empty() => "http://",
            _ => self.scheme,
        };
        format!("{scheme}{}", self.target)
    }
}

/// Whether an address says its port, or needs none.
fn has_port(address: &str) -> bool {
    let after_ip = address.rsplit_once(']').map_or(address, |(_, after)| after);
    address.starts_with("unix:") || after_ip.contains(':')
}

impl<'t> Mapper<'t> {
    /// The `to` for a target of `proxy_pass`; makes an upstream if one is needed.
    pub(crate) fn to(&mut self, key: Key, pass: &Directive) -> Node {
        let block = self.upstream_blocks.iter().copied().find(|one| one.word(0) == key.target);
        if block.is_none() && key.settings.is_empty() {
            return Node::new("to").text(&key.endpoint()).from(pass.id);
        }
        if let Some(group) = self.groups.iter().find(|group| {
            group.key.target == key.target
                && group.key.scheme == key.scheme
                && group.key.settings.len() == key.settings.len()
                && group
                    .key
                    .settings
                    .iter()
                    .zip(&key.settings)
                    .all(|(one, other)| one.is_like(other))
        }) {
            return Node::new("to").bare(&group.name).from(pass.id);
        }
        let name = self.free_name(&key.target);
        let node = match block {
            Some(block) => self.block(block, &name, &key),
            None => Node::new("upstream").bare(&name).child(Node::new("to").text(&key.endpoint())),
        };
        let node = node.children(key.settings.clone());
        self.groups.push(Group { name: name.clone(), key, node });
        Node::new("to").bare(name).from(pass.id)
    }

    /// The upstreams that were made, and comments for blocks that nothing uses.
    pub(crate) fn upstream_nodes(&mut self) -> Vec<Node> {
        for block in self.upstream_blocks.clone() {
            if !self.groups.iter().any(|group| group.key.target == block.word(0)) {
                let name = self.free_name(block.word(0));
                let key = Key { target: block.word(0).into(), scheme: "", settings: Vec::new() };
                let node = self.block(block, &name, &key);
                self.groups.push(Group { name, key, node });
            }
        }
        self.groups.iter().map(|group| group.node.clone()).collect()
    }

    /// A name that no other upstream has.
    fn free_name(&self, target: &str) -> String {
        let target = target.strip_prefix("unix:").unwrap_or(target);
        let mut name: String = target
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
            .collect();
        name = name.trim_matches('-').to_owned();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name = format!("to-{name}");
        }
        let taken = |name: &str| self.groups.iter().any(|group| group.name == name);
        let mut free = name.clone();
        let mut number = 2;
        while taken(&free) {
            free = format!("{name}-{number}");
            number += 1;
        }
        free
    }

    fn block(&mut self, block: &'t Directive, name: &str, key: &Key) -> Node {
        let mut node = Node::new("upstream").bare(name).from(block.id);
        node.above = block.above.clone();
        node.beside = block.beside.clone();
        self.ledger.exact(block.id, &format!("upstream {name}"));
        let mut balance = Node::new("balance").bare("round-robin");
        let mut others = Vec::new();
        let (mut failures, mut pause) = (None, None);
        for directive in block.children() {
            match directive.name.as_str() {
                "server" => {
                    if let Some(endpoint) = self.endpoint(directive, key.scheme) {
                        node.children.push(endpoint);
                    }
                    failures =
                        failures.or_else(|| directive.parameter("max_fails").map(str::to_owned));
                    pause = pause.or_else(|| directive.parameter("fail_timeout").and_then(time));
                }
                _ => match self.balance(directive) {
                    Some(algorithm) => balance = algorithm,
                    None => others.extend(self.upstream_setting(directive)),
                },
            }
        }
        if let Some(end) =
            block.block.as_ref().map(|block| block.end.clone()).filter(|end| !end.is_empty())
        {
            others.push(Node { above: end, ..Node::default() });
        }
        if node.children.iter().filter(|one| one.name == "to").count() > 1 {
            node.children.push(balance);
        }
        match failures.as_deref() {
            Some("0") => others.push(Node::new("eject").bare("off")),
            Some(count) if count.parse::<u32>().is_ok() => {
                let mut eject = Node::new("eject").bare_property("consecutive", count);
                if let Some(pause) = pause {
                    eject = eject.property("term", &pause);
                }
                others.push(eject);
            }
            _ => {}
        }
        node.children(others)
    }

    fn endpoint(&mut self, server: &Directive, scheme: &str) -> Option<Node> {
        // Port 80 is the default of `server`, also for https.
        let mut address = server.word(0).to_owned();
        if !has_port(&address) {
            address.push_str(":80");
        }
        let mut node = Node::new("to").text(&format!("{scheme}{address}")).from(server.id);
        node.above = server.above.clone();
        node.beside = server.beside.clone();
        let mut notes = Vec::new();
        for word in server.texts().skip(1) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "weight" => node = node.bare_property("weight", value),
                "max_conns" => {
                    if value != "0" {
                        node = node.bare_property("max", value);
                        notes
                            .push("requests above `max` wait in the queue (nginx: 502)".to_owned());
                    }
                }
                "backup" => node = node.bare_property("backup", "#true"),
                "down" => {
                    self.ledger.near(server.id, "(left out)", "an endpoint that is down is left out: drain endpoints with `drain=#true` or `bothways upstreams drain`");
                    return Some(Node::comment(format!("down: {}", server.line())));
                }
                "max_fails" | "fail_timeout" => {
                    notes.push("`eject` holds for the whole upstream".to_owned());
                }
                "resolve" => {}
                "slow_start" => notes.push("`slow-start` stands in the upstream".to_owned()),
                other => notes.push(format!("`{other}` has no counterpart")),
            }
        }
        notes.dedup();
        match notes.is_empty() {
            true => self.ledger.exact(server.id, &node.line()),
            false => self.ledger.near(server.id, &node.line(), &notes.join("; ")),
        }
        Some(node)
    }

    /// A balance algorithm.
    fn balance(&mut self, directive: &Directive) -> Option<Node> {
        let of = |name: &str| Node::new("balance").bare(name).from(directive.id);
        let node = match directive.name.as_str() {
            "least_conn" => of("least-connections"),
            "random" => of(if directive.has("two") { "p2c" } else { "random" }),
            "least_time" => of("least-time"),
            "ip_hash" => {
                let note = "the whole address is the key (nginx: the first three bytes of an IPv4 address)";
                self.ledger.near(directive.id, "balance source", note);
                return Some(of("source"));
            }
            "hash" => return Some(self.hash(directive)),
            _ => return None,
        };
        match directive.name.as_str() {
            "random" => {
                let note = "`p2c` compares latency and requests in flight";
                self.ledger.near(directive.id, &node.line(), note);
            }
            _ => self.ledger.exact(directive.id, &node.line()),
        }
        Some(node)
    }

    fn hash(&mut self, directive: &Directive) -> Node {
        let algorithm = if directive.has("consistent") { "ring" } else { "maglev" };
        let node = Node::new("balance").bare(algorithm).from(directive.id);
        let key = directive.word(0);
        let by = match key.strip_prefix('$') {
            Some("remote_addr" | "binary_remote_addr") => {
                return self.hashed(directive, Node::new("balance").bare("source"));
            }
            Some("uri" | "request_uri" | "document_uri") => Node::new("by").bare("path"),
            Some(name) => {
                let of = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
                match (of("http_"), of("cookie_"), of("arg_")) {
                    (Some(name), ..) => {
                        Node::new("by").property("header", &super::variables::field_name(&name))
                    }
                    (_, Some(name), _) => Node::new("by").property("cookie", &name),
                    (_, _, Some(name)) => Node::new("by").property("query", &name),
                    _ => Node::default(),
                }
            }
            None => Node::default(),
        };
        if by.name.is_empty() {
            self.ledger.near(
                directive.id,
                "balance source",
                &format!("the client's address is the key, as `{key}` cannot be one"),
            );
            return Node::new("balance").bare("source");
        }
        self.hashed(directive, node.child(by))
    }

    fn hashed(&mut self, directive: &Directive, node: Node) -> Node {
        let note = "keys are spread by another function, so clients move once; a popular key may overflow to the next endpoint (`bound`)";
        self.ledger.near(directive.id, &node.line(), note);
        node
    }

    /// What else stands in an `upstream`.
    fn upstream_setting(&mut self, directive: &Directive) -> Option<Node> {
        let id = directive.id;
        match directive.name.as_str() {
            "keepalive" => {
                let node = Node::new("pool").bare_property("max", directive.word(0)).from(id);
                self.ledger.near(id, &node.line(), "the number is for each endpoint and core");
                Some(node)
            }
            "zone" => {
                self.ledger.exact(id, "(not needed: state is shared)");
                None
            }
            "keepalive_timeout" => {
                let time = time(directive.word(0))?;
                self.ledger.exact(id, "timeouts { upstream-idle }");
                Some(Node::new("timeouts").child(Node::new("upstream-idle").text(&time)).from(id))
            }
            "keepalive_time" => {
                let time = time(directive.word(0))?;
                self.ledger.exact(id, "pool lifetime=");
                Some(Node::new("pool").property("lifetime", &time).from(id))
            }
            "keepalive_requests" => {
                self.ledger.near(id, "", "connections are not closed after a number of requests: `pool lifetime=` limits their age");
                None
            }
            "sticky" => {
                self.ledger.near(id, "sticky", "the cookie is ours: clients choose once more");
                let name = if directive.word(1).is_empty() { "route" } else { directive.word(1) };
                Some(Node::new("sticky").text(name).from(id))
            }
            "queue" => {
                let count = directive.word(0).to_owned();
                self.ledger.exact(id, "queue");
                let mut node = Node::new("queue").bare_property("max", count).from(id);
                if let Some(wait) = directive.parameter("timeout").and_then(time) {
                    node = node.property("wait", &wait);
                }
                Some(node)
            }
            _ => None,
        }
    }
}
