//! `tls`, `acme`, `client` and what goes with them.
//!
//! Here nodes become raw parts, and what one node gets wrong by itself is told; [`resolve`] joins
//! the parts to the model and tells what does not fit together, [`show`] writes them down again.

pub(super) mod resolve;
pub(super) mod show;

use std::path::PathBuf;
use std::time::Duration;

use super::{Checked, Decoder, Given, Origins};
use crate::model::{Endpoint, Place};
use crate::schema::{
    ACME_BLOCK, CHALLENGE_PROPERTIES, CLIENT_PROPERTIES, EAB_PROPERTIES, FORWARD_TLS_BLOCK,
    FORWARD_TLS_PROPERTIES, HSTS_PROPERTIES, SITE_TLS_PROPERTIES, TLS_BLOCK, TLS_CLIENT_PROPERTIES,
    UPSTREAM_TLS_BLOCK,
};
use crate::source::Span;
use crate::tls::{
    Acme, AcmeChallenge, AcmeEab, CertificateFiles, ClientCertificates, ClientMatch, ClientPolicy,
    Hsts, KeyKind, TlsVersion, UpstreamTls,
};
use crate::values::LETSENCRYPT;

/// How long a DNS record may take to be seen, where nothing is said.
const DNS_WAIT: Duration = Duration::from_secs(30);

/// How long browsers keep to HTTPS, where nothing is said.
const HSTS_MAX_AGE: Duration = Duration::from_secs(365 * 86_400);

/// What a site or `forward` says of TLS.
#[derive(Debug)]
pub(crate) struct RawTls {
    /// Where the first of its nodes is.
    pub(super) span: Span,
    pub(super) kind: RawTlsKind,
    pub(super) options: RawTlsOptions,
    /// Where the node is that has the options in its block.
    block: Option<Span>,
}

/// The properties of a `tls` node.
#[derive(Debug, Default)]
pub(crate) struct TlsNode {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// The name of the directory.
    pub(crate) acme: Option<Box<str>>,
    pub(crate) names: Vec<Box<str>>,
}

#[derive(Debug)]
pub(crate) enum RawTlsKind {
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
pub(crate) struct RawTlsOptions {
    pub(crate) versions: Option<((TlsVersion, TlsVersion), Span)>,
    pub(crate) client: Option<(ClientCertificates, Span)>,
    pub(crate) early_data: Option<(bool, Span)>,
    pub(crate) tickets: Option<(bool, Span)>,
    pub(crate) hsts: Option<(Hsts, Span)>,
    pub(crate) set: Origins,
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
pub(crate) struct RawClients {
    pub(crate) any_of: Vec<ClientMatch>,
    pub(crate) span: Span,
}

/// Clients by what their certificates say, as one line lists them.
#[derive(Debug, Default)]
pub(crate) struct ClientLists {
    pub(crate) names: Vec<Box<str>>,
    pub(crate) fingerprints: Vec<Box<str>>,
    pub(crate) subject: Option<Box<str>>,
}

impl ClientLists {
    /// What the line was that became these.
    pub(crate) fn of(any_of: &[ClientMatch]) -> Self {
        let list = |part: fn(&ClientMatch) -> Option<&Box<str>>| {
            let mut list: Vec<Box<str>> = Vec::new();
            for text in any_of.iter().filter_map(part) {
                if !list.contains(text) {
                    list.push(text.clone());
                }
            }
            list
        };
        Self {
            names: list(|client| client.name.as_ref()),
            fingerprints: list(|client| client.fingerprint.as_ref()),
            subject: any_of.iter().find_map(|client| client.subject.clone()),
        }
    }

