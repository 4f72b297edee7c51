//! `bothways ca`: the internal CA.

use std::io::IsTerminal;
use std::time::SystemTime;

use tls::{CaError, InternalCa, StateDir, StateError};

use crate::cli::{Ca, CaRoot, CaTask};
use crate::exit::Failure;
use crate::load::Source;
use crate::terminal::{self, Paint};

/// Runs a task of the internal CA.
pub(crate) fn ca(options: &Ca) -> Result<(), Failure> {
    match &options.task {
        CaTask::Root(options) => print_root(options),
    }
}

fn print_root(options: &CaRoot) -> Result<(), Failure> {
    let state = find_state(options)?;
    let found = if options.make {
        InternalCa::open_or_make(&state, SystemTime::now()).map(Some)
    } else {
        InternalCa::open(&state)
    };
    let ca = found.map_err(|error| ca_failure(&error))?.ok_or_else(|| no_ca(&state))?;
    let root = ca.root();
    terminal::to_stdout(&root.to_pem())?;
    if std::io::stdout().is_terminal() || std::io::stderr().is_terminal() {
        let paint = Paint::new(terminal::stderr_is_coloured());
        terminal::to_stderr(&how_to_trust(&root.subject, &paint));
    }
    Ok(())
}

/// The state directory of the serving process: from the command line, else from the configuration,
/// else the default.
fn find_state(options: &CaRoot) -> Result<StateDir, Failure> {
    if let Some(path) = &options.state {
        return Ok(StateDir::new(path));
    }
    let configured = match (&options.config, Source::find(None)) {
        (Some(_), _) | (None, Ok(_)) => {
            let source = Source::find(options.config.as_deref())?;
            match source.read() {
                Ok(loaded) => loaded.config.process.state.clone(),
                // Mistakes in a file that was not named do not matter: only the directory is needed.
                Err(_) if options.config.is_none() => None,
                Err(_) => source.load()?.config.process.state.clone(),
            }
        }
        (None, Err(_)) => None,
    };
    StateDir::find(configured.as_deref()).map_err(|error| state_failure(&error))
}

fn no_ca(state: &StateDir) -> Failure {
    Failure::other(format!("there is no internal CA in {} yet", state.path().display())).hint(
        "it is created when a configuration with `tls internal` is first served. To create it now: \
         bothways ca root --make. If it belongs to another user: --state DIR",
    )
}

fn ca_failure(error: &CaError) -> Failure {
    let failure = Failure::other(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn state_failure(error: &StateError) -> Failure {
    let failure = Failure::other(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn how_to_trust(subject: &str, paint: &Paint) -> String {
    let head = |text: &str| paint.bold(text);
    format!(
        "\n{subject}\nA client that trusts this CA trusts every certificate that it signs. To trust it:\n\
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
