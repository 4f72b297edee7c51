//! Who is taken as it stands with the endpoints: checks, ejections, terms, slow start, draining.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{Outcome, PickError, RequestOrigin};
use common::{BAD, GOOD, World, upstream};
use config::{Hedge, HedgeAfter, Panic, Place, SameSite, Sticky};

#[test]
fn failures_in_a_row_eject_and_a_good_answer_between_them_does_not() {
    #[track_caller]
    fn check(outcomes: &[(Outcome, usize)], expected: &str) {
        let world = World::new(&upstream(&["a", "b", "c"]));
        outcomes.iter().for_each(|&(outcome, times)| world.report(0, outcome, times));
        assert_eq!(world.status(), expected, "{outcomes:?}");
    }
    check(&[(BAD, 4)], "uuu");
    check(&[(BAD, 5)], "euu");
    check(&[(BAD, 4), (GOOD, 1), (BAD, 4)], "uuu");
    check(&[(Outcome::Unreachable, 5)], "euu");
    check(&[(Outcome::ConnectTimeout, 3), (Outcome::Reset, 1), (Outcome::Timeout, 1)], "euu");
    check(&[(Outcome::Refused, 50)], "uuu");
    let not_implemented = Outcome::Response { status: 501, first_byte: Duration::ZERO };
    check(&[(not_implemented, 50)], "uuu");
    check(&[(BAD, 4), (not_implemented, 1), (BAD, 1)], "uuu");
}

/// Of fewer failures than evidence is usually made of, so many clients and paths as they can be of.
#[test]
fn a_single_failure_is_enough_where_that_is_asked_for() {
    for outcome in [BAD, Outcome::Reset, Outcome::Timeout, Outcome::Unreachable] {
        let mut settings = upstream(&["a", "b", "c"]);
        settings.ejection.as_mut().unwrap().consecutive = 1;
        let world = World::new(&settings);
        world.report(0, outcome, 1);
        assert_eq!(world.status(), "euu", "{outcome:?}");
    }
}

#[test]
fn an_ejected_endpoint_gets_nothing_and_says_why() {
    let world = World::new(&upstream(&["a", "b"]));
    world.report(0, Outcome::Reset, 5);
    assert_eq!(world.requests(100, |_| GOOD), [0, 100]);
    let state = &world.group.members[0].state;
    assert_eq!(
        state.why().unwrap(),
        "failed 5 times in a row: as the story goes (5 clients, 5 paths)"
    );
    assert_eq!((state.ejections(), state.failures_in_a_row()), (1, 5));
    assert_eq!(state.failures().len(), 5);
    assert_eq!(state.ejected_for(world.now), Some(Duration::from_secs(2)));
}

#[test]
fn terms_grow_probation_follows_and_good_times_are_remembered() {
    let mut world = World::new(&upstream(&["a", "b"]));
    let term_of = |world: &World| world.group.members[0].state.ejected_for(world.now);
    world.report(0, BAD, 5);
    for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        assert_eq!(term_of(&world), Some(Duration::from_secs(seconds)));
        world.pass(seconds - 1);
        assert_eq!(world.status(), "eu", "{seconds}");
        world.pass(1);
        assert_eq!(world.status(), "uu", "{seconds}");
        // One failure is enough now.
        world.report(0, BAD, 1);
        assert_eq!(world.status(), "eu", "{seconds}");
    }
    world.pass(300);
    // A good answer ends the probation.
    world.report(0, GOOD, 1);
    world.report(0, BAD, 4);
    assert_eq!(world.status(), "uu");
    // Eleven terms; every ten good seconds one is forgotten.
    world.pass(90);
    world.report(0, GOOD, 1);
    world.report(0, BAD, 5);
    assert_eq!(term_of(&world), Some(Duration::from_secs(8)));
}

#[test]
fn on_probation_one_request_at_a_time() {
    let mut world = World::new(&upstream(&["a", "b"]));
    // A tunnel that goes on for days is no reason to wait.
    let _tunnel = world.pick_bound(0).unwrap();
    world.report(0, Outcome::Timeout, 5);
    world.pass(2);
    let mut held: Vec<_> = (0..10).map(|_| world.pick().unwrap()).collect();
    let at_a = |held: &[balance::Lease]| held.iter().filter(|lease| lease.index() == 0).count();
    assert_eq!(at_a(&held), 1);
    // The client of that one leaves: another one is let through.
    held.retain(|lease| lease.index() != 0);
    held.extend((0..4).map(|_| world.pick().unwrap()));
    assert_eq!(at_a(&held), 1);
    // One who has tried the other must not be refused.
    assert_eq!(world.core.pick(&world.ask(&[1])).unwrap().index(), 0);
    let trial = held.iter_mut().find(|lease| lease.index() == 0).unwrap();
    trial.report(GOOD, &"", world.now);
    held.clear();
    held.extend((0..10).map(|_| world.pick().unwrap()));
    assert_eq!(at_a(&held), 5);
}

