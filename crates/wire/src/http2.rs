//! HTTP/2 on the wire (RFC 9113), as far as it is not left to the `h2` crate: frame heads, and the
//! [`Guard`] that stands before it.
//!
//! Not here: field blocks (RFC 7541), streams, flow control.

mod budget;
pub mod frame;
mod guard;
mod scanner;
mod streams;
mod violation;

pub use guard::{Guard, GuardLimits};
pub use violation::{Flood, Violation};
