//! Adaptive concurrency against a server whose capacity is known, in simulated time.

#[path = "simulation/mod.rs"]
mod simulation;

use simulation::{Phase, mean, run, upstream};

/// 40 workers, 20 ms each: 2000 requests a second, the knee is at 40 requests at once.
const WELL: Phase = Phase { from: 0.0, workers: 40, service: 0.020, rate: 1000.0 };

#[track_caller]
fn within(what: &str, found: f64, range: std::ops::RangeInclusive<f64>) {
    assert!(range.contains(&found), "{what}: {found:.4} is not within {range:?}");
}

#[test]
fn under_its_capacity_nobody_is_refused() {
    let slices = run(&upstream(Some((4, 1000))), &[WELL], 60.0, 2);
    let refused = mean(&slices, 2.0, 60.0, |s| f64::from(s.refused));
    within("refused per slice", refused, 0.0..=0.1);
    within("latency", mean(&slices, 2.0, 60.0, |s| s.latency), 0.014..=0.022);
}

#[test]
fn above_it_throughput_is_whole_and_latency_bounded() {
    for cores in [1, 2, 8] {
        let overload = Phase { rate: 4000.0, ..WELL };
        let slices = run(&upstream(Some((4, 1000))), &[overload], 120.0, cores);
        within("throughput", mean(&slices, 10.0, 120.0, |s| f64::from(s.answered)), 188.0..=205.0);
        within("latency", mean(&slices, 10.0, 120.0, |s| s.latency), 0.018..=0.045);
        within("limit", mean(&slices, 10.0, 120.0, |s| s.limit), 40.0..=90.0);
    }
    // Without it, everybody waits for as long as there is overload.
    let slices = run(&upstream(None), &[Phase { rate: 4000.0, ..WELL }], 20.0, 1);
    within("latency without", slices.last().unwrap().latency, 5.0..=15.0);
}

#[test]
fn follows_when_capacity_changes() {
    let phases = [
        Phase { rate: 3000.0, ..WELL },
        Phase { from: 40.0, workers: 10, rate: 3000.0, ..WELL },
        Phase { from: 80.0, rate: 3000.0, ..WELL },
    ];
    let slices = run(&upstream(Some((4, 1000))), &phases, 120.0, 2);
    within("throughput", mean(&slices, 45.0, 80.0, |s| f64::from(s.answered)), 46.0..=51.0);
    within("latency", mean(&slices, 45.0, 80.0, |s| s.latency), 0.018..=0.060);
    within(
        "throughput after",
        mean(&slices, 90.0, 120.0, |s| f64::from(s.answered)),
        185.0..=205.0,
    );
    within("latency after", mean(&slices, 90.0, 120.0, |s| s.latency), 0.018..=0.045);
}

/// Requests that have become slower by themselves are no queue: the limit grows with them.
#[test]
fn slower_requests_are_told_from_a_queue() {
    let phases = [
        Phase { rate: 1000.0, ..WELL },
        Phase { from: 30.0, workers: 400, service: 0.200, rate: 1000.0 },
    ];
    let slices = run(&upstream(Some((4, 1000))), &phases, 90.0, 2);
    within("throughput", mean(&slices, 60.0, 90.0, |s| f64::from(s.answered)), 95.0..=105.0);
}

/// It begins in the middle of overload, and has never seen the server without a queue.
#[test]
fn a_base_that_was_taken_under_load_is_put_right() {
    let phases = [Phase { from: 0.0, workers: 8, service: 0.020, rate: 4000.0 }];
    let slices = run(&upstream(Some((4, 1000))), &phases, 240.0, 2);
    within("latency", mean(&slices, 120.0, 240.0, |s| s.latency), 0.018..=0.060);
    within("throughput", mean(&slices, 120.0, 240.0, |s| f64::from(s.answered)), 36.0..=41.0);
}

#[test]
fn bounds_are_kept() {
    let overload = Phase { rate: 4000.0, workers: 1, ..WELL };
    let slices = run(&upstream(Some((7, 1000))), &[overload], 30.0, 1);
    assert!(slices.iter().all(|s| s.limit >= 7.0));
    let slices = run(&upstream(Some((1, 25))), &[Phase { rate: 1500.0, ..WELL }], 30.0, 1);
    assert!(slices.iter().all(|s| s.limit <= 25.0));
}
