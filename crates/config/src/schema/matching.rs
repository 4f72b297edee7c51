//! What a request is compared with: conditions of routes, rules about addresses; and which files are tried.

use super::Count::AtLeastOne;
use super::rows::{argument, property, word};
use super::texts::{joined, list};
use super::{Kind, NodeRow, Property, Read, Row, Show, WordRow, in_line};
use crate::decode::{HasLayer, Layer, RawCondition, RawFiles, target_text};
use crate::effective::quoted;
use crate::model::{AccessRule, FileServing, Satisfy};
use crate::values::{Datum, nets_text};

pub(crate) static CONDITION_PROPERTIES: [Property<RawCondition>; 8] = [
    property(
        "field",
        Kind::FieldName,
        "",
        "A request field. Of several fields with this name, one is enough.",
    )
    .of(|it, name| it.field = Some(name.text().into()), |it| it.field.as_deref().map(quoted)),
    property(
        "query",
        Kind::Text,
        "",
        "A parameter of the query. Percent-encodings and `+` are decoded before it is compared; of several parameters with this name, one is enough.",
    )
    .of(|it, name| it.query = Some(name.text().into()), |it| it.query.as_deref().map(quoted)),
    property("cookie", Kind::Token, "", "A cookie; of several with this name, one is enough.")
        .of(|it, name| it.cookie = Some(name.text().into()), |it| it.cookie.as_deref().map(quoted)),
    property(
        "is",
        Kind::Values,
        "",
        "What the field, parameter or cookie must be; separate several with commas. Without `is` and `matches` it must not be empty.",
    )
    .of(|it, values| it.is = values.texts().to_vec(), |it| joined(&it.is)),
    property(
        "matches",
        Kind::Regex,
        "",
        "A regular expression that must be found in the field, parameter or cookie; `^` and `$` are its ends.",
    )
    .of(
        |it, regex| {
            if let Datum::Regex(regex) = regex {
                it.matches = Some(regex.clone());
            }
        },
        |it| it.matches.as_ref().map(|regex| quoted(regex.as_str())),
    ),
    property("from", Kind::Networks, "", "Networks of the client; separate several with commas.")
        .of(
            |it, from| {
                if let Datum::Networks(from) = from {
                    it.from.clone_from(from);
                }
            },
            |it| (!it.from.is_empty()).then(|| quoted(&nets_text(&it.from))),
        ),
    property(
        "method",
        Kind::Methods,
        "",
        "Methods; separate several with commas. `GET` includes `HEAD`.",
    )
    .of(
        |it, methods| {
            if let Datum::Methods(methods) = methods {
                it.methods.clone_from(methods);
            }
        },
        |it| joined(&it.methods),
    ),
    property("path", Kind::Pattern, "", "A pattern of paths, as that of a route.").of(
        |it, pattern| {
            if let Datum::Pattern(pattern) = pattern {
                it.path = Some(pattern.clone());
            }
        },
        |it| it.path.as_ref().map(|path| quoted(&path.written)),
    ),
];

pub(super) static WHEN: Row<Layer> = Row {
    node: NodeRow {
        name: "when",
        properties: &CONDITION_PROPERTIES,
        repeats: true,
        doc: "A condition of the route: it takes only requests for which every property holds. All `when` lines must hold. Of routes with the same pattern, one with more conditions is tried first; if its conditions do not hold, the next less specific route is tried.",
        example: "site \"a.example\" {\n    route \"/api/*\" {\n        when field=\"X-Version\" is=\"2\"\n        to \"10.0.0.2:9000\"\n    }\n    route \"/api/*\" { to \"10.0.0.1:9000\" }\n}",
        rank: -1,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, layer, node| decoder.condition(layer, node, false)),
    show: Show::Lines(|out, layer, shown| {
        for line in &layer.conditions {
            let name = if line.negated { "unless" } else { "when" };
            let text = in_line(&CONDITION_PROPERTIES, line);
            let place = out.place(Some(line.span));
            out.named_line_at(shown.depth, name, text.trim_start().to_owned(), place);
        }
    }),
};