    /// Every combination of what is listed; none for nothing.
    pub(super) fn matches(&self, place: Place) -> Vec<ClientMatch> {
        let list = |all: &[Box<str>]| match all {
            [] => vec![None],
            all => all.iter().cloned().map(Some).collect(),
        };
        let (names, fingerprints) = (list(&self.names), list(&self.fingerprints));
        if names == [None] && fingerprints == [None] && self.subject.is_none() {
            return Vec::new();
        }
        let combined = names.iter().flat_map(|name| {
            let with = |fingerprint: &Option<Box<str>>| ClientMatch {
                place,
                name: name.clone(),
                fingerprint: fingerprint.clone(),
                subject: self.subject.clone(),
            };
            fingerprints.iter().map(with).collect::<Vec<_>>()
        });
        combined.collect()
    }
}

#[derive(Debug)]
pub(crate) struct RawAcme {
    pub(crate) acme: Acme,
    pub(crate) span: Span,
    pub(crate) set: Origins,
}

impl RawAcme {
    /// One that nobody wrote.
    pub(super) fn unwritten(acme: Acme) -> Self {
        Self { acme, span: Span::default(), set: Origins::default() }
    }
}

/// The properties of `challenge dns`.
pub(crate) struct RawChallenge {
    pub(crate) command: Box<str>,
    pub(crate) wait: Duration,
}

/// The properties of `eab`.
#[derive(Default)]
pub(crate) struct RawEab {
    pub(crate) key_id: Option<Box<str>>,
    pub(crate) key_file: Option<PathBuf>,
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
    /// Reads one of the `tls` nodes of a site or `forward`.
    pub(crate) fn tls(
        &mut self,
        raw: &mut Option<RawTls>,
        node: &Checked<'_, '_>,
        in_forward: bool,
    ) {
        let kind = self.tls_kind(node, in_forward);
        let block = node.node.children.as_ref().map(|_| node.name_span());
        let Some(first) = raw else {
            let options = self.tls_options(node, in_forward);
            *raw = Some(RawTls { span: node.name_span(), kind, options, block });
            return;
        };
        if block.is_some() {
            if let Some(earlier) = first.block {
                self.error(node.name_span(), "`tls` has two blocks of options")
                    .related(earlier, "the other one")
                    .hint("write one of them without a block; the options apply to all");
            }
            first.block = block;
            first.options = self.tls_options(node, in_forward);
        }
        match (&mut first.kind, kind) {
            (RawTlsKind::Files(files), RawTlsKind::Files(more)) => files.extend(more),
            (RawTlsKind::Broken, _) | (_, RawTlsKind::Broken) => {}
            _ => {
                self.error(node.name_span(), "there are two kinds of `tls`")
                    .related(first.span, "here first")
                    .hint("several are possible only if all of them have `cert` and `key`");
            }
        }
    }

    /// Tells what of all `tls` nodes does not go together.
    pub(super) fn check_tls(&mut self, raw: Option<&RawTls>) {
        let Some(raw) = raw else { return };
        if let (RawTlsKind::Off | RawTlsKind::Passthrough, Some(block)) = (&raw.kind, raw.block) {
            let word = if matches!(raw.kind, RawTlsKind::Off) { "off" } else { "passthrough" };
            self.error(block, format!("`tls {word}` has no options"))
                .hint("options are for TLS that terminates here");
        }
        self.check_options(&raw.options);
    }

    fn tls_kind(&mut self, node: &Checked<'_, '_>, in_forward: bool) -> RawTlsKind {
        let mode = node.first().map(|given| given.datum.text());
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
        let properties: &'static [_] =
            if in_forward { &FORWARD_TLS_PROPERTIES } else { &SITE_TLS_PROPERTIES };
        let mut given = TlsNode::default();
        node.put(properties, &mut given);
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
                let span = node.property("acme").map(|given| given.span);
                RawTlsKind::Auto { acme: given.acme.zip(span), names: given.names }
            }
            Some("internal") => RawTlsKind::Internal { names: given.names },
            _ if !node.node.arguments.is_empty() => RawTlsKind::Broken,
            _ => self.tls_files(node, given),
        }
    }

