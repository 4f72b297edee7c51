//! `ssl_…` of servers.

use crate::kdl::Node;

use super::Mapper;
use super::scope::Scope;

impl<'t> Mapper<'t> {
    /// `tls …` for a server; `None` if it has no certificate.
    pub(crate) fn tls(&mut self, scope: &Scope<'t>) -> Option<Vec<Node>> {
        let certificates = scope.all("ssl_certificate");
        let keys = scope.all("ssl_certificate_key");
        if certificates.is_empty() {
            return None;
        }
        let mut nodes = Vec::new();
        for (certificate, key) in certificates.iter().zip(&keys) {
            if certificate.word(0).contains(['$'])
                || certificate.word(0).starts_with("data:")
                || key.word(0).starts_with("engine:")
            {
                self.ledger.refused(
                    certificate.id,
                    "name the file: `tls cert=… key=…`, or use `tls auto`",
                );
                self.ledger.refused(key.id, "name the file");
                continue;
            }
            let (certificate_path, key_path) =
                (self.path(certificate.word(0)), self.path(key.word(0)));
            let node =
                Node::new("tls").property("cert", &certificate_path).property("key", &key_path);
            self.ledger.exact(certificate.id, "tls cert=");
            self.ledger.exact(key.id, "tls key=");
            let mut node = node.from(certificate.id).from(key.id);
            node.above.extend(certificate.above.iter().chain(&key.above).cloned());
            node.beside = certificate.beside.clone().or_else(|| key.beside.clone());
            nodes.push(node);
        }
        let options = self.tls_options(scope);
        if let Some(first) = nodes.first_mut() {
            first.guards |= options.iter().any(|one| one.guards);
            first.children = options;
        }
        (!nodes.is_empty()).then_some(nodes)
    }

    fn tls_options(&mut self, scope: &Scope<'t>) -> Vec<Node> {
        let mut options = Vec::new();
        if let Some(line) = scope.find("ssl_protocols") {
            let old = line.texts().any(|one| !matches!(one, "TLSv1.2" | "TLSv1.3"));
            let versions = Node::new("versions");
            match (line.has("TLSv1.2"), line.has("TLSv1.3")) {
                (true, false) => options.push(versions.text("1.2").from(line.id)),
                (false, true) => options.push(versions.text("1.3").from(line.id)),
                _ => {}
            }
            match old {
                true => self.ledger.near(
                    line.id,
                    "tls { versions }",
                    "versions before 1.2 are broken and not offered",
                ),
                false => self.ledger.exact(line.id, "tls { versions }"),
            }
        }
        if let Some(line) = scope.find("ssl_session_tickets") {
            self.ledger.exact(line.id, "tls { tickets }");
            if line.word(0) == "off" {
                options.push(Node::new("tickets").bare("#false").from(line.id));
            }
        }
        if let Some(line) = scope.find("ssl_early_data") {
            self.ledger.near(line.id, "tls { early-data }", "only for safe methods without a body");
            if line.word(0) == "on" {
                options.push(Node::new("early-data").bare("#true").from(line.id));
            }
        }
        options.extend(self.client_certificates(scope));
        options
    }

    fn client_certificates(&mut self, scope: &Scope<'t>) -> Option<Node> {
        let verify = scope.find("ssl_verify_client")?;
        let policy = match verify.word(0) {
            "on" => "require",
            "optional" => "request",
            "off" => {
                self.ledger.exact(verify.id, "");
                return None;
            }
            _ => {
                let note = "a certificate that a client shows must be valid here: `client request`";
                self.ledger.near(verify.id, "tls { client request }", note);
                "request"
            }
        };
        if policy == "require" {
            self.ledger.near(
                verify.id,
                "tls { client require }",
                "the handshake fails without a certificate (nginx: 400)",
            );
        } else {
            self.ledger.exact(verify.id, "tls { client request }");
        }
        let mut node = Node::new("client").bare(policy).from(verify.id).guarding();
        for (theirs, ours) in [("ssl_client_certificate", "ca"), ("ssl_crl", "crl")] {
            if let Some(line) = scope.find(theirs) {
                self.ledger.exact(line.id, &format!("tls {{ client {ours}= }}"));
                node = node.property(ours, &self.path(line.word(0)));
            }
        }
        Some(node)
    }
}
