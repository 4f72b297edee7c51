//! `bothways cert check`: prints the TLS settings of a site, and what is wrong with its certificates.

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

/// Checks a site.
pub(super) fn check(options: &CheckSite) -> Result<(), Failure> {
    let source = Source::find(options.config.as_deref())?;
    let loaded = source.load()?;
    let config = &loaded.config;
    let site = find(config, &options.site).ok_or_else(|| unknown_site(config, &options.site))?;
    let paint = Paint::new(terminal::stdout_is_coloured());
    let names: Vec<_> = site.names.iter().map(name_text).collect();
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
            out.push_str(&row("tls", "none: it is served in cleartext"));
            out.push_str("hint: to get a certificate, write `tls auto` into the site\n");
            return Ok(terminal::to_stdout(&out)?);
        }
    };
    for (name, value) in rows(config, settings, site) {
        out.push_str(&row(name, &value));
    }
    let problems = tls::check_server(config, settings, &site.names);
    terminal::to_stdout(&out)?;
    report_problems(&loaded, &problems, &paint)
}

fn report_problems(
    loaded: &Loaded,
    problems: &[tls::Problem],
    paint: &Paint,
) -> Result<(), Failure> {
    for diagnostic in crate::check::tls_diagnostics(&loaded.sources, problems) {
        terminal::to_stderr(&format!("\n{}", diagnostic.render(terminal::stderr_is_coloured())));
    }
    if problems.iter().any(|problem| problem.severity == tls::Severity::Error) {
        return Err(Failure::already_reported(CONFIGURATION));
    }
    if problems.is_empty() {
        terminal::to_stdout(&format!("{}\n", paint.green("nothing is wrong with it")))?;
    }
    Ok(())
}

/// The site with a name, chosen as for a request.
fn find<'c>(config: &'c Config, name: &str) -> Option<&'c Site> {
    let name = name.to_ascii_lowercase();
    let has = |site: &&Site, is: &dyn Fn(&SiteName) -> bool| site.names.iter().any(is);
    let all = || config.sites.iter();
    let as_written = all().filter(|site| has(site, &|is| name_text(is) == name));
    // If port 80 only redirects, there are two sites with the same name.
    let best = as_written.max_by_key(|site| site.tls.is_some());
    best.or_else(|| {
        let wildcards = all().flat_map(|site| site.names.iter().map(move |is| (site, is)));
        let below = wildcards.filter_map(|(site, is)| match is {
            SiteName::Label { suffix, .. } | SiteName::Wildcard(suffix) => {
                let above = name.strip_suffix(&**suffix)?;
                above.ends_with('.').then_some((site, suffix.len()))
            }
            _ => None,
        });
        below.max_by_key(|(_, length)| *length).map(|(site, _)| site)
    })
    .or_else(|| all().find(|site| site.tls.is_some() && has(site, &|is| *is == SiteName::Default)))
}

fn unknown_site(config: &Config, name: &str) -> Failure {
    let mut names: Vec<_> =
        config.sites.iter().flat_map(|site| &site.names).map(name_text).collect();
    names.sort();
    names.dedup();
    let failure = Failure::other(format!("no site has the name `{name}`"));
    if names.is_empty() {
        failure.hint("the configuration has no sites")
    } else {
        failure.hint(format!("known names: {}", names.join(", ")))
    }
}

fn name_text(name: &SiteName) -> String {
    name.to_string()
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
                rows.extend(file_rows(&files.cert));
            }
        }
        CertificateSource::Auto { acme, names } => {
            if let Some(acme) = config.directory(*acme) {
                rows.push(("certificate", format!("by ACME from {}", acme.directory)));
                let challenge = match &acme.challenge {
                    AcmeChallenge::Http => {
                        "http: every name must resolve to this machine, and port 80 be reachable"
                    }
                    AcmeChallenge::TlsAlpn => {
                        "tls-alpn: every name must resolve to this machine, and port 443 be reachable"
                    }
                    AcmeChallenge::Dns { .. } => "dns: by the configured command",
                };
                rows.push(("challenge", challenge.to_owned()));
                rows.push(("names", names.join(", ")));
                rows.extend(acme_rows(config, acme, names));
            }
        }
        CertificateSource::Internal { .. } => {
            rows.push((
                "certificate",
                "from the internal CA; clients must trust its root: bothways ca root".to_owned(),
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

/// The names of a certificate file, and when it expires.
fn file_rows(file: &Path) -> Vec<(&'static str, String)> {
    let chain = tls::read_certificates(file).unwrap_or_default();
    let Some(leaf) = chain.first() else { return Vec::new() };
    let until = day(leaf.not_after);
    let when = relative(leaf.not_after, SystemTime::now());
    vec![
        ("covers", leaf.names.join(", ")),
        ("expires", format!("{until} ({when}), {}", leaf.key.words)),
    ]
}

/// The stored certificate of an ACME directory for these names.
fn acme_rows(config: &Config, acme: &Acme, names: &[Box<str>]) -> Vec<(&'static str, String)> {
    let state = match StateDir::find(config.process.state.as_deref()) {
        Ok(state) => state,
        Err(error) => return vec![("stored in", error.to_string())],
    };
    let file = tls::acme_certificate_file(&state, acme, names);
    let known = file_rows(&file);
    let mut rows = vec![("stored in", file.display().to_string())];
    if known.is_empty() {
        // This command may run as another user than the process that serves.
        let words = match file.try_exists() {
            Ok(false) => {
                "there is no certificate yet; the log of the process shows the progress of the order"
            }
            _ => "unknown: this user cannot read the file",
        };
        rows.push(("expires", words.to_owned()));
    }
    rows.extend(known);
    rows
}

fn state_directory(config: &Config) -> String {
    let found = StateDir::find(config.process.state.as_deref());
    found.map_or_else(|error| error.to_string(), |state| state.path().display().to_string())
}

fn internal_state(config: &Config) -> String {
    let directory = state_directory(config);
    match InternalCa::open(&StateDir::new(&directory)) {
        Ok(Some(ca)) => format!("{directory}, until {}", day(ca.root().not_after)),
        Ok(None) => format!("{directory}; the CA is created when it is first needed"),
        Err(_) => format!("{directory}, which only the process's user can read"),
    }
}
