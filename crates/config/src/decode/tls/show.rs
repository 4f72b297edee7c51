//! What is said of TLS, written down again.

use super::super::reverse::RawSite;
use super::super::show::{Shown as ShownRow, Writer};
use super::super::upstream::RawUpstream;
use super::{RawTls, RawTlsKind, RawTlsOptions, RawUpstreamTls};
use crate::effective::quoted;
use crate::model::{Config, SiteId};
use crate::schema::{CHALLENGE, EAB, NodeRow, Secrecy, UPSTREAM_TLS_BLOCK};
use crate::source::Span;
use crate::tls::{Acme, AcmeChallenge, ClientMatch, ClientPolicy, KeyKind, TlsVersion};
use crate::values::duration_text;

/// The text of a line, and without its secrets if it has any.
struct Shown {
    text: String,
    masked: Option<String>,
}

impl Shown {
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), masked: None }
    }

    /// One with a property of a node; `line` makes the text of its value as written.
    fn property(row: &NodeRow, name: &str, value: &str, line: impl Fn(&str) -> String) -> Self {
        let secrecy = row.property(name).map_or(Secrecy::Open, |row| row.secrecy);
        let masked = secrecy.masked(name, value).map(|masked| line(&quoted(&masked)));
        Self { text: line(&quoted(value)), masked }
    }
}

impl Writer<'_, '_> {
    fn shown(&mut self, depth: u8, name: &str, shown: Shown, span: Option<Span>) {
        let place = self.place(span);
        match shown.masked {
            Some(masked) => self.out.secret(depth, name, shown.text, masked, place),
            None => self.out.value(depth, name, shown.text, place),
        }
    }

    pub(in crate::decode) fn site_tls(&mut self, raw: &RawSite, id: SiteId, config: &Config) {
        self.tls(raw.tls.as_ref(), true);
        let ends_here = |tls: &&RawTls| tls.is_on() && !matches!(tls.kind, RawTlsKind::Passthrough);
        if raw.tls.as_ref().filter(ends_here).is_none() {
            return;
        }
        let redirect = config.sites.iter().find(|site| site.https == Some(id));
        let listener = redirect.and_then(|site| site.listeners.first());
        let listener = listener.and_then(|&id| config.listener(id));
        let span = raw.redirect_http.as_ref().map(|&(_, span)| span);
        let said = raw.redirect_http.as_ref().and_then(|(address, _)| address.as_ref());
        let text = match (said, listener) {
            (Some(address), _) => quoted(&address.written),
            (None, Some(listener)) => quoted(&listener.written),
            (None, None) => "off".to_owned(),
        };
        self.value(1, "redirect-http", text, span);
    }

    pub(in crate::decode) fn tls(&mut self, raw: Option<&RawTls>, in_site: bool) {
        let Some(raw) = raw else { return self.value(1, "tls", "off", None) };
        let names = |names: &[Box<str>]| match names {
            [] => String::new(),
            names => format!(" name={}", quoted(&names.join(","))),
        };
        let place = self.decoder.place(raw.span);
        match &raw.kind {
            RawTlsKind::Off => self.value(1, "tls", "off", Some(raw.span)),
            RawTlsKind::Passthrough => self.value(1, "tls", "passthrough", Some(raw.span)),
            RawTlsKind::Broken => {}
            RawTlsKind::Auto { acme, names: given } => {
                let acme = acme.as_ref().map(|(name, _)| format!(" acme={name}"));
                let text = format!("auto{}{}", acme.unwrap_or_default(), names(given));
                self.out.block(1, "tls", text, place);
                self.options(&raw.options, in_site);
            }
            RawTlsKind::Internal { names: given } => {
                self.out.block(1, "tls", format!("internal{}", names(given)), place);
                self.options(&raw.options, in_site);
            }
            RawTlsKind::Files(files) => {
                for (index, (files, span)) in files.iter().enumerate() {
                    let text = |path: &std::path::Path| quoted(&path.display().to_string());
                    let text = format!("cert={} key={}", text(&files.cert), text(&files.key));
                    if index > 0 {
                        self.value(1, "tls", text, Some(*span));
                        continue;
                    }
                    self.out.block(1, "tls", text, self.decoder.place(*span));
                    self.options(&raw.options, in_site);
                }
            }
        }
    }