pub(super) static UNLESS: Row<Layer> = Row {
    node: NodeRow {
        name: "unless",
        properties: &CONDITION_PROPERTIES,
        repeats: true,
        doc: "The opposite of `when`: the route does not take requests for which every property holds. No `unless` line may hold.",
        example: "site \"a.example\" {\n    route \"/api/*\" {\n        unless path=\"/api/v1/*\" method=\"PUT\"\n        to \"10.0.0.2:9000\"\n    }\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, layer, node| decoder.condition(layer, node, true)),
    show: Show::With("when"),
};

pub(crate) static ACCESS_PROPERTIES: [Property<AccessRule>; 1] = [property(
    "from",
    Kind::Networks,
    "",
    "Networks of the client; separate several with commas. Without it, every address.",
)
.of(
    |it, from| {
        if let Datum::Networks(from) = from {
            it.from.clone_from(from);
        }
    },
    |it| (!it.from.is_empty()).then(|| quoted(&nets_text(&it.from))),
)];

static SATISFY_WORDS: &[WordRow] = &[
    word("all", "all that is asked of the client must hold"),
    word("any", "one of the things that are asked is enough: its address or its certificate"),
];

impl<T: HasLayer> Row<T> {
    pub(super) const ACCESS_DENY: Self = Row {
        node: NodeRow {
            name: "deny",
            properties: &ACCESS_PROPERTIES,
            repeats: true,
            doc: "Refuses clients by their addresses (403). `allow` and `deny` are tried in order, and the first that has the address decides. If none has it, the client is refused if there is any `allow`. The lines of a route replace the site's. The address is that of the client, as far back as proxies are trusted.",
            default: "every client",
            example: "site \"a.example\" {\n    deny from=\"10.6.6.6\"\n    allow from=\"10.0.0.0/8\"\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.access(of.layer_mut(), node, false)),
        show: Show::Lines(|out, of, shown| {
            for line in &of.layer().access {
                let name = if line.rule.allow { "allow" } else { "deny" };
                let text = in_line(&ACCESS_PROPERTIES, &line.rule);
                let place = out.place(Some(line.span));
                out.named_line_at(shown.depth, name, text.trim_start().to_owned(), place);
            }
        }),
    };

    pub(super) const ACCESS_ALLOW: Self = Row {
        node: NodeRow {
            name: "allow",
            properties: &ACCESS_PROPERTIES,
            repeats: true,
            doc: "Takes clients by their addresses: see `deny`.",
            default: "every client",
            example: "site \"a.example\" {\n    route \"/admin/*\" {\n        allow from=\"10.0.0.0/8\"\n        to \"10.0.0.1:80\"\n    }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.access(of.layer_mut(), node, true)),
        show: Show::With("deny"),
    };

    pub(super) const SATISFY: Self = Row {
        node: NodeRow {
            name: "satisfy",
            arguments: &[argument("mode", Kind::Word(SATISFY_WORDS), super::Count::One)],
            doc: "Whether a client must have all that is asked of it, by `allow` and `deny` and by `client`, or one of them.",
            default: "all",
            example: "site \"intranet.example.com\" {\n    tls auto { client request ca=\"staff-ca.pem\" }\n    allow from=\"10.0.0.0/8\"\n    client name=\"ops.example.com\"\n    satisfy any\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            let any = node.data().any(|mode| mode.text() == "any");
            let satisfy = if any { Satisfy::Any } else { Satisfy::All };
            of.layer_mut().satisfy = Some((satisfy, node.name_span()));
        }),
        show: Show::Inherited(|of| {
            Some(match of.layer().satisfy?.0 {
                Satisfy::All => "all".into(),
                Satisfy::Any => "any".into(),
            })
        }),
    };
}

pub(crate) static TRY_PROPERTIES: [Property<FileServing>; 1] = [property(
    "status",
    Kind::Status { min: 400, max: 599 },
    "404",
    "The status if none of them exists.",
)
.of(
    |it, status| it.missing_status = status.number_in(),
    |it| (it.missing_status != 404).then(|| it.missing_status.to_string()),
)];

pub(super) static TRY: Row<RawFiles> = Row {
    node: NodeRow {
        name: "try",
        arguments: &[argument("path", Kind::TryPath, AtLeastOne)],
        properties: &TRY_PROPERTIES,
        doc: "Paths below the directory; the first that exists is served. `{path}` is the path of the request, after `strip-prefix` or `rewrite`; captures and other [parts](#values) are possible too. One that ends with `/` is a directory with an index. A request for a directory without its slash is redirected only if `\"{path}/\"` is tried.",
        default: "the path of the request",
        example: "site \"a.example\" {\n    files \"/srv/www\" {\n        try \"{path}\" \"{path}.html\" \"{path}/\" \"/index.html\"\n    }\n}",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, files, node| decoder.try_files(files, node)),
    show: Show::Lines(|out, files, shown| {
        if let Some(text) = list(files.serving.tries.iter().map(|path| quoted(&path.written))) {
            out.line(shown, text + &in_line(&TRY_PROPERTIES, &files.serving));
        }
    }),
};

pub(super) static OTHERWISE: Row<RawFiles> = Row {
    node: NodeRow {
        name: "to",
        arguments: &[argument("upstream", Kind::Target, AtLeastOne)],
        doc: "Where requests go for which there is no file, and all that are not GET or HEAD: an upstream, by its name, or endpoints written here.",
        default: "none",
        example: "site \"a.example\" {\n    files \"/srv/app/public\" { to \"127.0.0.1:3000\" }\n}",
        rank: 1,
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, files, node| decoder.otherwise(files, node)),
    show: Show::Lines(|out, files, shown| {
        if let Some((to, _)) = &files.to {
            out.line(shown, target_text(to));
        }
    }),
};
