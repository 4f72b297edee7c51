//! Stories: a real proxy between clients and origins that do exactly what they are told.
//!
//! One binary, as linking many would take longer than running them.

mod answers;
mod applications;
mod bodies;
mod caching;
mod chaos;
mod deadlines;
mod discovery;
mod fields;
mod files;
mod forward;
mod framing;
mod half_closed;
mod health;
mod hedging;
mod hosts;
mod http2;
mod identity;
mod keep_alive;
mod limits;
mod logins;
mod loops;
mod mirrors;
mod origins;
mod paths;
mod pool;
mod pools;
mod queues;
mod records;
mod reload;
mod retries;
mod scgi;
mod staying;
mod tls;
mod tls_sites;
mod unruly;
mod upgrade;
mod upstream_h2;
mod upstream_tls;
mod versions;
