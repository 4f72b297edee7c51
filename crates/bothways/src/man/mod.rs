//! `bothways man`: writes man pages, made from the tables that make `--help` and the reference.
//!
//! `bothways.1` and a page for each command come from the definition in `cli`, `bothways.kdl.5` from the reference of the
//! configuration. [`roff`] turns Markdown into what man reads.

mod roff;

use std::fs;
use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{self, Cli};
use crate::exit::Failure;
use crate::terminal;

/// The manual that the pages belong to, and its section.
const MANUAL: &str = "Bothways";

/// Writes all pages into a directory.
pub(crate) fn man(options: &cli::Man) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::other(format!("cannot write to {}: {error}", options.directory.display()))
    };
    fs::create_dir_all(&options.directory).map_err(failed)?;
    let mut names = Vec::new();
    for (name, page) in pages().map_err(failed)? {
        fs::write(options.directory.join(&name), page).map_err(failed)?;
        names.push(name);
    }
    let at = options.directory.display();
    Ok(terminal::to_stdout(&format!("{at}: {}\n", names.join(" ")))?)
}

/// Every page, with the name of its file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = vec![("bothways.1".to_owned(), page(&command, "bothways")?)];
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = format!("bothways-{}", one.get_name());
        pages.push((format!("{name}.1"), page(one, &name)?));
    }
    pages.push(("bothways.kdl.5".to_owned(), configuration().into_bytes()));
    Ok(pages)
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let nested: Vec<_> =
        command.get_subcommands().filter(|one| one.get_name() != "help").cloned().collect();
    // The usage is that of the command line, the name that of the page.
    let usage = name.replacen('-', " ", 1);
    let of_page = command.clone().display_name(name.to_owned()).bin_name(usage).after_help("");
    let man = Man::new(of_page).manual(MANUAL).section("1").date("");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if !nested.is_empty() {
        out.write_all(commands(&nested, name).as_bytes())?;
    }
    out.write_all(roff::notes(&examples).as_bytes())?;
    let others = if name == "bothways" {
        ".BR bothways.kdl (5)"
    } else {
        ".BR bothways (1),\n.BR bothways.kdl (5)"
    };
    writeln!(out, ".SH \"SEE ALSO\"\n{others}")?;
    Ok(out)
}

/// The commands, with their pages where they have one.
fn commands(nested: &[Command], name: &str) -> String {
    let mut text = ".SH COMMANDS\n".to_owned();
    for one in nested {
        let (of_one, about) = (one.get_name(), one.get_about().map(ToString::to_string));
        let title = match name {
            "bothways" => format!(".BR bothways\\-{} (1)", roff::escaped(of_one)),
            _ => format!(".B {}", roff::escaped(of_one)),
        };
        text.push_str(&format!(".TP\n{title}\n{}\n", roff::line(&about.unwrap_or_default())));
        for argument in one.get_arguments().filter(|_| name != "bothways") {
            let is_own = !argument.is_global_set() && argument.get_id() != "help";
            if let (true, Some(help)) = (is_own, argument.get_help()) {
                let shown = roff::line(&format!("**{argument}** {help}"));
                text.push_str(&format!(".RS\n{shown}\n.RE\n"));
            }
        }
    }
    text
}

fn configuration() -> String {
    let mut text = ".TH bothways.kdl 5 \"\" \"bothways \" \"Bothways\"\n".to_owned();
    text.push_str(".SH NAME\nbothways.kdl \\- configuration of Bothways\n");
    text.push_str(&roff::of_markdown(&config::reference()));
    text.push_str(".SH FILES\n.TP\n.I /etc/bothways/bothways.kdl\n");
    text.push_str(
        "Where it is if no other file is named and there is none in the working directory.\n",
    );
    text.push_str(
        ".SH \"SEE ALSO\"\n.BR bothways (1),\n.BR bothways\\-check (1),\n.BR bothways\\-show (1)\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for command in Cli::command().get_subcommands() {
            let name = format!("bothways-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name}");
        }
        let (_, run) = pages.iter().find(|(name, _)| name == "bothways-run.1").unwrap();
        let run = String::from_utf8_lossy(run);
        for words in
            ["SIGUSR2", "\\-\\-pid\\-file", "bothways run \\-\\-config proxy.kdl", ".SH NAME"]
        {
            assert!(run.contains(words), "{words}:\n{run}");
        }
        let (_, settings) = pages.iter().find(|(name, _)| name == "bothways.kdl.5").unwrap();
        let settings = String::from_utf8_lossy(settings);
        for words in ["admin", "tls auto", "MiB"] {
            assert!(settings.contains(words), "{words}");
        }
    }

    #[test]
    fn pages_are_written() {
        let directory = std::env::temp_dir().join(format!("bothways-man-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        man(&cli::Man { directory: directory.join("man1") }).unwrap();
        let names = pages().unwrap().into_iter().map(|(name, _)| name);
        assert!(names.map(|name| directory.join("man1").join(name)).all(|page| page.exists()));
        fs::remove_dir_all(&directory).unwrap();
    }
}
