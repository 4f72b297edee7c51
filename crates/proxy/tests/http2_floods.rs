//! Every flood over HTTP/2 is held: the attacker is cut off, memory stays, and another client is
//! served all the while. One test, as memory is that of the process; what is a matter of time is
//! in `benches/http2_floods.rs`.

use testkit::floods::{self, End, TestBed};
use wire::http2::frame::code;

/// By how much memory may grow.
const GROWTH_BYTES_MAX: u64 = 32 * 1024 * 1024;

#[test]
fn floods_are_held() {
    let bed = TestBed::default();
    let mut failures = Vec::new();
    for attack in floods::all() {
        let report = attack.run(&bed);
        let is_over = match attack.end {
            End::Calm(_) => {
                report.goaway == Some(code::ENHANCE_YOUR_CALM)
                    && report.ended.is_some()
                    && report.counted > 0.0
            }
            End::Reaped => report.ended.is_some(),
        };
        let (p99, growth) = (report.p99(), report.growth_bytes / 1024);
        println!(
            "{}: {} sent, GOAWAY {:?}, {:?}, counted {}, p99 {p99:?}, memory +{growth} KiB",
            attack.name, report.sent, report.goaway, report.ended, report.counted
        );
        if !is_over {
            failures.push(format!("{} goes on", attack.name));
        }
        if report.growth_bytes > GROWTH_BYTES_MAX {
            failures.push(format!("{}: memory grows by {growth} KiB", attack.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
