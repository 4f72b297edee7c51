//! What was changed at run time as JSON, for another process that takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::json::{JsonError, endpoint_from_json, object_of, settings_from_json};
use super::members::{Changes, EndpointSettings};

/// Why changes cannot be read.
#[derive(Debug)]
pub enum ChangesError {
    /// It is not JSON of this form.
    Form(serde_json::Error),
    /// An endpoint or its settings.
    Endpoint(JsonError),
}

impl std::fmt::Display for ChangesError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form(error) => error.fmt(out),
            Self::Endpoint(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for ChangesError {}

#[derive(serde::Deserialize)]
struct Passed<'t> {
    #[serde(borrow)]
    added: Vec<&'t RawValue>,
    removed: Vec<String>,
    #[serde(borrow)]
    set: BTreeMap<String, &'t RawValue>,
}

/// The changes of an upstream as a JSON object.
pub fn changes_to_json(changes: &Changes) -> Value {
    let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    let added: Vec<_> = changes.added.iter().map(|one| parsed(object_of(one))).collect();
    let removed: Vec<&str> = changes.removed.iter().map(|name| &**name).collect();
    let set: Map<_, _> =
        changes.set.iter().map(|(name, settings)| (name.to_string(), object(settings))).collect();
    json!({ "added": added, "removed": removed, "set": set })
}

fn object(settings: &EndpointSettings) -> Value {
    let mut fields = Map::new();
    let mut field = |name: &str, value: Option<Value>| {
        value.and_then(|value| fields.insert(name.to_owned(), value));
    };
    field("weight", settings.weight.map(Value::from));
    field("max", settings.max.map(Value::from));
    field("drain", settings.drain.map(Value::from));
    Value::Object(fields)
}

/// The changes of an upstream from [`changes_to_json`].
pub fn changes_from_json(text: &str) -> Result<Changes, ChangesError> {
    let passed: Passed<'_> = serde_json::from_str(text).map_err(ChangesError::Form)?;
    let added = passed.added.iter().map(|raw| endpoint_from_json(raw.get()));
    let added = added.collect::<Result<_, _>>().map_err(ChangesError::Endpoint)?;
    let set = passed.set.into_iter().map(|(name, raw)| {
        // What has no setting was not changed.
        let settings = if raw.get() == "{}" {
            Ok(EndpointSettings::default())
        } else {
            settings_from_json(raw.get())
        };
        settings.map(|settings| (Arc::from(name), settings))
    });
    let set = set.collect::<Result<_, _>>().map_err(ChangesError::Endpoint)?;
    let removed: BTreeSet<Arc<str>> = passed.removed.into_iter().map(Arc::from).collect();
    Ok(Changes { added, removed, set })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_arrives() {
        let mut changes = Changes::default();
        let endpoint =
            r#"{"address": "https://a\"b.internal:80", "weight": 3, "max": 7, "drain": true}"#;
        let plain =
            endpoint_from_json(r#"{"address": "10.0.0.1:80", "zone": "a", "backup": true}"#);
        changes.added.push(plain.unwrap());
        changes.added.extend(endpoint_from_json(endpoint));
        changes.removed.insert("10.0.0.2:80".into());
        let settings = [
            EndpointSettings { weight: Some(2), max: None, drain: None },
            EndpointSettings { weight: None, max: Some(None), drain: Some(false) },
            EndpointSettings { weight: None, max: Some(Some(9)), drain: Some(true) },
            EndpointSettings::default(),
        ];
        for (index, settings) in settings.into_iter().enumerate() {
            changes.set.insert(format!("10.0.1.{index}:80").into(), settings);
        }
        for changes in [changes, Changes::default()] {
            let text = changes_to_json(&changes).to_string();
            assert_eq!(changes_from_json(&text).unwrap(), changes, "{text}");
        }
        for bad in ["", "{}", r#"{"added":[{}],"removed":[],"set":{}}"#] {
            assert!(changes_from_json(bad).is_err(), "{bad}");
        }
    }
}
