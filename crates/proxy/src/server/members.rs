//! The members of upstreams at run time: queries and changes.

use std::fmt;
use std::sync::Arc;

use config::{Endpoint, Upstream};
use discovery::{
    Changes, Difference, Discovery, Edit, EditError, EndpointChange, Origins, SourceState,
};

use super::{Server, StartError};

/// Why the endpoints of an upstream cannot be changed at run time. Nothing has changed.
#[derive(Debug)]
pub enum MembersError {
    /// The change does not fit what is there.
    Edit(EditError),
    /// The data plane cannot use it.
    Start(StartError),
}

impl From<EditError> for MembersError {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl fmt::Display for MembersError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edit(error) => error.fmt(out),
            Self::Start(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for MembersError {}

impl Server {
    /// Changes the endpoints of an upstream at run time; all cores use it when this returns.
    /// Reloads keep the change until it is reverted or written into the file.
    pub fn edit(&self, upstream: &str, edit: Edit) -> Result<EndpointChange, MembersError> {
        let mut state = self.state();
        let config = Arc::clone(&state.config);
        let upstream = config.upstreams.iter().find(|one| &*one.name == upstream);
        let upstream = upstream.ok_or(EditError::NoUpstream)?;
        let discovery = &self.inner.services.discovery;
        let (edited, before) = discovery.edit(upstream, edit)?;
        if let Err(error) = self.inner.refresh(&mut state) {
            discovery.set_changes(&upstream.name, before);
            return Err(MembersError::Start(error));
        }
        Ok(edited)
    }

    /// What was changed at run time in an upstream.
    pub fn changes(&self, upstream: &str) -> Changes {
        self.inner.services.discovery.changes(upstream)
    }

    /// What was changed at run time in each upstream, for [`Self::take_changes`] of another process.
    pub fn all_changes(&self) -> Vec<(Arc<str>, Changes)> {
        let config = self.config();
        let of_each = config.upstreams.iter().map(|one| (&one.name, self.changes(&one.name)));
        let changed = of_each.filter(|(_, changes)| !changes.is_empty());
        changed.map(|(name, changes)| (Arc::clone(name), changes)).collect()
    }

    /// Makes the changes that were made at run time in another process. Those of upstreams that are not here any more
    /// are dropped. On an error nothing has changed.
    pub fn take_changes(&self, all: Vec<(Arc<str>, Changes)>) -> Result<(), StartError> {
        let mut state = self.state();
        let config = Arc::clone(&state.config);
        let discovery = &self.inner.services.discovery;
        for (name, changes) in all {
            if config.upstreams.iter().any(|upstream| upstream.name == name) {
                discovery.set_changes(&name, changes);
            }
        }
        let outcome = self.inner.refresh(&mut state);
        if outcome.is_err() {
            let names = config.upstreams.iter().map(|upstream| &upstream.name);
            names.for_each(|name| discovery.set_changes(name, Changes::default()));
        }
        outcome
    }

    /// The changes of these endpoints have been written to their source: reads that again, and
    /// forgets the changes.
    pub fn saved(&self, upstream: &str, endpoints: &[Arc<str>]) -> Result<(), StartError> {
        let mut state = self.state();
        self.inner.services.discovery.read_changed_files();
        self.inner.services.discovery.forget(&upstream.into(), endpoints);
        self.inner.refresh(&mut state)
    }

    /// Waits a moment for names and files of endpoints that have not been looked up yet.
    pub async fn discovered(&self) {
        let config = self.config();
        self.inner.services.discovery.wait_for_lookups(&config).await;
        let server = self.clone();
        // Ends only if the runtime does.
        let _ = tokio::task::spawn_blocking(move || server.refresh_or_log()).await;
    }

    /// How an upstream's endpoints differ from those that are written or found.
    pub fn differences(&self, upstream: &str) -> Option<Vec<Difference>> {
        self.of_upstream(upstream, Discovery::differences)
    }

    /// The state of the sources of an upstream's endpoints: names, services, files.
    pub fn sources(&self, upstream: &str) -> Option<Vec<SourceState>> {
        self.of_upstream(upstream, Discovery::sources)
    }

    /// Where the endpoints of an upstream come from.
    pub fn origins(&self, upstream: &str) -> Option<Origins> {
        self.of_upstream(upstream, Discovery::origins)
    }

    /// A remark on an endpoint besides its state, if there is one: that its name is no longer
    /// found.
    pub fn remark(&self, endpoint: &Endpoint) -> Option<String> {
        self.inner.services.discovery.remark(endpoint)
    }

    fn of_upstream<T>(
        &self,
        name: &str,
        look: impl FnOnce(&Discovery, &Upstream) -> T,
    ) -> Option<T> {
        let config = self.config();
        let upstream = config.upstreams.iter().find(|one| &*one.name == name)?;
        Some(look(&self.inner.services.discovery, upstream))
    }

    /// The upstreams with their current members, and the state of these.
    pub fn groups(&self) -> Vec<Arc<balance::Group>> {
        self.state().snapshot.groups.clone()
    }

    pub(super) fn refresh_or_log(&self) {
        if let Err(error) = self.inner.refresh(&mut self.state()) {
            tracing::error!(%error, "the members of upstreams stay as they were");
        }
    }
}