#[test]
fn on_probation_a_long_answer_holds_nobody_up() {
    let mut world = World::new(&upstream(&["a", "b"]));
    world.report(0, Outcome::Timeout, 5);
    world.pass(2);
    let mut held: Vec<_> = (0..10).map(|_| world.pick().unwrap()).collect();
    let at_a = |held: &[balance::Lease]| held.iter().filter(|lease| lease.index() == 0).count();
    // The answer to the one request goes on and on: others are tried now and then.
    for seconds in [4, 1, 4, 1] {
        let before = at_a(&held);
        world.pass(seconds);
        held.extend((0..4).map(|_| world.pick().unwrap()));
        assert_eq!(at_a(&held) - before, usize::from(seconds == 1));
    }
    // That the first ends does not let another one in beside the last.
    let first = held.iter().position(|lease| lease.index() == 0).unwrap();
    drop(held.swap_remove(first));
    let before = at_a(&held);
    held.extend((0..4).map(|_| world.pick().unwrap()));
    assert_eq!(at_a(&held), before);
}

/// Somebody has an endpoint drain that is ejected, mends it, and lets it take part again.
#[test]
fn one_that_is_mended_while_it_drains_takes_its_part_again() {
    let mut world = World::new(&upstream(&["a", "b"]));
    world.report(0, Outcome::Timeout, 5);
    world.group.drain(0, true);
    world.pass(5);
    world.group.drain(0, false);
    world.requests(4, |_| GOOD);
    let held: Vec<_> = (0..10).map(|_| world.pick().unwrap()).collect();
    assert_eq!(held.iter().filter(|lease| lease.index() == 0).count(), 5);
}

/// Where nothing but connections is seen, those are what an endpoint is judged by.
#[test]
fn a_connection_ends_a_row_of_failures_and_a_probation() {
    let mut world = World::new(&upstream(&["a", "b"]));
    for _ in 0..3 {
        world.report(0, Outcome::Unreachable, 4);
        world.report(0, Outcome::Connected, 1);
        assert_eq!(world.status(), "uu");
    }
    world.report(0, Outcome::Unreachable, 5);
    world.pass(2);
    let mut tunnels: Vec<_> = (0..4).map(|_| world.pick().unwrap()).collect();
    for tunnel in &mut tunnels {
        tunnel.report(Outcome::Connected, &"", world.now);
    }
    tunnels.extend((0..10).map(|_| world.pick().unwrap()));
    assert_eq!(tunnels[4..].iter().filter(|lease| lease.index() == 0).count(), 5);
    assert_eq!(world.group.members[0].state.latency(world.now), None);
}

#[test]
fn one_that_was_not_reached_is_tried_before_it_returns() {
    let mut world = World::new(&upstream(&["a", "b"]));
    world.report(0, Outcome::Unreachable, 5);
    let mut sweep_after = |seconds| {
        world.now += Duration::from_secs(seconds);
        (world.group.sweep(world.now), world.now)
    };
    assert_eq!(sweep_after(1).0, []);
    let (probes, now) = sweep_after(1);
    assert_eq!(probes, [0]);
    // Once is enough, unless nobody says what came of it.
    assert_eq!(sweep_after(1).0, []);
    assert_eq!(sweep_after(10).0, [0]);
    let group = Arc::clone(&world.group);
    group.report_probe(0, Err("connection refused".into()), now + Duration::from_secs(11));
    // A term of four seconds.
    let mut sweep_after = |seconds| {
        world.now += Duration::from_secs(seconds);
        world.group.sweep(world.now)
    };
    assert_eq!(sweep_after(3), []);
    assert_eq!(sweep_after(1), [0]);
    assert_eq!(world.status(), "eu");
    assert_eq!(&*group.members[0].state.failures().last().unwrap().words, "connection refused");
    group.report_probe(0, Ok(()), world.now);
    assert_eq!(world.status(), "uu");
    assert_eq!(world.requests(10, |_| GOOD), [5, 5]);
    // What comes late, or for others, changes nothing.
    group.report_probe(0, Err("connection refused".into()), world.now);
    group.report_probe(7, Ok(()), world.now);
    assert_eq!(world.status(), "uu");
}

