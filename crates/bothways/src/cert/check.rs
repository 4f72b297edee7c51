//! `bothways cert check`: what a site has configured, and what is wrong with it.

use std::path::Path;
use std::time::SystemTime;

use config::{
    Acme, AcmeChallenge, CertificateSource, ClientPolicy, Config, Loaded, ServerTls, Site,
    SiteName, SiteTls,
};
use tls::{InternalCa, StateDir, day, relative};

use crate::cli::CheckSite;
use crate::exit::{CONFIGURATION, Failure};
use crate::load::Source;
use crate::terminal::{self, Paint};

/// Checks the site.
pub(super) fn check(options: &CheckSite) -> Result<(), Failure> {
    let source = Source::find(options.config.as_deref())?;
    let loaded = source.load()?;
    let config = &loaded.config;
    let site = find(config, &options.site).ok_or_else(|| unknown(config, &options.site))?;
    let paint = Paint::new(terminal::stdout_is_coloured());
    let names: Vec<_> = site.names.iter().map(written).collect();
    let mut out = format!("{} ({})\n", paint.bold(&names.join(", ")), config.locate(site.place));
    let row =
        |name: &str, value: &str| format!("  {} {value}\n", paint.dim(&format!("{name:<12}")));
    let settings = match &site.tls {
        Some(SiteTls::Terminate(settings)) => settings,
        Some(SiteTls::Passthrough) => {
            out.push_str(&row("tls", "passthrough: the certificate is the upstream's"));
            return Ok(terminal::to_stdout(&out)?);
        }
        None => {
            out.push_str(&row("tls", "none: it is served in clear"));
            out.push_str("hint: `tls auto` in the site gets it a certificate\n");
            return Ok(terminal::to_stdout(&out)?);
        }
    };
    for (name, value) in rows(config, settings, site) {
        out.push_str(&row(name, &value));
    }
    let problems = tls::check_server(config, settings, &site.names);
    terminal::to_stdout(&out)?;
    finish(&loaded, &problems, &paint)
}

fn finish(loaded: &Loaded, problems: &[tls::Problem], paint: &Paint) -> Result<(), Failure> {
    for diagnostic in crate::check::of_tls(&loaded.sources, problems) {
        terminal::to_stderr(&format!("\n{}", diagnostic.render(terminal::stderr_is_coloured())));
    }
    if problems.iter().any(|problem| problem.severity == tls::Severity::Error) {
        return Err(Failure::said(CONFIGURATION));
    }
    if problems.is_empty() {
        terminal::to_stdout(&format!("{}\n", paint.green("nothing is wrong with it")))?;
    }
    Ok(())
}

/// The site of a name, as a request would find it.
fn find<'c>(config: &'c Config, name: &str) -> Option<&'c Site> {
    let name = name.to_ascii_lowercase();
    let has = |site: &&Site, is: &dyn Fn(&SiteName) -> bool| site.names.iter().any(is);
    let all = || config.sites.iter();
    let as_written = all().filter(|site| has(site, &|is| written(is) == name));
    // Where port 80 only redirects there are two sites of one name.
    let best = as_written.max_by_key(|site| site.tls.is_some());
    best.or_else(|| {
        let wildcards = all().flat_map(|site| site.names.iter().map(move |is| (site, is)));
        let below = wildcards.filter_map(|(site, is)| match is {
            SiteName::Wildcard(suffix) => {
                let above = name.strip_suffix(&**suffix)?;
                above.ends_with('.').then_some((site, suffix.len()))
            }
            _ => None,
        });
        below.max_by_key(|(_, length)| *length).map(|(site, _)| site)
    })
    .or_else(|| all().find(|site| site.tls.is_some() && has(site, &|is| *is == SiteName::Default)))
}

fn unknown(config: &Config, name: &str) -> Failure {
    let mut names: Vec<_> = config.sites.iter().flat_map(|site| &site.names).map(written).collect();
    names.sort();
    names.dedup();
    let failure = Failure::other(format!("no site has the name `{name}`"));
    if names.is_empty() {
        failure.hint("the configuration has no sites")
    } else {
        failure.hint(format!("there are: {}", names.join(", ")))
    }
}

