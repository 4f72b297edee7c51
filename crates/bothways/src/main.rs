//! The binary: command line, start-up, signals, reload, admin interface.
//!
//! `main` only dispatches. [`cli`] defines the commands and their help; the module with the name of
//! a command implements it. Everything that serves traffic is in the `proxy` crate.

mod admin;
mod ca;
mod cache;
mod cert;
mod check;
mod cli;
mod completions;
mod demo;
mod exit;
mod explain;
mod fmt;
mod healthcheck;
mod import;
mod init;
mod load;
mod maintenance;
mod man;
mod reload;
mod run;
mod shortcut;
mod show;
mod terminal;
mod upgrade;
mod upstreams;
mod user;
mod version;

use std::process::ExitCode;

use cli::Command;
use exit::Failure;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    exit::code(dispatch(cli.command))
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(options) => init::init(&options),
        Command::Run(options) => run::from_file(&options),
        Command::Reverse(options) => shortcut::reverse(&options),
        Command::Forward(options) => shortcut::forward(&options),
        Command::Check(options) => check::check(&options),
        Command::Fmt(options) => fmt::fmt(&options),
        Command::Show(options) => show::show(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Reload(options) => reload::reload(&options),
        Command::Cache(options) => cache::cache(&options),
        Command::Maintenance(options) => maintenance::maintenance(&options),
        Command::Upgrade(options) => upgrade::upgrade(&options),
        Command::Upstreams(options) => upstreams::upstreams(&options),
        Command::Cert(options) => cert::cert(&options),
        Command::Ca(options) => ca::ca(&options),
        Command::Import(options) => import::import(&options),
        Command::User(options) => user::user(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Healthcheck(options) => healthcheck::healthcheck(&options),
        Command::Man(options) => man::man(&options),
        Command::Completions(options) => completions::completions(&options),
        Command::Version(options) => version::version(&options),
    }
}
