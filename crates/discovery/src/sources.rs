//! Where endpoints come from that are not written: `SRV` records, and files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use config::model::Source;
use config::{Endpoint, EndpointAddress, Place};
use net::Service;

use super::json::{FILE_BYTES_MAX, endpoints_from_json};

/// The greatest weight of an endpoint.
const WEIGHT_MAX: u32 = 1000;

/// The endpoints of `SRV` records. Priorities are kept; weights are made to fit within those of endpoints, where
/// none is 0: that becomes the smallest there is beside the others of its priority.
pub(super) fn endpoints_of(services: &[Service], source: &Source) -> Arc<[Endpoint]> {
    let mut of_priority: BTreeMap<u16, (bool, u32)> = BTreeMap::new();
    for service in services {
        let (has_zero, heaviest) = of_priority.entry(service.priority).or_default();
        *has_zero |= service.weight == 0;
        *heaviest = u32::from(service.weight).max(*heaviest);
    }
    let endpoint = |service: &Service| {
        let (has_zero, heaviest) = of_priority.get(&service.priority).copied().unwrap_or_default();
        let weight = u32::from(service.weight);
        let weight = match heaviest {
            0 => 1,
            _ if has_zero || heaviest > WEIGHT_MAX => weight * WEIGHT_MAX / heaviest,
            _ => weight,
        };
        let Service { target, port, .. } = service;
        let scheme = if source.tls { "https://" } else { "" };
        let address = EndpointAddress::Name { host: Arc::clone(target), port: *port };
        Endpoint {
            place: source.place,
            tls: source.tls,
            weight: weight.clamp(1, WEIGHT_MAX) as u16,
            priority: service.priority,
            ..Endpoint::new(format!("{scheme}{target}:{port}"), address)
        }
    };
    services.iter().map(endpoint).collect()
}

/// Distinguishes versions of a file: the file behind links, its length and time.
type FileVersion = Option<(u64, u64, u64, i64, i64)>;

fn version_of(path: &Path) -> FileVersion {
    let of = std::fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}

/// A file of endpoints, looked at again and again.
#[derive(Debug)]
pub(super) struct EndpointFile {
    path: PathBuf,
    /// Whether those are spoken to over TLS that do not say.
    tls: bool,
    version: FileVersion,
    endpoints: Arc<[Endpoint]>,
    /// What is wrong with it, and since when.
    problem: Option<(SystemTime, String)>,
}

impl EndpointFile {
    /// Reads a file. If that cannot be done it has no endpoints.
    pub(super) fn open(path: &Path, tls: bool) -> Self {
        let (path, endpoints) = (path.to_owned(), Arc::new([]));
        let mut file = Self { path, tls, version: None, endpoints, problem: None };
        let read = file.check().read();
        file.take(read);
        file
    }

    /// What is needed to look for changes without holding this.
    pub(super) fn check(&self) -> FileCheck {
        FileCheck { path: self.path.clone(), tls: self.tls, version: self.version }
    }

    /// The endpoints last read, each with the line that names the file.
    pub(super) fn endpoints(&self, place: Place) -> Arc<[Endpoint]> {
        self.endpoints.iter().map(|endpoint| Endpoint { place, ..endpoint.clone() }).collect()
    }

    /// What is wrong with it, and since when.
    pub(super) fn problem(&self) -> Option<&(SystemTime, String)> {
        self.problem.as_ref()
    }

    /// Takes what was read; true if the endpoints are others.
    pub(super) fn take(&mut self, read: FileContents) -> bool {
        self.version = read.version;
        let (path, before) = (self.path.display(), self.endpoints.len());
        let error = match read.endpoints {
            Ok(endpoints) => {
                let changed = *endpoints != *self.endpoints;
                if self.problem.take().is_some() || changed {
                    tracing::info!(file = %path, endpoints = endpoints.len(), before, "endpoints read");
                }
                self.endpoints = endpoints.into();
                return changed;
            }
            Err(error) => error,
        };
        let since = self.problem.take().map_or_else(SystemTime::now, |(since, _)| since);
        if error.kind() == io::ErrorKind::NotFound && before == 0 {
            tracing::warn!(file = %path, "there is no file of endpoints yet; it is looked for");
        } else {
            let in_use = before;
            tracing::error!(file = %path, %error, in_use, "the file of endpoints cannot be used; the last ones stay in use");
        }
        self.problem = Some((since, error.to_string()));
        false
    }
}

/// A file that is to be looked at.
pub(super) struct FileCheck {
    path: PathBuf,
    tls: bool,
    version: FileVersion,
}

/// What was read.
pub(super) struct FileContents {
    version: FileVersion,
    endpoints: io::Result<Vec<Endpoint>>,
}

impl FileCheck {
    /// Reads the file if it has changed.
    pub(super) fn read_if_changed(&self) -> Option<FileContents> {
        (version_of(&self.path) != self.version).then(|| self.read())
    }

    fn read(&self) -> FileContents {
        // Before it is read: what is written meanwhile is seen the next time.
        let version = version_of(&self.path);
        FileContents { version, endpoints: read_endpoints(&self.path, self.tls) }
    }
}

/// What is wrong with a file of endpoints, if something is. One that is not there yet is not wrong.
pub fn endpoints_file_problem(path: &Path) -> Option<String> {
    match read_endpoints(path, false) {
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(error.to_string()),
    }
}

fn read_endpoints(path: &Path, tls: bool) -> io::Result<Vec<Endpoint>> {
    // To open a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let mut endpoints = endpoints_from_json(&text).map_err(io::Error::other)?;
    endpoints.iter_mut().for_each(|endpoint| endpoint.tls |= tls);
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use config::SourceKind;

    use super::*;

    #[test]
    fn weights_of_services_fit() {
        #[track_caller]
        fn check(services: &[(u16, u16)], expected: &[u16]) {
            let one = |&(priority, weight): &(u16, u16)| Service {
                priority,
                target: "a".into(),
                port: 80,
                weight,
            };
            let services: Vec<_> = services.iter().map(one).collect();
            let kind = SourceKind::Srv("_http._tcp.a".into());
            let source = Source { place: Place::default(), kind, tls: false };
            let endpoints = endpoints_of(&services, &source);
            let weights: Vec<_> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
            assert_eq!(weights, expected, "{services:?}");
        }
        check(&[(0, 10), (0, 20)], &[10, 20]);
        check(&[(0, 0), (0, 0)], &[1, 1]);
        check(&[(0, 0), (0, 10), (0, 5)], &[1, 1000, 500]);
        check(&[(0, 60_000), (0, 30_000), (0, 1)], &[1000, 500, 1]);
        check(&[(0, 0), (0, 1), (7, 3)], &[1, 1000, 3]);
        check(&[(0, 1000), (1, 65_535)], &[1000, 1000]);
    }
}
