//! Maps: texts by the text of another.

use super::Count::One;
use super::rows::argument;
use super::{Kind, NodeRow, Read, Row, Show, Table};
use crate::decode::{Raw, RawMap};

pub(crate) static MAP: Row<Raw> = Row {
    node: NodeRow {
        name: "map",
        arguments: &[
            argument("name", Kind::Name, One),
            argument("input", Kind::ValueTemplate, One),
        ],
        block: Some(&MAP_BLOCK),
        repeats: true,
        doc: "A text that depends on another: `{name}` in templates. The proxy compares the input with the rows: equal texts first, then those with a `*` at one end (the longest first), then regular expressions (in the order of the file). In the input, `{path}` and captures are canonical, as routes compare them; the other parts are as the client wrote them. A value is a template itself and may name other maps.",
        example: "map plan \"{field:X-Plan}\" {\n    \"gold\" \"fast\"\n    \"silver*\" \"medium\"\n    ~ \"^b\" \"slow\"\n    default \"none\"\n}\nsite \"a.example\" {\n    request { set \"X-Class\" \"{plan}\"; }\n    to \"10.0.0.1:80\"\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, raw, node| raw.maps.extend(decoder.map(node))),
    show: Show::Lines(|out, raw, _| out.maps(&raw.maps)),
};

/// Its nodes are read by [`Decoder::map`](crate::decode::Decoder): a row may have any name.
pub(crate) static MAP_BLOCK: Table<RawMap> =
    Table { name: "map", rows: &[&MAP_TEXT, &MAP_REGEX, &MAP_DEFAULT] };

static MAP_TEXT: Row<RawMap> = Row {
    node: NodeRow {
        name: "\"text\"",
        arguments: &[argument("value", Kind::ValueTemplate, One)],
        repeats: true,
        doc: "What holds if the input is this text, with case. With `*` at its end: if the input begins so; with `*` at its beginning: if it ends so.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, map, node| decoder.map_text(map, node)),
    show: Show::With("~"),
};

static MAP_REGEX: Row<RawMap> = Row {
    node: NodeRow {
        name: "~",
        arguments: &[
            argument("regex", Kind::Regex, One),
            argument("value", Kind::ValueTemplate, One),
        ],
        repeats: true,
        doc: "What holds if this regular expression matches the input, anywhere in it. `(?i)` ignores case. Its time is linear in the length of the input.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, map, node| decoder.map_regex(map, node)),
    // By the node of the map.
    show: Show::Lines(|_, _, _| {}),
};

static MAP_DEFAULT: Row<RawMap> = Row {
    node: NodeRow {
        name: "default",
        arguments: &[argument("value", Kind::ValueTemplate, One)],
        doc: "What holds otherwise.",
        default: "\"\"",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, map, node| decoder.map_default(map, node)),
    show: Show::With("~"),
};
