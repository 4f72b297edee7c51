//! Each endpoint in turn, as often as its weight says, evenly spread.
//!
//! The order is worked out once, when the group is built: a *schedule*, in which an endpoint of
//! weight `w` stands `w` times (after division by the common divisor) at even distances. A pick is
//! then one step along it. Weights whose schedule would be longer than [`SCHEDULE_MAX`] are scaled
//! down to fit, which is off by less than one part in a thousand.

use crate::Algorithm;

/// Entries of a schedule at most.
const SCHEDULE_MAX: u32 = 16 * 1024;

struct RoundRobin {
    schedule: Box<[u16]>,
    next: usize,
}

/// Builds the schedule.
pub(crate) fn build(weights: &[u16], start: usize) -> Box<dyn Algorithm> {
    let schedule = schedule(weights);
    let next = if schedule.is_empty() { 0 } else { start % schedule.len() };
    Box::new(RoundRobin { schedule, next })
}

impl Algorithm for RoundRobin {
    fn pick(&mut self, usable: &mut dyn FnMut(usize) -> bool) -> Option<usize> {
        for _ in 0..self.schedule.len() {
            let endpoint = usize::from(*self.schedule.get(self.next)?);
            self.next = if self.next + 1 == self.schedule.len() { 0 } else { self.next + 1 };
            if usable(endpoint) {
                return Some(endpoint);
            }
        }
        None
    }
}

/// Spreads the endpoints so that each prefix has them as near to their shares as can be.
fn schedule(weights: &[u16]) -> Box<[u16]> {
    let weights = scaled(weights);
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut lead = vec![0i64; weights.len()];
    let mut order = Vec::with_capacity(total as usize);
    for _ in 0..total {
        lead.iter_mut().zip(&weights).for_each(|(lead, weight)| *lead += i64::from(*weight));
        let mut chosen = 0;
        for (index, ahead) in lead.iter().enumerate() {
            if lead.get(chosen).is_some_and(|best| ahead > best) {
                chosen = index;
            }
        }
        if let Some(lead) = lead.get_mut(chosen) {
            *lead -= total;
        }
        order.push(chosen as u16);
    }
    order.into()
}

fn scaled(weights: &[u16]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |divisor, &weight| common_divisor(divisor, weight)).max(1);
    let weights: Vec<u32> = weights.iter().map(|&w| u32::from(w.max(1) / divisor).max(1)).collect();
    let total: u32 = weights.iter().sum();
    if total <= SCHEDULE_MAX {
        return weights;
    }
    let shrink =
        |weight: u32| (u64::from(weight) * u64::from(SCHEDULE_MAX) / u64::from(total)) as u32;
    weights.into_iter().map(|weight| shrink(weight).max(1)).collect()
}

fn common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u16], count: usize, down: &[usize]) -> Vec<usize> {
        let mut algorithm = build(weights, 0);
        (0..count).filter_map(|_| algorithm.pick(&mut |index| !down.contains(&index))).collect()
    }

    #[test]
    fn order() {
        #[track_caller]
        fn check(weights: &[u16], down: &[usize], expected: &[usize]) {
            assert_eq!(picks(weights, expected.len().max(1), down), expected);
        }
        check(&[1, 1, 1], &[], &[0, 1, 2, 0, 1, 2]);
        check(&[5, 1, 1], &[], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[10, 20], &[], &[1, 0, 1, 1, 0, 1]);
        check(&[1, 1, 1], &[1], &[0, 2, 0, 2]);
        check(&[1, 1], &[0, 1], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn shares_follow_weights() {
        for weights in [&[1u16, 1000][..], &[3, 5, 7, 11], &[1000; 100], &[999, 1000, 998]] {
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let count = 200_000;
            let picks = picks(weights, count, &[]);
            for (index, &weight) in weights.iter().enumerate() {
                let got = picks.iter().filter(|&&picked| picked == index).count() as f64;
                let expected = count as f64 * f64::from(weight) / total as f64;
                assert!((got - expected).abs() < count as f64 * 0.002 + 2.0, "{weights:?} {index}");
            }
        }
    }

    #[test]
    fn cores_start_apart() {
        let first = |start| build(&[1, 1, 1], start).pick(&mut |_| true);
        assert_eq!([first(0), first(1), first(2)], [Some(0), Some(1), Some(2)]);
    }
}
