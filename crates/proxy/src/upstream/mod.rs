//! Endpoints: how one is reached, and what is spoken with it.
//!
//! The [`Connector`](connector) finds a connection that is there or opens a new one (`dial`), and gives a [`Link`] to
//! one exchange. Each protocol that endpoints speak is a file (`http1`, `http2`) with a [`Speech`](link::Speech) and
//! an [`Upward`], and a row of [`Link`]. `ahead` opens connections before they are needed.
//! Not here: which endpoint it is (`destination`), connections that are kept (`pool`).

mod ahead;
mod connector;
mod dial;
mod http1;
mod http2;
mod link;
mod upward;

pub(crate) use ahead::fill;
pub(crate) use connector::{Wants, Way};
pub(crate) use dial::{complain_of, dial, is_our_limit};
pub(crate) use http1::write_head;
#[cfg(feature = "testing")]
pub(crate) use http2::heads::response as read_http2_response;
pub(crate) use link::{Alarms, FarEnd, Link, Speech, over};
pub(crate) use upward::{Answer, Cancel, Left, NoHead, Upload, UpstreamHead, Upward};