#[test]
fn how_many_may_be_ejected() {
    #[track_caller]
    fn check(names: &[&str], share: u8, outcome: Outcome, expected: &str) {
        let mut settings = upstream(names);
        settings.ejection.as_mut().unwrap().share = share;
        let world = World::new(&settings);
        (0..names.len()).for_each(|index| world.report(index, outcome, 50));
        assert_eq!(world.status(), expected, "{names:?} {share} {outcome:?}");
    }
    let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    // Those that do not answer: all but the last.
    check(&ten, 50, Outcome::Unreachable, "eeeeeeeeeu");
    check(&ten, 10, Outcome::Timeout, "eeeeeeeeeu");
    // For what they answer: a share, but always one if there is another.
    check(&ten, 50, BAD, "eeeeeuuuuu");
    check(&ten, 5, BAD, "euuuuuuuuu");
    check(&ten, 100, BAD, "eeeeeeeeeu");
    check(&["a", "b"], 10, BAD, "eu");
    check(&["a"], 100, BAD, "u");
    check(&["a"], 100, Outcome::Unreachable, "u");
}

#[test]
fn the_last_one_that_checks_have_left_is_not_ejected() {
    let world = World::new(&upstream(&["a", "b", "c"]));
    world.group.apply_check(0, false, "connection refused");
    world.group.drain(1, true);
    world.report(2, Outcome::Unreachable, 50);
    assert_eq!(world.status(), "dxu");
}

#[test]
fn without_ejection_nobody_is_ejected() {
    let mut settings = upstream(&["a", "b"]);
    settings.ejection = None;
    let mut world = World::new(&settings);
    world.report(0, BAD, 1000);
    world.pass(20);
    assert_eq!(world.status(), "uu");
}

#[test]
fn an_ejection_outlives_a_reload_but_not_the_setting() {
    let mut settings = upstream(&["a", "b"]);
    let mut world = World::new(&settings);
    world.report(0, BAD, 5);
    world.reload(&settings);
    assert_eq!(world.status(), "eu");
    settings.ejection = None;
    world.reload(&settings);
    world.pass(1);
    assert_eq!(world.status(), "uu");
}

#[test]
fn checks_take_an_endpoint_away_and_bring_it_back() {
    let world = World::new(&upstream(&["a", "b"]));
    world.group.apply_check(0, true, "200");
    assert_eq!(world.status(), "uu");
    world.group.apply_check(0, false, "status 503");
    assert_eq!(world.status(), "du");
    assert_eq!(world.group.members[0].state.why().unwrap(), "status 503");
    assert_eq!(world.requests(10, |_| GOOD), [0, 10]);
    // While it is down, what requests in flight still show does not count against its return.
    world.report(0, Outcome::Reset, 50);
    world.group.apply_check(0, true, "status 200");
    assert_eq!(world.status(), "uu");
    assert_eq!(world.requests(10, |_| GOOD), [5, 5]);
}

#[test]
fn all_down_is_a_refusal_or_a_spread() {
    for (panic, expected) in [(Panic::Fail, [0, 0]), (Panic::Spread, [5, 5])] {
        let mut settings = upstream(&["a", "b"]);
        settings.panic = panic;
        let world = World::new(&settings);
        (0..2).for_each(|index| world.group.apply_check(index, false, "down"));
        assert_eq!(world.requests(10, |_| GOOD), expected, "{panic:?}");
    }
    let world = World::new(&upstream(&["a"]));
    world.group.apply_check(0, false, "down");
    assert_eq!(world.pick().err(), Some(PickError::Down));
    assert_eq!(world.core.pick(&world.ask(&[0])).err(), Some(PickError::Down));
}

#[test]
fn a_request_goes_on_to_where_it_was_not() {
    let mut settings = upstream(&["a", "b", "c", "d"]);
    settings.endpoints[2].priority = 1;
    settings.endpoints[3].backup = true;
    let world = World::new(&settings);
    let mut tried = Vec::new();
    // The further tiers too, in their order, though they get nothing as long as the first is well.
    for expected in [vec![0, 1], vec![0, 1], vec![2], vec![3]] {
        let lease = world.core.pick(&world.ask(&tried)).unwrap();
        assert!(expected.contains(&lease.index()), "{tried:?}");
        tried.push(lease.index());
    }
    assert_eq!(world.core.pick(&world.ask(&tried)).err(), Some(PickError::Tried));
    assert_eq!(world.requests(10, |_| GOOD), [5, 5, 0, 0]);
}

