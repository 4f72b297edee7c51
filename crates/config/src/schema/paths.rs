//! How servers read paths, and how paths are changed on their way.

use super::Count::{AtLeastOne, One};
use super::rows::{argument, word};
use super::{Kind, NodeRow, WordRow};

static PATH_READINGS_WORDS: &[WordRow] = &[
    word("merged", "empty segments are merged: `//a` is `/a`"),
    word("host", "a leading `//name` is a host: `//name/a` is `/a`"),
    word(
        "decoded",
        "encoded separators are decoded: `%2F`, `%5C`, `\\` and `%u002F` are slashes, `%00` ends the path",
    ),
    word("parameters", "what follows a `;` is cut from its segment: `/a;b/c` is `/a/c`"),
    word("case", "upper and lower case are the same: `/A` is `/a`"),
    word("none", "nothing of it: a path is what it is"),
];

pub(super) static PATH_READINGS: NodeRow = NodeRow {
    name: "path-readings",
    arguments: &[argument("reading", Kind::Word(PATH_READINGS_WORDS), AtLeastOne)],
    doc: "How the servers behind may read a path, beside as it stands. Routes are chosen by each reading that a path makes possible (few paths have any but one); where all lead to the same route, the request goes on as the client wrote it, and where they differ it gets 400, since a server could take it for one that another route is about. Leave out what your servers do not do, where such requests must pass; add `case` where they ignore case.",
    default: "merged host decoded parameters",
    example: "site \"a.example\" {\n    path-readings merged decoded\n    route \"/admin/*\" { respond status=403; }\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

static ENCODED_SEPARATORS_WORDS: &[WordRow] =
    &[word("refuse", "as without it"), word("pass", "the same as `path-readings merged host`")];

pub(super) static ENCODED_SEPARATORS: NodeRow = NodeRow {
    name: "encoded-separators",
    arguments: &[argument("mode", Kind::Word(ENCODED_SEPARATORS_WORDS), One)],
    doc: "The older word for a part of `path-readings`. It is still taken, with a warning.",
    example: "site \"a.example\" {\n    encoded-separators pass\n    to \"10.0.0.1:80\"\n}",
    ..NodeRow::NEW
};

pub(super) static STRIP_PREFIX: NodeRow = NodeRow {
    name: "strip-prefix",
    arguments: &[argument("path", Kind::Prefix, One)],
    // More than one is reported by the decoder, together with others that do not go with it.
    repeats: true,
    doc: "Takes this from the start of the path sent upstream, where it is there.",
    example: "site \"a.example\" {\n    route \"/api/*\" {\n        strip-prefix \"/api\"\n        to \"10.0.0.3:9000\"\n    }\n}",
    ..NodeRow::NEW
};

pub(super) static REWRITE: NodeRow = NodeRow {
    name: "rewrite",
    arguments: &[argument("path", Kind::PathTemplate, One)],
    // More than one is reported by the decoder, together with others that do not go with it.
    repeats: true,
    doc: "The path sent upstream; the query is kept. It may have what the target of `redirect` may have. What clients put into it does not lead out of what stands here: by whatever reading a `..` appears, the answer is 400.",
    example: "site \"a.example\" {\n    route \"/v1/*\" {\n        rewrite \"/v2/{rest}\"\n        to \"10.0.0.3:9000\"\n    }\n}",
    ..NodeRow::NEW
};
