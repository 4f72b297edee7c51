//! Which responses are stored, and which requests they answer: RFC 9111 and its kin, as rules without I/O.
//!
//! A request is judged first ([`judge_request`]) and gets its key ([`write_key`]). A response is judged when it arrives
//! ([`judge_response`]), which gives its [`Lifetime`]; what is kept of its fields is [`stored_fields`]. A stored response is judged
//! for each request that it might answer ([`judge_reuse`]); if it must be validated, [`write_conditions`] makes the request for that and
//! [`update`] takes what a 304 says. The client's own conditions and ranges are judged against what is stored
//! ([`evaluate`], [`ranges`]).
//!
//! Times are arguments: nothing here reads a clock. Invariant: what a rule does not understand is not stored and not reused.

mod cache_status;
mod dates;
mod directives;
mod invalidation;
mod key;
mod lifetime;
mod lists;
mod policy;
mod ranges;
mod reason;
mod reuse;
mod search;
pub mod store;
mod structured;
mod tags;
mod targeted;
mod validation;
mod vary;

pub use cache_status::{CacheStatus, Outcome};
pub use dates::{date, delta_seconds};
pub use directives::{FieldsNamed, RequestDirectives, ResponseDirectives};
pub use invalidation::invalidated;
pub use key::{write_key, write_query, write_uri};
pub use lifetime::Lifetime;
pub use message::{ByteRange, Precondition, RangeList, Ranges};
pub use policy::{Arrival, RequestUse, judge_request, judge_response};
pub use ranges::{ContentRange, Multipart, can_combine, content_range, ranges};
pub use reason::Reason;
pub use reuse::{Reuse, judge_reuse, may_serve_on_error, only_if_cached};
pub use search::NoVarySearch;
pub use tags::{TAGS_MAX, TagKind, invalidated_groups, tags, write_group};
pub use targeted::TARGETS;
pub use validation::{
    HeadEffect, evaluate, judge_head, stored_fields, update, validates, write_conditions,
};
pub use vary::{Vary, VaryFields, write_variant};
