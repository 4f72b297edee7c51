//! Every row has its effect: a configuration with it differs from one without it or with another
//! value, and what is shown of it is the same configuration.

use super::{ArgumentRow, BLOCKS, Block, Count, Kind, NodeRow};
use crate::effective::quoted;
use crate::{Config, Loaded};

/// By block, the smallest configuration around it; what is tried stands in the place of `@`.
const AROUND: &[(&str, &str)] = &[
    ("the top level", "@\nsite { respond; }"),
    ("process", "process { @\n }\nsite { respond; }"),
    ("resolver", "process { resolver { @\n } }\nsite { respond; }"),
    ("listen", "listen \":80\" { @\n }\nsite { respond; }"),
    ("site", "site a.example.com { @\n route \"/\" { respond; }; }\nacme own { profile x; }"),
    (
        "route",
        "site a.example { tls internal { client request ca=c; }; route \"/{id}\" { @\n }; respond; }",
    ),
    ("request and response", "site { request { @\n }; to \"10.0.0.1:80\"; }"),
    ("files", "site { files \"/\" { @\n }; }"),
    ("cache", "site { cache { @\n }; to \"10.0.0.1:80\"; }"),
    ("key of cache", "site { cache { key { @\n }; }; to \"10.0.0.1:80\"; }"),
    ("tls of site", "site a.example { tls internal { @\n }; respond; }"),
    ("split", "site { split { to \"10.0.0.1:80\" \"60%\"; @\n }; }"),
    ("upstream", "upstream u { endpoints \"Cargo.toml\"; @\n }\nsite { to u; }"),
    ("balance", "upstream u { to \"10.0.0.1:80\"; balance ring { @\n }; }\nsite { to u; }"),
    ("health", "upstream u { to \"10.0.0.1:80\"; health \"/\" { @\n }; }\nsite { to u; }"),
    ("retry", "upstream u { to \"10.0.0.1:80\"; retry { @\n }; }\nsite { to u; }"),
    ("tls of upstream", "upstream u { to \"https://10.0.0.1\"; tls { @\n }; }\nsite { to u; }"),
    ("forward", "forward \"127.0.0.1:1\" { @\n }\nacme own { profile x; }"),
    ("tls of forward", "forward \"127.0.0.1:1\" { tls internal name=a { @\n }; }"),
    ("anonymous", "forward \"127.0.0.1:1\" { anonymous { @\n }; }"),
    ("acme", "acme { @\n }\nsite a.example.com { tls auto; respond; }"),
    ("map", "map m \"{path}\" { @\n }\nsite { respond \"{m}\"; }"),
];

