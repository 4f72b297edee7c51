//! How much of the written bytes the peer of a connection has received.
//!
//! A write succeeds once the bytes are in the kernel, and the kernel may hold megabytes for a peer that reads none of
//! them. What the peer's side has acknowledged says more. It is queried only while a peer is slow, never for a request
//! that goes well.

use std::sync::OnceLock;

use nix::sys::socket::GetSockOpt;
use nix::sys::socket::sockopt::GetStruct;
use tokio::net::TcpStream;

/// How far the bytes that were written to a [`Stream`](crate::Stream) have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that the peer's side has acknowledged since the connection began (give or take one).
    pub acknowledged: u64,
    /// Bytes that are still in the kernel or on their way.
    pub pending: u64,
}

/// The front of `struct tcp_info` of `linux/tcp.h`, which only ever grows at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Info {
    /// States, times and counts of segments.
    front: [u64; 13],
    pacing: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
    segments: [u32; 2],
    notsent_bytes: u32,
    min_rtt: u32,
    data_segments: [u32; 2],
    delivery_rate: u64,
    busy: [u64; 3],
    delivered: [u32; 2],
    bytes_sent: u64,
    bytes_retrans: u64,
}

impl Info {
    /// Whether the connection is broken or has ended.
    fn is_over(&self) -> bool {
        const TCP_CLOSE: u8 = 7;
        let [first, ..] = self.front;
        let [state, ..] = first.to_ne_bytes();
        state == TCP_CLOSE
    }
}

#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Info, GetStruct<Info>);

/// Queries the kernel; `None` if it does not say.
pub(crate) fn of(socket: &TcpStream) -> Option<Delivery> {
    if !is_told() {
        return None;
    }
    let info = TcpInfo.get(socket).ok()?;
    if info.is_over() {
        return Some(Delivery { acknowledged: info.bytes_acked, pending: 0 }); // nothing of it can arrive any more
    }
    let arrived = info.bytes_acked.saturating_add(info.bytes_retrans);
    let under_way = info.bytes_sent.saturating_sub(arrived);
    let pending = under_way + u64::from(info.notsent_bytes);
    Some(Delivery { acknowledged: info.bytes_acked, pending })
}

/// Whether this kernel fills all of [`Info`]: since Linux 4.19.
fn is_told() -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| {
        let name = rustix::system::uname();
        let release = name.release().to_str().unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let (major, minor) = (numbers.next(), numbers.next());
        matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (4, 19))
    })
}
