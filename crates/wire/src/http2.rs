//! HTTP/2 on the wire (RFC 9113), as far as it is not left to the `h2` crate: frame heads, field
//! blocks (RFC 7541), what a message must be, and the [`Guard`] that stands before `h2`.
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
