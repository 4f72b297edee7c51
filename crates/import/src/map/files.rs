//! Files: `root`, `alias`, `index`, `autoindex`, `try_files`.

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::location::{Kind, Location, choose};
use super::scope::Scope;
use super::variables::{Missing, Part, Place, parts};

/// Where nginx looks if nothing says so.
const ROOT_DEFAULT: &str = "/usr/share/nginx/html";

/// The directory of a location, and how its paths become paths below it.
struct Directory {
    path: String,
    /// `strip-prefix` or `rewrite`.
    mapping: Option<Node>,
}

impl<'t> Mapper<'t> {
    /// The files of a location.
    pub(crate) fn files(
        &mut self,
        scope: &Scope<'t>,
        kind: &Kind,
        locations: &[Location<'t>],
    ) -> Result<Vec<Node>, Missing> {
        let directory = self.directory(scope, kind)?;
        let mut node = Node::new("files").text(&directory.path);
        self.index(scope, &mut node);
        if let Some(line) = scope.find("autoindex") {
            self.ledger.exact(line.id, "files { listing }");
            if line.word(0) == "on" {
                node.children.push(Node::new("listing").bare("#true").from(line.id));
            }
        }
        let mut nodes: Vec<Node> = directory.mapping.into_iter().collect();
        let tried = scope.own().iter().find(|one| one.name == "try_files");
        if let Some(line) = tried {
            nodes.extend(self.try_files(scope, line, &mut node, locations, &directory.path)?);
        }
        if node.name == "files" {
            nodes.push(node);
        }
        Ok(nodes)
    }

    fn directory(&mut self, scope: &Scope<'t>, kind: &Kind) -> Result<Directory, Missing> {
        let Some(line) = scope.all_of(&["root", "alias"]).last().copied() else {
            return Ok(Directory { path: ROOT_DEFAULT.into(), mapping: None });
        };
        let is_alias = line.name == "alias";
        let text = line.word(0);
        if let (Kind::Regex { .. }, true) = (kind, is_alias) {
            return self.alias_with_captures(scope, line);
        }
        let path = self.template(scope, text, Place::Text)?;
        if path.varies {
            let why =
                "the directory depends on the request: write a site or route for each directory";
            self.ledger.refused(line.id, why);
            return Err(Missing::refused(why));
        }
        let path = self.root_path(&path.text);
        self.ledger.exact(line.id, &format!("files \"{path}\""));
        let mapping = match (kind, is_alias) {
            (Kind::Prefix { path: prefix, .. }, true) => {
                let base = prefix.trim_end_matches('/');
                (!base.is_empty()).then(|| Node::new("strip-prefix").text(base))
            }
            (Kind::Exact(_), true) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("/", &path));
                let mapping = Some(Node::new("rewrite").text(&format!("/{name}")));
                let path = if parent.is_empty() { "/".into() } else { parent.to_owned() };
                return Ok(Directory { path, mapping });
            }
            _ => None,
        };
        let trimmed = path.trim_end_matches('/');
        let path = if trimmed.is_empty() { "/".into() } else { trimmed.to_owned() };
        Ok(Directory { path, mapping })
    }

    /// `alias /srv/media/$1;`
    fn alias_with_captures(
        &mut self,
        scope: &Scope<'t>,
        line: &Directive,
    ) -> Result<Directory, Missing> {
        let text = line.word(0);
        let fixed = match parts(text).first() {
            Some(Part::Text(fixed)) => (*fixed).to_owned(),
            _ => String::new(),
        };
        let Some((parent, _)) = fixed.rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
        else {
            let why = "the directory depends on the request";
            self.ledger.refused(line.id, why);
            return Err(Missing::refused(why));
        };
        let rest = text.get(parent.len()..).unwrap_or_default();
        let rest = self.template(scope, rest, Place::Path)?;
        self.ledger.exact(line.id, &format!("files \"{parent}\""));
        Ok(Directory {
            path: parent.to_owned(),
            mapping: Some(Node::new("rewrite").text(&rest.text)),
        })
    }

    fn index(&mut self, scope: &Scope<'t>, node: &mut Node) {
        let lines = scope.all("index");
        let mut index = Node::new("index");
        for line in &lines {
            let mut notes = Vec::new();
            for name in line.texts() {
                if name.contains('$') || name.starts_with('/') {
                    notes.push(format!("`{name}` is left out: only names of files"));
                } else if name.ends_with(".php") {
                    notes.push(format!("`{name}` is left out: programs are not run from files"));
                } else {
                    index = index.text(name);
                }
            }
            match notes.is_empty() {
                true => self.ledger.exact(line.id, "files { index }"),
                false => self.ledger.near(line.id, "files { index }", &notes.join("; ")),
            }
        }
        if !index.values.is_empty() && index.values != ["\"index.html\""] {
            node.children.push(index);
        }
    }

    /// `try_files`; `node` becomes nothing where the requests go elsewhere.
    fn try_files(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
        node: &mut Node,
        locations: &[Location<'t>],
        directory: &str,
    ) -> Result<Vec<Node>, Missing> {
        let words: Vec<&str> = line.texts().collect();
        let Some((last, tried)) = words.split_last() else { return Ok(Vec::new()) };
        // As without a line: the path, and a directory with its index.
        let plain = tried == ["$uri", "$uri/"] || !self.words.has(Word::Try);
        let simple = tried.iter().all(|one| matches!(*one, "$uri" | "$uri/"));
        if !simple && !self.words.has(Word::Try) {
            self.ledger
                .planned(line.id, "`try` in `files`; until then the path itself is looked for");
        } else {
            self.ledger.exact(line.id, "files { try }");
        }
        if !plain {
            let mut words = Node::new("try").from(line.id);
            for one in tried {
                let text = self.template(scope, one, Place::Path)?;
                words = words.text(&text.text);
            }
            node.children.push(words);
        }
        if let Some(status) = last.strip_prefix('=') {
            if status != "404" {
                match (node.children.last_mut(), self.words.has(Word::Try)) {
                    (Some(words), true) if words.name == "try" => {
                        words.values.push(format!("status={status}"));
                    }
                    (_, true) => node.children.push(
                        Node::new("try")
                            .text("{path}")
                            .bare_property("status", status)
                            .from(line.id),
                    ),
                    _ => self.ledger.planned(line.id, "the status is 404"),
                }
            }
            return Ok(Vec::new());
        }
        let target = match last.strip_prefix('@') {
            Some(_) => locations
                .iter()
                .position(|one| matches!(&one.kind, Kind::Named(name) if name == last)),
            None => choose(locations, last.split(['?', '$']).next().unwrap_or_default()),
        };
        let Some(target) = target.and_then(|index| locations.get(index)) else {
            if last.starts_with('@') {
                return Err(Missing::refused(format!("there is no location `{last}`")));
            }
            return self.fallback(line, last, node);
        };
        let pass = target
            .scope
            .own()
            .iter()
            .find(|one| one.name == "proxy_pass" || one.name == "scgi_pass");
        if let Some(pass) = pass {
            return self.then_to(target, pass, line, last, node);
        }
        if let Some(other) = target.scope.own().iter().find(|one| one.name.ends_with("_pass")) {
            self.ledger.planned(line.id, &format!("`{}` is planned", other.name));
            self.ledger.planned(
                other.id,
                "FastCGI and uwsgi are planned: until then the requests get 501",
            );
            node.name.clear();
            return Ok(vec![closed(501)]);
        }
        if let Some(other) = target.scope.own().iter().find(|one| one.name == "return")
            && matches!(target.kind, Kind::Named(_))
            && other.word(0) == "404"
        {
            self.ledger.exact(other.id, "files");
            return Ok(Vec::new());
        }
        let _ = directory;
        self.fallback(line, last, node)
    }

    /// The file that stands in for all that do not exist.
    fn fallback(
        &mut self,
        line: &Directive,
        last: &str,
        node: &mut Node,
    ) -> Result<Vec<Node>, Missing> {
        let path = last.split('?').next().unwrap_or_default();
        if path.contains('$') || !path.starts_with('/') {
            return Err(Missing::refused(format!("`{last}` depends on the request")));
        }
        if path.ends_with(".php") {
            self.ledger.planned(line.id, "FastCGI is planned: until then the requests get 501");
            node.name.clear();
            return Ok(vec![closed(501)]);
        }
        match node.children.last_mut() {
            Some(words) if words.name == "try" => words.values.push(crate::kdl::quoted(path)),
            _ => node.children.push(Node::new("fallback").text(path).from(line.id)),
        }
        Ok(Vec::new())
    }

    /// Files first, then an application.
    fn then_to(
        &mut self,
        target: &Location<'t>,
        pass: &'t Directive,
        line: &'t Directive,
        last: &str,
        node: &mut Node,
    ) -> Result<Vec<Node>, Missing> {
        let rewritten = if last.starts_with('@') { None } else { last.split('?').next() };
        let mut nodes = self.proxied(&target.scope, &target.kind, pass, rewritten)?;
        self.ledger.exact(target.directive.id, "files { to }");
        if !self.words.has(Word::FilesThenTo) {
            self.ledger.planned(
                line.id,
                "files before an application: until then all requests go to the application",
            );
            node.name.clear();
            return Ok(nodes);
        }
        let Some(index) = nodes.iter().position(|one| one.name == "to") else { return Ok(nodes) };
        node.children.push(nodes.remove(index));
        Ok(nodes)
    }

    /// A directory as nginx finds it: relative ones start at its prefix.
    fn root_path(&self, text: &str) -> String {
        let text = text.replace("{{", "{").replace("}}", "}");
        if text.starts_with('/') { text } else { format!("/usr/share/nginx/{text}") }
    }
}

/// What stands where something is missing: it is seen at once.
pub(crate) fn closed(status: u16) -> Node {
    Node::new("respond")
        .text("This part of the site has not been moved over.\n")
        .bare_property("status", status)
}
