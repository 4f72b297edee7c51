//! Endpoints as JSON: what a file of endpoints has, and what the admin interface takes.
//!
//! JsonResult as strictly as the configuration is: an unknown word, a word twice or a value out of bounds is an error that
//! names line, column and path.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use config::{Addresses, Endpoint};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::members::EndpointSettings;

/// Bytes of a file at most.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Endpoints of a file at most.
const ENDPOINTS_MAX: usize = 10_000;
/// Bytes of a name of a zone.
const ZONE_BYTES_MAX: usize = 64;
const WEIGHT_MAX: u64 = 1000;
const REQUESTS_MAX: u64 = 1_000_000;

/// What is error with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1, in bytes.
    pub column: usize,
    /// Which value, such as `endpoints[0].weight`; empty: the text as a whole.
    pub path: String,
    /// What is error with it.
    pub message: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

/// A value and its place in the text.
#[derive(Clone, Copy)]
struct Node<'t, 'p> {
    text: &'t str,
    raw: &'t str,
    path: &'p str,
}

type JsonResult<T> = Result<T, JsonError>;

impl<'t> Node<'t, '_> {
    fn error(&self, message: impl Into<String>) -> JsonError {
        self.error_after(0, message)
    }

    /// An error `ahead` bytes after the start of the value.
    fn error_after(&self, ahead: usize, message: impl Into<String>) -> JsonError {
        // The value is a part of the text.
        let offset = (self.raw.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let before = self.text.as_bytes().get(..offset.saturating_add(ahead)).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        JsonError { line, column, path: self.path.to_owned(), message: message.into() }
    }

    /// The value as `T`; `expected` says what it should be.
    fn read<T: Deserialize<'t>>(&self, expected: &str) -> JsonResult<T> {
        serde_json::from_str(self.raw).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => self.error(format!("must be {expected}")),
            _ => self.error_in(&error),
        })
    }

    /// An error within the value.
    fn error_in(&self, error: &serde_json::Error) -> JsonError {
        let lines = self.raw.split_inclusive('\n').take(error.line().saturating_sub(1));
        let ahead = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let words = error.to_string();
        let message = words.split(" at line ").next().unwrap_or_default();
        self.error_after(ahead.min(self.raw.len()), message)
    }

    fn number(&self, min: u64, max: u64) -> JsonResult<u64> {
        let expected = format!("a number from {min} to {max}");
        let number: u64 = self.read(&expected)?;
        let is_good = (min..=max).contains(&number);
        if is_good { Ok(number) } else { Err(self.error(format!("must be {expected}"))) }
    }

    fn flag(&self) -> JsonResult<bool> {
        self.read("true or false")
    }

    fn fields(&self) -> JsonResult<Fields<'t>> {
        if !self.raw.starts_with('{') {
            return Err(self.error("must be an object"));
        }
        serde_json::from_str(self.raw).map_err(|error| self.error_in(&error))
    }

    /// What stands in this value, under `name`.
    fn inside<'q>(&self, raw: &'t RawValue, path: &'q str) -> Node<'t, 'q> {
        Node { text: self.text, raw: raw.get(), path }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The members of an object, none of them twice.
struct Fields<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

