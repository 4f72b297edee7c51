//! `bothways explain`: shows what would happen to a request, and which line decides.
//!
//! `rules` makes the decision, with the code that decides about real requests and a trace that
//! records every step; `proxy::OutgoingPreview` builds the head that would be sent. Nothing is sent and no
//! name is looked up. [`choices`] shows which of several upstreams and endpoints the request would
//! get.

mod caching;
mod choices;

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use config::{
    Action, Anonymous, Config, EditVerb, FieldEdit, Forward, Listener, Login, Mirror, Place, Route,
    RouteSettings, Stay, UpstreamId, UpstreamProtocol,
};
use message::{Known, Method, Request, Response, Scheme, Target};
use proxy::{HeadRefusal, IncomingPreview, OutgoingPreview};
use rules::{
    ClientFacts, EntryPoint, Explanation, Facts, Maps, Outcome, Query, REQUEST_ID_PLACEHOLDER,
    Rules, Step, StepOutcome, TlsFacts,
};
use serde_json::{Value, json};

use crate::cli::Explain;
use crate::exit::Failure;
use crate::load::Source;
use crate::terminal::{self, Paint};

/// Explains a request.
pub(crate) fn explain(options: &Explain) -> Result<(), Failure> {
    let mut request = read_request(options, Scheme::Http)?;
    let loaded = Source::find(options.config.as_deref())?.load()?;
    let rules = Rules::compile(Arc::new(loaded.for_output().clone()));
    if !options.url.contains("://") && speaks_tls(rules.config(), request.target.port()) {
        request = read_request(options, Scheme::Https)?;
    }
    let through = through(&rules, options, &request)?;
    let incoming =
        IncomingPreview { listener: listener_of(rules.config(), through)?, peer: options.from };
    let read = read_as_received(options, &incoming, through, &mut request)?;
    let client = *read.as_ref().unwrap_or(&options.from);
    if !request.id.is_known() {
        request.id.take(REQUEST_ID_PLACEHOLDER);
    }
    let assumes_address = matches!(through, EntryPoint::Forward(_))
        && request.target.ip().is_none()
        && options.address.is_empty();
    let certificate = options.client.as_deref().map(rules::assumed_certificate);
    let tls = rules::assumed_tls(&rules, through, &request.target, certificate.as_ref());
    if certificate.is_some() && tls.is_none() {
        return Err(Failure::usage("a client certificate needs TLS, and this URL is cleartext")
            .hint("use an https:// URL, or omit --client"));
    }
    let mut explanation = rules::explain(
        &rules,
        &Query {
            request: &request,
            from: client,
            entry: through,
            addresses: &options.address,
            classify: &proxy::rule_address,
            tls,
        },
    );
    if let Err(HeadRefusal { status, reason }) = read {
        explanation = without_steps(Outcome::Refused { status, reason: reason.into() });
    } else if let Some(status) = incoming.last_hop(&request) {
        let outcome = Outcome::Respond { status };
        explanation = Explanation { outcome, decided_by: Place::default(), ..explanation };
    }
    let mut report = ExplainReport {
        config: rules.config(),
        maps: rules.maps(),
        request: &request,
        incoming,
        from: client,
        user: options.user.as_deref(),
        through,
        tls,
        response: caching::read_response(options)?,
        explanation,
        assumes_address,
    };
    report.set_host();
    let text = if options.json {
        format!("{}\n", report.json())
    } else {
        report.text(Paint::new(terminal::stdout_is_coloured()))
    };
    Ok(terminal::to_stdout(&text)?)
}

/// The explanation of an outcome that no line of the configuration decides.
fn without_steps(outcome: Outcome) -> Explanation {
    let (steps, decided_by) = (Vec::new(), Place::default());
    Explanation { steps, outcome, decided_by, site: None, route: None }
}

