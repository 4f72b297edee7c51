//! What holds for every row of the table of algorithms.
//!
//! Random parts have fixed seeds, so that a test that passes once always passes.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use random::Random;

use crate::algorithm::{ALGORITHMS, Algorithm, AlgorithmRow, PickContext};
use crate::group::Group;
use crate::testing::{core, group, upstream, upstream_of};

const WEIGHTS: [&[u16]; 5] =
    [&[1], &[1, 1], &[5, 1, 1], &[1, 2, 3, 4, 10, 1, 1, 1, 1000, 7, 7], &[3; 60]];

/// Every row with every list of weights.
static GROUPS: LazyLock<Vec<(&AlgorithmRow, Arc<Group>)>> = LazyLock::new(|| {
    let with = |row: &'static AlgorithmRow| WEIGHTS.map(|weights| (row, group(row.name, weights)));
    ALGORITHMS.iter().flat_map(with).collect()
});

fn rows(by_key: bool) -> impl Iterator<Item = &'static AlgorithmRow> {
    ALGORITHMS.iter().filter(move |row| row.by_key == by_key)
}

fn keys(count: usize) -> Vec<u64> {
    let mut random = Random::seeded(7);
    (0..count).map(|_| random.next()).collect()
}

fn turn(key: u64) -> PickContext {
    PickContext { key, now_ms: 1 }
}

/// Whom a key leads to, by name.
fn lead(group: &Group, algorithm: &mut dyn Algorithm, key: u64) -> Arc<str> {
    let index = algorithm.pick(group, turn(key), &mut |_| true).unwrap();
    Arc::clone(&group.members[index].settings.written)
}

fn leads(group: &Arc<Group>, keys: &[u64]) -> Vec<Arc<str>> {
    let mut algorithm = core(group, 0);
    keys.iter().map(|&key| lead(group, &mut *algorithm, key)).collect()
}

