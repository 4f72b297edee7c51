//! Sending a request to an endpoint of its destination, and relaying the response.
//!
//! [`run`] obtains a connection from the destination and tries it (`attempt`), and tries another endpoint where
//! that is safe (`attempt::settle`) and allowed (`retry`). Copies of requests, which no client waits for, take
//! the same path (`mirror`).

use message::Version;
use observe::ErrorKind;

use crate::admission::is_secure;
use crate::answer;
use crate::attempt::{Attempt, Settlement};
use crate::body::Reset;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::destination::{Destination, FoundLink, NextTry, NoConnection, Search};
use crate::downstream::{Downstream, Reply};
use crate::ending::{Ending, gone};
use crate::hops;
use crate::login;
use crate::plan::Plan;
use crate::trouble::Trouble;
use crate::work::Work;

/// Forwards a request to an endpoint of `destination`, and relays the response.
pub(crate) async fn run<D: Downstream>(
    context: &Context<'_>,
    work: &mut Work,
    down: &mut D,
    destination: &mut Destination<'_>,
    plan: &Plan<'_>,
) -> Ending {
    work.replay.clear();
    let settings = &plan.settings.timeouts;
    let (started, limit) = (work.record.started, settings.request);
    let deadline_settings = destination.deadline();
    let deadline = Deadline::new(context, started, limit, deadline_settings, &work.request);
    let deadline = deadline.as_ref();
    if work.request.upgrade && !work.request.body.is_empty() && destination.speaks_only_http2() {
        // RFC 9110, section 7.8: a server may ignore an upgrade.
        work.request.upgrade = false;
    }
    if work.request.upgrade && destination.is_scgi() {
        if work.request.version == Version::Http2 {
            // RFC 8441, section 5: without a change of protocols an answer of success would begin a tunnel.
            let detail = "the upstream speaks SCGI, which has no WebSockets";
            let trouble = Trouble::new(ErrorKind::NotImplemented, detail);
            return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
        }
        work.request.upgrade = false;
    }
    if login::wants_http1(&work.request) {
        down.split().1.break_off(Reset::Http11Required);
        let detail =
            "NTLM logs in for a connection, which is not known to be one client's over HTTP/2";
        work.record.fail(ErrorKind::HttpRequestError, detail);
        return Ending::Broken;
    }
    destination.prepare(
        &work.request,
        &work.record,
        context.requester.connection.map(|client| &client.bound),
    );
    let retries = &destination.retries(context, work.record.started);
    let search = Search { context, settings, retries, deadline };
    let mut turn = NextTry::First;
    loop {
        let found = destination.connect(&search, &mut work.record, down.split().0, turn).await;
        let FoundLink { link, mut timeouts } = match found {
            Ok(found) => found,
            Err(NoConnection::ClientGone) => return gone(&mut work.record),
            Err(NoConnection::Trouble(trouble)) => {
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        };
        timeouts.first_byte = retries.first_byte(timeouts.first_byte);
        work.record.reused = link.reused();
        let binding = destination.binding(is_secure(&work.request));
        let attempt = Attempt {
            context,
            plan,
            timeouts,
            retries,
            deadline,
            scope: work.record.scope,
            kept_for_copies: work.kept_for_copies,
            endpoint: destination.endpoint(),
            binding,
            hedge_after: destination.hedge_after(&work.request),
            is_hedge: false,
        };
        if let (Some(deadline), Some(deadline_settings)) = (deadline, deadline_settings) {
            deadline.write(deadline_settings, &mut work.request);
        }
        let own = &context.view.shared.own_addresses;
        let to_us = hops::leads_to_us(
            own,
            &link,
            context.requester.connection.map(|client| &client.stream),
        );
        hops::mark(&mut work.request, to_us, work.record.scope);
        destination.write_host(&work.request, plan.settings, &mut work.host);
        match attempt.run(link, work, down, destination).await {
            Settlement::Ended(ending) => return ending,
            Settlement::Retry(next) => turn = next,
            Settlement::Failed(trouble) => {
                destination.log_trouble(&trouble);
                return answer::trouble(context, work, down, Some(plan.settings), trouble).await;
            }
        }
    }
}
