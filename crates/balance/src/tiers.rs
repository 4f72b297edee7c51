//! Which endpoints may be taken at all, in which order, and how much of the load each tier gets.
//!
//! A *tier* is the endpoints of equal priority and equal nearness (the process's own zone comes
//! before others). Backup endpoints come after all others, by the same order among themselves.
//! A tier takes what is left of the load as long as the share of its weight that is up is at least
//! `spill`; below that it takes that share divided by `spill`, and the rest goes to the next tier.
//! If all tiers together cannot take everything by that rule, each takes in proportion. Backup
//! endpoints take nothing as long as any other is up.

use config::Panic;

use crate::endpoint::EndpointStatus;

/// What counts of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) status: EndpointStatus,
    pub(crate) weight: u16,
    pub(crate) backup: bool,
    pub(crate) priority: u16,
    /// Whether it stands in another zone than the process.
    pub(crate) far: bool,
}

/// Endpoints that share a part of the load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tier {
    /// Its part of the load and that of the tiers before it, of [`WHOLE`].
    pub(crate) up_to: u32,
    /// By index, in order.
    pub(crate) eligible: Vec<u32>,
}

impl Tier {
    /// Its part of the load; `before` is the tier before it.
    pub(crate) fn part(&self, before: Option<&Self>) -> f64 {
        f64::from(self.up_to - before.map_or(0, |before| before.up_to)) / f64::from(WHOLE)
    }
}

/// All of the load.
pub(crate) const WHOLE: u32 = 1 << 16;

/// The eligible endpoints, by tier.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plan {
    /// Tiers that get load.
    pub(crate) tiers: Vec<Tier>,
    /// Tiers that get load only if no endpoint of the former can be picked, in order.
    pub(crate) spare: Vec<Vec<u32>>,
}

struct Level {
    backup: bool,
    weight: u32,
    weight_up: u32,
    up: Vec<u32>,
}

/// Computes the eligible endpoints.
pub(crate) fn plan(candidates: &[Candidate], spill: u8, panic: Panic) -> Plan {
    let levels = levels(candidates);
    if levels.iter().all(|level| level.up.is_empty()) {
        return match panic {
            Panic::Fail => Plan::default(),
            Panic::Spread => everybody(candidates),
        };
    }
    let plain = levels.iter().any(|level| !level.backup && !level.up.is_empty());
    let mut loads = loads(levels.iter().filter(|level| level.backup != plain), spill).into_iter();
    let mut plan = Plan::default();
    let mut up_to = 0.0;
    for level in levels {
        let load = if level.backup != plain { loads.next().unwrap_or(0.0) } else { 0.0 };
        if level.up.is_empty() {
            continue;
        }
        if load > 0.0 {
            up_to += load;
            let up_to = (up_to * f64::from(WHOLE)).round() as u32;
            plan.tiers.push(Tier { up_to, eligible: level.up });
        } else {
            plan.spare.push(level.up);
        }
    }
    if let Some(last) = plan.tiers.last_mut() {
        last.up_to = WHOLE;
    }
    plan
}

fn levels(candidates: &[Candidate]) -> Vec<Level> {
    let key = |of: &Candidate| (of.backup, of.priority, of.far);
    let mut keys: Vec<_> = candidates.iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let level = |wanted: (bool, u16, bool)| {
        let mut level = Level { backup: wanted.0, weight: 0, weight_up: 0, up: Vec::new() };
        for (index, one) in (0..).zip(candidates).filter(|(_, one)| key(one) == wanted) {
            match one.status {
                // An operator removes it on purpose: its weight does not count as missing.
                EndpointStatus::Draining => continue,
                EndpointStatus::Up => {
                    level.weight_up += u32::from(one.weight);
                    level.up.push(index);
                }
                EndpointStatus::Down | EndpointStatus::Ejected => {}
            }
            level.weight += u32::from(one.weight);
        }
        level
    };
    keys.into_iter().map(level).collect()
}

/// The parts of the load, which add up to 1.
fn loads<'l>(levels: impl Iterator<Item = &'l Level>, spill: u8) -> Vec<f64> {
    let spill = f64::from(spill.clamp(1, 100)) / 100.0;
    let mut left = 1.0;
    let mut loads: Vec<f64> = Vec::new();
    for level in levels {
        let up = f64::from(level.weight_up) / f64::from(level.weight.max(1));
        let load = (up / spill).min(1.0).min(left);
        left -= load;
        loads.push(load);
    }
    let sum: f64 = loads.iter().sum();
    loads.iter_mut().for_each(|load| *load /= sum.max(f64::MIN_POSITIVE));
    loads
}