#[test]
fn load_spills_over_by_share() {
    let mut settings = upstream(&["a", "b", "c"]);
    settings.endpoints[2].priority = 1;
    let world = World::new(&settings);
    world.group.apply_check(0, false, "down");
    // Half of the tier is up: it takes 0.5 / 0.7 of the load.
    let had = world.requests(7000, |_| GOOD);
    assert!((4850..5150).contains(&had[1]), "{had:?}");
    assert_eq!(had[1] + had[2], 7000);
}

#[test]
fn slow_start_after_a_return_and_for_one_that_joins() {
    let mut settings = upstream(&["a", "b"]);
    settings.slow_start = Duration::from_secs(30);
    let mut world = World::new(&settings);
    #[track_caller]
    fn check(world: &World, index: usize, shares: std::ops::RangeInclusive<f64>) {
        let had = world.requests(4000, |_| GOOD);
        let share = had[index] as f64 / 4000.0;
        assert!(shares.contains(&share), "{share} is not within {shares:?}: {had:?}");
    }
    check(&world, 0, 0.5..=0.5);
    world.report(0, Outcome::Unreachable, 5);
    world.pass(2);
    // A tenth of its half at first; as others have it instead, a little more than a twentieth.
    check(&world, 0, 0.03..=0.13);
    world.pass(15);
    check(&world, 0, 0.22..=0.40);
    world.pass(15);
    check(&world, 0, 0.5..=0.5);
    let mut world = World::new(&settings);
    settings.endpoints = upstream(&["a", "b", "c"]).endpoints;
    world.reload(&settings);
    let had = world.requests(3000, |_| GOOD);
    assert!(had[2] < 300 && had[2] > 0, "{had:?}");
    world.pass(32);
    assert_eq!(world.requests(3000, |_| GOOD), [1000, 1000, 1000]);
}

#[test]
fn when_all_start_slowly_nobody_is_refused() {
    let mut settings = upstream(&["a", "b"]);
    settings.slow_start = Duration::from_secs(30);
    let world = World::new(&settings);
    for index in 0..2 {
        world.group.apply_check(index, false, "down");
        world.group.apply_check(index, true, "up");
    }
    assert_eq!(world.requests(1000, |_| GOOD).iter().sum::<usize>(), 1000);
}

/// What a snapshot that is still being made says of an endpoint is not so yet, and may never be.
#[test]
fn that_an_endpoint_is_to_drain_holds_from_its_snapshot_on() {
    let (before, mut after) = (upstream(&["a"]), upstream(&["a", "b"]));
    after.endpoints[0].draining = true;
    let mut world = World::new(&before);
    let next = world.states.group(&after);
    assert_eq!(world.pick().unwrap().index(), 0);
    let why = |world: &World| world.group.members[0].state.why();
    assert_eq!(why(&world).as_deref(), Some("it is set to drain"));
    drop(next);
    world.reload(&after);
    assert_eq!((world.status(), world.requests(10, |_| GOOD)), ("xu".into(), vec![0, 10]));
    // And back: the one that goes on is taken as soon as its snapshot is there.
    let _next = world.states.group(&before);
    assert_eq!(world.requests(10, |_| GOOD), [0, 10]);
    world.reload(&before);
    assert_eq!(world.requests(10, |_| GOOD), [10]);
    assert_eq!(why(&world).as_deref(), Some("it takes part again"));
}

#[test]
fn one_that_drains_takes_only_those_bound_to_it() {
    let mut settings = upstream(&["a", "b", "c"]);
    settings.endpoints[1].draining = true;
    let world = World::new(&settings);
    world.group.drain(0, true);
    assert_eq!(world.status(), "xxu");
    assert_eq!(world.requests(10, |_| GOOD), [0, 0, 10]);
    for index in 0..3 {
        assert_eq!(world.pick_bound(index).unwrap().index(), index);
    }
    // One that is gone leaves them to others.
    world.group.apply_check(0, false, "down");
    assert_eq!(world.pick_bound(0).unwrap().index(), 2);
    assert_eq!(world.pick_bound(17).unwrap().index(), 2);
    world.group.apply_check(0, true, "up");
    world.group.drain(0, false);
    assert_eq!(world.status(), "uxu");
    assert_eq!(world.requests(10, |_| GOOD), [5, 0, 5]);
}

