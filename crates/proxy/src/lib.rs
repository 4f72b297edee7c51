//! The data plane of Bothways.

pub mod observe;