/// Parses the request of the command line; `scheme` is the default for a URL without a scheme.
fn read_request(options: &Explain, scheme: Scheme) -> Result<Request, Failure> {
    // Browsers do not send the part after `#`.
    let written = options.url.split('#').next().unwrap_or_default();
    let names_port = |text: &str| {
        let port = text.rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_authority = !written.contains("://") && !written.contains('/') && names_port(written);
    let method = match &options.method {
        Some(method) => method.to_ascii_uppercase(),
        None if is_authority => "CONNECT".to_owned(),
        None => "GET".to_owned(),
    };
    let method = Method::parse(method.as_bytes())
        .map_err(|_| Failure::usage(format!("`{method}` is not a method")))?;
    let is_tunnel = method == Method::Connect;
    let url = match written {
        url if is_tunnel || url.contains("://") => url.to_owned(),
        bare => format!("{}://{bare}", scheme.as_str()),
    };
    let mut target = Target::default();
    target.parse(&method, url.as_bytes(), None, Scheme::Http).map_err(|error| {
        let failure = Failure::usage(format!("`{url}`: {error}"));
        if is_tunnel { failure.hint("CONNECT takes host:port") } else { failure }
    })?;
    Ok(Request { method, target, ..Request::default() })
}

fn listener_of(config: &Config, through: EntryPoint) -> Result<&Listener, Failure> {
    let id = match through {
        EntryPoint::Listener(id) => Some(id),
        EntryPoint::Forward(id) => config.forward(id).map(|forward| forward.listener),
    };
    let listener = id.and_then(|id| config.listener(id));
    listener.ok_or_else(|| Failure::usage("no such listener"))
}

/// Parses the request again, with its fields, as the listener would receive it. Returns the address of
/// the client, or why the request would be refused.
fn read_as_received(
    options: &Explain,
    incoming: &IncomingPreview<'_>,
    through: EntryPoint,
    request: &mut Request,
) -> Result<Result<IpAddr, HeadRefusal>, Failure> {
    let Request { method, target, .. } = &*request;
    let uri = match (method, through) {
        (Method::Connect, _) => target.authority().to_owned(),
        (_, EntryPoint::Forward(_)) if target.path() == "*" => target.to_string(),
        (_, through) => {
            let start = match through {
                EntryPoint::Forward(_) => {
                    format!("{}://{}", target.scheme().as_str(), target.written_authority())
                }
                EntryPoint::Listener(_) => String::new(),
            };
            start + &String::from_utf8_lossy(target.as_it_came())
        }
    };
    let mut host = target.written_authority();
    let mut fields = String::new();
    for field in &options.field {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Failure::usage(format!("`{field}` is not a field")).hint("write -H 'Name: value'")
        })?;
        if name.eq_ignore_ascii_case("host") {
            host = value.trim();
        } else {
            let _ = write!(fields, "{name}: {}\r\n", value.trim());
        }
    }
    let head = format!("{} {uri} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n", method.as_str());
    let mut read = Request::default();
    let client = incoming.read(head.as_bytes(), &mut read);
    if client.is_ok() {
        *request = read;
    }
    Ok(client)
}

/// Whether all listeners on a port use TLS, so that a URL without a scheme means https://.
fn speaks_tls(config: &Config, port: u16) -> bool {
    let there = || config.listeners.iter().filter(|listener| listener.address.port() == port);
    there().next().is_some() && there().all(|listener| listener.tls)
}

