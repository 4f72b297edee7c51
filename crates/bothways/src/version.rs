//! `bothways version`: the version and how it was built.

use crate::cli::Version;
use crate::exit::Failure;
use crate::terminal;

/// Facts of the build, by name. The commit is known if `BOTHWAYS_COMMIT` was set in the environment
/// of the build.
pub(crate) fn facts() -> Vec<(&'static str, &'static str)> {
    let mut facts = vec![("version", env!("CARGO_PKG_VERSION"))];
    facts.extend(option_env!("BOTHWAYS_COMMIT").map(|commit| ("commit", commit)));
    facts.extend([
        ("target", env!("BOTHWAYS_TARGET")),
        ("profile", env!("BOTHWAYS_PROFILE")),
        ("compiler", env!("BOTHWAYS_COMPILER")),
        ("allocator", if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" }),
    ]);
    facts
}

/// Prints the facts.
pub(crate) fn version(options: &Version) -> Result<(), Failure> {
    let facts = facts();
    let text = if options.json {
        let object: serde_json::Map<_, _> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        format!("{}\n", serde_json::Value::Object(object))
    } else {
        let mut text = format!("bothways {}\n", env!("CARGO_PKG_VERSION"));
        for (name, value) in facts.iter().skip(1) {
            text.push_str(&format!("  {name:<10} {value}\n"));
        }
        text
    };
    Ok(terminal::to_stdout(&text)?)
}
