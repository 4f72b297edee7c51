//! `bothways reverse` and `bothways forward`: a command line instead of a configuration file.
//!
//! Both write the equivalent configuration text, which is then decoded, checked and served like a
//! file. `--print-config` prints it. Nothing here has a meaning that a file could not express.

use std::fmt::Write;

use crate::cli::{Forward, LogChoice, Reverse, Rule, Shortcut};
use crate::exit::Failure;
use crate::load::Source;
use crate::{run, terminal};

/// The name of the text in diagnostics.
const NAME: &str = "<command line>";

/// Runs a reverse proxy for one site.
pub(crate) fn reverse(options: &Reverse) -> Result<(), Failure> {
    serve(&options.common, reverse_text(options))
}

/// Runs a forward proxy.
pub(crate) fn forward(options: &Forward) -> Result<(), Failure> {
    serve(&options.common, forward_text(options)?)
}

fn serve(common: &Shortcut, text: String) -> Result<(), Failure> {
    if common.print_config {
        // The text is meant to become a file, so check it first.
        return match Source::text(NAME, text.as_str()).load() {
            Ok(_) => Ok(terminal::to_stdout(&text)?),
            Err(failure) => Err(failure),
        };
    }
    run::from_source(Source::text(NAME, text))
}

fn reverse_text(options: &Reverse) -> String {
    let mut text = process(&options.common);
    text.push_str("site");
    let everything = ["*".to_owned()];
    let names = if options.site.is_empty() { &everything[..] } else { &options.site };
    words(&mut text, names.iter().map(String::as_str));
    text.push_str(" {\n");
    for address in &options.listen {
        let _ = writeln!(text, "    listen {}", quoted(address));
    }
    let balanced = options.balance.is_some() || options.health.is_some();
    if balanced {
        text.push_str("    to app\n}\n\nupstream app {\n");
    }
    text.push_str("    to");
    words(&mut text, options.to.iter().flat_map(|to| to.split(',')));
    for (name, value) in [("balance", &options.balance), ("health", &options.health)] {
        if let Some(value) = value {
            let _ = write!(text, "\n    {name} {}", quoted(value));
        }
    }
    text.push_str("\n}\n");
    text
}

fn forward_text(options: &Forward) -> Result<String, Failure> {
    let mut body = String::new();
    for rule in &options.rules {
        rule_line(&mut body, rule)?;
    }
    if let Some(ports) = &options.ports {
        body.push_str("    ports");
        words(&mut body, ports.split([',', ' ']).filter(|port| !port.is_empty()));
        body.push('\n');
    }
    if options.anonymous {
        body.push_str("    anonymous\n");
    }
    let mut text = process(&options.common);
    for (index, address) in options.listen.iter().enumerate() {
        let blank = if index > 0 { "\n" } else { "" };
        let _ = writeln!(text, "{blank}forward {} {{\n{body}}}", quoted(address));
    }
    Ok(text)
}

fn process(common: &Shortcut) -> String {
    let mut text = String::from("process {\n");
    if let Some(admin) = &common.admin {
        let _ = writeln!(text, "    admin {}", quoted(admin));
    }
    text.push_str(match common.log {
        LogChoice::Off => "    log access=off\n",
        LogChoice::Combined => "    log access=\"stdout\" format=combined\n",
        LogChoice::Json => "    log access=\"stdout\" format=json\n",
    });
    text.push_str("}\n\n");
    text
}

/// Writes the line of a rule: `*.example.com`, or properties as in a file.
fn rule_line(text: &mut String, rule: &Rule) -> Result<(), Failure> {
    let option = if rule.allow { "--allow" } else { "--deny" };
    let mut properties: Vec<(&str, &str)> = Vec::new();
    for word in rule.text.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or(("to", word));
        if rule.allow && name == "to" && !word.contains('=') && is_net(value) {
            return Err(Failure::usage(format!("`{option} {value}` can be read in two ways"))
                .hint(format!(
                    "write `from={value}` to allow these clients, or `to={value}` to allow this \
                     destination"
                )));
        }
        if !matches!(name, "to" | "from" | "port" | "method") {
            return Err(Failure::usage(format!(
                "unknown property `{name}` in `{option} {}`",
                rule.text
            ))
            .hint("a rule has the properties to, from, port and method"));
        }
        if properties.iter().any(|(known, _)| *known == name) {
            return Err(Failure::usage(format!(
                "`{name}` appears twice in `{option} {}`",
                rule.text
            ))
            .hint(format!("separate alternatives with commas: {name}=a,b")));
        }
        properties.push((name, value));
    }
    if properties.is_empty() {
        return Err(Failure::usage(format!("`{option}` needs a rule"))
            .hint("to=\"*\" means every destination"));
    }
    text.push_str(if rule.allow { "    allow" } else { "    deny" });
    for (name, value) in properties {
        let _ = write!(text, " {name}={}", quoted(value));
    }
    text.push('\n');
    Ok(())
}

