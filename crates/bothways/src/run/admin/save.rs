//! Writes changes at run time back, to the JSON file or the configuration file that an endpoint comes
//! from.
//!
//! A configuration file that has changed since it was read is not overwritten. Files are replaced by
//! a rename and keep owner and mode. Then the configuration is reloaded; if the reload is refused,
//! the old file is restored.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::edit::Change;
use config::{Config, SourceKind, Upstream};
use discovery::{
    Difference, EditError, EndpointSettings, FileChange, Origin, change_endpoints_json,
};
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use super::super::control::{Control, ReloadRequest};
use super::super::report::Report;
use super::pages::{Answer, JSON, plain, reply};
use super::upstreams::{ApiError, origin_words};

/// The maximum size of a file of endpoints, as for reading.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What was written, and what could not be.
#[derive(Debug, Default)]
pub(super) struct SaveReport {
    upstream: String,
    pub(super) endpoints: Vec<Arc<str>>,
    pub(super) files: Vec<String>,
    /// Endpoints whose changes cannot be saved, and why.
    left: Vec<(Arc<str>, String)>,
}

impl SaveReport {
    pub(super) fn answer(&self, wants_json: bool) -> Answer {
        let Self { upstream, endpoints, files, left } = self;
        if wants_json {
            let left: Vec<_> =
                left.iter().map(|(name, why)| json!({ "endpoint": &**name, "why": why })).collect();
            let saved: Vec<&str> = endpoints.iter().map(|name| &**name).collect();
            let value = json!({
                "upstream": upstream, "saved": saved, "files": files, "left": left,
            });
            return reply(StatusCode::OK, JSON, format!("{value}\n"));
        }
        let mut text = match endpoints.len() as u64 {
            0 => format!("{upstream}: nothing to save\n"),
            count => {
                let count = crate::terminal::count(count, "endpoint");
                format!("{upstream}: {count} saved in {}\n", files.join(", "))
            }
        };
        left.iter().for_each(|(name, why)| text.push_str(&format!("not saved: {name}: {why}\n")));
        plain(StatusCode::OK, text)
    }
}

/// Which changes go into which file.
#[derive(Default)]
struct Plan {
    configuration: Vec<Change>,
    files: BTreeMap<PathBuf, Vec<FileChange>>,
    saved: SaveReport,
}

impl Plan {
    fn new(upstream: &Upstream, differences: Vec<Difference>, has_file: bool) -> Self {
        let mut plan = Self::default();
        plan.saved.upstream = upstream.name.to_string();
        let mut files = upstream.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::File(path) => Some(path.clone()),
            SourceKind::Srv(_) => None,
        });
        let first = files.next();
        for difference in differences {
            let file = match &difference.origin {
                Origin::File(path) => Some(path.clone()),
                Origin::Added => first.clone(),
                Origin::Written => None,
                origin @ (Origin::Srv(_) | Origin::Address(_)) => {
                    let why = format!("it comes from {}", origin_words(origin));
                    plan.saved.left.push((difference.name, why));
                    continue;
                }
            };
            let name = Arc::clone(&difference.name);
            match file {
                Some(path) => plan.files.entry(path).or_default().push(in_file(difference)),
                None if upstream.inline => {
                    let why = "its upstream has no name; write upstream NAME { to … }";
                    plan.saved.left.push((name, why.to_owned()));
                    continue;
                }
                None if !has_file => {
                    let why = "the process was started without a file";
                    plan.saved.left.push((name, why.to_owned()));
                    continue;
                }
                None => plan.configuration.push(in_configuration(difference)),
            }
            plan.saved.endpoints.push(name);
        }
        plan
    }
}

/// The settings that differ between an endpoint before and after.
fn settings(difference: &Difference) -> EndpointSettings {
    let Some((before, after)) = difference.before.as_ref().zip(difference.after.as_ref()) else {
        return EndpointSettings::default();
    };
    EndpointSettings {
        weight: Some(after.weight).filter(|_| before.weight != after.weight),
        max: Some(after.max).filter(|_| before.max != after.max),
        drain: Some(after.draining).filter(|_| before.draining != after.draining),
    }
}

fn in_file(difference: Difference) -> FileChange {
    let set = settings(&difference);
    match (difference.before, difference.after) {
        (None, Some(added)) => FileChange::Add(Box::new(added)),
        (_, None) => FileChange::Remove(difference.name),
        (Some(_), Some(_)) => FileChange::Set(difference.name, set),
    }
}

fn in_configuration(difference: Difference) -> Change {
    let EndpointSettings { weight, max, drain } = settings(&difference);
    match (difference.before, difference.after) {
        (None, Some(added)) => Change::Add(added),
        (_, None) => Change::Remove(difference.name),
        (Some(_), Some(_)) => Change::Set { written: difference.name, weight, max, drain },
    }
}

