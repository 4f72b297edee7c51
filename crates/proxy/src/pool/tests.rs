//! Pools of one core, and what several of them share.

use observe::{Caps, Names, Registry};

use super::*;

fn connection() -> (Connection, Stream) {
    let (ours, theirs) = Stream::pair();
    (Connection::fresh(ours, None), theirs)
}

#[test]
fn an_idle_connection_stays_small() {
    assert!(size_of::<Idle>() <= 144, "{}", size_of::<Idle>());
}

#[test]
fn the_connection_used_last_comes_first() {
    let pool = Pool::new();
    let now = Instant::now();
    let (first, _first_peer) = connection();
    let (second, second_peer) = connection();
    pool.put(first, now);
    pool.put(second, now);
    drop(second_peer);
    let taken = pool.take(now, Duration::MAX);
    assert!(taken.is_some_and(|taken| taken.reused), "the closed one is passed over");
    assert!(pool.take(now, Duration::MAX).is_none());
}

#[test]
fn idle_time_is_learned_and_slowly_forgotten() {
    let pool = Pool::new();
    let start = Instant::now();
    let (closing, peer) = connection();
    pool.put(closing, start);
    drop(peer);
    assert!(pool.take(start + Duration::from_secs(1), Duration::MAX).is_none());
    let (kept, _peer) = connection();
    pool.put(kept, start);
    assert!(
        pool.take(start + Duration::from_millis(900), Duration::MAX).is_none(),
        "0.8 s were learned"
    );
    for _ in 0..100 {
        pool.sweep(start);
    }
    let (kept, _peer) = connection();
    pool.put(kept, start);
    assert!(pool.take(start + Duration::from_secs(3), Duration::MAX).is_some());
}

/// Pools of one endpoint on so many cores, and what they count.
struct Cores {
    registry: Arc<Registry>,
    slot: EndpointSlot,
    pools: Vec<Pool>,
    metrics: Vec<Rc<CoreMetrics>>,
    listener: std::net::TcpListener,
}

