//! The parts of HTTP/2 on the wire (RFC 9113) that are not left to the `h2` crate: frame headers, field blocks
//! (RFC 7541), the rules for messages, and the [`Guard`] in front of `h2`.
//!
//! Not here: streams, flow control.

mod block;
mod budget;
mod field_block;
pub mod frame;
mod guard;
pub mod hpack;
mod scanner;
mod streams;
mod violation;

pub use block::Malformed;
pub use field_block::{CARRIED_EXTRA, CARRIER, FieldBlock, PackedFields};
pub use guard::{Guard, GuardLimits, GuardMemory, Inspection};
pub use violation::{Violation, ViolationKind};
