//! Sites and routes that are closed for maintenance: their switches, and who looks at them.
//!
//! A switch is a file: what it closes is closed as long as the file exists, so that it outlasts reloads and
//! restarts, and everybody can see it. [`look_regularly`] looks at every file on a thread where waiting does no
//! harm, and sets a flag. Cores read the flags; those of a site without `maintenance` do not exist.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::{Config, RouteSettings, Site, Switch};
use tls::StateDir;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The folder of the state directory with the files of sites that name none.
const STATE_FOLDER: &str = "maintenance";

/// Whether what a switch closes is closed.
pub(crate) type Flag = Arc<AtomicBool>;

/// Every switch of the process, by its file. The flags outlast snapshots.
#[derive(Default)]
pub(crate) struct Switches(Mutex<HashMap<PathBuf, Flag>>);

impl Switches {
    /// The flags of a configuration, by [`config::SwitchId`]; each file has been looked at.
    pub(crate) fn flags(&self, config: &Config) -> Arc<[Flag]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map holds those that no snapshot has.
        known.retain(|_, flag| Arc::strong_count(flag) > 1);
        let flags = config.switches.iter().map(|switch| {
            let Some(file) = file_of(config, switch) else { return Flag::default() };
            let flag = Arc::clone(known.entry(file.clone()).or_default());
            flag.store(file.exists(), Ordering::Relaxed);
            flag
        });
        flags.collect()
    }

    /// Looks at every file.
    fn look(&self) {
        // A slow file system must not make a reload wait for the lock.
        let known: Vec<_> = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().map(|(file, flag)| (file.clone(), Arc::clone(flag))).collect()
        };
        for (file, flag) in known {
            let is_closed = file.exists();
            if flag.swap(is_closed, Ordering::Relaxed) != is_closed {
                let what = if is_closed { "maintenance begins" } else { "maintenance ends" };
                tracing::info!(file = %file.display(), "{what}");
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The file of a switch; `None`: there is no state directory to have it in.
fn file_of(config: &Config, switch: &Switch) -> Option<PathBuf> {
    match switch {
        Switch::File(file) => Some(file.clone()),
        Switch::Site(name) => {
            let state = StateDir::find(config.process.state.as_deref()).ok()?;
            // `*` and what stands for it mean something to shells.
            Some(state.path_of(STATE_FOLDER).join(name.replace('*', "_")))
        }
    }
}

/// Looks at the switches twice a second, until `switches` has none to give or the handle is used.
pub(crate) fn look_regularly(
    switches: impl Fn() -> Option<Arc<Switches>> + Send + 'static,
) -> AbortHandle {
    let looking = tokio::spawn(async move {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            let Some(switches) = switches() else { return };
            if !switches.is_empty() {
                // Ends early only if the process does.
                let _ = tokio::task::spawn_blocking(move || switches.look()).await;
            }
        }
    });
    looking.abort_handle()
}

/// A site that can be closed for maintenance, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceState {
    /// The site's first name.
    pub site: String,
    /// The file that closes it.
    pub file: PathBuf,
    /// Whether it is closed.
    pub is_closed: bool,
}

/// Why a site cannot be closed or opened.
#[derive(Debug)]
pub enum MaintenanceError {
    /// There is no site with this name.
    NoSite(String),
    /// The site has no `maintenance`.
    NotSet(String),
    /// Its file cannot be created or removed.
    File(PathBuf, io::Error),
}

impl std::fmt::Display for MaintenanceError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSite(name) => write!(out, "there is no site `{name}`"),
            Self::NotSet(name) => {
                write!(out, "the site `{name}` has no `maintenance`; write that line into it")
            }
            Self::File(file, error) => write!(
                out,
                "{} cannot be changed: {error}; the user that runs bothways must have write permission \
                 for its directory",
                file.display()
            ),
        }
    }
}

impl std::error::Error for MaintenanceError {}

/// The sites that can be closed, or those with these names; each with its files.
pub(crate) fn states(
    config: &Config,
    names: &[String],
) -> Result<Vec<MaintenanceState>, MaintenanceError> {
    let sites = config.sites.iter().filter(|site| site.https.is_none());
    let mut states = Vec::new();
    for site in sites.clone() {
        let has_name = |name: &String| site.names.iter().any(|other| other.to_string() == *name);
        if names.is_empty() || names.iter().any(has_name) {
            states.extend(states_of(config, site));
        }
    }
    for name in names {
        let mut named =
            sites.clone().filter(|site| site.names.iter().any(|other| other.to_string() == *name));
        let Some(site) = named.next() else {
            return Err(MaintenanceError::NoSite(name.clone()));
        };
        if states_of(config, site).is_empty() {
            return Err(MaintenanceError::NotSet(name.clone()));
        }
    }
    Ok(states)
}

fn states_of(config: &Config, site: &Site) -> Vec<MaintenanceState> {
    let settings = site.routes.iter().map(|route| &route.settings).chain([&site.base]);
    let switch = |settings: &RouteSettings| settings.maintenance.as_ref().map(|of| of.switch);
    let mut switches: Vec<_> = settings.filter_map(switch).collect();
    switches.sort_unstable();
    switches.dedup();
    let files = switches.into_iter().filter_map(|id| config.switches.get(id.index()));
    let name = site.names.first().map(ToString::to_string).unwrap_or_default();
    let states = files.filter_map(|switch| {
        let file = file_of(config, switch)?;
        let is_closed = file.exists();
        Some(MaintenanceState { site: name.clone(), file, is_closed })
    });
    states.collect()
}

/// Creates or removes the files of sites.
pub(crate) fn set(
    switches: &Switches,
    states: &mut [MaintenanceState],
    closed: bool,
) -> Result<(), MaintenanceError> {
    for state in &mut *states {
        change_file(&state.file, closed)
            .map_err(|error| MaintenanceError::File(state.file.clone(), error))?;
        state.is_closed = closed;
    }
    switches.look();
    Ok(())
}

fn change_file(file: &Path, exists: bool) -> io::Result<()> {
    if exists {
        if let Some(folder) = file.parent().filter(|folder| folder.ends_with(STATE_FOLDER)) {
            fs::create_dir_all(folder)?;
        }
        return fs::OpenOptions::new().append(true).create(true).open(file).map(|_| ());
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
