//! `--watch`: detects changes of the configuration's files.
//!
//! Directories are watched, not files, because editors replace files by renaming and Kubernetes
//! replaces a symbolic link beside them (`..data`). An event only triggers a check: the states of
//! the files are compared, so that other files in those directories have no effect. A change is
//! reported when no event came for [`QUIET`]. Not here: reading the files again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use config::{Action, Config, RouteSettings, SiteTls, Sources};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// After this long without an event, the writer has finished.
const QUIET: Duration = Duration::from_millis(150);
/// The longest wait for a writer that does not stop.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// File times lag behind the clock by up to a tick of the kernel.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

/// Watches the files of a configuration.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    files: Vec<PathBuf>,
    directories: BTreeSet<PathBuf>,
    states: Vec<FileState>,
    /// Whether there was an event since the last comparison.
    pending: bool,
}

/// The state of a file: device and inode (after following links), length and time of modification.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    path: PathBuf,
    state: Option<(u64, u64, u64, i64, i64)>,
}

impl Watch {
    /// Starts to watch files that were read after `since`.
    pub(super) fn start(files: Vec<PathBuf>, since: SystemTime) -> notify::Result<Self> {
        // One pending event is enough.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_read = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
            if !is_read {
                let _ = sender.try_send(());
            }
        })?;
        let directories = BTreeSet::new();
        let mut watch = Self {
            watcher,
            events,
            files: Vec::new(),
            directories,
            states: Vec::new(),
            pending: false,
        };
        watch.follow(files, since)?;
        Ok(watch)
    }

    /// Watches these files from now on; they were read after `since`.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>, since: SystemTime) -> notify::Result<()> {
        let wanted = directories_of(&files);
        for gone in self.directories.difference(&wanted) {
            // A directory that has been removed is no longer watched anyway.
            let _ = self.watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.directories) {
            self.watcher.watch(new, RecursiveMode::NonRecursive)?;
        }
        self.directories = wanted;
        self.files = files;
        self.states = self.states();
        let since = since.checked_sub(CLOCK_SLACK).unwrap_or(since);
        let is_newer = |file: &PathBuf| modified(file).is_some_and(|time| time >= since);
        if self.files.iter().any(is_newer) {
            // They may have changed between reading and watching: check again.
            self.pending = true;
            self.states.clear();
        }
        Ok(())
    }

    /// Watches these files in addition: those of a wrong configuration, because the mistake may be fixed
    /// in any file, old or new.
    pub(super) fn follow_also(
        &mut self,
        files: Vec<PathBuf>,
        since: SystemTime,
    ) -> notify::Result<()> {
        let all: BTreeSet<PathBuf> = self.files.drain(..).chain(files).collect();
        self.follow(all.into_iter().collect(), since)
    }

    /// Waits for a change. Cancel safe.
    pub(super) async fn changed(&mut self) {
        loop {
            if !self.pending {
                if self.events.recv().await.is_none() {
                    return std::future::pending().await;
                }
                self.pending = true;
            }
            self.wait_for_quiet().await;
            self.pending = false;
            let now = self.states();
            if now != self.states {
                self.states = now;
                return;
            }
        }
    }

    async fn wait_for_quiet(&mut self) {
        let started = Instant::now();
        while started.elapsed() < QUIET_WAIT_MAX {
            if tokio::time::timeout(QUIET, self.events.recv()).await.is_err() {
                return;
            }
        }
    }

    /// The states of the files, and of every other `.kdl` file beside them: an `include` with `*` may
    /// match it.
    fn states(&self) -> Vec<FileState> {
        let mut paths: BTreeSet<PathBuf> = self.files.iter().cloned().collect();
        for directory in &self.directories {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            let paths_there = entries.flatten().map(|entry| entry.path());
            paths.extend(paths_there.filter(|path| path.extension().is_some_and(|is| is == "kdl")));
        }
        paths.into_iter().map(FileState::of).collect()
    }
}

