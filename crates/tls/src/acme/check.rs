//! Checks of the settings of a directory that need no request.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use config::{Acme, AcmeChallenge, Config, Listener, Place, Serves};
use http::Uri;

use super::account::external_key;
use super::http::{is_safe, trust};
use crate::error::{Problem, Severity};

/// Names in one certificate; Let's Encrypt and others take a hundred.
const NAMES_MAX: usize = 100;

/// What is wrong with ordering these names (of a site's `tls` at `place`) by `acme`.
pub(crate) fn check(
    config: &Config,
    acme: &Acme,
    place: Place,
    names: &[Box<str>],
) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        names.iter().filter_map(|name| bad_name(acme, place, name)).collect();
    if names.len() > NAMES_MAX {
        let problem = Problem::warning(
            place,
            format!("{} names in one certificate: most CAs take {NAMES_MAX} at most", names.len()),
        );
        problems.push(problem.hint("make several sites of it"));
    }
    let is_plain =
        |listener: &Listener| !listener.tls && matches!(listener.serves, Serves::Sites(_));
    if acme.challenge == AcmeChallenge::Http && !config.listeners.iter().any(is_plain) {
        let problem = Problem::warning(
            place,
            "there is no cleartext listener where the CA could fetch the challenge",
        );
        problems.push(
            problem
                .hint("leave out `redirect-http off`; or in the `acme` block: challenge tls-alpn"),
        );
    }
    problems.extend(bad_directory(acme));
    problems
}

/// What is wrong with the files that `acme` names. What is stored is served without them.
pub(crate) fn check_files(acme: &Acme) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Err(why)) = acme.ca.as_deref().map(|path| trust(Some(path))) {
        problems.push(Problem::error(acme.place, why));
    }
    if let Some(Err(why)) = acme.eab.as_ref().map(external_key) {
        problems.push(Problem::error(acme.place, why));
    }
    if let AcmeChallenge::Dns { command, .. } = &acme.challenge {
        problems.extend(bad_command(acme.place, command));
    }
    problems
}

/// Why no order for these names can ever succeed.
pub(super) fn hopeless(acme: &Acme, names: &[Box<str>]) -> Option<String> {
    let problems = names.iter().filter_map(|name| bad_name(acme, acme.place, name));
    problems
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.message)
        .next()
}

fn bad_name(acme: &Acme, place: Place, name: &str) -> Option<Problem> {
    if let Some(parent) = name.strip_prefix("*.") {
        if !matches!(acme.challenge, AcmeChallenge::Dns { .. }) {
            // RFC 8555, section 7.1.3, leaves it to CAs, and CAs to the CA/Browser Forum.
            let problem = Problem::error(
                place,
                format!(
                    "no CA issues a certificate for {name} unless control of {parent} is proven in the DNS"
                ),
            );
            return Some(problem.hint(
                "in the `acme` block: challenge dns command=\"…\"; or list the names one by one",
            ));
        }
        return (!is_host(parent)).then(|| {
            Problem::error(
                place,
                format!("{name} cannot be certified: a wildcard replaces exactly one label"),
            )
        });
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return matches!(acme.challenge, AcmeChallenge::Dns { .. }).then(|| {
            Problem::error(
                place,
                format!("control of the address {address} cannot be proven in the DNS"),
            )
            .hint("in the `acme` block: challenge http")
        });
    }
    if !is_host(name) {
        let problem =
            Problem::error(place, format!("{name:?} is not a name that can be certified"));
        return Some(
            problem.hint("give the site a name, or use `tls internal` or `tls cert=… key=…`"),
        );
    }
    let public = name.contains('.') && !name.ends_with(".local") && !name.ends_with(".internal");
    let lets_encrypt = acme.directory.contains(".letsencrypt.org/");
    (!public && lets_encrypt).then(|| {
        Problem::warning(
            place,
            format!("Let's Encrypt does not issue for {name}: it is no public name"),
        )
        .hint("use `tls internal`, or a directory of your own")
    })
}

