//! Which fields are forwarded: the one place that decides it for requests, and for trailers both
//! ways.
//!
//! [`request`] turns the received fields into the forwarded ones, for every upstream protocol:
//! fields that are meant for us or not trusted are dropped, our own are added (`identity`), and the
//! edits of the configuration come last, so that they always win. `bothways explain` prints the
//! result. Some servers read `_` as a hyphen: they must not find another spelling of a field that
//! was dropped or set here, so such twins are dropped too. The same rules apply to trailers, which
//! a server may merge into the head.
//! Not here: framing and fields of a connection (`http1::head`, `http2`).

use config::{EditVerb, FieldEdit, RouteSettings};
use message::{Field, Fields, Known, Request, Response, are_twins, tells_of_client};

use crate::admission;
use crate::http1::Scratch;
use crate::plan::Plan;

/// Turns the request's fields into those that are forwarded. Called once, before the first try.
/// `value` is scratch memory.
pub(crate) fn request(request: &mut Request, plan: &Plan<'_>, value: &mut Vec<u8>) {
    let rules = Rules::of_request(plan);
    request.fields.retain(|field| rules.keeps(field));
    plan.identity.write_fields(request, plan.settings, value);
    for edit in &plan.settings.request_fields {
        // An edit may name a field that the one before it has made.
        value.clear();
        rules::expand(&edit.value, &plan.facts(request), value);
        apply(&mut request.fields, edit, value);
    }
}

/// Edits the fields of a response.
pub(crate) fn response(
    request: &Request,
    response: &mut Response,
    plan: &Plan<'_>,
    scratch: &Scratch,
) {
    let edits = &plan.settings.response_fields;
    if !edits.is_empty() {
        let facts = plan.facts(request);
        let mut value = scratch.take();
        for edit in edits {
            value.clear();
            rules::expand(&edit.value, &facts, &mut value);
            apply(&mut response.fields, edit, &value);
        }
        scratch.give_back(value);
    }
    // An edit of the field wins.
    let names_hsts = |edit: &FieldEdit| edit.name.eq_ignore_ascii_case("Strict-Transport-Security");
    if let Some(value) = plan.hsts
        && !edits.iter().any(names_hsts)
    {
        admission::mark_with(response, value);
    }
}

fn apply(fields: &mut Fields, edit: &FieldEdit, value: &[u8]) {
    let name = edit.name.as_bytes();
    match edit.verb {
        EditVerb::Set => fields.set(name, value),
        EditVerb::Add => fields.push(name, value),
        EditVerb::Remove => fields.remove_named(name),
    }
}

/// Which of a message's own fields are kept.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    edits: &'a [FieldEdit],
    /// Names of fields that are dropped.
    remove: &'a [Box<str>],
    /// The sender's claims about its client may be forwarded.
    believes: bool,
    anonymous: bool,
    drops_underscores: bool,
    /// Whether an edit names a field with `_`: its twin has a hyphen.
    has_odd_edit: bool,
}

impl<'a> Rules<'a> {
    /// For what a client sends.
    pub(crate) fn of_request(plan: &Plan<'a>) -> Self {
        let RouteSettings { request_fields, drop_underscores, .. } = plan.settings;
        Self {
            edits: request_fields,
            remove: plan.remove,
            believes: plan.identity.believes(),
            anonymous: plan.identity.is_anonymous(),
            drops_underscores: *drop_underscores,
            has_odd_edit: request_fields.iter().any(|edit| edit.name.contains('_')),
        }
    }

    /// For what an endpoint sends.
    pub(crate) fn of_response(plan: &Plan<'a>) -> Self {
        Self {
            edits: &plan.settings.response_fields,
            remove: &[],
            believes: false,
            anonymous: false,
            drops_underscores: false,
            has_odd_edit: false,
        }
    }

    /// Whether a field of the request's head is kept.
    fn keeps(&self, field: Field<'_>) -> bool {
        let Field { known, name, .. } = field;
        let has_underscore = known == Known::Other && name.contains(&b'_');
        if has_underscore {
            let twin = Known::of_twin(name);
            let is_claim =
                tells_of_client(twin, name) || (self.anonymous && names_client(twin, name));
            if self.drops_underscores || is_ours(twin) || is_claim {
                return false;
            }
        } else {
            let is_claim = !self.believes && tells_of_client(known, name);
            if is_claim || (self.anonymous && names_client(known, name)) {
                return false;
            }
        }
        if (has_underscore || self.has_odd_edit) && self.has_edited_twin(name, has_underscore) {
            return false;
        }
        self.remove.is_empty() || !self.removes(name)
    }

    /// Whether a trailer is forwarded.
    pub(crate) fn keeps_trailer(&self, field: Field<'_>) -> bool {
        let Field { known, name, .. } = field;
        let has_underscore = name.contains(&b'_');
        let is_dropped = (has_underscore && self.drops_underscores)
            || (self.anonymous && names_client(known, name));
        let is_edited = || self.edits.iter().any(|edit| are_twins(edit.name.as_bytes(), name));
        let may_pass = wire::http1::allowed_trailer(known, name);
        may_pass && !is_dropped && !is_edited() && !self.removes(name)
    }

    /// Whether an edit names a twin of this field.
    fn has_edited_twin(&self, name: &[u8], has_underscore: bool) -> bool {
        self.edits.iter().any(|edit| {
            let edited = edit.name.as_bytes();
            // An edit that removes `a_b` may leave `a-b`; but one that sets a field must leave no
            // twin.
            (has_underscore || edit.verb != EditVerb::Remove)
                && are_twins(edited, name)
                && !edited.eq_ignore_ascii_case(name)
        })
    }

    fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| are_twins(removed.as_bytes(), name))
    }
}

/// True for fields that the proxy writes, reads or does not forward: there must be no other
/// spelling of them.
fn is_ours(twin: Known) -> bool {
    twin.is_hop_by_hop()
        || matches!(
            twin,
            Known::Host
                | Known::ContentLength
                | Known::Expect
                | Known::Proxy
                | Known::Via
                | Known::EarlyData
                | Known::MaxForwards
                | Known::SecWebSocketKey
                | Known::SecWebSocketAccept
        )
}

/// Fields beyond [`tells_of_client`] that name the client: an anonymous forward listener drops them.
fn names_client(known: Known, name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "CF-Connecting-IP",
        "CF-Connecting-IPv6",
        "CF-Pseudo-IPv4",
        "Client-IP",
        "Fastly-Client-IP",
        "Fly-Client-IP",
        "Proxy-Client-IP",
        "True-Client-IP",
        "WL-Proxy-Client-IP",
        "X-Appengine-User-IP",
        "X-Azure-ClientIP",
        "X-BlueCoat-Via",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Coming-From",
        "X-Envoy-External-Address",
        "X-Original-Forwarded-For",
        "X-Original-Host",
        "X-Original-Remote-Addr",
        "X-Originating-IP",
        "X-ProxyUser-IP",
        "X-Remote-Addr",
        "X-Remote-IP",
        "X-Via",
    ];
    match known {
        Known::Via => true,
        Known::Other => NAMES.iter().any(|other| are_twins(other.as_bytes(), name)),
        known => tells_of_client(known, name),
    }
}
