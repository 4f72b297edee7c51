//! `bothways fmt`: files in canonical layout, comments kept.
//!
//! A file is replaced by a rename, so that a reader (a running `--watch` above all) sees the old
//! text or the new one, never half of it; its mode stays.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::Fmt;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::load;
use crate::terminal;

/// Formats files, or with `--check` only says which would change.
pub(crate) fn fmt(options: &Fmt) -> Result<(), Failure> {
    let default;
    let files = if options.files.is_empty() {
        default = [load::find(None)?];
        &default[..]
    } else {
        &options.files[..]
    };
    let mut worst = None;
    for file in files {
        // Every file gets its turn; the first failure decides the exit code.
        if let Err(failure) = one(file, options.check) {
            worst = worst.or(Some(failure));
        }
    }
    worst.map_or(Ok(()), Err)
}

fn one(file: &Path, check: bool) -> Result<(), Failure> {
    let from_stdin = file.as_os_str() == "-";
    let (name, text) = if from_stdin {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::other(format!("cannot read standard input: {error}")))?;
        ("<stdin>".to_owned(), text)
    } else {
        let name = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::other(format!("cannot read {name}: {error}")))?;
        (name, text)
    };
    let formatted = config::format(&name, &text).map_err(|failure| {
        terminal::to_stderr(&failure.render(terminal::stderr_is_coloured()));
        terminal::to_stderr(&format!("\n{}; left as it is\n", load::summary(&failure, &name)));
        Failure::said(CONFIGURATION)
    })?;
    let differs = formatted != text;
    match (check, from_stdin) {
        (true, _) if differs => {
            terminal::to_stdout(&format!("{name}\n"))?;
            Err(Failure::said(OTHER))
        }
        (false, true) => Ok(terminal::to_stdout(&formatted)?),
        (false, false) if differs => {
            replace(file, &formatted)
                .map_err(|error| Failure::other(format!("cannot write {name}: {error}")))?;
            Ok(terminal::to_stdout(&format!("{name}\n"))?)
        }
        _ => Ok(()),
    }
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Behind links, so that a link stays one.
    let file = fs::canonicalize(file)?;
    let mut temporary = file.clone().into_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::write(&temporary, text)
        .and_then(|()| fs::set_permissions(&temporary, fs::metadata(&file)?.permissions()))
        .and_then(|()| fs::rename(&temporary, &file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