#[test]
fn a_sweep_ejects_who_fails_more_than_the_others() {
    let mut world = World::new(&upstream(&["a", "b", "c", "d", "e"]));
    let rare = std::cell::Cell::new(0);
    // A fifth of the answers of `b` are 500, never five in a row.
    let outcome = |index: usize| match index {
        1 if rare.replace(rare.get() + 1) % 5 == 0 => BAD,
        _ => GOOD,
    };
    for _ in 0..3 {
        world.requests(1000, outcome);
        world.pass(1);
    }
    assert_eq!(world.status(), "ueuuu");
    let why = world.group.members[1].state.why().unwrap();
    assert_eq!(why, "20.0 % of its requests failed, 0.0 % of the others'");
    // It returns, and what was counted before is not held against it again.
    world.pass(2);
    assert_eq!(world.status(), "uuuuu");
    for _ in 0..20 {
        world.requests(1000, |_| GOOD);
        world.pass(1);
        assert_eq!(world.status(), "uuuuu");
    }
}

#[test]
fn a_sweep_leaves_all_when_all_fail_alike() {
    let mut world = World::new(&upstream(&["a", "b", "c", "d"]));
    let turn = std::cell::Cell::new(0);
    for _ in 0..20 {
        world.requests(997, |_| if turn.replace(turn.get() + 1) % 3 == 0 { BAD } else { GOOD });
        world.pass(1);
        assert_eq!(world.status(), "uuuu");
    }
}

#[test]
fn a_sweep_ejects_the_slow_one_if_that_is_asked_for() {
    for (times, expected) in [(0.0, "uuu"), (3.0, "eeu")] {
        let mut settings = upstream(&["a", "b", "c"]);
        let ejection = settings.ejection.as_mut().unwrap();
        ejection.latency = times;
        ejection.share = 100;
        let mut world = World::new(&settings);
        let outcome = |index: usize| Outcome::Response {
            status: 200,
            first_byte: Duration::from_millis([400, 50, 5][index]),
        };
        // Until before the terms end.
        for _ in 0..3 {
            world.requests(300, outcome);
            world.pass(1);
        }
        assert_eq!(world.status(), expected, "{times}");
    }
}

/// All endpoints fail, in each of the ways in which one can; clients come at any rate.
#[test]
fn a_storm_of_retries_is_held_off() {
    for outcome in [BAD, Outcome::Reset, Outcome::Timeout] {
        for rate in [50_u32, 1000] {
            let mut settings = upstream(&["a", "b", "c", "d", "e"]);
            settings.retry.tries = 3;
            let mut world = World::new(&settings);
            let (mut clients, mut upstreams) = (0_u32, 0_u32);
            for request in 0..rate * 60 {
                clients += 1;
                world.core.count_request(world.now);
                let mut tried = Vec::new();
                for tries in 1..=settings.retry.tries {
                    let Ok(mut lease) = world.core.pick(&world.ask(&tried)) else { break };
                    upstreams += 1;
                    tried.push(lease.index());
                    lease.report(outcome, &"down", world.now);
                    if tries == settings.retry.tries || !world.core.may_retry(world.now) {
                        break;
                    }
                }
                world.now += Duration::from_secs(1) / rate;
                if request % rate == 0 {
                    let probes = world.group.sweep(world.now);
                    assert!(probes.is_empty(), "all of them can be connected to");
                }
            }
            let ratio = f64::from(upstreams) / f64::from(clients);
            // The floor of three a second is all that may come to the fifth.
            let most = 1.2 + 3.0 / f64::from(rate) * 1.2;
            assert!(ratio <= most, "{outcome:?} at {rate}/s: {ratio}");
            assert!(rate < 1000 || ratio <= 1.25, "{outcome:?} at {rate}/s: {ratio}");
            assert!(world.status().contains('u'), "{}", world.status());
        }
    }
}

