//! Which endpoint would be picked, for `explain`: from the configuration alone, as if all endpoints
//! were up and had no requests.

use std::sync::Arc;

use config::Upstream;

use crate::algorithm::{AlgorithmRow, PickContext, algorithm};
use crate::group::Group;

/// The maximum number of endpoints whose order is computed.
const ORDER_MAX: usize = 100;

/// An endpoint that may get a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The index in [`Upstream::endpoints`].
    pub index: usize,
    /// As written.
    pub endpoint: Arc<str>,
    /// The percentage of such requests that it gets while all endpoints are up: 100 or 0 if the request
    /// determines its endpoint, otherwise by weight.
    pub share: f64,
    /// Why it is at this position.
    pub why: String,
}

/// The endpoints that a request may get, in the order in which they are tried. If the request does not
/// determine its endpoint, those with a share are in the order of the configuration.
///
/// `zone` is the process's own zone; `key` is the [`key`](crate::key) of the request, or `None` if it is
/// unknown.
pub fn preview(upstream: &Upstream, zone: Option<&Arc<str>>, key: Option<u64>) -> Vec<Choice> {
    let group = Group::in_zone(upstream, zone);
    let row = algorithm(&upstream.balance.algorithm);
    let plan = group.plan();
    let mut choices = Vec::new();
    for (number, tier) in plan.tiers.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|before| plan.tiers.get(before));
        let part = tier.part(before);
        match key.filter(|_| row.by_key) {
            Some(key) => choices.extend(by_key(&group, row, &tier.eligible, key)),
            None if row.name == "first" => choices.extend(in_order(&group, &tier.eligible)),
            None => choices.extend(by_shares(&group, row, &tier.eligible, part)),
        }
    }
    for &index in plan.spare.iter().flatten() {
        choices.push(choice(
            &group,
            index as usize,
            0.0,
            spare_words(&group, zone, index as usize),
        ));
    }
    for index in 0..group.members.len() {
        if !choices.iter().any(|choice| choice.index == index) {
            let words = "draining: gets only requests that are bound to it".to_owned();
            choices.push(choice(&group, index, 0.0, words));
        }
    }
    choices
}

fn choice(group: &Group, index: usize, share: f64, why: String) -> Choice {
    let endpoint = group.members.get(index).map(|member| Arc::clone(&member.settings.written));
    Choice { index, endpoint: endpoint.unwrap_or_default(), share, why }
}

/// Lets the algorithm pick repeatedly, each time without the endpoints already picked.
fn by_key(group: &Arc<Group>, row: &AlgorithmRow, eligible: &[u32], key: u64) -> Vec<Choice> {
    let mut algorithm = Arc::clone(&group.factory).on_core(group, 0);
    algorithm.refresh(group, eligible);
    let mut order: Vec<usize> = Vec::new();
    let turn = PickContext { key, now_ms: 0 };
    while order.len() < ORDER_MAX
        && let Some(next) = algorithm.pick(group, turn, &mut |index| !order.contains(&index))
    {
        order.push(next);
    }
    let bound = match group.settings.balance.bound {
        Some(bound) => format!(", unless it has more than {bound} % of its share of the load"),
        None => String::new(),
    };
    let choices = order.iter().enumerate().map(|(place, &index)| match place {
        0 => {
            let words = format!("selected by the key ({}){bound}", row.name);
            choice(group, index, 100.0, words)
        }
        _ => choice(group, index, 0.0, "next for this key".to_owned()),
    });
    let mut choices: Vec<Choice> = choices.collect();
    for &index in eligible.iter().filter(|&&index| !order.contains(&(index as usize))) {
        choices.push(choice(group, index as usize, 0.0, "after those, for this key".to_owned()));
    }
    choices
}

fn in_order(group: &Group, eligible: &[u32]) -> Vec<Choice> {
    let choices = eligible.iter().enumerate().map(|(place, &index)| {
        let max = group.members.get(index as usize).and_then(|member| member.settings.max);
        let until = match max {
            Some(max) => format!("until it has {max} requests"),
            None => "as long as it is up".to_owned(),
        };
        let words = match place {
            0 => format!("the first, {until}"),
            _ => format!("the next, {until}"),
        };
        choice(group, index as usize, if place == 0 { 100.0 } else { 0.0 }, words)
    });
    choices.collect()
}