/// All endpoints as if they were up, except those that drain.
fn everybody(candidates: &[Candidate]) -> Plan {
    let drains = |one: &Candidate| one.status == EndpointStatus::Draining;
    let all = (0..).zip(candidates).filter(|(_, one)| !drains(one)).map(|(index, _)| index);
    let eligible: Vec<u32> = all.collect();
    let tiers = if eligible.is_empty() { vec![] } else { vec![Tier { up_to: WHOLE, eligible }] };
    Plan { tiers, spare: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each endpoint as letters: `u`p, `d`own, `e`jected, `x` (drains); then `b`ackup, `f`ar, a digit
    /// for its priority, `*` for a weight of 3.
    fn candidates(written: &str) -> Vec<Candidate> {
        let one = |word: &str| Candidate {
            status: match word.as_bytes().first() {
                Some(b'u') => EndpointStatus::Up,
                Some(b'd') => EndpointStatus::Down,
                Some(b'e') => EndpointStatus::Ejected,
                _ => EndpointStatus::Draining,
            },
            weight: if word.contains('*') { 3 } else { 1 },
            backup: word.contains('b'),
            priority: word.chars().find_map(|c| c.to_digit(10)).unwrap_or(0) as u16,
            far: word.contains('f'),
        };
        written.split(' ').map(one).collect()
    }

    #[test]
    fn tiers_and_their_loads() {
        #[track_caller]
        fn check(written: &str, expected: &str) {
            check_with(written, 70, Panic::Fail, expected);
        }
        #[track_caller]
        fn check_with(written: &str, spill: u8, panic: Panic, expected: &str) {
            let plan = plan(&candidates(written), spill, panic);
            let mut before = 0;
            let mut found = Vec::new();
            for tier in &plan.tiers {
                let percent = f64::from(tier.up_to - before) * 100.0 / f64::from(WHOLE);
                found.push(format!("{:?} {percent:.0}%", tier.eligible));
                before = tier.up_to;
            }
            found.extend(plan.spare.iter().map(|spare| format!("({spare:?})")));
            assert_eq!(found.join(" "), expected, "{written}");
        }
        check("u u u", "[0, 1, 2] 100%");
        check("u d e", "[0] 100%");
        check("u x u", "[0, 2] 100%");
        check("d e x", "");
        // Priorities: three of four are enough, two of four take 0.5 / 0.7.
        check("u0 u0 u0 d0 u1", "[0, 1, 2] 100% ([4])");
        check("u0 u0 d0 d0 u1", "[0, 1] 71% [4] 29%");
        check("d0 u1 u2", "[1] 100% ([2])");
        check("u0 d0 d0 d0 u1 d1 d1 u2", "[0] 36% [4] 48% [7] 17%");
        // Nobody is well enough: what there is takes all, in proportion.
        check("u0 d0 d0 d0 u1 d1 d1 d1", "[0] 50% [4] 50%");
        check("u0 d0 d0 d0", "[0] 100%");
        // By weight.
        check("u0* d0 u1", "[0] 100% ([2])");
        check("d0* u0 u1", "[1] 36% [2] 64%");
        // One that drains is not missed.
        check("u0 x0 x0 u1", "[0] 100% ([3])");
        // Zones: the own one first, within a priority.
        check("u uf u", "[0, 2] 100% ([1])");
        check("u d uf uf", "[0] 71% [2, 3] 29%");
        check("u1 uf0", "[1] 100% ([0])");
        // Backups: only if nobody else is up.
        check("u d d ub", "[0] 100% ([3])");
        check("d x ub db ub1", "[2] 71% [4] 29%");
        check("d xb", "");
        // Other bounds.
        check_with("u0 u0 u0 d0 u1", 100, Panic::Fail, "[0, 1, 2] 75% [4] 25%");
        check_with("u0 d0 u1", 50, Panic::Fail, "[0] 100% ([2])");
        // Panic.
        check_with("d e x db", 70, Panic::Spread, "[0, 1, 3] 100%");
        check_with("x x", 70, Panic::Spread, "");
        check_with("d u", 70, Panic::Spread, "[1] 100%");
    }
}