fn written(name: &SiteName) -> String {
    match name {
        SiteName::Exact(host) => host.to_string(),
        SiteName::Wildcard(suffix) => format!("*.{suffix}"),
        SiteName::Default => "*".to_owned(),
    }
}

fn rows(config: &Config, settings: &ServerTls, site: &Site) -> Vec<(&'static str, String)> {
    let listeners = site.listeners.iter().filter_map(|&id| config.listener(id));
    let listeners: Vec<_> = listeners.map(|listener| listener.written.to_string()).collect();
    let mut rows = vec![("listens on", listeners.join(", "))];
    match &settings.certificates {
        CertificateSource::Files(files) => {
            for files in files {
                rows.push(("certificate", files.cert.display().to_string()));
                rows.push(("key", files.key.display().to_string()));
                rows.extend(of_file(&files.cert));
            }
        }
        CertificateSource::Auto { acme, names } => {
            if let Some(acme) = config.directory(*acme) {
                rows.push(("certificate", format!("by ACME from {}", acme.directory)));
                let challenge = match &acme.challenge {
                    AcmeChallenge::Http => "http: every name must lead to port 80 of this machine",
                    AcmeChallenge::TlsAlpn => {
                        "tls-alpn: every name must lead to port 443 of this machine"
                    }
                    AcmeChallenge::Dns { .. } => "dns: by the command that is configured",
                };
                rows.push(("shown by", challenge.to_owned()));
                rows.push(("wanted for", names.join(", ")));
                rows.extend(ordered(config, acme, names));
            }
        }
        CertificateSource::Internal { .. } => {
            rows.push((
                "certificate",
                "by the internal CA; clients must trust it: bothways ca root".to_owned(),
            ));
            rows.push(("state", internal_state(config)));
        }
    }
    rows.push((
        "clients",
        match settings.client.policy {
            ClientPolicy::Off => "need no certificate".to_owned(),
            ClientPolicy::Request => "may show a certificate".to_owned(),
            ClientPolicy::Require => "must show a certificate".to_owned(),
        },
    ));
    rows
}

/// Whom a certificate is for, and when it ends.
fn of_file(file: &Path) -> Vec<(&'static str, String)> {
    let chain = tls::read_certificates(file).unwrap_or_default();
    let Some(leaf) = chain.first() else { return Vec::new() };
    let until = day(leaf.not_after);
    let when = relative(leaf.not_after, SystemTime::now());
    vec![
        ("is for", leaf.names.join(", ")),
        ("ends", format!("{until} ({when}), {}", leaf.key.words)),
    ]
}

/// What is kept of an ACME directory for these names.
fn ordered(config: &Config, acme: &Acme, names: &[Box<str>]) -> Vec<(&'static str, String)> {
    let state = match StateDir::find(config.process.state.as_deref()) {
        Ok(state) => state,
        Err(error) => return vec![("kept in", error.to_string())],
    };
    let file = tls::acme_certificate_file(&state, acme, names);
    let known = of_file(&file);
    let mut rows = vec![("kept in", file.display().to_string())];
    if known.is_empty() {
        // Whoever asks may not be who serves.
        let words = match file.try_exists() {
            Ok(false) => "there is none yet; the log of the process says how the order goes",
            _ => "it cannot be read by this user",
        };
        rows.push(("ends", words.to_owned()));
    }
    rows.extend(known);
    rows
}

fn state(config: &Config) -> String {
    let found = StateDir::find(config.process.state.as_deref());
    found.map_or_else(|error| error.to_string(), |state| state.path().display().to_string())
}

fn internal_state(config: &Config) -> String {
    let directory = state(config);
    match InternalCa::open(&StateDir::new(&directory)) {
        Ok(Some(ca)) => format!("{directory}, until {}", day(ca.root().not_after)),
        Ok(None) => format!("{directory}; the CA is made when it is first needed"),
        Err(_) => format!("{directory}, which only the process's user can read"),
    }
}
