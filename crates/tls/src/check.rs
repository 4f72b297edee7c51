//! What `bothways check` says of certificates and keys: everything is read and judged, nothing is
//! changed or looked up.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use config::{CertificateSource, Config, Place, ServerTls, SiteName, SiteTls};

use crate::client::Client;
use crate::error::Problem;
use crate::inspect::Finding;
use crate::internal::InternalCa;
use crate::server::Server;
use crate::slot::Slot;
use crate::source::read;
use crate::state::StateDir;
use crate::{Challenges, Tickets};

/// Judges every certificate, key and CA that a configuration names.
pub fn check(config: &Config) -> Vec<Problem> {
    check_at(config, SystemTime::now())
}

pub(crate) fn check_at(config: &Config, now: SystemTime) -> Vec<Problem> {
    let mut problems = Vec::new();
    for site in &config.sites {
        if let Some(SiteTls::Terminate(settings)) = &site.tls {
            problems.extend(server(config, settings, &site.names, now));
        }
    }
    for forward in &config.forwards {
        if let Some(settings) = &forward.tls {
            problems.extend(server(config, settings, &[], now));
        }
    }
    for upstream in &config.upstreams {
        if upstream.endpoints.iter().any(|endpoint| endpoint.tls) {
            let made = Client::new(&upstream.tls, upstream.place, upstream.protocol);
            problems.extend(made.err());
            let pair = upstream.tls.client.iter();
            problems.extend(pair.flat_map(|files| {
                let findings = match crate::chain::load(files) {
                    Ok(pair) => dates_only(&pair.certificates, now),
                    // `Client::new` has reported that already.
                    Err(_) => Vec::new(),
                };
                findings.into_iter().map(|finding| finding.at(files.place)).collect::<Vec<_>>()
            }));
        }
    }
    problems
}

/// A client's certificate needs no names, but must hold.
fn dates_only(chain: &[crate::inspect::Certificate], now: SystemTime) -> Vec<Finding> {
    let all = crate::inspect::judge(chain, &[], now);
    all.into_iter().filter(|finding| finding.message.starts_with("the certificate ")).collect()
}

/// What is wrong with one site or forward listener, which is for these names.
pub fn check_server(config: &Config, settings: &ServerTls, names: &[SiteName]) -> Vec<Problem> {
    server(config, settings, names, SystemTime::now())
}

fn server(
    config: &Config,
    settings: &ServerTls,
    names: &[SiteName],
    now: SystemTime,
) -> Vec<Problem> {
    let mut problems = match &settings.certificates {
        CertificateSource::Files(files) => {
            // Each alone, so that a pair that cannot be read does not hide what is wrong with others.
            let each = files.iter().flat_map(|files| {
                let mut problems = match read(std::slice::from_ref(files), Vec::new(), names, now) {
                    Ok(fresh) => fresh.problems,
                    Err(problems) => problems,
                };
                problems.extend(open_key(&files.key).map(|finding| finding.at(files.place)));
                problems
            });
            each.collect()
        }
        CertificateSource::Internal { .. } => internal(config, settings.place, now),
        CertificateSource::Auto { acme, names } => {
            let acme = config.directory(*acme);
            acme.map_or_else(Vec::new, |acme| {
                let mut problems = crate::acme::check(config, acme, settings.place, names);
                problems.extend(crate::acme::check_files(acme));
                problems
            })
        }
    };
    let slot = std::sync::Arc::new(Slot::new(""));
    let made = Server::new(settings, true, slot, Tickets::new(), Challenges::new());
    problems.extend(made.err());
    problems
}

/// A key that every user of the machine can read.
fn open_key(key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    let key = key.display();
    let finding = Finding::warning(format!("{key} is a private key, and every user can read it"));
    (mode & 0o004 != 0).then(|| finding.hint(format!("chmod o= {key}")))
}

fn internal(config: &Config, place: Place, now: SystemTime) -> Vec<Problem> {
    let state = match StateDir::find(config.process.state.as_deref()) {
        Ok(state) => state,
        Err(error) => {
            return vec![
                Finding { hint: error.hint(), ..Finding::error(error.to_string()) }.at(place),
            ];
        }
    };
    match InternalCa::open(&state) {
        Ok(ca) => {
            let ends = ca.and_then(|ca| ca.ends_soon(now));
            ends.map(|words| Finding::warning(words).at(place)).into_iter().collect()
        }
        // The user that checks may not be the one that serves.
        Err(crate::internal::CaError::State(_)) => Vec::new(),
        Err(error) => {
            let finding = Finding { hint: error.hint(), ..Finding::error(error.to_string()) };
            vec![finding.at(place)]
        }
    }
}
