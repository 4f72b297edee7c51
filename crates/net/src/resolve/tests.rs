//! The resolver against a scripted name server on this machine.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;

const ASKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));

/// What the server does when it is asked for a name.
#[derive(Clone, Debug)]
enum Reply {
    /// These addresses, with this TTL; of the other family it says that there is none.
    Addresses(Vec<IpAddr>, u32),
    /// Another name, whose addresses these are.
    Alias(&'static str, Vec<IpAddr>),
    /// There is no such name, and so for this many seconds.
    NoName(u32),
    Failure,
    Silence,
    /// Addresses, but no answer at all for IPv6.
    SilenceOnV6(Vec<IpAddr>, u32),
    /// The whole answer by TCP only.
    Truncated(Vec<IpAddr>, u32),
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, Reply>,
    /// What was asked for, in order.
    asked: Vec<(String, RecordType)>,
}

struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (script, stop) =
            (Arc::new(Mutex::new(Script::default())), Arc::new(AtomicBool::new(false)));
        let threads = vec![
            std::thread::spawn({
                let (script, stop) = (Arc::clone(&script), Arc::clone(&stop));
                move || {
                    let mut buf = [0; 2048];
                    while let Ok((count, from)) = udp.recv_from(&mut buf) {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        if let Some(answer) = answer(&script, &buf[..count], false) {
                            udp.send_to(&answer, from).unwrap();
                        }
                    }
                }
            }),
            std::thread::spawn({
                let (script, stop) = (Arc::clone(&script), Arc::clone(&stop));
                move || {
                    while let Ok((mut stream, _)) = tcp.accept() {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        // RFC 1035, section 4.2.2: two bytes of length go before each message.
                        let mut length = [0; 2];
                        if io::Read::read_exact(&mut stream, &mut length).is_err() {
                            continue;
                        }
                        let mut question = vec![0; u16::from_be_bytes(length).into()];
                        io::Read::read_exact(&mut stream, &mut question).unwrap();
                        let Some(answer) = answer(&script, &question, true) else { continue };
                        let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                        io::Write::write_all(&mut stream, &framed).unwrap();
                    }
                }
            }),
        ];
        Self { address, script, stop, threads }
    }

    fn reply(&self, name: &str, reply: Reply) {
        self.script.lock().unwrap().replies.insert(name.to_owned(), reply);
    }

    /// How often the addresses of `name` were asked for, by the questions for IPv4.
    fn asked(&self, name: &str) -> usize {
        let script = self.script.lock().unwrap();
        script
            .asked
            .iter()
            .filter(|(asked, family)| asked == name && *family == RecordType::A)
            .count()
    }

    fn settings(&self) -> ResolverSettings {
        ResolverSettings {
            servers: vec![self.address],
            timeout: Duration::from_millis(500),
            tries: 1,
            hosts: false,
            ..ResolverSettings::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ =
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"stop", self.address));
        let _ = std::net::TcpStream::connect(self.address);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn answer(script: &Mutex<Script>, question: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_lowercase().to_string().trim_end_matches('.').to_owned();
    let mut script = script.lock().unwrap();
    script.asked.push((name.clone(), query.query_type()));
    let reply = script.replies.get(&name).cloned().unwrap_or(Reply::NoName(60));
    let mut answer = Message::response(question.id, question.op_code);
    answer.add_query(query.clone());
    answer.metadata.recursion_available = true;
    let mut records = |owner: &Name, addresses: &[IpAddr], ttl| {
        for ip in addresses {
            let data = match (ip, query.query_type()) {
                (IpAddr::V4(ip), RecordType::A) => RData::A(A(*ip)),
                (IpAddr::V6(ip), RecordType::AAAA) => RData::AAAA(AAAA(*ip)),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(owner.clone(), ttl, data));
        }
    };
    match &reply {
        Reply::Silence => return None,
        Reply::SilenceOnV6(..) if query.query_type() == RecordType::AAAA => return None,
        Reply::Addresses(addresses, ttl) | Reply::SilenceOnV6(addresses, ttl) => {
            records(query.name(), addresses, *ttl);
        }
        Reply::Truncated(addresses, ttl) if by_tcp => records(query.name(), addresses, *ttl),
        Reply::Truncated(..) => answer.metadata.truncation = true,
        Reply::Alias(canonical, addresses) => {
            let canonical = Name::from_ascii(canonical).unwrap();
            let alias = RData::CNAME(CNAME(canonical.clone()));
            records(&canonical, addresses, 300);
            answer.answers.insert(0, Record::from_rdata(query.name().clone(), 7, alias));
        }
        Reply::Failure => answer.metadata.response_code = ResponseCode::ServFail,
        Reply::NoName(seconds) => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let root = Name::root();
            let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, *seconds);
            answer.add_authority(Record::from_rdata(root, *seconds, RData::SOA(soa)));
        }
    }
    Some(answer.to_vec().unwrap())
}

