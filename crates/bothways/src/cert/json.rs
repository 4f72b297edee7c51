//! The result of `bothways cert show` as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};
use tls::{Certificate, Finding, Severity};

use super::show::Inspection;

/// The whole result.
pub(super) fn inspection(inspection: &Inspection, now: SystemTime) -> Value {
    let certificates: Vec<_> =
        inspection.contents.certificates.iter().map(|one| certificate(one, now)).collect();
    let mut all = json!({
        "target": inspection.target,
        "certificates": certificates,
        "findings": inspection.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let (Some(fields), Some(value)) = (all.as_object_mut(), value) {
            fields.insert(name.to_owned(), value);
        }
    };
    let seen = inspection.seen.as_ref();
    set("tls_version", seen.map(|seen| seen.version.clone().into()));
    set("cipher", seen.map(|seen| seen.cipher.clone().into()));
    set("key_exchange", seen.map(|seen| seen.key_exchange.clone().into()));
    set("alpn", seen.map(|seen| seen.alpn.clone().into()));
    set("asks_for_certificate", seen.map(|seen| seen.asks_for_certificate.into()));
    set("trusted", seen.map(|seen| seen.verdict.is_ok().into()));
    set(
        "private_key",
        inspection.contents.key.as_ref().map(|key| key.facts().words.clone().into()),
    );
    set("public_key", inspection.contents.public_key.as_ref().map(|key| key.words.clone().into()));
    let request = inspection.contents.request.as_ref().map(|request| {
        json!({
            "subject": request.subject,
            "names": request.names,
            "key": request.key.words,
            "is_signed": request.is_signed,
        })
    });
    set("request", request);
    all
}

fn certificate(of: &Certificate, now: SystemTime) -> Value {
    json!({
        "subject": of.subject,
        "issuer": of.issuer,
        "names": of.names,
        "serial": of.serial,
        "not_before": unix(of.not_before),
        "not_after": unix(of.not_after),
        "seconds_left": unix(of.not_after) - unix(now),
        "key": of.key.words,
        "signature": of.signature,
        "is_ca": of.is_ca,
        "is_self_signed": of.is_self_signed,
        "sha256": of.fingerprint,
    })
}

fn finding(of: &Finding) -> Value {
    let severity = match of.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({ "severity": severity, "message": of.message, "hint": of.hint })
}

fn unix(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