/// How often each endpoint is picked.
fn counts(group: &Arc<Group>, picks: usize) -> Vec<usize> {
    let mut algorithm = core(group, 0);
    let mut counts = vec![0; group.members.len()];
    for key in keys(picks) {
        counts[algorithm.pick(group, turn(key), &mut |_| true).unwrap()] += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One that may not be taken never is, and one that may is found whenever there is one; the
    /// predicate says yes once, to the one that is picked.
    #[test]
    fn only_those_that_may_be_taken(
        eligible in prop::collection::vec(any::<bool>(), 60),
        allowed in prop_oneof![
            prop::collection::vec(any::<bool>(), 60),
            prop::collection::vec(prop::bool::weighted(0.05), 60),
        ],
        keys in prop::collection::vec(any::<u64>(), 4),
        number in 0..64usize,
    ) {
        for (row, group) in &*GROUPS {
            let count = group.members.len();
            let mut algorithm = core(group, number);
            let indices: Vec<u32> = (0..count as u32).filter(|&index| eligible[index as usize]).collect();
            algorithm.refresh(group, &indices);
            let may = |index: usize| eligible[index] && allowed[index];
            for &key in &keys {
                let mut yes = Vec::new();
                let picked = algorithm.pick(group, turn(key), &mut |index| {
                    let allowed = may(index);
                    yes.extend(allowed.then_some(index));
                    allowed
                });
                prop_assert_eq!(picked.is_some(), (0..count).any(may), "{} of {}", row.name, count);
                prop_assert_eq!(yes, Vec::from_iter(picked), "{} of {}", row.name, count);
                picked.into_iter().for_each(|index| algorithm.released(group, index));
            }
        }
    }
}

/// How closely shares follow weights.
enum Closeness {
    /// To one turn or two.
    Exact,
    /// As far as chance lets them: χ², one in a thousand.
    Chance,
    /// To this part of the share.
    Within(f64),
    /// They do not.
    Free,
}

fn closeness(row: &AlgorithmRow) -> Closeness {
    match row.name {
        "round-robin" | "least-connections" | "least-time" => Closeness::Exact,
        "random" | "p2c" => Closeness::Chance,
        "maglev" => Closeness::Within(0.03),
        "rendezvous" | "source" => Closeness::Within(0.05),
        "ring" => Closeness::Within(0.25),
        "first" => Closeness::Free,
        other => panic!("say how closely the shares of {other} follow weights"),
    }
}

#[test]
fn shares_follow_weights() {
    // In any order of the configuration.
    for weights in [[1, 2, 3, 4, 10], [10, 4, 3, 2, 1], [3, 10, 1, 4, 2], [1; 5]] {
        let total: u16 = weights.iter().sum();
        for row in ALGORITHMS {
            let picks = 100_000;
            let counts = counts(&group(row.name, &weights), picks);
            let expected =
                weights.map(|weight| picks as f64 * f64::from(weight) / f64::from(total));
            let off = counts.iter().zip(expected).map(|(&got, expected)| got as f64 - expected);
            match closeness(row) {
                Closeness::Exact => {
                    off.for_each(|off| assert!(off.abs() <= 2.0, "{}: {counts:?}", row.name));
                }
                Closeness::Chance => {
                    let chi_squared: f64 = off.zip(expected).map(|(off, e)| off * off / e).sum();
                    // Four degrees of freedom.
                    assert!(chi_squared < 18.47, "{}: {counts:?} {chi_squared}", row.name);
                }
                Closeness::Within(part) => off.zip(expected).for_each(|(off, expected)| {
                    assert!(off.abs() <= part * expected, "{}: {counts:?} {off}", row.name);
                }),
                Closeness::Free => {}
            }
        }
    }
}

/// The same while requests are under way, for those that look at them.
#[test]
fn shares_follow_weights_under_load() {
    for name in ["p2c", "least-connections", "least-time"] {
        let weights = [1, 2, 3, 4, 10];
        let group = group(name, &weights);
        let mut algorithm = core(&group, 0);
        let mut under_way = std::collections::VecDeque::new();
        let mut counts = [0.0; 5];
        for _ in 0..20_000 {
            let mut enter = |index: usize| group.members[index].state.enter(None);
            let picked = algorithm.pick(&group, PickContext::default(), &mut enter).unwrap();
            counts[picked] += 1.0;
            under_way.push_back(picked);
            if under_way.len() > 100 {
                let ended = under_way.pop_front().unwrap();
                group.members[ended].state.leave();
                algorithm.released(&group, ended);
            }
        }
        for (count, weight) in counts.iter().zip(weights) {
            let expected = f64::from(weight) * 1000.0;
            assert!((count / expected - 1.0).abs() < 0.08, "{name}: {counts:?}");
        }
    }
}

/// When an endpoint leaves the configuration, its keys move, and no others.
#[test]
fn few_keys_move() {
    let keys = keys(20_000);
    for row in rows(true) {
        for count in [10, 50] {
            let members = |without: Option<usize>| {
                let numbers = (0..count).filter(move |&number| Some(number) != without);
                Group::alone(&upstream_of(row.name, numbers.map(|number| (number, 2))))
            };
            let all = members(None);
            let before = leads(&all, &keys);
            for left in [0, 7, count - 1] {
                let name = &all.members[left].settings.written;
                let after = leads(&members(Some(left)), &keys);
                let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
                let (own, others): (Vec<_>, Vec<_>) =
                    moved.partition(|(before, _)| *before == name);
                assert_eq!(own.len(), before.iter().filter(|to| *to == name).count());
                let share = keys.len() as f64 / count as f64;
                let off = if row.name == "ring" { 1.3 } else { 1.1 };
                assert!(own.len() as f64 <= share * off, "{}: {} of {share}", row.name, own.len());
                // Maglev: section 5.3 of its paper has the same figure.
                let others_max = if row.name == "maglev" { share } else { 0.0 };
                assert!(others.len() as f64 <= others_max, "{}: {} too", row.name, others.len());
                let heirs: HashSet<_> = own.iter().map(|(_, after)| *after).collect();
                assert!(heirs.len() > count * 2 / 3, "{}: {} heirs", row.name, heirs.len());
            }
        }
    }
}

/// When one goes down, its keys move, and no others, with any algorithm; they are back with it.
#[test]
fn keys_come_back() {
    let keys = keys(5_000);
    for row in rows(true) {
        let group = group(row.name, &[2; 20]);
        let before = leads(&group, &keys);
        let mut algorithm = core(&group, 0);
        let eligible: Vec<u32> = (0..20).filter(|index| ![3, 11].contains(index)).collect();
        algorithm.refresh(&group, &eligible);
        let down = [3, 11].map(|index: usize| &group.members[index].settings.written);
        for (&key, before) in keys.iter().zip(&before) {
            let now = lead(&group, &mut *algorithm, key);
            assert_eq!(now == *before, !down.contains(&before), "{}", row.name);
        }
        algorithm.refresh(&group, &Vec::from_iter(0..20));
        let after = keys.iter().map(|&key| lead(&group, &mut *algorithm, key));
        assert!(after.eq(before), "{}", row.name);
    }
}

#[test]
fn the_order_of_the_configuration_does_not_matter_to_keys() {
    let keys = keys(5_000);
    for row in rows(true) {
        let endpoints =
            |step: usize| (0..31).map(move |n| (n * step % 31, 1 + (n * step % 31) as u16));
        let there = |step| leads(&Group::alone(&upstream_of(row.name, endpoints(step))), &keys);
        let expected = there(1);
        assert!(there(7) == expected && there(30) == expected, "{}", row.name);
    }
}

#[test]
fn what_is_built_again_is_the_same() {
    for row in ALGORITHMS {
        let sequence = |number| {
            let group = group(row.name, WEIGHTS[3]);
            let mut algorithm = core(&group, number);
            let pick = |key| algorithm.pick(&group, turn(key), &mut |_| true).unwrap();
            keys(200).into_iter().map(pick).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1), "{}", row.name);
        assert_eq!(sequence(0) == sequence(1), row.by_key || row.name == "first", "{}", row.name);
    }
}