/// Writes the changes of an upstream back.
pub(super) async fn save(control: &Control, name: &str) -> Result<SaveReport, ApiError> {
    let Some(_guard) = control.save_lock.acquire() else {
        return Err(conflict("another save is in progress"));
    };
    let config = control.server.config();
    let upstream = config.upstreams.iter().find(|one| &*one.name == name);
    let upstream = upstream.ok_or(EditError::NoUpstream)?;
    let differences = control.server.differences(name).ok_or(EditError::NoUpstream)?;
    let mut plan = Plan::new(upstream, differences, control.has_file());
    // Compute all texts before anything is written.
    let mut texts = Vec::new();
    for (path, changes) in &plan.files {
        texts.push((path.clone(), file_text(path, changes)?));
    }
    let configuration = match plan.configuration.as_slice() {
        [] => None,
        changes => Some(configuration_text(control, &config, upstream, changes)?),
    };
    for (path, text) in texts {
        plan.saved.files.push(path.display().to_string());
        write(path, text).await?;
    }
    if let Some(Configuration { path, before, after }) = configuration {
        plan.saved.files.push(path.display().to_string());
        write(path.clone(), after).await?;
        if let Err(refused) = reload(control).await {
            write(path, before).await?;
            return Err(refused);
        }
    }
    let (server, name) = (control.server.clone(), name.to_owned());
    let saved = plan.saved.endpoints.clone();
    let forgotten = tokio::task::spawn_blocking(move || server.saved(&name, &saved)).await;
    let words = match forgotten {
        Ok(Ok(())) => return Ok(plan.saved),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, words))
}

fn conflict(words: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, words)
}

fn file_text(path: &Path, changes: &[FileChange]) -> Result<String, ApiError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => "{\"endpoints\": []}\n".to_owned(),
        Err(error) => return Err(conflict(format!("cannot read {}: {error}", path.display()))),
    };
    let changed = change_endpoints_json(&text, changes);
    let changed = changed.map_err(|error| conflict(format!("{}: {error}", path.display())))?;
    if changed.len() as u64 > FILE_BYTES_MAX {
        let words = format!("{} would be longer than {FILE_BYTES_MAX} bytes", path.display());
        return Err(conflict(words));
    }
    Ok(changed)
}

/// A file of the configuration, before and after.
struct Configuration {
    path: PathBuf,
    before: String,
    after: String,
}

fn configuration_text(
    control: &Control,
    config: &Config,
    upstream: &Upstream,
    changes: &[Change],
) -> Result<Configuration, ApiError> {
    let index = upstream.place.file;
    let name = config.files.get(usize::from(index));
    let name = name.ok_or_else(|| conflict("the upstream is in no file"))?;
    let path = PathBuf::from(&**name);
    let before = fs::read_to_string(&path)
        .map_err(|error| conflict(format!("cannot read {name}: {error}")))?;
    if !control.is_as_read(index, &before) {
        return Err(conflict(format!(
            "{name} has changed since it was read; run `bothways reload`, then look at the diff"
        )));
    }
    let after = config::edit::endpoints(&before, &upstream.name, changes)
        .map_err(|error| conflict(format!("{name}: {error}")))?;
    Ok(Configuration { path, before, after })
}

async fn reload(control: &Control) -> Result<(), ApiError> {
    let (reply, report) = oneshot::channel();
    let busy = || {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not saved: a reload is not possible now")
    };
    control.reloads.try_send(ReloadRequest { allow_empty: false, reply }).map_err(|_| busy())?;
    match report.await {
        Ok(Report::Done { .. }) => Ok(()),
        Ok(report) => {
            let words = format!("not saved, the file is unchanged: {}", report.text().trim_end());
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, words))
        }
        Err(_) => Err(busy()),
    }
}

async fn write(path: PathBuf, text: String) -> Result<(), ApiError> {
    let name = path.display().to_string();
    let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
    let error = match written {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    };
    let words = format!("cannot write {name}: {error}");
    Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, words))
}

/// Replaces a file by a rename; keeps owner and mode, and follows links.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let before = fs::metadata(&path).ok();
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it is not a file"));
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = directory.join(hidden);
    // Remove a leftover of a crashed process with the same ID.
    let _ = fs::remove_file(&temporary);
    let placed =
        place(&temporary, text, before.as_ref()).and_then(|()| fs::rename(&temporary, &path));
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    placed?;
    // So that the rename survives a crash, too.
    File::open(directory)?.sync_all()
}

fn place(temporary: &Path, text: &str, before: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let now = file.metadata()?;
    if let Some(before) = before
        && (before.uid(), before.gid()) != (now.uid(), now.gid())
    {
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
    }
    let mode = before.map_or(0o644, |before| before.mode() & 0o7777);
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_keep_mode_and_links() {
        let directory = std::env::temp_dir().join(format!("bothways-save-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let (file, link) = (directory.join("a.json"), directory.join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.json", &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        replace(&directory.join("fresh"), "x").unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 3, "nothing is left over");
        fs::remove_dir_all(&directory).unwrap();
    }
}
