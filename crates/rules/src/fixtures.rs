//! Configurations written briefly, for tests and benchmarks.
#![allow(dead_code)]

use std::net::IpAddr;

use config::*;
use message::ClientCertificate;

/// `/a/{b}/*`, `/a/b*`, `/a/*.php`, `*.php`, or `~^/a` with a regular expression.
pub(crate) fn pattern(text: &str) -> Pattern {
    if let Some(regex) = text.strip_prefix('~') {
        return Pattern::regex(Regex::new(regex).unwrap());
    }
    let (body, end) = match text.rsplit_once('*') {
        Some((body, "")) if body.ends_with('/') => {
            (body.strip_suffix('/').unwrap(), PatternEnd::Prefix)
        }
        Some((body, "")) => {
            let (body, start) = body.rsplit_once('/').unwrap();
            (body, PatternEnd::Start(start.into()))
        }
        Some((body, suffix)) => {
            (body.strip_suffix('/').unwrap_or(body), PatternEnd::Suffix(suffix.into()))
        }
        None => (text, PatternEnd::Exact),
    };
    let body = body.strip_prefix('/').unwrap_or(body);
    let segment = |text: &str| match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        Some(name) => Segment::Capture(name.into()),
        None => Segment::Literal(text.into()),
    };
    let empty = body.is_empty() && (end != PatternEnd::Exact || text == "/");
    let segments = if empty { Vec::new() } else { body.split('/').map(segment).collect() };
    Pattern { written: text.into(), segments, end }
}

/// `GET,HEAD /a/* [5] | when field=X-A is=1 | unless from=10.0.0.0/8`, or only a pattern; `[5]` is the priority.
pub(crate) fn route(line: u32, text: &str) -> Route {
    let mut parts = text.split(" | ");
    let head = parts.next().unwrap();
    let (head, priority) = match head.split_once(" [") {
        Some((head, priority)) => (head, priority.trim_end_matches(']').parse().unwrap()),
        None => (head, 0),
    };
    let (methods, path) = head.rsplit_once(' ').unwrap_or(("", head));
    let methods = methods.split(',').filter(|m| !m.is_empty()).map(Into::into).collect();
    let action = Action::Respond {
        status: 200,
        text: Template::default(),
        content_type: "".into(),
        kind: TextKind::Plain,
        page: None,
    };
    Route {
        methods,
        priority,
        conditions: parts.map(|part| condition(line, part)).collect(),
        ..Route::new(at(line), pattern(path), action, RouteSettings::default())
    }
}

/// `when field=X-A is=1,2`, `unless method=PUT path=/a/*`
pub(crate) fn condition(line: u32, text: &str) -> Condition {
    let mut words = text.split(' ');
    let negated = words.next() == Some("unless");
    let words: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
    let list = |text: &str| -> Vec<Box<str>> { text.split(',').map(Into::into).collect() };
    let find = |name: &str| words.iter().find(|(word, _)| *word == name).map(|(_, value)| *value);
    let value = || match (find("is"), find("matches")) {
        (Some(values), _) => ValueTest::Is(list(values)),
        (_, Some(regex)) => ValueTest::Matches(Regex::new(regex).unwrap()),
        _ => ValueTest::Present,
    };
    let tests = words.iter().filter_map(|&(name, text)| match name {
        "field" => Some(Test::Field(text.into(), value())),
        "query" => Some(Test::Query(text.into(), value())),
        "cookie" => Some(Test::Cookie(text.into(), value())),
        "from" => Some(Test::From(text.split(',').map(|text| net(text).unwrap()).collect())),
        "method" => Some(Test::Method(list(text))),
        "path" => Some(Test::Path(pattern(text))),
        _ => None,
    });
    Condition { place: at(line), negated, tests: tests.collect() }
}

/// `allow 10.0.0.0/8,::1`, `deny`
pub(crate) fn access(line: u32, text: &str) -> AccessRule {
    let (word, nets) = text.split_once(' ').unwrap_or((text, ""));
    let nets = nets.split(',').filter(|net| !net.is_empty()).map(|text| net(text).unwrap());
    AccessRule { place: at(line), allow: word == "allow", from: nets.collect() }
}

pub(crate) fn at(line: u32) -> Place {
    Place { file: 0, line, column: 1 }
}

pub(crate) fn site(line: u32, names: &[&str], routes: &[&str]) -> Site {
    let label = |name: &str| {
        let (capture, suffix) = name.strip_prefix('{')?.split_once("}.")?;
        Some(SiteName::Label { capture: capture.into(), suffix: suffix.into() })
    };
    let name = |name: &&str| match (*name, name.strip_prefix("*.")) {
        _ if name.starts_with('{') => label(name).unwrap(),
        ("*", _) => SiteName::Default,
        (_, Some(suffix)) => SiteName::Wildcard(suffix.into()),
        (host, None) => SiteName::Exact(host.into()),
    };
    Site {
        place: at(line),
        routes: (line + 1..)
            .zip(routes)
            .map(|(line, text)| Route {
                host_captures: HostCapture::of(&names.iter().map(name).collect::<Vec<_>>())
                    .collect(),
                ..route(line, text)
            })
            .collect(),
        names: names.iter().map(name).collect(),
        listeners: vec![ListenerId(0)],
        base: RouteSettings::default(),
        tls: None,
        https: None,
    }
}

