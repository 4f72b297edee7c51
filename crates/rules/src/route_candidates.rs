//! Which of many routes with the same pattern may take a request.
//!
//! Each is filed under one test of its `when` lines that fewest others have: a value of a field, parameter or cookie, or a
//! network of clients. What is filed under something that a request has not is never looked at; the others are looked at in
//! the order in which routes are tried. Not here: whether a route takes a request (`routes`).

use std::borrow::Cow;
use std::cmp::Reverse;

use config::{Route, RouteId, Test, ValueTest};
use foldhash::HashMap;
use ipnet::IpNet;
use message::Known;

use crate::canonical;
use crate::conditions::{RouteRequest, cookies, fields_named, parameters};
use crate::prefixes::{Nets, canonical_net};

/// Routes that are compared one after the other; more are filed.
const COMPARED_MAX: usize = 8;
/// Names of fields, parameters and cookies that routes are filed by.
const NAMES_MAX: usize = 8;
/// Lists of routes that a request may lead to; if there are more, all routes are compared.
const LISTS_MAX: usize = 16;

/// The routes of one pattern, in the order in which they are tried.
#[derive(Default)]
pub(crate) struct Ends {
    all: Vec<RouteId>,
    files: Option<Box<Files>>,
}

/// Numbers of routes in that order, in rising order.
type Numbers = Box<[u32]>;

struct Files {
    by_name: Vec<Values>,
    from: Nets<Numbers>,
    /// Those without such a test.
    others: Numbers,
}

/// Routes by what one value is.
struct Values {
    name: Name,
    routes: HashMap<Box<[u8]>, Numbers>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Field(Known, Box<str>),
    Query(Box<str>),
    Cookie(Box<str>),
}

/// What a route is filed under.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key<'r> {
    Value(Name, &'r str),
    From(IpNet),
}

impl Ends {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn push(&mut self, id: RouteId) {
        self.all.push(id);
    }

    /// Puts them in order, and files them.
    pub(crate) fn order<K: Ord>(&mut self, routes: &[Route], order: impl Fn(&RouteId) -> K) {
        self.all.sort_by_key(order);
        if self.all.len() > COMPARED_MAX {
            self.files = Files::of(&self.all, routes).map(Box::new);
        }
    }

    #[cfg(test)]
    pub(crate) fn leave_none_out(&mut self) {
        self.files = None;
    }

    /// Those that may take a request, in order.
    pub(crate) fn may_take<'e>(
        &'e self,
        asked: &RouteRequest<'_>,
    ) -> impl Iterator<Item = RouteId> + 'e {
        let lists = self.files.as_ref().and_then(|files| files.lists(asked));
        let all = if lists.is_none() { &*self.all } else { &[] };
        let filed = lists.into_iter().flatten();
        let filed = filed.filter_map(|number| self.all.get(number as usize));
        filed.chain(all).copied()
    }
}

