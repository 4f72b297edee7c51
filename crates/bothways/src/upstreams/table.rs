//! `bothways upstreams` without a task: the state of upstreams and endpoints of the running process,
//! as a table that is redrawn every second, or printed once, or as JSON.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::admin::Process;
use crate::cli::UpstreamsView;
use crate::exit::{Failure, OTHER};
use crate::terminal::{self, Paint};

/// How often the table is redrawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Moves the cursor to the upper left corner and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// The space between two columns.
const GAP: &str = "  ";

/// Shows the table; on a terminal, until it is interrupted.
pub(crate) fn show(process: &Process, options: &UpstreamsView) -> Result<(), Failure> {
    let target = match &options.upstream {
        Some(name) => format!("/upstreams/{}", crate::upstreams::encoded(name)),
        None => "/upstreams".to_owned(),
    };
    let ask = || -> Result<String, Failure> {
        let (status, body) = process.ask("GET", &target, "application/json", None)?;
        if status == 200 {
            return Ok(body);
        }
        if let (404, Some(name)) = (status, &options.upstream) {
            return Err(Failure::other(format!("the process has no upstream `{name}`")));
        }
        terminal::to_stderr(&body);
        Err(Failure::already_reported(OTHER))
    };
    if options.json {
        return Ok(terminal::to_stdout(&ask()?)?);
    }
    let paint = Paint::new(terminal::stdout_is_coloured());
    let drawn = |body: &str| -> Result<String, Failure> {
        let value = serde_json::from_str(body).map_err(|error| {
            Failure::other(format!("cannot parse the response of the process: {error}"))
        })?;
        Ok(tables(&value, SystemTime::now(), paint))
    };
    if options.once || !std::io::stdout().is_terminal() {
        return Ok(terminal::to_stdout(&drawn(&ask()?)?)?);
    }
    loop {
        let text = drawn(&ask()?)?;
        terminal::to_stdout(&format!(
            "{CLEAR}{text}\n{}\n",
            paint.dim("updated every second; Ctrl-C quits")
        ))?;
        std::thread::sleep(DRAW_EVERY);
    }
}

/// A table for each upstream, without colours.
pub(crate) fn plain(value: &Value) -> String {
    tables(value, SystemTime::now(), Paint::new(false))
}

/// A table for each upstream.
fn tables(value: &Value, now: SystemTime, paint: Paint) -> String {
    let mut out = String::new();
    for upstream in array(value, "upstreams") {
        if !out.is_empty() {
            out.push('\n');
        }
        heading(&mut out, upstream, paint);
        table(&mut out, array(upstream, "endpoints"), now, paint);
    }
    if out.is_empty() {
        out.push_str("no upstream is configured\n");
    }
    out
}

// Writing into a `String` cannot fail, so results of `write!` are dropped here.
fn heading(out: &mut String, upstream: &Value, paint: Paint) {
    let number = |name| upstream.get(name).and_then(Value::as_u64);
    let text = |name| upstream.get(name).and_then(Value::as_str).unwrap_or_default();
    let _ = write!(out, "{}  {}", paint.bold(text("name")), paint.dim(text("algorithm")));
    let _ = write!(out, "{GAP}{} in flight", number("in_flight").unwrap_or(0));
    if let Some(limit) = number("limit") {
        let _ = write!(out, " of {limit}");
    }
    for (name, words) in [("waiting", "waiting"), ("turned_away", "turned away")] {
        if let Some(count) = number(name).filter(|count| *count > 0) {
            let _ = write!(out, " · {count} {words}");
        }
    }
    if let Some(budget) = upstream.get("retry_budget") {
        let of = |name| budget.get(name).and_then(Value::as_u64).unwrap_or(0);
        let _ = write!(out, " · retries {} of {} allowed", of("retries"), of("allowed"));
    }
    out.push('\n');
    for source in array(upstream, "sources") {
        let text = |name| source.get(name).and_then(Value::as_str).unwrap_or_default();
        let why = source.pointer("/problem/why").and_then(Value::as_str);
        if let Some(why) = why {
            let words = format!("{} {}: {why}", text("kind"), text("name"));
            let _ = writeln!(out, "{GAP}{}", paint.yellow(&words));
        }
    }
}

const COLUMNS: [&str; 10] =
    ["ENDPOINT", "STATE", "SINCE", "WEIGHT", "IN FLIGHT", "REQ/S", "FAIL/S", "P50", "P99", "WHY"];
/// Columns that are aligned to the right.
const RIGHT: std::ops::Range<usize> = 2..9;

fn table(out: &mut String, endpoints: &[Value], now: SystemTime, paint: Paint) {
    let rows: Vec<_> = endpoints.iter().map(|endpoint| cells(endpoint, now)).collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: [&str; COLUMNS.len()], state: Option<&str>| {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padded = match (RIGHT.contains(&index), index + 1 == COLUMNS.len()) {
                (true, _) => format!("{cell:>width$}"),
                (false, true) => (*cell).to_owned(),
                (false, false) => format!("{cell:<width$}"),
            };
            let painted = match (index, state) {
                (1, Some(state)) => coloured(paint, state, &padded),
                _ => padded,
            };
            line.push_str(GAP);
            line.push_str(&painted);
        }
        line.trim_end().to_owned()
    };
    let _ = writeln!(out, "{}", paint.dim(&line(COLUMNS, None)));
    for (row, endpoint) in rows.iter().zip(endpoints) {
        let state = endpoint.get("state").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(out, "{}", line(row.each_ref().map(String::as_str), Some(state)));
    }
}

