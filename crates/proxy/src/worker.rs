//! Workers: what an exchange needs while it runs, used again and again.
//!
//! An idle connection is a small task that waits for bytes. Once some arrive it borrows a
//! [`Worker`] from its core, which holds the memory of a whole exchange (heads, record, buffers,
//! the state of its futures), and gives it back when the exchange is over. Workers are taken last
//! in, first out, so that the same memory stays in the cache however many connections there are,
//! and a request allocates nothing.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use message::{Request, Response};
use net::Alarm;
use observe::Record;

use crate::connection::{self, Next};
use crate::core::{Client, Core};
use crate::forward::Named;
use crate::http2::{self, Arrived};
use crate::mirror::Chosen;
use crate::replay::Replay;

/// The memory of one exchange.
pub(crate) struct Bench {
    pub(crate) work: Work,
    /// For what comes from the client.
    pub(crate) alarm: Alarm,
    /// For what goes to it, where the connection's own alarm is not the exchange's to use.
    pub(crate) reply_alarm: Alarm,
}

/// The part of it that every protocol has.
pub(crate) struct Work {
    pub(crate) request: Request,
    pub(crate) response: Response,
    pub(crate) record: Record,
    /// The client's address, as text.
    pub(crate) address: String,
    /// The path and the host sent upstream.
    pub(crate) path: Vec<u8>,
    pub(crate) host: String,
    /// The readings of its path, if there are several.
    pub(crate) readings: message::Readings,
    /// Where a forward client wants to go.
    pub(crate) named: Named,
    /// A body of our own.
    pub(crate) body: Vec<u8>,
    /// What is kept of the request's body.
    pub(crate) replay: Replay,
    /// For which mirrors the request is copied once its body has been read.
    pub(crate) mirrored: Chosen,
}

impl Bench {
    fn new(core: &Core) -> Self {
        let work = Work {
            request: Request::default(),
            response: Response::default(),
            record: Record::new(std::time::Instant::now()),
            address: String::with_capacity(48),
            path: Vec::with_capacity(128),
            host: String::with_capacity(64),
            readings: message::Readings::default(),
            named: Named::default(),
            body: Vec::new(),
            replay: Replay::default(),
            mirrored: Chosen::default(),
        };
        Self { work, alarm: core.wheel.alarm(), reply_alarm: core.wheel.alarm() }
    }

    /// Gives back memory that an unusual exchange took.
    fn shrink(&mut self) {
        const USUAL: usize = 32 * 1024;
        let Work { request, response, path, readings, body, replay, .. } = &mut self.work;
        if request.fields.len() > 64 {
            request.fields.shrink();
        }
        if response.fields.len() > 64 {
            response.fields.shrink();
        }
        path.shrink_to(USUAL);
        readings.shrink();
        body.shrink_to(USUAL);
        replay.shrink();
    }
}

/// What a worker can be given to do.
pub(crate) enum Job {
    /// What has arrived on a connection that speaks HTTP/1.
    Connection(Rc<Client>),
    /// A request that came on a stream of HTTP/2.
    Stream(Box<Arrived>),
}

/// The place where a job is handed over and its outcome comes back.
#[derive(Default)]
struct Desk {
    job: RefCell<Option<Job>>,
    outcome: RefCell<Option<Next>>,
}

/// Carries one exchange after another.
pub(crate) struct Worker {
    desk: Rc<Desk>,
    future: Pin<Box<dyn Future<Output = Infallible>>>,
}

impl Worker {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        let desk = Rc::new(Desk::default());
        let future = Box::pin(work(Rc::downgrade(core), Bench::new(core), Rc::clone(&desk)));
        Self { desk, future }
    }

    /// Does a job. If this is dropped in between, the worker must be dropped too.
    pub(crate) async fn serve(&mut self, job: Job) -> Next {
        *self.desk.job.borrow_mut() = Some(job);
        poll_fn(|cx| {
            let Poll::Pending = self.future.as_mut().poll(cx);
            match self.desk.outcome.borrow_mut().take() {
                Some(outcome) => Poll::Ready(outcome),
                None => Poll::Pending,
            }
        })
        .await
    }
}

async fn work(core: std::rc::Weak<Core>, mut bench: Bench, desk: Rc<Desk>) -> Infallible {
    loop {
        let job = poll_fn(|_| match desk.job.borrow_mut().take() {
            Some(job) => Poll::Ready(job),
            None => Poll::Pending,
        })
        .await;
        // A worker whose core has gone is never given a job.
        let Some(core) = core.upgrade() else { return std::future::pending().await };
        let outcome = match job {
            Job::Connection(client) => connection::serve(&core, &client, &mut bench).await,
            Job::Stream(arrived) => http2::serve_stream(&core, *arrived, &mut bench).await,
        };
        bench.shrink();
        *desk.outcome.borrow_mut() = Some(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of an exchange under way: it should stay in the cache.
    #[test]
    fn a_worker_stays_small() {
        const BYTES_MAX: usize = 13 * 1024 + 512;
        fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of_future(work);
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }
}