/// Rows that need something beside them: the block, the node (and its property), and what stands
/// there, again with `@` for what is tried; without one, it is what is tried itself. `*` is every
/// other node of the block.
const BESIDE: &[(&str, &str, &str)] = &[
    ("the top level", "listen", "listen \":80\" { http2 off; }"),
    ("the top level", "site", "site b.example { respond; }"),
    ("the top level", "expect from", "expect \"GET http://a/\" status=200 @"),
    ("the top level", "expect field", "expect \"GET http://a/\" status=200 @"),
    ("the top level", "expect client-name", "expect \"GET http://a/\" status=200 @"),
    (
        "the top level",
        "expect forward",
        "forward \"127.0.0.1:1\" { allow; }\nexpect \"GET http://a/\" status=200 @",
    ),
    ("site", "tls", "tls internal"),
    ("site", "tls cert", "tls key=k @"),
    ("site", "tls key", "tls cert=c @"),
    ("site", "tls acme", "tls auto @"),
    ("site", "redirect-http", "tls internal; @"),
    ("site", "route method", "route \"/a\" @ { respond; }"),
    ("site", "route priority", "route \"/a\" @ { respond; }"),
    ("site", "split", "split { to \"10.0.0.1:80\" \"100%\"; }"),
    ("site", "split stay", "split @ { to \"10.0.0.1:80\" \"100%\"; }"),
    ("site", "split cookie", "split stay=cookie @ { to \"10.0.0.1:80\" \"100%\"; }"),
    ("site", "client", "tls internal { client request ca=c; }; @"),
    ("site", "error-page from", "error-page 502 file=\"Cargo.toml\" @"),
    ("route", "error-page from", "to \"10.0.0.1:80\"; error-page 502 file=\"Cargo.toml\" @"),
    ("forward", "error-page from", "error-page 502 file=\"Cargo.toml\" @"),
    ("site", "login realm", "login basic file=f @"),
    ("site", "login pass", "login basic file=f @"),
    ("route", "login realm", "to \"10.0.0.1:80\"; login basic file=f @"),
    ("route", "login pass", "to \"10.0.0.1:80\"; login basic file=f @"),
    ("forward", "login realm", "login basic file=f @"),
    ("route", "split", "split { to \"10.0.0.1:80\" \"100%\"; }"),
    ("route", "split stay", "split @ { to \"10.0.0.1:80\" \"100%\"; }"),
    ("route", "split cookie", "split stay=cookie @ { to \"10.0.0.1:80\" \"100%\"; }"),
    ("route", "when is", "to \"10.0.0.1:80\"; when field=a @"),
    ("route", "when matches", "to \"10.0.0.1:80\"; when field=a @"),
    ("route", "unless is", "to \"10.0.0.1:80\"; unless field=a @"),
    ("route", "unless matches", "to \"10.0.0.1:80\"; unless field=a @"),
    ("route", "to", "@"),
    ("route", "redirect", "@"),
    ("route", "respond", "@"),
    ("route", "files", "@"),
    ("route", "*", "to \"10.0.0.1:80\"; @"),
    ("tls of site", "client", "client require ca=c"),
    ("tls of site", "client ca", "client require @"),
    ("tls of site", "client crl", "client require ca=c @"),
    ("process", "cache disk", "cache max=\"64MiB\" @"),
    ("process", "cache max", "cache disk=d @"),
    ("process", "cache key-file", "cache disk=d max=\"64MiB\" @"),
    ("cache", "bypass is", "bypass field=a @"),
    ("cache", "bypass matches", "bypass field=a @"),
    ("cache", "pass is", "pass field=a @"),
    ("cache", "pass matches", "pass field=a @"),
    ("upstream", "health service", "health grpc @"),
    ("upstream", "adaptive max", "adaptive min=1 @"),
    ("tls of upstream", "cert", "key k; @"),
    ("tls of upstream", "key", "cert c; @"),
    ("forward", "tls", "tls internal name=a"),
    ("forward", "tls cert", "tls key=k @"),
    ("forward", "tls key", "tls cert=c @"),
    ("forward", "tls acme", "tls auto name=a @"),
    ("forward", "tls name", "tls internal @"),
    ("forward", "allow", "tls internal name=a { client require ca=c; }; @"),
    ("forward", "deny", "tls internal name=a { client require ca=c; }; @"),
    ("tls of forward", "client", "client require ca=c"),
    ("tls of forward", "client ca", "client require @"),
    ("tls of forward", "client crl", "client require ca=c @"),
    ("acme", "challenge command", "challenge dns @"),
    ("acme", "challenge wait", "challenge dns command=c @"),
    ("acme", "eab", "eab key-file=f key-id=i"),
    ("acme", "eab key-id", "eab key-file=f @"),
    ("acme", "eab key-file", "eab key-id=i @"),
];

/// Rows that are no settings.
const NONE: &[(&str, &str)] = &[
    // A mistake there.
    ("forward", "login pass"),
    // Another file stands in its place; see `tests/include.rs`.
    ("the top level", "include"),
    // Lines are put elsewhere before rows are asked; see `tests/reuse.rs`.
    ("the top level", "define"),
    ("the top level", "defaults"),
    ("listen", "use"),
    ("listen", "include"),
    ("site", "use"),
    ("site", "include"),
    ("route", "use"),
    ("route", "include"),
    ("upstream", "use"),
    ("upstream", "include"),
    ("forward", "use"),
    ("forward", "include"),
];

/// Words that need properties beside them; those are tried by the properties.
const INCOMPLETE: &[(&str, &str)] = &[
    ("tls", "passthrough"),
    ("tls", "auto"),
    ("client", "request"),
    ("client", "require"),
    ("challenge", "dns"),
    ("login", "basic"),
];

