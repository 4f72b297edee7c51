//! `proxy_cache` and what belongs to it.
//!
//! What decides which request gets which response (the key, `proxy_cache_bypass`, `proxy_no_cache`) is written as
//! a whole or not at all: where a part of it has no counterpart, nothing is cached there.

use std::collections::BTreeSet;

use crate::kdl::Node;
use crate::nginx::Directive;

use super::Mapper;
use super::proxy::commented;
use super::scope::Scope;
use super::units::{bytes, size, time};
use super::variables::{Part, escape_regex, field_name, parts, regex};

/// How long nginx keeps what nobody asks for, unless `inactive=` says otherwise.
const INACTIVE: &str = "10min";

/// The memory that is written for zones that are larger, or have no limit.
const MEMORY_MAX: u64 = 512 << 20;

/// The statuses of a `proxy_cache_valid` without any.
const VALID_DEFAULT: [&str; 3] = ["200", "301", "302"];

/// Why nothing is cached: the line that cannot be written, and what it lacks.
struct Obstacle<'t> {
    line: &'t Directive,
    why: String,
}

impl<'t> Mapper<'t> {
    /// `process { cache … }` from the zones, if any of them is used.
    pub(crate) fn cache_store(&mut self) -> Option<Node> {
        fn uses(block: &[Directive]) -> bool {
            let is_use = |one: &Directive| one.name == "proxy_cache" && one.word(0) != "off";
            block.iter().any(|one| is_use(one) || uses(one.children()))
        }
        let http = self.http.clone();
        let zones: Vec<_> =
            http.own().iter().filter(|one| one.name == "proxy_cache_path").collect();
        if zones.is_empty() || !uses(http.own()) {
            return None;
        }
        let sizes: Vec<_> = zones.iter().map(|zone| bytes(zone.parameter("max_size")?)).collect();
        let note = "one store for all zones, in memory alone: give it what you can; what is used least makes room, without `inactive`";
        let sum = sizes.into_iter().flatten().fold(0, u64::saturating_add);
        // On disk they could have more.
        let memory = Some(sum).filter(|sum| *sum > 0).unwrap_or(MEMORY_MAX);
        let memory = memory.clamp(16 << 20, MEMORY_MAX);
        let mut node = Node::new("cache").property("memory", &size(memory));
        for zone in zones {
            node.from.push(zone.id);
            self.ledger.near(zone.id, &format!("process {{ {} }}", node.line()), note);
        }
        Some(node)
    }

    /// `cache` of what a `proxy_pass` brings.
    pub(crate) fn caching(&mut self, scope: &Scope<'t>, pass: &Directive) -> Option<Node> {
        let prefix = pass.name.split('_').next().unwrap_or("proxy");
        let line = scope.find(&format!("{prefix}_cache")).filter(|line| line.word(0) != "off")?;
        if scope.find(&format!("{prefix}_buffering")).is_some_and(|one| one.word(0) == "off") {
            self.ledger.exact(line.id, "(nginx caches nothing without buffering)");
            return None;
        }
        match self.cache_node(scope, prefix, line) {
            Ok(node) => {
                let note = "by RFC 9111: besides what nginx stores, a response with `Last-Modified` alone is fresh for a tenth of its age; one to a request with `Authorization` is stored only if it says so; `X-Accel-Expires` does not count";
                self.ledger.near(line.id, "cache", note);
                Some(commented(node, line))
            }
            Err(Obstacle { line: obstacle, why }) => {
                self.ledger.refused(obstacle.id, &why);
                let note = format!(
                    "where `{}` holds nothing is cached, as it cannot be written",
                    obstacle.line()
                );
                self.ledger.refused(line.id, &note);
                None
            }
        }
    }

