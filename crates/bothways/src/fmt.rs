//! `bothways fmt`: formats files in the canonical layout and keeps comments.
//!
//! A file is replaced by a rename, so that a reader (above all a running `--watch`) sees the old
//! text or the new one, never a part of it. The mode of the file is kept.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::Fmt;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::load;
use crate::terminal;

/// Formats files; with `--check`, only prints which ones would change.
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
        // Continue with the other files; the first failure decides the exit code.
        if let Err(failure) = format_file(file, options.check) {
            worst = worst.or(Some(failure));
        }
    }
    worst.map_or(Ok(()), Err)
}

fn format_file(file: &Path, check: bool) -> Result<(), Failure> {
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
        terminal::to_stderr(&format!(
            "\n{}; the file is unchanged\n",
            load::summary(&failure, &name)
        ));
        Failure::already_reported(CONFIGURATION)
    })?;
    let differs = formatted != text;
    match (check, from_stdin) {
        (true, _) if differs => {
            terminal::to_stdout(&format!("{name}\n"))?;
            Err(Failure::already_reported(OTHER))
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
    // Resolve links, so that a link stays a link.
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
