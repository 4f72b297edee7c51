//! `bothways upstreams`: shows and changes the endpoints of the running process, by its admin
//! interface. [`table`] draws the table.

mod table;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::Process;
use crate::cli::{Add, EndpointName, Upstreams, UpstreamsTask};
use crate::exit::{Failure, OTHER};
use crate::terminal;

pub(crate) use table::plain;

/// How often `drain --wait` asks whether the endpoint is drained.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Shows endpoints, or runs a task.
pub(crate) fn upstreams(options: &Upstreams) -> Result<(), Failure> {
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let set = |target: &EndpointName, body: Value| {
        send(&process, "PATCH", &endpoint_page(target), Some(&body.to_string()))
    };
    let Some(task) = &options.task else { return table::show(&process, &options.view) };
    match task {
        UpstreamsTask::Drain(drain) => {
            set(&drain.target, json!({ "drain": true }))?;
            if drain.wait { wait_until_drained(&process, &drain.target) } else { Ok(()) }
        }
        UpstreamsTask::Undrain(target) => set(target, json!({ "drain": false })),
        UpstreamsTask::Weight(weight) => set(&weight.target, json!({ "weight": weight.weight })),
        UpstreamsTask::Max(max) => {
            let value = match &*max.max {
                "none" => Value::Null,
                number => number.parse::<u32>().map(Value::from).map_err(|_| {
                    Failure::usage(format!("`{number}` is neither a number nor `none`"))
                })?,
            };
            set(&max.target, json!({ "max": value }))
        }
        UpstreamsTask::Add(add) => {
            let page = page(&add.target.upstream, "endpoints");
            send(&process, "POST", &page, Some(&endpoint_json(add).to_string()))
        }
        UpstreamsTask::Remove(target) => send(&process, "DELETE", &endpoint_page(target), None),
        UpstreamsTask::Diff(diff) => {
            let accept = if diff.json { "application/json" } else { "text/plain" };
            print_answer(process.ask("GET", &page(&diff.upstream, "diff"), accept, None)?)
        }
        UpstreamsTask::Save(of) => send(&process, "POST", &page(&of.upstream, "save"), None),
        UpstreamsTask::Revert(of) => send(&process, "POST", &page(&of.upstream, "revert"), None),
    }
}

fn send(process: &Process, method: &str, page: &str, body: Option<&str>) -> Result<(), Failure> {
    print_answer(process.ask(method, page, "text/plain", body)?)
}

fn print_answer((status, body): (u16, String)) -> Result<(), Failure> {
    if (200..300).contains(&status) {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(OTHER))
}

fn endpoint_json(add: &Add) -> Value {
    let mut body = Map::new();
    body.insert("address".to_owned(), json!(add.target.endpoint));
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

/// Polls until the endpoint, or each address of it, has no request in flight.
fn wait_until_drained(process: &Process, target: &EndpointName) -> Result<(), Failure> {
    let list = page(&target.upstream, "endpoints");
    loop {
        let (status, body) = process.ask("GET", &list, "application/json", None)?;
        if status != 200 {
            return print_answer((status, body));
        }
        let value: Value = serde_json::from_str(&body)
            .map_err(|error| Failure::other(format!("cannot parse the response: {error}")))?;
        let Some(endpoints) = value["endpoints"].as_array() else {
            return Err(Failure::other("cannot parse the response: it has no endpoints"));
        };
        let is_it = |endpoint: &&Value| {
            let address = endpoint["address"].as_str().unwrap_or_default();
            address
                .strip_prefix(&*target.endpoint)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let mut busy = endpoints.iter().filter(is_it);
        if busy.all(|endpoint| endpoint["in_flight"] == 0) {
            let words = format!("{} is drained: its last request is over\n", target.endpoint);
            return Ok(terminal::to_stdout(&words)?);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn page(upstream: &str, part: &str) -> String {
    format!("/upstreams/{}/{part}", encoded(upstream))
}

fn endpoint_page(target: &EndpointName) -> String {
    page(&target.upstream, &format!("endpoints/{}", encoded(&target.endpoint)))
}

/// Percent-encodes all characters with a special meaning (RFC 3986, section 2.1).
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
            endpoint_page(&EndpointName { upstream: upstream.into(), endpoint: endpoint.into() })
        };
        assert_eq!(named("app", "10.0.0.1:80"), "/upstreams/app/endpoints/10.0.0.1:80");
        assert_eq!(
            named("a b,c", "https://[::1]:1/"),
            "/upstreams/a%20b%2Cc/endpoints/https:%2F%2F%5B::1%5D:1%2F"
        );
    }
}
