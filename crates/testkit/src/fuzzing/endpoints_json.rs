//! Files of endpoints in JSON, and single endpoints and settings as the admin interface takes them.

use std::sync::Arc;

use config::Endpoint;
use discovery::{
    EndpointSettings, FileChange, JsonError, change_endpoints_json, endpoint_from_json,
    endpoints_from_json, settings_from_json,
};

/// A text: an error has its place within the text; what is accepted can be changed, and the changed text
/// has the endpoints that the changes ask for.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_place(text, endpoint_from_json(text).err());
    check_place(text, settings_from_json(text).err());
    match endpoints_from_json(text) {
        Ok(endpoints) => check_changes(text, &endpoints),
        Err(error) => check_place(text, Some(error)),
    }
}

fn check_place(text: &str, error: Option<JsonError>) {
    let Some(error) = error else { return };
    let line = text.split('\n').nth(error.line.wrapping_sub(1));
    let is_inside = line.is_some_and(|line| (1..=line.len() + 1).contains(&error.column));
    assert!(is_inside, "{error} of {text:?}");
}

fn check_changes(text: &str, endpoints: &[Endpoint]) {
    let change = |text: &str, change: FileChange| {
        let changed = change_endpoints_json(text, std::slice::from_ref(&change));
        let changed = changed.unwrap_or_else(|error| panic!("{error}: {change:?} of {text}"));
        let read = endpoints_from_json(&changed);
        (read.unwrap_or_else(|error| panic!("{error}: {change:?} gave {changed}")), changed)
    };
    let added: Arc<str> = "192.0.2.1:65535".into();
    let address = config::parse_endpoint(&added).expect("an address").0;
    let added = Endpoint { weight: 7, ..Endpoint::new(&*added, address) };
    if !endpoints.iter().any(|one| one.address == added.address) {
        let (with, changed) = change(text, FileChange::Add(Box::new(added.clone())));
        assert_eq!(with, [endpoints, std::slice::from_ref(&added)].concat(), "{text}");
        let (without, _) = change(&changed, FileChange::Remove(added.written));
        assert_eq!(without, endpoints, "{text}");
    }
    let Some((first, others)) = endpoints.split_first() else { return };
    let settings = EndpointSettings { weight: Some(9), max: Some(Some(3)), drain: Some(true) };
    let (set, _) = change(text, FileChange::Set(Arc::clone(&first.written), settings));
    let expected = Endpoint { weight: 9, max: Some(3), draining: true, ..first.clone() };
    assert_eq!(set, [&[expected], others].concat(), "{text}");
    let (rest, _) = change(text, FileChange::Remove(Arc::clone(&first.written)));
    assert_eq!(rest, others, "{text}");
}
