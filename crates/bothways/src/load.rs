//! Where the configuration comes from, and telling the operator what is wrong with it.

use std::path::{Path, PathBuf};

use config::Loaded;

use crate::exit::{CONFIGURATION, Failure};
use crate::terminal::{self, count};

/// Where it is looked for if nothing is said, in this order.
const DEFAULT_PATHS: [&str; 2] = ["bothways.kdl", "/etc/bothways/bothways.kdl"];

/// Where a configuration comes from; read anew at each reload.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file with what it includes.
    File(PathBuf),
    /// Text that the program wrote itself.
    Text {
        /// What diagnostics call it.
        name: String,
        /// All of it.
        text: String,
    },
}

impl Source {
    /// Text that the program wrote itself.
    pub(crate) fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Text { name: name.into(), text: text.into() }
    }

    /// The file that was named, or the default one that is there.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self::File(find(named)?))
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }

    /// Reads it; nothing is printed.
    pub(crate) fn read(&self) -> Result<Loaded, config::Failure> {
        match self {
            Self::File(path) => config::load(path),
            Self::Text { name, text } => config::parse(name, text),
        }
    }

    /// Reads it. What is wrong goes to standard error, every mistake at once.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        self.read().map_err(|failure| said(&failure, &self.name()))
    }
}

/// The file that was named, or the default one that is there.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let found = DEFAULT_PATHS.iter().map(Path::new).find(|path| path.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        let [here, system] = DEFAULT_PATHS;
        Failure::configuration(format!("no configuration: there is no ./{here} and no {system}"))
            .hint(
                "name one with --config FILE, or start without a file:\n  \
                 bothways reverse --listen :8080 --to localhost:3000\n  \
                 bothways forward --listen :3128\n  \
                 bothways demo",
            )
    })
}

/// Prints every mistake, then how many there are.
fn said(failure: &config::Failure, name: &str) -> Failure {
    terminal::to_stderr(&failure.render(terminal::stderr_is_coloured()));
    terminal::to_stderr(&format!("\n{}\n", summary(failure, name)));
    Failure::said(CONFIGURATION)
}

/// `2 errors and 1 warning in bothways.kdl`
pub(crate) fn summary(failure: &config::Failure, name: &str) -> String {
    let errors = count(failure.errors.len() as u64, "error");
    match failure.warnings.len() as u64 {
        0 => format!("{errors} in {name}"),
        warnings => format!("{errors} and {} in {name}", count(warnings, "warning")),
    }
}
