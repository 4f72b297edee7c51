//! Stories of sessions in memory: ours against ours, and ours against rustls' own connections.

mod certificates;
mod hello;
mod pair;
mod pki;
mod records;
mod resumption;
mod trust;
