//! Sockets of Bothways: streams, listeners, dialling with the address guard, buffers, timers, names.
//!
//! The only crate that names socket types. Above it there is a [`Stream`] to read from and write to, a
//! [`Listener`] to accept from, [`dial`] to open connections, [`relay`] to move bytes without looking at
//! them, [`Buffers`] and a [`Wheel`] of deadlines that cost nothing per request, and a [`Resolver`].
//! Not here: protocols, and decisions on what may be connected to ([`AddressKind`] only classifies addresses).
//! Everything that carries a connection belongs to one thread, and its runtime is a tokio `LocalRuntime`; an idle one
//! may move to another ([`DetachedStream`]).

mod address;
mod buffers;
mod delivery;
mod dial;
mod layered;
mod listen;
mod memory;
mod pass;
mod relay;
mod resolve;
mod socket;
mod stream;
mod system;
mod wheel;

pub use address::{AddressKind, embedded_v4};
pub use buffers::{BUFFER_BYTES_LARGE, BUFFER_BYTES_SMALL, Buffer, Buffers, Size};
pub use delivery::Delivery;
pub use dial::{AddressRefusal, Connect, DialError, TcpConnector, dial, dial_with};
pub use layered::{Layer, LayerRead};
pub use listen::{Listener, ListenerSet, RawListener};
pub use pass::{Channel, Packet};
pub use relay::{RelayError, Side, relay};
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use resolve::message::testing;
pub use resolve::{
    Answer, ResolveError, Resolver, ResolverSettings, Service, WatchState, WatchedName,
};
pub use socket::{Socket, SocketConnector};
pub use stream::{DetachedStream, Peer, Stream};
pub use system::{
    is_our_lack, is_shortage, open_files_limit, pin_to_core, raise_open_files_limit, usable_cores,
};
pub use wheel::{Alarm, TICK_DEFAULT, Wheel};
