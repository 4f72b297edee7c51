//! What operators see: the record of an exchange, the access log, the metrics, error kinds, and the gate
//! of the error log.
//!
//! The data plane fills a [`Record`] per exchange and, when it is over, gives it to the core's
//! [`AccessLog`] and [`CoreMetrics`]. Both look names up in the [`Names`] of the snapshot that the
//! exchange ran under. The access log's lines go to the one [`AccessWriter`] thread, the counters
//! to the one [`Registry`], which the control thread reads.
//! Invariant: nothing here makes a core wait, and nothing here allocates per exchange in steady
//! state. What has no room is dropped and counted.
//! To add a log field: a row in `json`. A metric: a counter in `metrics`, a row in `families`. An error
//! kind: a row in `error_kind`. Each also needs its row in `docs/operations.md`; tests compare.

mod access_log;
mod clock;
mod counter;
mod datagrams;
mod error_kind;
mod escape;
mod exposition;
mod families;
mod format;
mod histogram;
mod json;
mod labels;
mod line;
mod logs;
mod metrics;
mod names;
mod process;
mod rate_limit;
mod recent;
mod record;
mod registry;
mod report;
mod reuse;
mod scrape;
mod sink;
mod text;
mod writer;

#[cfg(test)]
mod tests;

pub use access_log::AccessLog;
pub use error_kind::{Blame, ErrorKind};
pub use exposition::Exposition;
pub use logs::{AccessLogs, KeptNames, LogProblem, LogTargets, log_problem};
pub use metrics::{
    CoreMetrics, EndpointSlot, HandshakeFailure, ListenerSlot, MirrorResult, Refusal, ScopeSlot,
};
pub use names::Names;
pub use rate_limit::{RateLimited, suppressed_total};
pub use recent::Recent;
pub use record::{CacheOutcome, Direction, KeptFields, Record, RetryReason, Scope, Try};
pub use registry::{Caps, LogCounters, LookupResult, Registry};
pub use report::{
    CacheCounts, CacheReport, CheckHealth, CheckResult, EndpointHealth, EndpointReport, LastCheck,
    UpstreamReport,
};
pub use text::{TARGET_BYTES_MAX, TEXT_BYTES_MAX, Text};
pub use writer::AccessWriter;

/// For [`log_limited!`], which may be used where `tracing` is not.
#[doc(hidden)]
pub use tracing;
