//! `bothways user`: users and their passwords in a file for `login basic`.
//!
//! A changed file is written beside the old one and takes its place at once, so that no reader sees half of it.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use auth::Users;

use crate::cli::{User, UserName, UserTask};
use crate::exit::{Failure, OTHER};
use crate::terminal;

/// Runs a task on a file of users.
pub(crate) fn user(options: &User) -> Result<(), Failure> {
    match &options.task {
        UserTask::Add(of) => add(of),
        UserTask::Passwd(of) => change_password(of),
        UserTask::Check(of) => check(of),
        UserTask::Remove(of) => remove(of),
    }
}

fn add(of: &UserName) -> Result<(), Failure> {
    if of.name.is_empty() || of.name.contains(':') || of.name.chars().any(char::is_control) {
        return Err(Failure::usage(
            "a user's name has at least one character, no colon, and no control character",
        ));
    }
    if of.name.starts_with('#') || of.name.trim() != of.name {
        return Err(Failure::usage(
            "a user's name has no white space at its ends, and no `#` at its beginning: such a line is a comment",
        ));
    }
    let mut text = match read_text(&of.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| unreadable(&of.file, &error))?,
    };
    parse(&of.file, &text)?;
    if line_of(&text, &of.name).is_some() {
        return Err(Failure::other(format!("the user {:?} exists already", of.name))
            .hint("`bothways user passwd` sets another password"));
    }
    let hash = hash_of(&new_password(&of.name)?)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{}:{hash}\n", of.name));
    replace(&of.file, &text)?;
    Ok(terminal::to_stdout(&format!("{}: added {}\n", of.file.display(), of.name))?)
}

fn change_password(of: &UserName) -> Result<(), Failure> {
    let text = read(&of.file)?;
    let (start, end) = line_of(&text, &of.name).ok_or_else(|| no_user(of))?;
    let hash = hash_of(&new_password(&of.name)?)?;
    let line = text.get(start..end).unwrap_or_default();
    // What follows a second colon is a remark.
    let remark = line.splitn(3, ':').nth(2).map(|remark| format!(":{remark}")).unwrap_or_default();
    replace(&of.file, &with_line(&text, (start, end), &format!("{}:{hash}{remark}", of.name)))?;
    Ok(terminal::to_stdout(&format!("{}: new password for {}\n", of.file.display(), of.name))?)
}

fn check(of: &UserName) -> Result<(), Failure> {
    let text = read(&of.file)?;
    let users = parse(&of.file, &text)?;
    line_of(&text, &of.name).ok_or_else(|| no_user(of))?;
    let password = password_from("password: ")?;
    if users.verify(&of.name, password.as_bytes()).is_some() {
        return Ok(terminal::to_stdout("right\n")?);
    }
    terminal::to_stdout("wrong\n")?;
    Err(Failure::already_reported(OTHER))
}

fn remove(of: &UserName) -> Result<(), Failure> {
    let text = read(&of.file)?;
    let (start, end) = line_of(&text, &of.name).ok_or_else(|| no_user(of))?;
    let rest = text.get(end..).unwrap_or_default();
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    replace(&of.file, &format!("{}{rest}", text.get(..start).unwrap_or_default()))?;
    Ok(terminal::to_stdout(&format!("{}: removed {}\n", of.file.display(), of.name))?)
}

/// The line of a user in the text of a file, without its end.
fn line_of(text: &str, name: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for line in text.split('\n') {
        let is_it = line.trim().split_once(':').is_some_and(|(user, _)| user == name);
        if is_it && !line.trim_start().starts_with('#') {
            return Some((start, start + line.len()));
        }
        start += line.len() + 1;
    }
    None
}

fn with_line(text: &str, (start, end): (usize, usize), line: &str) -> String {
    let before = text.get(..start).unwrap_or_default();
    format!("{before}{line}{}", text.get(end..).unwrap_or_default())
}

fn read(file: &Path) -> Result<String, Failure> {
    read_text(file).map_err(|error| unreadable(file, &error))
}

fn read_text(file: &Path) -> io::Result<String> {
    // Another file takes its place, which must not happen to `/dev/null`.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::read_to_string(file)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::other(format!("{}: {error}", file.display()))
}

fn parse(file: &Path, text: &str) -> Result<Users, Failure> {
    Users::parse(text.as_bytes())
        .map_err(|error| Failure::other(format!("{}: {error}", file.display())))
}

fn no_user(of: &UserName) -> Failure {
    Failure::other(format!("{} has no user {:?}", of.file.display(), of.name))
}

fn hash_of(password: &str) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    auth::new_hash(password.as_bytes()).ok_or_else(|| {
        Failure::usage("the password is longer than the 72 bytes that bcrypt reads, or has a NUL")
    })
}

/// A new password, typed twice on a terminal.
fn new_password(name: &str) -> Result<String, Failure> {
    let password = password_from(&format!("new password for {name}: "))?;
    if io::stdin().is_terminal() && password != password_from("again: ")? {
        return Err(Failure::other("these passwords differ"));
    }
    Ok(password)
}

/// A password, typed without echo on a terminal, else the first line of standard input.
fn password_from(prompt: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map_err(Failure::other);
    }
    let mut text = String::new();
    io::stdin().lock().take(64 * 1024).read_to_string(&mut text).map_err(Failure::other)?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Puts a text in the place of a file, with the file's owner and mode; a new one is for its owner and group.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    // What a link leads to is changed, not the link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = write_beside(&file, &beside, text);
    written.map_err(|error| {
        let _ = fs::remove_file(&beside); // there may be none
        Failure::other(format!("{}: {error}", file.display()))
            .hint("its directory must be one that you may write to; the file is as it was")
    })
}

fn write_beside(file: &Path, beside: &Path, text: &str) -> io::Result<()> {
    let mut new: File =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    new.write_all(text.as_bytes())?;
    match fs::metadata(file) {
        Ok(old) => {
            // Another owner can be given by root alone; anybody else who may write here is the owner, or it is a mistake.
            fchown(&new, Some(old.uid()), Some(old.gid()))?;
            new.set_permissions(old.permissions())?;
        }
        Err(_) => new.set_permissions(fs::Permissions::from_mode(0o640))?,
    }
    new.sync_all()?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_users() {
        let text = "# ann:x\nbob:1:a remark\n  ann:2\nann2:3";
        let line = |name| line_of(text, name).and_then(|(start, end)| text.get(start..end));
        assert_eq!(line("ann"), Some("  ann:2"));
        assert_eq!(line("bob"), Some("bob:1:a remark"));
        assert_eq!(line("ann2"), Some("ann2:3"));
        assert_eq!((line("an"), line("# ann"), line("")), (None, None, None));
    }
}
