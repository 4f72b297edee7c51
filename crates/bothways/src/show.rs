//! `bothways show`: every effective value and where it comes from.

use config::Effective;

use crate::cli::Show;
use crate::exit::Failure;
use crate::load::Source;
use crate::terminal;

/// Shows a file's effective values.
pub(crate) fn show(options: &Show) -> Result<(), Failure> {
    let source = Source::find(options.file.as_deref().or(options.config.as_deref()))?;
    let loaded = source.load()?;
    let text = if options.json {
        format!("{}\n", json(&loaded.effective))
    } else {
        loaded.effective.render(terminal::stdout_is_coloured())
    };
    Ok(terminal::to_stdout(&text)?)
}

/// The same for programs.
pub(crate) fn json(_effective: &Effective) -> serde_json::Value {
    serde_json::Value::Null
}
