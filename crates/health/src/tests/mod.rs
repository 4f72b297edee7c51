//! Stories of checks: when they are made and what they amount to, and what is sent over the wire.

mod schedule;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Group, States};
use config::{Check, Config, EndpointAddress, Health, HttpCheck, UpstreamProtocol};

use super::target::{EndpointChecks, GroupMember, Target};

/// `count` endpoints of an upstream `app`.
fn configured(count: usize) -> Config {
    let endpoints = (0..count).map(|index| {
        format!("to \"127.0.{}.{}:{}\"; ", index / 65536, index / 256 % 256, 1 + index % 256)
    });
    let text = format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}\nupstream app {{ {}}}",
        endpoints.collect::<String>()
    );
    match config::parse("story.kdl", &text) {
        Ok(loaded) => Arc::unwrap_or_clone(loaded.config),
        Err(failure) => panic!("{failure}"),
    }
}

/// The only group of a configuration.
fn group(states: &States, config: &Config) -> Arc<Group> {
    states.groups(config).pop().expect("a group")
}

/// Every endpoint of a group, with these checks.
fn wanted(group: &Arc<Group>, health: &[Health]) -> Vec<EndpointChecks> {
    let endpoints = group.settings.endpoints.iter().enumerate();
    let wanted = endpoints.map(|(index, endpoint)| EndpointChecks {
        upstream: Arc::clone(&group.settings.name),
        endpoint: Arc::clone(&endpoint.written),
        member: GroupMember { group: Arc::clone(group), index },
        targets: health.iter().map(|health| target(&endpoint.address, health.clone())).collect(),
    });
    wanted.collect()
}

fn target(address: &EndpointAddress, health: Health) -> Target {
    let authority = match address {
        EndpointAddress::Ip(address) => address.to_string(),
        EndpointAddress::Name { host, port } => format!("{host}:{port}"),
        EndpointAddress::Unix(_) => "localhost".to_owned(),
    };
    Target {
        address: address.clone(),
        watched: None,
        tls: None,
        host: "localhost".into(),
        authority: authority.into(),
        protocol: UpstreamProtocol::Auto,
        health,
    }
}

fn at(address: SocketAddr, check: Check) -> Target {
    let health = Health { timeout: Duration::from_secs(20), ..Health::new(check) };
    target(&EndpointAddress::Ip(address), health)
}

/// GET of a path, for statuses of 200 to 399.
fn get(path: &str) -> HttpCheck {
    HttpCheck {
        method: "GET".into(),
        path: path.into(),
        host: None,
        statuses: vec![(200, 399)],
        body: None,
        fields: Vec::new(),
    }
}
