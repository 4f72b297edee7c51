//! Stories of certificates against a scripted directory, on simulated time.

mod directory;
mod failing;
mod issuing;
mod renewing;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Acme, AcmeChallenge, KeyKind, Place};
use tempfile::TempDir;
use tokio::time::sleep;

use self::directory::{Ca, DIRECTORY, Wire};
use super::{Manager, RenewalHandle};
use crate::slot::{Chain, Slot};
use crate::state::StateDir;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A directory, a place for state, and what we make of both.
struct Story {
    ca: Arc<Ca>,
    scratch: TempDir,
    acme: Acme,
}

impl Story {
    fn new() -> Self {
        let acme = Acme {
            place: Place::default(),
            name: "".into(),
            directory: DIRECTORY.into(),
            contacts: vec!["mailto:ops@a.example".into()],
            challenge: AcmeChallenge::Http,
            eab: None,
            profile: None,
            ca: None,
            key: KeyKind::EcP256,
        };
        Self { ca: Ca::new(), scratch: tempfile::tempdir().unwrap(), acme }
    }

    fn state(&self) -> StateDir {
        StateDir::new(self.scratch.path().join("state"))
    }

    /// A process begins.
    fn manager(&self) -> Manager {
        let (ca, clock) = (Arc::clone(&self.ca), Arc::clone(&self.ca));
        Manager::with(
            self.state(),
            Arc::clone(&self.ca.challenges),
            Arc::new(move |_| Ok(Arc::new(Wire(Arc::clone(&ca))))),
            Box::new(move || clock.now()),
        )
    }

    fn keep(&self, manager: &Manager, names: &[&str]) -> Certificate {
        let slot = Arc::new(Slot::new("test"));
        let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        let kept = manager.keep(&self.acme, &names, Arc::clone(&slot));
        Certificate { kept, slot }
    }

    /// The files below the state directory whose names contain `part`.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![self.scratch.path().to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.to_str().unwrap().contains(part) {
                    found.push(path);
                }
            }
        }
        found
    }

    fn orders(&self) -> usize {
        self.ca.asked("POST /finalize").len()
    }

    /// A hook that keeps a zone in a file, and a log of its calls.
    fn hook(&mut self) -> PathBuf {
        let at = self.scratch.path();
        let (zone, calls) = (at.join("zone"), at.join("calls"));
        let script = at.join("hook.sh");
        let text = format!(
            "#!/bin/sh\necho \"$1 $2\" >> {calls}\ntouch {zone}\ncase $1 in\n\
             set) echo \"$2 $3\" >> {zone};;\n\
             clear) grep -vxF -- \"$2 $3\" {zone} > {zone}.new; mv {zone}.new {zone};;\nesac\n",
            zone = zone.display(),
            calls = calls.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        self.ca.script().zone = Some(zone.clone());
        let command = vec![script.to_str().unwrap().into()];
        self.acme.challenge = AcmeChallenge::Dns { command, wait: Duration::ZERO };
        zone
    }
}

/// One that is looked after.
struct Certificate {
    kept: RenewalHandle,
    slot: Arc<Slot>,
}

impl Certificate {
    fn chain(&self) -> Option<Arc<Chain>> {
        self.slot.load().first().cloned()
    }

    fn error(&self) -> String {
        self.kept.status().last_error.unwrap_or_default()
    }

    /// The first certificate.
    async fn issued(&self) -> Arc<Chain> {
        for _ in 0..1000 {
            if self.chain().is_some() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        wait_until(&format!("a certificate: {}", self.error()), || self.chain()).await
    }

    async fn failed(&self) -> String {
        wait_until("a failure", || self.kept.status().last_error).await
    }
}

/// Waits on simulated time, for a year at most.
async fn wait_until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    for round in 0..20_000_u64 {
        if let Some(found) = found() {
            return found;
        }
        // Fine-grained at first: then half an hour at a time.
        sleep(Duration::from_secs(if round < 1000 { 1 } else { 1800 })).await;
    }
    panic!("there never was {what}");
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}