/// Whether the text is a network or an address.
fn is_net(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok())
}

fn words<'a>(text: &mut String, words: impl Iterator<Item = &'a str>) {
    for word in words {
        let _ = write!(text, " {}", quoted(word));
    }
}

/// The value as a KDL string, whatever characters it contains.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            char if char.is_control()
                || !(' '..='~').contains(&char) && !char.is_alphanumeric() =>
            {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(char));
            }
            char => text.push(char),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Shortcut {
        Shortcut { log: LogChoice::Off, admin: None, print_config: false }
    }

    fn forward_of(rules: &[(bool, &str)]) -> Result<String, Failure> {
        let rules =
            rules.iter().map(|&(allow, text)| Rule { allow, text: text.to_owned() }).collect();
        forward_text(&Forward {
            listen: vec![":3128".to_owned()],
            allow: Vec::new(),
            deny: Vec::new(),
            anonymous: true,
            ports: Some("80,8000-8999".to_owned()),
            common: common(),
            rules,
        })
    }

    #[test]
    fn reverse_writes_a_site() {
        let text = reverse_text(&Reverse {
            listen: vec![":8080".to_owned()],
            to: vec!["localhost:3000".to_owned(), "a:1,b:2".to_owned()],
            site: Vec::new(),
            balance: None,
            health: None,
            common: Shortcut { admin: Some("127.0.0.1:9900".to_owned()), ..common() },
        });
        assert_eq!(
            text,
            "process {\n    admin \"127.0.0.1:9900\"\n    log access=off\n}\n\n\
             site \"*\" {\n    listen \":8080\"\n    to \"localhost:3000\" \"a:1\" \"b:2\"\n}\n"
        );
        assert!(Source::text(NAME, text).load().is_ok());
    }

    #[test]
    fn reverse_writes_an_upstream_where_it_needs_one() {
        let text = reverse_text(&Reverse {
            listen: vec![":8080".to_owned()],
            to: vec!["a:1".to_owned(), "b:2".to_owned()],
            site: Vec::new(),
            balance: Some("least-connections".to_owned()),
            health: Some("/healthz".to_owned()),
            common: common(),
        });
        assert_eq!(
            text,
            "process {\n    log access=off\n}\n\n\
             site \"*\" {\n    listen \":8080\"\n    to app\n}\n\n\
             upstream app {\n    to \"a:1\" \"b:2\"\n    balance \"least-connections\"\n    health \"/healthz\"\n}\n"
        );
        assert!(Source::text(NAME, text).load().is_ok());
    }

    #[test]
    fn forward_writes_rules_in_order() {
        let text =
            forward_of(&[(false, "*.example.com"), (true, "from=10.0.0.0/8 port=443")]).unwrap();
        assert_eq!(
            text,
            "process {\n    log access=off\n}\n\nforward \":3128\" {\n    deny to=\"*.example.com\"\n    \
             allow from=\"10.0.0.0/8\" port=\"443\"\n    ports \"80\" \"8000-8999\"\n    anonymous\n}\n"
        );
        assert!(Source::text(NAME, text).load().is_ok());
    }

    #[test]
    fn rules_refused() {
        for (allow, rule) in [
            (true, "10.0.0.0/8"),
            (true, "::1"),
            (false, "who=me"),
            (false, "to=a to=b"),
            (false, "a b"),
            (true, " "),
        ] {
            assert!(forward_of(&[(allow, rule)]).is_err(), "{rule}");
        }
        assert!(forward_of(&[(false, "10.0.0.0/8")]).is_ok());
        let text = forward_of(&[(true, "localhost:3000"), (true, "to=[::1]:9,*.a.example:8443")]);
        let loaded = Source::text(NAME, text.unwrap()).load().unwrap();
        let ports = loaded.config.forwards[0].rules.iter().map(|rule| rule.ports[0].first);
        assert_eq!(ports.collect::<Vec<_>>(), [3000, 9, 8443]);
    }

    #[test]
    fn quotes_cannot_be_escaped_from() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("a\nb\u{202e}"), r#""a\u{a}b\u{202e}""#);
        assert_eq!(quoted("ä.example"), "\"ä.example\"");
    }
}
