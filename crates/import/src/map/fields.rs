//! Fields of responses: `add_header`, `expires`, `proxy_hide_header`.

use crate::kdl::{Node, literal};
use crate::nginx::Directive;

use super::Mapper;
use super::proxy::commented;
use super::scope::Scope;
use super::units::milliseconds;
use super::variables::Place;

impl<'t> Mapper<'t> {
    /// `response { … }`.
    pub(crate) fn response_fields(&mut self, scope: &Scope<'t>, proxied: bool) -> Option<Node> {
        let mut node = Node::new("response");
        if proxied {
            for line in scope.all_of(&["proxy_hide_header", "scgi_hide_header", "grpc_hide_header"])
            {
                self.ledger.exact(line.id, "response { remove }");
                node.children
                    .push(commented(Node::new("remove").text(line.word(0)).from(line.id), line));
            }
        } else {
            for line in scope.all_of(&["proxy_hide_header"]) {
                self.ledger.exact(line.id, "response { remove }");
            }
        }
        for line in scope.all("more_clear_headers") {
            self.ledger.exact(line.id, "response { remove }");
            let names = line.texts().filter(|text| !text.starts_with('-'));
            node.children.extend(names.map(|name| Node::new("remove").text(name).from(line.id)));
        }
        if let Some(line) = scope.find("expires") {
            node.children.extend(self.expires(line));
        }
        for line in scope.all("add_header") {
            node.children.extend(self.add_header(scope, line));
        }
        for line in scope.all("more_set_headers") {
            node.children.extend(self.more_set_headers(scope, line));
        }
        (!node.children.is_empty()).then_some(node)
    }

    fn add_header(&mut self, scope: &Scope<'t>, line: &'t Directive) -> Option<Node> {
        let (name, id) = (line.word(0), line.id);
        if line.word(1).is_empty() {
            self.ledger.exact(id, "(an empty value adds nothing)");
            return None;
        }
        if matches!(line.word(1), "$upstream_cache_status" | "${upstream_cache_status}") {
            let note =
                "responses say it in `Cache-Status` (RFC 9211), which people and tools read alike";
            self.ledger.near(id, "(`Cache-Status`)", note);
            return None;
        }
        let value = match self.template(scope, line.word(1), Place::Field) {
            Ok(value) => value,
            Err(missing) => {
                self.ledger.judge(id, missing.verdict, "", &missing.why);
                return None;
            }
        };
        let node = Node::new("add").text(name).text(&value.text).from(id);
        let mut notes = value.notes;
        if !line.has("always") {
            notes.push("it is added to answers of every status (nginx: 200, 201, 204, 206, 301–304, 307 and 308, without `always`)".into());
        }
        let ours = format!("response {{ {} }}", node.line());
        match notes.is_empty() {
            true => self.ledger.exact(id, &ours),
            false => self.ledger.near(id, &ours, &notes.join("; ")),
        }
        Some(commented(node, line))
    }

    fn more_set_headers(&mut self, scope: &Scope<'t>, line: &'t Directive) -> Vec<Node> {
        let mut nodes = Vec::new();
        for text in line.texts() {
            let Some((name, value)) = text.split_once(':') else { continue };
            match self.template(scope, value.trim(), Place::Field) {
                Ok(value) => {
                    self.ledger.exact(line.id, "response { set }");
                    nodes.push(Node::new("set").text(name.trim()).text(&value.text).from(line.id));
                }
                Err(missing) => self.ledger.judge(line.id, missing.verdict, "", &missing.why),
            }
        }
        nodes
    }

    fn expires(&mut self, line: &Directive) -> Option<Node> {
        let id = line.id;
        let (word, note) = match line.word(0) {
            "modified" => {
                (line.word(1), "counted from the request, not from the change of the file; ")
            }
            word => (word, ""),
        };
        let value = match word {
            "off" => {
                self.ledger.exact(id, "");
                return None;
            }
            "max" => "max-age=315360000".to_owned(),
            "epoch" => "no-cache".to_owned(),
            other if other.contains(['$', '@']) => {
                self.ledger.refused(id, "times that depend on the request or the time of day: set `Cache-Control` in routes");
                return None;
            }
            other => match (other.strip_prefix('-'), milliseconds(other)) {
                (Some(_), _) => "no-cache".to_owned(),
                (None, Some(0)) => "max-age=0".to_owned(),
                (None, Some(time)) => format!("max-age={}", time / 1000),
                (None, None) => {
                    self.ledger.refused(id, "this is not a time");
                    return None;
                }
            },
        };
        let node = Node::new("add").text("Cache-Control").text(&literal(&value)).from(id);
        let note =
            format!("{note}`Cache-Control` alone, without `Expires`; on answers of every status");
        self.ledger.near(id, &format!("response {{ {} }}", node.line()), &note);
        Some(node)
    }
}
