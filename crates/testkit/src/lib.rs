//! Scripted peers, fixtures and corpora for the tests of Bothways.
//!
//! Stories put a real proxy (`server`) between clients and origins that do exactly what they are
//! told ([`peer`], [`origin`], by the frame [`h2raw`]). Everything runs on loopback with blocking sockets; nobody sleeps to
//! let something happen: a story waits for what it expects, and fails when [`peer::DEADLINE`] is
//! over. Beside that there are oracles ([`naive`], [`mod@print`]) and the harness of the fuzz targets
//! ([`fuzzing`]).

pub mod counting;
#[cfg(feature = "server")]
pub mod floods;
pub mod fuzzing;
pub mod h2raw;
pub mod message_text;
pub mod naive;
pub mod names;
pub mod origin;
pub mod peer;
pub mod print;
#[cfg(feature = "secure")]
pub mod secure;
#[cfg(feature = "server")]
pub mod server;
pub mod wait;