/// A key, which has to be copied if something in it is escaped.
struct Key<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Key<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'t> Visitor<'t> for Text {
            type Value = Key<'t>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'t str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'t> Deserialize<'t> for Fields<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'t> Visitor<'t> for Object {
            type Value = Fields<'t>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Fields<'t>, A::Error> {
                let mut fields: Vec<(Cow<'t, str>, &'t RawValue)> = Vec::new();
                while let Some(Key(name)) = map.next_key()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom(format!("`{name}` appears twice")));
                    }
                    // No object here has nearly as many.
                    if fields.len() >= 64 {
                        return Err(de::Error::custom("too many names in one object"));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Makes one field of an endpoint of a value.
type Take = fn(&Node<'_, '_>, &mut Endpoint) -> JsonResult<()>;

/// What an endpoint is made of, beside its address.
const FIELDS: &[(&str, Take)] = &[
    ("weight", |at, endpoint| {
        endpoint.weight = at.number(1, WEIGHT_MAX)? as u16;
        Ok(())
    }),
    ("zone", |at, endpoint| {
        let zone: Option<String> = at.read("a name")?;
        if zone.as_ref().is_some_and(|zone| !is_zone(zone)) {
            return Err(at.error("must be a name of letters, digits, `-`, `_`, `.` and `/`"));
        }
        endpoint.zone = zone.map(Arc::from);
        Ok(())
    }),
    ("priority", |at, endpoint| {
        endpoint.priority = at.number(0, u16::MAX.into())? as u16;
        Ok(())
    }),
    ("backup", |at, endpoint| {
        endpoint.backup = at.flag()?;
        Ok(())
    }),
    ("max", |at, endpoint| {
        endpoint.max = match at.raw {
            "null" => None,
            _ => Some(at.number(1, REQUESTS_MAX)? as u32),
        };
        Ok(())
    }),
    ("drain", |at, endpoint| {
        endpoint.draining = at.flag()?;
        Ok(())
    }),
    ("addresses", |at, endpoint| {
        let word: Cow<'_, str> = at.read("`auto`, `each` or `one`")?;
        endpoint.addresses = match &*word {
            "auto" => Addresses::Auto,
            "each" => Addresses::Each,
            "one" => Addresses::One,
            _ => return Err(at.error("must be `auto`, `each` or `one`")),
        };
        Ok(())
    }),
];

fn is_zone(zone: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (1..=ZONE_BYTES_MAX).contains(&zone.len()) && zone.bytes().all(is_good)
}

fn known(names: impl Iterator<Item = &'static str>) -> String {
    format!("is not known here (known: {})", names.collect::<Vec<_>>().join(", "))
}

fn endpoint_of(at: &Node<'_, '_>) -> JsonResult<Endpoint> {
    let Fields(fields) = at.fields()?;
    let path = at.path_of("address");
    let Some((_, address)) = fields.iter().find(|(name, _)| name == "address") else {
        return Err(at.error("`address` is missing"));
    };
    let address = at.inside(address, &path);
    let written: Cow<'_, str> = address.read("a string")?;
    let (parsed, tls) = config::parse_endpoint(&written).map_err(|why| address.error(why))?;
    let mut endpoint = Endpoint { tls, ..Endpoint::new(&*written, parsed) };
    for (name, raw) in fields.iter().filter(|(name, _)| name != "address") {
        let path = at.path_of(name);
        let at = at.inside(raw, &path);
        let Some((_, take)) = FIELDS.iter().find(|(known, _)| known == name) else {
            let all = ["address"].into_iter().chain(FIELDS.iter().map(|(name, _)| *name));
            return Err(at.error(known(all)));
        };
        take(&at, &mut endpoint)?;
    }
    Ok(endpoint)
}

/// The value of a whole text.
fn whole<'t>(text: &'t str) -> JsonResult<Node<'t, 'static>> {
    let at = Node { text, raw: text, path: "" };
    let raw: &'t RawValue = serde_json::from_str(text).map_err(|error| at.error_in(&error))?;
    Ok(Node { text, raw: raw.get(), path: "" })
}

/// The array of endpoints in a text.
fn list_of<'t>(whole: &Node<'t, '_>) -> JsonResult<Node<'t, 'static>> {
    const PATH: &str = "endpoints";
    if whole.raw.starts_with('[') {
        return Ok(Node { text: whole.text, raw: whole.raw, path: PATH });
    }
    let Fields(fields) = whole.fields()?;
    if let Some((name, raw)) = fields.iter().find(|(name, _)| name != PATH) {
        return Err(whole.inside(raw, name).error(known([PATH].into_iter())));
    }
    let (_, raw) = fields.first().ok_or_else(|| whole.error("`endpoints` is missing"))?;
    Ok(whole.inside(raw, PATH))
}

