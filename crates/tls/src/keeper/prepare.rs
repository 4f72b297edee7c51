//! From a configuration to contexts: every file is read, and contexts that did not change are reused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use config::{CertificateSource, Config, Place, ServerTls, SiteName, SiteTls};

use super::{ClientKey, FileStamps, KeeperState, ServerKey, finding, lock};
use crate::acme;
use crate::client::Client;
use crate::error::{Problem, Severity};
use crate::internal::own_names;
use crate::server::Server;
use crate::slot::Slot;
use crate::source::{Kind, NewCertificates, Source};
use crate::state::StateDir;

/// Builds the contexts of one configuration.
pub(super) struct ContextBuilder<'c> {
    shared: &'c KeeperState,
    config: &'c Config,
    now: SystemTime,
    /// Sources by the names of their slots: those in effect, and the new ones.
    installed: HashMap<String, Vec<Arc<Source>>>,
    prepared: HashMap<String, Vec<Arc<Source>>>,
    pub(super) sources: Vec<(Arc<Source>, Option<NewCertificates>)>,
    pub(super) servers: Vec<(ServerKey, Arc<Server>)>,
    /// Servers by the address of their slot: those in effect, and the new ones.
    servers_of: HashMap<*const Slot, Vec<(ServerKey, Arc<Server>)>>,
    pub(super) clients: Vec<(ClientKey, Arc<Client>)>,
    pub(super) problems: Vec<Problem>,
}

impl<'c> ContextBuilder<'c> {
    pub(super) fn new(shared: &'c KeeperState, config: &'c Config) -> Self {
        let mut problems = Vec::new();
        let wanted = StateDir::find(config.process.state.as_deref()).ok();
        if wanted != shared.state {
            let message = "another state directory takes effect at the next start";
            problems.push(Problem::warning(Place::default(), message));
        }
        let mut installed: HashMap<String, Vec<Arc<Source>>> = HashMap::new();
        for source in shared.sources() {
            installed.entry(source.slot().name().to_owned()).or_default().push(source);
        }
        let mut servers_of: HashMap<_, Vec<_>> = HashMap::new();
        for known in &lock(&shared.installed).servers {
            servers_of.entry(Arc::as_ptr(known.1.slot())).or_default().push(known.clone());
        }
        Self {
            shared,
            config,
            now: SystemTime::now(),
            installed,
            prepared: HashMap::new(),
            sources: Vec::new(),
            servers: Vec::new(),
            servers_of,
            clients: Vec::new(),
            problems,
        }
    }

    pub(super) fn site(&mut self, site: &config::Site) -> Option<Arc<Server>> {
        let Some(SiteTls::Terminate(settings)) = &site.tls else { return None };
        // Where one of its listeners does not speak it, it is offered nowhere.
        let http2 = site
            .listeners
            .iter()
            .all(|&id| self.config.listener(id).is_some_and(|listener| listener.http2));
        self.server(settings, http2, &site.names)
    }

    pub(super) fn forward(&mut self, forward: &config::Forward) -> Option<Arc<Server>> {
        let settings = forward.tls.as_ref()?;
        let listener = self.config.listener(forward.listener);
        let http2 = listener.is_some_and(|listener| listener.http2);
        self.server(settings, http2, &[])
    }

