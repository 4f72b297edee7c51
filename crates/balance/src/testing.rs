//! Groups for tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use config::{Balance, Endpoint, EndpointAddress, Upstream};

use crate::algorithm::Algorithm;
use crate::group::Group;

/// An upstream with endpoints of these weights, whose names follow from their index.
pub(crate) fn upstream(algorithm: &str, weights: &[u16]) -> Upstream {
    let named = weights.iter().enumerate().map(|(index, &weight)| (index, weight));
    upstream_of(algorithm, named)
}

/// The same with endpoints of these numbers and weights.
pub(crate) fn upstream_of(
    algorithm: &str,
    endpoints: impl IntoIterator<Item = (usize, u16)>,
) -> Upstream {
    let endpoint = |(number, weight): (usize, u16)| {
        let ip = Ipv4Addr::from(0x0A00_0000 + number as u32);
        let address = SocketAddr::from((ip, 8080));
        let mut endpoint = Endpoint::new(address.to_string(), EndpointAddress::Ip(address));
        endpoint.weight = weight;
        endpoint
    };
    let mut upstream = Upstream::new("app", endpoints.into_iter().map(endpoint).collect());
    upstream.balance = Balance { algorithm: algorithm.into(), ..Balance::default() };
    upstream
}

/// A group of this algorithm.
pub(crate) fn group(algorithm: &str, weights: &[u16]) -> Arc<Group> {
    Group::alone(&upstream(algorithm, weights))
}

/// The algorithm of a group on a core, with every endpoint eligible.
pub(crate) fn core(group: &Arc<Group>, number: usize) -> Box<dyn Algorithm> {
    let mut algorithm = Arc::clone(&group.factory).on_core(group, number);
    let all: Vec<u32> = (0..group.members.len() as u32).collect();
    algorithm.refresh(group, &all);
    algorithm
}
