//! Makes sure that `config` takes what was written.
//!
//! The text is read as `check` does. A node that is not taken becomes a comment, and its directives are
//! refused with the words of the message. If the node kept clients out, what encloses it is closed.

use crate::kdl::{Node, write};
use crate::report::{Ledger, Verdict};

/// How often the text is read; every time at least one node goes.
const ROUNDS_MAX: usize = 50;

/// What takes requests away from a site or route: without one, more would be served.
const LIMITING: &[&str] =
    &["when", "unless", "allow", "deny", "satisfy", "login", "client", "tls", "listen"];

/// The final text.
pub(crate) fn settle(mut nodes: Vec<Node>, ledger: &mut Ledger) -> String {
    let mut last = String::new();
    for _ in 0..ROUNDS_MAX {
        let (text, lines) = write(&nodes);
        let failure = match config::parse("import", &text) {
            Ok(_) => return laid_out(text),
            Err(failure) => failure,
        };
        last = text;
        let mut paths: Vec<(Vec<usize>, String)> = Vec::new();
        for error in &failure.errors {
            let line = error.place.line.saturating_sub(1) as usize;
            let Some(Some(origin)) = lines.get(line) else { continue };
            // Of a node and one within it, the inner one goes first.
            if !paths.iter().any(|(path, _)| path.starts_with(&origin.path)) {
                paths.push((origin.path.clone(), error.message.clone()));
            }
        }
        if paths.is_empty() {
            break;
        }
        for (path, message) in paths {
            drop_node(&mut nodes, &path, &message, ledger);
        }
    }
    last
}

fn laid_out(text: String) -> String {
    config::format("import", &text).unwrap_or(text)
}

fn drop_node(nodes: &mut Vec<Node>, path: &[usize], message: &str, ledger: &mut Ledger) {
    let Some((&last, parents)) = path.split_last() else { return };
    let mut guards = false;
    {
        let mut siblings = &mut *nodes;
        for &index in parents {
            let Some(parent) = siblings.get_mut(index) else { return };
            siblings = &mut parent.children;
        }
        let Some(node) = siblings.get_mut(last) else { return };
        if node.name.is_empty() {
            return;
        }
        guards |= node.guards || LIMITING.contains(&node.name.as_str());
        for id in origins(node) {
            ledger.judge(
                id,
                Verdict::Refused,
                "",
                &format!("it cannot be written here: {message}"),
            );
        }
        let comment = format!(" not taken ({message}): {}", node.line());
        *node = Node {
            above: node.above.iter().cloned().chain([comment]).collect(),
            ..Node::default()
        };
    }
    if guards {
        close(nodes, parents);
    }
}

/// Closes the innermost site or route on a path.
fn close(nodes: &mut [Node], path: &[usize]) {
    let mut depth = None;
    let mut siblings = &*nodes;
    for (index, &at) in path.iter().enumerate() {
        let Some(node) = siblings.get(at) else { return };
        if matches!(node.name.as_str(), "site" | "route") {
            depth = Some(index + 1);
        }
        siblings = &node.children;
    }
    let Some(depth) = depth else { return };
    let mut siblings = nodes;
    for (index, &at) in path.iter().take(depth).enumerate() {
        let Some(node) = siblings.get_mut(at) else { return };
        if index + 1 == depth {
            const KEPT: &[&str] = &["listen", "tls", "when", "unless", ""];
            node.children.retain(|child| KEPT.contains(&child.name.as_str()));
            let mut closed = Node::new("respond").bare_property("status", 503);
            closed.above.push(" closed: what keeps clients out could not be written".into());
            node.children.push(closed);
            return;
        }
        siblings = &mut node.children;
    }
}

fn origins(node: &Node) -> Vec<crate::nginx::DirectiveId> {
    let mut ids = node.from.clone();
    ids.extend(node.children.iter().flat_map(origins));
    ids
}
