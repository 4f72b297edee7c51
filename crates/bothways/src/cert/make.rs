//! `bothways cert key` and `bothways cert csr`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tls::{PrivateKey, read_key};

use super::{failure, quoted};
use crate::cli::{Csr, Key};
use crate::exit::Failure;
use crate::terminal;

/// Whom a file is for.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    Owner,
    All,
}

/// Makes a key.
pub(super) fn key(options: &Key) -> Result<(), Failure> {
    let Some(file) = file_of(options.output.as_deref()) else {
        let key = PrivateKey::generate(options.kind.into()).map_err(Failure::other)?;
        return Ok(terminal::to_stdout(&key.to_pem())?);
    };
    refuse_to_overwrite(file, options.force)?;
    let key = make_key(file, options.kind.into(), options.force)?;
    terminal::to_stderr(&format!(
        "{}: a new {} key, for its owner alone\nnext: bothways cert csr --key {} NAME…\n",
        file.display(),
        key.facts().words,
        quoted(file),
    ));
    Ok(())
}

/// Makes a request.
pub(super) fn request(options: &Csr) -> Result<(), Failure> {
    let output = file_of(options.output.as_deref());
    if let Some(file) = output {
        // Not even by force: a lost key cannot be had again.
        let force = options.force && read_key(file).is_err();
        refuse_to_overwrite(file, force)?;
    }
    let file = &options.key;
    let kind = options.kind.map(Into::into).unwrap_or_default();
    // A mistake in the names must not leave a key behind.
    let key = if options.new_key {
        refuse_to_overwrite(file, false)?;
        PrivateKey::generate(kind).map_err(Failure::other)?
    } else {
        there(file)?;
        read_key(file).map_err(failure)?
    };
    let made = tls::request(&key, &options.names, options.subject.as_deref());
    let text = made.map_err(Failure::usage)?;
    if options.new_key {
        write(file, &key.to_pem(), Readers::Owner, false)?;
        let kind = &key.facts().words;
        terminal::to_stderr(&format!(
            "{}: a new {kind} key, for its owner alone\n",
            file.display()
        ));
    }
    let Some(output) = output else { return Ok(terminal::to_stdout(&text)?) };
    write(output, &text, Readers::All, options.force)?;
    let names = if options.names.is_empty() { String::new() } else { options.names.join(", ") };
    terminal::to_stderr(&format!(
        "{}: a request for {names}\nnext: send it to the CA (the key stays here). What comes back goes \
         into the site:\n  tls cert=\"{}\" key=\"{}\"\n",
        output.display(),
        output.with_extension("pem").display(),
        file.display(),
    ));
    Ok(())
}

/// `-` is standard output, as everywhere.
fn file_of(output: Option<&Path>) -> Option<&Path> {
    output.filter(|file| *file != Path::new("-"))
}

fn there(key: &Path) -> Result<(), Failure> {
    if key.exists() {
        return Ok(());
    }
    Err(Failure::other(format!("{} is not there", key.display())).hint(format!(
        "make a key: bothways cert key -o {}; or have it made here: --new-key",
        quoted(key)
    )))
}

fn make_key(file: &Path, kind: config::KeyKind, force: bool) -> Result<PrivateKey, Failure> {
    let key = PrivateKey::generate(kind).map_err(Failure::other)?;
    write(file, &key.to_pem(), Readers::Owner, force)?;
    Ok(key)
}

fn refuse_to_overwrite(file: &Path, force: bool) -> Result<(), Failure> {
    if force || fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    Err(exists(file))
}

fn exists(file: &Path) -> Failure {
    let is_key = read_key(file).is_ok();
    let what = if is_key { ", and holds a key" } else { "" };
    let failure = Failure::other(format!("{} is there already{what}", file.display()));
    if is_key {
        failure.hint("name another file; or overwrite it with --force: then what the old key was for stops working")
    } else {
        failure.hint("name another file, or overwrite it with --force")
    }
}

/// Gives a file the other name too, if that is free. Not every file system has links.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !to.exists() => {
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Writes a file whole: under another name, then renamed.
fn write(file: &Path, text: &str, readers: Readers, force: bool) -> Result<(), Failure> {
    let refuse = |error: io::Error| {
        let text = error.to_string();
        let plain = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        Failure::other(format!("{} cannot be written: {plain}", file.display()))
    };
    let mode = if readers == Readers::Owner { 0o600 } else { 0o644 };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut out =
        options.write(true).create_new(true).mode(mode).open(&temporary).map_err(refuse)?;
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| match readers {
            // Whatever the umask is.
            Readers::Owner => out.set_permissions(fs::Permissions::from_mode(mode)),
            Readers::All => Ok(()),
        })
        .and_then(|()| out.sync_all())
        .and_then(|()| {
            if force {
                fs::rename(&temporary, file)
            } else {
                // Unlike a rename this never replaces a file that has come meanwhile.
                link(&temporary, file)
            }
        });
    let _ = fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        other => other.map_err(refuse),
    }
}
