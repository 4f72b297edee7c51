//! Protocols of Bothways as state machines without I/O.
//!
//! Bytes go in as slices, decisions come out; `Ok(None)` means that more bytes are needed. No
//! socket, no clock, so every path can be tested with byte strings.

pub mod grpc_health;
pub mod http1;
pub mod http2;
pub mod proxy_protocol;
pub mod scgi;