/// Cores that all begin with the same endpoint would do so after each change, all at once.
#[test]
fn cores_do_not_all_begin_alike() {
    for row in rows(false).filter(|row| row.name != "first") {
        let group = group(row.name, &[1; 16]);
        let first = |number| core(&group, number).pick(&group, turn(0), &mut |_| true);
        let firsts: HashSet<_> = (0..16).map(first).collect();
        assert!(firsts.len() >= 8, "{}: {firsts:?}", row.name);
    }
}

/// All requests have the same key, and many are under way.
#[test]
fn loads_are_bounded() {
    for row in rows(true) {
        for (weights, requests) in [(&[1u16; 10][..], 200), (&[1, 2, 3, 4], 400), (&[1; 40], 1000)]
        {
            let group = group(row.name, weights);
            let mut cores = [core(&group, 0), core(&group, 1)];
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let mut picks = HashSet::new();
            for number in 0..requests {
                let mut enter = |index: usize| group.members[index].state.enter(None);
                // Two cores see each other's requests at once in small groups, in large ones soon.
                let core = &mut cores[if weights.len() <= 8 { number % 2 } else { 0 }];
                let picked = core.pick(&group, turn(42), &mut enter).unwrap();
                picks.insert(picked);
                let share = (number + 1) as f64 * f64::from(weights[picked]) / total;
                let in_flight = f64::from(group.members[picked].state.in_flight());
                assert!(in_flight <= (share * 1.25).ceil().max(8.0), "{}", row.name);
            }
            // No more goes over to others than must.
            let weight = |&index: &usize| f64::from(weights[index]);
            let used: f64 = picks.iter().map(weight).sum();
            assert!(used >= total * 0.75, "{}: {used} of {total}", row.name);
            let idle = Group::alone(&group.settings);
            let first = core(&idle, 0).pick(&idle, turn(42), &mut |_| true).unwrap();
            let bound = requests as f64 * f64::from(weights[first]) / total * 1.25;
            let in_flight = f64::from(group.members[first].state.in_flight());
            assert!(in_flight >= bound.floor(), "{}: {in_flight} of {bound}", row.name);
        }
    }
}

/// Nothing is worked out again for what it does not depend on.
#[test]
fn tables_are_kept() {
    let states = crate::group::States::default();
    let group = |change: &dyn Fn(&mut config::Upstream)| {
        let mut upstream = upstream("rendezvous", &[1; 5]);
        change(&mut upstream);
        states.group(&upstream)
    };
    let kept = |change: &dyn Fn(&mut config::Upstream)| {
        let before = group(&|_| {});
        Arc::ptr_eq(&before.factory, &group(change).factory)
    };
    assert!(kept(&|upstream| {
        upstream.endpoints[1].draining = true;
        upstream.balance.bound = None;
    }));
    assert!(!kept(&|upstream| upstream.endpoints[1].weight = 2));
    assert!(!kept(&|upstream| upstream.balance.algorithm = "maglev".into()));
    assert!(!kept(&|upstream| upstream.endpoints.swap(0, 1)));
    assert!(!kept(&|upstream| upstream.endpoints.truncate(4)));
}

