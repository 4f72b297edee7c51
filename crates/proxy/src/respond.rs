//! The one way out: every response to a client is sent here, whatever its origin.
//!
//! [`respond`] finishes the head (edits of the route, cookies that bind the client,
//! `Strict-Transport-Security`, `Proxy-Status`), starts the reply, and moves the body from its source by the
//! one loop (`body::pump`). The response of an endpoint, a response of our own and a file differ in their
//! [`ResponseOrigin`] and in their source, and in nothing else.
//! Not here: the content of our own responses (`answer`), what the end of an endpoint's response means
//! (`attempt::settle`).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use message::{Known, Request, Response};
use observe::Scope;

use crate::admission;
use crate::body::{PumpError, Source, pump_sifted};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::downstream::Reply;
use crate::leaving;
use crate::plan::Plan;
use crate::trouble::Trouble;

/// Where a response comes from.
#[derive(Clone, Copy)]
pub(crate) enum ResponseOrigin<'a> {
    /// An endpoint.
    Endpoint(&'a Plan<'a>),
    /// The proxy, as a route says.
    Route(&'a Plan<'a>),
    /// The proxy, in place of what a route says: an error, for example. Its fields are edited as the site says,
    /// if that is known.
    Proxy(Option<&'a Plan<'a>>),
}

impl<'a> ResponseOrigin<'a> {
    fn plan(self) -> Option<&'a Plan<'a>> {
        match self {
            Self::Endpoint(plan) | Self::Route(plan) => Some(plan),
            Self::Proxy(plan) => plan,
        }
    }
}

/// Sends a response with the body from `source`. `bind` adds the cookies that bind the client; it runs after
/// the edits of the route, which concern what the endpoint says. `keep`: the proxy has no reason to close the
/// client's connection.
pub(crate) async fn respond<R: Reply>(
    context: &Context<'_>,
    (request, response): (&Request, &mut Response),
    (origin, scope): (ResponseOrigin<'_>, Scope),
    bind: impl FnOnce(&mut Response),
    keep: bool,
    source: &mut impl Source,
    reply: &mut R,
) -> Result<(), PumpError> {
    let plan = origin.plan();
    if let Some(plan) = plan {
        leaving::response(request, response, plan, &context.core.scratch);
    }
    if let Some(status) = plan.and_then(|plan| plan.cache_status) {
        response.fields.push_known(Known::CacheStatus, status);
    }
    bind(response);
    if !matches!(origin, ResponseOrigin::Endpoint(_)) {
        sign(response);
        admission::mark(context, request, scope, response);
    }
    reply.head(request, response, keep, plan.and_then(|plan| plan.via));
    context.flow.begin_response();
    let rules = plan.map(leaving::Rules::of_response);
    let keeps = |field: message::Field<'_>| rules.is_none_or(|rules| rules.keeps_trailer(field));
    let pumped = pump_sifted(source, reply, keeps).await;
    if matches!(pumped, Err(PumpError::Reading(_))) {
        // The client gets what came before the error, above all the status. Whether that can be
        // sent does not change the error; over HTTP/2 the connection's task gets its turn to send
        // it.
        let _ = reply.flush().await;
        tokio::task::yield_now().await;
    }
    context.flow.end_response();
    pumped
}

/// Marks the response as ours, unless it has a more detailed mark (RFC 9209, section 2).
fn sign(response: &mut Response) {
    if !response.fields.has(Known::ProxyStatus) {
        response.fields.push_known(Known::ProxyStatus, b"bothways");
    }
}

/// Awaits the future until the deadline.
pub(crate) async fn in_time<T>(
    deadline: Option<&Deadline>,
    future: impl Future<Output = T>,
) -> Result<T, Trouble> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        match deadline {
            Some(deadline) => deadline.poll_passed(cx).map(|()| Err(deadline.trouble())),
            None => Poll::Pending,
        }
    })
    .await
}
