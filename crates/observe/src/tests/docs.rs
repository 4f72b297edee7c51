//! That every row of the tables is in the output, and in the documents for operators.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::fixture;
use crate::families::FAMILIES;
use crate::format::Stamp;
use crate::json::{self, FIELDS};
use crate::{ErrorKind, Exposition, Names, RetryReason, Try};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// Families that the program adds to ours.
const OF_THE_PROGRAM: [&str; 3] = [
    "bothways_certificate_expiry_timestamp_seconds",
    "bothways_certificate_renewal_failed",
    "bothways_config_last_reload_successful",
];

/// A part of the document, from its heading to the next one.
fn section(heading: &str) -> &'static str {
    let (_, text) = OPERATIONS.split_once(&format!("\n{heading}\n")).expect(heading);
    text.split("\n#").next().unwrap_or(text)
}

/// The words in backticks.
fn code(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn all<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<&'n str> {
    names.collect()
}

#[test]
fn the_log_has_every_field_in_the_order_of_the_table() {
    let mut record = fixture::reverse(Instant::now());
    record.via = Some([10, 0, 0, 9].into());
    record.tls = Some(fixture::tls());
    (record.retries, record.tunnel, record.hedged) = (1, true, Some(true));
    record.connect = Some(Duration::from_millis(1));
    record.tries.push(Try {
        endpoint: Some(config::EndpointId::new(config::UpstreamId(0), 0)),
        reason: RetryReason::Slow,
        error: None,
        status: 0,
        took: Duration::ZERO,
    });
    record.fail(ErrorKind::ClientGone, "gone");
    let mut line = Vec::new();
    json::json(&mut line, &record, &fixture::names(), 0, &mut Stamp::default());
    let line = String::from_utf8(line).unwrap();
    let mut rest = line.as_str();
    for (key, about) in FIELDS {
        let found = rest.split_once(&format!("\"{key}\":"));
        rest = found.unwrap_or_else(|| panic!("{key} ({about}) is not in its place: {line}")).1;
    }
    let object: serde_json::Map<_, _> = serde_json::from_str(&line).unwrap();
    assert_eq!(object.len(), FIELDS.len(), "{line}");
}

#[test]
fn every_field_of_the_log_is_documented() {
    let rows = section("## The access log").lines().filter(|line| line.starts_with("| `"));
    let keys: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
    let documented: BTreeSet<_> = keys.iter().flat_map(|keys| code(keys)).collect();
    assert_eq!(documented, all(FIELDS.iter().map(|(key, _)| *key)));
}

#[test]
fn a_scrape_has_every_family_in_the_order_of_the_table() {
    let registry = fixture::registry();
    let _names = Names::new(&fixture::config(), &registry);
    let text = registry.render(Exposition::Text, &[]);
    let described = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let described: Vec<_> = described.collect();
    assert_eq!(described, FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>());
}

#[test]
fn every_family_of_metrics_is_documented() {
    let is_family = |word: &&str| word.starts_with("bothways_") || word.starts_with("process_");
    let documented = all(code(section("## Metrics")).into_iter().filter(is_family));
    let families = FAMILIES.iter().map(|family| family.name);
    assert_eq!(documented, all(families.chain(OF_THE_PROGRAM)));
}
