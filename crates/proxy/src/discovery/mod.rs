//! Which endpoints upstreams have while the process runs.
//!
//! The members of an upstream are the endpoints written, those that its sources find (SRV records, a
//! JSON file), with an endpoint for each address of a name that has several, and what was changed at
//! run time on top ([`members`]). Whatever changes any of that wakes one task on the control
//! thread, which has all cores go over to the new members by a snapshot that shares the rest with
//! the one before; changes that come at once make one snapshot.
//! Not here: how it stands with an endpoint (`balance`), which is kept by its name.

mod edit;
mod members;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use config::{Config, Endpoint, Upstream};
use net::{Resolver, Watched};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use edit::Present;
pub use edit::{Edit, EditError, Edited};
pub use members::{Changes, Settings};

/// From one change of members to the next.
const CHANGE_EVERY: Duration = Duration::from_millis(100);

/// What knows the members of all upstreams.
pub(crate) struct Discovery {
    resolver: Resolver,
    known: Mutex<Known>,
    /// There may be other members now.
    woken: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Known {
    /// By the upstream's name.
    changes: HashMap<Arc<str>, Changes>,
    /// Names of which endpoints are made, by host.
    names: HashMap<Arc<str>, Arc<Watched>>,
}

impl Discovery {
    pub(crate) fn new(resolver: Resolver) -> Self {
        let known = Mutex::default();
        Self { resolver, known, woken: Notify::new(), task: Mutex::default() }
    }

    /// Has `change` called whenever there may be other members, until it says that all is over.
    /// Within a tokio runtime.
    pub(crate) fn start(self: &Arc<Self>, change: impl Fn() -> bool + Send + Sync + 'static) {
        let (weak, change) = (Arc::downgrade(self), Arc::new(change));
        let task = tokio::spawn(run(weak, self.resolver.clone(), change));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// Looks for nothing any more.
    pub(crate) fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(AbortHandle::abort);
    }

    /// The members of every upstream of a configuration as it is written, as they are now. What
    /// other configurations wanted is no longer looked for.
    pub(crate) fn members(&self, config: &Config) -> Vec<Vec<Endpoint>> {
        let mut known = self.known();
        let before = std::mem::take(&mut known.names);
        let upstreams = config.upstreams.iter();
        upstreams.map(|upstream| known.members_of(upstream, &self.resolver, &before)).collect()
    }

    /// What was changed at run time in an upstream.
    pub(crate) fn changes(&self, upstream: &str) -> Changes {
        self.known().changes.get(upstream).cloned().unwrap_or_default()
    }

    /// Puts other changes in their place.
    pub(crate) fn set_changes(&self, upstream: &Arc<str>, changes: Changes) {
        let mut known = self.known();
        match changes.is_empty() {
            true => known.changes.remove(upstream),
            false => known.changes.insert(Arc::clone(upstream), changes),
        };
    }

    /// Changes an upstream, which is as it is written. What was changed before is given back, for
    /// the case that the cores cannot go over to it.
    pub(crate) fn edit(
        &self,
        upstream: &Upstream,
        edit: Edit,
    ) -> Result<(Edited, Changes), EditError> {
        let mut known = self.known();
        let before = known.changes.get(&upstream.name).cloned().unwrap_or_default();
        let base = members::named(upstream, &[], &Changes::default());
        let mut now = members::named(upstream, &[], &before);
        let names = known.names.clone();
        now.extend(known.members_of(upstream, &self.resolver, &names));
        let mut changes = before.clone();
        let edited = edit::edit(&mut changes, &Present { base: &base, now: &now }, edit)?;
        drop(known);
        self.set_changes(&upstream.name, changes);
        Ok((edited, before))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// `before`: names that are looked up already.
    fn members_of(
        &mut self,
        upstream: &Upstream,
        resolver: &Resolver,
        before: &HashMap<Arc<str>, Arc<Watched>>,
    ) -> Vec<Endpoint> {
        let mut addresses = |host: &str| {
            let watched = self.names.entry(host.into()).or_insert_with(|| match before.get(host) {
                Some(watched) => Arc::clone(watched),
                None => resolver.watch(host),
            });
            watched.addresses()
        };
        let none = Changes::default();
        let changes = self.changes.get(&upstream.name).unwrap_or(&none);
        let named = members::named(upstream, &[], changes);
        members::members(named, changes, &mut addresses)
    }
}

/// Waits for what may change members.
async fn run(
    discovery: Weak<Discovery>,
    resolver: Resolver,
    change: Arc<impl Fn() -> bool + Send + Sync + 'static>,
) {
    let mut names = resolver.changes();
    loop {
        let Some(discovery) = discovery.upgrade() else { return };
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = discovery.woken.notified() => {}
        }
        drop(discovery);
        // Cores are waited for: not on this thread.
        let change = Arc::clone(&change);
        let goes_on = tokio::task::spawn_blocking(move || change()).await;
        if !goes_on.unwrap_or(true) {
            return;
        }
        tokio::time::sleep(CHANGE_EVERY).await;
    }
}