fn run<F: Future>(story: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story hangs")
    })
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn addresses(outcome: Result<Answer, ResolveError>) -> Vec<String> {
    outcome.unwrap().addresses.iter().map(IpAddr::to_string).collect()
}

#[test]
fn what_needs_no_server() {
    run(async {
        let server = Server::start();
        let resolver = Resolver::start(server.settings()).unwrap();
        for (host, expected) in [
            ("10.0.0.1", &["10.0.0.1"][..]),
            ("::1", &["::1"]),
            ("[2001:db8::1]", &["2001:db8::1"]),
            ("localhost", &["127.0.0.1", "::1"]),
            ("LocalHost.", &["127.0.0.1", "::1"]),
            ("a.b.localhost", &["127.0.0.1", "::1"]),
        ] {
            assert_eq!(addresses(resolver.lookup(host, ASKER).await), expected, "{host}");
            assert_eq!(addresses(Ok(resolver.cached(host).unwrap())), expected, "{host}");
        }
        let long = "a".repeat(64);
        for host in [
            "",
            ".",
            "a..b",
            "a b",
            "127.1",
            "1.2.3.4.5",
            "0x7f.0x1",
            "2130706433",
            "a\0b",
            "ü",
            &long,
        ] {
            assert_eq!(
                resolver.lookup(host, ASKER).await,
                Err(ResolveError::InvalidName),
                "{host:?}"
            );
        }
        assert!(server.script.lock().unwrap().asked.is_empty());
    });
}

#[test]
fn both_families_and_their_ttl() {
    run(async {
        let server = Server::start();
        server.reply("both.test", Reply::Addresses(ips(&["192.0.2.1", "::1", "192.0.2.2"]), 30));
        server.reply("alias.test", Reply::Alias("canonical.test.", ips(&["192.0.2.3"])));
        server.reply("eternal.test", Reply::Addresses(ips(&["192.0.2.4"]), 1_000_000));
        server.reply("moment.test", Reply::Addresses(ips(&["192.0.2.5"]), 0));
        let resolver = Resolver::start(server.settings()).unwrap();
        for (host, expected, ttl) in [
            ("both.test", &["::1", "192.0.2.1", "192.0.2.2"][..], 30), // a route to ::1 there is always
            ("alias.test", &["192.0.2.3"], 7),
            ("eternal.test", &["192.0.2.4"], 3600),
            ("moment.test", &["192.0.2.5"], 1),
        ] {
            let begun_at = Instant::now();
            let answer = resolver.lookup(host, ASKER).await.unwrap();
            let valid = answer.valid_until - begun_at;
            assert!(
                valid >= Duration::from_secs(ttl) && valid < Duration::from_secs(ttl + 5),
                "{host}: {valid:?}"
            );
            let mut found = addresses(Ok(answer));
            // Without IPv6 at all, the other family comes first.
            found.sort_by_key(|ip| ip != "::1");
            assert_eq!(found, expected, "{host}");
        }
        assert_eq!(server.asked("both.test"), 1);
        assert_eq!(addresses(resolver.lookup("BOTH.test.", ASKER).await).len(), 3);
        assert!(resolver.cached("Both.Test").is_some());
        assert_eq!(server.asked("both.test"), 1, "it is kept");
        assert!(resolver.cached("other.test").is_none());
    });
}

#[test]
fn asked_again_when_it_has_expired() {
    run(async {
        let server = Server::start();
        server.reply("name.test", Reply::Addresses(ips(&["192.0.2.1"]), 0));
        let ttl_min = Duration::from_millis(100);
        let resolver = Resolver::start(ResolverSettings { ttl_min, ..server.settings() }).unwrap();
        let answer = resolver.lookup("name.test", ASKER).await.unwrap();
        server.reply("name.test", Reply::Addresses(ips(&["192.0.2.2"]), 0));
        tokio::time::sleep_until(answer.valid_until + Duration::from_millis(1)).await;
        assert!(resolver.cached("name.test").is_none());
        assert_eq!(addresses(resolver.lookup("name.test", ASKER).await), ["192.0.2.2"]);
        // An old answer is never used in place of a failed question.
        server.reply("name.test", Reply::Failure);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(matches!(resolver.lookup("name.test", ASKER).await, Err(ResolveError::Failed(_))));
    });
}

