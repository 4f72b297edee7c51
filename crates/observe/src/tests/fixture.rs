//! A small configuration, and a record of everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{
    AccessFormat, AccessLog, Action, Config, Endpoint, EndpointAddress, EndpointId, Forward,
    ForwardId, Limits, Listener, ListenerId, LogTarget, Pattern, Place, ProxyProtocol, Route,
    RouteId, RouteSettings, Serves, Site, SiteId, SiteName, Timeouts, Upstream, UpstreamId,
};
use message::Method;

use crate::{Caps, Direction, Names, Record, Registry, Scope};

pub(super) fn registry() -> Arc<Registry> {
    Registry::new("0.0.0-test", Caps::default())
}

fn place(line: u32) -> Place {
    Place { file: 0, line, column: 1 }
}

fn listener(written: &str, port: u16, serves: Serves) -> Listener {
    Listener {
        address: SocketAddr::from(([0, 0, 0, 0], port)),
        written: written.into(),
        place: place(1),
        proxy_protocol: ProxyProtocol::Off,
        trusted_proxies: Vec::new(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        tls: false,
        http2: true,
        serves,
    }
}

fn site(name: SiteName) -> Site {
    let action = Action::To(UpstreamId(0));
    let pattern = Pattern { written: "/api/*".into(), ..Pattern::all() };
    let route = Route::new(place(12), pattern, action, RouteSettings::default());
    Site {
        place: place(10),
        names: vec![name],
        listeners: vec![ListenerId(0)],
        routes: vec![route],
        base: RouteSettings::default(),
        tls: None,
        https: None,
    }
}

fn upstream(name: &str, endpoints: &[&str]) -> Upstream {
    let endpoints = endpoints.iter().map(|written| {
        let address = match written.parse() {
            Ok(address) => EndpointAddress::Ip(address),
            Err(_) => EndpointAddress::Name { host: "app.internal".into(), port: 8080 },
        };
        Endpoint { place: place(20), ..Endpoint::new(*written, address) }
    });
    Upstream { place: place(19), ..Upstream::new(name, endpoints.collect()) }
}

/// Two sites at `:80`, a forward listener at `:3128`, an upstream `shop` with two endpoints.
pub(super) fn config() -> Config {
    Config {
        files: vec!["etc/\"both\"ways.kdl".into()],
        listeners: vec![
            listener(":80", 80, Serves::Sites(vec![SiteId(0), SiteId(1)])),
            listener(":3128", 3128, Serves::Forward(ForwardId(0))),
        ],
        sites: vec![
            site(SiteName::Exact("shop.example.com".into())),
            site(SiteName::Wildcard("example.org".into())),
        ],
        upstreams: vec![upstream("shop", &["10.0.0.1:8080", "app.internal:8080"])],
        forwards: vec![Forward {
            place: place(30),
            listener: ListenerId(1),
            written: ":3128".into(),
            rules: Vec::new(),
            ports: Vec::new(),
            anonymous: None,
            via: "bothways".into(),
            settings: RouteSettings::default(),
            tls: None,
        }],
        ..Config::default()
    }
}

/// The configuration with this access log for everything.
pub(super) fn config_with_log(target: &LogTarget, format: AccessFormat) -> Config {
    let (target, place) = (target.clone(), Place::default());
    Config { logs: vec![AccessLog { place, target, format, fields: None }], ..config() }
}

pub(super) fn names() -> Names {
    Names::new(&config(), &registry())
}

/// An ordinary exchange in reverse.
pub(super) fn reverse(now: Instant) -> Record {
    let mut record = Record::new(now);
    record.client = SocketAddr::from(([192, 0, 2, 7], 51234));
    record.scope = Scope::Site(SiteId(0), Some(RouteId(0)));
    record.decided = place(12);
    record.target.set("http://shop.example.com/api/cart?id=7");
    record.status = 200;
    record.response_body_bytes = 2326;
    record.received_bytes = 180;
    record.sent_bytes = 2500;
    record.queue = Some(Duration::from_micros(42));
    record.first_byte = Some(Duration::from_micros(1_500));
    record.total = Duration::from_micros(2_003);
    record.endpoint = Some(EndpointId::new(UpstreamId(0), 0));
    record.dialled = Some(SocketAddr::from(([10, 0, 0, 1], 8080)));
    record.reused = true;
    record.referer.set("http://shop.example.com/");
    record.user_agent.set("curl/8.0");
    record
}

/// A tunnel that was refused.
pub(super) fn forward(now: Instant) -> Record {
    let mut record = Record::new(now);
    record.client = "[2001:db8::7]:40000".parse().unwrap_or(record.client);
    record.via = Some([10, 0, 0, 9].into());
    record.direction = Direction::Forward;
    record.listener = ListenerId(1);
    record.scope = Scope::Forward(ForwardId(0));
    record.decided = place(33);
    record.method = Method::Connect;
    record.target.set("www.example.net:443");
    record.total = Duration::from_micros(90);
    record
}

/// A client that has shown a certificate.
pub(super) fn tls() -> Arc<tls::Info> {
    let client = message::ClientCertificate { subject: "CN=ops".into(), ..Default::default() };
    Arc::new(tls::Info {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        name: Some("shop.example.com".into()),
        client: Some(Arc::new(client)),
        ..tls::Info::default()
    })
}
