//! Edits of fields that a route asks for.

use config::{EditVerb, FieldEdit};
use message::{Fields, Known, Request, Response};
use rules::Facts;

use crate::exchange::Plan;
use crate::http1::Scratch;
use crate::secure;
use crate::worker::Work;

/// Edits the request's fields, before it is sent for the first time.
pub(crate) fn request(work: &mut Work, plan: &Plan<'_>) {
    let edits = &plan.settings.request_fields;
    if edits.is_empty() && plan.remove.is_empty() {
        return;
    }
    let Work { request, record, body, .. } = work;
    let Request { method, target, fields, .. } = request;
    plan.remove.iter().for_each(|name| fields.remove_named(name.as_bytes()));
    for known in edits.iter().map(|edit| Known::of(edit.name.as_bytes())) {
        if plan.identity.distrusts(known) {
            fields.remove(known);
        }
    }
    let facts = Facts::of(record.client.ip(), method, target, plan.route, plan.tls);
    edits.iter().for_each(|edit| apply(fields, edit, &facts, body));
}

/// Edits the response's fields.
pub(crate) fn response(
    request: &Request,
    response: &mut Response,
    plan: &Plan<'_>,
    client: std::net::IpAddr,
    scratch: &Scratch,
) {
    let edits = &plan.settings.response_fields;
    if !edits.is_empty() {
        apply_all(request, response, plan, client, scratch);
    }
    if let Some(value) = plan.hsts {
        secure::mark_with(response, value);
    }
}

fn apply_all(
    request: &Request,
    response: &mut Response,
    plan: &Plan<'_>,
    client: std::net::IpAddr,
    scratch: &Scratch,
) {
    let edits = &plan.settings.response_fields;
    let facts = Facts::of(client, &request.method, &request.target, plan.route, plan.tls);
    let mut value = scratch.take();
    edits.iter().for_each(|edit| apply(&mut response.fields, edit, &facts, &mut value));
    scratch.give_back(value);
}

fn apply(fields: &mut Fields, edit: &FieldEdit, facts: &Facts<'_>, value: &mut Vec<u8>) {
    value.clear();
    rules::expand(&edit.value, facts, value);
    let name = edit.name.as_bytes();
    match edit.verb {
        EditVerb::Set => fields.set(name, value),
        EditVerb::Add => fields.push(name, value),
        EditVerb::Remove => fields.remove_named(name),
    }
}
