//! When checks are made, and what they come to. Time is simulated; the answers are a script's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balance::States;
use config::{Check, Health};
use observe::CheckResult;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::connect::Stage;
use super::super::error::CheckError;
use super::super::target::Target;
use super::super::{
    CHECKS_MAX, CheckFuture, CheckOutcome, Checker, Checks, FAILING_CHECKS_MAX, lock,
};
use super::{configured, get, group, wanted};

/// What an endpoint answers to its `n`th check, from 0, and how long that takes.
type Answer = dyn Fn(&Target, usize) -> (Duration, CheckOutcome) + Send + Sync;

/// Answers by a script, and notes when it is asked what.
struct Script {
    begun: Instant,
    asked: Mutex<Vec<(u64, String)>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    answer: Box<Answer>,
}

impl Checker for Arc<Script> {
    fn check(&self, target: Arc<Target>, _: Arc<Stage>) -> CheckFuture {
        let script = Arc::clone(self);
        Box::pin(async move {
            let name = format!("{} {}", target.authority, target.what());
            let at = script.begun.elapsed().as_millis() as u64;
            let number = script.note(at, name);
            let (takes, outcome) = (script.answer)(&target, number);
            let _guard = UnderWay::new(&script);
            sleep(takes).await;
            outcome
        })
    }
}

struct UnderWay<'a>(&'a Script);

impl<'a> UnderWay<'a> {
    fn new(script: &'a Script) -> Self {
        let now = script.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        script.most.fetch_max(now, Ordering::SeqCst);
        Self(script)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    fn new(
        answer: impl Fn(&Target, usize) -> (Duration, CheckOutcome) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            answer: Box::new(answer),
        })
    }

    /// Good or bad by the number of the check, at once.
    fn by_number(good: impl Fn(usize) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Self::new(move |_, number| (Duration::ZERO, if good(number) { fine() } else { bad() }))
    }

    fn checks(self: &Arc<Self>) -> Checks {
        Checks::with(Handle::current(), Arc::new(Arc::clone(self)))
    }

    /// How often the same was asked before.
    fn note(&self, at: u64, name: String) -> usize {
        let mut asked = lock(&self.asked);
        let count = asked.iter().filter(|(_, asked)| *asked == name).count();
        asked.push((at, name));
        count
    }

    /// Goes on to a time since the beginning, and past what happens then.
    async fn until(&self, seconds: f64) {
        sleep_until(self.begun + Duration::from_secs_f64(seconds) + Duration::from_millis(1)).await;
    }

    /// When something was asked, in seconds, by hundredths.
    fn times(&self, of: &str) -> Vec<f64> {
        let asked = lock(&self.asked);
        let times = asked.iter().filter(|(_, name)| name.contains(of));
        times.map(|(at, _)| (*at as f64 / 10.0).round() / 100.0).collect()
    }
}

fn fine() -> CheckOutcome {
    Ok("fine".to_owned())
}

fn bad() -> CheckOutcome {
    Err(CheckError::of_endpoint("bad"))
}

/// Every 5 s, down every 15 s, without chance.
fn plain() -> Health {
    Health { jitter: 0, ..Health::new(Check::Tcp) }
}

/// Which endpoints are up.
fn ups(checks: &Checks) -> Vec<bool> {
    checks.states().iter().map(|endpoint| endpoint.up).collect()
}

#[tokio::test(start_paused = true)]
async fn down_after_fall_slower_while_down_and_up_after_rise() {
    let (script, states) =
        (Script::by_number(|number| !(1..=5).contains(&number)), States::default());
    let checks = script.checks();
    checks.replace(wanted(&group(&states, &configured(1)), &[plain()]));
    assert_eq!(ups(&checks), [true]);
    for (seconds, up) in [(0.0, true), (5.0, true), (10.0, true), (15.0, false), (30.0, false)] {
        script.until(seconds).await;
        assert_eq!(ups(&checks), [up], "after {seconds} s");
    }
    // The first good one is followed by the next as if it were up.
    for (seconds, up) in [(45.0, false), (60.0, false), (65.0, true), (70.0, true)] {
        script.until(seconds).await;
        assert_eq!(ups(&checks), [up], "after {seconds} s");
    }
    assert_eq!(script.times(""), [0.0, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 65.0, 70.0]);
    let state = checks.states().remove(0);
    let check = &state.checks[0];
    assert_eq!((check.good, check.bad, check.in_row, check.up), (4, 5, 3, Some(true)));
    let last = check.last.as_ref().expect("a check");
    assert_eq!((last.result, &*last.words), (CheckResult::Passed, "fine"));
    assert_eq!((&*state.upstream, &*state.endpoint), ("app", "127.0.0.0:1"));
}

#[tokio::test(start_paused = true)]
async fn the_group_hears_of_changes() {
    let (script, states) = (Script::by_number(|number| number > 2), States::default());
    let group = group(&states, &configured(2));
    let checks = script.checks();
    checks.replace(wanted(&group, &[plain()]));
    let standing = || {
        let members = group.members.iter().map(|member| member.state.status());
        members.collect::<Vec<_>>()
    };
    script.until(13.0).await;
    assert_eq!(standing(), [balance::EndpointStatus::Down; 2]);
    assert_eq!(group.members[0].state.why().as_deref(), Some("bad"));
    script.until(40.0).await;
    assert_eq!(standing(), [balance::EndpointStatus::Up; 2]);
}

