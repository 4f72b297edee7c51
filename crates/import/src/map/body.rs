//! A location as routes: its patterns, and what it does.

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::access::Access;
use super::answers::{Condition, Rewritten};
use super::files::closed;
use super::location::{Kind, Location, choose};
use super::routes::{
    PRIORITY_WITHIN, Pattern, Route, below, is_plain, path_text, prefix_conditions, prefix_regex,
    priority, refuses, regex_conditions,
};
use super::scope::Scope;
use super::site::Context;
use super::variables::{Missing, group_names, regex};

impl<'t> Mapper<'t> {
    /// The routes of a location.
    pub(crate) fn location(
        &mut self,
        context: &Context,
        locations: &[Location<'t>],
        index: usize,
    ) -> Vec<Route> {
        let Some(location) = locations.get(index) else { return Vec::new() };
        let directive = location.directive;
        if let Kind::Regex { pattern, .. } = &location.kind {
            self.captures.extend(group_names(pattern));
        }
        let body = self.body(context, locations, location);
        let patterns = match self.patterns(locations, index) {
            Ok(patterns) => patterns,
            Err(missing) => {
                if body.iter().any(|route| refuses(&route.body)) {
                    let why = format!(
                        "`{}` keeps clients out and could not be written",
                        directive.line()
                    );
                    self.closed.get_or_insert(why);
                    self.ledger.judge(
                        directive.id,
                        missing.verdict,
                        "",
                        "it keeps clients out, so the whole site is closed (503)",
                    );
                }
                self.judge_whole_as(directive, missing.verdict, &missing.why);
                self.ledger.judge(directive.id, missing.verdict, "", &missing.why);
                return Vec::new();
            }
        };
        let mut routes = Vec::new();
        for (pattern, conditions) in patterns {
            for (place, variant) in body.iter().enumerate() {
                let mut route = variant.clone();
                let is_own_path =
                    matches!(&route.pattern, Pattern::Regex { pattern, .. } if !pattern.is_empty());
                if !is_own_path {
                    route.pattern = pattern.clone();
                } else if let Pattern::Regex { priority: rank, .. } = &mut route.pattern {
                    // A regular expression within a location stands only there, and before the rest.
                    let step = i32::try_from(place).unwrap_or(0).min(8);
                    let own_rank = match &pattern {
                        Pattern::Regex { priority, .. } => *priority,
                        Pattern::Path(_) => PRIORITY_WITHIN,
                    };
                    *rank = own_rank + 9 - step;
                    match &location.kind {
                        Kind::Regex { .. } => {}
                        Kind::Prefix { path, .. } => {
                            if path != "/" && is_plain(path) {
                                let within = Node::new("when").property("path", &below(path));
                                route.conditions.push(within);
                            }
                            route.conditions.extend(prefix_conditions(locations, path));
                        }
                        Kind::Exact(_) | Kind::Named(_) => {}
                    }
                }
                route.conditions.splice(0..0, conditions.iter().cloned());
                route.from.push(directive.id);
                if routes.is_empty() {
                    route.above = directive.above.clone();
                    if directive.texts().any(|word| word.contains("(?!")) {
                        route.above.push(format!(" nginx: {}", directive.line()));
                    }
                    route.beside = directive.beside.clone();
                }
                routes.push(route);
            }
        }
        self.without_slash(context, locations, location, &mut routes);
        routes
    }

    /// `/app`, where there is only `location /app/`: with a `proxy_pass` nginx redirects it, and
    /// otherwise it belongs to another location. `/app/*` here has it too.
    fn without_slash(
        &mut self,
        context: &Context,
        locations: &[Location<'t>],
        location: &Location<'t>,
        routes: &mut Vec<Route>,
    ) {
        let Kind::Prefix { path, .. } = &location.kind else { return };
        let bare = path.trim_end_matches('/');
        let taken = locations.iter().any(|one| match &one.kind {
            Kind::Exact(exact) => exact == bare,
            Kind::Prefix { path: other, .. } => other == bare,
            _ => false,
        });
        if bare.is_empty() || bare == path || taken || !is_plain(path) {
            return;
        }
        let pattern = || Pattern::Path(path_text(bare));
        if location.scope.own().iter().any(|one| one.name.ends_with("_pass")) {
            let target = format!("{}/?{{query}}", path_text(bare));
            let redirect = Node::new("redirect").text(&target).bare_property("status", 301);
            let mut route = Route::new(pattern(), vec![redirect]);
            route.adds_slash = true;
            route.above.push(" nginx adds the slash itself".into());
            routes.push(route);
            return;
        }
        let is_elsewhere = |one: &Directive| matches!(one.name.as_str(), "return" | "alias");
        if !location.scope.own().iter().any(is_elsewhere) {
            return;
        }
        let other = choose(locations, bare).and_then(|index| locations.get(index));
        // A regular expression has its own route, but not below a `^~`.
        let is_here = |one: &&Location<'t>| match one.kind {
            Kind::Prefix { .. } => true,
            Kind::Regex { .. } => matches!(location.kind, Kind::Prefix { no_regex: true, .. }),
            Kind::Exact(_) | Kind::Named(_) => false,
        };
        let Some(other) = other.filter(is_here) else { return };
        for mut route in self.body(context, locations, other) {
            let is_own_path =
                matches!(&route.pattern, Pattern::Regex { pattern, .. } if !pattern.is_empty());
            if !is_own_path {
                route.pattern = pattern();
                route
                    .above
                    .push(format!(" nginx takes `{}` for this path", other.directive.line()));
                routes.push(route);
            }
        }
    }

    /// What a location is written as: patterns, each with its conditions.
    fn patterns(
        &mut self,
        locations: &[Location<'t>],
        index: usize,
    ) -> Result<Vec<(Pattern, Vec<Node>)>, Missing> {
        let Some(location) = locations.get(index) else { return Ok(Vec::new()) };
        let id = location.directive.id;
        if location.in_regex {
            return Err(Missing::refused(
                "a location within one by regular expression: write the whole expression",
            ));
        }
        match &location.kind {
            Kind::Exact(path) => {
                let pattern = Pattern::Path(path_text(path));
                self.ledger.exact(id, &format!("route \"{}\"", path_text(path)));
                Ok(vec![(pattern, Vec::new())])
            }
            Kind::Prefix { path, .. } => self.prefix_patterns(locations, index, path),
            Kind::Regex { pattern, ignore_case } => {
                let written = regex(pattern, *ignore_case, true)?;
                if !self.words.has(Word::RegexRoute) {
                    return Err(Missing::planned("routes by regular expression"));
                }
                let rank = priority(locations, index);
                let conditions = regex_conditions(locations, location);
                if !conditions.is_empty() && !self.words.has(Word::Conditions) {
                    return Err(Missing::planned("conditions of routes (`unless path=`)"));
                }
                self.ledger.exact(id, &format!("route ~ \"{written}\""));
                Ok(vec![(Pattern::Regex { pattern: written, priority: rank }, conditions)])
            }
            Kind::Named(_) => Ok(Vec::new()),
        }
    }

    fn prefix_patterns(
        &mut self,
        locations: &[Location<'t>],
        index: usize,
        path: &str,
    ) -> Result<Vec<(Pattern, Vec<Node>)>, Missing> {
        let Some(location) = locations.get(index) else { return Ok(Vec::new()) };
        let id = location.directive.id;
        if is_plain(path) {
            let pattern = below(path);
            self.ledger.exact(id, &format!("route \"{pattern}\""));
            let mut patterns = vec![(Pattern::Path(pattern), Vec::new())];
            // `/a/*` here has `/a` too, which is nginx's other location.
            let longer = format!("{path}/");
            let is_longer = |one: &Location<'_>| matches!(&one.kind, Kind::Prefix { path, .. } if *path == longer);
            let has_exact =
                |one: &Location<'_>| matches!(&one.kind, Kind::Exact(exact) if exact == path);
            if locations.iter().any(is_longer) && !locations.iter().any(has_exact) {
                patterns.insert(0, (Pattern::Path(path_text(path)), Vec::new()));
            }
            return Ok(patterns);
        }
        if !self.words.has(Word::RegexRoute) {
            return Err(Missing::planned(
                "a prefix that ends within a segment, as a route by regular expression",
            ));
        }
        let pattern = prefix_regex(path);
        let conditions = prefix_conditions(locations, path);
        self.ledger.exact(id, &format!("route ~ \"{pattern}\""));
        Ok(vec![(Pattern::Regex { pattern, priority: priority(locations, index) }, conditions)])
    }

    /// What a location does: one body, and others for conditions and rewrites. A route whose pattern is an
    /// empty regular expression has the pattern of the location.
    fn body(
        &mut self,
        context: &Context,
        locations: &[Location<'t>],
        location: &Location<'t>,
    ) -> Vec<Route> {
        let scope = &location.scope;
        let own = || Pattern::Regex { pattern: String::new(), priority: 0 };
        if scope.own().iter().any(|one| one.name == "internal") {
            self.judge_whole(location.directive, "respond status=404");
            return vec![Route::new(
                own(),
                vec![Node::new("respond").bare_property("status", 404)],
            )];
        }
        let mut routes = Vec::new();
        let mut rewritten = None;
        let mut answer = None;
        for line in scope.own() {
            match line.name.as_str() {
                "return" => {
                    answer = Some(self.returned(scope, line).unwrap_or_else(|missing| {
                        self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                        closed(501)
                    }));
                    break;
                }
                "break" => self.ledger.exact(line.id, ""),
                "rewrite" => {
                    self.rewrite_in_location(locations, location, line, &mut routes, &mut rewritten)
                }
                "if" => match self.if_in_location(context, location, line, &mut routes) {
                    Some(always) => {
                        answer = Some(always);
                        break;
                    }
                    None => continue,
                },
                _ => {}
            }
        }
        // What `return` answers is answered to everybody: nginx asks who it is only after that.
        let access = match answer.is_some() {
            true => Access::Lines(Vec::new()),
            false => self.access(scope),
        };
        let mut body = match access {
            Access::Lines(lines) => lines,
            Access::Denied => {
                self.judge_whole(location.directive, "respond status=403");
                routes.push(Route::new(
                    own(),
                    vec![Node::new("respond").bare_property("status", 403)],
                ));
                return routes;
            }
            Access::Closed => {
                let mut node = closed(503);
                node.guards = true;
                return vec![Route::new(own(), vec![node])];
            }
        };
        let proxied = answer.is_none() && scope.own().iter().any(|one| one.name.ends_with("_pass"));
        let content = match answer {
            Some(node) => vec![node],
            None => self.content(locations, location, rewritten.as_deref()),
        };
        body.extend(self.settings(scope, proxied));
        body.extend(content);
        match self.limit_except(location, &body) {
            Some((methods, refused)) => {
                let mut allowed = Route::new(own(), body);
                allowed.method = Some(methods);
                routes.push(allowed);
                routes.push(Route::new(own(), refused));
            }
            None => routes.push(Route::new(own(), body)),
        }
        routes
    }

    /// `limit_except GET { deny all; }`: these methods have a route of their own, and the others another.
    fn limit_except(
        &mut self,
        location: &Location<'t>,
        body: &[Node],
    ) -> Option<(String, Vec<Node>)> {
        let line = location.scope.own().iter().find(|one| one.name == "limit_except")?;
        let inner = location.scope.within(line.children());
        let refused = match self.access(&inner) {
            Access::Denied => vec![Node::new("respond").bare_property("status", 403).guarding()],
            Access::Lines(lines) => {
                let rest = body.iter().filter(|node| !node.guards).cloned();
                lines.into_iter().chain(rest).collect()
            }
            Access::Closed => vec![closed(503).guarding()],
        };
        let methods: Vec<_> = line.texts().collect();
        let methods = methods.join(",");
        self.ledger.exact(line.id, &format!("route … method=\"{methods}\""));
        Some((methods, refused))
    }

    fn rewrite_in_location(
        &mut self,
        locations: &[Location<'t>],
        location: &Location<'t>,
        line: &'t Directive,
        routes: &mut Vec<Route>,
        rewritten: &mut Option<String>,
    ) {
        let scope = &location.scope;
        let found = match self.rewritten(scope, line) {
            Ok(found) => found,
            Err(missing) => {
                self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                return;
            }
        };
        let everything =
            matches!(line.word(0), "^" | "^/" | "(.*)" | "^(.*)$" | "^/(.*)$" | "^.*$" | ".*");
        let (pattern, body) = match found {
            Rewritten::Path { simple: Some(prefix), again: false, .. } => {
                self.ledger.exact(line.id, &format!("strip-prefix \"{prefix}\""));
                *rewritten = Some(format!("strip:{prefix}"));
                return;
            }
            Rewritten::Path { template, again: false, pattern, .. } => {
                if everything && !template.contains("{c") {
                    self.ledger.exact(line.id, &format!("rewrite \"{template}\""));
                    *rewritten = Some(template);
                    return;
                }
                let Some(pass) = scope.own().iter().find(|one| one.name == "proxy_pass") else {
                    self.ledger.refused(line.id, "write a route with `rewrite`");
                    return;
                };
                let Ok(mut body) = self.proxied(scope, &location.kind, pass, Some(&template))
                else {
                    return;
                };
                body.extend(self.settings(scope, true));
                self.ledger
                    .exact(line.id, &format!("route ~ \"{pattern}\" {{ rewrite \"{template}\" }}"));
                (pattern, body)
            }
            Rewritten::Path { template, pattern, simple, .. } => {
                let pass = scope.own().iter().any(|one| one.name == "proxy_pass");
                // Back to the same place, with less in front.
                if let (Some(prefix), true) = (simple, pass) {
                    self.ledger.near(
                        line.id,
                        &format!("strip-prefix \"{prefix}\""),
                        "no other location is chosen",
                    );
                    *rewritten = Some(format!("strip:{prefix}"));
                    return;
                }
                (
                    pattern,
                    self.rewritten_to(locations, line, &template)
                        .unwrap_or_else(|| vec![closed(501)]),
                )
            }
            Rewritten::Redirect { pattern, node } => (pattern, vec![node]),
        };
        if !self.words.has(Word::RegexRoute) {
            self.ledger.planned(line.id, "routes by regular expression");
            return;
        }
        let mut route = Route::new(Pattern::Regex { pattern, priority: 0 }, body);
        route.above = line.above.clone();
        route.from.push(line.id);
        routes.push(route);
    }

    /// An `if` of a location; gives the answer if it always holds.
    fn if_in_location(
        &mut self,
        context: &Context,
        location: &Location<'t>,
        line: &'t Directive,
        routes: &mut Vec<Route>,
    ) -> Option<Node> {
        let inner = location.scope.within(line.children());
        match self.condition(context, line) {
            Condition::True => {
                self.ledger.exact(line.id, "");
                self.answer_of_if(&inner, line)?.pop()
            }
            Condition::False => {
                self.judge_whole(line, "(for another site)");
                None
            }
            Condition::Request(asked) => {
                let body = self.answer_of_if(&inner, line)?;
                let pattern = asked.path.clone().unwrap_or_default();
                let mut route = Route::new(Pattern::Regex { pattern, priority: 0 }, body);
                route.method = asked.method;
                route.conditions = asked.conditions;
                route.above = line.above.clone();
                self.ledger.exact(line.id, "route … { when … }");
                routes.push(route);
                None
            }
            Condition::File { path, missing } => {
                match self.maintenance(&path, missing, line) {
                    Some(node) => self.pending.push(node),
                    None if self.ledger.knows(line.id) => {}
                    None => self.refuse_if(line, "files are asked for by `files { try … }`"),
                }
                None
            }
            Condition::Unknown(missing) => {
                self.ledger.judge(line.id, missing.verdict, "", &missing.why);
                self.judge_inner(line, missing.verdict);
                let refuses = line
                    .children()
                    .iter()
                    .any(|one| one.name == "return" && one.word(0).starts_with('4'));
                refuses.then(|| {
                    let mut node = closed(503);
                    node.guards = true;
                    node
                })
            }
        }
    }

    /// What answers in a location.
    fn content(
        &mut self,
        locations: &[Location<'t>],
        location: &Location<'t>,
        rewritten: Option<&str>,
    ) -> Vec<Node> {
        let scope = &location.scope;
        let tried = scope.own().iter().any(|one| one.name == "try_files");
        let pass = scope.own().iter().find(|one| one.name.ends_with("_pass"));
        if let Some(pass) = pass.filter(|_| !tried) {
            return match pass.name.as_str() {
                "proxy_pass" => {
                    let proxied = self.proxied(scope, &location.kind, pass, rewritten);
                    self.or_closed(pass, proxied)
                }
                "grpc_pass" | "scgi_pass" => self.other_pass(scope, &location.kind, pass),
                _ => {
                    let note =
                        "FastCGI, uwsgi and memcached are planned: until then the requests get 501";
                    self.ledger.planned(pass.id, note);
                    vec![closed(501)]
                }
            };
        }
        for name in [
            "stub_status",
            "empty_gif",
            "dav_methods",
            "mp4",
            "flv",
            "random_index",
            "js_content",
            "content_by_lua_block",
            "content_by_lua_file",
            "perl",
            "api",
        ] {
            let Some(line) = scope.own().iter().find(|one| one.name == name) else { continue };
            let note = match name {
                "stub_status" | "api" => {
                    "`process { admin \"127.0.0.1:9900\" }` serves `/metrics`, not a path of a site (404 here)"
                }
                _ => "this module has no counterpart (404 here)",
            };
            self.ledger.refused(line.id, note);
            return vec![Node::new("respond").bare_property("status", 404)];
        }
        match self.files(scope, &location.kind, locations) {
            Ok(nodes) => match rewritten {
                Some(path) => [vec![super::proxy::path_node(path)], nodes].concat(),
                None => nodes,
            },
            Err(missing) => {
                let id = scope
                    .own()
                    .iter()
                    .find(|one| one.name == "try_files")
                    .map_or(location.directive.id, |one| one.id);
                self.ledger.judge(id, missing.verdict, "", &missing.why);
                vec![closed(501)]
            }
        }
    }

    fn or_closed(&mut self, pass: &Directive, proxied: Result<Vec<Node>, Missing>) -> Vec<Node> {
        proxied.unwrap_or_else(|missing| {
            self.ledger.judge(
                pass.id,
                missing.verdict,
                "",
                &format!("{}; until then the requests get 501", missing.why),
            );
            vec![closed(501)]
        })
    }

    /// `grpc_pass` and `scgi_pass` name a scheme or none.
    fn other_pass(&mut self, scope: &Scope<'t>, kind: &Kind, pass: &'t Directive) -> Vec<Node> {
        let proxied = self.proxied(scope, kind, pass, None);
        self.or_closed(pass, proxied)
    }
}
