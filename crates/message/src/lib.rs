//! What travels through Bothways: method, canonical target, fields, body length, status.
//!
//! A [`Request`] is filled once, at the edge, by the code for the client's protocol, and is strict and canonical from
//! then on: routing, authorisation and the upstream use the same value. Values are reused: [`Request::clear`] keeps
//! their memory, so that a connection in steady state allocates nothing.
//! Not here: bytes on the wire (`wire`), routing and forwarding (`rules`, `proxy`).

mod certificate;
mod conditions;
mod dates;
mod fields;
mod method;
mod named;
mod ranges;
mod request;
mod request_id;
mod response;
mod target;

pub use certificate::ClientCertificate;
pub use conditions::{Precondition, Validators};
pub use dates::parse_date;
pub use fields::{Field, Fields, Known, are_twins, tells_of_client};
pub use method::{Method, MethodError, is_token_byte};
pub use named::{cookie, cookies, query_parameter};
pub use ranges::{ByteRange, RANGES_MAX, RangeList, Ranges, write_unsatisfied_range};
pub use request::{BodyLength, Request, Version};
pub use request_id::RequestId;
pub use response::{Response, reason_phrase};
pub use target::{Form, PathSteps, Readings, Scheme, Target, TargetError, TooManyReadings};
