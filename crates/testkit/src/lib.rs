//! Scripted peers, fixtures and corpora for the tests of Bothways.

pub mod fuzzing;
pub mod naive;
pub mod print;
