//! Endpoints: how one is reached, and the protocols that it may speak.
//!
//! The [`Connector`](connector) finds an open connection or opens a new one (`dial`), and gives a [`Link`] to
//! one exchange. Each protocol that endpoints speak is a file (`http1`, `http2`, `scgi`) with a
//! [`Protocol`] and an [`UpstreamExchange`], and a row of [`Link`]. `ahead` opens connections
//! before they are needed.
//! Not here: the choice of an endpoint (`destination`), idle connections (`pool`).

mod ahead;
mod connector;
mod dial;
mod exchange;
mod http1;
mod http2;
mod link;
mod scgi;

pub(crate) use ahead::fill;
pub(crate) use connector::{Connector, LinkNeeds};
pub(crate) use dial::{dial, is_our_limit, log_upstream_trouble};
pub(crate) use exchange::{
    Alarms, Cancel, FarEnd, LinkState, NoHead, Protocol, ResponseReader, Upload, UpstreamExchange,
    UpstreamHead,
};
#[cfg(feature = "testing")]
pub(crate) use http2::heads::response as read_http2_response;
pub(crate) use link::{Link, over, print_head};