    fn cache_node(
        &mut self,
        scope: &Scope<'t>,
        prefix: &str,
        line: &'t Directive,
    ) -> Result<Node, Obstacle<'t>> {
        let find = |name: &str| scope.find(&format!("{prefix}_{name}"));
        let key = find("cache_key").map(|line| self.cache_key(line)).transpose()?.flatten();
        let conditions = self.cache_conditions(scope, prefix)?;
        let mut node = Node::new("cache").from(line.id);
        let mut times = self.cache_times(scope.all(&format!("{prefix}_cache_valid")));
        if let Some(line) = find("ignore_headers") {
            node = self.ignored_fields(node, line, !times.is_empty());
        }
        if let Some(line) = find("cache_min_uses")
            .filter(|line| line.word(0).parse().is_ok_and(|uses| (2..=1000).contains(&uses)))
        {
            node = node.bare_property("min-uses", line.word(0));
            self.ledger.exact(line.id, "cache min-uses=");
        }
        if let Some(line) = find("cache_lock") {
            self.ledger.exact(line.id, "(always: `lock` of `cache`)");
        }
        if let Some(line) = find("cache_lock_timeout")
            && let Some(wait) = time(line.word(0))
        {
            if scope.is_on(&format!("{prefix}_cache_lock"), false) {
                node = node.property("lock", &wait);
            }
            self.ledger.exact(line.id, "cache lock=");
        }
        self.remarks(scope, prefix);
        node.children.append(&mut times);
        node.children.extend(self.stale(scope, prefix, line));
        node.children.extend(key);
        node.children.extend(conditions);
        Ok(node)
    }

    /// Lines that need nothing here, or have no counterpart that matters.
    fn remarks(&mut self, scope: &Scope<'t>, prefix: &str) {
        let find = |name: &str| scope.find(&format!("{prefix}_{name}"));
        if let Some(line) = find("cache_methods") {
            match line.texts().all(|method| matches!(method, "GET" | "HEAD")) {
                true => self.ledger.exact(line.id, "(GET and HEAD)"),
                false => self.ledger.near(
                    line.id,
                    "(GET and HEAD)",
                    "other requests always go to the endpoint: their bodies are not part of the key",
                ),
            }
        }
        for (name, ours) in [
            ("cache_revalidate", "(always)"),
            ("cache_background_update", "cache { stale while-revalidate= }"),
            ("cache_convert_head", "(HEAD is answered from what a GET has brought)"),
            ("cache_max_range_offset", "(a range is answered from slices)"),
        ] {
            if let Some(line) = find(name) {
                self.ledger.exact(line.id, ours);
            }
        }
        if let Some(line) = find("cache_lock_age") {
            let note = "a fill that takes too long is left to its own time-outs; `lock` says how long others wait for it";
            self.ledger.near(line.id, "cache lock=", note);
        }
        if let Some(line) = scope.find("slice") {
            self.ledger.near(line.id, "(always)", "large responses are stored in slices");
        }
    }

    /// `ttl` from `proxy_cache_valid`; nginx takes the first line that fits.
    fn cache_times(&mut self, lines: Vec<&'t Directive>) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut known = BTreeSet::new();
        for line in lines {
            let Some((last, codes)) = line.words.split_last() else { continue };
            let Some(ttl) = time(&last.text) else {
                self.ledger.refused(line.id, "this is not a time");
                continue;
            };
            let codes: Vec<&str> = match codes {
                [] => VALID_DEFAULT.to_vec(),
                codes => codes.iter().map(|code| code.text.as_str()).collect(),
            };
            let mut notes = Vec::new();
            let mut statuses = Vec::new();
            for code in codes {
                match code {
                    "any" => statuses.extend(["2xx", "3xx", "4xx", "5xx"].map(str::to_owned)),
                    "206" => notes.push("a 206 has the time of 200"),
                    code if code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)) => {
                        statuses.push(code.to_owned());
                    }
                    _ => notes.push("only statuses of final responses are stored"),
                }
            }
            if known.contains("2xx") && statuses.iter().any(|status| !status.ends_with("xx")) {
                notes.push("a single status counts before `any`, wherever it stands");
            }
            if ttl == "0s" {
                notes.push("`0s`: it is stored, and asked for again each time");
            }
            statuses.retain(|status| known.insert(status.clone()));
            if statuses.is_empty() {
                self.ledger.exact(line.id, "(without effect here)");
                continue;
            }
            let node =
                Node::new("ttl").text(&ttl).property("status", &statuses.join(",")).from(line.id);
            let ours = format!("cache {{ {} }}", node.line());
            match notes.is_empty() {
                true => self.ledger.exact(line.id, &ours),
                false => self.ledger.near(line.id, &ours, &notes.join("; ")),
            }
            nodes.push(commented(node, line));
        }
        nodes
    }

    /// What the endpoint says and nginx does not heed.
    fn ignored_fields(&mut self, mut node: Node, line: &'t Directive, has_times: bool) -> Node {
        let has = |name: &str| line.texts().any(|text| text.eq_ignore_ascii_case(name));
        let mut notes = Vec::new();
        match (has("Cache-Control") || has("Expires"), has_times) {
            (true, true) => {
                node = node.bare_property("override", "#true");
                if !(has("Cache-Control") && has("Expires")) {
                    notes.push("`override` is for `Cache-Control` and `Expires` alike");
                }
            }
            (true, false) => notes.push("without times of its own, what the endpoint says counts"),
            (false, _) => {}
        }
        if has("Set-Cookie") {
            node = node.bare_property("set-cookie", "store");
        }
        if has("Vary") {
            notes.push("`Vary` always counts: without it, clients would get what is not for them");
        }
        let ours = match node.values.is_empty() {
            true => "(`X-Accel-…` has no effect)".to_owned(),
            false => node.line(),
        };
        match notes.is_empty() {
            true => self.ledger.exact(line.id, &ours),
            false => self.ledger.near(line.id, &ours, &notes.join("; ")),
        }
        node
    }

    /// `stale` from `proxy_cache_use_stale`.
    fn stale(&mut self, scope: &Scope<'t>, prefix: &str, cache: &Directive) -> Option<Node> {
        let line = scope.find(&format!("{prefix}_cache_use_stale"))?;
        if line.has("off") {
            self.ledger.exact(line.id, "");
            return None;
        }
        let zone = format!("{}:", cache.word(0));
        let path = self
            .http
            .every("proxy_cache_path")
            .find(|path| path.parameter("keys_zone").is_some_and(|name| name.starts_with(&zone)));
        let inactive = path.and_then(|path| time(path.parameter("inactive")?));
        let inactive = inactive.unwrap_or_else(|| INACTIVE.to_owned());
        let mut notes = vec!["for as long as nginx keeps what nobody asks for (`inactive`)"];
        let mut node = Node::new("stale").from(line.id);
        if line.has("updating") {
            node = node.property("while-revalidate", &inactive);
        }
        let on_error = |word: &str| {
            matches!(
                word,
                "error"
                    | "timeout"
                    | "invalid_header"
                    | "http_500"
                    | "http_502"
                    | "http_503"
                    | "http_504"
            )
        };
        if line.texts().any(on_error) {
            node = node.property("on-error", &inactive);
        }
        if line.texts().any(|word| word != "updating" && !on_error(word)) {
            notes.push("only if there is no response, and for 500, 502, 503 and 504");
        }
        if node.values.is_empty() {
            self.ledger.refused(line.id, "a stale response is sent while a new one is fetched, and in place of 500, 502, 503 and 504");
            return None;
        }
        self.ledger.near(line.id, &format!("cache {{ {} }}", node.line()), &notes.join("; "));
        Some(commented(node, line))
    }

    /// `key` from `proxy_cache_key`; none if it is the usual one.
    fn cache_key(&mut self, line: &'t Directive) -> Result<Option<Node>, Obstacle<'t>> {
        let text = line.texts().collect::<String>();
        let (mut host, mut path, mut query) = (false, false, false);
        let (mut fields, mut cookies, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts(&text) {
            let Part::Variable(name) = part else { continue };
            match name {
                "host" | "http_host" | "proxy_host" | "server_name" => host = true,
                "request_uri" => (path, query) = (true, true),
                "uri" | "document_uri" => path = true,
                "args" | "query_string" => query = true,
                "scheme" | "server_port" | "is_args" | "request_method" | "slice_range"
                | "proxy_port" => {}
                name => {
                    let found = [
                        ("http_", &mut fields),
                        ("cookie_", &mut cookies),
                        ("arg_", &mut parameters),
                    ]
                    .into_iter()
                    .find_map(|(prefix, names)| Some((name.strip_prefix(prefix)?, names)));
                    match found {
                        Some((name, names)) if !name.is_empty() => names.push(name),
                        _ => {
                            let why = format!(
                                "`${name}` cannot be a part of the key: name fields or cookies of the request"
                            );
                            return Err(Obstacle { line, why });
                        }
                    }
                }
            }
        }
        if !path {
            let why = "the path is always a part of the key".to_owned();
            return Err(Obstacle { line, why });
        }
        let mut node = Node::new("key").from(line.id);
        match (query, parameters.is_empty()) {
            (true, _) => {}
            (false, true) => node.children.push(Node::new("query").bare("none")),
            (false, false) => {
                node.children.push(Node::new("query").property("keep", &parameters.join(",")));
            }
        }
        node.children.extend(fields.iter().map(|name| Node::new("field").text(&field_name(name))));
        node.children.extend(cookies.iter().map(|name| Node::new("cookie").text(name)));
        let ours =
            if node.children.is_empty() { "(the usual key)" } else { "cache { key { … } }" };
        match host {
            true => self.ledger.exact(line.id, ours),
            false => self.ledger.near(line.id, ours, "scheme and host are always parts of the key"),
        }
        Ok((!node.children.is_empty()).then(|| commented(node, line)))
    }

    /// `bypass` and `pass` from `proxy_cache_bypass` and `proxy_no_cache`.
    fn cache_conditions(
        &mut self,
        scope: &Scope<'t>,
        prefix: &str,
    ) -> Result<Vec<Node>, Obstacle<'t>> {
        let bypass = scope.all(&format!("{prefix}_cache_bypass"));
        let pass = scope.all(&format!("{prefix}_no_cache"));
        let of = |lines: &[&Directive]| -> BTreeSet<String> {
            lines.iter().flat_map(|line| line.texts().map(str::to_owned)).collect()
        };
        let (asked_around, unstored) = (of(&bypass), of(&pass));
        let mut nodes = Vec::new();
        for line in &pass {
            let mut note = "";
            for text in line.texts() {
                nodes.extend(self.condition_of("pass", scope, line, text)?);
                if !asked_around.contains(text) {
                    note = "such requests are not answered from the store either";
                }
            }
            match note {
                "" => self.ledger.exact(line.id, "cache { pass … }"),
                note => self.ledger.near(line.id, "cache { pass … }", note),
            }
        }
        for line in &bypass {
            for text in line.texts().filter(|text| !unstored.contains(*text)) {
                nodes.extend(self.condition_of("bypass", scope, line, text)?);
            }
            let is_pass = line.texts().all(|text| unstored.contains(text));
            let ours = if is_pass { "cache { pass … }" } else { "cache { bypass … }" };
            self.ledger.exact(line.id, ours);
        }
        Ok(nodes)
    }

    /// The lines for a text that must be neither empty nor `0`.
    fn condition_of(
        &mut self,
        name: &str,
        scope: &Scope<'t>,
        line: &'t Directive,
        text: &str,
    ) -> Result<Vec<Node>, Obstacle<'t>> {
        let obstacle = |why: String| Obstacle { line, why };
        let found = parts(text);
        let [Part::Variable(variable)] = found.as_slice() else {
            return Err(obstacle(format!(
                "`{text}`: one variable is compared, such as `$cookie_session`"
            )));
        };
        if let Some(source) = source_of(variable) {
            return Ok(vec![source.line(name).from(line.id)]);
        }
        let is_it = |map: &&'t Directive| map.word(1).strip_prefix('$') == Some(*variable);
        if let Some(map) = self.maps.iter().copied().find(is_it) {
            let nodes = conditions_of_map(name, map)
                .map_err(|why| obstacle(format!("`${variable}` is a `map` that {why}")))?;
            self.ledger.exact(map.id, &format!("cache {{ {name} … }}"));
            return Ok(nodes.into_iter().map(|node| node.from(line.id)).collect());
        }
        let sets = scope.every("if").flat_map(|one| one.children()).chain(scope.every("set"));
        let is_set = |one: &&Directive| {
            one.name == "set" && one.word(0).strip_prefix('$') == Some(*variable)
        };
        let values: Vec<_> = sets.filter(is_set).collect();
        // What is never switched on needs no line.
        if !values.is_empty() && values.iter().all(|set| is_false(set.word(1))) {
            values.iter().for_each(|set| self.ledger.exact(set.id, "(its value changes nothing)"));
            return Ok(Vec::new());
        }
        Err(obstacle(format!(
            "`${variable}`: a field or a cookie of the request decides here, by its presence or its value: write `{name} cookie=…` yourself"
        )))
    }
}

