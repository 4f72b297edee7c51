//! `tls`, `acme`, `client` and what goes with them.
//!
//! Here nodes become raw parts, and what one node gets wrong by itself is told; [`resolve`] joins
//! the parts to the model and tells what does not fit together, [`show`] writes them down again.

pub(super) mod resolve;
pub(super) mod show;

use std::path::PathBuf;

use super::{Checked, Decoder, Given, Origins};
use crate::model::{Endpoint, Place};
use crate::schema::UPSTREAM_TLS_BLOCK;
use crate::source::Span;
use crate::tls::{
    Acme, AcmeChallenge, AcmeEab, CertificateFiles, ClientCertificates, ClientMatch, ClientPolicy,
    Hsts, KeyKind, TlsVersion, UpstreamTls,
};
use crate::values::LETSENCRYPT;

/// How long a DNS record may take to be seen, where nothing is said.
const DNS_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// How long browsers keep to HTTPS, where nothing is said.
const HSTS_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);

/// What a site or `forward` says of TLS.
#[derive(Debug)]
pub(super) struct RawTls {
    /// Where the first of its nodes is.
    pub(super) span: Span,
    pub(super) kind: RawTlsKind,
    pub(super) options: RawTlsOptions,
}

#[derive(Debug)]
pub(super) enum RawTlsKind {
    Off,
    Passthrough,
    Files(Vec<(CertificateFiles, Span)>),
    Auto {
        /// The name of the directory.
        acme: Option<(Box<str>, Span)>,
        names: Vec<Box<str>>,
    },
    Internal {
        names: Vec<Box<str>>,
    },
    /// Something with a mistake that is told.
    Broken,
}

/// Options, each with where it stands.
#[derive(Debug, Default)]
pub(super) struct RawTlsOptions {
    pub(super) versions: Option<((TlsVersion, TlsVersion), Span)>,
    pub(super) client: Option<(ClientCertificates, Span)>,
    pub(super) early_data: Option<(bool, Span)>,
    pub(super) tickets: Option<(bool, Span)>,
    pub(super) hsts: Option<(Hsts, Span)>,
}

impl RawTls {
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.kind, RawTlsKind::Off)
    }

    pub(super) fn asks_for_certificates(&self) -> bool {
        let client = self.options.client.as_ref();
        client.is_some_and(|(client, _)| client.policy != ClientPolicy::Off)
    }
}

/// One line of `client`.
#[derive(Debug)]
pub(super) struct RawClients {
    pub(super) any_of: Vec<ClientMatch>,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) struct RawAcme {
    pub(super) acme: Acme,
    pub(super) span: Span,
    /// By the name of the node.
    pub(super) set: Vec<(&'static str, Span)>,
}

/// What an upstream says of TLS, and where each setting stands.
#[derive(Debug, Default)]
pub(crate) struct RawUpstreamTls {
    pub(crate) tls: UpstreamTls,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) set: Origins,
}

