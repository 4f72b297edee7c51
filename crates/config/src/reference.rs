//! `docs/reference.md`, written from the tables that define the language.

use std::fmt::Write as _;

use crate::model::{Limits, Timeouts};
use crate::schema::{
    self, Block, Count, Kind, LIMITS, NodeRow, PLANNED, Scope, Setting, TIMEOUTS, WordRow,
};

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Generated from the tables in crates/config/src/schema. To generate it again:
     BOTHWAYS_WRITE_REFERENCE=1 cargo test -p config --test reference -->

Every block of the configuration, with all its settings. [configuration.md](configuration.md) is a
tour by examples.

The language is [KDL 2](https://kdl.dev/spec/). Each line is a node: a name, values, properties
`name=value`, and for some nodes a block in braces. Text without spaces and special characters needs
no quotes (`off`, `round-robin`); all other text does. `//` starts a comment, `/* … */` encloses one,
and `/-` comments out the following node, value or block. The order of lines does not matter, except
for the rules of a `forward` and for edits of fields.

In the headings, `<…>` is a value, `[…]` is optional, and `…` means repetition. Every optional setting
has a default: `bothways show` prints every effective value, and the line or default it comes from.
`bothways check` finds mistakes, `bothways fmt` formats a file.

";

const VALUES: &str = "\
## Values

| kind | syntax |
|---|---|
| duration | `\"10s\"`, `\"250ms\"`, `\"5min\"`, `\"1h30min\"`, `\"2d\"`; units `ms`, `s`, `min`, `h`, `d`, the longest first |
| size | `\"64KiB\"`, `\"10MiB\"` (powers of 1024), `\"1GB\"` (powers of 1000), or a number of bytes |
| flag | `#true` or `#false` |
| listening address | `\":8080\"` (every address, IPv6 and IPv4), `\"127.0.0.1:80\"`, `\"[::1]:80\"` |
| endpoint | `\"10.0.0.1:8080\"`, `\"[2001:db8::1]:80\"`, `\"app.internal:8080\"`, `\"http://10.0.0.1\"`, `\"https://api.internal\"` (TLS), `\"unix:/run/app.sock\"` |
| network | `\"10.0.0.0/8\"`, `\"2001:db8::/32\"`, or one address; in properties, several separated by commas |
| ports | `443`, `\"80,443\"`, `\"8000-9000\"`, `any` |
| path of a file | as text; a relative path starts at the directory of the file that contains it |
| host name | in ASCII; other names in their encoded form, which starts with `xn--` |

The text of redirects, rewrites, field values and `respond` can contain variables in braces: the captures of the
route, `{rest}` for what `*` matches (empty in a route without it), the names of [maps](#map), and

| variable | value |
|---|---|
| `{client}` | the client's address |
| `{client-port}` | its port, or empty if a trusted proxy does not say it |
| `{host}` | the host, in lower case, without port |
| `{scheme}` | `http` or `https` |
| `{method}` | the method |
| `{path}` | the path as the client wrote it, without dot segments |
| `{query}` | the query, without its question mark |
| `{uri}` | path and query as the client wrote them (in a path without dot segments) |
| `{port}` | the port of the listener |
| `{request-id}` | the id of the request: that of a trusted proxy in `X-Request-Id`, or a new one (UUID version 7); the same one everywhere, and in the log as `request_id` |
| `{field:NAME}` | the request's fields of this name, separated by commas, or empty; `{header:NAME}` is the same. In `request` and `response` blocks as edited so far |
| `{cookie:NAME}` | the value of the first cookie of this name, or empty |
| `{query:NAME}` | the value of the first query parameter of this name as the client wrote it, percent-encoded, or empty |
| `{env:NAME}` | an environment variable of the proxy, read with the configuration |
| `{file:PATH}` | the content of a small text file without the line break at its end, read with the configuration; for secrets: `show`, `check`, `explain` and `/config` print the name alone |
| `{tls-version}` | `TLSv1.3` or `TLSv1.2`, empty in cleartext |
| `{tls-name}` | the server name that the client sent (SNI), or empty |
| `{client-subject}` | the subject of the client's certificate, in the form of RFC 4514, or empty |
| `{client-names}` | its alternative names, separated by commas, or empty |
| `{user}` | the name of the user who has logged in (`login`), or empty |
| `{client-fingerprint}` | its SHA-256 in hexadecimal, or empty |
| `{client-cert}` | the certificate itself: PEM, percent-encoded as by nginx and Apache, or empty |

`{{` and `}}` mean literal braces. What a variable writes is encoded for its place. A field value gets no control characters. In a path, a
variable other than `{path}`, `{uri}`, `{rest}` and captures is one segment, so that its `/` is `%2F`; in a query it is one value; it never
adds `..`, a host or a fragment. In `respond` see there. `{env:NAME}` and `{file:PATH}` stand as if they were written in the configuration.

";

/// The text of `docs/reference.md`.
pub(crate) fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    contents(&mut out);
    out.push_str(VALUES);
    let mut told: Vec<&'static NodeRow> = Vec::new();
    for &block in schema::BLOCKS {
        block_section(&mut out, block, &mut told);
    }
    out.push_str("## timeouts\n\nAllowed at the top level, and in `listen`, `site`, `route`, `upstream` and `forward`. The innermost setting wins; those of an upstream override all others.\n\n");
    settings(&mut out, TIMEOUTS, &Timeouts::default());
    out.push_str("## limits\n\nAllowed at the top level, and in `listen`, `site`, `route` and `forward`. The innermost setting wins.\n\n");
    settings(&mut out, LIMITS, &Limits::default());
    log_lines(&mut out);
    planned(&mut out);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn contents(out: &mut String) {
    out.push_str("- [Values](#values)\n");
    for &block in schema::BLOCKS {
        let title = title(block);
        let _ = writeln!(out, "- [{title}](#{})", anchor(title));
    }
    out.push_str("- [timeouts](#timeouts)\n- [limits](#limits)\n- [Log lines](#log-lines)\n- [Planned](#planned)\n\n");
}

fn title(block: &dyn Block) -> &'static str {
    if block.name() == schema::TOP.name() { "Top level" } else { block.name() }
}

/// The address of a heading in a page.
fn anchor(title: &str) -> String {
    let letters = title.to_lowercase().replace(' ', "-");
    letters.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}

fn block_section(out: &mut String, block: &'static dyn Block, told: &mut Vec<&'static NodeRow>) {
    let _ = writeln!(out, "## {}\n", title(block));
    let same = |left: &NodeRow, right: &NodeRow| left.name == right.name && left.doc == right.doc;
    let is_new = |row: &&NodeRow| !told.iter().any(|other| same(other, row));
    let (new, known): (Vec<_>, Vec<_>) = block.rows().into_iter().partition(is_new);
    let shared: Vec<_> = known.iter().map(|row| format!("`{}`", row.name)).collect();
    if !shared.is_empty() {
        let _ = writeln!(out, "As described above: {}.\n", shared.join(", "));
    }
    for row in new {
        node(out, row);
        told.push(row);
    }
}

fn node(out: &mut String, row: &'static NodeRow) {
    let _ = writeln!(out, "### `{}`\n\n{}\n", heading(row), row.doc);
    for argument in row.arguments {
        if let Kind::Word(words) = argument.kind {
            word_list(out, words);
        }
    }
    if !row.default.is_empty() {
        let _ = writeln!(out, "Default: {}.\n", code_if_written(row.default));
    }
    if row.properties().next().is_some() {
        properties(out, row);
    }
    if !row.example.is_empty() {
        let _ = writeln!(out, "```kdl\n{}\n```\n", row.example);
    }
}

/// Formats a default as code if it can be written so; a description stays plain text.
fn code_if_written(default: &str) -> String {
    if default.contains(' ') && default != "80 443" || matches!(default, "none" | "off") {
        default.to_owned()
    } else {
        format!("`{default}`")
    }
}

fn word_list(out: &mut String, words: &[WordRow]) {
    for row in words {
        let _ = writeln!(out, "- `{}`: {}", row.word, row.doc);
    }
    out.push('\n');
}

fn properties(out: &mut String, row: &NodeRow) {
    out.push_str("| property | default | effect |\n|---|---|---|\n");
    for property in row.properties() {
        let mut doc = property.doc.to_owned();
        if let Kind::Word(words) = property.kind {
            let words = words.iter().map(|row| format!("`{}` ({})", row.word, row.doc));
            let _ = write!(doc, " {}.", words.collect::<Vec<_>>().join(", "));
        }
        let default = match property.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(out, "| `{}` | {default} | {doc} |", property.name);
    }
    out.push('\n');
}

fn heading(row: &NodeRow) -> String {
    let mut out = row.name.to_owned();
    for argument in row.arguments {
        out.push_str(&match argument.count {
            Count::One => format!(" <{}>", argument.name),
            Count::Optional => format!(" [<{}>]", argument.name),
            Count::AtLeastOne => format!(" <{}> …", argument.name),
            Count::Any => format!(" [<{}> …]", argument.name),
        });
    }
    for property in row.properties() {
        let _ = write!(out, " [{}=…]", property.name);
    }
    if row.block.is_some() {
        out.push_str(" { … }");
    }
    out
}

fn settings<T>(out: &mut String, table: &'static [Setting<T>], defaults: &T) {
    out.push_str(
        "| setting | default | where, beside the top level | effect |\n|---|---|---|---|\n",
    );
    let scopes = [Scope::Listen, Scope::Site, Scope::Route, Scope::Upstream, Scope::Forward];
    for setting in table {
        let held = scopes.iter().filter(|&&scope| setting.holds_in(scope));
        let held: Vec<_> = held.map(|scope| format!("`{}`", scope.name())).collect();
        let row = &setting.row;
        let default = match (setting.text)(defaults) {
            unset if unset.is_empty() => "not set".to_owned(),
            value => format!("`{value}`"),
        };
        let held = held.join(", ");
        let _ = writeln!(out, "| `{}` | {default} | {held} | {} |", row.name, row.doc);
    }
    out.push('\n');
}

fn log_lines(out: &mut String) {
    out.push_str("## Log lines\n\nThe fields of a line of the access log, for `fields` and in braces in a `format`:\n\n");
    word_list(out, schema::LOG_FIELDS);
    out.push_str("A `format` may have these parts besides:\n\n");
    word_list(out, schema::LOG_PARTS);
    out.push_str("`{field:NAME}` is the value of a field of the request as the client sent it, `{response:NAME}` that of a field of the response.\n\n");
}

fn planned(out: &mut String) {
    out.push_str("## Planned\n\nThese names are reserved for planned features, and are errors in this version:\n\n");
    for (word, what) in PLANNED {
        let _ = writeln!(out, "- `{word}`: {what}");
    }
}
