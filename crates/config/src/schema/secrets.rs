//! Which values are secret, and what is shown in their place.
//!
//! A row of the tables says of each of its values whether it is secret ([`Secrecy`]). `bothways show`
//! and the page `/config` print [`MASK`] for such a value; [`masked_in`] finds those that hide in a
//! value of any row: the user information of a URL, and query parameters such as `token=`.

/// What is shown for a secret.
pub(crate) const MASK: &str = "***";

/// Whether a value is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// It is not.
    Open,
    /// It always is.
    Secret,
    /// It is the value of a field: secret if the field's name or the value itself says so.
    OfField,
    /// A command: its arguments are, the program is not.
    Arguments,
}

/// What names of fields and of query parameters have in them whose values are secret.
const PARTS: &[&str] = &[
    "authorization",
    "cookie",
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "signature",
    "session",
    "apikey",
    "api-key",
    "access-key",
    "jwt",
    "origin-verify",
];
/// Words of a name, between dashes, that say the same.
const WORDS: &[&str] = &["auth", "key", "pwd", "pass", "sig", "otp"];
/// Names that have such words and hold nothing secret.
const HARMLESS: &[&str] = &[
    "access-control-allow-credentials",
    "cache-key",
    "idempotency-key",
    "key",
    "sec-websocket-key",
    "surrogate-key",
    "x-cache-key",
    "xkey",
];
/// How values begin that authenticate somebody, whatever the field (RFC 9110, section 11.4).
const SCHEMES: &[&str] = &["bearer ", "basic ", "digest ", "negotiate ", "ntlm ", "token "];

impl Secrecy {
    /// What a line says of its own value.
    pub(crate) fn of(secret: bool) -> Self {
        if secret { Self::Secret } else { Self::Open }
    }

    /// What is shown of a value; `None`: all of it. `field` is the name of the field that it is of.
    pub(crate) fn masked(self, field: &str, value: &str) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Secret => Some(MASK.to_owned()),
            Self::OfField => is_secret_field(field, value).then(|| MASK.to_owned()),
            Self::Arguments => {
                let (program, _) = value.split_once(' ')?;
                Some(format!("{program} {MASK}"))
            }
        }
    }
}

/// Whether a field with this name and value authenticates somebody.
fn is_secret_field(name: &str, value: &str) -> bool {
    if is_variable(value) {
        return false;
    }
    let value = value.trim_start().to_ascii_lowercase();
    has_secret_name(name) || SCHEMES.iter().any(|scheme| value.starts_with(scheme))
}

/// Whether nothing stands there but one `{name}`, which the request fills in.
fn is_variable(value: &str) -> bool {
    let inner = value.strip_prefix('{').and_then(|value| value.strip_suffix('}'));
    inner.is_some_and(|inner| !inner.contains(['{', '}']))
}

fn has_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    !HARMLESS.contains(&&*name)
        && (PARTS.iter().any(|part| name.contains(part))
            || name.split('-').any(|word| WORDS.contains(&word)))
}

/// The text of a line with what is secret in URLs masked; `None`: there is nothing.
pub(crate) fn masked_in(text: &str) -> Option<String> {
    let without_users = masked_users(text);
    let text = without_users.as_deref().unwrap_or(text);
    masked_parameters(text).or(without_users)
}

/// RFC 3986, section 3.2.1: user information stands before the `@` of an authority.
fn masked_users(text: &str) -> Option<String> {
    if !text.contains("://") {
        return None;
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | ',') || c.is_whitespace();
        let authority = after.get(..after.find(ends).unwrap_or(after.len())).unwrap_or(after);
        rest = match authority.rfind('@') {
            Some(user) => {
                out.push_str(MASK);
                after.get(user..).unwrap_or_default()
            }
            None => after,
        };
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

/// Query parameters (`?name=value`, `&name=value`) with names of secrets.
fn masked_parameters(text: &str) -> Option<String> {
    if !text.contains(['?', '&']) {
        return None;
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['?', '&']) {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = after.get(..after.find(|c| !is_name(c)).unwrap_or(0)).unwrap_or_default();
        let Some(value) = after.get(name.len()..).and_then(|rest| rest.strip_prefix('=')) else {
            continue;
        };
        let named = has_secret_name(name) || name.eq_ignore_ascii_case("key");
        let length = length_of_value(value);
        let (value, behind) = value.split_at(length);
        if name.is_empty() || !named || value.is_empty() || is_variable(value) {
            continue;
        }
        out.push_str(name);
        out.push('=');
        out.push_str(MASK);
        rest = behind;
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

/// To the next parameter, the fragment or the end of the string; `\"` is no end.
fn length_of_value(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && (matches!(c, '&' | '#' | '"') || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        #[track_caller]
        fn check(name: &str, value: &str, secret: bool) {
            assert_eq!(Secrecy::OfField.masked(name, value).is_some(), secret, "{name}: {value}");
        }
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "X-Api-Key",
            "X_API_KEY",
            "ApiKey",
            "X-Auth-Token",
            "PRIVATE-TOKEN",
            "X-Vault-Token",
            "Ocp-Apim-Subscription-Key",
            "X-Functions-Key",
            "X-Auth",
            "X-Client-Secret",
            "X-Password",
            "X-Origin-Verify",
            "CF-Access-Client-Secret",
        ] {
            check(name, "abc", true);
        }
        for name in [
            "X-Plain",
            "Host",
            "Strict-Transport-Security",
            "Access-Control-Allow-Credentials",
            "Surrogate-Key",
            "X-Keyboard",
            "WWW-Authenticate",
        ] {
            check(name, "abc", false);
        }
        check("X-Whatever", "Bearer abc", true);
        check("X-Whatever", "basic dTpw", true);
        // What the request says is nobody's secret here.
        check("Cookie", "{client-name}", false);
        check("Authorization", "Bearer {client-name}x", true);
    }

    #[test]
    fn urls() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(masked_in(text).as_deref(), expected, "{text}");
        }
        check("\"https://a/b?c=d\"", None);
        check("\"https://u:p@a/b\" status=302", Some("\"https://***@a/b\" status=302"));
        check("\"https://u:p@q@a\"", Some("\"https://***@a\""));
        check("\"https://a/@b\"", None);
        check("\"/x?token=abc&y=1\"", Some("\"/x?token=***&y=1\""));
        check("\"/x?y=1&api_key=a\\\"b#f\"", Some("\"/x?y=1&api_key=***#f\""));
        check("\"/x?key=abc\"", Some("\"/x?key=***\""));
        check("\"/x?token={query}\"", None);
        check("\"/x?{query}\"", None);
        check("\"https://u@a/?sig=s\"", Some("\"https://***@a/?sig=***\""));
    }

    #[test]
    fn commands() {
        assert_eq!(Secrecy::Arguments.masked("", "/a/hook"), None);
        assert_eq!(Secrecy::Arguments.masked("", "/a/hook -k x").as_deref(), Some("/a/hook ***"));
    }
}
