//! How it stands with one endpoint, shared by all cores and over reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::latency::Latency;

/// How it stands with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It takes requests.
    #[default]
    Up,
    /// Its checks fail.
    Down,
    /// It is let be for a while because of what requests have shown.
    Ejected,
    /// It takes only those that are bound to it.
    Draining,
}

/// The state of one endpoint: a few atomics, written by all cores.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointState {
    name: Arc<str>,
    in_flight: AtomicU32,
    latency: Latency,
}

impl EndpointState {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self { name, in_flight: AtomicU32::new(0), latency: Latency::default() }
    }

    /// As written in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Requests under way, over all cores.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How it stands with it.
    pub fn standing(&self) -> Standing {
        Standing::Up
    }

    /// How long it takes to begin a response, of late, in microseconds: for algorithms. `now_ms` is
    /// [`millis`](crate::clock::millis) of now.
    pub fn latency_micros(&self, now_ms: u64) -> Option<f32> {
        self.latency.micros(now_ms)
    }

    /// Counts one request more, unless there are `max` already.
    pub(crate) fn enter(&self, max: Option<u32>) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if max.is_some_and(|max| before >= max) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