/// What a condition is about.
enum Source<'a> {
    Field(&'a str),
    Cookie(&'a str),
}

impl Source<'_> {
    fn line(&self, name: &str) -> Node {
        match self {
            Self::Field(field) => Node::new(name).property("field", &field_name(field)),
            Self::Cookie(cookie) => Node::new(name).property("cookie", cookie),
        }
    }
}

fn source_of(variable: &str) -> Option<Source<'_>> {
    let some = |name: &'_ str| !name.is_empty();
    match variable.strip_prefix("http_").filter(|name| some(name)) {
        Some(field) => Some(Source::Field(field)),
        None => variable.strip_prefix("cookie_").filter(|name| some(name)).map(Source::Cookie),
    }
}

fn is_false(value: &str) -> bool {
    matches!(value, "" | "0")
}

/// A map of a field or a cookie to something that is true or false, as conditions; else what it does.
fn conditions_of_map(name: &str, map: &Directive) -> Result<Vec<Node>, String> {
    let source = map.word(0).strip_prefix('$').and_then(source_of);
    let source = source.ok_or("is not about a field or a cookie of the request")?;
    let (mut trues, mut falses, mut default) = (Vec::new(), Vec::new(), false);
    for entry in map.children() {
        match (entry.name.as_str(), is_false(entry.word(0))) {
            ("default", is_false) => default = !is_false,
            ("hostnames" | "include" | "volatile", _) => {
                return Err("is more than a list of values".into());
            }
            (key, true) => falses.push(key),
            (key, false) => trues.push(key),
        }
    }
    match (default, falses.as_slice(), trues.as_slice()) {
        // Whatever it is, if it is there.
        (true, [""], []) => Ok(vec![source.line(name)]),
        (false, [], trues) if !trues.contains(&"") => trues
            .iter()
            .map(|key| {
                let pattern = match key.strip_prefix('~') {
                    Some(pattern) => {
                        let (pattern, fold) = pattern
                            .strip_prefix('*')
                            .map_or((pattern, false), |pattern| (pattern, true));
                        regex(pattern, fold, false)
                            .map_err(|missing| format!("has `{key}`: {}", missing.why))?
                    }
                    None => {
                        format!("(?i)^{}$", escape_regex(key.strip_prefix('\\').unwrap_or(key)))
                    }
                };
                Ok(source.line(name).property("matches", &pattern))
            })
            .collect(),
        _ => Err("says yes and no by more than a list of values".into()),
    }
}