#[tokio::test(start_paused = true)]
async fn first_checks_are_spread() {
    let (script, states) = (Script::by_number(|_| true), States::default());
    let checks = script.checks();
    checks.replace(wanted(&group(&states, &configured(10)), &[plain()]));
    script.until(1.0).await;
    let expected: Vec<_> = (0..10).map(|place| f64::from(place) / 10.0).collect();
    assert_eq!(script.times(""), expected);
    // Further ones are spread over the whole interval.
    script.until(13.4).await;
    let expected: Vec<_> = (7..27).map(|place| f64::from(place) / 2.0).collect();
    assert_eq!(script.times("")[10..], expected);

    // Over the interval, if that is shorter than a second.
    let script = Script::by_number(|_| true);
    let checks = script.checks();
    let often = Health { every: Duration::from_millis(200), ..plain() };
    checks.replace(wanted(&group(&states, &configured(4)), &[often]));
    script.until(0.198).await;
    assert_eq!(script.times(""), [0.0, 0.05, 0.1, 0.15]);
}

#[tokio::test(start_paused = true)]
async fn intervals_vary() {
    let (script, states) = (Script::by_number(|_| true), States::default());
    let checks = script.checks();
    checks.replace(wanted(&group(&states, &configured(2)), &[Health { jitter: 20, ..plain() }]));
    script.until(500.0).await;
    let intervals = |of: &str| {
        let times = script.times(of);
        times.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let (one, other) = (intervals("127.0.0.0:1 "), intervals("127.0.0.0:2 "));
    for interval in one.iter().chain(&other) {
        assert!((3.99..=6.01).contains(interval), "{interval}");
    }
    let spread = |of: &[f64]| {
        let max = of.iter().copied().fold(0.0, f64::max);
        max - of.iter().copied().fold(10.0, f64::min)
    };
    assert!(spread(&one) > 1.5 && spread(&other) > 1.5, "{one:?} {other:?}");
    assert!(one.iter().zip(&other).any(|(one, other)| (one - other).abs() > 0.1));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_in_time_is_bad() {
    let script = Script::new(|_, _| (Duration::from_secs(1000), fine()));
    let states = States::default();
    let checks = script.checks();
    checks.replace(wanted(&group(&states, &configured(1)), &[plain()]));
    script.until(11.999).await;
    assert_eq!(ups(&checks), [true]);
    script.until(12.0).await;
    assert_eq!(ups(&checks), [false]);
    let last = checks.states()[0].checks[0].last.clone().expect("a check");
    assert_eq!((&*last.words, last.took), ("no connection within 2s", Duration::from_secs(2)));
    assert_eq!(script.under_way.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_leave_room_for_others() {
    // Every endpoint of a port up to 200 hangs for ever.
    let script = Script::new(|target, _| {
        let port: u16 = target.authority.rsplit(':').next().unwrap().parse().unwrap();
        let takes = Duration::from_secs(if port <= 200 { 1000 } else { 0 });
        (takes, fine())
    });
    let states = States::default();
    let checks = script.checks();
    let health = Health { every_down: Duration::from_secs(5), ..plain() };
    checks.replace(wanted(&group(&states, &configured(1024)), &[health]));
    script.until(30.0).await;
    assert_eq!(script.most.load(Ordering::SeqCst), CHECKS_MAX);
    // From now on all of those that hang are known to.
    script.most.store(0, Ordering::SeqCst);
    lock(&script.asked).clear();
    script.until(60.0).await;
    let most = script.most.load(Ordering::SeqCst);
    assert!((FAILING_CHECKS_MAX..FAILING_CHECKS_MAX + 60).contains(&most), "{most}");
    // And the others are checked as if nothing were amiss.
    for port in 201..=256 {
        let times = script.times(&format!("127.0.0.1:{port} "));
        assert!((6..=7).contains(&times.len()), "{times:?}");
    }
    let ups = ups(&checks);
    assert_eq!(ups.iter().filter(|up| **up).count(), 4 * 56);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_nothing_of_what_stays() {
    let (script, states) = (Script::by_number(|_| false), States::default());
    let checks = script.checks();
    let config = configured(3);
    checks.replace(wanted(&group(&states, &config), &[plain()]));
    script.until(7.0).await;
    // The first goes, the others have other weights and places; after two bad checks each.
    let mut less = config.clone();
    less.upstreams[0].endpoints.remove(0);
    less.upstreams[0].endpoints[0].weight = 7;
    less.upstreams[0].endpoints.reverse();
    let health = Health { place: config.sites[0].place, ..plain() };
    checks.replace(wanted(&group(&states, &less), &[health]));
    let names = |checks: &Checks| {
        let names = checks.states().into_iter().map(|state| state.endpoint.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&checks), ["127.0.0.0:3", "127.0.0.0:2"]);
    script.until(12.0).await;
    assert_eq!(ups(&checks), [false, false]);
    assert_eq!(script.times(":1 "), [0.0, 5.0]);
    assert_eq!(script.times(":2 "), [0.33, 6.67, 11.67]);

    // One more: only that one is new.
    checks.replace(wanted(&group(&states, &config), &[plain()]));
    script.until(13.0).await;
    assert_eq!(ups(&checks), [true, false, false]);
    assert_eq!(script.times(":1 "), [0.0, 5.0, 12.0]);
    assert_eq!(script.times(":2 "), [0.33, 6.67, 11.67]);
}

#[tokio::test(start_paused = true)]
async fn another_check_must_prove_that_it_is_up_once() {
    let script = Script::new(|target, _| {
        (Duration::ZERO, if target.what() == "GET /new" { fine() } else { bad() })
    });
    let states = States::default();
    let checks = script.checks();
    let group = group(&states, &configured(1));
    checks.replace(wanted(&group, &[plain()]));
    script.until(11.0).await;
    assert_eq!(ups(&checks), [false]);
    // Nothing is known by the new check, so it stays down until that says otherwise.
    let new = Health { check: Check::Http(get("/new")), ..plain() };
    checks.replace(wanted(&group, &[new]));
    assert_eq!(ups(&checks), [false]);
    script.until(11.1).await;
    assert_eq!(ups(&checks), [true]);
}

#[tokio::test(start_paused = true)]
async fn every_check_of_an_endpoint_must_be_good() {
    let script = Script::new(|target, number| {
        let good = target.what() == "TCP" || number > 3;
        (Duration::ZERO, if good { fine() } else { bad() })
    });
    let states = States::default();
    let checks = script.checks();
    let http = Health { check: Check::Http(get("/healthz")), every_down: plain().every, ..plain() };
    checks.replace(wanted(&group(&states, &configured(1)), &[plain(), http.clone()]));
    script.until(13.0).await;
    assert_eq!(ups(&checks), [false]);
    let each: Vec<_> = checks.states()[0].checks.iter().map(|check| check.up).collect();
    assert_eq!(each, [Some(true), Some(false)]);
    script.until(28.0).await;
    assert_eq!(ups(&checks), [true]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_checked_any_more_is_up() {
    let (script, states) = (Script::by_number(|_| false), States::default());
    let checks = script.checks();
    let group = group(&states, &configured(1));
    checks.replace(wanted(&group, &[plain()]));
    script.until(11.0).await;
    assert_eq!(group.members[0].state.status(), balance::EndpointStatus::Down);
    checks.replace(Vec::new());
    assert_eq!(group.members[0].state.status(), balance::EndpointStatus::Up);
    assert!(checks.states().is_empty());
    script.until(100.0).await;
    assert_eq!(script.times("").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_check_that_failed_is_taken_away() {
    let script = Script::new(|target, _| {
        (Duration::ZERO, if target.what() == "TCP" { fine() } else { bad() })
    });
    let states = States::default();
    let checks = script.checks();
    let group = group(&states, &configured(1));
    let http = Health { check: Check::Http(get("/healthz")), ..plain() };
    checks.replace(wanted(&group, &[plain(), http]));
    script.until(13.0).await;
    assert_eq!(ups(&checks), [false]);
    checks.replace(wanted(&group, &[plain()]));
    assert_eq!(ups(&checks), [true]);
}

#[tokio::test(start_paused = true)]
async fn our_own_trouble_says_nothing_of_an_endpoint() {
    let script = Script::new(|_, number| {
        let ours = Err(CheckError::Local("too many open files".to_owned()));
        assert_ne!(number, 5, "a mistake of ours");
        (Duration::ZERO, if number == 0 { fine() } else { ours })
    });
    let states = States::default();
    let checks = script.checks();
    checks.replace(wanted(&group(&states, &configured(1)), &[plain()]));
    let last = |checks: &Checks| checks.states()[0].checks[0].last.clone().expect("a check");
    script.until(20.0).await;
    assert_eq!(&*last(&checks).words, "too many open files");
    script.until(25.0).await;
    assert_eq!(&*last(&checks).words, "the check failed through a defect of ours");
    script.until(50.0).await;
    assert_eq!(ups(&checks), [true]);
    assert_eq!((script.times("").len(), last(&checks).result), (11, CheckResult::NotMade));
    let state = &checks.states()[0].checks[0];
    assert_eq!((state.good, state.bad, state.in_row), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checked_after_the_end() {
    let script = Script::new(|_, _| (Duration::from_secs(1000), fine()));
    let states = States::default();
    let checks = script.checks();
    let group = group(&states, &configured(8));
    checks.replace(wanted(&group, &[plain()]));
    script.until(1.0).await;
    assert_eq!(script.under_way.load(Ordering::SeqCst), 8);
    checks.stop();
    checks.replace(wanted(&group, &[plain()]));
    script.until(60.0).await;
    assert_eq!((script.under_way.load(Ordering::SeqCst), script.times("").len()), (0, 8));
    drop(checks);
    assert_eq!(Arc::strong_count(&script), 1);
}