fn through(rules: &Rules, options: &Explain, request: &Request) -> Result<EntryPoint, Failure> {
    let config = rules.config();
    if let Some(written) = &options.forward {
        return rules::forward_named(config, written).map(EntryPoint::Forward).ok_or_else(|| {
            let known: Vec<_> =
                config.forwards.iter().map(|forward| format!("`{}`", forward.written)).collect();
            let failure = Failure::usage(format!("no such listener: `forward \"{written}\"`"));
            match known.is_empty() {
                true => failure,
                false => failure.hint(format!("known: {}", known.join(", "))),
            }
        });
    }
    if request.method == Method::Connect
        && let [only] = config.forwards.as_slice()
    {
        // A CONNECT can only be for the forward proxy.
        return Ok(rules::forward_named(config, &only.written)
            .map_or(EntryPoint::Listener(only.listener), EntryPoint::Forward));
    }
    rules::listener_for(rules, &request.target).map(EntryPoint::Listener).ok_or_else(|| {
        let (scheme, other) = match request.target.scheme() {
            Scheme::Http => ("in cleartext", "https"),
            Scheme::Https => ("over TLS", "http"),
        };
        let failure = Failure::usage(format!(
            "no listener serves `{}` on port {} {scheme}",
            request.target.host(),
            request.target.port()
        ));
        let is_there = |listener: &Listener| listener.address.port() == request.target.port();
        if config.listeners.iter().any(is_there) {
            return failure.hint(format!("there is a listener for {other}://"));
        }
        let forward = config.forwards.first().map(|forward| &forward.written);
        match forward {
            Some(written) => {
                failure.hint(format!("for the forward proxy, add --forward {written}"))
            }
            None => failure,
        }
    })
}

struct ExplainReport<'a> {
    config: &'a Config,
    maps: &'a Maps,
    request: &'a Request,
    incoming: IncomingPreview<'a>,
    /// The client's address, possibly from a trusted proxy.
    from: IpAddr,
    /// The user who has logged in, if the command line names one.
    user: Option<&'a str>,
    through: EntryPoint,
    /// The assumed TLS facts of the client's connection.
    tls: Option<TlsFacts<'a>>,
    /// The response that the command line describes, if it does.
    response: Option<Response>,
    explanation: Explanation,
    /// Whether the explanation assumes a public address, because names are not looked up.
    assumes_address: bool,
}

