//! `map`.

use crate::kdl::{Node, quoted};
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::scope::Scope;
use super::variables::{Missing, Place, escape_regex, regex};

impl<'t> Mapper<'t> {
    /// The part for a variable that a `map` defines.
    pub(crate) fn map_variable(
        &mut self,
        scope: &Scope<'t>,
        name: &str,
    ) -> Result<Option<String>, Missing> {
        let found =
            self.maps.iter().copied().find(|map| map.word(1).strip_prefix('$') == Some(name));
        let Some(map) = found else { return Ok(None) };
        if !self.words.has(Word::Map) {
            self.ledger.planned(map.id, "maps");
            return Err(Missing::planned("maps"));
        }
        let _ = scope;
        let name = map_name(name);
        if !self.used_maps.contains(&name) {
            self.used_maps.push(name.clone());
        }
        Ok(Some(format!("{{{name}}}")))
    }

    /// The maps that are used. The others are of no use here, above all those for upgrades.
    pub(crate) fn map_nodes(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut done = 0;
        // A value may name another map.
        while let Some(name) = self.used_maps.get(done).cloned() {
            done += 1;
            let of = |map: &&'t Directive| map_name(map.word(1).trim_start_matches('$')) == name;
            if let Some(map) = self.maps.iter().copied().find(of) {
                nodes.push(self.map_node(map, &name));
            }
        }
        for map in self.maps.clone() {
            if !self.ledger.knows(map.id) {
                let ours = match map.word(0) {
                    "$http_upgrade" => "(upgrades pass as they are)",
                    _ => "(not used)",
                };
                self.ledger.exact(map.id, ours);
            }
        }
        nodes
    }

    fn map_node(&mut self, map: &'t Directive, name: &str) -> Node {
        let scope = self.http.clone();
        let source = match self.template(&scope, map.word(0), Place::Field) {
            Ok(source) => source.text,
            Err(missing) => {
                self.ledger.judge(map.id, missing.verdict, "", &missing.why);
                String::new()
            }
        };
        let mut node = Node::new("map").bare(name).text(&source).from(map.id);
        node.above = map.above.clone();
        let mut notes = Vec::new();
        let hostnames = map.children().iter().any(|entry| entry.name == "hostnames");
        for entry in map.children() {
            let key = entry.name.as_str();
            if matches!(key, "volatile" | "hostnames") {
                continue;
            }
            let value = match self.template(&scope, entry.word(0), Place::Field) {
                Ok(value) => value.text,
                Err(missing) => {
                    notes.push(format!("`{key}`: {}", missing.why));
                    continue;
                }
            };
            let is_default = key == "default";
            let key = key.strip_prefix('\\').unwrap_or(key);
            let pattern = Some(key).filter(|_| key.len() == entry.name.len());
            let line = match pattern.and_then(|key| key.strip_prefix('~')) {
                Some(pattern) => {
                    let (pattern, fold) = match pattern.strip_prefix('*') {
                        Some(pattern) => (pattern, true),
                        None => (pattern, false),
                    };
                    match regex(pattern, fold, false) {
                        Ok(pattern) => Node::new("~").text(&pattern).text(&value),
                        Err(missing) => {
                            notes.push(format!("`{pattern}`: {}", missing.why));
                            continue;
                        }
                    }
                }
                None if is_default => Node::new("default").text(&value),
                // Both have hosts in lower case.
                None if hostnames => {
                    let key = key.to_ascii_lowercase();
                    if let Some(host) = key.strip_prefix('.') {
                        node.children.push(Node::new(&quoted(host)).text(&value));
                    }
                    let below = if key.starts_with('.') { "*" } else { "" };
                    Node::new(&quoted(&format!("{below}{key}"))).text(&value)
                }
                // A star is one, here at an end a wildcard.
                None if key.contains('*') => {
                    let pattern = format!("(?i)^{}$", escape_regex(key));
                    Node::new("~").text(&pattern).text(&value)
                }
                None => {
                    if key.contains(|c: char| c.is_ascii_alphabetic()) {
                        let note = "keys are compared with their case";
                        if !notes.iter().any(|known| known == note) {
                            notes.push(note.into());
                        }
                    }
                    Node::new(&quoted(key)).text(&value)
                }
            };
            node.children.push(super::proxy::commented(line, entry));
        }
        match notes.is_empty() {
            true => self.ledger.exact(map.id, &node.line()),
            false => self.ledger.near(map.id, &node.line(), &notes.join("; ")),
        }
        node
    }
}

/// The name of a map: with hyphens, as all our names.
fn map_name(name: &str) -> String {
    name.replace('_', "-")
}