fn by_shares(group: &Group, row: &AlgorithmRow, eligible: &[u32], part: f64) -> Vec<Choice> {
    let weight = |&index: &u32| f64::from(group.weight(index as usize));
    let total: f64 = eligible.iter().map(weight).sum();
    let choices = eligible.iter().map(|index| {
        let why = match row.name {
            _ if row.by_key => "by the key of the request",
            _ if eligible.len() == 1 => "the only endpoint of its tier",
            "round-robin" => "in turn",
            "random" => "at random",
            "least-connections" => "if it has the fewest requests in flight, by weight",
            "least-time" => "if it is expected to respond first",
            _ => "two are drawn by weight, and the better one gets the request",
        };
        let share = part * 100.0 * weight(index) / total;
        let weight = group.weight(*index as usize);
        let why = format!("{why}; weight {weight} of {total}");
        choice(group, *index as usize, share, why)
    });
    choices.collect()
}

fn spare_words(group: &Group, zone: Option<&Arc<str>>, index: usize) -> String {
    let Some(member) = group.members.get(index) else { return String::new() };
    let settings = &member.settings;
    let spill = group.settings.spill;
    match &settings.zone {
        _ if settings.backup => "a backup: only if no other endpoint is up".to_owned(),
        Some(there) if zone.is_some_and(|own| own != there) => format!(
            "priority {}, zone {there}: only if less than {spill} % of the endpoints before it are up",
            settings.priority
        ),
        _ => format!(
            "priority {}: only if less than {spill} % of the endpoints before it are up",
            settings.priority
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::upstream;

    #[track_caller]
    fn check(
        upstream: &Upstream,
        zone: Option<&str>,
        key: Option<u64>,
        expected: &[(&str, f64, &str)],
    ) {
        let choices = preview(upstream, zone.map(Arc::from).as_ref(), key);
        let found: Vec<_> = choices
            .iter()
            .map(|choice| (&*choice.endpoint, choice.share.round(), &*choice.why))
            .collect();
        assert_eq!(found, expected);
        assert!(choices.iter().all(|c| upstream.endpoints[c.index].written == c.endpoint));
    }

    #[test]
    fn by_weight() {
        let mut turns = upstream("round-robin", &[1, 2, 1]);
        turns.endpoints[2].draining = true;
        check(
            &turns,
            None,
            Some(7),
            &[
                ("10.0.0.0:8080", 33.0, "in turn; weight 1 of 3"),
                ("10.0.0.1:8080", 67.0, "in turn; weight 2 of 3"),
                ("10.0.0.2:8080", 0.0, "draining: gets only requests that are bound to it"),
            ],
        );
        check(
            &upstream("ring", &[1]),
            None,
            None,
            &[("10.0.0.0:8080", 100.0, "by the key of the request; weight 1 of 1")],
        );
    }

    #[test]
    fn in_order() {
        let mut first = upstream("first", &[1, 1]);
        first.endpoints[0].max = Some(10);
        check(
            &first,
            None,
            None,
            &[
                ("10.0.0.0:8080", 100.0, "the first, until it has 10 requests"),
                ("10.0.0.1:8080", 0.0, "the next, as long as it is up"),
            ],
        );
    }

    #[test]
    fn tiers() {
        let mut tiers = upstream("p2c", &[1, 1, 1, 1]);
        tiers.endpoints[0].backup = true;
        tiers.endpoints[1].zone = Some("b".into());
        tiers.endpoints[2].zone = Some("a".into());
        tiers.endpoints[3].priority = 1;
        check(
            &tiers,
            Some("a"),
            None,
            &[
                ("10.0.0.2:8080", 100.0, "the only endpoint of its tier; weight 1 of 1"),
                (
                    "10.0.0.1:8080",
                    0.0,
                    "priority 0, zone b: only if less than 70 % of the endpoints before it are up",
                ),
                (
                    "10.0.0.3:8080",
                    0.0,
                    "priority 1: only if less than 70 % of the endpoints before it are up",
                ),
                ("10.0.0.0:8080", 0.0, "a backup: only if no other endpoint is up"),
            ],
        );
    }

    /// The preview is what a core does.
    #[test]
    fn by_key() {
        for name in ["source", "ring", "rendezvous", "maglev"] {
            let upstream = upstream(name, &[1, 2, 3]);
            for key in [1, u64::MAX / 3, u64::MAX / 2] {
                let choices = preview(&upstream, None, Some(key));
                let group = Group::alone(&upstream);
                let mut algorithm = crate::testing::core(&group, 1);
                let mut tried: Vec<usize> = Vec::new();
                for choice in &choices {
                    let turn = PickContext { key, now_ms: 5 };
                    let mut allowed = |index| !tried.contains(&index);
                    assert_eq!(algorithm.pick(&group, turn, &mut allowed), Some(choice.index));
                    tried.push(choice.index);
                }
                assert_eq!(tried.len(), 3);
                assert_eq!(choices[0].share, 100.0);
                let words = format!(
                    "selected by the key ({name}), unless it has more than 125 % of its share of the load"
                );
                assert_eq!(choices[0].why, words);
            }
        }
    }
}