impl ExplainReport<'_> {
    fn request(&self) -> String {
        let Request { method, target, .. } = self.request;
        match method {
            Method::Connect => format!("CONNECT {}:{}", target.host(), target.port()),
            _ => format!(
                "{} {}://{}{}",
                method.as_str(),
                target.scheme().as_str(),
                target.authority(),
                String::from_utf8_lossy(target.as_it_came())
            ),
        }
    }

    fn listener(&self) -> String {
        match self.through {
            EntryPoint::Listener(id) => {
                let listener = self.config.listener(id);
                listener.map_or_else(String::new, |listener| listener.written.to_string())
            }
            EntryPoint::Forward(id) => {
                let forward = self.config.forward(id);
                forward.map_or_else(String::new, |forward| format!("forward {}", forward.written))
            }
        }
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = format!(
            "{}\n  from {}{}, to {}\n\n",
            paint.bold(&self.request()),
            self.incoming.peer,
            match self.from == self.incoming.peer.to_canonical() {
                true => String::new(),
                false => format!(" for {}", self.from),
            },
            self.listener()
        );
        let steps = &self.explanation.steps;
        let places: Vec<_> = steps.iter().map(|step| self.config.locate(step.place)).collect();
        let place_width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
        for (step, place) in steps.iter().zip(&places) {
            let place = paint.dim(&format!("{place:place_width$}"));
            let _ = writeln!(text, "  {place}  {}", step_words(step, paint));
        }
        if !steps.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "=> {}", paint.bold(&self.explanation.outcome.describe()));
        if self.explanation.decided_by.line > 0 {
            let _ =
                writeln!(text, "   decided by {}", self.config.locate(self.explanation.decided_by));
        }
        if let Some(login) = self.login() {
            let status = if self.forward().is_some() { 407 } else { 401 };
            let who = self
                .user
                .map_or("a user who has logged in".to_owned(), |user| format!("the user {user}"));
            let place = self.config.locate(login.place);
            let _ = writeln!(text, "   for {who}; others get {status}, by {place}");
        }
        if self.assumes_address {
            text.push_str(
                "   (names are not looked up: a public address is assumed; --address sets another)\n",
            );
        }
        self.upstream_text(&mut text, paint);
        self.caching_text(&mut text, paint);
        text
    }

    /// The request head that would be sent, with the lines that change it.
    fn upstream_text(&self, text: &mut String, paint: Paint) {
        let (host, path) = match &self.explanation.outcome {
            Outcome::Proxied { host, path, .. } | Outcome::Split { host, path, .. } => (host, path),
            Outcome::Forwarded { authority, path } => (authority, path),
            _ => return,
        };
        let head = self.head(host, path);
        text.push_str("\nsent upstream:\n");
        let edits = self.settings().map_or(&[][..], |settings| &settings.request_fields);
        let of = |name: &str| {
            let named = edits.iter().rev().find(|edit| edit.name.eq_ignore_ascii_case(name));
            named.filter(|edit| edit.verb != EditVerb::Remove)
        };
        for (index, line) in head.iter().enumerate() {
            let name = self.field_name(line).filter(|_| index > 0).unwrap_or_default();
            let _ = match of(&name) {
                Some(edit) => {
                    let at = paint.dim(&format!("<- {}", self.config.locate(edit.place)));
                    writeln!(text, "  {line}  {at}")
                }
                None => writeln!(text, "  {line}"),
            };
        }
        for edit in edits.iter().filter(|edit| edit.verb == EditVerb::Remove) {
            let is_edited = |name: String| name.eq_ignore_ascii_case(&edit.name);
            if !head.iter().any(|line| self.field_name(line).is_some_and(is_edited)) {
                let at = paint.dim(&format!("<- {}", self.config.locate(edit.place)));
                let _ = writeln!(text, "  (without {})  {at}", edit.name);
            }
        }
        self.split_text(text, paint);
        self.choices_text(text, paint);
        for mirror in self.mirrors() {
            let at = paint.dim(&format!("<- {}", self.config.locate(mirror.place)));
            let share = f64::from(mirror.share) / 100.0;
            let to = self.upstream_name(mirror.upstream);
            let _ = writeln!(text, "copied: {share}% to {to}  {at}");
        }
        if let Some((forward, anonymous)) = self.anonymous() {
            let at = paint.dim(&format!("<- {}", self.config.locate(forward.place)));
            let removed = anonymous.remove.iter().map(|name| format!(", {name}"));
            let removed: String = removed.collect();
            let _ = writeln!(text, "  (without Via, forwarding fields{removed})  {at}");
        }
    }

    /// The mirrors of the request.
    fn mirrors(&self) -> &[Mirror] {
        let goes_up =
            matches!(self.explanation.outcome, Outcome::Proxied { .. } | Outcome::Split { .. });
        let settings = self.settings().filter(|_| goes_up);
        settings.map_or(&[], |settings| &settings.mirrors)
    }

    fn upstream_name(&self, id: UpstreamId) -> &str {
        self.config.upstream(id).map_or("", |upstream| &upstream.name)
    }

    fn forward(&self) -> Option<&Forward> {
        match self.through {
            EntryPoint::Forward(id) => self.config.forward(id),
            EntryPoint::Listener(_) => None,
        }
    }

    fn anonymous(&self) -> Option<(&Forward, &Anonymous)> {
        self.forward().and_then(|forward| Some((forward, forward.anonymous.as_ref()?)))
    }

    /// The lines of the head that would be sent.
    fn head(&self, host: &str, path: &str) -> Vec<String> {
        let Some(settings) = self.settings() else { return Vec::new() };
        let outgoing = OutgoingPreview {
            forward: self.forward(),
            settings,
            route: self.route(),
            client: self.client(),
            maps: self.maps,
            target: path.as_bytes(),
            host,
            protocol: self.protocol(),
        };
        let mut request = self.request.clone();
        // Credentials that are for us go no further.
        if self.forward().is_none() && self.login().is_some_and(|login| !login.pass) {
            request.fields.remove(Known::Authorization);
        }
        let head = outgoing.head(&self.incoming, &mut request);
        let head = String::from_utf8_lossy(&head);
        head.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// What the endpoints speak; of a split the first part's.
    fn protocol(&self) -> UpstreamProtocol {
        let id = match self.route().map(|route| &route.action) {
            Some(Action::To(id)) => Some(*id),
            Some(Action::Files(files)) => files.otherwise,
            Some(Action::Split(split)) => split.parts.first().map(|part| part.upstream),
            _ => None,
        };
        let upstream = id.and_then(|id| self.config.upstream(id));
        upstream.map_or(UpstreamProtocol::Auto, |upstream| upstream.protocol)
    }

    /// The name of the field in a line of the head.
    fn field_name(&self, line: &str) -> Option<String> {
        if self.protocol() != UpstreamProtocol::Scgi {
            return line.split(':').next().map(str::to_owned);
        }
        let name = line.split('=').next()?.strip_prefix("HTTP_")?;
        Some(name.replace('_', "-"))
    }

    /// The lines of the head, if the request would be sent to a server.
    fn head_sent(&self) -> Option<Vec<String>> {
        match &self.explanation.outcome {
            Outcome::Proxied { host, path, .. } | Outcome::Split { host, path, .. } => {
                Some(self.head(host, path))
            }
            Outcome::Forwarded { authority, path } => Some(self.head(authority, path)),
            _ => None,
        }
    }

    /// What templates learn of the client.
    fn client(&self) -> ClientFacts<'_> {
        let listener_port = self.incoming.listener.address.port();
        let address = self.from.to_canonical();
        let user = self.user.filter(|_| self.login().is_some());
        ClientFacts { address, port: None, listener_port, user, tls: self.tls }
    }

    /// The login that is asked for.
    fn login(&self) -> Option<&Login> {
        let site = || self.config.site(self.explanation.site?).map(|site| &site.base);
        self.config.login(self.settings().or_else(site)?.login?)
    }

    fn settings(&self) -> Option<&RouteSettings> {
        if let Some(forward) = self.forward() {
            return Some(&forward.settings);
        }
        self.route().map(|route| &route.settings)
    }

    fn route(&self) -> Option<&Route> {
        let site = self.config.site(self.explanation.site?)?;
        site.route(self.explanation.route?)
    }

    /// The edits of request fields, with their values.
    fn edits(&self) -> Vec<(&FieldEdit, String)> {
        let facts = Facts::of(self.client(), self.request, self.route(), self.maps);
        let edits = self.settings().map_or(&[][..], |settings| &settings.request_fields);
        let filled_in = edits.iter().map(|edit| {
            let mut value = Vec::new();
            rules::expand(&edit.value, &facts, &mut value);
            (edit, String::from_utf8_lossy(&value).into_owned())
        });
        filled_in.collect()
    }

    fn json(&self) -> Value {
        let place = |place: Place| match place.line {
            0 => Value::Null,
            _ => json!(self.config.locate(place)),
        };
        let steps = self.explanation.steps.iter().map(|step| {
            let (outcome, why) = match &step.outcome {
                StepOutcome::Decided => ("decided", None),
                StepOutcome::LessSpecific(other) => ("less-specific", Some(other)),
                StepOutcome::Differs(why) => ("differs", Some(why)),
                StepOutcome::Open(what) => ("open", Some(what)),
            };
            json!({ "place": place(step.place), "text": step.text, "outcome": outcome, "why": why })
        });
        let steps: Vec<_> = steps.collect();
        let edits = self.edits().into_iter().map(|(edit, value)| {
            let verb = match edit.verb {
                EditVerb::Set => "set",
                EditVerb::Add => "add",
                EditVerb::Remove => "remove",
            };
            json!({ "verb": verb, "name": edit.name, "value": value, "place": place(edit.place) })
        });
        let edits: Vec<_> = edits.collect();
        let mirrors = self.mirrors().iter().map(|mirror| {
            let share = f64::from(mirror.share) / 100.0;
            json!({ "upstream": self.upstream_name(mirror.upstream), "share": share, "place": place(mirror.place) })
        });
        let mirrors: Vec<_> = mirrors.collect();
        let head = self.head_sent();
        let identity = head.as_ref().map(|head| {
            let is_identity = |line: &&String| {
                let name = self.field_name(line).unwrap_or_default();
                let known = Known::of(name.as_bytes());
                known == Known::Via || message::tells_of_client(known, name.as_bytes())
            };
            head.iter().skip(1).filter(is_identity).collect::<Vec<_>>()
        });
        json!({
            "request": self.request(),
            "login": self.login().map(|login| place(login.place)),
            "from": self.incoming.peer.to_string(),
            "client": self.from.to_string(),
            "listener": self.listener(),
            "steps": steps,
            "decided_by": place(self.explanation.decided_by),
            "outcome": outcome_json(&self.explanation.outcome),
            "request_fields": edits,
            "split": self.split_json(),
            "endpoints": self.choices_json(),
            "mirrors": mirrors,
            "cache": self.caching_json(),
            "head": head,
            "identity_fields": identity,
        })
    }
}

