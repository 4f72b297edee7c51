//! `bothways import nginx FILE --verify ACCESS.LOG`: the requests of a log through nginx and through us.
//!
//! Both get the same configuration, moved to loopback (`import::relocate`), and a server of ours behind
//! it in place of each endpoint, which records what arrives (`origin`). Each request of the log (`log`) is
//! sent to both (`client`), at the port that the log names or at each address that the configuration listens
//! on, with the client of the log named by the PROXY protocol. What differs is shown (`compare`).

mod client;
mod compare;
mod log;
mod origin;
mod servers;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use import::Words;
use import::nginx::Tree;
use import::relocate::{Listener, Plan, Side, ports_needed, relocate};

use crate::cli::ImportNginx;
use crate::exit::{Failure, REFUSED};
use crate::terminal;

use client::{Client, Exchange};
use compare::{Comparison, compare};
use log::Request;
use origin::Origins;
use servers::Servers;

/// Differences that are shown.
const SHOWN_MAX: usize = 200;

/// Replays the log.
pub(super) fn verify(options: &ImportNginx, log: &Path, tree: &Tree) -> Result<(), Failure> {
    let text = fs::read(log)
        .map_err(|error| Failure::other(format!("cannot read {}: {error}", log.display())))?;
    let (requests, skipped) = log::read(&String::from_utf8_lossy(&text), options.requests);
    if requests.is_empty() {
        let failure =
            Failure::other(format!("{} has no request that can be replayed", log.display()));
        return Err(failure.hint("the combined format, or with the host in front (vhost_combined)"));
    }
    let scratch = Scratch::new()?;
    let mut plan = Plan::new(&scratch.0, free_ports(ports_needed(tree) * 2)?);
    let theirs = relocate(tree, &mut plan, Side::Theirs);
    let ours = relocate(tree, &mut plan, Side::Ours);
    servers::write_certificate(&plan)?;
    let imported = import::import(&ours, &Words::ask(), &Path::exists);
    let origins = Origins::start(&plan)?;
    let _servers =
        Servers::start(options, &plan, &import::nginx::print(&theirs.root), &imported.text)?;
    let client = Client::new()?;
    let replay = Replay {
        plan: &plan,
        origins: &origins,
        client: &client,
        default_host: default_host(&plan),
    };
    replay.run(&requests, skipped)
}

/// Everything that a replay uses.
struct Replay<'a> {
    plan: &'a Plan,
    origins: &'a Origins,
    client: &'a Client,
    default_host: String,
}

impl Replay<'_> {
    fn run(&self, requests: &[Request], skipped: usize) -> Result<(), Failure> {
        let (mut alike, mut differing, mut added) = (0, 0, Vec::new());
        for (number, request) in requests.iter().enumerate() {
            for listener in self.addresses(request) {
                let comparison = self.one(number, request, listener);
                for name in comparison.added {
                    if !added.contains(&name) {
                        added.push(name);
                    }
                }
                if comparison.differences.is_empty() {
                    alike += 1;
                    continue;
                }
                differing += 1;
                if differing <= SHOWN_MAX {
                    self.show(request, listener, &comparison.differences)?;
                }
            }
        }
        let mut summary = format!(
            "{} requests at {} addresses: {alike} alike, {differing} different",
            requests.len(),
            self.plan.listeners().count()
        );
        if skipped > 0 {
            summary.push_str(&format!(
                "; {skipped} lines of the log are no requests that can be replayed"
            ));
        }
        summary.push('\n');
        if !added.is_empty() {
            summary.push_str(&format!("only Bothways sends to endpoints: {}\n", added.join(", ")));
        }
        if requests.iter().all(|request| request.host.is_none()) {
            summary.push_str(&format!(
                "the log names no hosts: every request was sent for {}\n",
                self.default_host
            ));
        }
        terminal::to_stdout(&summary)?;
        if differing > 0 { Err(Failure::already_reported(REFUSED)) } else { Ok(()) }
    }

    /// Where a request came to: at the port that the log names, or anywhere.
    fn addresses(&self, request: &Request) -> impl Iterator<Item = &Listener> {
        let has_port = |listener: &Listener| Some(listener.port) == request.port;
        let is_known = self.plan.listeners().any(has_port);
        self.plan.listeners().filter(move |one| !is_known || has_port(one))
    }

    fn one(&self, number: usize, request: &Request, listener: &Listener) -> Comparison {
        let host = request.host.as_deref().unwrap_or(&self.default_host);
        let [theirs, ours] = [(listener.theirs, "n"), (listener.ours, "b")].map(|(port, side)| {
            let id = format!("{number}-{}-{side}", listener.port);
            let answer = self.client.send(port, listener.tls, host, request, &id);
            Exchange { answer, received: self.origins.take(&id), port }
        });
        compare(&theirs, &ours, host, listener, self.plan)
    }

    fn show(
        &self,
        request: &Request,
        listener: &Listener,
        differences: &[String],
    ) -> Result<(), Failure> {
        let host = request.host.as_deref().unwrap_or(&self.default_host);
        let scheme = if listener.tls { "https" } else { "http" };
        let mut text = format!(
            "{} {scheme}://{host}{} (at {}, from {})\n",
            request.method, request.target, listener.original, request.client
        );
        for difference in differences {
            text.push_str(&format!("    {difference}\n"));
        }
        Ok(terminal::to_stdout(&text)?)
    }
}

/// The host for a log without hosts: the first name that a client could have asked for.
fn default_host(plan: &Plan) -> String {
    let usable = |name: &&String| !name.contains(['*', '~', '$', '_']) && name.contains('.');
    let first = plan.names().iter().find(usable);
    first.map_or_else(|| "localhost".to_owned(), |name| name.trim_start_matches('.').to_owned())
}

/// Ports of loopback that nothing listens on.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let cannot = |error| Failure::other(format!("no free ports on loopback: {error}"));
    let mut listeners = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot)?;
        ports.push(listener.local_addr().map_err(cannot)?.port());
        listeners.push(listener);
    }
    Ok(ports)
}

/// A private directory; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("bothways-verify-{}", std::process::id()));
        // Only for this user; fails if it exists already.
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::other(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
