//! Closing a client's connection so that what was sent arrives.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use net::{Size, Stream};
use observe::Refusal;

use crate::client::Client;
use crate::core::Core;
use crate::patience::DeliveryState;

/// How long a closing connection is read, so that a reset does not destroy the last response (RFC
/// 9112, section 9.6): without a byte, and in all. Many clients read a response only after they
/// have sent everything, however early it came.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);
/// Refuses a connection that exceeds the limits with 503, as far as that is possible without
/// waiting.
pub(crate) async fn refuse_with_503(stream: Stream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
        Content-Length: 34\r\nRetry-After: 1\r\nConnection: close\r\n\
        Proxy-Status: bothways; error=http_request_denied\r\n\r\nthe proxy has too many connections";
    send(&stream, ANSWER).await;
}

/// Sends a last response to a client, as far as that is possible without waiting.
pub(crate) async fn send_and_close(client: Client, answer: &[u8]) {
    send(&client.stream, answer).await;
}

async fn send(stream: &Stream, answer: &[u8]) {
    let written = stream.write(answer).await;
    if written.is_ok() && stream.shutdown_write().is_ok() {
        let _ = tokio::time::timeout(LINGER, stream.read(&mut [0; 1024])).await;
    }
}

/// Shuts the sending direction and reads on, so that what was sent arrives.
pub(crate) async fn linger(core: &Core, client: &Client) {
    if client.stream.shutdown_write().is_err() {
        return;
    }
    let mut buffer = core.buffers.buffer(Size::Large);
    let begun = core.wheel.now();
    let mut delivery_wait = client.delivery_wait(core.wheel.now());
    let mut patience = LINGER;
    loop {
        client.alarm.set(patience);
        let more = poll_fn(|cx| match buffer.poll_fill(cx, &client.stream) {
            Poll::Ready(filled) => Poll::Ready(Some(filled.unwrap_or(0))),
            Poll::Pending => client.alarm.poll_fired(cx).map(|()| None),
        });
        let more = more.await;
        buffer.clear();
        let lasts = core.wheel.now().saturating_duration_since(begun);
        match more {
            Some(0) => return,
            Some(_) if lasts < LINGER_IN_ALL => continue,
            Some(_) | None => {}
        }
        // A close with unread bytes resets the connection, and would destroy what is still under
        // way.
        match delivery_wait.look(&client.stream, core.wheel.now()) {
            DeliveryState::Delivered => return,
            DeliveryState::Pending(again) => patience = again,
            DeliveryState::GivenUp => return client.stream.reset_when_closed(),
        }
    }
}

/// Counts and reports a connection that is closed before anything was served.
pub(crate) fn refused(core: &Core, client: &Client, refusal: Refusal) {
    core.metrics.connection_refused(client.listening.slot, refusal);
    let (address, why) = (client.address.get(), refusal.name());
    observe::log_limited!(WARN, client = %address, why, "connection refused");
}
