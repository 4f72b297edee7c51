//! What differs between two answers to a request, and between what arrived behind them.

use import::relocate::{Listener, Plan};

use super::client::{Answer, Exchange};
use super::origin::Received;

/// Fields that tell an endpoint about the client.
const IDENTITY: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
];

/// What differs.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// In words, for people.
    pub(super) differences: Vec<String>,
    /// Identity fields that only we send.
    pub(super) added: Vec<String>,
}

/// Compares what came of a request.
pub(super) fn compare(
    theirs: &Exchange,
    ours: &Exchange,
    host: &str,
    listener: &Listener,
    plan: &Plan,
) -> Comparison {
    let mut comparison = Comparison::default();
    match (&theirs.answer, &ours.answer) {
        (Ok(one), Ok(other)) => answers(one, other, theirs, ours, host, listener, &mut comparison),
        (Err(_), Err(_)) => {}
        (Ok(one), Err(error)) => {
            comparison.say("answer", &one.status.to_string(), &format!("none: {error}"))
        }
        (Err(error), Ok(other)) => {
            comparison.say("answer", &format!("none: {error}"), &other.status.to_string())
        }
    }
    match (theirs.received.last(), ours.received.last()) {
        (Some(one), Some(other)) => {
            requests(one, other, theirs.port, ours.port, listener, plan, &mut comparison)
        }
        (None, None) => {}
        (one, other) => {
            let words = |one: Option<&Received>| {
                one.map_or_else(
                    || "nothing".to_owned(),
                    |one| format!("{} {} to {}", one.method, one.target, one.group),
                )
            };
            comparison.say("sent upstream", &words(one), &words(other));
        }
    }
    comparison
}

impl Comparison {
    fn say(&mut self, what: &str, theirs: &str, ours: &str) {
        self.differences.push(format!("{what}: {theirs} (nginx), {ours} (Bothways)"));
    }

    fn field(&mut self, what: &str, theirs: Option<&str>, ours: Option<&str>) {
        if theirs != ours {
            self.say(what, theirs.unwrap_or("none"), ours.unwrap_or("none"));
        }
    }
}

fn answers(
    one: &Answer,
    other: &Answer,
    theirs: &Exchange,
    ours: &Exchange,
    host: &str,
    listener: &Listener,
    comparison: &mut Comparison,
) {
    if one.status != other.status {
        comparison.say("status", &one.status.to_string(), &other.status.to_string());
    }
    let [first, second] = [(one, theirs), (other, ours)].map(|(answer, exchange)| {
        answer
            .location
            .as_deref()
            .map(|location| own_location(location, host, exchange.port, listener))
    });
    comparison.field("Location", first.as_deref(), second.as_deref());
    // Pages for errors and redirects look different, which is no matter.
    let is_content = (200..300).contains(&one.status) && one.status == other.status;
    if is_content && one.body != other.body {
        let words = |body: &[u8]| format!("{} bytes", body.len());
        match one.body.len() == other.body.len() {
            true => comparison.say("body", "the same length", "other bytes"),
            false => comparison.say("body", &words(&one.body), &words(&other.body)),
        }
    }
}

/// Where a redirect leads, as a path if it stays on the site.
fn own_location(location: &str, host: &str, port: u16, listener: &Listener) -> String {
    let scheme = if listener.tls { "https" } else { "http" };
    let location = location.replace(&format!(":{port}/"), &format!(":{}/", listener.port));
    for own in [format!("{scheme}://{host}"), format!("{scheme}://{host}:{}", listener.port)] {
        if let Some(path) = location.strip_prefix(&own)
            && path.starts_with('/')
        {
            return path.to_owned();
        }
    }
    location
}

fn requests(
    one: &Received,
    other: &Received,
    theirs: u16,
    ours: u16,
    listener: &Listener,
    plan: &Plan,
    comparison: &mut Comparison,
) {
    for (what, one, other) in [
        ("upstream", &one.group, &other.group),
        ("method upstream", &one.method, &other.method),
        ("path upstream", &one.target, &other.target),
    ] {
        comparison.field(what, Some(one), Some(other));
    }
    let with_port = |value: Option<String>, port: u16| {
        let value = value?.replace(&format!(":{port}"), &format!(":{}", listener.port));
        // Endpoints have their own names again.
        let moved = plan.endpoints().find(|one| value == format!("127.0.0.1:{}", one.port));
        Some(moved.map_or(value, |one| one.written.clone()))
    };
    let [first, second] = [(one, theirs), (other, ours)]
        .map(|(received, port)| with_port(received.field("host"), port));
    comparison.field("Host upstream", first.as_deref(), second.as_deref());
    for name in IDENTITY {
        match (one.field(name), other.field(name)) {
            (None, Some(_)) => comparison.added.push((*name).to_owned()),
            (first, second) => comparison.field(name, first.as_deref(), second.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener { original: ":80".into(), port: 80, tls: false, theirs: 41001, ours: 41002 }
    }

    #[test]
    fn redirects_to_the_site_itself_are_paths() {
        let own = |location| own_location(location, "a.example", 41001, &listener());
        assert_eq!(own("http://a.example/x"), "/x");
        assert_eq!(own("http://a.example:41001/x/"), "/x/");
        assert_eq!(own("https://a.example/x"), "https://a.example/x");
        assert_eq!(own("/x"), "/x");
    }

    #[test]
    fn what_only_we_send_is_no_difference() {
        let received = |fields: &[(&str, &str)]| Received {
            group: "app".into(),
            method: "GET".into(),
            target: "/".into(),
            fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        let exchange = |fields: &[(&str, &str)], port| Exchange {
            answer: Ok(Answer { status: 200, ..Answer::default() }),
            received: vec![received(fields)],
            port,
        };
        let theirs = exchange(&[("host", "a")], 41001);
        let ours = exchange(&[("host", "a"), ("x-forwarded-for", "192.0.2.1")], 41002);
        let comparison = compare(&theirs, &ours, "a", &listener(), &Plan::default());
        assert_eq!(comparison.differences, <[String; 0]>::default());
        assert_eq!(comparison.added, ["x-forwarded-for"]);
        let comparison = compare(&ours, &theirs, "a", &listener(), &Plan::default());
        assert_eq!(comparison.differences.len(), 1);
    }
}