#[test]
fn what_a_second_try_overtakes_counts_as_slow() {
    for (hedge, expected) in [(true, 1000), (false, 5)] {
        let mut settings = upstream(&["a", "b"]);
        let after = HedgeAfter::Quantile(95);
        settings.hedge = hedge.then(|| Hedge { place: Place::default(), after });
        let mut world = World::new(&settings);
        world.requests(118, |_| GOOD);
        // What was left at once, or was never sent, says nothing.
        world.now = Instant::now() + Duration::from_secs(1);
        (0..256).for_each(|_| drop(world.pick().unwrap()));
        // Picked a second ago, by the clock.
        world.now = Instant::now() - Duration::from_secs(1);
        (0..10).for_each(|_| drop(world.pick().unwrap()));
        let p95 = world.core.first_byte_quantile(95).unwrap().as_millis();
        assert!((expected..=expected * 5 / 4).contains(&p95), "{p95} ms");
    }
}

#[test]
fn the_budget_and_the_counts_outlive_a_reload() {
    let settings = upstream(&["a", "b"]);
    let mut world = World::new(&settings);
    (0..1000).for_each(|_| world.core.count_request(world.now));
    world.requests(100, |_| GOOD);
    world.reload(&settings);
    assert_eq!(world.group.usage(world.now).budget.requests, 1000);
    assert_eq!((0..1000).filter(|_| world.core.may_retry(world.now)).count(), 230);
    assert_eq!(world.group.members[0].state.totals().requests, 50);
    assert_eq!(world.core.first_byte_quantile(95), Some(Duration::from_micros(5120)));
}

/// So many requests of one client for one path, of which each endpoint makes what `outcome` says.
fn one_client(world: &World, count: usize, outcome: impl Fn(usize) -> Outcome) {
    let origin = RequestOrigin::new([10, 1, 1, 1].into(), b"/one");
    for _ in 0..count {
        let mut lease = world.pick().unwrap();
        lease.set_origin(origin);
        lease.report(outcome(lease.index()), &"status 500", world.now);
    }
}

#[test]
fn what_one_client_shows_on_all_ejects_nobody() {
    for outcome in [BAD, Outcome::Reset, Outcome::Timeout] {
        for algorithm in ["round-robin", "p2c", "random", "first", "least-connections", "path"] {
            let mut settings = upstream(&["a", "b", "c", "d", "e"]);
            settings.balance.algorithm = match algorithm {
                "path" => "maglev".into(),
                algorithm => algorithm.into(),
            };
            let mut world = World::new(&settings);
            for _ in 0..5 {
                one_client(&world, 60, |_| outcome);
                world.requests(30, |_| GOOD);
                one_client(&world, 60, |_| outcome);
                world.pass(1);
                assert_eq!(world.status(), "uuuuu", "{algorithm} {outcome:?}");
            }
        }
    }
}

#[test]
fn one_that_fails_what_others_do_well_is_ejected_whoever_asks() {
    for (names, outcome, requests) in [
        (&["a", "b"][..], BAD, 26),
        (&["a", "b", "c", "d", "e"][..], BAD, 40),
        (&["a", "b", "c", "d", "e"][..], Outcome::Timeout, 40),
    ] {
        let world = World::new(&upstream(names));
        one_client(&world, requests, |index| if index == 1 { outcome } else { GOOD });
        assert_eq!(world.status(), format!("ue{}", "u".repeat(names.len() - 2)));
        let why = world.group.members[1].state.why().unwrap();
        assert!(why.contains("succeeded elsewhere"), "{why}");
    }
}

#[test]
fn who_chooses_the_endpoint_by_a_cookie_cannot_have_it_ejected() {
    let mut settings = upstream(&["a", "b", "c"]);
    settings.sticky = Some(Sticky {
        place: Place::default(),
        cookie: "BW".into(),
        max_age: None,
        path: "/".into(),
        domain: None,
        secure: None,
        http_only: true,
        same_site: SameSite::Lax,
        key_file: None,
    });
    let mut world = World::new(&settings);
    let bad = |world: &World, paths: u32, clients: u32| {
        for number in 0..60u32 {
            let mut lease = world.pick_bound(0).unwrap();
            let client = Ipv4Addr::from_bits(number % clients);
            lease.set_origin(RequestOrigin::new(client.into(), &(number % paths).to_le_bytes()));
            lease.report(BAD, &"status 500", world.now);
        }
    };
    world.requests(300, |_| GOOD);
    world.pass(1);
    for (paths, clients) in [(1, 1), (60, 1), (1, 60)] {
        bad(&world, paths, clients);
        world.requests(100, |_| GOOD);
    }
    assert_eq!(world.status(), "uuu");
    world.pass(1);
    assert_eq!(world.status(), "uuu");
    // Several of several is another matter.
    bad(&world, 60, 60);
    assert_eq!(world.status(), "euu");
}
