//! `bothways cert key` and `bothways cert csr`: create keys and certificate requests.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tls::{PrivateKey, read_key};

use super::{failure, quoted};
use crate::cli::{Csr, Key};
use crate::exit::Failure;
use crate::terminal;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    Owner,
    All,
}

/// Creates a key.
pub(super) fn key(options: &Key) -> Result<(), Failure> {
    let Some(file) = output_file(options.output.as_deref()) else {
        let key = PrivateKey::generate(options.kind.into()).map_err(Failure::other)?;
        return Ok(terminal::to_stdout(&key.to_pem())?);
    };
    refuse_to_overwrite(file, options.force)?;
    let key = make_key(file, options.kind.into(), options.force)?;
    terminal::to_stderr(&format!(
        "{}: a new {} key, readable by its owner only\nnext: bothways cert csr --key {} NAME…\n",
        file.display(),
        key.facts().words,
        quoted(file),
    ));
    Ok(())
}

/// Creates a certificate request.
pub(super) fn request(options: &Csr) -> Result<(), Failure> {
    let output = output_file(options.output.as_deref());
    if let Some(file) = output {
        // A key is not overwritten even with --force: a lost key cannot be recovered.
        let force = options.force && read_key(file).is_err();
        refuse_to_overwrite(file, force)?;
    }
    let file = &options.key;
    let kind = options.kind.map(Into::into).unwrap_or_default();
    // Write the key only after the request succeeded, so that a wrong name leaves no key behind.
    let key = if options.new_key {
        refuse_to_overwrite(file, false)?;
        PrivateKey::generate(kind).map_err(Failure::other)?
    } else {
        require_key(file)?;
        read_key(file).map_err(failure)?
    };
    let made = tls::request(&key, &options.names, options.subject.as_deref());
    let text = made.map_err(Failure::usage)?;
    if options.new_key {
        write(file, &key.to_pem(), Readers::Owner, false)?;
        let kind = &key.facts().words;
        terminal::to_stderr(&format!(
            "{}: a new {kind} key, readable by its owner only\n",
            file.display()
        ));
    }
    let Some(output) = output else { return Ok(terminal::to_stdout(&text)?) };
    write(output, &text, Readers::All, options.force)?;
    let names = if options.names.is_empty() { String::new() } else { options.names.join(", ") };
    terminal::to_stderr(&format!(
        "{}: a request for {names}\nnext: send it to the CA (the key stays here), then write the \
         certificate that it returns into the site:\n  tls cert=\"{}\" key=\"{}\"\n",
        output.display(),
        output.with_extension("pem").display(),
        file.display(),
    ));
    Ok(())
}

/// The output file; `-` means standard output.
fn output_file(output: Option<&Path>) -> Option<&Path> {
    output.filter(|file| *file != Path::new("-"))
}

fn require_key(key: &Path) -> Result<(), Failure> {
    if key.exists() {
        return Ok(());
    }
    Err(Failure::other(format!("{} does not exist", key.display()))
        .hint(format!("create a key: bothways cert key -o {}; or add --new-key", quoted(key))))
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
    let what = if is_key { " and contains a key" } else { "" };
    let failure = Failure::other(format!("{} exists already{what}", file.display()));
    if is_key {
        failure.hint("name another file; --force overwrites it, and certificates of the old key become useless")
    } else {
        failure.hint("name another file, or overwrite it with --force")
    }
}

/// Moves a file to a name, unless that exists. Not every file system has hard links.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !to.exists() => {
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Writes a file under a temporary name, then renames it, so that it is never incomplete.
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
            // Regardless of the umask.
            Readers::Owner => out.set_permissions(fs::Permissions::from_mode(mode)),
            Readers::All => Ok(()),
        })
        .and_then(|()| out.sync_all())
        .and_then(|()| {
            if force {
                fs::rename(&temporary, file)
            } else {
                // Unlike a rename, this never replaces a file that was created in the meantime.
                link(&temporary, file)
            }
        });
    let _ = fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        other => other.map_err(refuse),
    }
}
