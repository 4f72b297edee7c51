//! The data plane of Bothways: from a client's bytes to an upstream and back.
//!
//! A client's connection (`serve`) is a small task; when bytes arrive it borrows a worker that runs the
//! exchange (`exchange`): decide, then answer (`answer`) or forward (`fetch`) over a connection of the
//! destination (`destination`, `upstream`, `pool`). Forward clients name the destination themselves, and
//! the rules are applied first (`forward`). Every response to a client is sent in one place (`respond`),
//! and every body is moved by one loop (`body`); after CONNECT or an upgrade there is a `tunnel`. Every
//! exchange writes one record (the crate `observe`). All of it happens on one core ([`Server`] has many),
//! under one immutable `snapshot` of the configuration.

mod account;
mod admission;
mod answer;
mod application;
mod attempt;
mod authentication;
mod body;
mod caching;
mod client;
mod context;
mod core;
mod deadline;
mod destination;
mod downstream;
mod ending;
mod exchange;
mod fetch;
mod forward;
mod hops;
mod hsts;
mod http1;
mod http2;
mod identity;
mod key;
mod leaving;
mod listening;
mod login;
mod maintenance;
mod mirror;
mod note;
mod page;
mod patience;
mod plan;
mod pool;
mod preview;
mod replay;
mod report;
mod respond;
mod retry;
mod room;
mod secure;
mod serve;
mod server;
mod snapshot;
mod source;
mod split;
mod sticky;
mod sweep;
#[cfg(feature = "testing")]
pub mod testing;
mod transfer;
mod trouble;
mod trust;
mod tunnel;
mod upstream;
mod user_files;
mod websocket;
mod work;

pub use forward::rule_address;
pub use key::of as request_key;
pub use maintenance::{MaintenanceError, MaintenanceState};
pub use preview::{HeadRefusal, IncomingPreview, OutgoingPreview};
pub use server::{
    Change, Inherited, MembersError, Open, Purge, Server, StartError, StoredResponse,
};
pub use split::decided as split_part;
pub use sticky::{StickyCookie, key_file_problem};
pub use user_files::user_file_problem;
