//! Endpoints: how one is reached, and the protocols that it may speak.
//!
//! The [`Connector`](connector) finds an open connection or opens a new one (`dial`), and gives a [`Link`] to
//! one exchange. Each protocol that endpoints speak is a file (`http1`, `http2`) with a
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

pub(crate) use ahead::fill;
pub(crate) use connector::{Connector, LinkNeeds};
pub(crate) use dial::{dial, is_our_limit, log_upstream_trouble};
pub(crate) use exchange::{
    Cancel, LinkState, NoHead, ResponseReader, Upload, UpstreamExchange, UpstreamHead,
};
pub(crate) use http1::write_head;
#[cfg(feature = "testing")]
pub(crate) use http2::heads::response as read_http2_response;
pub(crate) use link::{Alarms, FarEnd, Link, Protocol, over};
