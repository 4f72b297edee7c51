//! Workers: the memory that an exchange needs while it runs, reused by the next.
//!
//! An idle connection is a small task that waits for bytes. When some arrive it borrows a
//! [`Worker`] from its core, which holds the memory of a whole exchange (heads, record, buffers,
//! the state of its futures), and returns it when the exchange is over. Workers are taken last in,
//! first out, so that the same memory stays in the cache with any number of connections, and a
//! request allocates nothing.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::http1;
use super::stream::{self, StreamRequest};
use super::workspace::{Next, Workspace};
use crate::client::Client;
use crate::core::Core;

/// Workers kept for reuse per core.
const FREE_MAX: usize = 1024;

thread_local! {
    /// The free workers of the thread's core.
    static FREE: RefCell<Vec<Worker>> = const { RefCell::new(Vec::new()) };
}

/// Takes a worker, the one used last first.
pub(crate) fn borrow(core: &Rc<Core>) -> Worker {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Worker::new(core))
}

/// Returns a worker that is done.
pub(crate) fn give_back(worker: Worker) {
    FREE.with_borrow_mut(|free| {
        if free.len() < FREE_MAX {
            free.push(worker);
        }
    });
}

/// Drops the free workers, as their core ends.
pub(crate) fn forget_all() {
    drop(FREE.take());
}

/// The work that a worker can do.
pub(crate) enum Job {
    /// What has arrived on an HTTP/1 connection.
    Connection(Rc<Client>),
    /// A request on an HTTP/2 stream.
    Stream(Box<StreamRequest>),
}

/// Where a job is handed over and its outcome is returned.
#[derive(Default)]
struct Handover {
    job: RefCell<Option<Job>>,
    outcome: RefCell<Option<Next>>,
}

/// Runs one exchange after another.
pub(crate) struct Worker {
    handover: Rc<Handover>,
    future: Pin<Box<dyn Future<Output = Infallible>>>,
}

impl Worker {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        let handover = Rc::new(Handover::default());
        let future =
            Box::pin(work(Rc::downgrade(core), Workspace::new(core), Rc::clone(&handover)));
        Self { handover, future }
    }

    /// Does a job. If this future is dropped before its end, the worker must be dropped too.
    pub(crate) async fn serve(&mut self, job: Job) -> Next {
        *self.handover.job.borrow_mut() = Some(job);
        poll_fn(|cx| {
            let Poll::Pending = self.future.as_mut().poll(cx);
            match self.handover.outcome.borrow_mut().take() {
                Some(outcome) => Poll::Ready(outcome),
                None => Poll::Pending,
            }
        })
        .await
    }
}

async fn work(
    core: std::rc::Weak<Core>,
    mut workspace: Workspace,
    handover: Rc<Handover>,
) -> Infallible {
    loop {
        let job = poll_fn(|_| match handover.job.borrow_mut().take() {
            Some(job) => Poll::Ready(job),
            None => Poll::Pending,
        })
        .await;
        // A worker whose core has ended is never given a job.
        let Some(core) = core.upgrade() else { return std::future::pending().await };
        let outcome = match job {
            Job::Connection(client) => http1::serve(&core, &client, &mut workspace).await,
            Job::Stream(request) => stream::serve(&core, *request, &mut workspace).await,
        };
        workspace.shrink();
        *handover.outcome.borrow_mut() = Some(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of an exchange under way: it should stay in the cache.
    #[test]
    fn a_worker_stays_small() {
        const BYTES_MAX: usize = 15 * 1024;
        fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of_future(work);
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }
}
