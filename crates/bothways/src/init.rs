//! `bothways init`: asks three questions, and writes a configuration with comments.
//!
//! What is written is checked first, exactly as `bothways check` does. A file that exists is never overwritten.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::net::IpAddr;

use crate::cli::{Init, Way};
use crate::exit::{Failure, USAGE};
use crate::load::Source;
use crate::terminal;

/// What is answered by default.
const BEHIND: &str = "127.0.0.1:3000";
const NAME: &str = "*";
/// Wrong answers to one question before it is given up.
const ANSWERS_MAX: usize = 5;
/// Names that no public CA gives a certificate for (RFC 6761, RFC 6762, RFC 8375, and what is common).
const LOCAL_NAMES: [&str; 8] =
    ["localhost", "local", "test", "invalid", "home.arpa", "internal", "lan", "intranet"];

/// The answers.
struct Answers {
    way: Way,
    behind: String,
    name: String,
}

/// Writes a configuration.
pub(crate) fn init(options: &Init) -> Result<(), Failure> {
    if options.output.exists() {
        return Err(exists(options));
    }
    let answers = answers(options, &mut io::stdin().lock(), io::stdin().is_terminal())?;
    let text = configuration(&answers);
    // The text is meant to become a file: what cannot be served is not written.
    let shown = options.output.display().to_string();
    let loaded = Source::text(shown.as_str(), text.as_str()).load().map_err(|failure| {
        failure.hint("one of the answers cannot be used; nothing was written")
    })?;
    for warning in crate::check::warnings(&loaded) {
        terminal::to_stderr(&warning.render(terminal::stderr_is_coloured()));
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&options.output) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(options)),
        Err(error) => return Err(Failure::other(format!("cannot write {shown}: {error}"))),
    };
    file.write_all(text.as_bytes())
        .map_err(|error| Failure::other(format!("cannot write {shown}: {error}")))?;
    Ok(terminal::to_stdout(&format!(
        "{shown} is written. Next:\n  bothways check {shown}\n  bothways run --config {shown}\n"
    ))?)
}

fn exists(options: &Init) -> Failure {
    Failure::other(format!("{} exists, and is not overwritten", options.output.display()))
        .hint("name another file with --output FILE")
}

/// Those of the command line; the others are asked for, if there is somebody to ask.
fn answers(
    options: &Init,
    input: &mut impl BufRead,
    is_terminal: bool,
) -> Result<Answers, Failure> {
    let mut ask = |question: &str, default: &str, is_good: &dyn Fn(&str) -> bool| {
        if !is_terminal {
            return Ok(default.to_owned());
        }
        for _ in 0..ANSWERS_MAX {
            terminal::to_stderr(&format!("{question} [{default}] "));
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Err(Failure::already_reported(USAGE));
            }
            let answer = if line.trim().is_empty() { default } else { line.trim() };
            if is_good(answer) {
                return Ok(answer.to_owned());
            }
            terminal::to_stderr("That is not one of the answers.\n");
        }
        Err(Failure::usage("no usable answer"))
    };
    let way = match options.way {
        Some(way) => way,
        None => {
            let question = "Which way: `reverse`, in front of a server; `forward`, in front of clients; or `both`?";
            let answer = ask(question, "reverse", &|answer| way_of(answer).is_some())?;
            way_of(&answer).unwrap_or(Way::Reverse)
        }
    };
    let is_reverse = way != Way::Forward;
    let mut text = |given: &Option<String>, question: &str, default: &str| match given {
        Some(given) => Ok(given.clone()),
        None if !is_reverse => Ok(default.to_owned()),
        None => ask(question, default, &|answer| !answer.contains(['"', '\\', '\n'])),
    };
    let behind = text(
        &options.behind,
        "What is behind it: host:port of an application, https://host, or a directory of files?",
        BEHIND,
    )?;
    let name = text(
        &options.name,
        "Which name do clients use, such as shop.example.com (`*`: every one)?",
        NAME,
    )?;
    Ok(Answers { way, behind, name })
}

fn way_of(answer: &str) -> Option<Way> {
    match answer {
        "reverse" => Some(Way::Reverse),
        "forward" => Some(Way::Forward),
        "both" => Some(Way::Both),
        _ => None,
    }
}

