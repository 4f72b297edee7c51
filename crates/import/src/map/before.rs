//! What a server does before it chooses a location: its own `return`, `rewrite` and `if`.

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::report::Verdict;
use crate::words::Word;

use super::Mapper;
use super::answers::{Asked, Condition, Rewritten};
use super::files::closed;
use super::listen::Server;
use super::location::{Location, choose};
use super::routes::{PRIORITY_SERVER, Pattern, Route};
use super::scope::Scope;
use super::site::Context;

/// What a server does before it chooses a location.
#[derive(Default)]
pub(crate) struct Before {
    /// It answers every request.
    pub(crate) answer: Option<Vec<Node>>,
    /// Routes that are tried first.
    pub(crate) routes: Vec<Route>,
}

impl<'t> Mapper<'t> {
    /// `return`, `rewrite` and `if` of the server itself.
    pub(crate) fn before(
        &mut self,
        server: &Server<'t>,
        context: &Context,
        locations: &[Location<'t>],
    ) -> Before {
        let scope = &server.scope;
        let mut before = Before::default();
        let mut rank = PRIORITY_SERVER;
        for line in scope.own() {
            rank -= 1;
            match line.name.as_str() {
                "return" => {
                    before.answer = Some(match self.returned(scope, line) {
                        Ok(node) => vec![node],
                        Err(missing) => {
                            self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                            vec![closed(501)]
                        }
                    });
                    return before;
                }
                "rewrite" => {
                    let Some((pattern, body)) = self.rewrite_route(scope, line, locations) else {
                        continue;
                    };
                    if !self.words.has(Word::RegexRoute) {
                        self.ledger.planned(line.id, "routes by regular expression");
                        continue;
                    }
                    let mut route = Route::new(Pattern::Regex { pattern, priority: rank }, body);
                    route.above = line.above.clone();
                    route.from.push(line.id);
                    before.routes.push(route);
                }
                "if" => {
                    if let Some(routes) = self.redirects_of_map(scope, line, &mut rank) {
                        before.routes.extend(routes);
                        continue;
                    }
                    if let Some(answer) = self.server_if(scope, context, line, rank, &mut before) {
                        before.answer = Some(answer);
                        return before;
                    }
                }
                _ => {}
            }
        }
        before
    }

    /// An `if` of a server; gives the answer to every request if it always holds.
    pub(crate) fn server_if(
        &mut self,
        scope: &Scope<'t>,
        context: &Context,
        line: &'t Directive,
        rank: i32,
        before: &mut Before,
    ) -> Option<Vec<Node>> {
        let inner = scope.within(line.children());
        match self.condition(context, line) {
            Condition::True => {
                self.ledger.exact(line.id, "site");
                self.answer_of_if(&inner, line)
            }
            Condition::False => {
                self.ledger.exact(line.id, "site");
                self.judge_whole(line, "(for another site)");
                None
            }
            Condition::Request(asked) => {
                let body = self.answer_of_if(&inner, line)?;
                let mut route = self.asked_route(asked, "^/", rank, body, line)?;
                route.above = line.above.clone();
                before.routes.push(route);
                None
            }
            Condition::File { path, missing } => {
                let node = self.maintenance(&path, missing, line);
                if node.is_none() && !self.ledger.knows(line.id) {
                    self.refuse_if(line, "files are asked for by `files { try … }`");
                }
                self.pending.extend(node);
                None
            }
            Condition::Unknown(missing) => {
                self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                self.judge_inner(line, missing.verdict);
                // It may keep clients out.
                let refuses = line
                    .children()
                    .iter()
                    .any(|one| one.name == "return" && one.word(0).starts_with('4'));
                refuses.then(|| vec![closed(503)])
            }
        }
    }

    /// What an `if` does: an answer of its own.
    pub(crate) fn answer_of_if(
        &mut self,
        inner: &Scope<'t>,
        line: &'t Directive,
    ) -> Option<Vec<Node>> {
        for one in inner.own() {
            match one.name.as_str() {
                "return" => {
                    return Some(match self.returned(inner, one) {
                        Ok(node) => vec![node],
                        Err(missing) => {
                            self.ledger.judge(one.id, missing.verdict, "", &missing.why);
                            vec![closed(501)]
                        }
                    });
                }
                "rewrite" => match self.rewritten(inner, one) {
                    Ok(Rewritten::Redirect { node, .. })
                        if matches!(
                            one.word(0),
                            "^" | "^/" | "(.*)" | "^(.*)$" | "^/(.*)$" | "^.*$"
                        ) =>
                    {
                        return Some(vec![node]);
                    }
                    _ => {
                        self.refuse_if(
                            line,
                            "only redirects of every path can stand here: write a route",
                        );
                        return None;
                    }
                },
                "break" => self.ledger.exact(one.id, ""),
                "access_log" => {
                    self.ledger.near(one.id, "", "what is logged does not depend on conditions")
                }
                "set" => {}
                _ => {
                    self.refuse_if(
                        line,
                        "only `return` and redirects can stand here: write a route with `when`",
                    );
                    return None;
                }
            }
        }
        self.ledger.near(line.id, "", "it does nothing here");
        None
    }

    pub(crate) fn refuse_if(&mut self, line: &Directive, why: &str) {
        self.ledger.refused(line.id, why);
        self.judge_inner(line, Verdict::Refused);
    }

    fn asked_route(
        &mut self,
        asked: Asked,
        path: &str,
        rank: i32,
        body: Vec<Node>,
        line: &Directive,
    ) -> Option<Route> {
        if !self.words.has(Word::RegexRoute) {
            self.ledger.planned(line.id, "routes by regular expression");
            return None;
        }
        if !asked.conditions.is_empty() && !self.words.has(Word::Conditions) {
            self.ledger.planned(line.id, "conditions of routes (`when`, `unless`)");
            return None;
        }
        let pattern = asked.path.unwrap_or_else(|| path.to_owned());
        let mut route = Route::new(Pattern::Regex { pattern, priority: rank }, body);
        route.method = asked.method;
        route.conditions = asked.conditions;
        route.from.push(line.id);
        match asked.note {
            "" => self.ledger.exact(line.id, &route.clone().node().line()),
            note => self.ledger.near(line.id, &route.clone().node().line(), note),
        }
        Some(route)
    }

    /// `if (-f /srv/maintenance.html) { return 503; }`
    pub(crate) fn maintenance(
        &mut self,
        path: &str,
        missing: bool,
        line: &'t Directive,
    ) -> Option<Node> {
        let answers = |one: &Directive| one.name == "return" && one.word(0) == "503";
        if missing || !line.children().iter().any(answers) {
            return None;
        }
        let scope = self.http.within(line.children());
        let path = self
            .template(&scope, path, super::variables::Place::Text)
            .ok()
            .filter(|path| !path.varies)?;
        if !self.words.has(Word::Maintenance) {
            self.ledger.planned(line.id, "a maintenance mode by a file (`maintenance`)");
            self.judge_inner(line, Verdict::Planned);
            return None;
        }
        self.judge_whole(line, "maintenance");
        self.ledger.near(line.id, "maintenance", "the file is looked for twice a second");
        Some(Node::new("maintenance").property("file", &path.text).from(line.id))
    }

    /// The pattern and body for a `rewrite` of a server.
    fn rewrite_route(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
        locations: &[Location<'t>],
    ) -> Option<(String, Vec<Node>)> {
        match self.rewritten(scope, line) {
            Ok(Rewritten::Redirect { pattern, node }) => Some((pattern, vec![node])),
            Ok(Rewritten::Path { pattern, template, .. }) => {
                match self.rewritten_to(locations, line, &template) {
                    Some(body) => Some((pattern, body)),
                    None => Some((pattern, vec![closed(501)])),
                }
            }
            Err(missing) => {
                self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                None
            }
        }
    }

    /// The body for a path that is rewritten and chosen again: that of the location which it comes to.
    pub(crate) fn rewritten_to(
        &mut self,
        locations: &[Location<'t>],
        line: &Directive,
        template: &str,
    ) -> Option<Vec<Node>> {
        let fixed = template.split('{').next().unwrap_or_default();
        let index = choose(locations, fixed)?;
        let location = locations.get(index)?;
        let pass = location
            .scope
            .own()
            .iter()
            .find(|one| one.name == "proxy_pass" || one.name == "scgi_pass");
        if let Some(pass) = pass {
            let nodes = self.proxied(&location.scope, &location.kind, pass, Some(template)).ok()?;
            self.ledger.near(
                line.id,
                "rewrite",
                "the location of the new path is the one of its fixed beginning",
            );
            let settings = self.settings(&location.scope, true);
            return Some([nodes, settings].concat());
        }
        if location
            .scope
            .own()
            .iter()
            .any(|one| one.name.ends_with("_pass") || one.name == "return")
        {
            self.ledger
                .planned(line.id, "the location that it leads to cannot be taken here yet (501)");
            return None;
        }
        let files = self.files(&location.scope, &location.kind, locations).ok()?;
        self.ledger.near(
            line.id,
            "rewrite",
            "the location of the new path is the one of its fixed beginning",
        );
        let mut nodes = vec![Node::new("rewrite").text(template)];
        nodes.extend(files);
        Some(nodes)
    }
}
