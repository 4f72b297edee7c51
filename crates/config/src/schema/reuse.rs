//! Reuse: lines that stand once and hold in many places. `decode::expand` has put them there before the rows below are
//! asked, so that these only say what may be written.

use super::Count::{AtLeastOne, One};
use super::rows::{SITE_BLOCK, argument};
use super::{Block, Kind, NodeRow, Read, Row, Show};
use crate::decode::Raw;

/// Nodes of a site that are its own: what it is, and what it does.
const OWN: &[&str] =
    &["listen", "route", "to", "split", "redirect", "respond", "files", "use", "include"];

pub(super) static DEFINE: Row<Raw> = Row {
    node: NodeRow {
        name: "define",
        arguments: &[argument("name", Kind::Name, One)],
        block: Some(&AnyLines),
        repeats: true,
        doc: "Lines with a name. `use` puts them into blocks, as if they were written there; a relative path in them starts at the directory of this file. A `define` may use others, but not itself.",
        example: "define internal {\n    timeouts { first-byte \"5min\"; }\n    request { remove \"Cookie\"; }\n}\nsite \"a.example\" {\n    use internal\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|_, _, _| {}),
    show: Show::Lines(|_, _, _| {}),
};

pub(super) static DEFAULTS: Row<Raw> = Row {
    node: NodeRow {
        name: "defaults",
        block: Some(&DEFAULTS_BLOCK),
        doc: "Lines for every site. A node of the site replaces those of the same name here. In `timeouts` and `limits`, single settings do; edits in `request` and `response` come before those of the site; an `error-page` holds for statuses that the site has none for. A site with `tls passthrough` gets only `timeouts`. Any node of a site may stand here, except its actions, `listen` and `route`.",
        example: "defaults {\n    request-id on\n    response { remove \"Server\"; }\n    timeouts { first-byte \"2min\"; }\n}\nsite \"a.example\" { to \"10.0.0.1:80\"; }",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, _, node| decoder.defaults(node, &DEFAULTS_BLOCK)),
    show: Show::Lines(|_, _, _| {}),
};

/// What `use` and `include` are in a block.
impl<T> Row<T> {
    pub(super) const USE: Self = Row {
        node: NodeRow {
            name: "use",
            arguments: &[argument("name", Kind::Name, AtLeastOne)],
            repeats: true,
            doc: "Stands for the lines of a `define` at the [top level](#top-level).",
            example: "define common { request { remove \"X-Debug\"; }; }\nsite \"a.example\" {\n    use common\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, _, _| {}),
        show: Show::Lines(|_, _, _| {}),
    };

    pub(super) const INCLUDE: Self = Row {
        node: NodeRow {
            name: "include",
            arguments: &[argument("file", Kind::Path, AtLeastOne)],
            repeats: true,
            doc: "Stands for the lines of other files, which are lines of this block. A file may be included in several blocks. Otherwise as at the top level.",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, _, _| {}),
        show: Show::Lines(|_, _, _| {}),
    };
}

/// A block whose lines are those of another, where they are put.
pub(crate) struct AnyLines;

impl Block for AnyLines {
    fn name(&self) -> &'static str {
        "define"
    }

    fn row(&self, _: &str) -> Option<&'static NodeRow> {
        None
    }

    fn rows(&self) -> Vec<&'static NodeRow> {
        Vec::new()
    }
}

/// The block of a site, without what is its own.
pub(crate) struct SiteLines;

pub(crate) static DEFAULTS_BLOCK: SiteLines = SiteLines;

impl Block for SiteLines {
    fn name(&self) -> &'static str {
        "defaults"
    }

    fn row(&self, name: &str) -> Option<&'static NodeRow> {
        SITE_BLOCK.row(name).filter(|row| !OWN.contains(&row.name))
    }

    fn rows(&self) -> Vec<&'static NodeRow> {
        let rows = SITE_BLOCK.rows().into_iter();
        rows.filter(|row| !OWN.contains(&row.name)).collect()
    }
}