    fn server(
        &mut self,
        settings: &ServerTls,
        http2: bool,
        names: &[SiteName],
    ) -> Option<Arc<Server>> {
        let source = self.source(settings, names)?;
        let files = settings.client.ca.iter().chain(&settings.client.crl);
        let key = ServerKey {
            settings: ServerTls {
                place: Place::default(),
                certificates: CertificateSource::Internal { names: Vec::new() },
                ..settings.clone()
            },
            http2,
            files: FileStamps::of(files),
        };
        // A site with other files keeps its name, but has another slot.
        let of_slot = self.servers_of.entry(Arc::as_ptr(source.slot())).or_default();
        let known = of_slot.iter().find(|(is, _)| *is == key).map(|(_, server)| server.clone());
        let made = known.map_or_else(
            || {
                let (tickets, challenges) = (&self.shared.tickets, &self.shared.challenges);
                let slot = source.slot().clone();
                Server::new(settings, http2, slot, tickets.clone(), challenges.clone())
            },
            Ok,
        );
        match made {
            Ok(server) => {
                of_slot.push((key.clone(), server.clone()));
                self.servers.push((key, server.clone()));
                Some(server)
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    pub(super) fn upstream(&mut self, upstream: &config::Upstream) -> Option<Arc<Client>> {
        if !upstream.endpoints.iter().any(|endpoint| endpoint.tls) {
            return None;
        }
        let settings = &upstream.tls;
        let pair = settings.client.iter().flat_map(|client| [&client.cert, &client.key]);
        let files = settings.ca.iter().chain(pair);
        let mut key = ClientKey {
            settings: settings.clone(),
            protocol: upstream.protocol,
            files: FileStamps::of(files),
        };
        if let Some(client) = &mut key.settings.client {
            client.place = Place::default();
        }
        let installed = lock(&self.shared.installed);
        let known = self.clients.iter().chain(&installed.clients).find(|(is, _)| *is == key);
        let known = known.map(|(_, client)| client.clone());
        drop(installed);
        match known.map_or_else(|| Client::new(settings, upstream.place, upstream.protocol), Ok) {
            Ok(client) => {
                self.clients.push((key, client.clone()));
                Some(client)
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// The source of a site's certificates: an existing one, or a new one.
    fn source(&mut self, settings: &ServerTls, names: &[SiteName]) -> Option<Arc<Source>> {
        let kind = self.kind(&settings.certificates, names)?;
        let name = kind.slot_name(settings.place, names);
        let same = |source: &&Arc<Source>| *source.kind() == kind;
        let prepared = self.prepared.get(&name).into_iter().flatten().find(same).cloned();
        if prepared.is_some() {
            return prepared;
        }
        let installed = self.installed.get(&name).into_iter().flatten().find(same).cloned();
        let configured = self.config.locate(settings.place);
        let source = match installed {
            Some(source) => {
                source.set_place(configured);
                source
            }
            None => Arc::new(Source::new(kind, Slot::new(&name), names.to_vec(), configured)),
        };
        self.prepared.entry(name).or_default().push(source.clone());
        if let Kind::Auto { acme, names } = source.kind() {
            let mut problems = acme::check(self.config, acme, settings.place, names);
            // What is stored serves, whatever has become of a hook meanwhile.
            let files = acme::check_files(acme).into_iter();
            problems
                .extend(files.map(|problem| Problem { severity: Severity::Warning, ..problem }));
            let problems = problems.into_iter().filter(|new| !self.problems.contains(new));
            let mut problems: Vec<_> = problems.collect();
            match &self.shared.acme {
                // A new source serves what is stored from the moment that its context is used.
                Some(manager) => manager.serve_stored(acme, names, source.slot()),
                None => {
                    let error = crate::state::StateError::Nowhere;
                    problems.push(finding(error.to_string(), error.hint()).at(settings.place));
                }
            }
            self.problems.extend(problems);
        }
        let ca = match source.kind() {
            Kind::Internal { .. } => match self.shared.internal_ca(self.now) {
                Ok(ca) => Some(ca),
                Err(finding) => {
                    self.problems.push(finding.at(settings.place));
                    return None;
                }
            },
            _ => None,
        };
        let at_source = |problem: Problem| match problem.place.line {
            0 => Problem { place: settings.place, ..problem },
            _ => problem,
        };
        let fresh = match source.fresh(ca.as_deref(), self.now) {
            Ok(fresh) => fresh,
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(at_source));
                return None;
            }
        };
        // What a pair is blamed for does not keep it from being served where there is nothing
        // better.
        let problems = fresh.iter().flat_map(|fresh| fresh.problems.iter().cloned());
        let problems = problems.map(|problem| Problem { severity: Severity::Warning, ..problem });
        self.problems.extend(problems.map(at_source));
        // A new source serves from the moment that its context is used.
        if source.slot().is_empty()
            && let Some(fresh) = &fresh
        {
            source.take(fresh);
        }
        self.sources.push((source.clone(), fresh));
        Some(source)
    }

    fn kind(&mut self, certificates: &CertificateSource, names: &[SiteName]) -> Option<Kind> {
        Some(match certificates {
            CertificateSource::Files(files) => Kind::Files(files.clone()),
            CertificateSource::Internal { names: given } => {
                let names = if given.is_empty() { names_of(names) } else { given.clone() };
                Kind::Internal { names }
            }
            CertificateSource::Auto { acme, names } => {
                let acme = self.config.directory(*acme)?;
                Kind::Auto { acme: acme.clone(), names: names.clone() }
            }
        })
    }
}

/// What a certificate for these is made for; this machine's own names where there are none.
fn names_of(names: &[SiteName]) -> Vec<Box<str>> {
    let mut all: Vec<Box<str>> = Vec::new();
    for name in names {
        match name {
            SiteName::Exact(host) => all.push(host.clone()),
            SiteName::Label { .. } => all.push(name.in_certificate()),
            SiteName::Wildcard(suffix) => {
                all.extend([format!("*.{suffix}").into(), suffix.clone()]);
            }
            SiteName::Default => all.extend(own_names()),
        }
    }
    if all.is_empty() { own_names() } else { all }
}