/// The endpoints of a file: `{"endpoints": […]}`, or the array alone.
pub fn endpoints_from_json(text: &str) -> Result<Vec<Endpoint>, JsonError> {
    let list = list_of(&whole(text)?)?;
    let each: Vec<&RawValue> = list.read("an array")?;
    if each.len() > ENDPOINTS_MAX {
        return Err(list.error(format!("must have {ENDPOINTS_MAX} endpoints at most")));
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(each.len());
    let mut seen = HashMap::with_capacity(each.len());
    for (index, raw) in each.into_iter().enumerate() {
        let path = format!("endpoints[{index}]");
        let at = list.inside(raw, &path);
        let endpoint = endpoint_of(&at)?;
        // However it is written.
        if let Some(first) = seen.insert((endpoint.address.clone(), endpoint.tls), index) {
            return Err(at.error(format!("is the same endpoint as endpoints[{first}]")));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

/// One endpoint: `{"address": "10.0.0.1:8080", "weight": 3}`.
pub fn endpoint_from_json(text: &str) -> Result<Endpoint, JsonError> {
    endpoint_of(&whole(text)?)
}

/// EndpointSettings of an endpoint: `weight`, `max` (null: no limit) and `drain`, each optional.
pub fn settings_from_json(text: &str) -> Result<EndpointSettings, JsonError> {
    let whole = whole(text)?;
    let Fields(fields) = whole.fields()?;
    let mut settings = EndpointSettings::default();
    for (name, raw) in &fields {
        let at = whole.inside(raw, name);
        match &**name {
            "weight" => settings.weight = Some(at.number(1, WEIGHT_MAX)? as u16),
            "max" if at.raw == "null" => settings.max = Some(None),
            "max" => settings.max = Some(Some(at.number(1, REQUESTS_MAX)? as u32)),
            "drain" => settings.drain = Some(at.flag()?),
            _ => return Err(at.error(known(["weight", "max", "drain"].into_iter()))),
        }
    }
    if fields.is_empty() {
        return Err(whole.error("nothing is to be set (known: weight, max, drain)"));
    }
    Ok(settings)
}

/// A change of a file of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Adds an endpoint after the others.
    Add(Box<Endpoint>),
    /// Removes the endpoint with this address, as written.
    Remove(Arc<str>),
    /// Sets something of the endpoint with this address.
    Set(Arc<str>, EndpointSettings),
}

/// The text of a file of endpoints with changes made. Endpoints that do not change stay as they are written.
pub fn change_endpoints_json(text: &str, changes: &[FileChange]) -> Result<String, JsonError> {
    // An error that is there now would be there afterwards, too.
    endpoints_from_json(text)?;
    let list = list_of(&whole(text)?)?;
    let each: Vec<&RawValue> = list.read("an array")?;
    let mut written: Vec<(String, String)> = Vec::with_capacity(each.len());
    for raw in each {
        let at = list.inside(raw, "endpoints");
        let endpoint = endpoint_of(&at)?;
        written.push((endpoint.written.to_string(), raw.get().to_owned()));
    }
    for change in changes {
        let name = match change {
            FileChange::Add(endpoint) => &endpoint.written,
            FileChange::Remove(name) | FileChange::Set(name, _) => name,
        };
        let index = written.iter().position(|(known, _)| **known == **name);
        let missing = || list.error(format!("has no endpoint `{name}` any more"));
        match change {
            FileChange::Add(_) if index.is_some() => {
                return Err(list.error(format!("has the endpoint `{name}` already")));
            }
            FileChange::Add(endpoint) => written.push((name.to_string(), object_of(endpoint))),
            FileChange::Remove(_) => drop(written.remove(index.ok_or_else(missing)?)),
            FileChange::Set(_, settings) => {
                let (_, object) = index.and_then(|at| written.get_mut(at)).ok_or_else(missing)?;
                *object = with_settings(object, settings)?;
            }
        }
    }
    let margin = if list.raw.len() == text.trim().len() { "" } else { "  " };
    let lines: Vec<_> = written.iter().map(|(_, raw)| format!("\n{margin}  {raw}")).collect();
    let end = if lines.is_empty() { String::new() } else { format!("\n{margin}") };
    let offset = (list.raw.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    let before = text.get(..offset).unwrap_or_default();
    let after = text.get(offset + list.raw.len()..).unwrap_or_default();
    Ok(format!("{before}[{}{end}]{after}", lines.join(",")))
}

/// An endpoint as a JSON object on one line, without what has its default.
pub(super) fn object_of(endpoint: &Endpoint) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut fields = vec![format!("\"address\": {}", quoted(&endpoint.written))];
    let mut field = |is_there: bool, name: &str, value: String| {
        if is_there {
            fields.push(format!("\"{name}\": {value}"));
        }
    };
    field(endpoint.weight != 1, "weight", endpoint.weight.to_string());
    let zone = endpoint.zone.as_deref();
    field(zone.is_some(), "zone", quoted(zone.unwrap_or_default()));
    field(endpoint.priority != 0, "priority", endpoint.priority.to_string());
    field(endpoint.backup, "backup", "true".to_owned());
    field(endpoint.max.is_some(), "max", endpoint.max.unwrap_or_default().to_string());
    field(endpoint.draining, "drain", "true".to_owned());
    let addresses = match endpoint.addresses {
        Addresses::Auto => "auto",
        Addresses::Each => "each",
        Addresses::One => "one",
    };
    field(endpoint.addresses != Addresses::Auto, "addresses", quoted(addresses));
    format!("{{{}}}", fields.join(", "))
}

/// An object with settings in it; the rest stays in its order.
fn with_settings(object: &str, settings: &EndpointSettings) -> Result<String, JsonError> {
    let Fields(fields) = whole(object)?.fields()?;
    let raw = |(name, raw): &(Cow<'_, str>, &RawValue)| (name.to_string(), raw.get().to_owned());
    let mut fields: Vec<(String, String)> = fields.iter().map(raw).collect();
    let mut set = |name: &str, value: Option<String>| match (
        fields.iter().position(|(known, _)| known == name),
        value,
    ) {
        (Some(at), Some(value)) => {
            if let Some(field) = fields.get_mut(at) {
                field.1 = value;
            }
        }
        (Some(at), None) => drop(fields.remove(at)),
        (None, Some(value)) => fields.push((name.to_owned(), value)),
        (None, None) => {}
    };
    if let Some(weight) = settings.weight {
        set("weight", Some(weight.to_string()));
    }
    if let Some(max) = settings.max {
        set("max", max.map(|max| max.to_string()));
    }
    if let Some(drain) = settings.drain {
        set("drain", drain.then(|| "true".to_owned()));
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let fields = fields.iter().map(|(name, raw)| format!("{}: {raw}", quoted(name)));
    Ok(format!("{{{}}}", fields.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let found = match endpoints_from_json(text) {
                Ok(endpoints) => endpoints
                    .iter()
                    .map(|e| format!("{} {}", e.written, e.weight))
                    .collect::<Vec<_>>()
                    .join(", "),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        }
        check(r#"[]"#, "");
        check(r#" {"endpoints": []} "#, "");
        check(
            r#"[{"address":"10.0.0.1:80","weight":3},{"address":"a.internal:80"}]"#,
            "10.0.0.1:80 3, a.internal:80 1",
        );
        check(r#"{"endpoints":[{"address":"\u0061:80","max":null,"zone":null}]}"#, "a:80 1");
        check("", "line 1, column 1: EOF while parsing a value");
        check("{\n  \"endpoints\": [\n  }", "line 3, column 3: expected value");
        check(
            "[\n  {\"address\": \"10.0.0.1:80\",\n   \"weight\": 0}]",
            "line 3, column 14: endpoints[0].weight: must be a number from 1 to 1000",
        );
        check(
            r#"[{"address":"a:80","weight":1.5}]"#,
            "line 1, column 29: endpoints[0].weight: must be a number from 1 to 1000",
        );
        check(
            r#"[{"address":"a:80","weigth":3}]"#,
            "line 1, column 29: endpoints[0].weigth: is not known here (known: address, weight, zone, priority, backup, max, drain, addresses)",
        );
        check(r#"[{"weight":3}]"#, "line 1, column 2: endpoints[0]: `address` is missing");
        check(
            r#"[{"address":"a:80","max":1,"max":2}]"#,
            "line 1, column 32: endpoints[0]: `max` appears twice",
        );
        check(
            r#"[{"address":"a:80"},{"address":"a:80"}]"#,
            "line 1, column 21: endpoints[1]: is the same endpoint as endpoints[0]",
        );
        check(
            r#"[{"address":"a:80","drain":"yes"}]"#,
            "line 1, column 28: endpoints[0].drain: must be true or false",
        );
        check(
            r#"{"endpoint":[]}"#,
            "line 1, column 13: endpoint: is not known here (known: endpoints)",
        );
        check(r#"{}"#, "line 1, column 1: `endpoints` is missing");
        check(r#"[] x"#, "line 1, column 4: trailing characters");
        check(r#"7"#, "line 1, column 1: must be an object");
        check(r#"["a:80"]"#, "line 1, column 2: endpoints[0]: must be an object");
        let error = endpoints_from_json(r#"[{"address":"nowhere"}]"#).unwrap_err();
        assert_eq!((error.column, &*error.path), (13, "endpoints[0].address"));
    }

    proptest::proptest! {
        #[test]
        fn anything_may_come(text in r#"[\[\]{}",:a-z0-9 \n\\é]{0,60}"#, cut in 0usize..80) {
            let _ = endpoints_from_json(&text);
            let _ = settings_from_json(&text);
            let good = r#"{"endpoints": [{"address": "a:80", "weight": 3}, {"address": "\u00e9:1"}]}"#;
            let mut damaged = good.get(..cut).unwrap_or(good).to_owned();
            damaged.push_str(&text);
            if let Err(error) = endpoints_from_json(&damaged) {
                let lines: Vec<_> = damaged.split('\n').collect();
                proptest::prop_assert!(error.line <= lines.len(), "{error} of {damaged:?}");
                proptest::prop_assert!(error.column <= lines[error.line - 1].len() + 1, "{error} of {damaged:?}");
            }
        }
    }

    #[test]
    fn files_are_changed_and_the_rest_stays() {
        let ip = |text: &str| Endpoint::new(text, config::parse_endpoint(text).unwrap().0);
        let text = "{\n  \"endpoints\": [\n    {\"address\":\"a:1\",  \"weight\":3},\n    {\"address\":\"b:1\", \"zone\":\"x\", \"drain\":true},\n    {\"address\":\"c:1\"}\n  ]\n}\n";
        let set = EndpointSettings { weight: Some(7), max: Some(Some(9)), drain: Some(false) };
        let changes = [
            FileChange::Remove("c:1".into()),
            FileChange::Add(Box::new(Endpoint { weight: 2, ..ip("10.0.0.1:80") })),
            FileChange::Set("b:1".into(), set),
        ];
        assert_eq!(
            change_endpoints_json(text, &changes).unwrap(),
            "{\n  \"endpoints\": [\n    {\"address\":\"a:1\",  \"weight\":3},\n    {\"address\": \"b:1\", \"zone\": \"x\", \"weight\": 7, \"max\": 9},\n    {\"address\": \"10.0.0.1:80\", \"weight\": 2}\n  ]\n}\n"
        );
        let one = change_endpoints_json("[]\n", &[FileChange::Add(Box::new(ip("a:1")))]).unwrap();
        assert_eq!(one, "[\n  {\"address\": \"a:1\"}\n]\n");
        assert_eq!(
            change_endpoints_json(&one, &[FileChange::Remove("a:1".into())]).unwrap(),
            "[]\n"
        );
        assert!(change_endpoints_json(&one, &[FileChange::Remove("b:1".into())]).is_err());
        assert!(change_endpoints_json(&one, &[FileChange::Add(Box::new(ip("a:1")))]).is_err());
    }

    #[test]
    fn settings() {
        let read = |text| settings_from_json(text).map_err(|error| error.to_string());
        let all = EndpointSettings { weight: Some(3), max: Some(None), drain: Some(true) };
        assert_eq!(read(r#"{"weight":3,"max":null,"drain":true}"#), Ok(all));
        assert_eq!(
            read(r#"{"max":7}"#),
            Ok(EndpointSettings { max: Some(Some(7)), ..EndpointSettings::default() })
        );
        for text in ["{}", r#"{"zone":"a"}"#, r#"{"weight":1001}"#, r#"{"max":0}"#, "[]"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
