//! Comments of nginx that no node has taken yet: they go to the node that comes from their directive, else
//! to the one of the block around it, else to the top.

use std::collections::BTreeSet;

use crate::kdl::Node;
use crate::nginx::{Block, Directive, DirectiveId};

/// Puts every comment somewhere.
pub(super) fn keep(nodes: &mut Vec<Node>, root: &Block) {
    let mut kept = BTreeSet::new();
    collect(nodes, &mut kept);
    let mut top = Vec::new();
    block(nodes, root, None, &kept, &mut top);
    top.retain(|text| !kept.contains(text.trim()) && !is_ruler(text));
    if !top.is_empty() {
        nodes.insert(0, Node { above: top, ..Node::default() });
    }
}

fn collect(nodes: &[Node], kept: &mut BTreeSet<String>) {
    for node in nodes {
        kept.extend(node.above.iter().chain(&node.beside).map(|text| text.trim().to_owned()));
        collect(&node.children, kept);
    }
}

fn block(
    nodes: &mut [Node],
    inner: &Block,
    around: Option<DirectiveId>,
    kept: &BTreeSet<String>,
    top: &mut Vec<String>,
) {
    for directive in &inner.directives {
        let lines: Vec<_> = directive.above.iter().chain(&directive.beside).cloned().collect();
        put(nodes, lines, Some(directive.id), around, kept, top);
        if let Some(inner) = &directive.block
            && !is_data(directive)
        {
            let around =
                if find(nodes, directive.id).is_some() { Some(directive.id) } else { around };
            block(nodes, inner, around, kept, top);
        }
    }
    put(nodes, inner.end.clone(), None, around, kept, top);
}

/// Whether a line of a comment has no word, as those around headings.
fn is_ruler(text: &str) -> bool {
    !text.chars().any(char::is_alphanumeric)
}

/// Maps keep their own comments.
fn is_data(directive: &Directive) -> bool {
    crate::table::is_whole(&directive.name)
}

fn put(
    nodes: &mut [Node],
    lines: Vec<String>,
    own: Option<DirectiveId>,
    around: Option<DirectiveId>,
    kept: &BTreeSet<String>,
    top: &mut Vec<String>,
) {
    let mut lines: Vec<_> = lines.into_iter().filter(|text| !kept.contains(text.trim())).collect();
    if lines.iter().all(|text| is_ruler(text)) {
        lines.clear();
    }
    if lines.is_empty() {
        return;
    }
    if let Some(node) = own.and_then(|id| find(nodes, id)) {
        node.above.extend(lines);
    } else if let Some(node) = around.and_then(|id| find(nodes, id)) {
        // Below the comments that are there already.
        let at = node.children.iter().position(|child| !child.name.is_empty());
        node.children
            .insert(at.unwrap_or(node.children.len()), Node { above: lines, ..Node::default() });
    } else {
        top.extend(lines);
    }
}

/// The first node that comes from a directive, the outermost first.
fn find(nodes: &mut [Node], id: DirectiveId) -> Option<&mut Node> {
    let here = nodes.iter().position(|node| node.from.contains(&id));
    if let Some(index) = here {
        return nodes.get_mut(index);
    }
    nodes.iter_mut().find_map(|node| find(&mut node.children, id))
}
