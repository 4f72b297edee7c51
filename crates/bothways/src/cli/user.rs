//! Arguments and help of `bothways user …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

pub(super) const USER_EXAMPLES: &str = "\
Examples:
  bothways user add /etc/bothways/users ann        makes the file if there is none
  bothways user passwd /etc/bothways/users ann     sets a new password
  bothways user check /etc/bothways/users ann      tests a password: exit code 0 or 1
  bothways user remove /etc/bothways/users ann
  echo secret | bothways user add users ann        the password from standard input

The file is for `login basic file=…`, and for nginx and Apache too (htpasswd, bcrypt). A running
process reads it again when it changes.";

/// `user`
#[derive(Debug, Args)]
#[command(after_help = USER_EXAMPLES)]
pub(crate) struct User {
    /// What to do
    #[command(subcommand)]
    pub task: UserTask,
}

/// What to do with a file of users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserTask {
    /// Add a user
    Add(UserName),
    /// Set the password of a user
    Passwd(UserName),
    /// Check the password of a user
    Check(UserName),
    /// Remove a user
    Remove(UserName),
}

/// A user of a file.
#[derive(Debug, Args)]
pub(crate) struct UserName {
    /// The file of users
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The user's name
    pub name: String,
}