/// Values of a kind; one at least is not the default of a row.
fn values(kind: Kind) -> Vec<String> {
    let texts: &[&str] = match kind {
        Kind::Text | Kind::FieldValue | Kind::ValueTemplate | Kind::Token | Kind::Regex => {
            &["a", "b"]
        }
        Kind::Path => &["Cargo.toml", "src/lib.rs"],
        Kind::Duration { .. } => &["70s", "400d"],
        Kind::Size { min, .. } if min > 3 << 10 => {
            return vec![(2 * min).to_string(), (3 * min).to_string()];
        }
        Kind::Size { .. } | Kind::Limit => &["3KiB", "5MiB"],
        Kind::Number { min, .. } => return vec![(min + 1).to_string(), (min + 2).to_string()],
        Kind::Flag => return vec!["#true".into(), "#false".into()],
        Kind::Word(words) => return words.iter().map(|row| quoted(row.word)).collect(),
        Kind::Listen | Kind::ListenOrOff | Kind::Socket | Kind::Admin => {
            &["127.0.0.1:1", "[::1]:2"]
        }
        Kind::Log => &["off", "stdout", "stderr"],
        Kind::AccessLog => &["off", "stderr", "a.log", "journald", "syslog:", "syslog:udp:a:514"],
        Kind::AccessFormat => &["combined", "vhost-combined", "{status} {field:A}"],
        Kind::LogFields => &["time,client", "status"],
        Kind::Ip => &["10.0.0.1", "::1"],
        Kind::Networks => &["10.0.0.0/8", "::1"],
        Kind::Name => &["u", "own"],
        Kind::Target | Kind::Endpoint => &["10.0.0.8:80", "10.0.0.9:80"],
        Kind::SiteName => &["b.example.com", "*"],
        Kind::Pattern | Kind::RoutePattern => &["/a", "/b"],
        Kind::Values => &["a", "b,c"],
        Kind::FieldLines => &["X-A: 1", "X-B: 2"],
        Kind::TryPath => &["{path}", "/a"],
        Kind::Methods | Kind::Method => &["PUT", "DELETE"],
        Kind::Status { min, .. } => return vec![min.to_string(), (min + 1).to_string()],
        Kind::Prefix | Kind::PathTemplate | Kind::UrlTemplate => &["/a", "/b"],
        Kind::FieldName => &["X-A", "X-B"],
        Kind::HostPolicy | Kind::Authority | Kind::Host | Kind::Hosts => {
            &["a.example", "b.example"]
        }
        Kind::Ports => return vec!["81".into(), "any".into()],
        Kind::Destinations => &["a.example", "*"],
        Kind::RequestLine => &["GET http://a.example/", "GET http://b.example/"],
        Kind::CertificateNames => &["a.example", "b"],
        Kind::Fingerprints => &[
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
        Kind::Subject => &["CN=a", "CN=b"],
        Kind::Directory => &["letsencrypt-staging", "https://a.example/"],
        Kind::Mail => &["a@example.com", "b@example.com"],
        Kind::Percent { min, max } | Kind::PercentOrOff { min, max } => {
            return vec![quoted(&format!("{min}%")), quoted(&format!("{max}%"))];
        }
        Kind::Share { .. } => &["40%", "40.0%"],
        Kind::Factor => return vec!["3.5".into(), "4.5".into()],
        Kind::HealthCheck => &["/a", "tcp", "grpc"],
        Kind::Statuses => &["200", "201-202"],
        Kind::StoredStatuses => &["404", "5xx"],
        Kind::NamePatterns => &["a", "b*,c"],
        Kind::CookiePath => &["/a", "/b"],
        Kind::RetryOn => &["connect", "reset"],
        Kind::After => &["p95", "50ms"],
    };
    texts.iter().map(|text| quoted(text)).collect()
}

/// The lines that a node may be: alone with its values, with a property, and with something in its
/// block.
fn nodes(row: &NodeRow) -> Vec<String> {
    let mut lines = vec![row.name.to_owned()];
    for argument in row.arguments {
        let values = values(argument.kind).into_iter().enumerate();
        let with =
            |(index, value)| format!("{} {value}", lines[usize::min(index, lines.len() - 1)]);
        let with: Vec<_> = values.map(with).collect();
        match argument.count {
            Count::Optional | Count::Any => lines.extend(with),
            Count::One | Count::AtLeastOne => lines = with,
        }
    }
    let plain = lines[0].clone();
    for property in row.properties() {
        let values = values(property.kind).into_iter();
        lines.extend(values.map(|value| format!("{plain} {}={value}", property.name)));
    }
    if let Some(block) = row.block {
        let inner = block.rows().into_iter().take(2).flat_map(nodes);
        lines.extend(inner.take(8).map(|inner| format!("{plain} {{ {inner}; }}")));
    }
    lines
}

/// What a configuration means: the model without places, and without how rules are written.
fn meaning(config: &Config) -> String {
    let mut config = config.clone();
    let rules = config.forwards.iter_mut().flat_map(|forward| &mut forward.rules);
    rules.for_each(|rule| rule.written = Box::default());
    let text = format!("{config:?}");
    let mut parts = text.split("Place {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

fn read(text: &str) -> Option<Loaded> {
    crate::parse("x.kdl", text).ok()
}

/// Tells what is wrong with a row, tried by these texts in their surroundings. `needed`: that it
/// does not hold without any of them is an effect, too.
fn effect(around: &str, texts: &[String], needed: bool) -> Result<(), String> {
    let without = read(&around.replace('@', "")).map(|loaded| meaning(&loaded.config));
    let mut meanings = Vec::from_iter(without.or_else(|| needed.then(String::new)));
    let mut held = 0;
    for text in texts {
        let Some(loaded) = read(&around.replace('@', text)) else { continue };
        held += 1;
        let meaning_of_text = meaning(&loaded.config);
        let shown = loaded.effective.revealed().render(false);
        match crate::parse("x.kdl", &shown) {
            Err(failure) => {
                return Err(format!("what is shown of {text} is no configuration: {failure}"));
            }
            Ok(again) if meaning(&again.config) != meaning_of_text => {
                let lines = shown.lines().filter(|line| !line.ends_with("// default"));
                let shown = lines.collect::<Vec<_>>().join("\n");
                return Err(format!(
                    "what is shown of `{text}` is another configuration:\n{shown}"
                ));
            }
            Ok(_) => meanings.push(meaning_of_text),
        }
    }
    meanings.sort_unstable();
    meanings.dedup();
    match (held, meanings.len()) {
        (0, _) => {
            let example = around.replace('@', texts.first().map_or("", |text| text));
            let failure = crate::parse("x.kdl", &example).err();
            Err(format!(
                "none of {texts:?} is taken: {}\n{example}",
                failure.map_or_else(String::new, |f| f.to_string())
            ))
        }
        (_, 0 | 1) => Err(format!("{texts:?} change nothing")),
        _ => Ok(()),
    }
}

/// What stands beside a row, or beside a property of it, within its block.
fn beside(block: &'static dyn Block, name: &str) -> Option<&'static str> {
    let find = |name: &str| BESIDE.iter().find(|row| (row.0, row.1) == (block.name(), name));
    find(name).map(|(_, _, beside)| *beside)
}

fn check_node(
    outer: &str,
    block: &'static dyn Block,
    row: &'static NodeRow,
    wrong: &mut Vec<String>,
) {
    let mut note = |name: &str, result: Result<(), String>| {
        wrong.extend(result.err().map(|why| format!("{} › {name}: {why}", block.name())));
    };
    let others = beside(block, "*").unwrap_or("@");
    let own = beside(block, row.name).unwrap_or(others);
    let texts = nodes(row);
    match own.contains('@') {
        true => note(row.name, effect(&outer.replace('@', own), &texts, true)),
        false => note(row.name, effect(outer, &[own.to_owned()], true)),
    }
    for property in row.properties() {
        let name = format!("{} {}", row.name, property.name);
        if NONE.contains(&(block.name(), &name)) {
            continue;
        }
        let within = beside(block, &name).map(str::to_owned);
        let within = within.unwrap_or_else(|| own.replace('@', &format!("{} @", texts[0])));
        let values = values(property.kind).into_iter();
        let values: Vec<_> = values.map(|value| format!("{}={value}", property.name)).collect();
        note(&name, effect(&outer.replace('@', &within), &values, false));
    }
    if let Some(inner) = row.block.filter(|block| block.scope().is_some()) {
        let within = others.replace('@', &format!("{} {{ @\n }}", row.name));
        let outer = outer.replace('@', &within);
        inner.rows().into_iter().for_each(|row| check_node(&outer, inner, row, wrong));
    }
}

#[test]
fn every_row_changes_the_model_and_is_shown() {
    let mut wrong = Vec::new();
    for &block in BLOCKS {
        let outer = AROUND.iter().find(|(name, _)| *name == block.name());
        let outer = outer.unwrap_or_else(|| panic!("what is around `{}`?", block.name())).1;
        for row in block.rows() {
            if !NONE.contains(&(block.name(), row.name)) {
                check_node(outer, block, row, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each word that a setting takes means something else.
#[test]
fn every_word_has_its_meaning() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    let mut check = |outer: &str, what: String, texts: Vec<String>| {
        let read = |text: &String| {
            let loaded = read(&outer.replace('@', text))?;
            Some((text.clone(), meaning(&loaded.config)))
        };
        let held: Vec<_> = texts.iter().filter_map(read).collect();
        checked += held.len();
        let is_held = |text: &&String| held.iter().any(|(other, _)| other == *text);
        let is_incomplete = |text: &&String| {
            INCOMPLETE.iter().any(|(node, word)| **text == format!("{node} \"{word}\""))
        };
        let refused = texts.iter().filter(|text| !is_held(text) && !is_incomplete(text));
        wrong.extend(refused.map(|text| format!("{what}: {text} is refused")));
        for (index, (text, meaning)) in held.iter().enumerate() {
            let same = held.iter().take(index).find(|(_, earlier)| earlier == meaning);
            wrong.extend(same.map(|(other, _)| format!("{what}: {text} is {other}")));
        }
    };
    for &block in BLOCKS {
        let outer = AROUND.iter().find(|(name, _)| *name == block.name()).unwrap().1;
        let others = beside(block, "*").unwrap_or("@");
        for row in block.rows() {
            let own = beside(block, row.name).filter(|own| own.contains('@')).unwrap_or(others);
            let name = format!("{} › {}", block.name(), row.name);
            if let [ArgumentRow { kind: kind @ Kind::Word(_), .. }] = row.arguments {
                let texts = values(*kind).into_iter().map(|word| format!("{} {word}", row.name));
                check(&outer.replace('@', own), name.clone(), texts.collect());
            }
            for property in row.properties().filter(|row| matches!(row.kind, Kind::Word(_))) {
                let key = format!("{} {}", row.name, property.name);
                let within = beside(block, &key).map(str::to_owned);
                let within =
                    within.unwrap_or_else(|| own.replace('@', &format!("{} @", nodes(row)[0])));
                let words = values(property.kind).into_iter();
                let texts = words.map(|word| format!("{}={word}", property.name));
                let name = format!("{name} {}", property.name);
                check(&outer.replace('@', &within), name, texts.collect());
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(checked > 60, "{checked}");
}

/// A default that is written in the language is the one that holds.
#[test]
fn documented_defaults_are_those_of_the_model() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    // The others say in words what holds.
    let is_written = |default: &str| {
        !["none", "the ", "those ", "what ", "`"].iter().any(|w| default.starts_with(w))
    };
    let mut check = |outer: &str, what: String, prefix: &str, default: &str| {
        let Some(without) = read(&outer.replace('@', "")) else { return };
        for text in [format!("{prefix}{default}"), format!("{prefix}{}", quoted(default))] {
            let Some(with) = read(&outer.replace('@', &text)) else { continue };
            checked += 1;
            if meaning(&with.config) != meaning(&without.config) {
                wrong.push(format!("{what}: {default}"));
            }
            return;
        }
    };
    for &block in BLOCKS {
        let outer = AROUND.iter().find(|(name, _)| *name == block.name()).unwrap().1;
        let others = beside(block, "*").unwrap_or("@");
        for row in block.rows() {
            let own = beside(block, row.name).filter(|own| own.contains('@')).unwrap_or(others);
            let outer_of_node = outer.replace('@', own);
            let name = format!("{} › {}", block.name(), row.name);
            if !row.default.is_empty() && !row.repeats && is_written(row.default) {
                check(&outer_of_node, name.clone(), &format!("{} ", row.name), row.default);
            }
            for property in row.properties().filter(|row| !row.default.is_empty()) {
                let key = format!("{} {}", row.name, property.name);
                let within = beside(block, &key).map(str::to_owned);
                let within =
                    within.unwrap_or_else(|| own.replace('@', &format!("{} @", nodes(row)[0])));
                let outer = outer.replace('@', &within);
                let name = format!("{name} {}", property.name);
                check(&outer, name, &format!("{}=", property.name), property.default);
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(checked > 90, "{checked}");
}