#[test]
fn failures_are_told_apart_and_kept_briefly() {
    run(async {
        let server = Server::start();
        server.reply("failure.test", Reply::Failure);
        server.reply("silence.test", Reply::Silence);
        server.reply("empty.test", Reply::Addresses(Vec::new(), 60));
        let resolver = Resolver::start(server.settings()).unwrap();
        assert_eq!(resolver.lookup("none.test", ASKER).await, Err(ResolveError::NotFound));
        assert_eq!(resolver.lookup("empty.test", ASKER).await, Err(ResolveError::NotFound));
        assert!(matches!(
            resolver.lookup("failure.test", ASKER).await,
            Err(ResolveError::Failed(_))
        ));
        assert_eq!(resolver.lookup("silence.test", ASKER).await, Err(ResolveError::Timeout));
        for name in ["none.test", "failure.test", "silence.test"] {
            let asked = server.asked(name);
            assert!(resolver.lookup(name, ASKER).await.is_err() && resolver.cached(name).is_none());
            assert_eq!(server.asked(name), asked, "{name} is remembered");
        }
    });
}

#[test]
fn a_family_that_is_never_answered_does_not_hold_up() {
    run(async {
        let server = Server::start();
        server.reply("half.test", Reply::SilenceOnV6(ips(&["192.0.2.1"]), 3600));
        let timeout = Duration::from_secs(30);
        let resolver = Resolver::start(ResolverSettings { timeout, ..server.settings() }).unwrap();
        let begun_at = Instant::now();
        let answer = resolver.lookup("half.test", ASKER).await.unwrap();
        assert!(begun_at.elapsed() < Duration::from_secs(5));
        assert!(
            answer.valid_until < Instant::now() + Duration::from_secs(11),
            "it is soon asked for again"
        );
        assert_eq!(addresses(Ok(answer)), ["192.0.2.1"]);
    });
}

#[test]
fn long_answers_come_by_tcp() {
    run(async {
        let server = Server::start();
        let many: Vec<IpAddr> =
            (1..=60).map(|last| Ipv4Addr::new(192, 0, 2, last).into()).collect();
        server.reply("long.test", Reply::Truncated(many, 60));
        let resolver = Resolver::start(server.settings()).unwrap();
        assert_eq!(
            addresses(resolver.lookup("long.test", ASKER).await).len(),
            32,
            "their number is bounded"
        );
    });
}

#[test]
fn many_askers_one_question() {
    run(async {
        let server = Server::start();
        server.reply("busy.test", Reply::Addresses(ips(&["192.0.2.1"]), 60));
        let resolver = Resolver::start(server.settings()).unwrap();
        // From other threads, with a runtime of their own, too.
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let resolver = resolver.clone();
                std::thread::spawn(move || {
                    run(async move { addresses(resolver.lookup("busy.test", ASKER).await) })
                })
            })
            .collect();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let resolver = resolver.clone();
            tasks.spawn_local(async move { addresses(resolver.lookup("busy.test", ASKER).await) });
        }
        for found in tasks.join_all().await {
            assert_eq!(found, ["192.0.2.1"]);
        }
        for thread in threads {
            let found = tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
            assert_eq!(found, ["192.0.2.1"]);
        }
        assert_eq!(server.asked("busy.test"), 1);
    });
}

#[test]
fn memory_is_bounded() {
    run(async {
        let server = Server::start();
        let resolver = Resolver::start(server.settings()).unwrap();
        {
            let (now, mut table) = (Instant::now(), resolver.shared.table());
            for number in 0..NAMES_MAX * 2 {
                let until = now + Duration::from_secs(if number % 2 == 0 { 0 } else { 60 });
                table.make_room(Scope::Exact, now);
                let entry = Entry::Cached { outcome: Err(ResolveError::NotFound), until };
                table.exact.insert(number.to_string().into(), entry);
                assert!(table.exact.len() <= NAMES_MAX);
            }
        }
        server.reply("one-more.test", Reply::Addresses(ips(&["192.0.2.1"]), 60));
        assert_eq!(addresses(resolver.lookup("one-more.test", ASKER).await), ["192.0.2.1"]);
        resolver.shared.table().pending = LOOKUPS_MAX;
        assert_eq!(resolver.lookup("too-many.test", ASKER).await, Err(ResolveError::Overloaded));
    });
}

