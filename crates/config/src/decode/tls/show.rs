//! What is said of TLS, written down again.

use super::super::reverse::RawSite;
use super::super::show::{Shown, Writer};
use super::super::upstream::RawUpstream;
use super::{RawTls, RawTlsKind, RawTlsOptions, RawUpstreamTls, TlsNode};
use crate::effective::quoted;
use crate::schema::{FORWARD_TLS_PROPERTIES, Table, UPSTREAM_TLS_BLOCK, in_line};

impl Writer<'_, '_> {
    /// Where clients that come in clear are sent from, if there is TLS.
    pub(crate) fn redirect_http(&mut self, raw: &RawSite, shown: Shown<'_>) {
        let ends_here = |tls: &&RawTls| tls.is_on() && !matches!(tls.kind, RawTlsKind::Passthrough);
        if raw.tls.as_ref().filter(ends_here).is_none() {
            return;
        }
        let redirect = self.config.sites.iter().find(|site| site.https == Some(raw.id));
        let listener = redirect.and_then(|site| site.listeners.first());
        let listener = listener.and_then(|&id| self.config.listener(id));
        let said = raw.redirect_http.as_ref().and_then(|(address, _)| address.as_ref());
        let text = match (said, listener) {
            (Some(address), _) => quoted(&address.written),
            (None, Some(listener)) => quoted(&listener.written),
            (None, None) => "off".to_owned(),
        };
        self.line(shown, text);
    }

    pub(crate) fn tls(
        &mut self,
        raw: Option<&RawTls>,
        options: &'static Table<RawTlsOptions>,
        shown: Shown<'_>,
    ) {
        let Some(raw) = raw else { return self.line(shown, "off") };
        let nodes = match &raw.kind {
            RawTlsKind::Broken => return,
            RawTlsKind::Off => return self.line(shown, "off"),
            RawTlsKind::Passthrough => return self.line(shown, "passthrough"),
            RawTlsKind::Auto { acme, names } => {
                let acme = acme.as_ref().map(|(name, _)| name.clone());
                let node = TlsNode { acme, names: names.clone(), ..TlsNode::default() };
                vec![("auto", node, raw.span)]
            }
            RawTlsKind::Internal { names } => {
                let node = TlsNode { names: names.clone(), ..TlsNode::default() };
                vec![("internal", node, raw.span)]
            }
            RawTlsKind::Files(files) => {
                let node = |(files, span): &(crate::tls::CertificateFiles, _)| {
                    let (cert, key) = (Some(files.cert.clone()), Some(files.key.clone()));
                    ("", TlsNode { cert, key, ..TlsNode::default() }, *span)
                };
                files.iter().map(node).collect()
            }
        };
        for (index, (mode, node, span)) in nodes.iter().enumerate() {
            // Its properties are those of a site's, and one more.
            let text = format!("{mode}{}", in_line(&FORWARD_TLS_PROPERTIES, node));
            match index {
                0 => {
                    self.block_at(shown, text.trim_start(), Some(*span));
                    self.rows(shown.depth + 1, options, &raw.options, &raw.options.set);
                }
                _ => self.line_at(shown, text.trim_start(), self.place(Some(*span))),
            }
        }
    }

    /// TLS towards endpoints, if there are any that have it.
    pub(crate) fn upstream_tls(&mut self, raw: &RawUpstream, shown: Shown<'_>) {
        let settings = &raw.settings;
        let has_tls = settings.endpoints.iter().any(|endpoint| endpoint.tls)
            || settings.sources.iter().any(|source| source.tls);
        let default = RawUpstreamTls::default();
        let Some(tls) = raw.tls.as_ref().or_else(|| has_tls.then_some(&default)) else { return };
        self.block_at(shown, "", shown.span());
        self.rows(shown.depth + 1, &UPSTREAM_TLS_BLOCK, tls, &tls.set);
    }
}
