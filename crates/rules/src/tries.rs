//! Paths of files that are tried one after the other.

use config::{Template, TemplatePart, Variable};

use crate::template::{Facts, push_in_path};

/// Writes a path of `try`. `below` is the path below the directory that `{path}` means here. Other parts of the request
/// are encoded as in a path; whether the result may be served is for `files` to say.
pub fn try_path(template: &Template, below: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    for part in &template.parts {
        match part {
            TemplatePart::Literal(text) => {
                // `{path}/` of `/docs/` is that directory.
                let slashes = out.last() == Some(&b'/') && out.len() > start;
                let text = if slashes { text.strip_prefix('/').unwrap_or(text) } else { text };
                out.extend_from_slice(text.as_bytes());
            }
            TemplatePart::Variable(Variable::Path) => out.extend_from_slice(below),
            part => push_in_path(part, facts, out),
        }
    }
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
}