impl Files {
    /// None, if nothing sets the routes apart.
    fn of(ids: &[RouteId], routes: &[Route]) -> Option<Self> {
        let routes = || ids.iter().filter_map(|id| routes.get(id.index()));
        let mut counts: HashMap<Key<'_>, usize> = HashMap::default();
        let mut names: HashMap<Name, usize> = HashMap::default();
        for key in routes().flat_map(keys_by_test).flatten() {
            if let Key::Value(name, _) = &key {
                *names.entry(name.clone()).or_insert(0) += 1;
            }
            *counts.entry(key).or_insert(0) += 1;
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(_, count)| Reverse(*count));
        let names: Vec<_> = names.into_iter().take(NAMES_MAX).map(|(name, _)| name).collect();
        let is_known = |key: &Key<'_>| match key {
            Key::Value(name, _) => names.contains(name),
            Key::From(_) => true,
        };
        let most =
            |keys: &Vec<Key<'_>>| keys.iter().filter_map(|key| counts.get(key)).max().copied();
        let mut others = Vec::new();
        let mut filed: HashMap<Key<'_>, Vec<u32>> = HashMap::default();
        for (number, route) in (0u32..).zip(routes()) {
            let tests = keys_by_test(route).filter(|keys| keys.iter().all(is_known));
            let best =
                tests.filter_map(|keys| Some((most(&keys)?, keys))).min_by_key(|(most, _)| *most);
            match best {
                Some((most, keys)) if most <= ids.len() / 2 => {
                    keys.into_iter().for_each(|key| filed.entry(key).or_default().push(number));
                }
                _ => others.push(number),
            }
        }
        (!filed.is_empty()).then(|| Self::filed(filed, names, others))
    }

    fn filed(filed: HashMap<Key<'_>, Vec<u32>>, names: Vec<Name>, others: Vec<u32>) -> Self {
        let values = |name| Values { name, routes: HashMap::default() };
        let mut by_name: Vec<_> = names.into_iter().map(values).collect();
        let mut from = Vec::new();
        for (key, mut numbers) in filed {
            numbers.dedup(); // a value may be written twice
            match key {
                Key::From(net) => from.push((net, numbers.into())),
                Key::Value(name, value) => {
                    if let Some(values) = by_name.iter_mut().find(|values| values.name == name) {
                        values.routes.insert(value.as_bytes().into(), numbers.into());
                    }
                }
            }
        }
        by_name.retain(|values| !values.routes.is_empty());
        // No network comes twice.
        Self { by_name, from: Nets::of(from, |_, _| {}), others: others.into() }
    }

    /// The routes that are filed under what a request has; none, if that is too much.
    fn lists(&self, asked: &RouteRequest<'_>) -> Option<Lists<'_>> {
        let mut lists = Lists { left: [&[]; LISTS_MAX], count: 0 };
        lists.push(&self.others)?;
        for Values { name, routes } in &self.by_name {
            let mut see = |value: Cow<'_, [u8]>| match routes.get(&*value) {
                Some(numbers) => lists.push(numbers),
                None => Some(()),
            };
            match name {
                Name::Field(known, name) => {
                    fields_named(asked.fields, *known, name)
                        .try_for_each(|value| see(value.into()))?;
                }
                Name::Query(name) => parameters(asked.query, name).try_for_each(see)?,
                Name::Cookie(name) => {
                    cookies(asked.fields, name).try_for_each(|value| see(value.into()))?;
                }
            }
        }
        if !self.from.is_empty() {
            let mut nets = self.from.each(canonical(asked.client));
            nets.try_for_each(|(_, numbers)| lists.push(numbers))?;
        }
        Some(lists)
    }
}

/// By test that must hold: the keys of which a request that it takes has one.
fn keys_by_test(route: &Route) -> impl Iterator<Item = Vec<Key<'_>>> {
    let tests = route.conditions.iter().filter(|line| !line.negated).flat_map(|line| &line.tests);
    tests.filter_map(|test| match test {
        Test::Field(name, ValueTest::Is(is)) => {
            let known = Known::of(name.as_bytes());
            Some(keyed(&Name::Field(known, name.to_ascii_lowercase().into()), is))
        }
        Test::Query(name, ValueTest::Is(is)) => Some(keyed(&Name::Query(name.clone()), is)),
        Test::Cookie(name, ValueTest::Is(is)) => Some(keyed(&Name::Cookie(name.clone()), is)),
        Test::From(nets) => Some(nets.iter().map(|&net| Key::From(canonical_net(net))).collect()),
        Test::Field(..) | Test::Query(..) | Test::Cookie(..) | Test::Method(_) | Test::Path(_) => {
            None
        }
    })
}

fn keyed<'r>(name: &Name, values: &'r [Box<str>]) -> Vec<Key<'r>> {
    values.iter().map(|value| Key::Value(name.clone(), value)).collect()
}

/// Rising lists, joined to one.
struct Lists<'f> {
    left: [&'f [u32]; LISTS_MAX],
    count: usize,
}

impl<'f> Lists<'f> {
    fn push(&mut self, list: &'f [u32]) -> Option<()> {
        if !list.is_empty() {
            *self.left.get_mut(self.count)? = list;
            self.count += 1;
        }
        Some(())
    }
}

impl Iterator for Lists<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let lists = self.left.iter_mut().take(self.count);
        let next = lists.filter_map(|list| list.first()).min().copied()?;
        for list in self.left.iter_mut().take(self.count) {
            if let Some((first, rest)) = list.split_first()
                && *first == next
            {
                *list = rest;
            }
        }
        Some(next)
    }
}