fn configuration(answers: &Answers) -> String {
    let mut text = "\
// Written by `bothways init`. Every setting: `man bothways.kdl`, or docs/reference.md.
// bothways check tests this file, bothways show prints every value in effect.

process {
    // /metrics and /readyz; `bothways reload`, `upstreams` and `upgrade` use it too.
    admin \"127.0.0.1:9900\"
    log access=stdout format=combined
    // How long open requests may take at the end.
    drain \"30s\"
}
"
    .to_owned();
    if answers.way != Way::Forward {
        site(&mut text, answers);
    }
    if answers.way != Way::Reverse {
        text.push_str(
            "
// For clients that use it as their proxy. By default only those of this machine may, and only ports 80 and 443.
forward \":3128\" {
    allow from=\"127.0.0.0/8\"
    // allow from=\"192.168.0.0/16\"
    // deny to=\"*.example.com\"
}
",
        );
    }
    text
}

fn site(text: &mut String, answers: &Answers) {
    let Answers { behind, name, .. } = answers;
    let name = config_text(name);
    let _ = writeln!(text, "\n// Requests for this name; others get 421.\nsite {name} {{");
    if is_public(&answers.name) {
        text.push_str(
            "    // A certificate of Let's Encrypt: the name must lead to this machine, with ports 80 and 443 open.\n    tls auto\n",
        );
    } else {
        text.push_str(
            "    listen \":8080\"\n    // With a certificate of a CA of your own: tls internal\n",
        );
    }
    let behind_text = config_text(behind);
    if behind.starts_with(['/', '.']) {
        let _ = writeln!(
            text,
            "    files {behind_text} {{\n        index \"index.html\"\n    }}\n    // route \"/api/*\" {{ to \"{BEHIND}\"; }}\n}}"
        );
    } else {
        let _ = writeln!(
            text,
            "    // route \"/static/*\" {{ files \"/srv/www\"; }}\n    to app\n}}\n\n\
             // Add addresses to share the requests; those that fail are passed over.\nupstream app {{\n    to {behind_text}\n    \
             // health \"/healthz\"\n}}"
        );
    }
}

fn config_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a public CA gives certificates for the name.
fn is_public(name: &str) -> bool {
    let is_local = |local: &str| {
        name.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.contains('.')
        && !name.contains(['*', '{'])
        && name.parse::<IpAddr>().is_err()
        && !LOCAL_NAMES.iter().any(|local| is_local(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("shop.example.com", true),
            ("example.com", true),
            ("*", false),
            ("*.example.com", false),
            ("localhost", false),
            ("shop.localhost", false),
            ("nas.home.arpa", false),
            ("mylocal", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_public(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_good() {
        for way in [Way::Reverse, Way::Forward, Way::Both] {
            for behind in [BEHIND, "https://app.internal", "/tmp"] {
                for name in ["shop.example.com", "*", "shop.localhost"] {
                    let answers = Answers { way, behind: behind.to_owned(), name: name.to_owned() };
                    let text = configuration(&answers);
                    let loaded = config::parse("init", &text)
                        .unwrap_or_else(|failure| panic!("{}\n{text}", failure.render(false)));
                    let warnings = crate::check::warnings(&loaded);
                    let words: Vec<_> = warnings.iter().map(|one| one.render(false)).collect();
                    assert!(words.is_empty(), "{words:?}\n{text}");
                    assert_eq!(config::format("init", &text).unwrap(), text, "is formatted");
                }
            }
        }
    }

    #[test]
    fn questions() {
        let options = Init { way: None, behind: None, name: None, output: "x".into() };
        let mut input = "sideways\nboth\n\nshop.example.com\n".as_bytes();
        let given = answers(&options, &mut input, true).unwrap();
        assert_eq!(
            (given.way, &*given.behind, &*given.name),
            (Way::Both, BEHIND, "shop.example.com")
        );
        assert!(answers(&options, &mut "".as_bytes(), true).is_err(), "nobody answers");
        let given = answers(&options, &mut "".as_bytes(), false).unwrap();
        assert_eq!((given.way, &*given.behind, &*given.name), (Way::Reverse, BEHIND, NAME));
    }
}
