//! TLS of Bothways.
