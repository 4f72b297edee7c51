//! Texts in nginx's syntax, all the way to a configuration of ours.

use std::sync::OnceLock;

use import::nginx::{Block, Directive, DirectiveId, Place, Tree, parse, print};
use import::{Verdict, Words};

/// A text: what is read prints as the same directives; what is written from it is read by `config`, is
/// laid out already, and says something of each line.
pub fn check(data: &[u8]) {
    static WORDS: OnceLock<Words> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(block) = parse(text, 0, 0) else { return };
    let printed = print(&block);
    let again = parse(&printed, 0, 0).unwrap_or_else(|error| panic!("{error}\nin\n{printed}"));
    assert_eq!(meaning(&again), meaning(&block), "{printed}");
    if text.contains("/dev/") {
        // A page or a list from a terminal would wait for somebody to type it.
        return;
    }
    let tree = Tree { root: block, files: vec!["x.conf".into()], ..Tree::default() };
    let imported = import::import(&tree, WORDS.get_or_init(Words::ask), &|_| false);
    if let Err(failure) = config::parse("x.kdl", &imported.text) {
        panic!("{failure}\nin\n{}\nfrom\n{text}", imported.text);
    }
    let first = imported.report.lines.len();
    assert!(first >= tree.root.directives.len(), "{text}");
    for line in imported.report.lines.iter().filter(|line| line.verdict != Verdict::Exact) {
        assert!(!line.notes.is_empty() || !line.ours.is_empty(), "{line:?}");
    }
    assert!(imported.report.json().starts_with('{'));
}

/// Directives without places, numbers and comments.
fn meaning(block: &Block) -> Vec<Directive> {
    let of = |one: &Directive| Directive {
        id: DirectiveId(0),
        place: Place::default(),
        name: one.name.clone(),
        words: one
            .words
            .iter()
            .map(|word| import::nginx::Word { quoted: false, ..word.clone() })
            .collect(),
        block: one
            .block
            .as_ref()
            .map(|inner| Block { directives: meaning(inner), end: Vec::new() }),
        above: Vec::new(),
        beside: None,
    };
    block.directives.iter().filter(|one| !one.name.ends_with("_by_lua_block")).map(of).collect()
}
