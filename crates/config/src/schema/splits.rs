//! The nodes of sites and routes that lead to several upstreams.

use super::Count::{AtLeastOne, One};
use super::rows::{argument, property, rows, word};
use super::{Kind, NamedRows, NodeRow, PropertyRow, WordRow};

/// How many of something there may be at once.
const COUNT: Kind = Kind::Number { min: 1, max: 1_000_000 };

pub(super) static MIRROR: NodeRow = NodeRow {
    name: "mirror",
    arguments: &[argument("upstream", Kind::Target, AtLeastOne)],
    properties: &[
        property(
            "share",
            Kind::Share { zero: false },
            "100%",
            "How many of the requests are copied.",
        ),
        property(
            "body",
            Kind::Size { min: 0, max: 16 << 20 },
            "64KiB",
            "Requests with a longer body are not copied.",
        ),
        property(
            "in-flight",
            COUNT,
            "64",
            "Copies under way at most, per core; what is beyond is not copied.",
        ),
    ],
    repeats: true,
    doc: "Sends a copy of requests that go to an upstream to another one as well, whose answers nobody waits for and nobody sees. Those of a route take the place of the site's; `mirror off`: none.",
    default: "none",
    example: "upstream shadow { to \"10.0.9.1:8080\"; }\nsite {\n    mirror shadow share=\"10%\"\n    to \"10.0.0.1:8080\"\n}",
    ..NodeRow::NEW
};

const STAYS: &[WordRow] = &[
    word("address", "the client's address decides"),
    word("cookie", "a cookie says what was decided for the client at first"),
    word("no", "each request is decided anew"),
];

static SPLIT_PROPERTIES: [PropertyRow; 2] = [
    property("stay", Kind::Word(STAYS), "address", "How a client stays with its part."),
    property("cookie", Kind::Token, "bw-split", "The name of the cookie, with `stay=cookie`."),
];

pub(super) static SPLIT: NodeRow = NodeRow {
    name: "split",
    properties: &SPLIT_PROPERTIES,
    block: Some(&SPLIT_BLOCK),
    // More than one is reported by the decoder, together with others that do not go with it.
    repeats: true,
    doc: "Sends requests to several upstreams, each its share.",
    example: "upstream app { to \"10.0.0.1:8080\"; }\nupstream canary { to \"10.0.0.9:8080\"; }\nsite {\n    split stay=cookie {\n        to app \"95%\"\n        to canary \"5%\"\n    }\n}",
    ..NodeRow::NEW
};

pub(crate) static SPLIT_BLOCK: NamedRows = rows("split", &[&PART]);

static PART: NodeRow = NodeRow {
    name: "to",
    arguments: &[
        argument("upstream", Kind::Target, One),
        argument("share", Kind::Share { zero: true }, One),
    ],
    repeats: true,
    doc: "An upstream, or an endpoint written here, and its share of the requests; all together make 100%.",
    ..NodeRow::NEW
};
