//! The page `/certificates`, and the metrics of certificates.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde_json::{Value, json};
use tls::CertificateState;

/// All certificates as JSON.
pub(super) fn list(states: &[CertificateState], now: SystemTime) -> Value {
    let certificates = states.iter().map(|state| {
        let left = state.not_after.map(|at| unix(at) - unix(now));
        json!({
            "names": state.names,
            "source": state.source,
            "origin": state.origin,
            "configured": state.configured,
            "not_before": state.not_before.map(unix),
            "not_after": state.not_after.map(unix),
            "seconds_left": left,
            "key": state.key,
            "sha256": state.fingerprint,
            "error": state.error,
        })
    });
    json!({ "certificates": certificates.collect::<Vec<_>>() })
}

/// The metrics of certificates; empty if there are none.
pub(super) fn metrics(states: &[CertificateState]) -> String {
    /// One series for all sites that share a certificate: the earlier expiry counts.
    #[derive(Default)]
    struct Series {
        ends: Option<i64>,
        fails: bool,
    }
    let mut all: BTreeMap<String, Series> = BTreeMap::new();
    for state in states {
        let name = state.names.first().map_or("", |name| name);
        let labels = format!(
            "name=\"{}\",source=\"{}\",key=\"{}\"",
            escaped(name),
            state.source,
            escaped(&state.key)
        );
        let series = all.entry(labels).or_default();
        // A certificate that does not exist yet has no expiry.
        let ends = state.not_after.map(unix);
        series.ends = series.ends.into_iter().chain(ends).min();
        series.fails |= state.error.is_some();
    }
    if all.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    let ends = all.iter().filter_map(|(labels, series)| Some((labels, series.ends?)));
    family(
        &mut out,
        "bothways_certificate_expiry_timestamp_seconds",
        "When a certificate in use expires, in seconds since 1970.",
        ends,
    );
    family(
        &mut out,
        "bothways_certificate_renewal_failed",
        "Whether the last attempt to renew or read a certificate failed.",
        all.iter().map(|(labels, series)| (labels, i64::from(series.fails))),
    );
    out
}

// Writing into a `String` cannot fail, so results of `write!` are dropped here.
fn family<'s>(
    out: &mut String,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (&'s String, i64)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in series {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn unix(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn state(name: &str, ends: Option<u64>, error: Option<&str>) -> CertificateState {
        CertificateState {
            names: vec![name.into()],
            source: "files",
            origin: "a.pem".to_owned(),
            configured: "bothways.kdl:3".to_owned(),
            not_before: Some(SystemTime::UNIX_EPOCH),
            not_after: ends.map(|ends| SystemTime::UNIX_EPOCH + Duration::from_secs(ends)),
            key: "RSA 2048".to_owned(),
            fingerprint: String::new(),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn one_series_for_a_name_and_key() {
        assert_eq!(metrics(&[]), "");
        let text = metrics(&[
            state("a", Some(20), None),
            state("a", Some(10), Some("gone")),
            state("b\"", None, None),
        ]);
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = |name: &str| format!("{{name=\"{name}\",source=\"files\",key=\"RSA 2048\"}}");
        let expected = [
            format!("bothways_certificate_expiry_timestamp_seconds{} 10", labels("a")),
            format!("bothways_certificate_renewal_failed{} 1", labels("a")),
            format!("bothways_certificate_renewal_failed{} 0", labels("b\\\"")),
        ];
        assert_eq!(values, expected);
    }
}
