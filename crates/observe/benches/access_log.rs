//! What a core pays per exchange for the access log and the metrics.
//!
//! A line is measured as the data plane pays for it: formatted into the core's chunk, full chunks
//! handed over to the writer, which writes them to `/dev/null` on its own thread. The record is
//! that of an ordinary request of a desktop browser, about 650 bytes as JSON.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{
    AccessFormat, Action, Config, Endpoint, EndpointAddress, EndpointId, Limits, Listener,
    ListenerId, LogTarget, Pattern, Place, ProxyProtocol, Route, RouteId, RouteSettings, Serves,
    Site, SiteId, SiteName, Timeouts, Upstream, UpstreamId,
};
use divan::Bencher;
use divan::counter::ItemsCount;
use observe::{
    AccessLog, AccessLogs, AccessWriter, Caps, CoreMetrics, Names, Record, Registry, Scope,
};

/// Counts allocations too: in steady state there are none per line.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const LINES: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    divan::main();
}

fn config() -> Config {
    let address = SocketAddr::from(([10, 0, 0, 1], 8080));
    let place = Place { file: 0, line: 12, column: 1 };
    let pattern = Pattern { written: "/api/*".into(), ..Pattern::all() };
    let route = Route::new(place, pattern, Action::To(UpstreamId(0)), RouteSettings::default());
    Config {
        files: vec!["/etc/bothways/bothways.kdl".into()],
        listeners: vec![Listener {
            address: SocketAddr::from(([0, 0, 0, 0], 80)),
            written: ":80".into(),
            place,
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Vec::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            tls: false,
            http2: true,
            serves: Serves::Sites(vec![SiteId(0)]),
        }],
        sites: vec![Site {
            place,
            names: vec![SiteName::Exact("shop.example.com".into())],
            listeners: vec![ListenerId(0)],
            routes: vec![route],
            base: RouteSettings::default(),
            tls: None,
            https: None,
        }],
        upstreams: vec![Upstream::new(
            "shop",
            vec![Endpoint::new("10.0.0.1:8080", EndpointAddress::Ip(address))],
        )],
        ..Config::default()
    }
}

fn record() -> Record {
    let mut record = Record::new(Instant::now());
    fill(&mut record);
    record
}

/// What the data plane does per exchange.
fn fill(record: &mut Record) {
    record.client = SocketAddr::from(([192, 0, 2, 7], 51234));
    record.scope = Scope::Site(SiteId(0), Some(RouteId(0)));
    record.decided = Place { file: 0, line: 12, column: 5 };
    record.target.set("http://");
    record.target.push("shop.example.com");
    record.target.push("/api/products/1234567?sort=price&page=3");
    record.status = 200;
    record.response_body_bytes = 12_345;
    record.received_bytes = 512;
    record.sent_bytes = 12_600;
    record.queue = Some(Duration::from_micros(12));
    record.first_byte = Some(Duration::from_micros(834));
    record.total = Duration::from_micros(1_021);
    record.endpoint = Some(EndpointId::new(UpstreamId(0), 0));
    record.dialled = Some(SocketAddr::from(([10, 0, 0, 1], 8080)));
    record.reused = true;
    record.referer.set("https://shop.example.com/products?category=17");
    record.user_agent.set(
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/131.0.0.0 Safari/537.36",
    );
}

struct Core {
    writer: AccessWriter,
    registry: Arc<Registry>,
    names: Names,
    logs: Arc<AccessLogs>,
    log: AccessLog,
}

fn core(format: AccessFormat) -> Core {
    let registry = Registry::new("bench", Caps::default());
    let names = Names::new(&config(), &registry);
    let target = LogTarget::File("/dev/null".into());
    let writer = AccessWriter::start(1, registry.log_counters()).expect("a thread can be started");
    let log = config::AccessLog { place: Place::default(), target, format, fields: None };
    let config = Config { logs: vec![log], ..config() };
    let logs = writer.targets().open(&config).expect("/dev/null can be opened");
    let log = writer.core_log();
    Core { writer, registry, names, logs, log }
}

fn lines(bencher: Bencher<'_, '_>, format: AccessFormat, change: fn(&mut Record)) {
    let mut core = core(format);
    let mut record = record();
    change(&mut record);
    let mut rounds = 0;
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        rounds += 1;
        for _ in 0..LINES {
            core.log.write(divan::black_box(&record), &core.names, &core.logs);
        }
    });
    core.log.flush();
    assert!(core.writer.sync(PATIENCE));
    let counters = core.registry.log_counters();
    assert_eq!(counters.written() + counters.dropped_queue_full(), rounds * LINES as u64);
    // Lines that are dropped cost the same but for the hand-over: only few may be.
    assert!(counters.dropped_queue_full() <= counters.written(), "{counters:?}");
}

#[divan::bench(sample_count = 300)]
fn json_line(bencher: Bencher<'_, '_>) {
    lines(bencher, AccessFormat::Json, |_| ());
}

#[divan::bench(sample_count = 300)]
fn json_line_with_escapes_and_ipv6(bencher: Bencher<'_, '_>) {
    lines(bencher, AccessFormat::Json, |record| {
        record.client = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 51234));
        record.user_agent.push(" \"Größe\"");
    });
}

#[divan::bench(sample_count = 300)]
fn combined_line(bencher: Bencher<'_, '_>) {
    lines(bencher, AccessFormat::Combined, |_| ());
}

#[divan::bench(sample_count = 300)]
fn clear_and_fill_a_record(bencher: Bencher<'_, '_>) {
    let mut record = record();
    let now = Instant::now();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for _ in 0..LINES {
            record.clear(now);
            fill(divan::black_box(&mut record));
        }
    });
    assert_eq!(record.status, 200);
}

#[divan::bench(sample_count = 300)]
fn count_an_exchange(bencher: Bencher<'_, '_>) {
    let core = core(AccessFormat::Json);
    let metrics = CoreMetrics::new(&core.registry);
    let record = record();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for _ in 0..LINES {
            metrics.exchange_done(divan::black_box(&record), &core.names);
        }
    });
    let text = core.registry.render(observe::Exposition::Text, &[]);
    assert!(text.contains("scope=\"shop.example.com\",code=\"2xx\"}"));
}

#[divan::bench]
fn scrape(bencher: Bencher<'_, '_>) {
    let core = core(AccessFormat::Json);
    let metrics = CoreMetrics::new(&core.registry);
    metrics.exchange_done(&record(), &core.names);
    bencher.bench_local(|| core.registry.render(observe::Exposition::Text, &[]).len());
}
