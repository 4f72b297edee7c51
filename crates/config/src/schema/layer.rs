//! What sites, routes and `forward` have in common: what is done, and how.

use super::Count::{AtLeastOne, One, Optional};
use super::matching::{OTHERWISE, TRY};
use super::rows::{argument, limits, property, timeouts, word};
use super::texts::{flag, list, on_off, path};
use super::{
    Kind, LOG_PROPERTIES, NodeRow, Property, Read, Row, Scope, Show, Table, WordRow, in_line,
};
use crate::decode::{
    Edits, HasLayer, RawErrorPage, RawFiles, RawMaintenance, RawMirror, RawSplit, RawStay,
    share_quoted, target_text,
};
use crate::effective::quoted;
use crate::model::{Action, EditVerb, ErrorsFrom, FieldEdit, HostPolicy, Rewrite, Stay};
use crate::values::{Datum, nets_text, size_text};

impl<T: HasLayer> Row<T> {
    /// `timeouts`, where it stands.
    pub(super) const fn timeouts(scope: Scope) -> Self {
        Row {
            node: NodeRow { rank: -1, ..timeouts(scope) },
            read: Read::Node(|decoder, of, node| {
                of.layer_mut().timeouts = decoder.overrides(node, super::TIMEOUTS);
            }),
            show: Show::Lines(|out, of, shown| out.timeouts(of.layer(), shown)),
        }
    }

    /// `limits`, where it stands.
    pub(super) const fn limits(scope: Scope) -> Self {
        Row {
            node: NodeRow { rank: -1, ..limits(scope) },
            read: Read::Node(|decoder, of, node| {
                of.layer_mut().limits = decoder.overrides(node, super::LIMITS);
            }),
            show: Show::Lines(|out, of, shown| out.limits(of.layer(), shown)),
        }
    }

