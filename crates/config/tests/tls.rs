//! What is said of TLS, ACME, HTTP/2 and client certificates, and what it becomes.

mod common;

use std::path::Path;
use std::time::Duration;

use common::same;
use config::{
    Acme, AcmeChallenge, AcmeId, Action, CertificateSource, ClientPolicy, EndpointAddress, Hsts,
    KeyKind, Loaded, ServerTls, Serves, SiteId, SiteTls, TlsVersion, UpstreamProtocol,
};

const SECURE: &str = include_str!("secure.kdl");

#[track_caller]
fn parsed(text: &str) -> Loaded {
    match config::parse("test.kdl", text) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{failure}"),
    }
}

/// The TLS of the first site, which ends here.
#[track_caller]
fn server(text: &str) -> ServerTls {
    match parsed(text).config.sites[0].tls.clone() {
        Some(SiteTls::Terminate(tls)) => tls,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_shown_and_tidied_says_the_same() {
    let loaded = parsed(SECURE);
    let shown = loaded.effective.clone().revealed().render(false);
    same(&loaded.config, &parsed(&shown).config);
    let formatted = config::format("test.kdl", SECURE).unwrap();
    same(&loaded.config, &parsed(&formatted).config);
    for line in ["redirect-http \":80\"", "http2 off", "streams 50", "verify on", "tls off"] {
        assert!(shown.lines().any(|shown| shown.trim_start().starts_with(line)), "{line}\n{shown}");
    }
}

#[test]
fn directories() {
    let config = parsed(SECURE).config;
    let [default, staging] = config.acme.as_slice() else { panic!() };
    let Acme { place: _, name, directory, contacts, challenge, eab, profile, ca, key } = default;
    assert_eq!((&**name, &**directory), ("", "https://acme-v02.api.letsencrypt.org/directory"));
    assert_eq!(*contacts, ["mailto:ops@example.com".into(), "mailto:web@example.com".into()]);
    let AcmeChallenge::Dns { command, wait } = challenge else { panic!() };
    let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    assert_eq!(words, ["/etc/bothways/dns-hook", "--zone", "example.com"]);
    assert_eq!(*wait, Duration::from_secs(60));
    let eab = eab.as_ref().unwrap();
    assert_eq!((&*eab.key_id, &*eab.key_file), ("kid-1", Path::new("/etc/bothways/eab")));
    assert_eq!((profile.as_deref(), ca, *key), (Some("shortlived"), &None, KeyKind::Rsa2048));
    assert_eq!((&*staging.name, &staging.challenge), ("staging", &AcmeChallenge::TlsAlpn));
    assert!(staging.directory.contains("staging"));
    assert_eq!(config.process.state.as_deref(), Some(Path::new("/var/lib/bothways")));
}

#[test]
fn certificates_of_sites() {
    let config = parsed(SECURE).config;
    let source = |site: usize| match &config.sites[site].tls {
        Some(SiteTls::Terminate(tls)) => Some(tls.certificates.clone()),
        _ => None,
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<Box<str>>>();
    assert_eq!(
        source(0),
        Some(CertificateSource::Auto {
            acme: AcmeId(0),
            names: names(&["secure.example.com", "*.secure.example.com"])
        })
    );
    let Some(CertificateSource::Files(files)) = source(1) else { panic!() };
    let files: Vec<_> = files.iter().map(|f| (f.cert.to_str(), f.key.to_str())).collect();
    assert_eq!(
        files,
        [(Some("/etc/ec.pem"), Some("/etc/ec.key")), (Some("/etc/rsa.pem"), Some("/etc/rsa.pem"))]
    );
    let staging =
        CertificateSource::Auto { acme: AcmeId(1), names: names(&["staging.example.com"]) };
    assert_eq!(source(2), Some(staging));
    assert_eq!(config.sites[3].tls, Some(SiteTls::Passthrough));
    let internal = CertificateSource::Internal { names: names(&["dev.internal"]) };
    assert_eq!(source(4), Some(internal));
    assert_eq!(config.sites[5].tls, None);
    // Any name may come, so that none is known beforehand.
    let every = server("site { tls internal; respond; }").certificates;
    assert_eq!(every, CertificateSource::Internal { names: Vec::new() });
}

#[test]
fn options_of_tls() {
    let tls = server(SECURE);
    assert_eq!((tls.version_min, tls.version_max), (TlsVersion::Tls13, TlsVersion::Tls13));
    assert_eq!(tls.client.policy, ClientPolicy::Request);
    assert_eq!(tls.client.ca, [Path::new("/etc/staff.pem")]);
    assert_eq!(tls.client.crl, [Path::new("/etc/staff.crl")]);
    assert!(tls.early_data && tls.tickets);
    let max_age = Duration::from_secs(730 * 86_400);
    assert_eq!(tls.hsts, Some(Hsts { max_age, subdomains: true, preload: true }));

    let plain = server("site \"a.example.com\" { tls auto; respond; }");
    assert_eq!((plain.version_min, plain.version_max), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert_eq!(plain.client.policy, ClientPolicy::Off);
    assert!(!plain.early_data && plain.tickets && plain.hsts.is_none());
    let both =
        server("site \"a.b\" { tls internal { versions \"1.2\" \"1.3\"; hsts; }; respond; }");
    assert_eq!((both.version_min, both.version_max), (TlsVersion::Tls12, TlsVersion::Tls13));
    let year = Hsts { max_age: max_age / 2, subdomains: false, preload: false };
    assert_eq!(both.hsts, Some(year));
    let old = server("site \"a.b\" { tls internal { versions \"1.2\"; }; respond; }");
    assert_eq!((old.version_min, old.version_max), (TlsVersion::Tls12, TlsVersion::Tls12));
}

#[test]
fn listeners_speak_tls_or_not() {
    let config = parsed(SECURE).config;
    let told = config.listeners.iter().map(|l| (&*l.written, l.tls, l.http2, l.limits.streams));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (":443", true, false, 50),
            (":8443", true, true, 200),
            ("127.0.0.1:9443", true, true, 200),
            (":80", false, true, 200),
            (":8080", false, true, 200),
            (":3130", true, true, 200),
            (":3131", true, true, 200),
            (":8081", false, true, 200),
        ]
    );
}

#[test]
fn clients_are_taken_by_their_certificates() {
    let config = parsed(SECURE).config;
    let base = &config.sites[0].base.clients;
    let told: Vec<_> = base
        .iter()
        .map(|c| (c.name.as_deref(), c.fingerprint.as_deref(), c.subject.as_deref()))
        .collect();
    let digits = "aabbccdd00112233445566778899aabbccddeeff00112233445566778899aabb";
    assert_eq!(
        told,
        [
            (Some("ops.example.com"), Some(digits), None),
            (Some("*.ops.example.com"), Some(digits), None),
            (None, None, Some("CN=ops,O=Example\\, Inc")),
        ]
    );
    let routes = &config.sites[0].routes;
    assert_eq!(routes[0].settings.clients[0].name.as_deref(), Some("anybody"));
    assert_eq!(routes[0].settings.clients.len(), 1);
    assert_eq!(routes[1].settings.clients.len(), 3);

    let forward = &config.forwards[0];
    let told = forward.rules[0].clients.iter().map(|c| (c.name.as_deref(), c.subject.as_deref()));
    let both = [(Some("a.example.com"), Some("CN=x")), (Some("b.example.com"), Some("CN=x"))];
    assert_eq!(told.collect::<Vec<_>>(), both);
    assert!(forward.rules[1].clients[0].fingerprint.as_deref().unwrap().ends_with("00aa"));
    let tls = forward.tls.as_ref().unwrap();
    let names = vec!["proxy.lan".into(), "10.0.0.1".into()];
    assert_eq!(tls.certificates, CertificateSource::Internal { names });
    let auto = &config.forwards[1].tls.as_ref().unwrap().certificates;
    let names = vec!["proxy.example.com".into()];
    assert_eq!(*auto, CertificateSource::Auto { acme: AcmeId(1), names });
}

#[test]
fn upstreams_over_tls() {
    let config = parsed(SECURE).config;
    let [api, grpc, inline, ..] = config.upstreams.as_slice() else { panic!() };
    let name = |host: &str, port| EndpointAddress::Name { host: host.into(), port };
    let told = |upstream: &config::Upstream| {
        let endpoints = upstream.endpoints.iter().map(|e| (e.address.clone(), e.tls));
        endpoints.collect::<Vec<_>>()
    };
    let ip = |text: &str| EndpointAddress::Ip(text.parse().unwrap());
    assert_eq!(told(api), [(name("api.internal", 443), true), (ip("[2001:db8::1]:443"), true)]);
    assert_eq!(told(inline), [(ip("10.0.0.4:443"), true), (name("api.internal", 8443), true)]);
    assert_eq!((api.protocol, grpc.protocol), (UpstreamProtocol::H2, UpstreamProtocol::H2c));
    assert_eq!(inline.protocol, UpstreamProtocol::Auto);
    assert_eq!(api.tls.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(api.tls.name.as_deref(), Some("api.internal"));
    assert_eq!(api.tls.client.as_ref().unwrap().key, Path::new("/etc/c.key"));
    assert!(api.tls.verify && inline.tls == config::UpstreamTls::default());

    let off = parsed(
        "upstream a { to \"https://b\"; tls { verify off; }; protocol h1; }\nsite { to a; }",
    );
    assert!(!off.config.upstreams[0].tls.verify);
    assert_eq!(off.config.upstreams[0].protocol, UpstreamProtocol::Http1);
    assert!(off.warnings[0].message.contains("NOT verified"));
}

/// Names, place and target of each site that sends clients to https://.
fn redirects(text: &str) -> Vec<String> {
    let config = parsed(text).config;
    let made = (0u32..).zip(&config.sites).filter(|(_, site)| site.https.is_some());
    let told = made.map(|(id, site)| {
        let names = site.names.iter().map(ToString::to_string);
        let names: Vec<String> = names.collect();
        let Action::Redirect { to, status: 308 } = &site.routes[0].action else { panic!() };
        let listener = &config.listeners[site.listeners[0].0 as usize];
        assert!(!listener.tls && site.tls.is_none() && site.routes[0].pattern.is_all());
        let Serves::Sites(sites) = &listener.serves else { panic!() };
        assert!(sites.contains(&SiteId(id)));
        format!("{} {} {} {}", names.join(","), listener.written, to.written, site.place.line)
    });
    told.collect()
}

#[test]
fn redirects_to_https() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(redirects(text), expected, "{text}");
    }
    let usual = "https://{host}{path}?{query}";
    let a = |place: &str| format!("a.b {place} {usual} 1");
    check("site \"a.b\" { tls internal; respond; }", &[&a(":80")]);
    check(
        "site \"a.b\" \"*.a.b\" { tls internal; respond; }",
        &[&format!("a.b,*.a.b :80 {usual} 1")],
    );
    check("site { tls internal; respond; }", &[&format!("* :80 {usual} 1")]);
    check("site \"a.b\" { tls internal; redirect-http off; respond; }", &[]);
    check(
        "site \"a.b\" { tls internal; redirect-http \"127.0.0.1:8080\"; respond; }",
        &[&a("127.0.0.1:8080")],
    );
    check("site \"a.b\" { respond; }", &[]);
    check("site \"a.b\" { tls off; redirect-http off; respond; }", &[]);
    check("site \"a.b\" { tls passthrough; to \"10.0.0.1:443\"; }", &[]);
    // Where a site says itself where it listens, it says so too whether port 80 is taken.
    check("site \"a.b\" { listen \":443\"; tls internal; respond; }", &[]);
    check(
        "site \"a.b\" { listen \":8443\" \":443\"; redirect-http \":80\"; tls internal; respond; }",
        &[&a(":80")],
    );
    check(
        "site \"a.b\" { listen \":8443\"; redirect-http \":80\"; tls internal; respond; }",
        &["a.b :80 https://{host}:8443{path}?{query} 1"],
    );
    // A plain site of the same name is left alone, be it on every address or on that one.
    let plain = "site \"a.b\" \"c.d\" { tls internal; respond; }\nsite \"a.b\" { respond; }\n";
    check(plain, &[&format!("c.d :80 {usual} 1")]);
    check(
        "site \"a.b\" { tls internal; respond; }\nsite \"a.b\" { listen \"0.0.0.0:80\"; respond; }\n",
        &[],
    );
    check(
        "site \"a.b\" { tls internal; respond; }\nsite \"a.b\" { listen \"127.0.0.1:80\"; respond; }\n",
        &[&a(":80")],
    );
    // One redirect for each name.
    check(
        "site \"a.b\" { tls internal; respond; }\nsite \"a.b\" { tls internal; listen \":8443\"; redirect-http \":80\"; respond; }",
        &[&a(":80")],
    );
}

#[test]
fn a_redirect_gives_way_to_a_forward_listener() {
    let text =
        "site \"a.b\" { tls internal; respond; }\nforward \":80\" { allow from=\"10.0.0.0/8\"; }";
    assert_eq!(redirects(text), <[&str; 0]>::default());
    let warnings = parsed(text).warnings;
    assert_eq!(warnings[0].message, "`:80` cannot redirect: a `forward` listens there");
}
