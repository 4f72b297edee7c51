//! The data plane of Bothways.
