//! Changing the endpoints of an upstream at run time, one at a time.

use std::fmt;
use std::sync::Arc;

use config::Endpoint;

use super::members::{Changes, EndpointSettings, MEMBERS_MAX};

/// Endpoints that may be added to one upstream at run time.
const ADDED_MAX: usize = 1000;

/// A change of an upstream at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Adds an endpoint.
    Add(Box<Endpoint>),
    /// Removes the endpoint that is written like this.
    Remove(Arc<str>),
    /// Sets something of the endpoint that is written like this.
    Set(Arc<str>, EndpointSettings),
    /// Reverts all changes.
    Revert,
}

/// An endpoint before and after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// Before; `None`: the endpoint did not exist.
    pub before: Option<Endpoint>,
    /// After; `None`: the endpoint does not exist.
    pub after: Option<Endpoint>,
}

/// Why a change cannot be made. Nothing has changed.
#[derive(Debug)]
pub enum EditError {
    /// There is no such upstream.
    NoUpstream,
    /// The upstream has no such endpoint.
    NoEndpoint,
    /// The upstream has this endpoint already.
    Exists,
    /// The endpoint was removed, and is written with another zone, priority or other settings than it would
    /// be added with.
    Differs,
    /// The upstream has as many endpoints as it may.
    Full,
}

impl fmt::Display for EditError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpstream => out.write_str("there is no such upstream"),
            Self::NoEndpoint => out.write_str("the upstream has no such endpoint"),
            Self::Exists => out.write_str("the upstream has this endpoint already"),
            Self::Differs => out.write_str(
                "the endpoint is written with another zone, priority, backup or addresses; these \
                 are changed in the file",
            ),
            Self::Full => out.write_str("the upstream has as many endpoints as it may"),
        }
    }
}

impl std::error::Error for EditError {}

/// The endpoints of an upstream when it is changed.
pub(super) struct Current<'a> {
    /// The endpoints as written and found, without any change.
    pub(super) base: &'a [Endpoint],
    /// The present ones, those of single addresses too.
    pub(super) now: &'a [Endpoint],
}

impl Current<'_> {
    fn now(&self, name: &str) -> Option<&Endpoint> {
        self.now.iter().find(|endpoint| &*endpoint.written == name)
    }

    fn base(&self, name: &str) -> Option<&Endpoint> {
        self.base.iter().find(|endpoint| &*endpoint.written == name)
    }
}

/// Makes a change.
pub(super) fn edit(
    changes: &mut Changes,
    present: &Current<'_>,
    edit: Edit,
) -> Result<EndpointChange, EditError> {
    match edit {
        Edit::Add(endpoint) => add(changes, present, *endpoint),
        Edit::Remove(name) => {
            let before = present.now(&name).ok_or(EditError::NoEndpoint)?.clone();
            changes.added.retain(|endpoint| endpoint.written != name);
            changes.set.remove(&name);
            let is_added = !name.contains('@') && present.base(&name).is_none();
            if !is_added {
                changes.removed.insert(name);
            }
            Ok(EndpointChange { before: Some(before), after: None })
        }
        Edit::Set(name, settings) => {
            let before = present.now(&name).ok_or(EditError::NoEndpoint)?.clone();
            if let Some(added) = changes.added.iter_mut().find(|e| e.written == name) {
                settings.apply(added);
            } else {
                let all = changes.set.remove(&name).unwrap_or_default().then(settings);
                let all = present.base(&name).map_or(all, |base| all.beside(base));
                if all != EndpointSettings::default() {
                    changes.set.insert(name, all);
                }
            }
            let mut after = before.clone();
            settings.apply(&mut after);
            Ok(EndpointChange { before: Some(before), after: Some(after) })
        }
        Edit::Revert => {
            *changes = Changes::default();
            Ok(EndpointChange::default())
        }
    }
}

fn add(
    changes: &mut Changes,
    present: &Current<'_>,
    endpoint: Endpoint,
) -> Result<EndpointChange, EditError> {
    // However it is written.
    let is_same = |one: &Endpoint| {
        one.written == endpoint.written
            || (one.address == endpoint.address && one.tls == endpoint.tls && one.host.is_none())
    };
    if present.now.iter().any(is_same) {
        return Err(EditError::Exists);
    }
    let settings = EndpointSettings::of(&endpoint);
    let after = match present.base(&endpoint.written) {
        // It was removed, and comes back.
        Some(base) => {
            let mut after = Endpoint { place: base.place, ..endpoint.clone() };
            EndpointSettings::of(base).apply(&mut after);
            if after != *base {
                return Err(EditError::Differs);
            }
            settings.apply(&mut after);
            changes.removed.remove(&endpoint.written);
            let settings = settings.beside(base);
            if settings != EndpointSettings::default() {
                changes.set.insert(endpoint.written, settings);
            }
            after
        }
        None if changes.added.len() >= ADDED_MAX || present.now.len() >= MEMBERS_MAX => {
            return Err(EditError::Full);
        }
        None => {
            changes.added.push(endpoint.clone());
            endpoint
        }
    };
    Ok(EndpointChange { before: None, after: Some(after) })
}