#[test]
fn one_asker_does_not_stop_the_others() {
    run(async {
        let server = Server::start();
        server.reply("fine.test", Reply::Addresses(ips(&["192.0.2.1"]), 60));
        let timeout = Duration::from_secs(2);
        let resolver = Resolver::start(ResolverSettings { timeout, ..server.settings() }).unwrap();
        let mut greedy = tokio::task::JoinSet::new();
        for number in 0..LOOKUPS_MAX * 2 {
            let name = format!("silence{number}.test");
            server.reply(&name, Reply::Silence);
            let resolver = resolver.clone();
            greedy.spawn_local(async move { resolver.lookup(&name, ASKER).await });
        }
        until(|| resolver.shared.table().pending == resolver.shared.share()).await;
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 98));
        assert_eq!(addresses(resolver.lookup("fine.test", other).await), ["192.0.2.1"]);
        // What is asked for already costs nobody a turn; what is known neither.
        assert_eq!(addresses(resolver.lookup("fine.test", ASKER).await), ["192.0.2.1"]);
        let outcomes = greedy.join_all().await;
        let told = outcomes.iter().filter(|o| **o == Err(ResolveError::AskerOverloaded)).count();
        assert!(told >= LOOKUPS_MAX, "{told}");
        assert!(outcomes.contains(&Err(ResolveError::Timeout)));
        // Once it has nothing under way it is forgotten.
        until(|| resolver.shared.askers().is_empty()).await;
        // Names of the configuration have room whatever clients do.
        resolver.shared.table().pending = LOOKUPS_MAX;
        let watched = resolver.watch("fine2.test");
        watched.ready().await;
        assert_eq!(watched.state(), WatchState::Failing(ResolveError::NotFound));
    });
}

#[test]
fn servers_that_do_not_help_make_room_for_the_next() {
    run(async {
        let (failing, good) = (Server::start(), Server::start());
        failing.reply("name.test", Reply::Failure);
        failing.reply("quiet.test", Reply::Silence);
        good.reply("name.test", Reply::Addresses(ips(&["192.0.2.1"]), 60));
        good.reply("quiet.test", Reply::Addresses(ips(&["192.0.2.2"]), 60));
        let servers = vec![failing.address, good.address];
        let resolver = Resolver::start(ResolverSettings { servers, ..good.settings() }).unwrap();
        assert_eq!(addresses(resolver.lookup("name.test", ASKER).await), ["192.0.2.1"]);
        assert_eq!(addresses(resolver.lookup("quiet.test", ASKER).await), ["192.0.2.2"]);
        // The silent one is asked last for a while.
        let asked = failing.asked("other.test");
        assert_eq!(resolver.lookup("other.test", ASKER).await, Err(ResolveError::NotFound));
        assert_eq!(failing.asked("other.test"), asked);
    });
}

/// A file in a directory of its own, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("bothways-net-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.0.join("file");
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn hosts_file_comes_first_and_is_read_again() {
    run(async {
        let (server, scratch) = (Server::start(), Scratch::new("hosts"));
        server.reply("a.test", Reply::Addresses(ips(&["192.0.2.9"]), 60));
        let hosts_file = scratch.write("192.0.2.1 a.test b\n");
        let settings = ResolverSettings { hosts: true, hosts_file, ..server.settings() };
        let engine = Engine::new(settings.clone());
        let resolver = Resolver::start(settings).unwrap();
        assert_eq!(addresses(resolver.lookup("a.test", ASKER).await), ["192.0.2.1"]);
        assert_eq!(addresses(resolver.lookup("B", ASKER).await), ["192.0.2.1"]);
        assert_eq!(server.asked("a.test"), 0);
        // Without the resolver's memory in between.
        let found = |engine: &Engine, at: Instant| {
            let mut hosts = engine.hosts();
            hosts
                .find(&engine.settings.hosts_file, "a.test", at)
                .map(|entry| entry.addresses.to_vec())
        };
        let now = Instant::now();
        assert_eq!(found(&engine, now), Some(ips(&["192.0.2.1"])));
        scratch.write("192.0.2.77 a.test\n");
        assert_eq!(
            found(&engine, now),
            Some(ips(&["192.0.2.1"])),
            "its date is not looked at each time"
        );
        let later = now + Duration::from_secs(2);
        assert_eq!(found(&engine, later), Some(ips(&["192.0.2.77"])));
        std::fs::remove_dir_all(&scratch.0).unwrap();
        assert_eq!(found(&engine, later + Duration::from_secs(2)), None);
    });
}