fn coloured(paint: Paint, state: &str, text: &str) -> String {
    match state {
        "up" => paint.green(text),
        "draining" => paint.dim(text),
        "ejected" => paint.yellow(text),
        _ => paint.red(text),
    }
}

fn cells(endpoint: &Value, now: SystemTime) -> [String; COLUMNS.len()] {
    let text = |name| endpoint.get(name).and_then(Value::as_str);
    let number = |name| endpoint.get(name).and_then(Value::as_f64);
    let since = endpoint.get("since").and_then(Value::as_u64).unwrap_or(0);
    let since = now.duration_since(UNIX_EPOCH + Duration::from_secs(since)).unwrap_or_default();
    let rate = |name| match number(name).unwrap_or(0.0) {
        0.0 => "0".to_owned(),
        rate if rate < 0.05 => "<0.1".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    };
    let millis = |name| number(name).map_or("-".to_owned(), duration);
    let ramp = number("ramp").filter(|ramp| *ramp < 1.0);
    let state = match (text("state").unwrap_or_default(), ramp) {
        ("up", Some(ramp)) => format!("up {:.0} %", ramp * 100.0),
        (state, _) => state.to_owned(),
    };
    [
        text("address").unwrap_or_default().to_owned(),
        state,
        ago(since),
        format!("{:.0}", number("weight").unwrap_or(1.0)),
        format!("{:.0}", number("in_flight").unwrap_or(0.0)),
        rate("requests_per_second"),
        rate("failures_per_second"),
        millis("p50_ms"),
        millis("p99_ms"),
        why(endpoint),
    ]
}

/// Why an endpoint is in its state, the rest of an ejection, and remarks; for an endpoint that is up,
/// its last failure.
fn why(endpoint: &Value) -> String {
    let text = |name| endpoint.get(name).and_then(Value::as_str);
    let mut parts = Vec::new();
    if text("state") == Some("up") {
        let last = array(endpoint, "failures").last().and_then(|last| last.get("words")?.as_str());
        parts.extend(last.map(|words| format!("last failure: {words}")));
    } else {
        parts.extend(text("why").map(str::to_owned));
    }
    let left = endpoint.get("ejected_for_seconds").and_then(Value::as_f64);
    parts.extend(left.map(|left| format!("tried again in {left:.0} s")));
    parts.extend(text("remark").map(str::to_owned));
    parts.join("; ")
}

fn array<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `850 µs`, `12 ms`, `1.5 s`
fn duration(millis: f64) -> String {
    match millis {
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        // 9.95 and above would round to 10.0: print 10.
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// `12 s`, `3 min`, `5 h`, `8 d`
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_of_one_upstream() {
        let value = json!({ "upstreams": [{
            "name": "app", "algorithm": "p2c", "in_flight": 12, "limit": 100, "waiting": 3,
            "retry_budget": { "requests": 200, "retries": 2, "allowed": 70 },
            "sources": [{ "kind": "srv", "name": "_http._tcp.app",
                          "problem": { "since": 0, "why": "no name server answered" } }],
            "endpoints": [
                { "address": "10.0.0.1:8080", "state": "up", "since": 1000, "weight": 3, "ramp": 1.0,
                  "in_flight": 12, "requests_per_second": 812.4, "failures_per_second": 0.04,
                  "p50_ms": 0.42, "p99_ms": 3.1, "failures": [] },
                { "address": "10.0.0.2:8080", "state": "ejected", "since": 10_770, "weight": 1,
                  "in_flight": 0, "why": "5 failures in a row: connection refused",
                  "ejected_for_seconds": 3.2 },
                { "address": "10.0.0.3:8080", "state": "up", "since": 0, "weight": 1, "ramp": 0.4,
                  "in_flight": 0, "p50_ms": 17.0, "p99_ms": 1500.0,
                  "failures": [{ "at": 1, "words": "no response within 2s" }] },
            ],
        }]});
        let now = UNIX_EPOCH + Duration::from_secs(10_800);
        let expected = "\
app  p2c  12 in flight of 100 · 3 waiting · retries 2 of 70 allowed
  srv _http._tcp.app: no name server answered
  ENDPOINT       STATE    SINCE  WEIGHT  IN FLIGHT  REQ/S  FAIL/S     P50     P99  WHY
  10.0.0.1:8080  up         2 h       3         12    812    <0.1  420 µs  3.1 ms
  10.0.0.2:8080  ejected   30 s       1          0      0       0       -       -  5 failures in a row: connection refused; tried again in 3 s
  10.0.0.3:8080  up 40 %    3 h       1          0      0       0   17 ms   1.5 s  last failure: no response within 2s
";
        assert_eq!(tables(&value, now, Paint::new(false)), expected);
        assert!(tables(&value, now, Paint::new(true)).contains("\x1b["));
    }

    #[test]
    fn no_upstream_has_a_message() {
        let nothing = json!({ "upstreams": [] });
        let text = tables(&nothing, SystemTime::now(), Paint::new(false));
        assert_eq!(text, "no upstream is configured\n");
    }
}
