//! Protocols of Bothways as state machines without I/O.