/// `yes  route "/api/*"`, `no   route "/old/*": …`
fn step_words(step: &Step, paint: Paint) -> String {
    let text = &step.text;
    match &step.outcome {
        StepOutcome::Decided => format!("{}  {text}", paint.green("yes")),
        StepOutcome::LessSpecific(other) => {
            paint.dim(&format!("no   {text}: matches, but {other} is more specific"))
        }
        StepOutcome::Differs(why) => paint.dim(&format!("no   {text}: {why}")),
        StepOutcome::Open(what) => format!("{}    {text}: {what}", paint.yellow("?")),
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let mut object = match outcome {
        Outcome::Proxied { upstream, endpoints, host, path } => {
            let endpoints: Vec<&str> = endpoints.iter().map(|endpoint| &**endpoint).collect();
            json!({ "kind": "proxied", "upstream": &**upstream, "endpoints": endpoints, "host": host, "path": path })
        }
        Outcome::Split { parts, stay, host, path } => {
            let parts = parts.iter().map(|part| {
                let endpoints: Vec<&str> =
                    part.endpoints.iter().map(|endpoint| &**endpoint).collect();
                let share = f64::from(part.share) / 100.0;
                json!({ "upstream": &*part.upstream, "endpoints": endpoints, "share": share })
            });
            let parts: Vec<_> = parts.collect();
            let (stay, cookie) = match stay {
                Stay::No => ("no", None),
                Stay::Address => ("address", None),
                Stay::Cookie(name) => ("cookie", Some(name)),
            };
            json!({ "kind": "split", "parts": parts, "stay": stay, "cookie": cookie, "host": host, "path": path })
        }
        Outcome::Passthrough { upstream, endpoints } => {
            let endpoints: Vec<&str> = endpoints.iter().map(|endpoint| &**endpoint).collect();
            json!({ "kind": "passthrough", "upstream": &**upstream, "endpoints": endpoints })
        }
        Outcome::Redirect { location, .. } => json!({ "kind": "redirect", "location": location }),
        Outcome::Respond { .. } => json!({ "kind": "respond" }),
        Outcome::Files { root, path, tries, otherwise } => {
            json!({ "kind": "files", "root": root.display().to_string(), "path": path, "tries": tries, "otherwise": otherwise.as_deref() })
        }
        Outcome::Forwarded { authority, path } => {
            json!({ "kind": "forwarded", "authority": authority, "path": path })
        }
        Outcome::Tunnel { host, port } => json!({ "kind": "tunnel", "host": host, "port": port }),
        Outcome::Denied { reason } => json!({ "kind": "denied", "reason": reason.as_str() }),
        Outcome::Refused { reason, .. } => json!({ "kind": "refused", "reason": reason }),
        Outcome::NotFound => json!({ "kind": "not-found" }),
        Outcome::MethodNotAllowed { allow } => {
            json!({ "kind": "method-not-allowed", "allow": allow })
        }
        Outcome::NoSite => json!({ "kind": "no-site" }),
    };
    if let (Some(status), Some(object)) = (outcome.status(), object.as_object_mut()) {
        object.insert("status".to_owned(), status.into());
    }
    object
}
