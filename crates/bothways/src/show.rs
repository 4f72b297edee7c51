//! `bothways show`: prints every effective value and where it comes from.

use config::{Effective, EffectiveValue};
use serde_json::{Value, json};

use crate::cli::Show;
use crate::exit::Failure;
use crate::load::Source;
use crate::terminal;

/// Prints the effective values of a configuration.
pub(crate) fn show(options: &Show) -> Result<(), Failure> {
    let source = Source::find(options.file.as_deref().or(options.config.as_deref()))?;
    let loaded = source.load()?;
    let effective = match options.secrets {
        true => loaded.effective.revealed(),
        false => loaded.effective,
    };
    let text = if options.json {
        format!("{}\n", json(&effective))
    } else {
        effective.render(terminal::stdout_is_coloured())
    };
    Ok(terminal::to_stdout(&text)?)
}

/// The values as JSON: a list, because blocks can repeat and their order matters.
pub(crate) fn json(effective: &Effective) -> Value {
    let values = effective.values();
    let values = values.map(|EffectiveValue { path, value, origin }| {
        json!({ "path": path, "value": value, "origin": origin })
    });
    Value::Array(values.collect())
}
