//! `health`: how endpoints are checked.

use super::super::{Checked, Decoder, Origins};
use super::{RawUpstream, text};
use crate::model::{Check, EditVerb, Health, HttpCheck};
use crate::schema::{HEALTH_BLOCK, HEALTH_PROPERTIES, HTTP_CHECK};
use crate::values::Datum;

impl Decoder<'_> {
    pub(crate) fn health(&mut self, raw: &mut RawUpstream, node: &Checked<'_, '_>) {
        let Some(given) = node.first() else { return };
        let check = match &given.datum {
            Datum::Word("tcp") => Check::Tcp,
            Datum::Word(_) => Check::Grpc(Box::default()),
            path => Check::Http(HttpCheck {
                method: "GET".into(),
                path: path.text().into(),
                host: None,
                statuses: vec![(200, 399)],
                body: None,
                fields: Vec::new(),
            }),
        };
        let mut health = Health { place: self.place(node.name_span()), ..Health::new(check) };
        node.put(&HEALTH_PROPERTIES, &mut health);
        if node.property("every-down").is_none() {
            health.every_down = health.every * 3;
        }
        self.check_fits(node, &health.check);
        if let Check::Http(check) = &mut health.check {
            self.block(node, &HEALTH_BLOCK, check);
            self.check_http(node, check);
        }
        raw.settings.health.push(health);
        let mut set = Origins::default();
        set.note(node);
        raw.health.push(set);
    }

    pub(crate) fn health_field(&mut self, check: &mut HttpCheck, node: &Checked<'_, '_>) {
        let [name, value] = node.arguments.as_slice() else { return };
        if name.datum.text().eq_ignore_ascii_case("host") {
            self.error(name.span, "`Host` cannot be set as a field here")
                .hint("write health … host=\"…\"");
        } else if self.may_edit(name.datum.text(), name.span, EditVerb::Set, true) {
            check.fields.push((text(&name.datum), text(&value.datum)));
        }
    }

    fn check_http(&mut self, node: &Checked<'_, '_>, check: &HttpCheck) {
        if let Some(given) = node.property("body").filter(|_| &*check.method == "HEAD") {
            // RFC 9110, section 9.3.2.
            self.error(given.span, "the response to HEAD has no body").hint("write method=GET");
        }
        if let Some(given) = node.property("method").filter(|_| &*check.method == "CONNECT") {
            self.error(given.span, "CONNECT has no path").hint("write health tcp");
        }
    }

    /// Tells properties that are for checks of another kind.
    fn check_fits(&mut self, node: &Checked<'_, '_>, check: &Check) {
        let (others, kind): (&[&str], _) = match check {
            Check::Http(_) => (&["service"], "by HTTP"),
            Check::Grpc(_) => (HTTP_CHECK, "by gRPC"),
            Check::Tcp => (&["method", "host", "status", "body", "service"], "by TCP"),
        };
        for (name, given) in &node.properties {
            if others.contains(name) {
                self.error(given.span, format!("`{name}` has no effect for a check {kind}"));
            }
        }
        if !matches!(check, Check::Http(_)) && node.node.children.is_some() {
            self.error(node.name_span(), format!("a check {kind} has no fields"));
        }
    }
}