/// Whether it is a host's name as certificates hold it (RFC 5280, section 4.2.1.6).
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&name.len()) && name.split('.').all(label)
}

fn bad_directory(acme: &Acme) -> Option<Problem> {
    let url: Result<Uri, _> = acme.directory.parse();
    match url {
        Ok(url) if url.host().is_none() => Some(Problem::error(
            acme.place,
            format!("the directory {:?} is no URL", acme.directory),
        )),
        Ok(url) if !is_safe(&url) => Some(Problem::error(
            acme.place,
            format!("the directory {} is not https (RFC 8555, section 6.1)", acme.directory),
        )),
        Ok(_) => None,
        Err(error) => Some(Problem::error(
            acme.place,
            format!("the directory {:?} is no URL: {error}", acme.directory),
        )),
    }
}

fn bad_command(place: Place, command: &[Box<str>]) -> Option<Problem> {
    let Some(program) = command.first() else {
        return Some(
            Problem::error(place, "the `dns` challenge has no command")
                .hint("challenge dns command=\"/etc/bothways/dns-hook\""),
        );
    };
    // What the PATH says is found when it is run.
    if !program.contains('/') {
        return None;
    }
    match Path::new(program.as_ref()).metadata() {
        Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => None,
        Ok(_) => Some(
            Problem::error(place, format!("the DNS hook {program} cannot be executed"))
                .hint(format!("chmod +x {program}")),
        ),
        Err(error) => {
            Some(Problem::error(place, format!("the DNS hook {program} cannot be read: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use config::KeyKind;

    use super::*;

    fn acme(challenge: AcmeChallenge) -> Acme {
        Acme {
            place: Place::default(),
            name: "".into(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            contacts: Vec::new(),
            challenge,
            eab: None,
            profile: None,
            ca: None,
            key: KeyKind::EcP256,
        }
    }

    #[track_caller]
    fn says(acme: &Acme, name: &str, expected: &[&str]) {
        let mut found = check(&Config::default(), acme, Place::default(), &[name.into()]);
        found.extend(check_files(acme));
        let found: Vec<_> = found.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn names() {
        let by_tls = acme(AcmeChallenge::TlsAlpn);
        says(&by_tls, "a.example", &[]);
        says(&by_tls, "192.0.2.1", &[]);
        says(&by_tls, "a..example", &["\"a..example\" is not a name that can be certified"]);
        says(
            &by_tls,
            "localhost",
            &["Let's Encrypt does not issue for localhost: it is no public name"],
        );
        says(
            &by_tls,
            "*.a.example",
            &[
                "no CA issues a certificate for *.a.example unless control of a.example is proven in the DNS",
            ],
        );
        let command = vec!["hook-of-the-path".into()];
        let by_dns = acme(AcmeChallenge::Dns { command, wait: std::time::Duration::ZERO });
        says(&by_dns, "*.a.example", &[]);
        says(
            &by_dns,
            "*.*.example",
            &["*.*.example cannot be certified: a wildcard replaces exactly one label"],
        );
        says(
            &by_dns,
            "192.0.2.1",
            &["control of the address 192.0.2.1 cannot be proven in the DNS"],
        );
    }

    #[test]
    fn the_rest() {
        let mut settings = acme(AcmeChallenge::Http);
        let nowhere = "there is no cleartext listener where the CA could fetch the challenge";
        says(&settings, "a.example", &[nowhere]);
        settings.challenge = AcmeChallenge::TlsAlpn;
        settings.directory = "http://ca.example/directory".into();
        says(
            &settings,
            "a.example",
            &["the directory http://ca.example/directory is not https (RFC 8555, section 6.1)"],
        );
        settings.directory = "ca example".into();
        says(
            &settings,
            "a.example",
            &["the directory \"ca example\" is no URL: invalid uri character"],
        );
        settings = acme(AcmeChallenge::Dns { command: vec!["/".into()], wait: Default::default() });
        says(&settings, "a.example", &["the DNS hook / cannot be executed"]);
    }
}