#[test]
fn watched_names_use_the_search_list() {
    run(async {
        let (server, scratch) = (Server::start(), Scratch::new("search"));
        let system_file =
            scratch.write("nameserver 127.0.0.1\nsearch one.test two.test\noptions ndots:2\n");
        let engine =
            Engine::new(ResolverSettings { system_file, servers: Vec::new(), ..server.settings() });
        let names = |name: &str, scope| engine.candidates(name, scope);
        assert_eq!(names("app", Scope::Searched), ["app.one.test.", "app.two.test.", "app."]);
        assert_eq!(names("a.b", Scope::Searched), ["a.b.one.test.", "a.b.two.test.", "a.b."]);
        assert_eq!(
            names("a.b.c", Scope::Searched),
            ["a.b.c.", "a.b.c.one.test.", "a.b.c.two.test."]
        );
        assert_eq!(names("a.b.c", Scope::Exact), ["a.b.c."]);
        // What a client names is never searched for, however short.
        for host in ["app", "a.b", "app."] {
            let Ok(ParsedHost::Name(_, found)) = ParsedHost::of(host, Scope::Exact) else {
                panic!("{host}")
            };
            assert_eq!(found, Scope::Exact, "{host}");
        }
        // No file: the server on this machine.
        let missing = ResolverSettings {
            system_file: Path::new("/nowhere").into(),
            ..engine.settings.clone()
        };
        assert_eq!(Engine::new(missing).candidates("app", Scope::Searched), ["app."]);
    });
}

#[test]
fn watched_names_follow_and_keep_the_last() {
    run(async {
        let server = Server::start();
        let ttl_min = Duration::from_millis(100);
        let resolver = Resolver::start(ResolverSettings { ttl_min, ..server.settings() }).unwrap();
        server.reply("app.test", Reply::Addresses(ips(&["192.0.2.1", "192.0.2.2"]), 0));
        let watched = resolver.watch("app.test");
        assert!(
            Arc::ptr_eq(&watched, &resolver.watch("app.test")),
            "who watches the same shares it"
        );
        assert_eq!(watched.state(), WatchState::Waiting);
        watched.ready().await;
        assert_eq!((watched.version(), watched.state()), (1, WatchState::Fresh));
        server.reply("app.test", Reply::Addresses(ips(&["192.0.2.2", "192.0.2.1"]), 0));
        let asked = server.asked("app.test");
        until(|| server.asked("app.test") > asked + 1).await;
        assert_eq!(watched.version(), 1, "another order is no change");
        server.reply("app.test", Reply::Addresses(ips(&["192.0.2.3"]), 0));
        until(|| watched.version() == 2).await;
        assert_eq!(&watched.addresses()[..], ips(&["192.0.2.3"]));
        server.reply("app.test", Reply::Failure);
        until(|| matches!(watched.state(), WatchState::Failing(_))).await;
        assert_eq!(&watched.addresses()[..], ips(&["192.0.2.3"]), "the last addresses stay");
        server.reply("app.test", Reply::Addresses(ips(&["192.0.2.4"]), 0));
        until(|| watched.state() == WatchState::Fresh).await;
        assert_eq!(&watched.addresses()[..], ips(&["192.0.2.4"]));
        let weak = Arc::downgrade(&watched);
        drop(watched);
        assert!(weak.upgrade().is_none());
        assert_eq!(resolver.watch("10.0.0.1").host(), "10.0.0.1");
    });
}

/// Waits for something that a server or a task brings about.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn other_settings_forget_what_was_known() {
    run(async {
        let (old, new) = (Server::start(), Server::start());
        old.reply("name.test", Reply::Addresses(ips(&["192.0.2.1"]), 60));
        new.reply("name.test", Reply::Addresses(ips(&["192.0.2.2"]), 60));
        let resolver = Resolver::start(old.settings()).unwrap();
        assert_eq!(addresses(resolver.lookup("name.test", ASKER).await), ["192.0.2.1"]);
        resolver.reconfigure(old.settings());
        assert!(resolver.cached("name.test").is_some());
        resolver.reconfigure(new.settings());
        assert_eq!(addresses(resolver.lookup("name.test", ASKER).await), ["192.0.2.2"]);
    });
}

#[test]
fn a_stopped_runtime_is_an_error() {
    let server = Server::start();
    let resolver = run(async { Resolver::start(server.settings()).unwrap() });
    assert_eq!(run(resolver.lookup("name.test", ASKER)), Err(ResolveError::Stopped));
    assert!(Resolver::start(server.settings()).is_err(), "outside of a runtime");
}
