//! `health`: how endpoints are checked.

use super::super::{Checked, Decoder};
use super::{number, put, text};
use crate::model::{Check, EditVerb, Health, HttpCheck};
use crate::schema::HTTP_CHECK;
use crate::values::Datum;

impl Decoder<'_> {
    pub(super) fn health(&mut self, node: &Checked<'_, '_>) -> Option<Health> {
        let given = node.first()?;
        let check = match &given.datum {
            Datum::Word("tcp") => Check::Tcp,
            Datum::Word(_) => {
                let service = node.property("service");
                Check::Grpc(service.map_or_else(Box::default, |given| text(&given.datum)))
            }
            path => Check::Http(self.http_check(node, path.text())),
        };
        self.check_fits(node, &check);
        let mut health = Health { place: self.place(node.name_span()), ..Health::new(check) };
        put(node, "every", &mut health.every, Datum::duration);
        health.every_down = health.every * 3;
        put(node, "every-down", &mut health.every_down, Datum::duration);
        put(node, "jitter", &mut health.jitter, number);
        put(node, "timeout", &mut health.timeout, Datum::duration);
        put(node, "rise", &mut health.rise, number);
        put(node, "fall", &mut health.fall, number);
        put(node, "port", &mut health.port, |datum| Some(number(datum)));
        Some(health)
    }

    fn http_check(&mut self, node: &Checked<'_, '_>, path: &str) -> HttpCheck {
        let mut check = HttpCheck {
            method: "GET".into(),
            path: path.into(),
            host: None,
            statuses: vec![(200, 399)],
            body: None,
            fields: Vec::new(),
        };
        put(node, "method", &mut check.method, text);
        put(node, "host", &mut check.host, |datum| Some(text(datum)));
        put(node, "body", &mut check.body, |datum| {
            Some(text(datum)).filter(|text| !text.is_empty())
        });
        if let Some(Datum::Statuses(statuses)) = node.property("status").map(|given| &given.datum) {
            check.statuses.clone_from(statuses);
        }
        for child in self.children(node) {
            let [name, value] = child.arguments.as_slice() else { continue };
            if name.datum.text().eq_ignore_ascii_case("host") {
                self.error(name.span, "`Host` is not a field here")
                    .hint("write health … host=\"…\"");
            } else if self.may_edit(name.datum.text(), name.span, EditVerb::Set, true) {
                check.fields.push((text(&name.datum), text(&value.datum)));
            }
        }
        if let Some(given) = node.property("body").filter(|_| &*check.method == "HEAD") {
            // RFC 9110, section 9.3.2.
            self.error(given.span, "the response to HEAD has no body").hint("write method=GET");
        }
        if let Some(given) = node.property("method").filter(|_| &*check.method == "CONNECT") {
            self.error(given.span, "CONNECT asks for no path").hint("write health tcp");
        }
        check
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
                self.error(given.span, format!("`{name}` means nothing for a check {kind}"));
            }
        }
        if !matches!(check, Check::Http(_)) && node.node.children.is_some() {
            self.error(node.name_span(), format!("a check {kind} has no fields"));
        }
    }
}
