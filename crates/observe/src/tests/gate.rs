//! The gate of the error log, at a call site.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts events and what they say was suppressed.
#[derive(Default)]
struct Counts {
    events: AtomicU64,
    suppressed: AtomicU64,
}

struct Counting(Arc<Counts>);

impl Visit for &Counting {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "suppressed" {
            self.0.suppressed.fetch_add(value, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        event.record(&mut &*self);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_flood_is_a_few_events() {
    let counts = Arc::new(Counts::default());
    tracing::subscriber::with_default(Counting(Arc::clone(&counts)), || {
        for number in 0..10_000 {
            crate::log_limited!(WARN, per_second = 5, number, "flood");
            crate::log_limited!(DEBUG, "{} not wanted", number);
        }
    });
    let events = counts.events.load(Ordering::Relaxed);
    // Five a second, however many seconds that took.
    assert!((5..5_000).contains(&events), "{events}");
    assert!(counts.suppressed.load(Ordering::Relaxed) <= 10_000 - events);
}
