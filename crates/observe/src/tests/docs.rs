//! That every row of the tables is in the output, and in the documents for operators.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::fixture;
use crate::families::FAMILIES;
use crate::format::Stamp;
use crate::json::{self, FieldSet, ROWS, Row};
use crate::line;
use crate::{
    Blame, CacheOutcome, CacheReport, Direction, ErrorKind, Exposition, Names, RetryReason, Try,
};

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
    record.request_id.set("id");
    (record.retries, record.tunnel, record.hedged) = (1, true, Some(true));
    record.connect = Some(Duration::from_millis(1));
    record.tries.push(Try {
        endpoint: Some(config::EndpointId::new(config::UpstreamId(0), 0)),
        reason: RetryReason::Slow,
        error: None,
        status: 0,
        took: Duration::ZERO,
    });
    record.user = Some("ann".into());
    (record.cache, record.cache_reason) = (Some(CacheOutcome::Stale), Some("updating"));
    record.fail(ErrorKind::ClientGone, "gone");
    let mut line = Vec::new();
    let names = fixture::names();
    json::json(&mut line, &record, &names, FieldSet::ALL, 0, &mut Stamp::default());
    let line = String::from_utf8(line).unwrap();
    let mut rest = line.as_str();
    for Row { key, doc: about, .. } in ROWS {
        let found = rest.split_once(&format!("\"{key}\":"));
        rest = found.unwrap_or_else(|| panic!("{key} ({about}) is not in its place: {line}")).1;
    }
    let object: serde_json::Map<_, _> = serde_json::from_str(&line).unwrap();
    assert_eq!(object.len(), ROWS.len(), "{line}");
}

/// The configuration knows each field and each part, in the same order.
#[test]
fn every_field_of_the_log_can_be_named() {
    let read = |names: &str| {
        let text = format!("process {{ log fields=\"{names}\"; }}\nsite {{ respond; }}");
        config::parse("x", &text).map(|loaded| loaded.config.logs[0].fields.clone())
    };
    let names: Vec<_> = ROWS.iter().map(|row| row.key).collect();
    assert_eq!(read(&names.join(",")).unwrap().map(|fields| fields.len()), Some(ROWS.len()));
    assert!(read("nothing").is_err());
    assert!(ROWS.len() < 64, "a set of fields has a bit for each");
    let others = line::Special::ALL.map(|(name, _)| name);
    let parts: String = names.iter().chain(&others).map(|name| format!("{{{name}}} ")).collect();
    let text = format!("process {{ log format=\"{parts}\"; }}\nsite {{ respond; }}");
    config::parse("x", &text).unwrap();
    let reference = include_str!("../../../../docs/reference.md");
    let (_, section) = reference.split_once("\n## Log lines\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listed: Vec<_> =
        section.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).collect();
    let mut sorted = others.to_vec();
    sorted.sort_unstable();
    assert_eq!(listed, [names, sorted].concat());
}

/// Each value that only the code chooses stands in the table of such values, and no other.
#[test]
fn every_value_of_the_log_is_documented() {
    let (_, table) = section("## The access log").split_once("| value | of | meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let mut documented: Vec<_> = rows
        .flat_map(|row| {
            let mut columns = row.trim_matches('|').split(" | ");
            let (values, of) = (columns.next().unwrap(), columns.next().unwrap());
            let of = of.split('`').nth(1).unwrap();
            values.split('`').skip(1).step_by(2).map(move |value| (of, value))
        })
        .collect();
    let directions = Direction::ALL.map(|value| ("direction", value.name()));
    let blames = Blame::ALL.map(|value| ("blame", value.name()));
    let reasons = RetryReason::ALL.map(|value| ("reason", value.name()));
    let outcomes = CacheOutcome::ALL.map(|value| ("cache", value.name()));
    let others = [("hedge", "won"), ("hedge", "lost"), ("status", "499")];
    let known = directions.into_iter().chain(blames).chain(reasons).chain(outcomes);
    let mut known: Vec<_> = known.chain(others).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
    assert_eq!(ErrorKind::ClientGone.status(), 499);
}

#[test]
fn texts_have_every_part() {
    let mut record = fixture::reverse(Instant::now());
    let fields = &mut message::Fields::new();
    fields.push(b"x-say", b"a \"b\"\n");
    record.keep_request_fields(&["X-Say".into()], fields);
    let parts = [
        line::TextPart::named("client"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("scope"),
        line::TextPart::Literal(b" \"".as_slice().into()),
        line::TextPart::named("request"),
        line::TextPart::Literal(b"\" ".as_slice().into()),
        line::TextPart::named("status"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("bytes"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("duration"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("error"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("host"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::named("unix_time"),
        line::TextPart::Literal(b" [".as_slice().into()),
        line::TextPart::named("clf_time"),
        line::TextPart::Literal(b"] ".as_slice().into()),
        line::TextPart::named("dialled"),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::RequestField(0),
        line::TextPart::Literal(b" ".as_slice().into()),
        line::TextPart::ResponseField(0),
    ];
    let mut out = Vec::new();
    let (names, stamp) = (fixture::names(), &mut Stamp::default());
    line::push_vhost(&mut out, &record, &names);
    line::push_parts(&mut out, &parts, &record, &names, 971_186_136_042, stamp);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "shop.example.com:80 192.0.2.7 shop.example.com \"GET /api/cart?id=7 HTTP/1.1\" 200 2326 0.002 - \
         shop.example.com 971186136.042 [10/Oct/2000:13:55:36 +0000] 10.0.0.1:8080 a \\\"b\\\"\\n -"
    );
    let mut out = Vec::new();
    let set = FieldSet::of(&["status".into(), "scope".into(), "error".into()]);
    json::json(&mut out, &record, &names, set, 0, stamp);
    json::journal(&mut out, &record, &names, set, 0, stamp);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"scope\":\"shop.example.com\",\"status\":200}\nBOTHWAYS_SCOPE=shop.example.com\nBOTHWAYS_STATUS=200\n"
    );
}

#[test]
fn every_field_of_the_log_is_documented() {
    let (_, table) = section("## The access log").split_once("| key | value |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let keys: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
    let documented: BTreeSet<_> = keys.iter().flat_map(|keys| code(keys)).collect();
    assert_eq!(documented, all(ROWS.iter().map(|row| row.key)));
}

#[test]
fn a_scrape_has_every_family_in_the_order_of_the_table() {
    let registry = fixture::registry();
    registry.watch_cache(CacheReport::default);
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