    pub(super) const TO: Self = Row {
        node: NodeRow {
            name: "to",
            arguments: &[argument("upstream", Kind::Target, AtLeastOne)],
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Sends requests to an upstream, by its name, or to endpoints written here (`https://` for TLS). In a site with routes, it handles every path that no route matches.",
            example: "site \"a.example\" { to \"10.0.0.1:8080\" \"app.internal:8080\" }",
            rank: 4,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.action(of.layer_mut(), node, |decoder, _, node| Some(decoder.to(node)));
        }),
        show: Show::Lines(|out, of, shown| out.action(of.layer(), shown)),
    };

    pub(super) const SPLIT: Self = Row {
        node: NodeRow {
            name: "split",
            properties: &SPLIT_PROPERTIES,
            block: Some(&SPLIT_BLOCK),
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Divides requests among several upstreams by share.",
            example: "upstream app { to \"10.0.0.1:8080\"; }\nupstream canary { to \"10.0.0.9:8080\"; }\nsite {\n    split stay=cookie {\n        to app \"95%\"\n        to canary \"5%\"\n    }\n}",
            rank: 4,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.action(of.layer_mut(), node, |decoder, _, node| Some(decoder.split(node)));
        }),
        show: Show::Lines(|out, of, shown| out.action(of.layer(), shown)),
    };

    pub(super) const REDIRECT: Self = Row {
        node: NodeRow {
            name: "redirect",
            arguments: &[argument("target", Kind::UrlTemplate, One)],
            properties: &REDIRECT_PROPERTIES,
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Redirects the client. The target may contain captures of the route, `{rest}`, `{host}`, `{path}`, `{query}` and the other [parts](#values). A `?` before an empty `{query}` is omitted; `{{` is a literal brace.",
            example: "site \"a.example\" {\n    route \"/old/*\" { redirect \"/new/{rest}\" status=301 }\n}",
            rank: 4,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.action(of.layer_mut(), node, |decoder, captures, node| {
                decoder.redirect(node, captures)
            });
        }),
        show: Show::Lines(|out, of, shown| out.action(of.layer(), shown)),
    };

    pub(super) const RESPOND: Self = Row {
        node: NodeRow {
            name: "respond",
            arguments: &[argument("text", Kind::Text, Optional)],
            properties: &RESPOND_PROPERTIES,
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Answers with this text. It may contain the same [parts](#values) as the target of `redirect`, encoded for its type: HTML and XML escape `<`, `&` and quotes, JSON and JavaScript are escaped for strings. In JSON, JavaScript and CSS a brace that opens no known part is kept; elsewhere `{{` and `}}` are braces.",
            example: "site \"a.example\" {\n    route \"/robots.txt\" { respond \"User-agent: *\\nDisallow: /\\n\" }\n    respond status=204\n}",
            rank: 4,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.action(of.layer_mut(), node, |decoder, captures, node| {
                decoder.respond(node, captures)
            });
        }),
        show: Show::Lines(|out, of, shown| out.action(of.layer(), shown)),
    };

    pub(super) const FILES: Self = Row {
        node: NodeRow {
            name: "files",
            arguments: &[argument("directory", Kind::Path, One)],
            block: Some(&FILES_BLOCK),
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Serves the files of a directory, with ranges and ETags. Nothing outside the directory can be reached, and names that begin with a dot are not served. The proxy looks up the path below the directory, after `strip-prefix` or `rewrite`.",
            example: "site \"a.example\" {\n    files \"/srv/www\" {\n        fallback \"/index.html\"\n    }\n}",
            rank: 4,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.action(of.layer_mut(), node, |decoder, captures, node| {
                decoder.files(node, captures)
            });
        }),
        show: Show::Lines(|out, of, shown| out.action(of.layer(), shown)),
    };

    pub(super) const MIRROR: Self = Row {
        node: NodeRow {
            name: "mirror",
            arguments: &[argument("upstream", Kind::Target, AtLeastOne)],
            properties: &MIRROR_PROPERTIES,
            repeats: true,
            doc: "Sends a copy of requests that go to an upstream to another upstream as well, and discards its responses without waiting for them. The `mirror` lines of a route replace the site's; `mirror off`: none.",
            default: "none",
            example: "upstream shadow { to \"10.0.9.1:8080\"; }\nsite {\n    mirror shadow share=\"10%\"\n    to \"10.0.0.1:8080\"\n}",
            rank: 1,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.mirror(of.layer_mut(), node)),
        show: Show::Lines(|out, of, shown| {
            of.layer().mirrors.iter().for_each(|mirror| out.mirror(mirror, shown));
        }),
    };

    pub(super) const STRIP_PREFIX: Self = Row {
        node: NodeRow {
            name: "strip-prefix",
            arguments: &[argument("path", Kind::Prefix, One)],
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "Removes this prefix from the path sent upstream, if the path begins with it. The application learns it from `X-Forwarded-Prefix`, after the prefix that a trusted proxy has sent there. Redirects and cookies of the application get the prefix on their way back: see `rewrite-responses`.",
            example: "site \"a.example\" {\n    route \"/api/*\" {\n        strip-prefix \"/api\"\n        to \"10.0.0.3:9000\"\n    }\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.rewrite(of.layer_mut(), node, |_, _, given| {
                Some(Rewrite::StripPrefix(given.datum.text().into()))
            });
        }),
        show: Show::Lines(|out, of, shown| match &of.layer().rewrite {
            Some((Rewrite::StripPrefix(prefix), _)) => out.line(shown, quoted(prefix)),
            Some((Rewrite::Keep | Rewrite::To(_), _)) | None => {}
        }),
    };

    pub(super) const REWRITE: Self = Row {
        node: NodeRow {
            name: "rewrite",
            arguments: &[argument("path", Kind::PathTemplate, One)],
            // More than one is reported by the decoder, together with others that do not go with it.
            repeats: true,
            doc: "The path sent upstream; the query is kept. It may contain what the target of `redirect` may contain. What clients put into it cannot lead out of the path written here: if a `..` appears in any reading of it, the response is 400.",
            example: "site \"a.example\" {\n    route \"/v1/*\" {\n        rewrite \"/v2/{rest}\"\n        to \"10.0.0.3:9000\"\n    }\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            decoder.rewrite(of.layer_mut(), node, |decoder, captures, given| {
                decoder.template(given.datum.text(), given.span, captures).map(Rewrite::To)
            });
        }),
        show: Show::Lines(|out, of, shown| match &of.layer().rewrite {
            Some((Rewrite::To(to), _)) => out.line(shown, quoted(&to.written)),
            Some((Rewrite::Keep | Rewrite::StripPrefix(_), _)) | None => {}
        }),
    };

    pub(super) const REQUEST: Self = Row {
        node: NodeRow {
            name: "request",
            block: Some(&FIELDS_BLOCK),
            doc: "Edits the request's fields before it goes upstream, in the order written; the site's edits come first, then the route's.",
            example: "site \"a.example\" {\n    request {\n        set \"X-Client\" \"{client}\"\n        remove \"Cookie\"\n    }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            let layer = of.layer_mut();
            layer.request_fields = decoder.edits(node, true, &layer.captures);
        }),
        show: Show::Lines(|out, of, shown| out.edits(&of.layer().request_fields, shown)),
    };

    pub(super) const RESPONSE: Self = Row {
        node: NodeRow {
            name: "response",
            block: Some(&FIELDS_BLOCK),
            doc: "Edits the response's fields before it goes to the client, in the order written; the site's edits come first, then the route's.",
            example: "site \"a.example\" {\n    response {\n        set \"Strict-Transport-Security\" \"max-age=31536000\"\n        remove \"Server\" \"X-Powered-By\"\n    }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            let layer = of.layer_mut();
            layer.response_fields = decoder.edits(node, false, &layer.captures);
        }),
        show: Show::Lines(|out, of, shown| out.edits(&of.layer().response_fields, shown)),
    };

    pub(super) const HOST: Self = Row {
        node: NodeRow {
            name: "host",
            arguments: &[argument("host", Kind::HostPolicy, One)],
            doc: "The Host sent upstream: the client's as written (`preserve`), the endpoint's as written (`endpoint`), or this one.",
            default: "preserve",
            example: "site \"a.example\" {\n    host endpoint\n    to \"app.internal:8080\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            if let Some(Datum::Host(policy)) = node.data().next() {
                of.layer_mut().host = Some((policy.clone(), node.name_span()));
            }
        }),
        show: Show::Inherited(|of| {
            Some(match &of.layer().host.as_ref()?.0 {
                HostPolicy::Preserve => "preserve".into(),
                HostPolicy::Endpoint => "endpoint".into(),
                HostPolicy::Literal(text) => quoted(text),
            })
        }),
    };

    pub(super) const REQUEST_ID: Self = Row {
        node: NodeRow {
            name: "request-id",
            arguments: &[argument("mode", Kind::Word(REQUEST_ID_WORDS), One)],
            doc: "Whether each request has an id that goes upstream and to the client as `X-Request-Id`, and into the log as `request_id`. It is the one that a trusted proxy has sent, if that has 1 to 128 visible ASCII characters; otherwise the proxy makes one (UUID version 7). Later edits of the field win. `{request-id}` names the same id in templates, with or without this setting.",
            default: "off",
            example: "site \"a.example\" {\n    request-id on\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            let on = node.data().any(|mode| mode.text() == "on");
            of.layer_mut().request_id = Some((on, node.name_span()));
        }),
        show: Show::Inherited(|of| Some(on_off(of.layer().request_id?.0))),
    };

    pub(super) const REWRITE_RESPONSES: Self = Row {
        node: NodeRow {
            name: "rewrite-responses",
            arguments: &[argument("mode", Kind::Word(REWRITE_RESPONSES_WORDS), One)],
            doc: "Whether the proxy puts what an application says of itself into the client's terms, in `Location`, `Content-Location`, `Refresh` and `Set-Cookie`. A URL with the application's own name and port (the Host sent to it, or its endpoint's address) gets the scheme, host and port that the client uses. With `strip-prefix`, a path of the application gets the prefix, unless it has it already. `Domain` of a cookie, if it is the application's own name, becomes the client's host.",
            default: "on",
            example: "site \"a.example\" {\n    route \"/app/*\" {\n        strip-prefix \"/app\"\n        rewrite-responses off\n        to \"10.0.0.1:80\"\n    }\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            let off = node.data().any(|mode| mode.text() == "off");
            of.layer_mut().keep_responses = Some((off, node.name_span()));
        }),
        show: Show::Inherited(|of| Some(on_off(!of.layer().keep_responses?.0))),
    };

    pub(super) const FORWARDED: Self = Row {
        node: NodeRow {
            name: "forwarded",
            arguments: &[argument("mode", Kind::Word(FORWARDED_WORDS), One)],
            doc: "Whether the proxy sends `Forwarded` (RFC 7239) to the next server. The field lists the addresses of the previous proxies in order. Only its first element has the scheme and host that the client asked for, as some servers read the first one and others the last.",
            default: "off",
            example: "site \"a.example\" {\n    forwarded on\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            let on = node.data().any(|mode| mode.text() == "on");
            of.layer_mut().forwarded = Some((on, node.name_span()));
        }),
        show: Show::Inherited(|of| Some(on_off(of.layer().forwarded?.0))),
    };

    pub(super) const UNDERSCORES: Self = Row {
        node: NodeRow {
            name: "underscores",
            arguments: &[argument("mode", Kind::Word(UNDERSCORES_WORDS), One)],
            doc: "What happens to request fields with a `_` in their name. CGI and its successors read it as a hyphen. So the proxy always drops a field that they would read as one that it writes, trusts or edits (`X_Real_IP`). Where an application trusts other fields that a server in front of it writes, `drop` is safer.",
            default: "pass",
            example: "site \"a.example\" {\n    underscores drop\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|_, of, node| {
            let drop = node.data().any(|mode| mode.text() == "drop");
            of.layer_mut().drop_underscores = Some((drop, node.name_span()));
        }),
        show: Show::Inherited(|of| {
            let (drop, _) = of.layer().drop_underscores?;
            Some(if drop { "drop".into() } else { "pass".into() })
        }),
    };

    pub(super) const ERROR_PAGE: Self = Row {
        node: NodeRow {
            name: "error-page",
            arguments: &[argument("status", Kind::Status { min: 400, max: 599 }, AtLeastOne)],
            properties: &ERROR_PAGE_PROPERTIES,
            repeats: true,
            doc: "The body of responses with these statuses. A page of text (HTML, XML, JSON, plain text) may contain the same [parts](#values) as the text of `respond`, encoded for its type, and `{status}` and `{reason}`; other braces stay as they are. By default these are the responses that the proxy makes itself, and those of endpoints pass unchanged; see `from`.",
            example: "site \"a.example\" {\n    error-page 502 503 504 file=\"down.html\"\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.error_page(of.layer_mut(), node)),
        show: Show::Lines(|out, of, shown| {
            for (page, span) in &of.layer().error_pages {
                let raw = RawErrorPage::from(page);
                let text = format!("{}{}", page.status, in_line(&ERROR_PAGE_PROPERTIES, &raw));
                out.line_at(shown, text, out.place(Some(*span)));
            }
        }),
    };

    pub(super) const MAINTENANCE: Self = Row {
        node: NodeRow {
            name: "maintenance",
            arguments: &[argument("mode", Kind::Word(MAINTENANCE_WORDS), Optional)],
            properties: &MAINTENANCE_PROPERTIES,
            doc: "Closes the site or route for maintenance as long as a file exists: requests get 503, and the log says `maintenance`. `bothways maintenance on SITE` creates the file, and `off` removes it. A line in a route replaces the site's; `maintenance off`: the route stays open.",
            default: "off",
            example: "site \"a.example\" {\n    maintenance file=\"/run/bothways/maintenance\" retry-after=\"10min\" except=\"10.0.0.0/8\"\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.maintenance(of.layer_mut(), node)),
        show: Show::Inherited(|of| {
            let (raw, _) = of.layer().maintenance.as_ref()?;
            let mode = if raw.is_off { "off" } else { "on" };
            let properties = match raw.is_off {
                true => String::new(),
                false => in_line(&MAINTENANCE_PROPERTIES, raw),
            };
            Some(format!("{mode}{properties}"))
        }),
    };

    pub(super) const LOG: Self = Row {
        node: NodeRow {
            name: "log",
            properties: &LOG_PROPERTIES,
            doc: "Another access log than that of the process, or of the site. What a line does not say stays as it is further out.",
            default: "that of `process`",
            example: "site \"a.example\" {\n    log access=\"/var/log/bothways/a.log\" format=combined\n    route \"/health\" {\n        log access=off\n        respond\n    }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.log(of.layer_mut(), node)),
        show: Show::Lines(|out, of, shown| {
            if let Some((raw, span)) = &of.layer().log {
                let text = in_line(&LOG_PROPERTIES, raw);
                out.line_at(shown, text.trim_start(), out.place(Some(*span)));
            }
        }),
    };

    pub(super) const PATH_READINGS: Self = Row {
        node: NodeRow {
            name: "path-readings",
            arguments: &[argument("reading", Kind::Word(PATH_READINGS_WORDS), AtLeastOne)],
            doc: "How the servers behind the proxy may read a path, besides literally. The proxy chooses a route for each possible reading of the path (few paths have more than one). If all lead to the same route, the request goes on as the client wrote it. If they differ, it gets 400, since a server could read it as a path of another route. Where such requests must pass, leave out what your servers do not do; add `case` where they ignore case.",
            default: "merged host decoded parameters",
            example: "site \"a.example\" {\n    path-readings merged decoded\n    route \"/admin/*\" { respond status=403; }\n    to \"10.0.0.1:80\"\n}",
            rank: 2,
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.path_readings(of.layer_mut(), node)),
        show: Show::Inherited(|of| Some(of.layer().path_readings?.0.written())),
    };

    pub(super) const ENCODED_SEPARATORS: Self = Row {
        node: NodeRow {
            name: "encoded-separators",
            arguments: &[argument("mode", Kind::Word(ENCODED_SEPARATORS_WORDS), One)],
            doc: "The older word for a part of `path-readings`. It still works, with a warning.",
            example: "site \"a.example\" {\n    encoded-separators pass\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| decoder.encoded_separators(of.layer_mut(), node)),
        show: Show::With("path-readings"),
    };
}

static REQUEST_ID_WORDS: &[WordRow] = &[
    word("on", "it is sent upstream and to the client, and logged"),
    word("off", "it is made and logged only where a template names it"),
];

static MAINTENANCE_WORDS: &[WordRow] =
    &[word("on", "it can be closed; the same without a word"), word("off", "it is always open")];

static FORWARDED_WORDS: &[WordRow] = &[
    word("on", "it does, in addition to `X-Forwarded-*`, with the same content"),
    word(
        "off",
        "it does not; a received one is dropped, and what a trusted proxy says in it goes on in `X-Forwarded-*`",
    ),
];

static REWRITE_RESPONSES_WORDS: &[WordRow] = &[
    word("on", "it does"),
    word("off", "these fields go to the client as the application has written them"),
];

static UNDERSCORES_WORDS: &[WordRow] =
    &[word("pass", "they go on"), word("drop", "they are left out, in trailers too")];

static PATH_READINGS_WORDS: &[WordRow] = &[
    word("merged", "empty segments are merged: `//a` is `/a`"),
    word("host", "a leading `//name` is a host: `//name/a` is `/a`"),
    word(
        "decoded",
        "encoded separators are decoded: `%2F`, `%5C`, `\\` and `%u002F` are slashes, `%00` ends the path",
    ),
    word("parameters", "what follows a `;` is cut from its segment: `/a;b/c` is `/a/c`"),
    word("case", "upper and lower case are the same: `/A` is `/a`"),
    word("none", "no other reading: a path is read literally"),
];

static ENCODED_SEPARATORS_WORDS: &[WordRow] =
    &[word("refuse", "as without it"), word("pass", "the same as `path-readings merged host`")];

/// How many of something there may be at once.
const COUNT: Kind = Kind::Number { min: 1, max: 1_000_000 };

const STAYS: &[WordRow] = &[
    word("address", "the client's address decides"),
    word("cookie", "a cookie keeps the first decision for the client"),
    word("no", "each request is decided separately"),
];

pub(crate) static MIRROR_PROPERTIES: [Property<RawMirror>; 3] = [
    property("share", Kind::Share { zero: false }, "100%", "How many of the requests are copied.")
        .of(|it, share| it.share = share.number_in(), |it| Some(share_quoted(it.share))),
    property(
        "body",
        Kind::Size { min: 0, max: 16 << 20 },
        "64KiB",
        "Requests with a longer body are not copied.",
    )
    .of(
        |it, size| it.body_max = size.number_in(),
        |it| Some(quoted(&size_text(it.body_max.into()))),
    ),
    property(
        "in-flight",
        COUNT,
        "64",
        "Copies in flight at most, per core; further requests are not copied.",
    )
    .of(|it, number| it.in_flight = number.number_in(), |it| Some(it.in_flight.to_string())),
];

pub(crate) static REDIRECT_PROPERTIES: [Property<Action>; 1] = [property(
    "status",
    Kind::Status { min: 301, max: 308 },
    "308",
    "301, 302, 303, 307 or 308. With 307 and 308 clients keep the method and the body.",
)
.of(
    |it, number| {
        if let Action::Redirect { status, .. } = it {
            *status = number.number_in();
        }
    },
    |it| match it {
        Action::Redirect { status, .. } => Some(status.to_string()),
        _ => None,
    },
)];

pub(crate) static RESPOND_PROPERTIES: [Property<Action>; 3] = [
    property(
        "file",
        Kind::Path,
        "",
        "A file in place of the text, as in `error-page`: at most 1 MiB, read with the configuration; its extension gives the Content-Type.",
    )
    .of(
        |it, file| {
            if let Action::Respond { page, .. } = it {
                page.get_or_insert_default().file = file.path();
            }
        },
        |it| match it {
            Action::Respond { page, .. } => page.as_ref().map(|page| path(&page.file)),
            _ => None,
        },
    ),
    property("status", Kind::Status { min: 200, max: 599 }, "200", "The status.").of(
        |it, number| {
            if let Action::Respond { status, .. } = it {
                *status = number.number_in();
            }
        },
        |it| match it {
            Action::Respond { status, .. } => Some(status.to_string()),
            _ => None,
        },
    ),
    property("type", Kind::FieldValue, "text/plain; charset=utf-8", "The Content-Type.").of(
        |it, text| {
            if let Action::Respond { content_type, .. } = it {
                *content_type = text.text().into();
            }
        },
        |it| match it {
            Action::Respond { content_type, .. } => Some(quoted(content_type)),
            _ => None,
        },
    ),
];

const ERRORS_FROM: &[WordRow] = &[
    word("proxy", "those that the proxy makes itself"),
    word("upstream", "those of endpoints"),
    word("both", "all"),
];

pub(crate) static ERROR_PAGE_PROPERTIES: [Property<RawErrorPage>; 2] = [
    property(
        "file",
        Kind::Path,
        "",
        "The file with the body, at most 1 MiB, read with the configuration; its extension gives the Content-Type. Required.",
    )
    .of(|it, file| it.file = file.path(), |it| Some(path(&it.file))),
    property(
        "from",
        Kind::Word(ERRORS_FROM),
        "proxy",
        "Whose responses get this body. A response of an endpoint keeps its status and its fields, except those that describe its own body (`Content-Encoding`, `ETag` …); responses to gRPC calls pass unchanged.",
    )
    .of(
        |it, word| {
            it.from = match word.text() {
                "upstream" => ErrorsFrom::Upstream,
                "both" => ErrorsFrom::Both,
                _ => ErrorsFrom::Proxy,
            };
        },
        |it| match it.from {
            ErrorsFrom::Proxy => None,
            ErrorsFrom::Upstream => Some("upstream".into()),
            ErrorsFrom::Both => Some("both".into()),
        },
    ),
];

pub(crate) static MAINTENANCE_PROPERTIES: [Property<RawMaintenance>; 4] = [
    property(
        "file",
        Kind::Path,
        "",
        "The site is closed as long as this file exists; the proxy looks twice a second. Without `file`, only the command closes the site; it keeps that in the `state` directory, so that it outlasts a restart.",
    )
    .of(|it, file| it.file = Some(file.path()), |it| it.file.as_deref().map(path)),
    property(
        "retry-after",
        Kind::Duration { zero: false },
        "5min",
        "When clients should ask again (`Retry-After`).",
    )
    .of(|it, time| it.retry_after = time.duration(), |it| Some(super::texts::time(it.retry_after))),
    property(
        "page",
        Kind::Path,
        "",
        "The file with the body, as in `error-page`; without it, that of `error-page 503`.",
    )
    .of(|it, file| it.page_file = Some(file.path()), |it| it.page_file.as_deref().map(path)),
    property(
        "except",
        Kind::Networks,
        "",
        "Clients in these networks are served all the same. Separate several with commas.",
    )
    .of(
        |it, nets| {
            if let Datum::Networks(nets) = nets {
                it.except.clone_from(nets);
            }
        },
        |it| (!it.except.is_empty()).then(|| quoted(&nets_text(&it.except))),
    ),
];

pub(crate) static SPLIT_PROPERTIES: [Property<RawStay>; 2] = [
    property("stay", Kind::Word(STAYS), "address", "How a client stays with its part.").of(
        |it, word| {
            it.stay = match word.text() {
                "no" => Stay::No,
                "cookie" => Stay::Cookie(it.cookie.clone()),
                _ => Stay::Address,
            };
        },
        |it| {
            Some(match &it.stay {
                Stay::No => "no".into(),
                Stay::Address => "address".into(),
                Stay::Cookie(_) => "cookie".into(),
            })
        },
    ),
    property("cookie", Kind::Token, "bw-split", "The name of the cookie, with `stay=cookie`.").of(
        |it, name| {
            it.cookie = name.text().into();
            if let Stay::Cookie(cookie) = &mut it.stay {
                cookie.clone_from(&it.cookie);
            }
        },
        |it| match &it.stay {
            Stay::Cookie(name) => Some(quoted(name)),
            Stay::No | Stay::Address => None,
        },
    ),
];

static PART: Row<RawSplit> = Row {
    node: NodeRow {
        name: "to",
        arguments: &[
            argument("upstream", Kind::Target, One),
            argument("share", Kind::Share { zero: true }, One),
        ],
        repeats: true,
        doc: "An upstream, or an endpoint written here, and its share of the requests; all shares add up to 100%.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, split, node| decoder.part(split, node)),
    show: Show::Lines(|out, split, shown| {
        for part in &split.parts {
            let text = format!("{} {}", target_text(&part.to), share_quoted(part.share));
            out.line_at(shown, text, out.place(Some(part.span)));
        }
    }),
};

pub(crate) static SPLIT_BLOCK: Table<RawSplit> = Table { name: "split", rows: &[&PART] };

pub(crate) static FILES_BLOCK: Table<RawFiles> =
    Table { name: "files", rows: &[&TRY, &INDEX, &LISTING, &FALLBACK, &OTHERWISE] };

static INDEX: Row<RawFiles> = Row {
    node: NodeRow {
        name: "index",
        arguments: &[argument("file", Kind::Text, AtLeastOne)],
        doc: "The file served for a directory: the first of these that exists. `index off`: none.",
        default: "index.html",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, files, node| files.serving.index = decoder.index(node)),
    show: Show::Value(|files| {
        let names = files.serving.index.iter().map(|name| quoted(name));
        Some(list(names).unwrap_or_else(|| "off".into()))
    }),
};

static LISTING: Row<RawFiles> = Row {
    node: NodeRow {
        name: "listing",
        arguments: &[argument("flag", Kind::Flag, One)],
        doc: "Whether a directory without an index file is listed.",
        default: "#false",
        ..NodeRow::NEW
    },
    read: Read::Value(|files, on| files.serving.listing = on.flag()),
    show: Show::Value(|files| Some(flag(files.serving.listing))),
};

static FALLBACK: Row<RawFiles> = Row {
    node: NodeRow {
        name: "fallback",
        arguments: &[argument("path", Kind::Prefix, One)],
        doc: "The file, below the directory, served when the requested file does not exist; for single-page applications.",
        default: "none: 404",
        ..NodeRow::NEW
    },
    read: Read::Value(|files, path| files.serving.fallback = Some(path.text().into())),
    show: Show::Lines(|out, files, shown| {
        if let Some(fallback) = &files.serving.fallback {
            out.line(shown, quoted(fallback));
        }
    }),
};

pub(crate) static FIELDS_BLOCK: Table<Edits> =
    Table { name: "request and response", rows: &[&SET, &ADD, &REMOVE] };

/// Fields of which nobody else knows that they are secret.
pub(crate) static FIELD_PROPERTIES: [Property<FieldEdit>; 1] = [property(
    "secret",
    Kind::Flag,
    "",
    "Whether `show` and `/config` mask the value; by default they do if the name (`Authorization`, `Cookie`, `X-Api-Key`, …) or the value (`Bearer …`) shows that it is a secret.",
)
    .of(|it, value| it.secret = Some(value.flag()), |it| it.secret.map(flag))];

pub(crate) static SET: Row<Edits> = Row {
    node: NodeRow {
        name: "set",
        arguments: &[
            argument("field", Kind::FieldName, One),
            argument("value", Kind::ValueTemplate, One),
        ],
        properties: &FIELD_PROPERTIES,
        repeats: true,
        doc: "Replaces every field of this name by one, both received fields and those that the proxy writes itself. The value may contain what the target of `redirect` may contain. Fields that control message framing or the connection (`Content-Length`, `Connection`, `Upgrade` …) cannot be edited, nor can `Host` (see `host`); `Expect` and `Proxy` never go upstream.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, edits, node| decoder.edit(edits, node, EditVerb::Set)),
    show: Show::Lines(|out, edits, shown| out.edit_lines(edits, shown)),
};

pub(crate) static ADD: Row<Edits> = Row {
    node: NodeRow {
        name: "add",
        arguments: &[
            argument("field", Kind::FieldName, One),
            argument("value", Kind::ValueTemplate, One),
        ],
        properties: &FIELD_PROPERTIES,
        repeats: true,
        doc: "Adds another field of this name.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, edits, node| decoder.edit(edits, node, EditVerb::Add)),
    show: Show::With("set"),
};

static REMOVE: Row<Edits> = Row {
    node: NodeRow {
        name: "remove",
        arguments: &[argument("field", Kind::FieldName, AtLeastOne)],
        repeats: true,
        doc: "Removes every field of these names.",
        ..NodeRow::NEW
    },
    read: Read::Node(|decoder, edits, node| decoder.remove(edits, node)),
    show: Show::With("set"),
};