    fn tls_files(&mut self, node: &Checked<'_, '_>, given: TlsNode) -> RawTlsKind {
        let has = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        match (has("cert"), has("key")) {
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
        let files = given.cert.zip(given.key);
        let Some((cert, key)) = files else { return RawTlsKind::Broken };
        let span = node.name_span();
        let place = self.place(span);
        RawTlsKind::Files(vec![(CertificateFiles { place, cert, key }, span)])
    }

    fn tls_options(&mut self, node: &Checked<'_, '_>, in_forward: bool) -> RawTlsOptions {
        let table = if in_forward { &FORWARD_TLS_BLOCK } else { &TLS_BLOCK };
        let mut options = RawTlsOptions::default();
        options.set = self.block(node, table, &mut options);
        options
    }

    pub(crate) fn versions(&mut self, node: &Checked<'_, '_>) -> Option<(TlsVersion, TlsVersion)> {
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

    pub(crate) fn client_policy(&mut self, node: &Checked<'_, '_>) -> Option<ClientCertificates> {
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
        let mut client = ClientCertificates { policy, ca: Vec::new(), crl: Vec::new() };
        node.put(&TLS_CLIENT_PROPERTIES, &mut client);
        Some(client)
    }

    pub(crate) fn hsts(&mut self, node: &Checked<'_, '_>) -> Hsts {
        let mut hsts = Hsts { max_age: HSTS_MAX_AGE, subdomains: false, preload: false };
        node.put(&HSTS_PROPERTIES, &mut hsts);
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

    /// Reads a `client` node of a site or route.
    pub(crate) fn client(&mut self, node: &Checked<'_, '_>) -> RawClients {
        if node.node.properties.is_empty() && !node.node.damaged {
            self.error(node.node.span, "`client` needs a condition")
                .hint("write client name=\"…\", fingerprint=\"…\" or subject=\"…\"");
        }
        let mut lists = ClientLists::default();
        node.put(&CLIENT_PROPERTIES, &mut lists);
        let span = node.name_span();
        RawClients { any_of: lists.matches(self.place(span)), span }
    }

    pub(crate) fn acme(&mut self, node: &Checked<'_, '_>) -> RawAcme {
        let name = node.first();
        let mut raw = RawAcme {
            acme: Acme {
                place: self.place(node.name_span()),
                name: name.map_or("", |given| given.datum.text()).into(),
                ..default_acme()
            },
            span: name.map_or(node.name_span(), |given| given.span),
            set: Origins::default(),
        };
        raw.set = self.block(node, &ACME_BLOCK, &mut raw);
        raw
    }

    pub(crate) fn challenge(&mut self, node: &Checked<'_, '_>) -> Option<AcmeChallenge> {
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
        let mut dns = RawChallenge { command: Box::default(), wait: DNS_WAIT };
        node.put(&CHALLENGE_PROPERTIES, &mut dns);
        let mut words: Vec<Box<str>> = dns.command.split_whitespace().map(Into::into).collect();
        let Some((program, given)) = words.first_mut().zip(node.property("command")) else {
            self.error(node.node.span, "`challenge dns` needs the command that sets the record")
                .hint("write challenge dns command=\"/etc/bothways/dns-hook\"");
            return None;
        };
        if program.contains('/') {
            let path = self.path(std::path::Path::new(&**program), given.span);
            *program = path.display().to_string().into();
        }
        Some(AcmeChallenge::Dns { command: words, wait: dns.wait })
    }

    pub(crate) fn eab(&mut self, node: &Checked<'_, '_>) -> Option<AcmeEab> {
        let has = |name: &str| node.node.properties.iter().any(|given| given.name == name);
        if !(node.node.damaged || has("key-id") && has("key-file")) {
            self.error(node.node.span, "`eab` needs a key and its name")
                .hint("write eab key-id=\"…\" key-file=\"…\", as the CA says");
        }
        let mut eab = RawEab::default();
        node.put(&EAB_PROPERTIES, &mut eab);
        Some(AcmeEab { key_id: eab.key_id?, key_file: eab.key_file? })
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
pub(super) fn default_acme() -> Acme {
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
