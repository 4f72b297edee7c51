//! What decides a response beside its URI and what it varies by: where the request goes, and what is sent there.
//!
//! The same URI may lead to other answers by another route, upstream, or spelling of the path; these must not be mixed.
//! So each stored response carries a number made from all of that. It does not depend on the place of a line, so that
//! it outlives changes of the configuration that do not concern it.

use std::hash::BuildHasher;

use config::{TemplatePart, Variable};
use message::{Request, Target};
use twox_hash::XxHash3_64;

use crate::destination::Destination;
use crate::plan::Plan;

/// The number for a request as it is sent. `sent` is the path and query that are sent, `rest` what the key has behind the URI; `scratch` is memory. `hasher` has a secret, since clients choose much of what is hashed.
pub(super) fn of(
    request: &Request,
    plan: &Plan<'_>,
    destination: &Destination<'_>,
    (sent, rest): (&[u8], &[u8]),
    scratch: &mut Vec<u8>,
    hasher: &impl BuildHasher,
) -> u64 {
    scratch.clear();
    destination.write_name(scratch);
    let end = sent.iter().position(|&byte| byte == b'?').unwrap_or(sent.len());
    push(scratch, sent.get(..end).unwrap_or_default());
    for edit in &plan.settings.request_fields {
        push(scratch, edit.name.as_bytes());
        push(scratch, edit.value.written.as_bytes());
        if edit.value.parts.iter().any(is_from_client)
            && let Some(value) = request.fields.find(edit.name.as_bytes())
        {
            push(scratch, value);
        }
    }
    scratch.extend_from_slice(rest);
    hasher.hash_one(scratch.as_slice())
}

/// Appends text so that its end is known.
fn push(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// Whether a part of a template is something that clients choose or prove, and that the URI does not say.
fn is_from_client(part: &TemplatePart) -> bool {
    match part {
        TemplatePart::Field(_) | TemplatePart::Cookie(_) | TemplatePart::Map(_) => true,
        TemplatePart::Variable(variable) => matches!(
            variable,
            Variable::User
                | Variable::ClientSubject
                | Variable::ClientNames
                | Variable::ClientFingerprint
                | Variable::ClientCert
        ),
        TemplatePart::Literal(_) | TemplatePart::Capture(_) | TemplatePart::Parameter(_) => false,
    }
}

/// The number of a group of responses (RFC 9875). Groups belong to an origin.
pub(super) fn hash_group(target: &Target, group: &[u8]) -> u64 {
    let mut bytes = b"group ".to_vec();
    cache::write_group(&mut bytes, target, group);
    XxHash3_64::oneshot(&bytes)
}

/// The number of a tag, by which operators purge; tags belong to nobody.
pub(crate) fn hash_tag(tag: &[u8]) -> u64 {
    XxHash3_64::oneshot(&[b"tag ", tag].concat())
}
