//! Who may come in: `allow`, `deny`, `auth_basic`, `satisfy`. What cannot be said here closes the
//! location: nothing that nginx protects is served without protection.

use std::net::IpAddr;

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::scope::Scope;

/// What stands before a location.
pub(crate) enum Access {
    /// These lines; none: everybody.
    Lines(Vec<Node>),
    /// It is refused to everybody, as nginx does.
    Denied,
    /// It must stay closed until the operator writes what is missing.
    Closed,
}

/// Directives of modules that keep clients out and have no counterpart.
const GUARDS: &[&str] = &[
    "auth_request",
    "auth_jwt",
    "auth_digest",
    "auth_ldap",
    "auth_pam",
    "auth_gss",
    "access_by_lua",
    "access_by_lua_block",
    "access_by_lua_file",
    "secure_link",
    "secure_link_md5",
    "js_access",
    "modsecurity",
];

impl<'t> Mapper<'t> {
    /// What nginx asks of clients in a location.
    pub(crate) fn access(&mut self, scope: &Scope<'t>) -> Access {
        for name in GUARDS {
            if let Some(line) = scope.find(name).filter(|line| !line.has("off")) {
                let note =
                    "it keeps clients out, and is planned: until then the location is closed (503)";
                self.ledger.planned(line.id, note);
                return Access::Closed;
            }
        }
        let mut nodes = Vec::new();
        let rules = scope.all_of(&["allow", "deny"]);
        if let Some(first) = rules.first()
            && first.name == "deny"
            && first.word(0) == "all"
            && !self.satisfies_any(scope)
        {
            for rule in &rules {
                self.ledger.exact(rule.id, "respond status=403");
            }
            return Access::Denied;
        }
        let everybody =
            rules.first().is_some_and(|one| one.name == "allow" && one.word(0) == "all");
        if everybody || rules.is_empty() {
            rules.iter().for_each(|rule| self.ledger.exact(rule.id, "(everybody may)"));
        } else if self.words.has(Word::Access) {
            nodes.extend(rules.iter().filter_map(|rule| self.rule(rule)));
        } else {
            for rule in &rules {
                self.ledger.planned(
                    rule.id,
                    "rules by address in sites: until then the location is closed (503)",
                );
            }
            return Access::Closed;
        }
        if let Some(line) = scope.find("auth_basic").filter(|line| line.word(0) != "off") {
            let Some(login) = self.login(scope, line) else { return Access::Closed };
            nodes.push(login);
        }
        if let Some(line) = scope.find("satisfy") {
            match line.word(0) {
                "any" if self.words.has(Word::Satisfy) => {
                    self.ledger.exact(line.id, "satisfy any");
                    nodes.push(Node::new("satisfy").bare("any").from(line.id).guarding());
                }
                "any" => {
                    self.ledger.planned(line.id, "until then all that is asked must hold");
                }
                _ => self.ledger.exact(line.id, ""),
            }
        }
        Access::Lines(nodes)
    }

    fn satisfies_any(&self, scope: &Scope<'t>) -> bool {
        scope.find("satisfy").is_some_and(|line| line.word(0) == "any")
    }

    fn rule(&mut self, rule: &Directive) -> Option<Node> {
        let node = Node::new(&rule.name).from(rule.id).guarding();
        let node = match rule.word(0) {
            "all" => node,
            "unix:" => {
                self.ledger.near(rule.id, "", "sites listen on TCP: the rule is left out");
                return None;
            }
            network => node.property("from", &masked(network)),
        };
        self.ledger.exact(rule.id, &node.line());
        let mut node = node;
        node.above = rule.above.clone();
        node.beside = rule.beside.clone();
        Some(node)
    }

    fn login(&mut self, scope: &Scope<'t>, line: &Directive) -> Option<Node> {
        let file = scope.find("auth_basic_user_file");
        let fixed = |text: &str| !text.contains('$');
        let file = file.filter(|file| fixed(file.word(0)) && fixed(line.word(0)));
        let (Some(file), true) = (file, self.words.has(Word::Login)) else {
            let note = "logins: until then the location is closed (503)";
            self.ledger.planned(line.id, note);
            if let Some(file) = scope.find("auth_basic_user_file") {
                self.ledger.planned(file.id, note);
            }
            return None;
        };
        let node = Node::new("login")
            .bare("basic")
            .property("file", &self.path(file.word(0)))
            .property("realm", line.word(0))
            .from(line.id)
            .from(file.id)
            .guarding();
        let note =
            "the password does not go to the application (`pass=#true` sends it, as nginx does)";
        self.ledger.near(line.id, "login basic", note);
        self.ledger.exact(file.id, "login basic file=");
        Some(node)
    }
}

/// A network without bits after its prefix.
pub(crate) fn masked(text: &str) -> String {
    let Some((ip, length)) = text.split_once('/') else { return text.to_owned() };
    let (Ok(ip), Ok(length)) = (ip.parse::<IpAddr>(), length.parse::<u32>()) else {
        return text.to_owned();
    };
    match ip {
        IpAddr::V4(ip) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(ip) & mask))
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn networks() {
        assert_eq!(masked("10.0.0.5/8"), "10.0.0.0/8");
        assert_eq!(masked("10.0.0.5"), "10.0.0.5");
        assert_eq!(masked("2001:db8::1/32"), "2001:db8::/32");
        assert_eq!(masked("0.0.0.0/0"), "0.0.0.0/0");
    }
}
