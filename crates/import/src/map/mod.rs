//! From nginx's blocks to our nodes.
//!
//! [`map`] walks `http` once: servers become sites (`site`), locations become routes (`location`, `routes`),
//! and everything that a location inherits is looked up where it is needed (`scope`). Each directive that
//! was read has an entry in the ledger; the rest gets the one of its row in [`crate::table`].

mod access;
mod answers;
mod asked_maps;
mod assemble;
mod before;
mod body;
mod caching;
mod comments;
mod fields;
mod files;
mod listen;
mod location;
mod logs;
mod lookahead;
mod maps;
mod process;
mod proxy;
mod routes;
mod scope;
mod site;
mod tls;
pub(crate) mod units;
mod upstream;
mod variables;

use std::collections::BTreeSet;
use std::path::Path;

use crate::kdl::Node;
use crate::nginx::{Directive, Tree};
use crate::report::{Ledger, Verdict};
use crate::table;
use crate::words::Words;

pub(crate) use listen::address as listen_address;
use scope::Scope;
use upstream::Group;

/// What was written, and what became of each directive.
pub(crate) struct Mapped {
    pub(crate) nodes: Vec<Node>,
    pub(crate) ledger: Ledger,
}

/// Walks a configuration and collects what is written.
pub(crate) struct Mapper<'t> {
    tree: &'t Tree,
    words: &'t Words,
    exists: &'t dyn Fn(&Path) -> bool,
    ledger: Ledger,
    http: Scope<'t>,
    server_blocks: Vec<&'t Directive>,
    upstream_blocks: Vec<&'t Directive>,
    maps: Vec<&'t Directive>,
    /// Maps that are used, in the order of their first use.
    used_maps: Vec<String>,
    groups: Vec<Group>,
    proxy_protocol: BTreeSet<String>,
    /// The first name of the server.
    server_name: String,
    /// All of them.
    names: Vec<String>,
    /// Whether the server listens on 80 and, with TLS, 443 alone: clients then name no port.
    default_ports: bool,
    /// Why the whole site must stay closed: a part that keeps clients out could not be written.
    closed: Option<String>,
    /// Names that regular expressions of the server capture.
    captures: Vec<String>,
    /// Nodes for the site that is being written.
    pending: Vec<Node>,
}

/// Maps a configuration.
pub(crate) fn map(tree: &Tree, words: &Words, exists: &dyn Fn(&Path) -> bool) -> Mapped {
    let main = Scope::new(&tree.root.directives);
    let http_block = tree.root.directives.iter().find(|one| one.name == "http");
    // A file of `sites-enabled` alone stands in `http` too.
    let http = http_block.map_or(&tree.root.directives[..], |http| http.children());
    let named = |name: &str| http.iter().filter(|one| one.name == name).collect::<Vec<_>>();
    let mapper = Mapper {
        tree,
        words,
        exists,
        ledger: Ledger::default(),
        http: Scope::new(http),
        server_blocks: named("server"),
        upstream_blocks: named("upstream"),
        maps: named("map"),
        used_maps: Vec::new(),
        groups: Vec::new(),
        proxy_protocol: BTreeSet::new(),
        server_name: String::new(),
        names: Vec::new(),
        default_ports: false,
        closed: None,
        captures: Vec::new(),
        pending: Vec::new(),
    };
    mapper.run(&main, http_block)
}

impl<'t> Mapper<'t> {
    fn run(mut self, main: &Scope<'t>, http: Option<&'t Directive>) -> Mapped {
        let mut nodes = Vec::new();
        if let Some(http) = http {
            self.ledger.exact(http.id, "(the top level)");
        }
        nodes.extend(self.process(main));
        nodes.extend(self.everywhere());
        let servers = self.servers(&self.server_blocks.clone());
        let mut taken = BTreeSet::new();
        let mut sites = Vec::new();
        for server in &servers {
            sites.extend(self.sites(server));
        }
        sites.retain_mut(|site| without_duplicates(site, &mut taken));
        nodes.extend(self.listen_blocks(&servers, &sites));
        let maps = self.map_nodes();
        nodes.extend(maps);
        nodes.extend(sites);
        nodes.extend(self.upstream_nodes());
        self.judge_the_rest();
        comments::keep(&mut nodes, &self.tree.root);
        Mapped { nodes, ledger: self.ledger }
    }

    /// Gives every directive that was not read the verdict of its row.
    fn judge_the_rest(&mut self) {
        let tree = self.tree;
        for directive in &tree.root.directives {
            self.judge_by_table(directive);
        }
    }

    fn judge_by_table(&mut self, directive: &Directive) {
        if !self.ledger.knows(directive.id) {
            match table::row(&directive.name) {
                Some(row) if row.needs_reading && row.verdict != Verdict::Refused => {
                    self.ledger.exact(directive.id, "(without effect here)");
                }
                Some(row) => self.ledger.judge(directive.id, row.verdict(directive), row.ours, row.note),
                None => self.ledger.refused(directive.id, "this directive is not known: its module has no counterpart here, or it has a mistake"),
            }
        }
        if table::is_whole(&directive.name) {
            return;
        }
        for child in directive.children() {
            self.judge_by_table(child);
        }
    }

    /// The same verdict, exact, for a directive and all of its block.
    pub(crate) fn judge_whole(&mut self, directive: &Directive, ours: &str) {
        if !self.ledger.knows(directive.id) {
            self.ledger.exact(directive.id, ours);
        }
        if table::is_whole(&directive.name) {
            return;
        }
        for child in directive.children() {
            self.judge_whole(child, ours);
        }
    }

    /// The same verdict for all of a block that has none yet.
    pub(crate) fn judge_whole_as(&mut self, directive: &Directive, verdict: Verdict, why: &str) {
        for child in directive.children() {
            if !self.ledger.knows(child.id) {
                self.ledger.judge(child.id, verdict, "", why);
            }
            self.judge_whole_as(child, verdict, why);
        }
    }

    /// The same for what stands in an `if`.
    pub(crate) fn judge_inner(&mut self, directive: &Directive, verdict: Verdict) {
        self.judge_whole_as(directive, verdict, "it stands in a condition that cannot be written");
    }
}

/// Takes names from a site that another site has on the same address; `false`: none is left.
fn without_duplicates(site: &mut Node, taken: &mut BTreeSet<(String, String)>) -> bool {
    if site.name != "site" {
        return true;
    }
    let listen = site.children.iter().find(|node| node.name == "listen");
    let addresses = listen.map(|node| node.values.clone()).unwrap_or_default();
    let before = site.values.len();
    site.values.retain(|name| {
        addresses.iter().all(|address| taken.insert((address.clone(), name.clone())))
    });
    if site.values.len() < before {
        site.above.push(" nginx ignores a name that another server has on the same address".into());
    }
    !site.values.is_empty()
}