#[test]
fn without_a_bound_a_key_stays() {
    for row in rows(true) {
        let mut upstream = upstream(row.name, &[1; 10]);
        upstream.balance.bound = None;
        let group = Group::alone(&upstream);
        let mut algorithm = core(&group, 0);
        let mut enter = |index: usize| group.members[index].state.enter(None);
        let picks: HashSet<_> =
            (0..200).map(|_| algorithm.pick(&group, turn(42), &mut enter)).collect();
        assert_eq!(picks.len(), 1, "{}", row.name);
    }
}

/// One is filled, then the next; what ends makes room, on whichever core it began.
#[test]
fn the_first_with_room() {
    let mut upstream = upstream("first", &[1; 4]);
    upstream.endpoints.iter_mut().for_each(|endpoint| endpoint.max = Some(2));
    upstream.endpoints[3].max = None;
    let group = Group::alone(&upstream);
    let mut cores = [core(&group, 0), core(&group, 1)];
    let mut pick = |core: usize| {
        let mut enter = |index: usize| {
            let member = &group.members[index];
            member.state.enter(member.settings.max)
        };
        cores[core].pick(&group, turn(0), &mut enter).unwrap()
    };
    let picks: Vec<usize> = (0..8).map(|number| pick(number % 2)).collect();
    assert_eq!(picks, [0, 0, 1, 1, 2, 2, 3, 3]);
    group.members[1].state.leave();
    group.members[0].state.leave();
    // The core does not know of either; it looks at one of those that were full per pick.
    let picks: HashSet<usize> = (0..4).map(|_| pick(0)).collect();
    assert!(picks.contains(&0) && picks.contains(&1), "{picks:?}");
}

/// Another core has most of the requests: this one does not add to where they are many.
#[test]
fn what_other_cores_do_is_seen() {
    for (count, picks) in [(8, 400), (200, 4_000)] {
        let group = group("least-connections", &vec![1; count]);
        let mut algorithm = core(&group, 0);
        // In each half, all at once.
        for half in 0..2 {
            let loaded = half * count / 2..(half + 1) * count / 2;
            let other = |index: &usize| !loaded.contains(index);
            for index in loaded.clone() {
                (0..50).for_each(|_| assert!(group.members[index].state.enter(None)));
            }
            let mut counts = vec![0; count];
            for _ in 0..picks {
                let picked = algorithm.pick(&group, turn(0), &mut |_| true).unwrap();
                counts[picked] += 1;
            }
            let elsewhere: usize = (0..count).filter(other).map(|index| counts[index]).sum();
            assert!(elsewhere * 100 >= picks * 99, "{count}: {elsewhere} of {picks}");
            for index in loaded {
                (0..50).for_each(|_| group.members[index].state.leave());
            }
        }
    }
}

/// How much is asked per pick among 1,000 endpoints: on average, and at most.
#[test]
fn little_is_asked() {
    for row in ALGORITHMS {
        let group = group(row.name, &[1; 1000]);
        let mut algorithm = core(&group, 0);
        let mut check = |picks: usize, may: &dyn Fn(usize) -> bool, average: usize, most: usize| {
            let (mut asked_in_all, mut asked_most) = (0, 0);
            for key in keys(picks) {
                let mut asked = 0;
                let mut allowed = |index: usize| {
                    asked += 1;
                    may(index)
                };
                algorithm.pick(&group, turn(key), &mut allowed);
                asked_in_all += asked;
                asked_most = asked_most.max(asked);
            }
            assert!(asked_in_all <= average * picks, "{}: {asked_in_all}", row.name);
            assert!(asked_most <= most, "{}: {asked_most}", row.name);
        };
        check(1000, &|_| true, 1, 1);
        check(1000, &|index| index % 10 != 0, 2, 20);
        check(1000, &|index| index % 2 != 0, 3, 30);
        // Nobody: everybody is asked, but not again and again.
        check(50, &|_| false, 2_200, 2_200);
    }
}
