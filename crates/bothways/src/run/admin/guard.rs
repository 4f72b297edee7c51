//! Refuses requests from web pages in a browser on this machine.
//!
//! A page can make the browser send requests to loopback addresses. With DNS rebinding it can even
//! read the responses, because its own name then resolves to our address. Both are visible in the
//! request: in `Host`, which is then not a loopback name, and in `Origin` or `Sec-Fetch-Site`.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;

use super::socket::Transport;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has no host, or several, or an absolute-form target.
    NoHost,
    /// Its host is not this machine.
    ForeignHost,
    /// It comes from a page of another origin.
    ForeignOrigin,
}

impl Refusal {
    /// The message for the client.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NoHost => "a request needs exactly one Host",
            Self::ForeignHost => "Host must be localhost or a loopback address",
            Self::ForeignOrigin => "requests from pages of other origins are refused",
        }
    }
}

/// Whether a request may be answered.
pub(super) fn check(uri: &Uri, fields: &HeaderMap, transport: Transport) -> Result<(), Refusal> {
    if uri.authority().is_some() {
        return Err(Refusal::NoHost);
    }
    let host = single(fields, &HOST).ok_or(Refusal::NoHost)?;
    // On a unix socket, which no browser opens, the name means nothing.
    if transport == Transport::Tcp && !is_loopback(host) {
        return Err(Refusal::ForeignHost);
    }
    if fields.contains_key(ORIGIN) {
        let origin = single(fields, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Err(Refusal::ForeignOrigin);
        }
    }
    // `same-site` is refused too: other ports of this machine are other programs.
    let fetch_site = fields.get_all(SEC_FETCH_SITE);
    if fetch_site.iter().any(|site| site != "same-origin" && site != "none") {
        return Err(Refusal::ForeignOrigin);
    }
    Ok(())
}

fn single<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = fields.get_all(name).iter();
    let value: &HeaderValue = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_row(
        transport: Transport,
        target: &str,
        fields: &[(&str, &str)],
        expected: Result<(), Refusal>,
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        assert_eq!(
            check(&target.parse().unwrap(), &map, transport),
            expected,
            "{target} {fields:?}"
        );
    }

    #[test]
    fn table() {
        use Refusal::{ForeignHost, ForeignOrigin, NoHost};
        let tcp =
            |fields: &[(&str, &str)], expected| check_row(Transport::Tcp, "/", fields, expected);
        for host in ["localhost", "LOCALHOST:9900", "127.0.0.1:9900", "127.9.9.9", "[::1]:9900"] {
            tcp(&[("host", host)], Ok(()));
        }
        for host in [
            "evil.example",
            "evil.example:9900",
            "localhost.evil.example",
            "10.0.0.1",
            "u@localhost",
            "0.0.0.0",
            "[::]",
            "",
            "127.0.0.1.evil.example",
            "2130706433",
        ] {
            tcp(&[("host", host)], Err(ForeignHost));
        }
        tcp(&[], Err(NoHost));
        tcp(&[("host", "localhost"), ("host", "localhost")], Err(NoHost));
        let local = ("host", "localhost:9900");
        tcp(&[local, ("origin", "http://localhost:9900")], Ok(()));
        for origin in ["http://localhost", "http://evil.example", "null", "https://localhost:9900"]
        {
            tcp(&[local, ("origin", origin)], Err(ForeignOrigin));
        }
        tcp(&[local, ("sec-fetch-site", "none")], Ok(()));
        tcp(&[local, ("sec-fetch-site", "cross-site")], Err(ForeignOrigin));
        tcp(&[local, ("sec-fetch-site", "same-site")], Err(ForeignOrigin));
        check_row(Transport::Tcp, "http://localhost/", &[local], Err(NoHost));
        check_row(Transport::Unix, "/", &[("host", "admin")], Ok(()));
        check_row(
            Transport::Unix,
            "/",
            &[("host", "a"), ("origin", "http://b")],
            Err(ForeignOrigin),
        );
    }
}
