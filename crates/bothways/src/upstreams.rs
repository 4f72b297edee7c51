//! `bothways upstreams drain` and the like: changes endpoints of the running process, by its admin
//! interface.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::Process;
use crate::cli::{Add, MembersTask, Named, Upstreams};
use crate::exit::{Failure, OTHER};
use crate::{standing, terminal};

/// How often it is asked whether an endpoint has drained.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Does what is asked for.
pub(crate) fn members(options: &Upstreams) -> Result<(), Failure> {
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let set = |named: &Named, body: Value| {
        ask(&process, "PATCH", &endpoint_page(named), Some(&body.to_string()))
    };
    let Some(task) = &options.task else { return standing::show(&process, &options.look) };
    match task {
        MembersTask::Drain(drain) => {
            set(&drain.named, json!({ "drain": true }))?;
            if drain.wait { wait_until_drained(&process, &drain.named) } else { Ok(()) }
        }
        MembersTask::Undrain(named) => set(named, json!({ "drain": false })),
        MembersTask::Weight(weight) => set(&weight.named, json!({ "weight": weight.weight })),
        MembersTask::Max(max) => {
            let value = match &*max.max {
                "none" => Value::Null,
                number => number.parse::<u32>().map(Value::from).map_err(|_| {
                    Failure::usage(format!("`{number}` is neither a number nor `none`"))
                })?,
            };
            set(&max.named, json!({ "max": value }))
        }
        MembersTask::Add(add) => {
            let page = page(&add.named.upstream, "endpoints");
            ask(&process, "POST", &page, Some(&added(add).to_string()))
        }
        MembersTask::Remove(named) => ask(&process, "DELETE", &endpoint_page(named), None),
        MembersTask::Diff(diff) => {
            let accept = if diff.json { "application/json" } else { "text/plain" };
            tell(process.ask("GET", &page(&diff.upstream, "diff"), accept, None)?)
        }
        MembersTask::Save(of) => ask(&process, "POST", &page(&of.upstream, "save"), None),
        MembersTask::Revert(of) => ask(&process, "POST", &page(&of.upstream, "revert"), None),
    }
}

fn ask(process: &Process, method: &str, page: &str, body: Option<&str>) -> Result<(), Failure> {
    tell(process.ask(method, page, "text/plain", body)?)
}

fn tell((status, body): (u16, String)) -> Result<(), Failure> {
    if (200..300).contains(&status) {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::said(OTHER))
}

fn added(add: &Add) -> Value {
    let mut body = Map::new();
    body.insert("address".to_owned(), json!(add.named.endpoint));
    let mut field = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    field("weight", add.weight.map(Value::from));
    field("max", add.max.map(Value::from));
    field("zone", add.zone.clone().map(Value::from));
    field("priority", add.priority.map(Value::from));
    field("backup", add.backup.then_some(Value::Bool(true)));
    Value::Object(body)
}

/// Asks until all that the name stands for has no request under way.
fn wait_until_drained(process: &Process, named: &Named) -> Result<(), Failure> {
    let list = page(&named.upstream, "endpoints");
    loop {
        let (status, body) = process.ask("GET", &list, "application/json", None)?;
        if status != 200 {
            return tell((status, body));
        }
        let value: Value = serde_json::from_str(&body)
            .map_err(|error| Failure::other(format!("the answer is not understood: {error}")))?;
        let Some(endpoints) = value["endpoints"].as_array() else {
            return Err(Failure::other("the answer is not understood: it has no endpoints"));
        };
        let is_it = |endpoint: &&Value| {
            let address = endpoint["address"].as_str().unwrap_or_default();
            address
                .strip_prefix(&*named.endpoint)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let mut busy = endpoints.iter().filter(is_it);
        if busy.all(|endpoint| endpoint["in_flight"] == 0) {
            let words = format!("{} is drained: its last request is over\n", named.endpoint);
            return Ok(terminal::to_stdout(&words)?);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn page(upstream: &str, part: &str) -> String {
    format!("/upstreams/{}/{part}", encoded(upstream))
}

fn endpoint_page(named: &Named) -> String {
    page(&named.upstream, &format!("endpoints/{}", encoded(&named.endpoint)))
}

/// RFC 3986, section 2.1: everything but what needs no thought.
pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' | b'@' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths() {
        let named = |upstream: &str, endpoint: &str| {
            endpoint_page(&Named { upstream: upstream.into(), endpoint: endpoint.into() })
        };
        assert_eq!(named("app", "10.0.0.1:80"), "/upstreams/app/endpoints/10.0.0.1:80");
        assert_eq!(
            named("a b,c", "https://[::1]:1/"),
            "/upstreams/a%20b%2Cc/endpoints/https:%2F%2F%5B::1%5D:1%2F"
        );
    }
}
