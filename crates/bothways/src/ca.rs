//! `bothways ca`: the internal CA.

use std::io::IsTerminal;
use std::time::SystemTime;

use tls::{CaError, InternalCa, StateDir, StateError};

use crate::cli::{Ca, CaRoot, CaTask};
use crate::exit::Failure;
use crate::load::Source;
use crate::terminal::{self, Paint};

/// Does what is asked of the CA.
pub(crate) fn ca(options: &Ca) -> Result<(), Failure> {
    match &options.task {
        CaTask::Root(options) => root(options),
    }
}

fn root(options: &CaRoot) -> Result<(), Failure> {
    let state = state(options)?;
    let found = if options.make {
        InternalCa::open_or_make(&state, SystemTime::now()).map(Some)
    } else {
        InternalCa::open(&state)
    };
    let ca = found.map_err(|error| of_ca(&error))?.ok_or_else(|| none(&state))?;
    let root = ca.root();
    terminal::to_stdout(&root.to_pem())?;
    if std::io::stdout().is_terminal() || std::io::stderr().is_terminal() {
        let paint = Paint::new(terminal::stderr_is_coloured());
        terminal::to_stderr(&how_to_trust(&root.subject, &paint));
    }
    Ok(())
}

/// Where the process that serves keeps it: as said, as the configuration says, else as usual.
fn state(options: &CaRoot) -> Result<StateDir, Failure> {
    if let Some(path) = &options.state {
        return Ok(StateDir::new(path));
    }
    let configured = match (&options.config, Source::find(None)) {
        (Some(_), _) | (None, Ok(_)) => {
            let source = Source::find(options.config.as_deref())?;
            match source.read() {
                Ok(loaded) => loaded.config.process.state,
                // Only the directory is wanted of it, unless it was named.
                Err(_) if options.config.is_none() => None,
                Err(_) => source.load()?.config.process.state,
            }
        }
        (None, Err(_)) => None,
    };
    StateDir::find(configured.as_deref()).map_err(|error| of_state(&error))
}

fn none(state: &StateDir) -> Failure {
    Failure::other(format!("there is no internal CA in {} yet", state.path().display())).hint(
        "it is made when a configuration with `tls internal` is first served. To make it now: \
         bothways ca root --make. If it is elsewhere (of another user): --state DIR",
    )
}

fn of_ca(error: &CaError) -> Failure {
    let failure = Failure::other(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn of_state(error: &StateError) -> Failure {
    let failure = Failure::other(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn how_to_trust(subject: &str, paint: &Paint) -> String {
    let head = |text: &str| paint.bold(text);
    format!(
        "\n{subject}\nWhoever trusts it trusts every certificate that it signs. To have it trusted:\n\
         {}\n  bothways ca root | sudo tee /usr/local/share/ca-certificates/bothways.crt && \
         sudo update-ca-certificates\n\
         {}\n  bothways ca root | sudo tee /etc/pki/ca-trust/source/anchors/bothways.pem && \
         sudo update-ca-trust\n\
         {}\n  bothways ca root > bothways-ca.pem && sudo security add-trusted-cert -d -r trustRoot \
         -k /Library/Keychains/System.keychain bothways-ca.pem\n\
         {}\n  Settings > Privacy & Security > Certificates > View Certificates > Authorities > Import\n\
         {}\n  curl --cacert <(bothways ca root) https://localhost/\n",
        head("Debian, Ubuntu (and Chromium, by its own import, as in Firefox)"),
        head("Fedora, RHEL"),
        head("macOS"),
        head("Firefox"),
        head("curl, once"),
    )
}