pub(crate) fn listener(address: &str, serves: Serves) -> Listener {
    Listener {
        address: address.parse().unwrap(),
        written: address.into(),
        place: at(1),
        proxy_protocol: ProxyProtocol::Off,
        trusted_proxies: Vec::new(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        tls: false,
        http2: true,
        serves,
    }
}

/// Sites on one listener, `[::]:80`.
pub(crate) fn reverse(sites: Vec<Site>) -> Config {
    let ids = (0..sites.len() as u32).map(SiteId).collect();
    Config {
        files: vec!["test.kdl".into()],
        listeners: vec![listener("[::]:80", Serves::Sites(ids))],
        sites,
        ..Config::default()
    }
}

/// `deny to="a,*.b,10.0.0.0/8" from=… port="80,8000-9000" method=…` without the quotes.
pub(crate) fn rule(line: u32, text: &str) -> ForwardRule {
    let mut words = text.split(' ');
    let mut rule = ForwardRule {
        place: at(line),
        written: text.into(),
        allow: words.next() == Some("allow"),
        to: Vec::new(),
        from: Vec::new(),
        ports: Vec::new(),
        methods: Vec::new(),
        clients: Vec::new(),
        special: text.ends_with(" special=#true"),
    };
    for (name, values) in words.map(|word| word.split_once('=').unwrap()) {
        for value in values.split(',') {
            match name {
                "to" => rule.to.push(destination(value)),
                "from" => rule.from.push(net(value).unwrap()),
                "port" => rule.ports.push(ports(value)),
                "method" => rule.methods.push(value.into()),
                "client" => rule.clients.push(client(value)),
                "special" => {}
                other => panic!("{other}"),
            }
        }
    }
    rule
}

/// Clients with this name in their certificates.
pub(crate) fn client(name: &str) -> ClientMatch {
    ClientMatch { place: at(40), name: Some(name.into()), fingerprint: None, subject: None }
}

/// A certificate that a client might show.
pub(crate) fn certificate() -> ClientCertificate {
    ClientCertificate {
        subject: "CN=ops,O=Example".into(),
        common_name: Some("ops".into()),
        names: vec!["ops.example.com".into(), "ops@mail.example.com".into(), "10.0.0.1".into()],
        fingerprint: "ab".repeat(32).into(),
        der: (*b"abc").into(),
    }
}

pub(crate) fn destination(text: &str) -> Destination {
    match (text, text.strip_prefix("*."), net(text)) {
        ("*", ..) => Destination::Any,
        (_, Some(suffix), _) => Destination::Suffix(suffix.into()),
        (.., Some(net)) => Destination::Net(net),
        (host, ..) => Destination::Host(host.into()),
    }
}

fn net(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Into::into))
}

pub(crate) fn ports(text: &str) -> PortRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
}

/// One forward listener, `[::]:3128`, whose block is on line 10 and its rules below.
pub(crate) fn forward(rules: &[impl AsRef<str>]) -> Config {
    let rules = (11..).zip(rules).map(|(line, text)| rule(line, text.as_ref())).collect();
    Config {
        files: vec!["test.kdl".into()],
        listeners: vec![listener("[::]:3128", Serves::Forward(ForwardId(0)))],
        forwards: vec![Forward {
            place: at(10),
            listener: ListenerId(0),
            written: ":3128".into(),
            rules,
            ports: vec![ports("80"), ports("443")],
            anonymous: None,
            via: "bothways".into(),
            settings: RouteSettings::default(),
            tls: None,
        }],
        ..Config::default()
    }
}

/// `/new/{rest}?by={client}`
pub(crate) fn template(text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal.into()));
        }
        parts.push(match name {
            "client" => TemplatePart::Variable(Variable::Client),
            "client-port" => TemplatePart::Variable(Variable::ClientPort),
            "host" => TemplatePart::Variable(Variable::Host),
            "scheme" => TemplatePart::Variable(Variable::Scheme),
            "method" => TemplatePart::Variable(Variable::Method),
            "path" => TemplatePart::Variable(Variable::Path),
            "query" => TemplatePart::Variable(Variable::Query),
            "uri" => TemplatePart::Variable(Variable::Uri),
            "port" => TemplatePart::Variable(Variable::Port),
            "request-id" => TemplatePart::Variable(Variable::RequestId),
            "tls-version" => TemplatePart::Variable(Variable::TlsVersion),
            "tls-name" => TemplatePart::Variable(Variable::TlsName),
            "client-subject" => TemplatePart::Variable(Variable::ClientSubject),
            "client-names" => TemplatePart::Variable(Variable::ClientNames),
            "user" => TemplatePart::Variable(Variable::User),
            "client-fingerprint" => TemplatePart::Variable(Variable::ClientFingerprint),
            "client-cert" => TemplatePart::Variable(Variable::ClientCert),
            "m" => TemplatePart::Map(MapId(0)),
            name => match name.split_once(':') {
                Some(("field", name)) => TemplatePart::Field(name.into()),
                Some(("cookie", name)) => TemplatePart::Cookie(name.into()),
                Some((_, name)) => TemplatePart::Parameter(name.into()),
                None => TemplatePart::Capture(name.into()),
            },
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(TemplatePart::Literal(rest.into()));
    }
    Template { written: text.into(), parts }
}
