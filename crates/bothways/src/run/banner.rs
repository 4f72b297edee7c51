//! The messages when the proxy is ready: which listener serves what.
//!
//! The log gets an event for each listener and one when all are ready. A terminal gets a short table.

use std::fmt::Write;
use std::io::IsTerminal;
use std::net::SocketAddr;

use config::{
    Action, AdminAddress, Config, Forward, LogTarget, Serves, Site, SiteName, SiteTls, SplitPart,
    UpstreamId,
};

use crate::terminal::{self, Paint, count};
use proxy::Server;

/// Reports that the proxy is ready.
pub(super) fn ready(config: &Config, server: &Server, admin: Option<&AdminAddress>, source: &str) {
    let rows: Vec<Row> = rows(config, server);
    let for_a_person = std::io::stderr().is_terminal();
    if for_a_person {
        let paint = Paint::new(terminal::stderr_is_coloured());
        terminal::to_stderr(&table(&rows, admin, server.cores(), source, paint));
    }
    if for_a_person && config.process.error_log == LogTarget::Stderr {
        return;
    }
    for Row { written, address, kind, serves } in &rows {
        tracing::info!(written, %address, kind, serves, "listening");
    }
    let admin = admin.map(super::admin::address_text);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = source,
        cores = server.cores(),
        admin,
        "ready"
    );
}

struct Row {
    written: String,
    address: SocketAddr,
    kind: &'static str,
    serves: String,
}

fn rows(config: &Config, server: &Server) -> Vec<Row> {
    let rows = server.listening().into_iter().map(|(written, address)| {
        let listener = config.listeners.iter().find(|listener| *listener.written == *written);
        let (kind, serves) = match listener.map(|listener| &listener.serves) {
            Some(Serves::Sites(ids)) => {
                let sites = ids.iter().filter_map(|&id| config.site(id));
                let sites: Vec<_> = sites.map(|site| site_words(config, site)).collect();
                ("reverse", sites.join("; "))
            }
            Some(Serves::Forward(id)) => {
                let forward = config.forward(*id);
                ("forward", forward.map(forward_words).unwrap_or_default())
            }
            None => ("", String::new()),
        };
        let serves = match listener.is_some_and(|listener| listener.tls) {
            true => format!("over TLS: {serves}"),
            false => serves,
        };
        Row { written, address, kind, serves }
    });
    rows.collect()
}

/// `shop.example.com -> shop, 3 more routes`
fn site_words(config: &Config, site: &Site) -> String {
    let names: Vec<_> = site.names.iter().map(name_words).collect();
    let mut words = names.join(", ");
    if site.https.is_some() {
        words.push_str(" -> https://");
        return words;
    }
    let others = match site.routes.split_last() {
        Some((last, others)) if last.pattern.is_all() && last.conditions.is_empty() => {
            let _ = write!(words, " -> {}", action_words(config, &last.action));
            if site.tls == Some(SiteTls::Passthrough) {
                words.push_str(", passthrough");
            }
            others.len()
        }
        _ => site.routes.len(),
    };
    if others > 0 {
        let _ = write!(words, ", {}", count(others as u64, "route"));
    }
    words
}

fn name_words(name: &SiteName) -> String {
    match name {
        SiteName::Default => "every host".to_owned(),
        name => name.to_string(),
    }
}

fn action_words(config: &Config, action: &Action) -> String {
    let name_of = |id: &UpstreamId| {
        let upstream = config.upstream(*id);
        upstream.map(|upstream| upstream.name.to_string()).unwrap_or_default()
    };
    match action {
        Action::To(id) => name_of(id),
        Action::Split(split) => {
            let part = |part: &SplitPart| {
                format!("{} ({}%)", name_of(&part.upstream), f64::from(part.share) / 100.0)
            };
            let parts: Vec<_> = split.parts.iter().map(part).collect();
            parts.join(" or ")
        }
        Action::Redirect { to, .. } => format!("redirect {}", to.written),
        Action::Respond { status, .. } => format!("respond {status}"),
        Action::Files(files) => {
            let otherwise = files.otherwise.as_ref().map(|id| format!(" or {}", name_of(id)));
            format!("files {}{}", files.root.display(), otherwise.unwrap_or_default())
        }
    }
}

fn forward_words(forward: &Forward) -> String {
    let mut words = match forward.rules.iter().any(|rule| rule.allow) {
        true => count(forward.rules.len() as u64, "rule"),
        // People who start a forward proxy for others often miss this.
        false => "for clients on this machine only (add an `allow` for others)".to_owned(),
    };
    if forward.anonymous.is_some() {
        words.push_str(", anonymous");
    }
    words
}

fn table(
    rows: &[Row],
    admin: Option<&AdminAddress>,
    cores: usize,
    source: &str,
    paint: Paint,
) -> String {
    let mut text = format!(
        "{} {}\n",
        paint.bold(concat!("bothways ", env!("CARGO_PKG_VERSION"))),
        paint.dim(&format!(
            "{source}, {}, pid {}",
            count(cores as u64, "core"),
            std::process::id()
        ))
    );
    let admin = admin.map(|address| match address {
        AdminAddress::Tcp(address) => format!("http://{address}/"),
        AdminAddress::Unix(_) => super::admin::address_text(address),
    });
    let width = rows.iter().map(|row| row.written.chars().count()).max().unwrap_or(0).max(5);
    for Row { written, kind, serves, .. } in rows {
        let written = format!("{written:width$}");
        let _ = writeln!(text, "  {}  {kind:7}  {serves}", paint.green(&written));
    }
    if let Some(admin) = admin {
        let _ = writeln!(text, "  {}  {admin}", paint.green(&format!("{:width$}", "admin")));
    }
    if rows.is_empty() {
        text.push_str("  no listener: add a `site` or a `forward`, then reload\n");
    }
    let _ = writeln!(text, "{}", paint.dim("Ctrl-C stops it, SIGHUP reloads the configuration"));
    text
}
