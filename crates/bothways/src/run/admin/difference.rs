//! How a running upstream differs from its configuration and sources: as text like `diff -u`, and as
//! JSON.

use std::fmt::Write;

use config::{Addresses, Endpoint};
use discovery::{Difference, Origin};
use proxy::Server;
use serde_json::{Map, Value, json};

use super::upstreams::origin_words;

/// An endpoint as a line of the configuration.
pub(super) fn kdl(endpoint: &Endpoint) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut line = format!("to {}", quoted(&endpoint.written));
    let mut property = |is_there: bool, name: &str, value: String| {
        if is_there {
            let _ = write!(line, " {name}={value}");
        }
    };
    property(endpoint.weight != 1, "weight", endpoint.weight.to_string());
    let zone = endpoint.zone.as_deref();
    property(zone.is_some(), "zone", quoted(zone.unwrap_or_default()));
    property(endpoint.priority != 0, "priority", endpoint.priority.to_string());
    property(endpoint.backup, "backup", "#true".to_owned());
    property(endpoint.max.is_some(), "max", endpoint.max.unwrap_or_default().to_string());
    property(endpoint.draining, "drain", "#true".to_owned());
    let addresses = addresses(endpoint);
    property(addresses != "auto", "addresses", addresses.to_owned());
    line
}

fn addresses(endpoint: &Endpoint) -> &'static str {
    match endpoint.addresses {
        Addresses::Auto => "auto",
        Addresses::Each => "each",
        Addresses::One => "one",
    }
}

/// An endpoint as in a JSON file, including defaults.
pub(super) fn value(endpoint: &Endpoint) -> Value {
    json!({
        "address": &*endpoint.written,
        "weight": endpoint.weight,
        "zone": endpoint.zone.as_deref(),
        "priority": endpoint.priority,
        "backup": endpoint.backup,
        "max": endpoint.max,
        "drain": endpoint.draining,
        "addresses": addresses(endpoint),
    })
}

/// Where the endpoint is written, or would be written.
fn place(server: &Server, upstream: &str, difference: &Difference) -> String {
    let config = server.config();
    let found = config.upstreams.iter().find(|one| &*one.name == upstream);
    match (&difference.origin, &difference.before) {
        (Origin::Written, Some(before)) => config.locate(before.place),
        (Origin::Added, _) => found.map_or_else(String::new, |found| config.locate(found.place)),
        (origin, _) => origin_words(origin),
    }
}

/// The differences like `diff -u`; empty if there are none.
pub(super) fn text(server: &Server, upstream: &str, differences: &[Difference]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let mut text = format!("--- {upstream}, as written\n+++ {upstream}, as it runs\n");
    for difference in differences {
        let _ = writeln!(text, "@@ {} @@", place(server, upstream, difference));
        for (sign, endpoint) in [('-', &difference.before), ('+', &difference.after)] {
            if let Some(endpoint) = endpoint {
                let _ = writeln!(text, "{sign}{}", kdl(endpoint));
            }
        }
    }
    text
}

/// The differences as JSON.
pub(super) fn json(server: &Server, upstream: &str, differences: &[Difference]) -> String {
    let changes = differences.iter().map(|difference| {
        let mut one = Map::new();
        one.insert("endpoint".to_owned(), json!(&*difference.name));
        one.insert("origin".to_owned(), json!(origin_words(&difference.origin)));
        one.insert("place".to_owned(), json!(place(server, upstream, difference)));
        one.insert("before".to_owned(), json!(difference.before.as_ref().map(value)));
        one.insert("after".to_owned(), json!(difference.after.as_ref().map(value)));
        Value::Object(one)
    });
    let changes: Vec<_> = changes.collect();
    format!("{}\n", json!({ "upstream": upstream, "changes": changes }))
}