    fn options(&mut self, options: &RawTlsOptions, in_site: bool) {
        let (versions, span) = match options.versions {
            Some((versions, span)) => (versions, Some(span)),
            None => ((TlsVersion::Tls12, TlsVersion::Tls13), None),
        };
        let text = match versions {
            (TlsVersion::Tls12, TlsVersion::Tls12) => "\"1.2\"",
            (TlsVersion::Tls13, _) => "\"1.3\"",
            (TlsVersion::Tls12, TlsVersion::Tls13) => "\"1.2\" \"1.3\"",
        };
        self.value(2, "versions", text, span);
        let span = options.client.as_ref().map(|&(_, span)| span);
        let text = match &options.client {
            None => "off".to_owned(),
            Some((client, _)) => {
                let policy = match client.policy {
                    ClientPolicy::Off => "off",
                    ClientPolicy::Request => "request",
                    ClientPolicy::Require => "require",
                };
                let files = |name: &str, files: &[std::path::PathBuf]| {
                    let file = files.first().map(|file| quoted(&file.display().to_string()));
                    file.map_or_else(String::new, |file| format!(" {name}={file}"))
                };
                format!("{policy}{}{}", files("ca", &client.ca), files("crl", &client.crl))
            }
        };
        self.value(2, "client", text, span);
        let flag = |option: Option<(bool, Span)>, otherwise: bool| match option {
            Some((on, span)) => (format!("#{on}"), Some(span)),
            None => (format!("#{otherwise}"), None),
        };
        let (tickets, span) = flag(options.tickets, true);
        self.value(2, "tickets", tickets, span);
        if !in_site {
            return;
        }
        let (early, span) = flag(options.early_data, false);
        self.value(2, "early-data", early, span);
        match &options.hsts {
            None => self.out.remark(2, "hsts", "off"),
            Some((hsts, span)) => {
                let text = format!(
                    "max-age={} subdomains=#{} preload=#{}",
                    quoted(&duration_text(hsts.max_age)),
                    hsts.subdomains,
                    hsts.preload
                );
                self.value(2, "hsts", text, Some(*span));
            }
        }
    }

    pub(in crate::decode) fn acme(&mut self, acme: &Acme, set: &[(&'static str, Span)]) {
        let set = |name: &str| set.iter().find(|(set, _)| *set == name).map(|&(_, span)| span);
        self.out.block(0, "acme", &*acme.name, acme.place);
        self.value(1, "directory", quoted(&acme.directory), set("directory"));
        let contacts: Vec<_> = acme.contacts.iter().map(|contact| quoted(contact)).collect();
        let contacts = (!contacts.is_empty()).then(|| contacts.join(" "));
        self.optional(1, "contact", contacts, "none", set("contact"));
        let challenge = match &acme.challenge {
            AcmeChallenge::Http => Shown::plain("http"),
            AcmeChallenge::TlsAlpn => Shown::plain("tls-alpn"),
            AcmeChallenge::Dns { command, wait } => {
                let wait = quoted(&duration_text(*wait));
                Shown::property(&CHALLENGE, "command", &command.join(" "), |command| {
                    format!("dns command={command} wait={wait}")
                })
            }
        };
        self.shown(1, "challenge", challenge, set("challenge"));
        let path = |path: &std::path::Path| quoted(&path.display().to_string());
        match &acme.eab {
            None => self.out.remark(1, "eab", "none"),
            Some(eab) => {
                let text = |id: &str| format!("key-id={id} key-file={}", path(&eab.key_file));
                let shown = Shown::property(&EAB, "key-id", &eab.key_id, text);
                self.shown(1, "eab", shown, set("eab"));
            }
        }
        let profile = acme.profile.as_ref().map(|profile| quoted(profile));
        self.optional(1, "profile", profile, "what the CA gives", set("profile"));
        let ca = acme.ca.as_ref().map(|ca| path(ca));
        self.optional(1, "ca", ca, "those of the system", set("ca"));
        let key = match acme.key {
            KeyKind::EcP256 | KeyKind::Ed25519 => "ec256",
            KeyKind::EcP384 => "ec384",
            KeyKind::Rsa2048 => "rsa2048",
            KeyKind::Rsa4096 => "rsa4096",
        };
        self.value(1, "key", key, set("key"));
    }

    /// TLS towards endpoints, if there are any that have it.
    pub(crate) fn upstream_tls(&mut self, raw: &RawUpstream, shown: ShownRow<'_>) {
        let settings = &raw.settings;
        let has_tls = settings.endpoints.iter().any(|endpoint| endpoint.tls)
            || settings.sources.iter().any(|source| source.tls);
        let default = RawUpstreamTls::default();
        let Some(tls) = raw.tls.as_ref().or_else(|| has_tls.then_some(&default)) else { return };
        self.out.block(shown.depth, shown.row.name, "", self.place(shown.span()));
        self.rows(shown.depth + 1, &UPSTREAM_TLS_BLOCK, tls, &tls.set);
    }
}

/// Clients as one line names them, each property with what stands before its name.
pub(in crate::decode) fn clients_text(any_of: &[ClientMatch], prefix: &str) -> Vec<String> {
    let list = |part: fn(&ClientMatch) -> Option<&str>| {
        let mut list: Vec<&str> = Vec::new();
        for text in any_of.iter().filter_map(part) {
            if !list.contains(&text) {
                list.push(text);
            }
        }
        list
    };
    let property = |name: &str, list: &[&str]| match list {
        [] => None,
        list => Some(format!("{prefix}{name}={}", quoted(&list.join(",")))),
    };
    let subjects = list(|client| client.subject.as_deref());
    let properties = [
        property("name", &list(|client| client.name.as_deref())),
        property("fingerprint", &list(|client| client.fingerprint.as_deref())),
        property("subject", subjects.get(..1).unwrap_or_default()),
    ];
    properties.into_iter().flatten().collect()
}
