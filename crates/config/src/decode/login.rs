//! `login`: what clients must prove.

use super::layer::Layer;
use super::{Checked, Decoder};
use crate::model::Login;
use crate::schema::LOGIN_PROPERTIES;

/// A `login` line.
#[derive(Debug)]
pub(crate) struct RawLogin {
    /// Whether there is one; if not, it only replaces that of the site.
    pub(crate) is_on: bool,
    pub(crate) login: Login,
}

impl Decoder<'_> {
    /// Reads a `login` node; `None` if it has a mistake.
    pub(crate) fn login(&mut self, node: &Checked<'_, '_>) -> Option<RawLogin> {
        let is_on = node.data().next()?.text() != "off";
        let mut raw = RawLogin { is_on, login: Login::new(self.place(node.name_span())) };
        node.put(&LOGIN_PROPERTIES, &mut raw);
        let has = |name: &str| node.node.properties.iter().any(|property| property.name == name);
        if is_on && !has("file") {
            self.error(node.node.span, "`login basic` needs a file of users").hint(
                "write login basic file=\"/etc/bothways/users\"; `bothways user add FILE NAME` makes it",
            );
            return None;
        }
        if !is_on && !node.node.properties.is_empty() {
            self.error(node.node.span, "`login off` takes nothing else");
            return None;
        }
        Some(raw)
    }

    /// Tells what of a login means nothing in a `forward`.
    pub(super) fn check_forward_login(&mut self, layer: &Layer) {
        let Some(login) = &layer.login else { return };
        if let Some(span) = layer.set.property("login", "pass").filter(|_| login.login.pass) {
            self.error(span, "a `forward` passes no credentials on: clients send them to this proxy alone")
                .hint("remove `pass`; what clients send to the destination itself (`Authorization`) goes there anyway");
        }
    }
}