impl FileState {
    fn of(path: PathBuf) -> Self {
        let metadata = fs::metadata(&path).ok();
        let state = metadata.map(|of| (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()));
        Self { path, state }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The directories of the files, as written and after following links.
fn directories_of(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let real = files.iter().filter_map(|file| file.canonicalize().ok());
    let all = files.iter().cloned().chain(real);
    all.filter_map(|file| {
        let parent = file.parent()?;
        Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
    })
    .filter(|directory| directory.is_dir())
    .collect()
}

/// All files that a configuration consists of: itself, its includes, error pages, CAs and revocation
/// lists, and the patterns of `include`, which may match new files. Certificates and keys of sites
/// are not among them: they are renewed without a reload.
pub(super) fn files_of(config: &Config, sources: &Sources) -> Vec<PathBuf> {
    let routes =
        config.sites.iter().flat_map(|site| site.routes.iter().map(|route| &route.settings));
    let forwards = config.forwards.iter().map(|forward| &forward.settings);
    let bases = config.sites.iter().map(|site| &site.base);
    let answers = config.sites.iter().flat_map(|site| &site.routes);
    let answers = answers.filter_map(|route| match &route.action {
        Action::Respond { page, .. } => page.as_ref(),
        _ => None,
    });
    let pages = bases.chain(routes).chain(forwards).flat_map(RouteSettings::pages).chain(answers);
    let pages = pages.map(|page| page.file.clone());
    let all = files_read(sources).into_iter().chain(pages).chain(authorities(config));
    let files: BTreeSet<PathBuf> = all.collect();
    files.into_iter().collect()
}

/// CAs and revocation lists for clients and upstreams, and client certificates for upstreams.
fn authorities(config: &Config) -> Vec<PathBuf> {
    let of_sites = config.sites.iter().filter_map(|site| match &site.tls {
        Some(SiteTls::Terminate(settings)) => Some(settings),
        _ => None,
    });
    let of_forwards = config.forwards.iter().filter_map(|forward| forward.tls.as_ref());
    let clients = of_sites.chain(of_forwards).map(|settings| &settings.client);
    let of_clients = clients.flat_map(|client| client.ca.iter().chain(&client.crl));
    let of_upstreams = config.upstreams.iter().flat_map(|upstream| {
        let pair = upstream.tls.client.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        upstream.tls.ca.iter().chain(pair)
    });
    of_clients.chain(of_upstreams).cloned().collect()
}

/// The files that were read, and the patterns of their includes.
pub(super) fn files_read(sources: &Sources) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (index, name) in (0..=u16::MAX).zip(sources.names()) {
        let file = PathBuf::from(&*name);
        let from = file.parent().unwrap_or(Path::new(""));
        // A simple scan is enough to know where to look; the parser reports mistakes in the text.
        let includes = sources.text(index).lines().filter_map(|line| {
            let pattern = line.trim().strip_prefix("include ")?.trim().strip_prefix('"')?;
            Some(from.join(pattern.split('"').next()?))
        });
        files.extend(includes);
        files.push(file);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("bothways-watch-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const LATER: Duration = Duration::from_secs(3600);

    async fn is_noticed(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn editors_and_kubernetes() {
        let scratch = Scratch::new("editors");
        let file = scratch.path("bothways.kdl");
        fs::create_dir(scratch.path("one")).unwrap();
        fs::create_dir(scratch.path("two")).unwrap();
        fs::write(scratch.path("one/bothways.kdl"), "a").unwrap();
        fs::write(scratch.path("two/bothways.kdl"), "ab").unwrap();
        std::os::unix::fs::symlink("one", scratch.path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/bothways.kdl", &file).unwrap();
        runtime().block_on(async {
            let since = SystemTime::now() + LATER;
            let mut watch = Watch::start(vec![file.clone()], since).unwrap();
            // As Kubernetes does: another directory, the link to it replaced by a rename.
            std::os::unix::fs::symlink("two", scratch.path("..data_tmp")).unwrap();
            fs::rename(scratch.path("..data_tmp"), scratch.path("..data")).unwrap();
            assert!(is_noticed(&mut watch).await, "link replaced");
            watch.follow(vec![file.clone()], since).unwrap();
            // As an editor does that writes in place.
            fs::write(&file, "abc").unwrap();
            assert!(is_noticed(&mut watch).await, "written in place");
            // As an editor does that renames.
            fs::write(scratch.path("two/.new"), "abcd").unwrap();
            fs::rename(scratch.path("two/.new"), scratch.path("two/bothways.kdl")).unwrap();
            assert!(is_noticed(&mut watch).await, "renamed over");
            // A file that an include may take.
            fs::write(scratch.path("more.kdl"), "x").unwrap();
            assert!(is_noticed(&mut watch).await, "new file beside");
        });
    }

    #[test]
    fn other_files_and_reading_cause_nothing() {
        let scratch = Scratch::new("others");
        let file = scratch.path("bothways.kdl");
        fs::write(&file, "a").unwrap();
        runtime().block_on(async {
            let mut watch = Watch::start(vec![file.clone()], SystemTime::now() + LATER).unwrap();
            fs::write(scratch.path("access.log"), "line").unwrap();
            fs::read(&file).unwrap();
            let soon = QUIET * 3;
            assert!(tokio::time::timeout(soon, watch.changed()).await.is_err());
        });
    }
}
