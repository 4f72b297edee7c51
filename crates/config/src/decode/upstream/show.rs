//! What is said of upstreams, splits and mirrors, written down again.

use super::super::Origins;
use super::super::layer::RawActionKind;
use super::super::reverse::Raw;
use super::super::show::{Shown, Writer};
use super::RawUpstream;
use super::resolve::RawMirror;
use crate::effective::quoted;
use crate::model::{Check, Place};
use crate::schema::{HEALTH_BLOCK, HEALTH_PROPERTIES, MIRROR_PROPERTIES, UPSTREAM_BLOCK, in_line};
use crate::source::Span;
use crate::values::share_text;

impl Writer<'_, '_> {
    pub(crate) fn upstreams(&mut self, raw: &Raw) {
        for upstream in &raw.upstreams {
            let place = self.decoder.place(upstream.span);
            self.out.block(0, "upstream", &upstream.name, place);
            self.rows(1, &UPSTREAM_BLOCK, upstream, &upstream.set);
        }
        if self.config.upstreams.iter().any(|upstream| upstream.inline) {
            // What holds for endpoints that sites and routes name themselves, left out when it is
            // read again.
            self.out.block(0, "/- upstream", "inline", Place::default());
            let raw = RawUpstream::new("inline", Span::default());
            self.rows(1, &UPSTREAM_BLOCK, &raw, &raw.set);
        }
    }

    pub(crate) fn health(&mut self, raw: &RawUpstream, shown: Shown<'_>) {
        if raw.settings.health.is_empty() {
            return self.remark(shown);
        }
        for (health, set) in raw.settings.health.iter().zip(&raw.health) {
            let shown = Shown { set, ..shown };
            let head = match &health.check {
                Check::Tcp => "tcp".to_owned(),
                Check::Grpc(_) => "grpc".to_owned(),
                Check::Http(check) => quoted(&check.path),
            };
            let fielded = health.http().filter(|check| !check.fields.is_empty());
            let opens = fielded.is_some();
            self.properties(shown, Some(&head), &HEALTH_PROPERTIES, health, opens);
            if let Some(check) = fielded {
                let set = Origins::at("field", shown.span());
                self.rows(shown.depth + 1, &HEALTH_BLOCK, check, &set);
            }
        }
    }

    pub(crate) fn mirror(&mut self, mirror: &RawMirror, shown: Shown<'_>) {
        let text = match &mirror.to {
            None => "off".to_owned(),
            Some(to) => target_text(to) + &in_line(&MIRROR_PROPERTIES, mirror),
        };
        self.value(shown.depth, shown.row.name, text, Some(mirror.span));
    }
}

pub(crate) fn share_quoted(share: u16) -> String {
    quoted(&share_text(share.into()))
}

/// An upstream's name, or endpoints; one with a weight stands there as often.
pub(crate) fn target_text(to: &RawActionKind) -> String {
    match to {
        RawActionKind::Upstream { name, .. } => name.to_string(),
        RawActionKind::Endpoints(endpoints) => {
            let written = endpoints.iter().flat_map(|endpoint| {
                std::iter::repeat_n(quoted(&endpoint.written), endpoint.weight.into())
            });
            written.collect::<Vec<_>>().join(" ")
        }
        RawActionKind::Split { .. }
        | RawActionKind::Files(_)
        | RawActionKind::Ready(_)
        | RawActionKind::Broken => String::new(),
    }
}