impl Cores {
    fn new(cores: usize, settings: &PoolSettings) -> Self {
        let registry = Registry::new("0", Caps::default());
        let loaded = config::parse("t.kdl", "site \"*\" { listen \":1\"; to \"127.0.0.1:2\"; }");
        let Ok(loaded) = loaded else { panic!("a configuration") };
        let slot = Names::new(&loaded.config, &registry)
            .endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0));
        let metrics: Vec<_> = (0..cores).map(|_| Rc::new(CoreMetrics::new(&registry))).collect();
        let shared_idle = Arc::new(SharedIdle::new(cores));
        let pools = metrics.iter().enumerate().map(|(core, metrics)| {
            let (shared_idle, metrics) = (Arc::clone(&shared_idle), Rc::clone(metrics));
            let pool = Pool::shared(PoolSharing { shared_idle, core, cores, metrics });
            pool.configure(settings, Duration::from_secs(4));
            pool
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { registry, slot, pools: pools.collect(), metrics, listener }
    }

    /// A connection over a socket, of which the peer is the other end.
    async fn open(&self, core: usize, now: Instant) -> (Connection, std::net::TcpStream) {
        let address = self.listener.local_addr().unwrap();
        let mut connection =
            Connection::fresh(Stream::connect(address).await.unwrap(), Some(address));
        connection.meter = Some(Meter::opened(&self.metrics[core], self.slot));
        connection.expiry = self.pools[core].expiry(now);
        (connection, self.listener.accept().unwrap().0)
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render(observe::Exposition::Text, &[]);
        let name = format!("bothways_upstream_connections_{name}{{");
        let lines = text.lines().filter(|line| line.starts_with(&name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Open, idle, shared, moved.
    #[track_caller]
    fn check(&self, expected: [usize; 4]) {
        let found = ["open", "idle", "shared", "moved_total"].map(|name| self.metric(name));
        assert_eq!(found, expected.map(|count| count as f64));
    }
}

fn run(story: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default());
    runtime.unwrap().block_on(story);
}

const TICK: Duration = TICK_DEFAULT;

#[test]
fn what_a_core_does_not_need_another_takes() {
    run(async {
        let cores = Cores::new(2, &PoolSettings::default());
        let [here, there] = &cores.pools[..] else { panic!("two cores") };
        let now = Instant::now();
        let (connection, _peer) = cores.open(0, now).await;
        here.put(connection, now);
        cores.check([1, 1, 0, 0]);
        here.share(now);
        assert!(there.take(now, Duration::MAX).is_none(), "it may be needed at once");
        here.share(now + TICK);
        cores.check([1, 1, 1, 0]);
        let taken = there.take(now + TICK, Duration::MAX).expect("it lies there for all");
        assert!(taken.reused);
        cores.check([1, 0, 0, 1]);
        assert!(here.take(now + TICK, Duration::MAX).is_none());
        // Its own core takes it back as well, which is no move.
        there.put(taken, now + TICK);
        there.share(now + 2 * TICK);
        let taken = there.take(now + 2 * TICK, Duration::MAX).expect("the same");
        cores.check([1, 0, 0, 1]);
        drop(taken);
        cores.check([0, 0, 0, 1]);
    });
}

#[test]
fn nothing_is_shared_if_that_is_off() {
    run(async {
        let cores = Cores::new(2, &PoolSettings { steal: false, ..PoolSettings::default() });
        let now = Instant::now();
        let (connection, _peer) = cores.open(0, now).await;
        cores.pools[0].put(connection, now);
        cores.pools[0].share(now + TICK);
        assert!(cores.pools[1].take(now + TICK, Duration::MAX).is_none());
        cores.check([1, 1, 0, 0]);
    });
}

#[test]
fn only_usable_connections_stay_shared() {
    run(async {
        let settings = PoolSettings { lifetime: Duration::from_secs(2), ..PoolSettings::default() };
        let cores = Cores::new(2, &settings);
        let [here, there] = &cores.pools[..] else { panic!("two cores") };
        let now = Instant::now();
        let mut peers = Vec::new();
        for _ in 0..4 {
            let (connection, peer) = cores.open(0, now).await;
            here.put(connection, now);
            peers.push(peer);
        }
        here.share(now + TICK);
        cores.check([4, 4, 4, 0]);
        std::io::Write::write_all(&mut peers[0], b"x").unwrap();
        there.sweep(now + TICK);
        cores.check([3, 3, 3, 0]);
        assert!(there.take(now + TICK, Duration::MAX).is_some());
        cores.check([2, 2, 2, 1]);
        here.sweep(now + TICK);
        cores.check([2, 2, 2, 1]);
        here.sweep(now + Duration::from_secs(3));
        cores.check([0, 0, 0, 1]);
        // One that was closed is passed over, and tells how long others may idle.
        for _ in 0..2 {
            let (connection, peer) = cores.open(1, now).await;
            there.put(connection, now);
            peers.push(peer);
        }
        there.share(now + TICK);
        drop(peers.pop());
        assert!(here.take(now + TICK, Duration::MAX).is_none());
        cores.check([0, 0, 0, 1]);
    });
}

#[test]
fn shared_connections_are_bounded_and_cleared() {
    run(async {
        let cores = Cores::new(2, &PoolSettings { max: 3, ..PoolSettings::default() });
        let [here, there] = &cores.pools[..] else { panic!("two cores") };
        let now = Instant::now();
        let mut peers = Vec::new();
        for step in 1..=3 {
            for _ in 0..2 {
                let (connection, peer) = cores.open(0, now).await;
                here.put(connection, now + step * TICK);
                peers.push(peer);
            }
            here.share(now + (step + 1) * TICK);
        }
        cores.check([3, 3, 3, 0]);
        there.close();
        cores.check([0, 0, 0, 0]);
    });
}

#[test]
fn how_many_are_opened_ahead() {
    run(async {
        let settings = PoolSettings { min: 3, ..PoolSettings::default() };
        let cores = Cores::new(2, &settings);
        let [here, there] = &cores.pools[..] else { panic!("two cores") };
        let now = Instant::now();
        let missing = |pool: &Pool, now| pool.missing(now, true, false);
        assert!(here.missing(now, false, false).is_empty(), "it is down");
        let ahead = missing(here, now);
        assert_eq!((ahead.len(), missing(there, now).len()), (3, 0), "one core opens them");
        let (connection, _peer) = cores.open(0, now).await;
        here.put(connection, now);
        drop(ahead);
        assert_eq!(missing(here, now).len(), 2);
        here.share(now + TICK);
        assert_eq!(missing(there, now).len(), 2);
        // Each failure doubles the pause.
        here.note_ahead(now, false);
        assert_eq!(missing(here, now + Duration::from_millis(900)).len(), 0);
        here.note_ahead(now + Duration::from_secs(1), false);
        assert_eq!(missing(here, now + Duration::from_millis(2900)).len(), 0);
        assert_eq!(missing(here, now + Duration::from_secs(3)).len(), 1, "one at a time");
        // Unless the endpoint was away meanwhile.
        here.note_ahead(now, false);
        assert!(here.missing(now, false, false).is_empty());
        assert_eq!(missing(here, now).len(), 2);

        let apart = PoolSettings { steal: false, ..settings };
        let cores = Cores::new(2, &apart);
        let each: Vec<_> = cores.pools.iter().map(|pool| missing(pool, now).len()).collect();
        assert_eq!(each, [2, 1], "each core has its part");
    });
}

#[test]
fn a_life_time_varies_by_a_tenth() {
    let start = Instant::now();
    let pool = Pool::new();
    assert!(!pool.expiry(start).is_over(start + Duration::from_secs(1 << 30)), "no limit");
    let lifetime = Duration::from_secs(100);
    pool.configure(&PoolSettings { lifetime, ..PoolSettings::default() }, lifetime);
    let all: Vec<Expiry> = (0..100).map(|_| pool.expiry(start)).collect();
    let over = |seconds| {
        let now = start + Duration::from_millis(seconds);
        all.iter().filter(|expiry| expiry.is_over(now)).count()
    };
    assert_eq!((over(89_800), over(110_200)), (0, 100));
    assert!((20..80).contains(&over(100_000)), "{}", over(100_000));
    let (mut connection, _peer) = connection();
    connection.expiry = all[0];
    pool.put(connection, start);
    assert!(pool.take(start + Duration::from_millis(110_200), Duration::MAX).is_none());
    let (mut connection, _peer) = self::connection();
    connection.expiry = all[0];
    pool.put(connection, start + Duration::from_secs(111));
    assert_eq!(pool.len(), 0, "it is closed once its response is complete");
}

#[test]
fn bounded() {
    let pool = Pool::new();
    pool.configure(&PoolSettings { max: 2, ..PoolSettings::default() }, Duration::from_secs(4));
    let now = Instant::now();
    let peers: Vec<_> = (0..5)
        .map(|_| {
            let (connection, peer) = connection();
            pool.put(connection, now);
            peer
        })
        .collect();
    assert_eq!((pool.len(), peers.len()), (2, 5));
}
