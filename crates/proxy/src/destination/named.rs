//! Connections to a host that the client named.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use config::UpstreamTimeouts;
use observe::Record;

use super::EndpointTimeouts;
use super::FoundLink;
use super::NamedDestination;
use super::NextTry;
use super::NoConnection;
use super::Presence;
use super::Search;
use super::in_time;
use crate::body::unless_zero;
use crate::core::Core;
use crate::deadline::Deadline;
use crate::pool::Connection;
use crate::upstream::{Link, dial};

impl NamedDestination<'_> {
    pub(super) async fn connect(
        &mut self,
        search: &Search<'_>,
        record: &mut Record,
        client: &mut impl Presence,
        next_try: NextTry,
        files_max: u64,
    ) -> Result<FoundLink, NoConnection> {
        let Search { context, settings, retries, deadline } = *search;
        let timeouts = EndpointTimeouts::new(settings, &UpstreamTimeouts::default());
        let core = context.core;
        match next_try {
            NextTry::First => {
                let port = self.addresses.first().map_or(0, SocketAddr::port);
                let own = context
                    .requester
                    .connection
                    .and_then(|c| c.bound.take_host(self.host, port, core.wheel.now()));
                if let Some(connection) = own
                    && connection.address.is_some_and(|address| (self.judge)(address).is_ok())
                {
                    record.dialled = connection.address;
                    return Ok(FoundLink { link: Link::http1(connection), timeouts });
                }
                for &address in self.addresses {
                    let pool = core.forward_pool(address, self.host, settings.upstream_idle);
                    if let Some(connection) = pool.take(core.wheel.now(), settings.upstream_idle)
                        && (self.judge)(address).is_ok()
                    {
                        record.dialled = connection.address;
                        self.pool = Some(pool);
                        return Ok(FoundLink { link: Link::http1(connection), timeouts });
                    }
                }
            }
            NextTry::SameEndpoint(failed) | NextTry::OtherEndpoint(failed) => {
                record.add_retry(retries.record_retry(&failed, None));
            }
        }
        let bounds = (timeouts.connect, files_max);
        let connection = self.dial(core, record, client, bounds, deadline).await?;
        self.pool = connection
            .address
            .map(|address| core.forward_pool(address, self.host, settings.upstream_idle));
        Ok(FoundLink { link: Link::http1(connection), timeouts })
    }

    /// Opens a new connection.
    pub(crate) async fn dial(
        &self,
        core: &Core,
        record: &mut Record,
        client: &mut impl Presence,
        (limit, files_max): (Duration, u64),
        deadline: Option<&Deadline>,
    ) -> Result<Connection, NoConnection> {
        let begun = Instant::now();
        let bounds = (unless_zero(limit), files_max);
        let dialling = dial(core, self.addresses, self.judge, bounds, self.host);
        let dialled = in_time(client, deadline, dialling).await?;
        record.connect = Some(begun.elapsed());
        let connection = dialled.map_err(NoConnection::Trouble)?;
        record.dialled = connection.address;
        Ok(connection)
    }
}
