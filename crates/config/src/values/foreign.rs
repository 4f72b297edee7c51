//! Variables of other programs, where ours could stand.

/// Names of nginx and what is written here.
const NGINX: &[(&str, &str)] = &[
    ("args", "{query}"),
    ("client_ip", "{client}"),
    ("document_uri", "{path}"),
    ("host", "{host}"),
    ("http_host", "{host}"),
    ("query_string", "{query}"),
    ("remote_addr", "{client}"),
    ("remote_port", "{client-port}"),
    ("request_id", "{request-id}"),
    ("request_method", "{method}"),
    ("request_uri", "{uri}"),
    ("scheme", "{scheme}"),
    ("server_name", "{host}"),
    ("server_port", "{port}"),
    ("ssl_client_escaped_cert", "{client-cert}"),
    ("ssl_client_fingerprint", "{client-fingerprint}"),
    ("ssl_client_s_dn", "{client-subject}"),
    ("ssl_protocol", "{tls-version}"),
    ("ssl_server_name", "{tls-name}"),
    ("uri", "{path}"),
];

/// The first variable of nginx in a text, with its dollar sign, and what is written here.
pub(crate) fn foreign_variable(text: &str) -> Option<(String, String)> {
    text.split('$').skip(1).find_map(|rest| {
        let inner = rest.strip_prefix('{').unwrap_or(rest);
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = inner.split(|c| !is_part(c)).next().unwrap_or_default();
        let ours = ours(name)?;
        let brace = if rest.starts_with('{') { ("{", "}") } else { ("", "") };
        Some((format!("${}{name}{}", brace.0, brace.1), ours))
    })
}

fn ours(name: &str) -> Option<String> {
    if let Some((_, ours)) = NGINX.iter().find(|(nginx, _)| *nginx == name) {
        return Some((*ours).to_owned());
    }
    let of = |prefix: &str, ours: &str, hyphens: bool| {
        let rest = name.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
        let rest = if hyphens { rest.replace('_', "-") } else { rest.to_owned() };
        Some(format!("{{{ours}:{rest}}}"))
    };
    of("http_", "field", true)
        .or_else(|| of("cookie_", "cookie", false))
        .or_else(|| of("arg_", "query", false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_nginx() {
        #[track_caller]
        fn check(text: &str, expected: Option<(&str, &str)>) {
            let found = foreign_variable(text);
            let found = found.as_ref().map(|(nginx, ours)| (nginx.as_str(), ours.as_str()));
            assert_eq!(found, expected, "{text}");
        }
        check("https://$host/", Some(("$host", "{host}")));
        check("https://x$request_uri", Some(("$request_uri", "{uri}")));
        check("a ${remote_addr} b", Some(("${remote_addr}", "{client}")));
        check("$http_x_forwarded_for", Some(("$http_x_forwarded_for", "{field:x-forwarded-for}")));
        check("$cookie_sid", Some(("$cookie_sid", "{cookie:sid}")));
        check("/a$b", None);
        check("/a$", None);
        check("costs $5, $hosts", None);
    }
}
