//! `login` and `client`: what clients of a site, route or `forward` must prove.

use super::Count::One;
use super::rows::{argument, property, word};
use super::texts::{flag, joined, path};
use super::{Kind, NodeRow, Property, Read, Row, Show, WordRow, in_line};
use crate::decode::{ClientLists, HasLayer, RawLogin};
use crate::effective::quoted;

const WAYS: &[WordRow] = &[
    word(
        "basic",
        "a name and a password from a file of users (RFC 7617). Both cross the net in clear unless the connection is TLS",
    ),
    word("off", "none"),
];

pub(crate) static LOGIN_PROPERTIES: [Property<RawLogin>; 3] = [
    property(
        "file",
        Kind::Path,
        "",
        "With `basic`: the file of users, a line `name:hash` for each, as `htpasswd -B` and `bothways user add` write it. Hashes may be of bcrypt, argon2, SHA-512 and SHA-256 of crypt(3), apr1 and `{SHA}`. The proxy reads it again when it changes.",
    )
    .of(|it, file| it.login.file = file.path(), |it| Some(path(&it.login.file))),
    property(
        "realm",
        Kind::Text,
        "bothways",
        "What the login is for; browsers ask again for each realm, and some show it.",
    )
    .of(|it, realm| it.login.realm = realm.text().into(), |it| Some(quoted(&it.login.realm))),
    property(
        "pass",
        Kind::Flag,
        "#false",
        "Whether `Authorization` goes upstream too, for an application that has the same users. Not in a `forward`, which passes no credentials on.",
    )
    .of(|it, on| it.login.pass = on.flag(), |it| Some(flag(it.login.pass))),
];

pub(crate) static CLIENT_PROPERTIES: [Property<ClientLists>; 3] = [
property(
            "name",
            Kind::CertificateNames,
            "",
            "An alternative name of the certificate (host, mail address, URI or IP address) or its common name; `*.example.com` matches every host below. Separate several with commas.",
        ).of(|it, names| it.names = names.texts().to_vec(), |it| joined(&it.names)),
property(
            "fingerprint",
            Kind::Fingerprints,
            "",
            "The SHA-256 of the certificate in hexadecimal digits, with or without colons. Separate several with commas.",
        ).of(|it, all| it.fingerprints = all.texts().to_vec(), |it| joined(&it.fingerprints)),
property(
            "subject",
            Kind::Subject,
            "",
            "The whole subject as RFC 4514 writes it, such as `CN=ops,O=Example`; `bothways cert show` prints it.",
        ).of(|it, text| it.subject = Some(text.text().into()), |it| it.subject.as_deref().map(quoted)),
];

impl<T: HasLayer> Row<T> {
    pub(super) const LOGIN: Self = Row {
        node: NodeRow {
            name: "login",
            arguments: &[argument("way", Kind::Word(WAYS), One)],
            properties: &LOGIN_PROPERTIES,
            doc: "Clients must log in: others get 401 (407 in a `forward`) and are asked for a name and a password. The login of a route replaces the site's. The user is `{user}` in templates and in the access log. Passwords are checked beside the cores, at most a few at a time; one that was right needs no new check for a minute. After five wrong ones for a user from one address, or a hundred from one address, each further one must wait, up to a minute (429).",
            default: "off",
            example: "site \"wiki.example.com\" {\n    tls auto\n    login basic file=\"/etc/bothways/users\"\n    request { set \"X-Remote-User\" \"{user}\"; }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            let login = decoder.login(node);
            of.layer_mut().login = login;
        }),
        show: Show::Inherited(|of| {
            let raw = of.layer().login.as_ref()?;
            Some(if raw.is_on {
                format!("basic{}", in_line(&LOGIN_PROPERTIES, raw))
            } else {
                "off".to_owned()
            })
        }),
    };

    pub(super) const CLIENT: Self = Row {
        node: NodeRow {
            name: "client",
            properties: &CLIENT_PROPERTIES,
            repeats: true,
            doc: "Accepts only clients with such a certificate; others get 403. A line matches if all its properties match; one matching line is enough. The lines of a route replace the site's. `tls` must ask for certificates.",
            default: "every client",
            example: "site \"intranet.example.com\" {\n    tls auto { client request ca=\"staff-ca.pem\" }\n    route \"/admin/*\" {\n        client name=\"ops.example.com\"\n        to \"10.0.0.1:80\"\n    }\n    to \"10.0.0.1:80\"\n}",
            ..NodeRow::NEW
        },
        read: Read::Node(|decoder, of, node| {
            let line = decoder.client(node);
            of.layer_mut().clients.push(line);
        }),
        show: Show::Lines(|out, of, shown| {
            for line in &of.layer().clients {
                let lists = ClientLists::of(&line.any_of);
                let place = out.place(Some(line.span));
                out.line_at(shown, in_line(&CLIENT_PROPERTIES, &lists).trim_start(), place);
            }
        }),
    };
}