impl Decoder<'_> {
    /// Reads the `tls` nodes of a site or `forward`.
    pub(super) fn tls(&mut self, nodes: &[&Checked<'_, '_>], in_forward: bool) -> Option<RawTls> {
        let (&first, others) = nodes.split_first()?;
        let mut kind = self.tls_kind(first, in_forward);
        let mut options = self.tls_options(first);
        let mut block = first.node.children.as_ref().map(|_| first.name_span());
        for node in others {
            if node.node.children.is_some() {
                if let Some(earlier) = block {
                    self.error(node.name_span(), "`tls` has two blocks of options")
                        .related(earlier, "the other one")
                        .hint("write one of them without a block; the options apply to all");
                }
                block = Some(node.name_span());
                options = self.tls_options(node);
            }
            match (&mut kind, self.tls_kind(node, in_forward)) {
                (RawTlsKind::Files(files), RawTlsKind::Files(more)) => files.extend(more),
                (RawTlsKind::Broken, _) | (_, RawTlsKind::Broken) => {}
                _ => {
                    self.error(node.name_span(), "there are two kinds of `tls`")
                        .related(first.name_span(), "here first")
                        .hint("several are possible only if all of them have `cert` and `key`");
                }
            }
        }
        if let (RawTlsKind::Off | RawTlsKind::Passthrough, Some(block)) = (&kind, block) {
            let word = if matches!(kind, RawTlsKind::Off) { "off" } else { "passthrough" };
            self.error(block, format!("`tls {word}` has no options"))
                .hint("options are for TLS that terminates here");
        }
        self.check_options(&options);
        Some(RawTls { span: first.name_span(), kind, options })
    }

    fn tls_kind(&mut self, node: &Checked<'_, '_>, in_forward: bool) -> RawTlsKind {
        let mode = node.first().map(|given| given.datum.text());
        let span = node.name_span();
        let has = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        let takes: &[&str] = match mode {
            Some("auto") if in_forward => &["acme", "name"],
            Some("auto") => &["acme"],
            Some("internal") if in_forward => &["name"],
            Some(_) => &[],
            None => &["cert", "key"],
        };
        for property in &node.node.properties {
            let known = node.row.property(&property.name).is_some();
            if known && !takes.contains(&&*property.name) {
                let message = match mode {
                    Some(mode) => format!("`{}` is not possible with `tls {mode}`", property.name),
                    None => format!("`{}` is not possible with `cert` and `key`", property.name),
                };
                let hint = match (&*property.name, mode) {
                    ("acme", _) => "it goes with `tls auto`",
                    ("name", _) => "it goes with `tls auto` and `tls internal`",
                    (_, Some("auto" | "internal")) => "omit the word for certificates from files",
                    _ => "it is for certificates from files, without a word",
                };
                self.error(property.name_span, message).hint(hint);
                return RawTlsKind::Broken;
            }
        }
        let names = || node.property("name").map_or_else(Vec::new, |n| n.datum.texts().to_vec());
        match mode {
            Some("off") => RawTlsKind::Off,
            Some("passthrough") => RawTlsKind::Passthrough,
            Some("auto") if in_forward && !has("name") => {
                self.error(
                    node.node.span,
                    "`tls auto` needs the name by which clients reach the proxy",
                )
                .hint("write tls auto name=\"proxy.example.com\"");
                RawTlsKind::Broken
            }
            Some("auto") => {
                let acme = node.property("acme");
                let acme = acme.map(|given| (given.datum.text().into(), given.span));
                RawTlsKind::Auto { acme, names: names() }
            }
            Some("internal") => RawTlsKind::Internal { names: names() },
            _ if !node.node.arguments.is_empty() => RawTlsKind::Broken,
            _ => self.tls_files(node, span),
        }
    }

    fn tls_files(&mut self, node: &Checked<'_, '_>, span: Span) -> RawTlsKind {
        let given = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        match (given("cert"), given("key")) {
            (false, false) => {
                self.error(node.node.span, "`tls` needs a source of certificates")
                    .hint("write tls auto, tls internal, or tls cert=\"…\" key=\"…\"");
            }
            (true, false) => {
                self.error(node.node.span, "`cert` needs its key")
                    .hint("add key=\"…\"; it may be the same file");
            }
            (false, true) => {
                self.error(node.node.span, "`key` needs its certificate").hint("add cert=\"…\"");
            }
            (true, true) => {}
        }
        let cert = node.property("cert").map(|given| given.datum.path());
        let key = node.property("key").map(|given| given.datum.path());
        let Some((cert, key)) = cert.zip(key) else { return RawTlsKind::Broken };
        let place = self.place(span);
        RawTlsKind::Files(vec![(CertificateFiles { place, cert, key }, span)])
    }

    fn tls_options(&mut self, node: &Checked<'_, '_>) -> RawTlsOptions {
        let mut options = RawTlsOptions::default();
        for child in self.children(node) {
            let span = child.name_span();
            match child.row.name {
                "versions" => options.versions = self.versions(&child).map(|v| (v, span)),
                "client" => options.client = self.client_policy(&child).map(|c| (c, span)),
                "hsts" => options.hsts = Some((self.hsts(&child), span)),
                name => {
                    let Some(flag) = child.first().map(|given| given.datum.flag()) else {
                        continue;
                    };
                    let option = match name {
                        "early-data" => &mut options.early_data,
                        _ => &mut options.tickets,
                    };
                    *option = Some((flag, span));
                }
            }
        }
        options
    }

    fn versions(&mut self, node: &Checked<'_, '_>) -> Option<(TlsVersion, TlsVersion)> {
        let version = |given: &Given| match given.datum.text() {
            "1.2" => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let versions: Vec<_> = node.arguments.iter().map(version).collect();
        let wrong = node.arguments.iter().zip(&versions).skip(1).zip(&versions);
        if let Some(((given, _), _)) =
            wrong.clone().find(|((_, version), before)| version <= before)
        {
            let twice = wrong.clone().any(|((_, version), before)| version == before);
            let what =
                if twice { "a version appears twice" } else { "the oldest version comes first" };
            self.error(given.span, what).hint("write versions \"1.2\" \"1.3\", or one of them");
        }
        Some((*versions.iter().min()?, *versions.iter().max()?))
    }

    fn client_policy(&mut self, node: &Checked<'_, '_>) -> Option<ClientCertificates> {
        let policy = match node.first()?.datum.text() {
            "request" => ClientPolicy::Request,
            "require" => ClientPolicy::Require,
            _ => ClientPolicy::Off,
        };
        let has = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        if policy == ClientPolicy::Off && (has("ca") || has("crl")) {
            self.error(node.node.span, "with `client off`, no client certificate is requested")
                .hint("write client require, or client request");
        }
        if policy != ClientPolicy::Off && !has("ca") {
            self.error(node.node.span, "the CAs of client certificates are missing")
                .hint("add ca=\"clients-ca.pem\"");
        }
        let files = |name| node.property(name).map(|given| given.datum.path());
        let (ca, crl) = (files("ca"), files("crl"));
        Some(ClientCertificates {
            policy,
            ca: ca.into_iter().collect(),
            crl: crl.into_iter().collect(),
        })
    }

    fn hsts(&mut self, node: &Checked<'_, '_>) -> Hsts {
        let flag = |name| node.property(name).is_some_and(|given| given.datum.flag());
        let max_age = node.property("max-age").map(|given| given.datum.duration());
        let hsts = Hsts {
            max_age: max_age.unwrap_or(HSTS_MAX_AGE),
            subdomains: flag("subdomains"),
            preload: flag("preload"),
        };
        if hsts.preload && (!hsts.subdomains || hsts.max_age < HSTS_MAX_AGE) {
            let span = node.property("preload").map_or(node.name_span(), |given| given.span);
            self.warning(span, "the preload lists of browsers will not accept the name")
                .hint("they require subdomains=#true and max-age=\"365d\" or more");
        }
        hsts
    }

    /// Tells options that do not go together.
    fn check_options(&mut self, options: &RawTlsOptions) {
        let Some((true, span)) = options.early_data else { return };
        if let Some((false, tickets)) = options.tickets {
            self.error(span, "early data needs tickets, because it needs session resumption")
                .related(tickets, "they are disabled here");
            return;
        }
        if let Some(((_, TlsVersion::Tls12), versions)) = options.versions {
            self.error(span, "early data needs TLS 1.3")
                .related(versions, "TLS 1.3 is disabled here");
            return;
        }
        self.warning(span, "an attacker can replay early data").hint(
            "only safe methods are accepted; the upstream gets `Early-Data: 1` and can answer 425",
        );
    }

    /// Reads one line of `client`, or such properties of a rule: every combination of what is
    /// listed.
    pub(super) fn clients(&mut self, node: &Checked<'_, '_>, prefix: &str) -> Vec<ClientMatch> {
        let given = |name: &str| node.property(&format!("{prefix}{name}")).map(|g| &g.datum);
        let place = self.place(node.name_span());
        let list = |name: &str| match given(name) {
            Some(datum) => datum.texts().iter().cloned().map(Some).collect(),
            None => vec![None],
        };
        let subject: Option<Box<str>> = given("subject").map(|datum| datum.text().into());
        let (names, fingerprints) = (list("name"), list("fingerprint"));
        if names == [None] && fingerprints == [None] && subject.is_none() {
            return Vec::new();
        }
        let combined = names.iter().flat_map(|name| {
            let with = |fingerprint: &Option<Box<str>>| ClientMatch {
                place,
                name: name.clone(),
                fingerprint: fingerprint.clone(),
                subject: subject.clone(),
            };
            fingerprints.iter().map(with).collect::<Vec<_>>()
        });
        combined.collect()
    }

    /// Reads a `client` node of a site or route.
    pub(super) fn client(&mut self, node: &Checked<'_, '_>) -> RawClients {
        if node.node.properties.is_empty() && !node.node.damaged {
            self.error(node.node.span, "`client` needs a condition")
                .hint("write client name=\"…\", fingerprint=\"…\" or subject=\"…\"");
        }
        RawClients { any_of: self.clients(node, ""), span: node.name_span() }
    }

    pub(super) fn acme(&mut self, node: &Checked<'_, '_>) -> RawAcme {
        let name = node.first();
        let mut raw = RawAcme {
            acme: Acme {
                place: self.place(node.name_span()),
                name: name.map_or("", |given| given.datum.text()).into(),
                ..default_acme()
            },
            span: name.map_or(node.name_span(), |given| given.span),
            set: Vec::new(),
        };
        for child in self.children(node) {
            raw.set.push((child.row.name, child.name_span()));
            let acme = &mut raw.acme;
            match (child.row.name, child.first()) {
                ("challenge", _) => {
                    if let Some(challenge) = self.challenge(&child) {
                        acme.challenge = challenge;
                    }
                }
                ("eab", _) => acme.eab = self.eab(&child),
                ("contact", _) => {
                    let mails = child.arguments.iter().map(|given| given.datum.text().into());
                    acme.contacts.extend(mails);
                }
                (_, None) => {}
                ("directory", Some(given)) => acme.directory = given.datum.text().into(),
                ("profile", Some(given)) => acme.profile = Some(given.datum.text().into()),
                ("ca", Some(given)) => acme.ca = Some(given.datum.path()),
                ("key", Some(given)) => acme.key = key_kind(given.datum.text()),
                _ => {}
            }
        }
        raw
    }

    fn challenge(&mut self, node: &Checked<'_, '_>) -> Option<AcmeChallenge> {
        let kind = node.first()?.datum.text();
        let property = node.node.properties.first();
        if kind != "dns"
            && let Some(property) = property.filter(|p| node.row.property(&p.name).is_some())
        {
            self.error(
                property.name_span,
                format!("`{}` is only possible with `challenge dns`", property.name),
            );
        }
        match kind {
            "http" => return Some(AcmeChallenge::Http),
            "tls-alpn" => return Some(AcmeChallenge::TlsAlpn),
            _ => {}
        }
        let command = node.property("command");
        let words = command.map_or("", |given| given.datum.text()).split_whitespace();
        let mut words: Vec<Box<str>> = words.map(Into::into).collect();
        let Some((program, given)) = words.first_mut().zip(command) else {
            self.error(node.node.span, "`challenge dns` needs the command that sets the record")
                .hint("write challenge dns command=\"/etc/bothways/dns-hook\"");
            return None;
        };
        if program.contains('/') {
            let path = self.path(std::path::Path::new(&**program), given.span);
            *program = path.display().to_string().into();
        }
        let wait = node.property("wait").map_or(DNS_WAIT, |given| given.datum.duration());
        Some(AcmeChallenge::Dns { command: words, wait })
    }

    fn eab(&mut self, node: &Checked<'_, '_>) -> Option<AcmeEab> {
        let has = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        if !(node.node.damaged || has("key-id") && has("key-file")) {
            self.error(node.node.span, "`eab` needs a key and its name")
                .hint("write eab key-id=\"…\" key-file=\"…\", as the CA says");
        }
        let key_id = node.property("key-id")?.datum.text().into();
        let key_file = node.property("key-file")?.datum.path();
        Some(AcmeEab { key_id, key_file })
    }

    /// Reads the `tls` block of an upstream.
    pub(crate) fn upstream_tls(&mut self, node: &Checked<'_, '_>) -> RawUpstreamTls {
        let mut raw = RawUpstreamTls::default();
        raw.set = self.block(node, &UPSTREAM_TLS_BLOCK, &mut raw);
        match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => {
                let place = raw.set.node("cert").map_or_else(Place::default, |at| self.place(at));
                let (cert, key) = (cert.clone(), key.clone());
                raw.tls.client = Some(CertificateFiles { place, cert, key });
            }
            (Some(_), None) => {
                let span = raw.set.node("cert").unwrap_or(node.name_span());
                self.error(span, "`cert` needs its key")
                    .hint("add key \"…\"; it may be the same file");
            }
            (None, Some(_)) => {
                let span = raw.set.node("key").unwrap_or(node.name_span());
                self.error(span, "`key` needs its certificate").hint("add cert \"…\"");
            }
            (None, None) => {}
        }
        self.check_verify(&raw);
        raw
    }

    pub(crate) fn server_name(&mut self, node: &Checked<'_, '_>) -> Option<Box<str>> {
        let given = node.first()?;
        match given.datum.texts() {
            [name] => Some(name.clone()),
            _ => {
                self.error(given.span, "one name is expected")
                    .hint("endpoints with different names go into different upstreams");
                None
            }
        }
    }

    fn check_verify(&mut self, raw: &RawUpstreamTls) {
        let Some(span) = raw.set.node("verify").filter(|_| !raw.tls.verify) else { return };
        if let Some(ca) = raw.set.node("ca") {
            self.error(span, "with `verify off`, the CA is not used")
                .related(ca, "a CA is named here")
                .hint("omit `verify off`: the CA is enough");
            return;
        }
        self.warning(
            span,
            "the endpoints' certificates are NOT verified: an attacker between them can read and change everything",
        )
        .hint("name their CA: ca \"ca.pem\"");
    }

    /// Warns of endpoints of which some are spoken to over TLS and some in clear.
    pub(super) fn check_mixed(&mut self, endpoints: &[Endpoint], spans: &[Span]) {
        let all = || endpoints.iter().zip(spans);
        let secure = all().find(|(endpoint, _)| endpoint.tls);
        let clear = all().find(|(endpoint, _)| !endpoint.tls && !is_unix(endpoint));
        let Some(((secure, &related), (clear, &span))) = secure.zip(clear) else { return };
        let message = format!(
            "`{}` is cleartext, and `{}` in the same upstream uses TLS",
            clear.written, secure.written
        );
        self.warning(span, message)
            .related(related, "this one has TLS")
            .hint("write \"https://…\" for each that has TLS");
    }
}

fn is_unix(endpoint: &Endpoint) -> bool {
    matches!(endpoint.address, crate::model::EndpointAddress::Unix(_))
}

/// The directory that `tls auto` asks where nothing is said.
fn default_acme() -> Acme {
    Acme {
        place: Place::default(),
        name: "".into(),
        directory: LETSENCRYPT.into(),
        contacts: Vec::new(),
        challenge: AcmeChallenge::Http,
        eab: None,
        profile: None,
        ca: None,
        key: KeyKind::default(),
    }
}

fn key_kind(word: &str) -> KeyKind {
    match word {
        "ec384" => KeyKind::EcP384,
        "rsa2048" => KeyKind::Rsa2048,
        "rsa4096" => KeyKind::Rsa4096,
        _ => KeyKind::EcP256,
    }
}
