//! Scripted peers, fixtures and corpora for the tests of Bothways.
//!
//! Stories put a real proxy (`server`) between scripted clients and origins ([`peer`], [`origin`];
//! [`h2raw`] for single HTTP/2 frames). Everything runs on loopback with blocking sockets. A story
//! never sleeps to let something happen: it waits for a condition, and fails after
//! [`peer::DEADLINE`]. There are also oracles ([`naive`], [`mod@print`]) and the bodies of the fuzz
//! targets ([`fuzzing`]).

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
