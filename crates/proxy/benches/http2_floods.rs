//! How long other clients wait while one floods the proxy over HTTP/2.
//!
//! `cargo bench -p proxy --bench http2_floods`; wants a machine that is not busy otherwise. Ends
//! with an error if 99 of 100 requests of a second client take longer than [`P99_MAX`] under any
//! of the floods.

use std::process::ExitCode;
use std::time::Duration;

use testkit::floods::{self, TestBed};

/// What the second client may have to wait.
const P99_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let bed = TestBed::default();
    let mut is_held = true;
    println!(
        "{:<28}{:>10}{:>10}{:>12}{:>12}{:>14}",
        "flood", "sent", "GOAWAY", "p50", "p99", "memory"
    );
    for attack in floods::all() {
        let report = attack.run(&bed);
        let goaway = report.goaway.map_or("-".to_owned(), |code| code.to_string());
        let p50 = report.times.get(report.times.len() / 2).copied().unwrap_or_default();
        let (p99, growth) = (report.p99(), report.growth_bytes / 1024);
        println!(
            "{:<28}{:>10}{goaway:>10}{p50:>12.1?}{p99:>12.1?}{growth:>10} KiB",
            attack.name, report.sent
        );
        is_held &= p99 <= P99_MAX;
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
