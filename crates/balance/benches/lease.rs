//! What a request costs besides the choice itself: pick, report, end, with everything switched on.
//! With several threads they share the endpoints, as cores do. A table of allocations below a row,
//! if any, would be a regression.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use balance::{Balancer, Group, Outcome, PickRequest, States};
use config::{Adaptive, Endpoint, EndpointAddress, Place, Upstream};
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Requests per sample and thread; their balancer is made anew for each.
const REQUESTS: u32 = 2000;

thread_local! {
    /// Which core this thread is.
    static CORE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % 2
    };
}

fn upstream(endpoints: u32, everything: bool) -> Upstream {
    let endpoint = |index: u32| {
        let address = ([10, 0, (index >> 8) as u8, index as u8], 80).into();
        let mut endpoint = Endpoint::new(format!("endpoint-{index}"), EndpointAddress::Ip(address));
        endpoint.max = everything.then_some(1000);
        endpoint
    };
    let mut upstream = Upstream::new("app", (0..endpoints).map(endpoint).collect());
    if everything {
        upstream.slow_start = Duration::from_secs(30);
        upstream.adaptive = Some(Adaptive { place: Place::default(), min: 100, max: 1000 });
        upstream.breaker.in_flight = Some(100_000);
    }
    upstream
}

fn requests(bencher: Bencher<'_, '_>, endpoints: u32, everything: bool) {
    let group: Arc<Group> = States::default().group(&upstream(endpoints, everything));
    let now = Instant::now() + Duration::from_secs(1);
    let first_byte = Duration::from_micros(200);
    bencher.counter(divan::counter::ItemsCount::new(REQUESTS)).bench(|| {
        // A core's part cannot leave its thread.
        let core = Rc::new(Balancer::new(Arc::clone(&group), CORE.with(|core| *core)));
        for request in 0..REQUESTS {
            let now = now + Duration::from_micros(u64::from(request) * 20);
            core.count_request(now);
            let ask = PickRequest { key: u64::from(request), bound: None, tried: &[], now };
            let mut lease = core.pick(&ask).expect("all are up");
            lease.report(Outcome::Response { status: 200, first_byte }, &"", now);
        }
    });
}

/// As by default: p2c, ejection, retries.
#[divan::bench(args = [3, 1000], threads = [1, 2])]
fn by_default(bencher: Bencher<'_, '_>, endpoints: u32) {
    requests(bencher, endpoints, false);
}

/// With limits, slow start and adaptive concurrency as well.
#[divan::bench(args = [3, 1000], threads = [1, 2])]
fn everything(bencher: Bencher<'_, '_>, endpoints: u32) {
    requests(bencher, endpoints, true);
}
