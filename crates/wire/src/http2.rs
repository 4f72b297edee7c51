//! HTTP/2 on the wire (RFC 9113), as far as it is not left to the `h2` crate: frame heads, field
//! blocks (RFC 7541), what a message must be, and the [`Guard`] that stands before `h2`.
//!
//! Not here: streams, flow control.

mod block;
mod budget;
mod carried;
pub mod frame;
mod guard;
pub mod hpack;
mod scanner;
mod streams;
mod violation;

pub use block::Malformed;
pub use carried::{CARRIED_EXTRA, CARRIER, Carried, Packed};
pub use guard::{Guard, GuardLimits, Step, Workspace};
pub use violation::{Flood, Violation};
