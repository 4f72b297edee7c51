//! `bothways import nginx`: writes our file from nginx's, and a report of each line.
//!
//! The mapping is the crate `import`; this is its command. `verify` replays an access log through both.

mod verify;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use import::nginx::{ReadError, Tree};
use import::{Report, Words};

use crate::cli::{Import, ImportNginx, ImportTask, ReportForm};
use crate::exit::{Failure, REFUSED};
use crate::terminal;

/// Imports a configuration.
pub(crate) fn import(options: &Import) -> Result<(), Failure> {
    match &options.from {
        ImportTask::Nginx(options) => nginx(options),
    }
}

fn nginx(options: &ImportNginx) -> Result<(), Failure> {
    let tree = read(&options.file)?;
    if let Some(log) = &options.verify {
        return verify::verify(options, log, &tree);
    }
    let imported = import::import(&tree, &Words::ask(), &Path::exists);
    let text = format!("{}{}", heading(&options.file, &imported.report), imported.text);
    match &options.output {
        Some(path) => write_new(path, &text, options.force)?,
        None => terminal::to_stdout(&text)?,
    }
    match options.report {
        ReportForm::Text => terminal::to_stderr(&imported.report.text()),
        ReportForm::Json => terminal::to_stderr(&imported.report.json()),
        ReportForm::Off => {}
    }
    match imported.report.has_refused() {
        true => Err(Failure::already_reported(REFUSED)),
        false => Ok(()),
    }
}

fn read(path: &Path) -> Result<Tree, Failure> {
    import::nginx::read(path).map_err(|error| match error {
        ReadError::Unreadable { .. } => Failure::other(error),
        _ => {
            let failure = Failure::configuration(error);
            failure.hint(format!("`nginx -t -c {}` must accept the file first", path.display()))
        }
    })
}

/// What stands above the file.
fn heading(path: &Path, report: &Report) -> String {
    format!("// From {} by `bothways import nginx`.\n// {}\n\n", path.display(), report.summary())
}

fn write_new(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::other(format!("{} exists already", path.display()))
                .hint("--force overwrites it")
        }
        _ => Failure::other(format!("cannot write {}: {error}", path.display())),
    })
}
