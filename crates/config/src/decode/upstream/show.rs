//! What is said of upstreams, splits and mirrors, written down again.

use super::super::Origins;
use super::super::layer::RawActionKind;
use super::super::show::{Shown, Writer};
use super::RawUpstream;
use super::resolve::{RawMirror, RawPart};
use crate::effective::quoted;
use crate::model::{Check, Place, Stay};
use crate::schema::{HEALTH_BLOCK, HEALTH_PROPERTIES, UPSTREAM_BLOCK};
use crate::source::Span;
use crate::values::{share_text, size_text};

impl Writer<'_, '_> {
    pub(in crate::decode) fn upstream(&mut self, raw: &RawUpstream) {
        self.out.block(0, "upstream", raw.name.to_string(), self.decoder.place(raw.span));
        self.rows(1, &UPSTREAM_BLOCK, raw, &raw.set);
    }

    /// What holds for endpoints that sites and routes name themselves, left out when it is read
    /// again.
    pub(in crate::decode) fn inline_upstreams(&mut self) {
        self.out.block(0, "/- upstream", "inline", Place::default());
        let raw = RawUpstream::new("inline", Span::default());
        self.rows(1, &UPSTREAM_BLOCK, &raw, &raw.set);
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

    pub(in crate::decode) fn split(
        &mut self,
        depth: u8,
        parts: &[RawPart],
        stay: &Stay,
        span: Span,
    ) {
        let text = match stay {
            Stay::No => "stay=no".to_owned(),
            Stay::Address => "stay=address".to_owned(),
            Stay::Cookie(name) => format!("stay=cookie cookie={}", quoted(name)),
        };
        self.out.block(depth, "split", text, self.decoder.place(span));
        for part in parts {
            let text = format!("{} {}", target_text(&part.to), share_quoted(part.share));
            self.value(depth + 1, "to", text, Some(part.span));
        }
    }

    pub(in crate::decode) fn mirror(&mut self, depth: u8, mirror: &RawMirror) {
        let text = match &mirror.to {
            None => "off".to_owned(),
            Some(to) => format!(
                "{} share={} body={} in-flight={}",
                target_text(to),
                share_quoted(mirror.share),
                quoted(&size_text(mirror.body_max.into())),
                mirror.in_flight
            ),
        };
        self.value(depth, "mirror", text, Some(mirror.span));
    }
}

fn share_quoted(share: u16) -> String {
    quoted(&share_text(share.into()))
}

/// An upstream's name, or endpoints; one with a weight stands there as often.
pub(in crate::decode) fn target_text(to: &RawActionKind) -> String {
    match to {
        RawActionKind::Upstream { name, .. } => name.to_string(),
        RawActionKind::Endpoints(endpoints) => {
            let written = endpoints.iter().flat_map(|endpoint| {
                std::iter::repeat_n(quoted(&endpoint.written), endpoint.weight.into())
            });
            written.collect::<Vec<_>>().join(" ")
        }
        RawActionKind::Split { .. } | RawActionKind::Ready(_) | RawActionKind::Broken => {
            String::new()
        }
    }
}
